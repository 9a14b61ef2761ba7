"""Truncation ranks and what is lost at a rank: Defs 3.1 and 3.2."""

import numpy as np

import dntk_fast.kernels.redundancy as fast
import dntk_ref.redundancy as ref

from .common import Pair, features, grid, tensor


class TruncationRank(Pair):
    """Def 3.1 at epsilon = 0.05 for every class, eigenvalues included."""

    params = [grid(C=(10,), n=(60, 120, 240, 480), dtype=("float64", "float32"))]

    def work(self, rng, size):
        kernel = kernels(rng, size)
        batch = tensor(kernel, size.dtype)
        return lambda: [ref.truncation_rank(K, 0.05) for K in kernel], lambda: fast.truncation_rank(batch, 0.05)


class ParameterRedundancy(Pair):
    """Def 3.2 at the best subspace of ten dimensions."""

    params = [grid(C=(10,), n=(60, 120, 240, 480), dtype=("float64", "float32"))]

    def work(self, rng, size):
        kernel = kernels(rng, size)
        batch = tensor(kernel, size.dtype)
        return lambda: [ref.parameter_redundancy(K, 10) for K in kernel], lambda: fast.parameter_redundancy(batch, 10)


def kernels(rng, size):
    """One positive semi-definite kernel for each class."""
    Phi = features(rng, size.C, size.n, 2 * size.n)
    return Phi @ np.swapaxes(Phi, 1, 2)
