"""Problems of the joint tangent space, drawn."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def problems(draw, inputs=(2, 4)):
    """Jacobians (C, m, P) and (C, t, P), targets (C, m) and a ridge; every third instance repeats an input."""
    C, m = draw(st.integers(2, 3)), draw(st.integers(*inputs))
    P, t = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    J = rng.standard_normal((C, m, P))
    if draw(st.integers(0, 2)) == 0:
        J[:, -1] = J[:, 0]
    return J, rng.standard_normal((C, t, P)), rng.standard_normal((C, m)), 10.0 ** draw(st.integers(-2, 1))
