"""Join the steps: a frozen Config in, a frozen Report out; every step done once and kept."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.files.stages import Stage, StageStore
from dntk_fast.kernels.redundancy import truncation_rank_of_spectrum
from dntk_fast.tangent.features import feature_plan
from dntk_fast.tangent.head import final_linear
from dntk_fast.tangent.kernel import kernel_plan
from dntk_fast.workflow import stages
from dntk_fast.workflow.config import Config, default_folder
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.distance import Inputs, distance_to_full, refinement_steps
from dntk_fast.workflow.mind import change_of_mind, pictures_of
from dntk_fast.workflow.models import parameter_count
from dntk_fast.workflow.network import Network, network_of

__all__ = ["Report", "explain", "run"]

REFINEMENT, MIND = "distance to the full kernel", "what would change its mind"
#: called with (stage, done, total)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Report:
    """What a run found.

    Attributes
    ----------
    record
        The content of report.json (`report/schema.json`).
    images, labels
        The distilled images (n, H, W, channels) in [0, 1], and their classes (n,).
    folder
        Where the stages are kept.
    pictures
        The images that the section on changed minds shows (height, width, channels) in [0, 1], by name.
    """

    record: Mapping[str, Any]
    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    folder: Path
    pictures: Mapping[str, np.ndarray] = field(repr=False)


def run(
    config: Config, folder: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None
) -> Report:
    """Train, distil, project, solve and compare; finished stages of the same configuration are reused.

    Parameters
    ----------
    config
        What to run.
    folder
        Where the stages are kept; `default_folder(config)` if None.
    overwrite
        Replace a run with another configuration in that folder instead of refusing it.
    progress
        Called with (stage, done, total) as work proceeds.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        Before any long work: an unknown data set or model, weights that do not fit, a class with fewer images than
        `per_class`, `k` above the number of body parameters, a folder of another run.
    """
    data = load(config.data)
    network = _network(config, data)
    folder = default_folder(config) if folder is None else folder
    inputs = {"data": data.fingerprint, **network.inputs}
    with StageStore(folder, config.settings, inputs=inputs, overwrite=overwrite) as store:
        return _stages(config, network, data, _Runner(store, progress or (lambda stage, done, total: None)))


def _stages(config: Config, start: Network, data: Dataset, runner: _Runner) -> Report:
    store = runner.store

    def do(stage: str, step: Callable[..., Stage], *inputs: Any) -> Stage:
        return runner.run(stage, lambda: step(*inputs))

    training: dict[str, Any] = {
        "epochs": config.epochs,
        "seed": config.seeds["network"],
        "progress": runner.tick("network"),
    }
    network = runner.long("network", lambda file: stages.train_network(start, data, **training, file=file))
    model = stages.network_with_weights(start, network, data)
    kernels = stages.ExactKernels(model, data)
    full = do("full kernel", stages.full_kernel, model, data, network, config, kernels)
    do(MIND, change_of_mind, model, data, network, kernels)
    del kernels  # the largest of all that is held
    do("last layer", stages.last_layer, model, data, network)
    test = do("features, held-out", stages.held_out_features, model, data, config)
    do("drawn images", stages.drawn_kernel, model, data, test, network, config)
    for size in config.sizes:
        images = f"distillation, {size} per class"
        made = runner.long(images, stages.distil, model, data, size, config, runner.tick(images))
        base = do(
            f"distilled kernel, {size} per class", stages.distilled_kernel, model, data, made, test, network, config
        )
    given = Inputs(model, data, full, made, base, test, network, config)
    runner.long(REFINEMENT, distance_to_full, given, runner.tick(REFINEMENT))
    do("local structure", stages.local_structure, base, config)
    tick = runner.tick("gradient distillation")
    do("gradient distillation", stages.compare_methods, data, base, test, network, config, tick)
    record = _record(config, start.name, model, data, runner.done)
    store.announce("report.json", "report.html")
    pictures = data.pixels(made.arrays["images"]).permute(0, 2, 3, 1).numpy()
    seen = pictures_of(data, (record["mind"] or {"images": []})["images"])
    return Report(record, pictures, made.arrays["labels"].numpy(), store.folder, seen)


def explain(config: Config) -> str:
    """Say, before any work, which rule serves which layer in a run's kernels and features, and how much memory they take.

    Parameters
    ----------
    config
        What would be run.

    Returns
    -------
    str
        The plans of the exact kernel on the training images and of the features of the held-out ones, and the steps of the
        refinement.

    Raises
    ------
    ValueError
        As `run`, for what can be refused before the work.
    """
    data = load(config.data)
    network = _network(config, data)
    blank = network.module
    kernel = kernel_plan(blank, data.x_train)
    features = feature_plan(blank, data.x_test, k=config.k, seed=config.seeds["sketch"])
    return (
        f"{network.name} on {data.name}\n\nexact kernel, {len(data.x_train)} training images\n{kernel}\n\n"
        f"features, {len(data.x_test)} held-out images, k = {config.k}\n{features}\n\n"
        f"distance to the full kernel: {min(config.certificate_rows, len(data.x_train))} training images, "
        f"{refinement_steps(blank, data, config)} steps of refinement"
    )


class _Runner:
    """The store with its progress bars, and all stages done so far, in their order."""

    def __init__(self, store: StageStore, progress: Progress) -> None:
        self.store, self.progress = store, progress
        self.done: dict[str, Stage] = {}

    def tick(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(name, done, total)

    def run(self, name: str, work: Callable[[], Stage]) -> Stage:
        self.progress(name, 0, 1)
        self.done[name] = self.store.run(name, work)
        self.progress(name, 1, 1)
        return self.done[name]

    def long(self, name: str, step: Callable[..., Stage], *inputs: Any) -> Stage:
        """A stage that keeps a checkpoint while it goes on."""
        with self.store.checkpoint(name) as file:
            return self.run(name, lambda: step(*inputs, file))


def _network(config: Config, data: Dataset) -> Network:
    """The network to start from; what can be refused before any work is refused here."""
    network = network_of(config.model, data, seed=config.seeds["network"], weights=config.weights)
    counts = torch.bincount(data.y_train, minlength=len(data.classes))
    smallest = int(counts.argmin())
    if int(counts[smallest]) < config.per_class:
        expected = f"at most {int(counts[smallest])}, the training images of class {data.classes[smallest]!r}"
        _check.refuse("per_class", expected, config.per_class)
    _, head = final_linear(network.module, data.x_train[:2])
    _check.dimension(config.k, parameter_count(network.module) - parameter_count(head))
    return network


def _record(config: Config, name: str, model: nn.Module, data: Dataset, done: Mapping[str, Stage]) -> dict[str, Any]:
    full, sizes = done["full kernel"], [done[f"distilled kernel, {size} per class"].numbers for size in config.sizes]
    largest = config.sizes[-1]
    return {
        "schema": 1,
        "config": config.settings | {"gradients": list(config.gradients)},
        "versions": _versions(),
        "threads": torch.get_num_threads(),
        "seeds": config.seeds,
        "fingerprints": {"model": fingerprint(model), "data": data.fingerprint},
        "data": {
            "name": data.name,
            "n_train": len(data.x_train),
            "n_test": len(data.x_test),
            "classes": list(data.classes),
            "shape": list(data.image_shape),
        },
        "network": {"name": name, "parameters": parameter_count(model), **done["network"].numbers},
        **full.numbers,
        "last_layer": done["last layer"].numbers,
        "drawn": done["drawn images"].numbers,
        "distilled": sizes[-1],
        **done[REFINEMENT].numbers,
        **done[MIND].numbers,
        "distilled_sizes": sizes,
        "spectra": _spectra(
            done[f"distilled kernel, {largest} per class"].arrays["spectrum"],
            full.arrays.get("spectrum"),
            config.epsilon,
        ),
        "gap": done["local structure"].numbers,
        "gradient_distillation": done["gradient distillation"].numbers["rows"],
        "stages": [
            {"name": stage}
            | {key: getattr(cost, key) for key in ("seconds", "forward_passes", "backward_passes", "bytes")}
            for stage, cost in done.items()
        ],
        "notes": done[f"distillation, {largest} per class"].numbers["notes"],
    }


def _spectra(distilled: Tensor, real: Tensor | None, epsilon: float) -> dict[str, Any]:
    found: dict[str, Any] = {"epsilon": epsilon}
    for name, values in (("distilled", distilled), ("real", real)):
        ranks = None if values is None else [int(r) for r in truncation_rank_of_spectrum(values, epsilon)]
        found |= {name: None if values is None else values.tolist(), f"{name}_ranks": ranks}
    return found


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("dntk", "torch", "numpy", "scipy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found
