"""The costs that the paper claims (3.1, 4.2, E.2, Table 1): what is computed, along which sizes, with which exponents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast._arrays import eigh, gram
from dntk_fast.bench.subjects import SEED
from dntk_fast.distillation.gradient_distillation import (
    farthest_point_rows,
    kmeans_rows,
    leverage_rows,
    local_global_synthesis,
    random_rows,
    spectral_clusters,
)
from dntk_fast.kernels.locality import eigenspaces
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel
from dntk_fast.workflow.models import build, parameter_count

__all__ = ["ROWS", "Row", "Work"]


@dataclass(frozen=True)
class Work:
    """An instance ready to be computed.

    `fixed` is the part of `run` whose count is left out, because it does not depend on how much is asked for: a plan,
    a refusal. `actual` corrects sizes that could not be had exactly; `counted` is False where most of the work is done
    outside torch.
    """

    run: Callable[[], Any]
    fixed: Callable[[], Any] = lambda: None
    model: nn.Module | None = None
    actual: Mapping[str, int] | None = None
    counted: bool = True


@dataclass(frozen=True)
class Row:
    """One claim: what is computed, where it is claimed, and for each axis the exponent and the sizes.

    `held` are the sizes of the other axes while one of them moves.
    """

    name: str
    source: str
    claim: str
    axes: Mapping[str, tuple[int, Sequence[int]]]
    held: Mapping[str, int]
    prepare: Callable[..., Work]
    note: str = ""


# A quick run takes four of each, and a quarter of n, k and P.
CUBIC = (160, 240, 360, 540, 810)
IMAGES = (32, 64, 128, 256, 512)
CHOSEN = (8, 16, 32, 64, 128)
WIDTHS = (64, 128, 256, 512, 1024)
OUTPUTS = (4, 8, 16, 32, 64)
PARAMETERS = (10_000, 20_000, 40_000, 80_000, 160_000)


def _rows_of(n: int, k: int) -> Tensor:
    """Features (n, k) with decaying columns: the spectrum of their Gram matrix falls like that of tangent features."""
    rng = np.random.default_rng(SEED)
    return torch.as_tensor(rng.standard_normal((n, k)) * (1.0 + np.arange(k)) ** -0.75)


def _kernel(n: int) -> Tensor:
    return gram(_rows_of(n, 2 * n))


def _labels(n: int, H: int) -> Tensor:
    return torch.arange(n) % H


def _gram(n: int, k: int) -> Work:
    Phi = _rows_of(n, k)
    return Work(lambda: gram(Phi))


def _clusters(n: int) -> Work:
    K = _kernel(n)
    return Work(lambda: spectral_clusters(K, 5, seed=SEED), counted=False)


def _global(n: int) -> Work:
    K = _kernel(n)
    return Work(lambda: eigh(K))


def _local(n: int, H: int) -> Work:
    K, labels = _kernel(n), _labels(n, H)
    pair = eigh(K)
    return Work(lambda: eigenspaces(K, labels, pair=pair))


def _synthesis(n: int, m: int, k: int) -> Work:
    Phi, U = _rows_of(n, k), _rows_of(n, m)
    return Work(lambda: U.T @ Phi)


def _random(m: int) -> Work:
    return Work(lambda: random_rows(10_000_000, m, seed=SEED), counted=False)


def _leverage(n: int) -> Work:
    K = _kernel(n)
    return Work(lambda: leverage_rows(K, 20, lam=1.0, seed=SEED))


def _farthest(n: int, m: int) -> Work:
    K = _kernel(n)
    return Work(lambda: farthest_point_rows(K, m), lambda: farthest_point_rows(K, 1))


def _kmeans(n: int, m: int) -> Work:
    K = _kernel(n)
    return Work(lambda: kmeans_rows(K, m, seed=SEED), counted=False)


def _algorithm(n: int) -> Work:
    Phi, y, labels = _rows_of(n, 64)[None], _rows_of(n, 1)[None, :, 0], _labels(n, 5)
    return Work(lambda: local_global_synthesis(Phi, y, labels=labels, tau_v=0.9, tau_g=0.7))


def _perceptron(n: int, C: int, P: int) -> tuple[nn.Module, Tensor, dict[str, int]]:
    """Two hidden layers of equal width, the width that comes nearest to P parameters; and n images."""
    width = round((-(C + 66) + ((C + 66) ** 2 + 4 * (P - C)) ** 0.5) / 2)
    model = build("mlp", seed=SEED, hidden=(width, width), outputs=C)
    return model, _rows_of(n, 64).float(), {"P": parameter_count(model)}


def _features(n: int, C: int, P: int, k: int, projection: str = "auto") -> Work:
    model, x, actual = _perceptron(n, C, P)
    given: dict[str, Any] = {"k": k, "seed": SEED, "projection": projection}
    return Work(lambda: tangent_features(model, x, **given), lambda: feature_plan(model, x, **given), model, actual)


def _exact(n: int, C: int, P: int) -> Work:
    model, x, actual = _perceptron(n, C, P)
    return Work(lambda: tangent_kernel(model, x), lambda: kernel_plan(model, x), model, actual)


SKLEARN = "scikit-learn's: timed, not counted"
PLANNED = "the plan (two samples) is not counted"
ROWS = (
    Row("class kernel from features", "E.2", "n^2 k", {"n": (2, CUBIC), "k": (1, WIDTHS)}, {"n": 400, "k": 256}, _gram),
    Row("spectral clustering", "E.2", "n^3", {"n": (3, CUBIC)}, {}, _clusters, SKLEARN),
    Row("global eigendecomposition", "E.2", "n^3", {"n": (3, CUBIC)}, {}, _global),
    Row(
        "local eigendecompositions", "E.2", "n^3 / H^2", {"n": (3, CUBIC), "H": (-2, (1, 2, 4, 8, 16))},
        {"n": 480, "H": 5}, _local, "with the overlaps of local and global vectors, 2 n^3 / H, which E.2 leaves out",
    ),
    Row(
        "synthesis U^T Phi", "E.2", "m n k", {"m": (1, CHOSEN), "n": (1, CUBIC), "k": (1, WIDTHS)},
        {"n": 400, "m": 64, "k": 256}, _synthesis,
    ),
    Row(
        "random rows", "Table 1", "m", {"m": (1, (12_500, 25_000, 50_000, 100_000, 200_000))}, {}, _random,
        "NumPy's: timed, not counted",
    ),
    Row("leverage rows", "Table 1", "n^3", {"n": (3, CUBIC)}, {}, _leverage),
    Row(
        "farthest-point rows", "Table 1", "n m^2", {"n": (1, CUBIC), "m": (2, CHOSEN)}, {"n": 800, "m": 40}, _farthest,
        "no products: see bytes; the first row, with the refusals, is not counted",
    ),
    Row(
        "k-means rows", "Table 1", "n m k T", {"n": (1, CUBIC), "m": (1, CHOSEN)}, {"n": 400, "m": 40}, _kmeans,
        f"{SKLEARN}; from a kernel, so points have n coordinates; T moves",
    ),
    Row("Algorithm 1, stages 2 to 6", "Table 1", "n^3", {"n": (3, CUBIC)}, {}, _algorithm),
    Row(
        "tangent features", "4.2", "C n P k",
        {"n": (1, IMAGES), "C": (1, OUTPUTS), "P": (1, PARAMETERS), "k": (1, (128, 256, 512, 1024, 2048))},
        {"n": 16, "C": 10, "P": 20_000, "k": 1024}, _features, PLANNED,
    ),
    Row(
        "tangent features, dense Gaussian map", "4.2", "C n P k",
        {"n": (1, IMAGES), "C": (1, OUTPUTS), "P": (1, PARAMETERS), "k": (1, (32, 64, 128, 256, 512))},
        {"n": 16, "C": 4, "P": 10_000, "k": 64}, lambda **sizes: _features(**sizes, projection="gaussian"), PLANNED,
    ),
    Row(
        "exact class kernels", "3.1", "C n^2 P", {"n": (2, IMAGES), "C": (1, OUTPUTS), "P": (1, PARAMETERS)},
        {"n": 64, "C": 10, "P": 40_000}, _exact, PLANNED,
    ),
)  # fmt: skip
