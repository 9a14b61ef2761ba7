"""Gradient distillation of all classes at once (4.3, 4.4): Algorithm 1, its baselines, and the solves that use them.

A synthesis matrix U (n, m) makes m synthetic gradients `U^T Phi` with targets `U^T y`; choosing rows, taking
eigenvectors and Algorithm 1 differ in U alone. Zero columns of U are padding and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from dntk_fast import _check
from dntk_fast._arrays import (
    Array,
    apply,
    double,
    eigh,
    from_numpy,
    gram,
    identity,
    namespace,
    nystrom_factor,
    orthonormal_rows,
    restore,
    solve_positive,
    symmetrised,
    to_numpy,
    transpose,
)
from dntk_fast.distillation.local_global import (
    BudgetChoice,
    LocalGlobalGrid,
    Setting,
    SyntheticGradients,
    local_global_budget,
    local_global_grid,
    local_global_synthesis,
    spectral_clusters,
)
from dntk_fast.distillation.row_samplers import (
    draw_rows,
    farthest_point_rows,
    feature_points,
    kmeans_rows,
    leverage_rows,
    medoid_rows,
    random_rows,
    selection,
)
from dntk_fast.kernels.ridge import dual_coefficients

__all__ = [
    "METHODS",
    "RANDOM_METHODS",
    "BudgetChoice",
    "Distilled",
    "LocalGlobalGrid",
    "PreparedKernel",
    "Setting",
    "SyntheticGradients",
    "captured_energy",
    "exact_gradient",
    "farthest_point_rows",
    "kernel_error",
    "kmeans_rows",
    "leverage_rows",
    "local_global_budget",
    "local_global_grid",
    "local_global_synthesis",
    "random_rows",
    "restricted_weights",
    "selection",
    "sketched_weights",
    "spectral_clusters",
    "synthesised_kernel",
    "top_eigenvectors",
]

# A direction of U counts when its squared singular value is above this share of the largest.
RTOL = 1e-12


# --- synthesis matrices -----------------------------------------------------------------------------------------------


def top_eigenvectors(kernel: Array, m: int) -> Array:
    """The m leading eigenvectors: the synthesis that no other of m columns beats (`pca_dominance`).

    Parameters: kernel (C, n, n) or (n, n), 1 <= m <= n. Returns: (C, n, m) or (n, m), orthonormal columns.
    Raises: ValueError, TypeError.

    >>> abs(top_eigenvectors(np.asarray([[1.0, 0.0], [0.0, 4.0]]), 1)).tolist()
    [[0.0], [1.0]]
    """
    _, vectors = eigh(_check.symmetric("kernel", kernel))
    return restore(vectors[..., : _check.integer("m", m, 1, kernel.shape[-1])], kernel)


def exact_gradient(features: Array, targets: Array, lam: float) -> SyntheticGradients:
    """One gradient that is exact: phi = w_* with target |w_*|^2 + lam reproduces the whole ridge regression.

    phi = U^T Phi with U = (K + lam I)^-1 y; the target is not U^T y, it belongs to the plain solve on (phi, target).
    Parameters: features (n, k), targets (n,), lam > 0. Returns: SyntheticGradients with m = 1. Raises: ValueError,
    TypeError.
    Source: `one_gradient`.

    >>> made = exact_gradient(np.asarray([[3.0]]), np.asarray([10.0]), 1.0)
    >>> made.features.round(12).tolist(), made.targets.round(12).tolist()
    ([[3.0]], [10.0])
    """
    Phi, xp = double(_check.rows("features", features, ndim=2)), namespace(features)
    y = double(_check.array_like("targets", targets, features, (Phi.shape[0],)))
    U = dual_coefficients(gram(Phi), y, lam)[:, None]
    phi = transpose(U) @ Phi
    target = xp.sum(phi**2, axis=-1) + _check.positive("lam", lam)
    none = from_numpy(np.zeros(0, dtype=np.int64), features)
    U, phi, target = (restore(x, features) for x in (U, phi, target))
    return SyntheticGradients(U, phi, target, xp.zeros_like(y, dtype=none.dtype), none)


# --- solves -----------------------------------------------------------------------------------------------------------


def sketched_weights(features: Array, targets: Array, synthesis: Array, lam: float | Array) -> Array:
    """Algorithm 1's solve, exact for every basis of range(U): argmin_w |Q^T (Phi w - y)|^2 + lam |w|^2.

    w = Phi_hat^T (Phi_hat Phi_hat^T + lam I)^-1 y_hat with Phi_hat = Q^T Phi, y_hat = Q^T y and Q = U (U^T U)^-1/2, which
    is the repair by the Gram of 4.4 and changes nothing if U^T U = I.
    Parameters: features (C, n, k) or (n, k), targets (C, n) or (n,), synthesis (C, n, m) or (n, m), lam > 0.
    Returns: (C, k) or (k,). Raises: ValueError, TypeError.

    >>> w = sketched_weights(np.eye(2), np.asarray([1.0, 0.0]), np.asarray([[1.0, 1.0], [0.0, 1.0]]), 1.0)
    >>> abs(w).round(12).tolist()
    [0.5, 0.0]
    """
    Phi, y, U, ridge = _problem(features, targets, synthesis, lam)
    Q = _orthonormal(U)
    Phi_hat = transpose(Q) @ Phi
    return restore(apply(transpose(Phi_hat), _regularised(gram(Phi_hat), apply(transpose(Q), y), ridge)), features)


def restricted_weights(features: Array, targets: Array, synthesis: Array, lam: float | Array) -> Array:
    """The best weights in the span of the synthetic gradients: argmin of |Phi w - y|^2 + lam |w|^2 over that span.

    w_R = Q^T (Q Phi^T Phi Q^T + lam I)^-1 Q Phi^T y with Q an orthonormal basis of the rows of U^T Phi.
    Parameters, Returns, Raises: as `sketched_weights`.
    Source: `restricted_solve`.

    >>> features, targets = np.asarray([[1.0], [10.0]]), np.asarray([1.0, 0.0])
    >>> restricted_weights(features, targets, np.asarray([[1.0], [0.0]]), 0.01).round(8).tolist()
    [0.00990001]
    """
    Phi, y, U, ridge = _problem(features, targets, synthesis, lam)
    Q, _ = orthonormal_rows(transpose(U) @ Phi)
    inside = Phi @ transpose(Q)
    z = _regularised(transpose(inside) @ inside, apply(transpose(inside), y), ridge)
    return restore(apply(transpose(Q), z), features)


def _problem(features: Array, targets: Array, synthesis: Array, lam: float | Array) -> tuple[Array, ...]:
    """Features, targets and synthesis that fit together, in float64, and the ridge."""
    Phi = double(_check.rows("features", features))
    y = double(_check.array_like("targets", targets, features, tuple(Phi.shape[:-1])))
    U = double(_check.array_like("synthesis", _check.rows("synthesis", synthesis), features, (*Phi.shape[:-1], None)))
    return Phi, y, U, _check.ridge("lam", lam, features, tuple(Phi.shape[:-2]))


def _regularised(matrix: Array, right: Array, ridge: Array) -> Array:
    """(A + lam I)^-1 b; where padding makes rows of A zero the answer is zero."""
    return solve_positive(matrix + ridge[..., None, None] * identity(matrix.shape[-1], matrix), right[..., None])[
        ..., 0
    ]


def _orthonormal(U: Array) -> Array:
    """U (U^T U)^-1/2 on the range of U; dependent and zero columns leave zero columns."""
    xp = namespace(U)
    values, vectors = eigh(symmetrised(transpose(U) @ U), rounding=float("inf"))
    keep = values > RTOL * values[..., :1]
    root = xp.where(keep, 1.0 / xp.sqrt(xp.where(keep, values, xp.ones_like(values))), xp.zeros_like(values))
    return U @ (vectors * root[..., None, :])


# --- measures (docs/measures.md, "Kernels") --------------------------------------------------------------------------------


def synthesised_kernel(kernel: Array, synthesis: Array) -> Array:
    """The kernel seen through a synthesis: K_U = K U (U^T K U)^+ U^T K, with 0 <= K_U <= K.

    Parameters: kernel (C, n, n) or (n, n), synthesis (C, n, m) or (n, m). Returns: like kernel. Raises: ValueError,
    TypeError.

    >>> synthesised_kernel(np.asarray([[4.0, 2.0], [2.0, 2.0]]), np.asarray([[1.0], [0.0]])).tolist()
    [[4.0, 2.0], [2.0, 1.0]]
    """
    F = _factor(kernel, synthesis)
    return restore(F @ transpose(F), kernel)


def captured_energy(kernel: Array, synthesis: Array) -> Array:
    """The share of energy a synthesis captures: tr K_U / tr K, without forming K_U.

    Parameters: kernel (C, n, n) or (n, n) with tr K > 0, synthesis (C, n, m) or (n, m). Returns: (C,) or 0-d.
    Raises: ValueError, TypeError.

    >>> float(captured_energy(np.asarray([[4.0, 0.0], [0.0, 1.0]]), np.asarray([[1.0], [0.0]])))
    0.8
    """
    F = _factor(kernel, synthesis)
    return restore(_energy(double(kernel), F), kernel)


def kernel_error(kernel: Array, synthesis: Array) -> Array:
    """The relative error of a synthesis: |K - K_U|_F / |K|_F.

    K_U is formed: the expanded square would lose half of the digits where the error is small.
    Parameters: kernel (C, n, n) or (n, n), not zero, synthesis (C, n, m) or (n, m). Returns: (C,) or 0-d.
    Raises: ValueError, TypeError.

    >>> float(kernel_error(np.asarray([[4.0, 0.0], [0.0, 3.0]]), np.asarray([[1.0], [0.0]])))
    0.6
    """
    F = _factor(kernel, synthesis)
    return restore(_error(double(kernel), F), kernel)


def _energy(K: Array, F: Array) -> Array:
    """The share tr F F^T / tr K."""
    xp = namespace(K)
    trace = xp.linalg.trace(K)
    if not bool(xp.all(trace > 0)):
        _check.refuse("kernel", "a trace above 0", float(xp.min(trace)))
    return xp.sum(F**2, axis=(-2, -1)) / trace


def _error(K: Array, F: Array) -> Array:
    """The relative error |K - F F^T|_F / |K|_F."""
    xp = namespace(K)
    squared = xp.sum(K**2, axis=(-2, -1))
    if not bool(xp.all(squared > 0)):
        _check.refuse("kernel", "a norm above 0", 0.0)
    return xp.sqrt(xp.sum((K - F @ transpose(F)) ** 2, axis=(-2, -1)) / squared)


def _factor(kernel: Array, synthesis: Array) -> Array:
    K = _check.symmetric("kernel", kernel)
    return nystrom_factor(K, _check.array_like("synthesis", synthesis, K, (*K.shape[:-1], None)))


# --- all methods on one axis ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PreparedKernel:
    """A class kernel (C, n, n) in float64 with the decompositions that several methods, budgets and seeds share."""

    kernel: Array

    @cached_property
    def pair(self) -> tuple[Array, Array]:
        """Eigenvalues (C, n) and eigenvectors (C, n, n)."""
        return eigh(self.kernel)

    @cached_property
    def points(self) -> Array:
        """Rows with the distances of feature space, (C, n, n)."""
        return feature_points(self.kernel)

    @cached_property
    def _grids(self) -> dict[int, LocalGlobalGrid]:
        return {}

    def local_global(self, seed: int) -> LocalGlobalGrid:
        """Stages 1 to 3 of Algorithm 1 in all settings: one grid for each seed of the clustering, whatever the budget."""
        if seed not in self._grids:
            self._grids[seed] = local_global_grid(self.kernel, seed=seed, pair=self.pair)
        return self._grids[seed]

    def leverage(self, lam: float | Array) -> Array:
        """The ridge leverage scores, (C, n)."""
        values, U = self.pair
        ridge = _check.ridge("lam", lam, values, tuple(values.shape[:-1]))
        return apply(U**2, values / (values + ridge[..., None]))


@dataclass(frozen=True, eq=False)
class Distilled:
    """One method's synthetic gradients for all classes, what they predict, and how well they hold the kernels.

    synthesis (C, n, M), zero-padded where classes differ in m_c; counts (C,) = m_c; weights (C, k) of the predictor
    f_c(x) = phi_c(x)^T w_c; kernel_errors and captured_energies (C,); settings per class where a method has them.
    """

    synthesis: Array
    counts: tuple[int, ...]
    weights: Array
    kernel_errors: Array
    captured_energies: Array
    settings: tuple[Setting | None, ...] = ()

    @property
    def realised_m(self) -> float:
        """Mean of m_c over classes."""
        return float(np.mean(self.counts))

    @property
    def kernel_error(self) -> float:
        """Mean of |K - K_U|_F / |K|_F over classes."""
        return float(namespace(self.kernel_errors).mean(self.kernel_errors))

    @property
    def captured_energy(self) -> float:
        """Mean of tr K_U / tr K over classes."""
        return float(namespace(self.captured_energies).mean(self.captured_energies))

    @property
    def setting(self) -> str:
        """The most frequent setting and in how many classes it was taken; empty for methods without settings."""
        if not self.settings:
            return ""
        names = [str(s) if s else "none fits" for s in self.settings]
        common = max(sorted(set(names)), key=names.count)
        return f"{common} ({names.count(common)} of {len(names)} classes)"


Method = Callable[..., Distilled]
_Choice = tuple[Array, tuple[int, ...], tuple[Setting | None, ...]]
_Choose = Callable[[PreparedKernel, Array, int, float, int], _Choice]


def _rows_of(draw: Callable[[PreparedKernel, int, float, int], Array]) -> _Choose:
    """A method that keeps rows of the data."""

    def choose(prepared: PreparedKernel, y: Array, m: int, lam: float, seed: int) -> _Choice:
        rows = draw(prepared, m, lam, seed)
        return selection(prepared.kernel.shape[-1], rows), (m,) * prepared.kernel.shape[0], ()

    return choose


def _random(prepared: PreparedKernel, m: int, lam: float, seed: int) -> Array:
    rows = from_numpy(random_rows(prepared.kernel.shape[-1], m, seed=seed), prepared.kernel)
    return namespace(rows).broadcast_to(rows, (prepared.kernel.shape[0], m))  # the same images for every logit


def _eigenvectors(prepared: PreparedKernel, y: Array, m: int, lam: float, seed: int) -> _Choice:
    return prepared.pair[1][..., :m], (m,) * y.shape[0], ()


def _exact(prepared: PreparedKernel, y: Array, m: int, lam: float, seed: int) -> _Choice:
    # U = (K + lam I)^-1 y spans w_* = U^T Phi; with the Gram in place of the ridge's identity the solve returns w_*.
    return dual_coefficients(prepared.kernel, y, lam)[..., None], (1,) * y.shape[0], ()


def _target_aware(prepared: PreparedKernel, y: Array, m: int, lam: float, seed: int) -> _Choice:
    # All but one of the leading eigenvectors, and what alpha adds to them: (K + lam I) alpha = y holds within the span, so
    # the solve returns w_* itself.
    alpha = dual_coefficients(prepared.kernel, y, lam)
    leading, xp = prepared.pair[1][..., : m - 1], namespace(alpha)
    for _ in range(2 if m > 1 else 0):  # twice: the first pass leaves rounding along the eigenvectors
        alpha = alpha - apply(leading, apply(transpose(leading), alpha))
    length = xp.sqrt(xp.sum(alpha**2, axis=-1, keepdims=True))
    unit = alpha / xp.where(length > 0, length, xp.ones_like(length))
    return xp.concat([leading, unit[..., None]], axis=-1), (m,) * y.shape[0], ()


def _local_global(prepared: PreparedKernel, y: Array, m: int, lam: float, seed: int) -> _Choice:
    found = prepared.local_global(seed).best(m)
    counts = tuple(U.shape[-1] for U in found.syntheses)
    padded = np.zeros((len(counts), prepared.kernel.shape[-1], max(1, *counts)))
    for c, U in enumerate(found.syntheses):
        padded[c, :, : counts[c]] = to_numpy(U)
    return from_numpy(padded, prepared.kernel), counts, found.settings


def _method(choose: _Choose, *, restricted: bool = False) -> Method:
    """From a choice of U to weights and measures."""

    def method(
        features: Array, kernel: Array | PreparedKernel, targets: Array, m: int, lam: float, seed: int
    ) -> Distilled:
        Phi = double(_check.rows("features", features, ndim=3))
        y = double(_check.array_like("targets", targets, features, tuple(Phi.shape[:-1])))
        prepared = _prepared(kernel, features)
        m = _check.integer("m", m, 1, Phi.shape[-2])
        U, counts, settings = choose(prepared, y, m, lam, _check.seed(seed))
        if restricted:
            w = restricted_weights(Phi, y, U, lam)
        else:
            Q, ridge = _orthonormal(U), _check.ridge("lam", lam, y, tuple(y.shape[:-1]))
            inner = transpose(Q) @ (prepared.kernel @ Q)
            w = apply(transpose(Phi), apply(Q, _regularised(inner, apply(transpose(Q), y), ridge)))
        F = nystrom_factor(prepared.kernel, U)
        results = (U, w, _error(prepared.kernel, F), _energy(prepared.kernel, F))
        synthesis, w, errors, energies = (restore(x, features) for x in results)
        return Distilled(synthesis, counts, w, errors, energies, settings)

    return method


def _prepared(kernel: Array | PreparedKernel, features: Array) -> PreparedKernel:
    """The kernel that belongs to the features, in float64."""
    C, n = features.shape[:2]
    if isinstance(kernel, PreparedKernel):
        if tuple(kernel.kernel.shape) != (C, n, n):
            _check.refuse("kernel", f"shape ({C}, {n}, {n})", f"shape {tuple(kernel.kernel.shape)}")
        return kernel
    K = _check.array_like("kernel", _check.symmetric("kernel", kernel), features, (C, n, n))
    # Rounding of a float32 kernel is as large as the smaller ridges of the grid: it is formed again.
    return PreparedKernel(K if K.dtype == namespace(K).float64 else gram(features))


#: name -> callable(features (C, n, k), kernel (C, n, n) or PreparedKernel, targets (C, n), m, lam, seed) -> Distilled
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "random": _method(_rows_of(_random)),
        "leverage": _method(_rows_of(lambda p, m, lam, seed: draw_rows(p.leverage(lam), m, seed=seed))),
        "k-means": _method(_rows_of(lambda p, m, lam, seed: medoid_rows(p.points, m, seed=seed))),
        "farthest point": _method(_rows_of(lambda p, m, lam, seed: farthest_point_rows(p.kernel, m))),
        "local-global": _method(_local_global),
        "restricted local-global": _method(_local_global, restricted=True),
        "top eigenvectors": _method(_eigenvectors),
        "exact one gradient": _method(_exact),
        "target-aware": _method(_target_aware),
    }
)
#: those whose outcome is a draw: reported as mean and standard deviation over seeds
RANDOM_METHODS = frozenset({"random", "leverage", "k-means"})
