"""Explain a network's answers: the training images that hold them up, what it would say without, and suspicious labels.

What is predicted is held against the truth for a few images: networks trained for real, with all training images and without
those that were taken away, each pair from the same weights in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.analysis.attribution import Retraining
from dntk_fast.analysis.mind import minds
from dntk_fast.analysis.uncertainty import Uncertainty
from dntk_fast.files.stages import Stage, StageStore, config_hash
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.mind import MOST, SHOWN, Looked, entry, least_sure, pictures_of
from dntk_fast.workflow.models import parameter_count
from dntk_fast.workflow.network import Network, check_name, network_of
from dntk_fast.workflow.stages import network_with_weights, train_network
from dntk_fast.workflow.training import train

__all__ = ["Explanation", "Question", "default_folder", "explain_images", "forecast"]

# Images that are looked at where none are named.
LEAST_SURE = 3
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Question:
    """What is to be explained.

    Attributes
    ----------
    data, model, weights, seed, epochs
        As in `Config`.
    images
        Numbers of held-out images; none: those that the network is least sure of.
    k
        Coordinates of projected gradients; None: exact kernels where they fit.
    shown, suspicious
        Training images for and against each answer, and suspicious labels, that are shown.
    retrained, retrainings
        Images for which the prediction is held against networks that are trained, and how many networks each time, from
        weights of their own.
    """

    data: str = "digits"
    model: str = "auto"
    weights: str | None = None
    images: tuple[int, ...] = ()
    seed: int = 0
    epochs: int = Config.epochs
    k: int | None = None
    shown: int = SHOWN
    suspicious: int = 24
    retrained: int = 2
    retrainings: int = 2

    def __post_init__(self) -> None:
        """Refuse what can mean nothing."""
        check_name(self.model)
        for name in ("epochs", "shown", "suspicious", "retrainings"):
            _check.integer(name, getattr(self, name), 1)
        _check.integer("retrained", self.retrained, 0)
        _check.seed(self.seed)
        for image in self.images:
            _check.integer("images", image, 0)
        if len(set(self.images)) < len(self.images):
            _check.refuse("images", "distinct held-out images", self.images)
        if self.k is not None:
            _check.integer("k", self.k, 1)

    @property
    def settings(self) -> dict[str, Any]:
        """All of it as JSON takes it, but for what is not given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Explanation:
    """What was found: a record for JSON, the pictures it speaks of, and where the stages are kept."""

    record: Mapping[str, Any]
    pictures: Mapping[str, np.ndarray] = field(repr=False)
    folder: Path


def default_folder(question: Question) -> Path:
    """Return runs/explain-<data>-<hash of the question>.

    >>> default_folder(Question()).name.startswith("explain-digits-")
    True
    """
    name = Path(question.data).name.removesuffix(".npz") or "data"
    return Path("runs") / f"explain-{name}-{config_hash(question.settings)}"


def forecast(question: Question) -> str:
    """Say, before any long work, how the kernel is had and how many trainings there will be."""
    data, start = _opened(question)
    kernel = Retraining(start.module, k=question.k).forecast(data.x_train)
    count = min(question.retrained, len(question.images) or LEAST_SURE)
    sets = (1 + count) * question.retrainings if count else 0
    trainings = (0 if start.trained else 1) + sets
    each = f" of {question.epochs} epochs on {len(data.x_train):,} images" if trainings else ""
    held = f", {sets} of them to hold {count} predictions against" if sets else ""
    return f"{start.name} on {data.name}: {kernel}\n{trainings} training(s){each}{held}"


def explain_images(
    question: Question, folder: str | Path | None = None, *, overwrite: bool = False, progress: Progress | None = None
) -> Explanation:
    """Train the network unless its weights are given, ask its kernel, retrain; finished stages are reused.

    Raises
    ------
    ValueError
        Before any long work: unknown data, no network for them, images that are not held out, a folder of another question.
    """
    data, start = _opened(question)
    tick = progress or (lambda stage, done, total: None)
    inputs = {"data": data.fingerprint, **start.inputs}
    place = default_folder(question) if folder is None else folder
    with StageStore(place, question.settings, inputs=inputs, overwrite=overwrite) as store:
        training: dict[str, Any] = {"epochs": question.epochs, "seed": Config(seed=question.seed).seeds["network"]}
        with store.checkpoint("network") as file:
            work = partial(train_network, start, data, **training, progress=partial(tick, "network"), file=file)
            network = store.run("network", work)
        model = network_with_weights(start, network, data)
        tick("kernel and answers", 0, 1)
        found = store.run("kernel and answers", lambda: _answers(question, model, data, network))
        tick("kernel and answers", 1, 1)
        entries = _with_truth(question, data, found, store, tick)
        record = _record(question, start.name, model, data, network, found, entries)
        store.announce("explain.json", "explain.html")
        wanted = [one["row"] for one in record["suspicious"]]
        return Explanation(record, pictures_of(data, entries, wanted), store.folder)


def _opened(question: Question) -> tuple[Dataset, Network]:
    data = load(question.data)
    strange = [image for image in question.images if image >= len(data.x_test)]
    if strange:
        _check.refuse("images", f"numbers of held-out images, 0 to {len(data.x_test) - 1}", strange[0])
    seed = Config(seed=question.seed).seeds["network"]
    return data, network_of(question.model, data, seed=seed, weights=question.weights)


def _answers(question: Question, model: nn.Module, data: Dataset, network: Stage) -> Stage:
    """Everything that the kernel says: entries without truth, sets that are taken away, suspicious labels."""
    seed = Config(seed=question.seed).seeds["sketch"]
    machine = Retraining(model, k=question.k, seed=seed).fit(data.x_train, data.y_train)
    sure = Uncertainty.beside(machine)
    probabilities = network.arrays["logits.test"].double().softmax(0)
    rows = torch.tensor(question.images) if question.images else least_sure(probabilities, LEAST_SURE)
    new, answers = data.x_test[rows], probabilities[:, rows].argmax(0)
    most = min(MOST, len(data.y_train) // 4)
    found = minds(machine.ask(new), answers, most=most, sizes=(question.shown,))
    scores = {name: torch.as_tensor(getattr(sure, name)(new)) for name in ("shift_score", "rarity", "probabilities")}
    entries, sets = [], {}
    for place, mind in enumerate(found):
        row, p = int(rows[place]), float(probabilities[mind.answer, rows[place]])
        variance, share = (float(scores[name][place]) for name in ("shift_score", "rarity"))
        looked = Looked(row, int(data.y_test[row]), p, variance, share)
        one = entry(mind, looked, data.y_train, question.shown)
        sets[f"set {place}"] = mind.order[: one["removals"][-1]["removed"]]
        one["averaged"] = float(scores["probabilities"][place, mind.answer])
        entries.append(one)
    numbers: dict[str, Any] = {"entries": entries, "lam_relative": machine.lam_relative_, "way": str(machine.forecast_)}
    return Stage(sets, numbers | {"suspicious": _suspicious(question, machine, data)})


def _suspicious(question: Question, machine: Retraining, data: Dataset) -> list[dict[str, Any]]:
    worst, said = machine.suspicious_labels(), machine.leave_one_out().argmax(1)
    rows = worst.rows[: question.suspicious].tolist()
    return [
        {"row": row, "label": int(data.y_train[row]), "says": int(said[row]), "margin": float(margin)}
        for row, margin in zip(rows, worst.margins.tolist(), strict=False)
    ]


def _with_truth(
    question: Question, data: Dataset, found: Stage, store: StageStore, tick: Progress
) -> list[dict[str, Any]]:
    """The entries, for the first of them what networks say that were trained with all images, and without the last set."""
    entries = [one | {"removals": [dict(part) for part in one["removals"]]} for one in found.numbers["entries"]]
    chosen = entries[: question.retrained]
    if not chosen:
        return entries
    asked = data.x_test[[one["image"] for one in entries]]
    sets = [torch.tensor([], dtype=torch.int64), *(found.arrays[f"set {i}"] for i in range(len(chosen)))]
    jobs = [(place, rows, r) for place, rows in enumerate(sets) for r in range(question.retrainings)]
    said: dict[int, list[Tensor]] = {}
    for number, (place, rows, r) in enumerate(jobs):
        tick("networks trained without", number, len(jobs))
        name = f"trained without {place}, {r}"
        with store.checkpoint(name) as file:
            stage = store.run(name, partial(_retrained, question, data, rows, r, asked, file))
        said.setdefault(place, []).append(stage.arrays["probabilities"])
    tick("networks trained without", len(jobs), len(jobs))
    for place, one in enumerate(chosen):
        for part, source in ((one["removals"][0], 0), (one["removals"][-1], place + 1)):
            own = [p[place] for p in said[source]]
            probabilities = [float(p[one["answer"]]) for p in own]
            part["retrained"] = {"says": [int(p.argmax()) for p in own], "probabilities": probabilities}
    return entries


def _retrained(question: Question, data: Dataset, rows: Tensor, number: int, asked: Tensor, file: Path) -> Stage:
    """Train without the rows; the same number starts from the same weights, whatever the rows."""
    start, order = (int(s) for s in np.random.SeedSequence([question.seed, number]).generate_state(2))
    kept = torch.ones(len(data.x_train), dtype=torch.bool)
    kept[rows] = False
    blank = network_of(question.model, data, seed=start).module
    x, y = data.x_train[kept], data.y_train[kept]
    done = train(blank, x, y, epochs=question.epochs, seed=order, checkpoint=file)
    with torch.no_grad():
        probabilities = done.model(asked).double().softmax(1)
    return Stage({"probabilities": probabilities}, {}, done.forward_passes, done.backward_passes)


def _record(
    question: Question, name: str, model: nn.Module, data: Dataset, network: Stage, found: Stage, entries: list[Any]
) -> dict[str, Any]:
    """What JSON keeps."""
    sizes = {"n_train": len(data.x_train), "n_test": len(data.x_test), "classes": list(data.classes)}
    given = question.weights is not None
    return {
        "question": question.settings | {"images": list(question.images)},
        "data": {"name": data.name, **sizes},
        "network": {"name": name, "parameters": parameter_count(model), "weights_given": given, **network.numbers},
        "way": found.numbers["way"],
        "lam_relative": found.numbers["lam_relative"],
        "images": entries,
        "suspicious": found.numbers["suspicious"],
    }
