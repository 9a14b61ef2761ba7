"""What a second process buys, and what a second thread: features and a full-kernel residual, shared by processes.

The processes of all ways stay up and wait; one way works at a time.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dntk_fast import _check
from dntk_fast.bench.race import ROUNDS, Task, circumstances, race, results
from dntk_fast.bench.subjects import random_subject
from dntk_fast.certificates.certificate import residual
from dntk_fast.parallel.distributed import distributed_features, process_group
from dntk_fast.parallel.jacobian import distributed_problem
from dntk_fast.report.cells import Cells

__all__ = ["WAYS", "measure", "tables"]

WAYS = ((1, 1), (2, 1), (1, 2))  # processes, threads of each; the first is the unit
_NETWORK, _IMAGES, _SHARDS = "conv28", 256, 4
_WORK = ("features, k = 512", "full-kernel residual")
_PATIENCE = 600.0  # seconds after which a group that does not answer is given up


def measure(
    *, rounds: int | None = None, quick: bool = False, progress: Callable[[str, int, int], object] = lambda *_: None
) -> dict[str, Any]:
    """Measure the work of every way; Ctrl-C ends it with the whole rounds done so far and `complete` False.

    Parameters
    ----------
    rounds : 21 if None (1 if quick); with fewer than 21 nothing may be stated
    quick : few images, to see that it runs
    progress : called with (work, rounds done, rounds)

    Returns
    -------
    dict
        What JSON can hold: device, versions, date, and for each work the seconds of one process with one thread and the
        ratios of the other ways to it; the error is the largest relative difference of its numbers.
    """
    rounds = _check.integer("rounds", (1 if quick else ROUNDS) if rounds is None else rounds, 1)
    images = 8 if quick else _IMAGES
    record = circumstances() | {"rounds": rounds, "quick": quick, "complete": False, "work": []}
    record |= {"network": _NETWORK, "n": images, "shard_rows": images // _SHARDS}
    with ExitStack() as stack:
        ways = {way: stack.enter_context(_team(*way, images)) for way in WAYS}
        try:
            for name in _WORK:
                _add(record["work"], name, ways, rounds, partial(progress, name))
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One table for each work."""
    head = ("processes x threads", "of the unit's time", "95 % interval", "", "difference")
    for found in record["work"]:
        rows = tuple(
            (row["method"], f"{row['ratio']:.3g}", f"{row['low']:.3g} - {row['high']:.3g}",
             "" if row["stated"] else "not stated", f"{row['error']:.2g}")
            for row in found["rows"]
        )  # fmt: skip
        title = f"{found['name']}, {record['network']}, {record['n']} images; 1 x 1: {found['seconds']:.3g} s"
        yield Cells(title, head, rows, {name: name for name in head})


def _add(
    kept: list[dict[str, Any]],
    name: str,
    ways: Mapping[tuple[int, int], Callable[[str], Tensor]],
    rounds: int,
    progress: Callable[[int, int], object],
) -> None:
    progress(0, rounds)
    expected = ways[WAYS[0]](name)

    def difference(found: Tensor) -> float:
        return float((found - expected).abs().max() / expected.abs().max())

    tasks = [Task(f"{p} x {t}", lambda _, ask=ask: ask(name), difference) for (p, t), ask in ways.items()]  # type: ignore[misc]
    race(tasks, 0)  # the warm-up
    laps: list[np.ndarray] = []
    try:
        for number in range(1, rounds + 1):
            laps.append(race(tasks, number))
            progress(number, rounds)
    finally:
        if laps:
            seconds = float(np.median([lap[0, 0] for lap in laps]))
            kept.append({"name": name, "seconds": seconds, "rows": results(tasks, laps)})


# --- processes that wait for work -----------------------------------------------------------------------------------------


@contextmanager
def _team(processes: int, threads: int, images: int) -> Iterator[Callable[[str], Tensor]]:
    """Start the processes of one way; gives a function that has them do some work and returns what the first one found."""
    context, pipes, members = get_context("spawn"), [], []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for rank in range(processes):
        own, other = context.Pipe()
        member = context.Process(target=_member, args=(other, rank, processes, threads, port, images), daemon=True)
        member.start()
        other.close()
        pipes.append(own)
        members.append(member)

    def ask(name: str) -> Tensor:
        try:
            for pipe in pipes:
                pipe.send(name)
            first, *_ = [torch.tensor(pipe.recv(), dtype=torch.float64) for pipe in pipes]
            return first
        except (EOFError, OSError):
            raise ConnectionError(f"processes: expected {processes} that answer, one has ended") from None

    try:
        yield ask
    finally:
        for pipe in pipes:
            pipe.close()
        for member in members:
            member.join()


def _member(pipe: Connection, rank: int, processes: int, threads: int, port: int, images: int) -> None:
    """One process: join the others, then do what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    torch.set_num_threads(threads)
    place = {"RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    with process_group(timeout=_PATIENCE) if processes > 1 else nullcontext():
        work = _work(images)
        while True:
            try:
                name = pipe.recv()
            except EOFError:
                return
            pipe.send(work[name]())


def _work(images: int) -> dict[str, Callable[[], list[float]]]:
    """The work by name; what it returns is short: a squared norm for every class."""
    model, x = random_subject(_NETWORK, images)
    classes, rows = int(model(x[:1]).shape[1]), images // _SHARDS
    targets = torch.randn(classes, images, generator=torch.Generator().manual_seed(0))
    problem = distributed_problem(model, x, targets, 1.0, torch.ones(classes), shard_rows=rows)
    weights = {name: p.detach().expand(classes, *p.shape) for name, p in model.named_parameters()}

    def features() -> list[float]:
        found = distributed_features(model, x, k=512, seed=0, rows=rows).values.double()
        return [float(norm) for norm in found.square().sum((1, 2))]

    def norms() -> list[float]:
        return [float(norm) for norm in residual(problem, weights).norm]

    return dict(zip(_WORK, (features, norms), strict=True))
