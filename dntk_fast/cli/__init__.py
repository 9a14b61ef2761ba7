"""The command `dntk`: parses, calls, prints."""

from __future__ import annotations

import io
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from rich.markup import escape

from dntk_fast.cli.bars import Bars
from dntk_fast.cli.bench import bench
from dntk_fast.cli.distill import distill
from dntk_fast.cli.experiment import experiments
from dntk_fast.cli.explain import explain as explain_command
from dntk_fast.cli.options import Model, Weights
from dntk_fast.cli.output import place, show, terminal
from dntk_fast.report.distance import certificate_table, refinement_table
from dntk_fast.report.mind import mind_table
from dntk_fast.report.page import write_page
from dntk_fast.report.record import write_record
from dntk_fast.report.table import method_table, predictor_table, stage_table
from dntk_fast.workflow.config import Config, default_folder
from dntk_fast.workflow.data import known, load
from dntk_fast.workflow.pipeline import explain as explain_run
from dntk_fast.workflow.pipeline import run as run_pipeline

__all__ = ["app", "main"]

TABLES = (
    predictor_table,
    certificate_table,
    refinement_table,
    method_table,
    stage_table,
    mind_table,
)
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The distilled neural tangent kernel: train, distil, project, solve, compare.",
)
app.add_typer(bench, name="bench")
app.add_typer(experiments, name="experiment")
app.command()(distill)
app.command("explain")(explain_command)


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
        str,
        typer.Option(
            help=f"A data set ({escape(', '.join(known()))}), an .npz pack, a folder with one, or class folders."
        ),
    ] = "digits",
    model: Model = "auto",
    weights: Weights = None,
    per_class: Annotated[int, typer.Option(help="Distilled images per class.")] = 50,
    k: Annotated[int, typer.Option(help="Coordinates kept of each projected gradient.")] = 2048,
    seed: Annotated[int, typer.Option(help="Every stage's own seed is spawned from it.")] = 0,
    epochs: Annotated[int, typer.Option(help="Training epochs of the network.")] = Config.epochs,
    distil_steps: Annotated[int, typer.Option(help="Updates of the distilled images.")] = Config.distil_steps,
    refine_steps: Annotated[int, typer.Option(help="Steps of the refinement, at most.")] = Config.refine_steps,
    download: Annotated[
        bool, typer.Option("--download", help="Let torchvision fetch a data set that is not there.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(metavar="DIRECTORY", help="Folder of the run; runs/<data>-<hash> if not given.")
    ] = None,
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
        data=data,
        model=model,
        weights=weights,
        per_class=per_class,
        k=k,
        seed=seed,
        epochs=epochs,
        distil_steps=distil_steps,
        refine_steps=refine_steps,
    )
    if download:
        load(data, download=True)
    if explain:
        typer.echo(explain_run(config))
        return
    folder = place("out", out) or default_folder(config)
    console = terminal()
    try:
        with Bars(console) as bars:
            result = run_pipeline(config, folder, overwrite=overwrite, progress=bars.update)
    except KeyboardInterrupt:
        console.print(f"Stopped. Finished stages are kept in {folder}; the same command goes on from there.")
        raise typer.Exit(130) from None
    write_record(result.record, folder / "report.json")
    write_page(result.record, result.images, result.labels, folder / "report.html", pictures=result.pictures)
    show(console, (table(result.record) for table in TABLES))
    console.print(f"Report: {folder / 'report.html'} (numbers: {folder / 'report.json'})", soft_wrap=True)


def _own_version() -> str:
    try:
        return version("dntk")
    except PackageNotFoundError:
        return "(not installed)"


def main() -> None:
    """Run the command; a wrong request ends in one line and exit code 2, a full disk in exit code 1, Ctrl-C in 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name or a sign that this terminal's encoding lacks
    try:
        app()
    except (ValueError, TypeError) as error:
        _fail(error, 2)
    except (OSError, MemoryError) as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    print(f"dntk: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    raise SystemExit(code)
