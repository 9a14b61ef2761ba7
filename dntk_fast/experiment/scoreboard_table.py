"""The record of the scoreboard as tables, and what each way would cost before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dntk_fast.distillation.spanning import IMAGES, spanning_cost
from dntk_fast.report.cells import Cells

__all__ = ["cost_table", "energy_table", "error_table", "passes_at_equal_error"]


def cost_table(n: int, outputs: int, sizes: Sequence[int]) -> Cells:
    """Forward and backward passes, shares of the full kernel and break-even of every way, before any work."""
    head = ("images", "per class", "forward", "backward", "share of the full kernel", "pays from uses")
    ways = [(name, None) for name in IMAGES] + [("random", 1)]
    rows = []
    for name, cotangents in ways:
        for m in sizes:
            cost = spanning_cost(name, n, per_class=m, outputs=outputs, cotangents=cotangents)
            forward, backward = cost.choosing_forward + cost.kept_forward, cost.choosing_backward + cost.kept_backward
            label = name if cotangents is None else "random, one cotangent"
            rows.append((label, str(m), f"{forward:,}", f"{backward:,}", f"{cost.share:.3f}", f"{cost.break_even:.2g}"))
    narrow = dict(zip(head, ("images", "each", "forward", "backward", "share", "pays from"), strict=True))
    return Cells(f"what it costs: n = {n:,}, {outputs} logits", head, tuple(rows), narrow)


def error_table(record: Mapping[str, Any]) -> Cells:
    """Squared errors to the logits, over their variance, with spreads, and ratios to random images per class."""
    head = ("method", "per class", "passes", "body", "body ratio", "body and head", "ratio", "last layer")
    rows = tuple(
        (
            row["method"],
            str(row["per_class"]),
            f"{row['share']:.3f}",
            _spread(row, "body_error"),
            _ratio(row, "body_error_ratio"),
            _spread(row, "error"),
            _ratio(row, "error_ratio"),
            f"{row['last_layer_error']:.2g}",
        )
        for row in record["rows"]
    )
    title = "held-out squared error to the logits over their variance; passes in shares of the full kernel's"
    narrow = {"method": "method", "per class": "each", "passes": "passes", "body": "body", "body ratio": "ratio"}
    return Cells(title, head, rows, narrow | {"body and head": "both", "ratio": "ratio"})


def energy_table(record: Mapping[str, Any]) -> Cells:
    """Held-out body energy beside its bounds, predictive variance over the full machine's, and label targets."""
    head = ("method", "per class", "energy", "bound", "gap closed", "variance", "labels", "last layer", "uses to pay")
    bounds = {bound["per_class"]: bound for bound in record["bounds"]}
    rows = []
    for row in record["rows"]:
        bound = bounds[row["per_class"]]["pooled" if row["method"].endswith("joint") else "each"]
        uses = passes_at_equal_error(record["rows"], row)
        rows.append(
            (
                row["method"],
                str(row["per_class"]),
                _spread(row, "energy"),
                f"{bound:.3f}",
                _ratio(row, "gap_closed"),
                f"{row['variance']:.2f}",
                _spread(row, "label_accuracy"),
                f"{record['full']['last_layer_label_accuracy']:.3f}",
                "-" if uses is None else f"{uses:.2g}",
            )
        )
    narrow = {"method": "method", "per class": "each", "energy": "energy", "bound": "bound", "gap closed": "gap"}
    narrow |= {"variance": "variance", "labels": "labels"}
    title = "held-out body energy, variance over the full machine's, accuracy with label targets"
    return Cells(title, head, tuple(rows), narrow)


def passes_at_equal_error(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> float | None:
    """Kernel uses from which a choice pays against random images of the same solve that reach the same body error.

    Random images of two sizes around the error give the number that reaches it, on straight lines in logarithms. None
    where the error lies outside their range, or where no passes are saved.

    >>> def at(m, error, choosing=0.0):
    ...     return {"method": "random, joint", "per_class": m, "body_error": error, "choosing": choosing, "kept": 21.0 * m}
    >>> passes_at_equal_error([at(1, 0.4), at(4, 0.1)], at(1, 0.2, choosing=42.0) | {"method": "pool, joint"})
    2.0
    """
    solve = row["method"].rpartition(", ")[2]
    base = sorted((r["per_class"], r["body_error"], r["kept"]) for r in rows if r["method"] == f"random, {solve}")
    for (_, high, few), (_, low, many) in pairwise(base):
        if low <= row["body_error"] <= high and low < high:
            along = np.log(high / row["body_error"]) / np.log(high / low)
            saved = few * (many / few) ** along - row["kept"]
            return float(row["choosing"] / saved) if saved > 0 else None
    return None


def _spread(row: Mapping[str, Any], key: str) -> str:
    return f"{row[key]:.3g} ± {row[f'{key}_sd']:.1g}"


def _ratio(row: Mapping[str, Any], key: str) -> str:
    return f"{row[key]:.2f}" if key in row else "-"
