"""How far a predictor is from the full kernel machine and from the network, without computing either (9.2, 9.3).

The full problem of class c has all training rows and all parameters: w_* = H^-1 Phi^T y, H = Phi^T Phi + lam I. Any
pipeline's output is phi^T w; its residual r = lam w + Phi^T (Phi w - y) = H (w - w_*) takes one J v and one J^T a pass over
the data and O(P) memory per class. A subset S of training rows gives H_S = Phi_S^T Phi_S + lam I <= H, and with it the
error d = w - w_* lies in the ellipsoid (d - z/2)^T H_S (d - z/2) <= q/4, z = H_S^-1 r, q = r^T z: all bounds below are
maxima over it. An empty subset gives the bounds without one (B0).

r is in the model's precision, with an allowance for its rounding; whatever concerns S alone is computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._arrays import Array, apply, double, gram, identity, namespace, solve_positive, transpose
from dntk_fast.tangent.capture import Outputs, Parameters
from dntk_fast.tangent.features import FeaturePlan, head_weights
from dntk_fast.tangent.generic import take
from dntk_fast.tangent.kernel import MEMORY, cast, kernel_diagonal, tangent_kernel
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian

__all__ = [
    "Certificate",
    "FullProblem",
    "HeldOut",
    "HeldOutBounds",
    "Residual",
    "Seen",
    "Subset",
    "Weights",
    "certified",
    "certify",
    "combined",
    "duality_gap_at",
    "fidelity_bound",
    "fidelity_error",
    "gap_allowance",
    "held_out",
    "held_out_bounds",
    "inner",
    "parameter_weights",
    "residual",
    "training_subset",
]

Weights: TypeAlias = dict[str, Tensor]  # by parameter name, (C, *shape)

# Test points whose features are worked on at a time.
_POINTS = 256
# The multipliers at which the training bound is tried; any gives a bound, neighbours differ by a factor 1.1.
_MULTIPLIERS = torch.logspace(-8, 8, 387, dtype=torch.float64)


# --- against the network (9.2): arrays of any kind ----------------------------------------------------------------------


def fidelity_error(rows: Array, network_weights: Array, test: Array, lam: float | Array) -> Array:
    """The exact error against the network: f - f_hat = lam phi^T (Phi^T Phi + lam I)^-1 w_0, for targets y = Phi w_0 (9.2).

    Parameters: rows (C, m, k), network_weights (0; W_c, b_c) (C, k), test (C, t, k), lam > 0. Returns: (C, t), float64.
    Raises: ValueError, TypeError for what does not fit.

    >>> fidelity_error(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[2.0, 5.0]]), torch.eye(2)[None], 1.0)
    tensor([[1.0000, 5.0000]], dtype=torch.float64)
    """
    Phi, test = _feature_stacks(rows, test)
    w = double(_check.companion("network_weights", network_weights, rows, (Phi.shape[0], Phi.shape[2])))
    parts = [apply(_shrunk(Phi, part, lam, rows), w) for part in _in_parts(test)]
    return namespace(Phi).concat(parts, axis=1)


def fidelity_bound(rows: Array, network_norm: Array, test: Array, lam: float | Array) -> Array:
    """The network-fidelity certificate |f - f_hat| <= |(W_c, b_c)| |phi - Phi^T a|, a = (K + lam I)^-1 Phi phi (9.2).

    For head-preserving features, targets y = f(X) on any inputs (real or distilled) and any synthesis U, Phi = U^T Phi~.
    |phi - Phi^T a|^2 = kappa - 2 k^T a + a^T K a, without the cancellation.
    Parameters: rows (C, m, k), network_norm (C,), test (C, t, k), lam > 0. Returns: (C, t), float64. Raises: ValueError,
    TypeError for what does not fit.

    >>> fidelity_bound(torch.tensor([[[1.0, 0.0]]]), torch.tensor([5.0]), torch.eye(2)[None], 1.0)
    tensor([[2.5000, 5.0000]], dtype=torch.float64)
    """
    Phi, test = _feature_stacks(rows, test)
    norm = double(_check.companion("network_norm", network_norm, rows, (Phi.shape[0],)))
    if bool(namespace(norm).any(norm < 0)):
        _check.refuse("network_norm", "numbers that are 0 or above", float(namespace(norm).min(norm)))
    xp = namespace(Phi)
    lengths = [xp.sqrt(xp.sum(_shrunk(Phi, part, lam, rows) ** 2, axis=-1)) for part in _in_parts(test)]
    return norm[:, None] * xp.concat(lengths, axis=1)


def certified(predictions: Array, bounds: Array) -> Array:
    """Where the predicted class is proven: f_c1 - B_c1 > f_c + B_c for all c but the predicted c1 (9.3).

    Parameters: predictions (C, t), bounds (C, t) >= 0 on the error of each. Returns: (t,) of booleans. Raises: ValueError,
    TypeError for another shape or a negative bound.

    >>> certified(torch.tensor([[3.0, 3.0], [1.0, 1.0]]), torch.tensor([[0.5, 1.0], [0.5, 1.0]])).tolist()
    [True, False]
    """
    f = double(_check.rows("predictions", predictions, ndim=2))
    B = double(_check.companion("bounds", bounds, predictions, tuple(f.shape)))
    xp = namespace(f)
    if bool(xp.any(B < 0)):
        _check.refuse("bounds", "numbers that are 0 or above", float(xp.min(B)))
    first = xp.argmax(f, axis=0, keepdims=True)
    rivals = xp.arange(f.shape[0], device=f.device)[:, None] != first
    least = xp.take_along_axis(f - B, first, axis=0)[0, ...]
    return least > xp.max(xp.where(rivals, f + B, -xp.inf * xp.ones_like(f)), axis=0)


def _feature_stacks(rows: Array, test: Array) -> tuple[Array, Array]:
    Phi = double(_check.rows("rows", rows, ndim=3))
    found = _check.rows("test", test, ndim=3)
    return Phi, double(_check.companion("test", found, rows, (Phi.shape[0], None, Phi.shape[2])))


def _in_parts(test: Array) -> list[Array]:
    t = test.shape[1]
    return [test[:, at : min(at + _POINTS, t), :] for at in range(0, t, _POINTS)]


def _shrunk(Phi: Array, phi: Array, lam: float | Array, like: Array) -> Array:
    """Rows of (Phi^T Phi / lam + I)^-1 phi = phi - Phi^T (K + lam I)^-1 Phi phi, (C, t, k)."""
    ridge = _check.ridge("lam", lam, like, (Phi.shape[0],))
    inside = gram(Phi) + ridge[..., None, None] * identity(Phi.shape[1], Phi)
    return phi - transpose(solve_positive(inside, Phi @ transpose(phi))) @ Phi


# --- the full problem (9.3) -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FullProblem:
    """Ridge regression on all rows and all parameters, J_c(w) = |Phi_c w - y_c|^2 / 2 + lam_c |w|^2 / 2; nothing is formed.

    Attributes
    ----------
    model : module in evaluation mode
    x : its n training inputs
    targets : (C, n)
    lam : above 0, one number or one for each class (C,)
    trace : (C,) or None
        tr K_c = sum_i |phi_c(x_i)|^2, from which the allowance for rounding is made; None computes it when it is asked for,
        at the cost of one more forward and backward pass. The squared norm of projected features is an estimate.
    memory, dtype, outputs, parameters : as in `tangent_kernel`
    """

    model: nn.Module
    x: Any
    targets: Tensor
    lam: float | Tensor
    trace: Tensor | None = None
    memory: int = MEMORY
    dtype: torch.dtype | None = None
    outputs: Outputs = None
    parameters: Parameters = None

    def __post_init__(self) -> None:
        n = _check.samples("x", self.x)
        _check.rows("targets", self.targets, ndim=2)
        _check.companion("targets", self.targets, self.targets, (None, n))
        _check.ridge("lam", self.lam, self.targets, (len(self.targets),))

    @property
    def n(self) -> int:
        """Number of training rows."""
        return int(self.targets.shape[1])

    @cached_property
    def ridge(self) -> Tensor:
        """Return lam of every class, (C,), float64."""
        found: Tensor = _check.ridge("lam", self.lam, self.targets, (len(self.targets),))
        return found.expand(len(self.targets))

    @cached_property
    def traces(self) -> Tensor:
        """Return tr K_c, (C,), float64."""
        return self.diagonal(self.x).sum(1) if self.trace is None else self.trace.double()

    def diagonal(self, x: Any) -> Tensor:
        """Return |phi_c(x)|^2, (C, t)."""
        return kernel_diagonal(self.model, x, **self._options)

    def forward(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return Phi_c w_c on the training inputs: one J v per class, (C, n)."""
        return self.predict(weights, self.x, dtype=self.dtype)

    def predict(self, weights: Mapping[str, Tensor], x: Any, *, dtype: torch.dtype | None = torch.float64) -> Tensor:
        """Return Phi_c w_c on any inputs, in float64 or as asked, (C, t)."""
        return jacobian_vector(self.model, x, weights, memory=self.memory, dtype=dtype, outputs=self.outputs)

    def backward(self, coefficients: Tensor) -> Weights:
        """Return Phi_c^T a_c over the training inputs: one J^T a per class."""
        return vector_jacobian(self.model, self.x, coefficients, **self._options)

    def rows(self, chosen: Tensor) -> FullProblem:
        """Return the problem on some of its rows, in float64."""
        model, x = cast(self.model, take(self.x, chosen), torch.float64)
        return FullProblem(model, x, self.targets[:, chosen].double(), self.lam, None, self.memory, None, self.outputs,
                           self.parameters)  # fmt: skip

    @property
    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("memory", "dtype", "outputs", "parameters")}


@dataclass(frozen=True, eq=False)
class Residual:
    """The primal residual r_c of some weights, its norm, and what rounding may add to that norm, (C,) each."""

    values: Weights
    norm: Tensor
    allowance: Tensor


def parameter_weights(weights: Tensor, model: nn.Module, plan: FeaturePlan) -> Weights:
    """The weights in parameter space that predict what projected weights do: w = A^T w~ on the body, w~ itself on the head.

    phi~^T w~ = phi_body^T (A^T w~_body) + (h; 1)^T w~_head, exactly (9.3); the features are those of all outputs.

    Parameters
    ----------
    weights : (C, k) or (C, k + d_h + 1), in the order of `TangentFeatures.values`
    model : the network of the features
    plan : how they were made

    Returns
    -------
    dict
        parameter name -> (C, *shape)

    Raises
    ------
    ValueError
        Another number of coordinates.

    >>> from dntk_fast.tangent.features import tangent_features
    >>> model, x = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double(), torch.ones(1, 2).double()
    >>> features = tangent_features(model, x, k=4, seed=0)
    >>> w = parameter_weights(torch.ones(2, 8).double(), model, features.plan)
    >>> torch.allclose(jacobian_vector(model, x, w), features.values.sum(2))
    True
    """
    k = plan.sketch.k if plan.sketch.shapes else 0
    own = None if plan.head is None else head_weights(model, plan.head)
    width = plan.sketch.k + (0 if own is None else own.shape[1])
    if weights.ndim != 2 or weights.shape[1] != width:
        _check.refuse("weights", f"shape (C, {width})", f"shape {tuple(weights.shape)}")
    found: Weights = dict(plan.sketch.adjoint(weights[:, :k])) if k else {}
    if own is None:
        return found
    tail = weights[:, plan.sketch.k :]
    if len(weights) != len(own):
        _check.refuse("weights", f"one row for each of the head's {len(own)} outputs", f"{len(weights)} rows")
    name, C = f"{plan.head}." if plan.head else "", len(weights)
    d = dict(model.named_parameters())[f"{name}weight"].shape[1]
    across = torch.arange(C, device=weights.device)
    found[f"{name}weight"] = tail.new_zeros(C, C, d)
    found[f"{name}weight"][across, across] = tail[:, :d]
    if tail.shape[1] > d:
        found[f"{name}bias"] = torch.diag_embed(tail[:, d])
    return found


def residual(problem: FullProblem, weights: Mapping[str, Tensor], *, fitted: Tensor | None = None) -> Residual:
    """The residual from its definition: r = lam w + Phi^T (Phi w - y), one J v and one J^T a pass for each class (9.3).

    The allowance is u (|Phi|_F^2 |w| + |Phi|_F |y| + lam |w|), u the rounding of the model's precision; for `fitted` from
    elsewhere it covers a difference to Phi w of the same size.

    Parameters
    ----------
    weights : by parameter name, (C, *shape)
    fitted : (C, n) or None
        Phi w where it is known (of projected weights, phi~^T w~): the J v pass is saved.

    Returns
    -------
    Residual

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> residual(problem, {"weight": torch.ones(1, 1, 1)}).norm.tolist()
    [3.0]
    """
    known = problem.forward(weights) if fitted is None else fitted
    _check.companion("fitted", known, problem.targets, tuple(problem.targets.shape))
    values = problem.backward(known - problem.targets.to(known))
    unknown = sorted(weights.keys() - values.keys())
    if unknown:
        _check.refuse("weights", "parameters of the problem", unknown)
    for name, w in weights.items():
        values[name].add_(_scaled(problem.ridge, w.to(values[name])))
    unit = torch.finfo(next(iter(values.values())).dtype).eps
    size, y, w_norm = problem.traces.sqrt(), problem.targets.double().norm(dim=1), inner(weights, weights).sqrt()
    allowance = unit * (size**2 * w_norm + size * y + problem.ridge * w_norm)
    return Residual(values, inner(values, values).sqrt(), allowance)


def duality_gap_at(
    problem: FullProblem, weights: Weights, coefficients: Tensor, *, fitted: Tensor | None = None
) -> Tensor:
    """The gap at any dual point, (|Phi w - y + lam alpha|^2 + lam |w - Phi^T alpha|^2) / 2, with what rounding may hide.

    Never below J(w) - J(w_*), and equal to it at alpha = (K + lam I)^-1 y: with coefficients near those (`refine.solve`)
    the certificate of any weights is nearly tight. |w - w_*|_H <= sqrt(2 gap) bounds the training RMS by sqrt(2 gap / n)
    and the held-out RMS by sqrt(2 gap spread / t).

    Parameters
    ----------
    weights : by parameter name, (C, *shape)
    coefficients : alpha (C, n)
    fitted : as in `residual`

    Returns
    -------
    Tensor (C,), float64

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> gap = duality_gap_at(problem, {"weight": torch.ones(1, 1, 1)}, torch.tensor([[1 / 3]]))  # alpha of the optimum
    >>> round(float(gap), 4)
    0.5
    """
    _check.companion("coefficients", coefficients, problem.targets, tuple(problem.targets.shape))
    known = problem.forward(weights) if fitted is None else fitted
    _check.companion("fitted", known, problem.targets, tuple(problem.targets.shape))
    lam, alpha = problem.ridge, coefficients.double()
    outside = combined(problem.backward(coefficients), -torch.ones_like(lam), weights)
    inside = known.double() - problem.targets.double() + lam[:, None] * alpha
    size = (inside.square().sum(1) + lam * inner(outside, outside)).sqrt()
    return (size + gap_allowance(problem, weights, alpha)) ** 2 / 2


def gap_allowance(problem: FullProblem, weights: Weights, coefficients: Tensor) -> Tensor:
    """What rounding may hide in sqrt(2 gap): u (|Phi|_F |w| + |y| + lam |alpha| + sqrt(lam) |Phi|_F |alpha|), (C,).

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 4.0)
    >>> float(gap_allowance(problem, {"weight": torch.ones(1, 1, 1)}, torch.ones(1, 1)) / torch.finfo(torch.float32).eps)
    13.0
    """
    unit = torch.finfo(next(iter(weights.values())).dtype).eps
    size, lam, alpha = problem.traces.sqrt(), problem.ridge, coefficients.double().norm(dim=1)
    w, y = inner(weights, weights).sqrt(), problem.targets.double().norm(dim=1)
    found: Tensor = unit * (size * w + y + (lam + lam.sqrt() * size) * alpha)
    return found


# --- a subset of training rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Subset:
    """Training rows S and K_SS = V diag(eigenvalues) V^T of every class: what H_S^-1 needs besides two passes over S.

    Attributes
    ----------
    problem : the full problem
    rows : (m,) row numbers, m may be 0
    eigenvalues, vectors : (C, m) and (C, m, m), float64
    """

    problem: FullProblem
    rows: Tensor
    eigenvalues: Tensor
    vectors: Tensor

    @cached_property
    def part(self) -> FullProblem:
        """The problem on the rows of S alone."""
        return self.problem.rows(self.rows)

    def coordinates(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return V^T Phi_S w, (C, m)."""
        if not len(self.rows):
            return self.eigenvalues
        return apply(self.vectors.mT, self.part.forward(weights))

    def inverse(self, weights: Mapping[str, Tensor], coordinates: Tensor, shift: Tensor) -> Weights:
        """Return (Phi_S^T Phi_S + s I)^-1 w by Woodbury, in float64, from the coordinates of w."""
        inverse = 1 / shift
        if not len(self.rows):
            return {name: _scaled(inverse, w.double()) for name, w in weights.items()}
        inside = self.part.backward(apply(self.vectors, coordinates / (self.eigenvalues + shift[:, None])))
        for (
            name,
            w,
        ) in weights.items():  # in place: at ten outputs of a large network these are the largest arrays there are
            inside[name].neg_().add_(w).mul_(_spread(inverse, w))
        return {name: inside[name] for name in weights}

    def energy(self, squared_norm: Tensor, coordinates: Tensor, shift: Tensor) -> Tensor:
        """Return w^T (Phi_S^T Phi_S + s I)^-1 w from |w|^2 and the coordinates of w, for shifts (C,) or (C, G)."""
        wide = shift.reshape(len(shift), -1, 1)
        inside = (coordinates[:, None] ** 2 / (self.eigenvalues[:, None] + wide)).sum(2)
        return ((squared_norm[:, None] - inside).clamp(min=0.0) / wide[..., 0]).reshape(shift.shape)


def training_subset(problem: FullProblem, rows: Tensor) -> Subset:
    """Prepare a subset S of the training rows: their exact kernel, decomposed once for each class.

    Parameters
    ----------
    rows : (m,) distinct row numbers, m may be 0
        Only training rows keep H_S <= H. Distilled inputs, or any others, would certify falsely and are refused.

    Returns
    -------
    Subset

    Raises
    ------
    TypeError, ValueError
        For inputs in place of row numbers; for a row twice or outside the training set.

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> training_subset(problem, torch.tensor([0])).eigenvalues.tolist()
    [[4.0]]
    """
    if not isinstance(rows, Tensor) or rows.is_floating_point() or rows.ndim != 1:
        got = f"shape {tuple(rows.shape)}, {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise TypeError(
            f"rows: expected row numbers (m,) of training inputs (others, distilled ones too, certify falsely), got {got}"
        )
    C, device = len(problem.targets), problem.targets.device
    if not len(rows):
        empty = torch.zeros(C, 0, dtype=torch.float64, device=device)
        return Subset(problem, rows.long(), empty, empty[:, None].reshape(C, 0, 0))
    part = problem.rows(_check.distinct("rows", rows, problem.n).long())
    values, vectors = torch.linalg.eigh(tangent_kernel(part.model, part.x, **part._options))
    return Subset(problem, rows.long(), values.clamp(min=0.0), vectors)


@dataclass(frozen=True, eq=False)
class Seen:
    """A residual as a subset of training rows sees it; everything is computed once, when it is asked for."""

    subset: Subset
    residual: Residual

    @cached_property
    def coordinates(self) -> Tensor:
        """Return V^T Phi_S r, (C, m)."""
        return self.subset.coordinates(self.residual.values)

    @cached_property
    def root(self) -> Tensor:
        """Return sqrt(r^T H_S^-1 r), (C,)."""
        return self.energy(self.subset.problem.ridge).sqrt()

    @cached_property
    def solved(self) -> Weights:
        """Return z = H_S^-1 r, in float64."""
        return self.subset.inverse(self.residual.values, self.coordinates, self.subset.problem.ridge)

    def energy(self, shift: Tensor) -> Tensor:
        """Return r^T (Phi_S^T Phi_S + s I)^-1 r for shifts (C,) or (C, G)."""
        return self.subset.energy(self.residual.norm**2, self.coordinates, shift)


# --- the certificates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds of every class on the distance to the full-data, full-parameter predictor, (C,) each, rounding allowed for.

    Attributes
    ----------
    residual_norm, allowance : |r|, and what rounding may add to it
    weights : |w - w_*| <= |r| / lam
    duality_gap : J(w) - J(w_*) <= |r|^2 / (2 lam), the exact gap at the dual point y - Phi w
    excess : J(w) - J(w_*) <= r^T H_S^-1 r / 2, never above the gap
    training_rms : |Phi (w - w_*)| / sqrt(n) <= min over mu of (1 + mu) / 2 sqrt(r^T (lam I + mu H_S)^-1 r / n),
        never above |r| / (2 sqrt(lam n))
    """

    residual_norm: Tensor
    allowance: Tensor
    weights: Tensor
    duality_gap: Tensor
    excess: Tensor
    training_rms: Tensor


def certify(seen: Seen) -> Certificate:
    """Bound weights, objective and training error of every class by a residual and a subset of training rows (9.3).

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> r = residual(problem, {"weight": torch.ones(1, 1, 1)})
    >>> round(float(certify(Seen(training_subset(problem, torch.tensor([0])), r)).excess), 4)  # (3 / 9) 3 / 2
    0.5
    """
    found, problem = seen.residual, seen.subset.problem
    lam, n, norm = problem.ridge, problem.n, found.norm + found.allowance
    mu = _MULTIPLIERS.to(lam.device)
    squared = (1 + mu) ** 2 / (4 * mu) * seen.energy(lam[:, None] * (1 + 1 / mu))
    best = torch.minimum(squared.amin(1), found.norm**2 / (4 * lam)).sqrt()
    return Certificate(
        residual_norm=found.norm,
        allowance=found.allowance,
        weights=norm / lam,
        duality_gap=norm**2 / (2 * lam),
        excess=(seen.root + found.allowance / lam.sqrt()) ** 2 / 2,
        training_rms=(best + found.allowance / (2 * lam.sqrt())) / n**0.5,
    )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Inputs whose predictions are to be bounded, and how far S lets the error reach there.

    Attributes
    ----------
    x : t inputs, any
    scale : (C, t), s_S(x) = sqrt(phi^T H_S^-1 phi)
    spread : (C,), lambda_max(Phi_t H_S^-1 Phi_t^T), or its trace
    """

    x: Any
    scale: Tensor
    spread: Tensor


@dataclass(frozen=True, eq=False)
class HeldOutBounds:
    """Where the errors f_hat - f_* on held-out inputs lie.

    Attributes
    ----------
    centre, half_width : (C, t)
        |(f_hat - f_*) - centre| <= half_width; f_hat - centre is a predictor with at most half of B3's error bound
    pointwise : (C, t), |f_hat - f_*| at most
    rms : (C,), the root mean square of f_hat - f_* over the t inputs at most
    """

    centre: Tensor
    half_width: Tensor
    pointwise: Tensor
    rms: Tensor


def held_out(subset: Subset, x: Any, *, spread: str = "kernel") -> HeldOut:
    """Measure held-out inputs by H_S^-1, from exact kernels in float64 and once for all residuals.

    Parameters
    ----------
    x : t inputs, any
    spread : "kernel", or "trace"
        Whether the largest eigenvalue of Phi_t H_S^-1 Phi_t^T is taken, from the (C, t, t) kernel, or its trace, an upper
        bound from the diagonal.

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> round(float(held_out(training_subset(problem, torch.tensor([0])), torch.tensor([[6.0]])).scale), 6)
    2.0
    """
    _check.choice("spread", spread, ("kernel", "trace"))
    problem, lam = subset.problem, subset.problem.ridge
    model, inputs = cast(problem.model, _check.inputs("x", x), torch.float64)
    options = {name: value for name, value in problem._options.items() if name != "dtype"}
    t = _check.samples("x", x)
    inside = torch.zeros(len(lam), t, 0, dtype=torch.float64, device=lam.device)
    if len(subset.rows):
        cross = tangent_kernel(model, inputs, subset.part.x, **options)
        inside = cross @ subset.vectors / (subset.eigenvalues + lam[:, None]).sqrt()[:, None]
    if spread == "kernel":
        whole = (tangent_kernel(model, inputs, **options) - inside @ inside.mT) / lam[:, None, None]
        squared, reach = whole.diagonal(dim1=1, dim2=2), torch.linalg.eigvalsh(whole)[:, -1]
    else:
        squared = (kernel_diagonal(model, inputs, **options) - inside.square().sum(2)) / lam[:, None]
        reach = squared.sum(1)
    return HeldOut(inputs, squared.clamp(min=0.0).sqrt(), reach.clamp(min=0.0))


def held_out_bounds(seen: Seen, held: HeldOut) -> HeldOutBounds:
    """Bound the error at held-out inputs by |phi^T H_S^-1 r| / 2 + s_S sqrt(r^T H_S^-1 r) / 2, and its RMS (9.3).

    Never above B3, s_S sqrt(r^T H_S^-1 r), nor the RMS above sqrt(lambda_max / t) sqrt(r^T H_S^-1 r), but for the
    allowance.

    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), torch.tensor([[2.0]]), torch.tensor([[3.0]]), 5.0)
    >>> subset, r = training_subset(problem, torch.tensor([0])), residual(problem, {"weight": torch.ones(1, 1, 1)})
    >>> bounds = held_out_bounds(Seen(subset, r), held_out(subset, torch.tensor([[6.0]])))
    >>> round(float(bounds.rms), 4), round(float(bounds.centre), 4)  # the true error is 6 * 3 / 9
    (2.0, 1.0)
    """
    problem, lam = seen.subset.problem, seen.subset.problem.ridge
    shift = problem.predict(seen.solved, held.x)
    # Of the rounding nothing is known but its norm: it has no centre, and counts with its full radius.
    reach = seen.root / 2 + seen.residual.allowance / lam.sqrt()
    half_width = held.scale * reach[:, None]
    rms = (shift.norm(dim=1) / 2 + held.spread.sqrt() * reach) / held.scale.shape[1] ** 0.5
    return HeldOutBounds(shift / 2, half_width, shift.abs() / 2 + half_width, rms)


# --- weights by parameter name ----------------------------------------------------------------------------------------


def inner(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    """Inner products <a_c, b_c> over all parameters, summed in float64; a name left out counts as zero: (C,).

    >>> inner({"w": torch.ones(2, 3)}, {"w": torch.ones(2, 3), "b": torch.ones(2)}).tolist()
    [3.0, 3.0]
    """
    shared = sorted(a.keys() & b.keys())  # in this order wherever the weights come from, to the last bit
    if not shared:
        _check.refuse("weights", "at least one shared parameter", f"{sorted(a)} and {sorted(b)}")
    return torch.stack([(a[name].double() * b[name].double()).flatten(1).sum(1) for name in shared]).sum(0)


def combined(a: Mapping[str, Tensor], factor: Tensor, b: Mapping[str, Tensor]) -> Weights:
    """The sums a_c + factor_c b_c, in the precision of a; a name that b lacks counts as zero there.

    >>> combined({"w": torch.ones(2, 1)}, torch.tensor([1.0, 2.0]), {"w": torch.ones(2, 1)})["w"].tolist()
    [[2.0], [3.0]]
    """
    return {name: value + _scaled(factor, b[name].to(value)) if name in b else value for name, value in a.items()}


def _scaled(factor: Tensor, value: Tensor) -> Tensor:
    return _spread(factor.to(value), value) * value


def _spread(factor: Tensor, like: Tensor) -> Tensor:
    return factor.reshape(-1, *[1] * (like.ndim - 1))
