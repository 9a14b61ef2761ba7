"""BatchNorm with frozen statistics, y = (x - mean) s + bias with s = weight / sqrt(var + eps), and dx = s dy.

The backward function of torch serves statistics of the batch too: it reads the input, has no rule for many cotangents at
once, and for one image on a CPU reads a transposed cotangent in the order of its memory. Two ways around it: `batch_norm`
is torch forwards and multiplies backwards, for parameters that need no gradient; `written_out` is the formula, for
derivatives of every kind.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["WrittenOut", "batch_norm", "written_out"]


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(scale if weight is None else scale * weight)
        return functional.batch_norm(input, mean, var, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        scale = scale.to(cotangent.dtype).view(-1, *[1] * (cotangent.dim() - 2))
        return cotangent * scale, None, None, None, None, None


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of parameters that need no gradient, for statistics that are given and kept."""
    if training or running_mean is None or running_var is None:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return _Frozen.apply(input, running_mean, running_var, weight, bias, eps)


def written_out(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """The same by its formula, with respect to all parameters.

    >>> x, mean, var = torch.ones(1, 2, 3), torch.zeros(2), torch.full((2,), 0.25)
    >>> written_out(x, mean, var, torch.ones(2), torch.ones(2), eps=0.0)[0, :, 0].tolist()
    [3.0, 3.0]
    """
    if training or running_mean is None or running_var is None or not input.is_floating_point():
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (-1, *[1] * (input.dim() - 2))
    return (input * scale.view(shape) + shift.view(shape)).to(input.dtype)


class WrittenOut(TorchFunctionMode):
    """Puts `written_out` in the place of torch's function, where this is the last that sees a call."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (written_out if func is functional.batch_norm else func)(*args, **(kwargs or {}))
