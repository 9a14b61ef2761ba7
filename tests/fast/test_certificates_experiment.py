"""The experiment on certificates: formed gradients are the problem itself, the truth is true, and a false bound counts."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from dntk_fast.certificates.certificate import (
    SubsetResidual,
    certify,
    held_out,
    held_out_bounds,
    residual,
    training_subset,
)
from dntk_fast.certificates.conjugate_gradients import refine
from dntk_fast.certificates.full_problem import FullProblem
from dntk_fast.cli import app
from dntk_fast.experiment import certificates as module
from dntk_fast.experiment.certificates import MARKS, QUICK, run
from dntk_fast.experiment.certificates_table import bounds_table, steps_needed, steps_table
from dntk_fast.experiment.formed import FormedJacobian, joint_factor
from dntk_fast.files.stages import StageStore
from dntk_fast.workflow.data import load
from tests.fast.plain import close
from tests.fast.test_certificate import Case, flat, named
from tests.tolerances import TOL


def pair(case):
    """The problem of a network and the one of its gradients."""
    rows, new = torch.arange(len(case.x)), len(case.x) + torch.arange(len(case.test))
    both = torch.cat((case.Phi, case.Phi_t), 1)
    formed = FullProblem(FormedJacobian(both), rows, case.y, case.ridge)
    return formed, training_subset(formed, case.subset.rows), new


def weights(case):
    return {"span": case.w.double(), "rest": torch.zeros(2, 1, dtype=torch.float64)}


@pytest.mark.parametrize("m", [0, 2])
def test_formed_gradients_are_the_problem_itself(m):
    case = Case(3, m=m)
    formed, subset, new = pair(case)
    ours = held_out_bounds(SubsetResidual(subset, residual(formed, weights(case))), held_out(subset, new))
    own = residual(case.problem, named(case.model, case.w))
    theirs = held_out_bounds(SubsetResidual(case.subset, own), held_out(case.subset, case.test))
    assert close(ours.pointwise, theirs.pointwise)
    assert close(ours.rms, theirs.rms)
    there = certify(SubsetResidual(subset, residual(formed, weights(case))))
    assert close(there.excess, certify(SubsetResidual(case.subset, own)).excess)
    options = {"rms": 0.0, "steps": 3}
    found = refine(formed, weights(case), subset, held_out(subset, new), **options)
    expected = refine(case.problem, named(case.model, case.w), case.subset, held_out(case.subset, case.test), **options)
    assert close(found.weights["span"], flat(expected.weights), TOL["squared_kernel"])
    steps = (torch.tensor([one.held_out_rms for one in each.history]) for each in (found, expected))
    assert close(*steps, TOL["float32"])


def test_what_lies_outside_all_gradients_counts_in_the_weights_alone():
    case = Case(3)
    formed, _, new = pair(case)
    inside, outside = weights(case), weights(case) | {"rest": torch.ones(2, 1, dtype=torch.float64)}
    assert torch.equal(formed.predict(inside, new), formed.predict(outside, new))
    grown = residual(formed, outside).norm.square() - residual(formed, inside).norm.square()
    assert close(grown, case.ridge**2, TOL["squared_kernel"])


def test_rows_in_any_order():
    formed = pair(Case(3))[0]
    order = torch.tensor([4, 0, 3])
    assert torch.equal(formed.diagonal(order), formed.diagonal(torch.arange(5))[:, order])
    assert formed.rows(order).x.tolist() == [4, 0, 3]


def test_a_factor_has_the_kernel():
    K = Case(0).Phi @ Case(0).Phi.mT
    F = joint_factor(K)
    assert F.dtype == torch.float32
    assert close(F.double() @ F.double().mT, K, TOL["float32"])
    assert not bool(F.triu(1).any())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return folder, run(QUICK, folder / "run")


def test_no_bound_is_below_the_truth(made):
    record = made[1]
    assert record["violations"] == 0
    assert {one["network"] for one in record["refinements"]} == {0, 1}
    assert {(one["rows"], one["precision"]) for one in record["refinements"]} == {
        ("random", "float32"), ("random", "float64"), ("leverage", "float32")}  # fmt: skip
    for one in record["refinements"]:
        assert len(one["error"]) == len(one["bound"]) == 6
        assert [mark["step"] for mark in one["marks"]] == [step for step in MARKS if step <= 5]
        assert all(error <= bound for error, bound in zip(one["error"], one["bound"], strict=True))
        assert one["error"][-1] < one["error"][0]
    for row in record["starts"]:
        assert min(row[key]["median"] for key in ("held_out", "training", "pointwise")) >= 1


@pytest.fixture
def store(made):
    folder, record = made
    with StageStore(folder / "run", record["setting"], inputs={"data": load("digits").fingerprint}) as found:
        yield found


def test_a_false_bound_counts(store):
    subject = module._Subject(QUICK, 0, store)
    problem, subset, held = subject.measured("1e-2", "random", "float64")
    arrays = subject.start(0).arrays
    w = {name: arrays[f"1e-2/{name}"] for name in ("span", "rest")}
    seen = SubsetResidual(subset, residual(problem, w))
    own, bounds = certify(seen), held_out_bounds(seen, held)
    C, t = bounds.pointwise.shape
    assert subject.judged("1e-2", w, own, bounds)["violations"] == 0
    for name, count in (("training_rms", C), ("excess", C), ("duality_gap", C), ("weights", C)):
        false = replace(own, **{name: 0 * getattr(own, name)})
        assert subject.judged("1e-2", w, false, bounds)["violations"] == count
    assert subject.judged("1e-2", w, own, replace(bounds, rms=0 * bounds.rms))["violations"] == C
    assert subject.judged("1e-2", w, own, replace(bounds, half_width=0 * bounds.half_width))["violations"] == C * t
    # With no bound at all every class is called certified, and those that differ from the truth count besides.
    none = subject.judged("1e-2", w, own, replace(bounds, pointwise=0 * bounds.pointwise))
    assert none["violations"] == C * t + round((1 - none["agree"]) * t)


def test_the_truth_solves_the_normal_equations(store):
    subject = module._Subject(QUICK, 0, store)
    Phi, star, lam = subject.gradients[:, subject.train], subject.star("1e-3"), subject.lams["1e-3"]
    left = ((Phi @ star[..., None])[..., 0][:, None] @ Phi)[:, 0] + lam * star
    assert close(left, (subject.y.double()[:, None] @ Phi)[:, 0], TOL["squared_kernel"])


def test_it_goes_on_where_it_stopped(made, tmp_path):
    folder, record = made

    def stop(stage, done, total):
        if (stage, done) == ("network 0", 5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(QUICK, tmp_path / "run", progress=stop)
    assert not list((tmp_path / "run" / "stages").glob("network 1*"))
    again = run(QUICK, folder / "run", progress=stop_at_none)
    assert again == record


def stop_at_none(stage, done, total):
    assert 0 <= done <= total


def test_the_command_writes_the_record(made):
    folder, record = made
    out = folder / "found.json"
    result = CliRunner().invoke(
        app, ["experiment", "certificates", "--quick", "--out", str(out), "--folder", str(folder / "run")]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text()) == record
    assert "bounds below the truth: 0" in result.output


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    command = ["experiment", "certificates", "--quick", "--out", str(tmp_path / "no" / "x.json")]
    result = CliRunner().invoke(app, [*command, "--folder", str(tmp_path / "run")])
    assert isinstance(result.exception, ValueError)
    assert "out: expected a file in a folder that exists" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_tables_by_hand():
    mark = {name: {"median": 2.0, "worst": 4.0} for name in ("held_out", "training", "pointwise")} | {"certified": 0.5}
    one = {
        "network": 0,
        "ridge": "1e-2",
        "rows": "random",
        "precision": "float32",
        "error": [1.0, 9e-5],
        "bound": [2.0, 1.0],
    }
    one |= {"marks": [mark | {"step": 0}, mark | {"step": 5}]}
    start = [mark | {"ridge": "1e-2", "held_out": {"median": v, "worst": 9 * v}} for v in (1.0, 3.0, 100.0)]
    record = {"starts": start, "refinements": [one]}
    assert bounds_table(record).rows == (
        ("1e-2", "start", "3 (900)", "2 (4)", "2 (4)", "0.500"),
        ("1e-2", "5 steps", "2 (4)", "2 (4)", "2 (4)", "0.500"),
    )
    assert steps_table(record).rows == (
        ("1e-2", "0", "random", "float32", "1", "-", "1", "9.0e-05", "1.0e+00"),
    )  # fmt: skip
    assert steps_needed([1e-5]) == 0
