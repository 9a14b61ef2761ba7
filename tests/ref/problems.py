"""Problems that several test modules draw, and the whole law of a small random map."""

from itertools import product
from math import sqrt

import numpy as np
from hypothesis import strategies as st


@st.composite
def problems(draw):
    """Features (n, P), targets, weights that solve nothing, a ridge, test rows, and a subset of 0 to n rows."""
    n, P, t = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Phi = rng.standard_normal((n, P))
    if draw(st.integers(0, 3)) == 0:
        Phi[-1] = Phi[0]
    subset = rng.permutation(n)[: draw(st.integers(0, n))]
    lam = 10.0 ** draw(st.integers(-2, 1))
    return Phi, rng.standard_normal(n), rng.standard_normal(P), lam, rng.standard_normal((t, P)), subset


def falling_features(seed, n=4, P=5):
    """Gaussian features with geometrically falling columns, so that the spectrum falls too."""
    return np.random.default_rng(seed).standard_normal((n, P)) * 0.6 ** np.arange(P)


def sign_maps(P, k):
    """The whole law of a Rademacher map."""
    return [np.array(e).reshape(P, k) / sqrt(k) for e in product([-1.0, 1.0], repeat=P * k)]


def kernels(Phi, maps):
    return [Phi @ A @ A.T @ Phi.T for A in maps]
