"""Per-sample gradients of any module by torch.func: slow, general, and the oracle of the per-layer rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.projection import Sketch

__all__ = [
    "Wrapped",
    "affine_head",
    "alone",
    "beside_itself",
    "call",
    "chunk_rows",
    "differentiable",
    "ends",
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
        with torch.inference_mode(False), torch.enable_grad():
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
    """Return the parameters that are not frozen and pass the filter, in the model's order; shared ones once.

    Raises
    ------
    ValueError
        A name that is no trainable parameter, or nothing left.
    """
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if callable(names):
        found = {name: p for name, p in found.items() if names(name)}
    elif names is not None:
        unknown = sorted(set(names) - found.keys())
        if unknown:
            _check.refuse("parameters", "names of trainable parameters", unknown)
        found = {name: p for name, p in found.items() if name in set(names)}
    if not found:
        _check.refuse("parameters", "at least one trainable parameter", "none")
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

    n = len(next(iter(leaves.values())))
    # One by one what vmap cannot trace (it comes with n = 1), and padded tables: vmap forgets that their row is fixed.
    if n == 1 or any(getattr(layer, "padding_idx", None) is not None for layer in module.modules()):
        rows = [one({name: leaf[i] for name, leaf in leaves.items()}, take(batch, i)) for i in range(n)]
        return torch.stack(rows)
    return vmap(one)(leaves, batch)


def per_sample_gradients(
    module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int]
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield grad_theta f_c(x_i) of all samples of a chunk, output after output, from one forward pass.

    Every sample gets its own copy of the parameters (an expanded view), so that C plain backward passes give the
    gradients apart.

    Yields
    ------
    (position in `outputs`, {name: (n, *shape)})
    """
    n = _check.samples("x", batch)
    leaves, constants = _parameter_copies(module, names, n)
    with torch.enable_grad(), _plain_attention():
        totals = _outputs(module, leaves, constants, batch).sum(0)
        for position, c in enumerate(outputs):
            last = position + 1 == len(outputs)
            found = torch.autograd.grad(totals[c], list(leaves.values()), retain_graph=not last, materialize_grads=True)
            yield position, dict(zip(leaves, found, strict=True))


def vectorises(module: Wrapped, batch: Any, names: Sequence[str]) -> bool:
    """Whether torch.func can run two samples of this module at once; data-dependent control flow it cannot."""
    pair = take(batch, torch.zeros(2, dtype=torch.int64))
    try:
        next(per_sample_gradients(module, pair, names, [0]))
    except RuntimeError:
        return False
    return True


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
    with torch.no_grad(), _plain_attention():
        return alone(module(ends(batch)), again)


def ends(batch: Any) -> Any:
    """The first and the last sample."""
    return take(batch, torch.tensor([0, _check.samples("x", batch) - 1]))


def beside_itself(module: Wrapped, batch: Any) -> Tensor:
    """Outputs (C,) of the first sample with a copy of itself for company; in one line why the model does not take it."""
    with torch.no_grad(), _plain_attention(), _accepted(batch):
        values = module(take(batch, torch.tensor([0, 0])))
    return _check.logits(values, 2)[0]


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
    change = float((found[0] - again).detach().abs().max())
    if change > _ROUNDING.get(found.dtype, 1e-2) * float(found.detach().abs().max()):
        _check.refuse("model", "outputs of a sample that depend on it alone", f"a change of {change:.3g} by another")
    return found


def _described(batch: Any) -> str:
    """Shapes and dtypes of a batch, in words."""
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple) else (batch,)
    return ", ".join(f"shape {tuple(part.shape)} of {part.dtype}" for part in parts)


def affine_head(module: Wrapped, batch: Any, names: Sequence[str]) -> str | None:
    """Name of the Linear layer whose output is the model's output and whose weights serve nothing else, or None.

    Found by a probe: the layer is called once, its output tensor is the model's, untouched; and the gradient of the
    first and of the last output with respect to its weight is that output's row alone, equal to the layer's input.
    """
    calls: list[tuple[nn.Linear, Tensor, Tensor, int]] = []

    def note(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], result: Tensor) -> None:
        calls.append((layer, given[0] if given else named["input"], result, result._version))  # type: ignore[arg-type]

    layers = [layer for layer in module.model.modules() if isinstance(layer, nn.Linear)]
    plain = [layer for layer in layers if type(layer).forward is nn.Linear.forward]
    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in plain]
    try:
        with torch.enable_grad(), _plain_attention(), _accepted(batch):
            output = module(take(batch, slice(0, 1)))
    finally:
        for hook in hooks:
            hook.remove()
    finals = [seen for seen in calls if seen[2] is output and seen[2]._version == seen[3]]
    if not finals or output.ndim != 2:
        return None
    layer, h = finals[0][0], finals[0][1]
    name = next(name for name, other in module.model.named_modules() if other is layer)
    alone = sum(seen[0] is layer for seen in calls) == 1 and f"{name}.weight".removeprefix(".") in names
    return name if alone and h.ndim == 2 and _serves_the_output_alone(layer, h, output) else None


def _serves_the_output_alone(layer: nn.Linear, h: Tensor, output: Tensor) -> bool:
    for c in {0, output.shape[1] - 1}:
        (found,) = torch.autograd.grad(output[0, c], layer.weight, retain_graph=True)
        expected = torch.zeros_like(found)
        expected[c] = h[0].detach()
        if not torch.allclose(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max())):
            return False
    return True


# --- memory -----------------------------------------------------------------------------------------------------------


def saved_bytes(module: Wrapped, batch: Any) -> int:
    """Bytes of the tensors that one sample's forward pass keeps for the backward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), _plain_attention(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        module(take(batch, torch.tensor([0])))  # a copy: a slice would count the storage of all samples
    return sum(seen.values())


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
