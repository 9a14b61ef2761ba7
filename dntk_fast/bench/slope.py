"""Exponents: the slope of log cost against log size, with its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dntk_fast import _check

__all__ = ["SIZES", "Slope", "slope"]

# Fewer sizes leave one degree of freedom or none: no standard error worth the name.
SIZES = 4
# A count that is a power of the size gives it to rounding, with a standard error of rounding.
ROUNDING = 1e-9
# How far terms of lower order are seen to bend a count over a factor of five in size; their curve is no noise, so the
# standard error does not cover it.
LOWER_ORDER = 0.1
# A fit that is less certain cannot tell two neighbouring powers apart.
UNCERTAIN = 0.25


@dataclass(frozen=True)
class Slope:
    """An exponent, its standard error, and from how many sizes."""

    exponent: float
    standard_error: float
    sizes: int

    def agrees(self, claimed: float) -> bool:
        """Whether the claim is within two standard errors."""
        return abs(self.exponent - claimed) <= 2 * self.standard_error + ROUNDING

    def verdict(self, claimed: float) -> str:
        """Say where the exponent stands beside the claim.

        >>> Slope(2.0, 0.1, 4).verdict(2.1), Slope(2.05, 0.0, 4).verdict(2), Slope(1.0, 0.1, 4).verdict(2)
        ('within 2 s.e.', 'within 0.1', 'lower')
        """
        if self.standard_error > UNCERTAIN:
            return "undecided"
        if self.agrees(claimed):
            return "within 2 s.e."
        if abs(self.exponent - claimed) <= LOWER_ORDER:
            return f"within {LOWER_ORDER:g}"
        return "lower" if self.exponent < claimed else "higher"


def slope(sizes: Sequence[float], costs: Sequence[float]) -> Slope:
    """Fit log cost = a + p log size by least squares.

    Parameters
    ----------
    sizes, costs : (L,), all above 0, at least four of the sizes different

    Returns
    -------
    Slope
        p and its standard error sqrt(RSS / (L - 2) / sum (log size - mean)^2).

    Raises
    ------
    ValueError
        Fewer than four sizes, or a number that has no logarithm.

    >>> round(slope([1, 2, 4, 8], [3, 12, 48, 192]).exponent, 12)
    2.0
    """
    x, y = np.asarray(sizes, float), np.asarray(costs, float)
    if len(set(x.tolist())) < SIZES:
        _check.refuse("sizes", f"at least {SIZES} for a slope", len(set(x.tolist())))
    if x.shape != y.shape:
        _check.refuse("costs", f"{x.size} of them", y.size)
    for name, values in (("sizes", x), ("costs", y)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            _check.refuse(name, "finite numbers above 0", values.tolist())
    x, y = np.log(x), np.log(y)
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    exponent = float(x @ y) / spread
    error = float(np.sqrt(np.sum((y - exponent * x) ** 2) / (len(x) - 2) / spread))
    return Slope(exponent, error, len(x))
