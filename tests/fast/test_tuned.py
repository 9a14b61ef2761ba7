"""Tuned images: the loss by definition, its derivative, the energy it gains, its cost, and interruption."""

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast.distillation.tuned import _Step, misalignment, pays_above, tune_images, tuning_cost
from dntk_fast.kernels.joint import BlockProblem, block_kernel, captured_energy
from dntk_fast.tangent.kernel import tangent_kernel_full
from tests.fast.estimators import data, network
from tests.tolerances import TOL

BODY = ["1.weight", "1.bias"]


def energy(model, images, x):
    """The share of the body gradients of x in the joint space of the images."""
    kernel = BlockProblem(block_kernel(model, images, parameters=BODY))
    total = torch.einsum("icic->", tangent_kernel_full(model, x, parameters=BODY))
    return captured_energy(tangent_kernel_full(model, x, images, parameters=BODY), kernel, float(total))


def test_the_loss_is_the_energy_outside_the_span():
    generator = torch.Generator().manual_seed(0)
    S, X = (torch.randn(n, 9, generator=generator, dtype=torch.float64) for n in (3, 5))
    P = torch.linalg.pinv(S) @ S
    expected = 1 - float((X @ P).square().sum() / X.square().sum())
    assert float(misalignment(S, X)) == pytest.approx(expected, abs=1e-3)  # softened by 1e-4 of the diagonal
    assert float(misalignment(S, X)) > expected
    assert float(misalignment(S, S)) < 1e-3


def test_derivatives_flow_through_the_gradients():
    model, (x, _) = network().double(), data(12)
    x = x.double()
    step = _Step.of(model, x, x[:3], 0, 8, 2**30)
    images = x[:3].clone().requires_grad_()
    (found,) = torch.autograd.grad(step.loss(images, 0), images)
    direction, h = torch.randn(3, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), 1e-5
    ahead, behind = (float(step.loss(x[:3] + s * h * direction, 0)) for s in (1, -1))
    slope = (ahead - behind) / (2 * h)
    assert float((found * direction).sum()) == pytest.approx(slope, rel=1e-4)
    assert abs(slope) > TOL["apart"]


def test_tuned_images_hold_more_held_out_energy_than_those_they_began_with():
    model, (x, _), (new, _) = network(), data(40), data(20, seed=2)
    made = tune_images(model, x, x[:2], seed=0, steps=25, lr=0.1)
    assert energy(model, made.images, new) > energy(model, x[:2], new) + 0.01
    assert len(made.missed) == 25
    assert float(made.images.max()) <= float(x.max())
    assert float(made.images.min()) >= float(x.min())


def test_the_cost_is_said_beforehand_and_does_not_grow_with_the_data():
    (x, _) = data(40)
    made = tune_images(network(), x, x[:2], seed=0, steps=3, batch=8)
    told = tuning_cost(40, 2, 3, steps=3, batch=8)
    assert (made.forward_passes, made.backward_passes) == (told.choosing_forward, told.choosing_backward)
    assert told.choosing == 3 * (3 * 8 + 9 * 2)
    assert tuning_cost(10**6, 2, 3, steps=3, batch=8).choosing == told.choosing
    n = pays_above(50, 10, steps=60)
    assert tuning_cost(n, 50, 10, steps=60).share < 1 <= tuning_cost(n - 1, 50, 10, steps=60).share


def test_an_interrupted_tuning_goes_on_where_it_stopped(tmp_path):
    (x, _) = data(30)
    options = {"seed": 0, "steps": 6, "batch": 8}
    whole = tune_images(network(), x, x[:2], **options)

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_images(network(), x, x[:2], checkpoint=tmp_path / "c", every=2, progress=stop, **options)
    again = tune_images(network(), x, x[:2], checkpoint=tmp_path / "c", every=2, **options)
    np.testing.assert_array_equal(again.images, whole.images)
    assert torch.equal(again.missed, whole.missed)
    with pytest.raises(ValueError, match=r"checkpoint: expected one of the same tuning, got .* which differs in lr"):
        tune_images(network(), x, x[:2], checkpoint=tmp_path / "c", lr=0.1, **options)


def test_what_cannot_be_is_refused():
    (x, _) = data(30)
    with pytest.raises(ValueError, match=r"memory: expected at least .* for the gradients of one step, got 10"):
        tune_images(network(), x, x[:2], seed=0, memory=10)
    with pytest.raises(ValueError, match=r"start: expected images of shape \(1, 3, 3\)"):
        tune_images(network(), x, x[:2, :, :2], seed=0)
    with pytest.raises(ValueError, match="model: expected a network whose output is that of a Linear layer"):
        tune_images(nn.Sequential(network(), nn.ReLU()).eval(), x, x[:2], seed=0)
