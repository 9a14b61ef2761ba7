"""The named wrong lines: each has its place in the sources of today, and the ledger sees those that it is quick to see."""

import shutil
from pathlib import Path

import pytest

import dntk_ref
from proofs_checks import mutants

TABLE = mutants.mutants()
HOME = Path(dntk_ref.__file__).parent


@pytest.mark.parametrize("mutant", TABLE, ids=[mutant.what for mutant in TABLE])
def test_a_wrong_line_has_its_place_and_agreements_that_could_see_it(mutant, tmp_path):
    shutil.copy2(HOME / mutant.file, tmp_path)
    before = (tmp_path / mutant.file).read_text()
    function = mutants.place(mutant, tmp_path)
    after = (tmp_path / mutant.file).read_text()
    assert before.replace(mutant.was, mutant.became, 1) == after != before
    compile(after, mutant.file, "exec")
    assert mutants.agreements_of(mutant.module, function)


def test_a_line_that_is_not_there_is_refused(tmp_path):
    shutil.copy2(HOME / "ridge.py", tmp_path)
    with pytest.raises(ValueError, match=r"ridge.py: expected the line 'x = y', got a source without it"):
        mutants.place(mutants.Mutant("nothing", "ridge.py", "x = y", "x = z"), tmp_path)


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.001, 1)])
def test_the_ledger_alone_ends_with_one_where_a_function_is_wrong(factor, code, monkeypatch):
    right = dntk_ref.ridge.leverage
    monkeypatch.setattr(dntk_ref.ridge, "leverage", lambda kernel, lam: factor * right(kernel, lam))
    assert mutants.main(["--ledger", "ridge", "leverage"]) == code
