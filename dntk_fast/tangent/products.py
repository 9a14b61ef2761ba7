"""Products with a model's Jacobian, one call each: J v, J^T a, K v, quadratic forms and trace probes (`Jacobian`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast.tangent.batches import Outputs, Parameters
from dntk_fast.tangent.jacobian import Jacobian

__all__ = ["jacobian_vector", "kernel_vector", "quadratic_forms", "trace_probes", "vector_jacobian"]


def jacobian_vector(
    model: nn.Module,
    x: Any,
    weights: Mapping[str, Tensor],
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
) -> Tensor:
    """Return the linearised model without its constant, Phi_c w_c, by one forward-mode pass for every output.

    (Phi_c w_c)_i = <grad_theta f_c(x_i), w_c> (`certificate_streaming`).

    Parameters
    ----------
    model : module in evaluation mode
    x : tensor, or tuple or dict of tensors, with n samples along the first axis
    weights : by parameter name, each (C, *shape), or (*shape) shared by all outputs; a name left out counts as zero
    memory, dtype, outputs : as in `tangent_kernel`

    Returns
    -------
    Tensor
        (C, n)

    Raises
    ------
    ValueError
        Unknown names, wrong shapes, or a model that `tangent_kernel` refuses.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> jacobian_vector(model, torch.tensor([[3.0, 4.0]]), {"weight": torch.tensor([[1.0, 2.0]])})
    tensor([[11.]])
    """
    return Jacobian(model, outputs=outputs, parameters=list(weights), dtype=dtype, memory=memory).matvec(x, weights)


def vector_jacobian(
    model: nn.Module,
    x: Any,
    coefficients: Tensor,
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> dict[str, Tensor]:
    """Return weights in parameter space, Phi_c^T a_c for every output, summed over chunks of rows.

    Phi_c^T a_c = grad_theta sum_i a_ci f_c(x_i; theta) (`certificate_streaming`): one backward pass, no Jacobian per sample.

    Parameters
    ----------
    coefficients : (C, n)
    model, x, memory, dtype, outputs, parameters : as in `tangent_kernel`

    Returns
    -------
    dict
        parameter name -> (C, *shape)

    Raises
    ------
    ValueError
        Coefficients that are not (C, n), or a model that `tangent_kernel` refuses.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> vector_jacobian(model, torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 2.0]]))
    {'weight': tensor([[[5., 4.]]])}
    """
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).rmatvec(x, coefficients)


def kernel_vector(
    model: nn.Module,
    x: Any,
    vectors: Tensor,
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return K_c v_c = Phi_c (Phi_c^T v_c) for every output, (C, n) from (C, n), the weights of some outputs at a time.

    >>> kernel_vector(nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([[28.,  4.]])
    """
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).kernel_vector(x, vectors)


def quadratic_forms(
    model: nn.Module,
    x: Any,
    vectors: Tensor,
    *,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return z^T K_c z = |Phi_c^T z|^2 for vectors (C, n, r), one backward pass each: (C, r), float64 (`rank_by_products`).

    For orthonormal columns their sum is a lower bound of the sum of the r largest eigenvalues of K_c.

    >>> quadratic_forms(nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.eye(2)[None])
    tensor([[25.,  1.]], dtype=torch.float64)
    """
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).quadratic_forms(
        x, vectors
    )


def trace_probes(
    model: nn.Module,
    x: Any,
    probes: int,
    *,
    seed: int,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return z^T K_c z for random signs z: (C, probes), of mean tr K_c and variance 2 (|K_c|_F^2 - sum_i K_ii^2).

    Hutchinson's estimator [Hutchinson1989]; the same signs for all outputs.

    >>> trace_probes(nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]), 2, seed=0)
    tensor([[26., 26.]], dtype=torch.float64)
    """
    return Jacobian(model, outputs=outputs, parameters=parameters, dtype=dtype, memory=memory).trace_probes(
        x, probes, seed=seed
    )
