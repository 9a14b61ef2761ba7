"""Named tensors and weights of networks in safetensors files, written whole or not at all; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast.files.atomic import write_atomically
from dntk_fast.files.fingerprint import digest, fingerprint

__all__ = ["load_weights", "read_tensors", "save_weights", "write_tensors"]

_ENTRY = "dntk"
# Names of weights in one line of refusal.
SHOWN = 3


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as a safetensors file, with a checksum of all of it in its metadata, whole or not at all."""
    path = _check.path("path", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A copy of each: safetensors refuses tensors that share memory, and tied weights do.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    from safetensors.torch import save  # here, for networks are built and traced without it too

    words = dict(metadata or {})
    # One entry: safetensors writes several in any order, and equal contents are to make equal files.
    entry = json.dumps({"sha256": _checksum(copies, words), "words": words}, sort_keys=True)
    write_atomically(path, save(copies, {_ENTRY: entry}))


def _checksum(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    return digest({**tensors, json.dumps(words, sort_keys=True): torch.zeros(0)})


def read_tensors(path: str | Path, *, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors and metadata from a safetensors file, or say in one line why it cannot be read.

    A checksum that is there must hold; `sealed` refuses a file without one, which another program wrote.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_check.path("path", path), framework="pt") as file:
            found, words = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"path: expected a safetensors file, got {path} ({error})") from error
    if _ENTRY not in words:
        return _check.refuse("path", "a file of this package, with a checksum", path) if sealed else (found, words)
    try:
        entry = json.loads(words[_ENTRY])
        own, whole = dict(entry["words"]), entry["sha256"] == _checksum(found, entry["words"])
    except (ValueError, KeyError, TypeError, RecursionError):
        own, whole = {}, False
    if not whole:
        _check.refuse("path", "the numbers that were written", f"{path}, which is damaged: its checksum is another")
    return found, own


@alone
def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write all parameters and buffers of `model` as a safetensors file, with its fingerprint in the metadata."""
    write_tensors(path, _check.module(model).state_dict(), {"fingerprint": fingerprint(model)})


@alone
def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a safetensors file into `model`, in place.

    Raises
    ------
    ValueError
        If the file cannot be read or is damaged, its names or shapes are not those of the model, numbers are of another
        kind (integers for weights), or are not finite; the model is then as it was.
    """
    tensors, _ = read_tensors(path)
    own = _check.module(model).state_dict()
    odd = _differences(own, tensors)
    if odd:
        _check.refuse("path", f"the weights of {type(model).__name__}", f"{path}, which {odd}")
    wild = [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if wild:
        _check.refuse("path", "finite weights", f"{path}, in which {wild[0]!r} has entries that are NaN or infinite")
    model.load_state_dict(tensors)


def _differences(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What a file of weights lacks, has besides, or has otherwise, in words; empty if it fits."""
    both = sorted(own.keys() & found.keys())
    shapes = [name for name in both if own[name].shape != found[name].shape]
    kinds = [name for name in both if name not in shapes and _kind(own[name]) != _kind(found[name])]
    told = [
        ("lacks", [repr(name) for name in sorted(own.keys() - found.keys())]),
        ("has besides", [repr(name) for name in sorted(found.keys() - own.keys())]),
        ("has", [f"{name!r} of shape {tuple(found[name].shape)} for {tuple(own[name].shape)}" for name in shapes]),
        ("has", [f"{name!r} in {found[name].dtype} for {own[name].dtype}" for name in kinds]),
    ]
    return "; ".join(f"{verb} {_some(names)}" for verb, names in told if names)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()
