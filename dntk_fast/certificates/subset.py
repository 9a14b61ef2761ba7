"""A subset S of training rows: the ridge Hessian H_S = Phi_S^T Phi_S + lam I <= H, and what S knows of the whole kernel.

K_nS K_SS^+ K_Sn <= K is the kernel of the gradients projected on the span of those of S (Nystroem).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast._arrays import apply
from dntk_fast.certificates.full_problem import FullProblem
from dntk_fast.certificates.parameter_weights import Weights, scaled, spread
from dntk_fast.tangent.batches import take

__all__ = ["Subset", "training_subset"]

# Rows in a block of what S leaves out, if S has not more.
_BLOCK = 64


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
    def left_out(self) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
        """Blocks of the kernel that S leaves out, K - K_nS K_SS^+ K_Sn: rows (b,), eigenvalues (C, b), vectors (C, b, b).

        Rows whose largest target is that of the same class are alike: each of them is in a block with some others of them.
        """
        problem, found = self.problem, []
        likeness = problem.targets.argmax(0)
        for c in likeness.unique():
            for rows in torch.nonzero(likeness == c).flatten().split(max(len(self.rows), _BLOCK)):
                own = self.features[:, rows]
                values, vectors = torch.linalg.eigh(problem.kernel(take(problem.x, rows)) - own @ own.mT)
                found.append((rows, values.clamp(min=0.0), vectors))
        return tuple(found)

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
        """Return w^T (Phi_S^T Phi_S + s I)^-1 w from |w|^2 and the coordinates of w, for shifts (C,) or (C, G).

        Rounded up: what the difference of Woodbury's form may have lost is added before it is divided by s, and the form is
        never above |w|^2 / s.
        """
        wide = shift.reshape(len(shift), -1, 1)
        solved = coordinates[:, None] / (self.eigenvalues[:, None] + wide)
        whole, inside = squared_norm[:, None], (coordinates[:, None] * solved).sum(2)
        left = whole - inside + self.lost(whole, solved.square().sum(2))
        return (torch.minimum(left.clamp(min=0.0), whole) / wide[..., 0]).reshape(shift.shape)

    def lost(self, squared_norm: Tensor, squared_solution: Tensor) -> Tensor:
        """Return what rounding may take off |w|^2 - (Phi_S w)^T (K_SS + s I)^-1 Phi_S w, given |(K_SS + s I)^-1 Phi_S w|^2.

        K_SS is off by roundings of its largest eigenvalue, Phi_S w by roundings of its root times |w|:
        u (|w| + sqrt(lambda_1) |(K_SS + s I)^-1 Phi_S w|)^2 covers both.
        """
        unit = (len(self.rows) + 8) * torch.finfo(self.problem.precision).eps
        largest = self.eigenvalues[:, -1:] if len(self.rows) else torch.zeros_like(squared_norm)
        return unit * (squared_norm.sqrt() + (largest * squared_solution).sqrt()) ** 2


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
