"""The forms that the gradient of a layer's parameters takes, from its activation and the cotangents of its output.

A `Tangent` stands for the gradients grad_theta f_c(x_i) of a few parameters for all outputs c and rows i, not yet
formed. Its consumers ask for them formed (`gradient`), as outer products (`factors`), and for some rows at a time
(`rows`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = [
    "Cotangents",
    "Deferred",
    "Elementwise",
    "Factors",
    "Formed",
    "Lookup",
    "Outer",
    "Pulled",
    "Sum",
    "Tangent",
    "merge",
    "stack",
    "unchanged",
]


# --- what a consumer sees ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Factors:
    """The weight gradient as outer products: G[c, i, g] = sum_t cotangent[c, i, g, t] activation[i, g, t]^T.

    `activation` (n, groups, T, p) is shared by all outputs; `cotangent` is (C, n, groups, T, q). The gradient (C, n,
    groups, q, p) read in this order is that of the parameter `weight` (transposed to (p, q) where `transposed`), and
    the sum over t of the cotangent that of the parameter `bias` (None: there is none).
    """

    weight: str
    bias: str | None
    activation: Tensor
    cotangent: Tensor
    transposed: bool = False


class Tangent(ABC):
    """The gradients of a few parameters, for all outputs (C) and some rows (n), before they are formed."""

    shapes: Mapping[str, torch.Size]  # the parameters, by name

    @property
    @abstractmethod
    def extent(self) -> tuple[int, int]:
        """(C, n)."""

    @abstractmethod
    def gradient(self, name: str) -> Tensor:
        """The gradient of one parameter, formed: (C, n, *shape of the parameter)."""

    def gradients(self) -> dict[str, Tensor]:
        """All of its gradients by name."""
        return {name: self.gradient(name) for name in self.shapes}

    def joined(self) -> Tensor:
        """The gradients of all its parameters beside each other: (C, n, P)."""
        return torch.cat([G.reshape(*G.shape[:2], -1) for G in self.gradients().values()], 2)

    @property
    @abstractmethod
    def element_size(self) -> int:
        """Bytes of one number."""

    @abstractmethod
    def rows(self, chunk: slice) -> Tangent:
        """The same tangent for some of the rows (views, no copies)."""

    def factors(self) -> Factors | None:
        """The gradient as outer products, or None where it has no such form."""
        return None


# --- the forms a gradient can take ------------------------------------------------------------------------------------


# Of all outputs: stacked (C, n, ...), or one by one as the backward passes gave them; both iterate over outputs.
Cotangents = Tensor | tuple[Tensor, ...]


def _some(D: Cotangents, chunk: slice) -> Cotangents:
    return D[:, chunk] if isinstance(D, Tensor) else tuple(d[chunk] for d in D)


@dataclass(frozen=True)
class Outer(Tangent):
    """Linear, convolutional and matrix-product layers: `unfold(source)` is the activation of `Factors`."""

    weight: str
    bias: str | None
    shapes: Mapping[str, torch.Size]
    source: Tensor
    cotangents: Cotangents  # of each output (n, groups, T, q)
    unfold: Callable[[Tensor], Tensor]
    transposed: bool = False

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return len(self.cotangents), len(self.cotangents[0])

    @property
    def element_size(self) -> int:
        """Bytes of one number."""
        return self.cotangents[0].element_size()

    def rows(self, chunk: slice) -> Outer:
        """Return the same tangent for some of the rows."""
        return replace(self, source=self.source[chunk], cotangents=_some(self.cotangents, chunk))

    def factors(self) -> Factors:
        """Return both factors; patches are unfolded here."""
        D = self.cotangents if isinstance(self.cotangents, Tensor) else torch.stack(self.cotangents)
        return Factors(self.weight, self.bias, self.unfold(self.source), D, self.transposed)

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        if name == self.bias:
            return torch.stack([d.sum(2).reshape(len(d), *self.shapes[name]) for d in self.cotangents])
        A = self.unfold(self.source).flatten(0, 1)
        (C, n), q = self.extent, self.cotangents[0].shape[-1]
        G = A.new_empty(C, len(A), q, A.shape[-1])
        for d, out in zip(self.cotangents, G, strict=True):  # A is shared by all outputs and never repeated
            torch.bmm(d.flatten(0, 1).mT, A, out=out)
        return (G.mT if self.transposed else G).reshape(C, n, *self.shapes[name])


@dataclass(frozen=True)
class Lookup(Tangent):
    """Embedding: row `index[i, t]` of the table receives `cotangent[c, i, t]`."""

    weight: str
    shapes: Mapping[str, torch.Size]
    index: Tensor  # (n, T)
    cotangent: Tensor  # (C, n, T, m), zero at the padding index

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return self.cotangent.shape[0], self.cotangent.shape[1]

    @property
    def element_size(self) -> int:
        """Bytes of one number."""
        return self.cotangent.element_size()

    def rows(self, chunk: slice) -> Lookup:
        """Return the same tangent for some of the rows."""
        return replace(self, index=self.index[chunk], cotangent=self.cotangent[:, chunk])

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        return self.columns(torch.arange(self.shapes[name][0], device=self.index.device))

    def columns(self, words: Tensor) -> Tensor:
        """The gradient of the table's rows `words` (sorted, (U,)) alone: (C, n, U, m)."""
        C, n, _, m = self.cotangent.shape
        place = torch.searchsorted(words, self.index).clamp_max(len(words) - 1)
        here = words[place] == self.index
        cell = (torch.arange(n, device=place.device)[:, None] * len(words) + place)[here]
        G = self.cotangent.new_zeros(C, n * len(words), m)
        return G.index_add_(1, cell, self.cotangent[:, here]).view(C, n, len(words), m)


@dataclass(frozen=True)
class Elementwise(Tangent):
    """Norms, scales, shifts, y = weight * unit(source) + bias: reduce(cotangent * unit(source)), reduce(cotangent)."""

    weight: str | None
    bias: str | None
    shapes: Mapping[str, torch.Size]
    source: Tensor
    cotangents: Cotangents  # of each output (n, ...)
    unit: Callable[[Tensor], Tensor]
    reduce: Callable[[Tensor, torch.Size], Tensor]  # (n, ...) -> (n, *shape)

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return len(self.cotangents), len(self.cotangents[0])

    @property
    def element_size(self) -> int:
        """Bytes of one number."""
        return self.cotangents[0].element_size()

    def rows(self, chunk: slice) -> Elementwise:
        """Return the same tangent for some of the rows."""
        return replace(self, source=self.source[chunk], cotangents=_some(self.cotangents, chunk))

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        D, shape = self.cotangents, self.shapes[name]
        X = None if name == self.bias else self.unit(self.source)
        if isinstance(D, Tensor):
            return self.reduce((D if X is None else D * X).flatten(0, 1), shape).unflatten(0, self.extent)
        return torch.stack([self.reduce(d if X is None else d * X, shape) for d in D])


@dataclass(frozen=True)
class Deferred(Tangent):
    """Parameters without a rule: `compute(names, chunk)` gives their gradients, name -> (C, rows, *shape)."""

    shapes: Mapping[str, torch.Size]
    size: tuple[int, int]
    compute: Callable[[Collection[str], slice], dict[str, Tensor]]
    start: int = 0
    element_size: int = 8

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return self.size

    def rows(self, chunk: slice) -> Deferred:
        """Return the same tangent for some of the rows."""
        first, last, _ = chunk.indices(self.size[1])
        return replace(self, size=(self.size[0], last - first), start=self.start + first)

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        return self.compute([name], slice(self.start, self.start + self.size[1]))[name]

    def gradients(self) -> dict[str, Tensor]:
        """Return all of them from one set of passes."""
        return self.compute(list(self.shapes), slice(self.start, self.start + self.size[1]))


@dataclass(frozen=True)
class Sum(Tangent):
    """Parameters used more than once: the gradient is the sum over the uses (squares of it hold the cross terms)."""

    shapes: Mapping[str, torch.Size]
    parts: tuple[Tangent, ...]

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return self.parts[0].extent

    @property
    def element_size(self) -> int:
        """Bytes of one number."""
        return self.parts[0].element_size

    def rows(self, chunk: slice) -> Sum:
        """Return the same tangent for some of the rows."""
        return replace(self, parts=tuple(part.rows(chunk) for part in self.parts))

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        first, *others = (part.gradient(name) for part in self.parts if name in part.shapes)
        for other in others:
            first = first + other
        return first


@dataclass(frozen=True)
class Formed(Tangent):
    """Gradients that were formed, those of all parameters beside each other: (C, n, P)."""

    shapes: Mapping[str, torch.Size]
    formed: Tensor

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return self.formed.shape[0], self.formed.shape[1]

    @property
    def element_size(self) -> int:
        """Bytes of one number."""
        return self.formed.element_size()

    def rows(self, chunk: slice) -> Formed:
        """Return the same tangent for some of the rows."""
        return replace(self, formed=self.formed[:, chunk])

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        names, sizes = list(self.shapes), [shape.numel() for shape in self.shapes.values()]
        part = self.formed.split(sizes, 2)[names.index(name)]
        return part.reshape(*self.extent, *self.shapes[name])

    def joined(self) -> Tensor:
        """Return them all, (C, n, P)."""
        return self.formed


@dataclass(frozen=True)
class Pulled(Tangent):
    """Parameters that a tensor was made of, the same for every sample: J^T of that function, of the tensor's gradients.

    `inner` are the gradients of such tensors (and of parameters used beside them) by name; `back(name, G)` gives for
    gradients G (m, *shape) of one of them those of its parameters, name -> (m, *shape).
    """

    shapes: Mapping[str, torch.Size]
    inner: Tangent
    back: Callable[[str, Tensor], Mapping[str, Tensor]]

    @property
    def extent(self) -> tuple[int, int]:
        """Return (C, n)."""
        return self.inner.extent

    @property
    def element_size(self) -> int:
        """Bytes of one number."""
        return self.inner.element_size

    def rows(self, chunk: slice) -> Pulled:
        """Return the same tangent for some of the rows."""
        return replace(self, inner=self.inner.rows(chunk))

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one parameter, (C, n, *shape)."""
        return self.gradients()[name]

    def gradients(self) -> dict[str, Tensor]:
        """Return all of them, each inner gradient formed once."""
        total: dict[str, Tensor] = {}
        for made, G in self.inner.gradients().items():
            for name, g in self.back(made, G.flatten(0, 1)).items():
                part = g.unflatten(0, self.extent)
                total[name] = total[name] + part if name in total else part
        return {name: total[name] for name in self.shapes}


def merge(parts: Sequence[Tangent]) -> Tangent:
    """One tangent for all uses of the same parameters; equal layers are joined along their positions t."""
    if len(parts) == 1:
        return parts[0]
    outer = [part for part in parts if isinstance(part, Outer)]
    alike = {(part.weight, part.bias, part.transposed, part.cotangents[0].shape[1]) for part in outer}
    if len(outer) == len(parts) and len(alike) == 1:
        joined = tuple(torch.cat(uses, 2) for uses in zip(*(part.cotangents for part in outer), strict=True))
        activation = torch.cat([part.unfold(part.source) for part in outer], 2)
        return replace(outer[0], source=activation, cotangents=joined, unfold=unchanged)
    return Sum({name: shape for part in parts for name, shape in part.shapes.items()}, tuple(parts))


def stack(parts: Sequence[Tangent]) -> Tangent:
    """One tangent for all outputs from one for each of them (C = 1)."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Outer | Elementwise):
        every = tuple(d for part in parts for d in part.cotangents)  # type: ignore[attr-defined]
        return replace(first, cotangents=every)
    if isinstance(first, Sum):
        uses = zip(*(part.parts for part in parts), strict=True)  # type: ignore[attr-defined]
        return replace(first, parts=tuple(stack(same) for same in uses))
    if isinstance(first, Lookup):
        return replace(first, cotangent=torch.cat([part.cotangent for part in parts]))  # type: ignore[attr-defined]
    raise TypeError(f"expected the tangents of marked calls, got {type(first).__name__}")


def unchanged(x: Tensor) -> Tensor:
    """The identity, for activations that are used as they are."""
    return x
