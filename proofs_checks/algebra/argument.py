"""A proof line by line: each line goes to the prover and to a numeric model; a wrong variant must fail in both.

Not part of the trusted core: what this file could get wrong is what is printed, not what is proved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flint import fmpq

from proofs_checks.algebra import typeset
from proofs_checks.algebra.model import APART, CLOSE, Model
from proofs_checks.algebra.theory import Pair, Term, Theory
from proofs_checks.algebra.words import Letter, Matrix, Scalar, Symbol

__all__ = ["Argument", "Certificate", "Line", "Wrong", "half", "one", "ratio"]

Element = Matrix | Scalar


@dataclass(frozen=True)
class Line:
    """One claim: what it says, its formula, its certificate, whether the prover accepts it, whether the model has it."""

    text: str
    formula: str
    certificate: str
    proved: bool
    in_model: bool


@dataclass(frozen=True)
class Wrong:
    """A false variant of a line: the prover must reject it, and the model must show that it is false."""

    text: str
    formula: str
    rejected: bool
    false_in_model: bool


@dataclass(frozen=True)
class Certificate:
    """All that a proof consists of."""

    hypotheses: tuple[str, ...]
    lines: tuple[Line, ...]
    wrong: tuple[Wrong, ...]

    @property
    def carries(self) -> bool:
        """Whether every line is proved and true in the model, and every wrong variant is rejected and false there."""
        lines = all(line.proved and line.in_model for line in self.lines)
        wrong = all(w.rejected and w.false_in_model for w in self.wrong)
        return bool(self.lines) and bool(self.wrong) and lines and wrong


def ratio(top: int, bottom: int = 1) -> Scalar:
    """Return a rational number."""
    return Scalar(fmpq(top, bottom))


half, one = ratio(1, 2), ratio(1)


def _term(item: object) -> Term:
    """Read (factor, X, Y, ...), X alone, or a bare factor as a term."""
    if isinstance(item, Term):
        return item
    if isinstance(item, tuple):
        factor, *squares = item
        return Term(factor if isinstance(factor, Scalar) else Scalar(factor), tuple(squares))
    if isinstance(item, Matrix | Pair):
        return Term(one, (item,))
    if isinstance(item, Scalar):
        return Term(item, ())
    raise TypeError(f"a term of a certificate: expected a factor with squares, got {item!r}")


class Argument:
    """Letters with their values, hypotheses, lines and wrong variants, in the order in which they are stated."""

    def __init__(self, seed: int = 1) -> None:
        self.theory, self.model = Theory(), Model()
        self.rng = np.random.default_rng(seed)
        self.hypotheses: list[str] = []
        self.signs: dict[str, str] = {}
        self.lines: list[Line] = []
        self.wrongs: list[Wrong] = []
        self._last: tuple[str, Element, Element | int, tuple[Term, ...]] | None = None

    def matrix(self, name: str, rows: str, cols: str, value: object) -> Matrix:
        """Declare a matrix with its value in the model."""
        self._new(name)
        self.theory.ranks.setdefault(name, -len(self.theory.ranks))
        self.model.put(name, rows, cols, value)
        return Matrix.of(Letter(name, rows, cols))

    def _new(self, name: str) -> None:
        if name in self.model.matrices:
            raise ValueError(f"{name}: expected a new name, got that of a letter")

    def vector(self, name: str, rows: str, value: object) -> Matrix:
        """Declare a column."""
        return self.matrix(name, rows, "1", value)

    def symmetric(self, name: str, size: str, value: object) -> Matrix:
        """Declare a symmetric matrix."""
        self._new(name)
        self.theory.ranks.setdefault(name, -len(self.theory.ranks))
        array = np.asarray(value, float)
        if np.abs(array - array.T).max() > CLOSE:
            raise ValueError(f"{name}: the value is not symmetric")
        self.model.put(name, size, size, value)
        return Matrix.of(Letter(name, size, size, True))

    def positive(self, name: str, value: float) -> Scalar:
        """Declare a positive number."""
        return self._number(name, "positive", value, value > 0)

    def nonnegative(self, name: str, value: float) -> Scalar:
        """Declare a number that is at least zero."""
        return self._number(name, "nonnegative", value, value >= -CLOSE)

    def real(self, name: str, value: float) -> Scalar:
        """Declare a number of any sign."""
        return self._number(name, "real", value, True)

    def _number(self, name: str, sign: str, value: float, fits: bool) -> Scalar:
        if not fits:
            raise ValueError(f"{name}: expected a {sign} number, got {value}")
        if self.signs.setdefault(name, sign) != sign or self.model.numbers.get(name, value) != value:
            raise ValueError(f"{name}: expected a new name, got that of another number")
        self.model.numbers[name] = float(value)
        return Scalar.of(Symbol(name, sign))

    def slack(self, name: str, gap: Element, why: str) -> Scalar:
        """Take an inequality gap >= 0 between numbers as a hypothesis: gap = s for a number s >= 0."""
        if not isinstance(gap, Scalar):
            raise TypeError("a slack wants a scalar")
        s = self.nonnegative(name, self.model.scalar(gap))
        self.assume(gap, s, why)
        return s

    def assume(self, left: Element, right: Element | int, why: str = "") -> None:
        """Take an equation as a hypothesis; the model must meet it."""
        if self.model.excess(left, right, equality=True) > CLOSE:
            raise ValueError(f"the model does not meet {typeset.element(left)} = {typeset.element(right)}")
        self.theory.assume(left, right)
        formula = f"{typeset.element(left)}={typeset.element(right)}"
        self.hypotheses.append(rf"{formula}\quad\mathrm{{({_words(why)})}}" if why else formula)

    def projector(self, name: str, size: str, value: object) -> Matrix:
        """Declare an orthogonal projector: P = P^T = P P."""
        p = self.symmetric(name, size, value)
        self.assume(p * p, p)
        return p

    def inverse(self, name: str, of: Matrix) -> Matrix:
        """Declare the inverse of a symmetric matrix that is known to be invertible."""
        x = self.symmetric(name, of.rows, np.linalg.inv(self.model.matrix(of)))
        self.assume(of * x, 1)
        return x

    def pseudo_inverse(self, name: str, of: Matrix) -> Matrix:
        """Declare the pseudo-inverse of a symmetric matrix by Penrose's equations."""
        x = self.symmetric(name, of.rows, np.linalg.pinv(self.model.matrix(of), rcond=1e-10))
        self.assume(of * x, x * of)
        self.assume(of * x * of, of)
        self.assume(x * of * x, x)
        return x

    def root(self, name: str, of: Matrix, cols: str = "") -> Matrix:
        """Declare C with C C^T equal to a matrix that is positive semi-definite by hypothesis."""
        values, vectors = np.linalg.eigh(self.model.matrix(of))
        if values[0] < -CLOSE:
            raise ValueError(f"{name}: the model's matrix is not positive semi-definite")
        root = vectors * np.sqrt(np.where(values > 1e-12, values, 0))
        c = self.matrix(name, of.rows, cols or f"{of.rows}_{{{name}}}", root)
        self.assume(of, c * c.T)
        return c

    def identity(self, text: str, left: Element, right: Element | int) -> bool:
        """State left = right."""
        proved = self.theory.equal(left, right)
        close = self.model.excess(left, right, equality=True) <= CLOSE
        self._last = ("=", left, right, ())
        self.lines.append(Line(text, f"{typeset.element(left)}={typeset.element(right)}", "", proved, close))
        return proved

    def at_most(self, text: str, left: Element, right: Element | int, *terms: object) -> bool:
        """State left <= right with its certificate."""
        read = tuple(_term(item) for item in terms)
        proved = self.theory.at_most(left, right, read)
        close = self.model.excess(left, right, equality=False) <= CLOSE
        self._last = ("<=", left, right, read)
        matrix = isinstance(right - left, Matrix)
        relation = r"\preceq" if matrix else r"\leq"
        formula = rf"{typeset.element(left)}{relation} {typeset.element(right)}"
        self.lines.append(Line(text, formula, typeset.certificate(read, matrix), proved, close))
        return proved

    def vanish(self, text: str, x: Matrix) -> bool:
        """State X = 0 because |X|^2 = 0, and use it from here on."""
        proved = self.theory.vanish(x)
        close = self.model.excess(x, 0, equality=True) <= CLOSE
        self.lines.append(Line(text, f"{typeset.element(x)}=0", r"\|X\|^2=0", proved, close))
        return proved

    def lemma(self, text: str, left: Element, right: Element) -> bool:
        """State left = right and use it as a rule from here on."""
        proved = self.identity(text, left, right)
        if proved:
            self.theory.assume(left, right)
        return proved

    def wrong(self, text: str, *, left: Element | None = None, right: Element | int | None = None) -> None:
        """State a false variant of the last line: other sides, the same certificate."""
        if self._last is None:
            raise ValueError("a wrong variant wants a line before it")
        relation, old_left, old_right, terms = self._last
        left, right = old_left if left is None else left, old_right if right is None else right
        equality = relation == "="
        accepted = self.theory.equal(left, right) if equality else self.theory.at_most(left, right, terms)
        apart = self.model.excess(left, right, equality=equality) > APART
        sign = "=" if equality else r"\preceq" if isinstance(right - left, Matrix) else r"\leq"
        formula = f"{typeset.element(left)}{sign} {typeset.element(right)}"
        self.wrongs.append(Wrong(text, formula, not accepted, apart))

    def certificate(self) -> Certificate:
        """Return what was stated."""
        return Certificate(tuple(self.hypotheses), tuple(self.lines), tuple(self.wrongs))


def _words(text: str) -> str:
    return text.replace(" ", r"\ ")


def stated(lines: Sequence[Line]) -> str:
    """Return the lines that the prover does not accept or the model does not have, for a message."""
    return "; ".join(
        f"{x.text}: {'not proved' if not x.proved else 'false in the model'}"
        for x in lines
        if not (x.proved and x.in_model)
    )
