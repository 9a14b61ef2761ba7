"""Which images span the tangent space: real ones, chosen by forward passes alone or at random, and what the choice costs.

A pass is one image through the network; a backward pass counts as two forward ones, so that a Jacobian of C logits costs
1 + 2 C and the full kernel n (1 + 2 C).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast._device import default_memory, readable_bytes
from dntk_fast.distillation.row_samplers import medoid_rows
from dntk_fast.tangent.batches import in_any_mode, network, take
from dntk_fast.tangent.head import penultimate
from dntk_fast.tangent.probes import accepted

__all__ = ["CHOICES", "Cost", "activation_kernel", "activation_passes", "choose_rows", "choosing_cost", "greedy_rows"]

# The pool holds so many times the images that are kept: at 5 its forward passes cost a quarter of the kept Jacobians.
POOL = 5
# Residual diagonals below this share of the largest entry are rounding.
RTOL = 1e-10
#: ways to keep images of the data; the estimator knows others that make images
CHOICES = ("pool", "random", "stratified", "medoids")


@dataclass(frozen=True)
class Cost:
    """What distillation costs beside the full kernel, in passes of one image.

    Attributes
    ----------
    choosing_forward, choosing_backward
        Passes that choose or make the images.
    kept_forward, kept_backward
        Passes of one use: the gradients that span the tangent space.
    full
        n (1 + 2 C), the full kernel in forward passes.

    Example
    -------
    >>> cost = Cost(choosing_forward=250, choosing_backward=0, kept_forward=50, kept_backward=500, full=1437 * 21)
    >>> round(cost.share, 3), round(cost.break_even, 4)
    (0.043, 0.0086)
    """

    choosing_forward: int
    choosing_backward: int
    kept_forward: int
    kept_backward: int
    full: int

    @property
    def choosing(self) -> int:
        """Passes of the choice, in forward passes."""
        return self.choosing_forward + 2 * self.choosing_backward

    @property
    def kept(self) -> int:
        """Passes of one use, in forward passes."""
        return self.kept_forward + 2 * self.kept_backward

    @property
    def share(self) -> float:
        """Choice and one use over the full kernel."""
        return (self.choosing + self.kept) / self.full

    @property
    def break_even(self) -> float:
        """Kernel uses from which the choice has paid for itself; infinite where one use saves nothing."""
        saved = self.full - self.kept
        return self.choosing / saved if saved > 0 else math.inf

    def __str__(self) -> str:
        return (
            f"choosing: {self.choosing_forward} forward and {self.choosing_backward} backward passes; "
            f"one use: {self.kept_forward} forward and {self.kept_backward} backward; together {self.share:.3g} x the "
            f"full kernel; pays from {self.break_even:.2g} kernel uses on"
        )


@in_any_mode
def choose_rows(
    model: nn.Module,
    x: Any,
    y: Tensor,
    *,
    images: str,
    count: int,
    classes: int,
    seed: int,
    memory: int | None = None,
) -> Tensor:
    """Choose rows of the data.

    Parameters
    ----------
    model : network in evaluation mode
    x : (n, ...), or a tuple or dict of arguments
    y : (n,), classes 0 ... classes - 1
    images
        "pool": from a random pool of five times as many images the ones that lower the trace of what the kernel of
        activations leaves most (`activation_kernel`, `greedy_rows`); "random": without regard to classes; "stratified": as
        many of every class; "medoids": of every class the images nearest to the means of k-means on its penultimate
        features.
    count : rows to keep; a multiple of `classes` where every class gives as many
    seed, memory

    Returns
    -------
    Tensor
        (count,), int64, without repetition; in the order of the choice for "pool", by class where every class gives as many.

    Raises
    ------
    ValueError
        More rows than there are, or than the smallest class has.

    >>> model, x = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)), torch.arange(4.0)[:, None]
    >>> len(set(choose_rows(model, x, torch.tensor([0, 1, 0, 1]), images="pool", count=3, classes=2, seed=0).tolist()))
    3
    """
    _check.choice("images", images, CHOICES)
    n = _check.samples("x", _check.inputs("x", x))
    _check.integer("classes", classes, 1)
    _check.labels("y", y, n, classes)
    _check.integer("count", count, 1, n)
    generator = torch.Generator().manual_seed(_check.seed(seed))
    shuffled = torch.randperm(n, generator=generator)
    if images == "random":
        return shuffled[:count]
    if images == "pool":
        pool = shuffled[: POOL * count]
        kernel = activation_kernel(model, take(x, pool.to(y.device)), memory=memory)
        return pool[greedy_rows(kernel, count)]
    each = _per_class(y, count, classes)
    if images == "stratified":
        return torch.cat([shuffled[y.cpu()[shuffled] == c][:each] for c in range(classes)])
    features = _features(model, x).cpu()
    own = [(y.cpu() == c).nonzero().flatten() for c in range(classes)]
    seeds = torch.randint(2**31, (classes,), generator=generator).tolist()
    return torch.cat([rows[medoid_rows(features[rows], each, seed=s)] for rows, s in zip(own, seeds, strict=True)])


def choosing_cost(images: str, n: int, count: int, outputs: int, cotangents: int | None = None) -> Cost:
    """What `choose_rows` and one use of its images cost, said before any work.

    Parameters: images, n images of the data, count of those kept, outputs C, cotangents for each image (None: all logits).

    >>> round(choosing_cost("pool", 1437, 50, 10).share, 3), round(choosing_cost("random", 1437, 500, 10, 1).share, 3)
    (0.043, 0.05)
    """
    looked_at = {"pool": min(n, POOL * count), "medoids": n}.get(images, 0)
    return Cost(looked_at, 0, count, count * (cotangents or outputs), n * (1 + 2 * outputs))


def _per_class(y: Tensor, count: int, classes: int) -> int:
    counts = torch.bincount(y.cpu().long(), minlength=classes)
    smallest = int(counts.argmin())
    if count % classes:
        _check.refuse("count", f"a multiple of the {classes} classes", count)
    if not counts[smallest]:
        _check.refuse("y", f"images of every class 0 ... {classes - 1}", f"none of class {smallest}")
    if count // classes > int(counts[smallest]):
        expected = f"at most {int(counts[smallest])}, the number of images of class {smallest}"
        _check.refuse("per_class", expected, count // classes)
    return count // classes


@alone
@torch.no_grad()
def _features(model: nn.Module, x: Any) -> Tensor:
    return penultimate(model, x).double()


# --- the kernel of activations ----------------------------------------------------------------------------------------


@in_any_mode
def activation_kernel(model: nn.Module, x: Any, *, memory: int | None = None) -> Tensor:
    """The sum over layers of the Gram matrices of what follows each activation, each divided by its trace.

    G = sum_l H_l H_l^T / tr(H_l H_l^T): of all kernels by forward passes alone the one whose greedy choice captured most
    energy of the tangent kernel in our trials. Where a network has no module of an activation, H_l is what each layer with
    weights is given, the first one's image left out.

    Parameters
    ----------
    model : network in evaluation mode
    x : (n, ...), or a tuple or dict of arguments
    memory : bytes for the activations (None: an eighth of the machine's); where they do not fit, blocks of images go through
        the network more than once

    Returns
    -------
    Tensor
        (n, n), float64, of trace at most the number of layers.

    >>> round(float(activation_kernel(nn.Sequential(nn.ReLU()), torch.tensor([[3.0, 4.0], [0.0, 5.0]]))[0, 1]), 12)
    0.4
    """
    _check.frozen_statistics(model)
    n = _check.samples("x", _check.inputs("x", x))
    parts = _blocks(model, x, n, memory)
    whole = _activations(model, x) if len(parts) == 1 else None

    def given(rows: slice) -> list[Tensor]:
        return _activations(model, take(x, rows)) if whole is None else whole

    traces = torch.stack([_squares(given(rows)) for rows in parts]).sum(0)
    kernel = torch.zeros(n, n, dtype=torch.float64, device=traces.device)
    for i, rows in enumerate(parts):
        left = given(rows)
        for columns in parts[i:]:
            right = left if columns is rows else given(columns)
            for a, b, trace in zip(left, right, traces, strict=True):
                if trace > 0:
                    kernel[rows, columns] += (a @ b.T).double() / trace
            if columns is not rows:
                kernel[columns, rows] = kernel[rows, columns].T
    return kernel


def _blocks(model: nn.Module, x: Any, n: int, memory: int | None) -> list[slice]:
    """The blocks of images whose activations fit, two at a time, into the memory."""
    first = _activations(model, take(x, slice(0, 1)))
    one, place = sum(part.nbytes for part in first), first[0].device
    memory = default_memory(place) if memory is None else int(_check.integer("memory", memory, 1))
    if 2 * one > memory:
        _check.refuse("memory", f"at least {readable_bytes(2 * one)} for the activations of two images", memory)
    step = min(n, memory // one) if n * one <= memory else memory // (2 * one)
    return [slice(at, min(at + step, n)) for at in range(0, n, step)]


def activation_passes(model: nn.Module, x: Any, n: int, *, memory: int | None = None) -> int:
    """Forward passes of `activation_kernel` for n images such as the first of x: n where their activations fit, else more.

    >>> activation_passes(nn.Sequential(nn.ReLU()), torch.ones(1, 2), 4, memory=16)
    14
    """
    parts = _blocks(model, x, n, memory)
    # Once for the traces, once for each block, once more for each later one beside it.
    sizes = [part.stop - part.start for part in parts]
    return n if len(parts) == 1 else 2 * n + sum(at * size for at, size in enumerate(sizes))


def _squares(activations: list[Tensor]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(a, dtype=torch.float64).square() for a in activations])


@alone
@torch.no_grad()
def _activations(model: nn.Module, x: Any) -> list[Tensor]:
    """What each activation gives or else what each layer after the first is given, (n, d) in the order of the calls.

    Of a network with neither its inputs, and its outputs where those are no real numbers.
    """
    n = _check.samples("x", x)
    with _recorded(model) as (given, taken), accepted(x):
        outputs = network(model, None)(x)
    found = [[part for part in parts if _numbers(part, n)] for parts in (given, taken[1:], _check.tensors("x", x))]
    return [part.flatten(1) for part in next((parts for parts in found if parts), [outputs])]


def _numbers(part: Any, n: int) -> bool:
    return isinstance(part, Tensor) and part.ndim > 0 and len(part) == n and part.is_floating_point()


@contextmanager
def _recorded(model: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Collect the outputs of all activations that are modules, and the inputs of all layers with weights."""
    given: list[Tensor] = []
    taken: list[Tensor] = []
    kinds = tuple(getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__)
    handles = []
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # it takes no hooks
        if isinstance(module, kinds) and not isinstance(module, nn.MultiheadAttention):
            handles.append(module.register_forward_hook(lambda _module, _inputs, output: given.append(output)))
        elif next(module.parameters(recurse=False), None) is not None:
            handles.append(module.register_forward_pre_hook(lambda _module, inputs: taken.extend(inputs[:1])))
    try:
        yield given, taken
    finally:
        for handle in handles:
            handle.remove()


def greedy_rows(kernel: Tensor, count: int) -> Tensor:
    """Choose rows one by one, each the one whose column lowers tr(K - K_S) most: argmax_j |R_j|^2 / R_jj.

    R is the residual of the rows chosen so far. Once it has vanished, the first rows that are left fill up.

    Parameters: kernel (n, n) positive semi-definite, 1 <= count <= n. Returns: int64 (count,), in the order of the choice.

    >>> greedy_rows(torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 2.0], [0.0, 2.0, 2.0]]), 3).tolist()
    [1, 0, 2]
    """
    R = _check.symmetric("kernel", kernel).double().clone()
    count, floor = _check.integer("count", count, 1, len(R)), RTOL * float(R.diagonal().max())
    left = torch.ones(len(R), dtype=torch.bool, device=R.device)
    chosen = torch.empty(count, dtype=torch.int64)
    for place in range(count):
        own = R.diagonal()
        gains = torch.where(own > floor, R.square().sum(0) / own.clamp(min=floor or 1.0), 0.0).where(left, -1.0)
        j = int(gains.argmax())
        chosen[place], left[j] = j, False
        if float(own[j]) > floor:
            column = R[:, j] / own[j].sqrt()
            R -= torch.outer(column, column)
    return chosen
