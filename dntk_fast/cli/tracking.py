"""The commands of `dntk bench` that follow performance: complexity, import, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dntk_fast.bench import complexity
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists

__all__ = ["tracking"]

tracking = typer.Typer()


@tracking.command("complexity")
def bench_complexity(
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Interleaved rounds behind every median; 0 to count only.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes and one round: does it run?")] = False,
) -> None:
    """Count flops, bytes and passes at several sizes, time them, and fit the exponents that the paper claims."""
    folder_exists("json", json)
    console = Console()
    with Bars(console) as bars:
        record = complexity.measure(rounds=rounds, threads=threads, quick=quick, progress=bars.update)
    finish(console, complexity.tables(record), record, json)
