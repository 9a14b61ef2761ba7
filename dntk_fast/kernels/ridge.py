"""Kernel ridge regression of all classes at once (A.3; docs/measures.md), from one eigendecomposition where it pays.

The ridge is un-normalised, `(K + lam I) alpha = y`; `lam` is one number or one per class. Sums, factorisations and
eigenvalues are float64 inside; the caller's array kind, dtype and device come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dntk_fast import _check
from dntk_fast._arrays import (
    Array,
    apply,
    diagonal,
    double,
    eigh,
    from_numpy,
    gram,
    identity,
    integers,
    namespace,
    restore,
    solve_positive,
    to_numpy,
    transpose,
)

__all__ = [
    "RidgeChoice",
    "RidgeSpectrum",
    "choose_ridge",
    "dual_coefficients",
    "effective_dimension",
    "grid_at",
    "leave_one_out",
    "leave_one_out_path",
    "leverage",
    "leverage_of",
    "rank_r_weights",
    "regularised_solve",
    "ridge_grid",
    "ridge_path",
    "ridge_spectrum",
    "ridge_weights",
]

# docs/measures.md: lam / mean(diag K) runs from 1e-6 to 1e1, a factor 10 apart.
GRID_EXPONENTS = range(-6, 2)


@dataclass(frozen=True)
class RidgeChoice:
    """The ridge of the rule, its place in the grid, its mean loss, and the standard error of the best row."""

    lam: float
    index: int
    loss: float
    standard_error: float
    on_edge: bool


@dataclass(frozen=True, eq=False)
class RidgeSpectrum:
    """Every ridge solution of one problem, from one eigendecomposition of the cheaper of Phi Phi^T and Phi^T Phi.

    All in float64, r = min(n, k), without the axis C for one class: `features` (C, n, k) and `targets` (C, n) are
    multiplied by `root` (C, n), the square root of the row weights; `eigenvalues` (C, r) descend; `vectors` (C, n, r)
    are those of Phi Phi^T if `dual`, else (C, k, r) of Phi^T Phi; `coefficients` (C, r) are the targets in that basis.
    """

    features: Array
    targets: Array
    root: Array
    eigenvalues: Array
    vectors: Array
    coefficients: Array
    dual: bool

    @classmethod
    def of_kernel(cls, kernel: Array, targets: Array, pair: tuple[Array, Array] | None = None) -> RidgeSpectrum:
        """The spectrum of a kernel (C, n, n) with targets (C, n) in float64; ask it for `alpha`, not for weights.

        `pair` are its eigenvalues, descending and clipped at zero, and its eigenvectors, where they are known.
        """
        values, U = eigh(kernel) if pair is None else pair
        coefficients = apply(transpose(U), targets)
        return cls(kernel, targets, namespace(targets).ones_like(targets), values, U, coefficients, dual=True)

    def alpha(self, lam: float | Array) -> Array:
        """The dual coefficients (K + lam I)^-1 y, (C, n), of a spectrum that is `dual`."""
        ridge = _check.ridge("lam", lam, self.features, tuple(self.features.shape[:-2]))
        return apply(self.vectors, self.coefficients / (self.eigenvalues + ridge[..., None]))

    def weights(self, lam: float | Array) -> Array:
        """The weights w = Phi^T (K + lam I)^-1 y = (Phi^T Phi + lam I)^-1 Phi^T y, (C, k)."""
        return self._combine(self._inverse(lam))

    def truncated(self, lam: float | Array, r: int) -> Array:
        """The same on the r largest eigenvalues alone (`alg_1_stages_4_5`), (C, k)."""
        inverse = self._inverse(lam)
        inside = integers(inverse.shape[-1], inverse) < r
        return self._combine(inverse * namespace(inverse).astype(inside, inverse.dtype))

    def leave_one_out(self, lam: float | Array) -> Array:
        """The residuals y_i - f_{-i}(x_i) = alpha_i / [(K + lam I)^-1]_ii, (C, n)."""
        inverse = self._inverse(lam)
        if self.dual:
            alpha, spread = apply(self.vectors, inverse * self.coefficients), apply(self.vectors**2, inverse)
        else:  # Woodbury (17) [Woodbury1950], both multiplied by lam: the residual, and 1 - leverage
            fitted = self.features @ self.vectors
            alpha = self.targets - apply(fitted, inverse * self.coefficients)
            spread = 1.0 - apply(fitted**2, inverse)
        return alpha / spread / self.root

    def effective_dimension(self, lam: float | Array) -> Array:
        """The effective dimension sum_j lambda_j / (lambda_j + lam), (C,)."""
        return namespace(self.features).sum(self.eigenvalues * self._inverse(lam), axis=-1)

    def _inverse(self, lam: float | Array) -> Array:
        ridge = _check.ridge("lam", lam, self.features, tuple(self.features.shape[:-2]))
        return 1.0 / (self.eigenvalues + ridge[..., None])

    def _combine(self, inverse: Array) -> Array:
        combined = apply(self.vectors, inverse * self.coefficients)
        return apply(transpose(self.features), combined) if self.dual else combined


def ridge_spectrum(features: Array, targets: Array, *, row_weights: Array | None = None) -> RidgeSpectrum:
    """The eigendecomposition from which weights, leave-one-out and effective dimension follow for every lam.

    Parameters: features (C, n, k) or (n, k), targets (C, n) or (n,), row_weights like targets or (n,), above 0: the
    loss is sum_i row_weights_i (phi_i^T w - y_i)^2 + lam |w|^2. Returns: a RidgeSpectrum. Raises: ValueError, TypeError
    for shapes, kinds or entries that do not fit.

    >>> spectrum = ridge_spectrum(np.asarray([[2.0], [0.0]]), np.asarray([1.0, 5.0]))
    >>> spectrum.weights(1.0).tolist(), spectrum.leave_one_out(1.0).tolist()
    ([0.4], [1.0, 5.0])
    """
    Phi, y, root = _weighted(features, targets, row_weights)
    dual = Phi.shape[-2] <= Phi.shape[-1]
    eigenvalues, vectors = eigh(gram(Phi) if dual else gram(transpose(Phi)))
    coefficients = apply(transpose(vectors), y if dual else apply(transpose(Phi), y))
    return RidgeSpectrum(Phi, y, root, eigenvalues, vectors, coefficients, dual)


def ridge_weights(features: Array, targets: Array, lam: float | Array, *, row_weights: Array | None = None) -> Array:
    """The ridge weights w = (Phi^T Phi + lam I)^-1 Phi^T y = Phi^T (K + lam I)^-1 y, by a Cholesky of the smaller side.

    Parameters: features (C, n, k) or (n, k), targets (C, n) or (n,), lam > 0, row_weights as in `ridge_spectrum`.
    Returns: (C, k) or (k,). Raises: ValueError, TypeError for what does not fit or lam <= 0.

    >>> ridge_weights(np.asarray([[2.0], [0.0]]), np.asarray([9.0, 5.0]), 5.0).tolist()
    [2.0]
    """
    Phi, y, _ = _weighted(features, targets, row_weights)
    ridge = _check.ridge("lam", lam, features, tuple(Phi.shape[:-2]))
    if Phi.shape[-2] <= Phi.shape[-1]:
        w = apply(transpose(Phi), regularised_solve(gram(Phi), y, ridge))
    else:
        w = regularised_solve(gram(transpose(Phi)), apply(transpose(Phi), y), ridge)
    return restore(w, features)


def dual_coefficients(kernel: Array, targets: Array, lam: float | Array) -> Array:
    """The coefficients of kernel ridge regression: (K + lam I) alpha = y, Eq (16).

    Parameters: kernel (C, n, n) or (n, n), targets (C, n) or (n,), lam > 0. Returns: alpha like targets.
    Raises: ValueError, TypeError for what does not fit or lam <= 0.

    >>> dual_coefficients(np.asarray([[3.0, 0.0], [0.0, 0.0]]), np.asarray([4.0, 2.0]), 1.0).tolist()
    [1.0, 2.0]
    """
    K = _check.symmetric("kernel", kernel)
    y = _check.array_like("targets", targets, K, tuple(K.shape[:-1]))
    return restore(regularised_solve(double(K), double(y), _check.ridge("lam", lam, K, tuple(K.shape[:-2]))), kernel)


def rank_r_weights(features: Array, targets: Array, lam: float | Array, r: int) -> Array:
    """Truncated ridge regression: w = sum_{j <= r} u_j^T y / (lambda_j + lam) Phi^T u_j, with the same lam.

    Parameters: features (C, n, k) or (n, k), targets (C, n) or (n,), lam > 0, 1 <= r <= n. Returns: (C, k) or (k,).
    Raises: ValueError for r outside 1..n, lam <= 0 or shapes that do not fit.
    Source: `alg_1_stages_4_5`.

    >>> rank_r_weights(np.asarray([[2.0, 0.0], [0.0, 1.0]]), np.asarray([5.0, 4.0]), 1.0, 1).tolist()
    [2.0, 0.0]
    """
    spectrum = ridge_spectrum(features, targets)
    return restore(spectrum.truncated(lam, _check.integer("r", r, 1, features.shape[-2])), features)


def ridge_path(features: Array, targets: Array, grid: Array, *, row_weights: Array | None = None) -> Array:
    """The ridge weights for every lam of a grid, from one eigendecomposition.

    Parameters: features (C, n, k) or (n, k), targets (C, n) or (n,), grid (L,), or (L, C) for one lam per class, above
    0, row_weights as in `ridge_spectrum`. Returns: (L, C, k) or (L, k). Raises: as `ridge_weights`.

    >>> ridge_path(np.asarray([[2.0], [0.0]]), np.asarray([1.0, 5.0]), [1.0, 4.0]).tolist()
    [[0.4], [0.25]]
    """
    spectrum = ridge_spectrum(features, targets, row_weights=row_weights)
    return restore(namespace(features).stack([spectrum.weights(lam) for lam in _steps(grid)]), features)


def leave_one_out(kernel: Array, targets: Array, lam: float | Array) -> Array:
    """The leave-one-out residuals without refitting: y_i - f_{-i}(x_i) = alpha_i / [(K + lam I)^-1]_ii.

    Parameters: kernel (C, n, n) or (n, n), targets (C, n) or (n,), lam > 0. Returns: like targets. Raises: as
    `dual_coefficients`. From features, and for many lam: `ridge_spectrum(...).leave_one_out(lam)`.
    Source: `effective_dimension`.

    >>> leave_one_out(np.asarray([[1.0, 1.0], [1.0, 1.0]]), np.asarray([2.0, 0.0]), 1.0).tolist()
    [2.0, -1.0]
    """
    return leave_one_out_path(kernel, targets, [lam])[0, ...]


def leave_one_out_path(kernel: Array, targets: Array, grid: Array) -> Array:
    """The leave-one-out residuals for every lam of a grid, from one eigendecomposition of the kernel.

    Parameters: kernel (C, n, n) or (n, n), targets (C, n) or (n,), grid (L,) or (L, C), above 0. Returns: (L, C, n) or
    (L, n). Raises: as `dual_coefficients`.

    >>> leave_one_out_path(np.asarray([[1.0, 1.0], [1.0, 1.0]]), np.asarray([2.0, 0.0]), [1.0]).tolist()
    [[2.0, -1.0]]
    """
    K = _check.symmetric("kernel", kernel)
    y = double(_check.array_like("targets", targets, K, tuple(K.shape[:-1])))
    spectrum = RidgeSpectrum.of_kernel(K, y)
    return restore(namespace(K).stack([spectrum.leave_one_out(lam) for lam in _steps(grid)]), kernel)


def leverage(kernel: Array, lam: float | Array) -> Array:
    """The ridge leverage scores l_i = [K (K + lam I)^-1]_ii; they sum to the effective dimension.

    Parameters: kernel (C, n, n) or (n, n), lam > 0. Returns: (C, n) or (n,), in [0, 1). Raises: ValueError, TypeError
    for what does not fit or lam <= 0.
    Source: `effective_dimension`, [AlaouiMahoney2015].

    >>> leverage(np.asarray([[3.0, 0.0], [0.0, 1.0]]), 1.0).tolist()
    [0.75, 0.5]
    """
    K = _check.symmetric("kernel", kernel)
    return restore(leverage_of(*eigh(K), _check.ridge("lam", lam, K, tuple(K.shape[:-2]))), kernel)


def leverage_of(eigenvalues: Array, vectors: Array, ridge: Array) -> Array:
    """The same from a kernel's eigenpairs in float64: sum_j u_ij^2 lambda_j / (lambda_j + lam).

    Parameters: eigenvalues (C, n) or (n,), vectors (C, n, n) or (n, n), ridge (C,) or 0-d, above 0.

    >>> leverage_of(np.asarray([3.0, 1.0]), np.eye(2), np.asarray(1.0)).tolist()
    [0.75, 0.5]
    """
    return apply(vectors**2, eigenvalues / (eigenvalues + ridge[..., None]))


def effective_dimension(kernel: Array, lam: float | Array) -> Array:
    """The effective dimension d_eff = tr K (K + lam I)^-1 = sum_j lambda_j / (lambda_j + lam) (`effective_dimension`).

    Parameters: kernel (C, n, n) or (n, n), lam > 0. Returns: (C,) or a 0-d array. Raises: as `leverage`.

    >>> float(effective_dimension(np.asarray([[3.0, 0.0], [0.0, 1.0]]), 1.0))
    1.25
    """
    K = _check.symmetric("kernel", kernel)
    ridge = _check.ridge("lam", lam, K, tuple(K.shape[:-2]))
    eigenvalues, _ = eigh(K)
    return restore(namespace(K).sum(eigenvalues / (eigenvalues + ridge[..., None]), axis=-1), kernel)


def ridge_grid(kernel: Array) -> Array:
    """The grid of docs/measures.md: lam / mean(diag K) = 1e-6, 1e-5, ..., 1e1, the mean taken over all classes.

    Parameters: kernel (C, n, n) or (n, n). Returns: (8,), ascending. Raises: ValueError if the mean is not above 0.

    >>> ridge_grid(np.asarray([[2.0, 0.0], [0.0, 4.0]]))[[0, -1]].tolist()
    [3e-06, 30.0]
    """
    K = _check.symmetric("kernel", kernel)
    scale = _check.positive("mean of the kernel's diagonal", namespace(K).mean(diagonal(double(K))))
    return from_numpy(grid_at(scale), K)


def grid_at(scale: float) -> np.ndarray:
    """The same grid from the mean of diag K.

    >>> grid_at(3.0)[[0, -1]].tolist()
    [3e-06, 30.0]
    """
    return np.asarray([scale * 10.0**exponent for exponent in GRID_EXPONENTS])


def choose_ridge(losses: Array, grid: Array) -> RidgeChoice:
    """The rule of docs/measures.md: the largest lam whose mean loss is within one standard error of the best mean loss.

    The standard error is that of the best row: its standard deviation (n - 1 in the denominator) over sqrt(n).
    Parameters: losses (L, n) of each lam on each example, n >= 2, grid (L,) ascending. Returns: the choice; `on_edge`
    says that it is the first or the last of the grid. Raises: ValueError for a grid that does not ascend or another
    length.

    >>> choose_ridge(np.asarray([[1.0, 1.0], [0.0, 2.0], [4.0, 4.0]]), [0.1, 1.0, 10.0]).lam
    1.0
    """
    table = to_numpy(double(_check.rows("losses", losses, ndim=2)))
    _check.integer("number of examples", table.shape[1], 2)
    steps = [_check.positive("grid", lam) for lam in _steps(grid)]
    if len(steps) != len(table):
        _check.refuse("grid", f"length {len(table)}", f"length {len(steps)}")
    if any(high <= low for low, high in pairwise(steps)):
        _check.refuse("grid", "ascending numbers", steps)
    means = table.mean(axis=1)
    best = int(np.argmin(means))
    standard_error = float(table[best].std(ddof=1) / np.sqrt(table.shape[1]))
    index = int(np.flatnonzero(means <= means[best] + standard_error)[-1])
    return RidgeChoice(steps[index], index, float(means[index]), standard_error, index in (0, len(steps) - 1))


def _weighted(features: Array, targets: Array, row_weights: Array | None) -> tuple[Array, Array, Array]:
    """Features and targets in float64 with the square root of the row weights multiplied in, and that root."""
    Phi = double(_check.rows("features", features))
    y = double(_check.array_like("targets", targets, features, tuple(Phi.shape[:-1])))
    xp = namespace(Phi)
    if row_weights is None:
        return Phi, y, xp.ones_like(y)
    shape = tuple(Phi.shape[:-1]) if getattr(row_weights, "ndim", 1) > 1 else (Phi.shape[-2],)
    found = _check.array_like("row_weights", row_weights, features, shape)
    if not bool(xp.all(found > 0)):
        _check.refuse("row_weights", "numbers above 0 (leave the other rows out)", f"down to {float(xp.min(found))}")
    root = xp.broadcast_to(xp.sqrt(double(found)), y.shape)
    return root[..., None] * Phi, root * y, root


def regularised_solve(matrix: Array, right: Array, ridge: Array) -> Array:
    """(A + lam I)^-1 b for every class, in float64; where padding makes rows of A and b zero the answer is zero.

    Parameters: matrix (C, n, n) or (n, n), positive semidefinite, right (C, n) or (n,), ridge (C,) or 0-d, above 0.

    >>> regularised_solve(np.asarray([[3.0]]), np.asarray([8.0]), np.asarray(1.0)).tolist()
    [2.0]
    """
    regularised = matrix + ridge[..., None, None] * identity(matrix.shape[-1], matrix)
    return solve_positive(regularised, right[..., None])[..., 0]


def _steps(grid: Array) -> list[Array]:
    """The entries of a grid along its first axis, at least one."""
    several = hasattr(grid, "shape") or (isinstance(grid, Iterable) and not isinstance(grid, str))
    if getattr(grid, "ndim", 1) == 0 or not several:
        raise TypeError(f"grid: expected numbers along an axis, got {grid!r}")
    steps = [grid[i, ...] for i in range(grid.shape[0])] if hasattr(grid, "shape") else list(grid)
    if not steps:
        _check.refuse("grid", "at least one lam", "none")
    return steps
