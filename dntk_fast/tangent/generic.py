"""Per-sample gradients of any module by torch.func: slow, general, and the oracle of the per-layer rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.projection import Sketch

__all__ = [
    "Wrapped",
    "affine_head",
    "alike",
    "alone",
    "beside_itself",
    "call",
    "chunk_rows",
    "differentiable",
    "ends",
    "gradients",
    "gradients_one_by_one",
    "per_sample_gradients",
    "probe",
    "projected",
    "saved_bytes",
    "take",
    "trainable",
    "vectorises",
]

# Relative change of an output, by another sample in the batch or by a second call, that is more than rounding.
_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}


P = ParamSpec("P")
R = TypeVar("R")


def differentiable(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that takes gradients of a model do so wherever it is called, under `no_grad` or `inference_mode` too.

    Inputs that were made in inference mode are copied, for autograd can save nothing of them; a DataLoader is read once,
    its batches joined on the model's device.
    """

    def usable(value: Any, device: torch.device | None) -> Any:
        if isinstance(value, DataLoader):
            return _joined(value, device)
        if isinstance(value, Tensor):
            return value.clone() if value.is_inference() else value
        if type(value) is dict:
            return {name: usable(part, device) for name, part in value.items()}
        return tuple(usable(part, device) for part in value) if type(value) is tuple else value

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        models = (value for value in (*args, *kwargs.values()) if isinstance(value, nn.Module))
        device = next((p.device for model in models for p in model.parameters()), None)
        # The precision is the model's own, whatever the caller casts automatically.
        kind = "cpu" if device is None else device.type
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False):
            return function(
                *(usable(a, device) for a in args), **{name: usable(a, device) for name, a in kwargs.items()}
            )

    return inner


def _joined(loader: DataLoader[Any], device: torch.device | None) -> Any:
    """All batches of a loader as one; a list, as the default collation makes it, is a tuple of arguments."""
    batches = [tuple(batch) if isinstance(batch, list) else batch for batch in loader]
    if not batches:
        _check.refuse("x", "at least one batch", "a DataLoader without any")
    return tree_map(lambda *parts: torch.cat(parts).to(device), *batches)


class Wrapped(nn.Module):
    """A model followed by a function of (model, batch) -> (n, q), as one module whose parameters are `model.*`."""

    def __init__(self, model: nn.Module, function: Callable[[nn.Module, Any], Tensor] | None = None) -> None:
        super().__init__()
        self.model: nn.Module = model
        self.function = function
        self.training = model.training  # not train(): parts of the model may be in another mode

    def forward(self, batch: Any) -> Tensor:
        """Return the outputs of a batch that is a tensor, or a tuple or dict of arguments."""
        return call(self.model, batch) if self.function is None else self.function(self.model, batch)


def call(model: nn.Module, batch: Any) -> Any:
    """Return the model's output on a tensor, a tuple of arguments or a dict of named arguments."""
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


def take(batch: Any, rows: slice | Tensor | int | None) -> Any:
    """Return some of the samples of a batch; of one sample (None) the batch of it alone."""
    if isinstance(batch, dict):
        return {name: part[rows] for name, part in batch.items()}
    return tuple(part[rows] for part in batch) if isinstance(batch, tuple) else batch[rows]


def trainable(model: nn.Module, names: Callable[[str], bool] | Sequence[str] | None = None) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen and pass the filter, in the model's order; shared ones once, empty ones not.

    Raises
    ------
    ValueError
        A name that is no trainable parameter, or nothing left; parameters whose gradient is no derivative of real numbers.
    """
    found = {name: p for name, p in model.named_parameters() if p.requires_grad and p.numel()}
    if callable(names):
        found = {name: p for name, p in found.items() if names(name)}
    elif names is not None:
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise TypeError(f"parameters: expected names, a function of a name, or None, got {names!r}")
        names = list(names)
        unknown = sorted(set(names) - found.keys())
        if unknown:
            _check.refuse("parameters", "names of trainable parameters", unknown)
        found = {name: p for name, p in found.items() if name in set(names)}
    if not found:
        _check.refuse("parameters", "at least one trainable parameter", "none")
    for name, p in found.items():
        if p.is_complex():
            _check.refuse("model", "real parameters", f"{name} of {p.dtype}")
        if p._backward_hooks:
            _check.refuse("model", "parameters without hooks on their gradients", f"one on {name}")
    return found


# --- the gradients ----------------------------------------------------------------------------------------------------


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention by plain products, restored after: the fused inference path has no derivative, the fused kernel no vmap."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _parameter_copies(module: nn.Module, names: Sequence[str], n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One leaf per wanted parameter that stands for n copies of it (no memory), and the others as constants."""
    every = dict(module.get_submodule("model").named_parameters())
    leaves = {name: every[name].detach().expand(n, *every[name].shape).requires_grad_() for name in names}
    return leaves, {name: p.detach() for name, p in every.items() if name not in leaves}


def _outputs(module: nn.Module, leaves: dict[str, Tensor], constants: dict[str, Tensor], batch: Any) -> Tensor:
    """Outputs (n, C), row i a function of copy i of the parameters alone."""

    def one(copies: dict[str, Tensor], sample: Any) -> Tensor:
        values = {f"model.{name}": value for name, value in {**constants, **copies}.items()}
        outputs: Tensor = functional_call(module, values, (take(sample, None),))
        return outputs[0]

    return vmap(one)(leaves, batch)


Gradients = Iterator[tuple[int, dict[str, Tensor]]]


def per_sample_gradients(module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int]) -> Gradients:
    """Yield grad_theta f_c(x_i) of all samples of a chunk, output after output, from one forward pass.

    Every sample gets its own copy of the parameters (an expanded view), so that C plain backward passes give the
    gradients apart.

    Yields
    ------
    (position in `outputs`, {name: (n, *shape)})
    """
    n = _check.samples("x", batch)
    # vmap forgets that a row of a padded table is fixed.
    if n == 1 or any(getattr(layer, "padding_idx", None) is not None for layer in module.modules()):
        yield from gradients_one_by_one(module, batch, names, outputs)
        return
    leaves, constants = _parameter_copies(module, names, n)
    with torch.enable_grad(), _plain_attention():
        totals = _outputs(module, leaves, constants, batch).sum(0)
        for position, c in enumerate(outputs):
            last = position + 1 == len(outputs)
            found = torch.autograd.grad(totals[c], list(leaves.values()), retain_graph=not last, materialize_grads=True)
            yield position, dict(zip(leaves, found, strict=True))


def gradients_one_by_one(module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int]) -> Gradients:
    """The same by the model itself, one sample and one backward pass at a time: whatever it does, this is its gradient."""
    every = dict(module.model.named_parameters())
    leaves = {name: every[name] for name in names}
    with torch.enable_grad(), _plain_attention():
        samples = range(_check.samples("x", batch))
        rows = [_check.logits(module(take(batch, slice(i, i + 1))), 1)[0] for i in samples]
        for position, c in enumerate(outputs):
            last = position + 1 == len(outputs)
            found = [gradients(row[c], list(leaves.values()), None, retain_graph=not last) for row in rows]
            yield (
                position,
                {name: torch.stack(parts) for name, parts in zip(leaves, zip(*found, strict=True), strict=True)},
            )


def gradients(values: Tensor, leaves: Sequence[Tensor], weight: Tensor | None, **options: bool) -> list[Tensor]:
    """Dense gradients by one backward pass; zero where the values do not depend on a leaf, or on any."""
    if not values.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(values, leaves, weight, materialize_grads=True, **options)
    return [g.to_dense() if g.is_sparse else g for g in found]


def vectorises(module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int] = (0,)) -> bool:
    """Whether torch.func gives the gradients of this module, judged by its first and last sample and output.

    Control flow that depends on the data it cannot follow, and what a module keeps of a parameter (a transposed view) it
    does not replace.
    """
    pair, some = ends(batch), [outputs[0], outputs[-1]]
    try:
        found = [part for _, part in per_sample_gradients(module, pair, names, some)]
    except (RuntimeError, NotImplementedError):
        return False
    truth = [part for _, part in gradients_one_by_one(module, pair, names, some)]
    return all(alike(a[name], b[name]) for a, b in zip(found, truth, strict=True) for name in names)


def alike(found: Tensor, truth: Tensor) -> bool:
    """Whether two ways to one derivative agree but for rounding."""
    apart = torch.linalg.vector_norm(found.double() - truth.double())
    return bool(apart <= 10 * _ROUNDING.get(truth.dtype, 1e-2) * torch.linalg.vector_norm(truth.double()))


def projected(
    model: nn.Module, x: Any, sketch: Sketch, *, outputs: Sequence[int] | None = None, rows: int = 8
) -> Tensor:
    """Return the projected gradients by torch.func alone, `rows` samples at a time: the oracle of the rules (C, n, k)."""
    module, n = Wrapped(model), _check.samples("x", x)
    columns = range(probe(module, x).shape[1]) if outputs is None else outputs
    parts = []
    for start in range(0, n, rows):
        chunk = take(x, slice(start, start + rows))
        found = per_sample_gradients(module, chunk, list(sketch.shapes), list(columns))
        parts.append(torch.stack([sketch.apply(gradients) for _, gradients in found]))
    return torch.cat(parts, dim=1)


# --- probes -----------------------------------------------------------------------------------------------------------


def probe(module: Wrapped, batch: Any) -> Tensor:
    """Return the outputs of one or two samples, after a look whether a row depends on its own sample alone.

    Raises
    ------
    ValueError
        Outputs that are not (n, C), or that change with another sample in the batch or from call to call.
    """
    again = beside_itself(module, batch)
    with torch.enable_grad(), _plain_attention():
        return alone(module(ends(batch)), again).detach()


def ends(batch: Any) -> Any:
    """The first and the last sample."""
    return take(batch, torch.tensor([0, _check.samples("x", batch) - 1]))


def beside_itself(module: Wrapped, batch: Any) -> Tensor:
    """Outputs (C,) of the first sample with a copy of itself for company; in one line why the model does not take it."""
    with torch.enable_grad(), _plain_attention(), _accepted(batch), _without_chance():
        values = module(take(batch, torch.tensor([0, 0])))
    first, second = _check.logits(values, 2).detach()
    _refuse_mixing(first, second)
    return first


@contextmanager
def _without_chance() -> Iterator[None]:
    """Refuse a model that draws random numbers, however few of them show; the generator is left as it was."""
    before = torch.get_rng_state()
    yield
    if not torch.equal(before, torch.get_rng_state()):
        torch.set_rng_state(before)
        _check.refuse("model", "outputs that are not drawn at random", "random numbers drawn by it")


@contextmanager
def _accepted(batch: Any) -> Iterator[None]:
    """Say in one line what the model had against the batch."""
    try:
        yield
    except _check.ArgumentError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _check.refuse("inputs", f"what the model takes ({reason[0]})", _described(batch))


def alone(values: Tensor, again: Tensor) -> Tensor:
    """Outputs (2, C) whose first row is what it was in other company."""
    found = _check.logits(values, 2)
    _refuse_mixing(found[0].detach(), again)
    return found


def _refuse_mixing(outputs: Tensor, others: Tensor) -> None:
    """Outputs of one sample in two places or companies."""
    change = float((outputs - others).abs().max())
    if change > _ROUNDING.get(outputs.dtype, 1e-2) * float(torch.maximum(outputs.abs(), others.abs()).max()):
        _check.refuse("model", "outputs of a sample that depend on it alone", f"a change of {change:.3g} by another")


def _described(batch: Any) -> str:
    """Shapes and dtypes of a batch, in words."""
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple) else (batch,)
    return ", ".join(f"shape {tuple(part.shape)} of {part.dtype}" for part in parts)


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
        with torch.enable_grad(), _plain_attention(), _accepted(batch), _Uses() as uses:
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


def _serves_alone(layer: nn.Linear, h: Tensor, output: Tensor, row: int) -> bool:
    trained = [p for p in (layer.weight, layer.bias) if p is not None and p.requires_grad]
    for c in {0, output.shape[1] - 1}:
        for p, found in zip(trained, torch.autograd.grad(output[row, c], trained, retain_graph=True), strict=True):
            expected = torch.zeros_like(found)
            expected[c] = h[row].detach() if p is layer.weight else 1.0
            if not torch.allclose(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max())):
                return False
    return True


# --- memory -----------------------------------------------------------------------------------------------------------


def saved_bytes(module: Wrapped, batch: Any) -> int:
    """Bytes of the tensors that one sample's forward pass keeps for the backward pass, parameters left out.

    Of all that it makes, where transforms of torch.func inside admit no look at what is kept.
    """
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    one = take(batch, torch.tensor([0]))  # a copy: a slice would count the storage of all samples
    with torch.enable_grad(), _plain_attention():
        try:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                module(one)
        except RuntimeError:
            with _Made() as made:
                module(one)
            return made.bytes
    return sum(seen.values())


class _Made(TorchFunctionMode):
    """Adds up the bytes of all tensors that functions give back."""

    bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.bytes += sum(leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


def chunk_rows(memory: int, per_sample: int, fixed: int = 0) -> int:
    """Return how many samples fit into the budget.

    Raises
    ------
    ValueError
        Not even one does; the message states the smallest budget.

    >>> chunk_rows(100, 30, 10)
    3
    """
    rows = (memory - fixed) // max(per_sample, 1)
    if rows < 1:
        least = fixed + per_sample
        _check.refuse("memory", f"at least {least} ({readable_bytes(least)}) for one sample", readable_bytes(memory))
    return rows
