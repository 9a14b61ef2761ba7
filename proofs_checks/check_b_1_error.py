"""Appendix B.1: the error of the ridge predictor on a population - decomposition, approximation, bias and variance.

Populations are finite with rational probabilities, and samples are enumerated: every expectation is exact.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

import dntk_ref.error as reference
from proofs_checks import rational as qq
from proofs_checks.check_3_2_redundancy import rank_of
from proofs_checks.instances import (
    Population,
    Ridge,
    drawn,
    fixed,
    matrices,
    populations,
    positive,
    ridges,
    spectral,
)
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict, agreement, meet

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Design:
    """A population, a sample size and the mean-loss ridge lambda_B; `noise` is the variance of labels around f*."""

    law: Population
    n: int
    lam: fmpq

    @cached_property
    def best(self) -> fmpq_mat:
        """w* = Sigma^+ E[phi f]  (20)."""
        return qq.pseudo_inverse(self.law.second_moment) * self.law.cross

    @cached_property
    def shrunk(self) -> fmpq_mat:
        """w_lambda = (Sigma + lambda)^{-1} Sigma w*."""
        return qq.ridge_solve(self.law.second_moment, self.law.second_moment * self.best, self.lam)

    @cached_property
    def samples(self) -> list[tuple[fmpq, tuple[int, ...], fmpq_mat]]:
        """Every sample with its probability and fitted weights."""
        return list(self._enumerate())

    def _enumerate(self) -> Iterator[tuple[fmpq, tuple[int, ...], fmpq_mat]]:
        for drawn_atoms in product(range(len(self.law.weights)), repeat=self.n):
            probability = fmpq(1)
            for atom in drawn_atoms:
                probability *= self.law.weights[atom]
            phi, y = qq.select(self.law.features, drawn_atoms), qq.select(self.law.values, drawn_atoms)
            scaled = phi.transpose() * fmpq(1, self.n)
            yield probability, drawn_atoms, qq.ridge_solve(scaled * phi, scaled * y, self.lam)

    def errors(self, weights: fmpq_mat) -> list[tuple[fmpq, fmpq, fmpq]]:
        """(eps_a, eps_b, eps_v) at every atom, for the fitted weights."""
        phi = self.law.features
        values = [(phi * w).entries() for w in (self.best, self.shrunk, weights)]
        return [(f - a, a - b, b - c) for f, a, b, c in zip(self.law.values.entries(), *values, strict=True)]

    def mean(self, function: Callable[[fmpq, fmpq, fmpq], fmpq]) -> fmpq:
        """The expectation of a function of the three errors over the sample and an independent test point."""
        return sum((p * self.law.mean([function(*e) for e in self.errors(w)]) for p, _, w in self.samples), fmpq(0))


@st.composite
def designs(draw: Any) -> Design:
    """Draw a population and one or two samples."""
    return Design(draw(populations(2)), draw(st.integers(1, 2)), draw(positive))


def total(case: Design) -> fmpq:
    """E (f - f_hat)^2."""
    return case.mean(lambda a, b, v: (a + b + v) ** 2)


def squares(case: Design) -> fmpq:
    """E eps_a^2 + E eps_b^2 + E eps_v^2."""
    return case.mean(lambda a, b, v: a * a + b * b + v * v)


def decomposition(case: Design, *, right: Callable, relation: Callable = at_most) -> Margin:
    """Compare the total squared error with a right side."""
    return relation(total(case), right(case))


def telescopes(case: Design, *, sign: int) -> Margin:
    """(21) at every atom and sample: f - f_hat is the sum of the three parts."""
    margins = []
    for _, _, w in case.samples:
        left = case.law.values - case.law.features * w
        margins.append(equal(left, qq.column([a + b + sign * v for a, b, v in case.errors(w)])))
    return all_of(margins)


def sharp(case: Design, *, cross: bool, a: fmpq) -> Margin:
    """E (f - f_hat)^2 = E eps_a^2 + E (eps_b + eps_v)^2 <= E eps_a^2 + (1 + a) E eps_b^2 + (1 + 1/a) E eps_v^2."""
    joined = case.mean(lambda e, b, v: e * e + ((b + v) ** 2 if cross else b * b + v * v))
    split = case.mean(lambda e, b, v: e * e + (1 + a) * b * b + (1 + 1 / a) * v * v)
    return all_of(equal(total(case), joined), at_most(joined, split))


def whole(case: Design) -> Any:
    """The population as dntk_ref takes it."""
    law = case.law
    return reference.population(qq.floats(law.features), qq.floats(law.values)[:, 0], [float(w) for w in law.weights])


def reference_squares(case: Design) -> list[float]:
    """dntk_ref's expectations of Prop B.3."""
    found = reference.expected_squares(whole(case), case.n, float(case.lam))
    return [found.total, found.approximation, found.bias, found.variance, found.bias_and_variance]


def exact_squares(case: Design) -> fmpq_mat:
    """The same five numbers."""
    parts = (
        lambda a, b, v: (a + b + v) ** 2,
        lambda a, b, v: a * a,
        lambda a, b, v: b * b,
        lambda a, b, v: v * v,
        lambda a, b, v: (b + v) ** 2,
    )
    return qq.mat([[case.mean(part) for part in parts]])


def conditioned(case: Design) -> float:
    """Size of a squared error times the condition numbers of the pseudo-inverse and of the ridge systems."""
    gram = qq.floats(case.law.second_moment)
    values = np.linalg.eigvalsh(gram)
    kept = values[values > 1e-9 * max(values[-1], 1e-300)]
    condition = (kept[-1] / kept[0] if kept.size else 1.0) * (1 + values[-1] / float(case.lam))
    return float(condition**2) * float((1 + qq.norm2(case.law.values)) * (1 + qq.frobenius2(case.law.features)))


def clear(case: Design) -> bool:
    """The second moment is singular or far from it: float64 can take its pseudo-inverse."""
    values = np.linalg.eigvalsh(qq.floats(case.law.second_moment))
    return not np.any((np.abs(values) > 1e-13 * values[-1]) & (values < 1e-4 * values[-1])) if values[-1] > 0 else True


ROOTLESS = Population(qq.mat([[0], [1]]), qq.mat([[0], [1]]), (fmpq(1, 2), fmpq(1, 2)))
# phi^2 in {0, 2}: phi = sqrt(2) is not rational. With phi -> phi / sqrt(2), w* -> sqrt(2) w*, lambda -> lambda / 2
# every
# prediction is the same and all numbers but the values are rational; f = phi becomes f = sqrt(2) times the new
# feature, so all
# squared errors are twice those of f = the new feature.
CEX_18 = Design(ROOTLESS, 1, fmpq(1, 2))
DESIGNS = drawn(designs(), 0.6)
CLEAR = drawn(designs().filter(clear), 0.6)


def doubled(function: Callable) -> Callable:
    """Return twice a squared error: the scale that takes the rational CEX-18 back to the printed one."""
    return lambda case: 2 * function(case)


def scaled_decomposition(case: Design, *, factor: fmpq, relation: Callable) -> Margin:
    """2 E (f - f_hat)^2 against 2 factor times the sum of squares."""
    return relation(2 * total(case), 2 * factor * squares(case))


CONSTANT_18 = replace(CEX_18, law=Population(qq.mat([[0], [0]]), qq.mat([[1], [1]]), ROOTLESS.weights))
PROP_B_3 = Statement(
    "prop_b_3",
    "Prop B.3 (21)",
    (
        Reading(
            "pointwise",
            r"f-\hat f_\lambda=(f-f^*)+(f^*-f_\lambda)+(f_\lambda-\hat f_\lambda)",
            Verdict.HOLDS,
            (
                Step(
                    "at every test point and sample",
                    telescopes,
                    DESIGNS,
                    (
                        Twin("sign of the variance part", {"sign": -1}),
                        Twin("variance part dropped", {"sign": 0}),
                    ),
                    {"sign": 1},
                    "always an equality",
                ),
            ),
        ),
        Reading(
            "R1, factor 3",
            r"E(f-\hat f)^2\leq 3(E\epsilon_a^2+E\epsilon_b^2+E\epsilon_v^2)",
            Verdict.HOLDS,
            (
                Step(
                    "exact expectations over enumerated samples",
                    scaled_decomposition,
                    lambda n: (*DESIGNS(n), CEX_18),
                    (
                        Twin("factor 1", {"factor": fmpq(1)}),
                        Twin("factor 1/2", {"factor": fmpq(1, 2)}),
                    ),
                    {"factor": fmpq(3), "relation": at_most},
                ),
                agreement(
                    "dntk_ref's expectations, by its own enumeration",
                    CLEAR,
                    reference_squares,
                    exact_squares,
                    conditioned,
                ),
            ),
        ),
        Reading(
            "R2, factor 1",
            r"E(f-\hat f)^2\leq E\epsilon_a^2+E\epsilon_b^2+E\epsilon_v^2",
            Verdict.FAILS,
            refutations=(
                Refutation(
                    "CEX-18",
                    scaled_decomposition,
                    CEX_18,
                    (
                        Twin("factor 3", {"factor": fmpq(3)}),
                        Twin("factors 1, 2, 2 (here eps_a = 0)", {"factor": fmpq(2)}),
                    ),
                    {"factor": fmpq(1), "relation": at_most},
                    "5/9",
                    "7/18",
                    designs(),
                ),
            ),
        ),
        Reading(
            "R3, equality",
            r"E(f-\hat f)^2=E\epsilon_a^2+E\epsilon_b^2+E\epsilon_v^2",
            Verdict.FAILS,
            refutations=(
                Refutation(
                    "CEX-18",
                    scaled_decomposition,
                    CEX_18,
                    (
                        Twin("factor 3, at most", {"factor": fmpq(3), "relation": at_most}),
                        Twin("no randomness in the sample", cases=fixed(CONSTANT_18)),
                    ),
                    {"factor": fmpq(1), "relation": equal},
                    "5/9",
                    "7/18",
                    designs(),
                ),
            ),
        ),
    ),
)
SHARP = Statement(
    "prop_b_3_sharp",
    "Sharp form (after Prop B.3)",
    (
        Reading(
            "as stated",
            r"E(f-\hat f)^2=E\epsilon_a^2+E(\epsilon_b+\epsilon_v)^2\leq E\epsilon_a^2+(1+a)E\epsilon_b^2"
            r"+(1+1/a)E\epsilon_v^2",
            Verdict.HOLDS,
            tuple(
                Step(
                    f"a = {a}",
                    sharp,
                    lambda n: (*DESIGNS(n), CEX_18),
                    (
                        Twin("bias-variance cross term dropped", {"cross": False}),
                        Twin("a negative", {"a": -a / 2}),
                    ),
                    {"cross": True, "a": a},
                )
                for a in (fmpq(1, 2), fmpq(1), fmpq(3))
            ),
            hypotheses=("the test point is independent of the sample",),
        ),
    ),
    table=2,
)


def representer(case: Ridge, *, ridge: Callable) -> Margin:
    """(19): alpha = (K + lambda)^{-1} f(X), g = sum alpha_j K(x_j, .): stationary for sum (g - f)^2(x_i) + lambda |g|^2."""
    k, y = case.kernel, case.targets
    alpha = qq.ridge_solve(k, y, ridge(case))
    slope = k * (k * alpha - y) + k * alpha * case.lam
    return equal(slope, qq.zeros(k.nrows(), 1))


def best_linear(case: Design, *, weights: Callable) -> Margin:
    """(20): Sigma w* = E[phi f], so that the error of f* is uncorrelated with every component of phi."""
    return equal(case.law.second_moment * weights(case), case.law.cross)


def centred(case: Design) -> fmpq_mat:
    """The slope of a regression with intercept."""
    law = case.law
    mean = qq.mat([[law.mean(column)] for column in zip(*law.features.tolist(), strict=True)])
    covariance = law.second_moment - mean * mean.transpose()
    return qq.pseudo_inverse(covariance) * (law.cross - mean * law.mean(law.values.entries()))


DEF_B = Statement(
    "def_b_1_b_2",
    "Def B.1 (19), B.2, (20)",
    (
        Reading(
            "as stated",
            r"\hat f(x)=k(x)^T(K+\lambda I)^{-1}f(X),\quad w^*=\Sigma^{\dagger}E[\phi f]",
            Verdict.DEFINITION,
            (
                Step(
                    "(19) is solved by the dual coefficients",
                    representer,
                    drawn(ridges()),
                    (
                        Twin("ridge dropped", {"ridge": lambda c: c.lam / 2}),
                        Twin("ridge doubled", {"ridge": lambda c: 2 * c.lam}),
                    ),
                    {"ridge": lambda c: c.lam},
                ),
                Step(
                    "(20) solves the normal equations, also where Sigma is singular",
                    best_linear,
                    DESIGNS,
                    (
                        Twin("regression with intercept", {"weights": centred}),
                        Twin("shrunk weights", {"weights": lambda c: c.shrunk}),
                    ),
                    {"weights": lambda c: c.best},
                ),
            ),
            nature=Nature.DEFINITION,
            note="pseudo-inverse, uncentred; the labels are the network's own outputs",
        ),
    ),
)


def approximation(case: Design, *, explained: Callable) -> Margin:
    """E eps_a^2 = E f^2 - what is explained."""
    left = case.law.mean([a * a for a, _, _ in case.errors(case.best)])
    return equal(left, case.law.mean([f * f for f in case.law.values.entries()]) - explained(case))


def uncentred(case: Design) -> fmpq:
    """E[f phi]^T Sigma^+ E[phi f]."""
    return qq.dot(case.law.cross, qq.pseudo_inverse(case.law.second_moment) * case.law.cross)


def mean_square(case: Design) -> fmpq:
    """The variance of f plus the uncentred explained share minus the squared mean: the residual-variance reading."""
    residual = [a for a, _, _ in case.errors(case.best)]
    variance = case.law.mean([a * a for a in residual]) - case.law.mean(residual) ** 2
    return case.law.mean([f * f for f in case.law.values.entries()]) - variance


def intercept(case: Design) -> fmpq:
    """What a regression with intercept explains: its residual variance subtracted from E f^2."""
    slope = centred(case)
    residual = (case.law.values - case.law.features * slope).entries()
    variance = case.law.mean([a * a for a in residual]) - case.law.mean(residual) ** 2
    return case.law.mean([f * f for f in case.law.values.entries()]) - variance


@dataclass(frozen=True)
class Taylor:
    """A quadratic function of the parameters: the frame and eigenvalues of its Hessian, and a displacement."""

    frame: fmpq_mat
    curvatures: tuple[fmpq, ...]
    move: fmpq_mat


def remainder(case: Taylor, *, factor: fmpq) -> Margin:
    """|f(theta + D) - f(theta) - grad f . D| <= factor sup |H| |D|^2."""
    hessian = case.frame * qq.diagonal(case.curvatures) * case.frame.transpose()
    left = abs(qq.dot(case.move, hessian * case.move)) / 2
    return at_most(left, factor * max(abs(c) for c in case.curvatures) * qq.norm2(case.move))


@st.composite
def taylors(draw: Any) -> Taylor:
    """Draw a Hessian and a displacement."""
    case = draw(spectral(2, 3, square=True))
    return Taylor(case.u, tuple(case.sigma), draw(matrices(case.n, 1)))


CEX_20 = Design(Population(qq.mat([[1], [2]]), qq.mat([[-1], [1]]), (fmpq(1, 2),) * 2), 1, fmpq(1))
ZERO_MEAN = Design(Population(qq.mat([[-1], [1]]), qq.mat([[-1], [1]]), (fmpq(1, 2),) * 2), 1, fmpq(1))
NO_MEAN = (Twin("uncentred", {"explained": uncentred}), Twin("mean zero", cases=fixed(ZERO_MEAN)))
EDGE = Taylor(qq.identity(2), (fmpq(2), fmpq(1)), qq.column([1, 0]))
APPROXIMATION = Statement(
    "b_3_approximation",
    "B.3 table, approximation row",
    (
        Reading(
            "rate",
            r"|f(x;\theta_0+\Delta)-f(x;\theta_0)-\phi_0^T\Delta|\leq\frac{1}{2}\sup\|H\|_2\|\Delta\|^2=O(m^{-1/2})",
            Verdict.HEURISTIC,
            (
                Step(
                    "the Taylor bound; the rate in the width is cited, and is not the error of the best linear fit",
                    remainder,
                    lambda n: (*drawn(taylors())(n), EDGE),
                    (
                        Twin("factor 1/4", {"factor": fmpq(1, 4)}),
                        Twin("factor 1/3", {"factor": fmpq(1, 3)}),
                    ),
                    {"factor": fmpq(1, 2)},
                    "a step along the stiffest direction",
                ),
            ),
            nature=Nature.HEURISTIC,
            note="vacuous for logits: Theorem R makes the approximation error zero",
        ),
        Reading(
            "R^2",
            r"E\epsilon_a^2=E f^2-E[f\phi]^T\Sigma^{\dagger}E[\phi f]=\mathrm{Var}(f)(1-R^2)",
            Verdict.ADDED,
            (
                Step(
                    "uncentred, no intercept",
                    approximation,
                    DESIGNS,
                    (
                        Twin("residual variance", {"explained": mean_square}),
                        Twin("regression with intercept", {"explained": intercept}),
                    ),
                    {"explained": uncentred},
                    "always an equality",
                ),
                agreement(
                    "dntk_ref's approximation error",
                    CLEAR,
                    lambda c: reference.approximation_error(whole(c)),
                    lambda c: c.law.mean([a * a for a, _, _ in c.errors(c.best)]),
                    conditioned,
                ),
            ),
            (
                Refutation(
                    "CEX-20",
                    approximation,
                    CEX_20,
                    NO_MEAN,
                    {"explained": mean_square},
                    "9/10",
                    "81/100",
                    designs(),
                ),
                Refutation(
                    "CEX-20 (intercept)",
                    approximation,
                    CEX_20,
                    NO_MEAN,
                    {"explained": intercept},
                    "9/10",
                    0,
                ),
            ),
            added=("R^2 without intercept, and E f = 0",),
        ),
    ),
)


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


def printed_rate(case: Bias) -> Any:
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
    "b_3_bias",
    "B.3 bias O(lambda^{2s}), integer s",
    (
        Reading(
            "s at most 1",
            r"w^*=\Sigma^sg\Rightarrow E\epsilon_b^2=O(\lambda_B^{2s})",
            Verdict.HOLDS,
            (
                Step(
                    "with the constant max(1, |Sigma|^{2s-1}), lambda at most 1",
                    bias,
                    drawn(biases(UP_TO_ONE)),
                    (
                        Twin("exponent 2 s + 2", {"right": lambda c: printed_rate(c) * c.lam**2 / 4}),
                        Twin("s = 2", {}, fixed(CEX_21)),
                    ),
                    {"right": printed_rate, "hypotheses": (small_ridge,)},
                ),
            ),
            hypotheses=("lambda at most 1",),
        ),
        Reading(
            "s at least 2",
            r"w^*=\Sigma^sg\Rightarrow E\epsilon_b^2=O(\lambda_B^{2s})",
            Verdict.FAILS,
            refutations=(
                Refutation(
                    "CEX-21",
                    bias,
                    CEX_21,
                    (
                        Twin("corrected bound", {"right": saturated}),
                        Twin("s = 1", cases=fixed(replace(CEX_21, twice_s=fmpq(2)))),
                    ),
                    {"right": printed_rate},
                    "1/121",
                    "1/10000",
                    biases((fmpq(4), fmpq(6))),
                ),
                Refutation(
                    "CEX-21 with any constant",
                    bias,
                    LATE,
                    (
                        Twin("corrected bound", {"right": saturated}),
                        Twin("s = 1", cases=fixed(replace(LATE, twice_s=fmpq(2)))),
                    ),
                    {"right": lambda c: printed_rate(c) * 10**6},
                ),
            ),
        ),
    ),
)
BIAS_BOUND = Statement(
    "bias_bound",
    "Corrected bias bound (Appendix B)",
    (
        Reading(
            "all s",
            r"E\epsilon_b^2\leq c_s\lambda_B^{1+2s}R^2\ (s\leq\frac{1}{2}),"
            r"\quad\lambda_B^2\|\Sigma\|^{2s-1}R^2\ (s\geq\frac{1}{2})",
            Verdict.HOLDS,
            (
                Step(
                    "s from 0 to 2 in quarters of twice s",
                    bias,
                    lambda n: (*drawn(biases((*UP_TO_ONE, fmpq(3), fmpq(4))))(n), CEX_21),
                    (
                        Twin(
                            "half the bound", {"right": lambda c: saturated(c) / 2}, fixed(peak(fmpq(0), fmpq(1, 10)))
                        ),
                        Twin("power lambda^3", {"right": lambda c: saturated(c) * c.lam**2}),
                    ),
                    {"right": saturated},
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
                    "nearly attained at mu = lambda (1 + 2 s) / (1 - 2 s)",
                    bias,
                    fixed(*(peak(fmpq(i, 8), fmpq(1, 7)) for i in range(4))),
                    (
                        Twin("a thousandth less", {"right": lambda c: saturated(c) * fmpq(999, 1000)}),
                        Twin("half", {"right": lambda c: saturated(c) / 2}),
                    ),
                    {"right": lambda c: saturated(c) * fmpq(1000001, 1000000)},
                    "mu = lambda (1 + 2 s) / (1 - 2 s)",
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
    "eq_22",
    "(22), variance sigma^2 r/n",
    (
        Reading(
            "order of magnitude",
            r"E\epsilon_v^2\approx\frac{\sigma^2}{n}\sum_j\frac{\mu_j^2}{(\mu_j+\lambda)^2}=O(\sigma^2r/n)",
            Verdict.HEURISTIC,
            (
                Step(
                    "the truncation made rigorous: r + tail / (4 lambda), and r + tail / lambda for the effective dimension",
                    truncated,
                    lambda n: (*SPECTRA(n), CEX_23),
                    (
                        Twin(
                            "tail / (8 lambda)",
                            {"quarter": fmpq(1, 8)},
                            fixed(Spectrum((fmpq(1), fmpq(1)), fmpq(1), 0)),
                        ),
                        Twin("tail dropped", {"quarter": fmpq(0), "one": fmpq(0)}),
                    ),
                    {"quarter": fmpq(1, 4), "one": fmpq(1)},
                    "mu = lambda, r = 0",
                ),
            ),
            nature=Nature.HEURISTIC,
            note="replaces the sample covariance by its mean and drops the design error",
        ),
        Reading(
            "design error",
            r"\sigma^2=0\Rightarrow E\epsilon_v^2=0",
            Verdict.FAILS,
            (
                Step(
                    "the exact identity gives it",
                    lambda case, *, right: equal(2 * case.mean(lambda a, b, v: v * v), right(case)),
                    lambda n: (*DESIGNS(n), CEX_18),
                    (
                        Twin("noise term only", {"right": noise_only}),
                        Twin("halved", {"right": lambda c: exact_variance(c) / 2}),
                    ),
                    {"right": exact_variance},
                    "always an equality",
                ),
            ),
            (
                Refutation(
                    "CEX-19 (= CEX-18)",
                    design_variance,
                    CEX_18,
                    (
                        Twin("with the design term", {"right": exact_variance}),
                        Twin("no randomness in the sample", cases=fixed(ONE_ATOM)),
                    ),
                    {"right": noise_only},
                    "5/36",
                    0,
                    designs(),
                ),
            ),
        ),
        Reading(
            "factor at most the rank",
            r"E\,\mathrm{tr}(\Sigma(\hat\Sigma+\lambda)^{-1}\hat\Sigma(\hat\Sigma+\lambda)^{-1})\leq r",
            Verdict.FAILS,
            refutations=(
                Refutation(
                    "CEX-22",
                    noise_factor,
                    CEX_22,
                    (
                        Twin("on the event S + lambda >= (Sigma + lambda)/2: no randomness", cases=fixed(ONE_ATOM)),
                        Twin("three times the rank", {"right": lambda c: 3 * rank_side(c)}),
                    ),
                    {"right": rank_side},
                    "2.46",
                    1,
                ),
                Refutation(
                    "CEX-22 (population spectrum)",
                    noise_factor,
                    CEX_22,
                    (
                        Twin("no randomness", cases=fixed(ONE_ATOM)),
                        Twin("three times", {"right": lambda c: 3 * deterministic_side(c)}),
                    ),
                    {"right": deterministic_side},
                    "2.46",
                    "0.84",
                ),
            ),
        ),
        Reading(
            "truncation rank at fixed share",
            r"\sum_j\frac{\mu_j^2}{(\mu_j+\lambda)^2}\leq r_{0.05}",
            Verdict.FAILS,
            refutations=(
                Refutation(
                    "CEX-23",
                    by_rank,
                    CEX_23,
                    (
                        Twin("with the tail", {"right": lambda c: c.r + c.tail / (4 * c.lam)}),
                        Twin("rank at level lambda", {"right": lambda c: fmpq(sum(v > c.lam for v in c.values))}),
                    ),
                    {"right": lambda c: fmpq(rank_of(c.values, fmpq(1, 20)))},
                    "50.0",
                    1,
                    spectra(),
                ),
            ),
        ),
    ),
)
IDENTITY = Statement(
    "variance_identity",
    "Exact identity (Variance)",
    (
        Reading(
            "as stated",
            r"\hat w_\lambda-w_\lambda=(\hat\Sigma+\lambda)^{-1}[(\hat\Sigma-\Sigma)(w^*-w_\lambda)"
            r"+\frac{1}{n}\Phi^T\epsilon]",
            Verdict.HOLDS,
            (
                Step(
                    "for every sample",
                    variance_identity,
                    lambda n: (*DESIGNS(n), CEX_18, CEX_22),
                    (
                        Twin("design term dropped", {"design": 0}),
                        Twin("sign of the design term", {"design": -1}),
                    ),
                    {"design": 1},
                    "always an equality",
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
    "variance_conditional",
    "Correct (conditional) form and truncation (Variance)",
    (
        Reading(
            "noise part",
            r"\hat\Sigma+\lambda\succeq\frac{1}{2}(\Sigma+\lambda)"
            r"\Rightarrow \mathrm{tr}(\Sigma(\hat\Sigma+\lambda)^{-1}\hat\Sigma(\hat\Sigma+\lambda)^{-1})"
            r"\leq 2d_{eff}(\lambda)",
            Verdict.HOLDS,
            (
                Step(
                    "on the event",
                    conditional,
                    lambda n: (*EVENTS(n), TIGHT_EVENT),
                    (
                        Twin("factor 1", {"factor": fmpq(1)}, fixed(TIGHT_EVENT)),
                        Twin(
                            "event dropped", {"hypotheses": ()}, fixed(Event(qq.mat([[100]]), qq.mat([[1]]), fmpq(1)))
                        ),
                    ),
                    {"factor": fmpq(2)},
                ),
            ),
            hypotheses=("noise with conditional mean 0 and covariance at most sigma^2 I",),
        ),
        Reading(
            "exponential decay",
            r"\mu_j=e^{-\beta(j-1)}:\ d_{eff}\leq\frac{1}{\beta}\ln\frac{1}{\lambda}+\frac{1}{1-e^{-\beta}}"
            r"+1\ (\lambda\leq 1),\quad\leq\frac{1}{\lambda(1-e^{-\beta})}\ (\lambda>1)",
            Verdict.HOLDS,
            (
                Step(
                    "lambda at most 1",
                    decay,
                    SMALL_RIDGE,
                    (
                        Twin("half the logarithm", {"right": lambda b, lam: log_bound(b, lam) / 2}),
                        Twin("lambda far above 1", {}, fixed((fmpq(1, 10), fmpq(10**9)))),
                    ),
                    {"right": log_bound},
                ),
                Step(
                    "lambda above 1",
                    decay,
                    LARGE_RIDGE,
                    (
                        Twin("a tenth of it", {"right": lambda b, lam: 1 / (lam * (1 - (-b).exp())) / 10}),
                        Twin("without 1/lambda, squared", {"right": lambda b, lam: 1 / (lam * (1 - (-b).exp())) / lam}),
                    ),
                    {"right": lambda b, lam: 1 / (lam * (1 - (-b).exp()))},
                ),
            ),
        ),
    ),
    table=2,
)


def spanned(case: Ridge, *, rows: Callable) -> Margin:
    """Rem B.4 at finite width: any w in the span of all gradients is a combination of those of the chosen inputs."""
    w = case.features.transpose() * case.targets
    return equal(qq.projector(rows(case)) * w, w)


def all_but_the_first(case: Ridge) -> fmpq_mat:
    """The rows without the first; zeros if there is no other."""
    rows = range(1, case.features.nrows())
    return qq.select(case.features, rows) if rows else qq.zeros(1, case.features.ncols())


REM_B_4 = Statement(
    "rem_b_4",
    "Rem B.4",
    (
        Reading(
            "finite width",
            r"\forall g\in\mathcal{H}_K\ \exists\alpha:\ g=\sum_i\alpha_iK(x_i,\cdot),\quad \dim\mathcal{H}_K\leq P",
            Verdict.HOLDS,
            (
                Step(
                    "inputs whose gradients span represent every element",
                    spanned,
                    drawn(ridges(high=4)),
                    (
                        Twin("the first input left out", {"rows": all_but_the_first}),
                        Twin("one input", {"rows": lambda c: qq.select(c.features, [0])}),
                    ),
                    {"rows": lambda c: c.features},
                ),
            ),
        ),
    ),
)

STATEMENTS = (DEF_B, PROP_B_3, APPROXIMATION, BIAS, VARIANCE, REM_B_4, SHARP, BIAS_BOUND, IDENTITY, CONDITIONAL)
