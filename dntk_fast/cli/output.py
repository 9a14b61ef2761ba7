"""What every measuring command does: measure under progress bars, print what is whole, write what is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import typer
from rich.console import Console
from rich.measure import Measurement

from dntk_fast import _check
from dntk_fast.cli.bars import Bars
from dntk_fast.report.record import write_record
from dntk_fast.report.table import Cells

__all__ = ["finish", "folder_exists", "measured", "place", "show", "terminal"]

Record: TypeAlias = Mapping[str, Any]
# A first column is at least so wide, if its words are.
WORDS = 18
# Blanks between two columns.
GAP = 2


def terminal() -> Console:
    """Give a console that prints words as they are: a path may look like markup, and a name like an emoji's."""
    return Console(markup=False, emoji=False)


def place(name: str, path: str | Path | None) -> Path | None:
    """Return the path that an option gives; an empty one, as an unset variable makes it, is refused."""
    return None if path is None else _check.path(name, path)


def folder_exists(name: str, path: Path | None, *kept: str | Path | None) -> None:
    """Refuse, before the work, a file that could not be written, or that would take the place of one of those to be kept."""
    if path is None:
        return
    if not path.name or path.is_dir():  # an unset variable gives "", which is the folder "."
        _check.refuse(name, "a file", f"the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"{name}: expected a file in a folder that exists, got {path}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        _check.refuse(name, "a file in a folder that may be written to", path)
    for other in kept:
        if other is not None and Path(other).resolve() == path.resolve():
            _check.refuse(name, "a file of its own", f"{path}, which is read or written as well")


def measured(
    measure: Callable[..., Record], tables: Callable[[Record], Iterable[Cells]], json: Path | None, **given: Any
) -> None:
    """Measure with the arguments given, and finish; an interruption that leaves nothing whole says so."""
    folder_exists("json", json)
    console = terminal()
    try:
        with Bars(console) as bars:
            record = measure(**given, progress=bars.update)
    except KeyboardInterrupt:
        console.print("Stopped: no file is written.")
        raise typer.Exit(130) from None
    finish(console, tables(record), record, json)


def finish(console: Console, tables: Iterable[Cells], record: Record, json: Path | None) -> None:
    """Print the tables, and write the record if the measurement was not interrupted."""
    show(console, tables)
    if not record["complete"]:
        console.print("Stopped: what is whole so far; no file is written.")
        raise typer.Exit(130)
    if json is not None:
        write_record(record, json)


def show(console: Console, tables: Iterable[Cells]) -> None:
    """Print tables; in a narrow terminal words are broken into lines, numbers and columns never cut.

    Where that is not enough the lines are longer than the terminal, which wraps them itself.
    """
    unbounded = console.options.update(max_width=10_000)  # else nothing is wider than the terminal
    for cells in tables:
        table = cells.__rich__()
        for place, column in enumerate(table.columns):
            column.no_wrap = place > 0
            texts = [Measurement.get(console, unbounded, text) for text in (column.header, *column.cells)]
            widest = max(text.maximum for text in texts)
            # The first column is of words: none is cut, and some stand side by side.
            column.min_width = widest if place else max(*(text.minimum for text in texts), min(widest, WORDS))
        least = sum((column.min_width or 0) + GAP for column in table.columns) - GAP
        table.width = least if least > console.width else None
        console.print(table, crop=False)
