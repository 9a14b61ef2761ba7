"""Torch twins of the reference's networks, with the same weights."""

import numpy as np
import torch
from torch import nn

from dntk_ref import network as ref_network


def twin(network):
    """The same network in torch, parameters in the same order."""
    kinds = {
        ref_network.Tanh: lambda layer: nn.Tanh(),
        ref_network.Softplus: lambda layer: nn.Softplus(),
        ref_network.Flatten: lambda layer: nn.Flatten(),
        ref_network.AveragePool: lambda layer: nn.AvgPool2d(layer.size),
        ref_network.Dense: lambda layer: nn.Linear(*reversed(layer.weight.shape)),
        ref_network.Conv: lambda layer: nn.Conv2d(layer.weight.shape[1], layer.weight.shape[0], layer.weight.shape[2:]),
    }
    model = nn.Sequential(*(kinds[type(layer)](layer) for layer in network.layers)).double()
    values = [value for layer in network.layers for value in layer.parameters]
    with torch.no_grad():
        for own, value in zip(model.parameters(), values, strict=True):
            own.copy_(torch.from_numpy(np.array(value)))
    return model
