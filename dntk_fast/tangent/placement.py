"""Where the rows of a batch stand in the output of a recorded call: found with two samples, settled for every batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dntk_fast.tangent.recorder import RecordedCall, roots

__all__ = ["RowPlacement", "UnsettledRowsError", "closed", "placements", "powers_of_two", "scales", "without"]


@dataclass(frozen=True)
class RowPlacement:
    """Where a recorded call keeps the rows in its output: on `axis`, or joined with positions on the first axis."""

    names: tuple[str | None, str | None]
    axis: int
    joined: str | None = None  # "rows first" or "positions first"

    def fits(self, shape: Sequence[int], n: int) -> bool:
        """Whether n rows can stand there."""
        if len(shape) <= self.axis:
            return False
        return shape[self.axis] == n if self.joined is None else shape[0] % n == 0

    def lead(self, x: Tensor, n: int, batched: int) -> Tensor:
        """Move the rows to the first axis behind `batched` axes."""
        if self.joined is None:
            return x.movedim(self.axis + batched, batched)
        if self.joined == "rows first":
            return x.unflatten(batched, (n, -1))
        return x.unflatten(batched, (-1, n)).movedim(batched + 1, batched)


class UnsettledRowsError(RuntimeError):
    """Rows stand elsewhere than in the two samples, or the model made other calls: the named parameters have no rule."""

    def __init__(self, names: Collection[str]) -> None:
        found = f"other places or calls for this batch at {', '.join(sorted(names))}"
        super().__init__(f"model: expected layers that treat every batch alike, got {found}")
        self.names = names


def placements(
    mark: RecordedCall, first: Tensor | None, second: Tensor | None
) -> tuple[tuple[RowPlacement, ...], bool]:
    """The places where sample 0's cotangent is all in row 0 and sample 1's in row 1, and whether that leaves no doubt."""
    call, shape = mark.call, mark.shape
    if call is None or (call.place == "exact" and call.source is not None and call.source.shape[:1] != shape[:1]):
        return (), True
    candidates = [RowPlacement(mark.names, 0)] if shape and shape[0] == 2 else []
    if call.place == "any":
        candidates += [RowPlacement(mark.names, axis) for axis in range(1, len(shape) - 1) if shape[axis] == 2]
    if call.place != "exact" and shape and shape[0] > 2 and shape[0] % 2 == 0:
        candidates += [RowPlacement(mark.names, 0, "rows first"), RowPlacement(mark.names, 0, "positions first")]
    if first is None or second is None:
        return tuple(candidates), False
    held = tuple(
        site for site in candidates if not site.lead(first, 2, 0)[1].any() and not site.lead(second, 2, 0)[0].any()
    )
    return held, len(held) == 1 and bool(first.any()) and bool(second.any())


def without(places: Sequence[RowPlacement], generic: Collection[str]) -> tuple[RowPlacement, ...]:
    """The placements, less the parameters that the generic path serves."""
    found = [replace(site, names=_left(site.names, generic)) for site in places]
    return tuple(site for site in found if any(site.names))


def closed(names: Iterable[Iterable[str | None]], generic: Collection[str]) -> set[str]:
    """The parameters that the generic path serves, and all that made tensors are made of together with them."""
    found, groups = set(generic), [roots([name]) for pair in names for name in pair if name]
    while any(group & found and not group <= found for group in groups):
        found |= {name for group in groups if group & found for name in group}
    return found


def _left(names: tuple[str | None, str | None], generic: Collection[str]) -> tuple[str | None, str | None]:
    weight, bias = (None if roots([name]) & set(generic) else name for name in names)
    return weight, bias


def powers_of_two(n: int, like: Tensor) -> Tensor:
    """Signed powers of two, mostly unlike each other: (n,)."""
    most = 4 if like.dtype == torch.float16 else 20
    generator = torch.Generator().manual_seed(n)
    exponents = torch.randint(-most, most + 1, (n,), generator=generator)
    signs = 2 * torch.randint(0, 2, (n,), generator=generator) - 1
    return (signs * torch.exp2(exponents.double())).to(like)


def scales(site: RowPlacement, plain: Tensor, scaled: Tensor, factors: Tensor) -> bool:
    """Whether cotangents of scaled rows are the plain ones times the factors, row by row."""
    n = len(factors)
    rows, found = (site.lead(d, n, 0).reshape(n, -1) for d in (plain, scaled))
    apart = torch.linalg.vector_norm(found / factors[:, None] - rows, dim=1)
    # No digit is lost, but where a device adds in an order of its own.
    return bool((apart <= 1e-3 * torch.linalg.vector_norm(rows, dim=1)).all())
