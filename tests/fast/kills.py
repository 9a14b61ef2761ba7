"""What a kill between any two operations on files leaves of a folder: a copy of it before each of them.

A process that is killed writes nothing more and tidies nothing up, so the folder as it is before an operation is what a kill
there leaves. Copies cost less than processes: every moment can be tried.
"""

import hashlib
import shutil
import sys

OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")
_watching = []


def _before(event, arguments):
    if _watching and event in OPERATIONS:
        watch = _watching.pop()  # a copy is made of files too
        try:
            watch(event, arguments)
        finally:
            _watching.append(watch)


sys.addaudithook(_before)  # which nothing removes again: it looks at one list


def told(folder):
    """Names and digests of all files of a folder; None where there is no folder."""
    if not folder.exists():
        return None
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}, names


def left_by_kills(work, folder, into):
    """Do the work; give its number of operations, and the copies in `into` of all states of `folder` met on the way.

    A copy is made before each operation at which the folder is another than before the last. A draft is empty at one of them
    and whole at the next: what is written in between is never read.
    """
    count, copies, last = 0, [], object()

    def copy():
        copies.append(into / f"{len(copies):03d}")
        if folder.exists():
            shutil.copytree(folder, copies[-1], symlinks=True)

    def before(event, arguments):
        nonlocal count, last
        if not str(arguments[0]).startswith(str(folder)):
            return
        count += 1
        now = told(folder)
        if now != last:
            last = now
            copy()

    _watching.append(before)
    try:
        work()
    finally:
        _watching.remove(before)
    return count, copies
