"""Section 9.1: ranks, traces and projection errors without the full kernel."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.spectral import hutchinson_variance_gaussian, rank_upper_bound
from proofs_checks import rational as qq
from proofs_checks.check_3_2_redundancy import rank_of
from proofs_checks.check_4_2_moments import enumerated
from proofs_checks.check_4_2_projection import gaussian_failure
from proofs_checks.instances import Spectral, drawn, fixed, matrices, orthogonal, spectral
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal, sampled
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Directions:
    """Features with rational spectrum and r orthonormal directions (n, r), as for a rank certificate at epsilon."""

    spectral: Spectral
    frame: fmpq_mat
    epsilon: fmpq

    @property
    def energies(self) -> list[fmpq]:
        """|Phi^T z_j|^2, one vector-Jacobian product each."""
        rows = self.frame.transpose() * self.spectral.features
        return [qq.norm2(qq.select(rows, [j])) for j in range(rows.nrows())]


@st.composite
def directions(draw: Any) -> Directions:
    """Draw features and a full orthonormal frame in some order."""
    case = draw(spectral(1, 4))
    return Directions(case, draw(orthogonal(case.n)), fmpq(draw(st.integers(0, 9)), 10))


def captured(case: Directions, *, energies: Callable) -> Margin:
    """tr(Z^T K Z) = sum |Phi^T z_j|^2 <= the top eigenvalues, and the norms of the gradients give tr K."""
    found, margins = energies(case), []
    for r in range(1, case.spectral.n + 1):
        z = qq.select(case.frame, range(case.spectral.n), range(r))
        margins.append(equal(sum(found[:r], fmpq(0)), qq.trace(z.transpose() * case.spectral.kernel * z)))
        margins.append(at_most(sum(found[:r], fmpq(0)), sum(case.spectral.eigenvalues[:r], fmpq(0))))
    return all_of(margins, equal(qq.frobenius2(case.spectral.features), qq.trace(case.spectral.kernel)))


def certified_rank(case: Directions) -> int:
    """The first number of directions that hold the share."""
    total = sum(case.energies, fmpq(0))
    held, found = fmpq(0), case.spectral.n
    for r, value in enumerate(case.energies, 1):
        held += value
        if held >= (1 - case.epsilon) * total:
            found = r
            break
    return found


def upper_rank(case: Directions, *, bound: Callable) -> Margin:
    """The truncation rank is at most the certified one."""
    return at_most(rank_of(case.spectral.eigenvalues, case.epsilon), bound(case))


DIRECTIONS = drawn(directions())
AXES = Directions(Spectral(qq.identity(2), (fmpq(2), fmpq(1)), qq.identity(2)), qq.identity(2), fmpq(0))


def energies_of_square(case: Directions) -> list[fmpq]:
    """The squared norms |K z_j|^2 for z_j^T K z_j."""
    kernel, n = case.spectral.kernel, case.spectral.n
    return [qq.norm2(kernel * qq.select(case.frame, range(n), [j])) for j in range(n)]


RANK = Statement(
    label="rank_by_products",
    row="9.1 Exact parameter-redundancy check by r VJPs",
    readings=(
        Reading(
            key="as stated",
            formula=r"\mathrm{tr}(Z^TKZ)=\sum_j\|\Phi^Tz_j\|^2\leq\sum_{i\leq r}\lambda_i",
            verdict=Verdict.HOLDS,
            proof=PROOFS["rank_by_products", "as stated"],
            steps=(
                Step(
                    claim="identity and bound for every r",
                    check=captured,
                    cases=DIRECTIONS,
                    twins=(
                        Twin("energies doubled", {"energies": lambda c: [2 * e for e in c.energies]}),
                        Twin("norms instead of squared norms of the kernel rows", {"energies": energies_of_square}),
                    ),
                    sides={"energies": lambda c: c.energies},
                    attained="the eigenvectors",
                ),
                Step(
                    claim="an upper bound on the truncation rank",
                    check=upper_rank,
                    cases=lambda n: (*DIRECTIONS(n), AXES),
                    twins=(
                        Twin("one less", {"bound": lambda c: certified_rank(c) - 1}, fixed(AXES)),
                        Twin("half", {"bound": lambda c: fmpq(certified_rank(c), 2)}, fixed(AXES)),
                    ),
                    sides={"bound": certified_rank},
                    attained="the eigenvectors",
                ),
                Step(
                    claim="dntk_ref computes it (share of one thousandth away from a tie)",
                    check=by_reference,
                    cases=drawn(directions().filter(lambda c: c.spectral.sigma[0] > 0 and _no_tie(c))),
                    twins=(
                        Twin("one more", {"exact": lambda c: certified_rank(c) + 1}),
                        Twin(
                            "truncation rank plus two",
                            {"exact": lambda c: rank_of(c.spectral.eigenvalues, c.epsilon) + 2 + c.spectral.n},
                        ),
                    ),
                    sides={
                        "reference": lambda c: rank_upper_bound(
                            qq.floats(c.spectral.features), qq.floats(c.frame), float(c.epsilon)
                        ),
                        "exact": certified_rank,
                    },
                ),
            ),
            note="also needs the n norms of the gradients, for the trace",
        ),
    ),
    table=2,
)


def _no_tie(case: Directions) -> bool:
    total, held = sum(case.energies, fmpq(0)), fmpq(0)
    for value in case.energies:
        held += value
        if abs(held - (1 - case.epsilon) * total) < total / 10**6:
            return False
    return True


def crossed(case: tuple[tuple[float, ...], float, int, int], *, expected: str) -> Margin:
    """Mean cross-validated rank (directions of one half, energy of the other) against the true rank, 500 Gaussian draws."""
    values, epsilon, k, seed = case
    spectrum, rng, ranks = np.array(values), np.random.default_rng(seed), []
    for _ in range(500):
        first, second = (
            np.sqrt(spectrum)[:, None] * rng.standard_normal((len(values), k)) / np.sqrt(k) for _ in range(2)
        )
        z = np.linalg.svd(first, full_matrices=False)[0]
        held = np.cumsum(np.sum((z.T @ second) ** 2, axis=1))
        ranks.append(1 + np.sum(held < (1 - epsilon) * np.sum(second**2)))
    true_rank = 1 + np.sum(np.cumsum(spectrum) < (1 - epsilon) * spectrum.sum())
    return sampled(np.array(ranks), float(true_rank), side=expected)


ESTIMATES = Statement(
    label="rank_estimates",
    row="9.1 Truncation-rank estimates",
    readings=(
        Reading(
            key="no bracket",
            formula=r"\mathrm{naive\ rank}\leq r_\epsilon\leq\mathrm{cross-validated\ rank}",
            verdict=Verdict.HEURISTIC,
            steps=(
                Step(
                    claim="exponential decay: the cross-validated rank is biased high",
                    check=crossed,
                    cases=fixed((tuple(np.exp(-0.2 * np.arange(20))), 0.05, 40, 1)),
                    twins=(
                        Twin("unbiased", {"expected": "equal"}),
                        Twin("biased low", {"expected": "at most"}),
                    ),
                    sides={"expected": "at least"},
                ),
                Step(
                    claim="for diag(.949, .051), true rank 2, it is biased low (halves of 500)",
                    check=crossed,
                    cases=fixed(((0.949, 0.051), 0.05, 500, 2)),
                    twins=(
                        Twin("unbiased", {"expected": "equal"}),
                        Twin("biased high", {"expected": "at least"}),
                    ),
                    sides={"expected": "at most"},
                ),
            ),
            nature=Nature.HEURISTIC,
            note="only captured energies are ordered, in expectation",
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Halves:
    """Features and a discrete map of each half (kind, width)."""

    phi: fmpq_mat
    kind: str
    k: int


def split_half(case: Halves, *, quarter: fmpq, product_target: Callable) -> Margin:
    """E |K1 - K2|^2 / 4 = E |(K1 + K2) / 2 - K|^2 and E tr(K1 K2) = |K|^2, over all pairs of independent halves."""
    kernel = qq.kernel_of(case.phi)
    kernels = [case.phi * g * case.phi.transpose() for g in enumerated(case.kind, case.phi.ncols(), case.k)]
    count = len(kernels) ** 2
    difference = averaged = crossing = fmpq(0)
    for first, second in product(kernels, repeat=2):
        difference += qq.frobenius2(first - second)
        averaged += qq.frobenius2((first + second) * fmpq(1, 2) - kernel)
        crossing += qq.dot(first, second)
    squares = sum((qq.frobenius2(one) for one in kernels), fmpq(0)) / len(kernels)
    return all_of(
        equal(quarter * difference / count, averaged / count), equal(crossing / count, product_target(kernel, squares))
    )


HALVES = drawn(
    st.builds(Halves, matrices(2, 2), st.sampled_from(["rademacher", "countsketch", "srht"]), st.just(1)), 0.4
)
SPLIT = Statement(
    label="split_half",
    row="9.1 Split-half error estimate",
    readings=(
        Reading(
            key="independent halves",
            formula=r"E\frac{1}{4}\|\tilde K_1-\tilde K_2\|_F^2=E\|\tilde K-K\|_F^2,"
            r"\quad E\,\mathrm{tr}(\tilde K_1\tilde K_2)=\|K\|_F^2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["split_half", "independent halves"],
            steps=(
                Step(
                    claim="all pairs of halves of discrete maps",
                    check=split_half,
                    cases=HALVES,
                    twins=(
                        Twin("1/2 for 1/4", {"quarter": fmpq(1, 2)}),
                        Twin("naive squared norm", {"product_target": lambda kernel, squares: squares}),
                    ),
                    sides={"quarter": fmpq(1, 4), "product_target": lambda kernel, squares: qq.frobenius2(kernel)},
                    attained="always an equality",
                ),
            ),
            hypotheses=("halves independent and unbiased",),
        ),
    ),
    table=2,
)


def tail_bound(k: int, epsilon: fmpq) -> arb:
    """exp(-k/2 (eps - ln(1 + eps))) + exp(k/2 (eps + ln(1 - eps)))."""
    with ctx.workprec(200):
        e = arb(epsilon)
        return (-arb(k) / 2 * (e - (1 + e).log())).exp() + (arb(k) / 2 * (e + (1 - e).log())).exp()


def rank_one(case: tuple[int, fmpq], *, bound: Callable) -> Margin:
    """The exact failure probability at rank one is at most the bound."""
    return at_most(gaussian_failure(*case), bound(*case))


def frequency(case: tuple[tuple[float, ...], int, float, int], *, factor: float) -> Margin:
    """The share of 4,000 Gaussian maps whose relative trace error exceeds epsilon is at most the bound (any spectrum)."""
    values, k, epsilon, seed = case
    rng = np.random.default_rng(seed)
    spectrum = np.array(values) / np.sum(values)
    traces = rng.chisquare(k, size=(4000, len(values))) @ spectrum / k
    return sampled(
        (np.abs(traces - 1) > epsilon).astype(float),
        factor * float(tail_bound(k, fmpq(round(1000 * epsilon), 1000))),
        side="at most",
    )


# Values of one entry of a probe, in units of a root, with their probabilities; and the square of the unit. Times sqrt(3)
# the second have the moments of a Gaussian up to the fifth, and the variance of z^T K z needs no more than the fourth.
SIGNS = (((-1, fmpq(1, 2)), (1, fmpq(1, 2))), 1)
GAUSSIAN = (((-1, fmpq(1, 6)), (0, fmpq(2, 3)), (1, fmpq(1, 6))), 3)


def hutchinson(case: fmpq_mat, *, side: Callable, entries: tuple) -> Margin:
    """All probes of independent entries: mean tr K, and the variance of one probe."""
    kernel, (law, unit) = qq.kernel_of(case), entries
    mean = square = fmpq(0)
    for probe in product(law, repeat=case.nrows()):
        z, chance = qq.column([value for value, _ in probe]), prod((p for _, p in probe), start=fmpq(1))
        estimate = unit * qq.dot(z, kernel * z)
        mean, square = mean + chance * estimate, square + chance * estimate**2
    return all_of(equal(mean, qq.trace(kernel)), equal(square - mean**2, side(kernel)))


def sign_side(kernel: fmpq_mat) -> fmpq:
    """2 (|K|^2 - sum K_ii^2)."""
    return 2 * (qq.frobenius2(kernel) - sum((kernel[i, i] ** 2 for i in range(kernel.nrows())), fmpq(0)))


PROBED = drawn(st.integers(1, 4).flatmap(lambda n: matrices(n, 2)))
LAWS = fixed(*((k, fmpq(e, 10)) for k in (1, 5, 50, 1000) for e in (1, 3, 5, 9)))
TRACE = Statement(
    label="trace_concentration",
    row="9.1 Trace concentration",
    readings=(
        Reading(
            key="Gaussian maps",
            formula=r"\Pr(|\mathrm{tr}\tilde K/\mathrm{tr}K-1|>\epsilon)\leq e^{-\frac{k}{2}(\epsilon-\ln(1+\epsilon))}"
            r"+e^{\frac{k}{2}(\epsilon+\ln(1-\epsilon))}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["trace_concentration", "Gaussian maps"],
            steps=(
                Step(
                    claim="rank one, the worst case: exact chi-squared law",
                    check=rank_one,
                    cases=LAWS,
                    twins=(
                        Twin("exponents doubled", {"bound": lambda k, e: tail_bound(2 * k, e)}),
                        Twin("a hundredth", {"bound": lambda k, e: tail_bound(k, e) / 100}),
                    ),
                    sides={"bound": tail_bound},
                ),
                Step(
                    claim="other spectra, Monte Carlo",
                    check=frequency,
                    cases=fixed(((1.0, 0.5, 0.1), 6, 0.5, 1), ((1.0,) * 5, 3, 0.4, 2)),
                    twins=(
                        Twin("a twentieth", {"factor": 0.05}),
                        Twin("a hundredth", {"factor": 0.01}),
                    ),
                    sides={"factor": 1.0},
                ),
            ),
            hypotheses=("0 < epsilon < 1",),
        ),
        Reading(
            key="sign probes",
            formula=r"\mathrm{Var}=\frac{2}{N}(\|K\|_F^2-\sum_iK_{ii}^2)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["trace_concentration", "sign probes"],
            steps=(
                Step(
                    claim="every probe",
                    check=hutchinson,
                    cases=PROBED,
                    twins=(
                        Twin("Gaussian variance", {"side": lambda k: 2 * qq.frobenius2(k)}),
                        Twin("halved", {"side": lambda k: sign_side(k) / 2}),
                    ),
                    sides={"side": sign_side, "entries": SIGNS},
                    attained="always an equality",
                ),
            ),
        ),
        Reading(
            key="Gaussian probes",
            formula=r"\mathrm{Var}=\frac{2}{N}\|K\|_F^2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["trace_concentration", "Gaussian probes"],
            steps=(
                Step(
                    claim="moments to the fourth, by a quadrature that has them",
                    check=hutchinson,
                    cases=PROBED,
                    twins=(
                        Twin("variance of sign probes", {"side": sign_side}),
                        Twin("entries of variance two", {"entries": (GAUSSIAN[0], 6)}),
                    ),
                    sides={"side": lambda k: 2 * qq.frobenius2(k), "entries": GAUSSIAN},
                    attained="always an equality",
                ),
                Step(
                    claim="dntk_ref's variance of three probes",
                    check=by_reference,
                    cases=PROBED,
                    twins=(
                        Twin("one probe", {"exact": lambda c: 2 * qq.frobenius2(qq.kernel_of(c))}),
                        Twin("variance of sign probes", {"exact": lambda c: sign_side(qq.kernel_of(c)) / 3}),
                    ),
                    sides={
                        "reference": lambda c: hutchinson_variance_gaussian(qq.floats(qq.kernel_of(c)), 3),
                        "exact": lambda c: fmpq(2, 3) * qq.frobenius2(qq.kernel_of(c)),
                    },
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (RANK, ESTIMATES, SPLIT, TRACE)
