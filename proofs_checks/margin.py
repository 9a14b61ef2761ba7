"""How far an equality or inequality is from failing: exactly, in ball arithmetic, or in units of rounding.

Exact rationals and balls prove; float64 and sampling are evidence. Every Margin says which it is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat

from proofs_checks.rational import floats, ldl_pivots, q

__all__ = [
    "ALLOWED",
    "Kind",
    "Margin",
    "above",
    "all_of",
    "at_most",
    "at_most_root",
    "by_reference",
    "equal",
    "psd",
    "sampled",
    "true",
    "undefined",
]


class Kind(StrEnum):
    """How a margin was computed, strongest first."""

    EXACT = "exact rationals"
    BALL = "ball arithmetic"
    FLOAT = "float64"
    SAMPLE = "Monte Carlo"


ALLOWED = {
    # An exact comparison leaves no room.
    Kind.EXACT: 0.0,
    # A ball comparison counts only when it is certain; equality asks that the balls overlap (distance 0).
    Kind.BALL: 0.0,
    # Units of 2^-53 times the scale that the check states (size of the terms, times the condition number where a system
    # is solved). Instances have at most 40 rows and columns; a few nested products and one eigendecomposition of that
    # size lose at most about 40 * 40 roundings each.
    Kind.FLOAT: 2.0**14,
    # Standard errors. A two-sided normal false alarm at 5 has probability 6e-7; with fewer than 1,000 sampled margins
    # in the ledger the total false-alarm rate is below 1e-3. Seeds are fixed, so a pass stays a pass.
    Kind.SAMPLE: 5.0,
}
UNIT = 2.0**-53
# Balls that overlap are equal only where they are this narrow; a wide one, or no number at all, overlaps everything.
WIDEST = 1e-9


@dataclass(frozen=True)
class Margin:
    """One comparison: `excess` is by how many units the claim is missed (negative: slack), `allowed` what is forgiven.

    Units: FLOAT roundings at the stated scale; SAMPLE standard errors; EXACT and BALL the size of the larger side.
    `ratio` is left over right for an inequality (1 where it is attained), None for an equality.
    """

    kind: Kind
    excess: float
    allowed: float
    left: Any
    right: Any
    ratio: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the comparison passed."""
        return bool(self.excess <= self.allowed)  # NumPy's own truth is no JSON


def _exact(value: Any) -> bool:
    return isinstance(value, int | Fraction | fmpq | fmpq_mat) and not isinstance(value, bool)


def _kind(left: Any, right: Any) -> Kind:
    if _exact(left) and _exact(right):
        return Kind.EXACT
    if isinstance(left, arb) or isinstance(right, arb):
        return Kind.BALL
    return Kind.FLOAT


def _ratio(left: float, right: float) -> float | None:
    return left / right if right != 0 else None


def _exact_margin(left: Any, right: Any, difference: fmpq, size: fmpq, ratio: float | None) -> Margin:
    # float(difference / size) could underflow to 0 for a true excess: keep its sign.
    excess = float(difference / size) if size != 0 else 0.0
    if difference > 0:
        excess = max(excess, 5e-324)
    return Margin(Kind.EXACT, excess, ALLOWED[Kind.EXACT], left, right, ratio)


def equal(left: Any, right: Any, *, scale: Any = None) -> Margin:
    """Compare two numbers or arrays; `scale` is the size of one float64 unit (default: the larger side)."""
    kind = _kind(left, right)
    if kind is Kind.EXACT:
        if isinstance(left, fmpq_mat):
            pairs = list(zip(left.entries(), right.entries(), strict=True))
        else:
            pairs = [(q(left), q(right))]
        difference = max((abs(a - b) for a, b in pairs), default=fmpq(0))
        return _exact_margin(
            left, right, difference, max((max(abs(a), abs(b)) for a, b in pairs), default=fmpq(0)), None
        )
    if kind is Kind.BALL:
        a, b = arb(left), arb(right)
        if not _narrow(a) or not _narrow(b):
            return Margin(kind, float("inf"), ALLOWED[kind], left, right)
        apart = 0.0 if a.overlaps(b) else float(abs(a - b).lower()) / float(max(abs(a).upper(), abs(b).upper()))
        return Margin(kind, apart, ALLOWED[kind], left, right)
    a, b = np.asarray(left, float), np.asarray(right, float)
    size = float(max(np.abs(a).max(initial=0), np.abs(b).max(initial=0)) if scale is None else scale)
    gap = float(np.abs(a - b).max(initial=0))
    units = 0.0 if gap == 0 else gap / (UNIT * max(size, np.finfo(float).tiny))
    return Margin(kind, _finite(units), ALLOWED[kind], left, right)


def _narrow(ball: arb) -> bool:
    """Whether a ball says enough for an equality: it is finite, and no wider than a billionth of what it holds (or of 1)."""
    return bool(ball.is_finite() and ball.rad() <= WIDEST * max(abs(ball.mid()), arb(1)))


def _finite(units: float) -> float:
    return float("inf") if np.isnan(units) else units


def at_most(left: Any, right: Any, *, scale: Any = None) -> Margin:
    """Compare left <= right; in ball arithmetic only a certain comparison holds."""
    kind = _kind(left, right)
    if kind is Kind.EXACT:
        a, b = q(left), q(right)
        return _exact_margin(a, b, a - b, max(abs(a), abs(b)), _ratio(float(a), float(b)))
    if kind is Kind.BALL:
        a, b = arb(left), arb(right)
        size = max(abs(a).upper(), abs(b).upper())
        excess = float((a - b).upper() / size) if size > 0 else 0.0
        if not a <= b:
            excess = max(excess, 5e-324)
        return Margin(kind, excess, ALLOWED[kind], left, right, _ratio(float(a.mid()), float(b.mid())))
    size = float(max(abs(left), abs(right)) if scale is None else scale)
    gap = float(left - right)
    units = 0.0 if gap == 0 else gap / (UNIT * max(size, np.finfo(float).tiny))
    return Margin(kind, _finite(units), ALLOWED[kind], left, right, _ratio(float(left), float(right)))


def above(left: Any, right: Any) -> Margin:
    """Compare left > right strictly; for exact numbers only."""
    a, b = q(left), q(right)
    margin = _exact_margin(a, b, b - a, max(abs(a), abs(b)), _ratio(float(b), float(a)))
    return margin if a > b else Margin(margin.kind, max(margin.excess, 5e-324), margin.allowed, a, b, margin.ratio)


def psd(matrix: Any, *, scale: Any = None) -> Margin:
    """Check that a symmetric matrix is positive semi-definite: exact pivots, or the smallest eigenvalue in float64."""
    if isinstance(matrix, fmpq_mat):
        pivots = ldl_pivots(matrix)
        low, size = min(pivots), max(abs(entry) for entry in matrix.entries())
        return _exact_margin(low, fmpq(0), -low, size, None)
    eigenvalues = np.linalg.eigvalsh(matrix)
    size = float(np.abs(eigenvalues).max() if scale is None else scale)
    return Margin(
        Kind.FLOAT,
        -eigenvalues[0] / (UNIT * max(size, np.finfo(float).tiny)),
        ALLOWED[Kind.FLOAT],
        float(eigenvalues[0]),
        0.0,
    )


def true(condition: bool, left: Any = None, right: Any = None) -> Margin:
    """State a fact that is decided without rounding, such as an equality of integers or ranks."""
    return Margin(Kind.EXACT, 0.0 if condition else 1.0, ALLOWED[Kind.EXACT], left, right)


def undefined(reason: str) -> Margin:
    """Return the margin of a side that does not exist, such as the inverse of a singular matrix."""
    return Margin(Kind.EXACT, float("inf"), ALLOWED[Kind.EXACT], reason, None)


def sampled(draws: np.ndarray, expected: float, *, side: str = "equal") -> Margin:
    """Compare the mean of independent draws with its expectation in standard errors.

    `side` is "equal", "at most" (mean <= expected) or "at least".
    """
    draws = np.asarray(draws, float)
    mean, error = float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(draws.size))
    z = 0.0 if mean == expected else (mean - expected) / max(error, np.finfo(float).tiny)
    excess = {"equal": abs(z), "at most": z, "at least": -z}[side]
    return Margin(Kind.SAMPLE, excess, ALLOWED[Kind.SAMPLE], mean, expected)


_STRENGTH = {kind: place for place, kind in enumerate(Kind)}


def all_of(*margins: Margin | Iterable[Margin]) -> Margin:
    """Return the worst of several margins: a failed one first, then the weakest kind, then the least slack."""
    flat = [m for item in margins for m in ([item] if isinstance(item, Margin) else item)]
    if not flat:
        return true(True)
    return max(flat, key=lambda m: (not m.holds, _STRENGTH[m.kind], m.excess - m.allowed))


Check = Callable[..., Margin]


def at_most_root(left: Any, square: Any) -> Margin:
    """Compare left <= sqrt(square) without taking the root: x |x| <= square, since x |x| is increasing."""
    return at_most(left * abs(left), square)


def by_reference(case: Any, *, reference: Callable, exact: Callable, scale: Callable | None = None) -> Margin:
    """Compare a float64 quantity of dntk_ref with the exact rational value on the same instance.

    `scale(case)` is the size of one unit: the largest term times the condition number where a system is solved.
    """
    value = exact(case)
    right = floats(value) if isinstance(value, fmpq_mat) else float(value)
    left = np.asarray(reference(case), float)
    return equal(left.reshape(np.shape(right)), right, scale=None if scale is None else max(scale(case), 1e-300))
