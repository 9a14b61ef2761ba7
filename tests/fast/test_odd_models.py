"""Models whose rows wander, that keep views of their parameters or differentiate inside: the right numbers or a refusal."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import kernel_diagonal, tangent_kernel
from dntk_fast.tangent.products import jacobian_vector, kernel_vector, quadratic_forms, trace_probes, vector_jacobian
from tests.fast.plain import close, features, kernel
from tests.tolerances import TOL


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Gate(nn.Module):
    """Only rows above zero pass the first layer."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        h, on = x.new_zeros(len(x), 4), x[:, 0] > 0
        h[on] = self.inner(x[on])
        return self.outer(torch.tanh(h))


class Routed(Gate):
    """Rows in the order of their first entry while they are in the first layer."""

    def forward(self, x):
        order = x[:, 0].argsort()
        h = torch.tanh(self.inner(x[order]))
        return self.outer(h[order.argsort()])


class LastWord(nn.Module):
    """Positions first, joined with the rows; of each row the last valid position is read."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.outer = layer, nn.Linear(4, 2)

    def forward(self, x, last):
        n, T = x.shape[:2]
        h = self.layer(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (T, n))
        return self.outer(torch.tanh(h[last, torch.arange(n)]))


class DeadEnds(nn.Module):
    """Rows on the second axis; behind a rectifier that may be shut for the two samples that are looked at."""

    def __init__(self):
        super().__init__()
        self.inner, self.narrow, self.outer = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(1, 2)

    def before(self, x):
        return self.narrow(torch.tanh(self.inner(x.transpose(0, 1))).sum(0))

    def forward(self, x):
        return self.outer(torch.relu(self.before(x)))


class Force(nn.Module):
    """The output is itself a gradient."""

    def __init__(self, enabled):
        super().__init__()
        self.inner, self.outer, self.enabled = nn.Linear(3, 4), nn.Linear(4, 1), enabled

    def forward(self, x):
        with torch.set_grad_enabled(self.enabled or torch.is_grad_enabled()):
            x = x.detach().requires_grad_()
            energy = self.outer(torch.tanh(self.inner(x))).sum()
            return torch.autograd.grad(energy, x, create_graph=True)[0]


class Transform(Gate):
    """A derivative by torch.func inside."""

    def forward(self, x):
        def along(v):
            return torch.func.jvp(lambda u: torch.tanh(self.inner(u)), (v,), (torch.ones_like(v),))[1]

        return self.outer(along(x))


class Slopes(Transform):
    """One more, that admits no look at what is kept for the backward pass."""

    def forward(self, x):
        def energy(v):
            return self.outer(torch.tanh(self.inner(v)))[0]

        slopes = torch.vmap(torch.func.grad(energy))(x)
        return torch.stack([slopes.sum(1), slopes[:, 0]], 1)


class View(nn.Module):
    """An autoencoder that keeps the transpose of its own weight."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4, bias=False)

    def double(self):
        super().double()
        self.kept = self.inner.weight.t()
        return self

    def forward(self, x):
        return functional.linear(torch.tanh(self.inner(x)), self.kept)


class Stopped(nn.Module):
    """A layer that is no part of the derivative."""

    def __init__(self):
        super().__init__()
        self.inner, self.middle, self.outer = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        with torch.no_grad():
            scale = torch.tanh(self.inner(x))
        return self.outer(torch.tanh(self.middle(x)) * scale)


class OneBias(nn.Module):
    """A bias that is one number for all units of a layer."""

    def __init__(self, shape):
        super().__init__()
        self.w, self.b, self.outer = nn.Parameter(normal(4, 3)), nn.Parameter(normal(*shape)), nn.Linear(4, 2)

    def forward(self, x):
        return self.outer(torch.tanh(functional.linear(x, self.w, self.b)))


class SharedHead(nn.Module):
    """The head's bias serves the body, too; or does so for some rows."""

    def __init__(self, always):
        super().__init__()
        self.inner, self.outer, self.always = nn.Linear(3, 4), nn.Linear(4, 2), always

    def forward(self, x):
        shift = self.outer.bias.sum() if self.always else torch.where(x[:, :1] > 0, self.outer.bias.sum(), 0.0)
        return self.outer(torch.tanh(self.inner(x) + shift))


class Scaled(nn.Module):
    """A parameter without axes, and one without entries."""

    def __init__(self):
        super().__init__()
        self.t, self.none, self.outer = nn.Parameter(normal()), nn.Parameter(normal(0, 3)), nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(x) * self.t


def sparse():
    return nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Flatten(), nn.Linear(15, 2))


def gated():
    x = normal(5, 3)
    x[:, 0] = torch.tensor([1.0, -1, -1, -1, 1])
    return x


def words(layer):
    return lambda: (LastWord(layer()), (normal(4, 2, 3), torch.tensor([0, 1, 0, 1])))


def dead_ends():
    model, x = DeadEnds(), normal(40, 2, 3)
    with torch.no_grad():
        s = model.double().before(x)[:, 0]
        model.narrow.bias -= s.median()
    on = s > s.median()
    return model, torch.cat([x[~on][:1], x[on][:3], x[~on][1:2]])


CASES = {
    "gate": lambda: (Gate(), gated()),
    "routed": lambda: (Routed(), normal(5, 3)[[0, 3, 1, 4, 2]]),
    "last word": words(lambda: nn.Linear(3, 4)),
    "last word, normalised": words(lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 4))),
    "dead ends": dead_ends,
    "force": lambda: (Force(True), normal(4, 3)),
    "force where gradients are on": lambda: (Force(False), normal(4, 3)),
    "transform": lambda: (Transform(), normal(4, 3)),
    "slopes": lambda: (Slopes(), normal(4, 3)),
    "view": lambda: (View(), normal(4, 3)),
    "stopped": lambda: (Stopped(), normal(4, 3)),
    "bias of one entry": lambda: (OneBias((1,)), normal(4, 3)),
    "bias without axes": lambda: (OneBias(()), normal(4, 3)),
    "head in the body": lambda: (SharedHead(True), normal(4, 3)),
    "head in some bodies": lambda: (SharedHead(False), -normal(4, 3).abs()[[0, 1, 2, 3]] * gated()[[1, 0, 4, 2], :1].sign()),
    "scaled": lambda: (Scaled(), normal(4, 3)),
    "weight norm": lambda: (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), normal(4, 3)),
    "bags": lambda: (nn.Sequential(nn.EmbeddingBag(5, 3), nn.Linear(3, 2)), normal(4, 5).argsort(1)),
    "sparse table": lambda: (sparse(), normal(4, 5).argsort(1)),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    model, x = CASES[request.param]()
    model.double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield model, x


def test_kernels(case):
    model, x = case
    K = kernel(model, x)
    assert close(tangent_kernel(model, x), K)
    assert close(tangent_kernel(model, x, memory=2**16), K)
    assert close(kernel_diagonal(model, x), K.diagonal(dim1=1, dim2=2))


def test_features(case):
    model, x = case
    P = sum(p.numel() for p in model.parameters())
    found = tangent_features(model, x, k=P, seed=0, projection="haar", keep_head=False).values
    assert close(found @ found.mT, kernel(model, x))
    # An exact head takes its part of the gradient from the map, nothing else.
    found = tangent_features(model, x, k=1, seed=0)
    k = P if found.plan.head is None else P - sum(p.numel() for p in model.get_submodule(found.plan.head).parameters())
    found = tangent_features(model, x, k=k, seed=0, projection="haar").values
    assert close(found @ found.mT, kernel(model, x))


def test_products(case):
    model, x = case
    Phi = features(model, x)
    K = Phi @ Phi.mT
    C, n = Phi.shape[:2]
    parameters = {name: p for name, p in model.named_parameters() if p.numel()}
    w = {name: torch.linspace(-1, 2, p.numel(), dtype=torch.float64).view(p.shape) for name, p in parameters.items()}
    flat = torch.cat([part.flatten() for part in w.values()])
    v, Z = normal(C, n), normal(C, n, 2)
    assert close(jacobian_vector(model, x, w), Phi @ flat)
    assert close(jacobian_vector(model, x, {name: part.expand(C, *part.shape) for name, part in w.items()}), Phi @ flat)
    pulled = vector_jacobian(model, x, v)
    assert close(torch.cat([g.reshape(C, -1) for g in pulled.values()], 1), (Phi.mT @ v[..., None])[..., 0])
    assert close(kernel_vector(model, x, v), (K @ v[..., None])[..., 0])
    assert not kernel_vector(model, x, v).requires_grad
    assert close(quadratic_forms(model, x, Z), torch.einsum("cnr,cnm,cmr->cr", Z, K, Z), TOL["float64"] * 100)
    assert trace_probes(model, x, 2, seed=0).shape == (C, 2)


def test_the_callers_automatic_casts_change_nothing():
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)), normal(3, 1, 4, 4).float()
    expected = [tangent_kernel(model, x), kernel_diagonal(model, x), kernel_vector(model, x, torch.ones(2, 3))]
    with torch.autocast("cpu", torch.bfloat16):
        found = [tangent_kernel(model, x), kernel_diagonal(model, x), kernel_vector(model, x, torch.ones(2, 3))]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, 2, dtype=torch.complex128))

    def forward(self, x):
        return (x.to(torch.complex128) @ self.w).abs()


def hooked():
    model = nn.Linear(3, 2)
    model.weight.register_hook(lambda g: 0 * g)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Complex, "^model: expected real parameters, got w of torch.complex128"),
        (hooked, "^model: expected parameters without hooks on their gradients, got one on weight"),
    ],
)
@pytest.mark.parametrize(
    "function", [tangent_kernel, kernel_diagonal, lambda m, x: vector_jacobian(m, x, torch.ones(2, len(x)).double())]
)
def test_gradients_that_are_no_derivatives_of_real_numbers_are_refused(make, message, function):
    with pytest.raises(ValueError, match=message):
        function(make().double() if make is hooked else make(), normal(4, 3))
