"""Projected tangent features of all outputs of a torch model, head kept exact, streamed within a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import available_memory, readable_bytes
from dntk_fast.projection import KINDS, Sketch, hashing
from dntk_fast.tangent import generic
from dntk_fast.tangent.capture import Trace, capture, inspect
from dntk_fast.tangent.generic import Wrapped
from dntk_fast.tangent.sketching import Projector, choose_kinds

__all__ = ["FeaturePlan", "TangentFeatures", "head_weights", "tangent_features"]

# Rows from which the sketch error is estimated at most: the estimate's own cost stays a few n k products.
_ERROR_ROWS = 512


@dataclass(frozen=True)
class FeaturePlan:
    """How features were made: the map (its kinds are all that a later call needs), the head, the chunks.

    Attributes
    ----------
    sketch : the random map of the body's parameters
    head : name of the layer that was kept exact ("" is the model itself), or None
    rows : samples that were worked on at a time
    generic : parameters without a rule of their own, whose gradients torch.func formed
    """

    sketch: Sketch
    head: str | None
    rows: int
    generic: tuple[str, ...] = ()


@dataclass(frozen=True)
class TangentFeatures:
    """Features phi_c(x) = [A grad_body f_c(x); h(x); 1] of all outputs c and samples x (section 9.2).

    Attributes
    ----------
    body : (C, n, k), the projected gradients of all parameters but the head's; E <body, body'> is their exact kernel
    head : (n, d_h + 1), the exact gradient of the head's own row for every output, or None (d_h where it has no bias)
    plan : how they were made
    """

    body: Tensor
    head: Tensor | None
    plan: FeaturePlan

    @cached_property
    def values(self) -> Tensor:
        """Body and head as one array (C, n, k + d_h + 1)."""
        if self.head is None:
            return self.body
        return torch.cat((self.body, self.head.expand(len(self.body), *self.head.shape)), dim=2)

    def kernel(self) -> Tensor:
        """Return K~_c = Phi~_c Phi~_c^T of all outputs (C, n, n), unbiased for the exact kernel."""
        found = self.body @ self.body.mT
        return found if self.head is None else found + self.head @ self.head.T

    @cached_property
    def sketch_error(self) -> float:
        """Estimate of ||K~ - K||_F / ||K||_F of the body over all outputs, without K (split halves, section 9.1).

        The k coordinates are split at random into two halves, K1 and K2 their kernels, each twice the half's Gram matrix:
        E ||K1 - K2||_F^2 / 4 = E ||K~ - K||_F^2 and E tr(K1 K2) = ||K||_F^2 where the halves are independent (dense maps).
        Where a coordinate is hashed to one bucket the estimate of the first is larger by about
        ||diag(Phi^T Phi)||_F^2, a share k / P of it for flat gradients: an upper estimate. Taken over at most 512 rows.
        """
        n, k = self.body.shape[1:]
        if k < 2 or not self.body.any():
            return 0.0 if k > 1 else float("nan")
        rows = torch.linspace(0, n - 1, min(n, _ERROR_ROWS), device=self.body.device).round().long()
        order = hashing.permutations(hashing.key(self.plan.sketch.seed, "", "halves"), 1, k, device=self.body.device)[0]
        some = self.body[:, rows].double()
        one, two = (some[..., half] * (k / len(half)) ** 0.5 for half in (order[: k // 2], order[k // 2 :]))
        k1, k2 = one @ one.mT, two @ two.mT
        return float((k1 - k2).square().sum().sqrt() / 2 / (k1 * k2).sum().clamp(min=1e-300).sqrt())


def tangent_features(
    model: nn.Module,
    x: Any,
    *,
    k: int,
    seed: int,
    projection: str | Mapping[str, str] = "auto",
    keep_head: bool | Literal["auto"] = "auto",
    memory: int = 2**30,
    outputs: Sequence[int] | Callable[[nn.Module, Any], Tensor] | None = None,
    parameters: Callable[[str], bool] | Sequence[str] | None = None,
    quality: float = 2.0,
) -> TangentFeatures:
    """Project the gradient of every output at every sample to k dimensions and keep the final layer's exactly.

    phi_c(x) = [A grad_body f_c(x); h(x); 1], so K~ is unbiased with variance from the body only, and
    f_c(x) = phi_c(x) . (0; W_c, b_c) exactly for every A (Theorem R, section 9.2). The map A depends on the seed, the
    parameters' names and shapes and k alone: not on chunks, the order of samples, or the number of processes.

    Parameters
    ----------
    model : module whose output (n, C) depends on each sample alone; frozen parameters are left out
    x : (n, ...) tensor, or a tuple or dict of such arguments of the model
    k : projection size, 1 ... P
    seed : of the map
    projection : "auto", one of `dntk_fast.projection.KINDS`, or a kind for each parameter (`plan.sketch.kinds`)
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
    module = Wrapped(_check.frozen_statistics(model), outputs if callable(outputs) else None)
    n, _ = _check.samples("x", _check.inputs("x", x)), _check.seed(seed)
    wanted = generic.trainable(model, parameters)
    _check.dimension(k, sum(p.numel() for p in wanted.values()))
    head = _head(module, x, list(wanted), keep_head)
    body = {name: p.shape for name, p in wanted.items() if head is None or name not in _own(head)}
    outputs = _columns(module, x, outputs) if isinstance(outputs, Sequence) else outputs
    trace = inspect(model, x, outputs=outputs, parameters=list(body)) if body else None
    count = trace.outputs if trace else len(_columns(module, x, None if callable(outputs) else outputs))
    sketch = Sketch(body, k, seed, _kinds(projection, trace, body, k, quality))
    _fits(count, n, k, next(iter(wanted.values())))
    return _stream(model, x, trace, sketch, head, count, _check.integer("memory", memory, 1), list(wanted))


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


# --- the steps --------------------------------------------------------------------------------------------------------


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


def _chunk(trace: Trace, sketch: Sketch, n: int, memory: int, size: int) -> int:
    """Samples at a time, from what one keeps alive: its tape, C cotangents of every layer, and its accumulators.

    Three eighths of the budget are left to the gradients that are formed a few at a time, the tables of their maps and
    the work space of the libraries.
    """
    per_sample = trace.row_bytes + trace.outputs * (trace.cotangent_bytes + 4 * sketch.k * size) + trace.widest_bytes
    return min(n, generic.chunk_rows(memory, 8 * per_sample // 5))


def _stream(
    model: nn.Module,
    x: Any,
    trace: Trace | None,
    sketch: Sketch,
    head: str | None,
    outputs: int,
    memory: int,
    names: list[str],
) -> TangentFeatures:
    """Chunk after chunk: one forward, C vector-Jacobian products, every layer's tangent projected and forgotten."""
    n, first = _check.samples("x", x), next(model.parameters())
    like = torch.empty(0, dtype=torch.promote_types(first.dtype, torch.float32), device=first.device)
    rows = _chunk(trace, sketch, n, memory, like.element_size()) if trace else n
    body, start = like.new_zeros(outputs, n, sketch.k), 0
    inputs: dict[int, Tensor] = {}

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        # The chunk's own forward pass comes first; torch.func may call the layer again.
        inputs.setdefault(start, (given[0] if given else named["input"]).detach())

    hook = model.get_submodule(head).register_forward_pre_hook(note, with_kwargs=True) if head is not None else None
    try:
        for start in range(0, n, rows):
            part = generic.take(x, slice(start, start + rows))
            if trace is None:
                with torch.no_grad():
                    generic.call(model, part)
                continue
            projector = Projector(sketch, outputs, min(rows, n - start), like, memory // 8)
            for tangent in capture(trace, part):
                projector.add(tangent)
            body[:, start : start + rows] = projector.result()
    finally:
        if hook:
            hook.remove()
    with_bias = head is not None and _own(head)[1] in names
    plan = FeaturePlan(sketch, head, rows, trace.generic if trace else ())
    return TangentFeatures(body, _head_features(list(inputs.values()), with_bias, body.dtype), plan)


def _head_features(inputs: list[Tensor], with_bias: bool, dtype: torch.dtype) -> Tensor | None:
    """(h(x), 1) of all samples, h the input of the head; without the 1 where there is no trainable bias."""
    if not inputs:
        return None
    h = torch.cat(inputs).to(dtype)
    return torch.cat((h, h.new_ones(len(h), 1)), dim=1) if with_bias else h


def generic_body(model: nn.Module, x: Any, sketch: Sketch, *, outputs: Sequence[int] | None = None, rows: int = 8) -> Tensor:
    """Return the body's features by torch.func alone, `rows` samples at a time: the oracle of the rules (C, n, k)."""
    module, n = Wrapped(model), _check.samples("x", x)
    columns = range(generic.probe(module, x).shape[1]) if outputs is None else outputs
    parts = []
    for start in range(0, n, rows):
        chunk = generic.take(x, slice(start, start + rows))
        found = generic.per_sample_gradients(module, chunk, list(sketch.shapes), list(columns))
        parts.append(torch.stack([sketch.apply(gradients) for _, gradients in found]))
    return torch.cat(parts, dim=1)
