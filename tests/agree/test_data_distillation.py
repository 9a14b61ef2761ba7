"""Distilled images against the reference: pooled statistics, barycentres, the loss of C.5."""

import numpy as np
import pytest
import torch

from dntk_fast.distillation.data_distillation import class_moments, distil_images
from dntk_fast.tangent.head import penultimate
from dntk_fast.workflow.models import build
from dntk_ref.barycenter import (
    averaged_batch_variance,
    feature_loss,
    pooled_variance,
    quantisation_cost,
    wasserstein,
)
from tests.tolerances import TOL


def test_running_sums_pool_the_batches_as_the_reference_does():
    batches = np.random.default_rng(0).normal(3.0, 2.0, (4, 6, 5))
    one_class = torch.zeros(6, dtype=torch.int64)
    first, *rest = (class_moments(torch.from_numpy(batch), one_class, 1) for batch in batches)
    variance = sum(rest, first).variance[0].numpy()
    np.testing.assert_allclose(variance, pooled_variance(batches), rtol=TOL["float64"])
    assert np.abs(variance - averaged_batch_variance(batches)).min() > TOL["apart"]


@pytest.fixture(scope="module")
def made():
    """A network without BatchNorm in float64, 24 images of two classes, and four images distilled from each."""
    model = build("mlp", seed=0, inputs=6, hidden=(5,), outputs=2).double()
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(24) % 2
    return model, x, y, distil_images(model, x, y, per_class=4, seed=0, steps=10)


@pytest.mark.parametrize("label", [0, 1])
@torch.no_grad()
def test_cost_and_masses_are_those_of_optimal_transport(made, label):
    model, x, y, result = made
    features = penultimate(model, x[y == label]).numpy()
    points, weights = result.points[label].numpy(), result.weights.view(2, 4)[label].numpy()
    cost = result.costs[label].item()
    np.testing.assert_allclose(cost, quantisation_cost(features, points), rtol=TOL["float64"])
    np.testing.assert_allclose(cost, wasserstein(features, points, weights), rtol=TOL["float64"])
    # Broken twin: any other masses cost more; these are moved by one image.
    moved = weights + np.array([1, -1, 0, 0]) * (1 if weights[1] > 0.1 else -1) / 12
    assert wasserstein(features, points, moved) > cost + TOL["apart"]


@torch.no_grad()
def test_feature_loss_is_that_of_the_reference(made):
    model, _, _, result = made
    features = penultimate(model, result.images).view(2, 4, -1).numpy()
    loss = sum(feature_loss(own, goal) for own, goal in zip(features, result.points.numpy(), strict=True))
    np.testing.assert_allclose(result.matching[-1, 0], loss, rtol=TOL["float64"])
    assert abs(result.matching[-2, 0] - loss) > TOL["apart"]  # the loss before the last step is another
