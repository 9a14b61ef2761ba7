"""Ridge regression: all weights of a grid of ridges, the dual, leave-one-out, leverage (A.3, `effective_dimension`)."""

import numpy as np

import dntk_fast.kernels.ridge as fast
import dntk_ref.ridge as ref

from .common import Pair, features, grid, tensor

GRID = 10.0 ** np.arange(-6, 2)
KERNELS = {"C": (10,), "n": (100, 200, 400, 800), "dtype": ("float64", "float32")}


def problem(rng, C, n, k):
    """Features, targets, kernels and the grid of ridges, scaled by the kernels' mean diagonal."""
    Phi, y = features(rng, C, n, k), rng.standard_normal((C, n))
    K = Phi @ np.swapaxes(Phi, 1, 2)
    return Phi, y, K, GRID * np.trace(K, axis1=1, axis2=2).mean() / n


class WeightsOverGrid(Pair):
    """Primal weights of eight ridges: eight solves for each class against one eigendecomposition."""

    params = [grid(C=(10,), n=(100, 200, 400, 800), k=(128, 512), dtype=("float64", "float32"))]

    def work(self, rng, size):
        Phi, y, _, lams = problem(rng, size.C, size.n, size.k)
        batch, targets, steps = tensor(Phi, size.dtype), tensor(y, size.dtype), tensor(lams)
        return (
            lambda: [[ref.ridge_weights(Phi[c], y[c], lam) for c in range(size.C)] for lam in lams],
            lambda: fast.ridge_path(batch, targets, steps),
        )


class LeaveOneOutOverGrid(Pair):
    """Leave-one-out residuals for eight ridges, without refitting on either side."""

    params = [grid(**KERNELS)]

    def work(self, rng, size):
        _, y, K, lams = problem(rng, size.C, size.n, size.n)
        kernel, targets, steps = tensor(K, size.dtype), tensor(y, size.dtype), tensor(lams)
        return (
            lambda: [[ref.leave_one_out(K[c], y[c], lam) for c in range(size.C)] for lam in lams],
            lambda: fast.leave_one_out_path(kernel, targets, steps),
        )


class DualCoefficients(Pair):
    """One solve of (K + lam I) alpha = y for each class, at 1e-3 of the mean diagonal."""

    params = [grid(**KERNELS)]

    def work(self, rng, size):
        _, y, K, lams = problem(rng, size.C, size.n, size.n)
        kernel, targets, lam = tensor(K, size.dtype), tensor(y, size.dtype), float(lams[3])
        return (
            lambda: [ref.dual_coefficients(K[c], y[c], lam) for c in range(size.C)],
            lambda: fast.dual_coefficients(kernel, targets, lam),
        )


class Leverage(Pair):
    """Ridge leverage of every row, at 1e-3 of the mean diagonal."""

    params = [grid(**KERNELS)]

    def work(self, rng, size):
        _, _, K, lams = problem(rng, size.C, size.n, size.n)
        kernel, lam = tensor(K, size.dtype), float(lams[3])
        return lambda: [ref.leverage(K[c], lam) for c in range(size.C)], lambda: fast.leverage(kernel, lam)
