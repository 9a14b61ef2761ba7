"""A.3, 5.2, 9.5 and Appendix B: ridge regression and its errors in dntk_ref beside exact values.

One file because ridge regression and its errors share their exact instances.
"""

from itertools import product
from typing import Any

import numpy as np
from flint import arb

from dntk_ref import error, projection_error, ridge
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import (
    energy,
    eye,
    inverse,
    length,
    norm2,
    pseudo,
    root,
    solve,
    spectrum,
    truncated,
    vectors,
)
from proofs_checks.references.families import KERNELS, PROBLEMS, condition, root_condition, symmetric

__all__ = ["AGREEMENTS"]


def on(function: Any, call: Any, exact: Any, cases: Any = PROBLEMS, **rest: Any) -> Agreement:
    """Return an agreement on the ridge problems, or on other cases."""
    return Agreement(function=function, call=call, exact=exact, cases=cases, **rest)


def solved(e: Instance, right: np.ndarray) -> np.ndarray:
    """(K + lam)^-1 b for the kernel as given."""
    return solve(e.K + eye(e.n) * e.lam, right)


def resolvent(e: Instance) -> np.ndarray:
    """(K + lam)^-1."""
    return inverse(e.K + eye(e.n) * e.lam)


def weights(Phi: np.ndarray, y: np.ndarray, lam: Any) -> np.ndarray:
    """The ridge solution of features, by the smaller system."""
    n, P = Phi.shape
    if n <= P:
        return Phi.T @ solve(Phi @ Phi.T + eye(n) * lam, y)
    return solve(Phi.T @ Phi + eye(P) * lam, Phi.T @ y)


def kernel_of(Phi: np.ndarray) -> np.ndarray:
    """Phi Phi^T."""
    return Phi @ Phi.T


def in_features(case: Instance) -> float:
    """Rounding in a solve from normal equations, whose right side is as large as it likes: the condition number."""
    return 4 * condition(case)


def _separated(rng: np.random.Generator, i: int) -> Instance:
    """A kernel with known gaps, targets, test rows, and places of its spectrum."""
    n = 3 + i % 4
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    Phi = Q * np.sqrt(2.0 ** -np.arange(n)) @ np.linalg.qr(rng.standard_normal((n + 1, n)))[0].T
    K = symmetric(Phi @ Phi.T)
    return Instance(
        Phi=Phi,
        K=K,
        y=rng.standard_normal(n),
        lam=float((1.0, 0.1, 0.01)[i % 3]),
        top=1.0,
        n=n,
        r=1 + i % 2,
        k=rng.standard_normal((2, n)),
        places=np.array([0, n - 1]),
        losses=rng.random((8, 5)) + np.arange(8)[:, None] * 0.05,
        grid=2.0 ** np.arange(8),
        i=i,
        W=rng.standard_normal((3, 2)),
        b=rng.standard_normal(3),
        hidden=rng.standard_normal((4, 2)),
        layers=rng.random(3) + 0.2,
        lam_mean=float((0.5, 0.05, 0.005)[i % 3]),
        subset=np.array([0, 2]),
        low=symmetric(Phi[:, :1] @ Phi[:, :1].T),
    )


SEPARATED = seeded(_separated)


def chosen(e: Instance) -> list[Any]:
    """The largest ridge within a standard error of the best row: ridge, place, loss, error, whether on the edge."""
    means = [sum(row, arb(0)) / 5 for row in e.losses]
    best = min(range(8), key=lambda i: float(means[i]))
    spread = root(sum(((x - means[best]) ** 2 for x in e.losses[best]), arb(0)) / 4) / root(arb(5))
    index = max(i for i in range(8) if means[i] <= means[best] + spread)
    return [e.grid[index], index, means[index], spread, index in (0, 7)]


def left_out(e: Instance) -> np.ndarray:
    """y_i - f_-i(x_i) by refitting."""
    found = []
    for i in range(e.n):
        rest = np.arange(e.n) != i
        K = e.K[np.ix_(rest, rest)]
        found.append(e.y[i] - np.sum(e.K[i, rest] * solve(K + eye(e.n - 1) * e.lam, e.y[rest])))
    return np.array(found, dtype=object)


def on_places(e: Instance, places: Any) -> np.ndarray:
    """Ridge weights from chosen eigenvectors alone."""
    values, U = spectrum(kernel_of(e.Phi)), vectors(kernel_of(e.Phi))
    return e.Phi.T @ sum((U[:, j] * (np.sum(U[:, j] * e.y) / (values[j] + e.lam)) for j in places), e.y * 0)


def cut_kernel(e: Instance) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation of rank r of the kernel, and the projector onto its range."""
    values, U = spectrum(e.K), vectors(e.K)[:, : e.r]
    return U * values[: e.r] @ U.T, U @ U.T


def filtered(e: Instance) -> np.ndarray:
    """Lambda / (lambda + lam)."""
    values = spectrum(e.K)
    return values / (values + e.lam)


def head(e: Instance) -> np.ndarray:
    """(0; W_c, b_c) for a body of two parameters."""
    rows = []
    for c in range(3):
        row = [arb(0)] * (2 + 6 + 3)
        row[2 + 2 * c : 4 + 2 * c] = list(e.W[c])
        row[8 + c] = e.b[c]
        rows.append(row)
    return np.array(rows, dtype=object)


AGREE_RIDGE: dict[str, tuple[Agreement, ...]] = {
    "eq_16_18": (
        on(ridge.dual_coefficients, lambda f, c: f(c.K, c.y, c.lam), lambda e: solved(e, e.y), loss=condition),
        on(
            ridge.dual_prediction,
            lambda f, c: f(c.k, c.K, c.y, c.lam),
            lambda e: e.k @ solved(e, e.y),
            loss=condition,
            size=lambda e: norm2(e.k) * length(solved(e, e.y)),
        ),
        on(
            ridge.ridge_weights,
            lambda f, c: f(c.Phi, c.y, c.lam),
            lambda e: weights(e.Phi, e.y, e.lam),
            loss=in_features,
        ),
        on(
            ridge.objective,
            lambda f, c: f(c.Phi, c.y, c.w, c.lam),
            lambda e: (energy(e.Phi @ e.w - e.y) + e.lam * energy(e.w)) / 2,
        ),
        on(
            ridge.rank_r_unmatched,
            lambda f, c: f(c.k, c.K, c.y, c.lam, c.r),
            lambda e: e.k @ solve(cut_kernel(e)[0] + eye(e.n) * e.lam, e.y),
            SEPARATED,
            loss=lambda c: 1e4,
        ),
        on(
            ridge.rank_r_matched,
            lambda f, c: f(c.k, c.K, c.y, c.lam, c.r),
            lambda e: e.k @ cut_kernel(e)[1] @ solve(cut_kernel(e)[0] + eye(e.n) * e.lam, e.y),
            SEPARATED,
            loss=lambda c: 1e4,
        ),
    ),
    "eq_17": (
        on(ridge.dual_inverse, lambda f, c: f(c.K, c.lam), resolvent, loss=condition),
        on(
            ridge.woodbury_inverse,
            lambda f, c: f(c.Phi, c.lam),
            lambda e: inverse(kernel_of(e.Phi) + eye(e.n) * e.lam),
            loss=root_condition,
        ),
        on(
            ridge.rank_r_split,
            lambda f, c: f(c.k, c.K, c.y, c.lam, c.r),
            lambda e: [
                e.k @ cut_kernel(e)[1] @ solve(cut_kernel(e)[0] + eye(e.n) * e.lam, e.y),
                e.k @ (e.y - cut_kernel(e)[1] @ e.y) / e.lam,
            ],
            SEPARATED,
            loss=lambda c: 1e4,
        ),
    ),
    "restricted_solve": (
        on(
            ridge.selected_weights,
            lambda f, c: f(c.Phi, c.y, c.lam, c.places),
            lambda e: on_places(e, e.places),
            SEPARATED,
            loss=lambda c: 1e3,
        ),
        on(
            ridge.rank_r_weights,
            lambda f, c: f(c.Phi, c.y, c.lam, c.r),
            lambda e: on_places(e, range(e.r)),
            SEPARATED,
            loss=lambda c: 1e3,
        ),
        on(
            ridge.selection_error,
            lambda f, c: f(c.K, c.y, c.lam, c.places),
            lambda e: energy(weights(e.Phi, e.y, e.lam) - on_places(e, e.places)),
            SEPARATED,
            loss=lambda c: 1e4,
        ),
    ),
    "rem_4_2": (
        on(
            ridge.mean_ridge_weights,
            lambda f, c: f(c.Phi, c.y, c.lam),
            lambda e: weights(e.Phi, e.y, e.lam * e.n),
            loss=in_features,
        ),
        on(
            ridge.scaled_dual_coefficients,
            lambda f, c: f(c.Phi, c.y, c.lam),
            lambda e: solve(kernel_of(e.Phi) / e.P + eye(e.n) * e.lam, e.y),
            loss=in_features,
        ),
        on(ridge.lam_from_mean, lambda f, c: f(c.lam, c.n), lambda e: e.lam * e.n),
        on(ridge.lam_to_mean, lambda f, c: f(c.lam, c.n), lambda e: e.lam / e.n),
        on(ridge.lam_from_scaled, lambda f, c: f(c.lam, c.P), lambda e: e.lam * e.P),
        on(ridge.lam_to_scaled, lambda f, c: f(c.lam, c.P), lambda e: e.lam / e.P),
        on(
            ridge.ridge_grid,
            lambda f, c: f(c.K),
            lambda e: np.array([np.trace(e.K) / e.n * arb(10) ** x for x in range(-6, 2)], dtype=object),
        ),
        on(ridge.choose_ridge, lambda f, c: f(c.losses, c.grid), chosen, SEPARATED),
    ),
    "sec_5_2": (
        on(
            ridge.eigenpairs,
            lambda f, c: [f(c.K).values, f(c.K).vectors * f(c.K).values @ f(c.K).vectors.T],
            lambda e: [spectrum(e.K), e.K],
            KERNELS,
        ),
        on(ridge.filter_factors, lambda f, c: f(c.K, c.lam), filtered, SEPARATED, loss=lambda c: 1e3),
        on(
            ridge.filtered_fit,
            lambda f, c: f(c.K, c.y, c.lam),
            lambda e: e.K @ solved(e, e.y),
            loss=condition,
            size=lambda e: length(e.y),
        ),
    ),
    "effective_dimension": (
        on(
            ridge.effective_dimension,
            lambda f, c: f(c.K, c.lam),
            lambda e: np.trace(e.K @ resolvent(e)),
            loss=condition,
        ),
        on(
            ridge.effective_dimension_upper,
            lambda f, c: f(c.K, c.low, c.lam),
            lambda e: np.trace(e.low @ inverse(e.low + eye(e.n) * e.lam)) + np.trace(e.K - e.low) / e.lam,
            loss=condition,
            size=lambda e: np.trace(e.K) / e.lam,
        ),
        on(ridge.leverage, lambda f, c: f(c.K, c.lam), lambda e: np.diag(e.K @ resolvent(e)), loss=condition),
        on(
            ridge.leverage_over_estimate,
            lambda f, c: f(c.K, c.subset, c.lam),
            lambda e: (
                (
                    np.diag(e.K)
                    - np.sum(
                        e.K[e.subset]
                        * solve(e.K[np.ix_(e.subset, e.subset)] + eye(len(e.subset)) * e.lam, e.K[e.subset]),
                        axis=0,
                    )
                )
                / e.lam
            ),
            loss=condition,
            size=lambda e: np.trace(e.K) / e.lam,
        ),
        on(ridge.leave_one_out, lambda f, c: f(c.K, c.y, c.lam), left_out, SEPARATED, loss=lambda c: 1e3),
        on(ridge.leave_one_out_by_refitting, lambda f, c: f(c.K, c.y, c.lam), left_out, SEPARATED, loss=lambda c: 1e3),
    ),
    "theorem_r": (
        on(ridge.head_weights, lambda f, c: f(c.W, c.b, body=2), head, SEPARATED),
        on(
            ridge.head_gradient,
            lambda f, c: f(c.hidden),
            lambda e: np.column_stack([e.hidden, [arb(1)] * 4]),
            SEPARATED,
        ),
        on(
            ridge.homogeneous_norm_bound,
            lambda f, c: f(c.layers),
            lambda e: 1 / root(sum((x**-2 for x in e.layers), arb(0))),
            SEPARATED,
        ),
    ),
}


# Appendix B.


def _population(rng: np.random.Generator, i: int) -> Instance:
    """A population of four inputs, a sample with a repetition, a ridge, and a spectrum."""
    N, P = 4, 1 + i % 3
    raw = rng.random(N) + 0.1
    p = raw / raw.sum()
    p[-1] = 1 - p[:-1].sum()
    mu = np.sort(rng.random(5))[::-1] * 10.0 ** -np.arange(5)
    half = rng.standard_normal((P, P + 1))
    other = rng.standard_normal((P, P + 1))
    return Instance(
        whole=error.Population(rng.standard_normal((N, P)), rng.standard_normal(N), p),
        sample=np.array([0, 2, 2, 3]),
        lam=float((1.0, 0.1, 1e-3)[i % 3]),
        mu=mu,
        true=symmetric(half @ half.T),
        found=symmetric(other @ other.T),
        a=float(rng.random()) + 0.1,
        r=1 + i % 4,
        P=P,
        N=N,
        i=i,
        s=float((0.25, 0.5, 1.0, 0.0)[i % 4]),
        beta=float((0.1, 0.5, 2.0)[i % 3]),
        epsilon=0.05,
        large=3.0,
        rows=rng.standard_normal((2, P + 2)),
        w=rng.standard_normal(P + 2),
    )


class Population:
    """A population in balls: what Appendix B says of it."""

    def __init__(self, e: Instance, case: Instance) -> None:
        from_floats = [case.whole.features, case.whole.values, case.whole.probabilities]
        self.Phi, self.f, self.p = (Instance(x=x).exact.x for x in from_floats)
        self.lam, self.sample = e.lam, e.sample

    @property
    def second(self) -> np.ndarray:
        """The second moment."""
        return self.Phi.T * self.p @ self.Phi

    def mean(self, values: np.ndarray) -> Any:
        """The expectation over the inputs."""
        return np.sum(self.p * values)

    @property
    def best(self) -> np.ndarray:
        """w* = S^-1 E[phi f]."""
        return pseudo(self.second) @ (self.Phi.T @ (self.p * self.f))

    @property
    def middle(self) -> np.ndarray:
        """(S + lam)^-1 S w*."""
        return solve(self.second + eye(len(self.second)) * self.lam, self.second @ self.best)

    def moment(self, sample: Any) -> np.ndarray:
        """The second moment of a sample."""
        rows = self.Phi[list(sample)]
        return rows.T @ rows / len(rows)

    def pull(self, sample: Any, right: np.ndarray) -> np.ndarray:
        """(S_hat + lam)^-1 b."""
        return solve(self.moment(sample) + eye(len(self.second)) * self.lam, right)

    def final(self, sample: Any) -> np.ndarray:
        """The ridge solution of a sample."""
        rows = list(sample)
        return self.pull(rows, self.Phi[rows].T @ self.f[rows] / len(rows))

    @property
    def noise(self) -> np.ndarray:
        """F - f*."""
        return self.f - self.Phi @ self.best

    def parts(self, sample: Any) -> list[np.ndarray]:
        """Approximation, bias and variance at every input."""
        return [self.noise, self.Phi @ (self.best - self.middle), self.Phi @ (self.middle - self.final(sample))]

    def over_samples(self, quantity: Any, n: int = 2) -> Any:
        """The expectation over samples of n draws."""
        total = 0
        for sample in product(range(len(self.Phi)), repeat=n):
            share = arb(1)
            for i in sample:
                share = share * self.p[i]
            total = quantity(sample) * share + total
        return total

    def squares(self, sample: Any) -> np.ndarray:
        """Squared error, squared parts, and the square of bias part plus variance part."""
        a, b, c = self.parts(sample)
        return np.array([self.mean(x * x) for x in (a + b + c, a, b, c, b + c)], dtype=object)

    @property
    def variance(self) -> Any:
        """The variance of f."""
        return self.mean(self.f * self.f) - self.mean(self.f) ** 2

    def noise_terms(self, sample: Any) -> tuple[np.ndarray, np.ndarray]:
        """The two terms of (22)."""
        rows = list(sample)
        return self.pull(rows, self.moment(rows) @ self.best), self.pull(
            rows, self.Phi[rows].T @ self.noise[rows] / len(rows)
        )

    def deviation(self, sample: Any) -> tuple[np.ndarray, np.ndarray]:
        """The design term and the noise term of the exact identity."""
        return self.pull(sample, (self.moment(sample) - self.second) @ (self.best - self.middle)), self.noise_terms(
            sample
        )[1]


POPULATIONS = seeded(_population)


def about(function: Any, call: Any, exact: Any, loss: float = 1e3, **rest: Any) -> Agreement:
    """Return an agreement on the populations; `exact` takes the population in balls, and the instance."""

    def truth(e: Instance) -> Any:
        return exact(Population(e, e), e)

    return Agreement(function=function, call=call, exact=truth, cases=POPULATIONS, loss=lambda case: loss, **rest)


def factor(S: np.ndarray, T: np.ndarray, lam: Any) -> Any:
    """tr(S (T + lam)^-1 T (T + lam)^-1)."""
    R = inverse(T + eye(len(T)) * lam)
    return np.trace(S @ R @ T @ R)


def taken(function: Any, exact: Any) -> Agreement:
    """Return the agreement of a function of expected squares."""
    return about(
        function,
        lambda f, c: f(error.expected_squares(c.whole, 2, c.lam)),
        lambda p, e: exact(p.over_samples(p.squares)),
    )


def spectral(function: Any, call: Any, exact: Any) -> Agreement:
    """Return the agreement of a function of a spectrum."""
    return Agreement(function=function, call=call, exact=exact, cases=POPULATIONS)


def intercept(p: Population) -> Any:
    """R^2 of a fit with intercept."""
    extended = np.column_stack([p.Phi, [arb(1)] * len(p.Phi)])
    S = extended.T * p.p @ extended
    w = pseudo(S) @ (extended.T @ (p.p * p.f))
    return 1 - p.mean((p.f - extended @ w) ** 2) / p.variance


def source(p: Population, s: Any) -> Any:
    """|S^-s w*|."""
    values, V = spectrum(p.second), vectors(p.second)
    return length(np.array([value**-s * np.sum(V[:, j] * p.best) for j, value in enumerate(values)], dtype=object))


def design(e: Instance) -> Any:
    """The least eigenvalue of (S + lam)^-1/2 (S_hat + lam) (S + lam)^-1/2."""
    S, T = (A + eye(e.P) * e.lam for A in (e.true, e.found))
    V, values = vectors(S), spectrum(S)
    R = V / np.array([root(x) for x in values], dtype=object) @ V.T
    return spectrum(R @ T @ R)[-1]


def bias_bound(e: Instance) -> Any:
    """Both branches of the corrected bound, radius 2 and top 3."""
    s, lam = e.s, e.lam
    if s >= 0.5:
        return lam**2 * arb(3) ** (2 * s - 1) * 4
    return ((1 + 2 * s) / 2) ** (1 + 2 * s) * ((1 - 2 * s) / 2) ** (1 - 2 * s) * lam ** (1 + 2 * s) * 4


def exponential(beta: Any, lam: Any) -> Any:
    """The corrected effective dimension of an exponential spectrum."""
    geometric = 1 / (1 - (-beta).exp())
    return geometric / lam if lam > 1 else (1 / lam).log() / beta + geometric + 1


def effective(p: Population) -> Any:
    """d_eff of the population."""
    return np.trace(p.second @ inverse(p.second + eye(len(p.second)) * p.lam))


def leverage(p: Population) -> Any:
    """The largest leverage."""
    R = inverse(p.second + eye(len(p.second)) * p.lam)
    return max((np.sum(phi * (R @ phi)) for phi in p.Phi), key=float)


def share(e: Instance) -> np.ndarray:
    """Mu / (mu + lam)."""
    return e.mu / (e.mu + e.lam)


def representation(e: Instance) -> list[Any]:
    """Coefficients and distance of the nearest finite sum of sections."""
    alpha = solve(kernel_of(e.rows), e.rows @ e.w)
    return [alpha, length(e.w - e.rows.T @ alpha)]


def sharp(s: Any, a: Any) -> Any:
    """The sharp bound for one a."""
    return s[1] + (1 + a) * s[2] + (1 + 1 / a) * s[3]


AGREE_ERROR: dict[str, tuple[Agreement, ...]] = {
    "def_b_1_b_2": (
        about(
            error.population,
            lambda f, c: f(c.whole.features, c.whole.values, c.whole.probabilities),
            lambda p, e: [p.Phi, p.f, p.p],
        ),
        about(error.covariance, lambda f, c: f(c.whole), lambda p, e: p.second),
        about(error.best_weights, lambda f, c: f(c.whole), lambda p, e: p.best, 1e5),
        about(error.regularised_weights, lambda f, c: f(c.whole, c.lam), lambda p, e: p.middle, 1e5),
        about(error.sample_covariance, lambda f, c: f(c.whole, c.sample), lambda p, e: p.moment(e.sample)),
        about(error.sample_weights, lambda f, c: f(c.whole, c.sample, c.lam), lambda p, e: p.final(e.sample), 1e4),
        about(
            error.fitted_values,
            lambda f, c: f(c.whole, c.sample, 4 * c.lam),
            lambda p, e: p.Phi @ p.final(e.sample),
            1e4,
        ),
    ),
    "prop_b_3": (
        about(
            error.decomposition,
            lambda f, c: f(c.whole, c.sample, c.lam),
            lambda p, e: p.parts(e.sample),
            1e5,
            size=lambda e: 1.0,
        ),
        about(
            error.expected_squares,
            lambda f, c: f(c.whole, 2, c.lam),
            lambda p, e: list(p.over_samples(p.squares)),
            1e4,
            size=lambda e: 1.0,
        ),
        taken(error.decomposition_bound_r1, lambda s: 3 * (s[1] + s[2] + s[3])),
        taken(error.decomposition_bound_r1_tighter, lambda s: s[1] + 2 * s[2] + 2 * s[3]),
        taken(error.decomposition_sum_r2, lambda s: s[1] + s[2] + s[3]),
    ),
    "prop_b_3_sharp": (
        taken(error.decomposition_identity, lambda s: s[1] + s[4]),
        about(
            error.decomposition_sharp_bound,
            lambda f, c: f(error.expected_squares(c.whole, 2, c.lam), c.a),
            lambda p, e: sharp(p.over_samples(p.squares), e.a),
        ),
    ),
    "b_3_approximation": (
        about(error.noise, lambda f, c: f(c.whole), lambda p, e: p.noise, 1e4, size=lambda e: 1.0),
        about(error.approximation_error, lambda f, c: f(c.whole), lambda p, e: p.mean(p.noise**2), 1e4),
        about(
            error.approximation_error_by_moments,
            lambda f, c: f(c.whole),
            lambda p, e: p.mean(p.noise**2),
            1e4,
            size=lambda e: 1.0,
        ),
        about(
            error.uncentred_r_squared,
            lambda f, c: f(c.whole),
            lambda p, e: p.mean((p.Phi @ p.best) ** 2) / p.mean(p.f**2),
            1e4,
        ),
        about(
            error.approximation_error_by_r_squared_printed,
            lambda f, c: f(c.whole),
            lambda p, e: p.variance * p.mean(p.noise**2) / p.mean(p.f**2),
            1e4,
            size=lambda e: 1.0,
        ),
        about(
            error.approximation_error_by_r_squared_corrected,
            lambda f, c: f(c.whole),
            lambda p, e: p.mean(p.noise**2),
            1e4,
            size=lambda e: 1.0,
        ),
        about(
            error.residual_variance,
            lambda f, c: f(c.whole),
            lambda p, e: p.mean(p.noise**2) - p.mean(p.noise) ** 2,
            1e4,
            size=lambda e: 1.0,
        ),
        about(error.intercept_r_squared, lambda f, c: f(c.whole), lambda p, e: intercept(p), 1e5, size=lambda e: 1.0),
        spectral(error.taylor_error_bound_printed, lambda f, c: f(c.a, c.beta), lambda e: e.a * e.beta**2 / 2),
    ),
    "b_3_bias": (
        about(
            error.bias,
            lambda f, c: f(c.whole, c.lam),
            lambda p, e: p.mean((p.Phi @ (p.best - p.middle)) ** 2),
            1e4,
            size=lambda e: 1e-4,
        ),
        about(
            error.bias_by_spectrum,
            lambda f, c: f(c.whole, c.lam),
            lambda p, e: p.mean((p.Phi @ (p.best - p.middle)) ** 2),
            1e4,
        ),
        spectral(error.bias_rate_printed, lambda f, c: f(c.lam, c.s), lambda e: e.lam ** (2 * e.s)),
    ),
    "bias_bound": (
        about(error.source_radius, lambda f, c: f(c.whole, c.s), lambda p, e: source(p, e.s), 1e5),
        spectral(error.bias_bound, lambda f, c: f(c.lam, c.s, 2.0, 3.0), bias_bound),
        spectral(error.bias_bound_logits, lambda f, c: f(c.lam, c.a), lambda e: e.lam * e.a**2 / 4),
    ),
    "eq_22": (
        about(
            error.sample_weight_terms,
            lambda f, c: f(c.whole, c.sample, c.lam),
            lambda p, e: p.noise_terms(e.sample),
            1e5,
            size=lambda e: 1.0,
        ),
        spectral(error.variance_printed, lambda f, c: f(c.a, c.r, 7), lambda e: e.a * e.r / 7),
        spectral(error.noise_factor_population_printed, lambda f, c: f(c.mu, c.lam), lambda e: energy(share(e))),
        spectral(
            error.noise_factor_truncated_printed,
            lambda f, c: f(c.mu, c.lam, c.r),
            lambda e: e.r + energy(e.mu[e.r :]) / e.lam**2,
        ),
        spectral(
            error.noise_factor_truncated,
            lambda f, c: f(c.mu, c.lam, c.r),
            lambda e: e.r + np.sum(e.mu[e.r :]) / (4 * e.lam),
        ),
    ),
    "variance_identity": (
        about(
            error.weight_deviation_terms,
            lambda f, c: f(c.whole, c.sample, c.lam),
            lambda p, e: p.deviation(e.sample),
            1e5,
            size=lambda e: 1e-2,
        ),
    ),
    "variance_conditional": (
        Agreement(
            function=error.noise_factor_sample,
            call=lambda f, c: f(c.true, c.found, c.lam),
            exact=lambda e: factor(e.true, e.found, e.lam),
            cases=POPULATIONS,
            loss=lambda c: 1e4,
        ),
        about(
            error.expected_noise_factor,
            lambda f, c: f(c.whole, 2, c.lam),
            lambda p, e: p.over_samples(lambda s: factor(p.second, p.moment(s), p.lam)),
            1e4,
        ),
        Agreement(
            function=error.design_margin,
            call=lambda f, c: f(c.true, c.found, c.lam),
            exact=design,
            cases=POPULATIONS,
            loss=lambda c: 1e5,
        ),
        about(error.design_leverage, lambda f, c: f(c.whole, c.lam), lambda p, e: leverage(p), 1e4),
        about(
            error.design_leverage_bound,
            lambda f, c: f(c.whole, c.lam),
            lambda p, e: max((energy(phi) for phi in p.Phi), key=float) / p.lam,
        ),
        about(
            error.design_sample_size,
            lambda f, c: f(c.whole, c.lam, 0.25, 3.0),
            lambda p, e: 3 * leverage(p) * ((1 + effective(p)) * 4).log(),
            1e4,
        ),
        spectral(error.effective_dimension_of_spectrum, lambda f, c: f(c.mu, c.lam), lambda e: np.sum(share(e))),
        spectral(
            error.conditional_variance_bound,
            lambda f, c: f(c.a, 7, c.mu, c.lam),
            lambda e: 2 * e.a / 7 * np.sum(share(e)),
        ),
        spectral(
            error.effective_dimension_truncated,
            lambda f, c: f(c.mu, c.lam, c.r),
            lambda e: e.r + np.sum(e.mu[e.r :]) / e.lam,
        ),
        spectral(
            error.effective_dimension_at_rank,
            lambda f, c: f(c.mu, c.lam, c.epsilon),
            lambda e: truncated(e.mu, e.epsilon) + e.epsilon * np.sum(e.mu) / e.lam,
        ),
        spectral(
            error.exponential_rank_rate_printed, lambda f, c: f(c.beta, c.lam), lambda e: (1 / e.lam).log() / e.beta
        ),
        spectral(error.polynomial_rank_rate_printed, lambda f, c: f(c.beta, c.lam), lambda e: e.lam ** (-1 / e.beta)),
        spectral(
            error.exponential_effective_dimension_bound,
            lambda f, c: [f(c.beta, c.lam), f(c.beta, c.large)],
            lambda e: [exponential(e.beta, e.lam), exponential(e.beta, e.large)],
        ),
    ),
    "rem_b_4": (
        Agreement(
            function=error.finite_representation,
            call=lambda f, c: f(c.rows, c.w),
            exact=representation,
            cases=POPULATIONS,
            loss=lambda c: 1e4,
        ),
    ),
}


# B.2.


class Projected:
    """Both kernels, cross vectors and resolvents of one test row, in balls."""

    def __init__(self, e: Instance) -> None:
        self.lam, self.y, x = e.lam, e.y, e.X[1]
        low = e.Phi @ e.A
        self.K, self.low, self.k, self.k_low = kernel_of(e.Phi), kernel_of(low), e.Phi @ x, low @ (x @ e.A)
        self.norm, self.norm_low = energy(x), energy(x @ e.A)
        self.R, self.R_low = (inverse(M + eye(e.n) * e.lam) for M in (self.K, self.low))
        self.sizes = [length(self.k - self.k_low), length(self.y), norm2(self.K - self.low)]
        self.least, self.least_low = (self.lam + spectrum(M)[-1] for M in (self.K, self.low))


def _small(rng: np.random.Generator, i: int) -> Instance:
    """A ridge problem of a few rows with a random map, mild and with a ridge of 1e-12 of the largest eigenvalue."""
    n, P = ((2, 4), (3, 5), (4, 3), (5, 6))[i % 4]
    Phi, A = rng.standard_normal((n, P)), rng.standard_normal((P, 3)) / np.sqrt(3)
    top = float(np.linalg.norm(Phi, 2) ** 2)
    return Instance(
        Phi=Phi,
        A=A,
        X=rng.standard_normal((3, P)),
        y=rng.standard_normal(n),
        lam=(1.0, 1e-2, 1e-5, 1e-9, 1e-12)[i % 5] * top,
        n=n,
        P=P,
        top=top,
        i=i,
    )


SMALL = seeded(_small)


def between(function: Any, exact: Any, loss: Any = condition, size: Any = None) -> Agreement:
    """Return the agreement of a function of a projected problem."""

    def call(f: Any, c: Instance) -> Any:
        return f(projection_error.projected_problem(c.Phi, c.X[1], c.A, c.y, c.lam))

    sizes = {} if size is None else {"size": lambda e: size(Projected(e))}
    return Agreement(function=function, call=call, exact=lambda e: exact(Projected(e)), cases=SMALL, loss=loss, **sizes)


def scale(p: Projected) -> Any:
    """The size of the terms of a difference of predictions."""
    return (length(p.k) + length(p.k_low)) * p.sizes[1] / p.lam


def first(p: Projected) -> Any:
    """The bound on (I)."""
    return p.sizes[0] * p.sizes[1] / p.least


def combined(p: Projected, cross: np.ndarray, low: Any) -> Any:
    """The combination with a cross vector and the second factor of the denominator."""
    return first(p) + length(cross) * p.sizes[1] * p.sizes[2] / (p.least * low)


def by_coefficients(p: Projected) -> Any:
    """The combination with alpha in hand."""
    alpha = p.R @ p.y
    return abs(np.sum((p.k - p.k_low) * alpha)) + root(p.norm_low) / (2 * root(p.lam)) * length((p.K - p.low) @ alpha)


def whole_problem(p: Projected) -> list[Any]:
    """The fields of a problem that are computed."""
    return [p.K, p.low, p.k, p.k_low, p.norm, p.norm_low, p.y, p.lam]


def fields_of(f: Any, c: Instance) -> list[Any]:
    """The same of dntk_ref."""
    p = f(c.Phi, c.X[1], c.A, c.y, c.lam)
    return [p.kernel, p.projected, p.cross, p.projected_cross, p.norm, p.projected_norm, p.targets, p.lam]


AGREE_PROJECTION: dict[str, tuple[Agreement, ...]] = {
    "b_2_i": (
        Agreement(
            function=projection_error.projected_problem,
            call=fields_of,
            exact=lambda e: whole_problem(Projected(e)),
            cases=SMALL,
            size=lambda e: energy(e.Phi),
        ),
        between(
            projection_error.prediction_difference,
            lambda p: np.sum(p.k * (p.R @ p.y)) - np.sum(p.k_low * (p.R_low @ p.y)),
            size=scale,
            loss=root_condition,
        ),
        between(
            projection_error.term_i, lambda p: np.sum((p.k - p.k_low) * (p.R @ p.y)), size=scale, loss=root_condition
        ),
        between(
            projection_error.term_ii,
            lambda p: np.sum(p.k_low * ((p.R - p.R_low) @ p.y)),
            size=scale,
            loss=root_condition,
        ),
        between(
            projection_error.term_i_prime,
            lambda p: np.sum((p.k - p.k_low) * (p.R_low @ p.y)),
            size=scale,
            loss=root_condition,
        ),
        between(
            projection_error.term_ii_prime,
            lambda p: np.sum(p.k * ((p.R - p.R_low) @ p.y)),
            size=scale,
            loss=root_condition,
        ),
        between(projection_error.term_i_bound, first),
        between(projection_error.term_i_prime_bound_printed, first),
        between(projection_error.term_i_prime_bound, lambda p: p.sizes[0] * p.sizes[1] / p.least_low),
        between(projection_error.cross_norm_bound, lambda p: root(norm2(p.K) * p.norm)),
    ),
    "b_2_ii": (
        between(projection_error.resolvent_difference, lambda p: norm2(p.R - p.R_low), loss=root_condition),
        between(
            projection_error.resolvent_bound_printed, lambda p: p.sizes[2] / p.least**2, loss=lambda c: 2 * condition(c)
        ),
        between(
            projection_error.combined_bound_printed,
            lambda p: combined(p, p.k, p.least),
            loss=lambda c: 2 * condition(c),
        ),
        between(
            projection_error.combined_bound_projected_printed,
            lambda p: combined(p, p.k_low, p.least),
            loss=lambda c: 2 * condition(c),
        ),
    ),
    "b_2_corrected": (
        between(
            projection_error.resolvent_bound,
            lambda p: p.sizes[2] / (p.least * p.least_low),
            loss=lambda c: 2 * condition(c),
        ),
        between(
            projection_error.combined_bound,
            lambda p: combined(p, p.k_low, p.least_low),
            loss=lambda c: 2 * condition(c),
        ),
        between(projection_error.combined_bound_by_coefficients, by_coefficients, size=scale, loss=root_condition),
    ),
    "rem_b_5": (
        on(
            projection_error.relative_error_gaussian,
            lambda f, c: f(c.K, 7),
            lambda e: (1 + np.trace(e.K) ** 2 / energy(e.K)) / 7,
            KERNELS,
        ),
        on(projection_error.intrinsic_dimension, lambda f, c: f(c.K), lambda e: np.trace(e.K) / norm2(e.K), KERNELS),
        on(
            projection_error.spectral_error_scale,
            lambda f, c: f(c.K, 7),
            lambda e: norm2(e.K) * (root(np.trace(e.K) / norm2(e.K) / 7) + np.trace(e.K) / norm2(e.K) / 7),
            KERNELS,
        ),
    ),
}

AGREEMENTS: dict[str, tuple[Agreement, ...]] = {**AGREE_RIDGE, **AGREE_ERROR, **AGREE_PROJECTION}
