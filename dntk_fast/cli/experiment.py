"""The commands `dntk experiment ...`: what the package computes, on stated data and with stated settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dntk_fast import _check
from dntk_fast.cli.bars import Bars
from dntk_fast.cli.output import finish, folder_exists, place, show, terminal
from dntk_fast.experiment import (
    certificates as bounds,
)
from dntk_fast.experiment import (
    imagenette as paper,
)
from dntk_fast.experiment import (
    imagenette_page as page,
)
from dntk_fast.experiment import (
    real_gradients,
    write_arrays,
)
from dntk_fast.experiment.certificates_table import bounds_table, steps_table
from dntk_fast.report.record import write_record
from dntk_fast.report.table import stage_table

__all__ = ["experiments"]

experiments = typer.Typer(no_args_is_help=True, help="Experiments whose results are kept in the repository.")


@experiments.command()
def gradients(
    out: Annotated[Path, typer.Option(help="The compressed .npz file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 0,
) -> None:
    """Train conv8 on digits; keep exact eigen-factors of its class kernels on 200 training images."""
    folder_exists("out", out)
    write_arrays(out, real_gradients(seed=seed))
    typer.echo(f"{out}: {out.stat().st_size} bytes")


@experiments.command()
def certificates(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    folder: Annotated[
        str | None,
        typer.Option(metavar="DIRECTORY", help="Folder of finished stages; runs/certificates if not given."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two small networks and five steps: does it run?")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an experiment with other settings in that folder.")
    ] = False,
) -> None:
    """Hold every certificate against the exact kernel of digits; count the steps of refinement.

    Finished stages are kept: the same command, repeated after an interruption, goes on where it stopped.
    """
    folder_exists("out", out)
    console = terminal()
    kept = place("folder", folder) or Path("runs") / ("certificates-quick" if quick else "certificates")
    setting = bounds.QUICK if quick else bounds.FULL
    try:
        with Bars(console) as bars:
            record = bounds.run(setting, kept, overwrite=overwrite, progress=bars.update)
    except KeyboardInterrupt:
        console.print(f"Stopped. Finished stages are kept in {kept}; the same command goes on from there.")
        raise typer.Exit(130) from None
    finish(console, (bounds_table(record), steps_table(record)), record, out)
    console.print(f"bounds below the truth: {record['violations']}")


@experiments.command()
def imagenette(
    size: Annotated[str, typer.Option(help=f"One of {', '.join(paper.SIZES)}.")] = "tiny",
    data: Annotated[
        str | None,
        typer.Option(help="A data set, an .npz pack, a folder with one or class folders; else the pack of the size."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIRECTORY", help="Folder of stages and results; runs/imagenette-<size> if none."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
    device: Annotated[str, typer.Option(help="Where torch works: cpu, or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Every stage's own seed is spawned from it.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an experiment with other settings in that folder.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print passes and seconds of the stages, no more.")
    ] = False,
) -> None:
    """Make the figures of the paper on ImageNette: report.json and report.html, the paper's numbers beside ours.

    Finished stages are kept: the same command, repeated after an interruption, goes on where it stopped.
    """
    folder_exists("json", json, data)
    folder = place("out", out) or Path("runs") / f"imagenette-{size}"
    setting = paper.SIZES[_check.choice("size", size, tuple(paper.SIZES))]
    try:
        images = paper.open_data(setting, data, device)
    except ValueError as error:
        if data is not None or not str(error).startswith("data: expected one of"):
            raise
        folder_of_packs = os.environ.get("DNTK_DATA") or "not set"
        raise ValueError(
            f"data: expected the image pack {setting.pack}.npz in the folder that the variable DNTK_DATA names "
            f"({folder_of_packs}), or another data set or pack by --data, got neither"
        ) from None
    typer.echo(paper.estimate(setting, images))
    if explain:
        return
    console = terminal()
    try:
        with Bars(console) as bars:
            record = paper.run(setting, images, folder, seed=seed, overwrite=overwrite, progress=bars.update)
    except KeyboardInterrupt:
        console.print(f"Stopped. Finished stages are kept in {folder}; the same command goes on from there.")
        raise typer.Exit(130) from None
    for path in [folder / "report.json", *([json] if json else [])]:
        write_record(record, path)
    page.write_page(record, folder / "report.html")
    tables = (page.paper_table, page.predictor_table, page.rivals_table, stage_table)
    show(console, (table(record) for table in tables))
    console.print(f"Report: {folder / 'report.html'} (numbers: {folder / 'report.json'})", soft_wrap=True)
