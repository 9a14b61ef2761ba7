"""A folder of finished stages: each written whole or not at all, checked when read, and never another run's.

`config.json` says whose the folder is: the run's configuration, digests of what it was made of, and every file that the run
may have written there, each named before it is written. A stage is its arrays, then its record, which ends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch

from dntk_fast import _check
from dntk_fast.files.atomic import remove_drafts, write_atomically
from dntk_fast.files.lock import FolderLock
from dntk_fast.files.sealed import checksum, of_kinds, read_sealed, write_sealed

__all__ = ["Stage", "StageStore", "config_hash"]

_FORMAT = "dntk run 1"
_RECORD = "config.json"
_KINDS: dict[str, type | tuple[type, ...]]
_KINDS = {"numbers": dict, "forward_passes": int, "backward_passes": int, "bytes": int, "seconds": (int, float)}


@dataclass(frozen=True)
class Stage:
    """What one stage leaves behind: arrays, numbers, and what it cost.

    `forward_passes` and `backward_passes` count images (and, backward, image-logit pairs); `bytes` is the size of the
    arrays that the stage had to hold as its result, whether or not they were kept on disk.
    """

    arrays: Mapping[str, torch.Tensor] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    forward_passes: int = 0
    backward_passes: int = 0
    bytes: int = 0
    seconds: float = 0.0


class _Kept(dict[str, Any]):
    """Entries of a file; one that is asked for and is not there is refused by the file's name."""

    def __init__(self, path: Path, entries: Mapping[str, Any]) -> None:
        super().__init__(entries)
        self.path = path

    def __missing__(self, name: str) -> NoReturn:
        _check.refuse(str(self.path), f"a stage with {name!r}", "none")


def config_hash(config: Mapping[str, Any]) -> str:
    """First eight hexadecimal digits of the SHA-256 of the configuration as canonical JSON.

    >>> config_hash({"b": 1, "a": 2}) == config_hash({"a": 2, "b": 1})
    True
    """
    return checksum(config)[:8]


class StageStore:
    """The stages of one configuration in one folder, in which no other process works until `close`.

    Parameters
    ----------
    folder : path
        Made if absent. `config.json` in it says which run it belongs to.
    config : mapping
        JSON-able configuration of the run.
    inputs : mapping
        Digests, by name, of what the configuration only names: the data of a run, say.
    overwrite : bool
        Forget the stages of another configuration, or of other inputs, instead of refusing the folder. What `config.json`
        lists is removed, and nothing else.

    Raises
    ------
    ValueError
        The folder belongs to another configuration, was made of other inputs, holds files that no run wrote, a damaged
        `config.json`, or links where the run's own files should be; or another process works in it.
    OSError
        A file could not be removed or written.
    """

    def __init__(
        self,
        folder: str | Path,
        config: Mapping[str, Any],
        *,
        inputs: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = _check.path("out", folder)
        self.config = json.loads(json.dumps(config))
        self.inputs = dict(inputs or {})
        self.identity = checksum([self.config, self.inputs])
        self.files: list[str] = []
        _make_folder(self.folder)
        self._lock = FolderLock("out", self.folder)
        self._claim(overwrite)

    def __enter__(self) -> StageStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the folder to other processes."""
        self._lock.release()

    def _claim(self, overwrite: bool) -> None:
        found = self._read_claim()
        if found is not None:
            told = _difference(found, self.config, self.inputs)
            if told and not overwrite:
                raise ValueError(
                    f"out: {self.folder} holds a run with {told}; choose another folder or pass --overwrite"
                )
            self.files = found["files"]
            remove_drafts(self.folder, lambda name: name == _RECORD or name in self.files)
        stages = self.folder / "stages"
        if stages.is_symlink():
            _check.refuse("out", f"a folder of its own in {stages}", "a link (link the whole folder instead)")
        if found is None or told:
            self._forget()
            self._write_claim()
        stages.mkdir(exist_ok=True)
        remove_drafts(stages, lambda name: name.endswith((".json", ".safetensors", ".looks")))

    def _read_claim(self) -> dict[str, Any] | None:
        """Whose the folder is; None where it is nobody's: empty, or all that a run killed at its very start left there."""
        path = self.folder / _RECORD
        if not os.path.lexists(path):
            remove_drafts(self.folder, lambda name: name == _RECORD)
            stages = self.folder / "stages"
            # An empty folder of stages alone may be anybody's: it stays, and is filled.
            empty = stages.is_dir() and not stages.is_symlink() and not any(_not_drafts(stages))
            if {entry.name for entry in self.folder.iterdir()} - ({"stages"} if empty else set()):
                expected = "an empty folder or an earlier run"
                raise ValueError(f"out: expected {expected}, got {self.folder} with other files in it")
            return None
        if not stat.S_ISREG(path.lstat().st_mode):
            _check.refuse("out", f"a file of a run in {path}", "a link or a folder")
        try:
            raw = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"out: expected JSON in {path}, got {' '.join(str(error).split())[:200]}") from None
        if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
            _check.refuse("out", f"an empty folder or a run ({_FORMAT})", f"{self.folder} with another {_RECORD}")
        found = of_kinds(path, read_sealed(path), {"config": dict, "inputs": dict, "files": list})
        for name in found["files"]:
            if not isinstance(name, str) or not _own_name(name):
                _check.refuse(str(path), "names of files of a run", repr(name)[:80])
        return found

    def _write_claim(self) -> None:
        content = {"format": _FORMAT, "config": self.config, "inputs": self.inputs, "files": self.files}
        write_sealed(self.folder / _RECORD, content)

    def _forget(self) -> None:
        """Remove the files of another run: none, unless all of them are plain files."""
        # Records first: a run cut short here leaves stages undone, and none without its arrays.
        paths = [self.folder / name for name in sorted(self.files, key=lambda name: not name.endswith(".json"))]
        for path in paths:
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
                _check.refuse("out", "plain files of a run, to overwrite them", f"a link or a folder, {path}")
        for path in paths:
            path.unlink(missing_ok=True)
        self.files = []

    def announce(self, *names: str) -> None:
        """Enter files in the list of those that the run may have written, before they are written.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, StageStore(folder, {"k": 1}) as store:
        ...     store.announce("report.json")
        ...     store.files
        ['report.json']
        """
        new = [name for name in names if name not in self.files]
        if new:
            self.files = [*self.files, *new]
            self._write_claim()

    def path(self, name: str, suffix: str) -> Path:
        """Return where a stage keeps its file with this suffix."""
        return self.folder / _in_stages(name, suffix)

    @contextmanager
    def checkpoint(self, name: str) -> Iterator[Path]:
        """Give the file in which a stage may keep its state, and one beside it (".looks"); both go when the stage stands."""
        names = [_in_stages(name, f".checkpoint.safetensors{suffix}") for suffix in ("", ".looks")]
        if not self.finished(name):
            self.announce(*names)
        yield self.folder / names[0]
        for one in names:
            (self.folder / one).unlink(missing_ok=True)

    def finished(self, name: str) -> bool:
        """Tell whether the stage stands: its record is written last, so a record means a whole stage."""
        return self.path(name, ".json").exists()

    def load(self, name: str) -> Stage:
        """Read a finished stage back.

        Raises
        ------
        ValueError
            In one line that names the file: a damaged record or damaged arrays, or those of another run or stage.
        """
        path = self.path(name, ".json")
        record = of_kinds(path, read_sealed(path), _KINDS | {"run": str, "stage": str, "arrays": (str, type(None))})
        if (record.pop("run"), record.pop("stage")) != (self.identity, name):
            _check.refuse(str(path), f"the stage {name!r} of this run", "that of another stage or run")
        numbers = [record[key] for key in _KINDS if key != "numbers"]
        if min(numbers) < 0 or not max(numbers) < float("inf"):
            _check.refuse(str(path), "passes, bytes and seconds of 0 or above", numbers)
        kept = record.pop("arrays")
        arrays = {} if kept is None else self._arrays(self.path(name, ".safetensors"), kept)
        return Stage(
            arrays=_Kept(self.path(name, ".safetensors"), arrays),
            numbers=_Kept(path, record.pop("numbers")),
            **{key: record[key] for key in _KINDS if key != "numbers"},
        )

    @staticmethod
    def _arrays(path: Path, kept: str) -> dict[str, torch.Tensor]:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            _check.refuse(str(path), "the arrays of a finished stage", "no such file")
        if hashlib.sha256(content).hexdigest() != kept:
            _check.refuse(
                str(path), "the arrays that the stage's record names by their SHA-256", "damaged or other ones"
            )
        try:
            return safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            _check.refuse(str(path), "a safetensors file", f"another ({error})")

    def run(self, name: str, work: Callable[[], Stage]) -> Stage:
        """Give back the stage, doing the work only if no earlier run finished it."""
        if self.finished(name):
            return self.load(name)
        start = time.perf_counter()
        stage = work()
        record = {
            "run": self.identity,
            "stage": name,
            "numbers": dict(stage.numbers),
            "forward_passes": stage.forward_passes,
            "backward_passes": stage.backward_passes,
            "bytes": stage.bytes,
            "seconds": time.perf_counter() - start,
            "arrays": None,
        }
        self.announce(_in_stages(name, ".json"), _in_stages(name, ".safetensors"))
        if stage.arrays:
            content = safetensors.torch.save({k: v.detach().contiguous().cpu() for k, v in stage.arrays.items()})
            record["arrays"] = hashlib.sha256(content).hexdigest()
            write_atomically(self.path(name, ".safetensors"), content)
        write_sealed(self.path(name, ".json"), record)
        return self.load(name)


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: expected a folder, got the file {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):  # a link to nothing; a file above it
        _check.refuse("out", "a folder, or a place for one", folder)


def _in_stages(name: str, suffix: str) -> str:
    return f"stages/{name}{suffix}"


def _own_name(name: str) -> bool:
    """Whether a run may have written a file of this name: in its folder or among its stages, and nowhere above."""
    parts = Path(name).parts
    plain = "\0" not in name and ".." not in parts and not Path(name).is_absolute()
    return plain and (len(parts) == 1 or (len(parts) == 2 and parts[0] == "stages")) and parts[-1] != _RECORD


def _not_drafts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not (path.name.startswith(".") and path.name.endswith(".part"))]


def _difference(found: Mapping[str, Any], config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What a run in the folder has that this one has not, in words; empty if they are the same run."""
    kept = found["config"]
    keys = sorted(key for key in {*kept, *config} if kept.get(key) != config.get(key))
    told = [f"{key}={kept.get(key)!r} (not {config.get(key)!r})" for key in keys]
    made = found["inputs"]
    for name in sorted(name for name in {*made, *inputs} if made.get(name) != inputs.get(name)):
        told.append(f"other {name} (fingerprint {str(made.get(name))[:12]}, not {str(inputs.get(name))[:12]})")
    return ", ".join(told)
