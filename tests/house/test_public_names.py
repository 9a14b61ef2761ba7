"""`__all__` everywhere: there, true, and the reference's own list made of its modules' lists."""

import importlib
import pkgutil
import types

import pytest

PACKAGES = ("dntk_ref", "dntk_fast", "proofs_checks")


def modules():
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield name
        for info in pkgutil.walk_packages(package.__path__, name + "."):
            if not info.name.endswith("__main__"):
                yield info.name


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


def test_the_reference_shows_every_name_of_its_modules():
    package = importlib.import_module("dntk_ref")
    expected = {
        name
        for path in modules()
        if path.startswith("dntk_ref.") and not path.rpartition(".")[2].startswith("_")
        for name in importlib.import_module(path).__all__
    }
    assert set(package.__all__) == expected


def test_a_wrong_list_is_seen():
    module = types.ModuleType("m")
    exec("def a(): ...\ndef b(): ...", vars(module))
    for value in (module.a, module.b):
        value.__module__ = "m"
    assert faults(module) == ["no __all__"]
    module.__all__ = ["a", "a", "c"]
    assert faults(module) == ["a twice", "c is missing"]
    assert unlisted(module) == ["b"]
