"""Exact linear algebra over the rationals: what the checks need beyond python-flint's own matrices."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpq_mat

__all__ = [
    "block_diagonal",
    "column",
    "diagonal",
    "dot",
    "floats",
    "frobenius2",
    "identity",
    "kernel_of",
    "ldl_pivots",
    "mat",
    "norm2",
    "ones",
    "projector",
    "pseudo_inverse",
    "q",
    "reflection",
    "ridge_solve",
    "select",
    "stack",
    "trace",
    "zeros",
]


def q(value: object) -> fmpq:
    """Return an integer, Fraction, fmpq or string such as "3/5" as a rational."""
    if isinstance(value, fmpq):
        return value
    fraction = Fraction(value)  # type: ignore[arg-type]
    return fmpq(fraction.numerator, fraction.denominator)


def mat(rows: Sequence[Sequence[object]]) -> fmpq_mat:
    """Return the rational matrix with these rows."""
    return fmpq_mat([[q(entry) for entry in row] for row in rows])


def column(entries: Sequence[object]) -> fmpq_mat:
    """Return the rational column vector with these entries."""
    return mat([[entry] for entry in entries])


def diagonal(entries: Sequence[object]) -> fmpq_mat:
    """Return the diagonal matrix of these entries."""
    return mat([[entry if i == j else 0 for j in range(len(entries))] for i, entry in enumerate(entries)])


def identity(n: int) -> fmpq_mat:
    """Return the identity of size n."""
    return diagonal([1] * n)


def zeros(m: int, n: int) -> fmpq_mat:
    """Return the m x n zero matrix."""
    return fmpq_mat(m, n, [0] * (m * n))


def ones(m: int, n: int = 1) -> fmpq_mat:
    """Return the m x n matrix of ones."""
    return fmpq_mat(m, n, [1] * (m * n))


def select(matrix: fmpq_mat, rows: Sequence[int], columns: Sequence[int] | None = None) -> fmpq_mat:
    """Return the submatrix of the given rows and columns (all columns if none are given)."""
    columns = range(matrix.ncols()) if columns is None else columns
    return fmpq_mat(len(rows), len(columns), [matrix[i, j] for i in rows for j in columns])


def stack(*matrices: fmpq_mat) -> fmpq_mat:
    """Return the matrices, which share their number of columns, one above the other."""
    return fmpq_mat([row for matrix in matrices for row in matrix.tolist()])


def block_diagonal(*matrices: fmpq_mat) -> fmpq_mat:
    """Return the direct sum of square matrices."""
    size = sum(matrix.nrows() for matrix in matrices)
    total, start = zeros(size, size), 0
    for matrix in matrices:
        for i in range(matrix.nrows()):
            for j in range(matrix.ncols()):
                total[start + i, start + j] = matrix[i, j]
        start += matrix.nrows()
    return total


def trace(matrix: fmpq_mat) -> fmpq:
    """Return the sum of the diagonal."""
    return sum((matrix[i, i] for i in range(matrix.nrows())), fmpq(0))


def dot(left: fmpq_mat, right: fmpq_mat) -> fmpq:
    """Return the sum of the products of corresponding entries."""
    return sum((a * b for a, b in zip(left.entries(), right.entries(), strict=True)), fmpq(0))


def frobenius2(matrix: fmpq_mat) -> fmpq:
    """Return the squared Frobenius norm."""
    return dot(matrix, matrix)


norm2 = frobenius2


def floats(matrix: fmpq_mat) -> np.ndarray:
    """Return the matrix in float64; entries are rounded once."""
    return np.array([float(entry) for entry in matrix.entries()]).reshape(matrix.nrows(), matrix.ncols())


def _pivots(matrix: fmpq_mat) -> tuple[fmpq_mat, list[int]]:
    reduced, rank = matrix.rref()
    columns = [next(j for j in range(matrix.ncols()) if reduced[i, j] != 0) for i in range(rank)]
    return select(reduced, range(rank)), columns


def projector(rows: fmpq_mat) -> fmpq_mat:
    """Return the orthogonal projector onto the span of the rows, whatever their rank."""
    basis, _ = _pivots(rows)
    if basis.nrows() == 0:
        return zeros(rows.ncols(), rows.ncols())
    return basis.transpose() * (basis * basis.transpose()).inv() * basis


def pseudo_inverse(matrix: fmpq_mat) -> fmpq_mat:
    """Return the Moore-Penrose inverse from the rank factorisation matrix = C F."""
    f, columns = _pivots(matrix)
    if not columns:
        return zeros(matrix.ncols(), matrix.nrows())
    c = select(matrix, range(matrix.nrows()), columns)
    return f.transpose() * (f * f.transpose()).inv() * (c.transpose() * c).inv() * c.transpose()


def kernel_of(matrix: fmpq_mat) -> fmpq_mat:
    """Return matrix times its transpose."""
    return matrix * matrix.transpose()


def ridge_solve(kernel: fmpq_mat, right: fmpq_mat, lam: object) -> fmpq_mat:
    """Return the solution of (kernel + lam I) x = right."""
    return (kernel + identity(kernel.nrows()) * q(lam)).solve(right)


def reflection(vector: Sequence[object]) -> fmpq_mat:
    """Return I - 2 v v^T / |v|^2: a rational orthogonal matrix (the identity for v = 0)."""
    v = column(vector)
    length = norm2(v)
    return identity(v.nrows()) if length == 0 else identity(v.nrows()) - v * v.transpose() * (fmpq(2) / length)


def ldl_pivots(matrix: fmpq_mat) -> list[fmpq]:
    """Return pivots that are all >= 0 exactly when the symmetric matrix is positive semi-definite.

    A zero pivot with a non-zero entry e in its row means a 2 x 2 minor -e^2 < 0; -|e| is returned for it.
    """
    work, pivots = mat(matrix.tolist()), []
    n = work.nrows()
    for k in range(n):
        pivot = work[k, k]
        if pivot == 0:
            rest = max((abs(work[k, j]) for j in range(k + 1, n)), default=fmpq(0))
            pivots.append(-rest)
            continue
        pivots.append(pivot)
        for i in range(k + 1, n):
            factor = work[i, k] / pivot
            for j in range(k, n):
                work[i, j] -= factor * work[k, j]
    return pivots
