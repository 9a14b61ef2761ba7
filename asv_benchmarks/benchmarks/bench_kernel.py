"""Kernels: Gram matrices of given features, and exact tangent kernels of a network."""

import dntk_ref.kernel as ref
from dntk_fast._arrays import gram
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_ref.network import jacobian

from .common import Pair, Size, features, grid, ratio, subset, tensor
from .networks import floor, own_network, reference_network, twin


class Gram(Pair):
    """Phi Phi^T of every class from features."""

    params = [grid(C=(10,), n=(100, 200, 400, 800), k=(512, 2048), dtype=("float64", "float32"))]

    def work(self, rng, size):
        Phi = features(rng, size.C, size.n, size.k)
        batch = tensor(Phi, size.dtype)
        return lambda: [ref.gram(rows) for rows in Phi], lambda: gram(batch)


class TangentKernel(Pair):
    """The exact kernel of each of ten logits; the reference forms the whole Jacobian."""

    params = [grid(every="network", network=("mlp", "conv"), n=(16, 64, 256), dtype=("float32", "float64"))]

    def work(self, rng, size):
        network = reference_network(size.network, rng)
        inputs = rng.standard_normal((size.n, *network.input_shape))
        model, x = twin(network, size.dtype), tensor(inputs, size.dtype)
        return lambda: ref.class_kernels(jacobian(network, inputs)), lambda: tangent_kernel(model, x)


class TangentKernelOverFloor:
    """Time over one forward and C plain batched backward passes of the same images, interleaved medians."""

    param_names = ("size",)
    params = [subset([Size(model="conv8", n=64), Size(model="conv28", n=256), Size(model="resnet18", n=16)])]
    timeout = 600.0

    def setup(self, size):
        self.model, self.images = own_network(size.model, size.n)

    def track_ratio_to_floor(self, size):
        return ratio(lambda: tangent_kernel(self.model, self.images), lambda: floor(self.model, self.images))

    track_ratio_to_floor.unit = "floors"
