"""Gradients by plain automatic differentiation: one sample in the model, one output in the backward pass.

Not torch.func: its rule for PReLU is wrong under vmap.
"""

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from tests.tolerances import TOL


def jacobian(model, x):
    """Return parameter name -> (C, n, *shape)."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = []
    for i in range(len(tree_leaves(x)[0])):
        batch = tree_map(lambda part, i=i: part[i : i + 1], x)
        values = (
            model(*batch) if isinstance(batch, tuple) else model(**batch) if isinstance(batch, dict) else model(batch)
        )
        per_output = [
            torch.autograd.grad(f, list(parameters.values()), retain_graph=True, materialize_grads=True)
            for f in values[0]
        ]
        rows.append([torch.stack([g.to_dense() for g in gradients]) for gradients in zip(*per_output, strict=True)])
    return {name: torch.stack(parts, 1) for name, parts in zip(parameters, zip(*rows, strict=True), strict=True)}


def features(model, x):
    """Return the Jacobian as one array (C, n, P), parameters in the model's order."""
    return torch.cat([g.reshape(*g.shape[:2], -1) for g in jacobian(model, x).values()], 2)


def kernel(model, x1, x2=None):
    """Return K_c = Phi_c(x1) Phi_c(x2)^T, (C, n1, n2)."""
    first = features(model, x1)
    return first @ (first if x2 is None else features(model, x2)).mT


def close(found, expected, tolerance=TOL["float64"]):
    """Whether two arrays agree relative to the largest entry."""
    return found.shape == expected.shape and bool((found - expected).abs().max() <= tolerance * expected.abs().max())


class Readout(nn.Module):
    """A layer under test, a nonlinearity, and a fixed random linear map to C outputs that has no parameters."""

    def __init__(self, layer, example, outputs=2):
        super().__init__()
        self.layer = layer.double()
        with torch.no_grad():
            width = self.layer(example).flatten(1).shape[1]
        generator = torch.Generator().manual_seed(width)
        self.register_buffer("map", torch.randn(width, outputs, generator=generator, dtype=torch.float64))

    def forward(self, x):
        return torch.sin(self.layer(x)).flatten(1) @ self.map
