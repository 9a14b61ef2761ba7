"""The span of distilled gradients and how well it holds the data's: Eqs (3), (8), Cor 3.5, Prop 3.6, `lemma_w`.

Rows are examples: `features` is (n, P), `inducing` (m, P), a stack of all logits (C, m, P). A spectrum is squared
singular values. What one step in the span achieves (Eqs 4-6) stands in `regret`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array

__all__ = [
    "AngleBound",
    "EnergyGap",
    "angle_bound",
    "centred_covariance",
    "energy_gap",
    "energy_gap_of",
    "gradient_residual",
    "linked_second_moment",
    "lipschitz_constant",
    "misalignment_lower_bound",
    "nearest_gradient_cost",
    "principal_angles",
    "projection_residual",
    "ridged_projector",
    "second_moment",
    "smallest_gradient_residual",
    "span_basis",
    "span_projector",
    "stacked_gradients",
    "top_projector",
    "transport_bound",
]


def stacked_gradients(jacobian: Any) -> Array:
    """All gradients at the distilled inputs, one row per input and logit.

    J_S = [phi_c(s_i)^T]_(i,c), T_S = range(J_S^T)  (Eq 3).

    Parameters: `jacobian` (C, m, P).
    Returns: (mC, P), rows ordered by input, then logit. Raises: ValueError, TypeError.

    >>> stacked_gradients([[[1.0], [2.0]], [[3.0], [4.0]]]).ravel()
    array([1., 3., 2., 4.])
    """
    J = _check.array("jacobian", jacobian, 3)
    return J.transpose(1, 0, 2).reshape(-1, J.shape[2])


def span_basis(rows: Any, *, rtol: float = 1e-12) -> Array:
    """Orthonormal basis of the span of the rows: their right singular vectors.

    sigma_i^2 > rtol sigma_1^2 counts, which is a cut-off rtol |K_SS| on the eigenvalues of K_SS.

    Parameters: `rows` (m, P), `rtol` in [0, 1]. Returns: (P, rank). Raises: ValueError, TypeError.

    >>> span_basis([[0.0, 2.0], [0.0, 1.0]]).shape
    (2, 1)
    """
    _, sigma, Vt = np.linalg.svd(_check.matrix("rows", rows), full_matrices=False)
    kept = sigma**2 > _check.fraction("rtol", rtol) * sigma[0] ** 2
    return np.asarray(Vt[kept].T)


def span_projector(rows: Any, *, rtol: float = 1e-12) -> Array:
    """Orthogonal projector onto the span of the rows.

    Pi_S = Phi_S^T (Phi_S Phi_S^T)^+ Phi_S  (Eq 8).

    Parameters: `rows` (m, P), `rtol` in [0, 1]. Returns: (P, P). Raises: ValueError, TypeError.

    >>> span_projector([[3.0, 0.0], [1.0, 0.0]])
    array([[1., 0.],
           [0., 0.]])
    """
    V = span_basis(rows, rtol=rtol)
    return V @ V.T


def ridged_projector(rows: Any, ridge: float) -> Array:
    """The contraction that a ridge makes of the projector.

    Phi_S^T (Phi_S Phi_S^T + ridge I)^{-1} Phi_S, between 0 and Pi_S  (Eq 8, ridged).

    Parameters: `rows` (m, P), `ridge` > 0. Returns: (P, P). Raises: ValueError, TypeError.

    >>> ridged_projector([[1.0]], 1.0)
    array([[0.5]])
    """
    Phi_S = _check.matrix("rows", rows)
    K_SS = Phi_S @ Phi_S.T
    return Phi_S.T @ np.linalg.solve(K_SS + _check.positive("ridge", ridge) * np.eye(len(K_SS)), Phi_S)


def top_projector(features: Any, r: int) -> Array:
    """Projector onto the leading right singular vectors.

    Pi_r = V_r V_r^T, Phi = U Sigma V^T  (Prop 3.6); unique iff sigma_r > sigma_{r+1}.

    Parameters: `features` (n, P), `r` in [0, P]. Returns: (P, P). Raises: ValueError, TypeError.

    >>> top_projector([[2.0, 0.0], [0.0, 1.0]], 1)
    array([[1., 0.],
           [0., 0.]])
    """
    Phi = _check.matrix("features", features)
    _, _, Vt = np.linalg.svd(Phi, full_matrices=True)
    V = Vt[: _check.integer("r", r, 0, Phi.shape[1])]
    return np.asarray(V.T @ V)


def projection_residual(features: Any, inducing: Any, *, rtol: float = 1e-12) -> float:
    """Energy of the gradients outside the span of the inducing ones.

    |Phi (I - Pi_S)|_F^2  (section 3.3).

    Parameters: `features` (n, P), `inducing` (m, P), `rtol` in [0, 1]. Returns: float. Raises: ValueError, TypeError.

    >>> projection_residual([[3.0, 4.0]], [[1.0, 0.0]])
    16.0
    """
    Phi = _check.matrix("features", features)
    Pi = span_projector(_check.matrix("inducing", inducing, columns=Phi.shape[1]), rtol=rtol)
    return float(np.sum((Phi - Phi @ Pi) ** 2))


@dataclass(frozen=True)
class EnergyGap:
    """The two parts of Eq (11): `residual` = `tail` + `misalignment`, at rank `rank`, out of `total` = |Phi|_F^2."""

    residual: float
    tail: float
    misalignment: float
    rank: int
    total: float


def energy_gap(features: Any, inducing: Any, *, rtol: float = 1e-12) -> EnergyGap:
    """Residual of the inducing span, split into what no span of its rank could hold and what it misses by its position.

    |Phi - Phi Pi_S|_F^2 = sum_{i>r} sigma_i^2 + (|Phi Pi_r|_F^2 - |Phi Pi_S|_F^2), r = rank Pi_S  (Eq 11).

    Parameters: `features` (n, P), `inducing` (m, P), `rtol` in [0, 1].
    Returns: EnergyGap. Raises: ValueError, TypeError.

    >>> energy_gap([[2.0, 0.0], [0.0, 1.0]], [[0.0, 5.0]])
    EnergyGap(residual=4.0, tail=1.0, misalignment=3.0, rank=1, total=5.0)
    """
    Phi = _check.matrix("features", features)
    V = span_basis(_check.matrix("inducing", inducing, columns=Phi.shape[1]), rtol=rtol)
    return energy_gap_of(Phi, V @ V.T, V.shape[1])


def energy_gap_of(features: Any, projector: Any, r: int) -> EnergyGap:
    """The identity of Prop 3.6 for any projector and any r; the misalignment is negative only if rank Pi > r.

    |Phi - Phi Pi|_F^2 = sum_{i>r} sigma_i^2 + (|Phi Pi_r|_F^2 - |Phi Pi|_F^2)  (Eq 11).

    Parameters: `features` (n, P), `projector` (P, P) orthogonal, `r` in [0, P]. Returns: EnergyGap.
    Raises: ValueError, TypeError.

    >>> energy_gap_of([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 1).misalignment
    -1.0
    """
    Phi = _check.matrix("features", features)
    Pi = _check.projector("projector", projector, size=Phi.shape[1])
    r = _check.integer("r", r, 0, Phi.shape[1])
    squared = np.linalg.svd(Phi, compute_uv=False) ** 2
    return EnergyGap(
        residual=float(np.sum((Phi - Phi @ Pi) ** 2)),
        tail=float(squared[r:].sum()),
        misalignment=float(squared[:r].sum() - np.sum((Phi @ Pi) ** 2)),
        rank=r,
        total=float(np.sum(Phi**2)),
    )


def misalignment_lower_bound(features: Any, rank: int, r: int) -> float:
    """Least misalignment that a projector of the given rank can have in Eq (11) taken at r.

    sum_{i<=r} sigma_i^2 - sum_{i<=rank} sigma_i^2: >= 0 for rank <= r, -sum_{r<i<=rank} sigma_i^2 beyond  (Prop 3.6).

    Parameters: `features` (n, P), `rank` of the projector and `r`, both in [0, P]. Returns: float.
    Raises: ValueError, TypeError.

    >>> misalignment_lower_bound([[2.0, 0.0], [0.0, 1.0]], 2, 1)
    -1.0
    """
    Phi = _check.matrix("features", features)
    q, r = _check.integer("rank", rank, 0, Phi.shape[1]), _check.integer("r", r, 0, Phi.shape[1])
    squared = np.linalg.svd(Phi, compute_uv=False) ** 2
    return float(squared[q:r].sum() - squared[r:q].sum())


def principal_angles(a: Any, b: Any, *, rtol: float = 1e-12) -> Array:
    """Principal angles between the spans of two sets of rows, ascending, in radians [BjorckGolub1973].

    cos theta_i = singular values of V_a^T V_b, sin theta_i those of (I - V_a V_a^T) V_b  (after Prop 3.6).

    Parameters: `a` (n, P), `b` (m, P), `rtol` in [0, 1].
    Returns: (min(rank a, rank b),). Raises: ValueError, TypeError.

    >>> principal_angles([[1.0, 0.0]], [[0.0, 2.0]]).round(6)
    array([1.570796])
    """
    V_a = span_basis(_check.matrix("a", a), rtol=rtol)
    V_b = span_basis(_check.matrix("b", b, columns=V_a.shape[0]), rtol=rtol)
    wide, thin = (V_a, V_b) if V_a.shape[1] >= V_b.shape[1] else (V_b, V_a)
    if thin.shape[1] == 0:
        return np.zeros(0)
    cosine = np.linalg.svd(wide.T @ thin, compute_uv=False)
    sine = np.linalg.svd(thin - wide @ (wide.T @ thin), compute_uv=False)[::-1]
    # arctan2 keeps the digits of small angles, which arccos of a cosine near 1 loses.
    return np.asarray(np.arctan2(sine, cosine))


@dataclass(frozen=True)
class AngleBound:
    """Misalignment between its two bounds, and the squared sine between the two spans."""

    lower: float
    misalignment: float
    upper: float
    sine_squared: float


def angle_bound(features: Any, projector: Any) -> AngleBound:
    """Two-sided bound of the misalignment by principal angles, at r = rank Pi.

    (sigma_r^2 - sigma_{r+1}^2) |sin Theta|_F^2 <= misalignment <= sigma_1^2 |sin Theta|_F^2  (after Prop 3.6).

    Parameters: `features` (n, P), `projector` (P, P) orthogonal. Returns: AngleBound. Raises: ValueError, TypeError.

    >>> angle_bound([[2.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]])
    AngleBound(lower=3.0, misalignment=3.0, upper=4.0, sine_squared=1.0)
    """
    Phi = _check.matrix("features", features)
    Pi = _check.projector("projector", projector, size=Phi.shape[1])
    r = round(float(np.trace(Pi)))
    squared = np.zeros(Phi.shape[1] + 1)
    sigma = np.linalg.svd(Phi, compute_uv=False)
    squared[: sigma.size] = sigma**2
    # |sin Theta|_F^2 = sum_{i<=r} (1 - |Pi v_i|^2) = r - tr(Pi Pi_r) = |(I - Pi) Pi_r|_F^2
    sine_squared = float(np.sum((top_projector(Phi, r) @ (np.eye(len(Pi)) - Pi)) ** 2))
    drop = float(squared[r - 1] - squared[r]) if r else 0.0
    misalignment = energy_gap_of(Phi, Pi, r).misalignment
    return AngleBound(drop * sine_squared, misalignment, float(squared[0]) * sine_squared, sine_squared)


def second_moment(gradients: Any, *, probabilities: Any = None) -> Array:
    """Uncentred second moment of the task gradients: the matrix that Corollary 3.5 is about.

    Sigma_g = E[g_t g_t^T]  (Cor 3.5).

    Parameters: `gradients` (T, P), `probabilities` (T,) or None for equal ones. Returns: (P, P).
    Raises: ValueError, TypeError.

    >>> second_moment([[10.0, 1.0], [10.0, -1.0]])
    array([[100.,   0.],
           [  0.,   1.]])
    """
    g = _check.matrix("gradients", gradients)
    return np.asarray(g.T * _check.probabilities("probabilities", probabilities, len(g)) @ g)


def centred_covariance(gradients: Any, *, probabilities: Any = None) -> Array:
    """Centred covariance: the reading of Corollary 3.5 that fails (CEX-7).

    Cov(g) = E[g_t g_t^T] - E[g_t] E[g_t]^T.

    Parameters: `gradients` (T, P), `probabilities` (T,) or None for equal ones. Returns: (P, P).
    Raises: ValueError, TypeError.

    >>> centred_covariance([[10.0, 1.0], [10.0, -1.0]])
    array([[0., 0.],
           [0., 1.]])
    """
    g = _check.matrix("gradients", gradients)
    p = _check.probabilities("probabilities", probabilities, len(g))
    return second_moment(g - p @ g, probabilities=p)


def gradient_residual(moment: Any, projector: Any) -> float:
    """Expected energy of the task gradient outside a subspace.

    E|(I - Pi) g|^2 = tr(Sigma_g) - tr(Pi Sigma_g)  (Cor 3.5).

    Parameters: `moment` (P, P) second moment, `projector` (P, P) orthogonal. Returns: float.
    Raises: ValueError, TypeError.

    >>> gradient_residual([[100.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]])
    1.0
    """
    Sigma = _check.kernel("moment", moment)
    Pi = _check.projector("projector", projector, size=len(Sigma))
    return float(np.trace(Sigma) - np.sum(Pi * Sigma))


def smallest_gradient_residual(moment: Any, r: int) -> float:
    """Least expected energy outside any r-dimensional subspace.

    min_V E|(I - Pi_V) g|^2 = sum_{i>r} mu_i  (Cor 3.5).

    Parameters: `moment` (P, P) second moment, `r` in [0, P]. Returns: float. Raises: ValueError, TypeError.

    >>> smallest_gradient_residual([[100.0, 0.0], [0.0, 1.0]], 1)
    1.0
    """
    Sigma = _check.kernel("moment", moment)
    mu = np.linalg.eigvalsh(Sigma)[::-1]
    return float(mu[_check.integer("r", r, 0, len(Sigma)) :].sum())


def linked_second_moment(rows: Any, sensitivity_moment: Any) -> Array:
    """Second moment of a task gradient that is a combination of the data's gradients: the link the paper announces.

    g_t = J_X^T s_t / n, hence Sigma_g = J_X^T E[s s^T] J_X / n^2  (after Cor 3.5); here n is the number of rows.

    Parameters: `rows` (n, P), `sensitivity_moment` (n, n). Returns: (P, P). Raises: ValueError, TypeError.

    >>> linked_second_moment([[2.0], [0.0]], [[1.0, 0.0], [0.0, 1.0]])
    array([[1.]])
    """
    J = _check.matrix("rows", rows)
    moment = _check.kernel("sensitivity_moment", sensitivity_moment, size=len(J))
    return J.T @ moment @ J / len(J) ** 2


def nearest_gradient_cost(features: Any, inducing: Any) -> float:
    """Mean squared distance from each gradient to the nearest inducing one: the middle of `lemma_w`.

    |Phi (I - Pi_S)|_F^2 / n <= (1/n) sum_i min_j |phi(x_i) - phi(s_j)|^2  (`lemma_w`).

    Parameters: `features` (n, P), `inducing` (m, P). Returns: float. Raises: ValueError, TypeError.

    >>> nearest_gradient_cost([[0.0], [5.0]], [[1.0], [3.0]])
    2.5
    """
    Phi = _check.matrix("features", features)
    Phi_S = _check.matrix("inducing", inducing, columns=Phi.shape[1])
    squared = np.sum((Phi[:, None, :] - Phi_S[None, :, :]) ** 2, axis=2)
    return float(squared.min(axis=1).mean())


def lipschitz_constant(features: Any, inducing: Any, *, hidden: Any, hidden_inducing: Any) -> float:
    """Smallest constant by which gradients are Lipschitz in the penultimate features, over all pairs (data, inducing).

    L = max_{ij} |phi(x_i) - phi(s_j)| / |f_e(x_i) - f_e(s_j)|; infinite where features meet and gradients do not
    (CEX-28)  (`lemma_w`).

    Parameters: `features` (n, P), `inducing` (m, P), `hidden` (n, d), `hidden_inducing` (m, d). Returns: float.
    Raises: ValueError, TypeError.

    >>> lipschitz_constant([[6.0]], [[0.0]], hidden=[[2.0]], hidden_inducing=[[0.0]])
    3.0
    """
    Phi = _check.matrix("features", features)
    Phi_S = _check.matrix("inducing", inducing, columns=Phi.shape[1])
    h = _check.matrix("hidden", hidden, rows=len(Phi))
    h_S = _check.matrix("hidden_inducing", hidden_inducing, rows=len(Phi_S), columns=h.shape[1])
    gradient_distance = np.linalg.norm(Phi[:, None] - Phi_S[None], axis=2)
    hidden_distance = np.linalg.norm(h[:, None] - h_S[None], axis=2)
    apart = hidden_distance > 0
    if np.any(gradient_distance[~apart] > 0):
        return float("inf")
    return float(np.max(gradient_distance[apart] / hidden_distance[apart], initial=0.0))


def transport_bound(lipschitz: float, cost: float) -> float:
    """Right side of `lemma_w`: what matching of penultimate features guarantees about gradients.

    |Phi (I - Pi_S)|_F^2 / n <= L^2 W_2^2(mu, nu)  (`lemma_w`).

    Parameters: `lipschitz` L >= 0, `cost` the squared distance W_2^2 >= 0.
    Returns: float. Raises: ValueError, TypeError.

    >>> transport_bound(3.0, 2.0)
    18.0
    """
    return _check.nonnegative("lipschitz", lipschitz) ** 2 * _check.nonnegative("cost", cost)
