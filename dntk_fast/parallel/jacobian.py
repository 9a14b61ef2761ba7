"""A model's Jacobian under torchrun: every process works on its own samples, products are gathered or added.

    with process_group():
        problem = distributed_problem(model, x, targets, lam)
        found = residual(problem, weights)  # and certify, held_out_bounds, refine, solve: as for any FullProblem

Every process ends with the same numbers, those of one process up to the order of the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.certificates.full_problem import FullProblem
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.parallel.processes import add, agree, collect, meet, place
from dntk_fast.tangent.batches import take
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.writing import batch_digest

__all__ = ["DistributedJacobian", "distributed_problem"]


class DistributedJacobian(Jacobian):
    """The Jacobian of a model whose products are shared by sample among the processes of the group.

    J v and norms are gathered, J^T a is added; kernels, features and plans every process computes alone.

    Parameters
    ----------
    shard_rows : samples that a process works on before it waits for the others
    model, options : as in `Jacobian`, the same in every process

    Raises
    ------
    ValueError
        What `Jacobian` refuses; a model or `shard_rows` that differ between processes.

    >>> J = DistributedJacobian(nn.Linear(1, 1, bias=False), shard_rows=1)
    >>> J.matvec(torch.tensor([[2.0], [3.0]]), {"weight": torch.ones(1, 1)}).tolist()
    [[2.0, 3.0]]
    """

    def __init__(self, model: nn.Module, *, shard_rows: int = 256, **options: Any) -> None:
        super().__init__(model, **options)
        self.shard_rows = int(_check.integer("shard_rows", shard_rows, 1))
        agree({"model": fingerprint(model), "shard_rows": self.shard_rows})

    @property
    def alone(self) -> Jacobian:
        """The Jacobian in this process."""
        return Jacobian(
            self.given, outputs=self.outputs, parameters=self.parameters, dtype=self.dtype, memory=self.memory
        )

    def to(self, dtype: torch.dtype | None) -> DistributedJacobian:
        """Return the Jacobian in another precision, of the same model; made once."""
        if dtype is None or dtype == self.dtype:
            return self
        if dtype not in self._others:
            options = {"outputs": self.outputs, "parameters": self.parameters, "memory": self.memory, "dtype": dtype}
            self._others[dtype] = DistributedJacobian(self.given, shard_rows=self.shard_rows, **options)
        return self._others[dtype]  # type: ignore[return-value]

    def diagonal(self, x: Any) -> Tensor:
        """Return |phi_c(x)|^2, (C, n)."""
        return self._gathered(x, super().diagonal)

    def matvec(self, x: Any, weights: Mapping[str, Tensor]) -> Tensor:
        """Return Phi_c w_c, (C, n)."""
        alone = super().matvec
        return self._gathered(x, lambda part: alone(part, weights))

    def rmatvec(self, x: Any, coefficients: Tensor) -> dict[str, Tensor]:
        """Return Phi_c^T a_c summed over the samples of all processes."""
        (rank, world), n = place(), _check.samples("x", x)
        a = _check.array_like("coefficients", coefficients, coefficients, (None, n))
        total: dict[str, Tensor] | None = None
        for start in range(0, n, world * self.shard_rows):
            own = start + rank * self.shard_rows
            if own < n or total is None:
                # Who has no shard at all adds nothing of one sample, for the shapes of what is added.
                rows = slice(own, own + self.shard_rows) if own < n else slice(0, 1)
                found = super().rmatvec(take(x, rows), a[:, rows] * (own < n))
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


def distributed_problem(
    model: nn.Module,
    x: Any,
    targets: Tensor,
    lam: float | Tensor,
    trace: Tensor | None = None,
    *,
    shard_rows: int = 256,
    **options: Any,
) -> FullProblem:
    """Return the full problem with its passes over samples shared among the processes of the group.

    `residual`, `certify`, `held_out_bounds`, `refine` and `solve` take it, the last two without a checkpoint (processes that
    stopped at different steps would never meet again). What concerns a subset of training rows, or the kernel of held-out
    inputs, every process computes alone.

    Parameters
    ----------
    model, shard_rows, options : as in `DistributedJacobian`
    x, targets, lam, trace : as in `FullProblem`, the same in every process

    Raises
    ------
    ValueError
        What `FullProblem` refuses; arguments that differ between processes.

    >>> from dntk_fast.certificates.certificate import residual
    >>> problem = distributed_problem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> residual(problem, {"weight": torch.ones(1, 1, 1)}).norm.tolist()
    [3.0]
    """
    problem = FullProblem(DistributedJacobian(model, shard_rows=shard_rows, **options), x, targets, lam, trace)
    agree({"x": batch_digest(x), "targets": digest({"": targets}), "lam": problem.ridge.tolist()})
    return problem
