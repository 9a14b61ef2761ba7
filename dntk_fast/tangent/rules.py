"""One rule for each kind of layer: from the arguments of a torch function to the tangent of its parameters.

A rule reads the arguments of `linear`, `conv2d`, `layer_norm`, ... and returns a `Call`, or None where it does not
serve these arguments. Once the cotangents of the output are known, the call becomes a `Tangent`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dntk_fast.tangent.layers import Elementwise, Lookup, Outer, Sum, Tangent, unchanged

__all__ = ["RULES", "Call"]


@dataclass(frozen=True)
class Call:
    """One call of a function with parameters: `build(names, shapes, source, cotangent)` makes the tangent.

    `source` and `cotangent` come to it with the rows first: (n, ...) and (C, n, ...). In the model the rows may stand
    on any axis but the last ("any"), on the first, perhaps joined with positions ("first"), or on the first alone
    ("exact").
    """

    source: Tensor | None
    weight: Any
    bias: Any
    build: Callable[..., Tangent]
    place: str = "any"


Names = tuple[str | None, str | None]  # of the weight and of the bias; None: its gradient is not wanted
Shapes = Mapping[str, torch.Size]


def _outer(names: Names, shapes: Shapes, source: Tensor, D: Tensor, **more: Any) -> Tangent:
    weight, bias = names
    if weight is None:
        return Elementwise(None, bias, shapes, source, D, unchanged, lambda d, shape: d.sum(2).reshape(len(d), *shape))
    return Outer(weight, bias, shapes, source, D, **more)


def _elementwise(
    unit: Callable[[Tensor], Tensor], reduce: Callable[[Tensor, torch.Size], Tensor]
) -> Callable[..., Tangent]:
    def build(names: Names, shapes: Shapes, source: Tensor, D: Tensor) -> Tangent:
        return Elementwise(names[0], names[1], shapes, source, D, unit, reduce)

    return build


def _linear(input: Tensor, weight: Any, bias: Any = None, transposed: bool = False) -> Call | None:
    if weight.dim() != 2 or (bias is not None and tuple(bias.shape) != (weight.shape[1 if transposed else 0],)):
        return None  # one number for all outputs, or a functional of the input

    def build(names: Names, shapes: Shapes, source: Tensor, D: Tensor) -> Tangent:
        def unfold(x: Tensor) -> Tensor:
            return x.reshape(len(x), 1, -1, x.shape[-1])

        return _outer(
            names, shapes, source, D.reshape(*D.shape[:2], 1, -1, D.shape[-1]), unfold=unfold, transposed=transposed
        )

    return Call(input, weight, bias, build)


def _matmul(input: Tensor, other: Any) -> Call | None:
    return _linear(input, other, None, True) if input.dim() > 1 and other.dim() == 2 else None


def _addmm(input: Any, mat1: Tensor, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Call | None:
    return _linear(mat1, mat2, input, True) if beta == alpha == 1 else None


def _margins(padding: Any, kernel: list[int], dilation: list[int]) -> list[int]:
    """Zeros before and after each dimension, last dimension first, as `functional.pad` wants them."""
    if padding == "same":  # an odd number of zeros puts the extra one at the end
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        pairs = [(t // 2, t - t // 2) for t in total]
    else:
        pairs = [(p, p) for p in _spread(0 if padding == "valid" else padding, len(kernel))]
    return [p for pair in reversed(pairs) for p in pair]


def _spread(value: Any, dims: int) -> list[int]:
    return [value] * dims if isinstance(value, int) else list(value) * (dims // len(value))


def _patches(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> Tensor:
    """Inputs under the kernel at each position: (m, channels, *spatial) -> (m, channels * kernel area, positions)."""
    if len(kernel) == 2 and kernel != [1, 1]:
        return functional.unfold(x, (*kernel,), (*dilation,), 0, (*stride,))
    sizes = zip(x.shape[2:], kernel, stride, dilation, strict=True)
    out = [(size - gap * (width - 1) - 1) // step + 1 for size, width, step, gap in sizes]
    taps = [s * gap for s, gap in zip(x.stride()[2:], dilation, strict=True)]
    moves = [s * step for s, step in zip(x.stride()[2:], stride, strict=True)]
    shape, strides = (*x.shape[:2], *kernel, *out), (*x.stride()[:2], *taps, *moves)
    windows = x.as_strided(shape, strides, x.storage_offset())
    return windows.reshape(len(x), x.shape[1] * math.prod(kernel), math.prod(out))


def _convolution(
    input: Tensor, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Call | None:
    kernel = list(weight.shape[2:])
    dims = len(kernel)
    if input.dim() != dims + 2:
        return None
    step, gap = _spread(stride, dims), _spread(dilation, dims)
    margins = _margins(padding, kernel, gap)

    def unfold(x: Tensor) -> Tensor:
        images = x.reshape(-1, *x.shape[-dims - 1 :])
        A = _patches(functional.pad(images, margins) if any(margins) else images, kernel, step, gap)
        return _positions(A.view(len(x), -1, groups, A.shape[1] // groups, A.shape[2]))

    def build(names: Names, shapes: Shapes, source: Tensor, D: Tensor) -> Tangent:
        C, n, q = D.shape[0], D.shape[1], D.shape[-dims - 1] // groups
        D = D.reshape(C * n, -1, groups, q, math.prod(D.shape[-dims:]))
        return _outer(names, shapes, source, _positions(D).unflatten(0, (C, n)), unfold=unfold)

    return Call(input, weight, bias, build, "first")


def _positions(x: Tensor) -> Tensor:
    """(rows, frames, groups, channels, T) -> (rows, groups, frames * T, channels); a view for one frame."""
    return x[:, 0].mT if x.shape[1] == 1 else x.permute(0, 2, 1, 4, 3).flatten(2, 3)


def _channels(d: Tensor, shape: torch.Size, spatial: int) -> Tensor:
    d = d.reshape(len(d), -1, d.shape[-spatial - 1], math.prod(d.shape[d.dim() - spatial :]))
    d = d.sum((1, 3)) if d.shape[1] > 1 else d[:, 0].sum(2)
    return (d.sum(1) if math.prod(shape) == 1 else d).reshape(len(d), *shape)


def _channelwise(input: Tensor, weight: Any, bias: Any, unit: Callable[[Tensor], Tensor]) -> Call:
    core = input.shape[1:]

    def whole(x: Tensor) -> Tensor:
        return unit(x.reshape(-1, *core)).reshape(x.shape)

    def reduce(d: Tensor, shape: torch.Size) -> Tensor:
        return _channels(d, shape, len(core) - 1)

    return Call(input, weight, bias, _elementwise(whole, reduce), "first")


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    return _channelwise(
        input,
        weight,
        bias,
        lambda x: functional.batch_norm(x, running_mean, running_var, None, None, False, momentum, eps),
    )


def _group_norm(input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Call:
    return _channelwise(input, weight, bias, lambda x: functional.group_norm(x, num_groups, None, None, eps))


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    def unit(x: Tensor) -> Tensor:
        return functional.instance_norm(x, running_mean, running_var, None, None, use_input_stats, momentum, eps)

    return _channelwise(input, weight, bias, unit)


def _prelu(input: Tensor, weight: Any) -> Call | None:
    return _channelwise(input, weight, None, lambda x: x.clamp_max(0)) if input.dim() > 1 else None


def _lastwise(input: Tensor, weight: Any, bias: Any, unit: Callable[[Tensor], Tensor]) -> Call:
    def reduce(d: Tensor, shape: torch.Size) -> Tensor:
        return d.reshape(len(d), -1, *shape).sum(1)

    return Call(input, weight, bias, _elementwise(unit, reduce))


def _layer_norm(input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Call:
    return _lastwise(input, weight, bias, lambda x: functional.layer_norm(x, normalized_shape, None, None, eps))


def _rms_norm(input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Call:
    return _lastwise(input, weight, None, lambda x: functional.rms_norm(x, normalized_shape, None, eps))


def _embedding(
    input: Tensor,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Call | None:
    if max_norm is not None or scale_grad_by_freq:
        return None

    def build(names: Names, shapes: Shapes, source: Tensor, D: Tensor) -> Tangent:
        name = str(names[0])
        index = source.reshape(len(source), -1)
        D = D.reshape(*D.shape[:2], -1, D.shape[-1])
        if padding_idx is not None:
            D = D * torch.ne(index, padding_idx % shapes[name][0])[..., None]
        return Lookup(name, shapes, index, D)

    return Call(input, weight, None, build)


def _expand(input: Any, *sizes: Any) -> Call | None:
    """A parameter repeated for every row (a class token): the cotangent of each copy is that row's gradient."""
    if input.shape[0] != 1 or len(input.shape) < 2:
        return None

    def reduce(d: Tensor, shape: torch.Size) -> Tensor:
        return _sum_to(d, shape).reshape(len(d), *shape)

    return Call(None, None, input, _elementwise(unchanged, reduce), "exact")


def _sum_to(d: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting inside each row: (n, ...) -> (n, *shape), up to leading ones."""
    inner = d.shape[1:]
    own = [1] * (len(inner) - len(shape)) + list(shape)[max(0, len(shape) - len(inner)) :]
    summed = [k + 1 for k, (full, one) in enumerate(zip(inner, own, strict=True)) if one == 1 and full > 1]
    return d.sum(summed) if summed else d


def _broadcast(source: Tensor, weight: Any, bias: Any, unit: Callable[[Tensor], Tensor]) -> Call | None:
    parameter = bias if weight is None else weight
    if parameter.dim() > source.dim() or (parameter.dim() == source.dim() and parameter.shape[0] != 1):
        return None

    def reduce(d: Tensor, shape: torch.Size) -> Tensor:
        return _sum_to(d, shape).reshape(len(d), *shape)

    used = source if weight is not None else None
    return Call(used, weight, bias, _elementwise(unit, reduce), "first")


def _add(input: Any, other: Any, *, alpha: float = 1) -> Call | None:
    if alpha != 1 or not isinstance(input, Tensor) or not isinstance(other, Tensor):
        return None
    if isinstance(input, torch.nn.Parameter):
        input, other = other, input
    return _broadcast(input, None, other, unchanged)


def _mul(input: Any, other: Any) -> Call | None:
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        return None
    if isinstance(input, torch.nn.Parameter):
        input, other = other, input
    return _broadcast(input, other, None, unchanged)


def _addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Call | None:
    """Bias + weight x, as global response normalisation writes it."""
    if isinstance(tensor2, torch.nn.Parameter):
        tensor1, tensor2 = tensor2, tensor1
    parameters = isinstance(input, torch.nn.Parameter) and isinstance(tensor1, torch.nn.Parameter)
    if value != 1 or not parameters or input.dim() > tensor2.dim() or input.shape != tensor1.shape:
        return None
    found = _broadcast(tensor2, tensor1, None, unchanged)
    return found and Call(found.source, tensor1, input, found.build, found.place)


def _transposed_convolution(
    input: Tensor,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Call | None:
    """y[p s + k d] += W[k] x[p]: the gradient pairs x with patches of the cotangent, not the cotangent with those of x."""
    kernel = list(weight.shape[2:])
    dims = len(kernel)
    if input.dim() != dims + 2:
        return None
    step, gap = _spread(stride, dims), _spread(dilation, dims)
    margins, positions = _margins(padding, kernel, gap), list(input.shape[2:])

    def unfold(x: Tensor) -> Tensor:
        images = x.reshape(-1, *x.shape[-dims - 1 :])
        return _positions(images.reshape(len(x), -1, groups, images.shape[1] // groups, math.prod(images.shape[2:])))

    def patches(D: Tensor) -> Tensor:
        (C, n), images = D.shape[:2], D.reshape(-1, *D.shape[-dims - 1 :])
        images = functional.pad(images, margins) if any(margins) else images
        used = [(size - 1) * s + g * (k - 1) + 1 for size, s, g, k in zip(positions, step, gap, kernel, strict=True)]
        short = [max(0, need - have) for need, have in zip(used, images.shape[2:], strict=True)]
        images = functional.pad(images, [v for part in reversed(short) for v in (0, part)]) if any(short) else images
        for axis, need in enumerate(used, 2):
            images = images.narrow(axis, 0, need)
        A = _patches(images.contiguous(), kernel, step, gap)
        A = A.view(C * n, -1, groups, A.shape[1] // groups, A.shape[2])
        return _positions(A).unflatten(0, (C, n))

    def build(names: Names, shapes: Shapes, source: Tensor, D: Tensor) -> Tangent:
        weight, bias = names
        parts: list[Tangent] = []
        if weight is not None:
            own = {weight: shapes[weight]}
            parts.append(Outer(weight, None, own, source, patches(D), unfold, transposed=True))
        if bias is not None:
            own = {bias: shapes[bias]}
            parts.append(Elementwise(None, bias, own, source, D, unchanged, partial(_channels, spatial=dims)))
        return parts[0] if len(parts) == 1 else Sum(shapes, tuple(parts))

    return Call(input, weight, bias, build, "first")


RULES: dict[Any, Callable[..., Call | None]] = {
    functional.linear: _linear,
    functional.conv1d: _convolution,
    functional.conv2d: _convolution,
    functional.conv3d: _convolution,
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.instance_norm: _instance_norm,
    functional.rms_norm: _rms_norm,
    functional.embedding: _embedding,
    functional.prelu: _prelu,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    torch.addmm: _addmm,
    functional.conv_transpose1d: _transposed_convolution,
    functional.conv_transpose2d: _transposed_convolution,
    functional.conv_transpose3d: _transposed_convolution,
    torch.addcmul: _addcmul,
    Tensor.addcmul: _addcmul,
    Tensor.add_: _add,
    torch.add: _add,
    Tensor.add: _add,
    torch.mul: _mul,
    Tensor.mul: _mul,
    Tensor.expand: _expand,
}
