"""The barycentre: the fast path and the reference agree on costs, and on the support where clusters are clear."""

import numpy as np
from hypothesis import given

from dntk_fast.distillation.barycenter import barycenter, quantisation_cost
from dntk_ref.barycenter import (
    barycenter as reference_barycenter,
)
from dntk_ref.barycenter import (
    quantisation_cost as reference_cost,
)
from dntk_ref.barycenter import (
    voronoi_weights,
    wasserstein,
)
from tests.fast.stacks import clouds
from tests.kinds import CLOSE, back, kinds, to


@kinds
@given(cloud=clouds())
def test_costs_agree_and_the_linear_program_confirms_them(kind, cloud):
    points, m = cloud
    found = barycenter(to(kind, points), m, seed=0)
    support, weights = back(found.points), back(found.weights)
    np.testing.assert_allclose(found.cost, reference_cost(points, support), **CLOSE)
    np.testing.assert_allclose(weights, voronoi_weights(points, support), **CLOSE)
    np.testing.assert_allclose(found.cost, wasserstein(points, support, weights), **CLOSE)
    np.testing.assert_allclose(quantisation_cost(to(kind, points), found.points), found.cost, **CLOSE)


@kinds
def test_the_same_barycentre_of_clear_clusters(kind):
    # Two k-means of different make can stop in different minima; with clusters 100 wide apart there is one.
    rng = np.random.default_rng(2)
    points = rng.standard_normal((30, 3)) + 100 * rng.integers(0, 4, size=30)[:, None]
    found = barycenter(to(kind, points), 4, seed=0)
    expected = reference_barycenter(points, 4, rng=np.random.default_rng(0))
    order, reference_order = (np.argsort(back(one.points)[:, 0]) for one in (found, expected))
    np.testing.assert_allclose(back(found.points)[order], expected.points[reference_order], **CLOSE)
    np.testing.assert_allclose(back(found.weights)[order], expected.weights[reference_order], **CLOSE)
    np.testing.assert_allclose(found.cost, expected.cost, **CLOSE)
