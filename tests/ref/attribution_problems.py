"""Problems of attribution, drawn."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def problems(draw, rows=(2, 6)):
    """Features (C, n, k) and (C, t, k), targets (C, n), a ridge between 1e-2 and 1e1, and a group that leaves others."""
    C, n, k, t = draw(st.integers(1, 3)), draw(st.integers(*rows)), draw(st.integers(1, 6)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Phi = rng.standard_normal((C, n, k))
    if draw(st.integers(0, 2)) == 0:
        Phi[:, -1] = Phi[:, 0]
    group = draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n - 1))
    lam = 10.0 ** draw(st.integers(-2, 1))
    return Phi, rng.standard_normal((C, t, k)), rng.standard_normal((C, n)), lam, sorted(group)


def kernel_of(Phi, new):
    return new @ Phi.swapaxes(1, 2), Phi @ Phi.swapaxes(1, 2)
