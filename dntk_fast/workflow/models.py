"""Networks of the experiments, built from a seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._chance import seeded

__all__ = [
    "MODELS",
    "build",
    "conv8",
    "conv28",
    "conv32",
    "mlp",
    "parameter_count",
    "resnet18",
    "resnet18_small",
    "vit_tiny",
]


def _conv_norm_relu(inputs: int, outputs: int) -> list[nn.Module]:
    # No bias: the mean that BatchNorm subtracts would take it away again.
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def conv8(*, outputs: int = 10, channels: int = 1) -> nn.Module:
    """Three convolutions with BatchNorm for 8 x 8 images: 16, 32 and 64 channels, averaged over the 4 x 4 grid."""
    return nn.Sequential(
        *_conv_norm_relu(channels, 16),
        *_conv_norm_relu(16, 32),
        nn.MaxPool2d(2),
        *_conv_norm_relu(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, outputs),
    )


def conv28(*, outputs: int = 10, channels: int = 1) -> nn.Module:
    """Three convolutions (16, 32, 64) without BatchNorm and two linear layers for 28 x 28 images; P = 98,442."""
    widths = (channels, 16, 32, 64)
    body = [
        layer
        for inputs, width in itertools.pairwise(widths)
        for layer in (nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(576, 128), nn.ReLU(), nn.Linear(128, outputs))


def conv32(*, outputs: int = 10, channels: int = 3) -> nn.Module:
    """Three convolutions with BatchNorm for 32 x 32 images: 32, 64 and 128 channels, averaged over the 8 x 8 grid."""
    return nn.Sequential(
        *_conv_norm_relu(channels, 32),
        nn.MaxPool2d(2),
        *_conv_norm_relu(32, 64),
        nn.MaxPool2d(2),
        *_conv_norm_relu(64, 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, outputs),
    )


def mlp(*, outputs: int = 10, inputs: int = 64, hidden: tuple[int, ...] = (64, 64)) -> nn.Module:
    """Linear layers with ReLU between them; `inputs` is the number of pixels of one image."""
    widths = (inputs, *hidden)
    body = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *body, nn.Linear(widths[-1], outputs))


class _BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample: nn.Module = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(inner + self.downsample(x))


class _ResNet18(nn.Module):
    """Four stages of two blocks; modules carry the names of torchvision, so that its weights fit."""

    def __init__(self, stem: nn.Conv2d, pool: nn.Module, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = stem, nn.BatchNorm2d(64), nn.ReLU(), pool
        self.layer1 = nn.Sequential(_BasicBlock(64, 64, 1), _BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(_BasicBlock(64, 128, 2), _BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(_BasicBlock(128, 256, 2), _BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(_BasicBlock(256, 512, 2), _BasicBlock(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(*, outputs: int = 10, channels: int = 3) -> nn.Module:
    """ResNet-18 in torchvision's layout, 7 x 7 stem of stride 2 and max pool; P = 11,181,642 at 10 outputs."""
    stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return _ResNet18(stem, nn.MaxPool2d(3, stride=2, padding=1), outputs)


def resnet18_small(*, outputs: int = 10, channels: int = 3) -> nn.Module:
    """ResNet-18 for small images: 3 x 3 stem of stride 1, no max pool."""
    return _ResNet18(nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.Identity(), outputs)


class _TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each normalised first and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.proj(self._attend(self.qkv(self.norm1(x))))
        return x + self.mlp(self.norm2(x))

    def _attend(self, qkv: Tensor) -> Tensor:
        # Written out rather than fused: every step then has both derivatives and can be mapped over examples.
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-2, -3)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return (scores.softmax(-1) @ value).transpose(-2, -3).flatten(-2)


class _VisionTransformer(nn.Module):
    """Square patches, learned positions, blocks, the mean over patches, one linear head."""

    def __init__(self, channels: int, size: int, patch: int, depth: int, width: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(_TransformerBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def vit_tiny(*, outputs: int = 10, channels: int = 3, size: int = 32) -> nn.Module:
    """Vision transformer with patch 4, depth 6, width 192 and 3 heads; `size` is the side of the square images."""
    return _VisionTransformer(channels, size, patch=4, depth=6, width=192, heads=3, outputs=outputs)


MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {builder.__name__: builder for builder in (conv8, conv28, conv32, mlp, resnet18, resnet18_small, vit_tiny)}
)


def build(name: str, *, seed: int, **options: Any) -> nn.Module:
    """Build a network of `MODELS` with weights drawn from `seed`, in evaluation mode.

    Parameters
    ----------
    name
        A key of `MODELS`.
    seed
        Start of the random weights; torch's own generator is not used.
    options
        What the builder takes: `outputs`, and `channels`, `size`, `inputs` or `hidden` where it has them.

    Returns
    -------
    nn.Module
        Randomly initialised, float32, on the CPU.

    Raises
    ------
    ValueError
        For an unknown name.

    Example
    -------
    >>> parameter_count(build("conv28", seed=0))
    98442
    """
    _check.choice("model", name, tuple(MODELS))
    with torch.device("cpu"), seeded(_check.seed(seed)):  # whatever torch's default device and dtype are
        return MODELS[name](**options).float().eval()


def parameter_count(model: nn.Module) -> int:
    """Count the parameters, P.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in model.parameters())
