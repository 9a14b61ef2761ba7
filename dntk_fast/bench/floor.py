"""Kernels, features and plain gradients in floors, with intervals and errors.

One floor is the time of one forward and C plain backward passes of the same images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dntk_fast import _check
from dntk_fast.bench.race import ROUNDS, Task, circumstances, clock_of, pinned, race, results, threads_of
from dntk_fast.bench.subjects import random_subject
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.result import TangentFeatures
from dntk_fast.workflow.models import parameter_count

__all__ = ["CASES", "Case", "measure", "tables"]


@dataclass(frozen=True)
class Case:
    """The images of a network, the sizes of its features, and how many logits stand for all in the plain baseline.

    `timed` 0 leaves the plain baseline out; `memory` is the exact kernel's budget in bytes.
    """

    shape: tuple[int, int, int]
    n: int
    timed: int
    sizes: tuple[int, ...] = (512, 2048, 4096)
    network: str | None = None
    memory: int = 2**30


LONG = "resnet18_96"  # six minutes on two cores: by its name alone
CASES = {
    "resnet18": Case((3, 32, 32), 16, 1),
    "conv28": Case((1, 28, 28), 256, 10),
    "vit_tiny": Case((3, 32, 32), 16, 1),
    "resnet18_small": Case((3, 32, 32), 16, 1),
    LONG: Case((3, 96, 96), 64, 0, (), "resnet18", 2**31),
}


def measure(
    *,
    only: Sequence[str] = (),
    rounds: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    device: torch.device | str = "cpu",
    cases: Mapping[str, Case] = CASES,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Measure the networks of `cases`; Ctrl-C ends it with the whole rounds done so far and `complete` False.

    Parameters
    ----------
    only : names of networks; all but the long one if empty
    rounds : 21 if None (3 if quick); with fewer than 21 nothing may be stated
    threads : of torch; as many as it has if None
    quick : two images and k = 512, to see that it runs
    device : where network and images are
    cases : what can be named
    progress : called with (network, rounds done, rounds)

    Returns
    -------
    dict
        What JSON can hold: device, threads, versions, date, and the networks with their rows.
    """
    usual = [name for name in cases if name != LONG]
    names = list(dict.fromkeys(_check.choice("only", name, tuple(cases)) for name in only)) or usual
    rounds = _check.integer("rounds", (3 if quick else ROUNDS) if rounds is None else rounds, 1)
    threads = threads_of(threads)
    record = circumstances(device) | {"threads": threads, "rounds": rounds, "quick": quick}
    record |= {"complete": False, "networks": []}
    with pinned(threads):
        try:
            for name in names:
                case = replace(cases[name], n=2, sizes=(512,)) if quick else cases[name]
                _add(record["networks"], name, case, device, rounds, partial(progress, name))
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One table for each network; a method whose work was timed in part and multiplied says of how many logits."""
    head = ("method", "floors", "95 % interval", "", "error", "expected")
    for found in record["networks"]:
        title = "{name}: {n} images, {outputs} logits, {parameters:,} parameters; floor {floor_seconds:.3g} s"
        rows = tuple(_cells(row, found["outputs"]) for row in found["rows"])
        yield Cells(title.format(**found), head, rows, {name: name for name in head})


def _cells(row: Mapping[str, Any], outputs: int) -> tuple[str, ...]:
    part = f", {outputs // row['repeats']} of {outputs} logits" if row["repeats"] > 1 else ""
    errors = ("" if row[key] is None else f"{row[key]:.2g}" for key in ("error", "expected_error"))
    interval = f"{row['low']:.3g} - {row['high']:.3g}"
    return (row["method"] + part, f"{row['ratio']:.3g}", interval, "" if row["stated"] else "not stated", *errors)


def _add(
    networks: list[dict[str, Any]],
    name: str,
    case: Case,
    device: torch.device | str,
    rounds: int,
    progress: Callable[[int, int], object],
) -> None:
    """Measure one network and append what is found; an interruption leaves the rounds that were whole."""
    progress(0, rounds)
    model, images = _subject(name, case)
    model, images = model.to(device), images.to(device)
    tasks, clock = list(_tasks(model, images, case)), clock_of(device)
    race(tasks, 0, clock)  # the warm-up
    laps: list[np.ndarray] = []
    try:
        for number in range(1, rounds + 1):
            laps.append(race(tasks, number, clock))
            progress(number, rounds)
    finally:
        if laps:
            subject = {"name": name, "n": case.n, "shape": list(case.shape), "parameters": parameter_count(model)}
            unit = float(np.median([lap[0, 0] for lap in laps]))
            with torch.no_grad():
                outputs = model(images[:1]).shape[1]
            networks.append(subject | {"outputs": outputs, "floor_seconds": unit, "rows": results(tasks, laps)})


def _subject(name: str, case: Case) -> tuple[nn.Module, Tensor]:
    return random_subject(case.network or name, case.n, case.shape)


def _tasks(model: nn.Module, images: Tensor, case: Case) -> Iterator[Task]:
    """The floor, and what is held against it; every kernel is compared with the one of float64."""
    body = list(feature_plan(model, images, k=1, seed=0).sketch.shapes)
    inner = tangent_kernel(model, images, dtype=torch.float64, parameters=body)
    exact = inner + tangent_kernel(model, images, dtype=torch.float64, parameters=lambda name: name not in body)
    weights, count = list(model.parameters()), len(exact)
    yield Task("floor", partial(_passes, model, images, lambda: weights))
    yield Task("bare limit", _bare_limit(model, images))
    yield Task("exact kernel", lambda _: tangent_kernel(model, images, memory=case.memory), partial(_distance, exact))

    def error(features: TangentFeatures) -> float:
        return _distance(inner, features.body @ features.body.mT)

    for k in case.sizes:
        features = partial(lambda k, seed: tangent_features(model, images, k=k, seed=seed), k)
        yield Task(f"features, k = {k}", features, error, _gaussian_error(inner, k))
    if not case.timed:
        return
    gradients, repeats = partial(_gradients, model, images, range(count - case.timed, count)), count // case.timed
    yield Task("vmap(grad)", gradients, lambda found: _distance(exact[-1], _gram(found)), repeats=repeats)


def _passes(model: nn.Module, images: Tensor, wanted: Callable[[], Sequence[Tensor]], _: int) -> None:
    """One forward and C backward passes to what is wanted: the weights (the floor), or the outputs of layers."""
    logits = model(images).sum(0)
    for c in range(len(logits)):
        torch.autograd.grad(logits[c], wanted(), retain_graph=c + 1 < len(logits))


def _bare_limit(model: nn.Module, images: Tensor) -> Callable[[int], None]:
    """One forward pass and C vector-Jacobian products to the outputs of the layers, and no gradient of a weight."""
    frozen, outputs = copy.deepcopy(model).requires_grad_(False), dict[nn.Module, Tensor]()

    def mark(layer: nn.Module, _: Any, output: Tensor) -> None:
        outputs[layer] = output if output.requires_grad else output.requires_grad_()

    for layer in frozen.modules():
        if not list(layer.children()) and list(layer.parameters()):
            layer.register_forward_hook(mark)
    return partial(_passes, frozen, images, lambda: list(outputs.values()))


def _gradients(model: nn.Module, images: Tensor, classes: range, _: int) -> dict[str, Tensor]:
    """The gradient of every logit at every image, one logit after the other; those of the last are given back."""

    def logit(weights: dict[str, Tensor], image: Tensor, c: int) -> Tensor:
        return functional_call(model, weights, (image[None],))[0, c]

    weights, found = {name: p.detach() for name, p in model.named_parameters()}, dict[str, Tensor]()
    for c in classes:
        found.clear()
        found.update(vmap(grad(logit), in_dims=(None, 0, None))(weights, images, c))
    return found


def _gram(gradients: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([g.flatten(1) @ g.flatten(1).T for g in gradients.values()]).double().sum(0)


def _distance(exact: Tensor, found: Tensor) -> float:
    return float(torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact))


def _gaussian_error(K: Tensor, k: int) -> float:
    """Root mean square error of a dense Gaussian map, sqrt(sum_c ((tr K_c)^2 + |K_c|^2) / k) / |K| in Frobenius norms."""
    traces, square = K.diagonal(dim1=1, dim2=2).sum(1), K.square().sum()
    return float(((traces.square().sum() + square) / (k * square)).sqrt())
