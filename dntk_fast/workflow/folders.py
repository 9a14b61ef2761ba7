"""Folders of class folders, as torchvision's ImageFolder reads them: their files, of which class and which part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from dntk_fast._check import refuse
from dntk_fast._device import available_memory, readable_bytes
from dntk_fast.workflow.pictures import pixels

__all__ = ["Pictures", "holds_class_folders", "read_class_folders"]

TRAIN, HELD_OUT = "train", ("val", "test")
KINDS = (".jpg", ".jpeg", ".png")
# Pictures of another kind, which a reader would miss if they were passed over.
OTHERS = (".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
LARGEST = 2**28  # bytes of one file
# Arrays of all pictures that a data set has in hand: bytes, and float32.
COPIES = 5


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures uint8 (n, side, side, 3), labels (n,), how many are training (None: no split), names of the classes."""

    images: np.ndarray
    labels: np.ndarray
    train: int | None
    classes: tuple[str, ...]


def holds_class_folders(folder: Path) -> bool:
    """Whether a folder holds folders and no image pack.

    >>> holds_class_folders(Path("/nowhere"))
    False
    """
    return not list(folder.glob("*.npz")) and bool(_folders(folder))


def read_class_folders(folder: Path, side: int) -> Pictures:
    """Read train/ and val/ (or test/), each a folder of class folders, or a folder of class folders alone.

    Classes are numbered in the order of their names; pictures come class by class in the order of theirs, folders inside
    a class folder included, names that start with a dot left out. Each is brought to side x side pixels: its shorter side
    by Lanczos, then the square in the middle.

    Raises
    ------
    ValueError
        Without class folders, with other ones in the held-out part, with a class without pictures, with a picture that
        cannot be read, is of another kind or too large, or with more than fit into the memory.
    """
    parts = _parts(folder)
    classes = [path.name for path in _folders(parts[0])]
    if len(classes) < 2:
        _refuse(folder, f"at least two class folders in {parts[0].name}", ", ".join(classes) or "none")
    for part in parts[1:]:
        odd = sorted({path.name for path in _folders(part)} ^ set(classes))
        if odd:
            _refuse(folder, f"the same class folders in {parts[0].name} and {part.name}", f"{odd[0]} in one of them")
    files = [(_files(folder, part / name), label) for part in parts for label, name in enumerate(classes)]
    every = [(path, label) for paths, label in files for path in paths]
    need = len(every) * side * side * 3 * COPIES
    if need > available_memory("cpu"):
        _refuse(folder, "pictures that fit into the free memory", f"{len(every)} of {readable_bytes(need)}")
    images = np.empty((len(every), side, side, 3), np.uint8)
    for at, (path, _) in enumerate(every):
        images[at] = _read(folder, path, side)
    train = sum(len(paths) for paths, _ in files[: len(classes)]) if len(parts) == 2 else None
    return Pictures(images, np.asarray([label for _, label in every]), train, tuple(classes))


def _parts(folder: Path) -> list[Path]:
    """The training part and the held-out one, or the folder itself."""
    there = {path.name for path in _folders(folder)}
    held = next((name for name in HELD_OUT if name in there), None)
    if TRAIN not in there and not there & set(HELD_OUT):
        return [folder]
    if TRAIN not in there or held is None:
        _refuse(folder, "both train and val (or test), or class folders alone", ", ".join(sorted(there)[:8]))
    return [folder / TRAIN, folder / held]


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path, own: Path) -> list[Path]:
    """The pictures of one class."""
    shown = [path for path in own.rglob("*") if not any(name.startswith(".") for name in path.relative_to(own).parts)]
    files = sorted(path for path in shown if path.is_file())
    other = next((path for path in files if path.suffix.lower() in OTHERS), None)
    if other is not None:
        _refuse(folder, "pictures that are JPEG or PNG", str(other.relative_to(folder)))
    found = [path for path in files if path.suffix.lower() in KINDS]
    if not found:
        _refuse(folder, "a JPEG or PNG picture in every class folder", f"none in {own.relative_to(folder)}")
    return found


def _read(folder: Path, path: Path, side: int) -> np.ndarray:
    name = str(path.relative_to(folder))

    def told(expected: str, got: str) -> NoReturn:
        _refuse(folder, expected, got)

    try:
        if path.stat().st_size > LARGEST:
            told(f"pictures of {readable_bytes(LARGEST)} at most", f"{readable_bytes(path.stat().st_size)} in {name}")
        raw = path.read_bytes()
    except OSError as error:
        told("readable pictures (JPEG or PNG)", f"{name} ({error.strerror})")
    return pixels(raw, told, name, side)


def _refuse(folder: Path, expected: str, got: str) -> NoReturn:
    refuse("data", f"{expected} in the folder {folder}", got)
