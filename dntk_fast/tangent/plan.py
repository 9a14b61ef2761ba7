"""The rule of each layer, and how much is in hand at once: from multiply-adds and bytes, before the work."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.tangent.gram import block_rows, tile_side
from dntk_fast.tangent.holding import forms, held_bytes
from dntk_fast.tangent.layers import Lookup, Outer, Tangent
from dntk_fast.tangent.passes import Trace

__all__ = ["KernelPlan", "LayerPlan", "Need", "largest", "norm_rule", "plan_kernel"]

# Costs in nanoseconds, so that unlike work can be compared: only the ratios count. Large float32 products run at about
# 60 multiply-adds per nanosecond and core (measured, AVX-512), small batched ones at about 42; a tile that is written,
# multiplied elementwise or summed costs about 0.35 per entry while it fits into the cache, an entry of memory about 1.
PRODUCT, BATCHED_PRODUCT, CACHED, STORED = 1 / 60, 1 / 42, 0.35, 1.0

# What the allocator keeps of freed memory between blocks, as a share of what is needed at a time: up to 0.15 (measured
# on the anonymous memory of a fresh process, with budgets of 64 MiB to 1 GiB).
HELD_BACK = 7 / 6

# What chunks that go by may take of the memory, tried in turn: the rest is for the rows that are held.
CHUNK_SHARES = (1 / 4, 1 / 8, 1 / 16)


@dataclass(frozen=True)
class LayerPlan:
    """One layer: its parameters, positions T, weight (q, p) in `groups`, the rule, the estimated cost of both rules."""

    names: tuple[str, ...]
    positions: int
    p: int
    q: int
    groups: int
    rule: str
    factors: float
    explicit: float


@dataclass(frozen=True)
class KernelPlan:
    """What a kernel will take: rows and outputs in hand, outputs by one pass, passes, bytes, the rule of each layer.

    `rows` are held while the others go by in chunks of `chunk`, which one pass serves; `formed`, or as what they are formed
    of. `generic` names the parameters without a rule, whose gradients are formed sample by sample; `memory` is the budget.
    """

    rows: int
    chunk: int
    classes: int
    together: int
    layers: tuple[LayerPlan, ...]
    workspace: int
    peak_bytes: int
    forward_passes: int
    backward_passes: int
    generic: tuple[str, ...] = ()
    memory: int = 0
    formed: bool = False

    def rule(self, tangent: Tangent) -> str:
        """The rule of a layer."""
        return next((layer.rule for layer in self.layers if layer.names == tuple(tangent.shapes)), "explicit")

    def __str__(self) -> str:
        lines = [
            f"{self.rows} rows and {self.classes} outputs at a time, predicted peak {readable_bytes(self.peak_bytes)} "
            f"above model and result, of {readable_bytes(self.memory)}",
            f"{self.forward_passes} forward passes of one row, "
            f"{self.backward_passes} backward passes of one row and output",
            f"{'parameters':<40} {'T':>6} {'p':>6} {'q':>6}  {'rule':<9} {'other / chosen':>14}",
        ]
        for layer in self.layers:
            chosen, other = sorted([layer.factors, layer.explicit])
            ratio = f"{other / chosen:.1f}" if other < float("inf") else "-"
            lines.append(
                f"{layer.names[0]:<40} {layer.positions:>6} {layer.p:>6} {layer.q:>6}  {layer.rule:<9} {ratio:>14}"
            )
        lines += [f"{name:<40} {'':>20}  {'generic':<9} {'-':>14}" for name in self.generic]
        return "\n".join(lines)


def _size(tangent: Tangent) -> tuple[int, int, int, int]:
    """(T, p, q, groups) of the weight; a layer without product structure is one column of its parameters."""
    if isinstance(tangent, Outer):
        _, groups, T, q = tangent.cotangents[0].shape
        return T, tangent.shapes[tangent.weight].numel() // (groups * q) + (tangent.bias is not None), q, groups
    if isinstance(tangent, Lookup):
        return tangent.index.shape[1], tangent.shapes[tangent.weight][0], tangent.cotangent.shape[-1], 1
    return 1, sum(shape.numel() for shape in tangent.shapes.values()), 1, 1


@dataclass(frozen=True)
class _Blocks:
    """How the pairs of rows are walked through: `alone` blocks of `left` rows with themselves, `crossed` of both sides.

    `outputs` are worked on at a time; all blocks are visited `parts` times, until every output was.
    """

    left: int
    right: int
    alone: int
    crossed: int
    outputs: int
    parts: int

    @classmethod
    def of(cls, rows: int, chunk: int, n1: int, n2: int | None, classes: int, outputs: int) -> _Blocks:
        """Blocks of at most `rows` rows, each held while the other side goes by in chunks."""
        left, right, count = min(rows, n1), min(chunk, n1 if n2 is None else n2), -(-n1 // rows)
        if n2 is None:
            crossed = sum(-(-max(0, n1 - (i + 1) * rows) // chunk) for i in range(count))
            return cls(left, right, count, crossed, classes, -(-outputs // classes))
        return cls(left, right, 0, count * -(-n2 // chunk), classes, -(-outputs // classes))

    def prepared(self, formed: bool) -> int:
        """Rows that are prepared in one walk: both sides of every block, those that are held formed once."""
        return self.alone * self.left + self.crossed * (self.right if formed else self.left + self.right)

    def pairs(self, block: int) -> float:
        """Pairs that are multiplied: of a block with itself the upper half and the tiles on the diagonal."""
        half = min(self.left * self.left, self.left * (self.left + block) / 2)
        return self.alone * half + self.crossed * self.left * self.right


def _layer(tangent: Tangent, blocks: _Blocks, output_pairs: int, size: int, formed: bool = False) -> LayerPlan:
    T, p, q, groups = _size(tangent)
    P = p * q * groups
    # sum_ts (d_t . d'_s)(a_t . a'_s): the activations' products serve all outputs, their positions' product is T^2
    pairs = groups * blocks.pairs(tile_side(T, T, output_pairs, size)) * T**2
    factors = pairs * (PRODUCT * (p + output_pairs * q) + CACHED * output_pairs)
    factors += blocks.prepared(False) * T * groups * (p + blocks.outputs * q) * STORED
    # sum_t d_t a_t^T for every row and output, then one product with all P entries of each row
    explicit = blocks.prepared(formed) * blocks.outputs * P * max(BATCHED_PRODUCT * T, STORED)
    explicit += PRODUCT * blocks.pairs(block_rows(blocks.left)) * output_pairs * P
    explicit += blocks.prepared(formed) * T * groups * p * STORED
    if formed or not isinstance(tangent, Outer):
        factors = float("inf")
    rule = "factors" if factors < explicit else "explicit"
    return LayerPlan(tuple(tangent.shapes), T, p, q, groups, rule, blocks.parts * factors, blocks.parts * explicit)


def norm_rule(tangent: Tangent, outputs: int) -> str:
    """The cheaper rule for |grad f_c(x)|^2 alone."""
    return _layer(tangent, _Blocks(1, 1, 1, 0, outputs, 1), outputs, 8).rule


@dataclass(frozen=True)
class Need:
    """Bytes of one row: what forward keeps, one output's cotangents, the widest of them, the widest patches."""

    forward: int
    cotangent: int
    widest: int
    patches: int
    generic: int
    tangents: tuple[Tangent, ...] = field(repr=False)

    @classmethod
    def of(cls, trace: Trace) -> Need:
        """Measure a traced model."""
        size = trace.cotangent_size
        patches = max((T * p * groups * size for T, p, _, groups in map(_size, trace.tangents)), default=0)
        generic = size * sum(trace.shapes[name].numel() for name in trace.generic)
        return cls(trace.row_bytes, trace.cotangent_bytes, trace.widest_bytes, patches, generic, trace.tangents)

    def passing(self, classes: int, together: int) -> int:
        """While the passes run: the graph, all cotangents so far, a few of the widest in flight."""
        return self.forward + classes * self.cotangent + 3 * self.widest * together

    def multiplying(self, classes: int) -> int:
        """While layers are multiplied: activations, cotangents, the patches of one layer and a copy of them."""
        return self.forward + classes * self.cotangent + 2 * self.patches

    def held(self, classes: int, formed: bool) -> int:
        """While other rows go by."""
        return classes * self.generic + sum(held_bytes(tangent, classes, formed) for tangent in self.tangents)


@dataclass(frozen=True)
class _Walk:
    """A way through all pairs of n1 rows, with themselves (n2 None) or with n2 others, and what it takes."""

    rows: int
    chunk: int
    classes: int
    trace: Trace = field(repr=False)
    need: Need = field(repr=False)
    n1: int
    n2: int | None
    pairing: str
    formed: bool = False  # gradients of layers with several positions are held formed

    @property
    def together(self) -> int:
        """Outputs of one backward pass."""
        return self.trace.together(self.chunk, self.classes)

    @property
    def peak(self) -> int:
        """Bytes that stand at most; what is held is allocated once, the rest comes and goes."""
        n2 = self.n1 if self.n2 is None else self.n2
        left, right = min(self.rows, self.n1), min(self.chunk, max(self.n1, n2))
        passing = max(self.need.passing(self.classes, self.together), self.need.multiplying(self.classes))
        pairs = {"sum": 1, "class": self.classes, "full": self.classes**2}[self.pairing]
        if self.n2 is None and min(self.rows, self.chunk) >= self.n1:  # one block with itself: nothing else is held
            return round(HELD_BACK * (left * passing + 8 * left * left * pairs))
        block = left * max(left if self.n2 is None else 0, min(self.chunk, n2))
        return round(
            left * self.need.held(self.classes, self.formed) + HELD_BACK * (right * passing + 8 * block * pairs)
        )

    @property
    def passes(self) -> int:
        """Passes of one row: a block of x1 is held while all of x2 go by."""
        blocks = -(-self.n1 // self.rows)
        return sum(self.n1 - i * self.rows for i in range(blocks)) if self.n2 is None else self.n1 + blocks * self.n2

    @property
    def cost(self) -> int:
        """Forward and backward passes of one row and output."""
        C = self.trace.outputs
        return self.passes * (-(-C // self.classes) + C)

    def widest(self, memory: int) -> Iterator[_Walk]:
        """The same with as many rows in hand as fit, in several ways."""
        most = max(self.n1, self.n2 or 0)
        if self.n2 is None:
            yield replace(self, rows=self.n1, chunk=self.n1)
        # Many chunks that go by would have gradients that are not held formed, formed as often: they are few then, or none.
        count = largest(most, lambda b: replace(self, rows=b, chunk=b).peak <= memory)
        yield replace(self, rows=count, chunk=count)
        for formed, share in itertools.product((False, True), CHUNK_SHARES):
            same = replace(self, formed=formed)
            chunk = largest(most, lambda b: replace(same, rows=1, chunk=b).peak <= share * memory)  # noqa: B023
            rows = largest(self.n1, lambda b: replace(same, rows=b, chunk=chunk).peak <= memory)  # noqa: B023
            if formed or (self.n2 is None and rows >= self.n1):
                yield replace(same, rows=rows, chunk=chunk)


def plan_kernel(trace: Trace, n1: int, n2: int | None, memory: int, pairing: str = "class") -> KernelPlan:
    """Choose rows and outputs at a time for the fewest passes within `memory` bytes, and the rule of each layer.

    An eighth of them is for gradients that are formed.

    Raises
    ------
    ValueError
        Where `memory` is too small for one row and one output; the message states the minimum.
    """
    C = trace.outputs
    one = _Walk(1, 1, C if pairing == "full" else 1, trace, Need.of(trace), n1, n2, pairing)
    workspace, least = memory // 8, one.peak * 8 // 7 + 8
    if least > memory:
        _check.refuse("memory", f"at least {least} ({readable_bytes(least)})", f"{memory} ({readable_bytes(memory)})")
    sizes = sorted({-(-C // part) for part in range(1, C + 1)}) if pairing != "full" else [C]
    walks = (walk for count in sizes for walk in replace(one, classes=count).widest(memory - workspace))
    walk = min((w for w in walks if w.peak <= memory - workspace), key=lambda w: (w.cost, -w.classes, -w.chunk))
    blocks = _Blocks.of(walk.rows, walk.chunk, n1, n2, walk.classes, C)
    pairs = walk.classes**2 if pairing == "full" else walk.classes
    alone = n2 is None and min(walk.rows, walk.chunk) >= n1
    layers = tuple(
        _layer(tangent, blocks, pairs, trace.cotangent_size, not alone and forms(tangent, walk.classes, walk.formed))
        for tangent in trace.tangents
    )
    return KernelPlan(
        walk.rows, walk.chunk, walk.classes, walk.together, layers, workspace, walk.peak + workspace,
        walk.passes * -(-C // walk.classes), walk.passes * C, trace.generic, memory, walk.formed,
    )  # fmt: skip


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """All of them if they fit (one block needs less than two); else the most that fit, by bisection; 1 always fits."""
    if fits(most):
        return most
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
