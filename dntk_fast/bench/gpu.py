"""Kernels, features and products in floors on a GPU, with torch and numpy alone: `python3 -m dntk_fast bench gpu`.

Ratios to the floor as in `floor`, for batches that fill a GPU; peak memory against the budget; and how fast the sketch
reads gradients, as a share of a copy on the same device.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dntk_fast import _check
from dntk_fast.bench import floor
from dntk_fast.bench.floor import Case
from dntk_fast.bench.race import ROUNDS, Task, clock_of, pinned, race, ratio
from dntk_fast.bench.subjects import SEED, random_subject
from dntk_fast.projection import Sketch
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import tangent_kernel

__all__ = ["CASES", "main", "measure", "results_file", "tables"]

CASES = {
    "resnet18": Case((3, 32, 32), 256, 1),
    "resnet18_96": Case((3, 96, 96), 64, 1, (512,), "resnet18", 2**32),
    "conv28": Case((1, 28, 28), 1024, 10),
    "vit_tiny": Case((3, 32, 32), 64, 1),
}
BUDGETS = (2**28, 2**30)
GRADIENT = 2**24  # entries of a row whose sketch is timed


def measure(
    *,
    device: torch.device | str = "cuda",
    rounds: int | None = None,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Measure everything on one device; Ctrl-C ends it with what is whole so far and `complete` False.

    Parameters
    ----------
    device : where the work is done; "cpu" to see that it runs
    rounds : 21 if None (3 if quick); with fewer than 21 nothing may be stated
    quick : one small network, two images
    progress : called with (what, rounds done, rounds)

    Returns
    -------
    dict
        As of `floor.measure`, with `memory` and `sketch`.

    Raises
    ------
    ValueError
        No such device here.
    """
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        _check.refuse("device", "a CUDA device that torch sees", "none on this machine")
    rounds = _check.integer("rounds", (3 if quick else ROUNDS) if rounds is None else rounds, 1)
    cases = {"conv28": CASES["conv28"]} if quick else CASES
    only = list(cases)
    record = floor.measure(only=only, rounds=rounds, quick=quick, device=device, cases=cases, progress=progress)
    record |= {"memory": [], "sketch": []}
    if not record["complete"]:
        return record
    record["complete"] = False
    with pinned(record["threads"]):
        try:
            if device.type == "cuda":
                for row in _memory(device, 8 if quick else 512):
                    record["memory"].append(row)
            for row in _sketch(device, 2**12 if quick else GRADIENT, rounds):
                record["sketch"].append(row)
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record


def _memory(device: torch.device, n: int) -> Iterator[dict[str, Any]]:
    """Peak of torch's allocator above model, images and result, for each budget."""
    for name in ("resnet18", "conv28"):
        model, images = (part.to(device) for part in random_subject(name, n))
        works = {
            "exact kernel": lambda memory, m=model, x=images: tangent_kernel(m, x, memory=memory),
            "features, k = 512": lambda memory, m=model, x=images: (
                tangent_features(m, x, k=512, seed=0, memory=memory).body
            ),
        }
        for method, work in works.items():
            work(BUDGETS[0])  # the libraries' own work space stays
            for budget in BUDGETS:
                torch.cuda.synchronize(device)
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
                result = work(budget)
                torch.cuda.synchronize(device)
                peak = torch.cuda.max_memory_allocated(device) - before - result.nbytes
                yield {"network": name, "n": n, "method": method, "budget": budget, "peak": peak}
                del result


def _sketch(device: torch.device, size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Time to project rows of a gradient, over the time to copy them."""
    rows = torch.randn(8, size, generator=torch.Generator().manual_seed(SEED)).to(device)
    for k in (512, 4096):
        block = Sketch({"w": (size,)}, k=k, seed=0).block("w", dtype=rows.dtype, device=device)
        tasks = [Task("copy", lambda _: rows.clone()), Task("sketch", partial(lambda map_, _: map_.apply(rows), block))]
        race(tasks, 0, clock_of(device))
        laps = [race(tasks, number, clock_of(device)) for number in range(1, rounds + 1)]
        copy, sketch = ([float(lap[place, 0]) for lap in laps] for place in (0, 1))
        yield {"k": k, "rows": len(rows), "entries": size} | ratio(sketch, copy)


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """The tables of `floor`, of memory and of the sketch."""
    yield from floor.tables(record)
    if record["memory"]:
        rows = tuple(
            (
                f"{row['network']}, n = {row['n']}: {row['method']}",
                f"{row['budget'] >> 20}",
                f"{row['peak'] / 2**20:.0f}",
            )
            for row in record["memory"]
        )
        head = ("work", "budget, MiB", "peak, MiB")
        yield Cells("peak memory above model, images and result", head, rows, {name: name for name in head})
    judged = tuple(
        (
            f"k = {row['k']}",
            f"{row['ratio']:.2f}",
            f"{row['low']:.2f} - {row['high']:.2f}",
            "" if row["stated"] else "not stated",
        )
        for row in record["sketch"]
    )
    if judged:
        names = ("contiguous sketch", "copies", "95 % interval", "")
        yield Cells("time of a sketch in copies of the same rows", names, judged, {name: name for name in names})


def results_file(record: Mapping[str, Any], folder: Path) -> Path:
    """The file of a device, by its name.

    >>> str(results_file({"device": {"gpu": "NVIDIA H100 80GB HBM3"}}, Path("results")))
    'results/nvidia-h100-80gb-hbm3/gpu.json'
    """
    name = record["device"].get("gpu", record["device"].get("cpu", "device"))
    return folder / "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) / "gpu.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; without a CUDA device it ends in one line and exit code 2."""
    parser = argparse.ArgumentParser("dntk bench gpu", description="Measure kernels, features and the sketch on a GPU.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ..., or cpu to see that it runs")
    parser.add_argument("--rounds", type=int, help="interleaved rounds; below 21 nothing is stated")
    parser.add_argument("--quick", action="store_true", help="one small network and three rounds: does it run?")
    parser.add_argument(
        "--json", type=Path, help="file of the numbers; asv_benchmarks/results/<device>/gpu.json in a checkout"
    )
    options = parser.parse_args(sys.argv[3:] if arguments is None else arguments)
    try:
        record = measure(device=options.device, rounds=options.rounds, quick=options.quick, progress=_tell)
    except (ValueError, RuntimeError) as error:
        print(f"dntk: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # before anything was whole
        print(file=sys.stderr)  # the line of the progress
        print("Stopped: no file is written.")
        raise SystemExit(130) from None
    if not record["complete"]:
        print(file=sys.stderr)
    for table in tables(record):
        print(f"{table}\n")
    if not record["complete"]:
        print("Stopped: what is whole so far; no file is written.")
        raise SystemExit(130)
    results = Path("asv_benchmarks/results")
    path = options.json or (results_file(record, results) if results.is_dir() and not options.quick else None)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"numbers: {path}")


def _tell(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done}/{total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)
