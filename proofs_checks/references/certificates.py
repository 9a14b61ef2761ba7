"""Sections 9.2 to 9.4: the certificates of dntk_ref beside exact values."""

from typing import Any

import numpy as np
from flint import arb

from dntk_ref import certificate, restricted
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import (
    energy,
    eye,
    inverse,
    length,
    norm2,
    orthonormal,
    root,
    solve,
    spectrum,
    vectors,
)
from proofs_checks.references.families import PROBLEMS, condition, root_condition

__all__ = ["AGREEMENTS", "CERTIFICATES"]


def on(function: Any, call: Any, exact: Any, cases: Any = PROBLEMS, **rest: Any) -> Agreement:
    """Return an agreement on the ridge problems."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, **rest)


def whole(e: Instance, rows: np.ndarray | None = None, s: Any = None) -> np.ndarray:
    """(Phi_S^T Phi_S + s I)^-1 by its definition, in the parameters."""
    Phi = e.Phi if rows is None else e.Phi[rows]
    return inverse(Phi.T @ Phi + eye(e.P) * (e.lam if s is None else s))


def optimum(e: Instance) -> np.ndarray:
    """w_*."""
    return e.Phi.T @ solve(e.Phi @ e.Phi.T + eye(e.n) * e.lam, e.y)


def residual(e: Instance) -> np.ndarray:
    """H w - Phi^T y."""
    return e.Phi.T @ (e.Phi @ e.w - e.y) + e.lam * e.w


def objective(e: Instance, w: np.ndarray) -> Any:
    """The ridge objective."""
    return (energy(e.Phi @ w - e.y) + e.lam * energy(w)) / 2


def form(R: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
    """x^T R y."""
    return np.sum(x * (R @ y))


def interval(e: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half width of the ellipsoid along every test row."""
    R = whole(e, e.subset)
    q = root(form(R, e.w, e.w))
    centre = np.array([form(R, x, e.w) / 2 for x in e.X], dtype=object)
    return centre, np.array([root(form(R, x, x)) * q / 2 for x in e.X], dtype=object)


def spread(e: Instance) -> tuple[np.ndarray, Any, Any]:
    """Phi_t z, the root of lambda_max(Phi_t H_S^-1 Phi_t^T), and |r| in H_S^-1."""
    R = whole(e, e.subset)
    return e.X @ (R @ e.w), root(norm2(e.X @ R @ e.X.T)), root(form(R, e.w, e.w))


def by_rows(e: Instance) -> Any:
    """Min over mu of (1 + mu)^2 / 4 r^T (lam I + mu H_S)^-1 r, over n: a grid of mu, then thirds."""
    Phi = e.Phi[e.subset]
    values, V = _eigen(Phi.T @ Phi)
    squares = np.array([np.sum(v * e.w) ** 2 for v in V.T], dtype=object)

    def bound(log_mu: Any) -> Any:
        mu = arb(log_mu).exp()
        return (1 + mu) ** 2 / 4 * np.sum(squares / (e.lam + mu * (values + e.lam)))

    best = min(range(-40, 41), key=lambda t: float(bound(t)))
    low, high = arb(best - 1), arb(best + 1)
    for _ in range(60):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b.mid()) if float(bound(a)) <= float(bound(b)) else (a.mid(), high)
    return root(min((bound(low), energy(e.w) / (4 * e.lam)), key=float) / e.n)


def _eigen(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of a Gram matrix that may lack rank: those of value zero are completed to a basis."""
    from_rank = spectrum(kernel)
    V = completed(kernel, sum(bool(v > 0) for v in from_rank))
    return np.array([form(kernel, v, v) for v in V.T], dtype=object), V


def completed(kernel: np.ndarray, r: int) -> np.ndarray:
    """The r eigenvectors above zero, and an orthonormal basis of the rest."""
    return orthonormal(np.column_stack([vectors(kernel)[:, :r], eye(len(kernel))]), 1e-30)


def conjugate(e: Instance) -> list[np.ndarray]:
    """Two steps of conjugate gradients, and the residual, which in exact arithmetic is the recursion's."""
    w, r = e.w, residual(e)
    p = -r
    for _ in range(2):
        Hp = e.Phi.T @ (e.Phi @ p) + e.lam * p
        step = energy(r) / np.sum(p * Hp)
        w, before, r = w + p * step, energy(r), r + Hp * step
        p = -r + p * (energy(r) / before)
    return [w, r]


def _mild(rng: np.random.Generator, i: int) -> Instance:
    """A well-conditioned ridge problem: conjugate gradients lose digits with the square of the condition number."""
    n, P = ((3, 4), (4, 3), (5, 5))[i % 3]
    return Instance(
        Phi=rng.standard_normal((n, P)),
        y=rng.standard_normal(n),
        w=rng.standard_normal(P),
        lam=1.0 + float(rng.random()),
        n=n,
        P=P,
    )


MILD = seeded(_mild)


def scores(e: Instance) -> np.ndarray:
    """1 where the first class beats every other by the bounds."""
    f, B = e.scores, e.bounds
    found = []
    for t in range(f.shape[1]):
        first = int(np.argmax(f[:, t].astype(float)))
        least = f[first, t] - B[first, t]
        found.append(float(all(least > f[c, t] + B[c, t] for c in range(len(f)) if c != first)))
    return np.array(found)


def _scores(rng: np.random.Generator, i: int) -> Instance:
    """Predictions of three classes with bounds, some of them a tie."""
    f = rng.standard_normal((3, 6))
    B = rng.random((3, 6)) * 0.4
    f[:, 0], B[:, 0] = [2.0, 1.0, 0.0], 0.5
    return Instance(
        scores=f,
        bounds=B,
        norm=float(rng.random()) + 0.5,
        M=float(rng.random()),
        delta=float((0.25, 0.05, 1.0)[i % 3]),
        b=4 + i,
        i=i,
    )


SCORES = seeded(_scores)


def dual_alpha(e: Instance) -> np.ndarray:
    """(K_Pi + lam)^-1 y."""
    return solve(e.low + eye(e.n) * e.lam, e.y)


def energy_lost(e: Instance) -> Any:
    """alpha^T (K - K_Pi) alpha, 0 where the rounding of the kernels makes it negative."""
    alpha = dual_alpha(e)
    found = form(e.K - e.low, alpha, alpha)
    return found if found > 0 else arb(0)


def lost_size(e: Instance) -> Any:
    """The size of lam |alpha| |K|^1/2, of which a norm of the restricted residual is what is left."""
    return e.lam * length(dual_alpha(e)) * root(norm2(e.K))


def projected_optimum(e: Instance) -> np.ndarray:
    """Argmin of J over range Pi, by a basis of it."""
    Q = basis_of(e)
    low = e.Phi @ Q
    return Q @ solve(low.T @ low + eye(Q.shape[1]) * e.lam, low.T @ e.y)


def basis_of(e: Instance) -> np.ndarray:
    """An orthonormal basis of range Pi."""
    return orthonormal(e.Pi)


def cea(e: Instance) -> Any:
    """Min over range Pi of |w - target|_H."""
    Q, H = basis_of(e), e.Phi.T @ e.Phi + eye(e.P) * e.lam
    best = Q @ solve(Q.T @ H @ Q, Q.T @ (H @ e.w))
    return root(form(H, best - e.w, best - e.w))


def gap_at(e: Instance) -> Any:
    """J(w) - D(lam alpha)."""
    return (energy(e.Phi @ e.w - e.y + e.lam * e.alpha) + e.lam * energy(e.w - e.Phi.T @ e.alpha)) / 2


def squared_condition(case: Instance) -> float:
    """The condition number where a solve's error counts beside |y| / lam."""
    return 4 * condition(case)


def sketch(e: Instance) -> np.ndarray:
    """The subsampled residual of the subset."""
    rows = e.Phi[e.subset]
    return e.lam * e.w + rows.T @ (rows @ e.w - e.y[e.subset]) * e.n / len(e.subset)


def by_kernels(e: Instance) -> Any:
    """|r| for w = X^T beta."""
    w = e.X.T @ e.beta
    return length(e.Phi.T @ (e.Phi @ w - e.y) + e.lam * w)


def residual_size(e: Instance) -> Any:
    """The size of the terms of a residual."""
    return norm2(e.Phi) * (norm2(e.Phi) * length(e.w) + length(e.y)) + e.lam * length(e.w)


def lower(e: Instance) -> Any:
    """Lam + the least eigenvalue of the kernel, which is not below zero."""
    return e.lam + max((spectrum(e.K)[-1], arb(0)), key=float)


def shrunk(e: Instance) -> np.ndarray:
    """Rows of lam H^-1 phi."""
    return (whole(e) @ e.X.T).T * e.lam


CERTIFICATES: dict[str, tuple[Agreement, ...]] = {
    "head_preserving": (
        on(
            certificate.fidelity_bound,
            lambda f, c: f(c.Phi, 2.0, c.X, c.lam),
            lambda e: np.array([2 * length(x) for x in shrunk(e)], dtype=object),
            size=lambda e: 2 * norm2(e.X),
            # Rounded up by what the singular values of the rows may be off, which the root of the condition number carries.
            loss=lambda c: 16 * root_condition(c),
        ),
    ),
    "certificate_primal": (
        on(certificate.weights_bound, lambda f, c: f(c.w, c.lam), lambda e: length(e.w) / e.lam),
        on(
            certificate.training_rms_bound,
            lambda f, c: f(c.w, c.lam, c.n),
            lambda e: length(e.w) / (2 * root(e.lam * e.n)),
        ),
        on(certificate.excess_bound, lambda f, c: f(c.w, c.lam), lambda e: energy(e.w) / (2 * e.lam)),
        on(
            certificate.residual_energy,
            lambda f, c: f(c.Phi[c.subset], c.w, c.lam),
            lambda e: form(whole(e, e.subset), e.w, e.w),
            loss=root_condition,
        ),
        on(
            certificate.pointwise_bound,
            lambda f, c: f(c.X, c.w, c.lam),
            lambda e: np.array([length(x) * length(e.w) / e.lam for x in e.X], dtype=object),
        ),
        on(
            certificate.pointwise_bound_by_rows,
            lambda f, c: f(c.X, c.Phi, c.subset, c.w, c.lam),
            lambda e: 2 * interval(e)[1],
            loss=root_condition,
        ),
        on(
            certificate.training_rms_bound_by_energy,
            lambda f, c: f(c.Phi, c.subset, c.w, c.lam),
            lambda e: root(form(whole(e, e.subset), e.w, e.w) / e.n),
            loss=root_condition,
        ),
        on(
            certificate.training_rms_bound_by_rows,
            lambda f, c: f(c.Phi, c.subset, c.w, c.lam),
            by_rows,
            loss=lambda c: 1e3 + root_condition(c),
        ),
    ),
    "certificate_held_out": (
        on(
            certificate.pointwise_bound_centred,
            lambda f, c: f(c.X, c.Phi, c.subset, c.w, c.lam),
            lambda e: abs(interval(e)[0]) + interval(e)[1],
            loss=root_condition,
        ),
        on(
            certificate.held_out_rms_bound,
            lambda f, c: f(c.X, c.Phi, c.subset, c.w, c.lam),
            lambda e: spread(e)[1] * spread(e)[2] / root(arb(3)),
            loss=root_condition,
        ),
        on(
            certificate.held_out_rms_bound_centred,
            lambda f, c: f(c.X, c.Phi, c.subset, c.w, c.lam),
            lambda e: (length(spread(e)[0]) + spread(e)[1] * spread(e)[2]) / (2 * root(arb(3))),
            loss=root_condition,
        ),
    ),
    "certificate_dual": (
        on(
            restricted.dual_bound_by_norm,
            lambda f, c: f(c.kappa, c.y, c.lam),
            lambda e: np.array([root(k) for k in e.kappa], dtype=object) * length(e.y) / (2 * root(e.lam)),
        ),
        on(
            restricted.dual_bound_by_cross,
            lambda f, c: f(c.k, c.K, c.y, c.lam),
            lambda e: np.array([length(k) for k in e.k], dtype=object) * length(e.y) / lower(e),
            loss=squared_condition,
        ),
    ),
    "certificate_streaming": (
        on(
            restricted.subsampled_bound,
            lambda f, c: f(c.norm, c.M, c.b, c.delta),
            lambda e: e.norm + e.M * (1 + root(-2 * e.delta.log())) / root(arb(e.b)),
            SCORES,
        ),
    ),
    "nystrom_bounds": (
        on(
            restricted.restricted_excess_bound,
            lambda f, c: f(c.K, c.low, c.y, c.lam),
            lambda e: e.lam * energy_lost(e) / 2,
            loss=squared_condition,
            size=lambda e: lost_size(e) ** 2 / e.lam,
        ),
        on(
            restricted.restricted_excess_bound_by_trace,
            lambda f, c: f(c.K, c.low, c.y, c.lam),
            lambda e: e.lam * np.trace(e.K - e.low) * energy(dual_alpha(e)) / 2,
            loss=squared_condition,
            size=lambda e: lost_size(e) ** 2 / e.lam,
        ),
        on(
            restricted.restricted_training_bound,
            lambda f, c: f(c.K, c.low, c.y, c.lam),
            lambda e: norm2(e.K - e.low) / (e.lam + norm2(e.K - e.low)) * length(e.y),
            size=lambda e: length(e.y),
        ),
        on(
            restricted.restricted_pointwise_bound,
            lambda f, c: f(c.kappa, c.K, c.low, c.y, c.lam),
            lambda e: np.array([root(k) for k in e.kappa], dtype=object) * root(energy_lost(e)),
            loss=lambda c: 1e4 * condition(c),
            size=lambda e: root(max(e.kappa, key=float)) * lost_size(e) / e.lam,
        ),
        on(
            restricted.restricted_pointwise_bound_by_trace,
            lambda f, c: f(c.kappa, c.K, c.low, c.y, c.lam),
            lambda e: (
                np.array([root(k) for k in e.kappa], dtype=object) * root(np.trace(e.K - e.low)) * length(e.y) / e.lam
            ),
            loss=lambda c: 1e4,
            size=lambda e: root(max(e.kappa, key=float)) * root(np.trace(e.K)) * length(e.y) / e.lam,
        ),
    ),
}

OTHERS: dict[str, tuple[Agreement, ...]] = {
    "head_preserving": (
        on(
            certificate.fidelity_error,
            lambda f, c: f(c.Phi, c.w, c.X, c.lam),
            lambda e: shrunk(e) @ e.w,
            loss=root_condition,
        ),
    ),
    "certificate_primal": (
        on(certificate.residual, lambda f, c: f(c.Phi, c.y, c.w, c.lam), residual, size=residual_size),
        on(
            certificate.weights_bound_lower,
            lambda f, c: f(c.Phi, c.w, c.lam),
            lambda e: length(e.w) / (norm2(e.Phi) ** 2 + e.lam),
        ),
        on(
            certificate.excess,
            lambda f, c: f(c.Phi, c.y, c.w, c.lam),
            lambda e: objective(e, e.w) - objective(e, optimum(e)),
            loss=root_condition,
        ),
        on(
            certificate.optimal_objective,
            lambda f, c: f(c.K, c.y, c.lam),
            lambda e: e.lam / 2 * np.sum(e.y * solve(e.K + eye(e.n) * e.lam, e.y)),
            loss=condition,
        ),
        on(
            certificate.dual_objective,
            lambda f, c: f(c.Phi, c.y, c.alpha, c.lam),
            lambda e: np.sum(e.y * e.alpha) - energy(e.alpha) / 2 - energy(e.Phi.T @ e.alpha) / (2 * e.lam),
            size=lambda e: energy(e.y),
        ),
        on(
            certificate.duality_gap,
            lambda f, c: f(c.Phi, c.y, c.w, c.lam),
            lambda e: energy(residual(e)) / (2 * e.lam),
            size=lambda e: objective(e, e.w),
        ),
        on(certificate.duality_gap_at, lambda f, c: f(c.Phi, c.y, c.w, c.alpha, c.lam), gap_at),
        on(
            certificate.rms,
            lambda f, c: f(c.Phi, c.w),
            lambda e: length(e.Phi @ e.w) / root(arb(e.n)),
            size=lambda e: norm2(e.Phi),
        ),
    ),
    "certificate_held_out": (
        on(
            certificate.error_interval,
            lambda f, c: f(c.X, c.Phi, c.subset, c.w, c.lam),
            lambda e: list(interval(e)),
            loss=root_condition,
            size=lambda e: max(interval(e)[1], key=float),
        ),
        on(certificate.certified, lambda f, c: f(c.scores, c.bounds), scores, SCORES),
    ),
    "certificate_dual": (
        on(
            restricted.dual_residual,
            lambda f, c: f(c.K, c.y, c.alpha, c.lam),
            lambda e: e.K @ e.alpha + e.lam * e.alpha - e.y,
            size=lambda e: length(e.y),
        ),
        on(
            restricted.residual_norm_by_kernels,
            lambda f, c: f(c.Phi @ c.Phi.T, c.Phi @ c.X.T, c.own, c.y, c.beta, c.lam),
            by_kernels,
            loss=lambda c: 100.0,
        ),
    ),
    "certificate_streaming": (
        on(
            restricted.subsampled_residual, lambda f, c: f(c.Phi, c.y, c.w, c.lam, c.subset), sketch, size=residual_size
        ),
        on(
            restricted.largest_term,
            lambda f, c: f(c.Phi, c.y, c.w),
            lambda e: (
                e.n
                * max((abs(np.sum(phi * e.w) - t) * length(phi) for phi, t in zip(e.Phi, e.y, strict=True)), key=float)
            ),
            size=residual_size,
        ),
    ),
    "certificate_refinement": (
        on(
            certificate.conjugate_gradients,
            lambda f, c: f(c.Phi, c.y, c.w, c.lam, 2),
            conjugate,
            MILD,
            size=lambda e: length(residual(e)),
            loss=lambda c: 1e3,
        ),
    ),
    "certificate_rounding": (
        on(
            certificate.rounding_allowance,
            lambda f, c: f(c.Phi, c.y, c.w, c.lam, 0.5),
            lambda e: (energy(e.Phi) * length(e.w) + length(e.Phi) * length(e.y) + e.lam * length(e.w)) / 2,
        ),
        on(
            certificate.accumulated_rounding,
            lambda f, c: f(c.n, 2.0**-24),
            lambda e: e.n * arb(2) ** -24 / (1 - e.n * arb(2) ** -24),
        ),
    ),
    "nystrom_bounds": (
        on(
            restricted.subspace_weights,
            lambda f, c: f(c.Phi, c.y, c.Pi, c.lam),
            projected_optimum,
            loss=squared_condition,
        ),
        on(
            restricted.energy_distance,
            lambda f, c: f(c.Phi, c.w, c.lam),
            lambda e: root(energy(e.Phi @ e.w) + e.lam * energy(e.w)),
        ),
        on(
            restricted.subspace_distance,
            lambda f, c: f(c.Phi, c.w, c.Pi, c.lam),
            cea,
            size=lambda e: norm2(e.Phi) * length(e.w),
            loss=root_condition,
        ),
        on(
            restricted.restricted_residual_norm,
            lambda f, c: f(c.K, c.low, c.y, c.lam),
            lambda e: e.lam * root(energy_lost(e)),
            size=lost_size,
            loss=lambda c: 1e4 * condition(c),
        ),
    ),
}

AGREEMENTS = {label: CERTIFICATES.get(label, ()) + OTHERS.get(label, ()) for label in CERTIFICATES | OTHERS}
