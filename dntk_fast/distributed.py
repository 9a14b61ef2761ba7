"""The same features under torchrun: samples go to the processes shard by shard, every process draws the same map.

    with process_group():
        features = distributed_features(model, x, k=512, seed=0)  # gathered: all of them in every process
        store = write_distributed(folder, model, x, k=512, seed=0)  # left on a disk that all processes see

Without a process group the one process that there is does all the work, to the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.models import fingerprint
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.generic import take
from dntk_fast.tangent.result import TangentFeatures
from dntk_fast.tangent.store import FeatureStore
from dntk_fast.tangent.writing import Job, Options, batch_digest, stands

__all__ = ["distributed_features", "process_group", "write_distributed"]


@contextmanager
def process_group(*, backend: str = "gloo", timeout: float = 60.0) -> Iterator[int]:
    """Join the processes that torchrun started, and part at the end; gives the rank of this one.

    Parameters
    ----------
    backend : "gloo" (any device; results travel through main memory), or "nccl" after torch.cuda.set_device
    timeout : seconds that a process waits for another before it gives up: more than one shard takes

    Raises
    ------
    ValueError
        torchrun did not start this process.
    """
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        _check.refuse(
            "process_group", "a process that torchrun started", f"one without {missing[0]} in its environment"
        )
    dist.init_process_group(backend, timeout=timedelta(seconds=_check.positive("timeout", timeout)))
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def distributed_features(
    model: nn.Module, x: Any, *, k: int, seed: int, rows: int = 256, **options: Unpack[Options]
) -> TangentFeatures:
    """Compute the features of `tangent_features` in all processes of the group, and gather them in each.

    Shards of `rows` samples are dealt out in turn, so the bits depend on `rows` and not on the number of processes.

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
    rows, n, (rank, world) = _check.integer("rows", rows, 1), _check.samples("x", x), _place()
    plan = feature_plan(model, x, k=k, seed=seed, **options)
    drawn = [list(plan.sketch.shapes.items()), plan.sketch.kinds, plan.head, plan.outputs]
    _agree({"model": fingerprint(model), "x": batch_digest(x), "k": k, "seed": seed, "rows": rows, "options": drawn})
    settled: Options = {**options, "projection": plan.sketch.kinds, "keep_head": plan.head is not None}
    body, head = None, None
    for start in range(0, n, world * rows):
        own = start + rank * rows
        # Who has no shard left in the last round works on one sample, for the shapes of what is gathered.
        part = take(x, slice(own, own + rows) if own < n else slice(0, 1))
        made = tangent_features(model, part, k=k, seed=seed, **settled)
        body = _collect(body, made.body, 1, start, n, rows)
        head = None if made.head is None else _collect(head, made.head, 0, start, n, rows)
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
    """Do the work of `write_features` in all processes of the group: the same folder, bit for bit.

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
    rank, world = _place()
    _agree(job.settings)
    if rank == 0:
        job.begin()
    _meet()
    job.match()
    wanted = [index for index in range(len(job.digests)) if not stands(job.folder, index)]
    _meet()  # all have looked before any writes
    turns = {index: turn for turn, index in enumerate(wanted)}
    for index, part in enumerate(job.parts()):
        turn = turns.get(index)
        if turn is None:
            continue
        if turn % world == rank:
            job.write(index, part)
        if turn % world == world - 1 or turn == len(wanted) - 1:
            _meet()  # after every round: nobody runs ahead by more than the timeout
            if progress is not None:
                progress(len(job.digests) - len(wanted) + turn + 1, len(job.digests))
    return FeatureStore(folder)


# --- between the processes --------------------------------------------------------------------------------------------


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def _gather(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, in the order of their ranks; shapes and types are the same."""
    world = _place()[1]
    if world == 1:
        return [tensor]
    sent = tensor.to("cuda" if dist.get_backend() == "nccl" else "cpu").contiguous()
    parts = [torch.empty_like(sent) for _ in range(world)]
    dist.all_gather(parts, sent)
    return parts


def _meet() -> None:
    _gather(torch.zeros(1))


def _agree(settings: Mapping[str, Any]) -> None:
    """Refuse what is not the same in every process: a model without a seed, shuffled data, another argument."""
    texts = (json.dumps(value, sort_keys=True).encode() for value in settings.values())
    own = torch.tensor([list(hashlib.sha256(text).digest()) for text in texts], dtype=torch.uint8)
    for other in _gather(own):
        same = (other.cpu() == own).all(dim=1).tolist()
        odd = [name for name, agrees in zip(settings, same, strict=True) if not agrees]
        if odd:
            _check.refuse(odd[0], "the same in every process", "different ones")


def _collect(total: Tensor | None, own: Tensor, axis: int, start: int, n: int, rows: int) -> Tensor:
    """Put the shards of one round, `start` the first of its samples, into the features of all n samples."""
    shape = list(own.shape)
    if total is None:
        total = own.new_empty(*shape[:axis], n, *shape[axis + 1 :])
    padded = own.new_zeros(*shape[:axis], rows, *shape[axis + 1 :])
    padded.narrow(axis, 0, shape[axis]).copy_(own)
    for place, part in enumerate(_gather(padded)):
        at = start + place * rows
        if at < n:
            count = min(rows, n - at)
            total.narrow(axis, at, count).copy_(part.narrow(axis, 0, count))
    return total
