"""Kernel ridge regression of one class (A.3, Eqs 16-18; 5.2; `effective_dimension`): every quantity from its definition.

The ridge is un-normalised, `(K + lam I) alpha = y`; the other two scales of the paper show in the names `lam_mean` and
`lam_scaled`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref._linear import resolvent

__all__ = [
    "Eigenpairs",
    "RankRPrediction",
    "RidgeChoice",
    "choose_ridge",
    "dual_coefficients",
    "dual_inverse",
    "dual_prediction",
    "effective_dimension",
    "effective_dimension_upper",
    "eigenpairs",
    "filter_factors",
    "filtered_fit",
    "head_gradient",
    "head_weights",
    "homogeneous_norm_bound",
    "lam_from_mean",
    "lam_from_scaled",
    "lam_to_mean",
    "lam_to_scaled",
    "leave_one_out",
    "leave_one_out_by_refitting",
    "leverage",
    "leverage_over_estimate",
    "mean_ridge_weights",
    "objective",
    "rank_r_matched",
    "rank_r_split",
    "rank_r_unmatched",
    "rank_r_weights",
    "ridge_grid",
    "ridge_weights",
    "scaled_dual_coefficients",
    "selected_weights",
    "selection_error",
    "woodbury_inverse",
]

# docs/measures.md: lam / mean(diag K) runs from 1e-6 to 1e1, a factor 10 apart.
GRID_EXPONENTS = range(-6, 2)


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues, largest first and clipped at zero, with the orthonormal eigenvectors in the columns."""

    values: Array
    vectors: Array


@dataclass(frozen=True)
class RankRPrediction:
    """The two terms of `k^T (K_r + lam I)^-1 y`: inside the kept eigenspace, and the rest divided by lam."""

    kept: Array
    left_over: Array


@dataclass(frozen=True)
class RidgeChoice:
    """The ridge of the rule, its place in the grid, its mean loss, and the standard error of the best row."""

    lam: float
    index: int
    loss: float
    standard_error: float
    on_edge: bool


def eigenpairs(kernel: ArrayLike) -> Eigenpairs:
    """The spectral decomposition K = U diag(values) U^T, round-off below zero clipped.

    Parameters: kernel (n, n). Returns: values (n,) descending, vectors (n, n). Raises: ValueError if K is not
    symmetric.

    >>> eigenpairs([[1, 0], [0, 4]]).values.tolist()
    [4.0, 1.0]
    """
    values, vectors = np.linalg.eigh(_check.kernel("kernel", kernel))
    return Eigenpairs(np.clip(values[::-1], 0.0, None), vectors[:, ::-1])


def dual_inverse(kernel: ArrayLike, lam: float) -> Array:
    """The left side of (17): (K + lam I)^-1.

    Parameters: kernel (n, n), lam > 0. Returns: (n, n). Raises: ValueError for a ridge that is not above 0.

    >>> dual_inverse([[1.0]], 1.0).tolist()
    [[0.5]]
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    return np.asarray(np.linalg.inv(K + lam * np.eye(len(K))))


def woodbury_inverse(features: ArrayLike, lam: float) -> Array:
    """The right side of (17): (I - Phi (Phi^T Phi + lam I)^-1 Phi^T) / lam, from the features alone.

    Its eigenvalues are (1 - sigma^2 / (sigma^2 + lam)) / lam = 1 / (sigma^2 + lam): so computed, nothing cancels.
    Parameters: features (n, k), lam > 0. Returns: (n, n). Raises: ValueError for a ridge that is not above 0.

    >>> woodbury_inverse([[1.0]], 1.0).tolist()
    [[0.5]]
    """
    return resolvent(_check.matrix("features", features), _check.positive("lam", lam))


def dual_coefficients(kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The coefficients of kernel ridge regression: (K + lam I) alpha = y, Eq (16).

    Parameters: kernel (n, n), targets (n,), lam > 0. Returns: alpha (n,). Raises: ValueError for lam <= 0 or another
    length.

    >>> dual_coefficients([[1, 0], [0, 3]], [2, 4], 1.0).tolist()
    [1.0, 1.0]
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    y = _check.vector("targets", targets, len(K))
    return np.asarray(np.linalg.solve(K + lam * np.eye(len(K)), y))


def dual_prediction(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The predictor f(x) = k(x)^T (K + lam I)^-1 y, Eqs (16) and (18).

    Parameters: cross (t, n) with rows k(x), kernel (n, n), targets (n,), lam > 0. Returns: (t,).
    Raises: ValueError for shapes that do not fit or lam <= 0.

    >>> dual_prediction([[1, 3]], [[1, 0], [0, 3]], [2, 4], 1.0).tolist()
    [4.0]
    """
    alpha = dual_coefficients(kernel, targets, lam)
    return _check.matrix("cross", cross, columns=alpha.size) @ alpha


def ridge_weights(features: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The primal solution w = (Phi^T Phi + lam I)^-1 Phi^T y, equal to Phi^T (K + lam I)^-1 y by push-through.

    Parameters: features (n, k), targets (n,), lam > 0. Returns: (k,). Raises: ValueError for lam <= 0 or another
    length.

    >>> ridge_weights([[2.0], [0.0]], [1.0, 5.0], 1.0).tolist()
    [0.4]
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    y = _check.vector("targets", targets, len(Phi))
    return np.asarray(np.linalg.solve(Phi.T @ Phi + lam * np.eye(Phi.shape[1]), Phi.T @ y))


def objective(features: ArrayLike, targets: ArrayLike, weights: ArrayLike, lam: float) -> float:
    """The ridge objective J(w) = |Phi w - y|^2 / 2 + lam |w|^2 / 2.

    Parameters: features (n, k), targets (n,), weights (k,), lam > 0. Returns: a number. Raises: ValueError for lam <=
    0.

    >>> objective([[1.0]], [2.0], [1.0], 3.0)
    2.0
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    y, w = _check.vector("targets", targets, len(Phi)), _check.vector("weights", weights, Phi.shape[1])
    return float(np.sum((Phi @ w - y) ** 2) + lam * np.sum(w**2)) / 2


def mean_ridge_weights(features: ArrayLike, targets: ArrayLike, lam_mean: float) -> Array:
    """The ridge of B.1: (Phi^T Phi / n + lam_mean I) w = Phi^T y / n; the same predictor iff lam = n lam_mean.

    Parameters: features (n, k), targets (n,), lam_mean > 0. Returns: (k,). Raises: ValueError for lam_mean <= 0.

    >>> mean_ridge_weights([[2.0], [0.0]], [1.0, 5.0], 0.5).tolist()
    [0.4]
    """
    Phi, lam_mean = _check.matrix("features", features), _check.positive("lam_mean", lam_mean)
    y = _check.vector("targets", targets, len(Phi))
    n, k = Phi.shape
    return np.asarray(np.linalg.solve(Phi.T @ Phi / n + lam_mean * np.eye(k), Phi.T @ y / n))


def scaled_dual_coefficients(features: ArrayLike, targets: ArrayLike, lam_scaled: float) -> Array:
    """The ridge of Remark 4.2: (Phi Phi^T / k + lam_scaled I) alpha' = y; the same predictor iff lam = k lam_scaled.

    The predictor is f(x) = (1/k) phi(x)^T Phi^T alpha'.
    Parameters: features (n, k), targets (n,), lam_scaled > 0. Returns: alpha' (n,). Raises: ValueError for lam_scaled
    <= 0.

    >>> scaled_dual_coefficients([[1, 1]], [4], 1.0).tolist()
    [2.0]
    """
    Phi = _check.matrix("features", features)
    return dual_coefficients(Phi @ Phi.T / Phi.shape[1], targets, _check.positive("lam_scaled", lam_scaled))


def lam_from_mean(lam_mean: float, n: int) -> float:
    """The un-normalised ridge of the B.1 scale: lam = n lam_mean (n examples).

    >>> lam_from_mean(0.5, 4)
    2.0
    """
    return _check.positive("lam_mean", lam_mean) * _check.integer("n", n, 1)


def lam_to_mean(lam: float, n: int) -> float:
    """The B.1 scale of an un-normalised ridge: lam_mean = lam / n (n examples).

    >>> lam_to_mean(2.0, 4)
    0.5
    """
    return _check.positive("lam", lam) / _check.integer("n", n, 1)


def lam_from_scaled(lam_scaled: float, k: int) -> float:
    """The un-normalised ridge of the Remark 4.2 scale: lam = k lam_scaled (k feature dimensions).

    >>> lam_from_scaled(0.5, 4)
    2.0
    """
    return _check.positive("lam_scaled", lam_scaled) * _check.integer("k", k, 1)


def lam_to_scaled(lam: float, k: int) -> float:
    """The Remark 4.2 scale of an un-normalised ridge: lam_scaled = lam / k (k feature dimensions).

    >>> lam_to_scaled(2.0, 4)
    0.5
    """
    return _check.positive("lam", lam) / _check.integer("k", k, 1)


def selected_weights(features: ArrayLike, targets: ArrayLike, lam: float, selected: ArrayLike) -> Array:
    """Ridge regression on chosen eigenvectors alone: w = sum_{j in sel} u_j^T y / (lambda_j + lam) Phi^T u_j.

    Parameters: features (n, k), targets (n,), lam > 0, selected: places in the descending spectrum. Returns: (k,).
    Raises: ValueError for a place outside 0..n-1, a repeated one, or lam <= 0.
    Source: `alg_1_stages_4_5`.

    >>> selected_weights([[2, 0], [0, 1]], [5, 4], 1.0, [0]).tolist()
    [2.0, 0.0]
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    y = _check.vector("targets", targets, len(Phi))
    pairs, chosen = eigenpairs(Phi @ Phi.T), _places(selected, len(Phi))
    U = pairs.vectors[:, chosen]
    return Phi.T @ (U @ ((U.T @ y) / (pairs.values[chosen] + lam)))


def rank_r_weights(features: ArrayLike, targets: ArrayLike, lam: float, r: int) -> Array:
    """Truncated ridge regression: the selected weights of the r largest eigenvalues, with the same lam.

    Parameters: features (n, k), targets (n,), lam > 0, 1 <= r <= n. Returns: (k,). Raises: ValueError for r outside
    1..n.

    >>> rank_r_weights([[2, 0], [0, 1]], [5, 4], 1.0, 1).tolist()
    [2.0, 0.0]
    """
    Phi = _check.matrix("features", features)
    return selected_weights(Phi, targets, lam, range(_check.integer("r", r, 1, len(Phi))))


def selection_error(kernel: ArrayLike, targets: ArrayLike, lam: float, selected: ArrayLike) -> float:
    """What selection costs: |w_* - w_sel|^2 = sum_{j not in sel} lambda_j (u_j^T y)^2 / (lambda_j + lam)^2.

    Parameters: kernel (n, n), targets (n,), lam > 0, selected as above. Returns: a number. Raises: as
    `selected_weights`.
    Source: `alg_1_stages_4_5`.

    >>> selection_error([[4, 0], [0, 1]], [5, 4], 1.0, [0])
    4.0
    """
    pairs, lam = eigenpairs(kernel), _check.positive("lam", lam)
    y = _check.vector("targets", targets, pairs.values.size)
    share = pairs.values * (pairs.vectors.T @ y) ** 2 / (pairs.values + lam) ** 2
    return float(np.delete(share, _places(selected, y.size)).sum())


def rank_r_unmatched(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, r: int) -> Array:
    """Rank-r substitution in (17) as printed, the front factor left whole (CEX-12): k^T (K_r + lam I)^-1 y.

    Parameters: cross (t, n), kernel (n, n), targets (n,), lam > 0, 1 <= r <= n. Returns: (t,). Raises: ValueError for
    r.

    >>> rank_r_unmatched([[0, 1]], [[4, 0], [0, 1]], [5, 4], 1.0, 1).tolist()
    [4.0]
    """
    pairs = eigenpairs(kernel)
    r, lam = _check.integer("r", r, 1, pairs.values.size), _check.positive("lam", lam)
    K_r = (pairs.vectors[:, :r] * pairs.values[:r]) @ pairs.vectors[:, :r].T
    return dual_prediction(cross, K_r, targets, lam)


def rank_r_split(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, r: int) -> RankRPrediction:
    """The exact split of the unmatched form: k^T U_r (Lambda_r + lam)^-1 U_r^T y + k^T (I - U_r U_r^T) y / lam.

    Parameters: cross (t, n), kernel (n, n), targets (n,), lam > 0, 1 <= r <= n. Returns: the two terms, (t,) each.
    Raises: ValueError for r outside 1..n or shapes that do not fit.

    >>> rank_r_split([[0, 1]], [[4, 0], [0, 1]], [5, 4], 1.0, 1).left_over.tolist()
    [4.0]
    """
    pairs, lam = eigenpairs(kernel), _check.positive("lam", lam)
    n = pairs.values.size
    r, y = _check.integer("r", r, 1, n), _check.vector("targets", targets, n)
    k = _check.matrix("cross", cross, columns=n)
    U = pairs.vectors[:, :r]
    kept = k @ U @ ((U.T @ y) / (pairs.values[:r] + lam))
    return RankRPrediction(kept, k @ (y - U @ (U.T @ y)) / lam)


def rank_r_matched(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, r: int) -> Array:
    """Rank-r substitution in (17) with the front factor truncated too: (U_r U_r^T k)^T (K_r + lam I)^-1 y.

    Parameters: cross (t, n), kernel (n, n), targets (n,), lam > 0, 1 <= r <= n. Returns: (t,). Raises: ValueError for
    r.

    >>> rank_r_matched([[0, 1]], [[4, 0], [0, 1]], [5, 4], 1.0, 1).tolist()
    [0.0]
    """
    pairs = eigenpairs(kernel)
    r = _check.integer("r", r, 1, pairs.values.size)
    U = pairs.vectors[:, :r]
    k_r = _check.matrix("cross", cross, columns=pairs.values.size) @ U @ U.T
    return dual_prediction(k_r, (U * pairs.values[:r]) @ U.T, targets, lam)


def filter_factors(kernel: ArrayLike, lam: float) -> Array:
    """The spectral filter of 5.2: lambda_j / (lambda_j + lam), at most lambda_j / lam.

    Parameters: kernel (n, n), lam > 0. Returns: (n,), descending. Raises: ValueError for lam <= 0.

    >>> filter_factors([[3, 0], [0, 1]], 1.0).tolist()
    [0.75, 0.5]
    """
    values, lam = eigenpairs(kernel).values, _check.positive("lam", lam)
    return values / (values + lam)


def filtered_fit(kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The fitted values mode by mode (5.2): f(X) = sum_j lambda_j / (lambda_j + lam) (u_j^T y) u_j.

    Parameters: kernel (n, n), targets (n,), lam > 0. Returns: (n,). Raises: ValueError for lam <= 0 or another length.

    >>> filtered_fit([[3, 0], [0, 1]], [4, 4], 1.0).tolist()
    [3.0, 2.0]
    """
    U = eigenpairs(kernel).vectors
    return U @ (filter_factors(kernel, lam) * (U.T @ _check.vector("targets", targets, len(U))))


def leave_one_out(kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The leave-one-out residuals without refitting: y_i - f_{-i}(x_i) = alpha_i / [(K + lam I)^-1]_ii.

    Parameters: kernel (n, n), targets (n,), lam > 0. Returns: (n,). Raises: ValueError for lam <= 0 or another length.
    Source: `effective_dimension`.

    >>> leave_one_out([[1, 1], [1, 1]], [2, 0], 1.0).tolist()
    [2.0, -1.0]
    """
    return dual_coefficients(kernel, targets, lam) / np.diag(dual_inverse(kernel, lam))


def leave_one_out_by_refitting(kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The leave-one-out residuals by their definition: n fits, each without one example (n >= 2).

    Parameters: kernel (n, n), targets (n,), lam > 0. Returns: (n,). Raises: ValueError for a single example.

    >>> leave_one_out_by_refitting([[1, 1], [1, 1]], [2, 0], 1.0).tolist()
    [2.0, -1.0]
    """
    K = _check.kernel("kernel", kernel)
    y = _check.vector("targets", targets, len(K))
    _check.integer("number of examples", y.size, 2)

    def residual(i: int) -> float:
        rest = np.arange(y.size) != i
        return float((y[i] - dual_prediction(K[i : i + 1, rest], K[np.ix_(rest, rest)], y[rest], lam)).item())

    return np.array([residual(i) for i in range(y.size)])


def leverage(kernel: ArrayLike, lam: float) -> Array:
    """The ridge leverage scores l_i = [K (K + lam I)^-1]_ii; they sum to the effective dimension.

    Parameters: kernel (n, n), lam > 0. Returns: (n,), in [0, 1). Raises: ValueError for lam <= 0.
    Source: `effective_dimension`, [AlaouiMahoney2015].

    >>> leverage([[3, 0], [0, 1]], 1.0).tolist()
    [0.75, 0.5]
    """
    K = _check.kernel("kernel", kernel)
    return np.diag(K @ dual_inverse(K, lam)).copy()


def leverage_over_estimate(kernel: ArrayLike, subset: ArrayLike, lam: float) -> Array:
    """An upper bound on every leverage from a training subset S: (K_ii - k_Si^T (K_SS + lam I)^-1 k_Si) / lam.

    Parameters: kernel (n, n), subset: distinct training rows, lam > 0. Returns: (n,). Raises: ValueError for repeated
    rows.
    Source: `effective_dimension`.

    >>> leverage_over_estimate([[3, 0], [0, 1]], [0], 1.0).tolist()
    [0.75, 1.0]
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    S = _places(subset, len(K), "subset")
    K_S = K[S]
    inside = np.sum(K_S * np.linalg.solve(K_S[:, S] + lam * np.eye(S.size), K_S), axis=0)
    return np.asarray((np.diag(K) - inside) / lam)


def effective_dimension(kernel: ArrayLike, lam: float) -> float:
    """The effective dimension d_eff = tr K (K + lam I)^-1 = sum_j lambda_j / (lambda_j + lam) (`effective_dimension`).

    Parameters: kernel (n, n), lam > 0. Returns: a number in [0, rank K). Raises: ValueError for lam <= 0.

    >>> effective_dimension([[3, 0], [0, 1]], 1.0)
    1.25
    """
    return float(filter_factors(kernel, lam).sum())


def effective_dimension_upper(kernel: ArrayLike, approximation: ArrayLike, lam: float) -> float:
    """The upper bound of d_eff from a kernel below K: d_eff(K_Pi) + tr(K - K_Pi) / lam; d_eff(K_Pi) is the lower one.

    Parameters: kernel (n, n), approximation (n, n) with 0 <= K_Pi <= K, lam > 0. Returns: a number.
    Raises: ValueError if the approximation is not below the kernel.
    Source: `effective_dimension`.

    >>> effective_dimension_upper([[3, 0], [0, 1]], [[3, 0], [0, 0]], 1.0)
    1.75
    """
    K, lam = _check.kernel("kernel", kernel), _check.positive("lam", lam)
    K_low = _check.kernel("approximation", approximation, size=len(K))
    for name, gap in (("approximation", K_low), ("kernel - approximation", K - K_low)):
        lowest = float(np.linalg.eigvalsh(gap)[0])
        if lowest < -_check.ROUNDING * float(np.abs(K).max()):
            raise ValueError(f"{name}: expected a positive semi-definite matrix, got an eigenvalue {lowest:.3g}")
    return effective_dimension(K_low, lam) + float(np.trace(K - K_low)) / lam


def ridge_grid(kernel: ArrayLike) -> Array:
    """The grid of docs/measures.md: lam / mean(diag K) = 1e-6, 1e-5, ..., 1e1, the mean taken over all classes.

    Parameters: kernel (n, n), or (C, n, n) for all classes. Returns: (8,), ascending. Raises: ValueError if the mean is
    not > 0.

    >>> ridge_grid([[2, 0], [0, 4]])[[0, -1]].tolist()
    [3e-06, 30.0]
    """
    dims = np.ndim(kernel)
    K = _check.array("kernel", kernel, 3 if dims == 3 else 2)
    if K.shape[-2] != K.shape[-1]:
        raise ValueError(f"kernel: expected square matrices, got shape {K.shape}")
    scale = _check.positive("mean of the kernel's diagonal", np.mean(np.diagonal(K, axis1=-2, axis2=-1)))
    return np.array([scale * 10.0**exponent for exponent in GRID_EXPONENTS])


def choose_ridge(losses: ArrayLike, grid: ArrayLike) -> RidgeChoice:
    """The rule of docs/measures.md: the largest lam whose mean loss is within one standard error of the best mean loss.

    The standard error is that of the best row: its standard deviation (n - 1 in the denominator) over sqrt(n).
    Parameters: losses (L, n) of each lam on each example, n >= 2, grid (L,) ascending. Returns: the choice; `on_edge`
    says
    that it is the first or the last of the grid. Raises: ValueError for a grid that does not ascend or another length.

    >>> choose_ridge([[1, 1], [0, 2], [4, 4]], [0.1, 1.0, 10.0]).lam
    1.0
    """
    table = _check.matrix("losses", losses)
    lams = _check.vector("grid", grid, len(table))
    n = _check.integer("number of examples", table.shape[1], 2)
    if (np.diff(lams) <= 0).any() or lams[0] <= 0:
        raise ValueError(f"grid: expected ascending numbers above 0, got {lams.tolist()}")
    means = table.mean(axis=1)
    best = int(np.argmin(means))
    standard_error = float(table[best].std(ddof=1) / np.sqrt(n))
    index = int(np.flatnonzero(means <= means[best] + standard_error)[-1])
    return RidgeChoice(float(lams[index]), index, float(means[index]), standard_error, index in (0, lams.size - 1))


def head_weights(weight: ArrayLike, bias: ArrayLike, *, body: int) -> Array:
    """The weights of `theorem_r`: f_c(x) = phi_c(x)^T w_0 with w_0 = (0_body; W_c, b_c) for parameters (body, W, b).

    Parameters: weight W (C, d), bias b (C,), body: number of parameters before the head, which follows as W row by row,
    then b.
    Returns: (C, body + C d + C), row c for class c. Raises: ValueError for a bias of another length.

    >>> head_weights([[3.0], [4.0]], [5.0, 6.0], body=1).tolist()
    [[0.0, 3.0, 0.0, 5.0, 0.0], [0.0, 0.0, 4.0, 0.0, 6.0]]
    """
    W = _check.matrix("weight", weight)
    C, d = W.shape
    b, start = _check.vector("bias", bias, C), _check.integer("body", body, 0)
    w = np.zeros((C, start + C * d + C))
    for c in range(C):
        w[c, start + c * d : start + (c + 1) * d] = W[c]
        w[c, start + C * d + c] = b[c]
    return w


def head_gradient(hidden: ArrayLike) -> Array:
    """The gradient of a logit in its own head (`theorem_r`): (h(x), 1); the head kernel is <h, h'> + 1.

    Parameters: hidden (n, d) penultimate features. Returns: (n, d + 1). Raises: ValueError unless it is a matrix.

    >>> head_gradient([[2.0, 3.0]]).tolist()
    [[2.0, 3.0, 1.0]]
    """
    h = _check.matrix("hidden", hidden)
    return np.column_stack([h, np.ones(len(h))])


def homogeneous_norm_bound(layer_norms: ArrayLike) -> float:
    """The norm bound for bias-free positively homogeneous nets (`theorem_r`): |f| <= (sum_l |theta_l|^-2)^-1/2.

    By Euler <theta_l, grad_l f> = f for every layer, so any weights a_l theta_l with sum a_l = 1 represent f; the
    shortest
    of them has a_l proportional to |theta_l|^-2.
    Parameters: layer_norms (L,), each > 0. Returns: a number. Raises: ValueError for a norm that is not above 0.

    >>> homogeneous_norm_bound([1.0, 1.0, 1.0, 1.0])
    0.5
    """
    norms = np.array([_check.positive("layer_norms", t) for t in _check.vector("layer_norms", layer_norms)])
    return float(norms.min() * np.sum((norms.min() / norms) ** 2) ** -0.5)  # squares of ratios alone: no overflow


def _places(value: ArrayLike, n: int, name: str = "selected") -> IntArray:
    """Distinct row numbers in 0..n-1; there may be none."""
    raw = np.asarray(value)
    if raw.size == 0:
        return np.zeros(0, dtype=np.int64)
    found = _check.partition(name, raw, raw.size)
    if found.min() < 0 or found.max() >= n or np.unique(found).size != found.size:
        raise ValueError(f"{name}: expected distinct integers in [0, {n - 1}], got {found.tolist()}")
    return found
