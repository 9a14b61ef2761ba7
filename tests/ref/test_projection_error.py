"""Appendix B.2: the exact split, the corrected bounds, and CEX-24, 25, 27 against the printed ones."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import projection_error as pe
from dntk_ref.projection import gaussian, kernel_error_expectation
from dntk_ref.ridge import ridge_weights
from tests.ref.sides import CLOSE, HAND
from tests.tolerances import TOL


@st.composite
def problems(draw):
    """A Gaussian design and a Gaussian map of one to six dimensions, so below and above the rank."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, P, k = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    Phi, test = rng.standard_normal((n, P)), rng.standard_normal(P)
    A, y = gaussian(P, k, rng=rng), rng.standard_normal(n)
    return Phi, test, A, y, draw(st.sampled_from([0.1, 1.0, 5.0]))


@given(problems())
def test_the_difference_by_primal_weights_and_by_both_splits(problem):
    Phi, test, A, y, lam = problem
    p = pe.projected_problem(*problem)
    primal = test @ ridge_weights(Phi, y, lam) - (test @ A) @ ridge_weights(Phi @ A, y, lam)
    difference = pe.prediction_difference(p)
    np.testing.assert_allclose(difference, primal, **CLOSE)
    np.testing.assert_allclose(pe.term_i(p) + pe.term_ii(p), difference, **CLOSE)
    np.testing.assert_allclose(pe.term_i_prime(p) + pe.term_ii_prime(p), difference, **CLOSE)


@given(problems())
def test_corrected_bounds_hold(problem):
    p = pe.projected_problem(*problem)
    more = 1 + TOL["float64"]
    assert abs(pe.term_i(p)) <= pe.term_i_bound(p) * more
    assert abs(pe.term_i_prime(p)) <= pe.term_i_prime_bound(p) * more
    assert pe.resolvent_difference(p) <= pe.resolvent_bound(p) * more
    difference = abs(pe.prediction_difference(p))
    assert difference <= pe.combined_bound(p) * more
    assert difference <= pe.combined_bound_by_coefficients(p) * more
    assert np.linalg.norm(p.cross) <= pe.cross_norm_bound(p) * more
    projected = pe.resolvent_bound(p) * np.linalg.norm(p.projected_cross) * np.linalg.norm(p.targets)
    np.testing.assert_allclose(pe.combined_bound(p), pe.term_i_bound(p) + projected, **CLOSE)


@given(problems())
def test_bounds_from_their_formulas(problem):
    Phi, test, A, y, lam = problem
    p = pe.projected_problem(*problem)
    K, low = Phi @ Phi.T, Phi @ A @ A.T @ Phi.T
    smallest = max(np.linalg.eigvalsh(K)[0], 0)
    gap = np.linalg.svd(K - low)[1][0]
    crossing = np.linalg.norm(Phi @ test - Phi @ A @ A.T @ test) * np.linalg.norm(y)
    printed = gap / (lam + smallest) ** 2
    np.testing.assert_allclose(pe.resolvent_bound_printed(p), printed, **CLOSE)
    np.testing.assert_allclose(pe.term_i_prime_bound_printed(p), crossing / (lam + smallest), **CLOSE)
    for bound, front in (
        (pe.combined_bound_printed, p.cross),
        (pe.combined_bound_projected_printed, p.projected_cross),
    ):
        whole = crossing / (lam + smallest) + np.linalg.norm(front) * np.linalg.norm(y) * printed
        np.testing.assert_allclose(bound(p), whole, **CLOSE)
    alpha = np.linalg.solve(K + lam * np.eye(len(y)), y)
    by_alpha = abs((Phi @ test - Phi @ A @ A.T @ test) @ alpha)
    by_alpha += np.linalg.norm(A.T @ test) / (2 * sqrt(lam)) * np.linalg.norm((K - low) @ alpha)
    np.testing.assert_allclose(pe.combined_bound_by_coefficients(p), by_alpha, **CLOSE)


def shrunk(lam):
    """K = I, K~ = diag(2, 0), y = phi_* = e_2."""
    return pe.projected_problem(np.eye(2), [0, 1], [[sqrt(2)], [0]], [0, 1], lam)


def test_cex_24_the_printed_resolvent_bound_fails():
    p = shrunk(1.0)
    np.testing.assert_allclose(p.projected, [[2, 0], [0, 0]], **HAND)
    assert pe.resolvent_difference(p) == pytest.approx(1 / 2, rel=TOL["hand"])
    assert pe.resolvent_bound_printed(p) == pytest.approx(1 / 4, rel=TOL["hand"])
    assert pe.resolvent_bound(p) == pytest.approx(1 / 2, rel=TOL["hand"])


def test_cex_25_the_other_order_needs_the_other_eigenvalue():
    p = shrunk(0.1)
    assert abs(pe.term_i_prime(p)) == pytest.approx(10, rel=TOL["hand"])
    assert pe.term_i_prime_bound_printed(p) == pytest.approx(1 / 1.1, rel=TOL["hand"])
    assert pe.term_i_prime_bound(p) == pytest.approx(10, rel=TOL["hand"])
    assert abs(pe.term_i(p)) == pytest.approx(pe.term_i_bound(p), rel=TOL["hand"])


def test_cex_27_the_printed_combination_fails_and_the_corrected_is_attained():
    A = sqrt(3 / 2) * np.array([[1, 0, 0], [0, 20 / 101, 99 / 101]]).T
    p = pe.projected_problem(np.eye(3)[:2], [0, 0, 1], A, [0, 1], 0.01)
    difference = abs(pe.prediction_difference(p))
    assert difference == pytest.approx(4.23, abs=0.005)
    assert pe.combined_bound_printed(p) == pytest.approx(0.29, abs=0.005)
    assert pe.combined_bound_projected_printed(p) == pytest.approx(0.56, abs=0.005)
    assert difference > 7 * pe.combined_bound_projected_printed(p)
    assert pe.combined_bound(p) == pytest.approx(difference, rel=TOL["float64"])
    assert difference <= pe.combined_bound_by_coefficients(p)


def test_cross_norm_bound_is_attained_by_the_top_singular_vector():
    p = pe.projected_problem(np.diag([3.0, 1.0]), [2.0, 0.0], np.eye(2), [1, 1], 1.0)
    assert np.linalg.norm(p.cross) == pytest.approx(pe.cross_norm_bound(p), rel=TOL["hand"])
    assert pe.cross_norm_bound(p) == pytest.approx(6, rel=TOL["hand"])
    assert pe.prediction_difference(p) == pytest.approx(0, abs=TOL["hand"])


# Remark B.5


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_remark_b_5_relative_error(seed, k):
    Phi = np.random.default_rng(seed).standard_normal((4, 3))
    K = Phi @ Phi.T
    relative = pe.relative_error_gaussian(K, k)
    expected = kernel_error_expectation("gaussian", Phi, k) / np.sum(K**2)
    np.testing.assert_allclose(relative, expected, **CLOSE)
    assert relative <= (1 + len(K)) / k
    values = np.linalg.svd(Phi)[1] ** 2
    intrinsic = values.sum() / values[0]
    np.testing.assert_allclose(pe.intrinsic_dimension(K), intrinsic, **CLOSE)
    scale = values[0] * (sqrt(intrinsic / k) + intrinsic / k)
    np.testing.assert_allclose(pe.spectral_error_scale(K, k), scale, **CLOSE)


def test_spectral_error_follows_its_scale_and_not_the_number_of_rows():
    # tr K / |K|_2 is 2 for both kernels while n differs tenfold: the mean error stays within 30 %, sqrt(10) is 216 % more.
    rng, means = np.random.default_rng(0), []
    for n in (4, 40):
        root = np.sqrt(np.append(1.0, np.full(n - 1, 1 / (n - 1))))
        errors = []
        for _ in range(60):
            low = root[:, None] * gaussian(n, 100, rng=rng)
            errors.append(np.linalg.norm(low @ low.T - np.diag(root**2), 2))
        means.append(np.mean(errors) / pe.spectral_error_scale(np.diag(root**2), 100))
    assert abs(means[1] / means[0] - 1) < 0.3


I2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pe.projected_problem(I2, [1], I2, [1, 1], 1.0), "test: expected length 2"),
        (lambda: pe.projected_problem(I2, [1, 1], [[1]], [1, 1], 1.0), "projector: expected 2 rows"),
        (lambda: pe.projected_problem(I2, [1, 1], I2, [1], 1.0), "targets: expected length 2"),
        (lambda: pe.projected_problem(I2, [1, 1], I2, [1, 1], 0.0), "lam: expected a number above 0"),
        (lambda: pe.projected_problem([1], [1], I2, [1], 1.0), "features: expected 2 axes"),
        (lambda: pe.relative_error_gaussian(I2, 0), "k: expected an integer in"),
        (lambda: pe.intrinsic_dimension(0 * I2), "norm of the kernel: expected a number above 0"),
        (lambda: pe.spectral_error_scale(I2, 0), "k: expected an integer in"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
