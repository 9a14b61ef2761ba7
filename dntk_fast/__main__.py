"""`python -m dntk_fast` is the command `dntk`; `bench gpu` needs torch and numpy alone."""

import os
import signal
import sys
from importlib import import_module

__all__ = ["main"]


def _leave(*_: object) -> None:
    # No exception: raised inside a library's import it would come out as anything, or not at all.
    os.write(2, b"dntk: stopped\n")
    os._exit(130)


def main() -> None:
    """Import the command and run it; Ctrl-C during the import, which takes seconds, ends in one line and exit code 130."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _leave)
    command = import_module("dntk_fast.bench.gpu" if sys.argv[1:3] == ["bench", "gpu"] else "dntk_fast.cli")
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command.main()


if __name__ == "__main__":
    main()
