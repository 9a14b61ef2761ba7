"""Projected tangent features of all outputs of a torch model, head kept exact, streamed within a memory budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from dntk_fast.tangent.batches import Outputs, Parameters
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.result import FeaturePlan, TangentFeatures

__all__ = ["feature_plan", "norm_errors", "tangent_features"]


def tangent_features(
    model: nn.Module,
    x: Any,
    *,
    k: int,
    seed: int,
    projection: str | Mapping[str, str] = "auto",
    keep_head: bool | Literal["auto"] = "auto",
    memory: int | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
    quality: float = 2.0,
) -> TangentFeatures:
    """Project the gradient of every output at every sample to k dimensions and keep the final layer's exactly.

    phi_c(x) = [A grad_body f_c(x); h(x); 1], so K~ is unbiased with variance from the body only, and
    f_c(x) = phi_c(x) . (0; W_c, b_c) exactly for every A (`head_preserving`). The map A depends on the seed, the
    parameters' names and shapes and k alone: not on chunks, the order of samples, or the number of processes.

    Parameters
    ----------
    model : module whose output (n, C) depends on each sample alone; frozen parameters are left out
    x : (n, ...) tensor, or a tuple or dict of such arguments of the model, or a DataLoader of either without labels (read
        as a whole; `write_features` reads it batch by batch)
    k : projection size, 1 ... P
    seed : of the map
    projection : "auto", one of `dntk_fast.projection.KINDS`, or a kind for each parameter. "auto" looks at the size of the
        inputs too: for inputs of another size give the kinds of the first ones, `plan.sketch.kinds`
    keep_head : whether the gradient of the final affine layer stays exact; "auto": where there is one
    memory : bytes to work in, beside model and result; None means an eighth of the machine's
    outputs : which logits, or a function (model, batch) -> (n, q) of the model; all logits if None
    parameters : which parameters, by name or by a condition on the name; all if None
    quality : for "auto", the largest second moment of a layer's map, as a multiple of the Gaussian map's

    Returns
    -------
    TangentFeatures
        body (C, n, k), head (n, d_h + 1) or None, plan, sketch_error; `values` joins body and head.

    Raises
    ------
    ValueError
        A model that draws random numbers, uses batch statistics or mixes samples; k below 1 or above P; NaN inputs;
        keep_head=True without a final affine layer; a budget too small for one sample; a result that does not fit.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    >>> x = torch.ones(4, 2, dtype=torch.float64)
    >>> features = tangent_features(model, x, k=5, seed=0)
    >>> features.body.shape, features.head.shape, features.values.shape
    (torch.Size([2, 4, 5]), torch.Size([4, 4]), torch.Size([2, 4, 9]))
    >>> from dntk_fast.tangent.head import head_weights
    >>> logits = torch.einsum("cni,ci->nc", features.values[..., 5:], head_weights(model))
    >>> torch.allclose(logits, model(x))
    True
    """
    J = Jacobian(model, outputs=outputs, parameters=parameters, memory=memory)
    return J.features(x, k=k, seed=seed, projection=projection, keep_head=keep_head, quality=quality)


def feature_plan(
    model: nn.Module,
    x: Any,
    *,
    k: int,
    seed: int,
    projection: str | Mapping[str, str] = "auto",
    keep_head: bool | Literal["auto"] = "auto",
    memory: int | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
    quality: float = 2.0,
) -> FeaturePlan:
    """Return what `tangent_features` would do with these arguments, refusals included, before the work.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> print(str(feature_plan(model, torch.ones(4, 2), k=5, seed=0)).splitlines()[0])
    2 outputs, 4 samples and 2 outputs at a time, k = 5, exact head 2
    """
    J = Jacobian(model, outputs=outputs, parameters=parameters, memory=memory)
    return J.feature_plan(x, k=k, seed=seed, projection=projection, keep_head=keep_head, quality=quality)


def norm_errors(
    model: nn.Module, x: Any, features: TangentFeatures, *, memory: int | None = None, outputs: Outputs = None
) -> Tensor:
    """Return |phi~_c(x)|^2 / |phi_c(x)|^2 - 1 of the body: the projection's error where it can be had exactly.

    Exact norms cost no more than the features; the variance is 2/k for a Gaussian map.

    Parameters
    ----------
    model, x, outputs : as the features were made

    Returns
    -------
    Tensor (C, n), float64; NaN where the gradient is zero

    >>> import torch
    >>> model, x = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double(), torch.ones(3, 2, dtype=torch.float64)
    >>> isometry = tangent_features(model, x, k=6, seed=0, projection="haar")
    >>> bool(norm_errors(model, x, isometry).abs().max() < 1e-12)
    True
    """
    names = list(features.plan.sketch.shapes)
    exact = Jacobian(model, outputs=outputs, parameters=names, memory=memory).diagonal(x)
    return features.body.double().square().sum(2) / exact - 1
