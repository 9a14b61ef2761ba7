"""Random maps of one parameter, drawn from its key: rows (m, d) -> (m, k), and back.

Every map has E A^T A = I, so <Au, Av> is unbiased; each docstring derives its variance from one identity. Where every
column a_i of A has length one and its own independent sign,

    <Au, Av> - <u, v> = sum_{i<j} (u_i v_j + u_j v_i) <a_i, a_j>

has uncorrelated terms, so Var = sum_{i<j} (u_i v_j + u_j v_i)^2 E<a_i, a_j>^2. With V0 = |u|^2 |v|^2 + <u, v>^2 and
D = sum_i u_i^2 v_i^2 the squares sum to V0 - 2 D. A subscript r restricts both vectors to run r.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dntk_fast.projection import hashing

__all__ = ["SPARSITY", "Contiguous", "Dense", "Map", "Rows", "SparseJL", "SubsampledHadamard", "TensorSketch"]

# Non-zeros per column of SparseJL.
SPARSITY = 4
# Entries of the accumulator that stay in a core's own cache while the runs pass through it.
_TILE = 2**17
# Runs shorter than this are given back many at a time: one call for each would cost more than its copies.
_SHORT = 256
# Where there are more runs than this share of k, those of one shift are summed first: of k shifts k^2 entries are left.
_MANY = 1 / 2
# Entries whose runs are summed at a time: they stay in a core's cache with their signs.
_SUMMED = 2**18
# Coordinates of a dense map that are drawn at a time: 4 M entries.
_DENSE_BLOCK = 2**22


class Map(Protocol):
    """What every map of one parameter with d entries offers."""

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""


class Contiguous:
    """CountSketch whose hash is a bijection inside each run of k coordinates: (i + shift of the run) mod k.

    Columns are signed unit vectors: <a_i, a_j>^2 is 0 within a run and 1 with probability 1/k across runs, hence

        Var <Au, Av> = (V0 - sum_r V0_r) / k,

    never above CountSketch's (V0 - 2 D) / k. A run is added as it lies in memory, one signed addition per entry.
    """

    def __init__(self, key: tuple[int, str], d: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        stream = hashing.key(key[0], key[1], "contiguous")
        self.d, self.k = d, k
        self.signs = hashing.signs(stream, 0, d, dtype=dtype, device=device)
        runs = hashing.key(key[0], key[1], "contiguous", "shift")
        self.shifts: list[int] = hashing.shifts(runs, -(-d // k), k).tolist()
        self._order: tuple[Tensor, Tensor] | None = None

    def _runs(self) -> list[tuple[int, int, int]]:
        starts = range(0, self.d, self.k)
        return [(i, min(i + self.k, self.d), shift) for i, shift in zip(starts, self.shifts, strict=True)]

    def accumulate(self, rows: Tensor, wide: Tensor) -> None:
        """Add A u of rows (..., d) to `wide` (..., 2 k), where a shifted run lies in one piece; `fold` gives A u."""
        whole = self.d // self.k if self.d // self.k >= self.k * _MANY else 0
        if whole:
            flat, total = rows.reshape(-1, self.d), wide.reshape(-1, 2 * self.k)
            step = max(1, _SUMMED // self.d)
            for first in range(0, len(flat), step):
                total[first : first + step, :-1] += self._by_shift(flat[first : first + step], whole)
            wide.copy_(total.view(wide.shape))
        for start, stop, shift in self._runs()[whole:]:
            wide[..., shift : shift + stop - start].addcmul_(rows[..., start:stop], self.signs[start:stop])

    def _by_shift(self, rows: Tensor, whole: int) -> Tensor:
        """The first runs of rows (m, d), those of one shift summed first: (m, 2 k - 1).

        Of the sums M (k, k) bucket b is sum_s M[s, b - s]: padded to (k, 2 k) and read with one column less, row s stands
        s places further to the right, and the columns are added.
        """
        m, k, size = len(rows), self.k, self.d // self.k * self.k
        order, starts = self._sorted(whole)
        runs, copies = (rows[:, :size] * self.signs[:size]).reshape(-1, k), torch.arange(m, device=rows.device)[:, None]
        sums = functional.embedding_bag(
            (order + whole * copies).reshape(-1), runs, (starts + whole * copies).reshape(-1), mode="sum"
        )
        return functional.pad(sums.view(m, k, k), (0, k)).flatten(1)[:, :-k].view(m, k, 2 * k - 1).sum(1)

    def _sorted(self, whole: int) -> tuple[Tensor, Tensor]:
        """The first runs in the order of their shifts, and where each shift begins."""
        if self._order is None:
            shifts = torch.tensor(self.shifts[:whole], device=self.signs.device)
            count = torch.bincount(shifts, minlength=self.k)
            self._order = shifts.argsort(stable=True), count.cumsum(0) - count
        return self._order

    @staticmethod
    def fold(wide: Tensor) -> Tensor:
        """Fold the buckets k ... 2k - 1 back onto 0 ... k - 1."""
        k = wide.shape[-1] // 2
        return wide[..., :k] + wide[..., k:]

    def buckets(self, coordinates: Tensor) -> Tensor:
        """Return the bucket of each of some coordinates; their signs are `signs[coordinates]`."""
        shifts = torch.tensor(self.shifts, device=coordinates.device)
        return (coordinates % self.k + shifts[coordinates // self.k]) % self.k

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""
        wide, tile = rows.new_zeros(len(rows), 2 * self.k), max(1, _TILE // self.k)
        for first in range(0, len(rows), tile):
            self.accumulate(rows[first : first + tile], wide[first : first + tile])
        return self.fold(wide)

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""
        if self.k < _SHORT:
            return weights[:, self.buckets(torch.arange(self.d, device=weights.device))] * self.signs
        twice = torch.cat((weights, weights), dim=1)
        found = weights.new_empty(len(weights), self.d)
        for start, stop, shift in self._runs():
            found[:, start:stop] = twice[:, shift : shift + stop - start] * self.signs[start:stop]
        return found


class SparseJL:
    """SJLT in block form: s independent contiguous maps into k/s coordinates each, over sqrt(s) [KaneNelson2014].

    A mean of s independent unbiased estimates, each of variance (V0 - sum_r V0_r) / (k/s) with runs of k/s, hence

        Var <Au, Av> = (V0 - sum_r V0_r) / k,    runs of k/s coordinates.
    """

    def __init__(self, key: tuple[int, str], d: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        draws = ((key[0], f"{key[1]}\x1f{draw}") for draw in range(SPARSITY))
        self.maps = [Contiguous(draw, d, k // SPARSITY, dtype, device) for draw in draws]

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""
        return torch.cat([one.apply(rows) for one in self.maps], dim=1) / math.sqrt(SPARSITY)

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""
        parts = weights.chunk(SPARSITY, dim=1)
        total = sum(
            (one.adjoint(part) for one, part in zip(self.maps, parts, strict=True)), torch.zeros(()).to(weights)
        )
        return total / math.sqrt(SPARSITY)


class TensorSketch:
    """CountSketch of a matrix (d_o, d_i) with hash h(i) + g(j) mod k and sign s(i) t(j) [PhamPagh2013].

    Of an outer product it is the circular convolution of two small sketches, so it needs no entry of the product:
    F A (delta a^T) = F(sketch of delta) * F(sketch of a). h and g are uniform bijections inside runs of k rows or columns.

    Signs are shared by the entries of a row or column, so pairs of pairs correlate. Let p be the chance that two rows
    (or columns) share a bucket, 0 within a run and 1/k across; q(i, i', j, j') that of h(i) - h(i') = g(j') - g(j),
    1/(k-1) where both pairs lie within a run and 1/k else; q2 that of the same with g(j) - g(j') besides: h(i) - h(i')
    is then 0 or k/2. Then

        Var = sum_{j<j'} p (U^T V + V^T U)_{jj'}^2 + sum_{i<i'} p (U V^T + V U^T)_{ii'}^2
              + sum_{i<i', j<j'} [ q (X^2 + Y^2) + 2 q2 X Y ],
        X = U_ij V_i'j' + U_i'j' V_ij,   Y = U_ij' V_i'j + U_i'j V_ij'.

    For U = V of rank one each of the first two sums is at most 2 (1 - 1/R) |U|^4 / k, R = ceil(d_i / k) or ceil(d_o / k)
    runs: none where the side fits into k. The third is at most 2 (q + q2) |U|^4. A Gaussian map has 2 |U|^4 / k: up to three
    times its variance, about once if both sides fit. Gradients summed over many positions are far from rank one, and
    closer to it.
    """

    def __init__(
        self, key: tuple[int, str], shape: torch.Size, k: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.k, self.shape = k, (shape[0], math.prod(shape[1:]))
        self.hashes, self.signs = [], []
        for side, size in zip(("output", "input"), self.shape, strict=True):
            stream = hashing.key(key[0], key[1], "tensorsketch", side)
            runs = hashing.permutations(stream, -(-size // k), k, device=device)
            self.hashes.append(runs.reshape(-1)[:size])
            sign = hashing.key(key[0], key[1], "tensorsketch", side, "sign")
            self.signs.append(hashing.signs(sign, 0, size, dtype=dtype, device=device))

    def _table(self) -> tuple[Tensor, Tensor]:
        (h, g), (s, t) = self.hashes, self.signs
        return ((h[:, None] + g) % self.k).reshape(-1), (s[:, None] * t).reshape(-1)

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""
        bucket, sign = self._table()
        return rows.new_zeros(len(rows), self.k).index_add_(1, bucket, rows * sign)

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""
        bucket, sign = self._table()
        return weights[:, bucket] * sign

    def spectrum(self, side: int, factor: Tensor, first: int = 0) -> Tensor:
        """Fourier transform of the sketch of one factor: (..., d_o) for side 0 or (..., d_i) for 1 -> (..., k//2 + 1).

        The product of both sides' spectra, summed over positions and layers, is the transform of A (sum delta a^T). A
        factor with fewer than all entries starts at entry `first` (a group of a convolution).
        """
        part = slice(first, first + factor.shape[-1])
        flat = (factor * self.signs[side][part]).reshape(-1, factor.shape[-1])
        sketch = flat.new_zeros(len(flat), self.k).index_add_(1, self.hashes[side][part], flat)
        spectrum: Tensor = torch.fft.rfft(sketch)
        return spectrum.reshape(*factor.shape[:-1], -1)


class SubsampledHadamard:
    """SRHT of runs of B coordinates, B the smallest power of two >= k: signs, Hadamard, k of B rows, signs again.

    Within a run k rows are drawn without replacement: E<a_i, a_j>^2 = (B - k) / (k (B - 1)), which is 0 for k = B. The
    second signs, independent between runs, make it 1/k across runs (without them the constant column of every run would
    be the same vector). Hence

        Var <Au, Av> = (V0 - sum_r V0_r) / k + (B - k) / (k (B - 1)) sum_r (V0_r - 2 D_r).
    """

    def __init__(self, key: tuple[int, str], d: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        self.d, self.k, self.size = d, k, 1 << (k - 1).bit_length()
        self.runs = -(-d // self.size)
        name = "srht"
        flips = hashing.key(key[0], key[1], name, "input sign")
        self.signs = hashing.signs(flips, 0, d, dtype=dtype, device=device)
        rows = hashing.permutations(hashing.key(key[0], key[1], name, "row"), self.runs, self.size, device=device)
        self.rows = rows[:, :k]
        after = hashing.key(key[0], key[1], name, "output sign")
        self.after = hashing.signs(after, 0, self.runs * k, dtype=dtype, device=device).reshape(self.runs, k)
        self.after /= math.sqrt(k)

    def _hadamard(self, value: Tensor) -> Tensor:
        """Unnormalised Walsh-Hadamard transform of the last axis, as two matrix products H_a X H_b with a b = B."""
        bits = self.size.bit_length() - 1
        left, right = (_hadamard_matrix(b, value) for b in (bits // 2, bits - bits // 2))
        square = value.reshape(*value.shape[:-1], len(left), len(right))
        return (left @ square @ right).reshape(value.shape)

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""
        found = rows.new_zeros(len(rows), self.k)
        for run in range(self.runs):
            part = slice(run * self.size, min((run + 1) * self.size, self.d))
            padded = rows.new_zeros(len(rows), self.size)
            padded[:, : part.stop - part.start] = rows[:, part] * self.signs[part]
            found.addcmul_(self._hadamard(padded)[:, self.rows[run]], self.after[run])
        return found

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""
        found = weights.new_empty(len(weights), self.d)
        for run in range(self.runs):
            part = slice(run * self.size, min((run + 1) * self.size, self.d))
            padded = weights.new_zeros(len(weights), self.size)
            padded[:, self.rows[run]] = weights * self.after[run]
            found[:, part] = self._hadamard(padded)[:, : part.stop - part.start] * self.signs[part]
        return found


def _hadamard_matrix(bits: int, like: Tensor) -> Tensor:
    """Sylvester's matrix of order 2^bits."""
    found = like.new_ones(1, 1)
    for _ in range(bits):
        found = torch.cat((torch.cat((found, found), 1), torch.cat((found, -found), 1)))
    return found


class Dense:
    """Independent entries of variance 1/k: Gaussian, or signs over sqrt(k) ("rademacher").

    Var <Au, Av> = V0 / k for Gaussian entries and (V0 - 2 D) / k for signs. Blocks of coordinates are drawn from the
    counter, once where `keep`, else once for every call: a call should bring as many rows as memory allows.
    """

    def __init__(
        self, key: tuple[int, str], d: int, k: int, dtype: torch.dtype, device: torch.device, *, kind: str, keep: bool
    ) -> None:
        self.d, self.k, self.dtype, self.device, self.kind = d, k, dtype, device, kind
        self.stream = hashing.key(key[0], key[1], kind)
        self.step = max(1, _DENSE_BLOCK // k)
        self.kept = [self._draw(start) for start in range(0, d, self.step)] if keep else None

    def _draw(self, start: int) -> Tensor:
        count = min(self.step, self.d - start)
        # Every coordinate starts at a fresh word: 64 signs or two normal numbers share one.
        width = -(-self.k // 64) * 64 if self.kind == "rademacher" else -(-self.k // 2) * 2
        draw = hashing.signs if self.kind == "rademacher" else hashing.normals
        flat = draw(self.stream, start * width, count * width, dtype=self.dtype, device=self.device)
        return flat.reshape(count, width)[:, : self.k] / math.sqrt(self.k)

    def blocks(self) -> list[Tensor] | map[Tensor]:
        """Rows of the map (d, k), some at a time."""
        return self.kept if self.kept is not None else map(self._draw, range(0, self.d, self.step))

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""
        found = rows.new_zeros(len(rows), self.k)
        for start, block in zip(range(0, self.d, self.step), self.blocks(), strict=True):
            found.addmm_(rows[:, start : start + self.step], block)
        return found

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""
        return torch.cat([weights @ block.T for block in self.blocks()], dim=1)


class Rows:
    """A map that is given as a matrix (d, k)."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def apply(self, rows: Tensor) -> Tensor:
        """Return A u of every row u: (m, d) -> (m, k)."""
        return rows @ self.matrix

    def adjoint(self, weights: Tensor) -> Tensor:
        """Return A^T w of every row w: (m, k) -> (m, d)."""
        return weights @ self.matrix.T
