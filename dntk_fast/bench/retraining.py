"""Retraining for real: what networks say that were trained without some images, each training kept when it is done.

Every training starts afresh, as `train` does: its own initial weights, its own order of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast.files.stages import Stage, StageStore
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.network import usual_network
from dntk_fast.workflow.training import train

__all__ = ["LARGE", "QUICK", "SETTINGS", "Retrained", "Settings", "settings_of"]

# The network of images that none of the small ones is made for.
LARGE = "resnet18_small"
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Settings:
    """How much is retrained: images, random half subsets and retrainings of each; networks of all images; removals."""

    images: int
    subsets: int
    retrainings: int
    networks: int = 3
    epochs: int = 30
    removals: int = 20
    random_removals: int = 5
    removal_retrainings: int = 2
    removed_share: float = 0.01


SETTINGS = MappingProxyType(
    {
        "digits": Settings(500, 40, 4),
        "fashion-mnist-900": Settings(600, 32, 2),
        "imagenette32-mini": Settings(800, 32, 2),
    }
)
QUICK = Settings(40, 3, 2, networks=2, epochs=2, removals=2, random_removals=2, removal_retrainings=1)


def settings_of(data: Dataset, *, quick: bool = False) -> Settings:
    """Return the settings of a known data set; any other has up to 800 images, 32 subsets and 2 retrainings."""
    found = QUICK if quick else SETTINGS.get(data.name, Settings(800, 32, 2))
    return Settings(**(vars(found) | {"images": min(found.images, len(data.x_train))}))


@dataclass(frozen=True, eq=False)
class Retrained:
    """Networks of all images and of subsets of them, trained once each and kept in a folder.

    Attributes
    ----------
    data : the data set; `x`, `y` are the drawn training images
    store : where finished trainings are kept
    """

    data: Dataset
    settings: Settings
    seed: int
    store: StageStore
    progress: Progress

    @cached_property
    def _seeds(self) -> tuple[np.random.SeedSequence, ...]:
        # one for the draw of images and subsets, one for each kind of training
        return tuple(np.random.SeedSequence(self.seed).spawn(4))

    @cached_property
    def rows(self) -> np.ndarray:
        """The drawn training images, (n,), ascending."""
        rng = np.random.default_rng(self._seeds[0])
        return np.sort(rng.choice(len(self.data.x_train), self.settings.images, replace=False))

    @property
    def x(self) -> Tensor:
        """The drawn training images, (n, ...)."""
        return self.data.x_train[self.rows]

    @property
    def y(self) -> Tensor:
        """Their labels, (n,)."""
        return self.data.y_train[self.rows]

    @cached_property
    def subsets(self) -> np.ndarray:
        """Random halves of the images, (subsets, n) of True and False."""
        rng, n = np.random.default_rng(self._seeds[0].spawn(1)[0]), len(self.rows)
        kept = np.zeros((self.settings.subsets, n), dtype=bool)
        for row in kept:
            row[rng.choice(n, n // 2, replace=False)] = True
        return kept

    def networks(self) -> list[nn.Module]:
        """Return the networks trained on all images."""
        found = []
        whole = [np.ones(len(self.rows), dtype=bool)]
        for stage in self._all("networks", whole, self.settings.networks, self._seeds[1], keep=True):
            network = self._blank(0)
            network.load_state_dict({name.removeprefix("w."): v for name, v in stage.items() if name[:2] == "w."})
            found.append(network.eval())
        return found

    def outputs(self) -> Tensor:
        """Return the held-out logits of networks retrained on the subsets, (subsets, retrainings, t, C)."""
        r = self.settings.retrainings
        logits = [stage["logits"] for stage in self._all("subsets", self.subsets, r, self._seeds[2])]
        return torch.stack(logits).unflatten(0, (len(self.subsets), r))

    def without(self, name: str, removed: Iterable[np.ndarray]) -> Tensor:
        """Return the held-out logits of networks retrained without sets of rows, (sets, retrainings, t, C).

        All of them share their initial weights and orders, retraining by retraining, and with `without(name, [nothing])`.
        """
        masks = []
        for rows in removed:
            masks.append(np.ones(len(self.rows), dtype=bool))
            masks[-1][rows] = False
        r = self.settings.removal_retrainings
        logits = [stage["logits"] for stage in self._all(name, masks, r, self._seeds[3], shared=True)]
        return torch.stack(logits).unflatten(0, (len(masks), r))

    def _blank(self, seed: int) -> nn.Module:
        return usual_network(self.data, seed, LARGE)[1]

    def _all(
        self,
        name: str,
        masks: Iterable[np.ndarray],
        times: int,
        seeds: np.random.SeedSequence,
        *,
        shared: bool = False,
        keep: bool = False,
    ) -> list[dict[str, Tensor]]:
        jobs = [mask for mask in masks for _ in range(times)]
        own = seeds.generate_state(2 * len(jobs)).reshape(-1, 2)
        found = []
        for number, mask in enumerate(jobs):
            self.progress(name, number, len(jobs))
            start, order = (int(s) for s in own[number % times if shared else number])
            stage = self.store.run(f"{name}-{number:03d}", partial(self._train, mask, start, order, keep))
            found.append(dict(stage.arrays))
        self.progress(name, len(jobs), len(jobs))
        return found

    def _train(self, mask: np.ndarray, start: int, order: int, keep: bool) -> Stage:
        """Train on the images of the mask; held-out logits are kept, and the weights if wished."""
        some = torch.from_numpy(mask)
        x, y = self.x[some], self.y[some]
        network = train(self._blank(start), x, y, epochs=self.settings.epochs, seed=order).model
        with torch.no_grad():
            logits = torch.cat([network(part) for part in self.data.x_test.split(256)])
        weights = {f"w.{k}": v for k, v in network.state_dict().items()} if keep else {}
        accuracy = float((logits.argmax(1) == self.data.y_test).double().mean())
        return Stage({"logits": logits, **weights}, {"accuracy": accuracy})
