"""One thread at a time computes with a model: hooks, and what stands in for parameters, every thread would see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

__all__ = ["alone", "alone_with"]

P = ParamSpec("P")
R = TypeVar("R")

_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_GUARD = threading.Lock()


@contextmanager
def alone_with(*models: nn.Module) -> Iterator[None]:
    """Keep other threads of this package from models, and from all that share a module with them, while inside.

    Locks are taken in one order by all threads, so that two never wait for each other.

    >>> with alone_with(nn.Linear(2, 1)):
    ...     pass
    """
    parts = {id(part): part for model in models for part in model.modules()}
    with _GUARD:
        locks = [_LOCKS.setdefault(parts[key], threading.RLock()) for key in sorted(parts)]
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        yield


def alone(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function run alone with the models among its arguments, or that these hold as `model` and `given`."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        held = [getattr(value, name, None) for value in (*args, *kwargs.values()) for name in ("model", "given")]
        models = [found for found in (*args, *kwargs.values(), *held) if isinstance(found, nn.Module)]
        with alone_with(*models):
            return function(*args, **kwargs)

    return inner
