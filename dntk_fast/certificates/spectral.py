"""Certificates of the exact kernel's spectrum from sketched features, r backward passes and n gradient norms.

Eigenvectors of a sketched kernel need not be those of the exact one: any orthonormal z_1 ... z_r hold at most what the r
largest eigenvalues do. Their energies |Phi^T z_j|^2 take one J^T a each and the trace one forward and C backward passes:
no kernel, no Jacobian, and as many gradients of all parameters at a time as `memory` holds.
Source: `rank_by_products`.

What the sketch says by itself are estimates and bracket nothing: the naive rank tends to be low, the cross-validated one
high, each may lie on the wrong side (K = diag(.951, .049) and diag(.949, .051) at epsilon = .05).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._arrays import Array, double, eigh, integers, namespace
from dntk_fast.kernels.redundancy import RTOL, truncation_rank
from dntk_fast.projection import hashing
from dntk_fast.tangent.batches import Outputs, Parameters
from dntk_fast.tangent.kernel import kernel_diagonal
from dntk_fast.tangent.products import quadratic_forms
from dntk_fast.tangent.result import TangentFeatures

__all__ = [
    "RankEstimates",
    "SpectralCertificate",
    "TraceInterval",
    "cross_validated_rank",
    "leading_directions",
    "rank_estimates",
    "spectral_certificate",
    "trace_interval",
]

# How far Z^T Z may be from the identity in Frobenius norm; what it is, the energies are divided by one more than it.
_ORTHONORMAL = 1e-3


# --- what is certain --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SpectralCertificate:
    """What r orthonormal directions hold of every exact class kernel, in float64.

    Attributes
    ----------
    energy : (C, r), |Phi_c^T z_j|^2
    trace : (C,), tr K_c
    n : number of rows
    unit : rounding of the precision in which the energies were computed
    """

    energy: Tensor
    trace: Tensor
    n: int
    unit: float

    @property
    def captured(self) -> Tensor:
        """Return the energy held by the first j directions, j = 1 ... r, less what rounding may add: (C, r)."""
        rank = torch.arange(1, self.energy.shape[1] + 1, dtype=torch.float64, device=self.trace.device)
        return self.energy.cumsum(1) - 2 * self.unit * rank.sqrt() * self.trace[:, None]

    def rank_bound(self, epsilon: float) -> Tensor:
        """Return an upper bound on the truncation rank r_eps(K_c) of Definition 3.1, (C,), never above n.

        The first j directions that hold a share 1 - eps of tr K; where all r do not, r + ceil((n - r) missing / rest): of
        the n - r directions orthogonal to them the best q hold at least q / (n - r) of the rest.

        >>> SpectralCertificate(torch.tensor([[4.0]]), torch.tensor([6.0]), 3, 0.0).rank_bound(0.25).tolist()
        [2]
        """
        # Definition 3.1 counts a share as held from 1 - RTOL of it on. Half of that slack, once: ties are ties, and no
        # rounding puts the bound below the rank.
        wanted = (1 - _check.fraction("epsilon", epsilon)) * (1 - RTOL / 2)
        captured, r = self._share(self.captured), self.energy.shape[1]
        missing = wanted - captured[:, -1]
        more = ((self.n - r) * missing / (1 - captured[:, -1])).ceil().clamp(0, self.n - r)
        first = (captured < wanted).sum(1) + 1
        found = torch.where(missing <= 0, first.double(), r + more).long()
        return torch.where(wanted * self.trace > 0, found, torch.zeros_like(found))

    @property
    def lost(self) -> Tensor:
        """Return a bound on |Phi - Phi Pi_V|_F^2 / |Phi|_F^2 for V = range(Phi^T Z), (C,) (Definition 3.2, R2).

        >>> SpectralCertificate(torch.tensor([[9.0]]), torch.tensor([10.0]), 2, 0.0).lost
        tensor([0.1000], dtype=torch.float64)
        """
        return (1 - self._share(self.captured)[:, -1]).clamp(0.0, 1.0)

    @property
    def redundancy(self) -> Tensor:
        """Return a bound on |K - K_V|_F / |K|_F for the best V of r dimensions, (C,) (Definition 3.2, R1).

        sum_{i>r} lambda_i^2 <= lambda_{r+1} rest_r, rest_j = tr K - (e_1 + ... + e_j), lambda_{r+1} <= rest_j / (r + 1 - j)
        for every j <= r, and |K|_F^2 >= sum_j e_j^2 + rest_r^2 / (n - r).

        >>> SpectralCertificate(torch.tensor([[4.0]]), torch.tensor([5.0]), 2, 0.0).redundancy.square() * 17
        tensor([1.0000], dtype=torch.float64)
        """
        r, whole = self.energy.shape[1], self._share(self.trace[:, None])
        rest = (whole - torch.cat((0 * whole, self._share(self.captured)), 1)).clamp(min=0.0)
        following = (rest / torch.arange(r + 1, 0, -1, device=rest.device)).amin(1)
        squared = self._share(self.energy).square().sum(1) + rest[:, -1] ** 2 / max(1, self.n - r)
        return (following * rest[:, -1] / torch.where(squared > 0, squared, 1.0)).sqrt().clamp(max=1.0)

    def _share(self, energy: Tensor) -> Tensor:
        """The energy (C, j) over the trace; all is zero where the trace is."""
        return energy / torch.where(self.trace > 0, self.trace, 1.0)[:, None]


def spectral_certificate(
    model: nn.Module,
    x: Any,
    directions: Tensor,
    *,
    trace: Tensor | None = None,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> SpectralCertificate:
    """Measure what orthonormal directions hold of the exact kernels: one J^T a for each, and the n gradient norms.

    Source: `rank_by_products`.

    Parameters
    ----------
    model, x : module in evaluation mode and its n inputs
    directions : (C, n, r), orthonormal columns for every output, the best first (`leading_directions`)
    trace : (C,) or None
        tr K_c where it is known exactly; an estimate certifies nothing, and one below the energies is refused
    memory, dtype, outputs, parameters : as in `tangent_kernel`

    Returns
    -------
    SpectralCertificate

    Raises
    ------
    ValueError
        Directions of another shape or not orthonormal, a trace that their energies exceed, or a model that `tangent_kernel`
        refuses.

    >>> model, x = nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> found = spectral_certificate(model, x, torch.tensor([[[1.0], [0.0]]]))
    >>> found.energy.tolist(), found.trace.tolist(), found.rank_bound(0.2).tolist(), found.rank_bound(0.05).tolist()
    ([[9.0]], [10.0], [1], [2])
    """
    Z, n = _check.rows("directions", directions, ndim=3), _check.samples("x", x)
    _check.array_like("directions", Z, Z, (None, n, None))
    precision = dtype or next(model.parameters()).dtype
    rounded = Z.to(precision).double()
    apart = float(torch.linalg.matrix_norm(rounded.mT @ rounded - torch.eye(Z.shape[2]).to(rounded)).max())
    if apart > _ORTHONORMAL:
        _check.refuse("directions", f"orthonormal columns, up to {_ORTHONORMAL}", f"|Z^T Z - I| = {apart:.3g}")
    options: dict[str, Any] = {"memory": memory, "dtype": dtype, "outputs": outputs, "parameters": parameters}
    energy = quadratic_forms(model, x, Z, **options) / (1 + apart)
    unit = torch.finfo(precision).eps
    if trace is None:
        return SpectralCertificate(energy, kernel_diagonal(model, x, **options).sum(1), n, unit)
    whole = _check.array_like("trace", trace, energy, (len(energy),)).double()
    rounding = 2 * max(unit, torch.finfo(trace.dtype).eps) * Z.shape[2] ** 0.5
    excess, c = (energy.sum(1) - (1 + rounding) * whole).max(0)
    if excess > 0:
        _check.refuse("trace", f"at least the energy {energy[c].sum():.6g} of the directions", f"{whole[c]:.6g}")
    return SpectralCertificate(energy, whole, n, unit)


def leading_directions(features: Tensor, rank: int) -> Tensor:
    """The leading eigenvectors of K~ = Phi~ Phi~^T from sketched features (C, n, k), without K~ where k < n: (C, n, rank).

    Parameters: features (C, n, k), 1 <= rank <= min(n, k). Returns: float64, orthonormal columns also where Phi~ has a
    smaller rank. Raises: ValueError, TypeError.

    >>> leading_directions(torch.tensor([[[0.0, 1.0], [3.0, 0.0]]]), 1).abs().round().tolist()
    [[[0.0], [1.0]]]
    """
    Phi = _check.rows("features", features, ndim=3).double()
    _check.integer("rank", rank, 1, min(Phi.shape[1:]))
    found: Tensor = torch.linalg.svd(Phi, full_matrices=False)[0][..., :rank]
    return found


# --- estimates of the rank --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RankEstimates:
    """Estimates of r_eps(K_c), (C,) integers each; neither bounds it."""

    naive: Tensor
    cross_validated: Tensor


def rank_estimates(features: TangentFeatures, epsilon: float) -> RankEstimates:
    """Estimate the exact kernels' truncation ranks from their sketch alone (`rank_estimates`; no bracket).

    Naive: the rank of K~. Cross-validated: eigenvectors from one half of the coordinates, energies from the other, drawn as
    for `TangentFeatures.sketch_error`; an exact head is in both.
    Parameters: features of n rows, epsilon in [0, 1]. Returns: RankEstimates. Raises: ValueError.
    """
    body, head = features.body.double(), features.head
    k = _check.integer("number of coordinates of the features", body.shape[2], 2)
    order = hashing.permutations(hashing.key(features.plan.sketch.seed, "", "halves"), 1, k, device=body.device)[0]
    own = 0.0 if head is None else head.double() @ head.double().mT
    halves = [
        own + body[..., half] @ body[..., half].mT * (k / len(half)) for half in (order[: k // 2], order[k // 2 :])
    ]
    whole = own + body @ body.mT
    return RankEstimates(truncation_rank(whole, epsilon), cross_validated_rank(halves[0], halves[1], epsilon))


def cross_validated_rank(first: Array, second: Array, epsilon: float) -> Array:
    """The rank whose directions Z come from one half of a sketch and whose energies from the other: an estimate.

    min {r : tr(Z_r^T K~_2 Z_r) >= (1 - epsilon) tr K~_2}, Z the eigenvectors of K~_1.
    Parameters: first, second (C, n, n) or (n, n), of independent halves, epsilon in [0, 1]. Returns: integers (C,) or 0-d;
    0 for K~_2 = 0. Raises: ValueError, TypeError.
    Source: `rank_estimates`.

    >>> import numpy as np
    >>> int(cross_validated_rank(np.diag([9.0, 1.0]), np.diag([1.0, 9.0]), 0.1))
    2
    """
    _, Z = eigh(_check.symmetric("first", first))
    K2 = double(_check.array_like("second", _check.symmetric("second", second), first, tuple(first.shape)))
    xp = namespace(K2)
    captured = xp.cumulative_sum(xp.sum(Z * (K2 @ Z), axis=-2), axis=-1, include_initial=True)
    short = captured < (1.0 - _check.fraction("epsilon", epsilon)) * (1.0 - RTOL) * xp.linalg.trace(K2)[..., None]
    # The first that holds enough: energies may be negative by rounding, and a later sum fall short again.
    places = xp.where(short, xp.asarray(K2.shape[-1], dtype=xp.int64), integers(K2.shape[-1] + 1, K2))
    return xp.min(places, axis=-1)


# --- the trace --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TraceInterval:
    """Where tr K_c lies with the stated confidence, (C,) each; `high` may be infinite."""

    low: Tensor
    high: Tensor


def trace_interval(estimate: Tensor, count: int, *, delta: float, kind: str) -> TraceInterval:
    """Where every tr K_c lies with confidence 1 - delta, given an unbiased estimate of it: [T / (1 + a), T / (1 - b)].

    Source: `trace_concentration`.

    Parameters
    ----------
    estimate : (C,), 0 or above
    count : coordinates of the map, or probes
    delta : between 0 and 1; it holds for each class by itself
    kind : "gaussian", "signs" or "moments"
        Features of a Gaussian map, or Gaussian probes: a - ln(1 + a) = -b - ln(1 - b) = 2 ln(2/delta) / count. The mean of
        `trace_probes`, random signs: the same a, b = sqrt(6 ln(2/delta) / count). Features of any map with
        Var tr K~ <= 2 |K|_F^2 / count, every kind of `Sketch` but "tensorsketch": a = b = sqrt(2 / (count delta)), by
        Chebyshev.

    Returns
    -------
    TraceInterval

    Raises
    ------
    ValueError
        For an argument out of its range.

    >>> found = trace_interval(torch.tensor([3.0]), 40, delta=0.2, kind="moments")
    >>> found.low.tolist(), found.high.tolist()
    ([2.0], [6.0])
    """
    T = _check.rows("estimate", estimate, least=1).double()
    if bool((T < 0).any()):
        _check.refuse("estimate", "numbers that are 0 or above", f"down to {float(T.min()):.6g}")
    _check.integer("count", count, 1)
    if not 0 < delta < 1:
        _check.refuse("delta", "a number between 0 and 1", delta)
    _check.choice("kind", kind, ("gaussian", "signs", "moments"))
    t = 2 * math.log(2 / delta) / count
    if kind == "moments":
        above = below = math.sqrt(2 / (count * delta))
    else:
        above = _solved(lambda a: a - math.log1p(a), t, 2 * t + 2 * math.sqrt(t))
        below = math.sqrt(3 * t) if kind == "signs" else _solved(lambda b: -b - math.log1p(-b), t, 1.0)
    return TraceInterval(T / (1 + above), T / (1 - below) if below < 1 else torch.full_like(T, torch.inf))


def _solved(function: Callable[[float], float], value: float, high: float) -> float:
    """The upper end of the last interval of a bisection for function(x) = value on [0, high], where it increases."""
    low = 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if function(middle) < value else (low, middle)
    return high
