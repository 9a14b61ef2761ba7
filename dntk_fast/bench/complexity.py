"""Measured complexity: the exponents that the paper claims (3.1, 4.2, E.2, Table 1), counted and timed.

Counts are those of the code that runs, at every size, and the same on every machine; seconds are medians of
interleaved rounds. An exponent is the slope of a log-log fit, with its standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dntk_fast import _check
from dntk_fast.bench.claimed_costs import ROWS, Row, Work
from dntk_fast.bench.counting import Cost, count
from dntk_fast.bench.race import Task, circumstances, pinned, race
from dntk_fast.bench.slope import SIZES, Slope, slope
from dntk_fast.report.table import Cells

__all__ = ["measure", "tables"]

ROUNDS = 7
# Half a power from the claim is clearly another exponent.
APART = 0.5
SIGNS = {"within 2 s.e.": "=", "within 0.1": "≈", "lower": "<", "higher": ">", "undecided": "?"}


def measure(
    *,
    rounds: int | None = None,
    threads: int = 1,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Count and time every row of `ROWS` along each of its axes; Ctrl-C ends it with the whole axes done so far.

    Parameters
    ----------
    rounds : interleaved rounds behind every median; 7 if None (1 if quick), 0 to count only
    threads : of torch
    quick : four small sizes for each axis, to see that it runs
    progress : called with ("complexity", axes done, axes)

    Returns
    -------
    dict
        What JSON can hold: circumstances, and one entry for each row and axis with sizes, counts, seconds and slopes.
    """
    rounds = _check.integer("rounds", (1 if quick else ROUNDS) if rounds is None else rounds, 0)
    threads = _check.integer("threads", threads, 1)
    record = circumstances() | {"threads": threads, "rounds": rounds, "quick": quick, "complete": False, "rows": []}
    jobs = [(row, axis) for row in ROWS for axis in row.axes]
    with pinned(threads):
        try:
            for done, (row, axis) in enumerate(jobs):
                progress("complexity", done, len(jobs))
                record["rows"].append(_along(row, axis, rounds, quick))
            progress("complexity", len(jobs), len(jobs))
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """Claimed and found exponents, one line for each row and axis."""
    judged = ("flops or bytes", "bytes", "seconds")  # bytes twice where nothing multiplies
    head = ("computation", "claimed", "in", "exponent", *judged, "backward passes", "sizes", "note")
    narrow = {
        "computation": "computation",
        "in": "in",
        "exponent": "claim",
        "flops or bytes": "counted",
        "seconds": "timed",
    }
    legend = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    legend += f" (s.e. too large, or an exponent {APART:g} from the claim is within 2 s.e. as well)"
    rows = tuple(_cells(found) for found in record["rows"])
    yield Cells(f"exponents and standard errors beside the claim: {legend}", head, rows, narrow)


def _along(row: Row, axis: str, rounds: int, quick: bool) -> dict[str, Any]:
    """One row along one axis: counts, seconds, and their slopes."""
    claimed, values = row.axes[axis]
    held = {name: value for name, value in row.held.items() if name != axis}
    if quick:
        held = {name: _smaller(name, value) for name, value in held.items()}
        values = [_smaller(axis, value) for value in values[:SIZES]]
    works = [row.prepare(**held, **{axis: value}) for value in values]
    sizes = [(work.actual or {}).get(axis, value) for work, value in zip(works, values, strict=True)]
    costs = [count(work.run, work.model) - count(work.fixed, work.model) for work in works if work.counted]
    seconds = _seconds(works, rounds)
    counted = {name: [asdict(cost)[name] for cost in costs] for name in asdict(Cost(0, 0, 0, 0))} if costs else {}
    found = {name: _slope(sizes, costs_of) for name, costs_of in (counted | {"seconds": seconds}).items()}
    slopes = {name: asdict(fit) for name, fit in found.items() if fit}
    # A claim is about operations: bytes are judged only where nothing multiplies.
    for name in ("flops" if "flops" in slopes else "bytes", "seconds"):
        if fit := found.get(name):
            slopes[name]["verdict"] = fit.verdict(claimed)
    return {
        "name": row.name, "source": row.source, "claim": row.claim, "axis": axis, "claimed": claimed,
        "held": held, "sizes": sizes,
        "counted": counted, "seconds": seconds, "note": row.note,
        "slopes": slopes,
    }  # fmt: skip


def _smaller(name: str, value: int) -> int:
    """A quarter of the rows, the coordinates or the parameters."""
    return value // 4 if name in {"n", "k", "P"} else value


def _seconds(works: Sequence[Work], rounds: int) -> list[float]:
    """Medians over rounds in which every size is computed once, after a warm-up."""
    if not rounds:
        return []
    tasks = [Task(str(at), lambda _, work=work: work.run()) for at, work in enumerate(works)]  # type: ignore[misc]
    race(tasks, 0)
    return np.median([race(tasks, number)[:, 0] for number in range(1, rounds + 1)], axis=0).tolist()


def _slope(sizes: Sequence[int], costs: Sequence[float]) -> Slope | None:
    """The slope, where there is something to fit: counts are zero where nothing of the kind happens."""
    return slope(sizes, costs) if costs and min(costs) > 0 else None


def _open(fit: Mapping[str, Any], claimed: float) -> bool:
    """Whether an exponent clearly different from the claim is within two standard errors."""
    return abs(abs(fit["exponent"] - claimed) - APART) <= 2 * fit["standard_error"]


def _cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    def cell(name: str) -> str:
        fit = found["slopes"].get(name)
        if fit is None:
            return ""
        verdict = fit.get("verdict")
        if verdict == "within 2 s.e." and _open(fit, found["claimed"]):
            verdict = "undecided"
        return f"{SIGNS.get(verdict, '')} {fit['exponent']:.2f} ± {fit['standard_error']:.2f}".lstrip()

    passes = found["counted"].get("backward", [0])
    span = f"{found['sizes'][0]:,} - {found['sizes'][-1]:,}"
    shown = (cell("flops") or cell("bytes"), cell("bytes"), cell("seconds"))
    backward = f"{passes[0]:,} - {passes[-1]:,}" if passes[-1] else ""
    return (
        found["name"],
        found["claim"],
        found["axis"],
        f"{found['claimed']:g}",
        *shown,
        backward,
        span,
        found["note"],
    )
