"""How features get to disk: one job, its manifest, and files that appear whole under their name or not at all.

A folder holds `manifest.json` (what the features are of, and the map), shard-00000.safetensors, ... (R samples each, all
outputs), and beside each shard its checksum: `sha256sum -c *.sha256` needs nothing of ours. A file is renamed to its name
once it is on disk, and never changed; a shard stands when its checksum does.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.files.atomic import remove_drafts, write_atomically
from dntk_fast.files.fingerprint import digest, fingerprint, same_to_rounding
from dntk_fast.files.sealed import checksum, of_kinds, read_sealed
from dntk_fast.projection import Sketch
from dntk_fast.tangent.batches import Outputs, Parameters, network, take
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.loaders import arguments
from dntk_fast.tangent.probes import probe, trainable
from dntk_fast.tangent.result import FeaturePlan

__all__ = [
    "DTYPES",
    "Job",
    "Options",
    "batch_digest",
    "identity",
    "plain",
    "read_manifest",
    "shard_file",
    "stands",
    "stored_plan",
]

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
_FORMAT = "dntk features 1"


class Options(TypedDict, total=False):
    """Further keyword arguments of `tangent_features`, with its defaults."""

    projection: str | Mapping[str, str]
    keep_head: bool | Literal["auto"]
    memory: int | None
    outputs: Outputs
    parameters: Parameters
    quality: float


def plain(options: Options) -> Options:
    """Options that can be read twice and written as JSON: an iterator becomes a list, a NumPy number one of Python's."""
    unknown = sorted(options.keys() - Options.__annotations__.keys())
    if unknown:
        raise TypeError(f"{unknown[0]}: expected a keyword argument of tangent_features, got another")
    found: dict[str, Any] = {**options}
    for name in ("outputs", "parameters"):
        value = found.get(name)
        if value is not None and not callable(value):
            if not isinstance(value, Iterable):
                raise TypeError(f"{name}: expected a sequence or a function, got {type(value).__name__}")
            found[name] = list(value)
    if "quality" in found:
        found["quality"] = _check.positive("quality", found["quality"])
    if "keep_head" in found and not isinstance(found["keep_head"], str):
        found["keep_head"] = bool(_check.choice("keep_head", found["keep_head"], (True, False, "auto")))
    return cast(Options, found)


class Job:
    """Features that are to be written: `begin` in one process, then `write` each part of `parts`, in any process."""

    def __init__(
        self,
        folder: str | Path,
        model: nn.Module,
        x: Any,
        *,
        k: int,
        seed: int,
        dtype: torch.dtype,
        shard_rows: int,
        **options: Unpack[Options],
    ) -> None:
        self.folder, self.options = _check.path("folder", folder), plain(options)
        self.model, self.x = _check.frozen_statistics(model), x
        self.seed, self.rows = _check.seed(seed), _check.integer("shard_rows", shard_rows, 1)
        self.dtype = _check.choice("dtype", str(dtype).removeprefix("torch."), list(DTYPES))
        wanted = trainable(model, self.options.get("parameters"))
        self.k = _check.dimension(k, sum(p.numel() for p in wanted.values()))
        self.device = next(iter(wanted.values())).device
        self.digests: list[str] = []
        self.samples = 0
        for part in self.parts():
            if not self.samples:
                self.first = part
            self.samples += _check.samples("x", _check.inputs("x", part))
            self.digests.append(batch_digest(part))
        self.settings = self._settings(list(wanted))
        self.manifest: dict[str, Any] = {}

    def parts(self) -> Iterator[Any]:
        """The samples, shard by shard."""
        return _parts(self.x, self.rows, self.model, self.options.get("outputs"))

    def begin(self) -> None:
        """Take the folder: make its manifest, or match the one it has; remove drafts that a killed process left."""
        if self.folder.exists() and not self.folder.is_dir():
            _check.refuse("folder", "a folder", f"the file {self.folder}")
        if not (self.folder / "manifest.json").exists():
            if self.folder.exists():
                remove_drafts(self.folder, lambda name: name == "manifest.json")
            if self.folder.exists() and any(self.folder.iterdir()):
                _check.refuse("folder", "an empty folder or an earlier store", f"{self.folder} with other files in it")
            content = self._new_manifest()
            content["sha256"] = checksum({**content, "sha256": None})
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):  # a link to nothing; a file above it
                _check.refuse("folder", "a folder, or a place for one", self.folder)
            self._save(self.folder / "manifest.json", json.dumps(content, indent=1, sort_keys=True).encode())
        self.match()
        remove_drafts(self.folder, lambda name: name == "manifest.json" or name.startswith("shard-"))

    def match(self) -> None:
        """Read the manifest, and refuse the folder if it holds other features than these.

        Raises
        ------
        ValueError
            The message names what differs.
        """
        found = read_manifest(self.folder)
        odd = [name for name, value in self.settings.items() if found["settings"].get(name) != value]
        told = [f"{name} {_short(found['settings'].get(name))} (not {_short(self.settings[name])})" for name in odd]
        if not told and not self._same_network(found["first"]):
            told = ["other outputs at the first sample"]
        if told:
            _check.refuse("folder", "features of the same settings", f"{self.folder} with {', '.join(told)}")
        self.manifest = found

    def write(self, index: int, part: Any) -> None:
        """Make one shard, unless it stands.

        Raises
        ------
        ValueError
            Other samples than on the first pass; features too large for the dtype.
        OSError
            The disk is full.
        """
        if stands(self.folder, index):
            return
        if index >= len(self.digests) or batch_digest(part) != self.digests[index]:
            _check.refuse("x", "the same samples in the same order on every pass", f"others in shard {index}")
        made = tangent_features(self.model, self._here(part), k=self.k, seed=self.seed, **self._settled())
        tensors = {"body": self._cast(made.body)}
        if made.head is not None:
            tensors["head"] = self._cast(made.head)
        content, path = safetensors.torch.save(tensors, identity(self.manifest, index)), shard_file(self.folder, index)
        path.with_suffix(".sha256").unlink(missing_ok=True)  # of a shard that was removed; the order matters to a kill
        self._save(path, content)
        self._save(path.with_suffix(".sha256"), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())

    def _settled(self) -> Options:
        """The options, with what "auto" chose when the store was begun."""
        plan = stored_plan(self.manifest)
        return {**self.options, "projection": plan.sketch.kinds, "keep_head": plan.head is not None}

    def _here(self, batch: Any) -> Any:
        return tree_map_only(Tensor, lambda part: part.to(self.device), batch)

    def _cast(self, features: Tensor) -> Tensor:
        found = features.to("cpu", DTYPES[self.dtype]).contiguous()
        if not bool(torch.isfinite(found).all()):
            largest = float(features.abs().max())
            _check.refuse("dtype", f"one that holds features up to {largest:.3g}", self.dtype)
        return found

    def _save(self, path: Path, content: bytes) -> None:
        try:
            write_atomically(path, content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            done = sum(stands(self.folder, index) for index in range(len(self.digests)))
            stand = f"{done} of {len(self.digests)} shards stand in {self.folder}"
            told = f"{os.strerror(error.errno)}: {path.name} needs {readable_bytes(len(content))}; {stand}"
            raise OSError(error.errno, f"{told}; make room and write again with the same settings") from None

    def _settings(self, wanted: list[str]) -> dict[str, Any]:
        """What makes two stores the same, as JSON gives it back; the budget is not part of it."""
        defaults = {name: given.default for name, given in signature(tangent_features).parameters.items()}
        given = {**defaults, **self.options}
        outputs, projection = given["outputs"], given["projection"]
        found = {
            "model": fingerprint(self.model),
            "data": checksum(self.digests),
            "samples": self.samples,
            "seed": self.seed,
            "k": self.k,
            "dtype": self.dtype,
            "shard_rows": self.rows,
            "projection": dict(projection) if isinstance(projection, Mapping) else projection,
            "keep_head": given["keep_head"],
            "quality": given["quality"],
            "parameters": wanted,
            "outputs": "a function" if callable(outputs) else None if outputs is None else [int(c) for c in outputs],
        }
        return dict(json.loads(json.dumps(found)))

    def _outputs(self) -> Tensor:
        """Outputs at the first sample, (C,)."""
        return probe(network(self.model, self.options.get("outputs")), self._here(take(self.first, slice(0, 1))))[0]

    def _same_network(self, outputs: list[float]) -> bool:
        """The fingerprint sees weights and modules alone; the outputs see `forward` and output function too."""
        own = self._outputs()
        return same_to_rounding(own, torch.tensor(outputs, dtype=torch.float64), own.dtype)

    def _new_manifest(self) -> dict[str, Any]:
        plan = feature_plan(self.model, self._here(self.first), k=self.k, seed=self.seed, **self.options)
        kinds = cast(Mapping[str, str], plan.sketch.kinds)
        drawn = [[name, list(shape), kinds[name]] for name, shape in plan.sketch.shapes.items()]
        chosen = {part.name: getattr(plan, part.name) for part in dataclasses.fields(plan) if part.name != "sketch"}
        first = self._outputs().double().tolist()
        return {"format": _FORMAT, "settings": self.settings, "first": first, "map": drawn, "plan": chosen}


# --- files and samples ------------------------------------------------------------------------------------------------


def shard_file(folder: Path, index: int) -> Path:
    """The file of a shard; that of its checksum differs in the suffix.

    >>> shard_file(Path("features"), 3).name
    'shard-00003.safetensors'
    """
    return folder / f"shard-{index:05d}.safetensors"


def identity(manifest: Mapping[str, Any], index: int) -> dict[str, str]:
    """What a shard says of itself: its place and its store; one entry, for safetensors writes several in any order."""
    return {"shard": f"{index} of {manifest['sha256']}"}


def stands(folder: Path, index: int) -> bool:
    """Whether a shard and its checksum, which is written after it, are there; reading says whether they are sound."""
    path = shard_file(folder, index)
    return path.exists() and path.with_suffix(".sha256").exists()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, every entry of its kind, or in one line why there is none."""
    path = folder / "manifest.json"
    try:
        found = read_sealed(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"folder: expected a store of features, got {folder} without manifest.json") from None
    if found.get("format") != _FORMAT:
        _check.refuse("manifest.json", _FORMAT, found.get("format"))
    of_kinds(path, found, {"settings": dict, "map": list, "plan": dict, "first": list})
    settings = of_kinds(path, found["settings"], _SETTINGS)
    for name in ("samples", "shard_rows", "k"):
        _check.integer(f"manifest.json: {name}", settings[name], 1)
    _check.choice("manifest.json: dtype", settings["dtype"], list(DTYPES))
    of_kinds(path, {"memory": 0} | found["plan"], _PLAN)
    for name in ("outputs", "rows", "classes"):
        _check.integer(f"manifest.json: {name}", found["plan"][name], 1)
    # No map is drawn where the head is all that there is: its parameters are at most two.
    drawn = all(_is_map(entry) for entry in found["map"])
    drawn &= len(found["map"]) > 0 or (found["plan"]["head"] is not None and len(settings["parameters"]) <= 2)
    lists = found["settings"]["parameters"] + found["plan"]["generic"]
    values = [value for value in found["first"] if isinstance(value, float)]
    if not drawn or not all(isinstance(name, str) for name in lists) or len(values) != found["plan"]["outputs"]:
        _check.refuse("manifest.json", "names, shapes and kinds of maps, and an output of each logit", "others")
    return found | {"sha256": checksum(found | {"sha256": None})}


_SETTINGS: dict[str, type | tuple[type, ...]]
_SETTINGS = {"model": str, "data": str, "samples": int, "seed": int, "k": int, "dtype": str, "shard_rows": int}
_SETTINGS |= {"parameters": list}
_PLAN: dict[str, type | tuple[type, ...]]
_PLAN = {"head": (str, type(None)), "outputs": int, "rows": int, "classes": int, "peak_bytes": int, "generic": list}
_PLAN |= {"memory": int}  # younger than the format: absent in stores from before


def _is_map(entry: Any) -> bool:
    """Whether an entry is [name, shape, kind]."""
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[1], list):
        return False
    sizes = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in entry[1])
    return sizes and isinstance(entry[0], str) and isinstance(entry[2], str)


def stored_plan(manifest: Mapping[str, Any]) -> FeaturePlan:
    """The plan that a manifest describes, its map included."""
    settings, drawn = manifest["settings"], manifest["map"]
    shapes, kinds = {name: tuple(shape) for name, shape, _ in drawn}, {name: kind for name, _, kind in drawn}
    fields = {field.name for field in dataclasses.fields(FeaturePlan)} & manifest["plan"].keys()
    chosen = {name: manifest["plan"][name] for name in fields}
    chosen |= {name: tuple(chosen.get(name, ())) for name in ("generic", "columns")}
    try:
        return FeaturePlan(sketch=Sketch(shapes, settings["k"], settings["seed"], kinds), **chosen)
    except ValueError as error:
        raise ValueError(f"manifest.json: expected a map that can be drawn, got {error}") from None


def batch_digest(batch: Any) -> str:
    """Names, shapes, types and bytes of the tensors of one shard."""
    if isinstance(batch, Tensor):
        return digest({"": batch})
    named = batch if isinstance(batch, Mapping) else {str(place): part for place, part in enumerate(batch)}
    flags = {f"{name}={part!r}": torch.empty(0) for name, part in named.items() if not isinstance(part, Tensor)}
    return digest({name: part for name, part in named.items() if isinstance(part, Tensor)} | flags)


def _kind(batch: Any) -> str:
    """What batches must have in common to be joined, in words."""
    if isinstance(batch, Tensor):
        return f"{tuple(batch.shape[1:])} of {batch.dtype} on {batch.device}" if batch.ndim else "a number"
    if isinstance(batch, Mapping):
        return ", ".join(f"{name}: {_kind_of_part(batch[name])}" for name in sorted(batch, key=str))
    return f"({', '.join(map(_kind_of_part, batch))})" if isinstance(batch, tuple) else type(batch).__name__


def _kind_of_part(part: Any) -> str:
    return repr(part) if isinstance(part, _check.CONSTANTS) else _kind(part)


def _beside(held: Any, more: Any) -> Any:
    return torch.cat((held, more)) if isinstance(held, Tensor) else held


def _parts(x: Any, rows: int, model: nn.Module, outputs: Any) -> Iterator[Any]:
    """Cut samples, or batches of any sizes, into batches of `rows` samples (the last may be smaller)."""
    if isinstance(x, Tensor | tuple | Mapping) or not isinstance(x, Iterable):
        for part in _check.tensors("x", x):
            _check.dense("x", part)
        yield from (take(x, slice(at, at + rows)) for at in range(0, _check.samples("x", x), rows))
        return
    if isinstance(x, Iterator):
        _check.refuse("x", "batches that can be read twice", f"the iterator {type(x).__name__}")
    held: Any = None
    for batch in x:
        batch = arguments("x", batch, model, outputs)
        if held is not None and _kind(batch) != _kind(held):
            _check.refuse("x", f"batches alike, {_kind(held)}", _kind(batch))
        held = batch if held is None else tree_map(_beside, held, batch)
        while _check.samples("x", held) > rows:
            yield take(held, slice(0, rows))
            held = take(held, slice(rows, None))
    yield held if held is not None else _check.refuse("x", "at least one batch", "none")
