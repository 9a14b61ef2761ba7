"""JSON records that carry their own SHA-256: what is read is what was written, and every part of it is of its kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from dntk_fast import _check
from dntk_fast.files.atomic import write_atomically

__all__ = ["checksum", "of_kinds", "read_sealed", "write_sealed"]

_SEAL = "sha256"


def checksum(content: Any) -> str:
    """Give the SHA-256 of canonical JSON, in which the order of the keys does not matter.

    >>> checksum({"b": 1, "a": 2}) == checksum({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record with its checksum, whole or not at all; a NaN or an infinity in it is a ValueError."""
    sealed = {**content, _SEAL: checksum({**content, _SEAL: None})}
    write_atomically(path, (json.dumps(sealed, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a record back, without its checksum.

    Raises
    ------
    ValueError
        In one line that names the file: no JSON, no record, or not the one that was written.
    OSError
        There is no such file, or it may not be read.
    """
    try:
        found = json.loads(path.read_bytes(), parse_constant=_no_number)
        whole = isinstance(found, dict) and checksum({**found, _SEAL: None}) == found.get(_SEAL)
    except (ValueError, RecursionError) as error:
        _check.refuse(path.name, f"JSON in {path.parent}", f"a damaged one ({' '.join(str(error).split())})")
    if isinstance(found, dict) and _SEAL not in found:
        _check.refuse(
            path.name, "a record with its checksum", f"one without, of an older version or of others, in {path}"
        )
    if not whole:
        _check.refuse(path.name, f"the record that was written into {path.parent}", "a damaged one, or another")
    return {name: value for name, value in found.items() if name != _SEAL}


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def of_kinds(path: Path, found: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return a record if it has these entries, each of its kind (a bool is no int), or refuse the file by its name.

    >>> of_kinds(Path("kept"), {"n": True}, {"n": int})
    Traceback (most recent call last):
        ...
    dntk_fast._check.ArgumentError: kept: expected n as int, got True
    """
    for name, kind in kinds.items():
        value = found.get(name) if isinstance(found, dict) else None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            _check.refuse(path.name, f"{name} as {names}", repr(value)[:80])
    return dict(found)
