"""What a model's Jacobian rests on: parameters, buffers, modules, modes and hooks, compared before every use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["changed", "state_of"]

# A prime: numbers that change places, not only values, change what lies in a column.
_COLUMNS = 1021
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything that must stay as it is, by name: of each tensor identity, storage, version, type and a checksum.

    The checksum sees what moves no version: writes through `.data`, `vector_to_parameters`. It reads every byte once.

    >>> layer = nn.Linear(2, 1)
    >>> before = state_of(layer)
    >>> layer.weight.data += 1
    >>> changed(before, state_of(layer))
    'weight'
    """
    return dict(_parts(model))


def changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The name of the first part that is not what it was, or None."""
    return next((name for name in {**before, **now} if before.get(name) != now.get(name)), None)


def _parts(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, parameter in model.named_parameters(remove_duplicate=False):
        yield name, (*_tensor(parameter), parameter.requires_grad)
    for name, buffer in model.named_buffers(remove_duplicate=False):
        yield name, _tensor(buffer)
    for name, part in model.named_modules(remove_duplicate=False):
        yield f"{name or type(part).__name__} (module)", (id(part), part.training, _forward(part), _hooks(part))


def _forward(part: nn.Module) -> int:
    return id(getattr(part.forward, "__func__", part.forward))


def _hooks(part: nn.Module) -> tuple[int, ...]:
    """The caller's hooks: a probe of ours may hang on the model for a moment, in another thread."""
    hooks = (hook for kind in _HOOKS for hook in getattr(part, kind).values())
    return tuple(id(hook) for hook in hooks if not str(getattr(hook, "__module__", "")).startswith("dntk_fast."))


def _tensor(tensor: Tensor) -> tuple[Any, ...]:
    version = None if tensor.is_inference() else tensor._version
    place = None if tensor.is_meta else tensor.data_ptr()
    return id(tensor), place, version, tensor.dtype, tensor.shape, tensor.device, _checksum(tensor)


def _checksum(tensor: Tensor) -> int | tuple[int, ...]:
    """Exclusive or of the bytes in each column, on the CPU; of all words elsewhere."""
    if tensor.is_meta or not tensor.numel() or tensor.layout != torch.strided:
        return 0
    plain = tensor.detach()
    if plain.device.type != "cpu":
        return int(torch.hash_tensor(plain.float() if plain.dtype == torch.bool else plain))
    raw = plain.reshape(-1).resolve_conj().resolve_neg().view(torch.uint8).numpy()
    words = raw[: len(raw) // 8 * 8].view(np.uint64)
    whole = len(words) // _COLUMNS * _COLUMNS
    folded = np.bitwise_xor.reduce(words[:whole].reshape(-1, _COLUMNS), axis=0) if whole else words[:0]
    return hash((folded.tobytes(), words[whole:].tobytes(), raw[len(words) * 8 :].tobytes()))
