"""One forward pass, recorded: every call with a parameter that has a rule, and the parameters that met a function without.

A torch function mode sees every function that is called with one of the model's parameters, by identity: modules called
twice, tied weights, functional weights and parameters without a module all look the same to it. The parameter is handed on
detached, so that no weight gradient is ever formed, and the output of the call is recorded. Nothing is attached to the
model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
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

__all__ = ["Made", "RecordedCall", "Recorder", "names_by_identity", "refuse_changes", "roots"]


class Made(str):
    """The name of a tensor that was made of parameters and constants alone, the same for every sample."""

    roots: tuple[str, ...]

    def __new__(cls, name: str, made_of: tuple[str, ...]) -> Made:
        """Give a string its parameters."""
        found = super().__new__(cls, name)
        found.roots = made_of
        return found


def roots(names: Iterable[str | None]) -> set[str]:
    """The parameters behind names.

    >>> sorted(roots(["bias", None, Made("~0", ("g", "v"))]))
    ['bias', 'g', 'v']
    """
    return {root for name in names if name is not None for root in (name.roots if isinstance(name, Made) else (name,))}


@dataclass
class RecordedCall:
    """One call with parameters, as it happened."""

    call: Call | None
    names: tuple[str | None, str | None]
    edge: GradientEdge
    shape: torch.Size
    version: int
    function: Any
    made: dict[
        str, tuple[Tensor, dict[str, Tensor]]
    ]  # of the names that are `Made`: the tensor, and its parameters' leaves

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

    def __init__(
        self,
        names: dict[int, str | None],
        constants: Iterable[Tensor] = (),
        rows: int = 0,
        direct: Collection[Any] = (),
    ) -> None:
        super().__init__()
        self.fixed = {id(part): (part, part._version) for part in constants if not part.is_inference()}
        self.rows, self.direct, self.counts = rows, set(direct), Counter[Any]()
        self.leaves: dict[str, Tensor] = {}  # of parameters that others were made of
        self.made: dict[int, tuple[Tensor, Tensor]] = {}  # by identity of what the model got: that, and with its graph
        self.names = dict(names)  # by identity; None: a parameter whose gradient is not wanted
        self.twins: dict[int, Tensor] = {}
        self.marks: list[RecordedCall] = []
        self.unruled: set[str] = set()
        self.looked = self.derived = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.looked |= func in LOOKING or (func in INDEXING and _by_tensor(args[1]))
        self.derived |= func in DERIVING
        given = [leaf for leaf in _leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
        found = {id(leaf): leaf for leaf in given if id(leaf) in self.names}
        if not found:
            alone = all(map(self._constant, given))
            if not alone:  # a weight that is standardised has no batch
                _refuse_randomness(func, args, kwargs)
            result = func(*args, **kwargs)
            if alone:
                self._keep(result)
            return result
        alone = all(id(leaf) in found or self._constant(leaf) for leaf in given)
        if alone and any(self.names[key] for key in found):
            known, result = self._make(func, args, kwargs, list(found.values()))
            if known:
                return result
        elif alone:  # of parameters that are not asked for: a constant
            result = func(*map(self._plain, args), **{name: self._plain(part) for name, part in kwargs.items()})
            self._keep(result)
            return result
        _refuse_randomness(func, args, kwargs)
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
            self.unruled |= roots(self.names[key] for key in found)
            return result
        return self._mark(func, call, result)

    def _constant(self, tensor: Tensor) -> bool:
        """Whether a tensor is a buffer, or made of such and of numbers, and was not changed since."""
        kept = self.fixed.get(id(tensor))
        return kept is not None and kept[1] == tensor._version

    def _keep(self, result: Any) -> None:
        for part in _leaves([result]):
            if isinstance(part, Tensor) and not part.requires_grad and not part.is_inference():
                self.fixed[id(part)] = part, part._version

    def _make(self, func: Any, args: Any, kwargs: Any, found: list[Tensor]) -> tuple[bool, Any]:
        """A call on parameters and constants alone: its result becomes a parameter of its own, its graph beside the model's.

        Not where a rule sees the rows in the result already (a class token that is expanded): as was found with two samples.
        """
        live = {id(leaf): self._live(leaf) for leaf in found}
        versions = {key: part._version for key, part in live.items()}

        def alive(part: Any) -> Any:
            return live.get(id(part), part)

        with torch.enable_grad():
            result = func(*tree_map(alive, args), **tree_map(alive, kwargs))
        if not isinstance(result, Tensor) or not result.requires_grad:
            if any(isinstance(part, Tensor) and part.requires_grad for part in _leaves([result])):
                return False, None  # several at once
            self._keep(result)
            return True, result
        same = next((leaf for leaf in found if live[id(leaf)] is result), None)
        if same is not None:
            changed = result._version != versions[id(same)]
            self.unruled |= roots(self.names[id(leaf)] for leaf in found) if changed else set()
            return True, same
        use = (func, tuple(self.names[id(leaf)] for leaf in found))
        key = (*use, self.counts[use])
        self.counts[use] += 1
        if (
            self.rows
            and result.dim()
            and result.shape[0] == self.rows
            and func in RULES
            and RULES[func](*args, **kwargs)
        ):
            self.direct.add(key)
        if key in self.direct:
            return False, None
        handle = nn.Parameter(result.detach(), requires_grad=False)
        self.names[id(handle)] = Made(
            f"~{len(self.made)}", tuple(sorted(roots(self.names[id(leaf)] for leaf in found)))
        )
        self.made[id(handle)] = handle, result
        return True, handle

    def _live(self, leaf: Tensor) -> Tensor:
        """A parameter as a leaf that no gradient of the model reaches, a made tensor with its graph."""
        name = self.names[id(leaf)]
        if id(leaf) in self.made:
            return self.made[id(leaf)][1]
        if name is None:
            return leaf.detach()
        if name not in self.leaves:
            self.leaves[name] = leaf.detach().requires_grad_()
        return self.leaves[name]

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
        leaf, parts = not output.requires_grad, (call.weight, call.bias)
        if leaf:
            output.requires_grad_()
        source = call.source.detach() if call.source is not None else None
        call = Call(source, None, None, call.build, call.place)
        version = source._version if source is not None else 0
        made: dict[str, tuple[Tensor, dict[str, Tensor]]] = {
            name: (self.made[id(part)][1], {root: self.leaves[root] for root in name.roots})
            for name, part in zip(names, parts, strict=True)
            if isinstance(name, Made)
        }
        self.marks.append(RecordedCall(call, names, get_gradient_edge(output), output.shape, version, func, made))
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
