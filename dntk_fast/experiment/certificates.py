"""How tight the certificates are, and how many steps refinement takes, where the truth is known: digits, conv8.

The exact kernel of training and held-out images together gives gradients in coordinates (`formed`), rounded to float32;
distilled weights come from the network. From there on all is the problem with these gradients: certificates and refinement
in float32 or float64, the truth in float64 from an eigendecomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast.bench.race import circumstances
from dntk_fast.certificates.certificate import (
    Certificate,
    HeldOut,
    HeldOutBounds,
    Subset,
    SubsetResidual,
    certified,
    certify,
    held_out,
    held_out_bounds,
    training_subset,
)
from dntk_fast.certificates.conjugate_gradients import refine
from dntk_fast.certificates.full_problem import FullProblem, residual
from dntk_fast.certificates.parameter_weights import Weights, inner, parameter_weights
from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.distillation.row_samplers import draw_rows, random_rows
from dntk_fast.experiment.formed import FormedJacobian, joint_factor
from dntk_fast.files.stages import Stage, StageStore
from dntk_fast.kernels.predictors import KernelProblem, weigh_rows
from dntk_fast.kernels.ridge import ridge_weights
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.products import jacobian_vector
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build
from dntk_fast.workflow.training import train

__all__ = ["FULL", "MARKS", "QUICK", "RIDGES", "Setting", "run"]

# Steps of which everything is kept.
MARKS = (0, 5, 15, 30)
RIDGES = {"1e-2": 1e-2, "1e-3": 1e-3, "chosen": None}


@dataclass(frozen=True)
class Setting:
    """What is run: so many networks, so many sketches of the first (one of each other), and steps at each of RIDGES."""

    networks: int = 4
    sketches: int = 20
    epochs: int = 15
    per_class: int = 50
    distil_steps: int = 20
    k: int = 2048
    subset: int = 200
    steps: tuple[int, ...] = (30, 45, 30)
    images: int | None = None  # the first training images, and as many held-out ones; None means all


FULL = Setting()
QUICK = Setting(
    networks=2, sketches=2, epochs=1, per_class=1, distil_steps=0, k=32, subset=8, steps=(5, 5, 5), images=50
)


def run(
    setting: Setting,
    folder: str | Path,
    *,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Run what is not finished in the folder, and return all numbers.

    Returns
    -------
    dict
        `networks`: accuracy, ridges, effective dimensions; `starts`: bounds over truth of the distilled weights, a row for
        each network, ridge and sketch; `refinements`: a row for each network, ridge, choice of rows and precision, with
        the worst class's relative held-out RMS and its bound at every step; `violations`: how often a bound was below the
        truth, over all points, classes, sketches and steps.
    """
    settings, inputs = asdict(setting) | {"steps": list(setting.steps)}, {"data": load("digits").fingerprint}
    with StageStore(folder, settings, inputs=inputs, overwrite=overwrite) as store:
        return _measured(setting, store, progress or (lambda stage, done, total: None))


def _measured(setting: Setting, store: StageStore, tell: Callable[[str, int, int], None]) -> dict[str, Any]:
    record: dict[str, Any] = circumstances() | {"setting": store.config}
    record |= {"networks": [], "starts": [], "refinements": []}
    for number in range(setting.networks):
        sketches = range(setting.sketches if number == 0 else 1)
        tell(f"network {number}", 0, 1)
        subject = _Subject(setting, number, store)
        cells = list(subject.cells())
        total = 1 + len(sketches) + len(cells)
        record["networks"].append(dict(subject.stage.numbers))
        for sketch in sketches:
            tell(f"network {number}", 1 + sketch, total)
            record["starts"] += subject.start(sketch).numbers["rows"]
        for place, cell in enumerate(cells):
            tell(f"network {number}", 1 + len(sketches) + place, total)
            record["refinements"].append(subject.refinement(*cell).numbers["row"])
        tell(f"network {number}", total, total)
    rows = record["starts"] + record["refinements"]
    return record | {"violations": sum(row["violations"] for row in rows), "complete": True}


class _Subject:
    """One network: its gradients in coordinates, the truth at any ridge, and what is measured against it."""

    def __init__(self, setting: Setting, number: int, store: StageStore) -> None:
        self.setting, self.number, self.store = setting, number, store
        data = load("digits")
        count = setting.images or len(data.x_train)
        self.x, self.labels = data.x_train[:count], data.y_train[:count]
        self.new, self.new_labels = data.x_test[:count], data.y_test[:count]
        self.train = torch.arange(len(self.x))
        self.test = len(self.x) + torch.arange(len(self.new))
        self.blank = build("conv8", seed=Config(seed=number).seeds["network"])
        self.stage = store.run(f"network {number}", self._prepared)
        found = self.stage.numbers
        relative = {name: value or found["chosen"] for name, value in RIDGES.items()}
        if any(math.isclose(found["chosen"], value) for value in RIDGES.values() if value):
            del relative["chosen"]  # it is one of the others
        self.lams: dict[str, float] = {name: value * found["scale"] for name, value in relative.items()}
        self.y = self.stage.arrays["logits"][:, self.train]

    def cells(self) -> Iterator[tuple[str, str, str]]:
        """Ridge, choice of rows and precision of every refinement."""
        for ridge in self.lams:
            yield ridge, "random", "float32"
            if self.number == 0 and ridge != "chosen":
                yield ridge, "leverage", "float32"
                yield ridge, "random", "float64"

    def _prepared(self) -> Stage:
        seeds, s = Config(seed=self.number).seeds, self.setting
        model = train(self.blank, self.x, self.labels, epochs=s.epochs, seed=seeds["network"]).model
        both = torch.cat((self.x, self.new))
        with torch.no_grad():
            logits = model(both).T.contiguous()
        options: dict[str, Any] = {"per_class": s.per_class, "seed": seeds["distillation"], "steps": s.distil_steps}
        made = distil_images(model, self.x, self.labels, **options)
        kernel = tangent_kernel(model, both)
        n = len(self.x)
        fit = KernelProblem(kernel[:, :n, :n], kernel[:, n:, :n]).fit(logits[:, :n])
        scale = fit.lam / fit.lam_relative
        arrays = {"factor": joint_factor(kernel), "logits": logits, "images": made.images, "masses": made.weights}
        arrays |= {"soft": made.logits.T.contiguous()}
        arrays |= {f"weights.{name}": value for name, value in model.state_dict().items()}
        numbers = {
            "network": self.number,
            "accuracy": float((logits[:, n:].argmax(0) == self.new_labels).double().mean()),
            "chosen": fit.lam_relative,
            "on_edge": fit.on_edge,
            "scale": scale,
        }
        return Stage(arrays, numbers)

    @cached_property
    def model(self) -> nn.Module:
        mark, arrays = "weights.", self.stage.arrays
        self.blank.load_state_dict({key.removeprefix(mark): w for key, w in arrays.items() if key.startswith(mark)})
        return self.blank.eval()

    @cached_property
    def gradients(self) -> Tensor:
        return self.stage.arrays["factor"].double()

    @cached_property
    def pair(self) -> tuple[Tensor, Tensor]:
        rows = self.gradients[:, self.train]
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        return values.clamp(min=0.0), vectors

    @lru_cache(maxsize=4)  # noqa: B019 - a subject lives as long as its network is looked at
    def star(self, ridge: str) -> Tensor:
        """The full solution in coordinates, (C, N)."""
        values, U = self.pair
        shrunk = (U.mT @ self.y.double()[..., None])[..., 0] / (values + self.lams[ridge])
        alpha = (U @ shrunk[..., None])[..., 0]
        return (alpha[:, None] @ self.gradients[:, self.train])[:, 0]

    @lru_cache(maxsize=4)  # noqa: B019
    def measured(self, ridge: str, kind: str, dtype: str) -> tuple[FullProblem, Subset, HeldOut]:
        features = self.gradients if dtype == "float64" else self.stage.arrays["factor"]
        problem = FullProblem(FormedJacobian(features), self.train, self.y.to(features), self.lams[ridge])
        if kind == "random":
            rows = torch.from_numpy(random_rows(problem.n, self.setting.subset, seed=self.number))
        else:
            values, U = self.pair
            scores = (U.square() @ (values / (values + self.lams[ridge]))[..., None])[..., 0]
            rows = draw_rows(scores.mean(0), self.setting.subset, seed=self.number)
        subset = training_subset(problem, rows)
        return problem, subset, held_out(subset, self.test)

    def start(self, sketch: int) -> Stage:
        """Distilled weights in coordinates at each ridge, and how tight their certificate is."""
        return self.store.run(f"network {self.number}, start {sketch}", lambda: self._started(sketch))

    def _started(self, sketch: int) -> Stage:
        arrays, rows = self.stage.arrays, []
        found: Weights = {}
        made = tangent_features(self.model, arrays["images"], k=self.setting.k, seed=sketch)
        features, targets = weigh_rows(made.values, arrays["soft"], arrays["masses"])
        both = torch.cat((self.x, self.new))
        for ridge, lam in self.lams.items():
            w = parameter_weights(ridge_weights(features, targets, lam), self.model, made.plan)
            fitted = jacobian_vector(self.model, both, w).double()
            span = torch.linalg.solve_triangular(self.gradients, fitted[..., None], upper=False)[..., 0]
            rest = (inner(w, w) - span.square().sum(1)).clamp(min=0.0).sqrt()[:, None]
            found |= {f"{ridge}/span": span, f"{ridge}/rest": rest}
            problem, subset, held = self.measured(ridge, "random", "float32")
            weights = {"span": span.float(), "rest": rest.float()}
            seen = SubsetResidual(subset, residual(problem, weights))
            row = self.judged(ridge, weights, certify(seen), held_out_bounds(seen, held))
            rows.append({"network": self.number, "ridge": ridge, "sketch": sketch} | row)
        return Stage(found, {"rows": rows})

    def refinement(self, ridge: str, kind: str, dtype: str) -> Stage:
        """Refinement from the first distilled weights, one step at a time, so that the truth is known at each."""
        name = f"network {self.number}, {ridge}, {kind}, {dtype}"
        return self.store.run(name, lambda: self._refined(ridge, kind, dtype, self.store.path(name, ".checkpoint")))

    def _refined(self, ridge: str, kind: str, dtype: str, file: Path) -> Stage:
        problem, subset, held = self.measured(ridge, kind, dtype)
        arrays = self.start(0).arrays
        weights = {name: arrays[f"{ridge}/{name}"].to(problem.precision) for name in ("span", "rest")}
        file.unlink(missing_ok=True)
        steps = []
        for step in range(self.setting.steps[list(RIDGES).index(ridge)] + 1):
            found = refine(problem, weights, subset, held, rms=0.0, steps=min(step, 1), checkpoint=file)
            steps.append({"step": step} | self.judged(ridge, found.weights, found.certificate, found.held_out))
        file.unlink(missing_ok=True)
        row = {"network": self.number, "ridge": ridge, "rows": kind, "precision": dtype}
        row |= {name: [one[name] for one in steps] for name in ("error", "bound")}
        row |= {"marks": [one for one in steps if one["step"] in MARKS]}
        return Stage({}, {"row": row | {"violations": sum(one["violations"] for one in steps)}})

    def judged(self, ridge: str, weights: Weights, own: Certificate, bounds: HeldOutBounds) -> dict[str, Any]:
        """Bounds against the truth: ratios (median over classes and worst), and how many bounds are below it."""
        n, star, lam = len(self.x), self.star(ridge), self.lams[ridge]
        rest = weights["rest"].double()[:, 0]
        span = weights["span"].double() - star
        off = (self.gradients @ span[..., None])[..., 0]
        fit, error = off[:, :n], off[:, n:]
        truth = (self.gradients[:, n:] @ star[..., None])[..., 0]
        squared = span.square().sum(1) + rest.square()
        excess = (fit.square().sum(1) + lam * squared) / 2
        rms, training = error.square().mean(1).sqrt(), fit.square().mean(1).sqrt()
        sure = certified(truth + error, bounds.pointwise)
        pairs = ((error.abs(), bounds.pointwise), ((error - bounds.centre).abs(), bounds.half_width), (rms, bounds.rms),
                 (training, own.training_rms), (excess, own.excess), (excess, own.duality_gap),
                 (squared.sqrt(), own.weights), ((truth + error).argmax(0)[sure], truth.argmax(0)[sure]))  # fmt: skip
        size = truth.square().mean(1).sqrt()
        largest = bounds.pointwise.amax(1) / error.abs().amax(1)
        return {
            "error": float((rms / size).max()),
            "bound": float((bounds.rms / size).max()),
            "held_out": _spread(bounds.rms / rms),
            "training": _spread(own.training_rms / training),
            "pointwise": _spread(largest),
            "certified": float(sure.double().mean()),
            "agree": float(((truth + error).argmax(0) == truth.argmax(0)).double().mean()),
            "violations": sum(int((below > above).sum()) for below, above in pairs[:-1])
            + int((pairs[-1][0] != pairs[-1][1]).sum()),
        }


def _spread(ratios: Tensor) -> dict[str, float]:
    return {"median": float(ratios.median()), "worst": float(ratios.max())}
