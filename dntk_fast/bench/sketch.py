"""Sketch quality on the gradients of trained networks: the error of K~ against the exact expectation of a Gaussian map.

E |K~ - K|_F^2 = ((tr K)^2 + |K|_F^2) / k for a dense Gaussian map (section 4.2), per class, on the body's gradients.

A mean over twenty seeds is uncertain where one direction rules K: its square is then that of a chi-square variable. So
what the laws of the maps allow stands beside it (docstrings of `projection.maps`). Maps of different parameters are
independent, and none of one parameter has more than the Gaussian variance but a TensorSketch. Its third sum has at most
(k / (k-1))^2 times that. Of the other two, |(U^T V + V^T U)_rr'|^2 <= 2 (|U_r|^2 |V_r'|^2 + |V_r|^2 |U_r'|^2) for runs r, r'
sums to at most 2 (|U|^2 |V|^2 - sum_r |U_r|^2 |V_r|^2) / k. Hence, K_l being the kernel of weight l alone and K_lr that of
one run of its rows or columns,

    E |K~ - K|_F^2 <= ((tr K)^2 + |K|_F^2 + 2 sum_l [((k / (k-1))^2 - 1) (tr K_l)^2 + sum over both sides
                      ((tr K_l)^2 - sum_r (tr K_lr)^2)]) / k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.bench.race import circumstances, pinned, threads_of
from dntk_fast.files.tensors import load_weights, save_weights
from dntk_fast.projection import Sketch
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.passes import capture, inspect
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build
from dntk_fast.workflow.training import train

__all__ = ["CASES", "Case", "expected_errors", "measure", "tables"]

SEEDS, IMAGES, TRAINING_SEED = 20, 100, 0
# Entries of gradients that are formed at a time.
_FORMED = 2**24


@dataclass(frozen=True)
class Case:
    """A network's data set, its training, and which maps of which size are judged."""

    data: str
    training: Mapping[str, Any]
    maps: tuple[tuple[str, int], ...] = (("auto", 512),)


_AUGMENTED = {"learning_rate": 1e-3, "batch_size": 32, "shift": 2, "flip": True}
CASES = {
    "conv28": Case("fashion-mnist-900", {"epochs": 20}, (("auto", 512), ("auto", 2048), ("gaussian", 64))),
    "resnet18": Case("imagenette32-mini", _AUGMENTED | {"epochs": 10}, (("auto", 512), ("auto", 2048))),
    "vit_tiny": Case("imagenette32-mini", _AUGMENTED | {"epochs": 20}),
}
QUICK = {"conv8": Case("digits", {"epochs": 1}, (("auto", 64), ("gaussian", 64)))}


def measure(
    *,
    data: str | Path = "",
    cache: str | Path | None = None,
    only: Sequence[str] = (),
    seeds: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Train the networks of `CASES` and measure their sketches; Ctrl-C ends it with the networks done so far.

    Parameters
    ----------
    data : folder of the image packs; where DNTK_DATA says if empty
    cache : folder that keeps the trained weights; None trains anew
    only : names of networks; all if empty
    seeds : of the map; 20 if None (5 if quick)
    threads : of torch; as many as it has if None
    quick : a small network on digits instead, to see that it runs
    progress : called with (stage, done, all)

    Returns
    -------
    dict
        What JSON can hold: device, threads, versions, date, and one row for each network and map.
    """
    cases = QUICK if quick else CASES
    names = list(dict.fromkeys(_check.choice("only", name, tuple(cases)) for name in only)) or list(cases)
    seeds = _check.integer("seeds", (5 if quick else SEEDS) if seeds is None else seeds, 2)
    threads = threads_of(threads)
    n = 20 if quick else IMAGES
    rows: list[dict[str, Any]] = []
    record = circumstances() | {"threads": threads, "n": n, "seeds": seeds, "quick": quick, "complete": False}
    with pinned(threads):
        try:
            for name in names:
                rows += _rows(name, cases[name], Path(data), cache, n, seeds, progress)
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record | {"rows": rows}


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One table: the error of each map as a multiple of a Gaussian map's."""
    head = ("network", "accuracy", "map", "k", "error", "Gaussian", "ratio", "95 % interval", "at most")
    rows = tuple(
        (
            row["network"], f"{row['accuracy']:.2f}", row["map"], str(row["k"]), f"{row['error']:.4f}",
            f"{row['expected']:.4f}", f"{row['ratio']:.3f}", f"{row['low']:.2f} - {row['high']:.2f}",
            "" if row["bound"] is None else f"{row['bound']:.3f}",
        )
        for row in record["rows"]
    )  # fmt: skip
    title = (
        f"|K~ - K| / |K| of the body, {record['n']} images, root mean square over {record['seeds']} seeds and classes"
    )
    shown = [name for name in head if name not in ("error", "Gaussian")]
    yield Cells(title, head, rows, {name: name for name in shown})


def expected_errors(K: Tensor, k: int) -> Tensor:
    """Root mean square of |K~ - K|_F / |K|_F of a dense Gaussian map, for each class.

    >>> expected_errors(torch.eye(2)[None], 3)  # sqrt((2^2 + 2) / 3) / sqrt(2)
    tensor([1.])
    """
    return (_moment(K) / (k * K.square().sum((1, 2)))).sqrt()


def _moment(K: Tensor) -> Tensor:
    """(tr K)^2 + |K|_F^2 of each class."""
    return K.diagonal(dim1=1, dim2=2).sum(1).square() + K.square().sum((1, 2))


# --- the work ---------------------------------------------------------------------------------------------------------


def _rows(
    name: str,
    case: Case,
    data: Path,
    cache: str | Path | None,
    n: int,
    seeds: int,
    progress: Callable[[str, int, int], object],
) -> list[dict[str, Any]]:
    def trained(done: int, epochs: int) -> None:
        progress(f"{name}: training", done, epochs)

    model, images, accuracy = _trained(name, case, data, cache, n, trained)
    body = list(feature_plan(model, images, k=1, seed=0).sketch.shapes)
    exact = tangent_kernel(model, images, parameters=body)
    rows = []
    for projection, k in case.maps:
        stage, errors = f"{name}: {projection}, k = {k}", []
        for seed in range(seeds):
            progress(stage, seed, seeds)
            found = tangent_features(model, images, k=k, seed=seed, projection=projection).body.double()
            difference = torch.linalg.matrix_norm(found @ found.mT - exact)
            errors.append((difference / torch.linalg.matrix_norm(exact)).numpy())
        progress(stage, seeds, seeds)
        subject = {"network": name, "data": case.data, "accuracy": accuracy, "map": projection, "k": k}
        plan = feature_plan(model, images, k=k, seed=0, projection=projection)
        subject |= {"bound": _bound(model, images, plan.sketch, exact) if projection == "auto" else None}
        rows.append(subject | _judged(np.array(errors), expected_errors(exact, k).numpy()))
    return rows


def _bound(model: nn.Module, images: Tensor, sketch: Sketch, exact: Tensor) -> float:
    """What the laws of the maps allow at most, as a multiple of a Gaussian map's error."""
    k, squares, added = sketch.k, exact.square().sum((1, 2)), torch.zeros(len(exact), dtype=torch.float64)
    factored = [name for name, kind in sketch.kinds.items() if kind == "tensorsketch"]  # type: ignore[union-attr]
    for c, sides in _energies(model, images, factored):
        trace = float(sides[0].sum())
        beside = [trace**2 - sum(float(run.sum()) ** 2 for run in side.split(k)) for side in sides]
        added[c] += 2 * (((k / (k - 1)) ** 2 - 1) * trace**2 + sum(beside))
    return float((((_moment(exact) + added) / squares).mean() / (_moment(exact) / squares).mean()).sqrt())


def _energies(model: nn.Module, images: Tensor, names: Sequence[str]) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """Of every output and each of some weights: squares of the gradients' entries, summed by rows and by columns."""
    if not names:
        return
    trace = inspect(model, images, parameters=names)
    for c in range(trace.outputs):
        for tangent in capture(trace, images, range(c, c + 1)):
            ((name, shape),) = tangent.shapes.items()
            step = max(1, _FORMED // shape.numel())
            squares = torch.zeros(shape[0], shape[1:].numel(), dtype=torch.float64)
            for at in range(0, len(images), step):
                gradients = tangent.rows(slice(at, at + step)).gradient(name)[0]
                squares += gradients.square().sum(0, dtype=torch.float64).flatten(1)
            yield c, (squares.sum(1), squares.sum(0))


def _judged(errors: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Root mean squares over seeds and classes, their ratio, and its 95 % interval from seeds drawn again."""
    squares, unit = np.mean(errors**2, axis=1), float(np.mean(expected**2) ** 0.5)
    drawn = np.random.default_rng(0).choice(squares, (4_000, len(squares))).mean(axis=1) ** 0.5 / unit
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975)))
    error = float(np.mean(squares) ** 0.5)
    return {"error": error, "expected": unit, "ratio": error / unit, "low": low, "high": high}


def _trained(
    name: str, case: Case, data: Path, cache: str | Path | None, n: int, progress: Callable[[int, int], None]
) -> tuple[nn.Module, Tensor, float]:
    """The trained network, n of the images it was not trained on, and its share of right answers on all of those."""
    pack = load(case.data if case.data == "digits" else data / case.data)
    model = build(name, seed=TRAINING_SEED, channels=pack.image_shape[0])
    settings = "-".join(f"{key}-{value}" for key, value in sorted(case.training.items()))
    path = None if cache is None else Path(cache) / f"{name}-{pack.name}-{settings}.safetensors"
    if path is not None and path.is_file():
        load_weights(model, path)
        model.eval()
    else:
        x, y = pack.x_train, pack.y_train
        model = train(model, x, y, seed=TRAINING_SEED, progress=progress, **case.training).model
        if path is not None:
            save_weights(model, path)
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in pack.x_test.split(256)]) == pack.y_test
    rows = torch.as_tensor(np.random.default_rng(TRAINING_SEED).permutation(len(pack.x_test))[:n])
    return model, pack.x_test[rows], float(right.double().mean())
