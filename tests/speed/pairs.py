"""What the timings share: the cases and sizes of asv's benchmarks, agreement before time, and what is kept of a machine."""

import importlib
import inspect
from functools import cache
from pathlib import Path

import torch

from asv_benchmarks.benchmarks.common import Pair
from dntk_fast.bench.race import circumstances
from tests.tolerances import TOL

BENCHMARKS = Path(__file__).resolve().parents[2] / "asv_benchmarks" / "benchmarks"
# Two draws by two generators, of which nothing but their laws can agree: no time is taken of them here.
DRAWN = {"Draw", "method=kmeans_rows"}
# Rounds behind every row of the table, after one that warms up.
ROUNDS = 5


def pairs(module):
    """The quantities of bench_<module>.py that have two sides, in the order of the file."""
    found = vars(importlib.import_module(f"asv_benchmarks.benchmarks.bench_{module}")).values()
    own = [one for one in found if inspect.isclass(one) and issubclass(one, Pair) and one is not Pair]
    return [one for one in own if one.__name__ not in DRAWN]


def modules():
    """The modules whose benchmarks have two sides."""
    names = [path.stem.removeprefix("bench_") for path in sorted(BENCHMARKS.glob("bench_*.py"))]
    return [name for name in names if pairs(name)]


def sizes(quantity):
    """The points of asv's grid in float64; in float32 where the grid has no other, so that one tolerance serves a file."""
    points = [point for point in quantity.params[0] if not DRAWN & set(repr(point).split())]
    return [point for point in points if getattr(point, "dtype", "float64") == "float64"] or points


@cache
def prepared(quantity, size):
    """The instance, and the error of the fast path on it."""
    pair = quantity()
    pair.setup(size)
    return pair, pair.track_error(size)


def agree_then_time(benchmark, quantity, size, side, tolerance=TOL["float64"]):
    """Assert that the sides agree on the instance; then run the one asked for, as often as the plug-in is to time it."""
    pair, error = prepared(quantity, size)
    single = getattr(size, "dtype", "float64") == "float32"
    assert error <= (TOL["float32"] if single else tolerance)
    benchmark.group = f"{quantity.__module__.rpartition('.bench_')[2]}: {quantity.__name__}, {size!r}"
    benchmark.extra_info["error"] = error
    benchmark.pedantic(getattr(pair, f"time_{side}"), args=(size,), rounds=ROUNDS, warmup_rounds=1)


def machine():
    """What a kept time depends on, and nothing that names the machine."""
    found = circumstances()
    return {**found["device"], "threads": torch.get_num_threads(), **found["versions"]}


KEPT = ("group", "name", "fullname", "param", "params", "extra_info", "stats")


def kept(record):
    """A record of the plug-in, with four digits of each number, without what nobody compares.

    Every single time, the options and the classes of parameters are left out.
    """
    rows = [{key: row[key] for key in KEPT} | {"params": None} for row in record["benchmarks"]]
    for row in rows:
        row["stats"] = {key: _short(value) for key, value in row["stats"].items() if key != "data"}
    return record | {"benchmarks": rows}


def _short(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value
