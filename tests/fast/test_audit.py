"""The audit finds faults that are put in on purpose, names them and their place, and leaves honest answers alone."""

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast import Jacobian, tangent_features, tangent_kernel
from dntk_fast.tangent import rules
from dntk_fast.tangent.audit import audited_rows, drawn
from dntk_fast.tangent.batches import Wrapped
from dntk_fast.tangent.directional import differences, pushforward
from tests.fast.faults import FAULTS, HONEST, QUANTITIES, UNSEEN, ask, found, honest, network
from tests.fast.plain import close, features, kernel
from tests.tolerances import TOL

CASES = [(quantity, fault) for quantity in QUANTITIES for fault in FAULTS if (quantity, fault) not in UNSEEN]


@pytest.mark.parametrize(("quantity", "fault"), CASES)
def test_a_fault_in_a_fifth_of_the_rows_is_found(quantity, fault, monkeypatch):
    refused, site, line = found(quantity, fault, seed=len(fault), dtype=torch.float64, monkeypatch=monkeypatch)
    assert refused, site
    assert line.startswith("model: expected")
    assert "\n" not in line


@pytest.mark.filterwarnings("ignore:no rule for the use")
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_answer_passes_in_every_precision(name):
    for at, dtype in enumerate((torch.float32, torch.bfloat16, torch.float64)):
        model, x = honest(name, dtype, seed=at)
        ask(Jacobian(model), QUANTITIES[(at + len(name)) % 5], x, at)


def case(n=20, C=3):
    return network(0, torch.float64), torch.randn(n, 2, 5, 5, generator=torch.Generator().manual_seed(1)).double()


def test_a_wrong_rule_is_refused_with_its_layer_and_the_rows_that_differ(monkeypatch):
    model, x = case()
    honest_patches = rules._patches
    monkeypatch.setattr(rules, "_patches", lambda v, *given: honest_patches(v, *given).roll(1, -1))
    message = r"got \d+ of \d+ drawn rows that differ, row \d+ by .* through the parameters of (0|3) "
    for make in (tangent_kernel, lambda *given: tangent_features(*given, k=16, seed=0)):
        with pytest.raises(ValueError, match=message):
            make(model, x)
    for J in (Jacobian(model).kernel_sum, Jacobian(model).kernel_full, Jacobian(model).diagonal):
        with pytest.raises(ValueError, match="that differ"):
            J(x)
    with pytest.raises(ValueError, match="that differ"):
        Jacobian(model).kernel(x, x[:7])
    wrong = tangent_kernel(model, x, audit=0)
    assert not close(wrong, kernel(model, x), TOL["apart"])


def test_rows_are_drawn_by_the_data_with_the_first_the_last_and_the_remainder():
    for n, count in ((101, 16), (64, 22), (17, 16)):
        rows = drawn(n, count, np.random.default_rng(n), 10)
        assert rows == sorted(set(rows))
        assert len(rows) == count
        assert {0, n - 1, n // 10 * 10} <= set(rows)
    assert [audited_rows("auto", 64 * 21, 64), audited_rows("auto", 21_000, 1000), audited_rows(5, 1, 9)] == [22, 32, 5]
    model, x = case()
    assert Jacobian(model).plan(x).audited == 16
    assert "16 rows audited" in str(Jacobian(model).plan(x))
    assert "audited" not in str(Jacobian(model, audit=0).plan(x))
    assert Jacobian(model).feature_plan(x, k=8, seed=0).audited == 16
    with pytest.raises(ValueError, match=r"^audit: expected an integer in \[0, inf\], got -1"):
        Jacobian(model, audit=-1)


def test_two_ways_to_a_directional_derivative_agree_with_the_formed_jacobian():
    model, x = case(5)
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    size = torch.cat([d.flatten() for d in direction.values()]).norm()
    direction = {name: d / size for name, d in direction.items()}
    truth = (features(model, x) @ torch.cat([d.flatten() for d in direction.values()])).T
    values, tangents = pushforward(Wrapped(model), x, direction)
    assert close(values, model(x))
    assert close(tangents, truth)
    assert close(differences(Wrapped(model), x, direction)[1], truth, TOL["difference"])
    half = model.bfloat16()
    lower = {name: d.bfloat16() for name, d in direction.items()}
    found_there = differences(Wrapped(half), x.bfloat16(), lower)[1]
    assert found_there.dtype == torch.float32
    assert close(found_there.double(), truth, TOL["bfloat16"])


def test_overflow_and_underflow_are_named_and_float64_is_offered():
    model, x = nn.Linear(3, 2), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for scale, word in ((1e20, "overflow"), (1e-30, "underflow")):
        with pytest.raises(ValueError, match=f"float64.* got an {word}"):
            tangent_kernel(nn.Linear(3, 2, bias=False), x * scale)
        K = tangent_kernel(model, x * scale, dtype=torch.float64)
        assert bool(torch.isfinite(K).all())


def test_outputs_that_depend_on_the_batch_are_refused_though_first_and_last_are_not():
    class Branch(nn.Linear):
        def forward(self, x):
            return torch.tanh(super().forward(x)) if x.sum() > 0 else super().forward(x)

    x = torch.full((5, 3), -1.0)
    x[[0, -1]] = 5.0
    with pytest.raises(ValueError, match="depend on it alone"):
        tangent_kernel(Branch(3, 2), x)
