"""Stacks of matrices of several classes, drawn: partitioned kernels, pairs of spans, clouds of points."""

from hypothesis import strategies as st

from tests.kinds import kernel_stacks
from tests.strategies import generators, partitions


@st.composite
def partitioned_stacks(draw, sizes=(2, 7)):
    """Kernels (C, n, n) with simple spectra, and one partition of the rows."""
    kernels = draw(kernel_stacks(sizes))
    return kernels, draw(partitions(kernels.shape[-1]))


@st.composite
def pairs(draw):
    """Features (C, n, k) and inducing rows (C, m, k), of different rank between classes."""
    C, n, m, k = (draw(st.integers(1, top)) for top in (3, 5, 4, 6))
    rng = draw(generators())
    Phi, S = rng.standard_normal((C, n, k)), rng.standard_normal((C, m, k))
    S[0, -1] = S[0, 0]
    return Phi, S


@st.composite
def clouds(draw):
    """Points (n, d) and a number of support points."""
    n, d = draw(st.integers(2, 12)), draw(st.integers(1, 3))
    return draw(generators()).standard_normal((n, d)), draw(st.integers(1, n))
