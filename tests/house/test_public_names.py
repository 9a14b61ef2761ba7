"""`__all__` everywhere: there and true; the reference itself hands on its modules alone."""

import ast
import importlib
import types
from pathlib import Path

import pytest

from tests.house.sources import modules


def faults(module):
    """What is wrong with a module's `__all__`; its order is ruff's business (RUF022)."""
    names = getattr(module, "__all__", None)
    if names is None:
        return ["no __all__"] if public(module) else []
    wrong = [f"{name} twice" for name in set(names) if list(names).count(name) > 1]
    return wrong + [f"{name} is missing" for name in names if not hasattr(module, name)]


def public(module):
    """Functions and classes without a leading underscore that a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_") and callable(value)
    ]


def unlisted(module):
    """Public functions and classes of a module that `__all__` does not name."""
    return [name for name in public(module) if name not in module.__all__]


@pytest.mark.parametrize("name", list(modules()))
def test_all_is_there_and_true(name):
    assert faults(importlib.import_module(name)) == []


@pytest.mark.parametrize(
    "name", [name for name in modules() if name.startswith("dntk_ref.") and not name.endswith("_check")]
)
def test_every_public_name_of_the_reference_is_listed(name):
    assert unlisted(importlib.import_module(name)) == []


def handed_on(source):
    """The modules that a table of contents hands on, as written."""
    return [alias.name for node in ast.parse(source).body if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_the_reference_hands_on_its_public_modules_and_nothing_else():
    package = importlib.import_module("dntk_ref")
    files = {path.stem for path in Path(package.__file__).parent.glob("*.py") if not path.stem.startswith("_")}
    contents = handed_on(Path(package.__file__).read_text(encoding="utf-8"))
    assert sorted(contents) == sorted(files)
    assert all(isinstance(getattr(package, name), types.ModuleType) for name in contents)
    assert public(package) == []


def test_no_function_takes_the_name_of_a_module_of_the_reference():
    package = importlib.import_module("dntk_ref")
    for name in handed_on(Path(package.__file__).read_text(encoding="utf-8")):
        assert getattr(package, name) is importlib.import_module(f"dntk_ref.{name}")


def test_a_name_that_is_no_module_is_seen():
    assert handed_on("from dntk_ref import kernel as kernel, redundancy\nfrom dntk_ref.ridge import leverage\n") == [
        "kernel",
        "redundancy",
        "leverage",
    ]


def test_a_wrong_list_is_seen():
    module = types.ModuleType("m")
    exec("def a(): ...\ndef b(): ...", vars(module))
    for value in (module.a, module.b):
        value.__module__ = "m"
    assert faults(module) == ["no __all__"]
    module.__all__ = ["a", "a", "c"]
    assert faults(module) == ["a twice", "c is missing"]
    assert unlisted(module) == ["b"]
