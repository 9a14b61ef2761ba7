"""Certificates of spectra: the fast path on a torch module and the reference on its formed gradients say the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.certificates import spectral as fast
from dntk_fast.kernels.redundancy import parameter_redundancy, truncation_rank
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build
from dntk_fast.workflow.training import train
from dntk_ref import spectral as reference
from tests.fast.plain import features
from tests.strategies import epsilons
from tests.tolerances import TOL


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 8), epsilons)
def test_bounds_from_products_and_from_formed_gradients(seed, rank, epsilon):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(8, 3, dtype=torch.float64)
    Z = fast.leading_directions(tangent_features(model, x, k=10, seed=seed).values, rank)
    found = fast.spectral_certificate(model, x, Z)
    for c, Phi in enumerate(features(model, x).numpy()):
        z = Z[c].numpy()
        np.testing.assert_allclose(found.energy[c], reference.captured_by_directions(Phi, z), rtol=TOL["float64"])
        assert int(found.rank_bound(epsilon)[c]) == reference.completed_rank_bound(Phi, z, epsilon)
        close = {"rtol": TOL["float64"], "atol": TOL["float64"]}
        np.testing.assert_allclose(found.redundancy[c], reference.redundancy_bound_by_energies(Phi, z), **close)
        np.testing.assert_allclose(found.lost[c], reference.redundancy_bound_r2(Phi, z), **close)


@given(st.integers(0, 2**31), epsilons)
def test_cross_validated_ranks(seed, epsilon):
    rng = np.random.default_rng(seed)
    first, second = (Phi @ Phi.swapaxes(1, 2) for Phi in rng.standard_normal((2, 3, 5, 4)))
    expected = [reference.cross_validated_rank(a, b, epsilon) for a, b in zip(first, second, strict=True)]
    assert fast.cross_validated_rank(first, second, epsilon).tolist() == expected
    for a, b, share in ((first, second, 1.0), (first, 0 * second, epsilon)):
        expected = [reference.cross_validated_rank(*pair, share) for pair in zip(a, b, strict=True)]
        assert fast.cross_validated_rank(a, b, share).tolist() == expected == [0, 0, 0]


@given(
    st.floats(0, 1e6), st.integers(1, 10_000), st.floats(1e-3, 0.99), st.sampled_from(["gaussian", "signs", "moments"])
)
def test_intervals_of_the_trace(estimate, count, delta, kind):
    expected = reference.trace_interval(estimate, count, delta, kind)
    found = fast.trace_interval(torch.tensor([estimate], dtype=torch.float64), count, delta=delta, kind=kind)
    np.testing.assert_allclose(found.low[0], expected.low, rtol=TOL["tail"])
    np.testing.assert_allclose(found.high[0], expected.high, rtol=TOL["tail"])


@pytest.fixture(scope="module")
def digits():
    """A trained network, 100 of its training images, and their exact class kernels."""
    data = load("digits")
    model = train(build("conv8", seed=0), data.x_train, data.y_train, epochs=3, seed=0).model
    x = data.x_train[:100]
    return model, x, tangent_kernel(model, x, dtype=torch.float64)


def test_the_rank_bound_on_real_gradients(digits):
    """From 64 to 1,024 coordinates, float32 products: never below the exact rank, and near it for enough coordinates."""
    model, x, K = digits
    for k, room in ((64, None), (1024, 1.2)):
        Z = fast.leading_directions(tangent_features(model, x, k=k, seed=0).values, 40)
        found = fast.spectral_certificate(model, x, Z)
        for epsilon in (0.5, 0.2, 0.1, 0.05):
            bound, exact = found.rank_bound(epsilon), truncation_rank(K, epsilon)
            assert bool((bound >= exact).all())
            if room is not None:
                assert float(bound.double().mean()) <= room * float(exact.double().mean())
        assert bool((found.redundancy >= parameter_redundancy(K, 40)).all())
        assert bool((found.lost >= 1 - torch.linalg.eigvalsh(K)[:, -40:].sum(1) / found.trace).all())
