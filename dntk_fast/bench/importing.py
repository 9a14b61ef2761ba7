"""Results of asv, kept in the repository by commit: numbers, sizes and units; no host name, no path."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from dntk_fast import _check
from dntk_fast.report.record import write_record

__all__ = ["device_name", "import_results", "imported"]

# Files of asv's results that hold no results.
OTHER = {"benchmarks.json", "machine.json"}
# A shorter name still tells the commits of one project apart.
DIGITS = 10


def device_name(cpu: str, cores: int) -> str:
    """Name a machine by its processor, where no other name is given: hosts have names of their own, that stay at home.

    >>> device_name("Intel(R) Xeon(R) Processor", 2), device_name("AMD EPYC 7763 64-Core Processor @ 2.4GHz", 16)
    ('xeon-2-cores', 'epyc-7763-16-cores')
    """
    plain = re.sub(r"\([^)]*\)|@.*|\b(intel|amd|cpu|processor|\d+-core)\b", " ", cpu.lower())
    words = re.findall(r"[a-z0-9]+", plain) or ["processor"]
    return "-".join([*words, str(cores), "cores"])


def import_results(source: str | Path, target: str | Path, *, device: str | None = None, match: str = "") -> list[Path]:
    """Rename asv's results to <target>/<device>/<commit>.json; what was imported of a commit before is kept.

    Parameters
    ----------
    source : asv's folder of results, with benchmarks.json
    target : folder of the results that are kept
    device : name of the machine; `device_name` of its processor if None
    match : a regular expression; benchmarks without it in their names stay behind (seconds of a busy machine, say)

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ValueError
        No results there, results of another version of asv, a device that is no plain name, no regular expression.
    """
    source = Path(source)
    if device is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", device):
        _check.refuse("device", "small letters, digits and hyphens", repr(device))
    try:
        re.compile(match)
    except re.error as error:
        _check.refuse("match", "a regular expression", f"{match!r} ({error})")
    found = [path for path in sorted(source.glob("*/*.json")) if path.name not in OTHER]
    if not found:
        _check.refuse("results", "a folder with results of asv (run with --set-commit-hash)", source)
    units = _units(_read(source / "benchmarks.json"))
    written: dict[Path, None] = {}
    for path in found:
        record = imported(_read(path), units, device, match)
        goal = Path(target) / record["device"]["name"] / f"{record['commit'][:DIGITS]}.json"
        if goal.exists():
            record["benchmarks"] = _read(goal)["benchmarks"] | record["benchmarks"]
        goal.parent.mkdir(parents=True, exist_ok=True)
        write_record(record | {"benchmarks": dict(sorted(record["benchmarks"].items()))}, goal)
        written[goal] = None
    return list(written)


def imported(
    results: Mapping[str, Any], units: Mapping[str, str], device: str | None = None, match: str = ""
) -> dict[str, Any]:
    """What is kept of one file of asv's results; nothing that is not named here.

    Parameters
    ----------
    results : the file, version 2
    units : benchmark -> unit
    device, match : as in `import_results`
    """
    if results.get("version") != 2:
        _check.refuse("results", "version 2 of asv's format", results.get("version"))
    machine, columns = results["params"], results["result_columns"]
    rows = {name: dict(zip(columns, values, strict=False)) for name, values in results["results"].items() if values}
    if not rows:
        _check.refuse("results", "at least one benchmark", "none")
    cores = int(machine["num_cpu"])
    threads = rows.get("bench_environment.Environment.track_threads_of_torch", {}).get("result") or [None]
    return {
        "commit": results["commit_hash"],
        "date": _moment(results["date"]).isoformat(),
        "measured": _moment(max(row.get("started_at") or 0 for row in rows.values())).date().isoformat(),
        "device": {"name": device or device_name(machine["cpu"], cores), "cpu": machine["cpu"], "cores": cores},
        "threads": threads[0],
        "benchmarks": {
            name: _benchmark(row, units.get(name, "")) for name, row in sorted(rows.items()) if re.search(match, name)
        },
    }


def _benchmark(row: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Values by size, and the quartiles of times; what failed or was skipped has no value."""
    sizes = [" ".join(text.strip("'") for text in point) for point in product(*row["params"])]
    values = {size: _number(value) for size, value in zip(sizes, row["result"] or [], strict=False)}
    found: dict[str, Any] = {"unit": unit, "values": {size: v for size, v in values.items() if v is not None}}
    ends = [row.get(name) or [] for name in ("stats_q_25", "stats_q_75")]
    if quartiles := _pairs(sizes, ends):
        found["quartiles"] = quartiles
    return found


def _pairs(sizes: Iterable[str], ends: Sequence[Sequence[Any]]) -> dict[str, list[float]]:
    pairs = {size: [_number(low), _number(high)] for size, low, high in zip(sizes, *ends, strict=False)}
    return {size: [v for v in pair if v is not None] for size, pair in pairs.items() if None not in pair}


def _number(value: Any) -> float | int | None:
    """Four digits of a number; None where there is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.4g}")


def _units(benchmarks: Mapping[str, Any]) -> dict[str, str]:
    return {name: found.get("unit", "") for name, found in benchmarks.items() if isinstance(found, dict)}


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"results: expected a JSON file, got {path} ({error})") from None
    if not isinstance(found, dict):
        _check.refuse("results", "a JSON object", path)
    return found
