"""DistilledNTK: fit, predict, save and load the distilled tangent kernel of a user's own network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dntk_fast import _check
from dntk_fast._alone import alone, alone_with
from dntk_fast._device import default_memory
from dntk_fast.certificates.parameter_weights import Weights, parameter_weights
from dntk_fast.conventions import Conventions
from dntk_fast.distillation.gradient_distillation import METHODS
from dntk_fast.distillation.selection import Cost
from dntk_fast.distillation.spanning import IMAGES, STEPS, Spanning, spanning_cost, spanning_images
from dntk_fast.files.bundle import write_bundle
from dntk_fast.files.distilled import (
    COST,
    FORMAT,
    NUMBERS,
    SAVED,
    batch_described,
    batch_from,
    made_up,
    named_tensors,
    read_distilled,
    refuse_unfitting,
)
from dntk_fast.files.fingerprint import fingerprint, same_to_rounding
from dntk_fast.forecast import Forecast, fit_forecast
from dntk_fast.inputs import batches_of, class_numbers, gives_numpy, labelled_batch, names_of_classes
from dntk_fast.kernels.joint import (
    BlockProblem,
    block_kernel,
    joint_weights,
    least_coordinates,
    sketched_block_kernel,
    sketched_weights,
)
from dntk_fast.kernels.predictors import KernelProblem, fit_features, weigh_rows
from dntk_fast.tangent.batches import Outputs, Wrapped, cast, named, network, plainly, take
from dntk_fast.tangent.features import TangentFeatures, tangent_features
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.probes import probe
from dntk_fast.tangent.products import vector_jacobian

__all__ = ["DistilledNTK"]

_OPTIONAL = ("rows", "masses")
_WEIGHT = "weights."
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Settings:
    """The arguments of the estimator beside the model, checked, as one fit uses them."""

    per_class: int
    images: str
    solve: str
    cotangents: int | None
    k: int | None
    seed: int
    steps: int | None
    gradients: int | None
    method: str
    lam: float | None
    memory: int | None
    outputs: Outputs
    classes: Any

    def __post_init__(self) -> None:
        found = {
            "per_class": _check.integer("per_class", self.per_class, 1),
            "images": _check.choice("images", self.images, IMAGES),
            "solve": _check.choice("solve", self.solve, ("joint", "per class")),
            "cotangents": _check.choice("cotangents", self.cotangents, (None, 1)),
            "seed": _check.seed(self.seed),
            "method": _check.choice("method", self.method, list(METHODS)),
            "lam": None if self.lam is None else _check.positive("lam", self.lam),
            "outputs": self.outputs if self.outputs is None or callable(self.outputs) else _indices(self.outputs),
        }
        for name, least in (("k", 1), ("steps", 0), ("gradients", 1), ("memory", 1)):
            value = getattr(self, name)
            found[name] = None if value is None else _check.integer(name, value, least)
        vars(self).update(found)
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.steps and self.images not in STEPS:
            _check.refuse("steps", f"None for images={self.images!r}, which are not updated", self.steps)
        if self.cotangents and (self.solve != "joint" or self.k is not None or self.images in STEPS):
            expected = "None, or the joint solve of images of the data with k=None"
            _check.refuse("cotangents", expected, f"{self.cotangents} with {self.solve}, {self.images}, k={self.k}")
        if self.gradients and (self.solve == "joint" or self.k is None):
            expected = 'None, or solve="per class" with coordinates k'
            _check.refuse("gradients", expected, f"{self.gradients} with solve={self.solve!r}, k={self.k}")

    @property
    def saved(self) -> dict[str, Any]:
        """What a folder keeps: all but the memory, of which only this machine knows."""
        if callable(self.outputs):
            expected = "indices, or None, for a kernel that is saved: a function is in no folder"
            _check.refuse("outputs", expected, "a function")
        found = {name: value for name, value in asdict(self).items() if name != "memory"}
        classes = None if self.classes is None else np.asarray(self.classes).tolist()
        return found | {"classes": classes}


def _indices(outputs: Any) -> list[int]:
    """Numbers of outputs, none twice."""
    module = network(nn.Identity(), outputs)  # it refuses what are no indices
    chosen = [int(c) for c in module.columns or ()]
    if len(set(chosen)) != len(chosen):
        _check.refuse("outputs", "distinct outputs", f"one twice in {chosen[:12]}")
    return chosen


@dataclass(frozen=True, eq=False)
class _Task:
    """What one fit works on: the checked settings, the network in its precision, inputs, classes as numbers, C."""

    settings: Settings
    model: nn.Module
    x: Any
    labels: Tensor
    classes: np.ndarray

    @property
    def network(self) -> Wrapped:
        return network(self.model, self.settings.outputs)

    @property
    def options(self) -> dict[str, Any]:
        """What everything that asks for tangents is told."""
        return {"memory": self.settings.memory, "outputs": self.settings.outputs}

    @property
    def n(self) -> int:
        return _check.samples("X", self.x)


class DistilledNTK(Conventions):
    """Kernel ridge regression with the distilled tangent kernel of a trained classifier.

    f_hat_c(x) = phi_c(x) . w   (Eqs 3, 16, 19),
    w = argmin_w sum_i sum_c (phi_c(s_i) . w - f_c(s_i))^2 + lam |w|^2

    over images s_i: one weight vector for all logits in T_S, the span of all their gradients ("joint"); "per class" has one
    w_c for each logit in the span of its own gradients alone, and costs as many passes. Targets are the network's own
    logits; the ridge is chosen by leaving out images.

    It follows scikit-learn (`get_params`, `set_params`, `clone`, `score`, `classes_`; GridSearchCV, Pipeline): the
    constructor keeps its arguments as they are, and `fit` checks them. A half-precision network is worked on in float32.

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
    outputs : indices, function or None
        Which of the model's outputs are the classes, in their order, or a function (model, batch) -> (n, C); None takes
        all, and then each must have an image in y: a network of 1,000 logits is not fitted for ten classes in silence.
    classes : sequence or None
        What the outputs stand for, in their order: distinct integers or names, as y has them; None means 0 ... C - 1.

    Attributes
    ----------
    classes_ : array (C,)
        What the outputs stand for.
    n_features_in_ : int
        Columns of X, where X has rows and columns.
    rows_ : Tensor or None
        Places of the images in X; None where images were made.
    images_ : Tensor, tuple, dict or None
        The images (n_S, ...), or their arguments; None after `load` of a folder without them.
    labels_ : Tensor (n_S,)
        Their classes, as numbers of outputs.
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
        By `fit`, in one line, before any long work: a wrong argument, outputs without images, a class with fewer images
        than `per_class`, NaN in X.

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
        outputs: Outputs = None,
        classes: Any = None,
    ) -> None:
        self.model = model
        self.per_class, self.images, self.solve, self.cotangents = per_class, images, solve, cotangents
        self.k, self.seed, self.steps, self.gradients, self.method = k, seed, steps, gradients, method
        self.lam, self.memory, self.outputs, self.classes = lam, memory, outputs, classes

    def forecast(self, X: Any, y: Any = None) -> Forecast:
        """Say what `fit(X, y)` will take, without doing it: passes, bytes, seconds, the share of the full kernel's passes.

        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
        >>> told = DistilledNTK(model, per_class=5).forecast(torch.ones(100, 4), torch.arange(100) % 2)
        >>> told.choosing_forward, told.kept_backward, told.share, told.forward, told.backward
        (50, 20, 0.2, 80, 30)
        """
        with plainly(self.model if isinstance(self.model, nn.Module) else None):
            task = self._task(X, y)
            use = task.settings
            cost = spanning_cost(
                use.images, task.n, per_class=use.per_class, outputs=len(task.classes), cotangents=use.cotangents,
                steps=use.steps,
            )  # fmt: skip
            return fit_forecast(
                cost, task.network, task.x, images=use.images, solve=use.solve, cotangents=use.cotangents, k=use.k,
                memory=use.memory,
            )  # fmt: skip

    def fit(self, X: Any, y: Any = None, *, progress: Callable[[int, int], None] | None = None) -> DistilledNTK:
        """Choose or make images of (X, y), form the kernel of their gradients, and solve.

        Parameters
        ----------
        X : (n, ...), or a tuple or dict of arguments, or a DataLoader
            Training inputs as the model takes them, NumPy or torch; a loader of (inputs, labels) needs no y.
        y : (n,)
            Classes 0 ... C - 1, or those that `classes` names.
        progress : callable(done, total) or None
            Called as images are updated.
        """
        with plainly(self.model if isinstance(self.model, nn.Module) else None):
            self._fit(self._task(X, y), progress)
        if getattr(X, "ndim", 0) == 2:
            self.n_features_in_ = int(X.shape[1])
        return self

    def _fit(self, task: _Task, progress: Callable[[int, int], None] | None) -> None:
        use = task.settings
        if use.solve == "joint" and use.k is not None:  # before images are chosen what the solve would refuse after
            least_coordinates(use.k, use.per_class * len(task.classes), len(task.classes))
        kept = spanning_images(
            task.network, task.x, task.labels, images=use.images, per_class=use.per_class, outputs=len(task.classes),
            seed=use.seed, cotangents=use.cotangents, steps=use.steps, memory=use.memory, progress=progress,
        )  # fmt: skip
        targets, n = [], len(kept.labels)
        with torch.no_grad(), alone_with(self.model):
            for at in range(0, n, 256):
                targets.append(task.network(take(kept.images, slice(at, at + 256))))
        solve = self._joint if use.solve == "joint" else self._per_class
        weights = solve(task, kept, torch.cat(targets).double().T)
        like = _check.parameter(task.model)
        self.weights_ = {name: w.to(like.dtype) for name, w in weights.items()}
        self.images_, self.labels_, self.rows_, self.masses_ = kept.images, kept.labels, kept.rows, kept.masses
        self.cost_, self.classes_ = kept.cost, task.classes
        self._used, self._inputs, self._network_of = use, batch_described(task.x), fingerprint(self.model)

    def _joint(self, task: _Task, kept: Spanning, targets: Tensor) -> Weights:
        """One weight vector for all logits."""
        use, v = task.settings, kept.cotangents
        y = targets if v is None else (targets * v.T).sum(0, keepdim=True)
        if use.k is None:
            fit = BlockProblem(block_kernel(task.model, kept.images, v, **task.options)).fit(y, lam=use.lam)
            self._note(fit, 0.0)
            return joint_weights(task.model, kept.images, fit.coefficients, v, **task.options)
        sketch = self._features(task, kept.images)
        fit = BlockProblem(sketched_block_kernel(sketch.values, use.k)).fit(y, lam=use.lam)
        self._note(fit, float(sketch.sketch_error))
        w = sketched_weights(sketch.values, fit.coefficients, use.k).to(sketch.body.dtype)
        own = parameter_weights(w, task.model, sketch.plan)
        # A body's weights are the same for every logit; a head's are those of its own logit, and zero for the others.
        return {name: w[0] if name in sketch.plan.sketch.shapes else w.sum(0) for name, w in own.items()}

    def _per_class(self, task: _Task, kept: Spanning, targets: Tensor) -> Weights:
        """One weight vector for each logit, weighted by the masses where images have them."""
        use = task.settings
        masses = targets.new_ones(targets.shape[1]) if kept.masses is None else kept.masses.to(targets)
        if use.k is None:
            root = (masses / masses.mean()).sqrt()
            kernel = tangent_kernel(task.model, kept.images, **task.options) * torch.outer(root, root)
            fit = KernelProblem(kernel, kernel[:, :1]).fit(targets * root, lam=use.lam)
            self._note(fit, 0.0)
            return vector_jacobian(task.model, kept.images, fit.weights * root, **task.options)
        sketch = self._features(task, kept.images)
        rows, y = weigh_rows(sketch.values, targets, masses)
        fit = fit_features(rows, y, rows[:, :1], lam=use.lam)
        self._note(fit, float(sketch.sketch_error))
        weights = fit.weights
        if use.gradients is not None:
            make = METHODS[use.method]
            weights = make(rows, rows @ rows.mT, y, m=use.gradients, lam=fit.lam, seed=use.seed).weights
        return parameter_weights(weights.to(sketch.body.dtype), task.model, sketch.plan)

    def logits(self, X: Any) -> Tensor | np.ndarray:
        """Return the predicted logits (n, C), in the caller's kind of array, piece by piece within the memory.

        By one forward-mode pass of an image for all logits of the joint solve, and one for each logit per class.
        """
        self._fitted()
        model, memory = self._network(), default_memory() if self._used.memory is None else self._used.memory
        # Of the memory a quarter is for the inputs: as they come, and copied where their kind is not the model's.
        own, rest = max(1, memory // 8), max(1, memory - memory // 4)
        outputs = self._used.outputs
        J = Jacobian(model, outputs=outputs, parameters=list(self.weights_), memory=rest)
        with plainly(model), named("X", "x"):
            pieces = batches_of("X", X, model, own, outputs)
            found = torch.cat([J.matvec(piece, self.weights_).T for piece in pieces])
        return found.numpy(force=True) if gives_numpy(X) else found

    def predict(self, X: Any) -> Tensor | np.ndarray:
        """Return the predicted classes (n,), in the caller's kind of array; ties go to the first class.

        Names, of which torch has none, come in a NumPy array.
        """
        found = self.logits(X)
        if isinstance(found, Tensor) and self.classes_.dtype.kind in "iu":
            return torch.from_numpy(self.classes_.astype(np.int64)).to(found.device)[found.argmax(1)]
        return self.classes_[np.asarray(found.argmax(1).cpu() if isinstance(found, Tensor) else found.argmax(1))]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy, the share of samples, or of their weight, whose class is predicted.

        >>> import torch
        >>> model = torch.nn.Linear(1, 2).eval()
        >>> x, y = torch.linspace(-1, 1, 8)[:, None], torch.arange(8) // 4
        >>> 0 <= DistilledNTK(model, per_class=2).fit(x, y).score(x, y) <= 1
        True
        """
        self._fitted()
        x, labels = labelled_batch("X", X, y, self._network()) if isinstance(X, DataLoader) else (X, y)
        found = torch.as_tensor(self.logits(x)).argmax(1).cpu()
        truth = class_numbers(labels, len(found), self.classes_, named=self._used.classes is not None)
        right = (found == truth.cpu()).double()
        return float(np.average(right.numpy(), weights=sample_weight))

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
        shapes, C = dict(self.model.named_parameters()), len(self.classes_)
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
        optional = {name: getattr(self, f"{name}_") for name in _OPTIONAL}
        tensors = {name: value for name, value in optional.items() if value is not None}
        tensors |= {f"{_WEIGHT}{name}": w for name, w in self.weights_.items()}
        tensors |= named_tensors("images", self.images_) if include_images else {}
        record = {
            "format": FORMAT,
            "fingerprint": self._network_of,
            "settings": self._used.saved,
            "inputs": self._inputs,
            "cost": {name: getattr(self.cost_, name) for name in COST},
            **dict(zip(NUMBERS, (self.lam_, self.lam_relative_, self.sketch_error_), strict=True)),
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
        names = set(Settings.__dataclass_fields__) - {"memory"}
        tensors, record = read_distilled(folder, names)
        own = fingerprint(model)
        if own != record["fingerprint"]:
            saved = record["fingerprint"][:16]
            raise ValueError(f"model: expected the network with fingerprint {saved}, got {own[:16]}")
        self = cls(model, **record["settings"])
        self._network_of = own
        try:
            self._used = self._settings()
            self.classes_ = names_of_classes(self.classes, tensors["first"].numel() if "first" in tensors else 0)
        except (TypeError, ValueError) as error:
            raise ValueError(f"folder: expected {SAVED}, got {folder} with settings {error}") from None
        refuse_unfitting(folder, tensors, record, model)
        place, self._inputs = _check.parameter(model).device, record["inputs"]
        self.weights_ = {
            name.removeprefix(_WEIGHT): w.to(place) for name, w in tensors.items() if name.startswith(_WEIGHT)
        }
        self.labels_, self.images_ = tensors["labels"].to(place), batch_from("images", tensors, self._inputs, place)
        for name in _OPTIONAL:
            setattr(self, f"{name}_", tensors[name].to(place) if name in tensors else None)
        self.lam_, self.lam_relative_, self.sketch_error_ = (record[name] for name in NUMBERS)
        self.cost_ = Cost(**record["cost"])
        # A folder travels: float32 on a GPU may be TF32, which has the digits of float16.
        try:
            first = self._first()
        except (RuntimeError, TypeError, ValueError, IndexError):
            _check.refuse("folder", "a shape of inputs that the model takes", f"{folder} with {self._inputs}")
        if not same_to_rounding(
            first, tensors["first"], torch.float16 if first.dtype == torch.float32 else first.dtype
        ):
            _check.refuse("model", "the network that was distilled", "one with other logits")
        return self

    def _settings(self) -> Settings:
        """The arguments, checked."""
        return Settings(**{name: value for name, value in self.get_params().items() if name != "model"})

    def _network(self) -> nn.Module:
        """The model; in float32 where it is of half precision, whose rounding a kernel would square."""
        model = _check.frozen_statistics(self.model)
        _check.parameter(model)
        half = any(part.dtype in _HALF for part in (*model.parameters(), *model.buffers()))
        return cast(model, (), torch.float32 if half else None)[0]

    def _task(self, X: Any, y: Any) -> _Task:
        """Everything checked that can be before the work."""
        model = self._network()
        settings = self._settings()
        x, given = labelled_batch("X", X, y, model)
        with named("X"):
            outputs = probe(network(model, settings.outputs), x).shape[1]
        classes = names_of_classes(settings.classes, outputs)
        if settings.per_class * outputs < 2:
            expected = "two images or more, for the ridge is chosen by leaving one out"
            _check.refuse("per_class", expected, settings.per_class)
        labels = class_numbers(given, _check.samples("X", x), classes, named=settings.classes is not None)
        if settings.outputs is None and settings.classes is None:
            _refuse_empty(labels, outputs)
        return _Task(settings, model, x, labels.to(_check.parameter(model).device), classes)

    def _features(self, task: _Task, images: Any) -> TangentFeatures:
        use = task.settings
        assert use.k is not None
        return tangent_features(task.model, images, k=use.k, seed=use.seed, **task.options)

    def _note(self, fit: Any, sketch_error: float) -> None:
        self.lam_, self.lam_relative_, self.sketch_error_ = fit.lam, fit.lam_relative, sketch_error

    @alone
    @torch.no_grad()
    def _first(self) -> Tensor:
        """The network's logits at a made-up input, which tells networks of equal weights apart without a picture."""
        model = self._network()
        return network(model, self._used.outputs)(made_up(self._inputs, _check.parameter(model)))

    def _fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise ValueError("DistilledNTK: expected a fitted estimator, got one before fit(X, y)")
        if fingerprint(self.model) != self._network_of:
            _check.refuse("model", "the network that was distilled", "one that has changed since", remedy="fit again")


def _refuse_empty(labels: Tensor, outputs: int) -> None:
    """Outputs that no label names may be no classes at all: the caller says so."""
    empty = (torch.bincount(labels.cpu(), minlength=outputs) == 0).nonzero().flatten().tolist()
    if empty:
        there, range_ = outputs - len(empty), f"range({outputs})"
        expected = (
            f"which of the model's {outputs} outputs the {there} classes of y are, in their order ({range_}: all)"
        )
        _check.refuse("outputs", expected, f"None, and no image of class {empty[0]}")
