"""One self-contained page of a run: no script, no outside address, pictures inline, readable from disk and in print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dntk_fast._stages import write_atomically
from dntk_fast.report import figures
from dntk_fast.report.distance import certificate_table, distance_words, refinement_table
from dntk_fast.report.table import Cells, method_table, predictor_table, stage_table

__all__ = ["write_page"]

CSS = """
:root { color-scheme: light; --ink:#222; --soft:#666; --line:#ddd; --card:#f6f7f9; --accent:#0072B2; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background:#fff; }
body { margin: 0 auto; max-width: 1080px; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p { max-width: 75ch; } .soft { color: var(--soft); font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.card { background: var(--card); border-radius: 8px; padding: .7rem .9rem; }
.card b { display:block; font-size: 1.35rem; color: var(--accent); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); }
th, td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { font-weight: 600; border-bottom-color: #999; } th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } img.pixels { image-rendering: pixelated; }
code { background: var(--card); padding: 0 .25em; border-radius: 3px; }
@media print { h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


def write_page(record: Mapping[str, Any], images: np.ndarray, labels: np.ndarray, path: str | Path) -> None:
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
    """
    html = _document(record, _body(record, images, labels))
    write_atomically(Path(path), lambda part: part.write_text(html, encoding="utf-8"))


def _document(record: Mapping[str, Any], body: Iterable[str]) -> str:
    title = f"Distilled neural tangent kernel: {record['data']['name']}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{CSS}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _body(record: Mapping[str, Any], images: np.ndarray, labels: np.ndarray) -> Iterable[str]:
    yield from _opening(record)
    yield "<h2>How many distilled images? (Figure 1)</h2>"
    yield (
        "<p>Each size is distilled on its own. The dotted line is the fidelity of a ridge regression on the last layer's "
        "input alone, fitted on all training images: by Theorem R it can represent the network exactly, so fidelity above "
        "it, not above chance, is what a tangent kernel must show.</p>"
    )
    yield _picture(figures.size_figure(record), "Accuracy, fidelity, error, conditioning against the number of images")
    yield "<h2>Class spectra (Figure 2)</h2>"
    yield _picture(figures.spectrum_figure(record), "Eigenvalue decay and truncation ranks of the class kernels")
    yield _gap(record["gap"])
    yield from _distance(record)
    yield "<h2>Gradient distillation (Figure 3)</h2>"
    yield (
        "<p>All methods get the same rows and the same ridge. Accuracy at one gradient is no evidence of compression: the "
        "exact solution needs a single synthetic gradient per logit to reproduce the whole ridge regression, while its "
        "kernel error stays large. No choice of m gradients captures more energy than the top m eigenvectors.</p>"
    )
    yield _picture(figures.method_figure(record), "Accuracy, fidelity, kernel error, captured energy of each method")
    yield _table(method_table(record))
    yield "<h2>What it cost</h2>"
    yield (
        "<p>Passes are counted per image (forward) and per image and logit (backward, and forward where the derivative "
        "in a direction is taken along). The distillation is part of the "
        "price: its passes are to be paid back by using the small kernel often.</p>"
    )
    yield _picture(figures.cost_figure(record), "Seconds and passes of each stage")
    yield _table(stage_table(record))
    yield from _sheet(images, labels)
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
    yield _cards(
        (f"{network['accuracy']:.3f}", "network accuracy"),
        (f"{distilled['accuracy']:.3f}", "distilled kernel, accuracy"),
        (f"{distilled['fidelity']:.3f}", "distilled kernel, fidelity"),
        (f"{data['n_train']:,} → {distilled['n']:,}", "images in the kernel"),
        (f"{network['parameters']:,} → {distilled['k']:,}", "gradient coordinates (body)"),
    )
    yield _table(predictor_table(record))


def _sheet(images: np.ndarray, labels: np.ndarray) -> Iterable[str]:
    columns = min(int(np.bincount(labels).max()), 25)
    sheet = figures.image_sheet(images, labels, columns=columns, scale=max(1, 32 // images.shape[1]))
    yield "<h2>The distilled images</h2>"
    yield f'<p class="soft">One row per class, the first {columns} of each.</p>'
    yield _picture(sheet, "Distilled images, one row per class", "pixels")


def _distance(record: Mapping[str, Any]) -> Iterable[str]:
    question, start, refined = (f"<p>{words}</p>" for words in distance_words(record))
    yield "<h2>How far from the full kernel?</h2>"
    yield from (question, start, _table(certificate_table(record)), refined)
    alt = "Certified bound and true error, and share of images with a proven class, against passes"
    yield _picture(figures.distance_figure(record), alt)
    yield _table(refinement_table(record))


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
        f"{pairs('versions', ' ')}; {record['threads']} threads",
        f"seeds: {pairs('seeds', ' ')}",
        f"fingerprints: model {prints['model']}, data {prints['data']}",
        "Names such as Theorem R, LG-3 and Figure 1 are those of the paper arXiv 2602.11320 as restored by this project: "
        "the formulas of the copy at hand were lost.",
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h2>How this was made</h2><ul class="soft">{items}</ul>'


def _cards(*cards: tuple[str, str]) -> str:
    inner = "".join(f'<div class="card"><b>{escape(value)}</b>{escape(label)}</div>' for value, label in cards)
    return f'<div class="cards">{inner}</div>'


def _picture(uri: str, alt: str, kind: str = "") -> str:
    return f'<figure><img class="{kind}" alt="{escape(alt)}" src="{uri}"></figure>'


def _table(cells: Cells) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in cells.head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
