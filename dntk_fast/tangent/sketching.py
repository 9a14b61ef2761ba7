"""The consumer that projects: tangents of the layers in, features of a chunk of samples out, no gradient kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from dntk_fast.projection import Sketch
from dntk_fast.projection.maps import Contiguous, Map, TensorSketch
from dntk_fast.tangent.layers import Deferred, Lookup, Outer, Pulled, Tangent

__all__ = ["QUALITY", "Projector", "choose_kinds", "second_moment"]

# Cost model, in multiply-adds of a matrix product on two cores. Of an explicit gradient every entry costs T products and
# about 64 more for being written, read and added; of the factors every position costs two transforms of k log2 k terms, ten
# each with the hashing and the product.
_ENTRY, _TRANSFORM = 64, 10
# The largest second moment of a gradient of rank one, as a multiple of a Gaussian map's, unless another is asked for.
QUALITY = 2.0
# Bytes of gradients that are formed at a time: on a CPU near the cores, on a GPU few launches. A run of a contiguous map is
# one call for all rows of a tile, so there are some rows even where one gradient is larger than the tile.
_TILE = {"cpu": 2**24, "cuda": 2**28}
_LEAST_ROWS = 8


def choose_kinds(
    tangents: Iterable[Tangent], shapes: Mapping[str, torch.Size], k: int, quality: float
) -> dict[str, str]:
    """Choose a map for each parameter: TensorSketch of the factors where they are much cheaper, contiguous otherwise.

    The choice depends on layer shapes, positions T and k alone, never on the number of samples or outputs, the budget or
    the device: it is part of the map. `quality` caps the second moment of the map for a gradient of rank one, as a
    multiple of the Gaussian map's.
    """
    kinds = dict.fromkeys(shapes, "contiguous")
    for tangent in tangents:
        factors = tangent.factors()
        if factors is None:
            continue
        shape = shapes[factors.weight]
        groups, positions = factors.activation.shape[1:3]
        size = shape.numel()
        explicit = (positions + _ENTRY) * size
        transforms = 2 * positions * groups * _TRANSFORM * k * math.log2(max(k, 2))
        if transforms < explicit and second_moment(shape, k) <= quality:
            kinds[factors.weight] = "tensorsketch"
    return kinds


def second_moment(shape: Sequence[int], k: int) -> float:
    """Second moment of the TensorSketch of a weight of rank one at most, as a multiple of a Gaussian map's.

    1 + (1 - 1/R) + (1 - 1/R') with R and R' runs of k rows and columns (`projection.maps.TensorSketch`).

    >>> [second_moment(shape, 512) for shape in ((64, 64), (192, 8, 8, 16), (768, 192))]
    [1.0, 1.5, 1.5]
    """
    return 3 - sum(1 / -(-side // k) for side in (shape[0], math.prod(shape[1:])))


class Projector:
    """Adds A_l times the tangent of each layer l to the features (C, n, k) of one chunk of n samples.

    Contiguous maps add into an accumulator of twice the width, TensorSketches of factors into its Fourier transform; both
    are brought back once, at the end.
    """

    def __init__(self, sketch: Sketch, outputs: int, rows: int, like: Tensor, budget: int) -> None:
        self.sketch, self.dtype, self.device = sketch, like.dtype, like.device
        self.tile, self.budget = min(_TILE.get(like.device.type, 2**24), budget), budget
        self.wide = like.new_zeros(outputs, rows, 2 * sketch.k)
        self.spectrum: Tensor | None = None

    def add(self, tangent: Tangent) -> None:
        """Project one layer's tangent and forget it."""
        if isinstance(tangent, Outer):
            weight = self._map(tangent.weight)
            if isinstance(weight, TensorSketch):
                return self._factors(weight, tangent)
            if isinstance(weight, Contiguous) and not tangent.transposed:
                return self._product(weight, tangent)
        if isinstance(tangent, Lookup) and isinstance(self._map(tangent.weight), Contiguous):
            return self._lookup(tangent)
        return self._gradients(tangent)

    def result(self) -> Tensor:
        """Return the features (C, n, k) of all that was added."""
        total = Contiguous.fold(self.wide)
        return total if self.spectrum is None else total + torch.fft.irfft(self.spectrum, self.sketch.k)

    def _map(self, name: str) -> Map:
        return self.sketch.block(name, dtype=self.dtype, device=self.device)

    def _rows(self, name: str, gradient: Tensor, chunk: slice) -> None:
        """Gradients that are formed: (C, rows of the chunk, ...)."""
        block, into = self._map(name), self.wide[:, chunk]
        flat = gradient.reshape(*gradient.shape[:2], -1).to(self.dtype)
        if isinstance(block, Contiguous):
            block.accumulate(flat, into)
        else:
            into[..., : self.sketch.k] += block.apply(flat.flatten(0, 1)).reshape(*flat.shape[:2], -1)

    def _gradients(self, tangent: Tangent) -> None:
        """Any tangent, by its gradients, as many samples at a time as the budget holds: dense maps are drawn each time."""
        C, n = tangent.extent
        size = max(shape.numel() for shape in tangent.shapes.values())
        if isinstance(tangent, Deferred | Pulled):  # gives the gradients of all its parameters at once
            size = sum(shape.numel() for shape in tangent.shapes.values())
        step = max(1, min(n, self.budget // (2 * C * size * self.wide.element_size())))
        for start in range(0, n, step):
            chunk = slice(start, min(start + step, n))
            part = tangent.rows(chunk)
            if isinstance(part, Deferred | Pulled):
                for name, gradient in part.gradients().items():
                    self._rows(name, gradient, chunk)
            else:
                for name in part.shapes:
                    self._rows(name, part.gradient(name), chunk)

    def _bias(self, tangent: Outer) -> None:
        if tangent.bias is not None:
            self._rows(tangent.bias, tangent.gradient(tangent.bias), slice(None))

    def _product(self, block: Contiguous, tangent: Outer) -> None:
        """Contiguous map of sum_t delta_t a_t^T, formed for a few samples of one output at a time."""
        self._bias(tangent)
        A = tangent.unfold(tangent.source)
        n, groups, _, q = tangent.cotangents[0].shape
        size = groups * q * A.shape[-1]
        bytes_per_row = size * self.wide.element_size()
        step = max(1, self.tile // bytes_per_row, min(_LEAST_ROWS, self.budget // bytes_per_row))
        step = min(n, step)
        G = self.wide.new_empty(step * groups, q, A.shape[-1])
        for start in range(0, n, step):
            chunk = slice(start, min(start + step, n))
            a = A[chunk].flatten(0, 1).to(self.dtype)
            for c, D in enumerate(tangent.cotangents):
                product = torch.bmm(D[chunk].flatten(0, 1).mT.to(self.dtype), a, out=G[: len(a)])
                block.accumulate(product.view(-1, size), self.wide[c, chunk])

    def _factors(self, block: TensorSketch, tangent: Outer) -> None:
        """TensorSketch of the factors, summed over groups and positions in the Fourier domain."""
        self._bias(tangent)
        A, (C, n), k = tangent.unfold(tangent.source), tangent.extent, self.sketch.k
        _, groups, positions, q = tangent.cotangents[0].shape
        outer, inner = (1, 0) if tangent.transposed else (0, 1)
        if self.spectrum is None:
            self.spectrum = torch.zeros(C, n, k // 2 + 1, dtype=self.dtype.to_complex(), device=self.device)
        step = max(1, min(n, self.tile // (2 * C * positions * k * self.wide.element_size())))
        for start in range(0, n, step):
            chunk = slice(start, min(start + step, n))
            for g in range(groups):
                a = block.spectrum(inner, A[chunk, g])
                D = torch.stack([D[chunk, g] for D in tangent.cotangents])
                product = block.spectrum(outer, D, g * q) * a
                self.spectrum[:, chunk] += product.sum(2) if positions > 1 else product.squeeze(2)

    def _lookup(self, tangent: Lookup) -> None:
        """Contiguous map of a table's gradient from the rows that were looked up."""
        block = self._map(tangent.weight)
        assert isinstance(block, Contiguous)
        C, n, T, m = tangent.cotangent.shape
        coordinates = (tangent.index[..., None] * m + torch.arange(m, device=self.device)).reshape(n, T * m)
        values = (tangent.cotangent.reshape(C, n, T * m) * block.signs[coordinates]).to(self.dtype)
        bucket = block.buckets(coordinates).expand(C, n, T * m)
        self.wide[..., : self.sketch.k].scatter_add_(2, bucket, values)
