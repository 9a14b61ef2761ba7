"""Wasserstein barycentre of one class's features as optimal quantisation, and the distillation loss (4.1, C.5).

With free weights the barycentre of one empirical measure is k-means; with fixed uniform weights it is a different
problem.
The exact transport cost by linear programming is the second route to both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from dntk_ref import _check
from dntk_ref._check import Array, IntArray

__all__ = [
    "Barycenter",
    "averaged_batch_variance",
    "barycenter",
    "feature_loss",
    "lloyd",
    "nearest",
    "pooled_variance",
    "quantisation_cost",
    "seeding",
    "statistics_loss",
    "transport_plan",
    "uniform_barycenter",
    "voronoi_weights",
    "wasserstein",
]

# k-means finds a local minimum; this many seeded starts, the best kept. Ten is the usual number for a dozen clusters.
RESTARTS = 10
# Points closer than this share of the data's root mean square, squared here, are one point up to rounding.
SAME = 1e-24


@dataclass(frozen=True)
class Barycenter:
    """Support points (m, d), their weights (m,), and the squared transport cost from the data."""

    points: Array
    weights: Array
    cost: float


def _squared_distances(points: Array, support: Array) -> Array:
    """All |z_i - b_j|^2, by differences (an expanded square would lose digits): (n, m)."""
    return np.asarray(np.sum((points[:, None, :] - support[None, :, :]) ** 2, axis=2))


def nearest(points: Any, support: Any) -> IntArray:
    """The support point nearest to each point, the smallest index on ties: argmin_j |z_i - b_j|.

    Parameters: points (n, d), support (m, d). Returns: (n,) indices. Raises: ValueError for another dimension.

    >>> nearest([[0.0], [3.0]], [[1.0], [2.0]]).tolist()
    [0, 1]
    """
    Z = _check.matrix("points", points)
    B = _check.matrix("support", support, columns=Z.shape[1])
    return np.asarray(np.argmin(_squared_distances(Z, B), axis=1), dtype=np.int64)


def quantisation_cost(points: Any, support: Any) -> float:
    """The k-means distortion (1/n) sum_i min_j |z_i - b_j|^2 = min_w W_2^2(mu, sum_j w_j delta_{b_j}), 4.1.

    Parameters: points (n, d), support (m, d). Returns: a number. Raises: ValueError for another dimension.

    >>> quantisation_cost([[0.0], [4.0]], [[1.0]])
    5.0
    """
    Z = _check.matrix("points", points)
    return float(_squared_distances(Z, _check.matrix("support", support, columns=Z.shape[1])).min(axis=1).mean())


def voronoi_weights(points: Any, support: Any) -> Array:
    """The weights at which the free-weight minimum is attained (4.1): the share of points nearest to each b_j.

    Parameters: points (n, d), support (m, d). Returns: (m,), summing to 1. Raises: ValueError for another dimension.

    >>> voronoi_weights([[0.0], [0.1], [4.0], [5.0]], [[0.0], [4.0]]).tolist()
    [0.5, 0.5]
    """
    places = nearest(points, support)
    return np.bincount(places, minlength=len(support)) / places.size


def transport_plan(points: Any, support: Any, weights: Any) -> Array:
    """An optimal coupling of (1/n) sum_i delta_{z_i} and sum_j w_j delta_{b_j}, by linear programming.

    T in argmin sum_ij T_ij |z_i - b_j|^2 over T >= 0 with row sums 1/n and column sums w.
    Parameters: points (n, d), support (m, d), weights (m,) of the simplex. Returns: (n, m).
    Raises: ValueError for weights that are negative or do not sum to 1.

    >>> transport_plan([[0.0], [4.0]], [[4.0], [0.0]], [0.5, 0.5]).argmax(axis=1).tolist()
    [1, 0]
    """
    Z = _check.matrix("points", points)
    B = _check.matrix("support", support, columns=Z.shape[1])
    n, m = len(Z), len(B)
    w = _check.vector("weights", weights, m)
    if w.min() < 0 or abs(w.sum() - 1) > _check.ROUNDING:
        raise ValueError(f"weights: expected numbers >= 0 that sum to 1, got {w.tolist()}")
    row_sums = np.kron(np.eye(n), np.ones(m))
    column_sums = np.kron(np.ones(n), np.eye(m))
    marginals = np.concatenate([np.full(n, 1 / n), w / w.sum()])
    # The last column sum follows from the others: left out, so that rounding cannot make the marginals contradict.
    constraints = np.vstack([row_sums, column_sums])[:-1]
    cost = _squared_distances(Z, B).ravel()
    # The solver's tolerances are absolute: only costs of order one are told apart from zero, or reach it at all.
    cost = cost / (cost.max() or 1.0)
    solution = linprog(cost, A_eq=constraints, b_eq=marginals[:-1], method="highs")
    return np.asarray(solution.x, dtype=np.float64).reshape(n, m)


def wasserstein(points: Any, support: Any, weights: Any) -> float:
    """The **squared** distance W_2^2((1/n) sum_i delta_{z_i}, sum_j w_j delta_{b_j}), by linear programming.

    Parameters: points (n, d), support (m, d), weights (m,) of the simplex. Returns: a number.
    Raises: ValueError for weights that are negative or do not sum to 1.

    >>> wasserstein([[0.0], [4.0]], [[1.0]], [1.0])
    5.0
    """
    plan = transport_plan(points, support, weights)
    Z, B = _check.matrix("points", points), _check.matrix("support", support)
    return float(np.sum(plan * _squared_distances(Z, B)))


def seeding(points: Any, m: int, *, rng: np.random.Generator) -> Array:
    """Start points for k-means: each drawn from the data with probability proportional to the squared distance so far.

    Parameters: points (n, d), 1 <= m <= n. Returns: (at most m, d); fewer where the data has fewer distinct points.
    Raises: ValueError for m outside 1..n.
    Source: [ArthurVassilvitskii2007].

    >>> seeding([[7.0], [7.0]], 2, rng=np.random.default_rng(0)).tolist()
    [[7.0]]
    """
    Z, rng = _check.matrix("points", points), _check.generator("rng", rng)
    _check.integer("m", m, 1, len(Z))
    support = Z[[rng.integers(len(Z))]]
    while len(support) < m:
        distance = _squared_distances(Z, support).min(axis=1)
        if distance.sum() <= SAME * np.sum(Z**2):
            break
        support = np.vstack([support, Z[rng.choice(len(Z), p=distance / distance.sum())]])
    return support


def lloyd(points: Any, support: Any) -> Array:
    """Lloyd's algorithm [Lloyd1982] from a given support: nearest points, then means, until the distortion stops falling.

    Parameters: points (n, d), support (m, d). Returns: (at most m, d); a support point that no point is nearest to is
    dropped.
    Raises: ValueError for another dimension.

    >>> sorted(lloyd([[0.0], [2.0], [9.0]], [[0.0], [9.0]]).ravel().tolist())
    [1.0, 9.0]
    """
    Z = _check.matrix("points", points)

    def means(support: Array) -> Array:
        places = nearest(Z, support)
        return np.array([Z[places == j].mean(axis=0) for j in np.unique(places)])

    return _descend(means, lambda B: quantisation_cost(Z, B), means(_check.matrix("support", support)))


def barycenter(points: Any, m: int, *, rng: np.random.Generator) -> Barycenter:
    """The free-weight, free-support W_2 barycentre of one measure: k-means with the Voronoi weights (4.1).

    min over b and w of W_2^2((1/n) sum_i delta_{z_i}, sum_j w_j delta_{b_j}); the best of ten seeded Lloyd runs, so an
    upper
    bound on the global minimum.
    Parameters: points (n, d), 1 <= m <= n. Returns: at most m support points, their weights, the cost.
    Raises: ValueError for m outside 1..n, TypeError without a generator.

    >>> barycenter([[0.0], [2.0], [9.0]], 2, rng=np.random.default_rng(0)).cost
    0.6666666666666666
    """
    Z = _check.matrix("points", points)
    runs = [lloyd(Z, seeding(Z, m, rng=rng)) for _ in range(RESTARTS)]
    best = min(runs, key=lambda support: quantisation_cost(Z, support))
    return Barycenter(best, voronoi_weights(Z, best), quantisation_cost(Z, best))


def uniform_barycenter(points: Any, m: int, *, rng: np.random.Generator) -> Barycenter:
    """The W_2 barycentre with the weights held at 1/m: transport plan, then plan-weighted means, in turn.

    Parameters: points (n, d), 1 <= m <= n. Returns: at most m support points with equal weights, and W_2^2.
    Raises: ValueError for m outside 1..n, TypeError without a generator.

    >>> uniform_barycenter([[0.0], [2.0], [9.0]], 1, rng=np.random.default_rng(0)).weights.tolist()
    [1.0]
    """
    Z = _check.matrix("points", points)

    def equal(support: Array) -> Array:
        return np.full(len(support), 1 / len(support))

    def means(support: Array) -> Array:
        plan = transport_plan(Z, support, equal(support))
        return np.asarray(plan.T @ Z / plan.sum(axis=0)[:, None])

    def cost(support: Array) -> float:
        return wasserstein(Z, support, equal(support))

    runs = [_descend(means, cost, seeding(Z, m, rng=rng)) for _ in range(RESTARTS)]
    best = min(runs, key=cost)
    return Barycenter(best, equal(best), cost(best))


def _descend(step: Callable[[Array], Array], cost: Callable[[Array], float], support: Array) -> Array:
    """Repeat a step that cannot raise the cost, until it no longer lowers it."""
    while True:
        following = step(support)
        if not cost(following) < cost(support):
            return support
        support = following


def feature_loss(features: Any, targets: Any) -> float:
    """The feature-matching loss of one class (C.5): sum_j |f_e(s_j) - b_j|^2.

    Parameters: features (m, d) of the distilled inputs, targets (m, d) the barycentre's points. Returns: a number.
    Raises: ValueError for another shape.
    Source: [LiuEtAl2025].

    >>> feature_loss([[1.0, 2.0]], [[0.0, 0.0]])
    5.0
    """
    F = _check.matrix("features", features)
    B = _check.matrix("targets", targets, rows=F.shape[0], columns=F.shape[1])
    return float(np.sum((F - B) ** 2))


def statistics_loss(mean: Any, spread: Any, target_mean: Any, target_spread: Any) -> float:
    """The BatchNorm term of one class and layer (C.5): |mu_S - mu|^2 + |sd_S - sd|^2, squared norms, per channel.

    Parameters: four vectors (channels,); the spread is the standard deviation as the paper has it. Returns: a number.
    Raises: ValueError for another length.

    >>> statistics_loss([1.0], [2.0], [0.0], [0.0])
    5.0
    """
    first = _check.vector("mean", mean)
    rest = [
        _check.vector(name, value, first.size)
        for name, value in (("spread", spread), ("target_mean", target_mean), ("target_spread", target_spread))
    ]
    return float(np.sum((first - rest[1]) ** 2) + np.sum((rest[0] - rest[2]) ** 2))


def averaged_batch_variance(batches: Any) -> Array:
    """The variance as the mean of per-batch variances, which leaves out the variance of the batch means (CEX-29).

    Parameters: batches (b, n, channels), b batches of n rows. Returns: (channels,). Raises: ValueError unless three
    axes.

    >>> averaged_batch_variance([[[0.0], [2.0]], [[10.0], [12.0]]]).tolist()
    [1.0]
    """
    return np.asarray(_check.array("batches", batches, 3).var(axis=1).mean(axis=0))


def pooled_variance(batches: Any) -> Array:
    """The variance of all rows from running sums of x and x^2: E x^2 - (E x)^2, the repair of CEX-29.

    Parameters: batches (b, n, channels), b batches of n rows. Returns: (channels,). Raises: ValueError unless three
    axes.

    >>> pooled_variance([[[0.0], [2.0]], [[10.0], [12.0]]]).tolist()
    [26.0]
    """
    X = _check.array("batches", batches, 3)
    return np.asarray((X**2).mean(axis=(0, 1)) - X.mean(axis=(0, 1)) ** 2)
