"""Gradient distillation (4.3, 4.4): Algorithm 1 in its six stages, the solves that use it, and its baselines.

A synthesis matrix U (n, m) makes m synthetic gradients `U^T Phi` with targets `U^T y`. Selecting rows, taking
eigenvectors
and Algorithm 1 differ in U alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref._nystrom import Parts, parts
from dntk_ref.barycenter import barycenter, nearest
from dntk_ref.locality import cluster_coverage, gap_set, global_basis, local_basis
from dntk_ref.ridge import dual_coefficients, eigenpairs, leverage, ridge_weights

__all__ = [
    "SyntheticGradients",
    "affinity_matrix",
    "best_captured_energy",
    "best_kernel_error",
    "captured_energy",
    "exact_gradient",
    "farthest_point_rows",
    "gram_schmidt",
    "independent_columns",
    "kernel_error",
    "kmeans_rows",
    "leverage_rows",
    "local_global_distillation",
    "local_global_synthesis",
    "mean_kernel",
    "normalised_weights",
    "normalised_weights_repaired",
    "random_rows",
    "restricted_coefficients",
    "restricted_weights",
    "selection",
    "sketch_residual",
    "sketched_weights",
    "sketched_weights_printed",
    "spectral_clusters",
    "synthesised_kernel",
    "synthetic_weights",
    "target_aware_synthesis",
    "top_eigenvectors",
]

# Below this share of the largest one an eigenvalue of Q^T K Q counts as zero, Q an orthonormal basis of range(U): float64
# products leave about n 1e-16.
CUTOFF = 1e-12
# Shorter than this share of its length after orthogonalisation, a vector counts as dependent (stage 6). In stage 1
# eigenvalues of the normalised affinity and rows of its eigenvectors count as zero below it, unit rows as equal.
DEPENDENT = 1e-8


@dataclass(frozen=True)
class SyntheticGradients:
    """Synthetic gradients of one class.

    synthesis (n, m), features (m, k), targets (m,), the cluster labels (n,), and the places of the gap directions in
    the descending global spectrum.
    """

    synthesis: Array
    features: Array
    targets: Array
    labels: IntArray
    gap: IntArray


# Stage 1: clusters shared by all classes.


def mean_kernel(features: Any) -> Array:
    """The class-averaged kernel of stage 1: (1/C) sum_c Phi_c Phi_c^T.

    Parameters: features (C, n, k). Returns: (n, n). Raises: ValueError unless there are three axes.

    >>> mean_kernel([[[1.0]], [[3.0]]]).tolist()
    [[5.0]]
    """
    Phi = _check.array("features", features, 3)
    return np.asarray(np.mean([Phi_c @ Phi_c.T for Phi_c in Phi], axis=0))


def affinity_matrix(kernel: Any, affinity: str = "positive") -> Array:
    """The non-negative affinity that spectral clustering needs; the paper leaves the rule open.

    "positive": max(0, K); "absolute": |K|; "cosine": (1 + K_ij / sqrt(K_ii K_jj)) / 2, the cosine of a zero row being
    0.
    Parameters: kernel (n, n), one of the three words. Returns: (n, n). Raises: ValueError for another word.

    >>> affinity_matrix([[1, -2], [-2, 4]], "absolute").tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    K = _check.kernel("kernel", kernel)
    if _check.choice("affinity", affinity, ("positive", "absolute", "cosine")) == "positive":
        return np.maximum(K, 0.0)
    if affinity == "absolute":
        return np.abs(K)
    scale = _inverse_root(np.diag(K))
    return (1.0 + scale[:, None] * K * scale[None, :]) / 2


def spectral_clusters(kernel: Any, clusters: int, *, rng: np.random.Generator, affinity: str = "positive") -> IntArray:
    """Stage 1: k-means on the unit rows of the top eigenvectors of D^-1/2 A D^-1/2, A the affinity, D its row sums.

    Eigenvectors of eigenvalue 0 count as zero. Labels are numbered by first appearance; equal rows share one, and fewer
    than `clusters` come back where the rows take fewer distinct values.
    Parameters: kernel (n, n), 1 <= clusters <= n. Returns: labels (n,). Raises: ValueError for clusters outside 1..n.
    Source: [NgJordanWeiss2001].

    >>> spectral_clusters([[1, 0, 1], [0, 1, 0], [1, 0, 1]], 2, rng=np.random.default_rng(0)).tolist()
    [0, 1, 0]
    """
    A = affinity_matrix(kernel, affinity)
    H, rng = _check.integer("clusters", clusters, 1, len(A)), _check.generator("rng", rng)
    scale = _inverse_root(A.sum(axis=1))
    values, vectors = np.linalg.eigh(scale[:, None] * A * scale[None, :])
    # An eigenvector of the null space tells equal rows apart, and any other basis of that space tells others.
    vectors = np.where(np.abs(values) > DEPENDENT, vectors, 0.0)[:, -H:]
    squared = np.sum(vectors**2, axis=1)
    rows = vectors * _inverse_root(np.where(squared > DEPENDENT**2, squared, 0.0))[:, None]
    apart = np.linalg.norm(rows[:, None] - rows[None, :], axis=2)
    rows = rows[np.argmax(apart < DEPENDENT, axis=1)]  # or rounding would settle the ties of equal rows one by one
    labels = nearest(rows, barycenter(rows, H, rng=rng).points)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def _inverse_root(values: Array) -> Array:
    """x^-1/2, and 0 where x is not above 0: an isolated row keeps weight zero."""
    return np.where(values > 0, 1 / np.sqrt(np.where(values > 0, values, 1.0)), 0.0)


# Stages 2 to 6; the global and local eigenvectors and the coverage are those of `locality`.


def top_eigenvectors(kernel: Any, m: int) -> Array:
    """The m leading eigenvectors of a kernel: the synthesis that no other of m columns beats (`pca_dominance`).

    Parameters: kernel (n, n), 1 <= m <= n. Returns: (n, m), orthonormal. Raises: ValueError for m outside 1..n.

    >>> abs(top_eigenvectors([[1, 0], [0, 4]], 1)).tolist()
    [[0.0], [1.0]]
    """
    pairs = eigenpairs(kernel)
    return pairs.vectors[:, : _check.integer("m", m, 1, pairs.values.size)]


def target_aware_synthesis(kernel: Any, targets: Any, m: int, lam: float) -> Array:
    """The m - 1 leading eigenvectors and what w_* adds: all but one dimension of the best kernel, and the exact predictor.

    range(U) contains alpha = (K + lam I)^-1 y, so Algorithm 1's own solve returns w_* = Phi^T alpha: with alpha = U c the
    equation U^T (K + lam I) U c = U^T y holds. The price is the whole solve.
    Parameters: kernel (n, n), targets (n,), 1 <= m <= n, lam > 0. Returns: (n, m) orthonormal, less where alpha depends
    on the eigenvectors. Raises: ValueError for m outside 1..n or lam <= 0.

    >>> abs(target_aware_synthesis([[4, 0], [0, 1]], [0, 2], 2, 1.0)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    alpha = dual_coefficients(kernel, targets, lam)
    leading = top_eigenvectors(kernel, m)[:, :-1]
    return gram_schmidt(np.column_stack([leading, alpha]))


def gram_schmidt(vectors: Any) -> Array:
    """Stage 6: an orthonormal basis of the columns, in their order; a column that depends on those before is dropped.

    Parameters: vectors (n, q). Returns: (n, rank). Raises: ValueError unless a matrix.

    >>> gram_schmidt([[1.0, 2.0, 0.6], [0.0, 0.0, 0.8]]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    columns = _check.matrix("vectors", vectors).T
    basis = np.zeros((0, columns.shape[1]))
    for vector in columns:
        column = vector / (np.abs(vector).max() or 1.0)  # the square of a length may leave the range of floating point
        rest = column - basis.T @ (basis @ column)
        rest = rest - basis.T @ (basis @ rest)  # twice is enough: the first pass leaves rounding along the basis
        length = np.linalg.norm(rest)
        if length > DEPENDENT * np.linalg.norm(column):
            basis = np.vstack([basis, rest / length])
    return basis.T


def independent_columns(vectors: Any) -> IntArray:
    """Stage 6: the places of the columns that do not depend on those before them.

    Parameters: vectors (n, q). Returns: (rank,), ascending. Raises: ValueError unless a matrix.

    >>> independent_columns([[1.0, 2.0, 1.0], [0.0, 0.0, 1.0]]).tolist()
    [0, 2]
    """
    V = _check.matrix("vectors", vectors)
    ranks = [gram_schmidt(V[:, : j + 1]).shape[1] for j in range(V.shape[1])]
    return np.flatnonzero(np.diff(ranks, prepend=0))


def local_global_synthesis(
    features: Any, targets: Any, *, labels: Any, tau_v: float, tau_g: float, stage_six: str = "orthonormal"
) -> tuple[SyntheticGradients, ...]:
    """Algorithm 1, stages 2 to 6, for every class with clusters already made.

    G = {j <= r_g : max_h c_jh < tau_g}; U_a from the local eigenvectors followed by the u_j, j in G; synthetic gradients
    U_a^T Phi_c with soft targets U_a^T y_c. The paper leaves open what stage 6 keeps: "orthonormal" an orthonormal basis,
    "original" the vectors themselves less the dependent ones, whose plain solve is biased (CEX-15).
    Parameters: features (C, n, k), targets (C, n), labels (n,), tau_v in (0, 1], tau_g in [0, 1], stage_six.
    Returns: one SyntheticGradients per class. Raises: ValueError for shapes or thresholds, and for a class with K_c =
    0.

    >>> made = local_global_synthesis([[[2.0], [0.0]]], [[3.0, 1.0]], labels=[0, 0], tau_v=0.9, tau_g=0.5)
    >>> abs(made[0].features).tolist(), abs(made[0].targets).tolist()
    ([[2.0]], [3.0])
    """
    Phi = _check.array("features", features, 3)
    Y = _check.matrix("targets", targets, rows=Phi.shape[0], columns=Phi.shape[1])
    parts, tau_g = _check.partition("labels", labels, Phi.shape[1]), _check.fraction("tau_g", tau_g)
    tau_v = _check.positive("tau_v", _check.fraction("tau_v", tau_v))
    orthonormal = _check.choice("stage_six", stage_six, ("orthonormal", "original")) == "orthonormal"
    made = []
    for Phi_c, y_c in zip(Phi, Y, strict=True):
        V, gap = _accumulated(Phi_c, parts, tau_v, tau_g)
        U_a = gram_schmidt(V) if orthonormal else V[:, independent_columns(V)]
        made.append(SyntheticGradients(U_a, U_a.T @ Phi_c, U_a.T @ y_c, parts, gap))
    return tuple(made)


def _accumulated(Phi: Array, labels: IntArray, tau_v: float, tau_g: float) -> tuple[Array, IntArray]:
    """Stages 2 to 5 for one class: the local eigenvectors and then the gap directions, and where the gaps are."""
    K = Phi @ Phi.T
    U_g = global_basis(K, 1 - tau_v)
    U_loc = local_basis(K, labels, 1 - tau_v).basis
    if U_loc.shape[1] == 0:
        raise ValueError("features: expected a class with a gradient that is not zero, got K = 0")
    gap = gap_set(cluster_coverage(U_g, U_loc, labels).best, tau_g)
    return np.hstack([U_loc, U_g[:, gap]]), gap


def local_global_distillation(
    features: Any,
    targets: Any,
    *,
    clusters: int,
    tau_v: float,
    tau_g: float,
    rng: np.random.Generator,
    affinity: str = "positive",
) -> tuple[SyntheticGradients, ...]:
    """Algorithm 1, all six stages: spectral clusters of the mean kernel, then the synthesis of every class.

    Parameters: features (C, n, k), targets (C, n), 1 <= clusters <= n, tau_v in (0, 1], tau_g in [0, 1].
    Returns: one SyntheticGradients per class. Raises: ValueError as the stages do.

    >>> local_global_distillation(
    ...     [[[2.0], [0.0]]], [[3.0, 1.0]], clusters=1, tau_v=1.0, tau_g=0.0, rng=np.random.default_rng(0)
    ... )[0].labels.tolist()
    [0, 0]
    """
    labels = spectral_clusters(mean_kernel(features), clusters, rng=rng, affinity=affinity)
    return local_global_synthesis(features, targets, labels=labels, tau_v=tau_v, tau_g=tau_g)


# The rivals: rows chosen from the data.


def random_rows(n: int, m: int, *, rng: np.random.Generator) -> IntArray:
    """Draw m of n rows, uniformly and without repetition, in ascending order.

    Parameters: 1 <= m <= n. Returns: (m,). Raises: ValueError for m outside 1..n, TypeError without a generator.

    >>> random_rows(3, 3, rng=np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    m, rng = _check.integer("m", m, 1, _check.integer("n", n, 1)), _check.generator("rng", rng)
    return np.sort(rng.choice(n, m, replace=False))


def leverage_rows(kernel: Any, m: int, *, lam: float, rng: np.random.Generator) -> IntArray:
    """Draw m rows in turn, without repetition, with probability proportional to the ridge leverage; ascending.

    Parameters: kernel (n, n), 1 <= m <= n, lam > 0. Returns: (m,).
    Raises: ValueError for m above the number of rows with a leverage above zero.
    Source: [AlaouiMahoney2015].

    >>> leverage_rows([[1, 0], [0, 0]], 1, lam=1.0, rng=np.random.default_rng(0)).tolist()
    [0]
    """
    scores, rng = np.clip(leverage(kernel, lam), 0.0, None), _check.generator("rng", rng)
    m = _check.integer("m", m, 1, int(np.count_nonzero(scores)))
    return np.sort(rng.choice(scores.size, m, replace=False, p=scores / scores.sum()))


def kmeans_rows(kernel: Any, m: int, *, rng: np.random.Generator) -> IntArray:
    """The rows nearest to the means of k-means in feature space, ascending; fewer than m if fewer rows are distinct.

    Feature space up to rotation: the rows of U Lambda^1/2, whose inner products are K.
    Parameters: kernel (n, n), 1 <= m <= n. Returns: (at most m,). Raises: ValueError for m outside 1..n.

    >>> kmeans_rows([[0, 0, 0], [0, 1, 0], [0, 0, 90]], 3, rng=np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    pairs = eigenpairs(kernel)
    # The root of what rounding left of a zero would be 1e-8, and tell equal rows apart.
    rounding = pairs.values.size * np.finfo(np.float64).eps * pairs.values[0]
    rows = pairs.vectors * np.sqrt(np.where(pairs.values > rounding, pairs.values, 0.0))
    centres = barycenter(rows, m, rng=rng).points
    return np.unique(nearest(centres, rows))


def farthest_point_rows(kernel: Any, m: int, *, start: int | None = None) -> IntArray:
    """Greedy farthest points in feature space, in the order they are found: argmax_i min_{s in S} |phi_i - phi_s|^2.

    Parameters: kernel (n, n), 1 <= m <= n, start: the first row, by default the one of the longest gradient.
    Returns: (m,). Raises: ValueError for m outside 1..n or a start outside 0..n-1.
    Source: [Gonzalez1985].

    >>> farthest_point_rows([[0, 0, 0], [0, 1, 0], [0, 0, 4]], 2).tolist()
    [2, 1]
    """
    K = _check.kernel("kernel", kernel)
    m = _check.integer("m", m, 1, len(K))
    first = int(np.argmax(np.diag(K))) if start is None else _check.integer("start", start, 0, len(K) - 1)
    squared = np.diag(K)[:, None] + np.diag(K)[None, :] - 2 * K
    rows = [first]
    while len(rows) < m:
        distance = squared[:, rows].min(axis=1)
        distance[rows] = -np.inf  # never twice, even where rows repeat and every distance is zero
        rows.append(int(np.argmax(distance)))
    return np.array(rows)


def selection(n: int, rows: Any) -> Array:
    """The synthesis matrix of chosen rows: U = [e_i for i in rows], so that U^T Phi = Phi[rows].

    Parameters: n, rows: distinct integers in 0..n-1. Returns: (n, m). Raises: ValueError for a row outside or repeated.

    >>> selection(3, [2, 0]).tolist()
    [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    chosen = _check.partition("rows", rows, np.size(rows))
    n = _check.integer("n", n, 1)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= n or np.unique(chosen).size != chosen.size:
        raise ValueError(f"rows: expected distinct integers in [0, {n - 1}], got {chosen.tolist()}")
    return np.eye(n)[:, chosen]


# The solves.


def exact_gradient(features: Any, targets: Any, lam: float, *, scale: float = 1.0) -> SyntheticGradients:
    """One gradient that is exact: phi = c w_*, target (c^2 |w_*|^2 + lam) / c reproduce full ridge regression.

    The target is not U^T y: it belongs to the plain solve `synthetic_weights` with the same lam.
    Parameters: features (n, k), targets (n,), lam > 0, scale c > 0. Returns: SyntheticGradients with m = 1.
    Raises: ValueError for lam <= 0 or scale <= 0.
    Source: `one_gradient`.

    >>> made = exact_gradient([[2.0]], [5.0], 1.0)
    >>> made.features.tolist(), made.targets.tolist()
    ([[2.0]], [5.0])
    """
    Phi, c = _check.matrix("features", features), _check.positive("scale", scale)
    U = c * dual_coefficients(Phi @ Phi.T, targets, lam)[:, None]
    phi = U.T @ Phi
    target = (phi @ phi.T + lam) / c
    return SyntheticGradients(U, phi, target[0], np.zeros(len(Phi), np.int64), np.zeros(0, np.int64))


def synthetic_weights(synthetic: SyntheticGradients, lam: float) -> Array:
    """The predictor of 4.4: ridge regression on the synthetic gradients and their targets, same lam.

    w = Phi_hat^T (Phi_hat Phi_hat^T + lam I)^-1 y_hat.
    Parameters: synthetic gradients, lam > 0. Returns: (k,). Raises: ValueError for lam <= 0.

    >>> synthetic_weights(exact_gradient([[2.0]], [5.0], 1.0), 1.0).tolist()
    [2.0]
    """
    return ridge_weights(synthetic.features, synthetic.targets, lam)


def sketched_weights_printed(features: Any, targets: Any, synthesis: Any, lam: float) -> Array:
    """Algorithm 1's solve with the plain ridge, biased if U^T U != I (CEX-15).

    w = Phi_hat^T (Phi_hat Phi_hat^T + lam I)^-1 y_hat.
    Parameters: features (n, k), targets (n,), synthesis (n, m), lam > 0. Returns: (k,). Raises: ValueError for shapes.

    >>> sketched_weights_printed([[1, 0], [0, 1]], [1, 0], [[1, 1], [0, 1]], 1.0).round(12).tolist()
    [0.6, 0.2]
    """
    Phi, y, U = _problem(features, targets, synthesis)
    return ridge_weights(U.T @ Phi, U.T @ y, lam)


def sketched_weights(features: Any, targets: Any, synthesis: Any, lam: float) -> Array:
    """The sketched solve with the exact repair by the Gram G = U^T U: Phi_hat^T (Phi_hat Phi_hat^T + lam G)^+ y_hat.

    Equal to Algorithm 1's solve if U^T U = I, and else to that of an orthonormal basis Q of range(U), which is computed:
    argmin_w |Q^T (Phi w - y)|^2 + lam |w|^2. G has the squared condition number of U.
    Parameters: features (n, k), targets (n,), synthesis (n, m), lam > 0. Returns: (k,). Raises: ValueError for shapes.

    >>> abs(sketched_weights([[1, 0], [0, 1]], [1, 0], [[1, 1], [0, 1]], 1.0)).round(12).tolist()
    [0.5, 0.0]
    """
    Phi, y, U = _problem(features, targets, synthesis)
    Q, lam = gram_schmidt(U), _check.positive("lam", lam)
    return ridge_weights(Q.T @ Phi, Q.T @ y, lam) if Q.size else np.zeros(Phi.shape[1])


def restricted_weights(features: Any, targets: Any, synthesis: Any, lam: float) -> Array:
    """The best weights in the span of the synthetic gradients: argmin of J(w) over w in range(Phi_hat^T).

    w_R = Q (Q^T Phi^T Phi Q + lam I)^-1 Q^T Phi^T y with Q an orthonormal basis of that range.
    Parameters: features (n, k), targets (n,), synthesis (n, m), lam > 0. Returns: (k,). Raises: ValueError for shapes.
    Source: `restricted_solve`.

    >>> restricted_weights([[1], [10]], [1, 0], [[1], [0]], 0.01).round(8).tolist()
    [0.00990001]
    """
    Phi, y, U = _problem(features, targets, synthesis)
    left, values, _ = np.linalg.svd(Phi.T @ gram_schmidt(U), full_matrices=False)
    Q = left[:, values**2 > CUTOFF * np.max(values, initial=0.0) ** 2]
    if Q.shape[1] == 0:
        return np.zeros(Phi.shape[1])
    return np.asarray(Q @ ridge_weights(Phi @ Q, y, lam))


def restricted_coefficients(kernel: Any, targets: Any, synthesis: Any, lam: float) -> Array:
    """The same from the kernel alone (`restricted_solve`): w_R = Phi_hat^T b, b = (U^T K^2 U + lam U^T K U)^+ U^T K y.

    U b = Z c with Z^T K Z = I, whose c = (Z^T K^2 Z + lam I)^-1 Z^T K y needs no pseudo-inverse of a squared kernel.
    Parameters: kernel (n, n), targets (n,), synthesis (n, m), lam > 0. Returns: b (m,). Raises: ValueError for shapes.

    >>> restricted_coefficients([[1, 10], [10, 100]], [1, 0], [[1], [0]], 0.01).round(8).tolist()
    [0.00990001]
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    U, y = _check.matrix("synthesis", synthesis, rows=len(K)), _check.vector("targets", targets, len(K))
    Q = gram_schmidt(U)
    values, vectors = np.linalg.eigh(Q.T @ K @ Q)
    kept = values > CUTOFF * np.max(values, initial=0.0)
    Z = Q @ vectors[:, kept] / np.sqrt(values[kept])
    c = np.linalg.solve(Z.T @ K @ K @ Z + lam * np.eye(Z.shape[1]), Z.T @ K @ y)
    return np.asarray(np.linalg.lstsq(U, Z @ c, rcond=None)[0])


def sketch_residual(features: Any, targets: Any, synthesis: Any, lam: float) -> Array:
    """The exact primal residual of the sketched solve (`alg_1_stages_4_5`), Phi^T (Phi w - y) + lam w.

    r = Phi^T (I - Q Q^T) (Phi w - y), Q an orthonormal basis of range(U).

    Parameters: features (n, k), targets (n,), synthesis (n, m) with range(Q), lam > 0. Returns: (k,). Raises:
    ValueError.

    >>> sketch_residual([[1], [10]], [1, 0], [[1], [0]], 0.01).round(2).tolist()
    [99.01]
    """
    Phi, y, U = _problem(features, targets, synthesis)
    error = Phi @ sketched_weights(Phi, y, U, lam) - y
    Q = gram_schmidt(U)
    return np.asarray(Phi.T @ (error - Q @ (Q.T @ error)))


def normalised_weights(features: Any, targets: Any, scales: Any, lam: float) -> Array:
    """Ridge regression on rescaled rows N Phi, N y with the plain ridge: no longer the same weights (CEX-13).

    Parameters: features (m, k), targets (m,), scales (m,) the diagonal of N, lam > 0. Returns: (k,). Raises:
    ValueError.

    >>> normalised_weights([[2, 0], [0, 1]], [1, 1], [0.5, 1], 1.0).tolist()
    [0.25, 0.5]
    """
    Phi = _check.matrix("features", features)
    y, N = _check.vector("targets", targets, len(Phi)), _check.vector("scales", scales, len(Phi))
    return ridge_weights(N[:, None] * Phi, N * y, lam)


def normalised_weights_repaired(features: Any, targets: Any, scales: Any, lam: float) -> Array:
    """The exact repair of CEX-13: dual ridge lam N N^T for rows N Phi and targets N y.

    Parameters: features (m, k), targets (m,), scales (m,) none of them 0, lam > 0. Returns: (k,). Raises: ValueError.

    >>> normalised_weights_repaired([[2, 0], [0, 1]], [1, 1], [0.5, 1], 1.0).tolist()
    [0.4, 0.5]
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    y, N = _check.vector("targets", targets, len(Phi)), _check.vector("scales", scales, len(Phi))
    if (N == 0).any():
        raise ValueError(f"scales: expected numbers that are not 0, got {N.tolist()}")
    scaled = N[:, None] * Phi
    return np.asarray(scaled.T @ np.linalg.solve(scaled @ scaled.T + lam * np.diag(N**2), N * y))


# Kernel-level measures (docs/measures.md, "Kernels") and `pca_dominance`.


def synthesised_kernel(kernel: Any, synthesis: Any) -> Array:
    """The kernel seen through a synthesis: K_U = K U (U^T K U)^+ U^T K.

    Parameters: kernel (n, n), synthesis (n, m). Returns: (n, n), 0 <= K_U <= K. Raises: ValueError for shapes.

    >>> synthesised_kernel([[4, 2], [2, 2]], [[1], [0]]).round(12).tolist()
    [[4.0, 2.0], [2.0, 1.0]]
    """
    missed = _parts(kernel, synthesis).missed
    return np.asarray(np.asarray(kernel, dtype=np.float64) - missed @ missed.T)


def captured_energy(kernel: Any, synthesis: Any) -> float:
    """The share of energy a synthesis captures: tr K_U / tr K.

    Parameters: kernel (n, n) with tr K > 0, synthesis (n, m). Returns: a fraction. Raises: ValueError for tr K <= 0.

    >>> captured_energy([[4, 0], [0, 1]], [[1], [0]])
    0.8
    """
    found = _parts(kernel, synthesis)
    kept, missed = float(np.sum(found.kept**2)), float(np.sum(found.missed**2))
    return kept / _check.positive("trace of the kernel", kept + missed)


def kernel_error(kernel: Any, synthesis: Any) -> float:
    """The relative error of a synthesis: |K - K_U|_F / |K|_F.

    Parameters: kernel (n, n) not zero, synthesis (n, m). Returns: a fraction. Raises: ValueError for K = 0.

    >>> round(kernel_error([[4, 0], [0, 3]], [[1], [0]]), 12)
    0.6
    """
    K = _check.kernel("kernel", kernel)
    K = K / _check.positive("norm of the kernel", np.abs(K).max())
    missed = _parts(K, synthesis).missed
    return float(np.linalg.norm(missed @ missed.T) / np.linalg.norm(K))


def best_captured_energy(kernel: Any, m: int) -> float:
    """The bound no synthesis of m columns exceeds (`pca_dominance`): sum_{j <= m} lambda_j / sum_j lambda_j.

    Parameters: kernel (n, n) with tr K > 0, 0 <= m <= n. Returns: a fraction. Raises: ValueError for m outside 0..n.

    >>> best_captured_energy([[4, 0], [0, 1]], 1)
    0.8
    """
    values = eigenpairs(kernel).values
    m = _check.integer("m", m, 0, values.size)
    return float(values[:m].sum()) / _check.positive("trace of the kernel", values.sum())


def best_kernel_error(kernel: Any, m: int) -> float:
    """The bound no synthesis of m columns undercuts (`pca_dominance`): (sum_{j > m} lambda_j^2 / sum_j lambda_j^2)^1/2.

    Parameters: kernel (n, n) not zero, 0 <= m <= n. Returns: a fraction. Raises: ValueError for m outside 0..n.

    >>> best_kernel_error([[4, 0], [0, 3]], 1)
    0.6
    """
    values = eigenpairs(kernel).values
    m = _check.integer("m", m, 0, values.size)
    values = values / _check.positive("norm of the kernel", values[0])
    return float(np.linalg.norm(values[m:]) / np.linalg.norm(values))


def _problem(features: Any, targets: Any, synthesis: Any) -> tuple[Array, Array, Array]:
    """Features (n, k), targets (n,) and synthesis (n, m) that fit together."""
    Phi = _check.matrix("features", features)
    y = _check.vector("targets", targets, len(Phi))
    return Phi, y, _check.matrix("synthesis", synthesis, rows=len(Phi))


def _parts(kernel: Any, synthesis: Any) -> Parts:
    """K_U and K - K_U from an orthonormal basis of range(U), which is all that they depend on."""
    K = _check.kernel("kernel", kernel)
    return parts(K, gram_schmidt(_check.matrix("synthesis", synthesis, rows=len(K))), CUTOFF)
