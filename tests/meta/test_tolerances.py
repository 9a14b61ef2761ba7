"""The tolerances themselves: each has its reason, is used, and can fail."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from tests.tolerances import TOL

TESTS = Path(__file__).resolve().parents[1]


def reasons(source):
    """The comment above each entry of the table."""
    found, comment = {}, []
    for line in source.splitlines():
        entry = re.match(r'\s*"(.+?)":', line)
        if entry:
            found[entry[1]], comment = " ".join(comment), []
        elif line.strip().startswith("#"):
            comment.append(line.strip("# "))
    return found


def used(folder):
    """Names under which the table is asked, over all test files."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "TOL":
                names |= {leaf.value for leaf in ast.walk(node.slice) if isinstance(leaf, ast.Constant)}
    return names


def test_every_tolerance_has_its_reason():
    found = reasons((TESTS / "tolerances.py").read_text())
    assert set(found) == set(TOL)
    assert {name for name, reason in found.items() if len(reason.split()) < 6} == set()
    assert reasons('    "x": 1,') == {"x": ""}


def test_every_tolerance_is_used_and_every_use_is_there():
    assert set(TOL) == used(TESTS)


@pytest.mark.parametrize("name", list(TOL))
def test_every_tolerance_can_fail(name):
    """Half the tolerance passes, twice the tolerance does not, on a number of order one."""
    one = np.float64(1.0)
    np.testing.assert_allclose(one * (1 + TOL[name] / 2), one, rtol=TOL[name])
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(one * (1 + TOL[name] * 2), one, rtol=TOL[name])


def test_no_tolerance_is_as_large_as_what_it_measures():
    assert {name for name, size in TOL.items() if not 0 < size < 0.5} == set()
