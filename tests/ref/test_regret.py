"""One step in the span: Eq (4), Lemma C.1, Thm 3.3 in all readings and corrected, Rem 3.4, with twins that fail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import cases, network, regret, subspace
from dntk_ref.cases import COUNTEREXAMPLES
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import generators
from tests.tolerances import TOL


@st.composite
def outputs(draw):
    """Logits (C, m) and labels (C, m) in the simplex."""
    shape = draw(st.integers(2, 4)), draw(st.integers(1, 4))
    rng = draw(generators())
    y = rng.random(shape)
    return 3 * rng.standard_normal(shape), y / y.sum(axis=0)


@st.composite
def steps(draw):
    """A gradient, a projector that is not zero, a step in its span, and a smoothness."""
    P = draw(st.integers(1, 5))
    rng = draw(generators())
    Pi = cases.random_projector(P, draw(st.integers(1, P)), rng=rng)
    return rng.standard_normal(P), Pi, Pi @ rng.standard_normal(P), draw(st.sampled_from([0.1, 1.0, 10.0]))


@st.composite
def quadratic_tasks(draw, convex=False):
    """The loss t -> g.t + t.A.t / 2 with |A|_2 <= L, its gradient at theta, a step in a span, and L."""
    g, Pi, step, L = draw(steps())
    P, rng = len(g), draw(generators())
    U = cases.orthonormal(P, P, rng=rng)
    curvature = rng.uniform(0.0 if convex else -1.0, 1.0, P)
    A = L * (U * curvature) @ U.T
    theta = rng.standard_normal(P)
    return (lambda t: float(g @ t + t @ A @ t / 2)), theta, g + A @ theta, step, Pi, L


@st.composite
def task_sets(draw):
    """Gradients (T, P), their probabilities, a projector, a common step (not in the span), a smoothness."""
    T, P = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = draw(generators())
    p = rng.random(T) + 0.1
    Pi = cases.random_projector(P, draw(st.integers(0, P)), rng=rng)
    return rng.standard_normal((T, P)) + 1, p / p.sum(), Pi, rng.standard_normal(P), draw(st.sampled_from([0.5, 2.0]))


# Lemma C.1, Eq (4)


@given(outputs())
def test_sensitivities_of_cross_entropy_sum_to_zero_for_each_input(pair):
    z, y = pair
    s = regret.cross_entropy_sensitivity(z, y)
    np.testing.assert_allclose(s.sum(axis=0), np.zeros(z.shape[1]), **CLOSE)
    np.testing.assert_allclose(s, regret.softmax(z) - y, **CLOSE)
    unnormalised = regret.cross_entropy_sensitivity(z, 3 * y)
    np.testing.assert_allclose(unnormalised.sum(axis=0), np.zeros(z.shape[1]), **CLOSE)
    assert differs(regret.squared_loss_sensitivity(z, y).sum(axis=0), 0)


@given(outputs(), st.sampled_from(["cross_entropy", "squared_loss"]))
def test_sensitivities_are_derivatives_of_the_loss(pair, name):
    z, y = pair
    loss, sensitivity = getattr(regret, name), getattr(regret, f"{name}_sensitivity")
    # The exact central difference of a quadratic, and for cross-entropy to h^2: a step of 1e-4 leaves 1e-8.
    h, numeric = 1e-4, np.zeros_like(z)
    for index in np.ndindex(*z.shape):
        e = np.zeros_like(z)
        e[index] = h
        numeric[index] = (loss(z + e, y) - loss(z - e, y)) / (2 * h)
    np.testing.assert_allclose(sensitivity(z, y) / z.shape[1], numeric, rtol=0, atol=TOL["difference"])


@given(outputs())
def test_the_softmax_is_a_shift_invariant_distribution(pair):
    z, _ = pair
    p = regret.softmax(z)
    np.testing.assert_allclose(p.sum(axis=0), 1.0, **CLOSE)
    np.testing.assert_allclose(regret.softmax(z + 1000.0), p, **CLOSE)
    np.testing.assert_allclose(np.log(p[0] / p[1]), z[0] - z[1], **CLOSE)
    assert regret.cross_entropy(z + 1000.0, regret.softmax(z)) == pytest.approx(
        float(-np.mean(np.sum(p * np.log(p), 0)))
    )


@pytest.mark.parametrize("make", [cases.tiny_mlp, cases.tiny_conv_net])
@pytest.mark.parametrize("name", ["cross_entropy", "squared_loss"])
def test_the_loss_gradient_is_that_of_the_network(make, name):
    rng = np.random.default_rng(5)
    case = make(rng=rng)
    z = network.forward(case.network, case.inputs)
    y = regret.softmax(rng.standard_normal(z.shape))
    J = network.jacobian(case.network, case.inputs)
    loss, sensitivity = getattr(regret, name), getattr(regret, f"{name}_sensitivity")
    gradient = regret.loss_gradient(J, sensitivity(z, y))
    theta = network.flatten(case.network)
    for _ in range(3):
        d, h = rng.standard_normal(theta.size), 1e-5
        ends = [network.forward(network.unflatten(case.network, theta + t * d), case.inputs) for t in (h, -h)]
        numeric = (loss(ends[0], y) - loss(ends[1], y)) / (2 * h)
        assert gradient @ d == pytest.approx(numeric, abs=TOL["difference"])
    span = subspace.span_projector(subspace.stacked_gradients(J))
    np.testing.assert_allclose(span @ gradient, gradient, **CLOSE)


@given(generators(), st.integers(1, 3), st.integers(1, 3))
def test_the_gradient_is_the_stack_times_the_sensitivities(rng, C, m):
    J, s = rng.standard_normal((C, m, 4)), rng.standard_normal((C, m))
    rows = subspace.stacked_gradients(J)
    summed = regret.loss_gradient_summed(J, s)
    np.testing.assert_allclose(summed, rows.T @ s.T.ravel(), **CLOSE)
    np.testing.assert_allclose(regret.loss_gradient(J, s), summed / m, **CLOSE)
    assert m == 1 or differs(regret.loss_gradient(J, s), summed)


@given(generators(), st.integers(1, 4), st.integers(1, 3))
def test_cross_entropy_reaches_only_sensitivities_of_sum_zero(rng, C, m):
    J = rng.standard_normal((C, m, 12))
    Pi = regret.cross_entropy_projector(J)
    assert np.trace(Pi) == pytest.approx(m * (C - 1), abs=TOL["float64"])
    s = rng.standard_normal((C, m))
    free, centred = regret.loss_gradient(J, s), regret.loss_gradient(J, s - s.mean(axis=0))
    np.testing.assert_allclose(Pi @ centred, centred, **CLOSE)
    assert differs(Pi @ free, free)


def test_cex_4_weight_decay_leaves_the_span():
    case = COUNTEREXAMPLES["CEX-4"]
    Pi = subspace.span_projector(case["rows"])
    update = case["rows"].T @ [1.0] - case.numbers["decay"] * case["theta"]
    np.testing.assert_allclose(update - Pi @ update, [0.0, -case.numbers["decay"]], **HAND)


# Theorem 3.3


@given(steps())
def test_the_minimiser_of_the_model_in_the_span(case):
    g, Pi, step, L = case
    best = regret.optimal_step(g, Pi, smoothness=L)
    np.testing.assert_allclose(Pi @ best, best, **CLOSE)
    # Stationary inside the span: the gradient of Q at the best step, g + L d*, is orthogonal to the span.
    np.testing.assert_allclose(Pi @ (g + L * best), np.zeros_like(g), rtol=0, atol=TOL["float64"] * L)
    here = regret.quadratic_model(2.0, g, best, smoothness=L)
    assert here <= regret.quadratic_model(2.0, g, step, smoothness=L) + TOL["float64"]
    assert here == pytest.approx(2.0 - np.sum((Pi @ g) ** 2) / (2 * L), rel=TOL["float64"], abs=TOL["float64"])
    assert differs(regret.optimal_step(2 * g, Pi, smoothness=L), best)


@given(steps())
def test_the_right_side_of_5_equals_half_l_times_the_squared_distance(case):
    g, Pi, step, L = case
    keywords = {"smoothness": L}
    printed = regret.regret_bound_printed(g, step, Pi, **keywords)
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + step @ step)
    assert printed == pytest.approx(regret.exact_regret(g, step, Pi, **keywords), abs=room)
    assert printed == pytest.approx(regret.model_regret(g, step, Pi, **keywords), abs=room)
    distance = np.sum((step - regret.optimal_step(g, Pi, **keywords)) ** 2)
    assert printed == pytest.approx(L / 2 * distance, abs=room)
    assert differs(printed, L * distance)


@given(steps(), generators())
def test_outside_the_span_the_extra_term_is_exact(case, rng):
    g, Pi, _, L = case
    step = rng.standard_normal(len(g))
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + step @ step)
    printed = regret.regret_bound_printed(g, step, Pi, smoothness=L)
    assert printed == pytest.approx(regret.exact_regret(g, step, Pi, smoothness=L), abs=room)
    distance = np.sum((step - regret.optimal_step(g, Pi, smoothness=L)) ** 2)
    extra = (g - Pi @ g) @ step
    assert printed == pytest.approx(L / 2 * distance + extra, abs=room)


@given(quadratic_tasks())
def test_the_second_reading_holds_for_smooth_losses(task):
    loss, theta, g, step, Pi, L = task
    left = regret.true_to_model_regret(loss, theta, g, step, Pi, smoothness=L)
    right = regret.regret_bound_printed(g, step, Pi, smoothness=L)
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + step @ step + theta @ theta)
    assert left <= right + room


@given(steps())
def test_the_second_reading_is_an_equality_for_the_model_itself(case):
    g, Pi, step, L = case
    left = regret.true_to_model_regret(
        lambda t: float(g @ t + L / 2 * t @ t), np.zeros(len(g)), g, step, Pi, smoothness=L
    )
    right = regret.regret_bound_printed(g, step, Pi, smoothness=L)
    assert left == pytest.approx(right, abs=TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + step @ step))


def test_the_second_reading_fails_for_a_loss_that_is_steeper_than_l():
    left = regret.true_to_model_regret(lambda t: float(t @ t), [0.0], [0.0], [1.0], [[1.0]], smoothness=1.0)
    assert left > regret.regret_bound_printed([0.0], [1.0], [[1.0]], smoothness=1.0) + TOL["apart"]


def test_cex_1_the_third_reading_fails():
    case = COUNTEREXAMPLES["CEX-1"]
    L, curvature = case.numbers["smoothness"], case.numbers["curvature"]
    arguments = (case["gradient"], case["step"], case["projector"])
    left = regret.true_regret(lambda t: curvature / 2 * float(t @ t), case["theta"], *arguments, smoothness=L)
    right = regret.regret_bound_printed(*arguments, smoothness=L)
    assert (left, right) == (case.numbers["left"], case.numbers["right"])
    assert left > right
    assert left <= regret.true_regret_bound_convex(*arguments, smoothness=L)


@given(quadratic_tasks())
def test_the_corrected_bound_holds_for_smooth_losses(task):
    loss, theta, g, step, Pi, L = task
    left = regret.true_regret(loss, theta, g, step, Pi, smoothness=L)
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + step @ step + theta @ theta)
    assert left <= regret.true_regret_bound_smooth(g, step, Pi, smoothness=L) + room


@given(quadratic_tasks(convex=True))
def test_the_corrected_bound_holds_for_convex_losses(task):
    loss, theta, g, step, Pi, L = task
    left = regret.true_regret(loss, theta, g, step, Pi, smoothness=L)
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + step @ step + theta @ theta)
    assert left <= regret.true_regret_bound_convex(g, step, Pi, smoothness=L) + room


@given(steps())
def test_the_two_corrected_bounds_by_their_formula(case):
    g, Pi, step, L = case
    distance = np.linalg.norm(step + Pi @ g / L)
    for factor, bound in ((2, regret.true_regret_bound_smooth), (1, regret.true_regret_bound_convex)):
        expected = factor * np.linalg.norm(Pi @ g) * distance + L / 2 * distance**2
        assert bound(g, step, Pi, smoothness=L) == pytest.approx(expected, rel=TOL["float64"], abs=TOL["float64"])


@pytest.mark.parametrize(
    ("loss", "bound"),
    [
        (lambda t: float(t[0] - t[0] ** 2 / 2), regret.true_regret_bound_smooth),
        (lambda t: float(t[0]), regret.true_regret_bound_convex),
    ],
)
def test_both_constants_are_attained_in_the_linear_term(loss, bound):
    # d* = -1; for d = -1 + h the left side is (2 or 1) h - O(h^2), the bound (2 or 1) h + h^2 / 2.
    h = 1e-3
    left = regret.true_regret(loss, [0.0], [1.0], [h - 1.0], [[1.0]], smoothness=1.0)
    right = bound([1.0], [h - 1.0], [[1.0]], smoothness=1.0)
    assert right - h**2 - TOL["hand"] <= left <= right


def test_the_smooth_constant_is_needed_without_convexity():
    concave = regret.true_regret(lambda t: float(t[0] - t[0] ** 2 / 2), [0.0], [1.0], [-0.9], [[1.0]], smoothness=1.0)
    assert concave > regret.true_regret_bound_convex([1.0], [-0.9], [[1.0]], smoothness=1.0) + TOL["apart"]


def test_the_descent_lemma_alone_is_not_enough():
    # t - 5 t^2 lies below t + t^2 / 2 everywhere, but its gradient is not 1-Lipschitz.
    left = regret.true_regret(lambda t: float(t[0] - 5 * t[0] ** 2), [0.0], [1.0], [-0.5], [[1.0]], smoothness=1.0)
    assert left > regret.true_regret_bound_smooth([1.0], [-0.5], [[1.0]], smoothness=1.0) + TOL["apart"]


@pytest.mark.parametrize("bound", [regret.true_regret_bound_smooth, regret.true_regret_bound_convex])
def test_the_corrected_bounds_are_for_steps_in_the_span(bound):
    with pytest.raises(ValueError, match=r"^step: expected a vector of the span, got one with a part outside$"):
        bound([1.0, 1.0], [1.0, 1.0], np.diag([1.0, 0.0]), smoothness=1.0)


# Eq (6) and what one common step can do


def test_equation_6_by_hand():
    for side in (regret.adaptive_decrease, regret.adaptive_decrease_by_residual):
        assert side([[2.0, 1.0]], np.diag([1.0, 0.0]), smoothness=4.0) == 0.5  # 2^2 / (2 * 4)


@given(task_sets())
def test_equation_6_by_both_of_its_sides(tasks):
    g, p, Pi, _, L = tasks
    keywords = {"smoothness": L, "probabilities": p}
    found = regret.adaptive_decrease(g, Pi, **keywords)
    room = TOL["float64"] * (1 + float(np.sum(g**2)) / L)
    assert found == pytest.approx(regret.adaptive_decrease_by_residual(g, Pi, **keywords), abs=room)
    by_tasks = [
        -regret.quadratic_model(0.0, row, regret.optimal_step(row, Pi, smoothness=L), smoothness=L) for row in g
    ]
    assert found == pytest.approx(float(p @ by_tasks), abs=room)
    assert regret.common_decrease(g, Pi, **keywords) <= found + room


@given(quadratic_tasks())
def test_a_smooth_loss_falls_at_least_by_equation_6(task):
    loss, theta, g, _, Pi, L = task
    best = regret.optimal_step(g, Pi, smoothness=L)
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + g @ g + theta @ theta)
    assert loss(theta) - loss(theta + best) >= regret.adaptive_decrease([g], Pi, smoothness=L) - room


@given(steps(), st.sampled_from([0.0, 0.1, 1.0, 1.9, 2.0, 2.1, 3.0]))
def test_the_decrease_at_a_rate(case, share):
    g, Pi, _, L = case
    rate = share / L
    found = regret.decrease_at_rate(g, Pi, smoothness=L, rate=rate)
    room = TOL["float64"] * (1 + g @ g) * (1 + 1 / L)
    assert found == pytest.approx(-regret.quadratic_model(0.0, g, -rate * Pi @ g, smoothness=L), abs=room)
    assert found <= regret.decrease_at_rate(g, Pi, smoothness=L, rate=1 / L) + room
    assert regret.decrease_at_rate(g, Pi, smoothness=L, rate=1 / L) == pytest.approx(
        regret.adaptive_decrease([g], Pi, smoothness=L), abs=room
    )
    assert np.sign(round(found / (g @ Pi @ g) * L, 6)) == np.sign(share * (2 - share))


@given(task_sets())
def test_the_mean_regret_splits_into_a_common_and_an_irreducible_part(tasks):
    g, p, Pi, step, L = tasks
    keywords = {"smoothness": L, "probabilities": p}
    found = regret.regret_decomposition(g, step, Pi, **keywords)
    room = TOL["float64"] * (1 + L + 1 / L) * (1 + float(np.sum(g**2)) + step @ step)
    assert found.total == pytest.approx(found.common + found.irreducible, abs=room)
    distances = [np.sum((step - regret.optimal_step(row, Pi, smoothness=L)) ** 2) for row in g]
    assert found.total == pytest.approx(L / 2 * float(p @ distances), abs=room)
    covariance = subspace.centred_covariance(g, probabilities=p)
    assert found.irreducible == pytest.approx(np.trace(Pi @ covariance @ Pi) / (2 * L), abs=room)
    best = regret.optimal_step(p @ g, Pi, smoothness=L)
    at_best = regret.regret_decomposition(g, best, Pi, **keywords)
    assert at_best.common == pytest.approx(0.0, abs=room)
    lost = regret.adaptive_decrease(g, Pi, **keywords) - regret.common_decrease(g, Pi, **keywords)
    assert at_best.total == pytest.approx(lost, abs=room)


def test_cex_2_no_residual_and_a_regret_of_one_half():
    case = COUNTEREXAMPLES["CEX-2"]
    keywords = {"smoothness": case.numbers["smoothness"]}
    g, Pi = case["gradients"], case["projector"]
    assert subspace.gradient_residual(subspace.second_moment(g), Pi) == 0.0
    found = [regret.regret_decomposition(g, [step], Pi, **keywords).total for step in np.linspace(-2, 2, 9)]
    assert min(found) == case.numbers["regret"]
    assert regret.common_decrease(g, Pi, **keywords) == 0.0
    assert regret.adaptive_decrease(g, Pi, **keywords) == 0.5


# Remark 3.4


@st.composite
def realisations(draw):
    """A Jacobian (C, m, P), logits, a gradient that need not lie in the span, a smoothness."""
    C, m, P = draw(st.integers(2, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 10))
    rng = draw(generators())
    J = rng.standard_normal((C, m, P))
    return J, rng.standard_normal((C, m)), rng.standard_normal(P), draw(st.sampled_from([0.5, 2.0]))


@given(realisations(), st.sampled_from([0.1, 1.0]))
def test_squared_loss_realises_the_best_step(case, rate):
    J, z, g, L = case
    found = regret.realise_by_squared_loss(J, z, g, smoothness=L, rate=rate)
    update = -found.rate * regret.loss_gradient(J, regret.squared_loss_sensitivity(z, found.targets))
    Pi = subspace.span_projector(subspace.stacked_gradients(J))
    np.testing.assert_allclose(update, regret.optimal_step(g, Pi, smoothness=L), rtol=0, atol=TOL["squared_kernel"])
    assert found.rate == rate


@given(realisations())
def test_cross_entropy_realises_the_best_of_what_it_reaches(case):
    J, z, g, L = case
    found = regret.realise_by_cross_entropy(J, z, g, smoothness=L)
    np.testing.assert_allclose(found.targets.sum(axis=0), 1.0, **CLOSE)
    assert found.targets.min() >= -TOL["float64"]
    update = -found.rate * regret.loss_gradient(J, regret.cross_entropy_sensitivity(z, found.targets))
    Pi_CE = regret.cross_entropy_projector(J)
    np.testing.assert_allclose(update, regret.optimal_step(g, Pi_CE, smoothness=L), rtol=0, atol=TOL["squared_kernel"])
    Pi = subspace.span_projector(subspace.stacked_gradients(J))
    left = regret.exact_regret(g, update, Pi, smoothness=L)
    assert left == pytest.approx(regret.unreachable_regret(J, g, smoothness=L), abs=TOL["squared_kernel"])


def test_no_gradient_is_realised_by_doing_nothing():
    J, z = np.ones((2, 1, 1)), np.array([[1.0], [0.0]])
    found = regret.realise_by_cross_entropy(J, z, [1.0], smoothness=1.0)
    np.testing.assert_allclose(found.targets, regret.softmax(z), **CLOSE)
    assert found.rate == 1.0


@pytest.mark.parametrize("gap", [0.0, 5.0, 15.0, 20.0])
def test_labels_hold_the_step_of_a_sure_network(gap):
    J, z = np.array([[[1.0, 0.0]], [[-1.0, 0.5]]]), np.array([[gap], [0.0]])
    for g in ([1.0, 0.0], [-1.0, 0.0]):
        found = regret.realise_by_cross_entropy(J, z, g, smoothness=1.0)
        update = -found.rate * regret.loss_gradient(J, regret.cross_entropy_sensitivity(z, found.targets))
        wanted = regret.optimal_step(g, regret.cross_entropy_projector(J), smoothness=1.0)
        np.testing.assert_allclose(update, wanted, rtol=TOL["apart"])


@pytest.mark.parametrize("gap", [30.0, 37.0, 60.0, 740.0, 800.0])
def test_a_step_that_labels_cannot_hold_is_refused(gap):
    J, z = np.array([[[1.0]], [[-1.0]]]), np.array([[gap], [0.0]])
    with pytest.raises(
        ValueError, match=r"^logits: expected probabilities whose labels hold the step, got one down to"
    ):
        regret.realise_by_cross_entropy(J, z, [-1.0], smoothness=1.0)
    # The other way the sure class gives: its probability is one, and so is the rate.
    found = regret.realise_by_cross_entropy(J, z, [1.0], smoothness=1.0)
    np.testing.assert_allclose(found.rate * (regret.softmax(z) - found.targets), [[0.5], [-0.5]], **CLOSE)


def test_cex_3_cross_entropy_makes_no_progress():
    case = COUNTEREXAMPLES["CEX-3"]
    keywords = {"smoothness": case.numbers["smoothness"]}
    J, g = case["jacobian"], case["gradient"]
    np.testing.assert_allclose(regret.cross_entropy_projector(J), [[0.5, -0.5], [-0.5, 0.5]], **HAND)
    assert regret.unreachable_regret(J, g, **keywords) == pytest.approx(case.numbers["regret"], rel=TOL["hand"])
    assert regret.adaptive_decrease([g], np.eye(2), **keywords) == pytest.approx(
        case.numbers["regret"], rel=TOL["hand"]
    )


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regret.cross_entropy(np.eye(2), np.eye(3)), "targets: expected 2 rows"),
        (lambda: regret.squared_loss(np.ones((2, 1)), np.eye(2)), "targets: expected 1 columns"),
        (lambda: regret.loss_gradient(np.eye(2), np.eye(2)), "jacobian: expected 3 axes"),
        (lambda: regret.loss_gradient_summed(np.ones((2, 1, 3)), np.eye(2)), "sensitivity: expected 1 columns"),
        (lambda: regret.cross_entropy_projector(np.eye(2)), "jacobian: expected 3 axes"),
        (lambda: regret.quadratic_model(0.0, [1.0], [1.0, 2.0], smoothness=1.0), "step: expected length 1"),
        (lambda: regret.quadratic_model(0.0, [1.0], [1.0], smoothness=0.0), "smoothness: expected a number above 0"),
        (lambda: regret.quadratic_model(np.nan, [1.0], [1.0], smoothness=1.0), "value: expected finite entries"),
        (lambda: regret.optimal_step([1.0], np.eye(2), smoothness=1.0), "projector: expected 1 rows"),
        (lambda: regret.optimal_step([1.0], [[0.5]], smoothness=1.0), "projector: expected an orthogonal projector"),
        (lambda: regret.optimal_step([1.0], [[1.0]], smoothness=-1.0), "smoothness: expected a number above 0"),
        (
            lambda: regret.decrease_at_rate([1.0], [[1.0]], smoothness=1.0, rate=-1.0),
            "rate: expected a number that is 0",
        ),
        (lambda: regret.true_regret(float, [1.0], [1.0], [1.0, 1.0], [[1.0]], smoothness=1.0), "step: expected length"),
        (lambda: regret.adaptive_decrease([[1.0]], [[1.0]], smoothness=0.0), "smoothness: expected a number above 0"),
        (
            lambda: regret.common_decrease([[1.0]], [[1.0]], smoothness=1.0, probabilities=[2.0]),
            "probabilities: expected numbers",
        ),
        (
            lambda: regret.regret_decomposition([[1.0]], [1.0, 1.0], [[1.0]], smoothness=1.0),
            "step: expected length 1",
        ),
        (lambda: regret.unreachable_regret(np.ones((2, 1, 3)), [1.0], smoothness=1.0), "gradient: expected length 3"),
        (
            lambda: regret.realise_by_squared_loss(np.ones((2, 1, 3)), [[1.0]], np.ones(3), smoothness=1.0, rate=1.0),
            "logits: expected 2 rows",
        ),
        (
            lambda: regret.realise_by_squared_loss(np.ones((1, 1, 1)), [[1.0]], [1.0], smoothness=1.0, rate=0.0),
            "rate: expected a number above 0",
        ),
        (
            lambda: regret.realise_by_cross_entropy(np.ones((2, 1, 3)), np.eye(2), np.ones(3), smoothness=1.0),
            "logits: expected 1 columns",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
