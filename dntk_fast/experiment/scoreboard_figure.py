"""The scoreboard as a picture: error against passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from dntk_fast.report.drawing import COLOURS, MARKERS, STYLE, dress

__all__ = ["error_against_passes", "write_figure"]

PANELS = {"body_error": "body alone", "error": "body and head"}


def error_against_passes(record: Mapping[str, Any]) -> Figure:
    """Held-out squared error over the logits' variance against passes in full kernels, a line for each method.

    Bars are one standard deviation over the seeds; the dotted line is the kernel machine of each class on all images, the
    grey one the last layer on the images drawn at random.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 4.2), layout="constrained")
        for axes, (key, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            methods = list(dict.fromkeys(row["method"] for row in record["rows"]))
            for place, method in enumerate(methods):
                rows = [row for row in record["rows"] if row["method"] == method]
                passes, errors, spreads = ([row[name] for row in rows] for name in ("share", key, f"{key}_sd"))
                style = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)], "ms": 4}
                axes.errorbar(passes, errors, spreads, lw=1.2, capsize=2, label=method, **style)
            axes.axhline(record["full"][key], color="#444444", ls=":", lw=1, label="all images, per class")
            drawn = [row for row in record["rows"] if row["method"].startswith("random")]
            if key == "error" and drawn:
                known = sorted({(row["per_class"], row["share"], row["last_layer_error"]) for row in drawn})
                axes.plot([p for _, p, _ in known], [e for *_, e in known], color="#999999", lw=1, label="last layer")
            axes.set_xscale("log")
            axes.set_yscale("log")
            dress(axes, title, "passes, in shares of the full kernel")
        figure.axes[0].set_ylabel("squared error / variance of the logits")
        figure.axes[1].legend(fontsize=8)
    return figure


def write_figure(record: Mapping[str, Any], path: Path) -> None:
    """Write the picture as SVG; equal records give equal bytes."""
    with rc_context(STYLE):
        error_against_passes(record).savefig(path, format="svg", metadata={"Date": None, "Creator": None})
