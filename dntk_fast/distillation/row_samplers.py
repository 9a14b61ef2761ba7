"""Choosing rows of the data: the samplers that Algorithm 1 is compared with. Batched kernels give each class its rows.

A class gets the same rows alone as in a batch: every class starts from the same seed.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from dntk_fast import _check
from dntk_fast._arrays import Array, diagonal, double, from_numpy, identity, integers, namespace, to_numpy
from dntk_fast.kernels.ridge import leverage
from dntk_fast.tangent.isolation import Quiet

__all__ = ["farthest_point_rows", "kmeans_rows", "leverage_rows", "random_rows", "selection"]

_QUIET = Quiet("Number of distinct clusters", UserWarning)  # fewer distinct points than means: filled up below


def random_rows(n: int, m: int, *, seed: int) -> np.ndarray:
    """Draw m of n rows, uniformly and without repetition, in ascending order.

    Parameters: 1 <= m <= n, seed. Returns: (m,) NumPy integers. Raises: ValueError, TypeError.

    >>> random_rows(3, 3, seed=0).tolist()
    [0, 1, 2]
    """
    n = _check.integer("n", n, 1)
    rng = np.random.default_rng(_check.seed(seed))
    return np.sort(rng.choice(n, _check.integer("m", m, 1, n), replace=False))


def leverage_rows(kernel: Array, m: int, *, lam: float | Array, seed: int) -> Array:
    """Draw m rows in turn, without repetition, with probability proportional to the ridge leverage; ascending.

    Parameters: kernel (C, n, n) or (n, n), 1 <= m <= n, lam > 0, seed. Returns: integers (C, m) or (m,).
    Raises: ValueError, also for m above the number of rows with a leverage above zero, and TypeError.

    >>> leverage_rows(np.asarray([[1.0, 0.0], [0.0, 0.0]]), 1, lam=1.0, seed=0).tolist()
    [0]
    """
    return draw_rows(leverage(kernel, lam), m, seed=seed)


def draw_rows(scores: Array, m: int, *, seed: int) -> Array:
    """Draw m rows in turn, without repetition, with probability proportional to their scores; ascending.

    Parameters: scores (C, n) or (n,), none below 0. Returns: integers (C, m) or (m,). Raises: as `leverage_rows`.
    """
    chances, seed = to_numpy(double(scores)), _check.seed(seed)
    m = _check.integer("m", m, 1, int(np.count_nonzero(chances, axis=-1).min()))

    def draw(p: np.ndarray) -> np.ndarray:
        return np.sort(np.random.default_rng(seed).choice(p.size, m, replace=False, p=p / p.sum()))

    return from_numpy(np.apply_along_axis(draw, -1, chances), scores)


def kmeans_rows(kernel: Array, m: int, *, seed: int, starts: int = 1) -> Array:
    """The medoid of every cluster of k-means in feature space, its row nearest to the mean; ascending.

    Parameters: kernel (C, n, n) or (n, n), 1 <= m <= n, seed, starts: seeded runs of which the best is kept.
    Returns: integers (C, m) or (m,). Raises: ValueError, TypeError.

    >>> kmeans_rows(np.diag([0.0, 1.0, 90.0]), 3, seed=0).tolist()
    [0, 1, 2]
    """
    return medoid_rows(feature_points(_check.symmetric("kernel", kernel)), m, seed=seed, starts=starts)


def feature_points(kernel: Array) -> Array:
    """Points with the distances of feature space: the rows of a Cholesky factor of K + delta I, (C, n, n) or (n, n).

    The shift keeps Cholesky alive on a singular kernel. It adds 2 delta to every squared distance between rows, hence
    delta (n - m) to the k-means objective of every partition into m: the minimiser is the same.
    """
    K, n = double(kernel), kernel.shape[-1]
    xp = namespace(K)
    scale = xp.max(diagonal(K), axis=-1)
    delta = (1e-10 + 10 * n * float(xp.finfo(kernel.dtype).eps)) * xp.where(scale > 0, scale, xp.ones_like(scale))
    return xp.linalg.cholesky(K + delta[..., None, None] * identity(n, K))


def medoid_rows(points: Array, m: int, *, seed: int, starts: int = 1) -> Array:
    """What `kmeans_rows` finds from points (C, n, d) or (n, d); first rows fill up where too few points are distinct."""
    n, d = points.shape[-2:]
    m, seed, starts = _check.integer("m", m, 1, n), _check.seed(seed), _check.integer("starts", starts, 1)
    # products of a few rows gain nothing from threads, and lose much where another process holds a core
    with threadpool_limits(1):
        rows = [_medoids(Z, m, seed, starts) for Z in to_numpy(points).reshape(-1, n, d)]
    return from_numpy(np.stack(rows).reshape(*points.shape[:-2], m), points)


def farthest_point_rows(kernel: Array, m: int, *, start: int | None = None) -> Array:
    """Greedy farthest points in feature space, in the order they are found: argmax_i min_{s in S} |phi_i - phi_s|^2.

    Parameters: kernel (C, n, n) or (n, n), 1 <= m <= n, start: the first row, by default that of the longest gradient.
    Returns: integers (C, m) or (m,). Raises: ValueError, TypeError.

    >>> farthest_point_rows(np.diag([0.0, 1.0, 4.0]), 2).tolist()
    [2, 1]
    """
    K = double(_check.symmetric("kernel", kernel))
    xp, n, m = namespace(K), K.shape[-1], _check.integer("m", m, 1, K.shape[-1])
    norms, places = diagonal(K), integers(K.shape[-1], K)
    new = xp.argmax(norms, axis=-1)
    if start is not None:
        new = xp.full_like(new, _check.integer("start", start, 0, n - 1))
    rows, nearest = [new], xp.full_like(norms, float("inf"))
    for _ in range(m - 1):
        column = xp.take_along_axis(K, xp.broadcast_to(new[..., None, None], (*K.shape[:-1], 1)), axis=-1)[..., 0]
        own = xp.take_along_axis(norms, new[..., None], axis=-1)
        nearest = xp.minimum(nearest, norms + own - 2.0 * column)
        # Never twice, even where rows repeat and every distance is zero.
        nearest = xp.where(places == new[..., None], xp.full_like(nearest, -float("inf")), nearest)
        new = xp.argmax(nearest, axis=-1)
        rows.append(new)
    return xp.stack(rows, axis=-1)


def selection(n: int, rows: Array) -> Array:
    """The synthesis matrix of chosen rows: U = [e_i for i in rows], so that U^T Phi = Phi[rows].

    Parameters: n, rows (C, m) or (m,): distinct integers in 0..n-1. Returns: float64 (C, n, m) or (n, m) of the kind of
    `rows`. Raises: ValueError for a row outside or repeated, TypeError.

    >>> selection(3, np.asarray([2, 0])).tolist()
    [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    n, chosen = _check.integer("n", n, 1), _check.distinct("rows", rows, n)
    return double(integers(n, chosen)[:, None] == chosen[..., None, :])


def _medoids(points: np.ndarray, m: int, seed: int, starts: int) -> np.ndarray:
    from sklearn.cluster import KMeans  # here, for the other samplers do without it

    with _QUIET.held():
        found = KMeans(m, n_init=starts, random_state=seed % 2**32).fit(points)
    own = found.labels_[:, None] == np.arange(m)
    distance = np.where(own, found.transform(points), np.inf)
    medoids = np.argmin(distance, axis=0)[own.any(axis=0)]
    rest = np.setdiff1d(np.arange(len(points)), medoids)
    return np.sort(np.concatenate([medoids, rest[: m - medoids.size]]))
