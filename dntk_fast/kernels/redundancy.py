"""Data and parameter redundancy of all classes at once: Definitions 3.1 and 3.2 (R1).

Kernels are (C, n, n), or (n, n) for one class; answers keep the leading axes, and one class gives 0-d arrays.
Eigenvalues are computed in float64 whatever comes in.
"""

from dntk_fast import _check
from dntk_fast._arrays import Array, double, eigenvalues, integers, namespace, restore

__all__ = [
    "parameter_redundancy",
    "participation_ratio",
    "spectrum",
    "truncation_rank",
    "truncation_rank_of_spectrum",
]

# Partial sums of a rotated spectrum differ by rounding from those of the spectrum itself: 1e-15 miscounts.
COMPARISON = 1e-12


def spectrum(kernel: Array) -> Array:
    """The eigenvalues of every class kernel, largest first, round-off below zero clipped.

    Parameters: kernel (C, n, n) or (n, n). Returns: (C, n) or (n,). Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> spectrum(np.asarray([[1.0, 0.0], [0.0, 4.0]])).tolist()
    [4.0, 1.0]
    """
    return restore(eigenvalues(_check.symmetric("kernel", kernel)), kernel)


def truncation_rank(kernel: Array, epsilon: float) -> Array:
    """The truncation rank r_eps = min{r : sum_{i <= r} lambda_i >= (1 - eps) sum_i lambda_i} (Definition 3.1).

    Parameters: kernel (C, n, n) or (n, n), epsilon in [0, 1]. Returns: integers (C,) or 0-d; 0 for K = 0.
    Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> int(truncation_rank(np.asarray([[1.0, 0.6], [0.6, 1.0]]), 0.2))
    1
    """
    return truncation_rank_of_spectrum(eigenvalues(_check.symmetric("kernel", kernel)), epsilon)


def truncation_rank_of_spectrum(eigenvalues: Array, epsilon: float) -> Array:
    """The truncation rank from eigenvalues (Definition 3.1).

    Parameters: eigenvalues (C, n) or (n,), none below 0, in any order, epsilon in [0, 1]. Returns: integers (C,) or
    0-d. Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> int(truncation_rank_of_spectrum(np.asarray([8.0, 1.0, 1.0]), 0.1))
    2
    """
    values, epsilon = double(_check.rows("eigenvalues", eigenvalues, least=1)), _check.fraction("epsilon", epsilon)
    xp = namespace(values)
    if bool(xp.any(values < 0)):
        _check.refuse("eigenvalues", "numbers that are 0 or above", f"down to {float(xp.min(values)):.6g}")
    captured = xp.cumulative_sum(xp.sort(values, axis=-1, descending=True), axis=-1, include_initial=True)
    short = captured < (1.0 - epsilon) * (1.0 - COMPARISON) * captured[..., -1:]
    return xp.sum(xp.astype(short, xp.int64), axis=-1)


def parameter_redundancy(kernel: Array, rank: int) -> Array:
    """The relative error of the best `rank`-dimensional parameter subspace (Definition 3.2, R1).

    |K - K_V|_F / |K|_F = (sum_{i > rank} lambda_i^2 / sum_i lambda_i^2)^(1/2), the optimal V; 0 for K = 0.
    Parameters: kernel (C, n, n) or (n, n), 0 <= rank <= n. Returns: (C,) or 0-d. Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> float(parameter_redundancy(np.asarray([[4.0, 0.0], [0.0, 3.0]]), 1))
    0.6
    """
    values, xp = eigenvalues(_check.symmetric("kernel", kernel)), namespace(kernel)
    squared = _share(values, xp.max(values, axis=-1, keepdims=True)) ** 2
    tail = integers(squared.shape[-1], squared) >= _check.integer("rank", rank, 0, kernel.shape[-1])
    lost = xp.sum(squared * xp.astype(tail, xp.float64), axis=-1)
    return restore(xp.sqrt(_share(lost, xp.sum(squared, axis=-1))), kernel)


def participation_ratio(kernel: Array) -> Array:
    """The participation ratio rho = (tr K)^2 / |K|_F^2, between 1 and n: the dimension that projections feel (4.2).

    Parameters: kernel (C, n, n) or (n, n). Returns: (C,) or 0-d; 0 for K = 0. Raises: ValueError, TypeError.

    >>> import numpy as np
    >>> float(participation_ratio(np.asarray([[2.0, 0.0], [0.0, 2.0]])))
    2.0
    """
    K = double(_check.symmetric("kernel", kernel))
    xp = namespace(K)
    K = _share(K, xp.max(xp.abs(K), axis=(-2, -1), keepdims=True))  # squares of tiny numbers are zero
    return restore(_share(xp.linalg.trace(K) ** 2, xp.sum(K**2, axis=(-2, -1))), kernel)


def _share(part: Array, whole: Array) -> Array:
    """The part over the whole, and 0 where both are 0."""
    xp = namespace(whole)
    return part / xp.where(whole > 0, whole, xp.ones_like(whole))
