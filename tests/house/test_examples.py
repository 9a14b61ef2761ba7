"""Every example in a docstring runs and prints what it says; every public function of the reference has one."""

import doctest
import importlib
import inspect
import warnings

import pytest

from tests.house.sources import modules


def outcome(module):
    """Examples tried and failed, warnings being errors as everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE, report=True)


@pytest.mark.parametrize("name", list(modules()))
def test_examples_hold(name):
    assert outcome(importlib.import_module(name)).failed == 0


def without_example(module):
    """Public functions whose docstring shows no example."""
    functions = [getattr(module, name) for name in module.__all__ if inspect.isfunction(getattr(module, name))]
    return [f.__name__ for f in functions if ">>>" not in (f.__doc__ or "")]


@pytest.mark.parametrize(
    "name", [name for name in modules() if name.startswith("dntk_ref.") and not name.endswith("_check")]
)
def test_every_public_function_of_the_reference_has_an_example(name):
    assert without_example(importlib.import_module(name)) == []


def test_a_wrong_example_is_seen(capsys):
    module = type(doctest)("wrong", "Say\n\n>>> 1 + 1\n3\n")
    assert outcome(module).failed == 1
    assert "Expected" in capsys.readouterr().out
