"""Ridge problems of several classes, drawn."""

import numpy as np
from hypothesis import strategies as st

from tests.kinds import feature_stacks, to
from tests.strategies import generators


@st.composite
def problems(draw, rows=(1, 6)):
    """Features (C, n, k), targets (C, n), and a ridge: one number, or one per class."""
    Phi = draw(feature_stacks(rows=rows))
    rng = draw(generators())
    lams = 10.0 ** rng.integers(-2, 2, size=Phi.shape[0])
    return Phi, rng.standard_normal(Phi.shape[:2]), draw(st.sampled_from([lams, float(lams[0])]))


def as_ridge(kind, lam):
    return to(kind, lam) if isinstance(lam, np.ndarray) else lam
