"""Ridge regression: every identity of A.3, 4.4, 5.2, 9.5 and Theorem R by a second route, with twins that must fail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import ridge
from tests.ref.sides import CLOSE, differs
from tests.tolerances import TOL


@st.composite
def problems(draw, rows=(1, 6), columns=(1, 6)):
    """Gaussian features (n, k), targets (n,), a ridge between 1e-2 and 1e1; every third instance repeats a row."""
    n, k = draw(st.integers(*rows)), draw(st.integers(*columns))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Phi = rng.standard_normal((n, k))
    if draw(st.integers(0, 2)) == 0:
        Phi[-1] = Phi[0]
    return Phi, rng.standard_normal(n), 10.0 ** draw(st.integers(-2, 1))


# A.3: Eqs (16) to (18)


@given(problems())
def test_dual_coefficients_solve_equation_16(problem):
    Phi, y, lam = problem
    K = Phi @ Phi.T
    alpha = ridge.dual_coefficients(K, y, lam)
    np.testing.assert_allclose(K @ alpha + lam * alpha, y, **CLOSE)
    assert differs(K @ alpha + 2 * lam * alpha, y)


@given(problems())
def test_primal_and_dual_are_one_predictor(problem):
    Phi, y, lam = problem
    w = ridge.ridge_weights(Phi, y, lam)
    np.testing.assert_allclose(w, Phi.T @ ridge.dual_coefficients(Phi @ Phi.T, y, lam), **CLOSE)
    new = np.ones((2, Phi.shape[1])) * [[1.0], [-2.0]]
    np.testing.assert_allclose(ridge.dual_prediction(new @ Phi.T, Phi @ Phi.T, y, lam), new @ w, **CLOSE)
    assert differs(ridge.ridge_weights(Phi, y, 2 * lam), w) or np.allclose(Phi.T @ y, 0)


@given(problems())
def test_woodbury_equals_the_inverse(problem):
    Phi, _, lam = problem
    left = ridge.dual_inverse(Phi @ Phi.T, lam)
    np.testing.assert_allclose(ridge.woodbury_inverse(Phi, lam), left, rtol=TOL["float64"], atol=TOL["float64"] / lam)
    np.testing.assert_allclose(left @ (Phi @ Phi.T + lam * np.eye(len(Phi))), np.eye(len(Phi)), **CLOSE)
    assert differs(ridge.woodbury_inverse(Phi, lam), ridge.woodbury_inverse(Phi, 3 * lam))


@given(problems(), st.integers(0, 2**32 - 1))
def test_ridge_weights_minimise_the_objective(problem, seed):
    Phi, y, lam = problem
    w = ridge.ridge_weights(Phi, y, lam)
    step = np.random.default_rng(seed).standard_normal(w.size)
    here, there = ridge.objective(Phi, y, w, lam), ridge.objective(Phi, y, w + step, lam)
    # J(w + d) - J(w) = (|Phi d|^2 + lam |d|^2) / 2 exactly, because the gradient vanishes at w.
    rise = (np.sum((Phi @ step) ** 2) + lam * np.sum(step**2)) / 2
    np.testing.assert_allclose(there - here, rise, **CLOSE)
    assert ridge.objective(Phi, y, w + step, lam) > here


def test_the_objective_by_hand():
    assert ridge.objective([[1, 2], [0, 1]], [1, 5], [1, 1], 0.5) == (2**2 + 4**2 + 0.5 * 2) / 2


# The three normalisations of section 0


@given(problems())
def test_the_three_normalisations_agree_at_converted_ridges(problem):
    Phi, y, lam = problem
    n, k = Phi.shape
    w = ridge.ridge_weights(Phi, y, lam)
    np.testing.assert_allclose(ridge.mean_ridge_weights(Phi, y, ridge.lam_to_mean(lam, n)), w, **CLOSE)
    scaled = ridge.scaled_dual_coefficients(Phi, y, ridge.lam_to_scaled(lam, k))
    np.testing.assert_allclose(Phi.T @ scaled / k, w, **CLOSE)
    assert ridge.lam_from_mean(ridge.lam_to_mean(lam, n), n) == pytest.approx(lam, rel=TOL["hand"])
    assert ridge.lam_from_scaled(ridge.lam_to_scaled(lam, k), k) == pytest.approx(lam, rel=TOL["hand"])


def test_an_unconverted_ridge_gives_another_predictor():
    Phi, y = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), np.array([1.0, 0.0, 2.0])
    assert differs(ridge.mean_ridge_weights(Phi, y, 1.0), ridge.ridge_weights(Phi, y, 1.0))
    assert differs(Phi.T @ ridge.scaled_dual_coefficients(Phi, y, 1.0) / 2, ridge.ridge_weights(Phi, y, 1.0))
    assert (ridge.lam_from_mean(0.5, 3), ridge.lam_from_scaled(0.5, 2)) == (1.5, 1.0)
    assert (ridge.lam_to_mean(1.5, 3), ridge.lam_to_scaled(1.0, 2)) == (0.5, 0.5)


# Selected eigenvectors and rank-r substitution


@given(problems(rows=(2, 6), columns=(2, 6)), st.data())
def test_selected_weights_are_ridge_regression_on_the_projected_problem(problem, data):
    Phi, y, lam = problem
    chosen = data.draw(st.lists(st.integers(0, len(Phi) - 1), unique=True))
    U = ridge.eigenpairs(Phi @ Phi.T).vectors[:, chosen]
    P = U @ U.T
    w = ridge.selected_weights(Phi, y, lam, chosen)
    np.testing.assert_allclose(w, ridge.ridge_weights(P @ Phi, P @ y, lam), **CLOSE)
    full = ridge.ridge_weights(Phi, y, lam)
    error = ridge.selection_error(Phi @ Phi.T, y, lam, chosen)
    np.testing.assert_allclose(np.sum((full - w) ** 2), error, **CLOSE)


@given(problems(rows=(2, 6), columns=(2, 6)), st.data())
def test_rank_r_weights_take_the_leading_eigenvectors(problem, data):
    Phi, y, lam = problem
    r = data.draw(st.integers(1, len(Phi)))
    left, sigma, right = np.linalg.svd(Phi, full_matrices=False)
    q = min(r, sigma.size)
    expected = right[:q].T @ (sigma[:q] / (sigma[:q] ** 2 + lam) * (left[:, :q].T @ y))
    np.testing.assert_allclose(ridge.rank_r_weights(Phi, y, lam, r), expected, **CLOSE)


def test_the_trailing_eigenvector_is_another_selection():
    Phi, y = np.diag([2.0, 1.0]), np.ones(2)
    assert differs(ridge.selected_weights(Phi, y, 1.0, [1]), ridge.rank_r_weights(Phi, y, 1.0, 1))
    assert ridge.selection_error(Phi @ Phi.T, y, 1.0, [1]) == pytest.approx(4 / 25, rel=TOL["hand"])
    assert ridge.selection_error(Phi @ Phi.T, y, 1.0, [0, 1]) == 0.0


def test_cex_12_unmatched_substitution_explodes_and_matched_does_not():
    K, y, cross = np.diag([1.0, 0.01]), np.array([0.0, 1.0]), np.array([[0.0, 0.01]])
    assert ridge.dual_prediction(cross, K, y, 1e-3)[0] == pytest.approx(10 / 11, rel=TOL["hand"])
    assert ridge.rank_r_unmatched(cross, K, y, 1e-3, 1)[0] == pytest.approx(10.0, rel=TOL["hand"])
    assert ridge.rank_r_matched(cross, K, y, 1e-3, 1)[0] == pytest.approx(0.0, abs=TOL["hand"])


@given(problems(rows=(2, 6), columns=(2, 6)), st.data())
def test_rank_r_substitution_splits_exactly(problem, data):
    Phi, y, lam = problem
    K, r = Phi @ Phi.T, data.draw(st.integers(1, len(Phi)))
    cross = np.ones((1, Phi.shape[1])) @ Phi.T
    split = ridge.rank_r_split(cross, K, y, lam, r)
    scale = {"rtol": TOL["float64"], "atol": TOL["float64"] / lam}
    np.testing.assert_allclose(ridge.rank_r_unmatched(cross, K, y, lam, r), split.kept + split.left_over, **scale)
    np.testing.assert_allclose(ridge.rank_r_matched(cross, K, y, lam, r), split.kept, **scale)
    weights = ridge.rank_r_weights(Phi, y, lam, r)
    np.testing.assert_allclose(split.kept, np.ones((1, Phi.shape[1])) @ weights, **scale)


# 5.2 and 9.5


@given(problems())
def test_filtered_fit_is_the_fit_and_the_filter_is_bounded(problem):
    Phi, y, lam = problem
    K = Phi @ Phi.T
    np.testing.assert_allclose(ridge.filtered_fit(K, y, lam), K @ ridge.dual_coefficients(K, y, lam), **CLOSE)
    factors, values = ridge.filter_factors(K, lam), ridge.eigenpairs(K).values
    assert (factors <= values / lam).all()
    assert (np.diff(factors) <= 0).all()
    assert factors.min() >= 0
    assert factors.max() < 1


@given(problems(rows=(2, 6)))
def test_leave_one_out_without_refitting_equals_refitting(problem):
    Phi, y, lam = problem
    K = Phi @ Phi.T
    direct = ridge.leave_one_out_by_refitting(K, y, lam)
    np.testing.assert_allclose(ridge.leave_one_out(K, y, lam), direct, **CLOSE)
    third = [y[i] - Phi[i] @ ridge.ridge_weights(np.delete(Phi, i, 0), np.delete(y, i), lam) for i in range(len(y))]
    np.testing.assert_allclose(direct, third, **CLOSE)


def test_training_residuals_are_not_leave_one_out_residuals():
    K, y = np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([2.0, 0.0])
    assert differs(y - K @ ridge.dual_coefficients(K, y, 1.0), ridge.leave_one_out(K, y, 1.0))


@given(problems(), st.data())
def test_leverage_sums_to_the_effective_dimension_and_subsets_over_estimate_it(problem, data):
    Phi, _, lam = problem
    K, n = Phi @ Phi.T, len(Phi)
    scores = ridge.leverage(K, lam)
    np.testing.assert_allclose(scores.sum(), ridge.effective_dimension(K, lam), **CLOSE)
    primal = np.linalg.inv(Phi.T @ Phi + lam * np.eye(Phi.shape[1]))
    np.testing.assert_allclose(scores, np.einsum("ip,pq,iq->i", Phi, primal, Phi), **CLOSE)
    subset = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    over = ridge.leverage_over_estimate(K, subset, lam)
    assert (over >= scores - TOL["float64"] / lam).all()
    np.testing.assert_allclose(
        ridge.leverage_over_estimate(K, range(n), lam), scores, rtol=TOL["float64"], atol=TOL["float64"] / lam
    )
    np.testing.assert_allclose(ridge.leverage_over_estimate(K, [], lam), np.diag(K) / lam, **CLOSE)


def test_a_point_outside_the_training_rows_may_under_estimate_leverage():
    # The same formula with a "subset" row twice as long as the training row: 1/5 lies below the leverage 1/2.
    assert ridge.leverage_over_estimate([[1, 2], [2, 4]], [1], 1.0)[0] == pytest.approx(1 / 5, rel=TOL["hand"])
    assert ridge.leverage([[1]], 1.0)[0] == 0.5


@given(problems(rows=(2, 6)), st.integers(1, 5))
def test_effective_dimension_lies_between_its_bounds(problem, rank):
    Phi, _, lam = problem
    K = Phi @ Phi.T
    basis = np.linalg.qr(np.random.default_rng(rank).standard_normal((Phi.shape[1], min(rank, Phi.shape[1]))))[0]
    low = Phi @ basis @ basis.T @ Phi.T
    exact, slack = ridge.effective_dimension(K, lam), TOL["float64"] / lam
    assert ridge.effective_dimension(low, lam) <= exact + slack
    assert exact <= ridge.effective_dimension_upper(K, low, lam) + slack
    half = ridge.effective_dimension(low, lam) + np.trace(K - low) / (2 * lam)
    assert half < ridge.effective_dimension_upper(K, low, lam) or np.allclose(low, K)


def test_half_the_trace_term_is_no_upper_bound():
    # K = 1/10, nothing kept, lam = 1: d_eff = 1/11 above 1/20.
    assert ridge.effective_dimension([[0.1]], 1.0) > 0.1 / 2
    assert ridge.effective_dimension([[0.1]], 1.0) < ridge.effective_dimension_upper([[0.1]], [[0.0]], 1.0)


# The grid and the rule


def test_grid_is_relative_to_the_mean_diagonal_of_all_classes():
    grid = ridge.ridge_grid([[[1, 0], [0, 3]], [[5, 0], [0, 7]]])
    np.testing.assert_allclose(grid, 4 * 10.0 ** np.arange(-6, 2), rtol=TOL["hand"])
    np.testing.assert_allclose(ridge.ridge_grid([[4]]), grid, rtol=TOL["hand"])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 6))
def test_chosen_ridge_is_the_largest_within_one_standard_error(seed, L, n):
    losses = np.random.default_rng(seed).uniform(size=(L, n))
    grid = 2.0 ** np.arange(L)
    found = ridge.choose_ridge(losses, grid)
    means = losses.mean(axis=1)
    best = losses[means.argmin()]
    bound = means.min() + np.sqrt(np.sum((best - best.mean()) ** 2) / (n - 1) / n)
    assert found.loss == means[found.index] <= bound
    assert (means[found.index + 1 :] > bound).all()
    assert found.lam == grid[found.index]
    assert found.on_edge == (found.index in (0, L - 1))
    assert found.standard_error == pytest.approx(bound - means.min(), rel=TOL["float64"], abs=TOL["hand"])


def test_chosen_ridge_by_hand():
    found = ridge.choose_ridge([[9, 9], [1, 3], [2, 4], [3, 4]], [1, 2, 3, 4])
    # The best mean is 2, its standard deviation sqrt(2), its standard error 1: mean 3 is within, 3.5 is not.
    assert (found.lam, found.index, found.loss, found.on_edge) == (3.0, 2, 3.0, False)
    assert found.standard_error == pytest.approx(1.0, rel=TOL["hand"])


# Theorem R


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4))
def test_theorem_r_logits_are_linear_in_their_gradient(seed, C, d):
    rng = np.random.default_rng(seed)
    A, W, b = rng.standard_normal((d, 2)), rng.standard_normal((C, d)), rng.standard_normal(C)
    x = rng.standard_normal((5, 2))
    h = np.tanh(x @ A.T)
    logits = h @ W.T + b
    weights = ridge.head_weights(W, b, body=A.size)
    for c in range(C):
        body = ((W[c] * (1 - h**2))[:, :, None] * x[:, None, :]).reshape(5, -1)
        heads = np.zeros((5, C, d))
        heads[:, c] = h
        phi = np.hstack([body, heads.reshape(5, -1), np.tile(np.eye(C)[c], (5, 1))])
        np.testing.assert_allclose(phi @ weights[c], logits[:, c], **CLOSE)
        own = ridge.head_gradient(h)
        np.testing.assert_allclose(own @ np.append(W[c], b[c]), logits[:, c], **CLOSE)
        np.testing.assert_allclose(own @ own.T, h @ h.T + 1, **CLOSE)
        assert np.linalg.norm(weights[c]) == pytest.approx(np.linalg.norm(np.append(W[c], b[c])), rel=TOL["hand"])
        assert differs(phi @ np.roll(weights[c], 1), logits[:, c])


@given(st.integers(0, 2**32 - 1))
def test_homogeneous_nets_have_the_norm_bound(seed):
    # f(x) = a b x is homogeneous of degree one in each of two layers: gradient (b x, a x).
    a, b = np.random.default_rng(seed).uniform(0.5, 2.0, size=2)
    bound = ridge.homogeneous_norm_bound([a, b])
    # The shortest w with (b, a) w = a b has length |a b| / |(b, a)|: here the bound is attained.
    assert bound == pytest.approx(a * b / np.hypot(a, b), rel=TOL["hand"])
    assert bound < min(a, b)
    for scale in (1e-200, 1e200):
        assert ridge.homogeneous_norm_bound([scale * a, scale * b]) == pytest.approx(scale * bound, rel=TOL["hand"])
    assert ridge.homogeneous_norm_bound([1e-200, 1.0]) == 1e-200


# Refusals

K2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ridge.eigenpairs([[0, 1], [2, 0]]), "kernel: expected a symmetric matrix"),
        (lambda: ridge.dual_inverse(K2, 0.0), "lam: expected a number above 0, got 0.0"),
        (lambda: ridge.woodbury_inverse(K2, -1.0), "lam: expected a number above 0, got -1.0"),
        (lambda: ridge.dual_coefficients(K2, [1], 1.0), "targets: expected length 2, got length 1"),
        (lambda: ridge.dual_coefficients(K2, [1, 1], 0.0), "lam: expected a number above 0"),
        (lambda: ridge.dual_prediction([[1, 2, 3]], K2, [1, 1], 1.0), "cross: expected 2 columns"),
        (lambda: ridge.ridge_weights(K2, [1, np.nan], 1.0), "targets: expected finite entries"),
        (lambda: ridge.ridge_weights(K2, [1, 1], 0.0), "lam: expected a number above 0"),
        (lambda: ridge.objective(K2, [1, 1], [1], 1.0), "weights: expected length 2"),
        (lambda: ridge.objective(K2, [1, 1], [1, 1], 0.0), "lam: expected a number above 0"),
        (lambda: ridge.mean_ridge_weights(K2, [1, 1], 0.0), "lam_mean: expected a number above 0"),
        (lambda: ridge.mean_ridge_weights(K2, [1], 1.0), "targets: expected length 2"),
        (lambda: ridge.scaled_dual_coefficients(K2, [1, 1], 0.0), "lam_scaled: expected a number above 0"),
        (lambda: ridge.lam_from_mean(0.0, 1), "lam_mean: expected a number above 0"),
        (lambda: ridge.lam_from_mean(1.0, 0), "n: expected an integer in"),
        (lambda: ridge.lam_to_mean(0.0, 1), "lam: expected a number above 0"),
        (lambda: ridge.lam_to_mean(1.0, 0), "n: expected an integer in"),
        (lambda: ridge.lam_from_scaled(0.0, 1), "lam_scaled: expected a number above 0"),
        (lambda: ridge.lam_from_scaled(1.0, 0), "k: expected an integer in"),
        (lambda: ridge.lam_to_scaled(0.0, 1), "lam: expected a number above 0"),
        (lambda: ridge.lam_to_scaled(1.0, 0), "k: expected an integer in"),
        (lambda: ridge.selected_weights(K2, [1, 1], 1.0, [2]), r"selected: expected distinct integers in \[0, 1\]"),
        (lambda: ridge.selected_weights(K2, [1, 1], 1.0, [-1]), "selected: expected distinct integers"),
        (lambda: ridge.selected_weights(K2, [1, 1], 0.0, [0]), "lam: expected a number above 0"),
        (lambda: ridge.selection_error(K2, [1, 1], 1.0, [0, 0]), "selected: expected distinct integers"),
        (lambda: ridge.selection_error(K2, [1, 1], 0.0, [0]), "lam: expected a number above 0"),
        (lambda: ridge.rank_r_weights(K2, [1, 1], 1.0, 3), r"r: expected an integer in \[1, 2\]"),
        (lambda: ridge.rank_r_unmatched([[1, 1]], K2, [1, 1], 1.0, 0), r"r: expected an integer in \[1, 2\]"),
        (lambda: ridge.rank_r_unmatched([[1, 1]], K2, [1, 1], 0.0, 1), "lam: expected a number above 0"),
        (lambda: ridge.rank_r_split([[1, 1]], K2, [1, 1], 1.0, 0), r"r: expected an integer in \[1, 2\]"),
        (lambda: ridge.rank_r_split([[1]], K2, [1, 1], 1.0, 1), "cross: expected 2 columns"),
        (lambda: ridge.rank_r_split([[1, 1]], K2, [1, 1], 0.0, 1), "lam: expected a number above 0"),
        (lambda: ridge.rank_r_matched([[1, 1]], K2, [1, 1], 1.0, 3), r"r: expected an integer in \[1, 2\]"),
        (lambda: ridge.rank_r_matched([[1]], K2, [1, 1], 1.0, 1), "cross: expected 2 columns"),
        (lambda: ridge.filter_factors(K2, 0.0), "lam: expected a number above 0"),
        (lambda: ridge.filtered_fit(K2, [1], 1.0), "targets: expected length 2"),
        (lambda: ridge.leave_one_out(K2, [1], 1.0), "targets: expected length 2"),
        (lambda: ridge.leave_one_out_by_refitting([[1]], [1], 1.0), "number of examples: expected an integer in"),
        (lambda: ridge.leverage(K2, 0.0), "lam: expected a number above 0"),
        (lambda: ridge.leverage_over_estimate(K2, [0, 0], 1.0), r"subset: expected distinct integers in \[0, 1\]"),
        (lambda: ridge.leverage_over_estimate(K2, [0], 0.0), "lam: expected a number above 0"),
        (lambda: ridge.effective_dimension_upper(K2, 2 * K2, 1.0), "kernel - approximation: expected a positive"),
        (lambda: ridge.effective_dimension_upper(K2, -K2, 1.0), "approximation: expected a positive"),
        (lambda: ridge.effective_dimension_upper(K2, [[1]], 1.0), "approximation: expected 2 rows"),
        (lambda: ridge.effective_dimension_upper(K2, K2, 0.0), "lam: expected a number above 0"),
        (lambda: ridge.ridge_grid([[0.0]]), "mean of the kernel's diagonal: expected a number above 0"),
        (lambda: ridge.ridge_grid([1.0]), "kernel: expected 2 axes"),
        (lambda: ridge.choose_ridge([[1, 2], [3, 4]], [1, 1]), "grid: expected ascending numbers above 0"),
        (lambda: ridge.choose_ridge([[1, 2], [3, 4]], [0, 1]), "grid: expected ascending numbers above 0"),
        (lambda: ridge.choose_ridge([[1, 2], [3, 4]], [1]), "grid: expected length 2"),
        (lambda: ridge.choose_ridge([[1], [3]], [1, 2]), "number of examples: expected an integer in"),
        (lambda: ridge.head_weights([[1, 2]], [1, 2], body=0), "bias: expected length 1"),
        (lambda: ridge.head_weights([[1, 2]], [1], body=-1), "body: expected an integer in"),
        (lambda: ridge.head_gradient([1, 2]), "hidden: expected 2 axes"),
        (lambda: ridge.homogeneous_norm_bound([1, 0]), "layer_norms: expected a number above 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_places_must_be_integers():
    with pytest.raises(TypeError, match="selected: expected integer labels"):
        ridge.selected_weights(K2, [1, 1], 1.0, [0.5])
