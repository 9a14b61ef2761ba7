"""What a fit will take, said before it: passes, bytes, seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.distillation.selection import POOL, Cost, activation_passes
from dntk_fast.kernels.joint import block_plan
from dntk_fast.tangent.batches import Wrapped, take
from dntk_fast.tangent.head import find_head
from dntk_fast.tangent.jacobian import Jacobian

__all__ = ["Forecast", "fit_forecast", "unit_seconds"]

# Images by which the seconds of one pass are measured.
MEASURED = 16
# Arrays of the kernel's size that its decomposition has in hand: itself, a copy, eigenvectors, workspace of LAPACK.
DECOMPOSED = 4


@dataclass(frozen=True)
class Forecast(Cost):
    """The cost of distillation (`Cost`), and what one fit takes.

    Attributes
    ----------
    forward, backward : int
        Passes of one image, and of one image and logit: choice, targets, kernel or features, weights; beside them the
        network is shown a few images (at most 20) to be looked at.
    bytes : int
        Predicted peak of kernel and solve, above the model, the data and what the choice of images holds (its `memory`).
    seconds : float
        The passes at the speed of a few that were timed; products of gradients and the solve come on top.

    Example
    -------
    >>> Forecast(1, 0, 2, 4, 50, forward=7, backward=6, bytes=1024, seconds=0.5).share
    0.22
    """

    forward: int
    backward: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        passes = f"one fit: {self.forward} forward and {self.backward} backward passes"
        return f"{super().__str__()}; {passes}, {self.seconds:.2g} s of passes, {readable_bytes(self.bytes)} above the model"


def fit_forecast(
    cost: Cost,
    network: Wrapped,
    x: Any,
    *,
    images: str,
    solve: str,
    cotangents: int | None,
    k: int | None,
    memory: int | None,
) -> Forecast:
    """Add to the cost of the choice and of one use what a whole fit takes.

    Parameters
    ----------
    cost : of `spanning_cost`
    network, x : the network with its outputs, and the data
    images, solve, cotangents, k, memory : as in `DistilledNTK`
    """
    n_S = min(cost.kept_forward, _check.samples("x", x))
    outputs = cost.kept_backward // cost.kept_forward
    # Targets, kernel or features, and where nothing was sketched the weights: J^T a of one mixture, or of each logit.
    pulled = 0 if k is not None else n_S * (outputs if solve == "per class" else 1)
    forward = cost.choosing_forward + n_S * (2 if k is not None else 3)
    if images in ("pool", "tuned"):
        pool = min(_check.samples("x", x), POOL * n_S)
        forward += activation_passes(network, x, pool, memory=memory) - pool
    backward = cost.choosing_backward + cost.kept_backward + pulled
    some, model, asked = take(x, slice(0, n_S)), network.model, network.columns or network.function
    J = Jacobian(model, outputs=asked, memory=memory)
    if k is not None:
        features, head = J.feature_plan(some, k=k, seed=0), find_head(network, some, J.names)
        looked = 1 if head is None or head.direct else 2  # once more for what a head that is selected from is given
        forward += n_S * (-(-outputs // features.classes) + looked - 2)
        rows = n_S * outputs if solve == "joint" else n_S
        held = features.peak_bytes + 8 * outputs * n_S * k * 2 + 8 * rows**2 * DECOMPOSED
    else:
        C = len(network(take(some, slice(0, 1)))[0])
        mixtures = None if cotangents is None else _check.parameter(model).new_ones(n_S, C)
        joint = block_plan(model, some, mixtures, memory=memory, outputs=asked) if solve == "joint" else None
        plan = joint or J.plan(some)
        count, rows = (1, n_S * outputs) if solve == "joint" else (outputs, n_S)
        forward, backward = forward + plan.forward_passes - n_S, backward + plan.backward_passes - cost.kept_backward
        held = plan.peak_bytes + 8 * rows**2 * (count + DECOMPOSED - 1)
    once, back = unit_seconds(network, some)
    return Forecast(
        **asdict(cost), forward=forward, backward=backward, bytes=held, seconds=forward * once + backward * back
    )


def unit_seconds(network: Wrapped, x: Any, clock: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
    """Seconds of a forward pass of one image, and of a backward pass of one image and logit: the faster of two rounds.

    >>> ticks = iter(range(9))
    >>> unit_seconds(Wrapped(torch.nn.Linear(2, 1)), torch.ones(4, 2), lambda: next(ticks))
    (0.25, 0.25)
    """
    part = take(x, slice(0, MEASURED))
    n, parameters = _check.samples("x", part), [p for p in network.parameters() if p.requires_grad]
    rounds = []
    for _ in range(2):
        start = clock()
        values: Tensor = network(part)
        middle = clock()
        torch.autograd.grad(values[:, 0].sum(), parameters, allow_unused=True)
        rounds.append((middle - start, clock() - middle))
    forward, backward = (min(times) for times in zip(*rounds, strict=True))
    return forward / n, backward / n
