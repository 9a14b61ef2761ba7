"""Linear algebra on arrays of balls: what the float64 quantities of dntk_ref are compared with.

An array of balls is a NumPy array of objects; sums, products and roots are those of NumPy. Every float64 number is a ball of
radius zero, so the exact value belongs to the very numbers that the reference was given.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flint import acb_mat, arb, arb_mat

__all__ = [
    "PRECISION",
    "balls",
    "elementary",
    "energy",
    "eye",
    "inside",
    "inverse",
    "length",
    "norm2",
    "orthonormal",
    "pseudo",
    "rank",
    "root",
    "rows_of",
    "solve",
    "span",
    "spectrum",
    "truncated",
    "vectors",
]

# Bits: 80 digits, and 40 more for what condition numbers up to 1e24 (a kernel of 1e12, squared) and ties take away.
PRECISION = 420
# Above what is left of zero in that many digits, below every number that an instance is made of.
ZERO = arb(10) ** -60


def balls(value: Any) -> Any:
    """Return floats as balls, in arrays and tuples too; integers, words and the rest as they are."""
    if isinstance(value, tuple):
        return tuple(balls(part) for part in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.array([arb(float(x)) for x in value.ravel()] + [None], dtype=object)[:-1].reshape(value.shape)
    return arb(float(value)) if isinstance(value, float) else value


def eye(n: int) -> np.ndarray:
    """Return the identity of size n."""
    return balls(np.eye(n))


def root(value: Any) -> arb:
    """Return the square root of a number that is not below zero but for what is left of zero."""
    value = arb(value)
    return value.sqrt() if value > ZERO**2 else arb(0)


def energy(array: np.ndarray) -> arb:
    """Return the sum of squares."""
    return arb(np.sum(array * array)) if array.size else arb(0)


def length(array: np.ndarray) -> arb:
    """Return the Euclidean or Frobenius norm."""
    return root(energy(array))


def _matrix(array: np.ndarray) -> arb_mat:
    return arb_mat(array.tolist())


def _array(matrix: arb_mat) -> np.ndarray:
    found = np.empty((matrix.nrows(), matrix.ncols()), dtype=object)
    found[:] = matrix.tolist()
    return found


def inverse(array: np.ndarray) -> np.ndarray:
    """Return the inverse of a square matrix."""
    return _array(_matrix(array).inv())


def solve(array: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solution of a square system for one right side or several."""
    columns = right if right.ndim == 2 else right[:, None]
    return _array(_matrix(array).solve(_matrix(columns))).reshape(right.shape)


def _decomposed(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, descending, and unit eigenvectors of a symmetric matrix, to the precision of the balls."""
    n = len(kernel)
    if n == 1:
        return kernel[0], eye(1)
    size = max(abs(entry) for entry in kernel.ravel())
    if not size > ZERO:
        return balls(np.zeros(n)), eye(n)
    values, right = acb_mat(_matrix((kernel + kernel.T) / 2)).eig(right=True, algorithm="approx")
    order = sorted(range(n), key=lambda i: float(values[i].real.mid()), reverse=True)
    found = np.empty(n, dtype=object)
    found[:] = [arb(values[i].real.mid()) for i in order]
    columns = np.array([[arb(right[i, j].real.mid()) for j in order] for i in range(n)], dtype=object)
    return found, np.stack([column / length(column) for column in columns.T], axis=1)


def spectrum(kernel: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of a symmetric matrix, descending, those below zero by rounding of its entries as zero."""
    values, _ = _decomposed(kernel)
    return np.array([value if value > ZERO else arb(0) for value in values] + [None], dtype=object)[:-1]


def vectors(kernel: np.ndarray) -> np.ndarray:
    """Return the eigenvectors of a symmetric matrix without ties, by descending eigenvalues."""
    return _decomposed(kernel)[1]


def norm2(array: np.ndarray) -> arb:
    """Return the largest singular value."""
    small = array @ array.T if array.shape[0] <= array.shape[1] else array.T @ array
    return root(_decomposed(small)[0][0])


def pseudo(kernel: np.ndarray) -> np.ndarray:
    """Return the pseudo-inverse of a symmetric positive semi-definite matrix without ties above zero."""
    values, found = _decomposed(kernel)
    kept = np.array([value > ZERO for value in values], dtype=bool)
    return (found[:, kept] / values[kept]) @ found[:, kept].T


def orthonormal(columns: np.ndarray, dependent: float = 1e-8) -> np.ndarray:
    """Return Gram and Schmidt's basis of the columns in their order; dependent ones are dropped."""
    kept: list[np.ndarray] = []
    for column in columns.T:
        rest = column
        for vector in kept:
            rest = rest - vector * np.sum(vector * column)
        if length(rest) > dependent * length(column):
            kept.append(rest / length(rest))
    return np.stack(kept, axis=1) if kept else columns[:, :0]


def span(rows: np.ndarray) -> np.ndarray:
    """Return the orthogonal projector onto the span of the rows."""
    basis = orthonormal(rows.T)
    return basis @ basis.T


def inside(kernel: np.ndarray, synthesis: np.ndarray) -> np.ndarray:
    """Return K U (U^T K U)^-1 U^T K, dependent columns left out."""
    basis = orthonormal(synthesis)
    image = kernel @ basis
    return image @ solve(basis.T @ image, image.T)


def truncated(values: Iterable[Any], epsilon: Any) -> int:
    """Return the least number of leading values that hold a share 1 - epsilon of their sum."""
    values = list(values)
    wanted = (1 - epsilon) * sum(values, arb(0))
    held, count = arb(0), 0
    # Ties are ties: what the balls leave of zero is not asked for.
    while held < wanted - ZERO:
        held, count = held + values[count], count + 1
    return count


def elementary(values: Iterable[Any], order: int) -> arb:
    """Return the elementary symmetric polynomial of the values."""
    found = [arb(1)] + [arb(0)] * order
    for value in values:
        for k in range(order, 0, -1):
            found[k] = found[k] + value * found[k - 1]
    return found[order]


def rank(values: Iterable[Any], share: float) -> int:
    """Return how many values are above a share of the largest."""
    values = list(values)
    return sum(bool(value > share * max(values)) for value in values)


def rows_of(array: np.ndarray) -> np.ndarray:
    """Return the gradients (C, m, P) as rows by input, then logit."""
    return array.transpose(1, 0, 2).reshape(-1, array.shape[2])
