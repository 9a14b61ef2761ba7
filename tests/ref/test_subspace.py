"""Spans, the energy gap, angles, second moments, Lemma W: Eqs (3), (8), (11), Cor 3.5, each with a twin that fails."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import cases, redundancy, subspace
from dntk_ref.barycenter import wasserstein
from dntk_ref.cases import COUNTEREXAMPLES
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import features, generators, pairs_of_features, spectra
from tests.tolerances import TOL


@st.composite
def projected(draw):
    """Features, a random projector of rank q, and r, both in [0, P]."""
    Phi = draw(features())
    P = Phi.shape[1]
    q, r = draw(st.integers(0, P)), draw(st.integers(0, P))
    return Phi, cases.random_projector(P, q, rng=draw(generators())), q, r


@st.composite
def task_gradients(draw):
    """Gradients (T, P) of a few tasks, not centred, and their probabilities."""
    T, P = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rng = draw(generators())
    weights = rng.random(T) + 0.1
    return rng.standard_normal((T, P)) + rng.standard_normal(P), weights / weights.sum()


def slack(Phi):
    """Rounding of an energy: relative to the whole."""
    return TOL["float64"] * max(1.0, float(np.sum(Phi**2)))


# Eqs (3), (8)


def test_gradients_are_stacked_by_input_then_logit():
    J = np.arange(12.0).reshape(2, 3, 2)
    rows = subspace.stacked_gradients(J)
    assert rows.shape == (6, 2)
    for i in range(3):
        for c in range(2):
            np.testing.assert_array_equal(rows[2 * i + c], J[c, i])


@given(features())
def test_the_projector_is_the_orthogonal_one_onto_the_rows(rows):
    Pi = subspace.span_projector(rows)
    np.testing.assert_allclose(Pi @ Pi, Pi, **CLOSE)
    np.testing.assert_allclose(Pi, Pi.T, **CLOSE)
    np.testing.assert_allclose(rows @ Pi, rows, rtol=0, atol=slack(rows))
    orthogonal = scipy.linalg.null_space(rows, rcond=TOL["rank"])
    np.testing.assert_allclose(Pi @ orthogonal, np.zeros_like(orthogonal), **CLOSE)
    assert differs(Pi @ Pi, 2 * Pi)


@given(features())
def test_the_projector_is_equation_8(rows):
    by_kernel = rows.T @ np.linalg.pinv(rows @ rows.T, rtol=1e-12, hermitian=True) @ rows
    np.testing.assert_allclose(subspace.span_projector(rows), by_kernel, rtol=0, atol=TOL["squared_kernel"])


@given(features())
def test_the_basis_is_orthonormal_and_as_wide_as_the_rank(rows):
    V = subspace.span_basis(rows)
    np.testing.assert_allclose(V.T @ V, np.eye(V.shape[1]), **CLOSE)
    assert V.shape == (rows.shape[1], np.linalg.matrix_rank(rows, rtol=TOL["rank"]))


def test_the_cut_off_is_on_eigenvalues_of_the_kernel():
    rows = np.diag([1.0, 1e-3])  # K_SS = diag(1, 1e-6)
    assert subspace.span_basis(rows, rtol=0.9e-6).shape == (2, 2)
    assert subspace.span_basis(rows, rtol=1.1e-6).shape == (2, 1)
    assert subspace.span_basis(np.zeros((2, 3))).shape == (3, 0)
    np.testing.assert_array_equal(subspace.span_projector(np.zeros((2, 3))), np.zeros((3, 3)))


@given(features(), st.floats(0.01, 10.0))
def test_a_ridge_shrinks_the_projector_by_known_factors(rows, ridge):
    Pi, V = subspace.ridged_projector(rows, ridge), subspace.span_basis(rows, rtol=0)
    squared = np.sum((rows @ V) ** 2, axis=0)
    np.testing.assert_allclose(Pi, V * (squared / (squared + ridge)) @ V.T, **CLOSE)
    assert differs(Pi, V * (squared / (squared + 2 * ridge)) @ V.T) or squared.max() < 0.1


@given(features(), st.data())
def test_the_top_projector_holds_most(Phi, data):
    P = Phi.shape[1]
    r = data.draw(st.integers(0, P))
    Pi = subspace.top_projector(Phi, r)
    assert np.trace(Pi) == pytest.approx(r, abs=TOL["float64"])
    np.testing.assert_allclose(Pi @ Pi, Pi, **CLOSE)
    held = np.sum(np.linalg.svd(Phi, compute_uv=False)[:r] ** 2)
    assert np.sum((Phi @ Pi) ** 2) == pytest.approx(held, abs=slack(Phi))
    other = cases.random_projector(P, r, rng=data.draw(generators()))
    assert np.sum((Phi @ other) ** 2) <= held + slack(Phi)


# Prop 3.6


@given(projected())
def test_the_identity_of_proposition_3_6_holds_for_every_projector(case):
    Phi, Pi, _, r = case
    gap = subspace.energy_gap_of(Phi, Pi, r)
    assert gap.residual == pytest.approx(gap.tail + gap.misalignment, abs=slack(Phi))
    assert gap.residual == pytest.approx(np.trace((np.eye(len(Pi)) - Pi) @ Phi.T @ Phi), abs=slack(Phi))
    by_top = np.sum((Phi @ subspace.top_projector(Phi, r)) ** 2) - np.sum((Phi @ Pi) ** 2)
    assert gap.misalignment == pytest.approx(by_top, abs=slack(Phi))
    assert gap.total == pytest.approx(gap.tail + np.sum((Phi @ subspace.top_projector(Phi, r)) ** 2), abs=slack(Phi))
    assert (gap.rank, gap.total) == (r, pytest.approx(np.sum(Phi**2)))


@given(projected())
def test_the_misalignment_is_at_least_its_bound_for_every_pair_of_ranks(case):
    Phi, Pi, q, r = case
    bound = subspace.misalignment_lower_bound(Phi, q, r)
    assert subspace.energy_gap_of(Phi, Pi, r).misalignment >= bound - slack(Phi)
    squared = np.append(np.linalg.svd(Phi, compute_uv=False) ** 2, np.zeros(Phi.shape[1]))
    assert bound == pytest.approx(squared[:r].sum() - squared[:q].sum(), abs=slack(Phi))
    if q <= r or r >= np.linalg.matrix_rank(Phi, rtol=TOL["rank"]):
        assert bound >= -slack(Phi)


@given(features(), st.data())
def test_the_bound_is_attained_by_the_top_space(Phi, data):
    q, r = data.draw(st.integers(0, Phi.shape[1])), data.draw(st.integers(0, Phi.shape[1]))
    found = subspace.energy_gap_of(Phi, subspace.top_projector(Phi, q), r).misalignment
    assert found == pytest.approx(subspace.misalignment_lower_bound(Phi, q, r), abs=slack(Phi))


def test_cex_6_the_sign_fails_beyond_the_rank():
    case = COUNTEREXAMPLES["CEX-6"]
    gap = subspace.energy_gap_of(case["features"], case["projector"], int(case.numbers["r"]))
    assert gap.misalignment == case.numbers["misalignment"]
    assert subspace.misalignment_lower_bound(case["features"], 2, 1) == -1.0
    assert subspace.energy_gap_of(case["features"], case["projector"], 2).misalignment == 0.0


def test_the_identity_needs_a_true_projector():
    with pytest.raises(ValueError, match="projector: expected an orthogonal projector"):
        subspace.energy_gap_of(np.eye(2), np.eye(2) / 2, 1)


@given(pairs_of_features())
def test_the_energy_gap_is_taken_at_the_rank_of_the_span(pair):
    Phi, Phi_S = pair
    gap = subspace.energy_gap(Phi, Phi_S)
    rank = np.linalg.matrix_rank(Phi_S, rtol=TOL["rank"])
    assert gap == subspace.energy_gap_of(Phi, subspace.span_projector(Phi_S), rank)
    assert gap.misalignment >= -slack(Phi)
    assert gap.residual == subspace.projection_residual(Phi, Phi_S)


@given(pairs_of_features())
def test_the_residual_is_that_of_least_squares(pair):
    Phi, Phi_S = pair
    fit = np.linalg.lstsq(Phi_S.T, Phi.T, rcond=TOL["rank"])[0]
    assert subspace.projection_residual(Phi, Phi_S) == pytest.approx(np.sum((Phi - fit.T @ Phi_S) ** 2), abs=slack(Phi))


@given(features())
def test_the_residual_vanishes_iff_the_data_is_in_the_span(Phi):
    assert subspace.projection_residual(Phi, Phi[::-1]) == pytest.approx(0.0, abs=slack(Phi))
    off = np.hstack([Phi, np.ones((len(Phi), 1))])
    on = np.hstack([Phi, np.zeros((len(Phi), 1))])
    assert subspace.projection_residual(off, on) == pytest.approx(len(Phi), abs=slack(off))


def test_the_energy_gap_by_hand():
    gap = subspace.energy_gap(np.diag([3.0, 2.0, 1.0]), [[1.0, 0.0, 1.0]])
    assert (gap.rank, gap.total) == (1, 14.0)
    assert (gap.residual, gap.tail, gap.misalignment) == pytest.approx((9.0, 5.0, 4.0), rel=TOL["hand"])


# Angles


@given(pairs_of_features())
def test_the_angles_are_those_of_scipy(pair):
    V_a, V_b = (subspace.span_basis(rows) for rows in pair)
    expected = scipy.linalg.subspace_angles(V_a, V_b)[::-1]
    found = subspace.principal_angles(*pair)
    # SciPy's own angles carry errors of a root of rounding where a small angle stands beside large ones.
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOL["root"])
    np.testing.assert_allclose(found, subspace.principal_angles(*pair[::-1]), rtol=0, atol=TOL["float64"])
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.5, 1.5, np.pi / 2])
def test_small_angles_keep_their_digits(angle):
    found = subspace.principal_angles([[1.0, 0.0]], [[np.cos(angle), np.sin(angle)]])
    np.testing.assert_allclose(found, [angle], rtol=TOL["float64"])


def test_angles_with_nothing_are_none():
    assert subspace.principal_angles([[0.0, 0.0]], [[1.0, 0.0]]).shape == (0,)
    assert subspace.principal_angles([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0]]).shape == (1,)
    thin = np.diag([1.0, 1e-3])
    assert subspace.principal_angles(np.eye(2), thin, rtol=0.01).shape == (1,)
    assert subspace.principal_angles(thin, np.eye(2), rtol=0.01).shape == (1,)


@given(projected())
def test_the_misalignment_lies_between_its_angle_bounds(case):
    Phi, Pi, q, _ = case
    bound = subspace.angle_bound(Phi, Pi)
    assert bound.lower - slack(Phi) <= bound.misalignment <= bound.upper + slack(Phi)
    assert bound.misalignment == subspace.energy_gap_of(Phi, Pi, q).misalignment
    if q > 0:
        V, W = subspace.span_basis(Pi), subspace.span_basis(subspace.top_projector(Phi, q))
        sines = np.sin(scipy.linalg.subspace_angles(V, W))
        assert bound.sine_squared == pytest.approx(np.sum(sines**2), abs=TOL["float64"])


@given(st.integers(1, 3), generators())
def test_the_angle_bounds_use_the_gap_at_the_rank_and_the_largest_value(r, rng):
    values = np.array([7.0, 5.0, 2.0, 1.0])
    Phi = cases.features_with_spectrum(values, 5, rng=rng)
    Pi = cases.random_projector(5, r, rng=rng)
    bound = subspace.angle_bound(Phi, Pi)
    assert bound.upper == pytest.approx(7.0 * bound.sine_squared, rel=TOL["float64"])
    assert bound.lower == pytest.approx((values[r - 1] - values[r]) * bound.sine_squared, rel=TOL["float64"])
    assert bound.misalignment < bound.upper - TOL["apart"]


def test_no_span_has_no_angle():
    assert subspace.angle_bound(np.eye(2), np.zeros((2, 2))) == subspace.AngleBound(0.0, 0.0, 0.0, 0.0)


# Corollary 3.5


@given(task_gradients())
def test_the_second_moment_is_the_expectation(tasks):
    g, p = tasks
    expected = sum(weight * np.outer(row, row) for weight, row in zip(p, g, strict=True))
    Sigma = subspace.second_moment(g, probabilities=p)
    np.testing.assert_allclose(Sigma, expected, **CLOSE)
    mean = p @ g
    covariance = subspace.centred_covariance(g, probabilities=p)
    np.testing.assert_allclose(covariance, expected - np.outer(mean, mean), **CLOSE)
    assert differs(covariance, Sigma)


@given(task_gradients(), st.data())
def test_the_top_space_of_the_second_moment_leaves_least(tasks, data):
    g, p = tasks
    Sigma, P = subspace.second_moment(g, probabilities=p), g.shape[1]
    r = data.draw(st.integers(0, P))
    other = cases.random_projector(P, r, rng=data.draw(generators()))
    missed = float(p @ np.sum((g - g @ other) ** 2, axis=1))
    room = TOL["float64"] * max(1.0, float(np.trace(Sigma)))
    assert subspace.gradient_residual(Sigma, other) == pytest.approx(missed, abs=room)
    least = subspace.smallest_gradient_residual(Sigma, r)
    assert least <= missed + room
    best = subspace.top_projector(np.sqrt(p)[:, None] * g, r)
    assert subspace.gradient_residual(Sigma, best) == pytest.approx(least, abs=room)


@given(spectra((2, 6)), st.floats(0.0, 0.5), generators())
def test_the_truncation_rank_of_the_second_moment_leaves_epsilon(values, epsilon, rng):
    Sigma = cases.kernel_with_spectrum(values, rng=rng)
    r, trace = redundancy.truncation_rank(Sigma, epsilon), np.trace(Sigma)
    assert subspace.smallest_gradient_residual(Sigma, r) <= epsilon * trace + TOL["float64"] * trace
    assert subspace.smallest_gradient_residual(Sigma, r - 1) > epsilon * trace


def test_cex_7_the_covariance_chooses_the_wrong_direction():
    case = COUNTEREXAMPLES["CEX-7"]
    g = case["gradients"]
    Sigma = subspace.second_moment(g)
    wrong = subspace.top_projector(subspace.centred_covariance(g), 1)
    right = subspace.top_projector(Sigma, 1)
    assert subspace.gradient_residual(Sigma, wrong) == pytest.approx(case.numbers["covariance_residual"])
    assert subspace.gradient_residual(Sigma, right) == pytest.approx(case.numbers["moment_residual"])
    assert subspace.smallest_gradient_residual(Sigma, 1) == pytest.approx(case.numbers["moment_residual"])


@given(features(), generators())
def test_the_missing_link_to_the_data_gradients(rows, rng):
    n = len(rows)
    draws = rng.standard_normal((4, n))
    g = draws @ rows / n
    found = subspace.linked_second_moment(rows, draws.T @ draws / 4)
    np.testing.assert_allclose(found, subspace.second_moment(g), **CLOSE)
    outside = np.eye(rows.shape[1]) - subspace.span_projector(rows)
    np.testing.assert_allclose(outside @ found, np.zeros_like(found), rtol=0, atol=slack(rows))
    isotropic = subspace.linked_second_moment(rows, 9.0 * np.eye(n))
    np.testing.assert_allclose(isotropic, 9.0 * rows.T @ rows / n**2, **CLOSE)


# Lemma W


@st.composite
def transported(draw):
    """Inputs, distilled inputs, hidden features, and gradients that depend on them smoothly."""
    rng = draw(generators())
    n, m, d, P = (draw(st.integers(1, high)) for high in (6, 4, 3, 5))
    h, h_S, W = rng.standard_normal((n, d)), rng.standard_normal((m, d)), rng.standard_normal((d, P))
    return np.tanh(h @ W), np.tanh(h_S @ W), h, h_S


@given(transported())
def test_lemma_w_holds_in_both_steps(case):
    Phi, Phi_S, h, h_S = case
    left = subspace.projection_residual(Phi, Phi_S) / len(Phi)
    middle = subspace.nearest_gradient_cost(Phi, Phi_S)
    lipschitz = subspace.lipschitz_constant(Phi, Phi_S, hidden=h, hidden_inducing=h_S)
    for weights in (np.full(len(h_S), 1 / len(h_S)), np.eye(len(h_S))[0]):
        right = subspace.transport_bound(lipschitz, wasserstein(h, h_S, weights))
        assert left <= middle + TOL["float64"]
        assert middle <= right * (1 + TOL["squared_kernel"]) + TOL["float64"]


@given(transported())
def test_the_nearest_gradient_and_the_lipschitz_constant_are_those_of_the_loops(case):
    Phi, Phi_S, h, h_S = case
    cost = np.mean([min(np.sum((a - b) ** 2) for b in Phi_S) for a in Phi])
    assert subspace.nearest_gradient_cost(Phi, Phi_S) == pytest.approx(cost, rel=TOL["float64"])
    ratios = [
        np.linalg.norm(a - b) / np.linalg.norm(u - v)
        for a, u in zip(Phi, h, strict=True)
        for b, v in zip(Phi_S, h_S, strict=True)
    ]
    found = subspace.lipschitz_constant(Phi, Phi_S, hidden=h, hidden_inducing=h_S)
    assert found == pytest.approx(max(ratios), rel=TOL["float64"])


def test_cex_28_equal_features_and_orthogonal_gradients_have_no_lipschitz_constant():
    case = COUNTEREXAMPLES["CEX-28"]
    hidden = {"hidden": case["hidden"], "hidden_inducing": case["hidden_inducing"]}
    assert subspace.lipschitz_constant(case["features"], case["inducing"], **hidden) == np.inf
    assert subspace.projection_residual(case["features"], case["inducing"]) == 1.0
    assert subspace.lipschitz_constant(case["features"], case["features"], **hidden) == 0.0


def test_the_transport_bound_by_hand():
    assert subspace.transport_bound(2.0, 3.0) == pytest.approx(12.0, **{"rel": HAND["rtol"]})


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: subspace.stacked_gradients(np.eye(2)), "jacobian: expected 3 axes"),
        (lambda: subspace.span_basis(np.eye(2), rtol=2.0), r"rtol: expected a number in \[0, 1\]"),
        (lambda: subspace.ridged_projector(np.eye(2), 0.0), "ridge: expected a number above 0"),
        (lambda: subspace.top_projector(np.eye(2), 3), r"r: expected an integer in \[0, 2\], got 3"),
        (lambda: subspace.projection_residual(np.eye(2), np.eye(3)), "inducing: expected 2 columns"),
        (lambda: subspace.energy_gap(np.eye(2), np.eye(3)), "inducing: expected 2 columns"),
        (lambda: subspace.energy_gap_of(np.eye(2), np.eye(3), 1), "projector: expected 2 rows"),
        (lambda: subspace.energy_gap_of(np.eye(2), np.eye(2), 3), r"r: expected an integer in \[0, 2\], got 3"),
        (lambda: subspace.misalignment_lower_bound(np.eye(2), 3, 1), r"rank: expected an integer in \[0, 2\], got 3"),
        (lambda: subspace.misalignment_lower_bound(np.eye(2), 1, 3), r"r: expected an integer in \[0, 2\], got 3"),
        (lambda: subspace.principal_angles(np.eye(2), np.eye(3)), "b: expected 2 columns"),
        (lambda: subspace.angle_bound(np.eye(2), np.eye(2) / 2), "projector: expected an orthogonal projector"),
        (lambda: subspace.second_moment(np.eye(2), probabilities=[0.5, 0.6]), "probabilities: expected numbers"),
        (lambda: subspace.gradient_residual(np.eye(2), np.eye(3)), "projector: expected 2 rows"),
        (lambda: subspace.smallest_gradient_residual(np.eye(2), 3), r"r: expected an integer in \[0, 2\], got 3"),
        (lambda: subspace.linked_second_moment(np.eye(2), np.eye(3)), "sensitivity_moment: expected 2 rows"),
        (lambda: subspace.nearest_gradient_cost(np.eye(2), np.eye(3)), "inducing: expected 2 columns"),
        (
            lambda: subspace.lipschitz_constant(np.eye(2), np.eye(2), hidden=np.eye(3), hidden_inducing=np.eye(2)),
            "hidden: expected 2 rows",
        ),
        (
            lambda: subspace.lipschitz_constant(
                np.eye(2), np.eye(2), hidden=np.eye(2), hidden_inducing=np.ones((2, 1))
            ),
            "hidden_inducing: expected 2 columns",
        ),
        (lambda: subspace.transport_bound(-1.0, 1.0), "lipschitz: expected a number that is 0 or above"),
        (lambda: subspace.transport_bound(1.0, -1.0), "cost: expected a number that is 0 or above"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
