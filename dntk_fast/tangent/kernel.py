"""Exact empirical tangent kernels of a torch model, layer by layer, summed over layers in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast.tangent.batches import Outputs, Parameters
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.plan import KernelPlan

__all__ = ["kernel_diagonal", "kernel_plan", "tangent_kernel", "tangent_kernel_full", "tangent_kernel_sum"]


def tangent_kernel(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int | None = None,
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
    memory : bytes that the work may take beside the model and the result; None means an eighth of the machine's
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
    J = Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory)
    return J.kernel(x1, x2, out=out)


def tangent_kernel_sum(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the sum over all outputs of the exact kernels, sum_c K_c (n1, n2); arguments as in `tangent_kernel`.

    >>> tangent_kernel_sum(nn.Linear(2, 3, bias=False), torch.tensor([[3.0, 4.0]]))
    tensor([[75.]], dtype=torch.float64)
    """
    J = Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory)
    return J.kernel_sum(x1, x2, out=out)


def tangent_kernel_full(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int | None = None,
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
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).kernel_full(x1, x2)


def kernel_diagonal(
    model: nn.Module,
    x: Any,
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return the squared norms of the tangent features, K_c(x, x) = |grad_theta f_c(x)|^2, (C, n).

    Arguments as in `tangent_kernel`.

    >>> kernel_diagonal(nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]))
    tensor([[26.]], dtype=torch.float64)
    """
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).diagonal(x)


def kernel_plan(
    model: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> KernelPlan:
    """Return what `tangent_kernel` would do with these arguments: rules, passes, predicted peak; `str` is a table."""
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).plan(x1, x2)
