"""How well distilled gradients span the data's: projection residual, energy gap, principal angles (3.3, Prop 3.6)."""

from dataclasses import astuple

import numpy as np
import torch

import dntk_fast.kernels.subspace as fast
import dntk_ref.subspace as ref

from .common import Pair, features, grid, tensor


def sizes(keep=2):
    """Classes, rows, distilled rows, width of the gradients."""
    return grid(keep, C=(10,), n=(100, 200, 400), m=(10, 50), k=(256, 512, 1024), dtype=("float64", "float32"))


def instance(rng, size):
    """Features of n rows and of m others, on both sides."""
    Phi, inducing = features(rng, size.C, size.n, size.k), features(rng, size.C, size.m, size.k)
    return Phi, inducing, tensor(Phi, size.dtype), tensor(inducing, size.dtype)


class ProjectionResidual(Pair):
    """The energy outside the span of the distilled gradients."""

    params = [sizes()]

    def work(self, rng, size):
        Phi, S, batch, inducing = instance(rng, size)
        return (
            lambda: [ref.projection_residual(Phi[c], S[c]) for c in range(size.C)],
            lambda: fast.projection_residual(batch, inducing),
        )


class EnergyGap(Pair):
    """The residual split into tail and misalignment (Eq 11), all five parts."""

    params = [sizes()]

    def work(self, rng, size):
        Phi, S, batch, inducing = instance(rng, size)

        def vectorised():
            gap = fast.energy_gap(batch, inducing)
            return torch.stack([gap.residual, gap.tail, gap.misalignment, gap.rank, gap.total], 1)

        return lambda: np.array([astuple(ref.energy_gap(Phi[c], S[c])) for c in range(size.C)]), vectorised


class PrincipalAngles(Pair):
    """The angles between the spans of two sets of rows."""

    params = [grid(C=(10,), n=(10, 50), m=(10, 50), k=(256, 512, 1024), dtype=("float64", "float32"))]

    def work(self, rng, size):
        a, b, batch_a, batch_b = instance(rng, size)
        return (
            lambda: [ref.principal_angles(a[c], b[c]) for c in range(size.C)],
            lambda: fast.principal_angles(batch_a, batch_b),
        )
