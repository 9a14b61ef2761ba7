"""Batches as tensors, tuples or dicts of arguments, and the model called on them, whatever the caller's modes."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast.tangent.isolation import own_copy
from dntk_fast.tangent.loaders import joined

__all__ = [
    "Outputs",
    "Parameters",
    "Wrapped",
    "call",
    "cast",
    "described",
    "differentiable",
    "ends",
    "in_any_mode",
    "named",
    "network",
    "plainly",
    "take",
]


Outputs = Sequence[int] | Callable[[nn.Module, Any], Tensor] | None
Parameters = Callable[[str], bool] | Sequence[str] | None


P = ParamSpec("P")
R = TypeVar("R")

# The device on which a model makes its tensors where the caller's default is not the CPU; our own are made there.
_MODELS_OWN: ContextVar[torch.device | None] = ContextVar("_MODELS_OWN", default=None)


@contextmanager
def plainly(model: nn.Module | None) -> Iterator[None]:
    """Take gradients whatever the caller's modes: `no_grad`, inference mode, automatic casts, another default device."""
    device = None if model is None else next((p.device for p in model.parameters()), None)
    kind = "cpu" if device is None else device.type
    with ExitStack() as modes:
        for mode in (torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False)):
            modes.enter_context(mode)
        if torch.get_default_device().type != "cpu":
            modes.callback(_MODELS_OWN.reset, _MODELS_OWN.set(device))
            modes.enter_context(torch.device("cpu"))
        yield


@contextmanager
def named(name: str, inner: str = "inputs") -> Iterator[None]:
    """Let a refusal of what a model was given name the caller's argument."""
    try:
        yield
    except _check.ArgumentError as error:
        if not str(error).startswith(f"{inner}: "):
            raise
        raise type(error)(str(error).replace(inner, name, 1)) from None


def _model_of(*values: Any) -> nn.Module | None:
    """The first model among values, or that one of them holds, alone or among others."""
    held = (getattr(value, "model", getattr(value, "models", value)) for value in values)
    found = (value[0] if isinstance(value, list) and value else value for value in held)
    return next((value for value in found if isinstance(value, nn.Module)), None)


def in_any_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function do the same under `no_grad`, `inference_mode` and `autocast`, and with any default device.

    Tensors that it is given come as plain ones, without a history.
    """
    names = list(signature(function).parameters)

    def usable(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = _check.plain(name, value)
        return value.clone() if value.is_inference() else value

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with plainly(_model_of(*args, *kwargs.values())):
            return function(
                *(usable(name, value) for name, value in zip(names, args, strict=False)),
                **{name: usable(name, value) for name, value in kwargs.items()},
            )

    return inner


def differentiable(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that takes gradients of a model do so wherever it is called, under `no_grad` or `inference_mode` too.

    Inputs that were made in inference mode are copied, for autograd can save nothing of them; a DataLoader is read once,
    its batches joined on the model's device.
    """
    names, settled = list(signature(function).parameters), alone(function)
    batch = next((name for name in names if name in ("x", "x1")), None)

    def called() -> AbstractContextManager[None]:
        return nullcontext() if batch is None else named(batch)

    def usable(name: str, value: Any, model: nn.Module | None, outputs: Any) -> Any:
        if isinstance(value, DataLoader):
            return joined(name, value, model, outputs)
        if isinstance(value, Tensor):
            value = _check.plain(name, value)
            return value.clone() if value.is_inference() else value
        if isinstance(value, Mapping):
            return {key: usable(name, part, model, outputs) for key, part in value.items()}
        return tuple(usable(name, part, model, outputs) for part in value) if type(value) is tuple else value

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        outputs = getattr(args[0] if args else None, "outputs", None)
        model = _model_of(*args, *kwargs.values())
        with plainly(model), called():
            return settled(
                *(usable(name, value, model, outputs) for name, value in zip(names, args, strict=False)),
                **{name: usable(name, value, model, outputs) for name, value in kwargs.items()},
            )

    return inner


class Wrapped(nn.Module):
    """A model, or a function of (model, batch) -> (n, q), and some of its outputs: one module with parameters `model.*`."""

    def __init__(
        self,
        model: nn.Module,
        function: Callable[[nn.Module, Any], Tensor] | None = None,
        columns: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.model: nn.Module = model
        self.function, self.columns = function, columns
        self.training = model.training  # not train(): parts of the model may be in another mode

    def forward(self, batch: Any) -> Tensor:
        """Return the outputs of a batch that is a tensor, or a tuple or dict of arguments."""
        device = _MODELS_OWN.get()
        with nullcontext() if device is None else torch.device(device):
            return self._outputs(own_copy(batch))

    def _outputs(self, batch: Any) -> Tensor:
        found = call(self.model, batch) if self.function is None else self.function(self.model, batch)
        if self.function is not None and (not isinstance(found, Tensor) or found.ndim != 2):
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            _check.refuse("outputs", "a function of (model, batch) that gives a tensor (n, q)", got)
        if self.columns is None or not isinstance(found, Tensor) or found.ndim != 2:
            return found  # refused where it is used
        return found[:, [_check.integer("outputs", c, 0, found.shape[1] - 1) for c in self.columns]]


def network(model: nn.Module, outputs: Outputs) -> Wrapped:
    """The model with the outputs that are asked for, (n, C); one that is wrapped already as it is."""
    if isinstance(model, Wrapped) and outputs is None:
        return model
    if outputs is None or callable(outputs):
        return Wrapped(model, outputs)
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        expected = "indices (a list of them), a function of (model, batch), or None"
        raise TypeError(f"outputs: expected {expected}, got {outputs!r}")
    chosen = list(outputs) or _check.refuse("outputs", "at least one output", "none")
    for c in chosen:
        _check.integer("outputs", c, -sys.maxsize)  # how many there are, a batch will tell
    return Wrapped(model, columns=chosen)


def call(model: nn.Module, batch: Any) -> Any:
    """Return the model's output on a tensor, a tuple of arguments or a mapping of named arguments.

    Of an output with several parts (a `ModelOutput` of transformers, a mapping) the one named `logits`, where there is one.
    """
    if isinstance(batch, Mapping):
        found = model(**batch)
    else:
        found = model(*batch) if isinstance(batch, tuple) else model(batch)
    if isinstance(found, Tensor):
        return found
    logits = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", None)
    return logits if isinstance(logits, Tensor) else found


def take(batch: Any, rows: slice | Tensor | int | None) -> Any:
    """Return some of the samples of a batch, its flags as they are; of one sample (None) the batch of it alone.

    >>> take({"x": torch.arange(4), "cached": False}, slice(1, 3))
    {'x': tensor([1, 2]), 'cached': False}
    """
    if isinstance(batch, Mapping):
        return {name: part[rows] if isinstance(part, Tensor) else part for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(part[rows] if isinstance(part, Tensor) else part for part in batch)
    return batch[rows]


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
    return model, tree_map_only(Tensor, lambda part: part.to(dtype) if part.is_floating_point() else part, x)


def described(batch: Any) -> str:
    """Shapes and dtypes of a batch, in words."""
    return ", ".join(f"shape {tuple(part.shape)} of {part.dtype}" for part in _check.tensors("x", batch))
