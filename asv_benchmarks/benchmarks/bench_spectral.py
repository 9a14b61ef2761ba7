"""Certificates of spectra (`rank_by_products`): energies in given directions, by products and from formed gradients."""

import numpy as np

import dntk_fast.certificates.spectral as fast
import dntk_ref.spectral as ref
from dntk_ref.network import jacobian

from .common import Pair, features, grid, tensor
from .networks import reference_network, twin


class EnergyInDirections(Pair):
    """One J^T a for each of r orthonormal directions and logit, the norms of all gradients, the bound on Def 3.2 (R1)."""

    params = [grid(every="network", network=("mlp", "conv"), n=(20, 60, 180), r=(5, 10), dtype=("float64", "float32"))]

    def work(self, rng, size):
        network = reference_network(size.network, rng)
        inputs = rng.standard_normal((size.n, *network.input_shape))
        Z = np.linalg.qr(rng.standard_normal((10, size.n, size.r)))[0]
        model, x, directions = twin(network, size.dtype), tensor(inputs, size.dtype), tensor(Z, size.dtype)

        def formed():
            pairs = list(zip(jacobian(network, inputs), Z, strict=True))
            energies = [ref.captured_by_directions(Phi, z) for Phi, z in pairs]
            return *energies, [ref.redundancy_bound_by_energies(Phi, z) for Phi, z in pairs]

        def matrix_free():
            found = fast.spectral_certificate(model, x, directions)
            return found.energy, found.redundancy

        return formed, matrix_free


class CrossValidatedRank(Pair):
    """The rank whose directions come from one half and whose energy from the other (`rank_estimates`)."""

    params = [grid(C=(10,), n=(60, 120, 240), k=(128, 512), dtype=("float64", "float32"))]

    def work(self, rng, size):
        halves = [Phi @ np.swapaxes(Phi, 1, 2) for Phi in features(rng, 2, size.C, size.n, size.k)]
        first, second = (tensor(K, size.dtype) for K in halves)
        return (
            lambda: [ref.cross_validated_rank(*pair, 0.05) for pair in zip(*halves, strict=True)],
            lambda: fast.cross_validated_rank(first, second, 0.05),
        )
