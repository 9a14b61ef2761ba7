"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from dntk_fast.workflow.models import MODELS

__all__ = ["Model", "Weights"]

Model: TypeAlias = Annotated[
    str,
    typer.Option(
        help=f"auto, one of {', '.join(MODELS)}, or your own as package.module:function: a function that returns a "
        "torch.nn.Module with one logit for each class; of the keyword arguments outputs= (classes) and channels= (of the "
        "images) it is given those that it takes."
    ),
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="All weights of the network, as a safetensors file: it is then not trained. Nothing is ever unpickled.",
    ),
]
