"""The guides of the site run, at the size at which they stand on the page, and each holds what it says."""

import ast
import runpy
from pathlib import Path

import pytest

GUIDES = sorted((Path(__file__).resolve().parents[2] / "docs" / "guides").glob("*.py"))


def asserted(source):
    """How many assertions a script makes."""
    return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))


def test_there_are_six():
    assert [path.stem for path in GUIDES] == ["certify", "distil", "features", "kernel", "ledger", "retraining"]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs_and_holds_what_it_says(path, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert asserted(path.read_text(encoding="utf-8")) >= 1
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


def test_a_guide_that_says_what_is_not_so_fails(tmp_path):
    source = next(path for path in GUIDES if path.stem == "ledger").read_text(encoding="utf-8")
    wrong = source.replace("redundancy.truncation_rank(K, 0.25) == 2", "redundancy.truncation_rank(K, 0.25) == 3")
    assert wrong != source
    (tmp_path / "wrong.py").write_text(wrong)
    with pytest.raises(AssertionError):
        runpy.run_path(str(tmp_path / "wrong.py"))
