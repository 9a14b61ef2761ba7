"""What every measuring command does: measure under progress bars, print what is whole, write what is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import typer
from rich.console import Console

from dntk_fast import report
from dntk_fast.cli.bars import Bars
from dntk_fast.report.table import Cells

__all__ = ["finish", "folder_exists", "measured"]

Record: TypeAlias = Mapping[str, Any]


def folder_exists(name: str, path: Path | None) -> None:
    """Refuse a file that could not be written, before the work."""
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"{name}: expected a file in a folder that exists, got {path}")


def measured(
    measure: Callable[..., Record], tables: Callable[[Record], Iterable[Cells]], json: Path | None, **given: Any
) -> None:
    """Measure with the arguments given, and finish; an interruption that leaves nothing whole says so."""
    folder_exists("json", json)
    console = Console()
    try:
        with Bars(console) as bars:
            record = measure(**given, progress=bars.update)
    except KeyboardInterrupt:
        console.print("Stopped: no file is written.")
        raise typer.Exit(130) from None
    finish(console, tables(record), record, json)


def finish(console: Console, tables: Iterable[Cells], record: Record, json: Path | None) -> None:
    """Print the tables, and write the record if the measurement was not interrupted."""
    for table in tables:
        console.print(table)
    if not record["complete"]:
        console.print("Stopped: what is whole so far; no file is written.")
        raise typer.Exit(130)
    if json is not None:
        report.write_record(record, json)
