"""report.json: written whole or not at all, no NaN in it, its shape stated by schema.json beside this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from dntk_fast.files.atomic import write_atomically

__all__ = ["read_record", "schema", "write_record"]


def schema() -> dict[str, Any]:
    """Return the JSON schema of report.json.

    >>> schema()["properties"]["schema"]["const"]
    1
    """
    return json.loads(files("dntk_fast.report").joinpath("schema.json").read_text(encoding="utf-8"))


def write_record(record: Mapping[str, Any], path: str | Path) -> None:
    """Write the record as JSON; a NaN or an infinity in it is a ValueError, not an invalid file."""
    text = json.dumps(record, indent=2, allow_nan=False)
    write_atomically(Path(path), (text + "\n").encode())


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record back.

    Raises
    ------
    ValueError
        The file is no report of this schema.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"path: expected a report.json, got {path} ({error})") from None
    if not isinstance(record, dict) or record.get("schema") != schema()["properties"]["schema"]["const"]:
        raise ValueError(f"path: expected a report of schema 1, got {path}")
    return record
