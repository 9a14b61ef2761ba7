"""Features on disk: shards, each complete or absent, checked byte by byte, never mixed with another run's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._device import available_memory, readable_bytes
from dntk_fast.tangent.batches import in_any_mode
from dntk_fast.tangent.result import TangentFeatures
from dntk_fast.tangent.writing import DTYPES, Job, Options, identity, read_manifest, shard_file, stands, stored_plan

__all__ = ["FeatureStore", "write_features"]


@in_any_mode
def write_features(
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
    """Write the tangent features of all samples into a folder, or finish what an interrupted call began there.

    Shards that stand are kept, the others are made; with the same settings a store that was interrupted anywhere equals
    one that was not: bit for bit on the same machine with the same number of threads and the same `memory`, up to rounding
    otherwise. One process writes into a folder at a time (`distributed.write_distributed`: many).

    Parameters
    ----------
    folder : made if absent
    model, k, seed, options : as in `tangent_features`
    x : (n, ...) tensor, a tuple or dict of such arguments of the model, or an iterable of batches of either (a DataLoader
        without labels and shuffling); read once to be told apart from other data, and once more to be worked on
    dtype : of the numbers on disk: bfloat16, float16, float32 or float64
    shard_rows : samples in a file; held at a time, beside the working `memory`: four such shards at most
    progress : called with (shards that stand, all shards) after every shard

    Returns
    -------
    FeatureStore

    Raises
    ------
    ValueError
        The folder holds other features (the message says what differs) or other files; what `tangent_features` refuses;
        features too large for the dtype; batches that change from one pass to the next.
    OSError
        The disk is full; all finished shards stay.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = write_features(folder, nn.Linear(3, 2), torch.ones(5, 3), k=4, seed=0, shard_rows=2, keep_head=False)
    ...     len(store), store.load([4, 0]).body.shape
    (5, torch.Size([2, 2, 4]))
    """
    job = Job(folder, model, x, k=k, seed=seed, dtype=dtype, shard_rows=shard_rows, **options)
    job.begin()
    for index, part in enumerate(job.parts()):
        job.write(index, part)
        if progress is not None:
            progress(index + 1, len(job.digests))
    return FeatureStore(folder)


class FeatureStore:
    """Features on disk, opened for reading; every byte that is read is checked against its SHA-256.

    Attributes
    ----------
    manifest : what the features are of ("settings"), the map ("map", "plan"), the outputs at the first sample ("first")
    rows : samples in a shard
    plan : how the features were made; its sketch is the map itself

    Raises
    ------
    ValueError
        No store, an unfinished one, a damaged or missing file (by its name), a file of another store.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = _check.path("folder", folder)
        self.manifest = read_manifest(self.folder)
        self.plan = stored_plan(self.manifest)
        self.rows: int = self.manifest["settings"]["shard_rows"]
        for index in range(self.shards):
            if not stands(self.folder, index):
                expected = f"all {self.shards} shards (write_features with the same settings adds what is missing)"
                _check.refuse(
                    str(self.folder), expected, f"none or no checksum for {shard_file(self.folder, index).name}"
                )

    def __len__(self) -> int:
        return int(self.manifest["settings"]["samples"])

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-len(self) // self.rows)

    def __iter__(self) -> Iterator[TangentFeatures]:
        """Features shard by shard, in the order of the samples."""
        return (self._part(index) for index in range(self.shards))

    def load(
        self, rows: slice | Sequence[int] | Tensor | None = None, *, dtype: torch.dtype | None = None
    ) -> TangentFeatures:
        """Return the features of some samples, in the order asked for; of all if None.

        Parameters
        ----------
        rows : slice, indices (a sequence or an array of integers) or mask
        dtype : of the result, floating-point; that on disk if None

        Raises
        ------
        ValueError
            No such rows, or numbers that are no integers; more than fits into memory; a damaged or foreign file.
        TypeError
            A dtype that is not floating-point.
        """
        index = self._index(rows)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype: expected a floating-point torch.dtype, got {dtype!r}")
        dtype = dtype or DTYPES[self.manifest["settings"]["dtype"]]
        shape = (self.plan.outputs, len(index), self.plan.sketch.k)
        need, free = math.prod(shape) * dtype.itemsize, available_memory("cpu")
        if need > free:
            _check.refuse("rows", f"features that fit into {readable_bytes(free)} of free memory", readable_bytes(need))
        body, head = torch.empty(shape, dtype=dtype, device="cpu"), None
        for shard in (index // self.rows).unique().tolist():
            part, into = self._part(shard), (index // self.rows == shard).nonzero()[:, 0]
            body[:, into] = part.body[:, index[into] - shard * self.rows].to(dtype)
            if part.head is not None:
                head = torch.empty(len(index), part.head.shape[1], dtype=dtype, device="cpu") if head is None else head
                head[into] = part.head[index[into] - shard * self.rows].to(dtype)
        return TangentFeatures(body, head, self.plan)

    @cached_property
    def values(self) -> Tensor:
        """Body and head of all samples as one array (C, n, k + d_h + 1), where it fits into memory."""
        return self.load().values

    def _index(self, rows: Any) -> Tensor:
        try:
            chosen = range(len(self))[rows or slice(None)] if rows is None or isinstance(rows, slice) else rows
            given = (
                torch.tensor(list(chosen), device="cpu")
                if isinstance(chosen, Sequence)
                else torch.as_tensor(chosen).cpu()
            )
            fractions = given.numel() > 0 and (given.is_floating_point() or given.is_complex())
            found = torch.arange(len(self), device="cpu")[
                given if fractions or given.dtype == torch.bool else given.long()
            ]
        except (IndexError, TypeError, ValueError, RuntimeError) as error:
            got = f"{type(rows).__name__} ({str(error).splitlines()[0]})"
            _check.refuse("rows", f"integers, or a mask, of {len(self)} samples", got)
        if found.ndim != 1 or not len(found):
            _check.refuse("rows", "one row or more, in one axis", f"shape {tuple(found.shape)}")
        return found

    def _part(self, index: int) -> TangentFeatures:
        path = shard_file(self.folder, index)
        try:
            content, checksum = path.read_bytes(), path.with_suffix(".sha256").read_bytes()[:64]
        except FileNotFoundError as error:
            raise ValueError(f"{Path(error.filename).name}: expected a file in {self.folder}, got none") from None
        if hashlib.sha256(content).hexdigest().encode() != checksum:
            expected = f"the SHA-256 that {path.stem}.sha256 states"
            _check.refuse(path.name, expected, "another (one of the two is damaged: remove it and write again)")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                found = file.metadata()
            tensors = safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path.name}: expected a safetensors file, got another ({error})") from None
        if found != identity(self.manifest, index):
            _check.refuse(
                path.name, f"shard {index} of the store in manifest.json", "another shard or one of another store"
            )
        self._sound(path.name, index, tensors)
        return TangentFeatures(tensors["body"], tensors.get("head"), self.plan)

    def _sound(self, name: str, index: int, tensors: dict[str, Tensor]) -> None:
        """Refuse a shard whose tensors are not those of its samples, though its checksum be right."""
        rows, dtype = min(self.rows, len(self) - index * self.rows), DTYPES[self.manifest["settings"]["dtype"]]
        shapes: dict[str, tuple[int, ...]] = {"body": (self.plan.outputs, rows, self.plan.sketch.k)}
        if self.plan.head is not None:
            width = tensors["head"].shape[-1] if "head" in tensors and tensors["head"].ndim else 0
            shapes["head"] = (rows, width)
        got = {part: tuple(tensor.shape) for part, tensor in tensors.items()}
        if got != shapes or 0 in shapes.get("head", ()) or any(tensor.dtype != dtype for tensor in tensors.values()):
            _check.refuse(name, f"tensors of shapes {shapes} in {dtype}", f"{got}")
        wild = [part for part, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
        if wild:
            _check.refuse(name, "finite features", f"some of its {wild[0]} that are NaN or infinite")
