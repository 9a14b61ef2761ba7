"""Seeded instances for tests and checks: stated spectra, tiny networks, degenerate inputs, and counterexamples.

Everything random takes a generator and draws from nothing else. The counterexamples are plain arrays, each with the
sentence that it refutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref.network import Network, conv_net, mlp

__all__ = [
    "COUNTEREXAMPLES",
    "ClusteredFeatures",
    "Counterexample",
    "NetworkCase",
    "clustered_features",
    "duplicated_features",
    "exponential_spectrum",
    "features_with_spectrum",
    "flat_spectrum",
    "kernel_with_spectrum",
    "near_singular_spectrum",
    "orthonormal",
    "power_spectrum",
    "random_projector",
    "tied_spectrum",
    "tiny_conv_net",
    "tiny_mlp",
]


def orthonormal(rows: int, columns: int, *, rng: np.random.Generator) -> Array:
    """Uniformly distributed orthonormal columns (Haar).

    Parameters: `rows` >= `columns` >= 0, `rng`. Returns: (rows, columns). Raises: ValueError, TypeError.

    >>> Q = orthonormal(4, 2, rng=np.random.default_rng(0))
    >>> bool(np.allclose(Q.T @ Q, np.eye(2)))
    True
    """
    n = _check.integer("rows", rows, 1)
    Q, R = np.linalg.qr(_check.generator("rng", rng).standard_normal((n, _check.integer("columns", columns, 0, n))))
    # QR of a Gaussian matrix is Haar once the signs of the diagonal of R are moved into Q.
    return np.asarray(Q * np.sign(np.diag(R)))


def features_with_spectrum(eigenvalues: Any, parameters: int, *, rng: np.random.Generator) -> Array:
    """Features whose kernel has stated eigenvalues, between uniformly random singular vectors.

    Phi = U diag(lambda)^{1/2} V^T.

    Parameters: `eigenvalues` (n,) >= 0, `parameters` P >= n, `rng`. Returns: (n, P). Raises: ValueError, TypeError.

    >>> Phi = features_with_spectrum([4.0, 1.0], 3, rng=np.random.default_rng(0))
    >>> np.linalg.svd(Phi, compute_uv=False).round(12)
    array([2., 1.])
    """
    values = _spectrum(eigenvalues)
    P = _check.integer("parameters", parameters, values.size)
    left = orthonormal(values.size, values.size, rng=rng)
    return np.asarray(left * np.sqrt(values) @ orthonormal(P, values.size, rng=rng).T)


def kernel_with_spectrum(eigenvalues: Any, *, rng: np.random.Generator) -> Array:
    """A kernel with stated eigenvalues and uniformly random eigenvectors, exactly symmetric.

    K = U diag(lambda) U^T.

    Parameters: `eigenvalues` (n,) >= 0, `rng`. Returns: (n, n). Raises: ValueError, TypeError.

    >>> round(float(np.trace(kernel_with_spectrum([4.0, 1.0], rng=np.random.default_rng(0)))), 12)
    5.0
    """
    values = _spectrum(eigenvalues)
    U = orthonormal(values.size, values.size, rng=rng)
    K = U * values @ U.T
    return np.asarray((K + K.T) / 2)


def _spectrum(eigenvalues: Any) -> Array:
    values = _check.vector("eigenvalues", eigenvalues)
    if values.min() < 0:
        raise ValueError(f"eigenvalues: expected numbers that are 0 or above, got {values.min()}")
    return values


def random_projector(parameters: int, rank: int, *, rng: np.random.Generator) -> Array:
    """Projector onto a uniformly random subspace.

    Parameters: `parameters` P, `rank` in [0, P], `rng`. Returns: (P, P). Raises: ValueError, TypeError.

    >>> round(float(np.trace(random_projector(5, 2, rng=np.random.default_rng(0)))), 12)
    2.0
    """
    P = _check.integer("parameters", parameters, 1)
    Q = orthonormal(P, _check.integer("rank", rank, 0, P), rng=rng)
    return np.asarray(Q @ Q.T)


def exponential_spectrum(n: int, rate: float) -> Array:
    """lambda_j = exp(-rate j), j = 0 .. n - 1.

    Parameters: `n` >= 1, `rate` >= 0. Returns: (n,). Raises: ValueError, TypeError.

    >>> exponential_spectrum(2, 0.0)
    array([1., 1.])
    """
    return np.asarray(np.exp(-_check.nonnegative("rate", rate) * np.arange(_check.integer("n", n, 1))))


def power_spectrum(n: int, exponent: float) -> Array:
    """lambda_j = j^-exponent, j = 1 .. n.

    Parameters: `n` >= 1, `exponent` >= 0. Returns: (n,). Raises: ValueError, TypeError.

    >>> power_spectrum(2, 1.0)
    array([1. , 0.5])
    """
    return np.asarray(np.arange(1.0, _check.integer("n", n, 1) + 1) ** -_check.nonnegative("exponent", exponent))


def flat_spectrum(n: int) -> Array:
    """lambda_j = 1: truncation is useless, and Eq (25) is an equality.

    Parameters: `n` >= 1. Returns: (n,). Raises: ValueError, TypeError.

    >>> flat_spectrum(2)
    array([1., 1.])
    """
    return np.ones(_check.integer("n", n, 1))


def tied_spectrum(n: int, rank: int) -> Array:
    """2, then ones up to the middle of a tie that straddles `rank`, then zeros: the leading space is not unique.

    lambda = (2, 1, ..., 1, 0, ..., 0) with ones at places 2 .. rank + 1.

    Parameters: `n` >= 3, `rank` in [2, n - 1]. Returns: (n,). Raises: ValueError, TypeError.

    >>> tied_spectrum(4, 2)
    array([2., 1., 1., 0.])
    """
    values = np.zeros(_check.integer("n", n, 3))
    values[: _check.integer("rank", rank, 2, n - 1) + 1] = 1.0
    values[0] = 2.0
    return values


def near_singular_spectrum(n: int, condition: float) -> Array:
    """From 1 down to 1 / condition in equal ratios.

    Parameters: `n` >= 2, `condition` > 0. Returns: (n,). Raises: ValueError, TypeError.

    >>> near_singular_spectrum(3, 100.0)
    array([1.  , 0.1 , 0.01])
    """
    return np.geomspace(1.0, 1 / _check.positive("condition", condition), _check.integer("n", n, 2))


def duplicated_features(distinct: int, copies: int, parameters: int, *, rng: np.random.Generator) -> Array:
    """Gaussian features, each row several times: a singular kernel, as augmentation makes it.

    Parameters: `distinct` and `copies` >= 1, `parameters` P >= 1, `rng`. Returns: (distinct copies, P).
    Raises: ValueError, TypeError.

    >>> duplicated_features(2, 3, 4, rng=np.random.default_rng(0)).shape
    (6, 4)
    """
    shape = (_check.integer("distinct", distinct, 1), _check.integer("parameters", parameters, 1))
    rows = _check.generator("rng", rng).standard_normal(shape)
    return np.repeat(rows, _check.integer("copies", copies, 1), axis=0)


@dataclass(frozen=True)
class ClusteredFeatures:
    """Features (n, P) and the cluster (n,) that each row was drawn in."""

    features: Array
    labels: IntArray


def clustered_features(
    clusters: int, size: int, parameters: int, *, spread: float, rng: np.random.Generator
) -> ClusteredFeatures:
    """Gaussian clouds of equal size about Gaussian centres.

    phi = centre_h + spread noise.

    Parameters: `clusters`, `size`, `parameters` >= 1, `spread` >= 0, `rng`. Returns: ClusteredFeatures.
    Raises: ValueError, TypeError.

    >>> clustered_features(2, 3, 4, spread=0.1, rng=np.random.default_rng(0)).labels
    array([0, 0, 0, 1, 1, 1])
    """
    H, size = _check.integer("clusters", clusters, 1), _check.integer("size", size, 1)
    P, rng = _check.integer("parameters", parameters, 1), _check.generator("rng", rng)
    labels = np.repeat(np.arange(H), size)
    noise = _check.nonnegative("spread", spread) * rng.standard_normal((H * size, P))
    return ClusteredFeatures(rng.standard_normal((H, P))[labels] + noise, labels)


@dataclass(frozen=True)
class NetworkCase:
    """A network and inputs for it."""

    network: Network
    inputs: Array


def tiny_mlp(*, rng: np.random.Generator) -> NetworkCase:
    """A perceptron 4-5-3 with tanh, and six inputs.

    Parameters: `rng`. Returns: NetworkCase with P = 43. Raises: TypeError.

    >>> tiny_mlp(rng=np.random.default_rng(0)).network.parameter_count
    43
    """
    network = mlp((4, 5, 3), rng=rng)
    return NetworkCase(network, rng.standard_normal((6, 4)))


def tiny_conv_net(*, rng: np.random.Generator) -> NetworkCase:
    """A convolutional network for 8 x 8 images of one channel, three logits, and four images.

    Parameters: `rng`. Returns: NetworkCase with P = 89. Raises: TypeError.

    >>> tiny_conv_net(rng=np.random.default_rng(0)).network.parameter_count
    89
    """
    network = conv_net((1, 8, 8), (2, 3), 3, rng=rng)
    return NetworkCase(network, rng.standard_normal((4, 1, 8, 8)))


@dataclass(frozen=True)
class Counterexample:
    """What an instance refutes, its arrays and its numbers by name; the arrays are read-only."""

    refutes: str
    arrays: Mapping[str, NDArray[Any]]
    numbers: Mapping[str, float]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]


def _example(refutes: str, numbers: Mapping[str, float] | None = None, /, **arrays: Any) -> Counterexample:
    kinds = {"labels": np.int64}
    found = {name: np.array(value, dtype=kinds.get(name, np.float64)) for name, value in arrays.items()}
    for value in found.values():
        value.setflags(write=False)
    return Counterexample(refutes, MappingProxyType(found), MappingProxyType(dict(numbers or {})))


def _missed_top_direction() -> Array:
    """8 K of CEX-10, integers: K = 3 sum_{h>=2} a_h a_h^T + z z^T, z = a_1 / 2 + b_2 + b_3 + b_4 + b_5."""
    a = np.repeat(np.eye(5), 2, axis=1)  # sqrt(2) a_h
    b = a * np.tile([1.0, -1.0], 5)  # sqrt(2) b_h
    z = a[0] + 2 * b[1:].sum(axis=0)  # 2 sqrt(2) z
    return np.asarray(12 * a[1:].T @ a[1:] + np.outer(z, z))


_PAIR = [[2.0, 1.0], [1.0, 2.0]]
_TIED_4K = [[9.0, 3.0, 3.0, -3.0], [3.0, 9.0, -3.0, 3.0], [3.0, -3.0, 9.0, 3.0], [-3.0, 3.0, 3.0, 9.0]]
_HALF = np.sqrt(0.5)

COUNTEREXAMPLES: Mapping[str, Counterexample] = MappingProxyType(
    {
        "CEX-1": _example(
            "Eq (5), R3: loss t^2 / 4 at t = 1, smoothness 1; left 3/16, right 1/8",
            {"smoothness": 1.0, "curvature": 0.5, "left": 3 / 16, "right": 1 / 8},
            theta=[1.0],
            gradient=[0.5],
            step=[0.0],
            projector=[[1.0]],
        ),
        "CEX-2": _example(
            "Thm 3.3, small regret: residual 0, regret of every common step at least 1/2",
            {"smoothness": 1.0, "regret": 0.5},
            gradients=[[1.0], [-1.0]],
            projector=[[1.0]],
        ),
        "CEX-3": _example(
            "Rem 3.4 for cross-entropy: reachable directions span (1, -1), no progress along (1, 1)",
            {"smoothness": 1.0, "regret": 1.0},
            jacobian=[[[1.0, 0.0]], [[0.0, 1.0]]],
            gradient=[1.0, 1.0],
        ),
        "CEX-4": _example(
            "Eq (4) with weight decay: the update leaves the span",
            {"decay": 0.1},
            rows=[[1.0, 0.0]],
            theta=[0.0, 1.0],
        ),
        "CEX-5": _example(
            "Eq (9) with a plain inverse: two equal distilled inputs",
            features=[[3.0, 4.0], [1.0, 2.0]],
            inducing=[[1.0, 0.0], [1.0, 0.0]],
            kernel=[[9.0, 3.0], [3.0, 1.0]],
        ),
        "CEX-6": _example(
            "Prop 3.6, sign of the misalignment for rank Pi > r",
            {"r": 1, "misalignment": -1.0},
            features=np.eye(2),
            projector=np.eye(2),
        ),
        "CEX-7": _example(
            "Cor 3.5 with the covariance: residual 100, with the second moment 1",
            {"covariance_residual": 100.0, "moment_residual": 1.0},
            gradients=[[10.0, 1.0], [10.0, -1.0]],
        ),
        "CEX-8": _example(
            "Def 3.1, gloss: rank 1 captures 4/5, the best single input 17/25",
            {"epsilon": 0.2, "captured": 17 / 25},
            kernel=[[1.0, 0.6], [0.6, 1.0]],
        ),
        "CEX-9": _example(
            "Property (A), R1, for a cluster of low energy: ratio 0",
            {"epsilon": 0.05},
            kernel=[[1.0, 0.0], [0.0, 0.01]],
            labels=[0, 1],
        ),
        "CEX-10": _example(
            "Algorithm 1, stage 3: the top direction counts as covered (1) and is covered by 1/17",
            {"epsilon": 0.25, "top": 17 / 4, "coverage": 1.0, "true_coverage": 1 / 17},
            kernel=_missed_top_direction() / 8,
            labels=np.repeat(np.arange(5), 2),
        ),
        "CEX-11a": _example(
            "Coverage under a tie at the local cut: 1/2 or 1 for the same direction (and any value between)",
            {"epsilon": 0.5, "first_coverage": 0.5, "second_coverage": 1.0},
            kernel=np.kron(np.eye(2), _PAIR),
            labels=[0, 1, 0, 1],
            direction=[[0.5], [0.5], [0.5], [0.5]],
            first=[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
            second=[[_HALF, 0.0], [0.0, _HALF], [_HALF, 0.0], [0.0, _HALF]],
        ),
        "CEX-11b": _example(
            "Coverage under a global tie: best coverages {0, 1} or {2/3, 2/3} for two bases of one eigenspace",
            {"epsilon": 1 / 3},
            kernel=np.array(_TIED_4K) / 4,
            labels=[0, 0, 1, 1],
            first=np.array([[0.5, _HALF], [-0.5, _HALF], [0.5, 0.0], [-0.5, 0.0]]),
            second=np.array([[0.5 + _HALF, 0.5 - _HALF], [-0.5 + _HALF, -0.5 - _HALF], [0.5, 0.5], [-0.5, -0.5]])
            * _HALF,
        ),
        "CEX-28": _example(
            "Feature matching aligns gradients: equal features |x| = 1, orthogonal gradients of relu(x) + relu(-x)",
            features=[[1.0, 0.0]],
            inducing=[[0.0, -1.0]],
            hidden=[[1.0]],
            hidden_inducing=[[1.0]],
        ),
        "CEX-30": _example(
            "Property (A), R2: value 1/2 for perfectly redundant data",
            {"epsilon": 0.05, "value": 0.5},
            kernel=np.ones((2, 2)),
            labels=[0, 1],
        ),
        "contraction": _example(
            "Eq (10), R1, for a ridged projector: left 1/2, right 1/4",
            {"ridge": 1.0, "left": 0.5, "right": 0.25},
            features=[[1.0]],
            inducing=[[1.0]],
        ),
        "completion": _example(
            "Optimal completion in the metric tr K_U: it reaches 2.24, the gap vector 2.4304, of 2.44",
            {
                "epsilon_local": 0.2,
                "epsilon_global": 0.02,
                "threshold": 0.8,
                "trace_metric": 2.24,
                "gap_vector": 2.4304,
            },
            kernel=[[1.0, 0.0, 0.0, 0.0], [0.0, 0.24, 0.48, 0.0], [0.0, 0.48, 1.0, 0.0], [0.0, 0.0, 0.0, 0.2]],
            labels=[0, 0, 1, 1],
        ),
    }
)
