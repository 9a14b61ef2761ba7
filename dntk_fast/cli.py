"""The command `dntk`: parses, calls, prints."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from dntk_fast import report
from dntk_fast.bench import floor
from dntk_fast.config import Config, default_folder
from dntk_fast.data import known
from dntk_fast.experiment import real_gradients, write_arrays
from dntk_fast.models import MODELS
from dntk_fast.pipeline import explain as explain_run
from dntk_fast.pipeline import run as run_pipeline

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The distilled neural tangent kernel: train, distil, project, solve, compare.",
)
bench = typer.Typer(no_args_is_help=True, help="Measure on this machine: ratios with intervals, errors beside them.")
app.add_typer(bench, name="bench")

experiments = typer.Typer(no_args_is_help=True, help="Experiments whose results are kept in the repository.")
app.add_typer(experiments, name="experiment")


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if show_version:
        typer.echo(f"dntk {_own_version()}")
        raise typer.Exit


@app.command()
def run(
    data: Annotated[
        str, typer.Option(help=f"A data set ({', '.join(known())}), an .npz pack, or a folder with one.")
    ] = "digits",
    model: Annotated[str, typer.Option(help=f"auto, or one of {', '.join(MODELS)}.")] = "auto",
    per_class: Annotated[int, typer.Option(help="Distilled images per class.")] = 50,
    k: Annotated[int, typer.Option(help="Coordinates kept of each projected gradient.")] = 2048,
    seed: Annotated[int, typer.Option(help="Every stage's own seed is spawned from it.")] = 0,
    epochs: Annotated[int, typer.Option(help="Training epochs of the network.")] = Config.epochs,
    distil_steps: Annotated[int, typer.Option(help="Updates of the distilled images.")] = Config.distil_steps,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/<data>-<hash> if not given.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run with another configuration in that folder.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the plans and their memory, and do nothing.")
    ] = False,
) -> None:
    """Run the whole distilled neural tangent kernel on one data set and write report.json and report.html.

    Finished stages are kept: the same command, repeated after an interruption, goes on where it stopped.
    """
    config = Config(
        data=data, model=model, per_class=per_class, k=k, seed=seed, epochs=epochs, distil_steps=distil_steps
    )
    if explain:
        typer.echo(explain_run(config))
        return
    folder = out or default_folder(config)
    console = Console()
    try:
        with _Bars(console) as bars:
            result = run_pipeline(config, folder, overwrite=overwrite, progress=bars.update)
    except KeyboardInterrupt:
        console.print(f"Stopped. Finished stages are kept in {folder}; the same command goes on from there.")
        raise typer.Exit(130) from None
    report.write_record(result.record, folder / "report.json")
    report.write_page(result.record, result.images, result.labels, folder / "report.html")
    for table in (report.predictor_table, report.method_table, report.stage_table):
        console.print(table(result.record))
    console.print(f"Report: {folder / 'report.html'} (numbers: {folder / 'report.json'})", soft_wrap=True)


@bench.command("floor")
def bench_floor(
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Interleaved rounds; below 21 nothing is stated.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch; as many as it has if not given.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(floor.CASES)}; may be repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two images and three rounds: does it run?")] = False,
) -> None:
    """Time kernels, features and plain gradients in floors: one forward and C plain backward passes of the same images."""
    if json is not None and not json.parent.is_dir():
        raise ValueError(f"json: expected a file in a folder that exists, got {json}")
    console = Console()
    with _Bars(console) as bars:
        record = floor.measure(only=only or (), rounds=rounds, threads=threads, quick=quick, progress=bars.update)
    for table in floor.tables(record):
        console.print(table)
    if not record["complete"]:
        console.print("Stopped: whole rounds so far; no file is written.")
        raise typer.Exit(130)
    if json is not None:
        report.write_record(record, json)


@experiments.command()
def gradients(
    out: Annotated[Path, typer.Option(help="The compressed .npz file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 0,
) -> None:
    """Train conv8 on digits; keep exact eigen-factors of its class kernels on 200 training images."""
    write_arrays(out, real_gradients(seed=seed))
    typer.echo(f"{out}: {out.stat().st_size} bytes")


class _Bars:
    """One rich bar for each stage, as its turn comes."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=total)
        self.progress.update(self.tasks[stage], completed=done, total=total)


def _own_version() -> str:
    try:
        return version("dntk")
    except PackageNotFoundError:
        return "(not installed)"


def main() -> None:
    """Run the command; a wrong request ends in one line and exit code 2, a full disk in exit code 1."""
    try:
        app()
    except (ValueError, TypeError) as error:
        _fail(error, 2)
    except OSError as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    print(f"dntk: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(code)
