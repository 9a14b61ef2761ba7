"""Gram blocks of one layer, by the rule that the plan chose, added to float64 sums.

`pairing` says which pairs of outputs are kept: "class" K_c(x, x') (C, n1, n2); "sum" sum_c K_c (n1, n2); "full" all
of them, K_{c c'}(x, x') (C, n1, C, n2). Where `right` is None it is `left`, and only the entries with j >= i are
filled.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dntk_fast.tangent.layers import Factors, Formed, Lookup, Outer, Tangent

__all__ = ["add_gram", "block_rows", "squared_norms", "tile_side"]

# Working set of one tile: about what a core's second-level cache holds, so that a tile is multiplied before it leaves.
TILE_BYTES = 4 * 2**20
# The most that the gradients of a layer, and copies of its cotangents, may take to be formed for all outputs by one
# product for each row: pieces of 32 MiB an allocator gives back to the system, and has to ask for again.
FORMED_BYTES = 2**25


def add_gram(total: Tensor, left: Tangent, right: Tangent | None, rule: str, pairing: str, memory: int) -> None:
    """Add <grad f_c(x_i), grad f_c'(x_j)> of one layer to `total`, within about `memory` bytes of working space."""
    if isinstance(left, Outer) and (right is None or isinstance(right, Outer)):
        if rule == "factors":
            _by_factors(total, left.factors(), None if right is None else right.factors(), pairing)
        else:
            _by_gradients(total, left, right, pairing, memory)
    elif isinstance(left, Lookup) and (right is None or isinstance(right, Lookup)):
        _by_words(total, left, right, pairing, memory)
    elif isinstance(left, Formed):
        _by_formed(total, left, right, pairing, memory)
    else:
        _by_rows(total, left, right, pairing, memory)


# --- which pairs of outputs -------------------------------------------------------------------------------------------


def _pair(U: Tensor, V: Tensor, pairing: str) -> Tensor:
    """Inner products of the last axis of (C, n1, F) and (C, n2, F)."""
    if pairing == "class":
        return U @ V.mT
    if pairing == "full":
        return (U.flatten(0, 1) @ V.flatten(0, 1).T).view(*U.shape[:2], *V.shape[:2])
    return U.transpose(0, 1).flatten(1) @ V.transpose(0, 1).flatten(1).T


def _part(total: Tensor, i: slice, j: slice, pairing: str) -> Tensor:
    return total[:, i, :, j] if pairing == "full" else total[..., i, j]


def _tiles(n: int, size: int) -> Iterator[slice]:
    yield from (slice(at, min(at + size, n)) for at in range(0, n, max(1, size)))


def _add_products(total: Tensor, U: Tensor, V: Tensor | None, pairing: str) -> None:
    """Add the inner products; of a matrix with itself in row blocks, from the diagonal to the right."""
    if V is not None:
        total += _pair(U, V, pairing)
        return
    n = U.shape[1]
    for i in _tiles(n, block_rows(n)):
        later = slice(i.start, n)
        part = _part(total, i, later, pairing)
        part += _pair(U[:, i], U[:, later], pairing)


def block_rows(n: int) -> int:
    """Rows of one block of a symmetric product of gradients: few to skip the lower half, enough to be fast."""
    return max(64, -(-n // 8))


def tile_side(T: int, S: int, outputs: int, size: int) -> int:
    """Rows on a side of a tile of products of positions, so that it fits into the cache."""
    side = int((TILE_BYTES / (outputs * T * S * size)) ** 0.5)
    return max(1, side) if T * S > 1 else max(256, side)


# --- factored: sum_ts (d_t . d'_s)(a_t . a'_s) ------------------------------------------------------------------------


def _by_factors(total: Tensor, left: Factors, right: Factors | None, pairing: str) -> None:
    other = left if right is None else right
    C, n1, groups, T, _ = left.cotangent.shape
    n2, S = other.cotangent.shape[1], other.cotangent.shape[3]
    side = tile_side(T, S, C * C if pairing == "full" else C, left.cotangent.element_size())
    for g in range(groups):
        A, B = left.activation[:, g].contiguous(), other.activation[:, g].contiguous()
        D, E = left.cotangent[:, :, g].contiguous(), other.cotangent[:, :, g].contiguous()
        for i in _tiles(n1, side):
            for j in _tiles(n2, side):
                if right is None and j.stop <= i.start:
                    continue
                part = _part(total, i, j, pairing)
                part += _factor_tile(A[i], B[j], D[:, i], E[:, j], left.bias is not None, pairing)


def _factor_tile(A: Tensor, B: Tensor, D: Tensor, E: Tensor, bias: bool, pairing: str) -> Tensor:
    """One tile: activations (i, T, p), (j, S, p), cotangents (C, i, T, q), (C, j, S, q)."""
    (n1, T), (n2, S) = A.shape[:2], B.shape[:2]
    shared = A.flatten(0, 1) @ B.flatten(0, 1).T
    if bias:
        shared += 1  # a bias is a weight whose activation is one
    R = _pair(D.flatten(1, 2), E.flatten(1, 2), pairing)
    R *= shared[:, None] if pairing == "full" else shared
    if T == S == 1:
        return R
    if pairing == "full":
        return R.view(len(D), n1, T, len(E), n2, S).sum((2, 5))
    return R.view(*R.shape[:-2], n1, T, n2, S).sum((-3, -1))


# --- explicit: gradients of some output channels at a time ------------------------------------------------------------


def _by_gradients(total: Tensor, left: Outer, right: Outer | None, pairing: str, memory: int) -> None:
    """Form the gradients of some output channels q and multiply them; of all outputs together where they are small."""
    sides = [(t, _bordered(t)) for t in (left, right) if t is not None]
    (C, _), q = left.extent, left.cotangents[0].shape[-1]
    # bytes of one output and channel: cotangents (T) and gradients (p); those of an output alone are not copied
    copied, formed = (sum(len(A) * A.shape[k] * A.element_size() for _, A in sides) for k in (2, 1))
    together = C if pairing == "full" or C * q * (copied + formed) <= min(FORMED_BYTES, memory) else 1
    width = max(1, min(q, memory // (4 * together * formed)))
    for outputs in _tiles(C, together):
        for channels in _tiles(q, width):
            U, *V = (_channel_gradients(side, A, outputs, channels) for side, A in sides)
            _add_products(total[outputs] if pairing == "class" else total, U, V[0] if V else None, pairing)


def _bordered(tangent: Outer) -> Tensor:
    """Activations (n * groups, p, T); with a bias a row of ones joins them: its gradient comes with the weight's."""
    A = tangent.unfold(tangent.source).mT.flatten(0, 1)
    return A if tangent.bias is None else torch.cat([A, A.new_ones(len(A), 1, A.shape[2])], 1)


def _channel_gradients(tangent: Outer, A: Tensor, outputs: slice, channels: slice) -> Tensor:
    """(C', n, groups * channels * p), in an order of its own that is the same for both sides."""
    chosen = [d[..., channels] for d in tangent.cotangents[outputs]]
    n = len(chosen[0])
    if len(chosen) == 1:
        return torch.bmm(A, chosen[0].flatten(0, 1)).view(1, n, -1)
    D = torch.stack([d.mT for d in chosen], 2)  # one product for each row serves all outputs: (n, groups, C', q, T)
    G = torch.bmm(D.reshape(len(A), -1, A.shape[2]), A.mT).view(n, -1, len(chosen), D.shape[3] * A.shape[1])
    return G.permute(2, 0, 1, 3).flatten(2)


# --- embeddings and everything small ----------------------------------------------------------------------------------


def _by_words(total: Tensor, left: Lookup, right: Lookup | None, pairing: str, memory: int) -> None:
    """The gradient is zero outside the words that occur: sum over those alone, some at a time."""
    other = left if right is None else right
    words = torch.unique(torch.cat([left.index.flatten(), other.index.flatten()]))
    C, n, _, m = left.cotangent.shape
    width = max(1, memory // (4 * C * (n + other.cotangent.shape[1]) * m * left.cotangent.element_size()))
    for tile in _tiles(len(words), width):
        V = None if right is None else right.columns(words[tile]).flatten(2)
        _add_products(total, left.columns(words[tile]).flatten(2), V, pairing)


def _by_rows(total: Tensor, left: Tangent, right: Tangent | None, pairing: str, memory: int) -> None:
    (C, n1), (_, n2) = left.extent, (left if right is None else right).extent
    size = sum(shape.numel() for shape in left.shapes.values()) * total.element_size()
    side = max(1, memory // (4 * C * max(1, size)))
    for i in _tiles(n1, side):
        rows = left.rows(i).joined()
        for j in _tiles(n2, side):
            if right is None and j.stop <= i.start:
                continue
            columns = rows if right is None and i == j else (left if right is None else right).rows(j).joined()
            part = _part(total, i, j, pairing)
            part += _pair(rows, columns, pairing)


def _by_formed(total: Tensor, left: Formed, right: Tangent | None, pairing: str, memory: int) -> None:
    """Gradients that are formed already with those of the other side, formed some rows at a time."""
    U, (C, n) = left.formed, (left if right is None else right).extent
    step = n if right is None else max(1, memory // (2 * C * U.shape[2] * U.element_size()))
    for j in _tiles(n, step):
        V = None if right is None else right.rows(j).joined()
        for outputs in _tiles(C, 1 if pairing == "sum" else C):  # a sum over outputs needs no copy of them side by side
            part = total if V is None else _part(total, slice(None), j, pairing)
            _add_products(part, U[outputs], None if V is None else V[outputs], pairing)


def _flat(G: Tensor) -> Tensor:
    return G.reshape(*G.shape[:2], -1)


# --- the diagonal -----------------------------------------------------------------------------------------------------


def squared_norms(tangent: Tangent, rule: str, memory: int) -> Tensor:
    """|grad f_c(x_i)|^2 of one layer: (C, n) in float64."""
    if isinstance(tangent, Outer) and rule == "factors":
        return _norms_by_factors(tangent.factors())
    C, n = tangent.extent
    size = sum(shape.numel() for shape in tangent.shapes.values()) * 8
    step = max(1, memory // (2 * C * size))
    parts = [sum(_square(G) for G in tangent.rows(i).gradients().values()) for i in _tiles(n, step)]
    return torch.cat(parts, 1)  # type: ignore[arg-type]


def _square(G: Tensor) -> Tensor:
    return torch.linalg.vector_norm(_flat(G), dim=2, dtype=torch.float64) ** 2


def _norms_by_factors(factors: Factors) -> Tensor:
    A, D = factors.activation, factors.cotangent
    shared = A @ A.mT + (1 if factors.bias is not None else 0)
    return torch.stack([((d @ d.mT) * shared).sum((1, 2, 3), dtype=torch.float64) for d in D])
