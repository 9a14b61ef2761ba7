"""Algorithm 1, its rivals, and the solves that use what they synthesise (4.3, 4.4).

A synthesis is compared by what it makes of the kernel, K_U, or captures of its energy: its columns have no fixed signs.
"""

import numpy as np

import dntk_fast.distillation.gradient_distillation as fast
import dntk_ref.gradient_distillation as ref

from .common import SEED, Pair, features, grid, relative_error, tensor, to_numpy

DTYPES = ("float64", "float32")


def clustered(rng, C, n, k):
    """Features (C, n, k) of rows in five groups, the same for all classes, and the groups."""
    groups = np.arange(n) % 5
    centres = 3 * features(rng, C, 5, k)
    return centres[:, groups] + features(rng, C, n, k), groups


def kernels(Phi):
    return Phi @ np.swapaxes(Phi, 1, 2)


class SpectralClusters(Pair):
    """Stage 1: five clusters of the mean kernel; the error is the share of rows with another label."""

    params = [grid(n=(100, 200, 400, 800), dtype=DTYPES)]

    def work(self, rng, size):
        Phi, _ = clustered(rng, 10, size.n, 64)
        K = kernels(Phi).mean(0)
        kernel = tensor(K, size.dtype)
        return (
            lambda: ref.spectral_clusters(K, 5, rng=np.random.default_rng(SEED)),
            lambda: fast.spectral_clusters(kernel, 5, seed=SEED),
        )

    def track_error(self, size):
        return float(np.mean(self.reference() != to_numpy(self.fast())))


class LocalGlobalSynthesis(Pair):
    """Algorithm 1, stages 2 to 6, with the clusters given; the error is that of K_U."""

    params = [grid(C=(10,), n=(60, 120, 240, 480), k=(512,), dtype=DTYPES)]

    def work(self, rng, size):
        Phi, groups = clustered(rng, size.C, size.n, size.k)
        y, setting = rng.standard_normal((size.C, size.n)), {"tau_v": 0.9, "tau_g": 0.7}
        batch, targets, labels = tensor(Phi, size.dtype), tensor(y, size.dtype), tensor(groups, "int64")
        self.kernels = kernels(Phi)
        return (
            lambda: ref.local_global_synthesis(Phi, y, labels=groups, **setting),
            lambda: fast.local_global_synthesis(batch, targets, labels=labels, **setting),
        )

    def track_error(self, size):
        found, true = (
            [ref.synthesised_kernel(K, to_numpy(made.synthesis)) for K, made in zip(self.kernels, result, strict=True)]
            for result in (self.fast(), self.reference())
        )
        return relative_error(found, true)


# name: (reference on one kernel, fast path on all), each giving a synthesis or the rows of one
RIVALS = {
    "top_eigenvectors": (ref.top_eigenvectors, fast.top_eigenvectors),
    "farthest_point_rows": (ref.farthest_point_rows, fast.farthest_point_rows),
    "leverage_rows": (
        lambda K, m: ref.leverage_rows(K, m, lam=1.0, rng=np.random.default_rng(SEED)),
        lambda K, m: fast.leverage_rows(K, m, lam=1.0, seed=SEED),
    ),
    "kmeans_rows": (
        lambda K, m: ref.kmeans_rows(K, m, rng=np.random.default_rng(SEED)),
        lambda K, m: fast.kmeans_rows(K, m, seed=SEED),
    ),
}


class Rivals(Pair):
    """What Algorithm 1 is compared with; the error is that of the energy captured (of two draws where it draws)."""

    params = [grid(1, every="method", method=tuple(RIVALS), C=(10,), n=(100, 200, 400), m=(10, 40), dtype=DTYPES)]

    def work(self, rng, size):
        self.kernels = kernels(clustered(rng, size.C, size.n, 256)[0])
        one, batched = RIVALS[size.method]
        kernel = tensor(self.kernels, size.dtype)
        return lambda: [one(K, size.m) for K in self.kernels], lambda: batched(kernel, size.m)

    def track_error(self, size):
        return relative_error(self.energy(to_numpy(self.fast())), self.energy(self.reference()))

    def energy(self, chosen):
        pairs = zip(self.kernels, chosen, strict=True)
        return [ref.captured_energy(K, U if U.ndim == 2 else ref.selection(len(K), U)) for K, U in pairs]


class Solve(Pair):
    """The weights that a synthesis of m rows gives: Algorithm 1's sketched solve, and the restricted one (4.3 d)."""

    solves = ("sketched_weights", "restricted_weights")
    params = [grid(every="solve", solve=solves, C=(10,), n=(200, 400), k=(512, 2048), m=(10, 40), dtype=DTYPES)]

    def work(self, rng, size):
        Phi, _ = clustered(rng, size.C, size.n, size.k)
        y, rows = rng.standard_normal((size.C, size.n)), ref.random_rows(size.n, size.m, rng=rng)
        U, one, batched = ref.selection(size.n, rows), getattr(ref, size.solve), getattr(fast, size.solve)
        batch, targets = tensor(Phi, size.dtype), tensor(y, size.dtype)
        synthesis = tensor(np.broadcast_to(U, (size.C, *U.shape)).copy(), size.dtype)
        return (
            lambda: [one(Phi[c], y[c], U, 1.0) for c in range(size.C)],
            lambda: batched(batch, targets, synthesis, 1.0),
        )


class KernelMeasure(Pair):
    """What a synthesis of m rows captures, and how far its kernel is from the whole."""

    measures = ("captured_energy", "kernel_error")
    params = [grid(1, every="measure", measure=measures, C=(10,), n=(100, 200, 400), m=(10, 40), dtype=DTYPES)]

    def work(self, rng, size):
        K = kernels(clustered(rng, size.C, size.n, 256)[0])
        U, one, batched = ref.selection(size.n, range(size.m)), getattr(ref, size.measure), getattr(fast, size.measure)
        kernel = tensor(K, size.dtype)
        synthesis = tensor(np.broadcast_to(U, (size.C, *U.shape)).copy(), size.dtype)
        return lambda: [one(part, U) for part in K], lambda: batched(kernel, synthesis)


class ExactGradient(Pair):
    """The one gradient that reproduces full ridge regression."""

    params = [grid(C=(10,), n=(100, 200, 400), k=(512, 2048), dtype=DTYPES)]

    def work(self, rng, size):
        Phi, _ = clustered(rng, size.C, size.n, size.k)
        y = rng.standard_normal((size.C, size.n))
        batch, targets = tensor(Phi, size.dtype), tensor(y, size.dtype)
        return (
            lambda: [ref.exact_gradient(Phi[c], y[c], 1.0).features for c in range(size.C)],
            lambda: [fast.exact_gradient(batch[c], targets[c], 1.0).features for c in range(size.C)],
        )
