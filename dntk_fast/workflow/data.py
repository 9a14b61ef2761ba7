"""Data sets of the experiments: named ones, and packs of images in one `.npz` file; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from dntk_fast._check import integer, refuse
from dntk_fast._check import path as path_of
from dntk_fast._device import available_memory, readable_bytes
from dntk_fast.workflow.folders import holds_class_folders, read_class_folders
from dntk_fast.workflow.pictures import pillow, pixels
from dntk_fast.workflow.vision import import_torchvision

__all__ = ["DATASETS", "Dataset", "known", "load"]

CHUNK = 256  # images that are held in float64 at once
# What NumPy lets through when a file is no archive, is cut short, or does not hold what its header says.
UNREADABLE = (ValueError, OSError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
MEMBERS = ("images", "jpeg", "offsets", "labels", "split")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split in two.

    Attributes
    ----------
    name
        The name of the data set, or of the pack's file.
    x_train, x_test : (n, channels, height, width)
        Float32 images; each channel has mean 0 and standard deviation 1 over the training images.
    y_train, y_test : (n,)
        Int64 labels 0 ... len(classes) - 1; each of them occurs in training.
    classes
        Their names.
    mean, std
        What was subtracted from each channel and what it was divided by, in units where pixels lie in [0, 1].
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of images and labels, by which data are told from others under the same name."""
        found = hashlib.sha256()
        for part in (self.x_train, self.y_train, self.x_test, self.y_test):
            found.update(part.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def pixels(self, x: Tensor) -> Tensor:
        """Undo the normalisation: from (n, channels, height, width) as the network sees it to pixels in [0, 1]."""
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (x * std + mean).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class _Raw:
    """What a source gives: images (n, height, width[, channels]) in [0, scale], labels, rows (training, held out)."""

    images: np.ndarray
    labels: np.ndarray
    split: tuple[np.ndarray, np.ndarray] | None
    classes: tuple[str, ...]
    scale: float = 255.0


def load(data: str | Path, *, root: str | Path | None = None, download: bool = False, size: int = 96) -> Dataset:
    """Load a data set by its name, an image pack by its file, its folder or its name, or a folder of class folders.

    A pack is an `.npz` with `labels` (n,), optionally `split` (n,) of 0 (training) and 1 (held out), and either
    `images`, uint8 (n, height, width) or (n, height, width, 3), or `jpeg`, uint8, and `offsets` (n + 1,), image i being
    the file `jpeg[offsets[i]:offsets[i + 1]]`. A folder stands for the pack inside it; a bare name is looked up in
    the folder that the variable DNTK_DATA names. A folder of class folders with JPEG or PNG files, as torchvision's
    ImageFolder takes it, or of train/ and val/ (or test/) with class folders, is read too: classes in the order of their
    names, the shorter side of each picture brought to `size`, then the square in the middle. Where there is no split, a
    fifth of each class is held out, seed 0.

    Parameters
    ----------
    data
        A key of `DATASETS`, the path of a pack, of a folder that holds one or of one with class folders, or a name inside
        DNTK_DATA.
    root
        Where torchvision's data sets lie; DNTK_DATA, or else `~/.cache/dntk`.
    download
        Let torchvision fetch what is not there; nothing is fetched otherwise.
    size
        Side in pixels to which photographs of unequal sizes (imagenette, class folders) are brought.

    Returns
    -------
    Dataset
        Normalised float32 images and labels.

    Raises
    ------
    ValueError
        If there is no such data set, the file is not a sound pack, or the class folders are not sound.

    Example
    -------
    >>> digits = load("digits")
    >>> digits.image_shape, len(digits.y_train), len(digits.y_test)
    ((1, 8, 8), 1437, 360)
    """
    integer("size", size, 1)
    if not isinstance(data, str | Path):
        raise TypeError(f"data: expected a name or a path, got {type(data).__name__}")
    path_of("data", data)
    if data in DATASETS:
        return _dataset(str(data), DATASETS[str(data)](partial(_folder, root), download, size))
    path = _place(data)
    return _dataset(path.stem, _read_pack(path) if path.is_file() else _pictures(path, size))


def _pictures(folder: Path, size: int) -> _Raw:
    """The pictures of a folder of class folders, those of training first."""
    found = read_class_folders(folder, size)
    split = None if found.train is None else _in_order(found.train, len(found.labels) - found.train)
    return _Raw(found.images, found.labels, split, found.classes)


def _folder(root: str | Path | None) -> Path:
    """Where the data sets of torchvision lie; asked for by those alone, for a user may have no home."""
    given = root or os.environ.get("DNTK_DATA")
    try:
        return Path(given) if given else Path.home() / ".cache" / "dntk"
    except RuntimeError:
        refuse("data", "a folder of data sets, in the variable DNTK_DATA, or a home", "neither")


def known() -> tuple[str, ...]:
    """Names that `load` takes here: the data sets, and the packs in the folder DNTK_DATA."""
    folder = Path(os.environ.get("DNTK_DATA") or os.devnull)
    packs = {path.stem for path in [*folder.glob("*.npz"), *folder.glob("*/*.npz")]}
    return (*DATASETS, *sorted(packs - DATASETS.keys()))


# --- from raw arrays to a data set ------------------------------------------------------------------------------------


def _dataset(name: str, raw: _Raw) -> Dataset:
    images = raw.images if raw.images.ndim == 4 else raw.images[..., None]
    labels = torch.from_numpy(raw.labels.astype(np.int64))
    train, test = raw.split or _stratified(raw.labels)
    mean, std = _moments(images, train, raw.scale)
    return Dataset(
        name,
        _normalised(images, train, raw.scale, mean, std),
        labels[train],
        _normalised(images, test, raw.scale, mean, std),
        labels[test],
        raw.classes,
        tuple(mean.tolist()),
        tuple(std.tolist()),
    )


def _stratified(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    smallest = np.bincount(labels).min()
    if len(labels) < 5 * (labels.max() + 1) or smallest < 2:
        refuse(
            "data", "five images per class and two of each, to hold some out", f"{len(labels)}, of one class {smallest}"
        )
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return train, test


def _moments(images: np.ndarray, rows: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, pixels in [0, 1]; sums of x and x^2 over all rows, in float64."""
    total, square = np.zeros((2, images.shape[-1]))
    for start in range(0, len(rows), CHUNK):
        pixels = images[rows[start : start + CHUNK]].reshape(-1, images.shape[-1]).astype(np.float64)
        # Products with matrices: several times as fast as sums along the first axis.
        total, square = total + np.ones(len(pixels)) @ pixels, square + np.diag(pixels.T @ pixels)
    count = len(rows) * images.shape[1] * images.shape[2]
    mean = total / (count * scale)
    variance = square / (count * scale**2) - mean**2
    if not (variance > 1e-12).all():  # rounding of the difference; one grey level among 10^6 pixels gives 1.5e-11
        refuse("images", "pixels that vary in every channel", f"variances {variance.tolist()}")
    return mean, np.sqrt(variance)


def _normalised(images: np.ndarray, rows: np.ndarray, scale: float, mean: np.ndarray, std: np.ndarray) -> Tensor:
    out = torch.empty(len(rows), images.shape[3], *images.shape[1:3])
    shift, factor = (torch.from_numpy(values).float()[:, None, None] for values in (mean / std, 1 / (scale * std)))
    for start in range(0, len(rows), CHUNK):
        pixels = torch.from_numpy(images[rows[start : start + CHUNK]]).permute(0, 3, 1, 2)
        out[start : start + CHUNK].copy_(pixels).mul_(factor).sub_(shift)
    return out


# --- packs ------------------------------------------------------------------------------------------------------------


def _place(data: str | Path) -> Path:
    """The pack that a path, a folder or a name stands for, or the folder of class folders."""
    places = [Path(data)]
    if os.environ.get("DNTK_DATA") and not Path(data).is_absolute():
        places += [Path(os.environ["DNTK_DATA"], data), Path(os.environ["DNTK_DATA"], f"{data}.npz")]
    for place in places:
        if place.is_file():
            return place
        if place.is_dir():
            return place if holds_class_folders(place) else _pack_in(place)
    if Path(data).suffix == ".npz" or len(Path(data).parts) > 1:
        refuse("data", "a file or a folder that exists", " or ".join(map(str, places[:2])))
    refuse("data", f"one of {', '.join(known())}, or the path of an image pack (.npz)", repr(str(data)))


def _pack_in(folder: Path) -> Path:
    own = folder / f"{folder.resolve().name}.npz"
    packs = [own] if own.is_file() else sorted(folder.glob("*.npz"))
    if len(packs) != 1:
        found = ", ".join(pack.name for pack in packs) or "none"
        refuse("data", f"one image pack (.npz) in the folder {folder}, or class folders of pictures", found)
    return packs[0]


def _read_pack(path: Path) -> _Raw:
    arrays = _read_arrays(path)
    names = {"images", "labels"} if "images" in arrays else {"jpeg", "offsets", "labels"}
    if not names <= arrays.keys():
        _refuse_pack(path, "the arrays images and labels, or jpeg, offsets and labels", ", ".join(arrays) or "none")
    images = _plain(path, arrays) if "images" in arrays else _decoded(path, arrays)
    labels = _integers(path, arrays, "labels", len(images))
    split = _split(path, _integers(path, arrays, "split", len(images))) if "split" in arrays else None
    present = np.unique(labels if split is None else labels[split[0]])
    if labels.min() < 0 or labels.max() >= len(present):
        extremes = f"{len(present)} classes, labels {labels.min()} to {labels.max()}"
        _refuse_pack(path, "labels 0, 1, ... without a gap, each of them in training", extremes)
    return _Raw(images, labels, split, tuple(map(str, range(len(present)))))


def _split(path: Path, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.unique(held_out).tolist()
    if values != [0, 1]:
        _refuse_pack(path, "split of 0 (training) and 1 (held out), both present", values[:5])
    return np.flatnonzero(held_out == 0), np.flatnonzero(held_out == 1)


def _refuse_pack(path: Path, expected: str, got: object) -> NoReturn:
    refuse("data", f"{expected} in the pack {path}", got)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:  # opened here, since NumPy leaves a file open that is no sound archive
            pack = np.load(file, allow_pickle=False)
            if not isinstance(pack, np.lib.npyio.NpzFile):
                raise ValueError("one array, not several by name")
            assert pack.zip is not None  # it is open
            _bounded(pack.zip)
            wanted = [name for name in pack.files if name in MEMBERS]
            if "images" in wanted:
                wanted = [name for name in wanted if name not in ("jpeg", "offsets")]
            return {name: pack[name] for name in wanted}
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in reason and not zipfile.is_zipfile(path):  # what NumPy says of any other file
            reason = "no .npz archive"
        raise ValueError(f"data: expected an image pack (.npz), got {path} ({reason})") from error


def _bounded(archive: zipfile.ZipFile) -> None:
    """Refuse names that are damaged or there twice, and arrays too large for this machine, before any is unpacked."""
    members = archive.infolist()
    if len({member.filename for member in members}) < len(members):
        raise ValueError("an array that is there twice")
    for member in members:
        archive.open(
            member
        ).close()  # its name stands in the archive twice: one that is damaged is not taken for absent
    need = sum(member.file_size for member in members if member.filename.removesuffix(".npy") in MEMBERS)
    if need > available_memory("cpu"):
        raise ValueError(f"{readable_bytes(need)} of arrays, more than the free memory")


def _plain(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    images = arrays["images"]
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if images.dtype != np.uint8 or not shaped or 0 in images.shape:
        expected = "images of type uint8 and shape (n, height, width) or (n, height, width, 3)"
        _refuse_pack(path, expected, f"{images.dtype} {images.shape}")
    return images


def _integers(path: Path, arrays: Mapping[str, np.ndarray], name: str, n: int) -> np.ndarray:
    values = arrays[name]
    if values.dtype.kind not in "iu" or values.shape != (n,):
        _refuse_pack(path, f"{name} as {n} integers", f"{values.dtype} {values.shape}")
    return values


def _decoded(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    jpeg = arrays["jpeg"]
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        _refuse_pack(path, "jpeg as bytes (uint8, one axis)", f"{jpeg.dtype} {jpeg.shape}")
    offsets = _integers(path, arrays, "offsets", arrays["offsets"].size).astype(np.int64)
    if offsets.size < 2 or offsets[0] != 0 or offsets[-1] != jpeg.size or (np.diff(offsets) <= 0).any():
        _refuse_pack(path, f"offsets that rise from 0 to {jpeg.size}", f"{offsets[:1]} to {offsets[-1:]}")
    first, files = _picture(path, jpeg[: offsets[1]], 0), offsets.size - 1
    if files * first.nbytes > available_memory("cpu"):
        _refuse_pack(path, "pictures that fit into the free memory", readable_bytes(files * first.nbytes))
    images = np.empty((files, *first.shape), np.uint8)
    for number in range(files):
        picture = _picture(path, jpeg[offsets[number] : offsets[number + 1]], number)
        if picture.shape != first.shape:
            _refuse_pack(path, f"pictures of one size {first.shape[:2]}", f"{picture.shape[:2]} in number {number}")
        images[number] = picture
    return images


def _picture(path: Path, content: np.ndarray, number: int) -> np.ndarray:
    return pixels(content.tobytes(), partial(_refuse_pack, path), f"number {number}")


# --- named data sets --------------------------------------------------------------------------------------------------


def _digits(root: Callable[[], Path], download: bool, size: int) -> _Raw:
    source = load_digits()
    return _Raw(source.images, source.target, None, tuple(map(str, source.target_names)), scale=16.0)


def _imagenette(root: Callable[[], Path], download: bool, size: int) -> _Raw:
    image, folder = pillow(), root()

    def squared(picture: Any) -> np.ndarray:
        return np.asarray(picture.convert("RGB").resize((size, size), image.Resampling.LANCZOS))

    source = import_torchvision().datasets.Imagenette
    parts = [_fetch(source, folder, split, "160px", download=download, transform=squared) for split in ("train", "val")]
    images, labels = (np.stack(list(column)) for column in zip(*(row for part in parts for row in part), strict=True))
    return _Raw(images, labels, _in_order(*map(len, parts)), tuple(names[0] for names in parts[0].classes))


def _of_torchvision(name: str) -> Callable[[Callable[[], Path], bool, int], _Raw]:
    def read(root: Callable[[], Path], download: bool, size: int) -> _Raw:
        source, folder = getattr(import_torchvision().datasets, name), root()
        parts = [_fetch(source, folder, train, download=download) for train in (True, False)]
        images, labels = (
            np.concatenate([np.asarray(getattr(part, field)) for part in parts]) for field in ("data", "targets")
        )
        return _Raw(images, labels, _in_order(*map(len, parts)), tuple(parts[0].classes))

    return read


def _fetch(source: Callable[..., Any], root: Path, *arguments: Any, **options: Any) -> Any:
    try:
        return source(root, *arguments, **options)
    except (RuntimeError, OSError) as error:
        # The library's own advice is an argument that no command has.
        reason = str(error).partition(" You can use download=True")[0]
        expected = f"{source.__name__} under {root} (dntk run --download or load(..., download=True) fetches it)"
        raise ValueError(f"data: expected {expected}, got {reason}") from error


def _in_order(train: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(train), np.arange(train, train + test)


DATASETS: Mapping[str, Callable[[Callable[[], Path], bool, int], _Raw]] = MappingProxyType(
    {
        "digits": _digits,
        "imagenette": _imagenette,
        "cifar10": _of_torchvision("CIFAR10"),
        "fashion-mnist": _of_torchvision("FashionMNIST"),
    }
)
