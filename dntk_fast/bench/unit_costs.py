"""Seconds of one unit of each kind of work (`prices.Work`) on this machine, for one network and one size of its images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast._arrays import eigh
from dntk_fast.data_distillation import distil_images
from dntk_fast.tangent.capture import capture, inspect
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian

__all__ = ["algebra_units", "network_units", "seconds_of"]

ORDER, EIGEN_ORDER = 1536, 512
UPDATES = 2


def seconds_of(work: Callable[[], Any], rounds: int) -> float:
    """Median seconds of so many calls, after one that is not timed.

    >>> seconds_of(lambda: None, 3) < 1
    True
    """
    work()
    laps = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        laps.append(time.perf_counter() - start)
    return float(np.median(laps))


def algebra_units(rounds: int = 3) -> dict[str, float]:
    """Time a multiply-add in float32 and float64 (square products), and n^3 of an eigendecomposition of order n."""
    found = {}
    for name, dtype in (("single", torch.float32), ("double", torch.float64)):
        A = torch.rand(ORDER, ORDER, dtype=dtype, generator=torch.Generator().manual_seed(0))
        found[name] = seconds_of(lambda A=A: A @ A, rounds) / ORDER**3  # type: ignore[misc]
    B = torch.rand(EIGEN_ORDER, EIGEN_ORDER, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return found | {"cubes": seconds_of(lambda: eigh(B @ B.T), rounds) / EIGEN_ORDER**3}


def network_units(
    model: nn.Module, images: Tensor, *, k: int, rounds: int = 3, progress: Callable[[int, int], None] = lambda *_: None
) -> dict[str, float]:
    """Time the passes of a network, each on all the given images.

    Parameters
    ----------
    model : ends in a linear layer, in evaluation mode
    images : (b, channels, ...), at least two, b even
    k : coordinates of a projected gradient
    rounds : timings of each, of which the median counts
    progress : called with (kinds done, kinds)

    Returns
    -------
    dict
        name of a field of `Work` -> seconds of one unit
    """
    b = len(images)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    with torch.no_grad():
        outputs = model(images[:1]).shape[1]
    trace, ones = inspect(model, images), torch.ones(outputs, b)
    per_output = {name: p.expand(outputs, *p.shape) for name, p in weights.items()}

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def distil(steps: int) -> None:
        distil_images(model, images, torch.arange(b) % 2, per_class=b // 2, seed=0, steps=steps)

    def tangents() -> None:
        for _ in capture(trace, images):
            pass

    kinds: dict[str, tuple[Callable[[], Any], int]] = {
        "forward": (forward, b),
        "updates": (lambda: distil(UPDATES), UPDATES * b),
        "projected": (lambda: tangent_features(model, images, k=k, seed=0), b),
        "tangents": (tangents, b),
        "transposed": (lambda: vector_jacobian(model, images, ones), b),
        "products": (lambda: jacobian_vector(model, images, per_output), b),
    }
    found = {}
    for done, (name, (work, units)) in enumerate(kinds.items()):
        progress(done, len(kinds))
        seconds = seconds_of(work, rounds)
        if name == "updates":  # what surrounds the updates is counted apart
            seconds = max(seconds - seconds_of(lambda: distil(0), rounds), 0.0)
        found[name] = seconds / units
    progress(len(kinds), len(kinds))
    return found
