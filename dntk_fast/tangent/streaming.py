"""Features chunk by chunk: one forward pass, C vector-Jacobian products, every layer's tangent projected and forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import available_memory, readable_bytes
from dntk_fast.projection import KINDS, Sketch
from dntk_fast.tangent.batches import Wrapped, take
from dntk_fast.tangent.head import Head, head_inputs
from dntk_fast.tangent.passes import Trace, capture, following
from dntk_fast.tangent.plan import largest
from dntk_fast.tangent.result import FeaturePlan, TangentFeatures
from dntk_fast.tangent.sketching import Projector, choose_kinds

__all__ = ["feature_chunk", "refuse_what_does_not_fit", "sketch_kinds", "stream_features"]


def sketch_kinds(
    projection: str | Mapping[str, str], trace: Trace | None, body: Mapping[str, torch.Size], k: int, quality: float
) -> str | dict[str, str]:
    """The kind of map of every parameter, or of all: as given, or by `choose_kinds`."""
    if isinstance(projection, Mapping):
        return dict(projection)
    kind = _check.choice("projection", projection, ("auto", *KINDS))
    if kind != "auto":
        return str(kind)
    return choose_kinds(trace.tangents if trace else (), body, k, _check.positive("quality", quality))


def refuse_what_does_not_fit(outputs: int, n: int, k: int, like: Tensor) -> None:
    """Refuse a result that the device cannot hold, before any work."""
    need, free = outputs * n * k * max(like.element_size(), 4), available_memory(like.device)
    if need > free:
        shape = f"features ({outputs}, {n}, {k}) of {readable_bytes(need)}"
        _check.refuse("k", f"a result that fits into {readable_bytes(free)} of free memory", shape)


def feature_chunk(trace: Trace, sketch: Sketch, n: int, memory: int) -> tuple[int, int, int]:
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


def stream_features(
    module: Wrapped, x: Any, trace: Trace | None, plan: FeaturePlan, memory: int, *, head: Head | None, with_bias: bool
) -> TangentFeatures:
    """Make the features as planned; `trace` is None where there is no body, `with_bias` whether the head's bias counts."""
    model = module.model
    n, kind = _check.samples("x", x), next(model.parameters())
    like = torch.empty(0, dtype=torch.promote_types(kind.dtype, torch.float32), device=kind.device)
    body, start = like.new_zeros(plan.outputs, n, plan.sketch.k), 0
    inputs: dict[int, Tensor] = {}

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        # The chunk's own forward pass comes first; torch.func may call the layer again.
        inputs.setdefault(start, (given[0] if given else named["input"]).detach())

    def project(trace: Trace) -> None:
        # It raises `UnsettledRowsError` before it hands out anything, or never.
        for tangent in capture(trace, part, classes):
            projector.add(tangent)

    hook = None
    if head is not None and head.direct:
        hook = model.get_submodule(head.name).register_forward_pre_hook(note, with_kwargs=True)
    try:
        for start in range(0, n, plan.rows):
            part = take(x, slice(start, start + plan.rows))
            if head is not None and not head.direct:
                inputs[start] = head_inputs(module, part, head)
            if trace is None or not any(trace.sites):
                with torch.set_grad_enabled(trace is not None):  # it may differentiate inside
                    module(part)
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
    return TangentFeatures(body, _head_features(list(inputs.values()), with_bias, body.dtype), plan)


def _head_features(inputs: list[Tensor], with_bias: bool, dtype: torch.dtype) -> Tensor | None:
    """(h(x), 1) of all samples, h the input of the head; without the 1 where there is no trainable bias."""
    if not inputs:
        return None
    h = torch.cat(inputs).to(dtype)
    return torch.cat((h, h.new_ones(len(h), 1)), dim=1) if with_bias else h
