"""What holds an answer up: the training rows that support and oppose it, and how many of them it takes to change it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.analysis.asked import Asked, margin

__all__ = ["Mind", "minds"]

# Sets grow by a quarter: the number of rows that change an answer is known to a quarter of it.
GROWTH = 1.25


@dataclass(frozen=True, eq=False)
class Mind:
    """One input: its class, the rows for and against it, and the answers without the rows for it.

    Attributes
    ----------
    answer : the class that is asked about, the network's
    said, margin : what the machine of all rows says, and the answer's margin there
    order : (n,) training rows, the most supporting first
    scores : (n,) what each contributes to the margin of the answer, in that order
    sizes : how many of the most supporting rows were taken away, ascending; each set leaves a row of every class
    without : (sizes, C) what the machine says then
    """

    answer: int
    said: int
    margin: float
    order: Tensor
    scores: Tensor
    sizes: tuple[int, ...]
    without: Tensor

    @property
    def changes_at(self) -> int | None:
        """The first of the sizes without which the machine says another class; None: none, or it never said the answer."""
        if self.said != self.answer:
            return None
        other = torch.nonzero(self.without.argmax(1) != self.answer)[:, 0].tolist()
        return self.sizes[other[0]] if other else None

    def after(self, size: int) -> Tensor:
        """What the machine says without so many rows, (C,), for one of the sizes."""
        return self.without[self.sizes.index(_check.choice("size", size, self.sizes))]

    def margins(self) -> Tensor:
        """The answer's margin without each set, (sizes,)."""
        return margin(self.without.T, torch.full((len(self.sizes),), self.answer, device=self.without.device))


def minds(asked: Asked, answers: Tensor, *, most: int, sizes: tuple[int, ...] = ()) -> list[Mind]:
    """Take the most supporting rows of every input away, more and more of them.

    Parameters
    ----------
    asked : inputs, t of them, of a machine of classes
    answers : (t,) classes that are asked about
    most : the largest number of rows that are taken away
    sizes : numbers of rows that are taken away besides those that grow by a quarter

    >>> from dntk_fast.analysis.machines import dual_machine
    >>> kernel = torch.eye(5, dtype=torch.float64)[None].expand(2, -1, -1)  # every row knows of itself alone
    >>> targets = torch.tensor([[1.0, 1, 1, -1, -1], [-1, -1, -1, 1, 1]], dtype=torch.float64) / 2
    >>> new = torch.tensor([[3.0, 2, 0, 1, 0]] * 2, dtype=torch.float64)[:, None]
    >>> asked = Asked(dual_machine(kernel, targets, 1.0), new, torch.zeros(2), torch.tensor([0, 0, 0, 1, 1]))
    >>> (mind,) = minds(asked, torch.tensor([0]), most=4)
    >>> mind.order[:2].tolist(), mind.order[-1].item(), mind.changes_at  # rows 0 and 1 for it, 3 against
    ([0, 1], 3, 2)
    """
    labels = asked.labels
    if labels is None:
        _check.refuse("y", "classes: real targets have no answer that changes", "real targets")
    scores, whole = asked.scores(answers), asked.logits().T
    said, margins = whole.argmax(0), margin(whole, answers)
    found = []
    for place, own in enumerate(scores):
        order = own.argsort(descending=True, stable=True)
        taken = _sizes(order, labels, most, sizes)
        one = Asked(asked.machine, asked.new[:, place : place + 1], asked.offset, labels)
        without = one.without([order[:size] for size in taken])[:, 0]
        first = int(answers[place]), int(said[place]), float(margins[place])
        found.append(Mind(*first, order, own[order], taken, without))
    return found


def _sizes(order: Tensor, labels: Tensor, most: int, more: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers of rows, in the order of support, that leave a row of every class."""
    hot = torch.nn.functional.one_hot(labels[order])
    left = hot.sum(0) - hot.cumsum(0)
    whole = (left[:, hot.sum(0) > 0] > 0).all(1)
    largest = int(whole.sum())  # it never grows again
    grown, size = set(more), 1
    while size <= most:
        grown.add(size)
        size = math.ceil(size * GROWTH)
    found = tuple(sorted(size for size in grown if 0 < size <= min(most, largest)))
    return found if found else _check.refuse("most", "a number of rows that leaves a row of every class", most)
