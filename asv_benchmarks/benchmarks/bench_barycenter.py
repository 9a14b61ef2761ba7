"""The Wasserstein barycentre of one class's features as optimal quantisation (4.1, C.5)."""

import numpy as np

from dntk_fast.distillation.barycenter import barycenter as fast_barycenter
from dntk_fast.distillation.barycenter import quantisation_cost as fast_cost
from dntk_ref.barycenter import barycenter, quantisation_cost

from .common import SEED, Pair, grid, tensor


def clouds(rng, n, d):
    """Points of a class: ten overlapping groups."""
    return 3 * rng.standard_normal((10, d))[np.arange(n) % 10] + rng.standard_normal((n, d))


class Barycenter(Pair):
    """Support and weights, the best of ten seeded starts; the error is that of the cost, two local minima."""

    params = [grid(n=(200, 400, 800), d=(32, 128), m=(10, 20), dtype=("float64", "float32"))]

    def work(self, rng, size):
        Z = clouds(rng, size.n, size.d)
        points = tensor(Z, size.dtype)
        return (
            lambda: barycenter(Z, size.m, rng=np.random.default_rng(SEED)).cost,
            lambda: fast_barycenter(points, size.m, seed=SEED).cost,
        )


class QuantisationCost(Pair):
    """The mean squared distance to the nearest of m support points."""

    params = [grid(n=(500, 1000, 2000), d=(64, 512), m=(10, 50), dtype=("float64", "float32"))]

    def work(self, rng, size):
        Z = clouds(rng, size.n, size.d)
        points, support = tensor(Z, size.dtype), tensor(Z[: size.m] + 0.1, size.dtype)
        return (
            lambda: quantisation_cost(Z, Z[: size.m] + 0.1),
            lambda: fast_cost(points, support),
        )
