"""Feature stores of a small network: written, interrupted, read back."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dntk_fast.tangent.store import write_features


def network(seed=0, width=3, activation=nn.Tanh, scale=1.0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(width, 6), activation(), nn.Linear(6, 5), activation(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        model[-1].weight *= scale
    return model


def samples(n=11, seed=1):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def write(folder, model=None, x=None, **settings):
    settings = {"k": 8, "seed": 3, "shard_rows": 4, "dtype": torch.float64} | settings
    return write_features(folder, model or network(), samples() if x is None else x, **settings)


def content(folder):
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class StopError(Exception):
    """Stands for whatever ends a run early."""


def interrupt(folder, after):
    """A run that ends after so many shards."""

    def progress(done, _):
        if done == after:
            raise StopError

    with pytest.raises(StopError):
        write(folder, progress=progress)
