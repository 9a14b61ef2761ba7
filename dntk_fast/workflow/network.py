"""The network of a run: by its name, by the size of the images, or a user's own; with weights of a file, if there is one.

A user's own network is `package.module:function`: a function that returns a torch.nn.Module with one logit for each class.
Of the keyword arguments `outputs` (how many classes) and `channels` (of the images) it is given those that it takes. The
module is looked for in the current folder, too; weights that the function draws come from a seed of the run. Weights are a
safetensors file: nothing is ever unpickled.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from dntk_fast import _check
from dntk_fast._chance import seeded
from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.files.tensors import load_weights
from dntk_fast.tangent.isolation import own_copy
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.models import MODELS, build

__all__ = ["Network", "check_name", "network_of", "usual_network"]

BY_SIDE: Mapping[int, str] = MappingProxyType({8: "conv8", 28: "conv28", 32: "conv32"})


@dataclass(frozen=True, eq=False)
class Network:
    """A network before a run trains it, in evaluation mode.

    Attributes
    ----------
    name : as the report calls it
    module : the network, on the CPU
    trained : whether its weights were given, and it is not to be trained
    inputs : digests of what the configuration only names: the code's network, the weights of the file
    """

    name: str
    module: nn.Module
    trained: bool
    inputs: Mapping[str, str]


def check_name(model: str) -> str:
    """Return the name of a network, or refuse it, before any data are read.

    >>> check_name("conv8")
    'conv8'
    """
    own = isinstance(model, str) and ":" in model
    if own and not all(part.isidentifier() for part in model.replace(":", ".").split(".")):
        _check.refuse("model", "package.module:function", repr(model))
    if not own and model not in ("auto", *MODELS):
        _check.refuse("model", f"one of auto, {', '.join(MODELS)}, or package.module:function", repr(model))
    return model


def usual_network(data: Dataset, seed: int, large: str = "resnet18") -> tuple[str, nn.Module]:
    """Return name and network, with weights drawn from the seed, for images of this size; `large` where they are larger."""
    channels, side, _ = data.image_shape
    name = BY_SIDE.get(side, large)
    return name, build(name, seed=seed, outputs=len(data.classes), channels=channels)


def network_of(model: str, data: Dataset, *, seed: int, weights: str | Path | None = None) -> Network:
    """Make the network that is asked for, and see that it takes these images and has one logit for each class.

    Parameters
    ----------
    model
        "auto": by the size of the images; a key of `models.MODELS`; or `package.module:function`.
    data
        What it is for.
    seed
        Of the weights, and of whatever the function draws from torch's generator.
    weights
        A safetensors file with all parameters and buffers, or None.

    Raises
    ------
    ValueError, TypeError
        In one line: an unknown name, a module or function that is not there or fails, no module, another number of
        outputs, images that it does not take, weights that cannot be read or do not fit (with their names).
    """
    name = check_name(model)
    if name == "auto":
        name, module = usual_network(data, seed)
    elif ":" in name:
        with seeded(_check.seed(seed)):
            module = _called(name, {"outputs": len(data.classes), "channels": data.image_shape[0]})
    else:
        options = {"inputs": data.x_train[0].numel()} if name == "mlp" else {"channels": data.image_shape[0]}
        module = build(name, seed=seed, outputs=len(data.classes), **options)
    inputs = {}
    if weights is not None:
        _put(module, weights)
        inputs["weights"] = fingerprint(module)
    if ":" in name:
        inputs["network"] = fingerprint(module)
    _fits(module, data)
    return Network(name, module, weights is not None, inputs)


def _called(address: str, given: Mapping[str, Any]) -> nn.Module:
    with _current_folder():
        function = _function(address)
        try:
            found = function(**_taken(address, function, given))
        except _check.ArgumentError:
            raise
        except Exception as error:  # whatever a user's function raises
            _check.refuse("model", f"a network of {address}", _words(error))
    if not isinstance(found, nn.Module):
        _check.refuse("model", f"a torch.nn.Module from {address}", type(found).__name__)
    return found.eval()


def _function(address: str) -> Callable[..., Any]:
    place, _, name = address.partition(":")
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            _check.refuse("model", f"a module {place} on Python's path or in the current folder", "none")
        _check.refuse("model", f"a module {place} that can be imported", _words(error))
    except Exception as error:  # whatever a user's module raises
        _check.refuse("model", f"a module {place} that can be imported", _words(error))
    function = getattr(module, name, None)
    if not callable(function):
        _check.refuse("model", f"a function {name} in {place}", "none" if function is None else type(function).__name__)
    return function


def _taken(address: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the function takes; one that needs others is refused."""
    parameters = inspect.signature(function).parameters.values()
    every = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    more = [name for name in needed if name not in given]
    if more:
        _check.refuse("model", f"{address} to need no argument but {' and '.join(given)}", ", ".join(more))
    return {name: value for name, value in given.items() if every or name in named}


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules of the current folder be found, as `python -m` does; a command's own folder is another."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def _put(module: nn.Module, weights: str | Path) -> None:
    try:
        load_weights(module, _check.path("weights", weights))
    except ValueError as error:
        raise ValueError(f"weights:{str(error).removeprefix('path:').removeprefix('weights:')}") from None


def _fits(module: nn.Module, data: Dataset) -> None:
    _check.frozen_statistics(module)
    some = own_copy(data.x_train[:2])
    try:
        with torch.no_grad():
            said = module(some)
    except Exception as error:  # whatever a network raises on images of another shape
        _check.refuse("model", f"a network that takes images {tuple(some.shape[1:])}", _words(error))
    if _check.logits(said, len(some)).shape[1] != len(data.classes):
        _check.refuse("model", f"one logit for each of {len(data.classes)} classes", f"{said.shape[1]} outputs")


def _words(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__} ({' '.join(str(error).split())[:200]})"
