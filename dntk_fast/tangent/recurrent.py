"""Recurrent layers written with `linear`, so that their weights are seen as layers, used once for every step.

LSTM: i, f, o = sigmoid, g = tanh of W x + b + R h + c;  C' = f C + i g;  h' = o tanh C' (projected where asked)
GRU:  r, z = sigmoid(W x + b + R h + c), n = tanh(W_n x + b_n + r (R_n h + c_n));  h' = (1 - z) n + z h
RNN:  h' = tanh or relu of W x + b + R h + c
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["RECURRENT", "recurrent"]

Linear = Callable[..., Tensor]
State = tuple[Tensor, ...]
Step = Callable[[Linear, Tensor, State, Sequence[Tensor], bool], State]


def _lstm(linear: Linear, fed: Tensor, state: State, weights: Sequence[Tensor], bias: bool) -> State:
    """One step from W x + b."""
    gates = fed + linear(state[0], weights[1], weights[3] if bias else None)
    i, f, _, o = torch.sigmoid(gates).chunk(4, -1)
    cell = f * state[1] + i * torch.tanh(gates.chunk(4, -1)[2])
    h = o * torch.tanh(cell)
    projected = len(weights) > (4 if bias else 2)
    return (linear(h, weights[-1], None) if projected else h), cell


def _gru(linear: Linear, fed: Tensor, state: State, weights: Sequence[Tensor], bias: bool) -> State:
    own = linear(state[0], weights[1], weights[3] if bias else None)
    width = own.shape[-1] // 3
    r, z = torch.sigmoid(fed[..., : 2 * width] + own[..., : 2 * width]).chunk(2, -1)
    n = torch.tanh(fed[..., 2 * width :] + r * own[..., 2 * width :])
    return (n + z * (state[0] - n),)


def _plain(unit: Callable[[Tensor], Tensor]) -> Step:
    def step(linear: Linear, fed: Tensor, state: State, weights: Sequence[Tensor], bias: bool) -> State:
        return (unit(fed + linear(state[0], weights[1], weights[3] if bias else None)),)

    return step


# For each function its step, and whether it is a single one.
RECURRENT: dict[Any, tuple[Step, bool]] = {
    torch.lstm: (_lstm, False),
    torch.gru: (_gru, False),
    torch.rnn_tanh: (_plain(torch.tanh), False),
    torch.rnn_relu: (_plain(functional.relu), False),
    torch.lstm_cell: (_lstm, True),
    torch.gru_cell: (_gru, True),
    torch.rnn_tanh_cell: (_plain(torch.tanh), True),
    torch.rnn_relu_cell: (_plain(functional.relu), True),
}


def recurrent(linear: Linear, function: Any, *args: Any) -> Any:
    """What a function of `RECURRENT` computes, every product by `linear(input, weight, bias)`; None for packed sequences."""
    step, single = RECURRENT[function]
    if single:
        return _cell(linear, step, *args)
    return None if isinstance(args[1], Tensor) and isinstance(args[2], Tensor | tuple) else _layers(linear, step, *args)


def _cell(linear: Linear, step: Step, x: Tensor, state: Any, w: Tensor, r: Tensor, b: Any = None, c: Any = None) -> Any:
    weights, bias = ([w, r], False) if b is None else ([w, r, b, c], True)
    given = tuple(state) if isinstance(state, tuple | list) else (state,)
    found = step(linear, linear(x, w, b), given, weights, bias)
    return found if isinstance(state, tuple | list) else found[0]


def _layers(
    linear: Linear,
    step: Step,
    x: Tensor,
    state: Any,
    flat: Sequence[Tensor],
    bias: bool,
    layers: int,
    dropout: float,
    training: bool,
    both_ways: bool,
    batch_first: bool,
) -> Any:
    """All layers and directions; (output, last states) as torch gives them."""
    if x.dim() != 3 or (training and dropout > 0):
        return None
    given = tuple(state) if isinstance(state, tuple | list) else (state,)
    ways, axis = 2 if both_ways else 1, 1 if batch_first else 0
    size, ends = len(flat) // (layers * ways), []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            at = layer * ways + way
            weights = flat[at * size : (at + 1) * size]
            fed = linear(x, weights[0], weights[2] if bias else None).unbind(axis)
            now, seen = tuple(part[at] for part in given), []
            for part in reversed(fed) if way else fed:
                now = step(linear, part, now, weights, bias)
                seen.append(now[0])
            outputs.append(torch.stack(seen[::-1] if way else seen, axis))
            ends.append(now)
        x = torch.cat(outputs, -1) if both_ways else outputs[0]
    return x, *(torch.stack(part) for part in zip(*ends, strict=True))
