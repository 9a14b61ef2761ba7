"""Time, memory and error of the reference and the fast path, side by side; one file for each module.

Threads are pinned here, before numerical libraries are loaded: to `OMP_NUM_THREADS` where it is set, otherwise to one.
"""

import os

for _library in ("OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = os.environ.setdefault("OMP_NUM_THREADS", "1")
