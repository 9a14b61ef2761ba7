"""Spectra under projection: what embeddings control, which way ranks and norms are biased, what one run can tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import projected_spectrum as ps
from dntk_ref import projection as pr
from dntk_ref import spectral
from tests.ref.problems import falling_features, kernels, sign_maps
from tests.ref.sides import CLOSE
from tests.tolerances import TOL

SEEDS = st.integers(0, 2**32 - 1)


# Eigenvalues


@given(SEEDS)
def test_partial_sums_are_biased_up_and_the_trace_is_not(seed):
    Phi = falling_features(seed, n=3, P=4)
    mean = np.mean([ps.partial_sums(K) for K in kernels(Phi, sign_maps(4, 2))], axis=0)
    true = ps.partial_sums(Phi @ Phi.T)
    assert (mean[:-1] >= true[:-1]).all()
    assert mean[0] > true[0] * (1 + TOL["apart"])
    np.testing.assert_allclose(mean[-1], true[-1], **CLOSE)
    np.testing.assert_allclose(true, np.cumsum(np.linalg.svd(Phi)[1] ** 2), **CLOSE)


@given(SEEDS, st.integers(1, 12))
def test_an_embedding_bounds_every_relative_eigenvalue_error(seed, k):
    Phi = falling_features(seed)
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
    Phi = falling_features(seed)
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
    Phi = falling_features(seed)
    A = pr.gaussian(5, k, rng=np.random.default_rng(seed + 1))
    K, projected = Phi @ Phi.T, Phi @ A @ A.T @ Phi.T
    e = ps.embedding_error(Phi, A)
    if e >= 1:
        return
    r, values = spectral.naive_rank(projected, eps), np.linalg.eigvalsh(K)[::-1]
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
    r = spectral.naive_rank(projected, 0.1)
    assert np.eye(2)[r:].sum() > ps.projected_tail_bound(np.eye(2), 0.1, 0.0)
    assert np.eye(2)[r:].sum() <= ps.projected_tail_bound(np.eye(2), 0.1, 0.9)


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
        (
            lambda: ps.embedding_dimension(1, 1e-17, 0.5),
            r"epsilon: expected a number above 2\^-52, below which 1 \+ epsilon is 1",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_dimension_has_its_distortion():
    # (1 + (1 + sqrt(2 ln 4)) / 1)^2 - 1
    expected = (2 + np.sqrt(2 * np.log(4))) ** 2 - 1
    assert ps.embedding_distortion(1, 1, 0.5) == pytest.approx(expected, rel=TOL["float64"])
