"""Words and scalars: the free *-algebra over the rationals, letters typed by two sizes, traces as cyclic words.

Part of the trusted core. A `Matrix` is a sum of words with `Scalar` coefficients, a `Scalar` a polynomial in symbols
(with a sign each) and in loops, that is, traces of words. A product of 1 x 1 is a scalar: a word is cut wherever it
passes through the size "1".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from flint import fmpq

__all__ = ["AlgebraError", "Letter", "Loop", "Matrix", "Scalar", "Symbol", "Word", "sq", "star", "tr"]

ONE = "1"
SIGNS = ("positive", "nonnegative", "real")


class AlgebraError(ValueError):
    """An input that the algebra refuses: unlike sizes, an inverse of what may vanish, an equation of no use."""


class Letter(NamedTuple):
    """A real matrix of size rows x cols, or its transpose."""

    name: str
    rows: str
    cols: str
    symmetric: bool = False
    starred: bool = False

    @property
    def star(self) -> Letter:
        """The transpose."""
        return self if self.symmetric else Letter(self.name, self.cols, self.rows, False, not self.starred)


class Symbol(NamedTuple):
    """A real number with the sign that it is declared to have."""

    name: str
    sign: str


Word = tuple[Letter, ...]


class Loop(NamedTuple):
    """The trace of a word, in the least of its rotations and of those of its transpose."""

    word: Word


Generator = Symbol | Loop
Monomial = tuple[tuple[Generator, int], ...]


def star(word: Word) -> Word:
    """Return the transpose of a word."""
    return tuple(letter.star for letter in reversed(word))


def _order(item: tuple[Generator, int]) -> tuple:
    return (isinstance(item[0], Loop), *item)


class Scalar:
    """A polynomial with rational coefficients; negative powers of positive symbols only."""

    def __init__(self, terms: Mapping[Monomial, fmpq] | int | fmpq = 0) -> None:
        if not isinstance(terms, Mapping):
            terms = {(): fmpq(terms)}
        self.terms: dict[Monomial, fmpq] = {m: c for m, c in terms.items() if c != 0}

    @staticmethod
    def of(generator: Generator, power: int = 1) -> Scalar:
        """Return a generator to a power; only positive symbols have inverses."""
        if isinstance(generator, Symbol) and generator.sign not in SIGNS:
            raise AlgebraError(f"{generator.name}: expected a sign among {SIGNS}, got {generator.sign!r}")
        if power < 0 and not (isinstance(generator, Symbol) and generator.sign == "positive"):
            raise AlgebraError(f"{generator}: only a positive scalar has an inverse")
        return Scalar({((generator, power),): fmpq(1)} if power else 1)

    def __add__(self, other: object) -> Scalar:
        if not isinstance(other, Scalar | int | fmpq):
            return NotImplemented
        terms = dict(self.terms)
        for monomial, c in _scalar(other).terms.items():
            terms[monomial] = terms.get(monomial, fmpq(0)) + c
        return Scalar(terms)

    def __mul__(self, other: object) -> Scalar:
        if not isinstance(other, Scalar | int | fmpq):
            return NotImplemented
        terms: dict[Monomial, fmpq] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in _scalar(other).terms.items():
                powers = dict(m1)
                for generator, power in m2:
                    powers[generator] = powers.get(generator, 0) + power
                monomial = tuple(sorted(((g, p) for g, p in powers.items() if p), key=_order))
                terms[monomial] = terms.get(monomial, fmpq(0)) + c1 * c2
        return Scalar(terms)

    def __pow__(self, power: int) -> Scalar:
        base, result = (self, Scalar(1)) if power >= 0 else (self.inverse(), Scalar(1))
        for _ in range(abs(power)):
            result = result * base
        return result

    def inverse(self) -> Scalar:
        """Return 1 over a single monomial of positive symbols; anything else is refused."""
        if len(self.terms) != 1:
            raise AlgebraError("only a monomial in positive scalars has an inverse, got a sum or zero")
        ((monomial, c),) = self.terms.items()
        result = Scalar(1 / c)
        for generator, power in monomial:
            result = result * Scalar.of(generator, -power) if power > 0 else result * Scalar.of(generator) ** -power
        return result

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Scalar:
        return self * -1

    def __sub__(self, other: object) -> Scalar:
        return self + -_scalar(other) if isinstance(other, Scalar | int | fmpq) else NotImplemented

    def __rsub__(self, other: object) -> Scalar:
        return -self + other

    def __truediv__(self, other: object) -> Scalar:
        return self * _scalar(other).inverse()

    def __rtruediv__(self, other: object) -> Scalar:
        return self.inverse() * other

    @property
    def nonnegative(self) -> bool:
        """Whether every term is evidently at least zero: the test that each factor of a certificate has to pass."""
        return all(
            c > 0 and all(power % 2 == 0 or (isinstance(g, Symbol) and g.sign != "real") for g, power in monomial)
            for monomial, c in self.terms.items()
        )


def _scalar(value: Scalar | int | fmpq) -> Scalar:
    return value if isinstance(value, Scalar) else Scalar(value)


def dimension(size: str) -> Scalar:
    """Return the trace of the identity of a size: a positive symbol of its own, 1 for the size "1"."""
    return Scalar(1) if size == ONE else Scalar.of(Symbol(size, "positive"))


def loop(word: Word) -> Scalar:
    """Return the trace of a word that closes: cut at the size "1", each part in its least rotation or transpose."""
    if not word or word[0].rows != word[-1].cols:
        raise AlgebraError("a trace wants a square word")
    cuts = [i for i, letter in enumerate(word) if letter.rows == ONE]
    if not cuts:
        turns = [w[i:] + w[:i] for w in (word, star(word)) for i in range(len(word))]
        return Scalar.of(Loop(min(turns)))
    result, turned = Scalar(1), word[cuts[0] :] + word[: cuts[0]]
    places = [i for i, letter in enumerate(turned) if letter.rows == ONE]
    for start, stop in zip(places, [*places[1:], len(turned)], strict=True):
        part = turned[start:stop]
        result = result * Scalar.of(Loop(min(part, star(part))))
    return result


class Matrix:
    """A sum of words of one size, each with a Scalar coefficient; 1 x 1 does not occur (it is a Scalar)."""

    def __init__(self, rows: str, cols: str, terms: Mapping[Word, Scalar]) -> None:
        self.rows, self.cols = rows, cols
        self.terms: dict[Word, Scalar] = {}
        for word, c in terms.items():
            rest, coefficient = _cut(word, rows, cols, c)
            total = self.terms.get(rest, Scalar(0)) + coefficient
            self.terms[rest] = total
        self.terms = {word: c for word, c in self.terms.items() if c.terms}

    @staticmethod
    def of(letter: Letter) -> Matrix:
        """Return a letter as a matrix."""
        if letter.rows == letter.cols == ONE:
            raise AlgebraError(f"{letter.name}: a 1 x 1 letter is a scalar, declare it as one")
        if letter.symmetric and letter.rows != letter.cols:
            raise AlgebraError(f"{letter.name}: only a square matrix is symmetric")
        return Matrix(letter.rows, letter.cols, {(letter,): Scalar(1)})

    @staticmethod
    def identity(size: str) -> Matrix:
        """Return the identity of a size."""
        return Matrix(size, size, {(): Scalar(1)})

    @property
    def T(self) -> Matrix:  # noqa: N802  the page writes A^T
        """The transpose."""
        return Matrix(self.cols, self.rows, {star(word): c for word, c in self.terms.items()})

    def __add__(self, other: object) -> Matrix:
        if isinstance(other, Scalar | int | fmpq):
            if isinstance(other, int) and other == 0:
                return self
            if self.rows != self.cols:
                raise AlgebraError(f"a number is added to a square matrix only, got {self.rows} x {self.cols}")
            other = Matrix(self.rows, self.cols, {(): _scalar(other)})
        if not isinstance(other, Matrix):
            return NotImplemented
        if (self.rows, self.cols) != (other.rows, other.cols):
            raise AlgebraError(f"unlike sizes: {self.rows} x {self.cols} plus {other.rows} x {other.cols}")
        terms = dict(self.terms)
        for word, c in other.terms.items():
            terms[word] = terms.get(word, Scalar(0)) + c
        return Matrix(self.rows, self.cols, terms)

    def __mul__(self, other: object) -> Matrix | Scalar:
        if isinstance(other, Scalar | int | fmpq):
            return Matrix(self.rows, self.cols, {word: c * other for word, c in self.terms.items()})
        if not isinstance(other, Matrix):
            return NotImplemented
        if self.cols != other.rows:
            raise AlgebraError(f"unlike sizes: {self.rows} x {self.cols} times {other.rows} x {other.cols}")
        if self.rows == other.cols == ONE:
            pairs = ((w1 + w2, c1 * c2) for w1, c1 in self.terms.items() for w2, c2 in other.terms.items())
            return sum((loop(word) * c for word, c in pairs), Scalar(0))
        terms: dict[Word, Scalar] = {}
        for w1, c1 in self.terms.items():
            for w2, c2 in other.terms.items():
                terms[w1 + w2] = terms.get(w1 + w2, Scalar(0)) + c1 * c2
        return Matrix(self.rows, other.cols, terms)

    __radd__ = __add__

    def __rmul__(self, other: object) -> Matrix:
        return self * other  # type: ignore[return-value]  # a scalar stands on either side

    def __neg__(self) -> Matrix:
        return -1 * self

    def __sub__(self, other: object) -> Matrix:
        return self + -other  # type: ignore[operator]

    def __rsub__(self, other: object) -> Matrix:
        return -self + other

    def __truediv__(self, other: Scalar | int) -> Matrix:
        return _scalar(other).inverse() * self  # type: ignore[return-value]

    def __pow__(self, power: int) -> Matrix:
        result = Matrix.identity(self.rows)
        for _ in range(power):
            result = result * self  # type: ignore[assignment]
        return result


def _cut(word: Word, rows: str, cols: str, c: Scalar) -> tuple[Word, Scalar]:
    """Take closed parts, from one passage through the size "1" to another, out of a word as scalars."""
    at = rows
    places = [0] if at == ONE else []
    for i, letter in enumerate(word):
        if letter.rows != at:
            raise AlgebraError(f"unlike sizes inside a word: {at}, then {letter.name} with {letter.rows} rows")
        at = letter.cols
        places += [i + 1] if at == ONE else []
    if at != cols:
        raise AlgebraError(f"unlike sizes: a word with {at} columns where {cols} are expected")
    if len(places) < 2:
        return word, c
    for start, stop in pairwise(places):
        c = c * loop(word[start:stop])
    return word[: places[0]] + word[places[-1] :], c


def tr(matrix: Matrix) -> Scalar:
    """Return the trace; that of an identity is the symbol of its own size."""
    if matrix.rows != matrix.cols:
        raise AlgebraError(f"a trace wants a square matrix, got {matrix.rows} x {matrix.cols}")
    parts: Iterable[Scalar] = (c * (loop(word) if word else dimension(matrix.rows)) for word, c in matrix.terms.items())
    return sum(parts, Scalar(0))


def sq(value: Matrix | Scalar) -> Scalar:
    """Return |X|^2 = tr X^T X, the square of a scalar."""
    if isinstance(value, Scalar):
        return value * value
    product = value.T * value
    return product if isinstance(product, Scalar) else tr(product)
