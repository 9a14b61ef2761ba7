"""One forward pass, recorded: every call with a parameter that has a rule, and the parameters that met a function without.

A torch function mode sees every function that is called with one of the model's parameters, by identity: modules called
twice, tied weights, functional weights and parameters without a module all look the same to it. The parameter is handed on
detached, so that no weight gradient is ever formed, and the output of the call is recorded. Nothing is attached to the
model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from dntk_fast import _check
from dntk_fast.tangent.attention import attention
from dntk_fast.tangent.batch_norm import batch_norm
from dntk_fast.tangent.recurrent import RECURRENT, recurrent
from dntk_fast.tangent.rules import RULES, Call

__all__ = ["RecordedCall", "Recorder", "names_by_identity", "refuse_changes"]


@dataclass
class RecordedCall:
    """One call with parameters, as it happened."""

    call: Call | None
    names: tuple[str | None, str | None]
    edge: GradientEdge
    shape: torch.Size
    version: int
    function: Any

    def changed(self) -> bool:
        """Whether an activation that the weight's gradient needs is no longer what it was."""
        needed = self.call is not None and self.call.source is not None and self.names[0] is not None
        return needed and self.call.source._version != self.version  # type: ignore[union-attr]


# Functions that look at numbers: rows may stand elsewhere for other data, or be left out.
LOOKING = {
    *(getattr(Tensor, f"__{name}__") for name in ("bool", "int", "float", "index", "array")),
    *(
        getattr(owner, name)
        for owner in (torch, Tensor)
        for name in (
            "argsort", "bucketize", "gather", "index_add", "index_copy", "index_fill", "index_put", "index_put_",
            "index_select", "item", "masked_scatter", "masked_select", "nonzero", "numpy", "scatter", "scatter_add",
            "searchsorted", "sort", "take", "take_along_dim", "tolist", "topk", "unique", "where",
        )
        if hasattr(owner, name)
    ),
}  # fmt: skip


INDEXING = {Tensor.__getitem__, Tensor.__setitem__}


# Functions that take derivatives themselves, also with respect to what the parameters were handed on as.
DERIVING = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}


class Recorder(TorchFunctionMode):
    """Marks the output of every call that has a rule, and remembers the parameters that met a function without one."""

    def __init__(self, names: dict[int, str | None]) -> None:
        super().__init__()
        self.names = dict(names)  # by identity; None: a parameter whose gradient is not wanted
        self.twins: dict[int, Tensor] = {}
        self.marks: list[RecordedCall] = []
        self.unruled: set[str] = set()
        self.looked = self.derived = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.looked |= func in LOOKING or (func in INDEXING and _by_tensor(args[1]))
        self.derived |= func in DERIVING
        _refuse_randomness(func, args, kwargs)
        found = {id(leaf): leaf for leaf in _leaves((*args, *kwargs.values())) if id(leaf) in self.names}
        if not found:
            return func(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            with self:
                attended = attention(*args, **kwargs)
            if attended is not None:
                return attended
        if func in RECURRENT and not kwargs:
            unrolled = recurrent(self._linear, func, *args)
            if unrolled is not None:
                return unrolled
        function = batch_norm if func is functional.batch_norm else func
        result = function(*map(self._plain, args), **{name: self._plain(part) for name, part in kwargs.items()})
        if not any(isinstance(leaf, Tensor) for leaf in _leaves([result])) or id(result) in self.names:
            return result
        call = RULES[func](*args, **kwargs) if func in RULES else None
        if (
            call is None
            or not isinstance(result, Tensor)
            or {id(call.weight), id(call.bias)} & set(found) != set(found)
        ):
            self.unruled |= {name for leaf in found.values() if (name := self.names[id(leaf)]) is not None}
            return result
        return self._mark(func, call, result)

    def _linear(self, *args: Any) -> Tensor:
        found: Tensor = self.__torch_function__(functional.linear, (), args)
        return found

    def _plain(self, part: Any) -> Any:
        return tree_map(self._twin, part) if isinstance(part, list | tuple | dict) else self._twin(part)

    def _twin(self, leaf: Any) -> Any:
        if not isinstance(leaf, nn.Parameter) or id(leaf) not in self.names:
            return leaf
        if id(leaf) not in self.twins:
            twin = self.twins[id(leaf)] = leaf.detach()
            self.names[id(twin)] = self.names[id(leaf)]
        return self.twins[id(leaf)]

    def _mark(self, func: Any, call: Call, output: Tensor) -> Tensor:
        names = (self.names.get(id(call.weight)), self.names.get(id(call.bias)))
        if names == (None, None):
            return output
        leaf = not output.requires_grad
        if leaf:
            output.requires_grad_()
        source = call.source.detach() if call.source is not None else None
        call = Call(source, None, None, call.build, call.place)
        version = source._version if source is not None else 0
        self.marks.append(RecordedCall(call, names, get_gradient_edge(output), output.shape, version, func))
        # A leaf must not be changed in place by what follows; its copy may.
        return output.clone() if leaf else output


def _leaves(given: Sequence[Any]) -> Iterator[Any]:
    """What a function was called with; containers are looked into only where there are some, for it costs time."""
    for part in given:
        if isinstance(part, list | tuple | dict):
            yield from tree_leaves(part)
        else:
            yield part


def _by_tensor(index: Any) -> bool:
    return any(isinstance(part, Tensor | list) for part in (index if isinstance(index, tuple) else (index,)))


def _refuse_randomness(func: Any, args: Any, kwargs: Any) -> None:
    if func is functional.batch_norm and (kwargs.get("training") or (len(args) > 5 and args[5])):
        raise ValueError("model: expected outputs that depend on one sample each, got batch_norm with batch statistics")


def refuse_changes(marks: list[RecordedCall]) -> None:
    """Refuse activations that a weight's gradient needs and that were changed in place after the call."""
    for mark in marks:
        if mark.changed():
            found = f"one before {mark.names[0]} changed in place"
            _check.refuse("model", "activations that stay as they are", found)


def names_by_identity(model: nn.Module, wanted: Collection[str]) -> dict[int, str | None]:
    """Parameters by identity: their names, None for those whose gradient is not wanted."""
    return {id(p): name if name in wanted else None for name, p in model.named_parameters()}
