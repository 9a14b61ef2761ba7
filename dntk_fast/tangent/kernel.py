"""Exact empirical tangent kernels of a torch model, layer by layer, summed over layers in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dntk_fast import _check
from dntk_fast.tangent.capture import Outputs, Parameters, Trace, capture, following, inspect, network
from dntk_fast.tangent.generic import differentiable, probe, take
from dntk_fast.tangent.gram import add_gram, squared_norms
from dntk_fast.tangent.layers import Tangent
from dntk_fast.tangent.plan import KernelPlan, norm_rule, plan_kernel

__all__ = ["cast", "kernel_diagonal", "kernel_plan", "tangent_kernel", "tangent_kernel_full", "tangent_kernel_sum"]

MEMORY = 2**30


@differentiable
def tangent_kernel(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the exact kernel of every output of the model.

    K_c(x, x') = <grad_theta f_c(x), grad_theta f_c(x')> (Eq 1, per class).

    Parameters
    ----------
    model : module in evaluation mode; parameters that require no gradient are left out
    x1, x2 : tensor, or tuple or dict of tensors, with n1 and n2 samples along the first axis, or a DataLoader of either; x2
        None means x1
    memory : bytes that the work may take beside the model and the result
    dtype : precision of the network and of each layer's block (None: that of the model); blocks are summed in float64
    outputs : indices of outputs, or a function (model, batch) -> (n, C); None means all
    parameters : names, or a function of the name; None means all
    out : float64 tensor (C, n1, n2) to be filled, for example on a memory map

    Returns
    -------
    Tensor
        (C, n1, n2), float64; exactly symmetric where x2 is None.

    Raises
    ------
    ValueError
        A model that draws random numbers, uses batch statistics or mixes samples; `memory` too small for one row.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> tangent_kernel(model, torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    tensor([[[25.,  3.],
             [ 3.,  1.]]], dtype=torch.float64)
    """
    return _kernel("class", model, x1, x2, memory, dtype, outputs, parameters, out)


@differentiable
def tangent_kernel_sum(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the sum over all outputs of the exact kernels, sum_c K_c (n1, n2); arguments as in `tangent_kernel`.

    >>> tangent_kernel_sum(nn.Linear(2, 3, bias=False), torch.tensor([[3.0, 4.0]]))
    tensor([[75.]], dtype=torch.float64)
    """
    return _kernel("sum", model, x1, x2, memory, dtype, outputs, parameters, out)


@differentiable
def tangent_kernel_full(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return the kernel with all its C x C blocks, K(x, x') = J(x) J(x')^T (Eq 1), (n1, C, n2, C).

    Arguments as in `tangent_kernel`.

    >>> tangent_kernel_full(nn.Linear(2, 2, bias=False), torch.tensor([[3.0, 4.0]])).squeeze()
    tensor([[25.,  0.],
            [ 0., 25.]], dtype=torch.float64)
    """
    return _kernel("full", model, x1, x2, memory, dtype, outputs, parameters, None).permute(1, 0, 3, 2)


@differentiable
def kernel_diagonal(
    model: nn.Module,
    x: Any,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return the squared norms of the tangent features, K_c(x, x) = |grad_theta f_c(x)|^2, (C, n).

    Arguments as in `tangent_kernel`.

    >>> kernel_diagonal(nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]))
    tensor([[26.]], dtype=torch.float64)
    """
    model, x, n = _door(model, x, memory, dtype)
    trace = inspect(model, x, outputs=outputs, parameters=parameters)
    plan = plan_kernel(trace, n, None, memory, "sum")
    found = torch.zeros(trace.outputs, n, dtype=torch.float64, device=trace.device)

    def norms(trace: Trace, rows: slice, classes: range) -> None:
        for tangent in capture(trace, take(x, rows), classes, together=plan.together):
            part = squared_norms(tangent, norm_rule(tangent, len(classes)), plan.workspace)
            found[classes.start : classes.stop, rows] += part

    for classes in _ranges(trace.outputs, plan.classes):
        for rows in _slices(n, plan.rows):
            trace = following(trace, partial(norms, rows=rows, classes=classes))
    return found


@differentiable
def kernel_plan(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> KernelPlan:
    """Return what `tangent_kernel` would do with these arguments: rules, passes, predicted peak; `str` is a table."""
    model, x1, n1 = _door(model, x1, memory, dtype)
    n2 = None if x2 is None else _check.samples("x2", x2)
    return plan_kernel(inspect(model, x1, outputs=outputs, parameters=parameters), n1, n2, memory)


# --- the work ---------------------------------------------------------------------------------------------------------


def _door(model: nn.Module, x: Any, memory: int, dtype: torch.dtype | None) -> tuple[nn.Module, Any, int]:
    _check.integer("memory", memory, 1)
    _check.frozen_statistics(model)
    n = _check.samples("x1", _check.inputs("x1", x))
    return *cast(model, x, dtype), n


def cast(model: nn.Module, x: Any, dtype: torch.dtype | None) -> tuple[nn.Module, Any]:
    """The model and its inputs in another precision; the model that was given stays as it is."""
    if dtype is None:
        return model, x
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: expected a floating-point torch.dtype, got {dtype!r}")
    if any(p.is_floating_point() and p.dtype != dtype for p in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model).to(dtype)
    return model, tree_map(lambda part: part.to(dtype) if part.is_floating_point() else part, x)


def _kernel(
    pairing: str, model: nn.Module, x1: Any, x2: Any, memory: int, dtype: torch.dtype | None,
    outputs: Outputs, parameters: Parameters, out: Tensor | None,
) -> Tensor:  # fmt: skip
    model, x1, n1 = _door(model, x1, memory, dtype)
    n2 = n1
    if x2 is not None:
        n2 = _check.samples("x2", _check.inputs("x2", x2))
        _, x2 = cast(model, x2, dtype)
        probe(network(model, outputs), x2)
    trace = inspect(model, x1, outputs=outputs, parameters=parameters)
    plan = plan_kernel(trace, n1, None if x2 is None else n2, memory, pairing)
    C = trace.outputs
    shape = {"class": (C, n1, n2), "sum": (n1, n2), "full": (C, n1, C, n2)}[pairing]
    out = torch.empty(shape, dtype=torch.float64, device=trace.device) if out is None else _writable(out, shape)

    def blocks(trace: Trace) -> None:
        out.zero_()
        for classes in _ranges(C, plan.classes):
            part = out[classes.start : classes.stop] if pairing == "class" else out
            for i, j, block in _blocks(trace, plan, x1, x2, (n1, n2), classes, pairing):
                _place(part, i, j, block, pairing, x2 is None)

    following(trace, blocks)
    return out


def _writable(out: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(out, Tensor):
        _check.refuse("out", f"a float64 tensor of shape {shape}", f"a {type(out).__name__}")
    if tuple(out.shape) != shape or out.dtype != torch.float64:
        _check.refuse("out", f"float64 of shape {shape}", f"{out.dtype} of shape {tuple(out.shape)}")
    if out.requires_grad or out.is_meta or 0 in out.stride():
        _check.refuse(
            "out", "memory of its own for every entry, without gradient", "a tensor that cannot be written to"
        )
    return out


def _blocks(
    trace: Trace, plan: KernelPlan, x1: Any, x2: Any, sizes: tuple[int, int], classes: range, pairing: str
) -> Iterator[tuple[slice, slice, Tensor]]:
    """The kernel block by block; of a symmetric one the blocks with j >= i."""

    def tangents(x: Any, rows: slice) -> Iterator[Tangent]:
        return capture(trace, take(x, rows), classes, together=plan.together)

    for i in _slices(sizes[0], plan.rows):
        alone = x2 is None and i.stop == sizes[0]
        left = tangents(x1, i) if alone else list(tangents(x1, i))
        for j in _slices(sizes[1], plan.rows):
            if x2 is None and j.start < i.start:
                continue
            own = x2 is None and i == j
            right = None if own else tangents(x1 if x2 is None else x2, j)
            yield i, j, _block(trace, plan, left, right, (i, j), len(classes), pairing)


def _block(
    trace: Trace, plan: KernelPlan, left: Any, right: Any, rows: tuple[slice, slice], C: int, pairing: str
) -> Tensor:
    n1, n2 = (part.stop - part.start for part in rows)
    shape = {"class": (C, n1, n2), "sum": (n1, n2), "full": (C, n1, C, n2)}[pairing]
    total = torch.zeros(shape, dtype=torch.float64, device=trace.device)
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
