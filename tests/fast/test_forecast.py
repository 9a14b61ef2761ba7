"""What a fit takes is said before it, for every way to images and every solve, and counted here while it runs."""

from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from dntk_fast import DistilledNTK
from dntk_fast.distillation.selection import Cost
from tests.fast.estimators import WAYS, data, network

WIDTH = 80
# What a forecast leaves out: the rows by which a network is looked at, whatever there is to do.
LOOKS = 20
# Images that "tuned" moves in a step: their gradients are differentiated, at the price of two more passes each way.
MOVED, STEPS = 24, 3


class Counted(nn.Module):
    """A network that counts the rows it is shown, and those of the cotangents that come back; its copies count too."""

    forwards = backwards = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(9, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x):
        h = self.body(x.flatten(1))
        Counted.forwards += rows(h)
        if h.requires_grad:
            h.register_hook(self.back)
        return self.head(torch.tanh(h))

    def back(self, cotangent):
        Counted.backwards += rows(cotangent)


def rows(values):
    """Rows of a tensor, in every part that `vmap` shows one of."""
    while is_functorch_wrapped_tensor(values):
        values = get_unwrapped(values)
    return values.numel() // WIDTH


def fitted_and_told(options):
    """The estimator, its forecast, and what was counted while it was fitted."""
    (x, y), estimator = data(180), DistilledNTK(Counted().eval(), **{"per_class": 8, "seed": 0} | options)
    told = estimator.forecast(x, y)
    Counted.forwards = Counted.backwards = 0
    return estimator.fit(x, y), told, (Counted.forwards, Counted.backwards)


def apart(told, counted, options):
    """How far what was counted is from what was told."""
    unseen = 2 * STEPS * MOVED if options.get("images") == "tuned" else 0
    return counted[0] - (told.forward - unseen), counted[1] - (told.backward - unseen)


@pytest.mark.parametrize("way", list(WAYS))
def test_the_passes_that_are_told_are_those_that_are_made(way):
    fitted, told, counted = fitted_and_told(WAYS[way])
    assert all(0 <= one <= LOOKS for one in apart(told, counted, WAYS[way]))
    assert asdict(fitted.cost_).items() <= asdict(told).items()
    assert len(fitted.images_) == told.kept_forward
    assert told.full == 180 * 7
    wrong = DistilledNTK(Counted().eval(), **{"seed": 0} | WAYS[way] | {"per_class": 9}).forecast(*data(180))
    assert not all(0 <= one <= LOOKS for one in apart(wrong, counted, WAYS[way]))


@pytest.mark.parametrize("way", ["pool", "random"])
def test_little_memory_takes_the_forward_passes_that_are_told(way):
    """Blocks of the pool that go by more than once; blocks of the kernel."""
    options = WAYS[way]
    _, told, _ = fitted_and_told(options)
    _, little, counted = fitted_and_told(options | {"memory": 20_000})
    assert little.forward > told.forward + LOOKS
    assert all(0 <= one <= LOOKS for one in apart(little, counted, options))


def test_a_slice_of_logits_is_told_too():
    """The head is selected from: what it is given takes a pass of its own."""
    x, y = data(180)
    model = nn.Sequential(Counted(), nn.Identity())
    model.forward = lambda batch: model[0](batch).flip(1)
    estimator = DistilledNTK(model.eval(), per_class=8, solve="per class", k=40)
    told = estimator.forecast(x, y)
    Counted.forwards = Counted.backwards = 0
    estimator.fit(x, y)
    assert all(0 <= one <= LOOKS for one in apart(told, (Counted.forwards, Counted.backwards), {}))


def test_seconds_are_passes_at_the_speed_of_some(monkeypatch):
    monkeypatch.setattr("dntk_fast.forecast.unit_seconds", lambda *_: (1.0, 100.0))
    told = DistilledNTK(network(), per_class=4).forecast(*data())
    assert told.seconds == told.forward + 100 * told.backward
    assert "one fit: " in str(told)
    assert "full kernel" in str(told)


def test_bytes_grow_with_the_square_of_the_gradients():
    settings = {"images": "random", "memory": 2**24}
    few, many = (DistilledNTK(network(), per_class=m, **settings).forecast(*data(300)).bytes for m in (20, 80))
    least = 8 * 4 * (80 * 3 * 3) ** 2
    assert few < many
    assert least < many < least + 2**24


def test_a_forecast_is_a_cost_and_refuses_what_fit_refuses():
    assert isinstance(DistilledNTK(network(), per_class=4).forecast(*data()), Cost)
    with pytest.raises(ValueError, match="per_class: expected an integer"):
        DistilledNTK(network(), per_class=0).forecast(*data())
