"""The kept record of the certificates: no bound below the truth, and the targets that it is quoted for."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dntk_fast.experiment.certificates import FULL, MARKS
from dntk_fast.experiment.certificates_table import sampled, steps_needed

KEPT = Path(__file__).resolve().parents[2] / "asv_benchmarks" / "results" / "xeon-2-cores" / "certificates.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(KEPT.read_text(encoding="utf-8"))


def faults(record):
    """What the record would have to be corrected for."""
    rows = record["starts"] + record["refinements"]
    found = ["violations"] if record["violations"] or any(row["violations"] for row in rows) else []
    start = sampled(record)["1e-2", 0]
    if max(row["held_out"]["worst"] for row in start) > 60 or max(row["training"]["worst"] for row in start) > 30:
        found.append("looser than stated")
    for ridge, most in (("1e-2", 20), ("1e-3", 40)):
        needed = [steps_needed(one["error"]) for one in record["refinements"] if one["ridge"] == ridge]
        if None in needed or max(needed) > most:
            found.append(f"more steps at {ridge}")
    return found


def test_it_is_the_full_experiment(record):
    assert record["setting"] == asdict(FULL) | {"steps": list(FULL.steps)}
    assert {row["network"] for row in record["starts"]} == set(range(4))
    for ridge in ("1e-2", "1e-3"):
        assert sorted(
            row["sketch"] for row in record["starts"] if (row["network"], row["ridge"]) == (0, ridge)
        ) == list(range(20))
        random = [one for one in record["refinements"] if one["ridge"] == ridge and one["rows"] == "random"]
        assert {one["network"] for one in random} == set(range(4))
        assert all([mark["step"] for mark in one["marks"]] == list(MARKS) for one in random)
        assert any(one["ridge"] == ridge and one["rows"] == "leverage" for one in record["refinements"])


def test_every_bound_holds_and_the_targets_are_met(record):
    assert faults(record) == []


def test_a_worse_record_is_seen(record):
    record = json.loads(json.dumps(record))
    record["refinements"][0]["violations"] = 1
    record["starts"][0]["held_out"]["worst"] = 61.0
    for one in record["refinements"]:
        one["error"] = [1.0 for _ in one["error"]]
    assert record["starts"][0]["ridge"] == "1e-2"
    assert faults(record) == ["violations", "looser than stated", "more steps at 1e-2", "more steps at 1e-3"]
