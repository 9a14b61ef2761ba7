"""Appendix B.1 on finite populations: every identity exactly, every printed claim that fails by its counterexample."""

from itertools import product
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import error as er
from dntk_ref import ridge
from dntk_ref.redundancy import truncation_rank
from tests.ref.sides import CLOSE, HAND, differs
from tests.tolerances import TOL

SEEDS = st.integers(0, 2**32 - 1)
RIDGES = st.sampled_from([0.05, 0.5, 3.0])


def draw_population(seed, N=4, P=2, linear=False):
    rng = np.random.default_rng(seed)
    Phi = rng.standard_normal((N, P))
    values = Phi @ rng.standard_normal(P) + (0 if linear else rng.standard_normal(N))
    return er.population(Phi, values, rng.dirichlet(np.ones(N)))


def expectation(whole, x):
    return float(whole.probabilities @ x)


SPECTRA = st.lists(st.floats(0, 3), min_size=1, max_size=6).map(lambda x: sorted(x, reverse=True))


# Definitions


@given(SEEDS)
def test_best_weights_are_orthogonal_to_the_noise_and_shortest(seed):
    whole = draw_population(seed, P=3)
    rest = er.noise(whole)
    np.testing.assert_allclose(whole.features.T @ (whole.probabilities * rest), 0, **CLOSE)
    weighted = np.sqrt(whole.probabilities)[:, None] * whole.features
    other = np.linalg.lstsq(weighted, np.sqrt(whole.probabilities) * whole.values, rcond=None)[0]
    np.testing.assert_allclose(er.best_weights(whole), other, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
    np.testing.assert_allclose(er.covariance(whole), weighted.T @ weighted, **CLOSE)


def test_best_weights_of_a_rank_deficient_population_are_the_shortest():
    whole = er.population([[1.0, 1.0], [2.0, 2.0]], [2.0, 4.0])
    np.testing.assert_allclose(er.best_weights(whole), [1.0, 1.0], **HAND)
    np.testing.assert_allclose(er.source_radius(whole, 0.0), sqrt(2), **HAND)
    np.testing.assert_allclose(er.source_radius(whole, 1.0), sqrt(2) / 5, **HAND)


@given(SEEDS, RIDGES)
def test_the_empirical_ridge_is_equation_19_with_n_times_the_ridge(seed, lam):
    whole = draw_population(seed)
    sample = np.random.default_rng(seed).integers(0, 4, 3)
    primal = whole.features @ er.sample_weights(whole, sample, lam)
    np.testing.assert_allclose(er.fitted_values(whole, sample, 3 * lam), primal, **CLOSE)
    assert differs(er.fitted_values(whole, sample, lam), primal)
    counts = np.bincount(sample, minlength=4) / 3
    again = er.population(whole.features, whole.values, counts)
    np.testing.assert_allclose(er.sample_covariance(whole, sample), er.covariance(again), **CLOSE)


@given(SEEDS, RIDGES)
def test_regularised_weights_minimise_the_population_objective(seed, lam):
    whole = draw_population(seed)
    w = er.regularised_weights(whole, lam)
    moment = whole.features.T @ (whole.probabilities * whole.values)
    np.testing.assert_allclose(er.covariance(whole) @ w + lam * w, moment, **CLOSE)


@given(SEEDS, RIDGES)
def test_equation_21_telescopes(seed, lam):
    whole = draw_population(seed)
    sample = np.random.default_rng(seed).integers(0, 4, 2)
    parts = er.decomposition(whole, sample, lam)
    fitted = whole.features @ er.sample_weights(whole, sample, lam)
    np.testing.assert_allclose(parts.approximation + parts.bias + parts.variance, whole.values - fitted, **CLOSE)
    np.testing.assert_allclose(parts.approximation, er.noise(whole), **CLOSE)
    np.testing.assert_allclose(expectation(whole, parts.bias**2), er.bias(whole, lam), **CLOSE)


# Proposition B.3


def test_the_bounds_of_the_decomposition_by_hand():
    errors = er.SquaredErrors(6.0, 1.0, 2.0, 4.0, 5.0)
    assert er.decomposition_bound_r1(errors) == 3 * (1 + 2 + 4)
    assert er.decomposition_bound_r1_tighter(errors) == 1 + 2 * (2 + 4)
    assert er.decomposition_sharp_bound(errors, 2.0) == 1 + 3 * 2 + 1.5 * 4


@given(SEEDS, st.integers(1, 3), RIDGES, st.floats(0.1, 10))
def test_proposition_b_3_sharp_form_and_bounds(seed, n, lam, a):
    errors = er.expected_squares(draw_population(seed), n, lam)
    np.testing.assert_allclose(errors.total, er.decomposition_identity(errors), **CLOSE)
    slack = TOL["float64"] * (1 + errors.total)
    assert errors.total <= er.decomposition_sharp_bound(errors, a) + slack
    assert errors.total <= er.decomposition_bound_r1_tighter(errors) + slack
    assert er.decomposition_bound_r1_tighter(errors) <= er.decomposition_bound_r1(errors) + slack
    # The best a turns the sharp bound into the triangle inequality of the two roots.
    if errors.bias > TOL["apart"] and errors.variance > TOL["apart"]:
        best = sqrt(errors.variance / errors.bias)
        triangle = errors.approximation + (sqrt(errors.bias) + sqrt(errors.variance)) ** 2
        np.testing.assert_allclose(er.decomposition_sharp_bound(errors, best), triangle, **CLOSE)


def cex_18():
    return er.population([[0.0], [sqrt(2)]], [0.0, sqrt(2)])


def test_cex_18_and_19_the_sum_is_no_bound_and_variance_needs_no_noise():
    whole = cex_18()
    errors = er.expected_squares(whole, 1, 1.0)
    exact = [errors.total, errors.approximation, errors.bias, errors.variance]
    np.testing.assert_allclose(exact, [5 / 9, 0, 1 / 4, 5 / 36], **HAND)
    assert er.decomposition_sum_r2(errors) == pytest.approx(7 / 18, rel=TOL["hand"])
    assert errors.total > er.decomposition_sum_r2(errors)
    assert errors.total <= er.decomposition_bound_r1_tighter(errors)
    np.testing.assert_allclose(er.noise(whole), 0, **HAND)
    assert er.variance_printed(0.0, 1, 1) == 0


@given(SEEDS, st.integers(1, 3), RIDGES)
def test_expectations_by_a_plain_loop(seed, n, lam):
    whole = draw_population(seed, N=3)
    total = 0.0
    for sample in product(range(3), repeat=n):
        chance = np.prod([whole.probabilities[i] for i in sample])
        fitted = er.fitted_values(whole, sample, n * lam)
        total += chance * expectation(whole, (whole.values - fitted) ** 2)
    np.testing.assert_allclose(er.expected_squares(whole, n, lam).total, total, **CLOSE)


# Approximation error


@given(SEEDS)
def test_approximation_error_by_three_routes(seed):
    whole = draw_population(seed)
    value = er.approximation_error(whole)
    np.testing.assert_allclose(er.approximation_error_by_moments(whole), value, **CLOSE)
    np.testing.assert_allclose(er.approximation_error_by_r_squared_corrected(whole), value, **CLOSE)
    assert differs(er.approximation_error_by_r_squared_printed(whole), value)  # E f is not zero here
    assert er.residual_variance(whole) <= value + TOL["float64"]
    centred = er.population(whole.features, whole.values - expectation(whole, whole.values), whole.probabilities)
    np.testing.assert_allclose(
        er.approximation_error_by_r_squared_printed(centred), er.approximation_error(centred), **CLOSE
    )


@given(SEEDS)
def test_intercept_r_squared_is_the_centred_fit(seed):
    whole = draw_population(seed)
    p = whole.probabilities
    X, f = whole.features - p @ whole.features, whole.values - p @ whole.values
    root = np.sqrt(p)
    rest = f - X @ np.linalg.lstsq(root[:, None] * X, root * f, rcond=None)[0]
    expected = 1 - expectation(whole, rest**2) / expectation(whole, f**2)
    assert er.intercept_r_squared(whole) == pytest.approx(expected, abs=TOL["squared_kernel"])


def test_cex_20_the_uncentred_r_squared_is_the_one_that_counts():
    whole = er.population([[1.0], [2.0]], [-1.0, 1.0])
    assert er.approximation_error(whole) == pytest.approx(0.9, rel=TOL["hand"])
    assert er.uncentred_r_squared(whole) == pytest.approx(0.1, rel=TOL["hand"])
    assert er.residual_variance(whole) == pytest.approx(0.81, rel=TOL["hand"])
    assert er.intercept_r_squared(whole) == pytest.approx(1.0, rel=TOL["hand"])


def test_theorem_r_leaves_no_approximation_error():
    whole = draw_population(3, linear=True)
    assert er.approximation_error(whole) == pytest.approx(0, abs=TOL["hand"])


@given(st.floats(-2, 2), st.floats(-1, 1))
def test_taylor_error_is_bounded_for_a_quadratic(theta, step):
    # f(theta) = 3 theta^2 / 2 has the Hessian 3, and the bound is attained.
    error = 1.5 * (theta + step) ** 2 - 1.5 * theta**2 - 3 * theta * step
    assert abs(error) == pytest.approx(er.taylor_error_bound_printed(3.0, abs(step)), rel=TOL["float64"], abs=1e-12)


# Bias


@given(SEEDS, RIDGES)
def test_bias_by_the_spectrum(seed, lam):
    whole = draw_population(seed, P=3)
    np.testing.assert_allclose(er.bias_by_spectrum(whole, lam), er.bias(whole, lam), **CLOSE)
    assert er.bias(whole, lam) < er.bias(whole, 2 * lam)


@given(SEEDS, RIDGES, st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]))
def test_corrected_bias_bound_for_every_smoothness(seed, lam, s):
    whole = draw_population(seed)
    top = np.linalg.eigvalsh(er.covariance(whole))[-1]
    radius = er.source_radius(whole, s)
    assert er.bias(whole, lam) <= er.bias_bound(lam, s, radius, top) * (1 + TOL["squared_kernel"])
    if s == 0:
        assert radius == pytest.approx(np.linalg.norm(er.best_weights(whole)), rel=TOL["float64"])
        assert er.bias_bound(lam, s, radius, top) == pytest.approx(er.bias_bound_logits(lam, radius), rel=TOL["hand"])


@given(st.sampled_from([0.0, 0.1, 0.25, 0.4]), st.floats(0.1, 3))
def test_first_branch_is_attained(s, lam):
    # One dimension, Sigma = mu = lam (1 + 2s) / (1 - 2s), w* = mu^s (R = 1).
    mu = lam * (1 + 2 * s) / (1 - 2 * s)
    whole = er.population([[sqrt(mu)]], [sqrt(mu) * mu**s])
    assert er.source_radius(whole, s) == pytest.approx(1, rel=TOL["float64"])
    assert er.bias(whole, lam) == pytest.approx(er.bias_bound(lam, s, 1.0, mu), rel=TOL["float64"])


def test_both_branches_meet_at_one_half():
    assert er.bias_bound(0.3, 0.5 - 1e-15, 1.0, 9.0) == pytest.approx(
        er.bias_bound(0.3, 0.5, 1.0, 9.0), rel=TOL["hand"]
    )
    assert er.bias_bound(0.5, 1.0, 3.0, 2.0) == pytest.approx(0.25 * 2 * 9, rel=TOL["hand"])


def test_cex_21_tikhonov_saturates():
    whole = er.population([[1.0]], [1.0])
    assert er.bias(whole, 0.1) == pytest.approx(0.01 / 1.21, rel=TOL["hand"])
    assert er.bias_rate_printed(0.1, 2.0) == pytest.approx(1e-4, rel=TOL["hand"])
    assert er.bias(whole, 0.1) > 80 * er.bias_rate_printed(0.1, 2.0)
    assert er.bias(whole, 0.1) <= er.bias_bound(0.1, 2.0, 1.0, 1.0)


# Variance


@given(SEEDS, RIDGES)
def test_the_deviation_of_the_weights_has_a_design_term(seed, lam):
    whole = draw_population(seed)
    sample = np.random.default_rng(seed).integers(0, 4, 3)
    weights = er.sample_weights(whole, sample, lam)
    split = er.sample_weight_terms(whole, sample, lam)
    np.testing.assert_allclose(split.design + split.noise, weights, **CLOSE)
    deviation = er.weight_deviation_terms(whole, sample, lam)
    difference = weights - er.regularised_weights(whole, lam)
    np.testing.assert_allclose(deviation.design + deviation.noise, difference, **CLOSE)
    assert differs(deviation.noise, difference)  # what remains if the design term is dropped, as printed


@given(SEEDS, RIDGES)
def test_noise_factor_is_the_expectation_over_independent_noise(seed, lam):
    # Noise of signs, independent, sigma^2 = 1: the expectation over all sign patterns is exact.
    whole = draw_population(seed)
    sample = np.random.default_rng(seed).integers(0, 4, 3)
    Phi = whole.features[sample]
    S, S_hat = er.covariance(whole), er.sample_covariance(whole, sample)
    parts = [np.linalg.solve(S_hat + lam * np.eye(2), Phi.T @ np.array(e) / 3) for e in product([-1, 1], repeat=3)]
    exact = np.mean([w @ S @ w for w in parts])
    np.testing.assert_allclose(er.noise_factor_sample(S, S_hat, lam) / 3, exact, **CLOSE)
    # With the sample's covariance equal to the population's the factor is the printed one.
    spectrum = np.linalg.eigvalsh(S)[::-1]
    printed = er.noise_factor_population_printed(spectrum, lam)
    np.testing.assert_allclose(er.noise_factor_sample(S, S, lam), printed, **CLOSE)
    d_eff = er.effective_dimension_of_spectrum(spectrum, lam)
    np.testing.assert_allclose(d_eff, ridge.effective_dimension(S, lam), **CLOSE)
    if er.design_margin(S, S_hat, lam) >= 0.5:
        assert exact <= er.conditional_variance_bound(1.0, 3, spectrum, lam) + TOL["float64"]


def test_the_conditional_bound_needs_its_event():
    # Population 1, sample 1/100 at lam = 1/1000: the margin is about 1/91 and the factor 8.3 exceeds 2 d_eff.
    S, S_hat, lam = [[1.0]], [[0.01]], 0.001
    assert er.design_margin(S, S_hat, lam) == pytest.approx(0.011 / 1.001, rel=TOL["float64"])
    assert er.noise_factor_sample(S, S_hat, lam) == pytest.approx(0.01 / 0.011**2, rel=TOL["float64"])
    assert er.noise_factor_sample(S, S_hat, lam) > er.conditional_variance_bound(1.0, 1, [1.0], lam)


@given(SEEDS, RIDGES)
def test_design_margin_is_the_largest(seed, lam):
    whole = draw_population(seed)
    S, S_hat = er.covariance(whole), er.sample_covariance(whole, [0, 1])
    t = er.design_margin(S, S_hat, lam)

    def lowest(t):
        return np.linalg.eigvalsh(S_hat + lam * np.eye(2) - t * (S + lam * np.eye(2)))[0]

    assert lowest(t) >= -TOL["float64"]
    assert lowest(1.01 * t) < 0


def test_cex_22_the_population_factor_is_not_conservative():
    whole = er.population([[10.0], [1.0]], [0.0, 0.0], [0.1, 0.9])
    exact = 10.9 * (0.1 * 100 / 101**2 + 0.9 / 4)
    assert er.expected_noise_factor(whole, 1, 1.0) == pytest.approx(exact, rel=TOL["hand"])
    printed = er.noise_factor_population_printed([10.9], 1.0)
    assert printed == pytest.approx((10.9 / 11.9) ** 2, rel=TOL["hand"])
    assert (round(exact, 2), round(printed, 2)) == (2.46, 0.84)
    assert er.expected_noise_factor(whole, 1, 1.0) > er.variance_printed(1.0, 1, 1)


def test_cex_23_the_truncation_rank_is_not_the_dimension_at_level_lam():
    mu = np.append(1.0, np.full(50, 0.001))
    assert truncation_rank(np.diag(mu), 0.05) == 1
    assert er.noise_factor_population_printed(mu, 1e-5) > 49
    assert er.noise_factor_truncated(mu, 1e-5, 1) >= er.noise_factor_population_printed(mu, 1e-5)
    assert er.effective_dimension_at_rank(mu, 1e-5, 0.05) > er.effective_dimension_of_spectrum(mu, 1e-5)


@given(SPECTRA, RIDGES, st.data())
def test_truncation_made_rigorous(mu, lam, data):
    r = data.draw(st.integers(0, len(mu)))
    factor, slack = er.noise_factor_population_printed(mu, lam), TOL["float64"]
    assert factor <= er.noise_factor_truncated(mu, lam, r) + slack
    assert factor <= er.noise_factor_truncated_printed(mu, lam, r) + slack
    assert er.effective_dimension_of_spectrum(mu, lam) <= er.effective_dimension_truncated(mu, lam, r) + slack
    assert factor <= er.effective_dimension_of_spectrum(mu, lam) + slack


@given(SPECTRA.filter(lambda mu: mu[0] > 0), RIDGES, st.floats(0, 1))
def test_effective_dimension_at_the_truncation_rank(mu, lam, eps):
    bound = er.effective_dimension_at_rank(mu, lam, eps)
    r = truncation_rank(np.diag(mu), eps)
    assert bound == pytest.approx(r + eps * sum(mu) / lam, rel=TOL["float64"])
    assert er.effective_dimension_of_spectrum(mu, lam) <= bound + TOL["float64"]


def test_truncations_are_attained():
    # mu_j = lam beyond r: mu^2 / (mu + lam)^2 = 1/4 = mu / (4 lam).
    assert er.noise_factor_truncated([0.5], 0.5, 0) == er.noise_factor_population_printed([0.5], 0.5) == 0.25
    assert er.noise_factor_truncated_printed([2.0, 1.0], 0.5, 1) == 5
    assert er.noise_factor_truncated_printed([2.0, 0.5], 0.25, 1) == 5  # 1 + (1/2)^2 / (1/4)^2: no power but the square
    assert er.effective_dimension_truncated([2.0, 1.0], 0.5, 1) == 3


@given(SEEDS, RIDGES)
def test_design_leverage_is_bounded_and_sums_to_the_dimension(seed, lam):
    whole = draw_population(seed)
    assert er.design_leverage(whole, lam) <= er.design_leverage_bound(whole, lam) * (1 + TOL["float64"])
    inverse = np.linalg.inv(er.covariance(whole) + lam * np.eye(2))
    each = np.array([x @ inverse @ x for x in whole.features])
    np.testing.assert_allclose(er.design_leverage(whole, lam), each.max(), **CLOSE)
    d_eff = ridge.effective_dimension(er.covariance(whole), lam)
    np.testing.assert_allclose(expectation(whole, each), d_eff, **CLOSE)
    size = er.design_sample_size(whole, lam, 0.1, 3.0)
    assert size == pytest.approx(3 * each.max() * log((1 + d_eff) / 0.1), rel=TOL["float64"])


@given(SEEDS, RIDGES)
def test_design_sample_size_where_eigenvalues_are_nought_up_to_rounding(seed, lam):
    whole = draw_population(seed, N=2, P=6)  # rank 2 of 6: float64 finds some of the other four below nought
    each = [x @ np.linalg.inv(er.covariance(whole) + lam * np.eye(6)) @ x for x in whole.features]
    expected = 3 * max(each) * log((1 + expectation(whole, np.array(each))) / 0.1)
    assert er.design_sample_size(whole, lam, 0.1, 3.0) == pytest.approx(expected, rel=TOL["float64"])


@given(st.floats(0.05, 5), st.floats(1e-4, 5))
def test_exponential_decay_keeps_its_dimension(beta, lam):
    mu = np.exp(-beta * np.arange(2000))
    d_eff = er.effective_dimension_of_spectrum(mu, lam)
    bound = er.exponential_effective_dimension_bound(beta, lam)
    assert d_eff <= bound * (1 + TOL["float64"])
    geometric = 1 / (1 - exp(-beta))
    exact = geometric / lam if lam > 1 else log(1 / lam) / beta + geometric + 1
    assert bound == pytest.approx(exact, rel=TOL["float64"])


def test_the_first_branch_fails_above_one():
    # beta = 1/10, lam = e: log(1/lam) / beta = -10, and the first branch would give 1.5 against 3.1.
    beta, lam = 0.1, exp(1)
    first = log(1 / lam) / beta + 1 / (1 - exp(-beta)) + 1
    assert er.effective_dimension_of_spectrum(np.exp(-beta * np.arange(2000)), lam) > first
    assert er.exponential_effective_dimension_bound(beta, lam) == pytest.approx(
        1 / (lam * (1 - exp(-beta))), rel=TOL["hand"]
    )


def test_printed_rates_by_hand():
    assert er.exponential_rank_rate_printed(0.5, exp(-3)) == pytest.approx(6, rel=TOL["hand"])
    assert er.polynomial_rank_rate_printed(0.5, 0.1) == pytest.approx(100, rel=TOL["hand"])
    assert er.variance_printed(3.0, 2, 4) == 1.5
    assert er.conditional_variance_bound(3.0, 4, [1.0], 1.0) == 0.75


# Remark B.4


@given(SEEDS, st.integers(1, 4))
def test_finite_representation_is_exact_once_the_gradients_span(seed, m):
    rng = np.random.default_rng(seed)
    Phi, w = rng.standard_normal((m, 3)), rng.standard_normal(3)
    found = er.finite_representation(Phi, w)
    basis = np.linalg.svd(Phi)[2][: min(m, 3)]
    np.testing.assert_allclose(found.distance, np.linalg.norm(w - basis.T @ basis @ w), **CLOSE)
    np.testing.assert_allclose(np.linalg.norm(w - Phi.T @ found.coefficients), found.distance, **CLOSE)
    if m >= 3:
        assert found.distance < TOL["float64"]
        new = rng.standard_normal((2, 3))
        np.testing.assert_allclose(new @ Phi.T @ found.coefficients, new @ w, **CLOSE)
    else:
        assert found.distance > TOL["apart"]


# Refusals

ONE = er.population([[1.0]], [1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: er.population([[1.0]], [1.0, 2.0]), "values: expected length 1"),
        (
            lambda: er.population([[1.0]], [1.0], [0.5]),
            "probabilities: expected numbers that are 0 or above with sum 1",
        ),
        (lambda: er.population([1.0], [1.0]), "features: expected 2 axes"),
        (lambda: er.regularised_weights(ONE, 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.sample_covariance(ONE, [1]), r"sample: expected rows in \[0, 0\], got \[1\]"),
        (lambda: er.sample_covariance(ONE, [-1]), "sample: expected rows in"),
        (lambda: er.sample_covariance(ONE, np.zeros(0, int)), "sample: expected rows in"),
        (lambda: er.sample_weights(ONE, [0], 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.fitted_values(ONE, [0], 0.0), "lam: expected a number above 0"),
        (lambda: er.expected_squares(ONE, 0, 1.0), "n: expected an integer in"),
        (
            lambda: er.expected_squares(draw_population(0), 9, 1.0),
            r"n: expected at most 100000 samples in all, got 4\^9",
        ),
        (lambda: er.decomposition_sharp_bound(er.SquaredErrors(1, 1, 1, 1, 1), 0.0), "a: expected a number above 0"),
        (lambda: er.uncentred_r_squared(er.population([[1.0]], [0.0])), r"E f\^2: expected a number above 0"),
        (lambda: er.intercept_r_squared(ONE), "Var f: expected a number above 0"),
        (lambda: er.taylor_error_bound_printed(-1.0, 1.0), "hessian_norm: expected a number that is 0 or above"),
        (lambda: er.taylor_error_bound_printed(1.0, -1.0), "step: expected a number that is 0 or above"),
        (lambda: er.bias_by_spectrum(ONE, 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.source_radius(ONE, -1.0), "s: expected a number that is 0 or above"),
        (lambda: er.bias_rate_printed(0.0, 1.0), "lam_mean: expected a number above 0"),
        (lambda: er.bias_rate_printed(1.0, -1.0), "s: expected a number that is 0 or above"),
        (lambda: er.bias_bound(0.0, 1.0, 1.0, 1.0), "lam_mean: expected a number above 0"),
        (lambda: er.bias_bound(1.0, -1.0, 1.0, 1.0), "s: expected a number that is 0 or above"),
        (lambda: er.bias_bound(1.0, 1.0, -1.0, 1.0), "radius: expected a number that is 0 or above"),
        (lambda: er.bias_bound(1.0, 1.0, 1.0, 0.0), "top: expected a number above 0"),
        (lambda: er.bias_bound_logits(0.0, 1.0), "lam_mean: expected a number above 0"),
        (lambda: er.bias_bound_logits(1.0, -1.0), "head_norm: expected a number that is 0 or above"),
        (lambda: er.noise_factor_sample([[1]], [[1, 0], [0, 1]], 1.0), "found: expected 1 rows"),
        (lambda: er.noise_factor_population_printed([1.0, 2.0], 1.0), "spectrum: expected descending numbers"),
        (lambda: er.noise_factor_population_printed([-1.0], 1.0), "spectrum: expected descending numbers"),
        (lambda: er.noise_factor_population_printed([1.0], 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.noise_factor_truncated([1.0], 1.0, 2), r"r: expected an integer in \[0, 1\]"),
        (lambda: er.noise_factor_truncated([1.0], 0.0, 1), "lam_mean: expected a number above 0"),
        (lambda: er.noise_factor_truncated_printed([1.0], 1.0, -1), r"r: expected an integer in \[0, 1\]"),
        (lambda: er.noise_factor_truncated_printed([1.0], 0.0, 1), "lam_mean: expected a number above 0"),
        (lambda: er.variance_printed(-1.0, 1, 1), "noise_variance: expected a number that is 0 or above"),
        (lambda: er.variance_printed(1.0, -1, 1), "rank: expected an integer in"),
        (lambda: er.variance_printed(1.0, 1, 0), "n: expected an integer in"),
        (lambda: er.effective_dimension_of_spectrum([1.0], 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.conditional_variance_bound(-1.0, 1, [1.0], 1.0), "noise_variance: expected a number that is 0"),
        (lambda: er.conditional_variance_bound(1.0, 0, [1.0], 1.0), "n: expected an integer in"),
        (lambda: er.design_margin([[1]], [[1, 0], [0, 1]], 1.0), "found: expected 1 rows"),
        (lambda: er.design_margin([[1]], [[1]], 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.design_leverage_bound(ONE, 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.design_sample_size(ONE, 1.0, 1.0, 1.0), r"delta: expected a number in \[0, 1\)"),
        (lambda: er.design_sample_size(ONE, 1.0, 0.0, 1.0), "delta: expected a number above 0"),
        (lambda: er.design_sample_size(ONE, 1.0, 0.5, 0.0), "constant: expected a number above 0"),
        (lambda: er.effective_dimension_truncated([1.0], 1.0, 2), r"r: expected an integer in \[0, 1\]"),
        (lambda: er.effective_dimension_truncated([1.0], 0.0, 1), "lam_mean: expected a number above 0"),
        (lambda: er.effective_dimension_at_rank([1.0], 1.0, 2.0), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: er.effective_dimension_at_rank([1.0], 0.0, 0.5), "lam_mean: expected a number above 0"),
        (lambda: er.exponential_rank_rate_printed(0.0, 1.0), "beta: expected a number above 0"),
        (lambda: er.exponential_rank_rate_printed(1.0, 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.polynomial_rank_rate_printed(0.0, 1.0), "beta: expected a number above 0"),
        (lambda: er.polynomial_rank_rate_printed(1.0, 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.exponential_effective_dimension_bound(0.0, 1.0), "beta: expected a number above 0"),
        (lambda: er.exponential_effective_dimension_bound(1.0, 0.0), "lam_mean: expected a number above 0"),
        (lambda: er.finite_representation([[1.0]], [1.0, 2.0]), "weights: expected length 1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_design_and_the_noise_of_a_deviation_are_told_apart():
    # One feature, atoms (1, 0) and (1, 2): w* = 1, epsilon = (-1, 1). The sample (0, 0) has Sigma_hat = Sigma = 1: no
    # design term, and noise -1 / (1 + lam). With features 1 and 2 and values on the line only the design is left.
    flat = er.population([[1.0], [1.0]], [0.0, 2.0])
    found = er.weight_deviation_terms(flat, [0, 0], 1.0)
    np.testing.assert_allclose([found.design[0], found.noise[0]], [0.0, -0.5], atol=TOL["hand"])
    straight = er.population([[1.0], [2.0]], [1.0, 2.0])
    found = er.weight_deviation_terms(straight, [0], 1.0)
    # Sigma = 5/2, w_lam = 5/7, Sigma_hat = 1: (1 - 5/2)(1 - 5/7) / 2 = -3/14.
    np.testing.assert_allclose([found.design[0], found.noise[0]], [-3 / 14, 0.0], atol=TOL["hand"])


def test_the_bound_on_the_largest_leverage_takes_one_row():
    whole = er.population([[1.0, 2.0], [3.0, 0.0]], [0.0, 0.0])
    assert er.design_leverage_bound(whole, 2.0) == pytest.approx(4.5, rel=TOL["float64"])
