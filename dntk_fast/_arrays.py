"""One code path for NumPy, torch, CuPy and array-API arrays: what the standard lacks, and the float64 core.

Small decompositions run in float64 whatever comes in: a float32 Cholesky of a kernel with fewer features than rows
breaks down, and float32 eigenvalues keep only about 5e-4 of the largest one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import scipy.linalg
import torch
from array_api_compat import array_namespace, device, is_cupy_array, is_numpy_array, is_torch_array

__all__ = [
    "RTOL",
    "Array",
    "Namespace",
    "apply",
    "diagonal",
    "double",
    "eigenvalues",
    "eigh",
    "from_numpy",
    "gram",
    "identity",
    "integers",
    "namespace",
    "orthonormal_rows",
    "pack_columns",
    "restore",
    "solve_positive",
    "symmetrised",
    "to_numpy",
    "transpose",
]

Array: TypeAlias = Any  # any array that array_api_compat knows: the kinds share no base class
Namespace: TypeAlias = Any

# A direction counts when its squared singular value is above this share of the largest: float64 leaves 1e-16 of it.
RTOL = 1e-12
# Rows up to which a decomposition runs on one thread.
SMALL = 2048
NOT_POSITIVE = "the regularised matrix is not positive definite in float64: give a larger lam"


def namespace(*arrays: Array) -> Namespace:
    """The array-API namespace that the arrays share."""
    return array_namespace(*arrays)


def double(x: Array) -> Array:
    """The array in float64, of the same kind and on the same device."""
    xp = namespace(x)
    return xp.astype(x, xp.float64, copy=False)


def restore(x: Array, like: Array) -> Array:
    """The array in the dtype of `like`."""
    return namespace(x).astype(x, like.dtype, copy=False)


def to_numpy(x: Array) -> np.ndarray:
    """The array on the host, as NumPy."""
    if is_torch_array(x):
        x = x.detach().cpu()
    return np.asarray(x.get() if is_cupy_array(x) else x)


def from_numpy(values: np.ndarray, like: Array) -> Array:
    """A NumPy array as the kind and on the device of `like`; real numbers take its dtype, integers stay integers."""
    dtype = like.dtype if values.dtype.kind == "f" else None
    return namespace(like).asarray(values, dtype=dtype, device=device(like))


def integers(n: int, like: Array) -> Array:
    """0, 1, ..., n - 1 of the kind and on the device of `like`."""
    xp = namespace(like)
    return xp.arange(n, dtype=xp.int64, device=device(like))


def transpose(x: Array) -> Array:
    """The transpose of every matrix of a batch."""
    return namespace(x).matrix_transpose(x)


def identity(n: int, like: Array) -> Array:
    """The float64 identity matrix of the kind and on the device of `like`."""
    xp = namespace(like)
    return xp.eye(n, dtype=xp.float64, device=device(like))


def diagonal(x: Array) -> Array:
    """The diagonal of every matrix of a batch."""
    return namespace(x).linalg.diagonal(x)


def apply(matrix: Array, vector: Array) -> Array:
    """One matrix-vector product per class."""
    return (matrix @ vector[..., None])[..., 0]


def gram(features: Array) -> Array:
    """Phi Phi^T of every class, in float64."""
    rows = double(features)
    return rows @ transpose(rows)


def eigh(matrix: Array, *, rounding: float | None = None) -> tuple[Array, Array]:
    """Eigenvalues (descending, clipped at 0) and eigenvectors of positive semidefinite matrices, in float64.

    What lies below zero by more than `rounding` times the largest is refused; None allows a kernel summed in its own
    dtype, or in float32 and then widened.
    """
    xp = namespace(matrix)
    with _few_threads(matrix):
        values, vectors = xp.linalg.eigh(double(matrix))
    return _descending(values, _allowed(matrix) if rounding is None else rounding), xp.flip(vectors, axis=-1)


def eigenvalues(matrix: Array) -> Array:
    """Eigenvalues alone, descending, clipped and refused as by `eigh`, in float64."""
    with _few_threads(matrix):
        values = namespace(matrix).linalg.eigvalsh(double(matrix))
    return _descending(values, _allowed(matrix))


@contextmanager
def _few_threads(matrix: Array) -> Iterator[None]:
    # An eigendecomposition of a small matrix meets thousands of barriers. Where another process holds a core, each of
    # them waits for a time slice: two threads on a busy machine were seen to take 30 times as long as one. One thread
    # loses little below about two thousand rows.
    threads = torch.get_num_threads()
    alone = is_torch_array(matrix) and matrix.device.type == "cpu" and threads > 1 and matrix.shape[-1] <= SMALL
    if alone:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if alone:
            torch.set_num_threads(threads)


def _allowed(matrix: Array) -> float:
    return float(max(1e-6, float(namespace(matrix).finfo(matrix.dtype).eps) ** 0.5))


def _descending(values: Array, rounding: float) -> Array:
    xp = namespace(values)
    if rounding < float("inf") and bool(xp.any(values[..., 0] < -rounding * xp.max(xp.abs(values), axis=-1))):
        raise ValueError(f"kernel: expected no negative eigenvalue, got {float(xp.min(values[..., 0])):.6g}")
    return xp.clip(xp.flip(values, axis=-1), min=0.0)


def orthonormal_rows(rows: Array, rtol: float = RTOL) -> tuple[Array, Array]:
    """An orthonormal basis of the span of the rows, padded with zero rows, and its dimension; in float64.

    Directions with squared singular value up to `rtol` times the largest are dropped.
    """
    xp = namespace(rows)
    _, values, basis = xp.linalg.svd(double(rows), full_matrices=False)
    energy = values**2
    keep = energy > rtol * xp.max(energy, axis=-1, keepdims=True)
    return xp.where(keep[..., None], basis, xp.zeros_like(basis)), xp.sum(xp.astype(keep, xp.int64), axis=-1)


def symmetrised(matrix: Array) -> Array:
    """The symmetric part of matrices that rounding has made slightly unsymmetric."""
    return (matrix + transpose(matrix)) / 2


def pack_columns(columns: Array, keep: Array) -> Array:
    """The kept columns of every matrix moved to the front in order, zero-padded to the largest number of any class."""
    xp = namespace(columns)
    order = xp.argsort(xp.astype(~keep, xp.int64), axis=-1, stable=True)
    width = int(xp.max(xp.sum(xp.astype(keep, xp.int64), axis=-1)))
    order, kept = order[..., None, :width], xp.take_along_axis(keep, order, axis=-1)[..., None, :width]
    order = xp.broadcast_to(order, (*columns.shape[:-1], width))
    packed = xp.take_along_axis(columns, order, axis=-1)
    return xp.where(kept, packed, xp.zeros_like(packed))


def solve_positive(matrix: Array, right: Array) -> Array:
    """Solutions of A X = B for positive definite A, batched, by Cholesky in float64.

    The array API has no triangular solve, so each kind uses its own; the plain solver serves where there is none.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where a matrix is not positive definite in float64; a larger ridge cures it.
    """
    xp = namespace(matrix, right)
    A, B = double(matrix), double(right)
    if is_torch_array(A):
        factor, failed = torch.linalg.cholesky_ex(A)
        if bool(failed.any()):
            raise np.linalg.LinAlgError(NOT_POSITIVE)
        return torch.cholesky_solve(B, factor)
    try:
        factor = xp.linalg.cholesky(A)
    except np.linalg.LinAlgError as cause:
        raise np.linalg.LinAlgError(NOT_POSITIVE) from cause
    if not bool(xp.all(xp.isfinite(factor))):  # CuPy fills with NaN instead of raising
        raise np.linalg.LinAlgError(NOT_POSITIVE)
    if is_numpy_array(factor):
        flat = zip(factor.reshape(-1, *factor.shape[-2:]), B.reshape(-1, *B.shape[-2:]), strict=True)
        return np.stack([scipy.linalg.cho_solve((L, True), b) for L, b in flat]).reshape(B.shape)
    return xp.linalg.solve(A, B)
