"""The pictures of a record, each a data URI: nothing is computed here, and no global plotting state is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dntk_fast.report.drawing import COLOURS, INK, MARKERS, STYLE, dress, png, svg

__all__ = ["cost_figure", "distance_figure", "image_sheet", "method_figure", "size_figure", "spectrum_figure"]


def size_figure(record: Mapping[str, Any]) -> str:
    """Accuracy, fidelity, error and conditioning against the number of distilled images (the paper's Figure 1)."""
    rows = record["distilled_sizes"]
    sizes = [row["n"] for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.3), layout="constrained")
        shares, errors, conditions = figure.subplots(1, 3)
        for key, colour, marker in (("accuracy", COLOURS[0], "o"), ("fidelity", COLOURS[1], "s")):
            shares.plot(sizes, [row[key] for row in rows], color=colour, marker=marker, label=key)
        shares.axhline(record["network"]["accuracy"], color=INK, lw=1, ls="--", label="network accuracy")
        shares.axhline(record["last_layer"]["fidelity"], color="#7F7F7F", lw=1, ls=":", label="last-layer fidelity")
        errors.plot(
            sizes, [row["mse_relative"] for row in rows], color=COLOURS[2], marker="D", label="distilled images"
        )
        drawn = record["drawn"]
        errors.plot([drawn["n"]], [drawn["mse_relative"]], color=INK, marker="x", ls="", label="as many, drawn")
        errors.set_yscale("log")
        conditions.plot(
            sizes,
            [row["condition_number"] or np.nan for row in rows],
            color=COLOURS[3],
            marker="^",
            label="condition number",
        )
        conditions.plot(
            sizes,
            [row["smallest_eigenvalue"] or np.nan for row in rows],
            color=COLOURS[4],
            marker="v",
            label="smallest eigenvalue",
        )
        conditions.set_yscale("log")
        for axes, title in (
            (shares, "share of held-out images"),
            (errors, "mse / var f, held-out"),
            (conditions, "distilled kernel, mean over classes"),
        ):
            dress(axes, title, "distilled images")
            axes.set_xscale("log")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.xaxis.set_minor_locator(NullLocator())
        shares.legend(fontsize=8, loc="lower right")
        errors.legend(fontsize=8)
        conditions.legend(fontsize=8)
        return svg(figure)


def spectrum_figure(record: Mapping[str, Any]) -> str:
    """Class spectra and truncation ranks (the paper's Figure 2), distilled images beside real ones."""
    spectra, names = record["spectra"], record["data"]["classes"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        decay, ranks = figure.subplots(1, 2, width_ratios=(3, 2))
        for c, eigenvalues in enumerate(spectra["distilled"]):
            values = np.asarray(eigenvalues)
            decay.plot(
                np.arange(1, len(values) + 1),
                np.maximum(values / values[0], 1e-16),
                lw=1.2,
                color=COLOURS[c % len(COLOURS)],
                label=names[c],
            )
        for c, eigenvalues in enumerate(spectra["real"] or ()):
            values = np.asarray(eigenvalues)
            decay.plot(
                np.arange(1, len(values) + 1),
                np.maximum(values / values[0], 1e-16),
                lw=0.8,
                ls=":",
                color=COLOURS[c % len(COLOURS)],
            )
        decay.set_xscale("log")
        decay.set_yscale("log")
        decay.legend(fontsize=7.5, ncols=2)
        dress(
            decay,
            r"$\lambda_j/\lambda_1$ of each class kernel" + (" (dotted: real images)" if spectra["real"] else ""),
            "j",
        )
        place = np.arange(len(names))
        ranks.bar(place - 0.2, spectra["distilled_ranks"], 0.4, color=COLOURS[0], label="distilled images")
        if spectra["real_ranks"]:
            ranks.bar(place + 0.2, spectra["real_ranks"], 0.4, color=COLOURS[5], label="real images")
        ranks.set_xticks(
            place,
            names,
            rotation=60 if max(map(len, names)) > 3 else 0,
            ha="right" if max(map(len, names)) > 3 else "center",
            fontsize=8,
        )
        # Above the bars: a legend among them hides some.
        ranks.set_ylim(top=1.25 * max([*spectra["distilled_ranks"], *(spectra["real_ranks"] or ())]))
        ranks.legend(fontsize=8, loc="upper right", ncols=2)
        dress(ranks, rf"truncation rank at $\varepsilon={spectra['epsilon']:g}$ (Def 3.1)", "class")
        return svg(figure)


def method_figure(record: Mapping[str, Any]) -> str:
    """All ways to distil gradients on one axis (the paper's Figure 3): shares above, kernel measures below."""
    rows = record["gradient_distillation"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        panels = figure.subplots(2, 2).ravel()
        titles = (
            ("accuracy", "accuracy, held-out"),
            ("fidelity", "fidelity, held-out"),
            ("kernel_error", r"kernel error $\|K-K_U\|_F/\|K\|_F$"),
            ("captured_energy", r"missed energy $1-\mathrm{tr}\,K_U/\mathrm{tr}\,K$"),
        )
        for axes, (key, title) in zip(panels, titles, strict=True):
            for i, method in enumerate(methods):
                mine = [row for row in rows if row["method"] == method]
                colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
                style = {"color": colour, "marker": marker, "lw": 1.3, "ms": 5, "capsize": 2, "label": method}
                # every method captures less than all of K's energy in fewer gradients than rows; 1e-16 is a float's zero
                heights = [max(1 - row[key], 1e-16) if key == "captured_energy" else row[key] for row in mine]
                spread = [row.get(f"{key}_sd", 0.0) for row in mine]
                axes.errorbar([row["m"] for row in mine], heights, yerr=spread, **style)
            ticks = sorted({row["m"] for row in rows})
            axes.set_xscale("log")
            axes.set_yscale("log" if key in {"kernel_error", "captured_energy"} else "linear")
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            dress(axes, title, "synthetic gradients per logit, m")
        panels[0].axhline(record["network"]["accuracy"], color=INK, lw=1, ls="--")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8.5)
        return svg(figure)


def distance_figure(record: Mapping[str, Any]) -> str:
    """Bound and true error of refined and distilled predictor against passes, and how many classes that proves."""
    found = record["distance"]
    steps, scale = found["steps"], found["scale"]
    start, passes = found["start"], [step["passes"] for step in steps]
    refined = passes, [step["bound"] / scale for step in steps], [step["same"] for step in steps]
    bounds = start["held_out_rms"]["bound"], *(step["distilled_bound"] for step in steps)
    proven = [start["same"], *(step["distilled_same"] for step in steps)]
    distilled = [start["passes"], *passes], [bound / scale for bound in bounds], proven
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.6), layout="constrained")
        errors, shares = figure.subplots(1, 2, width_ratios=(3, 2))
        for (at, heights, counts), name, colour, marker in (
            (refined, "refined", COLOURS[0], "o"),
            (distilled, "distilled", COLOURS[1], "s"),
        ):
            errors.plot(at, heights, color=colour, marker=marker, ms=4, label=f"{name}: proven bound")
            shares.plot(at, counts, color=colour, marker=marker, ms=4, label=name)
        if found["exact"]:
            truth = [step["truth"] / scale for step in steps]
            errors.plot(
                passes, truth, color=COLOURS[0], marker="o", ms=4, mfc="white", ls="--", label="refined: true error"
            )
            level = start["held_out_rms"]["truth"] / scale
            errors.axhline(level, color=COLOURS[1], ls="--", label="distilled: true error")
        errors.axhline(1, color=INK, lw=0.8, ls=":")
        errors.annotate("as large as the predictions", (passes[-1], 1), (0, 3), textcoords="offset points", ha="right",
                        fontsize=8)  # fmt: skip
        errors.set_yscale("log")
        shares.set_ylim(-0.03, 1.03)
        for axes in (errors, shares):
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        dress(errors, "held-out RMS to the full predictor / its own RMS", "passes over the training images")
        dress(shares, "class proven the full predictor's", "passes over the training images")
        errors.legend(fontsize=8)
        shares.legend(fontsize=8, loc="center right")
        return svg(figure)


def cost_figure(record: Mapping[str, Any]) -> str:
    """Seconds and passes of every stage, the distillation included."""
    stages = record["stages"]
    names = [stage["name"] for stage in stages]
    place = np.arange(len(names))[::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.42 * len(names) + 1.5), layout="constrained")
        seconds, passes = figure.subplots(1, 2, sharey=True)
        seconds.barh(place, [stage["seconds"] for stage in stages], color=COLOURS[0])
        passes.barh(
            place + 0.2,
            [max(stage["forward_passes"], 0.5) for stage in stages],
            0.4,
            color=COLOURS[5],
            label="forward, images",
        )
        passes.barh(
            place - 0.2,
            [max(stage["backward_passes"], 0.5) for stage in stages],
            0.4,
            color=COLOURS[1],
            label="backward, image-logit pairs",
        )
        seconds.set_yticks(place, names)
        passes.set_xscale("log")
        passes.set_xlim(left=1)
        figure.legend(loc="outside lower right", ncols=2, fontsize=8)
        dress(seconds, "seconds", "")
        dress(passes, "passes", "")
        return svg(figure)


def image_sheet(images: np.ndarray, labels: np.ndarray, *, columns: int, scale: int = 2) -> str:
    """Distilled images (n, H, W, channels) in [0, 1], one row of `columns` images per class, as a PNG."""
    classes = np.unique(labels)
    height, width, channels = images.shape[1:]
    gap = 1
    sheet = np.ones((len(classes) * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for row, label in enumerate(classes):
        for column, image in enumerate(images[labels == label][:columns]):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = image
    sheet = np.repeat(np.repeat(sheet, scale, axis=0), scale, axis=1)
    return png(sheet)
