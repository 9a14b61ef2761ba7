"""A-posteriori bounds on a whole pipeline, one class at a time: every bound beside the truth it bounds.

A pipeline's output is linear in the gradient, f_hat(x) = phi(x)^T w; the optimum is w_* = H^-1 Phi^T y with the ridge
Hessian H = Phi^T Phi + lam I. The bounds see the residual r = H (w - w_*) and never w_*: w - w_* = H^-1 r.
Source: `certificate_primal`.

A set S of training rows gives H_S = Phi_S^T Phi_S + lam I <= H, and this is all that the bounds "by rows" use. Then the
error d = H^-1 r obeys d^T H_S d <= d^T H d = r^T d, so it lies in the ellipsoid

    (d - z/2)^T H_S (d - z/2) <= q/4,   z = H_S^-1 r,  q = r^T H_S^-1 r,

and any d inside it is the error of some full problem (one more row suffices): the bounds called "centred" are the exact
maxima over this ellipsoid, never above the ones of Cauchy and Schwarz.

Every bound is rounded up: what float64 gives is at least the bound of exact arithmetic on the same numbers.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref._linear import UNIT, Split, norm, root, rounded_up, split
from dntk_ref.ridge import dual_coefficients, objective

__all__ = [
    "Interval",
    "Iterate",
    "accumulated_rounding",
    "certified",
    "conjugate_gradients",
    "dual_objective",
    "duality_gap",
    "duality_gap_at",
    "error_interval",
    "excess",
    "excess_bound",
    "fidelity_bound",
    "fidelity_error",
    "held_out_rms_bound",
    "held_out_rms_bound_centred",
    "optimal_objective",
    "pointwise_bound",
    "pointwise_bound_by_rows",
    "pointwise_bound_centred",
    "residual",
    "residual_energy",
    "rms",
    "rounding_allowance",
    "training_rms_bound",
    "training_rms_bound_by_energy",
    "training_rms_bound_by_rows",
    "weights_bound",
    "weights_bound_lower",
]


@dataclass(frozen=True)
class Interval:
    """For every point the middle of an interval that holds the error f_hat - f_*, and half its width."""

    centre: Array
    half_width: Array


@dataclass(frozen=True)
class Iterate:
    """Weights, and the residual that the recursion carries along for them."""

    weights: Array
    recursive_residual: Array


# Against the network itself, from head-preserving features alone.


def fidelity_error(rows: ArrayLike, network_weights: ArrayLike, test: ArrayLike, lam: float) -> Array:
    """The exact error against the network (`head_preserving`): f - f_hat = lam phi^T (Phi^T Phi + lam I)^-1 w_0.

    For f = phi^T w_0 and targets y = Phi w_0, whatever the rows are (real, distilled, combined by any matrix).
    Parameters: rows (m, k), network_weights w_0 = (0; W_c, b_c) (k,), test (t, k), lam > 0. Returns: (t,).
    Raises: ValueError for shapes that do not fit or lam <= 0.

    >>> fidelity_error([[1.0, 0.0]], [2.0, 5.0], [[1.0, 0.0], [0.0, 1.0]], 1.0).tolist()
    [1.0, 5.0]
    """
    Phi, lam = _check.matrix("rows", rows), _check.positive("lam", lam)
    w_0 = _check.vector("network_weights", network_weights, Phi.shape[1])
    phi = _check.matrix("test", test, columns=Phi.shape[1])
    return np.asarray(split(Phi, phi.T).shrunk(lam).T @ w_0)


def fidelity_bound(rows: ArrayLike, network_norm: float, test: ArrayLike, lam: float) -> Array:
    """The network-fidelity certificate (`head_preserving`), from kernels and |(W_c, b_c)| alone.

    |f - f_hat| <= |(W_c, b_c)| sqrt(kappa - 2 k^T a + a^T K a), a = (K + lam I)^-1 k, k = Phi phi, kappa = |phi|^2; the
    root is |lam (Phi^T Phi + lam I)^-1 phi|, which is computed: the three terms cancel down to rounding.
    Parameters: rows (m, k), network_norm >= 0, test (t, k), lam > 0. Returns: (t,). Raises: ValueError.

    >>> fidelity_bound([[1.0, 0.0]], 5.0, [[1.0, 0.0], [0.0, 1.0]], 1.0).round(12).tolist()
    [2.5, 5.0]
    """
    Phi, lam = _check.matrix("rows", rows), _check.positive("lam", lam)
    length, phi = _check.nonnegative("network_norm", network_norm), _check.matrix("test", test, columns=Phi.shape[1])
    parts = split(Phi, phi.T)
    shrunk = np.linalg.norm(parts.shrunk(lam), axis=0)
    return np.asarray(rounded_up(length, phi.shape[1]) * (shrunk + parts.shrunk_doubt(lam)))


def certified(predictions: ArrayLike, bounds: ArrayLike) -> Array:
    """Where the class provably agrees: 1 if f_c1 - B_c1 > f_c + B_c for all other c, c1 the predicted class.

    Parameters: predictions (C, t), bounds (C, t) >= 0 on the error of each. Returns: (t,) of zeros and ones.
    Raises: ValueError for another shape or a negative bound.
    Source: `certificate_held_out`.

    >>> certified([[3.0, 3.0], [1.0, 1.0]], [[0.5, 1.0], [0.5, 1.0]]).tolist()
    [1.0, 0.0]
    """
    f = _check.matrix("predictions", predictions)
    B = _check.matrix("bounds", bounds, rows=f.shape[0], columns=f.shape[1])
    _check.nonnegative("smallest of bounds", B.min())
    first, points = np.argmax(f, axis=0), np.arange(f.shape[1])
    least, rival = (f - B)[first, points], f + B
    rival[first, points] = -np.inf
    return np.asarray((least > rival.max(axis=0)).astype(np.float64))


# Against the full-data, full-parameter predictor.


def residual(features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float) -> Array:
    """The primal residual r = Phi^T (Phi w - y) + lam w = H (w - w_*), from its definition (`certificate_primal`).

    Parameters: features (n, P), targets (n,), weights (P,), lam > 0. Returns: (P,). Raises: ValueError.

    >>> residual([[2.0]], [3.0], [1.0], 5.0).tolist()
    [3.0]
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    return np.asarray(Phi.T @ (Phi @ w - y) + lam * w)


def rounding_allowance(features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float, unit: float) -> float:
    """What rounding may hide in a computed |r|: unit (|Phi|_F^2 |w| + |Phi|_F |y| + lam |w|), to be added to it.

    For sums in any order it bounds the error of a computed r with unit = `accumulated_rounding` of n + P + 2 roundings.
    With one rounding it is only the size to be expected: many small terms, each lost in one large sum, exceed it.
    Parameters: features (n, P), targets (n,), weights (P,), lam > 0, unit > 0. Returns: a number. Raises: ValueError.

    >>> rounding_allowance([[2.0]], [3.0], [1.0], 5.0, 0.5)
    7.5
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    size = norm(Phi.ravel())
    return _check.positive("unit", unit) * (size**2 * norm(w) + size * norm(y) + lam * norm(w))


def accumulated_rounding(roundings: int, unit: float) -> float:
    """The relative error m u / (1 - m u) that m roundings of size u can accumulate; |prod (1 + d_i) - 1| is at most that.

    Parameters: roundings m >= 0, unit u > 0 (2^-53 for float64, 2^-24 for float32) with m u < 1. Returns: a number.
    Raises: ValueError.

    >>> accumulated_rounding(2, 0.25)
    1.0
    """
    size = _check.integer("roundings", roundings, 0) * _check.positive("unit", unit)
    return size / (1 - _check.below_one("roundings * unit", size))


def conjugate_gradients(features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float, steps: int) -> Iterate:
    """Steps of conjugate gradients for H w = Phi^T y, with the residual of its own recursion (`certificate_rounding`).

    w + a p, r + a H p, a = |r|^2 / p^T H p; then p = -r + |r|^2 / |r before|^2 p. In exact arithmetic the recursion is the
    residual; in floating point it goes on falling where the residual stays, and is no bound.
    Parameters: features (n, P), targets (n,), weights to start from (P,), lam > 0, steps >= 0 (it ends where the square
    of the recursion is zero). Returns: Iterate of (P,) each. Raises: ValueError.

    >>> conjugate_gradients([[1.0]], [1.0], [2.0**30], 2.0, 1).recursive_residual.tolist()  # the residual is 2^-23
    [0.0]
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    r = residual(Phi, y, w, lam)
    p = -r
    for _ in range(_check.integer("steps", steps, 0)):
        Hp, squared = Phi.T @ (Phi @ p) + lam * p, r @ r
        if min(squared, p @ Hp) == 0:
            break
        length = squared / (p @ Hp)
        w, r = w + length * p, r + length * Hp
        p = -r + (r @ r) / squared * p
    return Iterate(w, r)


def weights_bound(residual: ArrayLike, lam: float) -> float:
    """The upper bound |w - w_*| <= |r| / lam.

    Parameters: residual (P,), lam > 0. Returns: a number. Raises: ValueError.

    >>> round(weights_bound([3.0, 4.0], 2.0), 12)
    2.5
    """
    r = _check.vector("residual", residual)
    return rounded_up(norm(r) / _check.positive("lam", lam), r.size)


def weights_bound_lower(features: ArrayLike, residual: ArrayLike, lam: float) -> float:
    """The lower bound |w - w_*| >= |r| / (lambda_1 + lam).

    Parameters: features (n, P), residual (P,), lam > 0. Returns: a number. Raises: ValueError.

    >>> round(weights_bound_lower([[2.0, 0.0]], [3.0, 4.0], 1.0), 12)
    1.0
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    r, largest = _check.vector("residual", residual, Phi.shape[1]), float(np.linalg.norm(Phi, 2))
    return norm(r) / rounded_up(largest**2 + lam, 2 * sum(Phi.shape))


def excess(features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float) -> float:
    """The truth of the energy row: J(w) - J(w_*) = r^T H^-1 r / 2, J the ridge objective.

    Parameters: features (n, P), targets (n,), weights (P,), lam > 0. Returns: a number. Raises: ValueError.

    >>> round(excess([[1.0]], [2.0], [2.0], 1.0), 12)
    1.0
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    return float(np.sum(split(Phi, residual(Phi, y, w, lam)[:, None]).whitened(lam) ** 2)) / 2


def excess_bound(residual: ArrayLike, lam: float) -> float:
    """The bound J(w) - J(w_*) <= |r|^2 / (2 lam).

    Parameters: residual (P,), lam > 0. Returns: a number. Raises: ValueError.

    >>> round(excess_bound([3.0, 4.0], 2.0), 12)
    6.25
    """
    r = _check.vector("residual", residual)
    return rounded_up(norm(r) ** 2 / (2 * _check.positive("lam", lam)), 2 * r.size)


def optimal_objective(kernel: ArrayLike, targets: ArrayLike, lam: float) -> float:
    """The optimum J(w_*) = lam y^T (K + lam I)^-1 y / 2.

    Parameters: kernel (n, n), targets (n,), lam > 0. Returns: a number. Raises: ValueError.

    >>> optimal_objective([[1.0]], [2.0], 1.0)
    1.0
    """
    alpha = dual_coefficients(kernel, targets, lam)
    return float(lam * _check.vector("targets", targets) @ alpha) / 2


def dual_objective(features: ArrayLike, targets: ArrayLike, coefficients: ArrayLike, lam: float) -> float:
    """The dual D(alpha) = y^T alpha - |alpha|^2 / 2 - |Phi^T alpha|^2 / (2 lam) <= J(w_*).

    Parameters: features (n, P), targets (n,), coefficients alpha (n,), lam > 0. Returns: a number. Raises: ValueError.

    >>> dual_objective([[1.0]], [2.0], [1.0], 1.0)
    1.0
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    y = _check.vector("targets", targets, len(Phi))
    alpha = _check.vector("coefficients", coefficients, len(Phi))
    return float(y @ alpha - np.sum(alpha**2) / 2 - np.sum((Phi.T @ alpha) ** 2) / (2 * lam))


def duality_gap(features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float) -> float:
    """The gap J(w) - D(y - Phi w); it is |r|^2 / (2 lam) exactly.

    Parameters: features (n, P), targets (n,), weights (P,), lam > 0. Returns: a number. Raises: ValueError.

    >>> duality_gap([[1.0]], [2.0], [2.0], 1.0)
    2.0
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    return objective(Phi, y, w, lam) - dual_objective(Phi, y, y - Phi @ w, lam)


def duality_gap_at(
    features: ArrayLike, targets: ArrayLike, weights: ArrayLike, coefficients: ArrayLike, lam: float
) -> float:
    """The gap at any dual point: J(w) - D(lam alpha) = (|Phi w - y + lam alpha|^2 + lam |w - Phi^T alpha|^2) / 2.

    Never below J(w) - J(w_*): equal to it at alpha = (K + lam I)^-1 y, |r|^2 / (2 lam) at alpha = (y - Phi w) / lam, and
    |rho|^2 / 2 for w = Phi^T alpha. |w - w_*|_H <= sqrt(2 gap), which bounds the training error too.
    Parameters: features (n, P), targets (n,), weights (P,), coefficients alpha (n,), lam > 0. Returns: a number. Raises:
    ValueError.

    >>> duality_gap_at([[1.0]], [2.0], [2.0], [1.0], 1.0)
    1.0
    """
    Phi, y, w, lam = _check.ridge_problem(features, targets, weights, lam)
    alpha = _check.vector("coefficients", coefficients, len(Phi))
    return float(np.sum((Phi @ w - y + lam * alpha) ** 2) + lam * np.sum((w - Phi.T @ alpha) ** 2)) / 2


def rms(features: ArrayLike, difference: ArrayLike) -> float:
    """The truth of both RMS rows: |Phi d| / sqrt(n) of a difference d of weights.

    Parameters: features (n, P), difference (P,). Returns: a number. Raises: ValueError.

    >>> rms([[1.0], [7.0]], [1.0])
    5.0
    """
    Phi = _check.matrix("features", features)
    return norm(Phi @ _check.vector("difference", difference, Phi.shape[1])) / root(len(Phi))


def training_rms_bound(residual: ArrayLike, lam: float, n: int) -> float:
    """The training RMS |Phi (w - w_*)| / sqrt(n) <= |r| / (2 sqrt(lam n)), since sigma / (sigma^2 + lam) <= 1/(2 sqrt lam).

    Parameters: residual (P,), lam > 0, n examples. Returns: a number. Raises: ValueError.

    >>> round(training_rms_bound([3.0, 4.0], 4.0, 25), 12)
    0.25
    """
    lam, n = _check.positive("lam", lam), _check.integer("n", n, 1)
    r = _check.vector("residual", residual)
    return rounded_up(norm(r) / (2 * root(lam * n)), r.size)


def training_rms_bound_by_energy(features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float) -> float:
    """The energy form of the training RMS: |Phi d|^2 <= d^T H d = r^T H^-1 r <= r^T H_S^-1 r.

    Parameters: features (n, P), subset: distinct training rows, residual (P,), lam > 0. Returns: a number. Raises:
    ValueError.

    >>> round(training_rms_bound_by_energy([[1.0]], [0], [2.0], 3.0), 12)
    1.0
    """
    Phi = _check.matrix("features", features)
    r = _check.vector("residual", residual, Phi.shape[1])
    return rounded_up(root(residual_energy(_rows(Phi, subset), r, lam) / len(Phi)), 0)


def training_rms_bound_by_rows(features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float) -> float:
    """The best training RMS that S allows: n RMS^2 <= min_{mu >= 0} (1 + mu)^2 / 4 r^T (lam I + mu H_S)^-1 r.

    |Phi d|^2 = r^T d - lam |d|^2 for the error d, and d^T H_S d <= r^T d; the right side is the Lagrange dual of this
    quadratic problem with one constraint, which has no gap. mu = 0 is the plain bound |r|^2 / (4 lam).
    Parameters: features (n, P), subset: distinct training rows, residual (P,), lam > 0. Returns: a number. Raises:
    ValueError.

    >>> round(training_rms_bound_by_rows([[1.0]], [0], [2.0], 3.0), 6)
    0.57735
    """
    Phi, rows, lam = _check.matrix("features", features), _rows(features, subset), _check.positive("lam", lam)
    r = _check.vector("residual", residual, Phi.shape[1])
    parts = split(rows, r[:, None])

    def dual(log_mu: float) -> float:
        mu = float(np.exp(log_mu))
        return (1 + mu) ** 2 / (4 * mu) * _energy(parts, lam * (1 + 1 / mu))

    found = scipy.optimize.minimize_scalar(dual, bounds=(-20, 20), method="bounded")  # any mu gives a bound
    return rounded_up(root(min(found.fun, np.sum(r**2) / (4 * lam)) / len(Phi)), r.size)


def pointwise_bound(test: ArrayLike, residual: ArrayLike, lam: float) -> Array:
    """B0: |phi(x)^T (w - w_*)| <= |phi(x)| |r| / lam.

    Parameters: test (t, P), residual (P,), lam > 0. Returns: (t,). Raises: ValueError.

    >>> pointwise_bound([[0.0, 2.0]], [3.0, 4.0], 5.0).round(12).tolist()
    [2.0]
    """
    r, lam = _check.vector("residual", residual), _check.positive("lam", lam)
    phi = _check.matrix("test", test, columns=r.size)
    return np.asarray(np.linalg.norm(phi, axis=1) * rounded_up(norm(r) / lam, 2 * r.size))


def residual_energy(rows: ArrayLike, residual: ArrayLike, lam: float, *, shift: float | None = None) -> float:
    """The form r^T (Phi_S^T Phi_S + s I)^-1 r, s = lam, as a sum of squares: |V^T r / sqrt(sigma^2 + s)|^2 + |rest|^2 / s.

    V are the right singular vectors of Phi_S; Woodbury's (|r|^2 - (Phi_S r)^T (K_SS + s I)^-1 Phi_S r) / s would cancel.
    Parameters: rows Phi_S (m, P), m may be 0, residual (P,), lam > 0, shift s > 0 in its place. Returns: a number.
    Raises: ValueError.

    >>> round(residual_energy([[1.0, 0.0]], [2.0, 3.0], 1.0), 12)
    11.0
    """
    s = _check.positive("lam", lam) if shift is None else _check.positive("shift", shift)
    r = _check.vector("residual", residual)
    none = np.shape(rows)[:1] == (0,)
    Phi = np.zeros((0, r.size)) if none else _check.matrix("rows", rows, columns=r.size)
    return _energy(split(Phi, r[:, None]), s)


def pointwise_bound_by_rows(
    test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float
) -> Array:
    """B3: |phi(x)^T (w - w_*)| <= s_S(x) sqrt(r^T H_S^-1 r), s_S(x)^2 = phi^T H_S^-1 phi, for training rows S.

    Parameters: test (t, P), features (n, P), subset: row numbers of distinct training rows, or a contraction U (n, m)
    with |U|_2 <= 1 for Phi_S = U^T Phi, residual (P,), lam > 0. Returns: (t,). Raises: ValueError, TypeError for
    anything that is not made of training rows.

    >>> pointwise_bound_by_rows([[0.0, 2.0]], [[0.0, 2.0]], [0], [0.0, 5.0], 1.0).round(12).tolist()
    [2.0]
    """
    found = _ellipsoid(test, features, subset, residual, lam)
    return np.asarray(2 * found.half_width)


def error_interval(
    test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float
) -> Interval:
    """The interval of all errors that S allows: phi^T H_S^-1 r / 2 -+ s_S(x) sqrt(r^T H_S^-1 r) / 2, half as wide as B3's.

    Parameters: as `pointwise_bound_by_rows`. Returns: Interval of (t,) each; it holds phi(x)^T (w - w_*). Raises: as there.

    >>> error_interval([[0.0, 2.0]], [[0.0, 2.0]], [0], [0.0, 5.0], 1.0)
    Interval(centre=array([1.]), half_width=array([1.]))
    """
    return _ellipsoid(test, features, subset, residual, lam)


def pointwise_bound_centred(
    test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float
) -> Array:
    """The largest error in the interval: |phi^T (w - w_*)| <= (|phi^T H_S^-1 r| + s_S sqrt(r^T H_S^-1 r)) / 2 <= B3.

    Parameters: as `pointwise_bound_by_rows`. Returns: (t,). Raises: as there.

    >>> pointwise_bound_centred([[2.0, 0.0]], [[0.0, 2.0]], [0], [0.0, 5.0], 1.0).round(6).tolist()
    [2.236068]
    """
    found = _ellipsoid(test, features, subset, residual, lam)
    return np.asarray(np.abs(found.centre) + found.half_width)


def held_out_rms_bound(
    test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float
) -> float:
    """The test-set RMS |Phi_t (w - w_*)| / sqrt(t) <= sqrt(lambda_max(Phi_t H_S^-1 Phi_t^T) / t) sqrt(r^T H_S^-1 r).

    Parameters: as `pointwise_bound_by_rows`. Returns: a number. Raises: as there.

    >>> round(held_out_rms_bound([[0.0, 2.0]], [[0.0, 2.0]], [0], [0.0, 5.0], 1.0), 12)
    2.0
    """
    phi, r, excess = _lengths(test, features, subset, residual, lam)
    return excess * float(np.linalg.norm(phi, 2)) * norm(r) / root(phi.shape[1])


def held_out_rms_bound_centred(
    test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float
) -> float:
    """The same from the ellipsoid: RMS <= (|Phi_t z| + sqrt(lambda_max(Phi_t H_S^-1 Phi_t^T)) sqrt(q)) / (2 sqrt t).

    z = H_S^-1 r, q = r^T z; never above `held_out_rms_bound`, since |Phi_t z| <= sqrt(lambda_max) sqrt(q).
    Parameters: as `pointwise_bound_by_rows`. Returns: a number. Raises: as there.

    >>> round(held_out_rms_bound_centred([[2.0, 0.0]], [[0.0, 2.0]], [0], [0.0, 5.0], 1.0), 6)
    2.236068
    """
    phi, r, excess = _lengths(test, features, subset, residual, lam)
    return (norm(phi.T @ r) + excess * float(np.linalg.norm(phi, 2)) * norm(r)) / (2 * root(phi.shape[1]))


# The parts.


def _energy(parts: Split, s: float) -> float:
    """r^T H_S^-1 r of the one column of the parts, rounded up."""
    return float(np.sum(parts.whitened(s) ** 2)) * (1 + parts.doubt(s)) ** 2


def _rows(features: ArrayLike, subset: ArrayLike) -> Array:
    """Phi_S for row numbers, U^T Phi for a contraction; both keep Phi_S^T Phi_S <= Phi^T Phi, and nothing else is taken."""
    Phi, chosen = _check.matrix("features", features), np.asarray(subset)
    if chosen.ndim == 2:
        U = _check.matrix("subset", chosen, rows=len(Phi))
        size = float(np.linalg.norm(U, 2))
        if size > 1 + _check.ROUNDING:
            raise ValueError(f"subset: expected a contraction of the training rows, got |U|_2 = {size:.6g}")
        return np.asarray(U.T @ Phi)
    if chosen.size == 0:
        return np.zeros((0, Phi.shape[1]))
    found: IntArray = _check.partition("subset", chosen, chosen.size)
    if found.min() < 0 or found.max() >= len(Phi) or np.unique(found).size != found.size:
        raise ValueError(f"subset: expected distinct rows in [0, {len(Phi) - 1}], got {found.tolist()}")
    return Phi[found]


def _lengths(
    test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float
) -> tuple[Array, Array, float]:
    """W phi (r + P, t) and W r (r + P,) with W^T W = H_S^-1, and the factor that covers the roundings of both."""
    rows, lam = _rows(features, subset), _check.positive("lam", lam)
    phi = _check.matrix("test", test, columns=rows.shape[1])
    r = _check.vector("residual", residual, rows.shape[1])
    parts = split(rows, np.column_stack([phi.T, r]))
    found = parts.whitened(lam)
    # Two lengths, and their inner product where the interval has a centre: each off by at most its doubt.
    return found[:, :-1], found[:, -1], 1 + 4 * parts.doubt(lam) + len(phi) * UNIT


def _ellipsoid(test: ArrayLike, features: ArrayLike, subset: ArrayLike, residual: ArrayLike, lam: float) -> Interval:
    phi, r, excess = _lengths(test, features, subset, residual, lam)
    return Interval(phi.T @ r / 2, excess * np.linalg.norm(phi, axis=0) * norm(r) / 2)
