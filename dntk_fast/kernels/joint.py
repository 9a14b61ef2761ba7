"""The joint tangent space T_S of all logits (Eq 3): its block kernel, its ridge, its one weight vector, its energy.

A block kernel is (n, q, n, q): q gradients at each of n images, all logits (q = C) or one mixture of them (q = 1). Sums,
decompositions and solves are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._arrays import RTOL, eigenvalues, eigh
from dntk_fast.kernels.ridge import choose_ridge, grid_at
from dntk_fast.tangent.batches import Outputs, network
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.kernel import tangent_kernel_full
from dntk_fast.tangent.plan import KernelPlan
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian

__all__ = [
    "BlockProblem",
    "JointFit",
    "block_kernel",
    "block_plan",
    "captured_energy",
    "joint_logits",
    "joint_weights",
    "least_coordinates",
    "pooled_pca_energy",
    "random_cotangents",
    "sketched_block_kernel",
    "sketched_weights",
]

# A sketch needs this many coordinates for each gradient: with fewer than one, the exact head solves for the logits alone
# and the error is falsely small; at eight the sketched solve is close to the exact one.
COORDINATES_PER_GRADIENT = 8


# --- the kernel -------------------------------------------------------------------------------------------------------


def random_cotangents(n: int, outputs: int, *, seed: int) -> Tensor:
    """One mixture of logits for each image, v_i ~ N(0, I): E v v^T = I, so J^T v has the second moment of all logits.

    Returns: float64 (n, C). Raises: ValueError, TypeError.

    >>> random_cotangents(3, 2, seed=0).shape
    torch.Size([3, 2])
    """
    shape = _check.integer("n", n, 1), _check.integer("outputs", outputs, 1)
    return torch.randn(shape, generator=torch.Generator().manual_seed(_check.seed(seed)), dtype=torch.float64)


def block_kernel(
    model: nn.Module,
    x: Any,
    cotangents: Tensor | None = None,
    *,
    memory: int | None = None,
    outputs: Outputs = None,
    **options: Any,
) -> Tensor:
    """Return J_S J_S^T with all its blocks, exactly, from gradients that exist for one layer and some images at a time.

    K_((i,c),(j,d)) = <phi_c(s_i), phi_d(s_j)>; with cotangents v_i the one gradient of an image is J(s_i)^T v_i.

    Parameters
    ----------
    model, memory, outputs, options : as in `tangent_kernel_full`
    x : (n, ...), or a tuple or dict of arguments
    cotangents : (n, C) or None

    Returns
    -------
    Tensor
        (n, q, n, q), float64; q is C, or 1 with cotangents.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> block_kernel(model, torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])).flatten().tolist()
    [100.0]
    """
    _check.inputs("x", x)
    if cotangents is None:
        return tangent_kernel_full(model, x, memory=memory, outputs=outputs, **options)
    batch = _with_cotangents(model, x, cotangents)
    return tangent_kernel_full(model, batch, memory=memory, outputs=_mixture(outputs), **options)


def block_plan(
    model: nn.Module,
    x: Any,
    cotangents: Tensor | None = None,
    *,
    memory: int | None = None,
    outputs: Outputs = None,
) -> KernelPlan:
    """Return what `block_kernel` would do with these arguments: passes, predicted peak.

    >>> block_plan(nn.Linear(2, 3), torch.ones(4, 2)).backward_passes
    12
    """
    if cotangents is None:
        return Jacobian(model, outputs=outputs, memory=memory).plan(x, pairing="full")
    batch = _with_cotangents(model, x, cotangents)
    return Jacobian(model, outputs=_mixture(outputs), memory=memory).plan(batch, pairing="full")


def _with_cotangents(model: nn.Module, x: Any, cotangents: Tensor) -> Any:
    """The arguments of the model and, as the last of them, the cotangents."""
    n = _check.samples("x", x)
    if _check.tensor("cotangents", cotangents).ndim != 2 or len(cotangents) != n:
        _check.refuse("cotangents", f"shape ({n}, C)", f"shape {tuple(cotangents.shape)}")
    return _batch(x, cotangents.to(_check.parameter(model)))


def _batch(x: Any, v: Tensor) -> Any:
    if isinstance(x, Mapping):
        return {**x, _COTANGENTS: v}
    return (*x, v) if isinstance(x, tuple) else (x, v)


_COTANGENTS = "cotangents of the outputs"  # no name of an argument


def _mixture(outputs: Outputs) -> Callable[[nn.Module, Any], Tensor]:
    """Give v . f(x) of every sample, (n, 1)."""

    def mixed(model: nn.Module, batch: Any) -> Tensor:
        if isinstance(batch, Mapping):
            x: Any = {name: part for name, part in batch.items() if name != _COTANGENTS}
            v = batch[_COTANGENTS]
        else:
            *parts, v = batch
            x = tuple(parts) if len(parts) > 1 else parts[0]
        return (network(model, outputs)(x) * v).sum(1, keepdim=True)

    return mixed


def least_coordinates(k: int, n: int, outputs: int) -> int:
    """Refuse fewer coordinates than 8 for each of the n C gradients.

    >>> least_coordinates(80, 5, 2)
    80
    """
    least = COORDINATES_PER_GRADIENT * n * outputs
    if k < least:
        expected = f"at least {least}, {COORDINATES_PER_GRADIENT} for each of {n} x {outputs} gradients, or None"
        _check.refuse("k", expected, k)
    return k


def sketched_block_kernel(values: Tensor, k: int) -> Tensor:
    """Return the block kernel of features whose body is projected to k coordinates: exact heads of two logits do not meet.

    Parameters
    ----------
    values : (C, n, k + d), body coordinates first, as `TangentFeatures.values`
    k : at least 8 n C, since the rows of T_S are n C

    Returns
    -------
    Tensor
        (n, C, n, C), float64.

    Raises
    ------
    ValueError
        k below 8 n C, with the least that is allowed.

    >>> sketched_block_kernel(torch.ones(1, 1, 9), 8).item()
    9.0
    """
    C, n = _check.rows("values", values, ndim=3).shape[:2]
    least_coordinates(k, n, C)
    body, head = values[..., :k].double(), values[..., k:].double()
    rows = body.transpose(0, 1).flatten(0, 1)
    kernel = (rows @ rows.T).view(n, C, n, C)
    for c in range(C):
        kernel[:, c, :, c] += head[c] @ head[c].T
    return kernel


# --- the solve --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JointFit:
    """Coefficients (q, n) of the joint solve, its ridge, and what the ridge leaves: `n` counts gradients."""

    coefficients: Tensor
    lam: float
    lam_relative: float
    on_edge: bool
    effective_dimension: float
    n: int


@dataclass(frozen=True, eq=False)
class BlockProblem:
    """A block kernel (n, q, n, q), decomposed once for many ridges and targets (q, n).

    Example
    -------
    >>> problem = BlockProblem(torch.eye(2, dtype=torch.float64).reshape(1, 2, 1, 2))
    >>> problem.coefficients(torch.tensor([[4.0], [6.0]]), 1.0).flatten().tolist()
    [2.0, 3.0]
    """

    kernel: Tensor

    def __post_init__(self) -> None:
        K = _check.array("kernel", self.kernel, ndim=4)
        if K.shape[:2] != K.shape[2:]:
            _check.refuse("kernel", "shape (n, q, n, q)", f"shape {tuple(K.shape)}")

    @cached_property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (n q,), descending, and eigenvectors (n q, n q)."""
        n, q = self.kernel.shape[:2]
        return eigh(_check.symmetric("kernel", self.kernel.reshape(n * q, n * q).double()))

    @property
    def scale(self) -> float:
        """The mean of diag K."""
        values, _ = self.pair
        return float(values.sum()) / len(values)

    def coefficients(self, targets: Tensor, lam: float) -> Tensor:
        """(J_S J_S^T + lam I)^-1 y, (q, n)."""
        values, U = self.pair
        y = self._stacked(targets)
        return (U @ ((U.T @ y) / (values + _check.positive("lam", lam)))).view(-1, self.kernel.shape[1]).T

    def leave_one_image_out(self, targets: Tensor, lam: float) -> Tensor:
        """The residuals of each image's targets by the fit without that image, (q, n).

        e_i = ([(K + lam I)^-1]_ii)^-1 alpha_i with the q x q blocks of the inverse: rows of one image are dependent.
        """
        values, U = self.pair
        n, q = self.kernel.shape[:2]
        alpha = self.coefficients(targets, lam).T  # (n, q)
        rows = U.view(n, q, -1)
        blocks = (rows / (values + lam)) @ rows.mT  # (n, q, q)
        return torch.linalg.solve(blocks, alpha[..., None])[..., 0].T

    def fit(self, targets: Tensor, *, lam: float | None = None) -> JointFit:
        """The solve at a ridge, or at the one that leaving out images chooses: the largest within one standard error."""
        chosen, edge = self._ridge(targets) if lam is None else (_check.positive("lam", lam), False)
        values, _ = self.pair
        freedom = float((values / (values + chosen)).sum())
        alpha = self.coefficients(targets, chosen)
        return JointFit(alpha, chosen, chosen / self.scale, edge, freedom, len(values))

    def _ridge(self, targets: Tensor) -> tuple[float, bool]:
        grid = torch.from_numpy(grid_at(self.scale))
        residuals = (self.leave_one_image_out(targets, float(lam)) for lam in grid)
        choice = choose_ridge(torch.stack([found.square().mean(0) for found in residuals]), grid)
        return float(choice.lam), bool(choice.on_edge)

    def _stacked(self, targets: Tensor) -> Tensor:
        n, q = self.kernel.shape[:2]
        y = _check.array_like("targets", targets, self.kernel, (q, n))
        return y.T.reshape(-1).to(self.pair[0])


# --- one weight vector ------------------------------------------------------------------------------------------------


def joint_weights(
    model: nn.Module,
    x: Any,
    coefficients: Tensor,
    cotangents: Tensor | None = None,
    *,
    memory: int | None = None,
    outputs: Outputs = None,
) -> dict[str, Tensor]:
    """Return the one weight vector of all logits, w = J_S^T alpha, by one backward pass for each image.

    Parameters
    ----------
    model, x, cotangents, memory, outputs : as in `block_kernel`
    coefficients : (q, n)

    Returns
    -------
    dict
        parameter name -> (*shape)

    >>> w = joint_weights(nn.Linear(2, 2, bias=False), torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0], [2.0]]))
    >>> w["weight"].tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    mixed = coefficients.T if cotangents is None else coefficients.T * cotangents.to(coefficients)
    # In float64: coefficients of nearly dependent rows are large, and cancel.
    like = _check.parameter(model)
    double = torch.empty(0, dtype=torch.float64, device=like.device)
    batch, ones = _batch(x, mixed.to(double)), double.new_ones(1, len(mixed))
    pulled = vector_jacobian(model, batch, ones, memory=memory, dtype=torch.float64, outputs=_mixture(outputs))
    return {name: w[0] for name, w in pulled.items()}


def joint_logits(model: nn.Module, x: Tensor, weights: Mapping[str, Tensor], *, memory: int | None = None) -> Tensor:
    """Return all logits of the joint predictor, f_c(x) = phi_c(x) . w, by one forward-mode pass: (C, n).

    Parameters: model, x (n, ...), weights by name (*shape), memory for the chunks of images.

    >>> joint_logits(nn.Linear(2, 2, bias=False), torch.tensor([[1.0, 1.0]]), {"weight": torch.eye(2)}).tolist()
    [[1.0], [1.0]]
    """
    return jacobian_vector(model, x, weights, memory=memory)


def sketched_weights(values: Tensor, coefficients: Tensor, k: int) -> Tensor:
    """Return the joint weights of projected features as `parameter_weights` takes them: (C, k + d), one body for all rows.

    Parameters: values (C, n, k + d), coefficients (C, n), k.

    >>> sketched_weights(torch.tensor([[[1.0, 5.0]], [[2.0, 7.0]]]), torch.ones(2, 1), 1).tolist()
    [[3.0, 5.0], [3.0, 7.0]]
    """
    own = torch.einsum("cn,cnk->ck", coefficients.double(), values.double())
    own[:, :k] = own[:, :k].sum(0)
    return own


# --- how much of the gradients T_S holds ------------------------------------------------------------------------------


def captured_energy(cross: Tensor, spanning: BlockProblem, energy: float) -> float:
    """Return the share of held-out gradient energy in T_S, tr K_XS K_SS^+ K_SX / tr K_XX (Prop 3.6, docs/measures.md).

    Parameters
    ----------
    cross : (t, C, n, q), held-out gradients against those that span T_S
    spanning : K_SS
    energy : tr K_XX > 0

    >>> one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    >>> captured_energy(one, BlockProblem(2 * one), 1.0)
    0.5
    """
    values, U = spanning.pair
    kept = values > RTOL * values[0]
    K_XS = _check.array("cross", cross, ndim=4).double().flatten(0, 1).flatten(1)
    inside = (K_XS @ U[:, kept]).square().sum(0) / values[kept]
    return float(inside.sum()) / _check.positive("energy", energy)


def pooled_pca_energy(kernel: Tensor, gradients: int) -> float:
    """Return what no span of so many gradients exceeds: the share of the largest eigenvalues of the held-out block kernel.

    Parameters: kernel (t, C, t, C), gradients >= 0.

    >>> pooled_pca_energy(torch.diag(torch.tensor([4.0, 1.0])).reshape(1, 2, 1, 2), 1)
    0.8
    """
    t, C = _check.array("kernel", kernel, ndim=4).shape[:2]
    values = eigenvalues(kernel.reshape(t * C, t * C))
    total = _check.positive("trace of the kernel", values.sum())
    return float(values[: _check.integer("gradients", gradients, 0)].sum()) / total
