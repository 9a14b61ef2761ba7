"""Sections 4.3 and 4.4: Algorithm 1, its repairs and its baselines in dntk_ref beside exact values."""

from typing import Any

import numpy as np
from flint import arb

from dntk_ref import gradient_distillation as gd
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import (
    energy,
    eye,
    inside,
    length,
    norm2,
    orthonormal,
    root,
    solve,
    spectrum,
    truncated,
    vectors,
)
from proofs_checks.references.families import KERNELS, symmetric

__all__ = ["AGREEMENTS"]


def _classes(rng: np.random.Generator, i: int) -> Instance:
    """Two classes whose rows fall into two groups without overlap, targets, a synthesis with dependent columns."""
    sizes = ((2, 3), (3, 3), (2, 2), (4, 3))[i % 4]
    n, labels = sum(sizes), np.repeat([0, 1], sizes)
    k = 2 * n
    Phi = np.zeros((2, n, k))
    for c in range(2):
        for h in (0, 1):
            rows = labels == h
            block = rng.standard_normal((rows.sum(), n)) * 0.6 ** np.arange(n) + 1.0
            Phi[c][np.ix_(rows, np.arange(h * n, (h + 1) * n))] = block
    other = rng.standard_normal((2, n, k)) * 0.7 ** np.arange(k)
    U = rng.standard_normal((n, 2))
    almost = U[:, :1] + 1e-5 * rng.standard_normal((n, 1))
    K = symmetric(other[0] @ other[0].T)
    return Instance(
        blocks=Phi,
        features=other,
        targets=rng.standard_normal((2, n)),
        labels=labels,
        mixed=rng.permutation(labels),
        n=n,
        k=k,
        K=K,
        U=U,
        dependent=np.column_stack([U, U @ [1.0, 2.0], rng.standard_normal(n)]),
        almost=np.column_stack([U, almost]),
        rank=3,
        lam=float((1.0, 0.1, 0.01)[i % 3]),
        scale=0.5 + float(rng.random()),
        scales=rng.uniform(0.5, 2.0, n),
        tau_v=0.9,
        tau_g=float((0.5, 0.9)[i % 2]),
        Phi=other[0],
        low=other[1][:, :2].copy(),
        y=rng.standard_normal(n),
        rows=np.array([2, 0]),
        m=3,
        i=i,
    )


CLASSES = seeded(_classes)


def on(function: Any, call: Any, exact: Any, cases: Any = CLASSES, **rest: Any) -> Agreement:
    """Return an agreement on the classes, or on the kernels."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, **rest)


def ridge(Phi: np.ndarray, y: np.ndarray, lam: Any) -> np.ndarray:
    """Ridge weights."""
    return Phi.T @ solve(Phi @ Phi.T + eye(len(Phi)) * lam, y)


def independent(e: Instance) -> np.ndarray:
    """The columns of the synthesis without those that depend on the ones before."""
    return e.dependent[:, [0, 1, 3]]


def target_aware(e: Instance) -> np.ndarray:
    """The projector onto the leading eigenvector and the coefficients of the whole solve."""
    alpha = solve(e.K + eye(e.n) * e.lam, e.y)
    U = orthonormal(np.column_stack([vectors(e.K)[:, :1], alpha]))
    return U @ U.T


def restricted(e: Instance) -> np.ndarray:
    """Argmin of J over the span of the synthetic gradients."""
    made = independent(e).T @ e.Phi
    H = e.Phi.T @ e.Phi + eye(e.k) * e.lam
    return made.T @ solve(made @ H @ made.T, made @ (e.Phi.T @ e.y))


def of_low_rank(f: Any, c: Instance) -> np.ndarray:
    """The weights of dntk_ref for a kernel of rank two and three independent columns: their span is everything."""
    return c.low.T @ c.dependent @ f(c.low @ c.low.T, c.y, c.dependent, c.lam)


def sketched(e: Instance) -> np.ndarray:
    """The solve with an orthonormal basis of the synthesis."""
    Q = orthonormal(independent(e))
    return ridge(Q.T @ e.Phi, Q.T @ e.y, e.lam)


def accumulated(e: Instance, Phi: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The projector onto the local eigenvectors and the gap directions, and the places of these."""
    K = Phi @ Phi.T
    U = vectors(K)[:, : truncated(spectrum(K), 1 - e.tau_v)]
    Pi, columns = eye(e.n) * 0, []
    shares = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        block = K[np.ix_(rows, rows)]
        V = vectors(block)[:, : truncated(spectrum(block), 1 - e.tau_v)]
        Pi[np.ix_(rows, rows)] = V @ V.T
        lifted = eye(e.n)[:, : V.shape[1]] * 0
        lifted[rows] = V
        columns.append(lifted)
        weight = np.sum(U[rows] * U[rows], axis=0)
        shares.append(np.sum(U[rows] * (V @ (V.T @ U[rows])), axis=0) / weight)
    best = [max(column, key=float) for column in np.stack(shares, axis=1)]
    gap = np.flatnonzero([c < e.tau_g for c in best])
    Q = orthonormal(np.column_stack([*columns, U[:, gap]]))
    return Q @ Q.T, gap


def synthesis(e: Instance) -> list[Any]:
    """Projector, Gram of the synthetic gradients, synthetic moment and gaps of every class."""
    found: list[Any] = []
    for Phi, y in zip(e.features, e.targets, strict=True):
        Pi, gap = accumulated(e, Phi, e.mixed)
        found += [Pi, Phi.T @ Pi @ Phi, Phi.T @ (Pi @ y), gap]
    return found


def up_to_signs(made: Any) -> list[Any]:
    """What synthetic gradients are whatever the signs of eigenvectors."""
    return [
        x
        for s in made
        for x in (s.synthesis @ s.synthesis.T, s.features.T @ s.features, s.features.T @ s.targets, s.gap)
    ]


def whole_algorithm(e: Instance) -> list[Any]:
    """The labels of groups without overlap, numbered as they appear, and the projector of every class."""
    return [x for Phi in e.blocks for x in (e.labels, accumulated(e, Phi, e.labels)[0])]


def distilled(f: Any, c: Instance) -> list[Any]:
    """Labels and projectors of dntk_ref."""
    made = f(c.blocks, c.targets, clusters=2, tau_v=c.tau_v, tau_g=c.tau_g, rng=np.random.default_rng(0))
    return [x for s in made for x in (s.labels, s.synthesis @ s.synthesis.T)]


def mean_of(features: np.ndarray) -> np.ndarray:
    """The mean of the class kernels."""
    return sum((Phi @ Phi.T for Phi in features[1:]), features[0] @ features[0].T) / len(features)


def affinities(e: Instance) -> list[np.ndarray]:
    """All three rules."""
    K, scale = e.K, np.array([1 / root(x) for x in np.diag(e.K)], dtype=object)
    positive = np.array([[x if x > 0 else arb(0) for x in row] for row in K], dtype=object)
    return [positive, abs(K), (1 + scale[:, None] * K * scale[None, :]) / 2]


def farthest(e: Instance) -> np.ndarray:
    """Greedy farthest rows."""
    rows = [max(range(e.n), key=lambda i: float(e.K[i, i]))]
    while len(rows) < e.m:
        rest = [i for i in range(e.n) if i not in rows]
        rows.append(
            max(rest, key=lambda i: float(min((e.K[i, i] + e.K[s, s] - 2 * e.K[i, s] for s in rows), key=float)))
        )
    return np.array(rows)


def one_gradient(e: Instance) -> list[Any]:
    """Synthesis, gradient, target, labels and gaps of the exact gradient."""
    U = e.scale * solve(e.Phi @ e.Phi.T + eye(e.n) * e.lam, e.y)
    phi = e.Phi.T @ U
    return [U, phi, (energy(phi) + e.lam) / e.scale, np.zeros(e.n), np.zeros(0)]


def exact_made(c: Instance) -> Any:
    """The synthetic gradient of dntk_ref, in float64."""
    return gd.exact_gradient(c.Phi, c.y, c.lam, scale=c.scale)


def left(e: Instance) -> np.ndarray:
    """K - K_U for a synthesis."""
    return e.K - inside(e.K, e.U)


def sketch_residual(e: Instance) -> np.ndarray:
    """Phi^T (Phi w - y) + lam w of the sketched solve."""
    w = sketched(e)
    return e.Phi.T @ (e.Phi @ w - e.y) + e.lam * w


def normalised(e: Instance) -> np.ndarray:
    """The plain solve on rescaled rows."""
    return ridge(e.Phi * e.scales[:, None], e.y * e.scales, e.lam)


AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "alg_1_stages_1_2": (
        on(gd.mean_kernel, lambda f, c: f(c.features), lambda e: mean_of(e.features)),
        on(gd.affinity_matrix, lambda f, c: [f(c.K, kind) for kind in ("positive", "absolute", "cosine")], affinities),
        on(
            gd.spectral_clusters,
            lambda f, c: f(c.blocks[0] @ c.blocks[0].T, 2, rng=np.random.default_rng(0)),
            lambda e: e.labels,
        ),
        on(gd.local_global_distillation, distilled, whole_algorithm, loss=lambda c: 1e4),
    ),
    "alg_1_stages_4_5": (
        on(
            gd.local_global_synthesis,
            lambda f, c: up_to_signs(f(c.features, c.targets, labels=c.mixed, tau_v=c.tau_v, tau_g=c.tau_g)),
            synthesis,
            loss=lambda c: 1e5,
        ),
        on(gd.normalised_weights, lambda f, c: f(c.Phi, c.y, c.scales, c.lam), normalised, loss=lambda c: 1e4),
        on(
            gd.normalised_weights_repaired,
            lambda f, c: f(c.Phi, c.y, c.scales, c.lam),
            lambda e: ridge(e.Phi, e.y, e.lam),
            loss=lambda c: 1e4,
        ),
    ),
    "alg_1_stage_6": (
        on(gd.gram_schmidt, lambda f, c: f(c.dependent), lambda e: orthonormal(e.dependent), loss=lambda c: 1e3),
        on(gd.gram_schmidt, lambda f, c: f(c.almost).shape[1], lambda e: 3),
        on(gd.gram_schmidt, lambda f, c: f(c.U), lambda e: orthonormal(e.U), loss=lambda c: 100.0),
        on(
            gd.independent_columns,
            lambda f, c: [f(c.dependent), f(c.almost)],
            lambda e: [np.array([0, 1, 3]), np.array([0, 1, 2])],
        ),
        on(
            gd.sketched_weights_printed,
            lambda f, c: f(c.Phi, c.y, c.dependent, c.lam),
            lambda e: ridge(e.dependent.T @ e.Phi, e.dependent.T @ e.y, e.lam),
            loss=lambda c: 1e4,
        ),
        on(gd.sketched_weights, lambda f, c: f(c.Phi, c.y, c.dependent, c.lam), sketched, loss=lambda c: 1e4),
    ),
    "restricted_solve": (
        on(gd.restricted_weights, lambda f, c: f(c.Phi, c.y, c.dependent, c.lam), restricted, loss=lambda c: 1e5),
        on(
            gd.restricted_coefficients,
            lambda f, c: c.Phi.T @ c.dependent @ f(c.Phi @ c.Phi.T, c.y, c.dependent, c.lam),
            restricted,
            loss=lambda c: 1e5,
        ),
        on(gd.restricted_coefficients, of_low_rank, lambda e: ridge(e.low, e.y, e.lam), loss=lambda c: 1e4),
        on(
            gd.sketch_residual,
            lambda f, c: f(c.Phi, c.y, c.dependent, c.lam),
            sketch_residual,
            loss=lambda c: 1e4,
            size=lambda e: norm2(e.Phi) * length(e.y),
        ),
    ),
    "pca_dominance": (
        on(
            gd.top_eigenvectors,
            lambda f, c: f(c.K, 2) @ f(c.K, 2).T,
            lambda e: vectors(e.K)[:, :2] @ vectors(e.K)[:, :2].T,
            loss=lambda c: 1e4,
        ),
        on(
            gd.best_captured_energy,
            lambda f, c: f(c.K, c.r),
            lambda e: np.sum(spectrum(e.K)[: e.r]) / np.trace(e.K),
            KERNELS,
        ),
        on(
            gd.best_kernel_error,
            lambda f, c: f(c.K, c.r),
            lambda e: length(spectrum(e.K)[e.r :]) / length(e.K),
            KERNELS,
            size=lambda e: 1.0,
        ),
        on(
            gd.synthesised_kernel,
            lambda f, c: f(c.K, c.dependent),
            lambda e: inside(e.K, independent(e)),
            loss=lambda c: 1e4,
        ),
        on(
            gd.captured_energy,
            lambda f, c: f(c.K, c.U),
            lambda e: 1 - np.trace(left(e)) / np.trace(e.K),
            loss=lambda c: 1e3,
        ),
        on(
            gd.kernel_error,
            lambda f, c: f(c.K, c.U),
            lambda e: length(left(e)) / length(e.K),
            loss=lambda c: 1e3,
            size=lambda e: 1.0,
        ),
    ),
    "spans_better": (
        on(gd.farthest_point_rows, lambda f, c: f(c.K, c.m), farthest),
        on(gd.selection, lambda f, c: f(c.n, c.rows), lambda e: eye(e.n)[:, e.rows]),
    ),
    "one_gradient": (
        on(gd.exact_gradient, lambda f, c: f(c.Phi, c.y, c.lam, scale=c.scale), one_gradient, loss=lambda c: 1e4),
        on(
            gd.target_aware_synthesis,
            lambda f, c: f(c.K, c.y, 2, c.lam) @ f(c.K, c.y, 2, c.lam).T,
            target_aware,
            loss=lambda c: 1e4,
        ),
    ),
    "eq_2_3": (
        on(
            gd.synthetic_weights,
            lambda f, c: f(exact_made(c), c.lam),
            lambda e: ridge(e.Phi, e.y, e.lam),
            loss=lambda c: 1e4,
        ),
    ),
}
