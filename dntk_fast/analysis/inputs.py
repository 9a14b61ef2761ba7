"""What comes in: networks, inputs in batches, labels or real targets, sets of rows; checked, each refusal one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast.tangent.generic import Wrapped, take
from dntk_fast.tangent.probes import accepted

__all__ = ["batches", "groups_of", "joined", "networks", "outputs_of", "own_kind", "targets_of"]

# Inputs of a forward pass, and of one call for features.
BATCH = 256


def networks(models: Any, outputs: Callable[[nn.Module, Any], Tensor] | None) -> list[nn.Module]:
    """One network or several, in evaluation mode, each followed by the function of its outputs."""
    listed = list(models) if isinstance(models, Sequence) and not isinstance(models, nn.Module) else [models]
    if not listed:
        _check.refuse("models", "at least one network", "none")
    if outputs is not None and not callable(outputs):
        raise TypeError(f"outputs: expected a function (model, batch) -> (n, C), got {type(outputs).__name__}")
    return [_check.frozen_statistics(model) for model in listed]


def joined(name: str, X: Any, like: nn.Module) -> Any:
    """Inputs as tensors where the network is, in its precision: of an array, a tensor, a tuple or dict, or a loader."""
    place = _check.parameter(like)

    def tensor(value: Any) -> Tensor:
        found = _check.numbers(name, value if isinstance(value, np.ndarray) else _check.tensor(name, value))
        return found.to(place.device, place.dtype) if found.is_floating_point() else found.to(place.device)

    if isinstance(X, DataLoader):
        parts = [joined(name, tuple(part) if isinstance(part, list) else part, like) for part in X]
        if not parts:
            _check.refuse(name, "at least one batch", "a DataLoader without any")
        return torch.utils._pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts)
    if isinstance(X, dict):
        found: Any = {key: tensor(part) for key, part in X.items()}
    else:
        found = tuple(map(tensor, X)) if isinstance(X, tuple) else tensor(X)
    return _check.inputs(name, found)


def batches(x: Any, size: int = BATCH) -> Iterator[Any]:
    """Inputs some at a time."""
    n = _check.samples("X", x)
    yield from (take(x, slice(at, min(at + size, n))) for at in range(0, n, size))


@alone
@torch.no_grad()
def outputs_of(model: nn.Module, x: Any, outputs: Callable[[nn.Module, Any], Tensor] | None) -> Tensor:
    """What the network says, (n, C) in float64."""
    network = Wrapped(model, outputs)
    said = []
    for part in batches(x):
        with accepted(part):
            found = network(part)
        said.append(_check.logits(found, _check.samples("X", part)).double())
    return torch.cat(said)


def targets_of(y: Any, n: int, said: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Targets (C, n), labels (n,) or None where the targets are real, and the offset (C,) that was taken away.

    Classes are one-hot minus 1/C; real targets, (n,) or (n, C), minus their mean.
    """
    C = said.shape[1]
    given = _numbers("y", y, "integer classes or real targets").to(said.device)
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"y: expected integer classes or real targets, got {given.dtype}")
    if given.ndim == 0 or len(given) != n:
        _check.refuse("y", f"{n} labels or targets, one for each row of X", f"shape {tuple(given.shape)}")
    if given.is_floating_point():
        real = given[:, None] if given.ndim == 1 else given
        if tuple(real.shape) != (n, C):
            _check.refuse("y", f"real targets ({n}, {C}), or integer classes", f"shape {tuple(given.shape)}")
        mean = _check.array("y", real).double().mean(0)
        return (real.double() - mean).T.contiguous(), None, mean
    given = given.long()  # torch compares no unsigned integers of more than a byte
    if C < 2:
        _check.refuse("y", "real targets, for a network of one output", f"{given.dtype}")
    if given.ndim != 1 or int(given.min()) < 0 or int(given.max()) >= C:
        got = f"{int(given.min())} to {int(given.max())} in shape {tuple(given.shape)}"
        _check.refuse("y", f"classes (n,) of 0 ... {C - 1}, the outputs of the network", got)
    labels = given
    hot = torch.nn.functional.one_hot(labels, C).T.double()
    return hot - 1 / C, labels, torch.zeros(C, dtype=torch.float64, device=said.device)


def groups_of(rows: Any, n: int, labels: Tensor | None, place: torch.device) -> tuple[list[Tensor], bool]:
    """Sets of rows, and whether it was one set: integers (g,), or a list of such; each leaves rows, of every class."""
    one = not _nested(rows)
    groups = [_group(part, n, place) for part in ([rows] if one else rows)]
    if not groups:
        _check.refuse("rows", "at least one set of rows", "none")
    if labels is not None:
        counts = torch.bincount(labels)
        for group in groups:
            gone = torch.bincount(labels[group], minlength=len(counts))
            lost = torch.nonzero((gone == counts) & (counts > 0))[:, 0].tolist()
            if lost:
                _check.refuse("rows", "sets that leave a row of every class", f"one with all rows of class {lost[0]}")
    return groups, one


def _nested(rows: Any) -> bool:
    if isinstance(rows, Tensor | np.ndarray):
        return rows.ndim > 1
    if not isinstance(rows, Iterable):
        raise TypeError(f"rows: expected row numbers, or a list of sets of them, got {type(rows).__name__}")
    return any(
        isinstance(part, Iterable) and not (isinstance(part, Tensor | np.ndarray) and part.ndim == 0) for part in rows
    )


def _group(rows: Any, n: int, place: torch.device) -> Tensor:
    found = _numbers("rows", list(rows) if isinstance(rows, range | set | frozenset) else rows, "integers")
    if found.numel() == 0:
        _check.refuse("rows", "at least one row in a set", "none")
    if found.ndim != 1 or found.is_floating_point() or found.dtype == torch.bool:
        raise TypeError(f"rows: expected integers (g,) in every set, got {found.dtype} of shape {tuple(found.shape)}")
    if int(found.min()) < 0 or int(found.max()) >= n or len(found.unique()) != len(found):
        _check.refuse("rows", f"distinct rows in [0, {n - 1}]", "one outside or twice")
    if len(found) == n:
        _check.refuse("rows", f"sets that leave some of the {n} rows", "one with all of them")
    return found.to(place, torch.int64)


def _numbers(name: str, value: Any, expected: str) -> Tensor:
    """A tensor of what is no tensor yet; words and other objects are refused."""
    if isinstance(value, Tensor | np.ma.MaskedArray):
        return _check.numbers(name, value)
    try:
        found = np.asarray(value)
    except ValueError:  # lists of unlike lengths
        raise TypeError(f"{name}: expected {expected}, got a list of unlike parts") from None
    if found.dtype.kind not in "biufc":
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__} of {found.dtype}")
    return _check.numbers(name, found)


def own_kind(found: Tensor, given: Any) -> Tensor | np.ndarray:
    """A result in the caller's kind of array."""
    return found.numpy(force=True) if isinstance(given, np.ndarray) else found
