"""Section 4.2 for the maps in use: dimensions that suffice for sign maps (a Chernoff bound) and hashed maps (Chebyshev)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import comb
from typing import Any

from flint import arb, ctx, fmpq, fmpq_mat
from hypothesis import strategies as st

from proofs_checks import rational as qq
from proofs_checks.check_4_2_moments import enumerated
from proofs_checks.instances import drawn, fixed, matrices
from proofs_checks.margin import Margin, all_of, at_most
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]

PRECISION = 200


@dataclass(frozen=True)
class Length:
    """A vector, a number of dimensions, a distortion, and a map whose draws are enumerated."""

    vector: fmpq_mat
    k: int
    epsilon: fmpq
    kind: str

    @property
    def energies(self) -> tuple[fmpq, ...]:
        """|A u|^2 / |u|^2 of every draw, all of them equally likely."""
        return _energies(self.kind, tuple(self.vector.entries()), self.k)

    def share(self, failed: Callable[[fmpq], bool]) -> fmpq:
        """The exact probability of an event of the length."""
        found = self.energies
        return fmpq(sum(failed(e) for e in found), len(found))


SIXTHS = (1, -1, 0, 0, 0, 0)
_KNOWN: dict[tuple[str, tuple[fmpq, ...], int], tuple[fmpq, ...]] = {}


def _energies(kind: str, entries: tuple[fmpq, ...], k: int) -> tuple[fmpq, ...]:
    key = kind, entries, k
    if key not in _KNOWN and kind == "achlioptas":
        # sqrt(3) times +-1 or 0, of six equally likely values four are 0.
        sums = [
            sum((x * u for x, u in zip(xs, entries, strict=True)), fmpq(0))
            for xs in product(SIXTHS, repeat=len(entries))
        ]
        size = sum((u * u for u in entries), fmpq(0))
        _KNOWN[key] = tuple(3 * sum((s * s for s in draw), fmpq(0)) / (k * size) for draw in product(sums, repeat=k))
    if key not in _KNOWN:
        u = qq.column(entries)
        _KNOWN[key] = tuple(qq.dot(u, gram * u) / qq.norm2(u) for gram in enumerated(kind, len(entries), k))
    return _KNOWN[key]


@st.composite
def lengths(draw: Any, kinds: tuple[tuple[str, int, int], ...]) -> Length:
    """Draw a vector that is not zero for one of the maps (kind, P, k)."""
    kind, p, k = draw(st.sampled_from(kinds))
    vector = draw(matrices(p, 1).filter(lambda v: qq.norm2(v) > 0))
    return Length(vector, k, fmpq(draw(st.integers(1, 9)), 10), kind)


def exponent(epsilon: fmpq) -> fmpq:
    """epsilon^2 / 2 - epsilon^3 / 3."""
    return epsilon**2 / 2 - epsilon**3 / 3


def tails(case: Length, *, rate: Callable) -> Margin:
    """Either tail of a squared length has probability at most exp(-k rate(epsilon) / 2)."""
    with ctx.workprec(PRECISION):
        bound = (-arb(case.k * rate(case.epsilon)) / 2).exp()
        above = case.share(lambda e: e > 1 + case.epsilon)
        below = case.share(lambda e: e < 1 - case.epsilon)
        return all_of(at_most(arb(above), bound), at_most(arb(below), bound))


def union(case: tuple[int, int, fmpq], *, numerator: Callable) -> Margin:
    """binom(n, 2) 2 exp(-k rate / 2) <= n^-beta at the threshold."""
    n, beta, epsilon = case
    with ctx.workprec(PRECISION):
        k = arb(numerator(beta)) / arb(exponent(epsilon)) * arb(n).log()
        failed = 2 * comb(n, 2) * (-k * arb(exponent(epsilon)) / 2).exp()
        return at_most(failed, arb(n) ** -beta)


SIGNS = (("rademacher", 2, 3), ("rademacher", 2, 4), ("rademacher", 3, 2), ("rademacher", 3, 3), ("achlioptas", 2, 2))
# Three of four signed sums of (1, 1) / sqrt(2) are 2 or more with probability 5/16: the length is 3/2 or more.
TIGHT = Length(qq.column([1, 1]), 4, fmpq(4, 10), "rademacher")
ACHLIOPTAS = Statement(
    label="jl_signs",
    row="4.2, JL threshold of Rademacher and Achlioptas maps",
    readings=(
        Reading(
            key="as for Gaussian maps",
            formula=r"k\geq\frac{4+2\beta}{\varepsilon^2/2-\varepsilon^3/3}\ln n\ \Rightarrow\ "
            r"\Pr(\text{all pairs within }1\pm\varepsilon)\geq1-n^{-\beta}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["jl_signs", "as for Gaussian maps"],
            steps=(
                Step(
                    claim="either tail of a squared length, over all draws of the map",
                    check=tails,
                    cases=lambda n: (*drawn(lengths(SIGNS), 0.5)(n), TIGHT),
                    twins=(
                        Twin("twenty times the exponent", {"rate": lambda e: 20 * exponent(e)}, fixed(TIGHT)),
                        Twin("epsilon in its place", {"rate": lambda e: 12 * e}),
                    ),
                    sides={"rate": exponent},
                ),
                Step(
                    claim="a union over the pairs then leaves n^-beta",
                    check=union,
                    cases=fixed(*product((2, 10, 1300), (0, 1), (fmpq(1, 10), fmpq(1, 2)))),
                    twins=(
                        Twin("half the numerator", {"numerator": lambda beta: fmpq(4 + 2 * beta, 2)}),
                        Twin("without beta", {"numerator": lambda beta: fmpq(4)}),
                    ),
                    sides={"numerator": lambda beta: fmpq(4 + 2 * beta)},
                ),
            ),
            hypotheses=("entries +-1, or sqrt(3) times 0 or +-1 with probabilities 2/3 and 1/3",),
            note="the moments of a signed sum never exceed the Gaussian ones, so the Gaussian bounds carry over",
        ),
    ),
    table=2,
)


def chebyshev(case: Length, *, bound: Callable) -> Margin:
    """Pr(| |A u|^2 / |u|^2 - 1| > epsilon) <= 2 (1 - sum u_i^4 / |u|^4) / (k epsilon^2)."""
    failed = case.share(lambda e: abs(e - 1) > case.epsilon)
    return at_most(failed, bound(case))


def by_variance(case: Length) -> fmpq:
    """The bound of Chebyshev: the exact variance of V0 - 2 D over epsilon^2."""
    fourth = sum((x**4 for x in case.vector.entries()), fmpq(0)) / qq.norm2(case.vector) ** 2
    return 2 * (1 - fourth) / (case.k * case.epsilon**2)


HASHED = (
    ("countsketch", 2, 2),
    ("countsketch", 3, 2),
    ("countsketch", 3, 3),
    ("countsketch", 2, 4),
    ("sjlt_block", 2, 4),
)
# Two equal entries collide with probability 1/k and then double or vanish: the variance is 1/k, and epsilon just below 1
# makes the bound the failure probability itself.
EVEN = Length(qq.column([1, 1]), 4, fmpq(999, 1000), "countsketch")
HASHING = Statement(
    label="jl_hashed",
    row="4.2, dimensions that suffice for CountSketch and SJLT maps",
    readings=(
        Reading(
            key="by the variance",
            formula=r"k\geq\frac{n(n-1)}{\varepsilon^2\delta}\ \Rightarrow\ "
            r"\Pr(\text{all pairs within }1\pm\varepsilon)\geq1-\delta",
            verdict=Verdict.HOLDS,
            proof=PROOFS["jl_hashed", "by the variance"],
            steps=(
                Step(
                    claim="one squared length, over all draws of the map",
                    check=chebyshev,
                    cases=lambda n: (*drawn(lengths(HASHED), 0.5)(n), EVEN),
                    twins=(
                        Twin("k^2 for k", {"bound": lambda c: by_variance(c) / c.k}, fixed(EVEN)),
                        Twin("half the variance", {"bound": lambda c: by_variance(c) / 2}, fixed(EVEN)),
                    ),
                    sides={"bound": by_variance},
                    attained="two equal entries, epsilon to 1",
                ),
                Step(
                    claim="a union over the pairs leaves delta",
                    check=lambda case, *, numerator: at_most(
                        fmpq(comb(case[0], 2)) * 2 / (numerator(case[0]) / (case[1] ** 2 * case[2]) * case[1] ** 2),
                        case[2],
                    ),
                    cases=fixed(*((n, fmpq(1, 10), fmpq(1, 20)) for n in (2, 10, 1300))),
                    twins=(
                        Twin("n for n - 1 pairs each", {"numerator": lambda n: fmpq(n * (n - 1), 2)}),
                        Twin("n log n", {"numerator": lambda n: fmpq(n)}, fixed((10, fmpq(1, 10), fmpq(1, 20)))),
                    ),
                    sides={"numerator": lambda n: fmpq(n * (n - 1))},
                    attained="always an equality",
                ),
            ),
            note="no threshold of order ln n / epsilon^2 holds for one non-zero a column: two equal entries collide with "
            "probability 1/k",
        ),
    ),
    table=2,
)

STATEMENTS = (ACHLIOPTAS, HASHING)
