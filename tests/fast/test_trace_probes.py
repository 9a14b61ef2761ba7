"""Random signs for the trace take the options of the kernel whose trace they estimate."""

import pytest
import torch
from torch import nn

from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.products import trace_probes
from tests.fast.plain import close


def case(dtype):
    torch.manual_seed(0)
    layers = nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)
    return nn.Sequential(*layers).to(dtype), torch.randn(1, 3, dtype=dtype)


# Of one sample every sign gives the trace itself: z^T K z = K for z = 1 and z = -1.
def test_probes_of_some_outputs_and_parameters():
    model, x = case(torch.float64)
    options = {"outputs": [2, 0], "parameters": ["0.weight", "4.bias"]}
    found = trace_probes(model, x, 4, seed=0, **options)
    assert close(found, tangent_kernel(model, x, **options)[..., 0].expand(2, 4))
    assert trace_probes(model, x, 4, seed=0).shape == (3, 4)


def test_probes_in_double_precision_on_request():
    model, x = case(torch.float32)
    exact = tangent_kernel(model, x, dtype=torch.float64)[..., 0].expand(3, 4)
    assert close(trace_probes(model, x, 4, seed=0, dtype=torch.float64), exact)
    assert not close(trace_probes(model, x, 4, seed=0), exact)


def test_probes_within_a_budget():
    model, x = case(torch.float64)
    with pytest.raises(ValueError, match="memory: expected at least"):
        trace_probes(model, x, 4, seed=0, memory=1)
