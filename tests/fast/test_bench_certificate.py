"""What the certificate's measurement counts and keeps, on a small network; no time is asserted."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast.bench import certificate
from dntk_fast.certificates.certificate import FullProblem, residual
from dntk_fast.cli import main
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian
from tests.fast.plain import close
from tests.tolerances import TOL

PHASES = ["floor", "tr K (once)", "features, weights", "residual, Phi w known", "residual, Phi w unknown",
          "subset (once)", "bounds", "floor"]  # fmt: skip


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "certificate", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_counts_its_passes_and_writes_what_it_found(monkeypatch, capsys, tmp_path):
    path = tmp_path / "certificate.json"
    assert command(monkeypatch, "--quick", "--model", "conv28", "--n", 12, "--threads", 1, "--json", path) == 0
    record = json.loads(path.read_text())
    printed = capsys.readouterr().out
    assert all(name in printed for name in PHASES)
    assert [row["phase"] for row in record["phases"]] == PHASES
    passes = {row["phase"]: row for row in record["phases"]}
    assert (passes["floor"]["forward"], passes["floor"]["backward"]) == (12, 120)
    known, unknown = passes["residual, Phi w known"], passes["residual, Phi w unknown"]
    assert (known["backward"], known["jacobian_vector"], known["vector_jacobian"]) == (120, 0, 120)
    # Before J v two images go there and back, to compare its two ways.
    assert (unknown["backward"], unknown["jacobian_vector"], unknown["vector_jacobian"]) == (122, 120, 120)
    probes = known["forward"] - 12  # the model is looked at before the first product, and not again
    assert 0 < probes < 12
    # One forward pass for J v of all logits, one for J^T a, and two images there and back in two ways.
    assert unknown["forward"] == 12 + 12 + 4
    assert all(row["peak"] > 0 and row["seconds"] > 0 for row in record["phases"])
    assert passes["residual, Phi w known"]["peak"] > 2 * 10 * 98442 * 4  # at least the weights and the residual
    assert all(row["error"] < TOL["float32"] for row in record["rows"])
    assert {key: record[key] for key in ("model", "data", "weights", "n", "parameters", "outputs", "complete")} == {
        "model": "conv28", "data": "random images", "weights": "random", "n": 12, "parameters": 98442, "outputs": 10,
        "complete": True,
    }  # fmt: skip
    assert record["certificate"]["allowance"] < record["certificate"]["training_rms"]
    assert str(tmp_path) not in path.read_text()


@pytest.fixture
def subject(monkeypatch):
    monkeypatch.setattr(certificate, "K", 20)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    torch.manual_seed(0)
    return certificate._Work(model, torch.randn(9, 2, 3), torch.randn(2, 2, 3), 4)


def test_the_weights_are_those_of_the_distilled_rows_and_predict_what_the_features_do(subject):
    problem = subject.problem(torch.full((3,), 9.0, dtype=torch.float64))
    assert problem.ridge.tolist() == pytest.approx([certificate.RELATIVE_RIDGE] * 3, rel=TOL["hand"])
    assert torch.equal(problem.targets, subject.model(subject.x).detach().T)
    w, fitted = subject.distilled(problem)
    assert close(jacobian_vector(subject.model, subject.x, w), fitted, TOL["float32"])
    known, unknown = residual(problem, w, fitted=fitted), residual(problem, w)
    assert close(known.norm, unknown.norm, TOL["float32"])


def test_passes_are_counted_in_copies_of_the_network_too(subject):
    passes = certificate._Passes(subject.model)
    vector_jacobian(subject.model, subject.x, torch.ones(3, 9))
    once = passes.counted()
    assert once["backward"] == 27
    vector_jacobian(copy.deepcopy(subject.model).double(), subject.x.double(), torch.ones(3, 9))
    assert passes.counted() == {name: 2 * count for name, count in once.items()}
    passes.reset()
    assert passes.counted() == {"forward": 0, "backward": 0}


def test_the_peak_is_what_was_in_memory_at_once():
    before, room = certificate._resident("VmRSS"), 0.9 * 2**28  # the system counts pages in batches
    block = np.ones(2**25)
    assert certificate._resident("VmRSS") > before + room
    del block
    assert certificate._resident("VmHWM") > before + room > certificate._resident("VmRSS")


def test_the_bounds_are_in_units_of_the_targets(subject):
    problem = subject.problem(torch.full((3,), 9.0, dtype=torch.float64))
    w, fitted = subject.distilled(problem)
    subset, held = certificate._prepared(problem, torch.arange(4), subject.held)
    found = subject.bounds(subset, held, residual(problem, w, fitted=fitted))
    ten = FullProblem(problem.model, problem.x, 10 * problem.targets, problem.lam, problem.trace)
    w, fitted = {name: 10 * value for name, value in w.items()}, 10 * fitted
    subset, held = certificate._prepared(ten, torch.arange(4), subject.held)
    again = subject.bounds(subset, held, residual(ten, w, fitted=fitted))
    assert again == pytest.approx(found, rel=TOL["float32"] * 10)
    assert found["training_rms"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--n", 1, "--quick"), "n: expected an integer"),
        (("--n", 99), "n: expected an integer"),
        (("--quick", "--model", "conv8"), "model: expected one of"),
        (("--quick", "--data", "nowhere.npz"), "data: expected"),
        (("--json", "nowhere/x.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_refused(monkeypatch, capsys, arguments, message):
    assert command(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err


def test_more_images_than_the_data_has_are_refused():
    with pytest.raises(ValueError, match="n: expected at most the 1,437 training images of digits, got 2,000"):
        certificate.measure("digits", model="conv8", n=2000)


def test_an_interruption_ends_in_one_line(monkeypatch, capsys, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(certificate, "measure", interrupted)
    assert command(monkeypatch, "--json", tmp_path / "x.json") == 130
    assert "Stopped" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
