"""What a random projection does to the predictor (Appendix B.2, Remark B.5): both terms, printed and corrected bounds."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref._linear import resolvent
from dntk_ref.redundancy import participation_ratio

__all__ = [
    "ProjectedProblem",
    "combined_bound",
    "combined_bound_by_coefficients",
    "combined_bound_printed",
    "combined_bound_projected_printed",
    "cross_norm_bound",
    "intrinsic_dimension",
    "prediction_difference",
    "projected_problem",
    "relative_error_gaussian",
    "resolvent_bound",
    "resolvent_bound_printed",
    "resolvent_difference",
    "spectral_error_scale",
    "term_i",
    "term_i_bound",
    "term_i_prime",
    "term_i_prime_bound",
    "term_i_prime_bound_printed",
    "term_ii",
    "term_ii_prime",
]


@dataclass(frozen=True)
class ProjectedProblem:
    """One test point before and after projection: K, K~ (n, n), k_*, k~_* (n,), |phi_*|^2, |phi~_*|^2, y (n,), lam.

    Phi (n, P) and Phi A (n, k) stay beside their kernels: a resolvent from features keeps the digits that squaring loses.
    """

    features: Array
    projected_features: Array
    kernel: Array
    projected: Array
    cross: Array
    projected_cross: Array
    norm: float
    projected_norm: float
    targets: Array
    lam: float


def projected_problem(features: Any, test: Any, projector: Any, targets: Any, lam: float) -> ProjectedProblem:
    """The problem of B.2: K = Phi Phi^T, K~ = Phi A A^T Phi^T, k_* = Phi phi_*, k~_* = Phi A A^T phi_*.

    Parameters: features (n, P), test (P,), projector A (P, k), targets (n,), lam > 0. Returns: ProjectedProblem.
    Raises: ValueError for shapes that do not fit or lam <= 0.

    >>> projected_problem([[1.0]], [2.0], [[3.0]], [1.0], 1.0).projected_cross.tolist()
    [18.0]
    """
    Phi = _check.matrix("features", features)
    x = _check.vector("test", test, Phi.shape[1])
    A = _check.matrix("projector", projector, rows=Phi.shape[1])
    y, lam = _check.vector("targets", targets, len(Phi)), _check.positive("lam", lam)
    low, z = Phi @ A, x @ A
    return ProjectedProblem(Phi, low, Phi @ Phi.T, low @ low.T, Phi @ x, low @ z, float(x @ x), float(z @ z), y, lam)


def _before(p: ProjectedProblem) -> Array:
    """(K + lam I)^-1."""
    return resolvent(p.features, p.lam)


def _after(p: ProjectedProblem) -> Array:
    """(K~ + lam I)^-1."""
    return resolvent(p.projected_features, p.lam)


def _smallest(kernel: Array) -> float:
    return max(float(np.linalg.eigvalsh(kernel)[0]), 0.0)


def prediction_difference(p: ProjectedProblem) -> float:
    """What projection changes: f_hat(x_*) - f~(x_*) = k_*^T (K + lam)^-1 y - k~_*^T (K~ + lam)^-1 y.

    >>> prediction_difference(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    return float(p.cross @ _before(p) @ p.targets - p.projected_cross @ _after(p) @ p.targets)


def term_i(p: ProjectedProblem) -> float:
    """Term (I): (k_* - k~_*)^T (K + lam)^-1 y.

    >>> term_i(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    return float((p.cross - p.projected_cross) @ _before(p) @ p.targets)


def term_ii(p: ProjectedProblem) -> float:
    """Term (II): k~_*^T [(K + lam)^-1 - (K~ + lam)^-1] y; with (I) it sums to the difference.

    >>> term_ii(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    0.0
    """
    return float(p.projected_cross @ (_before(p) - _after(p)) @ p.targets)


def term_i_prime(p: ProjectedProblem) -> float:
    """Term (I') of the other order: (k_* - k~_*)^T (K~ + lam)^-1 y.

    >>> term_i_prime(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    4.0
    """
    return float((p.cross - p.projected_cross) @ _after(p) @ p.targets)


def term_ii_prime(p: ProjectedProblem) -> float:
    """Term (II') of the other order: k_*^T [(K + lam)^-1 - (K~ + lam)^-1] y.

    >>> term_ii_prime(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    -2.0
    """
    return float(p.cross @ (_before(p) - _after(p)) @ p.targets)


def term_i_bound(p: ProjectedProblem) -> float:
    """The printed bound on (I): |k_* - k~_*| |y| / (lam + lambda_min(K)); holds for this order.

    >>> term_i_bound(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    return float(np.linalg.norm(p.cross - p.projected_cross) * np.linalg.norm(p.targets)) / (
        p.lam + _smallest(p.kernel)
    )


def term_i_prime_bound_printed(p: ProjectedProblem) -> float:
    """The same number as a bound on (I'): fails (CEX-25), because lambda_min(K~) may be far below lambda_min(K).

    >>> term_i_prime_bound_printed(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    return term_i_bound(p)


def term_i_prime_bound(p: ProjectedProblem) -> float:
    """The corrected bound on (I'): |k_* - k~_*| |y| / (lam + lambda_min(K~)).

    >>> term_i_prime_bound(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    4.0
    """
    length = float(np.linalg.norm(p.cross - p.projected_cross) * np.linalg.norm(p.targets))
    return length / (p.lam + _smallest(p.projected))


def resolvent_difference(p: ProjectedProblem) -> float:
    """The left side of the resolvent bound: |(K + lam)^-1 - (K~ + lam)^-1|_2.

    >>> resolvent_difference(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    0.5
    """
    return float(np.linalg.norm(_before(p) - _after(p), 2))


def resolvent_bound_printed(p: ProjectedProblem) -> float:
    """The printed resolvent bound: |K - K~|_2 / (lam + lambda_min(K))^2; fails (CEX-24).

    >>> resolvent_bound_printed(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    0.25
    """
    return float(np.linalg.norm(p.kernel - p.projected, 2)) / (p.lam + _smallest(p.kernel)) ** 2


def resolvent_bound(p: ProjectedProblem) -> float:
    """The corrected resolvent bound: |K - K~|_2 / ((lam + lambda_min(K)) (lam + lambda_min(K~))).

    >>> resolvent_bound(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    0.5
    """
    gap = float(np.linalg.norm(p.kernel - p.projected, 2))
    return gap / ((p.lam + _smallest(p.kernel)) * (p.lam + _smallest(p.projected)))


def combined_bound_printed(p: ProjectedProblem) -> float:
    """The printed combination: |k_* - k~_*| |y| / (lam + lmin) + |k_*| |K - K~| |y| / (lam + lmin)^2; fails (CEX-27).

    >>> combined_bound_printed(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    3.0
    """
    return term_i_bound(p) + _lengths(p.cross, p) * resolvent_bound_printed(p)


def combined_bound_projected_printed(p: ProjectedProblem) -> float:
    """The printed combination with |k~_*| in place of |k_*|; fails too (CEX-27).

    >>> combined_bound_projected_printed(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    return term_i_bound(p) + _lengths(p.projected_cross, p) * resolvent_bound_printed(p)


def combined_bound(p: ProjectedProblem) -> float:
    """The first corrected combination, attained in CEX-27.

    |k_* - k~_*| |y| / (lam + lmin(K)) + |k~_*| |K - K~|_2 |y| / ((lam + lmin(K)) (lam + lmin(K~))).

    >>> combined_bound(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    return term_i_bound(p) + _lengths(p.projected_cross, p) * resolvent_bound(p)


def combined_bound_by_coefficients(p: ProjectedProblem) -> float:
    """The second corrected combination, with alpha = (K + lam)^-1 y in hand.

    |(k_* - k~_*)^T alpha| + |phi~_*| |(K - K~) alpha| / (2 sqrt(lam)).

    >>> combined_bound_by_coefficients(projected_problem([[1.0]], [1.0], [[0.0]], [4.0], 1.0))
    2.0
    """
    alpha = _before(p) @ p.targets
    moved = float(np.linalg.norm((p.kernel - p.projected) @ alpha))
    return abs(term_i(p)) + sqrt(p.projected_norm) / (2 * sqrt(p.lam)) * moved


def cross_norm_bound(p: ProjectedProblem) -> float:
    """The bound |k_*| <= sqrt(lambda_1 K(x_*, x_*)).

    >>> cross_norm_bound(projected_problem([[3.0]], [2.0], [[0.0]], [4.0], 1.0))
    6.0
    """
    return sqrt(float(np.linalg.eigvalsh(p.kernel)[-1]) * p.norm)


def _lengths(cross: Array, p: ProjectedProblem) -> float:
    return float(np.linalg.norm(cross) * np.linalg.norm(p.targets))


# Remark B.5.


def relative_error_gaussian(kernel: Any, k: int) -> float:
    """The provable version of Remark B.5: E |K~ - K|_F^2 / |K|_F^2 = (1 + rho) / k, rho = (tr K)^2 / |K|_F^2 <= n.

    >>> round(relative_error_gaussian([[1.0, 0.0], [0.0, 1.0]], 2), 12)
    1.5
    """
    return (1 + participation_ratio(kernel)) / _check.integer("k", k, 1)


def intrinsic_dimension(kernel: Any) -> float:
    """The intrinsic dimension r_e = tr K / |K|_2 of Remark B.5.

    >>> intrinsic_dimension([[2.0, 0.0], [0.0, 1.0]])
    1.5
    """
    values = _check.spectrum("kernel", kernel)
    return float(values.sum()) / _check.positive("norm of the kernel", values[0])


def spectral_error_scale(kernel: Any, k: int) -> float:
    """The scale of E |K~ - K|_2 for a Gaussian map, up to a constant: |K|_2 (sqrt(r_e / k) + r_e / k).

    >>> spectral_error_scale([[4.0]], 4)
    3.0
    """
    share = intrinsic_dimension(kernel) / _check.integer("k", k, 1)
    return float(_check.spectrum("kernel", kernel)[0]) * (sqrt(share) + share)
