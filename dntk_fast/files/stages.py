"""A folder of finished stages: each written whole or not at all, and never another run's."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dntk_fast.files.atomic import write_atomically

__all__ = ["Stage", "StageStore", "config_hash"]


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


def config_hash(config: Mapping[str, Any]) -> str:
    """First eight hexadecimal digits of the SHA-256 of the configuration as canonical JSON.

    >>> config_hash({"b": 1, "a": 2}) == config_hash({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
    write_atomically(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))


class StageStore:
    """The stages of one configuration in one folder.

    Parameters
    ----------
    folder : path
        Made if absent. `config.json` in it says which run it belongs to.
    config : mapping
        JSON-able configuration of the run.
    overwrite : bool
        Forget the stages of another configuration instead of refusing the folder. Only what a run wrote is removed.

    Raises
    ------
    ValueError
        The folder belongs to another configuration, or holds files that no run wrote.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.config = json.loads(json.dumps(config))
        self._claim(overwrite)

    def _claim(self, overwrite: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"out: expected a folder, got the file {self.folder}")
        record = self.folder / "config.json"
        if record.exists():
            found = self._read_json(record)
            if found != self.config:
                if not overwrite:
                    raise ValueError(
                        f"out: {self.folder} holds a run with {_difference(found, self.config)}; "
                        "choose another folder or pass --overwrite"
                    )
                self._forget()
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(
                f"out: expected an empty folder or an earlier run, got {self.folder} with other files in it"
            )
        (self.folder / "stages").mkdir(parents=True, exist_ok=True)
        _write_json(record, self.config)

    def _forget(self) -> None:
        shutil.rmtree(self.folder / "stages", ignore_errors=True)
        for name in ("config.json", "report.json", "report.html"):
            (self.folder / name).unlink(missing_ok=True)

    @staticmethod
    def _read_json(path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"out: expected JSON in {path}, got {error}") from None

    def path(self, name: str, suffix: str) -> Path:
        """Return where a stage keeps its file with this suffix."""
        return self.folder / "stages" / f"{name}{suffix}"

    def finished(self, name: str) -> bool:
        """Tell whether the stage stands: its record is written last, so a record means a whole stage."""
        return self.path(name, ".json").exists()

    def load(self, name: str) -> Stage:
        """Read a finished stage back."""
        from safetensors.torch import load_file  # here, for the writer below is wanted without it too

        record = self._read_json(self.path(name, ".json"))
        arrays_file = self.path(name, ".safetensors")
        arrays = load_file(arrays_file) if record.pop("has_arrays") else {}
        return Stage(arrays=arrays, **record)

    def run(self, name: str, work: Callable[[], Stage]) -> Stage:
        """Give back the stage, doing the work only if no earlier run finished it."""
        from safetensors.torch import save_file

        if self.finished(name):
            return self.load(name)
        start = time.perf_counter()
        stage = work()
        record = {
            "numbers": dict(stage.numbers),
            "forward_passes": stage.forward_passes,
            "backward_passes": stage.backward_passes,
            "bytes": stage.bytes,
            "seconds": time.perf_counter() - start,
            "has_arrays": bool(stage.arrays),
        }
        if stage.arrays:
            arrays = {key: value.detach().contiguous().cpu() for key, value in stage.arrays.items()}
            write_atomically(self.path(name, ".safetensors"), lambda part: save_file(arrays, part))
        _write_json(self.path(name, ".json"), record)
        return self.load(name)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    keys = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    return ", ".join(f"{key}={found.get(key)!r} (not {wanted.get(key)!r})" for key in keys)
