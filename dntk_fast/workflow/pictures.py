"""Pictures as files: JPEG and PNG alone are decoded, nothing large is, and every refusal is one line."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from dntk_fast._check import ArgumentError

__all__ = ["PIXELS", "pillow", "pixels"]

PIXELS = 2**25  # of one picture: more than any network here takes, and 96 MiB once decoded
# What Pillow's two decoders let through.
UNREADABLE = (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, struct.error, zlib.error, MemoryError)


def pixels(raw: bytes, refuse: Callable[[str, str], NoReturn], name: str, side: int | None = None) -> np.ndarray:
    """The pixels of a JPEG or PNG file, uint8 (height, width, 3); no other decoder is asked, for some start programs.

    Parameters
    ----------
    raw : the file's bytes
    refuse : raises, from what is expected and what came
    name : what a refusal calls the picture
    side : bring the shorter side to so many pixels (Lanczos) and keep the square in the middle; None keeps all as it is
    """
    image = pillow()
    from PIL import JpegImagePlugin, PngImagePlugin

    decoder = PngImagePlugin.PngImageFile if raw.startswith(b"\x89PNG") else JpegImagePlugin.JpegImageFile
    try:
        with decoder(io.BytesIO(raw)) as picture:
            width, height = picture.size
            if width * height > PIXELS:
                refuse(f"pictures of {PIXELS:,} pixels at most", f"{width} x {height} in {name}")
            found = picture.convert("RGB")
            return np.asarray(found if side is None else _square(found, side, image.Resampling.LANCZOS))
    except ArgumentError:
        raise
    except UNREADABLE:
        refuse("readable pictures (JPEG or PNG)", f"{name}, which cannot be decoded")


def _square(picture: Any, side: int, filter_: Any) -> Any:
    """The square in the middle, scaled once."""
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    return picture.resize((side, side), filter_, box=(left, top, left + short, top + short))


def pillow() -> Any:
    """Pillow's module of images, asked for where a picture is decoded."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError("pillow: expected the package to be installed (pip install 'dntk[vision]')") from error
    return Image
