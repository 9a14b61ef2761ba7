"""The few lines of linear algebra that several modules share."""

import numpy as np
from numpy.typing import ArrayLike

from dntk_ref._check import Array

__all__ = ["norm", "root"]


def norm(vector: Array) -> float:
    """The Euclidean length of a vector.

    >>> norm(np.array([3.0, 4.0]))
    5.0
    """
    return float(np.linalg.norm(vector))


def root(value: ArrayLike) -> float:
    """The square root of a number that only rounding makes negative.

    >>> root(-1e-17), root(4.0)
    (0.0, 2.0)
    """
    return float(np.sqrt(np.maximum(value, 0.0)))
