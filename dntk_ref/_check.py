"""The refusals: each function gives back what it checked, as float64 where it is a number, or raises one line."""

from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "IntArray",
    "array",
    "basis",
    "below_one",
    "choice",
    "fraction",
    "generator",
    "integer",
    "kernel",
    "matrix",
    "nonnegative",
    "partition",
    "positive",
    "probabilities",
    "projector",
    "ridge_problem",
    "scalar",
    "semidefinite",
    "square",
    "vector",
]

Array: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

# Symmetry, idempotence and orthonormality are asked for up to this share of the largest entry: what a chain of a few
# dozen float64 products leaves behind, and far below any difference a caller could mean.
ROUNDING = 1e-8


def _refuse(name: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"{name}: expected {expected}, got {got}")


def _numeric(name: str, value: Any) -> NDArray[Any]:
    """An array of real numbers, before its values are looked at."""
    try:
        found = np.asarray(value)
    except ValueError as cause:  # ragged nested sequences
        raise TypeError(f"{name}: expected real numbers, got a ragged sequence") from cause
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {found.dtype}")
    return found


def array(name: str, value: Any, ndim: int) -> Array:
    """A finite, non-empty float64 array with `ndim` axes."""
    found = _numeric(name, value).astype(np.float64, copy=False)
    if found.ndim != ndim:
        _refuse(name, f"{ndim} axes", f"shape {found.shape}")
    if found.size == 0:
        _refuse(name, "at least one entry", f"shape {found.shape}")
    if not np.isfinite(found).all():
        _refuse(name, "finite entries", f"{np.count_nonzero(~np.isfinite(found))} that are NaN or infinite")
    return found


def matrix(name: str, value: Any, *, rows: int | None = None, columns: int | None = None) -> Array:
    """A finite, non-empty float64 matrix, with the stated numbers of rows and columns where they are given."""
    found = array(name, value, 2)
    if rows is not None and found.shape[0] != rows:
        _refuse(name, f"{rows} rows", f"shape {found.shape}")
    if columns is not None and found.shape[1] != columns:
        _refuse(name, f"{columns} columns", f"shape {found.shape}")
    return found


def square(name: str, value: Any, *, size: int | None = None) -> Array:
    """A finite square matrix, of the stated size where it is given."""
    found = matrix(name, value, rows=size)
    if found.shape[0] != found.shape[1]:
        _refuse(name, "a square matrix", f"shape {found.shape}")
    return found


def kernel(name: str, value: Any, *, size: int | None = None) -> Array:
    """A finite symmetric matrix; its sign is judged where its eigenvalues are computed."""
    found = square(name, value, size=size)
    asymmetry = float(np.abs(found - found.T).max())
    if asymmetry > ROUNDING * float(np.abs(found).max()):
        _refuse(name, "a symmetric matrix", f"|K - K^T| up to {asymmetry:.3g}")
    return found


def semidefinite(name: str, eigenvalues: Any) -> Array:
    """Eigenvalues of a positive semi-definite matrix, what rounding left below zero clipped."""
    found = np.asarray(eigenvalues, dtype=np.float64)
    low, high = float(found.min()), float(found.max())
    if low < -ROUNDING * max(abs(low), abs(high)):
        _refuse(name, "no negative eigenvalue", f"{low:.6g} beside {high:.6g}")
    return np.clip(found, 0.0, None)


def spectrum(name: str, value: Any, *, size: int | None = None) -> Array:
    """Eigenvalues of a positive semi-definite matrix, largest first."""
    return semidefinite(name, np.linalg.eigvalsh(kernel(name, value, size=size))[::-1])


def projector(name: str, value: Any, *, size: int | None = None) -> Array:
    """An orthogonal projector: symmetric and idempotent."""
    found = kernel(name, value, size=size)
    excess = float(np.abs(found @ found - found).max())
    if excess > ROUNDING:
        _refuse(name, "an orthogonal projector", f"|P P - P| up to {excess:.3g}")
    return found


def basis(name: str, value: Any, *, rows: int | None = None) -> Array:
    """Orthonormal columns, in R^rows where that is given; there may be none of them."""
    raw = _numeric(name, value).astype(np.float64, copy=False)
    if raw.ndim == 2 and raw.shape[0] and raw.shape[1] == 0 and rows in (None, raw.shape[0]):
        return raw
    found = matrix(name, raw, rows=rows)
    excess = float(np.abs(found.T @ found - np.eye(found.shape[1])).max())
    if excess > ROUNDING:
        _refuse(name, "orthonormal columns", f"|B^T B - I| up to {excess:.3g}")
    return found


def vector(name: str, value: Any, length: int | None = None) -> Array:
    """A finite, non-empty float64 vector, of the stated length where it is given."""
    found = array(name, value, 1)
    if length is not None and found.size != length:
        _refuse(name, f"length {length}", f"length {found.size}")
    return found


def probabilities(name: str, value: Any, count: int) -> Array:
    """Probabilities of `count` events; None stands for equal ones."""
    if value is None:
        return np.full(count, 1 / count)
    found = vector(name, value, count)
    if found.min() < 0 or abs(found.sum() - 1) > ROUNDING:
        _refuse(name, "numbers that are 0 or above with sum 1", f"minimum {found.min():.6g} and sum {found.sum():.6g}")
    return found


def scalar(name: str, value: Any) -> float:
    """A finite real number, no bool."""
    if _numeric(name, value).dtype.kind == "b":
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    return float(array(name, value, 0))


def positive(name: str, value: Any) -> float:
    """A finite number above zero."""
    found = scalar(name, value)
    if found <= 0:
        _refuse(name, "a number above 0", found)
    return found


def nonnegative(name: str, value: Any) -> float:
    """A finite number, zero or above."""
    found = scalar(name, value)
    if found < 0:
        _refuse(name, "a number that is 0 or above", found)
    return found


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    found = scalar(name, value)
    if not 0 <= found <= 1:
        _refuse(name, "a number in [0, 1]", found)
    return found


def below_one(name: str, value: Any) -> float:
    """A number in [0, 1)."""
    found = scalar(name, value)
    if not 0 <= found < 1:
        _refuse(name, "a number in [0, 1)", found)
    return found


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer (no bool, no float) in [low, high]."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < low or (high is not None and value > high):
        _refuse(name, f"an integer in [{low}, {'inf' if high is None else high}]", value)
    return int(value)


def partition(name: str, value: Any, n: int) -> IntArray:
    """One integer cluster label for each of n rows."""
    found = _numeric(name, value)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got dtype {found.dtype}")
    if found.shape != (n,):
        _refuse(name, f"shape ({n},)", f"shape {found.shape}")
    return found.astype(np.int64, copy=False)


def generator(name: str, value: Any) -> np.random.Generator:
    """A NumPy random generator; nothing here makes one of its own."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name}: expected a numpy.random.Generator, got {type(value).__name__}")
    return value


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """One of the allowed words."""
    if value not in allowed:
        _refuse(name, f"one of {', '.join(allowed)}", repr(value))
    return value


def ridge_problem(features: Any, targets: Any, weights: Any, lam: Any) -> tuple[Array, Array, Array, float]:
    """Features (n, P), targets (n,), weights (P,) and a ridge above zero, as float64."""
    Phi, lam = matrix("features", features), positive("lam", lam)
    return Phi, vector("targets", targets, len(Phi)), vector("weights", weights, Phi.shape[1]), lam
