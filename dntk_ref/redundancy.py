"""How few directions carry a kernel: Defs 3.1 and 3.2, and Prop B.6 as printed and as improved.

A kernel is (n, n) and positive semi-definite; its spectrum is descending, with rounding below zero clipped. All bounds
of Prop B.6 are on the scale of Definition 3.2, R1: the ratio of Frobenius norms, not of their squares. What its
projection step needs instead of pairwise distances stands in `projected_spectrum`.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref._nystrom import parts
from dntk_ref.subspace import top_projector

__all__ = [
    "Subset",
    "best_subset",
    "corrected_subset_bound",
    "data_redundant_r1",
    "data_redundant_r2",
    "eckart_young_error",
    "energy_floor_printed",
    "improved_redundancy_bound_gap",
    "improved_redundancy_bound_mean",
    "largest_redundant_dimension",
    "optimal_parameter_projector",
    "parameter_redundancy",
    "parameter_redundancy_r1",
    "parameter_redundancy_r1_squared",
    "parameter_redundancy_r2",
    "parameter_redundant_r1",
    "parameter_redundant_r1_squared",
    "parameter_redundant_r2",
    "participation_ratio",
    "projected_redundancy_bound_printed",
    "redundancy_bound_r1_printed",
    "redundancy_bound_r2_printed",
    "spectrum",
    "subset_bound_printed",
    "subset_residual",
    "tail_bound_r1_printed",
    "tail_bound_r2_printed",
    "truncation_error_squared",
    "truncation_rank",
    "truncation_rank_of_spectrum",
    "volume_sampling_bound",
    "volume_sampling_residual",
]

# The comparisons in Definition 3.1 are made up to this share: rotating a spectrum moves its partial sums by about
# n units of rounding, and 1e-15 has been seen to miscount; 0.29 * 100 is below 29.
COMPARISON = 1e-12


def spectrum(kernel: Any) -> Array:
    """Eigenvalues of a kernel, largest first.

    lambda_1 >= ... >= lambda_n >= 0, rounding below zero clipped (Def 3.1).

    Parameters: `kernel` (n, n) positive semi-definite. Returns: (n,).
    Raises: ValueError also for an eigenvalue below zero by more than rounding, TypeError.

    >>> spectrum([[1.0, 0.6], [0.6, 1.0]]).round(12)
    array([1.6, 0.4])
    """
    return _check.spectrum("kernel", kernel)


def _eigenvalues(name: str, value: Any) -> Array:
    found = _check.vector(name, value)
    if found.min() < 0:
        raise ValueError(f"{name}: expected numbers that are 0 or above, got {found.min()}")
    return np.sort(found)[::-1]


def truncation_rank_of_spectrum(eigenvalues: Any, epsilon: float) -> int:
    """Number of leading eigenvalues that hold all but a share epsilon of the trace.

    r_eps = min{r : sum_{i<=r} lambda_i >= (1 - eps) sum_i lambda_i}, r_eps(0) = 0  (Def 3.1).

    Parameters: `eigenvalues` (n,) >= 0 in any order, `epsilon` in [0, 1]. Returns: int. Raises: ValueError, TypeError.

    >>> truncation_rank_of_spectrum([8.0, 1.0, 1.0], 0.1)
    2
    """
    values = _eigenvalues("eigenvalues", eigenvalues)
    partial = np.concatenate([[0.0], np.cumsum(values)])
    wanted = (1 - _check.fraction("epsilon", epsilon)) * partial[-1] * (1 - COMPARISON)
    return int(np.argmax(partial >= wanted))


def truncation_rank(kernel: Any, epsilon: float) -> int:
    """Number of eigendirections that hold all but a share epsilon of a kernel's trace.

    r_eps(K) = min{r : sum_{i<=r} lambda_i >= (1 - eps) tr K}  (Def 3.1).

    Parameters: `kernel` (n, n), `epsilon` in [0, 1]. Returns: int. Raises: ValueError, TypeError.

    >>> truncation_rank([[1.0, 0.6], [0.6, 1.0]], 0.2)
    1
    """
    return truncation_rank_of_spectrum(spectrum(kernel), epsilon)


def data_redundant_r1(kernel: Any, epsilon: float, gamma: float) -> bool:
    """Data redundancy, gamma the factor by which the rank is smaller than the data.

    r_eps(K) <= n / gamma, gamma > 1  (Def 3.1, R1).

    Parameters: `kernel` (n, n), `epsilon` in [0, 1], `gamma` > 1. Returns: bool. Raises: ValueError, TypeError.

    >>> data_redundant_r1([[1.0, 0.6], [0.6, 1.0]], 0.2, 2.0)
    True
    """
    if _check.positive("gamma", gamma) <= 1:
        raise ValueError(f"gamma: expected a number above 1, got {gamma}")
    return truncation_rank(kernel, epsilon) * gamma <= len(kernel) * (1 + COMPARISON)


def data_redundant_r2(kernel: Any, epsilon: float, gamma: float) -> bool:
    """Data redundancy, gamma the share of the data that the rank amounts to.

    r_eps(K) <= gamma n, gamma < 1  (Def 3.1, R2).

    Parameters: `kernel` (n, n), `epsilon` in [0, 1], `gamma` in (0, 1). Returns: bool. Raises: ValueError, TypeError.

    >>> data_redundant_r2([[1.0, 0.6], [0.6, 1.0]], 0.2, 0.25)
    False
    """
    if not 0 < _check.scalar("gamma", gamma) < 1:
        raise ValueError(f"gamma: expected a number in (0, 1), got {gamma}")
    return truncation_rank(kernel, epsilon) <= gamma * len(kernel) * (1 + COMPARISON)


def subset_residual(kernel: Any, rows: Any, *, rtol: float = 1e-12) -> float:
    """Trace that a subset of the inputs leaves unexplained.

    tr(K - K_XS K_SS^+ K_SX)  (after Def 3.1).

    Parameters: `kernel` (n, n), `rows` (m,) distinct indices, `rtol` the share of the largest eigenvalue of K_SS below
    which an eigenvalue counts as zero. Returns: float, never below 0. Raises: ValueError, TypeError.

    >>> round(subset_residual([[1.0, 0.6], [0.6, 1.0]], [0]), 12)
    0.64
    """
    K = _check.kernel("kernel", kernel)
    S = _check.partition("rows", rows, len(_check.vector("rows", rows)))
    if len(set(S.tolist())) < len(S) or S.min() < 0 or S.max() >= len(K):
        raise ValueError(f"rows: expected distinct indices in [0, {len(K) - 1}], got {S.tolist()}")
    return float(np.sum(parts(K, np.eye(len(K))[:, S], rtol).missed ** 2))


@dataclass(frozen=True)
class Subset:
    """Indices of a subset of the inputs and the trace that it leaves unexplained."""

    rows: tuple[int, ...]
    residual: float


def best_subset(kernel: Any, size: int) -> Subset:
    """The best subset of inputs of a given size, by trying all of them.

    argmin_{|S| = size} tr(K - K_XS K_SS^+ K_SX)  (after Def 3.1).

    Parameters: `kernel` (n, n), `size` in [1, n]. Returns: Subset. Raises: ValueError, TypeError.

    >>> best_subset([[1.0, 0.0], [0.0, 2.0]], 1)
    Subset(rows=(1,), residual=1.0)
    """
    K = _check.kernel("kernel", kernel)
    size = _check.integer("size", size, 1, len(K))
    return min(
        (Subset(rows, subset_residual(K, rows)) for rows in combinations(range(len(K)), size)),
        key=lambda found: found.residual,
    )


def subset_bound_printed(kernel: Any, epsilon: float) -> float:
    """What the gloss of Definition 3.1 promises for r_eps inputs: false (CEX-8), true for r_eps combinations of inputs.

    eps tr K  (Def 3.1, gloss).

    Parameters: `kernel` (n, n), `epsilon` in [0, 1]. Returns: float. Raises: ValueError, TypeError.

    >>> subset_bound_printed([[1.0, 0.6], [0.6, 1.0]], 0.25)
    0.5
    """
    return _check.fraction("epsilon", epsilon) * float(spectrum(kernel).sum())


def corrected_subset_bound(kernel: Any, epsilon: float) -> float:
    """What some subset of r_eps inputs does achieve.

    (r_eps + 1) eps tr K  (Def 3.1, gloss corrected by volume sampling [DeshpandeEtAl2006]).

    Parameters: `kernel` (n, n), `epsilon` in [0, 1]. Returns: float. Raises: ValueError, TypeError.

    >>> corrected_subset_bound([[1.0, 0.6], [0.6, 1.0]], 0.25)
    1.0
    """
    return (truncation_rank(kernel, epsilon) + 1) * subset_bound_printed(kernel, epsilon)


def volume_sampling_bound(kernel: Any, size: int) -> float:
    """Trace that the best subset of a given size leaves at most.

    (r + 1) sum_{i>r} lambda_i, r = size; the factor cannot be improved in general  (after Def 3.1).

    Parameters: `kernel` (n, n), `size` in [0, n]. Returns: float. Raises: ValueError, TypeError.

    >>> volume_sampling_bound([[3.0, 0.0], [0.0, 1.0]], 1)
    2.0
    """
    values = spectrum(kernel)
    r = _check.integer("size", size, 0, values.size)
    return (r + 1) * float(values[r:].sum())


def volume_sampling_residual(kernel: Any, size: int) -> float:
    """Exact mean trace left by a subset drawn with probability proportional to det K_SS.

    (r + 1) e_{r+1}(lambda) / e_r(lambda) <= (r + 1) sum_{i>r} lambda_i, r = size, e_r the elementary symmetric
    polynomials  (after Def 3.1).

    Parameters: `kernel` (n, n) of rank >= size, `size` in [0, n]. Returns: float. Raises: ValueError, TypeError.

    >>> volume_sampling_residual([[3.0, 0.0], [0.0, 1.0]], 1)
    1.5
    """
    values = spectrum(kernel)
    r = _check.integer("size", size, 0, values.size)
    if r > np.count_nonzero(values):
        raise ValueError(f"size: expected at most the rank of the kernel, got {r}")
    # q_r = e_{r+1} / e_r is of the size of an eigenvalue, where e_r itself leaves the range of floating point. One more
    # eigenvalue v makes e_r + v e_{r-1} of e_r, and so (q_r + v) q_{r-1} / (q_{r-1} + v) of q_r.
    q = np.zeros(values.size + 1)
    for value in values[values > 0]:
        q[1:] = (q[1:] + value) * (q[:-1] / (q[:-1] + value))
        q[0] += value
    return float((r + 1) * q[r])


def participation_ratio(kernel: Any) -> float:
    """Effective number of equal eigenvalues.

    (tr K)^2 / |K|_F^2 in [1, n], 0 for K = 0  (section 4.2).

    Parameters: `kernel` (n, n). Returns: float. Raises: ValueError, TypeError.

    >>> participation_ratio([[2.0, 0.0], [0.0, 2.0]])
    2.0
    """
    values = _of_largest(spectrum(kernel))
    return _ratio(float(values.sum() ** 2), float(np.sum(values**2)))


def _of_largest(values: Array) -> Array:
    """Values in units of the largest: squares of those far from one leave the range of floating point."""
    return values / (np.abs(values).max() or 1.0)


def _ratio(part: float, whole: float) -> float:
    """Part over whole, and nothing of nothing is nothing."""
    return part / whole if whole > 0 else 0.0


def _captured(features: Any, projector: Any) -> tuple[Array, Array]:
    """Phi and Phi Pi, up to the scale that no ratio has."""
    Phi = _of_largest(_check.matrix("features", features))
    return Phi, Phi @ _check.projector("projector", projector, size=Phi.shape[1])


def parameter_redundancy_r1(features: Any, projector: Any) -> float:
    """Relative kernel error of keeping a subspace of parameter space.

    |Phi Phi^T - Phi Pi (Phi Pi)^T|_F / |Phi Phi^T|_F  (Def 3.2, R1).

    Parameters: `features` (n, P), `projector` (P, P) orthogonal. Returns: float. Raises: ValueError, TypeError.

    >>> parameter_redundancy_r1([[1.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]])
    0.5
    """
    Phi, kept = _captured(features, projector)
    K = Phi @ Phi.T
    return _ratio(float(np.linalg.norm(K - kept @ kept.T)), float(np.linalg.norm(K)))


def parameter_redundancy_r1_squared(features: Any, projector: Any) -> float:
    """Relative squared kernel error of keeping a subspace of parameter space.

    |Phi Phi^T - Phi Pi (Phi Pi)^T|_F^2 / |Phi Phi^T|_F^2  (Def 3.2, R1').

    Parameters: `features` (n, P), `projector` (P, P) orthogonal. Returns: float. Raises: ValueError, TypeError.

    >>> parameter_redundancy_r1_squared([[1.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]])
    0.25
    """
    return parameter_redundancy_r1(features, projector) ** 2


def parameter_redundancy_r2(features: Any, projector: Any) -> float:
    """Relative energy of the gradients outside a subspace.

    |Phi - Phi Pi|_F^2 / |Phi|_F^2  (Def 3.2, R2).

    Parameters: `features` (n, P), `projector` (P, P) orthogonal. Returns: float. Raises: ValueError, TypeError.

    >>> parameter_redundancy_r2([[2.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]])
    0.8
    """
    Phi, kept = _captured(features, projector)
    return _ratio(float(np.sum((Phi - kept) ** 2)), float(np.sum(Phi**2)))


def optimal_parameter_projector(features: Any, rank: int) -> Array:
    """Projector that is optimal for every reading of Definition 3.2: the leading right singular vectors.

    V_r V_r^T  (Def 3.2, [EckartYoung1936]); unique iff lambda_r > lambda_{r+1}.

    Parameters: `features` (n, P), `rank` in [0, P]. Returns: (P, P). Raises: ValueError, TypeError.

    >>> optimal_parameter_projector([[0.0, 2.0], [1.0, 0.0]], 1)
    array([[0., 0.],
           [0., 1.]])
    """
    Phi = _check.matrix("features", features)
    return top_projector(Phi, _check.integer("rank", rank, 0, Phi.shape[1]))


def eckart_young_error(kernel: Any, rank: int) -> float:
    """Least Frobenius distance from a kernel to any matrix of the given rank.

    min |K - B|_F = (sum_{i>r} lambda_i^2)^{1/2}  (Def 3.2).

    Parameters: `kernel` (n, n), `rank` in [0, n]. Returns: float. Raises: ValueError, TypeError.

    >>> eckart_young_error([[9.0, 0.0], [0.0, 4.0]], 1)
    4.0
    """
    return float(np.sqrt(truncation_error_squared(kernel, rank)))


def parameter_redundancy(kernel: Any, rank: int) -> float:
    """Relative kernel error of the best subspace of a given dimension.

    (sum_{i>r} lambda_i^2 / sum_i lambda_i^2)^{1/2}  (Def 3.2, R1 at the optimal V).

    Parameters: `kernel` (n, n), `rank` in [0, n]. Returns: float. Raises: ValueError, TypeError.

    >>> parameter_redundancy([[4.0, 0.0], [0.0, 3.0]], 1)
    0.6
    """
    values = _of_largest(spectrum(kernel))
    tail = values[_check.integer("rank", rank, 0, values.size) :]
    return _ratio(float(np.linalg.norm(tail)), float(np.linalg.norm(values)))


def largest_redundant_dimension(parameters: int, gamma: float) -> int:
    """Largest dimension that Definition 3.2 allows the subspace.

    dim V <= P / gamma  (Def 3.2).

    Parameters: `parameters` P >= 1, `gamma` >= 1. Returns: int. Raises: ValueError, TypeError.

    >>> largest_redundant_dimension(10, 4.0)
    2
    """
    if _check.positive("gamma", gamma) < 1:
        raise ValueError(f"gamma: expected a number that is 1 or above, got {gamma}")
    return int(_check.integer("parameters", parameters, 1) / gamma)


def _best_for(features: Any, gamma: float) -> Array:
    Phi = _check.matrix("features", features)
    return optimal_parameter_projector(Phi, largest_redundant_dimension(Phi.shape[1], gamma))


def parameter_redundant_r1(features: Any, epsilon: float, gamma: float) -> bool:
    """Parameter redundancy by the relative kernel error.

    some V, dim V <= P / gamma: |K - K_V|_F <= eps |K|_F  (Def 3.2, R1).

    Parameters: `features` (n, P), `epsilon` in [0, 1], `gamma` >= 1. Returns: bool. Raises: ValueError, TypeError.

    >>> parameter_redundant_r1([[2.0, 0.0], [0.0, 1.0]], 0.25, 2.0)
    True
    """
    return parameter_redundancy_r1(features, _best_for(features, gamma)) <= _check.fraction("epsilon", epsilon)


def parameter_redundant_r1_squared(features: Any, epsilon: float, gamma: float) -> bool:
    """Parameter redundancy by the relative squared kernel error.

    some V, dim V <= P / gamma: |K - K_V|_F^2 <= eps |K|_F^2  (Def 3.2, R1').

    Parameters: `features` (n, P), `epsilon` in [0, 1], `gamma` >= 1. Returns: bool. Raises: ValueError, TypeError.

    >>> parameter_redundant_r1_squared([[2.0, 0.0], [0.0, 1.0]], 0.06, 2.0)
    True
    """
    return parameter_redundancy_r1_squared(features, _best_for(features, gamma)) <= _check.fraction("epsilon", epsilon)


def parameter_redundant_r2(features: Any, epsilon: float, gamma: float) -> bool:
    """Parameter redundancy by the energy outside: then the least dimension is the truncation rank itself.

    some V, dim V <= P / gamma: |Phi - Phi Pi_V|_F^2 <= eps |Phi|_F^2  (Def 3.2, R2).

    Parameters: `features` (n, P), `epsilon` in [0, 1], `gamma` >= 1. Returns: bool. Raises: ValueError, TypeError.

    >>> parameter_redundant_r2([[2.0, 0.0], [0.0, 1.0]], 0.19, 2.0)
    False
    """
    return parameter_redundancy_r2(features, _best_for(features, gamma)) <= _check.fraction("epsilon", epsilon)


def truncation_error_squared(kernel: Any, rank: int) -> float:
    """Squared error of cutting a kernel off after its leading eigenvalues.

    |sum_{i>r} lambda_i u_i u_i^T|_F^2 = sum_{i>r} lambda_i^2  (Eq 23, right side).

    Parameters: `kernel` (n, n), `rank` in [0, n]. Returns: float. Raises: ValueError, TypeError.

    >>> truncation_error_squared([[9.0, 0.0], [0.0, 4.0]], 1)
    16.0
    """
    values = spectrum(kernel)
    return float(np.sum(values[_check.integer("rank", rank, 0, values.size) :] ** 2))


@dataclass(frozen=True)
class _Cut:
    """A non-zero spectrum cut at its truncation rank, with a zero after its end."""

    values: Array
    rank: int
    epsilon: float

    @property
    def next(self) -> float:
        """lambda_{r+1}, zero where r = n."""
        return float(self.values[self.rank])

    @property
    def last(self) -> float:
        """lambda_r."""
        return float(self.values[self.rank - 1])

    @property
    def count(self) -> int:
        """Number n of eigenvalues."""
        return self.values.size - 1

    @property
    def mean(self) -> float:
        """The mean eigenvalue."""
        return float(self.values.sum()) / self.count


def _cut(kernel: Any, epsilon: float) -> _Cut:
    """Hypotheses of Prop B.6: K is not zero, and eps < 1."""
    values = spectrum(kernel)
    if values[0] == 0:
        raise ValueError("kernel: expected a kernel that is not zero, got zero")
    epsilon = _check.below_one("epsilon", epsilon)
    return _Cut(np.append(values, 0.0), truncation_rank_of_spectrum(values, epsilon), epsilon)


def tail_bound_r1_printed(kernel: Any, epsilon: float) -> float:
    """Right side of Eq (24), first reading.

    sum_{i>r} lambda_i^2 <= eps lambda_{r+1} n mean(lambda), r = r_eps(K)  (Eq 24, R1).

    Parameters: `kernel` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> tail_bound_r1_printed([[3.0, 0.0], [0.0, 1.0]], 0.25)
    1.0
    """
    cut = _cut(kernel, epsilon)
    return cut.epsilon * cut.next * cut.count * cut.mean


def tail_bound_r2_printed(kernel: Any, epsilon: float) -> float:
    """Right side of Eq (24), second reading.

    sum_{i>r} lambda_i^2 <= (sum_{i>r} lambda_i)^2 <= eps^2 n^2 mean(lambda)^2  (Eq 24, R2).

    Parameters: `kernel` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> tail_bound_r2_printed([[3.0, 0.0], [0.0, 1.0]], 0.25)
    1.0
    """
    cut = _cut(kernel, epsilon)
    return (cut.epsilon * cut.count * cut.mean) ** 2


def energy_floor_printed(kernel: Any) -> float:
    """Right side of Eq (25): equality iff all eigenvalues are equal.

    sum_i lambda_i^2 >= n mean(lambda)^2  (Eq 25).

    Parameters: `kernel` (n, n). Returns: float. Raises: ValueError, TypeError.

    >>> energy_floor_printed([[3.0, 0.0], [0.0, 1.0]])
    8.0
    """
    values = spectrum(kernel)
    return float(values.sum() ** 2 / values.size)


def redundancy_bound_r1_printed(kernel: Any, epsilon: float) -> float:
    """Bound of Prop B.6, first reading.

    |K - K_V|_F / |K|_F <= eps' = (eps lambda_{r+1} / mean(lambda))^{1/2}  (Prop B.6, R1).

    Parameters: `kernel` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> redundancy_bound_r1_printed([[3.0, 0.0], [0.0, 1.0]], 0.5)
    0.5
    """
    cut = _cut(kernel, epsilon)
    return float(np.sqrt(cut.epsilon * cut.next / cut.mean))


def redundancy_bound_r2_printed(kernel: Any, epsilon: float) -> float:
    """Bound of Prop B.6, second reading: the weaker one.

    |K - K_V|_F / |K|_F <= eps' = eps sqrt(n)  (Prop B.6, R2).

    Parameters: `kernel` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> redundancy_bound_r2_printed([[3.0, 0.0, 0, 0], [0.0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]], 0.25)
    0.5
    """
    cut = _cut(kernel, epsilon)
    return float(cut.epsilon * np.sqrt(cut.count))


def improved_redundancy_bound_gap(kernel: Any, epsilon: float) -> float:
    """Improved bound of Prop B.6 by the gap at the cut: at most sqrt(eps), without the mean eigenvalue.

    (kappa eps / (1 - eps + kappa eps))^{1/2}, kappa = lambda_{r+1} / lambda_r <= 1  (Prop B.6, improved, first).

    Parameters: `kernel` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> improved_redundancy_bound_gap([[3.0, 0.0], [0.0, 1.0]], 0.5)
    0.5
    """
    cut = _cut(kernel, epsilon)
    odds = cut.next / cut.last * cut.epsilon
    return float(np.sqrt(odds / (1 - cut.epsilon + odds)))


def improved_redundancy_bound_mean(kernel: Any, epsilon: float) -> float:
    """Improved bound of Prop B.6 by Cauchy-Schwarz on the kept eigenvalues alone.

    (eps lambda_{r+1} / ((1 - eps)^2 mean(lambda)) r / n)^{1/2}  (Prop B.6, improved, second).

    Parameters: `kernel` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> round(improved_redundancy_bound_mean([[3.0, 0.0], [0.0, 1.0]], 0.5) ** 2, 12)
    0.5
    """
    cut = _cut(kernel, epsilon)
    share = cut.rank / cut.count
    return float(np.sqrt(cut.epsilon * cut.next * share / cut.mean) / (1 - cut.epsilon))


def projected_redundancy_bound_printed(projected: Any, epsilon: float) -> float:
    """Bound of Prop B.6 with projected eigenvalues in place of true ones, to leading order as printed.

    eps'~ = (eps lambda~_{r+1} / mean(lambda~))^{1/2}, r = r_eps(K~)  (Prop B.6, JL step as printed).

    Parameters: `projected` (n, n) not zero, `epsilon` in [0, 1). Returns: float. Raises: ValueError, TypeError.

    >>> projected_redundancy_bound_printed([[3.0, 0.0], [0.0, 1.0]], 0.5)
    0.5
    """
    _check.spectrum("projected", projected)
    return redundancy_bound_r1_printed(projected, epsilon)
