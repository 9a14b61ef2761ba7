"""The kernels: Eqs (1), (7), (9), (10), (14), (15), by second routes, with the readings that fail failing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import kernel, subspace
from dntk_ref._linear import UNIT, solve_doubt, split
from dntk_ref._nystrom import parts
from dntk_ref.cases import COUNTEREXAMPLES, random_projector
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import features, generators, pairs_of_features
from tests.tolerances import TOL


@st.composite
def jacobians(draw):
    """(C, n, P) arrays."""
    shape = tuple(draw(st.integers(1, high)) for high in (3, 4, 6))
    return draw(generators()).standard_normal(shape)


@st.composite
def projected(draw):
    """Features and a random projector of any rank."""
    Phi = draw(features())
    P = Phi.shape[1]
    return Phi, random_projector(P, draw(st.integers(0, P)), rng=draw(generators()))


@st.composite
def contracted(draw):
    """Features and a contraction: the ridged projector of random inducing rows."""
    Phi, Phi_S = draw(pairs_of_features())
    return Phi, subspace.ridged_projector(Phi_S, 10.0 ** draw(st.integers(-2, 1)))


# Eq (1)


@given(features())
def test_the_kernel_is_symmetric_and_positive_semidefinite(Phi):
    K = kernel.gram(Phi)
    np.testing.assert_array_equal(K, K.T)
    assert np.linalg.eigvalsh(K)[0] >= -TOL["float64"] * np.trace(K)
    np.testing.assert_allclose(K, [[np.dot(a, b) for b in Phi] for a in Phi], **CLOSE)


@given(features())
def test_the_kernel_is_definite_iff_the_gradients_are_independent(Phi):
    rank = np.linalg.matrix_rank(Phi, rtol=TOL["rank"])
    lowest, highest = np.linalg.eigvalsh(kernel.gram(Phi))[[0, -1]]
    assert (rank == len(Phi)) == (lowest > TOL["rank"] ** 2 * highest)


@given(pairs_of_features())
def test_the_cross_kernel_is_a_block_of_the_joint_one(pair):
    a, b = pair
    joint = kernel.gram(np.vstack([a, b]))
    np.testing.assert_allclose(kernel.cross_gram(a, b), joint[: len(a), len(a) :], **CLOSE)


@given(jacobians())
def test_class_kernels_are_the_diagonal_blocks_of_the_full_one(J):
    blocks, C, n = kernel.ntk_block(J), *J.shape[:2]
    for c in range(C):
        np.testing.assert_allclose(kernel.class_kernels(J)[c], blocks[c, c], **CLOSE)
        for other in range(C):
            np.testing.assert_allclose(blocks[c, other], J[c] @ J[other].T, **CLOSE)
    full = kernel.full_ntk(J)
    np.testing.assert_allclose(full.reshape(n, C, n, C).transpose(1, 3, 0, 2), blocks, **CLOSE)
    np.testing.assert_allclose(full, full.T, **CLOSE)
    for i in range(n):
        np.testing.assert_allclose(blocks[:, :, i, i], J[:, i] @ J[:, i].T, **CLOSE)


def test_one_class_at_a_time_is_full_regression_iff_the_cross_blocks_vanish():
    def predictions(J, y):
        alpha = np.linalg.solve(kernel.full_ntk(J) + np.eye(y.size), y.T.ravel()).reshape(-1, len(J)).T
        full = np.einsum("abij,bj->ai", kernel.ntk_block(J), alpha)
        single = [K @ np.linalg.solve(K + np.eye(len(K)), t) for K, t in zip(kernel.class_kernels(J), y, strict=True)]
        return full, np.array(single)

    rng = np.random.default_rng(3)
    J, y = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3))
    assert differs(*predictions(J, y))
    apart = np.concatenate([J * [[[1.0]], [[0.0]]], J * [[[0.0]], [[1.0]]]], axis=2)
    np.testing.assert_allclose(*predictions(apart, y), **CLOSE)


def test_the_order_of_the_full_kernel_is_input_then_logit():
    J = np.array([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [0.0, 5.0]]])
    rows = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 5.0]])
    np.testing.assert_array_equal(kernel.full_ntk(J), rows @ rows.T)


# Eqs (14), (15)


@given(features(), generators())
def test_the_differential_is_linear_and_reads_off_the_gradient(Phi, rng):
    d = rng.standard_normal(Phi.shape[1])
    np.testing.assert_allclose(kernel.differential(Phi, 2 * d), 2 * kernel.differential(Phi, d), **CLOSE)
    columns = [kernel.differential(Phi, e) for e in np.eye(Phi.shape[1])]
    np.testing.assert_array_equal(np.stack(columns, axis=1), Phi)


@given(features(), generators())
def test_the_riemannian_kernel_does_not_depend_on_coordinates(D, rng):
    P = D.shape[1]
    B = rng.standard_normal((P, P))
    G = B @ B.T + np.eye(P)
    change = np.eye(P) + 0.3 * np.tril(np.ones((P, P)))  # theta = change @ theta', so df' = df @ change
    G_changed, D_changed = change.T @ G @ change, D @ change
    here = kernel.riemannian_kernel(D, G)
    np.testing.assert_allclose(kernel.riemannian_kernel(D_changed, G_changed), here, **CLOSE)
    wrong = kernel.riemannian_kernel_without_inverse
    assert differs(wrong(D_changed, G_changed), wrong(D, G))


@given(features())
def test_the_euclidean_metric_gives_the_plain_kernel(D):
    identity = np.eye(D.shape[1])
    np.testing.assert_allclose(kernel.riemannian_kernel(D, identity), kernel.gram(D), **CLOSE)
    np.testing.assert_allclose(kernel.riemannian_kernel_without_inverse(D, identity), kernel.gram(D), **CLOSE)


@pytest.mark.parametrize("metric", [[[0.0]], [[-1.0]]])
def test_a_metric_is_positive_definite(metric):
    with pytest.raises(ValueError, match="metric: expected a positive definite matrix, got smallest eigenvalue"):
        kernel.riemannian_kernel([[1.0]], metric)


# Eqs (7), (9)


@given(pairs_of_features())
def test_inducing_points_are_a_projection(pair):
    Phi, Phi_S = pair
    by_projector = kernel.projected_kernel(Phi, subspace.span_projector(Phi_S))
    np.testing.assert_allclose(kernel.inducing_point_kernel(Phi, Phi_S), by_projector, **CLOSE)


@given(pairs_of_features())
def test_duplicated_inducing_points_change_nothing(pair):
    Phi, Phi_S = pair
    once = kernel.inducing_point_kernel(Phi, Phi_S)
    twice = kernel.inducing_point_kernel(Phi, np.vstack([Phi_S, Phi_S[:1], 2 * Phi_S]))
    np.testing.assert_allclose(twice, once, **CLOSE)
    with pytest.raises(ValueError, match="inducing: expected independent gradients, got a singular K_SS"):
        kernel.inducing_point_kernel_by_inverse(Phi, np.vstack([Phi_S, Phi_S[:1]]))


def test_cex_5_two_equal_distilled_inputs():
    case = COUNTEREXAMPLES["CEX-5"]
    np.testing.assert_allclose(kernel.inducing_point_kernel(case["features"], case["inducing"]), case["kernel"], **HAND)
    with pytest.raises(ValueError, match="singular K_SS"):
        kernel.inducing_point_kernel_by_inverse(case["features"], case["inducing"])


@given(generators(), st.integers(1, 4))
def test_the_plain_inverse_serves_independent_inducing_points(rng, m):
    Phi, Phi_S = rng.standard_normal((3, 6)), np.eye(4, 6)[:m] + 0.1 * rng.standard_normal((m, 6))
    by_inverse = kernel.inducing_point_kernel_by_inverse(Phi, Phi_S)
    np.testing.assert_allclose(by_inverse, kernel.inducing_point_kernel(Phi, Phi_S), **CLOSE)


@given(features())
def test_inducing_points_that_span_the_data_give_its_kernel_back(Phi):
    K = kernel.gram(Phi)
    np.testing.assert_allclose(
        kernel.inducing_point_kernel(Phi, Phi[::-1]), K, rtol=0, atol=TOL["float64"] * np.trace(K)
    )


@given(generators(), st.sampled_from([1e-9, 1.0, 1e9]))
def test_nearly_dependent_inducing_points_break_no_inequality(rng, length):
    Phi = np.linalg.qr(rng.standard_normal((6, 6)))[0] * np.exp(-2.5 * np.arange(6))
    rest = kernel.gram(Phi) - kernel.inducing_point_kernel(Phi, length * Phi[:5])
    assert np.linalg.eigvalsh(rest).min() >= -TOL["hand"]
    schur = 1 / np.linalg.inv(kernel.gram(Phi))[5, 5]
    assert np.trace(rest) == pytest.approx(schur, rel=TOL["float32"], abs=TOL["hand"])


def test_fewer_inducing_points_than_the_rank_cannot():
    Phi = np.eye(3)
    assert differs(kernel.inducing_point_kernel(Phi, np.ones((2, 3)) + np.eye(2, 3)), kernel.gram(Phi))


def test_a_zero_inducing_gradient_explains_nothing():
    np.testing.assert_array_equal(kernel.inducing_point_kernel([[1.0, 2.0]], [[0.0, 0.0]]), [[0.0]])


@given(pairs_of_features(), st.floats(0.01, 10.0))
def test_a_ridge_makes_a_contraction(pair, ridge):
    Phi, Phi_S = pair
    found = kernel.ridged_inducing_point_kernel(Phi, Phi_S, ridge)
    by_contraction = kernel.projected_kernel(Phi, subspace.ridged_projector(Phi_S, ridge))
    np.testing.assert_allclose(found, by_contraction, **CLOSE)
    below = kernel.inducing_point_kernel(Phi, Phi_S) - found
    assert np.linalg.eigvalsh(below)[0] >= -TOL["float64"] * np.trace(kernel.gram(Phi))
    if np.abs(Phi @ Phi_S.T).max() > 0.1:
        assert differs(found, kernel.inducing_point_kernel(Phi, Phi_S))


# Eq (10) and the exact relations


@given(st.one_of(projected(), contracted()))
def test_the_exact_relations_hold_for_projectors_and_contractions(pair):
    Phi, Pi = pair
    E, R = kernel.kernel_residual_norms(Phi, Pi), kernel.residual_factor_norms(Phi, Pi)
    scale = {"rtol": TOL["float64"], "atol": TOL["float64"] * np.trace(kernel.gram(Phi))}
    np.testing.assert_allclose(E.trace, R.frobenius_squared, **scale)
    np.testing.assert_allclose(E.spectral, R.spectral_squared, **scale)
    slack = scale["atol"]
    assert R.frobenius_lower - slack <= E.frobenius <= R.frobenius_squared + slack
    factor = kernel.residual_factor(Phi, Pi)
    np.testing.assert_allclose(factor @ factor.T, kernel.gram(Phi) - kernel.projected_kernel(Phi, Pi), **scale)


@given(projected())
def test_for_a_projector_the_factor_is_what_was_removed(pair):
    Phi, Pi = pair
    np.testing.assert_allclose(kernel.residual_factor(Phi, Pi), Phi - Phi @ Pi, rtol=0, atol=TOL["root"])
    np.testing.assert_allclose(
        kernel.contraction_kernel_bound_r1(Phi, Pi), kernel.kernel_bound_r1_printed(Phi, Pi), **CLOSE
    )


@given(projected())
def test_all_readings_of_equation_10_hold_for_projectors(pair):
    left = kernel.kernel_residual_norms(*pair).frobenius
    slack = TOL["float64"] * np.trace(kernel.gram(pair[0]))
    assert left <= kernel.kernel_bound_r1_printed(*pair) + slack
    assert left <= kernel.kernel_bound_r2_printed(*pair) + slack
    assert left <= kernel.kernel_bound_r3_printed(*pair) + slack
    assert kernel.kernel_bound_r3_printed(*pair) == 2 * kernel.kernel_bound_r2_printed(*pair)


@given(contracted())
def test_for_contractions_the_corrected_r1_and_r3_hold(pair):
    left = kernel.kernel_residual_norms(*pair).frobenius
    slack = TOL["float64"] * np.trace(kernel.gram(pair[0]))
    assert left <= kernel.contraction_kernel_bound_r1(*pair) + slack
    assert left <= kernel.kernel_bound_r3_printed(*pair) + slack


@given(contracted())
def test_for_contractions_r2_holds(pair):
    left = kernel.kernel_residual_norms(*pair).frobenius
    assert left <= kernel.kernel_bound_r2_printed(*pair) + TOL["float64"] * np.trace(kernel.gram(pair[0]))


def test_a_ridged_projector_breaks_the_printed_r1():
    case = COUNTEREXAMPLES["contraction"]
    Pi = subspace.ridged_projector(case["inducing"], case.numbers["ridge"])
    left = kernel.kernel_residual_norms(case["features"], Pi).frobenius
    assert left == pytest.approx(case.numbers["left"], rel=TOL["hand"])
    assert kernel.kernel_bound_r1_printed(case["features"], Pi) == pytest.approx(case.numbers["right"], rel=TOL["hand"])
    assert left > kernel.kernel_bound_r1_printed(case["features"], Pi) + TOL["apart"]
    assert kernel.contraction_kernel_bound_r1(case["features"], Pi) == pytest.approx(left, rel=TOL["hand"])


def test_r1_is_an_equality_iff_the_factor_has_rank_one():
    keep_two = np.diag([1.0, 1.0, 0.0])
    assert kernel.residual_factor_norms(np.eye(3), keep_two).rank == 1
    assert kernel.kernel_residual_norms(np.eye(3), keep_two).frobenius == kernel.kernel_bound_r1_printed(
        np.eye(3), keep_two
    )
    keep_one = np.diag([1.0, 0.0, 0.0])
    factor = kernel.residual_factor_norms(np.eye(3), keep_one)
    assert (factor.rank, factor.frobenius_squared, factor.spectral_squared) == (2, 2.0, 1.0)
    assert factor.frobenius_lower == pytest.approx(np.sqrt(2), rel=TOL["hand"])
    assert kernel.kernel_residual_norms(np.eye(3), keep_one).frobenius < kernel.kernel_bound_r1_printed(
        np.eye(3), keep_one
    )


def test_nothing_removed_leaves_nothing():
    factor = kernel.residual_factor_norms([[1.0, 2.0]], np.eye(2))
    assert (factor.rank, factor.frobenius_squared, factor.frobenius_lower) == (0, 0.0, 0.0)
    assert kernel.kernel_bound_r1_printed([[1.0, 2.0]], np.eye(2)) == 0.0


@pytest.mark.parametrize("outside", [1.5, -0.5])
def test_a_contraction_has_eigenvalues_between_0_and_1(outside):
    for function in (kernel.kernel_residual_norms, kernel.residual_factor, kernel.contraction_kernel_bound_r1):
        with pytest.raises(ValueError, match=r"projector: expected eigenvalues in \[0, 1\], got \["):
            function([[1.0, 1.0]], np.diag([outside, 0.5]))


# Section 3.1: arithmetic


def test_the_resources_of_the_paper_and_of_the_audit():
    resnet_50 = kernel.resource_counts(inputs=1_300_000, tests=0, classes=1, parameters=25_600_000, width=1)
    assert resnet_50.full_ntk_multiplications == pytest.approx(4.3e19, rel=0.01)
    assert resnet_50.full_ntk_entries == pytest.approx(1.7e12, rel=0.01)
    thousand = kernel.resource_counts(inputs=1_300_000, tests=0, classes=1000, parameters=25_600_000, width=1)
    assert thousand.full_ntk_entries == 10**6 * resnet_50.full_ntk_entries
    assert thousand.class_ntk_multiplications == 1000 * resnet_50.full_ntk_multiplications

    resnet_18 = kernel.resource_counts(inputs=9469, tests=0, classes=1, parameters=11_181_642, width=4096)
    assert 4 * resnet_18.class_ntk_entries == pytest.approx(0.36e9, rel=0.01)
    assert 4 * resnet_18.gradient_entries == pytest.approx(424e9, rel=0.01)
    assert 4 * resnet_18.dense_map_entries == pytest.approx(183e9, rel=0.01)
    rows = kernel.resource_counts(inputs=500, tests=0, classes=1, parameters=11_181_642, width=4096)
    assert rows.dense_map_multiplications == pytest.approx(2.3e13, rel=0.01)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_the_counts_are_those_of_the_loops(n, t, C, P, k):
    found = kernel.resource_counts(inputs=n, tests=t, classes=C, parameters=P, width=k)
    J = np.zeros((C, n, P))
    assert found.full_ntk_entries == kernel.ntk_block(J).size
    assert found.full_ntk_multiplications == kernel.ntk_block(J).size * P
    assert found.class_ntk_entries == kernel.class_kernels(J).size
    assert found.class_ntk_multiplications == kernel.class_kernels(J).size * P
    assert found.ridge_entries == kernel.class_kernels(J).size + C * n * t
    assert found.gradient_entries == J.size + C * t * P
    assert found.dense_map_entries == P * k
    assert found.dense_map_multiplications == J.size * k


def test_gradients_are_larger_than_kernels_exactly_where_parameters_outnumber_inputs():
    few = kernel.resource_counts(inputs=5, tests=0, classes=2, parameters=4, width=1)
    many = kernel.resource_counts(inputs=5, tests=0, classes=2, parameters=6, width=1)
    assert few.gradient_entries < few.class_ntk_entries
    assert many.gradient_entries > many.class_ntk_entries


# Refusals


@pytest.mark.parametrize("function", [kernel.cross_gram, kernel.inducing_point_kernel])
def test_inducing_rows_live_in_the_same_space(function):
    with pytest.raises(ValueError, match=r": expected 2 columns, got shape \(1, 3\)"):
        function([[1.0, 2.0]], [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("function", [kernel.ntk_block, kernel.full_ntk, kernel.class_kernels])
def test_a_jacobian_has_three_axes(function):
    with pytest.raises(ValueError, match="jacobian: expected 3 axes"):
        function([[1.0]])


def test_sizes_and_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="direction: expected length 2"):
        kernel.differential([[1.0, 2.0]], [1.0])
    with pytest.raises(ValueError, match="projector: expected 2 rows"):
        kernel.projected_kernel([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"rtol: expected a number in \[0, 1\]"):
        kernel.inducing_point_kernel([[1.0]], [[1.0]], rtol=-1.0)
    with pytest.raises(ValueError, match="ridge: expected a number above 0"):
        kernel.ridged_inducing_point_kernel([[1.0]], [[1.0]], 0.0)
    with pytest.raises(ValueError, match=r"inputs: expected an integer in \[1, inf\]"):
        kernel.resource_counts(inputs=0, tests=0, classes=1, parameters=1, width=1)


def test_inducing_gradients_that_the_features_do_not_meet_hold_nothing():
    np.testing.assert_array_equal(kernel.inducing_point_kernel([[2.0, 0.0]], [[0.0, 1.0]]), [[0.0]])
    found = parts(np.diag([1.0, 0.0]), [[0.0], [1.0]], 1e-12)
    assert found.kept.shape == (2, 0)
    np.testing.assert_allclose(np.abs(found.missed), np.diag([1.0, 0.0])[:, ::-1], **HAND)


def test_no_rows_leave_all_columns_over():
    found = split(np.zeros((0, 2)), np.array([[1.0], [2.0]]))
    assert (found.coordinates.shape, found.remainder.tolist()) == ((0, 1), [[1.0], [2.0]])


def test_without_a_kernel_a_solve_errs_by_its_division():
    # share = (4 + 8) UNIT, of a solution of length 1; the solution's trivial bound is 2
    found = solve_doubt(np.zeros((1, 1)), np.ones(1), np.ones(1), 1.0)
    assert found / (12 * UNIT) == pytest.approx(1, rel=TOL["float64"])
