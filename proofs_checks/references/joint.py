"""The joint tangent space of all logits in dntk_ref beside exact values."""

from typing import Any

import numpy as np

from dntk_ref import joint
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import energy, eye, rows_of, solve, span, spectrum

__all__ = ["AGREEMENTS"]

SHAPES = ((2, 2, 3), (3, 2, 9), (2, 4, 6), (4, 3, 5), (3, 3, 20))
RATIOS = (1.0, 1e-2, 1e-4)


def _stacks(rng: np.random.Generator, i: int) -> Instance:
    """Gradients (C, m, P) of falling columns at distilled and (C, t, P) at held-out inputs, targets, cotangents."""
    C, m, P = SHAPES[i % len(SHAPES)]
    J = rng.standard_normal((C, m, P)) * 0.8 ** np.arange(P)
    if i % 4 == 3:
        J[:, -1] = J[:, 0]
    top = float(np.linalg.norm(J.transpose(1, 0, 2).reshape(-1, P), 2) ** 2)
    return Instance(
        J=J,
        X=rng.standard_normal((C, 3, P)),
        y=rng.standard_normal((C, m)),
        V=rng.standard_normal((C, m)),
        lam=RATIOS[i % 3] * top,
        top=top,
        count=1 + i % 4,
        C=C,
        m=m,
    )


STACKS = seeded(_stacks)


def condition(case: Instance) -> float:
    """How much a rounding grows in the system K + lam I."""
    return 1 + case.top / case.lam


def on(function: Any, call: Any, exact: Any, **rest: Any) -> Agreement:
    """Return an agreement on the stacks."""
    return Agreement(function=function, call=call, exact=exact, cases=STACKS, **rest)


def coefficients(J: np.ndarray, y: np.ndarray, lam: Any) -> np.ndarray:
    """The coefficients (C, m) of the solve on all rows."""
    rows = rows_of(J)
    return solve(rows @ rows.T + eye(len(rows)) * lam, y.T.reshape(-1)).reshape(y.shape[1], y.shape[0]).T


def weights(J: np.ndarray, y: np.ndarray, lam: Any) -> np.ndarray:
    """The one weight vector."""
    return rows_of(J).T @ coefficients(J, y, lam).T.reshape(-1)


def left_out(e: Instance) -> np.ndarray:
    """The residuals of every input by the fit without it."""
    found = []
    for i in range(e.m):
        rest = [j for j in range(e.m) if j != i]
        found.append(e.y[:, i] - e.J[:, i] @ weights(e.J[:, rest], e.y[:, rest], e.lam))
    return np.stack(found, axis=1)


def own_spans(e: Instance) -> Any:
    """The share of energy where every logit has its own span."""
    inside = [energy(Phi @ span(rows)) for Phi, rows in zip(e.X, e.J, strict=True)]
    return sum(inside[1:], inside[0]) / energy(e.X)


AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "joint_space": (
        on(joint.block_kernel, lambda f, c: f(c.J, c.X), lambda e: rows_of(e.J) @ rows_of(e.X).T),
        on(joint.stacked_targets, lambda f, c: f(c.y), lambda e: e.y.T.reshape(-1)),
        on(
            joint.joint_coefficients,
            lambda f, c: f(c.J, c.y, c.lam),
            lambda e: coefficients(e.J, e.y, e.lam),
            loss=condition,
        ),
        on(joint.joint_weights, lambda f, c: f(c.J, c.y, c.lam), lambda e: weights(e.J, e.y, e.lam), loss=condition),
        on(
            joint.joint_prediction,
            lambda f, c: f(c.X, c.J, c.y, c.lam),
            lambda e: e.X @ weights(e.J, e.y, e.lam),
            loss=condition,
        ),
        on(
            joint.captured_energy,
            lambda f, c: f(c.X, c.J),
            lambda e: energy(rows_of(e.X) @ span(rows_of(e.J))) / energy(e.X),
            loss=lambda c: 1e4,
        ),
        on(joint.captured_energy_per_class, lambda f, c: f(c.X, c.J), own_spans, loss=lambda c: 1e4),
        on(
            joint.pooled_pca_energy,
            lambda f, c: f(c.X, c.count),
            lambda e: np.sum(spectrum(rows_of(e.X) @ rows_of(e.X).T)[: e.count]) / energy(e.X),
        ),
    ),
    "leave_one_image_out": (
        on(joint.leave_one_image_out, lambda f, c: f(c.J, c.y, c.lam), left_out, loss=condition),
        on(joint.leave_one_image_out_by_refitting, lambda f, c: f(c.J, c.y, c.lam), left_out, loss=condition),
        on(joint.image_losses, lambda f, c: f(c.y), lambda e: np.sum(e.y * e.y, axis=0) / e.C),
    ),
    "one_cotangent": (
        on(
            joint.cotangent_gradients,
            lambda f, c: f(c.J, c.V),
            lambda e: np.sum(e.V[:, :, None] * e.J, axis=0),
        ),
        on(joint.cotangent_targets, lambda f, c: f(c.y, c.V), lambda e: np.sum(e.V * e.y, axis=0)),
    ),
}
