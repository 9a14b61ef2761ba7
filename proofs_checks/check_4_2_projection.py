"""Section 4.2: Johnson-Lindenstrauss dimensions from the exact laws, inner products, and unbiased orthonormal projection.

One file because dimensions, inner products and unbiasedness share the exact laws.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.projection import draw, failure_probability, inner_product_failure, smallest_dimension
from proofs_checks import rational as qq
from proofs_checks.check_3_1_kernel import RESNET18_PARAMETERS
from proofs_checks.check_4_2_moments import enumerated
from proofs_checks.check_b_6_redundancy import CEX_17, Mapped
from proofs_checks.instances import drawn, fixed, matrices, orthogonal
from proofs_checks.margin import Margin, all_of, at_most, equal, sampled
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS", "gaussian_failure"]

PRECISION = 400  # bits: one minus an upper tail near 1 cancels about 30 of them


@cache
def gaussian_failure(k: int, epsilon: fmpq) -> arb:
    """Pr(|chi^2_k / k - 1| > epsilon), a ball."""
    with ctx.workprec(PRECISION):
        half, e = arb(k) / 2, arb(epsilon)
        low = 1 - (half * (1 - e)).gamma_upper(half, regularized=1)
        return low + (half * (1 + e)).gamma_upper(half, regularized=1)


@cache
def haar_failure(k: int, epsilon: fmpq, p: int) -> arb:
    """Pr(|(P/k) Beta(k/2, (P-k)/2) - 1| > epsilon), a ball."""
    with ctx.workprec(256):
        share, e = arb(k) / p, arb(epsilon)
        low = (share * (1 - e)).beta_lower(arb(k) / 2, arb(p - k) / 2, regularized=1)
        return low + (1 - share * (1 + e)).beta_lower(arb(p - k) / 2, arb(k) / 2, regularized=1)


@dataclass(frozen=True)
class Pairs:
    """A number of points, a distortion, a width, and the map ("G" or "H")."""

    n: int
    epsilon: fmpq
    k: int
    kind: str = "G"

    @property
    def union(self) -> arb:
        """The union bound over all pairs."""
        one = (
            gaussian_failure(self.k, self.epsilon)
            if self.kind == "G"
            else haar_failure(self.k, self.epsilon, RESNET18_PARAMETERS)
        )
        return comb(self.n, 2) * one


def dasgupta_gupta(n: int, epsilon: fmpq) -> int:
    """The least integer at or above 4 ln n / (eps^2 / 2 - eps^3 / 3)."""
    return int((4 * arb(n).log() / arb(epsilon**2 / 2 - epsilon**3 / 3)).ceil().unique_fmpz())


def simplified(n: int, epsilon: fmpq) -> int:
    """The least integer at or above 8 ln n / eps^2."""
    return int((8 * arb(n).log() / arb(epsilon**2)).ceil().unique_fmpz())


@dataclass(frozen=True)
class Points:
    """A number of points and a distortion."""

    n: int
    epsilon: fmpq


def union_below(case: Points, *, width: Callable, level: fmpq | int = 1) -> Margin:
    """At this width the union bound over all pairs is at most the level, so a good map exists."""
    return at_most(Pairs(case.n, case.epsilon, width(case.n, case.epsilon)).union, level)


def union_value(case: tuple[Points, str], *, factor: fmpq) -> Margin:
    """The union bound at the simplified width, to the printed digits."""
    points, printed = case
    digits = len(printed.split(".")[1])
    value = Pairs(points.n, points.epsilon, simplified(points.n, points.epsilon)).union * factor
    return at_most(abs(value - qq.q(printed)), fmpq(1, 2 * 10**digits))


def threshold(case: tuple[Points, int], *, shift: int) -> Margin:
    """The stated integer satisfies k >= 8 ln n / eps^2, and the one before does not."""
    points, k = case
    exact = 8 * arb(points.n).log() / arb(points.epsilon**2)
    return all_of(at_most(exact, fmpq(k + shift)), at_most(fmpq(k + shift - 1), exact))


def least(case: tuple[Pairs, fmpq], *, shift: int) -> Margin:
    """The width k is the least of its neighbourhood: the union bound is at most delta at k and above it at k - 1."""
    pairs, delta = case
    here, before = replace(pairs, k=pairs.k + shift), replace(pairs, k=pairs.k + shift - 1)
    return all_of(at_most(here.union, delta), at_most(delta, before.union))


def distortion(case: tuple[int, str], *, n: int) -> Margin:
    """At 95 % confidence the guaranteed distortion at width k rounds to the printed one."""
    k, printed = case
    value, half = qq.q(printed), fmpq(1, 2000)
    return all_of(
        at_most(Pairs(n, value + half, k).union, fmpq(1, 20)), at_most(fmpq(1, 20), Pairs(n, value - half, k).union)
    )


def typical(case: tuple[int, str], *, numerator: int) -> Margin:
    """sqrt(2/k) rounds to the printed typical distortion."""
    k, printed = case
    return at_most(abs((arb(numerator) / k).sqrt() - qq.q(printed)), fmpq(1, 2000))


def tenths(*values: int) -> list[fmpq]:
    """Tenths."""
    return [fmpq(v, 10) for v in values]


TABLE = [  # n, eps, simplified, Dasgupta-Gupta, then Gaussian/Haar at delta = 1 - 1/n, 0.05, 0.01
    (500, "1/10", 4972, 5327, (4050, 4048), (5245, 5243), (5896, 5893)),
    (1300, "1/20", 22945, 23736, (18977, 18945), (23664, 23613), (26199, 26137)),
    (1300, "1/10", 5737, 6146, (4811, 4809), (6019, 6016), (6674, 6670)),
    (1300, "1/5", 1435, 1655, (1257, 1257), (1581, 1581), (1757, 1757)),
    (1300, "3/10", 638, 797, (588, 588), (741, 741), (824, 824)),
    (9469, "1/10", 7325, 7848, (6416, 6412), (7643, 7638), (8306, 8300)),
]
WIDTHS = fixed(*((Points(n, qq.q(e)), s) for n, e, s, *_ in TABLE))
EXACT = fixed(
    *(
        (Pairs(n, qq.q(e), k, kind), delta)
        for n, e, _, _, *rows in TABLE
        for pair, delta in zip(rows, (1 - fmpq(1, n), fmpq(1, 20), fmpq(1, 100)), strict=True)
        for k, kind in zip(pair, "GH", strict=True)
    )
)
GRID = fixed(*(Points(n, e) for n in (2, 10, 100, 1300, 9469) for e in tenths(1, 3, 5, 9)))
UNIONS = fixed(
    *((Points(1300, e), value) for e, value in zip(tenths(1, 3, 5, 9), ("0.10", "0.37", "1.14", "6.2"), strict=True))
)


def by_scipy(case: tuple[Pairs, fmpq], *, reference: Callable) -> Margin:
    """dntk_ref's float64 tail against the ball; its special functions are good to about 1e-9 relative at these sizes."""
    pairs, _ = case
    exact = float(pairs.union) / comb(pairs.n, 2)
    # Incomplete gamma and beta functions at shapes near 10^4 lose the digits of k times log terms: 10^5 roundings.
    return equal(reference(pairs), exact, scale=1e7 * exact)


def _failure(pairs: Pairs) -> float:
    kind = {"G": "gaussian", "H": "haar"}[pairs.kind]
    return failure_probability(kind, pairs.k, float(pairs.epsilon), P=RESNET18_PARAMETERS)


def frequency(case: tuple[str, int, int, float, int], *, probability: Callable) -> Margin:
    """The share of 4,000 drawn maps that move one unit vector by more than eps is the exact probability."""
    kind, p, k, epsilon, seed = case
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(p)
    u /= np.linalg.norm(u)
    off = [abs(np.sum((u @ draw(kind, p, k, rng=rng)) ** 2) - 1) > epsilon for _ in range(4000)]
    return sampled(np.array(off, float), probability(kind, p, k, epsilon))


def law(kind: str, p: int, k: int, epsilon: float) -> float:
    """The exact probability."""
    return failure_probability(kind, k, epsilon, P=p)


LAWS = fixed(("gaussian", 12, 5, 0.5, 1), ("haar", 12, 5, 0.5, 2), ("haar", 6, 4, 0.3, 3))


def exchanged(kind: str, p: int, k: int, epsilon: float) -> float:
    """The law of the other map."""
    return law("haar" if kind == "gaussian" else "gaussian", p, k, epsilon)


JL = Statement(
    label="sec_4_2_jl",
    row="4.2 JL statement",
    readings=(
        Reading(
            key="pairwise distances",
            formula=r"k\geq\frac{4\ln n}{\epsilon^2/2-\epsilon^3/3}"
            r"\Rightarrow\exists A:\ (1\pm\epsilon)\|u-v\|^2\ni\|Au-Av\|^2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["sec_4_2_jl", "pairwise distances"],
            steps=(
                Step(
                    claim="union bound below 1 at the Dasgupta-Gupta width, exact chi-squared law",
                    check=union_below,
                    cases=GRID,
                    twins=(
                        Twin("half the width", {"width": lambda n, e: dasgupta_gupta(n, e) // 2}),
                        Twin("confidence 99 % instead of existence", {"level": fmpq(1, 100)}),
                    ),
                    sides={"width": dasgupta_gupta},
                ),
                Step(
                    claim="the exact law is that of drawn maps (Gaussian: chi-squared, Haar: Beta)",
                    check=frequency,
                    cases=LAWS,
                    twins=(
                        Twin(
                            "one degree of freedom more", {"probability": lambda kind, p, k, e: law(kind, p, k + 1, e)}
                        ),
                        Twin("Gaussian law for Haar and the reverse", {"probability": exchanged}),
                    ),
                    sides={"probability": law},
                ),
            ),
        ),
        Reading(
            key="threshold 8 ln n / eps^2",
            formula=r"k\geq 8\ln n/\epsilon^2\Rightarrow\exists A",
            verdict=Verdict.ADDED,
            proof=PROOFS["sec_4_2_jl", "threshold 8 ln n / eps^2"],
            steps=(
                Step(
                    claim="union bound below 1 for n = 1300 at eps = 0.1 and 0.3",
                    check=union_below,
                    cases=fixed(*(Points(1300, e) for e in tenths(1, 3))),
                    twins=(
                        Twin("half the width", {"width": lambda n, e: simplified(n, e) // 2}),
                        Twin("eps = 0.9", {}, fixed(Points(1300, fmpq(9, 10)))),
                    ),
                    sides={"width": simplified},
                ),
                Step(
                    claim="its values 0.10, 0.37, 1.14, 6.2",
                    check=union_value,
                    cases=UNIONS,
                    twins=(
                        Twin("all ordered pairs", {"factor": fmpq(2)}),
                        Twin("one tail", {"factor": fmpq(1, 2)}),
                    ),
                    sides={"factor": fmpq(1)},
                ),
            ),
            refutations=(
                Refutation(
                    name="union bound at eps = 0.9",
                    check=union_below,
                    case=Points(1300, fmpq(9, 10)),
                    controls=(
                        Twin("Dasgupta-Gupta width", {"width": dasgupta_gupta}),
                        Twin("eps = 0.1", cases=fixed(Points(1300, fmpq(1, 10)))),
                    ),
                    printed={"width": simplified},
                    left="6.2",
                    right=1,
                    search=st.builds(Points, st.integers(2, 2000), st.integers(1, 9).map(lambda e: fmpq(e, 10))),
                ),
            ),
            added=("small epsilon: for larger ones the union bound, not necessarily the statement, fails",),
        ),
        Reading(
            key="5736 dimensions",
            formula=r"5736\geq 8\ln 1300/0.1^2",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="the least integers of the table",
                    check=threshold,
                    cases=WIDTHS,
                    twins=(
                        Twin("one less", {"shift": -1}),
                        Twin("one more", {"shift": 1}),
                    ),
                    sides={"shift": 0},
                ),
            ),
            refutations=(
                Refutation(
                    name="5736",
                    check=threshold,
                    case=(Points(1300, fmpq(1, 10)), 5736),
                    controls=(
                        Twin("5737", cases=fixed((Points(1300, fmpq(1, 10)), 5737))),
                        Twin("one more", {"shift": 1}),
                    ),
                    printed={"shift": 0},
                ),
            ),
        ),
    ),
)
JL_TABLE = Statement(
    label="jl_table",
    row="Exact laws and the table of least widths (4.2)",
    readings=(
        Reading(
            key="all 36 integers",
            formula=r"\min\{k:\ C(n,2)\,p_{G,H}(k,\epsilon)\leq\delta\}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["jl_table", "all 36 integers"],
            steps=(
                Step(
                    claim="union bound at most delta at k, above at k - 1 (certain)",
                    check=least,
                    cases=EXACT,
                    twins=(
                        Twin("one more", {"shift": 1}),
                        Twin("one less", {"shift": -1}),
                    ),
                    sides={"shift": 0},
                ),
                Step(
                    claim="Dasgupta-Gupta column",
                    check=lambda case, *, width: equal(width(case[0].n, case[0].epsilon), case[1]),
                    cases=fixed(*((Points(n, qq.q(e)), d) for n, e, _, d, *_ in TABLE)),
                    twins=(
                        Twin("simplified", {"width": simplified}),
                        Twin("n - 1 points", {"width": lambda n, e: dasgupta_gupta(n - 1, e)}),
                    ),
                    sides={"width": dasgupta_gupta},
                ),
                Step(
                    claim="dntk_ref's tails",
                    check=by_scipy,
                    cases=EXACT,
                    twins=(
                        Twin("one dimension more", {"reference": lambda p: _failure(replace(p, k=p.k + 1))}),
                        Twin("doubled", {"reference": lambda p: 2 * _failure(p)}),
                    ),
                    sides={"reference": _failure},
                ),
                Step(
                    claim="dntk_ref's search",
                    check=lambda case, *, shift: equal(
                        smallest_dimension("gaussian", case[0].n, float(case[0].epsilon), float(case[1])),
                        case[0].k + shift,
                    ),
                    cases=fixed(
                        (Pairs(1300, fmpq(1, 10), 6019), fmpq(1, 20)), (Pairs(500, fmpq(1, 10), 5896), fmpq(1, 100))
                    ),
                    twins=(
                        Twin("one more", {"shift": 1}),
                        Twin("one less", {"shift": -1}),
                    ),
                    sides={"shift": 0},
                ),
            ),
        ),
        Reading(
            key="distortions at n = 1300, 95 %",
            formula=r"0.255\ (k=1000),\ 0.175\ (2048),\ 0.122\ (4096);\ \sqrt{2/k}=0.045,\ 0.031,\ 0.022",
            verdict=Verdict.HOLDS,
            proof=PROOFS["jl_table", "distortions at n = 1300, 95 %"],
            steps=(
                Step(
                    claim="guaranteed",
                    check=distortion,
                    cases=fixed((1000, "0.255"), (2048, "0.175"), (4096, "0.122")),
                    twins=(
                        Twin("9469 points", {"n": 9469}),
                        Twin("300 points", {"n": 300}),
                    ),
                    sides={"n": 1300},
                ),
                Step(
                    claim="typical",
                    check=typical,
                    cases=fixed((1000, "0.045"), (2048, "0.031"), (4096, "0.022")),
                    twins=(
                        Twin("sqrt(1/k)", {"numerator": 1}),
                        Twin("sqrt(3/k)", {"numerator": 3}),
                    ),
                    sides={"numerator": 2},
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Cloud:
    """Rational points as rows and the Gram matrix of a map."""

    points: fmpq_mat
    gram: fmpq_mat

    def distortion(self, points: fmpq_mat) -> fmpq:
        """The largest relative error of a squared distance."""
        found = [fmpq(0)]
        for i, j in combinations(range(points.nrows()), 2):
            gap = (qq.select(points, [i]) - qq.select(points, [j])).transpose()
            length = qq.norm2(gap)
            if length != 0:
                found.append(abs(qq.dot(gap, self.gram * gap) - length) / length)
        return max(found)


@st.composite
def clouds(draw: Any) -> Cloud:
    """Draw unit vectors (rows of rational orthogonal matrices) and a map near the identity."""
    p = draw(st.integers(2, 3))
    points = qq.stack(qq.select(draw(orthogonal(p)), range(2)), qq.select(draw(orthogonal(p)), [0]))
    line = draw(matrices(1, p))
    return Cloud(points, qq.identity(p) - qq.projector(line) * fmpq(draw(st.integers(0, 4)), 4))


def inner_products(case: Cloud, *, added: str, bound: str) -> Margin:
    """|<Au, Av> - <u, v>| <= the bound at the distortion of the points with `added` ("none", "origin", "signs")."""
    points, p = case.points, case.points.ncols()
    extra = {"none": points, "origin": qq.stack(points, qq.zeros(1, p)), "signs": qq.stack(points, points * fmpq(-1))}[
        added
    ]
    epsilon, margins = case.distortion(extra), []
    for i, j in combinations(range(points.nrows()), 2):
        u, v = (qq.select(points, [place]).transpose() for place in (i, j))
        plain = qq.dot(u, v)
        # unit vectors: |u| |v| = 1
        right = epsilon * {"polar": qq.norm2(u) + qq.norm2(v) - plain, "norms": fmpq(1)}[bound]
        margins.append(at_most(abs(qq.dot(u, case.gram * v) - plain), right))
    return all_of(margins)


CLOUD_17 = Cloud(qq.identity(3), CEX_17.gram)
HALVED = Cloud(qq.identity(2), qq.identity(2) - qq.ones(2, 2) * fmpq(1, 4))
CLOUDS = drawn(clouds())
INNER = Statement(
    label="sec_4_2_inner",
    row='4.2 "distance preservation also yields inner products"',
    readings=(
        Reading(
            key="as stated",
            formula=r"|\langle Au,Av\rangle-\langle u,v\rangle|\leq\epsilon\|u\|\|v\|",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="with the origin: eps (|u|^2 + |v|^2 - <u, v>)",
                    check=inner_products,
                    cases=lambda n: (*CLOUDS(n), CLOUD_17),
                    twins=(
                        Twin("without the origin", {"added": "none"}),
                        Twin("without the origin, right side eps", {"added": "none", "bound": "norms"}),
                    ),
                    sides={"added": "origin", "bound": "polar"},
                ),
                Step(
                    claim="with all opposite points: eps |u| |v|",
                    check=inner_products,
                    cases=lambda n: (*CLOUDS(n), CLOUD_17, HALVED),
                    twins=(
                        Twin("without the opposite points", {"added": "none"}),
                        Twin("simplex only", {"added": "none"}, fixed(CLOUD_17)),
                    ),
                    sides={"added": "signs", "bound": "norms"},
                    attained="the distortion of u + v or u - v",
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-17",
                    check=inner_products,
                    case=CLOUD_17,
                    controls=(
                        Twin("with the origin", {"added": "origin", "bound": "polar"}),
                        Twin("with all opposite points", {"added": "signs"}),
                    ),
                    printed={"added": "none", "bound": "norms"},
                    left="1/3",
                    right=0,
                    search=clouds(),
                ),
            ),
        ),
    ),
)


def inner_law(case: tuple[fmpq, int], *, left: Callable) -> Margin:
    """((1 + rho) X - (1 - rho) Y) / 2 with X, Y ~ chi^2_k / k independent: mean rho, variance (1 + rho^2) / k."""
    rho, k = case
    a, b = left(rho)
    return all_of(equal(a - b, rho), equal((a * a + b * b) * fmpq(2, k), (1 + rho * rho) / k))


def bessel_free(k: int, epsilon: float) -> float:
    """Pr(|<Au, Av>| > eps) for orthogonal unit vectors, given |Av|: a normal tail averaged over chi_k (trapezoids)."""
    s = np.linspace(np.sqrt(k) - 12, np.sqrt(k) + 12, 20001)
    s = s[s > 0]
    density = np.exp((k - 1) * np.log(s) - s * s / 2 - (k - 1) * np.log(np.sqrt(k)) + k / 2)
    tail = np.array([float(arb(value).erfc()) for value in k * epsilon / (np.sqrt(2) * s[::20])])
    return float(np.sum(density[::20] * tail) / np.sum(density[::20]))


def orthogonal_tail(case: tuple[int, float], *, factor: float) -> Margin:
    """dntk_ref's tail at cosine 0 against the conditional normal tail (trapezoids: about 1e-6 relative; 2e-5 is allowed)."""
    k, epsilon = case
    exact = bessel_free(k, epsilon)
    return equal(factor * inner_product_failure(k, 0.0, epsilon), exact, scale=1e7 * exact)


def inner_width(case: tuple[float, bool, int], *, shift: int) -> Margin:
    """The least width for n = 1300 pairs of cosine rho within 0.1 at 95 %, with or without the norm events, float64."""
    cosine, norms, k = case

    def total(width: int) -> float:
        own = 1300 * failure_probability("gaussian", width, 0.1) if norms else 0.0
        return comb(1300, 2) * inner_product_failure(width, cosine, 0.1) + own

    return all_of(at_most(total(k + shift), 0.05), at_most(0.05, total(k + shift - 1)))


RHOS = fixed(*((fmpq(i, 5), k) for i in range(-5, 6) for k in (1, 7)))
INNER_LAW = Statement(
    label="inner_product_law",
    row="Exact inner-product law (Gaussian)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\langle Au,Av\rangle=\frac{(1+\rho)X-(1-\rho)Y}{2},\quad X,Y\sim\chi_k^2/k",
            verdict=Verdict.HOLDS,
            proof=PROOFS["inner_product_law", "as stated"],
            steps=(
                Step(
                    claim="mean and variance of the law",
                    check=inner_law,
                    cases=RHOS,
                    twins=(
                        Twin("equal weights", {"left": lambda rho: ((1 + rho) / 2, (1 + rho) / 2)}),
                        Twin("halved", {"left": lambda rho: ((1 + rho) / 4, (1 - rho) / 4)}),
                    ),
                    sides={"left": lambda rho: ((1 + rho) / 2, (1 - rho) / 2)},
                ),
                Step(
                    claim="tail at cosine 0 by another route",
                    check=orthogonal_tail,
                    cases=fixed((50, 0.3), (400, 0.1), (2952, 0.1)),
                    twins=(
                        Twin("one tail", {"factor": 0.5}),
                        Twin("a thousandth more", {"factor": 1.001}),
                    ),
                    sides={"factor": 1.0},
                ),
                Step(
                    claim="widths 6019 (worst cosine), 2952 (orthogonal), 6020 and 3462 with the norms",
                    check=inner_width,
                    cases=fixed((1.0, False, 6019), (0.0, False, 2952), (1.0, True, 6020), (0.0, True, 3462)),
                    twins=(
                        Twin("one more", {"shift": 1}),
                        Twin("one less", {"shift": -1}),
                    ),
                    sides={"shift": 0},
                ),
            ),
        ),
    ),
    table=2,
)


def isotropic(case: tuple[str, int, int], *, kinds: tuple[fmpq_mat, ...] | None = None) -> Margin:
    """E Q Q^T = (k/P) I over every map of the family."""
    kind, p, k = case
    grams = enumerated(kind, p, k) if kinds is None else kinds
    total = qq.zeros(p, p)
    for g in grams:
        total += g
    return equal(total * fmpq(1, len(grams)), qq.identity(p))


def unbiased(case: Mapped, *, draws: Callable) -> Margin:
    """The mean of <Au, Av> over the draws is <u, v> for the third and fourth unit vectors."""
    grams = draws(case)
    mean = sum((g[2, 2] for g in grams), fmpq(0)) / len(grams)
    return at_most(fmpq(1), mean)


def sign_flips(case: Mapped) -> tuple[fmpq_mat, ...]:
    """The same map under every order of the coordinates (cyclic)."""
    p = case.gram.nrows()
    shift = qq.select(qq.identity(p), [(i + 1) % p for i in range(p)])
    grams = [case.gram]
    for _ in range(p - 1):
        grams.append(shift * grams[-1] * shift.transpose())
    return tuple(grams)


CEX_16 = Mapped(qq.diagonal([2, 2, 0, 0]))
UNBIASED = Statement(
    label="sec_4_2_unbiased",
    row="4.2 orthonormal projection unbiased",
    readings=(
        Reading(
            key="isotropic families",
            formula=r"E\,QQ^T=\frac{k}{P}I",
            verdict=Verdict.HOLDS,
            proof=PROOFS["sec_4_2_unbiased", "isotropic families"],
            steps=(
                Step(
                    claim="coordinates with and without replacement, SRHT: every member of the family",
                    check=isotropic,
                    cases=fixed(
                        ("subset", 4, 2), ("coordinates", 3, 2), ("srht", 4, 2), ("srht", 4, 3), ("srht_replace", 4, 1)
                    ),
                    twins=(
                        Twin("one fixed member", {"kinds": (qq.diagonal([2, 2, 0, 0]),)}, fixed(("subset", 4, 2))),
                        Twin("half of the family", {"kinds": enumerated("subset", 4, 2)[:3]}, fixed(("subset", 4, 2))),
                    ),
                ),
            ),
            hypotheses=(
                "Haar, random coordinates, SRHT, ...: exactly when the mean of Q Q^T is a multiple of the identity",
            ),
        ),
        Reading(
            key="fixed Q",
            formula=r"E\langle\sqrt{P/k}\,Q^Tu,\sqrt{P/k}\,Q^Tv\rangle=\langle u,v\rangle",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-16",
                    check=unbiased,
                    case=CEX_16,
                    controls=(
                        Twin("coordinates in every cyclic order", {"draws": sign_flips}),
                        Twin("Q that keeps e_3", cases=fixed(Mapped(qq.diagonal([0, 0, 2, 2])))),
                    ),
                    printed={"draws": lambda c: (c.gram,)},
                    left=1,
                    right=0,
                ),
            ),
        ),
    ),
)

STATEMENTS = (JL, INNER, UNBIASED, JL_TABLE, INNER_LAW)
