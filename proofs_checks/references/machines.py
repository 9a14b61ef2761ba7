"""The label-target kernel machine, its attributions and its variance in dntk_ref beside exact values."""

from typing import Any

import numpy as np
from flint import arb

from dntk_ref import attribution, uncertainty
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import energy, eye, inverse, root, solve

__all__ = ["AGREEMENTS"]


def _machine(rng: np.random.Generator, i: int) -> Instance:
    """Features of C classes at n rows and t new inputs, their kernels, labels, a set of rows, margins over subsets."""
    C, n, k = ((2, 4, 3), (3, 5, 6), (2, 6, 4), (4, 3, 5))[i % 4]
    t = 3
    Phi, phi = rng.standard_normal((C, n, k)), rng.standard_normal((C, t, k))
    kernel = np.stack([(K + K.T) / 2 for K in Phi @ Phi.swapaxes(1, 2)])
    J, new = rng.standard_normal((n, C, k)), rng.standard_normal((t, C, k))
    rows = J.reshape(n * C, k)
    full, own = rows @ rows.T, new @ new.swapaxes(1, 2)
    return Instance(
        features=Phi,
        new=phi,
        kernel=kernel,
        cross=phi @ Phi.swapaxes(1, 2),
        own=np.sum(phi**2, axis=2),
        J=J,
        x=new,
        whole=((full + full.T) / 2).reshape(n, C, n, C),
        blocks=(own + own.swapaxes(1, 2)) / 2,
        between=np.einsum("tcp,ndp->tcnd", new, J),
        y=rng.standard_normal((C, n)),
        f=rng.standard_normal((C, t)),
        v=rng.random((C, t)),
        q=rng.random(n),
        labels=rng.integers(0, C, t),
        kernels=rng.standard_normal((2, C, t, n)),
        scales=rng.random(2) + 0.5,
        predicted=rng.permuted(np.tile(np.arange(5.0), (t, 1)), axis=1).T,
        retrained=rng.permuted(np.tile([0.5, 2.0, 2.0, 3.0, 7.0], (t, 1)), axis=1).T,
        lam=0.5 + float(rng.random()),
        share=float(rng.random()),
        G=np.sort(rng.permutation(n)[: 1 + i % 2]),
        C=C,
        n=n,
        k=k,
        t=t,
    )


MACHINES = seeded(_machine)


def on(function: Any, call: Any, exact: Any, **rest: Any) -> Agreement:
    """Return an agreement on the machines, whose systems have condition numbers of some hundreds."""
    return Agreement(function=function, call=call, exact=exact, cases=MACHINES, **{"loss": lambda c: 1e3, **rest})


def machine(e: Instance, weights: np.ndarray | None = None) -> np.ndarray:
    """phi_c(x) . w_c with w_c from the normal equations, the squared error of every row times its weight; (C, t)."""
    found = []
    for phi, Phi, y in zip(e.new, e.features, e.y, strict=True):
        weighed = Phi if weights is None else Phi * weights[:, None]
        found.append(phi @ solve(weighed.T @ Phi + eye(e.k) * e.lam, weighed.T @ y))
    return np.stack(found)


def by_kernel(e: Instance, kept: np.ndarray | None = None) -> np.ndarray:
    """k_c(x)^T (K_c + lam)^-1 y_c from some of the rows, with the kernels as they are given."""
    rows = np.arange(e.n) if kept is None else kept
    return np.stack(
        [
            k[:, rows] @ solve(K[np.ix_(rows, rows)] + eye(len(rows)) * e.lam, y[rows])
            for k, K, y in zip(e.cross, e.kernel, e.y, strict=True)
        ]
    )


def others(e: Instance) -> np.ndarray:
    """The rows that stay."""
    return np.setdiff1d(np.arange(e.n), e.G)


def without_by_features(e: Instance) -> np.ndarray:
    """The refit in the parameters: the rows of the set count nothing."""
    counts = np.ones(e.n)
    counts[e.G] = 0.0
    return machine(e, np.array([arb(x) for x in counts], dtype=object))


def weighed(e: Instance) -> np.ndarray:
    """k^T Omega (K Omega + lam)^-1 y, which is the weighted fit: w = Phi^T Omega a, (K Omega + lam) a = y."""
    omega = np.array([1 - e.share if i in e.G else arb(1) for i in range(e.n)], dtype=object)
    return np.stack(
        [
            k @ (omega * solve(K * omega[None, :] + eye(e.n) * e.lam, y))
            for k, K, y in zip(e.cross, e.kernel, e.y, strict=True)
        ]
    )


def slopes(e: Instance) -> np.ndarray:
    """The slopes by the implicit derivative of (K Omega + lam) a = y in f = k^T Omega a, at Omega = I; (C, t, n)."""
    found = []
    for k, K, y in zip(e.cross, e.kernel, e.y, strict=True):
        A = inverse(K + eye(e.n) * e.lam)
        found.append((k - k @ A @ K) * (A @ y)[None, :])
    return np.stack(found)


def one_by_one(e: Instance) -> np.ndarray:
    """The effects f - f_-i by n refits; (C, t, n)."""
    everything = by_kernel(e)
    return np.stack([everything - by_kernel(e, np.delete(np.arange(e.n), i)) for i in range(e.n)], axis=2)


def own_left_out(e: Instance) -> np.ndarray:
    """f_-i(x_i) by n refits; (C, n)."""
    found = np.empty((e.C, e.n), dtype=object)
    for c, (K, y) in enumerate(zip(e.kernel, e.y, strict=True)):
        for i in range(e.n):
            rest = np.delete(np.arange(e.n), i)
            found[c, i] = np.sum(K[i, rest] * solve(K[np.ix_(rest, rest)] + eye(e.n - 1) * e.lam, y[rest]))
    return found


def margins(e: Instance, rival: Any) -> np.ndarray:
    """The output of the labelled class minus what `rival` makes of the others."""
    return np.array(
        [e.f[y, i] - rival([e.f[c, i] for c in range(e.C) if c != y]) for i, y in enumerate(e.labels)], dtype=object
    )


def spearman(e: Instance) -> Any:
    """The mean over inputs of Pearson's correlation of ranks: how many values are below, and half of those equal."""

    def ranks(values: np.ndarray) -> np.ndarray:
        places = [sum(arb(bool(b < a)) + arb(bool(b == a)) / 2 for b in values) for a in values]
        return np.array([place - arb(len(values)) / 2 for place in places], dtype=object)

    found = arb(0)
    for a, b in zip(e.predicted.T, e.retrained.T, strict=True):
        p, q = ranks(a), ranks(b)
        found += np.sum(p * q) / root(energy(p) * energy(q))
    return found / e.t


def variance(e: Instance) -> np.ndarray:
    """K(x, x) - k^T (K + lam)^-1 k for every class; (C, t)."""
    return np.stack(
        [
            d - np.sum(k * solve(K + eye(e.n) * e.lam, k.T).T, axis=1)
            for d, k, K in zip(e.own, e.cross, e.kernel, strict=True)
        ]
    )


def variance_by_features(e: Instance) -> np.ndarray:
    """The same in the primal: lam phi^T (Phi^T Phi + lam)^-1 phi; (C, t)."""
    return np.stack(
        [
            np.sum(phi * solve(Phi.T @ Phi + eye(e.k) * e.lam, phi.T).T, axis=1) * e.lam
            for phi, Phi in zip(e.new, e.features, strict=True)
        ]
    )


def covariance(e: Instance) -> np.ndarray:
    """The covariance of all logits from the kernel with its blocks; (t, C, C)."""
    whole = e.whole.reshape(e.n * e.C, e.n * e.C) + eye(e.n * e.C) * e.lam
    between = e.between.reshape(e.t, e.C, e.n * e.C)
    return np.stack([d - k @ solve(whole, k.T) for d, k in zip(e.blocks, between, strict=True)])


def covariance_by_features(e: Instance) -> np.ndarray:
    """The same from the gradients: lam J(x) (sum J^T J + lam)^-1 J(x)^T."""
    rows = e.J.reshape(e.n * e.C, e.k)
    H = inverse(rows.T @ rows + eye(e.k) * e.lam)
    return np.stack([x @ H @ x.T * e.lam for x in e.x])


def amplitude(e: Instance) -> np.ndarray:
    """y^T (K + lam)^-1 y / n."""
    return np.array(
        [np.sum(y * solve(K + eye(e.n) * e.lam, y)) / e.n for K, y in zip(e.kernel, e.y, strict=True)], dtype=object
    )


def probit(e: Instance) -> np.ndarray:
    """Softmax over classes of f / (1 + pi v / 8)^1/2."""
    flat = [(f / (1 + arb.pi() * v / 8).sqrt()).exp() for f, v in zip(e.f.ravel(), e.v.ravel(), strict=True)]
    z = np.array(flat, dtype=object).reshape(e.f.shape)
    return z / np.sum(z, axis=0)


def trak(e: Instance) -> np.ndarray:
    """phi^T (Phi^T Phi + lam)^-1 phi_i q_i for the first class's features."""
    Phi = e.features[0]
    return e.new[0] @ inverse(Phi.T @ Phi + eye(e.k) * e.lam) @ Phi.T * e.q[None, :]


def one_hot(e: Instance) -> np.ndarray:
    """1 at the label, minus 1/C everywhere."""
    return np.array([[arb(int(y == c)) - arb(1) / e.C for y in e.labels] for c in range(e.C)], dtype=object)


def traces(e: Instance) -> Any:
    """The mean of all diagonals."""
    return sum((np.trace(K) for K in e.kernel), arb(0)) / (e.C * e.n)


AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "attribution_downdate": (
        on(attribution.label_targets, lambda f, c: f(c.labels, c.C), one_hot),
        on(attribution.mean_diagonal, lambda f, c: f(c.kernel), traces),
        on(
            attribution.added_kernel,
            lambda f, c: f(c.kernels, c.scales),
            lambda e: e.kernels[0] / e.scales[0] + e.kernels[1] / e.scales[1],
        ),
        on(attribution.machine_prediction, lambda f, c: f(c.cross, c.kernel, c.y, c.lam), by_kernel),
        on(
            attribution.without_rows_by_refitting,
            lambda f, c: f(c.cross, c.kernel, c.y, c.lam, c.G),
            lambda e: by_kernel(e, others(e)),
        ),
        on(
            attribution.without_rows,
            lambda f, c: f(c.cross, c.kernel, c.y, c.lam, c.G),
            lambda e: by_kernel(e, others(e)),
        ),
        on(
            attribution.without_rows_by_features,
            lambda f, c: f(c.new, c.features, c.y, c.lam, c.G),
            without_by_features,
        ),
    ),
    "attribution_leave_one_out": (
        on(attribution.leave_one_out_predictions, lambda f, c: f(c.kernel, c.y, c.lam), own_left_out),
        on(attribution.removal_effects, lambda f, c: f(c.cross, c.kernel, c.y, c.lam), one_by_one),
        on(attribution.linear_datamodelling_score, lambda f, c: f(c.predicted, c.retrained), spearman),
    ),
    "attribution_first_order": (
        on(attribution.reweighted, lambda f, c: f(c.cross, c.kernel, c.y, c.lam, c.G, c.share), weighed),
        on(attribution.influence, lambda f, c: f(c.cross, c.kernel, c.y, c.lam), slopes),
        on(
            attribution.first_order_without,
            lambda f, c: f(c.cross, c.kernel, c.y, c.lam, c.G),
            lambda e: by_kernel(e) - np.sum(slopes(e)[:, :, e.G], axis=2),
        ),
        on(
            attribution.machine_margin,
            lambda f, c: f(c.f, c.labels),
            lambda e: margins(e, lambda rest: max(rest, key=float)),
        ),
        on(
            attribution.network_margin,
            lambda f, c: f(c.f, c.labels),
            lambda e: margins(e, lambda rest: sum((z.exp() for z in rest), arb(0)).log()),
        ),
        on(attribution.trak_scores, lambda f, c: f(c.new[0], c.features[0], c.q, c.lam), trak),
    ),
    "predictive_variance": (
        on(uncertainty.predictive_variance, lambda f, c: f(c.own, c.cross, c.kernel, c.lam), variance),
        on(
            uncertainty.predictive_variance_by_features,
            lambda f, c: f(c.new, c.features, c.lam),
            variance_by_features,
        ),
        on(uncertainty.prior_amplitude, lambda f, c: f(c.kernel, c.y, c.lam), amplitude),
        on(uncertainty.probit_probabilities, lambda f, c: f(c.f, c.v), probit),
        on(uncertainty.shift_score, lambda f, c: f(c.v), lambda e: np.sum(e.v, axis=0) / e.C),
    ),
    "joint_variance": (
        on(uncertainty.joint_variance, lambda f, c: f(c.blocks, c.between, c.whole, c.lam), covariance),
        on(uncertainty.joint_variance_by_features, lambda f, c: f(c.x, c.J, c.lam), covariance_by_features),
    ),
}
