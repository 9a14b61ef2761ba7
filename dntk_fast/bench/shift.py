"""Find inputs unlike the training data by the tangent kernel's variance; hold its probabilities against softmax.

Held-out images stand against the same images turned by 90 degrees, with noise of half their standard deviation, and with
pixels in another order, the same for all; and, if one is given, against another data set's held-out images, brought to the
size. AUROC is the chance that a shifted image scores above a usual one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast.analysis.inputs import outputs_of
from dntk_fast.analysis.machines import dual_machine
from dntk_fast.analysis.shift import false_alarms, separation, shift_score
from dntk_fast.analysis.sources import MEMORY, source_of
from dntk_fast.analysis.uncertainty import RIDGE, Uncertainty
from dntk_fast.bench.race import circumstances, pinned, threads_of
from dntk_fast.bench.retraining import LARGE
from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.head import penultimate
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.network import usual_network
from dntk_fast.workflow.training import train

__all__ = ["measure", "tables"]

# Ridges over the mean diagonal beside the default one, and images of each class of the distilled set.
RIDGES, PER_CLASS, STEPS, NOISE, BINS = (1e-4, 1e-3, 1e-2), 10, 200, 0.5, 15
OURS, DISTILLED = "tangent kernel variance", "tangent kernel variance, distilled set"
Progress = Callable[[str, int, int], object]


def measure(
    data: str = "digits",
    *,
    other: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    quick: bool = False,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Train a network, shift its held-out images, and score them every way.

    Parameters
    ----------
    data : a data set or pack
    other : another one, whose held-out images are brought to the size; none if None
    seed : every purpose's own seed is spawned from it
    threads : of torch; as many as it has if None
    quick : few images and epochs, to see that it runs
    progress : called with (stage, done, total)

    Returns
    -------
    dict
        What JSON can hold.
    """
    threads = threads_of(threads)
    dataset, seeds = load(data), Config(seed=seed).seeds
    some = 40 if quick else None
    x, y, new, y_new = dataset.x_train[:some], dataset.y_train[:some], dataset.x_test[:some], dataset.y_test[:some]
    _, blank = usual_network(dataset, seeds["network"], LARGE)

    def tick(done: int, total: int) -> None:
        progress("network", done, total)

    with pinned(threads):
        epochs = 2 if quick else Config.epochs
        network = train(blank, x, y, epochs=epochs, seed=seeds["network"], progress=tick).model
        inputs = {"usual": new} | _shifted(dataset, new, other, seeds["sampler"])
        scores = _scores(network, x, y, inputs, progress, quick, seeds)
        calibration = _calibration(network, x, inputs, y_new)
    rows = []
    for method, values in scores.items():
        for shift in list(inputs)[1:]:
            pair = values["usual"], values[shift]
            row = {"method": method, "shift": shift, "auroc": separation(*pair), "fpr95": false_alarms(*pair)}
            rows.append(row)
    record = circumstances() | {"threads": threads, "quick": quick, "seed": seed, "complete": True}
    accuracy = float((outputs_of(network, new, None).argmax(1) == y_new).double().mean())
    sizes = {"data": dataset.name, "n_train": len(x), "n_test": len(new), "accuracy": accuracy, "ridge": RIDGE}
    return record | sizes | {"rows": rows, "calibration": calibration}


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """AUROC and false alarms of every score on every shift; then calibration."""
    shifts = list(dict.fromkeys(row["shift"] for row in record["rows"]))
    methods = list(dict.fromkeys(row["method"] for row in record["rows"]))
    found = {(row["method"], row["shift"]): row for row in record["rows"]}
    title = f"{record['data']}: AUROC / false alarms where 95 % of the shifted are caught, of {record['n_test']} images"
    head = ("score", *shifts)
    cells = tuple((m, *("{auroc:.3f} / {fpr95:.2f}".format(**found[m, s]) for s in shifts)) for m in methods)
    yield Cells(title, head, cells, {name: name for name in head})
    names = ("inputs", "accuracy", "NLL", "NLL, variance", "ECE", "ECE, variance")
    rows = tuple(
        (name, f"{c['accuracy']:.3f}", *(f"{c[part]:.3f}" for part in ("nll", "nll_variance", "ece", "ece_variance")))
        for name, c in record["calibration"].items()
    )
    yield Cells("calibration, without and with the variance", names, rows, {name: name for name in names})


# --- inputs and scores ------------------------------------------------------------------------------------------------


def _shifted(data: Dataset, x: Tensor, other: str | None, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(x[0, 0].numel(), generator=generator)
    found = {
        "rotated": x.rot90(1, (2, 3)),
        f"noise {NOISE:g}": x + NOISE * torch.randn(x.shape, generator=generator),
        "pixels permuted": x.flatten(2)[..., order].view(x.shape),
    }
    if other is not None:
        strange = load(other)
        pictures = (
            strange.x_test.mean(1, keepdim=True) if x.shape[1] == 1 else strange.x_test.expand(-1, x.shape[1], -1, -1)
        )
        brought = nn.functional.interpolate(pictures, x.shape[2:], mode="bilinear", antialias=True)
        found[strange.name] = brought[: len(x)]
    return found


def _scores(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    inputs: Mapping[str, Tensor],
    progress: Progress,
    quick: bool,
    seeds: Mapping[str, int],
) -> dict[str, dict[str, np.ndarray]]:
    """Every score of every input; larger is less usual."""
    sizes, everything = [len(part) for part in inputs.values()], torch.cat(list(inputs.values()))
    whole = _variances(network, x, everything)
    progress("scores", 1, 3)
    small = distil_images(
        network, x, y, per_class=1 if quick else PER_CLASS, seed=seeds["distillation"], steps=2 if quick else STEPS
    ).images
    few = Uncertainty(network).fit(small).shift_score(everything)
    progress("scores", 2, 3)
    found = {OURS: whole[RIDGE], DISTILLED: torch.as_tensor(few)}
    found |= {f"{OURS}, ridge {ridge:g}": v for ridge, v in whole.items() if ridge != RIDGE}
    found |= _rivals(network, x, y, everything)
    progress("scores", 3, 3)
    parts = {name: score.double().split(sizes) for name, score in found.items()}
    return {
        name: {place: part.numpy() for place, part in zip(inputs, split, strict=True)} for name, split in parts.items()
    }


def _variances(network: nn.Module, x: Tensor, new: Tensor) -> dict[float, Tensor]:
    """The shift score at every ridge, from one kernel."""
    source = source_of([network], x, None, 0, None, MEMORY)
    said = outputs_of(network, x, None).T.contiguous()
    source.prepare(said, None)
    asked, own = source.new(new), source.own(new)
    return {ridge: shift_score(source.machine(said, ridge).variance(asked, own)) for ridge in RIDGES}


def _rivals(network: nn.Module, x: Tensor, y: Tensor, new: Tensor) -> dict[str, Tensor]:
    logits = outputs_of(network, new, None)
    with torch.no_grad():
        h, near = (penultimate(network, part).double() for part in (new, x))
    p, C = logits.softmax(1), logits.shape[1]
    return {
        "last layer variance": _last_layer_variance(h, near),
        "largest softmax probability": -p.amax(1),
        "energy": -logits.logsumexp(1),
        "Mahalanobis": _mahalanobis(h, near, y),
        # the L1 norm of the last layer's gradient of KL(uniform, softmax): |h|_1 |p - 1/C|_1, small where unusual
        "GradNorm": -h.abs().sum(1) * (p - 1 / C).abs().sum(1),
    }


def _last_layer_variance(h: Tensor, near: Tensor) -> Tensor:
    K, k, own = near @ near.T + 1, h @ near.T + 1, h.square().sum(1) + 1
    scale = K.diagonal().mean()
    machine = dual_machine((K / scale)[None], torch.zeros(1, len(near), dtype=torch.float64), RIDGE)
    return machine.variance((k / scale)[None], (own / scale)[None])[0]


def _mahalanobis(h: Tensor, near: Tensor, y: Tensor) -> Tensor:
    """The squared distance to the nearest class mean under the covariance within classes (Lee et al. 2018)."""
    means = torch.stack([near[y == c].mean(0) for c in range(int(y.max()) + 1)])
    rest = near - means[y]
    covariance = rest.T @ rest / len(near)
    # a thousandth of the mean variance more, for units that never fire
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    root = torch.linalg.cholesky(covariance)
    gaps = torch.linalg.solve_triangular(root, (h[:, None] - means).flatten(0, 1).T, upper=False)
    return gaps.square().sum(0).view(len(h), -1).amin(1)


def _calibration(network: nn.Module, x: Tensor, inputs: Mapping[str, Tensor], y: Tensor) -> dict[str, dict[str, float]]:
    """Accuracy, NLL and ECE of softmax and of the averaged probabilities, where the labels still hold."""
    sure, found = Uncertainty(network).fit(x), {}
    for name, new in inputs.items():
        if name not in ("usual", "rotated", f"noise {NOISE:g}"):
            continue
        plain, averaged = outputs_of(network, new, None).softmax(1), torch.as_tensor(sure.probabilities(new))
        found[name] = {"accuracy": float((plain.argmax(1) == y).double().mean())}
        for end, p in (("", plain), ("_variance", averaged)):
            likelihood = p[torch.arange(len(y)), y].clamp(min=1e-300)
            found[name] |= {f"nll{end}": float(-likelihood.log().mean()), f"ece{end}": _calibration_error(p, y)}
    return found


def _calibration_error(p: Tensor, y: Tensor) -> float:
    """Expected calibration error: |accuracy - confidence| in bins of equal width of the confidence, weighted by counts."""
    confidence, guess = p.max(1)
    right, bins = (guess == y).double(), (confidence * BINS).ceil().long().clamp(1, BINS)
    gaps = [float((right - confidence)[bins == b].sum().abs()) for b in range(1, BINS + 1)]
    return sum(gaps) / len(y)
