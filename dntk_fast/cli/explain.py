"""The command `dntk explain`: why a network says what it says, as a page of pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from dntk_fast.cli.bars import Bars
from dntk_fast.cli.options import Model, Weights
from dntk_fast.cli.output import place, show, terminal
from dntk_fast.report.explanation import write_explanation
from dntk_fast.report.mind import mind_table
from dntk_fast.report.record import write_record
from dntk_fast.workflow.data import known
from dntk_fast.workflow.explanation import Question, default_folder, explain_images, forecast

__all__ = ["explain"]


def explain(
    data: Annotated[
        str, typer.Option(help=f"A data set ({escape(', '.join(known()))}), an .npz pack, or a folder with one.")
    ] = "digits",
    images: Annotated[
        list[str] | None,
        typer.Option(help="Held-out images by number: 3 17 42, or 3,17,42; if none, those it is least sure of."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[NUMBER]...", help="More of --images.")] = None,
    model: Model = "auto",
    weights: Weights = None,
    retrain: Annotated[
        int | None,
        typer.Option(help="Images for which networks are trained without, as truth; 2, or 0 where weights are given."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Training epochs of a network.")] = Question.epochs,
    k: Annotated[int | None, typer.Option(help="Coordinates of gradients; exact if not given and they fit.")] = None,
    seed: Annotated[int, typer.Option(help="Every purpose's own seed is spawned from it.")] = 0,
    out: Annotated[
        str | None, typer.Option(metavar="DIRECTORY", help="Folder of the run; runs/explain-<data>-<hash> if none.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run with another question in that folder.")
    ] = False,
) -> None:
    """Show which training images hold an answer up, what it would be without them, and which labels are suspicious.

    Finished stages are kept: the same command, repeated after an interruption, goes on where it stopped.
    """
    truth = (0 if weights else Question.retrained) if retrain is None else retrain
    given: dict[str, Any] = {"weights": weights, "epochs": epochs, "k": k, "seed": seed, "retrained": truth}
    question = Question(data=data, model=model, images=_numbers([*(images or ()), *(more or ())]), **given)
    folder = place("out", out) or default_folder(question)
    console = terminal()
    console.print(forecast(question), soft_wrap=True)
    try:
        with Bars(console) as bars:
            found = explain_images(question, folder, overwrite=overwrite, progress=bars.update)
    except KeyboardInterrupt:
        console.print(f"Stopped. Finished stages are kept in {folder}; the same command goes on from there.")
        raise typer.Exit(130) from None
    write_record(found.record, folder / "explain.json")
    write_explanation(found.record, found.pictures, folder / "explain.html")
    show(console, [mind_table({**found.record, "mind": {"images": found.record["images"]}})])
    console.print(f"Page: {folder / 'explain.html'} (numbers: {folder / 'explain.json'})", soft_wrap=True)


def _numbers(words: list[str]) -> tuple[int, ...]:
    """Numbers as they are typed: apart, or joined by commas."""
    parts = [part for word in words for part in word.split(",") if part.strip()]
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise ValueError(f"images: expected numbers of held-out images, got {' '.join(words)!r}") from None
