"""Data and networks of the tests of DistilledNTK, and what it computed."""

import torch
from torch import nn

# Every way to images and every solve.
WAYS = {
    "pool": {},
    "random": {"images": "random"},
    "stratified": {"images": "stratified"},
    "medoids": {"images": "medoids"},
    "one cotangent": {"images": "random", "cotangents": 1, "per_class": 4},
    "wmdd": {"images": "wmdd", "steps": 5},
    "tuned": {"images": "tuned", "steps": 3},
    "sketched": {"k": 8 * 24 * 3},
    "per class": {"solve": "per class"},
    "wmdd, per class": {"images": "wmdd", "steps": 5, "solve": "per class"},
    "sketched, per class": {"solve": "per class", "k": 40},
}


def network(seed=0, outputs=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, outputs)).eval()


def data(n=60, seed=1):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return torch.randn(n, 1, 3, 3, generator=generator) + y[:, None, None, None], y


class Computed(nn.Module):
    """A classifier with a function between its layers that is no module."""

    def __init__(self, between):
        super().__init__()
        self.inner, self.between = network(), between

    def forward(self, x):
        return self.inner[3](self.between(self.inner[1](x.flatten(1))))
