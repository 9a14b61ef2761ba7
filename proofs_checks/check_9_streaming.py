"""Section 9.3: the residual in blocks and from a sample of rows, refinement step by step, and what rounding does to both."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

import dntk_ref.certificate as reference
from dntk_ref import restricted
from proofs_checks import rational as qq
from proofs_checks.check_9_certificates import CASES, FLAT, SINGLE, UNIT, Certified, arrays, certified
from proofs_checks.instances import Ridge, Spectral, drawn, fixed, matrices
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, agreement

__all__ = ["STATEMENTS"]


# --- blocks -----------------------------------------------------------------------------------------------------------


def streamed(case: Certified, *, lam: Callable) -> Margin:
    """The residual is a sum over blocks of one row: r = lambda w + sum_B Phi_B^T (Phi_B w - y_B)."""
    phi, w = case.ridge.features, case.guess
    total = w * lam(case)
    for i in range(case.spectral.n):
        block = qq.select(phi, [i])
        total += block.transpose() * (block * w - qq.select(case.ridge.targets, [i]))
    return equal(total, case.residual)


def fitted_free(case: tuple[Certified, fmpq_mat, fmpq_mat], *, lifted: Callable) -> Margin:
    """Phi w = (Phi A^T) w~ for w = A^T w~: where all rows were projected, Phi w is known."""
    problem, a, small = case
    phi = problem.ridge.features
    return equal(phi * lifted(a, small), phi * a.transpose() * small)


MAPPED = certified().flatmap(lambda c: st.tuples(st.just(c), matrices(2, c.spectral.p), matrices(2, 1)))


# --- some rows, drawn with replacement --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampled:
    """A problem, how many rows are drawn with replacement, and the probability that the bound may fail."""

    problem: Certified
    size: int
    delta: fmpq

    @cached_property
    def draws(self) -> tuple[tuple[int, ...], ...]:
        """All samples, equally likely."""
        return tuple(product(range(self.problem.spectral.n), repeat=self.size))

    @cached_property
    def terms(self) -> tuple[fmpq_mat, ...]:
        """The terms n e_i phi_i of every row, (P, 1)."""
        ridge = self.problem.ridge
        e, n = ridge.features * self.problem.guess - ridge.targets, self.problem.spectral.n
        return tuple(qq.select(ridge.features, [i]).transpose() * (n * e[i, 0]) for i in range(n))

    def estimate(self, draw: tuple[int, ...]) -> fmpq_mat:
        """The estimate r_hat: lambda w plus the mean of the terms drawn."""
        total = self.problem.guess * self.problem.ridge.lam
        for i in draw:
            total += self.terms[i] * fmpq(1, self.size)
        return total

    def largest(self, rows: Any) -> fmpq:
        """M^2 over some rows."""
        return max(qq.norm2(self.terms[i]) for i in rows)

    def share(self, fails: Callable[[tuple[int, ...]], bool]) -> fmpq:
        """How often something happens."""
        return fmpq(sum(fails(draw) for draw in self.draws), len(self.draws))


@st.composite
def samples(draw: Any) -> Sampled:
    """Draw a sampled problem."""
    delta = draw(st.sampled_from([fmpq(1, 20), fmpq(1, 10), fmpq(1, 5)]))
    return Sampled(draw(certified()), draw(st.integers(1, 3)), delta)


def deviation(case: Sampled, *, scale: fmpq, sign: int) -> Margin:
    """E r_hat = r; E |r_hat - r|^2 <= M^2 / b; one row changed moves r_hat by at most 2 M / b. M is over all rows."""
    r, count, bound = case.problem.residual, len(case.draws), case.largest(range(case.problem.spectral.n))
    estimates = [case.estimate(draw) for draw in case.draws]
    mean = sum(estimates[1:], estimates[0]) * fmpq(1, count)
    spread = sum((qq.norm2(estimate - r) for estimate in estimates), fmpq(0)) / count
    step = max(qq.norm2(a - b * sign) for a, b in product(case.terms, repeat=2)) / case.size**2
    return all_of(
        equal(mean, r), at_most(spread, scale * bound / case.size), at_most(step, scale * 4 * bound / case.size**2)
    )


def covered(case: Sampled, *, times: fmpq, over: Callable) -> Margin:
    """The share of samples with |r| > |r_hat| + times M (1 + sqrt(2 ln(1/delta))) / sqrt(b) is at most delta.

    Beside exact comparison, a sample counts as failed unless ball arithmetic is certain that it is not.
    """
    size = arb(qq.norm2(case.problem.residual)).sqrt()
    spread = (1 + (2 * (1 / arb(case.delta)).log()).sqrt()) / arb(case.size).sqrt()

    def fails(draw: tuple[int, ...]) -> bool:
        if qq.norm2(case.problem.residual) <= qq.norm2(case.estimate(draw)):
            return False
        slack = times * arb(case.largest(over(case, draw))).sqrt() * spread
        return not size <= arb(qq.norm2(case.estimate(draw))).sqrt() + slack

    return at_most(case.share(fails), case.delta)


def estimate_alone(case: Sampled, *, over: Callable) -> Margin:
    """The share of samples with |w - w_*| > |r of the sample| / lambda is at most delta."""
    gap = qq.norm2(case.problem.gap) * case.problem.ridge.lam**2
    return at_most(case.share(lambda draw: gap > qq.norm2(over(case, draw))), case.delta)


def every_row(case: Sampled, draw: tuple[int, ...]) -> range:
    """All rows, drawn or not."""
    return range(case.problem.spectral.n)


def rows_drawn(case: Sampled, draw: tuple[int, ...]) -> tuple[int, ...]:
    """The rows of the sample."""
    return draw


def rows_problem(features: list, targets: list) -> Certified:
    """Rows of one feature, ridge 1, guess 0: the terms are -n y_i phi_i."""
    n = len(features)
    phi, s = qq.column(features), (fmpq(1),)
    return Certified(
        Spectral(qq.identity(n), s, qq.identity(1)),  # of its fields n and P alone are used here
        Ridge(phi, qq.column(targets), fmpq(1), qq.mat([[1]])),
        qq.mat([[0]]),
        (0,),
    )


BALANCED = Sampled(rows_problem([1, -1], [1, 1]), 2, fmpq(1, 5))  # two terms, opposite: every side is attained
HIDDEN = Sampled(rows_problem([0, 1], [0, 1]), 2, fmpq(1, 5))  # one of four samples sees the first row alone: r_hat = 0
ALIKE = Sampled(rows_problem([1, 1], [1, 1]), 2, fmpq(1, 5))
SAMPLES = drawn(samples())


def sampled(count: int) -> tuple[Sampled, ...]:
    """Drawn cases and those by hand."""
    return (*SAMPLES(count), BALANCED, HIDDEN)


def reference_sample(case: Sampled) -> list[float]:
    """dntk_ref's r_hat of the first sample's squared norm, and M^2."""
    phi, y, w, lam = arrays(case.problem)
    estimate = restricted.subsampled_residual(phi, y, w, lam, list(case.draws[-1]))
    return [float(estimate @ estimate), restricted.largest_term(phi, y, w) ** 2]


def exact_sample(case: Sampled) -> fmpq_mat:
    """The same two numbers."""
    return qq.mat([[qq.norm2(case.estimate(case.draws[-1])), case.largest(every_row(case, ()))]])


def sample_size(case: Sampled) -> float:
    """The terms that r_hat and M are made of, squared."""
    phi2, y2, w2 = (
        float(qq.norm2(m)) for m in (case.problem.ridge.features, case.problem.ridge.targets, case.problem.guess)
    )
    return 100 * (1 + phi2) ** 2 * (1 + y2 + w2) * (1 + float(case.problem.ridge.lam)) ** 2


# --- refinement -------------------------------------------------------------------------------------------------------


def iterates(case: Certified, turned: bool, hessian: fmpq_mat) -> list[tuple[fmpq_mat, fmpq_mat]]:
    """Weights and residuals of conjugate gradients preconditioned by H_S, as many steps as there are parameters."""
    p_count, lam = case.spectral.p, case.ridge.lam
    inner = case.rows.transpose() * case.rows + qq.identity(p_count) * lam
    w, r = case.guess, case.residual
    z = inner.solve(r)
    found, p = [(w, r)], z * fmpq(-1)
    for _ in range(p_count):
        if qq.norm2(r) == 0:
            break
        image, energy = hessian * p, qq.dot(r, z)
        length = energy / qq.dot(p, image)
        w, r = w + p * length, r + image * length
        z = inner.solve(r)
        p = p * (qq.dot(r, z) / energy if turned else fmpq(0)) - z
        found.append((w, r))
    return found


def refined(case: Certified, *, turned: bool, hessian: Callable) -> Margin:
    """The recursion carries the residual; the objective falls at every step; after P steps the weights are optimal."""
    found = iterates(case, turned, hessian(case))
    phi, y, lam = case.ridge.features, case.ridge.targets, case.ridge.lam
    values = [case.ridge.objective(w) for w, _ in found]
    return all_of(
        equal(found[-1][0], case.ridge.weights),
        (equal(r, phi.transpose() * (phi * w - y) + w * lam) for w, r in found),
        (at_most(after, before) for before, after in pairwise(values)),
    )


def falls(case: Certified, *, size: Callable) -> Margin:
    """Something falls at every step of conjugate gradients, and with it the certificate."""
    sizes = [size(case, w, r) for w, r in iterates(case, True, case.hessian)]
    return all_of(at_most(after, before) for before, after in pairwise(sizes))


def true_hessian(case: Certified) -> fmpq_mat:
    """H = Phi^T Phi + lambda I."""
    return case.hessian


def unridged(case: Certified) -> fmpq_mat:
    """Phi^T Phi plus half the ridge."""
    return case.hessian - qq.identity(case.spectral.p) * (case.ridge.lam / 2)


def norm_of_residual(case: Certified, w: fmpq_mat, r: fmpq_mat) -> fmpq:
    """|r|^2."""
    return qq.norm2(r)


def objective(case: Certified, w: fmpq_mat, r: fmpq_mat) -> fmpq:
    """J(w)."""
    return case.ridge.objective(w)


def diagonal_problem(first: int, second: int, start: list) -> Certified:
    """Two rows along the axes, targets 0, ridge 1, S one row: the optimum is 0."""
    phi = qq.diagonal([first, second])
    ridge = Ridge(phi, qq.zeros(2, 1), fmpq(1), qq.column([1, 0]))
    return Certified(
        Spectral(qq.identity(2), (fmpq(first), fmpq(second)), qq.identity(2)), ridge, qq.column(start), (1,)
    )


REFINED = drawn(certified())
# H = diag(10, 1), H_S = I, r = (1, 3): the step that suits the second direction overshoots tenfold in the first.
STEEP = diagonal_problem(3, 0, ["1/10", 3])


# --- rounding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rounded:
    """A ridge problem in numbers of float32: features (n, P), targets (n, 1), weights (P, 1), ridge."""

    features: fmpq_mat
    targets: fmpq_mat
    weights: fmpq_mat
    lam: fmpq

    @property
    def residual(self) -> fmpq_mat:
        """The residual, exactly."""
        return self.features.transpose() * (self.features * self.weights - self.targets) + self.weights * self.lam

    @property
    def roundings(self) -> int:
        """Through how many roundings a number goes at most, in any order of the sums: n + P + 2."""
        return self.features.nrows() + self.features.ncols() + 2


UNIT_32 = fmpq(1, 2**24)
SINGLES = st.builds(
    lambda digits, places: fmpq(digits, 2**places), st.integers(1 - 2**24, 2**24 - 1), st.sampled_from([21, 23, 24])
)


@st.composite
def rounded(draw: Any) -> Rounded:
    """Draw full mantissas of float32: every product is rounded."""
    n, p = draw(st.integers(1, 4)), draw(st.integers(1, 3))

    def matrix(rows: int, columns: int) -> fmpq_mat:
        return fmpq_mat(rows, columns, draw(st.lists(SINGLES, min_size=rows * columns, max_size=rows * columns)))

    lam = draw(SINGLES.filter(lambda value: value > 0))
    return Rounded(matrix(n, p), matrix(n, 1), matrix(p, 1), lam)


def added(terms: list[np.float32], reverse: bool) -> np.float32:
    """The terms one after the other, each sum rounded."""
    total, *rest = reversed(terms) if reverse else terms
    for term in rest:
        total = total + term
    return total


def computed(case: Rounded, reverse: bool) -> fmpq_mat:
    """The residual as float32 computes it, first row first or last row first."""
    phi, y, w = (qq.floats(m).astype(np.float32) for m in (case.features, case.targets, case.weights))
    n, p = phi.shape
    e = [added([phi[i, j] * w[j, 0] for j in range(p)], reverse) - y[i, 0] for i in range(n)]
    lam = np.float32(float(case.lam))
    found = [added([phi[i, j] * e[i] for i in range(n)], reverse) + lam * w[j, 0] for j in range(p)]
    return qq.column([Fraction(float(value)) for value in found])


def accumulated(case: Rounded, unit: fmpq) -> fmpq:
    """The share m u / (1 - m u), m the roundings that a number goes through."""
    size = case.roundings * unit
    return size / (1 - size)


def one_rounding(case: Rounded, unit: fmpq) -> fmpq:
    """The unit alone."""
    return unit


def allowed(case: Rounded, *, share: Callable, unit: fmpq, reverse: bool) -> Margin:
    """|r computed - r| <= share (|Phi|_F^2 |w| + |Phi|_F |y| + lambda |w|), in ball arithmetic."""
    size, w, y = (arb(qq.norm2(m)).sqrt() for m in (case.features, case.weights, case.targets))
    error = arb(qq.norm2(computed(case, reverse) - case.residual)).sqrt()
    return at_most(error, arb(share(case, unit)) * (size**2 * w + size * y + arb(case.lam) * w))


# One row with target 1 and fifteen with target 2^-24, which float32 loses one by one: 1 + 2^-24 is 1.
LOST = Rounded(qq.ones(16), qq.column([1, *15 * [UNIT_32]]), qq.mat([[0]]), fmpq(1))


@dataclass(frozen=True)
class Start:
    """One row and one feature, in numbers of float64, and where conjugate gradients start."""

    feature: fmpq
    target: fmpq
    lam: fmpq
    weight: fmpq

    @property
    def problem(self) -> Certified:
        """The ridge problem."""
        ridge = Ridge(qq.mat([[self.feature]]), qq.mat([[self.target]]), self.lam, qq.mat([[1]]))
        return Certified(UNIT, ridge, qq.mat([[self.weight]]), (0,))


def after_one_step(case: Start, *, recursive: bool, allowance: bool) -> Margin:
    """The claim lambda |w - w_*| <= |r| (+ what rounding may hide in r) for the weights of one step in float64.

    |r| is the recursion's, or recomputed from the weights; the allowance is that of n + P + 2 = 4 roundings.
    """
    problem = case.problem
    phi, y, w, lam = arrays(problem)
    found = reference.conjugate_gradients(phi, y, w, lam, 1)
    weight = qq.q(Fraction(float(found.weights[0])))
    r = found.recursive_residual if recursive else reference.residual(phi, y, found.weights, lam)
    size = abs(qq.q(Fraction(float(r[0]))))
    if allowance:
        largest = case.feature**2 * abs(weight) + abs(case.feature * case.target) + case.lam * abs(weight)
        size += fmpq(4, 2**53 - 4) * largest
    return at_most(case.lam * abs(weight - problem.ridge.weights[0, 0]), size)


INTEGERS = st.integers(1, 9).map(fmpq)
STARTS = st.builds(Start, INTEGERS, INTEGERS, INTEGERS, st.integers(0, 40).map(lambda k: fmpq(2) ** k))
FAR_START = Start(fmpq(1), fmpq(1), fmpq(2), fmpq(2) ** 30)
NEAR_START = Start(fmpq(1), fmpq(1), fmpq(1), fmpq(2) ** 30)  # H = 2: nothing is rounded

STREAMING = Statement(
    label="certificate_streaming",
    row="9.3 Streaming",
    readings=(
        Reading(
            key="blocks",
            formula=r"r=\lambda\hat w+\sum_B\Phi_B^T(\Phi_B\hat w-y_B),\quad\Phi A^T\tilde w=\tilde\Phi\tilde w",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_streaming", "blocks"],
            steps=(
                Step(
                    claim="row by row",
                    check=streamed,
                    cases=CASES,
                    twins=(
                        Twin("ridge dropped", {"lam": lambda c: fmpq(0)}),
                        Twin("ridge in every block", {"lam": lambda c: c.ridge.lam * (c.spectral.n + 1)}),
                    ),
                    sides={"lam": lambda c: c.ridge.lam},
                    attained="always an equality",
                ),
                Step(
                    claim="projected rows know the fitted values",
                    check=fitted_free,
                    cases=drawn(MAPPED),
                    twins=(
                        Twin("weights doubled", {"lifted": lambda a, small: a.transpose() * small * fmpq(2)}),
                        Twin(
                            "rows of the map exchanged",
                            {"lifted": lambda a, small: qq.select(a, [1, 0]).transpose() * small},
                        ),
                    ),
                    sides={"lifted": lambda a, small: a.transpose() * small},
                    attained="always an equality",
                ),
            ),
        ),
        Reading(
            key="subsampled",
            formula=r"\|r\|\leq\|\hat r\|+M\frac{1+\sqrt{2\ln(1/\delta)}}{\sqrt{b}}\ \ \mathrm{w.p.}\ 1-\delta,"
            r"\quad M=n\max_{i\leq n}|e_i|\|\phi_i\|",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_streaming", "subsampled"],
            steps=(
                Step(
                    claim="what McDiarmid needs: no bias, mean square deviation, bounded differences",
                    check=deviation,
                    cases=sampled,
                    twins=(
                        Twin("deviations a tenth smaller", {"scale": fmpq(9, 10)}, fixed(BALANCED)),
                        Twin("a row changed to its opposite", {"sign": 2}, fixed(BALANCED)),
                    ),
                    sides={"scale": fmpq(1), "sign": 1},
                    attained="two opposite rows",
                ),
                Step(
                    claim="every sample of up to three rows counted",
                    check=covered,
                    cases=sampled,
                    twins=(
                        Twin("no margin", {"times": fmpq(0)}),
                        Twin("a twentieth of the margin", {"times": fmpq(1, 20)}),
                    ),
                    sides={"times": fmpq(1), "over": every_row},
                ),
                agreement("dntk_ref's estimate and M", SAMPLES, reference_sample, exact_sample, sample_size),
            ),
            hypotheses=("rows drawn uniformly with replacement", "M over all rows"),
        ),
        Reading(
            key="M over the rows drawn",
            formula=r"\|r\|\leq\|\hat r\|+M_b\frac{1+\sqrt{2\ln(1/\delta)}}{\sqrt{b}},"
            r"\quad M_b=n\max_{i\in b}|e_i|\|\phi_i\|",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="one row carries the residual",
                    check=covered,
                    case=HIDDEN,
                    controls=(Twin("M over all rows", {"over": every_row}), Twin("rows alike", cases=fixed(ALIKE))),
                    printed={"times": fmpq(1), "over": rows_drawn},
                    left=fmpq(1, 4),
                    right=fmpq(1, 5),
                    search=samples(),
                ),
            ),
            note="a sample that misses the row sees nothing of it: M must be known, or bounded, over all rows",
        ),
        Reading(
            key="the estimate in place of the residual",
            formula=r"\|\hat w-w_*\|\leq\|\hat r\|/\lambda\ \ \mathrm{w.p.}\ 1-\delta",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="one row carries the residual (estimate)",
                    check=estimate_alone,
                    case=HIDDEN,
                    controls=(
                        Twin("the residual itself", {"over": lambda case, draw: case.problem.residual}),
                        Twin("rows alike", cases=fixed(ALIKE)),
                    ),
                    printed={"over": lambda case, draw: case.estimate(draw)},
                    left=fmpq(1, 4),
                    right=fmpq(1, 5),
                    search=samples(),
                ),
            ),
            note="an unbiased residual has a biased norm, and no sample certifies without the margin",
        ),
    ),
    table=2,
)

REFINEMENT = Statement(
    label="certificate_refinement",
    row="9.3 refinement by preconditioned conjugate gradients",
    readings=(
        Reading(
            key="energy",
            formula=r"J(\hat w_{j+1})\leq J(\hat w_j),\quad\hat w_P=w_*",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_refinement", "energy"],
            steps=(
                Step(
                    claim="preconditioned by any training subset, exact arithmetic",
                    check=refined,
                    cases=REFINED,
                    twins=(
                        Twin("steepest descent", {"turned": False}),
                        Twin("half the ridge in the products", {"hessian": unridged}),
                    ),
                    sides={"turned": True, "hessian": true_hessian},
                ),
            ),
            note="matrix-free exact kernel ridge regression: one J v and one J^T a pass for each step",
        ),
        Reading(
            key="every step tightens the certificate",
            formula=r"\|r_{j+1}\|\leq\|r_j\|",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="two directions",
                    check=falls,
                    case=STEEP,
                    controls=(
                        Twin("the objective", {"size": objective}),
                        Twin("one direction", cases=fixed(SINGLE, FLAT)),
                    ),
                    printed={"size": norm_of_residual},
                    left=fmpq(7290, 361),
                    right=fmpq(10),
                    search=certified(),
                ),
            ),
            note="the objective falls, |r| and the bounds made of it may rise: keep the best certificate, not the last",
        ),
    ),
    table=2,
)

ROUNDING = Statement(
    label="certificate_rounding",
    row="9.3 Floating point",
    readings=(
        Reading(
            key="allowance, all roundings counted",
            formula=r"\|\mathrm{fl}(r)-r\|\leq\frac{mu}{1-mu}(\|\Phi\|_F^2\|\hat w\|+\|\Phi\|_F\|y\|+\lambda\|\hat w\|),"
            r"\quad m=n+P+2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_rounding", "allowance, all roundings counted"],
            steps=(
                Step(
                    claim="float32, first row first",
                    check=allowed,
                    cases=drawn(rounded()),
                    twins=(
                        Twin("a hundredth of it", {"share": lambda case, unit: accumulated(case, unit) / 100}),
                        Twin("the unit of float64", {"unit": fmpq(1, 2**53)}),
                    ),
                    sides={"share": accumulated, "unit": UNIT_32, "reverse": False},
                ),
                Step(
                    claim="float32, last row first",
                    check=allowed,
                    cases=lambda count: (*drawn(rounded())(count), LOST),
                    twins=(
                        Twin("a hundredth of it", {"share": lambda case, unit: accumulated(case, unit) / 100}),
                        Twin("the unit of float64", {"unit": fmpq(1, 2**53)}),
                    ),
                    sides={"share": accumulated, "unit": UNIT_32, "reverse": True},
                ),
                Step(
                    claim="float64, recomputed after a step of conjugate gradients",
                    check=after_one_step,
                    cases=drawn(STARTS),
                    twins=(
                        Twin("the residual of the recursion", {"recursive": True}),
                        Twin("no allowance", {"allowance": False}),
                    ),
                    sides={"recursive": False, "allowance": True},
                ),
            ),
            hypotheses=("(n + P + 2) u < 1", "sums in any order, no underflow"),
        ),
        Reading(
            key="allowance, one rounding",
            formula=r"\|\mathrm{fl}(r)-r\|\leq u(\|\Phi\|_F^2\|\hat w\|+\|\Phi\|_F\|y\|+\lambda\|\hat w\|)",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="fifteen targets lost beside one",
                    check=allowed,
                    case=LOST,
                    controls=(
                        Twin("all roundings counted", {"share": accumulated}),
                        Twin("small terms first", {"reverse": True}),
                    ),
                    printed={"share": one_rounding, "unit": 2 * UNIT_32, "reverse": False},
                ),
            ),
            note="also with u = 2^-23, twice the unit of rounding: one rounding is the size to be expected of a sum "
            "in blocks, not a bound; it fails for long sums of small terms after a large one",
        ),
        Reading(
            key="the residual of the recursion",
            formula=r"\lambda\|\hat w_j-w_*\|\leq\|r_j^{CG}\|+\mathrm{allowance}",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="one step from 2^30",
                    check=after_one_step,
                    case=FAR_START,
                    controls=(
                        Twin("recomputed", {"recursive": False}),
                        Twin("nothing rounded", cases=fixed(NEAR_START)),
                    ),
                    printed={"recursive": True, "allowance": True},
                    search=STARTS,
                ),
            ),
            note="phi = y = 1, lambda = 2: after one step the recursion is 0 and the residual 2^-23; recompute r from "
            "the weights",
        ),
    ),
    table=2,
)

STATEMENTS = (STREAMING, REFINEMENT, ROUNDING)
