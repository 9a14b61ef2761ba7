"""The table of notation is true: each name exists, each shape is spelt in its letters, each equation has a row."""

import inspect
import re
from importlib import import_module

import pytest

from dntk_ref.notation import NOTATION, Symbol


def missing(name):
    """What a name of the table promises and the code does not have; None where all is there."""
    path, _, part = name.partition(":")
    module_name, _, attribute = path.partition(".")
    module = import_module(f"dntk_ref.{module_name}")
    if attribute not in module.__all__:
        return path
    if part and part not in inspect.signature(getattr(module, attribute)).parameters:
        return name
    return None


@pytest.mark.parametrize("row", NOTATION, ids=lambda row: row.name)
def test_each_name_exists(row):
    assert missing(row.name) is None


@pytest.mark.parametrize(
    "name", ["kernel.grammar", "kernel.gram:feature", "subspace.EnergyGap:tails", "locality.locality:kernels"]
)
def test_a_name_that_does_not_exist_is_seen(name):
    assert missing(name) is not None


@pytest.mark.parametrize("row", NOTATION, ids=lambda row: row.name)
def test_every_cell_is_filled_and_shapes_use_the_letters_of_the_table(row):
    assert all((row.symbol, row.name, row.shape, row.scale, row.where))
    for shape in re.findall(r"\(([^)]*)\)", row.shape):
        assert set(shape.replace(" ", "").strip(",").split(",")) <= {*"nmPkCdHTrqN", "mC"}


def test_every_equation_has_a_row():
    rows = {int(number) for row in NOTATION for number in re.findall(r"Eq (\d+)", row.where)}
    assert rows == set(range(1, 26))


def test_no_symbol_and_no_name_stands_twice():
    for column in ("symbol", "name"):
        cells = [getattr(row, column) for row in NOTATION]
        assert len(set(cells)) == len(cells)


def test_a_row_is_frozen():
    with pytest.raises(AttributeError, match="cannot assign to field"):
        Symbol("K", "kernel.gram", "(n, n)", "un-normalised", "Eq 1").name = "other"
