"""The ImageNette record on one self-contained page: the paper's figures and table, its numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from dntk_fast.experiment.imagenette_figures import (
    containment_figure,
    grid_figure,
    networks_figure,
    structure_figure,
    truncation_figure,
)
from dntk_fast.files.atomic import write_atomically
from dntk_fast.report import figures
from dntk_fast.report.parts import cards, document, picture, table
from dntk_fast.report.table import Cells, method_table, stage_table

__all__ = ["paper_table", "predictor_table", "rivals_table", "write_page"]

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


# --- the page ---------------------------------------------------------------------------------------------------------


def write_page(record: Mapping[str, Any], path: str | Path) -> None:
    """Write the page of a record of `imagenette.run`: whole or not at all, no script, no outside address, no photograph."""
    html = document(record["data"]["name"], _body(record))
    write_atomically(Path(path), html.encode(errors="backslashreplace"))


def _body(record: Mapping[str, Any]) -> Iterable[str]:
    yield from _opening(record)
    yield from _section("Figure 1: how many distilled images?", FIGURE_1, networks_figure(record))
    yield table(predictor_table(record))
    yield _energies(record["real"]["energies"])
    yield from _section("Figure 2: class spectra", FIGURE_2, figures.spectrum_figure(record))
    yield from _section("Figures 3 and 6: gradient distillation", FIGURE_3, figures.method_figure(record))
    yield table(method_table(record))
    yield from _section("Figure 4: local and global structure", FIGURE_4, structure_figure(record))
    yield from _section("Figure 5: rank-r solutions", FIGURE_5, truncation_figure(record))
    yield f"<h2>Figure 7: ImageWoof</h2><p>{escape(record['figure_7'])}.</p>"
    yield from _section("Figure 8: the other classes", FIGURE_8, containment_figure(record))
    yield from _section("Figure 9: the two thresholds", FIGURE_9, grid_figure(record))
    yield "<h2>Table 1: the rivals</h2>"
    yield table(rivals_table(record))
    yield from _section("What it cost", COST, figures.cost_figure(record))
    yield table(stage_table(record))
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
    "accuracy at few gradients is not by itself a measure of compression. Where no setting of Algorithm 1 stays within "
    "the budget it has no gradient, and the first class is all it can say."
)
FIGURE_4 = (
    "Clusters are those of the mean kernel. Weighted by variance, the share outside all local eigenspaces is at most "
    "ε/(1 − ε) = 5.3 % by LG-3; counted by direction it has no such bound. Dashes: what random directions would give."
)
FIGURE_5 = "Ridge regression on the r leading eigenvalues of each class kernel, the ridge that of the whole solution."
FIGURE_8 = "As the lower panel of Figure 4; the share inside counts all directions up to the truncation rank equally."
FIGURE_9 = (
    "τ_v: variance that local and global eigenvectors keep. τ_g: a global direction whose coverage is below it counts as a "
    "gap; at 0 none does, which leaves the local gradients alone."
)
COST = (
    "Passes per image (forward), per image and logit or per image (backward): training and distillation are part of the "
    "price."
)


def _section(title: str, text: str, drawn: str) -> Iterable[str]:
    yield f"<h2>{escape(title)}</h2><p>{escape(text)}</p>"
    yield picture(drawn, title)


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
    yield cards(
        (f"{network['accuracy']:.3f}", "network accuracy"),
        (f"{largest['accuracy']:.3f}", "distilled kernel, accuracy"),
        (f"{largest['fidelity']:.3f}", "distilled kernel, fidelity"),
        (f"{record['distilled_only'][-1]['accuracy']:.3f}", "accuracy without the pretrained network"),
        (f"{data['n_train']:,} → {largest['n']:,}", "images in the kernel"),
    )
    yield table(paper_table(record))


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
