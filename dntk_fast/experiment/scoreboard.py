"""Does distillation pay? Every way to choose images and to solve, at counted passes, on one network and its exact kernel.

The exact body kernel of training and held-out images with all its C x C blocks is formed once; every method takes its part
of it, so that methods differ by images and solves alone. By `theorem_r` the head alone predicts the logits, so an error with
the head proves nothing by itself: it stands beside the last layer on the same images, and the body is scored alone.
One file because every row of the board shares one network, its kernel and its counted passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast.bench.race import circumstances
from dntk_fast.distillation.selection import Cost, choose_rows, choosing_cost
from dntk_fast.distillation.spanning import STEPS, spanning_images
from dntk_fast.files.stages import Stage, StageStore
from dntk_fast.kernels.joint import BlockProblem, captured_energy, random_cotangents
from dntk_fast.kernels.predictors import Fit, KernelProblem, scores
from dntk_fast.tangent.head import final_linear, penultimate
from dntk_fast.tangent.isolation import own_copy
from dntk_fast.tangent.kernel import tangent_kernel_full
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.network import Network, network_of
from dntk_fast.workflow.stages import network_with_weights, train_network

__all__ = ["METHODS", "Method", "Setting", "run"]

# docs/measures.md: certificates and variances are stated at this share of the mean of diag K.
VARIANCE_RIDGE = 1e-3
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Method:
    """Which images, which solve, and how many gradients of each image (None: those of all logits)."""

    images: str
    solve: str
    cotangents: int | None = None

    def count(self, per_class: int, classes: int, n: int) -> int:
        """Images kept: with one cotangent as many as the others keep gradients, at most all."""
        return min(n, per_class * classes * (1 if self.cotangents is None else classes // self.cotangents))


METHODS: Mapping[str, Method] = {
    "random, per class": Method("random", "per class"),
    "pool, per class": Method("pool", "per class"),
    "random, joint": Method("random", "joint"),
    "stratified, joint": Method("stratified", "joint"),
    "medoids, joint": Method("medoids", "joint"),
    "pool, joint": Method("pool", "joint"),
    "one cotangent, joint": Method("random", "joint", 1),
    "wmdd, per class": Method("wmdd", "per class"),
    "wmdd, joint": Method("wmdd", "joint"),
    "tuned, per class": Method("tuned", "per class"),
    "tuned, joint": Method("tuned", "joint"),
}


@dataclass(frozen=True)
class Setting:
    """What is compared: a data set, images per class, methods by name, seeds of the choice, and the network's training."""

    data: str = "digits"
    per_class: tuple[int, ...] = (1, 2, 5, 10, 20)
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 5
    seed: int = 0
    epochs: int = Config.epochs
    steps: tuple[tuple[str, int], ...] = tuple(STEPS.items())
    model: str = "auto"
    weights: str | None = None
    images: int | None = None  # the first training images, and as many held-out ones; None means all


def run(
    setting: Setting, folder: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare what is not compared yet in the folder, and return all numbers.

    Returns
    -------
    dict
        `network`, `full`: what the kernel machines on all images reach; `bounds`: energies by PCA; `cells`: a row for each
        method, size and seed; `rows`: means and standard deviations over the seeds with the ratios to random images per
        class.

    Raises
    ------
    ValueError
        As `load` and `network_of`; an unknown method; a folder of another comparison.
    """
    unknown = sorted(set(setting.methods) - METHODS.keys())
    if unknown:
        raise ValueError(f"methods: expected some of {', '.join(METHODS)}, got {unknown[0]!r}")
    tick = progress or (lambda stage, done, total: None)
    data = _some(load(setting.data), setting.images)
    seeds = Config(seed=setting.seed).seeds
    start = network_of(setting.model, data, seed=seeds["network"], weights=setting.weights)
    inputs, kept = (
        {"data": data.fingerprint, **start.inputs},
        {k: v for k, v in asdict(setting).items() if v is not None},
    )
    with StageStore(folder, kept, inputs=inputs, overwrite=overwrite) as store:
        return _compared(setting, data, start, seeds, store, tick)


def _compared(
    setting: Setting, data: Dataset, start: Network, seeds: Mapping[str, int], store: StageStore, tick: Progress
) -> dict[str, Any]:
    model, trained = _network(store, data, setting, start, seeds["network"], tick)
    plan = [(name, m, s) for m in setting.per_class for name in setting.methods for s in range(setting.seeds)]
    plan = [cell for cell in plan if _fits(data, *cell[:2])]
    board: list[_Board] = []

    def scoreboard() -> _Board:
        if not board:  # minutes and gigabytes: not where all is finished
            board.append(_Board.of(model, data))
        return board[0]

    full = store.run("full kernel", lambda: Stage({}, scoreboard().full())).numbers
    sizes = sorted({(m * len(data.classes), m) for m in setting.per_class})
    bounds = store.run("bounds", lambda: Stage({}, scoreboard().bounds(sizes))).numbers
    cells = []
    for done, (name, m, s) in enumerate(plan):
        tick(name, done, len(plan))
        seed = int(np.random.SeedSequence([seeds["sampler"], m, s]).generate_state(1)[0])
        work = _cell(scoreboard, METHODS[name], m, seed, setting)
        found = store.run(f"{name}, {m} per class, seed {s}", work)
        cells.append({"method": name, "per_class": m, "seed": s, "seconds": found.seconds, **found.numbers})
    return {
        "complete": True,
        "setting": asdict(setting) | {"data": data.name},
        "circumstances": circumstances(),
        "network": trained,
        "full": full,
        "bounds": bounds["bounds"],
        "rows": _rows(cells, bounds["bounds"]),
        "cells": cells,
    }


def _some(data: Dataset, images: int | None) -> Dataset:
    if images is None:
        return data
    parts = (data.x_train[:images], data.y_train[:images], data.x_test[:images], data.y_test[:images])
    return Dataset(data.name, *parts, data.classes, data.mean, data.std)


def _network(
    store: StageStore, data: Dataset, setting: Setting, start: Network, seed: int, tick: Progress
) -> tuple[nn.Module, dict[str, Any]]:
    with store.checkpoint("network") as file:
        training: dict[str, Any] = {
            "epochs": setting.epochs,
            "seed": seed,
            "progress": partial(tick, "network"),
            "file": file,
        }
        stage = store.run("network", lambda: train_network(start, data, **training))
    sizes = {"n_train": len(data.x_train), "n_test": len(data.x_test), "classes": len(data.classes)}
    told = {"data": data.name, "name": start.name, "accuracy": stage.numbers["accuracy"]}
    return network_with_weights(start, stage, data), told | sizes


def _fits(data: Dataset, name: str, m: int) -> bool:
    return METHODS[name].images == "random" or m <= int(torch.bincount(data.y_train).min())


def _cell(board: Callable[[], _Board], method: Method, m: int, seed: int, setting: Setting) -> Callable[[], Stage]:
    def work() -> Stage:
        part, cost = board().kept(method, m, seed, setting)
        numbers = part.per_class() if method.solve == "per class" else part.joint(method.cotangents, seed)
        passes = {"share": cost.share, "choosing": cost.choosing, "kept": cost.kept}
        return Stage({}, numbers | passes, cost.choosing_forward, cost.choosing_backward)

    return work


# --- kernels ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Board:
    """The exact kernels of all images: training first, then held-out."""

    model: nn.Module
    data: Dataset
    body: Tensor  # (N, C, N, C)
    hidden: Tensor  # (N, d + 1), the gradients in the head
    logits: Tensor  # (N, C)

    @classmethod
    def of(cls, model: nn.Module, data: Dataset) -> _Board:
        x = torch.cat([data.x_train, data.x_test])
        with torch.no_grad():
            logits = torch.cat([model(own_copy(part)) for part in x.split(256)]).double()
        body = tangent_kernel_full(model, x, parameters=_body(model, x))
        return cls(model, data, body, _hidden(model, x), logits)

    @property
    def n(self) -> int:
        """Training images."""
        return len(self.data.x_train)

    @property
    def labels(self) -> Tensor:
        """One-hot minus 1/C of all images, (N, C)."""
        y = torch.cat([self.data.y_train, self.data.y_test])
        C = self.logits.shape[1]
        return nn.functional.one_hot(y, C).double() - 1 / C

    @cached_property
    def variance_ridge(self) -> float:
        """The ridge at which predictive variances are compared."""
        n, squares = self.n, self.hidden.square().sum(1)
        diagonal = torch.einsum("icic->ic", self.body[:n, :, :n]) + squares[:n, None]
        return VARIANCE_RIDGE * float(diagonal.mean())

    @cached_property
    def full_variance(self) -> float:
        """Mean predictive variance of held-out logits by the class kernels on all training images."""
        return self.part(torch.arange(self.n)).variance_per_class()

    def part(self, rows: Tensor) -> _Part:
        """Kernels of some training images."""
        n = self.n
        return _Part(
            self,
            lambda c, d: self.body[:, c, :, d][rows][:, rows],
            lambda c, d: self.body[n:, c, :, d][:, rows],
            self.hidden[rows],
            self.logits[rows],
            self.labels[rows],
        )

    def made(self, images: Tensor, labels: Tensor) -> _Part:
        """Kernels of images that are not in the data."""
        body = _body(self.model, images)
        own = tangent_kernel_full(self.model, images, parameters=body)
        cross = tangent_kernel_full(self.model, self.data.x_test, images, parameters=body)
        with torch.no_grad():
            logits = self.model(images).double()
        C = logits.shape[1]
        one_hot = nn.functional.one_hot(labels, C).double() - 1 / C
        blocks = (lambda c, d: own[:, c, :, d]), (lambda c, d: cross[:, c, :, d])
        return _Part(self, *blocks, _hidden(self.model, images), logits, one_hot)

    def kept(self, method: Method, m: int, seed: int, setting: Setting) -> tuple[_Part, Cost]:
        """The images of a method, and what they cost."""
        data, C = self.data, self.logits.shape[1]
        count = method.count(m, C, self.n)
        if method.images in STEPS:
            made = spanning_images(
                self.model, data.x_train, data.y_train, images=method.images, per_class=m, outputs=C, seed=seed,
                steps=dict(setting.steps)[method.images],
            )  # fmt: skip
            return self.made(made.images, made.labels), made.cost
        rows = choose_rows(
            self.model, data.x_train, data.y_train, images=method.images, count=count, classes=C, seed=seed
        )
        return self.part(rows), choosing_cost(method.images, self.n, count, C, method.cotangents)

    def full(self) -> dict[str, Any]:
        """The class kernels and the last layer on all training images."""
        return self.part(torch.arange(self.n)).per_class(energy=False)

    def bounds(self, sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Held-out energies that no span of as many gradients exceeds: for all logits together, and for each."""
        n, C = self.n, self.logits.shape[1]
        held = self.body[n:, :, n:]
        spectra = torch.stack([torch.linalg.eigvalsh(held[:, c, :, c]).flip(0) for c in range(C)])
        pooled = torch.linalg.eigvalsh(held.reshape(len(held) * C, -1)).flip(0).clamp(min=0)
        return {
            "bounds": [
                {
                    "per_class": m,
                    "pooled": float(pooled[: count * C].sum() / pooled.sum()),
                    "each": float(spectra[:, :count].sum() / spectra.sum()),
                }
                for count, m in sizes
            ]
        }


def _body(model: nn.Module, x: Tensor) -> Callable[[str], bool]:
    head, _ = final_linear(model, x[:1])
    return lambda name: not name.startswith(f"{head}.")


@torch.no_grad()
def _hidden(model: nn.Module, x: Tensor) -> Tensor:
    h = penultimate(model, x).double()
    return torch.cat([h, h.new_ones(len(h), 1)], 1)


@dataclass(frozen=True, eq=False)
class _Part:
    """Body kernels of n images (n, n) and of held-out ones with them (t, n), by pairs of logits; their heads and targets."""

    board: _Board
    own: Callable[[int, int], Tensor]
    cross: Callable[[int, int], Tensor]
    hidden: Tensor
    logits: Tensor
    labels: Tensor

    @property
    def classes(self) -> range:
        """0 ... C - 1."""
        return range(self.logits.shape[1])

    @property
    def held(self) -> slice:
        """Held-out images among all."""
        return slice(self.board.n, None)

    def per_class(self, *, energy: bool = True) -> dict[str, Any]:
        """Each logit in the span of its own gradients."""
        heads, held = self.hidden @ self.hidden.T, self.board.hidden[self.held] @ self.hidden.T
        K, K_X = (torch.stack([pair(c, c) for c in self.classes]) for pair in (self.own, self.cross))
        body, both = KernelProblem(K, K_X), KernelProblem(K + heads, K_X + held)
        last = KernelProblem(heads[None], held[None])
        found = self._errors(body.fit(self.logits.T), both.fit(self.logits.T), both.fit(self.labels.T))
        found |= self._last_layer(last) | {"variance": self.variance_per_class() / self._full_variance(energy)}
        return found | ({"energy": self._energy_per_class(body)} if energy else {})

    def joint(self, cotangents: int | None, seed: int) -> dict[str, Any]:
        """All logits in the span of all gradients, or of one mixture for each image."""
        mixture = None if cotangents is None else random_cotangents(len(self.logits), len(self.classes), seed=seed)
        K, K_X = self._blocks(mixture)
        H, H_X = self._head_blocks(mixture)
        body = BlockProblem(K)
        held = self.board.body[self.held, :, self.held]
        found = {"energy": captured_energy(K_X, body, float(torch.einsum("icic->", held)))}
        both = BlockProblem(K + H)
        y, labels = self._targets(mixture)
        fits = [(body, K_X, y), (both, K_X + H_X, y), (both, K_X + H_X, labels)]
        found |= self._errors(*(_joint_fit(*each) for each in fits))
        heads, last = self.hidden @ self.hidden.T, self.board.hidden[self.held] @ self.hidden.T
        variance = self._variance((K + H).flatten(2).flatten(0, 1), (K_X + H_X).flatten(2).flatten(0, 1))
        found |= self._last_layer(KernelProblem(heads[None], last[None]))
        return found | {"variance": variance / self.board.full_variance}

    # --- the parts of the joint kernel

    def _blocks(self, mixture: Tensor | None) -> tuple[Tensor, Tensor]:
        """K_SS (n, q, n, q) and K_XS (t, C, n, q) of the body."""
        if mixture is None:
            K, K_X = (
                torch.stack([torch.stack([pair(c, d) for d in self.classes], -1) for c in self.classes], 1)
                for pair in (self.own, self.cross)
            )
            return K, K_X
        pairs = [(c, d) for c in self.classes for d in self.classes]
        K = sum((mixture[:, c, None] * self.own(c, d) * mixture[:, d] for c, d in pairs[1:]), 0 * self.own(0, 0))
        K = K + mixture[:, 0, None] * self.own(0, 0) * mixture[:, 0]
        mixed = [torch.stack([self.cross(c, d) * mixture[:, d] for d in self.classes]).sum(0) for c in self.classes]
        K_X = torch.stack(mixed, 1)
        return K[:, None, :, None], K_X[..., None]

    def _head_blocks(self, mixture: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same of the head: logits meet only themselves there."""
        H, H_X = self.hidden @ self.hidden.T, self.board.hidden[self.held] @ self.hidden.T
        if mixture is None:
            one = torch.eye(len(self.classes), dtype=H.dtype)
            return torch.einsum("ij,cd->icjd", H, one), torch.einsum("ij,cd->icjd", H_X, one)
        mixed = H * (mixture @ mixture.T)
        return mixed[:, None, :, None], torch.einsum("ij,jc->icj", H_X, mixture)[..., None]

    def _targets(self, mixture: Tensor | None) -> tuple[Tensor, Tensor]:
        if mixture is None:
            return self.logits.T, self.labels.T
        return (self.logits * mixture).sum(1)[None], (self.labels * mixture).sum(1)[None]

    # --- scores

    def _errors(self, body: Fit, both: Fit, labels: Fit) -> dict[str, Any]:
        logits, y = self.board.logits[self.held].T, self.board.data.y_test
        alone, joined = scores(body.predictions, logits, y), scores(both.predictions, logits, y)
        by_labels = scores(labels.predictions, self.board.labels[self.held].T, y)
        return {
            "body_error": alone.mse_relative,
            "body_fidelity": alone.fidelity,
            "error": joined.mse_relative,
            "fidelity": joined.fidelity,
            "label_error": by_labels.mse_relative,
            "label_accuracy": by_labels.accuracy,
            "lam_relative": both.lam_relative,
            "body_lam_relative": body.lam_relative,
            "on_edge": both.on_edge,
        }

    def _last_layer(self, problem: KernelProblem) -> dict[str, Any]:
        """Ridge regression on the input of the last layer alone, for the same images."""
        wide = KernelProblem(*(K.expand(len(self.classes), -1, -1) for K in (problem.kernel, problem.cross)))
        logits, y = self.board.logits[self.held].T, self.board.data.y_test
        by_logits, by_labels = wide.fit(self.logits.T), wide.fit(self.labels.T)
        return {
            "last_layer_error": scores(by_logits.predictions, logits, y).mse_relative,
            "last_layer_label_error": scores(by_labels.predictions, self.board.labels[self.held].T, y).mse_relative,
            "last_layer_label_accuracy": scores(by_labels.predictions, logits, y).accuracy,
        }

    def _energy_per_class(self, body: KernelProblem) -> float:
        held = self.board.body[self.held, :, self.held]
        inside = 0.0
        for c in self.classes:
            alone = BlockProblem(body.kernel[c][:, None, :, None])
            inside += captured_energy(body.cross[c][:, None, :, None], alone, 1.0)
        return inside / float(torch.einsum("icic->", held))

    def variance_per_class(self) -> float:
        """Mean variance of the held-out logits by the class kernels, body and head."""
        heads, held = self.hidden @ self.hidden.T, self.board.hidden[self.held] @ self.hidden.T
        each = [self._variance(self.own(c, c) + heads, self.cross(c, c) + held, c) for c in self.classes]
        return float(np.mean(each))

    def _full_variance(self, part: bool) -> float:
        return self.board.full_variance if part else self.variance_per_class()

    def _variance(self, K: Tensor, K_X: Tensor, c: int | None = None) -> float:
        """Mean of k(x, x) - k_x^T (K + lam I)^-1 k_x over held-out images, of one logit or of all."""
        held = self.board.body[self.held, :, self.held]
        prior = torch.einsum("icic->ic", held) + self.board.hidden[self.held].square().sum(1)[:, None]
        prior = prior.flatten() if c is None else prior[:, c]
        ridged = K + self.board.variance_ridge * torch.eye(len(K), dtype=K.dtype)
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(ridged), K_X.T, upper=False)
        return float((prior - white.square().sum(0)).mean())


def _joint_fit(problem: BlockProblem, cross: Tensor, targets: Tensor) -> Fit:
    """The joint solve as a fit of held-out predictions (C, t)."""
    fit = problem.fit(targets)
    predictions = torch.einsum("tcnq,qn->ct", cross, fit.coefficients)
    return Fit(predictions, fit.coefficients, fit.lam, fit.lam_relative, fit.on_edge, fit.effective_dimension, fit.n)


# --- means over seeds -------------------------------------------------------------------------------------------------

SCORES = (
    "energy", "body_error", "error", "fidelity", "label_error", "label_accuracy", "last_layer_error", "variance",
    "last_layer_label_accuracy", "share", "choosing", "kept", "seconds",
)  # fmt: skip
BASE = "random, per class"


def _rows(cells: Sequence[Mapping[str, Any]], bounds: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of every score, and ratios of means to random images per class at the same size."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["method"], cell["per_class"]), []).append(cell)
    limit = {bound["per_class"]: bound for bound in bounds}
    rows = []
    for (method, m), group in groups.items():
        row: dict[str, Any] = {"method": method, "per_class": m, "seeds": len(group)}
        for key in SCORES:
            values = [cell[key] for cell in group]
            row |= {key: float(np.mean(values)), f"{key}_sd": float(np.std(values))}
        rows.append(row)
    base = {row["per_class"]: row for row in rows if row["method"] == BASE}
    for row in rows:
        if row["per_class"] in base:
            own, each = base[row["per_class"]], limit[row["per_class"]]["each"]
            row |= {f"{key}_ratio": row[key] / own[key] for key in ("body_error", "error")}
            row["gap_closed"] = (row["energy"] - own["energy"]) / (each - own["energy"])
    return rows
