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
    found = [re.search(rf"(\d+) {name}[,;]", ledger) for name in names]
    counts = [int(number[1]) if number else 0 for number in found]  # a verdict that no reading has is not named
    assert quoted((ROOT / "README.md").read_text()) == counts
    assert json.loads((ROOT / "proofs_checks" / "ledger.json").read_text())
    assert quoted("| holds | x |\n| ---: | ---: |\n| 1 | 2 |") == [1, 2]


def ratios(record):
    """What README shows of each network: the ratios of four methods, rounded as there."""
    shown = ("exact kernel", "features, k = 512", "features, k = 4096", "vmap(grad)")
    return [
        [f"{row['ratio']:.3g}" for row in network["rows"] if row["method"] in shown] for network in record["networks"]
    ]


def test_readme_quotes_the_measured_ratios():
    record = json.loads((ROOT / "asv_benchmarks" / "results" / "xeon-2-cores" / "floor.json").read_text())
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if "10 logits |" in line]
    found = [[float(cell) for cell in row.split("|")[2:-1]] for row in rows]
    assert found == [
        [round(float(ratio), 2) if float(ratio) < 10 else float(ratio) for ratio in row] for row in ratios(record)
    ]
    assert all(row["stated"] for network in record["networks"] for row in network["rows"])
