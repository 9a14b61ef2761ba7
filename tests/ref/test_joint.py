"""The joint tangent space: one solve for all logits, leaving out images, and the energy it holds, each by a second route."""

import itertools

import numpy as np
import pytest
from hypothesis import given

from dntk_ref import joint, ridge, subspace
from dntk_ref.cases import tiny_mlp
from dntk_ref.kernel import full_ntk, ntk_block
from dntk_ref.network import forward, jacobian
from tests.ref.joint_problems import problems
from tests.ref.sides import CLOSE, HAND, at_most, differs


def test_blocks_are_the_kernel_of_all_logits_of_a_network():
    case = tiny_mlp(rng=np.random.default_rng(0))
    net, x = case.network, case.inputs[:3]
    J = jacobian(net, x)
    np.testing.assert_allclose(joint.block_kernel(J), full_ntk(J), **CLOSE)
    np.testing.assert_allclose(joint.block_kernel(J[:, :1], J), full_ntk(J)[: len(J)], **CLOSE)
    assert differs(joint.block_kernel(J), ntk_block(J).transpose(0, 2, 1, 3).reshape(full_ntk(J).shape))  # by logit
    np.testing.assert_allclose(joint.block_kernel(J), joint.block_kernel(J, J), **HAND)
    assert joint.stacked_targets(forward(net, x)).tolist() == forward(net, x).T.ravel().tolist()


@given(problems())
def test_one_weight_vector_solves_the_stacked_rows(problem):
    J, Phi, y, lam = problem
    rows = subspace.stacked_gradients(J)
    w = ridge.ridge_weights(rows, joint.stacked_targets(y), lam)
    np.testing.assert_allclose(joint.joint_weights(J, y, lam), w, **CLOSE)
    np.testing.assert_allclose(joint.joint_prediction(Phi, J, y, lam), Phi @ w, **CLOSE)
    assert differs(ridge.ridge_weights(rows, y.ravel(), lam), w)  # targets in the order of the logits


@given(problems())
def test_the_weights_lie_in_the_joint_space_and_in_no_single_logits(problem):
    J, _, y, lam = problem
    w = joint.joint_weights(J, y, lam)
    np.testing.assert_allclose(subspace.span_projector(subspace.stacked_gradients(J)) @ w, w, **CLOSE)
    if J.shape[1] < J.shape[2]:
        assert differs(subspace.span_projector(J[0]) @ w, w)


@given(problems())
def test_leaving_out_images_by_blocks_is_refitting_without_them(problem):
    J, _, y, lam = problem
    by_blocks = joint.leave_one_image_out(J, y, lam)
    np.testing.assert_allclose(by_blocks, joint.leave_one_image_out_by_refitting(J, y, lam), **CLOSE)
    by_rows = ridge.leave_one_out(joint.block_kernel(J), joint.stacked_targets(y), lam).reshape(y.T.shape).T
    assert differs(by_rows, by_blocks)  # rows instead of images


def test_one_image_cannot_be_left_out():
    with pytest.raises(ValueError, match=r"number of inputs: expected an integer in \[2"):
        joint.leave_one_image_out_by_refitting(np.ones((2, 1, 3)), np.ones((2, 1)), 1.0)


@given(problems())
def test_the_loss_of_an_image_is_the_mean_over_its_logits(problem):
    _, _, y, _ = problem
    np.testing.assert_allclose(joint.image_losses(y), [np.mean(column**2) for column in y.T], **CLOSE)
    assert differs(joint.image_losses(y), np.sum(y**2, axis=0))


@given(problems())
def test_joint_energy_stands_between_that_of_each_logit_and_the_pooled_bound(problem):
    J, Phi, _, _ = problem
    found, own = joint.captured_energy(Phi, J), joint.captured_energy_per_class(Phi, J)
    bound = joint.pooled_pca_energy(Phi, J.shape[0] * J.shape[1])
    assert at_most([own, found], [found, bound])
    A = sum(phi.T @ phi for phi in Phi)
    rest = np.eye(len(A)) - subspace.span_projector(subspace.stacked_gradients(J))
    np.testing.assert_allclose(found, 1 - np.trace(rest @ A) / np.trace(A), **CLOSE)


@given(problems(inputs=(2, 2)))
def test_on_training_gradients_all_energy_is_captured_and_that_says_nothing(problem):
    J, _, _, _ = problem
    assert joint.captured_energy(J, J) == pytest.approx(1, rel=CLOSE["rtol"])
    held = np.random.default_rng(0).standard_normal((J.shape[0], 2, J.shape[2] + J.shape[0] * 2))
    wide = np.pad(J, ((0, 0), (0, 0), (0, J.shape[0] * 2)))
    assert differs(joint.captured_energy(held, wide), 1.0)


@given(problems())
def test_the_pooled_bound_is_attained_by_the_leading_vectors(problem):
    _, Phi, _, _ = problem
    rows = subspace.stacked_gradients(Phi)
    for r in range(1, min(rows.shape) + 1):
        inside = rows @ subspace.top_projector(rows, r)
        np.testing.assert_allclose(joint.pooled_pca_energy(Phi, r), np.sum(inside**2) / np.sum(rows**2), **CLOSE)
    assert joint.pooled_pca_energy(Phi, 0) == 0.0
    if min(rows.shape) > 1:
        assert differs(joint.pooled_pca_energy(Phi, 1), 1.0)


@given(problems())
def test_one_random_cotangent_has_the_moments_of_all_logits(problem):
    J, _, _, _ = problem
    C, m, _ = J.shape
    signs = [np.array(v) for v in itertools.product([-1.0, 1.0], repeat=C)]  # a whole law with E v v^T = I
    kernels, moments = [], []
    for v in signs:
        g = joint.cotangent_gradients(J, np.tile(v[:, None], m))
        kernels.append(g @ g.T)
        moments.append(g.T @ g)
    np.testing.assert_allclose(np.mean(kernels, axis=0), sum(phi @ phi.T for phi in J), **CLOSE)
    rows = subspace.stacked_gradients(J)
    np.testing.assert_allclose(np.mean(moments, axis=0), rows.T @ rows, **CLOSE)
    single = [joint.cotangent_gradients(J, np.tile(e[:, None], m)) for e in np.eye(C)]
    assert differs(np.mean([g @ g.T for g in single], axis=0), sum(phi @ phi.T for phi in J))  # not scaled by sqrt C


@given(problems())
def test_a_cotangents_target_is_the_value_that_its_gradient_predicts(problem):
    J, _, y, lam = problem
    w, v = joint.joint_weights(J, y, lam), np.random.default_rng(0).standard_normal(y.shape)
    np.testing.assert_allclose(joint.cotangent_gradients(J, v) @ w, joint.cotangent_targets(J @ w, v), **CLOSE)
    assert differs(joint.cotangent_gradients(J, v) @ w, joint.cotangent_targets(J @ w, -v))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda J: joint.block_kernel(J, J[..., :2]), "other: expected 3 columns"),
        (lambda J: joint.joint_weights(J, np.ones((2, 3)), 1.0), "targets: expected 2 columns"),
        (lambda J: joint.joint_prediction(J[:1], J, np.ones((2, 2)), 1.0), r"features: expected shape \(2, t, 3\)"),
        (lambda J: joint.captured_energy(0 * J, J), "energy of the features: expected a number above 0"),
        (lambda J: joint.cotangent_gradients(J, np.ones((3, 2))), "cotangents: expected 2 rows"),
        (lambda J: joint.joint_weights(J, np.ones((2, 2)), 0.0), "lam: expected a number above 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 2, 3)))
