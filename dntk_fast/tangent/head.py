"""The head of a network: the last affine layer, what it is given, and the network's own weights in its coordinates."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dntk_fast import _check
from dntk_fast.tangent.batches import Wrapped, ends, plain_attention
from dntk_fast.tangent.probes import accepted

__all__ = ["affine_head", "final_linear", "head_weights", "penultimate", "recorded_inputs"]


def affine_head(module: Wrapped, batch: Any, names: Sequence[str]) -> str | None:
    """Name of the Linear layer whose output is the model's output and whose parameters serve nothing else, or None.

    Found by a probe: the layer is called once, its output tensor is the model's, untouched; no other function takes its
    weight or bias; and the gradients of the first and of the last output with respect to them are those of that output's
    row alone, the layer's input and one.
    """
    calls: list[tuple[nn.Linear, Tensor, Tensor, int]] = []

    def note(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Tensor) -> None:
        calls.append((layer, given[0] if given else named["input"], result, result._version))  # type: ignore[arg-type]

    layers = [layer for layer in module.model.modules() if isinstance(layer, nn.Linear)]
    plain = [layer for layer in layers if type(layer).forward is nn.Linear.forward]
    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in plain]
    try:
        with torch.enable_grad(), plain_attention(), accepted(batch), _Uses() as uses:
            output = _check.logits(module(ends(batch)), 2)
    finally:
        for hook in hooks:
            hook.remove()
    finals = [seen for seen in calls if seen[2] is output and seen[2]._version == seen[3]]
    if not finals or output.ndim != 2:
        return None
    layer, h = finals[0][0], finals[0][1]
    name = next(name for name, other in module.model.named_modules() if other is layer)
    alone = sum(seen[0] is layer for seen in calls) == 1 and f"{name}.weight".removeprefix(".") in names
    if not alone or h.ndim != 2 or any(uses.counts[id(p)] > 1 for p in layer.parameters()):
        return None
    return name if all(_serves_alone(layer, h, output, row) for row in (0, 1)) else None


class _Uses(TorchFunctionMode):
    """Counts the functions that make a tensor of a parameter, by its identity."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.counts.update({id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, nn.Parameter)})
        return result


def _serves_alone(layer: nn.Linear, h: Tensor, output: Tensor, row: int) -> bool:
    trained = [p for p in (layer.weight, layer.bias) if p is not None and p.requires_grad]
    for c in {0, output.shape[1] - 1}:
        for p, found in zip(trained, torch.autograd.grad(output[row, c], trained, retain_graph=True), strict=True):
            expected = torch.zeros_like(found)
            expected[c] = h[row].detach() if p is layer.weight else 1.0
            if not torch.allclose(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max())):
                return False
    return True


def head_weights(model: nn.Module, head: str | None = None) -> Tensor:
    """Weights of the network itself in the head's coordinates: rows (W_c, b_c), Theorem R with w_0 = (0; W_c, b_c).

    Parameters
    ----------
    head : name of the layer (`plan.head`); if None, the last layer in the order of registration, if it is a Linear

    Returns
    -------
    Tensor (C, d_h + 1), or (C, d_h) where the layer has no bias

    Raises
    ------
    ValueError
        No such Linear layer.

    >>> layer = nn.Linear(2, 1)
    >>> torch.equal(head_weights(layer), torch.cat((layer.weight, layer.bias[:, None]), 1).detach())
    True
    """
    leaves = [module for module in model.modules() if not list(module.children())]
    layer = leaves[-1] if head is None else dict(model.named_modules()).get(head)
    if not isinstance(layer, nn.Linear):
        _check.refuse("head", "the name of a Linear layer", head if head is not None else type(layer).__name__)
    weight = layer.weight.detach()
    if layer.bias is None:
        return weight.clone()
    # A frozen bias has no gradient and so no coordinate; it is then an offset of f_c that no feature carries.
    return torch.cat((weight, layer.bias.detach()[:, None]), dim=1) if layer.bias.requires_grad else weight.clone()


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
