"""The folder of a distilled kernel: what its inputs are like, and refusals of what can be no such kernel's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.files.bundle import read_bundle

__all__ = [
    "FORMAT",
    "SAVED",
    "batch_described",
    "batch_from",
    "made_up",
    "named_tensors",
    "read_distilled",
    "refuse_unfitting",
]

FORMAT = 4
SAVED = "a saved distilled kernel"
NUMBERS = ("lam", "lam_relative", "sketch_error")
COST = ("choosing_forward", "choosing_backward", "kept_forward", "kept_backward", "full")
_WEIGHT = "weights."
_LARGEST = 2**31  # numbers in an input: what a folder says is not taken for a reason to fill the memory
_KINDS = {str(kind).removeprefix("torch."): kind for kind in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)}  # fmt: skip


# --- inputs -----------------------------------------------------------------------------------------------------------


def batch_described(batch: Any) -> list[list[Any]]:
    """What one sample is like: of each argument its name (None: a tensor alone, a number: its place), shape and type.

    >>> batch_described({"ids": torch.ones(2, 5, dtype=torch.int64), "cached": False})
    [['ids', [5], 'int64'], ['cached', False, None]]
    """
    return [
        [key, list(part.shape[1:]), str(part.dtype).removeprefix("torch.")]
        if isinstance(part, Tensor)
        else [key, part, None]
        for key, part in _arguments(batch)
    ]


def _arguments(batch: Any) -> list[tuple[Any, Any]]:
    if isinstance(batch, Mapping):
        return list(batch.items())
    return list(enumerate(batch)) if isinstance(batch, tuple) else [(None, batch)]


def _batch(arguments: list[tuple[Any, Any]]) -> Any:
    if arguments[0][0] is None:
        return arguments[0][1]
    if isinstance(arguments[0][0], int):
        return tuple(part for _, part in arguments)
    return dict(arguments)


def made_up(inputs: list[list[Any]], like: Tensor) -> Any:
    """An input of that kind that is no one's: a wave, and ones where it is integers.

    >>> made_up([[None, [2], "float32"]], torch.ones(1)).shape
    torch.Size([1, 2])
    """

    def part(about: Any, kind: str | None) -> Any:
        if kind is None:
            return about
        if not _KINDS[kind].is_floating_point:
            return torch.ones(1, *about, dtype=_KINDS[kind], device=like.device)
        wave = torch.arange(1, 1 + math.prod(about), dtype=torch.float64).sin()
        return wave.reshape(1, *about).to(like)

    return _batch([(key, part(about, kind)) for key, about, kind in inputs])


def named_tensors(name: str, batch: Any) -> dict[str, Tensor]:
    """The tensors of a batch under names that start with one.

    >>> sorted(named_tensors("images", (torch.ones(1), torch.ones(2))))
    ['images.0', 'images.1']
    """
    found = {name if key is None else f"{name}.{key}": part for key, part in _arguments(batch)}
    return {key: part for key, part in found.items() if isinstance(part, Tensor)}


def batch_from(name: str, tensors: Mapping[str, Tensor], inputs: list[list[Any]], place: torch.device) -> Any:
    """The batch that `named_tensors` took apart, or None where it is not there."""
    places = {key: name if key is None else f"{name}.{key}" for key, _, kind in inputs if kind is not None}
    if not all(there in tensors for there in places.values()):
        return None
    return _batch([(key, tensors[places[key]].to(place) if kind else about) for key, about, kind in inputs])


# --- what a folder may hold -------------------------------------------------------------------------------------------


def read_distilled(folder: Path, settings: set[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays and record of a saved kernel, whose record is of its kind, with settings of these names."""
    tensors, found = read_bundle(folder, "distilled", SAVED)
    if found.get("format") != FORMAT:
        expected, got = f"format {FORMAT}", f"{found.get('format')!r} in {folder}"
        _check.refuse("folder", expected, got, remedy="fit and save again")
    kinds = {"fingerprint": str, "settings": dict, "inputs": list, "cost": dict} | dict.fromkeys(NUMBERS, float)
    odd = [name for name, kind in kinds.items() if not isinstance(found.get(name), kind)]
    odd = odd or sorted(found["settings"].keys() ^ settings) or sorted(found["cost"].keys() ^ set(COST))
    odd = odd or [name for name in NUMBERS if not 0 <= found[name] < float("inf")]
    odd = odd or ["cost"] * (not all(_count(value) for value in found["cost"].values()))
    odd = odd or ["inputs"] * (not _inputs(found["inputs"]))
    if odd:
        _check.refuse("folder", SAVED, f"{folder} with no or another {odd[0]}")
    return tensors, found


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _inputs(inputs: list[Any]) -> bool:
    """Whether this describes a batch that is no larger than it may be."""
    if not 0 < len(inputs) < _LARGEST or not all(isinstance(one, list) and len(one) == 3 for one in inputs):
        return False
    keys = [one[0] for one in inputs]
    named = len(set(map(str, keys))) == len(keys) and all(isinstance(key, str) for key in keys)
    if not named and keys not in ([None], list(range(len(keys)))):
        return False
    shapes = [about for _, about, kind in inputs if kind is not None]
    if not shapes or not all(kind is None or (isinstance(kind, str) and kind in _KINDS) for *_, kind in inputs):
        return False
    if not all(isinstance(shape, list) and all(map(_count, shape)) for shape in shapes):
        return False
    constants = all(isinstance(about, _check.CONSTANTS) for _, about, kind in inputs if kind is None)
    return constants and sum(map(math.prod, shapes)) <= _LARGEST


def refuse_unfitting(folder: Path, tensors: dict[str, Tensor], record: dict[str, Any], model: nn.Module) -> None:
    """Refuse arrays that cannot be those of one kernel of this model."""
    weights = {name.removeprefix(_WEIGHT): w for name, w in tensors.items() if name.startswith(_WEIGHT)}
    missing = sorted({"labels", "first"} - tensors.keys()) + ([] if weights else ["weights"])
    if missing:
        _check.refuse("folder", SAVED, f"{folder} without {missing[0]}")
    n, C = tensors["labels"].numel(), tensors["first"].numel()
    kinds: dict[str, tuple[tuple[int, ...], Any]] = {
        "labels": ((n,), C - 1), "rows": ((n,), 2**62), "first": ((1, C), None), "masses": ((n,), None)
    }  # fmt: skip
    for key, about, kind in record["inputs"]:
        if kind is not None:
            integers = None if _KINDS[kind].is_floating_point else _KINDS[kind]
            kinds["images" if key is None else f"images.{key}"] = ((n, *about), integers)
    own = {name: tuple(p.shape) for name, p in model.named_parameters()}
    odd = sorted(weights.keys() - own.keys())
    for name, tensor in tensors.items():
        part = name.removeprefix(_WEIGHT)
        if name.startswith(_WEIGHT):
            fits = tuple(tensor.shape) in (own.get(part, ()), (C, *own.get(part, ()))) and _sound(tensor, None)
        else:
            shape, most = kinds.get(name, ((-1,), None))
            fits = tuple(tensor.shape) == shape and _sound(tensor, most)
        if not fits or (name == "masses" and bool((tensor < 0).any())):
            odd.append(name)
    if odd:
        _check.refuse("folder", "the arrays of one distilled kernel", f"{folder} with other {odd[0]}")


def _sound(tensor: Tensor, most: Any) -> bool:
    """Finite numbers; or integers from zero to the most; or those of a type."""
    if isinstance(most, torch.dtype):
        return tensor.dtype == most
    if most is None:
        return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())
    return tensor.dtype == torch.int64 and tensor.numel() > 0 and 0 <= int(tensor.min()) <= int(tensor.max()) <= most
