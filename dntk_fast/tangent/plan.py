"""The rule of each layer, and how much is in hand at once: from multiply-adds and bytes, before the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.tangent.gram import block_rows, tile_side
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

    `generic` names the parameters without a rule, whose gradients are formed sample by sample; `memory` is the budget.
    """

    rows: int
    classes: int
    together: int
    layers: tuple[LayerPlan, ...]
    workspace: int
    peak_bytes: int
    forward_passes: int
    backward_passes: int
    generic: tuple[str, ...] = ()
    memory: int = 0

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

    `outputs` are in hand at a time, and the whole walk is made `parts` times to have had all of them.
    """

    left: int
    right: int
    alone: int
    crossed: int
    outputs: int
    parts: int

    @classmethod
    def of(cls, rows: int, n1: int, n2: int | None, classes: int, outputs: int) -> _Blocks:
        """Blocks of at most `rows` rows."""
        left, right = min(rows, n1), min(rows, n1 if n2 is None else n2)
        count = -(-n1 // rows)
        alone, crossed = (count, count * (count - 1) // 2) if n2 is None else (0, count * -(-n2 // rows))
        return cls(left, right, alone, crossed, classes, -(-outputs // classes))

    @property
    def rows(self) -> int:
        """Rows that are prepared in one walk: both sides of every block."""
        return self.alone * self.left + self.crossed * (self.left + self.right)

    def pairs(self, block: int) -> float:
        """Pairs that are multiplied: of a block with itself the upper half and the tiles on the diagonal."""
        half = min(self.left * self.left, self.left * (self.left + block) / 2)
        return self.alone * half + self.crossed * self.left * self.right


def _layer(tangent: Tangent, blocks: _Blocks, output_pairs: int, size: int) -> LayerPlan:
    T, p, q, groups = _size(tangent)
    P = p * q * groups
    # sum_ts (d_t . d'_s)(a_t . a'_s): the activations' products serve all outputs, their positions' product is T^2
    pairs = groups * blocks.pairs(tile_side(T, T, output_pairs, size)) * T**2
    factors = pairs * (PRODUCT * (p + output_pairs * q) + CACHED * output_pairs)
    factors += blocks.rows * T * groups * (p + blocks.outputs * q) * STORED
    # sum_t d_t a_t^T for every row and output, then one product with all P entries of each row
    explicit = blocks.rows * blocks.outputs * P * max(BATCHED_PRODUCT * T, STORED)
    explicit += PRODUCT * blocks.pairs(block_rows(blocks.left)) * output_pairs * P
    explicit += blocks.rows * T * groups * p * STORED
    if not isinstance(tangent, Outer):
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

    @classmethod
    def of(cls, trace: Trace) -> Need:
        """Measure a traced model."""
        size = trace.cotangent_size
        patches = [T * p * groups * size for T, p, _, groups in map(_size, trace.tangents)]
        return cls(trace.row_bytes, trace.cotangent_bytes, trace.widest_bytes, max(patches, default=0))

    def passing(self, classes: int, together: int) -> int:
        """While the passes run: the graph, all cotangents so far, a few of the widest in flight."""
        return self.forward + classes * self.cotangent + 3 * self.widest * together

    def holding(self, classes: int) -> int:
        """While layers are multiplied: activations, cotangents, the patches of one layer and a copy of them."""
        return self.forward + classes * self.cotangent + 2 * self.patches


def plan_kernel(trace: Trace, n1: int, n2: int | None, memory: int, pairing: str = "class") -> KernelPlan:
    """Choose the rule of each layer, and the most rows and outputs at a time that stay within `memory` bytes.

    An eighth of them is for gradients that are formed.

    Raises
    ------
    ValueError
        Where `memory` is too small for one row and one output; the message states the minimum.
    """
    need, C = Need.of(trace), trace.outputs
    other = n1 if n2 is None else n2
    smallest = C if pairing == "full" else 1

    def peak(rows: int, classes: int) -> int:
        left, right = min(rows, n1), min(rows, other)
        passing = need.passing(classes, trace.together(max(left, right), classes))
        blocks = 8 * left * right * (1 if pairing == "sum" else classes if pairing == "class" else classes**2)
        if n2 is None and rows >= n1:  # one block with itself: nothing else is held
            held = left * max(passing, need.holding(classes))
        else:
            held = left * need.holding(classes) + right * max(passing, need.holding(classes))
        return round(HELD_BACK * (held + blocks))

    workspace = memory // 8
    least = peak(1, smallest) * 8 // 7 + 8
    if least > memory:
        _check.refuse("memory", f"at least {least} ({readable_bytes(least)})", f"{memory} ({readable_bytes(memory)})")

    def passes(rows: int) -> int:
        """Passes of one row: a block of x1 is kept while the blocks of x2 go by."""
        blocks = -(-n1 // rows)
        return sum(n1 - i * rows for i in range(blocks)) if n2 is None else n1 + blocks * n2

    def best(classes: int) -> tuple[int, int, int]:
        """(forward and backward passes of one row and output, outputs, rows) for the most rows that fit."""
        rows = largest(max(n1, other), lambda b: peak(b, classes) <= memory - workspace)
        return passes(rows) * (-(-C // classes) + C), classes, rows

    sizes = sorted({-(-C // part) for part in range(1, C + 1)}) if pairing != "full" else [C]
    _, classes, rows = min((best(c) for c in sizes if peak(1, c) <= memory - workspace), key=lambda b: (b[0], -b[1]))
    blocks = _Blocks.of(rows, n1, n2, classes, C)
    output_pairs = classes * classes if pairing == "full" else classes
    layers = tuple(_layer(tangent, blocks, output_pairs, trace.cotangent_size) for tangent in trace.tangents)
    return KernelPlan(
        rows, classes, trace.together(rows, classes), layers, workspace, peak(rows, classes) + workspace,
        passes(rows) * -(-C // classes), passes(rows) * C, trace.generic, memory,
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
