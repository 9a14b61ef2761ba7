"""Projected tangent features: against the explicit Jacobian times the same map, and against the floor."""

import numpy as np

import dntk_ref.network as ref
from dntk_fast.tangent.features import tangent_features

from .common import SEED, Pair, Size, grid, ratio, subset, tensor
from .networks import floor, own_network, reference_network, twin


class Features(Pair):
    """[A grad_body f_c(x); h(x); 1] of ten logits; the reference multiplies the Jacobian by the sketch's own matrix."""

    params = [
        grid(every="network", network=("mlp", "conv"), n=(16, 64, 256), k=(64, 256), dtype=("float32", "float64"))
    ]

    def work(self, rng, size):
        network = reference_network(size.network, rng)
        inputs = rng.standard_normal((size.n, *network.input_shape))
        model, x = twin(network, size.dtype), tensor(inputs, size.dtype)

        def fast():
            return tangent_features(model, x, k=size.k, seed=SEED)

        body = ref.head_slice(network).start
        matrix = fast().plan.sketch.matrix().cpu().numpy()

        def reference():
            h = ref.penultimate(network, inputs)
            head = np.broadcast_to(np.column_stack([h, np.ones(size.n)]), (10, size.n, h.shape[1] + 1))
            return np.concatenate([ref.jacobian(network, inputs)[..., :body] @ matrix, head], axis=2)

        return reference, lambda: fast().values


class FeaturesOverFloor:
    """Time over one forward and C plain batched backward passes of the same images, interleaved medians."""

    param_names = ("size",)
    params = [
        subset(
            [
                Size(model="conv8", n=64, k=512),
                Size(model="conv28", n=256, k=512),
                Size(model="resnet18", n=16, k=512),
                Size(model="resnet18", n=16, k=4096),
            ]
        )
    ]
    timeout = 600.0

    def setup(self, size):
        self.model, self.images = own_network(size.model, size.n)

    def track_ratio_to_floor(self, size):
        return ratio(
            lambda: tangent_features(self.model, self.images, k=size.k, seed=SEED),
            lambda: floor(self.model, self.images),
        )

    track_ratio_to_floor.unit = "floors"
