"""Certificates of spectra from r vector-Jacobian products, n gradient norms and one estimate of a trace (9.1)."""

from dataclasses import dataclass
from math import ceil, exp, inf, log, sqrt
from typing import Any

import numpy as np
from scipy.special import lambertw

from dntk_ref import _check
from dntk_ref.projected_spectrum import captured_by_directions, rank_upper_bound
from dntk_ref.redundancy import COMPARISON

__all__ = ["TraceInterval", "completed_rank_bound", "redundancy_bound_by_energies", "trace_interval"]


def completed_rank_bound(features: Any, directions: Any, epsilon: float) -> int:
    """An upper bound on r_eps(K) where r directions may hold too little: any more of them hold at least the average (9.1).

    Of the n - r directions orthogonal to Z, which hold rest = tr K - tr Z^T K Z, the best q hold q / (n - r) of it, so
    r_eps <= r + ceil((n - r) ((1 - eps) tr K - tr Z^T K Z) / rest); `rank_upper_bound` where Z holds enough.
    Parameters: features (n, P), directions Z (n, r) orthonormal, in order, epsilon in [0, 1]. Returns: an integer.
    Raises: ValueError.

    >>> completed_rank_bound([[3.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [[0.0], [1.0], [0.0]], 0.1)
    3
    >>> completed_rank_bound([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [[1.0], [0.0], [0.0]], 0.25)
    2
    """
    Phi = _check.matrix("features", features)
    energies = captured_by_directions(Phi, directions)
    n, r, trace, held = len(Phi), len(energies), float(np.sum(Phi**2)), float(np.sum(energies))
    missing = (1 - _check.fraction("epsilon", epsilon)) * trace * (1 - COMPARISON) - held
    if missing <= 0:
        return rank_upper_bound(Phi, directions, epsilon)
    return r + ceil((n - r) * missing / (trace - held) * (1 - COMPARISON))


def redundancy_bound_by_energies(features: Any, directions: Any) -> float:
    """Def 3.2, R1, for the best V of r dimensions, from the energies e_j = z_j^T K z_j and tr K alone (9.1).

    With rest_j = tr K - (e_1 + ... + e_j): sum_{i>r} lambda_i^2 <= lambda_{r+1} sum_{i>r} lambda_i <= lambda_{r+1} rest_r,
    and lambda_{r+1} <= min_{j<=r} rest_j / (r + 1 - j), which bounds the mean of lambda_{j+1} ... lambda_{r+1}. The
    eigenvalues majorise the energies with the rest spread evenly, so |K|_F^2 >= sum_j e_j^2 + rest_r^2 / (n - r).
    Parameters: features (n, P), not all zero, directions Z (n, r) orthonormal, the best first. Returns: a number in [0, 1].
    Raises: ValueError.

    >>> redundancy_bound_by_energies([[2.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]]) ** 2 * 17  # attained: 1 / (16 + 1)
    1.0
    """
    Phi = _check.matrix("features", features)
    energies, trace = captured_by_directions(Phi, directions), _check.positive("tr K", np.sum(Phi**2))
    n, r = len(Phi), len(energies)
    rest = np.maximum(trace - np.cumsum(np.concatenate([[0.0], energies])), 0.0)
    following = float(np.min(rest / np.arange(r + 1, 0, -1)))
    squared = float(np.sum(energies**2)) + (float(rest[-1]) ** 2 / (n - r) if r < n else 0.0)
    return min(1.0, sqrt(following * float(rest[-1]) / squared))


@dataclass(frozen=True)
class TraceInterval:
    """Where tr K lies with the stated confidence; `high` may be infinite."""

    low: float
    high: float


def trace_interval(estimate: float, count: int, delta: float, kind: str) -> TraceInterval:
    """Where tr K lies with confidence 1 - delta, given one unbiased estimate T of it: [T / (1 + a), T / (1 - b)] (9.1).

    gaussian: T = tr K~ of a Gaussian map to `count` coordinates, or the mean of z^T K z over so many Gaussian z;
      a - ln(1 + a) = -b - ln(1 - b) = 2 ln(2/delta) / count, whatever K.
    signs: the mean over so many random sign vectors; a as above (their moment generating function is never above the
      Gaussian one), b = sqrt(6 ln(2/delta) / count), from E (z^T K z)^2 <= 3 (tr K)^2.
    moments: tr K~ of any map with Var tr K~ <= 2 |K|_F^2 / count, as Gaussian, Rademacher, CountSketch, SJLT and SRHT maps
      have; a = b = sqrt(2 / (count delta)) by Chebyshev.
    Parameters: estimate >= 0, count >= 1, 0 < delta < 1, kind. Returns: TraceInterval. Raises: ValueError.

    >>> trace_interval(3.0, 40, 0.2, "moments")
    TraceInterval(low=2.0, high=6.0)
    """
    T, k = _check.nonnegative("estimate", estimate), _check.integer("count", count, 1)
    delta = _check.positive("delta", _check.below_one("delta", delta))
    _check.choice("kind", kind, ("gaussian", "signs", "moments"))
    if kind == "moments":
        above = below = sqrt(2 / (k * delta))
    else:
        # 1 + a and 1 - b solve x - ln x = 1 + t: the two branches of -W(-exp(-1 - t)).
        t = 2 * log(2 / delta) / k
        above = -float(lambertw(-exp(-1 - t), -1).real) - 1
        below = sqrt(3 * t) if kind == "signs" else 1 + float(lambertw(-exp(-1 - t), 0).real)
    return TraceInterval(T / (1 + above), T / (1 - below) if below < 1 else inf)
