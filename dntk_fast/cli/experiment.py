"""The commands `dntk experiment ...`: what the package computes, on stated data and with stated settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dntk_fast.experiment import real_gradients, write_arrays

__all__ = ["experiments"]

experiments = typer.Typer(no_args_is_help=True, help="Experiments whose results are kept in the repository.")


@experiments.command()
def gradients(
    out: Annotated[Path, typer.Option(help="The compressed .npz file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the network.")] = 0,
) -> None:
    """Train conv8 on digits; keep exact eigen-factors of its class kernels on 200 training images."""
    write_arrays(out, real_gradients(seed=seed))
    typer.echo(f"{out}: {out.stat().st_size} bytes")
