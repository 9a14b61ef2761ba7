"""New inputs, brought to a machine once: what it says of them, without sets of rows, and what each row contributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dntk_fast.analysis.machines import Machine

__all__ = ["Asked", "margin"]


@dataclass(frozen=True, eq=False)
class Asked:
    """A machine of labels or real targets, and inputs as it wants them.

    Attributes
    ----------
    machine : of targets minus an offset
    new : (C, t, n) blocks of kernels, or (C, t, k) features
    offset : (C,), what was taken from the targets
    labels : (n,) classes of the training rows, or None where targets are real
    """

    machine: Machine
    new: Tensor
    offset: Tensor
    labels: Tensor | None

    def logits(self) -> Tensor:
        """Return what the machine of all rows says, (t, C)."""
        return self.machine.predict(self.new).T + self.offset

    def without(self, groups: Sequence[Tensor]) -> Tensor:
        """Return what it says without each set of rows, (S, t, C)."""
        return self.machine.without(self.new, groups).transpose(1, 2) + self.offset

    def scores(self, classes: Tensor | None = None) -> Tensor:
        """Return the margin of each input's class with all rows minus that without row i, (t, n); None: the classes it says.

        Real targets have no margin: the effect on the first output.
        """
        whole, effects = self.machine.predict(self.new), self.machine.effects(self.new)
        if self.labels is None:
            return effects[0]
        chosen = whole.argmax(0) if classes is None else classes
        gone = margin((whole[..., None] - effects).flatten(1), chosen.repeat_interleave(effects.shape[2]))
        return margin(whole, chosen)[:, None] - gone.view(-1, effects.shape[2])


def margin(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the output of the labelled class minus the largest other one, (t,).

    Parameters: outputs (C, t), C >= 2, labels (t,).

    >>> margin(torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([0])).tolist()
    [1.0]
    """
    own = torch.nn.functional.one_hot(labels, len(outputs)).T.bool()
    return outputs.T[own.T] - outputs.masked_fill(own, -torch.inf).amax(0)
