"""Kernels, features and products are the same in any gradient mode, and from a DataLoader as from the tensor."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dntk_fast.tangent.batches import differentiable
from dntk_fast.tangent.features import feature_plan, norm_errors, tangent_features
from dntk_fast.tangent.kernel import (
    kernel_diagonal,
    kernel_plan,
    tangent_kernel,
    tangent_kernel_full,
    tangent_kernel_sum,
)
from dntk_fast.tangent.products import trace_probes


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


CALLS = {
    "tangent_kernel": lambda m, x: tangent_kernel(m, x),
    "tangent_kernel_sum": lambda m, x: tangent_kernel_sum(m, x),
    "tangent_kernel_full": lambda m, x: tangent_kernel_full(m, x),
    "kernel_diagonal": lambda m, x: kernel_diagonal(m, x),
    "kernel_plan": lambda m, x: torch.tensor(len(str(kernel_plan(m, x)))),
    "feature_plan": lambda m, x: torch.tensor(len(str(feature_plan(m, x, k=6, seed=0)))),
    "tangent_features": lambda m, x: tangent_features(m, x, k=6, seed=0).values,
    "norm_errors": lambda m, x: norm_errors(m, x, tangent_features(m, x, k=6, seed=0)),
    "trace_probes": lambda m, x: trace_probes(m, x, probes=2, seed=0),
}


@pytest.mark.parametrize("name", list(CALLS))
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_answer_does_not_depend_on_the_mode(name, mode):
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    expected = CALLS[name](network(), x)
    with mode():
        found = CALLS[name](network() if mode is torch.no_grad else MODEL, x * 1.0)  # made in that mode
    assert torch.equal(found, expected)
    assert not found.requires_grad


MODEL = network()


def test_inputs_made_in_inference_mode_are_copied_wherever_they_stand():
    with torch.inference_mode():
        x = torch.ones(2)

    @differentiable
    def all_plain(one, two, *, three):
        return not any(part.is_inference() for part in (one, two[0], three["x"]))

    assert all_plain(x, (x,), three={"x": x})


@pytest.mark.parametrize("name", list(CALLS))
def test_a_loader_gives_what_its_samples_give(name):
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    loader = DataLoader(TensorDataset(x), batch_size=2)
    assert torch.equal(CALLS[name](network(), loader), CALLS[name](network(), x))


def test_the_order_of_a_loader_matters():
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    turned = DataLoader(TensorDataset(x.flip(0)), batch_size=2)
    assert not torch.equal(tangent_kernel(network(), turned), tangent_kernel(network(), x))


def test_a_loader_of_dicts_or_pairs_gives_the_arguments_of_the_model():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 3), nn.Linear(1, 3)

        def forward(self, a, b):
            return self.first(a) * self.second(b)

    a, b = torch.linspace(-1, 1, 6).reshape(3, 2), torch.ones(3, 1)
    expected = tangent_kernel(Both(), (a, b)).shape
    assert tangent_kernel(Both(), DataLoader(TensorDataset(a, b), batch_size=2)).shape == expected == (3, 3, 3)
    rows = [{"a": u, "b": v} for u, v in zip(a, b, strict=True)]
    assert tangent_kernel(Both(), DataLoader(rows, batch_size=2)).shape == expected


def test_a_loader_with_labels_or_without_batches_is_refused():
    x = torch.ones(3, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="x1: expected what the model takes"):
        tangent_kernel(network(), DataLoader(TensorDataset(x, torch.zeros(3)), batch_size=2))
    with pytest.raises(ValueError, match="x1: expected at least one batch, got a DataLoader without any"):
        tangent_kernel(network(), DataLoader(TensorDataset(x[:0])))
