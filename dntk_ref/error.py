"""Error decomposition of kernel ridge regression (Appendix B.1), exact: the population is a finite distribution.

The ridge is that of B.1, `(Sigma_hat + lam_mean I) w = Phi^T y / n`. A sample is a list of row numbers of the
population, drawn
independently; expectations over samples are sums over all of them. What the paper prints and what is true stand side by
side, each under its own name.
One file because the parts of B.1 are checked against each other on one population.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import log
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref.redundancy import truncation_rank_of_spectrum
from dntk_ref.ridge import dual_prediction, mean_ridge_weights

__all__ = [
    "Decomposition",
    "Population",
    "Representation",
    "SquaredErrors",
    "WeightTerms",
    "approximation_error",
    "approximation_error_by_moments",
    "approximation_error_by_r_squared_corrected",
    "approximation_error_by_r_squared_printed",
    "best_weights",
    "bias",
    "bias_bound",
    "bias_bound_logits",
    "bias_by_spectrum",
    "bias_rate_printed",
    "conditional_variance_bound",
    "covariance",
    "decomposition",
    "decomposition_bound_r1",
    "decomposition_bound_r1_tighter",
    "decomposition_identity",
    "decomposition_sharp_bound",
    "decomposition_sum_r2",
    "design_leverage",
    "design_leverage_bound",
    "design_margin",
    "design_sample_size",
    "effective_dimension_at_rank",
    "effective_dimension_of_spectrum",
    "effective_dimension_truncated",
    "expected_noise_factor",
    "expected_squares",
    "exponential_effective_dimension_bound",
    "exponential_rank_rate_printed",
    "finite_representation",
    "fitted_values",
    "intercept_r_squared",
    "noise",
    "noise_factor_population_printed",
    "noise_factor_sample",
    "noise_factor_truncated",
    "noise_factor_truncated_printed",
    "polynomial_rank_rate_printed",
    "population",
    "regularised_weights",
    "residual_variance",
    "sample_covariance",
    "sample_weight_terms",
    "sample_weights",
    "source_radius",
    "taylor_error_bound_printed",
    "uncentred_r_squared",
    "variance_printed",
    "weight_deviation_terms",
]

# An eigenvalue below this share of the largest counts as zero in pseudo-inverses: float64 leaves about P 1e-16.
CUTOFF = 1e-12
# Expectations are sums over all samples; above this many they are refused rather than sampled.
MOST_SAMPLES = 100_000


@dataclass(frozen=True)
class Population:
    """A finite distribution of inputs: gradients (N, P), function values (N,), probabilities (N,)."""

    features: Array
    values: Array
    probabilities: Array


@dataclass(frozen=True)
class Decomposition:
    """The three parts of f - f_hat at every input of the population (N,): they sum to the error, Eq (21)."""

    approximation: Array
    bias: Array
    variance: Array


@dataclass(frozen=True)
class SquaredErrors:
    """Expectations over test input and sample of squares: of the error, of each part, and of bias part + variance part."""

    total: float
    approximation: float
    bias: float
    variance: float
    bias_and_variance: float


@dataclass(frozen=True)
class WeightTerms:
    """Two vectors of weights (P,) that sum to what was asked for."""

    design: Array
    noise: Array


@dataclass(frozen=True)
class Representation:
    """Coefficients (m,) of kernel sections, and the distance left in the space of the kernel."""

    coefficients: Array
    distance: float


# Definitions B.1 and B.2.


def population(features: Any, values: Any, probabilities: Any = None) -> Population:
    """A finite population: inputs by their gradients, with values f and probabilities (equal ones by default).

    Parameters: features (N, P), values (N,), probabilities (N,). Returns: Population. Raises: ValueError, TypeError.

    >>> population([[1.0], [2.0]], [0.0, 1.0]).probabilities.tolist()
    [0.5, 0.5]
    """
    Phi = _check.matrix("features", features)
    f = _check.vector("values", values, len(Phi))
    return Population(Phi, f, _check.probabilities("probabilities", probabilities, len(Phi)))


def covariance(whole: Population) -> Array:
    """The uncentred second moment Sigma = E phi phi^T of Definition B.2.

    >>> covariance(population([[1.0], [3.0]], [0.0, 0.0])).tolist()
    [[5.0]]
    """
    Phi = whole.features
    return np.asarray(Phi.T @ (whole.probabilities[:, None] * Phi))


def best_weights(whole: Population) -> Array:
    """The best linear weights, Eq (20), the shortest of them: w* = Sigma^+ E[phi f].

    >>> best_weights(population([[1.0], [2.0]], [-1.0, 1.0])).round(12).tolist()
    [0.2]
    """
    moment = whole.features.T @ (whole.probabilities * whole.values)
    return np.asarray(np.linalg.pinv(covariance(whole), rcond=CUTOFF, hermitian=True) @ moment)


def regularised_weights(whole: Population, lam_mean: float) -> Array:
    """The population ridge: w_lam = (Sigma + lam I)^-1 Sigma w* (Definition B.2).

    >>> regularised_weights(population([[1.0]], [3.0]), 2.0).tolist()
    [1.0]
    """
    S = covariance(whole)
    return _solve(_shifted(S, lam_mean), S @ best_weights(whole))


def sample_covariance(whole: Population, sample: Any) -> Array:
    """The second moment of a sample: Sigma_hat = Phi^T Phi / n.

    >>> sample_covariance(population([[1.0], [3.0]], [0.0, 0.0]), [1, 1]).tolist()
    [[9.0]]
    """
    Phi = whole.features[_rows(whole, sample)]
    return np.asarray(Phi.T @ Phi / len(Phi))


def sample_weights(whole: Population, sample: Any, lam_mean: float) -> Array:
    """The empirical ridge on the function's own values: (Sigma_hat + lam I)^-1 Phi^T f(X) / n (Definitions B.1, B.2).

    >>> sample_weights(population([[1.0]], [3.0]), [0], 2.0).tolist()
    [1.0]
    """
    rows = _rows(whole, sample)
    return mean_ridge_weights(whole.features[rows], whole.values[rows], lam_mean)


def fitted_values(whole: Population, sample: Any, lam: float) -> Array:
    """The function of Definition B.1, Eq (19), at every input: k(x)^T (K + lam I)^-1 f(X), un-normalised ridge.

    Parameters: a population, a sample of n rows, lam = n lam_mean > 0. Returns: (N,). Raises: ValueError.

    >>> fitted_values(population([[1.0]], [3.0]), [0], 2.0).tolist()
    [1.0]
    """
    rows = _rows(whole, sample)
    Phi = whole.features[rows]
    return dual_prediction(whole.features @ Phi.T, Phi @ Phi.T, whole.values[rows], lam)


def decomposition(whole: Population, sample: Any, lam_mean: float) -> Decomposition:
    """The pointwise decomposition (21): f - f_hat = (f - f*) + (f* - f_lam) + (f_lam - f_hat).

    >>> parts = decomposition(population([[1.0], [2.0]], [1.0, 2.0]), [0], 1.0)
    >>> parts.approximation.round(12).tolist()
    [0.0, 0.0]
    """
    best, middle = best_weights(whole), regularised_weights(whole, lam_mean)
    final, Phi = sample_weights(whole, sample, lam_mean), whole.features
    return Decomposition(whole.values - Phi @ best, Phi @ (best - middle), Phi @ (middle - final))


# Proposition B.3.


def expected_squares(whole: Population, n: int, lam_mean: float) -> SquaredErrors:
    """All expectations of Proposition B.3, over a test input and all samples of n independent draws.

    Parameters: a population of N inputs, n >= 1 with N^n at most 100,000, lam_mean > 0. Returns: SquaredErrors.
    Raises: ValueError for too many samples.

    >>> expected_squares(population([[1.0]], [1.0]), 1, 1.0).total
    0.25
    """

    def squares(sample: IntArray) -> Array:
        parts = decomposition(whole, sample, lam_mean)
        later = parts.bias + parts.variance
        columns = (parts.approximation + later, parts.approximation, parts.bias, parts.variance, later)
        return np.array([whole.probabilities @ column**2 for column in columns])

    return SquaredErrors(*(float(x) for x in _over_samples(whole, n, squares)))


def decomposition_bound_r1(errors: SquaredErrors) -> float:
    """Reading R1 of Proposition B.3: E(f - f_hat)^2 <= 3 (approximation + bias + variance); holds.

    >>> decomposition_bound_r1(SquaredErrors(0.0, 1.0, 2.0, 3.0, 0.0))
    18.0
    """
    return 3 * (errors.approximation + errors.bias + errors.variance)


def decomposition_bound_r1_tighter(errors: SquaredErrors) -> float:
    """Reading R1 with the smaller factors: approximation + 2 bias + 2 variance; holds.

    >>> decomposition_bound_r1_tighter(SquaredErrors(0.0, 1.0, 2.0, 3.0, 0.0))
    11.0
    """
    return errors.approximation + 2 * errors.bias + 2 * errors.variance


def decomposition_sum_r2(errors: SquaredErrors) -> float:
    """Readings R2 (bound) and R3 (equality) of Proposition B.3: approximation + bias + variance; both fail (CEX-18).

    >>> decomposition_sum_r2(SquaredErrors(0.0, 1.0, 2.0, 3.0, 0.0))
    6.0
    """
    return errors.approximation + errors.bias + errors.variance


def decomposition_identity(errors: SquaredErrors) -> float:
    """The sharp form: E(f - f_hat)^2 = approximation + E(bias part + variance part)^2, exactly.

    >>> decomposition_identity(SquaredErrors(0.0, 1.0, 2.0, 3.0, 4.0))
    5.0
    """
    return errors.approximation + errors.bias_and_variance


def decomposition_sharp_bound(errors: SquaredErrors, a: float) -> float:
    """The sharp bound: approximation + (1 + a) bias + (1 + 1/a) variance, for every a > 0.

    >>> decomposition_sharp_bound(SquaredErrors(0.0, 1.0, 2.0, 3.0, 0.0), 2.0)
    11.5
    """
    a = _check.positive("a", a)
    return errors.approximation + (1 + a) * errors.bias + (1 + 1 / a) * errors.variance


# Approximation error.


def noise(whole: Population) -> Array:
    """What no linear function explains, epsilon = f - f*, at every input (N,); a deterministic function of x.

    >>> noise(population([[1.0], [2.0]], [-1.0, 1.0])).round(12).tolist()
    [-1.2, 0.6]
    """
    return np.asarray(whole.values - whole.features @ best_weights(whole))


def approximation_error(whole: Population) -> float:
    """The approximation error E(f - f*)^2, by its definition.

    >>> round(approximation_error(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    0.9
    """
    return float(whole.probabilities @ noise(whole) ** 2)


def approximation_error_by_moments(whole: Population) -> float:
    """The same by moments: E f^2 - E[f phi]^T Sigma^+ E[phi f].

    >>> round(approximation_error_by_moments(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    0.9
    """
    moment = whole.features.T @ (whole.probabilities * whole.values)
    return float(whole.probabilities @ whole.values**2 - moment @ best_weights(whole))


def uncentred_r_squared(whole: Population) -> float:
    """The coefficient of determination without intercept: R^2 = E(f*)^2 / E f^2.

    >>> round(uncentred_r_squared(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    0.1
    """
    power = _check.positive("E f^2", whole.probabilities @ whole.values**2)
    return float(whole.probabilities @ (whole.features @ best_weights(whole)) ** 2) / power


def approximation_error_by_r_squared_printed(whole: Population) -> float:
    """The printed form: Var(f) (1 - R^2); with the uncentred R^2 it holds if E f = 0, else not.

    >>> round(approximation_error_by_r_squared_printed(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    0.9
    """
    return _variance(whole, whole.values) * (1 - uncentred_r_squared(whole))


def approximation_error_by_r_squared_corrected(whole: Population) -> float:
    """The corrected form: E f^2 (1 - R^2) with the uncentred R^2; always.

    >>> round(approximation_error_by_r_squared_corrected(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    0.9
    """
    return float(whole.probabilities @ whole.values**2) * (1 - uncentred_r_squared(whole))


def residual_variance(whole: Population) -> float:
    """The centred variance of f - f*, which is not the approximation error (CEX-20).

    >>> round(residual_variance(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    0.81
    """
    return _variance(whole, noise(whole))


def intercept_r_squared(whole: Population) -> float:
    """The coefficient of determination of a fit with intercept, which is not the R^2 meant (CEX-20).

    >>> round(intercept_r_squared(population([[1.0], [2.0]], [-1.0, 1.0])), 12)
    1.0
    """
    extended = np.column_stack([whole.features, np.ones(len(whole.features))])
    left = approximation_error(Population(extended, whole.values, whole.probabilities))
    return 1 - left / _check.positive("Var f", _variance(whole, whole.values))


def taylor_error_bound_printed(hessian_norm: float, step: float) -> float:
    """The cited rate: |f(theta_0 + D) - f(theta_0) - phi_0^T D| <= sup |H|_2 |D|^2 / 2; a Taylor error, not this one.

    >>> taylor_error_bound_printed(4.0, 0.5)
    0.5
    """
    return _check.nonnegative("hessian_norm", hessian_norm) * _check.nonnegative("step", step) ** 2 / 2


# Bias.


def bias(whole: Population, lam_mean: float) -> float:
    """The squared bias E(f* - f_lam)^2, by its definition.

    >>> bias(population([[1.0]], [1.0]), 1.0)
    0.25
    """
    difference = best_weights(whole) - regularised_weights(whole, lam_mean)
    return float(whole.probabilities @ (whole.features @ difference) ** 2)


def bias_by_spectrum(whole: Population, lam_mean: float) -> float:
    """The same by the spectrum of Sigma: sum_j lam^2 mu_j a_j^2 / (mu_j + lam)^2, a_j = v_j^T w*.

    >>> bias_by_spectrum(population([[1.0]], [1.0]), 1.0)
    0.25
    """
    lam = _check.positive("lam_mean", lam_mean)
    mu, V = np.linalg.eigh(covariance(whole))
    mu = np.clip(mu, 0.0, None)
    return float(np.sum(lam**2 * mu * (V.T @ best_weights(whole)) ** 2 / (mu + lam) ** 2))


def source_radius(whole: Population, s: float) -> float:
    """The radius R = |g| of the source condition w* = Sigma^s g, on the range of Sigma where w* lies.

    >>> source_radius(population([[2.0]], [2.0]), 1.0)
    0.25
    """
    power = _check.nonnegative("s", s)
    mu, V = np.linalg.eigh(covariance(whole))
    kept = mu > CUTOFF * mu[-1]
    return float(np.linalg.norm(mu[kept] ** -power * (V[:, kept].T @ best_weights(whole))))


def bias_rate_printed(lam_mean: float, s: float) -> float:
    """The printed rate of the squared bias under w* = Sigma^s g, up to a constant: lam^(2 s); fails for s >= 2 (CEX-21).

    >>> round(bias_rate_printed(0.1, 2.0), 12)
    0.0001
    """
    return float(_check.positive("lam_mean", lam_mean) ** (2 * _check.nonnegative("s", s)))


def bias_bound(lam_mean: float, s: float, radius: float, top: float) -> float:
    """The corrected bound on the squared bias, both branches; Tikhonov saturates at lam^2.

    s <= 1/2: ((1 + 2s)/2)^(1 + 2s) ((1 - 2s)/2)^(1 - 2s) lam^(1 + 2s) R^2; s >= 1/2: lam^2 |Sigma|^(2s - 1) R^2.
    Parameters: lam_mean > 0, s >= 0, radius R >= 0, top = |Sigma|_2 > 0. Returns: a number. Raises: ValueError.

    >>> bias_bound(4.0, 0.0, 1.0, 1.0), bias_bound(0.5, 1.0, 2.0, 3.0)
    (1.0, 3.0)
    """
    lam, s = _check.positive("lam_mean", lam_mean), _check.nonnegative("s", s)
    R, largest = _check.nonnegative("radius", radius), _check.positive("top", top)
    if s >= 0.5:
        return float(lam**2 * largest ** (2 * s - 1) * R**2)
    up, down = (1 + 2 * s) / 2, (1 - 2 * s) / 2
    return float(up ** (2 * up) * down ** (2 * down) * lam ** (1 + 2 * s) * R**2)


def bias_bound_logits(lam_mean: float, head_norm: float) -> float:
    """The bound that always applies to logits (`theorem_r`, s = 0): lam |(W_c, b_c)|^2 / 4.

    >>> bias_bound_logits(1.0, 2.0)
    1.0
    """
    return _check.positive("lam_mean", lam_mean) / 4 * _check.nonnegative("head_norm", head_norm) ** 2


# Variance.


def sample_weight_terms(whole: Population, sample: Any, lam_mean: float) -> WeightTerms:
    """The two terms of Eq (22): w_hat = (Sigma_hat + lam)^-1 Sigma_hat w* + (Sigma_hat + lam)^-1 Phi^T epsilon / n.

    >>> sample_weight_terms(population([[1.0]], [1.0]), [0], 1.0).design.tolist()
    [0.5]
    """
    rows = _rows(whole, sample)
    S_hat = sample_covariance(whole, rows)
    pull = whole.features[rows].T @ noise(whole)[rows] / rows.size
    shifted = _shifted(S_hat, lam_mean)
    return WeightTerms(_solve(shifted, S_hat @ best_weights(whole)), _solve(shifted, pull))


def weight_deviation_terms(whole: Population, sample: Any, lam_mean: float) -> WeightTerms:
    """The exact identity behind the variance, with the design term that the paper drops.

    w_hat - w_lam = (Sigma_hat + lam)^-1 [(Sigma_hat - Sigma)(w* - w_lam) + Phi^T epsilon / n].

    >>> weight_deviation_terms(population([[1.0]], [1.0]), [0], 1.0).design.tolist()
    [0.0]
    """
    rows = _rows(whole, sample)
    S_hat = sample_covariance(whole, rows)
    shifted = _shifted(S_hat, lam_mean)
    push = (S_hat - covariance(whole)) @ (best_weights(whole) - regularised_weights(whole, lam_mean))
    return WeightTerms(_solve(shifted, push), sample_weight_terms(whole, rows, lam_mean).noise)


def noise_factor_sample(true: Any, found: Any, lam_mean: float) -> float:
    """The noise part for a given sample over sigma^2 / n: tr(Sigma (S + lam)^-1 S (S + lam)^-1), S the sample's.

    Exact for noise of conditional mean 0 and covariance sigma^2 I.

    >>> noise_factor_sample([[2.0]], [[1.0]], 1.0)
    0.5
    """
    S = _check.kernel("true", true)
    S_hat = _check.kernel("found", found, size=len(S))
    inverse = np.linalg.inv(_shifted(S_hat, lam_mean))
    return float(np.trace(S @ inverse @ S_hat @ inverse))


def expected_noise_factor(whole: Population, n: int, lam_mean: float) -> float:
    """The expectation of `noise_factor_sample` over all samples of n independent draws, by enumeration.

    >>> expected_noise_factor(population([[1.0]], [0.0]), 2, 1.0)
    0.25
    """
    S = covariance(whole)

    def factor(sample: IntArray) -> Array:
        return np.array([noise_factor_sample(S, sample_covariance(whole, sample), lam_mean)])

    return float(_over_samples(whole, n, factor)[0])


def noise_factor_population_printed(spectrum: Any, lam_mean: float) -> float:
    """The printed approximation of the factor by the population: sum_j mu_j^2 / (mu_j + lam)^2; not a bound (CEX-22).

    >>> noise_factor_population_printed([1.0, 1.0], 1.0)
    0.5
    """
    mu, lam = _spectrum(spectrum), _check.positive("lam_mean", lam_mean)
    return float(np.sum((mu / (mu + lam)) ** 2))


def noise_factor_truncated_printed(spectrum: Any, lam_mean: float, r: int) -> float:
    """The printed truncation of the population factor: r + lam^-2 sum_{j > r} mu_j^2.

    >>> noise_factor_truncated_printed([1.0, 0.5], 0.5, 1)
    2.0
    """
    mu, lam = _spectrum(spectrum), _check.positive("lam_mean", lam_mean)
    r = _check.integer("r", r, 0, mu.size)
    return float(r + np.sum(mu[r:] ** 2) / lam**2)


def noise_factor_truncated(spectrum: Any, lam_mean: float, r: int) -> float:
    """The truncation made rigorous: the population factor is at most r + sum_{j > r} mu_j / (4 lam).

    >>> noise_factor_truncated([1.0, 0.5], 0.5, 1)
    1.25
    """
    mu, lam = _spectrum(spectrum), _check.positive("lam_mean", lam_mean)
    r = _check.integer("r", r, 0, mu.size)
    return float(r + np.sum(mu[r:]) / (4 * lam))


def variance_printed(noise_variance: float, rank: int, n: int) -> float:
    """The printed order of the variance: sigma^2 r / n; fails at finite n (CEX-19, 22, 23).

    >>> variance_printed(2.0, 3, 6)
    1.0
    """
    sigma2 = _check.nonnegative("noise_variance", noise_variance)
    return sigma2 * _check.integer("rank", rank, 0) / _check.integer("n", n, 1)


def effective_dimension_of_spectrum(spectrum: Any, lam_mean: float) -> float:
    """The effective dimension d_eff = sum_j mu_j / (mu_j + lam).

    >>> effective_dimension_of_spectrum([1.0, 1.0], 1.0)
    1.0
    """
    mu, lam = _spectrum(spectrum), _check.positive("lam_mean", lam_mean)
    return float(np.sum(mu / (mu + lam)))


def conditional_variance_bound(noise_variance: float, n: int, spectrum: Any, lam_mean: float) -> float:
    """The corrected noise part where `design_margin` is at least 1/2: at most 2 sigma^2 d_eff / n.

    >>> conditional_variance_bound(1.0, 2, [1.0, 1.0], 1.0)
    1.0
    """
    sigma2 = _check.nonnegative("noise_variance", noise_variance)
    return 2 * sigma2 / _check.integer("n", n, 1) * effective_dimension_of_spectrum(spectrum, lam_mean)


def design_margin(true: Any, found: Any, lam_mean: float) -> float:
    """The largest t with Sigma_hat + lam >= t (Sigma + lam); the event of the corrected form is t >= 1/2.

    >>> design_margin([[3.0]], [[1.0]], 1.0)
    0.5
    """
    S = _check.kernel("true", true)
    _check.semidefinite("true", np.linalg.eigvalsh(S))
    values, V = np.linalg.eigh(_shifted(S, lam_mean))
    root = V / np.sqrt(values) @ V.T
    shifted = _shifted(_check.kernel("found", found, size=len(S)), lam_mean)
    return float(np.linalg.eigvalsh(root @ shifted @ root)[0])


def design_leverage(whole: Population, lam_mean: float) -> float:
    """The largest leverage N_inf = max_x phi^T (Sigma + lam)^-1 phi.

    >>> design_leverage(population([[1.0], [3.0]], [0.0, 0.0]), 1.0)
    1.5
    """
    solved = _solve(_shifted(covariance(whole), lam_mean), whole.features.T)
    return float(np.max(np.sum(whole.features.T * solved, axis=0)))


def design_leverage_bound(whole: Population, lam_mean: float) -> float:
    """The bound N_inf <= max_x |phi|^2 / lam.

    >>> design_leverage_bound(population([[1.0], [3.0]], [0.0, 0.0]), 1.0)
    9.0
    """
    return float(np.max(np.sum(whole.features**2, axis=1))) / _check.positive("lam_mean", lam_mean)


def design_sample_size(whole: Population, lam_mean: float, delta: float, constant: float) -> float:
    """The sample size for the event of probability 1 - delta: C N_inf log((1 + d_eff) / delta), C not explicit.

    >>> round(design_sample_size(population([[1.0]], [0.0]), 1.0, 0.5, 2.0), 6)
    1.098612
    """
    delta, C = _check.positive("delta", _check.below_one("delta", delta)), _check.positive("constant", constant)
    d_eff = effective_dimension_of_spectrum(np.linalg.eigvalsh(covariance(whole))[::-1].clip(0.0), lam_mean)
    return C * design_leverage(whole, lam_mean) * log((1 + d_eff) / delta)


def effective_dimension_truncated(spectrum: Any, lam_mean: float, r: int) -> float:
    """The truncation of the effective dimension: d_eff <= r + sum_{j > r} mu_j / lam.

    >>> effective_dimension_truncated([1.0, 0.5], 0.5, 1)
    2.0
    """
    mu, lam = _spectrum(spectrum), _check.positive("lam_mean", lam_mean)
    r = _check.integer("r", r, 0, mu.size)
    return float(r + np.sum(mu[r:]) / lam)


def effective_dimension_at_rank(spectrum: Any, lam_mean: float, epsilon: float) -> float:
    """The same at the truncation rank: d_eff <= r_eps + epsilon tr Sigma / lam.

    >>> effective_dimension_at_rank([3.0, 1.0], 1.0, 0.25)
    2.0
    """
    mu, lam = _spectrum(spectrum), _check.positive("lam_mean", lam_mean)
    return float(truncation_rank_of_spectrum(mu, epsilon) + epsilon * mu.sum() / lam)


def exponential_rank_rate_printed(beta: float, lam_mean: float) -> float:
    """The printed rank for mu_j of order exp(-beta j), up to a constant: log(1/lam) / beta.

    >>> exponential_rank_rate_printed(2.0, 1.0)
    0.0
    """
    return log(1 / _check.positive("lam_mean", lam_mean)) / _check.positive("beta", beta)


def polynomial_rank_rate_printed(beta: float, lam_mean: float) -> float:
    """The rank under reading R2, mu_j of order j^-beta, up to a constant: lam^(-1/beta).

    >>> polynomial_rank_rate_printed(2.0, 0.25)
    2.0
    """
    return float(_check.positive("lam_mean", lam_mean) ** (-1 / _check.positive("beta", beta)))


def exponential_effective_dimension_bound(beta: float, lam_mean: float) -> float:
    """The corrected bound for mu_j = exp(-beta (j - 1)), both branches.

    lam <= 1: ln(1/lam) / beta + 1 / (1 - exp(-beta)) + 1; lam > 1: 1 / (lam (1 - exp(-beta))).

    >>> round(exponential_effective_dimension_bound(1.0, 2.0), 6)
    0.790988
    """
    beta, lam = _check.positive("beta", beta), _check.positive("lam_mean", lam_mean)
    geometric = 1 / -np.expm1(-beta)
    return float(geometric / lam if lam > 1 else log(1 / lam) / beta + geometric + 1)


# Remark B.4.


def finite_representation(features: Any, weights: Any) -> Representation:
    """The nearest finite sum of kernel sections (Remark B.4): min_alpha |g - sum_i alpha_i K(x_i, .)| = |w - Phi^T alpha|.

    g(x) = phi(x)^T w; the distance is zero once the inputs' gradients span w.
    Parameters: features (m, P) of the inputs x_i, weights (P,). Returns: Representation. Raises: ValueError.

    >>> finite_representation([[2.0, 0.0]], [4.0, 3.0])
    Representation(coefficients=array([2.]), distance=3.0)
    """
    Phi = _check.matrix("features", features)
    w = _check.vector("weights", weights, Phi.shape[1])
    alpha = np.linalg.lstsq(Phi.T, w, rcond=CUTOFF)[0]
    return Representation(np.asarray(alpha, dtype=np.float64), float(np.linalg.norm(w - Phi.T @ alpha)))


# Helpers.


def _shifted(matrix: Array, lam_mean: float) -> Array:
    return matrix + _check.positive("lam_mean", lam_mean) * np.eye(len(matrix))


def _solve(matrix: Array, right: Array) -> Array:
    return np.asarray(np.linalg.solve(matrix, right))


def _rows(whole: Population, sample: Any) -> IntArray:
    """A sample: row numbers of the population, repeated as often as drawn."""
    rows = _check.partition("sample", sample, np.size(sample))
    if rows.size == 0 or rows.min() < 0 or rows.max() >= len(whole.features):
        raise ValueError(f"sample: expected rows in [0, {len(whole.features) - 1}], got {rows.tolist()}")
    return rows


def _spectrum(value: Any) -> Array:
    mu = _check.vector("spectrum", value)
    if mu.min() < 0 or (np.diff(mu) > 0).any():
        raise ValueError(f"spectrum: expected descending numbers that are 0 or above, got {mu.tolist()}")
    return mu


def _variance(whole: Population, values: Array) -> float:
    return float(whole.probabilities @ (values - whole.probabilities @ values) ** 2)


def _over_samples(whole: Population, n: int, quantity: Callable[[IntArray], Array]) -> Array:
    """The expectation of a quantity of the sample, over all N^n samples of n independent draws."""
    size = len(whole.features)
    if size ** _check.integer("n", n, 1) > MOST_SAMPLES:
        raise ValueError(f"n: expected at most {MOST_SAMPLES} samples in all, got {size}^{n}")
    samples = (np.array(sample) for sample in product(range(size), repeat=n))
    return np.asarray(sum(np.prod(whole.probabilities[sample]) * quantity(sample) for sample in samples))
