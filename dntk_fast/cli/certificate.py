"""The command `dntk bench certificate`: what the full-kernel certificate of a large network costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dntk_fast.bench import certificate
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists

__all__ = ["certificates"]

certificates = typer.Typer()


@certificates.command("certificate")
def bench_certificate(
    data: Annotated[
        Path | None,
        typer.Option(help="An image pack to train on for a few epochs; random images and weights if not given."),
    ] = None,
    model: Annotated[str, typer.Option(help="The network.")] = "resnet18",
    n: Annotated[int | None, typer.Option(help="Training images; 1,000 if not given.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Interleaved rounds, 7; below 21 nothing is stated.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; as many as it has if not given.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few images and one round: does it run?")] = False,
) -> None:
    """Measure memory, passes and time of a full-kernel certificate, in floors and in a fresh process."""
    folder_exists("json", json)
    console = Console()
    try:
        with Bars(console) as bars:
            record = certificate.measure(
                data, model=model, n=n, rounds=rounds, threads=threads, quick=quick, progress=bars.update
            )
    except KeyboardInterrupt:
        console.print("Stopped: nothing is printed, no file is written.")
        raise typer.Exit(130) from None
    finish(console, certificate.tables(record), record, json)
