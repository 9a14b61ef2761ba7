"""Train a classifier by cross-entropy; the state after every epoch can be kept and taken up again."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dntk_fast import _check
from dntk_fast._alone import alone, alone_with
from dntk_fast._chance import seeded
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.tangent.batches import in_any_mode
from dntk_fast.tangent.isolation import own_copy, without_chance
from dntk_fast.tangent.probes import accepted

__all__ = ["Training", "train"]


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _one_cycle(done: float) -> float:
    return done / WARM if done < WARM else _cosine((done - WARM) / (1 - WARM))


WARM = 0.25  # share of the steps over which the rate of one cycle rises
#: share of the learning rate after a share of the steps
SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType({"cosine": _cosine, "one-cycle": _one_cycle})


@dataclass(frozen=True)
class Training:
    """A trained network and what it took.

    Attributes
    ----------
    model
        The network in evaluation mode; the one that was given stays as it was.
    losses
        Mean cross-entropy of each epoch, as met during the epoch.
    forward_passes, backward_passes
        Images taken through the network, and back.
    """

    model: nn.Module
    losses: tuple[float, ...]
    forward_passes: int
    backward_passes: int


@in_any_mode
def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    seed: int,
    learning_rate: float = 3e-3,
    batch_size: int = 64,
    weight_decay: float = 1e-4,
    optimiser: str = "adam",
    shift: int = 0,
    flip: bool = False,
    schedule: str = "cosine",
    augmentation: str = "batch",
    progress: Callable[[int, int], None] | None = None,
    checkpoint: str | Path | None = None,
) -> Training:
    """Train a copy of a classifier by cross-entropy, with a learning rate that ends at zero.

    Parameters
    ----------
    model
        The network to start from; it is not changed.
    x : (n, channels, height, width)
        Images.
    y : (n,)
        Labels 0 ... outputs - 1.
    epochs, batch_size
        Walks through the data, and the most images of a step; all steps of a walk get about the same number.
    seed
        Start of the order, the augmentation and whatever the network draws; the same seed gives the same weights.
    learning_rate, weight_decay, optimiser
        Of "adam" (decoupled decay) or "sgd" (Nesterov momentum 0.9).
    schedule
        "cosine": the rate falls to zero along a cosine; "one-cycle": it first rises linearly over a quarter of the steps
        (Smith and Topin 2019).
    shift, flip, augmentation
        Images moved by at most so many pixels, zeros coming in, and mirrored half the time: all of a batch alike
        ("batch"), or each by itself ("image").
    progress
        Called with (epochs done, epochs) after each epoch.
    checkpoint
        A file (safetensors) that keeps the state after every epoch; the same call goes on from there, to the same weights.

    Returns
    -------
    Training
        The network, its losses and the passes counted.

    Raises
    ------
    ValueError
        If an argument is out of its range, `x` is not finite, `y` does not fit it, or the checkpoint belongs to another
        training.
    TypeError
        If the labels are no integers.
    """
    _check_training(x, y, epochs, batch_size, optimiser)
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        _check.nonnegative(name, value)
    _check.integer("shift", shift, 0)
    _check.choice("schedule", schedule, tuple(SCHEDULES))
    _check.choice("augmentation", augmentation, ("batch", "image"))
    device, largest = _check.parameter(model).device, int(y.max())
    with alone_with(model):
        network = copy.deepcopy(model).train()
    descent = _descent(network, optimiser, learning_rate, weight_decay)
    settings: dict[str, Any] = {
        "epochs": epochs,
        "seed": seed,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
    }
    settings |= {"weight_decay": weight_decay, "optimiser": optimiser, "shift": shift, "flip": flip}
    settings |= {"schedule": schedule, "augmentation": augmentation}
    augmented = _augmented if augmentation == "batch" else _augmented_each
    chance = seeded(_check.seed(seed))
    with seeded(seed):
        file = None if checkpoint is None else _checkpoint(checkpoint, model, x, y, settings)
    losses = [] if file is None else _taken_up(file, network, descent, chance)
    for epoch in range(len(losses), epochs):
        order = torch.randperm(len(x), generator=chance.generator(), device="cpu")
        total, batches = 0.0, order.tensor_split(math.ceil(len(x) / batch_size))
        for number, rows in enumerate(batches):
            rate = learning_rate * SCHEDULES[schedule]((epoch + number / len(batches)) / epochs)
            for group in descent.param_groups:
                group["lr"] = rate
            images = augmented(x[rows.to(x.device)].to(device), shift, flip, chance.generator())
            with chance, accepted(images):
                logits = network(images)
            if largest >= logits.shape[1]:  # on a GPU cross-entropy would end the process
                _check.refuse("y", f"labels below {logits.shape[1]}, the outputs of the model", largest)
            loss = functional.cross_entropy(logits, y[rows.to(y.device)].to(device).long())
            descent.zero_grad()
            with without_chance(*_ONCE) if chance.met else nullcontext():
                loss.backward()
            descent.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
        if file is not None:
            _keep(file, network, descent, losses, chance)
        if progress is not None:
            progress(epoch + 1, epochs)
    descent.zero_grad()
    return Training(network.eval(), tuple(losses), epochs * len(x), epochs * len(x))


# A forward pass that is run again for the backward one would draw other numbers.
_ONCE = (
    "random numbers drawn in the forward pass alone",
    "some drawn in the backward pass, as by a checkpoint of activations",
)


def _keep(
    file: Checkpoint, model: nn.Module, descent: torch.optim.Optimizer, losses: list[float], chance: seeded
) -> None:
    """Weights, optimiser and generators into the checkpoint; the losses beside them."""
    kept = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, state in descent.state_dict()["state"].items():
        kept |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    for device in dict.fromkeys(("cpu", str(_check.parameter(model).device))):
        kept[f"generator.{device}"] = chance.generator(device).get_state()
    file.save(kept, {"losses": losses})


def _taken_up(file: Checkpoint, model: nn.Module, descent: torch.optim.Optimizer, chance: seeded) -> list[float]:
    """Put everything back where it was, and give the losses so far."""
    found = file.load()
    if found is None:
        return []
    kept, numbers = found
    model.load_state_dict(_below(kept, "model."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(kept, "optimiser.").items():
        number, _, field = name.partition(".")
        state.setdefault(int(number), {})[field] = value
    descent.load_state_dict({"state": state, "param_groups": descent.state_dict()["param_groups"]})
    for device, value in _below(kept, "generator.").items():
        chance.generator(device).set_state(value)
    return [float(loss) for loss in numbers["losses"]]


def _below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


@alone
def _checkpoint(path: str | Path, model: nn.Module, x: Tensor, y: Tensor, settings: Mapping[str, Any]) -> Checkpoint:
    owner = {"network": fingerprint(model), "data": digest({"x": x, "y": y})}
    owner |= {name: json.dumps(value) for name, value in settings.items()}
    with torch.no_grad():
        found = copy.deepcopy(model).eval()(own_copy(x[:1].to(_check.parameter(model).device)))
    first = ("outputs at the first input", found)
    return Checkpoint(_check.path("checkpoint", path), "training", owner, first, found.dtype)


def _descent(model: nn.Module, optimiser: str, rate: float, decay: float) -> torch.optim.Optimizer:
    if optimiser == "adam":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)


def _augmented(images: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    if flip and torch.rand((), generator=generator, device="cpu") < 0.5:
        images = images.flip(-1)
    if shift:
        height, width = images.shape[-2:]
        top, left = torch.randint(2 * shift + 1, (2,), generator=generator, device="cpu").tolist()
        images = functional.pad(images, (shift,) * 4)[..., top : top + height, left : left + width]
    return images


def _augmented_each(images: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Move and mirror each image by itself."""
    n, _, height, width = images.shape
    if flip:
        mirrored = torch.rand(n, generator=generator, device="cpu") < 0.5
        images = torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
    if shift:
        top, left = torch.randint(2 * shift + 1, (2, n, 1), generator=generator, device="cpu").to(images.device)
        rows = torch.arange(height, device=images.device) + top
        columns = torch.arange(width, device=images.device) + left
        padded = functional.pad(images, (shift,) * 4).movedim(1, -1)
        each = torch.arange(n, device=images.device)[:, None, None]
        images = padded[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
    return images


def _check_training(x: Tensor, y: Tensor, epochs: int, batch_size: int, optimiser: str) -> None:
    _check.labels("y", y, _check.samples("x", _check.inputs("x", _check.tensor("x", x))), sys.maxsize)
    _check.integer("epochs", epochs, 1)
    _check.integer("batch_size", batch_size, 1)
    _check.choice("optimiser", optimiser, ("adam", "sgd"))
