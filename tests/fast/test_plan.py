"""The plan: the cheaper rule, budgets that hold, passes as they are then made."""

import itertools
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dntk_fast.tangent.batches import Wrapped
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel
from dntk_fast.tangent.passes import inspect
from dntk_fast.tangent.plan import plan_kernel
from dntk_fast.tangent.probes import probe


class Counting(nn.Module):
    """Counts the rows that go forward, and those that come back for each output."""

    def __init__(self, outputs=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, outputs))
        self.rows: list[int] = []
        self.returned: list[int] = []

    def forward(self, x):
        self.rows.append(len(x))
        values = self.body(x)
        if values.requires_grad:
            values.register_hook(lambda g: self.returned.append(len(g)))
        return values


def rules(model, x, **options):
    return {layer.names[0]: layer.rule for layer in kernel_plan(model, x, **options).layers}


def test_one_position_is_factored_and_many_positions_with_few_weights_are_not():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 64))
    assert rules(model, torch.zeros(8, 1, 28, 28)) == {"0.weight": "explicit", "2.weight": "factors"}


def test_the_choice_turns_with_the_number_of_positions():
    # factors cost T^2 (p + C q) for each pair, gradients p q: with p = q = 64 and C = 10 they meet between T = 1 and 64
    def chosen(length):
        model = nn.Sequential(nn.Conv1d(64, 64, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10))
        return rules(model, torch.zeros(256, 64, length))["0.weight"]

    assert [chosen(length) for length in (1, 64)] == ["factors", "explicit"]


@given(
    st.integers(1, 40),
    st.one_of(st.none(), st.integers(1, 40)),
    st.integers(0, 24),
    st.sampled_from(["class", "sum", "full"]),
)
def test_the_peak_stays_within_the_budget_and_the_stated_minimum_is_one(n1, n2, doublings, pairing):
    trace = inspect(Counting(), torch.zeros(2, 2, 6))
    with pytest.raises(ValueError, match="memory: expected at least") as refusal:
        plan_kernel(trace, n1, n2, 1, pairing)
    least = int(re.search(r"at least (\d+)", str(refusal.value)).group(1))
    plan = plan_kernel(trace, n1, n2, least * 2**doublings, pairing)
    assert plan.peak_bytes <= least * 2**doublings
    assert 1 <= plan.rows <= max(n1, n2 or 0)
    assert 1 <= plan.classes <= 3
    assert pairing != "full" or plan.classes == 3
    with pytest.raises(ValueError, match="memory: expected at least"):
        plan_kernel(trace, n1, n2, least * 9 // 10, pairing)


def test_more_memory_never_means_fewer_rows_at_a_time():
    trace = inspect(Counting(), torch.zeros(2, 2, 6))
    plans = [plan_kernel(trace, 50, None, memory) for memory in (20_000, 100_000, 500_000, 10**7)]
    assert all(a.rows * a.classes <= b.rows * b.classes for a, b in itertools.pairwise(plans))
    assert plans[0].rows < plans[-1].rows == 50


@pytest.mark.parametrize("memory", [30_000, 60_000, 10**7])
@pytest.mark.parametrize("cross", [False, True])
def test_the_passes_are_those_that_are_made(memory, cross):
    model = Counting()
    x = torch.randn(13, 2, 6, generator=torch.Generator().manual_seed(0))
    other = x[:5] if cross else None
    inspect(model, x)
    if cross:
        probe(Wrapped(model), other)
    probes, returned = sum(model.rows), sum(model.returned)
    model.rows.clear(), model.returned.clear()
    plan = kernel_plan(model, x, other, memory=memory)
    model.rows.clear(), model.returned.clear()
    tangent_kernel(model, x, other, memory=memory)
    assert sum(model.rows) - probes == plan.forward_passes
    made = sum(model.returned) - returned
    assert made == plan.backward_passes // plan.together


def test_the_plan_reads_as_a_table():
    text = str(kernel_plan(Counting(), torch.zeros(4, 2, 6)))
    assert "4 rows and 3 outputs at a time" in text
    assert "4 forward passes of one row, 12 backward passes" in text
    assert re.search(r"body\.0\.weight +4 +7 +4 +(factors|explicit)", text)  # 3 taps of 2 channels and the bias
    assert re.search(r"body\.3\.weight +1 +17 +3 +factors", text)


def test_parameters_without_a_rule_are_in_the_table_too():
    class Squared(nn.Bilinear):
        def forward(self, x):
            return super().forward(x, x)

    model = nn.Sequential(Squared(3, 3, 4), nn.Linear(4, 2))
    with pytest.warns(UserWarning, match="no rule"):
        plan = kernel_plan(model, torch.randn(4, 3))
    assert plan.generic == ("0.weight", "0.bias")
    assert [line.split() for line in str(plan).splitlines()[-2:]] == [[name, "generic", "-"] for name in plan.generic]
