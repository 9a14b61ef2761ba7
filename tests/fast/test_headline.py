"""Counts against hooks on a small network, break-evens and claims by hand, and one quick run; no time is asserted."""

import json
import math
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch.autograd.forward_ad import unpack_dual

from dntk_fast.bench import claims, headline, unit_costs
from dntk_fast.bench.prices import (
    ACCOUNTS,
    APPROACHES,
    RIVALS,
    Approach,
    Work,
    break_even,
    cost_row,
    pays_after,
    pieces,
)
from dntk_fast.bench.ways import QUICK, TrainedNetwork
from dntk_fast.cli import main
from dntk_fast.kernels.ridge import ridge_weights
from dntk_fast.tangent import passes
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.workflow import data as data_sets
from dntk_fast.workflow.models import build
from tests.tolerances import TOL

UNITS = ("forward", "updates", "projected", "tangents", "transposed", "products")
CLASSES, KINDS = 3, ("forward", "backward", "products")


def directions(tangent):
    """How many directions `vmap` carries along in one tangent."""
    inside = tangent
    while torch._C._functorch.is_functorch_wrapped_tensor(inside):
        inside = torch._C._functorch.get_unwrapped(inside)
    return inside.numel() // tangent.numel()


class Counter:
    """Rows that go through a model, and back through its first layer, by hooks; probes of one or two rows count for none."""

    def __init__(self, model):
        self.counts = dict.fromkeys(KINDS, 0)
        first = next(part for part in model.modules() if not list(part.children()))
        counts = self.counts

        def forward(module, inputs, output):
            tangent = unpack_dual(output).tangent
            if len(output) > 2:
                counts["forward"] += len(output)
                counts["products"] += 0 if tangent is None else len(output) * directions(tangent)

        def back(gradient):
            if len(gradient) > 2:
                counts["backward"] += len(gradient)

        def watch(module, inputs, output):
            if output.requires_grad:
                output.register_hook(back)

        self.hooks = [model.register_forward_hook(forward), first.register_forward_hook(watch)]

    def __enter__(self):
        return self.counts

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


@pytest.fixture(scope="module", autouse=True)
def passes_of_one_output():
    """A hook sees all logits that go back together as one: let none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "PASS_BYTES", {"cpu": 0})
        yield


@pytest.fixture(scope="module")
def subject(passes_of_one_output):
    """Untrained conv8 on 144 digits of three classes; every piece done, its passes counted by hooks."""
    digits = data_sets.load("digits")
    own = [torch.nonzero(y < CLASSES).flatten() for y in (digits.y_train, digits.y_test)]
    x, y, test = digits.x_train[own[0][:144]], digits.y_train[own[0][:144]], digits.x_test[own[1]]
    settings = replace(QUICK, k=40, per_class=8, part=72, gradients=4)
    found = TrainedNetwork(
        build("conv8", seed=0, outputs=CLASSES), x, y, test, settings, {"distillation": 1, "sketch": 2, "sampler": 3}
    )
    _ = found.targets, found.images
    found.seen = {}
    for name, job in found.jobs().items():
        with Counter(found.model) as counts:
            found.made[name] = job()
        found.seen[name] = counts
    return found


def seen(subject, names):
    return {kind: sum(subject.seen[name][kind] for name in names) for kind in KINDS}


# --- counts -----------------------------------------------------------------------------------------------------------


PIECES = list(dict.fromkeys(name for way in APPROACHES.values() for name in (*way.once, *way.fit, way.predict)))


def test_the_pieces_are_those_that_are_priced_and_done(subject):
    assert set(pieces(subject.size())) == set(subject.jobs()) == set(PIECES)


@pytest.mark.parametrize("piece", PIECES)
def test_passes_are_those_that_hooks_see(subject, piece):
    assert pieces(subject.size())[piece][0].passes(CLASSES)._asdict() == subject.seen[piece]


@pytest.mark.parametrize("name", list(APPROACHES))
def test_a_way_s_passes_are_those_of_all_its_pieces(subject, name):
    way = APPROACHES[name]
    row = cost_row(name, way, subject.size(), dict.fromkeys(subject.seen, 0.0))["passes"]
    total = {kind: row["once"][kind] + row["fit"][kind] for kind in KINDS}
    assert total == seen(subject, way.once + way.fit)
    assert row["use"] == seen(subject, (way.predict,))
    if way.once:  # the broken twin: a row that forgets the passes of the distillation
        forgetful = cost_row(name, way._replace(once=()), subject.size(), dict.fromkeys(subject.seen, 0.0))["passes"]
        assert {kind: forgetful["once"][kind] + forgetful["fit"][kind] for kind in KINDS} != total


def test_bytes_are_those_of_the_arrays_that_stand(subject):
    found = {name: nbytes for name, (_, nbytes) in pieces(subject.size()).items()}
    realised = replace(subject.size(), gradients=max(subject.made["Algorithm 1"].found.counts))
    assert realised.gradients <= subject.size().gradients
    for name, made in subject.made.items():
        if hasattr(made, "arrays"):
            expected = pieces(realised)[name][1] if name == "Algorithm 1" else found[name]
            assert made.bytes == expected, name
    assert subject.made["distillation"].images.nbytes == found["distillation"]
    for name, way in APPROACHES.items():
        weights = subject.made[way.fit[-1]].weights
        arrays = weights.values() if isinstance(weights, dict) else [weights]
        assert sum(array.nbytes for array in arrays) == found[way.predict], name


@pytest.mark.parametrize("memory", [5_000_000, 7_000_000])
def test_an_exact_kernel_in_parts_is_counted_by_its_plan(subject, memory):
    """At a larger scale images are passed again for every block, or part of the logits: planned from two images."""
    scale = claims.Scale("conv8", 8, 4, n=144, outputs=CLASSES, memory=memory)
    plan = claims.blocks(scale, subject.model, subject.x[:4])
    assert plan.rows < 144 or plan.classes < CLASSES
    with Counter(subject.model) as counts:
        tangent_kernel(subject.model, subject.x, memory=memory)
    assert (plan.forward_passes, plan.backward_passes) == (counts["forward"], counts["backward"])
    assert plan.forward_passes > 144


def test_units_are_what_they_are_named_for(subject, monkeypatch):
    """A clock that shows passes in place of seconds: one unit of each kind costs the passes that `Work` says."""
    with Counter(subject.model) as counts:

        def shown():
            return sum(counts[kind] * 1000**power for power, kind in enumerate(KINDS))

        monkeypatch.setattr(unit_costs, "perf_counter", shown)
        found = unit_costs.network_units(subject.model, subject.x[:6], k=8, rounds=2)
    for kind, price in found.items():
        passes = Work(**{kind: 1}).passes(CLASSES)
        assert price == sum(count * 1000**power for power, count in enumerate(passes)), kind
    monkeypatch.setattr(unit_costs, "seconds_of", lambda work, rounds: 1.0)
    algebra = unit_costs.algebra_units()
    assert set(found) | set(algebra) == {part.name for part in fields(Work)}
    assert algebra["single"] == algebra["double"] == unit_costs.ORDER**-3
    assert algebra["cubes"] == unit_costs.EIGEN_ORDER**-3


def test_seconds_are_the_inner_product_with_units():
    work = Work(forward=2, updates=3, cubes=5)
    assert work.seconds({"forward": 1.0, "updates": 10.0, "cubes": 100.0, "double": 7.0}) == 532
    assert (work + Work(updates=1)).seconds({"updates": 10.0}) == 40


# --- what is fitted -----------------------------------------------------------------------------------------------------


def test_the_stream_s_ridge_regression_is_that_of_all_rows(subject):
    made = subject.made["moments"]
    rows = torch.cat([subject.features(part) for part in subject.x.split(72)], 1)  # to the last bit of float32
    expected = ridge_weights(rows.double(), subject.targets.double(), made.lam)
    torch.testing.assert_close(made.weights, expected, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
    half = ridge_weights(rows[:, :72].double(), subject.targets[:, :72].double(), made.lam)  # one part alone
    assert not torch.allclose(made.weights, half, rtol=TOL["apart"])


def test_kernel_errors_are_those_of_the_kernels_that_the_ways_stand_for(subject):
    """By NumPy and a pseudo-inverse; an orthogonal projector on the rows' span in place of the Nystrom form."""
    found = subject.kernel_errors()
    K = subject.made["exact kernel"].arrays[0].numpy()
    Phi, rows = (subject.made[f"features, {which}"].arrays[0].double().numpy() for which in ("all images", "distilled"))
    h = subject.made["last layer"].arrays[0].double().numpy()

    def error(made):
        return np.mean([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(made, K, strict=True)])

    def inside(span):
        return Phi @ (np.linalg.pinv(span, rcond=TOL["rank"]) @ span) @ Phi.transpose(0, 2, 1)

    expected = {"JL only": error(Phi @ Phi.transpose(0, 2, 1)), "last layer": error([h @ h.T] * CLASSES)}
    expected |= {"full kernel, exact": 0, "matrix-free exact": 0, "streaming ridge": expected["JL only"]}
    expected["WMDD + JL"] = error(inside(rows))
    for name in ("Algorithm 1", "top eigenvectors"):
        U = subject.made[name].found.synthesis.double().numpy()
        expected[f"DNTK, {name}"] = error(inside(U.transpose(0, 2, 1) @ rows))
    assert set(found) == set(APPROACHES)
    assert found == pytest.approx(expected, rel=TOL["squared_kernel"])
    assert error(inside(rows[:, :4])) != pytest.approx(found["WMDD + JL"], rel=TOL["apart"])


# --- when it pays -------------------------------------------------------------------------------------------------------


def test_break_even_by_hand():
    """100 once and 1 a use against 10 and 4: at 29 uses 129 > 126, at 30 uses 130 <= 130."""
    assert break_even((100, 1), (10, 4)) == 30
    assert break_even((10, 1), (100, 4)) == 1  # ahead from the first
    assert break_even((10, 4), (10, 4)) == 1
    assert break_even((100, 4), (10, 4)) is None
    assert break_even((10, 5), (100, 4)) is None  # ahead at first, and overtaken at use 90
    assert break_even((100, 1), (10, 4)) != break_even((100, 0), (10, 4))


@given(*[st.integers(0, 40)] * 4)
def test_break_even_is_the_first_use_from_which_it_never_costs_more(a, b, c, d):
    horizon = 2000  # beyond every crossing of lines with coefficients up to 40
    cheaper = [a + N * b <= c + N * d for N in range(1, horizon)]
    first = next((N for N in range(1, horizon) if all(cheaper[N - 1 :])), None)
    assert break_even((a, b), (c, d)) == first


def test_pays_after_uses_the_accounts_that_the_docstring_states():
    ways = {"far": Approach(("d",), ("f",), "p"), "plain": Approach((), ("g",), "q")}
    cost = {"d": 100.0, "f": 5.0, "g": 25.0, "p": 1.0, "q": 3.0}
    found = pays_after(cost, ways, ["plain"])
    # a new kernel each time: 100 + 6 N <= 28 N from N = 5 on; one fit: 105 + N <= 25 + 3 N from N = 40 on
    assert found == {"far": {"kernels": {"plain": 5}, "predictions": {"plain": 40}}}
    assert pays_after(cost | {"d": 0.0}, ways, ["plain"])["far"]["kernels"]["plain"] == 1  # distillation forgotten


# --- the claims ---------------------------------------------------------------------------------------------------------


def test_claims_by_hand(subject):
    """ImageNette, ResNet-18, 500 images of 200 updates: a second for an update, two to project an image's gradients."""
    scale = claims.SCALES[-1]
    size = replace(
        subject.size(), n=scale.n, outputs=10, parameters=11_181_642, k=scale.k, images=500, updates=200, forwards=1
    )
    found = {row["accounting"]: row["ratio"] for row in claims.claims(size, {"updates": 1.0, "projected": 2.0})}
    hand = {
        "images with a Jacobian, all over 500 distilled": 9469 / 500,
        "images with a Jacobian, all over 100 distilled": 9469 / 100,
        "backward passes, nC over 500 images of 200 updates": 94_690 / (100_000 + 5_000),
        "backward passes, nC over 100 images of 200 updates": 94_690 / (20_000 + 1_000),
        "backward passes, nC over 500 images of 1000 updates": 94_690 / (500_000 + 5_000),
        "seconds, JL only over WMDD + JL with 200 updates": 2 * 9469 / (100_000 + 1_000),
        "seconds, JL only over DNTK, images given": 9469 / 500,
        "seconds, JL only over DNTK, all included": 2 * 9469 / (100_000 + 1_000),
        "numbers stored, all gradients over 500 projected": 9469 * 11_181_642 / (500 * 4096),
        "numbers stored, JL only over distilled": 9469 / 500,
        "multiply-adds of all kernel entries": 9469**2 * 11_181_642 / (500**2 * 4096),
    }
    assert {name: found[name] for name in hand} == pytest.approx(hand, rel=TOL["hand"])
    forgotten = claims.claims(replace(size, updates=0), {"updates": 1.0, "projected": 2.0})
    assert dict((row["accounting"], row["ratio"]) for row in forgotten) != found


def test_at_imagenette_s_scale_tables_are_whole_and_say_that_nothing_was_run(subject, monkeypatch, capsys):
    """ResNet-18 at 224 px, every unit a second: 9,469 images by 10 logits, 500 images by 200 updates, in 80 columns."""
    monkeypatch.setattr(claims, "network_units", lambda *_, **__: dict.fromkeys(UNITS, 1.0))
    like, algebra = replace(subject.size(), updates=200), dict.fromkeys(("single", "double", "cubes"), 0.0)
    record = claims.scale_record(claims.SCALES[-1], like, algebra, rounds=1, progress=print)
    ways = {row["way"]: row for row in record["ways"]}
    assert (record["network"], record["side"], record["parameters"]) == ("resnet18", 224, 11_181_642)
    assert ways["JL only"]["passes"]["fit"] == {"forward": 9469, "backward": 94_690, "products": 0}
    assert ways["last layer"]["passes"]["fit"] == {"forward": 9469, "backward": 0, "products": 0}
    once = {"forward": 9469 + 500 + 100_000, "backward": 100_000, "products": 0}
    assert {str(ways[name]["passes"]["once"]) for name, way in APPROACHES.items() if way.once} == {str(once)}
    # 109,969 - 0 and 500 a kernel against 9,469: once more than 12 of them; the fit once: 110,469 > 9,469, and then a draw
    assert ways["WMDD + JL"]["seconds"] == {"once": 109_969, "fit": 500, "use": 1_000}
    assert record["pays"]["seconds"]["WMDD + JL"]["kernels"]["JL only"] == math.ceil(109_969 / 8_969) == 13
    assert record["pays"]["seconds"]["WMDD + JL"]["predictions"]["JL only"] is None
    for table in headline.scale_tables(record):
        Console(width=80).print(table)
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "nothing was run" in " ".join(printed.split())
    assert all(name in printed for name in APPROACHES)


# --- the command --------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "headline", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_prints_whole_tables_and_writes_what_it_found(monkeypatch, capsys, tmp_path):
    path = tmp_path / "headline.json"
    assert command(monkeypatch, "--quick", "--threads", 1, "--json", path) == 0
    printed, record = capsys.readouterr().out, json.loads(path.read_text())
    assert all(printed.count(name) >= 3 for name in APPROACHES)
    assert "…" not in printed
    assert str(tmp_path) not in path.read_text()
    for row, name in zip(record["ways"], APPROACHES, strict=True):
        assert row["way"] == name
        assert set(row["passes"]) == set(row["seconds"]) == {"once", "fit", "use"}
        assert all(set(part) == set(KINDS) for part in row["passes"].values())
        assert row["seconds"]["fit"] > 0 < row["seconds"]["use"]
        assert (row["seconds"]["once"] > 0) is bool(APPROACHES[name].once)
        assert 0 <= row["accuracy"] <= 1 >= row["fidelity"] >= 0 <= row["kernel_error"]
        assert row["kept_bytes"] > 0
        assert row["held_bytes"] > 0
    (scale,) = record["scales"]
    assert [row["way"] for row in scale["ways"]] == list(APPROACHES)
    assert all(row["ratio"] > 0 for row in scale["claims"])
    for pays in (record["pays"], scale["pays"]):
        for unit in ("seconds", "passes"):
            assert set(pays[unit]) == {name for name, way in APPROACHES.items() if way.once}
            assert all(set(found) == set(ACCOUNTS) for found in pays[unit].values())
            assert all(set(part) == set(RIVALS) for found in pays[unit].values() for part in found.values())


def test_an_interruption_leaves_one_line_and_no_file(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(headline, "_laps", interrupted)
    assert command(monkeypatch, "--quick", "--json", tmp_path / "headline.json") == 130
    *bars, last = capsys.readouterr().out.splitlines()
    assert last == "Stopped: no file is written."
    assert all("the network" in line for line in bars if line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nothing"), "data: expected one of"),
        (("--rounds", 0), "rounds: expected an integer"),
        (("--threads", 0), "threads: expected an integer"),
        (("--json", "nowhere/headline.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_a_wrong_request_is_refused_before_the_work(monkeypatch, capsys, options, message):
    monkeypatch.setattr(headline, "_subject", None)
    assert command(monkeypatch, *options) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")


def test_kernels_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(headline, "EXACT_KERNEL_BYTES", 1_024)
    with pytest.raises(ValueError, match=r"^data: expected exact kernels of at most 1.0 KiB, got 10 of 1,437 images"):
        headline.measure("digits")
