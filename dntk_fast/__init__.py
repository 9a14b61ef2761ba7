"""The distilled neural tangent kernel on torch and array-API arrays.

Each public name is imported when it is first asked for, from the module that `__init__.pyi` gives: `import dntk_fast` costs
nothing, and kernels, features and products of a model need torch and numpy alone. Where another package is missing, the
names that need it say which.
"""

import ast
from importlib import import_module
from pathlib import Path

_LISTED = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
_HOME = {name.name: line.module for line in _LISTED if isinstance(line, ast.ImportFrom) for name in line.names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dntk_fast' has no attribute {name!r}")
    try:
        found = getattr(import_module(str(_HOME[name])), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("dntk_fast"):
            raise
        raise ImportError(f"dntk_fast.{name}: expected the package {error.name}, which is not installed") from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
