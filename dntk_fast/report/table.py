"""The numbers of a record as rich tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["PREDICTORS", "method_table", "predictor_table", "stage_table"]

#: key of the record -> what a reader calls it
PREDICTORS = {
    "full_kernel": "full kernel, all training images",
    "full_kernel_labels": "full kernel, label targets",
    "last_layer": "last layer only (Theorem R)",
    "distilled": "distilled kernel",
}


def predictor_table(record: Mapping[str, Any]) -> Table:
    """One row per predictor: how many images it keeps, accuracy, fidelity, error, ridge."""
    table = Table(title=f"{record['data']['name']}: network accuracy {record['network']['accuracy']:.4f}")
    for heading in ("predictor", "images", "accuracy", "fidelity", "mse / var f", "lam / mean diag K"):
        table.add_column(heading, justify="left" if heading == "predictor" else "right")
    for key, label in PREDICTORS.items():
        row = record[key]
        edge = " (edge)" if row["on_edge"] else ""
        table.add_row(label, str(row["n"]), f"{row['accuracy']:.4f}", f"{row['fidelity']:.4f}",
                      f"{row['mse_relative']:.2e}", f"{row['lam_relative']:.0e}{edge}")
    return table


def method_table(record: Mapping[str, Any]) -> Table:
    """One row per method and number of synthetic gradients per logit."""
    table = Table(title="gradient distillation (means over classes; ± over draws)")
    for heading in ("method", "m", "accuracy", "fidelity", "kernel error", "captured energy"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in record["gradient_distillation"]:
        table.add_row(row["method"], str(row["m"]), share_with_spread(row, "accuracy"), share_with_spread(row, "fidelity"),
                      f"{row['kernel_error']:.3f}", f"{row['captured_energy']:.3f}")
    return table


def stage_table(record: Mapping[str, Any]) -> Table:
    """What each stage cost."""
    table = Table(title="cost")
    for heading in ("stage", "seconds", "forward passes", "backward passes", "result"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for row in record["stages"]:
        table.add_row(row["name"], f"{row['seconds']:.1f}", f"{row['forward_passes']:,}", f"{row['backward_passes']:,}",
                      readable_bytes(row["bytes"]))
    return table


def share_with_spread(row: Mapping[str, Any], key: str) -> str:
    """Format a mean, and its standard deviation over draws where there were several.

    >>> share_with_spread({"accuracy": 0.5, "accuracy_sd": 0.01, "draws": 20}, "accuracy")
    '0.500 ± 0.010'
    """
    spread = f" ± {row[key + '_sd']:.3f}" if row.get("draws", 1) > 1 else ""
    return f"{row[key]:.3f}{spread}"


def readable_bytes(size: int) -> str:
    """Format a number of bytes with a decimal unit.

    >>> readable_bytes(12_300_000)
    '12.3 MB'
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
