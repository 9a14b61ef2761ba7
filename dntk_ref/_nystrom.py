"""A kernel and a synthesis U: K = K_U + (K - K_U) with K_U = K U (U^T K U)^+ U^T K, each part the square of a factor.

With square-root features Phi, K = Phi Phi^T, it is K_U = Phi Pi Phi^T, Pi the orthogonal projector on range(Phi^T U). From
kernel entries as printed, rounding breaks 0 <= K_U <= K where U^T K U is ill-conditioned; squares of factors keep it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array

__all__ = ["Parts", "parts"]


@dataclass(frozen=True)
class Parts:
    """K_U = kept kept^T and K - K_U = missed missed^T, (n, r) and (n, n)."""

    kept: Array
    missed: Array


def parts(kernel: Any, basis: Any, rtol: float) -> Parts:
    """Both parts for a synthesis whose columns are orthonormal.

    Phi = V diag(lambda)^1/2, Pi = D D^T with D the left singular vectors of Phi^T U; Phi D and Phi (I - Pi).

    Parameters: `kernel` (n, n), `basis` U (n, m), `rtol` the share of the largest eigenvalue of U^T K U below which an
    eigenvalue counts as zero. Returns: Parts. Raises: ValueError, TypeError.

    >>> abs(parts([[4.0, 2.0], [2.0, 2.0]], [[1.0], [0.0]], 1e-12).kept).round(12).tolist()
    [[2.0], [1.0]]
    """
    K, rtol = _check.kernel("kernel", kernel), _check.fraction("rtol", rtol)
    values, vectors = np.linalg.eigh(K)
    values = _check.semidefinite("kernel", values)
    rounding = values.size * np.finfo(np.float64).eps * values.max()
    Phi = vectors * np.sqrt(np.where(values > rounding, values, 0.0))
    directions, sigma, _ = np.linalg.svd(Phi.T @ _check.basis("basis", basis, rows=len(K)), full_matrices=False)
    directions = directions[:, sigma**2 > rtol * np.max(sigma, initial=0.0) ** 2]
    kept = Phi @ directions
    return Parts(kept, Phi - kept @ directions.T)
