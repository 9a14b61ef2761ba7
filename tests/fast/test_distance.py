"""How far from the full kernel: every bound against the exact solution by another route, and stages cut short."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dntk_fast.certificates.certificate import combined, inner
from dntk_fast.certificates.conjugate_gradients import Step
from dntk_fast.files.stages import Stage, StageStore
from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.report.record import schema
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.workflow import data, distance, stages
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.distance import Inputs, distance_to_full, looks_beside, refinement_steps
from dntk_fast.workflow.models import build
from dntk_fast.workflow.pipeline import REFINEMENT, run
from tests.tolerances import TOL

SMALL = {"per_class": 6, "k": 64, "epochs": 4, "distil_steps": 5, "gradients": (3,), "draws": 1, "model": "mlp"}
SMALL |= {"certificate_rows": 60, "refine_k": 512, "refine_steps": 6, "refine_rms": 0.0}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A whole small run on three hundred digits: what its stage of certificates was given."""
    folder, digits = tmp_path_factory.mktemp("run"), load_digits()
    np.savez(
        folder / "pack.npz",
        images=(digits.images[:300] * 15).astype(np.uint8),
        labels=digits.target[:300].astype(np.uint8),
        split=(np.arange(300) % 5 == 0).astype(np.uint8),
    )
    config = Config(data=str(folder / "pack.npz"), **SMALL)
    run(config, folder / "run")
    digits = data.load(config.data)
    store = StageStore(folder / "run", config.settings, inputs={"data": digits.fingerprint})
    names = (
        "full kernel",
        "distillation, 6 per class",
        "distilled kernel, 6 per class",
        "features, held-out",
        "network",
    )
    stages = [store.load(name) for name in names]
    model = build("mlp", seed=config.seeds["network"], outputs=10, inputs=64)
    model.load_state_dict({name[8:]: w for name, w in stages[-1].arrays.items() if name.startswith("weights.")})
    return Inputs(model.eval(), digits, *stages, config), store.load(REFINEMENT)


@pytest.fixture(scope="module")
def exact(given):
    """The full predictor, by NumPy from kernels in double precision: on held-out and on training images."""
    inputs, _ = given
    digits, lam = inputs.data, inputs.full.numbers["full_kernel"]["lam"]
    kernel = tangent_kernel(inputs.model, digits.x_train, dtype=torch.float64).numpy()
    cross = tangent_kernel(inputs.model, digits.x_test, digits.x_train, dtype=torch.float64).numpy()
    targets = inputs.network.arrays["logits.train"].double().numpy()
    alpha = np.linalg.solve(kernel + lam * np.eye(kernel.shape[1]), targets[..., None])
    return (cross @ alpha)[..., 0], (kernel @ alpha)[..., 0]


def again(inputs, tmp_path):
    """The stage by itself, from the same inputs."""
    fresh = replace(inputs)  # without anything that was computed on the way
    return distance_to_full(fresh, lambda done, total: None, tmp_path / "c.safetensors")


def rms(values):
    return float(np.sqrt(np.mean(np.square(np.asarray(values, dtype=float)))))


def broken(stage, exact):
    """Names of the bounds of a stage that the exact held-out predictions break."""
    found, arrays = stage.numbers["distance"], {name: array.numpy() for name, array in stage.arrays.items()}
    steps = range(len(found["steps"]))
    errors = [arrays["predictions"][s] - exact for s in steps]
    own = arrays["distilled"] - exact
    classes = exact.argmax(0)
    true = [np.mean(arrays["predictions"][s].argmax(0) == classes) for s in steps]
    of_distilled = np.mean(arrays["distilled"].argmax(0) == classes)
    holds = {
        "start, pointwise": np.all(abs(own - arrays["centre"]) <= arrays["half_width"]),
        "start": rms(own) <= found["start"]["held_out_rms"]["bound"],
        "end": rms(own) <= found["end"]["held_out_rms"]["bound"],
        "steps, pointwise": all(
            np.all(abs(errors[s]) <= arrays["radius"][s][:, None] * arrays["scale"]) for s in steps
        ),
        "steps": all(rms(errors[s]) <= found["steps"][s]["bound"] for s in steps),
        "distilled by way of steps": all(rms(own) <= found["steps"][s]["distilled_bound"] for s in steps),
        "classes": all(found["steps"][s]["same"] <= true[s] for s in steps),
        "classes of distilled": all(
            one["same"] <= of_distilled <= 1 - one["other"] for one in (found["start"], found["end"])
        ),
    }
    return [name for name, held in holds.items() if not held]


def test_every_bound_holds_for_every_held_out_point(given, exact):
    assert broken(given[1], exact[0]) == []


def test_training_error_objective_and_network_are_bounded_too(given, exact):
    inputs, stage = given
    found, digits = stage.numbers["distance"], inputs.data
    fitted = inputs.problem.predict(inputs.weights, digits.x_train).numpy()
    for when in ("start", "end"):
        assert rms(fitted - exact[1]) <= found[when]["training_rms"]["bound"]
        assert found[when]["objective"]["truth"] <= found[when]["objective"]["bound"] <= found[when]["duality_gap"]
    away = stage.arrays["distilled"].numpy() - inputs.network.arrays["logits.test"].numpy()
    assert found["network"]["truth"] == pytest.approx(rms(away), rel=TOL["float32"])
    assert found["network"]["truth"] <= found["network"]["bound"]


def test_true_errors_are_true(given, exact):
    inputs, stage = given
    found = stage.numbers["distance"]
    np.testing.assert_allclose(
        inputs.full.arrays["predictions"], exact[0], rtol=0, atol=TOL["polished"] * rms(exact[0])
    )
    assert found["scale"] == pytest.approx(rms(exact[0]), rel=TOL["polished"])
    fitted = inputs.problem.predict(inputs.weights, inputs.data.x_train).numpy()
    assert found["end"]["held_out_rms"]["truth"] == pytest.approx(
        rms(stage.arrays["distilled"].numpy() - exact[0]), rel=TOL["float32"]
    )
    assert found["end"]["training_rms"]["truth"] == pytest.approx(rms(fitted - exact[1]), rel=TOL["float32"])
    for step, said in zip(found["steps"], stage.arrays["predictions"].numpy(), strict=True):
        assert step["truth"] == pytest.approx(rms(said - exact[0]), abs=TOL["polished"] * found["scale"])
        assert step["looseness"] == pytest.approx(step["bound"] / step["truth"])
    assert inputs.full.arrays["coefficients"].shape == (10, len(inputs.data.x_train))


def test_the_true_excess_is_that_of_the_objective(given, exact):
    """J(w) - J(w_*) = (|Phi (w - w_*)|^2 + lam |w - w_*|^2) / 2, for the gradient is zero at w_*."""
    inputs, stage = given
    problem = replace(inputs.problem, jacobian=inputs.problem.J.to(torch.float64))
    best = problem.backward(inputs.full.arrays["coefficients"])
    away = combined(best, -torch.ones(10, dtype=torch.float64), inputs.weights)
    fitted = inputs.problem.predict(inputs.weights, inputs.data.x_train).numpy()
    excess = (np.square(fitted - exact[1]).sum() + problem.lam * float(inner(away, away).sum())) / 2
    for when in ("start", "end"):
        assert stage.numbers["distance"][when]["objective"]["truth"] == pytest.approx(excess, rel=TOL["float32"])


def test_the_refinement_comes_nearer_and_brings_the_distilled_bound_to_the_truth(given):
    found = given[1].numbers["distance"]
    assert found["steps"][-1]["truth"] < found["steps"][0]["truth"]
    assert found["steps"][-1]["bound"] < found["steps"][0]["bound"]
    assert found["end"]["held_out_rms"]["looseness"] < found["start"]["held_out_rms"]["looseness"]
    assert found["end"]["training_rms"]["looseness"] < found["start"]["training_rms"]["looseness"]


def test_passes_go_up_by_two_a_step(given):
    stage = given[1]
    found, refined = stage.numbers["distance"], stage.numbers["refined"]
    assert [step["step"] for step in found["steps"]] == list(range(SMALL["refine_steps"] + 1))
    passes = [step["passes"] for step in found["steps"]]
    assert np.diff(passes).tolist() == [2] * (SMALL["refine_steps"] - 1) + [
        4
    ]  # in the end w is taken afresh from alpha
    assert refined["forward"] + refined["backward"] == passes[-1]
    assert found["end"]["passes"] == passes[-1] + found["start"]["passes"]
    n, C = 240, 10
    assert stage.backward_passes > C * n * refined["backward"]


def test_the_radius_is_the_distance_that_the_bounds_of_a_step_rest_on(given):
    """One bound on |w - w_*|_H: times a point's scale for that point, times sqrt(spread / t) for the RMS over all."""
    inputs, stage = given
    t = len(inputs.data.x_test)
    squares = stage.arrays["radius"].square() * inputs.held.spread / t
    told = [step["bound"] for step in stage.numbers["distance"]["steps"]]
    assert squares.mean(1).sqrt().tolist() == pytest.approx(told, rel=TOL["float64"])


def test_rows_and_map_are_drawn_from_the_seed_of_the_certificate(given):
    inputs = given[0]
    seed, digits = inputs.config.seeds["certificate"], inputs.data
    drawn = torch.randperm(240, generator=torch.Generator().manual_seed(seed))[:60]
    assert torch.equal(inputs.subset.rows, drawn.sort().values)
    features = tangent_features(inputs.model, digits.x_train, k=512, seed=seed).values
    torch.testing.assert_close(inputs.features, inputs.subset.completed(features), rtol=0, atol=0)


def test_the_passes_told_are_the_passes_made(given, tmp_path, monkeypatch):
    inputs, stage = given
    made, told = Counter(), stage.numbers["distance"]

    def counting(name, honest):
        def counted(owner, x, *more, **options):
            made[name, len(x)] += 1
            if name == "kernel" and more[0] is not None:
                made[name, len(more[0])] += 1
            return honest(owner, x, *more, **options)

        return counted

    for name in ("matvec", "rmatvec", "diagonal", "kernel"):
        monkeypatch.setattr(Jacobian, name, counting(name, getattr(Jacobian, name)))
    monkeypatch.setattr(distance, "tangent_features", counting("tangent_features", tangent_features))
    again(inputs, tmp_path)
    (C, n), m = inputs.problem.targets.shape, 60  # as many rows of the subset as held-out images
    over_training = [count for (name, rows), count in made.items() if rows == n and name != "kernel"]
    assert sum(over_training) == told["end"]["passes"]
    assert told["start"]["passes"] == 3  # J v, J^T a, the squared norms
    assert told["steps"][0]["passes"] == 4  # J v, J^T a, the squared norms, the projections

    tangents = sum(C * rows * count for (name, rows), count in made.items() if name == "matvec")
    images = sum(rows * count for (name, rows), count in made.items() if name != "matvec")
    # Of the bounds' own J v three are told for held-out images and for the subset's rows each, and fewer are made.
    assert images + tangents <= stage.forward_passes <= images + tangents + 3 * C * m
    assert C * images <= stage.backward_passes <= C * (images + m)


def found_of(**parts):
    """What the numbers are made from, with the parts of it that a test needs."""
    names = ("given", "seen", "gap", "fitted", "distilled", "refined_fitted", "predictions", "radius", "history")
    return distance._Found(**dict.fromkeys(names) | parts)


def test_by_way_of_a_step_is_how_far_to_it_and_its_own_bound():
    zeros, twos = torch.zeros(1, 4, dtype=torch.float64), torch.full((1, 4), 2.0, dtype=torch.float64)
    history = (Step(0, (0.5,), (0.25,), (0.0,), (0.0,), 1, 1),)
    found = found_of(fitted=zeros, refined_fitted=twos, distilled=zeros, predictions=twos[None], history=history)
    assert found.by_way_of_fitted().tolist() == [2.5]
    assert found.by_way_of(0).tolist() == [2.25]


def test_the_excess_of_the_optimum_is_never_below_zero():
    one = torch.ones(1, 1, dtype=torch.float64)
    problem = SimpleNamespace(targets=one, ridge=one[0])

    def excess(alpha):  # K = lam = y = 1: w = alpha = 1/2, J = 1/4
        given = SimpleNamespace(problem=problem, exact=lambda name: alpha, weights={"w": one / 2})
        return found_of(given=given, fitted=one / 2).excess()

    assert excess(one / 2) == 0
    assert excess(one / 4) == 1 / 8
    assert excess(0.75 * one) == 0  # what J(w_*) is taken to be then lies above J(w), as rounding may have it


# --- broken twins -----------------------------------------------------------------------------------------------------


def test_a_residual_below_the_true_one_is_seen(given, exact, tmp_path, monkeypatch):
    """As a recursion leaves it that has drifted: smaller than lam w + Phi^T (Phi w - y)."""
    honest = distance.residual

    def drifted(problem, weights, **more):
        found = honest(problem, weights, **more)
        small = {name: 1e-6 * r for name, r in found.values.items()}
        return replace(found, values=small, norm=1e-6 * found.norm, allowance=0 * found.allowance)

    monkeypatch.setattr(distance, "residual", drifted)
    assert {"start, pointwise", "start"} <= set(broken(again(given[0], tmp_path), exact[0]))


def test_bounds_of_the_steps_that_are_too_small_are_seen(given, exact, tmp_path, monkeypatch):
    honest = distance.solve

    def recursive(*args, **more):
        found = honest(*args, **more)
        small = [
            replace(
                step,
                excess=tuple(1e-10 * e for e in step.excess),
                held_out_rms=tuple(1e-5 * e for e in step.held_out_rms),
            )
            for step in found.history
        ]
        return replace(found, history=tuple(small))

    monkeypatch.setattr(distance, "solve", recursive)
    seen = set(broken(again(given[0], tmp_path), exact[0]))
    assert {"steps, pointwise", "steps"} <= seen
    assert "start" not in seen


# --- stages cut short, and without the exact kernel -------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["after the predictions", "before the predictions"])
def test_a_killed_refinement_goes_on_to_the_same_numbers(told, given, tmp_path):
    inputs, stage = given
    path, seen = tmp_path / "c.safetensors", []

    def kill(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distance_to_full(replace(inputs), kill, path)
    assert seen == [(step, SMALL["refine_steps"]) for step in range(4)]
    if not told:
        kept, words = read_tensors(looks_beside(path))
        write_tensors(looks_beside(path), {name: kept[name] for name in ("0", "1", "2", "known by")}, words)
    later = []
    resumed = distance_to_full(replace(inputs), lambda done, total: later.append(done), path)
    assert later == [3, 4, 5, 6]
    assert resumed.numbers == stage.numbers
    for name, array in stage.arrays.items():
        torch.testing.assert_close(resumed.arrays[name], array, rtol=0, atol=0)


def test_predictions_that_are_gone_are_named(given, tmp_path):
    path = tmp_path / "c.safetensors"

    def kill(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distance_to_full(replace(given[0]), kill, path)
    looks_beside(path).unlink()
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected predictions of every step in .*looks, got none of step 0"
    ):
        distance_to_full(replace(given[0]), kill, path)


def test_without_an_exact_solution_the_same_bounds_stand_alone(given, exact, tmp_path):
    inputs, stage = given
    alone = again(replace(inputs, full=Stage({}, inputs.full.numbers)), tmp_path)
    found, before = alone.numbers["distance"], stage.numbers["distance"]
    part = {"$defs": schema()["$defs"], **schema()["properties"]["distance"]}
    jsonschema.validate(found, part)
    assert not found["exact"]
    assert found["scale"] == pytest.approx(rms(inputs.network.arrays["logits.test"]))
    for when in ("start", "end"):
        assert found[when]["held_out_rms"] == {**before[when]["held_out_rms"], "truth": None, "looseness": None}
    assert [step["bound"] for step in found["steps"]] == [step["bound"] for step in before["steps"]]
    assert {step["truth"] for step in found["steps"]} == {None}
    assert broken(alone, exact[0]) == []


def test_a_kernel_that_does_not_fit_leaves_no_exact_solution(given, monkeypatch):
    inputs = given[0]
    monkeypatch.setattr(stages, "EXACT_KERNEL_BYTES", 0)
    kernels = stages.ExactKernels(inputs.model, inputs.data)
    full = stages.full_kernel(inputs.model, inputs.data, inputs.network, inputs.config, kernels)
    assert full.arrays == {}
    assert full.numbers["full_kernel"]["method"] == "features, k = 64"


def test_the_refinement_stops_at_the_rms_asked_for(given, exact, tmp_path):
    inputs, stage = given
    logits = rms(inputs.network.arrays["logits.test"])
    before = [step["bound"] / logits for step in stage.numbers["distance"]["steps"]]
    early = again(replace(inputs, config=replace(inputs.config, refine_rms=before[2])), tmp_path)
    after = early.numbers["distance"]["steps"]
    assert 2 < len(after) < len(before)
    assert after[-1]["bound"] / logits <= before[2]
    assert broken(early, exact[0]) == []


def test_steps_are_cut_to_the_operations_allowed(given):
    model, digits, config = given[0].model, given[0].data, given[0].config
    forward = 2 * (64 * 64 + 64 * 64 + 64 * 10)  # two for each weight of the three layers
    once = distance.STEP_FORWARDS * forward * 240 * 10
    for steps_allowed in (1, 3, 6):
        assert refinement_steps(model, digits, replace(config, refine_flops=steps_allowed * once)) == steps_allowed
    assert refinement_steps(model, digits, replace(config, refine_flops=0.5 * once)) == 1
    assert refinement_steps(model, digits, replace(config, refine_flops=3 * once - 1)) == 2
    assert refinement_steps(model, digits, config) == SMALL["refine_steps"]
