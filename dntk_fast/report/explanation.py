"""The page of `dntk explain`: answers and the training images behind them, as pictures, and the labels to look at first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from dntk_fast.files.atomic import write_atomically
from dntk_fast.report.mind import one_mind, strip
from dntk_fast.report.parts import cards, document

__all__ = ["write_explanation"]

Pictures = Mapping[str, np.ndarray]


def write_explanation(record: Mapping[str, Any], pictures: Pictures, path: str | Path) -> None:
    """Write explain.html from a record and the pictures that it speaks of (height, width, channels) in [0, 1], by name."""
    html = document(f"why, on {record['data']['name']}", _body(record, pictures))
    write_atomically(Path(path), html.encode(errors="backslashreplace"))


def _body(record: Mapping[str, Any], pictures: Pictures) -> Iterable[str]:
    data, network, classes = record["data"], record["network"], record["data"]["classes"]
    weights = "weights of a file" if network["weights_given"] else "trained here"
    yield f"<h1>Why does it say so? {escape(network['name'])} on {escape(data['name'])}</h1>"
    yield (
        f'<p class="soft">{network["parameters"]:,} parameters, {weights}; {data["n_train"]:,} training and '
        f"{data['n_test']:,} held-out images, {len(classes)} classes.</p>"
    )
    yield cards(
        (f"{network['accuracy']:.3f}", "accuracy on held-out images"),
        (f"{network['train_accuracy']:.3f}", "accuracy on training images"),
        (f"{record['lam_relative']:.3g}", "ridge, of the kernel's mean diagonal"),
    )
    yield from _how(record)
    yield "<h2>What would change its mind?</h2>"
    for one in record["images"]:
        yield from one_mind(one, classes, pictures)
    yield from _gallery(record, pictures)


def _how(record: Mapping[str, Any]) -> Iterable[str]:
    yield (
        "<p>Ridge regression of the <em>labels</em> with the tangent kernel of the trained network predicts what training "
        "would give without some images. <b>Support</b> is how much the margin of the answer falls without a single "
        "training image; images are then taken away together, the most supporting first, and the first number tried without "
        f"which the machine says another class is told. The kernel: {escape(record['way'])}.</p>"
    )
    if any("retrained" in part for one in record["images"] for part in one["removals"]):
        given = (
            " They are trained as this program trains, from new weights, and not as the weights of the file were."
            if record["network"]["weights_given"]
            else ""
        )
        yield (
            "<p>The columns <b>retrained</b> and <b>its probability</b> (of the answer above) are no predictions: they tell "
            f"what networks say that were trained for real, {record['question']['retrainings']} of them with all images and "
            f"as many without those of the row, pair by pair from the same initial weights.{given}</p>"
        )


def _gallery(record: Mapping[str, Any], pictures: Pictures) -> Iterable[str]:
    classes = record["data"]["classes"]
    yield "<h2>Which labels are suspicious?</h2>"
    yield (
        "<p>The training images whose label the others contradict most: label → what the kernel machine says of the image "
        "when it is left out, with the margin of its label. Clean data have a worst label, too: below 0 the others speak "
        "for another class, which makes it worth a look and no more.</p>"
    )
    captions = [
        (
            f"training {one['row']}",
            f"#{one['row']} · {classes[one['label']]} → {classes[one['says']]} · {one['margin']:+.2f}",
            f"label {classes[one['label']]}, the others say {classes[one['says']]}",
        )
        for one in record["suspicious"]
    ]
    yield strip(captions, pictures)
