"""Every way to a predictor on one trained network, piece by piece: what `dntk bench headline` times and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast.bench.prices import APPROACHES, Size
from dntk_fast.certificates.certificate import FullProblem, held_out, training_subset
from dntk_fast.certificates.conjugate_gradients import Solution, solve
from dntk_fast.distillation.data_distillation import DistilledImages, distil_images
from dntk_fast.distillation.gradient_distillation import METHODS, Distilled, PreparedKernel
from dntk_fast.kernels.moments import accumulate, merge, moments_of
from dntk_fast.kernels.predictors import KernelProblem, fit_features, weigh_rows
from dntk_fast.kernels.ridge import GRID_EXPONENTS, choose_ridge
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.head import final_linear, penultimate
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.models import parameter_count

__all__ = ["QUICK", "FittedPredictor", "Settings", "TrainedNetwork"]

# Conjugate gradients stop where the error at so many training images is certified to this share of the logits' deviation.
POINTS, SHARE = 64, 0.05
# A direction of distilled rows counts when its squared singular value is above this share of the largest.
RTOL = 1e-12


@dataclass(frozen=True)
class Settings:
    """Sizes of the ways: distilled images and updates, coordinates, synthetic gradients, conjugate gradient steps.

    `train` and `epochs` say how many images the network sees (all if None), and how often; `use` images are predicted at a
    use, the stream comes in parts of `part`.
    """

    per_class: int = 50
    updates: int = 200
    k: int = 2048
    gradients: int = 5
    epochs: int = Config.epochs
    train: int | None = None
    steps: int = 50
    use: int = 1_000
    part: int = 256


QUICK = Settings(per_class=8, updates=5, k=64, gradients=5, epochs=2, train=160, steps=3, use=64, part=80)


@dataclass(frozen=True, eq=False)
class FittedPredictor:
    """A fitted way: weights (C, width) or by parameter name, the arrays that stand when it is done, and its ridge."""

    weights: Any
    arrays: tuple[Tensor, ...]
    lam: float
    lam_relative: float
    found: Any = None

    @property
    def bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays)


@dataclass(eq=False)
class TrainedNetwork:
    """A trained network with its data, and every piece of `prices.pieces` done on them; `made` keeps the results."""

    model: nn.Module
    x: Tensor
    labels: Tensor
    test: Tensor
    settings: Settings
    seeds: Mapping[str, int]
    made: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def targets(self) -> Tensor:
        """The network's logits at the training images, (C, n)."""
        return self.logits(self.x)

    @cached_property
    def images(self) -> Tensor:
        """The images of one use: held-out ones, in turn."""
        return self.test[torch.arange(self.settings.use) % len(self.test)]

    def logits(self, x: Tensor) -> Tensor:
        """Logits of the network, (C, n)."""
        with torch.no_grad():
            return torch.cat([self.model(part) for part in x.split(256)]).T.contiguous()

    def features(self, x: Tensor) -> Tensor:
        """Projected gradients with the exact head, (C, n, width)."""
        return tangent_features(self.model, x, k=self.settings.k, seed=self.seeds["sketch"]).values

    # --- pieces, each from what was made before -----------------------------------------------------------------------

    def distillation(self) -> DistilledImages:
        """WMDD (4.1): images, masses, soft labels."""
        own = self.settings
        return distil_images(
            self.model, self.x, self.labels, per_class=own.per_class, steps=own.updates, seed=self.seeds["distillation"]
        )

    def exact_kernel(self) -> FittedPredictor:
        """Exact kernel ridge regression, and its weights in parameter space."""
        kernel = tangent_kernel(self.model, self.x)
        fit = KernelProblem(kernel, kernel[:, :0]).fit(self.targets)
        weights = vector_jacobian(self.model, self.x, fit.weights)
        return FittedPredictor(weights, (kernel, *weights.values()), fit.lam, fit.lam_relative)

    def all_features(self) -> FittedPredictor:
        """Ridge regression on the projected gradients of all training images."""
        return self._regression(self.features(self.x), self.targets)

    def distilled_features(self) -> FittedPredictor:
        """The same on the distilled images, weighted by their masses."""
        made: DistilledImages = self.made["distillation"]
        rows, targets = weigh_rows(self.features(made.images), made.logits.T, made.weights)
        return self._regression(rows, targets, found=targets)

    def synthesis(self, method: str) -> FittedPredictor:
        """Synthetic gradients of the distilled rows, and the predictor that they make."""
        base: FittedPredictor = self.made["features, distilled"]
        (rows,) = base.arrays
        prepared = PreparedKernel(rows.double() @ rows.double().mT)
        options = {"m": self.settings.gradients, "lam": base.lam, "seed": self.seeds["sampler"]}
        found: Distilled = METHODS[method](rows, prepared, base.found, **options)
        arrays = (prepared.kernel, found.synthesis.double())
        return FittedPredictor(found.weights.double(), arrays, base.lam, base.lam_relative, found)

    def moments(self) -> FittedPredictor:
        """Streaming ridge regression: one walk through the images; the last part chooses the ridge, then joins in."""
        parts, targets = (whole.split(self.settings.part) for whole in (self.x, self.targets.T))

        def part(i: int) -> tuple[Tensor, Tensor]:
            return self.features(parts[i]), targets[i].T

        first, last = accumulate(part, len(parts) - 1), part(len(parts) - 1)
        scale = float(first.total.mean()) / first.n
        grid = torch.tensor([scale * 10.0**exponent for exponent in GRID_EXPONENTS], dtype=torch.float64)
        fitted = torch.stack([_applied(last[0], first.ridge_weights(float(lam))) for lam in grid])
        choice = choose_ridge((fitted - last[1].double()).square().mean(1), grid)
        whole = merge(first, moments_of(*last))
        arrays = (whole.gram, whole.right, whole.squares, last[0])
        return FittedPredictor(whole.ridge_weights(choice.lam), arrays, choice.lam, choice.lam / scale)

    def conjugate_gradients(self) -> FittedPredictor:
        """The exact kernel's ridge regression without the kernel, preconditioned by the features of all images."""
        base: FittedPredictor = self.made["features, all images"]
        problem = FullProblem(self.model, self.x, self.targets, base.lam)
        nothing = training_subset(problem, torch.zeros(0, dtype=torch.int64))
        points = held_out(nothing, self.x[:POINTS], spread="trace")
        rms = SHARE * float(self.targets.double().std())
        found: Solution = solve(problem, base.arrays[0], points, rms=rms, steps=self.settings.steps)
        arrays = (found.coefficients, *found.weights.values())
        return FittedPredictor(found.weights, arrays, base.lam, base.lam_relative, found)

    def last_layer(self) -> FittedPredictor:
        """Ridge regression on the input of the last layer alone (`theorem_r`)."""
        h = self._head(self.x)
        fit = fit_features(
            h.expand(len(self.targets), -1, -1), self.targets, h[None, :0].expand(len(self.targets), -1, -1)
        )
        return FittedPredictor(fit.weights, (h,), fit.lam, fit.lam_relative)

    # --- predictions of one use ----------------------------------------------------------------------------------------

    def predict(self, piece: str, machine: FittedPredictor, x: Tensor) -> Tensor:
        """Predict by the given route, (C, t)."""
        if piece == "features":
            return _applied(self.features(x), machine.weights)
        if piece == "J v":
            return jacobian_vector(self.model, x, machine.weights)
        return _applied(self._head(x).expand(len(self.targets), -1, -1), machine.weights)

    def _head(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = penultimate(self.model, x)
        return torch.cat([h, h.new_ones(len(h), 1)], 1)

    def _regression(self, rows: Tensor, targets: Tensor, found: Any = None) -> FittedPredictor:
        fit = fit_features(rows, targets, rows[:, :0])
        return FittedPredictor(fit.weights, (rows,), fit.lam, fit.lam_relative, found)

    def jobs(self) -> dict[str, Callable[[], Any]]:
        """Return every piece as work to be done in this order."""
        predictions = {
            "features": ("features, all images", "features"),
            "J v": ("exact kernel", "J v"),
            "last layer, predictions": ("last layer", "last layer, predictions"),
        }
        return {
            "distillation": self.distillation,
            "exact kernel": self.exact_kernel,
            "features, all images": self.all_features,
            "features, distilled": self.distilled_features,
            "Algorithm 1": lambda: self.synthesis("local-global"),
            "top eigenvectors": lambda: self.synthesis("top eigenvectors"),
            "moments": self.moments,
            "conjugate gradients": self.conjugate_gradients,
            "last layer": self.last_layer,
        } | {
            name: lambda fit=fit, route=route: self.predict(route, self.made[fit], self.images)
            for name, (fit, route) in predictions.items()
        }

    def size(self) -> Size:
        """Return everything that the counts depend on; all pieces must have been made."""
        own, last = self.settings, self.made["conjugate gradients"].found.history[-1]
        _, head = final_linear(self.model, self.x)
        plan = feature_plan(self.model, self.x[: own.part], k=own.k, seed=self.seeds["sketch"])
        return Size(
            n=len(self.x),
            t=own.use,
            outputs=len(self.targets),
            parameters=parameter_count(self.model),
            pixels=self.x[0].numel(),
            k=own.k,
            head=head.in_features + 1,
            images=len(self.made["distillation"].images),
            updates=own.updates,
            gradients=own.gradients,
            plan=kernel_plan(self.model, self.x),
            forwards=-(-plan.outputs // plan.classes),
            steps=last.step,
            sweeps=last.forward_passes,
            points=min(POINTS, len(self.x)),
            part=own.part,
        )

    def kernel_errors(self) -> dict[str, float]:
        """Judge the kernel that each way stands for, |K - K^|_F / |K|_F on the training images, K exact; means over classes.

        K^ = Phi~ Phi~^T of projected features, Phi~ Pi Phi~^T with Pi the projector on the distilled or synthetic rows, and
        h h^T of the last layer's input; the exact ways have none.
        """
        K = self.made["exact kernel"].arrays[0]
        Phi = self.made["features, all images"].arrays[0].double()
        rows = self.made["features, distilled"].arrays[0].double()
        h = self.made["last layer"].arrays[0].double()
        cross, own = Phi @ rows.mT, rows @ rows.mT
        whole = Phi @ Phi.mT
        found = {"JL only": whole, "streaming ridge": whole, "last layer": (h @ h.T).expand_as(K)}
        found["WMDD + JL"] = _spanned(cross, own)
        for name in ("Algorithm 1", "top eigenvectors"):
            U = self.made[name].arrays[1]
            found[f"DNTK, {name}"] = _spanned(cross @ U, U.mT @ own @ U)
        exact = {name: 0.0 for name in APPROACHES if name not in found}
        return exact | {name: _distance(K, made) for name, made in found.items()}


def _spanned(cross: Tensor, own: Tensor) -> Tensor:
    """K_S of the span of some rows S: cross own^+ cross^T."""
    values, V = torch.linalg.eigh(own)
    keep = values > RTOL * values[:, -1:]
    F = cross @ (V * torch.where(keep, values.clamp(min=1e-300).rsqrt(), 0.0)[:, None])
    return F @ F.mT


def _distance(K: Tensor, found: Tensor) -> float:
    axes = (1, 2)
    return float((torch.linalg.vector_norm(found - K, dim=axes) / torch.linalg.vector_norm(K, dim=axes)).mean())


def _applied(features: Tensor, weights: Tensor) -> Tensor:
    return (features.double() @ weights.double()[..., None])[..., 0]
