"""Random projection (4.2): draws of every map in the moments table, their exact moments, and the exact laws behind JL.

A map is (P, k) and acts on the right, `Phi @ map`; it is scaled so that E map map^T = I, which makes `<u map, v map>`
unbiased. V0 = |u|^2 |v|^2 + <u, v>^2 and D = sum_i u_i^2 v_i^2 throughout.
One file because each map stands beside its exact moments, and the laws beside the dimensions that follow from them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import ceil, comb, exp, lgamma, log, sqrt
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.linalg import hadamard
from scipy.special import betainc, betaincc, gammainc, gammaincc
from scipy.stats import chi2

from dntk_ref import _check
from dntk_ref._check import Array, IntArray

__all__ = [
    "KINDS",
    "VarianceCoefficients",
    "achlioptas",
    "contiguous_sketch",
    "coordinate_sampling",
    "count_sketch",
    "dasgupta_gupta_dimension",
    "distance_distortion",
    "draw",
    "failure_probability",
    "gaussian",
    "guaranteed_distortion",
    "haar",
    "inner_product_bound_with_origin",
    "inner_product_bound_with_signs",
    "inner_product_dimension",
    "inner_product_failure",
    "inner_product_variance",
    "kernel_error_expectation",
    "orthonormal_map",
    "padded_dimension",
    "rademacher",
    "runs_of",
    "signed_map_variance",
    "simplified_dimension",
    "sjlt_block",
    "sjlt_uniform",
    "smallest_dimension",
    "srht",
    "srht_with_replacement",
    "tensor_sketch",
    "tensor_sketch_variance",
    "typical_distortion",
    "union_bound",
    "variance_coefficients",
]

KINDS = (
    "gaussian",
    "achlioptas",
    "rademacher",
    "countsketch",
    "sjlt_block",
    "sjlt_uniform",
    "srht_replace",
    "srht",
    "haar",
    "coordinates",
    "contiguous",
    "tensorsketch",
)


# The maps.


def draw(
    kind: str,
    P: int,
    k: int,
    *,
    rng: np.random.Generator,
    sparsity: float = 3.0,
    nonzeros: int = 2,
    shape: tuple[int, int] | None = None,
) -> Array:
    """One map of the named kind; `sparsity` is read by achlioptas, `nonzeros` by the SJLTs, `shape` by tensorsketch.

    Parameters: kind in KINDS, P >= 1 parameters, k >= 1 dimensions, shape (p, q) with p q = P. Returns: (P, k).
    Raises: ValueError for an unknown kind, a shape that does not fit, or what the kind itself refuses.

    >>> abs(draw("rademacher", 2, 4, rng=np.random.default_rng(0))).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    """
    _check.choice("kind", kind, KINDS)
    if kind == "tensorsketch":
        return tensor_sketch(_factors(shape, P), k, rng=rng)
    makers: dict[str, Callable[[], Array]] = {
        "gaussian": lambda: gaussian(P, k, rng=rng),
        "achlioptas": lambda: achlioptas(P, k, rng=rng, sparsity=sparsity),
        "rademacher": lambda: rademacher(P, k, rng=rng),
        "countsketch": lambda: count_sketch(P, k, rng=rng),
        "sjlt_block": lambda: sjlt_block(P, k, rng=rng, nonzeros=nonzeros),
        "sjlt_uniform": lambda: sjlt_uniform(P, k, rng=rng, nonzeros=nonzeros),
        "srht_replace": lambda: srht_with_replacement(P, k, rng=rng),
        "srht": lambda: srht(P, k, rng=rng),
        "haar": lambda: haar(P, k, rng=rng),
        "coordinates": lambda: coordinate_sampling(P, k, rng=rng),
        "contiguous": lambda: contiguous_sketch(P, k, rng=rng),
    }
    return makers[kind]()


def gaussian(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """Independent entries N(0, 1/k).

    >>> gaussian(3, 2, rng=np.random.default_rng(0)).shape
    (3, 2)
    """
    P, k, rng = _sizes(P, k, rng)
    return rng.standard_normal((P, k)) / sqrt(k)


def achlioptas(P: int, k: int, *, rng: np.random.Generator, sparsity: float = 3.0) -> Array:
    """Entries +-sqrt(s/k), each with probability 1/(2s), else 0: variance 1/k and kurtosis s >= 1 [Achlioptas2003].

    >>> abs(achlioptas(1, 4, rng=np.random.default_rng(0), sparsity=1.0)).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    P, k, rng = _sizes(P, k, rng)
    s = _sparsity(sparsity)
    return _signs((P, k), rng) * (rng.random((P, k)) < 1 / s) * sqrt(s / k)


def rademacher(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """Independent entries +-1/sqrt(k): kurtosis 1.

    >>> abs(rademacher(1, 4, rng=np.random.default_rng(0))).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    P, k, rng = _sizes(P, k, rng)
    return _signs((P, k), rng) / sqrt(k)


def count_sketch(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """One entry +-1 in each row, its column uniform and independent [CharikarChenFarachColton2002].

    >>> abs(count_sketch(3, 2, rng=np.random.default_rng(0))).sum(axis=1).tolist()
    [1.0, 1.0, 1.0]
    """
    P, k, rng = _sizes(P, k, rng)
    return _scatter(rng.integers(0, k, (P, 1)), k, rng)


def sjlt_block(P: int, k: int, *, rng: np.random.Generator, nonzeros: int) -> Array:
    """SJLT in block form: s independent CountSketches into k/s columns each, over sqrt(s); s must divide k [KaneNelson2014].

    >>> (sjlt_block(3, 4, rng=np.random.default_rng(0), nonzeros=2) ** 2).sum(axis=1).round(12).tolist()
    [1.0, 1.0, 1.0]
    """
    P, k, rng = _sizes(P, k, rng)
    s = _check.integer("nonzeros", nonzeros, 1, k)
    if k % s:
        raise ValueError(f"nonzeros: expected a divisor of k = {k}, got {s}")
    return _scatter(rng.integers(0, k // s, (P, s)) + np.arange(s) * (k // s), k, rng)


def sjlt_uniform(P: int, k: int, *, rng: np.random.Generator, nonzeros: int) -> Array:
    """SJLT in uniform form: s entries +-1/sqrt(s) in each row, at a uniform set of s columns [KaneNelson2014].

    >>> (sjlt_uniform(3, 4, rng=np.random.default_rng(0), nonzeros=3) ** 2).sum(axis=1).round(12).tolist()
    [1.0, 1.0, 1.0]
    """
    P, k, rng = _sizes(P, k, rng)
    s = _check.integer("nonzeros", nonzeros, 1, k)
    return _scatter(rng.permuted(np.tile(np.arange(k), (P, 1)), axis=1)[:, :s], k, rng)


def srht(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """Subsampled randomised Hadamard [Tropp2011]: sqrt(P'/k) D H S, k distinct columns; P' = P padded to a power of two.

    >>> abs(srht(3, 4, rng=np.random.default_rng(0))).tolist()[2]
    [0.5, 0.5, 0.5, 0.5]
    """
    P, k, rng = _sizes(P, k, rng)
    padded = padded_dimension(P)
    _check.integer("k", k, 1, padded)
    return _hadamard_columns(P, rng.choice(padded, k, replace=False), rng)


def srht_with_replacement(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """Subsampled randomised Hadamard whose k columns are drawn with replacement, padded as `srht`.

    >>> abs(srht_with_replacement(3, 4, rng=np.random.default_rng(0))).tolist()[2]
    [0.5, 0.5, 0.5, 0.5]
    """
    P, k, rng = _sizes(P, k, rng)
    return _hadamard_columns(P, rng.integers(0, padded_dimension(P), k), rng)


def haar(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """A uniformly distributed k-dimensional orthonormal basis, times sqrt(P/k) [Mezzadri2007].

    Column signs of a QR do not matter: only Q Q^T enters.

    >>> Q = haar(3, 2, rng=np.random.default_rng(0))
    >>> abs(Q.T @ Q).round(12).tolist()
    [[1.5, 0.0], [0.0, 1.5]]
    """
    P, k, rng = _sizes(P, k, rng)
    _check.integer("k", k, 1, P)
    return orthonormal_map(np.linalg.qr(rng.standard_normal((P, k)))[0])


def orthonormal_map(basis: Any) -> Array:
    """The scaled map sqrt(P/k) Q of given orthonormal columns; unbiased iff E Q Q^T = (k/P) I, so never if fixed (CEX-16).

    Parameters: basis (P, k), orthonormal columns. Returns: (P, k). Raises: ValueError for columns that are not.

    >>> orthonormal_map([[1, 0], [0, 1], [0, 0], [0, 0]]).round(4).tolist()[0]
    [1.4142, 0.0]
    """
    Q = _check.matrix("basis", basis)
    return sqrt(Q.shape[0] / Q.shape[1]) * _check.basis("basis", Q, rows=len(Q))


def coordinate_sampling(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """Draw k coordinates with replacement, times sqrt(P/k); no mixing.

    >>> coordinate_sampling(1, 1, rng=np.random.default_rng(0)).tolist()
    [[1.0]]
    """
    P, k, rng = _sizes(P, k, rng)
    return np.eye(P)[:, rng.integers(0, P, k)] * sqrt(P / k)


def contiguous_sketch(P: int, k: int, *, rng: np.random.Generator) -> Array:
    """CountSketch whose hash is a bijection inside each run of k coordinates, uniform and independent between runs.

    >>> abs(contiguous_sketch(2, 2, rng=np.random.default_rng(0))).sum(axis=0).tolist()
    [1.0, 1.0]
    """
    P, k, rng = _sizes(P, k, rng)
    return _scatter(_bijections(P, k, rng)[:, None], k, rng)


def tensor_sketch(shape: tuple[int, int], k: int, *, rng: np.random.Generator, bijective: bool = False) -> Array:
    """CountSketch of a matrix of the given shape, flattened row by row: column h(i) + g(j) mod k, sign s(i) t(j).

    For a matrix of rank one it is a convolution of two sketches [PhamPagh2013].
    `bijective` makes h and g bijections inside runs of k rows or columns, as in `contiguous_sketch`.

    >>> abs(tensor_sketch((2, 2), 3, rng=np.random.default_rng(0))).sum(axis=1).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    rows, columns = _factors(shape, None)
    _, k, rng = _sizes(1, k, rng)
    hashes = [_bijections(p, k, rng) if bijective else rng.integers(0, k, p) for p in (rows, columns)]
    signs = [_signs((p,), rng) for p in (rows, columns)]
    found = np.zeros((rows * columns, k))
    bucket = np.add.outer(hashes[0], hashes[1]).ravel() % k
    found[np.arange(rows * columns), bucket] = np.outer(signs[0], signs[1]).ravel()
    return found


def padded_dimension(P: int) -> int:
    """The power of two to which an SRHT pads P; it takes the place of P in the SRHT's formulas.

    >>> [padded_dimension(P) for P in (1, 3, 4, 5)]
    [1, 4, 4, 8]
    """
    return 1 << (_check.integer("P", P, 1) - 1).bit_length()


def runs_of(P: int, k: int) -> IntArray:
    """The run of k consecutive coordinates to which each of P coordinates belongs: floor(i / k).

    >>> runs_of(5, 2).tolist()
    [0, 0, 1, 1, 2]
    """
    return np.arange(_check.integer("P", P, 1)) // _check.integer("k", k, 1)


# Moments.


@dataclass(frozen=True)
class VarianceCoefficients:
    """Var <Au, Av> = norms |u|^2 |v|^2 + inner <u, v>^2 + overlap sum_i u_i^2 v_i^2."""

    norms: float
    inner: float
    overlap: float


def variance_coefficients(kind: str, P: int, k: int, *, sparsity: float = 3.0) -> VarianceCoefficients:
    """The row of the moments table (4.2) for the kinds whose variance has these three terms.

    Parameters: kind in KINDS but contiguous and tensorsketch, P, k, sparsity as drawn. Returns: the three coefficients.
    Raises: ValueError for another kind, and for k above P (haar) or above the padded P (srht).

    >>> variance_coefficients("rademacher", 10, 2)
    VarianceCoefficients(norms=0.5, inner=0.5, overlap=-1.0)
    """
    _check.choice("kind", kind, [name for name in KINDS if name not in ("contiguous", "tensorsketch")])
    P, k = _check.integer("P", P, 1), _check.integer("k", k, 1)
    if kind == "gaussian":
        return VarianceCoefficients(1 / k, 1 / k, 0.0)
    if kind == "achlioptas":
        return VarianceCoefficients(1 / k, 1 / k, (_sparsity(sparsity) - 3) / k)
    if kind == "coordinates":
        return VarianceCoefficients(0.0, -1 / k, P / k)
    if kind == "haar":
        _check.integer("k", k, 1, P)
        if k == P:
            return VarianceCoefficients(0.0, 0.0, 0.0)
        c = P * (P - k) / (k * (P - 1) * (P + 2))
        return VarianceCoefficients(c, c * (1 - 2 / P), 0.0)
    share = 1.0
    if kind == "srht":
        padded = padded_dimension(P)
        _check.integer("k", k, 1, padded)
        share = (padded - k) / max(padded - 1, 1)
    return VarianceCoefficients(share / k, share / k, -2 * share / k)


def inner_product_variance(
    kind: str, u: Any, v: Any, k: int, *, sparsity: float = 3.0, shape: tuple[int, int] | None = None
) -> float:
    """The exact variance of <Au, Av> for a map of the given kind (moments table, 4.2).

    Contiguous: (V0 - sum_r V0_r) / k over the runs r of k coordinates, because pairs in a run never collide and pairs
    in
    different runs collide with probability 1/k. TensorSketch: `tensor_sketch_variance` with independent hashes.
    Parameters: kind in KINDS, u and v (P,), k, sparsity as drawn, shape (p, q) of u and v for tensorsketch.
    Returns: a number. Raises: ValueError for an unknown kind, another length, or a k too large for the kind.

    >>> inner_product_variance("gaussian", [3, 4], [3, 4], 10)
    125.0
    """
    a = _check.vector("u", u)
    b = _check.vector("v", v, a.size)
    _check.choice("kind", kind, KINDS)
    if kind == "contiguous":
        run = runs_of(a.size, k)
        return (_v0(a, b) - sum(_v0(a[run == r], b[run == r]) for r in range(run[-1] + 1))) / k
    if kind == "tensorsketch":
        p, q = _factors(shape, a.size)
        return tensor_sketch_variance(a.reshape(p, q), b.reshape(p, q), k)
    c = variance_coefficients(kind, a.size, k, sparsity=sparsity)
    return float(c.norms * (a @ a) * (b @ b) + c.inner * (a @ b) ** 2 + c.overlap * np.sum(a**2 * b**2))


def signed_map_variance(u: Any, v: Any, squared_overlaps: Any) -> float:
    """The unified form (4.2): sum_{i<j} (u_i v_j + u_j v_i)^2 E<a_i, a_j>^2.

    Holds for every map whose rows a_i have length one and carry their own independent sign.
    Parameters: u and v (P,), squared_overlaps (P, P) with entries E<a_i, a_j>^2. Returns: a number.
    Raises: ValueError for another size or a matrix that is not symmetric.

    >>> signed_map_variance([1, 1], [1, 1], [[1, 0.5], [0.5, 1]])
    2.0
    """
    a = _check.vector("u", u)
    b, M = _check.vector("v", v, a.size), _check.kernel("squared_overlaps", squared_overlaps, size=a.size)
    return float(sum((a[i] * b[j] + a[j] * b[i]) ** 2 * M[i, j] for i, j in combinations(range(a.size), 2)))


def tensor_sketch_variance(U: Any, V: Any, k: int, *, bijective: bool = False) -> float:
    """The exact variance of <AU, AV> under a TensorSketch of matrices.

    Signs are shared by a row or a column, so terms belong together by the pair of rows {i, i'} and of columns {j, j'}
    in which they differ; different pairs are uncorrelated. Rows only: (U V^T + V U^T)_ii'^2 P(h(i) = h(i')); columns
    only: (U^T V + V^T U)_jj'^2 P(g(j) = g(j')); both: with X = U_ij V_i'j' + U_i'j' V_ij, Y = U_ij' V_i'j + U_i'j
    V_ij', d = h(i) - h(i') and e = g(j') - g(j) mod k, the term X 1[d = e] + Y 1[d = -e], of second moment
    (X^2 + Y^2) P(d = e) + 2 X Y P(d = e = -e). A difference is uniform on 0..k-1, and on 1..k-1 inside a bijective run.
    Parameters: U and V (p, q), k >= 1. Returns: a number. Raises: ValueError for shapes that differ.

    >>> tensor_sketch_variance([[1.0, 1.0]], [[1.0, 1.0]], 2)
    2.0
    """
    A = _check.matrix("U", U)
    B = _check.matrix("V", V, rows=A.shape[0], columns=A.shape[1])
    k = _check.integer("k", k, 1)
    laws = [
        {(i, j): _difference_law(k, bijective and i // k == j // k) for i, j in combinations(range(size), 2)}
        for size in A.shape
    ]
    rows, columns = A @ B.T + B @ A.T, A.T @ B + B.T @ A
    total = sum(rows[pair] ** 2 * law[0] for pair, law in laws[0].items())
    total += sum(columns[pair] ** 2 * law[0] for pair, law in laws[1].items())
    fixed = 2 * np.arange(k) % k == 0  # the differences d with d = -d
    for (i, m), d in laws[0].items():
        for (j, n), e in laws[1].items():
            X = A[i, j] * B[m, n] + A[m, n] * B[i, j]
            Y = A[i, n] * B[m, j] + A[m, j] * B[i, n]
            total += (X**2 + Y**2) * (d @ e) + 2 * X * Y * (d[fixed] @ e[fixed])
    return float(total)


def kernel_error_expectation(
    kind: str, features: Any, k: int, *, sparsity: float = 3.0, shape: tuple[int, int] | None = None
) -> float:
    """The whole-kernel expectation E |K~ - K|_F^2 = sum_ij Var K~_ij for a map of the given kind (4.2).

    norms (tr K)^2 + inner |K|_F^2 + overlap |diag(Phi^T Phi)|^2 with the kind's coefficients; for Gaussian
    ((tr K)^2 + |K|_F^2) / k. Contiguous takes off the same of every run; tensorsketch sums entry by entry.
    Parameters: kind in KINDS, features (n, P), k; sparsity and shape as drawn. Returns: a number. Raises: ValueError.

    >>> kernel_error_expectation("gaussian", [[1.0, 0.0], [0.0, 1.0]], 2)
    3.0
    """
    Phi = _check.matrix("features", features)
    _check.choice("kind", kind, KINDS)
    if kind == "tensorsketch":
        return sum(inner_product_variance(kind, u, v, k, shape=shape) for u in Phi for v in Phi)
    if kind == "contiguous":
        run = runs_of(Phi.shape[1], k)
        parts = [Phi] + [Phi[:, run == r] for r in range(run[-1] + 1)]
        sums = [np.trace(part @ part.T) ** 2 + np.sum((part @ part.T) ** 2) for part in parts]
        return float(sums[0] - sum(sums[1:])) / k
    c, K = variance_coefficients(kind, Phi.shape[1], k, sparsity=sparsity), Phi @ Phi.T
    overlap = np.sum(np.sum(Phi**2, axis=0) ** 2)
    return float(c.norms * np.trace(K) ** 2 + c.inner * np.sum(K**2) + c.overlap * overlap)


# Exact laws of one squared length, and the Johnson-Lindenstrauss dimensions.


def failure_probability(kind: str, k: int, epsilon: float, *, P: int | None = None) -> float:
    """The chance that one squared length is off by more than a factor 1 +- epsilon (4.2).

    Gaussian: |Au|^2 ~ chi2_k / k; Haar: |Q^T u|^2 ~ Beta(k/2, (P-k)/2) and the map is scaled by P/k.
    Parameters: kind "gaussian" or "haar" (which needs P >= k), k, epsilon > 0. Returns: a probability. Raises:
    ValueError.

    >>> round(failure_probability("gaussian", 2, 1.0), 6)  # chi2_2 / 2 is exponential: e^-2
    0.135335
    """
    _check.choice("kind", kind, ("gaussian", "haar"))
    k, eps = _check.integer("k", k, 1), _check.positive("epsilon", epsilon)
    low, high = max(1 - eps, 0.0), 1 + eps
    if kind == "gaussian":
        return float(gammainc(k / 2, k * low / 2) + gammaincc(k / 2, k * high / 2))
    size = _check.integer("P", P, k)
    if k == size:
        return 0.0
    shape = (k / 2, (size - k) / 2)
    return float(betainc(*shape, k / size * low) + betaincc(*shape, min(k / size * high, 1.0)))


def union_bound(kind: str, n: int, k: int, epsilon: float, *, P: int | None = None) -> float:
    """The union bound over all pairs of n points: binom(n, 2) times the failure probability of one.

    >>> round(union_bound("gaussian", 3, 2, 1.0), 6)
    0.406006
    """
    return comb(_check.integer("n", n, 1), 2) * failure_probability(kind, k, epsilon, P=P)


def smallest_dimension(kind: str, n: int, epsilon: float, delta: float, *, P: int | None = None) -> int:
    """The smallest k whose union bound is at most delta, by bisection: the exact JL dimension (table of 4.2).

    Parameters: kind "gaussian" or "haar" (needs P), n points, epsilon > 0, 0 < delta. Returns: k; P at most for haar.
    Raises: ValueError for epsilon, delta or P.

    >>> smallest_dimension("gaussian", 1300, 0.1, 0.05)
    6019
    """
    _check.choice("kind", kind, ("gaussian", "haar"))
    delta = _check.positive("delta", delta)
    cap = None if kind == "gaussian" else _check.integer("P", P, 1)
    return _smallest(lambda k: union_bound(kind, n, k, epsilon, P=P) <= delta, cap)


def guaranteed_distortion(kind: str, n: int, k: int, delta: float, *, P: int | None = None) -> float:
    """The smallest epsilon that k dimensions guarantee for n points with confidence 1 - delta, by bisection.

    Parameters: kind "gaussian" or "haar" (needs P), n, k, delta > 0. Returns: epsilon up to rounding. Raises:
    ValueError.

    >>> round(guaranteed_distortion("gaussian", 1300, 4096, 0.05), 3)
    0.122
    """
    delta = _check.positive("delta", delta)
    if union_bound(kind, n, k, float(np.finfo(np.float64).tiny), P=P) <= delta:
        return 0.0  # one point, or a Haar map that keeps every dimension
    low, high = 0.0, 1.0
    while union_bound(kind, n, k, high, P=P) > delta:
        low, high = high, 2 * high
    while high - low > 1e-14 * high:  # a hundred roundings: bisection ends for certain
        middle = (low + high) / 2
        low, high = (low, middle) if union_bound(kind, n, k, middle, P=P) <= delta else (middle, high)
    return high


def typical_distortion(k: int) -> float:
    """The standard deviation of one squared length under a Gaussian map: sqrt(2/k).

    >>> typical_distortion(2)
    1.0
    """
    return sqrt(2 / _check.integer("k", k, 1))


def dasgupta_gupta_dimension(n: int, epsilon: float) -> int:
    """The printed JL threshold: k >= 4 ln n / (epsilon^2 / 2 - epsilon^3 / 3), rounded up; a theorem [DasguptaGupta1999].

    >>> dasgupta_gupta_dimension(1300, 0.1)
    6146
    """
    n, eps = _check.integer("n", n, 2), _check.positive("epsilon", _check.below_one("epsilon", epsilon))
    return ceil(4 * log(n) / (eps**2 / 2 - eps**3 / 3))


def simplified_dimension(n: int, epsilon: float) -> int:
    """The simplified printed threshold: k >= 8 ln n / epsilon^2, rounded up; the union bound fails for larger epsilon.

    >>> simplified_dimension(1300, 0.1)
    5737
    """
    n, eps = _check.integer("n", n, 2), _check.positive("epsilon", _check.below_one("epsilon", epsilon))
    return ceil(8 * log(n) / eps**2)


# Inner products.


def distance_distortion(points: Any, images: Any) -> float:
    """The worst relative error of a squared distance: max_{i<j} | |Ax_i - Ax_j|^2 / |x_i - x_j|^2 - 1 |.

    Parameters: points (n, P) pairwise distinct, n >= 2, images (n, k). Returns: a number. Raises: ValueError for equal
    rows.

    >>> distance_distortion([[0.0, 0.0], [2.0, 0.0]], [[0.0], [1.0]])
    0.75
    """
    X = _check.matrix("points", points)
    Y = _check.matrix("images", images, rows=len(X))
    pairs = list(combinations(range(_check.integer("number of points", len(X), 2)), 2))
    before = np.array([np.sum((X[i] - X[j]) ** 2) for i, j in pairs])
    after = np.array([np.sum((Y[i] - Y[j]) ** 2) for i, j in pairs])
    if before.min() == 0:
        raise ValueError("points: expected rows that differ, got two that are equal")
    return float(np.abs(after / before - 1).max())


def inner_product_bound_with_origin(u: Any, v: Any, epsilon: float) -> float:
    """The bound on |<Au, Av> - <u, v>| if 0, u and v are in the JL set: epsilon (|u|^2 + |v|^2 - <u, v>).

    >>> inner_product_bound_with_origin([1, 0], [1, 0], 0.5)
    0.5
    """
    a = _check.vector("u", u)
    b, eps = _check.vector("v", v, a.size), _check.positive("epsilon", epsilon)
    return float(eps * (a @ a + b @ b - a @ b))


def inner_product_bound_with_signs(u: Any, v: Any, epsilon: float) -> float:
    """The bound on |<Au, Av> - <u, v>| if u/|u|, v/|v| and their negatives are in the JL set: epsilon |u| |v|.

    >>> inner_product_bound_with_signs([3, 4], [1, 0], 0.5)
    2.5
    """
    a = _check.vector("u", u)
    b, eps = _check.vector("v", v, a.size), _check.positive("epsilon", epsilon)
    return float(eps * np.linalg.norm(a) * np.linalg.norm(b))


def inner_product_failure(k: int, cosine: float, epsilon: float) -> float:
    """The exact chance that a Gaussian map moves the inner product of two unit vectors by more than epsilon (4.2).

    <Au, Av> = ((1 + rho) X - (1 - rho) Y) / 2 with X, Y independent chi2_k / k, since A(u + v) and A(u - v) are
    independent; the two tails are integrated over Y. rho -> -rho only swaps X and Y.
    Parameters: k >= 1, cosine rho in [-1, 1], epsilon > 0. Returns: a probability. Raises: ValueError.

    >>> round(inner_product_failure(2, 0.0, 1.0), 9)  # the Laplace law: e^-2
    0.135335283
    """
    k, eps = _check.integer("k", k, 1), _check.positive("epsilon", epsilon)
    rho = abs(_check.scalar("cosine", cosine))
    if rho > 1:
        raise ValueError(f"cosine: expected a number in [-1, 1], got {cosine}")

    def tail(threshold: float, side: Callable[[float, float], float]) -> float:
        """P(R beyond the threshold): given Y = y, X lies beyond (2 threshold + (1 - rho) y) / (1 + rho)."""

        def integrand(s: float) -> float:  # y = s^2 / k: the density of chi has no singularity at 0, that of chi2 has
            x = (2 * threshold + (1 - rho) * s**2 / k) / (1 + rho)
            density = exp((k - 1) * log(s) - s**2 / 2 - (k / 2 - 1) * log(2) - lgamma(k / 2))
            return density * side(k / 2, k * max(x, 0.0) / 2)

        kink = -2 * threshold * k / (1 - rho) if rho < 1 else 0.0  # where x passes zero
        low, high = sqrt(chi2.ppf(1e-30, k)), sqrt(chi2.isf(1e-30, k))
        cuts = sorted({low, high, *(c for c in (sqrt(max(kink, 0.0)), sqrt(k)) if low < c < high)})
        return float(sum(quad(integrand, a, b, epsabs=0, epsrel=1e-10, limit=200)[0] for a, b in pairwise(cuts)))

    return tail(rho + eps, gammaincc) + tail(rho - eps, gammainc)


def inner_product_dimension(n: int, epsilon: float, delta: float, *, cosine: float = 1.0, norms: bool = False) -> int:
    """The smallest k for which all pairwise cosines of n points keep within epsilon with confidence 1 - delta.

    binom(n, 2) P(|R - rho| > epsilon) <= delta; rho = 1 is the worst cosine for epsilon < 1 (k = 1 has others above, up to
    about 1.45). `norms` adds the n events of the norms.
    Parameters: n, epsilon > 0, delta > 0, cosine in [-1, 1]. Returns: k. Raises: ValueError.

    >>> inner_product_dimension(2, 1.0, 0.2, cosine=0.0)
    2
    """
    pairs, delta = comb(_check.integer("n", n, 1), 2), _check.positive("delta", delta)

    def enough(k: int) -> bool:
        extra = n * failure_probability("gaussian", k, epsilon) if norms else 0.0
        return pairs * inner_product_failure(k, cosine, epsilon) + extra <= delta

    return _smallest(enough, None)


# Helpers.


def _sizes(P: int, k: int, rng: np.random.Generator) -> tuple[int, int, np.random.Generator]:
    return _check.integer("P", P, 1), _check.integer("k", k, 1), _check.generator("rng", rng)


def _sparsity(value: float) -> float:
    s = _check.scalar("sparsity", value)
    if s < 1:
        raise ValueError(f"sparsity: expected a number that is 1 or above, got {s}")
    return s


def _factors(shape: Any, P: int | None) -> tuple[int, int]:
    """The two sides of a matrix parameter, whose product is P where P is given."""
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"shape: expected a pair (p, q), got {shape!r}")
    p, q = (_check.integer("shape", side, 1) for side in shape)
    if P is not None and p * q != P:
        raise ValueError(f"shape: expected p q = {P}, got {shape}")
    return p, q


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.choice([-1.0, 1.0], shape)


def _scatter(columns: IntArray, k: int, rng: np.random.Generator) -> Array:
    """Entries +-1/sqrt(s) at the s given columns of each row, an independent sign for each of them."""
    P, s = columns.shape
    found = np.zeros((P, k))
    np.put_along_axis(found, columns, _signs((P, s), rng) / sqrt(s), axis=1)
    return found


def _bijections(P: int, k: int, rng: np.random.Generator) -> IntArray:
    runs = [rng.permutation(k) for _ in range(-(-P // k))]
    return np.concatenate(runs)[:P]


def _hadamard_columns(P: int, columns: IntArray, rng: np.random.Generator) -> Array:
    """Signs, then the chosen columns of the Hadamard matrix of the padded size, over sqrt(k)."""
    H = hadamard(padded_dimension(P)).astype(np.float64)
    return np.asarray(_signs((P, 1), rng) * H[:P, columns] / sqrt(columns.size))


def _v0(u: Array, v: Array) -> float:
    return float((u @ u) * (v @ v) + (u @ v) ** 2)


def _difference_law(k: int, within: bool) -> Array:
    """The law of a hash difference mod k: uniform, and uniform off zero inside a bijective run."""
    law = np.full(k, 1 / k)
    if within:
        law = np.full(k, 1 / (k - 1))
        law[0] = 0.0
    return law


def _smallest(enough: Callable[[int], bool], cap: int | None) -> int:
    """The smallest k that is enough, where every k above it is too: doubling, then bisection."""
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high if cap is None else min(2 * high, cap)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
