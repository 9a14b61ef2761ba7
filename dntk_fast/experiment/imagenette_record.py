"""The record of the ImageNette experiment: numbers alone, and what the paper states beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from dntk_fast.bench.race import circumstances
from dntk_fast.experiment.imagenette_stages import SPECTRUM
from dntk_fast.files.stages import Stage
from dntk_fast.kernels.redundancy import truncation_rank_of_spectrum
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset

__all__ = ["comparison", "record_of"]

LEADING = 50  # global directions of which the record says where they lie


def record_of(
    setting: Mapping[str, Any], data: Dataset, parameters: int, config: Config, done: Mapping[str, Stage]
) -> dict[str, Any]:
    """Gather what the stages found; `done` by the names of `imagenette.run`, `parameters` = P of the network."""
    largest = setting["per_class"][-1]
    found = {
        "experiment": "imagenette",
        **circumstances(data.x_train.device),
        "threads": torch.get_num_threads(),
        "setting": {**setting, "pack": data.name},
        "seeds": config.seeds,
        "data": {
            "name": data.name,
            "n_train": len(data.x_train),
            "n_test": len(data.x_test),
            "classes": list(data.classes),
            "shape": list(data.image_shape),
        },
        "network": {"name": setting["model"], "parameters": parameters, **done["network"].numbers},
        "last_layer": done["last layer"].numbers,
        "real": done["real kernel"].numbers,
        "distilled_sizes": [done[f"distilled kernel, {size} per class"].numbers for size in setting["per_class"]],
        "distilled_only": [_alone(size, done) for size in setting["per_class"]],
        "spectra": _spectra(done[f"distilled kernel, {largest} per class"], done["real kernel"], config.epsilon),
        "truncation": done["rank truncation"].numbers["rows"],
        "locality": _locality(done["local structure"].numbers),
        "gradient_distillation": done["gradient distillation"].numbers["rows"],
        "method_seconds": done["method seconds"].numbers["rows"],
        "threshold_grid": done["threshold grid"].numbers,
        "stages": [_cost(name, stage) for name, stage in done.items()],
        "figure_7": "data not available: ImageWoof is not at hand",
    }
    return found | {"beside_the_paper": list(comparison(found))}


def _alone(size: int, done: Mapping[str, Stage]) -> dict[str, Any]:
    network = done[f"network on {size} per class"].numbers["accuracy"]
    return {"network_accuracy": network, **done[f"kernel of the network on {size} per class"].numbers}


def _spectra(distilled: Stage, real: Stage, epsilon: float) -> dict[str, Any]:
    """The leading eigenvalues to five digits, and truncation ranks from all of them."""

    def short(values: torch.Tensor) -> list[list[float]]:
        return [[float(f"{v:.5g}") for v in row] for row in values[:, :SPECTRUM].tolist()]

    ranks = truncation_rank_of_spectrum(distilled.arrays["spectrum"], epsilon).tolist()
    return {
        "epsilon": epsilon,
        "distilled": short(distilled.arrays["spectrum"]),
        "distilled_ranks": ranks,
        "real": short(real.arrays["spectrum"]),
        "real_ranks": real.numbers["ranks"],
    }


def _locality(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The containments of the leading directions alone."""
    classes = [{**part, "containment": [row[:LEADING] for row in part["containment"]]} for part in numbers["classes"]]
    return {**numbers, "classes": classes}


def _cost(name: str, stage: Stage) -> dict[str, Any]:
    return {"name": name} | {
        key: getattr(stage, key) for key in ("seconds", "forward_passes", "backward_passes", "bytes")
    }


def comparison(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Set what the paper states beside what was found here: context, not a test; data and sizes differ."""
    largest = record["distilled_sizes"][-1]
    images = record["data"]["n_train"] / largest["n"]
    shares = [f"{size['accuracy']:.1%}" for size in record["distilled_sizes"]]
    sizes = ", ".join(str(size["per_class"]) for size in record["distilled_sizes"])
    lost = largest["accuracy"] - record["distilled_only"][-1]["accuracy"]
    ranks = _spread(record["spectra"]["distilled_ranks"], "d")
    yield _row("Abstract", "fewer Jacobians", "20 to 100 times", f"{images:.3g} times")
    yield _row("Figure 1", f"accuracy, {sizes} per class", "the network's", ", ".join(shares))
    yield _row("Figure 1", "accuracy of the network", "", f"{record['network']['accuracy']:.1%}")
    yield _row("Figure 1", "lost without the pretrained network", "10 %", f"{lost * 100:.1f} points")
    yield _row("Figure 2", "truncation ranks of class kernels", "31 to 41", f"{ranks} of {largest['n']}")
    for key, paper in (("accuracy", "76 %"), ("fidelity", "78 %")):
        yield _row("Figure 3", f"Algorithm 1, {key} at m = 5", paper, _at_five(record["gradient_distillation"], key))
    for kind, reading in (("weighted_gap", "by variance"), ("unweighted_gap", "by direction")):
        found = _spread([part[kind] for part in record["locality"]["classes"]], ".1%")
        yield _row("Figure 4", f"outside local spaces, {reading}", "12 to 15 %", found)


def _at_five(rows: list[dict[str, Any]], key: str) -> str:
    """Algorithm 1 at five gradients, or at the budget nearest to it that one of its settings meets."""
    met = [row for row in rows if row["method"] == "local-global" and row["realised_m"] >= 1]
    if not met:
        return "no setting so small"
    row = min(met, key=lambda row: abs(row["m"] - 5))
    return f"{row[key]:.1%}" if row["m"] == 5 else f"none; {row[key]:.1%} at {row['m']}"


def _row(where: str, claim: str, paper: str, here: str) -> dict[str, str]:
    return {"where": where, "claim": claim, "paper": paper, "here": here}


def _spread(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"
