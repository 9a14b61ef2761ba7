"""The commands of `dntk bench` that follow performance: complexity, import, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dntk_fast.bench import complexity
from dntk_fast.bench.history import read_results
from dntk_fast.bench.importing import import_results
from dntk_fast.bench.page import write_page
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists
from dntk_fast.report import read_record

__all__ = ["tracking"]

tracking = typer.Typer()

KEPT = Path("asv_benchmarks/results")


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


@tracking.command("import")
def bench_import(
    results: Annotated[Path, typer.Option(help="Folder of results that asv has written.")] = Path(".asv/results"),
    out: Annotated[Path, typer.Option(help="Folder of the results that are kept.")] = KEPT,
    device: Annotated[str | None, typer.Option(help="Name of the machine; its processor's if not given.")] = None,
    match: Annotated[str, typer.Option(help="Regular expression: only benchmarks with it in their names.")] = "",
) -> None:
    """Keep results of asv (`asv run -E existing --set-commit-hash ...`) by device and commit, without host and paths."""
    for path in import_results(results, out, device=device, match=match):
        typer.echo(str(path))


@tracking.command("report")
def bench_report(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("runs/performance.html"),
    results: Annotated[Path, typer.Option(help="Folder of the results that are kept.")] = KEPT,
    run: Annotated[list[Path] | None, typer.Option(help="A report.json of `dntk run`; may be repeated.")] = None,
) -> None:
    """Draw kept results and reports of runs on one self-contained page."""
    devices = read_results(results)
    runs = {path.parent.name or path.name: read_record(path) for path in run or ()}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_page(devices, runs, out)
    typer.echo(str(out))
