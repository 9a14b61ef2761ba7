"""Certificates of spectra: bounds above the exact ranks and errors, intervals that hold as often as they say."""

from itertools import product
from math import exp, inf, log, log1p, sqrt

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from dntk_ref import projected_spectrum, redundancy
from dntk_ref import projection as pr
from dntk_ref import spectral as sp
from dntk_ref.cases import orthonormal
from dntk_ref.redundancy import parameter_redundancy, truncation_rank
from tests.ref.problems import falling_features, kernels, problems, sign_maps
from tests.ref.sides import CLOSE, HAND, at_most, differs
from tests.strategies import epsilons
from tests.tolerances import TOL

seeds = st.integers(0, 2**31)


def instance(seed):
    """Features with a decaying spectrum, and directions some of which are eigenvectors."""
    rng = np.random.default_rng(seed)
    n, P = rng.integers(2, 8), rng.integers(1, 9)
    Phi = rng.standard_normal((n, P)) * rng.choice([1.0, 0.3], n)[:, None]
    near = Phi + rng.choice([0.0, 0.1, 3.0]) * rng.standard_normal((n, P))
    Z = np.linalg.eigh(near @ near.T)[1][:, ::-1]
    return Phi, Z[:, : rng.integers(1, n + 1)]


@given(seeds, epsilons)
def test_the_completed_bound_lies_between_the_rank_and_the_plain_bound(seed, epsilon):
    Phi, Z = instance(seed)
    found = sp.completed_rank_bound(Phi, Z, epsilon)
    assert truncation_rank(Phi @ Phi.T, epsilon) <= found <= sp.rank_upper_bound(Phi, Z, epsilon)


def test_the_completed_bound_is_reached_and_its_twin_is_false():
    """A flat spectrum beside the direction: any more of them hold the average, and nothing less would do."""
    Phi, Z = np.diag([2.0, 1.0, 1.0, 1.0, 1.0]), np.eye(5)[:, :1]
    for epsilon in (0.0, 0.125, 0.25, 0.3, 0.375, 0.6):
        assert sp.completed_rank_bound(Phi, Z, epsilon) == truncation_rank(Phi @ Phi.T, epsilon)
    # The twin counts the average over all n: (1 - 1/4) 8 - 4 = 2 of an average 8/5 would be one more direction.
    assert 1 + int(np.floor(2 / (8 / 5))) < truncation_rank(Phi @ Phi.T, 0.25) == 3


@given(seeds)
def test_the_redundancy_bound_by_energies(seed):
    Phi, Z = instance(seed)
    bound = sp.redundancy_bound_by_energies(Phi, Z)
    assert parameter_redundancy(Phi @ Phi.T, Z.shape[1]) <= bound + TOL["root"]
    assert 0 <= bound <= 1


def test_redundancy_by_energies_by_hand():
    assert sp.redundancy_bound_by_energies(np.eye(2), [[1.0], [0.0]]) == pytest.approx(2**-0.5, rel=TOL["hand"])
    assert sp.redundancy_bound_by_energies(np.eye(2), np.eye(2)) == pytest.approx(0.0, abs=TOL["hand"])
    # The worse direction of two, 1 of 82: lambda_2 <= 82 / 2.
    found = sp.redundancy_bound_by_energies(np.diag([1.0, 9.0]), [[1.0], [0.0]])
    assert found == pytest.approx((41 * 81 / (1 + 81**2)) ** 0.5, rel=TOL["hand"])
    # Energies 4, 1, 1 of five: rest 2 after them, lambda_4 <= min(8 / 4, 4 / 3, 3 / 2, 2 / 1).
    Phi, Z = np.diag([2.0, 1.0, 1.0, 1.0, 1.0]), np.eye(5)[:, :3]
    squared = (4 / 3) * 2 / (16 + 1 + 1 + 2**2 / 2)
    assert sp.redundancy_bound_by_energies(Phi, Z) == pytest.approx(squared**0.5, rel=TOL["hand"])


def test_the_twin_of_the_redundancy_bound_is_false():
    """With the mean over r + 1 eigenvalues from j on, one too many, lambda_{r+1} comes out too small."""
    K, r, e = np.eye(2), 1, 1.0
    following = min(2 / (r + 2), (2 - e) / (r + 1))
    assert (following * (2 - e) / (e**2 + (2 - e) ** 2)) ** 0.5 < parameter_redundancy(K, r) - TOL["apart"]


@given(st.integers(1, 4000), st.floats(1e-3, 0.5))
def test_the_gaussian_interval_inverts_the_failure_bound(count, delta):
    found = sp.trace_interval(1.0, count, delta, "gaussian")
    above, below = 1 / found.low - 1, 1 - 1 / found.high
    assert above - log1p(above) == pytest.approx(2 * log(2 / delta) / count, rel=TOL["tail"])
    assert -below - log1p(-below) == pytest.approx(2 * log(2 / delta) / count, rel=TOL["tail"])
    if above < 1:  # the larger of the two as a symmetric distortion fails with at most delta
        assert sp.trace_failure_bound(count, above) <= delta * (1 + TOL["tail"])
    assert found.low < 1 < found.high


def test_the_gaussian_interval_covers_the_worst_kernel():
    """Rank one is the worst: tr K~ / tr K is chi-squared over its degrees of freedom, exactly."""
    for count, delta in ((5, 0.1), (50, 0.05), (500, 0.01)):
        found, law = sp.trace_interval(1.0, count, delta, "gaussian"), scipy.stats.chi2(count)
        covered = law.cdf(count / found.low) - law.cdf(count / found.high)
        assert covered >= 1 - delta
        narrow = sp.trace_interval(1.0, count, min(0.99, 20 * delta), "gaussian")  # the broken twin
        assert law.cdf(count / narrow.low) - law.cdf(count / narrow.high) < 1 - delta


@pytest.mark.parametrize("probes", [1, 2, 3])
@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_the_interval_of_sign_probes_over_all_signs(probes, delta):
    """Every choice of the signs, for kernels of rank one (the worst), of full rank, and diagonal (no spread at all)."""
    signs = np.array(list(product([-1.0, 1.0], repeat=4)))
    for Phi in (np.ones((4, 1)), np.diag([1.0, 2.0, 3.0, 4.0]), np.tril(np.ones((4, 4)))):
        values, trace = np.sum((signs @ Phi) ** 2, axis=1), np.sum(Phi**2)
        means = [np.mean(drawn) for drawn in product(values, repeat=probes)]
        found = [sp.trace_interval(T, probes, delta, "signs") for T in means]
        missed = np.mean(
            [not one.low <= trace * (1 + TOL["hand"]) or one.high < trace * (1 - TOL["hand"]) for one in found]
        )
        assert missed <= delta


def test_the_interval_of_many_sign_probes_is_finite_and_misses_seldom():
    rng, Phi, trace, count, delta = np.random.default_rng(0), np.ones((8, 1)), 8.0, 100, 0.2
    z = rng.choice([-1.0, 1.0], (2000, count, 8))
    means = np.mean((z @ Phi)[..., 0] ** 2, axis=1)

    def misses(level):
        found = [sp.trace_interval(T, count, level, "signs") for T in means]
        assert all(one.high < inf for one in found)
        return np.mean([not one.low <= trace <= one.high for one in found])

    assert misses(delta) <= delta
    narrow = 1 / (1 + 0.05)  # the broken twin: five per cent on either side
    assert np.mean([not narrow * T <= trace <= T / 0.95 for T in means]) > delta


def test_the_interval_of_sign_probes_by_hand():
    # 2 ln(2 / delta) / count = 3/100 for delta = 2 exp(-3/2) and 100 probes: below by sqrt(3 * 3/100) = 3/10.
    found = sp.trace_interval(7.0, 100, 2 * np.exp(-1.5), "signs")
    assert found.high == pytest.approx(10.0, rel=TOL["hand"])


def test_the_interval_of_moments_by_hand_and_where_nothing_bounds_above():
    assert sp.trace_interval(3.0, 40, 0.2, "moments") == sp.TraceInterval(2.0, 6.0)
    assert sp.trace_interval(3.0, 2, 0.2, "moments").high == inf
    assert sp.trace_interval(3.0, 3, 0.2, "signs").high == inf
    assert sp.trace_interval(0.0, 3, 0.2, "gaussian") == sp.TraceInterval(0.0, 0.0)


# Redundancy of what the products span


@given(problems(), st.integers(0, 2**32 - 1))
def test_redundancy_by_products(problem, seed):
    Phi = problem[0]
    rng = np.random.default_rng(seed)
    Z = orthonormal(len(Phi), rng.integers(1, len(Phi) + 1), rng=rng)
    G = Phi.T @ Z
    share = sp.captured_share(Phi, Z)
    assert at_most(share, redundancy.spectrum(Phi @ Phi.T)[: Z.shape[1]].sum() / np.sum(Phi**2))
    left, values, _ = np.linalg.svd(G, full_matrices=False)
    V = left[:, values > TOL["rank"] * values[0]]
    np.testing.assert_allclose(share, np.sum((Z.T @ Phi) ** 2) / np.sum(Phi**2), **CLOSE)
    assert at_most(redundancy.parameter_redundancy_r2(Phi, V @ V.T) ** 1, sp.redundancy_bound_r2(Phi, Z))
    assume(np.linalg.norm(G) > TOL["root"])
    assert at_most(redundancy.parameter_redundancy_r1(Phi, V @ V.T), sp.redundancy_bound_r1(Phi, Z))


def test_redundancy_is_exact_at_the_eigenvectors():
    Phi = np.diag([3.0, 2.0, 1.0])
    np.testing.assert_allclose(sp.redundancy_bound_r2(Phi, np.eye(3)[:, :2]), 1 / 14, **HAND)
    np.testing.assert_allclose(sp.redundancy_bound_r1(Phi, np.eye(3)[:, :2]), 1 / np.sqrt(97), **HAND)
    assert sp.captured_share(Phi, np.eye(3)[:, 1:]) == 5 / 14


# Ranks without the whole kernel


@given(seeds, st.integers(1, 4), st.sampled_from([0.05, 0.2, 0.5]))
def test_directions_give_a_rigorous_upper_bound_on_the_rank(seed, r, eps):
    Phi = falling_features(seed)
    K = Phi @ Phi.T
    Z = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, r)))[0]
    held = sp.captured_by_directions(Phi, Z)
    np.testing.assert_allclose(held, np.diag(Z.T @ K @ Z), **CLOSE)
    assert held.sum() <= projected_spectrum.partial_sums(K)[r - 1] + TOL["float64"]
    bound = sp.rank_upper_bound(Phi, Z, eps)
    assert truncation_rank(K, eps) <= bound <= 4
    eigenvectors = np.linalg.eigh(K)[1][:, ::-1]
    assert sp.rank_upper_bound(Phi, eigenvectors, eps) == truncation_rank(K, eps)
    if bound <= r and held[:bound].sum() < (1 - eps) * np.trace(K) * (1 - TOL["float64"]):
        assert bound == 4


def test_rank_bounds_by_hand():
    Phi = np.diag([3.0, 1.0])
    assert sp.rank_upper_bound(Phi, [[1.0], [0.0]], 0.1) == 1
    assert sp.rank_upper_bound(Phi, [[0.0], [1.0]], 0.1) == 2  # not enough directions: n
    assert sp.rank_upper_bound(Phi, np.eye(2)[:, ::-1], 0.1) == 2
    assert sp.rank_upper_bound(Phi, np.eye(2), 0.0) == 2


@given(seeds)
def test_the_energy_of_the_other_half_is_unbiased(seed):
    Phi = falling_features(seed, n=3, P=4)
    K = Phi @ Phi.T
    Z = np.linalg.eigh(Phi @ np.diag([1, 1, 0, 0]) @ Phi.T)[1][:, ::-1]
    energies = [np.diag(Z.T @ half @ Z) for half in kernels(Phi, sign_maps(4, 2))]
    np.testing.assert_allclose(np.mean(energies, axis=0), np.diag(Z.T @ K @ Z), **CLOSE)


@given(seeds, st.sampled_from([0.05, 0.3]))
def test_cross_validated_rank_is_the_first_that_holds(seed, eps):
    Phi, rng = falling_features(seed), np.random.default_rng(seed)
    first, second = kernels(Phi, [pr.gaussian(5, 3, rng=rng) for _ in range(2)])
    found = sp.cross_validated_rank(first, second, eps)
    Z = np.linalg.svd(first)[0]
    shares = [np.trace(Z[:, :r].T @ second @ Z[:, :r]) / np.trace(second) for r in range(1, 5)]
    assert shares[found - 1] >= 1 - eps - TOL["float64"]
    assert all(share < 1 - eps for share in shares[: found - 1])
    assert sp.naive_rank(second, eps) <= found
    assert sp.cross_validated_rank(second, second, eps) == sp.naive_rank(second, eps)


def test_no_direction_holds_a_share_of_nothing():
    K, zero = np.diag([9.0, 1.0]), np.zeros((2, 2))
    assert sp.cross_validated_rank(K, K, 1.0) == sp.cross_validated_rank(K, zero, 0.1) == sp.naive_rank(zero, 0.1) == 0
    assert sp.rank_upper_bound(K, np.eye(2), 1.0) == sp.rank_upper_bound(zero, np.eye(2), 0.1) == 0


def test_ranks_move_as_the_audit_says():
    # e^(-0.05 j), n = 120, k = 240 in all: naive low, cross-validated high (means of draws, a direction and no bracket).
    values, rng = np.exp(-0.05 * np.arange(120)), np.random.default_rng(0)
    root = np.diag(np.sqrt(values))
    halves = [[root @ A @ A.T @ root for A in (pr.gaussian(120, 120, rng=rng) for _ in range(2))] for _ in range(8)]
    true = truncation_rank(np.diag(values), 0.05)
    assert true == 59
    assert abs(np.mean([sp.naive_rank((a + b) / 2, 0.05) for a, b in halves]) - 53.0) < 1
    assert abs(np.mean([sp.cross_validated_rank(a, b, 0.05) for a, b in halves]) - 76.0) < 2


# The error from one run


@given(seeds)
def test_split_half_estimates_are_unbiased_for_independent_halves(seed):
    Phi = falling_features(seed, n=3, P=3)
    K = Phi @ Phi.T
    halves = kernels(Phi, sign_maps(3, 1))
    pairs = list(product(halves, halves))
    errors = np.mean([sp.split_half_error(a, b) for a, b in pairs])
    truth = np.mean([np.sum(((a + b) / 2 - K) ** 2) for a, b in pairs])
    np.testing.assert_allclose(errors, truth, **CLOSE)
    np.testing.assert_allclose(truth, pr.kernel_error_expectation("rademacher", Phi, 2), **CLOSE)
    np.testing.assert_allclose(np.mean([sp.split_half_squared_norm(a, b) for a, b in pairs]), np.sum(K**2), **CLOSE)
    naive = np.mean([np.sum(((a + b) / 2) ** 2) for a, b in pairs])
    np.testing.assert_allclose(naive - np.sum(K**2), sp.naive_norm_bias("rademacher", Phi, 2), **CLOSE)
    assert sp.split_half_bias("rademacher", Phi, 2) == 0


def srht_maps(distinct):
    H = hadamard(4).astype(float)
    for s in product([-1.0, 1.0], repeat=4):
        for a, b in product(range(4), repeat=2):
            if not (distinct and a == b):
                yield np.diag(s) @ H[:, [a, b]] / sqrt(2)


@pytest.mark.parametrize("kind", ["srht", "srht_replace", "coordinates"])
@given(seed=seeds)
def test_split_half_bias_of_one_draw_by_enumeration(kind, seed):
    Phi = falling_features(seed, n=3, P=4)
    K = Phi @ Phi.T
    draws = {
        "srht": lambda: list(srht_maps(distinct=True)),
        "srht_replace": lambda: list(srht_maps(distinct=False)),
        "coordinates": lambda: [np.eye(4)[:, [a, b]] * sqrt(2) for a, b in product(range(4), repeat=2)],
    }[kind]()
    parts = [kernels(Phi, [sqrt(2) * A[:, :1], sqrt(2) * A[:, 1:]]) for A in draws]
    estimate = np.mean([sp.split_half_error(a, b) for a, b in parts])
    truth = np.mean([np.sum(((a + b) / 2 - K) ** 2) for a, b in parts])
    np.testing.assert_allclose(truth, pr.kernel_error_expectation(kind, Phi, 2), **CLOSE)
    np.testing.assert_allclose(estimate - truth, sp.split_half_bias(kind, Phi, 2), **CLOSE)


def test_split_half_bias_of_one_haar_draw():
    Phi, rng, number = falling_features(3, n=2, P=4), np.random.default_rng(9), 4000
    estimates = []
    for _ in range(number):
        A = pr.haar(4, 2, rng=rng)
        estimates.append(sp.split_half_error(*kernels(Phi, [sqrt(2) * A[:, :1], sqrt(2) * A[:, 1:]])))
    truth, bias = pr.kernel_error_expectation("haar", Phi, 2), sp.split_half_bias("haar", Phi, 2)
    assert bias == pytest.approx(truth, rel=TOL["hand"])  # k / (P - k) = 1
    five = 5 * np.std(estimates) / sqrt(number)  # one false alarm in a million seeds
    assert abs(np.mean(estimates) - truth - bias) < five
    assert abs(np.mean(estimates) - truth) > five


def test_split_half_bias_pads_and_vanishes():
    Phi = falling_features(1, n=2, P=3)
    expected = 2 / (4 - 2) * pr.kernel_error_expectation("srht", Phi, 2)
    assert sp.split_half_bias("srht", Phi, 2) == pytest.approx(expected, rel=TOL["hand"])
    bare = 2 / (3 - 2) * pr.kernel_error_expectation("haar", Phi, 2)
    assert sp.split_half_bias("haar", Phi, 2) == pytest.approx(bare, rel=TOL["hand"])
    assert [sp.split_half_bias(kind, Phi, 4) for kind in ("gaussian", "achlioptas", "sjlt_block")] == [0, 0, 0]


def test_estimates_by_hand():
    assert sp.split_half_error(np.diag([1.0, 2.0]), np.diag([3.0, 2.0])) == 1
    assert sp.split_half_squared_norm([[1, 2], [2, 0]], [[3, 1], [1, 5]]) == 7
    Phi = [[1.0, 0.0], [0.0, 2.0]]
    # (tr K)^2 + |K|^2 - 2 |diag(Phi^T Phi)|^2 = 25 + 17 - 34
    assert sp.naive_norm_bias("rademacher", Phi, 2) == pytest.approx(4, rel=TOL["hand"])
    assert sp.naive_norm_bias("gaussian", Phi, 2) == pytest.approx(21, rel=TOL["hand"])


# The trace


@given(st.integers(1, 2000), st.floats(0.01, 0.99), st.integers(1, 50))
def test_trace_failure_is_bounded_for_every_number_of_equal_eigenvalues(k, eps, n):
    # K = I_n: tr K~ / tr K is chi2_{nk} / (nk), an exact law; n = 1 is the worst.
    bound = sp.trace_failure_bound(k, eps)
    assert pr.failure_probability("gaussian", n * k, eps) <= bound * (1 + TOL["tail"])
    chernoff = exp(-k / 2 * (eps - log(1 + eps))) + exp(k / 2 * (eps + log(1 - eps)))
    assert bound == pytest.approx(chernoff, rel=TOL["tail"], abs=1e-300)


def test_twice_the_exponent_is_no_bound():
    assert pr.failure_probability("gaussian", 100, 0.3) > sp.trace_failure_bound(200, 0.3)


@given(seeds)
def test_trace_of_unequal_spectra_is_bounded_too(seed):
    rng = np.random.default_rng(seed)
    values = 0.5 ** np.arange(4)
    traces = rng.chisquare(6, (2000, 4)) @ values / (6 * values.sum())
    share = np.mean(np.abs(traces - 1) > 0.8)
    assert share <= sp.trace_failure_bound(6, 0.8)


@given(seeds)
def test_hutchinson_variances_by_enumeration_and_quadrature(seed):
    Phi = falling_features(seed, n=2, P=3)
    K = Phi @ Phi.T
    x, w = np.polynomial.hermite_e.hermegauss(5)  # exact to degree 9
    gaussian = [([a, b], p * q / (2 * np.pi)) for a, p in zip(x, w, strict=True) for b, q in zip(x, w, strict=True)]
    signs = [(z, 1 / 4) for z in product([-1, 1], repeat=2)]
    for law, variance in (
        (gaussian, sp.hutchinson_variance_gaussian),
        (signs, sp.hutchinson_variance_rademacher),
    ):
        values = np.array([sp.hutchinson_estimate(Phi, [z]) for z, _ in law])
        weights = np.array([p for _, p in law])
        np.testing.assert_allclose(weights @ values, np.trace(K), **CLOSE)
        np.testing.assert_allclose(weights @ (values - np.trace(K)) ** 2, variance(K, 1), **CLOSE)
        np.testing.assert_allclose(variance(K, 3), variance(K, 1) / 3, **CLOSE)
    assert differs(sp.hutchinson_variance_gaussian(K, 1), sp.hutchinson_variance_rademacher(K, 1))


def test_hutchinson_by_hand():
    assert sp.hutchinson_estimate([[1.0, 0.0], [0.0, 2.0]], [[1, 1], [2, 0]]) == pytest.approx(4.5, rel=TOL["hand"])
    assert sp.hutchinson_probes_rademacher(0.1, 0.05) == 2214  # 600 ln 40 = 2213.3
    assert sp.hutchinson_probes_gaussian(0.1, 0.05) == 2952  # 800 ln 40 = 2951.1


@pytest.mark.parametrize(
    ("probes", "draw"),
    [
        (sp.hutchinson_probes_gaussian, lambda rng, shape: rng.standard_normal(shape)),
        (sp.hutchinson_probes_rademacher, lambda rng, shape: rng.choice([-1.0, 1.0], shape)),
    ],
)
def test_so_many_probes_suffice(probes, draw):
    rng, Phi = np.random.default_rng(2), np.array([[1.0, 0.0], [1.0, 0.2]])
    count, trace = probes(0.5, 0.2), np.sum(Phi**2)
    errors = [abs(sp.hutchinson_estimate(Phi, draw(rng, (count, 2))) / trace - 1) > 0.5 for _ in range(300)]
    assert np.mean(errors) <= 0.2
    few = [abs(sp.hutchinson_estimate(Phi, draw(rng, (1, 2))) / trace - 1) > 0.5 for _ in range(300)]
    assert np.mean(few) > 0.2


K2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sp.completed_rank_bound([1.0], [[1.0]], 0.1), "features: expected 2 axes"),
        (lambda: sp.completed_rank_bound([[1.0]], [[1.0]], 1.1), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: sp.completed_rank_bound(np.eye(2), [[1.0], [1.0]], 0.1), "directions: expected orthonormal"),
        (lambda: sp.redundancy_bound_by_energies([[0.0]], [[1.0]]), "tr K: expected a number above 0"),
        (lambda: sp.trace_interval(-1.0, 1, 0.1, "signs"), "estimate: expected a number that is 0 or above"),
        (lambda: sp.trace_interval(1.0, 0, 0.1, "signs"), "count: expected an integer"),
        (lambda: sp.trace_interval(1.0, 1, 1.0, "signs"), r"delta: expected a number in \[0, 1\)"),
        (lambda: sp.trace_interval(1.0, 1, 0.0, "signs"), "delta: expected a number above 0"),
        (lambda: sp.trace_interval(1.0, 1, 0.1, "haar"), "kind: expected one of"),
        (lambda: sp.captured_share([[0.0]], [[1.0]]), "tr K: expected a number above 0"),
        (
            lambda: sp.redundancy_bound_r1([[1.0], [0.0]], [[0.0], [1.0]]),
            r"\|Z\^T K Z\|_F: expected a number above 0",
        ),
        (lambda: sp.captured_by_directions(K2, 2 * K2), "directions: expected orthonormal columns"),
        (lambda: sp.rank_upper_bound(K2, K2, -0.1), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: sp.rank_upper_bound([1], K2, 0.1), "features: expected 2 axes"),
        (lambda: sp.cross_validated_rank(K2, [[1]], 0.1), "second: expected 2 rows"),
        (lambda: sp.cross_validated_rank([[1, 2]], K2, 0.1), "first: expected a square matrix"),
        (lambda: sp.split_half_error(K2, [[1]]), "second: expected 2 rows"),
        (lambda: sp.split_half_squared_norm(K2, [[1]]), "second: expected 2 rows"),
        (lambda: sp.split_half_bias("countsketch", K2, 2), "kind: expected one of gaussian"),
        (lambda: sp.split_half_bias("gaussian", K2, 3), "k: expected an even number, got 3"),
        (lambda: sp.split_half_bias("gaussian", K2, 0), "k: expected an integer in"),
        (lambda: sp.split_half_bias("haar", K2, 2), r"k: expected an integer in \[2, 1\]"),
        (lambda: sp.split_half_bias("srht", K2, 2), r"k: expected an integer in \[2, 1\]"),
        (lambda: sp.naive_norm_bias("fourier", K2, 2), "kind: expected one of gaussian"),
        (lambda: sp.trace_failure_bound(0, 0.5), "k: expected an integer in"),
        (lambda: sp.trace_failure_bound(1, 0.0), "epsilon: expected a number above 0"),
        (lambda: sp.trace_failure_bound(1, 1.0), r"epsilon: expected a number in \[0, 1\)"),
        (lambda: sp.hutchinson_estimate(K2, [[1.0]]), "probes: expected 2 columns"),
        (lambda: sp.hutchinson_variance_gaussian(K2, 0), "probes: expected an integer in"),
        (lambda: sp.hutchinson_variance_rademacher(K2, 0), "probes: expected an integer in"),
        (lambda: sp.hutchinson_probes_gaussian(0.0, 0.1), "epsilon: expected a number above 0"),
        (lambda: sp.hutchinson_probes_rademacher(0.1, 0.0), "delta: expected a number above 0"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
