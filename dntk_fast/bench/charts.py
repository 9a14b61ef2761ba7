"""The pictures of tracked performance, each a data URI; nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from dntk_fast.bench.history import Comparison, Line
from dntk_fast.report.drawing import COLOURS, GRID, INK, STYLE, dress, svg

__all__ = ["comparison_chart", "exponent_chart", "floor_chart", "history_chart", "line_chart", "memory_chart"]

BLUE, ORANGE, GREEN, GREY = COLOURS[0], COLOURS[1], COLOURS[2], "#7F7F7F"
PRECISIONS = {"float64": (BLUE, "o"), "float32": (ORANGE, "s"), "": (INK, "D")}
# An error of zero has no logarithm; this is below the rounding of a float64 number.
NO_ERROR = 1e-17


def comparison_chart(found: Sequence[Comparison]) -> str:
    """Speed of the fast path over the reference, and its error, one line for each benchmark and a mark for each size."""
    names = list(dict.fromkeys(one.benchmark for one in found))
    place = {name: -at for at, name in enumerate(names)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.26 * len(names) + 1.3), layout="constrained")
        speeds, errors = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for precision, (colour, marker) in PRECISIONS.items():
            mine = [one for one in found if _precision(one.size) == precision]
            style: dict[str, Any] = {"ls": "", "marker": marker, "ms": 5, "color": colour, "alpha": 0.85}
            fast = [one for one in mine if one.speedup]
            label = precision or "no precision of its own"
            speeds.plot([one.speedup for one in fast], [place[one.benchmark] for one in fast], label=label, **style)
            known = [one for one in mine if one.error is not None]
            heights = [max(one.error or 0.0, NO_ERROR) for one in known]
            errors.plot(heights, [place[one.benchmark] for one in known], **style)
        speeds.axvline(1, color=INK, lw=1)
        speeds.set_yticks(list(place.values()), list(place), fontsize=8)
        for axes, title in ((speeds, "times faster than the reference"), (errors, "relative error")):
            axes.set_xscale("log")
            dress(axes, title, "")
        _plain_ticks(speeds)
        errors.set_xlim(left=NO_ERROR / 3)
        figure.legend(loc="outside lower right", ncols=3, fontsize=8)
        return svg(figure)


def memory_chart(found: Sequence[Comparison]) -> str:
    """Peak memory above the empty run, reference beside fast path."""
    mine = [one for one in found if one.reference_bytes is not None or one.fast_bytes is not None]
    place = -np.arange(len(mine))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.24 * len(mine) + 1.2), layout="constrained")
        axes = figure.subplots()
        for key, colour, marker in (("reference_bytes", GREY, "s"), ("fast_bytes", BLUE, "o")):
            values = [getattr(one, key) for one in mine]
            shown = [math.nan if value is None else max(value / 2**20, 0.1) for value in values]
            label = key.removesuffix("_bytes").replace("fast", "fast path")
            axes.plot(shown, place, ls="", marker=marker, color=colour, label=label, alpha=0.85)
        axes.set_xscale("log")
        axes.set_yticks(place, [f"{one.benchmark}: {one.size}" for one in mine], fontsize=8)
        _plain_ticks(axes)
        axes.set_ylim(0.5 - len(mine), 0.5)
        dress(axes, "peak MiB above the empty run (0.1 or less at the edge)", "")
        figure.legend(loc="outside lower right", ncols=2, fontsize=8)
        return svg(figure)


def exponent_chart(rows: Sequence[Mapping[str, Any]], columns: int = 5) -> str:
    """One panel for each row and axis: counted cost, seconds where there are any, the claimed slope dashed."""
    with matplotlib.rc_context(STYLE | {"font.size": 8, "axes.titlesize": 8}):
        deep = -(-len(rows) // columns)
        figure = Figure(figsize=(10.5, 1.75 * deep + 0.4), layout="constrained")
        panels = figure.subplots(deep, columns, squeeze=False).ravel()
        for axes, row in zip(panels, rows, strict=False):
            _exponent_panel(axes, row)
        for axes in panels[len(rows) :]:
            axes.set_axis_off()
        handles = {
            label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower right", ncols=4, fontsize=8)
        return svg(figure)


def _exponent_panel(axes: Axes, row: Mapping[str, Any]) -> None:
    sizes = np.asarray(row["sizes"], float)
    counted = next((name for name in ("flops", "bytes") if name in row["slopes"]), None)
    shown = [(counted, row["counted"][counted], BLUE, "o")] if counted else []
    if row["seconds"]:
        shown.append(("seconds", row["seconds"], ORANGE, "s"))
    for name, costs, colour, marker in shown:
        relative = np.asarray(costs, float) / costs[0]
        label = "seconds" if name == "seconds" else f"{name}, counted"
        axes.plot(
            sizes, relative, color=GREEN if name == "bytes" else colour, marker=marker, ms=3.5, lw=1.2, label=label
        )
    axes.plot(sizes, (sizes / sizes[0]) ** row["claimed"], color=INK, lw=0.9, ls="--", label="as claimed")
    words = {"seconds": "timed"}
    fits = [
        (words.get(name, "counted"), row["slopes"][name]["exponent"]) for name, *_ in shown if name in row["slopes"]
    ]
    found = "".join(f", {word} {exponent:.2f}" for word, exponent in fits)
    axes.set_xscale("log")
    axes.set_yscale("log")
    dress(axes, f"{row['name'].replace('tangent features, ', '')}", "")
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=7.5, fontweight="bold")
    axes.set_xlabel(f"{row['axis']}: claimed {row['claimed']:g}{found}", fontsize=6.5)
    axes.set_xticks(sizes[:: max(1, len(sizes) - 1)], [_short(size) for size in sizes[:: max(1, len(sizes) - 1)]])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_formatter(NullFormatter())


def line_chart(lines: Sequence[Line], columns: int = 4) -> str:
    """Seconds of the fast path along one size, a panel for each benchmark and axis; slopes where a fit has enough sizes."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.benchmark, line.axis), []).append(line)
    with matplotlib.rc_context(STYLE | {"font.size": 8, "axes.titlesize": 8}):
        deep = -(-len(groups) // columns)
        figure = Figure(figsize=(10.5, 2.0 * deep + 0.2), layout="constrained")
        panels = figure.subplots(deep, columns, squeeze=False).ravel()
        for axes, ((name, axis), mine) in zip(panels, groups.items(), strict=False):
            for at, line in enumerate(mine):
                slope = f": {line.fit.exponent:.2f} ± {line.fit.standard_error:.2f}" if line.fit else ""
                axes.plot(
                    line.sizes,
                    line.costs,
                    color=COLOURS[at % len(COLOURS)],
                    marker="o",
                    ms=3.5,
                    label=line.held + slope,
                )
            axes.set_xscale("log")
            axes.set_yscale("log")
            _plain_ticks(axes)
            dress(axes, name, axis)
            axes.legend(fontsize=5.5)
        for axes in panels[len(groups) :]:
            axes.set_axis_off()
        return svg(figure)


def floor_chart(networks: Sequence[Mapping[str, Any]]) -> str:
    """Ratios to the floor with their intervals, a panel for each network; hollow where nothing may be stated."""
    with matplotlib.rc_context(STYLE):
        deep = max(len(network["rows"]) for network in networks)
        figure = Figure(figsize=(10.5, (0.28 * deep + 1.0) * -(-len(networks) // 2)), layout="constrained")
        panels = figure.subplots(-(-len(networks) // 2), min(2, len(networks)), squeeze=False).ravel()
        for axes, network in zip(panels, networks, strict=False):
            rows = network["rows"]
            place = -np.arange(len(rows))
            for at, row in zip(place, rows, strict=True):
                axes.plot([row["low"], row["high"]], [at, at], color=BLUE, lw=2)
                axes.plot(row["ratio"], at, "o", color=BLUE, mfc=BLUE if row["stated"] else "white")
            axes.axvline(1, color=INK, lw=1)
            axes.set_xscale("log")
            _plain_ticks(axes)
            axes.set_ylim(-len(rows) + 0.5, 0.5)
            axes.set_yticks(place, [row["method"] for row in rows], fontsize=8)
            dress(axes, f"{network['name']}, {network['n']} images of {'x'.join(map(str, network['shape']))}", "floors")
        for axes in panels[len(networks) :]:
            axes.set_axis_off()
        return svg(figure)


def history_chart(
    series: Mapping[tuple[str, str], Sequence[tuple[str, float]]], commits: Sequence[str], title: str
) -> str:
    """One line for each benchmark and size over the commits, every value over the first of its line."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.6), layout="constrained")
        axes = figure.subplots()
        moved = {key: max(abs(math.log(value / values[0][1])) for _, value in values) for key, values in series.items()}
        named = sorted(moved, key=lambda key: -moved[key])[:8]
        for key, values in series.items():
            xs, ys = [commits.index(commit) for commit, _ in values], [value / values[0][1] for _, value in values]
            at = named.index(key) if key in named else None
            colour = GRID if at is None else COLOURS[at]
            label = None if at is None else f"{key[0]}: {key[1]}"
            axes.plot(xs, ys, marker="o", ms=4, lw=1.3, color=colour, label=label, zorder=1 if at is None else 2)
        axes.set_yscale("log")
        axes.set_xticks(range(len(commits)), commits, fontsize=8)
        dress(axes, title, "commit")
        figure.legend(loc="outside right upper", fontsize=7)
        return svg(figure)


def _plain_ticks(axes: Axes) -> None:
    """0.5, 1, 2, 5, 10 instead of powers of ten, thinned out over more than two decades."""
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _precision(size: str) -> str:
    return next((name for name in ("float64", "float32") if f"dtype={name}" in size), "")


def _short(size: float) -> str:
    """12_500 -> 12.5k, so that ticks of small panels do not meet."""
    return f"{size / 1000:.3g}k" if size >= 10_000 else f"{size:g}"
