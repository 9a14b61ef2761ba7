"""What the benchmarks share: the grid of sizes, seeded instances, pairs of reference and fast path, interleaved ratios.

Variables: `DNTK_BENCH_FULL=1` runs the whole grid (and 21 rounds behind every ratio), `DNTK_BENCH_DEVICE=cuda` puts the
fast path on a GPU, `OMP_NUM_THREADS` sets the threads (one without it).
"""

import contextlib
import ctypes
import gc
import hashlib
import inspect
import itertools
import os
import statistics
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

FULL = os.environ.get("DNTK_BENCH_FULL") == "1"
DEVICE = os.environ.get("DNTK_BENCH_DEVICE", "cpu")
SEED = 20260211


class Size(SimpleNamespace):
    """One point of a grid; its repr is the name of the parameter in the results."""

    def __repr__(self):
        return " ".join(f"{name}={value}" for name, value in vars(self).items())

    def __hash__(self):
        return hash(repr(self))


def grid(keep=2, *, every=None, **axes):
    """The points of the product of the axes that this run takes; `keep` for each value of the axis `every`."""
    if every:
        return [point for value in axes[every] for point in grid(keep, **{**axes, every: (value,)})]
    points = [Size(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]
    return subset(points, keep)


def subset(points, keep=2):
    """All points, or without `DNTK_BENCH_FULL` the first and `keep` - 1 others, drawn with a fixed seed."""
    if FULL or len(points) <= keep:
        return points
    drawn = np.random.default_rng(SEED).choice(np.arange(1, len(points)), keep - 1, replace=False)
    return [points[0], *(points[i] for i in sorted(drawn))]


def features(rng, *shape):
    """Rows with decaying columns: the spectrum of their Gram matrix falls like that of tangent features does."""
    return rng.standard_normal(shape) * (1.0 + np.arange(shape[-1])) ** -0.75


def tensor(array, dtype="float64"):
    """The array as the fast path gets it."""
    return torch.as_tensor(array, dtype=getattr(torch, dtype), device=DEVICE)


def to_numpy(array):
    """The array on the host."""
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def flat(result):
    """All numbers of a result in one float64 vector."""
    if isinstance(result, tuple | list):
        return np.concatenate([flat(part) for part in result])
    return to_numpy(result).astype(np.float64).ravel()


def relative_error(found, true):
    """|found - true| / |true|, Euclidean norms over all numbers of the two results."""
    found, true = flat(found), flat(true)
    if found.shape != true.shape:
        raise ValueError(f"found: expected {true.size} numbers, got {found.size}")
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def seconds(work):
    """Seconds that one call takes, the device's queue emptied before and after."""
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


def synchronise():
    """Wait for the device."""
    if DEVICE.startswith("cuda"):
        torch.cuda.synchronize()


def ratio(work, unit, *, rounds=21, budget=1.0):
    """Median over interleaved rounds of the time of `work` over that of `unit`, after one warm-up of each.

    The small grid stops after `budget` seconds, though not before the third round; the whole one does every round.
    """
    work(), unit()
    ratios, start = [], time.perf_counter()
    while len(ratios) < rounds and (FULL or len(ratios) < 3 or time.perf_counter() < start + budget):
        ratios.append(seconds(work) / seconds(unit))
    return statistics.median(ratios)


def forget_peak():
    """Let the peak of memory start from here, where the system can (Linux); else the set-up's peak hides the work's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, so that the work's own memory counts again
        Path("/proc/self/clear_refs").write_text("5")


class Pair(ABC):
    """One quantity, by the reference and by the fast path, on the same seeded instance.

    A subclass has `params = [grid(...)]` and `work`, which prepares the instance and gives back the two computations.
    `peakmem_nothing` is the empty run (process and instance) that the other two peaks are to be read against.
    """

    param_names = ("size",)
    timeout = 300.0
    rounds, repeat, warmup_time = 1, (2, 10, 0.5), 0.05

    def __init_subclass__(cls):
        # asv would otherwise hash the inherited methods alone and take a changed instance for the same benchmark.
        cls.version = hashlib.sha256(inspect.getsource(cls).encode()).hexdigest()

    @abstractmethod
    def work(self, rng, size):
        """Prepare the instance; return (reference, fast), two functions without arguments."""

    def setup(self, size):
        self.reference, self.fast = self.work(np.random.default_rng(SEED), size)

    def time_reference(self, size):
        self.reference()

    def time_fast(self, size):
        self.fast()
        synchronise()

    def settle(self):
        """Run both once, so that what libraries load on first use counts for neither, and start the peak after that."""
        self.reference(), self.fast()
        forget_peak()

    def peakmem_nothing(self, size):
        self.settle()

    def peakmem_reference(self, size):
        self.settle()
        self.reference()

    def peakmem_fast(self, size):
        self.settle()
        self.fast()

    def track_error(self, size):
        return relative_error(self.fast(), self.reference())

    def track_speedup(self, size):
        return ratio(self.reference, self.fast)

    track_error.unit = "relative"
    track_speedup.unit = "reference / fast"
