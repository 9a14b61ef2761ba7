"""The hand-made networks: the Jacobian by the slope of the Taylor remainder, by torch, and by Theorem R."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import cases, network, ridge
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import generators
from tests.tolerances import TOL

TORCH = {
    "Dense": lambda layer, h, values: torch.nn.functional.linear(h, *values),
    "Conv": lambda layer, h, values: torch.nn.functional.conv2d(h, *values),
    "AveragePool": lambda layer, h, values: torch.nn.functional.avg_pool2d(h, layer.size),
    "Flatten": lambda layer, h, values: torch.flatten(h, 1),
    "Tanh": lambda layer, h, values: torch.tanh(h),
    "Softplus": lambda layer, h, values: torch.nn.functional.softplus(h),
}


@st.composite
def networks(draw):
    """A perceptron or a convolutional network with tanh or softplus, and inputs for it."""
    rng, activation = draw(generators()), draw(st.sampled_from([None, network.Tanh(), network.Softplus()]))
    n, classes = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if draw(st.booleans()):
        hidden = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        inputs = draw(st.integers(1, 4))
        net = network.mlp((inputs, *hidden, classes), rng=rng, activation=activation)
        return net, rng.standard_normal((n, inputs))
    planes, side = draw(st.integers(1, 2)), draw(st.sampled_from([8, 10]))
    channels = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    net = network.conv_net((planes, side, side), channels, classes, rng=rng, activation=activation)
    return net, rng.standard_normal((n, planes, side, side))


def torch_logits(net, theta, x):
    """The same network in torch, its parameters read from one vector: (C,) for one input."""
    h, start = x[None], 0
    for layer in net.layers:
        values = []
        for old in layer.parameters:
            values.append(theta[start : start + old.size].reshape(old.shape))
            start += old.size
        h = TORCH[type(layer).__name__](layer, h, values)
    return h[0]


@given(networks())
def test_the_jacobian_and_the_logits_are_those_of_torch(case):
    net, x = case
    theta = torch.tensor(network.flatten(net))
    f, J = network.forward(net, x), network.jacobian(net, x)
    for i, row in enumerate(torch.tensor(x)):
        expected = torch_logits(net, theta, row)
        np.testing.assert_allclose(f[:, i], expected.numpy(), **CLOSE)
        slopes = torch.autograd.functional.jacobian(lambda t, row=row: torch_logits(net, t, row), theta)
        np.testing.assert_allclose(J[:, i], slopes.numpy(), **CLOSE)


STEPS = np.geomspace(1e-1, 1e-4, 13)


def remainder_slope(remainders):
    """The slope of log R against log t by least squares, over the steps where R stands above rounding."""
    seen = remainders > TOL["remainder"]
    return np.polyfit(np.log(STEPS[seen]), np.log(remainders[seen]), 1)[0], np.count_nonzero(seen)


@pytest.mark.parametrize("activation", [network.Tanh(), network.Softplus()])
@pytest.mark.parametrize("kind", ["perceptron", "convolutional"])
def test_the_taylor_remainder_falls_with_slope_two(kind, activation):
    rng = np.random.default_rng(11)
    if kind == "perceptron":
        net, x = network.mlp((4, 5, 4, 3), rng=rng, activation=activation), rng.standard_normal((6, 4))
    else:
        net = network.conv_net((1, 8, 8), (2, 3), 3, rng=rng, activation=activation)
        x = rng.standard_normal((4, 1, 8, 8))
    for _ in range(3):
        d = rng.standard_normal(net.parameter_count)
        slope, used = remainder_slope(network.taylor_remainder(net, x, d, STEPS))
        assert used >= 8
        assert slope == pytest.approx(2.0, abs=TOL["slope"])


def test_one_wrong_entry_of_the_jacobian_spoils_the_slope():
    case = cases.tiny_mlp(rng=np.random.default_rng(11))
    net, x, d = case.network, case.inputs, np.random.default_rng(2).standard_normal(43)
    J = network.jacobian(net, x)
    J[0, 0, 7] += 0.1
    theta, f = network.flatten(net), network.forward(net, x)
    moved = [network.forward(network.unflatten(net, theta + t * d), x) - f - t * (J @ d) for t in STEPS]
    slope, _ = remainder_slope(np.array([np.abs(change).max() for change in moved]))
    assert abs(slope - 2.0) > 5 * TOL["slope"]


@given(networks())
def test_theorem_r_each_logit_is_linear_in_its_own_gradient(case):
    net, x = case
    w_0 = ridge.head_weights(net.head.weight, net.head.bias, body=network.head_slice(net).start)
    J = network.jacobian(net, x)
    np.testing.assert_allclose(np.einsum("cnp,cp->cn", J, w_0), network.forward(net, x), **CLOSE)
    assert differs(np.einsum("cnp,cp->cn", J, 2 * w_0), network.forward(net, x))


@given(networks())
def test_the_head_block_of_the_kernel_is_that_of_the_penultimate_features(case):
    net, x = case
    h, J = network.penultimate(net, x), network.jacobian(net, x)[:, :, network.head_slice(net)]
    C = len(J)
    for c in range(C):
        np.testing.assert_allclose(J[c] @ J[c].T, h @ h.T + 1, **CLOSE)
        for other in set(range(C)) - {c}:
            np.testing.assert_array_equal(J[c] @ J[other].T, np.zeros((len(x), len(x))))


@given(networks(), generators())
def test_parameters_go_to_a_vector_and_back(case, rng):
    net, x = case
    theta = network.flatten(net)
    assert theta.shape == (net.parameter_count,)
    again = network.unflatten(net, theta)
    np.testing.assert_array_equal(network.flatten(again), theta)
    np.testing.assert_array_equal(network.forward(again, x), network.forward(net, x))
    other = theta + 1 + rng.random(theta.size)
    np.testing.assert_array_equal(network.flatten(network.unflatten(net, other)), other)
    assert differs(network.forward(network.unflatten(net, other), x), network.forward(net, x))


@given(networks())
def test_inputs_do_not_see_each_other(case):
    net, x = case
    for i in range(len(x)):
        np.testing.assert_allclose(network.jacobian(net, x[i : i + 1])[:, 0], network.jacobian(net, x)[:, i], **CLOSE)


def test_the_order_of_the_parameters_by_hand():
    # f(x) = w2 tanh(w1 x + b1) + b2 at w1 = b1 = 0: parameters (w1, b1, w2, b2), gradients (w2 x, w2, 0, 1).
    body = (network.Dense(np.zeros((1, 1)), np.zeros(1)), network.Tanh())
    net = network.Network(body, network.Dense(np.array([[3.0]]), np.array([5.0])), (1,))
    np.testing.assert_array_equal(network.flatten(net), [0.0, 0.0, 3.0, 5.0])
    np.testing.assert_allclose(network.jacobian(net, [[2.0]])[0, 0], [6.0, 3.0, 0.0, 1.0], **HAND)
    assert network.forward(net, [[2.0]]).tolist() == [[5.0]]


def test_a_weight_is_flattened_row_by_row():
    net = network.Network((), network.Dense(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])), (2,))
    np.testing.assert_array_equal(network.flatten(net), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(network.jacobian(net, [[7.0, 8.0]])[:, 0], [[7, 8, 0, 0, 1, 0], [0, 0, 7, 8, 0, 1]])


def test_a_convolution_and_a_mean_by_hand():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 0, 1] = 2.0  # looks one step to the right, from the upper left corner of its patch
    layer = network.Conv(weight, np.array([1.0]))
    np.testing.assert_array_equal(layer.forward(x)[0, 0], 2 * x[0, 0, :2, 1:3] + 1)
    np.testing.assert_array_equal(network.AveragePool(2).forward(x)[0, 0], [[2.5, 4.5], [10.5, 12.5]])
    pulled = network.AveragePool(2).pull(x, np.ones((1, 1, 1, 2, 2))).inputs
    np.testing.assert_array_equal(pulled, np.full((1, 1, 1, 4, 4), 0.25))


def test_softplus_stays_finite_far_out():
    x = np.array([[-1000.0, 0.0, 1000.0]])
    np.testing.assert_allclose(network.Softplus().forward(x), [[0.0, np.log(2), 1000.0]], **HAND)
    slopes = network.Softplus().pull(x, np.ones((1, 1, 3))).inputs
    np.testing.assert_allclose(slopes[0], [[0.0, 0.5, 1.0]], **HAND)


def test_random_parameters_have_variance_one_over_fan_in():
    net = network.mlp((100, 100, 100), rng=np.random.default_rng(0))
    # 20200 draws: the relative standard error of a variance is sqrt(2 / 20200) = 0.01; five of them.
    assert network.flatten(net).var() * 100 == pytest.approx(1.0, abs=0.05)
    conv = network.conv_net((4, 8, 8), (30, 30), 1, rng=np.random.default_rng(0)).body[0]
    assert conv.weight.var() * 36 == pytest.approx(1.0, abs=5 * np.sqrt(2 / conv.weight.size))


def test_the_same_generator_gives_the_same_network():
    first, second, third = (network.flatten(cases.tiny_mlp(rng=np.random.default_rng(s)).network) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert differs(first, third)


def test_shapes():
    net = network.conv_net((2, 8, 8), (3, 4), 5, rng=np.random.default_rng(0))
    x = np.zeros((6, 2, 8, 8))
    P = 3 * 2 * 9 + 3 + 4 * 3 * 9 + 4 + 5 * 4 + 5
    assert net.parameter_count == P
    assert network.forward(net, x).shape == (5, 6)
    assert network.penultimate(net, x).shape == (6, 4)
    assert network.jacobian(net, x).shape == (5, 6, P)
    assert network.head_slice(net) == slice(P - 25, P)


RNG = np.random.default_rng(0)
NET = network.mlp((2, 2, 1), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: network.mlp((2, 1), rng=RNG), ValueError, "widths: expected input, hidden and output widths, got"),
        (lambda: network.mlp((2, 0, 1), rng=RNG), ValueError, r"widths: expected an integer in \[1, inf\], got 0"),
        (lambda: network.mlp((2, 2, 1), rng=0), TypeError, "rng: expected a numpy.random.Generator, got int"),
        (lambda: network.conv_net((1, 8, 8), (1, 1), 1, rng=0), TypeError, "rng: expected a numpy.random.Generator"),
        (
            lambda: network.conv_net((1, 9, 9), (1, 1), 1, rng=RNG),
            ValueError,
            "image: expected an even side of at least 8",
        ),
        (
            lambda: network.conv_net((1, 6, 6), (1, 1), 1, rng=RNG),
            ValueError,
            "image: expected an even side of at least 8",
        ),
        (
            lambda: network.conv_net((1, 8, 10), (1, 1), 1, rng=RNG),
            ValueError,
            "image: expected an even side of at least",
        ),
        (
            lambda: network.conv_net((1, 8, 8), (1, 0), 1, rng=RNG),
            ValueError,
            r"channels: expected an integer in \[1, inf",
        ),
        (
            lambda: network.conv_net((1, 8, 8), (1, 1), 0, rng=RNG),
            ValueError,
            r"classes: expected an integer in \[1, inf",
        ),
        (
            lambda: network.AveragePool(2).forward(np.ones((1, 1, 3, 4))),
            ValueError,
            "size: expected a divisor of 3 and 4",
        ),
        (lambda: network.forward(NET, [1.0, 2.0]), ValueError, "inputs: expected 2 axes"),
        (lambda: network.forward(NET, [[1.0]]), ValueError, r"inputs: expected shape \(n, 2\), got \(1, 1\)"),
        (lambda: network.jacobian(NET, [[1.0]]), ValueError, r"inputs: expected shape \(n, 2\), got \(1, 1\)"),
        (lambda: network.unflatten(NET, [1.0]), ValueError, "theta: expected length 9, got length 1"),
        (lambda: network.taylor_remainder(NET, [[1.0, 2.0]], [1.0], [1.0]), ValueError, "direction: expected length 9"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
