"""One self-contained page of a run: no script, no outside address, pictures inline, readable from disk and in print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dntk_fast._stages import write_atomically
from dntk_fast.report import figures
from dntk_fast.report.table import PREDICTORS, readable_bytes, share_with_spread

__all__ = ["write_page"]

CSS = """
:root { color-scheme: light; --ink:#222; --soft:#666; --line:#ddd; --card:#f6f7f9; --accent:#0072B2; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background:#fff; margin: 0 auto; max-width: 1080px; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p { max-width: 75ch; } .soft { color: var(--soft); font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.card { background: var(--card); border-radius: 8px; padding: .7rem .9rem; } .card b { display:block; font-size: 1.5rem; color: var(--accent); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; font-variant-numeric: tabular-nums; }
th { font-weight: 600; border-bottom-color: #999; } th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; } img.pixels { image-rendering: pixelated; }
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
    write_atomically(Path(path), lambda part: part.write_text(html, encoding="utf-8") and None)


def _document(record: Mapping[str, Any], body: Iterable[str]) -> str:
    title = f"Distilled neural tangent kernel: {record['data']['name']}"
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
            f"<style>{CSS}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n")


def _body(record: Mapping[str, Any], images: np.ndarray, labels: np.ndarray) -> Iterable[str]:
    data, distilled, network = record["data"], record["distilled"], record["network"]
    yield f"<h1>Distilled neural tangent kernel on {escape(data['name'])}</h1>"
    yield (f'<p class="soft">{escape(network["name"])}, {network["parameters"]:,} parameters, {data["n_train"]:,} training and '
           f'{data["n_test"]:,} held-out images, {len(data["classes"])} classes. Accuracy: share of held-out images with the right '
           "label; fidelity: share with the network's own class.</p>")
    yield _cards((f"{network['accuracy']:.3f}", "network accuracy"), (f"{distilled['accuracy']:.3f}", "distilled kernel, accuracy"),
                 (f"{distilled['fidelity']:.3f}", "distilled kernel, fidelity"),
                 (f"{data['n_train']:,} → {distilled['n']:,}", "images in the kernel"),
                 (f"{network['parameters']:,} → {distilled['k']:,}", "gradient coordinates (body)"))
    yield _predictors(record)
    yield "<h2>How many distilled images? (Figure 1)</h2>"
    yield ("<p>Each size is distilled on its own. The dotted line is the fidelity of a ridge regression on the last layer's input alone, "
           "fitted on all training images: by Theorem R it can represent the network exactly, so fidelity above it, not above chance, is "
           "what a tangent kernel must show.</p>")
    yield _picture(figures.size_figure(record), "Accuracy, fidelity, error and conditioning against the number of distilled images")
    yield "<h2>Class spectra (Figure 2)</h2>"
    yield _picture(figures.spectrum_figure(record), "Eigenvalue decay and truncation ranks of the class kernels")
    yield _gap(record["gap"])
    yield "<h2>Gradient distillation (Figure 3)</h2>"
    yield ("<p>All methods get the same rows and the same ridge. Accuracy at one gradient is no evidence of compression: the exact "
           "solution needs a single synthetic gradient per logit to reproduce the whole ridge regression, while its kernel error stays "
           "large. No choice of m gradients captures more energy than the top m eigenvectors.</p>")
    yield _picture(figures.method_figure(record), "Accuracy, fidelity, kernel error and captured energy of each method")
    yield _methods(record)
    yield "<h2>What it cost</h2>"
    yield ("<p>Passes are counted per image (forward) and per image and logit (backward). The distillation is part of the price: its "
           "passes are to be paid back by using the small kernel often.</p>")
    yield _picture(figures.cost_figure(record), "Seconds and passes of each stage")
    yield _table(("stage", "seconds", "forward passes", "backward passes", "result"),
                 [(row["name"], f"{row['seconds']:.1f}", f"{row['forward_passes']:,}", f"{row['backward_passes']:,}",
                   readable_bytes(row["bytes"])) for row in record["stages"]])
    yield "<h2>The distilled images</h2>"
    columns = min(int(np.bincount(labels).max()), 25)
    sheet = figures.image_sheet(images, labels, columns=columns, scale=max(1, 32 // images.shape[1]))
    yield f'<p class="soft">One row per class, the first {columns} of each.</p>' + _picture(sheet, "Distilled images, one row per class", "pixels")
    yield _provenance(record)


def _predictors(record: Mapping[str, Any]) -> str:
    rows = []
    for key, label in PREDICTORS.items():
        row = record[key]
        rows.append((label, f"{row['n']:,}", f"{row['accuracy']:.4f}", f"{row['fidelity']:.4f}", f"{row['mse_relative']:.2e}",
                     f"{row['lam_relative']:.0e}" + (" (edge)" if row["on_edge"] else ""), f"{row.get('effective_dimension', 0):.1f}",
                     row["method"]))
    return _table(("predictor", "images", "accuracy", "fidelity", "mse / var f", "ridge / mean diag K", "effective dim.", "solved by"), rows)


def _methods(record: Mapping[str, Any]) -> str:
    rows = [(row["method"], row["m"], f"{row.get('realised_m', row['m']):.1f}", share_with_spread(row, "accuracy"),
             share_with_spread(row, "fidelity"), f"{row['mse']:.3g}", f"{row['kernel_error']:.3f}", f"{row['captured_energy']:.3f}",
             row.get("setting", "")) for row in record["gradient_distillation"]]
    return _table(("method", "m", "realised m", "accuracy", "fidelity", "mse", "kernel error", "captured energy", "setting"), rows)


def _gap(gap: Mapping[str, Any]) -> str:
    return (f"<p>Local and global structure with {gap['clusters']} clusters at ε<sub>ℓ</sub> = {gap['epsilon_local']:g}, ε<sub>g</sub> = "
            f"{gap['epsilon_global']:g}: the union of local eigenspaces misses <b>{gap['weighted']:.1%}</b> of the truncated variance "
            f"(variance-weighted; at most ε<sub>ℓ</sub>/(1 − ε<sub>g</sub>) = {gap['epsilon_local'] / (1 - gap['epsilon_global']):.1%} by LG-3) "
            f"and <b>{gap['unweighted']:.1%}</b> of the global directions counted equally. Property (A): {gap['property_a']:.3f}; "
            f"random eigenvectors would give {gap['property_a_null']:.3f}.</p>")


def _provenance(record: Mapping[str, Any]) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in record["notes"])
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    seeds = ", ".join(f"{name} {seed}" for name, seed in record["seeds"].items())
    config = ", ".join(f"{key} = {value}" for key, value in record["config"].items())
    return (f'<h2>How this was made</h2><ul class="soft">{notes}<li>configuration: {escape(config)}</li><li>{escape(versions)}; '
            f'{record["threads"]} threads</li><li>seeds: {escape(seeds)}</li>'
            f'<li>model fingerprint <code>{escape(record["fingerprints"]["model"][:16])}</code>, '
            f'data fingerprint <code>{escape(record["fingerprints"]["data"][:16])}</code></li>'
            "<li>Names such as Theorem R, LG-3 and Figure 1 are those of the paper arXiv 2602.11320 as restored by this project: "
            "the formulas of the copy at hand were lost.</li></ul>")


def _cards(*cards: tuple[str, str]) -> str:
    return '<div class="cards">' + "".join(f'<div class="card"><b>{escape(v)}</b>{escape(k)}</div>' for v, k in cards) + "</div>"


def _picture(uri: str, alt: str, kind: str = "") -> str:
    return f'<p><img class="{kind}" alt="{escape(alt)}" src="{uri}"></p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
