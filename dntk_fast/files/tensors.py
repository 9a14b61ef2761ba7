"""Named tensors and weights of networks in safetensors files, written whole or not at all; nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.files.atomic import write_atomically
from dntk_fast.files.fingerprint import fingerprint

__all__ = ["load_weights", "read_tensors", "save_weights", "write_tensors"]


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as a safetensors file; whoever looks finds the old file or the whole new one."""
    path = _check.path("path", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A copy of each: safetensors refuses tensors that share memory, and tied weights do.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    from safetensors.torch import save_file  # here, for networks are built and traced without it too

    write_atomically(path, lambda draft: save_file(copies, draft, dict(metadata or {})))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors and metadata from a safetensors file, or say in one line why it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_check.path("path", path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"path: expected a safetensors file, got {path} ({error})") from error


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write all parameters and buffers of `model` as a safetensors file, with its fingerprint in the metadata."""
    write_tensors(path, _check.module(model).state_dict(), {"fingerprint": fingerprint(model)})


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a safetensors file into `model`, in place.

    Raises
    ------
    ValueError
        If the file cannot be read, or its names or shapes are not those of the model.
    """
    tensors, _ = read_tensors(path)
    own = _check.module(model).state_dict()
    odd = sorted(own.keys() ^ tensors.keys()) or sorted(name for name in own if own[name].shape != tensors[name].shape)
    if odd:
        _check.refuse("path", f"the weights of {type(model).__name__}", f"{path}, which differs in {odd[0]!r}")
    model.load_state_dict(tensors)
