"""The commands of `dntk bench` that hold the heart to its targets: plan, sketch, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dntk_fast.bench import memory, plan, sketch
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists

__all__ = ["evidence"]

evidence = typer.Typer()

Json = Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch; as many as it has if not given.")]
Quick = Annotated[bool, typer.Option("--quick", help="A small part: does it run?")]


@evidence.command("plan")
def bench_plan(
    json: Json = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(plan.NETWORKS)}; may be repeated.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Time both rules of every layer, and count how often the plan chose the better one."""
    folder_exists("json", json)
    console = Console()
    with Bars(console) as bars:
        record = plan.measure(only=only or (), threads=threads, quick=quick, progress=bars.update)
    finish(console, plan.tables(record), record, json)


@evidence.command("sketch")
def bench_sketch(
    json: Json = None,
    data: Annotated[Path, typer.Option(help="Folder of the image packs; that of DNTK_DATA if not given.")] = Path(),
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps trained weights; none if not given.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(sketch.CASES)}; may be repeated.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of the map; 20 if not given.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Train the networks and measure the error of their projected kernels against a dense Gaussian map's."""
    folder_exists("json", json)
    if cache is not None and not cache.is_dir():
        raise ValueError(f"cache: expected a folder that exists, got {cache}")
    console = Console()
    with Bars(console) as bars:
        record = sketch.measure(
            data=data, cache=cache, only=only or (), seeds=seeds, threads=threads, quick=quick, progress=bars.update
        )
    finish(console, sketch.tables(record), record, json)


@evidence.command("memory")
def bench_memory(
    json: Json = None,
    n: Annotated[int | None, typer.Option("--images", help="Images; 6,400 if not given.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Watch the memory of features and exact kernels, each in a fresh process, with budgets of 256 MiB and 1 GiB."""
    folder_exists("json", json)
    console = Console()
    with Bars(console) as bars:
        record = memory.measure(n=n, threads=threads, quick=quick, progress=bars.update)
    finish(console, memory.tables(record), record, json)
