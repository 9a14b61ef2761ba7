"""A shadow of a model: modules of its own that share every tensor, so that what a call keeps or changes stays in it.

Networks keep things in attributes: attention biases computed once in evaluation mode, the weight that a hook makes of two
parameters, the last input. Kept from one recorded pass to the next they would be wrong, and in the caller's modules they
would stay.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["shadow", "tables"]

_PLAIN = frozenset((Tensor, nn.Parameter, str, bool, int, float, type(None)))
_TABLES = frozenset((dict, OrderedDict, defaultdict))
_OWN = frozenset(vars(nn.Module()))  # what torch keeps in every module


def shadow(model: nn.Module) -> nn.Module:
    """Return a model of the same tensors whose attributes, hooks and places of parameters can change without the other's.

    Lists, tuples and dictionaries of attributes are copied, methods and partial functions bound to the copies; other objects
    are shared, as are modules of TorchScript.

    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> other = shadow(model)
    >>> other[0] is model[0], other[0].weight is model[0].weight
    (False, True)
    """
    found: nn.Module = _copied(model, {})
    return found


def _copied(value: Any, done: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if id(value) in done:
        return done[id(value)]
    if kind in _TABLES:
        found = done[id(value)] = value.copy()
        for name, part in value.items():
            if type(part) not in _PLAIN:
                found[name] = _copied(part, done)
        return found
    if isinstance(value, nn.Module):
        return value if isinstance(value, torch.jit.ScriptModule) else _module(value, done)
    if kind is list:
        found = done[id(value)] = []
        found.extend(_copied(part, done) for part in value)
        return found
    if kind is tuple:
        return tuple(_copied(part, done) for part in value)
    if kind is set:
        return set(value)
    if kind is MethodType and isinstance(value.__self__, nn.Module):
        return MethodType(value.__func__, _copied(value.__self__, done))
    if kind is partial:
        return partial(_copied(value.func, done), *_copied(value.args, done), **_copied(value.keywords, done))
    return value


def _module(part: nn.Module, done: dict[int, Any]) -> nn.Module:
    found: nn.Module = object.__new__(type(part))
    done[id(part)] = found
    own = vars(found)
    for name, value in list(vars(part).items()):  # at once: another thread may add to them
        if type(value) in _PLAIN:
            own[name] = value
        else:  # most of what torch keeps is empty
            own[name] = value.copy() if name in _OWN and not value else _copied(value, done)
    if isinstance(found, nn.RNNBase):  # it calls its function with a list of its own, not with its parameters
        found._flat_weights = [found._parameters.get(name) for name in found._flat_weights_names]
    return found


def tables(model: nn.Module) -> Iterator[dict[Any, Tensor]]:
    """Dictionaries of tensors that modules keep in attributes: what some compute once in evaluation mode, or constants."""
    for part in model.modules():
        for name, value in list(vars(part).items()):
            if (
                type(value) is dict
                and value
                and name not in _OWN
                and all(isinstance(t, Tensor) for t in value.values())
            ):
                yield value
