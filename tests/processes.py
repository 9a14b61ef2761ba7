"""What a test settles for itself and for the processes that it starts: the number of threads, and the handling of Ctrl-C."""

import sys
from contextlib import contextmanager

import torch

_CTRL_C = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


@contextmanager
def threads(count):
    """Torch on so many threads, and afterwards on as many as before: some kernels give other last bits on another number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interruptible(command):
    """The command of a process that Ctrl-C reaches, also where the tests run in the background of a script.

    A shell starts such a job with SIGINT ignored, a process inherits that, and Python then installs no handler.
    """
    return [sys.executable, "-c", _CTRL_C, *command]
