"""One process at a time in a folder."""

from __future__ import annotations

import errno
import importlib
import os
import weakref
from collections.abc import Callable
from pathlib import Path

from dntk_fast import _check

__all__ = ["FolderLock"]

_TAKEN = (errno.EAGAIN, errno.EACCES)


class FolderLock:
    """The folder is this process's own until `release`, or until nobody holds the lock object, or the process ends.

    The lock is the system's (flock), so that a killed process leaves none behind. Where there are no such locks, on Windows
    and on some network disks, nothing is held.

    Raises
    ------
    ValueError
        Another process works in the folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.release: Callable[[], object] = lambda: None
        try:
            flock = importlib.import_module("fcntl")
        except ModuleNotFoundError:
            return
        held = os.open(folder, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, held)
        try:
            flock.flock(held, flock.LOCK_EX | flock.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                self.release()
                _check.refuse(name, "a folder in which no other process works", folder)
