"""How times are compared: interleaved rounds after a warm-up, in an order drawn anew each time, threads pinned.

A ratio is taken within a round, so that a machine that slows down slows both of its sides.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from dntk_fast import _check

__all__ = ["ROUNDS", "Task", "circumstances", "clock_of", "pinned", "race", "ratio", "results", "threads_of"]

# What may be stated has at least so many rounds, and an interval whose half-width is at most this share of it.
ROUNDS, HALF_WIDTH = 21, 0.1


@dataclass(frozen=True)
class Task:
    """Work of a seed, `repeats` times of which are the whole; how to judge its result, and the error to be expected."""

    method: str
    work: Callable[[int], Any]
    error: Callable[[Any], float] | None = None
    expected: float | None = None
    repeats: int = 1


def clock_of(device: torch.device | str) -> Callable[[], float]:
    """A clock that waits until the device has done what it was asked for; a GPU answers before it has worked."""
    if torch.device(device).type != "cuda":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def race(tasks: Sequence[Task], number: int, clock: Callable[[], float] = time.perf_counter) -> np.ndarray:
    """Run every task once, in the order and with the seed of this round: (tasks, 2), seconds and error (or NaN)."""
    laps = np.full((len(tasks), 2), np.nan)
    for at in np.random.default_rng(number).permutation(len(tasks)):
        task = tasks[at]
        start = clock()
        result = task.work(number)
        laps[at, 0] = (clock() - start) * task.repeats
        if task.error is not None:
            laps[at, 1] = task.error(result)
        del result  # before the next task needs the memory
    return laps


def ratio(seconds: Sequence[float], unit: Sequence[float]) -> dict[str, Any]:
    """Median of the ratios within rounds, its bootstrap 95 % interval, and whether it may be stated.

    >>> found = ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0])  # a slow round slows both sides
    >>> found["ratio"], found["low"], found["high"], found["stated"]
    (2.0, 2.0, 3.0, False)
    """
    each = np.asarray(seconds) / np.asarray(unit)
    drawn = np.random.default_rng(0).choice(each, (4_000, len(each)))
    low, high = (float(end) for end in np.quantile(np.median(drawn, axis=1), (0.025, 0.975)))
    median = float(np.median(each))
    stated = len(each) >= ROUNDS and high - low <= 2 * HALF_WIDTH * median
    return {"ratio": median, "low": low, "high": high, "rounds": len(each), "stated": stated}


def results(tasks: Sequence[Task], laps: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """One row for each task but the first, which is the unit; errors are root mean squares over rounds."""
    seconds, errors = np.moveaxis(np.array(laps), 2, 0)
    rows = []
    for at, task in enumerate(tasks[1:], 1):
        error = float(np.sqrt(np.mean(errors[:, at] ** 2))) if task.error else None
        judged = {"error": error, "expected_error": task.expected, "repeats": task.repeats}
        rows.append({"method": task.method} | ratio(seconds[:, at], seconds[:, 0]) | judged)
    return rows


def threads_of(threads: int | None) -> int:
    """Return how many threads a measurement is to have: those asked for, or as many as torch has.

    >>> threads_of(2)
    2
    """
    return torch.get_num_threads() if threads is None else _check.integer("threads", threads, 1)


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Let torch compute with so many threads inside, and convolutions on a GPU in float32 as such, not in TF32."""
    before, rounded = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.allow_tf32 = rounded


def circumstances(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Day, processor, GPU where the work is there, and versions; no name of a host, no path."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    machine: dict[str, Any] = {"cpu": cpu, "cores": os.cpu_count()}
    if torch.device(device).type == "cuda":
        machine["gpu"], versions["cuda"] = torch.cuda.get_device_name(device), str(torch.version.cuda)
    return {"date": datetime.now(UTC).date().isoformat(), "device": machine, "versions": versions}
