"""Weights in parameter space, one set for each class: dictionaries by parameter name of tensors (C, *shape)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast.tangent.head import head_weights
from dntk_fast.tangent.result import FeaturePlan

__all__ = ["Weights", "combined", "inner", "parameter_weights", "scaled", "spread"]

Weights: TypeAlias = dict[str, Tensor]  # by parameter name, (C, *shape)


@alone
def parameter_weights(weights: Tensor, model: nn.Module, plan: FeaturePlan) -> Weights:
    """The weights in parameter space that predict what projected weights do: w = A^T w~ on the body, w~ itself on the head.

    phi~^T w~ = phi_body^T (A^T w~_body) + (h; 1)^T w~_head, exactly; rows of the head that give no output stay zero.

    Parameters
    ----------
    weights : (C, k) or (C, k + d_h + 1), in the order of `TangentFeatures.values`
    model : the network of the features
    plan : how they were made

    Returns
    -------
    dict
        parameter name -> (C, *shape)

    Raises
    ------
    ValueError
        Another number of coordinates.

    >>> from dntk_fast.tangent.features import tangent_features
    >>> from dntk_fast.tangent.products import jacobian_vector
    >>> model, x = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double(), torch.ones(1, 2).double()
    >>> features = tangent_features(model, x, k=4, seed=0)
    >>> w = parameter_weights(torch.ones(2, 8).double(), model, features.plan)
    >>> torch.allclose(jacobian_vector(model, x, w), features.values.sum(2))
    True
    """
    k = plan.sketch.k if plan.sketch.shapes else 0
    own = None if plan.head is None else head_weights(model, plan.head, plan.columns or None)
    width = plan.sketch.k + (0 if own is None else own.shape[1])
    if _check.tensor("weights", weights).ndim != 2 or weights.shape[1] != width:
        _check.refuse("weights", f"shape (C, {width})", f"shape {tuple(weights.shape)}")
    found: Weights = dict(plan.sketch.adjoint(weights[:, :k])) if k else {}
    if own is None:
        return found
    tail = weights[:, plan.sketch.k :]
    if len(weights) != len(own):
        _check.refuse("weights", f"one row for each of the head's {len(own)} outputs", f"{len(weights)} rows")
    name, C = f"{plan.head}." if plan.head else "", len(weights)
    rows, d = dict(model.named_parameters())[f"{name}weight"].shape
    across, columns = torch.arange(C, device=weights.device), list(plan.columns) or list(range(C))
    found[f"{name}weight"] = tail.new_zeros(C, rows, d)
    found[f"{name}weight"][across, columns] = tail[:, :d]
    if tail.shape[1] > d:
        found[f"{name}bias"] = tail.new_zeros(C, rows)
        found[f"{name}bias"][across, columns] = tail[:, d]
    return found


def inner(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    """Inner products <a_c, b_c> over all parameters, summed in float64; a name left out counts as zero: (C,).

    >>> inner({"w": torch.ones(2, 3)}, {"w": torch.ones(2, 3), "b": torch.ones(2)}).tolist()
    [3.0, 3.0]
    """
    shared = sorted(a.keys() & b.keys())  # in this order wherever the weights come from, to the last bit
    if not shared:
        _check.refuse("weights", "at least one shared parameter", f"{sorted(a)} and {sorted(b)}")
    if a is b:  # without copies in float64
        lengths = [torch.linalg.vector_norm(_rows(a[name]), dim=1, dtype=torch.float64) for name in shared]
        return torch.stack(lengths).square().sum(0)
    return torch.stack([_rows(a[name].double() * b[name].double()).sum(1) for name in shared]).sum(0)


def _rows(value: Tensor) -> Tensor:
    """One row for each class, of a parameter without axes too."""
    return value[..., None].flatten(1)


def combined(a: Mapping[str, Tensor], factor: Tensor, b: Mapping[str, Tensor]) -> Weights:
    """The sums a_c + factor_c b_c, in the precision of a; a name that b lacks counts as zero there.

    >>> combined({"w": torch.ones(2, 1)}, torch.tensor([1.0, 2.0]), {"w": torch.ones(2, 1)})["w"].tolist()
    [[2.0], [3.0]]
    """
    return {name: value + scaled(factor, b[name].to(value)) if name in b else value for name, value in a.items()}


def scaled(factor: Tensor, value: Tensor) -> Tensor:
    """Return factor_c value_c, in the precision of the value."""
    return spread(factor.to(value), value) * value


def spread(factor: Tensor, like: Tensor) -> Tensor:
    """Return the factors (C,) in a shape that multiplies (C, ...)."""
    return factor.reshape(-1, *[1] * (like.ndim - 1))
