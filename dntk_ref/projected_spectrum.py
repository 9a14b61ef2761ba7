"""What a projection does to spectra (Remark 4.1, the JL part of B.6), and what one run tells about it (9.1)."""

from math import ceil, exp, log, log1p, sqrt
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref.projection import kernel_error_expectation, padded_dimension
from dntk_ref.redundancy import COMPARISON, spectrum, truncation_rank, truncation_rank_of_spectrum

__all__ = [
    "captured_by_directions",
    "cross_validated_rank",
    "embedding_dimension",
    "embedding_distortion",
    "embedding_error",
    "hutchinson_estimate",
    "hutchinson_probes_gaussian",
    "hutchinson_probes_rademacher",
    "hutchinson_variance_gaussian",
    "hutchinson_variance_rademacher",
    "naive_norm_bias",
    "naive_rank",
    "partial_sums",
    "projected_ratio_bound",
    "projected_tail_bound",
    "rank_upper_bound",
    "relative_eigenvalue_error",
    "sandwich_error",
    "sandwich_scale",
    "split_half_bias",
    "split_half_error",
    "split_half_squared_norm",
    "trace_failure_bound",
]


# Relative and additive control of eigenvalues (B.6, the JL step).


def partial_sums(kernel: Any) -> Array:
    """The sums of the r largest eigenvalues, r = 1..n: convex in K, so biased up on a projected kernel (B.6).

    Parameters: kernel (n, n), positive semi-definite. Returns: (n,), ascending. Raises: ValueError.

    >>> partial_sums([[1.0, 0.0], [0.0, 3.0]]).tolist()
    [3.0, 4.0]
    """
    return np.cumsum(spectrum(kernel))


def relative_eigenvalue_error(kernel: Any, projected: Any) -> float:
    """The left side of the printed JL step of B.6: max_i |lambda~_i / lambda_i - 1| over the eigenvalues above zero.

    Parameters: kernel (n, n) not zero, projected (n, n). Returns: a number. Raises: ValueError for K = 0.

    >>> relative_eigenvalue_error([[1.0, 0.0], [0.0, 4.0]], [[2.0, 0.0], [0.0, 4.0]])
    1.0
    """
    before = spectrum(kernel)
    after = spectrum(_check.kernel("projected", projected, size=before.size))
    above = before > 1e-12 * _check.positive("largest eigenvalue of the kernel", before[0])
    return float(np.abs(after[above] / before[above] - 1).max())


def embedding_error(features: Any, projector: Any) -> float:
    """How far a map is from an embedding of rowspan(Phi): the largest |eigenvalue - 1| of B^T A^T A B, B a basis.

    It bounds `relative_eigenvalue_error`, which pairwise distances do not (CEX-17).
    Parameters: features (n, P) not zero, projector (P, k). Returns: a number. Raises: ValueError for Phi = 0.

    >>> embedding_error([[2.0, 0.0]], [[0.5], [1.0]])
    0.75
    """
    Phi = _check.matrix("features", features)
    A = _check.matrix("projector", projector, rows=Phi.shape[1])
    _, sigma, rows = np.linalg.svd(Phi, full_matrices=False)
    B = rows[sigma > 1e-12 * _check.positive("largest singular value of the features", sigma[0])]
    return float(np.abs(np.linalg.eigvalsh(B @ A @ A.T @ B.T) - 1).max())


def embedding_dimension(rank: int, epsilon: float, delta: float) -> int:
    """A Gaussian k that embeds d dimensions with confidence 1 - delta (Davidson-Szarek).

    k >= ((sqrt d + sqrt(2 ln(2/delta))) / (sqrt(1 + epsilon) - 1))^2, rounded up.
    Parameters: rank d >= 1, epsilon > 0, 0 < delta < 1. Returns: k. Raises: ValueError.

    >>> embedding_dimension(40, 0.1, 0.01)
    38523
    """
    stretch = sqrt(1 + _check.positive("epsilon", epsilon)) - 1
    if stretch == 0:
        raise ValueError(f"epsilon: expected a number that 1 + epsilon tells from 0, got {epsilon}")
    return ceil((_spread(rank, delta) / stretch) ** 2)


def embedding_distortion(rank: int, k: int, delta: float) -> float:
    """The epsilon that a Gaussian k reaches for d dimensions: (1 + (sqrt d + sqrt(2 ln(2/delta))) / sqrt k)^2 - 1.

    >>> round(embedding_distortion(40, 4096, 0.01), 2)
    0.32
    """
    return (1 + _spread(rank, delta) / sqrt(_check.integer("k", k, 1))) ** 2 - 1


def sandwich_error(kernel: Any, projected: Any, mu: float) -> float:
    """The smallest epsilon with (1 - epsilon)(K + mu I) <= K~ + mu I <= (1 + epsilon)(K + mu I).

    |(K + mu I)^-1/2 (K~ - K) (K + mu I)^-1/2|_2.
    Parameters: kernel (n, n), projected (n, n), mu > 0. Returns: a number. Raises: ValueError for mu <= 0.

    >>> sandwich_error([[3.0]], [[2.0]], 1.0)
    0.25
    """
    K, mu = _check.kernel("kernel", kernel), _check.positive("mu", mu)
    difference = _check.kernel("projected", projected, size=len(K)) - K
    values, vectors = np.linalg.eigh(K)
    root = vectors / np.sqrt(np.clip(values, 0.0, None) + mu) @ vectors.T
    return float(np.abs(np.linalg.eigvalsh(root @ difference @ root)).max())


def sandwich_scale(effective_dimension: float, k: int) -> float:
    """The Gaussian scale of `sandwich_error`, heuristic: 2 sqrt(d/k) + d/k with d = d_eff(mu).

    >>> sandwich_scale(4.0, 16)
    1.25
    """
    ratio = _check.positive("effective_dimension", effective_dimension) / _check.integer("k", k, 1)
    return 2 * sqrt(ratio) + ratio


def projected_tail_bound(kernel: Any, epsilon: float, embedding: float) -> float:
    """The true tail behind a measured rank r = r_eps(K~), given an embedding: epsilon (1 + e)/(1 - e) tr K (B.6).

    It bounds sum_{i > r} lambda_i(K) where every eigenvalue is kept within 1 +- e.
    Parameters: kernel (n, n), epsilon in [0, 1], embedding e in [0, 1). Returns: a number. Raises: ValueError.

    >>> projected_tail_bound([[2.0]], 0.25, 0.5)
    1.5
    """
    K, eps = _check.kernel("kernel", kernel), _check.fraction("epsilon", epsilon)
    return float(eps * _stretch(embedding) * np.trace(K))


def projected_ratio_bound(projected: Any, epsilon: float, embedding: float) -> float:
    """The corrected combined bound from the projected spectrum: (sum_{i>r} lambda_i^2) / (sum_i lambda_i^2) is at most this.

    epsilon (lambda~_{r+1} / mean lambda~) ((1 + e)/(1 - e))^2 with r = r_eps(K~) (B.6).
    Parameters: projected (n, n) not zero, epsilon in [0, 1], embedding e in [0, 1). Returns: a number. Raises:
    ValueError.

    >>> projected_ratio_bound([[3.0, 0.0], [0.0, 1.0]], 0.25, 0.0)
    0.125
    """
    values, eps = spectrum(_check.kernel("projected", projected)), _check.fraction("epsilon", epsilon)
    r = truncation_rank_of_spectrum(values, eps)
    following = values[r] if r < values.size else 0.0
    mean = _check.positive("mean eigenvalue of the projected kernel", values.mean())
    return float(eps * following / mean * _stretch(embedding) ** 2)


# Ranks without the whole kernel (9.1).


def captured_by_directions(features: Any, directions: Any) -> Array:
    """The energy in each of r orthonormal directions, one vector-Jacobian product each: |Phi^T z_j|^2 (9.1).

    Their sum tr(Z^T K Z) never exceeds the r largest eigenvalues.
    Parameters: features (n, P), directions (n, r) orthonormal. Returns: (r,). Raises: ValueError.

    >>> captured_by_directions([[3.0, 4.0], [0.0, 1.0]], [[1.0], [0.0]]).tolist()
    [25.0]
    """
    Phi = _check.matrix("features", features)
    return np.asarray(np.sum((Phi.T @ _check.basis("directions", directions, rows=len(Phi))) ** 2, axis=0))


def rank_upper_bound(features: Any, directions: Any, epsilon: float) -> int:
    """A rigorous upper bound on r_eps(K): the first r directions that hold a share 1 - epsilon of tr K, or n (9.1).

    tr K = sum_i |phi_i|^2 needs the n norms of the gradients besides the r products.
    Parameters: features (n, P), directions (n, r) orthonormal, in order, epsilon in [0, 1]. Returns: r. Raises:
    ValueError.

    >>> rank_upper_bound([[3.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], 0.2)
    2
    """
    Phi = _check.matrix("features", features)
    held = np.cumsum(captured_by_directions(Phi, directions))
    return _first_holding(held, float(np.sum(Phi**2)), epsilon, len(Phi))


def naive_rank(projected: Any, epsilon: float) -> int:
    """The truncation rank measured on the projected kernel: biased low in captured energy (B.6, 9.1).

    >>> naive_rank([[9.0, 0.0], [0.0, 1.0]], 0.1)
    1
    """
    return truncation_rank(_check.kernel("projected", projected), epsilon)


def cross_validated_rank(first: Any, second: Any, epsilon: float) -> int:
    """The rank whose directions come from one half and whose energy from the other (9.1): biased high, no bracket.

    min {r : tr(Z_r^T K~_2 Z_r) >= (1 - epsilon) tr K~_2}, Z the eigenvectors of K~_1.
    Parameters: first, second (n, n) from independent halves, epsilon in [0, 1]. Returns: r. Raises: ValueError.

    >>> cross_validated_rank([[9.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 9.0]], 0.1)
    2
    """
    K1 = _check.kernel("first", first)
    K2 = _check.kernel("second", second, size=len(K1))
    Z = np.linalg.eigh(K1)[1][:, ::-1]
    return _first_holding(np.cumsum(np.sum(Z * (K2 @ Z), axis=0)), float(np.trace(K2)), epsilon, len(K1))


# The error of a projection from one run (9.1; section 12, item 10).


def split_half_error(first: Any, second: Any) -> float:
    """The split-half estimate |K~_1 - K~_2|_F^2 / 4 of E |K~ - K|_F^2, K~ the mean of the halves (9.1).

    Unbiased for independent halves; see `split_half_bias` for halves of one draw.

    >>> split_half_error([[3.0]], [[1.0]])
    1.0
    """
    K1 = _check.kernel("first", first)
    return float(np.sum((K1 - _check.kernel("second", second, size=len(K1))) ** 2)) / 4


def split_half_squared_norm(first: Any, second: Any) -> float:
    """The split-half estimate tr(K~_1 K~_2) of |K|_F^2, unbiased for independent halves (9.1).

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
    """What E |K~|_F^2 exceeds |K|_F^2 by: E |K~ - K|_F^2, because every map is unbiased (9.1).

    Gaussian ((tr K)^2 + |K|_F^2) / k; the V0 - 2D maps have 2 |diag(Phi^T Phi)|^2 / k less.

    >>> naive_norm_bias("gaussian", [[1.0, 0.0], [0.0, 1.0]], 2)
    3.0
    """
    return kernel_error_expectation(kind, features, k)


# The trace.


def trace_failure_bound(k: int, epsilon: float) -> float:
    """The bound on Pr(|tr K~ / tr K - 1| > epsilon) for a Gaussian map, the same for every K (9.1).

    exp(-k (epsilon - ln(1 + epsilon)) / 2) + exp(k (epsilon + ln(1 - epsilon)) / 2); also for Gaussian Hutchinson.
    Parameters: k >= 1, 0 < epsilon < 1. Returns: a number. Raises: ValueError.

    >>> round(trace_failure_bound(100, 0.5), 6)
    0.008919
    """
    k, eps = _check.integer("k", k, 1), _check.positive("epsilon", _check.below_one("epsilon", epsilon))
    return exp(-k / 2 * (eps - log1p(eps))) + exp(k / 2 * (eps + log1p(-eps)))


def hutchinson_estimate(features: Any, probes: Any) -> float:
    """Hutchinson's estimate of tr K, one vector-Jacobian product per probe: mean_z |Phi^T z|^2 (9.1).

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

    >>> hutchinson_probes_rademacher(0.5, 0.1)
    72
    """
    return ceil(6 * log(2 / _confidence(delta)) / _check.positive("epsilon", epsilon) ** 2)


def hutchinson_probes_gaussian(epsilon: float, delta: float) -> int:
    """Gaussian probes that suffice for relative error epsilon with confidence 1 - delta: 8 ln(2/delta) / epsilon^2.

    >>> hutchinson_probes_gaussian(0.5, 0.1)
    96
    """
    return ceil(8 * log(2 / _confidence(delta)) / _check.positive("epsilon", epsilon) ** 2)


# Helpers.


def _confidence(delta: float) -> float:
    return _check.positive("delta", _check.below_one("delta", delta))


def _spread(rank: int, delta: float) -> float:
    return sqrt(_check.integer("rank", rank, 1)) + sqrt(2 * log(2 / _confidence(delta)))


def _stretch(embedding: float) -> float:
    e = _check.nonnegative("embedding", _check.below_one("embedding", embedding))
    return (1 + e) / (1 - e)


def _first_holding(held: Array, whole: float, epsilon: float, otherwise: int) -> int:
    """The first number of directions, from 0, that hold a share 1 - epsilon of the whole, compared as Def 3.1 compares."""
    wanted = (1 - _check.fraction("epsilon", epsilon)) * whole * (1 - COMPARISON)
    enough = np.flatnonzero(np.concatenate([[0.0], held]) >= wanted)
    return int(enough[0]) if enough.size else otherwise
