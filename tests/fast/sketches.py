"""Problems for gradient distillation: features in blocks, syntheses, runs with gaps."""

import numpy as np
from hypothesis import strategies as st

from tests.kinds import kernel_stacks
from tests.strategies import generators


@st.composite
def problems(draw, rows=(2, 7)):
    """Features (C, n, k) with decaying, simple spectra, targets (C, n)."""
    kernels = draw(kernel_stacks(sizes=rows))
    rng = draw(generators())
    extra = draw(st.integers(0, 2))
    values, U = np.linalg.eigh(kernels)
    Phi = np.pad(U * np.sqrt(values)[:, None, :], [(0, 0), (0, 0), (0, extra)])
    rotation, _ = np.linalg.qr(rng.standard_normal((Phi.shape[2], Phi.shape[2])))
    return Phi @ rotation, rng.standard_normal(Phi.shape[:2])


@st.composite
def sketches(draw):
    """A problem, a synthesis matrix (C, n, m) of independent columns, and a ridge."""
    Phi, y = draw(problems())
    m = draw(st.integers(1, Phi.shape[1]))
    U = np.stack([np.linalg.qr(draw(generators()).standard_normal((Phi.shape[1], m)))[0] for _ in Phi])
    return Phi, y, U * np.linspace(1, 2, m), 10.0 ** draw(st.integers(-2, 1))


def gram(Phi):
    return Phi @ Phi.swapaxes(-1, -2)


BLOCKS = np.kron(np.diag([3.0, 2.0, 1.0]), np.ones((4, 4))) + 0.01 * np.eye(12)


@st.composite
def runs_with_gaps(draw):
    """Features of flat spectrum (C, n, k), targets, two clusters and thresholds at which gap directions are common."""
    C, half = draw(st.integers(1, 2)), draw(st.integers(2, 4))
    rng = draw(generators())
    Phi, y = rng.standard_normal((C, 2 * half, 2 * half + 1)), rng.standard_normal((C, 2 * half))
    thresholds = {"tau_v": draw(st.sampled_from([0.5, 0.7, 0.8])), "tau_g": draw(st.sampled_from([0.0, 0.9, 1.0]))}
    return Phi, y, np.arange(2 * half) % 2, thresholds
