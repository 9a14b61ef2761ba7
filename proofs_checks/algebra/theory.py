"""Hypotheses, normal forms and certificates: what decides whether a claim is proved. Part of the trusted core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proofs_checks.algebra.words import (
    ONE,
    AlgebraError,
    Loop,
    Matrix,
    Monomial,
    Scalar,
    Symbol,
    Word,
    loop,
    sq,
    tr,
)

__all__ = ["NotConfluentError", "Pair", "Term", "Theory"]

RULES, STEPS, LONGEST = 80, 2_000, 16
Element = Matrix | Scalar


class NotConfluentError(AlgebraError):
    """Completion did not end, or met a critical pair that no rule can join: normal forms would depend on the path."""


@dataclass(frozen=True)
class Pair:
    """sum c (A (x) B) s in the tensor square of matrices of one size, s the identity or the swap of the two places."""

    parts: tuple[tuple[Scalar, Matrix, Matrix, bool], ...]

    def square(self) -> Scalar:
        """Return |X|^2: tr (A (x) B) = tr A tr B, and tr (A (x) B) swap = tr A B."""
        total = Scalar(0)
        for c1, a1, b1, s1 in self.parts:
            for c2, a2, b2, s2 in self.parts:
                a, b = a1.T * a2, b1.T * b2
                if not (isinstance(a, Matrix) and isinstance(b, Matrix)):
                    raise AlgebraError("a tensor square wants matrices")
                total = total + c1 * c2 * (tr(a) * tr(b) if s1 == s2 else tr(a * b))  # type: ignore[arg-type]
        return total


@dataclass(frozen=True)
class Term:
    """One summand of a certificate: a factor that is evidently >= 0 times squares, whose product is >= 0."""

    factor: Scalar
    squares: tuple[Matrix | Scalar | Pair, ...]

    def value(self, matrix: bool) -> Element:
        """Return factor X^T X for an inequality between matrices, factor |X|^2 |Y|^2 ... for one between numbers."""
        if not self.factor.nonnegative:
            raise AlgebraError("a factor of a certificate may be negative")
        if matrix:
            (x,) = self.squares
            if not isinstance(x, Matrix):
                raise AlgebraError("an inequality between matrices wants one matrix X in each term X^T X")
            return self.factor * (x.T * x)  # type: ignore[return-value]
        total = self.factor
        for x in self.squares:
            total = total * (x.square() if isinstance(x, Pair) else sq(x))
        return total


class Theory:
    """Equations between words and between scalars, kept as rules from a word to what is smaller (length, then name)."""

    def __init__(self) -> None:
        self.rules: dict[Word, Matrix] = {}
        self.values: dict[Symbol | Loop, Scalar] = {}
        self.ranks: dict[str, int] = {}

    def _key(self, word: Word) -> tuple:
        """Order words by length, then by their letters; a letter that is met earlier is larger."""
        return (len(word), [(self.ranks.setdefault(x.name, -len(self.ranks)), x.starred) for x in word])

    def assume(self, left: Element, right: Element | int) -> None:
        """Take left = right as a hypothesis, close it under transposition and complete the rules."""
        difference = left - right
        if isinstance(difference, Scalar):
            self._settle(difference, left)
        else:
            self._complete([difference])

    def vanish(self, x: Matrix) -> bool:
        """Whether |X|^2 = 0 follows; then X = 0 is a new rule (a real matrix is zero when its square has trace zero)."""
        proved = not self.normal(sq(x)).terms
        if proved:
            self.assume(x, 0)
        return proved

    def equal(self, left: Element, right: Element | int) -> bool:
        """Whether the two sides have one normal form."""
        return not self.normal(left - right).terms

    def at_most(self, left: Element, right: Element | int, certificate: Sequence[Term]) -> bool:
        """Whether right - left is the certificate's sum of squares with factors that are evidently >= 0."""
        gap = right - left
        for term in certificate:
            gap = gap - term.value(isinstance(gap, Matrix))  # type: ignore[operator]
        return not self.normal(gap).terms

    def normal(self, value: Element) -> Element:
        """Return the normal form."""
        if isinstance(value, Scalar):
            return self._scalar(value)
        value = self._words(value)
        terms = {word: self._scalar(c) for word, c in value.terms.items()}
        return Matrix(value.rows, value.cols, terms)

    def _words(self, value: Matrix) -> Matrix:
        for _ in range(STEPS):
            found = next(((w, *place) for w in value.terms for place in self._matches(w)), None)
            if found is None:
                return value
            word, at, part = found
            c = value.terms[word]
            rest = Matrix(value.rows, value.cols, {w: x for w, x in value.terms.items() if w != word})
            value = rest + Matrix(value.rows, value.cols, self._replaced(word, at, part, c))
        raise NotConfluentError("a normal form was not reached")

    def _matches(self, word: Word) -> Iterator[tuple[int, Word]]:
        lengths = {len(part) for part in self.rules}
        return (
            (i, w) for i in range(len(word)) for k in lengths if (w := word[i : i + k]) in self.rules and len(w) == k
        )

    def _replaced(self, word: Word, at: int, part: Word, c: Scalar) -> dict[Word, Scalar]:
        head, tail = word[:at], word[at + len(part) :]
        return {head + w + tail: c * x for w, x in self.rules[part].terms.items()}

    def _scalar(self, value: Scalar) -> Scalar:
        for _ in range(STEPS):
            found = next(((m, g, new) for m in value.terms for g, _ in m if (new := self._value(g)) is not None), None)
            if found is None:
                return value
            monomial, generator, new = found
            power = dict(monomial)[generator]
            if power < 0:
                raise AlgebraError(f"{generator}: a scalar that is replaced has no negative power")
            rest = Scalar({m: c for m, c in value.terms.items() if m != monomial})
            others: Monomial = tuple((g, p) for g, p in monomial if g != generator)
            value = rest + Scalar({others: value.terms[monomial]}) * new**power
        raise NotConfluentError("a normal form of a scalar was not reached")

    def _value(self, generator: Symbol | Loop) -> Scalar | None:
        """Return what replaces a symbol or a trace, if anything does."""
        if generator in self.values:
            return self.values[generator]
        if isinstance(generator, Symbol):
            return None
        word = generator.word
        turns = [word] if word[0].rows == ONE else [word[i:] + word[:i] for i in range(len(word))]
        for turn in turns:
            for at, part in self._matches(turn):
                new = self._traced(self._replaced(turn, at, part, Scalar(1)), turn[0].rows)
                # A rule that commutes two letters would turn a cyclic word for ever: it must become smaller.
                if all(self._key(g.word) < self._key(word) for m in new.terms for g, _ in m if isinstance(g, Loop)):
                    return new
        return None

    @staticmethod
    def _traced(terms: dict[Word, Scalar], size: str) -> Scalar:
        """Return the trace of words of a size; through "1" a word is its own trace."""
        total = Scalar(0)
        for word, c in terms.items():
            if word:
                total = total + c * loop(word)
            else:
                total = total + c * (1 if size == ONE else tr(Matrix.identity(size)))
        return total

    def _settle(self, difference: Scalar, left: Element | None = None) -> None:
        """Solve a scalar equation for one trace, or one symbol that is not positive, that stands in it once, linearly."""
        value = self._scalar(difference)
        wanted = [g for m in left.terms for g, _ in m] if isinstance(left, Scalar) and len(left.terms) == 1 else []
        candidates = []
        for monomial, c in value.terms.items():
            for g, power in monomial:
                factor = Scalar({tuple((h, p) for h, p in monomial if h != g): c})
                free = isinstance(g, Loop) or g.sign != "positive"
                alone = sum(any(h == g for h, _ in m) for m in value.terms) == 1
                if free and alone and power == 1 and _invertible(factor):
                    candidates.append((g in wanted, isinstance(g, Loop), len(g[0]), g, factor))
        if not value.terms:
            return
        if not candidates:
            raise AlgebraError("a scalar equation must have one trace or symbol that can be solved for")
        *_, g, factor = max(candidates, key=lambda item: (item[0], item[1], item[2], item[3]))
        self.values[g] = Scalar.of(g) - value * factor.inverse()
        self.values = {h: self._scalar(x) for h, x in self.values.items()}

    def _complete(self, queue: list[Matrix]) -> None:
        """Knuth-Bendix: turn equations into rules, compare both ways of every overlap, until nothing is left."""
        while queue:
            reduced = self.normal(queue.pop(0))
            if not isinstance(reduced, Matrix) or not reduced.terms:
                continue
            queue += self._orient(reduced)
            if len(self.rules) > RULES or max(map(len, self.rules)) > LONGEST:
                raise NotConfluentError("completion did not end")

    def _orient(self, equation: Matrix) -> list[Matrix]:
        """Add the rule of an equation, and return the equations that must hold besides: its transpose, its overlaps."""
        lead = max(equation.terms, key=self._key)
        c = equation.terms[lead]
        if not lead:
            raise AlgebraError("the hypotheses say that a number times the identity is zero")
        if not _invertible(c):
            raise AlgebraError("the leading coefficient is no monomial in positive scalars: it must not be inverted")
        if any(letter.rows == ONE for letter in lead[1:]):
            raise AlgebraError("the leading word passes through the size 1: name the product of vectors instead")
        rest = Matrix(equation.rows, equation.cols, {w: x for w, x in equation.terms.items() if w != lead})
        new = -(c.inverse() * rest)
        again = []
        for word in [w for w in self.rules if any(w[i : i + len(lead)] == lead for i in range(len(w)))]:
            old = self.rules.pop(word)
            again.append(Matrix(old.rows, old.cols, {word: Scalar(1)}) - old)
        self.rules[lead] = new
        again.append(equation.T)
        for word in list(self.rules):
            again += self._overlaps(lead, word) + (self._overlaps(word, lead) if word != lead else [])
        return again

    def _overlaps(self, first: Word, second: Word) -> list[Matrix]:
        found = []
        for k in range(1, min(len(first), len(second))):
            if first[-k:] == second[:k]:
                a, c = first[:-k], second[k:]
                rows, cols = first[0].rows, second[-1].cols
                if rows == cols == ONE:
                    one = sum((loop(w + c) * x for w, x in self.rules[first].terms.items()), Scalar(0))
                    two = sum((loop(a + w) * x for w, x in self.rules[second].terms.items()), Scalar(0))
                    self._settle(one - two)
                    continue
                one = Matrix(rows, cols, {w + c: x for w, x in self.rules[first].terms.items()})
                two = Matrix(rows, cols, {a + w: x for w, x in self.rules[second].terms.items()})
                found.append(one - two)
        return found


def _invertible(c: Scalar) -> bool:
    symbols = (g for m in c.terms for g, _ in m)
    return len(c.terms) == 1 and all(isinstance(g, Symbol) and g.sign == "positive" for g in symbols)
