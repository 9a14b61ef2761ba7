"""The joint tangent space T_S of all logits (Eq 3): the solve on given gradients, and from a network to its weights."""

import torch

import dntk_fast.kernels.joint as fast
import dntk_ref.joint as ref
from dntk_ref.network import forward, jacobian

from .common import Pair, features, grid, tensor
from .networks import reference_network, twin


def blocks(J):
    """J J^T with all its blocks, (n, C, n, C)."""
    return torch.einsum("cip,djp->icjd", J, J)


class LeaveOneImageOut(Pair):
    """All gradients of an image left out at once: the residuals of ten logits, block kernel included."""

    params = [grid(C=(10,), n=(20, 40, 80), k=(512, 1024), dtype=("float64", "float32"))]

    def work(self, rng, size):
        J, y = features(rng, size.C, size.n, size.k), rng.standard_normal((size.C, size.n))
        batch, targets = tensor(J, size.dtype), tensor(y, size.dtype)
        return (
            lambda: ref.leave_one_image_out(J, y, 1.0),
            lambda: fast.BlockProblem(blocks(batch)).leave_one_image_out(targets, 1.0),
        )


class JointWeights(Pair):
    """One weight vector for all logits, (P,), from the network: the reference forms the Jacobian."""

    params = [grid(every="network", network=("mlp", "conv"), n=(10, 20, 40), dtype=("float64", "float32"))]

    def work(self, rng, size):
        network = reference_network(size.network, rng)
        inputs = rng.standard_normal((size.n, *network.input_shape))
        model, x, y = twin(network, size.dtype), tensor(inputs, size.dtype), forward(network, inputs)
        targets = tensor(y, size.dtype)

        def matrix_free():
            problem = fast.BlockProblem(fast.block_kernel(model, x))
            weights = fast.joint_weights(model, x, problem.coefficients(targets, 1.0))
            return [weights[name] for name, _ in model.named_parameters()]

        return lambda: ref.joint_weights(jacobian(network, inputs), y, 1.0), matrix_free
