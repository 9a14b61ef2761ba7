"""The commands `dntk bench ...`: measure on this machine, print tables, write JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dntk_fast import report
from dntk_fast.bench import floor, gpu, headline
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists

__all__ = ["bench"]

bench = typer.Typer(no_args_is_help=True, help="Measure on this machine: ratios with intervals, errors beside them.")


@bench.command("floor")
def bench_floor(
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Interleaved rounds; below 21 nothing is stated.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; as many as it has if not given.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(floor.CASES)}; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two images and three rounds: does it run?")] = False,
) -> None:
    """Time kernels, features and plain gradients in floors: one forward and C plain backward passes of the same images."""
    folder_exists("json", json)
    console = Console()
    with Bars(console) as bars:
        record = floor.measure(only=only or (), rounds=rounds, threads=threads, quick=quick, progress=bars.update)
    finish(console, floor.tables(record), record, json)


@bench.command("headline")
def bench_headline(
    data: Annotated[
        str, typer.Option(help="A data set or an image pack whose exact kernels fit into 3 GB.")
    ] = "digits",
    seed: Annotated[int, typer.Option(help="Every purpose's own seed is spawned from it.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Times everything is done; seconds are medians.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; as many as it has if not given.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few images and steps: does it run?")] = False,
) -> None:
    """Audit the claims on cost: every way to a predictor timed, counted and scored, and when distillation pays."""
    folder_exists("json", json)
    console = Console()
    try:
        with Bars(console) as bars:
            record = headline.measure(
                data, seed=seed, rounds=rounds, threads=threads, quick=quick, progress=bars.update
            )
    except KeyboardInterrupt:
        console.print("Stopped: no file is written.")
        raise typer.Exit(130) from None
    for table in headline.tables(record):
        console.print(table)
    if json is not None:
        report.write_record(record, json)


@bench.command("gpu", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def bench_gpu(arguments: Annotated[list[str] | None, typer.Argument(help="--help tells.")] = None) -> None:
    """Measure kernels, features and the sketch on a GPU; `python3 -m dntk_fast bench gpu` needs torch and numpy alone."""
    gpu.main(arguments or [])
