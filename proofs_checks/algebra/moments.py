"""A calculus of moments: expectations of random maps for every dimension, by set partitions of their indices.

A `Sum` is a sum over all values of its indices of products of tensors, such as sum_ij u_i u_i v_j v_j. For a random map A
with Gram matrix G = A^T A the moment E[G_ij G_lm] depends only on which of the four columns are the same. So the
expectation of a polynomial in G is a sum over the set partitions of its columns; the sum over distinct columns goes back
to free sums by Moebius inversion. That some law has these moments is derived here from its definition, one function each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from math import factorial, prod

import numpy as np
import sympy as sp

__all__ = [
    "Law",
    "Sum",
    "block_sparse",
    "contiguous",
    "coordinates",
    "count_sketch",
    "expected",
    "first",
    "haar",
    "independent",
    "sparse",
    "srht",
    "tensor_sketch",
]

Factor = tuple[str, tuple[str, ...]]
k, P, s, kappa, w = sp.symbols("k P s kappa w", positive=True)
# Tensors whose order of indices does not matter; those that are 1 when two of theirs agree.
SYMMETRIC, UNIT = {"S", "K", "d", "p", "r"}, {"S"}
Pattern = tuple[int, ...]
Extra = list[tuple[sp.Expr, tuple[Factor, ...]]]
Law = Callable[[Pattern], Extra]


def partitions(items: Sequence) -> Iterator[tuple[int, ...]]:
    """Yield every set partition of so many items, as the number of each item's block in order of appearance."""

    def grow(found: list[int]) -> Iterator[tuple[int, ...]]:
        if len(found) == len(items):
            yield tuple(found)
            return
        for block in range(max(found, default=-1) + 2):
            yield from grow([*found, block])

    yield from grow([])


class Sum:
    """A sum over indices; its terms are kept in the least renaming of the indices."""

    def __init__(self, terms: Mapping[tuple[Factor, ...], sp.Expr] | None = None) -> None:
        self.terms: dict[tuple[Factor, ...], sp.Expr] = {}
        for factors, c in (terms or {}).items():
            key = _canonical(factors)
            self.terms[key] = sp.cancel(self.terms.get(key, sp.Integer(0)) + c)
        self.terms = {factors: c for factors, c in self.terms.items() if c != 0}

    @staticmethod
    def of(text: str) -> "Sum":
        """Read "ui ui vj vj": a name and its indices, summed over all of them."""
        return Sum({tuple((word[0], tuple(word[1:])) for word in text.split()): sp.Integer(1)})

    def __add__(self, other: "Sum") -> "Sum":
        keys = dict.fromkeys([*self.terms, *other.terms])
        return Sum({f: self.terms.get(f, 0) + other.terms.get(f, 0) for f in keys})

    def __rmul__(self, c: object) -> "Sum":
        return Sum({f: sp.sympify(c) * x for f, x in self.terms.items()})

    def __sub__(self, other: "Sum") -> "Sum":
        return self + (-1) * other

    def value(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[sp.Symbol, object]) -> float:
        """Return the number that it is for given tensors and parameters."""
        total = 0.0
        for factors, c in self.terms.items():
            names = {i: chr(97 + n) for n, i in enumerate(dict.fromkeys(i for _, idx in factors for i in idx))}
            subscripts = ",".join("".join(names[i] for i in idx) for _, idx in factors) + "->"
            total += float(c.subs(numbers)) * float(np.einsum(subscripts, *(arrays[name] for name, _ in factors)))
        return total

    def tex(self) -> str:
        """Return the sum as a formula."""
        parts = []
        for factors, c in self.terms.items():
            body = " ".join(f"{name}_{{{''.join(idx)}}}" for name, idx in factors)
            names = "".join(dict.fromkeys(i for _, idx in factors for i in idx))
            parts.append(rf"({sp.latex(sp.factor(c))})\sum_{{{names}}}{body}")
        return "+".join(parts) or "0"


def _canonical(factors: tuple[Factor, ...]) -> tuple[Factor, ...]:
    kept = [(n, i) for n, i in factors if not (n in UNIT and len(set(i)) == 1)]
    indices = sorted({i for _, idx in kept for i in idx})
    best: tuple[Factor, ...] | None = None
    for order in permutations("ijlmrt"[: len(indices)]):
        names = dict(zip(indices, order, strict=True))
        renamed = ((n, tuple(names[i] for i in idx)) for n, idx in kept)
        ordered = sorted((n, _symmetric(n, i)) for n, i in renamed)
        unique = [f for j, f in enumerate(ordered) if not (f[0] in UNIT and j and ordered[j - 1] == f)]
        if best is None or tuple(unique) < best:
            best = tuple(unique)
    return best or ()


def _symmetric(name: str, indices: tuple[str, ...]) -> tuple[str, ...]:
    if name in SYMMETRIC:
        return tuple(sorted(indices))
    return (*sorted(indices[:2]), *sorted(indices[2:])) if name in ("q", "z") else indices


def expected(tensors: str, columns: str, law: Law) -> Sum:
    """Return E of the sum of the tensors times G_ab G_cd ... over the columns abcd..., for every dimension."""
    factors = tuple((word[0], tuple(word[1:])) for word in tensors.split())
    total = Sum()
    for pattern in partitions(columns):
        found = law(pattern)
        blocks = sorted(set(pattern))
        for c, extra in found:
            names = {column: f"b{block}" for column, block in zip(columns, pattern, strict=True)}
            merged = tuple((n, tuple(names.get(i, i) for i in idx)) for n, idx in factors)
            more = tuple((n, tuple(f"b{i}" for i in idx)) for n, idx in extra)
            total = total + c * _distinct(merged + more, [f"b{b}" for b in blocks])
    return total


def _distinct(factors: tuple[Factor, ...], blocks: list[str]) -> Sum:
    """Return the sum over distinct values of the blocks as free sums (Moebius inversion on set partitions)."""
    total = Sum()
    for pattern in partitions(blocks):
        sizes = [pattern.count(b) for b in set(pattern)]
        sign = prod((-1) ** (n - 1) * factorial(n - 1) for n in sizes)
        names = {block: f"c{p}" for block, p in zip(blocks, pattern, strict=True)}
        total = total + sign * Sum(
            {tuple((n, tuple(names.get(i, i) for i in idx)) for n, idx in factors): sp.Integer(1)}
        )
    return total


def first(law: Law) -> tuple[sp.Expr, sp.Expr]:
    """Return E G_ii and E G_ij for i not j: 1 and 0 say that the map is unbiased."""
    same, other = (sum((c for c, _ in law(pattern)), sp.Integer(0)) for pattern in ((0, 0), (0, 1)))
    return sp.cancel(same), sp.cancel(other)


def _entries(pattern: Pattern, rows: Pattern) -> list[tuple[int, int]]:
    """Return (row, column) of the factors of G_ab G_cd = sum over rows A_ra A_rb A_qc A_qd."""
    return [(rows[n // 2], column) for n, column in enumerate(pattern)]


def _by_rows(pattern: Pattern, moment: Callable[[list[tuple[int, int]], int], sp.Expr]) -> Extra:
    """Sum a moment of entries over the set partitions of the rows; `moment` includes the number of distinct rows."""
    total = sp.Integer(0)
    for rows in partitions(range(len(pattern) // 2)):
        total += moment(_entries(pattern, rows), max(rows) + 1)
    return [(sp.cancel(total), ())]


def _falling(n: sp.Expr, count: int) -> sp.Expr:
    return sp.Mul(*(n - i for i in range(count)))


def independent(kurtosis: sp.Expr) -> Law:
    """Return the law of independent entries with mean 0, variance 1/k and fourth moment kurtosis / k^2."""
    moments = {1: sp.Integer(0), 2: 1 / k, 4: kurtosis / k**2}

    def moment(entries: list[tuple[int, int]], rows: int) -> sp.Expr:
        counts = [entries.count(e) for e in set(entries)]
        if 1 in counts:
            return sp.Integer(0)
        return _falling(k, rows) * sp.Mul(*(moments[c] for c in counts))

    return lambda pattern: _by_rows(pattern, moment)


def _columns(entries: list[tuple[int, int]]) -> Iterator[list[int]]:
    for column in {c for _, c in entries}:
        yield [r for r, c in entries if c == column]


def count_sketch(pattern: Pattern) -> Extra:
    """One entry +-1 in each column, at a uniform row: rows must agree within a column, signs be even."""

    def moment(entries: list[tuple[int, int]], rows: int) -> sp.Expr:
        value = _falling(k, rows)
        for places in _columns(entries):
            value *= 1 / k if len(set(places)) == 1 and len(places) % 2 == 0 else 0
        return value

    return _by_rows(pattern, moment)


def sparse(pattern: Pattern) -> Extra:
    """S entries +-1/sqrt(s) in each column at s different uniform rows, a sign for each entry."""

    def moment(entries: list[tuple[int, int]], rows: int) -> sp.Expr:
        value = _falling(k, rows)
        for places in _columns(entries):
            even = all(places.count(r) % 2 == 0 for r in places)
            distinct = len(set(places))
            value *= _falling(s, distinct) / _falling(k, distinct) / s ** sp.Rational(len(places), 2) if even else 0
        return value

    return _by_rows(pattern, moment)


def block_sparse(pattern: Pattern) -> Extra:
    """One entry +-1/sqrt(s) in each of s blocks of w = k/s rows, for each column."""

    def moment(entries: list[tuple[int, int]], rows: int) -> sp.Expr:
        total = sp.Integer(0)
        # Two different rows lie in one block, s w (w - 1) ways, or in two, s w (s w - w) ways.
        kinds = ((s * w, False),) if rows == 1 else ((s * w * (w - 1), True), (s * w * (s * w - w), False))
        for ways, together in kinds:
            value = ways
            for places in _columns(entries):
                even = all(places.count(r) % 2 == 0 for r in places)
                distinct = len(set(places))
                value *= (
                    0 if not even or (distinct == 2 and together) else w**-distinct / s ** sp.Rational(len(places), 2)
                )
            total += value
        return total.subs(w, k / s)

    return _by_rows(pattern, moment)


def srht(*, replace: bool) -> Law:
    """Return the law of sqrt(P/k) S H D: a Hadamard matrix H with orthonormal columns of entries +-1/sqrt(P)."""

    def moment(entries: list[tuple[int, int]], rows: int) -> sp.Expr:
        if any(len(places) % 2 for places in _columns(entries)):
            return sp.Integer(0)
        # In each row an even power of an entry is 1/P to half of it; what is left is a product of different columns.
        odd = [{c for r, c in entries if r == row and entries.count((r, c)) % 2} for row in range(rows)]
        size = P ** -sp.Rational(len(entries), 2) * (P / k) ** sp.Rational(len(entries), 2)
        mean = sp.Mul(*(0 if part else 1 for part in odd))  # columns are orthogonal: their products add to zero
        if not replace and rows == 2:
            # sum over two different rows = product of the sums - sum of the products
            mean = (P**2 * mean - P * (1 if odd[0] == odd[1] else 0)) / (P * (P - 1))
        return _falling(k, rows) * size * mean

    return lambda pattern: _by_rows(pattern, moment)


def coordinates(pattern: Pattern) -> Extra:
    """sqrt(P/k) times a uniform coordinate in each row, rows independent."""

    def moment(entries: list[tuple[int, int]], rows: int) -> sp.Expr:
        same = all(len({c for r, c in entries if r == row}) == 1 for row in range(rows))
        return _falling(k, rows) * (P / k) ** sp.Rational(len(entries), 2) / P**rows if same else sp.Integer(0)

    return _by_rows(pattern, moment)


def haar(pattern: Pattern) -> Extra:
    """G = (P/k) M, M a uniform projector of rank k: its moments from invariance and from tr M = tr M^2 = k.

    Signs and permutations leave a = E M_ii^2, b = E M_ii M_jj, c = E M_ij^2; a rotation by 45 degrees in two coordinates
    gives a = (a + b) / 2 + c; (tr M)^2 = k^2 and tr M^2 = k give the rest.
    """
    if len(pattern) == 2:
        # Signs leave E M_ij = 0 for i not j, permutations one number on the diagonal, of which tr M = k has P.
        return [((P / k) * (k / P) if pattern == (0, 0) else sp.Integer(0), ())]
    a, b, c = sp.symbols("a b c")
    equations = [a - (a + b) / 2 - c, P * a + P * (P - 1) * b - k**2, P * a + P * (P - 1) * c - k]
    found = sp.solve(equations, [a, b, c])
    kinds = {(0, 0, 0, 0): found[a], (0, 0, 1, 1): found[b], (0, 1, 0, 1): found[c], (0, 1, 1, 0): found[c]}
    return [(sp.cancel((P / k) ** 2 * kinds.get(pattern, sp.Integer(0))), ())]


def contiguous(pattern: Pattern) -> Extra:
    """CountSketch whose hash is a shifted bijection in each run: S_ij = 1 for columns of one run, which never meet."""
    if len(pattern) == 2:
        return [(sp.Integer(int(pattern[0] == pattern[1])), ())]
    if pattern in ((0, 0, 0, 0), (0, 0, 1, 1)):
        return [(sp.Integer(1), ())]
    if pattern in ((0, 1, 0, 1), (0, 1, 1, 0)):
        return [(1 / k, ()), (-1 / k, (("S", (0, 1)),))]
    return [(sp.Integer(0), ())]


def tensor_sketch() -> Sum:
    """Return E <AU, AV>^2 for signs s(i) t(j) and buckets h(i) + g(j) mod k.

    Signs must be even in the four rows and in the four columns of U_ij V_i'j' U_lm V_l'm': each of both pairs off as
    i = i', l = l' (any), or i = l, i' = l' (same), or i = l', i' = l (crossed), the last two for different indices (d).
    p is the chance that two columns share g, r that two rows share h, q that h(i) - h(i') = g(j') - g(j), and z that
    this is g(j) - g(j') besides.
    """
    pairs = {"any": (0, 0, 1, 1), "same": (0, 1, 0, 1), "crossed": (0, 1, 1, 0)}
    total = Sum()
    for one, rows in pairs.items():
        for other, columns in pairs.items():
            i, j = [f"x{b}" for b in rows], [f"y{b}" for b in columns]
            factors = [(n, (i[m], j[m])) for m, n in enumerate("UVUV")]
            factors += [("d", ("x0", "x1"))] * (one != "any") + [("d", ("y0", "y1"))] * (other != "any")
            if one == "any" and other != "any":
                factors.append(("p", ("y0", "y1")))
            elif other == "any" and one != "any":
                factors.append(("r", ("x0", "x1")))
            elif one != "any":
                factors.append(("q" if one == other else "z", ("x0", "x1", "y0", "y1")))
            total = total + Sum({tuple(factors): sp.Integer(1)})
    return total
