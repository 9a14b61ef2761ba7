"""Products that form neither Jacobian nor kernel: J v by forward mode, J^T a by one backward pass per output.

One forward pass of a chunk of rows serves all outputs of either: with F the flops of a forward pass both take (1 + 2 C) F,
what one forward and C plain backward passes take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from dntk_fast import _check
from dntk_fast.tangent.batches import Wrapped, ends, take
from dntk_fast.tangent.generic import gradients, gradients_one_by_one
from dntk_fast.tangent.isolation import plain_attention, silent
from dntk_fast.tangent.probes import agree_to_rounding, chunk_rows

__all__ = ["Products"]

# How often what a sample saves for its backward pass is held: by a backward pass itself, its gradients and what the
# layer at hand needs; by forward mode, activations and workspace, to which every direction adds its tangents once; by two
# backward passes, what the first one saves for the second as well.
_BACKWARD, _FORWARD, _TWICE = 3, 2, 6


@dataclass(frozen=True)
class Products:
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

    def forwards(self) -> Products:
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
            serves = agree_to_rounding(pair._forward_mode([direction], slice(None)), truth)
        except (RuntimeError, NotImplementedError):
            serves = False
        return self if serves else replace(self, way=other)

    def coefficients(self, name: str, value: Any) -> Tensor:
        """The numbers (C, n) that an argument must be, in the precision of the products."""
        if not isinstance(value, Tensor) or tuple(value.shape) != (self.outputs, self.n):
            _check.refuse(name, f"a tensor of shape ({self.outputs}, {self.n})", _described(value))
        return value.to(self.like)

    def direction(self, name: str, w: Any) -> Tensor:
        """The weights of one parameter, (C, *shape) or (1, *shape)."""
        shape = tuple(self.wanted[name].shape)
        if not isinstance(w, Tensor) or tuple(w.shape) not in (shape, (self.outputs, *shape)):
            expected = f"a tensor of shape {shape} or {(self.outputs, *shape)}"
            _check.refuse(f"weights[{name!r}]", expected, _described(w))
        return w.to(self.like).reshape(-1, *shape)

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

    def backward_joint(self, seeds: Tensor) -> dict[str, Tensor]:
        """J^T a of all outputs together, from a (n, C): one backward pass a chunk."""
        total = {name: torch.zeros_like(leaf) for name, leaf in self.wanted.items()}
        for rows in self.chunks(_BACKWARD):
            found = gradients(self.module(take(self.x, rows)), list(self.wanted.values()), seeds[rows])
            for into, g in zip(total.values(), found, strict=True):
                into.add_(g)
        return total

    def quadratic_forms(self, vectors: Any) -> Tensor:
        """|Phi_c^T z|^2 of vectors (C, n, r): (C, r), float64."""
        if not isinstance(vectors, Tensor) or vectors.ndim != 3 or vectors.shape[:2] != (self.outputs, self.n):
            _check.refuse("vectors", f"a tensor of shape ({self.outputs}, {self.n}, r)", _described(vectors))
        found = torch.empty(self.outputs, vectors.shape[2], dtype=torch.float64, device=vectors.device)
        for some in self.within_memory(range(found.numel())):
            seeds = [(at // vectors.shape[2], at % vectors.shape[2]) for at in some]
            pulled = self.backward([(c, vectors[c, :, r].to(self.like)) for c, r in seeds])
            flat = (g.reshape(len(g), -1) for g in pulled.values())
            sizes = sum(torch.linalg.vector_norm(g, dim=1, dtype=torch.float64) ** 2 for g in flat)
            found.view(-1)[some.start : some.stop] = torch.as_tensor(sizes)
        return found

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
        with plain_attention():
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
        with plain_attention(), silent():
            return jvp(values, (primal,), (tangent,))[1]


def _described(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
