"""The reference's hand-written networks and the fast path: the same Jacobian, kernels and products."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dntk_fast.tangent.kernel import kernel_diagonal, tangent_kernel, tangent_kernel_full, tangent_kernel_sum
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian
from dntk_ref import kernel as ref_kernel
from dntk_ref import network as ref_network
from tests.networks import twin
from tests.tolerances import TOL


def agree(found, expected):
    return (
        found.shape == expected.shape
        and np.abs(found.numpy() - expected).max() <= TOL["float64"] * np.abs(expected).max()
    )


def instance(kind, rng, n):
    if kind == "mlp":
        return ref_network.mlp((3, 4, 2), rng=rng), rng.standard_normal((n, 3))
    return ref_network.conv_net((2, 8, 8), (2, 3), 3, rng=rng), rng.standard_normal((n, 2, 8, 8))


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 5))
def test_kernels_agree(kind, seed, n):
    rng = np.random.default_rng(seed)
    network, x = instance(kind, rng, n)
    model, inputs = twin(network), torch.from_numpy(x)
    J = ref_network.jacobian(network, x)
    assert agree(model(inputs).detach().T, ref_network.forward(network, x))
    K = np.stack([ref_kernel.gram(Phi) for Phi in J])
    assert agree(tangent_kernel(model, inputs), K)
    assert agree(
        tangent_kernel(model, inputs, inputs[:1]), np.stack([ref_kernel.cross_gram(Phi, Phi[:1]) for Phi in J])
    )
    assert agree(tangent_kernel_sum(model, inputs), K.sum(0))
    assert agree(kernel_diagonal(model, inputs), np.einsum("cii->ci", K))
    assert agree(tangent_kernel_full(model, inputs), np.einsum("cip,djp->icjd", J, J))


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 4))
def test_products_agree(seed, n):
    rng = np.random.default_rng(seed)
    network, x = instance("conv", rng, n)
    model, inputs = twin(network), torch.from_numpy(x)
    J = ref_network.jacobian(network, x)
    a, w = rng.standard_normal(J.shape[:2]), rng.standard_normal((J.shape[0], J.shape[2]))
    found = vector_jacobian(model, inputs, torch.from_numpy(a))
    assert agree(torch.cat([g.flatten(1) for g in found.values()], 1), np.einsum("cip,ci->cp", J, a))
    pieces = torch.from_numpy(w).split([p.numel() for p in model.parameters()], 1)
    named = {name: v.reshape(len(v), *p.shape) for (name, p), v in zip(model.named_parameters(), pieces, strict=True)}
    assert agree(jacobian_vector(model, inputs, named), np.einsum("cip,cp->ci", J, w))
