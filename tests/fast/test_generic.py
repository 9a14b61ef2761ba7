"""Per-sample gradients of any module equal one backward pass per sample and output; probes find what they are for."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dntk_fast.tangent import batches, generic, head, probes
from dntk_fast.tangent.batches import Wrapped
from tests.tolerances import TOL


class Branching(nn.Module):
    """Control flow that depends on the data: torch.func cannot run two samples of it at once."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x) if float(x.sum()) > 0 else self.fc(x).tanh()


class Shared(nn.Module):
    """One weight used twice, and a parameter outside any layer."""

    def __init__(self):
        super().__init__()
        self.fc, self.scale = nn.Linear(3, 3), nn.Parameter(torch.tensor([0.5, 2.0, -1.0]))

    def forward(self, x):
        return self.fc(torch.tanh(self.fc(x)) * self.scale)


def attention():
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (1, 4)), layer, nn.Flatten())


def padded():
    layers = nn.Embedding(5, 4, padding_idx=1), nn.Flatten(), nn.Linear(12, 2)
    return nn.Sequential(nn.Hardtanh(0, 4), Integers(), *layers)


class Integers(nn.Module):
    def forward(self, x):
        return x.round().long()


MODELS = {
    "padded table": padded,
    "perceptron": lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(4, 2)
    ),
    "attention": attention,
    "shared": Shared,
}


def build(make):
    torch.manual_seed(0)
    return make().double().eval()


def by_backward_passes(model, x, names):
    parameters = dict(model.named_parameters())
    rows = []
    for i in range(len(x)):
        out = model(x[i : i + 1])[0]
        rows.append([torch.autograd.grad(y, [parameters[n] for n in names], retain_graph=True) for y in out])
    return [{n: torch.stack([row[c][j] for row in rows]) for j, n in enumerate(names)} for c in range(len(rows[0]))]


def close(found, expected):
    return torch.allclose(found, expected, rtol=TOL["float64"], atol=TOL["float64"])


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_one_backward_pass_for_each_sample_and_output(name):
    model, x = build(MODELS[name]), torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = 2 * x if name == "padded table" else x
    names = list(probes.trainable(model))
    expected = by_backward_passes(model, x, names)
    seen = list(generic.per_sample_gradients(Wrapped(model), x, names, range(len(expected))))
    assert [c for c, _ in seen] == list(range(len(expected)))
    for c, found in seen:
        assert all(close(found[n], expected[c][n]) for n in names)
        assert not all(close(found[n], expected[c - 1][n]) for n in names)
    assert all(p.grad is None for p in model.parameters())


def test_a_module_that_vmap_cannot_trace_goes_one_sample_at_a_time():
    model, x = build(Branching), torch.tensor([[1.0, 1, 1], [-1, -1, -1]], dtype=torch.float64)
    names = ["fc.weight", "fc.bias"]
    assert not generic.vectorises(Wrapped(model), x, names)
    assert generic.vectorises(Wrapped(build(MODELS["perceptron"])), x, ["0.weight"])
    expected = by_backward_passes(model, x, names)
    for i in range(2):
        for c, found in generic.per_sample_gradients(Wrapped(model), x[i : i + 1], names, [0, 1]):
            assert close(found["fc.weight"][0], expected[c]["fc.weight"][i])


def test_a_subset_of_parameters_and_outputs_leaves_the_others_alone():
    model, x = build(MODELS["perceptron"]), torch.ones(2, 3, dtype=torch.float64)
    ((position, found),) = generic.per_sample_gradients(Wrapped(model), x, ["2.bias"], [1])
    assert position == 0
    assert list(found) == ["2.bias"]
    assert found["2.bias"].tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_trainable_leaves_out_frozen_parameters_and_lists_shared_ones_once():
    model = build(MODELS["perceptron"])
    model[0].bias.requires_grad_(False)
    assert list(probes.trainable(model)) == ["0.weight", "2.weight", "2.bias"]
    assert list(probes.trainable(model, ["2.bias", "0.weight"])) == ["0.weight", "2.bias"]
    assert list(probes.trainable(model, lambda name: name.endswith("bias"))) == ["2.bias"]
    with pytest.raises(ValueError, match=r"^parameters: expected names of trainable parameters, got \['0\.bias'\]$"):
        probes.trainable(model, ["0.bias"])
    with pytest.raises(ValueError, match=r"^parameters: expected at least one trainable parameter, got none$"):
        probes.trainable(model, lambda name: False)
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert list(probes.trainable(tied)) == ["0.weight", "0.bias", "1.bias"]


# --- the probes -------------------------------------------------------------------------------------------------------


class Head(nn.Module):
    """A head whose output is, or is not, the model's output."""

    def __init__(self, end):
        super().__init__()
        self.body, self.fc, self.end = nn.Linear(3, 3), nn.Linear(3, 3), end

    def forward(self, x):
        return self.end(self, torch.tanh(self.body(x)))


def tied(model, h):
    return model.fc(functional.linear(h, model.fc.weight))


ENDS = {
    "affine": (lambda model, h: model.fc(h), "fc"),
    "named argument": (lambda model, h: model.fc(input=h), "fc"),
    "scaled": (lambda model, h: 2 * model.fc(h), None),
    "changed in place": (lambda model, h: model.fc(h).mul_(2), None),
    "called twice": (lambda model, h: model.fc(model.fc(h)), None),
    "weight used elsewhere": (tied, None),
    "output of another layer": (lambda model, h: torch.relu(model.fc(h)), None),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_head_is_the_layer_whose_output_is_the_models_and_nothing_else(name):
    end, expected = ENDS[name]
    model, x = build(lambda: Head(end)), torch.randn(2, 3, dtype=torch.float64)
    assert head.affine_head(Wrapped(model), x, list(probes.trainable(model))) == expected
    assert all(not module._forward_hooks for module in model.modules())


def test_a_frozen_head_or_one_on_sequences_is_none():
    model = build(lambda: Head(ENDS["affine"][0]))
    model.fc.weight.requires_grad_(False)
    x = torch.randn(2, 3, dtype=torch.float64)
    assert head.affine_head(Wrapped(model), x, list(probes.trainable(model))) is None
    assert head.affine_head(Wrapped(nn.Linear(3, 2).double()), x, ["weight", "bias"]) == ""


class Centred(nn.Module):
    """Outputs that depend on the other samples of the batch."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x - x.mean(0))


class Noisy(nn.Module):
    """Random numbers that no flag tells of."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x + torch.randn_like(x))


class Summed(nn.Module):
    """Outputs that depend on the samples before, never on those behind."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x).cumsum(0)


class Dropping(nn.Module):
    """Random numbers that hardly ever show."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(nn.functional.dropout(x, 1e-9))


ALONE = "^model: expected outputs of a sample that depend on it alone, got a change of"
DRAWN = "^model: expected outputs that are not drawn at random, got random numbers drawn by it"


@pytest.mark.parametrize(("make", "message"), [(Centred, ALONE), (Summed, ALONE), (Noisy, DRAWN), (Dropping, DRAWN)])
def test_outputs_that_depend_on_more_than_their_sample_are_refused(make, message):
    x, model = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), build(make)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        probes.probe(Wrapped(model), x)
    assert torch.equal(before, torch.get_rng_state())
    assert probes.probe(Wrapped(build(MODELS["perceptron"])), x).shape == (2, 2)


def test_batches_are_tensors_tuples_or_dicts():
    class Both(nn.Module):
        def forward(self, left, right):
            return left + right

    left, right = torch.ones(3, 2), torch.arange(6.0).reshape(3, 2)
    for batch in ((left, right), {"right": right, "left": left}):
        assert torch.equal(batches.call(Both(), batch), left + right)
        assert torch.equal(batches.call(Both(), batches.take(batch, slice(1, 3))), (left + right)[1:])


def test_a_budget_too_small_for_one_sample_is_refused_with_the_least_that_serves():
    assert probes.chunk_rows(95, 30, 5) == 3
    with pytest.raises(ValueError, match=r"^memory: expected at least 35 \(35 B\) for one sample, got 34 B$"):
        probes.chunk_rows(34, 30, 5)
