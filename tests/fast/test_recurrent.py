"""Recurrent layers in every option are the layers of torch, and their gradients those of plain backward passes."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.passes import capture, inspect
from dntk_fast.tangent.recurrent import RECURRENT, recurrent
from tests.fast.plain import features, kernel
from tests.tolerances import TOL


class Reader(nn.Module):
    """A recurrent layer or cell, and a head on what `end` makes of it."""

    def __init__(self, layer, end, width):
        super().__init__()
        self.layer, self.end, self.head = layer, end, nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.end(self.layer, x))


def last(layer, x):
    return layer(x)[0][:, -1]


def twice(cell, x):
    state = cell(x[:, 1], cell(x[:, 0]))
    return state[0] if isinstance(state, tuple) else state


LAYERS = {
    "LSTM, two layers, both directions": (lambda: nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), last, 8),
    "LSTM, projected, no bias": (lambda: nn.LSTM(3, 4, proj_size=2, batch_first=True, bias=False), last, 2),
    "LSTM, projected": (lambda: nn.LSTM(3, 4, proj_size=2, batch_first=True), last, 2),
    "GRU, time first, last state": (lambda: nn.GRU(3, 4, 2), lambda layer, x: layer(x.transpose(0, 1))[1][1], 4),
    "GRU, both directions": (lambda: nn.GRU(3, 4, batch_first=True, bidirectional=True, bias=False), last, 8),
    "RNN, tanh": (lambda: nn.RNN(3, 4, batch_first=True), last, 4),
    "RNN, relu": (lambda: nn.RNN(3, 4, nonlinearity="relu", batch_first=True), last, 4),
    "LSTM cell": (lambda: nn.LSTMCell(3, 4), twice, 4),
    "GRU cell": (lambda: nn.GRUCell(3, 4), twice, 4),
    "RNN cell": (lambda: nn.RNNCell(3, 4, bias=False), twice, 4),
}


def within(found, expected):
    return float((found - expected).detach().abs().max()) <= TOL["float64"] * float(expected.detach().abs().max())


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_weights_are_layers(name):
    make, end, width = LAYERS[name]
    torch.manual_seed(0)
    model, x = Reader(make(), end, width).double().eval(), torch.randn(4, 5, 3, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = inspect(model, x)
    assert trace.generic == ()
    found = {name: g for tangent in capture(trace, x) for name, g in tangent.gradients().items()}
    joined = torch.cat([found[name].flatten(2) for name, _ in model.named_parameters()], 2)
    assert within(joined, features(model, x))


@pytest.mark.parametrize("name", ["LSTM, two layers, both directions", "GRU, both directions", "LSTM, projected"])
def test_outputs_and_states_are_those_of_torch(name):
    torch.manual_seed(0)
    layer, x = LAYERS[name][0]().double(), torch.randn(4, 5, 3, dtype=torch.float64)
    function = torch.lstm if isinstance(layer, nn.LSTM) else torch.gru
    ways = 1 + layer.bidirectional
    sizes = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * isinstance(layer, nn.LSTM)
    given = tuple(torch.randn(ways * layer.num_layers, 4, size, dtype=torch.float64) for size in sizes)
    state = given if isinstance(layer, nn.LSTM) else given[0]
    options = (layer.bias, layer.num_layers, 0.0, False, layer.bidirectional, True)
    found = recurrent(nn.functional.linear, function, x, state, layer._flat_weights, *options)
    for part, expected in zip(found, function(x, state, layer._flat_weights, *options), strict=True):
        assert within(part, expected)
    assert function in RECURRENT


def test_packed_sequences_inside_the_model_take_the_generic_path():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return self.head(self.layer(packed)[1][0][-1])

    torch.manual_seed(0)
    model, x = Packed().double(), (torch.randn(4, 4, 3, dtype=torch.float64), torch.tensor([4, 1, 3, 4]))
    with pytest.warns(UserWarning, match="no rule for the use of .*layer"):
        found = tangent_kernel(model, x)
    assert within(found, kernel(model, x))
