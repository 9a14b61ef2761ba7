"""The tangents of a block of rows, held while others go by: formed, or as activations and cotangents, whichever is smaller.

The block is larger than what one pass can serve: it is written chunk by chunk, and the graph of each chunk is forgotten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from dntk_fast.tangent.layers import Cotangents, Formed, Lookup, Outer, Sum, Tangent

__all__ = ["Held", "forms", "held_bytes"]


def held_bytes(tangent: Tangent, outputs: int, formed: bool) -> int:
    """What one row of so many outputs takes while it is held."""
    if forms(tangent, outputs, formed):
        return _formed_bytes(tangent, outputs)
    if isinstance(tangent, Sum):
        return sum(held_bytes(part, outputs, formed) for part in tangent.parts)
    assert isinstance(tangent, Outer | Lookup)
    return _raw(tangent, outputs)


def forms(tangent: Tangent, outputs: int, formed: bool) -> bool:
    """Whether the gradients are held formed: because they are no larger than what they are made of, or by choice.

    `formed` chooses so for all layers with several positions, whose gradients would be formed anew for every chunk.
    """
    if isinstance(tangent, Sum):
        apart = sum(held_bytes(part, outputs, formed) for part in tangent.parts)
        return _formed_bytes(tangent, outputs) <= apart
    if isinstance(tangent, Outer) and formed and tangent.cotangents[0].shape[2] > 1:
        return True
    return not isinstance(tangent, Outer | Lookup) or _formed_bytes(tangent, outputs) <= _raw(tangent, outputs)


def _formed_bytes(tangent: Tangent, outputs: int) -> int:
    return outputs * tangent.element_size * sum(shape.numel() for shape in tangent.shapes.values())


def _raw(tangent: Outer | Lookup, outputs: int) -> int:
    if isinstance(tangent, Outer):
        shared, own = tangent.source, tangent.cotangents[0]
    else:
        shared, own = tangent.index, tangent.cotangent[0]
    return (shared.nbytes + outputs * own.nbytes) // tangent.extent[1]


class Held:
    """The tangents of n rows; `add` writes those of a chunk."""

    def __init__(self, n: int, workspace: int, formed: bool) -> None:
        self.n, self.workspace, self.formed = n, workspace, formed
        self.stores: list[_Store] = []

    def add(self, rows: slice, tangents: Iterable[Tangent]) -> None:
        """Write some of the rows, layer by layer."""
        for k, tangent in enumerate(tangents):
            if k == len(self.stores):
                self.stores.append(_store(tangent, self.n, self.workspace, self.formed))
            self.stores[k].put(rows, tangent)

    def tangents(self) -> list[Tangent]:
        """Return the tangents of all rows."""
        return [store.tangent() for store in self.stores]


class _Store(ABC):
    @abstractmethod
    def put(self, rows: slice, tangent: Tangent) -> None: ...

    @abstractmethod
    def tangent(self) -> Tangent: ...


def _store(tangent: Tangent, n: int, workspace: int, formed: bool) -> _Store:
    if forms(tangent, tangent.extent[0], formed):
        return _Whole(n, workspace)
    return _Parts(tangent, n, workspace, formed) if isinstance(tangent, Sum) else _Apart(tangent, n)


class _Whole(_Store):
    """Gradients that are formed, some rows at a time."""

    def __init__(self, n: int, workspace: int) -> None:
        self.n, self.workspace = n, workspace
        self.found: Formed | None = None

    def put(self, rows: slice, tangent: Tangent) -> None:
        step = max(1, self.workspace // (2 * _formed_bytes(tangent, tangent.extent[0])))
        for at in range(0, rows.stop - rows.start, step):
            some = slice(at, min(at + step, rows.stop - rows.start))
            G = tangent.rows(some).joined()
            if self.found is None:
                self.found = Formed(tangent.shapes, G.new_empty(len(G), self.n, G.shape[2]))
            self.found.formed[:, rows.start + some.start : rows.start + some.stop] = G

    def tangent(self) -> Tangent:
        assert self.found is not None
        return self.found


class _Parts(_Store):
    """The uses of the same parameters, each in its own way."""

    def __init__(self, tangent: Sum, n: int, workspace: int, formed: bool) -> None:
        self.shapes = tangent.shapes
        self.stores = [_store(part, n, workspace, formed) for part in tangent.parts]

    def put(self, rows: slice, tangent: Tangent) -> None:
        assert isinstance(tangent, Sum)
        for store, part in zip(self.stores, tangent.parts, strict=True):
            store.put(rows, part)

    def tangent(self) -> Tangent:
        return Sum(self.shapes, tuple(store.tangent() for store in self.stores))


class _Apart(_Store):
    """What the gradients are made of: activations and cotangents, words and cotangents."""

    def __init__(self, tangent: Tangent, n: int) -> None:
        if isinstance(tangent, Outer):
            D: Cotangents = tuple(_room(d, n, 0) for d in tangent.cotangents)
            self.found: Outer | Lookup = replace(tangent, source=_room(tangent.source, n, 0), cotangents=D)
        else:
            assert isinstance(tangent, Lookup)
            index, cotangent = _room(tangent.index, n, 0), _room(tangent.cotangent, n, 1)
            self.found = replace(tangent, index=index, cotangent=cotangent)

    def put(self, rows: slice, tangent: Tangent) -> None:
        into = self.found.rows(rows)
        if isinstance(into, Outer):
            assert isinstance(tangent, Outer)
            into.source.copy_(tangent.source)
            for d, found in zip(into.cotangents, tangent.cotangents, strict=True):
                d.copy_(found)
        else:
            assert isinstance(tangent, Lookup)
            into.index.copy_(tangent.index)
            into.cotangent.copy_(tangent.cotangent)

    def tangent(self) -> Tangent:
        return self.found


def _room(like: Tensor, n: int, axis: int) -> Tensor:
    """Memory for n rows on an axis."""
    return torch.empty((*like.shape[:axis], n, *like.shape[axis + 1 :]), dtype=like.dtype, device=like.device)
