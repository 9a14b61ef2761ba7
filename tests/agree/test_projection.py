"""The features of the fast path are the reference's Jacobian, formed by hand, times the very same map."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dntk_fast.projection import KINDS, Sketch
from dntk_fast.tangent.features import tangent_features
from dntk_ref import network as reference
from dntk_ref.kernel import gram
from dntk_ref.projection import inner_product_variance, kernel_error_expectation, tensor_sketch_variance
from tests.tolerances import TOL


def torch_twin(net):
    """The same network as a torch module: same parameters in the same order."""
    layers = []
    for layer in net.layers:
        if isinstance(layer, reference.Dense):
            layers.append(nn.Linear(layer.weight.shape[1], layer.weight.shape[0]))
        elif isinstance(layer, reference.Conv):
            layers.append(nn.Conv2d(layer.weight.shape[1], layer.weight.shape[0], layer.weight.shape[2]))
        elif isinstance(layer, reference.AveragePool):
            layers.append(nn.AvgPool2d(layer.size))
        else:
            layers.append({reference.Tanh: nn.Tanh, reference.Flatten: nn.Flatten}[type(layer)]())
        for parameter, value in zip(layers[-1].parameters(), layer.parameters, strict=True):
            parameter.data = torch.tensor(value)
    return nn.Sequential(*layers).double().eval()


def case(name, seed=0):
    rng = np.random.default_rng(seed)
    if name == "perceptron":
        return reference.mlp((4, 6, 5, 3), rng=rng), rng.standard_normal((5, 4))
    return reference.conv_net((2, 8, 8), (3, 4), 3, rng=rng), rng.standard_normal((5, 2, 8, 8))


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOL["float64"] * np.abs(expected).max())


@pytest.mark.parametrize("name", ["perceptron", "convolution"])
@given(kind=st.sampled_from([*KINDS, "auto"]), k=st.sampled_from([4, 8, 20]), seed=st.integers(0, 2**63 - 1))
def test_body_is_the_body_jacobian_times_the_map_and_head_the_rest(name, kind, k, seed):
    net, x = case(name)
    jacobian, head = reference.jacobian(net, x), reference.head_slice(net)
    features = tangent_features(torch_twin(net), torch.tensor(x), k=k, seed=seed, projection=kind)
    projector = features.plan.sketch.matrix().numpy()
    assert projector.shape == (head.start, k)
    assert_close(features.body.numpy(), jacobian[..., : head.start] @ projector)
    assert_close(features.head.numpy(), np.column_stack([reference.penultimate(net, x), np.ones(len(x))]))
    for values, kernel in zip(features.values.numpy(), features.kernel().numpy(), strict=True):
        assert_close(kernel, gram(values))


@pytest.mark.parametrize("name", ["perceptron", "convolution"])
def test_everything_projected_is_the_whole_jacobian_times_the_map(name):
    net, x = case(name)
    features = tangent_features(torch_twin(net), torch.tensor(x), k=8, seed=1, projection="srht", keep_head=False)
    projector = features.plan.sketch.matrix().numpy()
    assert_close(features.values.numpy(), reference.jacobian(net, x) @ projector)
    with pytest.raises(AssertionError):  # the order of the rows matters
        assert_close(features.values.numpy(), reference.jacobian(net, x) @ projector[::-1])


@pytest.mark.parametrize("name", ["perceptron", "convolution"])
def test_an_isometry_gives_the_exact_kernel(name):
    net, x = case(name)
    jacobian = reference.jacobian(net, x)
    P = jacobian.shape[-1]
    model = torch_twin(net)
    features = tangent_features(model, torch.tensor(x), k=P, seed=1, projection="haar", keep_head=False)
    for found, phi in zip(features.kernel().numpy(), jacobian, strict=True):
        assert_close(found, gram(phi))


# Second moments against the reference's laws, 1,500 draws with fixed seeds; z-scores below 5: one false alarm in 1.7 million
# comparisons by the normal approximation.
DRAWS = 1500


def second_moment(kind, shape, k, u, v):
    found = []
    for seed in range(DRAWS):
        matrix = Sketch({"w": shape}, k, seed, kind).matrix().numpy()
        found.append(((u @ matrix) @ (v @ matrix) - u @ v) ** 2)
    return np.array(found)


def z_score(sample, expected):
    return (sample.mean() - expected) / (sample.std(ddof=1) / math.sqrt(len(sample)))


@pytest.mark.parametrize("kind", ["contiguous", "srht", "gaussian", "rademacher", "haar", "tensorsketch"])
def test_variances_follow_the_laws_of_the_reference(kind):
    rng = np.random.default_rng(0)
    shape, k = (2, 8), 5
    u = rng.standard_normal(16)
    v = u + 0.5 * rng.standard_normal(16)
    if kind == "srht":  # one run of 8 coordinates: the reference's map of P = 8
        shape, u, v = (8,), u[:8], v[:8]
    if kind == "tensorsketch":
        expected = tensor_sketch_variance(u.reshape(shape), v.reshape(shape), k, bijective=True)
    else:
        expected = inner_product_variance(kind, u, v, k)
    sample = second_moment(kind, shape, k, u, v)
    assert abs(z_score(sample, expected)) < 5
    assert abs(z_score(sample, 2 * expected)) > 5


def test_the_error_of_the_kernel_is_the_one_the_reference_expects():
    net, x = case("perceptron")
    phi = reference.jacobian(net, x)[0]
    model, k = torch_twin(net), 8
    errors = []
    for seed in range(150):
        found = tangent_features(
            model, torch.tensor(x), k=k, seed=seed, outputs=[0], keep_head=False, projection="gaussian"
        )
        errors.append(np.sum((found.kernel()[0].numpy() - gram(phi)) ** 2))
    assert abs(z_score(np.array(errors), kernel_error_expectation("gaussian", phi, k))) < 5
