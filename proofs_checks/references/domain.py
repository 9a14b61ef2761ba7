"""What a function of dntk_ref refuses: an argument outside its domain, by the name that the argument has."""

import inspect
import re
from collections.abc import Callable, Iterator, Set
from typing import Any

import numpy as np

__all__ = ["misnamed", "spied"]


def spied(function: Callable, call: Callable[[Callable], Any], signature: inspect.Signature) -> list[dict[str, Any]]:
    """Return the arguments, by name, with which `call` calls the function."""
    seen: list[dict[str, Any]] = []

    def spy(*args: Any, **options: Any) -> Any:
        seen.append(dict(signature.bind(*args, **options).arguments))
        return function(*args, **options)

    call(spy)
    return seen


def _outside(value: Any) -> Iterator[tuple[str, Any, bool]]:
    """Values near a right one, and whether they are outside any domain (the others may be inside this one)."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64 and value.size:
        poisoned = value.copy()
        poisoned[(0,) * value.ndim] = np.nan
        yield "an entry that is no number", poisoned, True
        yield "two axes too many", value[..., None, None], True
        yield "a row too few", value[:-1], False
        if value.ndim == 2 and value.shape[0] == value.shape[1]:
            yield "a row and a column too few", value[:-1, :-1], False
        yield "below 0", -1 - np.abs(value), False
    elif isinstance(value, float):
        yield "no number", float("nan"), True
        yield "below 0", -1.0, False
    elif isinstance(value, int | np.integer) and not isinstance(value, bool):
        yield "below 0", -1, False
        yield "above what fits", 10**3, False
    elif isinstance(value, np.ndarray) and value.dtype.kind == "i" and value.size:
        yield "far below 0", value - 10**6, False
    elif isinstance(value, str):
        yield "another word", value + "?", True
    elif isinstance(value, np.random.Generator):
        yield "no generator", 3, True


def misnamed(function: Callable, arguments: dict[str, Any], parameters: Set[str]) -> list[str]:
    """Return what the function takes though it is outside the domain, or refuses under a name that is no parameter's."""
    wrong = []
    for name, value in arguments.items():
        for what, other, certain in _outside(value):
            try:
                with np.errstate(all="ignore"):
                    function(**(arguments | {name: other}))
            except (TypeError, ValueError) as error:
                named, expected, got = str(error).partition(": expected")
                shown = repr(other) in got if isinstance(other, str) else " got " in got
                if not expected or not shown or not parameters & set(re.findall(r"\w+", named)):
                    wrong.append(f"{name}, {what}: {error}")
            except Exception as error:
                wrong.append(f"{name}, {what}: {type(error).__name__}: {error}")
            else:
                if certain:
                    wrong.append(f"{name}, {what}: taken")
    return wrong
