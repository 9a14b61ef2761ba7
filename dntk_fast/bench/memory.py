"""Peak memory above model and result, watched from outside, in a fresh process for each budget.

Watched is the anonymous memory of the process: what it allocates, and neither the code of libraries nor the pages of a
result that lies on disk. The process makes its model and images, does the same with two of them (libraries allocate for
good on first use), waits until it is watched, and does the work.
"""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.bench.race import circumstances, threads_of
from dntk_fast.bench.subjects import random_subject
from dntk_fast.report.cells import Cells
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel

__all__ = ["BUDGETS", "TASKS", "measure", "prepared", "tables", "watch"]

BUDGETS = (256 * 2**20, 2**30)
TASKS = {"features": "resnet18", "kernel": "conv28"}
# Seconds between two looks. Memory counts from its first touch, which takes the system far longer for 10 MiB.
INTERVAL = 0.001
K = 512


def measure(
    *,
    n: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Measure both tasks with both budgets, and the refusal of a budget of one byte; Ctrl-C ends it after a whole run.

    Parameters
    ----------
    n : images; 6,400 if None (16 if quick)
    threads : of torch; as many as it has if None
    quick : few images and the smaller budget, to see that it runs
    progress : called with (task, runs done, runs)

    Returns
    -------
    dict
        What JSON can hold: device, threads, versions, date, and one row for each task and budget.
    """
    n = _check.integer("n", (16 if quick else 6400) if n is None else n, 2)
    threads = threads_of(threads)
    rows: list[dict[str, Any]] = []
    record = circumstances() | {"threads": threads, "n": n, "quick": quick, "complete": False, "rows": rows}
    try:
        for task, name in TASKS.items():
            least, budgets = _refused(task), BUDGETS[:1] if quick else BUDGETS
            for number, budget in enumerate(budgets):
                progress(task, number, len(budgets))
                subject = {"task": task, "network": name, "budget": budget, "minimum": least}
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(subject | watch(prepared, task, n, budget, threads, folder))
            progress(task, len(budgets), len(budgets))
        record["complete"] = True
    except KeyboardInterrupt:
        pass
    return record


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One table: the peak of every run as a share of its budget."""
    head = ("task", "budget", "peak", "peak / budget", "planned", "refused below", "seconds")
    rows = tuple(
        (
            f"{row['task']}, {row['network']}",
            *(readable_bytes(row[key]) for key in ("budget", "peak")),
            f"{row['peak'] / row['budget']:.2f}",
            *(readable_bytes(row[key]) for key in ("planned", "minimum")),
            f"{row['seconds']:.0f}",
        )
        for row in record["rows"]
    )
    title = f"{record['n']:,} images, {record['threads']} threads: memory above model and result"
    yield Cells(title, head, rows, {name: name for name in head[:4]} | {"refused below": "refused below"})


# --- the work ---------------------------------------------------------------------------------------------------------

Work = Callable[[], tuple[int, int]]  # gives the bytes of its result that lie in memory, and the peak that was planned


def prepared(task: str, n: int, budget: int, threads: int, folder: str) -> Work:
    """The model and its images, after the same was done with two of them."""
    torch.set_num_threads(threads)
    model, images = random_subject(TASKS[task], n)
    _work(task, model, images[:2], budget)
    if task == "features":
        return lambda: _work(task, model, images, budget)
    shape = (10, n, n)
    out = torch.from_file(f"{folder}/kernel", shared=True, size=10 * n * n, dtype=torch.float64).view(shape)
    return lambda: _work(task, model, images, budget, out)


def _work(task: str, model: nn.Module, images: Tensor, budget: int, out: Tensor | None = None) -> tuple[int, int]:
    if task == "features":
        found = tangent_features(model, images, k=K, seed=0, memory=budget)
        kept = [found.body] if found.head is None else [found.body, found.head]
        return sum(part.numel() * part.element_size() for part in kept), found.plan.peak_bytes
    plan = kernel_plan(model, images, memory=budget)
    tangent_kernel(model, images, memory=budget, out=out)
    return 0, plan.peak_bytes


def _refused(task: str) -> int:
    """The smallest budget for one sample, as the refusal of a smaller one states it."""
    model, images = random_subject(TASKS[task], 2)
    try:
        _work(task, model, images, 1)
    except ValueError as refusal:
        return int(re.search(r"at least (\d+)", str(refusal))[1])  # type: ignore[index]
    raise RuntimeError(f"{task}: expected a refusal of a budget of one byte")


# --- the watch --------------------------------------------------------------------------------------------------------


def watch(prepare: Callable[..., Work], *arguments: Any) -> dict[str, Any]:
    """Prepare in a fresh process, look at its memory while it works, and take what the result holds off the peak."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=_child, args=(other, prepare, arguments), daemon=True)
    process.start()
    other.close()
    try:
        pipe.recv()
        before = peak = _anonymous(process.pid)
        start = time.perf_counter()
        pipe.send(None)
        while not pipe.poll(INTERVAL):
            peak = max(peak, _anonymous(process.pid))
        seconds, (result, planned) = time.perf_counter() - start, pipe.recv()
        pipe.send(None)
    except EOFError:
        raise ChildProcessError(f"expected a process that works to its end, got exit code {_ended(process)}") from None
    finally:
        process.terminate()
        process.join()
    return {"peak": peak - before - result, "planned": planned, "result": result, "seconds": seconds}


def _ended(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def _child(pipe: Connection, prepare: Callable[..., Work], arguments: Sequence[Any]) -> None:
    """In the process of its own: prepare, tell, wait for the watch, work, tell, and wait for its end."""
    work = prepare(*arguments)
    for answer in (lambda: None, work):
        pipe.send(answer())
        pipe.recv()


def _anonymous(process: int | None) -> int:
    """Bytes that a process has allocated and touched."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])  # type: ignore[index]
