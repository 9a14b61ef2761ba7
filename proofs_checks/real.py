"""The tangent features of one trained network on digits, as they stand in digits_gradients.npz (recipe beside it)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dntk_ref.gradient_distillation import mean_kernel, spectral_clusters
from dntk_ref.locality import global_basis, local_basis
from dntk_ref.ridge import head_gradient
from proofs_checks.instances import SEED
from proofs_checks.statement import Measurement

__all__ = ["CLUSTERS", "EPSILON", "FILE", "ROUNDINGS", "RealClass", "real", "real_classes", "shown"]

FILE = Path(__file__).with_name("digits_gradients.npz")
EPSILON, CLUSTERS = 0.05, 5
# margin.py allows what instances of 40 rows lose; with 200 rows n^2 roundings are 25 times as many. Shares of one have
# this scale, traces and eigenvalues this times tr K.
ROUNDINGS = (200 / 40) ** 2


@dataclass(frozen=True, eq=False)
class RealClass:
    """One logit: factor F (n, n) with F F^T = K, logits (n,), head gradients (n, d + 1), its weights (W_c, b_c).

    `partition` (n,) are the clusters of the mean kernel, shared by all classes; `average` is that kernel.
    """

    index: int
    factor: np.ndarray
    logits: np.ndarray
    head: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    partition: np.ndarray
    average: np.ndarray

    def __str__(self) -> str:
        return f"class {self.index} of {FILE.name}"

    @cached_property
    def kernel(self) -> np.ndarray:
        """The Gram matrix K of the tangent features."""
        return self.factor @ self.factor.T

    @cached_property
    def values(self) -> np.ndarray:
        """The eigenvalues of K, descending: the squared lengths of the factor's columns."""
        return np.sum(self.factor**2, axis=0)

    @property
    def vectors(self) -> np.ndarray:
        """The eigenvectors of K: the factor's columns, scaled to length one."""
        return self.factor / np.sqrt(self.values)

    @property
    def total(self) -> float:
        """Tr K."""
        return float(self.values.sum())

    @property
    def scale(self) -> float:
        """The size of one float64 unit for a trace or an eigenvalue of K."""
        return ROUNDINGS * self.total

    @cached_property
    def frame(self) -> np.ndarray:
        """The global eigenvectors kept at EPSILON, (n, r_g)."""
        return global_basis(self.kernel, EPSILON)

    @cached_property
    def local(self) -> np.ndarray:
        """The local eigenvectors kept at EPSILON, (n, sum r_h)."""
        return local_basis(self.kernel, self.partition, EPSILON).basis

    @property
    def clusters(self) -> list[np.ndarray]:
        """The places of each cluster's images."""
        return [np.flatnonzero(self.partition == h) for h in np.unique(self.partition)]


@lru_cache(maxsize=1)
def real_classes() -> tuple[RealClass, ...]:
    """Return the ten classes; the file is read once."""
    with np.load(FILE, allow_pickle=False) as file:
        made = {name: file[name] for name in file.files}
    average = mean_kernel(made["factor"])
    partition = spectral_clusters(average, CLUSTERS, rng=np.random.default_rng(SEED))
    head, weights = head_gradient(made["hidden"]), np.column_stack([made["weight"], made["bias"]])
    return tuple(
        RealClass(c, factor, made["logits"][c], head, weights[c], made["labels"], partition, average)
        for c, factor in enumerate(made["factor"])
    )


def real(count: int) -> Sequence[RealClass]:
    """Return the family of all classes, whatever the number asked for."""
    return real_classes()


def shown(
    quantity: str, theory: str, value: Callable[[RealClass], Any], bound: Callable[[RealClass], Any] | None = None
) -> Measurement:
    """Return a measurement of every class, beside its bound if there is one."""
    bounds = () if bound is None else tuple(float(bound(c)) for c in real_classes())
    return Measurement(quantity, theory, tuple(float(value(c)) for c in real_classes()), bounds)
