"""Local and global eigenspaces of section 3.4."""

import numpy as np
import torch

from dntk_fast.kernels.locality import locality as fast_locality
from dntk_ref.locality import locality

from .common import Pair, features, grid, tensor

SETTING = {"epsilon_local": 0.05, "epsilon_global": 0.05, "coverage_threshold": 0.9}


class Locality(Pair):
    """Ranks, coverages, gaps and property (A) under a partition into five; both gaps and (A) are compared."""

    params = [grid(C=(10,), n=(60, 120, 240, 480), dtype=("float64", "float32"))]

    def work(self, rng, size):
        Phi = features(rng, size.C, size.n, 2 * size.n)
        K, labels = Phi @ np.swapaxes(Phi, 1, 2), np.arange(size.n) % 5
        kernel, partition = tensor(K, size.dtype), tensor(labels, "int64")

        def reference():
            found = [locality(one, labels, **SETTING) for one in K]
            return [[part.weighted_gap, part.unweighted_gap, *part.property_a] for part in found]

        def vectorised():
            found = fast_locality(kernel, partition, **SETTING)
            return torch.cat((torch.stack((found.weighted_gap, found.unweighted_gap), 1), found.property_a), 1)

        return reference, vectorised
