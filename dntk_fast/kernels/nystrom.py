"""The Nystroem approximation of a kernel by a synthesis, K_U = K U (U^T K U)^+ U^T K, and the bases it stands on."""

from __future__ import annotations

from dntk_fast._arrays import RTOL, Array, double, eigh, namespace, symmetrised, transpose

__all__ = ["inverse_root", "nystrom_factor", "orthonormal_columns"]


def inverse_root(matrix: Array, rtol: float = RTOL) -> Array:
    """A root R of the pseudo-inverse, R R^T = A^+, of positive semidefinite A up to rounding; in float64.

    Eigenvalues up to `rtol` times the largest count as zero.
    Parameters: matrix (C, n, n) or (n, n). Returns: the same shape.

    >>> import numpy as np
    >>> abs(inverse_root(np.asarray([[4.0, 0.0], [0.0, 0.0]]))).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    xp = namespace(matrix)
    values, vectors = eigh(symmetrised(matrix), rounding=float("inf"))
    keep = values > rtol * values[..., :1]
    root = xp.where(keep, 1.0 / xp.sqrt(xp.where(keep, values, xp.ones_like(values))), xp.zeros_like(values))
    return vectors * root[..., None, :]


def nystrom_factor(kernel: Array, synthesis: Array) -> Array:
    """A factor F with F F^T = K_U = K U (U^T K U)^+ U^T K, (C, n, m) in float64 [WilliamsSeeger2001].

    Eigenvalues of U^T K U up to 1e-12 of the largest count as zero, or up to the rounding of a float32 kernel; so does
    zero padding of U.
    Parameters: kernel (C, n, n) or (n, n), synthesis (C, n, m) or (n, m).

    >>> import numpy as np
    >>> abs(nystrom_factor(np.asarray([[4.0, 2.0], [2.0, 2.0]]), np.asarray([[1.0], [0.0]]))).tolist()
    [[2.0], [1.0]]
    """
    U = double(synthesis)
    KU = double(kernel) @ U
    eps = float(namespace(kernel, synthesis).finfo(kernel.dtype).eps)
    return KU @ inverse_root(transpose(U) @ KU, max(RTOL, 10 * eps))


def orthonormal_columns(synthesis: Array) -> Array:
    """U (U^T U)^-1/2 on the range of U; dependent and zero columns leave zero columns.

    Parameters: synthesis (C, n, m) or (n, m), float64. Returns: the same shape.

    >>> import numpy as np
    >>> abs(orthonormal_columns(np.asarray([[2.0, 2.0], [0.0, 0.0]]))).round(12).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return synthesis @ inverse_root(transpose(synthesis) @ synthesis)
