"""What is asked of a model before the work: which parameters count, whether rows mix, what a row keeps in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    "accepted",
    "agree_to_rounding",
    "chunk_rows",
    "kept_activations",
    "probe",
    "saved_bytes",
    "single_sample_output",
    "trainable",
    "unmixed",
]


# Relative change of an output, by another sample in the batch or by a second call, that is more than rounding.
_ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}


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


@alone
def probe(module: Wrapped, batch: Any) -> Tensor:
    """Return the outputs of one or two samples, after a look whether a row depends on its own sample alone.

    Raises
    ------
    ValueError
        Outputs that are not (n, C), or that change with another sample in the batch or from call to call.
    """
    again = single_sample_output(module, batch)
    with torch.enable_grad(), plain_attention():
        return unmixed(module(ends(batch)), again).detach()


def single_sample_output(module: Wrapped, batch: Any) -> Tensor:
    """Outputs (C,) of the first sample in a batch with a copy of itself; a refusal says why the model does not take it."""
    with torch.enable_grad(), plain_attention(), accepted(batch), without_chance():
        values = module(take(batch, torch.tensor([0, 0])))
    first, second = _check.logits(values, 2).detach()
    _refuse_mixing(first, second)
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


def unmixed(values: Tensor, again: Tensor) -> Tensor:
    """Outputs (2, C) whose first row is what it was in other company."""
    found = _check.logits(values, 2)
    _refuse_mixing(found[0].detach(), again)
    return found


def _refuse_mixing(outputs: Tensor, others: Tensor) -> None:
    """Outputs of one sample in two places or companies."""
    change = float((outputs - others).abs().max())
    if change > _ROUNDING.get(outputs.dtype, 1e-2) * float(torch.maximum(outputs.abs(), others.abs()).max()):
        _check.refuse("model", "outputs of a sample that depend on it alone", f"a change of {change:.3g} by another")


def agree_to_rounding(found: Tensor, truth: Tensor) -> bool:
    """Whether two ways to one derivative agree but for rounding."""
    apart = torch.linalg.vector_norm(found.double() - truth.double())
    return bool(apart <= 10 * _ROUNDING.get(truth.dtype, 1e-2) * torch.linalg.vector_norm(truth.double()))


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
