"""Batches as tensors, tuples or dicts of arguments, and the model called on them, whatever the caller's modes."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader

from dntk_fast import _check

__all__ = [
    "Outputs",
    "Parameters",
    "Wrapped",
    "call",
    "cast",
    "described",
    "differentiable",
    "ends",
    "network",
    "plain_attention",
    "take",
]


Outputs = Sequence[int] | Callable[[nn.Module, Any], Tensor] | None
Parameters = Callable[[str], bool] | Sequence[str] | None


P = ParamSpec("P")
R = TypeVar("R")


def differentiable(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that takes gradients of a model do so wherever it is called, under `no_grad` or `inference_mode` too.

    Inputs that were made in inference mode are copied, for autograd can save nothing of them; a DataLoader is read once,
    its batches joined on the model's device.
    """

    def usable(value: Any, device: torch.device | None) -> Any:
        if isinstance(value, DataLoader):
            return _joined(value, device)
        if isinstance(value, Tensor):
            return value.clone() if value.is_inference() else value
        if type(value) is dict:
            return {name: usable(part, device) for name, part in value.items()}
        return tuple(usable(part, device) for part in value) if type(value) is tuple else value

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        given = (getattr(value, "model", value) for value in (*args, *kwargs.values()))
        device = next((p.device for model in given if isinstance(model, nn.Module) for p in model.parameters()), None)
        # The precision is the model's own, whatever the caller casts automatically.
        kind = "cpu" if device is None else device.type
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False):
            return function(
                *(usable(a, device) for a in args), **{name: usable(a, device) for name, a in kwargs.items()}
            )

    return inner


def _joined(loader: DataLoader[Any], device: torch.device | None) -> Any:
    """All batches of a loader as one; a list, as the default collation makes it, is a tuple of arguments."""
    batches = [tuple(batch) if isinstance(batch, list) else batch for batch in loader]
    if not batches:
        _check.refuse("x", "at least one batch", "a DataLoader without any")
    return tree_map(lambda *parts: torch.cat(parts).to(device), *batches)


class Wrapped(nn.Module):
    """A model followed by a function of (model, batch) -> (n, q), as one module whose parameters are `model.*`."""

    def __init__(self, model: nn.Module, function: Callable[[nn.Module, Any], Tensor] | None = None) -> None:
        super().__init__()
        self.model: nn.Module = model
        self.function = function
        self.training = model.training  # not train(): parts of the model may be in another mode

    def forward(self, batch: Any) -> Tensor:
        """Return the outputs of a batch that is a tensor, or a tuple or dict of arguments."""
        return call(self.model, batch) if self.function is None else self.function(self.model, batch)


def network(model: nn.Module, outputs: Outputs) -> Wrapped:
    """The model with the outputs that are asked for, (n, C)."""
    if outputs is None or callable(outputs):
        return Wrapped(model, outputs)
    if not isinstance(outputs, Iterable):
        raise TypeError(f"outputs: expected indices, a function of (model, batch), or None, got {outputs!r}")
    chosen = list(outputs) or _check.refuse("outputs", "at least one output", "none")
    for c in chosen:
        _check.integer("outputs", c, -sys.maxsize)  # how many there are, a batch will tell

    def columns(inner: nn.Module, batch: Any) -> Tensor:
        found = call(inner, batch)
        if not isinstance(found, Tensor) or found.ndim != 2:
            return found  # refused where all outputs are
        return found[:, [_check.integer("outputs", c, 0, found.shape[1] - 1) for c in chosen]]

    return Wrapped(model, columns)


def call(model: nn.Module, batch: Any) -> Any:
    """Return the model's output on a tensor, a tuple of arguments or a dict of named arguments."""
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def take(batch: Any, rows: slice | Tensor | int | None) -> Any:
    """Return some of the samples of a batch; of one sample (None) the batch of it alone."""
    if isinstance(batch, dict):
        return {name: part[rows] for name, part in batch.items()}
    return tuple(part[rows] for part in batch) if isinstance(batch, tuple) else batch[rows]


def ends(batch: Any) -> Any:
    """The first and the last sample."""
    return take(batch, torch.tensor([0, _check.samples("x", batch) - 1]))


def cast(model: nn.Module, x: Any, dtype: torch.dtype | None) -> tuple[nn.Module, Any]:
    """The model and its inputs in another precision; the model that was given stays as it is."""
    if dtype is None:
        return model, x
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: expected a floating-point torch.dtype, got {dtype!r}")
    if any(p.is_floating_point() and p.dtype != dtype for p in (*model.parameters(), *model.buffers())):
        model = copy.deepcopy(model).to(dtype)
    return model, tree_map(lambda part: part.to(dtype) if part.is_floating_point() else part, x)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by plain products, restored after: the fused inference path has no derivative, the fused kernel no vmap."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def described(batch: Any) -> str:
    """Shapes and dtypes of a batch, in words."""
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple) else (batch,)
    return ", ".join(f"shape {tuple(part.shape)} of {part.dtype}" for part in parts)
