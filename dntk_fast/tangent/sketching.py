"""The consumer that projects: tangents of the layers in, features of a chunk of samples out, no gradient kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dntk_fast.projection import Sketch
from dntk_fast.projection.maps import Contiguous, TensorSketch
from dntk_fast.tangent.layers import Deferred, Factors, Lookup, Tangent

__all__ = ["Projector", "choose_kinds"]

# Cost model, in multiply-adds of a matrix product on two cores. Of an explicit gradient every entry costs T products and
# about 64 more for being written, read and added; of the factors every position costs two transforms of k log2 k terms, ten
# each with the hashing and the product.
_ENTRY, _TRANSFORM = 64, 10
# Bytes of gradients that are formed at a time: long rows for the products, and still near the cores.
_TILE = 2**24


def choose_kinds(tangents: Iterable[Tangent], shapes: Mapping[str, torch.Size], k: int, quality: float) -> dict[str, str]:
    """Choose a map for each parameter: TensorSketch of the factors where they are much cheaper, contiguous otherwise.

    The choice depends on layer shapes, positions T and k alone, never on the number of samples or outputs, the budget or
    the device: it is part of the map. `quality` caps the second moment of the map for a gradient of rank one, as a
    multiple of the Gaussian map's: TensorSketch has 3 minus the number of sides of the weight that fit into k.
    """
    kinds = dict.fromkeys(shapes, "contiguous")
    for tangent in tangents:
        factors = tangent.factors()
        if factors is None:
            continue
        shape = shapes[factors.weight]
        groups, positions = factors.activation.shape[1:3]
        size, sides = shape.numel(), (shape[0], shape[1:].numel())
        explicit = (positions + _ENTRY) * size
        transforms = 2 * positions * groups * _TRANSFORM * k * math.log2(max(k, 2))
        if transforms < explicit and 3 - sum(side <= k for side in sides) <= quality:
            kinds[factors.weight] = "tensorsketch"
    return kinds


class Projector:
    """Adds A_l times the tangent of each layer l to the features (C, n, k) of one chunk of n samples.

    Contiguous maps add into an accumulator of twice the width, TensorSketches of factors into its Fourier transform; both
    are brought back once, at the end.
    """

    def __init__(self, sketch: Sketch, outputs: int, rows: int, like: Tensor, budget: int) -> None:
        self.sketch, self.dtype, self.device = sketch, like.dtype, like.device
        self.tile, self.budget = min(_TILE, budget), budget
        self.wide = like.new_zeros(outputs, rows, 2 * sketch.k)
        self.spectrum: Tensor | None = None

    def add(self, tangent: Tangent) -> None:
        """Project one layer's tangent and forget it."""
        factors = tangent.factors()
        if factors is not None:
            if factors.bias is not None:
                self._rows(factors.bias, factors.cotangent.sum(3), slice(None))
            weight = self._map(factors.weight)
            if isinstance(weight, TensorSketch):
                self._factors(weight, factors)
            elif isinstance(weight, Contiguous) and not factors.transposed:
                self._product(weight, factors)
            else:
                self._gradients(tangent, [factors.weight])
        elif isinstance(tangent, Lookup) and isinstance(self._map(tangent.weight), Contiguous):
            self._lookup(tangent)
        else:
            self._gradients(tangent, list(tangent.shapes))

    def result(self) -> Tensor:
        """Return the features (C, n, k) of all that was added."""
        total = Contiguous.fold(self.wide)
        return total if self.spectrum is None else total + torch.fft.irfft(self.spectrum, self.sketch.k)

    def _map(self, name: str) -> object:
        return self.sketch.block(name, dtype=self.dtype, device=self.device)

    def _rows(self, name: str, gradient: Tensor, chunk: slice) -> None:
        """Gradients that are formed: (C, rows of the chunk, ...)."""
        block, into = self.sketch.block(name, dtype=self.dtype, device=self.device), self.wide[:, chunk]
        flat = gradient.reshape(*gradient.shape[:2], -1).to(self.dtype)
        if isinstance(block, Contiguous):
            block.accumulate(flat, into)
        else:
            into[..., : self.sketch.k] += block.apply(flat.flatten(0, 1)).unflatten(0, flat.shape[:2])

    def _gradients(self, tangent: Tangent, names: list[str]) -> None:
        """Any tangent, by its gradients, as many samples at a time as the budget holds: dense maps are drawn each time."""
        C, n = tangent.extent
        size = sum(tangent.shapes[name].numel() for name in names) if isinstance(tangent, Deferred) else max(
            tangent.shapes[name].numel() for name in names
        )
        step = max(1, min(n, self.budget // max(1, 2 * C * size * self.wide.element_size())))
        for start in range(0, n, step):
            chunk = slice(start, min(start + step, n))
            part = tangent.rows(chunk)
            if isinstance(part, Deferred):
                for name, gradient in part.gradients().items():
                    self._rows(name, gradient, chunk)
            else:
                for name in names:
                    self._rows(name, part.gradient(name), chunk)

    def _product(self, block: Contiguous, factors: Factors) -> None:
        """Contiguous map of sum_t delta_t a_t^T, formed for a few samples of one output at a time."""
        A, (C, n, groups, _, q) = factors.activation, factors.cotangent.shape
        size = groups * q * A.shape[-1]
        step = max(1, min(n, self.tile // (size * self.wide.element_size())))
        G = self.wide.new_empty(step * groups, q, A.shape[-1])
        for start in range(0, n, step):
            chunk = slice(start, min(start + step, n))
            a = A[chunk].flatten(0, 1)
            for c in range(C):
                product = torch.bmm(factors.cotangent[c, chunk].flatten(0, 1).mT, a, out=G[: len(a)])
                block.accumulate(product.view(-1, size), self.wide[c, chunk])

    def _factors(self, block: TensorSketch, factors: Factors) -> None:
        """TensorSketch of the factors, summed over groups and positions in the Fourier domain."""
        C, n, groups, positions, q = factors.cotangent.shape
        outer, inner = (1, 0) if factors.transposed else (0, 1)
        if self.spectrum is None:
            shape = (*self.wide.shape[:2], self.sketch.k // 2 + 1)
            self.spectrum = torch.zeros(shape, dtype=self.dtype.to_complex(), device=self.device)
        step = max(1, min(n, self.tile // (2 * C * positions * self.sketch.k * self.wide.element_size())))
        for start in range(0, n, step):
            chunk = slice(start, min(start + step, n))
            for g in range(groups):
                a = block.spectrum(inner, factors.activation[chunk, g])
                d = block.spectrum(outer, factors.cotangent[:, chunk, g], g * q)
                self.spectrum[:, chunk] += (d * a).sum(2) if positions > 1 else (d * a).squeeze(2)

    def _lookup(self, tangent: Lookup) -> None:
        """Contiguous map of a table's gradient from the rows that were looked up."""
        block = self._map(tangent.weight)
        assert isinstance(block, Contiguous)
        C, n, T, m = tangent.cotangent.shape
        coordinates = (tangent.index[..., None] * m + torch.arange(m, device=self.device)).reshape(n, T * m)
        values = (tangent.cotangent.reshape(C, n, T * m) * block.signs[coordinates]).to(self.dtype)
        bucket = block.buckets(coordinates).expand(C, n, T * m)
        self.wide[..., : self.sketch.k].scatter_add_(2, bucket, values)
