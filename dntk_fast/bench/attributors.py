"""Ways to predict a retraining: tangent kernels, and what they are held against. Each gives margins for subsets (S, t)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast.analysis.asked import margin
from dntk_fast.analysis.attribution import trak_scores
from dntk_fast.analysis.machines import dual_machine
from dntk_fast.analysis.pull import pull_ridge
from dntk_fast.analysis.sources import MEMORY, Features, Kernels, source_of
from dntk_fast.kernels.ridge import leave_one_out_path
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.head import penultimate

__all__ = [
    "GRID",
    "RULES",
    "Block",
    "Question",
    "additive",
    "cosine_margins",
    "margin_features",
    "pixel_votes",
    "ridge_rules",
    "trak_margins",
]

# Ridges over the mean diagonal among which the best is looked up, for context.
GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 3.0, 10.0)
RULES = ("total pull", "half the mean diagonal", "leave-one-out on labels", "marginal likelihood")


@dataclass(frozen=True, eq=False)
class Question:
    """Training images and labels, new ones and theirs, and the kept halves (S, n)."""

    x: Tensor
    y: Tensor
    new: Tensor
    y_new: Tensor
    subsets: np.ndarray
    classes: int

    @cached_property
    def removed(self) -> list[Tensor]:
        """The rows that each subset lacks."""
        return [torch.from_numpy(np.flatnonzero(~kept)) for kept in self.subsets]

    @cached_property
    def targets(self) -> Tensor:
        """One-hot minus 1/C, (C, n)."""
        return nn.functional.one_hot(self.y, self.classes).T.double() - 1 / self.classes


@dataclass(frozen=True, eq=False)
class Block:
    """A kernel (C, n, n) with mean diagonal one, and its blocks against the new images (C, t, n)."""

    kernel: Tensor
    cross: Tensor

    @classmethod
    def tangent(cls, network: nn.Module, question: Question, k: int | None = None, seed: int = 0) -> Block:
        """The tangent kernel of one network, exact or of k projected coordinates."""
        source = source_of([network], question.x, k, seed, None, MEMORY)
        source.prepare(question.targets, None)
        if isinstance(source, Kernels):
            return cls(source.kernel, source.new(question.new))
        assert isinstance(source, Features)
        features, new = source.rows(None).double(), source.new(question.new).double()
        return cls(features @ features.mT, new @ features.mT)

    @classmethod
    def last_layer(cls, network: nn.Module, question: Question) -> Block:
        """The kernel <h, h'> + 1 of the last layer, the same for every class."""
        with torch.no_grad():
            h, new = (penultimate(network, x).double() for x in (question.x, question.new))
        K, k = h @ h.T + 1, new @ h.T + 1
        scale = K.diagonal().mean()
        one = (question.classes, 1, 1)
        return cls((K / scale).repeat(one), (k / scale).repeat(one))

    @classmethod
    def added(cls, blocks: list[Block]) -> Block:
        """Several kernels together, their mean diagonal one again."""
        n = len(blocks)
        return cls(sum(b.kernel for b in blocks) / n, sum(b.cross for b in blocks) / n)  # type: ignore[arg-type]

    def margins(self, question: Question, ridge: float) -> np.ndarray:
        """What the machine predicts for every subset, (S, t)."""
        machine = dual_machine(self.kernel, question.targets, ridge)
        found = machine.without(self.cross, question.removed)
        return np.stack([margin(part, question.y_new).numpy() for part in found])

    def auto(self, question: Question, loss: float, seed: int) -> float:
        """The ridge of the rule: the total pull on a random half of the rows."""
        n = len(question.y)
        half = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: n // 2].sort().values
        block = self.kernel[:, half[:, None], half]
        return pull_ridge(lambda a: (block @ a[..., None])[..., 0], question.y[half], question.classes, loss=loss)


def ridge_rules(block: Block, question: Question, loss: float, seed: int) -> dict[str, float]:
    """Return the ridge that each of `RULES` chooses, over the mean diagonal; the last two from `GRID`."""
    residuals = leave_one_out_path(block.kernel, question.targets, list(GRID)).square().mean((1, 2))
    values, vectors = torch.linalg.eigh(block.kernel)
    inside, n = (vectors.mT @ question.targets[..., None])[..., 0].square(), question.targets.shape[1]

    def evidence(ridge: float) -> float:
        """The log likelihood of all classes at their best amplitudes, up to a constant."""
        shifted = values.clamp(min=0) + ridge
        return float(-(n * (inside / shifted).mean(1).log() + shifted.log().sum(1)).sum() / 2)

    chosen = (
        block.auto(question, loss, seed),
        0.5,
        GRID[int(residuals.argmin())],
        max(GRID, key=evidence),
    )
    return dict(zip(RULES, chosen, strict=True))


def margin_features(network: nn.Module, question: Question, k: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Projected gradients of log p / (1 - p) of the labelled class, (n, k) and (t, k), and the pulls 1 - p (n,)."""

    def odds(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        logits, labels = model(batch[0]), batch[1]
        own = nn.functional.one_hot(labels, logits.shape[1]).bool()
        return (logits[own] - logits.masked_fill(own, -torch.inf).logsumexp(1))[:, None]

    pairs = ((question.x, question.y), (question.new, question.y_new))
    train, new = (
        tangent_features(network, pair, k=k, seed=seed, projection="sjlt", keep_head=False, outputs=odds)
        .body[0]
        .double()
        for pair in pairs
    )
    with torch.no_grad():
        pulls = (-odds(network, pairs[0])[:, 0].double()).sigmoid()
    return train, new, pulls


def additive(scores: Tensor, question: Question) -> np.ndarray:
    """Margins (S, t) of scores (t, n) that are added over the rows that are kept."""
    return np.asarray(question.subsets.astype(float) @ scores.numpy().T)


def trak_margins(parts: Mapping[str, list[Tensor]], question: Question, ridge: float) -> np.ndarray:
    """TRAK over networks: the mean of phi (Phi^T Phi + lam)^-1 phi_i times the mean pull; the ridge over the mean norm."""
    bare = []
    for train, new in zip(parts["train"], parts["new"], strict=True):
        lam = ridge * float(train.square().sum(1).mean())
        bare.append(trak_scores(new, train, torch.ones(len(train), dtype=torch.float64), lam))
    return additive(torch.stack(bare).mean(0) * torch.stack(parts["pulls"]).mean(0), question)


def cosine_margins(parts: Mapping[str, list[Tensor]], question: Question) -> np.ndarray:
    """The cosine of loss gradients, averaged over networks: that of margin gradients, their factors being above zero."""
    normal = nn.functional.normalize
    cosines = [normal(new) @ normal(train).T for train, new in zip(parts["train"], parts["new"], strict=True)]
    return additive(torch.stack(cosines).mean(0), question)


def pixel_votes(question: Question) -> np.ndarray:
    """A vote of the kept images, near ones first: Gaussian weights of the distance in pixels, its width the median of the
    nearest; for the own class, against any other (S, t).
    """
    distances = torch.cdist(question.new.flatten(1).double(), question.x.flatten(1).double())
    width = distances.amin(1).median()
    sign = 2.0 * (question.y_new[:, None] == question.y).double() - 1.0
    return additive(sign * (-(distances / width).square() / 2).exp(), question)
