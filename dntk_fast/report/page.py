"""One self-contained page of a run: no script, no outside address, pictures inline, readable from disk and in print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dntk_fast.files.atomic import write_atomically
from dntk_fast.report import figures
from dntk_fast.report.distance import certificate_table, distance_words, refinement_table
from dntk_fast.report.mind import run_section
from dntk_fast.report.parts import cards, document, picture, table
from dntk_fast.report.table import method_table, predictor_table, stage_table

__all__ = ["write_page"]


def write_page(
    record: Mapping[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    path: str | Path,
    *,
    pictures: Mapping[str, np.ndarray],
) -> None:
    """Write report.html.

    Parameters
    ----------
    record : mapping
        A record of schema 1.
    images : ndarray (n_S, H, W, channels)
        Distilled images, scaled to [0, 1].
    labels : ndarray (n_S,)
        Their classes.
    path : path
        Where the page goes; written whole or not at all.
    pictures : mapping
        Pictures (height, width, channels) of the images that the section on changed minds shows, by name.
    """
    html = document(record["data"]["name"], _body(record, images, labels, pictures))
    write_atomically(Path(path), html.encode(errors="backslashreplace"))


def _body(
    record: Mapping[str, Any], images: np.ndarray, labels: np.ndarray, pictures: Mapping[str, np.ndarray]
) -> Iterable[str]:
    yield from _opening(record)
    yield "<h2>How many distilled images? (Figure 1)</h2>"
    yield (
        "<p>Each size is distilled on its own. The dotted line is the fidelity of a ridge regression on the last layer's "
        "input alone, fitted on all training images: by Theorem R it can represent the network exactly, so fidelity as "
        "high as this line is no evidence for a tangent kernel by itself.</p>"
    )
    yield picture(figures.size_figure(record), "Accuracy, fidelity, error, conditioning against the number of images")
    yield "<h2>Class spectra (Figure 2)</h2>"
    yield picture(figures.spectrum_figure(record), "Eigenvalue decay and truncation ranks of the class kernels")
    yield _gap(record["gap"])
    yield from _distance(record)
    yield "<h2>Gradient distillation (Figure 3)</h2>"
    yield (
        "<p>All methods get the same rows and the same ridge. Accuracy at one gradient is no evidence of compression: the "
        "exact solution needs a single synthetic gradient per logit to reproduce the whole ridge regression, while its "
        "kernel error stays large. No choice of m gradients captures more energy than the top m eigenvectors.</p>"
    )
    yield picture(figures.method_figure(record), "Accuracy, fidelity, kernel error, captured energy of each method")
    yield table(method_table(record))
    yield "<h2>What it cost</h2>"
    yield (
        "<p>Passes are counted per image (forward) and per image and logit (backward, and forward where the derivative "
        "in a direction is taken along). The distillation is part of the "
        "price: its passes are to be paid back by using the small kernel often.</p>"
    )
    yield picture(figures.cost_figure(record), "Seconds and passes of each stage")
    yield table(stage_table(record))
    yield from _sheet(images, labels)
    yield from run_section(record, pictures)
    yield _provenance(record)


def _opening(record: Mapping[str, Any]) -> Iterable[str]:
    data, distilled, network = record["data"], record["distilled"], record["network"]
    yield f"<h1>Distilled neural tangent kernel on {escape(data['name'])}</h1>"
    yield (
        f'<p class="soft">{escape(network["name"])}, {network["parameters"]:,} parameters, {data["n_train"]:,} training '
        f"and {data['n_test']:,} held-out images, {len(data['classes'])} classes. Accuracy: share of held-out images with "
        "the right label; fidelity: share with the network's own class. Passes: of the refinement, forward + backward over "
        "all training images and logits.</p>"
    )
    yield cards(
        (f"{network['accuracy']:.3f}", "network accuracy"),
        (f"{distilled['accuracy']:.3f}", "distilled kernel, accuracy"),
        (f"{distilled['fidelity']:.3f}", "distilled kernel, fidelity"),
        (f"{data['n_train']:,} → {distilled['n']:,}", "images in the kernel"),
        (f"{network['parameters']:,} → {distilled['k']:,}", "gradient coordinates (body)"),
    )
    yield table(predictor_table(record))


def _sheet(images: np.ndarray, labels: np.ndarray) -> Iterable[str]:
    columns = min(int(np.bincount(labels).max()), 25)
    sheet = figures.image_sheet(images, labels, columns=columns, scale=max(1, 32 // images.shape[1]))
    yield "<h2>The distilled images</h2>"
    yield f'<p class="soft">One row per class, the first {columns} of each.</p>'
    yield picture(sheet, "Distilled images, one row per class", "pixels")


def _distance(record: Mapping[str, Any]) -> Iterable[str]:
    question, start, refined = (f"<p>{words}</p>" for words in distance_words(record))
    yield "<h2>How far from the full kernel?</h2>"
    yield from (question, start, table(certificate_table(record)), refined)
    alt = "Certified bound and true error, and share of images with a proven class, against passes"
    yield picture(figures.distance_figure(record), alt)
    yield table(refinement_table(record))


def _gap(gap: Mapping[str, Any]) -> str:
    bound = gap["epsilon_local"] / (1 - gap["epsilon_global"])
    return (
        f"<p>Local and global structure with {gap['clusters']} clusters at ε<sub>ℓ</sub> = {gap['epsilon_local']:g}, "
        f"ε<sub>g</sub> = {gap['epsilon_global']:g}: the union of local eigenspaces misses <b>{gap['weighted']:.1%}</b> "
        f"of the truncated variance (variance-weighted; at most ε<sub>ℓ</sub>/(1 − ε<sub>g</sub>) = {bound:.1%} by LG-3) "
        f"and <b>{gap['unweighted']:.1%}</b> of the global directions counted equally. Property (A): "
        f"{gap['property_a']:.3f}; random eigenvectors would give {gap['property_a_null']:.3f}.</p>"
    )


def _provenance(record: Mapping[str, Any]) -> str:
    def pairs(key: str, sign: str) -> str:
        return ", ".join(f"{name}{sign}{value}" for name, value in record[key].items())

    prints = {name: value[:16] for name, value in record["fingerprints"].items()}
    lines = [
        *record["notes"],
        f"configuration: {pairs('config', ' = ')}",
        f"{pairs('versions', ' ')}; {record['threads']} thread{'s' * (record['threads'] != 1)}",
        f"seeds: {pairs('seeds', ' ')}",
        f"fingerprints: model {prints['model']}, data {prints['data']}",
        "Names such as Theorem R, LG-3 and Figure 1 are those of the paper arXiv 2602.11320 as restored by this project: "
        "the formulas of the copy at hand were lost.",
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h2>How this was made</h2><ul class="soft">{items}</ul>'
