"""What is learnt of a spectrum from r vector-Jacobian products, n gradient norms and a few runs of a projection."""

from dataclasses import dataclass
from math import ceil, exp, inf, log, log1p, sqrt
from typing import Any

import numpy as np
from scipy.special import lambertw

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref._linear import UNIT, norm
from dntk_ref.projection import kernel_error_expectation, padded_dimension
from dntk_ref.redundancy import COMPARISON, truncation_rank_of_spectrum

__all__ = [
    "TraceInterval",
    "captured_by_directions",
    "captured_share",
    "completed_rank_bound",
    "cross_validated_rank",
    "hutchinson_estimate",
    "hutchinson_probes_gaussian",
    "hutchinson_probes_rademacher",
    "hutchinson_variance_gaussian",
    "hutchinson_variance_rademacher",
    "naive_norm_bias",
    "naive_rank",
    "rank_upper_bound",
    "redundancy_bound_by_energies",
    "redundancy_bound_r1",
    "redundancy_bound_r2",
    "split_half_bias",
    "split_half_error",
    "split_half_squared_norm",
    "trace_failure_bound",
    "trace_interval",
]


# Def 3.1 counts a share as held from 1 - COMPARISON of it on. An upper bound asks for more than that by what rounding cannot
# reach, and for less than the share itself: ties are ties, and no bound falls below the rank.
HELD = 1 - COMPARISON / 2

# Ranks without the whole kernel.


def captured_by_directions(features: Any, directions: Any) -> Array:
    """The energy in each of r orthonormal directions, one vector-Jacobian product each: |Phi^T z_j|^2 (`rank_by_products`).

    Their sum tr(Z^T K Z) never exceeds the r largest eigenvalues.
    Parameters: features (n, P), directions (n, r) orthonormal. Returns: (r,). Raises: ValueError.

    >>> captured_by_directions([[3.0, 4.0], [0.0, 1.0]], [[1.0], [0.0]]).tolist()
    [25.0]
    """
    return np.asarray(np.sum(_products(features, directions) ** 2, axis=0))


def rank_upper_bound(features: Any, directions: Any, epsilon: float) -> int:
    """A rigorous upper bound on r_eps(K): the first r directions that hold a share 1 - epsilon of tr K, or n.

    tr K = sum_i |phi_i|^2 needs the n norms of the gradients besides the r products.
    Parameters: features (n, P), directions (n, r) orthonormal, in order, epsilon in [0, 1]. Returns: r. Raises:
    ValueError.
    Source: `rank_by_products`.

    >>> rank_upper_bound([[3.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], 0.2)
    2
    """
    Phi = _check.matrix("features", features)
    held = np.cumsum(captured_by_directions(Phi, directions))
    return _first_holding(held, float(np.sum(Phi**2)), epsilon, len(Phi))


def naive_rank(projected: Any, epsilon: float) -> int:
    """The truncation rank measured on the projected kernel: biased low in captured energy (`rank_estimates`).

    >>> naive_rank([[9.0, 0.0], [0.0, 1.0]], 0.1)
    1
    """
    return truncation_rank_of_spectrum(_check.spectrum("projected", projected), epsilon)


def cross_validated_rank(first: Any, second: Any, epsilon: float) -> int:
    """The rank whose directions come from one half and whose energy from the other: biased high, no bracket.

    min {r : tr(Z_r^T K~_2 Z_r) >= (1 - epsilon) tr K~_2}, Z the eigenvectors of K~_1.
    Parameters: first, second (n, n) from independent halves, epsilon in [0, 1]. Returns: r. Raises: ValueError.
    Source: `rank_estimates`.

    >>> cross_validated_rank([[9.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 9.0]], 0.1)
    2
    """
    K1 = _check.kernel("first", first)
    K2 = _check.kernel("second", second, size=len(K1))
    Z = np.linalg.eigh(K1)[1][:, ::-1]
    return _first_holding(np.cumsum(np.sum(Z * (K2 @ Z), axis=0)), float(np.trace(K2)), epsilon, len(K1))


def completed_rank_bound(features: Any, directions: Any, epsilon: float) -> int:
    """An upper bound on r_eps(K) where r directions may hold too little: any more of them hold at least the average.

    Of the n - r directions orthogonal to Z, which hold rest = tr K - tr Z^T K Z, the best q hold q / (n - r) of it, so
    r_eps <= r + ceil((n - r) ((1 - eps) tr K - tr Z^T K Z) / rest); `rank_upper_bound` where Z holds enough.
    Parameters: features (n, P), directions Z (n, r) orthonormal, in order, epsilon in [0, 1]. Returns: an integer.
    Raises: ValueError.
    Source: `rank_by_products`.

    >>> completed_rank_bound([[3.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [[0.0], [1.0], [0.0]], 0.1)
    3
    >>> completed_rank_bound([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [[1.0], [0.0], [0.0]], 0.25)
    2
    """
    Phi = _check.matrix("features", features)
    energies = captured_by_directions(Phi, directions)
    n, r, trace, held = len(Phi), len(energies), float(np.sum(Phi**2)), float(np.sum(energies))
    missing = (1 - _check.fraction("epsilon", epsilon)) * trace * HELD - held
    if missing <= 0:
        return rank_upper_bound(Phi, directions, epsilon)
    return r + ceil((n - r) * missing / (trace - held))


# Parameter redundancy (Def 3.2) of V = span of r vector-Jacobian products, with n gradient norms.


def captured_share(features: Any, directions: Any) -> float:
    """The share tr(Z^T K Z) / tr K: r vector-Jacobian products over n squared norms, never above the r largest eigenvalues'.

    Parameters: features (n, P), not all zero, directions Z (n, r) orthonormal. Returns: a number in [0, 1]. Raises:
    ValueError.

    >>> captured_share([[3.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]])
    0.9
    """
    return float(np.sum(_products(features, directions) ** 2)) / _trace(features)


def redundancy_bound_r2(features: Any, directions: Any) -> float:
    """Def 3.2, R2, for V = range(Phi^T Z): |Phi - Phi Pi_V|_F^2 / |Phi|_F^2 <= 1 - tr(Z^T K Z) / tr K.

    Phi Pi_V is the nearest to Phi of all matrices with rows in V, and Z Z^T Phi is one of them.
    Parameters: features (n, P), not all zero, directions Z (n, r) orthonormal. Returns: a number. Raises: ValueError.

    >>> round(redundancy_bound_r2([[3.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]]), 12)
    0.1
    """
    return _missed(features, directions) / _trace(features)


def redundancy_bound_r1(features: Any, directions: Any) -> float:
    """Def 3.2, R1, for the same V: |K - K_V|_F / |K|_F <= (tr K - tr Z^T K Z) / |Z^T K Z|_F.

    |K - K_V|_F <= tr(K - K_V) because K - K_V >= 0, and |K|_F >= |Z^T K Z|_F.
    Parameters: features (n, P), directions Z (n, r) orthonormal, Z^T K Z not zero. Returns: a number. Raises:
    ValueError.

    >>> round(redundancy_bound_r1([[3.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]]), 12)
    0.111111111111
    """
    G = _products(features, directions)
    size = _check.positive("|Z^T K Z|_F", np.linalg.norm(G.T @ G))
    return _missed(features, directions) / size


def redundancy_bound_by_energies(features: Any, directions: Any) -> float:
    """Def 3.2, R1, for the best V of r dimensions, from the energies e_j = z_j^T K z_j and tr K alone (`rank_by_products`).

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


# The error of a projection from one run.


def split_half_error(first: Any, second: Any) -> float:
    """The split-half estimate |K~_1 - K~_2|_F^2 / 4 of E |K~ - K|_F^2, K~ the mean of the halves (`split_half`).

    Unbiased for independent halves; see `split_half_bias` for halves of one draw.

    >>> split_half_error([[3.0]], [[1.0]])
    1.0
    """
    K1 = _check.kernel("first", first)
    return float(np.sum((K1 - _check.kernel("second", second, size=len(K1))) ** 2)) / 4


def split_half_squared_norm(first: Any, second: Any) -> float:
    """The split-half estimate tr(K~_1 K~_2) of |K|_F^2, unbiased for independent halves (`split_half`).

    >>> split_half_squared_norm([[3.0]], [[1.0]])
    3.0
    """
    K1 = _check.kernel("first", first)
    return float(np.sum(K1 * _check.kernel("second", second, size=len(K1))))


def split_half_bias(kind: str, features: Any, k: int) -> float:
    """What the split-half estimate exceeds E |K~ - K|_F^2 by, when the halves are the two halves of one draw.

    Zero where the halves' errors are uncorrelated: independent entries, block SJLT with an even number of blocks, and
    columns with replacement (also of one SRHT: given its signs each half is unbiased). Columns drawn without replacement
    repel: relatively k/(P - k), upward, exactly (P padded for srht).
    Parameters: kind, features (n, P), k even and below P. Returns: a number. Raises: ValueError.

    >>> split_half_bias("gaussian", [[1.0, 0.0]], 2)
    0.0
    """
    Phi = _check.matrix("features", features)
    uncorrelated = ("gaussian", "achlioptas", "rademacher", "sjlt_block", "coordinates", "srht_replace")
    _check.choice("kind", kind, (*uncorrelated, "haar", "srht"))
    if _check.integer("k", k, 2) % 2:
        raise ValueError(f"k: expected an even number, got {k}")
    if kind in uncorrelated:
        return 0.0
    size = Phi.shape[1] if kind == "haar" else padded_dimension(Phi.shape[1])
    _check.integer("k", k, 2, size - 1)
    return k / (size - k) * kernel_error_expectation(kind, Phi, k)


def naive_norm_bias(kind: str, features: Any, k: int) -> float:
    """What E |K~|_F^2 exceeds |K|_F^2 by: E |K~ - K|_F^2, because every map is unbiased (`split_half`).

    Gaussian ((tr K)^2 + |K|_F^2) / k; the V0 - 2D maps have 2 |diag(Phi^T Phi)|^2 / k less.

    >>> naive_norm_bias("gaussian", [[1.0, 0.0], [0.0, 1.0]], 2)
    3.0
    """
    return kernel_error_expectation(kind, features, k)


# The trace.


def trace_failure_bound(k: int, epsilon: float) -> float:
    """The bound on Pr(|tr K~ / tr K - 1| > epsilon) for a Gaussian map, the same for every K (`trace_concentration`).

    exp(-k (epsilon - ln(1 + epsilon)) / 2) + exp(k (epsilon + ln(1 - epsilon)) / 2); also for Gaussian Hutchinson.
    Parameters: k >= 1, 0 < epsilon < 1. Returns: a number. Raises: ValueError.

    >>> round(trace_failure_bound(100, 0.5), 6)
    0.008919
    """
    k, eps = _check.integer("k", k, 1), _check.positive("epsilon", _check.below_one("epsilon", epsilon))
    return exp(-k / 2 * (eps - log1p(eps))) + exp(k / 2 * (eps + log1p(-eps)))


def hutchinson_estimate(features: Any, probes: Any) -> float:
    """Hutchinson's estimate of tr K, one vector-Jacobian product per probe: mean_z |Phi^T z|^2 [Hutchinson1989].

    Parameters: features (n, P), probes (N, n), rows z with E z z^T = I. Returns: a number. Raises: ValueError.

    >>> hutchinson_estimate([[1.0, 0.0], [0.0, 2.0]], [[1.0, -1.0]])
    5.0
    """
    Phi = _check.matrix("features", features)
    z = _check.matrix("probes", probes, columns=len(Phi))
    return float(np.sum((z @ Phi) ** 2) / len(z))


def hutchinson_variance_gaussian(kernel: Any, probes: int) -> float:
    """The variance of Hutchinson's estimate with N Gaussian probes: 2 |K|_F^2 / N.

    >>> hutchinson_variance_gaussian([[1.0, 2.0], [2.0, 4.0]], 2)
    25.0
    """
    return float(2 * np.sum(_check.kernel("kernel", kernel) ** 2) / _check.integer("probes", probes, 1))


def hutchinson_variance_rademacher(kernel: Any, probes: int) -> float:
    """The variance of Hutchinson's estimate with N sign probes: 2 (|K|_F^2 - sum_i K_ii^2) / N.

    >>> hutchinson_variance_rademacher([[1.0, 2.0], [2.0, 4.0]], 2)
    8.0
    """
    K = _check.kernel("kernel", kernel)
    return float(2 * (np.sum(K**2) - np.sum(np.diag(K) ** 2)) / _check.integer("probes", probes, 1))


def hutchinson_probes_rademacher(epsilon: float, delta: float) -> int:
    """Sign probes that suffice for relative error epsilon with confidence 1 - delta: 6 ln(2/delta) / epsilon^2.

    Source: [RoostaAscher2015].

    >>> hutchinson_probes_rademacher(0.5, 0.1)
    72
    """
    return ceil(6 * log(2 / _confidence(delta)) / _check.positive("epsilon", epsilon) ** 2)


def hutchinson_probes_gaussian(epsilon: float, delta: float) -> int:
    """Gaussian probes that suffice for relative error epsilon with confidence 1 - delta: 8 ln(2/delta) / epsilon^2.

    Source: [RoostaAscher2015].

    >>> hutchinson_probes_gaussian(0.5, 0.1)
    96
    """
    return ceil(8 * log(2 / _confidence(delta)) / _check.positive("epsilon", epsilon) ** 2)


@dataclass(frozen=True)
class TraceInterval:
    """Where tr K lies with the stated confidence; `high` may be infinite."""

    low: float
    high: float


def trace_interval(estimate: float, count: int, delta: float, kind: str) -> TraceInterval:
    """Where tr K lies with confidence 1 - delta, given one unbiased estimate T of it: [T / (1 + a), T / (1 - b)].

    gaussian: T = tr K~ of a Gaussian map to `count` coordinates, or the mean of z^T K z over so many Gaussian z;
      a - ln(1 + a) = -b - ln(1 - b) = 2 ln(2/delta) / count, whatever K.
    signs: the mean over so many random sign vectors; a as above (their moment generating function is never above the
      Gaussian one), b = sqrt(6 ln(2/delta) / count), from E (z^T K z)^2 <= 3 (tr K)^2.
    moments: tr K~ of any map with Var tr K~ <= 2 |K|_F^2 / count, as Gaussian, Rademacher, CountSketch, SJLT and SRHT maps
      have; a = b = sqrt(2 / (count delta)) by Chebyshev.
    Parameters: estimate >= 0, count >= 1, 0 < delta < 1, kind. Returns: TraceInterval. Raises: ValueError.
    Source: `trace_concentration`.

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


# Helpers.


def _confidence(delta: float) -> float:
    return _check.positive("delta", _check.below_one("delta", delta))


def _missed(features: Any, directions: Any) -> float:
    """The energy missed, tr K - tr Z^T K Z = |Phi - Z Z^T Phi|_F^2, rounded up: a sum of squares never falls below 0."""
    Phi, Z = _check.matrix("features", features), _check.basis("directions", directions, rows=len(features))
    lost = 4 * sum(Phi.shape) * UNIT * norm(Phi)
    return (norm(Phi - Z @ (Z.T @ Phi)) + lost) ** 2


def _first_holding(held: Array, whole: float, epsilon: float, otherwise: int) -> int:
    """The first number of directions, from 0, that hold a share 1 - epsilon of the whole, or `otherwise`."""
    wanted = (1 - _check.fraction("epsilon", epsilon)) * whole * HELD
    enough = np.flatnonzero(np.concatenate([[0.0], held]) >= wanted)
    return int(enough[0]) if enough.size else otherwise


def _products(features: Any, directions: Any) -> Array:
    """The r vector-Jacobian products Phi^T Z, (P, r)."""
    Phi = _check.matrix("features", features)
    return np.asarray(Phi.T @ _check.basis("directions", directions, rows=len(Phi)))


def _trace(features: Any) -> float:
    return _check.positive("tr K", np.sum(_check.matrix("features", features) ** 2))
