"""Algorithm 1 (4.3, 4.4) for all classes: clusters, local and gap eigenvectors, synthesis, and the choice for a budget."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from threadpoolctl import threadpool_limits

from dntk_fast import _check
from dntk_fast._arrays import (
    Array,
    apply,
    diagonal,
    double,
    eigh,
    from_numpy,
    gram,
    integers,
    namespace,
    restore,
    symmetrised,
    to_numpy,
    transpose,
)
from dntk_fast.kernels.locality import Eigenspaces, eigenspaces, gap_mask
from dntk_fast.kernels.nystrom import nystrom_factor
from dntk_fast.kernels.redundancy import truncation_rank_of_spectrum
from dntk_fast.tangent.isolation import Quiet

__all__ = [
    "BudgetChoice",
    "LocalGlobalGrid",
    "Setting",
    "SyntheticGradients",
    "local_global_budget",
    "local_global_grid",
    "local_global_synthesis",
    "spectral_clusters",
]

_QUIET = Quiet("Graph is not fully connected", UserWarning)

# docs/measures.md: Algorithm 1 has no budget, so a budget tries these settings.
CLUSTERS = (1, 2, 3, 5, 8)
TAU_V = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
TAU_G = (0.5, 0.7, 0.9)
# A gap direction whose part outside the vectors already kept is below this share of the longest such part is dependent.
DEPENDENT = 1e-6


@dataclass(frozen=True, eq=False)
class SyntheticGradients:
    """Synthetic gradients of one class.

    synthesis (n, m), features (m, k), targets (m,), the cluster labels (n,), and the places of the gap directions in the
    descending global spectrum.
    """

    synthesis: Array
    features: Array
    targets: Array
    labels: Array
    gap: Array


@dataclass(frozen=True)
class Setting:
    """Number of clusters and the two thresholds of one run of Algorithm 1."""

    clusters: int
    tau_v: float
    tau_g: float

    def __str__(self) -> str:
        return f"H={self.clusters}, tau_v={self.tau_v:g}, tau_g={self.tau_g:g}"


@dataclass(frozen=True, eq=False)
class BudgetChoice:
    """What the budget rule took for each class: the setting (None where none fits) and the synthesis (n, m_c)."""

    settings: tuple[Setting | None, ...]
    syntheses: tuple[Array, ...]


def spectral_clusters(kernel: Array, clusters: int, *, seed: int, affinity: str = "positive") -> Array:
    """Stage 1: spectral clustering of the rows, scikit-learn's; labels are numbered by first appearance.

    The affinity is max(0, K) ("positive"), |K| ("absolute") or (1 + K_ij / sqrt(K_ii K_jj)) / 2 ("cosine").
    Parameters: kernel (n, n), or (C, n, n) of which the mean is taken, 1 <= clusters <= n, seed. Returns: labels (n,),
    integers; fewer labels where scikit-learn finds fewer clusters. Raises: ValueError, TypeError.

    >>> spectral_clusters(np.asarray([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]), 2, seed=0).tolist()
    [0, 1, 0]
    """
    K = double(_check.symmetric("kernel", kernel))
    n, seed = K.shape[-1], _check.seed(seed)
    H = _check.integer("clusters", clusters, 1, n)
    A = _affinity(to_numpy(symmetrised(K)).reshape(-1, n, n).mean(axis=0), affinity)
    if H in (1, n):
        return integers(n, kernel) * int(n == H)
    from sklearn.cluster import SpectralClustering  # here, for the estimator does without

    estimator = SpectralClustering(H, affinity="precomputed", random_state=seed % 2**32)
    # Blocks without any affinity between them are the clearest clusters there are.
    with _QUIET.held(), threadpool_limits(1):  # as in _rows: small products lose by threads on a busy machine
        found = estimator.fit_predict(A)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return from_numpy(np.argsort(np.argsort(first))[inverse].astype(np.int64), kernel)


def _affinity(K: np.ndarray, affinity: str) -> np.ndarray:
    norms = np.sqrt(np.diag(K))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    rules = {
        "positive": lambda: np.maximum(K, 0.0),
        "absolute": lambda: np.abs(K),
        "cosine": lambda: (1.0 + scale[:, None] * K * scale[None, :]) / 2,
    }
    return np.asarray(rules[_check.choice("affinity", affinity, tuple(rules))]())


def local_global_synthesis(
    features: Array, targets: Array, *, labels: Array, tau_v: float, tau_g: float
) -> tuple[SyntheticGradients, ...]:
    """Algorithm 1, stages 2 to 6, for every class with clusters already made.

    G = {j <= r_g : max_h c_jh < tau_g}; U_a = orthonormal basis of the local eigenvectors followed by the u_j, j in G;
    synthetic gradients U_a^T Phi_c with soft targets U_a^T y_c.
    Parameters: features (C, n, k), targets (C, n), labels (n,), tau_v in (0, 1], tau_g in [0, 1].
    Returns: one SyntheticGradients per class. Raises: ValueError, also for a class with K_c = 0, and TypeError.

    >>> made = local_global_synthesis(np.asarray([[[2.0], [0.0]]]), np.asarray([[3.0, 1.0]]), labels=np.asarray([0, 0]),
    ...                               tau_v=0.9, tau_g=0.5)
    >>> abs(made[0].features).tolist(), abs(made[0].targets).tolist()
    ([[2.0]], [3.0])
    """
    Phi, xp = double(_check.rows("features", features, ndim=3)), namespace(features)
    y = double(_check.array_like("targets", targets, features, tuple(Phi.shape[:-1])))
    _check.positive("tau_v", _check.fraction("tau_v", tau_v))
    _check.fraction("tau_g", tau_g)
    kernel = gram(Phi)
    if not bool(xp.all(xp.any(diagonal(kernel) > 0, axis=-1))):
        _check.refuse("features", "a gradient that is not zero in every class", "K = 0 in one")
    stages = _stages(eigenspaces(kernel, labels), tau_v)
    made = []
    for c in range(Phi.shape[0]):
        local, gap = stages.chosen(c, tau_g)
        U = from_numpy(_synthesis(stages.spaces, c, local, gap), Phi)
        rows, soft = transpose(U) @ Phi[c, ...], apply(transpose(U), y[c, ...])
        places = from_numpy(gap.astype(np.int64), Phi)
        U, rows, soft = (restore(x, features) for x in (U, rows, soft))
        made.append(SyntheticGradients(U, rows, soft, labels, places))
    return tuple(made)


@dataclass(frozen=True, eq=False)
class _Stages:
    """Stages 2 and 3 of all classes at one tau_v, on the host."""

    spaces: Eigenspaces
    kept: np.ndarray
    coverage: np.ndarray
    global_rank: np.ndarray

    def chosen(self, c: int, tau_g: float) -> tuple[np.ndarray, np.ndarray]:
        """The columns of the local vectors that class c keeps, and its gap directions."""
        leading = self.coverage[c, : self.global_rank[c]]
        return np.flatnonzero(self.kept[c]), np.flatnonzero(gap_mask(leading, tau_g))


def _stages(spaces: Eigenspaces, tau_v: float) -> _Stages:
    kept = spaces.kept(spaces.local_ranks(1.0 - tau_v))
    coverage, _ = spaces.coverage(kept)
    ranks = truncation_rank_of_spectrum(spaces.values, 1.0 - tau_v)
    return _Stages(spaces, to_numpy(kept), to_numpy(coverage), to_numpy(ranks))


def _synthesis(spaces: Eigenspaces, c: int, local: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Stage 6: local vectors, then an orthonormal basis of what the gap directions add to them, (n, m_c)."""
    U_loc = to_numpy(spaces.local_vectors[c, ...])[:, local]
    if gap.size == 0:
        return U_loc
    added = to_numpy(spaces.vectors[c, ...])[:, gap]
    for _ in range(2):  # twice is enough: the first pass leaves rounding along the local vectors
        added = added - U_loc @ (U_loc.T @ added)
    left, values, _ = np.linalg.svd(added, full_matrices=False)
    return np.hstack([U_loc, left[:, values > DEPENDENT * values[0]]])


@dataclass(frozen=True, eq=False)
class LocalGlobalGrid:
    """All settings of the budget rule on one kernel: decompositions once per number of clusters, reused for budgets."""

    kernel: Array
    runs: tuple[tuple[int, float, _Stages], ...]

    def best(self, m: int) -> BudgetChoice:
        """Per class the setting with the largest m_c <= m, then the highest captured energy (docs/measures.md)."""
        m = _check.integer("m", m, 1, self.kernel.shape[-1])
        chosen = [self._best_of_class(c, m) for c in range(self.kernel.shape[0])]
        return BudgetChoice(tuple(s for s, _ in chosen), tuple(from_numpy(U, self.kernel) for _, U in chosen))

    def _best_of_class(self, c: int, m: int) -> tuple[Setting | None, np.ndarray]:
        K = to_numpy(self.kernel[c, ...])
        best: tuple[int, float] = (0, 0.0)
        setting, synthesis = None, np.zeros((K.shape[-1], 0))
        seen = set()
        for (H, tau_v, stages), tau_g in product(self.runs, TAU_G):
            local, gap = stages.chosen(c, tau_g)
            key = (H, local.tobytes(), gap.tobytes())
            # m_c is at least each of the two numbers and at most their sum.
            if m < H or max(local.size, gap.size) > m or local.size + gap.size < best[0] or key in seen:
                continue
            seen.add(key)
            U = _synthesis(stages.spaces, c, local, gap)
            if U.shape[1] <= m:
                found = (U.shape[1], float(np.sum(nystrom_factor(K, U) ** 2)))
                if found > best:
                    best, setting, synthesis = found, Setting(H, tau_v, tau_g), U
        return setting, synthesis


def local_global_grid(kernel: Array, *, seed: int, pair: tuple[Array, Array] | None = None) -> LocalGlobalGrid:
    """Stages 1 to 3 of Algorithm 1 for every setting of docs/measures.md, with one eigendecomposition per set of blocks.

    Parameters: kernel (C, n, n), seed of the clustering, pair: its eigenvalues and eigenvectors where they are known.
    Returns: LocalGlobalGrid, whose `best(m)` answers for a budget. Raises: ValueError, TypeError.

    >>> grid = local_global_grid(np.diag([4.0, 1.0])[None], seed=0)
    >>> grid.best(1).settings[0].clusters, abs(grid.best(1).syntheses[0]).tolist()
    (1, [[1.0], [0.0]])
    """
    K = double(_check.symmetric("kernel", kernel, ndim=3))
    pair = eigh(kernel) if pair is None else pair
    runs = []
    for H in [H for H in CLUSTERS if K.shape[-1] >= H]:
        spaces = eigenspaces(kernel, spectral_clusters(kernel, H, seed=seed), pair=pair)
        runs += [(H, tau_v, _stages(spaces, tau_v)) for tau_v in TAU_V]
    return LocalGlobalGrid(K, tuple(runs))


def local_global_budget(features: Array, targets: Array, m: int, *, seed: int) -> BudgetChoice:
    """Algorithm 1 under a budget of m synthetic gradients per class, by the rule of docs/measures.md.

    H in {1, 2, 3, 5, 8} up to m, tau_v and tau_g over their grids; per class the setting with the largest m_c <= m, then
    the highest captured energy. The targets play no part in the choice.
    Parameters: features (C, n, k), targets (C, n), 1 <= m <= n, seed. Returns: BudgetChoice; a class that no setting
    fits has an empty synthesis. Raises: ValueError, TypeError.

    >>> local_global_budget(np.asarray([[[2.0], [0.0]]]), np.asarray([[3.0, 1.0]]), 1, seed=0).syntheses[0].shape
    (2, 1)
    """
    Phi = _check.rows("features", features, ndim=3)
    _check.array_like("targets", targets, features, tuple(Phi.shape[:-1]))
    return local_global_grid(gram(Phi), seed=seed).best(m)
