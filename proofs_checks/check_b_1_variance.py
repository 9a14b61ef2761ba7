"""Appendix B.1, the table of rates: bias and variance of the ridge predictor, as printed, exact and corrected."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

import dntk_ref.error as reference
from proofs_checks import rational as qq
from proofs_checks.check_3_2_redundancy import rank_of
from proofs_checks.check_b_1_error import CEX_18, CLEAR, DESIGNS, Design, conditioned, designs, whole
from proofs_checks.instances import (
    Population,
    drawn,
    fixed,
    matrices,
    positive,
)
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict, agreement, meet

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Bias:
    """Eigenvalues of Sigma, coefficients g_j of the source element, twice the exponent s, and lambda_B."""

    spectrum: tuple[fmpq, ...]
    source: tuple[fmpq, ...]
    twice_s: fmpq
    lam: fmpq

    @property
    def squared(self) -> Any:
        """E eps_b^2 = sum lambda^2 mu^{1 + 2 s} g^2 / (mu + lambda)^2."""
        return sum(
            (
                self.lam**2 * power(mu, 1 + self.twice_s) * g * g / (mu + self.lam) ** 2
                for mu, g in zip(self.spectrum, self.source, strict=True)
                if mu > 0 and g != 0
            ),
            fmpq(0),
        )

    @property
    def radius(self) -> fmpq:
        """|g|^2."""
        return sum((g * g for g in self.source), fmpq(0))


def power(base: fmpq, exponent: fmpq) -> Any:
    """A rational power: exact where the exponent is an integer, a ball otherwise."""
    if base == 0:
        return fmpq(0 if exponent > 0 else 1)
    if exponent.q == 1:
        return base ** int(exponent.p)
    return arb(base) ** arb(exponent)


def rate_printed(case: Bias) -> Any:
    """lambda^{2 s} |g|^2, times max(1, |Sigma|^{2 s - 1}) for the constant that O() hides."""
    top = max(case.spectrum)
    constant = power(top, case.twice_s - 1) if case.twice_s > 1 and top > 1 else fmpq(1)
    return power(case.lam, case.twice_s) * constant * case.radius


def saturated(case: Bias) -> Any:
    """The corrected bound: qualification one."""
    t = case.twice_s
    if t >= 1:
        return case.lam**2 * power(max(case.spectrum), t - 1) * case.radius
    constant = power((1 + t) / 2, 1 + t) * power((1 - t) / 2, 1 - t)
    return constant * power(case.lam, 1 + t) * case.radius


def small_ridge(case: Bias) -> bool:
    """Lambda is at most 1."""
    return case.lam <= 1


def bias(case: Bias, *, right: Callable, hypotheses: tuple = ()) -> Margin:
    """The squared bias is at most the right side."""
    meet(case, hypotheses)
    return at_most(case.squared, right(case))


@st.composite
def biases(draw: Any, exponents: tuple[fmpq, ...]) -> Bias:
    """Draw a spectrum and a source element."""
    n = draw(st.integers(1, 3))
    values = st.builds(fmpq, st.integers(0, 20), st.just(10))
    spectrum, source = (tuple(draw(st.lists(values, min_size=n, max_size=n))) for _ in range(2))
    return Bias(spectrum, source, draw(st.sampled_from(exponents)), fmpq(draw(st.integers(1, 20)), 20))


def peak(s: fmpq, lam: fmpq) -> Bias:
    """The spectrum at which the corrected bound is attained: mu = lambda (1 + 2 s) / (1 - 2 s), for s < 1/2."""
    return Bias((lam * (1 + 2 * s) / (1 - 2 * s),), (fmpq(1),), 2 * s, lam)


UP_TO_ONE = tuple(fmpq(i, 4) for i in range(0, 9))
CEX_21 = Bias((fmpq(1),), (fmpq(1),), fmpq(4), fmpq(1, 10))
LATE = replace(CEX_21, lam=fmpq(1, 10**6))
BIAS = Statement(
    label="b_3_bias",
    row="B.3 bias O(lambda^{2s}), integer s",
    readings=(
        Reading(
            key="s at most 1",
            formula=r"w^*=\Sigma^sg\Rightarrow E\epsilon_b^2=O(\lambda_B^{2s})",
            verdict=Verdict.HOLDS,
            proof=PROOFS["b_3_bias", "s at most 1"],
            steps=(
                Step(
                    claim="with the constant max(1, |Sigma|^{2s-1}), lambda at most 1",
                    check=bias,
                    cases=drawn(biases(UP_TO_ONE)),
                    twins=(
                        Twin("exponent 2 s + 2", {"right": lambda c: rate_printed(c) * c.lam**2 / 4}),
                        Twin("s = 2", {}, fixed(CEX_21)),
                    ),
                    sides={"right": rate_printed, "hypotheses": (small_ridge,)},
                ),
            ),
            hypotheses=("lambda at most 1",),
        ),
        Reading(
            key="s at least 2",
            formula=r"w^*=\Sigma^sg\Rightarrow E\epsilon_b^2=O(\lambda_B^{2s})",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-21",
                    check=bias,
                    case=CEX_21,
                    controls=(
                        Twin("corrected bound", {"right": saturated}),
                        Twin("s = 1", cases=fixed(replace(CEX_21, twice_s=fmpq(2)))),
                    ),
                    printed={"right": rate_printed},
                    left="1/121",
                    right="1/10000",
                    search=biases((fmpq(4), fmpq(6))),
                ),
                Refutation(
                    name="CEX-21 with any constant",
                    check=bias,
                    case=LATE,
                    controls=(
                        Twin("corrected bound", {"right": saturated}),
                        Twin("s = 1", cases=fixed(replace(LATE, twice_s=fmpq(2)))),
                    ),
                    printed={"right": lambda c: rate_printed(c) * 10**6},
                ),
            ),
        ),
    ),
)
BIAS_BOUND = Statement(
    label="bias_bound",
    row="Corrected bias bound (Appendix B)",
    readings=(
        Reading(
            key="all s",
            formula=r"E\epsilon_b^2\leq c_s\lambda_B^{1+2s}R^2\ (s\leq\frac{1}{2}),"
            r"\quad\lambda_B^2\|\Sigma\|^{2s-1}R^2\ (s\geq\frac{1}{2})",
            verdict=Verdict.HOLDS,
            proof=PROOFS["bias_bound", "all s"],
            steps=(
                Step(
                    claim="s from 0 to 2 in quarters of twice s",
                    check=bias,
                    cases=lambda n: (*drawn(biases((*UP_TO_ONE, fmpq(3), fmpq(4))))(n), CEX_21),
                    twins=(
                        Twin(
                            "half the bound", {"right": lambda c: saturated(c) / 2}, fixed(peak(fmpq(0), fmpq(1, 10)))
                        ),
                        Twin("power lambda^3", {"right": lambda c: saturated(c) * c.lam**2}),
                    ),
                    sides={"right": saturated},
                ),
                agreement(
                    "dntk_ref's bias of a population",
                    CLEAR,
                    lambda c: reference.bias(whole(c), float(c.lam)),
                    lambda c: c.law.mean([b * b for _, b, _ in c.errors(c.best)]),
                    conditioned,
                ),
                agreement(
                    "dntk_ref's bound",
                    drawn(biases(UP_TO_ONE).filter(lambda c: max(c.spectrum) > 0)),
                    lambda c: reference.bias_bound(
                        float(c.lam), float(c.twice_s / 2), float(c.radius) ** 0.5, float(max(c.spectrum))
                    ),
                    lambda c: qq.q(float(arb(saturated(c)).mid())),
                    lambda c: 1 + float(arb(saturated(c)).mid()),
                ),
                Step(
                    claim="nearly attained at mu = lambda (1 + 2 s) / (1 - 2 s)",
                    check=bias,
                    cases=fixed(*(peak(fmpq(i, 8), fmpq(1, 7)) for i in range(4))),
                    twins=(
                        Twin("a thousandth less", {"right": lambda c: saturated(c) * fmpq(999, 1000)}),
                        Twin("half", {"right": lambda c: saturated(c) / 2}),
                    ),
                    sides={"right": lambda c: saturated(c) * fmpq(1000001, 1000000)},
                    attained="mu = lambda (1 + 2 s) / (1 - 2 s)",
                ),
            ),
        ),
    ),
    table=2,
)


def variance_identity(case: Design, *, design: int) -> Margin:
    """w_hat - w_lambda = (S + lambda)^{-1} [(S - Sigma)(w* - w_lambda) + Phi^T eps / n], for every sample."""
    margins = []
    for _, atoms, w in case.samples:
        phi, y = qq.select(case.law.features, atoms), qq.select(case.law.values, atoms)
        empirical, noise = phi.transpose() * phi * fmpq(1, case.n), y - phi * case.best
        inner = (empirical - case.law.second_moment) * (case.best - case.shrunk) * fmpq(design)
        right = qq.ridge_solve(empirical, inner + phi.transpose() * noise * fmpq(1, case.n), case.lam)
        margins.append(equal(w - case.shrunk, right))
    return all_of(margins)


def reference_deviation(case: Design) -> Any:
    """dntk_ref's design and noise terms of the last sample, summed."""
    terms = reference.weight_deviation_terms(whole(case), case.samples[-1][1], float(case.lam))
    return (terms.design + terms.noise)[:, None]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of Sigma in descending order, the ridge, and a number r of leading ones."""

    values: tuple[fmpq, ...]
    lam: fmpq
    r: int

    def factor(self, exponent: int) -> fmpq:
        """Sum mu^e / (mu + lambda)^e."""
        return sum(((mu / (mu + self.lam)) ** exponent for mu in self.values), fmpq(0))

    @property
    def tail(self) -> fmpq:
        """The eigenvalues after the first r, summed."""
        return sum(self.values[self.r :], fmpq(0))


@st.composite
def spectra(draw: Any) -> Spectrum:
    """Draw a descending spectrum."""
    values = sorted((fmpq(v, 10) for v in draw(st.lists(st.integers(0, 30), min_size=1, max_size=6))), reverse=True)
    return Spectrum(tuple(values), draw(positive), draw(st.integers(0, len(values))))


def truncated(case: Spectrum, *, quarter: fmpq, one: fmpq) -> Margin:
    """Variance factor <= r + tail / (4 lambda); effective dimension <= r + tail / lambda."""
    return all_of(
        at_most(case.factor(2), case.r + quarter * case.tail / case.lam),
        at_most(case.factor(1), case.r + one * case.tail / case.lam),
    )


def by_rank(case: Spectrum, *, right: Callable) -> Margin:
    """The variance factor is at most the right side."""
    return at_most(case.factor(2), right(case))


def design_variance(case: Design, *, right: Callable) -> Margin:
    """2 E eps_v^2 (the scale of CEX-18) against a right side."""
    return at_most(2 * case.mean(lambda a, b, v: v * v), right(case))


def noise_only(case: Design) -> fmpq:
    """sigma^2 rank / n with sigma^2 = E eps_a^2."""
    sigma2 = case.law.mean([a * a for a, _, _ in case.errors(case.best)])
    return 2 * sigma2 * case.law.second_moment.rank() / case.n


def exact_variance(case: Design) -> fmpq:
    """The variance by its exact identity: noise and design term together."""
    parts = []
    for p, atoms, _ in case.samples:
        phi, y = qq.select(case.law.features, atoms), qq.select(case.law.values, atoms)
        empirical = phi.transpose() * phi * fmpq(1, case.n)
        inner = (empirical - case.law.second_moment) * (case.best - case.shrunk)
        inner += phi.transpose() * (y - phi * case.best) * fmpq(1, case.n)
        gap = qq.ridge_solve(empirical, inner, case.lam)
        parts.append(p * qq.dot(gap, case.law.second_moment * gap))
    return 2 * sum(parts, fmpq(0))


def noise_factor(case: Design, *, right: Callable) -> Margin:
    """E tr(Sigma (S + lambda)^{-1} S (S + lambda)^{-1}) against a right side."""
    value = fmpq(0)
    for p, atoms, _ in case.samples:
        phi = qq.select(case.law.features, atoms)
        empirical = phi.transpose() * phi * fmpq(1, case.n)
        inverse = (empirical + qq.identity(empirical.nrows()) * case.lam).inv()
        value += p * qq.trace(case.law.second_moment * inverse * empirical * inverse)
    return at_most(value, right(case))


def rank_side(case: Design) -> fmpq:
    """The rank of Sigma."""
    return fmpq(case.law.second_moment.rank())


def deterministic_side(case: Design) -> fmpq:
    """Sum mu^2 / (mu + lambda)^2 with the population's own spectrum (one feature)."""
    mu = case.law.second_moment[0, 0]
    return (mu / (mu + case.lam)) ** 2


CEX_22 = Design(Population(qq.mat([[10], [1]]), qq.mat([[10], [1]]), (fmpq(1, 10), fmpq(9, 10))), 1, fmpq(1))
ONE_ATOM = replace(CEX_22, law=Population(qq.mat([[1], [1]]), qq.mat([[1], [1]]), CEX_22.law.weights))
CEX_23 = Spectrum((fmpq(1), *[fmpq(1, 1000)] * 50), fmpq(1, 10**5), 1)
SPECTRA = drawn(spectra())
VARIANCE = Statement(
    label="eq_22",
    row="(22), variance sigma^2 r/n",
    readings=(
        Reading(
            key="order of magnitude",
            formula=r"E\epsilon_v^2\approx\frac{\sigma^2}{n}\sum_j\frac{\mu_j^2}{(\mu_j+\lambda)^2}=O(\sigma^2r/n)",
            verdict=Verdict.HEURISTIC,
            steps=(
                Step(
                    claim="the truncation made rigorous: r + tail / (4 lambda), "
                    "and r + tail / lambda for the effective dimension",
                    check=truncated,
                    cases=lambda n: (*SPECTRA(n), CEX_23),
                    twins=(
                        Twin(
                            "tail / (8 lambda)",
                            {"quarter": fmpq(1, 8)},
                            fixed(Spectrum((fmpq(1), fmpq(1)), fmpq(1), 0)),
                        ),
                        Twin("tail dropped", {"quarter": fmpq(0), "one": fmpq(0)}),
                    ),
                    sides={"quarter": fmpq(1, 4), "one": fmpq(1)},
                    attained="mu = lambda, r = 0",
                ),
            ),
            nature=Nature.HEURISTIC,
            note="replaces the sample covariance by its mean and drops the design error",
        ),
        Reading(
            key="design error",
            formula=r"\sigma^2=0\Rightarrow E\epsilon_v^2=0",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="the exact identity gives it",
                    check=lambda case, *, right: equal(2 * case.mean(lambda a, b, v: v * v), right(case)),
                    cases=lambda n: (*DESIGNS(n), CEX_18),
                    twins=(
                        Twin("noise term only", {"right": noise_only}),
                        Twin("halved", {"right": lambda c: exact_variance(c) / 2}),
                    ),
                    sides={"right": exact_variance},
                    attained="always an equality",
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-19 (= CEX-18)",
                    check=design_variance,
                    case=CEX_18,
                    controls=(
                        Twin("with the design term", {"right": exact_variance}),
                        Twin("no randomness in the sample", cases=fixed(ONE_ATOM)),
                    ),
                    printed={"right": noise_only},
                    left="5/36",
                    right=0,
                    search=designs(),
                ),
            ),
        ),
        Reading(
            key="factor at most the rank",
            formula=r"E\,\mathrm{tr}(\Sigma(\hat\Sigma+\lambda)^{-1}\hat\Sigma(\hat\Sigma+\lambda)^{-1})\leq r",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-22",
                    check=noise_factor,
                    case=CEX_22,
                    controls=(
                        Twin("on the event S + lambda >= (Sigma + lambda)/2: no randomness", cases=fixed(ONE_ATOM)),
                        Twin("three times the rank", {"right": lambda c: 3 * rank_side(c)}),
                    ),
                    printed={"right": rank_side},
                    left="2.46",
                    right=1,
                ),
                Refutation(
                    name="CEX-22 (population spectrum)",
                    check=noise_factor,
                    case=CEX_22,
                    controls=(
                        Twin("no randomness", cases=fixed(ONE_ATOM)),
                        Twin("three times", {"right": lambda c: 3 * deterministic_side(c)}),
                    ),
                    printed={"right": deterministic_side},
                    left="2.46",
                    right="0.84",
                ),
            ),
        ),
        Reading(
            key="truncation rank at fixed share",
            formula=r"\sum_j\frac{\mu_j^2}{(\mu_j+\lambda)^2}\leq r_{0.05}",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-23",
                    check=by_rank,
                    case=CEX_23,
                    controls=(
                        Twin("with the tail", {"right": lambda c: c.r + c.tail / (4 * c.lam)}),
                        Twin("rank at level lambda", {"right": lambda c: fmpq(sum(v > c.lam for v in c.values))}),
                    ),
                    printed={"right": lambda c: fmpq(rank_of(c.values, fmpq(1, 20)))},
                    left="50.0",
                    right=1,
                    search=spectra(),
                ),
            ),
        ),
    ),
)
IDENTITY = Statement(
    label="variance_identity",
    row="Exact identity (Variance)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\hat w_\lambda-w_\lambda=(\hat\Sigma+\lambda)^{-1}[(\hat\Sigma-\Sigma)(w^*-w_\lambda)"
            r"+\frac{1}{n}\Phi^T\epsilon]",
            verdict=Verdict.HOLDS,
            proof=PROOFS["variance_identity", "as stated"],
            steps=(
                Step(
                    claim="for every sample",
                    check=variance_identity,
                    cases=lambda n: (*DESIGNS(n), CEX_18, CEX_22),
                    twins=(
                        Twin("design term dropped", {"design": 0}),
                        Twin("sign of the design term", {"design": -1}),
                    ),
                    sides={"design": 1},
                    attained="always an equality",
                ),
                agreement(
                    "dntk_ref's two terms, summed",
                    CLEAR,
                    reference_deviation,
                    lambda c: c.samples[-1][2] - c.shrunk,
                    conditioned,
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Event:
    """Population and sample second moments, and the ridge."""

    population: fmpq_mat
    sample: fmpq_mat
    lam: fmpq


@st.composite
def events(draw: Any) -> Event:
    """Draw two semi-definite matrices."""
    n = draw(st.integers(1, 3))
    a, b = draw(matrices(n, n)), draw(matrices(n, n))
    return Event(qq.kernel_of(a), qq.kernel_of(b), draw(positive))


def on_event(case: Event) -> bool:
    """S + lambda >= (Sigma + lambda) / 2."""
    gap = case.sample - case.population * fmpq(1, 2) + qq.identity(case.sample.nrows()) * (case.lam / 2)
    return min(qq.ldl_pivots(gap)) >= 0


def conditional(case: Event, *, factor: fmpq, hypotheses: tuple = (on_event,)) -> Margin:
    """tr(Sigma (S + l)^{-1} S (S + l)^{-1}) <= factor d_eff(l)."""
    meet(case, hypotheses)
    shift = qq.identity(case.sample.nrows()) * case.lam
    inverse = (case.sample + shift).inv()
    left = qq.trace(case.population * inverse * case.sample * inverse)
    return at_most(left, factor * qq.trace(case.population * (case.population + shift).inv()))


def decay(case: tuple[fmpq, fmpq], *, right: Callable) -> Margin:
    """mu_j = exp(-beta (j - 1)): the effective dimension (a ball over 400 terms and a tail bound) against a right side."""
    beta, lam = arb(case[0]), arb(case[1])
    mu = [(-beta * j).exp() for j in range(400)]
    head = sum((m / (m + lam) for m in mu), arb(0))
    return at_most(head + mu[-1] / (lam * (1 - (-beta).exp())), right(beta, lam))


def log_bound(beta: arb, lam: arb) -> arb:
    """ln(1/lambda) / beta + 1 / (1 - e^{-beta}) + 1."""
    return -lam.log() / beta + 1 / (1 - (-beta).exp()) + 1


EVENTS = drawn(events().filter(on_event))
TIGHT_EVENT = Event(qq.mat([[1]]), qq.mat([["4/10"]]), fmpq(1, 5))
SMALL_RIDGE = fixed(*((b, fmpq(1, 10**e)) for b in (fmpq(1, 10), fmpq(1, 2), fmpq(2)) for e in (0, 2, 5)))
LARGE_RIDGE = fixed(*((b, fmpq(e)) for b in (fmpq(1, 10), fmpq(2)) for e in (2, 100)))
CONDITIONAL = Statement(
    label="variance_conditional",
    row="Correct (conditional) form and truncation (Variance)",
    readings=(
        Reading(
            key="noise part",
            formula=r"\hat\Sigma+\lambda\succeq\frac{1}{2}(\Sigma+\lambda)"
            r"\Rightarrow \mathrm{tr}(\Sigma(\hat\Sigma+\lambda)^{-1}\hat\Sigma(\hat\Sigma+\lambda)^{-1})"
            r"\leq 2d_{eff}(\lambda)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["variance_conditional", "noise part"],
            steps=(
                Step(
                    claim="on the event",
                    check=conditional,
                    cases=lambda n: (*EVENTS(n), TIGHT_EVENT),
                    twins=(
                        Twin("factor 1", {"factor": fmpq(1)}, fixed(TIGHT_EVENT)),
                        Twin(
                            "event dropped", {"hypotheses": ()}, fixed(Event(qq.mat([[100]]), qq.mat([[1]]), fmpq(1)))
                        ),
                    ),
                    sides={"factor": fmpq(2)},
                ),
            ),
            hypotheses=("noise with conditional mean 0 and covariance at most sigma^2 I",),
        ),
        Reading(
            key="exponential decay",
            formula=r"\mu_j=e^{-\beta(j-1)}:\ d_{eff}\leq\frac{1}{\beta}\ln\frac{1}{\lambda}+\frac{1}{1-e^{-\beta}}"
            r"+1\ (\lambda\leq 1),\quad\leq\frac{1}{\lambda(1-e^{-\beta})}\ (\lambda>1)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["variance_conditional", "exponential decay"],
            steps=(
                Step(
                    claim="lambda at most 1",
                    check=decay,
                    cases=SMALL_RIDGE,
                    twins=(
                        Twin("half the logarithm", {"right": lambda b, lam: log_bound(b, lam) / 2}),
                        Twin("lambda far above 1", {}, fixed((fmpq(1, 10), fmpq(10**9)))),
                    ),
                    sides={"right": log_bound},
                ),
                Step(
                    claim="lambda above 1",
                    check=decay,
                    cases=LARGE_RIDGE,
                    twins=(
                        Twin("a tenth of it", {"right": lambda b, lam: 1 / (lam * (1 - (-b).exp())) / 10}),
                        Twin("without 1/lambda, squared", {"right": lambda b, lam: 1 / (lam * (1 - (-b).exp())) / lam}),
                    ),
                    sides={"right": lambda b, lam: 1 / (lam * (1 - (-b).exp()))},
                ),
            ),
        ),
    ),
    table=2,
)


STATEMENTS = (BIAS, VARIANCE, BIAS_BOUND, IDENTITY, CONDITIONAL)
