"""Experiments whose results are kept: what the arrays are, and that the file says nothing but them."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dntk_fast.cli import app
from dntk_fast.cli import experiment as commands
from dntk_fast.experiment import eigen_factor, real_gradients, write_arrays
from dntk_fast.workflow.data import load
from tests.tolerances import TOL


@pytest.fixture(scope="module")
def made():
    return real_gradients(epochs=1, per_class=2)


def test_the_logits_are_those_of_the_head(made):
    found = made["weight"] @ made["hidden"].T + made["bias"][:, None]
    assert np.abs(found - made["logits"]).max() <= TOL["float64"] * np.abs(made["logits"]).max()


def test_the_factor_gives_kernels_that_hold_the_head(made):
    head = made["hidden"] @ made["hidden"].T + 1
    for factor in made["factor"]:
        kernel = factor @ factor.T
        rest = np.linalg.eigvalsh(kernel - head)
        assert rest[0] >= -TOL["float64"] * np.trace(kernel)
        assert rest[-1] > 0
        squares = np.sum(factor**2, axis=0)
        assert (np.diff(squares) <= 0).all()


def test_rows_are_the_first_of_every_class(made):
    labels = load("digits").y_train.numpy()
    assert (labels[made["rows"]] == made["labels"]).all()
    for c in range(10):
        assert sorted(made["rows"][made["labels"] == c]) == np.flatnonzero(labels == c)[:2].tolist()


def test_everything_is_float64_or_an_integer(made):
    kinds = {name: value.dtype for name, value in made.items()}
    assert {name for name, kind in kinds.items() if kind == np.int64} == {"labels", "rows"}
    assert {kind for name, kind in kinds.items() if name not in ("labels", "rows")} == {np.dtype("float64")}
    assert 0 <= made["accuracy"] <= 1


def test_more_images_of_a_class_than_there_are_is_refused():
    with pytest.raises(ValueError, match="per_class: expected an integer in"):
        real_gradients(epochs=1, per_class=10**6)


def test_rounding_below_zero_counts_as_zero():
    factor = eigen_factor(torch.tensor([[1.0, 1.0], [1.0, 1.0 - 1e-16]], dtype=torch.float64))
    assert torch.isfinite(factor).all()
    assert torch.allclose(factor @ factor.T, torch.ones(2, 2, dtype=torch.float64), rtol=0, atol=TOL["hand"])


def test_equal_arrays_make_equal_files_that_numpy_reads(tmp_path):
    arrays = {"a": np.arange(3), "b": np.float64(2.0).reshape(())}
    for name in ("one", "two"):
        write_arrays(tmp_path / name / "x.npz", arrays)
    assert (tmp_path / "one" / "x.npz").read_bytes() == (tmp_path / "two" / "x.npz").read_bytes()
    with np.load(tmp_path / "one" / "x.npz", allow_pickle=False) as read:
        assert {name: read[name].tolist() for name in read.files} == {"a": [0, 1, 2], "b": 2.0}


def test_the_command_writes_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "real_gradients", lambda seed: {"seed": np.array(seed)})
    result = CliRunner().invoke(app, ["experiment", "gradients", "--out", str(tmp_path / "g.npz"), "--seed", "3"])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "g.npz") as read:
        assert read["seed"] == 3
    assert str((tmp_path / "g.npz").stat().st_size) in result.output
