"""BatchNorm with frozen statistics: torch's own function is the second way."""

import pytest
import torch
from torch.nn import functional

from dntk_fast.tangent.batch_norm import batch_norm


def drawn(dims, dtype=torch.float64):
    rng = torch.Generator().manual_seed(dims)
    x = torch.randn(5, 3, *[4] * dims, generator=rng, dtype=dtype, requires_grad=True)
    mean, weight, bias = torch.randn(3, 3, generator=rng, dtype=dtype)
    return x, mean, 0.5 + torch.rand(3, generator=rng, dtype=dtype), weight, bias


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize("affine", [False, True])
def test_values_are_torch_s_bit_for_bit_and_cotangents_agree(dims, affine):
    x, mean, var, weight, bias = drawn(dims)
    own = (weight, bias) if affine else (None, None)
    there, here = (function(x, mean, var, *own, eps=0.1) for function in (functional.batch_norm, batch_norm))
    assert torch.equal(here, there)
    weights = torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    expected = torch.stack([torch.autograd.grad(there, x, w, retain_graph=True)[0] for w in weights])
    (found,) = torch.vmap(lambda w: torch.autograd.grad(here, x, w, retain_graph=True))(weights)
    torch.testing.assert_close(found, expected)


def test_a_cotangent_keeps_its_precision():
    x, mean, var, weight, bias = drawn(2, torch.float32)
    y = batch_norm(x.bfloat16(), mean, var, weight, bias)
    assert torch.autograd.grad(y.float().sum(), x)[0].dtype == torch.float32
    assert y.dtype == torch.bfloat16


def test_statistics_of_the_batch_are_torch_s():
    x, *_ = drawn(2)
    y = batch_norm(x, None, None, training=True)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3, dtype=x.dtype))
    (found,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(found, torch.zeros_like(x))  # the batch's own mean takes every common part away
