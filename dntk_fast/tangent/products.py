"""Products that form neither Jacobian nor kernel: J v by forward mode, J^T a by one backward pass per output.

One forward pass of a chunk of rows serves all outputs of either: with F the flops of a forward pass both take (1 + 2 C) F,
what one forward and C plain backward passes take.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dntk_fast import _check
from dntk_fast.tangent.capture import Outputs, Parameters, network
from dntk_fast.tangent.generic import (
    Wrapped,
    _plain_attention,
    alike,
    chunk_rows,
    differentiable,
    ends,
    gradients,
    gradients_one_by_one,
    probe,
    saved_bytes,
    take,
    trainable,
)
from dntk_fast.tangent.kernel import MEMORY, cast

__all__ = ["jacobian_vector", "kernel_vector", "quadratic_forms", "trace_probes", "vector_jacobian"]

# How often what a sample saves for its backward pass is held: by a backward pass itself, its gradients and what the
# layer at hand needs; by forward mode, activations and workspace, to which every direction adds its tangents once; by two
# backward passes, what the first one saves for the second as well.
_BACKWARD, _FORWARD, _TWICE = 3, 2, 6


@differentiable
def jacobian_vector(
    model: nn.Module,
    x: Any,
    weights: Mapping[str, Tensor],
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
) -> Tensor:
    """Return the linearised model without its constant, Phi_c w_c, by one forward-mode pass for every output.

    (Phi_c w_c)_i = <grad_theta f_c(x_i), w_c> (section 9.3).

    Parameters
    ----------
    model : module in evaluation mode
    x : tensor, or tuple or dict of tensors, with n samples along the first axis
    weights : by parameter name, each (C, *shape), or (*shape) shared by all outputs; a name left out counts as zero
    memory, dtype, outputs : as in `tangent_kernel`

    Returns
    -------
    Tensor
        (C, n)

    Raises
    ------
    ValueError
        Unknown names, wrong shapes, or a model that `tangent_kernel` refuses.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> jacobian_vector(model, torch.tensor([[3.0, 4.0]]), {"weight": torch.tensor([[1.0, 2.0]])})
    tensor([[11.]])
    """
    task = _task(model, x, memory, dtype, outputs, list(weights)).forwards()
    directions = {name: _per_output(name, w, task) for name, w in weights.items()}
    if all(len(w) == 1 for w in directions.values()):
        return task.forward({name: w[0] for name, w in directions.items()})
    wide = {name: w.expand(task.outputs, *w.shape[1:]) for name, w in directions.items()}
    return task.forward_each(wide, range(task.outputs))


@differentiable
def vector_jacobian(
    model: nn.Module,
    x: Any,
    coefficients: Tensor,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> dict[str, Tensor]:
    """Return weights in parameter space, Phi_c^T a_c for every output, summed over chunks of rows.

    Phi_c^T a_c = grad_theta sum_i a_ci f_c(x_i; theta) (section 0: one ordinary backward pass, no per-sample Jacobian).

    Parameters
    ----------
    coefficients : (C, n)
    model, x, memory, dtype, outputs, parameters : as in `tangent_kernel`

    Returns
    -------
    dict
        parameter name -> (C, *shape)

    Raises
    ------
    ValueError
        Coefficients that are not (C, n), or a model that `tangent_kernel` refuses.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> vector_jacobian(model, torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 2.0]]))
    {'weight': tensor([[[5., 4.]]])}
    """
    task = _task(model, x, memory, dtype, outputs, parameters)
    return task.backward(list(enumerate(_coefficients("coefficients", coefficients, task))))


@differentiable
def kernel_vector(
    model: nn.Module,
    x: Any,
    vectors: Tensor,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return K_c v_c = Phi_c (Phi_c^T v_c) for every output, (C, n) from (C, n), the weights of some outputs at a time.

    >>> kernel_vector(nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([[28.,  4.]])
    """
    task = _task(model, x, memory, dtype, outputs, parameters).forwards()
    v = _coefficients("vectors", vectors, task)
    parts = []
    for some in task.within_memory(range(task.outputs)):
        parts.append(task.forward_each(task.backward([(c, v[c]) for c in some]), some))
    return torch.cat(parts)


@differentiable
def quadratic_forms(
    model: nn.Module,
    x: Any,
    vectors: Tensor,
    *,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return z^T K_c z = |Phi_c^T z|^2 for vectors (C, n, r), one backward pass each: (C, r), float64 (section 9.1).

    For orthonormal columns their sum is a lower bound of the sum of the r largest eigenvalues of K_c.

    >>> quadratic_forms(nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.eye(2)[None])
    tensor([[25.,  1.]], dtype=torch.float64)
    """
    task = _task(model, x, memory, dtype, outputs, parameters)
    if not isinstance(vectors, Tensor) or vectors.ndim != 3 or vectors.shape[:2] != (task.outputs, task.n):
        _check.refuse("vectors", f"a tensor of shape ({task.outputs}, {task.n}, r)", _described(vectors))
    found = torch.empty(task.outputs, vectors.shape[2], dtype=torch.float64, device=vectors.device)
    for some in task.within_memory(range(found.numel())):
        seeds = [(at // vectors.shape[2], at % vectors.shape[2]) for at in some]
        pulled = task.backward([(c, vectors[c, :, r].to(task.like)) for c, r in seeds])
        flat = (g.reshape(len(g), -1) for g in pulled.values())
        sizes = sum(torch.linalg.vector_norm(g, dim=1, dtype=torch.float64) ** 2 for g in flat)
        found.view(-1)[some.start : some.stop] = torch.as_tensor(sizes)
    return found


@differentiable
def trace_probes(
    model: nn.Module,
    x: Any,
    probes: int,
    *,
    seed: int,
    memory: int = MEMORY,
    dtype: torch.dtype | None = None,
    outputs: Outputs = None,
    parameters: Parameters = None,
) -> Tensor:
    """Return z^T K_c z for random signs z: (C, probes), of mean tr K_c and variance 2 (|K_c|_F^2 - sum_i K_ii^2).

    Hutchinson's estimator (section 9.1); the same signs for all outputs.

    >>> trace_probes(nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]), 2, seed=0)
    tensor([[26., 26.]], dtype=torch.float64)
    """
    task = _task(model, x, memory, dtype, outputs, parameters)
    _check.integer("probes", probes, 1)
    generator = torch.Generator().manual_seed(_check.seed(seed))
    signs = torch.randint(0, 2, (task.n, probes), generator=generator, dtype=torch.int8).to(task.like) * 2 - 1
    vectors = signs.expand(task.outputs, -1, -1)
    return quadratic_forms(model, x, vectors, memory=memory, dtype=dtype, outputs=outputs, parameters=parameters)


# --- the passes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """A model, its samples, what it saves of one sample, the bytes that may be used, the way to J w that serves it."""

    module: Wrapped
    x: Any
    n: int
    outputs: int
    saved: int
    memory: int
    wanted: dict[str, nn.Parameter]
    like: Tensor
    way: str = "forward mode"

    def forwards(self) -> _Task:
        """The task with a way to J w: forward mode where it gives what backward passes do, on two samples and one direction.

        Forward mode is unaware of `no_grad` and of hooks in the backward pass, and not every function has a derivative of
        its kind, nor of the kind that two backward passes take.
        """
        pair = replace(self, x=ends(self.x), n=2)
        direction = {name: (p + (float(p.detach().abs().mean()) or 1.0)).detach() for name, p in self.wanted.items()}
        try:
            other, truth = "two backward passes", pair._twice_backward([direction], slice(None))
        except (RuntimeError, NotImplementedError):
            other, truth = "one by one", pair._one_by_one([direction], slice(None))
        try:
            serves = alike(pair._forward_mode([direction], slice(None)), truth)
        except (RuntimeError, NotImplementedError):
            serves = False
        return self if serves else replace(self, way=other)

    def chunks(self, copies: int) -> Iterator[slice]:
        """The rows, as many at a time as fit with so many copies of what a sample saves."""
        step = chunk_rows(self.memory, copies * self.saved)
        yield from (slice(at, min(at + step, self.n)) for at in range(0, self.n, step))

    def within_memory(self, items: range) -> Iterator[range]:
        """The items, as many at a time as weights fit."""
        step = max(1, self.memory // sum(p.numel() * self.like.element_size() for p in self.wanted.values()))
        yield from (items[at : at + step] for at in range(0, len(items), step))

    def backward(self, seeds: Sequence[tuple[int, Tensor]]) -> dict[str, Tensor]:
        """Phi_c^T a of each pair (c, a), from one forward pass."""
        names, leaves = list(self.wanted), list(self.wanted.values())
        total = {name: leaf.new_empty(len(seeds), *leaf.shape) for name, leaf in self.wanted.items()}
        for rows in self.chunks(_BACKWARD):
            values = self.module(take(self.x, rows))
            for at, (c, a) in enumerate(seeds):
                last = at + 1 == len(seeds)
                weight = torch.zeros_like(values)
                weight[:, c] = a[rows]
                found = gradients(values, leaves, weight, retain_graph=not last)
                for name, g in zip(names, found, strict=True):
                    total[name][at].add_(g) if rows.start else total[name][at].copy_(g)
        return total

    def forward(self, direction: dict[str, Tensor]) -> Tensor:
        """<grad f_c(x_i), w> of one direction for all outputs, (C, n)."""
        return torch.cat([self._along([direction], rows)[0].T for rows in self.chunks(self._copies(0))], 1)

    def forward_each(self, directions: dict[str, Tensor], outputs: range) -> Tensor:
        """<grad f_c(x_i), w_c> for some outputs, a direction each, (C', n); `vmap` shares the forward pass."""
        together = max(1, min(len(outputs), self.memory // self.saved - _FORWARD))
        found = self.like.new_empty(len(outputs), self.n)
        for rows in self.chunks(self._copies(together)):
            for at in range(0, len(outputs), together):
                columns = list(outputs[at : at + together])
                some = [{name: w[at + k] for name, w in directions.items()} for k in range(len(columns))]
                found[at : at + together, rows] = self._along(some, rows)[range(len(columns)), :, columns]
        return found

    def _copies(self, together: int) -> int:
        """Copies of what a sample saves, by so many directions at a time."""
        return _FORWARD + together if self.way == "forward mode" else _TWICE

    def _along(self, directions: Sequence[dict[str, Tensor]], rows: slice) -> Tensor:
        """The tangents of all outputs along each direction, (directions, rows, C)."""
        if self.way == "forward mode":
            return self._forward_mode(directions, rows)
        return (self._one_by_one if self.way == "one by one" else self._twice_backward)(directions, rows)

    def _forward_mode(self, directions: Sequence[dict[str, Tensor]], rows: slice) -> Tensor:
        """Where vmap cannot follow, direction by direction."""

        def along(direction: dict[str, Tensor]) -> Tensor:
            return self._tangents(direction, rows)

        if len(directions) > 1:
            try:
                return vmap(along)({name: torch.stack([w[name] for w in directions]) for name in directions[0]})
            except RuntimeError:
                pass
        return torch.stack([along(direction) for direction in directions])

    def _one_by_one(self, directions: Sequence[dict[str, Tensor]], rows: slice) -> Tensor:
        """The gradient of each output at each sample, formed."""
        batch, found = take(self.x, rows), []
        for i in range(_check.samples("x", batch)):
            every = gradients_one_by_one(
                self.module, take(batch, slice(i, i + 1)), list(directions[0]), range(self.outputs)
            )
            parts = [[sum((g[name][0] * w[name]).sum() for name in w) for w in directions] for _, g in every]
            found.append(torch.as_tensor(parts, dtype=self.like.dtype, device=self.like.device).T)
        return torch.stack(found, 1)

    def _twice_backward(self, directions: Sequence[dict[str, Tensor]], rows: slice) -> Tensor:
        """The derivative of <J^T a, w> with respect to a."""
        leaves = [self.wanted[name] for name in directions[0]]
        with _plain_attention():
            values = self.module(take(self.x, rows))
            a = torch.zeros_like(values, requires_grad=True)
            pulled = gradients(values, leaves, a, create_graph=True)
            found: list[Tensor] = []
            for at, direction in enumerate(directions):
                product = torch.stack([(g * w).sum() for g, w in zip(pulled, direction.values(), strict=True)]).sum()
                found += gradients(product, [a], None, retain_graph=at + 1 < len(directions))
        return torch.stack(found)

    def _tangents(self, direction: dict[str, Tensor], rows: slice) -> Tensor:
        batch = take(self.x, rows)
        state = {f"model.{name}": p.detach() for name, p in self.module.model.named_parameters()}
        primal = {f"model.{name}": state.pop(f"model.{name}") for name in direction}
        tangent = {f"model.{name}": w for name, w in direction.items()}

        def values(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(self.module, {**state, **parameters}, (batch,))

        # Fused attention has no forward-mode derivative; torch loads its other rules by a function it deprecates, and
        # says where vmap goes one by one.
        with _plain_attention(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return jvp(values, (primal,), (tangent,))[1]


def _task(
    model: nn.Module, x: Any, memory: int, dtype: torch.dtype | None, outputs: Outputs, parameters: Parameters
) -> _Task:
    _check.integer("memory", memory, 1)
    _check.frozen_statistics(model)
    n = _check.samples("x", _check.inputs("x", x))
    model, x = cast(model, x, dtype)
    module, wanted = network(model, outputs), trainable(model, parameters)
    for name, layer in model.named_modules():
        if getattr(layer, "scale_grad_by_freq", False):
            _check.refuse("model", "backward passes that give derivatives", f"scale_grad_by_freq of {name or 'it'}")
    values = probe(module, x)
    return _Task(module, x, n, values.shape[1], max(1, saved_bytes(module, x)), memory, wanted, values)


def _coefficients(name: str, value: Tensor, task: _Task) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != (task.outputs, task.n):
        _check.refuse(name, f"a tensor of shape ({task.outputs}, {task.n})", _described(value))
    return value.to(task.like)


def _described(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _per_output(name: str, w: Tensor, task: _Task) -> Tensor:
    shape = tuple(task.wanted[name].shape)
    if not isinstance(w, Tensor) or tuple(w.shape) not in (shape, (task.outputs, *shape)):
        _check.refuse(f"weights[{name!r}]", f"a tensor of shape {shape} or {(task.outputs, *shape)}", _described(w))
    return w.to(task.like).reshape(-1, *shape)
