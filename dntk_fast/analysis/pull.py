"""The ridge that stands for a training, without retraining: the total pull of cross-entropy on the labels.

Ridge regression of labels has, in the directions that it hardly learns, coefficients y / lam: as if every image had pulled
with the strength of its label for a time 1 / lam. Gradient flow on cross-entropy pulls with y - p, which dies out as the
large directions of the kernel get the images right, whatever the small ones still miss; that is why a training does not
fit small directions, and why rules that fit labels choose ridges far too small. So the flow is followed, in the tangent
kernel, until it fits as well as the network does, and its total pull along the labels is taken for 1 / lam.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dntk_fast import _check

__all__ = ["pull_ridge"]

# The flow slows down as the loss falls and its steps grow: half a decade of the loss takes a few hundred of them.
STEPS, SHARE = 5_000, 0.1
POWER_STEPS = 30


def pull_ridge(kernel: Callable[[Tensor], Tensor], labels: Tensor, classes: int, *, loss: float) -> float:
    """Return lam = |y|^2 / <a, y>, a = int (onehot - softmax f) dt along df/dt = K (onehot - softmax f) until a loss.

    Parameters
    ----------
    kernel : a (C, n) -> K a (C, n), class by class
    labels : (n,) integers
    classes : C
    loss : mean cross-entropy of the network on the same images

    Raises
    ------
    ValueError
        A network no better than chance, whose training no flow stands for.

    Two images of their own: each pulls a = int (1 - p) dt with p = 1 / (1 + exp(-2 a)) until -log p = 0.3.

    >>> lam = pull_ridge(lambda a: a, torch.tensor([0, 1]), 2, loss=0.3)
    >>> abs(lam - 1 / math.log(1 / (math.exp(0.3) - 1))) < 0.01
    True
    """
    if not loss < math.log(classes):
        expected = f"a number, or a network whose mean cross-entropy is below chance ({math.log(classes):.3g})"
        _check.refuse("ridge", expected, f"'auto' and {loss:.3g}")
    hot = torch.nn.functional.one_hot(labels, classes).T.double()
    outputs, pull, share = torch.zeros_like(hot), torch.zeros_like(hot), SHARE
    top, now = _largest_eigenvalue(kernel, hot), math.log(classes)
    for _ in range(STEPS):
        p = outputs.softmax(0)
        # a share of the inverse of the largest curvature: K times the mean of p (1 - p)
        step = share / (top * float((p * (1 - p)).mean(1).max().clamp(min=1e-9)))
        tried = pull + step * (hot - p)
        found = kernel(tried)
        then = float(-(found.log_softmax(0) * hot).sum(0).mean())
        if then <= loss:  # the part of the step that was wanted
            pull += (tried - pull) * (now - loss) / (now - then)
            break
        if then < now:
            pull, outputs, now = tried, found, then
        else:  # too far: the mean was no bound
            share /= 2
    y = hot - 1 / classes
    return float(y.square().sum() / (pull * y).sum())


def _largest_eigenvalue(kernel: Callable[[Tensor], Tensor], like: Tensor) -> float:
    """Over all classes, by power iteration: from below, by little after so many steps."""
    v = torch.ones_like(like) + torch.linspace(0, 0.1, like.shape[1], dtype=like.dtype, device=like.device)
    for _ in range(POWER_STEPS):
        v = kernel(v / v.norm(dim=1, keepdim=True))
    return _check.positive("largest eigenvalue of the kernel", v.norm(dim=1).max())
