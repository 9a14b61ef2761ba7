"""The counts that README.md quotes are those of the committed ledger."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def quoted(text):
    """The row of numbers below the table's head with the verdicts."""
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("| holds |"))
    return [int(cell) for cell in re.findall(r"\d+", lines[place + 2])]


def test_readme_quotes_the_ledger():
    ledger = (ROOT / "proofs_checks" / "LEDGER.md").read_text().splitlines()[2]
    names = ("holds", "holds with an added hypothesis", "fails", "heuristic", "definition", "pending")
    counts = [int(re.search(rf"(\d+) {name}[,;]", ledger)[1]) for name in names]
    assert quoted((ROOT / "README.md").read_text()) == counts
    assert json.loads((ROOT / "proofs_checks" / "ledger.json").read_text())
    assert quoted("| holds | x |\n| ---: | ---: |\n| 1 | 2 |") == [1, 2]
