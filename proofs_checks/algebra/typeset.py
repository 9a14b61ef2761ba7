"""Scalars and matrices as formulas, in the subset of LaTeX that the ledger's page sets."""

from collections.abc import Iterable

from proofs_checks.algebra.theory import Pair, Term
from proofs_checks.algebra.words import Matrix, Scalar, Symbol, Word

__all__ = ["certificate", "element"]


def _word(word: Word) -> str:
    return r"\,".join(
        (f"{letter.name}^T" if "^" not in letter.name else f"({letter.name})^T") if letter.starred else letter.name
        for letter in word
    )


def _power(base: str, power: int) -> str:
    return base if power == 1 else f"{base}^{{{power}}}" if "^" not in base else f"({base})^{{{power}}}"


def _monomial(monomial: tuple) -> str:
    parts = []
    for generator, power in monomial:
        if isinstance(generator, Symbol):
            parts.append(_power(generator.name, power))
        else:
            inner = _word(generator.word)
            closed = generator.word[0].rows == "1"
            base = inner if closed and power == 1 else rf"({inner})" if closed else rf"\mathrm{{tr}}({inner})"
            parts.append(_power(base, power))
    return r"\,".join(parts)


def _sum(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        text += part if not text or part.startswith("-") else f"+{part}"
    return text or "0"


def _number(c: object, alone: bool) -> str:
    text = str(c)
    if text in ("1", "-1") and not alone:
        return text[:-1]
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    top, _, bottom = text.partition("/")
    return sign + (rf"\frac{{{top}}}{{{bottom}}}" if bottom else top)


def _scalar(value: Scalar) -> str:
    return _sum(_number(c, not m) + _monomial(m) for m, c in value.terms.items())


def _factor(value: Scalar, rest: str) -> str:
    text = _scalar(value)
    if not rest:
        return text
    if text in ("1", "-1"):
        return text[:-1] + rest
    return f"({text}){rest}" if len(value.terms) > 1 else rf"{text}\,{rest}"


def element(value: Matrix | Scalar | int) -> str:
    """Return a scalar or a matrix as a formula."""
    if isinstance(value, Matrix):
        return _sum(_factor(c, _word(word)) if word else _factor(c, "I") for word, c in value.terms.items())
    return _scalar(value if isinstance(value, Scalar) else Scalar(value))


def _square(x: Matrix | Scalar | Pair, matrix: bool) -> str:
    if isinstance(x, Pair):
        parts = (
            _factor(c, rf"{element(a)}\otimes {element(b)}" + (r"\,\sigma" if swapped else ""))
            for c, a, b, swapped in x.parts
        )
        return rf"\|{_sum(parts)}\|^2"
    text = element(x)
    if matrix:
        single = isinstance(x, Matrix) and len(x.terms) == 1
        return rf"({text})^T({text})" if not single else rf"[{text}]^T[{text}]"
    if isinstance(x, Scalar):
        return "" if text == "1" else f"({text})^2"
    return rf"\|{text}\|^2"


def certificate(terms: Iterable[Term], matrix: bool) -> str:
    """Return a certificate: the sum of its factors times squares."""
    return _sum(_factor(t.factor, "".join(_square(x, matrix) for x in t.squares)) for t in terms)
