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
    held_out_bounds,
    inner,
    residual,
)
from dntk_fast.models import digest, read_tensors, write_tensors

__all__ = ["Refinement", "Step", "refine"]

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
    owner = "" if path is None else _owner(problem, held)
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
    zeros = {name: torch.zeros_like(w) for name, w in weights.items()}
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


# --- the checkpoint ---------------------------------------------------------------------------------------------------


def _owner(problem: FullProblem, held: HeldOut) -> str:
    """What a checkpoint belongs to: the network, the inputs, the targets and the ridge."""
    tensors = {f"model.{name}": value for name, value in problem.model.state_dict().items()}
    tensors |= {"targets": problem.targets, "lam": problem.ridge}
    for kind, x in (("x", problem.x), ("held", held.x)):
        parts = x.items() if isinstance(x, dict) else enumerate(x if isinstance(x, tuple) else (x,))
        tensors |= {f"{kind}.{name}": part for name, part in parts}
    return digest(tensors)


def _save(path: Path, owner: str, state: _State, history: tuple[Step, ...]) -> None:
    tensors = {"fitted": state.fitted, "energy": state.energy}
    tensors |= {"norm": state.residual.norm, "allowance": state.residual.allowance, "moved": state.moved}
    for kind, values in _named(state).items():
        tensors |= {f"{kind}/{name}": value.contiguous() for name, value in values.items()}
    numbers = {
        "step": state.step,
        "age": state.age,
        "passes": state.passes,
        "history": [astuple(one) for one in history],
    }
    write_tensors(path, tensors, {"owner": owner, "numbers": json.dumps(numbers)})


def _named(state: _State) -> dict[str, Weights]:
    return {"weights": state.weights, "residual": state.residual.values, "direction": state.direction}


def _load(path: Path, owner: str, problem: FullProblem) -> tuple[_State, tuple[Step, ...]]:
    tensors, words = read_tensors(path)
    if words.get("owner") != owner:
        _check.refuse("checkpoint", "one of the same network, inputs, targets and lam", f"another one in {path}")
    tensors = {key: value.to(problem.targets.device) for key, value in tensors.items()}

    def named(kind: str) -> Weights:
        return {key.removeprefix(f"{kind}/"): value for key, value in tensors.items() if key.startswith(f"{kind}/")}

    numbers = json.loads(words["numbers"])
    history = tuple(Step(*(tuple(v) if isinstance(v, list) else v for v in one)) for one in numbers["history"])  # type: ignore[arg-type]
    state = _State(
        named("weights"),
        tensors["fitted"],
        Residual(named("residual"), tensors["norm"], tensors["allowance"]),
        named("direction"),
        tensors["energy"],
        tensors["moved"],
        numbers["step"],
        numbers["age"],
        (numbers["passes"][0], numbers["passes"][1]),
    )
    return state, history
