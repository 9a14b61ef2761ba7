"""Attribution: what ridge regression of labels would say without some images; the reference fits again for every group."""

import numpy as np

import dntk_ref.attribution as ref
from dntk_fast.analysis.attribution import Retraining
from dntk_ref.kernel import class_kernels
from dntk_ref.network import jacobian

from .common import Pair, grid, tensor
from .networks import reference_network, twin

RIDGE = 0.1


class Without(Pair):
    """Ten logits at new points without each of several groups of rows, from the network to the answers."""

    params = [
        grid(every="network", network=("mlp", "conv"), n=(60, 120, 240), groups=(5, 50), dtype=("float64", "float32"))
    ]

    def work(self, rng, size):
        network = reference_network(size.network, rng)
        inputs, points = (rng.standard_normal((m, *network.input_shape)) for m in (size.n, 10))
        labels, groups = np.arange(size.n) % 10, [sorted(rng.permutation(size.n)[:5]) for _ in range(size.groups)]
        model, x, new = twin(network, size.dtype), tensor(inputs, size.dtype), tensor(points, size.dtype)
        classes = tensor(labels, "int64")

        def by_refitting():
            Phi, phi = jacobian(network, inputs), jacobian(network, points)
            kernel, y = class_kernels(Phi), ref.label_targets(labels, 10)
            unit = ref.mean_diagonal(kernel)
            K, cross = kernel / unit, phi @ np.swapaxes(Phi, 1, 2) / unit
            return [ref.without_rows_by_refitting(cross, K, y, RIDGE, group).T for group in groups]

        return by_refitting, lambda: Retraining(model, ridge=RIDGE).fit(x, classes).without(groups, new)
