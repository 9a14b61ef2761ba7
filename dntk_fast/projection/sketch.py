"""One random map for all parameters of a model: named, seeded, applied to gradients as they come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.projection import hashing, maps
from dntk_fast.projection.maps import Map

__all__ = ["KINDS", "Sketch"]

KINDS = ("contiguous", "sjlt", "tensorsketch", "srht", "gaussian", "rademacher", "haar")

# Largest number of entries of a map that is ever formed as one matrix, and of dense blocks that are kept.
_MATRIX = 2**26


@dataclass(frozen=True)
class Sketch:
    """A linear map A from the gradients of named parameters to R^k with E A^T A = I, fixed by its fields alone.

    A u = sum_p A_p u_p. The map of a parameter is a function of (seed, name, k), whatever is drawn before it, so maps of
    different parameters are independent: across parameters every kind has E<a_i, a_j>^2 = 1/k, and

        Var <Au, Av> = sum_p Var_p <A_p u_p, A_p v_p> + (V0 - sum_p V0_p) / k

    with Var_p from the docstring of the kind (Haar: one draw for all parameters together, table of section 4.2).

    Parameters
    ----------
    shapes : mapping of name to shape, in the order of the rows of `matrix`; a parameter is flattened row by row
    k : int, 1 or above
    seed : int in [0, 2^63)
    kinds : one of KINDS for all parameters, or a mapping of name to kind ("haar" stands alone)

    Raises
    ------
    ValueError
        Unknown kind; "sjlt" where 4 does not divide k; "haar" with k above P or beside another kind, or too large a P.

    Examples
    --------
    >>> sketch = Sketch({"w": (3, 2), "b": (3,)}, k=4, seed=0)
    >>> sketch.matrix().abs().sum(1).tolist()      # one sign in each row
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    shapes: Mapping[str, tuple[int, ...]]
    k: int
    seed: int
    kinds: str | Mapping[str, str] = "contiguous"
    _maps: dict[object, Map] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check.integer("k", self.k, 1)
        _check.seed(self.seed)
        given = dict.fromkeys(self.shapes, self.kinds) if isinstance(self.kinds, str) else dict(self.kinds)
        if given.keys() != self.shapes.keys():
            _check.refuse("kinds", "a kind for every parameter", sorted(given.keys() ^ self.shapes.keys()))
        for kind in given.values():
            _check.choice("projection", kind, KINDS)
        used = set(given.values())
        if "sjlt" in used and self.k % maps.SPARSITY:
            _check.refuse("k", f"a multiple of {maps.SPARSITY} for sjlt", self.k)
        if "haar" in used:
            if len(used) > 1:
                _check.refuse("kinds", "haar for all parameters or for none", sorted(used))
            _check.dimension(self.k, self.size)
            self._small("haar")
        object.__setattr__(self, "kinds", given)
        object.__setattr__(self, "shapes", {name: tuple(shape) for name, shape in self.shapes.items()})

    @property
    def size(self) -> int:
        """Return P, the number of all parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _small(self, name: str) -> None:
        if self.size * self.k > _MATRIX:
            _check.refuse(name, f"P k of at most {_MATRIX}", f"P = {self.size}, k = {self.k}")

    def block(self, name: str, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Map:
        """Return the map of one parameter, (m, d) -> (m, k); drawn once for each dtype and device."""
        device = torch.device(device)
        found = self._maps.get((name, dtype, device))
        if found is None:
            found = self._maps[name, dtype, device] = self._draw(name, dtype, device)
        return found

    def _draw(self, name: str, dtype: torch.dtype, device: torch.device) -> Map:
        key, shape = (self.seed, name), torch.Size(self.shapes[name])
        d, kind = shape.numel(), self.kinds[name]  # type: ignore[index]
        if d == 0:
            return maps.Rows(torch.zeros(0, self.k, dtype=dtype, device=device))
        if kind == "tensorsketch" and len(shape) > 1:
            return maps.TensorSketch(key, shape, self.k, dtype, device)
        if kind == "haar":
            start = sum(math.prod(other) for other in list(self.shapes.values())[: list(self.shapes).index(name)])
            return maps.Rows(self._haar[start : start + d].to(device, dtype))
        if kind in ("gaussian", "rademacher"):
            return maps.Dense(key, d, self.k, dtype, device, kind=kind, keep=self.size * self.k <= _MATRIX)
        if kind == "sjlt":
            return maps.SparseJL(key, d, self.k, dtype, device)
        if kind == "srht":
            return maps.SubsampledHadamard(key, d, self.k, dtype, device)
        return maps.Contiguous(key, d, self.k, dtype, device)  # in place of tensorsketch too: a vector has no factors

    @cached_property
    def _haar(self) -> Tensor:
        """sqrt(P / k) Q of a uniformly distributed Q (P, k) with orthonormal columns; always drawn on the CPU."""
        stream = hashing.key(self.seed, "", "haar")
        normal = hashing.normals(stream, 0, self.size * self.k, dtype=torch.float64).reshape(self.size, self.k)
        q, r = torch.linalg.qr(normal)
        # Uniform only with the signs of the diagonal of R taken out [Mezzadri2007].
        found: Tensor = q * r.diagonal().sign() * math.sqrt(self.size / self.k)
        return found

    def apply(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Return A u of gradients {name: (..., *shape)}, missing names taken as zero: (..., k)."""
        if not gradients:
            raise ValueError("gradients: expected at least one parameter, got none")
        parts = []
        for name, gradient in gradients.items():
            lead = gradient.shape[: gradient.ndim - len(self.shapes[name])]
            if gradient.shape != (*lead, *self.shapes[name]):
                _check.refuse(f"gradients[{name!r}]", f"shape (..., {self.shapes[name]})", tuple(gradient.shape))
            rows = gradient.reshape(lead.numel(), math.prod(self.shapes[name]))
            parts.append(self.block(name, dtype=rows.dtype, device=rows.device).apply(rows).reshape(*lead, self.k))
        return torch.stack(parts).sum(0)

    def adjoint(self, weights: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield A^T w of weights (..., k), parameter by parameter: (name, (..., *shape)).

        >>> sketch = Sketch({"w": (2, 3)}, k=4, seed=1)
        >>> u, w = torch.ones(2, 3, dtype=torch.float64), torch.arange(4, dtype=torch.float64)
        >>> bool(sketch.apply({"w": u}) @ w == (u * dict(sketch.adjoint(w))["w"]).sum())
        True
        """
        if weights.ndim == 0 or weights.shape[-1] != self.k:
            _check.refuse("weights", f"shape (..., {self.k})", tuple(weights.shape))
        flat = weights.reshape(-1, self.k)
        for name, shape in self.shapes.items():
            back = self.block(name, dtype=weights.dtype, device=weights.device).adjoint(flat)
            yield name, back.reshape(*weights.shape[:-1], *shape)

    def matrix(self, *, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the map itself, (P, k), acting on the right: A^T of the paper; for small P only.

        Raises
        ------
        ValueError
            More than 2^26 entries.
        """
        self._small("matrix")
        if not self.shapes:
            return torch.zeros(0, self.k, dtype=dtype)
        sizes = ((name, math.prod(shape)) for name, shape in self.shapes.items())
        return torch.cat([self.block(name, dtype=dtype).apply(torch.eye(d, dtype=dtype)) for name, d in sizes])
