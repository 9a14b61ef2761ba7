"""What is asked of a model before the work: which parameters count, whether rows mix, what a row keeps in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast._device import readable_bytes
from dntk_fast.tangent.batches import Wrapped, described, ends, take
from dntk_fast.tangent.isolation import plain_attention, without_chance

__all__ = [
    "Seen",
    "accepted",
    "agree_to_rounding",
    "chunk_rows",
    "kept_activations",
    "look",
    "probe",
    "refuse_mixing",
    "saved_bytes",
    "single_sample_output",
    "trainable",
    "unmixed",
]


# Relative change of an output, by another sample in the batch or by a second call, that is more than rounding.
_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}
# Where outputs cancel, what a change of the parameters by one unit of rounding does to them, and how often that is allowed.
_NOISE = 30


@alone
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


@dataclass(frozen=True)
class Seen:
    """What two samples showed: their outputs, the coarsest unit of rounding of all that was computed, and what hides.

    `hidden` says whether part of the model ran without gradients, `hooked` whether it hung hooks on its activations.
    """

    values: Tensor
    unit: float
    hidden: bool
    hooked: bool


class _Watching(TorchFunctionMode):
    """Notes the types of all results, and functions that forward mode does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.unit, self.hidden, self.hooked = 0.0, False, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.hidden |= func is torch._C._set_grad_enabled
        self.hooked |= func is Tensor.register_hook
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.note(result)
        return result

    def note(self, result: Tensor) -> None:
        """Remember the type."""
        if result.is_floating_point() or result.is_complex():
            self.unit = max(self.unit, torch.finfo(result.dtype).eps)
        if result.is_cuda and result.dtype == torch.float32 and torch.backends.cudnn.allow_tf32:
            self.unit = max(self.unit, 2.0**-10)  # TF32 keeps ten bits of mantissa


def look(module: Wrapped, batch: Any) -> Seen:
    """Run two samples through the model, after a look whether a row depends on its own sample alone.

    Raises
    ------
    ValueError
        Outputs that are not (n, C), that change with another sample in the batch or from call to call, or that carry no
        gradient.
    """
    again = single_sample_output(module, batch)
    with torch.enable_grad(), plain_attention(), _Watching() as seen:
        values = module(ends(batch))
    seen.note(_check.logits(values, 2))
    unmixed(values, again, module, batch)
    return Seen(values.detach(), seen.unit, seen.hidden, seen.hooked)


@alone
def probe(module: Wrapped, batch: Any) -> Tensor:
    """Return the outputs of one or two samples, after the same look."""
    return look(module, batch).values


def single_sample_output(module: Wrapped, batch: Any) -> Tensor:
    """Outputs (C,) of the first sample in a batch with a copy of itself; a refusal says why the model does not take it."""
    with torch.enable_grad(), plain_attention(), accepted(batch), without_chance(), _Watching() as seen:
        values = module(take(batch, torch.tensor([0, 0])))
    found = _check.logits(values, 2)
    if not found.requires_grad:
        _check.refuse("model", "outputs that carry a gradient", "none: it runs under no_grad or inference_mode")
    first, second = found.detach()
    seen.note(first)
    refuse_mixing(first, second, seen.unit, module, batch)
    return first


@contextmanager
def accepted(batch: Any) -> Iterator[None]:
    """Say in one line what the model had against the batch."""
    try:
        yield
    except (_check.ArgumentError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _check.refuse("inputs", f"what the model takes ({reason[0]})", described(batch))


@contextmanager
def kept_activations() -> Iterator[None]:
    """Say in one line that a model computes its activations again in the backward pass, where nobody records them."""
    try:
        yield
    except RuntimeError as error:
        if "checkpoint" not in str(error):
            raise
        expected = "activations that are kept for the backward pass (use_reentrant=False serves products, not kernels)"
        _check.refuse("model", expected, "torch.utils.checkpoint")


def unmixed(values: Tensor, again: Tensor, module: Wrapped, batch: Any) -> Tensor:
    """Outputs (2, C) whose first row is what it was in other company."""
    found = _check.logits(values, 2)
    refuse_mixing(found[0].detach(), again, torch.finfo(found.dtype).eps, module, batch)
    return found


def refuse_mixing(outputs: Tensor, others: Tensor, unit: float, module: Wrapped, batch: Any) -> None:
    """Refuse outputs of one sample, in two places or companies, that differ by more than rounding.

    Rounding is judged by the coarsest type that occurred, and where outputs are small because they cancel by what a change
    of every parameter by one unit does to them.
    """
    change = float((outputs - others).abs().max())
    size = float(torch.maximum(outputs.abs(), others.abs()).max())
    if change <= max(_ROUNDING.get(outputs.dtype, 1e-2), 10 * unit if unit > 1e-4 else 0.0) * size:
        return
    with torch.enable_grad(), plain_attention(), _Watching() as seen:
        module(ends(batch))
    unit = max(unit, seen.unit)
    if change > max(_NOISE * _noise(module, batch, unit), 10 * unit * size if unit > 1e-4 else 0.0):
        _check.refuse("model", "outputs of a sample that depend on it alone", f"a change of {change:.3g} by another")


def _noise(module: Wrapped, batch: Any, unit: float) -> float:
    """The largest change of two outputs when every parameter changes by one unit of rounding, of random sign."""
    pair, generator = ends(batch), torch.Generator().manual_seed(0)

    def moved(p: Tensor) -> Tensor:
        signs = 2 * torch.randint(0, 2, p.shape, generator=generator, device="cpu") - 1
        return p.detach() * (1 + 2 * unit * signs.to(p.device)).to(p.dtype)

    with torch.enable_grad(), plain_attention():
        try:
            change = module.at({name: moved(p) for name, p in module.model.named_parameters()}, pair) - module(pair)
        except (RuntimeError, TypeError, AttributeError):  # a model that torch.func cannot call
            return 0.0
    return float(change.detach().abs().max())


def agree_to_rounding(found: Tensor, truth: Tensor, unit: float = 0.0) -> bool:
    """Whether two ways to one derivative agree but for rounding."""
    apart = torch.linalg.vector_norm(found.double() - truth.double())
    room = 10 * max(_ROUNDING.get(truth.dtype, 1e-2), unit if unit > 1e-4 else 0.0)
    return bool(apart <= room * torch.linalg.vector_norm(truth.double()))


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
        return tensor.detach()  # an output that its own function kept with its history would never be freed

    one = take(batch, torch.tensor([0]))  # a copy: a slice would count the storage of all samples
    with torch.enable_grad(), plain_attention():
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
