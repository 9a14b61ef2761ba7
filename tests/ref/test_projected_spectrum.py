"""Spectra under projection: what embeddings control, which way ranks and norms are biased, what one run can tell."""

from itertools import product
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from dntk_ref import projected_spectrum as ps
from dntk_ref import projection as pr
from dntk_ref.redundancy import truncation_rank
from tests.ref.sides import CLOSE, differs
from tests.tolerances import TOL

SEEDS = st.integers(0, 2**32 - 1)


def features(seed, n=4, P=5):
    """Gaussian features with geometrically falling columns, so that the spectrum falls too."""
    return np.random.default_rng(seed).standard_normal((n, P)) * 0.6 ** np.arange(P)


def sign_maps(P, k):
    """The whole law of a Rademacher map."""
    return [np.array(e).reshape(P, k) / sqrt(k) for e in product([-1.0, 1.0], repeat=P * k)]


def kernels(Phi, maps):
    return [Phi @ A @ A.T @ Phi.T for A in maps]


# Eigenvalues


@given(SEEDS)
def test_partial_sums_are_biased_up_and_the_trace_is_not(seed):
    Phi = features(seed, n=3, P=4)
    mean = np.mean([ps.partial_sums(K) for K in kernels(Phi, sign_maps(4, 2))], axis=0)
    true = ps.partial_sums(Phi @ Phi.T)
    assert (mean[:-1] >= true[:-1]).all()
    assert mean[0] > true[0] * (1 + TOL["apart"])
    np.testing.assert_allclose(mean[-1], true[-1], **CLOSE)
    np.testing.assert_allclose(true, np.cumsum(np.linalg.svd(Phi)[1] ** 2), **CLOSE)


@given(SEEDS, st.integers(1, 12))
def test_an_embedding_bounds_every_relative_eigenvalue_error(seed, k):
    Phi = features(seed)
    A = pr.gaussian(5, k, rng=np.random.default_rng(seed + 1))
    K, projected = Phi @ Phi.T, Phi @ A @ A.T @ Phi.T
    error = ps.embedding_error(Phi, A)
    assert ps.relative_eigenvalue_error(K, projected) <= error + TOL["squared_kernel"]
    # The definition: every vector of the row span keeps its length up to the error, and one attains it.
    basis = np.linalg.qr(Phi.T)[0]
    stretch = np.linalg.svd(A.T @ basis)[1] ** 2
    worst = max(abs(stretch[0] - 1), abs(stretch[-1] - 1) if k >= 4 else 1.0)
    assert error == pytest.approx(worst, rel=TOL["squared_kernel"])


def test_embedding_concerns_the_span_of_the_rows_alone():
    # Dependent rows span e_1 only, whose squared length becomes 1/4; e_2, lost by the map, does not count.
    map_ = [[0.5], [0.0]]
    assert ps.embedding_error([[1.0, 0.0], [3.0, 0.0]], map_) == pytest.approx(3 / 4, rel=TOL["hand"])
    assert ps.embedding_error([[1.0, 0.0], [3.0, 1e-3]], map_) == pytest.approx(1, rel=TOL["hand"])


def test_cex_17_and_26_no_relative_control_below_the_rank():
    onto = np.linalg.svd(np.eye(3) - 1 / 3)[0][:, :2]
    assert ps.relative_eigenvalue_error(np.eye(3), onto @ onto.T) == pytest.approx(1, rel=TOL["hand"])
    assert pr.distance_distortion(np.eye(3), onto) == pytest.approx(0, abs=TOL["hand"])
    A = pr.haar(40, 30, rng=np.random.default_rng(0))  # CEX-26 with a Haar map: thirty times 4/3, ten times 0
    values = np.linalg.eigvalsh(A @ A.T)
    np.testing.assert_allclose(values[:10], 0, **CLOSE)
    np.testing.assert_allclose(values[10:], 4 / 3, **CLOSE)
    assert ps.embedding_error(np.eye(40), A) == pytest.approx(1, rel=TOL["float64"])
    draws = [
        np.linalg.eigvalsh(A @ A.T) for A in (pr.gaussian(40, 30, rng=np.random.default_rng(s)) for s in range(20))
    ]
    assert 4.0 < np.mean([d[-1] for d in draws]) < 4.5  # statements.md: mean 4.26, one draw 4.1
    assert all(abs(d[9]) < TOL["float64"] for d in draws)


def test_embedding_dimensions_of_b_6():
    assert ps.embedding_dimension(500, 0.1, 0.01) == 275_438
    assert ps.embedding_dimension(40, 0.1, 0.01) == 38_523
    assert [round(ps.embedding_distortion(d, 4096, 0.01), 2) for d in (500, 40)] == [0.96, 0.32]


@given(st.integers(1, 500), st.floats(0.05, 2), st.floats(0.001, 0.5))
def test_embedding_dimension_and_distortion_are_inverse(d, eps, delta):
    k = ps.embedding_dimension(d, eps, delta)
    assert ps.embedding_distortion(d, k, delta) <= eps * (1 + TOL["float64"])
    assert k == 1 or ps.embedding_distortion(d, k - 1, delta) > eps * (1 - TOL["float64"])


def test_the_embedding_dimension_embeds():
    rng, fails = np.random.default_rng(5), 0
    k = ps.embedding_dimension(2, 0.8, 0.2)
    for _ in range(400):
        fails += ps.embedding_error(np.eye(2), pr.gaussian(2, k, rng=rng)) > 0.8
    # At most 20 % allowed: 400 draws exceed 28 % at fewer than one seed in ten thousand.
    assert fails / 400 < 0.28
    small = [ps.embedding_error(np.eye(2), pr.gaussian(2, 4, rng=rng)) > 0.8 for _ in range(400)]
    assert np.mean(small) > 0.28


@given(SEEDS, st.floats(0.01, 10))
def test_sandwich_error_is_the_smallest_that_sandwiches(seed, mu):
    Phi = features(seed)
    A = pr.rademacher(5, 3, rng=np.random.default_rng(seed))
    K, projected = Phi @ Phi.T + mu * np.eye(4), Phi @ A @ A.T @ Phi.T + mu * np.eye(4)
    error = ps.sandwich_error(Phi @ Phi.T, Phi @ A @ A.T @ Phi.T, mu)

    def margin(eps):
        sides = (projected - (1 - eps) * K, (1 + eps) * K - projected)
        return min(np.linalg.eigvalsh(side)[0] for side in sides) / np.linalg.norm(K, 2)

    assert margin(error) >= -TOL["squared_kernel"]
    assert margin(0.9 * error) < 0


def test_sandwich_scale_by_hand():
    assert ps.sandwich_scale(1.0, 4) == pytest.approx(1.25, rel=TOL["hand"])
    assert ps.sandwich_scale(8.0, 2) == pytest.approx(8.0, rel=TOL["hand"])


@given(SEEDS, st.sampled_from([0.05, 0.2, 0.5]), st.sampled_from([20, 60]))
def test_a_measured_rank_and_an_embedding_bound_the_true_tail(seed, eps, k):
    Phi = features(seed)
    A = pr.gaussian(5, k, rng=np.random.default_rng(seed + 1))
    K, projected = Phi @ Phi.T, Phi @ A @ A.T @ Phi.T
    e = ps.embedding_error(Phi, A)
    if e >= 1:
        return
    r, values = ps.naive_rank(projected, eps), np.linalg.eigvalsh(K)[::-1]
    assert values[r:].sum() <= ps.projected_tail_bound(K, eps, e) + TOL["float64"]
    ratio = np.sum(values[r:] ** 2) / np.sum(values**2)
    assert ratio <= ps.projected_ratio_bound(projected, eps, e) + TOL["float64"]


def test_bounds_from_measured_ranks_by_hand():
    K = np.diag([6.0, 2.0, 2.0])
    assert ps.projected_tail_bound(K, 0.4, 0.0) == pytest.approx(4, rel=TOL["hand"])  # attained: the tail is 2 + 2
    assert ps.projected_tail_bound(K, 0.4, 1 / 3) == pytest.approx(8, rel=TOL["hand"])
    assert ps.projected_ratio_bound(K, 0.4, 0.0) == pytest.approx(0.4 * 2 / (10 / 3), rel=TOL["hand"])
    assert ps.projected_ratio_bound(K, 0.4, 1 / 3) == pytest.approx(4 * 0.4 * 2 / (10 / 3), rel=TOL["hand"])
    assert ps.projected_ratio_bound(K, 0.0, 0.0) == 0  # nothing is cut off
    # Without the embedding's factor the tail bound fails: the projection shrank the tail of diag(1, 1) to 0.1.
    projected = np.diag([1.0, 0.1])
    r = ps.naive_rank(projected, 0.1)
    assert np.eye(2)[r:].sum() > ps.projected_tail_bound(np.eye(2), 0.1, 0.0)
    assert np.eye(2)[r:].sum() <= ps.projected_tail_bound(np.eye(2), 0.1, 0.9)


# Ranks without the whole kernel


@given(SEEDS, st.integers(1, 4), st.sampled_from([0.05, 0.2, 0.5]))
def test_directions_give_a_rigorous_upper_bound_on_the_rank(seed, r, eps):
    Phi = features(seed)
    K = Phi @ Phi.T
    Z = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, r)))[0]
    held = ps.captured_by_directions(Phi, Z)
    np.testing.assert_allclose(held, np.diag(Z.T @ K @ Z), **CLOSE)
    assert held.sum() <= ps.partial_sums(K)[r - 1] + TOL["float64"]
    bound = ps.rank_upper_bound(Phi, Z, eps)
    assert truncation_rank(K, eps) <= bound <= 4
    eigenvectors = np.linalg.eigh(K)[1][:, ::-1]
    assert ps.rank_upper_bound(Phi, eigenvectors, eps) == truncation_rank(K, eps)
    if bound <= r and held[:bound].sum() < (1 - eps) * np.trace(K) * (1 - TOL["float64"]):
        assert bound == 4


def test_rank_bounds_by_hand():
    Phi = np.diag([3.0, 1.0])
    assert ps.rank_upper_bound(Phi, [[1.0], [0.0]], 0.1) == 1
    assert ps.rank_upper_bound(Phi, [[0.0], [1.0]], 0.1) == 2  # not enough directions: n
    assert ps.rank_upper_bound(Phi, np.eye(2)[:, ::-1], 0.1) == 2
    assert ps.rank_upper_bound(Phi, np.eye(2), 0.0) == 2


@given(SEEDS)
def test_the_energy_of_the_other_half_is_unbiased(seed):
    Phi = features(seed, n=3, P=4)
    K = Phi @ Phi.T
    Z = np.linalg.eigh(Phi @ np.diag([1, 1, 0, 0]) @ Phi.T)[1][:, ::-1]
    energies = [np.diag(Z.T @ half @ Z) for half in kernels(Phi, sign_maps(4, 2))]
    np.testing.assert_allclose(np.mean(energies, axis=0), np.diag(Z.T @ K @ Z), **CLOSE)


@given(SEEDS, st.sampled_from([0.05, 0.3]))
def test_cross_validated_rank_is_the_first_that_holds(seed, eps):
    Phi, rng = features(seed), np.random.default_rng(seed)
    first, second = kernels(Phi, [pr.gaussian(5, 3, rng=rng) for _ in range(2)])
    found = ps.cross_validated_rank(first, second, eps)
    Z = np.linalg.svd(first)[0]
    shares = [np.trace(Z[:, :r].T @ second @ Z[:, :r]) / np.trace(second) for r in range(1, 5)]
    assert shares[found - 1] >= 1 - eps - TOL["float64"]
    assert all(share < 1 - eps for share in shares[: found - 1])
    assert ps.naive_rank(second, eps) <= found
    assert ps.cross_validated_rank(second, second, eps) == ps.naive_rank(second, eps)


def test_no_direction_holds_a_share_of_nothing():
    K, zero = np.diag([9.0, 1.0]), np.zeros((2, 2))
    assert ps.cross_validated_rank(K, K, 1.0) == ps.cross_validated_rank(K, zero, 0.1) == ps.naive_rank(zero, 0.1) == 0
    assert ps.rank_upper_bound(K, np.eye(2), 1.0) == ps.rank_upper_bound(zero, np.eye(2), 0.1) == 0


def test_ranks_move_as_the_audit_says():
    # e^(-0.05 j), n = 120, k = 240 in all: naive low, cross-validated high (means of draws, a direction and no bracket).
    values, rng = np.exp(-0.05 * np.arange(120)), np.random.default_rng(0)
    root = np.diag(np.sqrt(values))
    halves = [[root @ A @ A.T @ root for A in (pr.gaussian(120, 120, rng=rng) for _ in range(2))] for _ in range(8)]
    true = truncation_rank(np.diag(values), 0.05)
    assert true == 59
    assert abs(np.mean([ps.naive_rank((a + b) / 2, 0.05) for a, b in halves]) - 53.0) < 1
    assert abs(np.mean([ps.cross_validated_rank(a, b, 0.05) for a, b in halves]) - 76.0) < 2


# The error from one run


@given(SEEDS)
def test_split_half_estimates_are_unbiased_for_independent_halves(seed):
    Phi = features(seed, n=3, P=3)
    K = Phi @ Phi.T
    halves = kernels(Phi, sign_maps(3, 1))
    pairs = list(product(halves, halves))
    errors = np.mean([ps.split_half_error(a, b) for a, b in pairs])
    truth = np.mean([np.sum(((a + b) / 2 - K) ** 2) for a, b in pairs])
    np.testing.assert_allclose(errors, truth, **CLOSE)
    np.testing.assert_allclose(truth, pr.kernel_error_expectation("rademacher", Phi, 2), **CLOSE)
    np.testing.assert_allclose(np.mean([ps.split_half_squared_norm(a, b) for a, b in pairs]), np.sum(K**2), **CLOSE)
    naive = np.mean([np.sum(((a + b) / 2) ** 2) for a, b in pairs])
    np.testing.assert_allclose(naive - np.sum(K**2), ps.naive_norm_bias("rademacher", Phi, 2), **CLOSE)
    assert ps.split_half_bias("rademacher", Phi, 2) == 0


def srht_maps(distinct):
    H = hadamard(4).astype(float)
    for s in product([-1.0, 1.0], repeat=4):
        for a, b in product(range(4), repeat=2):
            if not (distinct and a == b):
                yield np.diag(s) @ H[:, [a, b]] / sqrt(2)


@pytest.mark.parametrize("kind", ["srht", "srht_replace", "coordinates"])
@given(seed=SEEDS)
def test_split_half_bias_of_one_draw_by_enumeration(kind, seed):
    Phi = features(seed, n=3, P=4)
    K = Phi @ Phi.T
    draws = {
        "srht": lambda: list(srht_maps(distinct=True)),
        "srht_replace": lambda: list(srht_maps(distinct=False)),
        "coordinates": lambda: [np.eye(4)[:, [a, b]] * sqrt(2) for a, b in product(range(4), repeat=2)],
    }[kind]()
    parts = [kernels(Phi, [sqrt(2) * A[:, :1], sqrt(2) * A[:, 1:]]) for A in draws]
    estimate = np.mean([ps.split_half_error(a, b) for a, b in parts])
    truth = np.mean([np.sum(((a + b) / 2 - K) ** 2) for a, b in parts])
    np.testing.assert_allclose(truth, pr.kernel_error_expectation(kind, Phi, 2), **CLOSE)
    np.testing.assert_allclose(estimate - truth, ps.split_half_bias(kind, Phi, 2), **CLOSE)


def test_split_half_bias_of_one_haar_draw():
    Phi, rng, number = features(3, n=2, P=4), np.random.default_rng(9), 4000
    estimates = []
    for _ in range(number):
        A = pr.haar(4, 2, rng=rng)
        estimates.append(ps.split_half_error(*kernels(Phi, [sqrt(2) * A[:, :1], sqrt(2) * A[:, 1:]])))
    truth, bias = pr.kernel_error_expectation("haar", Phi, 2), ps.split_half_bias("haar", Phi, 2)
    assert bias == pytest.approx(truth, rel=TOL["hand"])  # k / (P - k) = 1
    five = 5 * np.std(estimates) / sqrt(number)  # one false alarm in a million seeds
    assert abs(np.mean(estimates) - truth - bias) < five
    assert abs(np.mean(estimates) - truth) > five


def test_split_half_bias_pads_and_vanishes():
    Phi = features(1, n=2, P=3)
    expected = 2 / (4 - 2) * pr.kernel_error_expectation("srht", Phi, 2)
    assert ps.split_half_bias("srht", Phi, 2) == pytest.approx(expected, rel=TOL["hand"])
    bare = 2 / (3 - 2) * pr.kernel_error_expectation("haar", Phi, 2)
    assert ps.split_half_bias("haar", Phi, 2) == pytest.approx(bare, rel=TOL["hand"])
    assert [ps.split_half_bias(kind, Phi, 4) for kind in ("gaussian", "achlioptas", "sjlt_block")] == [0, 0, 0]


def test_estimates_by_hand():
    assert ps.split_half_error(np.diag([1.0, 2.0]), np.diag([3.0, 2.0])) == 1
    assert ps.split_half_squared_norm([[1, 2], [2, 0]], [[3, 1], [1, 5]]) == 7
    Phi = [[1.0, 0.0], [0.0, 2.0]]
    # (tr K)^2 + |K|^2 - 2 |diag(Phi^T Phi)|^2 = 25 + 17 - 34
    assert ps.naive_norm_bias("rademacher", Phi, 2) == pytest.approx(4, rel=TOL["hand"])
    assert ps.naive_norm_bias("gaussian", Phi, 2) == pytest.approx(21, rel=TOL["hand"])


# The trace


@given(st.integers(1, 2000), st.floats(0.01, 0.99), st.integers(1, 50))
def test_trace_failure_is_bounded_for_every_number_of_equal_eigenvalues(k, eps, n):
    # K = I_n: tr K~ / tr K is chi2_{nk} / (nk), an exact law; n = 1 is the worst.
    bound = ps.trace_failure_bound(k, eps)
    assert pr.failure_probability("gaussian", n * k, eps) <= bound * (1 + TOL["tail"])
    chernoff = exp(-k / 2 * (eps - log(1 + eps))) + exp(k / 2 * (eps + log(1 - eps)))
    assert bound == pytest.approx(chernoff, rel=TOL["tail"], abs=1e-300)


def test_twice_the_exponent_is_no_bound():
    assert pr.failure_probability("gaussian", 100, 0.3) > ps.trace_failure_bound(200, 0.3)


@given(SEEDS)
def test_trace_of_unequal_spectra_is_bounded_too(seed):
    rng = np.random.default_rng(seed)
    values = 0.5 ** np.arange(4)
    traces = rng.chisquare(6, (2000, 4)) @ values / (6 * values.sum())
    share = np.mean(np.abs(traces - 1) > 0.8)
    assert share <= ps.trace_failure_bound(6, 0.8)


@given(SEEDS)
def test_hutchinson_variances_by_enumeration_and_quadrature(seed):
    Phi = features(seed, n=2, P=3)
    K = Phi @ Phi.T
    x, w = np.polynomial.hermite_e.hermegauss(5)  # exact to degree 9
    gaussian = [([a, b], p * q / (2 * np.pi)) for a, p in zip(x, w, strict=True) for b, q in zip(x, w, strict=True)]
    signs = [(z, 1 / 4) for z in product([-1, 1], repeat=2)]
    for law, variance in ((gaussian, ps.hutchinson_variance_gaussian), (signs, ps.hutchinson_variance_rademacher)):
        values = np.array([ps.hutchinson_estimate(Phi, [z]) for z, _ in law])
        weights = np.array([p for _, p in law])
        np.testing.assert_allclose(weights @ values, np.trace(K), **CLOSE)
        np.testing.assert_allclose(weights @ (values - np.trace(K)) ** 2, variance(K, 1), **CLOSE)
        np.testing.assert_allclose(variance(K, 3), variance(K, 1) / 3, **CLOSE)
    assert differs(ps.hutchinson_variance_gaussian(K, 1), ps.hutchinson_variance_rademacher(K, 1))


def test_hutchinson_by_hand():
    assert ps.hutchinson_estimate([[1.0, 0.0], [0.0, 2.0]], [[1, 1], [2, 0]]) == pytest.approx(4.5, rel=TOL["hand"])
    assert ps.hutchinson_probes_rademacher(0.1, 0.05) == 2214  # 600 ln 40 = 2213.3
    assert ps.hutchinson_probes_gaussian(0.1, 0.05) == 2952  # 800 ln 40 = 2951.1


@pytest.mark.parametrize(
    ("probes", "draw"),
    [
        (ps.hutchinson_probes_gaussian, lambda rng, shape: rng.standard_normal(shape)),
        (ps.hutchinson_probes_rademacher, lambda rng, shape: rng.choice([-1.0, 1.0], shape)),
    ],
)
def test_so_many_probes_suffice(probes, draw):
    rng, Phi = np.random.default_rng(2), np.array([[1.0, 0.0], [1.0, 0.2]])
    count, trace = probes(0.5, 0.2), np.sum(Phi**2)
    errors = [abs(ps.hutchinson_estimate(Phi, draw(rng, (count, 2))) / trace - 1) > 0.5 for _ in range(300)]
    assert np.mean(errors) <= 0.2
    few = [abs(ps.hutchinson_estimate(Phi, draw(rng, (1, 2))) / trace - 1) > 0.5 for _ in range(300)]
    assert np.mean(few) > 0.2


K2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ps.relative_eigenvalue_error(0 * K2, K2),
            "largest eigenvalue of the kernel: expected a number above 0",
        ),
        (lambda: ps.relative_eigenvalue_error(K2, [[1]]), "projected: expected 2 rows"),
        (lambda: ps.embedding_error(0 * K2, K2), "largest singular value of the features: expected a number above 0"),
        (lambda: ps.embedding_error(K2, [[1]]), "projector: expected 2 rows"),
        (lambda: ps.embedding_dimension(0, 0.1, 0.1), "rank: expected an integer in"),
        (lambda: ps.embedding_dimension(1, 0.0, 0.1), "epsilon: expected a number above 0"),
        (lambda: ps.embedding_dimension(1, 0.1, 0.0), "delta: expected a number above 0"),
        (lambda: ps.embedding_distortion(1, 0, 0.1), "k: expected an integer in"),
        (lambda: ps.embedding_distortion(1, 1, 1.0), r"delta: expected a number in \[0, 1\)"),
        (lambda: ps.sandwich_error(K2, K2, 0.0), "mu: expected a number above 0"),
        (lambda: ps.sandwich_error(K2, [[1]], 1.0), "projected: expected 2 rows"),
        (lambda: ps.sandwich_scale(0.0, 1), "effective_dimension: expected a number above 0"),
        (lambda: ps.sandwich_scale(1.0, 0), "k: expected an integer in"),
        (lambda: ps.projected_tail_bound(K2, 2.0, 0.0), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: ps.projected_tail_bound(K2, 0.5, 1.0), r"embedding: expected a number in \[0, 1\)"),
        (
            lambda: ps.projected_ratio_bound(0 * K2, 0.5, 0.0),
            "mean eigenvalue of the projected kernel: expected a number",
        ),
        (lambda: ps.projected_ratio_bound(K2, 2.0, 0.0), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: ps.projected_ratio_bound(K2, 0.5, -0.5), r"embedding: expected a number in \[0, 1\)"),
        (lambda: ps.captured_by_directions(K2, 2 * K2), "directions: expected orthonormal columns"),
        (lambda: ps.rank_upper_bound(K2, K2, -0.1), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: ps.rank_upper_bound([1], K2, 0.1), "features: expected 2 axes"),
        (lambda: ps.cross_validated_rank(K2, [[1]], 0.1), "second: expected 2 rows"),
        (lambda: ps.cross_validated_rank([[1, 2]], K2, 0.1), "first: expected a square matrix"),
        (lambda: ps.split_half_error(K2, [[1]]), "second: expected 2 rows"),
        (lambda: ps.split_half_squared_norm(K2, [[1]]), "second: expected 2 rows"),
        (lambda: ps.split_half_bias("countsketch", K2, 2), "kind: expected one of gaussian"),
        (lambda: ps.split_half_bias("gaussian", K2, 3), "k: expected an even number, got 3"),
        (lambda: ps.split_half_bias("gaussian", K2, 0), "k: expected an integer in"),
        (lambda: ps.split_half_bias("haar", K2, 2), r"k: expected an integer in \[2, 1\]"),
        (lambda: ps.split_half_bias("srht", K2, 2), r"k: expected an integer in \[2, 1\]"),
        (lambda: ps.naive_norm_bias("fourier", K2, 2), "kind: expected one of gaussian"),
        (
            lambda: ps.embedding_dimension(1, 1e-17, 0.5),
            r"epsilon: expected a number that 1 \+ epsilon tells",
        ),
        (lambda: ps.trace_failure_bound(0, 0.5), "k: expected an integer in"),
        (lambda: ps.trace_failure_bound(1, 0.0), "epsilon: expected a number above 0"),
        (lambda: ps.trace_failure_bound(1, 1.0), r"epsilon: expected a number in \[0, 1\)"),
        (lambda: ps.hutchinson_estimate(K2, [[1.0]]), "probes: expected 2 columns"),
        (lambda: ps.hutchinson_variance_gaussian(K2, 0), "probes: expected an integer in"),
        (lambda: ps.hutchinson_variance_rademacher(K2, 0), "probes: expected an integer in"),
        (lambda: ps.hutchinson_probes_gaussian(0.0, 0.1), "epsilon: expected a number above 0"),
        (lambda: ps.hutchinson_probes_rademacher(0.1, 0.0), "delta: expected a number above 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
