"""J v, J^T a and K a without a Jacobian: adjoint to each other, equal to the formed ones, in any chunks."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.tangent.batches import Wrapped
from dntk_fast.tangent.kernel import kernel_diagonal, tangent_kernel
from dntk_fast.tangent.probes import saved_bytes
from dntk_fast.tangent.products import (
    jacobian_vector,
    kernel_vector,
    quadratic_forms,
    trace_probes,
    vector_jacobian,
)
from tests.fast.plain import close, features, jacobian
from tests.tolerances import TOL


def case(seed, n):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv1d(2, 3, 2),
        nn.BatchNorm1d(3).eval(),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(9, 4),
        nn.GELU(),
        nn.Linear(4, 3),
    ).double()
    model[0].bias.requires_grad_(False)
    return model, torch.randn(n, 2, 4, dtype=torch.float64)


def directions(model, outputs=3):
    return {
        name: torch.randn(outputs, *p.shape, dtype=torch.float64)
        for name, p in model.named_parameters()
        if p.requires_grad
    }


cases = st.tuples(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from([2**14, 2**30]))


@settings(max_examples=10)
@given(cases)
def test_the_two_products_are_adjoint(drawn):
    seed, n, memory = drawn
    model, x = case(seed, n)
    w, a = directions(model), torch.randn(3, n, dtype=torch.float64)
    left = (jacobian_vector(model, x, w, memory=memory) * a).sum(1)
    g = vector_jacobian(model, x, a, memory=memory)
    right = sum((g[name] * w[name]).flatten(1).sum(1) for name in w)
    assert close(left, right)


@settings(max_examples=10)
@given(cases)
def test_products_with_the_formed_jacobian(drawn):
    seed, n, memory = drawn
    model, x = case(seed, n)
    J, w, a = jacobian(model, x), directions(model), torch.randn(3, n, dtype=torch.float64)
    Jw = sum(torch.einsum("ci...,c...->ci...", J[name], w[name]).reshape(3, n, -1).sum(2) for name in w)
    assert close(jacobian_vector(model, x, w, memory=memory), Jw)
    one = {name: v[0] for name, v in w.items()}
    shared = {name: v[:1].expand_as(v) for name, v in w.items()}
    assert close(jacobian_vector(model, x, one, memory=memory), jacobian_vector(model, x, shared, memory=memory))
    found = vector_jacobian(model, x, a, memory=memory)
    assert found.keys() == J.keys()
    assert all(close(found[name], torch.einsum("ci,ci...->c...", a, J[name])) for name in J)


@settings(max_examples=10)
@given(cases)
def test_products_with_the_formed_kernel(drawn):
    seed, n, memory = drawn
    model, x = case(seed, n)
    K, v, Z = (
        tangent_kernel(model, x),
        torch.randn(3, n, dtype=torch.float64),
        torch.randn(3, n, 12, dtype=torch.float64),  # 36 weights: not all at once within the smaller budget
    )
    assert close(kernel_vector(model, x, v, memory=memory), (K @ v[..., None])[..., 0])
    assert close(quadratic_forms(model, x, Z, memory=memory), (Z * (K @ Z)).sum(1))


def test_the_head_direction_gives_the_model_itself():
    model, x = case(0, 4)
    head = torch.diag_embed(torch.ones(3, dtype=torch.float64))
    w = {"6.weight": head[:, :, None] * model[6].weight.detach(), "6.bias": head * model[6].bias.detach()}
    assert close(jacobian_vector(model, x, w), model(x).detach().T)


def test_the_captured_energy_bounds_the_leading_eigenvalues():
    model, x = case(1, 6)
    K = tangent_kernel(model, x)
    values, vectors = torch.linalg.eigh(K)
    best = quadratic_forms(model, x, vectors[..., -2:]).sum(1)
    assert close(best, values[:, -2:].sum(1))
    Q = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64))[0].expand(3, -1, -1)
    assert bool((quadratic_forms(model, x, Q).sum(1) <= best * (1 + TOL["float64"])).all())


def test_trace_probes_are_signs_and_their_mean_over_all_signs_is_the_trace():
    model, x = case(2, 3)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64).T
    every = quadratic_forms(model, x, signs.expand(3, -1, -1))
    trace = kernel_diagonal(model, x).sum(1)
    assert close(every.mean(1), trace)
    K = tangent_kernel(model, x)
    variance = 2 * ((K**2).sum((1, 2)) - (K.diagonal(dim1=1, dim2=2) ** 2).sum(1))
    assert close(every.var(1, correction=0), variance)
    drawn = trace_probes(model, x, 20, seed=5)
    assert drawn.shape == (3, 20)
    at = (drawn[0][:, None] - every[0]).abs().argmin(1)
    assert close(drawn, every[:, at])
    assert len(set((at % 4).tolist()) | set((3 - at % 4).tolist())) > 1
    assert torch.equal(drawn, trace_probes(model, x, 20, seed=5))
    assert not torch.equal(drawn, trace_probes(model, x, 20, seed=6))


def test_the_smallest_budget_goes_row_by_row_and_direction_by_direction():
    model, x = case(3, 5)
    w, a = directions(model), torch.randn(3, 5, dtype=torch.float64)
    least = 3 * saved_bytes(Wrapped(model), x)
    assert close(jacobian_vector(model, x, w, memory=least), jacobian_vector(model, x, w))
    assert close(kernel_vector(model, x, a, memory=least), kernel_vector(model, x, a))
    with pytest.raises(ValueError, match=f"memory: expected at least {least}"):
        jacobian_vector(model, x, w, memory=least - 1)


def forward_passes(model, product):
    """How often the model is called."""
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(None))
    product()
    hook.remove()
    return len(calls)


def test_one_forward_pass_serves_all_outputs():
    model, x = case(4, 5)
    one = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    every = {name: torch.stack([p, 2 * p, 3 * p]) for name, p in one.items()}
    Z = torch.randn(3, 5, 4, dtype=torch.float64)
    expected = forward_passes(model, lambda: vector_jacobian(model, x, Z[..., 0]))
    assert forward_passes(model, lambda: quadratic_forms(model, x, Z)) == expected
    # Two samples more tell whether forward mode serves the model.
    assert forward_passes(model, lambda: jacobian_vector(model, x, one)) == expected + 2
    assert forward_passes(model, lambda: jacobian_vector(model, x, every)) == expected + 2
    assert forward_passes(model, lambda: kernel_vector(model, x, Z[..., 0])) == expected + 3


class Cube(torch.autograd.Function):
    """x^3 with both derivatives and no rule for vmap."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient

    @staticmethod
    def jvp(ctx, tangent):
        return 3 * ctx.saved_tensors[0] ** 2 * tangent


class Cubed(nn.Linear):
    def forward(self, x):
        return Cube.apply(super().forward(x))


def test_where_vmap_cannot_follow_outputs_go_one_by_one():
    model, x = Cubed(3, 2).double(), torch.randn(3, 3, dtype=torch.float64)
    w = directions(model, 2)
    flat = torch.cat([v.flatten(1) for v in w.values()], 1)
    assert close(jacobian_vector(model, x, w), (features(model, x) @ flat[..., None])[..., 0])
    probes = forward_passes(model, lambda: vector_jacobian(model, x, torch.ones(2, 3, dtype=torch.float64))) + 1
    assert forward_passes(model, lambda: jacobian_vector(model, x, w)) == probes + 2  # one for each output


def test_attention_and_tied_weights_have_products_too():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True).double().eval()
    model, x = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2)).double(), torch.randn(3, 3, 4, dtype=torch.float64)
    Phi, w = features(model, x), directions(model, 2)
    flat = torch.cat([v.flatten(1) for v in w.values()], 1)
    assert close(jacobian_vector(model, x, w), (Phi @ flat[..., None])[..., 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: jacobian_vector(m, x, {"no": torch.ones(1)}), "expected names of trainable parameters"),
        (
            lambda m, x: jacobian_vector(m, x, {"6.bias": torch.ones(2)}),
            r"weights\['6.bias'\]: expected a tensor of shape \(3,\) or \(3, 3\)",
        ),
        (
            lambda m, x: vector_jacobian(m, x, torch.ones(2, 4)),
            r"coefficients: expected a tensor of shape \(3, 4\), got shape \(2, 4\)",
        ),
        (lambda m, x: kernel_vector(m, x, np.ones((3, 4))), r"a tensor of shape \(3, 4\), got a ndarray"),
        (lambda m, x: quadratic_forms(m, x, torch.ones(3, 4)), r"vectors: expected a tensor of shape \(3, 4, r\)"),
        (lambda m, x: trace_probes(m, x, 0, seed=0), "probes: expected an integer"),
        (lambda m, x: kernel_vector(m, x, torch.ones(3, 4), memory=10), "memory: expected at least"),
        (lambda m, x: kernel_vector(m.train(), x, torch.ones(3, 4)), "evaluation mode"),
    ],
)
def test_refused(call, message):
    model, x = case(0, 4)
    with pytest.raises(ValueError, match=message):
        call(model, x)


def test_a_table_that_scales_gradients_by_counts_has_no_derivative():
    model = nn.Sequential(nn.Embedding(4, 2, scale_grad_by_freq=True), nn.Flatten())
    with pytest.raises(
        ValueError,
        match=r"^model: expected gradients that are derivatives, got an embedding with scale_grad_by_freq at 0",
    ):
        vector_jacobian(model, torch.tensor([[0, 1]]), torch.ones(4, 1))


def test_what_a_sample_saves_does_not_grow_with_the_others():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert saved_bytes(Wrapped(model), x) == saved_bytes(Wrapped(model), x[:1].clone())
    assert saved_bytes(Wrapped(model), x) < saved_bytes(Wrapped(nn.Sequential(model, nn.Softmax(1))), x)
