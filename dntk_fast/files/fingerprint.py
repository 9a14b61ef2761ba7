"""Networks and tensors told apart: digests of names, shapes, types and bytes, and equality up to rounding."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._alone import alone

__all__ = ["digest", "fingerprint", "same_to_rounding"]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of named tensors: names, shapes, types and bytes, in the order of the names.

    >>> digest({"a": torch.ones(1), "b": torch.ones(2)}) == digest({"b": torch.ones(2), "a": torch.ones(1)})
    True
    """
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
        whole = dense.cpu().resolve_conj().resolve_neg().contiguous()
        found.update(whole.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


# What a module says of itself that is not its setting: an address in memory, the device of a list of parameters.
_PLACE = re.compile(r" at 0x[0-9a-f]+| \(GPU \d+\)")


@alone
def fingerprint(model: nn.Module) -> str:
    """Give the digest of all parameters and buffers, and of every module's class and settings, in order.

    Equal ones mean the same layers and numbers bit for bit, wherever the network lives; what `forward` does between its
    modules is not seen (outputs that are the same to rounding show it).

    Raises
    ------
    TypeError
        What is no module.

    >>> one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> _ = other.load_state_dict(one.state_dict())
    >>> fingerprint(one) == fingerprint(other)
    True
    """
    parts = _check.module(model).named_modules(remove_duplicate=False)
    layers = [f"{name} {type(part).__name__}({_PLACE.sub('', part.extra_repr())})" for name, part in parts]
    return hashlib.sha256("\n".join([*layers, digest(model.state_dict())]).encode()).hexdigest()


def same_to_rounding(found: Tensor, kept: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether two tensors agree to half the digits of a precision, relative to the largest entry.

    >>> same_to_rounding(torch.tensor([1.0]), torch.tensor([1.0001]), torch.float32)
    True
    >>> same_to_rounding(torch.ones(1), torch.ones(2), torch.float32)
    False
    """
    if found.shape != kept.shape:
        return False
    change = (found.detach().double().cpu() - kept.double().cpu()).abs().max()
    return float(change) <= torch.finfo(dtype).eps ** 0.5 * float(kept.abs().max())
