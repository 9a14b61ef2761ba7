"""Does distillation pay: the scoreboard on a small part of digits, its kernels by definition, its tables and its command."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dntk_fast.cli import app
from dntk_fast.experiment.scoreboard import METHODS, Method, Setting, _Board, _some, run
from dntk_fast.experiment.scoreboard_figure import error_against_passes, write_figure
from dntk_fast.experiment.scoreboard_table import cost_table, energy_table, error_table, passes_at_equal_error
from dntk_fast.kernels.joint import BlockProblem, block_kernel, random_cotangents
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build
from tests.tolerances import TOL

QUICK = Setting(
    per_class=(1, 2), methods=tuple(METHODS), seeds=1, epochs=1, steps=(("wmdd", 1), ("tuned", 1)), images=60
)
FLOAT32 = {"rtol": 10 * TOL["float32"], "atol": 10 * TOL["float32"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def record(folder):
    return run(QUICK, folder)


@pytest.fixture(scope="module")
def board():
    return _Board.of(build("conv8", seed=0).eval(), _some(load("digits"), 12))


def test_every_method_has_a_row_at_every_size(record):
    assert {(row["method"], row["per_class"]) for row in record["rows"]} == {(m, n) for m in METHODS for n in (1, 2)}
    for row in record["rows"]:
        assert 0 < row["energy"] < 1
        assert row["variance"] >= 1 - TOL["float32"]  # fewer gradients never know more than all of them


def test_energies_stay_below_their_bounds_and_the_joint_space_holds_more(record):
    energy = {(row["method"], row["per_class"]): row["energy"] for row in record["rows"]}
    for bound in record["bounds"]:
        m = bound["per_class"]
        assert energy["random, per class", m] <= min(bound["each"], energy["random, joint", m])
        assert max(value for (_, size), value in energy.items() if size == m) <= bound["pooled"]


def test_ratios_are_to_random_images_per_class(record):
    base = {row["per_class"]: row for row in record["rows"] if row["method"] == "random, per class"}
    for row in record["rows"]:
        assert row["error_ratio"] == row["error"] / base[row["per_class"]]["error"]
    assert all(row["error_ratio"] == 1 and row["gap_closed"] == 0 for row in base.values())


def test_an_interrupted_comparison_goes_on_without_the_kernel(record, folder, monkeypatch):
    def forbidden(*arguments):
        raise AssertionError("the kernel was formed again")

    monkeypatch.setattr(_Board, "of", forbidden)
    assert run(QUICK, folder)["rows"] == record["rows"]


def test_parts_of_the_kernel_are_the_kernels_of_the_images(board):
    rows = torch.tensor([3, 0, 7])
    part, x = board.part(rows), board.data.x_train[[3, 0, 7]]
    body, _ = part._blocks(None)
    head, _ = part._head_blocks(None)
    np.testing.assert_allclose(body + head, block_kernel(board.model, x), **FLOAT32)
    v = random_cotangents(3, 10, seed=0)
    mixed, mixed_cross = part._blocks(v)
    mixed_head, _ = part._head_blocks(v)
    np.testing.assert_allclose(mixed + mixed_head, block_kernel(board.model, x, v), **FLOAT32)
    _, cross = part._blocks(None)
    np.testing.assert_allclose(mixed_cross[..., 0], torch.einsum("tcnd,nd->tcn", cross, v), **FLOAT32)
    made, made_cross = board.made(x, board.data.y_train[rows])._blocks(None)
    np.testing.assert_allclose(made, body, **FLOAT32)
    np.testing.assert_allclose(made_cross, cross, **FLOAT32)


def test_the_variance_is_that_of_the_definition(board):
    part = board.part(torch.tensor([3, 0, 7]))
    data, lam = board.data, board.variance_ridge
    x = data.x_train[[3, 0, 7]]
    K, K_X = tangent_kernel(board.model, x), tangent_kernel(board.model, data.x_test, x)
    prior = tangent_kernel(board.model, data.x_test).diagonal(dim1=1, dim2=2)
    explained = torch.einsum("cti,cij,ctj->ct", K_X, torch.linalg.inv(K + lam * torch.eye(3, dtype=K.dtype)), K_X)
    np.testing.assert_allclose(part.variance_per_class(), float((prior - explained).mean()), **FLOAT32)


def test_energy_is_taken_on_held_out_gradients(board):
    part = board.part(torch.arange(12))
    K, _ = part._blocks(None)
    assert BlockProblem(K).kernel.shape == (12, 10, 12, 10)
    assert part.joint(None, 0)["energy"] < 1 - TOL["apart"]


def test_one_cotangent_keeps_as_many_gradients_or_all_images():
    assert Method("random", "joint", 1).count(5, 10, 1437) == 500
    assert Method("random", "joint", 1).count(20, 10, 1437) == 1437
    assert Method("random", "joint").count(5, 10, 1437) == 50


def test_an_unknown_method_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"methods: expected some of random, per class, .* got 'magic'"):
        run(Setting(methods=("magic",)), tmp_path)


def test_tables_show_every_row(record):
    for table in (error_table(record), energy_table(record)):
        assert len(table.rows) == len(record["rows"])
        assert all(len(row) == len(table.head) for row in table.rows)
    assert ("pool", "5", "300", "500", "0.043", "0.0086") in cost_table(1437, 10, (5,)).rows


def test_the_figure_has_a_line_for_every_method_and_is_the_same_bytes_again(record, tmp_path):
    figure = error_against_passes(record)
    for axes in figure.axes:
        labels = axes.get_legend_handles_labels()[1]
        assert set(METHODS) < set(labels)
        assert axes.get_xscale() == axes.get_yscale() == "log"
    write_figure(record, tmp_path / "a.svg")
    write_figure(record, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_choice_that_saves_nothing_never_pays():
    rows = [{"method": "random, joint", "per_class": m, "body_error": 1 / m, "kept": 21.0 * m} for m in (1, 4)]
    worse = {"method": "pool, joint", "body_error": 0.5, "choosing": 5.0, "kept": 63.0}
    assert passes_at_equal_error(rows, worse) is None
    assert passes_at_equal_error(rows, worse | {"body_error": 0.1}) is None


def test_the_command_prints_costs_and_compares(tmp_path):
    result = CliRunner().invoke(app, ["distill", "--per-class", "1"])
    assert result.exit_code == 0
    assert "wmdd" in result.output
    with pytest.raises(ValueError, match="per_class: expected integers above 0, separated by commas, got '0'"):
        CliRunner().invoke(app, ["distill", "--per-class", "0"], catch_exceptions=False)


def test_the_record_is_plain_numbers(record):
    assert json.loads(json.dumps(record, allow_nan=False))["complete"]
