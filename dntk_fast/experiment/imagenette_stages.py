"""The stages of the ImageNette experiment that a run of the pipeline does not have; each from its inputs to a `Stage`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast._arrays import gram, orthonormal_rows
from dntk_fast.distillation.gradient_distillation import (
    METHODS,
    PreparedKernel,
    SyntheticGradients,
    local_global_synthesis,
    sketched_weights,
    spectral_clusters,
)
from dntk_fast.files.stages import Stage
from dntk_fast.kernels.locality import eigenspaces, locality
from dntk_fast.kernels.predictors import Fit, scores
from dntk_fast.kernels.redundancy import truncation_rank_of_spectrum
from dntk_fast.kernels.ridge import choose_ridge, grid_at, ridge_spectrum
from dntk_fast.kernels.subspace import energy_gap
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.isolation import own_copy
from dntk_fast.workflow import stages
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.training import train

__all__ = [
    "PAPER_RANKS",
    "RECIPES",
    "RIVALS",
    "coordinates",
    "local_structure",
    "method_seconds",
    "own_kernel",
    "rank_truncation",
    "real_kernel",
    "restored",
    "threshold_grid",
    "train_network",
]

Progress = Callable[[int, int], None]
PAPER_RANKS = (31, 41)  # truncation ranks that the paper reports
#: the rows of Table 1, by the names of `METHODS`
RIVALS = ("random", "leverage", "farthest point", "k-means")
TAU_V = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
TAU_G = (0.0, 0.5, 0.7, 0.9)  # 0 finds no gap: what is left are the local gradients
#: how a network is trained, by name: "adam" suits hundreds of images, "one-cycle" thousands
RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "adam": MappingProxyType({}),
        "one-cycle": MappingProxyType(
            {"optimiser": "sgd", "learning_rate": 0.05, "weight_decay": 5e-4}
            | {"schedule": "one-cycle", "augmentation": "image"}
        ),
    }
)
SPECTRUM = 100  # eigenvalues kept of each class


# --- networks ---------------------------------------------------------------------------------------------------------


def train_network(
    blank: nn.Module,
    x: Tensor,
    y: Tensor,
    data: Dataset,
    *,
    epochs: int,
    seed: int,
    recipe: str = "adam",
    progress: Progress,
    checkpoint: Path,
) -> Stage:
    """Train from scratch on real or on distilled images by one of `RECIPES`; keep the weights and the logits (C, n) on
    what it saw and on the held-out images.
    """
    options: dict[str, Any] = {"shift": x.shape[-1] // 16, "flip": True, "checkpoint": checkpoint, "progress": progress}
    options |= RECIPES[recipe]
    training = train(blank, x, y, epochs=epochs, seed=seed, **options)
    logits = {"train": _logits(training.model, x), "test": _logits(training.model, data.x_test)}
    weights = {f"weights.{name}": value for name, value in training.model.state_dict().items()}
    shares = {"accuracy": _share(logits["test"], data.y_test), "train_accuracy": _share(logits["train"], y)}
    arrays = weights | {f"logits.{part}": values for part, values in logits.items()}
    forward = training.forward_passes + len(x) + len(data.x_test)
    return Stage(arrays, shares, forward, training.backward_passes, sum(w.nbytes for w in weights.values()))


def restored(blank: nn.Module, network: Stage) -> nn.Module:
    """Give the network of a stage; `blank` stays as it is."""
    mark, model = "weights.", copy.deepcopy(blank)
    model.load_state_dict({key.removeprefix(mark): w for key, w in network.arrays.items() if key.startswith(mark)})
    return model.eval()


# --- kernels ----------------------------------------------------------------------------------------------------------


def own_kernel(model: nn.Module, data: Dataset, made: Stage, network: Stage, config: Config) -> Stage:
    """The kernel of a network that saw distilled images alone, at these images, with its own logits as targets.

    Fidelity is to that network, accuracy to the labels.
    """
    test = stages.held_out_features(model, data, config)
    soft = replace(made, arrays={**made.arrays, "logits": network.arrays["logits.train"]})
    found = stages.distilled_kernel(model, data, soft, test, network, config)
    forward, backward = found.forward_passes + test.forward_passes, found.backward_passes + test.backward_passes
    return Stage({}, found.numbers, forward, backward, found.bytes + test.bytes)


def real_kernel(
    model: nn.Module, data: Dataset, network: Stage, test: Stage, bases: Mapping[int, Stage], config: Config
) -> Stage:
    """Ridge regression on all real training images in projected features, their spectra, and how much of their energy
    the gradients of each distilled set span (Prop 3.6).
    """
    values = tangent_features(model, data.x_train, k=config.k, seed=config.seeds["sketch"]).values
    fit, spectra = _fit_by_class(values, network.arrays["logits.train"], test.arrays["values"])
    ridge = {name: getattr(fit, name) for name in ("lam", "lam_relative", "on_edge", "effective_dimension", "n")}
    found = asdict(scores(fit.predictions, network.arrays["logits.test"], data.y_test)) | ridge
    ranks = truncation_rank_of_spectrum(spectra, config.epsilon).tolist()
    energies = [{"per_class": size} | _held(values, base.arrays["rows"]) for size, base in bases.items()]
    n = len(data.x_train)
    numbers = found | {"k": config.k, "ranks": ranks, "energies": energies}
    return Stage({"spectrum": spectra[:, :SPECTRUM]}, numbers, n, n * len(data.classes), values.nbytes)


def _fit_by_class(values: Tensor, targets: Tensor, test: Tensor) -> tuple[Fit, Tensor]:
    """`fit_features` and the eigenvalues, with the decomposition of one class in memory at a time."""
    scale = float(torch.stack([Phi.double().square().sum(-1).mean() for Phi in values]).mean())
    grid = torch.from_numpy(grid_at(scale))
    losses, weights, spectra, freedom = [], [], [], []
    for Phi, y in zip(values, targets, strict=True):
        spectrum = ridge_spectrum(Phi.double(), y.double())
        losses.append(torch.stack([spectrum.leave_one_out(lam).square() for lam in grid.tolist()]))
        weights.append(torch.stack([spectrum.weights(lam) for lam in grid.tolist()]))
        freedom.append(torch.stack([spectrum.effective_dimension(lam) for lam in grid.tolist()]))
        spectra.append(spectrum.eigenvalues)
    choice = choose_ridge(torch.stack(losses).mean(0), grid)
    chosen = torch.stack(weights)[:, choice.index]
    predictions = torch.stack([part.double() @ w for part, w in zip(test, chosen, strict=True)])
    effective = float(torch.stack(freedom)[:, choice.index].mean())
    lam = float(choice.lam)
    fit = Fit(predictions, chosen, lam, lam / scale, choice.on_edge, effective, values.shape[1])
    return fit, torch.stack(spectra)


def _held(values: Tensor, inducing: Tensor) -> dict[str, float]:
    """Shares of |Phi|_F^2, means over classes: held by the span, lost by its rank, lost by its position."""
    parts = [energy_gap(Phi.double(), rows.double()) for Phi, rows in zip(values, inducing, strict=True)]
    total = torch.stack([part.total for part in parts])
    names = {"held": "residual", "tail": "tail", "misalignment": "misalignment"}
    found = {key: float((torch.stack([getattr(p, name) for p in parts]) / total).mean()) for key, name in names.items()}
    return found | {"held": 1 - found["held"]}


def coordinates(base: Stage, test: Stage) -> tuple[Stage, Stage]:
    """Rows (C, n, r) and held-out features in orthonormal coordinates of the rows' span, float64.

    All kernels and every predictor in the span stay the same; vectors are shorter by k / n.
    """
    rows = base.arrays["rows"].double()
    basis, _ = orthonormal_rows(rows)
    inside = replace(base, arrays={"rows": rows @ basis.mT, "targets": base.arrays["targets"].double()})
    return inside, Stage({"values": test.arrays["values"].double() @ basis.mT})


# --- what is measured on the distilled rows ---------------------------------------------------------------------------


def rank_truncation(data: Dataset, base: Stage, test: Stage, network: Stage, ranks: Sequence[int]) -> Stage:
    """Accuracy and fidelity of the rank-r ridge regression (Figure 5); ranks beyond the rows count as all of them."""
    spectrum = ridge_spectrum(base.arrays["rows"], base.arrays["targets"])
    n = base.arrays["rows"].shape[1]
    rows = []
    for r in sorted({min(r, n) for r in ranks} | {n}):
        weights = spectrum.truncated(base.numbers["lam"], r)
        rows.append({"rank": r} | _scores(weights, data, test, network))
    return Stage({}, {"rows": rows})


def local_structure(base: Stage, config: Config) -> Stage:
    """Properties (A) and (B) of every class (Figures 4 and 8) with thresholds epsilon, locally and globally.

    `containment` (H, r_g): |U_h U_h^T u_j|_h|^2, what cluster h holds of global direction j; over clusters it sums to
    |Pi_loc u_j|^2.
    """
    kernel = gram(base.arrays["rows"])
    clusters = min(config.clusters, kernel.shape[-1])
    labels = spectral_clusters(kernel.mean(0), clusters, seed=config.seeds["sampler"])
    options = {"epsilon_local": config.epsilon, "epsilon_global": config.epsilon}
    found = locality(kernel, labels, coverage_threshold=stages.COVERAGE_THRESHOLD, **options)
    spaces = eigenspaces(kernel, labels)
    kept = spaces.kept(found.local_ranks).double()
    held = spaces.columns @ (kept[..., None] * spaces.overlap**2)
    classes = [_class_structure(c, found, held[c]) for c in range(len(kernel))]
    sizes = torch.bincount(labels).tolist()
    return Stage({}, {"classes": classes, "cluster_sizes": sizes, **options}, bytes=kernel.nbytes)


def _class_structure(c: int, found: Any, held: Tensor) -> dict[str, Any]:
    rank = int(found.global_rank[c])
    return {
        "rank": rank,
        "local_ranks": found.local_ranks[c].tolist(),
        "weighted_gap": _within(found.weighted_gap[c]),
        "unweighted_gap": _within(found.unweighted_gap[c]),
        "gaps": int(found.gap[c].sum()),
        "property_a": [None if bool(v.isnan()) else _within(v) for v in found.property_a[c]],
        "property_a_null": [_within(v) for v in found.property_a_null[c]],
        "containment": [[round(_within(v), 4) for v in row] for row in held[:, :rank]],
    }


def method_seconds(base: Stage, budgets: Sequence[int], config: Config) -> Stage:
    """Seconds of the methods of Table 1, for all classes, from the kernel to the weights, decompositions included.

    One turn each: an order of magnitude, not a timing claim. Algorithm 1 has no budget: it runs at its middle thresholds.
    """
    rows, targets, lam = base.arrays["rows"], base.arrays["targets"], base.numbers["lam"]
    kernel, seed, found = gram(rows), config.seeds["sampler"], []
    for name in RIVALS:
        for m in (m for m in budgets if m <= rows.shape[1]):
            start = time.perf_counter()
            METHODS[name](rows, PreparedKernel(kernel), targets, m=m, lam=lam, seed=seed)
            found.append({"method": name, "m": m, "seconds": time.perf_counter() - start})
    start = time.perf_counter()
    labels = spectral_clusters(kernel.mean(0), min(config.clusters, rows.shape[1]), seed=seed)
    made = local_global_synthesis(rows, targets, labels=labels, tau_v=TAU_V[3], tau_g=TAU_G[2])
    sketched_weights(rows, targets, _padded(made), lam)
    taken = {"m": _mean_count(made), "seconds": time.perf_counter() - start}
    return Stage({}, {"rows": [*found, {"method": "Algorithm 1"} | taken]})


def threshold_grid(
    data: Dataset, base: Stage, test: Stage, network: Stage, config: Config, progress: Progress
) -> Stage:
    """Algorithm 1 over its two thresholds (Figure 9): scores, synthetic gradients, and how many of them are local."""
    rows, targets, lam = base.arrays["rows"], base.arrays["targets"], base.numbers["lam"]
    clusters = min(config.clusters, rows.shape[1])
    labels = spectral_clusters(gram(rows).mean(0), clusters, seed=config.seeds["sampler"])
    cells = [(tau_v, tau_g) for tau_v in TAU_V for tau_g in TAU_G]
    found: list[dict[str, Any]] = []
    for done, (tau_v, tau_g) in enumerate(cells):
        progress(done, len(cells))
        made = local_global_synthesis(rows, targets, labels=labels, tau_v=tau_v, tau_g=tau_g)
        m = _mean_count(made)
        local = m if tau_g == 0 else found[-1]["local"]  # each tau_v begins with tau_g = 0
        weights = sketched_weights(rows, targets, _padded(made), lam)
        found.append({"tau_v": tau_v, "tau_g": tau_g, "m": m, "local": local, "gap": m - local})
        found[-1] |= _scores(weights, data, test, network)
    return Stage({}, {"rows": found, "clusters": clusters})


def _mean_count(made: Sequence[SyntheticGradients]) -> float:
    return sum(part.synthesis.shape[1] for part in made) / len(made)


def _padded(made: Sequence[SyntheticGradients]) -> Tensor:
    width = max(part.synthesis.shape[1] for part in made)
    return torch.stack([nn.functional.pad(part.synthesis, (0, width - part.synthesis.shape[1])) for part in made])


def _scores(weights: Tensor, data: Dataset, test: Stage, network: Stage) -> dict[str, float]:
    predictions = torch.einsum("cnk,ck->cn", test.arrays["values"], weights)
    return asdict(scores(predictions, network.arrays["logits.test"], data.y_test))


def _within(value: Tensor) -> float:
    """A share: rounding outside [0, 1] is cut off."""
    return min(max(float(value), 0.0), 1.0)


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(own_copy(part)) for part in x.split(256)]).T.contiguous()


def _share(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(0) == labels).double().mean())
