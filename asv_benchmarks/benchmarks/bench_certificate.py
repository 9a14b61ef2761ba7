"""Certificates: from formed Jacobians, and matrix-free, the same network and weights in both hands."""

import numpy as np

import dntk_fast.certificates.certificate as fast
import dntk_ref.certificate as ref
from dntk_ref.network import jacobian

from .common import Pair, features, flat, grid, tensor
from .networks import reference_network, twin


class Problem:
    """A network, targets, weights that solve nothing, a ridge for each class, and a tenth of the rows as a subset."""

    def __init__(self, rng, size):
        self.network = reference_network(size.network, rng)
        self.x, self.new = rng.standard_normal((2, size.n, *self.network.input_shape))
        Phi = jacobian(self.network, self.x)
        self.y, self.w = rng.standard_normal((10, size.n)), 0.1 * rng.standard_normal((10, Phi.shape[2]))
        self.lam = 1e-2 * np.square(Phi).sum(2).mean(1)
        self.rows = rng.permutation(size.n)[: size.n // 10]
        self.model = twin(self.network, size.dtype)
        images, targets = tensor(self.x, size.dtype), tensor(self.y, size.dtype)
        self.full = fast.FullProblem(self.model, images, targets, tensor(self.lam, size.dtype))
        parameters = list(self.model.named_parameters())
        pieces = tensor(self.w, size.dtype).split([p.numel() for _, p in parameters], 1)
        self.weights = {name: w.reshape(10, *p.shape) for (name, p), w in zip(parameters, pieces, strict=True)}

    def by_class(self, bound):
        """The numbers of every class, the Jacobian formed once."""
        Phi, found = jacobian(self.network, self.x), []
        for one, y, w, lam in zip(Phi, self.y, self.w, self.lam, strict=True):
            found.append(bound(one, ref.residual(one, y, w, lam), y, w, lam))
        return found

    def seen(self):
        """The same residual, matrix-free."""
        subset = fast.training_subset(self.full, tensor(self.rows, "int64"))
        return fast.SubsetResidual(subset, fast.residual(self.full, self.weights))


SIZES = {"every": "network", "network": ("mlp", "conv"), "n": (20, 60, 180), "dtype": ("float64", "float32")}


class WeightsAndObjective(Pair):
    """Distance of weights and objective from the full solution (`certificate_primal`): two numbers for each class."""

    params = [grid(1, **SIZES)]

    def work(self, rng, size):
        problem = Problem(rng, size)

        def bounds(Phi, r, y, w, lam):
            return ref.weights_bound(r, lam), ref.residual_energy(Phi[problem.rows], r, lam) / 2

        def matrix_free():
            found = fast.certify(problem.seen())
            return found.weights, found.excess

        return lambda: list(zip(*problem.by_class(bounds), strict=True)), matrix_free


class HeldOut(Pair):
    """The bound on the error at every new point, through the subset (`certificate_held_out`)."""

    params = [grid(1, **SIZES)]

    def work(self, rng, size):
        problem = Problem(rng, size)
        new = tensor(problem.new, size.dtype)

        def reference():
            test = iter(jacobian(problem.network, problem.new))
            return problem.by_class(
                lambda Phi, r, y, w, lam: ref.pointwise_bound_by_rows(next(test), Phi, problem.rows, r, lam)
            )

        def matrix_free():
            seen = problem.seen()
            return fast.held_out(seen.subset, new).scale * seen.root[:, None]

        return lambda: flat(tuple(reference())), matrix_free


class Fidelity(Pair):
    """The certificate against the network (`head_preserving`): bounds at every point, from features and the head's norm."""

    params = [grid(C=(10,), n=(50, 100, 200), k=(128, 512), dtype=("float64", "float32"))]

    def work(self, rng, size):
        rows, test = features(rng, 2, size.C, size.n, size.k)
        norms, lam = rng.uniform(1, 2, size.C), 1e-2 * size.k
        batch, points, heads = (tensor(part, size.dtype) for part in (rows, test, norms))
        return (
            lambda: [ref.fidelity_bound(rows[c], norms[c], test[c], lam) for c in range(size.C)],
            lambda: fast.fidelity_bound(batch, heads, points, lam),
        )
