"""Networks of the experiments: built from a seed, trained, told apart by a fingerprint; weights never as pickle."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dntk_fast import _check
from dntk_fast._stages import write_atomically

__all__ = [  # noqa: RUF022 - plain order of the characters, as everywhere
    "MODELS",
    "Training",
    "alike",
    "build",
    "conv28",
    "conv32",
    "conv8",
    "digest",
    "final_linear",
    "fingerprint",
    "load_weights",
    "mlp",
    "parameter_count",
    "penultimate",
    "read_tensors",
    "recorded_inputs",
    "resnet18",
    "resnet18_small",
    "save_weights",
    "seeded",
    "train",
    "vit_tiny",
    "write_tensors",
]


# --- architectures ----------------------------------------------------------------------------------------------------


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


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Let torch's generators of the CPU and of `device` start from `seed` inside, and give them back untouched."""
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def build(name: str, *, seed: int, **options: Any) -> nn.Module:
    """Build a network of `MODELS` with weights drawn from `seed`, in evaluation mode.

    Parameters
    ----------
    name
        A key of `MODELS`.
    seed
        Start of the random weights; torch's own generator is left as it was.
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
    with seeded(_check.seed(seed)):
        return MODELS[name](**options).eval()


def parameter_count(model: nn.Module) -> int:
    """Count the parameters, P.

    >>> parameter_count(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in model.parameters())


# --- looking inside ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def recorded_inputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect what each of the named modules is given while the block runs; the last call counts.

    >>> layer = nn.Identity()
    >>> with recorded_inputs({"here": layer}) as seen:
    ...     _ = layer(torch.ones(2))
    >>> seen["here"].tolist()
    [1.0, 1.0]
    """
    seen: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0]

        return record

    handles = [module.register_forward_pre_hook(recorder(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def final_linear(model: nn.Module, x: Tensor) -> tuple[str, nn.Linear]:
    """Find the head: the linear layer whose output is, as an object, the output of the model.

    Parameters
    ----------
    model, x
        A network in evaluation mode and a batch; only the first image is looked at.

    Returns
    -------
    (str, nn.Linear)
        Name of the layer in `model.named_modules()`, and the layer.

    Raises
    ------
    ValueError
        If the model does not end in a linear layer, or does not take x.

    Example
    -------
    >>> final_linear(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(1, 2))[0]
    '2'
    """
    _check.tensor("x", x)
    linear = {name: part for name, part in _check.module(model).named_modules() if isinstance(part, nn.Linear)}
    outputs: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.append((name, output)))
        for name, module in linear.items()
    ]
    try:
        with torch.no_grad():
            result = model(x[:1])
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        _check.refuse("x", f"what the model takes ({reason})", f"shape {tuple(x.shape)} of {x.dtype}")
    finally:
        for handle in handles:
            handle.remove()
    for name, output in outputs:
        if output is result:
            return name, linear[name]
    _check.refuse("model", "a network whose output is that of a Linear layer", type(model).__name__)


def penultimate(model: nn.Module, x: Tensor, *, batch_size: int = 256) -> Tensor:
    """Give the penultimate features h(x): what the final linear layer is given, f(x) = W h(x) + b.

    Parameters
    ----------
    model
        A network that ends in a linear layer, in evaluation mode.
    x : (n, ...)
        Inputs; gradients flow if they are switched on.
    batch_size
        Inputs that go through the network at once.

    Returns
    -------
    Tensor, (n, d_h)
        The features.

    Raises
    ------
    ValueError
        If the model does not end in a linear layer.

    Example
    -------
    >>> penultimate(nn.Sequential(nn.ReLU(), nn.Linear(2, 1)), torch.tensor([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """
    _, head = final_linear(model, x)
    features = []
    with recorded_inputs({"head": head}) as seen:
        for batch in x.split(_check.integer("batch_size", batch_size, 1)):
            model(batch)
            features.append(seen["head"])
    return torch.cat(features)


# --- weights ----------------------------------------------------------------------------------------------------------


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of named tensors: names, shapes, types and bytes, in the order of the names.

    >>> digest({"a": torch.ones(1), "b": torch.ones(2)}) == digest({"b": torch.ones(2), "a": torch.ones(1)})
    True
    """
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


# What a module says of itself that is not its setting: an address in memory, the device of a list of parameters.
_PLACE = re.compile(r" at 0x[0-9a-f]+| \(GPU \d+\)")


def fingerprint(model: nn.Module) -> str:
    """Give the digest of all parameters and buffers, and of every module's class and settings, in order.

    Equal ones mean the same layers and numbers bit for bit, wherever the network lives; what `forward` does between its
    modules is not seen (`alike` outputs show it).

    Raises
    ------
    TypeError
        What is no module.

    >>> one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> _ = other.load_state_dict(one.state_dict())
    >>> fingerprint(one) == fingerprint(other)
    True
    """
    parts = _check.module(model).named_modules(remove_duplicate=False)
    layers = [f"{name} {type(part).__name__}({_PLACE.sub('', part.extra_repr())})" for name, part in parts]
    return hashlib.sha256("\n".join([*layers, digest(model.state_dict())]).encode()).hexdigest()


def alike(found: Tensor, kept: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether numbers that were computed in a precision are those kept, up to half of its digits of the largest.

    >>> alike(torch.tensor([1.0]), torch.tensor([1.0001]), torch.float32), alike(torch.ones(1), torch.ones(2), torch.float32)
    (True, False)
    """
    if found.shape != kept.shape:
        return False
    change = (found.detach().double().cpu() - kept.double().cpu()).abs().max()
    return float(change) <= torch.finfo(dtype).eps ** 0.5 * float(kept.abs().max())


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as a safetensors file; whoever looks finds the old file or the whole new one."""
    path = _check.path("path", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A copy of each: safetensors refuses tensors that share memory, and tied weights do.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    from safetensors.torch import save_file  # here, for networks are built and traced without it too

    write_atomically(path, lambda draft: save_file(copies, draft, dict(metadata or {})))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors and metadata from a safetensors file, or say in one line why it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_check.path("path", path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"path: expected a safetensors file, got {path} ({error})") from error


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write all parameters and buffers of `model` as a safetensors file, with its fingerprint in the metadata."""
    write_tensors(path, _check.module(model).state_dict(), {"fingerprint": fingerprint(model)})


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a safetensors file into `model`, in place.

    Raises
    ------
    ValueError
        If the file cannot be read, or its names or shapes are not those of the model.
    """
    tensors, _ = read_tensors(path)
    own = _check.module(model).state_dict()
    odd = sorted(own.keys() ^ tensors.keys()) or sorted(name for name in own if own[name].shape != tensors[name].shape)
    if odd:
        _check.refuse("path", f"the weights of {type(model).__name__}", f"{path}, which differs in {odd[0]!r}")
    model.load_state_dict(tensors)


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """A trained network and what it took.

    Attributes
    ----------
    model
        The network in evaluation mode; the one that was given stays as it was.
    losses
        Mean cross-entropy of each epoch, as met during the epoch.
    forward_passes, backward_passes
        Images taken through the network, and back.
    """

    model: nn.Module
    losses: tuple[float, ...]
    forward_passes: int
    backward_passes: int


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    seed: int,
    learning_rate: float = 3e-3,
    batch_size: int = 64,
    weight_decay: float = 1e-4,
    optimiser: str = "adam",
    shift: int = 0,
    flip: bool = False,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: str | Path | None = None,
) -> Training:
    """Train a copy of a classifier by cross-entropy, with a learning rate that falls to zero along a cosine.

    Parameters
    ----------
    model
        The network to start from; it is not changed.
    x : (n, channels, height, width)
        Images.
    y : (n,)
        Labels 0 ... outputs - 1.
    epochs, batch_size
        Walks through the data, and the most images of a step; all steps of a walk get about the same number.
    seed
        Start of the order, the augmentation and whatever the network draws; the same seed gives the same weights.
    learning_rate, weight_decay, optimiser
        Of "adam" (decoupled decay) or "sgd" (Nesterov momentum 0.9).
    shift, flip
        Augmentation: each batch moved by at most so many pixels, zeros coming in, and mirrored half the time.
    progress
        Called with (epochs done, epochs) after each epoch.
    checkpoint
        A file (safetensors) that keeps the state after every epoch; the same call goes on from there, to the same weights.

    Returns
    -------
    Training
        The network, its losses and the passes counted.

    Raises
    ------
    ValueError
        If an argument is out of its range, `x` is not finite, `y` does not fit it, or the checkpoint belongs to another
        training.
    TypeError
        If the labels are no integers.
    """
    _check_training(x, y, epochs, batch_size, optimiser)
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        _check.nonnegative(name, value)
    _check.integer("shift", shift, 0)
    device, largest = _check.parameter(model).device, int(y.max())
    network = copy.deepcopy(model).train()
    descent = _descent(network, optimiser, learning_rate, weight_decay)
    settings = (epochs, seed, learning_rate, batch_size, weight_decay, optimiser, shift, flip)
    keeper = None if checkpoint is None else _Keeper(_check.path("checkpoint", checkpoint), _key(model, x, y, settings))
    with seeded(_check.seed(seed), device):
        losses = [] if keeper is None else keeper.load(network, descent)
        for epoch in range(len(losses), epochs):
            total, batches = 0.0, torch.randperm(len(x)).tensor_split(math.ceil(len(x) / batch_size))
            for number, rows in enumerate(batches):
                rate = learning_rate * (1 + math.cos(math.pi * (epoch + number / len(batches)) / epochs)) / 2
                for group in descent.param_groups:
                    group["lr"] = rate
                images = _augmented(x[rows].to(device), shift, flip)
                logits = network(images)
                if largest >= logits.shape[1]:  # on a GPU cross-entropy would end the process
                    _check.refuse("y", f"labels below {logits.shape[1]}, the outputs of the model", largest)
                loss = functional.cross_entropy(logits, y[rows].to(device).long())
                descent.zero_grad()
                loss.backward()
                descent.step()
                total += loss.item() * len(rows)
            losses.append(total / len(x))
            if keeper is not None:
                keeper.save(network, descent, losses)
            if progress is not None:
                progress(epoch + 1, epochs)
    descent.zero_grad()
    return Training(network.eval(), tuple(losses), epochs * len(x), epochs * len(x))


@dataclass(frozen=True)
class _Keeper:
    """The file in which a training waits after each epoch: weights, optimiser, generators, losses; `key` names it."""

    path: Path
    key: str

    def save(self, model: nn.Module, descent: torch.optim.Optimizer, losses: list[float]) -> None:
        kept = {f"model.{name}": value for name, value in model.state_dict().items()}
        for number, state in descent.state_dict()["state"].items():
            kept |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        kept |= {f"generator.{device}": state for device, state in _generators(model).items()}
        write_tensors(self.path, kept | {"losses": torch.tensor(losses, dtype=torch.float64)}, {"key": self.key})

    def load(self, model: nn.Module, descent: torch.optim.Optimizer) -> list[float]:
        """Put everything back where it was, and give the losses so far."""
        if not self.path.exists():
            return []
        kept, metadata = read_tensors(self.path)
        if metadata.get("key") != self.key:
            _check.refuse("checkpoint", "the same network, data and settings", f"{self.path} of another training")
        model.load_state_dict(_below(kept, "model."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(kept, "optimiser.").items():
            number, _, field = name.partition(".")
            state.setdefault(int(number), {})[field] = value
        descent.load_state_dict({"state": state, "param_groups": descent.state_dict()["param_groups"]})
        for device, value in _below(kept, "generator.").items():
            torch.cuda.set_rng_state(value, device) if device.startswith("cuda") else torch.set_rng_state(value)
        return [float(loss) for loss in kept["losses"]]


def _generators(model: nn.Module) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    own = {str(device): torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state()} | own


def _below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _key(model: nn.Module, x: Tensor, y: Tensor, settings: tuple[Any, ...]) -> str:
    parts = [fingerprint(model), digest({"x": x, "y": y}), json.dumps(settings)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _descent(model: nn.Module, optimiser: str, rate: float, decay: float) -> torch.optim.Optimizer:
    if optimiser == "adam":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)


def _augmented(images: Tensor, shift: int, flip: bool) -> Tensor:
    if flip and torch.rand(()) < 0.5:
        images = images.flip(-1)
    if shift:
        height, width = images.shape[-2:]
        top, left = torch.randint(2 * shift + 1, (2,)).tolist()
        images = functional.pad(images, (shift,) * 4)[..., top : top + height, left : left + width]
    return images


def _check_training(x: Tensor, y: Tensor, epochs: int, batch_size: int, optimiser: str) -> None:
    _check.inputs("x", x)
    _check.partition("y", _check.tensor("y", y), len(x))
    if int(y.min()) < 0:
        _check.refuse("y", "labels from 0 on", int(y.min()))
    _check.integer("epochs", epochs, 1)
    _check.integer("batch_size", batch_size, 1)
    _check.choice("optimiser", optimiser, ("adam", "sgd"))
