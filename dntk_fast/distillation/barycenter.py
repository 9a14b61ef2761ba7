"""The Wasserstein barycentre of one class's features as optimal quantisation (4.1, C.5): weighted k-means.

For one measure with free weights and free support the barycentre is k-means: no coupling costs less than the nearest
support point, and the nearest-point map is a coupling with the Voronoi weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from dntk_fast import _check
from dntk_fast._arrays import Array, double, from_numpy, namespace, to_numpy, transpose
from dntk_fast.tangent.isolation import Quiet

__all__ = ["Barycenter", "barycenter", "quantisation_cost"]

_QUIET = Quiet("Number of distinct clusters", UserWarning)  # fewer distinct rows than m: said in the answer's shape

# k-means finds a local minimum; this many seeded starts, the best kept.
STARTS = 10


@dataclass(frozen=True, eq=False)
class Barycenter:
    """Support points (m, d), their weights (m,) that sum to 1, and the squared transport cost from the data."""

    points: Array
    weights: Array
    cost: float


def barycenter(points: Array, m: int, *, seed: int, starts: int = STARTS) -> Barycenter:
    """The free-weight, free-support W_2 barycentre of one measure, by scikit-learn's k-means.

    min over b and w of W_2^2((1/n) sum_i delta_{z_i}, sum_j w_j delta_{b_j}); a local minimum, the best of `starts`.
    Parameters: points (n, d), 1 <= m <= n, seed, starts. Returns: Barycenter with at most m points: fewer where fewer
    rows are distinct. Raises: ValueError, TypeError.

    >>> found = barycenter(np.asarray([[0.0], [2.0], [9.0]]), 2, seed=0)
    >>> sorted(found.points[:, 0].tolist()), sorted(found.weights.round(6).tolist()), round(found.cost, 6)
    ([1.0, 9.0], [0.333333, 0.666667], 0.666667)
    """
    Z = to_numpy(double(_check.rows("points", points, ndim=2)))
    n = len(Z)
    m, seed, starts = _check.integer("m", m, 1, n), _check.seed(seed), _check.integer("starts", starts, 1)
    from sklearn.cluster import KMeans  # here, for the estimator does without it where images are chosen

    with _QUIET.held(), threadpool_limits(1):  # as in _rows: small products lose by threads on a busy machine
        labels = KMeans(m, n_init=starts, random_state=seed % 2**32).fit_predict(Z)
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.bincount(labels)
    # The means once more in full precision: a support point is the mean of the points nearest to it.
    means = np.zeros((counts.size, Z.shape[1]))
    np.add.at(means, labels, Z)
    means /= counts[:, None]
    support, weights = from_numpy(means, points), from_numpy(counts / n, points)
    return Barycenter(support, weights, float(np.mean(np.sum((Z - means[labels]) ** 2, axis=1))))


def quantisation_cost(points: Array, support: Array) -> float:
    """The k-means distortion (1/n) sum_i min_j |z_i - b_j|^2 = min_w W_2^2(mu, sum_j w_j delta_{b_j}) (4.1).

    Parameters: points (n, d), support (m, d). Returns: a number. Raises: ValueError, TypeError.

    >>> quantisation_cost(np.asarray([[0.0], [4.0]]), np.asarray([[1.0]]))
    5.0
    """
    Z = double(_check.rows("points", points, ndim=2))
    B = double(_check.array_like("support", _check.rows("support", support), points, (None, Z.shape[1])))
    xp = namespace(Z)
    # The expanded square finds the nearest point, the difference then gives its distance in all digits.
    nearest = xp.argmin(xp.sum(B**2, axis=-1)[None, :] - 2.0 * (Z @ transpose(B)), axis=-1)
    return float(xp.mean(xp.sum((Z - xp.take(B, nearest, axis=0)) ** 2, axis=-1)))
