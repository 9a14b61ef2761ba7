"""The command `dntk distill`: what distillation costs, and whether it pays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dntk_fast.cli.bars import Bars
from dntk_fast.cli.options import Model, Weights
from dntk_fast.cli.output import finish, folder_exists, place, show, terminal
from dntk_fast.experiment import scoreboard as board
from dntk_fast.experiment.scoreboard_figure import write_figure
from dntk_fast.experiment.scoreboard_table import cost_table, energy_table, error_table
from dntk_fast.workflow.data import load
from dntk_fast.workflow.network import check_name

__all__ = ["distill"]


def distill(
    data: Annotated[str, typer.Option(help="A data set, an .npz pack, or a folder of class folders.")] = "digits",
    compare: Annotated[
        bool, typer.Option("--compare", help="Train a network and compare; without it only the costs are printed.")
    ] = False,
    methods: Annotated[str, typer.Option(help=f"Some of: {'; '.join(board.METHODS)} (separated by ;).")] = "; ".join(
        board.METHODS
    ),
    per_class: Annotated[str, typer.Option(help="Images per class, separated by commas.")] = "1,2,5,10,20",
    seeds: Annotated[int, typer.Option(help="Seeds of the choice.")] = board.Setting.seeds,
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 0,
    model: Model = "auto",
    weights: Weights = None,
    images: Annotated[
        int | None, typer.Option(help="Only so many training images, and at most as many held-out ones.")
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(metavar="DIRECTORY", help="Folder of finished stages; runs/distill-<data> if not given."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The JSON file to write.")] = None,
    figure: Annotated[Path | None, typer.Option(help="The SVG of error against passes to write.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a comparison with other settings in that folder.")
    ] = False,
) -> None:
    """Say what every way to distilled images costs; with --compare hold them against the exact kernel, at counted passes.

    Finished stages are kept: the same command, repeated after an interruption, goes on where it stopped.
    """
    folder_exists("out", out, data)
    folder_exists("figure", figure, data, out)
    check_name(model)
    sizes = _sizes(per_class)
    console, loaded = terminal(), load(data)
    n = len(loaded.x_train) if images is None else min(images, len(loaded.x_train))
    show(console, [cost_table(n, len(loaded.classes), sizes)])
    if not compare:
        return
    chosen = tuple(name.strip() for name in methods.split(";"))
    given: dict[str, Any] = {"seeds": seeds, "seed": seed, "images": images, "model": model, "weights": weights}
    setting = board.Setting(data=data, per_class=sizes, methods=chosen, **given)
    kept = place("folder", folder) or Path("runs") / f"distill-{loaded.name}"
    try:
        with Bars(console) as bars:
            record = board.run(setting, kept, overwrite=overwrite, progress=bars.update)
    except KeyboardInterrupt:
        console.print(f"Stopped. Finished stages are kept in {kept}; the same command goes on from there.")
        raise typer.Exit(130) from None
    if figure is not None:
        write_figure(record, figure)
    finish(console, (error_table(record), energy_table(record)), record, out)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if not found or found[0] < 1:
        raise ValueError(f"per_class: expected integers above 0, separated by commas, got {text!r}")
    return found
