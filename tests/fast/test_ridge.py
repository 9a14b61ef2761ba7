"""Ridge regression of all classes: normal equations, refits and hand-computed cases on every array kind."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dntk_fast.kernels import ridge
from tests.fast.ridge_problems import as_ridge, problems
from tests.kinds import CLOSE, ROUNDED, assert_same_kind, back, gpu_kinds, kinds, to
from tests.tolerances import TOL


def transposed(stack):
    return stack.swapaxes(-1, -2)


def column(lam):
    """The ridge beside (C, n)."""
    return np.asarray(lam)[..., None]


@kinds
@given(problem=problems())
def test_ridge_weights_solve_the_normal_equations_on_either_side(kind, problem):
    Phi, y, lam = problem
    w = back(ridge.ridge_weights(to(kind, Phi), to(kind, y), as_ridge(kind, lam)))
    gradient = np.einsum("cnk,cn->ck", Phi, np.einsum("cnk,ck->cn", Phi, w) - y)
    np.testing.assert_allclose(gradient + column(lam) * w, 0 * w, **CLOSE)
    # The broken twin: the ridge of the n-scaled problem (B.1) taken for this one.
    if Phi.shape[1] > 1 and np.abs(w).max() > TOL["apart"] ** 0.5:
        assert np.abs(gradient + column(lam) * w * Phi.shape[1]).max() > TOL["apart"]


@kinds
@given(problem=problems())
def test_dual_and_primal_are_one_predictor(kind, problem):
    Phi, y, lam = problem
    K = Phi @ transposed(Phi)
    alpha = back(ridge.dual_coefficients(to(kind, K), to(kind, y), as_ridge(kind, lam)))
    np.testing.assert_allclose(np.einsum("cij,cj->ci", K, alpha) + column(lam) * alpha, y, **CLOSE)
    w = back(ridge.ridge_weights(to(kind, Phi), to(kind, y), as_ridge(kind, lam)))
    np.testing.assert_allclose(np.einsum("cnk,cn->ck", Phi, alpha), w, **CLOSE)


@kinds
@given(problem=problems(rows=(2, 6)))
def test_leave_one_out_equals_refitting_from_kernel_and_from_features(kind, problem):
    Phi, y, lam = problem
    n = Phi.shape[1]
    expected = np.empty_like(y)
    for i in range(n):
        rest = np.arange(n) != i
        w = ridge.ridge_weights(Phi[:, rest], y[:, rest], lam)
        expected[:, i] = y[:, i] - np.einsum("ck,ck->c", Phi[:, i], w)
    given_ridge = as_ridge(kind, lam)
    by_kernel = ridge.leave_one_out(to(kind, Phi @ transposed(Phi)), to(kind, y), given_ridge)
    by_features = ridge.ridge_spectrum(to(kind, Phi), to(kind, y)).leave_one_out(given_ridge)
    np.testing.assert_allclose(back(by_kernel), expected, **CLOSE)
    np.testing.assert_allclose(back(by_features), expected, **CLOSE)
    # The broken twin: ordinary residuals, which the fit has already shrunk.
    w = ridge.ridge_weights(Phi, y, lam)
    fitted = y - np.einsum("cnk,ck->cn", Phi, w)
    assert (np.abs(fitted - expected).max(axis=1) > TOL["apart"]).all()


@kinds
@given(problem=problems())
def test_paths_equal_single_solves(kind, problem):
    Phi, y, _ = problem
    grid = np.asarray([0.1, 1.0, 10.0])
    features, targets = to(kind, Phi), to(kind, y)
    path = back(ridge.ridge_path(features, targets, to(kind, grid)))
    single = [back(ridge.ridge_weights(features, targets, step)) for step in grid]
    np.testing.assert_allclose(path, single, **CLOSE)
    K = to(kind, Phi @ transposed(Phi))
    residuals = back(ridge.leave_one_out_path(K, targets, to(kind, grid)))
    np.testing.assert_allclose(residuals, [back(ridge.leave_one_out(K, targets, s)) for s in grid], **CLOSE)
    # One ridge per class: every row of the grid multiplied by 1, 2, ...
    scales = np.arange(1.0, len(Phi) + 1)
    by_class = back(ridge.ridge_path(features, targets, to(kind, grid[:, None] * scales)))
    expected = [
        back(ridge.ridge_path(to(kind, P), to(kind, t), grid * s)) for P, t, s in zip(Phi, y, scales, strict=True)
    ]
    np.testing.assert_allclose(by_class, np.stack(expected, axis=1), **CLOSE)


@kinds
@given(problem=problems(), data=st.data())
def test_the_truncated_solution_is_ridge_regression_on_projected_features(kind, problem, data):
    Phi, y, lam = problem
    r = data.draw(st.integers(1, min(Phi.shape[1:])))
    _, sigma, V = np.linalg.svd(Phi, full_matrices=False)
    energy = np.pad(sigma**2, [(0, 0), (0, 1)])
    assume((energy[:, r - 1] - energy[:, r]).min() > TOL["apart"])  # with a tie the leading eigenspace is not unique
    found = back(ridge.rank_r_weights(to(kind, Phi), to(kind, y), as_ridge(kind, lam), r))
    kept = Phi @ transposed(V[:, :r]) @ V[:, :r]
    np.testing.assert_allclose(
        found, ridge.ridge_weights(kept, y, lam), rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"]
    )


@kinds
@given(problem=problems())
def test_weighted_rows_are_repeated_rows(kind, problem):
    Phi, y, lam = problem
    repeats = np.arange(Phi.shape[1]) % 3 + 1
    expected = ridge.ridge_weights(np.repeat(Phi, repeats, axis=1), np.repeat(y, repeats, axis=1), lam)
    weights = to(kind, repeats.astype("float64"))
    found = ridge.ridge_weights(to(kind, Phi), to(kind, y), as_ridge(kind, lam), row_weights=weights)
    np.testing.assert_allclose(back(found), expected, **CLOSE)
    path = ridge.ridge_path(to(kind, Phi), to(kind, y), [1.0], row_weights=weights)
    repeated = ridge.ridge_weights(np.repeat(Phi, repeats, axis=1), np.repeat(y, repeats, axis=1), 1.0)
    np.testing.assert_allclose(back(path)[0], repeated, **CLOSE)


@kinds
@given(problem=problems(rows=(2, 6)))
def test_weighted_leave_one_out_is_the_residual_of_the_row_itself(kind, problem):
    Phi, y, lam = problem
    weights = np.linspace(0.5, 2.0, Phi.shape[1])
    spectrum = ridge.ridge_spectrum(to(kind, Phi), to(kind, y), row_weights=to(kind, weights))
    found = back(spectrum.leave_one_out(as_ridge(kind, lam)))
    w = ridge.ridge_weights(Phi[:, 1:], y[:, 1:], lam, row_weights=weights[1:])
    np.testing.assert_allclose(found[:, 0], y[:, 0] - np.einsum("ck,ck->c", Phi[:, 0], w), **CLOSE)


@kinds
@given(problem=problems())
def test_leverage_is_the_slope_of_the_fit_and_sums_to_the_effective_dimension(kind, problem):
    Phi, y, lam = problem
    K, given_ridge = to(kind, Phi @ transposed(Phi)), as_ridge(kind, lam)
    scores = back(ridge.leverage(K, given_ridge))
    # d fitted_i / d y_i: the fit is linear in the targets, so a unit target shows it.
    for i in range(Phi.shape[1]):
        unit = np.zeros_like(y)
        unit[:, i] = 1.0
        w = ridge.ridge_weights(Phi, unit, lam)
        np.testing.assert_allclose(scores[:, i], np.einsum("ck,ck->c", Phi[:, i], w), **CLOSE)
    np.testing.assert_allclose(scores.sum(axis=1), back(ridge.effective_dimension(K, given_ridge)), **CLOSE)
    spectrum = ridge.ridge_spectrum(to(kind, Phi), to(kind, y))
    np.testing.assert_allclose(back(spectrum.effective_dimension(given_ridge)), scores.sum(axis=1), **CLOSE)


@kinds
def test_the_grid_by_hand(kind):
    kernels = to(kind, np.stack([np.eye(2), 3 * np.eye(2)]))
    np.testing.assert_allclose(back(ridge.ridge_grid(kernels)), 2 * 10.0 ** np.arange(-6, 2), rtol=TOL["hand"])


def test_the_rule_takes_the_largest_ridge_within_one_standard_error():
    # Means 1, 1, 2, 4; the best row is constant in half of its points: standard deviation 2 / sqrt(3), error 1 / sqrt(3).
    losses = np.asarray([[0.0, 0.0, 2.0, 2.0], [1.0] * 4, [1.5] * 4, [4.0] * 4])
    choice = ridge.choose_ridge(losses, [0.1, 1.0, 10.0, 100.0])
    assert (choice.lam, choice.index, choice.loss, choice.on_edge) == (10.0, 2, 1.5, False)
    assert choice.standard_error == pytest.approx(3**-0.5, rel=TOL["hand"])
    narrow = ridge.choose_ridge(losses[1:], [0.1, 1.0, 10.0])
    assert (narrow.lam, narrow.on_edge) == (0.1, True)


@kinds
@pytest.mark.parametrize("shape", [(2, 8, 3), (2, 3, 8)])
def test_float32_with_fewer_features_than_rows_is_solved_in_float64(kind, shape):
    rng = np.random.default_rng(5)
    Phi, y = (rng.standard_normal(s).astype("float32") for s in (shape, shape[:2]))
    features, targets = to(kind, Phi, "float32"), to(kind, y, "float32")
    # Rank 3 of 8, and a ridge of the size of the rounding of a float32 kernel.
    lam = 1e-6 * float((Phi**2).sum(axis=-1).mean())
    expected = ridge.ridge_weights(Phi.astype("float64"), y.astype("float64"), lam)
    found = ridge.ridge_weights(features, targets, lam)
    assert_same_kind(found, features)
    np.testing.assert_allclose(back(found), expected, **ROUNDED)
    np.testing.assert_allclose(back(ridge.ridge_path(features, targets, [lam]))[0], expected, **ROUNDED)
    if shape[1] > shape[2]:  # the broken twin: the dual solve in float32
        dual = (Phi @ transposed(Phi) + np.float32(lam) * np.eye(shape[1], dtype="float32")).astype("float32")
        twin = np.einsum("cnk,cn->ck", Phi, np.linalg.solve(dual, y[..., None])[..., 0])
        assert np.abs(twin - expected).max() > 1e3 * TOL["rounded_to_float32"]


@kinds
def test_one_class_has_no_leading_axis(kind):
    features, targets = to(kind, np.asarray([[2.0], [0.0]])), to(kind, np.asarray([9.0, 5.0]))
    assert ridge.ridge_weights(features, targets, 5.0).shape == (1,)
    assert ridge.ridge_path(features, targets, [1.0, 2.0]).shape == (2, 1)
    assert ridge.ridge_spectrum(features, targets).leave_one_out(1.0).shape == (2,)


PHI, Y, K = np.ones((2, 3, 4)), np.ones((2, 3)), np.stack([np.eye(3)] * 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ridge.ridge_weights(PHI, Y, -1.0), ValueError, r"lam: expected a number above 0, got -1.0"),
        (lambda: ridge.ridge_weights(PHI, Y, 0.0), ValueError, r"lam: expected a number above 0, got 0.0"),
        (lambda: ridge.ridge_weights(PHI, Y, [1.0, 1.0]), TypeError, r"lam: expected a real number"),
        (lambda: ridge.ridge_weights(PHI, Y, np.ones(3)), ValueError, r"lam: expected shape \(2\), got shape \(3,\)"),
        (lambda: ridge.ridge_weights(PHI, Y, np.asarray([1.0, -2.0])), ValueError, r"lam: expected numbers above 0"),
        (lambda: ridge.ridge_weights(PHI, Y[:, :2], 1.0), ValueError, r"targets: expected shape \(2, 3\), got"),
        (
            lambda: ridge.ridge_weights(PHI, to("torch", Y), 1.0),
            TypeError,
            r"targets: expected an array of the kind nd",
        ),
        (lambda: ridge.ridge_weights(PHI * np.nan, Y, 1.0), ValueError, r"features: expected finite entries"),
        (
            lambda: ridge.ridge_weights(PHI, Y, 1.0, row_weights=np.asarray([1.0, 0.0, 1.0])),
            ValueError,
            r"row_weights: expected numbers above 0",
        ),
        (lambda: ridge.dual_coefficients(PHI, Y, 1.0), ValueError, r"kernel: expected square matrices"),
        (lambda: ridge.rank_r_weights(PHI, Y, 1.0, 4), ValueError, r"r: expected an integer in \[1, 3\], got 4"),
        (lambda: ridge.ridge_path(PHI, Y, []), ValueError, r"grid: expected at least one lam, got none"),
        (lambda: ridge.ridge_path(PHI, Y, 0.5), TypeError, r"^grid: expected numbers along an axis, got 0\.5$"),
        (lambda: ridge.leave_one_out_path(K, Y, None), TypeError, "^grid: expected numbers along an axis, got None$"),
        (
            lambda: ridge.choose_ridge(np.ones((1, 3)), np.float64(1)),
            TypeError,
            "^grid: expected numbers along an axis, got",
        ),
        (
            lambda: ridge.ridge_weights(np.ma.masked_array(PHI, PHI > 0), Y, 1.0),
            TypeError,
            "^features: expected an array without a mask",
        ),
        (lambda: ridge.ridge_grid(0 * K), ValueError, r"mean of the kernel's diagonal: expected a number above 0"),
        (lambda: ridge.choose_ridge(np.ones((2, 3)), [1.0]), ValueError, r"grid: expected length 2, got length 1"),
        (lambda: ridge.choose_ridge(np.ones((2, 3)), [1.0, 1.0]), ValueError, r"grid: expected ascending numbers"),
        (lambda: ridge.choose_ridge(np.ones((1, 1)), [1.0]), ValueError, r"number of examples: expected an integer"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.gpu
@gpu_kinds
def test_ridge_on_a_device_equals_numpy(kind):
    rng = np.random.default_rng(0)
    for shape in ((3, 40, 20), (3, 20, 40)):
        Phi, y = rng.standard_normal(shape), rng.standard_normal(shape[:2])
        features, targets = to(kind, Phi), to(kind, y)
        found = ridge.ridge_weights(features, targets, 0.1)
        assert_same_kind(found, features)
        np.testing.assert_allclose(back(found), ridge.ridge_weights(Phi, y, 0.1), **CLOSE)
        path = ridge.ridge_spectrum(features, targets).leave_one_out(0.1)
        np.testing.assert_allclose(back(path), ridge.ridge_spectrum(Phi, y).leave_one_out(0.1), **CLOSE)
        with pytest.raises(np.linalg.LinAlgError, match="give a larger lam"):
            ridge.solve_positive(to(kind, -np.eye(2)), to(kind, np.ones((2, 1))))
