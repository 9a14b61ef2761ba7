"""Random maps: applied to gradients, drawn, and the exact Johnson-Lindenstrauss dimension (4.2).

The parameter is one matrix of side x side entries, P = side^2, so that a TensorSketch has factors.
"""

from math import comb

import numpy as np
import torch
from scipy.stats import beta, chi2

import dntk_ref.projection as ref
from dntk_fast.projection import KINDS, Sketch

from .common import SEED, Pair, features, grid, relative_error, tensor, to_numpy


def sketch(size, seed=SEED):
    return Sketch({"weight": (size.side, size.side)}, k=size.k, seed=seed, kinds=size.kind)


class Apply(Pair):
    """A map drawn before, applied to n gradients; the reference multiplies by the map's own matrix."""

    params = [
        grid(1, every="kind", kind=KINDS, side=(64, 256), n=(64, 256), k=(256, 128), dtype=("float32", "float64"))
    ]

    def work(self, rng, size):
        Phi = features(rng, size.n, size.side**2)
        gradients = {"weight": tensor(Phi, size.dtype).reshape(size.n, size.side, size.side)}
        drawn = sketch(size)
        matrix = to_numpy(drawn.matrix())
        drawn.apply(gradients)
        return lambda: Phi @ matrix, lambda: drawn.apply(gradients)


class Adjoint(Pair):
    """Weights of n functions taken back to the parameters, by a map drawn before."""

    params = [
        grid(1, every="kind", kind=KINDS, side=(64, 256), n=(10, 100), k=(256, 128), dtype=("float32", "float64"))
    ]

    def work(self, rng, size):
        w = rng.standard_normal((size.n, size.k))
        weights, drawn = tensor(w, size.dtype), sketch(size)
        matrix = to_numpy(drawn.matrix())
        dict(drawn.adjoint(weights))
        return lambda: w @ matrix.T, lambda: dict(drawn.adjoint(weights))["weight"]


# Kinds of the fast path and how the reference draws the same kind of map.
DRAWS = {
    "contiguous": lambda size, rng: ref.draw("contiguous", size.side**2, size.k, rng=rng),
    "sjlt": lambda size, rng: ref.draw("sjlt_block", size.side**2, size.k, rng=rng, nonzeros=4),
    "tensorsketch": lambda size, rng: ref.tensor_sketch((size.side, size.side), size.k, rng=rng, bijective=True),
    "srht": lambda size, rng: ref.draw("srht", size.side**2, size.k, rng=rng),
    "gaussian": lambda size, rng: ref.draw("gaussian", size.side**2, size.k, rng=rng),
    "rademacher": lambda size, rng: ref.draw("rademacher", size.side**2, size.k, rng=rng),
    "haar": lambda size, rng: ref.draw("haar", size.side**2, size.k, rng=rng),
}


class Draw(Pair):
    """A map drawn: as a matrix (P, k), and as what the fast path keeps of it.

    The error is that of the projected kernel, |K~ - K|_F / |K|_F, root mean square of ten draws, for each side.
    """

    params = [grid(1, every="kind", kind=tuple(DRAWS), side=(32, 64), k=(128, 256))]

    def work(self, rng, size):
        generator = np.random.default_rng(SEED)
        self.Phi = features(rng, 50, size.side**2)
        return lambda: DRAWS[size.kind](size, generator), lambda: sketch(size).block("weight", dtype=torch.float32)

    def track_error(self, size):
        return self.kernel_error(to_numpy(sketch(size, SEED + seed).matrix()) for seed in range(10))

    def track_error_of_reference(self, size):
        return self.kernel_error(self.reference() for _ in range(10))

    def kernel_error(self, maps):
        K = self.Phi @ self.Phi.T
        projected = (self.Phi @ drawn for drawn in maps)
        return float(np.sqrt(np.mean([relative_error(rows @ rows.T, K) ** 2 for rows in projected])))


class SmallestDimension:
    """The exact JL dimension by bisection; the error is against a scan of every k with other routines for the laws."""

    param_names = ("size",)
    params = [
        grid(every="kind", kind=("gaussian", "haar"), n=(500, 1300, 9469), epsilon=(0.1, 0.2), delta=(0.05, 0.01))
    ]
    P = 11_181_642

    def time_reference(self, size):
        return self.smallest(size)

    def track_error(self, size):
        k = np.arange(1, 10_000)
        low, high = 1 - size.epsilon, 1 + size.epsilon
        if size.kind == "gaussian":
            failure = chi2.cdf(k * low, k) + chi2.sf(k * high, k)
        else:
            law = beta(k / 2, (self.P - k) / 2)
            failure = law.cdf(k / self.P * low) + law.sf(k / self.P * high)
        return relative_error(self.smallest(size), k[np.argmax(comb(size.n, 2) * failure <= size.delta)])

    def smallest(self, size):
        P = self.P if size.kind == "haar" else None
        return ref.smallest_dimension(size.kind, size.n, size.epsilon, size.delta, P=P)

    track_error.unit = "relative"
