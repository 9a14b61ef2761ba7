"""The barycentre on every array kind: k-means by hand, and optimal transport by POT as the second route."""

import numpy as np
import pytest
from hypothesis import given

from dntk_fast.distillation.barycenter import barycenter, quantisation_cost
from tests.fast.stacks import clouds
from tests.kinds import CLOSE, ROUNDED, assert_same_kind, back, kinds, to
from tests.tolerances import TOL

ot = pytest.importorskip("ot", reason="POT is missing")


def transport(points, support, weights):
    """The squared distance by POT's exact solver."""
    uniform = np.full(len(points), 1 / len(points))
    return ot.emd2(uniform, weights / weights.sum(), ot.dist(points, support))


@kinds
def test_three_points_by_hand(kind):
    points = to(kind, np.asarray([[0.0], [2.0], [9.0]]))
    found = barycenter(points, 2, seed=0)
    order = np.argsort(back(found.points)[:, 0])
    np.testing.assert_allclose(back(found.points)[order, 0], [1, 9], **CLOSE)
    np.testing.assert_allclose(back(found.weights)[order], [2 / 3, 1 / 3], **CLOSE)
    assert found.cost == pytest.approx(2 / 3, rel=TOL["hand"])
    assert_same_kind(found.points, points)
    assert_same_kind(found.weights, points)


@kinds
@given(cloud=clouds())
def test_the_cost_is_the_distortion_and_the_transport_cost(kind, cloud):
    points, m = cloud
    found = barycenter(to(kind, points), m, seed=1)
    support, weights = back(found.points), back(found.weights)
    assert len(support) <= m
    np.testing.assert_allclose(weights.sum(), 1, **CLOSE)
    np.testing.assert_allclose(quantisation_cost(to(kind, points), found.points), found.cost, **CLOSE)
    np.testing.assert_allclose(transport(points, support, weights), found.cost, **CLOSE)
    # No other weights do better on this support; the uniform ones are the broken twin where they differ.
    uniform = np.full(len(support), 1 / len(support))
    other = transport(points, support, uniform)
    assert other >= found.cost - TOL["float64"]
    if np.abs(weights - uniform).max() > TOL["apart"]:
        assert other > found.cost + TOL["apart"] ** 2


def test_pots_free_support_barycentre_is_no_better_than_ours():
    points = np.random.default_rng(3).standard_normal((40, 2))
    ours = barycenter(points, 4, seed=0)
    weights = back(ours.weights)
    theirs = ot.lp.free_support_barycenter([points], [np.full(40, 1 / 40)], ours.points.copy(), b=weights)
    # At a minimum of the free problem the support with these weights cannot be moved to advantage.
    assert transport(points, theirs, weights) >= ours.cost - TOL["squared_kernel"]
    np.testing.assert_allclose(theirs, ours.points, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])


@kinds
def test_fewer_distinct_rows_give_fewer_points(kind):
    found = barycenter(to(kind, np.asarray([[1.0], [1.0], [5.0]])), 3, seed=0)
    assert found.points.shape == (2, 1)
    np.testing.assert_allclose(sorted(back(found.weights)), [1 / 3, 2 / 3], **CLOSE)
    assert found.cost == 0


@kinds
def test_a_seed_gives_the_same_answer_and_float32_comes_back(kind):
    points = np.random.default_rng(0).standard_normal((30, 4)).astype("float32")
    first, second = (barycenter(to(kind, points, "float32"), 5, seed=7) for _ in range(2))
    np.testing.assert_array_equal(back(first.points), back(second.points))
    assert_same_kind(first.points, to(kind, points, "float32"))
    expected = barycenter(points.astype("float64"), 5, seed=7)
    np.testing.assert_allclose(back(first.points), expected.points, **ROUNDED)


def test_more_starts_find_a_better_minimum():
    points = np.random.default_rng(0).standard_normal((120, 4))
    one, ten, many = (barycenter(points, 10, seed=0, starts=starts).cost for starts in (1, 10, 40))
    assert many < ten < one
    assert barycenter(points, 10, seed=0).cost == ten


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: barycenter(np.ones((3, 2)), 4, seed=0), ValueError, r"m: expected an integer in \[1, 3\], got 4"),
        (lambda: barycenter(np.ones((3, 2)), 0, seed=0), ValueError, r"m: expected an integer in \[1, 3\], got 0"),
        (lambda: barycenter(np.ones(3), 1, seed=0), ValueError, r"points: expected 2 axes, got shape \(3,\)"),
        (lambda: barycenter(np.ones((3, 2)), 1, seed=-1), ValueError, r"seed: expected an integer in \[0, "),
        (lambda: barycenter(np.ones((3, 2)), 1, seed=None), TypeError, r"seed: expected an integer, got None"),
        (lambda: barycenter(np.ones((3, 2)) / 0, 1, seed=0), ValueError, r"points: expected finite entries"),
        (
            lambda: quantisation_cost(np.ones((3, 2)), np.ones((0, 2))),
            ValueError,
            r"support: expected at least one entry along every axis, got shape \(0, 2\)",
        ),
        (
            lambda: quantisation_cost(np.ones((3, 2)), np.ones((1, 3))),
            ValueError,
            r"support: expected shape \(any, 2\), got shape \(1, 3\)",
        ),
    ],
)
def test_refusals(call, error, message):
    with np.errstate(divide="ignore"), pytest.raises(error, match=message):
        call()
