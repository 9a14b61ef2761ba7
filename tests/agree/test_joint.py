"""The joint tangent space: the fast path and the reference say the same in float64, and each broken twin says otherwise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import nn

from dntk_fast.kernels import joint as fast
from dntk_fast.kernels.ridge import leave_one_out
from dntk_fast.tangent.features import tangent_features
from dntk_ref import joint as reference
from dntk_ref import ridge
from tests.ref.joint_problems import problems
from tests.ref.sides import CLOSE, differs


def network(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs)).double().eval()


def data(n, seed=0):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobian(model, x):
    """(C, n, P) by autograd, one logit of one sample at a time."""
    rows = [
        [torch.autograd.grad(f, list(model.parameters()), retain_graph=True) for f in values] for values in model(x)
    ]
    return np.stack([[torch.cat([g.flatten() for g in parts]).numpy() for parts in row] for row in rows], axis=1)


def blocks(J, other=None):
    J, right = torch.from_numpy(J), torch.from_numpy(J if other is None else other)
    return torch.einsum("cip,djp->icjd", J, right)


@given(problems())
def test_coefficients_leaving_out_images_and_energies_agree(problem):
    J, Phi, y, lam = problem
    found, targets = fast.BlockProblem(blocks(J)), torch.from_numpy(y)
    np.testing.assert_allclose(found.coefficients(targets, lam), reference.joint_coefficients(J, y, lam), **CLOSE)
    left = found.leave_one_image_out(targets, lam)
    np.testing.assert_allclose(left, reference.leave_one_image_out(J, y, lam), **CLOSE)
    by_rows = leave_one_out(reference.block_kernel(J), reference.stacked_targets(y), lam).reshape(y.T.shape).T
    assert differs(by_rows, left)  # rows instead of images
    energy = fast.captured_energy(blocks(Phi, J), found, float(np.sum(Phi**2)))
    np.testing.assert_allclose(energy, reference.captured_energy(Phi, J), **CLOSE)
    on_training = fast.captured_energy(blocks(J), found, float(np.sum(J**2)))
    assert on_training == pytest.approx(1.0, abs=CLOSE["atol"])  # taken on training gradients it says nothing
    for r in range(4):
        np.testing.assert_allclose(fast.pooled_pca_energy(blocks(Phi), r), reference.pooled_pca_energy(Phi, r), **CLOSE)


@given(problems())
def test_the_ridge_agrees(problem):
    J, _, y, _ = problem
    grid = ridge.ridge_grid(reference.block_kernel(J))
    losses = [reference.image_losses(reference.leave_one_image_out(J, y, lam)) for lam in grid]
    expected = ridge.choose_ridge(losses, grid)
    found = fast.BlockProblem(blocks(J)).fit(torch.from_numpy(y))
    np.testing.assert_allclose(found.lam, expected.lam, **CLOSE)
    assert (found.on_edge, found.n) == (expected.on_edge, y.size)
    dimension = ridge.effective_dimension(reference.block_kernel(J), expected.lam)
    np.testing.assert_allclose(found.effective_dimension, dimension, **CLOSE)


def test_a_network_s_kernel_weights_and_logits_agree():
    model, x, new = network(), data(5), data(4, seed=1)
    J, Phi, y = jacobian(model, x), jacobian(model, new), model(x).detach().T
    kernel = fast.block_kernel(model, x)
    np.testing.assert_allclose(kernel.reshape(15, 15), reference.block_kernel(J), **CLOSE)
    fit = fast.BlockProblem(kernel).fit(y, lam=0.1)
    w = fast.joint_weights(model, x, fit.coefficients)
    flat = torch.cat([w[name].flatten() for name, _ in model.named_parameters()])
    np.testing.assert_allclose(flat, reference.joint_weights(J, y, 0.1), **CLOSE)
    logits = fast.joint_logits(model, new, w)
    np.testing.assert_allclose(logits, reference.joint_prediction(Phi, J, y, 0.1), **CLOSE)
    own = [ridge.dual_prediction(P @ K.T, K @ K.T, t, 0.1) for P, K, t in zip(Phi, J, y.numpy(), strict=True)]
    assert differs(own, logits)  # each class in its own span


def test_one_cotangent_for_each_image_agrees():
    model, x, new = network(), data(5), data(4, seed=1)
    J, v = jacobian(model, x), fast.random_cotangents(5, 3, seed=0)
    G = reference.cotangent_gradients(J, v.T)
    kernel = fast.block_kernel(model, x, v)
    np.testing.assert_allclose(kernel.reshape(5, 5), G @ G.T, **CLOSE)
    y = reference.cotangent_targets(model(x).detach().T, v.T)
    alpha = fast.BlockProblem(kernel).coefficients(torch.from_numpy(y)[None], 0.1)
    w = fast.joint_weights(model, x, alpha, v)
    expected = jacobian(model, new) @ ridge.ridge_weights(G, y, 0.1)
    np.testing.assert_allclose(fast.joint_logits(model, new, w), expected, **CLOSE)
    assert differs(fast.joint_logits(model, new, fast.joint_weights(model, x, alpha, v.flip(0))), expected)


def test_a_sketched_kernel_is_that_of_its_rows():
    model, x = network(2), data(2)
    values = tangent_features(model, x, k=30, seed=0).values  # all 30 body parameters: an exact rotation or near it
    with pytest.raises(ValueError, match=r"^k: expected at least 32, 8 for each of 2 x 2 gradients, or None, got 30$"):
        fast.sketched_block_kernel(values, 30)


def test_sketched_kernel_and_weights_are_those_of_the_rows_laid_out():
    generator = torch.Generator().manual_seed(0)
    C, n, k, d = 2, 2, 32, 3
    values = torch.randn(C, n, k + d, generator=generator, dtype=torch.float64)
    rows = torch.zeros(n, C, k + C * d, dtype=torch.float64)
    for c in range(C):
        rows[:, c, :k], rows[:, c, k + c * d : k + (c + 1) * d] = values[c, :, :k], values[c, :, k:]
    kernel = fast.sketched_block_kernel(values, k)
    np.testing.assert_allclose(kernel, torch.einsum("icp,jdp->icjd", rows, rows), **CLOSE)
    alpha = torch.randn(C, n, generator=generator, dtype=torch.float64)
    w = torch.einsum("cn,ncp->p", alpha, rows)
    found = fast.sketched_weights(values, alpha, k)
    for c in range(C):
        np.testing.assert_allclose(found[c], torch.cat([w[:k], w[k + c * d : k + (c + 1) * d]]), **CLOSE)


def test_what_is_no_block_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernel: expected shape \(n, q, n, q\)"):
        fast.BlockProblem(torch.ones(2, 1, 1, 2))
    with pytest.raises(ValueError, match=r"cotangents: expected shape \(2, C\)"):
        fast.block_kernel(network(), data(2), torch.ones(3, 3))
    with pytest.raises(ValueError, match="targets: expected shape"):
        fast.BlockProblem(torch.ones(1, 1, 1, 1)).fit(torch.ones(2, 2))
