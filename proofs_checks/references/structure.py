"""Sections 3.1 to 3.3, B.6: kernels, redundancy and subspaces of dntk_ref beside exact values."""

from itertools import combinations
from typing import Any

import numpy as np
from flint import arb

from dntk_ref import kernel, redundancy, subspace
from proofs_checks.references.agreement import Agreement, Instance
from proofs_checks.references.balls import (
    elementary,
    energy,
    eye,
    length,
    norm2,
    orthonormal,
    rank,
    root,
    rows_of,
    solve,
    span,
    spectrum,
    truncated,
    vectors,
)
from proofs_checks.references.families import GRADIENTS, KERNELS, MEANS, PROBLEMS, TIED

__all__ = ["AGREEMENTS"]


def on(function: Any, call: Any, exact: Any, cases: Any = KERNELS, **rest: Any) -> Agreement:
    """Return an agreement on the kernels, or on other cases."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, **rest)


def trace(e: Instance) -> arb:
    """The trace of the kernel: the size of what is left of it."""
    return np.trace(e.K)


def missed(e: Instance, Pi: np.ndarray) -> np.ndarray:
    """Phi (I - Pi)."""
    return e.Phi - e.Phi @ Pi


def removed(e: Instance, Pi: np.ndarray) -> np.ndarray:
    """Phi Phi^T - Phi Pi Phi^T."""
    return e.Phi @ e.Phi.T - e.Phi @ Pi @ e.Phi.T


def contraction_root(e: Instance) -> np.ndarray:
    """Phi (I - Pi)^1/2 for the contraction."""
    gap = eye(e.P) - e.half
    found = vectors(gap)
    values = np.diag(found.T @ gap @ found)
    return e.Phi @ (found * np.array([root(v) for v in values], dtype=object)) @ found.T


def exact_energy_gap(e: Instance, Pi: np.ndarray, r: int) -> list[Any]:
    """Residual, tail, misalignment, rank and total of Eq (11)."""
    values = spectrum(e.Phi.T @ e.Phi)
    held = energy(e.Phi @ Pi)
    return [energy(missed(e, Pi)), np.sum(values[r:]), np.sum(values[:r]) - held, r, energy(e.Phi)]


def factor_norms(e: Instance) -> list[Any]:
    """Squared norms of the residual factor, its rank and the lower bound on |E|_F."""
    R = contraction_root(e)
    values = spectrum(R @ R.T)
    count = rank(values, 1e-12)
    return [energy(R), values[0], count, energy(R) / root(arb(count))]


def top(e: Instance, r: int) -> np.ndarray:
    """The projector onto the leading right singular vectors."""
    V = vectors(e.Phi.T @ e.Phi)[:, :r]
    return V @ V.T


def right_gap(case: Instance) -> float:
    """How much a rounding turns the leading right singular vectors: their largest eigenvalue over the gap below them."""
    values = np.append(np.linalg.svd(case.Phi, compute_uv=False) ** 2, 0.0)
    return float(values[0] / (values[case.r - 1] - values[case.r]))


def spread(matrix: np.ndarray) -> float:
    """The condition number of a Gram matrix of rows."""
    return float(np.linalg.cond(matrix @ matrix.T))


def cut(e: Instance) -> tuple[np.ndarray, int, Any, Any, Any]:
    """Eigenvalues, rank, the next eigenvalue, the last kept one and the mean."""
    values = spectrum(e.K)
    r = truncated(values, e.epsilon)
    return values, r, values[r] if r < e.n else arb(0), values[r - 1], np.sum(values) / e.n


def residual(e: Instance, rows: np.ndarray) -> Any:
    """tr(K - K_XS K_SS^-1 K_SX)."""
    return trace(e) - np.sum(e.K[:, rows] * solve(e.K[np.ix_(rows, rows)], e.K[rows]).T)


def best_pair(e: Instance) -> list[Any]:
    """The pair of rows that leaves least, and what it leaves."""
    found = min(combinations(range(e.n), 2), key=lambda rows: float(residual(e, np.array(rows))))
    return [found, residual(e, np.array(found))]


def kernel_spread(case: Instance) -> float:
    """The condition number of the kernel, up to what rounding leaves of it."""
    values = np.linalg.eigvalsh(case.K)
    return float(values[-1] / max(values[0], values[-1] * 1e-13))


def gap_loss(e: Instance) -> Any:
    """Kappa eps of the improved bound."""
    _, _, following, last, _ = cut(e)
    return following / last * e.epsilon


def at_cut(function: Any, exact: Any, loss: Any = lambda c: 1.0, size: Any = lambda e: 0.0) -> tuple[Agreement, ...]:
    """Return the agreements of a function of kernel and epsilon, on decaying spectra and on ties."""
    return tuple(
        on(function, lambda f, c: f(c.K, c.epsilon), exact, cases, loss=loss, size=size) for cases in (KERNELS, TIED)
    )


def rooted(case: Instance) -> float:
    """How much a rounding of the largest eigenvalue grows in the root of the first one cut off; 1e8 where that is zero."""
    values = np.append(np.clip(np.linalg.eigvalsh(case.K)[::-1], 0, None), 0.0)
    partial = np.cumsum(values)
    following = values[int(np.argmax(partial >= (1 - case.epsilon) * partial[-1] * (1 - 1e-12))) + 1]
    return float(4 * np.sqrt(values[0] / max(following, values[0] * 1e-16)))


def angles(e: Instance) -> np.ndarray:
    """Principal angles, ascending: the eigenvalues of P_a P_b P_a are squared cosines."""
    a, b = span(e.X), span(e.S)
    cosines = spectrum(a @ b @ a)[: min(orthonormal(e.X.T).shape[1], len(e.S))]
    found = [(root(1 - c) / root(c)).atan() if c < 1 else arb(0) for c in cosines]
    return np.array(found, dtype=object)


def two_sided(e: Instance) -> list[Any]:
    """Lower bound, misalignment, upper bound, squared sine."""
    values, r = [*spectrum(e.Phi.T @ e.Phi), arb(0)], e.rank
    sine = energy(top(e, r) @ (eye(e.P) - e.Pi))
    gap = sum(values[:r], arb(0)) - energy(e.Phi @ e.Pi)
    return [(values[r - 1] - values[r]) * sine, gap, values[0] * sine, sine]


def angle_loss(case: Instance) -> float:
    """How much a rounding turns the leading right singular vectors of the projector's rank."""
    values = np.append(np.linalg.svd(case.Phi, compute_uv=False) ** 2, np.zeros(case.P))
    return float(values[0] / max(values[case.rank - 1] - values[case.rank], 1e-16 * values[0]))


PARAMETERS = (
    on(
        redundancy.parameter_redundancy_r1,
        lambda f, c: f(c.Phi, c.Pi),
        lambda e: length(removed(e, e.Pi)) / length(e.Phi @ e.Phi.T),
        size=lambda e: 1.0,
    ),
    on(
        redundancy.parameter_redundancy_r1_squared,
        lambda f, c: f(c.Phi, c.Pi),
        lambda e: energy(removed(e, e.Pi)) / energy(e.Phi @ e.Phi.T),
        size=lambda e: 1.0,
    ),
    on(
        redundancy.parameter_redundant_r1,
        lambda f, c: [f(c.Phi, x, 2.0) for x in (0.001, 0.1, 0.5)],
        lambda e: [
            length(removed(e, top(e, e.P // 2))) <= x * length(e.Phi @ e.Phi.T)
            for x in (arb(0.001), arb(0.1), arb(0.5))
        ],
    ),
    on(
        redundancy.parameter_redundant_r1_squared,
        lambda f, c: [f(c.Phi, x, 2.0) for x in (0.001, 0.1, 0.5)],
        lambda e: [
            energy(removed(e, top(e, e.P // 2))) <= x * energy(e.Phi @ e.Phi.T)
            for x in (arb(0.001), arb(0.1), arb(0.5))
        ],
    ),
    on(
        redundancy.largest_redundant_dimension,
        lambda f, c: [f(c.P, g) for g in (1.0, 1.5, 2.0)],
        lambda e: [e.P, 2 * e.P // 3, e.P // 2],
    ),
    on(redundancy.optimal_parameter_projector, lambda f, c: f(c.Phi, c.r), lambda e: top(e, e.r), loss=right_gap),
    on(
        redundancy.parameter_redundancy,
        lambda f, c: f(c.K, c.r),
        lambda e: root(energy(spectrum(e.K)[e.r :])) / root(energy(spectrum(e.K))),
        size=lambda e: 1.0,
    ),
    on(
        redundancy.eckart_young_error,
        lambda f, c: f(c.K, c.r),
        lambda e: root(energy(spectrum(e.K)[e.r :])),
        size=lambda e: norm2(e.K),
    ),
)

AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "eq_1_14_15": (
        on(kernel.gram, lambda f, c: f(c.Phi), lambda e: e.Phi @ e.Phi.T, PROBLEMS),
        on(kernel.cross_gram, lambda f, c: f(c.Phi, c.X), lambda e: e.Phi @ e.X.T, PROBLEMS),
        on(
            kernel.ntk_block,
            lambda f, c: f(c.J),
            lambda e: np.tensordot(e.J, e.J, axes=(2, 2)).transpose(0, 2, 1, 3),
            GRADIENTS,
        ),
        on(kernel.full_ntk, lambda f, c: f(c.J), lambda e: rows_of(e.J) @ rows_of(e.J).T, GRADIENTS),
        on(kernel.class_kernels, lambda f, c: f(c.J), lambda e: np.stack([Phi @ Phi.T for Phi in e.J]), GRADIENTS),
        on(
            kernel.differential,
            lambda f, c: f(c.Phi, c.w),
            lambda e: e.Phi @ e.w,
            PROBLEMS,
            size=lambda e: norm2(e.Phi),
        ),
        on(
            kernel.riemannian_kernel,
            lambda f, c: f(c.Phi, c.G),
            lambda e: e.Phi @ solve(e.G, e.Phi.T),
            loss=lambda c: float(np.linalg.cond(c.G)),
        ),
        on(kernel.riemannian_kernel_without_inverse, lambda f, c: f(c.Phi, c.G), lambda e: e.Phi @ e.G @ e.Phi.T),
    ),
    "sec_3_1": (
        on(
            kernel.resource_counts,
            lambda f, c: f(inputs=c.n, tests=3, classes=5, parameters=c.P, width=c.r),
            lambda e: [
                25 * e.n**2 * e.P,
                25 * e.n**2,
                5 * e.n**2 * e.P,
                5 * e.n**2,
                5 * (e.n**2 + 3 * e.n),
                5 * (e.n + 3) * e.P,
                e.P * e.r,
                5 * e.n * e.P * e.r,
            ],
        ),
    ),
    "def_3_1": (
        on(redundancy.spectrum, lambda f, c: f(c.K), lambda e: spectrum(e.K)),
        on(redundancy.spectrum, lambda f, c: f(c.K), lambda e: spectrum(e.K), TIED),
        on(
            redundancy.truncation_rank,
            lambda f, c: [f(c.K, x) for x in (c.epsilon, 0.0, 1.0)],
            lambda e: [truncated(spectrum(e.K), x) for x in (e.epsilon, arb(0), arb(1))],
            TIED,
        ),
        on(redundancy.truncation_rank, lambda f, c: f(c.K, c.epsilon), lambda e: truncated(spectrum(e.K), e.epsilon)),
        on(
            redundancy.truncation_rank_of_spectrum,
            lambda f, c: [f(c.values[c.order], x) for x in (c.epsilon, 0.0, 1.0)],
            lambda e: [truncated(e.values, x) for x in (e.epsilon, arb(0), arb(1))],
            TIED,
        ),
        on(
            redundancy.data_redundant_r1,
            lambda f, c: [f(c.K, c.epsilon, g) for g in (4 / 3, 2.0, 4.0)],
            lambda e: [truncated(e.values, e.epsilon) <= size for size in (3, 2, 1)],
            TIED,
        ),
        on(
            redundancy.data_redundant_r2,
            lambda f, c: [f(c.K, c.epsilon, g) for g in (0.75, 0.5, 0.25)],
            lambda e: [truncated(e.values, e.epsilon) <= size for size in (3, 2, 1)],
            TIED,
        ),
        *at_cut(redundancy.subset_bound_printed, lambda e: e.epsilon * trace(e)),
        *at_cut(
            redundancy.corrected_subset_bound,
            lambda e: (truncated(spectrum(e.K), e.epsilon) + 1) * e.epsilon * trace(e),
        ),
        on(
            redundancy.subset_residual,
            lambda f, c: f(c.full, c.rows),
            lambda e: residual(Instance(K=e.full, n=e.n), e.rows),
            size=lambda e: np.trace(e.full),
            loss=lambda c: 100.0,
        ),
        on(
            redundancy.best_subset,
            lambda f, c: f(c.full, 2),
            lambda e: best_pair(Instance(K=e.full, n=e.n)),
            size=lambda e: np.trace(e.full),
            loss=lambda c: 100.0,
        ),
        on(
            redundancy.volume_sampling_bound,
            lambda f, c: f(c.K, c.r),
            lambda e: (e.r + 1) * np.sum(spectrum(e.K)[e.r :]),
            size=trace,
        ),
        on(
            redundancy.volume_sampling_residual,
            lambda f, c: f(c.full, c.r),
            lambda e: (e.r + 1) * elementary(spectrum(e.full), e.r + 1) / elementary(spectrum(e.full), e.r),
            loss=lambda c: 100.0,
        ),
    ),
    "def_3_2": (
        *PARAMETERS,
        on(
            redundancy.parameter_redundancy_r2,
            lambda f, c: f(c.Phi, c.Pi),
            lambda e: energy(missed(e, e.Pi)) / energy(e.Phi),
            size=lambda e: 1.0,
        ),
        on(
            redundancy.parameter_redundant_r2,
            lambda f, c: [f(c.Phi, x, 2.0) for x in (0.001, 0.1, 0.5)],
            lambda e: [
                energy(missed(e, top(e, e.P // 2))) <= x * energy(e.Phi) for x in (arb(0.001), arb(0.1), arb(0.5))
            ],
        ),
    ),
    "rem_b_5": (on(redundancy.participation_ratio, lambda f, c: f(c.K), lambda e: trace(e) ** 2 / energy(e.K)),),
    "eq_2_3": (on(subspace.stacked_gradients, lambda f, c: f(c.J), lambda e: rows_of(e.J), GRADIENTS),),
    "eq_7_8_9": (
        on(kernel.projected_kernel, lambda f, c: f(c.Phi, c.G), lambda e: e.Phi @ e.G @ e.Phi.T),
        on(
            kernel.inducing_point_kernel,
            lambda f, c: f(c.Phi, c.repeated),
            lambda e: e.Phi @ span(e.S) @ e.Phi.T,
            loss=lambda c: spread(c.S),
        ),
        on(
            kernel.inducing_point_kernel_by_inverse,
            lambda f, c: f(c.Phi, c.S),
            lambda e: e.Phi @ span(e.S) @ e.Phi.T,
            loss=lambda c: spread(c.S),
        ),
        on(
            kernel.ridged_inducing_point_kernel,
            lambda f, c: f(c.Phi, c.repeated, c.mu),
            lambda e: (
                e.Phi
                @ e.repeated.T
                @ solve(e.repeated @ e.repeated.T + eye(len(e.repeated)) * e.mu, e.repeated @ e.Phi.T)
            ),
            loss=lambda c: spread(c.S),
        ),
        on(
            subspace.span_basis,
            lambda f, c: f(c.repeated) @ f(c.repeated).T,
            lambda e: span(e.S),
            loss=lambda c: spread(c.S),
        ),
        on(subspace.span_projector, lambda f, c: f(c.repeated), lambda e: span(e.S), loss=lambda c: spread(c.S)),
        on(
            subspace.ridged_projector,
            lambda f, c: f(c.repeated, c.mu),
            lambda e: e.repeated.T @ solve(e.repeated @ e.repeated.T + eye(len(e.repeated)) * e.mu, e.repeated),
            loss=lambda c: spread(c.S),
        ),
    ),
    "eq_10": (
        on(
            kernel.kernel_residual_norms,
            lambda f, c: f(c.Phi, c.half),
            lambda e: [length(removed(e, e.half)), norm2(removed(e, e.half)), np.trace(removed(e, e.half))],
            size=trace,
        ),
        on(kernel.kernel_bound_r1_printed, lambda f, c: f(c.Phi, c.Pi), lambda e: energy(missed(e, e.Pi)), size=trace),
        on(
            kernel.kernel_bound_r2_printed,
            lambda f, c: f(c.Phi, c.Pi),
            lambda e: norm2(e.Phi) * length(missed(e, e.Pi)),
            size=trace,
        ),
        on(
            kernel.kernel_bound_r3_printed,
            lambda f, c: f(c.Phi, c.Pi),
            lambda e: 2 * norm2(e.Phi) * length(missed(e, e.Pi)),
            size=trace,
        ),
    ),
    "eq_10_relations": (
        on(kernel.contraction_kernel_bound_r1, lambda f, c: f(c.Phi, c.half), lambda e: np.trace(removed(e, e.half))),
        on(kernel.residual_factor, lambda f, c: f(c.Phi, c.half), contraction_root),
        on(kernel.residual_factor_norms, lambda f, c: f(c.Phi, c.half), factor_norms),
    ),
    "prop_3_6": (
        on(subspace.top_projector, lambda f, c: f(c.Phi, c.r), lambda e: top(e, e.r), loss=right_gap),
        on(
            subspace.projection_residual,
            lambda f, c: f(c.Phi, c.repeated),
            lambda e: energy(missed(e, span(e.S))),
            size=trace,
            loss=lambda c: spread(c.S),
        ),
        on(
            subspace.energy_gap,
            lambda f, c: f(c.Phi, c.repeated),
            lambda e: exact_energy_gap(e, span(e.S), len(e.S)),
            size=trace,
            loss=lambda c: spread(c.S),
        ),
        on(
            subspace.energy_gap_of,
            lambda f, c: f(c.Phi, c.Pi, c.r),
            lambda e: exact_energy_gap(e, e.Pi, e.r),
            size=trace,
        ),
        on(
            subspace.misalignment_lower_bound,
            lambda f, c: [f(c.Phi, c.rank, c.r), f(c.Phi, c.P, 1)],
            lambda e: [
                np.sum(spectrum(e.Phi.T @ e.Phi)[: e.r]) - np.sum(spectrum(e.Phi.T @ e.Phi)[: e.rank]),
                spectrum(e.Phi.T @ e.Phi)[0] - energy(e.Phi),
            ],
            size=trace,
        ),
    ),
    "angle_bound": (
        on(
            subspace.principal_angles,
            lambda f, c: f(c.X, c.S),
            angles,
            size=lambda e: 1.0,
            loss=lambda c: spread(c.S) * spread(c.X),
        ),
        on(subspace.angle_bound, lambda f, c: f(c.Phi, c.Pi), two_sided, size=trace, loss=angle_loss),
    ),
    "cor_3_5": (
        on(
            subspace.second_moment,
            lambda f, c: [f(c.tasks), f(c.tasks, probabilities=c.p)],
            lambda e: [e.tasks.T @ e.tasks / 4, e.tasks.T * e.p @ e.tasks],
            GRADIENTS,
        ),
        on(
            subspace.centred_covariance,
            lambda f, c: f(c.tasks, probabilities=c.p),
            lambda e: e.tasks.T * e.p @ e.tasks - np.outer(e.p @ e.tasks, e.p @ e.tasks),
            GRADIENTS,
            loss=lambda c: 16.0,
        ),
        on(
            subspace.gradient_residual,
            lambda f, c: f(c.H, c.Pi),
            lambda e: np.trace(e.H) - np.sum(e.Pi * e.H),
            GRADIENTS,
            size=lambda e: np.trace(e.H),
        ),
        on(
            subspace.smallest_gradient_residual,
            lambda f, c: f(c.H, c.r),
            lambda e: np.sum(spectrum(e.H)[e.r :]),
            GRADIENTS,
            size=lambda e: np.trace(e.H),
        ),
    ),
    "task_link": (
        on(
            subspace.linked_second_moment,
            lambda f, c: f(c.rows, c.moment),
            lambda e: e.rows.T @ e.moment @ e.rows / 25,
            GRADIENTS,
        ),
    ),
    "lemma_w": (
        on(
            subspace.nearest_gradient_cost,
            lambda f, c: f(c.Phi, c.X),
            lambda e: sum(min((energy(x - s) for s in e.X), key=float) for x in e.Phi) / e.n,
            PROBLEMS,
        ),
        on(
            subspace.lipschitz_constant,
            lambda f, c: f(c.Phi, c.S, hidden=c.hidden, hidden_inducing=c.hidden_S),
            lambda e: max(
                (
                    length(x - s) / length(h - t)
                    for x, h in zip(e.Phi, e.hidden, strict=True)
                    for s, t in zip(e.S, e.hidden_S, strict=True)
                ),
                key=float,
            ),
        ),
        on(
            subspace.transport_bound,
            lambda f, c: f(c.spread[0], c.spread[1]),
            lambda e: e.spread[0] ** 2 * e.spread[1],
            MEANS,
        ),
    ),
    "prop_b_6": (
        on(
            redundancy.truncation_error_squared,
            lambda f, c: f(c.K, c.r),
            lambda e: energy(spectrum(e.K)[e.r :]),
            size=lambda e: energy(e.K),
        ),
        *at_cut(
            redundancy.tail_bound_r1_printed, lambda e: e.epsilon * cut(e)[2] * trace(e), size=lambda e: trace(e) ** 2
        ),
        *at_cut(redundancy.tail_bound_r2_printed, lambda e: (e.epsilon * trace(e)) ** 2),
        on(redundancy.energy_floor_printed, lambda f, c: f(c.K), lambda e: trace(e) ** 2 / e.n),
        *at_cut(
            redundancy.redundancy_bound_r1_printed,
            lambda e: root(e.epsilon * cut(e)[2] / cut(e)[4]),
            rooted,
            size=lambda e: 1.0,
        ),
        *at_cut(redundancy.redundancy_bound_r2_printed, lambda e: e.epsilon * root(arb(e.n))),
    ),
    "prop_b_6_improved": (
        *at_cut(
            redundancy.improved_redundancy_bound_gap,
            lambda e: root(gap_loss(e) / (1 - e.epsilon + gap_loss(e))),
            rooted,
            size=lambda e: 1.0,
        ),
        *at_cut(
            redundancy.improved_redundancy_bound_mean,
            lambda e: root(e.epsilon * cut(e)[2] * cut(e)[1] / e.n / cut(e)[4]) / (1 - e.epsilon),
            rooted,
            size=lambda e: 1.0,
        ),
    ),
    "b_6_jl": at_cut(
        redundancy.projected_redundancy_bound_printed,
        lambda e: root(e.epsilon * cut(e)[2] / cut(e)[4]),
        rooted,
        size=lambda e: 1.0,
    ),
}
