"""WMDD (4.1, C.5): a few images per class whose features are the Wasserstein barycentre of the class."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.adam import adam

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast.distillation.barycenter import barycenter
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.tangent.batches import in_any_mode
from dntk_fast.tangent.head import final_linear, recorded_inputs
from dntk_fast.tangent.isolation import own_copy

__all__ = ["ClassMoments", "DistilledImages", "class_moments", "distil_images"]

HEAD = "head"  # key of the recorded features beside the names of the BatchNorm layers, none of which is called so
NO_BATCHNORM = "the network has no BatchNorm layer: the images match features alone"
NO_WEIGHT = "bn_weight is 0: the images match features alone"


@dataclass(frozen=True, eq=False)
class DistilledImages:
    """C * m images in the order of their classes, m for each.

    Attributes
    ----------
    images : (C m, ...)
        In the normalisation of the training images and inside their range.
    labels : (C m,)
        The class for which each was made.
    weights : (C m,)
        Mass that each carries within its class; the masses of a class sum to 1.
    logits : (C m, outputs)
        The network's own logits at the images: their soft labels.
    points : (C, m, d_h)
        The barycentres that the images were to meet.
    costs : (C,)
        W_2^2 between the features of each class and its barycentre.
    matching : (steps + 1, 2)
        L_feat and L_BN before each step and at the end, in float64.
    forward_passes, backward_passes
        Images taken through the network, and back, over all steps, whether or not they were interrupted.
    notes
        What a reader of the result should know.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor
    logits: Tensor
    points: Tensor
    costs: Tensor
    matching: Tensor
    forward_passes: int
    backward_passes: int
    notes: tuple[str, ...]


# --- statistics per class and channel ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Sums of weights, of x and of x^2, per class and channel; those of two batches add up to those of both.

    Means of the batches' variances would lack the variance of their means (CEX-29).
    """

    count: Tensor  # (C,)
    total: Tensor  # (C, channels)
    square: Tensor  # (C, channels)

    def __add__(self, other: ClassMoments) -> ClassMoments:
        return ClassMoments(self.count + other.count, self.total + other.total, self.square + other.square)

    @property
    def mean(self) -> Tensor:
        """Mean of each channel within each class, (C, channels)."""
        return self.total / self.count[:, None]

    @property
    def variance(self) -> Tensor:
        """Variance of each channel within each class, divided by the count: (C, channels)."""
        return self.square / self.count[:, None] - self.mean**2


def class_moments(values: Tensor, labels: Tensor, classes: int, weights: Tensor | None = None) -> ClassMoments:
    """Add up x and x^2 over the examples of each class and over all positions.

    Parameters
    ----------
    values : (n, channels, ...)
        Any number of axes of positions; gradients flow.
    labels : (n,)
        Classes 0 ... classes - 1.
    weights : (n,) or None
        Mass of each example; 1 if None.

    Returns
    -------
    ClassMoments
        Sums over positions in the type of `values`, over examples in float64: E x^2 - (E x)^2 loses digits.

    Example
    -------
    >>> one, both = torch.zeros(2, dtype=torch.int64), [torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [12.0]])]
    >>> (class_moments(both[0], one, 1) + class_moments(both[1], one, 1)).variance.item()
    26.0
    """
    flat = values.flatten(2) if values.ndim > 2 else values[..., None]
    total, square = (part.sum(2).double() for part in (flat, flat.square()))
    member = functional.one_hot(labels, classes).T.double()
    if weights is not None:
        member = member * weights
    return ClassMoments(member.sum(1) * flat.shape[2], member @ total, member @ square)


@dataclass(frozen=True)
class _Settings:
    """The numbers of one distillation, checked."""

    per_class: int
    seed: int
    steps: int
    lr: float
    bn_weight: float
    initial: str
    batch_size: int

    def __post_init__(self) -> None:
        _check.integer("per_class", self.per_class, 1)
        _check.seed(self.seed)
        _check.integer("steps", self.steps, 0)
        _check.positive("lr", self.lr)
        _check.nonnegative("bn_weight", self.bn_weight)
        _check.choice("initial", self.initial, ("real", "noise"))
        _check.integer("batch_size", self.batch_size, 1)

    @property
    def group(self) -> int:
        """Classes that go through the network at once; all images of a class go together."""
        return max(1, self.batch_size // self.per_class)

    def rate(self, step: int) -> float:
        """Rate of a step: from lr to 0 along a cosine."""
        return self.lr * (1 + math.cos(math.pi * step / self.steps)) / 2


# --- what the images are to meet --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Goal:
    """Barycentres, masses and BatchNorm statistics of all classes, and the modules at whose inputs they are met."""

    modules: Mapping[str, nn.Module]
    points: Tensor  # (C, m, d_h)
    weights: Tensor  # (C, m)
    statistics: Mapping[str, ClassMoments]

    def losses(self, model: nn.Module, images: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """L_feat, L_BN and the logits of the images of the classes from `first` on."""
        m = self.points.shape[1]
        classes = len(images) // m
        here = slice(first, first + classes)
        with recorded_inputs(self.modules) as seen:
            logits = model(own_copy(images))
        matching = (seen[HEAD] - self.points[here].flatten(0, 1)).square().sum().double()
        labels = torch.arange(classes, device=images.device).repeat_interleave(m)
        spread = matching.new_zeros(())
        for name, real in self.statistics.items():
            made = class_moments(seen[name], labels, classes, self.weights[here].flatten())
            spread = spread + (made.mean - real.mean[here]).square().sum()
            spread = spread + (made.variance - real.variance[here]).square().sum()
        return matching, spread, logits


@alone
def _survey(
    model: nn.Module, modules: Mapping[str, nn.Module], x: Tensor, y: Tensor, classes: int, batch_size: int
) -> tuple[Tensor, dict[str, ClassMoments]]:
    """Features of the real images, and their statistics at the BatchNorm layers: one pass over the data."""
    device = _device(model)
    features: list[Tensor] = []
    statistics: dict[str, ClassMoments] = {}
    for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
        with torch.no_grad(), recorded_inputs(modules) as seen:
            model(own_copy(images.to(device)))
        features.append(seen.pop(HEAD))
        for name, values in seen.items():
            batch = class_moments(values, labels.to(device), classes)
            statistics[name] = statistics[name] + batch if name in statistics else batch
    return torch.cat(features), statistics


# --- the descent ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _State:
    """Where the descent stands: the images, Adam's two running means, and the losses before each step so far."""

    images: Tensor
    first: Tensor
    second: Tensor
    history: Tensor  # (steps, 2), float64

    @classmethod
    def at(cls, images: Tensor) -> _State:
        return cls(images, torch.zeros_like(images), torch.zeros_like(images), torch.zeros(0, 2, dtype=torch.float64))

    def to(self, device: torch.device) -> _State:
        return _State(self.images.to(device), self.first.to(device), self.second.to(device), self.history)

    def moved(self, gradient: Tensor, losses: Tensor, rate: float, low: Tensor, high: Tensor) -> _State:
        """One step of torch's Adam, on copies: an interrupted step leaves no trace; then back into the range of the data."""
        images, first, second = self.images.clone(), self.first.clone(), self.second.clone()
        taken = torch.tensor(float(len(self.history)))
        adam([images], [gradient], [first], [second], [], [taken], amsgrad=False, beta1=0.9, beta2=0.999, lr=rate,
             weight_decay=0.0, eps=1e-8, maximize=False)  # fmt: skip
        return _State(torch.clamp(images, low, high), first, second, torch.cat([self.history, losses[None]]))


@alone
def _gradient(model: nn.Module, goal: _Goal, images: Tensor, settings: _Settings) -> tuple[Tensor, Tensor]:
    """Gradient of L_feat + bn_weight L_BN at the images, and the two losses; no term joins two groups of classes."""
    gradients, losses = [], torch.zeros(2, dtype=torch.float64)
    for number, part in enumerate(images.split(settings.group * settings.per_class)):
        part = part.detach().requires_grad_()
        matching, spread, _ = goal.losses(model, part, number * settings.group)
        gradients += torch.autograd.grad(matching + settings.bn_weight * spread, part)
        losses += torch.stack([matching, spread]).detach().cpu()
    return torch.cat(gradients), losses


@alone
@torch.no_grad()
def _outcome(model: nn.Module, goal: _Goal, images: Tensor, settings: _Settings) -> tuple[Tensor, Tensor]:
    """Logits of the images, and the two losses."""
    logits, losses = [], torch.zeros(2, dtype=torch.float64)
    for number, part in enumerate(images.split(settings.group * settings.per_class)):
        matching, spread, out = goal.losses(model, part, number * settings.group)
        logits.append(out)
        losses += torch.stack([matching, spread]).cpu()
    return torch.cat(logits), losses


@in_any_mode
def distil_images(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    per_class: int,
    seed: int,
    steps: int = 200,
    lr: float = 0.05,
    bn_weight: float = 10.0,
    initial: str = "real",
    batch_size: int = 512,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 50,
) -> DistilledImages:
    """Make m images of each class whose features are the class's barycentre.

    4.1, C.5: the barycentre of the penultimate features f_e of class c, nu_c = sum_j w_cj delta(b_cj), has free points
    and free weights, which is weighted k-means. The images s minimise L_feat + bn_weight L_BN, where

        L_feat = sum_c sum_j |f_e(s_cj) - b_cj|^2,
        L_BN = sum_c sum_l |mean_l(s_c) - mean_cl|^2 + |var_l(s_c) - var_cl|^2,

    l over the inputs of the BatchNorm layers, mean and variance per channel. What the statement leaves open is chosen
    so: squared norms; variances, not standard deviations; the statistics of the images weighted by w_cj, as the measure
    nu_c is, so that both losses vanish when every distinct real image is kept; those of the real images over the whole
    class. Adam [KingmaBa2015] on the pixels, at a rate that falls from `lr` to 0 along a cosine; after each step the pixels
    go back into the range that their channel has in x. A barycentre with fewer than m distinct points repeats its
    heaviest one and shares the mass.

    Parameters
    ----------
    model
        A network in evaluation mode that ends in a linear layer.
    x : (n, channels, ...)
        Real training inputs.
    y : (n,)
        Their classes 0 ... C - 1.
    per_class
        m, at most the number of images of the smallest class.
    seed
        Of the k-means and the noise.
    steps, lr
        Steps of the descent, in which 0 keeps the initial images, and its first rate in units of x.
    bn_weight
        Weight of L_BN; 0 leaves it out.
    initial
        "real": the real images nearest to the barycentre points; "noise": with the mean and deviation of the channels.
    batch_size
        The most images that go through the network at once, or m if that is more.
    progress
        Called with (steps done, steps) after each step.
    checkpoint, every
        A file (safetensors) that keeps the state every so many steps and when the descent ends or is interrupted; the
        same call goes on from there.

    Returns
    -------
    DistilledImages
        Images, weights, soft labels and how well they match.

    Raises
    ------
    ValueError
        If a class has fewer than `per_class` images, the model is not in evaluation mode or does not end in a linear
        layer, the checkpoint belongs to another distillation, or a number is out of its range.

    Example
    -------
    >>> net = nn.Sequential(nn.Identity(), nn.Linear(1, 2)).eval()
    >>> x, y = torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1])
    >>> made = distil_images(net, x, y, per_class=1, seed=0, steps=300, lr=0.1)
    >>> made.images.round(decimals=3).tolist(), made.weights.tolist(), made.costs.tolist()
    ([[1.0], [11.0]], [1.0, 1.0], [1.0, 1.0])
    """
    settings = _Settings(per_class, seed, steps, lr, bn_weight, initial, batch_size)
    classes = _checked(model, x, y, per_class)
    modules, notes = _watched(model, x, classes, bn_weight)
    keeper = _keeper(checkpoint, model, x, y, settings, every)
    kept = None if keeper is None else keeper.load()
    goal, costs, start = _prepared(model, modules, x, y, classes, settings)
    low, high = (bound(x, _all_but_channels(x), keepdim=True).to(start) for bound in (torch.amin, torch.amax))

    def advanced(state: _State) -> _State:
        gradient, losses = _gradient(model, goal, state.images, settings)
        return state.moved(gradient, losses, settings.rate(len(state.history)), low, high)

    begun = _State.at(start.clamp(low, high)) if kept is None else kept.to(start.device)
    images, history = _descended(begun, advanced, steps, keeper, progress)
    logits, losses = _outcome(model, goal, images, settings)
    return DistilledImages(
        images=images,
        labels=torch.arange(classes).repeat_interleave(per_class).to(y),
        weights=goal.weights.flatten(),
        logits=logits,
        points=goal.points,
        costs=costs,
        matching=torch.cat([history, losses[None]]),
        forward_passes=1 + len(x) + (steps + 1) * len(start),
        backward_passes=steps * len(start),
        notes=notes,
    )


def _checked(model: nn.Module, x: Tensor, y: Tensor, per_class: int) -> int:
    """The number of classes, all of which have enough images."""
    _check.frozen_statistics(model)
    _check.samples("x", x)
    _check.array("x", x, least=2)
    counts = torch.bincount(_check.labels("y", y, len(x)).long())
    if counts.min() < per_class:
        smallest = int(counts.argmin())
        _check.refuse("per_class", f"at most {int(counts.min())}, the number of images of class {smallest}", per_class)
    return len(counts)


def _watched(
    model: nn.Module, x: Tensor, classes: int, bn_weight: float
) -> tuple[dict[str, nn.Module], tuple[str, ...]]:
    """The modules at whose inputs images are matched, and what is to be said about them."""
    _, head = final_linear(model, x[:2].to(_device(model)))
    if head.out_features < classes:
        _check.refuse("y", f"labels below {head.out_features}, the outputs of the model", classes - 1)
    norms = {name: part for name, part in model.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)}
    if norms and bn_weight:
        return {HEAD: head, **norms}, ()
    return {HEAD: head}, (NO_WEIGHT if norms else NO_BATCHNORM,)


def _prepared(
    model: nn.Module, modules: Mapping[str, nn.Module], x: Tensor, y: Tensor, classes: int, settings: _Settings
) -> tuple[_Goal, Tensor, Tensor]:
    """What the images are to meet, the costs of the barycentres, and the images to begin with."""
    features, statistics = _survey(model, modules, x, y, classes, settings.batch_size)
    *seeds, last = np.random.SeedSequence(settings.seed).generate_state(classes + 1).tolist()
    own = [features[(y == label).to(features.device)] for label in range(classes)]
    found = [_barycentre(part, settings.per_class, seed) for part, seed in zip(own, seeds, strict=True)]
    points, weights, costs = (torch.stack(part) for part in zip(*found, strict=True))
    start = _noise(x, points, last) if settings.initial == "noise" else _nearest(x, y, features, points)
    return _Goal(modules, points, weights, statistics), costs, start.to(_device(model))


def _barycentre(features: Tensor, m: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Exactly m points, their masses and W_2^2; where fewer are distinct, the heaviest is there more than once."""
    found = barycenter(features.double(), m, seed=seed)
    copies = torch.ones(len(found.points), dtype=torch.int64, device=features.device)
    copies[found.weights.argmax()] += m - len(copies)
    points, weights = found.points.repeat_interleave(copies, 0), (found.weights / copies).repeat_interleave(copies)
    return points.to(features), weights.double(), torch.tensor(float(found.cost), dtype=torch.float64)


def _nearest(x: Tensor, y: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """The real images whose features are nearest to the points of their class."""
    rows = []
    for label, support in enumerate(points):
        own = (y == label).nonzero().flatten()
        rows.append(own[torch.cdist(features[own.to(features.device)], support).argmin(0).to(own.device)])
    return x[torch.cat(rows)]


def _noise(x: Tensor, points: Tensor, seed: int) -> Tensor:
    """One image for each point: normal noise with the mean and the deviation that each channel has in x."""
    across = _all_but_channels(x)
    noise = torch.randn(points[..., 0].numel(), *x.shape[1:], generator=torch.Generator().manual_seed(seed))
    return noise.to(x) * x.std(across, keepdim=True) + x.mean(across, keepdim=True)


def _all_but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


# --- interruption -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Keeper:
    """The checkpoint of one descent, kept every so many steps; the logits at the first image see what `forward` does."""

    file: Checkpoint
    every: int

    def load(self) -> _State | None:
        found = self.file.load()
        return None if found is None else _State(**found[0])

    def save(self, state: _State) -> None:
        self.file.save(vars(state), {})


def _keeper(
    path: str | Path | None, model: nn.Module, x: Tensor, y: Tensor, settings: _Settings, every: int
) -> _Keeper | None:
    if path is None:
        return None
    owner = {"network": fingerprint(model), "data": digest({"x": x, "y": y})}
    owner |= {name: json.dumps(value) for name, value in dataclasses.asdict(settings).items()}
    logits = _first_logits(model, x)
    path, first = _check.path("checkpoint", path), ("logits at the first image", logits)
    return _Keeper(Checkpoint(path, "distillation", owner, first, logits.dtype), _check.integer("every", every, 1))


@alone
@torch.no_grad()
def _first_logits(model: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = model(own_copy(x[:1].to(_device(model))))
    return found


def _descended(
    state: _State,
    advanced: Callable[[_State], _State],
    steps: int,
    keeper: _Keeper | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, Tensor]:
    """Images and history after all steps; a state is replaced whole, so an interruption leaves one that can go on."""
    try:
        for step in range(len(state.history), steps):
            state = advanced(state)
            if keeper is not None and (step + 1) % keeper.every == 0:
                keeper.save(state)
            if progress is not None:
                progress(step + 1, steps)
    finally:
        if keeper is not None:
            keeper.save(state)
    return state.images, state.history
