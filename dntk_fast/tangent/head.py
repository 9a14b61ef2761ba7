"""The head of a network: the last affine layer, what it is given, and the network's own weights in its coordinates."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast.tangent.batches import Wrapped, ends, named, network, take
from dntk_fast.tangent.isolation import plain_attention
from dntk_fast.tangent.probes import accepted

__all__ = [
    "Head",
    "affine_head",
    "final_linear",
    "find_head",
    "head_inputs",
    "head_weights",
    "penultimate",
    "recorded_inputs",
]


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


@dataclass(frozen=True)
class Head:
    """The head by its name; the rows of its weight that give the outputs; whether its own output is the model's.

    Where it is not, each sample's outputs are those `columns` of the layer's output at one position: a wrapper, a slice of
    it, the position of the last word.
    """

    name: str
    columns: tuple[int, ...]
    direct: bool


# Layers from the end that are tried: what stands behind the head is a layer at most.
_LAST = 2


def find_head(module: Wrapped, batch: Any, names: Sequence[str]) -> Head | None:
    """The head of a network, directly its last layer (`affine_head`), or a layer whose output it selects from."""
    inner = Wrapped(module.model, module.function)
    name = affine_head(inner, batch, names)
    if name is not None:
        layer = module.model.get_submodule(name)
        every = range(int(layer.out_features))  # type: ignore[arg-type]
        rows = every if module.columns is None else module.columns
        return Head(name, tuple(_check.integer("outputs", c, 0, len(every) - 1) for c in rows), True)
    layers = {name: part for name, part in module.model.named_modules() if type(part).forward is nn.Linear.forward}
    with torch.enable_grad(), plain_attention(), accepted(batch), _Uses() as uses, _calls(layers) as calls:
        output = _check.logits(module(ends(batch)), 2)
    for name, (h, Z) in list(calls.items())[-_LAST:]:
        own = [p for p in layers[name].parameters() if uses.counts[id(p)] > 1]
        if f"{name}.weight".removeprefix(".") not in names or own or h is None:
            continue
        found = [_selected(output, Z, turned) for turned in (False, True)]
        if found[0] is not None and found[1] is not None and found[0][1] == found[1][1]:
            return Head(name, found[0][1], False)
    return None


def head_inputs(module: Wrapped, batch: Any, head: Head) -> Tensor:
    """What the head is given of each sample where the outputs are taken from, (n, d_h); settled for every sample.

    Raises
    ------
    ValueError
        A sample whose outputs are no selection from the head's.
    """
    with torch.enable_grad(), plain_attention(), _calls({head.name: module.model.get_submodule(head.name)}) as calls:
        output = module(batch)
    h, Z = calls[head.name]
    found = None if h is None else _selected(output, Z, False)
    if h is None or found is None or found[1] != head.columns:
        _check.refuse("keep_head", "False for this model", f"samples whose outputs are not those of {head.name}")
    positions, _ = found
    return h.detach().reshape(len(h), -1, h.shape[-1])[torch.arange(len(h), device=h.device), positions]


@contextlib.contextmanager
def _calls(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, tuple[Tensor | None, Tensor]]]:
    """Input and output of each layer; None as the input of one that is called twice, or changed in place afterwards."""
    seen: dict[str, tuple[Tensor | None, Tensor]] = {}
    versions: dict[str, int] = {}

    def noter(name: str) -> Callable[..., None]:
        def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Tensor) -> None:
            h = given[0] if given else named["input"]
            seen[name], versions[name] = (None if name in seen else h, result), result._version

        return note

    handles = [part.register_forward_hook(noter(name), with_kwargs=True) for name, part in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    for name, (_, result) in seen.items():
        if result._version != versions[name]:
            seen[name] = (None, result)


def _selected(output: Tensor, Z: Tensor, turned: bool) -> tuple[Tensor, tuple[int, ...]] | None:
    """Positions (n,) and columns with output[i, c] = Z[i, positions[i], columns[c]], by value and by derivative, or None.

    The cotangents are small integers, which every type holds: they come back where the outputs were taken from.
    """
    n, C = output.shape
    if not output.requires_grad or not Z.requires_grad or Z.ndim < 2 or len(Z) != n:
        return None
    numbers = torch.arange(1, C + 1, device=output.device)
    weight = (numbers.flip(0) if turned else numbers).to(output.dtype)
    (D,) = torch.autograd.grad(output, Z, weight.expand(n, C).contiguous(), retain_graph=True, allow_unused=True)
    if D is None:
        return None
    D, flat = D.reshape(n, -1, D.shape[-1]), Z.detach().reshape(n, -1, Z.shape[-1])
    used = (D != 0).any(2)
    if not bool((used.sum(1) == 1).all()):
        return None
    positions = used.long().argmax(1)
    rows = torch.arange(n, device=D.device)
    D, flat = D[rows, positions], flat[rows, positions]
    hits = D[0] == weight.to(D.dtype)[:, None]
    if not bool((hits.sum(1) == 1).all()):
        return None
    columns = hits.long().argmax(1)
    expected = torch.zeros_like(D).index_fill(1, columns, 1)
    expected[:, columns] = weight.to(D.dtype)
    same = torch.equal(D, expected) and torch.equal(flat[:, columns].to(output.dtype), output.detach())
    return (positions, tuple(columns.tolist())) if same else None


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


@alone
def head_weights(model: nn.Module, head: str | None = None, columns: Sequence[int] | None = None) -> Tensor:
    """Weights of the network itself in the head's coordinates: rows (W_c, b_c), `theorem_r` with w_0 = (0; W_c, b_c).

    Parameters
    ----------
    head : name of the layer (`plan.head`); if None, the last layer in the order of registration, if it is a Linear
    columns : rows of its weight that give the outputs (`plan.columns`); None means all, in order

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
    rows = slice(None) if columns is None else list(columns)
    weight = layer.weight.detach()[rows]
    # A frozen bias has no gradient and so no coordinate; it is then an offset of f_c that no feature carries.
    if layer.bias is None or not layer.bias.requires_grad:
        return weight.clone()
    return torch.cat((weight, layer.bias.detach()[rows, None]), dim=1)


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


@alone
def final_linear(model: nn.Module, x: Any) -> tuple[str, nn.Linear]:
    """Find the head: the linear layer whose output is, as an object, the output of the model.

    Parameters
    ----------
    model
        A network in evaluation mode; one with the outputs that are asked for (`network`) may select them from the layer's,
        as far as its first and last samples show.
    x
        A batch; only its first and last samples are looked at.

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
    inner = model.model if isinstance(model, Wrapped) else _check.module(model)
    if not isinstance(x, tuple | Mapping):
        _check.tensor("x", x)
    module = network(model, None)
    linear = {name: part for name, part in inner.named_modules() if isinstance(part, nn.Linear)}
    outputs: list[tuple[str, Tensor]] = []
    handles = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.append((name, output)))
        for name, part in linear.items()
    ]
    try:
        with torch.no_grad(), named("x"), accepted(x):
            result = Wrapped(inner, module.function)(take(x, slice(0, 1)))
    finally:
        for handle in handles:
            handle.remove()
    for name, output in outputs:
        if output is result:
            return name, linear[name]
    names = [name for name, p in inner.named_parameters() if p.requires_grad]
    found = find_head(module, x, names) if isinstance(model, Wrapped) else None
    if found is not None:
        return found.name, linear[found.name]
    _check.refuse("model", "a network whose output is that of a Linear layer", type(inner).__name__)


@alone
def penultimate(model: nn.Module, x: Any, *, batch_size: int = 256) -> Tensor:
    """Give the penultimate features h(x): what the final linear layer is given, f(x) = W h(x) + b.

    Parameters
    ----------
    model
        A network that ends in a linear layer, in evaluation mode, as it is or with the outputs that are asked for.
    x : (n, ...), or a tuple or dict of arguments
        Inputs; gradients flow if they are switched on and the layer is the last.
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
    _check.inputs("x", x)
    name, head = final_linear(model, x)
    module, step = network(model, None), _check.integer("batch_size", batch_size, 1)
    n, features, found = _check.samples("x", x), [], None
    with recorded_inputs({"head": head}) as seen:
        for at in range(0, n, step):
            part = take(x, slice(at, at + step))
            module(part)
            h = seen["head"]
            if h.ndim != 2 or len(h) != _check.samples("x", part):  # of a sequence, where each sample's outputs are
                found = found or find_head(module, x, [f"{name}.weight".removeprefix(".")])
                h = head_inputs(module, part, found or Head(name, (), True))
            features.append(h)
    return torch.cat(features)
