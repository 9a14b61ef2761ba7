"""Networks and instances of dntk_ref beside exact values: forward passes in balls, gradients by their differences."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from flint import arb

from dntk_ref import cases, network
from proofs_checks.references.agreement import Agreement, Instance, seeded
from proofs_checks.references.balls import balls, eye

__all__ = ["AGREEMENTS"]

STEP = arb(2) ** -130  # its square and the balls' last bit over it both lie below 2^-260
ACTIVATIONS = {"tanh": network.Tanh, "softplus": network.Softplus}
WIDTHS, IMAGE, CHANNELS, CLASSES = (4, 5, 3, 2), (2, 10, 10), (2, 3), 3
LAST = 2  # side of the second average: 10 - 2 = 8, halved to 4, less 2


def sigma(name: str, x: np.ndarray) -> np.ndarray:
    """Return tanh x or log(1 + e^x), entry by entry."""
    found = [value.tanh() if name == "tanh" else (1 + value.exp()).log() for value in x.ravel()]
    return np.array([*found, None], dtype=object)[:-1].reshape(x.shape)


def pieces(theta: np.ndarray, shapes: tuple[tuple[int, ...], ...]) -> Iterator[np.ndarray]:
    """Give the weights and biases that a flat vector holds, in its order."""
    for shape in shapes:
        size = int(np.prod(shape))
        yield theta[:size].reshape(shape)
        theta = theta[size:]


def shapes_of(kind: str) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of all weights and biases, layer by layer."""
    if kind == "mlp":
        return tuple(shape for a, b in pairwise(WIDTHS) for shape in ((b, a), (b,)))
    (planes, _, _), (first, second) = IMAGE, CHANNELS
    convolutions = ((first, planes, 3, 3), (first,), (second, first, 3, 3), (second,))
    return (*convolutions, (CLASSES, second), (CLASSES,))


def convolved(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y_ohw = b_o + sum_aij W_oaij x_a,h+i,w+j of one image."""
    side = x.shape[1] - 2
    y = [np.sum(w * x[:, h : h + 3, v : v + 3]) for w in W for h in range(side) for v in range(side)]
    return np.array(y, dtype=object).reshape(len(W), side, side) + b[:, None, None]


def averaged(x: np.ndarray, size: int) -> np.ndarray:
    """Means over squares of one image."""
    side = x.shape[1] // size
    return np.sum(x.reshape(len(x), side, size, side, size), axis=(2, 4)) / size**2


def features(e: Instance, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the head takes in for one input, and the head's weight and bias."""
    *body, W, b = pieces(theta, shapes_of(e.kind))
    if e.kind == "mlp":
        for weight, bias in zip(body[::2], body[1::2], strict=True):
            x = sigma(e.activation, weight @ x + bias)
        return x, W, b
    x = averaged(sigma(e.activation, convolved(x, body[0], body[1])), 2)
    return averaged(sigma(e.activation, convolved(x, body[2], body[3])), LAST).ravel(), W, b


def logits(e: Instance, theta: np.ndarray) -> np.ndarray:
    """F (C, n)."""
    found = (features(e, theta, x) for x in e.X)
    return np.stack([W @ h + b for h, W, b in found], axis=1)


def derivative(e: Instance) -> np.ndarray:
    """J (C, n, P) by central differences, exact to 75 digits."""
    columns = []
    for p in range(len(e.theta)):
        step = balls(np.zeros(len(e.theta)))
        step[p] = STEP
        columns.append((logits(e, e.theta + step) - logits(e, e.theta - step)) / (2 * STEP))
    return np.stack(columns, axis=2)


def drawn(rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Gaussian weights and biases of variance 1 / fan-in, drawn in their order."""
    found, fan = [], 1
    for shape in shapes:
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else fan
        found.append(balls(rng.standard_normal(shape).ravel()) / arb(fan).sqrt())
    return np.concatenate(found)


def _case(rng: np.random.Generator, i: int) -> Instance:
    kind, activation = ("mlp", "conv")[i % 2], ("tanh", "softplus")[i // 2 % 2]
    shape = WIDTHS[:1] if kind == "mlp" else IMAGE
    P = sum(int(np.prod(part)) for part in shapes_of(kind))
    theta, direction = rng.standard_normal(P) / 2, rng.standard_normal(P)
    made = network.mlp if kind == "mlp" else network.conv_net
    net = network.unflatten(blank(kind, activation, made, np.random.default_rng(i)), theta)
    numbers: dict[str, Any] = {"theta": theta, "direction": direction, "steps": np.array([0.5, 0.125])}
    return Instance(kind=kind, activation=activation, net=net, X=rng.standard_normal((2, *shape)), seed=i, **numbers)


def blank(kind: str, activation: str, make: Callable, rng: np.random.Generator) -> network.Network:
    """Return the network of a kind that `make` draws; the activation that is the default is not named."""
    options: dict[str, Any] = {"rng": rng} | ({} if activation == "tanh" else {"activation": network.Softplus()})
    return make(WIDTHS, **options) if kind == "mlp" else make(IMAGE, CHANNELS, CLASSES, **options)


NETS = seeded(_case, least=4)
#: half of the networks: those that one constructor makes
PERCEPTRONS, CONVOLUTIONS = (seeded(lambda rng, i, half=half: _case(rng, 2 * i + half), least=2) for half in (0, 1))
SEEDS = seeded(
    lambda rng, i: Instance(seed=i, n=3 + i, P=7 + i, values=np.sort(rng.random(3 + i))[::-1].copy()), least=4
)


def on(function: Callable, call: Callable, exact: Callable, family: Any = NETS, **rest: Any) -> Agreement:
    """Return an agreement on the networks, or on other cases."""
    return Agreement(function=function, call=call, exact=exact, cases=family, **rest)


def remainder(e: Instance) -> np.ndarray:
    """Max |f(theta + t d) - f(theta) - t J d|, J d as a difference."""
    f, ahead, behind = (logits(e, e.theta + step * e.direction) for step in (0, STEP, -STEP))
    slope = (ahead - behind) / (2 * STEP)
    moved = [np.abs(logits(e, e.theta + t * e.direction) - f - t * slope) for t in e.steps]
    return np.array([max(part.ravel()) for part in moved], dtype=object)


def made(f: Callable, c: Instance) -> np.ndarray:
    """Logits of a network that the function draws."""
    return network.forward(blank(c.kind, c.activation, f, np.random.default_rng(c.seed)), c.X)


def of_draws(e: Instance) -> np.ndarray:
    """Logits of the network whose weights are these draws."""
    return logits(e, drawn(np.random.default_rng(e.seed), shapes_of(e.kind)))


def spectrum_of(kernel: np.ndarray) -> np.ndarray:
    """Eigenvalues, descending."""
    return np.linalg.eigvalsh(kernel)[::-1]


def rng(c: Instance) -> np.random.Generator:
    """Return the generator of a case, as it starts."""
    return np.random.default_rng(c.seed)


def padded(values: np.ndarray, n: int) -> np.ndarray:
    """Ones, or other values, followed by zeros."""
    return np.concatenate([values, balls(np.zeros(n - len(values)))])


def clouds(e: Instance) -> np.ndarray:
    """Centre plus spread noise, the noise drawn first."""
    draw = rng(e)
    noise = balls(draw.standard_normal((6, e.P)))
    return balls(draw.standard_normal((2, e.P)))[[0, 0, 0, 1, 1, 1]] + arb(0.25) * noise


def ladder(e: Instance) -> np.ndarray:
    """1, q, q^2, ..., 1 / 64."""
    return np.array([arb(64) ** (-arb(j) / (e.n - 1)) for j in range(e.n)], dtype=object)


def tiny(e: Instance, kind: str, shapes: tuple[tuple[int, ...], ...], inputs: tuple[int, ...]) -> list[np.ndarray]:
    """Weights and inputs of a small network, drawn in this order."""
    draw = rng(e)
    return [drawn(draw, shapes), draw.standard_normal(inputs)]


def parts(case: cases.NetworkCase) -> list[np.ndarray]:
    """Weights and inputs."""
    return [network.flatten(case.network), case.inputs]


MLP_4_5_3 = ((5, 4), (5,), (3, 5), (3,))
CONV_8 = ((2, 1, 3, 3), (2,), (3, 2, 3, 3), (3,), (3, 3), (3,))

AGREEMENTS: dict[str, tuple[Agreement, ...]] = {
    "eq_13": (
        on(network.forward, lambda f, c: f(c.net, c.X), lambda e: logits(e, e.theta), loss=lambda c: 20),
        on(network.jacobian, lambda f, c: f(c.net, c.X), derivative, loss=lambda c: 20),
        on(
            network.penultimate,
            lambda f, c: f(c.net, c.X),
            lambda e: np.stack([features(e, e.theta, x)[0] for x in e.X]),
            loss=lambda c: 20,
        ),
        on(network.flatten, lambda f, c: f(c.net), lambda e: e.theta),
        on(network.unflatten, lambda f, c: network.flatten(f(c.net, c.theta)), lambda e: e.theta),
        on(
            network.head_slice,
            lambda f, c: np.arange(float(c.theta.size))[f(c.net)],
            lambda e: np.arange(len(e.theta) - sum(int(np.prod(s)) for s in shapes_of(e.kind)[-2:]), len(e.theta)),
        ),
        on(
            network.taylor_remainder,
            lambda f, c: f(c.net, c.X, c.direction, c.steps),
            remainder,
            loss=lambda c: 20,
            size=lambda e: max(np.abs(logits(e, e.theta + e.direction)).ravel()) * 4,
        ),
        on(network.mlp, made, of_draws, PERCEPTRONS, loss=lambda c: 20),
        on(network.conv_net, made, of_draws, CONVOLUTIONS, loss=lambda c: 20),
        on(cases.tiny_mlp, lambda f, c: parts(f(rng=rng(c))), lambda e: tiny(e, "mlp", MLP_4_5_3, (6, 4)), SEEDS),
        on(
            cases.tiny_conv_net,
            lambda f, c: parts(f(rng=rng(c))),
            lambda e: tiny(e, "conv", CONV_8, (4, 1, 8, 8)),
            SEEDS,
        ),
    ),
    "eq_1_14_15": (
        on(
            cases.orthonormal,
            lambda f, c: (lambda Q: Q.T @ Q)(f(c.P, c.n, rng=rng(c))),
            lambda e: eye(e.n),
            SEEDS,
            loss=lambda c: 20,
        ),
        on(
            cases.features_with_spectrum,
            lambda f, c: (lambda Phi: spectrum_of(Phi @ Phi.T))(f(c.values, c.P, rng=rng(c))),
            lambda e: e.values,
            SEEDS,
            loss=lambda c: 20,
        ),
        on(
            cases.kernel_with_spectrum,
            lambda f, c: spectrum_of(f(c.values, rng=rng(c))),
            lambda e: e.values,
            SEEDS,
            loss=lambda c: 20,
        ),
        on(
            cases.random_projector,
            lambda f, c: spectrum_of(f(c.P, c.n, rng=rng(c))),
            lambda e: padded(balls(np.ones(e.n)), e.P),
            SEEDS,
            loss=lambda c: 20,
        ),
        on(
            cases.exponential_spectrum,
            lambda f, c: f(c.n, 0.75),
            lambda e: np.array([(-arb(0.75) * j).exp() for j in range(e.n)], dtype=object),
            SEEDS,
            loss=lambda c: 4,
        ),
        on(
            cases.power_spectrum,
            lambda f, c: f(c.n, 1.5),
            lambda e: np.array([arb(j) ** arb(-1.5) for j in range(1, e.n + 1)], dtype=object),
            SEEDS,
            loss=lambda c: 4,
        ),
        on(cases.flat_spectrum, lambda f, c: f(c.n), lambda e: np.ones(e.n), SEEDS),
        on(
            cases.tied_spectrum,
            lambda f, c: f(c.P, c.n),
            lambda e: padded(balls(np.array([2.0, *np.ones(e.n)])), e.P),
            SEEDS,
        ),
        on(cases.near_singular_spectrum, lambda f, c: f(c.n, 64.0), ladder, SEEDS, loss=lambda c: 8),
        on(
            cases.duplicated_features,
            lambda f, c: f(c.n, 3, c.P, rng=rng(c)),
            lambda e: rng(e).standard_normal((e.n, e.P))[[i for i in range(e.n) for _ in range(3)]],
            SEEDS,
        ),
        on(
            cases.clustered_features,
            lambda f, c: (lambda made: [made.features, made.labels])(f(2, 3, c.P, spread=0.25, rng=rng(c))),
            lambda e: [clouds(e), np.array([0, 0, 0, 1, 1, 1])],
            SEEDS,
        ),
    ),
}
