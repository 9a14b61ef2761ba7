"""Faults put into gradients on purpose, and networks that are honest however odd: what the audit must find, and let pass.

A fault changes the gradients of one parameter, by 0.1 % of a row's gradient or more in at least a fifth of the rows of
every output; all answers are then made of the changed gradients. `python -m tests.fast.faults 40` prints how many of 40
are found for each kind and quantity, `python -m tests.fast.faults honest 500` counts false alarms.
"""

import math
import sys

import pytest
import torch
from torch import nn

from dntk_fast import Jacobian
from dntk_fast.tangent import jacobian as door
from dntk_fast.tangent.directional import Products
from dntk_fast.tangent.result import TangentFeatures
from tests.fast.plain import features

QUANTITIES = ("kernel", "diagonal", "features", "J w", "J'a")
# Norms stay where entries only move.
UNSEEN = {("diagonal", "a rule off by one position")}


def _swapped(G, mask):
    found, rows = G.clone(), torch.nonzero(mask).flatten()
    found[:, rows] = G[:, rows.roll(1)]
    return found


def _masked(change):
    return lambda G, mask: torch.where(mask.view(1, -1, *[1] * (G.ndim - 2)), change(G), G)


# Each from the gradients (C, n, *shape) of one parameter and the rows that are touched.
FAULTS = {
    "rows swapped by data": _swapped,
    "a rule off by one position": _masked(lambda G: G.roll(1, -1)),
    "a wrong derivative": _masked(lambda G: 1.5 * G),
    "a table read as rows": _masked(lambda G: G[:, :1].expand_as(G)),
    "a hook that mixes samples": _masked(lambda G: G - G.mean(1, keepdim=True)),
    "a dropped bias": _masked(torch.zeros_like),
    "a wrong stride": _masked(lambda G: G.flatten(2)[..., torch.arange(math.prod(G.shape[2:])) // 2 * 2].view_as(G)),
    "a stale cache": _masked(lambda G: G.roll(3, 1)),
    "a padding row": lambda G, mask: (
        G * (torch.arange(G.shape[1]) < 0.75 * G.shape[1]).view(1, -1, *[1] * (G.ndim - 2))
    ),
    "a wrong class": _masked(lambda G: G.roll(1, 0)),
}


def network(seed, dtype):
    """Convolution, BatchNorm, two more layers: every layer's share of the kernel is of the same order."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 6),
        nn.GELU(), nn.Linear(6, 3),
    )  # fmt: skip
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net.to(dtype).eval()


def sites(model, fault):
    """The parameters that a fault can sit on."""
    named = dict(model.named_parameters())
    if fault in ("rows swapped by data", "a table read as rows", "a hook that mixes samples", "a stale cache"):
        del named["8.bias"]  # its gradient is the same for every sample: such a fault changes nothing
    if fault == "a dropped bias":
        return [name for name in named if name.endswith("bias")]
    return (
        [name for name, p in named.items() if p.ndim > 1] if "stride" in fault or "position" in fault else list(named)
    )


def faulty(model, x, fault, seed):
    """Gradients (C, n, P) with one fault, and where it sits."""
    generator = torch.Generator().manual_seed(seed)
    choices = sites(model, fault)
    site = choices[int(torch.randint(len(choices), (1,), generator=generator))]
    column = int(torch.randint(x[0].numel(), (1,), generator=generator))
    mask = x.flatten(1)[:, column] >= x.flatten(1)[:, column].quantile(0.7)
    G, start = features(model, x).clone(), 0
    for name, p in model.named_parameters():
        part = slice(start, start + p.numel())
        if name == site:
            G[..., part] = FAULTS[fault](G[..., part].unflatten(2, p.shape), mask).flatten(2)
        start += p.numel()
    return G, site


def touched(honest, G, quantity):
    """Whether at least a fifth of the rows are wrong in every class: a norm does not see what a fault moves about."""
    if quantity == "diagonal":
        honest, G = honest.square().sum(2, keepdim=True), G.square().sum(2, keepdim=True)
    wrong = (G - honest).norm(dim=2) > 1e-3 * honest.norm(dim=2)
    return bool((wrong.double().mean(1) >= 0.2).all())


class Planted:
    """All answers made of given gradients, as long as the context lasts."""

    def __init__(self, model, G, monkeypatch):
        self.G, self.shapes = G.double(), {name: p.shape for name, p in model.named_parameters()}
        self.monkeypatch, self.like = monkeypatch, next(model.parameters())

    def __enter__(self):
        put = self.monkeypatch.setattr
        put(door, "kernel_blocks", lambda out, *given: out.copy_(self.G @ self.G.mT))
        put(door, "squared_norms_of_rows", lambda *given: self.G.square().sum(2))
        put(door, "stream_features", self.features)
        put(Products, "forward", lambda task, w: (self.G @ self.flat(w)).to(self.like))
        put(Products, "backward", lambda task, seeds: self.backward(seeds))

    def __exit__(self, *error):
        self.monkeypatch.undo()

    def flat(self, w):
        parts = (w.get(name, torch.zeros(shape)) for name, shape in self.shapes.items())
        return torch.cat([part.double().flatten() for part in parts])

    def split(self, g):
        sizes = [shape.numel() for shape in self.shapes.values()]
        return {
            name: part.unflatten(-1, shape)
            for (name, shape), part in zip(self.shapes.items(), g.split(sizes, -1), strict=True)
        }

    def features(self, model, x, trace, plan, memory, **more):
        body = {name: part for name, part in self.split(self.G).items() if name in plan.sketch.shapes}
        return TangentFeatures(plan.sketch.apply(body).to(self.like), None, plan)

    def backward(self, seeds):
        return self.split(torch.stack([a.double() @ self.G[c] for c, a in seeds]).to(self.like))


def ask(J, quantity, x, seed=0):
    """One of the five quantities."""
    generator = torch.Generator().manual_seed(seed)
    if quantity == "kernel":
        return J.kernel(x)
    if quantity == "diagonal":
        return J.diagonal(x)
    if quantity == "features":
        return J.features(x, k=32, seed=seed, keep_head=False)
    if quantity == "J w":
        return J.matvec(
            x, {name: torch.randn(p.shape, generator=generator).to(p) for name, p in J.model.named_parameters()}
        )
    C = ask_outputs(J, x)
    return J.rmatvec(x, torch.randn(C, len(x), generator=generator))


def ask_outputs(J, x):
    return J.model(x[:1]).shape[1]


def found(quantity, fault, seed, dtype, monkeypatch):
    """Whether the audit refuses, and its line."""
    model = network(seed % 5, dtype)
    x = torch.randn(64, 2, 5, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)
    honest = features(model, x)
    draws = (faulty(model, x, fault, seed + 1000 * again) for again in range(50))
    G, site = next((G, site) for G, site in draws if touched(honest, G, quantity))
    with Planted(model, G, monkeypatch):
        try:
            ask(Jacobian(model), quantity, x, seed)
        except ValueError as error:
            return True, site, str(error)
    return False, site, ""


# --- honest networks --------------------------------------------------------------------------------------------------


class Rounded(torch.autograd.Function):
    """Rounds forwards, passes cotangents through (a straight-through estimator): no derivative of any function."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(4 * x) / 4

    @staticmethod
    def backward(ctx, g):
        return g


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Quantised(nn.Linear):
    """Weights and activations are rounded, by detach and by a function of its own."""

    def forward(self, x):
        w = self.weight + (torch.round(8 * self.weight) / 8 - self.weight).detach()
        return Rounded.apply(nn.functional.linear(x, w, self.bias))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.r = kind(5, 4, batch_first=True)

    def forward(self, x):
        return self.r(x.flatten(1, 2))[0][:, -1]


class Residual(nn.Module):
    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x):
        return x + self.parts(x)


def _images(*parts):
    return nn.Sequential(*parts, nn.Flatten(), nn.LazyLinear(3))


def _tokens(*parts):
    return nn.Sequential(Apply(lambda x: x.flatten(1, 2)), nn.Linear(5, 4), *parts, nn.Flatten(), nn.LazyLinear(3))


HONEST = {
    **{f"convolution, {a.__name__}": (lambda a=a: _images(nn.Conv2d(2, 4, 3), a())) for a in (
        nn.ReLU, nn.LeakyReLU, nn.Hardswish, nn.ReLU6, nn.Hardtanh, nn.GELU, nn.SiLU, nn.PReLU, nn.Softplus)},
    "max pooling": lambda: _images(nn.Conv2d(2, 4, 2), nn.MaxPool2d(2), nn.ReLU()),
    "average pooling": lambda: _images(nn.Conv2d(2, 4, 2), nn.AvgPool2d(2), nn.Tanh()),
    "adaptive max pooling": lambda: _images(nn.Conv2d(2, 6, 3), nn.AdaptiveMaxPool2d(1)),
    "batch norm": lambda: _images(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "group norm": lambda: _images(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU()),
    "residual": lambda: _images(nn.Conv2d(2, 4, 1), Residual(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))),
    "grouped": lambda: _images(nn.Conv2d(2, 4, 3, groups=2, dilation=2), nn.ELU()),
    "transposed": lambda: _images(nn.ConvTranspose2d(2, 3, 2, stride=2), nn.ReLU()),
    "weight norm": lambda: _images(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), nn.ReLU()),
    "quantised": lambda: nn.Sequential(nn.Flatten(), Quantised(50, 6), nn.Tanh(), Quantised(6, 3)),
    "straight through": lambda: _images(nn.Conv2d(2, 4, 3), Apply(Rounded.apply), nn.ReLU()),
    "signs": lambda: _images(nn.Conv2d(2, 4, 3), Apply(lambda h: h.tanh() + (h.sign() - h.tanh()).detach())),
    "sorted": lambda: _images(nn.Conv2d(2, 4, 3), Apply(lambda h: h.flatten(1).sort(1)[0])),
    "top": lambda: _images(nn.Conv2d(2, 4, 3), Apply(lambda h: h.flatten(1).topk(5)[0])),
    "gated": lambda: _images(nn.Conv2d(2, 4, 3), Apply(lambda h: torch.where(h > 0, h, h.detach()))),
    "deep": lambda: nn.Sequential(
        nn.Flatten(), *(nn.Sequential(nn.LazyLinear(12), nn.ReLU()) for _ in range(8)), nn.Linear(12, 3)
    ),
    "LSTM": lambda: nn.Sequential(Recurrent(nn.LSTM), nn.Linear(4, 3)),
    "GRU": lambda: nn.Sequential(Recurrent(nn.GRU), nn.Linear(4, 3)),
    "transformer": lambda: _tokens(nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)),
    "layer norm": lambda: _tokens(nn.LayerNorm(4), nn.GELU()),
}  # fmt: skip


def honest(name, dtype, seed):
    """A network and inputs."""
    torch.manual_seed(seed)
    model = HONEST[name]()
    x = torch.randn(24, 2, 5, 5)
    model.eval()(x)
    return model.to(dtype), x.to(dtype)


def _tally(trials):
    for dtype in (torch.float64, torch.float32):
        for quantity in QUANTITIES:
            kinds = [fault for fault in FAULTS if (quantity, fault) not in UNSEEN]
            counts = {
                f: sum(found(quantity, f, s, dtype, pytest.MonkeyPatch())[0] for s in range(trials)) for f in kinds
            }
            whole = sum(counts.values()) / (trials * len(counts))
            print(
                f"{dtype} {quantity}: {whole:.1%} found;",
                ", ".join(f"{f} {c}/{trials}" for f, c in counts.items()),
                flush=True,
            )


def _alarms(calls):
    done = alarms = 0
    for seed in range(calls):
        for name in HONEST:
            for dtype in (torch.float32, torch.bfloat16, torch.float64):
                quantity = QUANTITIES[(seed + done) % 5]
                if done >= calls:
                    print(f"{alarms} false alarms in {done} honest calls over {len(HONEST)} architectures")
                    return
                model, x = honest(name, dtype, seed)
                done += 1
                try:
                    ask(Jacobian(model), quantity, x, seed)
                except (ValueError, RuntimeError, TypeError) as error:
                    alarms += 1
                    print(name, dtype, quantity, type(error).__name__, str(error).splitlines()[0], flush=True)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    _alarms(int(sys.argv[2])) if sys.argv[1] == "honest" else _tally(int(sys.argv[1]))
