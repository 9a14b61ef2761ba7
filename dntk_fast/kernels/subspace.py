"""How well the span of distilled gradients holds the data's, for all classes at once: Eqs (8), (11), Prop 3.6.

Rows are examples: `features` (C, n, k), `inducing` (C, m, k), without the axis C for one class. Decompositions are
float64 whatever comes in; a direction counts when its squared singular value is above `rtol` times the largest.
"""

from __future__ import annotations

from dataclasses import dataclass

from dntk_fast import _check
from dntk_fast._arrays import (
    Array,
    double,
    eigenvalues,
    gram,
    integers,
    namespace,
    orthonormal_rows,
    restore,
    transpose,
)

__all__ = ["EnergyGap", "energy_gap", "principal_angles", "projection_residual"]


@dataclass(frozen=True, eq=False)
class EnergyGap:
    """The two parts of Eq (11), (C,) each: `residual` = `tail` + `misalignment` at rank `rank`, of `total` = |Phi|_F^2."""

    residual: Array
    tail: Array
    misalignment: Array
    rank: Array
    total: Array


def projection_residual(features: Array, inducing: Array, *, rtol: float = 1e-12) -> Array:
    """Energy of the gradients outside the span of the inducing ones: |Phi (I - Pi_S)|_F^2 (Eqs 8, 11).

    Parameters: features (C, n, k) or (n, k), inducing (C, m, k) or (m, k), rtol in [0, 1]. Returns: (C,) or 0-d.
    Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> float(projection_residual(np.asarray([[3.0, 4.0]]), np.asarray([[1.0, 0.0]])))
    16.0
    """
    Phi, V, _ = _spans(features, inducing, rtol)
    return restore(_outside(Phi, V), features)


def energy_gap(features: Array, inducing: Array, *, rtol: float = 1e-12) -> EnergyGap:
    """Residual of the inducing span, split into what no span of its rank could hold and what its position misses.

    |Phi - Phi Pi_S|_F^2 = sum_{i>r} sigma_i^2 + (|Phi Pi_r|_F^2 - |Phi Pi_S|_F^2), r = rank Pi_S (Eq 11).
    Parameters: features (C, n, k) or (n, k), inducing (C, m, k) or (m, k), rtol in [0, 1]. Returns: EnergyGap.
    Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> gap = energy_gap(np.asarray([[2.0, 0.0], [0.0, 1.0]]), np.asarray([[0.0, 5.0]]))
    >>> float(gap.residual), float(gap.tail), float(gap.misalignment), int(gap.rank), float(gap.total)
    (4.0, 1.0, 3.0, 1, 5.0)
    """
    Phi, V, rank = _spans(features, inducing, rtol)
    xp = namespace(Phi)
    squared = eigenvalues(gram(Phi if Phi.shape[-2] <= Phi.shape[-1] else transpose(Phi)))
    leading = double(integers(squared.shape[-1], squared) < rank[..., None])
    held = xp.sum((Phi @ transpose(V)) ** 2, axis=(-2, -1))
    tail = xp.sum(squared * (1.0 - leading), axis=-1)
    misalignment = xp.sum(squared * leading, axis=-1) - held
    parts = (_outside(Phi, V), tail, misalignment, xp.sum(Phi**2, axis=(-2, -1)))
    residual, tail, misalignment, total = (restore(x, features) for x in parts)
    return EnergyGap(residual, tail, misalignment, rank, total)


def principal_angles(a: Array, b: Array, *, rtol: float = 1e-12) -> Array:
    """Principal angles between the spans of two sets of rows, ascending, in radians (after Prop 3.6).

    cos theta_i = singular values of V_a V_b^T, sin theta_i those of V_b (I - V_a^T V_a); their arctan2 keeps the digits
    of small angles, which the arccos of a cosine near 1 loses.
    Parameters: a (C, n, k) or (n, k), b (C, m, k) or (m, k), rtol in [0, 1]. Returns: (C, q) or (q,), q the largest
    min(rank a, rank b) of any class; NaN where a class has fewer angles. Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> principal_angles(np.asarray([[1.0, 0.0]]), np.asarray([[0.0, 2.0]])).round(6).tolist()
    [1.570796]
    """
    B, V_a, rank_a = _spans(b, a, rtol, names=("b", "a"))
    V_b, rank_b = orthonormal_rows(B, rtol)
    xp = namespace(V_a)
    count = xp.minimum(rank_a, rank_b)
    q = int(xp.max(count))
    cross = V_b @ transpose(V_a)
    cosine = xp.linalg.svdvals(cross)[..., :q]
    sine = xp.flip(xp.linalg.svdvals(V_b - cross @ V_a), axis=-1)
    # Ascending, the sines start after one zero for every padded row of V_b; ones of a wider span b stand at the end.
    place = xp.clip(V_b.shape[-2] - rank_b[..., None] + integers(q, count), max=V_b.shape[-2] - 1)
    angles = xp.atan2(xp.take_along_axis(sine, place, axis=-1), cosine)
    inside = integers(q, count) < count[..., None]
    return restore(xp.where(inside, angles, xp.full_like(angles, float("nan"))), a)


def _spans(
    features: Array, inducing: Array, rtol: float, names: tuple[str, str] = ("features", "inducing")
) -> tuple[Array, Array, Array]:
    """Features in float64, an orthonormal basis of the rows of the inducing ones, and its dimension."""
    Phi = double(_check.rows(names[0], features))
    rows = _check.rows(names[1], inducing)
    _check.array_like(names[1], rows, features, (*Phi.shape[:-2], None, Phi.shape[-1]))
    V, rank = orthonormal_rows(rows, _check.fraction("rtol", rtol))
    return Phi, V, rank


def _outside(Phi: Array, V: Array) -> Array:
    """The energy |Phi - Phi V^T V|_F^2, by the difference itself: that of two norms would lose its digits."""
    return namespace(Phi).sum((Phi - (Phi @ transpose(V)) @ V) ** 2, axis=(-2, -1))
