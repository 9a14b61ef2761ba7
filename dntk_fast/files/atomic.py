"""Write a file whole or not at all, through a draft beside it that nobody can foresee."""

from __future__ import annotations

import importlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["remove_drafts", "write_atomically"]

_DRAFT = re.compile(r"\.(.+)\.[0-9a-f]+\.part")
# A draft is made here and now, never a file or the target of a link that was there before (no O_NOFOLLOW on Windows).
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path` and rename, so that a killed process or a full disk leaves the old file or none.

    The mode follows the umask; what stands at `path` is replaced, and if it is a link, the link itself.

    Raises
    ------
    OSError
        The disk takes no more, or the folder is not to be written to; the draft is gone.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    with open(os.open(draft, _NEW, 0o666), "wb") as file:
        try:
            _take(file.fileno())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException as error:
            draft.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:  # of a disk that is full
                error.filename = str(path)
            raise


def remove_drafts(folder: Path, ours: Callable[[str], bool]) -> None:
    """Remove what killed processes left of files with names of ours: this user's own files alone, and no links.

    A draft that is being written stays: its process holds a lock on it, which ends with the process.
    """
    own = getattr(os, "geteuid", lambda: 0)()
    for entry in list(os.scandir(folder)) if folder.is_dir() else []:
        draft = _DRAFT.fullmatch(entry.name)
        if draft is None or not ours(draft[1]) or not entry.is_file(follow_symlinks=False):
            continue
        if entry.stat(follow_symlinks=False).st_uid == own and not _written(Path(entry)):
            Path(entry).unlink(missing_ok=True)


def _take(file: int) -> bool:
    """Lock an open file unless another process has; where there are no such locks, nobody has."""
    try:
        flock = importlib.import_module("fcntl")
        flock.flock(file, flock.LOCK_EX | flock.LOCK_NB)
    except BlockingIOError:
        return False
    except (ModuleNotFoundError, OSError):
        return True
    return True


def _written(draft: Path) -> bool:
    try:
        file = os.open(draft, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        return not _take(file)
    finally:
        os.close(file)
