"""Sections 9.1 and 9.3: bounds by rows, by energies and by one estimate of a trace, as dntk_ref states them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil, floor
from typing import Any

from flint import arb, ctx, fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.spectral import trace_interval
from proofs_checks import rational as qq
from proofs_checks.check_3_2_redundancy import rank_of
from proofs_checks.check_9_certificates import SINGLE, Certified, certified
from proofs_checks.instances import Spectral, drawn, fixed, matrices, orthogonal, positive, spectral
from proofs_checks.margin import Margin, at_most, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


def by_rows(case: tuple[Certified, fmpq], *, factor: Callable, rows: Callable) -> Margin:
    """|Phi d|^2 <= (1 + mu)^2 / 4 r^T (lam I + mu H_S)^-1 r for every mu >= 0."""
    problem, mu = case
    Phi, lam = rows(problem), problem.ridge.lam
    one = qq.identity(problem.spectral.p)
    inside = one * lam + (Phi.transpose() * Phi + one * lam) * mu
    bound = factor(mu) * qq.dot(problem.residual, inside.solve(problem.residual))
    return at_most(qq.norm2(problem.ridge.features * problem.gap), bound)


BY_ROWS = Statement(
    label="training_rms_by_rows",
    row="9.3, training RMS by rows",
    readings=(
        Reading(
            key="every multiplier",
            formula=r"\|\Phi(w-w_*)\|^2\leq\frac{(1+\mu)^2}{4}\,r^T(\lambda I+\mu H_S)^{-1}r,\quad\mu\geq0",
            verdict=Verdict.HOLDS,
            proof=PROOFS["training_rms_by_rows", "every multiplier"],
            steps=(
                Step(
                    claim="for every mu, in the exact form of its dual",
                    check=by_rows,
                    cases=lambda n: (*drawn(st.tuples(certified(), positive))(n), (SINGLE, fmpq(0)), (SINGLE, fmpq(1))),
                    twins=(
                        Twin("(1 + mu)^2 / 8", {"factor": lambda mu: (1 + mu) ** 2 / 8}),
                        Twin("rows twice as long", {"rows": lambda c: c.rows * fmpq(4)}),
                    ),
                    sides={"factor": lambda mu: (1 + mu) ** 2 / 4, "rows": lambda c: c.rows},
                    attained="one feature, all rows, lam the eigenvalue",
                ),
            ),
            hypotheses=("S are training rows",),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Directions:
    """A kernel with known eigenvalues, and r orthonormal directions of the inputs."""

    spectral: Spectral
    directions: fmpq_mat
    epsilon: fmpq

    @property
    def energies(self) -> list[fmpq]:
        """z_j^T K z_j."""
        image = self.directions.transpose() * self.spectral.kernel * self.directions
        return [image[j, j] for j in range(image.nrows())]

    @property
    def trace(self) -> fmpq:
        """Tr K."""
        return sum(self.spectral.eigenvalues, fmpq(0))

    @property
    def rest(self) -> fmpq:
        """What the directions leave of the trace."""
        return self.trace - sum(self.energies, fmpq(0))


@st.composite
def directions(draw: Any) -> Directions:
    """Draw a kernel that is not zero and some of its rotated eigenvectors as directions."""
    case = draw(spectral(1, 4).filter(lambda c: c.sigma[0] > 0))
    turned = case.u if draw(st.booleans()) else case.u * draw(orthogonal(case.n))
    r = draw(st.integers(1, case.n))
    return Directions(case, qq.select(turned, range(case.n), range(r)), fmpq(draw(st.integers(0, 9)), 10))


def completed(case: Directions, *, average: Callable, rounding: Callable) -> Margin:
    """r_eps(K) <= r + ceil((n - r) missing / rest) where the directions hold too little."""
    r, n = len(case.energies), case.spectral.n
    missing = (1 - case.epsilon) * case.trace - sum(case.energies, fmpq(0))
    if missing <= 0:
        return true(True)
    found = r + rounding(average(n, r) * missing / case.rest)
    return true(rank_of(case.spectral.eigenvalues, case.epsilon) <= found, found, n)


FLAT = Directions(
    Spectral(qq.identity(5), tuple(fmpq(x) for x in (2, 1, 1, 1, 1)), qq.identity(5)),
    qq.select(qq.identity(5), range(5), [0]),
    fmpq(1, 4),
)
COMPLETED = Statement(
    label="completed_rank",
    row="9.1, truncation rank where the directions hold too little",
    readings=(
        Reading(
            key="the average of the rest",
            formula=r"r_\varepsilon(K)\leq r+\left\lceil(n-r)"
            r"\frac{(1-\varepsilon)\mathrm{tr}K-\mathrm{tr}Z^TKZ}{\mathrm{tr}K-\mathrm{tr}Z^TKZ}\right\rceil",
            verdict=Verdict.HOLDS,
            proof=PROOFS["completed_rank", "the average of the rest"],
            steps=(
                Step(
                    claim="any more directions hold at least the average",
                    check=completed,
                    cases=lambda n: (*drawn(directions())(n), FLAT),
                    twins=(
                        Twin("rounded down", {"rounding": lambda x: floor(x) if floor(x) != x else floor(x) - 1}),
                        Twin("a fifth fewer of the rest", {"average": lambda n, r: fmpq(n - r, 2)}),
                    ),
                    sides={"average": lambda n, r: fmpq(n - r), "rounding": ceil},
                    attained="a flat rest",
                ),
            ),
        ),
    ),
    table=2,
)


def by_energies(case: Directions, *, following: Callable, floor_of: Callable) -> Margin:
    """(sum_{i>r} lambda_i^2) / |K|_F^2 <= min(1, following rest / squared), squares of both sides."""
    r = len(case.energies)
    values = case.spectral.eigenvalues
    tail = sum((v * v for v in values[r:]), fmpq(0))
    whole = sum((v * v for v in values), fmpq(0))
    return at_most(tail * floor_of(case), whole * following(case) * case.rest)


def least_average(case: Directions) -> fmpq:
    """min_j rest_j / (r + 1 - j), which is at least the next eigenvalue."""
    r = len(case.energies)
    rest = [case.trace - sum(case.energies[:j], fmpq(0)) for j in range(r + 1)]
    return min(rest[j] / (r + 1 - j) for j in range(r + 1))


def spread_floor(case: Directions) -> fmpq:
    """sum_j e_j^2 + rest^2 / (n - r), which is at most |K|_F^2."""
    r, n = len(case.energies), case.spectral.n
    return sum((e * e for e in case.energies), fmpq(0)) + (case.rest**2 / (n - r) if r < n else fmpq(0))


TWO = Directions(
    Spectral(qq.identity(2), (fmpq(2), fmpq(1)), qq.identity(2)), qq.select(qq.identity(2), range(2), [0]), fmpq(0)
)
ENERGIES = Statement(
    label="redundancy_by_energies",
    row="9.1, parameter redundancy from energies and the trace",
    readings=(
        Reading(
            key="the best subspace of r dimensions",
            formula=r"\frac{\sum_{i>r}\lambda_i^2}{\sum_i\lambda_i^2}\leq\frac{\min_j\frac{\rho_j}{r+1-j}\,\rho_r}"
            r"{\sum_je_j^2+\rho_r^2/(n-r)},\quad\rho_j=\mathrm{tr}K-\sum_{i\leq j}e_i",
            verdict=Verdict.HOLDS,
            proof=PROOFS["redundancy_by_energies", "the best subspace of r dimensions"],
            steps=(
                Step(
                    claim="the tail above, the whole below",
                    check=by_energies,
                    cases=lambda n: (*drawn(directions())(n), TWO),
                    twins=(
                        Twin("half the next eigenvalue", {"following": lambda c: least_average(c) / 2}, fixed(TWO)),
                        Twin("half of the whole", {"floor_of": lambda c: spread_floor(c) * 2}, fixed(TWO)),
                    ),
                    sides={"following": least_average, "floor_of": spread_floor},
                    attained="the eigenvectors and a flat rest",
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Estimate:
    """A kernel, a number of sign probes or of dimensions, and one minus the confidence."""

    kernel: fmpq_mat
    count: int
    delta: fmpq


@st.composite
def estimates(draw: Any) -> Estimate:
    """Draw a kernel that is not zero for up to three sign probes."""
    n, count = draw(st.sampled_from([(2, 3), (3, 2), (4, 2), (2, 1)]))
    rows = draw(matrices(n, 2).filter(lambda m: qq.frobenius2(m) > 0))
    return Estimate(qq.kernel_of(rows), count, fmpq(draw(st.sampled_from([1, 2, 5])), 10))


def over_all_signs(case: Estimate, *, kind: str, scale: float) -> Margin:
    """The share of all draws of sign probes whose interval misses the trace is at most delta."""
    n, truth = case.kernel.nrows(), float(qq.trace(case.kernel))
    quadratic = [float(qq.dot(z, case.kernel * z)) for z in (qq.column(s) for s in product([1, -1], repeat=n))]
    draws = [sum(draw) / case.count for draw in product(quadratic, repeat=case.count)]
    missed = 0
    for estimate in draws:
        found = trace_interval(estimate, case.count, float(case.delta), kind)
        missed += not (found.low * scale <= truth * (1 + 1e-12) and truth <= found.high / scale * (1 + 1e-12))
    return at_most(fmpq(missed, len(draws)), case.delta)


def chi_squared(case: tuple[int, int, fmpq], *, confidence: Callable) -> Margin:
    """For m equal eigenvalues T / tr K is chi2_{km} / (k m): both misses together have probability at most delta."""
    count, m, delta = case
    found = trace_interval(1.0, count, float(confidence(delta)), "gaussian")
    with ctx.workprec(200):
        half = arb(count * m) / 2
        above, below = (half / arb(x) for x in (found.low, found.high))
        missed = above.gamma_upper(half, regularized=1) + 1 - below.gamma_upper(half, regularized=1)
        return at_most(missed, arb(delta))


GAUSSIAN = tuple((k, m, fmpq(d, 100)) for k in (1, 5, 40, 400) for m in (1, 3, 20) for d in (1, 5, 20))
INTERVAL = Statement(
    label="trace_interval",
    row="9.1, an interval for the trace from one estimate",
    readings=(
        Reading(
            key="three kinds of estimate",
            formula=r"\Pr\left(\frac{T}{1+a}\leq\mathrm{tr}K\leq\frac{T}{1-b}\right)\geq1-\delta",
            verdict=Verdict.HOLDS,
            proof=PROOFS["trace_interval", "three kinds of estimate"],
            steps=(
                Step(
                    claim="Gaussian estimates of equal eigenvalues, by their exact law",
                    check=chi_squared,
                    cases=fixed(*GAUSSIAN),
                    twins=(
                        Twin("thirty times the share", {"confidence": lambda d: min(30 * d, fmpq(99, 100))}),
                        Twin("all but certain to miss", {"confidence": lambda d: fmpq(999, 1000)}),
                    ),
                    sides={"confidence": lambda d: d},
                ),
                Step(
                    claim="sign probes, over all their draws",
                    check=over_all_signs,
                    cases=drawn(estimates(), 0.5),
                    twins=(
                        Twin("ends twice as near", {"scale": 4.0}),
                        Twin("ends ten times as near", {"scale": 10.0}),
                    ),
                    sides={"kind": "signs", "scale": 1.0},
                ),
                Step(
                    claim="by the variance alone, over all draws of sign probes",
                    check=over_all_signs,
                    cases=drawn(estimates(), 0.5),
                    twins=(
                        Twin("ends four times as near", {"scale": 4.0}),
                        Twin("ends ten times as near", {"scale": 10.0}),
                    ),
                    sides={"kind": "moments", "scale": 1.0},
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (BY_ROWS, COMPLETED, ENERGIES, INTERVAL)
