"""What the reference's tests share: the two tolerances of an equality, and the distance of a broken twin."""

import numpy as np

from tests.tolerances import TOL

CLOSE = {"rtol": TOL["float64"], "atol": TOL["float64"]}
HAND = {"rtol": TOL["hand"], "atol": TOL["hand"]}


def differs(a, b):
    """The two sides of a broken twin: apart by far more than rounding."""
    return not np.allclose(a, b, rtol=TOL["apart"], atol=TOL["apart"])


def at_most(truth, bound):
    """Every truth is at most its bound, up to the rounding of both."""
    truth, bound = np.asarray(truth), np.asarray(bound)
    return bool((truth <= bound * (1 + TOL["float64"]) + TOL["float64"]).all())
