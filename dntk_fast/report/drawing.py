"""How figures look, and how they get into a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "GRID", "INK", "MARKERS", "STYLE", "dress", "png", "svg"]

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F", "#B2182B")
MARKERS = "osD^vPX<>*"
INK, GRID = "#222222", "#dddddd"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.edgecolor": "#888888",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "legend.frameon": False,
    "svg.hashsalt": "dntk",
}


def dress(axes: Axes, title: str, xlabel: str) -> None:
    """Title, label, grid, and no more frame than needed."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(xlabel)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def png(pixels: np.ndarray) -> str:
    """Return a picture (height, width, 1 or 3) in [0, 1] as a data URI."""
    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, np.clip(colours, 0, 1), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def svg(figure: Figure) -> str:
    """Return a figure as a data URI; equal figures give equal bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue().encode()).decode()
