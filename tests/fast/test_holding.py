"""Rows that are held while others go by: every form of a gradient, formed or not, whole and in blocks, and their passes."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dntk_fast.tangent.blocks import kernel_blocks, kernel_shape
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel
from dntk_fast.tangent.passes import inspect
from dntk_fast.tangent.plan import plan_kernel
from dntk_fast.workflow.models import build
from tests.fast.plain import features
from tests.tolerances import TOL

pytestmark = pytest.mark.filterwarnings("ignore:no rule")


class Every(nn.Module):
    """A table that is tied to the last product, norms, a convolution and a parameter without a rule."""

    def __init__(self):
        super().__init__()
        self.table, self.wide = nn.Embedding(50, 4), nn.Linear(4, 30)
        self.narrow, self.mix = nn.Linear(30, 4), nn.Conv1d(4, 4, 3, padding=1)
        self.norm, self.scale = nn.LayerNorm(4), nn.Parameter(torch.linspace(0.5, 1.5, 4))

    def forward(self, ids):
        h = self.narrow(torch.tanh(self.wide(self.table(ids))))
        h = self.norm(h + self.mix(h.mT).mT)
        h = torch.tanh(self.wide(torch.einsum("nld,d->nld", h, self.scale)).sum(1))
        return functional.linear(functional.linear(h, self.narrow.weight), self.table.weight[:3])


def case():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    return Every().double(), torch.randint(0, 50, (9, 6), generator=generator)


def within(found, expected):
    return float((found - expected).abs().max()) <= TOL["float64"] * float(expected.abs().max())


@pytest.mark.parametrize("formed", [False, True])
@pytest.mark.parametrize(("rows", "chunk"), [(9, 4), (5, 2), (3, 3), (2, 9)])
def test_held_rows_give_the_kernel_whatever_the_blocks(rows, chunk, formed):
    model, x = case()
    y = x[:4].flip(1)
    J, other = features(model, x), features(model, y)
    trace = inspect(model, x)
    for pairing in ("class", "sum", "full"):
        for right, R in ((None, J), (y, other)):
            plan = plan_kernel(trace, 9, None if right is None else 4, 2**30, pairing)
            object.__setattr__(plan, "rows", rows)
            object.__setattr__(plan, "chunk", chunk)
            object.__setattr__(plan, "formed", formed)
            out = torch.empty(kernel_shape(pairing, 3, 9, len(R[0])), dtype=torch.float64)
            kernel_blocks(out, trace, plan, x, right, (9, len(R[0])), pairing)
            truth = torch.einsum("cip,djp->cidj", J, R)
            if pairing != "full":
                truth = torch.einsum("cicj->cij", truth)
            assert within(out, truth if pairing != "sum" else truth.sum(0))


def test_one_pass_of_every_row_and_output_serves_where_one_output_of_all_rows_fits():
    trace = inspect(build("conv32", seed=0), torch.zeros(2, 3, 32, 32))
    for n in (1000, 2000):
        assert plan_kernel(trace, n, None, 2**30).backward_passes == 10 * n
    # In blocks that hold all outputs' activations, as many rows as fit: six times as many.
    together = plan_kernel(trace, 2000, None, 2**30, "full")
    assert together.classes == 10
    assert together.backward_passes > 20_000


def test_fewer_outputs_at_a_time_are_taken_only_where_they_save_passes():
    model, x = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)), torch.zeros(40, 2, 6)
    trace = inspect(model, x)
    plans = [plan_kernel(trace, 40, None, 2**power) for power in range(14, 24)]
    costs = [plan.forward_passes + plan.backward_passes for plan in plans]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 40 * 4


def test_a_small_budget_gives_the_same_kernel_in_the_planned_passes():
    torch.manual_seed(0)
    model, x = build("conv8", seed=0).double(), torch.randn(12, 1, 8, 8, dtype=torch.float64)
    whole, plan = tangent_kernel(model, x), kernel_plan(model, x)
    memory = (plan.peak_bytes - plan.workspace) // 4
    less = kernel_plan(model, x, memory=memory)
    assert less.chunk < less.rows == plan.rows == 12
    assert within(tangent_kernel(model, x, memory=memory), whole)
