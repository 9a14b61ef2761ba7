"""What a projection does to spectra (Remark 4.1, the JL part of B.6), and what one run tells about it."""

from math import ceil, log, sqrt
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref.redundancy import spectrum, truncation_rank_of_spectrum

__all__ = [
    "embedding_dimension",
    "embedding_distortion",
    "embedding_error",
    "partial_sums",
    "projected_ratio_bound",
    "projected_tail_bound",
    "relative_eigenvalue_error",
    "sandwich_error",
    "sandwich_scale",
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
    after = _check.spectrum("projected", projected, size=before.size)
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
    """A Gaussian k that embeds d dimensions with confidence 1 - delta [DavidsonSzarek2001].

    k >= ((sqrt d + sqrt(2 ln(2/delta))) / (sqrt(1 + epsilon) - 1))^2, rounded up.
    Parameters: rank d >= 1, epsilon > 0, 0 < delta < 1. Returns: k. Raises: ValueError.

    >>> embedding_dimension(40, 0.1, 0.01)
    38523
    """
    stretch = sqrt(1 + _check.positive("epsilon", epsilon)) - 1
    if stretch == 0:
        raise ValueError(f"epsilon: expected a number above 2^-52, below which 1 + epsilon is 1, got {epsilon}")
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
    values, eps = _check.spectrum("projected", projected), _check.fraction("epsilon", epsilon)
    r = truncation_rank_of_spectrum(values, eps)
    following = values[r] if r < values.size else 0.0
    mean = _check.positive("mean eigenvalue of the projected kernel", values.mean())
    return float(eps * following / mean * _stretch(embedding) ** 2)


# Helpers.


def _confidence(delta: float) -> float:
    return _check.positive("delta", _check.below_one("delta", delta))


def _spread(rank: int, delta: float) -> float:
    return sqrt(_check.integer("rank", rank, 1)) + sqrt(2 * log(2 / _confidence(delta)))


def _stretch(embedding: float) -> float:
    e = _check.nonnegative("embedding", _check.below_one("embedding", embedding))
    return (1 + e) / (1 - e)
