"""Inequalities of one variable, exponents of Chernoff's bound, moments: by SymPy, each step differentiated back."""

from collections.abc import Callable, Iterable

import sympy as sp

from proofs_checks.algebra.argument import Certificate, Line, Wrong
from proofs_checks.algebra.moments import Sum

__all__ = ["Calculation"]

CLOSE, APART = 1e-9, 1e-4


class Calculation:
    """Lines about functions and sums, each decided by SymPy and seen in numbers; wrong variants likewise."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.wrongs: list[Wrong] = []
        self.hypotheses: list[str] = []

    def equal(self, text: str, left: object, right: object, points: Iterable[dict] = ()) -> None:
        """State that two expressions are the same function."""
        proved = _zero(left, right)
        close = all(abs(_at(left, p) - _at(right, p)) <= CLOSE * (1 + abs(_at(left, p))) for p in points)
        self.lines.append(Line(text, f"{sp.latex(left)}={sp.latex(right)}", "", proved, close))

    def same(self, text: str, left: sp.Expr, right: sp.Expr, x: sp.Symbol, points: Iterable[dict] = ()) -> None:
        """State that two functions of x are the same: at 0, and in their rational derivatives."""
        proved = _zero(left.subs(x, 0), right.subs(x, 0)) and _zero(sp.diff(left, x), sp.diff(right, x))
        close = all(abs(_at(left, p) - _at(right, p)) <= CLOSE * (1 + abs(_at(left, p))) for p in points)
        certificate = rf"\frac{{d}}{{d{sp.latex(x)}}}={sp.latex(sp.factor(sp.cancel(sp.diff(right, x))))}"
        self.lines.append(Line(text, f"{sp.latex(left)}={sp.latex(right)}", certificate, proved, close))

    def not_equal(self, text: str, left: object, right: object, points: Iterable[dict]) -> None:
        """State a wrong variant of an equality."""
        apart = any(abs(_at(left, p) - _at(right, p)) > APART for p in points)
        self.wrongs.append(Wrong(text, f"{sp.latex(left)}={sp.latex(right)}", not _zero(left, right), apart))

    def at_least_zero(self, text: str, f: sp.Expr, x: sp.Symbol, map_to: sp.Expr, points: Iterable[float]) -> None:
        """State f >= 0 for x > 0: f(0) = 0, and the derivative has no negative coefficient after x = map_to(y), y >= 0."""
        slope = sp.cancel(sp.diff(f, x))
        proved = f.subs(x, 0) == 0 and _increasing(slope, x, map_to)
        close = all(float(f.subs(x, p)) >= -CLOSE for p in points)
        certificate = rf"\frac{{d}}{{d{sp.latex(x)}}}={sp.latex(sp.factor(slope))}\geq 0"
        self.lines.append(Line(text, rf"{sp.latex(f)}\geq 0", certificate, proved, close))

    def not_at_least_zero(self, text: str, f: sp.Expr, x: sp.Symbol, map_to: sp.Expr, points: Iterable[float]) -> None:
        """State a wrong variant of such an inequality."""
        proved = f.subs(x, 0) == 0 and _increasing(sp.cancel(sp.diff(f, x)), x, map_to)
        apart = any(float(f.subs(x, p)) < -APART for p in points)
        self.wrongs.append(Wrong(text, rf"{sp.latex(f)}\geq 0", not proved, apart))

    def moment(self, text: str, found: Sum, claim: Sum, model: Callable[[Sum], tuple[float, float]]) -> None:
        """State that an expectation is a sum; `model` gives its value over all maps of one size, and the claim's there."""
        number, claimed = model(claim)
        close = abs(number - claimed) <= 1e-8 * (1 + abs(number))
        self.lines.append(Line(text, claim.tex(), "", not (found - claim).terms, close))

    def not_moment(self, text: str, found: Sum, claim: Sum, model: Callable[[Sum], tuple[float, float]]) -> None:
        """State a wrong variant of an expectation."""
        number, claimed = model(claim)
        self.wrongs.append(Wrong(text, claim.tex(), bool((found - claim).terms), abs(number - claimed) > APART))

    def certificate(self) -> Certificate:
        """Return what was stated."""
        return Certificate(tuple(self.hypotheses), tuple(self.lines), tuple(self.wrongs))


def _zero(left: object, right: object) -> bool:
    gap = sp.expand(sp.sympify(left) - sp.sympify(right))
    return gap == 0 or sp.cancel(sp.together(gap)) == 0


def _at(value: object, point: dict) -> float:
    return float(sp.sympify(value).subs(point))


def _increasing(slope: sp.Expr, x: sp.Symbol, map_to: sp.Expr) -> bool:
    """Whether a rational function has only non-negative coefficients in y, above and below, for x = map_to(y)."""
    (y,) = map_to.free_symbols
    top, bottom = sp.fraction(sp.cancel(slope.subs(x, map_to)))
    one, two = (sp.Poly(sp.expand(part), y).all_coeffs() for part in (top, bottom))
    return all(c >= 0 for c in one + two) or all(c <= 0 for c in one + two)
