"""Appendix B.2: the error of a projected kernel predictor, split in both orders; printed and corrected bounds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

import dntk_ref.projection_error as reference
from proofs_checks import rational as qq
from proofs_checks.instances import Spectral, drawn, fixed, generators, matrices, positive, spectral
from proofs_checks.margin import Margin, all_of, at_most, at_most_root, equal, sampled
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict, agreement

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Projected:
    """Features with rational spectrum, the Gram matrix G = M M^T of a map (P, P), a test feature, targets and the ridge."""

    spectral: Spectral
    gram: fmpq_mat
    test: fmpq_mat
    targets: fmpq_mat
    lam: fmpq

    @cached_property
    def phi(self) -> fmpq_mat:
        """Features."""
        return self.spectral.features

    @cached_property
    def kernel(self) -> fmpq_mat:
        """K."""
        return qq.kernel_of(self.phi)

    @cached_property
    def projected(self) -> fmpq_mat:
        """The projected kernel."""
        return self.phi * self.gram * self.phi.transpose()

    @cached_property
    def row(self) -> fmpq_mat:
        """k_*."""
        return self.phi * self.test

    @cached_property
    def projected_row(self) -> fmpq_mat:
        """The projected k_*."""
        return self.phi * (self.gram * self.test)

    @cached_property
    def alpha(self) -> fmpq_mat:
        """(K + lambda)^{-1} y."""
        return qq.ridge_solve(self.kernel, self.targets, self.lam)

    @cached_property
    def projected_alpha(self) -> fmpq_mat:
        """The projected coefficients."""
        return qq.ridge_solve(self.projected, self.targets, self.lam)

    @property
    def gap(self) -> fmpq:
        """f_hat - f_tilde."""
        return qq.dot(self.row, self.alpha) - qq.dot(self.projected_row, self.projected_alpha)

    @property
    def low(self) -> fmpq:
        """The smallest eigenvalue of K."""
        return self.spectral.eigenvalues[-1]


@st.composite
def projections(draw: Any, low: int = 1, high: int = 3) -> Projected:
    """Draw a projected problem; the map may be of lower rank than the features."""
    case = draw(spectral(low, high))
    k = draw(st.integers(1, case.p))
    return Projected(
        case,
        qq.kernel_of(draw(matrices(case.p, k))),
        draw(matrices(case.p, 1)),
        draw(matrices(case.n, 1)),
        draw(positive),
    )


def splits(case: Projected, *, first: Callable, second: Callable) -> Margin:
    """f_hat - f_tilde = <k_* - k~_*, first> + <second, alpha - alpha~>."""
    change = qq.dot(case.row - case.projected_row, first(case))
    return equal(case.gap, change + qq.dot(second(case), case.alpha - case.projected_alpha))


def first_part(case: Projected, *, coefficients: Callable, low: Callable) -> Margin:
    """|(k_* - k~_*)^T coefficients| <= |k_* - k~_*| |y| / (lambda + low), squared."""
    change = case.row - case.projected_row
    left = qq.dot(change, coefficients(case))
    return at_most_root(abs(left), qq.norm2(change) * qq.norm2(case.targets) / (case.lam + low(case)) ** 2)


AXES = qq.identity(2)
PLAIN = Spectral(AXES, (fmpq(1), fmpq(1)), AXES)
CEX_25 = Projected(PLAIN, qq.diagonal([2, 0]), qq.column([0, 1]), qq.column([0, 1]), fmpq(1, 10))
CASES = drawn(projections())
WORST = fixed(CEX_25, replace(CEX_25, gram=qq.diagonal([2, 3])))
KEPT = replace(CEX_25, gram=qq.diagonal([2, 1]))


def split_25(case: Projected, *, coefficients: Callable) -> Margin:
    """CEX-25 in unsquared form: all norms are rational there."""
    change = case.row - case.projected_row
    left = abs(qq.dot(change, coefficients(case)))
    return at_most(left, 1 / (case.lam + case.low))


@dataclass(frozen=True)
class Mapped:
    """A projected problem together with the map whose Gram matrix it holds."""

    problem: Projected
    map: fmpq_mat


@st.composite
def mapped(draw: Any) -> Mapped:
    """Draw a problem and its map."""
    case = draw(projections())
    m = draw(matrices(case.spectral.p, draw(st.integers(1, 2))))
    return Mapped(replace(case, gram=qq.kernel_of(m)), m)


def problem(case: Mapped) -> Any:
    """The problem as dntk_ref takes it."""
    p = case.problem
    return reference.projected_problem(
        qq.floats(p.phi), qq.floats(p.test)[:, 0], qq.floats(case.map), qq.floats(p.targets)[:, 0], float(p.lam)
    )


def reference_terms(case: Mapped) -> list[float]:
    """dntk_ref's difference, both terms of both orders, and the two bounds of (I) and (I') as printed."""
    p = problem(case)
    sides = (
        reference.prediction_difference,
        reference.term_i,
        reference.term_ii,
        reference.term_i_prime,
        reference.term_ii_prime,
        reference.term_i_bound,
        reference.term_i_prime_bound_printed,
    )
    return [side(p) for side in sides]


def exact_terms(case: Mapped) -> fmpq_mat:
    """The same seven numbers; the norms by ball arithmetic, rounded once."""
    p = case.problem
    change, fall = p.row - p.projected_row, p.alpha - p.projected_alpha
    bound = arb(qq.norm2(change) * qq.norm2(p.targets)).sqrt() / arb(p.lam + p.low)
    rounded = qq.q(float(bound.mid()))
    return qq.mat(
        [
            [
                p.gap,
                qq.dot(change, p.alpha),
                qq.dot(p.projected_row, fall),
                qq.dot(change, p.projected_alpha),
                qq.dot(p.row, fall),
                rounded,
                rounded,
            ]
        ]
    )


def magnified(case: Mapped) -> float:
    """The largest term, |phi| |y| |Phi| (1 + |G|) / lambda, times the condition numbers of both systems."""
    p = case.problem
    g, phi = 1 + float(qq.frobenius2(p.gram)), 1 + float(qq.frobenius2(p.phi))
    size = (1 + float(qq.norm2(p.test))) * (1 + float(qq.norm2(p.targets))) * phi * g
    return size * (1 + phi * g / float(p.lam)) * (1 + 1 / float(p.lam))


MAPPED = drawn(mapped().filter(lambda c: magnified(c) < 1e8))
B_2_I = Statement(
    label="b_2_i",
    row="B.2 (I)",
    readings=(
        Reading(
            key="order (I)",
            formula=r"|(k_*-\tilde k_*)^T(K+\lambda)^{-1}y|\leq\frac{\|k_*-\tilde k_*\|\|y\|}{\lambda+\lambda_{min}(K)}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["b_2_i", "order (I)"],
            steps=(
                Step(
                    claim="the split with this order is exact",
                    check=splits,
                    cases=CASES,
                    twins=(
                        Twin(
                            "projected row in both terms",
                            {"first": lambda c: c.projected_alpha, "second": lambda c: c.projected_row},
                        ),
                        Twin("full row in both terms", {"second": lambda c: c.row}),
                    ),
                    sides={"first": lambda c: c.alpha, "second": lambda c: c.projected_row},
                    attained="always an equality",
                ),
                agreement(
                    "dntk_ref's terms of both orders, and the bounds of (I) and (I')",
                    MAPPED,
                    reference_terms,
                    exact_terms,
                    magnified,
                ),
                Step(
                    claim="the bound, squared",
                    check=first_part,
                    cases=lambda n: (*CASES(n), *WORST(n)),
                    twins=(
                        Twin("smallest eigenvalue doubled", {"low": lambda c: 2 * c.low}, WORST),
                        Twin("projected coefficients", {"coefficients": lambda c: c.projected_alpha}, WORST),
                    ),
                    sides={"coefficients": lambda c: c.alpha, "low": lambda c: c.low},
                    attained="targets and row change along the last eigenvector",
                ),
            ),
        ),
        Reading(
            key="order (I')",
            formula=r"|(k_*-\tilde k_*)^T(\tilde K+\lambda)^{-1}y|"
            r"\leq\frac{\|k_*-\tilde k_*\|\|y\|}{\lambda+\lambda_{min}(K)}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="with the smallest eigenvalue replaced by 0",
                    check=first_part,
                    cases=lambda n: (*CASES(n), *WORST(n)),
                    twins=(
                        Twin("smallest eigenvalue of K", {"low": lambda c: c.low}, WORST),
                        Twin("half the ridge more", {"low": lambda c: c.lam / 2}, WORST),
                    ),
                    sides={"coefficients": lambda c: c.projected_alpha, "low": lambda c: fmpq(0)},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-25",
                    check=split_25,
                    case=CEX_25,
                    controls=(
                        Twin("order (I)", {"coefficients": lambda c: c.alpha}),
                        Twin("a projection that keeps e_2", cases=fixed(KEPT)),
                    ),
                    printed={"coefficients": lambda c: c.projected_alpha},
                    left=10,
                    right="10/11",
                ),
                Refutation(
                    name="CEX-25 (search)",
                    check=first_part,
                    case=CEX_25,
                    controls=(
                        Twin("order (I)", {"coefficients": lambda c: c.alpha}),
                        Twin("lambda alone", {"low": lambda c: fmpq(0)}),
                    ),
                    printed={"coefficients": lambda c: c.projected_alpha, "low": lambda c: c.low},
                    search=projections(),
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Diagonal:
    """Two diagonal kernels (so that spectral norms are rational) and the ridge."""

    kernel: tuple[fmpq, ...]
    projected: tuple[fmpq, ...]
    lam: fmpq


@st.composite
def diagonal_pairs(draw: Any) -> Diagonal:
    """Draw two non-negative diagonals of the same length."""
    n = draw(st.integers(1, 3))
    entries = st.lists(st.builds(fmpq, st.integers(0, 6), st.sampled_from([1, 2])), min_size=n, max_size=n).map(tuple)
    return Diagonal(draw(entries), draw(entries), draw(positive))


def resolvent(case: Diagonal, *, denominator: Callable) -> Margin:
    """|(K + l)^{-1} - (K~ + l)^{-1}| <= |K - K~| / denominator, spectral norms."""
    pairs = list(zip(case.kernel, case.projected, strict=True))
    left = max(abs(1 / (a + case.lam) - 1 / (b + case.lam)) for a, b in pairs)
    return at_most(left, max(abs(a - b) for a, b in pairs) / denominator(case))


def square_printed(case: Diagonal) -> fmpq:
    """(lambda + lambda_min(K))^2."""
    return (case.lam + min(case.kernel)) ** 2


def both_lows(case: Diagonal) -> fmpq:
    """(lambda + lambda_min(K)) (lambda + lambda_min(K~))."""
    return (case.lam + min(case.kernel)) * (case.lam + min(case.projected))


@dataclass(frozen=True)
class Bounded:
    """A projected problem whose two kernels are diagonal and whose vectors have rational norms (squares given)."""

    problem: Projected

    @property
    def entries(self) -> tuple[list[fmpq], list[fmpq]]:
        """The diagonals of K and of the projected kernel."""
        n = self.problem.kernel.nrows()
        return [self.problem.kernel[i, i] for i in range(n)], [self.problem.projected[i, i] for i in range(n)]


def combined(case: Bounded, *, front: str, denominator: str) -> Margin:
    """|f_hat - f_tilde| <= |k - k~| |y| / (l + low) + |front| |K - K~| |y| / denominator.

    Every case has at most one non-zero entry in each vector, so that norms are sums of absolute values.
    """
    p, (k, t) = case.problem, case.entries
    size = {"full": p.row, "projected": p.projected_row}[front]
    norm = {
        name: sum(map(abs, v.entries()), fmpq(0))
        for name, v in (("change", p.row - p.projected_row), ("front", size), ("y", p.targets))
    }
    first = p.lam + min(k)
    second = {"square": first**2, "product": first * (p.lam + min(t)), "ridge": p.lam * first}[denominator]
    spectral_norm = max(abs(a - b) for a, b in zip(k, t, strict=True))
    return at_most(abs(p.gap), norm["change"] * norm["y"] / first + norm["front"] * spectral_norm * norm["y"] / second)


@st.composite
def single_points(draw: Any) -> Bounded:
    """Draw one training row e_1 and a test feature in the plane: every quantity is a rational number."""
    gram = qq.kernel_of(draw(matrices(2, draw(st.integers(1, 2)))))
    case = Spectral(qq.identity(1), (fmpq(draw(st.integers(1, 3))),), AXES)
    return Bounded(Projected(case, gram, draw(matrices(2, 1)), draw(matrices(1, 1)), draw(positive)))


SMALL, LARGE = fmpq(20, 101), fmpq(99, 101)
MAP_27 = qq.mat([[1, 0], [0, SMALL], [0, LARGE]])
PROBLEM_27 = Projected(
    Spectral(AXES, (fmpq(1), fmpq(1)), qq.identity(3)),
    qq.kernel_of(MAP_27) * fmpq(3, 2),
    qq.column([0, 0, 1]),
    qq.column([0, 1]),
    fmpq(1, 100),
)
CEX_24 = Diagonal((fmpq(1), fmpq(1)), (fmpq(2), fmpq(0)), fmpq(1))
CEX_27 = Bounded(PROBLEM_27)


def combined_27(case: Bounded, *, front: str, denominator: str) -> Margin:
    """CEX-27's map is scaled orthonormal; then the combined bound."""
    return all_of(equal(MAP_27.transpose() * MAP_27, AXES), combined(case, front=front, denominator=denominator))


def alpha_form(case: Projected, *, factor: fmpq) -> Margin:
    """|f_hat - f_tilde| - |(k - k~)^T alpha| <= factor |phi~| / sqrt(lambda) |(K - K~) alpha|, squared."""
    first = abs(qq.dot(case.row - case.projected_row, case.alpha))
    norms = qq.dot(case.test, case.gram * case.test) * qq.norm2((case.kernel - case.projected) * case.alpha)
    return at_most_root(abs(case.gap) - first, factor**2 * norms / case.lam)


# One row e_1 and a map onto the line m = (1/10, 1): K~ = lambda = 1/100, where sigma / (sigma^2 + lambda) peaks, and
# k~_* = k_*.
LINE = qq.column(["1/10", 1])
PEAK = Projected(
    Spectral(qq.identity(1), (fmpq(1),), AXES),
    LINE * LINE.transpose(),
    qq.column([1, "99/10"]),
    qq.mat([[1]]),
    fmpq(1, 100),
)


def lengths(case: Projected, *, factor: fmpq) -> Margin:
    """|k_*|^2 <= lambda_1 K(x_*, x_*)."""
    return at_most(qq.norm2(case.row), factor * case.spectral.eigenvalues[0] * qq.norm2(case.test))


def float_product_bound(rng: np.random.Generator, *, with_low: bool) -> Margin:
    """The corrected bound with both smallest eigenvalues on a Gaussian instance, float64."""
    phi, test, y = rng.standard_normal((6, 12)), rng.standard_normal(12), rng.standard_normal(6)
    kind = rng.integers(3)
    k, lam = (4, 8, 40)[kind], (1e-3, 1e-1, 10.0)[rng.integers(3)]
    m = rng.standard_normal((12, k)) / np.sqrt(k)
    kernel, projected = phi @ phi.T, phi @ m @ m.T @ phi.T
    row, row_p = phi @ test, phi @ m @ m.T @ test
    gap = abs(
        row @ np.linalg.solve(kernel + lam * np.eye(6), y) - row_p @ np.linalg.solve(projected + lam * np.eye(6), y)
    )
    low, low_p = np.linalg.eigvalsh(kernel)[0], max(np.linalg.eigvalsh(projected)[0], 0.0)
    first = np.linalg.norm(row - row_p) * np.linalg.norm(y) / (lam + low)
    second = (
        np.linalg.norm(row_p)
        * np.linalg.norm(kernel - projected, 2)
        * np.linalg.norm(y)
        / ((lam + low) * (lam + (low_p if with_low else low)))
    )
    return at_most(gap, (first + second) * (1.0 if with_low else 1e-3), scale=(first + second) * (1 + 1e3 / lam))


B_2_II = Statement(
    label="b_2_ii",
    row="B.2 (II), combined",
    readings=(
        Reading(
            key="resolvent",
            formula=r"\|(K+\lambda)^{-1}-(\tilde K+\lambda)^{-1}\|\leq\frac{\|K-\tilde K\|}{(\lambda+\lambda_{min}(K))^2}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="with both smallest eigenvalues",
                    check=resolvent,
                    cases=lambda n: (*drawn(diagonal_pairs())(n), CEX_24),
                    twins=(
                        Twin("as printed", {"denominator": square_printed}),
                        Twin("denominator doubled", {"denominator": lambda c: 2 * both_lows(c)}),
                    ),
                    sides={"denominator": both_lows},
                    attained="both extremes in the same place",
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-24",
                    check=resolvent,
                    case=CEX_24,
                    controls=(
                        Twin("both smallest eigenvalues", {"denominator": both_lows}),
                        Twin("smallest eigenvalue kept", cases=fixed(replace(CEX_24, projected=(fmpq(2), fmpq(1))))),
                    ),
                    printed={"denominator": square_printed},
                    left="1/2",
                    right="1/4",
                    search=diagonal_pairs(),
                ),
            ),
        ),
        Reading(
            key="combined",
            formula=r"|\hat f-\tilde f|\leq\frac{\|k_*-\tilde k_*\|\|y\|}{\lambda+\lambda_{min}(K)}"
            r"+\frac{\|k_*\|\|K-\tilde K\|\|y\|}{(\lambda+\lambda_{min}(K))^2}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="|k_*| <= sqrt(lambda_1 K(x_*, x_*)) holds",
                    check=lengths,
                    cases=CASES,
                    twins=(
                        Twin("half of it", {"factor": fmpq(1, 4)}),
                        Twin("smaller by a tenth", {"factor": fmpq(9, 10)}),
                    ),
                    sides={"factor": fmpq(1)},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-27",
                    check=combined_27,
                    case=CEX_27,
                    controls=(
                        Twin("corrected", {"front": "projected", "denominator": "product"}),
                        Twin("no projection", cases=fixed(Bounded(replace(PROBLEM_27, gram=qq.identity(3))))),
                    ),
                    printed={"front": "full", "denominator": "square"},
                    left="4.23",
                    right="0.29",
                ),
                Refutation(
                    name="CEX-27 (projected row)",
                    check=combined_27,
                    case=CEX_27,
                    controls=(
                        Twin("corrected", {"denominator": "product"}),
                        Twin("ridge alone", {"denominator": "ridge"}),
                    ),
                    printed={"front": "projected", "denominator": "square"},
                    left="4.23",
                    right="0.56",
                ),
                Refutation(
                    name="CEX-27 (search)",
                    check=combined,
                    case=CEX_27,
                    controls=(
                        Twin("corrected", {"front": "projected", "denominator": "product"}),
                        Twin("ridge alone, projected row", {"front": "projected", "denominator": "ridge"}),
                    ),
                    printed={"front": "full", "denominator": "square"},
                    search=single_points(),
                ),
            ),
        ),
    ),
)
CORRECTED = Statement(
    label="b_2_corrected",
    row="Corrected B.2 bounds",
    readings=(
        Reading(
            key="both smallest eigenvalues",
            formula=r"|\hat f-\tilde f|\leq\frac{\|k_*-\tilde k_*\|\|y\|}{\lambda+\lambda_{min}(K)}"
            r"+\frac{\|\tilde k_*\|\|K-\tilde K\|_2\|y\|}{(\lambda+\lambda_{min}(K))(\lambda+\lambda_{min}(\tilde K))}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["b_2_corrected", "both smallest eigenvalues"],
            steps=(
                Step(
                    claim="one training row, and CEX-27",
                    check=combined,
                    cases=lambda n: (*drawn(single_points())(n), CEX_27),
                    twins=(
                        Twin("as printed", {"front": "full", "denominator": "square"}),
                        Twin("projected row, printed denominator", {"denominator": "square"}),
                    ),
                    sides={"front": "projected", "denominator": "product"},
                    attained="CEX-27",
                ),
                Step(
                    claim="Gaussian instances, float64",
                    check=float_product_bound,
                    cases=drawn(generators),
                    twins=(
                        Twin("a thousandth, with the printed denominator", {"with_low": False}),
                        Twin(
                            "the same on other seeds",
                            {"with_low": False},
                            fixed(*map(np.random.default_rng, range(40))),
                        ),
                    ),
                    sides={"with_low": True},
                ),
            ),
        ),
        Reading(
            key="coefficient form",
            formula=r"|\hat f-\tilde f|\leq|(k_*-\tilde k_*)^T\alpha|"
            r"+\frac{\|\tilde\phi_*\|}{2\sqrt{\lambda}}\|(K-\tilde K)\alpha\|",
            verdict=Verdict.HOLDS,
            proof=PROOFS["b_2_corrected", "coefficient form"],
            steps=(
                Step(
                    claim="for every map, squared",
                    check=alpha_form,
                    cases=lambda n: (*CASES(n), PEAK),
                    twins=(
                        Twin("factor 1/2 dropped to 1/4", {"factor": fmpq(1, 4)}, fixed(PEAK)),
                        Twin("second term dropped", {"factor": fmpq(0)}),
                    ),
                    sides={"factor": fmpq(1, 2)},
                    attained="a projection onto one line with K~ = lambda and the test row kept",
                ),
            ),
        ),
    ),
    table=2,
)


def kernel_spread(case: tuple[int, int, int, int], *, numerator: Callable) -> Margin:
    """E |K~ - K|_F^2 of a Gaussian map against numerator(K) / k, by Monte Carlo."""
    n, p, k, seed = case
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((n, p)) * 0.7 ** np.arange(p)
    kernel = phi @ phi.T
    values = []
    for _ in range(3000):
        rows = phi @ (rng.standard_normal((p, k)) / np.sqrt(k))
        values.append(np.sum((rows @ rows.T - kernel) ** 2))
    return sampled(np.array(values), numerator(kernel) / k)


def energies(kernel: np.ndarray) -> float:
    """(tr K)^2 + |K|_F^2 = (1 + rho) |K|_F^2."""
    return float(np.trace(kernel) ** 2 + np.sum(kernel**2))


REM_B_5 = Statement(
    label="rem_b_5",
    row="Rem B.5",
    readings=(
        Reading(
            key="as stated",
            formula=r"\mathrm{JL\ error\ depends\ on\ }r_\epsilon\mathrm{\ rather\ than\ }n",
            verdict=Verdict.HEURISTIC,
            steps=(
                Step(
                    claim="provable: E|K~ - K|_F^2 = (1 + rho) |K|_F^2 / k with the participation ratio rho (Gaussian)",
                    check=kernel_spread,
                    cases=fixed((6, 10, 5, 1), (8, 4, 3, 2)),
                    twins=(
                        Twin("rho left out", {"numerator": lambda k: float(np.sum(k**2))}),
                        Twin("n in place of rho", {"numerator": lambda k: (1 + len(k)) * float(np.sum(k**2))}),
                    ),
                    sides={"numerator": energies},
                ),
            ),
            nature=Nature.HEURISTIC,
            note="true with an intrinsic dimension (participation ratio) in place of the truncation rank",
        ),
    ),
)

STATEMENTS = (B_2_I, B_2_II, REM_B_5, CORRECTED)
