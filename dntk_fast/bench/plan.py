"""Is the plan right? Both rules of every layer, timed in isolation on captured activations and cotangents.

Kernels: products of the factors against products of the gradients. Features: TensorSketch of the factors against a
contiguous map of the gradient, where the quality allows both. Rows and outputs at a time are those of the default
budget; a kernel of several blocks is the sum of its whole blocks, of which one on the diagonal and one beside it are run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.bench.race import circumstances, pinned, threads_of
from dntk_fast.bench.subjects import random_subject
from dntk_fast.projection import Sketch
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.features import feature_plan
from dntk_fast.tangent.gram import add_gram
from dntk_fast.tangent.kernel import kernel_plan
from dntk_fast.tangent.layers import Outer
from dntk_fast.tangent.passes import capture, inspect
from dntk_fast.tangent.plan import KernelPlan
from dntk_fast.tangent.sketching import QUALITY, Projector, second_moment

__all__ = ["NETWORKS", "RIGHT", "SIZES", "WORST", "Choice", "choices", "compare", "measure", "summary", "tables"]

NETWORKS, SIZES, K = ("conv28", "resnet18", "vit_tiny"), (16, 64, 256), (512, 2048)
# The budget of the kernels and the features, in bytes.
MEMORY = 2**30
# A choice is right up to this factor; no choice may cost more than that one.
RIGHT, WORST = 1.3, 2.0
# A rule is run on so many rows first, and on no more if it then takes so many times as long as the other.
LOOK, HOPELESS = 16, 2.5
# Runs of both rules in turn, of which the shortest count: at least so many, and more within so many seconds.
RUNS, PATIENCE = 3, 0.3

Work = Callable[[int], object]  # of a number of rows


@dataclass(frozen=True)
class Choice:
    """One layer: its rules, each the sum over pieces of (how often, the work on some rows), and which one was chosen."""

    layer: str
    rows: int
    rules: Mapping[str, Sequence[tuple[float, Work]]]
    chosen: str


def measure(
    *,
    only: Sequence[str] = (),
    threads: int | None = None,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Time both rules of all layers of `NETWORKS` at all `SIZES`; Ctrl-C ends it with the layers done so far.

    Parameters
    ----------
    only : names of networks; all if empty
    threads : of torch; as many as it has if None
    quick : conv28 at n = 16 alone, to see that it runs
    progress : called with (what, layers done, layers)

    Returns
    -------
    dict
        What JSON can hold: device, threads, versions, date, and one row for each layer, task and n.
    """
    names = list(dict.fromkeys(_check.choice("only", name, NETWORKS) for name in only)) or list(NETWORKS)
    threads = threads_of(threads)
    rows: list[dict[str, Any]] = []
    record = circumstances() | {"threads": threads, "quick": quick, "complete": False}
    with pinned(threads):
        try:
            for name in names[:1] if quick else names:
                for n in SIZES[:1] if quick else SIZES:
                    for task, found in choices(name, n, K[:1] if quick else K):
                        stage = f"{name}, n = {n}, {task}"
                        for number, choice in enumerate(found):
                            progress(stage, number, len(found))
                            rows.append({"network": name, "n": n, "task": task} | compare(choice))
                        progress(stage, len(found), len(found))
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record | {"rows": rows}


def summary(record: Mapping[str, Any]) -> dict[str, float]:
    """How many layers had two rules, the share of right choices among them, and the factor of the worst.

    >>> summary({"rows": [{"factor": 1.0}, {"factor": 1.2}, {"factor": 1.5}, {"factor": 1.0}]})
    {'choices': 4, 'right': 0.75, 'worst': 1.5}
    """
    factors = [row["factor"] for row in record["rows"]]
    return {
        "choices": len(factors),
        "right": sum(factor <= RIGHT for factor in factors) / max(1, len(factors)),
        "worst": max(factors, default=1.0),
    }


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One row for each network, n and task."""
    head = ("network", "n", "task", "layers", "by factors", f"within {RIGHT}", "worst", "its layer")
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in record["rows"]:
        groups.setdefault((row["network"], str(row["n"]), row["task"]), []).append(row)
    cells = []
    for group, rows in groups.items():
        found, worst = summary({"rows": rows}), max(rows, key=lambda row: row["factor"])
        counts = str(len(rows)), str(sum(row["chosen"] == "factors" for row in rows)), f"{found['right']:.0%}"
        cells.append((*group, *counts, f"{found['worst']:.2f}", worst["layer"] if found["worst"] > 1 else ""))
    every = summary(record)
    title = "{choices} choices, {right:.1%} within {limit} of the better, the worst {worst:.2f}"
    narrow = {name: name for name in head if name not in ("by factors", "its layer")}
    yield Cells(title.format(**every, limit=RIGHT), head, tuple(cells), narrow)


# --- one layer --------------------------------------------------------------------------------------------------------


def compare(choice: Choice, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Time both rules in turn: their shortest times, and how many times the better one's the chosen one's is.

    `at_least` names a rule that was run on the first rows alone: its time is theirs times the number of rows over theirs,
    which is too little for work that grows faster than the rows.
    """

    def run(rule: str, rows: int) -> float:
        return _seconds(choice.rules[rule], choice.rows, min(rows, choice.rows), clock)

    seconds = {rule: min(run(rule, LOOK), run(rule, LOOK)) for rule in choice.rules}
    fast, slow = sorted(seconds, key=lambda rule: seconds[rule])
    looked = choice.rows > LOOK
    if looked:
        seconds[fast] = run(fast, choice.rows)
        looked = seconds[slow] > HOPELESS * seconds[fast]
        seconds[slow] = seconds[slow] if looked else run(slow, choice.rows)
    begun, runs = clock(), 1
    while max(seconds.values()) < HOPELESS * min(seconds.values()) and (runs < RUNS or clock() < begun + PATIENCE):
        seconds, runs = {rule: min(before, run(rule, choice.rows)) for rule, before in seconds.items()}, runs + 1
    factor, at_least = seconds[choice.chosen] / min(seconds.values()), slow if looked else None
    return {"layer": choice.layer, "chosen": choice.chosen, "factor": factor, "seconds": seconds, "at_least": at_least}


def _seconds(pieces: Sequence[tuple[float, Work]], rows: int, part: int, clock: Callable[[], float]) -> float:
    """The first `part` of the rows, times what is left out."""
    total = 0.0
    for times, work in pieces:
        start = clock()
        work(part)
        total += times * (clock() - start)
    return total * rows / part


# --- the layers -------------------------------------------------------------------------------------------------------


def choices(name: str, n: int, sizes: Sequence[int]) -> Iterator[tuple[str, list[Choice]]]:
    """The kernel's choices of a network for n images, and those of its features for each k."""
    model, images = random_subject(name, n)
    yield "kernel", _kernel(model, images)
    for k in sizes:
        yield f"features, k = {k}", _features(model, images, k)


def _kernel(model: nn.Module, images: Tensor) -> list[Choice]:
    trace, plan = inspect(model, images), kernel_plan(model, images, memory=MEMORY)
    rows, blocks = min(plan.rows, len(images)), -(-len(images) // plan.rows)

    def layers(which: int) -> list[Outer]:
        part = images[which * rows :][:rows] if len(images) >= (which + 1) * rows else images[:rows]
        tangents = capture(trace, part, range(plan.classes), together=plan.together)
        return [tangent for tangent in tangents if isinstance(tangent, Outer)]

    found = []
    for left, right in zip(layers(0), layers(1), strict=True):
        works = {}
        for rule in ("factors", "explicit"):
            works[rule] = [(float(blocks), partial(_gram, plan, rule, left, None))]
            if blocks > 1:
                works[rule].append((blocks * (blocks - 1) / 2, partial(_gram, plan, rule, left, right)))
        found.append(Choice(left.weight, rows, works, plan.rule(left)))
    return found


def _gram(plan: KernelPlan, rule: str, left: Outer, right: Outer | None, rows: int) -> Tensor:
    part = slice(rows)
    total = left.source.new_zeros(left.extent[0], rows, rows, dtype=torch.float64)
    add_gram(total, left.rows(part), right and right.rows(part), rule, "class", plan.workspace)
    return total


def _features(model: nn.Module, images: Tensor, k: int) -> list[Choice]:
    plan, found = feature_plan(model, images, k=k, seed=0), []
    trace = inspect(model, images, parameters=list(plan.sketch.shapes))
    rows = min(plan.rows, len(images))
    for tangent in capture(trace, images[:rows], range(plan.classes)):
        if isinstance(tangent, Outer) and second_moment(tangent.shapes[tangent.weight], k) <= QUALITY:
            kinds = {"factors": "tensorsketch", "explicit": "contiguous"}
            shapes = {name: tuple(shape) for name, shape in tangent.shapes.items()}
            sketches = {rule: Sketch(shapes, k, 0, kind) for rule, kind in kinds.items()}
            works = {rule: [(1.0, partial(_project, sketch, tangent))] for rule, sketch in sketches.items()}
            chosen = "factors" if plan.sketch.kinds[tangent.weight] == "tensorsketch" else "explicit"  # type: ignore[index]
            found.append(Choice(tangent.weight, rows, works, chosen))
    return found


def _project(sketch: Sketch, tangent: Outer, rows: int) -> Projector:
    projector = Projector(sketch, tangent.extent[0], rows, tangent.source[:0], MEMORY // 8)
    projector.add(tangent.rows(slice(rows)))
    return projector
