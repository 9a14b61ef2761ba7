"""Exact kernels: by hand, against plain differentiation, the same for every budget, and what must hold between them."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.tangent.kernel import (
    kernel_diagonal,
    kernel_plan,
    tangent_kernel,
    tangent_kernel_full,
    tangent_kernel_sum,
)
from tests.fast.plain import close, features, kernel
from tests.tolerances import TOL


def images(n, seed=0, dtype=torch.float64):
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def network(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3).eval(), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 2, groups=1, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3),
    ).to(dtype)  # fmt: skip


def test_two_numbers_by_hand():
    # f(x) = v tanh(w x): df/dw = v x (1 - t^2), df/dv = t
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh(), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.fill_(0.5), model[2].weight.fill_(-2.0)
    x, y = 1.0, 2.0
    t, s = np.tanh(0.5 * x), np.tanh(0.5 * y)
    expected = 4 * x * (1 - t**2) * y * (1 - s**2) + t * s
    K = tangent_kernel(model, torch.tensor([[x]], dtype=torch.float64), torch.tensor([[y]], dtype=torch.float64))
    assert abs(K.item() - expected) <= TOL["hand"]


@settings(max_examples=15)
@given(st.integers(1, 7), st.integers(0, 5), st.sampled_from([35_000, 100_000, 2**17, 2**30]), st.integers(0, 99))
def test_any_budget_gives_the_plain_kernel(n1, n2, memory, seed):
    model, x = network(seed), images(n1, seed)
    y = images(n2, seed + 1) if n2 else None
    Phi = features(model, x)
    other = Phi if y is None else features(model, y)
    K = tangent_kernel(model, x, y, memory=memory)
    assert K.dtype == torch.float64
    assert close(K, Phi @ other.mT)
    assert close(tangent_kernel_sum(model, x, y, memory=memory), (Phi @ other.mT).sum(0))
    assert close(tangent_kernel_full(model, x, y, memory=memory), torch.einsum("cip,djp->icjd", Phi, other))
    if y is None:
        assert torch.equal(K, K.mT)
        assert close(kernel_diagonal(model, x, memory=memory), K.diagonal(dim1=1, dim2=2))


def test_small_budgets_do_work_in_blocks():
    model, x = network(), images(7)
    plans = [kernel_plan(model, x, memory=memory) for memory in (30_000, 40_000, 160_000, 2**30)]
    assert plans[0].rows < 7
    assert plans[1].classes < 3
    assert (plans[2].rows, plans[2].classes) == (7, 3)
    assert plans[2].chunk < 7  # held, pass by pass
    assert (plans[3].rows, plans[3].chunk, plans[3].classes) == (7, 7, 3)


def test_the_full_kernel_is_symmetric_and_holds_the_others():
    model, x = network(), images(6)
    full = tangent_kernel_full(model, x, memory=100_000)
    assert torch.equal(full, full.permute(2, 3, 0, 1))
    blocks = full.diagonal(dim1=1, dim2=3).permute(2, 0, 1)
    assert close(blocks, tangent_kernel(model, x))
    assert close(blocks.sum(0), tangent_kernel_sum(model, x))
    off = full[:, 0, :, 1]
    assert off.abs().max() > TOL["apart"] * full.abs().max()  # the blocks between classes are not zero


def test_single_precision_inside_and_double_on_request():
    model, x = network(dtype=torch.float32), images(6, dtype=torch.float32)
    exact = kernel(network().to(torch.float32).double(), x.double())
    single, double = tangent_kernel(model, x), tangent_kernel(model, x, dtype=torch.float64)
    assert single.dtype == double.dtype == torch.float64
    assert close(single, exact, TOL["float32"])
    assert close(double, exact)
    assert not close(single, exact)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_answer_can_be_written_to_a_file(tmp_path):
    model, x, y = network(), images(5), images(3, 1)
    for other, n2, memory in ((None, 5, 100_000), (None, 5, 2**30), (y, 3, 100_000)):
        shape = (3, 5, n2)
        disk = np.lib.format.open_memmap(tmp_path / "K.npy", mode="w+", dtype=np.float64, shape=shape)
        disk[:] = np.nan
        tangent_kernel(model, x, other, memory=memory, out=torch.from_numpy(disk))
        disk.flush()
        assert close(torch.from_numpy(np.load(tmp_path / "K.npy")), kernel(model, x, other))


def test_some_outputs_some_parameters_and_functions_of_the_outputs():
    model, x = network(), images(4)
    Phi = features(model, x)
    assert close(tangent_kernel(model, x, outputs=[2, 0]), (Phi @ Phi.mT)[[2, 0]])
    head = {"9.weight", "9.bias"}
    H = model[:9](x).detach()
    assert close(tangent_kernel(model, x, parameters=lambda name: name in head), (H @ H.T + 1).expand(3, -1, -1))
    assert close(tangent_kernel(model, x, parameters=["9.bias"]), torch.ones(3, 4, 4, dtype=torch.float64))
    margin = tangent_kernel(model, x, outputs=lambda m, batch: m(batch)[:, :1] - m(batch)[:, 1:2])
    G = Phi[0] - Phi[1]
    assert close(margin, (G @ G.T)[None])


def test_sums_and_full_kernels_take_the_same_options():
    model, x, y = network(), images(4), images(2, 1)
    parts = {"outputs": [2, 0], "parameters": ["7.weight", "9.bias"]}
    Phi, other = (chosen_features(model, batch) for batch in (x, y))
    whole = torch.einsum("cip,djp->icjd", Phi, other)
    for memory in (100_000, 2**30):
        options = {**parts, "memory": memory}
        assert close(tangent_kernel_full(model, x, y, **options), whole)
        assert close(tangent_kernel_sum(model, x, y, **options), torch.einsum("icjc->ij", whole))
        out = torch.full((4, 2), torch.nan, dtype=torch.float64)
        assert tangent_kernel_sum(model, x, y, out=out, **options) is out
        assert close(out, torch.einsum("icjc->ij", whole))
    with pytest.raises(ValueError, match=r"^out: expected float64 of shape \(4, 2\), got torch.float64 of"):
        tangent_kernel_sum(model, x, y, out=torch.zeros(3, 4, 2, dtype=torch.float64))
    for function in (tangent_kernel_sum, tangent_kernel_full):
        with pytest.raises(ValueError, match="memory: expected at least"):
            function(model, x, y, memory=1)


def chosen_features(model, x):
    """Of outputs 2 and 0, and of the parameters 7.weight and 9.bias alone."""
    names = [name for name, p in model.named_parameters() for _ in range(p.numel())]
    return features(model, x)[[2, 0]][..., [at for at, name in enumerate(names) if name in ("7.weight", "9.bias")]]


def test_sums_and_full_kernels_in_double_precision_on_request():
    model, x, y = network(dtype=torch.float32), images(4, dtype=torch.float32), images(2, 1, dtype=torch.float32)
    exact = network().to(torch.float32).double()
    Phi, other = (features(exact, batch.double()) for batch in (x, y))
    whole = torch.einsum("cip,djp->icjd", Phi, other)
    for function, expected in (
        (tangent_kernel, torch.einsum("icjc->cij", whole)),
        (tangent_kernel_sum, torch.einsum("icjc->ij", whole)),
        (tangent_kernel_full, whole),
    ):
        assert close(function(model, x, y, dtype=torch.float64), expected)
        assert close(function(model, x, y), expected, TOL["float32"])
        assert not close(function(model, x, y), expected)
        # Whoever has the inputs in another precision than the model need not cast the second ones alone.
        assert close(function(model, x.double(), y.double(), dtype=torch.float32), expected, TOL["float32"])


def test_a_plan_is_of_the_outputs_parameters_and_precision_asked_for():
    model, x = network(), images(4)
    plan = kernel_plan(model, x, images(2), outputs=[1], parameters=["7.weight", "9.bias"])
    assert sorted(layer.names for layer in plan.layers) == [("7.weight",), ("9.bias",)]
    assert (plan.classes, plan.backward_passes) == (1, 6)
    assert kernel_plan(model, x).backward_passes == 12
    single, double = (kernel_plan(model, x, dtype=dtype) for dtype in (torch.float32, None))
    assert single.peak_bytes - single.workspace < double.peak_bytes - double.workspace


def test_frozen_parameters_are_left_out():
    model, x = network(), images(4)
    model[0].requires_grad_(False)
    assert close(tangent_kernel(model, x), kernel(model, x))
    everything = kernel(model.requires_grad_(True), x)
    model[0].requires_grad_(False)
    assert not close(tangent_kernel(model, x), everything, TOL["apart"])


def test_a_generic_part_in_blocks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(98, 2)).double()
    x = images(5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no rule for the use of 0.weight, 0.bias")
        assert close(tangent_kernel(model, x, memory=160_000), kernel(model, x))
        assert close(tangent_kernel(model, x, x[:2]), kernel(model, x)[:, :, :2])
        assert close(kernel_diagonal(model, x), kernel(model, x).diagonal(dim1=1, dim2=2))


def test_the_representation_of_an_affine_head():
    # f_c(x) = phi_c(x) . w_0 with w_0 the head's own weights (Theorem R), so f^T K^-1 f <= |w_0|^2
    model, x = network(), images(3)
    Phi = features(model, x)
    K, f = tangent_kernel(model, x), model(x).detach().T
    w = torch.zeros(3, Phi.shape[2], dtype=torch.float64)
    w[:, -18:-3] = torch.block_diag(*model[9].weight.detach())
    w[:, -3:] = torch.diag(model[9].bias.detach())
    assert close((Phi @ w[..., None])[..., 0], f)
    alpha = torch.linalg.solve(K, f[..., None])
    assert bool(((f[..., None] * alpha).sum((1, 2)) <= (w**2).sum(1) * (1 + TOL["float64"])).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": 100}, r"memory: expected at least \d+ \(.*\), got 100"),
        ({"memory": 0}, "memory: expected an integer"),
        ({"out": torch.zeros(3, 4, 4)}, r"out: expected float64 of shape \(3, 4, 4\), got torch.float32"),
        ({"out": torch.zeros(2, 4, 4, dtype=torch.float64)}, r"out: expected float64 of shape \(3, 4, 4\)"),
        ({"parameters": ["nothing"]}, "parameters: expected names of trainable parameters"),
        ({"x1": torch.full((4, 2, 6, 6), torch.nan, dtype=torch.float64)}, "x1: expected finite entries"),
        ({"x2": images(4)[:0]}, "x2: expected at least one sample"),
        ({"x2": torch.full((4, 2, 6, 6), torch.inf, dtype=torch.float64)}, "x2: expected finite entries"),
        ({"outputs": [3]}, r"^outputs: expected an integer in \[0, 2\], got 3$"),
        ({"outputs": [-1]}, r"^outputs: expected an integer in \[0, 2\], got -1$"),
        ({"outputs": []}, "^outputs: expected at least one output, got none$"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tangent_kernel(network(), **{"x1": images(4), **arguments})


def test_a_precision_is_a_dtype_of_torch():
    with pytest.raises(TypeError, match=r"^dtype: expected a floating-point torch\.dtype, got 'float64'$"):
        tangent_kernel(network(), images(4), dtype="float64")


def test_the_stated_minimum_is_enough():
    model, x = network(), images(4)
    with pytest.raises(ValueError, match="at least") as refusal:
        tangent_kernel(model, x, memory=1)
    least = int(str(refusal.value).split("at least ")[1].split()[0])
    assert kernel_plan(model, x, memory=least).classes < 3  # outputs in blocks, too
    assert close(tangent_kernel(model, x, memory=least), kernel(model, x))


class Gated(torch.autograd.Function):
    """x^2, with a backward pass that looks at numbers: none that serves many outputs at once."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(context, cotangent):
        (x,) = context.saved_tensors
        return 2 * x * cotangent if float(cotangent.abs().max()) else torch.zeros_like(x)


class Between(nn.Module):
    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.function, self.last = nn.Linear(3, 4), function, nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def test_a_backward_pass_that_looks_at_numbers_runs_output_after_output():
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gated, plain = Between(Gated.apply).double(), Between(torch.square).double()
    assert kernel_plan(gated, x).together == 1
    assert kernel_plan(plain, x).together == 2
    assert close(tangent_kernel(gated, x), kernel(plain, x))


class ChannelsLast(nn.Module):
    """Convolutions whose maps lie with the channels last, as a permuted LayerNorm or a memory format leaves them."""

    def __init__(self, depthwise):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(2, 8, 2, 2), nn.LayerNorm(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=8 if depthwise else 1)
        self.mix, self.scale, self.head = nn.Linear(8, 6), nn.Parameter(torch.randn(6)), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        h = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        h = torch.tanh(self.mix(self.conv(h).permute(0, 2, 3, 1)) * self.scale).permute(0, 3, 1, 2)
        return self.head(h).mean((2, 3))


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_order_in_memory_does_not_matter(depthwise, memory_format):
    model, x = ChannelsLast(depthwise).double(), images(5)
    expected = kernel(model, x)
    model, x = model.to(memory_format=memory_format), x.to(memory_format=memory_format)
    assert close(tangent_kernel(model, x), expected)
    assert close(tangent_kernel_full(model, x).diagonal(dim1=1, dim2=3).permute(2, 0, 1), expected)
    assert close(tangent_kernel(model, x, x[:2]), expected[:, :, :2])
