"""Bounds from kernels alone, of a subsampled residual and of the restricted solve: at most, attained, and false twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import certificate as c
from dntk_ref import kernel, ridge
from dntk_ref import restricted as rs
from dntk_ref.cases import random_projector
from tests.ref.problems import problems
from tests.ref.sides import CLOSE, HAND, at_most, differs
from tests.tolerances import TOL

# 9.3: dual, arbitrary rows, subsampled


@given(problems())
def test_dual_bounds(problem):
    Phi, y, _, lam, test, _ = problem
    K, alpha = Phi @ Phi.T, np.random.default_rng(len(y)).standard_normal(len(y))
    rho, k = rs.dual_residual(K, y, alpha, lam), test @ Phi.T
    np.testing.assert_allclose(Phi.T @ rho, c.residual(Phi, y, Phi.T @ alpha, lam), **CLOSE)
    truth = np.abs(k @ alpha - ridge.dual_prediction(k, K, y, lam))
    assert at_most(truth, rs.dual_bound_by_norm(np.sum(test**2, axis=1), rho, lam))
    assert at_most(truth, rs.dual_bound_by_cross(k, K, rho, lam))


def test_the_half_of_the_dual_bound_is_attained():
    lam = 9.0
    K, alpha = np.array([[lam]]), np.array([1.0])  # sigma = sqrt(lam) = 3, phi_1 = 3
    rho = rs.dual_residual(K, [0.0], alpha, lam)
    np.testing.assert_allclose(rs.dual_bound_by_norm([1.0], rho, lam), [3.0], **HAND)  # phi(x) = 1: f_hat - f_* = 3
    np.testing.assert_allclose(rs.dual_bound_by_cross([[3.0]], K, rho, lam), [3.0], **HAND)
    np.testing.assert_allclose(rs.dual_bound_by_cross([[3.0], [6.0]], K, rho, lam), [3.0, 6.0], **HAND)
    with pytest.raises(ValueError, match="cross: expected 1 columns"):
        rs.dual_bound_by_cross([[3.0, 4.0]], K, rho, lam)


@given(problems())
def test_the_norm_of_the_residual_by_kernels_alone(problem):
    Phi, y, _, lam, Psi, _ = problem
    beta = np.random.default_rng(len(Psi)).standard_normal(len(Psi))
    K, cross, own = kernel.gram(Phi), kernel.cross_gram(Phi, Psi), kernel.gram(Psi)
    found = rs.residual_norm_by_kernels(K, cross, own, y, beta, lam)
    expected = np.linalg.norm(c.residual(Phi, y, Psi.T @ beta, lam))
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert differs(rs.residual_norm_by_kernels(K, cross, own, -y, beta, lam), expected) or np.allclose(cross @ beta, 0)


@given(problems())
def test_the_subsampled_residual_is_unbiased(problem):
    Phi, y, w, lam, *_ = problem
    every = [rs.subsampled_residual(Phi, y, w, lam, [i]) for i in range(len(Phi))]
    np.testing.assert_allclose(np.mean(every, axis=0), c.residual(Phi, y, w, lam), **CLOSE)
    np.testing.assert_allclose(
        rs.subsampled_residual(Phi, y, w, lam, np.arange(len(Phi))), c.residual(Phi, y, w, lam), **CLOSE
    )
    terms = [len(Phi) * np.linalg.norm((Phi[i] @ w - y[i]) * Phi[i]) for i in range(len(Phi))]
    np.testing.assert_allclose(rs.largest_term(Phi, y, w), max(terms), **CLOSE)


def test_the_subsampled_bound_holds_with_its_probability():
    rng, delta, b = np.random.default_rng(1), 0.2, 3
    Phi, y, w, lam = rng.standard_normal((6, 3)), rng.standard_normal(6), rng.standard_normal(3), 0.5
    truth, M = np.linalg.norm(c.residual(Phi, y, w, lam)), rs.largest_term(Phi, y, w)
    everyone = [rs.subsampled_residual(Phi, y, w, lam, draw) for draw in np.ndindex(6, 6, 6)]  # the whole sample space
    failed = [truth > rs.subsampled_bound(np.linalg.norm(r), M, b, delta) for r in everyone]
    assert np.mean(failed) <= delta
    spread = np.mean([np.linalg.norm(r - c.residual(Phi, y, w, lam)) for r in everyone])
    assert spread <= M / b**0.5  # the mean deviation that McDiarmid's step starts from
    unlucky = [truth > np.linalg.norm(r) for r in everyone]  # the twin without its margin
    assert np.mean(unlucky) > delta


def test_the_subsampled_bound_by_hand():
    # delta = exp(-2): the root of 2 ln(1 / delta) is 2, and 1 + 4 (1 + 2) / sqrt(4) = 7.
    np.testing.assert_allclose(rs.subsampled_bound(1.0, 4.0, 4, np.exp(-2.0)), 7.0, **HAND)


def test_m_over_the_drawn_rows_alone_certifies_falsely():
    Phi, y, w, lam = np.array([[1e-3], [1e3]]), np.array([1.0, 1.0]), np.array([1.0]), 1.0
    truth, drawn = np.linalg.norm(c.residual(Phi, y, w, lam)), [0, 0, 0, 0]
    estimate = np.linalg.norm(rs.subsampled_residual(Phi, y, w, lam, drawn))
    assert rs.subsampled_bound(estimate, rs.largest_term(Phi[:1], y[:1], w), 4, 0.05) < truth
    assert rs.subsampled_bound(estimate, rs.largest_term(Phi, y, w), 4, 0.05) >= truth


# 9.4


@st.composite
def in_a_subspace(draw):
    """Features, targets, a ridge, an orthogonal projector of the parameters, and test rows."""
    Phi, y, _, lam, test, _ = draw(problems())
    P = Phi.shape[1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Phi, y, lam, random_projector(P, draw(st.integers(1, P)), rng=rng), test


@given(in_a_subspace())
def test_the_restricted_solution(case):
    Phi, y, lam, Pi, test = case
    w, optimum = rs.subspace_weights(Phi, y, Pi, lam), ridge.ridge_weights(Phi, y, lam)
    K, K_Pi = Phi @ Phi.T, Phi @ Pi @ Phi.T
    r = c.residual(Phi, y, w, lam)
    np.testing.assert_allclose(Pi @ r, 0, atol=TOL["float64"])  # stationary inside the subspace
    np.testing.assert_allclose(w, Pi @ w, **CLOSE)
    alpha = ridge.dual_coefficients(K_Pi, y, lam)
    np.testing.assert_allclose(r, -lam * (Phi.T @ alpha - Pi @ Phi.T @ alpha), **CLOSE)
    # A norm by a quadratic form: the root of its rounding where it should be zero.
    np.testing.assert_allclose(
        rs.restricted_residual_norm(K, K_Pi, y, lam),
        np.linalg.norm(r),
        rtol=TOL["float64"],
        atol=10 * TOL["root"],
    )
    above = c.excess(Phi, y, w, lam)
    first, second = (f(K, K_Pi, y, lam) for f in (rs.restricted_excess_bound, rs.restricted_excess_bound_by_trace))
    assert at_most(above, first)
    assert at_most(first, second)
    assert at_most(np.linalg.norm(Phi @ (w - optimum)), rs.restricted_training_bound(K, K_Pi, y, lam))
    kappa = np.sum(test**2, axis=1)
    near, far = (
        f(kappa, K, K_Pi, y, lam) for f in (rs.restricted_pointwise_bound, rs.restricted_pointwise_bound_by_trace)
    )
    assert at_most(np.abs(test @ (w - optimum)), near + TOL["root"] * np.sqrt(kappa) / lam)
    assert at_most(near, far + TOL["root"] * np.sqrt(kappa) / lam)


@given(in_a_subspace())
def test_cea(case):
    Phi, y, lam, Pi, _ = case
    optimum = ridge.ridge_weights(Phi, y, lam)
    found = rs.energy_distance(Phi, rs.subspace_weights(Phi, y, Pi, lam) - optimum, lam)
    np.testing.assert_allclose(
        found, rs.subspace_distance(Phi, optimum, Pi, lam), rtol=TOL["float64"], atol=TOL["root"]
    )
    plain = rs.energy_distance(Phi, Pi @ optimum - optimum, lam)  # the nearest in the Euclidean norm is no nearer
    assert at_most(found, plain)
    np.testing.assert_allclose(found**2, 2 * c.excess(Phi, y, rs.subspace_weights(Phi, y, Pi, lam), lam), **CLOSE)


def test_the_training_constant_is_attained_with_nothing_kept():
    K, y, lam = np.diag([4.0, 1.0]), np.array([5.0, 0.0]), 1.0
    truth = np.linalg.norm(ridge.filtered_fit(K, y, lam))
    np.testing.assert_allclose(truth, rs.restricted_training_bound(K, np.zeros((2, 2)), y, lam), **HAND)


def test_a_sketched_solve_escapes_the_restricted_bounds():
    # E = 0, yet the solution of the single synthetic row (CEX-14's kind) is off: a bound for the restricted solve alone.
    Phi, y, lam = np.array([[1.0], [0.1]]), np.array([0.0, 10.0]), 1e-3
    sketched = ridge.ridge_weights(Phi[1:], y[1:], lam)
    K = Phi @ Phi.T
    truth = np.linalg.norm(Phi @ (sketched - ridge.ridge_weights(Phi, y, lam)))
    assert rs.restricted_training_bound(K, K, y, lam) == 0 < 10 < truth


REFUSED = [
    (lambda: rs.dual_bound_by_norm([-1.0], [1.0], 1.0), "smallest of diagonal: expected a number that is 0 or above"),
    (lambda: rs.subsampled_residual([[1.0]], [1.0], [1.0], 1.0, [1]), r"drawn: expected integers in \[0, 0\], got \[1\]"),
    (lambda: rs.subsampled_bound(1.0, 1.0, 1, 0.0), "delta: expected a number above 0"),
    (lambda: rs.restricted_residual_norm([[1.0]], [[2.0]], [1.0], 1.0), "kernel - approximation: expected a positive semi"),
    (lambda: rs.restricted_residual_norm([[1.0]], [[-1.0]], [1.0], 1.0), "approximation: expected a positive semi"),
    (lambda: rs.restricted_pointwise_bound([-1.0], [[1.0]], [[1.0]], [1.0], 1.0), "smallest of diagonal"),
    (lambda: rs.restricted_pointwise_bound_by_trace([-1.0], [[1.0]], [[1.0]], [1.0], 1.0), "smallest of diagonal"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_excess_by_the_trace_by_hand():
    # E = 4, alpha = 3: lam tr(E) |alpha|^2 / 2 = 18
    assert rs.restricted_excess_bound_by_trace([[4.0]], [[0.0]], [3.0], 1.0) == pytest.approx(18.0, rel=TOL["float64"])


def test_an_eigenvalue_below_the_roundings_of_the_largest_is_no_help():
    # of diag(1e16, 1) the smallest eigenvalue is known to about 16: the bound may not divide by lam + 1
    K, rho = np.diag([1e16, 1.0]), [3.0, 4.0]
    np.testing.assert_allclose(rs.dual_bound_by_cross([[2.0, 0.0]], K, rho, 0.5), [20.0], **HAND)
