"""Images tuned to span the gradients: pixels that minimise the misalignment of Proposition 3.6 in the joint space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast._device import default_memory, readable_bytes
from dntk_fast.distillation.selection import Cost
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.kernels.joint import random_cotangents
from dntk_fast.tangent.batches import in_any_mode
from dntk_fast.tangent.head import final_linear
from dntk_fast.tangent.isolation import own_copy

__all__ = ["TunedImages", "misalignment", "pays_above", "tune_images", "tuning_cost"]

BATCH = 128
# Of the mean of diag K_SS, added to it: the projector of nearly dependent gradients has no useful derivative.
SOFTENING = 1e-4


@dataclass(frozen=True, eq=False)
class TunedImages:
    """Images (n_S, ...) in the range of the data, the share of energy missed before each step, and their passes."""

    images: Tensor
    missed: Tensor
    forward_passes: int
    backward_passes: int


def tuning_cost(n: int, count: int, outputs: int, *, steps: int, batch: int = BATCH) -> Cost:
    """What tuning and one use cost, said before the start: steps (3 batch + 9 n_S) forward passes, whatever n is.

    A step takes one gradient of each image of a batch and of each tuned image, and differentiates the latter: about twice
    what the gradient itself costs.

    >>> tuning_cost(9469, 50, 10, steps=60).choosing
    50040
    """
    b = min(n, batch)
    once = steps * (b + 3 * count)
    return Cost(once, once, count, count * outputs, n * (1 + 2 * outputs))


def pays_above(count: int, outputs: int, *, steps: int, batch: int = BATCH) -> int:
    """The least number of images of the data from which tuning and one use cost less than one full kernel.

    >>> pays_above(50, 10, steps=60)
    2433
    """
    kept = count * (1 + 2 * outputs)
    return math.floor((steps * (3 * batch + 9 * count) + kept) / (1 + 2 * outputs)) + 1


def misalignment(spanning: Tensor, gradients: Tensor) -> Tensor:
    """The share of energy outside the span of the rows, softened: 1 - tr(K_XS (K_SS + s I)^-1 K_SX) / tr K_XX.

    Prop 3.6: tr A - tr(Pi_S A) over tr A, with s = 1e-4 of the mean of diag K_SS. Gradients flow to both.
    Parameters: spanning (m, P), gradients (b, P). Returns: 0-d.

    >>> round(float(misalignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))), 3)
    0.64
    """
    K, cross = spanning @ spanning.T, gradients @ spanning.T
    soft = SOFTENING * K.diagonal().mean() * torch.eye(len(K), dtype=K.dtype, device=K.device)
    inside = torch.linalg.solve_ex(K + soft, cross.T)[0]
    return 1 - (cross.T * inside).sum() / gradients.square().sum()


@in_any_mode
def tune_images(
    model: nn.Module,
    x: Tensor,
    start: Tensor,
    *,
    seed: int,
    steps: int = 60,
    lr: float = 0.05,
    batch: int = BATCH,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 10,
) -> TunedImages:
    """Move images so that their gradients span those of the data.

    Each step draws a batch of the data and one mixture of logits v ~ N(0, I), and lowers the share of the energy of the
    body gradients J(x)^T v that lies outside the span of the J(s)^T v: as that span is a part of T_S, an upper estimate of
    the misalignment of T_S. Adam [KingmaBa2015] at a rate that falls from `lr` to 0 along a cosine; after each step the
    pixels go back into the range that they have in x.

    Parameters
    ----------
    model : network in evaluation mode that ends in a linear layer and runs under torch.func
    x : (n, ...), the data
    start : (n_S, ...), the images to begin with
    seed, steps, lr, batch
    memory : bytes for the gradients of the images and of a batch, which are formed (None: an eighth of the machine's)
    progress : called with (steps done, steps)
    checkpoint, every : a file that keeps the state every so many steps; the same call goes on from there

    Returns
    -------
    TunedImages

    Raises
    ------
    ValueError
        `memory` below the gradients of one step; a checkpoint of other work.

    >>> model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    >>> x = torch.linspace(-1, 1, 8)[:, None]
    >>> made = tune_images(model, x, x[:2], seed=0, steps=2)
    >>> made.images.shape, made.missed.shape, made.backward_passes
    (torch.Size([2, 1]), torch.Size([2]), 28)
    """
    step_of = _Step.of(model, x, start, _check.seed(seed), _check.integer("batch", batch, 1), memory)
    steps, every = _check.integer("steps", steps, 0), _check.integer("every", every, 1)
    rate = _check.positive("lr", lr)
    images = start.detach().clone().requires_grad_()
    descent = torch.optim.Adam([images], lr=rate)
    keeper = None
    if checkpoint is not None:
        settings = {"steps": str(steps), "lr": str(lr), "batch": str(batch), "seed": str(seed)}
        keeper = step_of.keeper(_check.path("checkpoint", checkpoint), start, settings)
    missed = _taken_up(keeper, images, descent)
    low, high = x.amin(), x.amax()
    for step in range(len(missed), steps):
        for group in descent.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        loss = step_of.loss(images, step)
        (images.grad,) = torch.autograd.grad(loss, images)
        descent.step()
        with torch.no_grad():
            images.clamp_(low, high)
        missed.append(float(loss.detach()))
        if keeper is not None and ((step + 1) % every == 0 or step + 1 == steps):
            _keep(keeper, images, descent, missed)
        if progress is not None:
            progress(step + 1, steps)
    once = steps * (min(len(x), batch) + 3 * len(start))
    return TunedImages(images.detach(), torch.tensor(missed, dtype=torch.float64), once, once)


@dataclass(frozen=True, eq=False)
class _Step:
    """What every step needs: the data and the gradients of a mixture of logits by the body's parameters."""

    model: nn.Module
    x: Tensor
    names: tuple[str, ...]
    seed: int
    batch: int
    outputs: int

    @classmethod
    @alone
    def of(cls, model: nn.Module, x: Tensor, start: Tensor, seed: int, batch: int, memory: int | None) -> _Step:
        _check.frozen_statistics(model)
        _check.array("x", x, least=2)
        _check.samples("x", x)
        _check.samples("start", start)
        if tuple(_check.array("start", start, least=2).shape[1:]) != tuple(x.shape[1:]):
            _check.refuse("start", f"images of shape {tuple(x.shape[1:])}", f"shape {tuple(start.shape)}")
        _, last = final_linear(model, x[:2])
        own, head = dict(model.named_parameters()), {id(p) for p in last.parameters()}
        names = tuple(name for name, p in own.items() if p.requires_grad and id(p) not in head)
        with torch.no_grad():
            outputs = model(own_copy(x[:1])).shape[1]
        size = sum(own[name].numel() for name in names) * x.element_size()
        least = (min(len(x), batch) + 3 * len(start)) * size  # the gradients, and twice more to differentiate them
        memory = default_memory(x.device) if memory is None else _check.integer("memory", memory, 1)
        if least > memory:
            _check.refuse("memory", f"at least {readable_bytes(least)} for the gradients of one step", memory)
        return cls(model, x, names, seed, batch, outputs)

    @alone
    def loss(self, images: Tensor, step: int) -> Tensor:
        """The share of a batch's energy that the images' gradients miss."""
        draw = int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0])
        v = random_cotangents(1, self.outputs, seed=draw)[0].to(images)
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(draw))
        rows = self.x[order[: self.batch].to(self.x.device)]
        with torch.no_grad():
            wanted = self.gradients(rows, v)
        return misalignment(self.gradients(images, v), wanted)

    def gradients(self, images: Tensor, v: Tensor) -> Tensor:
        """J(s)^T v of every image by the body's parameters, (n, P); derivatives flow to the images."""
        state = {name: p.detach() for name, p in self.model.named_parameters()}
        body = {name: state.pop(name) for name in self.names}

        def mixture(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
            logits: Tensor = functional_call(self.model, {**state, **parameters}, (own_copy(image[None]),))
            return (logits[0] * v).sum()

        found = vmap(grad(mixture), in_dims=(None, 0))(body, images)
        return torch.cat([found[name].flatten(1) for name in self.names], 1)

    @alone
    def keeper(self, path: Path, start: Tensor, settings: dict[str, str]) -> Checkpoint:
        """The file of this work."""
        owner = {"model": fingerprint(self.model), "data": digest({"x": self.x, "start": start})} | settings
        with torch.no_grad():
            first = self.model(own_copy(self.x[:1]))
        return Checkpoint(path, "tuning", owner, ("the logits of the first image", first), first.dtype)


def _keep(keeper: Checkpoint, images: Tensor, descent: torch.optim.Adam, missed: list[float]) -> None:
    state = descent.state[images]
    means = {name: state[name] for name in ("exp_avg", "exp_avg_sq", "step")}
    keeper.save({"images": images.detach(), **means}, {"missed": missed})


def _taken_up(keeper: Checkpoint | None, images: Tensor, descent: torch.optim.Adam) -> list[float]:
    """Put the state of a checkpoint in place; the shares missed so far."""
    kept = None if keeper is None else keeper.load()
    if kept is None:
        return []
    tensors, numbers = kept
    with torch.no_grad():
        images.copy_(tensors.pop("images"))
    descent.state[images] = {
        name: value.to("cpu" if name == "step" else images.device) for name, value in tensors.items()
    }
    return list(numbers["missed"])
