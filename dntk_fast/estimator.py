"""DistilledNTK: fit, predict, save and load the distilled tangent kernel of a user's own network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._alone import alone, alone_with
from dntk_fast.certificates.parameter_weights import Weights, parameter_weights
from dntk_fast.distillation.gradient_distillation import METHODS
from dntk_fast.distillation.selection import Cost
from dntk_fast.distillation.spanning import IMAGES, STEPS, Spanning, spanning_cost, spanning_images
from dntk_fast.files.bundle import read_bundle, write_bundle
from dntk_fast.files.fingerprint import fingerprint, same_to_rounding
from dntk_fast.kernels.joint import (
    BlockProblem,
    block_kernel,
    joint_weights,
    least_coordinates,
    sketched_block_kernel,
    sketched_weights,
)
from dntk_fast.kernels.predictors import KernelProblem, fit_features, weigh_rows
from dntk_fast.tangent.batches import in_any_mode
from dntk_fast.tangent.features import TangentFeatures, tangent_features
from dntk_fast.tangent.head import final_linear
from dntk_fast.tangent.isolation import own_copy
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian

__all__ = ["DistilledNTK"]

FORMAT = 3
_SETTINGS = ("per_class", "images", "solve", "cotangents", "k", "seed", "steps", "gradients", "method", "lam")
_NUMBERS = ("lam", "lam_relative", "sketch_error")
_COST = ("choosing_forward", "choosing_backward", "kept_forward", "kept_backward", "full")
_OPTIONAL = ("rows", "images", "masses")
_WEIGHT = "weights."
_SAVED = "a saved distilled kernel"
_LARGEST = 2**31  # numbers in an input: what a folder says is not taken for a reason to fill the memory


class DistilledNTK:
    """Kernel ridge regression with the distilled tangent kernel of a trained classifier.

    f_hat_c(x) = phi_c(x) . w   (Eqs 3, 16, 19),
    w = argmin_w sum_i sum_c (phi_c(s_i) . w - f_c(s_i))^2 + lam |w|^2

    over images s_i: one weight vector for all logits in T_S, the span of all their gradients ("joint"); "per class" has one
    w_c for each logit in the span of its own gradients alone, and costs as many passes. Targets are the network's own
    logits; the ridge is chosen by leaving out images.

    Parameters
    ----------
    model : nn.Module
        A trained classifier with logits (n, C), in evaluation mode. It is not changed.
    per_class : int
        Images of each class; on average where the choice does not look at classes.
    images : str
        "pool": of a random pool of 5 n_S images those whose activations span best, by forward passes alone; "random",
        "stratified", "medoids": see `choose_rows`; "wmdd": the paper's, images moved to the barycentres of their class;
        "tuned": images of the pool moved so that their gradients span (`tune_images`).
    solve : str
        "joint" or "per class".
    cotangents : int or None
        1 takes C times as many images and one random mixture of logits of each; None takes all logits. Joint solve only.
    k : int or None
        Coordinates kept of each body gradient (at least 8 n_S C for the joint solve); None is exact.
    seed : int
        Seed of the choice, the cotangents, the sketch and the sampler.
    steps : int or None
        Updates of images that are made; None takes the default of `images`.
    gradients : int or None
        Synthetic gradients per logit (4.3-4.4), which need k and the solve per class; None keeps all gradients.
    method : str
        How they are made, one of `METHODS`; used only with `gradients`.
    lam : float or None
        Un-normalised ridge; None lets leaving out images choose.
    memory : int or None
        Bytes that kernels and predictions may take beside the model and their results; None is an eighth of the machine's.

    Attributes
    ----------
    rows_ : Tensor or None
        Places of the images in X; None where images were made.
    images_ : Tensor or None
        The images (n_S, ...); None after `load` of a folder without them.
    labels_ : Tensor (n_S,)
        Their classes.
    masses_ : Tensor or None
        Masses of the images of "wmdd", summing to one in each class.
    weights_ : dict
        Ridge weights by parameter name, (*shape) of the joint solve, (C, *shape) per class.
    lam_, lam_relative_, sketch_error_ : float
        The ridge, the ridge over the mean of diag K, and the estimated relative error of the sketched body kernel (0 if
        exact).
    cost_ : Cost
        Passes, their share of the full kernel's, break-even number of kernel uses; `forecast` says it before the work.

    Raises
    ------
    ValueError, TypeError
        In one line, before any long work: a wrong argument, a class with fewer images than `per_class`, NaN in X.

    Examples
    --------
    >>> import torch
    >>> from dntk_fast import DistilledNTK
    >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    >>> model = torch.nn.Sequential(*layers).eval()
    >>> x = torch.linspace(-1, 1, 160).reshape(40, 1, 2, 2).sin()
    >>> y = torch.arange(40) % 2
    >>> kernel = DistilledNTK(model, per_class=10, seed=0).fit(x, y)
    >>> bool((kernel.logits(x) - model(x)).abs().max() < 0.1)  # theorem_r: the head alone can represent the network
    True
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        per_class: int = 10,
        images: str = "pool",
        solve: str = "joint",
        cotangents: int | None = None,
        k: int | None = None,
        seed: int = 0,
        steps: int | None = None,
        gradients: int | None = None,
        method: str = "top eigenvectors",
        lam: float | None = None,
        memory: int | None = None,
    ) -> None:
        _check.parameter(model)
        self.model = model
        self.per_class = _check.integer("per_class", per_class, 1)
        self.images = _check.choice("images", images, IMAGES)
        self.solve = _check.choice("solve", solve, ("joint", "per class"))
        self.cotangents = _check.choice("cotangents", cotangents, (None, 1))
        self.k = None if k is None else _check.integer("k", k, 1)
        self.seed = _check.seed(seed)
        self.steps = None if steps is None else _check.integer("steps", steps, 0)
        self.gradients = None if gradients is None else _check.integer("gradients", gradients, 1)
        self.method = _check.choice("method", method, list(METHODS))
        self.lam = None if lam is None else _check.positive("lam", lam)
        self.memory = None if memory is None else _check.integer("memory", memory, 1)
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.steps is not None and self.images not in STEPS:
            _check.refuse("steps", f"None for images={self.images!r}, which are not updated", self.steps)
        if self.cotangents and (self.solve != "joint" or self.k is not None or self.images in STEPS):
            expected = "None, or the joint solve of images of the data with k=None"
            _check.refuse("cotangents", expected, f"{self.cotangents} with {self.solve}, {self.images}, k={self.k}")
        if self.gradients and (self.solve == "joint" or self.k is None):
            expected = 'None, or solve="per class" with coordinates k'
            _check.refuse("gradients", expected, f"{self.gradients} with solve={self.solve!r}, k={self.k}")

    @in_any_mode
    def forecast(self, X: Tensor | np.ndarray, y: Tensor | np.ndarray) -> Cost:
        """Say what `fit(X, y)` will cost, without doing it: passes, their share of the full kernel's, break-even.

        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
        >>> cost = DistilledNTK(model, per_class=5).forecast(torch.ones(100, 4), torch.arange(100) % 2)
        >>> cost.choosing_forward, cost.kept_backward, cost.share
        (50, 20, 0.2)
        """
        x, _, outputs = self._data(X, y)
        options = {"per_class": self.per_class, "outputs": outputs, "cotangents": self.cotangents, "steps": self.steps}
        return spanning_cost(self.images, len(x), **options)

    @in_any_mode
    def fit(self, X: Tensor | np.ndarray, y: Tensor | np.ndarray, *, progress: Any = None) -> DistilledNTK:
        """Choose or make images of (X, y), form the kernel of their gradients, and solve.

        Parameters
        ----------
        X : (n, ...)
            Training inputs as the model takes them.
        y : (n,)
            Classes 0 ... C - 1.
        progress : callable(done, total) or None
            Called as images are updated.
        """
        x, labels, outputs = self._data(X, y)
        self._refuse_few_coordinates(outputs)
        kept = spanning_images(
            self.model, x, labels, images=self.images, per_class=self.per_class, outputs=outputs, seed=self.seed,
            cotangents=self.cotangents, steps=self.steps, memory=self.memory, progress=progress,
        )  # fmt: skip
        with torch.no_grad(), alone_with(self.model):
            targets = torch.cat([self.model(own_copy(part)) for part in kept.images.split(256)]).double().T
        weights = self._joint(kept, targets) if self.solve == "joint" else self._per_class(kept, targets)
        like = _check.parameter(self.model)
        self.weights_ = {name: w.to(like.dtype) for name, w in weights.items()}
        self.images_, self.labels_, self.rows_, self.masses_ = kept.images, kept.labels, kept.rows, kept.masses
        self.cost_ = kept.cost
        return self

    def _joint(self, kept: Spanning, targets: Tensor) -> Weights:
        """One weight vector for all logits."""
        v = kept.cotangents
        y = targets if v is None else (targets * v.T).sum(0, keepdim=True)
        if self.k is None:
            fit = BlockProblem(block_kernel(self.model, kept.images, v, memory=self.memory)).fit(y, lam=self.lam)
            self._note(fit, 0.0)
            return joint_weights(self.model, kept.images, fit.coefficients, v, memory=self.memory)
        sketch = self._features(kept.images, self.k)
        fit = BlockProblem(sketched_block_kernel(sketch.values, self.k)).fit(y, lam=self.lam)
        self._note(fit, float(sketch.sketch_error))
        w = sketched_weights(sketch.values, fit.coefficients, self.k).to(sketch.body.dtype)
        own = parameter_weights(w, self.model, sketch.plan)
        # A body's weights are the same for every logit; a head's are those of its own logit, and zero for the others.
        return {name: w[0] if name in sketch.plan.sketch.shapes else w.sum(0) for name, w in own.items()}

    def _per_class(self, kept: Spanning, targets: Tensor) -> Weights:
        """One weight vector for each logit, weighted by the masses where images have them."""
        masses = targets.new_ones(len(kept.images)) if kept.masses is None else kept.masses.to(targets)
        if self.k is None:
            root = (masses / masses.mean()).sqrt()
            kernel = tangent_kernel(self.model, kept.images, memory=self.memory) * torch.outer(root, root)
            fit = KernelProblem(kernel, kernel[:, :1]).fit(targets * root, lam=self.lam)
            self._note(fit, 0.0)
            return vector_jacobian(self.model, kept.images, fit.weights * root, memory=self.memory)
        sketch = self._features(kept.images, self.k)
        rows, y = weigh_rows(sketch.values, targets, masses)
        fit = fit_features(rows, y, rows[:, :1], lam=self.lam)
        self._note(fit, float(sketch.sketch_error))
        weights = fit.weights
        if self.gradients is not None:
            make = METHODS[self.method]
            weights = make(rows, rows @ rows.mT, y, m=self.gradients, lam=fit.lam, seed=self.seed).weights
        return parameter_weights(weights.to(sketch.body.dtype), self.model, sketch.plan)

    @in_any_mode
    def logits(self, X: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Return the predicted logits (n, C), in the caller's kind of array.

        By one forward-mode pass of an image for all logits of the joint solve, and one for each logit per class.
        """
        self._fitted()
        found = jacobian_vector(self.model, self._inputs("X", X), self.weights_, memory=self.memory).T
        return found.numpy(force=True) if isinstance(X, np.ndarray) else found

    def predict(self, X: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Return the predicted classes (n,), in the caller's kind of array; ties go to the smallest class."""
        return self.logits(X).argmax(1)

    @alone
    def parameter_weights(self) -> Weights:
        """Return the predictor's weights in parameter space, name -> (C, *shape), for `residual`, `certify` and `refine`.

        logits(X) = Phi(X) w, whether or not it was solved in a sketch (w = A^T w~, `certificate_primal`).

        >>> import torch
        >>> from dntk_fast import DistilledNTK, FullProblem, SubsetResidual
        >>> from dntk_fast import held_out, held_out_bounds, refine, residual, training_subset
        >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
        >>> model = torch.nn.Sequential(*layers).eval()
        >>> x = torch.linspace(-1, 1, 160).reshape(40, 1, 2, 2).sin()
        >>> distilled = DistilledNTK(model, per_class=10, seed=0).fit(x, torch.arange(40) % 2)
        >>> problem = FullProblem(model, x, model(x).detach().T, lam=0.1)  # the kernel machine on all data and parameters
        >>> subset, weights = training_subset(problem, torch.arange(0, 40, 4)), distilled.parameter_weights()
        >>> test = held_out(subset, x[:8])  # new inputs, measured once for all predictors
        >>> measured = SubsetResidual(subset, residual(problem, weights))
        >>> bounds = held_out_bounds(measured, test)  # how far it is from there, at most
        >>> better = refine(problem, weights, subset, test, rms=1e-3, steps=20)
        >>> better.converged, bool((better.held_out.rms < bounds.rms).all())
        (True, True)
        """
        self._fitted()
        shapes, C = dict(self.model.named_parameters()), self._outputs
        return {
            name: w.expand(C, *w.shape) if w.shape == shapes[name].shape else w for name, w in self.weights_.items()
        }

    def save(self, folder: str | Path, *, include_images: bool = False) -> None:
        """Write weights, settings and the images' places (safetensors and JSON, no pickle), but not the network.

        The images themselves are written only with `include_images`.
        """
        self._fitted()
        folder = _check.path("folder", folder)
        if include_images and self.images_ is None:
            _check.refuse("include_images", "False: the folder it was loaded from has no images", True)
        optional = {name: getattr(self, f"{name}_") for name in _OPTIONAL if name != "images" or include_images}
        tensors = {name: value for name, value in optional.items() if value is not None}
        tensors |= {f"{_WEIGHT}{name}": w for name, w in self.weights_.items()}
        record = {
            "format": FORMAT,
            "fingerprint": fingerprint(self.model),
            "settings": self._settings(),
            "shape": self._shape,
            "cost": {name: getattr(self.cost_, name) for name in _COST},
            **dict(zip(_NUMBERS, (self.lam_, self.lam_relative_, self.sketch_error_), strict=True)),
        }
        write_bundle(folder, "distilled", tensors | {"labels": self.labels_, "first": self._first()}, record)

    @classmethod
    def load(cls, folder: str | Path, model: nn.Module) -> DistilledNTK:
        """Read back what `save` wrote, for the same network.

        Raises
        ------
        ValueError
            The folder holds no distilled kernel, one of an older format, a damaged one, one whose parts do not fit,
            or one of a network with other weights, layers or logits.
        """
        folder = _check.path("folder", folder)
        tensors, found = read_bundle(folder, "distilled", _SAVED)
        record = _record(folder, found)
        if fingerprint(model) != record["fingerprint"]:
            saved, own = record["fingerprint"][:16], fingerprint(model)[:16]
            raise ValueError(f"model: expected the network with fingerprint {saved}, got {own}")
        try:
            self = cls(model, **record["settings"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"folder: expected {_SAVED}, got {folder} with settings {error}") from None
        _fitting(folder, tensors, record, model)
        place = _check.parameter(model).device
        self.weights_ = {
            name.removeprefix(_WEIGHT): w.to(place) for name, w in tensors.items() if name.startswith(_WEIGHT)
        }
        self.labels_ = tensors["labels"].to(place)
        for name in _OPTIONAL:
            setattr(self, f"{name}_", tensors[name].to(place) if name in tensors else None)
        self.lam_, self.lam_relative_, self.sketch_error_ = (record[name] for name in _NUMBERS)
        self._shape, self._outputs = list(record["shape"]), tensors["first"].shape[1]
        self.cost_ = Cost(**record["cost"])
        # A folder travels: float32 on a GPU may be TF32, which has the digits of float16.
        try:
            first = self._first()
        except RuntimeError:
            _check.refuse("folder", "a shape of inputs that the model takes", f"{folder} with {self._shape}")
        if not same_to_rounding(
            first, tensors["first"], torch.float16 if first.dtype == torch.float32 else first.dtype
        ):
            _check.refuse("model", "the network that was distilled", "one with other logits")
        return self

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SETTINGS}

    def _data(self, X: Tensor | np.ndarray, y: Tensor | np.ndarray) -> tuple[Tensor, Tensor, int]:
        """Inputs, classes and the number of logits."""
        x = _check.array("X", self._inputs("X", X))
        self._outputs = final_linear(self.model, x[:1])[1].out_features
        self._shape = list(x.shape[1:])
        if self.per_class * self._outputs < 2:
            _check.refuse("per_class", "two images or more, for the ridge is chosen by leaving one out", self.per_class)
        return x, _labels(y, len(x), self._outputs).to(x.device), self._outputs

    def _features(self, images: Tensor, k: int) -> TangentFeatures:
        return tangent_features(self.model, images, k=k, seed=self.seed, memory=self.memory)

    def _refuse_few_coordinates(self, outputs: int) -> None:
        """Before images are chosen what `sketched_block_kernel` would refuse after."""
        if self.solve == "joint" and self.k is not None:
            least_coordinates(self.k, self.per_class * outputs, outputs)

    def _note(self, fit: Any, sketch_error: float) -> None:
        self.lam_, self.lam_relative_, self.sketch_error_ = fit.lam, fit.lam_relative, sketch_error

    @alone
    @torch.no_grad()
    def _first(self) -> Tensor:
        """The network's logits at a made-up input, which tells networks of equal weights apart without a picture."""
        like = _check.parameter(self.model)
        wave = torch.arange(1, 1 + math.prod(self._shape), dtype=torch.float64).sin().reshape(1, *self._shape)
        found: Tensor = self.model(wave.to(like))
        return found

    def _fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise ValueError("DistilledNTK: expected a fitted estimator, got one before fit(X, y)")

    def _inputs(self, name: str, X: Tensor | np.ndarray) -> Tensor:
        if not isinstance(X, np.ndarray | Tensor):
            raise TypeError(f"{name}: expected a torch tensor or a NumPy array, got {type(X).__name__}")
        parameter, x = _check.parameter(self.model), _check.inputs(name, _check.numbers(name, X))
        return x.to(parameter.device, parameter.dtype) if x.is_floating_point() else x.to(parameter.device)


def _record(folder: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The settings and numbers of a saved kernel, each of its kind."""
    if found.get("format") != FORMAT:
        raise ValueError(
            f"folder: expected format {FORMAT}, got {found.get('format')!r} in {folder}; fit and save again"
        )
    kinds = {"fingerprint": str, "settings": dict, "shape": list, "cost": dict} | dict.fromkeys(_NUMBERS, float)
    odd = [name for name, kind in kinds.items() if not isinstance(found.get(name), kind)]
    odd = odd or sorted(found["settings"].keys() ^ set(_SETTINGS)) or sorted(found["cost"].keys() ^ set(_COST))
    odd = odd or [name for name in _NUMBERS if not 0 <= found[name] < float("inf")]
    counts = {"shape": found["shape"], "cost": list(found["cost"].values())} if not odd else {}
    for name, values in counts.items():
        if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
            odd = [name]
    if odd or math.prod(found["shape"]) > _LARGEST:
        _check.refuse("folder", _SAVED, f"{folder} with no or another {odd[0] if odd else 'shape'}")
    return found


@alone
def _fitting(folder: Path, tensors: dict[str, Tensor], record: dict[str, Any], model: nn.Module) -> None:
    """Refuse arrays that cannot be those of one kernel of this model."""
    weights = {name.removeprefix(_WEIGHT): w for name, w in tensors.items() if name.startswith(_WEIGHT)}
    missing = sorted({"labels", "first"} - tensors.keys()) + ([] if weights else ["weights"])
    if missing:
        _check.refuse("folder", _SAVED, f"{folder} without {missing[0]}")
    n, C = tensors["labels"].numel(), tensors["first"].numel()
    shapes: dict[str, tuple[int, ...]] = {"labels": (n,), "first": (1, C), "rows": (n,), "masses": (n,)}
    shapes["images"] = (n, *record["shape"])
    integers = {"labels": C - 1, "rows": 2**62}
    own = {name: tuple(p.shape) for name, p in model.named_parameters()}
    odd = sorted(weights.keys() - own.keys())
    for name, tensor in tensors.items():
        part = name.removeprefix(_WEIGHT)
        allowed = [own.get(part, ()), (C, *own.get(part, ()))] if part in weights else [shapes.get(name, (-1,))]
        if name in integers:
            sound = (
                tensor.dtype == torch.int64 and n > 0 and 0 <= int(tensor.min()) <= int(tensor.max()) <= integers[name]
            )
        else:
            sound = tensor.is_floating_point() and bool(torch.isfinite(tensor).all())
        if tuple(tensor.shape) not in allowed or not sound or (name == "masses" and bool((tensor < 0).any())):
            odd.append(name)
    if odd:
        _check.refuse("folder", "the arrays of one distilled kernel", f"{folder} with other {odd[0]}")


def _labels(y: Tensor | np.ndarray, n: int, outputs: int) -> Tensor:
    labels = _check.numbers("y", y)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"y: expected integer classes (n,), got shape {tuple(labels.shape)} and {labels.dtype}")
    labels = labels.long()  # torch compares no unsigned integers of more than a byte
    if len(labels) != n:
        raise ValueError(f"y: expected {n} classes, one for each row of X, got {len(labels)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < outputs:
        got = f"classes from {int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"y: expected classes 0 ... {outputs - 1}, the outputs of the model, got {got}")
    return labels
