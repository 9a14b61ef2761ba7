"""How far a predictor is from the full kernel machine, without computing it (`certificate_primal`).

A subset S of training rows gives H_S = Phi_S^T Phi_S + lam I <= H, and with it the error d = w - w_* lies in the ellipsoid
(d - z/2)^T H_S (d - z/2) <= q/4, z = H_S^-1 r, q = r^T z: all bounds below are maxima over it. An empty subset gives the
bounds without one (B0). A duality gap known from elsewhere adds the ellipsoid d^T H_S d <= d^T H d <= 2 gap.

r is in the model's precision, with an allowance for its rounding; whatever concerns S alone is computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.certificates.fidelity import certified, fidelity_bound, fidelity_error
from dntk_fast.certificates.full_problem import FullProblem, Residual, duality_gap_at, gap_allowance, residual
from dntk_fast.certificates.parameter_weights import Weights, combined, inner, parameter_weights
from dntk_fast.certificates.subset import Subset, training_subset

__all__ = [
    "Certificate",
    "FullProblem",
    "HeldOut",
    "HeldOutBounds",
    "Residual",
    "Subset",
    "SubsetResidual",
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


@dataclass(frozen=True, eq=False)
class SubsetResidual:
    """A residual as a subset of training rows of its problem sees it; everything is computed once, when it is asked for."""

    subset: Subset
    residual: Residual

    def __post_init__(self) -> None:
        if self.residual.problem is not self.subset.problem:
            remedy = "measure it with residual(subset.problem, weights)"
            _check.refuse("residual", "that of the subset's problem", "that of another problem", remedy=remedy)

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


def certify(measured: SubsetResidual, *, gap: Tensor | None = None) -> Certificate:
    """Bound weights, objective and training error of every class by a residual and a subset of training rows.

    Source: `certificate_primal`.

    Parameters
    ----------
    seen : the residual and the subset
    gap : (C,) or None
        A duality gap of the same weights (`duality_gap_at`): |w - w_*|_H^2 <= 2 gap bounds all four as well.

    Raises
    ------
    ValueError
        A gap of another shape, or one that is not finite and 0 or above.

    >>> problem = FullProblem(torch.nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> r = residual(problem, {"weight": torch.ones(1, 1, 1)})
    >>> round(float(certify(SubsetResidual(training_subset(problem, torch.tensor([0])), r)).excess), 4)  # (3 / 9) 3 / 2
    0.5
    """
    found, problem = measured.residual, measured.subset.problem
    lam, n, norm = problem.ridge, problem.n, found.norm + found.allowance
    mu = _MULTIPLIERS.to(lam.device)
    squared = (1 + mu) ** 2 / (4 * mu) * measured.energy(lam[:, None] * (1 + 1 / mu))
    best = torch.minimum(squared.amin(1), found.norm**2 / (4 * lam)).sqrt()
    other = torch.full_like(lam, torch.inf) if gap is None else _gap(gap, lam)
    return Certificate(
        residual_norm=found.norm,
        allowance=found.allowance,
        weights=torch.minimum(norm / lam, (2 * other / lam).sqrt()),
        duality_gap=torch.minimum(norm**2 / (2 * lam), other),
        excess=torch.minimum((measured.root + found.allowance / lam.sqrt()) ** 2 / 2, other),
        training_rms=torch.minimum(best + found.allowance / (2 * lam.sqrt()), (2 * other).sqrt()) / n**0.5,
    )


def _gap(gap: Tensor, lam: Tensor) -> Tensor:
    _check.array_like("gap", gap, lam, (len(lam),))
    if bool((gap < 0).any()):
        _check.refuse("gap", "numbers that are 0 or above", f"down to {float(gap.min()):.6g}")
    return gap


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Inputs whose predictions are to be bounded, and how far S lets the error reach there.

    Attributes
    ----------
    x : t inputs, any
    scale : (C, t), s_S(x) = sqrt(phi^T H_S^-1 phi)
    spread : (C,), lambda_max(Phi_t H_S^-1 Phi_t^T), or its trace
    subset : S
    """

    x: Any
    scale: Tensor
    spread: Tensor
    subset: Subset


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
    >>> round(float(held_out(training_subset(problem, torch.tensor([0])), torch.tensor([[6.0]])).scale), 4)
    2.0
    """
    _check.choice("spread", spread, ("kernel", "trace"))
    _check.inputs("x", x)
    problem, lam, double = subset.problem, subset.problem.ridge, torch.float64
    inside = solved = torch.zeros(len(lam), _check.samples("x", x), 0, dtype=double, device=lam.device)
    if len(subset.rows):
        shifted = (subset.eigenvalues + lam[:, None]).sqrt()[:, None]
        inside = problem.kernel(x, subset.part.x, dtype=double) @ subset.vectors / shifted
        solved = inside / shifted
    kernel = problem.kernel(x, dtype=double) if spread == "kernel" else None
    own = problem.diagonal(x, dtype=double) if kernel is None else kernel.diagonal(dim1=1, dim2=2)
    lost = subset.lost(own, solved.square().sum(2))
    squared = torch.minimum((own - inside.square().sum(2) + lost).clamp(min=0.0), own) / lam[:, None]
    reach = squared.sum(1)
    if kernel is not None:
        largest = torch.linalg.eigvalsh(kernel - inside @ inside.mT)[:, -1]
        reach = torch.minimum(reach, (largest + lost.sum(1)).clamp(min=0.0) / lam)
    return HeldOut(x, squared.sqrt(), reach, subset)


def held_out_bounds(measured: SubsetResidual, test: HeldOut, *, gap: Tensor | None = None) -> HeldOutBounds:
    """Bound the error at held-out inputs by |phi^T H_S^-1 r| / 2 + s_S sqrt(r^T H_S^-1 r) / 2, and its RMS.

    Never above B3, s_S sqrt(r^T H_S^-1 r), nor the RMS above sqrt(lambda_max / t) sqrt(r^T H_S^-1 r), but for the
    allowance. With a duality gap (C,) of the same weights the error also is within s_S sqrt(2 gap) of zero. Raises:
    ValueError for inputs measured by another subset, or a gap of another shape or that is not finite and 0 or above.
    Source: `certificate_held_out`.

    >>> problem = FullProblem(torch.nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> subset, r = training_subset(problem, torch.tensor([0])), residual(problem, {"weight": torch.ones(1, 1, 1)})
    >>> bounds = held_out_bounds(SubsetResidual(subset, r), held_out(subset, torch.tensor([[6.0]])))
    >>> round(float(bounds.rms), 4), round(float(bounds.centre), 4)  # the true error is 6 * 3 / 9
    (2.0, 1.0)
    """
    if test.subset is not measured.subset:
        remedy = "measure them with held_out(measured.subset, x)"
        _check.refuse(
            "test", "inputs measured by the subset of the residual", "inputs of another subset", remedy=remedy
        )
    problem, lam, t = measured.subset.problem, measured.subset.problem.ridge, test.scale.shape[1]
    shift = problem.predict(measured.solved, test.x)
    # Of the rounding nothing is known but its norm: it has no centre, and counts with its full radius.
    reach = measured.root / 2 + measured.residual.allowance / lam.sqrt()
    low, high = shift / 2 - test.scale * reach[:, None], shift / 2 + test.scale * reach[:, None]
    rms = shift.norm(dim=1) / 2 + test.spread.sqrt() * reach
    if gap is not None:
        radius = (2 * _gap(gap, lam)).sqrt()
        edge = test.scale * radius[:, None]
        low, high, rms = (
            torch.maximum(low, -edge),
            torch.minimum(high, edge),
            torch.minimum(rms, test.spread.sqrt() * radius),
        )
    half_width = ((high - low) / 2).clamp(min=0.0)
    return HeldOutBounds((low + high) / 2, half_width, torch.maximum(-low, high), rms / t**0.5)
