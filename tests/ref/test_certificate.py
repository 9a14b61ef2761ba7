"""Certificates: bound >= truth on drawn problems, equality where the bound is attained, and twins that certify falsely."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import certificate as c
from dntk_ref import network, restricted, ridge
from dntk_ref.cases import orthonormal
from tests.ref.problems import problems
from tests.ref.sides import CLOSE, HAND, at_most, differs
from tests.tolerances import TOL


def error_of(problem):
    Phi, y, w, lam, *_ = problem
    return w - ridge.ridge_weights(Phi, y, lam)


# 9.2


@st.composite
def distilled(draw):
    """Features of a tiny network at synthesised rows, head kept, and at new points: rows, w_0, test, lam, logits."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    net = network.mlp((3, 4, 2), rng=rng)
    x, new = rng.standard_normal((5, 3)), rng.standard_normal((3, 3))
    head = network.head_slice(net)
    A = rng.standard_normal((head.start, 4)) / 2

    def features(inputs):
        J = network.jacobian(net, inputs)[0]
        return np.hstack([J[:, : head.start] @ A, J[:, head]])

    layer = net.layers[-1]
    w_0 = ridge.head_weights(layer.weight, layer.bias, body=4)[0]
    U = rng.standard_normal((5, draw(st.integers(1, 5))))
    return U.T @ features(x), w_0, features(new), 10.0 ** draw(st.integers(-3, 1)), network.forward(net, new)[0]


@given(distilled())
def test_the_error_against_the_network_is_exact_and_bounded(case):
    rows, w_0, test, lam, logits = case
    np.testing.assert_allclose(test @ w_0, logits, **CLOSE)  # Theorem R survives the projection of the body
    f_hat = test @ ridge.ridge_weights(rows, rows @ w_0, lam)
    np.testing.assert_allclose(c.fidelity_error(rows, w_0, test, lam), logits - f_hat, **CLOSE)
    assert at_most(np.abs(logits - f_hat), c.fidelity_bound(rows, np.linalg.norm(w_0), test, lam))
    assert differs(c.fidelity_error(rows, 2 * w_0, test, lam), logits - f_hat)


@given(distilled())
def test_the_fidelity_bound_is_attained_in_the_direction_it_measures(case):
    rows, w_0, test, lam, _ = case
    direction = np.linalg.solve(rows.T @ rows + lam * np.eye(rows.shape[1]), test[0])
    w = direction * np.linalg.norm(w_0) / np.linalg.norm(direction)
    bound = c.fidelity_bound(rows, np.linalg.norm(w_0), test[:1], lam)
    np.testing.assert_allclose(c.fidelity_error(rows, w, test[:1], lam), bound, rtol=TOL["squared_kernel"])


@pytest.mark.parametrize("lam", [1e-4, 1e-8, 1e-12, 1e-16])
def test_the_fidelity_bound_does_not_cancel(lam):
    # |phi| lam / (s^2 + lam) in the direction of each singular value; kappa - 2 k^T a + a^T K a is lost from 1e-8 on.
    assert c.fidelity_bound([[3.0]], 1.0, [[3.0]], lam)[0] == pytest.approx(3 * lam / (9 + lam), rel=TOL["hand"])
    Q, sigma = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0], np.array([2.0, 1.0, 0.5, 0.1])
    bound = c.fidelity_bound(sigma[:, None] * Q.T, 5.0, Q.T, lam)
    np.testing.assert_allclose(bound, 5 * lam / (sigma**2 + lam), rtol=TOL["float64"])
    np.testing.assert_allclose(
        c.fidelity_error(sigma[:, None] * Q.T, 5 * Q[:, 3], Q.T[3:], lam), bound[3:], rtol=TOL["float64"]
    )


def test_certified_classes():
    f = np.array([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [-5.0, -5.0, 1.0]])
    np.testing.assert_array_equal(c.certified(f, np.zeros((3, 3))), [1, 1, 0])
    np.testing.assert_array_equal(c.certified(f, np.ones((3, 3))), [0, 0, 0])
    np.testing.assert_array_equal(c.certified(f, np.array([[0.9] * 3, [0.9] * 3, [7.0, 1.0, 0.0]])), [0, 1, 0])
    np.testing.assert_array_equal(c.certified([[1.0]], [[9.0]]), [1])  # one class has no rival


@given(problems())
def test_a_certified_class_is_the_class_of_the_optimum(problem):
    Phi, y, w, lam, test, _ = problem
    ys, ws = [y, -y[::-1]], [w, w / 2]
    f_star = np.stack([test @ ridge.ridge_weights(Phi, target, lam) for target in ys])
    f_hat = np.stack([test @ one for one in ws])
    bounds = np.stack(
        [c.pointwise_bound(test, c.residual(Phi, t, one, lam), lam) for t, one in zip(ys, ws, strict=True)]
    )
    sure = c.certified(f_hat, bounds) == 1
    np.testing.assert_array_equal(f_hat.argmax(0)[sure], f_star.argmax(0)[sure])
    # With the true errors as bounds, a class is certified wrongly nowhere either, and certified where errors vanish.
    exact = c.certified(f_hat, np.abs(f_hat - f_star)) == 1
    np.testing.assert_array_equal(f_hat.argmax(0)[exact], f_star.argmax(0)[exact])


# 9.3


@given(problems())
def test_the_residual_is_the_hessian_times_the_error(problem):
    Phi, y, w, lam, *_ = problem
    H = Phi.T @ Phi + lam * np.eye(w.size)
    np.testing.assert_allclose(c.residual(Phi, y, w, lam), H @ error_of(problem), **CLOSE)
    np.testing.assert_allclose(c.residual(Phi, y, w - error_of(problem), lam), 0, atol=TOL["float64"])
    assert differs(c.residual(Phi, y, w, 2 * lam), H @ error_of(problem))  # another ridge is another problem


@given(problems())
def test_a_residual_without_the_ridge_is_no_residual(problem):
    Phi, y, w, lam, *_ = problem
    without = Phi.T @ (Phi @ w - y)  # the twin with lam left out
    assert differs(without, c.residual(Phi, y, w, lam))
    optimum = w - error_of(problem)
    far = np.linalg.norm(Phi.T @ (Phi @ optimum - y))  # lam |w_*|: never small at the optimum
    np.testing.assert_allclose(far, lam * np.linalg.norm(optimum), **CLOSE)


def test_a_missing_lambda_certifies_falsely():
    Phi, y, lam = np.array([[1.0, 0.0]]), np.array([2.0]), 1.0
    w = np.array([2.0, 0.0])  # fits the data, and is not the optimum (1, 0)
    without = Phi.T @ (Phi @ w - y)
    assert c.weights_bound(without, lam) == 0 < np.linalg.norm(w - ridge.ridge_weights(Phi, y, lam))
    assert c.weights_bound(c.residual(Phi, y, w, lam), lam) >= 1


@given(problems())
def test_weights(problem):
    Phi, y, w, lam, *_ = problem
    r, distance = c.residual(Phi, y, w, lam), np.linalg.norm(error_of(problem))
    assert at_most(distance, c.weights_bound(r, lam))
    assert at_most(c.weights_bound_lower(Phi, r, lam), distance)


def test_weights_are_attained_at_the_ends_of_the_spectrum():
    Phi, lam = np.array([[2.0, 0.0]]), 0.5
    for w, bound in (
        ([1.0, 0.0], lambda r: c.weights_bound_lower(Phi, r, lam)),
        ([0.0, 1.0], lambda r: c.weights_bound(r, lam)),
    ):
        np.testing.assert_allclose(bound(c.residual(Phi, [0.0], w, lam)), 1.0, **HAND)


@given(problems())
def test_energy(problem):
    Phi, y, w, lam, *_ = problem
    r, optimum = c.residual(Phi, y, w, lam), w - error_of(problem)
    above = ridge.objective(Phi, y, w, lam) - ridge.objective(Phi, y, optimum, lam)
    np.testing.assert_allclose(c.excess(Phi, y, w, lam), above, rtol=TOL["squared_kernel"], atol=TOL["float64"])
    assert at_most(above, c.excess_bound(r, lam))
    np.testing.assert_allclose(c.duality_gap(Phi, y, w, lam), c.excess_bound(r, lam), **CLOSE)
    best = c.optimal_objective(Phi @ Phi.T, y, lam)
    np.testing.assert_allclose(best, ridge.objective(Phi, y, optimum, lam), **CLOSE)
    assert at_most(c.dual_objective(Phi, y, w[0] * y, lam), best)
    np.testing.assert_allclose(c.dual_objective(Phi, y, y - Phi @ optimum, lam), best, **CLOSE)
    assert differs(c.duality_gap(Phi, y, w, 2 * lam), c.excess_bound(r, lam))


@given(problems(), st.integers(0, 2**32 - 1))
def test_the_gap_at_any_dual_point(problem, seed):
    Phi, y, w, lam, *_ = problem
    alpha, K = np.random.default_rng(seed).standard_normal(len(y)), Phi @ Phi.T
    found = c.duality_gap_at(Phi, y, w, alpha, lam)
    expected = ridge.objective(Phi, y, w, lam) - c.dual_objective(Phi, y, lam * alpha, lam)
    np.testing.assert_allclose(found, expected, rtol=TOL["float64"], atol=TOL["squared_kernel"])
    assert at_most(c.excess(Phi, y, w, lam), found)
    best = ridge.dual_coefficients(K, y, lam)
    np.testing.assert_allclose(c.duality_gap_at(Phi, y, w, best, lam), c.excess(Phi, y, w, lam), **CLOSE)
    np.testing.assert_allclose(
        c.duality_gap_at(Phi, y, w, (y - Phi @ w) / lam, lam), c.duality_gap(Phi, y, w, lam), **CLOSE
    )
    rho = restricted.dual_residual(K, y, alpha, lam)
    np.testing.assert_allclose(c.duality_gap_at(Phi, y, Phi.T @ alpha, alpha, lam), rho @ rho / 2, **CLOSE)
    assert at_most(c.rms(Phi, error_of(problem)), np.sqrt(2 * found / len(Phi)))
    assert differs(c.duality_gap_at(Phi, y, w, best, 2 * lam), c.excess(Phi, y, w, lam))


@given(problems())
def test_training_rms(problem):
    Phi, y, w, lam, _, subset = problem
    r, truth = c.residual(Phi, y, w, lam), c.rms(Phi, error_of(problem))
    plain, best = c.training_rms_bound(r, lam, len(Phi)), c.training_rms_bound_by_rows(Phi, subset, r, lam)
    energy = c.training_rms_bound_by_energy(Phi, subset, r, lam)
    assert at_most(truth, best)
    assert at_most(
        best, min(plain, energy)
    )  # mu = 0 is the plain bound; the energy form is no multiplier's value, yet above
    if subset.size == 0:
        np.testing.assert_allclose(best, plain, **CLOSE)


def test_training_rms_attains_one_half_where_an_eigenvalue_is_the_ridge():
    Phi, lam = np.array([[2.0, 0.0], [0.0, 1.0]]), 4.0
    r = c.residual(Phi, [0.0, 0.0], [3.0, 0.0], lam)
    np.testing.assert_allclose(c.rms(Phi, [3.0, 0.0]), c.training_rms_bound(r, lam, 2), **HAND)
    assert c.rms(Phi, [0.0, 3.0]) < c.training_rms_bound(c.residual(Phi, [0.0, 0.0], [0.0, 3.0], lam), lam, 2)


def one_more_row(rows, r, lam, error):
    """A problem that contains the rows and has this error for this residual: H = H_S + d d^T with H error = r."""
    missing = r - rows.T @ (rows @ error) - lam * error
    return np.vstack([rows, missing / np.sqrt(error @ missing)])


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_the_centred_bounds_are_the_largest_errors_that_the_rows_allow(seed, m):
    rng = np.random.default_rng(seed)
    rows, r, test, lam, inside = (
        rng.standard_normal((m, 4)),
        rng.standard_normal(4),
        rng.standard_normal((1, 4)),
        0.3,
        1 - 1e-7,
    )
    H_S = rows.T @ rows + lam * np.eye(4)
    z, toward = np.linalg.solve(H_S, r), np.linalg.solve(H_S, test[0])
    radius = np.sqrt(r @ z / (test[0] @ toward)) / 2
    for sign in (1.0, -1.0):
        error = z / 2 + sign * inside * radius * toward
        Phi = one_more_row(rows, r, lam, error)
        np.testing.assert_allclose((Phi.T @ Phi + lam * np.eye(4)) @ error, r, rtol=TOL["apart"], atol=TOL["apart"])
        found = c.error_interval(test, Phi, np.arange(m), r, lam)
        edge = found.centre + sign * found.half_width
        np.testing.assert_allclose(test @ error, edge, rtol=TOL["apart"], atol=TOL["apart"])


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_the_training_bound_by_rows_is_the_largest_that_the_rows_allow(seed, m):
    rng = np.random.default_rng(seed)
    rows, r, lam = rng.standard_normal((m, 4)), rng.standard_normal(4), 0.3
    H_S = rows.T @ rows + lam * np.eye(4)
    bound = c.training_rms_bound_by_rows(np.vstack([rows, np.ones((1, 4))]), np.arange(m), r, lam)
    # Maximise r^T d - lam |d|^2 over d^T H_S d <= r^T d by its own optimality condition, a bisection in the multiplier.
    low, high = 0.0, 1e8
    for _ in range(200):
        mu = (low + high) / 2
        d = (1 + mu) / 2 * np.linalg.solve(lam * np.eye(4) + mu * H_S, r)
        low, high = (mu, high) if d @ H_S @ d > r @ d else (low, mu)
    d = (1 - 1e-7) * d
    Phi = one_more_row(rows, r, lam, d)
    np.testing.assert_allclose(np.sum((Phi @ d) ** 2), (m + 1) * bound**2, rtol=10 * TOL["apart"])


@given(problems())
def test_pointwise(problem):
    Phi, y, w, lam, test, subset = problem
    r, errors = c.residual(Phi, y, w, lam), test @ error_of(problem)
    b0, b3 = c.pointwise_bound(test, r, lam), c.pointwise_bound_by_rows(test, Phi, subset, r, lam)
    centred, interval = (
        c.pointwise_bound_centred(test, Phi, subset, r, lam),
        c.error_interval(test, Phi, subset, r, lam),
    )
    assert at_most(np.abs(errors), centred)
    assert at_most(centred, b3)
    assert at_most(b3, b0)
    assert at_most(np.abs(errors - interval.centre), interval.half_width)
    if subset.size == 0:
        np.testing.assert_allclose(b3, b0, **CLOSE)


@given(problems())
def test_held_out_rms(problem):
    Phi, y, w, lam, test, subset = problem
    r, truth = c.residual(Phi, y, w, lam), c.rms(test, error_of(problem))
    b3 = c.pointwise_bound_by_rows(test, Phi, subset, r, lam)
    bound, centred = (f(test, Phi, subset, r, lam) for f in (c.held_out_rms_bound, c.held_out_rms_bound_centred))
    assert at_most(truth, centred)
    assert at_most(centred, bound)
    assert at_most(bound, np.sqrt(np.mean(b3**2)))
    if len(test) == 1:
        np.testing.assert_allclose(bound, b3[0], **CLOSE)


@given(problems(), st.booleans())
def test_a_contraction_serves_as_rows_and_a_longer_one_does_not(problem, plain):
    Phi, y, w, lam, test, subset = problem
    rng = np.random.default_rng(len(Phi))
    U = np.eye(len(Phi))[:, subset] if plain and subset.size else orthonormal(len(Phi), 1, rng=rng)
    r, errors = c.residual(Phi, y, w, lam), test @ error_of(problem)
    bound = c.pointwise_bound_by_rows(test, Phi, U, r, lam)
    assert at_most(np.abs(errors), bound)
    if plain and subset.size:
        np.testing.assert_allclose(bound, c.pointwise_bound_by_rows(test, Phi, subset, r, lam), **CLOSE)
    with pytest.raises(ValueError, match=r"subset: expected a contraction of the training rows, got \|U\|_2 = 1.01"):
        c.pointwise_bound_by_rows(test, Phi, 1.01 * U, r, lam)


def test_b3_is_attained_with_all_rows_in_the_direction_of_the_residual():
    rng = np.random.default_rng(0)
    Phi, y, w, lam = rng.standard_normal((3, 4)), rng.standard_normal(3), rng.standard_normal(4), 0.1
    r = c.residual(Phi, y, w, lam)
    error = w - ridge.ridge_weights(Phi, y, lam)
    np.testing.assert_allclose(c.pointwise_bound_by_rows(r[None], Phi, [0, 1, 2], r, lam), [r @ error], **CLOSE)
    np.testing.assert_allclose(c.residual_energy(Phi, r, lam), 2 * c.excess(Phi, y, w, lam), **CLOSE)


def test_b0_is_attained_outside_the_span_of_the_data():
    r = c.residual([[1.0, 0.0]], [0.0], [0.0, 3.0], 0.5)
    np.testing.assert_allclose(c.pointwise_bound([[0.0, 2.0]], r, 0.5), [6.0], **HAND)


def test_rows_outside_the_training_set_certify_falsely():
    Phi, y, w, lam = np.array([[1.0, 0.0]]), np.array([0.0]), np.array([0.0, 1.0]), 1.0
    distilled, test = np.array([[0.0, 10.0]]), np.array([[0.0, 1.0]])
    r, truth = c.residual(Phi, y, w, lam), 1.0
    scale = np.sqrt(1 - 100 / 101)  # the twin: s_S and q of B3 with the distilled row in place of training rows
    assert scale * np.sqrt(c.residual_energy(distilled, r, lam)) < 0.1 * truth
    assert c.pointwise_bound_by_rows(test, Phi, [0], r, lam) >= truth


@given(problems())
def test_conjugate_gradients_end_at_the_optimum_and_carry_the_residual_there(problem):
    Phi, y, w, lam, *_ = problem
    start = c.conjugate_gradients(Phi, y, w, lam, 0)
    np.testing.assert_array_equal(start.weights, w)
    np.testing.assert_array_equal(start.recursive_residual, c.residual(Phi, y, w, lam))
    one = c.conjugate_gradients(Phi, y, w, lam, 1)
    np.testing.assert_allclose(one.recursive_residual, c.residual(Phi, y, one.weights, lam), **CLOSE)
    assert differs(one.recursive_residual, start.recursive_residual)
    # In exact arithmetic P steps are enough; rounding costs some more.
    end = c.conjugate_gradients(Phi, y, w, lam, 4 * len(w))
    np.testing.assert_allclose(end.weights, ridge.ridge_weights(Phi, y, lam), **CLOSE)


def test_conjugate_gradients_by_hand():
    Phi, y = np.diag([2.0, 0.0]), np.zeros(2)  # H = diag(5, 1), r = (5, 5), one step of 1/3
    one = c.conjugate_gradients(Phi, y, [1.0, 5.0], 1.0, 1)
    np.testing.assert_allclose(one.weights, [-2 / 3, 10 / 3], **HAND)
    np.testing.assert_allclose(one.recursive_residual, [-10 / 3, 10 / 3], **HAND)
    two = c.conjugate_gradients(Phi, y, [1.0, 5.0], 1.0, 2)
    np.testing.assert_allclose(two.weights, [0.0, 0.0], atol=HAND["atol"])
    done = c.conjugate_gradients(
        Phi, y, [0.0, 0.0], 1.0, 5
    )  # at the optimum nothing moves, and nothing is divided by zero
    assert done.weights.tolist() == done.recursive_residual.tolist() == [0.0, 0.0]


def test_the_recursive_residual_of_cg_certifies_falsely():
    sizes, lam = np.array([1e3, 3e2, 30.0, 3.0, 1.0]), 1e-2
    Phi, y = np.diag(sizes), np.ones(5)
    found = c.conjugate_gradients(Phi, y, np.zeros(5), lam, 40)
    truth = np.linalg.norm(
        found.weights - sizes / (sizes**2 + lam)
    )  # the optimum of a diagonal problem, to the last digit
    assert truth > 0
    assert c.weights_bound(found.recursive_residual, lam) < 1e-3 * truth
    slack = c.rounding_allowance(Phi, y, found.weights, lam, c.accumulated_rounding(12, UNIT_64))
    assert (np.linalg.norm(c.residual(Phi, y, found.weights, lam)) + slack) / lam >= truth


def test_the_recursive_residual_certifies_falsely_with_the_allowance_too():
    Phi, y, lam = np.array([[1.0]]), np.array([1.0]), 2.0
    found = c.conjugate_gradients(Phi, y, [2.0**30], lam, 1)
    slack = c.rounding_allowance(Phi, y, found.weights, lam, c.accumulated_rounding(4, UNIT_64))
    assert found.recursive_residual.tolist() == [0.0]
    assert c.residual(Phi, y, found.weights, lam).tolist() == [2.0**-23]
    assert slack < 1e-8 * 2.0**-23


UNIT_32, UNIT_64 = 2.0**-24, 2.0**-53


@given(problems())
def test_the_allowance_covers_float32(problem):
    Phi, y, w, lam, *_ = (np.float32(part) if np.ndim(part) else part for part in problem)
    computed = Phi.T @ (Phi @ w - y) + np.float32(lam) * w
    exact = c.residual(Phi, y, w, float(np.float32(lam)))
    share = c.accumulated_rounding(sum(Phi.shape) + 2, UNIT_32)
    assert np.linalg.norm(computed - exact) <= c.rounding_allowance(Phi, y, w, lam, share)


def test_one_rounding_does_not_cover_a_long_sum_of_small_terms():
    y = np.float32([1.0, *15 * [UNIT_32]])
    lost = np.float32(0)
    for term in y:
        lost = lost + term
    Phi, w = np.ones((16, 1)), np.zeros(1)
    error = abs(float(lost) + c.residual(Phi, y, w, 1.0)[0])
    assert error == 15 * UNIT_32
    assert c.rounding_allowance(Phi, y, w, 1.0, 2 * UNIT_32) < error  # also of twice the unit
    assert error <= c.rounding_allowance(Phi, y, w, 1.0, c.accumulated_rounding(19, UNIT_32))


def test_accumulated_rounding_bounds_every_product_of_roundings():
    for count in range(5):
        bound = c.accumulated_rounding(count, 0.125)
        assert max((1 + 0.125) ** count - 1, 1 - (1 - 0.125) ** count) <= bound
    assert c.accumulated_rounding(0, 0.125) == 0.0
    assert c.accumulated_rounding(4, 0.125) == 1.0
    assert (1 + 0.125) ** 2 - 1 > 2 * 0.125  # the twin without the division


REFUSED = [
    (lambda: c.fidelity_error([[1.0]], [1.0, 2.0], [[1.0]], 1.0), "network_weights: expected length 1"),
    (lambda: c.fidelity_bound([[1.0]], -1.0, [[1.0]], 1.0), "network_norm: expected a number that is 0 or above"),
    (lambda: c.certified([[1.0]], [[-1.0]]), "smallest of bounds: expected a number that is 0 or above"),
    (lambda: c.residual([[1.0]], [1.0], [1.0], 0.0), "lam: expected a number above 0, got 0.0"),
    (lambda: c.residual([[1.0]], [1.0], [1.0, 1.0], 1.0), "weights: expected length 1, got length 2"),
    (lambda: c.rounding_allowance([[1.0]], [1.0], [1.0], 1.0, 0.0), "unit: expected a number above 0"),
    (lambda: c.accumulated_rounding(2, 0.5), r"roundings \* unit: expected a number in \[0, 1\), got 1.0"),
    (lambda: c.accumulated_rounding(-1, 0.5), "roundings: expected an integer"),
    (lambda: c.conjugate_gradients([[1.0]], [1.0], [1.0], 1.0, -1), "steps: expected an integer"),
    (lambda: c.training_rms_bound([1.0], 1.0, 0), "n: expected an integer in"),
    (lambda: c.residual_energy([[1.0]], [1.0], 1.0, shift=0.0), "shift: expected a number above 0"),
    (lambda: c.pointwise_bound_by_rows([[1.0]], [[1.0]], [0, 0], [1.0], 1.0), r"subset: expected distinct rows in \[0, 0\]"),
    (lambda: c.pointwise_bound_by_rows([[1.0]], [[1.0]], [1], [1.0], 1.0), r"rows in \[0, 0\], got \[1\]"),
    (lambda: c.error_interval([[1.0]], [[1.0]], [[1.0], [1.0]], [1.0], 1.0), "subset: expected 1 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_floats_are_no_row_numbers():
    with pytest.raises(TypeError, match="subset: expected integer labels, got dtype float64"):
        c.pointwise_bound_by_rows([[1.0]], [[1.0]], [0.0], [1.0], 1.0)


def test_more_terms_leave_more_to_rounding():
    """The same product among 100,000 zeros is bounded a little higher: a sum of so many terms may be so far off."""
    few = c.pointwise_bound([[3.0]], [4.0], 1.0)
    many = c.pointwise_bound([[3.0, *np.zeros(99_999)]], [4.0, *np.zeros(99_999)], 1.0)
    assert 1e-12 < float(many[0] / few[0] - 1) < 1e-9
