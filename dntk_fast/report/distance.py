"""The section "How far from the full kernel?": what is proven, what is true, and where a bound says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dntk_fast.report.cells import Cells

__all__ = ["certificate_table", "distance_words", "number", "refinement_table"]

SHOWN_STEPS = (0, 1, 2, 5, 10, 15, 20, 30)
# From here on the page says that a bound is loose.
LOOSE = 5


def certificate_table(record: Mapping[str, Any]) -> Cells:
    """What is proven of the distilled predictor: against the network, and against the full one before and after."""
    found, scale = record["distance"], record["distance"]["scale"]
    rows = [("network: held-out RMS", found["network"], scale, found["network"])]
    for when in (found["start"], found["end"]):
        name = f"after {when['passes']} passes"
        rows += [
            (f"full, {name}: held-out RMS", when["held_out_rms"], scale, when),
            (f"full, {name}: training RMS", when["training_rms"], scale, None),
            (f"full, {name}: excess objective", when["objective"], 1.0, None),
        ]
    head = ("distilled predictor against", "bound", "true", "bound / true", "class proven", "class truly the same")
    return Cells(
        "how far is the distilled predictor? (RMS in units of the full one's)",
        head,
        tuple(_certificate_row(*row) for row in rows),
        {name: name for name in head[:4]} | {"class proven": "proven"},
    )


def _certificate_row(
    name: str, pair: Mapping[str, Any], scale: float, classes: Mapping[str, Any] | None
) -> tuple[str, ...]:
    numbers = number(pair["bound"] / scale), number(pair["truth"], scale), _looseness(pair)
    shares = ("", "") if classes is None else (_share(classes["same"]), _share(classes["truly_same"]))
    return (name, *numbers, *shares)


def refinement_table(record: Mapping[str, Any]) -> Cells:
    """Passes against error: the refined predictor at a few of its steps."""
    found = record["distance"]
    last = found["steps"][-1]["step"]
    head = ("step", "passes", "bound", "true error", "bound / true", "class proven", "class truly the same")
    rows = tuple(
        (
            str(step["step"]),
            str(step["passes"]),
            number(step["bound"] / found["scale"]),
            number(step["truth"], found["scale"]),
            _looseness(step),
            _share(step["same"]),
            _share(step["truly_same"]),
        )
        for step in found["steps"]
        if step["step"] in {*SHOWN_STEPS, last}
    )
    title = "refinement to the full kernel: passes against held-out RMS (in units of the full predictor's)"
    return Cells(title, head, rows, {name: name for name in head[:6]})


def distance_words(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Three paragraphs: what is asked, what the start proves, what the refinement adds."""
    return _question(record), _start(record), _refined(record)


def _question(record: Mapping[str, Any]) -> str:
    found, n = record["distance"], record["data"]["n_train"]
    truth = (
        "Here the exact solution is known as well, so the true error stands beside every bound: <b>bound / true</b> "
        "says how many times too large the bound is, and 1 would be perfect."
        if found["exact"]
        else "Here the exact kernel was too large to form: there are bounds, and no true errors to hold them against."
    )
    return (
        f"The <b>full predictor</b> is ridge regression with the exact tangent kernel on all {n:,} training images, with "
        f"ridge λ = {found['lam_relative']:.0e} times the mean of its diagonal. How far another predictor is from it can be "
        "bounded without that kernel: every number in a column “bound” is proven from passes of the training images "
        "through the network (one pass: all images and logits, once forward or once backward) and the kernel of "
        f"{found['rows']} training images drawn at random. RMS errors are shares of the RMS of "
        f"{'the full predictor' if found['exact'] else 'the network'}'s own held-out outputs; the excess objective is how "
        f"far the full problem's ridge objective is above its minimum. {truth}"
    )


def _start(record: Mapping[str, Any]) -> str:
    found = record["distance"]
    start, scale, network, t = found["start"], found["scale"], found["network"], record["data"]["n_test"]
    ratio = start["held_out_rms"]["bound"] / scale
    said = (
        f"the bound on the distilled predictor's held-out error is {number(ratio)} times the size of the predictions "
        f"themselves: of held-out images it says nothing. The ridge is small, and what the {found['rows']} images do not "
        "see of the residual is divided by it."
        if ratio >= 1
        else f"the distilled predictor's held-out error is proven to be at most {number(ratio)} of the predictions' size."
    )
    return (
        f"<b>At the start</b> {said} The full predictor's class is proven for "
        f"{_count(start['same'] + start['other'], t)} held-out images. The bound against the network itself (first row; it "
        f"costs no pass) proves the network's class for {_count(network['same'], t)}."
    )


def _refined(record: Mapping[str, Any]) -> str:
    found, t = record["distance"], record["data"]["n_test"]
    last, end, scale = found["steps"][-1], found["end"], found["scale"]
    true = f" (truly {number(last['truth'], scale)})" if found["exact"] else ""
    bound = last["bound"] / scale
    loose = (
        f" The bound is {number(last['looseness'])} times too large, for it covers the worst error on the held-out images "
        f"that the {found['rows']} images leave open."
        if (last["looseness"] or 0) >= LOOSE
        else ""
    )
    verdict = (
        f"the bound on its held-out error is still {number(bound)} times the predictions' size and says nothing{true}"
        if bound >= 1
        else f"its held-out error is proven to be at most {number(bound)}{true} of the predictions' size"
    )
    return (
        "<b>The refinement</b> solves the full problem by conjugate gradients: one pass forward and one backward for each "
        "step, and no kernel of all images. It starts from ridge regression with projected gradients of all training "
        f"images, not from the distilled predictor. After {last['passes']} passes {verdict}, and its class is proven to be "
        f"the full predictor's for {_count(last['same'], t)}.{loose} By way of it the distilled predictor is measured, "
        f"too: its class is proven to be the full one's for {_count(end['same'], t)} and another for "
        f"{_count(end['other'], t)}; {_count(1 - end['same'] - end['other'], t)} stay open. "
        "All bounds allow for rounding: where they stop falling, that allowance is what is left of them."
    )


def number(value: float | None, scale: float = 1.0) -> str:
    """Three digits of value / scale, or a dash where there is none.

    >>> number(12345.0), number(0.5, 10.0), number(3e-6), number(None)
    ('12,300', '0.05', '3e-06', '–')
    """
    if value is None:
        return "–"
    digits = f"{value / scale:.3g}"
    return f"{float(digits):,.0f}" if 1000 <= abs(value / scale) < 1e7 else digits


def _looseness(pair: Mapping[str, Any]) -> str:
    return number(pair["looseness"])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(share: float, of: int) -> str:
    return f"{round(share * of):,} of {of:,}"
