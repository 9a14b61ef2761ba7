"""The exact kernel block by block: rows and outputs in hand as the plan says, layers multiplied and summed in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.tangent.batches import take
from dntk_fast.tangent.gram import add_gram, squared_norms
from dntk_fast.tangent.holding import Held
from dntk_fast.tangent.layers import Tangent
from dntk_fast.tangent.passes import Trace, capture, following
from dntk_fast.tangent.plan import KernelPlan, norm_rule

__all__ = ["kernel_blocks", "kernel_shape", "squared_norms_of_rows", "writable"]


def kernel_shape(pairing: str, C: int, n1: int, n2: int) -> tuple[int, ...]:
    """The shape of a kernel by which pairs of outputs it keeps (`gram`).

    >>> kernel_shape("full", 2, 3, 4)
    (2, 3, 2, 4)
    """
    return {"class": (C, n1, n2), "sum": (n1, n2), "full": (C, n1, C, n2)}[pairing]


def writable(out: Any, shape: tuple[int, ...]) -> Tensor:
    """Return `out`, a float64 tensor of this shape with memory of its own for every entry."""
    if not isinstance(out, Tensor):
        _check.refuse("out", f"a float64 tensor of shape {shape}", f"a {type(out).__name__}")
    if tuple(out.shape) != shape or out.dtype != torch.float64:
        _check.refuse("out", f"float64 of shape {shape}", f"{out.dtype} of shape {tuple(out.shape)}")
    if out.requires_grad or out.is_meta or 0 in out.stride():
        _check.refuse(
            "out", "memory of its own for every entry, without gradient", "a tensor that cannot be written to"
        )
    return out


def kernel_blocks(
    out: Tensor, trace: Trace, plan: KernelPlan, x1: Any, x2: Any, sizes: tuple[int, int], pairing: str
) -> None:
    """Fill `out` with the kernel of x1 with x2, or of x1 with itself where x2 is None."""

    def blocks(trace: Trace) -> None:
        out.zero_()
        for classes in _ranges(trace.outputs, plan.classes):
            part = out[classes.start : classes.stop] if pairing == "class" else out
            for i, j, block in _blocks(trace, plan, x1, x2, sizes, classes, pairing):
                _place(part, i, j, block, pairing, x2 is None)

    following(trace, blocks)


def squared_norms_of_rows(trace: Trace, plan: KernelPlan, x: Any, n: int) -> Tensor:
    """Return |grad_theta f_c(x_i)|^2, (C, n), float64."""
    found = torch.zeros(trace.outputs, n, dtype=torch.float64, device=trace.device)

    def norms(trace: Trace, rows: slice, classes: range) -> None:
        total = torch.zeros(len(classes), rows.stop - rows.start, dtype=torch.float64, device=trace.device)
        for tangent in capture(trace, take(x, rows), classes, together=plan.together):
            total += squared_norms(tangent, norm_rule(tangent, len(classes)), plan.workspace)
        found[classes.start : classes.stop, rows] = total

    for classes in _ranges(trace.outputs, plan.classes):
        for rows in _slices(n, plan.chunk):
            trace = following(trace, partial(norms, rows=rows, classes=classes))
    return found


def _blocks(
    trace: Trace, plan: KernelPlan, x1: Any, x2: Any, sizes: tuple[int, int], classes: range, pairing: str
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The kernel block by block; of a symmetric one the blocks with j >= i.

    Rows that one pass serves and that meet themselves alone are never held; others are, while the chunks go by.
    """

    def tangents(x: Any, rows: slice) -> Iterator[Tangent]:
        return capture(trace, take(x, rows), classes, together=plan.together)

    for i in _slices(sizes[0], plan.rows):
        left: Iterable[Tangent]
        if x2 is None and i.stop == sizes[0] and i.stop - i.start <= plan.chunk:
            left = tangents(x1, i)
        else:
            held = Held(i.stop - i.start, plan.workspace, plan.formed)
            for part in _slices(i.stop - i.start, plan.chunk):
                held.add(part, tangents(x1, slice(i.start + part.start, i.start + part.stop)))
            left = held.tangents()
        if x2 is None:
            yield i, i, _block(trace, plan, left, None, (i, i), len(classes), pairing)
        for part in _slices(sizes[1] - (i.stop if x2 is None else 0), plan.chunk):
            j = slice(part.start + i.stop, part.stop + i.stop) if x2 is None else part
            yield i, j, _block(trace, plan, left, tangents(x1 if x2 is None else x2, j), (i, j), len(classes), pairing)


def _block(
    trace: Trace,
    plan: KernelPlan,
    left: Iterable[Tangent],
    right: Iterable[Tangent] | None,
    rows: tuple[slice, slice],
    C: int,
    pairing: str,
) -> Tensor:
    n1, n2 = (part.stop - part.start for part in rows)
    total = torch.zeros(kernel_shape(pairing, C, n1, n2), dtype=torch.float64, device=trace.device)
    if right is None:
        for tangent in left:
            add_gram(total, tangent, None, plan.rule(tangent), pairing, plan.workspace)
        return _mirrored(total, pairing)
    for first, second in zip(left, right, strict=True):
        add_gram(total, first, second, plan.rule(first), pairing, plan.workspace)
    return total


def _mirrored(total: Tensor, pairing: str) -> Tensor:
    """Copy what lies on and above the diagonal to below it, in place."""
    C, n = (total.shape[0], total.shape[1]) if pairing == "full" else (1, total.shape[-1])
    for i in range(1, n):
        if pairing == "full":
            total[:, i, :, :i] = total[:, :i, :, i].permute(2, 0, 1)
        else:
            total[..., i, :i] = total[..., :i, i]
    if pairing == "full":
        for c in range(1, C):  # the blocks of one row with itself
            for d in range(c):
                total[c].diagonal(dim1=0, dim2=2)[d] = total[d].diagonal(dim1=0, dim2=2)[c]
    return total


def _place(out: Tensor, i: slice, j: slice, block: Tensor, pairing: str, symmetric: bool) -> None:
    if pairing == "full":
        out[:, i, :, j] += block
        if symmetric and i != j:
            out[:, j, :, i] += block.permute(2, 3, 0, 1)
    else:
        out[..., i, j] += block
        if symmetric and i != j:
            out[..., j, i] += block.mT


def _slices(n: int, step: int) -> Iterator[slice]:
    yield from (slice(at, min(at + step, n)) for at in range(0, n, step))


def _ranges(n: int, step: int) -> Iterator[range]:
    yield from (range(at, min(at + step, n)) for at in range(0, n, step))
