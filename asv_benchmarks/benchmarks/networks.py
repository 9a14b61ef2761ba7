"""Networks of the benchmarks: twins of the reference's, the project's own with random statistics, and the floor."""

import numpy as np
import torch
from torch import nn

import dntk_ref.network as ref
from dntk_fast.workflow.models import build

from .common import DEVICE, SEED, tensor

# Images of the project's networks: channels and side.
IMAGES = {"conv8": (1, 8), "conv28": (1, 28), "conv32": (3, 32), "resnet18": (3, 32), "resnet18_small": (3, 32)}


def reference_network(name, rng):
    """A small network of the reference with ten logits: "mlp" (P = 8,970) or "conv" (P = 1,498)."""
    if name == "mlp":
        return ref.mlp((64, 80, 40, 10), rng=rng)
    return ref.conv_net((1, 12, 12), (8, 16), 10, rng=rng)


def _module(layer):
    if isinstance(layer, ref.Dense):
        return nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    if isinstance(layer, ref.Conv):
        return nn.Conv2d(layer.weight.shape[1], layer.weight.shape[0], layer.weight.shape[2])
    if isinstance(layer, ref.AveragePool):
        return nn.AvgPool2d(layer.size)
    return {ref.Tanh: nn.Tanh, ref.Softplus: nn.Softplus, ref.Flatten: nn.Flatten}[type(layer)]()


def twin(network, dtype):
    """The torch module with the layers and parameters of a network of the reference, in the same order."""
    module = nn.Sequential(*map(_module, network.layers)).to(DEVICE, getattr(torch, dtype))
    values = [value for layer in network.layers for value in layer.parameters]
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), values, strict=True):
            parameter.copy_(tensor(value, dtype))
    return module.eval()


def own_network(name, n):
    """A network of the experiments with random weights and random BatchNorm statistics, and n images; float32."""
    channels, side = IMAGES[name]
    model = build(name, seed=SEED, channels=channels).to(DEVICE)
    rng = np.random.default_rng(SEED)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(tensor(0.1 * rng.standard_normal(module.num_features), "float32"))
            module.running_var.copy_(tensor(rng.uniform(0.5, 1.5, module.num_features), "float32"))
    return model.eval(), tensor(rng.standard_normal((n, channels, side, side)), "float32")


def floor(model, images):
    """One forward and C plain batched backward passes: the unit in which features and kernels are priced."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    logits = model(images).sum(0)
    for c, logit in enumerate(logits):
        torch.autograd.grad(logit, parameters, retain_graph=c + 1 < len(logits))
