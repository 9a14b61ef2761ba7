"""What is measured: networks with random weights and random BatchNorm statistics, and random images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast.workflow.models import build

__all__ = ["SEED", "SHAPES", "random_subject"]

SEED = 20260211
SHAPES = {"conv28": (1, 28, 28), "resnet18": (3, 32, 32), "resnet18_small": (3, 32, 32), "vit_tiny": (3, 32, 32)}


def random_subject(name: str, n: int, shape: tuple[int, int, int] | None = None) -> tuple[nn.Module, Tensor]:
    """Return a network and n images; the same at every call.

    >>> random_subject("conv28", 2)[1].shape
    torch.Size([2, 1, 28, 28])
    """
    shape = shape or SHAPES[name]
    model, rng = build(name, seed=SEED, channels=shape[0]), np.random.default_rng(SEED)
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.copy_(torch.as_tensor(0.1 * rng.standard_normal(len(buffer))))
        elif key.endswith("running_var"):
            buffer.copy_(torch.as_tensor(rng.uniform(0.5, 1.5, len(buffer))))
    return model, torch.as_tensor(rng.standard_normal((n, *shape)), dtype=torch.float32)
