"""Barycentres: the free-weight one is k-means (by linear programming and by exhaustion), the uniform one is not."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import vq

from dntk_ref import barycenter as bary
from tests.ref.sides import CLOSE, differs
from tests.tolerances import TOL

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def clouds(draw, most=7):
    """Gaussian points (n, d) with a support of m of the normal plane; sometimes on a grid, where distances tie."""
    n, d, m = draw(st.integers(1, most)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(SEEDS))
    Z, B = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    return (np.round(Z), np.round(B)) if draw(st.booleans()) else (Z, B)


def smallest_distortion(Z, m):
    """The k-means minimum by exhaustion: every way of giving m labels to n points, each cluster at its mean."""
    costs = []
    for labels in product(range(m), repeat=len(Z)):
        groups = [Z[np.array(labels) == j] for j in set(labels)]
        costs.append(sum(np.sum((g - g.mean(axis=0)) ** 2) for g in groups) / len(Z))
    return min(costs)


@given(clouds())
def test_free_weight_transport_cost_is_the_distortion(cloud):
    Z, B = cloud
    weights = bary.voronoi_weights(Z, B)
    np.testing.assert_allclose(bary.wasserstein(Z, B, weights), bary.quantisation_cost(Z, B), **CLOSE)
    np.testing.assert_allclose(bary.quantisation_cost(Z, B), np.mean(vq(Z, B)[1] ** 2), **CLOSE)
    assert weights.sum() == pytest.approx(1, rel=TOL["hand"])


@given(clouds(), SEEDS)
def test_other_weights_never_cost_less(cloud, seed):
    Z, B = cloud
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(B)))
    assert bary.wasserstein(Z, B, weights) >= bary.quantisation_cost(Z, B) - TOL["float64"]


def test_other_weights_cost_more_by_hand():
    # Half the mass of 0 must travel to 4 if both points weigh a half and three of four points sit at 0.
    assert bary.wasserstein([[0.0], [0.0], [0.0], [4.0]], [[0.0], [4.0]], [0.5, 0.5]) == pytest.approx(
        4.0, rel=TOL["hand"]
    )
    assert bary.quantisation_cost([[0.0], [0.0], [0.0], [4.0]], [[0.0], [4.0]]) == 0.0


@given(clouds())
def test_transport_plan_has_its_marginals_and_the_lower_cost(cloud):
    Z, B = cloud
    m = len(B)
    weights = np.arange(1, m + 1) / np.arange(1, m + 1).sum()
    plan = bary.transport_plan(Z, B, weights)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / len(Z), **CLOSE)
    np.testing.assert_allclose(plan.sum(axis=0), weights, **CLOSE)
    distances = ((Z[:, None] - B[None]) ** 2).sum(axis=2)
    independent = np.outer(np.full(len(Z), 1 / len(Z)), weights)
    assert np.sum(plan * distances) <= np.sum(independent * distances) + TOL["float64"]
    np.testing.assert_allclose(bary.wasserstein(Z, B, weights), np.sum(plan * distances), **CLOSE)


@given(SEEDS)
def test_transport_on_the_line_is_sorting(seed):
    Z, B = np.random.default_rng(seed).standard_normal((2, 5, 1))
    sorted_cost = np.mean((np.sort(Z, axis=0) - np.sort(B, axis=0)) ** 2)
    np.testing.assert_allclose(bary.wasserstein(Z, B, np.full(5, 0.2)), sorted_cost, **CLOSE)
    assert bary.wasserstein(Z, B, np.full(5, 0.2)) <= np.mean((Z - B) ** 2) + TOL["float64"]


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
def test_the_distance_scales_with_the_points(scale):
    rng = np.random.default_rng(0)
    Z, B = rng.standard_normal((7, 2)), rng.standard_normal((3, 2))
    weights = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(
        bary.wasserstein(scale * Z, scale * B, weights) / scale**2, bary.wasserstein(Z, B, weights), **CLOSE
    )
    unit, scaled = (bary.uniform_barycenter(s * Z, 3, rng=np.random.default_rng(1)) for s in (1.0, scale))
    np.testing.assert_allclose(scaled.cost / scale**2, unit.cost, **CLOSE)
    assert bary.wasserstein([[scale]], [[scale]], [1.0]) == 0


@given(clouds(most=6), SEEDS)
def test_barycenter_is_the_exhaustive_k_means_minimum(cloud, seed):
    Z, B = cloud
    m = min(len(B), len(Z))
    found = bary.barycenter(Z, m, rng=np.random.default_rng(seed))
    np.testing.assert_allclose(found.cost, smallest_distortion(Z, m), **CLOSE)
    np.testing.assert_allclose(found.cost, bary.wasserstein(Z, found.points, found.weights), **CLOSE)
    labels = bary.nearest(Z, found.points)
    for j, centre in enumerate(found.points):
        np.testing.assert_allclose(centre, Z[labels == j].mean(axis=0), **CLOSE)
        assert found.weights[j] == pytest.approx(np.mean(labels == j), rel=TOL["hand"])
    if len(np.unique(Z, axis=0)) > m:
        assert differs(bary.quantisation_cost(Z, found.points + 0.5), found.cost)


@given(clouds(most=6), SEEDS)
def test_uniform_barycenter_costs_at_least_the_free_one(cloud, seed):
    Z, B = cloud
    m = min(len(B), len(Z))
    free = bary.barycenter(Z, m, rng=np.random.default_rng(seed))
    held = bary.uniform_barycenter(Z, m, rng=np.random.default_rng(seed))
    assert held.cost >= free.cost - TOL["float64"]
    np.testing.assert_allclose(held.weights, 1 / len(held.points), **CLOSE)
    np.testing.assert_allclose(held.cost, bary.wasserstein(Z, held.points, held.weights), **CLOSE)


def test_uniform_weights_cost_more_by_hand():
    # 0, 0, 0, 4 in two halves: {0, 0} at 0 and {0, 4} at 2 costs (4 + 4) / 4; free weights cost nothing.
    Z = np.array([[0.0], [0.0], [0.0], [4.0]])
    held = bary.uniform_barycenter(Z, 2, rng=np.random.default_rng(1))
    assert held.cost == pytest.approx(2.0, rel=TOL["hand"])
    assert sorted(held.points.ravel()) == pytest.approx([0.0, 2.0], abs=TOL["hand"])
    assert bary.barycenter(Z, 2, rng=np.random.default_rng(1)).cost == 0.0


@given(clouds())
def test_lloyd_never_raises_the_distortion_and_ends_at_means(cloud):
    Z, B = cloud
    end = bary.lloyd(Z, B)
    assert bary.quantisation_cost(Z, end) <= bary.quantisation_cost(Z, B) + TOL["float64"]
    labels = bary.nearest(Z, end)
    means = np.array([Z[labels == j].mean(axis=0) for j in np.unique(labels)])
    np.testing.assert_allclose(bary.quantisation_cost(Z, means), bary.quantisation_cost(Z, end), **CLOSE)


def test_lloyd_walks_to_the_minimum_and_drops_an_empty_centre():
    # From 0 and 1 the second centre must travel over three steps; a centre at 100 attracts nothing.
    Z = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
    assert bary.lloyd(Z, [[0.0], [1.0]]).ravel().tolist() == [1.0, 10.5]
    assert bary.lloyd(Z, [[1.0], [10.0], [100.0]]).ravel().tolist() == [1.0, 10.5]


def test_seeding_takes_data_points_and_prefers_far_ones():
    Z = np.array([[0.0], [1.0], [100.0]])
    rng = np.random.default_rng(3)
    drawn = [bary.seeding(Z, 2, rng=rng) for _ in range(400)]
    assert all(start[0] in Z and start[1] in Z and start[0] != start[1] for start in drawn)
    far = np.mean([100.0 in start for start in drawn])
    # From 0 or 1 the far point has probability above 0.9999, from 100 it is there already; uniform choice gives 2/3.
    assert far > 0.99
    first = np.mean([start[0, 0] == 0 for start in drawn])
    assert abs(first - 1 / 3) < 5 * np.sqrt(2 / 9 / 400)  # five standard deviations: one false alarm in a million
    assert len(bary.seeding(np.zeros((3, 1)), 2, rng=rng)) == 1


def test_nearest_takes_the_smallest_index_on_ties():
    assert bary.nearest([[0.0], [0.4]], [[-1.0], [1.0]]).tolist() == [0, 1]
    assert bary.voronoi_weights([[0.0]], [[-1.0], [1.0]]).tolist() == [1.0, 0.0]


@given(SEEDS)
def test_distillation_loss_terms(seed):
    rng = np.random.default_rng(seed)
    F, B = rng.standard_normal((2, 3, 4))
    assert bary.feature_loss(F, B) == pytest.approx(np.linalg.norm(F - B) ** 2, rel=TOL["float64"])
    a, b, c, d = rng.standard_normal((4, 5))
    expected = np.linalg.norm(a - c) ** 2 + np.linalg.norm(b - d) ** 2
    assert bary.statistics_loss(a, b, c, d) == pytest.approx(expected, rel=TOL["float64"])
    assert differs(bary.statistics_loss(a, b, d, c), expected)


@given(SEEDS, st.integers(1, 4), st.integers(1, 4))
def test_cex_29_averaged_batch_variance_leaves_out_the_variance_of_means(seed, batches, n):
    X = np.random.default_rng(seed).standard_normal((batches, n, 2))
    np.testing.assert_allclose(bary.pooled_variance(X), X.reshape(-1, 2).var(axis=0), **CLOSE)
    missing = X.mean(axis=1).var(axis=0)
    np.testing.assert_allclose(bary.averaged_batch_variance(X) + missing, bary.pooled_variance(X), **CLOSE)


def test_cex_29_by_hand():
    X = [[[0.0], [2.0]], [[10.0], [12.0]]]
    assert (bary.averaged_batch_variance(X).item(), bary.pooled_variance(X).item()) == (1.0, 26.0)


Z2 = [[0.0], [1.0]]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bary.nearest(Z2, [[0.0, 1.0]]), "support: expected 1 columns"),
        (lambda: bary.nearest([1.0], Z2), "points: expected 2 axes"),
        (lambda: bary.quantisation_cost(Z2, [[0.0, 1.0]]), "support: expected 1 columns"),
        (lambda: bary.quantisation_cost([0.0], Z2), "points: expected 2 axes"),
        (lambda: bary.transport_plan(Z2, Z2, [1.0]), "weights: expected length 2"),
        (lambda: bary.transport_plan(Z2, Z2, [1.5, -0.5]), "weights: expected numbers >= 0 that sum to 1"),
        (lambda: bary.transport_plan(Z2, Z2, [0.5, 0.6]), "weights: expected numbers >= 0 that sum to 1"),
        (lambda: bary.transport_plan(Z2, [[0.0, 1.0]], [1.0]), "support: expected 1 columns"),
        (lambda: bary.transport_plan([0.0], Z2, [1.0]), "points: expected 2 axes"),
        (lambda: bary.seeding(Z2, 3, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: bary.seeding(Z2, 0, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: bary.lloyd([0.0], Z2), "points: expected 2 axes"),
        (lambda: bary.lloyd(Z2, [0.0]), "support: expected 2 axes"),
        (lambda: bary.barycenter([[np.inf]], 1, rng=RNG), "points: expected finite entries"),
        (lambda: bary.uniform_barycenter(Z2, 3, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: bary.uniform_barycenter([0.0], 1, rng=RNG), "points: expected 2 axes"),
        (lambda: bary.feature_loss(Z2, [[0.0]]), "targets: expected 2 rows"),
        (lambda: bary.statistics_loss([1.0], [1.0, 2.0], [1.0], [1.0]), "spread: expected length 1"),
        (lambda: bary.statistics_loss([1.0], [1.0], [1.0, 2.0], [1.0]), "target_mean: expected length 1"),
        (lambda: bary.statistics_loss([1.0], [1.0], [1.0], [1.0, 2.0]), "target_spread: expected length 1"),
        (lambda: bary.averaged_batch_variance(Z2), "batches: expected 3 axes"),
        (lambda: bary.pooled_variance(Z2), "batches: expected 3 axes"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("function", [bary.barycenter, bary.uniform_barycenter, bary.seeding])
def test_a_generator_is_demanded(function):
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, got int"):
        function(Z2, 1, rng=0)
