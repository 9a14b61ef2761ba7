"""`__all__` everywhere: sorted, true, and the package's own list made of its modules' lists."""

import importlib
import pkgutil

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
    """What is wrong with a module's `__all__`."""
    names = getattr(module, "__all__", None)
    if names is None:
        return ["no __all__"]
    wrong = [] if list(names) == sorted(names) else ["not sorted"]
    wrong += [f"{name} is missing" for name in names if not hasattr(module, name)]
    own = [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_") and callable(value)
    ]
    return wrong + [f"{name} is public and unlisted" for name in own if name not in names]


@pytest.mark.parametrize("name", list(modules()))
def test_all_is_sorted_true_and_whole(name):
    assert faults(importlib.import_module(name)) == []


@pytest.mark.parametrize("package", ["dntk_ref", "dntk_fast"])
def test_the_package_lists_names_of_its_modules_only_and_sorted(package):
    assert faults(importlib.import_module(package)) == []


def test_a_wrong_list_is_seen():
    class Module:
        __name__ = "m"

    module = Module()
    module.__all__ = ["b", "a"]
    module.a = module.b = 1
    assert faults(module) == ["not sorted"]
    module.__all__ = ["a", "c"]
    assert faults(module) == ["c is missing"]
