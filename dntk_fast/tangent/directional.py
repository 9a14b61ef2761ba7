"""Products that form neither Jacobian nor kernel: J v by forward mode, J^T a by one backward pass per output.

One forward pass of a chunk of rows serves all outputs of either: with F the flops of a forward pass both take (1 + 2 C) F,
what one forward and C plain backward passes take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.utils._pytree import tree_map

from dntk_fast import _check
from dntk_fast.tangent.batches import Wrapped, ends, take
from dntk_fast.tangent.generic import gradients, gradients_one_by_one, plain_layers
from dntk_fast.tangent.isolation import silent
from dntk_fast.tangent.probes import Seen, agree_to_rounding, chunk_rows

__all__ = ["Products", "differences", "pushforward"]

# Step of a central difference along a direction of length one, as a share of the parameters' length: on ResNet-18 in
# float32 the error is 12 % at 1e-3 and 0.4 % at 1e-5, where rounding and curvature are about even.
_STEP = {torch.float64: 1e-6, torch.float32: 1e-5}

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

    def forwards(self, seen: Seen) -> Products:
        """The task with a way to J w: the first that gives what plain backward passes do, on two samples and one direction.

        Forward mode is unaware of `no_grad`, of rows of a table that are fixed and of hooks in the backward pass; two
        backward passes of functions that leave the graph in theirs; and not every function has a derivative of its kind.
        """
        pair = replace(self, x=ends(self.x), n=2)
        direction = {name: (p + (float(p.detach().abs().mean()) or 1.0)).detach() for name, p in self.wanted.items()}
        signs = torch.ones(2, self.outputs).to(self.like)
        signs[:, ::2] = -1  # unlike outputs must not cancel: of a softmax they sum to a constant
        signs[1] *= torch.linspace(1, 2, self.outputs).to(self.like)
        truth = pair._rows_of(signs, direction)
        if seen.hooked:
            apart = sum(
                pair._rows_of(torch.zeros_like(signs).index_fill_(1, torch.tensor([c]), 1.0), direction) * signs[:, c]
                for c in range(self.outputs)
            )
            if not agree_to_rounding(torch.as_tensor(apart).to(truth), truth, seen.unit):
                _check.refuse("model", "backward passes that are linear", "a hook on an activation that is not")
        blind = seen.hidden or seen.hooked or self._fixed()
        for way in ("two backward passes",) if blind else ("forward mode", "two backward passes"):
            try:
                found = replace(pair, way=way)._along([direction], slice(None))[0]
            except (RuntimeError, NotImplementedError):
                continue
            if agree_to_rounding((found * signs).sum(1), truth, seen.unit):
                return replace(self, way=way)
        return replace(self, way="one by one")

    def _fixed(self) -> bool:
        """Whether a table has a row that is never trained."""
        return any(getattr(layer, "padding_idx", None) is not None for layer in self.module.modules())

    def _rows_of(self, weights: Tensor, direction: dict[str, Tensor]) -> Tensor:
        """<grad sum_c weights[i, c] f_c(x_i), w> of every row, by a backward pass each: (n,)."""
        with torch.enable_grad(), plain_layers():
            values, leaves, found = self.module(self.x), list(self.wanted.values()), []
            for i in range(self.n):
                seeds = torch.zeros_like(values)
                seeds[i] = weights[i]
                pulled = gradients(values, leaves, seeds, retain_graph=i + 1 < self.n)
                pairs = zip(pulled, direction.values(), strict=True)
                found.append(torch.stack([(g.double() * w.double()).sum() for g, w in pairs]).sum())
        return torch.stack(found).to(self.like)  # of the digits that the model has

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
        return w.to(self.wanted[name]).detach().reshape(-1, *shape)

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
            with plain_layers():
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
            with plain_layers():
                values = self.module(take(self.x, rows))
            found = gradients(values, list(self.wanted.values()), seeds[rows])
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
            return pushforward(self.module, take(self.x, rows), direction)[1]

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
        with plain_layers():
            values = self.module(take(self.x, rows))
            a = torch.zeros_like(values, requires_grad=True)
            pulled = gradients(values, leaves, a, create_graph=True)
            found: list[Tensor] = []
            for at, direction in enumerate(directions):
                product = torch.stack([(g * w).sum() for g, w in zip(pulled, direction.values(), strict=True)]).sum()
                found += gradients(product, [a], None, retain_graph=at + 1 < len(directions))
        return torch.stack(found)


def pushforward(module: Wrapped, batch: Any, direction: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Outputs and J(x) w by forward mode, both (n, C).

    >>> line, x = Wrapped(nn.Linear(2, 1, bias=False)), torch.tensor([[3.0, 4.0]])
    >>> pushforward(line, x, {"weight": torch.tensor([[1.0, 2.0]])})[1]
    tensor([[11.]])
    """
    state, primal = _state(module, direction)

    def values(parameters: dict[str, Tensor]) -> Tensor:
        return module.at({**state, **parameters}, batch)

    # Fused attention has no forward-mode derivative; torch loads its other rules by a function it deprecates, and says
    # where vmap goes one by one.
    with plain_layers(), silent():
        found, along = jvp(values, (primal,), (dict(direction),))[:2]
        return found, along


def differences(module: Wrapped, batch: Any, direction: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Outputs and (f(x; w + h d) - f(x; w - h d)) / 2h, (n, C), for d of length one; half types are taken in float32.

    >>> line, x = Wrapped(nn.Linear(2, 1, bias=False).double()), torch.tensor([[3.0, 4.0]]).double()
    >>> found = differences(line, x, {"weight": torch.tensor([[0.6, 0.8]]).double()})[1]
    >>> bool((found - 5).abs() < 1e-6)
    True
    """

    def wide(part: Any) -> Any:
        half = isinstance(part, Tensor) and part.dtype in (torch.float16, torch.bfloat16)
        return part.float() if half else part

    state, primal = _state(module, direction)
    state |= dict(module.model.named_buffers())
    state, primal = ({name: wide(part) for name, part in parts.items()} for parts in (state, primal))
    length = torch.stack([torch.linalg.vector_norm(p.double()) for p in primal.values()]).norm()
    step = max(float(length), 1.0) * max(_STEP.get(p.dtype, 1e-5) for p in primal.values())
    some = tree_map(wide, batch)
    with torch.enable_grad(), plain_layers():  # it may differentiate inside
        moved = [
            module.at({**state, **{n: (p + h * wide(direction[n])).detach() for n, p in primal.items()}}, some)
            for h in (step, -step)
        ]
        return module(batch).detach(), (moved[0] - moved[1]).detach() / (2 * step)


def _state(module: Wrapped, direction: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters that stay and those that move, as constants."""
    state = {name: p.detach() for name, p in module.model.named_parameters()}
    return state, {name: state.pop(name) for name in direction}


def _described(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
