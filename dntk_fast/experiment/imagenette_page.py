"""The ImageNette record on one self-contained page: the paper's figures and table, its numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from dntk_fast._stages import write_atomically
from dntk_fast.report import figures
from dntk_fast.report.figures import COLOURS, INK, STYLE, _dress, _svg
from dntk_fast.report.page import _cards, _document, _picture, _table
from dntk_fast.report.table import Cells, method_table, stage_table

__all__ = ["paper_table", "predictor_table", "rivals_table", "write_page"]

GREY = "#7F7F7F"
#: Table 1 of the paper: method -> (name there, what dominates its cost there)
TABLE_1 = {
    "random": ("Random", "nothing"),
    "leverage": ("Leverage score", "cubic in the data"),
    "farthest point": ("Greedy FPS", "quadratic in m (linear, as restored here)"),
    "k-means": ("K-Means", "linear in all factors"),
    "Algorithm 1": ("Synthetic", "cubic, one decomposition for all m"),
}


# --- tables -----------------------------------------------------------------------------------------------------------


def paper_table(record: Mapping[str, Any]) -> Cells:
    """What the paper states beside what was found here."""
    head = ("claim", "where", "paper", "here")
    rows = tuple(tuple(row[key] for key in head) for row in record["beside_the_paper"])
    return Cells(
        "the paper's numbers beside ours: context, not a test",
        head,
        rows,
        {name: name for name in head if name != "where"},
    )


def predictor_table(record: Mapping[str, Any]) -> Cells:
    """One row per predictor: networks, and ridge regressions on real images and on each distilled set."""
    head = ("predictor", "images", "accuracy", "fidelity", "mse / var f", "lam / mean diag K", "effective dim.")
    network = ("network", f"{record['data']['n_train']:,}", f"{record['network']['accuracy']:.4f}", *("",) * 4)
    rows = [network, _row("last layer (Theorem R)", record["last_layer"]), _row("real images", record["real"])]
    for size in record["distilled_sizes"]:
        rows.append(_row(f"distilled, {size['per_class']} per class", size))
    for size in record["distilled_only"]:
        name = f"{size['per_class']} per class"
        rows.append((f"network on {name} alone", f"{size['n']:,}", f"{size['network_accuracy']:.4f}", *("",) * 4))
        rows.append(_row(f"its kernel, {name}", size))
    title = f"{record['data']['name']}, {record['network']['name']}: held-out images"
    return Cells(title, head, tuple(rows), {name: name for name in head[:5]})


def _row(label: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    edge = " (edge)" if row["on_edge"] else ""
    shares = f"{row['accuracy']:.4f}", f"{row['fidelity']:.4f}", f"{row['mse_relative']:.2e}"
    return (label, f"{row['n']:,}", *shares, f"{row['lam_relative']:.0e}{edge}", f"{row['effective_dimension']:.1f}")


def rivals_table(record: Mapping[str, Any]) -> Cells:
    """Table 1: what dominates each method in the paper, and seconds here."""
    head = ("method", "in the paper", "m", "seconds")
    rows = tuple(
        (TABLE_1[row["method"]][0], TABLE_1[row["method"]][1], f"{row['m']:.4g}", f"{row['seconds']:.3g}")
        for row in record["method_seconds"]
    )
    return Cells("Table 1: all logits, decompositions included, one turn each", head, rows, {n: n for n in head})


# --- figures ----------------------------------------------------------------------------------------------------------


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
            _dress(axes, title, "distilled images")
        _networks(panels[0], record)
        panels[1].axhline(record["last_layer"]["fidelity"], color=GREY, lw=1, ls=":", label="last layer (Theorem R)")
        handles = {label: line for a in panels[:2] for line, label in zip(*a.get_legend_handles_labels(), strict=True)}
        panels[5].axis("off")
        panels[5].legend(handles.values(), handles.keys(), loc="center left", fontsize=9)
        return _svg(figure)


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
        below.set_xlabel("global direction j, up to the truncation rank")
        handles, labels = above.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8.5)
        return _svg(figure)


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
    _dress(axes, "(A) share of each cluster's local variance inside the global eigenspace", "")


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
        return _svg(figure)


def _containment(axes: Axes, part: Mapping[str, Any], title: str) -> None:
    below = np.zeros(part["rank"])
    for h, shares in enumerate(part["containment"]):
        style: dict[str, Any] = {"color": COLOURS[h % len(COLOURS)], "label": f"cluster {h + 1}"}
        axes.bar(np.arange(1, part["rank"] + 1), shares, 1.0, bottom=below, **style)
        below = below + np.asarray(shares)
    axes.set_xlim(0.5, part["rank"] + 0.5)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axes, f"{title}: {1 - part['unweighted_gap']:.0%} inside", "")


def truncation_figure(record: Mapping[str, Any]) -> str:
    """Figure 5: accuracy and fidelity of the rank-r solution, and where the truncation ranks lie."""
    rows, ranks = record["truncation"], record["spectra"]["distilled_ranks"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, key in zip(panels, ("accuracy", "fidelity"), strict=True):
            axes.axvspan(31, 41, color=GREY, alpha=0.25, lw=0, label="ranks in the paper, 31 to 41")
            axes.axvspan(min(ranks), max(ranks), color=COLOURS[2], alpha=0.2, lw=0, label="ranks here")
            axes.plot([row["rank"] for row in rows], [row[key] for row in rows], color=COLOURS[0], marker="o")
            axes.set_xscale("log")
            _dress(axes, f"{key} of the rank-r solution, held-out", "rank r")
        panels[0].axhline(record["network"]["accuracy"], color=INK, lw=1, ls="--", label="network accuracy")
        panels[0].legend(fontsize=8)
        return _svg(figure)


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
        return _svg(figure)


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
    _dress(axes, "all settings; lines: best up to m", "synthetic gradients per logit")


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(record: Mapping[str, Any], path: str | Path) -> None:
    """Write the page of a record of `imagenette.run`: whole or not at all, no script, no outside address, no photograph."""
    html = _document(record, _body(record))
    write_atomically(Path(path), lambda part: part.write_text(html, encoding="utf-8"))


def _body(record: Mapping[str, Any]) -> Iterable[str]:
    yield from _opening(record)
    yield from _section("Figure 1: how many distilled images?", FIGURE_1, networks_figure(record))
    yield _table(predictor_table(record))
    yield _energies(record["real"]["energies"])
    yield from _section("Figure 2: class spectra", FIGURE_2, figures.spectrum_figure(record))
    yield from _section("Figures 3 and 6: gradient distillation", FIGURE_3, figures.method_figure(record))
    yield _table(method_table(record))
    yield from _section("Figure 4: local and global structure", FIGURE_4, structure_figure(record))
    yield from _section("Figure 5: rank-r solutions", FIGURE_5, truncation_figure(record))
    yield f"<h2>Figure 7: ImageWoof</h2><p>{escape(record['figure_7'])}.</p>"
    yield from _section("Figure 8: the other classes", FIGURE_8, containment_figure(record))
    yield from _section("Figure 9: the two thresholds", FIGURE_9, grid_figure(record))
    yield "<h2>Table 1: the rivals</h2>"
    yield _table(rivals_table(record))
    yield from _section("What it cost", COST, figures.cost_figure(record))
    yield _table(stage_table(record))
    yield _provenance(record)


FIGURE_1 = (
    "Each size is distilled on its own. One kernel is that of the network pretrained on the real images; the other belongs "
    "to a network that has seen the distilled images and their classes alone. Targets are each network's own logits at "
    "the distilled images. The dotted line is ridge regression on the last layer's input: by Theorem R it can represent "
    "the network exactly. A missing condition number is one that rounding hides."
)
FIGURE_2 = (
    "The largest distilled set beside all real training images, both in projected features: 100 leading eigenvalues."
)
FIGURE_3 = (
    "All methods get the rows of the largest distilled set and the same ridge. No choice of m gradients captures more "
    "energy than the top m eigenvectors, and the exact solution needs one gradient to repeat the whole regression: "
    "accuracy at few gradients is not by itself a measure of compression."
)
FIGURE_4 = (
    "Clusters are those of the mean kernel. Weighted by variance, the share outside all local eigenspaces is at most "
    "ε/(1 − ε) = 5.3 % by LG-3; counted by direction it has no such bound. Dashes: what random directions would give."
)
FIGURE_5 = "Ridge regression on the r leading eigenvalues of each class kernel, the ridge that of the whole solution."
FIGURE_8 = "As the lower panel of Figure 4; the share inside counts the directions equally."
FIGURE_9 = (
    "τ_v: variance that local and global eigenvectors keep. τ_g: a global direction whose coverage is below it counts as a "
    "gap; at 0 none does, which leaves the local gradients alone."
)
COST = (
    "Passes per image (forward), per image and logit or per image (backward): training and distillation are part of the "
    "price."
)


def _section(title: str, text: str, picture: str) -> Iterable[str]:
    yield f"<h2>{escape(title)}</h2><p>{escape(text)}</p>"
    yield _picture(picture, title)


def _opening(record: Mapping[str, Any]) -> Iterable[str]:
    data, network, largest = record["data"], record["network"], record["distilled_sizes"][-1]
    yield "<h1>The paper's experiment: ImageNette</h1>"
    yield (
        f'<p class="soft">{escape(network["name"])}, {network["parameters"]:,} parameters, pretrained here on the '
        f"{data['n_train']:,} real training images of {escape(data['name'])} ({data['shape'][1]} pixels); "
        f"{data['n_test']:,} held-out images. The paper's network and the size of its images are not at "
        "hand: its numbers stand beside ours as context, never as a test. Distilled images start from photographs that "
        "may not be published: none is shown.</p>"
    )
    yield _cards(
        (f"{network['accuracy']:.3f}", "network accuracy"),
        (f"{largest['accuracy']:.3f}", "distilled kernel, accuracy"),
        (f"{largest['fidelity']:.3f}", "distilled kernel, fidelity"),
        (f"{record['distilled_only'][-1]['accuracy']:.3f}", "accuracy without the pretrained network"),
        (f"{data['n_train']:,} → {largest['n']:,}", "images in the kernel"),
    )
    yield _table(paper_table(record))


def _energies(energies: list[dict[str, Any]]) -> str:
    parts = [
        f"{row['per_class']} per class hold {row['held']:.1%} (the best span of that rank misses {row['tail']:.1%}, their "
        f"position another {row['misalignment']:.1%})"
        for row in energies
    ]
    return (
        f"<p>Gradient energy of the real images in the span of the distilled ones (Prop 3.6): {'; '.join(parts)}.</p>"
    )


def _provenance(record: Mapping[str, Any]) -> str:
    def pairs(found: Mapping[str, Any], sign: str) -> str:
        return ", ".join(f"{name}{sign}{value}" for name, value in found.items())

    lines = (
        f"setting: {pairs(record['setting'], ' = ')}",
        f"{record['date']}; {pairs(record['device'], ' ')}; {pairs(record['versions'], ' ')}; {record['threads']} threads",
        f"seeds: {pairs(record['seeds'], ' ')}",
        "Names such as Theorem R and LG-3 are those of the paper arXiv 2602.11320 as restored by this project: the formulas "
        "and figures of the copy at hand were lost, so the figures follow the paper's text.",
    )
    return f'<h2>How this was made</h2><ul class="soft">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'
