"""Projected tangent features of all outputs of a torch model, head kept exact, streamed within a memory budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import available_memory, readable_bytes
from dntk_fast.projection import KINDS, Sketch
from dntk_fast.tangent import generic
from dntk_fast.tangent.capture import Outputs, Parameters, Trace, capture, following, inspect
from dntk_fast.tangent.generic import Wrapped, differentiable
from dntk_fast.tangent.kernel import kernel_diagonal
from dntk_fast.tangent.plan import largest
from dntk_fast.tangent.result import FeaturePlan, TangentFeatures
from dntk_fast.tangent.sketching import Projector, choose_kinds

__all__ = ["FeaturePlan", "TangentFeatures", "feature_plan", "head_weights", "norm_errors", "tangent_features"]


@differentiable
def tangent_features(
    model: nn.Module,
    x: Any,
    *,
    k: int,
    seed: int,
    projection: str | Mapping[str, str] = "auto",
    keep_head: bool | Literal["auto"] = "auto",
    memory: int = 2**30,
    outputs: Outputs = None,
    parameters: Parameters = None,
    quality: float = 2.0,
) -> TangentFeatures:
    """Project the gradient of every output at every sample to k dimensions and keep the final layer's exactly.

    phi_c(x) = [A grad_body f_c(x); h(x); 1], so K~ is unbiased with variance from the body only, and
    f_c(x) = phi_c(x) . (0; W_c, b_c) exactly for every A (Theorem R, section 9.2). The map A depends on the seed, the
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
    memory : bytes to work in, beside model and result
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
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    >>> x = torch.ones(4, 2, dtype=torch.float64)
    >>> features = tangent_features(model, x, k=5, seed=0)
    >>> features.body.shape, features.head.shape, features.values.shape
    (torch.Size([2, 4, 5]), torch.Size([4, 4]), torch.Size([2, 4, 9]))
    >>> logits = torch.einsum("cni,ci->nc", features.values[..., 5:], head_weights(model))
    >>> torch.allclose(logits, model(x))
    True
    """
    job = _prepare(model, x, k, seed, projection, keep_head, memory, outputs, parameters, quality)
    return _stream(model, x, job, memory)


@differentiable
def feature_plan(
    model: nn.Module,
    x: Any,
    *,
    k: int,
    seed: int,
    projection: str | Mapping[str, str] = "auto",
    keep_head: bool | Literal["auto"] = "auto",
    memory: int = 2**30,
    outputs: Outputs = None,
    parameters: Parameters = None,
    quality: float = 2.0,
) -> FeaturePlan:
    """Return what `tangent_features` would do with these arguments, refusals included, before the work.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> print(str(feature_plan(model, torch.ones(4, 2), k=5, seed=0)).splitlines()[0])
    2 outputs, 4 samples and 2 outputs at a time, k = 5, exact head 2
    """
    return _prepare(model, x, k, seed, projection, keep_head, memory, outputs, parameters, quality).plan


def head_weights(model: nn.Module, head: str | None = None) -> Tensor:
    """Weights of the network itself in the head's coordinates: rows (W_c, b_c), Theorem R with w_0 = (0; W_c, b_c).

    Parameters
    ----------
    head : name of the layer (`plan.head`); if None, the last layer in the order of registration, if it is a Linear

    Returns
    -------
    Tensor (C, d_h + 1), or (C, d_h) where the layer has no bias

    Raises
    ------
    ValueError
        No such Linear layer.

    >>> layer = nn.Linear(2, 1)
    >>> torch.equal(head_weights(layer), torch.cat((layer.weight, layer.bias[:, None]), 1).detach())
    True
    """
    leaves = [module for module in model.modules() if not list(module.children())]
    layer = leaves[-1] if head is None else dict(model.named_modules()).get(head)
    if not isinstance(layer, nn.Linear):
        _check.refuse("head", "the name of a Linear layer", head if head is not None else type(layer).__name__)
    weight = layer.weight.detach()
    if layer.bias is None:
        return weight.clone()
    # A frozen bias has no gradient and so no coordinate; it is then an offset of f_c that no feature carries.
    return torch.cat((weight, layer.bias.detach()[:, None]), dim=1) if layer.bias.requires_grad else weight.clone()


@differentiable
def norm_errors(
    model: nn.Module, x: Any, features: TangentFeatures, *, memory: int = 2**30, outputs: Outputs = None
) -> Tensor:
    """Return |phi~_c(x)|^2 / |phi_c(x)|^2 - 1 of the body: the projection's error where it can be had exactly.

    Exact norms cost no more than the features; the variance is 2/k for a Gaussian map.

    Parameters
    ----------
    model, x, outputs : as the features were made

    Returns
    -------
    Tensor (C, n), float64; NaN where the gradient is zero

    >>> model, x = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double(), torch.ones(3, 2, dtype=torch.float64)
    >>> isometry = tangent_features(model, x, k=6, seed=0, projection="haar")
    >>> bool(norm_errors(model, x, isometry).abs().max() < 1e-12)
    True
    """
    names = list(features.plan.sketch.shapes)
    exact = kernel_diagonal(model, x, memory=memory, outputs=outputs, parameters=names)
    return features.body.double().square().sum(2) / exact - 1


# --- the steps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """What is settled before the work: the layers (None: there is no body), the plan, whether the head's bias counts."""

    trace: Trace | None
    plan: FeaturePlan
    with_bias: bool


def _prepare(
    model: nn.Module,
    x: Any,
    k: int,
    seed: int,
    projection: str | Mapping[str, str],
    keep_head: bool | str,
    memory: int,
    outputs: Outputs,
    parameters: Parameters,
    quality: float,
) -> _Job:
    module = Wrapped(_check.frozen_statistics(model), outputs if callable(outputs) else None)
    n, _, _ = _check.samples("x", _check.inputs("x", x)), _check.seed(seed), _check.integer("memory", memory, 1)
    wanted = generic.trainable(model, parameters)
    _check.dimension(k, sum(p.numel() for p in wanted.values()))
    head = _head(module, x, list(wanted), keep_head)
    body = {name: p.shape for name, p in wanted.items() if head is None or name not in _own(head)}
    outputs = _columns(module, x, outputs) if isinstance(outputs, Sequence) else outputs
    trace = inspect(model, x, outputs=outputs, parameters=list(body)) if body else None
    count = trace.outputs if trace else len(_columns(module, x, None if callable(outputs) else outputs))
    sketch = Sketch(body, k, seed, _kinds(projection, trace, body, k, quality))
    _fits(count, n, k, next(iter(wanted.values())))
    rows, classes, peak = _chunk(trace, sketch, n, memory) if trace else (n, count, 0)
    plan = FeaturePlan(sketch, head, count, rows, classes, peak, trace.generic if trace else ())
    return _Job(trace, plan, head is not None and _own(head)[1] in wanted)


def _columns(module: Wrapped, x: Any, outputs: Sequence[int] | None) -> list[int]:
    count = generic.probe(module, x).shape[1]
    found = [_check.integer("outputs", c, 0, count - 1) for c in (range(count) if outputs is None else outputs)]
    return found or _check.refuse("outputs", "at least one output", "none")


def _own(head: str) -> tuple[str, str]:
    """Names of the head's two parameters."""
    return (f"{head}.weight", f"{head}.bias") if head else ("weight", "bias")


def _head(module: Wrapped, x: Any, names: list[str], keep_head: bool | str) -> str | None:
    _check.choice("keep_head", keep_head, (True, False, "auto"))
    head = generic.affine_head(module, x, names) if keep_head else None
    if keep_head is True and head is None:
        _check.refuse("keep_head", "False or 'auto'", "True, but no trainable Linear gives the outputs")
    return head


def _kinds(
    projection: str | Mapping[str, str], trace: Trace | None, body: Mapping[str, torch.Size], k: int, quality: float
) -> str | dict[str, str]:
    if isinstance(projection, Mapping):
        return dict(projection)
    kind = _check.choice("projection", projection, ("auto", *KINDS))
    if kind != "auto":
        return str(kind)
    return choose_kinds(trace.tangents if trace else (), body, k, _check.positive("quality", quality))


def _fits(outputs: int, n: int, k: int, like: Tensor) -> None:
    """Refuse a result that the device cannot hold, before any work."""
    need, free = outputs * n * k * max(like.element_size(), 4), available_memory(like.device)
    if need > free:
        shape = f"features ({outputs}, {n}, {k}) of {readable_bytes(need)}"
        _check.refuse("k", f"a result that fits into {readable_bytes(free)} of free memory", shape)


def _chunk(trace: Trace, sketch: Sketch, n: int, memory: int) -> tuple[int, int, int]:
    """Samples and outputs at a time, from what one sample keeps alive, and the predicted peak.

    A sample needs its tape, for every output the cotangents of all layers and the accumulators of its features, and a few
    of the widest cotangents of every output of a pass.

    Three eighths of the budget are left to the gradients that are formed a few at a time, the tables of their maps and
    the work space of the libraries.
    """
    accumulators = 4 * sketch.k * max(4, trace.cotangent_size)

    def peak(rows: int, classes: int) -> int:
        flying = 3 * trace.widest_bytes * trace.together(rows, classes)
        return 8 * rows * (trace.row_bytes + flying + classes * (trace.cotangent_bytes + accumulators)) // 5

    least = peak(1, 1)
    if least > memory:
        _check.refuse("memory", f"at least {least} ({readable_bytes(least)}) for one sample", readable_bytes(memory))
    # Outputs are split, at the price of a forward pass for each part, only where not even one sample fits with all.
    classes = largest(trace.outputs, lambda count: peak(1, count) <= memory)
    rows = largest(n, lambda count: peak(count, classes) <= memory)
    return rows, classes, peak(rows, classes)


def _stream(model: nn.Module, x: Any, job: _Job, memory: int) -> TangentFeatures:
    """Chunk after chunk: one forward, C vector-Jacobian products, every layer's tangent projected and forgotten."""
    n, kind, plan = _check.samples("x", x), next(model.parameters()), job.plan
    like = torch.empty(0, dtype=torch.promote_types(kind.dtype, torch.float32), device=kind.device)
    body, start = like.new_zeros(plan.outputs, n, plan.sketch.k), 0
    inputs: dict[int, Tensor] = {}

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        # The chunk's own forward pass comes first; torch.func may call the layer again.
        inputs.setdefault(start, (given[0] if given else named["input"]).detach())

    def project(trace: Trace) -> None:
        for tangent in capture(
            trace, part, classes
        ):  # which raises `MovedRowsError` before it hands out anything, or never
            projector.add(tangent)

    hook, trace = None, job.trace
    if plan.head is not None:
        hook = model.get_submodule(plan.head).register_forward_pre_hook(note, with_kwargs=True)
    try:
        for start in range(0, n, plan.rows):
            part = generic.take(x, slice(start, start + plan.rows))
            if trace is None or not any(trace.sites):
                with torch.set_grad_enabled(trace is not None):  # it may differentiate inside
                    generic.call(model, part)
            if trace is None:
                continue
            for first in range(0, plan.outputs, plan.classes):
                classes = range(first, min(first + plan.classes, plan.outputs))
                projector = Projector(plan.sketch, len(classes), min(plan.rows, n - start), like, memory // 8)
                trace = following(trace, project)
                body[first : classes.stop, start : start + plan.rows] = projector.result()
    finally:
        if hook:
            hook.remove()
    return TangentFeatures(body, _head_features(list(inputs.values()), job.with_bias, body.dtype), plan)


def _head_features(inputs: list[Tensor], with_bias: bool, dtype: torch.dtype) -> Tensor | None:
    """(h(x), 1) of all samples, h the input of the head; without the 1 where there is no trainable bias."""
    if not inputs:
        return None
    h = torch.cat(inputs).to(dtype)
    return torch.cat((h, h.new_ones(len(h), 1)), dim=1) if with_bias else h
