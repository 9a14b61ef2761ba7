"""Second moments under torchrun: the parts of a stream are dealt out to the processes, and the sums are added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from dntk_fast import _check
from dntk_fast.kernels.moments import KeptSums, Moments, Part, merge, moments_of
from dntk_fast.parallel.processes import add, agree, meet, place

__all__ = ["distributed_moments"]


def distributed_moments(part: Callable[[int], Part], parts: int, *, checkpoint: str | Path | None = None) -> Moments:
    """Sum the moments of a stream of parts that are dealt out to the processes in turn.

    Parameters
    ----------
    part : features (C, n_i, k) and targets (C, n_i) of part i; a process asks for its own alone
    parts : number of parts, 1 or above, the same in every process
    checkpoint : a folder; every process keeps its own sums there, and does not ask again for what they hold, but for its
        first part, by which the stream is known (`accumulate`). They are for this number of processes: with another all
        begins anew.

    Returns
    -------
    Moments
        Of all parts, in every process.

    Raises
    ------
    ValueError
        A checkpoint with more parts than the stream has, or of another stream; another number of parts in another process.

    >>> distributed_moments(lambda i: (torch.full((1, 1, 1), i + 1.0), torch.ones(1, 1)), 3).gram.tolist()
    [[[14.0]]]
    """
    _check.integer("parts", parts, 1)
    rank, world = place()
    agree({"parts": parts})
    folder = None if checkpoint is None else _check.path("checkpoint", checkpoint)
    file = None if folder is None else KeptSums(folder / f"moments-{rank}-of-{world}.safetensors")
    turns = len(range(rank, parts, world))
    own = None if file is None else file.load(lambda: part(rank), turns)
    done = 0 if own is None else own.parts
    for turn in range(-(-parts // world)):
        if done <= turn < turns:
            made = part(turn * world + rank)
            found = moments_of(*made)
            own = found if own is None else merge(own, found)
            if file is not None:
                file.save(own, made)
        meet()  # after every round: nobody runs ahead by more than the timeout
    return _added(own if own is not None else _nothing(moments_of(*part(0))))


def _nothing(like: Moments) -> Moments:
    """The moments of no rows: what a process adds that has no part."""
    gram, right, squares = (torch.zeros_like(sums) for sums in (like.gram, like.right, like.squares))
    return Moments(gram, right, squares, n=0, parts=0)


def _added(own: Moments) -> Moments:
    n, parts = add(torch.tensor([own.n, own.parts])).tolist()
    return Moments(add(own.gram), add(own.right), add(own.squares), n, parts)
