"""What the error of a sketch is held against: simulated and enumerated laws, made-up errors, one tiny run."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast.bench import sketch
from dntk_fast.cli import main
from dntk_fast.projection import Sketch
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import tangent_kernel
from tests.fast.moments_by_hand import tensorsketch_variance
from tests.tolerances import TOL


def small(rows=5, columns=7):
    """A body of one weight, three images, two outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(columns, rows, bias=False), nn.Tanh(), nn.Linear(rows, 2)).double()
    return model, torch.randn(3, columns, dtype=torch.float64)


def gradients(model, images):
    """(C, n, rows, columns), one backward pass for each."""
    found = [torch.autograd.grad(value, model[0].weight, retain_graph=True)[0] for value in model(images).T.flatten()]
    return torch.stack(found).unflatten(0, (2, len(images)))


def test_the_expected_error_of_each_class_is_a_gaussian_map_s():
    model, images = small()
    G = gradients(model, images).flatten(2).numpy()
    K = G @ G.transpose(0, 2, 1)
    drawn = G[:, None] @ np.random.default_rng(0).standard_normal((4000, 35, 6)) / 6**0.5
    squares = np.sum((drawn @ np.swapaxes(drawn, 2, 3) - K[:, None]) ** 2, axis=(2, 3)).mean(1)
    simulated = np.sqrt(squares / np.sum(K**2, axis=(1, 2)))
    found = sketch.expected_errors(torch.as_tensor(K), 6).numpy()
    np.testing.assert_allclose(found, simulated, rtol=TOL["simulated error"])
    assert not np.allclose(2 * found, simulated, rtol=TOL["simulated error"])


def exact_and_bound(shape, k):
    """The expected squared error of a TensorSketch over a Gaussian map's, from the variance of every entry; its bound."""
    model, images = small(*shape)
    K, G = tangent_kernel(model, images, parameters=["0.weight"]), gradients(model, images)
    exact = sum(tensorsketch_variance(u, v, k) / float(K[c].square().sum()) for c in (0, 1) for u in G[c] for v in G[c])
    bound = sketch._bound(model, images, Sketch({"0.weight": shape}, k, 0, "tensorsketch"), K)
    return exact / float(sketch.expected_errors(K, k).square().sum()), bound**2


@pytest.mark.parametrize(("shape", "k"), [((5, 7), 4), ((5, 7), 5), ((5, 7), 8), ((2, 30), 15), ((30, 2), 15)])
def test_no_law_exceeds_the_bound(shape, k):
    exact, bound = exact_and_bound(shape, k)
    assert exact <= bound


def test_a_bound_of_one_would_not_hold_for_tensorsketch():
    exact, _ = exact_and_bound((5, 7), 4)
    assert exact > 1.05


def test_the_bound_of_contiguous_maps_is_one():
    model, images = small()
    K = tangent_kernel(model, images, parameters=["0.weight"])
    assert sketch._bound(model, images, Sketch({"0.weight": (5, 7)}, 4, 0, "contiguous"), K) == 1


def test_errors_are_judged_over_seeds_and_classes():
    """Two seeds, two classes: the root mean square of 3, 4, 0, 5 over that of 1 and 7."""
    found = sketch._judged(np.array([[3.0, 4.0], [0.0, 5.0]]), np.array([1.0, 7.0]))
    assert found == {"error": 12.5**0.5, "expected": 5, "ratio": 0.5**0.5, "low": 0.5**0.5, "high": 0.5**0.5}
    rng = np.random.default_rng(1)
    errors = np.abs(rng.standard_normal((200, 1)))
    found = sketch._judged(errors, np.ones(1))
    spread = np.std(errors**2) / np.sqrt(200) / (2 * found["ratio"])  # of a root of a mean
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * spread, rel=TOL["sketch error over seeds"])


# --- the command ------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "sketch", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_prints_a_table_writes_what_it_found_and_keeps_the_weights(monkeypatch, capsys, tmp_path):
    path = tmp_path / "sketch.json"
    options = ("--quick", "--threads", 1, "--seeds", 3, "--cache", tmp_path, "--json", path)
    assert command(monkeypatch, *options) == 0
    assert "of the body, 20 images" in " ".join(capsys.readouterr().out.split())
    record = json.loads(path.read_text())
    assert (record["threads"], record["n"], record["seeds"], record["complete"]) == (1, 20, 3, True)
    assert [(row["network"], row["map"], row["k"]) for row in record["rows"]] == [
        ("conv8", "auto", 64), ("conv8", "gaussian", 64)
    ]  # fmt: skip
    for row in record["rows"]:
        assert row["error"] == pytest.approx(row["ratio"] * row["expected"], rel=TOL["float64"])
        assert row["low"] <= row["ratio"] <= row["high"]
    assert record["rows"][0]["bound"] >= 1
    assert record["rows"][1]["bound"] is None
    monkeypatch.setattr(sketch, "train", None)  # the weights are not trained again
    again = sketch.measure(quick=True, threads=1, seeds=3, cache=tmp_path)
    assert again["rows"] == record["rows"]


def test_the_error_is_that_of_the_body_s_kernel(monkeypatch):
    """One seed, by hand; the head, which is exact, is in neither kernel."""
    record = sketch.measure(quick=True, threads=1, seeds=2)
    model, images, accuracy = sketch._trained("conv8", sketch.QUICK["conv8"], sketch.Path(), None, 20, lambda *_: None)
    found = [tangent_features(model, images, k=64, seed=seed) for seed in (0, 1)]
    body = list(found[0].plan.sketch.shapes)
    K = tangent_kernel(model, images, parameters=body)
    squares = [
        ((f.body.double() @ f.body.double().mT - K).square().sum((1, 2)) / K.square().sum((1, 2))) for f in found
    ]
    assert record["rows"][0]["error"] == pytest.approx(float(torch.stack(squares).mean().sqrt()), rel=TOL["float32"])
    assert record["rows"][0]["accuracy"] == accuracy > 0.2
    with_head = tangent_kernel(model, images)
    assert float((with_head - K).abs().max()) > TOL["apart"]


def test_an_interruption_writes_no_file(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sketch, "_trained", interrupted)
    assert command(monkeypatch, "--quick", "--json", tmp_path / "sketch.json") == 130
    assert "Stopped" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nothing"), "only: expected one of conv28, resnet18"),
        (("--seeds", 1), "seeds: expected an integer"),
        (("--threads", 0), "threads: expected an integer"),
        (("--cache", "nowhere"), "cache: expected a folder that exists"),
        (("--data", "nowhere", "--only", "conv28"), "data: expected a file or a folder that exists, got nowhere"),
        (("--json", "nowhere/sketch.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_a_wrong_request_is_refused_before_the_work(monkeypatch, capsys, options, message):
    monkeypatch.setattr(sketch, "train", None)
    assert command(monkeypatch, *options) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")
