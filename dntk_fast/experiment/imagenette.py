"""The paper's experiment: ImageNette, a residual network, and the numbers of its figures beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from dntk_fast import _check
from dntk_fast.bench.race import clock_of
from dntk_fast.experiment import imagenette_stages as own
from dntk_fast.experiment.imagenette_record import record_of
from dntk_fast.files.stages import Stage, StageStore
from dntk_fast.tangent.head import final_linear
from dntk_fast.workflow import stages
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.models import build, parameter_count

__all__ = ["CLASSES", "SIZES", "Passes", "Setting", "estimate", "open_data", "passes", "run"]

#: called with (stage, done, total)
Progress = Callable[[str, int, int], None]
CLASSES = (
    "tench", "springer", "cassette player", "chain saw", "church",
    "French horn", "garbage truck", "gas pump", "golf ball", "parachute",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One size of the experiment; what is the same in all sizes stands in `Config`.

    Attributes
    ----------
    pack, model
        Data set of `data.load`, and key of `MODELS`.
    per_class
        Distilled images per class, one set for each number, each distilled on its own; ascending.
    epochs, distilled_epochs
        Walks through the real images, and through the distilled ones for a network that sees no others.
    distil_steps, k, gradients, draws
        As in `Config`.
    recipe
        How the network on the real images is trained, a key of `RECIPES`.
    """

    pack: str
    model: str
    per_class: tuple[int, ...]
    epochs: int
    distilled_epochs: int
    distil_steps: int
    k: int
    gradients: tuple[int, ...]
    draws: int = 20
    recipe: str = "adam"

    def __post_init__(self) -> None:
        """Refuse what no run can mean; the rest is refused by `Config`."""
        _check.integer("distilled_epochs", self.distilled_epochs, 1)
        _check.choice("recipe", self.recipe, tuple(own.RECIPES))
        if not self.per_class or list(self.per_class) != sorted(set(self.per_class)):
            _check.refuse("per_class", "ascending numbers of images", self.per_class)

    def config(self, data: str, seed: int) -> Config:
        """Give the settings of the pipeline's own stages."""
        shared = {name: getattr(self, name) for name in ("model", "epochs", "distil_steps", "k", "gradients", "draws")}
        return Config(data=data, seed=seed, per_class=self.per_class[-1], **shared)


SIZES: Mapping[str, Setting] = MappingProxyType(
    {
        "tiny": Setting("imagenette32-mini", "conv32", (5, 10, 20), 30, 30, 50, 1024, (2, 5, 10, 20, 50)),
        "cpu": Setting("imagenette32-mini", "resnet18", (10, 20, 50), 60, 60, 200, 4096, (2, 5, 10, 20, 50, 100)),
        "full": Setting(
            "imagenette96",
            "resnet18",
            (1, 5, 10, 50),
            16,
            60,
            200,
            4096,
            (1, 2, 5, 10, 20, 50, 100),
            recipe="one-cycle",
        ),
    }
)


# --- before the work --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passes:
    """What a stage takes: images forward, and backward passes of one kind.

    `kind` is "step" (images of a training step), "update" (images back to their pixels) or "gradient" (image-logit
    pairs).
    """

    stage: str
    forward: int
    backward: int
    kind: str


def passes(setting: Setting, n: int, n_test: int, classes: int) -> list[Passes]:
    """Count the passes of every stage that has any.

    >>> passes(SIZES["tiny"], 1000, 500, 10)[0]
    Passes(stage='network', forward=31500, backward=30000, kind='step')
    """
    C, updates, epochs = classes, setting.distil_steps, setting.distilled_epochs
    found = [
        Passes("network", setting.epochs * n + n + n_test, setting.epochs * n, "step"),
        Passes("last layer", n + n_test, 0, "step"),
        Passes("features, held-out", n_test, n_test * C, "gradient"),
    ]
    for size in setting.per_class:
        made = size * C
        found += [
            Passes(f"distillation, {size} per class", 1 + n + (updates + 1) * made, updates * made, "update"),
            Passes(f"distilled kernel, {size} per class", made, made * C, "gradient"),
            Passes(f"network on {size} per class", (epochs + 1) * made + n_test, epochs * made, "step"),
            Passes(f"kernel of the network on {size} per class", made + n_test, (made + n_test) * C, "gradient"),
        ]
    return [*found, Passes("real kernel", n, n * C, "gradient")]


def estimate(setting: Setting, data: Dataset) -> str:
    """Say before the work what it will cost: passes, counted exactly, and seconds by a few of each kind, timed where
    the data lies.
    """
    counted = passes(setting, len(data.x_train), len(data.x_test), len(data.classes))
    unit = _unit_seconds(_blank(setting, data, 0), data.x_train)
    seconds = [unit["forward"] * row.forward + unit[row.kind] * row.backward for row in counted]
    lines = [
        f"{row.stage:<40}{row.forward:>10,}{row.backward:>10,}{taken:>9.0f}"
        for row, taken in zip(counted, seconds, strict=True)
    ]
    head = f"{'stage':<40}{'forward':>10}{'backward':>10}{'seconds':>9}"
    total = (
        f"minutes of passes, about: {sum(seconds) / 60:.0f} (threads: {torch.get_num_threads()}); linear algebra on top"
    )
    return "\n".join([f"{setting.model} on {data.name}", head, *lines, total])


def _unit_seconds(model: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Seconds of one pass of each kind, the best of two: gradients in batches of 16 images, the others of 64."""
    parameters, many, few = list(model.parameters()), x[:64].clone().requires_grad_(), x[:16]

    def forward() -> None:
        with torch.no_grad():
            model(many)

    def both_ways(inputs: torch.Tensor, leaves: list[torch.Tensor]) -> None:
        torch.autograd.grad(model(inputs).sum(), leaves)

    once = _best(forward, x.device) / len(many)
    kinds: dict[str, tuple[torch.Tensor, list[Any]]] = {
        "step": (many.detach(), parameters),
        "update": (many, [many]),
        "gradient": (few, parameters),
    }
    found = {kind: _best(partial(both_ways, *pair), x.device) / len(pair[0]) for kind, pair in kinds.items()}
    return {"forward": once} | {kind: max(seconds - once, 0.0) for kind, seconds in found.items()}


def _best(work: Callable[[], object], device: torch.device) -> float:
    clock, found = clock_of(device), []
    for _ in range(2):
        start = clock()
        work()
        found.append(clock() - start)
    return min(found)


def _blank(setting: Setting, data: Dataset, seed: int) -> nn.Module:
    """The network with random weights, where the data lies."""
    options = {"outputs": len(data.classes), "channels": data.image_shape[0]}
    return build(setting.model, seed=seed, **options).to(data.x_train.device)


def open_data(setting: Setting, path: str | Path | None = None, device: str = "cpu") -> Dataset:
    """Load the images onto a device, with the names of the ten classes where the pack has only their numbers."""
    _check.choice("device", device, ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",))
    data = load(path or setting.pack)
    numbered = data.classes == tuple(map(str, range(len(CLASSES))))
    arrays = {name: getattr(data, name).to(device) for name in ("x_train", "y_train", "x_test", "y_test")}
    return replace(data, **arrays, classes=CLASSES if numbered else data.classes)


# --- the work ---------------------------------------------------------------------------------------------------------


def run(
    setting: Setting,
    data: Dataset,
    folder: str | Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the experiment, or what an earlier call with the same settings left of it, and give its record.

    Parameters
    ----------
    setting, data
        Of `SIZES`, or another; data from `open_data`: the work is done on the device where they lie.
    folder
        Where finished stages and checkpoints are kept: weights and distilled images too, which start from photographs
        and are not to be published.
    seed
        Every purpose's own seed is spawned from it.
    overwrite
        Replace an experiment with other settings in that folder.
    progress
        Called with (stage, done, total).

    Returns
    -------
    dict
        Numbers alone, fit for JSON.

    Raises
    ------
    ValueError
        A folder of another run, too few images of a class for `per_class`, a k above the number of body parameters.
    """
    config = setting.config(data.name, seed)
    blank = _blank(setting, data, config.seeds["network"])
    _refuse_early(setting, data, blank)
    settings, inputs = asdict(setting) | {"data": data.name, "seed": seed}, {"data": data.fingerprint}
    with StageStore(folder, settings, inputs=inputs, overwrite=overwrite) as store:
        work = _Work(store, progress or (lambda stage, done, total: None), data.x_train.device, {})
        _networks_and_kernels(work, setting, data, config, blank)
        _distilled_rows(work, data, config, f"distilled kernel, {setting.per_class[-1]} per class")
        store.announce("report.json", "report.html")
    return record_of(asdict(setting), data, parameter_count(blank), config, work.done)


@dataclass(frozen=True)
class _Work:
    """The store with its progress bars, and all stages done so far, in their order, their arrays on one device."""

    store: StageStore
    progress: Progress
    device: torch.device
    done: dict[str, Stage]

    def do(self, name: str, step: Callable[..., Stage], *inputs: Any, **options: Any) -> Stage:
        """Do a stage or read it back; `step` that takes `progress` or `checkpoint` is given them by `long`."""
        self.progress(name, 0, 1)
        stage = self.store.run(name, lambda: step(*inputs, **options))
        arrays = {key: value.to(self.device) for key, value in stage.arrays.items()}
        self.done[name] = replace(stage, arrays=arrays)
        self.progress(name, 1, 1)
        return self.done[name]

    def tick(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(name, done, total)

    def long(self, name: str, step: Callable[..., Stage], *inputs: Any, **options: Any) -> Stage:
        """Do a stage that keeps a checkpoint while it goes on."""
        with self.store.checkpoint(name) as file:
            return self.do(name, step, *inputs, **options, progress=self.tick(name), checkpoint=file)


def _networks_and_kernels(work: _Work, setting: Setting, data: Dataset, config: Config, blank: nn.Module) -> None:
    seed = config.seeds["network"]
    images = (data.x_train, data.y_train)
    recipe: dict[str, Any] = {"epochs": setting.epochs, "seed": seed, "recipe": setting.recipe}
    net = work.long("network", own.train_network, blank, *images, data, **recipe)
    model = own.restored(blank, net)
    work.do("last layer", stages.last_layer, model, data, net)
    test = work.do("features, held-out", stages.held_out_features, model, data, config)
    bases = {}
    for size in setting.per_class:
        made = work.long(f"distillation, {size} per class", stages.distil, model, data, size, config)
        name = f"distilled kernel, {size} per class"
        bases[size] = work.do(name, stages.distilled_kernel, model, data, made, test, net, config)
        images = (made.arrays["images"], made.arrays["labels"])
        epochs = setting.distilled_epochs
        alone = work.long(
            f"network on {size} per class", own.train_network, blank, *images, data, epochs=epochs, seed=seed
        )
        name = f"kernel of the network on {size} per class"
        work.do(name, own.own_kernel, own.restored(blank, alone), data, made, alone, config)
    work.do("real kernel", own.real_kernel, model, data, net, test, bases, config)


def _distilled_rows(work: _Work, data: Dataset, config: Config, largest: str) -> None:
    """Everything that needs the rows of the largest distilled set alone."""
    net = work.done["network"]
    rest = ("rank truncation", "local structure", "gradient distillation", "method seconds", "threshold grid")
    base, test = work.done[largest], work.done["features, held-out"]
    if not all(work.store.finished(name) for name in rest):
        base, test = own.coordinates(base, test)
    ranks = _ranks(base.arrays["rows"].shape[1])
    work.do("rank truncation", own.rank_truncation, data, base, test, net, ranks)
    work.do("local structure", own.local_structure, base, config)
    name = "gradient distillation"
    work.do(name, stages.compare_methods, data, base, test, net, config, work.tick(name))
    work.do("method seconds", own.method_seconds, base, (5, config.gradients[-1]), config)
    name = "threshold grid"
    work.do(name, own.threshold_grid, data, base, test, net, config, work.tick(name))


def _ranks(n: int) -> list[int]:
    """1, 2, 5, 10, 20, 31, 41, 50, 100, ... up to n: by decades, and the range that the paper reports."""
    decades = [step * 10**power for power in range(6) for step in (1, 2, 5)]
    return [r for r in sorted({*decades, *own.PAPER_RANKS}) if r <= n]


def _refuse_early(setting: Setting, data: Dataset, blank: nn.Module) -> None:
    counts = torch.bincount(data.y_train, minlength=len(data.classes))
    if int(counts.min()) < setting.per_class[-1]:
        expected = f"at most {int(counts.min())}, the training images of the smallest class"
        _check.refuse("per_class", expected, setting.per_class[-1])
    _, head = final_linear(blank, data.x_train[:2])
    _check.dimension(setting.k, parameter_count(blank) - parameter_count(head))
