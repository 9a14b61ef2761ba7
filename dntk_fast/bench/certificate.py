"""The full-kernel certificate of a large network: its peak memory in a fresh process, its passes, its time in floors.

One floor is the time of one forward and C plain backward passes of the same images. The weights are distilled: ridge
regression on the projected features of a few training images, taken back to parameter space, all outputs at once.
"""

from __future__ import annotations

import multiprocessing
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.bench.race import Task, circumstances, pinned, race, results, threads_of
from dntk_fast.bench.subjects import SEED, SHAPES, random_subject
from dntk_fast.certificates.certificate import (
    FullProblem,
    HeldOut,
    Residual,
    Subset,
    SubsetResidual,
    Weights,
    certify,
    held_out,
    held_out_bounds,
    parameter_weights,
    residual,
    training_subset,
)
from dntk_fast.files.tensors import load_weights, read_tensors, save_weights, write_tensors
from dntk_fast.kernels.ridge import ridge_weights
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import kernel_diagonal
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build, parameter_count
from dntk_fast.workflow.training import train

__all__ = ["measure", "tables"]

# Coordinates of the projected features, distilled images and rows of the subset, held-out images, images at a time.
K, DISTILLED, HELD_OUT, BATCH = 512, 100, 8, 250
EPOCHS, RELATIVE_RIDGE = 5, 1e-2
_PHASES = 8


def measure(
    data: str | Path | None = None,
    *,
    model: str = "resnet18",
    n: int | None = None,
    rounds: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Measure the whole certificate once in a fresh process, then race its residuals against the floor.

    Parameters
    ----------
    data : a data set or pack on which the network is trained for a few epochs; None: random images and random weights
    model : one of `models.MODELS`; without data one whose image shape is known
    n : training images of the certificate; 1,000 if None (24 if quick)
    rounds : 7 if None (1 if quick); with fewer than 21, which take a quarter of an hour, nothing may be stated
    threads : of torch; as many as it has if None
    quick : few images, to see that it runs
    progress : called with (stage, done, total)

    Returns
    -------
    dict
        What JSON can hold: circumstances, sizes, the phases in the fresh process, the raced rows.

    Raises
    ------
    ValueError
        More images than the data has for training, or fewer than are distilled.
    """
    n = _check.integer("n", (24 if quick else 1000) if n is None else n, 8 if quick else DISTILLED)
    rounds = _check.integer("rounds", (1 if quick else 7) if rounds is None else rounds, 1)
    threads = threads_of(threads)
    some = min(8, n) if quick else DISTILLED
    with tempfile.TemporaryDirectory() as folder, pinned(threads):
        subject = _prepare(Path(folder), model, data, n, 1 if quick else EPOCHS, progress)
        once = _in_fresh_process(Path(folder), some, threads, progress)
        raced = _race(_Work.read(Path(folder), some), torch.tensor(once["certificate"]["norm"]), rounds, progress)
    record = circumstances() | {"threads": threads, "rounds": rounds, "quick": quick, "complete": True} | subject
    return record | {"distilled": some, "subset": some, "held_out": HELD_OUT} | once | raced


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One table for the fresh process, one for the race."""
    title = "{model}, {n:,} images, {outputs} logits, {parameters:,} parameters, {weights} weights"
    head = ("phase", "floors", "peak memory", "forward", "backward", "J v", "J^T a")
    rows = tuple(
        (
            row["phase"],
            f"{row['floors']:.2f}",
            readable_bytes(row["peak"]),
            *(f"{row[key]:,}" for key in ("forward", "backward", "jacobian_vector", "vector_jacobian")),
        )
        for row in record["phases"]
    )
    narrow = {name: name for name in head} | {"peak memory": "peak"}
    yield Cells(title.format(**record), head, rows, narrow)
    yield _raced(record)


def _raced(record: Mapping[str, Any]) -> Cells:
    head = ("method", "floors", "95 % interval", "", "error")
    title = "{rounds} interleaved rounds; floor {floor_seconds:.3g} s"
    rows = tuple(
        (
            row["method"],
            f"{row['ratio']:.3g}",
            f"{row['low']:.3g} - {row['high']:.3g}",
            "" if row["stated"] else "not stated",
            f"{row['error']:.2g}",
        )
        for row in record["rows"]
    )
    return Cells(title.format(**record), head, rows, {name: name for name in head})


# --- what is measured -------------------------------------------------------------------------------------------------


def _prepare(
    folder: Path, name: str, data: str | Path | None, n: int, epochs: int, progress: Callable[[str, int, int], object]
) -> dict[str, Any]:
    """Write network and images to a folder, for this process and the fresh one; say what they are."""
    if data is None:
        model, images = random_subject(_check.choice("model", name, tuple(SHAPES)), n + HELD_OUT)
        x, held, source = images[:n], images[n:], "random images"
    else:
        found = load(data)
        if n > len(found.x_train):
            _check.refuse("n", f"at most the {len(found.x_train):,} training images of {found.name}", f"{n:,}")
        model = build(name, seed=SEED, channels=found.image_shape[0], outputs=len(found.classes))

        def update(done: int, total: int) -> None:
            progress("train", done, total)

        model = train(model, found.x_train, found.y_train, epochs=epochs, seed=SEED, progress=update).model
        x, held, source = found.x_train[:n], found.x_test[:HELD_OUT], found.name
    save_weights(model, folder / "model")
    with torch.no_grad():
        outputs = model(x[:1]).shape[1]
    words = {"model": name, "outputs": str(outputs), "channels": str(x.shape[1])}
    write_tensors(folder / "images", {"x": x, "held": held}, words)
    weights = "random" if data is None else f"trained ({epochs} epochs)"
    return {"model": name, "data": source, "n": n, "shape": list(x.shape[1:]), "outputs": outputs,
            "parameters": parameter_count(model), "weights": weights}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Work:
    """The network, its images, and how many of them are distilled."""

    model: nn.Module
    x: Tensor
    held: Tensor
    some: int

    @classmethod
    def read(cls, folder: Path, some: int) -> _Work:
        tensors, words = read_tensors(folder / "images")
        model = build(words["model"], seed=SEED, channels=int(words["channels"]), outputs=int(words["outputs"]))
        load_weights(model, folder / "model")
        return cls(model.eval(), tensors["x"], tensors["held"], some)

    def problem(self, trace: Tensor) -> FullProblem:
        """The full problem: the network's logits, and lam in units of the mean diagonal."""
        with torch.no_grad():
            y = torch.cat([self.model(part) for part in self.x.split(BATCH)]).T.contiguous()
        return FullProblem(self.model, self.x, y, RELATIVE_RIDGE * trace / len(self.x), trace)

    def distilled(self, problem: FullProblem) -> tuple[Weights, Tensor]:
        """Weights from the projected features of the first few rows; Phi w from those of all rows."""
        found = tangent_features(self.model, problem.x, k=K, seed=0)
        features, m = found.values, self.some
        small = ridge_weights(features[:, :m], problem.targets[:, :m], problem.ridge)
        w = parameter_weights(small.to(features), self.model, found.plan)
        return w, (features @ small.to(features)[..., None])[..., 0]

    def floor(self) -> None:
        """One forward and C plain backward passes of the images, some at a time."""
        weights = list(self.model.parameters())
        for part in self.x.split(BATCH):
            logits = self.model(part).sum(0)
            for c in range(len(logits)):
                torch.autograd.grad(logits[c], weights, retain_graph=c + 1 < len(logits))

    def bounds(self, subset: Subset, held: HeldOut, found: Residual) -> dict[str, float]:
        """The largest bounds of any class, in units of its targets' root mean square."""
        seen, size = SubsetResidual(subset, found), subset.problem.targets.double().square().mean(1).sqrt()
        parts = {"training_rms": certify(seen).training_rms, "held_out_rms": held_out_bounds(seen, held).rms}
        parts["allowance"] = found.allowance * size / found.norm  # of the residual's own size
        return {name: float((part / size).max()) for name, part in parts.items()}


# --- once, in a fresh process -----------------------------------------------------------------------------------------


def _in_fresh_process(
    folder: Path, some: int, threads: int, progress: Callable[[str, int, int], object]
) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=_child, args=(other, folder, some, threads), daemon=True)
    process.start()
    other.close()
    phases: list[dict[str, Any]] = []
    progress("fresh process", 0, _PHASES)
    try:
        while "phase" in (row := pipe.recv()):
            phases.append(row)
            progress("fresh process", len(phases), _PHASES)
    except EOFError:
        raise RuntimeError("the fresh process ended before it was done") from None
    process.join()
    floor = (phases[0]["seconds"] + phases[-1]["seconds"]) / 2
    return {"phases": [part | {"floors": part["seconds"] / floor} for part in phases], "certificate": row}


def _child(pipe: Connection, folder: Path, some: int, threads: int) -> None:
    """In the fresh process, every phase between two floors: peak above model and images, passes, seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    torch.set_num_threads(threads)
    work = _Work.read(folder, some)
    n, C = len(work.x), len(work.model(work.x[:1])[0])
    _Work(work.model, work.x[:2], work.held, 2).floor()  # libraries allocate for good on first use
    base, passes = _resident("VmRSS"), _Passes(work.model)

    def phase(name: str, do: Callable[[], Any], products: tuple[int, int] = (0, 0)) -> Any:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts here
        passes.reset()
        start = time.perf_counter()
        found = do()
        seconds, counted = time.perf_counter() - start, passes.counted()
        peak = _resident("VmHWM") - base
        row = {"phase": name, "seconds": seconds, "peak": peak} | counted
        pipe.send(row | {"jacobian_vector": products[0], "vector_jacobian": products[1]})
        return found

    phase("floor", work.floor)
    trace = phase("tr K (once)", lambda: kernel_diagonal(work.model, work.x).sum(1))
    problem = work.problem(trace)
    w, fitted = phase("features, weights", lambda: work.distilled(problem))
    found = phase("residual, Phi w known", lambda: residual(problem, w, fitted=fitted), (0, C * n))
    del found
    found = phase("residual, Phi w unknown", lambda: residual(problem, w), (C * n, C * n))
    rows = torch.arange(some)
    subset, held = phase("subset (once)", lambda: _prepared(problem, rows, work.held))
    products = (C * (some + len(work.held)), C * some)
    bounds = phase("bounds", lambda: work.bounds(subset, held, found), products)
    phase("floor", work.floor)
    pipe.send(bounds | {"norm": found.norm.tolist()})


def _prepared(problem: FullProblem, rows: Tensor, x: Tensor) -> tuple[Subset, HeldOut]:
    subset = training_subset(problem, rows)
    return subset, held_out(subset, x)


class _Passes:
    """Counts the images that go forward through a network and the image-logit pairs that come back.

    A copy of the network counts here too. Outputs that come back together, as those of few images do, count once.
    """

    def __init__(self, model: nn.Module) -> None:
        self.reset()
        model.register_forward_hook(self._forward)

    def __deepcopy__(self, _: Any) -> _Passes:
        return self

    def reset(self) -> None:
        self.forward = self.backward = 0

    def counted(self) -> dict[str, int]:
        return {"forward": self.forward, "backward": self.backward}

    def _forward(self, _module: nn.Module, _given: Any, output: Tensor) -> None:
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(partial(self._backward, len(output)))

    def _backward(self, rows: int, _: Tensor) -> None:
        self.backward += rows


def _resident(key: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most since the mark was reset (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(rf"{key}:\s+(\d+) kB", status)[1])  # type: ignore[index]


# --- the race ---------------------------------------------------------------------------------------------------------


def _race(work: _Work, norm: Tensor, rounds: int, progress: Callable[[str, int, int], object]) -> dict[str, Any]:
    """Both residuals against the floor, interleaved; `norm` is what the fresh process found."""
    problem = work.problem(kernel_diagonal(work.model, work.x).sum(1))
    w, fitted = work.distilled(problem)

    def error(found: Residual) -> float:
        return float(((found.norm - norm).abs() / norm).max())

    tasks = [
        Task("floor", lambda _: work.floor()),
        Task("residual, Phi w known", lambda _: residual(problem, w, fitted=fitted), error),
        Task("residual, Phi w unknown", lambda _: residual(problem, w), error),
    ]
    race(tasks, 0)  # the warm-up
    laps: list[np.ndarray] = []
    progress("race", 0, rounds)
    for number in range(1, rounds + 1):
        laps.append(race(tasks, number))
        progress("race", number, rounds)
    unit = float(np.median([lap[0, 0] for lap in laps]))
    return {"floor_seconds": unit, "rows": results(tasks, laps)}
