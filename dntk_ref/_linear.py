"""The few lines of linear algebra that several modules share: ridge solves that do not cancel, and bounds rounded up.

For rows Phi_S and a ridge s, H = Phi_S^T Phi_S + s I. A vector x has coordinates V^T x in the right singular basis of Phi_S
and a remainder orthogonal to it; then x^T H^-1 x = |V^T x / sqrt(sigma^2 + s)|^2 + |remainder|^2 / s is a sum of squares.
Woodbury's form of it, (|x|^2 - ...) / s, subtracts before it divides and loses all digits where s / sigma^2 is small.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dntk_ref._check import Array

__all__ = ["UNIT", "Split", "norm", "resolvent", "root", "rounded_up", "solve_doubt", "split"]

UNIT = 2.0**-52


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


def rounded_up(value: float, terms: int) -> float:
    """A value >= 0 that sums of so many terms, two roots and a quotient gave, raised by all their roundings.

    >>> 1.0 < rounded_up(1.0, 10) < 1.0 + 1e-14
    True
    """
    return value * (1 + (terms + 8) * UNIT)


@dataclass(frozen=True)
class Split:
    """Columns x in the right singular basis of m rows: sigma (r,), V (P, r), V^T x (r, q), the part off V's span (P, q)."""

    sigma: Array
    basis: Array
    coordinates: Array
    remainder: Array
    roundings: float

    @property
    def largest(self) -> float:
        """The largest singular value; 0 without rows."""
        return float(np.max(self.sigma, initial=0.0))

    @property
    def smallest(self) -> float:
        """The least |Phi_S x| / |x|: 0 where V does not hold all x."""
        return float(self.sigma[-1]) if len(self.basis) == self.sigma.size else 0.0

    def whitened(self, s: float) -> Array:
        """W x with |W x|^2 = x^T (Phi_S^T Phi_S + s I)^-1 x, (r + P, q)."""
        inside = self.coordinates / np.sqrt(self.sigma**2 + s)[:, None]
        return np.vstack([inside, self.remainder / np.sqrt(s)])

    def shrunk(self, s: float) -> Array:
        """The columns s (Phi_S^T Phi_S + s I)^-1 x, (P, q)."""
        return self.remainder + self.basis @ (self.coordinates * (s / (self.sigma**2 + s))[:, None])

    def doubt(self, s: float) -> float:
        """How much a length |W x| may be off, relative to it.

        The singular values are those of Phi_S + E with |E| <= e, roundings of the largest of them. |(Phi_S + E) x| differs
        from |Phi_S x| by e |x|, and |x| <= |x|_H / sqrt(smallest^2 + s).
        """
        return self.roundings * float(np.sqrt((self.largest**2 + s) / (self.smallest**2 + s)))

    def shrunk_doubt(self, s: float) -> Array:
        """How much the lengths of `shrunk` may be off, (q,): s H^-1 (E^T Phi_S + Phi_S^T E) H^-1 x, and the products."""
        filtered = self.sigma / (self.sigma**2 + s)
        fitted = np.linalg.norm(filtered[:, None] * self.coordinates, axis=0)
        lengths = np.sqrt(np.sum(self.coordinates**2, axis=0) + np.sum(self.remainder**2, axis=0))
        by_images = s / (self.smallest**2 + s) * (self.largest * fitted + lengths)
        by_lengths = (self.largest * np.max(filtered, initial=0.0) + 1) * np.linalg.norm(self.shrunk(s), axis=0)
        return np.asarray(self.roundings * (by_images + by_lengths))


def split(rows: Array, columns: Array) -> Split:
    """The columns (P, q) in the right singular basis of the rows (m, P), m may be 0.

    >>> split(np.array([[2.0, 0.0]]), np.array([[0.0], [3.0]])).whitened(9.0).round(12).tolist()
    [[0.0], [0.0], [1.0]]
    """
    m, P = rows.shape
    roundings = (m + P + 8) * UNIT
    if m == 0:
        return Split(np.zeros(0), np.zeros((P, 0)), np.zeros((0, columns.shape[1])), columns, roundings)
    _, sigma, Vt = np.linalg.svd(rows, full_matrices=False)
    inside = Vt @ columns
    if sigma.size == P:
        return Split(sigma, Vt.T, inside, np.zeros_like(columns), roundings)
    remainder = columns - Vt.T @ inside
    # Once more: what rounding left of the first part inside the span would be divided by s alone.
    return Split(sigma, Vt.T, inside, remainder - Vt.T @ (Vt @ remainder), roundings)


def resolvent(features: Array, lam: float) -> Array:
    """(Phi Phi^T + lam I)^-1 = U diag(1 / (sigma^2 + lam)) U^T, U all n left singular vectors.

    >>> resolvent(np.array([[1.0], [0.0]]), 1.0).round(12).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    n, k = features.shape
    wide = np.hstack([features, np.zeros((n, max(n - k, 0)))])  # so that the thin decomposition has all n vectors
    U, sigma, _ = np.linalg.svd(wide, full_matrices=False)
    return np.asarray(U / (sigma**2 + lam) @ U.T)


def solve_doubt(kernel: Array, solution: Array, right: Array, lam: float) -> float:
    """A bound on the length of the error of a computed (K + lam I)^-1 y, K known to the roundings of its largest eigenvalue.

    >>> solve_doubt(np.array([[1.0]]), np.array([0.5]), np.array([1.0]), 1.0) < 1e-14
    True
    """
    share = (4 * len(kernel) + 8) * UNIT * (float(np.linalg.norm(kernel, 2)) / lam + 1)
    length = norm(solution)
    trivial = length + norm(right) / lam
    return min(share / (1 - share) * length, trivial) if share < 1 else trivial
