"""Ridge regression of all classes whose rows can be taken away again: from kernels (dual) or from features (primal).

Both answer the same questions with the same words. What is asked about, `new`, is blocks of kernels (C, t, n) against the
training rows in the dual, and features (C, t, k) in the primal. The ridge is un-normalised. All sums are float64, but for
the products of features, which keep their precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from dntk_fast._arrays import solve_positive
from dntk_fast.kernels.moments import Moments

__all__ = ["DualMachine", "Machine", "PrimalMachine", "dual_machine", "primal_machine"]

# Bytes of the groups' features that are worked on at a time, few enough for a cache; and of those of all rows.
CHUNK, STREAM = 2**24, 2**28


@dataclass(frozen=True, eq=False)
class DualMachine:
    """f_c(x) = k_c(x)^T alpha_c, alpha = A y, A = (K + lam I)^-1.

    Attributes
    ----------
    inverse : (C, n, n), A
    alpha : (C, n)
    lam : the ridge
    """

    inverse: Tensor
    alpha: Tensor
    lam: float

    @property
    def n(self) -> int:
        """Rows."""
        return self.alpha.shape[1]

    def predict(self, new: Tensor) -> Tensor:
        """Return f (C, t)."""
        return (new.double() @ self.alpha[..., None])[..., 0]

    def fitted(self, targets: Tensor) -> Tensor:
        """Return f at the training rows (C, n): y - lam alpha."""
        return targets - self.lam * self.alpha

    def without(self, new: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """Return f without each group of rows, (S, C, t): f - k^T A_:G (A_GG)^-1 alpha_G."""
        pulled, found = new.double() @ self.inverse, self.predict(new).expand(len(groups), -1, -1).clone()
        for places, rows in _of_one_size(groups, 8 * len(self.alpha)):
            for c, A in enumerate(self.inverse):
                block = A[rows[:, :, None], rows[:, None, :]]
                lost = solve_positive(block, self.alpha[c][rows][..., None])[..., 0]
                # scattered into rows: one product for all groups, where they are many
                found[places, c] -= torch.einsum("tsg,sg->st", pulled[c][:, rows], lost)
        return found

    def effects(self, new: Tensor) -> Tensor:
        """Return f - f_-i of every row i, (C, t, n)."""
        return (new.double() @ self.inverse) * (self.alpha / self._diagonal)[:, None]

    def leave_one_out(self, targets: Tensor) -> Tensor:
        """Return f_-i(x_i) of every row, (C, n)."""
        return targets - self.alpha / self._diagonal

    def left_out_variance(self) -> Tensor:
        """Return v_-i(x_i) of every row, (C, n): 1 / A_ii - lam."""
        return (1 / self._diagonal - self.lam).clamp(min=0.0)

    def variance(self, new: Tensor, own: Tensor) -> Tensor:
        """Return v = k(x, x) - k^T A k (C, t); `own` (C, t) is k(x, x)."""
        k = new.double()
        return (own.double() - ((k @ self.inverse) * k).sum(2)).clamp(min=0.0)

    @property
    def _diagonal(self) -> Tensor:
        return self.inverse.diagonal(dim1=1, dim2=2)


@dataclass(frozen=True, eq=False)
class PrimalMachine:
    """f_c(x) = phi_c(x)^T w_c, w = (Phi^T Phi + lam I)^-1 Phi^T y, with Phi^T Phi + lam I = L L^T.

    Attributes
    ----------
    factor : (C, k, k), L
    weights : (C, k), w
    targets : (C, n)
    rows : gives whitened features Psi = Phi L^-T (C, g, k) of rows (g,), of all for None
    lam : the ridge
    kept : whether `rows` has them, or makes them again
    """

    factor: Tensor
    weights: Tensor
    targets: Tensor
    rows: Callable[[Tensor | None], Tensor]
    lam: float
    kept: bool

    @property
    def n(self) -> int:
        """Rows."""
        return self.targets.shape[1]

    def predict(self, new: Tensor) -> Tensor:
        """Return f (C, t)."""
        return (new.double() @ self.weights[..., None])[..., 0]

    def fitted(self, targets: Tensor) -> Tensor:
        """Return f at the training rows (C, n)."""
        return targets - torch.cat([self._residual(near, rows) for rows, near in self._all()], 1)

    def without(self, new: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """Return f without each group, (S, C, t): f - psi(x)^T Psi_G^T (I - Psi_G Psi_G^T)^-1 (y_G - Phi_G w).

        In whitened features the change is one vector for each group and class: g^2 k operations for its block, k for each
        new input. Nothing of size n is touched.
        """
        psi, whole = whitened(new, self.factor), self.predict(new)
        found = whole.expand(len(groups), -1, -1).clone()
        named, short = torch.arange(self.n, device=new.device), list(groups)
        if not self.kept:  # features of the rows that are named alone, each made once
            named, places = torch.unique(torch.cat(short), return_inverse=True)
            short = list(places.split([len(group) for group in groups]))
        near = self.rows(None if self.kept else named)
        rest = self._residual(near, named)
        size = near.shape[2] * near.element_size()
        for at, rows in _of_one_size(short, size):
            identity = torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
            for c, own in enumerate(near):
                # by index_select, a copy row by row: several times as fast as indexing
                P = own.index_select(0, rows.flatten()).view(*rows.shape, -1)
                block = identity - (P @ P.mT).double()
                lost = solve_positive(block, rest[c][rows][..., None])[..., 0]
                change = (lost.to(P.dtype)[:, None] @ P)[:, 0]
                found[at, c] -= (change @ psi[c].mT).double()
        return found

    def effects(self, new: Tensor) -> Tensor:
        """Return f - f_-i of every row i, (C, t, n)."""
        psi = whitened(new, self.factor)
        parts = [(psi @ near.mT).double() * self._lost(near, rows)[:, None] for rows, near in self._all()]
        return torch.cat(parts, 2)

    def leave_one_out(self, targets: Tensor) -> Tensor:
        """Return f_-i(x_i) of every row, (C, n)."""
        return targets - torch.cat([self._lost(near, rows) for rows, near in self._all()], 1)

    def left_out_variance(self) -> Tensor:
        """Return v_-i(x_i) of every row, (C, n): lam h / (1 - h), h = |psi_i|^2."""
        h = torch.cat([near.double().square().sum(2) for _, near in self._all()], 1)
        return self.lam * h / (1.0 - h)

    def variance(self, new: Tensor, own: Tensor | None = None) -> Tensor:
        """Return v = lam phi^T (Phi^T Phi + lam I)^-1 phi (C, t)."""
        return self.lam * whitened(new.double(), self.factor).square().sum(2)

    def _all(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows and their whitened features, some at a time."""
        every = torch.arange(self.n, device=self.targets.device)
        for rows in every.split(max(1, STREAM // (8 * self.weights.numel()))):
            yield rows, self.rows(rows)

    def _lost(self, near: Tensor, rows: Tensor) -> Tensor:
        """Return y_i - f_-i(x_i) of some rows (C, g): (y_i - f(x_i)) / (1 - |psi_i|^2)."""
        return self._residual(near, rows) / (1.0 - near.double().square().sum(2))

    def _residual(self, near: Tensor, rows: Tensor) -> Tensor:
        """Return y - Phi w of some rows, from their whitened features: Phi w = Psi L^T w."""
        own = self.targets[:, rows]
        inner = (self.factor.mT @ self.weights[..., None]).to(near.dtype)
        return own - (near @ inner)[..., 0].double()


Machine: TypeAlias = DualMachine | PrimalMachine


def dual_machine(kernel: Tensor, targets: Tensor, lam: float) -> DualMachine:
    """Solve from kernels (C, n, n) and targets (C, n)."""
    K = kernel.double()
    identity = torch.eye(K.shape[-1], dtype=torch.float64, device=K.device)
    inverse = torch.stack([solve_positive(part + lam * identity, identity) for part in K])
    inverse = (inverse + inverse.mT) / 2
    return DualMachine(inverse, (inverse @ targets.double()[..., None])[..., 0], lam)


def primal_machine(
    moments: Moments, targets: Tensor, lam: float, features: Callable[[Tensor | None], Tensor], *, keep: bool
) -> PrimalMachine:
    """Solve from second moments; `features` gives those of rows (of all for None), kept whitened if `keep`."""
    identity = torch.eye(moments.gram.shape[1], dtype=torch.float64, device=moments.gram.device)
    factor = torch.linalg.cholesky(moments.gram + lam * identity)
    weights = torch.cholesky_solve(moments.right[..., None], factor)[..., 0]
    kept = whitened(features(None), factor) if keep else None

    def rows(chosen: Tensor | None) -> Tensor:
        if kept is None:
            return whitened(features(chosen), factor)
        return kept if chosen is None else kept.index_select(1, chosen)

    return PrimalMachine(factor, weights, targets.double(), rows, lam, keep)


def whitened(features: Tensor, factor: Tensor) -> Tensor:
    """Phi L^-T class by class, in the precision of the features (C, n, k)."""
    parts = [
        torch.linalg.solve_triangular(L.to(part.dtype), part.mT, upper=False).mT
        for part, L in zip(features, factor, strict=True)
    ]
    return torch.stack(parts)


def _of_one_size(groups: Sequence[Tensor], row_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The groups by their sizes, some at a time: their places (s,) and their rows (s, g)."""
    sizes = torch.tensor([len(group) for group in groups])
    for size in sizes.unique().tolist():
        places = torch.nonzero(sizes == size)[:, 0]
        for part in places.split(max(1, CHUNK // (size * max(row_bytes, 8 * size)))):
            yield part, torch.stack([groups[i] for i in part.tolist()])
