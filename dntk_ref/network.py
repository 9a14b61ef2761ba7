"""Small smooth networks by hand: forward pass and exact parameter Jacobian, no automatic differentiation (Eq 13).

h^(0) = x, h^(l) = sigma_l(T_l(h^(l-1); theta_l)); logits are the affine last layer. Inputs are (n, ...), logits (C, n),
the Jacobian (C, n, P) with entry [c, i] = phi_c(x_i). Parameters are flattened layer by layer, in each layer the weight
row by row and then the bias; the head stands last.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array

__all__ = [
    "AveragePool",
    "Conv",
    "Dense",
    "Flatten",
    "Layer",
    "Network",
    "Pulled",
    "Softplus",
    "Tanh",
    "conv_net",
    "flatten",
    "forward",
    "head_slice",
    "jacobian",
    "mlp",
    "penultimate",
    "taylor_remainder",
    "unflatten",
]


@dataclass(frozen=True)
class Pulled:
    """A cotangent (C, n, ...) pulled back through a layer: to its input, and to its parameters (C, n, p)."""

    inputs: Array
    parameters: Array


class Layer(ABC):
    """A map, without parameters unless it says otherwise."""

    @property
    def parameters(self) -> tuple[Array, ...]:
        """Its parameters, in the order in which they are flattened."""
        return ()

    def with_parameters(self, values: tuple[Array, ...]) -> "Layer":
        """The same layer with other parameters."""
        return type(self)(*values) if values else self

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Outputs (n, ...) for inputs (n, ...)."""

    @abstractmethod
    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """The transpose of the derivative at x, applied to C cotangents (C, n, ...) for each input."""


def _none(cotangent: Array) -> Array:
    return np.zeros((*cotangent.shape[:2], 0))


@dataclass(frozen=True)
class Tanh(Layer):
    """sigma(x) = tanh x, sigma' = 1 - tanh^2 x."""

    def forward(self, x: Array) -> Array:
        """Apply the function to every entry."""
        return np.tanh(x)

    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """Multiply by sigma'(x)."""
        return Pulled(cotangent * (1 - np.tanh(x) ** 2), _none(cotangent))


@dataclass(frozen=True)
class Softplus(Layer):
    """sigma(x) = log(1 + e^x), sigma' = 1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2."""

    def forward(self, x: Array) -> Array:
        """Apply the function to every entry."""
        return np.logaddexp(0.0, x)

    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """Multiply by sigma'(x)."""
        return Pulled(cotangent * (1 + np.tanh(x / 2)) / 2, _none(cotangent))


@dataclass(frozen=True)
class Flatten(Layer):
    """(n, ...) to (n, d)."""

    def forward(self, x: Array) -> Array:
        """Lay the axes of each input out in one."""
        return x.reshape(len(x), -1)

    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """Fold the one axis back."""
        return Pulled(cotangent.reshape(len(cotangent), *x.shape), _none(cotangent))


@dataclass(frozen=True)
class AveragePool(Layer):
    """Means over non-overlapping size x size squares of (n, channels, height, width)."""

    size: int

    def forward(self, x: Array) -> Array:
        """Average each square."""
        n, a, h, w = x.shape
        s = self.size
        if h % s or w % s:
            raise ValueError(f"size: expected a divisor of {h} and {w}, got {s}")
        return np.asarray(x.reshape(n, a, h // s, s, w // s, s).mean(axis=(3, 5)))

    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """Give each entry of a square its equal share."""
        s = self.size
        return Pulled(cotangent.repeat(s, axis=-1).repeat(s, axis=-2) / s**2, _none(cotangent))


@dataclass(frozen=True)
class Dense(Layer):
    """x W^T + b on (n, in), weight (out, in), bias (out,)."""

    weight: Array
    bias: Array

    @property
    def parameters(self) -> tuple[Array, ...]:
        """Weight, bias."""
        return (self.weight, self.bias)

    def forward(self, x: Array) -> Array:
        """(n, in) to (n, out)."""
        return np.asarray(x @ self.weight.T + self.bias)

    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """d/dW_oi = g_o x_i, d/db_o = g_o, d/dx_i = sum_o g_o W_oi."""
        to_weight = np.einsum("cno,ni->cnoi", cotangent, x)
        rows = to_weight.reshape(*cotangent.shape[:2], -1)
        return Pulled(np.asarray(cotangent @ self.weight), np.concatenate([rows, cotangent], axis=2))


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution without stride or padding on (n, in, height, width), weight (out, in, k, k), bias (out,)."""

    weight: Array
    bias: Array

    @property
    def parameters(self) -> tuple[Array, ...]:
        """Weight, bias."""
        return (self.weight, self.bias)

    def forward(self, x: Array) -> Array:
        """y_ohw = b_o + sum_aij W_oaij x_a,h+i,w+j."""
        k = self.weight.shape[2]
        patches = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
        return np.asarray(np.einsum("oaij,nahwij->nohw", self.weight, patches) + self.bias[:, None, None])

    def pull(self, x: Array, cotangent: Array) -> Pulled:
        """d/dW_oaij = sum_hw g_ohw x_a,h+i,w+j, d/db_o = sum_hw g_ohw, d/dx_a,h+i,w+j sums g_ohw W_oaij."""
        k, (h, w) = self.weight.shape[2], cotangent.shape[3:]
        patches = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
        to_weight = np.einsum("cnohw,nahwij->cnoaij", cotangent, patches)
        to_input = np.zeros((len(cotangent), *x.shape))
        for i in range(k):
            for j in range(k):
                to_input[..., i : i + h, j : j + w] += np.einsum("cnohw,oa->cnahw", cotangent, self.weight[:, :, i, j])
        rows = to_weight.reshape(*cotangent.shape[:2], -1)
        return Pulled(to_input, np.concatenate([rows, cotangent.sum(axis=(3, 4))], axis=2))


Activation: TypeAlias = Tanh | Softplus


@dataclass(frozen=True)
class Network:
    """Layers in order, the last one the affine head; `input_shape` is that of one input."""

    body: tuple[Layer, ...]
    head: Dense
    input_shape: tuple[int, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Body and head."""
        return (*self.body, self.head)

    @property
    def parameter_count(self) -> int:
        """P."""
        return sum(value.size for layer in self.layers for value in layer.parameters)


def _dense(inputs: int, outputs: int, rng: np.random.Generator) -> Dense:
    scale = 1 / np.sqrt(inputs)
    return Dense(scale * rng.standard_normal((outputs, inputs)), scale * rng.standard_normal(outputs))


def _conv(inputs: int, outputs: int, kernel: int, rng: np.random.Generator) -> Conv:
    scale = 1 / np.sqrt(inputs * kernel**2)
    weight = scale * rng.standard_normal((outputs, inputs, kernel, kernel))
    return Conv(weight, scale * rng.standard_normal(outputs))


def mlp(widths: tuple[int, ...], *, rng: np.random.Generator, activation: Activation | None = None) -> Network:
    """A multilayer perceptron with random Gaussian parameters of variance 1 / fan-in.

    T_l(h) = W_l h + b_l, sigma_l smooth, the last layer affine  (Eq 13).

    Parameters: `widths` (input, hidden ..., logits), at least three; `rng`; `activation` tanh where None.
    Returns: Network. Raises: ValueError, TypeError.

    >>> mlp((4, 3, 2), rng=np.random.default_rng(0)).parameter_count
    23
    """
    rng = _check.generator("rng", rng)
    if len(widths) < 3:
        raise ValueError(f"widths: expected input, hidden and output widths, got {widths}")
    sizes = [_check.integer("widths", width, 1) for width in widths]
    body: list[Layer] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        body += [_dense(inputs, outputs, rng), activation or Tanh()]
    return Network(tuple(body), _dense(sizes[-2], sizes[-1], rng), (sizes[0],))


def conv_net(
    image: tuple[int, int, int],
    channels: tuple[int, int],
    classes: int,
    *,
    rng: np.random.Generator,
    activation: Activation | None = None,
) -> Network:
    """A small convolutional network: twice 3 x 3 convolution and activation, averages between and after, affine head.

    conv, sigma, 2 x 2 means, conv, sigma, mean over what is left, W h + b  (Eq 13).

    Parameters: `image` (channels, side, side), the side even and at least 8; `channels` of the two convolutions;
    `classes` C; `rng`; `activation` tanh where None. Returns: Network. Raises: ValueError, TypeError.

    >>> conv_net((1, 8, 8), (2, 3), 4, rng=np.random.default_rng(0)).parameter_count
    93
    """
    rng = _check.generator("rng", rng)
    planes, height, width = (_check.integer("image", size, 1) for size in image)
    if height != width or height % 2 or height < 8:
        raise ValueError(f"image: expected an even side of at least 8, the same twice, got {image}")
    first, second = (_check.integer("channels", count, 1) for count in channels)
    sigma = activation or Tanh()
    last = (height - 2) // 2 - 2  # side after a convolution, a 2 x 2 mean, a convolution
    body = (
        *(_conv(planes, first, 3, rng), sigma, AveragePool(2)),
        *(_conv(first, second, 3, rng), sigma, AveragePool(last), Flatten()),
    )
    return Network(body, _dense(second, _check.integer("classes", classes, 1), rng), (planes, height, width))


def _inputs(network: Network, inputs: Any) -> Array:
    x = _check.array("inputs", inputs, 1 + len(network.input_shape))
    if x.shape[1:] != network.input_shape:
        wanted = ", ".join(map(str, ("n", *network.input_shape)))
        raise ValueError(f"inputs: expected shape ({wanted}), got {x.shape}")
    return x


def _activations(network: Network, x: Array) -> list[Array]:
    """What each layer takes in: x, h^(1), ..., the penultimate features."""
    taken = [x]
    for layer in network.body:
        taken.append(layer.forward(taken[-1]))
    return taken


def penultimate(network: Network, inputs: Any) -> Array:
    """Features that the affine head takes in.

    h(x; theta_body) = f_e(x)  (`theorem_r`, section 4.1).

    Parameters: `network`, `inputs` (n, ...). Returns: (n, d_h). Raises: ValueError, TypeError.

    >>> penultimate(mlp((4, 3, 2), rng=np.random.default_rng(0)), np.ones((5, 4))).shape
    (5, 3)
    """
    return _activations(network, _inputs(network, inputs))[-1]


def forward(network: Network, inputs: Any) -> Array:
    """Logits, one row per class: the targets of section 3.

    f_c(x) = W_c h(x) + b_c  (Eq 13).

    Parameters: `network`, `inputs` (n, ...). Returns: (C, n). Raises: ValueError, TypeError.

    >>> forward(mlp((4, 3, 2), rng=np.random.default_rng(0)), np.ones((5, 4))).shape
    (2, 5)
    """
    return network.head.forward(penultimate(network, inputs)).T


def jacobian(network: Network, inputs: Any) -> Array:
    """Exact gradients of all logits by all parameters, by the chain rule backwards from each logit.

    [c, i] = phi_c(x_i) = grad_theta f_c(x_i; theta), J(x_i) = [:, i]  (Eq 1).

    Parameters: `network`, `inputs` (n, ...). Returns: (C, n, P). Raises: ValueError, TypeError.

    >>> jacobian(mlp((4, 3, 2), rng=np.random.default_rng(0)), np.ones((5, 4))).shape
    (2, 5, 23)
    """
    taken = _activations(network, _inputs(network, inputs))
    C = len(network.head.bias)
    # The cotangent of logit c at its own output is e_c, for each of the n inputs.
    cotangent = np.repeat(np.eye(C)[:, None, :], len(taken[0]), axis=1)
    blocks = []
    for layer, x in zip(reversed(network.layers), reversed(taken), strict=True):
        pulled = layer.pull(x, cotangent)
        cotangent = pulled.inputs
        blocks.append(pulled.parameters)
    return np.concatenate(blocks[::-1], axis=2)


def flatten(network: Network) -> Array:
    """All parameters as one vector: layer by layer, weight row by row, then bias.

    theta = (theta_1, ..., theta_L)  (Eq 13).

    Parameters: `network`. Returns: (P,).

    >>> flatten(Network((), Dense(np.array([[1.0, 2.0]]), np.array([3.0])), (2,)))
    array([1., 2., 3.])
    """
    return np.concatenate([value.ravel() for layer in network.layers for value in layer.parameters])


def unflatten(network: Network, theta: Any) -> Network:
    """The same architecture with other parameters.

    The inverse of `flatten`.

    Parameters: `network`, `theta` (P,). Returns: Network. Raises: ValueError, TypeError.

    >>> unflatten(Network((), Dense(np.zeros((1, 2)), np.zeros(1)), (2,)), [1.0, 2.0, 3.0]).head.bias
    array([3.])
    """
    rest = _check.vector("theta", theta, network.parameter_count)
    layers = []
    for layer in network.layers:
        values = []
        for old in layer.parameters:
            values.append(rest[: old.size].reshape(old.shape))
            rest = rest[old.size :]
        layers.append(layer.with_parameters(tuple(values)))
    head = Dense(*layers[-1].parameters)
    return Network(tuple(layers[:-1]), head, network.input_shape)


def head_slice(network: Network) -> slice:
    """Where the head's parameters stand among all.

    theta = (theta_body, W, b)  (`theorem_r`).

    Parameters: `network`. Returns: slice of length C (d_h + 1).

    >>> head_slice(mlp((4, 3, 2), rng=np.random.default_rng(0)))
    slice(15, 23, None)
    """
    P = network.parameter_count
    return slice(P - network.head.weight.size - network.head.bias.size, P)


def taylor_remainder(network: Network, inputs: Any, direction: Any, steps: Any) -> Array:
    """Error of the first-order prediction along a direction; it falls with the square of the step if J is exact.

    R(t) = max_ci |f_c(x_i; theta + t d) - f_c(x_i; theta) - t <phi_c(x_i), d>|  (Eq 14).

    Parameters: `network`, `inputs` (n, ...), `direction` (P,), `steps` (s,).
    Returns: (s,). Raises: ValueError, TypeError.

    >>> net = Network((), Dense(np.array([[1.0]]), np.array([0.0])), (1,))
    >>> taylor_remainder(net, [[2.0]], [1.0, 0.0], [0.5])
    array([0.])
    """
    d = _check.vector("direction", direction, network.parameter_count)
    x, theta, f = _inputs(network, inputs), flatten(network), forward(network, inputs)
    slope = jacobian(network, x) @ d
    moved = [forward(unflatten(network, theta + t * d), x) - f - t * slope for t in _check.vector("steps", steps)]
    return np.array([np.abs(change).max() for change in moved])
