"""Gradients that are there, in coordinates, as a Jacobian: for experiments that must know the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast.tangent.jacobian import Jacobian

__all__ = ["FormedJacobian", "joint_factor"]


class FormedJacobian(Jacobian):
    """The Jacobian whose rows are given, (C, N, q); inputs are row numbers among them.

    Weights are "span" (C, q), in the coordinates of the gradients, and "rest" (C, 1), the part outside all of them.

    >>> J = FormedJacobian(torch.eye(2)[None])
    >>> J.matvec(torch.tensor([1, 0]), {"span": torch.tensor([[4.0, 7.0]])}).tolist()
    [[7.0, 4.0]]
    """

    def __init__(self, rows: Tensor, *, dtype: torch.dtype | None = None) -> None:
        super().__init__(nn.Identity(), dtype=dtype)
        self.gradients = rows

    @property
    def precision(self) -> torch.dtype:
        """The precision of the products."""
        return self.dtype or self.gradients.dtype

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of the weights."""
        return "span", "rest"

    def to(self, dtype: torch.dtype | None) -> FormedJacobian:
        """Return the same rows in another precision."""
        return self if dtype is None or dtype == self.precision else FormedJacobian(self.gradients, dtype=dtype)

    def kernel(self, x1: Any, x2: Any = None, *, out: Tensor | None = None) -> Tensor:
        """Return K_c of rows, (C, n1, n2), float64."""
        first = self._rows(x1)
        found = (first @ (first if x2 is None else self._rows(x2)).mT).double()
        return found if out is None else out.copy_(found)

    def diagonal(self, x: Any) -> Tensor:
        """Return |phi_c(x)|^2, (C, n)."""
        return self._rows(x).square().sum(2)

    def matvec(self, x: Any, weights: Mapping[str, Tensor]) -> Tensor:
        """Return Phi_c w_c, (C, n)."""
        rows = self._rows(x)
        return (rows @ weights["span"].to(rows)[..., None])[..., 0]

    def rmatvec(self, x: Any, coefficients: Tensor) -> dict[str, Tensor]:
        """Return Phi_c^T a_c."""
        rows = self._rows(x)
        span = (coefficients.to(rows)[:, None] @ rows)[:, 0]
        return {"span": span, "rest": span.new_zeros(len(span), 1)}

    def _rows(self, x: Tensor) -> Tensor:
        whole = len(x) > 0 and bool((x.diff() == 1).all())
        rows = self.gradients[:, int(x[0]) : int(x[-1]) + 1] if whole else self.gradients[:, x]
        return rows.to(self.precision)


def joint_factor(kernel: Tensor) -> Tensor:
    """Give gradients with these kernels, K_c = F_c F_c^T, as lower triangles rounded to float32: (C, N, N).

    >>> joint_factor(torch.tensor([[[4.0, 2.0], [2.0, 2.0]]])).tolist()
    [[[2.0, 0.0], [1.0, 1.0]]]
    """
    return torch.linalg.cholesky(kernel.double()).float()
