"""What a computation costs, counted while it runs: flops, bytes moved, forward and backward passes.

A count depends on sizes alone: it is the same at every run, on every machine.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_batchedtensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Cost", "count"]


@dataclass(frozen=True)
class Cost:
    """Counted cost.

    flops of products, convolutions, Fourier transforms and eigendecompositions; bytes of the operands and results of
    every operation of torch that is not a view; images forward; image-logit pairs backward.
    """

    flops: int
    bytes: int
    forward: int
    backward: int

    def __sub__(self, other: Cost) -> Cost:
        """Leave out a part that was counted by itself."""
        return Cost(
            self.flops - other.flops,
            self.bytes - other.bytes,
            self.forward - other.forward,
            self.backward - other.backward,
        )


def count(work: Callable[[], Any], model: nn.Module | None = None) -> Cost:
    """Run the work once and count; passes are those of `model`, in both directions.

    Some operations have no one number of flops. By convention an eigendecomposition has 9 n^3, eigenvalues alone 4/3 n^3,
    a Fourier transform of n real numbers 5/2 n log2 n. What does not go through torch (NumPy, scikit-learn) is not seen.

    >>> count(lambda: torch.ones(2, 3) @ torch.ones(3, 4)).flops
    48
    """
    flops = FlopCounterMode(display=False, custom_mapping=FLOPS)
    moved, passes = _Moved(), _Passes()
    with _forward(model, passes), passes, moved, flops:
        work()
    return Cost(int(flops.get_total_flops()), moved.bytes, passes.forward, passes.backward)


def _product_flops(into: torch.Size, left: torch.Size, right: torch.Size, **_: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


def _eigh_flops(shape: torch.Size, UPLO: str = "L", compute_v: bool = True, **_: Any) -> int:
    cubes = shape.numel() * shape[-1]
    return 9 * cubes if compute_v else cubes * 4 // 3


def _transform_flops(shape: torch.Size, dim: list[int], normalisation: int, last: Any, **_: Any) -> int:
    # `last` is onesided of a transform of real numbers, and the length of the result of its inverse
    n = shape[dim[-1]] if isinstance(last, bool) else int(last)
    return round(2.5 * n * math.log2(n)) * (shape.numel() // shape[dim[-1]])


# What torch's own counter leaves out of what this package calls.
FLOPS = {
    torch.ops.aten.addmm_: _product_flops,
    torch.ops.aten._linalg_eigh: _eigh_flops,
    torch.ops.aten._fft_r2c: _transform_flops,
    torch.ops.aten._fft_c2r: _transform_flops,
}
# These read as much of their first operand as they give back, not the whole of it.
PICKING = {torch.ops.aten.gather, torch.ops.aten.index, torch.ops.aten.index_select, torch.ops.aten.embedding}


class _Moved(TorchDispatchMode):
    """Adds up the bytes of operands and results."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = _tensors((args, {name: value for name, value in (kwargs or {}).items() if name != "out"}))
        made, owned = _tensors(result), {leaf.untyped_storage().data_ptr() for leaf in read}
        written = made if func._schema.is_mutable else [x for x in made if x.untyped_storage().data_ptr() not in owned]
        if written:  # a view owns nothing and writes nothing
            read = made + read[1:] if func.overloadpacket in PICKING else read
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in read + written)
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class _Passes(TorchFunctionMode):
    """Adds up the rows of every cotangent that is sent back from outputs (n, C); a single output is one row."""

    forward = backward = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.grad:
            given = tree_leaves(kwargs["grad_outputs"])
            self.backward += sum(1 if rows is None else _whole(rows)[..., 0].numel() for rows in given)
        return func(*args, **kwargs)


def _whole(rows: Tensor) -> Tensor:
    """What `vmap` sees one part of; its axis may lie anywhere but last."""
    while is_batchedtensor(rows):
        rows = get_unwrapped(rows)
    return rows


@contextlib.contextmanager
def _forward(model: nn.Module | None, passes: _Passes) -> Iterator[None]:
    """Count the images that go through the model."""

    def seen(module: nn.Module, inputs: Any, output: Tensor) -> None:
        passes.forward += len(output)

    hook = model.register_forward_hook(seen) if model is not None else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
