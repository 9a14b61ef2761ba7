"""One forward pass sees every use of every parameter, wherever the rows stand, and leaves nothing on the model."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from dntk_fast.tangent.batches import Wrapped
from dntk_fast.tangent.generic import sample_gradients
from dntk_fast.tangent.passes import capture, inspect
from dntk_fast.tangent.placement import UnsettledRowsError
from tests.fast.plain import close, jacobian


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Transformer(nn.Module):
    """Tied embedding, class token, positions and scale without a module, an encoder used twice, cross-attention."""

    def __init__(self, batch_first, masked=False):
        super().__init__()
        self.embedding = nn.Embedding(7, 4, padding_idx=0)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 4, 4))
        self.scale, self.mixer = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4, 4))
        self.encoder = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=batch_first)
        self.cross = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embedding.weight
        self.batch_first, self.masked = batch_first, masked

    def forward(self, words):
        x = torch.cat([self.token.expand(len(words), -1, -1), self.embedding(words)], 1) + self.positions
        x = (x * self.scale) @ self.mixer
        x = x if self.batch_first else x.transpose(0, 1)
        mask = nn.Transformer.generate_square_subsequent_mask(4, dtype=x.dtype) if self.masked else None
        padding = functional.pad(words == 0, (1, 0)) if self.masked else None
        x = self.encoder(x, src_mask=mask, is_causal=self.masked)
        if padding is not None:
            padding = torch.zeros_like(padding, dtype=x.dtype).masked_fill(padding, float("-inf"))
        x = x + self.cross(x, 2 * x, x.tanh(), key_padding_mask=padding)[0]
        x = self.encoder(x)
        return self.head((x if self.batch_first else x.transpose(0, 1)).mean(1))


class Frames(nn.Module):
    """Rows joined with frames on one axis, rows first or frames first."""

    def __init__(self, rows_first):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 2)
        self.rows_first = rows_first

    def forward(self, x):
        n, frames = x.shape[:2]
        y = self.norm(self.conv((x if self.rows_first else x.transpose(0, 1)).flatten(0, 1)))
        y = y.unflatten(0, (n, frames)) if self.rows_first else y.unflatten(0, (frames, n)).transpose(0, 1)
        return self.head(y.tanh().mean(1).flatten(1))


class InPlace(nn.Module):
    """Activations that are changed in place after a marked layer, the first one among them."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        y = self.a(x).mul_(2).add_(1)
        z = self.b(y)
        z += y
        return self.c(functional.relu_(z))


class Two(nn.Module):
    """Two arguments, a frozen weight, a frozen bias, a parameter that nothing uses, and addmm."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(3, 2), nn.Linear(2, 2), nn.Parameter(torch.ones(3))
        self.shift, self.mixer = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(2, 2))
        self.a.bias.requires_grad_(False)
        self.b.weight.requires_grad_(False)

    def forward(self, u, v):
        return torch.addmm(self.shift, self.a(u) * self.b(v).tanh(), self.mixer)


def zoo():
    torch.manual_seed(0)
    words = torch.tensor([[1, 2, 3], [4, 0, 0], [6, 6, 1]])
    return {
        "rows first": (Transformer(True), words),
        "positions first": (Transformer(False), words),
        "masked": (Transformer(True, masked=True), words),
        "frames": (Frames(True), normal(3, 5, 1, 4, 4)),
        "frames first": (Frames(False), normal(3, 5, 1, 4, 4)),
        "as many frames as rows": (Frames(False), normal(2, 2, 1, 4, 4)),
        "in place": (InPlace(), normal(4, 3)),
        "two": (Two(), (normal(4, 3), normal(4, 2))),
        "named": (Two(), {"u": normal(4, 3), "v": normal(4, 2)}),
        "one row": (InPlace(), normal(1, 3)),
        "outputs that sum to one": (nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), normal(4, 3)),
    }


@pytest.mark.parametrize("name", zoo())
@pytest.mark.parametrize("together", [1, 2, None])
def test_every_use_is_seen(name, together):
    model, x = zoo()[name]
    model.double().eval()
    trace = inspect(model, x)
    expected = jacobian(model, x)
    found = {k: g for t in capture(trace, x, together=together) for k, g in t.gradients().items()}
    assert trace.generic == ()
    assert all(close(found[k], expected[k]) for k in found)
    assert all(not expected[k].any() for k in expected.keys() - found.keys())


def test_some_outputs_in_any_chunks():
    model, x = zoo()["rows first"]
    model.double().eval()
    trace, expected = inspect(model, x), jacobian(model, x)
    for tangent in capture(trace, x[1:2], range(2, 5)):
        assert tangent.extent == (3, 1)
        assert all(close(g, expected[k][2:5, 1:2], 1e-9) for k, g in tangent.gradients().items() if expected[k].any())


# --- no rule ----------------------------------------------------------------------------------------------------------


class Last(nn.Module):
    """The last state of a recurrent network on sequences that are packed."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        packed = pack_padded_sequence(x, [x.shape[1]] * len(x), batch_first=True)
        return self.head(self.recurrent(packed)[1][0][-1])


class Squared(nn.Bilinear):
    """A quadratic form."""

    def forward(self, x):
        return super().forward(x, x)


class Contracted(nn.Linear):
    """A product that is written with einsum."""

    def forward(self, x):
        return torch.einsum("ni,oi->no", x, self.weight) + self.bias


class Twice(nn.Module):
    """A weight that meets a rule and a function without one, and a scalar."""

    def __init__(self):
        super().__init__()
        self.w, self.s, self.head = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(())), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(functional.linear(x, self.w) + torch.einsum("ni,ij->nj", x, self.w) * self.s)


class Hidden(torch.autograd.Function):
    """A function that torch function modes do not see."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, d):
        x, w = ctx.saved_tensors
        return d * w, (d * x).sum(0)


class Unseen(nn.Module):
    """One use in the open, one that is hidden."""

    def __init__(self):
        super().__init__()
        self.w, self.head = nn.Parameter(torch.randn(3)), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(Hidden.apply(x, self.w) + x * self.w)


@pytest.mark.parametrize(
    ("make", "shape", "named"),
    [
        (Last, (3, 5, 3), "recurrent.weight_ih_l0, recurrent.weight_hh_l0, recurrent.bias_ih_l0, recurrent.bias_hh_l0"),
        (Twice, (3, 3), "w"),
        (Unseen, (3, 3), "w"),
        (
            lambda: nn.Sequential(Squared(3, 3, 4), nn.Linear(4, 2)),
            (3, 3),
            "0.weight, 0.bias",
        ),
        (lambda: nn.utils.parametrizations.weight_norm(Contracted(3, 2)), (3, 3), "parametrizations"),
        (lambda: nn.Sequential(nn.Embedding(4, 2, scale_grad_by_freq=True), nn.Flatten()), (3, 2), "0.weight"),
    ],
)
def test_without_a_rule_the_generic_path_is_taken_for_those_parameters(make, shape, named):
    torch.manual_seed(0)
    model, x = make().double(), normal(*shape)
    x = x.argsort(1) if isinstance(model, nn.Sequential) and isinstance(model[0], nn.Embedding) else x
    with pytest.warns(UserWarning, match="no rule for the use of .*" + named) as record:
        trace = inspect(model, x)
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {k: g for t in capture(trace, x) for k, g in t.gradients().items()}
    expected = jacobian(model, x)
    assert found.keys() == expected.keys()
    assert all(close(found[k], expected[k]) for k in expected)


def test_the_generic_path_agrees_with_the_rules():
    model, x = zoo()["in place"]
    model.double()
    found = sample_gradients(Wrapped(model), ["b.weight", "c.bias"], x, range(2))
    expected = jacobian(model, x)
    assert close(found["b.weight"], expected["b.weight"])
    assert close(found["c.bias"], expected["c.bias"])


# --- refusals ---------------------------------------------------------------------------------------------------------


class Changed(nn.Module):
    """An activation that the gradient needs and that is overwritten after its use."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 2)

    def forward(self, x):
        y = x.clone()
        z = self.a(y)
        y.mul_(2)
        return z + y[:, :2]


class Statistics(nn.Module):
    """Batch statistics without a module that says so."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return functional.batch_norm(x, None, None, self.weight, None, True)


class Mixing(nn.Linear):
    """Every output depends on all rows."""

    def forward(self, x):
        return super().forward(x - x.mean(0))


class Moody(nn.Module):
    """Another layer for another number of rows."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return (self.a if len(x) == 2 else self.b)(x)


class Recomputing(nn.Linear):
    """Its activations are computed again when they are needed."""

    def forward(self, x):
        return checkpoint(lambda h: torch.tanh(super(Recomputing, self).forward(h)), x, use_reentrant=False)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), r"evaluation mode .* Dropout 0 that draws random numbers"),
        (
            nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)),
            r"evaluation mode .* BatchNorm1d 0 that uses batch statistics",
        ),
        (Statistics(), "batch_norm with batch statistics|depend on it alone"),
        (Mixing(3, 2), "outputs of a sample that depend on it alone"),
        (Changed(), "got one before a.weight changed in place"),
        (nn.Linear(3, 2).requires_grad_(False), "at least one trainable parameter"),
        (
            Recomputing(3, 2),
            r"activations that are kept for the backward pass \(use_reentrant=False .*\), got torch.utils.checkpoint",
        ),
    ],
)
def test_refused(model, message):
    with pytest.raises(ValueError, match=message):
        inspect(model.double(), normal(4, 3))


def test_calls_that_depend_on_the_batch_are_refused():
    model = Moody().double()
    trace = inspect(model, normal(4, 3))
    with pytest.raises(
        UnsettledRowsError, match=r"^model: expected layers that treat every batch alike, got other places or"
    ):
        list(capture(trace, normal(4, 3)))


# --- nothing is left behind -------------------------------------------------------------------------------------------


def state(model):
    return (
        {name: (p.clone(), p.requires_grad, p.grad) for name, p in model.named_parameters()},
        {name: b.clone() for name, b in model.named_buffers()},
        [module.training for module in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()],
        [sorted(vars(m)) for m in model.modules()],
        torch.get_rng_state(),
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


class Failing(nn.Module):
    """Fails from when it is told to."""

    def __init__(self):
        super().__init__()
        self.part, self.broken = nn.Linear(3, 2), False

    def forward(self, x):
        y = self.part(x)
        if self.broken:
            raise ArithmeticError("on purpose")
        return y


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3).eval(), nn.Dropout(0.5).eval(), nn.Flatten(), nn.Linear(9, 2)
    ).double()
    model[0].bias.requires_grad_(False)
    x, before = normal(3, 2, 4), state(model)
    x.requires_grad_(True)
    list(capture(inspect(model, x), x))
    assert same(state(model), before)
    assert x.grad is None
    assert not same(state(nn.Sequential(*model).train()), before)


def test_the_model_is_left_as_it_was_after_an_error():
    model, x = Failing().double(), normal(3, 3)
    before = state(model)
    trace, model.broken = inspect(model, x), True
    with pytest.raises(ArithmeticError, match="on purpose"):
        list(capture(trace, x))
    assert same(state(model), before)
    assert type(functional.linear(x, model.part.weight)) is torch.Tensor
