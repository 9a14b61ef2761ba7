"""What one step in the distilled span achieves: Eqs (4)-(6), Lemma C.1, Thm 3.3, its corrections, Rem 3.4.

Steps and gradients are (P,), `projector` (P, P) is the projector Pi_S onto T_S, `smoothness` is L. Logits, targets and
sensitivities are (C, m), a Jacobian (C, m, P): the logit first, as everywhere. One task at a time; where tasks differ,
`gradients` is (T, P) and expectations are weighted by `probabilities` (T,), equal ones by default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref.subspace import span_projector, stacked_gradients

__all__ = [
    "RealisedStep",
    "RegretDecomposition",
    "adaptive_decrease",
    "adaptive_decrease_by_residual",
    "common_decrease",
    "cross_entropy",
    "cross_entropy_projector",
    "cross_entropy_sensitivity",
    "decrease_at_rate",
    "exact_regret",
    "loss_gradient",
    "loss_gradient_summed",
    "model_regret",
    "optimal_step",
    "quadratic_model",
    "realise_by_cross_entropy",
    "realise_by_squared_loss",
    "regret_bound_printed",
    "regret_decomposition",
    "softmax",
    "squared_loss",
    "squared_loss_sensitivity",
    "true_regret",
    "true_regret_bound_convex",
    "true_regret_bound_smooth",
    "true_to_model_regret",
    "unreachable_regret",
]

# The share of a step that labels, rounded to float64, may lose: a rate of 1e9 leaves them seven digits of it.
LOST = 1e-6


def softmax(logits: Any) -> Array:
    """Class probabilities of each input.

    p_c = exp(z_c) / sum_j exp(z_j).

    Parameters: `logits` (C, m). Returns: (C, m), columns of sum 1. Raises: ValueError, TypeError.

    >>> softmax([[0.0], [0.0]]).ravel()
    array([0.5, 0.5])
    """
    z = _check.matrix("logits", logits)
    weights = np.exp(z - z.max(axis=0))
    return np.asarray(weights / weights.sum(axis=0))


def _pair(logits: Any, targets: Any) -> tuple[Array, Array]:
    z = _check.matrix("logits", logits)
    return z, _check.matrix("targets", targets, rows=z.shape[0], columns=z.shape[1])


def cross_entropy(logits: Any, targets: Any) -> float:
    """Mean softmax cross-entropy over the inputs.

    L_S = -(1/m) sum_i sum_c y_c log p_c(s_i)  (Lemma C.1).

    Parameters: `logits`, `targets` (C, m). Returns: float. Raises: ValueError, TypeError.

    >>> round(cross_entropy([[0.0], [0.0]], [[1.0], [0.0]]), 6)
    0.693147
    """
    z, y = _pair(logits, targets)
    shifted = z - z.max(axis=0)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=0))
    return float(-np.sum(y * log_p) / z.shape[1])


def cross_entropy_sensitivity(logits: Any, targets: Any) -> Array:
    """Derivative of each input's softmax cross-entropy by its logits; its entries sum to zero for each input.

    s_c = (sum_j y_j) p_c - y_c, that is p - y for labels of sum 1  (Lemma C.1).

    Parameters: `logits`, `targets` (C, m). Returns: (C, m). Raises: ValueError, TypeError.

    >>> cross_entropy_sensitivity([[0.0], [0.0]], [[1.0], [0.0]]).ravel()
    array([-0.5,  0.5])
    """
    z, y = _pair(logits, targets)
    return np.asarray(softmax(z) * y.sum(axis=0) - y)


def squared_loss(logits: Any, targets: Any) -> float:
    """Mean squared loss over the inputs, with the factor one half.

    L_S = (1/m) sum_i |z_i - y_i|^2 / 2.

    Parameters: `logits`, `targets` (C, m). Returns: float. Raises: ValueError, TypeError.

    >>> squared_loss([[3.0], [0.0]], [[1.0], [0.0]])
    2.0
    """
    z, y = _pair(logits, targets)
    return float(np.sum((z - y) ** 2) / (2 * z.shape[1]))


def squared_loss_sensitivity(logits: Any, targets: Any) -> Array:
    """Derivative of each input's squared loss by its logits.

    s = z - y.

    Parameters: `logits`, `targets` (C, m). Returns: (C, m). Raises: ValueError, TypeError.

    >>> squared_loss_sensitivity([[3.0], [0.0]], [[1.0], [0.0]]).ravel()
    array([2., 0.])
    """
    z, y = _pair(logits, targets)
    return np.asarray(z - y)


def loss_gradient_summed(jacobian: Any, sensitivity: Any) -> Array:
    """Gradient of a summed loss through the logits.

    sum_i sum_c s_ic phi_c(s_i) = J_S^T s  (Eq 4, the reading that absorbs 1/m into s).

    Parameters: `jacobian` (C, m, P), `sensitivity` (C, m). Returns: (P,). Raises: ValueError, TypeError.

    >>> loss_gradient_summed([[[1.0, 0.0], [0.0, 1.0]]], [[4.0, 2.0]])
    array([4., 2.])
    """
    J = _check.array("jacobian", jacobian, 3)
    s = _check.matrix("sensitivity", sensitivity, rows=J.shape[0], columns=J.shape[1])
    return np.asarray(np.einsum("cmp,cm->p", J, s))


def loss_gradient(jacobian: Any, sensitivity: Any) -> Array:
    """Gradient of a mean loss through the logits: a vector of the span T_S.

    grad L_S = (1/m) J_S^T s  (Eq 4, Lemma C.1).

    Parameters: `jacobian` (C, m, P), `sensitivity` (C, m). Returns: (P,). Raises: ValueError, TypeError.

    >>> loss_gradient([[[1.0, 0.0], [0.0, 1.0]]], [[4.0, 2.0]])
    array([2., 1.])
    """
    J = _check.array("jacobian", jacobian, 3)
    return np.asarray(loss_gradient_summed(J, sensitivity) / J.shape[1])


def cross_entropy_projector(jacobian: Any) -> Array:
    """Projector onto what softmax cross-entropy can reach: at most m (C - 1) dimensions of the span.

    range(J_S^T (I_m x (I_C - 1 1^T / C)))  (Lemma C.1, refinement).

    Parameters: `jacobian` (C, m, P). Returns: (P, P). Raises: ValueError, TypeError.

    >>> cross_entropy_projector([[[1.0, 0.0]], [[0.0, 1.0]]]).round(12)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    J = _check.array("jacobian", jacobian, 3)
    return span_projector(stacked_gradients(J - J.mean(axis=0)))


def quadratic_model(value: float, gradient: Any, step: Any, *, smoothness: float) -> float:
    """Upper model of a smooth loss after a step.

    Q(d) = loss(theta) + <g, d> + (L/2) |d|^2  (Thm 3.3).

    Parameters: `value` the loss at theta, `gradient`, `step` (P,), `smoothness` L > 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> quadratic_model(1.0, [1.0, 0.0], [2.0, 0.0], smoothness=3.0)
    9.0
    """
    g = _check.vector("gradient", gradient)
    d, L = _check.vector("step", step, g.size), _check.positive("smoothness", smoothness)
    return _check.scalar("value", value) + float(g @ d) + L / 2 * float(d @ d)


def optimal_step(gradient: Any, projector: Any, *, smoothness: float) -> Array:
    """The minimiser of the upper model over the span.

    d* = -Pi_S g / L  (Thm 3.3).

    Parameters: `gradient` (P,), `projector` (P, P), `smoothness` L > 0. Returns: (P,). Raises: ValueError, TypeError.

    >>> optimal_step([4.0, 6.0], [[1.0, 0.0], [0.0, 0.0]], smoothness=2.0)
    array([-2., -0.])
    """
    g = _check.vector("gradient", gradient)
    Pi = _check.projector("projector", projector, size=g.size)
    return -(Pi @ g) / _check.positive("smoothness", smoothness)


def model_regret(gradient: Any, step: Any, projector: Any, *, smoothness: float) -> float:
    """Left side of Eq (5), first reading: both losses taken from the model.

    Q(d) - Q(d*)  (Eq 5, R1); its right side is equal to it.

    Parameters: `gradient`, `step` (P,), `projector` (P, P), `smoothness` L > 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> model_regret([1.0], [0.0], [[1.0]], smoothness=1.0)
    0.5
    """
    best = optimal_step(gradient, projector, smoothness=smoothness)
    after = quadratic_model(0.0, gradient, step, smoothness=smoothness)
    return after - quadratic_model(0.0, gradient, best, smoothness=smoothness)


def true_to_model_regret(
    loss: Callable[[Array], float], theta: Any, gradient: Any, step: Any, projector: Any, *, smoothness: float
) -> float:
    """Left side of Eq (5), second reading: the true loss after the step against the model's best.

    loss(theta + d) - Q(d*)  (Eq 5, R2).

    Parameters: `loss` a function of (P,), `theta`, `gradient`, `step` (P,), `projector` (P, P), `smoothness` L > 0.
    Returns: float. Raises: ValueError, TypeError.

    >>> true_to_model_regret(lambda t: float(t @ t) / 4, [1.0], [0.5], [0.0], [[1.0]], smoothness=1.0)
    0.125
    """
    at = _check.vector("theta", theta)
    best = optimal_step(gradient, projector, smoothness=smoothness)
    after = loss(at + _check.vector("step", step, at.size))
    return after - quadratic_model(loss(at), gradient, best, smoothness=smoothness)


def true_regret(
    loss: Callable[[Array], float], theta: Any, gradient: Any, step: Any, projector: Any, *, smoothness: float
) -> float:
    """Left side of Eq (5), third reading: the true loss on both sides; the printed bound fails for it (CEX-1).

    loss(theta + d) - loss(theta + d*)  (Eq 5, R3).

    Parameters: `loss` a function of (P,), `theta`, `gradient`, `step` (P,), `projector` (P, P), `smoothness` L > 0.
    Returns: float. Raises: ValueError, TypeError.

    >>> true_regret(lambda t: float(t @ t) / 4, [1.0], [0.5], [0.0], [[1.0]], smoothness=1.0)
    0.1875
    """
    at = _check.vector("theta", theta)
    best = optimal_step(gradient, projector, smoothness=smoothness)
    return loss(at + _check.vector("step", step, at.size)) - loss(at + best)


def regret_bound_printed(gradient: Any, step: Any, projector: Any, *, smoothness: float) -> float:
    """Right side of Eq (5), all readings.

    <g, d - d*> + (L/2) (|d|^2 - |d*|^2)  (Eq 5).

    Parameters: `gradient`, `step` (P,), `projector` (P, P), `smoothness` L > 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> regret_bound_printed([0.5], [0.0], [[1.0]], smoothness=1.0)
    0.125
    """
    best = optimal_step(gradient, projector, smoothness=smoothness)
    d = _check.vector("step", step, best.size)
    linear = float(_check.vector("gradient", gradient) @ (d - best))
    return linear + smoothness / 2 * float(d @ d - best @ best)


def exact_regret(gradient: Any, step: Any, projector: Any, *, smoothness: float) -> float:
    """Value of the right side of Eq (5), which the paper does not give.

    (L/2) |d - d*|^2, and <(I - Pi_S) g, d> beside it where d leaves the span  (after Eq 5).

    Parameters: `gradient`, `step` (P,), `projector` (P, P), `smoothness` L > 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> exact_regret([0.5], [0.0], [[1.0]], smoothness=1.0)
    0.125
    """
    best = optimal_step(gradient, projector, smoothness=smoothness)
    g, d = _check.vector("gradient", gradient), _check.vector("step", step, best.size)
    outside = g + smoothness * best  # (I - Pi_S) g, because L d* = -Pi_S g
    return smoothness / 2 * float(np.sum((d - best) ** 2)) + float(outside @ d)


def _true_regret_bound(factor: float, gradient: Any, step: Any, projector: Any, smoothness: float) -> float:
    best = optimal_step(gradient, projector, smoothness=smoothness)
    d = _check.vector("step", step, best.size)
    if np.linalg.norm(d - projector @ d) > _check.ROUNDING * np.linalg.norm(d):
        raise ValueError("step: expected a vector of the span, got one with a part outside")
    distance = float(np.linalg.norm(d - best))
    return factor * smoothness * float(np.linalg.norm(best)) * distance + smoothness / 2 * distance**2


def true_regret_bound_smooth(gradient: Any, step: Any, projector: Any, *, smoothness: float) -> float:
    """Bound on the third reading that holds for every loss with an L-Lipschitz gradient.

    loss(theta + d) - loss(theta + d*) <= 2 |Pi_S g| |d - d*| + (L/2) |d - d*|^2  (3.3.2).

    Parameters: `gradient`, `step` (P,), the step in the span, `projector` (P, P), `smoothness` L > 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> true_regret_bound_smooth([0.5], [0.0], [[1.0]], smoothness=1.0)
    0.625
    """
    return _true_regret_bound(2.0, gradient, step, np.asarray(projector), smoothness)


def true_regret_bound_convex(gradient: Any, step: Any, projector: Any, *, smoothness: float) -> float:
    """Bound on the third reading that holds for every convex loss with an L-Lipschitz gradient.

    loss(theta + d) - loss(theta + d*) <= |Pi_S g| |d - d*| + (L/2) |d - d*|^2  (3.3.2, convex).

    Parameters: `gradient`, `step` (P,), the step in the span, `projector` (P, P), `smoothness` L > 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> true_regret_bound_convex([0.5], [0.0], [[1.0]], smoothness=1.0)
    0.375
    """
    return _true_regret_bound(1.0, gradient, step, np.asarray(projector), smoothness)


def decrease_at_rate(gradient: Any, projector: Any, *, smoothness: float, rate: float) -> float:
    """Guaranteed decrease of a projected gradient step; positive iff 0 < rate < 2 / L, largest at 1 / L.

    rate (1 - L rate / 2) |Pi_S g|^2  (after Eq 6).

    Parameters: `gradient` (P,), `projector` (P, P), `smoothness` L > 0, `rate` >= 0. Returns: float.
    Raises: ValueError, TypeError.

    >>> decrease_at_rate([2.0], [[1.0]], smoothness=1.0, rate=1.0)
    2.0
    """
    L, rate = _check.positive("smoothness", smoothness), _check.nonnegative("rate", rate)
    projected = L * optimal_step(gradient, projector, smoothness=L)
    return rate * (1 - L * rate / 2) * float(projected @ projected)


def _tasks(gradients: Any, projector: Any, probabilities: Any) -> tuple[Array, Array, Array]:
    g = _check.matrix("gradients", gradients)
    Pi = _check.projector("projector", projector, size=g.shape[1])
    return g, Pi, _check.probabilities("probabilities", probabilities, len(g))


def adaptive_decrease(gradients: Any, projector: Any, *, smoothness: float, probabilities: Any = None) -> float:
    """Guaranteed mean decrease when each task takes its own best step.

    E|Pi_S g_t|^2 / (2L)  (Eq 6).

    Parameters: `gradients` (T, P), `projector` (P, P), `smoothness` L > 0, `probabilities` (T,) or None.
    Returns: float. Raises: ValueError, TypeError.

    >>> adaptive_decrease([[1.0], [-1.0]], [[1.0]], smoothness=1.0)
    0.5
    """
    g, Pi, p = _tasks(gradients, projector, probabilities)
    return float(p @ np.sum((g @ Pi) ** 2, axis=1)) / (2 * _check.positive("smoothness", smoothness))


def adaptive_decrease_by_residual(
    gradients: Any, projector: Any, *, smoothness: float, probabilities: Any = None
) -> float:
    """The same by what the span misses: the other side of Eq (6).

    (E|g_t|^2 - E|(I - Pi_S) g_t|^2) / (2L)  (Eq 6).

    Parameters: `gradients` (T, P), `projector` (P, P), `smoothness` L > 0, `probabilities` (T,) or None.
    Returns: float. Raises: ValueError, TypeError.

    >>> adaptive_decrease_by_residual([[1.0], [-1.0]], [[1.0]], smoothness=1.0)
    0.5
    """
    g, Pi, p = _tasks(gradients, projector, probabilities)
    whole, missed = np.sum(g**2, axis=1), np.sum((g - g @ Pi) ** 2, axis=1)
    return (float(p @ whole) - float(p @ missed)) / (2 * _check.positive("smoothness", smoothness))


def common_decrease(gradients: Any, projector: Any, *, smoothness: float, probabilities: Any = None) -> float:
    """Best guaranteed mean decrease of one step common to all tasks.

    |Pi_S E g_t|^2 / (2L), not E|Pi_S g_t|^2 / (2L)  (after Thm 3.3, CEX-2).

    Parameters: `gradients` (T, P), `projector` (P, P), `smoothness` L > 0, `probabilities` (T,) or None.
    Returns: float. Raises: ValueError, TypeError.

    >>> common_decrease([[1.0], [-1.0]], [[1.0]], smoothness=1.0)
    0.0
    """
    g, Pi, p = _tasks(gradients, projector, probabilities)
    return float(np.sum((Pi @ (p @ g)) ** 2)) / (2 * _check.positive("smoothness", smoothness))


@dataclass(frozen=True)
class RegretDecomposition:
    """Mean regret of a common step: `total` = `common` (which a step can remove) + `irreducible` (which none can)."""

    total: float
    common: float
    irreducible: float


def regret_decomposition(
    gradients: Any, step: Any, projector: Any, *, smoothness: float, probabilities: Any = None
) -> RegretDecomposition:
    """Mean regret of one step common to all tasks, and the part of it that no common step avoids.

    E (L/2) |d - d_t*|^2 = (L/2) |d + Pi_S E g_t / L|^2 + tr(Pi_S Cov(g_t) Pi_S) / (2L)  (after Thm 3.3).

    Parameters: `gradients` (T, P), `step` (P,), `projector` (P, P), `smoothness` L > 0, `probabilities` (T,) or None.
    Returns: RegretDecomposition. Raises: ValueError, TypeError.

    >>> regret_decomposition([[1.0], [-1.0]], [0.0], [[1.0]], smoothness=1.0)
    RegretDecomposition(total=0.5, common=0.0, irreducible=0.5)
    """
    g, Pi, p = _tasks(gradients, projector, probabilities)
    d, L = _check.vector("step", step, g.shape[1]), _check.positive("smoothness", smoothness)
    mean = p @ g
    return RegretDecomposition(
        total=L / 2 * float(p @ np.sum((d + g @ Pi / L) ** 2, axis=1)),
        common=L / 2 * float(np.sum((d + Pi @ mean / L) ** 2)),
        irreducible=float(p @ np.sum(((g - mean) @ Pi) ** 2, axis=1)) / (2 * L),
    )


def unreachable_regret(jacobian: Any, gradient: Any, *, smoothness: float) -> float:
    """Least regret of softmax cross-entropy with simplex labels, a free step size and free labels.

    |(Pi_S - Pi_CE) g|^2 / (2L): reachable sensitivities are those of sum zero for each input, and no others; squared loss
    with free real targets reaches all of the span, and this is zero for it  (Rem 3.4, CEX-3).

    Parameters: `jacobian` (C, m, P), `gradient` (P,), `smoothness` L > 0.
    Returns: float. Raises: ValueError, TypeError.

    >>> round(unreachable_regret([[[1.0, 0.0]], [[0.0, 1.0]]], [1.0, 1.0], smoothness=1.0), 12)
    1.0
    """
    J = _check.array("jacobian", jacobian, 3)
    g = _check.vector("gradient", gradient, J.shape[2])
    missed = (span_projector(stacked_gradients(J)) - cross_entropy_projector(J)) @ g
    return float(missed @ missed) / (2 * _check.positive("smoothness", smoothness))


@dataclass(frozen=True)
class RealisedStep:
    """Targets (C, m) and the rate at which one gradient step on them makes the wanted step."""

    targets: Array
    rate: float


def _least_sensitivity(J: Array, wanted: Array) -> Array:
    """Shortest s (C, m) with J_S^T s as near to the wanted vector as can be."""
    C, m, P = J.shape
    # The cut-off 1e-6 on singular values is the 1e-12 on their squares of `span_basis`.
    return np.asarray(np.linalg.lstsq(J.reshape(C * m, P).T, wanted, rcond=1e-6)[0], dtype=np.float64).reshape(C, m)


def realise_by_squared_loss(
    jacobian: Any, logits: Any, gradient: Any, *, smoothness: float, rate: float
) -> RealisedStep:
    """Real targets for which one gradient step of squared loss is the best step of the span: they always exist.

    (rate / m) J_S^T (z - y) = Pi_S g / L  (Rem 3.4).

    Parameters: `jacobian` (C, m, P), `logits` (C, m), `gradient` (P,), `smoothness` L > 0, `rate` > 0.
    Returns: RealisedStep. Raises: ValueError, TypeError.

    >>> realise_by_squared_loss([[[2.0]]], [[0.0]], [4.0], smoothness=1.0, rate=1.0).targets.round(12)
    array([[-2.]])
    """
    J = _check.array("jacobian", jacobian, 3)
    z = _check.matrix("logits", logits, rows=J.shape[0], columns=J.shape[1])
    rate, L = _check.positive("rate", rate), _check.positive("smoothness", smoothness)
    # J_S^T s = g is solved in the sense of least squares, which projects g on the span.
    s = _least_sensitivity(J, _check.vector("gradient", gradient, J.shape[2])) * z.shape[1] / (rate * L)
    return RealisedStep(z - s, rate)


def realise_by_cross_entropy(jacobian: Any, logits: Any, gradient: Any, *, smoothness: float) -> RealisedStep:
    """Simplex labels and a rate for which one step of softmax cross-entropy is the best step that it can reach.

    (rate / m) J_S^T (p - y) = Pi_CE g / L, with rate so large that y = p - s / rate stays in the simplex  (Rem 3.4).

    Parameters: `jacobian` (C, m, P), `logits` (C, m), `gradient` (P,), `smoothness` L > 0. Returns: RealisedStep.
    Raises: ValueError also for a network so sure (p down to about 1e-10) that rounded labels lose 1e-6 of the step,
    TypeError.

    >>> realise_by_cross_entropy([[[1.0]], [[-1.0]]], [[0.0], [0.0]], [1.0], smoothness=1.0).targets.ravel().round(12)
    array([0., 1.])
    """
    J = _check.array("jacobian", jacobian, 3)
    p = softmax(_check.matrix("logits", logits, rows=J.shape[0], columns=J.shape[1]))
    g = _check.vector("gradient", gradient, J.shape[2])
    # Centred rows have the same J^T s for every s of sum zero, and the shortest s on them has sum zero.
    s = _least_sensitivity(J - J.mean(axis=0), g) * p.shape[1] / _check.positive("smoothness", smoothness)
    with np.errstate(all="ignore"):  # p may be 0: then the rate is infinite, and no label holds the step
        rate = float(np.max(s / p, initial=0.0, where=s > 0)) or 1.0
        found = RealisedStep(p - s / rate, rate)
        lost = np.abs(rate * (p - found.targets) - s).max()
    if not lost <= LOST * np.abs(s).max():
        raise ValueError(f"logits: expected probabilities whose labels hold the step, got one down to {p.min():.3g}")
    return found
