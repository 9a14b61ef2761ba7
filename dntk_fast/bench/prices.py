"""What each way to a predictor costs, counted from sizes alone, and after how many uses a distillation has paid.

Every way is made of pieces: what is done once and kept (the distilled images), what a fit takes, what predictions take.
The network and its logits on the training images are given to all of them and count for none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, NamedTuple

from dntk_fast.kernels.ridge import GRID_EXPONENTS
from dntk_fast.tangent.plan import KernelPlan

__all__ = [
    "ACCOUNTS",
    "APPROACHES",
    "RIVALS",
    "Approach",
    "Passes",
    "Size",
    "Work",
    "break_even",
    "cost_row",
    "pair_products",
    "pays_after",
    "pieces",
    "row_products",
    "total",
]


class Passes(NamedTuple):
    """Passes of one image: forward; backward from one logit or one loss; J v (forward mode) for one logit."""

    forward: int
    backward: int
    products: int


@dataclass(frozen=True)
class Work:
    """How much of each kind of work; seconds are the inner product with the seconds of a unit of each kind.

    Attributes
    ----------
    forward : images taken forward alone
    updates : images forward and back to their pixels, in a step of the distillation
    projected, tangents, transposed : images forward and back from each of the C logits, the gradients projected, or met
        layer by layer for an exact kernel, or summed into J^T a
    products : images taken forward once with J v of each of the C logits
    single, double : multiply-adds of matrix products beyond the passes, in float32 and float64
    cubes : sum of n^3 over eigendecompositions of order n, float64
    """

    forward: int = 0
    updates: int = 0
    projected: int = 0
    tangents: int = 0
    transposed: int = 0
    products: int = 0
    single: int = 0
    double: int = 0
    cubes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def passes(self, outputs: int) -> Passes:
        """Count the passes of a network with so many logits.

        >>> Work(forward=5, updates=2, projected=3).passes(10)
        Passes(forward=10, backward=32, products=0)
        """
        images = self.projected + self.tangents + self.transposed
        forward = self.forward + self.updates + images + self.products
        return Passes(forward, self.updates + outputs * images, outputs * self.products)

    def seconds(self, units: Mapping[str, float]) -> float:
        """Price it by the seconds of a unit of each kind.

        >>> Work(forward=5, updates=2).seconds({"forward": 1.0, "updates": 3.0})
        11.0
        """
        return sum(getattr(self, part.name) * units.get(part.name, 0.0) for part in fields(self))


@dataclass(frozen=True)
class Size:
    """Everything that the counts depend on.

    Attributes
    ----------
    n, t, outputs, parameters : training images, images of one use, logits C, parameters P
    pixels : numbers in one image
    k, head : coordinates of a projected body gradient, and of the head's own row
    images, updates : distilled images, and how often each is updated
    gradients : synthetic gradients per logit
    plan : how the exact kernel of the training images is made (its blocks say how often an image is passed again)
    forwards : forward passes of an image while its gradients are projected, above 1 where logits go in parts
    steps, sweeps, points : conjugate gradients: steps, passes of the training images, images with certified error
    part : images in one part of the stream
    """

    n: int
    t: int
    outputs: int
    parameters: int
    pixels: int
    k: int
    head: int
    images: int
    updates: int
    gradients: int
    plan: KernelPlan
    forwards: int
    steps: int
    sweeps: int
    points: int
    part: int

    @property
    def width(self) -> int:
        """Coordinates of a projected gradient, head included."""
        return self.k + self.head


class Approach(NamedTuple):
    """Pieces done once and kept for every later kernel, pieces of each fit, and the piece that predicts."""

    once: tuple[str, ...]
    fit: tuple[str, ...]
    predict: str


APPROACHES: Mapping[str, Approach] = {
    "full kernel, exact": Approach((), ("exact kernel",), "J v"),
    "JL only": Approach((), ("features, all images",), "features"),
    "WMDD + JL": Approach(("distillation",), ("features, distilled",), "features"),
    "DNTK, Algorithm 1": Approach(("distillation",), ("features, distilled", "Algorithm 1"), "features"),
    "DNTK, top eigenvectors": Approach(("distillation",), ("features, distilled", "top eigenvectors"), "features"),
    "streaming ridge": Approach((), ("moments",), "features"),
    "matrix-free exact": Approach((), ("features, all images", "conjugate gradients"), "J v"),
    "last layer": Approach((), ("last layer",), "last layer, predictions"),
}
#: what a distillation is held against
RIVALS = ("full kernel, exact", "JL only", "last layer")
#: "kernels": each use is a new kernel for which the distilled images serve again; "predictions": all uses share one fit
ACCOUNTS = ("kernels", "predictions")


def pair_products(plan: KernelPlan, outputs: int) -> int:
    """Multiply-adds for one pair of images in all C exact kernels: T^2 (p + C q) by factors, C p q otherwise."""
    return sum(
        a.groups * (a.positions**2 * (a.p + outputs * a.q) if a.rule == "factors" else outputs * a.p * a.q)
        for a in plan.layers
    )


def row_products(plan: KernelPlan, outputs: int) -> int:
    """Multiply-adds that form one image's gradients of all logits in the layers where they are formed."""
    return sum(a.groups * outputs * a.positions * a.p * a.q for a in plan.layers if a.rule != "factors")


def pieces(s: Size) -> dict[str, tuple[Work, int]]:
    """Count each piece: its work, and the bytes that stand when it is done (of a prediction: that it needs to be made).

    Leading terms of the linear algebra; the k-means of the barycentres is left out.
    """
    C, n, w, weights = s.outputs, s.n, s.width, 4 * s.outputs * s.parameters
    images = s.plan.backward_passes // C
    kernel = Work(
        forward=s.plan.forward_passes - images,
        tangents=images,
        transposed=n,
        single=n * (n + 1) // 2 * pair_products(s.plan, C) + images * row_products(s.plan, C),
        cubes=C * n**3,
    )
    solved = Work(
        tangents=n + s.points,
        transposed=n * s.sweeps,
        products=n * s.sweeps + s.points * s.steps,
        double=C * (n * w * min(n, w) + min(n, w) ** 3 // 3 + s.steps * (n * n if n <= w else 2 * n * w)),
    )
    moments = _projected(s, n) + Work(double=C * (n * w * w + (len(GRID_EXPONENTS) + 1) * w**3 // 3))
    small, columns = 8 * C * s.images**2, C * s.images * s.gradients
    projecting = Work(double=C * s.images**2 * w)
    return {
        "distillation": (Work(forward=n + s.images, updates=s.updates * s.images), 4 * s.pixels * s.images),
        "exact kernel": (kernel, 8 * C * n * n + weights),
        "features, all images": (_projected(s, n) + _ridge(n, w, C), 4 * C * n * w),
        "features, distilled": (_projected(s, s.images) + _ridge(s.images, w, C), 4 * C * s.images * w),
        "Algorithm 1": (projecting + Work(cubes=(C + CLUSTERINGS) * s.images**3), small + 8 * columns),
        "top eigenvectors": (projecting + Work(cubes=C * s.images**3), small + 8 * columns),
        "moments": (moments, 8 * C * w * (w + 1) + 8 * C + 4 * C * min(s.part, n) * w),
        "conjugate gradients": (solved, weights + 8 * C * n),
        "last layer": (Work(forward=n) + _ridge(n, s.head, C), 4 * n * s.head),
        "features": (_projected(s, s.t) + Work(double=C * s.t * w), 8 * C * w),
        "J v": (Work(products=s.t), weights),
        "last layer, predictions": (Work(forward=s.t, double=C * s.t * s.head), 8 * C * s.head),
    }


#: eigendecompositions of the mean kernel in Algorithm 1's grid, one for each number of clusters above 1
CLUSTERINGS = 4


def _projected(s: Size, images: int) -> Work:
    return Work(forward=(s.forwards - 1) * images, projected=images)


def _ridge(n: int, w: int, C: int) -> Work:
    """Gram matrix and eigendecomposition of the smaller side; leave-one-out over the grid where that is the coordinates."""
    least = min(n, w)
    leave_one_out = len(GRID_EXPONENTS) * n * w * w if w < n else 0
    return Work(double=C * (n * w * least + leave_one_out), cubes=C * least**3)


def total(way: Approach, cost: Mapping[str, float], account: str) -> tuple[float, float]:
    """Split a way's cost into what is paid once and what every use costs.

    One use is 1,000 predictions; in the account "kernels" from a new kernel, fitted anew.

    >>> cost = {"d": 100.0, "f": 5.0, "p": 1.0}
    >>> total(Approach(("d",), ("f",), "p"), cost, "kernels"), total(Approach(("d",), ("f",), "p"), cost, "predictions")
    ((100.0, 6.0), (105.0, 1.0))
    """
    once, fit = (sum(cost[name] for name in part) for part in (way.once, way.fit))
    return (once, fit + cost[way.predict]) if account == "kernels" else (once + fit, cost[way.predict])


def break_even(own: tuple[float, float], other: tuple[float, float]) -> int | None:
    """Find the number of uses from which on `own` costs no more than `other`: costs (once, each use).

    a + N b <= a' + N b' for all N from max(1, ceil((a - a') / (b' - b))) on; None if there is no such N: never.

    >>> break_even((100.0, 1.0), (10.0, 4.0)), break_even((0.0, 1.0), (10.0, 4.0)), break_even((100.0, 4.0), (10.0, 4.0))
    (30, 1, None)
    """
    more, saved = own[0] - other[0], other[1] - own[1]
    if saved < 0 or (saved == 0 and more > 0):
        return None
    return 1 if more <= 0 else max(1, math.ceil(more / saved))


def pays_after(
    cost: Mapping[str, float], ways: Mapping[str, Approach] = APPROACHES, rivals: Sequence[str] = RIVALS
) -> dict[str, dict[str, dict[str, int | None]]]:
    """Find for each way that distils, each account and each rival, after how many uses it pays, by the costs of pieces.

    >>> ways = {"distilled": Approach(("d",), ("f",), "p"), "plain": Approach((), ("g",), "p")}
    >>> pays_after({"d": 100.0, "f": 5.0, "g": 25.0, "p": 1.0}, ways, ["plain"])["distilled"]["kernels"]["plain"]
    5
    """
    return {
        name: {
            account: {
                rival: break_even(total(way, cost, account), total(ways[rival], cost, account)) for rival in rivals
            }
            for account in ACCOUNTS
        }
        for name, way in ways.items()
        if way.once
    }


def cost_row(name: str, way: Approach, size: Size, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What a way costs: seconds and passes, of what is done once, of each fit and of each use, and bytes held and kept.

    Held are the arrays that stand when the fit is done, kept are those that predictions need; the network is given.
    """
    counted = pieces(size)
    parts = {"once": way.once, "fit": way.fit, "use": (way.predict,)}
    work = {part: sum((counted[piece][0] for piece in names), Work()) for part, names in parts.items()}
    return {
        "way": name,
        "seconds": {part: sum(seconds[piece] for piece in names) for part, names in parts.items()},
        "passes": {part: done.passes(size.outputs)._asdict() for part, done in work.items()},
        "held_bytes": sum(counted[piece][1] for piece in way.once + way.fit),
        "kept_bytes": counted[way.predict][1],
    }
