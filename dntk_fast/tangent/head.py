"""The head of a network: the last affine layer, what it is given, and the network's own weights in its coordinates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from dntk_fast import _check

__all__ = ["final_linear", "penultimate", "recorded_inputs"]


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
