"""Hypothesis strategies shared by the tests: matrices with stated spectra, partitions, targets.

Sizes and kinds are drawn, so that they shrink; entries come from a generator with a drawn seed.
"""

import numpy as np
from hypothesis import strategies as st

from dntk_ref import cases


@st.composite
def generators(draw):
    """NumPy generators."""
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@st.composite
def spectra(draw, sizes=(1, 7)):
    """Descending spectra: decaying, flat, near-singular (condition 1e4), tied, or with zeros at the end; never zero."""
    n = draw(st.integers(*sizes))
    kind = draw(st.sampled_from(["decaying", "flat", "near-singular", "tied", "singular"]))
    if kind == "near-singular" and n > 1:
        return cases.near_singular_spectrum(n, 1e4)
    if kind == "tied" and n > 2:
        return cases.tied_spectrum(n, draw(st.integers(2, n - 1)))
    if kind == "singular" and n > 1:
        kept = draw(st.integers(1, n - 1))
        return np.concatenate([cases.exponential_spectrum(kept, 0.5), np.zeros(n - kept)])
    return (
        cases.flat_spectrum(n) if kind == "flat" else cases.exponential_spectrum(n, draw(st.sampled_from([0.1, 1.0])))
    )


@st.composite
def kernels(draw, sizes=(1, 7)):
    """Kernels with one of these spectra and random eigenvectors."""
    return cases.kernel_with_spectrum(draw(spectra(sizes)), rng=draw(generators()))


@st.composite
def features(draw, rows=(1, 6), columns=(1, 8)):
    """Features (n, P): Gaussian, with a stated spectrum where P >= n, or with repeated rows."""
    n, P = draw(st.integers(*rows)), draw(st.integers(*columns))
    rng, kind = draw(generators()), draw(st.sampled_from(["gaussian", "spectrum", "repeated"]))
    if kind == "spectrum" and n <= P:
        return cases.features_with_spectrum(draw(spectra((n, n))), P, rng=rng)
    if kind == "repeated":
        return cases.duplicated_features(max(1, n // 2), 2, P, rng=rng)
    return rng.standard_normal((n, P))


@st.composite
def pairs_of_features(draw, rows=(1, 6), columns=(1, 8)):
    """Two sets of features in the same space: the data's and the inducing ones."""
    Phi = draw(features(rows, columns))
    P = Phi.shape[1]
    return Phi, draw(features(rows, (P, P)))


@st.composite
def partitions(draw, n):
    """Integer labels (n,), up to four clusters, labels in no particular order and not from zero."""
    return np.array(draw(st.lists(st.sampled_from([7, -2, 3, 11]), min_size=n, max_size=n)))


@st.composite
def partitioned_kernels(draw, sizes=(1, 8)):
    """A kernel and a partition of its rows."""
    K = draw(kernels(sizes))
    return K, draw(partitions(len(K)))


epsilons = st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.4])
