"""From distilled weights to the full predictor: preconditioned conjugate gradients with a certificate at every step.

They solve (K + lam I) alpha = y, w = Phi^T alpha, for all classes at once by products with the Jacobian alone: exact kernel
ridge regression without a kernel. The preconditioner is the kernel of features that stand for the gradients: exact ones
of a subset of training rows, projected ones of all rows, or both. A step costs one J v and one J^T a pass for each class.
Source: `certificate_refinement`, [HestenesStiefel1952].

The bound of a step is the duality gap at alpha, |rho|^2 / 2 with rho = Phi w + lam alpha - y. Never is it CG's own
recursion, which falls below the true residual and would certify falsely: Phi w is summed up over a few steps, with an
allowance for each, then taken afresh from alpha, and always before the loop ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.certificates.certificate import (
    Certificate,
    FullProblem,
    HeldOut,
    HeldOutBounds,
    Subset,
    SubsetResidual,
    Weights,
    certify,
    combined,
    gap_allowance,
    held_out_bounds,
    residual,
)
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.tangent.batches import take
from dntk_fast.tangent.writing import batch_digest

__all__ = ["Refinement", "Solution", "Step", "refine", "solve"]

# w is carried along from step to step and taken afresh from alpha this often, and before the loop may stop.
_REFRESH = 10
# Share of the kernel that a subset leaves out among rows alike which is added to lam. None of it takes the rest for zero;
# all of it takes rows in different blocks for independent. On digits 0.1 takes fewest steps, 0.3 one more.
_REST = 0.1


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
class Refinement:
    """Refined weights with their certificate.

    Attributes
    ----------
    weights : by parameter name, (C, *shape)
    fitted : (C, n), Phi w
    certificate, held_out : the bounds of these weights, by their duality gap and by their residual, for which one J^T a
        pass more is made than the history counts
    history : one Step for each step, the start included
    converged : whether the requested RMS was reached
    """

    weights: Weights
    fitted: Tensor
    certificate: Certificate
    held_out: HeldOutBounds
    history: tuple[Step, ...]
    converged: bool


Progress: TypeAlias = Callable[[Step, Weights], None] | None
_Solve: TypeAlias = Callable[[Tensor], Tensor]


def refine(
    problem: FullProblem,
    weights: Weights,
    subset: Subset,
    test: HeldOut,
    *,
    rms: float,
    steps: int,
    features: Tensor | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress = None,
) -> Refinement:
    """Certify weights, and replace them by better ones until the certified held-out RMS of every class is at most `rms`.

    Step 0 is the certificate of the weights given. The first step is ridge regression with the kernel that stands for
    the exact one, and the others are conjugate gradients from there. Nothing is taken over from the weights given: most
    of the norm of distilled ones lies outside the span of the training gradients, where the solution has none, so that
    going on from them takes more steps, not fewer. The first steps alone may be worse than they are.

    Parameters
    ----------
    problem : the full problem
    weights : where to start, (C, *shape) by parameter name (`parameter_weights` of the distilled ones, or zeros)
    subset : training rows of this problem, for the bounds and the preconditioner: K_nS K_SS^+ K_Sn and a tenth of what it
        leaves out of K among rows alike (`Subset.left_out`); twice (C, n, m) numbers are computed once and kept
    test : where the RMS is asked for, by the same subset
    rms : bound on sqrt(mean over inputs of (f_hat - f_*)^2), 0 for all the steps
    steps : at most so many, beyond those that a checkpoint holds
    features : (C, n, k) or None
        Projected features of all training rows (`TangentFeatures.values`), if there are any: they complete the
        preconditioner by what the subset leaves out; k had better exceed the effective dimension.
    checkpoint : a safetensors file, written whole after every step but 0; one that is there is continued
    progress : called with each Step and its weights, after the checkpoint was written

    Returns
    -------
    Refinement

    Raises
    ------
    ValueError
        A subset of another problem, features of other rows, or the checkpoint of another problem (what differs is named).

    Examples
    --------
    >>> from torch import nn
    >>> from dntk_fast.certificates.certificate import held_out, training_subset
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
    if features is not None:
        _check.array_like("features", features, problem.targets, (*problem.targets.shape, None))
    given: dict[str, Weights] = {"start": weights, "subset": {"": subset.rows}}
    given |= {} if features is None else {"features": {"": features}}
    file = _Kept(checkpoint, problem, test, given)
    state, history = file.load()
    if state is None:
        start = _certified(problem, weights, subset, test, rms, progress)
        if start.converged or steps == 0:
            return start
        steps, history = steps - 1, start.history
    completed = None if features is None else subset.completed(features)
    preconditioner = (
        _row_preconditioner(problem, subset) if completed is None else _feature_preconditioner(problem, completed)
    )
    state = state or _begin(problem, preconditioner, test, weights)
    state, history, below = _iterate(problem, test, preconditioner, (state, history), rms, steps, file, progress)
    measured = SubsetResidual(subset, residual(problem, state.weights, fitted=state.fitted))
    gap = _bound(problem, state) ** 2 / 2
    bounds = certify(measured, gap=gap), held_out_bounds(measured, test, gap=gap)
    return Refinement(state.weights, state.fitted, *bounds, history, below)


def solve(
    problem: FullProblem,
    features: Tensor,
    test: HeldOut,
    *,
    rms: float,
    steps: int,
    checkpoint: str | Path | None = None,
    progress: Progress = None,
) -> Solution:
    """Solve (K + lam I) alpha = y by conjugate gradients, preconditioned by the projected kernel K~ + lam I of all rows.

    From alpha = (K~ + lam I)^-1 y. The bounds need no subset: the duality gap at alpha is |rho|^2 / 2,
    rho = K alpha + lam alpha - y, and |w - w_*|_H <= |rho| bounds training error and, by `test.spread`, held-out error.

    Parameters
    ----------
    problem : the full problem
    features : (C, n, k), projected features of all its training rows (`TangentFeatures.values`)
    test : where the RMS is asked for
    rms, steps, checkpoint, progress : as in `refine`

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        Features of other rows, or the checkpoint of another problem (what differs is named).

    Examples
    --------
    >>> from torch import nn
    >>> from dntk_fast.certificates.certificate import held_out, training_subset
    >>> x, y = torch.tensor([[2.0], [1.0]]), torch.tensor([[3.0, 0.0]])
    >>> problem = FullProblem(nn.Linear(1, 1, bias=False), x, y, 5.0)
    >>> test = held_out(training_subset(problem, torch.tensor([0])), x)
    >>> found = solve(problem, 1.5 * x[None], test, rms=1e-4, steps=5)
    >>> found.converged, round(float(found.weights["weight"]), 4)
    (True, 0.6)
    """
    _check.nonnegative("rms", rms)
    _check.integer("steps", steps, 0)
    _check.array_like("features", features, problem.targets, (*problem.targets.shape, None))
    if test.subset.problem is not problem:
        _check.refuse("test", "inputs measured by a subset of this problem", "those of another one")
    file = _Kept(checkpoint, problem, test, {"features": {"": features}})
    preconditioner = _feature_preconditioner(problem, features)
    state, history = file.load()
    state = state or _begin(problem, preconditioner, test)
    state, history, below = _iterate(problem, test, preconditioner, (state, history), rms, steps, file, progress)
    return Solution(state.coefficients, state.weights, state.fitted, history, below)


def _certified(
    problem: FullProblem, weights: Weights, subset: Subset, test: HeldOut, rms: float, progress: Progress
) -> Refinement:
    """Step 0: the weights as they are."""
    fitted = problem.forward(weights)
    found = residual(problem, weights, fitted=fitted)
    measured = SubsetResidual(subset, found)
    certificate, bounds = certify(measured), held_out_bounds(measured, test)
    weights = {name: torch.zeros_like(value) for name, value in found.values.items()} | weights
    step = _step(0, certificate.training_rms, bounds.rms, bounds.rms, certificate.excess, (1, 1))
    if progress is not None:
        progress(step, weights)
    return Refinement(weights, fitted, certificate, bounds, (step,), bool((bounds.rms <= rms).all()))


# --- conjugate gradients ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _State:
    """Everything that the next step needs.

    `moved` (C, t) is how far the predictions on the held-out inputs are from those at the start; `age` counts the steps for
    which w and Phi w were carried along.
    """

    coefficients: Tensor
    weights: Weights
    fitted: Tensor
    direction: Tensor
    energy: Tensor
    moved: Tensor
    step: int
    age: int
    passes: tuple[int, int]


_Record: TypeAlias = tuple[_State, tuple[Step, ...]]


_Whiten: TypeAlias = Callable[[Tensor], Tensor]


def _preconditioner(Psi: Tensor, whiten: _Whiten) -> _Solve:
    """Return v -> (Psi Psi^T + D)^-1 v, whiten being v -> D^-1/2 v on (C, n, k), by one Cholesky of the smaller side."""
    n, k = Psi.shape[1:]
    Psi = whiten(Psi)
    small = Psi @ Psi.mT if n <= k else Psi.mT @ Psi
    factor, failed = torch.linalg.cholesky_ex(small + torch.eye(min(n, k), dtype=small.dtype, device=small.device))
    if bool(failed.any()):
        expected = "one at which the preconditioner is positive definite in float64 (a larger one, or smaller features)"
        _check.refuse("lam", expected, f"features up to {float(Psi.abs().max()):.3g} times its root")

    def solved(v: Tensor) -> Tensor:
        right = whiten(v[..., None])
        inner = right if n <= k else Psi.mT @ right
        inside = torch.cholesky_solve(inner, factor)
        return whiten(inside if n <= k else right - Psi @ inside)[..., 0]

    return solved


def _feature_preconditioner(problem: FullProblem, features: Tensor) -> _Solve:
    """The kernel of features and lam."""
    scale = problem.ridge.rsqrt()[:, None, None]
    return _preconditioner(features.double(), lambda v: scale * v)


def _row_preconditioner(problem: FullProblem, subset: Subset) -> _Solve:
    """The kernel of a subset's features, lam, and a share of what it leaves out among rows alike."""
    roots = []
    for rows, values, vectors in subset.left_out:
        roots.append((rows, (vectors * (problem.ridge[:, None] + _REST * values).rsqrt()[:, None]) @ vectors.mT))

    def whiten(v: Tensor) -> Tensor:
        out = torch.empty_like(v)
        for rows, root in roots:
            out[:, rows] = root @ v[:, rows]
        return out

    return _preconditioner(subset.features, whiten)


def _iterate(
    problem: FullProblem,
    test: HeldOut,
    preconditioner: _Solve,
    begun: _Record,
    rms: float,
    steps: int,
    file: _Kept,
    progress: Progress,
) -> tuple[_State, tuple[Step, ...], bool]:
    state, history = begun
    end = state.step + steps
    while True:
        if state.step == end or state.age == _REFRESH:
            state = _afresh(problem, state)
        bound = _bound(problem, state)
        reached = bound * (test.spread / test.scale.shape[1]).sqrt()
        below = bool((reached <= rms).all())
        if below and state.age:  # what ends the loop rests on alpha alone
            state = _afresh(problem, state)
            continue
        start = state.moved.norm(dim=1) / test.scale.shape[1] ** 0.5 + reached
        step = _step(state.step, bound / problem.n**0.5, reached, start, bound**2 / 2, state.passes)
        history = (*history[: state.step], step)
        file.save(state, history)
        if progress is not None:
            progress(step, state.weights)
        if below or state.step == end:
            return state, history, below
        state = _advance(problem, state, preconditioner, test)


def _begin(problem: FullProblem, preconditioner: _Solve, test: HeldOut, start: Weights | None = None) -> _State:
    """Alpha = (K~ + lam I)^-1 y, as step 0, or as the step after that of given weights."""
    alpha = preconditioner(problem.targets.double())
    w = problem.backward(alpha)
    moved, count = torch.zeros_like(test.scale), 0
    if start is not None:
        moved, count = problem.predict(w, test.x) - problem.predict(start, test.x), 1
    none = torch.zeros_like(alpha[:, 0])
    passes = (count + 1, count + 1)
    return _State(alpha, w, problem.forward(w).double(), torch.zeros_like(alpha), none, moved, count, 0, passes)


def _rho(problem: FullProblem, state: _State) -> Tensor:
    return state.fitted + problem.ridge[:, None] * state.coefficients - problem.targets.double()


def _bound(problem: FullProblem, state: _State) -> Tensor:
    """Return sqrt(2 J(w) - 2 D(lam alpha)) >= |w - w_*|_H, what rounding may hide included.

    2 (J - D) = |rho|^2 + lam |w - Phi^T alpha|^2; the second is rounding alone, once for each step since w was taken from
    alpha.
    """
    return _rho(problem, state).norm(dim=1) + (1 + state.age) * gap_allowance(
        problem, state.weights, state.coefficients
    )


def _advance(problem: FullProblem, state: _State, preconditioner: _Solve, test: HeldOut) -> _State:
    """One step of every class: p = z + <rho, z> / <rho, z>_before p, alpha + a p, a = -<rho, p> / <p, (K + lam I) p>."""
    rho = _rho(problem, state)
    z = preconditioner(rho)
    energy = (rho * z).sum(1)
    p = z + (energy / state.energy.clamp(min=1e-300) * (state.energy > 0))[:, None] * state.direction
    g = problem.backward(p)
    Kp = problem.forward(g).double()
    curvature = (p * Kp).sum(1) + problem.ridge * p.square().sum(1)
    length = torch.where(curvature > 0, -(rho * p).sum(1) / curvature.clamp(min=1e-300), 0.0)
    return _State(
        state.coefficients + length[:, None] * p,
        combined(state.weights, length, g),
        state.fitted + length[:, None] * Kp,
        p,
        energy,
        state.moved + length[:, None] * problem.predict(g, test.x),
        state.step + 1,
        state.age + 1,
        (state.passes[0] + 1, state.passes[1] + 1),
    )


def _afresh(problem: FullProblem, state: _State) -> _State:
    """The same state with w taken from alpha and Phi w from w, where they were carried along."""
    if not state.age:
        return state
    w = problem.backward(state.coefficients)
    passes = (state.passes[0] + 1, state.passes[1] + 1)
    return replace(state, weights=w, fitted=problem.forward(w).double(), age=0, passes=passes)


def _step(
    number: int, training: Tensor, reached: Tensor, start: Tensor, excess: Tensor, passes: tuple[int, int]
) -> Step:
    parts: list[tuple[float, ...]] = [tuple(part.tolist()) for part in (training, reached, start, excess)]
    return Step(number, parts[0], parts[1], parts[2], parts[3], *passes)


# --- the checkpoint ---------------------------------------------------------------------------------------------------


_KEPT = ("coefficients", "fitted", "direction", "energy", "moved")


class _Kept:
    """The state in a checkpoint, or nowhere: of this problem, these held-out inputs, start, and what preconditions."""

    def __init__(self, path: str | Path | None, problem: FullProblem, test: HeldOut, given: dict[str, Weights]) -> None:
        self.file: Checkpoint | None = None
        self.device = problem.targets.device
        if path is None:
            return
        names, gradients = _first_gradients(problem)
        owner = {
            "network": fingerprint(problem.model),
            "parameters": ", ".join(names),
            "precision": str(problem.precision),
            "inputs": batch_digest(problem.x),
            "targets": digest({"": problem.targets}),
            "lam": digest({"": problem.ridge}),
            "held-out inputs": batch_digest(test.x),
        }
        owner |= {name: digest(tensors) for name, tensors in given.items()}
        first = ("gradients at the first input", gradients)
        self.file = Checkpoint(_check.path("checkpoint", path), "refinement", owner, first, problem.precision)

    def save(self, state: _State, history: tuple[Step, ...]) -> None:
        if self.file is None:
            return
        tensors = {name: getattr(state, name) for name in _KEPT}
        tensors |= {f"weights/{name}": value for name, value in state.weights.items()}
        numbers = {"step": state.step, "age": state.age, "passes": state.passes}
        self.file.save(tensors, numbers | {"history": [astuple(one) for one in history]})

    def load(self) -> tuple[_State | None, tuple[Step, ...]]:
        kept = None if self.file is None else self.file.load()
        if kept is None:
            return None, ()
        tensors, numbers = kept
        history = tuple(Step(*(tuple(v) if isinstance(v, list) else v for v in one)) for one in numbers["history"])  # type: ignore[arg-type]
        found = {key: value.to(self.device) for key, value in tensors.items()}
        weights = {key.removeprefix("weights/"): w for key, w in found.items() if key.startswith("weights/")}
        step, age, (forward, backward) = (numbers[name] for name in ("step", "age", "passes"))
        state = {name: found[name] for name in _KEPT}
        return _State(weights=weights, step=step, age=age, passes=(forward, backward), **state), history


def _first_gradients(problem: FullProblem) -> tuple[list[str], Tensor]:
    """Names, and sums and norms of the gradients at the first input, (names, C, 2): no digest sees what `forward` does."""
    one = replace(problem, x=take(problem.x, slice(0, 1)), targets=problem.targets[:, :1], trace=None)
    found = one.backward(torch.ones_like(one.targets))
    wide = [g[..., None].flatten(1) for g in found.values()]
    sizes = [torch.stack((g.sum(1, dtype=torch.float64), g.norm(dim=1, dtype=torch.float64)), 1) for g in wide]
    return list(found), torch.stack(sizes)
