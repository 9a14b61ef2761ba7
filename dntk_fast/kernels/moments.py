"""Second moments of features, streamed: what ridge regression, residuals and principal components need of n rows.

Gram matrix G = sum_i phi_i phi_i^T (C, k, k), right side b = sum_i y_i phi_i (C, k) and sum_i y_i^2, summed in float64.
Moments of disjoint rows add, so parts may come from anywhere in any order; features are forgotten as they come.
Source: `certificate_streaming`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast._arrays import RTOL, apply, eigenvalues, eigh, orthonormal_rows
from dntk_fast.files.atomic import remove_drafts
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.kernels.ridge import regularised_solve
from dntk_fast.kernels.subspace import EnergyGap

__all__ = ["KeptSums", "Moments", "Part", "accumulate", "load_moments", "merge", "moments_of"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over n rows of every class, float64.

    Attributes
    ----------
    gram : (C, k, k), sum_i phi_i phi_i^T
    right : (C, k), sum_i y_i phi_i
    squares : (C,), sum_i y_i^2
    n : number of rows
    parts : how many parts of a stream they hold (`accumulate`)
    """

    gram: Tensor
    right: Tensor
    squares: Tensor
    n: int
    parts: int = 1

    @property
    def total(self) -> Tensor:
        """Return |Phi|_F^2 = tr K, (C,)."""
        return self.gram.diagonal(dim1=1, dim2=2).sum(1)

    def ridge_weights(self, lam: float | Tensor) -> Tensor:
        """Return the full-data ridge solution in the primal, w = (Phi^T Phi + lam I)^-1 Phi^T y, (C, k).

        >>> moments_of(torch.tensor([[[2.0], [0.0]]]), torch.tensor([[9.0, 5.0]])).ridge_weights(5.0).tolist()
        [[2.0]]
        """
        ridge = _check.ridge("lam", lam, self.gram, (len(self.gram),)).expand(len(self.gram))
        found: Tensor = regularised_solve(self.gram, self.right, ridge)
        return found

    def squared_error(self, weights: Tensor) -> Tensor:
        """Return the training error |Phi w - y|^2 = w^T G w - 2 w^T b + |y|^2 of weights (C, k): (C,).

        Where it is small against |y|^2 its digits are lost: an error below 1e-16 |y|^2 cannot be told from zero.

        >>> moments_of(torch.tensor([[[2.0], [0.0]]]), torch.tensor([[9.0, 5.0]])).squared_error(torch.tensor([[2.0]]))
        tensor([50.], dtype=torch.float64)
        """
        w = _check.array_like("weights", weights, self.gram, tuple(self.right.shape)).double()
        found: Tensor = (w * apply(self.gram, w)).sum(1) - 2 * (w * self.right).sum(1) + self.squares
        return found.clamp(min=0.0)

    def spectrum(self) -> Tensor:
        """Return the eigenvalues of Phi^T Phi, descending, (C, k): those of K where k >= n, and the zeros.

        >>> moments_of(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[9.0]])).spectrum().tolist()
        [[4.0, 0.0]]
        """
        found: Tensor = eigenvalues(self.gram)
        return found

    def principal(self, rank: int) -> Tensor:
        """Return the leading eigenvectors of Phi^T Phi as rows, (C, rank, k): the directions of most energy (Corollary 3.5).

        Principal components of the uncentred second moment; the `energy_gap` of their span has no misalignment.

        >>> moments_of(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.ones(1, 2)).principal(1).abs().tolist()
        [[[1.0, 0.0]]]
        """
        found: Tensor = eigh(self.gram)[1][..., : _check.integer("rank", rank, 1, self.gram.shape[1])].mT
        return found

    def energy_gap(self, inducing: Tensor, *, rtol: float = RTOL) -> EnergyGap:
        """Return the two parts of Eq (11) for the span of inducing rows (C, m, k), without the features.

        |Phi - Phi Pi_S|_F^2 = tr(G) - tr(V G V^T), V an orthonormal basis of the span: a difference, so a residual below
        1e-16 tr(G) cannot be told from zero.

        >>> moments = moments_of(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.ones(1, 2))
        >>> gap = moments.energy_gap(torch.tensor([[[0.0, 5.0]]]))
        >>> float(gap.residual), float(gap.tail), float(gap.misalignment)
        (4.0, 1.0, 3.0)
        """
        rows = _check.array_like("inducing", inducing, self.gram, (len(self.gram), None, self.gram.shape[2]))
        V, rank = orthonormal_rows(rows, _check.fraction("rtol", rtol))
        held = ((V @ self.gram) * V).sum((1, 2))
        values = self.spectrum()
        leading = (torch.arange(values.shape[1], device=values.device) < rank[:, None]).double()
        tail, inside = (values * (1 - leading)).sum(1), (values * leading).sum(1)
        return EnergyGap((self.total - held).clamp(min=0.0), tail, inside - held, rank, self.total)

    def save(self, path: str | Path) -> None:
        """Write them as a safetensors file, whole or not at all."""
        sums, counts = _parts_of(self)
        write_tensors(path, sums, {name: str(count) for name, count in counts.items()})


def moments_of(features: Tensor, targets: Tensor) -> Moments:
    """Sum the moments of some rows.

    Parameters
    ----------
    features : (C, n, k), any precision
    targets : (C, n)

    >>> moments_of(torch.tensor([[[2.0], [1.0]]]), torch.tensor([[9.0, 5.0]])).gram.tolist()
    [[[5.0]]]
    """
    Phi = _check.rows("features", _check.tensor("features", features), ndim=3).double()
    y = _check.array_like("targets", targets, features, tuple(Phi.shape[:2])).double()
    found = Moments(Phi.mT @ Phi, apply(Phi.mT, y), y.square().sum(1), Phi.shape[1])
    if not all(bool(torch.isfinite(sums).all()) for sums in (found.gram, found.right, found.squares)):
        largest = max(float(Phi.abs().max()), float(y.abs().max()))
        _check.refuse("features", "numbers whose squares float64 holds", f"some up to {largest:.3g}")
    return found


def merge(first: Moments, second: Moments) -> Moments:
    """Add the moments of disjoint rows; the order matters to rounding alone.

    >>> one = moments_of(torch.tensor([[[2.0]]]), torch.tensor([[9.0]]))
    >>> merge(one, one).gram.tolist(), merge(one, one).n
    ([[[8.0]]], 2)
    """
    if first.gram.shape != second.gram.shape:
        _check.refuse("second", f"moments of shape {tuple(first.gram.shape)}", f"shape {tuple(second.gram.shape)}")
    where = first.gram.device
    return Moments(
        first.gram + second.gram.to(where),
        first.right + second.right.to(where),
        first.squares + second.squares.to(where),
        first.n + second.n,
        first.parts + second.parts,
    )


def _parts_of(moments: Moments) -> tuple[dict[str, Tensor], dict[str, int]]:
    sums = {"gram": moments.gram, "right": moments.right, "squares": moments.squares}
    return sums, {"n": moments.n, "parts": moments.parts}


def load_moments(path: str | Path, *, device: torch.device | str = "cpu") -> Moments:
    """Read saved moments back, or those of the checkpoint of a stream.

    Raises
    ------
    ValueError
        A damaged file, or one that holds something else.
    """
    tensors, words = read_tensors(path, sealed=True)
    return _moments(tensors, words if "n" in words else Checkpoint.numbers(Path(path)), path, device)


def _moments(
    tensors: Mapping[str, Tensor], counts: Mapping[str, Any], path: str | Path, device: torch.device | str
) -> Moments:
    """The moments that a file holds, if they can be sums of squares and products of some rows."""
    if not {"gram", "right", "squares"} <= tensors.keys() or not {"n", "parts"} <= counts.keys():
        _check.refuse("path", "saved moments", f"{path} with {sorted(tensors)}")
    gram, right, squares = (tensors[name].to(device) for name in ("gram", "right", "squares"))
    shape, alike = tuple(gram.shape), all(part.dtype == torch.float64 for part in (gram, right, squares))
    if len(shape) != 3 or not alike or (right.shape, squares.shape) != (shape[:2], shape[:1]) or shape[1] != shape[2]:
        shapes = [tuple(part.shape) for part in (gram, right, squares)]
        _check.refuse("path", "moments (C, k, k), (C, k) and (C,) in float64", f"{path} with shapes {shapes}")
    n, parts = (str(counts[name]) for name in ("n", "parts"))
    if not (n.isdecimal() and parts.isdecimal() and 0 < int(parts) <= int(n)):
        _check.refuse("path", "a number of rows, and of parts from 1 to it", f"{path} with n = {n}, parts = {parts}")
    finite = all(bool(torch.isfinite(part).all()) for part in (gram, right, squares))
    skew = float((gram - gram.mT).abs().max()) > 1e-6 * float(gram.abs().max())  # rounding leaves 1e-16 of it
    if not finite or skew or bool((squares < 0).any()) or bool((gram.diagonal(dim1=1, dim2=2) < 0).any()):
        _check.refuse("path", "finite sums, none of squares below 0, of symmetric matrices", f"others in {path}")
    return Moments(gram, right, squares, int(n), int(parts))


Part: TypeAlias = tuple[Tensor, Tensor]


class KeptSums:
    """A checkpoint of a stream's sums: beside them sum_i phi_i and sum_i y_i phi_i of the first part, to know it by.

    Sums and not bytes, for features that are computed again may differ by rounding.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _check.path("checkpoint", path)
        self.file: Checkpoint | None = None

    def load(self, first: Callable[[], Part], parts: int) -> Moments | None:
        """Return the sums, if there are any: of the stream with this first part and so many parts."""
        remove_drafts(self.path.parent, lambda name: name == self.path.name)
        if not self.path.exists():
            return None
        self.file = self._known_by(first())
        tensors, counts = self.file.load() or ({}, {})
        total = _moments(tensors, counts, self.path, "cpu")
        if total.parts > parts:
            _check.refuse("checkpoint", f"at most {parts} parts", f"{total.parts} in {self.path}")
        return total

    def save(self, total: Moments, part: Part) -> None:
        """Write the sums that end with a part; the first one is kept in mind."""
        self.file = self.file or self._known_by(part)
        self.file.save(*_parts_of(total))

    def _known_by(self, part: Part) -> Checkpoint:
        sums = torch.stack((part[0].double().sum(1), moments_of(*part).right))
        return Checkpoint(self.path, "sum over a stream", {}, ("its first part", sums), part[0].dtype)


def accumulate(
    part: Callable[[int], Part],
    parts: int,
    *,
    checkpoint: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Moments:
    """Sum the moments of a stream of parts, in order, so that a killed run goes on where it stopped.

    Parameters
    ----------
    part : features (C, n_i, k) and targets (C, n_i) of part i, called for each i in 0 ... parts - 1 once, and for 0 again
        where a checkpoint is continued
    parts : number of parts, 1 or above
    checkpoint : a safetensors file, written whole after every part; parts that it holds are not asked for again, but for
        the first: by its sums the stream is told apart from others (one that differs in later parts alone is not)
    progress : called with (parts done, parts)

    Raises
    ------
    ValueError
        A checkpoint with more parts than the stream has, or of a stream with another first part.

    >>> accumulate(lambda i: (torch.full((1, 1, 1), i + 1.0), torch.ones(1, 1)), 3).gram.tolist()
    [[[14.0]]]
    """
    _check.integer("parts", parts, 1)
    file = None if checkpoint is None else KeptSums(checkpoint)
    total = None if file is None else file.load(lambda: part(0), parts)
    for i in range(0 if total is None else total.parts, parts):
        made = part(i)
        found = moments_of(*made)
        total = found if total is None else merge(total, found)
        if file is not None:
            file.save(total, made)
        if progress is not None:
            progress(i + 1, parts)
    assert total is not None  # parts >= 1
    return total
