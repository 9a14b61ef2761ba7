"""DistilledNTK: fit, predict, save and load the distilled tangent kernel of a user's own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.certificates.parameter_weights import Weights, parameter_weights
from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.distillation.gradient_distillation import METHODS
from dntk_fast.files.atomic import write_atomically
from dntk_fast.files.fingerprint import fingerprint, same_to_rounding
from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.kernels.predictors import fit_features, weigh_rows
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.head import final_linear

__all__ = ["DistilledNTK"]

FORMAT = 2
_SETTINGS = ("per_class", "k", "seed", "steps", "gradients", "method", "lam")
_NUMBERS = ("lam", "lam_relative", "sketch_error")


class DistilledNTK:
    """Kernel ridge regression with the distilled tangent kernel of a trained classifier.

    f_hat_c(x) = phi_c(x) . w_c   (Eqs 16, 19; 4.1),
    w_c = argmin_w sum_j omega_j (phi_c(s_j) . w - f_c(s_j))^2 + lam |w|^2

    over distilled images s_j with masses omega_j, where phi_c(x) is the projected body gradient of logit c beside its
    exact head gradient (h(x), 1). Targets are the network's own logits.

    Parameters
    ----------
    model : nn.Module
        A trained classifier with logits (n, C), in evaluation mode. It is not changed.
    per_class : int
        Distilled images per class.
    k : int
        Coordinates kept of each body gradient.
    seed : int
        Seed of the distillation, the sketch and the sampler.
    steps : int
        Updates of the distilled images.
    gradients : int or None
        Synthetic gradients per logit (4.3-4.4); None keeps the gradients of all distilled images.
    method : str
        How they are made, one of `METHODS`; used only with `gradients`.
    lam : float or None
        Un-normalised ridge; None lets leave-one-out choose.

    Attributes
    ----------
    images_, labels_, masses_ : Tensor
        Distilled images (n_S, ...), their classes (n_S,) and masses (n_S,), summing to one in each class.
    weights_ : Tensor (C, k + d_h + 1)
        Ridge weights.
    lam_, lam_relative_, sketch_error_ : float
        The ridge, the ridge over the mean of diag K, and the estimated relative error of the sketched body kernel.

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
    >>> kernel = DistilledNTK(model, per_class=10, k=16, seed=0, steps=5).fit(x, y)
    >>> bool((kernel.logits(x) - model(x)).abs().max() < 0.1)  # Theorem R: the head alone can represent the network
    True
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        per_class: int = 50,
        k: int = 2048,
        seed: int = 0,
        steps: int = 200,
        gradients: int | None = None,
        method: str = "top eigenvectors",
        lam: float | None = None,
    ) -> None:
        _check.parameter(model)
        self.model = model
        self.per_class = _check.integer("per_class", per_class, 1)
        self.k = _check.integer("k", k, 1)
        self.seed = _check.seed(seed)
        self.steps = _check.integer("steps", steps, 0)
        self.gradients = None if gradients is None else _check.integer("gradients", gradients, 1)
        self.method = _check.choice("method", method, list(METHODS))
        self.lam = None if lam is None else _check.positive("lam", lam)

    def fit(self, X: Tensor | np.ndarray, y: Tensor | np.ndarray, *, progress: Any = None) -> DistilledNTK:
        """Distil (X, y), sketch the gradients of what is left, and solve.

        Parameters
        ----------
        X : (n, ...)
            Training inputs as the model takes them.
        y : (n,)
            Classes 0 ... C - 1.
        progress : callable(done, total) or None
            Called as the images are updated.
        """
        x = _check.array("X", self._inputs("X", X))
        _check.samples("X", x)
        labels = _labels(y, len(x), final_linear(self.model, x[:1])[1].out_features)
        made = distil_images(
            self.model, x, labels, per_class=self.per_class, seed=self.seed, steps=self.steps, progress=progress
        )
        sketch = tangent_features(self.model, made.images, k=self.k, seed=self.seed)
        rows, targets = weigh_rows(sketch.values, made.logits.T, made.weights)
        fit = fit_features(rows, targets, rows[:, :1], lam=self.lam)
        if self.gradients is None:
            weights = fit.weights
        else:
            weights = METHODS[self.method](
                rows, rows @ rows.mT, targets, m=self.gradients, lam=fit.lam, seed=self.seed
            ).weights
        self.images_, self.labels_, self.masses_ = made.images, made.labels, made.weights
        self.weights_ = weights.to(sketch.body.dtype)
        self.lam_, self.lam_relative_, self.sketch_error_ = fit.lam, fit.lam_relative, float(sketch.sketch_error)
        return self

    def logits(self, X: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Return the predicted logits (n, C), in the caller's kind of array."""
        self._fitted()
        values = tangent_features(self.model, self._inputs("X", X), k=self.k, seed=self.seed).values
        found = torch.einsum("cnk,ck->nc", values, self.weights_.to(values))
        return found.numpy(force=True) if isinstance(X, np.ndarray) else found

    def predict(self, X: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Return the predicted classes (n,), in the caller's kind of array; ties go to the smallest class."""
        return self.logits(X).argmax(1)

    def parameter_weights(self) -> Weights:
        """Return the predictor's weights in parameter space, name -> (C, *shape), for `residual`, `certify` and `refine`.

        logits(X) = Phi(X) w, w = A^T w~ (section 9.3): the same predictor without its sketch.

        >>> import torch
        >>> from dntk_fast import DistilledNTK, FullProblem, Seen
        >>> from dntk_fast import held_out, held_out_bounds, refine, residual, training_subset
        >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
        >>> model = torch.nn.Sequential(*layers).eval()
        >>> x = torch.linspace(-1, 1, 160).reshape(40, 1, 2, 2).sin()
        >>> distilled = DistilledNTK(model, per_class=10, k=16, seed=0, steps=5).fit(x, torch.arange(40) % 2)
        >>> problem = FullProblem(model, x, model(x).detach().T, lam=0.1)  # the kernel machine on all data and parameters
        >>> subset, weights = training_subset(problem, torch.arange(0, 40, 4)), distilled.parameter_weights()
        >>> held = held_out(subset, x[:8])  # new inputs, measured once for all predictors
        >>> bounds = held_out_bounds(Seen(subset, residual(problem, weights)), held)  # how far it is from there, at most
        >>> better = refine(problem, weights, subset, held, rms=1e-3, steps=20)
        >>> better.converged, bool((better.held_out.rms < bounds.rms).all())
        (True, True)
        """
        self._fitted()
        plan = feature_plan(self.model, self.images_, k=self.k, seed=self.seed)
        return parameter_weights(self.weights_, self.model, plan)

    def save(self, folder: str | Path) -> None:
        """Write distilled images, weights and settings (safetensors and JSON, no pickle), but not the network."""
        self._fitted()
        folder = _check.path("folder", folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(
            folder / "distilled.safetensors",
            {
                "images": self.images_,
                "labels": self.labels_,
                "masses": self.masses_,
                "weights": self.weights_,
                "first": self._first_logits(),
            },
        )
        record = {
            "format": FORMAT,
            "fingerprint": fingerprint(self.model),
            "settings": self._settings(),
            **dict(zip(_NUMBERS, (self.lam_, self.lam_relative_, self.sketch_error_), strict=True)),
        }
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        write_atomically(folder / "distilled.json", lambda part: part.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, folder: str | Path, model: nn.Module) -> DistilledNTK:
        """Read back what `save` wrote, for the same network.

        Raises
        ------
        ValueError
            The folder holds no distilled kernel, or one of a network with other weights, layers or logits.
        """
        folder = _check.path("folder", folder)
        record = _record(folder)
        if fingerprint(model) != record["fingerprint"]:
            saved, own = record["fingerprint"][:16], fingerprint(model)[:16]
            raise ValueError(f"model: expected the network with fingerprint {saved}, got {own}")
        self = cls(model, **record["settings"])
        tensors, _ = read_tensors(folder / "distilled.safetensors")
        missing = sorted({"images", "labels", "masses", "weights", "first"} - tensors.keys())
        if missing:
            _check.refuse("folder", "a saved distilled kernel", f"{folder} without {missing[0]}")
        place = _check.parameter(model).device
        self.images_, self.labels_, self.masses_, self.weights_ = (
            tensors[name].to(place) for name in ("images", "labels", "masses", "weights")
        )
        self.lam_, self.lam_relative_, self.sketch_error_ = (record[name] for name in _NUMBERS)
        # A folder travels: float32 on a GPU may be TF32, which has the digits of float16.
        first = self._first_logits()
        if not same_to_rounding(
            first, tensors["first"], torch.float16 if first.dtype == torch.float32 else first.dtype
        ):
            _check.refuse("model", "the network that was distilled", "one with other logits")
        return self

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SETTINGS}

    @torch.no_grad()
    def _first_logits(self) -> Tensor:
        found: Tensor = self.model(self.images_[:1])
        return found

    def _fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise ValueError("DistilledNTK: expected a fitted estimator, got one before fit(X, y)")

    def _inputs(self, name: str, X: Tensor | np.ndarray) -> Tensor:
        if not isinstance(X, np.ndarray | Tensor):
            raise TypeError(f"{name}: expected a torch tensor or a NumPy array, got {type(X).__name__}")
        parameter, x = _check.parameter(self.model), _tensor(name, X)
        return x.to(parameter.device, parameter.dtype) if x.is_floating_point() else x.to(parameter.device)


def _record(folder: Path) -> dict[str, Any]:
    """The settings and numbers of a saved kernel, each of its kind."""
    path = folder / "distilled.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"folder: expected a saved distilled kernel, got {folder} ({error})") from None
    if version != FORMAT:
        raise ValueError(f"folder: expected format {FORMAT}, got {version!r} in {path}")
    kinds = {"fingerprint": str, "settings": dict} | dict.fromkeys(_NUMBERS, float)
    odd = [name for name, kind in kinds.items() if not isinstance(found.get(name), kind)]
    odd = odd or sorted(found["settings"].keys() ^ set(_SETTINGS))
    if odd:
        _check.refuse("folder", "a saved distilled kernel", f"{folder} with no or another {odd[0]} in {path.name}")
    return dict(found)


def _tensor(name: str, value: Any) -> Tensor:
    """A tensor of the numbers of a tensor, an array or a list."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got a MaskedArray")
    try:
        # Torch takes neither negative strides nor another machine's order of bytes.
        plain = isinstance(value, np.ndarray)
        return torch.as_tensor(np.asarray(value, value.dtype.newbyteorder("="), order="C") if plain else value)
    except (TypeError, ValueError, RuntimeError):
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name}: expected numbers in an array, got {got}") from None


def _labels(y: Tensor | np.ndarray, n: int, outputs: int) -> Tensor:
    labels = _tensor("y", y)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"y: expected integer classes (n,), got shape {tuple(labels.shape)} and {labels.dtype}")
    if len(labels) != n:
        raise ValueError(f"y: expected {n} classes, one for each row of X, got {len(labels)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < outputs:
        got = f"classes from {int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"y: expected classes 0 ... {outputs - 1}, the outputs of the model, got {got}")
    return labels.long()
