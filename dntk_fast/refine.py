"""From distilled weights to the full predictor: preconditioned conjugate gradients with a certificate at every step (9.3).

It solves H w = Phi^T y, H = Phi^T Phi + lam I, for all classes at once by products with the Jacobian alone: exact kernel
ridge regression without a kernel. The preconditioner is the ridge Hessian of a subset of training rows. A step costs one
J v and one J^T a pass for each class; the residual is never CG's own recursion, which falls below the true one and
would certify falsely, but lam w + Phi^T (Phi w - y).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.certificate import (
    Certificate,
    FullProblem,
    HeldOut,
    HeldOutBounds,
    Residual,
    Seen,
    Subset,
    Weights,
    certify,
    combined,
    gap_allowance,
    held_out_bounds,
    inner,
    residual,
)
from dntk_fast.models import digest, read_tensors, write_tensors

__all__ = ["Refinement", "Solution", "Step", "refine", "solve"]

# Phi w is carried along from step to step and taken afresh from the weights this often, and before the loop may stop.
_REFRESH = 10


@dataclass(frozen=True)
class Step:
    """Bounds at one step, of every class, and the passes over the training rows so far (J v and J^T a, per class).

    `start_rms` bounds the held-out RMS of the weights at the start, by how far the predictions have moved since and how
    far they can be from the optimum now: what the refinement knows of the predictor that it began with.
    """

    step: int
    training_rms: tuple[float, ...]
    held_out_rms: tuple[float, ...]
    start_rms: tuple[float, ...]
    excess: tuple[float, ...]
    forward_passes: int
    backward_passes: int


@dataclass(frozen=True, eq=False)
class Refinement:
    """Refined weights with their certificate.

    Attributes
    ----------
    weights : by parameter name, (C, *shape)
    fitted : (C, n), Phi w
    certificate, held_out : the bounds of these weights
    history : one Step for each step, the start included
    converged : whether the requested RMS was reached
    """

    weights: Weights
    fitted: Tensor
    certificate: Certificate
    held_out: HeldOutBounds
    history: tuple[Step, ...]
    converged: bool


@dataclass(frozen=True, eq=False)
class _State:
    """Everything that the next step needs: weights, fitted values, residual, the last direction with its <r, z>.

    `moved` (C, t) is how far the predictions on the held-out inputs are from those at the start; `age` counts the steps for
    which Phi w was carried along.
    """

    weights: Weights
    fitted: Tensor
    residual: Residual
    direction: Weights
    energy: Tensor
    moved: Tensor
    step: int
    age: int
    passes: tuple[int, int]


def refine(
    problem: FullProblem,
    weights: Weights,
    subset: Subset,
    held: HeldOut,
    *,
    rms: float,
    steps: int,
    checkpoint: str | Path | None = None,
    progress: Callable[[Step], None] | None = None,
) -> Refinement:
    """Improve weights until the certified held-out RMS of every class is at most `rms`, or for so many steps.

    Parameters
    ----------
    problem : the full problem
    weights : where to start, (C, *shape) by parameter name (`parameter_weights` of the distilled ones, or zeros)
    subset : training rows of this problem, for the preconditioner H_S and the bounds
    held : where the RMS is asked for, by the same subset
    rms : bound on sqrt(mean over inputs of (f_hat - f_*)^2), 0 for all the steps
    steps : at most so many, beyond those that a checkpoint holds
    checkpoint : a safetensors file, written whole after every step; one that is there is continued
    progress : called with each Step

    Returns
    -------
    Refinement

    Raises
    ------
    ValueError
        A subset of another problem, or the checkpoint of another problem.

    Examples
    --------
    >>> from torch import nn
    >>> from dntk_fast.certificate import held_out, training_subset
    >>> x, y = torch.tensor([[2.0], [1.0]]), torch.tensor([[3.0, 0.0]])
    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), x, y, 5.0)
    >>> subset = training_subset(problem, torch.tensor([0]))
    >>> found = refine(problem, {"weight": torch.ones(1, 1, 1)}, subset, held_out(subset, x), rms=1e-4, steps=5)
    >>> found.converged, round(float(found.weights["weight"]), 4)
    (True, 0.6)
    """
    _check.nonnegative("rms", rms)
    _check.integer("steps", steps, 0)
    if subset.problem is not problem:
        _check.refuse("subset", "training rows of the same problem", "those of another one")
    path = None if checkpoint is None else Path(checkpoint)
    owner = "" if path is None else _owner(problem, held, subset.rows)
    state, history = (
        _load(path, owner, problem) if path is not None and path.exists() else (_begin(problem, weights, held), ())
    )
    end = state.step + steps
    while True:
        if state.step == end or state.age == _REFRESH:
            state = _afresh(problem, state)
        seen = Seen(subset, state.residual)
        bounds, certificate = held_out_bounds(seen, held), certify(seen)
        below = bool((bounds.rms <= rms).all())
        if below and state.age:  # what ends the loop rests on the weights alone
            state = _afresh(problem, state)
            continue
        history = (*history[: state.step], _record(certificate, bounds, state))
        if path is not None:
            _save(path, owner, state, history)
        if progress is not None:
            progress(history[-1])
        if below or state.step == end:
            return Refinement(state.weights, state.fitted, certificate, bounds, history, below)
        state = _advance(problem, state, seen, held)


def _begin(problem: FullProblem, weights: Weights, held: HeldOut) -> _State:
    fitted = problem.forward(weights)
    start = residual(problem, weights, fitted=fitted)
    zeros = {name: torch.zeros_like(value) for name, value in start.values.items()}
    weights = zeros | weights  # a name left out counts as zero at the start, and moves like the others
    return _State(
        weights, fitted, start, zeros, torch.zeros_like(start.norm), torch.zeros_like(held.scale), 0, 0, (1, 1)
    )


def _advance(problem: FullProblem, state: _State, seen: Seen, held: HeldOut) -> _State:
    """One step of every class: p = z + <r, z> / <r, z>_before p, w + a p with a = -<r, p> / <p, H p>, z = M^-1 r."""
    r, z = state.residual.values, seen.solved
    energy = inner(r, z)
    turn = torch.where(state.energy > 0, energy / state.energy.clamp(min=1e-300), 0.0)
    p = combined({name: value.to(r[name]) for name, value in z.items()}, turn, state.direction)
    fitted = problem.forward(p)
    curvature = fitted.double().square().sum(1) + problem.ridge * inner(p, p)
    length = torch.where(curvature > 0, -inner(r, p) / curvature.clamp(min=1e-300), 0.0)
    w, known = combined(state.weights, length, p), state.fitted + (length[:, None] * fitted.double()).to(state.fitted)
    passes = (state.passes[0] + 1, state.passes[1] + 1)
    moved = state.moved + length[:, None] * problem.predict(p, held.x)
    found = residual(problem, w, fitted=known)
    return _State(w, known, found, p, energy, moved, state.step + 1, state.age + 1, passes)


def _afresh(problem: FullProblem, state: _State) -> _State:
    """The same state with Phi w taken from w, where it was carried along."""
    if not state.age:
        return state
    fitted = problem.forward(state.weights)
    passes = (state.passes[0] + 1, state.passes[1] + 1)
    found = residual(problem, state.weights, fitted=fitted)
    return replace(state, fitted=fitted, residual=found, age=0, passes=passes)


def _record(certificate: Certificate, bounds: HeldOutBounds, state: _State) -> Step:
    start = state.moved.norm(dim=1) / state.moved.shape[1] ** 0.5 + bounds.rms
    parts = (certificate.training_rms, bounds.rms, start, certificate.excess)
    training, held, start, excess = (tuple(part.tolist()) for part in parts)
    return Step(state.step, training, held, start, excess, *state.passes)


# --- the same from the projected features of the training rows --------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Solution:
    """Kernel ridge regression with the exact kernel, no kernel formed.

    Attributes
    ----------
    coefficients : (C, n), alpha
    weights : by parameter name, (C, *shape), Phi^T alpha
    fitted : (C, n), K alpha
    history : one Step for each step, the start included
    converged : whether the requested RMS was reached
    """

    coefficients: Tensor
    weights: Weights
    fitted: Tensor
    history: tuple[Step, ...]
    converged: bool


@dataclass(frozen=True, eq=False)
class _Dual:
    """Everything that the next dual step needs."""

    coefficients: Tensor
    weights: Weights
    fitted: Tensor
    direction: Tensor
    energy: Tensor
    moved: Tensor
    step: int
    age: int
    passes: tuple[int, int]


def solve(
    problem: FullProblem,
    features: Tensor,
    held: HeldOut,
    *,
    rms: float,
    steps: int,
    checkpoint: str | Path | None = None,
    progress: Callable[[Step], None] | None = None,
) -> Solution:
    """Solve (K + lam I) alpha = y by conjugate gradients, preconditioned by the projected kernel K~ + lam I of all rows.

    From alpha = (K~ + lam I)^-1 y. The bounds need no subset: the duality gap at alpha is |rho|^2 / 2,
    rho = K alpha + lam alpha - y, and |w - w_*|_H <= |rho| bounds training error and, by `held.spread`, held-out error.

    Parameters
    ----------
    problem : the full problem
    features : (C, n, k), projected features of all its training rows (`TangentFeatures.values`)
    held : where the RMS is asked for
    rms, steps, checkpoint, progress : as in `refine`

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        Features of other rows, or the checkpoint of another problem.

    Examples
    --------
    >>> from torch import nn
    >>> from dntk_fast.certificate import held_out, training_subset
    >>> x, y = torch.tensor([[2.0], [1.0]]), torch.tensor([[3.0, 0.0]])
    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), x, y, 5.0)
    >>> held = held_out(training_subset(problem, torch.tensor([0])), x)
    >>> found = solve(problem, 1.5 * x[None], held, rms=1e-4, steps=5)
    >>> found.converged, round(float(found.weights["weight"]), 4)
    (True, 0.6)
    """
    _check.nonnegative("rms", rms)
    _check.integer("steps", steps, 0)
    _check.companion("features", features, problem.targets, (*problem.targets.shape, None))
    path = None if checkpoint is None else Path(checkpoint)
    owner = "" if path is None else _owner(problem, held, features)
    precondition = _sketched(features, problem.ridge)
    resumed = path is not None and path.exists()
    state, history = (
        _load_dual(path, owner, problem) if resumed and path else (_begin_dual(problem, precondition, held), ())
    )
    end = state.step + steps
    while True:
        if state.step == end or state.age == _REFRESH:
            state = _afresh_dual(problem, state)
        rho, bound = _dual_residual(problem, state)
        reached = bound * (held.spread / held.scale.shape[1]).sqrt()
        below = bool((reached <= rms).all())
        if below and state.age:
            state = _afresh_dual(problem, state)
            continue
        history = (*history[: state.step], _record_dual(problem, state, bound, reached))
        if path is not None:
            _save_dual(path, owner, state, history)
        if progress is not None:
            progress(history[-1])
        if below or state.step == end:
            return Solution(state.coefficients, state.weights, state.fitted, history, below)
        state = _advance_dual(problem, state, rho, precondition, held)


def _sketched(features: Tensor, lam: Tensor) -> Callable[[Tensor], Tensor]:
    """Return v -> (K~ + lam I)^-1 v, from one Cholesky decomposition of the smaller side, in float64."""
    Phi, (n, k) = features.double(), features.shape[1:]
    small = Phi @ Phi.mT if n <= k else Phi.mT @ Phi
    factor = torch.linalg.cholesky(
        small + lam[:, None, None] * torch.eye(min(n, k), dtype=small.dtype, device=small.device)
    )
    if n <= k:
        return lambda v: torch.cholesky_solve(v[..., None], factor)[..., 0]
    return lambda v: (v - (Phi @ torch.cholesky_solve(Phi.mT @ v[..., None], factor))[..., 0]) / lam[:, None]


def _begin_dual(problem: FullProblem, precondition: Callable[[Tensor], Tensor], held: HeldOut) -> _Dual:
    alpha = precondition(problem.targets.double())
    w = problem.backward(alpha)
    none = torch.zeros_like(alpha[:, 0])
    return _Dual(
        alpha, w, problem.forward(w).double(), torch.zeros_like(alpha), none, torch.zeros_like(held.scale), 0, 0, (1, 1)
    )


def _dual_residual(problem: FullProblem, state: _Dual) -> tuple[Tensor, Tensor]:
    """Return rho = Phi w + lam alpha - y and sqrt(2 J(w) - 2 D(lam alpha)), what rounding may hide included.

    2 (J - D) = |rho|^2 + lam |w - Phi^T alpha|^2; the second is rounding alone, once for each step since w was taken from
    alpha.
    """
    alpha = state.coefficients
    rho = state.fitted + problem.ridge[:, None] * alpha - problem.targets.double()
    return rho, rho.norm(dim=1) + (1 + state.age) * gap_allowance(problem, state.weights, alpha)


def _advance_dual(
    problem: FullProblem, state: _Dual, rho: Tensor, precondition: Callable[[Tensor], Tensor], held: HeldOut
) -> _Dual:
    """One step of every class: p = z + <rho, z> / <rho, z>_before p, alpha + a p, a = -<rho, p> / <p, (K + lam I) p>."""
    z = precondition(rho)
    energy = (rho * z).sum(1)
    p = z + (energy / state.energy.clamp(min=1e-300) * (state.energy > 0))[:, None] * state.direction
    g = problem.backward(p)
    Kp = problem.forward(g).double()
    curvature = (p * Kp).sum(1) + problem.ridge * p.square().sum(1)
    length = torch.where(curvature > 0, -(rho * p).sum(1) / curvature.clamp(min=1e-300), 0.0)
    return _Dual(
        state.coefficients + length[:, None] * p,
        combined(state.weights, length, g),
        state.fitted + length[:, None] * Kp,
        p,
        energy,
        state.moved + length[:, None] * problem.predict(g, held.x),
        state.step + 1,
        state.age + 1,
        (state.passes[0] + 1, state.passes[1] + 1),
    )


def _afresh_dual(problem: FullProblem, state: _Dual) -> _Dual:
    """The same state with w taken from alpha and Phi w from w, where they were carried along."""
    if not state.age:
        return state
    w = problem.backward(state.coefficients)
    passes = (state.passes[0] + 1, state.passes[1] + 1)
    return replace(state, weights=w, fitted=problem.forward(w).double(), age=0, passes=passes)


def _record_dual(problem: FullProblem, state: _Dual, bound: Tensor, reached: Tensor) -> Step:
    start = state.moved.norm(dim=1) / state.moved.shape[1] ** 0.5 + reached
    parts = (bound / problem.n**0.5, reached, start, bound**2 / 2)
    training, held, start, excess = (tuple(part.tolist()) for part in parts)
    return Step(state.step, training, held, start, excess, *state.passes)


# --- the checkpoint ---------------------------------------------------------------------------------------------------


def _owner(problem: FullProblem, held: HeldOut, given: Tensor) -> str:
    """What a checkpoint belongs to: the network, the inputs, the targets, the ridge, and what preconditions."""
    tensors = {f"model.{name}": value for name, value in problem.model.state_dict().items()}
    tensors |= {"targets": problem.targets, "lam": problem.ridge, "given": given}
    for kind, x in (("x", problem.x), ("held", held.x)):
        parts = x.items() if isinstance(x, dict) else enumerate(x if isinstance(x, tuple) else (x,))
        tensors |= {f"{kind}.{name}": part for name, part in parts}
    return digest(tensors)


def _save(path: Path, owner: str, state: _State, history: tuple[Step, ...]) -> None:
    tensors = {"fitted": state.fitted, "energy": state.energy}
    tensors |= {"norm": state.residual.norm, "allowance": state.residual.allowance, "moved": state.moved}
    named = {"weights": state.weights, "residual": state.residual.values, "direction": state.direction}
    for kind, values in named.items():
        tensors |= {f"{kind}/{name}": value for name, value in values.items()}
    _write(path, owner, tensors, state.step, state.age, state.passes, history)


def _load(path: Path, owner: str, problem: FullProblem) -> tuple[_State, tuple[Step, ...]]:
    tensors, numbers, history = _read(path, owner, problem)
    state = _State(
        _named(tensors, "weights"),
        tensors["fitted"],
        Residual(_named(tensors, "residual"), tensors["norm"], tensors["allowance"]),
        _named(tensors, "direction"),
        tensors["energy"],
        tensors["moved"],
        *numbers,
    )
    return state, history


_Numbers: TypeAlias = tuple[int, int, tuple[int, int]]


def _write(
    path: Path, owner: str, tensors: Weights, step: int, age: int, passes: tuple[int, int], history: tuple[Step, ...]
) -> None:
    numbers = {"step": step, "age": age, "passes": passes, "history": [astuple(one) for one in history]}
    write_tensors(path, tensors, {"owner": owner, "numbers": json.dumps(numbers)})


def _read(path: Path, owner: str, problem: FullProblem) -> tuple[Weights, _Numbers, tuple[Step, ...]]:
    tensors, words = read_tensors(path)
    if words.get("owner") != owner:
        expected = "one of the same network, inputs, targets, lam and preconditioner"
        _check.refuse("checkpoint", expected, f"another one in {path}")
    numbers = json.loads(words["numbers"])
    history = tuple(Step(*(tuple(v) if isinstance(v, list) else v for v in one)) for one in numbers["history"])  # type: ignore[arg-type]
    on_device = {key: value.to(problem.targets.device) for key, value in tensors.items()}
    return on_device, (numbers["step"], numbers["age"], tuple(numbers["passes"])), history


def _named(tensors: Weights, kind: str) -> Weights:
    return {key.removeprefix(f"{kind}/"): value for key, value in tensors.items() if key.startswith(f"{kind}/")}


_DUAL = ("coefficients", "fitted", "direction", "energy", "moved")


def _save_dual(path: Path, owner: str, state: _Dual, history: tuple[Step, ...]) -> None:
    tensors = {name: getattr(state, name) for name in _DUAL}
    tensors |= {f"weights/{name}": value for name, value in state.weights.items()}
    _write(path, owner, tensors, state.step, state.age, state.passes, history)


def _load_dual(path: Path, owner: str, problem: FullProblem) -> tuple[_Dual, tuple[Step, ...]]:
    tensors, (step, age, passes), history = _read(path, owner, problem)
    parts = {name: tensors[name] for name in _DUAL}
    return _Dual(weights=_named(tensors, "weights"), step=step, age=age, passes=passes, **parts), history
