"""The figures of the ImageNette record, each a data URI; what the report of a run draws already is not drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dntk_fast.experiment.imagenette_stages import PAPER_RANKS
from dntk_fast.report.drawing import COLOURS, INK, STYLE, dress, svg

__all__ = ["containment_figure", "grid_figure", "networks_figure", "structure_figure", "truncation_figure"]

GREY = "#7F7F7F"


def networks_figure(record: Mapping[str, Any]) -> str:
    """Figure 1: scores and conditioning against the number of images, for both networks."""
    pairs = (
        ("pretrained on real images", record["distilled_sizes"], COLOURS[0], "o"),
        ("trained on distilled images alone", record["distilled_only"], COLOURS[1], "s"),
    )
    keys = {
        "accuracy": "kernel accuracy, held-out",
        "fidelity": "fidelity to its own network",
        "mse_relative": "mse / var f, held-out",
        "condition_number": "condition number, mean over classes",
        "smallest_eigenvalue": "smallest eigenvalue, mean over classes",
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.2), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        for axes, (key, title) in zip(panels, keys.items(), strict=False):
            for label, rows, colour, marker in pairs:
                heights = [np.nan if row[key] is None else row[key] for row in rows]
                axes.plot([row["n"] for row in rows], heights, color=colour, marker=marker, label=label)
            if axes is not panels[0] and key != "fidelity":
                axes.set_yscale("log")
            _sizes(axes, [row["n"] for row in pairs[0][1]])
            dress(axes, title, "distilled images")
        _networks(panels[0], record)
        panels[1].axhline(record["last_layer"]["fidelity"], color=GREY, lw=1, ls=":", label="last layer (Theorem R)")
        handles = {label: line for a in panels[:2] for line, label in zip(*a.get_legend_handles_labels(), strict=True)}
        panels[5].axis("off")
        panels[5].legend(handles.values(), handles.keys(), loc="center left", fontsize=9)
        return svg(figure)


def _networks(axes: Axes, record: Mapping[str, Any]) -> None:
    alone = record["distilled_only"]
    heights = [row["network_accuracy"] for row in alone]
    axes.axhline(record["network"]["accuracy"], color=INK, lw=1, ls="--", label="the pretrained network itself")
    style: dict[str, Any] = {
        "color": COLOURS[1],
        "lw": 1,
        "ls": "--",
        "label": "the network on distilled images itself",
    }
    axes.plot([row["n"] for row in alone], heights, **style)


def _sizes(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())


def structure_figure(record: Mapping[str, Any]) -> str:
    """Figure 4: property (A) of every cluster and class above, (B) below for the first class."""
    found, names = record["locality"], record["data"]["classes"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.2), layout="constrained")
        above, below = figure.subplots(2, 1)
        _property_a(above, found["classes"], names)
        _containment(below, found["classes"][0], f"(B) global directions inside the local eigenspaces, {names[0]}")
        below.set_xlabel("global direction j, up to the truncation rank or 50")
        handles, labels = above.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8.5)
        return svg(figure)


def _property_a(axes: Axes, classes: list[dict[str, Any]], names: list[str]) -> None:
    for h in range(len(classes[0]["property_a"])):
        place = np.arange(len(classes)) + 0.8 * (h + 0.5) / len(classes[0]["property_a"]) - 0.4
        heights = [np.nan if c["property_a"][h] is None else c["property_a"][h] for c in classes]
        width = 0.75 / len(classes[0]["property_a"])
        axes.bar(place, heights, width, color=COLOURS[h % len(COLOURS)], label=f"cluster {h + 1}")
        nulls = [c["property_a_null"][h] for c in classes]
        axes.scatter(place, nulls, marker="_", s=80, color=INK, zorder=3, label=None if h else "random directions")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(0, 1.02)
    dress(axes, "(A) share of each cluster's local variance inside the global eigenspace", "")


def containment_figure(record: Mapping[str, Any]) -> str:
    """Figure 8: the shares of Figure 4's lower panel for the other classes."""
    found, names = record["locality"], record["data"]["classes"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.6), layout="constrained")
        panels = figure.subplots(3, 3, sharey=True).ravel()
        for axes, part, name in zip(panels, found["classes"][1:], names[1:], strict=False):
            _containment(axes, part, name)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8.5)
        return svg(figure)


def _containment(axes: Axes, part: Mapping[str, Any], title: str) -> None:
    count = len(part["containment"][0])
    below = np.zeros(count)
    for h, shares in enumerate(part["containment"]):
        style: dict[str, Any] = {"color": COLOURS[h % len(COLOURS)], "label": f"cluster {h + 1}"}
        axes.bar(np.arange(1, count + 1), shares, 1.0, bottom=below, **style)
        below = below + np.asarray(shares)
    axes.set_xlim(0.5, count + 0.5)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(axes, f"{title}: {1 - part['unweighted_gap']:.0%} inside", "")


def truncation_figure(record: Mapping[str, Any]) -> str:
    """Figure 5: accuracy and fidelity of the rank-r solution, and where the truncation ranks lie."""
    rows, ranks = record["truncation"], record["spectra"]["distilled_ranks"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, key in zip(panels, ("accuracy", "fidelity"), strict=True):
            axes.axvspan(*PAPER_RANKS, color=GREY, alpha=0.25, lw=0, label="ranks in the paper, 31 to 41")
            axes.axvspan(min(ranks), max(ranks), color=COLOURS[2], alpha=0.2, lw=0, label="ranks here")
            axes.plot([row["rank"] for row in rows], [row[key] for row in rows], color=COLOURS[0], marker="o")
            axes.set_xscale("log")
            dress(axes, f"{key} of the rank-r solution, held-out", "rank r")
        panels[0].axhline(record["network"]["accuracy"], color=INK, lw=1, ls="--", label="network accuracy")
        panels[0].legend(fontsize=8, loc="lower right", frameon=True, framealpha=0.9)
        return svg(figure)


def grid_figure(record: Mapping[str, Any]) -> str:
    """Figure 9: Algorithm 1 over its thresholds."""
    rows = record["threshold_grid"]["rows"]
    maps = {
        "accuracy": ("accuracy", ".3f"),
        "fidelity": ("fidelity", ".3f"),
        "m": ("synthetic gradients per logit", ".1f"),
        "local": ("of them local", ".1f"),
        "gap": ("of them gaps", ".1f"),
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.0), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        for axes, (key, (title, form)) in zip(panels, maps.items(), strict=False):
            _heat(axes, rows, key, title, form)
        _pareto(panels[5], rows)
        return svg(figure)


def _heat(axes: Axes, rows: list[dict[str, Any]], key: str, title: str, form: str) -> None:
    across, down = (sorted({row[name] for row in rows}) for name in ("tau_v", "tau_g"))
    table = {(row["tau_g"], row["tau_v"]): row[key] for row in rows}
    values = np.array([[table[g, v] for v in across] for g in down])
    axes.imshow(values, cmap="Blues", aspect="auto", origin="lower")
    middle = (values.min() + values.max()) / 2
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, f"{value:{form}}", ha="center", va="center", fontsize=8, color="w" if value > middle else INK)
    axes.set_xticks(range(len(across)), [f"{v:g}" for v in across])
    axes.set_yticks(range(len(down)), [f"{g:g}" for g in down])
    axes.set_title(title, loc="left")
    axes.set_xlabel(r"$\tau_v$")
    axes.set_ylabel(r"$\tau_g$")


def _pareto(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for key, colour, marker in (("accuracy", COLOURS[0], "o"), ("fidelity", COLOURS[1], "s")):
        axes.scatter(
            [row["m"] for row in rows], [row[key] for row in rows], s=18, color=colour, marker=marker, label=key
        )
        ordered = sorted(rows, key=lambda row: (row["m"], -row[key]))
        best = [row for i, row in enumerate(ordered) if all(row[key] > other[key] for other in ordered[:i])]
        axes.step([row["m"] for row in best], [row[key] for row in best], where="post", color=colour, lw=1)
    axes.legend(fontsize=8)
    dress(axes, "all settings; lines: best up to m", "synthetic gradients per logit")
