"""What a DataLoader gives, as the arguments of a model: batches joined in an order that stays, labels left out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from dntk_fast import _check

__all__ = ["arguments", "joined", "labelled", "ordered"]

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def ordered(name: str, loader: DataLoader[Any]) -> DataLoader[Any]:
    """A loader that gives every sample, in an order that stays: rows are told apart by it."""
    samplers = [loader.sampler, getattr(loader.batch_sampler, "sampler", None)]
    for sampler in samplers:
        if isinstance(sampler, _RANDOM) or (isinstance(sampler, DistributedSampler) and sampler.shuffle):
            got = f"one that shuffles ({type(sampler).__name__})"
            _check.refuse(name, "a DataLoader whose order stays (shuffle=False), for rows are told apart by it", got)
    left = _left_out(loader)
    if left:
        _check.refuse(name, "a DataLoader that gives every sample (drop_last=False)", f"one that leaves out {left}")
    return loader


def _left_out(loader: DataLoader[Any]) -> str:
    """Which samples are in no batch, in words."""
    batches: Any = loader.batch_sampler
    if not (loader.drop_last or getattr(batches, "drop_last", False)):
        return ""
    size: Any = getattr(batches, "batch_size", None)
    sampler: Any = getattr(batches, "sampler", None)
    if not size or not hasattr(sampler, "__len__"):
        return "samples at its end"
    return f"the last {len(sampler) % size}" if len(sampler) % size else ""


def joined(name: str, loader: DataLoader[Any], model: nn.Module | None, outputs: Any) -> Any:
    """All batches of a loader as one, on the device of the model."""
    batches = [arguments(name, batch, model, outputs) for batch in ordered(name, loader)]
    return _whole(name, batches, None if model is None else next((p.device for p in model.parameters()), None))


def labelled(name: str, loader: DataLoader[Any]) -> tuple[Any, Tensor]:
    """All inputs and all labels of a loader: of pairs (inputs, labels), or of dicts with the labels among them.

    >>> loader = DataLoader([(torch.ones(2), 0), (torch.ones(2), 1)], batch_size=2)
    >>> labelled("X", loader)[1].tolist()
    [0, 1]
    """
    pairs = [_pair(name, batch) for batch in ordered(name, loader)]
    return tuple(_whole(name, [pair[at] for pair in pairs], None) for at in (0, 1))


def _pair(name: str, batch: Any) -> tuple[Any, Any]:
    key = next((key for key in ("labels", "label") if isinstance(batch, Mapping) and key in batch), None)
    if key is not None:
        return {other: part for other, part in batch.items() if other != key}, batch[key]
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        _check.refuse(name, "a DataLoader of (inputs, labels), or labels y beside one of inputs", _described(batch))
    inputs, labels = batch
    if isinstance(inputs, Mapping):
        return dict(inputs), labels
    return (tuple(inputs) if isinstance(inputs, list) else inputs), labels


def _described(batch: Any) -> str:
    several = isinstance(batch, list | tuple)
    return f"batches of {len(batch)} parts" if several else f"batches that are each a {type(batch).__name__}"


def _whole(name: str, batches: list[Any], device: torch.device | None) -> Any:
    """Batches joined, on a device."""
    if not batches:
        _check.refuse(name, "at least one batch", "a DataLoader without any")
    flat = [tree_flatten(batch) for batch in batches]
    if any(isinstance(part, Tensor) and part.ndim == 0 for leaves, _ in flat for part in leaves):
        _check.refuse(name, "batches of samples along a first axis", "samples one by one (batch_size=None)")
    for leaves, spec in flat:
        if spec != flat[0][1] or [_kind(part) for part in leaves] != [_kind(part) for part in flat[0][0]]:
            expected = "batches whose samples are alike (pad all to one length, with a mask)"
            first, other = (", ".join(str(_kind(part)) for part in found) for found in (flat[0][0], leaves))
            _check.refuse(name, expected, f"samples of {first}, then of {other}")
    whole = [
        torch.cat(parts).to(device) if isinstance(parts[0], Tensor) else parts[0]
        for parts in zip(*(leaves for leaves, _ in flat), strict=True)
    ]
    return tree_unflatten(whole, flat[0][1])


def _kind(part: Any) -> Any:
    """What samples must share to be joined: shape and type; of a flag, itself."""
    return (tuple(part.shape[1:]), part.dtype) if isinstance(part, Tensor) else part


def arguments(name: str, batch: Any, model: nn.Module | None, outputs: Any) -> Any:
    """A batch of a loader as the model takes it: a list, as the default collation makes it, is a tuple of arguments.

    Of (inputs, labels), the usual pair, the labels (integers, one a sample) are left out where the model takes one argument,
    or where the inputs are a mapping; a function for `outputs` gets the pair as it is.

    Raises
    ------
    ValueError
        A model that may take a second argument: whether the integers are one, nobody can tell.

    >>> pair = [torch.ones(2, 3), torch.tensor([0, 1])]
    >>> arguments("x", pair, nn.Linear(3, 1), None).shape
    torch.Size([2, 3])
    """
    if isinstance(batch, Mapping):
        return dict(batch)
    if not isinstance(batch, list | tuple):
        return batch
    parts = tuple(batch)
    if len(parts) == 1 and isinstance(parts[0], Mapping):
        return dict(parts[0])
    if callable(outputs) or len(parts) != 2 or not _labels(parts[1]):
        return parts
    if isinstance(parts[0], Mapping):
        return dict(parts[0])
    least, most = _positional(model)
    if most == 1:
        return parts[0]
    if least < 2:
        expected = "batches of the inputs alone, or by name (a dict), for a model that may take a second argument"
        _check.refuse(name, expected, f"a pair whose second part, integers {tuple(parts[1].shape)}, may be labels")
    return parts


def _labels(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim == 1 and not part.is_floating_point() and not part.is_complex()


def _positional(model: nn.Module | None) -> tuple[int, int | float]:
    """How many arguments a model must and may be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if model is None:
        return 2, 2
    taken = inspect.signature(model.forward).parameters.values()
    if any(part.kind is inspect.Parameter.VAR_POSITIONAL for part in taken):
        return 2, float("inf")
    named = [part for part in taken if part.kind in kinds]
    return sum(part.default is inspect.Parameter.empty for part in named), len(named)
