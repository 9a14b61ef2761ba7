"""Local and global directions of a kernel under a partition: properties (A) and (B), `lg_1` to `lg_4`, gaps (section 3.4).

The kernel is (n, n), labels are (n,) integers, clusters stand in the order of increasing label. Local eigenvectors are
padded with zeros to (n, sum r_h) and orthonormal, because supports are disjoint. A cluster whose block is zero drops
out: its rank is 0, and its ratio in property (A), which would be 0/0, is NaN. Indices count from 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref._nystrom import parts
from dntk_ref.redundancy import COMPARISON, spectrum, truncation_rank_of_spectrum

__all__ = [
    "ClusterCoverage",
    "CorollaryLG3",
    "LocalBasis",
    "Locality",
    "TheoremLG1",
    "TheoremLG2",
    "TheoremLG4",
    "cluster_coverage",
    "clusters",
    "completion_energy",
    "corollary_lg3",
    "gap_directions",
    "gap_operator",
    "gap_set",
    "global_basis",
    "local_basis",
    "locality",
    "optimal_completion",
    "property_a_null",
    "property_a_r1",
    "property_a_r2",
    "property_b",
    "restricted_completion",
    "restricted_energy",
    "theorem_lg1",
    "theorem_lg2",
    "theorem_lg4",
    "true_coverage",
    "unweighted_gap",
    "weighted_gap",
]

# Unit vectors computed by an eigensolver carry components of about 1e-16 where the true one is zero. A restriction
# shorter than this is taken for zero: 0/0 would otherwise decide a coverage, and noise would count as a direction.
NEGLIGIBLE = 1e-12


def clusters(labels: Any) -> tuple[IntArray, ...]:
    """Row indices of each cluster, by increasing label.

    I_1, ..., I_H partition {0, ..., n-1}  (section 3.4).

    Parameters: `labels` (n,) integers. Returns: H index arrays. Raises: ValueError, TypeError.

    >>> [rows.tolist() for rows in clusters([7, 2, 7])]
    [[1], [0, 2]]
    """
    found = _check.partition("labels", labels, len(_check.vector("labels", labels)))
    return tuple(np.flatnonzero(found == label) for label in np.unique(found))


@dataclass(frozen=True)
class _Eigen:
    """Eigenvalues, descending and clipped at zero, and eigenvectors of a block."""

    values: Array
    vectors: Array


def _eigen(block: Array) -> _Eigen:
    values, vectors = np.linalg.eigh(block)
    return _Eigen(np.clip(values[::-1], 0.0, None), np.asarray(vectors[:, ::-1]))


def _psd(kernel: Any) -> Array:
    """The kernel, its sign judged once for all its blocks."""
    K = _check.kernel("kernel", kernel)
    spectrum(K)
    return K


def _blocks(K: Array, labels: Any) -> list[tuple[IntArray, _Eigen]]:
    _check.partition("labels", labels, len(K))
    return [(rows, _eigen(K[np.ix_(rows, rows)])) for rows in clusters(labels)]


def global_basis(kernel: Any, epsilon: float) -> Array:
    """Leading eigenvectors of the kernel, as many as its truncation rank.

    U_g = [u_1 .. u_{r_g}], r_g = r_eps(K)  (section 3.4).

    Parameters: `kernel` (n, n), `epsilon` in [0, 1]. Returns: (n, r_g). Raises: ValueError, TypeError.

    >>> abs(global_basis([[1.0, 0.0], [0.0, 9.0]], 0.2))
    array([[0.],
           [1.]])
    """
    eigen = _eigen(_psd(kernel))
    return eigen.vectors[:, : truncation_rank_of_spectrum(eigen.values, epsilon)]


def _global_basis(kernel: Any, epsilon_global: Any) -> Array:
    return global_basis(kernel, _check.fraction("epsilon_global", epsilon_global))


@dataclass(frozen=True)
class LocalBasis:
    """Zero-padded local eigenvectors (n, sum r_h) and the rank of each cluster (H,)."""

    basis: Array
    ranks: IntArray


def local_basis(kernel: Any, labels: Any, epsilon: float) -> LocalBasis:
    """Leading eigenvectors of each cluster's own kernel, padded with zeros.

    U_h = [u_1^(h) .. u_{r_h}^(h)], r_h = r_eps(K^(h)), Pi_loc = sum_h U_h U_h^T  (section 3.4).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon` in [0, 1]. Returns: LocalBasis. Raises: ValueError, TypeError.

    >>> local_basis([[1.0, 0.0], [0.0, 9.0]], [0, 1], 0.2).basis
    array([[1., 0.],
           [0., 1.]])
    """
    K = _psd(kernel)
    columns, ranks = [np.zeros((len(K), 0))], []
    for rows, eigen in _blocks(K, labels):
        r = truncation_rank_of_spectrum(eigen.values, epsilon)
        lifted = np.zeros((len(K), r))
        lifted[rows] = eigen.vectors[:, :r]
        columns.append(lifted)
        ranks.append(r)
    return LocalBasis(np.hstack(columns), np.array(ranks))


def _restricted_projector(block: Array) -> Array:
    """P_h: projector onto the span of the restricted global eigenvectors."""
    left, sigma, _ = np.linalg.svd(block, full_matrices=False)
    kept = left[:, sigma > NEGLIGIBLE]
    return np.asarray(kept @ kept.T)


def _ratio(part: float, whole: float) -> float:
    """Part over whole, and NaN where a cluster has no energy to ask for."""
    return part / whole if whole > 0 else float("nan")


def property_a_r1(kernel: Any, labels: Any, *, epsilon_local: float, epsilon_global: float) -> Array:
    """Share of each cluster's leading variance inside the restricted global eigenvectors, made orthonormal.

    sum_{j<=r_h} lambda_j^(h) |P_h u_j^(h)|^2 / sum_{j<=r_h} lambda_j^(h), P_h onto span{u_j|_h: j <= r_g}  (Eq 12, R1).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon_local`, `epsilon_global` in [0, 1]. Returns: (H,).
    Raises: ValueError, TypeError.

    >>> property_a_r1([[1.0, 0.0], [0.0, 0.01]], [0, 1], epsilon_local=0.05, epsilon_global=0.05)
    array([1., 0.])
    """
    epsilon_local, U_g = _check.fraction("epsilon_local", epsilon_local), _global_basis(kernel, epsilon_global)
    shares = []
    for rows, eigen in _blocks(_psd(kernel), labels):
        r = truncation_rank_of_spectrum(eigen.values, epsilon_local)
        inside = np.sum((_restricted_projector(U_g[rows]) @ eigen.vectors[:, :r]) ** 2, axis=0)
        shares.append(_ratio(float(eigen.values[:r] @ inside), float(eigen.values[:r].sum())))
    return np.array(shares)


def property_a_r2(kernel: Any, labels: Any, *, epsilon_local: float, epsilon_global: float) -> Array:
    """Share of each cluster's leading variance inside the global eigenvectors themselves: fails on CEX-30.

    sum_{j<=r_h} lambda_j^(h) |U_g^T u~_j^(h)|^2 / sum_{j<=r_h} lambda_j^(h), u~ padded with zeros  (Eq 12, R2).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon_local`, `epsilon_global` in [0, 1]. Returns: (H,).
    Raises: ValueError, TypeError.

    >>> property_a_r2([[1.0, 1.0], [1.0, 1.0]], [0, 1], epsilon_local=0.05, epsilon_global=0.05).round(12)
    array([0.5, 0.5])
    """
    epsilon_local, U_g = _check.fraction("epsilon_local", epsilon_local), _global_basis(kernel, epsilon_global)
    shares = []
    for rows, eigen in _blocks(_psd(kernel), labels):
        r = truncation_rank_of_spectrum(eigen.values, epsilon_local)
        inside = np.sum((U_g[rows].T @ eigen.vectors[:, :r]) ** 2, axis=0)
        shares.append(_ratio(float(eigen.values[:r] @ inside), float(eigen.values[:r].sum())))
    return np.array(shares)


def property_a_null(labels: Any, global_rank: int) -> Array:
    """What property (A) shows for random eigenvectors: at 1 it is empty.

    min(1, r_g / n_h)  (section 3.4).

    Parameters: `labels` (n,), `global_rank` in [0, n]. Returns: (H,). Raises: ValueError, TypeError.

    >>> property_a_null([0, 0, 0, 0, 1], 2)
    array([0.5, 1. ])
    """
    parts = clusters(labels)
    r_g = _check.integer("global_rank", global_rank, 0, sum(map(len, parts)))
    return np.array([min(1.0, r_g / len(rows)) for rows in parts])


def _bases(global_basis: Any, local_basis: Any) -> tuple[Array, Array]:
    U_g = _check.basis("global_basis", global_basis)
    return U_g, _check.basis("local_basis", local_basis, rows=len(U_g))


def true_coverage(global_basis: Any, local_basis: Any) -> Array:
    """Share of each global eigenvector inside the union of the local spaces.

    |Pi_loc u_j|^2 = sum_h sum_{i<=r_h} <u~_i^(h), u_j>^2  (property B).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m), orthonormal columns. Returns: (r_g,).
    Raises: ValueError, TypeError.

    >>> true_coverage([[0.6], [0.8]], [[1.0], [0.0]]).round(12)
    array([0.36])
    """
    U_g, B = _bases(global_basis, local_basis)
    return np.asarray(np.sum((B.T @ U_g) ** 2, axis=0))


def property_b(global_basis: Any, local_basis: Any) -> float:
    """Largest delta for which property (B) holds; it holds iff this is above zero.

    delta = max_j (1 - |Pi_loc u_j|^2), 0 without global eigenvectors  (property B).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m), orthonormal columns. Returns: float.
    Raises: ValueError, TypeError.

    >>> round(property_b([[0.6], [0.8]], [[1.0], [0.0]]), 12)
    0.64
    """
    return float(np.max(1 - true_coverage(global_basis, local_basis), initial=0.0))


@dataclass(frozen=True)
class ClusterCoverage:
    """Per global eigenvector and cluster: `share` c_jh covered, `weight` w_jh = |u_j|_h|^2; `best` is max_h c_jh."""

    share: Array
    weight: Array
    best: Array


def cluster_coverage(global_basis: Any, local_basis: Any, labels: Any) -> ClusterCoverage:
    """Coverage of each global eigenvector cluster by cluster; the paper keeps the best cluster only.

    c_jh = |U_h U_h^T u_j|_h|^2 / |u_j|_h|^2 (0 where u_j|_h = 0), c_j = max_h c_jh  (Algorithm 1, stage 3).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m) padded with zeros, `labels` (n,).
    Returns: ClusterCoverage of (r_g, H), (r_g, H), (r_g,). Raises: ValueError, TypeError.

    >>> cluster_coverage([[0.6], [0.8]], [[1.0], [0.0]], [0, 1]).share
    array([[1., 0.]])
    """
    U_g, B = _bases(global_basis, local_basis)
    _check.partition("labels", labels, len(B))
    parts = clusters(labels)
    weight = np.stack([np.sum(U_g[rows] ** 2, axis=0) for rows in parts], axis=1)
    covered = np.stack([np.sum((B[rows].T @ U_g[rows]) ** 2, axis=0) for rows in parts], axis=1)
    present = weight > NEGLIGIBLE**2
    share = np.divide(covered, weight, out=np.zeros_like(covered), where=present)
    return ClusterCoverage(share, weight, share.max(axis=1))


def gap_set(coverage: Any, threshold: float) -> IntArray:
    """Global directions that count as gaps.

    G = {j : c_j < tau_g}; with the best cluster's coverage this is the paper's set, with the true one the larger set
    G_true  (Algorithm 1, stage 3, `lg_4`).

    Parameters: `coverage` (r_g,), `threshold` in [0, 1]. Returns: indices, ascending. Raises: ValueError, TypeError.

    >>> gap_set([1.0, 0.2, 0.7], 0.5)
    array([1])
    """
    c = _check.vector("coverage", coverage) if np.size(coverage) else np.zeros(0)
    return np.flatnonzero(c < _check.fraction("threshold", threshold) * (1 - COMPARISON))


def _global_values(K: Array, U_g: Array) -> Array:
    return np.asarray(np.sum(U_g * (K @ U_g), axis=0))


def weighted_gap(kernel: Any, global_basis: Any, local_basis: Any) -> float:
    """Share of the truncated global variance outside the local spaces, weighted by eigenvalue.

    sum_{j<=r_g} lambda_j (1 - |Pi_loc u_j|^2) / sum_{j<=r_g} lambda_j <= eps_l / (1 - eps_g)  (`lg_3`).

    Parameters: `kernel` (n, n), `global_basis` (n, r_g) eigenvectors of it, `local_basis` (n, m). Returns: float.
    Raises: ValueError, TypeError.

    >>> round(weighted_gap([[3.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]]), 12)
    0.25
    """
    U_g, B = _bases(global_basis, local_basis)
    values = _global_values(_check.kernel("kernel", kernel, size=len(B)), U_g)
    whole = float(values.sum())
    return float(values @ (1 - true_coverage(U_g, B))) / whole if whole > 0 else 0.0


def unweighted_gap(global_basis: Any, local_basis: Any) -> float:
    """Mean share of a global direction outside the local spaces, every direction counting the same.

    1 - |Pi_loc U_g|_F^2 / r_g, 0 without global eigenvectors  (section 3.4).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m), orthonormal columns. Returns: float.
    Raises: ValueError, TypeError.

    >>> unweighted_gap([[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]])
    0.5
    """
    coverage = true_coverage(global_basis, local_basis)
    return float(1 - coverage.mean()) if coverage.size else 0.0


def gap_operator(global_basis: Any, local_basis: Any) -> Array:
    """Uncovered part of the global space, as an operator that no choice of basis changes.

    G_op = U_g^T (I - Pi_loc) U_g  (section 3.4, free of the basis).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m), orthonormal columns. Returns: (r_g, r_g).
    Raises: ValueError, TypeError.

    >>> gap_operator([[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]])
    array([[0., 0.],
           [0., 1.]])
    """
    U_g, B = _bases(global_basis, local_basis)
    covered = B.T @ U_g
    return np.asarray(np.eye(U_g.shape[1]) - covered.T @ covered)


def gap_directions(global_basis: Any, local_basis: Any, threshold: float) -> Array:
    """Directions of the global space that the local spaces cover by less than a threshold.

    U_g v for the eigenvectors v of G_op with eigenvalue > 1 - tau_g, largest first  (section 3.4, free of the basis).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m), `threshold` in [0, 1]. Returns: (n, q).
    Raises: ValueError, TypeError.

    >>> abs(gap_directions([[1.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]], 0.5))
    array([[0.],
           [1.]])
    """
    values, vectors = np.linalg.eigh(gap_operator(global_basis, local_basis))
    low = 1 - _check.fraction("threshold", threshold) * (1 - COMPARISON)
    return np.asarray(_check.basis("global_basis", global_basis) @ vectors[:, values > low][:, ::-1])


def _completed(K: Array, B: Array, target: Array, q: int) -> Array:
    """Top-q eigenvectors of the target within the complement of range(B)."""
    count = _check.integer("q", q, 0, len(K) - B.shape[1])
    complement = np.linalg.qr(B, mode="complete")[0][:, B.shape[1] :]
    _, vectors = np.linalg.eigh(complement.T @ target @ complement)
    return np.asarray(complement @ vectors[:, ::-1][:, :count])


def optimal_completion(kernel: Any, local_basis: Any, q: int) -> Array:
    """The q directions beside the local ones that add most trace.

    W = top-q eigenvectors of (I - Pi_loc) K (I - Pi_loc), maximising tr(W^T K W)  (section 3.4, `optimal_completion`).

    Parameters: `kernel` (n, n), `local_basis` (n, m), `q` in [0, n - m].
    Returns: (n, q), orthogonal to the local basis.
    Raises: ValueError, TypeError.

    >>> abs(optimal_completion([[3.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]], 1))
    array([[0.],
           [1.]])
    """
    K = _psd(kernel)
    return _completed(K, _check.basis("local_basis", local_basis, rows=len(K)), K, q)


def restricted_completion(kernel: Any, local_basis: Any, q: int) -> Array:
    """The q directions beside the local ones that add most to the restricted (Nystrom) kernel.

    W = top-q eigenvectors of K - K_{U_loc}, maximising tr K_{[U_loc W]}  (section 3.4, `optimal_completion`).

    Parameters: `kernel` (n, n), `local_basis` (n, m), `q` in [0, n - m].
    Returns: (n, q), orthogonal to the local basis.
    Raises: ValueError, TypeError.

    >>> abs(restricted_completion([[3.0, 0.0], [0.0, 1.0]], [[1.0], [0.0]], 1))
    array([[0.],
           [1.]])
    """
    K = _psd(kernel)
    B = _check.basis("local_basis", local_basis, rows=len(K))
    missed = parts(K, B, COMPARISON).missed
    return _completed(K, B, missed @ missed.T, q)


def completion_energy(kernel: Any, basis: Any) -> float:
    """Trace of the kernel inside orthonormal directions: the first of two metrics.

    tr(W^T K W)  (section 3.4).

    Parameters: `kernel` (n, n), `basis` (n, q), orthonormal columns. Returns: float. Raises: ValueError, TypeError.

    >>> completion_energy([[3.0, 1.0], [1.0, 1.0]], [[1.0], [0.0]])
    3.0
    """
    K = _check.kernel("kernel", kernel)
    return float(_global_values(K, _check.basis("basis", basis, rows=len(K))).sum())


def restricted_energy(kernel: Any, basis: Any) -> float:
    """Trace of the kernel that the directions reproduce: the second of two metrics.

    tr K_U, K_U = K U (U^T K U)^+ U^T K  (section 3.4, `pca_dominance`).

    Parameters: `kernel` (n, n), `basis` (n, q), orthonormal columns. Returns: float. Raises: ValueError, TypeError.

    >>> round(restricted_energy([[3.0, 1.0], [1.0, 1.0]], [[1.0], [0.0]]), 12)
    3.333333333333
    """
    K = _psd(kernel)
    return float(np.sum(parts(K, basis, COMPARISON).kept ** 2))


@dataclass(frozen=True)
class TheoremLG1:
    """Both sides of `lg_1`: uncovered <= tail <= bound, and mean_ratio >= mean_bound."""

    uncovered: float
    tail: float
    bound: float
    mean_ratio: float
    mean_bound: float


def theorem_lg1(kernel: Any, labels: Any, *, epsilon_local: float, epsilon_global: float) -> TheoremLG1:
    """Property (A) is automatic on the energy-weighted average.

    sum_h tr((I - P_h) K^(h)) <= sum_{j>r_g} lambda_j <= eps_g tr K; weighted mean of (12) >= 1 - eps_g / (1 - eps_l)
    (`lg_1`).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon_local` in [0, 1), `epsilon_global` in [0, 1].
    Returns: TheoremLG1. Raises: ValueError, TypeError.

    >>> theorem_lg1([[3.0, 0.0], [0.0, 1.0]], [0, 1], epsilon_local=0.0, epsilon_global=0.25)
    TheoremLG1(uncovered=1.0, tail=1.0, bound=1.0, mean_ratio=0.75, mean_bound=0.75)
    """
    epsilon_local = _check.below_one("epsilon_local", epsilon_local)
    K, values, U_g = _psd(kernel), spectrum(kernel), _global_basis(kernel, epsilon_global)
    uncovered, energies = 0.0, []
    for rows, eigen in _blocks(K, labels):
        uncovered += float(np.sum((np.eye(len(rows)) - _restricted_projector(U_g[rows])) * K[np.ix_(rows, rows)]))
        energies.append(eigen.values[: truncation_rank_of_spectrum(eigen.values, epsilon_local)].sum())
    ratios = property_a_r1(K, labels, epsilon_local=epsilon_local, epsilon_global=epsilon_global)
    return TheoremLG1(
        uncovered=uncovered,
        tail=float(values[U_g.shape[1] :].sum()),
        bound=epsilon_global * float(np.trace(K)),
        mean_ratio=_ratio(float(np.nansum(energies * ratios)), float(np.sum(energies))),
        mean_bound=1 - epsilon_global / (1 - epsilon_local),
    )


@dataclass(frozen=True)
class TheoremLG2:
    """Both sides of `lg_2`: uncovered = local_tails <= bound."""

    uncovered: float
    local_tails: float
    bound: float


def theorem_lg2(kernel: Any, labels: Any, *, epsilon_local: float) -> TheoremLG2:
    """The variance outside the local spaces is the sum of the local tails.

    tr((I - Pi_loc) K) = sum_h sum_{j>r_h} lambda_j^(h) <= eps_l tr K  (`lg_2`).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon_local` in [0, 1]. Returns: TheoremLG2.
    Raises: ValueError, TypeError.

    >>> theorem_lg2([[4.0, 0.0], [0.0, 1.0]], [0, 0], epsilon_local=0.2)
    TheoremLG2(uncovered=1.0, local_tails=1.0, bound=1.0)
    """
    K, epsilon_local = _psd(kernel), _check.fraction("epsilon_local", epsilon_local)
    local = local_basis(K, labels, epsilon_local)
    tails = sum(float(eigen.values[r:].sum()) for (_, eigen), r in zip(_blocks(K, labels), local.ranks, strict=True))
    outside = np.eye(len(K)) - local.basis @ local.basis.T
    return TheoremLG2(float(np.sum(outside * K)), tails, epsilon_local * float(np.trace(K)))


@dataclass(frozen=True)
class CorollaryLG3:
    """The three parts of `lg_3`, each with its bound."""

    largest: float
    largest_bound: float
    weighted: float
    weighted_bound: float
    gap_energy: float
    gap_bound: float


def corollary_lg3(
    kernel: Any, labels: Any, *, epsilon_local: float, epsilon_global: float, coverage_threshold: float
) -> CorollaryLG3:
    """How large a gap the local spaces can leave, one direction, on average, and over the set of gaps.

    lambda_j (1 - |Pi_loc u_j|^2) <= eps_l tr K; weighted gap <= eps_l / (1 - eps_g);
    sum_{j in G_true} lambda_j <= eps_l tr K / (1 - tau_g)  (`lg_3`).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon_local` in [0, 1], `epsilon_global` and `coverage_threshold` in
    [0, 1). Returns: CorollaryLG3. Raises: ValueError, TypeError.

    >>> corollary_lg3([[4.0, 0.0], [0.0, 1.0]], [0, 0], epsilon_local=0.2, epsilon_global=0.0, coverage_threshold=0.5)
    CorollaryLG3(largest=1.0, largest_bound=1.0, weighted=0.2, weighted_bound=0.2, gap_energy=1.0, gap_bound=2.0)
    """
    epsilon_global = _check.below_one("epsilon_global", epsilon_global)
    threshold = _check.below_one("coverage_threshold", coverage_threshold)
    K, U_g = _psd(kernel), global_basis(kernel, epsilon_global)
    epsilon_local = _check.fraction("epsilon_local", epsilon_local)
    B = local_basis(K, labels, epsilon_local).basis
    values, coverage, trace = _global_values(K, U_g), true_coverage(U_g, B), float(np.trace(K))
    return CorollaryLG3(
        largest=float(np.max(values * (1 - coverage), initial=0.0)),
        largest_bound=epsilon_local * trace,
        weighted=weighted_gap(K, U_g, B),
        weighted_bound=epsilon_local / (1 - epsilon_global),
        gap_energy=float(values[gap_set(coverage, threshold)].sum()),
        gap_bound=epsilon_local * trace / (1 - threshold),
    )


@dataclass(frozen=True)
class TheoremLG4:
    """Both sides of `lg_4`, one entry per global direction: true = mixture <= best."""

    true: Array
    mixture: Array
    best: Array


def theorem_lg4(global_basis: Any, local_basis: Any, labels: Any) -> TheoremLG4:
    """The paper's coverage is never below the true one, so that its rule can only miss gaps.

    |Pi_loc u_j|^2 = sum_h w_jh c_jh <= max_h c_jh  (`lg_4`).

    Parameters: `global_basis` (n, r_g), `local_basis` (n, m) padded with zeros, `labels` (n,). Returns: TheoremLG4.
    Raises: ValueError, TypeError.

    >>> theorem_lg4([[0.6], [0.8]], [[1.0], [0.0]], [0, 1]).best
    array([1.])
    """
    found = cluster_coverage(global_basis, local_basis, labels)
    mixture = np.asarray(np.sum(found.weight * found.share, axis=1))
    return TheoremLG4(true_coverage(global_basis, local_basis), mixture, found.best)


@dataclass(frozen=True)
class Locality:
    """Everything section 3.4 says about a kernel and a partition; H clusters, ranks r_h and r_g.

    `local_basis` (n, sum r_h); `coverage` (best cluster) and `true_coverage` (r_g,); `gap` indices with coverage below
    the threshold; `weighted_gap` and `unweighted_gap` shares; `property_a` and its null value (H,).
    """

    global_rank: int
    local_ranks: IntArray
    local_basis: Array
    coverage: Array
    true_coverage: Array
    gap: IntArray
    weighted_gap: float
    unweighted_gap: float
    property_a: Array
    property_a_null: Array


def locality(
    kernel: Any, labels: Any, *, epsilon_local: float, epsilon_global: float, coverage_threshold: float
) -> Locality:
    """Local and global structure of a kernel under a partition, all figures side by side.

    r_g, r_h, Pi_loc, c_j = max_h c_jh, |Pi_loc u_j|^2, G, both gaps, Eq (12) R1 and its null value  (section 3.4).

    Parameters: `kernel` (n, n), `labels` (n,), `epsilon_local`, `epsilon_global`, `coverage_threshold` in [0, 1].
    Returns: Locality. Raises: ValueError, TypeError.

    >>> K = [[4.0, 0.0], [0.0, 1.0]]
    >>> found = locality(K, [0, 0], epsilon_local=0.2, epsilon_global=0.0, coverage_threshold=0.5)
    >>> found.global_rank, found.local_ranks.tolist(), found.gap.tolist(), found.unweighted_gap
    (2, [1], [1], 0.5)
    """
    K, U_g = _psd(kernel), _global_basis(kernel, epsilon_global)
    threshold = _check.fraction("coverage_threshold", coverage_threshold)
    local = local_basis(K, labels, _check.fraction("epsilon_local", epsilon_local))
    coverage = cluster_coverage(U_g, local.basis, labels).best
    return Locality(
        global_rank=U_g.shape[1],
        local_ranks=local.ranks,
        local_basis=local.basis,
        coverage=coverage,
        true_coverage=true_coverage(U_g, local.basis),
        gap=gap_set(coverage, threshold),
        weighted_gap=weighted_gap(K, U_g, local.basis),
        unweighted_gap=unweighted_gap(U_g, local.basis),
        property_a=property_a_r1(K, labels, epsilon_local=epsilon_local, epsilon_global=epsilon_global),
        property_a_null=property_a_null(labels, U_g.shape[1]),
    )
