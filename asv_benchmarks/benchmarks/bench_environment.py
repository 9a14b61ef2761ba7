"""What the other numbers stand on: the threads in use, and the memory of a process that has imported both packages."""

import torch
from threadpoolctl import threadpool_info

import dntk_fast
import dntk_ref


class Environment:
    packages = (dntk_ref, dntk_fast)

    def peakmem_imports(self):
        pass

    def track_threads_of_torch(self):
        return torch.get_num_threads()

    def track_threads_of_blas(self):
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    track_threads_of_torch.unit = track_threads_of_blas.unit = "threads"
