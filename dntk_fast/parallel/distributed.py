"""The same features under torchrun: samples go to the processes shard by shard, every process draws the same map.

    with process_group():
        features = distributed_features(model, x, k=512, seed=0)  # gathered: all of them in every process
        store = write_distributed(folder, model, x, k=512, seed=0)  # left on a disk that all processes see

Where one process is killed the others end with one line, and the same command goes on from the shards that stand; with
`torchrun --max-restarts 1` it does so by itself. Without a process group one process does all the work. However many share
it, the bits are the same on the same kind of machine with the same number of threads in each (torchrun sets one) and the
same `memory`; otherwise the numbers are equal up to rounding. Moments stand in
`parallel.moments`, products and certificates in `parallel.jacobian`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.distributed as dist
from torch import nn

from dntk_fast import _check
from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.parallel.processes import LostProcessError, agree, collect, meet, place, reason
from dntk_fast.tangent.batches import take
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.result import TangentFeatures
from dntk_fast.tangent.store import FeatureStore
from dntk_fast.tangent.writing import Job, Options, batch_digest, plain, stands

__all__ = ["distributed_features", "process_group", "write_distributed"]


@contextmanager
def process_group(*, backend: str = "gloo", timeout: float = 60.0) -> Iterator[int]:
    """Join the processes that torchrun started, and part at the end; gives the rank of this one.

    Where another process ends, or is silent for longer than the timeout, this one ends too, with one line and exit code 1.

    Parameters
    ----------
    backend : "gloo" (any device; results travel through main memory), or "nccl" after torch.cuda.set_device
    timeout : seconds that a process waits for another before it gives up: more than one shard takes

    Raises
    ------
    ValueError
        torchrun did not start this process.
    SystemExit
        The processes did not meet, or another one was lost.
    """
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        _check.refuse(
            "process_group", "a process that torchrun started", f"one without {missing[0]} in its environment"
        )
    limit = timedelta(seconds=_check.positive("timeout", timeout))
    try:
        dist.init_process_group(backend, timeout=limit)
    except RuntimeError as error:
        raise SystemExit(f"dntk: the processes did not meet ({reason(error)})") from None
    try:
        yield dist.get_rank()
    except LostProcessError as error:
        raise SystemExit(f"dntk: {error}") from None
    finally:
        dist.destroy_process_group()


def distributed_features(
    model: nn.Module, x: Any, *, k: int, seed: int, rows: int = 256, **options: Unpack[Options]
) -> TangentFeatures:
    """Compute the features of `tangent_features` in all processes of the group, and gather them in each.

    Shards of `rows` samples are dealt out in turn: the numbers depend on `rows`, on the threads of a process and on `memory`
    (their last bits, by the order of sums), not on the number of processes.

    Parameters
    ----------
    model, x, k, seed, options : as in `tangent_features`, the same in every process
    rows : samples in a shard; gathering holds one shard for each process

    Returns
    -------
    TangentFeatures
        Of all samples, in every process.

    Raises
    ------
    ValueError
        What `tangent_features` refuses; a model, data or settings that differ between processes.

    >>> distributed_features(nn.Linear(3, 2), torch.ones(5, 3), k=4, seed=0, rows=2, keep_head=False).body.shape
    torch.Size([2, 5, 4])
    """
    rows, n, (rank, world) = _check.integer("rows", rows, 1), _check.samples("x", x), place()
    options = plain(options)
    plan = feature_plan(model, x, k=k, seed=seed, **options)
    drawn = [list(plan.sketch.shapes.items()), plan.sketch.kinds, plan.head, plan.outputs]
    agree({"model": fingerprint(model), "x": batch_digest(x), "k": k, "seed": seed, "rows": rows, "options": drawn})
    settled: Options = {**options, "projection": plan.sketch.kinds, "keep_head": plan.head is not None}
    body, head = None, None
    for start in range(0, n, world * rows):
        own = start + rank * rows
        # Who has no shard left in the last round works on one sample, for the shapes of what is gathered.
        part = take(x, slice(own, own + rows) if own < n else slice(0, 1))
        made = tangent_features(model, part, k=k, seed=seed, **settled)
        body = collect(body, made.body, 1, start, n, rows)
        head = None if made.head is None else collect(head, made.head, 0, start, n, rows)
    assert body is not None
    return TangentFeatures(body, head, plan)


def write_distributed(
    folder: str | Path,
    model: nn.Module,
    x: Any,
    *,
    k: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
    shard_rows: int = 256,
    progress: Callable[[int, int], object] | None = None,
    **options: Unpack[Options],
) -> FeatureStore:
    """Do the work of `write_features` in all processes of the group: the same folder, its numbers equal up to rounding.

    Bit for bit where machine, threads of each process and `memory` are the same.

    Parameters
    ----------
    folder : on a disk that all processes see
    model, x, k, seed, dtype, shard_rows, options : as in `write_features`, the same in every process
    progress : called in every process with (shards that it knows to stand, all shards) after every round

    Returns
    -------
    FeatureStore
        The whole store, in every process.

    Raises
    ------
    ValueError
        What `write_features` refuses; a model, data or settings that differ between processes.
    OSError
        The disk is full; all finished shards stay.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(write_distributed(folder, nn.Linear(3, 2), torch.ones(5, 3), k=4, seed=0, shard_rows=2))
    5
    """
    job = Job(folder, model, x, k=k, seed=seed, dtype=dtype, shard_rows=shard_rows, **options)
    rank, world = place()
    agree(job.settings)
    if rank == 0:
        job.begin()
    meet()
    job.match()
    wanted = [index for index in range(len(job.digests)) if not stands(job.folder, index)]
    meet()  # all have looked before any writes
    turns = {index: turn for turn, index in enumerate(wanted)}
    for index, part in enumerate(job.parts()):
        turn = turns.get(index)
        if turn is None:
            continue
        if turn % world == rank:
            job.write(index, part)
        if turn % world == world - 1 or turn == len(wanted) - 1:
            meet()  # after every round: nobody runs ahead by more than the timeout
            if progress is not None:
                progress(len(job.digests) - len(wanted) + turn + 1, len(job.digests))
    return FeatureStore(folder)
