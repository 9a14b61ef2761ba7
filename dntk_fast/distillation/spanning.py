"""The images that span the tangent space, chosen or made, with all that a report says of them; and their cost beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.distillation.selection import CHOICES, Cost, choose_rows, choosing_cost
from dntk_fast.distillation.tuned import tune_images, tuning_cost
from dntk_fast.kernels.joint import random_cotangents
from dntk_fast.tangent.batches import described, take

__all__ = ["IMAGES", "STEPS", "Spanning", "spanning_cost", "spanning_images"]

#: updates of the images by the methods that make them, where none are stated
STEPS = {"wmdd": 200, "tuned": 60}
#: all ways to images that span a tangent space
IMAGES = (*CHOICES, *STEPS)


@dataclass(frozen=True, eq=False)
class Spanning:
    """Images (n_S, ...), their classes (n_S,), and what they cost.

    `rows` (n_S,) are their places in the data, None for images that are made; `masses` (n_S,) sum to one in each class,
    None without; `cotangents` (n_S, C) are the mixtures of logits whose gradients are taken, None for all logits.
    """

    images: Any
    labels: Tensor
    rows: Tensor | None
    masses: Tensor | None
    cotangents: Tensor | None
    cost: Cost


def _count(images: str, per_class: int, n: int, outputs: int, cotangents: int | None) -> int:
    """Images kept: with one cotangent each as many as there are gradients otherwise, at most all."""
    count = per_class * outputs
    return count if cotangents is None or images in STEPS else min(n, count * outputs // cotangents)


def spanning_cost(
    images: str, n: int, *, per_class: int, outputs: int, cotangents: int | None = None, steps: int | None = None
) -> Cost:
    """What images and one use of them cost, said before any work.

    Parameters: as in `spanning_images`, n images of the data.

    >>> spanning_cost("wmdd", 1437, per_class=5, outputs=10).choosing_backward
    10000
    """
    count = _count(_check.choice("images", images, IMAGES), per_class, n, outputs, cotangents)
    if images in CHOICES:
        return choosing_cost(images, n, count, outputs, cotangents)
    steps = STEPS[images] if steps is None else steps
    if images == "tuned":
        cost, pool = tuning_cost(n, count, outputs, steps=steps), choosing_cost("pool", n, count, outputs)
        return replace(cost, choosing_forward=cost.choosing_forward + pool.choosing_forward)
    return Cost(1 + n + (steps + 1) * count, steps * count, count, count * outputs, n * (1 + 2 * outputs))


def spanning_images(
    model: nn.Module,
    x: Any,
    y: Tensor,
    *,
    images: str,
    per_class: int,
    outputs: int,
    seed: int,
    cotangents: int | None = None,
    steps: int | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Spanning:
    """Choose images of the data, or make them.

    Parameters
    ----------
    model : network in evaluation mode
    x : (n, ...), or a tuple or dict of arguments, of which images are chosen, not made
    y : (n,), classes 0 ... outputs - 1
    images : one of `IMAGES`: those of `choose_rows`, "wmdd", the paper's (`distil_images`), or "tuned" (`tune_images`)
    per_class : images of a class, on average where the choice does not look at classes
    outputs : C
    seed
    cotangents : 1 for C times as many images with one random mixture of logits each, None for all logits of each image
    steps : updates of images that are made
    memory, progress

    Returns
    -------
    Spanning

    Raises
    ------
    ValueError
        More images than there are.

    >>> import torch
    >>> model, x = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)), torch.arange(4.0)[:, None]
    >>> options = {"images": "stratified", "per_class": 1, "outputs": 2, "seed": 0}
    >>> spanning_images(model, x, torch.tensor([0, 1, 0, 1]), **options).labels.tolist()
    [0, 1]
    """
    n = _check.samples("x", x)
    cost = spanning_cost(images, n, per_class=per_class, outputs=outputs, cotangents=cotangents, steps=steps)
    if images in STEPS and not (isinstance(x, Tensor) and x.is_floating_point()):
        got = f"{images!r}, which moves pixels, for {described(x)}"
        _check.refuse("images", f"one of {', '.join(CHOICES)} for integers or several arguments", got)
    if images == "wmdd":
        steps = STEPS[images] if steps is None else steps
        made = distil_images(model, x, y, per_class=per_class, seed=seed, steps=steps, progress=progress)
        return Spanning(made.images, made.labels, None, made.weights, None, cost)
    if per_class * outputs > n:
        _check.refuse("per_class", f"at most {n // outputs} of {n} images in {outputs} classes", per_class)
    way = "pool" if images == "tuned" else images
    rows = choose_rows(model, x, y, images=way, count=cost.kept_forward, classes=outputs, seed=seed, memory=memory)
    rows = rows.to(y.device)
    chosen = take(x, rows)
    if images == "tuned":
        steps = STEPS[images] if steps is None else steps
        tuned = tune_images(model, x, chosen, seed=seed, steps=steps, memory=memory, progress=progress)
        return Spanning(tuned.images, y[rows], None, None, None, cost)
    mixture = None if cotangents is None else random_cotangents(len(rows), outputs, seed=seed).to(y.device)
    return Spanning(chosen, y[rows], rows, None, mixture, cost)
