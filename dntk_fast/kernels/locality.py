"""Local and global eigenspaces of all classes at once (section 3.4): properties (A) and (B), coverage, completions.

Kernels are (C, n, n), or (n, n) for one class; one partition serves all classes, clusters in the order of their labels.
What differs in length between classes is padded to the longest: bases with zero columns, coverages with 0, gaps with
False. Eigenvectors are computed in float64 whatever comes in. Loops run over clusters, never over rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import device

from dntk_fast import _check
from dntk_fast._arrays import (
    Array,
    double,
    eigh,
    from_numpy,
    identity,
    integers,
    namespace,
    pack_columns,
    restore,
    symmetrised,
    to_numpy,
    transpose,
)
from dntk_fast.kernels.nystrom import nystrom_factor
from dntk_fast.kernels.redundancy import truncation_rank_of_spectrum

__all__ = [
    "Eigenspaces",
    "Locality",
    "eigenspaces",
    "gap_operator",
    "locality",
    "optimal_completion",
    "restricted_completion",
]

# Where a component of a unit eigenvector is zero, the solver leaves about 1e-16. A restriction u_j|_h shorter than
# this is taken for zero, as is a relative distance of a coverage from its threshold.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class Eigenspaces:
    """The eigenvectors of every class kernel and of its diagonal blocks, before any rank is chosen; float64.

    `values` (C, n) and `vectors` (C, n, n) of K; `local_values` (C, n) and `local_vectors` (C, n, n) of the blocks,
    cluster after cluster, descending inside each, zero-padded outside; `overlap` (C, n, n) = local_vectors^T vectors;
    `members` (H, n), the rows of each cluster, and `columns` (H, n), its own local vectors, are 0 or 1.
    """

    values: Array
    vectors: Array
    local_values: Array
    local_vectors: Array
    overlap: Array
    members: Array
    columns: Array

    def local_ranks(self, epsilon: float) -> Array:
        """The truncation rank of every diagonal block, (C, H) integers."""
        xp, ends = namespace(self.values), np.cumsum(to_numpy(self.columns).sum(axis=-1).astype(int))
        blocks = zip([0, *ends[:-1]], ends, strict=True)
        return xp.stack([truncation_rank_of_spectrum(self.local_values[..., a:b], epsilon) for a, b in blocks], axis=-1)

    def kept(self, ranks: Array) -> Array:
        """Which local vectors the ranks keep, (C, n) booleans."""
        xp = namespace(self.values)
        place = xp.cumulative_sum(self.columns, axis=-1) * self.columns  # 1, 2, ... inside the own cluster
        own_place = xp.sum(place, axis=0)
        return own_place <= xp.sum(double(ranks)[..., None] * self.columns, axis=-2)

    def coverage(self, kept: Array) -> tuple[Array, Array]:
        """Of every global eigenvector max_h c_jh and sum_h w_jh c_jh = |Pi_loc u_j|^2, (C, n) each (`lg_4`)."""
        xp = namespace(self.values)
        held = self.columns @ (double(kept)[..., None] * self.overlap**2)
        weight = self.members @ self.vectors**2
        empty = weight <= NEGLIGIBLE**2
        share = xp.where(empty, xp.zeros_like(held), held / xp.where(empty, xp.ones_like(weight), weight))
        return xp.max(share, axis=-2), xp.sum(held, axis=-2)


@dataclass(frozen=True, eq=False)
class Locality:
    """Local against global structure; r_g differs between classes and so R = max r_g, M = max sum_h r_h.

    `global_rank` (C,), `local_ranks` (C, H), `local_basis` (C, n, M); `coverage` (C, R) = max_h c_jh, `true_coverage`
    (C, R) = |Pi_loc u_j|^2, `gap` (C, R) where coverage is below the threshold; `weighted_gap`, `unweighted_gap` (C,),
    the shares of truncated variance and of directions outside the local spaces; `property_a` (C, H), the ratio of (12),
    NaN for a cluster with zero kernel, and `property_a_null` (C, H), its value min(1, r_g / n_h) for random directions.
    """

    global_rank: Array
    local_ranks: Array
    local_basis: Array
    coverage: Array
    true_coverage: Array
    gap: Array
    weighted_gap: Array
    unweighted_gap: Array
    property_a: Array
    property_a_null: Array


def eigenspaces(kernel: Array, labels: Array, *, pair: tuple[Array, Array] | None = None) -> Eigenspaces:
    """The eigendecompositions of every class kernel and of its diagonal blocks.

    Parameters: kernel (C, n, n) or (n, n), labels (n,) integers, pair: the global eigenvalues and eigenvectors where
    they are known. Returns: Eigenspaces. Raises: ValueError, TypeError.

    >>> eigenspaces(np.diag([4.0, 1.0]), np.asarray([1, 0])).local_values.tolist()
    [1.0, 4.0]
    """
    K = double(_check.symmetric("kernel", kernel))
    xp, partition = namespace(K), to_numpy(_check.partition("labels", labels, K.shape[-1]))
    values, vectors = eigh(kernel) if pair is None else pair
    groups = [np.flatnonzero(partition == label) for label in np.unique(partition)]
    local = [eigh(_block(K, from_numpy(rows, K)), rounding=float("inf")) for rows in groups]  # K itself was judged
    overlap = [
        transpose(U) @ xp.take(vectors, from_numpy(rows, K), axis=-2)
        for rows, (_, U) in zip(groups, local, strict=True)
    ]
    sorted_place = np.argsort(np.concatenate(groups))
    columns = np.repeat(np.eye(len(groups)), [len(rows) for rows in groups], axis=1)
    return Eigenspaces(
        values=values,
        vectors=vectors,
        local_values=xp.concat([v for v, _ in local], axis=-1),
        local_vectors=xp.take(_diagonal_blocks([U for _, U in local]), from_numpy(sorted_place, K), axis=-2),
        overlap=xp.concat(overlap, axis=-2),
        members=from_numpy(columns[:, sorted_place], K),
        columns=from_numpy(columns, K),
    )


def locality(
    kernel: Array, labels: Array, *, epsilon_local: float, epsilon_global: float, coverage_threshold: float
) -> Locality:
    """Properties (A) and (B), coverages and gaps of section 3.4, per class.

    c_jh = |U_h U_h^T u_j|_h|^2 / |u_j|_h|^2, G = {j <= r_g : max_h c_jh < threshold}; property (A) is (12), reading R1.
    Parameters: kernel (C, n, n) or (n, n), labels (n,) integers, the two epsilons and the threshold in [0, 1].
    Returns: Locality. Raises: ValueError, TypeError.

    >>> found = locality(np.asarray([[1.0, 1.0], [1.0, 1.0]]), np.asarray([0, 1]), epsilon_local=0.05,
    ...                  epsilon_global=0.05, coverage_threshold=0.9)
    >>> int(found.global_rank), found.local_ranks.tolist(), found.true_coverage.round(12).tolist()
    (1, [1, 1], [1.0])
    """
    spaces = eigenspaces(kernel, labels)
    xp, threshold = namespace(kernel), _check.fraction("coverage_threshold", coverage_threshold)
    _check.fraction("epsilon_global", epsilon_global), _check.fraction("epsilon_local", epsilon_local)
    global_rank, ranks = truncation_rank_of_spectrum(spaces.values, epsilon_global), spaces.local_ranks(epsilon_local)
    kept = spaces.kept(ranks)
    inside = integers(kernel.shape[-1], kernel) < global_rank[..., None]
    coverage, true = (c * double(inside) for c in spaces.coverage(kept))
    width = int(xp.max(global_rank))
    return Locality(
        global_rank=global_rank,
        local_ranks=ranks,
        local_basis=restore(pack_columns(spaces.local_vectors, kept), kernel),
        coverage=restore(coverage[..., :width], kernel),
        true_coverage=restore(true[..., :width], kernel),
        gap=(inside & gap_mask(coverage, threshold))[..., :width],
        weighted_gap=restore(_mean(spaces.values * double(inside), 1.0 - true), kernel),
        unweighted_gap=restore(_mean(double(inside), 1.0 - true), kernel),
        property_a=restore(_property_a(spaces, kept, inside), kernel),
        property_a_null=restore(_null(spaces, global_rank), kernel),
    )


def gap_mask(coverage: Array, threshold: float) -> Array:
    """Which directions count as gaps: c_j < tau_g, a tie by rounding counting as covered (Algorithm 1, stage 3)."""
    return coverage < threshold * (1.0 - NEGLIGIBLE)


def gap_operator(global_basis: Array, local_basis: Array) -> Array:
    """The gap operator G = U_g^T (I - Pi_loc) U_g: its eigenvectors above 1 - tau_g are the gap, free of any basis.

    Parameters: global_basis (C, n, r) or (n, r), local_basis (C, n, M) or (n, M), orthonormal columns, zero padding
    allowed. Returns: (C, r, r) or (r, r). Raises: ValueError, TypeError.

    >>> gap_operator(np.asarray([[0.6], [0.8]]), np.asarray([[1.0], [0.0]])).round(12).tolist()
    [[0.64]]
    """
    U, B = double(_check.rows("global_basis", global_basis)), _local(local_basis, global_basis)
    held = transpose(B) @ U
    return restore(transpose(U) @ U - transpose(held) @ held, global_basis)


def optimal_completion(kernel: Array, local_basis: Array, q: int) -> Array:
    """The top q eigenvectors of (I - Pi_loc) K (I - Pi_loc): the best complement in the metric tr W^T K W.

    Parameters: kernel (C, n, n) or (n, n), local_basis (C, n, M) or (n, M), orthonormal columns, zero padding allowed,
    0 <= q <= n - rank of the local basis. Returns: (C, n, q) or (n, q), orthogonal to it. Raises: ValueError, TypeError.

    >>> abs(optimal_completion(np.diag([4.0, 2.0, 1.0]), np.asarray([[1.0], [0.0], [0.0]]), 1)).tolist()
    [[0.0], [1.0], [0.0]]
    """
    K, B, q = _completion(kernel, local_basis, q)
    half = K - B @ (transpose(B) @ K)
    return _top(half - (half @ B) @ transpose(B), B, q, kernel)


def restricted_completion(kernel: Array, local_basis: Array, q: int) -> Array:
    """The top q eigenvectors of K - K_U, K_U = K U (U^T K U)^+ U^T K: the best completion in tr K_U (`optimal_completion`).

    Parameters: as `optimal_completion`. Returns: (C, n, q) or (n, q). Raises: ValueError, TypeError.

    >>> abs(restricted_completion(np.diag([4.0, 2.0, 1.0]), np.asarray([[1.0], [0.0], [0.0]]), 1)).tolist()
    [[0.0], [1.0], [0.0]]
    """
    K, B, q = _completion(kernel, local_basis, q)
    F = nystrom_factor(K, B)
    return _top(K - F @ transpose(F), B, q, kernel)


def _block(kernel: Array, rows: Array) -> Array:
    """The rows and columns of one cluster."""
    xp = namespace(kernel)
    return xp.take(xp.take(kernel, rows, axis=-2), rows, axis=-1)


def _diagonal_blocks(blocks: list[Array]) -> Array:
    """The block-diagonal matrix of square blocks, batched."""
    xp, parts, start = namespace(*blocks), [], 0
    n = sum(U.shape[-1] for U in blocks)
    for U in blocks:
        empty = xp.zeros((*U.shape[:-2], n, U.shape[-1]), dtype=U.dtype, device=device(U))
        end = start + U.shape[-1]
        parts.append(xp.concat([empty[..., :start, :], U, empty[..., end:, :]], axis=-2))
        start = end
    return xp.concat(parts, axis=-1)


def _property_a(spaces: Eigenspaces, kept: Array, inside: Array) -> Array:
    """The ratio of (12) in every cluster, reading R1; NaN where the cluster's kernel is zero."""
    xp = namespace(spaces.values)
    energy, leading = spaces.local_values * double(kept), spaces.vectors * double(inside)[..., None, :]
    ratios = []
    for h, member in enumerate(to_numpy(spaces.members)):
        rows = from_numpy(np.flatnonzero(member), kept)
        left, sigma, _ = xp.linalg.svd(xp.take(leading, rows, axis=-2), full_matrices=False)
        span = left * double(sigma > NEGLIGIBLE)[..., None, :]  # P_h = span span^T
        # The local vectors of other clusters are zero on these rows.
        held = xp.sum((transpose(span) @ xp.take(spaces.local_vectors, rows, axis=-2)) ** 2, axis=-2)
        whole = xp.sum(energy * spaces.columns[h, :], axis=-1)
        ratio = xp.sum(energy * held, axis=-1) / xp.where(whole > 0, whole, xp.ones_like(whole))
        ratios.append(xp.where(whole > 0, ratio, xp.full_like(ratio, float("nan"))))
    return xp.stack(ratios, axis=-1)


def _null(spaces: Eigenspaces, global_rank: Array) -> Array:
    """What (12) shows for random eigenvectors: min(1, r_g / n_h)."""
    xp = namespace(spaces.values)
    return xp.clip(double(global_rank)[..., None] / xp.sum(spaces.members, axis=-1), max=1.0)


def _local(local_basis: Array, like: Array) -> Array:
    """A basis of the local eigenspaces beside (..., n, *), in float64; zero columns are padding."""
    B = double(_check.array_like("local_basis", local_basis, like, (*like.shape[:-1], None)))
    xp = namespace(B)
    norms = xp.sum(B**2, axis=-2)
    target = xp.astype(norms > 0.5, xp.float64)[..., None] * identity(B.shape[-1], B)
    excess = float(xp.max(xp.abs(transpose(B) @ B - target))) if B.shape[-1] else 0.0
    if excess > float(xp.finfo(local_basis.dtype).eps) ** 0.5:
        _check.refuse("local_basis", "orthonormal or zero columns", f"|B^T B - I| up to {excess:.3g}")
    return B


def _completion(kernel: Array, local_basis: Array, q: int) -> tuple[Array, Array, int]:
    """What both completions take, checked, in float64."""
    K = double(_check.symmetric("kernel", kernel))
    B, xp = _local(local_basis, kernel), namespace(K)
    rank = round(float(xp.max(xp.sum(B**2, axis=(-2, -1)))))
    return K, B, _check.integer("q", q, 0, K.shape[-1] - rank)


def _top(matrix: Array, B: Array, q: int, like: Array) -> Array:
    """The top q eigenvectors of a matrix that vanishes on range(B), outside that range even where it is zero."""
    xp = namespace(matrix)
    below = 1.0 + xp.sum(matrix**2, axis=(-2, -1)) ** 0.5
    pushed = symmetrised(matrix) - below[..., None, None] * (B @ transpose(B))
    _, vectors = eigh(pushed, rounding=float("inf"))
    return restore(vectors[..., :q], like)


def _mean(weights: Array, values: Array) -> Array:
    """The weighted mean along the last axis, 0 where all weights are 0."""
    xp = namespace(weights)
    whole = xp.sum(weights, axis=-1)
    return xp.sum(weights * values, axis=-1) / xp.where(whole > 0, whole, xp.ones_like(whole))
