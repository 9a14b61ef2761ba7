"""Is an input like the training data? Its score of shift, and how often other inputs stand above the usual ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dntk_fast import _check

__all__ = ["false_alarms", "rarity", "separation", "shift_score"]


def shift_score(variance: Tensor) -> Tensor:
    """Return the mean over classes of the predictive variance, (t,); larger is less usual.

    Parameters: variance (C, t).

    >>> shift_score(torch.tensor([[1.0], [3.0]])).tolist()
    [2.0]
    """
    found: Tensor = _check.rows("variance", _check.tensor("variance", variance), ndim=2).mean(0)
    return found


def rarity(fitted: Tensor, scores: Tensor) -> Tensor:
    """Return the share of the fitted rows' own scores that are at or above each score, (t,).

    Of an input like the fitted rows it is spread evenly over [0, 1]; near 0 few of them are so unusual.

    >>> rarity(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.5, 3.0, 9.0])).tolist()
    [1.0, 0.5, 0.0]
    """
    below = torch.searchsorted(fitted.sort().values.contiguous(), scores.contiguous())
    return 1 - below.double() / len(fitted)


def separation(usual: np.ndarray, shifted: np.ndarray) -> float:
    """Return AUROC: the chance that a shifted input scores above a usual one, ties counting half.

    >>> separation(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    low, high = _scores("usual", usual), _scores("shifted", shifted)
    return float(((high[:, None] > low).mean() + (high[:, None] >= low).mean()) / 2)


def false_alarms(usual: np.ndarray, shifted: np.ndarray, *, caught: float = 0.95) -> float:
    """Return the share of usual inputs at or above the score that `caught` of the shifted ones reach.

    >>> false_alarms(np.array([0.0, 1.0]), np.array([1.0, 2.0]), caught=1.0)
    0.5
    """
    low, high = np.sort(_scores("usual", usual)), np.sort(_scores("shifted", shifted))[::-1]
    wanted = max(1, int(np.ceil(_check.fraction("caught", caught) * len(high))))
    return float((low >= high[wanted - 1]).mean())


def _scores(name: str, values: np.ndarray) -> np.ndarray:
    return np.asarray(_check.rows(name, values, least=1, ndim=1))
