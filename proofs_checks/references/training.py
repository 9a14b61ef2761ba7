"""Sections 3.3 (regret), 3.4, 4.1: losses, local structure and barycentres of dntk_ref beside exact values.

One file because losses, clusters and barycentres share their exact instances.
"""

from typing import Any

import numpy as np
from flint import arb

from dntk_ref import barycenter, locality, regret
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import (
    energy,
    eye,
    inside,
    norm2,
    pseudo,
    root,
    rows_of,
    span,
    spectrum,
    truncated,
    vectors,
)
from proofs_checks.references.families import GRADIENTS, MEANS, PARTS

__all__ = ["AGREEMENTS"]


def on(function: Any, call: Any, exact: Any, cases: Any = GRADIENTS, **rest: Any) -> Agreement:
    """Return an agreement on the gradients, or on other cases."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, **rest)


def softmax(e: Instance) -> np.ndarray:
    """Class probabilities."""
    weights = np.exp(e.z)
    return weights / np.sum(weights, axis=0)


def best(e: Instance) -> np.ndarray:
    """The best step of the span."""
    return -(e.Pi @ e.g) / e.L


def model(e: Instance, step: np.ndarray) -> Any:
    """The upper model at value 0."""
    return np.sum(e.g * step) + e.L / 2 * energy(step)


def loss(H: np.ndarray, theta: np.ndarray) -> Any:
    """A quadratic loss."""
    return np.sum(theta * (H @ theta)) / 2


def per_task(e: Instance, steps: np.ndarray) -> Any:
    """The expectation over the tasks of squared lengths."""
    return np.sum(e.p * np.sum(steps * steps, axis=1))


def centred(e: Instance) -> np.ndarray:
    """Gradients less their mean over the logits, as rows: what sensitivities of sum zero combine."""
    return rows_of(e.J - np.sum(e.J, axis=0) / e.C)


def reachable(e: Instance) -> np.ndarray:
    """The projector onto what softmax cross-entropy can reach: one row of each input is the others' negative sum."""
    return span(rows_of((e.J - np.sum(e.J, axis=0) / e.C)[: e.C - 1])) if e.C > 1 else eye(e.P) * 0


def least(rows: np.ndarray, e: Instance) -> np.ndarray:
    """The shortest sensitivity whose combination of the rows is the projected gradient, (C, m)."""
    return (pseudo(rows @ rows.T) @ (rows @ e.g)).reshape(e.m, e.C).T


def labels_for_cross_entropy(e: Instance) -> list[Any]:
    """Simplex labels and a rate: s = rate (p - y), the rate as small as keeps y >= 0."""
    s, p = least(centred(e), e) * e.m / e.L, softmax(e)
    rate = max((a / b for a, b in zip(s.ravel(), p.ravel(), strict=True)), key=float)
    return [p - s / rate, rate]


def true_loss(case: Instance) -> Any:
    """The loss as a function of the parameters, in float64."""
    return lambda theta: float(loss(case.H, theta))


def step_of(name: Any) -> Any:
    """Return the call of a function of gradient, step, projector and smoothness."""
    return lambda f, c: f(c.g, c.Pi @ c.d if name else c.d, c.Pi, smoothness=c.L)


def bound(factor: int) -> Any:
    """Return c |Pi g| |d - d*| + (L / 2) |d - d*|^2 for the step in the span."""
    return lambda e: (
        factor * root(energy(e.Pi @ e.g)) * root(energy(e.Pi @ e.d - best(e))) + e.L / 2 * energy(e.Pi @ e.d - best(e))
    )


def gradient_sizes(e: Instance) -> Any:
    """The size of the terms of a regret."""
    return energy(e.g) / e.L + e.L * energy(e.d) + root(energy(e.g) * energy(e.d))


# Section 3.4.


def blocks(e: Instance) -> list[np.ndarray]:
    """Row numbers of the clusters, by label."""
    return [np.flatnonzero(e.labels == label) for label in np.unique(e.labels)]


def local(e: Instance, epsilon: Any) -> tuple[np.ndarray, list[int], arb]:
    """The projector onto the padded local eigenvectors, the ranks, and what the blocks leave out."""
    Pi, ranks, left = eye(e.n) * 0, [], arb(0)
    for rows in blocks(e):
        K = e.K[np.ix_(rows, rows)]
        values, found = spectrum(K), vectors(K)
        r = truncated(values, epsilon)
        Pi[np.ix_(rows, rows)] = found[:, :r] @ found[:, :r].T
        ranks.append(r)
        left += np.sum(values[r:])
    return Pi, ranks, left


def leading(e: Instance, epsilon: Any) -> np.ndarray:
    """The leading eigenvectors of the kernel."""
    return vectors(e.K)[:, : truncated(spectrum(e.K), epsilon)]


def property_a(e: Instance, epsilon_local: Any, epsilon_global: Any, restricted: bool) -> np.ndarray:
    """Property (A): the share of each local energy inside the restricted global vectors, or the global ones."""
    U, shares = leading(e, epsilon_global), []
    for rows in blocks(e):
        K = e.K[np.ix_(rows, rows)]
        values, found = spectrum(K), vectors(K)
        r = truncated(values, epsilon_local)
        P = span(U[rows].T) if restricted else U[rows] @ U[rows].T
        held = sum((values[j] * np.sum(found[:, j] * (P @ found[:, j])) for j in range(r)), arb(0))
        shares.append(held / np.sum(values[:r]))
    return np.array(shares, dtype=object)


def coverage(U: np.ndarray, Pi: np.ndarray) -> np.ndarray:
    """|Pi u_j|^2."""
    return np.sum(U * (Pi @ U), axis=0)


def by_cluster(U: np.ndarray, Pi: np.ndarray, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Shares, weights and the best share of each global direction, cluster by cluster."""
    weight = np.stack([np.sum(U[rows] * U[rows], axis=0) for rows in parts], axis=1)
    held = np.stack([np.sum(U[rows] * (Pi[np.ix_(rows, rows)] @ U[rows]), axis=0) for rows in parts], axis=1)
    share = held / weight
    return [share, weight, np.array([max(row, key=float) for row in share], dtype=object)]


def projected(e: Instance) -> np.ndarray:
    """The projector onto the given local directions."""
    return e.B @ e.B.T


def gap_operator(e: Instance) -> np.ndarray:
    """U^T (I - Pi) U."""
    return e.U.T @ e.U - e.U.T @ projected(e) @ e.U


def gap_span(e: Instance) -> np.ndarray:
    """The projector onto the directions that the local ones cover by less than the threshold."""
    values, found = spectrum(gap_operator(e)), vectors(gap_operator(e))
    V = e.U @ found[:, np.array([value > 1 - e.tau for value in values], dtype=bool)]
    return V @ V.T


def rayleigh(e: Instance, basis: np.ndarray) -> np.ndarray:
    """u_j^T K u_j."""
    return np.sum(basis * (e.K @ basis), axis=0)


def completion(e: Instance, target: np.ndarray) -> np.ndarray:
    """The projector onto the q best directions of the target off the local ones."""
    off = eye(e.n) - projected(e)
    W = vectors(off @ target @ off)[:, : e.q]
    return W @ W.T


def theorem_lg1(e: Instance) -> list[Any]:
    """What the restricted global vectors leave, the tail, its bound, the weighted mean of (12), its bound."""
    U, uncovered, parts, held = leading(e, e.wide), arb(0), [], []
    for rows in blocks(e):
        K = e.K[np.ix_(rows, rows)]
        uncovered += np.sum((eye(len(rows)) - span(U[rows].T)) * K)
        values = spectrum(K)
        parts.append(np.sum(values[: truncated(values, e.epsilon)]))
    ratios = property_a(e, e.epsilon, e.wide, True)
    held = sum((a * b for a, b in zip(parts, ratios, strict=True)), arb(0))
    return [
        uncovered,
        np.sum(spectrum(e.K)[U.shape[1] :]),
        e.wide * np.trace(e.K),
        held / sum(parts, arb(0)),
        1 - e.wide / (1 - e.epsilon),
    ]


def corollary_lg3(e: Instance) -> list[Any]:
    """Largest, weighted and gap energy beside their bounds."""
    U, (Pi, _, _) = leading(e, e.wide), local(e, e.epsilon)
    values, c, whole = rayleigh(e, U), coverage(U, Pi), np.trace(e.K)
    return [
        max(values * (1 - c), key=float),
        e.epsilon * whole,
        np.sum(values * (1 - c)) / np.sum(values),
        e.epsilon / (1 - e.wide),
        sum((v for v, x in zip(values, c, strict=True) if x < e.tau), arb(0)),
        e.epsilon * whole / (1 - e.tau),
    ]


def everything(e: Instance) -> list[Any]:
    """Ranks, the local projector's diagonal, coverages, gaps, both gap measures, property (A) and its null value."""
    U, (Pi, ranks, _) = leading(e, e.wide), local(e, e.epsilon)
    best_share, values, c = by_cluster(U, Pi, blocks(e))[2], rayleigh(e, U), coverage(U, Pi)
    r = U.shape[1]
    return [
        r,
        np.array(ranks),
        best_share,
        c,
        np.flatnonzero([x < e.tau for x in best_share]),
        np.sum(values * (1 - c)) / np.sum(values),
        1 - np.sum(c) / r,
        property_a(e, e.epsilon, e.wide, True),
        np.array([min(1.0, r / len(rows)) for rows in blocks(e)]),
    ]


def shares_of(c: Instance) -> dict[str, float]:
    """The two shares of a partition, as dntk_ref takes them."""
    return {"epsilon_local": c.epsilon, "epsilon_global": c.wide}


def without_basis(found: Any) -> list[Any]:
    """All of a Locality but the basis, which is one up to signs."""
    return [
        found.global_rank,
        found.local_ranks,
        found.coverage,
        found.true_coverage,
        found.gap,
        found.weighted_gap,
        found.unweighted_gap,
        found.property_a,
        found.property_a_null,
    ]


def turned(case: Instance) -> float:
    """How much a rounding turns eigenvectors: the trace over the least gap, of the kernel and of every block."""
    spectra = [np.linalg.eigvalsh(case.K)] + [
        np.linalg.eigvalsh(case.K[np.ix_(case.labels == h, case.labels == h)]) for h in np.unique(case.labels)
    ]
    return 4 * max(float(case.K.trace() / np.min(np.diff(v), initial=v[-1])) for v in spectra)


def squared(matrix: np.ndarray) -> np.ndarray:
    """V V^T."""
    return matrix @ matrix.T


# Section 4.1.


def means_of(e: Instance) -> np.ndarray:
    """The means of the two groups."""
    return np.stack([np.sum(e.points[e.labels == h], axis=0) / int(np.sum(e.labels == h)) for h in (0, 1)])


def cost(e: Instance, support: np.ndarray) -> Any:
    """The mean squared distance of the points to their group's support point."""
    return energy(e.points - support[e.labels]) / len(e.labels)


def group_shares(e: Instance) -> np.ndarray:
    """The shares of the groups."""
    return np.array([arb(int(np.sum(e.labels == h))) / len(e.labels) for h in (0, 1)], dtype=object)


def ordered(points: np.ndarray) -> np.ndarray:
    """Points by their first coordinate."""
    return points[np.argsort(points[:, 0].astype(float))]


def made(found: Any) -> list[Any]:
    """A barycentre with its points in order."""
    order = np.argsort(found.points[:, 0])
    return [found.points[order], found.weights[order], found.cost]


def rng() -> np.random.Generator:
    """A generator: groups far apart leave it nothing to decide."""
    return np.random.default_rng(0)


def equal_weights(case: Instance) -> np.ndarray:
    """Voronoi weights of the support, in float64."""
    return np.bincount(case.labels) / len(case.labels)


def cancelling(case: Instance) -> float:
    """Coordinates of a hundred whose differences are of order one: their squares, in roundings."""
    return 1e4


def _tied_points(generator: np.random.Generator, i: int) -> Instance:
    """Coverages that meet a threshold exactly."""
    return Instance(
        coverage=np.array([0.5, 0.25, 0.75, 1.0, 0.125, 0.0]), threshold=float((0.5, 0.25, 0.75, 1.0)[i % 4]), i=i
    )


TIES = seeded(_tied_points)

AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "eq_4": (
        on(regret.softmax, lambda f, c: f(c.z), softmax),
        on(regret.cross_entropy, lambda f, c: f(c.z, c.y), lambda e: -np.sum(e.y * np.log(softmax(e))) / e.m),
        on(
            regret.cross_entropy_sensitivity, lambda f, c: f(c.z, c.s), lambda e: softmax(e) * np.sum(e.s, axis=0) - e.s
        ),
        on(regret.squared_loss, lambda f, c: f(c.z, c.s), lambda e: energy(e.z - e.s) / (2 * e.m)),
        on(regret.squared_loss_sensitivity, lambda f, c: f(c.z, c.s), lambda e: e.z - e.s, size=lambda e: norm2(e.z)),
        on(
            regret.loss_gradient_summed,
            lambda f, c: f(c.J, c.s),
            lambda e: rows_of(e.J).T @ e.s.T.ravel(),
            size=lambda e: norm2(rows_of(e.J)),
        ),
        on(
            regret.loss_gradient,
            lambda f, c: f(c.J, c.s),
            lambda e: rows_of(e.J).T @ e.s.T.ravel() / e.m,
            size=lambda e: norm2(rows_of(e.J)),
        ),
        on(regret.cross_entropy_projector, lambda f, c: f(c.J), reachable, loss=lambda c: 1e3),
    ),
    "thm_3_3": (
        on(
            regret.quadratic_model,
            lambda f, c: f(c.value, c.g, c.d, smoothness=c.L),
            lambda e: e.value + model(e, e.d),
            size=gradient_sizes,
        ),
        on(regret.optimal_step, lambda f, c: f(c.g, c.Pi, smoothness=c.L), best),
        on(regret.model_regret, step_of(False), lambda e: model(e, e.d) - model(e, best(e)), size=gradient_sizes),
        on(
            regret.true_to_model_regret,
            lambda f, c: f(true_loss(c), c.theta, c.g, c.d, c.Pi, smoothness=c.L),
            lambda e: loss(e.H, e.theta + e.d) - loss(e.H, e.theta) - model(e, best(e)),
            size=lambda e: gradient_sizes(e) + norm2(e.H) * energy(e.theta),
        ),
        on(
            regret.true_regret,
            lambda f, c: f(true_loss(c), c.theta, c.g, c.d, c.Pi, smoothness=c.L),
            lambda e: loss(e.H, e.theta + e.d) - loss(e.H, e.theta + best(e)),
            size=lambda e: gradient_sizes(e) + norm2(e.H) * energy(e.theta),
        ),
        on(
            regret.regret_bound_printed,
            step_of(False),
            lambda e: np.sum(e.g * (e.d - best(e))) + e.L / 2 * (energy(e.d) - energy(best(e))),
            size=gradient_sizes,
        ),
    ),
    "regret_identity": (
        on(
            regret.exact_regret,
            step_of(False),
            lambda e: e.L / 2 * energy(e.d - best(e)) + np.sum((e.g - e.Pi @ e.g) * e.d),
            size=gradient_sizes,
        ),
        on(
            regret.regret_decomposition,
            lambda f, c: f(c.tasks, c.d, c.Pi, smoothness=c.L, probabilities=c.p),
            lambda e: [
                e.L / 2 * per_task(e, e.tasks @ e.Pi / e.L + e.d),
                e.L / 2 * energy(e.d + e.Pi @ (e.p @ e.tasks) / e.L),
                per_task(e, (e.tasks - e.p @ e.tasks) @ e.Pi) / (2 * e.L),
            ],
        ),
    ),
    "sec_3_3_2": (
        on(regret.true_regret_bound_smooth, step_of(True), bound(2)),
        on(regret.true_regret_bound_convex, step_of(True), bound(1)),
    ),
    "thm_3_3_minimiser": (
        on(
            regret.decrease_at_rate,
            lambda f, c: f(c.g, c.Pi, smoothness=c.L, rate=c.rate),
            lambda e: e.rate * (1 - e.L * e.rate / 2) * energy(e.Pi @ e.g),
            size=lambda e: energy(e.g),
        ),
        on(
            regret.adaptive_decrease,
            lambda f, c: f(c.tasks, c.Pi, smoothness=c.L, probabilities=c.p),
            lambda e: per_task(e, e.tasks @ e.Pi) / (2 * e.L),
        ),
        on(
            regret.adaptive_decrease_by_residual,
            lambda f, c: f(c.tasks, c.Pi, smoothness=c.L, probabilities=c.p),
            lambda e: per_task(e, e.tasks @ e.Pi) / (2 * e.L),
            size=lambda e: energy(e.tasks),
        ),
    ),
    "thm_3_3_regret": (
        on(
            regret.common_decrease,
            lambda f, c: f(c.tasks, c.Pi, smoothness=c.L, probabilities=c.p),
            lambda e: energy(e.Pi @ (e.p @ e.tasks)) / (2 * e.L),
        ),
    ),
    "rem_3_4": (
        on(
            regret.unreachable_regret,
            lambda f, c: f(c.J, c.g, smoothness=c.L),
            lambda e: energy((span(rows_of(e.J)) - reachable(e)) @ e.g) / (2 * e.L),
            size=lambda e: energy(e.g),
            loss=lambda c: 1e3,
        ),
        on(
            regret.realise_by_squared_loss,
            lambda f, c: f(c.J, c.z, c.g, smoothness=c.L, rate=c.rate),
            lambda e: [e.z - least(rows_of(e.J), e) * e.m / (e.rate * e.L), e.rate],
            loss=lambda c: 1e3,
        ),
        on(
            regret.realise_by_cross_entropy,
            lambda f, c: f(c.J, c.z, c.g, smoothness=c.L),
            labels_for_cross_entropy,
            loss=lambda c: 1e4,
        ),
    ),
    "property_a": (
        on(locality.clusters, lambda f, c: f(c.labels), blocks, PARTS),
        on(
            locality.property_a_r1,
            lambda f, c: f(c.K, c.labels, **shares_of(c)),
            lambda e: property_a(e, e.epsilon, e.wide, True),
            PARTS,
            loss=turned,
        ),
        on(
            locality.property_a_r2,
            lambda f, c: f(c.K, c.labels, **shares_of(c)),
            lambda e: property_a(e, e.epsilon, e.wide, False),
            PARTS,
            loss=turned,
        ),
        on(
            locality.property_a_null,
            lambda f, c: f(c.labels, c.q),
            lambda e: np.array([min(1.0, e.q / len(rows)) for rows in blocks(e)]),
            PARTS,
        ),
    ),
    "property_b": (
        on(locality.true_coverage, lambda f, c: f(c.U, c.B), lambda e: coverage(e.U, projected(e)), PARTS),
        on(
            locality.property_b,
            lambda f, c: f(c.U, c.B),
            lambda e: max(1 - coverage(e.U, projected(e)), key=float),
            PARTS,
            size=lambda e: 1.0,
        ),
        on(
            locality.weighted_gap,
            lambda f, c: f(c.K, c.U, c.B),
            lambda e: np.sum(rayleigh(e, e.U) * (1 - coverage(e.U, projected(e)))) / np.sum(rayleigh(e, e.U)),
            PARTS,
            size=lambda e: 1.0,
        ),
        on(
            locality.unweighted_gap,
            lambda f, c: f(c.U, c.B),
            lambda e: 1 - np.sum(coverage(e.U, projected(e))) / e.U.shape[1],
            PARTS,
            size=lambda e: 1.0,
        ),
    ),
    "alg_1_stages_1_2": (
        on(
            locality.global_basis,
            lambda f, c: squared(f(c.K, c.wide)),
            lambda e: squared(leading(e, e.wide)),
            PARTS,
            loss=turned,
        ),
        on(
            locality.local_basis,
            lambda f, c: [squared(f(c.K, c.labels, c.epsilon).basis), f(c.K, c.labels, c.epsilon).ranks],
            lambda e: [local(e, e.epsilon)[0], np.array(local(e, e.epsilon)[1])],
            PARTS,
            loss=turned,
        ),
    ),
    "alg_1_stage_3": (
        on(
            locality.cluster_coverage,
            lambda f, c: f(c.U, c.B, c.labels),
            lambda e: by_cluster(e.U, projected(e), blocks(e)),
            PARTS,
            loss=lambda c: 1e4,
        ),
        on(
            locality.gap_set,
            lambda f, c: f(c.coverage, c.threshold),
            lambda e: np.flatnonzero([x < e.threshold for x in e.coverage]),
            TIES,
        ),
        on(locality.gap_operator, lambda f, c: f(c.U, c.B), gap_operator, PARTS, size=lambda e: 1.0),
        on(locality.gap_directions, lambda f, c: squared(f(c.U, c.B, c.tau)), gap_span, PARTS, loss=lambda c: 1e4),
    ),
    "optimal_completion": (
        on(
            locality.optimal_completion,
            lambda f, c: squared(f(c.K, c.B, c.q)),
            lambda e: completion(e, e.K),
            PARTS,
            loss=lambda c: 10 * turned(c),
        ),
        on(
            locality.restricted_completion,
            lambda f, c: squared(f(c.K, c.B, c.q)),
            lambda e: completion(e, e.K - inside(e.K, e.B)),
            PARTS,
            loss=lambda c: 100 * turned(c),
        ),
        on(locality.completion_energy, lambda f, c: f(c.K, c.U), lambda e: np.sum(rayleigh(e, e.U)), PARTS),
        on(
            locality.restricted_energy,
            lambda f, c: f(c.K, c.B),
            lambda e: np.trace(inside(e.K, e.B)),
            PARTS,
            loss=lambda c: 100.0,
        ),
    ),
    "lg_1": (
        on(
            locality.theorem_lg1,
            lambda f, c: f(c.K, c.labels, **shares_of(c)),
            theorem_lg1,
            PARTS,
            size=lambda e: np.trace(e.K),
            loss=turned,
        ),
    ),
    "lg_2": (
        on(
            locality.theorem_lg2,
            lambda f, c: f(c.K, c.labels, epsilon_local=c.epsilon),
            lambda e: [local(e, e.epsilon)[2], local(e, e.epsilon)[2], e.epsilon * np.trace(e.K)],
            PARTS,
            size=lambda e: np.trace(e.K),
        ),
    ),
    "lg_3": (
        on(
            locality.corollary_lg3,
            lambda f, c: f(c.K, c.labels, coverage_threshold=c.tau, **shares_of(c)),
            corollary_lg3,
            PARTS,
            size=lambda e: np.trace(e.K),
            loss=turned,
        ),
        on(
            locality.locality,
            lambda f, c: without_basis(f(c.K, c.labels, coverage_threshold=c.tau, **shares_of(c))),
            everything,
            PARTS,
            size=lambda e: 1.0,
            loss=turned,
        ),
    ),
    "lg_4": (
        on(
            locality.theorem_lg4,
            lambda f, c: f(c.U, c.B, c.labels),
            lambda e: [
                coverage(e.U, projected(e)),
                coverage(e.U, projected(e)),
                by_cluster(e.U, projected(e), blocks(e))[2],
            ],
            PARTS,
            loss=lambda c: 1e4,
        ),
    ),
    "quantisation": (
        on(barycenter.nearest, lambda f, c: f(c.points, c.support), lambda e: e.labels, MEANS),
        on(barycenter.quantisation_cost, lambda f, c: f(c.points, c.support), lambda e: cost(e, e.support), MEANS),
        on(barycenter.voronoi_weights, lambda f, c: f(c.points, c.support), group_shares, MEANS),
        on(
            barycenter.transport_plan,
            lambda f, c: f(c.points, c.support, equal_weights(c)),
            lambda e: eye(2)[e.labels] / len(e.labels),
            MEANS,
        ),
        on(
            barycenter.wasserstein,
            lambda f, c: f(c.points, c.support, equal_weights(c)),
            lambda e: cost(e, e.support),
            MEANS,
            loss=cancelling,
        ),
        on(barycenter.lloyd, lambda f, c: ordered(f(c.points, c.support)), means_of, MEANS),
        on(
            barycenter.barycenter,
            lambda f, c: made(f(c.points, 2, rng=rng())),
            lambda e: [means_of(e), group_shares(e), cost(e, means_of(e))],
            MEANS,
            loss=cancelling,
        ),
        on(barycenter.seeding, lambda f, c: ordered(f(c.few, 3, rng=rng())), lambda e: ordered(e.few), MEANS),
        on(
            barycenter.uniform_barycenter,
            lambda f, c: f(c.few, 1, rng=rng()),
            lambda e: [np.sum(e.few, axis=0) / 3, np.array([1.0]), energy(e.few - np.sum(e.few, axis=0) / 3) / 3],
            MEANS,
        ),
    ),
    "sec_4_1": (
        on(
            barycenter.feature_loss,
            lambda f, c: f(c.features, c.targets),
            lambda e: energy(e.features - e.targets),
            MEANS,
        ),
        on(
            barycenter.statistics_loss,
            lambda f, c: f(c.mean, c.spread, c.target_mean, c.target_spread),
            lambda e: energy(e.mean - e.target_mean) + energy(e.spread - e.target_spread),
            MEANS,
        ),
        on(
            barycenter.averaged_batch_variance,
            lambda f, c: f(c.batches),
            lambda e: np.sum(np.sum((e.batches - (np.sum(e.batches, axis=1) / 4)[:, None]) ** 2, axis=1), axis=0) / 12,
            MEANS,
        ),
        on(
            barycenter.pooled_variance,
            lambda f, c: f(c.batches),
            lambda e: (
                np.sum(np.sum((e.batches - np.sum(np.sum(e.batches, axis=0), axis=0) / 12) ** 2, axis=0), axis=0) / 12
            ),
            MEANS,
            size=lambda e: 1.0,
        ),
    ),
}
