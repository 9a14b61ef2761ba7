"""Proposition B.6: from data to parameter redundancy, its improvement, and what a projection does to a spectrum.

One file because printed, improved and projected bounds share one spectrum.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.projected_spectrum import projected_ratio_bound, projected_tail_bound
from dntk_ref.redundancy import (
    improved_redundancy_bound_gap,
    improved_redundancy_bound_mean,
    redundancy_bound_r1_printed,
)
from proofs_checks import rational as qq
from proofs_checks.check_3_2_redundancy import Truncation, rank_of, truncations
from proofs_checks.instances import Spectral, drawn, fixed, matrices
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal, psd, sampled, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Cut:
    """The numbers of Prop B.6 for a spectrum: rank r, tails, mean and the eigenvalues at the cut."""

    case: Truncation

    @property
    def values(self) -> tuple[fmpq, ...]:
        """The eigenvalues."""
        return self.case.spectral.eigenvalues

    @property
    def r(self) -> int:
        """The truncation rank."""
        return rank_of(self.values, self.case.epsilon)

    @property
    def after(self) -> fmpq:
        """lambda_{r+1}, 0 past the end."""
        return self.values[self.r] if self.r < len(self.values) else fmpq(0)

    @property
    def mean(self) -> fmpq:
        """The mean eigenvalue."""
        return sum(self.values, fmpq(0)) / len(self.values)

    @property
    def tail2(self) -> fmpq:
        """The squared eigenvalues after the cut, summed."""
        return sum((v * v for v in self.values[self.r :]), fmpq(0))

    @property
    def total2(self) -> fmpq:
        """All squared eigenvalues, summed."""
        return sum((v * v for v in self.values), fmpq(0))


def r1_tail(cut: Cut) -> fmpq:
    """(24) R1: eps lambda_{r+1} n mean."""
    return cut.case.epsilon * cut.after * len(cut.values) * cut.mean


def r2_tail(cut: Cut) -> fmpq:
    """(24) R2: (eps n mean)^2."""
    return (cut.case.epsilon * len(cut.values) * cut.mean) ** 2


def chain(case: Truncation, *, tail: Callable, floor: Callable) -> Margin:
    """(23) the error is the tail; (24) the tail bound; (25) the floor; and their combination."""
    cut = Cut(case)
    phi, top = case.spectral.features, case.spectral.top_right(min(cut.r, case.spectral.p))
    error = qq.frobenius2(case.spectral.kernel - phi * top * phi.transpose())
    return all_of(
        equal(error, cut.tail2),
        at_most(cut.tail2, tail(cut)),
        at_most(floor(cut), cut.total2),
        at_most(error * floor(cut), tail(cut) * cut.total2),
    )


def energy_floor(cut: Cut) -> fmpq:
    """(25): n mean^2."""
    return len(cut.values) * cut.mean**2


def improved(case: Truncation, *, right: Callable) -> Margin:
    """|K - K_V|^2 <= right times |K|^2."""
    cut = Cut(case)
    return at_most(cut.tail2, right(cut) * cut.total2)


def gap_side(cut: Cut) -> fmpq:
    """Kappa eps / (1 - eps + kappa eps)."""
    kappa = cut.after / cut.values[cut.r - 1]
    return kappa * cut.case.epsilon / (1 - cut.case.epsilon + kappa * cut.case.epsilon)


def mean_side(cut: Cut) -> fmpq:
    """Eps lambda_{r+1} r / ((1 - eps)^2 mean n)."""
    return cut.case.epsilon * cut.after * cut.r / ((1 - cut.case.epsilon) ** 2 * cut.mean * len(cut.values))


def epsilon_side(cut: Cut) -> fmpq:
    """Eps."""
    return cut.case.epsilon


NONZERO = truncations().filter(lambda c: c.spectral.sigma[0] > 0)
CASES = drawn(NONZERO)
TWO = Spectral(qq.identity(2), (fmpq(1), fmpq(1)), qq.identity(2))
HALF = Truncation(TWO, fmpq(1, 2), qq.zeros(2, 2))
PROP_B_6 = Statement(
    label="prop_b_6",
    row="Prop B.6, (23)–(25), combined",
    readings=(
        Reading(
            key="R1",
            formula=r"\frac{\|K-K_V\|_F}{\|K\|_F}\leq\sqrt{\epsilon\lambda_{r+1}/\bar\lambda}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["prop_b_6", "R1"],
            steps=(
                Step(
                    claim="(23), (24), (25) and their combination, squared",
                    check=chain,
                    cases=lambda n: (*CASES(n), HALF),
                    twins=(
                        Twin("half the tail bound", {"tail": lambda c: r1_tail(c) / 2}),
                        Twin("floor without 1/n", {"floor": lambda c: (len(c.values) * c.mean) ** 2}),
                    ),
                    sides={"tail": r1_tail, "floor": energy_floor},
                    attained="equal eigenvalues",
                ),
                Step(
                    claim="dntk_ref's bound, where the cut is no rounding matter",
                    check=by_reference,
                    cases=drawn(
                        NONZERO.filter(
                            lambda c: Cut(c).r == rank_of(c.spectral.eigenvalues, c.epsilon + fmpq(1, 10**9))
                        )
                    ),
                    twins=(
                        Twin("not divided by the mean", {"exact": lambda c: c.epsilon * Cut(c).after + 1}),
                        Twin("doubled", {"exact": lambda c: 2 * r1_tail(Cut(c)) / energy_floor(Cut(c)) + fmpq(1, 10)}),
                    ),
                    sides={
                        "reference": lambda c: (
                            redundancy_bound_r1_printed(qq.floats(c.spectral.kernel), float(c.epsilon)) ** 2
                        ),
                        "exact": lambda c: r1_tail(Cut(c)) / energy_floor(Cut(c)),
                        "scale": lambda c: float(Cut(c).values[0] / Cut(c).mean),
                    },
                ),
            ),
        ),
        Reading(
            key="R2",
            formula=r"\frac{\|K-K_V\|_F}{\|K\|_F}\leq\epsilon\sqrt{n}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["prop_b_6", "R2"],
            steps=(
                Step(
                    claim="(23), (24), (25) and their combination, squared",
                    check=chain,
                    cases=lambda n: (*CASES(n), HALF),
                    twins=(
                        Twin("a tenth of the tail bound", {"tail": lambda c: r2_tail(c) / 10}),
                        Twin("floor without 1/n", {"floor": lambda c: (len(c.values) * c.mean) ** 2}),
                    ),
                    sides={"tail": r2_tail, "floor": energy_floor},
                ),
            ),
            note="weaker than R1",
        ),
    ),
)
IMPROVED = Statement(
    label="prop_b_6_improved",
    row="Better (new) bounds of Prop B.6",
    readings=(
        Reading(
            key="by the gap",
            formula=r"\frac{\sum_{i>r}\lambda_i^2}{\sum_i\lambda_i^2}\leq\frac{\kappa\epsilon}{1-\epsilon+\kappa\epsilon}"
            r"\leq\epsilon",
            verdict=Verdict.HOLDS,
            proof=PROOFS["prop_b_6_improved", "by the gap"],
            steps=(
                Step(
                    claim="kappa = lambda_{r+1} / lambda_r",
                    check=improved,
                    cases=lambda n: (*CASES(n), HALF),
                    twins=(
                        Twin("half of it", {"right": lambda c: gap_side(c) / 2}),
                        Twin("kappa squared", {"right": lambda c: gap_side(c) * (c.after / c.values[c.r - 1]) / 2}),
                    ),
                    sides={"right": gap_side},
                    attained="equal eigenvalues, the cut exact",
                ),
                Step(
                    claim="at most epsilon, with no mean eigenvalue",
                    check=improved,
                    cases=lambda n: (*CASES(n), HALF),
                    twins=(
                        Twin("epsilon / 2", {"right": lambda c: epsilon_side(c) / 2}),
                        Twin("epsilon^2", {"right": lambda c: epsilon_side(c) ** 2}),
                    ),
                    sides={"right": epsilon_side},
                    attained="equal eigenvalues",
                ),
                Step(
                    claim="dntk_ref's bound",
                    check=by_reference,
                    cases=fixed(HALF, Truncation(replace(TWO, sigma=(fmpq(2), fmpq(1))), fmpq(1, 2))),
                    twins=(
                        Twin("doubled", {"exact": lambda c: 2 * gap_side(Cut(c))}),
                        Twin("epsilon", {"exact": lambda c: c.epsilon + 1}),
                    ),
                    sides={
                        "reference": lambda c: (
                            improved_redundancy_bound_gap(qq.floats(c.spectral.kernel), float(c.epsilon)) ** 2
                        ),
                        "exact": lambda c: gap_side(Cut(c)),
                    },
                ),
            ),
            hypotheses=("K not zero", "epsilon below 1"),
        ),
        Reading(
            key="by the mean",
            formula=r"\frac{\sum_{i>r}\lambda_i^2}{\sum_i\lambda_i^2}"
            r"\leq\frac{\epsilon\lambda_{r+1}}{(1-\epsilon)^2\bar\lambda}\frac{r}{n}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["prop_b_6_improved", "by the mean"],
            steps=(
                Step(
                    claim="Cauchy-Schwarz on the first r only",
                    check=improved,
                    cases=lambda n: (*CASES(n), HALF),
                    twins=(
                        Twin(
                            "(1 - eps) not squared, halved",
                            {"right": lambda c: mean_side(c) * (1 - c.case.epsilon) / 2},
                        ),
                        Twin("r / n squared", {"right": lambda c: mean_side(c) * c.r / (2 * len(c.values))}),
                    ),
                    sides={"right": mean_side},
                ),
                Step(
                    claim="dntk_ref's bound",
                    check=by_reference,
                    cases=fixed(HALF, Truncation(replace(TWO, sigma=(fmpq(2), fmpq(1))), fmpq(1, 2))),
                    twins=(
                        Twin("doubled", {"exact": lambda c: 2 * mean_side(Cut(c))}),
                        Twin("r / n dropped", {"exact": lambda c: mean_side(Cut(c)) * len(Cut(c).values) / Cut(c).r}),
                    ),
                    sides={
                        "reference": lambda c: (
                            improved_redundancy_bound_mean(qq.floats(c.spectral.kernel), float(c.epsilon)) ** 2
                        ),
                        "exact": lambda c: mean_side(Cut(c)),
                    },
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Mapped:
    """Orthonormal points (K = I, the standard simplex) under a map with Gram matrix G."""

    gram: fmpq_mat

    @property
    def distortion(self) -> fmpq:
        """The largest relative error of a squared pairwise distance."""
        g = self.gram
        return max(
            (abs(g[i, i] + g[j, j] - 2 * g[i, j] - 2) / 2 for i, j in combinations(range(g.nrows()), 2)),
            default=fmpq(0),
        )

    @property
    def embedding(self) -> fmpq:
        """An upper bound of the distortion of the whole space: the largest absolute row sum of G - I."""
        gap = self.gram - qq.identity(self.gram.nrows())
        return max(sum(map(abs, row), fmpq(0)) for row in gap.tolist())


@st.composite
def maps(draw: Any) -> Mapped:
    """Draw the Gram matrix of a map of the simplex, near the identity or a projector."""
    n = draw(st.integers(2, 4))
    line = draw(matrices(1, n))
    return Mapped(qq.identity(n) - qq.projector(line) * fmpq(draw(st.integers(0, 4)), 4))


def keeps_spectrum(case: Mapped, *, epsilon: Callable) -> Margin:
    """(1 - eps) lambda_i <= lambda~_i for K = I: the projected kernel is at least (1 - eps) I."""
    n = case.gram.nrows()
    rest = case.gram - qq.identity(n) * (1 - epsilon(case))
    return all_of(psd(rest), psd(qq.identity(n) * (1 + epsilon(case)) - case.gram))


def smallest(case: Mapped, *, epsilon: Callable) -> Margin:
    """The same for a map whose smallest eigenvalue is that of the vector of ones: 1 - eps <= 1^T G 1 / n."""
    n = case.gram.nrows()
    return at_most(1 - epsilon(case), sum(case.gram.entries(), fmpq(0)) / n)


def full_rank(case: tuple[int, int, int], *, width: Callable) -> Margin:
    """Every eigenvalue of the projected K = I_n stays positive: the map (a sign matrix of the given width) has rank n."""
    n, k, seed = case
    signs = np.random.default_rng(seed).choice([-1, 1], size=(n, width(n, k)))
    mapped = fmpq_mat(n, signs.shape[1], [int(s) for s in signs.ravel()])
    rank = qq.kernel_of(mapped).rank()
    return Margin(true(True).kind, float(n - rank), 0.0, n - rank, 0)


def coordinate_top(case: tuple[int, int], *, value: Callable) -> Margin:
    """A scaled projector of rank k in dimension P = n keeps k eigenvalues, each P / k, of K = I."""
    n, k = case
    gram = qq.diagonal([fmpq(n, k)] * k + [0] * (n - k))
    return equal(max(gram[i, i] for i in range(n)), value(n, k))


def gaussian_top(case: tuple[int, int, int], *, mean: float) -> Margin:
    """The mean top eigenvalue of K = I_n under a Gaussian map, of 500 draws, against a printed figure +- 0.02."""
    n, k, seed = case
    rng = np.random.default_rng(seed)
    tops = [np.linalg.norm(rng.standard_normal((n, k)) / np.sqrt(k), 2) ** 2 for _ in range(500)]
    return at_most(abs(float(np.mean(tops)) - mean), 0.02, scale=1.0)


def gaussian_width(case: tuple[int, fmpq, fmpq, str], *, delta_factor: fmpq) -> Margin:
    """Davidson-Szarek: the least k >= ((sqrt d + sqrt(2 ln(2/delta))) / (sqrt(1 + eps) - 1))^2 is the printed one."""
    d, epsilon, delta, printed = case
    root = arb(d).sqrt() + (2 * (2 / arb(delta * delta_factor)).log()).sqrt()
    exact = (root / ((1 + arb(epsilon)).sqrt() - 1)) ** 2
    return all_of(at_most(exact, fmpq(int(printed))), at_most(fmpq(int(printed) - 1), exact))


def reached(case: tuple[int, int, fmpq, str], *, delta_factor: fmpq) -> Margin:
    """The epsilon reached at k, rounded to the printed two digits."""
    d, k, delta, printed = case
    root = arb(d).sqrt() + (2 * (2 / arb(delta * delta_factor)).log()).sqrt()
    epsilon = (1 + root / arb(k).sqrt()) ** 2 - 1
    return at_most(abs(epsilon - qq.q(printed)), fmpq(1, 200))


@dataclass(frozen=True)
class Kept:
    """A spectrum, largest first, a projected one with every eigenvalue within 1 +- embedding, and epsilon."""

    values: tuple[fmpq, ...]
    factors: tuple[fmpq, ...]
    embedding: fmpq
    epsilon: fmpq

    @property
    def projected(self) -> tuple[fmpq, ...]:
        """The projected eigenvalues, largest first; in order, they too are kept."""
        found = (v * (1 + self.embedding * f) for v, f in zip(self.values, self.factors, strict=True))
        return tuple(sorted(found, reverse=True))

    @property
    def rank(self) -> int:
        """The rank measured on the projected spectrum."""
        return rank_of(self.projected, self.epsilon)

    @property
    def stretch(self) -> fmpq:
        """(1 + e) / (1 - e)."""
        return (1 + self.embedding) / (1 - self.embedding)


@st.composite
def kept(draw: Any) -> Kept:
    """Draw a spectrum and how far each eigenvalue of it is moved."""
    n = draw(st.integers(1, 5))
    values = sorted((fmpq(draw(st.integers(1, 20)), 4) for _ in range(n)), reverse=True)
    factors = tuple(fmpq(draw(st.integers(-4, 4)), 4) for _ in range(n))
    return Kept(tuple(values), factors, fmpq(draw(st.integers(0, 9)), 10), fmpq(draw(st.integers(0, 9)), 10))


def tail_limit(case: Kept) -> fmpq:
    """Eps (1 + e)/(1 - e) tr K."""
    return case.epsilon * case.stretch * sum(case.values, fmpq(0))


def ratio_limit(case: Kept) -> fmpq:
    """Eps (lambda~_{r+1} / mean lambda~) ((1 + e)/(1 - e))^2."""
    projected, r = case.projected, case.rank
    following = projected[r] if r < len(projected) else fmpq(0)
    return case.epsilon * following * len(projected) / sum(projected, fmpq(0)) * case.stretch**2


def true_tail(case: Kept, *, limit: Callable) -> Margin:
    """The true tail behind the measured rank."""
    return at_most(sum(case.values[case.rank :], fmpq(0)), limit(case))


def true_ratio(case: Kept, *, limit: Callable) -> Margin:
    """The true tail of squares behind the measured rank, as a share."""
    squares = [v * v for v in case.values]
    return at_most(sum(squares[case.rank :], fmpq(0)) / sum(squares, fmpq(0)), limit(case))


def limits(case: Kept, tail: fmpq) -> fmpq_mat:
    """Both limits, with this one of the tail."""
    return qq.mat([[tail, ratio_limit(case)]])


def reference_limits(case: Kept) -> list[float]:
    """Both limits as dntk_ref has them, of diagonal kernels."""
    kernel, projected = (np.diag([float(v) for v in values]) for values in (case.values, case.projected))
    epsilon, embedding = float(case.epsilon), float(case.embedding)
    tail = projected_tail_bound(kernel, epsilon, embedding)
    return [tail, projected_ratio_bound(projected, epsilon, embedding)]


def _no_tie(case: Kept) -> bool:
    """No partial sum is within rounding of the share."""
    whole, held = sum(case.projected, fmpq(0)), fmpq(0)
    for value in case.projected:
        held += value
        if abs(held - (1 - case.epsilon) * whole) < whole / 1000:
            return False
    return True


# Half of the spectrum stretched and half shrunk: the measured tail is (1 - e) / 2 of the trace where the true one is half.
STRETCHED = Kept((fmpq(1),) * 4, (fmpq(1), fmpq(1), fmpq(-1), fmpq(-1)), fmpq(1, 100), fmpq(99, 200))
KEPT = drawn(kept())
CEX_17 = Mapped(qq.identity(3) - qq.ones(3, 3) * fmpq(1, 3))
WIDTHS = fixed((500, fmpq(1, 10), fmpq(1, 100), "275438"), (40, fmpq(1, 10), fmpq(1, 100), "38523"))
REACHED = fixed((500, 4096, fmpq(1, 100), "0.96"), (40, 4096, fmpq(1, 100), "0.32"))
MAPS = drawn(maps())
B_6_JL = Statement(
    label="b_6_jl",
    row="B.6 JL step",
    readings=(
        Reading(
            key="from pairwise distances",
            formula=r"|\|Au-Av\|^2-\|u-v\|^2|\leq\epsilon\|u-v\|^2"
            r"\Rightarrow(1-\epsilon)\lambda_i\leq\tilde\lambda_i\leq(1+\epsilon)\lambda_i",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="a subspace embedding does give it",
                    check=keeps_spectrum,
                    cases=lambda n: (*MAPS(n), CEX_17),
                    twins=(
                        Twin("pairwise distortion", {"epsilon": lambda c: c.distortion}),
                        Twin("half the embedding distortion", {"epsilon": lambda c: c.embedding / 2}),
                    ),
                    sides={"epsilon": lambda c: c.embedding},
                ),
                Step(
                    claim="widths for a Gaussian embedding of dimension d",
                    check=gaussian_width,
                    cases=WIDTHS,
                    twins=(
                        Twin("delta doubled", {"delta_factor": fmpq(2)}),
                        Twin("delta halved", {"delta_factor": fmpq(1, 2)}),
                    ),
                    sides={"delta_factor": fmpq(1)},
                ),
                Step(
                    claim="distortions reached at k = 4096",
                    check=reached,
                    cases=REACHED,
                    twins=(
                        Twin("delta a tenth", {"delta_factor": fmpq(1, 10)}),
                        Twin("delta a millionth", {"delta_factor": fmpq(1, 10**6)}),
                    ),
                    sides={"delta_factor": fmpq(1)},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-17",
                    check=smallest,
                    case=CEX_17,
                    controls=(
                        Twin("with the distortion of the span", {"epsilon": lambda c: c.embedding}),
                        Twin("the identity map", cases=fixed(Mapped(qq.identity(3)))),
                    ),
                    printed={"epsilon": lambda c: c.distortion},
                    left=1,
                    right=0,
                ),
                Refutation(
                    name="CEX-17 (search)",
                    check=keeps_spectrum,
                    case=CEX_17,
                    controls=(
                        Twin("with the distortion of the span", {"epsilon": lambda c: c.embedding}),
                        Twin("the identity map", cases=fixed(Mapped(qq.identity(3)))),
                    ),
                    printed={"epsilon": lambda c: c.distortion},
                    search=maps(),
                ),
            ),
        ),
        Reading(
            key="from kept eigenvalues",
            formula=r"\sum_{i>r}\lambda_i\leq\epsilon\frac{1+e}{1-e}\mathrm{tr}K,"
            r"\quad\frac{\sum_{i>r}\lambda_i^2}{\sum_i\lambda_i^2}\leq\epsilon\frac{\tilde\lambda_{r+1}}"
            r"{\mathrm{mean}\,\tilde\lambda}\left(\frac{1+e}{1-e}\right)^2,\quad r=r_\epsilon(\tilde K)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["b_6_jl", "from kept eigenvalues"],
            steps=(
                Step(
                    claim="the tail behind the measured rank",
                    check=true_tail,
                    cases=lambda n: (*KEPT(n), STRETCHED),
                    twins=(
                        Twin(
                            "measured and true tail alike",
                            {"limit": lambda c: tail_limit(c) / c.stretch},
                            fixed(STRETCHED),
                        ),
                        Twin("half the bound", {"limit": lambda c: tail_limit(c) / 2}, fixed(STRETCHED)),
                    ),
                    sides={"limit": tail_limit},
                    attained="half of a flat spectrum stretched, half shrunk",
                ),
                Step(
                    claim="the share of squares",
                    check=true_ratio,
                    cases=lambda n: (*KEPT(n), STRETCHED),
                    twins=(
                        Twin("the stretch once", {"limit": lambda c: ratio_limit(c) / c.stretch}, fixed(STRETCHED)),
                        Twin("half the bound", {"limit": lambda c: ratio_limit(c) / 2}, fixed(STRETCHED)),
                    ),
                    sides={"limit": ratio_limit},
                ),
                Step(
                    claim="dntk_ref's right sides (a thousandth away from a tie)",
                    check=by_reference,
                    cases=drawn(kept().filter(_no_tie)),
                    twins=(
                        Twin("tail without stretch", {"exact": lambda c: limits(c, tail_limit(c) / c.stretch)}),
                        Twin("half the tail", {"exact": lambda c: limits(c, tail_limit(c) / 2)}),
                    ),
                    sides={
                        "reference": reference_limits,
                        "exact": lambda c: limits(c, tail_limit(c)),
                    },
                ),
            ),
            hypotheses=("every eigenvalue kept within 1 +- e",),
        ),
        Reading(
            key="k below the rank",
            formula=r"k<\mathrm{rank}K\Rightarrow\tilde\lambda_i\geq(1-\epsilon)\lambda_i",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="top eigenvalue of a scaled projector with P = n = 40, k = 30: 4/3",
                    check=coordinate_top,
                    cases=fixed((40, 30)),
                    twins=(
                        Twin("one", {"value": lambda n, k: fmpq(1)}),
                        Twin("squared", {"value": lambda n, k: fmpq(n, k) ** 2}),
                    ),
                    sides={"value": lambda n, k: fmpq(n, k)},
                ),
                Step(
                    claim="mean top eigenvalue of a Gaussian map: 4.26",
                    check=gaussian_top,
                    cases=fixed((40, 30, 5)),
                    twins=(
                        Twin("4.1 (one draw)", {"mean": 4.1}),
                        Twin("its limit (1 + sqrt(n/k))^2 = 4.64", {"mean": 4.64}),
                    ),
                    sides={"mean": 4.26},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-26",
                    check=full_rank,
                    case=(40, 30, 1),
                    controls=(
                        Twin("k = 60", {"width": lambda n, k: 2 * k}),
                        Twin("rank 20", cases=fixed((20, 30, 1))),
                    ),
                    printed={"width": lambda n, k: k},
                    left=10,
                    right=0,
                    search=st.tuples(st.integers(2, 8), st.integers(1, 8), st.integers(0, 99)),
                ),
            ),
        ),
    ),
)


def majorised(case: tuple[tuple[fmpq, ...], int], *, side: int) -> Margin:
    """Scaled coordinate sampling of a diagonal kernel, all subsets: the mean sum of the top r eigenvalues is at least
    the true one for every r, with equal traces. `side` = 1; -1 asks for the reverse.
    """
    values, k = case
    p = len(values)
    subsets = list(combinations(values, k))
    margins = []
    for r in range(1, p + 1):
        mean = sum((sum(sorted(s, reverse=True)[:r], fmpq(0)) for s in subsets), fmpq(0)) * fmpq(p, k) / len(subsets)
        true_sum = sum(sorted(values, reverse=True)[:r], fmpq(0))
        margins.append(at_most(side * true_sum, side * mean))
        if r == p:
            margins.append(equal(true_sum, mean))
    return all_of(margins)


def gaussian_majorised(case: tuple[str, int, int], *, inflate: float) -> Margin:
    """Gaussian maps: the mean captured energy of the top r eigenvalues is at least the true one, Monte Carlo (200 draws)."""
    shape, k, seed = case
    values = {"flat": np.ones(30), "decay": np.exp(-0.2 * np.arange(30))}[shape]
    rng, r = np.random.default_rng(seed), 10
    found = []
    for _ in range(200):
        rows = np.sqrt(values)[:, None] * rng.standard_normal((30, k)) / np.sqrt(k)
        found.append(np.sum(np.linalg.svd(rows, compute_uv=False)[:r] ** 2))
    return sampled(np.array(found), inflate * float(values[:r].sum()), side="at least")


@st.composite
def diagonals(draw: Any) -> tuple[tuple[fmpq, ...], int]:
    """Draw a diagonal spectrum and a number of sampled coordinates."""
    values = tuple(fmpq(v) for v in draw(st.lists(st.integers(0, 9), min_size=2, max_size=6)))
    return values, draw(st.integers(1, len(values) - 1))


def naive_rank(case: tuple[tuple[float, ...], float, int, int], *, expected: str) -> Margin:
    """Mean truncation rank of the projected kernel against the true rank, 500 Gaussian draws."""
    values, epsilon, k, seed = case
    rng = np.random.default_rng(seed)
    spectrum = np.array(values)
    ranks = []
    for _ in range(500):
        rows = np.sqrt(spectrum)[:, None] * rng.standard_normal((len(values), k)) / np.sqrt(k)
        found = np.sort(np.linalg.svd(rows, compute_uv=False) ** 2)[::-1]
        ranks.append(1 + np.sum(np.cumsum(found) < (1 - epsilon) * found.sum()))
    true_rank = 1 + np.sum(np.cumsum(spectrum) < (1 - epsilon) * spectrum.sum())
    return sampled(np.array(ranks), float(true_rank), side=expected)


FLAT = ((1.0,) * 40, 0.05, 40, 3)
NO_BRACKET = ((0.951, 0.049), 0.05, 1000, 4)
MAJOR = Statement(
    label="projected_majorisation",
    row="Systematic bias: projected-spectrum majorisation (new)",
    readings=(
        Reading(
            key="as stated",
            formula=r"E\sum_{i\leq r}\lambda_i(\tilde K)\geq\sum_{i\leq r}\lambda_i(K)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["projected_majorisation", "as stated"],
            steps=(
                Step(
                    claim="every subset of coordinates, exactly, with equal traces",
                    check=majorised,
                    cases=drawn(diagonals()),
                    twins=(
                        Twin("the reverse", {"side": -1}),
                        Twin(
                            "the reverse on a flat spectrum plus one",
                            {"side": -1},
                            fixed(((fmpq(2), fmpq(1), fmpq(1)), 2)),
                        ),
                    ),
                    sides={"side": 1},
                    attained="k = P",
                ),
                Step(
                    claim="Gaussian maps",
                    check=gaussian_majorised,
                    cases=fixed(("flat", 60, 1), ("decay", 60, 2)),
                    twins=(
                        Twin("true energy inflated threefold", {"inflate": 3.0}),
                        Twin("inflated twofold", {"inflate": 2.0}),
                    ),
                    sides={"inflate": 1.0},
                ),
            ),
        ),
    ),
    table=2,
)
REM_4_1 = Statement(
    label="rem_4_1",
    row="Rem 4.1",
    readings=(
        Reading(
            key="as stated",
            formula=r"r_\epsilon(\tilde K)\approx r_\epsilon(K)",
            verdict=Verdict.HEURISTIC,
            steps=(
                Step(
                    claim="flat spectrum: the measured rank is biased low",
                    check=naive_rank,
                    cases=fixed(FLAT),
                    twins=(
                        Twin("unbiased", {"expected": "equal"}),
                        Twin("biased high", {"expected": "at least"}),
                    ),
                    sides={"expected": "at most"},
                ),
                Step(
                    claim="no bracket: for diag(.951, .049) the mean measured rank is above the true rank 1",
                    check=naive_rank,
                    cases=fixed(NO_BRACKET),
                    twins=(
                        Twin("unbiased", {"expected": "equal"}),
                        Twin("biased low", {"expected": "at most"}),
                    ),
                    sides={"expected": "at least"},
                ),
            ),
            nature=Nature.HEURISTIC,
            note="needs an embedding or a cost-preserving sketch; single draws fall on both sides",
        ),
    ),
)

STATEMENTS = (REM_4_1, PROP_B_6, B_6_JL, IMPROVED, MAJOR)
