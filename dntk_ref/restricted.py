"""Certificates from kernels alone (`certificate_dual`) and of the restricted solve (`nystrom_bounds`).

Every bound is rounded up: what float64 gives is at least the bound of exact arithmetic on the same numbers.
"""

import numpy as np
from numpy.typing import ArrayLike

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref._linear import UNIT, norm, root, rounded_up, solve_doubt
from dntk_ref.ridge import dual_coefficients, ridge_weights

__all__ = [
    "dual_bound_by_cross",
    "dual_bound_by_norm",
    "dual_residual",
    "energy_distance",
    "largest_term",
    "residual_norm_by_kernels",
    "restricted_excess_bound",
    "restricted_excess_bound_by_trace",
    "restricted_pointwise_bound",
    "restricted_pointwise_bound_by_trace",
    "restricted_residual_norm",
    "restricted_training_bound",
    "subsampled_bound",
    "subsampled_residual",
    "subspace_distance",
    "subspace_weights",
]


# The dual version; weights on arbitrary rows; a subsampled residual.


def dual_residual(kernel: ArrayLike, targets: ArrayLike, coefficients: ArrayLike, lam: float) -> Array:
    """The dual residual rho = (K + lam I) alpha - y; r = Phi^T rho for w = Phi^T alpha.

    Parameters: kernel (n, n), targets (n,), coefficients (n,), lam > 0. Returns: (n,). Raises: ValueError.

    >>> dual_residual([[2.0]], [3.0], [1.0], 4.0).tolist()
    [3.0]
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    alpha = _check.vector("coefficients", coefficients, len(K))
    return np.asarray(K @ alpha + lam * alpha - _check.vector("targets", targets, len(K)))


def dual_bound_by_norm(diagonal: ArrayLike, dual_residual: ArrayLike, lam: float) -> Array:
    """The dual version's first bound: |f_hat - f_*| <= sqrt(K(x, x)) |rho| / (2 sqrt lam); the 1/2 is attained.

    Parameters: diagonal K(x, x) >= 0 (t,), dual_residual (n,), lam > 0. Returns: (t,). Raises: ValueError.

    >>> dual_bound_by_norm([4.0], [3.0, 4.0], 25.0).round(12).tolist()
    [1.0]
    """
    kappa, lam = _check.vector("diagonal", diagonal), _check.positive("lam", lam)
    _check.nonnegative("smallest of diagonal", kappa.min())
    rho = _check.vector("dual_residual", dual_residual)
    return np.asarray(np.sqrt(kappa) * rounded_up(norm(rho) / (2 * lam**0.5), rho.size))


def dual_bound_by_cross(cross: ArrayLike, kernel: ArrayLike, dual_residual: ArrayLike, lam: float) -> Array:
    """The dual version's second bound: |f_hat - f_*| <= |k(x)| |rho| / (lam + lambda_min(K)).

    Parameters: cross (t, n) with rows k(x), kernel (n, n), dual_residual (n,), lam > 0. Returns: (t,). Raises:
    ValueError.

    >>> dual_bound_by_cross([[3.0]], [[1.0]], [4.0], 2.0).round(12).tolist()
    [4.0]
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    rho = _check.vector("dual_residual", dual_residual, len(K))
    lengths = np.linalg.norm(_check.matrix("cross", cross, columns=len(K)), axis=1)
    # The smallest eigenvalue is known to roundings of the largest.
    smallest = float(np.linalg.eigvalsh(K)[0]) - 4 * len(K) * UNIT * float(np.linalg.norm(K, 2))
    return np.asarray(lengths * rounded_up(norm(rho) / (lam + max(smallest, 0.0)), 2 * len(K)))


def residual_norm_by_kernels(
    kernel: ArrayLike, cross: ArrayLike, own: ArrayLike, targets: ArrayLike, coefficients: ArrayLike, lam: float
) -> float:
    """The norm |r| for w = Psi^T beta with arbitrary rows Psi (distilled inputs, synthetic gradients), kernels only.

    |r|^2 = e^T K_XX e + 2 lam e^T K_XPsi beta + lam^2 beta^T K_PsiPsi beta, e = K_XPsi beta - y.
    Parameters: kernel K_XX (n, n), cross K_XPsi (n, m), own K_PsiPsi (m, m), targets (n,), coefficients beta (m,),
    lam > 0. Returns: a number. Raises: ValueError.

    >>> residual_norm_by_kernels([[4.0]], [[2.0]], [[1.0]], [3.0], [1.0], 5.0)
    3.0
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    across = _check.matrix("cross", cross, rows=len(K))
    inside = _check.kernel("own", own, size=across.shape[1])
    beta, y = _check.vector("coefficients", coefficients, len(inside)), _check.vector("targets", targets, len(K))
    e = across @ beta - y
    return root(e @ K @ e + 2 * lam * e @ across @ beta + lam**2 * beta @ inside @ beta)


def subsampled_residual(
    features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float, drawn: ArrayLike
) -> Array:
    """The unbiased estimate r_hat = lam w + (n / b) sum_{i drawn} e_i phi_i of the residual, e = Phi w - y.

    Parameters: features (n, P), targets (n,), weights (P,), lam > 0, drawn: b row numbers drawn uniformly with
    replacement. Returns: (P,). Raises: ValueError for a row outside 0..n-1.

    >>> subsampled_residual([[1.0], [2.0]], [0.0, 0.0], [1.0], 1.0, [0, 0]).tolist()
    [3.0]
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    rows = _check.partition("drawn", drawn, np.asarray(drawn).size)
    if rows.size == 0 or rows.min() < 0 or rows.max() >= len(Phi):
        raise ValueError(f"drawn: expected integers in [0, {len(Phi) - 1}], got {rows.tolist()}")
    return np.asarray(lam * w + len(Phi) / rows.size * Phi[rows].T @ (Phi[rows] @ w - y[rows]))


def largest_term(features: ArrayLike, targets: ArrayLike, weights: ArrayLike) -> float:
    """The number M = n max_i |e_i| |phi_i| of the subsampled version; over all rows i, not those drawn.

    Parameters: features (n, P), targets (n,), weights (P,). Returns: a number. Raises: ValueError.

    >>> largest_term([[1.0], [2.0]], [0.0, 0.0], [1.0])
    8.0
    """
    Phi, y, w, _ = _check.ridge_problem(features, targets, weights, 1.0)
    return float(len(Phi) * np.max(np.abs(Phi @ w - y) * np.linalg.norm(Phi, axis=1)))


def subsampled_bound(estimate_norm: float, largest_term: float, drawn: int, delta: float) -> float:
    """The subsampled bound |r| <= |r_hat| + M (1 + sqrt(2 ln(1/delta))) / sqrt(b), with probability >= 1 - delta.

    Parameters: estimate_norm |r_hat| >= 0, largest_term M >= 0, drawn b >= 1, delta in (0, 1]. Returns: a number.
    Raises: ValueError.

    >>> round(subsampled_bound(1.0, 4.0, 4, 1.0), 12)
    3.0
    """
    length, M = _check.nonnegative("estimate_norm", estimate_norm), _check.nonnegative("largest_term", largest_term)
    b = _check.integer("drawn", drawn, 1)
    share = _check.positive("delta", _check.fraction("delta", delta))
    return rounded_up(length + M * (1 + root(-2 * np.log(share))) / root(b), 4)


# The restricted (Nystroem) solve [WilliamsSeeger2001].


def subspace_weights(features: ArrayLike, targets: ArrayLike, projector: ArrayLike, lam: float) -> Array:
    """The restricted solution w_Pi = argmin J(w) over w in range Pi; ridge regression with K_Pi = Phi Pi Phi^T.

    Parameters: features (n, P), targets (n,), projector (P, P) orthogonal, lam > 0. Returns: (P,). Raises: ValueError.

    >>> subspace_weights([[1.0, 1.0]], [4.0], [[1.0, 0.0], [0.0, 0.0]], 1.0).tolist()
    [2.0, 0.0]
    """
    Phi = _check.matrix("features", features)
    Pi = _check.projector("projector", projector, size=Phi.shape[1])
    return np.asarray(Pi @ ridge_weights(Phi @ Pi, targets, lam))


def energy_distance(features: ArrayLike, difference: ArrayLike, lam: float) -> float:
    """The energy norm |d|_H = sqrt(|Phi d|^2 + lam |d|^2).

    Parameters: features (n, P), difference (P,), lam > 0. Returns: a number. Raises: ValueError.

    >>> energy_distance([[1.0]], [2.0], 3.0)
    4.0
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    d = _check.vector("difference", difference, Phi.shape[1])
    return root(np.sum((Phi @ d) ** 2) + lam * np.sum(d**2))


def subspace_distance(features: ArrayLike, target: ArrayLike, projector: ArrayLike, lam: float) -> float:
    """The right side of Cea: min over w in range Pi of |w - target|_H, by least squares with H = R^T R.

    Parameters: features (n, P), target (P,), projector (P, P) orthogonal, lam > 0. Returns: a number. Raises:
    ValueError.

    >>> subspace_distance([[1.0, 0.0]], [5.0, 2.0], [[1.0, 0.0], [0.0, 0.0]], 4.0)
    4.0
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    w, Pi = _check.vector("target", target, Phi.shape[1]), _check.projector("projector", projector, size=Phi.shape[1])
    R = np.vstack([Phi, root(lam) * np.eye(w.size)])
    nearest = Pi @ np.linalg.lstsq(R @ Pi, R @ w, rcond=None)[0]
    return norm(R @ (nearest - w))


def restricted_residual_norm(kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float) -> float:
    """The norm |r| = lam sqrt(alpha^T E alpha) of the restricted solution, E = K - K_Pi, alpha = (K_Pi + lam I)^-1 y.

    Parameters: kernel (n, n), approximation K_Pi (n, n), targets (n,), lam > 0. Returns: a number.
    Raises: ValueError if K_Pi is not between 0 and K.

    >>> restricted_residual_norm([[4.0]], [[0.0]], [3.0], 1.0)
    6.0
    """
    E, alpha, lam = _restricted(kernel, approximation, targets, lam)
    return lam * root(alpha @ E @ alpha)


def restricted_excess_bound(kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float) -> float:
    """The bound J(w_Pi) - J(w_*) <= lam alpha^T E alpha / 2.

    Parameters, Raises: as `restricted_residual_norm`. Returns: a number.

    >>> round(restricted_excess_bound([[4.0]], [[0.0]], [3.0], 1.0), 12)
    18.0
    """
    return _upper_norm(kernel, approximation, targets, lam) ** 2 / (2 * lam)


def restricted_excess_bound_by_trace(
    kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float
) -> float:
    """The bound J(w_Pi) - J(w_*) <= lam tr(E) |alpha|^2 / 2.

    Parameters, Raises: as `restricted_residual_norm`. Returns: a number.

    >>> round(restricted_excess_bound_by_trace([[4.0]], [[0.0]], [3.0], 1.0), 12)
    18.0
    """
    E, alpha, lam = _restricted(kernel, approximation, targets, lam)
    length = norm(alpha) + solve_doubt(*_solved(approximation, alpha, targets), lam)
    return rounded_up(lam * float(np.trace(E)) * length**2 / 2, 2 * len(E))


def restricted_training_bound(kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float) -> float:
    """The bound |f_*(X) - f_Pi(X)| <= |E|_2 / (lam + |E|_2) |y|; attained at K_Pi = 0.

    Parameters, Raises: as `restricted_residual_norm`. Returns: a number.

    >>> round(restricted_training_bound([[4.0]], [[0.0]], [5.0], 1.0), 12)
    4.0
    """
    E, _, lam = _restricted(kernel, approximation, targets, lam)
    size = float(np.linalg.norm(E, 2))
    return rounded_up(size / (lam + size) * norm(_check.vector("targets", targets)), 8 * len(E))


def restricted_pointwise_bound(
    diagonal: ArrayLike, kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float
) -> Array:
    """The bound |f_*(x) - f_Pi(x)| <= |phi(x)| |r| / lam.

    Parameters: diagonal K(x, x) >= 0 (t,); the rest, Raises: as `restricted_residual_norm`. Returns: (t,).

    >>> restricted_pointwise_bound([4.0], [[4.0]], [[0.0]], [3.0], 1.0).round(12).tolist()
    [12.0]
    """
    kappa = _check.vector("diagonal", diagonal)
    _check.nonnegative("smallest of diagonal", kappa.min())
    return np.asarray(np.sqrt(kappa) * _upper_norm(kernel, approximation, targets, lam) / lam)


def restricted_pointwise_bound_by_trace(
    diagonal: ArrayLike, kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float
) -> Array:
    """The bound |f_*(x) - f_Pi(x)| <= |phi(x)| |y| sqrt(tr E) / lam.

    Parameters: diagonal K(x, x) >= 0 (t,); the rest, Raises: as `restricted_residual_norm`. Returns: (t,).

    >>> restricted_pointwise_bound_by_trace([4.0], [[4.0]], [[0.0]], [3.0], 1.0).round(12).tolist()
    [12.0]
    """
    kappa = _check.vector("diagonal", diagonal)
    _check.nonnegative("smallest of diagonal", kappa.min())
    E, _, lam = _restricted(kernel, approximation, targets, lam)
    size = rounded_up(root(np.trace(E)) * norm(_check.vector("targets", targets)), 2 * len(E))
    return np.asarray(np.sqrt(kappa) * size / lam)


def _restricted(
    kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float
) -> tuple[Array, Array, float]:
    """E = K - K_Pi and alpha = (K_Pi + lam I)^-1 y; refuses an approximation that is not between 0 and K."""
    K = _check.kernel("kernel", kernel)
    K_Pi = _check.kernel("approximation", approximation, size=len(K))
    for name, gap in (("approximation", K_Pi), ("kernel - approximation", K - K_Pi)):
        lowest = float(np.linalg.eigvalsh(gap)[0])
        if lowest < -_check.ROUNDING * float(np.abs(K).max()):
            raise ValueError(f"{name}: expected a positive semi-definite matrix, got an eigenvalue {lowest:.3g}")
    return K - K_Pi, dual_coefficients(K_Pi, targets, lam), _check.positive("lam", lam)


def _solved(approximation: ArrayLike, alpha: Array, targets: ArrayLike) -> tuple[Array, Array, Array]:
    return np.asarray(approximation, dtype=np.float64), alpha, np.asarray(targets, dtype=np.float64)


def _upper_norm(kernel: ArrayLike, approximation: ArrayLike, targets: ArrayLike, lam: float) -> float:
    """`restricted_residual_norm` with all that rounding may have taken off: alpha, and the terms of alpha^T E alpha."""
    E, alpha, lam = _restricted(kernel, approximation, targets, lam)
    doubt, size = solve_doubt(*_solved(approximation, alpha, targets), lam), float(np.linalg.norm(E, 2))
    lost = 4 * len(E) * UNIT * norm(E.ravel()) * norm(alpha) ** 2
    return rounded_up(lam * (root(alpha @ E @ alpha + lost) + root(size) * doubt), 4)
