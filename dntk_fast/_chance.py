"""Random numbers from a seed for this thread alone: no other thread's are taken, rewound or repeated."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["draws", "quiet", "seeded"]

# Tagged as drawing though they do so only with a dropout; on a CPU that draws by a function that is seen itself.
_QUIET = ("_scaled_dot_product", "_flash_attention", "_efficient_attention", "_cudnn_rnn", "miopen_rnn")
_BORROWING = threading.Lock()


@cache
def draws(func: Any) -> bool:
    """Whether one of torch's operators takes random numbers, from a generator that it is given or from the global one.

    >>> draws(torch.ops.aten.uniform_.default), draws(torch.ops.aten.add.Tensor)
    (True, False)
    """
    return torch.Tag.nondeterministic_seeded in func.tags


@cache
def quiet(func: Any) -> bool:
    """Whether an operator that may draw does so only with a dropout of its own.

    >>> quiet(torch.ops.aten._scaled_dot_product_flash_attention.default)
    True
    """
    return func._schema.name.split("::")[1].startswith(_QUIET)


class seeded(TorchDispatchMode):  # noqa: N801 - read as a word, `with seeded(0)`
    """Let everything that torch draws inside, in this thread, come from generators of its own that start from `seed`.

    They give the numbers that torch's global ones would give after `torch.manual_seed(seed)`.

    Attributes
    ----------
    met : whether anything was drawn

    >>> with seeded(0):
    ...     found = torch.rand(())
    >>> bool(found == torch.rand((), generator=torch.Generator().manual_seed(0)))
    True
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.met = seed, False
        self.generators: dict[torch.device, Generator] = {}

    def generator(self, device: torch.device | str = "cpu") -> Generator:
        """Return the generator of a device."""
        place = torch.empty(0, device=device).device  # "cuda" is the current one, "cuda:0"
        if place not in self.generators:
            self.generators[place] = Generator(place).manual_seed(self.seed)
        return self.generators[place]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not draws(func):
            return func(*args, **kwargs)
        given = tree_leaves((args, kwargs))
        places = [leaf.device for leaf in given if isinstance(leaf, Tensor)]
        place = torch.device(kwargs.get("device") or (places[0] if places else "cpu"))
        if place.type == "meta" or any(isinstance(leaf, Generator) for leaf in given):
            return func(*args, **kwargs)
        taking = _taking_a_generator(func)
        self.met |= not quiet(func)
        if taking is None:
            return self._borrowed(place, func, args, kwargs)
        return taking(*args, **{**kwargs, "generator": self.generator(place)})

    def _borrowed(self, place: torch.device, func: Any, args: Any, kwargs: Any) -> Any:
        """An operator that takes no generator, as fused dropout on a GPU: the global one stands in for ours meanwhile."""
        own, index = self.generator(place), place.index
        common = torch.default_generator if place.type == "cpu" else torch.cuda.default_generators[index]
        with _BORROWING:
            before = common.get_state()
            common.set_state(own.get_state())
            try:
                return func(*args, **kwargs)
            finally:
                own.set_state(common.get_state())
                common.set_state(before)


@cache
def _taking_a_generator(func: Any) -> Any:
    """The operator itself, or that of the same name and arguments, and a generator; None if there is none."""
    own = [argument.name for argument in func._schema.arguments]
    if "generator" in own:
        return func
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        names = [argument.name for argument in other._schema.arguments]
        if "generator" in names and [name for name in names if name != "generator"] == own:
            return other
    return None
