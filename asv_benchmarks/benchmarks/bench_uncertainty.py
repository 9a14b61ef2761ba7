"""Uncertainty: the predictive variance of the tangent kernel, from the network to the numbers."""

import numpy as np

import dntk_ref.uncertainty as ref
from dntk_fast.analysis.uncertainty import Uncertainty
from dntk_ref.attribution import mean_diagonal
from dntk_ref.kernel import class_kernels
from dntk_ref.network import jacobian

from .common import Pair, grid, tensor
from .networks import reference_network, twin

RIDGE = 0.1


class PredictiveVariance(Pair):
    """The variance of ten logits at new points; the reference forms both Jacobians."""

    params = [
        grid(every="network", network=("mlp", "conv"), n=(60, 120, 240), t=(10, 100), dtype=("float64", "float32"))
    ]

    def work(self, rng, size):
        network = reference_network(size.network, rng)
        inputs, points = (rng.standard_normal((m, *network.input_shape)) for m in (size.n, size.t))
        model, x, new = twin(network, size.dtype), tensor(inputs, size.dtype), tensor(points, size.dtype)

        def by_definition():
            Phi, phi = jacobian(network, inputs), jacobian(network, points)
            kernel = class_kernels(Phi)
            unit, own = mean_diagonal(kernel), np.square(phi).sum(2)
            return ref.predictive_variance(own / unit, phi @ np.swapaxes(Phi, 1, 2) / unit, kernel / unit, RIDGE).T

        return by_definition, lambda: Uncertainty(model, ridge=RIDGE).fit(x).variance(new)
