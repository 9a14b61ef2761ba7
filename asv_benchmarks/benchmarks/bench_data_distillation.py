"""Wasserstein metric data distillation (4.1, C.5): class statistics on both sides, and the descent, which has one side.

The reference has no optimiser of images: it judges what the descent reports of itself.
"""

from functools import partial

import numpy as np

from dntk_fast.distillation.data_distillation import class_moments, distil_images
from dntk_ref.barycenter import feature_loss, pooled_variance, quantisation_cost
from dntk_ref.network import penultimate

from .common import SEED, Pair, flat, forget_peak, grid, relative_error, synchronise, tensor, to_numpy
from .networks import reference_network, twin


class ClassVariances(Pair):
    """The variance of every channel within each of ten classes, from running sums."""

    params = [grid(n=(500, 2000, 8000), channels=(16, 128), dtype=("float64", "float32"))]

    def work(self, rng, size):
        X, labels = rng.normal(1.0, 2.0, (size.n, size.channels)), np.arange(size.n) % 10
        values, classes = tensor(X, size.dtype), tensor(labels, "int64")
        return (
            lambda: [pooled_variance(X[labels == c][None]) for c in range(10)],
            lambda: class_moments(values, classes, 10).variance,
        )


class DistilImages:
    """Ten updates of m images of each class; the error is that of its own losses and costs, by the reference's formulas."""

    param_names, timeout = ("size",), 300.0
    rounds, repeat, warmup_time = 1, (2, 10, 0.5), 0.05
    params = [grid(n=(200, 1000), m=(2, 10), dtype=("float64", "float32"))]

    def setup(self, size):
        rng = np.random.default_rng(SEED)
        self.network = reference_network("mlp", rng)
        self.x, self.y = rng.standard_normal((size.n, 64)), np.arange(size.n) % 10
        model, x, y = twin(self.network, size.dtype), tensor(self.x, size.dtype), tensor(self.y, "int64")
        self.distil = partial(distil_images, model, x, y, per_class=size.m, seed=SEED, steps=10)

    def time_fast(self, size):
        self.distil()
        synchronise()

    def peakmem_nothing(self, size):
        self.distil()
        forget_peak()

    def peakmem_fast(self, size):
        self.peakmem_nothing(size)
        self.distil()

    def track_error(self, size):
        made = self.distil()
        points, real = to_numpy(made.points).astype(float), penultimate(self.network, self.x)
        own = penultimate(self.network, to_numpy(made.images)).reshape(points.shape)
        costs = [quantisation_cost(real[self.y == c], b) for c, b in enumerate(points)]
        true = [*costs, sum(map(feature_loss, own, points))]
        return relative_error([*flat(made.costs), float(made.matching[-1, 0])], true)

    track_error.unit = "relative"
