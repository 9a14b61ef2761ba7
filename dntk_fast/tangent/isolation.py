"""What is the caller's stays the caller's: inputs, switches of the whole process, warning filters, random numbers."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from dntk_fast import _check
from dntk_fast._chance import draws, quiet

__all__ = ["Quiet", "own_copy", "plain_attention", "silent", "without_chance"]


class _Shared:
    """A setting of the whole process, changed while any thread needs it so.

    The first thread that comes changes it and the last that leaves puts back what the first one found: threads that come and
    go in any order leave it as it was, and so does an interruption anywhere inside.
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], None], needed: Any) -> None:
        self.read, self.write, self.needed = read, write, needed
        self.lock, self.inside, self.before = threading.RLock(), list[object](), None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the setting as it is needed, inside."""
        own = object()
        try:
            with self.lock:
                if not self.inside:
                    self.before = self.read()
                self.inside.append(own)
                self.write(self.needed)
            yield
        finally:
            with self.lock:
                self.inside[:] = [other for other in self.inside if other is not own]
                if not self.inside and self.before is not None:
                    before, self.before = self.before, None
                    self.write(before)


_SDP = ("flash", "mem_efficient", "math", "cudnn")


def _switches() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return torch.backends.mha.get_fastpath_enabled(), *(getattr(cuda, f"{name}_sdp_enabled")() for name in _SDP)


def _switch(values: tuple[bool, ...]) -> None:
    torch.backends.mha.set_fastpath_enabled(values[0])
    for name, value in zip(_SDP, values[1:], strict=True):
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)


_ATTENTION = _Shared(_switches, _switch, (False, *(name == "math" for name in _SDP)))


def plain_attention() -> Any:
    """Attention by plain products, restored after: the fused inference path has no derivative, the fused kernel no vmap."""
    return _ATTENTION.held()


class Quiet(_Shared):
    """Ignore warnings of a kind while `held`, without taking the filters of other threads back to what they were before."""

    def __init__(self, message: str, category: type[Warning]) -> None:
        super().__init__(lambda: False, self._put, True)
        # A pattern of its own, so that nobody's equal filter is taken away with it.
        self.filter = ("ignore", re.compile(f"{message}(?#dntk {id(self)})", re.IGNORECASE), category, None, 0)

    def _put(self, there: bool) -> None:
        found: list[Any] = warnings.filters  # type: ignore[assignment]
        if there and self.filter not in found:
            found.insert(0, self.filter)
        if not there and self.filter in found:
            found.remove(self.filter)


_FALLBACK = Quiet("There is a performance drop", Warning)
_LOADED = Quiet(".*torch.jit", DeprecationWarning)


@contextmanager
def silent() -> Iterator[None]:
    """Without what torch says of a missing batching rule (it costs time only) and of a function by which it loads others."""
    with _FALLBACK.held(), _LOADED.held():
        yield


def own_copy(batch: Any) -> Any:
    """Inputs that a model may change in place: the caller's stay as they are."""
    if isinstance(batch, Mapping):
        return {name: own_copy(part) for name, part in batch.items()}
    return tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, batch)


class without_chance(TorchDispatchMode):  # noqa: N801 - read as a word, `with without_chance()`
    """Refuse a model that draws from torch's generator, before it draws: no number is taken from other threads."""

    def __init__(
        self, expected: str = "outputs that are not drawn at random", got: str = "random numbers drawn by it"
    ) -> None:
        super().__init__()
        self.expected, self.got = expected, got

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if draws(func) and not quiet(func):
            own = any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, kwargs)))
            if not own:
                _check.refuse("model", self.expected, self.got)
        return func(*args, **kwargs)
