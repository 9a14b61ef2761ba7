"""The record of `certificates` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from dntk_fast.report.cells import Cells

__all__ = ["DONE", "bounds_table", "sampled", "steps_needed", "steps_table"]

# Held-out RMS, relative to that of the full solution and in the worst class, at which refinement counts as done.
DONE = 1e-4
BOUNDS = {"held_out": "held-out RMS", "training": "training RMS", "pointwise": "pointwise"}


def steps_needed(values: Sequence[float]) -> int | None:
    """Give the first step at which the value is at most DONE, or None; in float32 a later one may be above it again.

    >>> steps_needed([1.0, 1e-5, 1e-3, 1e-4, 1e-9])
    1
    """
    return next((step for step, value in enumerate(values) if value <= DONE), None)


def bounds_table(record: Mapping[str, Any]) -> Cells:
    """Bound over truth by ridge and step: median over classes, sketches and networks, and the worst of them."""
    head = ("lam / mean diag K", "after", *BOUNDS.values(), "class certified")
    found = sampled(record)
    rows = tuple(
        (ridge, "start" if not step else f"{step} steps", *_cells(group)) for (ridge, step), group in found.items()
    )
    title = "bound over truth: median (worst); share of held-out points whose class is certified"
    narrow = dict(zip(head, ("lam", "after", "held-out", "training", "pointwise", "certified"), strict=True))
    return Cells(title, head, rows, narrow)


def sampled(record: Mapping[str, Any]) -> dict[tuple[str, int], list[Mapping[str, Any]]]:
    """By ridge and step, what was found in float32 with random rows; at the start for every sketch."""
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for one in _plain(record):
        for mark in one["marks"]:
            found.setdefault((one["ridge"], mark["step"]), [])
            found[one["ridge"], mark["step"]] += [mark] if mark["step"] else []
    for row in record["starts"]:
        found[row["ridge"], 0].append(row)
    return found


def _plain(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in record["refinements"] if (one["rows"], one["precision"]) == ("random", "float32")]


def _cells(group: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for key in BOUNDS:
        middle, worst = median(row[key]["median"] for row in group), max(row[key]["worst"] for row in group)
        found.append(f"{_short(middle)} ({_short(worst)})")
    return [*found, f"{median(row['certified'] for row in group):.3f}"]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def steps_table(record: Mapping[str, Any]) -> Cells:
    """Steps until the relative held-out RMS of every class is DONE, truly and by its bound, and where they end."""
    head = (
        "lam / mean diag K",
        "network",
        "rows",
        "precision",
        "steps",
        "certified",
        "last",
        "error there",
        "bound there",
    )
    rows = tuple(_steps_row(one) for one in record["refinements"])
    title = f"steps to a relative held-out RMS of {DONE:.0e} in every class"
    shown = ("lam", "network", "rows", "precision", "steps", "certified", "last", "error", "bound")
    return Cells(title, head, rows, dict(zip(head, shown, strict=True)))


def _steps_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    needed = [steps_needed(one[key]) for key in ("error", "bound")]
    words = ["-" if steps is None else str(steps) for steps in needed]
    last = len(one["error"]) - 1
    ends = f"{one['error'][-1]:.1e}", f"{one['bound'][-1]:.1e}"
    return (one["ridge"], str(one["network"]), one["rows"], one["precision"], *words, str(last), *ends)
