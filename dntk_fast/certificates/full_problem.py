"""Ridge regression with all training rows and all parameters, through products alone, and its residual.

The full problem of class c has w_* = H^-1 Phi^T y, H = Phi^T Phi + lam I. Any pipeline's output is phi^T w; its residual
r = lam w + Phi^T (Phi w - y) = H (w - w_*) takes one J v and one J^T a pass over the data and O(P) memory per class. It is
in the model's precision, with an allowance for its rounding.
Source: `certificate_primal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.certificates.parameter_weights import Weights, combined, inner, scaled
from dntk_fast.tangent.batches import take
from dntk_fast.tangent.jacobian import Jacobian

__all__ = ["FullProblem", "Residual", "duality_gap_at", "gap_allowance", "residual"]


@dataclass(frozen=True, eq=False)
class FullProblem:
    """Ridge regression on all rows and all parameters, J_c(w) = |Phi_c w - y_c|^2 / 2 + lam_c |w|^2 / 2; nothing is formed.

    Attributes
    ----------
    jacobian : of the network, with the outputs, parameters, precision and memory of the problem; or a module in evaluation
        mode, of which one is made
    x : its n training inputs
    targets : (C, n)
    lam : above 0, one number or one for each class (C,)
    trace : (C,) or None
        tr K_c = sum_i |phi_c(x_i)|^2, from which the allowance for rounding is made; None computes it when it is asked for,
        at the cost of one more forward and backward pass. The squared norm of projected features is an estimate.
    """

    jacobian: Jacobian | nn.Module
    x: Any
    targets: Tensor
    lam: float | Tensor
    trace: Tensor | None = None

    def __post_init__(self) -> None:
        n = _check.samples("x", self.x)
        _check.rows("targets", _check.tensor("targets", self.targets), ndim=2)
        _check.array_like("targets", self.targets, self.targets, (None, n))
        _check.ridge("lam", self.lam, self.targets, (len(self.targets),))

    @property
    def n(self) -> int:
        """Number of training rows."""
        return int(self.targets.shape[1])

    @cached_property
    def ridge(self) -> Tensor:
        """Return lam of every class, (C,), float64."""
        found: Tensor = _check.ridge("lam", self.lam, self.targets, (len(self.targets),))
        return found.expand(len(self.targets))

    @cached_property
    def traces(self) -> Tensor:
        """Return tr K_c, (C,), float64."""
        return self.squared_norms.sum(1) if self.trace is None else self.trace.double()

    @cached_property
    def squared_norms(self) -> Tensor:
        """Return |phi_c(x_i)|^2 of the training inputs, (C, n), float64."""
        return self.diagonal(self.x).double()

    @cached_property
    def J(self) -> Jacobian:  # noqa: N802 - the matrix of all Phi_c
        """The Jacobian, made of the module where one was given."""
        return Jacobian(self.jacobian) if isinstance(self.jacobian, nn.Module) else self.jacobian

    @property
    def model(self) -> nn.Module:
        """The network, as it was given."""
        return self.J.given

    @property
    def precision(self) -> torch.dtype:
        """The precision of the products."""
        return self.J.precision

    def kernel(self, x1: Any, x2: Any = None, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return K_c of any inputs, in the problem's precision or as asked, (C, n1, n2), float64."""
        return self.J.to(dtype).kernel(x1, x2)

    def diagonal(self, x: Any, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return |phi_c(x)|^2, (C, t)."""
        return self.J.to(dtype).diagonal(x)

    def forward(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return Phi_c w_c on the training inputs: one J v per class, (C, n)."""
        return self.J.matvec(self.x, weights)

    def predict(self, weights: Mapping[str, Tensor], x: Any, *, dtype: torch.dtype | None = torch.float64) -> Tensor:
        """Return Phi_c w_c on any inputs, in float64 or as asked, (C, t)."""
        return self.J.to(dtype).matvec(x, weights)

    def backward(self, coefficients: Tensor) -> Weights:
        """Return Phi_c^T a_c over the training inputs: one J^T a per class."""
        return self.J.rmatvec(self.x, coefficients)

    def rows(self, chosen: Tensor) -> FullProblem:
        """Return the problem on some of its rows, in float64, in this process alone."""
        local = self.J.alone.to(torch.float64)
        return FullProblem(local, take(self.x, chosen), self.targets[:, chosen].double(), self.lam)


@dataclass(frozen=True, eq=False)
class Residual:
    """The primal residual r_c of some weights, its norm, what rounding may add to that norm, (C,) each, and its problem."""

    values: Weights
    norm: Tensor
    allowance: Tensor
    problem: FullProblem


def residual(problem: FullProblem, weights: Mapping[str, Tensor], *, fitted: Tensor | None = None) -> Residual:
    """The residual from its definition: r = lam w + Phi^T (Phi w - y), one J v and one J^T a pass for each class.

    The allowance is u (|Phi|_F^2 |w| + |Phi|_F |y| + lam |w|), u the rounding of the model's precision: what is
    expected of rounding errors that add up as random ones do, not a bound on them. For `fitted` from elsewhere it covers a
    difference to Phi w of the same size.
    Source: `certificate_primal`.

    Parameters
    ----------
    weights : by parameter name, (C, *shape)
    fitted : (C, n) or None
        Phi w where it is known (of projected weights, phi~^T w~): the J v pass is saved.

    Returns
    -------
    Residual

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> residual(problem, {"weight": torch.ones(1, 1, 1)}).norm.tolist()
    [3.0]
    """
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise TypeError(f"weights: expected torch tensors by the names of parameters, got {type(weights).__name__}")
    unknown = sorted(weights.keys() - set(problem.J.names))
    if unknown:
        _check.refuse("weights", "parameters of the problem", unknown)
    known = problem.forward(weights) if fitted is None else fitted
    _check.array_like("fitted", known, problem.targets, tuple(problem.targets.shape))
    values = problem.backward(known - problem.targets.to(known))
    for name, w in weights.items():
        _check.array_like(f"weights[{name!r}]", w, values[name], tuple(values[name].shape))
        values[name].add_(scaled(problem.ridge, w.to(values[name])))
    unit = torch.finfo(next(iter(values.values())).dtype).eps
    size, y, w_norm = problem.traces.sqrt(), problem.targets.double().norm(dim=1), inner(weights, weights).sqrt()
    allowance = unit * (size**2 * w_norm + size * y + problem.ridge * w_norm)
    return Residual(values, inner(values, values).sqrt(), allowance, problem)


def duality_gap_at(
    problem: FullProblem, weights: Weights, coefficients: Tensor, *, fitted: Tensor | None = None
) -> Tensor:
    """The gap at any dual point, (|Phi w - y + lam alpha|^2 + lam |w - Phi^T alpha|^2) / 2, with what rounding may hide.

    Never below J(w) - J(w_*), and equal to it at alpha = (K + lam I)^-1 y: with coefficients near those (`refine.solve`)
    the certificate of any weights is nearly tight. |w - w_*|_H <= sqrt(2 gap) bounds the training RMS by sqrt(2 gap / n)
    and the held-out RMS by sqrt(2 gap spread / t).

    Parameters
    ----------
    weights : by parameter name, (C, *shape)
    coefficients : alpha (C, n)
    fitted : as in `residual`

    Returns
    -------
    Tensor (C,), float64

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> gap = duality_gap_at(problem, {"weight": torch.ones(1, 1, 1)}, torch.tensor([[1 / 3]]))  # alpha of the optimum
    >>> round(float(gap), 4)
    0.5
    """
    _check.array_like("coefficients", coefficients, problem.targets, tuple(problem.targets.shape))
    known = problem.forward(weights) if fitted is None else fitted
    _check.array_like("fitted", known, problem.targets, tuple(problem.targets.shape))
    lam, alpha = problem.ridge, coefficients.double()
    outside = combined(problem.backward(coefficients), -torch.ones_like(lam), weights)
    inside = known.double() - problem.targets.double() + lam[:, None] * alpha
    size = (inside.square().sum(1) + lam * inner(outside, outside)).sqrt()
    return (size + gap_allowance(problem, weights, alpha)) ** 2 / 2


def gap_allowance(problem: FullProblem, weights: Weights, coefficients: Tensor) -> Tensor:
    """What rounding is expected to hide in sqrt(2 gap), (C,).

    u (|Phi|_F |w| + |y| + lam |alpha| + sqrt(lam) |Phi|_F |alpha|), u the rounding of the weights' precision. A size, not
    a bound: of errors of single products that add up as random ones do.

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 4.0)
    >>> float(gap_allowance(problem, {"weight": torch.ones(1, 1, 1)}, torch.ones(1, 1)) / torch.finfo(torch.float32).eps)
    13.0
    """
    unit = torch.finfo(next(iter(weights.values())).dtype).eps
    size, lam, alpha = problem.traces.sqrt(), problem.ridge, coefficients.double().norm(dim=1)
    w, y = inner(weights, weights).sqrt(), problem.targets.double().norm(dim=1)
    found: Tensor = unit * (size * w + y + (lam + lam.sqrt() * size) * alpha)
    return found
