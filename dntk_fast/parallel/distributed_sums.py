"""Moments and certificates under torchrun: every process works on its own samples, and the sums are added.

    with process_group():
        store = write_distributed(folder, model, x, k=512, seed=0)
        rows = [slice(at, at + store.rows) for at in range(0, len(store), store.rows)]
        moments = distributed_moments(lambda i: (store.load(rows[i]).values, targets[:, rows[i]]), store.shards)
        problem = DistributedProblem(model, x, targets, lam)
        found = residual(problem, weights)  # and certify, held_out_bounds, refine, solve: as for a FullProblem

Every process ends with the same numbers, those of one process up to the order of the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.certificates.certificate import FullProblem, Weights
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.kernels.moments import KeptSums, Moments, Part, merge, moments_of
from dntk_fast.parallel.processes import add, agree, collect, meet, place
from dntk_fast.tangent.generic import take
from dntk_fast.tangent.products import vector_jacobian
from dntk_fast.tangent.writing import batch_digest

__all__ = ["DistributedProblem", "distributed_moments"]


def distributed_moments(part: Callable[[int], Part], parts: int, *, checkpoint: str | Path | None = None) -> Moments:
    """Sum the moments of a stream of parts that are dealt out to the processes in turn.

    Parameters
    ----------
    part : features (C, n_i, k) and targets (C, n_i) of part i; a process asks for its own alone
    parts : number of parts, 1 or above, the same in every process
    checkpoint : a folder; every process keeps its own sums there, and does not ask again for what they hold, but for its
        first part, by which the stream is known (`accumulate`). They are for this number of processes: with another all
        begins anew.

    Returns
    -------
    Moments
        Of all parts, in every process.

    Raises
    ------
    ValueError
        A checkpoint with more parts than the stream has, or of another stream; another number of parts in another process.

    >>> distributed_moments(lambda i: (torch.full((1, 1, 1), i + 1.0), torch.ones(1, 1)), 3).gram.tolist()
    [[[14.0]]]
    """
    _check.integer("parts", parts, 1)
    rank, world = place()
    agree({"parts": parts})
    folder = None if checkpoint is None else _check.path("checkpoint", checkpoint)
    file = None if folder is None else KeptSums(folder / f"moments-{rank}-of-{world}.safetensors")
    turns = len(range(rank, parts, world))
    own = None if file is None else file.load(lambda: part(rank), turns)
    done = 0 if own is None else own.parts
    for turn in range(-(-parts // world)):
        if done <= turn < turns:
            made = part(turn * world + rank)
            found = moments_of(*made)
            own = found if own is None else merge(own, found)
            if file is not None:
                file.save(own, made)
        meet()  # after every round: nobody runs ahead by more than the timeout
    return _added(own if own is not None else _nothing(moments_of(*part(0))))


def _nothing(like: Moments) -> Moments:
    """The moments of no rows: what a process adds that has no part."""
    gram, right, squares = (torch.zeros_like(sums) for sums in (like.gram, like.right, like.squares))
    return Moments(gram, right, squares, n=0, parts=0)


def _added(own: Moments) -> Moments:
    n, parts = add(torch.tensor([own.n, own.parts])).tolist()
    return Moments(add(own.gram), add(own.right), add(own.squares), n, parts)


@dataclass(frozen=True, eq=False)
class DistributedProblem(FullProblem):
    """The full problem with its passes over samples shared among the processes of the group; all else as it is.

    J v is gathered, J^T a is added: `residual`, `certify`, `held_out_bounds`, `refine` and `solve` take it where they take a
    `FullProblem`, the last two without a checkpoint (processes that stopped at different steps would never meet again).
    What concerns a subset of training rows, or the kernel of held-out inputs, every process computes alone.

    Attributes
    ----------
    shard_rows : samples that a process works on before it waits for the others
    and those of `FullProblem`, the same in every process

    >>> from torch import nn
    >>> from dntk_fast.certificates.certificate import residual
    >>> problem = DistributedProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> residual(problem, {"weight": torch.ones(1, 1, 1)}).norm.tolist()
    [3.0]
    """

    shard_rows: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        _check.integer("shard_rows", self.shard_rows, 1)
        own = {"model": fingerprint(self.model), "x": batch_digest(self.x), "targets": digest({"": self.targets})}
        agree({**own, "lam": self.ridge.tolist(), "shard_rows": self.shard_rows})

    def diagonal(self, x: Any, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return |phi_c(x)|^2, (C, t)."""
        alone = super().diagonal
        return self._gathered(x, lambda part: alone(part, dtype=dtype))

    def predict(self, weights: Mapping[str, Tensor], x: Any, *, dtype: torch.dtype | None = torch.float64) -> Tensor:
        """Return Phi_c w_c on any inputs, (C, t)."""
        alone = super().predict
        return self._gathered(x, lambda part: alone(weights, part, dtype=dtype))

    def backward(self, coefficients: Tensor) -> Weights:
        """Return Phi_c^T a_c over the training inputs."""
        rank, world = place()
        a = _check.companion("coefficients", coefficients, self.targets, tuple(self.targets.shape))
        total: Weights | None = None
        for start in range(0, self.n, world * self.shard_rows):
            own = start + rank * self.shard_rows
            if own < self.n or total is None:
                rows = slice(own, own + self.shard_rows) if own < self.n else slice(0, 1)
                a_own = a[:, rows] * (own < self.n)
                found = vector_jacobian(self.model, take(self.x, rows), a_own, **self._options)
                total = found if total is None else {name: total[name].add_(g) for name, g in found.items()}
            meet()
        assert total is not None  # n >= 1
        return {name: add(g) for name, g in total.items()}

    def _gathered(self, x: Any, work: Callable[[Any], Tensor]) -> Tensor:
        """What the processes find on their shards of x, in the order of the samples."""
        n, (rank, world), total = _check.samples("x", x), place(), None
        for start in range(0, n, world * self.shard_rows):
            own = start + rank * self.shard_rows
            # Who has no shard left in the last round works on one sample, for the shape of what is gathered.
            found = work(take(x, slice(own, own + self.shard_rows) if own < n else slice(0, 1)))
            total = collect(total, found, 1, start, n, self.shard_rows)
        assert total is not None  # n >= 1
        return total
