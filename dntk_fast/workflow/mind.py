"""The step "what would change its mind?": held-out images, the training images for and against them, the answers without.

Label targets, the exact class kernels that the run has formed anyway, and half their mean diagonal as the ridge, which
predicts retraining on digits as well as the best (docs/measures.md); `dntk explain` chooses it by its rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from dntk_fast.analysis.asked import Asked
from dntk_fast.analysis.attribution import HALF
from dntk_fast.analysis.machines import dual_machine
from dntk_fast.analysis.mind import Mind, minds
from dntk_fast.analysis.shift import rarity, shift_score
from dntk_fast.files.stages import Stage
from dntk_fast.tangent.kernel import kernel_diagonal
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.stages import ExactKernels, label_targets

__all__ = ["MOST", "SHOWN", "Looked", "change_of_mind", "entry", "least_sure", "pictures_of"]

# Held-out images of a run's page, training images shown for and against each, and most rows that are taken away.
LOOKED, SHOWN, MOST = 3, 8, 400


@dataclass(frozen=True)
class Looked:
    """A held-out image: its number, label, the network's probability of its class, variance, and rarity of that variance."""

    image: int
    label: int
    probability: float
    variance: float
    rarity: float


def change_of_mind(model: nn.Module, data: Dataset, network: Stage, kernels: ExactKernels) -> Stage:
    """Look at the held-out images that the network is least sure of; None where no exact kernels were formed."""
    if not kernels.fit:
        return Stage({}, {"mind": None})
    kernel, cross = kernels.pair
    scale = float(kernel.diagonal(dim1=1, dim2=2).double().mean())
    machine = dual_machine(kernel.double() / scale, label_targets(data).double(), HALF)
    probabilities = network.arrays["logits.test"].double().softmax(0)
    rows = least_sure(probabilities, LOOKED)
    own = kernel_diagonal(model, data.x_test[rows]).double() / scale
    asked = Asked(machine, cross[:, rows].double() / scale, own.new_zeros(len(own)), data.y_train)
    found = minds(asked, probabilities[:, rows].argmax(0), most=min(MOST, len(data.y_train) // 4), sizes=(SHOWN,))
    variance = shift_score(machine.variance(asked.new, own))
    share = rarity(shift_score(machine.left_out_variance()), variance)
    entries = []
    for place, mind in enumerate(found):
        row = int(rows[place])
        p = float(probabilities[mind.answer, row])
        looked = Looked(row, int(data.y_test[row]), p, float(variance[place]), float(share[place]))
        entries.append(entry(mind, looked, data.y_train))
    numbers = {"mind": {"lam_relative": HALF, "images": entries}}
    return Stage({}, numbers, len(rows), len(rows) * len(data.classes), machine.inverse.nbytes)


def least_sure(probabilities: Tensor, count: int) -> Tensor:
    """Return the images whose largest probability is smallest, (count,), from probabilities (C, t).

    >>> import torch
    >>> least_sure(torch.tensor([[0.9, 0.6], [0.1, 0.4]]), 1).tolist()
    [1]
    """
    return probabilities.amax(0).argsort(stable=True)[:count]


def entry(mind: Mind, looked: Looked, labels: Tensor, shown: int = SHOWN) -> dict[str, Any]:
    """What a page shows of one image, as JSON takes it."""

    def rows(places: Sequence[int]) -> list[dict[str, Any]]:
        chosen = [(int(mind.order[i]), float(mind.scores[i])) for i in places]
        return [{"row": row, "label": int(labels[row]), "score": score} for row, score in chosen]

    count = min(shown, len(mind.order) // 2)
    margins = dict(zip(mind.sizes, mind.margins().tolist(), strict=True))
    last = mind.changes_at or mind.sizes[-1]
    sizes = sorted({size for size in (shown, last) if size in margins and size <= last} or {last})
    whole = {"removed": 0, "says": mind.said, "margin": mind.margin}
    gone = [{"removed": size, "says": int(mind.after(size).argmax()), "margin": margins[size]} for size in sizes]
    return {
        **vars(looked),
        "answer": mind.answer,
        "machine": mind.said,
        "supporting": rows(range(count)),
        "opposing": rows(range(-1, -count - 1, -1)),
        "removals": [whole, *gone],
        "changes_at": mind.changes_at,
        "most": mind.sizes[-1],
    }


def pictures_of(data: Dataset, entries: Sequence[Mapping[str, Any]], more: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """Pictures (height, width, channels) in [0, 1] of all images that entries speak of, and of more training images."""
    training = {part["row"] for one in entries for part in (*one["supporting"], *one["opposing"])} | set(more)
    wanted = [
        ("training", data.x_train, sorted(training)),
        ("held-out", data.x_test, [one["image"] for one in entries]),
    ]
    return {
        f"{name} {row}": data.pixels(x[row : row + 1])[0].permute(1, 2, 0).numpy()
        for name, x, rows in wanted
        for row in rows
    }
