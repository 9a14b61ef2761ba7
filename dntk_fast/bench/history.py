"""What stands in the folder of results: benchmarks by device and commit, and the records of single measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dntk_fast import _check
from dntk_fast.bench.slope import SIZES, Slope, slope

__all__ = [
    "Comparison",
    "Device",
    "Line",
    "Move",
    "comparisons",
    "history",
    "lines",
    "moves",
    "read_results",
    "sizes_of",
]

# docs/measures.md: smaller ratios are ties on a shared machine.
TIE = 1.3


@dataclass(frozen=True)
class Device:
    """The results of one machine: imported runs of asv, oldest commit first, and the other files by name."""

    name: str
    commits: tuple[Mapping[str, Any], ...]
    files: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Reference and fast path at one size; None where it was not measured. Memory is what lies above the empty run."""

    benchmark: str
    size: str
    speedup: float | None
    error: float | None
    reference_bytes: int | None
    fast_bytes: int | None


@dataclass(frozen=True)
class Line:
    """A cost along one size, all others held; `fit` where there are sizes enough for a slope."""

    benchmark: str
    held: str
    axis: str
    sizes: tuple[float, ...]
    costs: tuple[float, ...]
    fit: Slope | None


@dataclass(frozen=True)
class Move:
    """A cost that changed from one commit to the next measured one, `ratio` times."""

    benchmark: str
    size: str
    before: str
    after: str
    ratio: float


def read_results(folder: str | Path) -> list[Device]:
    """Read <folder>/<device>/*.json.

    Raises
    ------
    ValueError
        No such folder, none of a device in it, or a file that is not JSON.
    """
    folder = Path(folder)
    places = sorted(path for path in folder.glob("*") if path.is_dir() and any(path.glob("*.json")))
    if not places:
        _check.refuse("results", "a folder with results of at least one device", folder)
    return [_device(place) for place in places]


def _device(place: Path) -> Device:
    commits, files = [], {}
    for path in sorted(place.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"results: expected JSON, got {path} ({error})") from None
        if isinstance(record, dict) and {"commit", "benchmarks"} <= set(record):
            commits.append(record)
        else:
            files[path.stem] = record
    return Device(place.name, tuple(sorted(commits, key=lambda record: record["date"])), files)


def sizes_of(text: str) -> dict[str, str]:
    """Split the name of a point of a grid.

    >>> sizes_of("n=100 dtype=float64")
    {'n': '100', 'dtype': 'float64'}
    """
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


def comparisons(record: Mapping[str, Any]) -> list[Comparison]:
    """Speed, error and memory of every benchmark and size of one commit."""
    found = record["benchmarks"]
    places: dict[tuple[str, str], None] = {}
    for name, benchmark in found.items():
        group, _, method = name.rpartition(".")
        if method in {"track_speedup", "track_error", "peakmem_fast"}:
            places |= dict.fromkeys((group, size) for size in benchmark["values"])

    def value(group: str, method: str, size: str) -> Any:
        return found.get(f"{group}.{method}", {"values": {}})["values"].get(size)

    def above(group: str, method: str, size: str) -> int | None:
        peak, empty = value(group, method, size), value(group, "peakmem_nothing", size)
        return None if peak is None or empty is None else max(0, peak - empty)

    return [
        Comparison(
            group.removeprefix("bench_"), size, value(group, "track_speedup", size), value(group, "track_error", size),
            above(group, "peakmem_reference", size), above(group, "peakmem_fast", size),
        )
        for group, size in places
    ]  # fmt: skip


def lines(record: Mapping[str, Any], method: str = "time_fast") -> Iterator[Line]:
    """Costs along every axis of a grid on which at least two numbers differ, all other sizes being equal."""
    for name, benchmark in record["benchmarks"].items():
        group, _, found = name.rpartition(".")
        if found == method:
            points = [(sizes_of(size), float(cost)) for size, cost in benchmark["values"].items()]
            yield from _lines(group.removeprefix("bench_"), points)


def _lines(benchmark: str, points: Sequence[tuple[dict[str, str], float]]) -> Iterator[Line]:
    axes = dict.fromkeys(axis for sizes, _ in points for axis, value in sizes.items() if value.isdigit())
    for axis in axes:
        groups: dict[str, list[tuple[int, float]]] = {}
        for sizes, cost in points:
            if axis in sizes:
                held = " ".join(f"{other}={value}" for other, value in sizes.items() if other != axis)
                groups.setdefault(held, []).append((int(sizes[axis]), cost))
        for held, pairs in groups.items():
            if len(pairs) > 1:
                xs, ys = zip(*sorted(pairs), strict=True)
                fit = slope(xs, ys) if len(set(xs)) >= SIZES and min(ys) > 0 else None
                yield Line(benchmark, held, axis, xs, ys, fit)


def history(commits: Sequence[Mapping[str, Any]], method: str) -> dict[tuple[str, str], list[tuple[str, float]]]:
    """(benchmark, size) -> (commit, value), oldest first, for what was measured at two commits or more."""
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for record in commits:
        for name, benchmark in record["benchmarks"].items():
            group, _, measured = name.rpartition(".")
            if measured == method:
                for size, value in benchmark["values"].items():
                    key = (group.removeprefix("bench_"), size)
                    found.setdefault(key, []).append((record["commit"][:7], float(value)))
    return {key: values for key, values in found.items() if len(values) > 1}


def moves(series: Mapping[tuple[str, str], Sequence[tuple[str, float]]], factor: float = TIE) -> list[Move]:
    """Where a value changed by at least `factor` from one commit to the next, the largest changes first.

    >>> moves({("ridge", "n=1"): [("a", 1.0), ("b", 1.1), ("c", 2.2)]})
    [Move(benchmark='ridge', size='n=1', before='b', after='c', ratio=2.0)]
    """
    found = [
        Move(*key, before, after, new / old)
        for key, values in series.items()
        for (before, old), (after, new) in pairwise(values)
        if old > 0 and new > 0 and max(new / old, old / new) >= factor
    ]
    return sorted(found, key=lambda move: -max(move.ratio, 1 / move.ratio))
