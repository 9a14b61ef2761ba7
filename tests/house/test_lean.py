"""Kernels, features and the price list on a GPU need torch and numpy alone."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the project declares beside torch and numpy.
OTHERS = [
    "array_api_compat",
    "hypothesis",
    "matplotlib",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "typer",
]
HIDDEN = f"""
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {OTHERS} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without()
"""


def run(script):
    return subprocess.run([sys.executable, "-c", HIDDEN + script], cwd=ROOT, capture_output=True, text=True)


def test_the_price_list_on_a_gpu_runs_with_torch_and_numpy():
    found = run(
        "import runpy\n"
        "sys.argv = ['dntk', 'bench', 'gpu', '--device', 'cpu', '--quick', '--rounds', '1']\n"
        "runpy.run_module('dntk_fast', run_name='__main__')"
    )
    assert found.returncode == 0, found.stderr
    assert "exact kernel" in found.stdout


def test_a_name_that_needs_more_says_what():
    found = run("import dntk_fast\ntry:\n    dntk_fast.run\nexcept ImportError as error:\n    print(error)")
    assert re.fullmatch(
        rf"dntk_fast\.run: expected the package ({'|'.join(OTHERS)}), which is not installed\n", found.stdout
    )


def test_what_is_hidden_is_not_found():
    assert "ModuleNotFoundError" in run("import rich").stderr
