"""A folder with arrays and their record in one safetensors file, and the record once more as JSON, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dntk_fast import _check
from dntk_fast.files.atomic import remove_drafts
from dntk_fast.files.sealed import read_sealed, write_sealed
from dntk_fast.files.tensors import read_tensors, write_tensors

__all__ = ["read_bundle", "write_bundle"]


def write_bundle(folder: Path, name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write `name`.safetensors, which is the whole, and `name`.json.

    A process that is killed here leaves what was there before, or what is new: never arrays with another's record.
    """
    remove_drafts(folder, lambda file: file in (f"{name}.safetensors", f"{name}.json"))
    write_tensors(folder / f"{name}.safetensors", tensors, {"record": json.dumps(record, allow_nan=False)})
    write_sealed(folder / f"{name}.json", record)


def read_bundle(folder: Path, name: str, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read arrays and record of `what` back.

    Raises
    ------
    ValueError
        In one line: neither file, a damaged one, or arrays that another program wrote.
    """
    told, arrays = folder / f"{name}.json", folder / f"{name}.safetensors"
    try:
        if told.exists() or not arrays.exists():
            read_sealed(told)  # what is damaged is said, though it is not needed
        tensors, words = read_tensors(arrays, sealed=True)
        record = dict(json.loads(words["record"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        _check.refuse("folder", what, f"{folder} ({error})")
    return tensors, record
