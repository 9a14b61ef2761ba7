"""The paper's two claims about cost at ImageNette's scale, by counts and measured unit costs, under every accounting.

The claims are 20-100 times fewer Jacobians, and four to six orders of magnitude less computation and storage than the
naive full kernel, one to two of them beyond random projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from dntk_fast.bench.prices import APPROACHES, Size, Work, cost_row, pays_after, pieces
from dntk_fast.bench.unit_costs import network_units
from dntk_fast.tangent.features import feature_plan
from dntk_fast.tangent.head import final_linear
from dntk_fast.tangent.passes import inspect
from dntk_fast.tangent.plan import KernelPlan, plan_kernel
from dntk_fast.workflow.models import build, parameter_count

__all__ = ["SCALES", "SMALL", "Scale", "blocks", "claims", "scale_record", "scaled"]

FEWER, ORDERS = "20-100x fewer Jacobians", "4-6 orders of magnitude"
# The paper's smallest set has 10 images per class; the public code of WMDD updates each image 1,000 times.
FEWEST, PUBLIC_UPDATES, FEWEST_COORDINATES = 10, 1_000, 1_000


@dataclass(frozen=True)
class Scale:
    """A network and data set whose full kernel is out of reach: sizes, and how many images the unit costs are timed on.

    `memory` is the exact kernel's budget in bytes: it decides how often an image must be passed again.
    """

    network: str
    side: int
    timed: int
    n: int = 9_469
    outputs: int = 10
    k: int = 4_096
    per_class: int = 50
    use: int = 1_000
    memory: int = 8 * 2**30


SCALES = (Scale("resnet18", 96, 16), Scale("resnet18", 224, 4))
SMALL = Scale("conv32", 32, 4, k=64)


def scaled(scale: Scale, like: Size, *, seed: int = 0) -> tuple[torch.nn.Module, torch.Tensor, Size]:
    """Build the network with random weights and some random images, and say how large everything is.

    What no size tells (updates, synthetic gradients, conjugate gradient steps) is taken from `like`.
    """
    model = build(scale.network, seed=seed, outputs=scale.outputs)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(scale.timed, 3, scale.side, scale.side, generator=generator)
    _, head = final_linear(model, images)
    plan = feature_plan(model, images, k=scale.k, seed=seed)
    size = replace(
        like,
        n=scale.n,
        t=scale.use,
        outputs=scale.outputs,
        parameters=parameter_count(model),
        pixels=images[0].numel(),
        k=scale.k,
        head=head.in_features + 1,
        images=scale.per_class * scale.outputs,
        plan=blocks(scale, model, images),
        forwards=-(-plan.outputs // plan.classes),
    )
    return model, images, size


def blocks(scale: Scale, model: torch.nn.Module, images: torch.Tensor) -> KernelPlan:
    """Plan the exact kernel of n images within the budget, from two of them."""
    return plan_kernel(inspect(model, images), scale.n, None, scale.memory)


def scale_record(
    scale: Scale, like: Size, algebra: Mapping[str, float], *, rounds: int, progress: Callable[[int, int], Any]
) -> dict[str, Any]:
    """Price every way at this scale: rows as at home, after how many uses distillation pays, and the claims."""
    model, images, size = scaled(scale, like)
    units = dict(algebra) | network_units(model, images, k=scale.k, rounds=rounds, progress=progress)
    seconds = {name: work.seconds(units) for name, (work, _) in pieces(size).items()}
    passes = {name: float(sum(work.passes(size.outputs))) for name, (work, _) in pieces(size).items()}
    return {
        **asdict(scale),
        "parameters": size.parameters,
        "block": size.plan.rows,
        "updates": size.updates,
        "steps": size.steps,
        "units": units,
        "ways": [cost_row(name, way, size, seconds) for name, way in APPROACHES.items()],
        "pays": {"seconds": pays_after(seconds), "passes": pays_after(passes)},
        "claims": claims(size, units),
    }


def claims(size: Size, units: Mapping[str, float]) -> list[dict[str, Any]]:
    """Ratios in favour of the distilled kernel (below 1: against it), each with the accounting that gives it.

    The naive kernel is n images back from C logits with all gradients kept at once (C n P numbers, terabytes: a machine
    that can is assumed), C n^2 P multiply-adds and the eigendecompositions; ours stays within a budget, in blocks.

    Parameters
    ----------
    size : of the network and the data
    units : seconds of one unit of each kind of work

    Returns
    -------
    list
        of {"claim", "accounting", "ratio"}
    """
    few = replace(size, images=FEWEST * size.outputs)
    rows = [(FEWER, accounting, ratio) for accounting, ratio in _jacobians(size, few, units)]
    rows += [(ORDERS, accounting, ratio) for accounting, ratio in _orders(size, few, units)]
    return [{"claim": claim, "accounting": words, "ratio": ratio} for claim, words, ratio in rows]


def _jacobians(size: Size, few: Size, units: Mapping[str, float]) -> list[tuple[str, float]]:
    n, m, fewest = size.n, size.images, few.images
    long = replace(size, updates=PUBLIC_UPDATES)
    backward = size.outputs * n
    found = [
        (f"images with a Jacobian, all over {m} distilled", n / m),
        (f"images with a Jacobian, all over {fewest} distilled", n / fewest),
    ]
    for one in (size, few, long):
        words = f"backward passes, nC over {one.images} images of {one.updates} updates"
        found.append((words, backward / _passes(one, "WMDD + JL").backward))
    found.append(("backward passes, exact kernel in blocks over WMDD + JL", _passes(size, "full kernel, exact").backward
                  / _passes(size, "WMDD + JL").backward))  # fmt: skip
    for one in (size, long):
        found.append((f"seconds, JL only over WMDD + JL with {one.updates} updates", _against("JL only", one, units)))
    return found


def _orders(size: Size, few: Size, units: Mapping[str, float]) -> list[tuple[str, float]]:
    n, P, C, m = size.n, size.parameters, size.outputs, size.images
    dntk = "DNTK, Algorithm 1"
    naive = Work(transposed=n, single=C * n * n * P, cubes=C * n**3).seconds(units)
    alone = _seconds(APPROACHES[dntk].fit, size, units)
    with_images = _seconds(APPROACHES[dntk].once + APPROACHES[dntk].fit, size, units)
    return [
        (f"numbers stored, all gradients over {m} projected", n * P / (m * size.k)),
        (
            f"numbers stored, all gradients over {few.images} of k = {FEWEST_COORDINATES}",
            n * P / (few.images * FEWEST_COORDINATES),
        ),
        ("numbers stored, JL only over distilled", n / m),
        ("numbers stored, exact kernel alone over distilled", n * n / (m * size.width)),
        ("multiply-adds of all kernel entries", n * n * P / (m * m * size.k)),
        ("seconds, naive kernel over DNTK, images given", naive / alone),
        ("seconds, naive kernel over DNTK, all included", naive / with_images),
        (
            "seconds, our exact kernel over DNTK, all included",
            _against("full kernel, exact", size, units, dntk),
        ),
        ("seconds, JL only over DNTK, images given", _seconds(APPROACHES["JL only"].fit, size, units) / alone),
        ("seconds, JL only over DNTK, all included", _against("JL only", size, units, dntk)),
        ("seconds, last layer over DNTK, all included", _against("last layer", size, units, dntk)),
    ]


def _against(rival: str, size: Size, units: Mapping[str, float], way: str = "WMDD + JL") -> float:
    """Seconds of a rival's fit over those of a way, its distillation included."""
    own, other = APPROACHES[way], APPROACHES[rival]
    return _seconds(other.once + other.fit, size, units) / _seconds(own.once + own.fit, size, units)


def _seconds(names: tuple[str, ...], size: Size, units: Mapping[str, float]) -> float:
    counted = pieces(size)
    return sum(counted[name][0].seconds(units) for name in names)


def _passes(size: Size, way: str) -> Any:
    counted, own = pieces(size), APPROACHES[way]
    return sum((counted[name][0] for name in own.once + own.fit), Work()).passes(size.outputs)
