"""Seconds of one unit of each kind of work (`prices.Work`) on this machine, for one network and one size of its images."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast._arrays import eigh
from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.passes import capture, inspect
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian

__all__ = ["algebra_units", "network_units", "seconds_of"]

ORDER, EIGEN_ORDER = 1536, 512


def seconds_of(work: Callable[[], Any], rounds: int) -> float:
    """Median seconds of so many calls, after one that is not timed.

    >>> seconds_of(lambda: None, 3) < 1
    True
    """
    work()
    laps = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        laps.append(perf_counter() - start)
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

    def tangents() -> None:
        for _ in capture(trace, images):
            pass

    kinds: dict[str, tuple[Callable[[], Any], int]] = {
        "forward": (forward, b),
        "projected": (lambda: tangent_features(model, images, k=k, seed=0), b),
        "tangents": (tangents, b),
        "transposed": (lambda: vector_jacobian(model, images, ones), b),
        "products": (lambda: jacobian_vector(model, images, per_output), b),
    }
    found = {"updates": _update_seconds(model, images, rounds) / b}
    for done, (name, (work, units)) in enumerate(kinds.items(), 1):
        progress(done, len(kinds) + 1)
        found[name] = seconds_of(work, rounds) / units
    progress(len(kinds) + 1, len(kinds) + 1)
    return found


def _update_seconds(model: nn.Module, images: Tensor, rounds: int) -> float:
    """Median seconds of an update of all images, from step to step; what goes before the first is not timed."""
    marks: list[float] = []
    distil_images(
        model,
        images,
        torch.arange(len(images)) % 2,
        per_class=len(images) // 2,
        seed=0,
        steps=rounds + 1,
        progress=lambda *_: marks.append(perf_counter()),
    )
    return float(np.median(np.diff(marks)))
