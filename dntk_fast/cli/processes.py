"""The command `dntk bench processes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dntk_fast.bench import processes
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists

__all__ = ["sharing"]

sharing = typer.Typer()


@sharing.command("processes")
def bench_processes(
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Interleaved rounds; below 21 nothing is stated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few images and one round: does it run?")] = False,
) -> None:
    """Time features and a full-kernel residual by two processes, and by two threads, against one of both."""
    folder_exists("json", json)
    console = Console()
    with Bars(console) as bars:
        record = processes.measure(rounds=rounds, quick=quick, progress=bars.update)
    finish(console, processes.tables(record), record, json)
