"""Strict numerics for every test: float64 reference, warnings as errors, no deadline, seeds in sight."""

import importlib.util
import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each, set before torch is imported: workers must not share cores
    os.environ["OMP_NUM_THREADS"] = "1"

# A machine with a GPU may have torch, numpy and pytest alone: `pytest -m gpu` then sees what needs no more.
_NEEDED = ("array_api_compat", "flint", "hypothesis", "safetensors", "scipy", "sklearn")
if any(importlib.util.find_spec(name) is None for name in _NEEDED):
    collect_ignore = ["agree", "fast", "house", "meta", "proofs", "real", "ref", "speed", "gpu/test_whole.py"]
else:
    from hypothesis import settings

    settings.register_profile(
        "dntk", deadline=None, max_examples=int(os.environ.get("DNTK_EXAMPLES", "40")), derandomize=True
    )
    settings.load_profile("dntk")


def pytest_configure(config):
    """Time nothing unless `--benchmark-only` or `--benchmark-enable` asks: each test of `tests/speed` then runs once."""
    if config.pluginmanager.hasplugin("benchmark") and not config.getoption("benchmark_only"):
        config.option.benchmark_disable = True


def pytest_collection_modifyitems(config, items):
    """Skip, with the reason, what is marked `gpu` without a CUDA device, and what is timed without pytest-benchmark."""
    if not config.pluginmanager.hasplugin("benchmark"):
        for item in items:
            if "benchmark" in item.fixturenames:
                item.add_marker(pytest.mark.skip(reason="pytest-benchmark is not there: nothing of tests/speed runs"))
    if importlib.util.find_spec("torch") is None:
        available = False
    else:
        import torch

        available = torch.cuda.is_available()
    if not available:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
