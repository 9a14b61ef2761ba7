"""The section "What would change its mind?": training images for and against an answer, as pictures, and what is without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dntk_fast.report.cells import Cells
from dntk_fast.report.drawing import png
from dntk_fast.report.parts import table

__all__ = ["mind_table", "one_mind", "run_section", "strip"]

Pictures = Mapping[str, np.ndarray]


def mind_table(record: Mapping[str, Any]) -> Cells:
    """One row for each image: what the network says, how sure and how usual, and when the machine changes its mind."""
    classes, mind = record["data"]["classes"], record["mind"]
    head = ("held-out image", "label", "network says", "probability", "as unusual", "changes without", "to")
    title = "what would change its mind?" + ("" if mind else " (asked of exact kernels alone, and they did not fit)")
    rows = tuple(_row(one, classes) for one in (mind or {"images": ()})["images"])
    return Cells(title, head, rows, {name: name for name in head})


def _row(one: Mapping[str, Any], classes: Sequence[str]) -> tuple[str, ...]:
    last = one["removals"][-1]
    changed = ("–", "–") if one["machine"] != one["answer"] else (f"none of {one['most']}", "–")
    changed = (f"{one['changes_at']} images", classes[last["says"]]) if one["changes_at"] else changed
    shares = f"{one['probability']:.3f}", f"{one['rarity']:.1%}"
    says = classes[one["label"]], classes[one["answer"]]
    return (str(one["image"]), *says, *shares, *changed)


def run_section(record: Mapping[str, Any], pictures: Pictures) -> Iterable[str]:
    """The section of a run's page."""
    if record["mind"] is None:
        return
    yield "<h2>What would change its mind?</h2>"
    yield (
        "<p>The held-out images that the network is least sure of. Ridge regression of the <em>labels</em> with the exact "
        "tangent kernel of the trained network predicts what training would give without some images (no network is "
        f"retrained for this section; ridge {record['mind']['lam_relative']:g} times the mean of the kernel's diagonal). "
        "<b>Support</b> is how much the margin of the answer falls without a single training image; images are then taken "
        "away together, the most supporting first, until the answer is another one.</p>"
    )
    for one in record["mind"]["images"]:
        yield from one_mind(one, record["data"]["classes"], pictures)
    yield table(mind_table(record))


def one_mind(one: Mapping[str, Any], classes: Sequence[str], pictures: Pictures) -> Iterable[str]:
    """One image: its picture, the answer, the pictures for and against it, the answers without."""
    label, answer = classes[one["label"]], classes[one["answer"]]
    right = "rightly" if label == answer else f"wrongly: its label is {label}"
    yield f"<section><h3>Held-out image {one['image']}: the network says {escape(answer)}, {escape(right)}</h3>"
    yield '<div class="asked">' + _image(pictures[f"held-out {one['image']}"], f"held-out image, labelled {label}", 132)
    yield f"<div>{''.join(f'<p>{line}</p>' for line in _words(one, classes))}</div></div>"
    for side, verb, word in (("supporting", "support", "supports"), ("opposing", "oppose", "opposes")):
        captions = [
            (
                f"training {part['row']}",
                f"{classes[part['label']]} · {part['score']:+.3f}",
                f"{word} the answer {answer}",
            )
            for part in one[side]
        ]
        yield f"<h4>Training images that {verb} “{escape(answer)}” most: label · change of its margin</h4>"
        yield strip(captions, pictures)
    yield table(_removals(one, classes)) + "</section>"


def strip(captions: Iterable[tuple[str, str, str]], pictures: Pictures) -> str:
    """Training images side by side: (picture, words below it, what it does, for those who do not see it)."""
    figures = []
    for name, words, does in captions:
        alt = f"{name.replace(' ', ' image ')}, {words}, {does}"
        caption = f"<figcaption>{escape(words)}</figcaption>"
        figures.append(f"<figure>{_image(pictures[name], alt, 66)}{caption}</figure>")
    return f'<div class="strip">{"".join(figures)}</div>'


def _image(pixels: np.ndarray, alt: str, width: int) -> str:
    kind = ' class="pixels"' if pixels.shape[1] < width else ""
    return f'<img{kind} alt="{escape(alt)}" width="{width}" height="{width}" src="{png(pixels)}">'


def _words(one: Mapping[str, Any], classes: Sequence[str]) -> Iterable[str]:
    answer = escape(classes[one["answer"]])
    averaged = f", {one['averaged']:.3f} once averaged over the kernel's variance" if "averaged" in one else ""
    yield f"<b>How sure?</b> Probability of {answer}: {one['probability']:.3f}{averaged}."
    yield (
        f"<b>How usual?</b> Variance {one['variance']:.3g} of a mean diagonal; {one['rarity']:.1%} of the training images "
        "are as unusual to the others, or more."
    )
    if one["machine"] != one["answer"]:
        said = escape(classes[one["machine"]])
        yield (
            f"<b>Careful:</b> the kernel machine itself says {said} with all images, so it does not account for this answer."
        )
    elif one["changes_at"]:
        to = escape(classes[one["removals"][-1]["says"]])
        yield (
            f"<b>What would change its mind?</b> Without the {one['changes_at']} images that support it most, training is "
            f"predicted to say <b>{to}</b>."
        )
    else:
        yield (
            f"<b>What would change its mind?</b> Not the {one['most']} images that support it most: without them training "
            "is predicted to say the same."
        )


def _removals(one: Mapping[str, Any], classes: Sequence[str]) -> Cells:
    truth = any("retrained" in part for part in one["removals"])
    head: tuple[str, ...] = ("trained without", "predicted", "margin")
    head += ("retrained", "its probability") if truth else ()
    rows = []
    for part in one["removals"]:
        said = (f"{part['removed']} images" if part["removed"] else "nothing", classes[part["says"]])
        cells: tuple[str, ...] = (*said, f"{part['margin']:+.3f}")
        if truth:
            cells += _truth(part.get("retrained"), classes)
        rows.append(cells)
    return Cells("", head, tuple(rows), {})


def _truth(found: Mapping[str, Any] | None, classes: Sequence[str]) -> tuple[str, str]:
    if found is None:
        return "–", "–"
    return ", ".join(classes[c] for c in found["says"]), ", ".join(f"{p:.3f}" for p in found["probabilities"])
