"""The table of defaults in docs/measures.md says what the signatures say, with a reason for each."""

import inspect
import re
from pathlib import Path

import dntk_fast
from dntk_fast.workflow.config import Config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measures.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| `([^`]+)` \| (.+) \|$", re.MULTILINE)


def signature(name):
    return inspect.signature(Config if name == "Config" else getattr(dntk_fast, name)).parameters


def wrong(page):
    """Rows whose argument has another default, or none, or no reason."""
    rows = ROW.findall(page)
    return [
        (where, argument)
        for argument, where, value, why in rows
        if len(why) < 10 or argument not in signature(where) or signature(where)[argument].default != eval(value)
    ]


def test_the_table_of_defaults_is_that_of_the_signatures():
    page = PAGE.read_text(encoding="utf-8")
    assert wrong(page) == []
    assert {"memory", "k", "per_class", "lam"} <= {row[0] for row in ROW.findall(page)}


def test_another_default_is_seen():
    assert wrong("| `k` | `DistilledNTK` | `7` | because it is so |") == [("DistilledNTK", "k")]
    assert wrong("| `nothing` | `DistilledNTK` | `7` | because it is so |") == [("DistilledNTK", "nothing")]
