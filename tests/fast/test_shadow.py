"""What a model keeps or changes of itself in a call stays in a shadow: neither the caller nor the next call sees it."""

from functools import partial

import pytest
import torch
from torch import nn

from dntk_fast import jacobian_vector, kernel_vector, tangent_features, tangent_kernel
from dntk_fast.tangent.batches import Wrapped
from dntk_fast.tangent.shadow import shadow, tables
from tests.fast.plain import close, features, kernel


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Keeping(nn.Module):
    """Makes a scale of a parameter, and `keep` decides where it stays from one call to the next."""

    def __init__(self, keep):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer, self.log = nn.Linear(3, 4), nn.Linear(4, 2), nn.Parameter(torch.randn(4))
        self.keep, self.table, self.kept, self.calls, self.seen = keep, {}, None, 0, []

    def forward(self, x):
        self.calls += 1
        return self.outer(torch.tanh(self.inner(x)) * self.keep(self))


def in_a_table(model):
    if "scale" not in model.table:
        model.table["scale"] = model.log.exp()
    return model.table["scale"]


def in_an_attribute(model):
    if model.kept is None:
        model.kept = model.log.exp()
    return model.kept


def in_a_list(model):
    if not model.seen:
        model.seen.append((model.log.exp(),))
    return model.seen[0][0]


def nowhere(model):
    return model.log.exp()


@pytest.mark.parametrize("keep", [in_a_table, in_an_attribute, in_a_list])
def test_what_a_model_keeps_is_neither_believed_nor_left_behind(keep):
    model, x = Keeping(keep).double().eval(), normal(5, 3)
    K = kernel(Keeping(nowhere).double().eval(), x)
    w = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    for _ in range(2):
        assert close(tangent_kernel(model, x), K)
        assert close(kernel_vector(model, x, torch.ones(2, 5).double()), K.sum(2))
        assert close(jacobian_vector(model, x, w), features(Keeping(nowhere).double().eval(), x).sum(2))
    assert (model.table, model.kept, model.calls, model.seen) == ({}, None, 0, [])


@pytest.mark.filterwarnings("ignore:no rule for the use of log")
def test_a_table_that_an_earlier_call_filled_is_made_again_but_one_of_constants_is_used():
    model, x = Keeping(in_a_table).double().eval(), normal(5, 3)
    with torch.no_grad():
        model(x)  # from here on the scale is a constant to the model
    (table,) = tables(model)
    assert close(tangent_kernel(model, x), kernel(Keeping(nowhere).double().eval(), x))
    assert table is model.table
    assert list(table) == ["scale"]

    constants = Keeping(lambda model: model.table["scale"] * model.log).double().eval()
    constants.table["scale"] = normal(4)
    assert close(tangent_kernel(constants, x), kernel(constants, x))
    switch = Keeping(lambda model: model.log.exp() * (2 if model.table else 1)).double().eval()
    switch.table["on"] = normal(4)
    assert close(tangent_kernel(switch, x), kernel(switch, x))


def test_a_shadow_has_modules_methods_and_hooks_of_its_own_and_the_same_tensors():
    model = nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 2), nn.Tanh())
    model.register_buffer("b", torch.ones(2))
    model.parts, model.method, model.part = [model[0]], model[0].extra_repr, partial(nn.Module.extra_repr, model[0])
    model.one, model.other = model.parts, {"same": model.parts}
    hook = model[0].register_forward_hook(lambda *given: None)
    twin = shadow(model)
    assert all(a is not b and type(a) is type(b) for a, b in zip(twin.modules(), model.modules(), strict=True))
    assert all(a is b for a, b in zip(twin.parameters(), model.parameters(), strict=True))
    assert twin.b is model.b
    assert twin.parts[0] is twin.method.__self__ is twin.part.args[0] is twin[0]
    assert twin.one is twin.other["same"]
    hook.remove()
    assert len(twin[0]._forward_hooks) == 1
    twin[0].weight = nn.Parameter(torch.zeros(4, 3))
    assert bool(model[0].weight.any())
    with pytest.warns(DeprecationWarning, match="script"):
        script = torch.jit.script(nn.Linear(2, 1))
    assert shadow(script) is script


def test_other_tensors_in_the_place_of_parameters_reach_recurrent_layers_too():
    model, x = nn.LSTM(3, 2, batch_first=True), torch.randn(4, 5, 3)
    module = Wrapped(model, lambda model, x: model(x)[0][:, -1])
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert bool(module(x).any())
    assert not bool(module.at(zeros, x).any())
    assert bool(module(x).any())


def test_the_older_weight_norm_is_served_after_a_call_and_in_another_precision():
    with pytest.warns(FutureWarning, match="weight_norm"):
        first = nn.utils.weight_norm(nn.Linear(3, 4))
    model, x = nn.Sequential(first, nn.Tanh(), nn.Linear(4, 2)), normal(5, 3).float()
    model(x)
    kept = vars(first)["weight"]
    K = kernel(model, x).double()
    assert close(tangent_kernel(model, x), K, 1e-4)
    assert close(tangent_kernel(model, x, dtype=torch.float64), K, 1e-4)
    assert tangent_features(model, x, k=4, seed=0).body.shape == (2, 5, 4)
    assert type(kept) is torch.Tensor
