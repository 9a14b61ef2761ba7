"""The steps of a run, each from its inputs to a `Stage`: arrays, numbers, and what it cost. Nothing is stored here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.certificates.certificate import FullProblem
from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.distillation.gradient_distillation import METHODS, RANDOM_METHODS, PreparedKernel, spectral_clusters
from dntk_fast.files.fingerprint import same_to_rounding
from dntk_fast.files.stages import Stage
from dntk_fast.kernels.locality import locality
from dntk_fast.kernels.predictors import Fit, KernelProblem, fit_features, scores, weigh_rows
from dntk_fast.kernels.redundancy import spectrum
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.head import penultimate
from dntk_fast.tangent.isolation import own_copy
from dntk_fast.tangent.jacobian import Jacobian
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.result import TangentFeatures
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.network import Network
from dntk_fast.workflow.training import train

__all__ = [
    "ExactKernels",
    "compare_methods",
    "distil",
    "distilled_kernel",
    "full_kernel",
    "held_out_features",
    "label_targets",
    "last_layer",
    "local_structure",
    "network_with_weights",
    "train_network",
]

Progress = Callable[[int, int], None]
EXACT_KERNEL_BYTES = 3_000_000_000
COVERAGE_THRESHOLD = 0.9


def train_network(network: Network, data: Dataset, *, epochs: int, seed: int, progress: Progress, file: Path) -> Stage:
    """Train the network, unless its weights were given; keep its weights and its logits (C, n) on both splits."""
    model, forward, backward = network.module, 0, 0
    if not network.trained:
        training = train(
            model, data.x_train, data.y_train, epochs=epochs, seed=seed, progress=progress, checkpoint=file
        )
        model, forward, backward = training.model, training.forward_passes, training.backward_passes
    logits = {f"logits.{part}": _logits(model, x) for part, x in _splits(data).items()}
    weights = {f"weights.{name}": value for name, value in model.state_dict().items()}
    numbers = {
        "accuracy": _share(logits["logits.test"], data.y_test),
        "train_accuracy": _share(logits["logits.train"], data.y_train),
    }
    forward += len(data.x_train) + len(data.x_test)
    return Stage(weights | logits, numbers, forward, backward, sum(w.nbytes for w in weights.values()))


def network_with_weights(network: Network, stage: Stage, data: Dataset) -> nn.Module:
    """Return the network that the stage kept, or refuse one whose code says something else now.

    No digest sees what a `forward` does between its modules; two logits do.
    """
    mark, model = "weights.", copy.deepcopy(network.module)
    model.load_state_dict({key.removeprefix(mark): w for key, w in stage.arrays.items() if key.startswith(mark)})
    kept = stage.arrays["logits.train"][:, :2]
    if not same_to_rounding(_logits(model, data.x_train[:2]), kept, kept.dtype):
        remedy = "choose another folder or pass --overwrite"
        _check.refuse("model", "the network of the finished stages", "one of other outputs", remedy=remedy)
    return model.eval()


@dataclass(frozen=True, eq=False)
class ExactKernels:
    """The exact class kernels (C, n, n) of the training images and (C, t, n) of the held-out ones, formed when asked for."""

    model: nn.Module
    data: Dataset

    @property
    def fit(self) -> bool:
        """Whether they are to be formed: in double precision they fit into a bound."""
        return 8 * len(self.data.classes) * len(self.data.x_train) ** 2 <= EXACT_KERNEL_BYTES

    @cached_property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Both, in the network's precision."""
        x = self.data.x_train
        return tangent_kernel(self.model, x), tangent_kernel(self.model, self.data.x_test, x)


def full_kernel(model: nn.Module, data: Dataset, network: Stage, config: Config, kernels: ExactKernels) -> Stage:
    """Ridge regression on all real training images: exact kernels where they fit, projected features beyond."""
    n, n_test, C = len(data.x_train), len(data.x_test), len(data.classes)
    targets = {"full_kernel": network.arrays["logits.train"], "full_kernel_labels": label_targets(data)}
    arrays: dict[str, Tensor] = {}
    if kernels.fit:
        kernel, cross = kernels.pair
        problem = KernelProblem(kernel, cross)
        fits = {key: problem.fit(y) for key, y in targets.items()}
        exact = _exact_solution(model, data, problem, fits["full_kernel"], targets["full_kernel"])
        arrays = {"spectrum": problem.pair[0], "trace": kernel.diagonal(dim1=1, dim2=2).double().sum(1), **exact}
        method, passes, size = "exact kernel", 2 * n + n_test, kernel.nbytes + cross.nbytes
        passes, tangents = passes + 2 * n, C * (n + n_test)  # the exact solution: two J^T a, and J v of both splits
    else:
        train, test = (_features(model, x, config).values for x in (data.x_train, data.x_test))
        fits = {key: fit_features(train, y, test) for key, y in targets.items()}
        method, passes, size = f"features, k = {config.k}", n + n_test, train.nbytes + test.nbytes
        tangents = 0
    numbers = {key: _predictor(fit, method, data, network) for key, fit in fits.items()}
    return Stage(arrays, numbers, passes + tangents, passes * C, size)


def _exact_solution(
    model: nn.Module, data: Dataset, kernel: KernelProblem, fit: Fit, targets: Tensor
) -> dict[str, Tensor]:
    """The full predictor to about nine digits: coefficients (C, n) and held-out predictions (C, n_test).

    A kernel in single precision leaves about five; one step of iterative refinement, with the residual from products in
    double precision, gives the others: certificates of refined predictors are held against them.
    """
    problem = FullProblem(Jacobian(model, dtype=torch.float64), data.x_train, targets, fit.lam)
    (eigenvalues, U), alpha = kernel.pair, fit.weights
    rest = targets.double() - problem.forward(problem.backward(alpha)) - fit.lam * alpha
    alpha = alpha + (U @ ((U.mT @ rest[..., None])[..., 0] / (eigenvalues + fit.lam))[..., None])[..., 0]
    return {"coefficients": alpha, "predictions": problem.predict(problem.backward(alpha), data.x_test)}


def last_layer(model: nn.Module, data: Dataset, network: Stage) -> Stage:
    """The baseline of `theorem_r`: the same ridge regression on the input of the last layer alone."""
    train, test = (_head_features(model, x).expand(len(data.classes), -1, -1) for x in _splits(data).values())
    fit = fit_features(train, network.arrays["logits.train"], test)
    size = train[0].nbytes + test[0].nbytes
    return Stage({}, _predictor(fit, "head features", data, network), len(data.x_train) + len(data.x_test), 0, size)


def distil(
    model: nn.Module, data: Dataset, per_class: int, config: Config, progress: Progress, checkpoint: Path
) -> Stage:
    """Wasserstein metric data distillation (4.1): images, their masses, their soft labels (C, n_S)."""
    options: dict[str, Any] = {"seed": config.seeds["distillation"], "steps": config.distil_steps}
    options |= {"progress": progress, "checkpoint": checkpoint}
    made = distil_images(model, data.x_train, data.y_train, per_class=per_class, **options)
    logits = made.logits.T.contiguous()
    arrays = {"images": made.images, "labels": made.labels, "weights": made.weights, "logits": logits}
    return Stage(arrays, {"notes": list(made.notes)}, made.forward_passes, made.backward_passes, made.images.nbytes)


def held_out_features(model: nn.Module, data: Dataset, config: Config) -> Stage:
    """Tangent features (C, n_test, k + d_h + 1) of the held-out images."""
    values = _features(model, data.x_test, config).values
    n = len(data.x_test)
    return Stage({"values": values}, {}, n, n * len(data.classes), values.nbytes)


def distilled_kernel(
    model: nn.Module, data: Dataset, made: Stage, test: Stage, network: Stage, config: Config
) -> Stage:
    """Features of the distilled images, ridge regression on them, and the conditioning of their class kernels."""
    sketch = _features(model, made.arrays["images"], config)
    rows, targets = weigh_rows(sketch.values, made.arrays["logits"], made.arrays["weights"])
    fit = fit_features(rows, targets, test.arrays["values"])
    eigenvalues = spectrum(_double_gram(rows))
    n = rows.shape[1]
    numbers = _predictor(fit, "distilled kernel", data, network) | {
        "per_class": n // len(data.classes),
        "k": config.k,
        "sketch_error": float(sketch.sketch_error),
        "condition_number": _condition_number(eigenvalues),
        "smallest_eigenvalue": float(eigenvalues[..., -1].double().mean()),
    }
    arrays = {"rows": rows, "targets": targets, "spectrum": eigenvalues, "weights": fit.weights}
    return Stage(arrays, numbers, n, n * len(data.classes), rows.nbytes)


def drawn_kernel(model: nn.Module, data: Dataset, test: Stage, network: Stage, config: Config) -> Stage:
    """What distillation has to beat: as many training images of every class, drawn once, their features, the same ridge."""
    generator = torch.Generator().manual_seed(config.seeds["sampler"])
    shuffled = torch.randperm(len(data.y_train), generator=generator)
    labels = data.y_train[shuffled]
    rows = torch.cat([shuffled[labels == c][: config.per_class] for c in range(len(data.classes))])
    features = _features(model, data.x_train[rows], config).values
    fit = fit_features(features, network.arrays["logits.train"][:, rows], test.arrays["values"])
    n = len(rows)
    numbers = _predictor(fit, "drawn images", data, network) | {"per_class": config.per_class}
    return Stage({"rows": rows}, numbers, n, n * len(data.classes), features.nbytes)


def local_structure(base: Stage, config: Config) -> Stage:
    """Section 3.4 on the distilled rows: what the union of local eigenspaces misses, weighted and unweighted."""
    kernel = _double_gram(base.arrays["rows"])
    clusters = min(config.clusters, kernel.shape[-1])
    labels = spectral_clusters(kernel.mean(0), clusters, seed=config.seeds["sampler"])
    found = locality(
        kernel,
        labels,
        epsilon_local=config.epsilon,
        epsilon_global=config.epsilon,
        coverage_threshold=COVERAGE_THRESHOLD,
    )
    names = {
        "weighted": "weighted_gap",
        "unweighted": "unweighted_gap",
        "property_a": "property_a",
        "property_a_null": "property_a_null",
    }
    numbers = {key: min(max(float(getattr(found, name).double().mean()), 0.0), 1.0) for key, name in names.items()}
    thresholds = {"clusters": clusters, "epsilon_local": config.epsilon, "epsilon_global": config.epsilon}
    return Stage({}, numbers | thresholds, bytes=kernel.nbytes)


def compare_methods(
    data: Dataset, base: Stage, test: Stage, network: Stage, config: Config, progress: Progress
) -> Stage:
    """Every method at every budget: the same rows, the same ridge."""
    prepared = PreparedKernel(_double_gram(base.arrays["rows"]))
    cells = [(name, m) for name in METHODS for m in config.gradients if m <= prepared.kernel.shape[-1]]
    table = []
    for done, (name, m) in enumerate(cells):
        progress(done, len(cells))
        draws = range(config.draws if name in RANDOM_METHODS else 1)
        table.append(
            _method_row(
                name, m, [_outcome(name, m, draw, prepared, data, base, test, network, config) for draw in draws]
            )
        )
    return Stage({}, {"rows": table}, bytes=prepared.kernel.nbytes)


def _outcome(
    name: str,
    m: int,
    draw: int,
    kernel: PreparedKernel,
    data: Dataset,
    base: Stage,
    test: Stage,
    network: Stage,
    config: Config,
) -> dict[str, Any]:
    rows, targets, lam = base.arrays["rows"], base.arrays["targets"], base.numbers["lam"]
    result = METHODS[name](rows, kernel, targets, m=m, lam=lam, seed=config.seeds["sampler"] + draw)
    values = test.arrays["values"]
    predictions = torch.einsum("cnk,ck->cn", values, result.weights.to(values))
    measured = {name: getattr(result, name) for name in ("realised_m", "kernel_error", "captured_energy", "setting")}
    return asdict(scores(predictions, network.arrays["logits.test"], data.y_test)) | measured


def _method_row(name: str, m: int, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(key: str) -> float:
        return float(np.mean([outcome[key] for outcome in outcomes]))

    row: dict[str, Any] = {"method": name, "m": m, "draws": len(outcomes), "setting": outcomes[0]["setting"]}
    for key in ("accuracy", "fidelity", "mse"):
        row |= {key: mean(key), f"{key}_sd": float(np.std([outcome[key] for outcome in outcomes]))}
    return row | {key: mean(key) for key in ("realised_m", "kernel_error", "captured_energy")}


def _double_gram(rows: Tensor) -> Tensor:
    return rows.double() @ rows.double().mT


def _features(model: nn.Module, x: Tensor, config: Config) -> TangentFeatures:
    return tangent_features(model, x, k=config.k, seed=config.seeds["sketch"])


def _predictor(fit: Fit, method: str, data: Dataset, network: Stage) -> dict[str, Any]:
    ridge = {name: getattr(fit, name) for name in ("lam", "lam_relative", "on_edge", "effective_dimension", "n")}
    return asdict(scores(fit.predictions, network.arrays["logits.test"], data.y_test)) | ridge | {"method": method}


def _condition_number(eigenvalues: Tensor) -> float | None:
    # Below n eps lambda_1 an eigenvalue is rounding: the condition number is then not known, and None says so.
    floor = eigenvalues[..., 0] * eigenvalues.shape[-1] * torch.finfo(eigenvalues.dtype).eps
    if bool((eigenvalues[..., -1] <= floor).any()):
        return None
    return float((eigenvalues[..., 0] / eigenvalues[..., -1]).double().mean())


def label_targets(data: Dataset) -> Tensor:
    """Return one-hot minus 1/C of the training images, (C, n)."""
    C = len(data.classes)
    return nn.functional.one_hot(data.y_train, C).T.to(data.x_train.dtype) - 1 / C


def _splits(data: Dataset) -> dict[str, Tensor]:
    return {"train": data.x_train, "test": data.x_test}


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(own_copy(part)) for part in x.split(256)]).T.contiguous()


def _head_features(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = penultimate(model, x)
    return torch.cat([h, h.new_ones(len(h), 1)], 1)


def _share(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(0) == labels).double().mean())
