"""How far the distilled predictor is from the full kernel, and what it takes to close the distance.

The full predictor is ridge regression with the exact kernel on all real training images. Nothing here needs that kernel:
the distance is bounded by passes over the data, and the refinement goes to it by passes over the data. Where the exact
solution is known (`steps.full_kernel` keeps it), the true error stands beside every bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dntk_fast import _check
from dntk_fast.certificates.certificate import (
    FullProblem,
    HeldOut,
    Subset,
    SubsetResidual,
    Weights,
    certified,
    certify,
    duality_gap_at,
    fidelity_bound,
    held_out,
    held_out_bounds,
    inner,
    parameter_weights,
    residual,
    training_subset,
)
from dntk_fast.certificates.conjugate_gradients import Step, solve
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.files.stages import Stage
from dntk_fast.kernels.predictors import scores
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.head import final_linear, head_weights
from dntk_fast.tangent.result import FeaturePlan
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.models import parameter_count

__all__ = ["Inputs", "distance_to_full", "looks_beside", "refinement_steps"]

Numbers = dict[str, Any]
# The projected gradients of all training rows, in float64, and the kernel of the held-out images.
FEATURE_BYTES = 1_500_000_000
HELD_OUT_BYTES = 3_000_000_000
# Of one image and logit in one step, in forward passes: J v two to three, the backward pass two, its share of a forward.
STEP_FORWARDS = 5


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the stage looks at: the network, its data, and the stages before it.

    Attributes
    ----------
    full : of the full kernel: its ridge, and its exact solution if there is one
    made, base : the distilled images, and ridge regression on their features
    test, network : features of the held-out images, and the stage of the network, which holds its logits
    """

    model: nn.Module
    data: Dataset
    full: Stage
    made: Stage
    base: Stage
    test: Stage
    network: Stage
    config: Config

    @cached_property
    def problem(self) -> FullProblem:
        """The full problem, at the full predictor's ridge."""
        lam = self.full.numbers["full_kernel"]["lam"]
        return FullProblem(self.model, self.data.x_train, self.network.arrays["logits.train"], lam)

    @cached_property
    def plan(self) -> FeaturePlan:
        """How the distilled images' features were made."""
        k, seed = self.config.k, self.config.seeds["sketch"]
        return feature_plan(self.model, self.made.arrays["images"], k=k, seed=seed)

    @cached_property
    def weights(self) -> Weights:
        """The distilled predictor's weights in parameter space."""
        return parameter_weights(self.base.arrays["weights"], self.model, self.plan)

    @cached_property
    def subset(self) -> Subset:
        """Training rows drawn at random."""
        generator = torch.Generator().manual_seed(self.config.seeds["certificate"])
        rows = torch.randperm(self.problem.n, generator=generator)[: self.config.certificate_rows]
        return training_subset(self.problem, rows.sort().values)

    @cached_property
    def held(self) -> HeldOut:
        """The held-out images as the subset sees them."""
        C, t = self.network.arrays["logits.test"].shape
        spread = "kernel" if 8 * C * t * t <= HELD_OUT_BYTES else "trace"
        return held_out(self.subset, self.data.x_test, spread=spread)

    @cached_property
    def features(self) -> Tensor:
        """Projected gradients of all training rows: what they miss of the subset's rows, the subset adds."""
        C, n = self.problem.targets.shape
        _, head = final_linear(self.model, self.data.x_train[:2])
        body = parameter_count(self.model) - parameter_count(head)
        k = max(1, min(self.config.refine_k, body, FEATURE_BYTES // (8 * C * n)))
        found = tangent_features(self.model, self.data.x_train, k=k, seed=self.config.seeds["certificate"])
        return self.subset.completed(found.values)

    def exact(self, name: str) -> Tensor | None:
        """The full predictor's `predictions` (C, t) or `coefficients` (C, n), where they are known."""
        return self.full.arrays.get(name)

    @cached_property
    def exact_fitted(self) -> Tensor | None:
        """The full predictor on its training images, K alpha = y - lam alpha."""
        alpha = self.exact("coefficients")
        return None if alpha is None else self.problem.targets.double() - self.problem.lam * alpha


def distance_to_full(given: Inputs, progress: Callable[[int, int], None], checkpoint: Path) -> Stage:
    """Certify the distilled predictor against network and full kernel; refine; certify every step, and it again.

    Parameters
    ----------
    given : the network, the data, and the stages before
    progress : called with (done, total) steps
    checkpoint : a file of the refinement, continued if it is there; one with the predictions stands beside it

    Returns
    -------
    Stage
        arrays `predictions` (steps + 1, C, t) of the refined predictor and `distilled` (C, t); `radius` (steps + 1, C) and
        `scale` (C, t), whose product bounds their errors; `centre` and `half_width` (C, t), between which the distilled
        predictor's error lies at the start. Its numbers are the sections `distance` and `refined` of a report.
    """
    problem, steps = given.problem, refinement_steps(given.model, given.data, given.config)
    fitted = problem.predict(given.weights, given.data.x_train)
    distilled = problem.predict(given.weights, given.data.x_test)
    seen = SubsetResidual(given.subset, residual(problem, given.weights, fitted=fitted))
    start = held_out_bounds(seen, given.held)
    looks = _Looks(given, distilled, checkpoint, lambda done: progress(done, steps))
    rms = given.config.refine_rms * _rms(given.network.arrays["logits.test"])
    solution = solve(problem, given.features, given.held, rms=rms, steps=steps - looks.done, checkpoint=checkpoint,
                     progress=looks)  # fmt: skip
    gap = duality_gap_at(problem, given.weights, solution.coefficients, fitted=fitted)
    predictions = looks.stacked()
    radius = torch.tensor([step.excess for step in solution.history], dtype=torch.float64).mul(2).sqrt()
    found = _Found(given, seen, gap, fitted, distilled, solution.fitted, predictions, radius, solution.history)
    arrays = {"predictions": predictions, "distilled": distilled, "radius": radius, "scale": given.held.scale}
    arrays |= {"centre": start.centre, "half_width": start.half_width, "rows": given.subset.rows}
    return Stage(arrays, found.numbers(), *_passes(given, solution.history), given.features.nbytes)


def refinement_steps(model: nn.Module, data: Dataset, config: Config) -> int:
    """Steps of the refinement: as many as the Config's operations allow, one at least, `refine_steps` at most.

    A step takes every training image and logit through the network forward and backward, and forward by tangents.

    >>> from dntk_fast import build, load
    >>> refinement_steps(build("conv8", seed=0), load("digits"), Config(refine_steps=4))
    4
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(data.x_train[:1])
    once = STEP_FORWARDS * counter.get_total_flops() * len(data.x_train) * len(data.classes)
    return max(1, min(config.refine_steps, int(config.refine_flops // max(once, 1))))


class _Looks:
    """Predictions on the held-out images at every step, kept beside the refinement's checkpoint."""

    def __init__(self, given: Inputs, distilled: Tensor, checkpoint: Path, tick: Callable[[int], None]) -> None:
        self.given, self.tick = given, tick
        owner = {"network": fingerprint(given.model), "held-out images": digest({"": given.data.x_test})}
        first = ("predictions of the distilled kernel", distilled)
        self.file = Checkpoint(looks_beside(checkpoint), "refinement's predictions", owner, first, torch.float32)
        self.done = int(Checkpoint.numbers(checkpoint).get("step", 0))
        kept = self.file.load() if checkpoint.exists() else None
        self.seen = {} if kept is None else kept[0]
        missing = sorted({str(step) for step in range(self.done)} - self.seen.keys())
        if missing:
            _check.refuse("checkpoint", f"predictions of every step in {self.file.path}", f"none of step {missing[0]}")

    def __call__(self, step: Step, weights: Weights) -> None:
        self.seen[str(step.step)] = self.given.problem.predict(weights, self.given.data.x_test)
        self.file.save(self.seen, {})
        self.tick(step.step)

    def stacked(self) -> Tensor:
        return torch.stack([self.seen[str(step)] for step in range(len(self.seen))])


def looks_beside(checkpoint: Path) -> Path:
    """Where the predictions at every step are kept while the refinement goes on.

    >>> looks_beside(Path("a.checkpoint.safetensors")).name
    'a.checkpoint.safetensors.looks'
    """
    return checkpoint.with_name(checkpoint.name + ".looks")


@dataclass(frozen=True, eq=False)
class _Found:
    """What was computed, made into the numbers of the report."""

    given: Inputs
    seen: SubsetResidual
    gap: Tensor
    fitted: Tensor
    distilled: Tensor
    refined_fitted: Tensor
    predictions: Tensor
    radius: Tensor
    history: tuple[Step, ...]

    def numbers(self) -> Numbers:
        lam = {key: self.given.full.numbers["full_kernel"][key] for key in ("lam", "lam_relative")}
        exact = self.given.exact("predictions")
        distance = {
            "rows": len(self.given.subset.rows),
            "k": self.given.features.shape[2],
            **lam,
            "exact": exact is not None,
            "scale": _rms(self.given.network.arrays["logits.test"] if exact is None else exact),
            "network": self.network(),
            "start": self.certificate(None),
            "end": self.certificate(self.gap),
            "steps": [self.step(step) for step in self.history],
        }
        return {"distance": distance, "refined": self.predictor()}

    def network(self) -> Numbers:
        """The certificate `head_preserving`: how far from the network, for features that keep the head."""
        base, logits = self.given.base, self.given.network.arrays["logits.test"]
        norm = (
            head_weights(self.given.model, self.given.plan.head, self.given.plan.columns or None).double().norm(dim=1)
        )
        test = self.given.test.arrays["values"]
        bounds = fidelity_bound(base.arrays["rows"].double(), norm, test.double(), base.numbers["lam"])
        said = torch.einsum("cnk,ck->cn", test.double(), base.arrays["weights"])
        same, _ = _settled(said, bounds, said)
        return _pair(_rms(bounds), _rms(said - logits)) | {"same": same, "truly_same": _agreement(said, logits)}

    def certificate(self, gap: Tensor | None) -> Numbers:
        """The distilled predictor's distance to the full one, by its own residual or by the refinement's dual point."""
        found, bounds = certify(self.seen, gap=gap), held_out_bounds(self.seen, self.given.held, gap=gap)
        exact, exact_fitted = self.given.exact("predictions"), self.given.exact_fitted
        reached, proven = bounds.rms, (self.distilled - bounds.centre, bounds.half_width)
        training = found.training_rms
        if gap is not None:
            reached = torch.minimum(reached, self.by_way_of(len(self.history) - 1))
            training = torch.minimum(training, self.by_way_of_fitted())
            proven = self.predictions[-1], self.radius[-1][:, None] * self.given.held.scale
        same, other = _settled(*proven, self.distilled)
        last = self.history[-1]
        more = 0 if gap is None else last.forward_passes + last.backward_passes + SETUP_PASSES
        return {
            "passes": OWN_PASSES + more,
            "held_out_rms": _pair(_rms(reached), None if exact is None else _rms(self.distilled - exact)),
            "training_rms": _pair(_rms(training), None if exact_fitted is None else _rms(self.fitted - exact_fitted)),
            "objective": _pair(float(found.excess.sum()), self.excess()),
            "duality_gap": float(found.duality_gap.sum()),
            "same": same,
            "other": other,
            "truly_same": _agreement(self.distilled, exact),
        }

    def excess(self) -> float | None:
        """J(w) - J(w_*) of the distilled weights, summed over classes; J(w_*) = lam / 2 <y, alpha>."""
        problem, alpha = self.given.problem, self.given.exact("coefficients")
        if alpha is None:
            return None
        y, norms = problem.targets.double(), inner(self.given.weights, self.given.weights)
        loss = ((self.fitted - y).square().sum(1) + problem.ridge * (norms - (y * alpha).sum(1))) / 2
        return max(0.0, float(loss.sum()))

    def by_way_of(self, step: int) -> Tensor:
        """Bound the distilled predictor's held-out RMS: how far to the refined one, and from there to the full one."""
        t = self.distilled.shape[1]
        between = (self.predictions[step] - self.distilled).norm(dim=1) / t**0.5
        return between + torch.tensor(self.history[step].held_out_rms, dtype=torch.float64)

    def by_way_of_fitted(self) -> Tensor:
        """Bound its training RMS in the same way, by the last step."""
        between = (self.refined_fitted - self.fitted).norm(dim=1) / self.fitted.shape[1] ** 0.5
        return between + torch.tensor(self.history[-1].training_rms, dtype=torch.float64)

    def step(self, step: Step) -> Numbers:
        said, exact = self.predictions[step.step], self.given.exact("predictions")
        bounds = self.radius[step.step][:, None] * self.given.held.scale
        refined, _ = _settled(said, bounds, said)
        same, other = _settled(said, bounds, self.distilled)
        reached = torch.tensor(step.held_out_rms, dtype=torch.float64)
        return {
            "step": step.step,
            "passes": step.forward_passes + step.backward_passes + SETUP_PASSES,
            **_pair(_rms(reached), None if exact is None else _rms(said - exact)),
            "same": refined,
            "truly_same": _agreement(said, exact),
            "distilled_bound": _rms(self.by_way_of(step.step)),
            "distilled_same": same,
            "distilled_other": other,
        }

    def predictor(self) -> Numbers:
        given, last = self.given, self.history[-1]
        full = given.full.numbers["full_kernel"]
        kept = {key: full[key] for key in ("lam", "lam_relative", "on_edge", "effective_dimension", "n")}
        measured = scores(self.predictions[-1], given.network.arrays["logits.test"], given.data.y_test)
        passes = {"forward": last.forward_passes, "backward": last.backward_passes + SETUP_PASSES}
        return (
            asdict(measured)
            | kept
            | {"method": f"{last.step} CG step{'s' * (last.step != 1)}", "steps": last.step}
            | passes
        )


# Over the training rows, beside those of the steps: the squared norms of all gradients, and their projections; for the
# distilled weights J v and J^T a, and the squared norms at first, J^T a at the refinement's dual point in the end.
SETUP_PASSES = 2
OWN_PASSES = 3


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _pair(bound: float, truth: float | None) -> Numbers:
    """A bound, the true value if it is known, and how many times too large the bound is."""
    return {"bound": bound, "truth": truth, "looseness": bound / truth if truth else None}


def _settled(said: Tensor, bounds: Tensor, own: Tensor) -> tuple[float, float]:
    """Shares of points whose class is proven by `said` +- `bounds`, and is that of `own`, or another."""
    proven, same = certified(said.double(), bounds.double()), said.argmax(0) == own.argmax(0)
    return float((proven & same).double().mean()), float((proven & ~same).double().mean())


def _agreement(said: Tensor, exact: Tensor | None) -> float | None:
    return None if exact is None else float((said.argmax(0) == exact.argmax(0)).double().mean())


def _passes(given: Inputs, history: tuple[Step, ...]) -> tuple[int, int]:
    """Images forward, tangents of J v among them (image and logit), and image-logit pairs backward."""
    (C, n), t, m = given.problem.targets.shape, len(given.data.x_test), len(given.subset.rows)
    # The distilled weights: J v and J^T a, and J^T a at the dual point; then the refinement and what it stands on.
    forward, backward = history[-1].forward_passes + 1, history[-1].backward_passes + 2 + SETUP_PASSES
    kernels = 2 * (m + t) + n + m  # of the rows, of held-out and of training images with them, of held-out images
    looks = C * t * (2 * len(history) + 1) + 3 * C * (m + t)
    return backward * n + C * forward * n + looks + kernels, C * (backward * n + kernels + 2 * m)
