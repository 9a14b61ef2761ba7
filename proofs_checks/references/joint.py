"""Sections 3.3 and 4.4 for all logits together: the joint solve in T_S and its kernels in dntk_ref beside exact values."""

from typing import Any

import numpy as np
from flint import arb

from dntk_ref import gradient_distillation, joint
from proofs_checks.references.agreement import Agreement, Instance
from proofs_checks.references.balls import energy, eye, orthonormal, rows_of, solve, span, spectrum, vectors
from proofs_checks.references.families import GRADIENTS, KERNELS

__all__ = ["AGREEMENTS"]


def on(function: Any, call: Any, exact: Any, cases: Any = GRADIENTS, **rest: Any) -> Agreement:
    """Return an agreement on the gradients of all logits, or on other cases."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, loss=lambda c: 1e3, **rest)


def coefficients(J: np.ndarray, y: np.ndarray, lam: Any) -> np.ndarray:
    """(J_S J_S^T + lam)^-1 y, (C, m)."""
    rows = rows_of(J)
    alpha = solve(rows @ rows.T + eye(len(rows)) * lam, y.T.ravel())
    return alpha.reshape(y.shape[1], y.shape[0]).T


def weights(J: np.ndarray, y: np.ndarray, lam: Any) -> np.ndarray:
    """J_S^T alpha."""
    return rows_of(J).T @ coefficients(J, y, lam).T.ravel()


def left_out(e: Instance) -> np.ndarray:
    """y_i - f_-i(s_i) by refitting; with one input there is nothing left to fit."""
    found = []
    for i in range(e.m):
        rest = np.arange(e.m) != i
        without = weights(e.J[:, rest], e.y[:, rest], e.L) if e.m > 1 else e.g * 0
        found.append(e.y[:, i] - e.J[:, i] @ without)
    return np.stack(found, axis=1)


def held(e: Instance, Pi: np.ndarray) -> Any:
    """The energy of other gradients inside a span."""
    return energy(others(e) @ Pi)


def others(e: Instance) -> np.ndarray:
    """Held-out gradients of all logits, as rows: differences and sums of the tasks'."""
    return np.concatenate([e.tasks[:2]] * e.C)


def features(c: Instance) -> np.ndarray:
    """The same as features (C, t, P)."""
    return np.stack([c.tasks[:2]] * c.C)


def several(case: Instance) -> bool:
    """Whether one input can be left out."""
    return case.m > 1


def refitted(f: Any, c: Instance) -> np.ndarray:
    """The residuals by refitting; a single input has its target left."""
    return f(c.J, c.y, c.L) if several(c) else f(np.concatenate([c.J, c.J], axis=1), np.hstack([c.y, c.y]), c.L)


def refitted_exactly(e: Instance) -> np.ndarray:
    """The same in balls; a single input is taken twice."""
    if e.m > 1:
        return left_out(e)
    return left_out(Instance(J=np.concatenate([e.J, e.J], axis=1), y=np.hstack([e.y, e.y]), L=e.L, m=2, g=e.g))


def own_energy(e: Instance) -> Any:
    """The share inside each logit's own span."""
    inside = sum((energy(e.tasks[:2] @ span(rows)) for rows in e.J), arb(0))
    return inside / energy(others(e))


def leading(e: Instance) -> Any:
    """The share of the two largest eigenvalues of the pooled gradients."""
    values = spectrum(others(e) @ others(e).T)
    return np.sum(values[:2]) / np.sum(values)


def target_aware(e: Instance) -> np.ndarray:
    """The projector onto the leading eigenvector and the dual coefficients."""
    alpha = solve(e.full + eye(e.n) * e.mu, e.w[: e.n] if len(e.w) >= e.n else e.full[0])
    Q = orthonormal(np.column_stack([vectors(e.full)[:, :1], alpha]))
    return Q @ Q.T


def aware(f: Any, c: Instance) -> np.ndarray:
    """The projector of dntk_ref."""
    U = f(c.full, c.w[: c.n] if len(c.w) >= c.n else c.full[0], 2, c.mu)
    return U @ U.T


AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "joint_space": (
        on(joint.block_kernel, lambda f, c: f(c.J), lambda e: rows_of(e.J) @ rows_of(e.J).T),
        on(joint.stacked_targets, lambda f, c: f(c.y), lambda e: e.y.T.ravel()),
        on(joint.joint_coefficients, lambda f, c: f(c.J, c.y, c.L), lambda e: coefficients(e.J, e.y, e.L)),
        on(joint.joint_weights, lambda f, c: f(c.J, c.y, c.L), lambda e: weights(e.J, e.y, e.L)),
        on(
            joint.joint_prediction,
            lambda f, c: f(c.J, c.J, c.y, c.L),
            lambda e: (rows_of(e.J) @ weights(e.J, e.y, e.L)).reshape(e.m, e.C).T,
        ),
        on(
            joint.captured_energy,
            lambda f, c: f(features(c), c.J),
            lambda e: held(e, span(rows_of(e.J))) / energy(others(e)),
        ),
        on(joint.captured_energy_per_class, lambda f, c: f(features(c), c.J), own_energy),
        on(joint.pooled_pca_energy, lambda f, c: f(features(c), 2), leading),
        on(
            joint.pooled_pca_energy,
            lambda f, c: f(c.J, 1),
            lambda e: spectrum(rows_of(e.J) @ rows_of(e.J).T)[0] / energy(e.J),
        ),
    ),
    "leave_one_image_out": (
        on(joint.leave_one_image_out, lambda f, c: f(c.J, c.y, c.L), left_out),
        on(joint.leave_one_image_out_by_refitting, refitted, refitted_exactly),
        on(joint.image_losses, lambda f, c: f(c.s), lambda e: np.sum(e.s * e.s, axis=0) / e.C),
    ),
    "one_cotangent": (
        on(
            joint.cotangent_gradients,
            lambda f, c: f(c.J, c.s),
            lambda e: np.stack([sum((e.J[c, i] * e.s[c, i] for c in range(e.C)), e.g * 0) for i in range(e.m)]),
        ),
        on(joint.cotangent_targets, lambda f, c: f(c.y, c.s), lambda e: np.sum(e.y * e.s, axis=0)),
    ),
    "one_gradient": (on(gradient_distillation.target_aware_synthesis, aware, target_aware, KERNELS),),
}
