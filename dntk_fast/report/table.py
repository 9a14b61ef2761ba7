"""The numbers of a record as tables: cells once, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dntk_fast._device import readable_bytes
from dntk_fast.report.cells import Cells

__all__ = ["Cells", "method_table", "predictor_table", "share_with_spread", "stage_table"]

#: key of the record -> what a reader calls it
PREDICTORS = {
    "full_kernel": "full kernel",
    "full_kernel_labels": "full kernel, label targets",
    "last_layer": "last layer (Theorem R)",
    "drawn": "as many images, drawn",
    "distilled": "distilled kernel",
    "refined": "refined to the full kernel",
}


def predictor_table(record: Mapping[str, Any]) -> Cells:
    """One row per predictor: how many images it keeps, accuracy, fidelity, error, ridge, and the refinement's passes."""
    rows = tuple(_predictor_row(label, record[key]) for key, label in PREDICTORS.items())
    ridge = ("lam / mean diag K", "effective dim.", "from", "passes")
    head = ("predictor", "images", "accuracy", "fidelity", "mse / var f", *ridge)
    return Cells(
        f"{record['data']['name']}: network accuracy {record['network']['accuracy']:.4f}",
        head,
        rows,
        {name: name for name in head[:5]},
    )


def _predictor_row(label: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    edge = " (edge)" if row["on_edge"] else ""
    shares = f"{row['accuracy']:.4f}", f"{row['fidelity']:.4f}", f"{row['mse_relative']:.2e}"
    ridge = f"{row['lam_relative']:.0e}{edge}", f"{row['effective_dimension']:.1f}"
    passes = f"{row['forward']} + {row['backward']}" if "forward" in row else "–"
    return (label, f"{row['n']:,}", *shares, *ridge, row["method"], passes)


def method_table(record: Mapping[str, Any]) -> Cells:
    """One row per method and number of synthetic gradients per logit."""
    head = ("method", "m", "realised m", "accuracy", "fidelity", "mse", "kernel error", "captured energy", "setting")
    shown = ("method", "m", "accuracy", "fidelity", "kernel error")
    narrow = {name: name for name in shown} | {"captured energy": "energy"}
    rows = tuple(_method_row(row) for row in record["gradient_distillation"])
    return Cells("gradient distillation (means over classes; ± over draws)", head, rows, narrow)


def _method_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    shares = share_with_spread(row, "accuracy"), share_with_spread(row, "fidelity"), f"{row['mse']:.3g}"
    kernel = f"{row['kernel_error']:.3f}", f"{row['captured_energy']:.3f}"
    return (row["method"], str(row["m"]), f"{row['realised_m']:.1f}", *shares, *kernel, row["setting"])


def stage_table(record: Mapping[str, Any]) -> Cells:
    """What each stage cost."""
    head = ("stage", "seconds", "forward", "backward", "result")
    rows = tuple(
        (
            s["name"],
            f"{s['seconds']:.1f}",
            f"{s['forward_passes']:,}",
            f"{s['backward_passes']:,}",
            readable_bytes(s["bytes"]),
        )
        for s in record["stages"]
    )
    return Cells("cost: images forward, image-logit pairs backward", head, rows, {name: name for name in head})


def share_with_spread(row: Mapping[str, Any], key: str) -> str:
    """Format a mean, and its standard deviation over draws where there were several.

    >>> share_with_spread({"accuracy": 0.5, "accuracy_sd": 0.01, "draws": 20}, "accuracy")
    '0.500 ± 0.010'
    """
    spread = f" ± {row[key + '_sd']:.3f}" if row["draws"] > 1 else ""
    return f"{row[key]:.3f}{spread}"
