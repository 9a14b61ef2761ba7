"""A full problem whose gradients are there, in coordinates: for experiments that must know the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from dntk_fast.certificates.full_problem import FullProblem
from dntk_fast.certificates.parameter_weights import Weights

__all__ = ["FormedProblem", "joint_factor"]


@dataclass(frozen=True, eq=False)
class FormedProblem(FullProblem):
    """The problem of `FullProblem` with gradients (C, N, q) given; inputs are row numbers among them.

    Weights are "span" (C, q), in the coordinates of the gradients, and "rest" (C, 1), the part outside all of them.

    >>> rows, y = torch.tensor([0]), torch.tensor([[3.0]])
    >>> problem = FormedProblem(torch.nn.Identity(), rows, y, 5.0, features=torch.eye(2)[None])
    >>> problem.predict({"span": torch.tensor([[4.0, 7.0]])}, torch.tensor([1, 0])).tolist()
    [[7.0, 4.0]]
    """

    features: Tensor = field(default_factory=lambda: torch.zeros(0, 0, 0))

    @property
    def precision(self) -> torch.dtype:
        """The precision of the products."""
        return self.dtype or self.features.dtype

    def kernel(self, x1: Any, x2: Any = None, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return K_c of rows, (C, n1, n2), float64."""
        first = self._gradients(x1, dtype)
        return (first @ (first if x2 is None else self._gradients(x2, dtype)).mT).double()

    def diagonal(self, x: Any, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return |phi_c(x)|^2, (C, t)."""
        return self._gradients(x, dtype).square().sum(2)

    def predict(self, weights: Mapping[str, Tensor], x: Any, *, dtype: torch.dtype | None = torch.float64) -> Tensor:
        """Return Phi_c w_c on rows, (C, t)."""
        rows = self._gradients(x, dtype)
        return (rows @ weights["span"].to(rows)[..., None])[..., 0]

    def backward(self, coefficients: Tensor) -> Weights:
        """Return Phi_c^T a_c over the training rows."""
        rows = self._gradients(self.x, None)
        span = (coefficients.to(rows)[:, None] @ rows)[:, 0]
        return {"span": span, "rest": span.new_zeros(len(span), 1)}

    def rows(self, chosen: Tensor) -> FormedProblem:
        """Return the problem on some of its rows, in float64."""
        return replace(
            self, x=self.x[chosen], targets=self.targets[:, chosen].double(), trace=None, dtype=torch.float64
        )

    def _gradients(self, x: Tensor, dtype: torch.dtype | None) -> Tensor:
        whole = len(x) > 0 and bool((x.diff() == 1).all())
        rows = self.features[:, int(x[0]) : int(x[-1]) + 1] if whole else self.features[:, x]
        return rows.to(dtype or self.precision)


def joint_factor(kernel: Tensor) -> Tensor:
    """Give gradients with these kernels, K_c = F_c F_c^T, as lower triangles rounded to float32: (C, N, N).

    >>> joint_factor(torch.tensor([[[4.0, 2.0], [2.0, 2.0]]])).tolist()
    [[[2.0, 0.0], [1.0, 1.0]]]
    """
    return torch.linalg.cholesky(kernel.double()).float()
