"""How far a predictor is from the full kernel machine, without computing it (9.3).

A subset S of training rows gives H_S = Phi_S^T Phi_S + lam I <= H, and with it the error d = w - w_* lies in the ellipsoid
(d - z/2)^T H_S (d - z/2) <= q/4, z = H_S^-1 r, q = r^T z: all bounds below are maxima over it. An empty subset gives the
bounds without one (B0). A duality gap known from elsewhere adds the ellipsoid d^T H_S d <= d^T H d <= 2 gap.

r is in the model's precision, with an allowance for its rounding; whatever concerns S alone is computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast._arrays import apply
from dntk_fast.fidelity import certified, fidelity_bound, fidelity_error
from dntk_fast.full_problem import FullProblem, Residual, duality_gap_at, gap_allowance, residual
from dntk_fast.parameter_weights import Weights, combined, inner, parameter_weights, scaled, spread
from dntk_fast.tangent.generic import take

__all__ = [
    "Certificate",
    "FullProblem",
    "HeldOut",
    "HeldOutBounds",
    "Residual",
    "Seen",
    "Subset",
    "Weights",
    "certified",
    "certify",
    "combined",
    "duality_gap_at",
    "fidelity_bound",
    "fidelity_error",
    "gap_allowance",
    "held_out",
    "held_out_bounds",
    "inner",
    "parameter_weights",
    "residual",
    "training_subset",
]

# The multipliers at which the training bound is tried; any gives a bound, neighbours differ by a factor 1.1.
_MULTIPLIERS = torch.logspace(-8, 8, 387, dtype=torch.float64)


# --- a subset of training rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Subset:
    """Training rows S and K_SS = V diag(eigenvalues) V^T of every class: what H_S^-1 needs besides two passes over S.

    Attributes
    ----------
    problem : the full problem
    rows : (m,) row numbers, m may be 0
    eigenvalues, vectors : (C, m) and (C, m, m), float64
    """

    problem: FullProblem
    rows: Tensor
    eigenvalues: Tensor
    vectors: Tensor

    @cached_property
    def part(self) -> FullProblem:
        """The problem on the rows of S alone."""
        return self.problem.rows(self.rows)

    @cached_property
    def features(self) -> Tensor:
        """Return K_nS V diag(eigenvalues)^-1/2, (C, n, m): their kernel is K_nS K_SS^+ K_Sn <= K, exact on the rows of S."""
        problem = self.problem
        if not len(self.rows):
            return problem.targets.new_zeros(*problem.targets.shape, 0, dtype=torch.float64)
        return problem.kernel(problem.x, take(problem.x, self.rows)) @ self._whitening

    def completed(self, features: Tensor) -> Tensor:
        """Return the features of S, and what projected features (C, n, k) add: the part of every row outside S, projected.

        That part is phi_i - Phi_S^T K_SS^+ k_S(x_i), far smaller than phi_i, and so is the error of its projection.
        """
        own, projected = self.features, features.double()
        seen = own @ (self._whitening.mT @ projected[:, self.rows])
        return torch.cat((own, projected - seen), 2)

    @cached_property
    def _whitening(self) -> Tensor:
        """V diag(eigenvalues)^-1/2, without the directions that the precision of the problem cannot tell from zero."""
        lost = self.eigenvalues <= torch.finfo(self.problem.precision).eps * self.eigenvalues[:, -1:]
        return self.vectors * torch.where(lost, 0.0, self.eigenvalues.clamp(min=1e-300).rsqrt())[:, None]

    def coordinates(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return V^T Phi_S w, (C, m)."""
        if not len(self.rows):
            return self.eigenvalues
        return apply(self.vectors.mT, self.part.forward(weights))

    def inverse(self, weights: Mapping[str, Tensor], coordinates: Tensor, shift: Tensor) -> Weights:
        """Return (Phi_S^T Phi_S + s I)^-1 w by Woodbury, in float64, from the coordinates of w."""
        inverse = 1 / shift
        if not len(self.rows):
            return {name: scaled(inverse, w.double()) for name, w in weights.items()}
        inside = self.part.backward(apply(self.vectors, coordinates / (self.eigenvalues + shift[:, None])))
        for (
            name,
            w,
        ) in weights.items():  # in place: at ten outputs of a large network these are the largest arrays there are
            inside[name].neg_().add_(w).mul_(spread(inverse, w))
        return {name: inside[name] for name in weights}

    def energy(self, squared_norm: Tensor, coordinates: Tensor, shift: Tensor) -> Tensor:
        """Return w^T (Phi_S^T Phi_S + s I)^-1 w from |w|^2 and the coordinates of w, for shifts (C,) or (C, G)."""
        wide = shift.reshape(len(shift), -1, 1)
        inside = (coordinates[:, None] ** 2 / (self.eigenvalues[:, None] + wide)).sum(2)
        return ((squared_norm[:, None] - inside).clamp(min=0.0) / wide[..., 0]).reshape(shift.shape)


def training_subset(problem: FullProblem, rows: Tensor) -> Subset:
    """Prepare a subset S of the training rows: their exact kernel, decomposed once for each class.

    Parameters
    ----------
    rows : (m,) distinct row numbers, m may be 0
        Only training rows keep H_S <= H. Distilled inputs, or any others, would certify falsely and are refused.

    Returns
    -------
    Subset

    Raises
    ------
    TypeError, ValueError
        For inputs in place of row numbers; for a row twice or outside the training set.

    >>> problem = FullProblem(torch.nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> training_subset(problem, torch.tensor([0])).eigenvalues.tolist()
    [[4.0]]
    """
    if not isinstance(rows, Tensor) or rows.is_floating_point() or rows.ndim != 1:
        got = f"shape {tuple(rows.shape)}, {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise TypeError(
            f"rows: expected row numbers (m,) of training inputs (others, distilled ones too, certify falsely), got {got}"
        )
    C, device = len(problem.targets), problem.targets.device
    if not len(rows):
        empty = torch.zeros(C, 0, dtype=torch.float64, device=device)
        return Subset(problem, rows.long(), empty, empty[:, None].reshape(C, 0, 0))
    part = problem.rows(_check.distinct("rows", rows, problem.n).long())
    values, vectors = torch.linalg.eigh(part.kernel(part.x))
    return Subset(problem, rows.long(), values.clamp(min=0.0), vectors)


@dataclass(frozen=True, eq=False)
class Seen:
    """A residual as a subset of training rows sees it; everything is computed once, when it is asked for."""

    subset: Subset
    residual: Residual

    @cached_property
    def coordinates(self) -> Tensor:
        """Return V^T Phi_S r, (C, m)."""
        return self.subset.coordinates(self.residual.values)

    @cached_property
    def root(self) -> Tensor:
        """Return sqrt(r^T H_S^-1 r), (C,)."""
        return self.energy(self.subset.problem.ridge).sqrt()

    @cached_property
    def solved(self) -> Weights:
        """Return z = H_S^-1 r, in float64."""
        return self.subset.inverse(self.residual.values, self.coordinates, self.subset.problem.ridge)

    def energy(self, shift: Tensor) -> Tensor:
        """Return r^T (Phi_S^T Phi_S + s I)^-1 r for shifts (C,) or (C, G)."""
        return self.subset.energy(self.residual.norm**2, self.coordinates, shift)


# --- the certificates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds of every class on the distance to the full-data, full-parameter predictor, (C,) each, rounding allowed for.

    Attributes
    ----------
    residual_norm, allowance : |r|, and what rounding may add to it
    weights : |w - w_*| <= |r| / lam
    duality_gap : J(w) - J(w_*) <= |r|^2 / (2 lam), the exact gap at the dual point y - Phi w
    excess : J(w) - J(w_*) <= r^T H_S^-1 r / 2, never above the gap
    training_rms : |Phi (w - w_*)| / sqrt(n) <= min over mu of (1 + mu) / 2 sqrt(r^T (lam I + mu H_S)^-1 r / n),
        never above |r| / (2 sqrt(lam n))
    """

    residual_norm: Tensor
    allowance: Tensor
    weights: Tensor
    duality_gap: Tensor
    excess: Tensor
    training_rms: Tensor


def certify(seen: Seen, *, gap: Tensor | None = None) -> Certificate:
    """Bound weights, objective and training error of every class by a residual and a subset of training rows (9.3).

    Parameters
    ----------
    seen : the residual and the subset
    gap : (C,) or None
        A duality gap of the same weights (`duality_gap_at`): |w - w_*|_H^2 <= 2 gap bounds all four as well.

    >>> problem = FullProblem(torch.nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> r = residual(problem, {"weight": torch.ones(1, 1, 1)})
    >>> round(float(certify(Seen(training_subset(problem, torch.tensor([0])), r)).excess), 4)  # (3 / 9) 3 / 2
    0.5
    """
    found, problem = seen.residual, seen.subset.problem
    lam, n, norm = problem.ridge, problem.n, found.norm + found.allowance
    mu = _MULTIPLIERS.to(lam.device)
    squared = (1 + mu) ** 2 / (4 * mu) * seen.energy(lam[:, None] * (1 + 1 / mu))
    best = torch.minimum(squared.amin(1), found.norm**2 / (4 * lam)).sqrt()
    other = torch.full_like(lam, torch.inf) if gap is None else gap
    return Certificate(
        residual_norm=found.norm,
        allowance=found.allowance,
        weights=torch.minimum(norm / lam, (2 * other / lam).sqrt()),
        duality_gap=torch.minimum(norm**2 / (2 * lam), other),
        excess=torch.minimum((seen.root + found.allowance / lam.sqrt()) ** 2 / 2, other),
        training_rms=torch.minimum(best + found.allowance / (2 * lam.sqrt()), (2 * other).sqrt()) / n**0.5,
    )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Inputs whose predictions are to be bounded, and how far S lets the error reach there.

    Attributes
    ----------
    x : t inputs, any
    scale : (C, t), s_S(x) = sqrt(phi^T H_S^-1 phi)
    spread : (C,), lambda_max(Phi_t H_S^-1 Phi_t^T), or its trace
    """

    x: Any
    scale: Tensor
    spread: Tensor


@dataclass(frozen=True, eq=False)
class HeldOutBounds:
    """Where the errors f_hat - f_* on held-out inputs lie.

    Attributes
    ----------
    centre, half_width : (C, t)
        |(f_hat - f_*) - centre| <= half_width; f_hat - centre is a predictor with at most half of B3's error bound
    pointwise : (C, t), |f_hat - f_*| at most
    rms : (C,), the root mean square of f_hat - f_* over the t inputs at most
    """

    centre: Tensor
    half_width: Tensor
    pointwise: Tensor
    rms: Tensor


def held_out(subset: Subset, x: Any, *, spread: str = "kernel") -> HeldOut:
    """Measure held-out inputs by H_S^-1, from exact kernels in float64 and once for all residuals.

    Parameters
    ----------
    x : t inputs, any
    spread : "kernel", or "trace"
        Whether the largest eigenvalue of Phi_t H_S^-1 Phi_t^T is taken, from the (C, t, t) kernel, or its trace, an upper
        bound from the diagonal.

    >>> problem = FullProblem(torch.nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> round(float(held_out(training_subset(problem, torch.tensor([0])), torch.tensor([[6.0]])).scale), 6)
    2.0
    """
    _check.choice("spread", spread, ("kernel", "trace"))
    problem, lam, double = subset.problem, subset.problem.ridge, torch.float64
    inside = torch.zeros(len(lam), _check.samples("x", x), 0, dtype=double, device=lam.device)
    if len(subset.rows):
        cross = problem.kernel(x, subset.part.x, dtype=double)
        inside = cross @ subset.vectors / (subset.eigenvalues + lam[:, None]).sqrt()[:, None]
    if spread == "kernel":
        whole = (problem.kernel(x, dtype=double) - inside @ inside.mT) / lam[:, None, None]
        squared, reach = whole.diagonal(dim1=1, dim2=2), torch.linalg.eigvalsh(whole)[:, -1]
    else:
        squared = (problem.diagonal(x, dtype=double) - inside.square().sum(2)) / lam[:, None]
        reach = squared.sum(1)
    return HeldOut(x, squared.clamp(min=0.0).sqrt(), reach.clamp(min=0.0))


def held_out_bounds(seen: Seen, held: HeldOut, *, gap: Tensor | None = None) -> HeldOutBounds:
    """Bound the error at held-out inputs by |phi^T H_S^-1 r| / 2 + s_S sqrt(r^T H_S^-1 r) / 2, and its RMS (9.3).

    Never above B3, s_S sqrt(r^T H_S^-1 r), nor the RMS above sqrt(lambda_max / t) sqrt(r^T H_S^-1 r), but for the
    allowance. With a duality gap of the same weights the error also is within s_S sqrt(2 gap) of zero.

    >>> problem = FullProblem(torch.nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> subset, r = training_subset(problem, torch.tensor([0])), residual(problem, {"weight": torch.ones(1, 1, 1)})
    >>> bounds = held_out_bounds(Seen(subset, r), held_out(subset, torch.tensor([[6.0]])))
    >>> round(float(bounds.rms), 4), round(float(bounds.centre), 4)  # the true error is 6 * 3 / 9
    (2.0, 1.0)
    """
    problem, lam, t = seen.subset.problem, seen.subset.problem.ridge, held.scale.shape[1]
    shift = problem.predict(seen.solved, held.x)
    # Of the rounding nothing is known but its norm: it has no centre, and counts with its full radius.
    reach = seen.root / 2 + seen.residual.allowance / lam.sqrt()
    low, high = shift / 2 - held.scale * reach[:, None], shift / 2 + held.scale * reach[:, None]
    rms = shift.norm(dim=1) / 2 + held.spread.sqrt() * reach
    if gap is not None:
        radius = (2 * gap).sqrt()
        edge = held.scale * radius[:, None]
        low, high, rms = (
            torch.maximum(low, -edge),
            torch.minimum(high, edge),
            torch.minimum(rms, held.spread.sqrt() * radius),
        )
    half_width = ((high - low) / 2).clamp(min=0.0)
    return HeldOutBounds((low + high) / 2, half_width, torch.maximum(-low, high), rms / t**0.5)
