"""Between the processes of a group: places, gathered tensors, sums. Without a group there is one process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dntk_fast import _check

__all__ = ["LostProcessError", "add", "agree", "collect", "gather", "meet", "place", "reason"]

T = TypeVar("T")


class LostProcessError(ConnectionError):
    """Another process of the group ended, or did not answer within the timeout."""


def place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def gather(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, in the order of their ranks; shapes and types are the same."""
    world = place()[1]
    if world == 1:
        return [tensor]
    sent = _sent(tensor)
    parts = [torch.empty_like(sent) for _ in range(world)]
    _answered(lambda: dist.all_gather(parts, sent))
    return parts


def add(tensor: Tensor) -> Tensor:
    """The sum over all processes, with the same bits in each, where the tensor was."""
    if place()[1] == 1:
        return tensor
    total = _sent(tensor)
    _answered(lambda: dist.all_reduce(total))
    return total.to(tensor.device)


def meet() -> None:
    """Wait for all processes."""
    gather(torch.zeros(1))


def agree(settings: Mapping[str, Any]) -> None:
    """Refuse what is not the same in every process: a model without a seed, shuffled data, another argument."""
    texts = (json.dumps(value, sort_keys=True).encode() for value in settings.values())
    own = torch.tensor([list(hashlib.sha256(text).digest()) for text in texts], dtype=torch.uint8)
    for other in gather(own):
        same = (other.cpu() == own).all(dim=1).tolist()
        odd = [name for name, agrees in zip(settings, same, strict=True) if not agrees]
        if odd:
            _check.refuse(odd[0], "the same in every process", "different ones")


def collect(total: Tensor | None, own: Tensor, axis: int, start: int, n: int, rows: int) -> Tensor:
    """Put the shards of one round, `start` the first of its samples, into the array of all n samples."""
    shape = list(own.shape)
    if total is None:
        total = own.new_empty(*shape[:axis], n, *shape[axis + 1 :])
    padded = own.new_zeros(*shape[:axis], rows, *shape[axis + 1 :])
    padded.narrow(axis, 0, shape[axis]).copy_(own)
    for turn, part in enumerate(gather(padded)):
        at = start + turn * rows
        if at < n:
            count = min(rows, n - at)
            total.narrow(axis, at, count).copy_(part.narrow(axis, 0, count))
    return total


def reason(error: Exception) -> str:
    """The first sentence of torch's message, without the file that it comes from.

    >>> reason(RuntimeError("[a/file.cc:3] Connection closed by peer [::1]:1. Check the logs."))
    'Connection closed by peer [::1]:1'
    """
    return " ".join(str(error).split()).rpartition("] ")[2].partition(". ")[0]


def _sent(tensor: Tensor) -> Tensor:
    """A copy where the processes exchange."""
    return tensor.to("cuda" if dist.get_backend() == "nccl" else "cpu").clone().contiguous()


def _answered(exchange: Callable[[], T]) -> T:
    try:
        return exchange()
    except RuntimeError as error:
        rank, world = place()
        kept = "what is on disk stands, and the same command goes on from there"
        raise LostProcessError(f"process {rank} of {world} lost another one ({reason(error)}); {kept}") from None
