"""Exact empirical kernels K_c(x, x') = <grad f_c(x), grad f_c(x')> of a torch model, one for each output."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

__all__ = ["tangent_kernel"]


def tangent_kernel(
    model: nn.Module, x1: Tensor, x2: Tensor | None = None, *, memory: int = 2**30, dtype: torch.dtype | None = None
) -> Tensor:
    """One exact kernel for each output of the model, never holding more than two row chunks of gradients.

    K_c = Phi_c(x1) Phi_c(x2)^T (Eq 1, per class).
    """
    model = model if dtype is None else model.to(dtype)
    symmetric = x2 is None
    x2 = x1 if x2 is None else x2
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rest = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    size = sum(p.numel() * p.element_size() for p in parameters.values())
    rows = max(1, memory // (4 * size))
    with torch.no_grad():
        classes = model(x1[:1]).shape[1]

    def gradients(x: Tensor, c: int) -> dict[str, Tensor]:
        def output(p: dict[str, Tensor], row: Tensor) -> Tensor:
            return functional_call(model, {**rest, **p}, (row[None],))[0, c]

        return vmap(grad(output), in_dims=(None, 0))(parameters, x)

    kernel = x1.new_zeros((classes, len(x1), len(x2)), dtype=torch.float64)
    for c in range(classes):
        for i in range(0, len(x1), rows):
            left = gradients(x1[i : i + rows], c)
            for j in range(i if symmetric else 0, len(x2), rows):
                right = left if symmetric and i == j else gradients(x2[j : j + rows], c)
                block = sum((left[k].flatten(1) @ right[k].flatten(1).T).double() for k in left)
                kernel[c, i : i + rows, j : j + rows] = block
    return torch.triu(kernel) + torch.triu(kernel, 1).mT if symmetric else kernel
