"""Strict numerics for every test: float64 reference, warnings as errors, no deadline, seeds in sight."""

import importlib.util
import os

import pytest
from hypothesis import settings

settings.register_profile(
    "dntk", deadline=None, max_examples=int(os.environ.get("DNTK_EXAMPLES", "40")), derandomize=True
)
settings.load_profile("dntk")


def pytest_collection_modifyitems(items):
    """Skip the tests marked `gpu` with the reason, where there is no CUDA device."""
    if importlib.util.find_spec("torch") is None:
        available = False
    else:
        import torch

        available = torch.cuda.is_available()
    if not available:
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
