"""Where the kernel of several networks comes from: exact kernels, or projected features, kept or made again for rows.

K_c = sum_m K_c^(m) / d_m, d_m the mean of diag K^(m) over classes and training rows; features are divided by d_m^1/2 and
stand side by side.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.analysis.inputs import BATCH, batches, joined, networks, outputs_of
from dntk_fast.analysis.machines import DualMachine, Machine, PrimalMachine, dual_machine, primal_machine
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.kernels.moments import Moments, merge, moments_of
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.generic import take
from dntk_fast.tangent.kernel import kernel_diagonal, tangent_kernel

__all__ = ["MEMORY", "Features", "Forecast", "Kernels", "Source", "read_source", "source_of", "write_source"]

MEMORY = 2**32
# Coordinates where exact kernels do not fit: products of gradients err by sqrt(2 / 1,024) = 4.4 % of their norms.
NAMED_K = 1024
# Kernel, inverse and what a factorisation of it needs.
COPIES = 3

Outputs = Callable[[nn.Module, Any], Tensor] | None


@dataclass(frozen=True)
class Forecast:
    """How a kernel will be had: `k` (None: exactly), rows, outputs, networks, bytes kept, and whether features are."""

    k: int | None
    rows: int
    outputs: int
    networks: int
    bytes: int
    kept: bool

    def __str__(self) -> str:
        way = "exact kernels" if self.k is None else f"projected gradients, k = {self.k}"
        again = "" if self.kept else "; features are made again for the rows that are asked about"
        size = f"{self.outputs} outputs of {self.rows} rows, {self.networks} network(s)"
        return f"{way} of {size}: {readable_bytes(self.bytes)} kept{again}"


class Source(ABC):
    """What both ways share: the networks, the training inputs, and how much is asked of them at a time."""

    def __init__(self, models: Sequence[nn.Module], x: Any, seed: int, outputs: Outputs, forecast: Forecast) -> None:
        self.models, self.x, self.seed, self.outputs, self.forecast = models, x, seed, outputs, forecast
        self.scales: list[float] = []
        self._kinds: list[Any] = ["auto"] * len(models)

    @cached_property
    def digest(self) -> str:
        """Of the training inputs."""
        leaves = torch.utils._pytree.tree_leaves(self.x)
        return digest({str(i): leaf for i, leaf in enumerate(leaves)})

    @property
    def batch(self) -> int:
        """New inputs that are asked about at a time."""
        return BATCH

    @abstractmethod
    def prepare(self, targets: Tensor | None, progress: Callable[[int, int], object] | None) -> None:
        """Compute what is kept."""

    def with_targets(self, targets: Tensor) -> Source:
        """Give the same kernel for other targets (C, n)."""
        return self

    @abstractmethod
    def machine(self, targets: Tensor, lam: float) -> Machine:
        """Solve."""

    @abstractmethod
    def new(self, x: Any) -> Tensor:
        """New inputs as the machine wants them."""

    @abstractmethod
    def own(self, x: Any) -> Tensor:
        """K_c(x, x) of new inputs, (C, t)."""

    @abstractmethod
    def products(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """Give a (C, g) -> K a (C, g) among some training rows."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What cannot be had again without the work of `prepare`."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put that back."""

    def restored(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put back what a file held, and return all of it where the networks are."""
        place = _check.parameter(self.models[0]).device
        found = {name: part.to(place) for name, part in tensors.items()}
        self.restore(found)
        return found

    def _features(self, m: int, x: Any) -> Tensor:
        """Projected features of one network (C, t, k'), not yet divided; the first call settles the kinds of its map."""
        k = _check.integer("k", self.forecast.k, 1)
        found = tangent_features(
            self.models[m], x, k=k, seed=self.seed, projection=self._kinds[m], outputs=self.outputs
        )
        self._kinds[m] = dict(found.plan.sketch.kinds)  # type: ignore[arg-type]
        return found.values


class Kernels(Source):
    """Kernels (C, n, n), exact or of features that are fewer rows than coordinates."""

    kernel: Tensor

    @property
    def batch(self) -> int:
        """As many as fit: for every call the tangents of the training rows are made again."""
        return max(1, int(self.forecast.bytes / COPIES / (8 * self.forecast.outputs * self.forecast.rows)))

    def prepare(self, targets: Tensor | None, progress: Callable[[int, int], object] | None) -> None:
        """Add the networks' kernels."""
        for m, _ in enumerate(self.models):
            found = self._pair(m, self.x)
            self.scales.append(_check.positive("mean of the kernel's diagonal", _mean_diagonal(found)))
            found /= self.scales[-1]
            self.kernel = found if m == 0 else self.kernel + found
            if progress is not None:
                progress(m + 1, len(self.models))

    def machine(self, targets: Tensor, lam: float) -> DualMachine:
        """Solve in the dual."""
        return dual_machine(self.kernel, targets, lam)

    def new(self, x: Any) -> Tensor:
        """Blocks (C, t, n) against the training rows."""
        return torch.stack([self._pair(m, x, self.x) / scale for m, scale in enumerate(self.scales)]).sum(0)

    def own(self, x: Any) -> Tensor:
        """Squared norms of gradients, or of features."""
        if self.forecast.k is None:
            parts = [kernel_diagonal(model, x, outputs=self.outputs) for model in self.models]
        else:
            parts = [self._features(m, x).double().square().sum(2) for m in range(len(self.models))]
        return torch.stack([part / scale for part, scale in zip(parts, self.scales, strict=True)]).sum(0)

    def products(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """By the block of the kernel."""
        block = self.kernel[:, rows[:, None], rows]
        return lambda a: (block @ a[..., None])[..., 0]

    def state(self) -> dict[str, Tensor]:
        """The kernel and the scales."""
        return {"kernel": self.kernel, "scales": torch.tensor(self.scales, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put them back; the kinds of maps are settled by the first rows."""
        self.kernel, self.scales = tensors["kernel"], tensors["scales"].tolist()
        if self.forecast.k is not None:
            for m in range(len(self.models)):
                self._features(m, take(self.x, slice(0, 1)))

    def _pair(self, m: int, x1: Any, x2: Any = None) -> Tensor:
        if self.forecast.k is None:
            return tangent_kernel(self.models[m], x1, x2, outputs=self.outputs)
        first = self._features(m, x1).double()
        return first @ (first if x2 is None else self._features(m, x2).double()).mT


class Features(Source):
    """Second moments of features, streamed; the features themselves are kept where they fit, else made again."""

    moments: Moments

    def prepare(self, targets: Tensor | None, progress: Callable[[int, int], object] | None) -> None:
        """Sum the moments of all batches; the first batch says how long gradients are, and so the scales."""
        n = self.forecast.rows
        y = torch.zeros(self.forecast.outputs, n, dtype=torch.float64) if targets is None else targets
        self.scales = [1.0] * len(self.models)
        kept, total, at = [], None, 0
        norms = torch.zeros(len(self.models), dtype=torch.float64)
        for part in batches(self.x, self.batch):
            features = self.new(part)
            widths = [features.shape[2] // len(self.models)] * len(self.models)
            norms += torch.stack([p.double().square().sum().cpu() for p in features.split(widths, 2)])
            found = moments_of(features, y[:, at : at + features.shape[1]].to(features.device, features.dtype))
            total, at = found if total is None else merge(total, found), at + features.shape[1]
            kept += [features] if self.forecast.kept else []
            if progress is not None:
                progress(at, n)
        assert total is not None  # there is a sample
        self.scales = [_check.positive("mean of the kernel's diagonal", s) for s in norms / (self.forecast.outputs * n)]
        root = self._root(total.gram)
        self.moments = Moments(total.gram * root * root[:, None], total.right * root, total.squares, total.n)
        self._kept = torch.cat(kept, 1) * root.to(kept[0].dtype) if kept else None

    def with_targets(self, targets: Tensor) -> Features:
        """The moments again, with other right-hand sides: features that are not kept are made again."""
        found, at = copy.copy(self), 0
        right = torch.zeros_like(self.moments.right)
        for part in batches(self.x, self.batch):
            rows = torch.arange(at, at + _check.samples("X", part), device=right.device)
            phi, at = self.rows(rows).double(), at + len(rows)
            right += (targets[:, None, rows].to(right) @ phi)[:, 0]
        found.moments = Moments(self.moments.gram, right, targets.double().square().sum(1).to(right), self.moments.n)
        return found

    def machine(self, targets: Tensor, lam: float) -> PrimalMachine:
        """Solve in the primal."""
        return primal_machine(self.moments, targets, lam, self.rows, keep=self._kept is not None)

    def new(self, x: Any) -> Tensor:
        """Features (C, t, M k'), divided, side by side."""
        return torch.cat([self._features(m, x) / scale**0.5 for m, scale in enumerate(self.scales)], 2)

    def own(self, x: Any) -> Tensor:
        """Squared norms of features."""
        return self.new(x).double().square().sum(2)

    def rows(self, rows: Tensor | None) -> Tensor:
        """Features of training rows, of all for None."""
        if self._kept is not None:
            return self._kept if rows is None else self._kept[:, rows]
        some = self.x if rows is None else take(self.x, rows)
        return torch.cat([self.new(part) for part in batches(some, self.batch)], 1)

    def products(self, rows: Tensor) -> Callable[[Tensor], Tensor]:
        """By two products with the features."""
        phi = self.rows(rows).double()
        return lambda a: (phi @ (phi.mT @ a[..., None]))[..., 0]

    def state(self) -> dict[str, Tensor]:
        """The moments and the scales."""
        sums = {"gram": self.moments.gram, "right": self.moments.right, "squares": self.moments.squares}
        return sums | {"scales": torch.tensor(self.scales, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put them back; features are made again when they are asked for."""
        self.moments = Moments(tensors["gram"], tensors["right"], tensors["squares"], self.forecast.rows)
        self.scales, self._kept = tensors["scales"].tolist(), None
        self.new(take(self.x, slice(0, 1)))

    def _root(self, like: Tensor) -> Tensor:
        """One over the root of every coordinate's scale."""
        width = like.shape[-1] // len(self.models)
        scales = torch.tensor(self.scales, dtype=torch.float64, device=like.device)
        return scales.rsqrt().repeat_interleave(width)


def source_of(models: Sequence[nn.Module], x: Any, k: int | None, seed: int, outputs: Outputs, memory: int) -> Source:
    """Choose the way: exact kernels where k is None and they fit; else features, on the smaller side."""
    n = _check.samples("X", x)
    C = outputs_of(models[0], take(x, slice(0, 1)), outputs).shape[1]
    exact = 8 * COPIES * C * n * n
    if k is None and exact <= memory:
        return Kernels(models, x, seed, outputs, Forecast(None, n, C, len(models), exact, True))
    smallest = min(sum(p.numel() for p in model.parameters() if p.requires_grad) for model in models)
    k = min(NAMED_K, smallest) if k is None else _check.dimension(k, smallest)
    width = k * len(models)
    if n <= width and exact <= memory:
        return Kernels(models, x, seed, outputs, Forecast(k, n, C, len(models), exact, True))
    moments, rows = 8 * COPIES * C * width**2, 4 * C * n * width
    if moments > memory:
        need = f"second moments of {k} coordinates in {readable_bytes(memory)}: fewer of them or more memory"
        _check.refuse("k", need, readable_bytes(moments))
    kept = moments + rows <= memory
    return Features(models, x, seed, outputs, Forecast(k, n, C, len(models), moments + kept * rows, kept))


def write_source(
    path: str | Path, kind: str, source: Source, tensors: dict[str, Tensor], words: dict[str, str] | None = None
) -> None:
    """Write what an estimator of this kind keeps, with what its kernel needs and what tells networks and inputs apart."""
    told = {"kind": kind, "networks": _names(source.models), "seed": str(source.seed), "inputs": source.digest}
    told |= {"k": str(source.forecast.k or 0)} | (words or {})
    write_tensors(path, tensors | source.state(), told)


def read_source(
    path: str | Path, kind: str, models: Any, X: Any, outputs: Outputs, memory: int
) -> tuple[Source, dict[str, Tensor], dict[str, str]]:
    """Put back what `write_source` wrote, for the same networks and inputs: the source, all tensors and all words."""
    tensors, words = read_tensors(path)
    if words.get("kind") != kind:
        _check.refuse("path", f"a saved {kind}", str(path))
    own = networks(models, outputs)
    if _names(own) != words["networks"]:
        _check.refuse("models", "the networks that were fitted", "others")
    k, seed = int(words["k"]) or None, int(words["seed"])
    source = source_of(own, joined("X", X, own[0]), k, seed, outputs, memory)
    if source.digest != words["inputs"]:
        _check.refuse("X", "the inputs that were fitted", "others")
    return source, source.restored(tensors), words


def _names(models: Sequence[nn.Module]) -> str:
    return " ".join(map(fingerprint, models))


def _mean_diagonal(kernel: Tensor) -> float:
    return float(kernel.diagonal(dim1=1, dim2=2).mean())
