"""Section 3.3, third part: which subspace is best (Cor 3.5, Prop 3.6), its misalignment and the link from tasks to data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.subspace import angle_bound, energy_gap_of
from proofs_checks import rational as qq
from proofs_checks.instances import Population, Spectral, drawn, fixed, projectors, spectral
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, meet

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Law:
    """Task gradients (the rows of a spectral matrix, equally likely), a rank, and another projector of that rank."""

    spectral: Spectral
    rank: int
    rival: fmpq_mat
    shift: fmpq_mat | None = None

    @property
    def gradients(self) -> fmpq_mat:
        """The gradients as rows."""
        return self.spectral.features

    @property
    def moments(self) -> list[fmpq]:
        """Eigenvalues of E g g^T in descending order, with zeros up to the number of parameters."""
        found = [value * value / self.spectral.n for value in self.spectral.sigma]
        return found + [fmpq(0)] * (self.spectral.p - len(found))


@st.composite
def laws(draw: Any) -> Law:
    """Draw gradients, a rank of at most P, and a rival projector of that rank."""
    case = draw(spectral())
    rank = draw(st.integers(1, case.p))
    return Law(case, rank, draw(projectors(case.p, rank)))


def residual(case: Law, projector: fmpq_mat) -> fmpq:
    """E |(I - Pi) g|^2, gradient by gradient."""
    rest = case.gradients - case.gradients * projector
    return qq.frobenius2(rest) / case.spectral.n


def best_space(case: Law, *, tail: Callable, candidate: Callable) -> Margin:
    """The candidate leaves the tail, and no rival of the same rank leaves less."""
    return all_of(equal(residual(case, candidate(case)), tail(case)), at_most(tail(case), residual(case, case.rival)))


def tail(case: Law) -> fmpq:
    """The sum of the eigenvalues after the first r."""
    return sum(case.moments[case.rank :], fmpq(0))


def threshold(case: Law, *, share: Callable) -> Margin:
    """R1: what the top space leaves is at most epsilon E|g|^2, epsilon the share of the tail."""
    total = sum(case.moments, fmpq(0))
    return at_most(residual(case, case.spectral.top_right(case.rank)), share(case) * total)


def tail_share(case: Law) -> fmpq:
    """The share of the second moment after the first r eigenvalues."""
    total = sum(case.moments, fmpq(0))
    return tail(case) / total if total else fmpq(0)


def covariance_space(case: tuple[Population, fmpq_mat, fmpq_mat], *, chosen: int) -> Margin:
    """CEX-7: the residual of the line chosen (0: second moment, 1: centred covariance) against the smaller of the two."""
    law, *lines = case
    left = [
        law.mean([qq.norm2(qq.column(g) - qq.projector(line) * qq.column(g)) for g in law.features.tolist()])
        for line in lines
    ]
    return at_most(left[chosen], min(left))


LAWS = drawn(laws())
CEX_7 = (Population(qq.mat([[10, 1], [10, -1]]), qq.zeros(2, 1), (fmpq(1, 2),) * 2), qq.mat([[1, 0]]), qq.mat([[0, 1]]))
CENTRED = (Population(qq.mat([[0, 1], [0, -1]]), qq.zeros(2, 1), (fmpq(1, 2),) * 2), qq.mat([[0, 1]]), qq.mat([[0, 1]]))
COR_3_5 = Statement(
    label="cor_3_5",
    row="Cor 3.5",
    readings=(
        Reading(
            key="second moment",
            formula=r"\min_{\dim V=r}E\|(I-\Pi_V)g_t\|^2=\sum_{i>r}\mu_i,\quad \Sigma_g=E[g_tg_t^T]",
            verdict=Verdict.ADDED,
            proof=PROOFS["cor_3_5", "second moment"],
            steps=(
                Step(
                    claim="the top eigenspace leaves the tail, no rival of the same rank leaves less (R2)",
                    check=best_space,
                    cases=LAWS,
                    twins=(
                        Twin(
                            "one eigenvalue too many in the tail",
                            {"tail": lambda c: sum(c.moments[c.rank - 1 :], fmpq(0))},
                        ),
                        Twin("the rival as candidate", {"candidate": lambda c: c.rival}),
                    ),
                    sides={"tail": tail, "candidate": lambda c: c.spectral.top_right(c.rank)},
                    attained="the eigenspace itself",
                ),
                Step(
                    claim="R1: at most epsilon of the second moment is left",
                    check=threshold,
                    cases=LAWS,
                    twins=(
                        Twin("epsilon squared", {"share": lambda c: tail_share(c) ** 2}),
                        Twin("epsilon halved", {"share": lambda c: tail_share(c) / 2}),
                    ),
                    sides={"share": tail_share},
                    attained="always an equality at this epsilon",
                ),
            ),
            added=("uncentred second moment, finite", "unique only if the r-th and (r+1)-st eigenvalue differ"),
        ),
        Reading(
            key="covariance",
            formula=r"\Sigma_g=\mathrm{Cov}(g_t)",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-7",
                    check=covariance_space,
                    case=CEX_7,
                    controls=(
                        Twin("line of the second moment", {"chosen": 0}),
                        Twin("mean zero", cases=fixed(CENTRED)),
                    ),
                    printed={"chosen": 1},
                    left=100,
                    right=1,
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Link:
    """Stacked gradients (n C, P) with rational spectrum and the scale of isotropic sensitivities."""

    spectral: Spectral
    variance: fmpq


def link(case: Link, *, moment: Callable) -> Margin:
    """Sigma_g = J^T E[ss^T] J / n^2 has the right singular vectors of J, with eigenvalues s^2 sigma_i^2 / n^2."""
    n, sensitivity = case.spectral.n, moment(case)
    left = case.spectral.features.transpose() * sensitivity * case.spectral.features * fmpq(1, n * n)
    values = [case.variance * s * s / (n * n) for s in case.spectral.sigma]
    values += [fmpq(0)] * (case.spectral.p - len(values))
    return equal(left, case.spectral.v * qq.diagonal(values) * case.spectral.v.transpose())


def centred_moment(case: Link) -> fmpq_mat:
    """What cross-entropy gives at best: sensitivities orthogonal to the vector of ones."""
    n = case.spectral.n
    return (qq.identity(n) - qq.ones(n, n) * fmpq(1, n)) * case.variance


TASK_LINK = Statement(
    label="task_link",
    row="Missing link (after Cor 3.5)",
    readings=(
        Reading(
            key="isotropic sensitivities",
            formula=r"\Sigma_g=\frac{1}{n^2}J_X^TE[\varsigma\varsigma^T]J_X,\quad E[\varsigma\varsigma^T]=\sigma^2I",
            verdict=Verdict.HOLDS,
            proof=PROOFS["task_link", "isotropic sensitivities"],
            steps=(
                Step(
                    claim="its eigenvectors are the right singular vectors of J",
                    check=link,
                    cases=drawn(st.builds(Link, spectral(2), st.integers(1, 5).map(fmpq))),
                    twins=(
                        Twin("centred sensitivities, as cross-entropy gives", {"moment": centred_moment}),
                        Twin(
                            "unequal variances",
                            {"moment": lambda c: qq.diagonal(range(1, c.spectral.n + 1)) * c.variance},
                        ),
                    ),
                    sides={"moment": lambda c: qq.identity(c.spectral.n) * c.variance},
                    attained="always an equality",
                ),
            ),
            hypotheses=("isotropic sensitivities: squared loss; never cross-entropy",),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Gap:
    """Features with a rational spectral decomposition, a projector, and the rank r of the comparison."""

    spectral: Spectral
    projector: fmpq_mat
    r: int

    @property
    def energies(self) -> list[fmpq]:
        """Squared singular values, with zeros up to min(n, P)."""
        return [value * value for value in self.spectral.sigma]

    @property
    def residual(self) -> fmpq:
        """|Phi - Phi Pi|_F^2."""
        return qq.frobenius2(self.spectral.features - self.spectral.features * self.projector)

    @property
    def misalignment(self) -> fmpq:
        """|Phi Pi_r|_F^2 - |Phi Pi|_F^2."""
        phi = self.spectral.features
        return qq.frobenius2(phi * self.spectral.top_right(self.r)) - qq.frobenius2(phi * self.projector)

    @property
    def angles(self) -> fmpq:
        """|sin Theta|_F^2 between the projector's range and the top r right singular vectors."""
        return self.r - qq.trace(self.projector * self.spectral.top_right(self.r))


@st.composite
def gaps(draw: Any, relation: str = "any") -> Gap:
    """Draw a Gap with rank Pi equal to r, at most r, or any."""
    case = draw(spectral())
    rank = draw(st.integers(0, case.p))
    low, high = {"equal": (rank, rank), "at most": (rank, case.p), "any": (0, case.p)}[relation]
    return Gap(case, draw(projectors(case.p, rank)), draw(st.integers(low, high)))


def split(case: Gap, *, tail_from: int = 0, sign: int = 1) -> Margin:
    """(11): residual = tail + misalignment, for every projector and every r."""
    tail_sum = sum(case.energies[max(case.r - tail_from, 0) :], fmpq(0))
    return equal(case.residual, tail_sum + sign * case.misalignment)


def rank_at_most_r(case: Gap) -> bool:
    """The projector's rank is at most r."""
    return case.projector.rank() <= case.r


def misaligned(case: Gap, *, floor: Callable, hypotheses: tuple = (rank_at_most_r,)) -> Margin:
    """The misalignment is at least the floor."""
    meet(case, hypotheses)
    return at_most(floor(case), case.misalignment)


def between(case: Gap) -> fmpq:
    """What cannot vanish: the energies from rank Pi to r (all of them lost directions)."""
    return sum(case.energies[case.projector.rank() : case.r], fmpq(0))


def surplus(case: Gap) -> fmpq:
    """Minus the energies from r to rank Pi, the most a projector of higher rank can win."""
    return -sum(case.energies[case.r : case.projector.rank()], fmpq(0))


CEX_6 = Gap(Spectral(qq.identity(2), (fmpq(1), fmpq(1)), qq.identity(2)), qq.identity(2), 1)
GAPS, LOW = drawn(gaps()), drawn(gaps("at most"))
ALIGNED = fixed(Gap(Spectral(qq.identity(2), (fmpq(2), fmpq(1)), qq.identity(2)), qq.diagonal([1, 0]), 1))


def floats_gap(case: Gap) -> Any:
    """dntk_ref's tail and misalignment."""
    found = energy_gap_of(qq.floats(case.spectral.features), qq.floats(case.projector), case.r)
    return [found.residual, found.tail, found.misalignment]


def exact_gap(case: Gap) -> fmpq_mat:
    """The same three numbers, exactly."""
    return qq.mat([[case.residual, sum(case.energies[case.r :], fmpq(0)), case.misalignment]])


PROP_3_6 = Statement(
    label="prop_3_6",
    row="Prop 3.6 (11)",
    readings=(
        Reading(
            key="identity",
            formula=r"\|\Phi-\Phi\Pi\|_F^2=\sum_{i>r}\sigma_i^2+(\|\Phi\Pi_r\|_F^2-\|\Phi\Pi\|_F^2)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["prop_3_6", "identity"],
            steps=(
                Step(
                    claim="for every projector, of any rank",
                    check=split,
                    cases=GAPS,
                    twins=(
                        Twin("tail from r instead of r + 1", {"tail_from": 1}),
                        Twin("sign of the misalignment", {"sign": -1}),
                    ),
                    attained="always an equality",
                ),
                Step(
                    claim="dntk_ref's residual, tail and misalignment",
                    check=by_reference,
                    cases=GAPS,
                    twins=(
                        Twin(
                            "tail and misalignment exchanged",
                            {"exact": lambda c: exact_gap(c) * qq.mat([[1, 0, 0], [0, 0, 1], [0, 1, 0]])},
                        ),
                        Twin("sign of the misalignment", {"exact": lambda c: exact_gap(c) * qq.diagonal([1, 1, -1])}),
                    ),
                    sides={
                        "reference": floats_gap,
                        "exact": exact_gap,
                        "scale": lambda c: float(sum(c.energies, fmpq(0))),
                    },
                ),
            ),
        ),
        Reading(
            key="sign",
            formula=r"\|\Phi\Pi_r\|_F^2-\|\Phi\Pi\|_F^2\geq 0",
            verdict=Verdict.ADDED,
            proof=PROOFS["prop_3_6", "sign"],
            steps=(
                Step(
                    claim="rank Pi at most r: at least the energies from rank Pi to r",
                    check=misaligned,
                    cases=LOW,
                    twins=(
                        Twin(
                            "one energy more",
                            {"floor": lambda c: between(c) + (c.energies[0] if c.energies else 0) / 100},
                            ALIGNED,
                        ),
                        Twin("rank Pi above r", {"hypotheses": (), "floor": lambda c: fmpq(0)}, fixed(CEX_6)),
                    ),
                    sides={"floor": between},
                    attained="Pi the top right singular space",
                ),
                Step(
                    claim="any rank: at least minus the energies from r to rank Pi",
                    check=misaligned,
                    cases=GAPS,
                    twins=(
                        Twin("floor halved", {"floor": lambda c: surplus(c) / 2}, fixed(CEX_6)),
                        Twin("floor zero", {"floor": lambda c: fmpq(0)}),
                    ),
                    sides={"floor": surplus, "hypotheses": ()},
                    attained="CEX-6",
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-6",
                    check=misaligned,
                    case=CEX_6,
                    controls=(
                        Twin("r equal to the rank of Pi", cases=fixed(Gap(CEX_6.spectral, CEX_6.projector, 2))),
                        Twin("the surplus floor", {"floor": surplus}),
                    ),
                    printed={"floor": lambda c: fmpq(0), "hypotheses": ()},
                    left=0,
                    right=-1,
                    search=gaps(),
                ),
            ),
            added=("rank of Pi at most r (or r at least the rank of Phi)",),
        ),
    ),
)


def angle(case: Gap, *, upper: Callable, lower: Callable) -> Margin:
    """Two-sided bound of the misalignment by the principal angles, rank Pi = r."""
    meet(case, (lambda c: c.projector.rank() == c.r,))
    return all_of(at_most(lower(case), case.misalignment), at_most(case.misalignment, upper(case)))


def _energy(case: Gap, i: int) -> fmpq:
    return case.energies[i] if i < len(case.energies) else fmpq(0)


def upper_angle(case: Gap) -> fmpq:
    """sigma_1^2 |sin Theta|^2."""
    return _energy(case, 0) * case.angles


def lower_angle(case: Gap) -> fmpq:
    """(sigma_r^2 - sigma_{r+1}^2) |sin Theta|^2."""
    return (_energy(case, case.r - 1) - _energy(case, case.r)) * case.angles


EQUAL_RANK = drawn(gaps("equal").filter(lambda c: c.r >= 1))
SEPARATED = drawn(gaps("equal").filter(lambda c: c.r >= 1 and _energy(c, c.r - 1) > _energy(c, c.r)))
QUARTER = fixed(Gap(Spectral(qq.identity(2), (fmpq(2), fmpq(0)), qq.identity(2)), qq.diagonal([0, 1]), 1))
ORTHOGONAL = Gap(Spectral(qq.identity(3), (fmpq(3), fmpq(1), fmpq(0)), qq.identity(3)), qq.diagonal([0, 1, 1]), 2)
ANGLE = Statement(
    label="angle_bound",
    row="Two-sided angle bound (after Prop 3.6)",
    readings=(
        Reading(
            key="as stated",
            formula=r"(\sigma_r^2-\sigma_{r+1}^2)\|\sin\Theta\|_F^2\leq\mathrm{misalignment}\leq\sigma_1^2\|\sin\Theta\|_F^2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["angle_bound", "as stated"],
            steps=(
                Step(
                    claim="both sides, exactly",
                    check=angle,
                    cases=lambda n: (*EQUAL_RANK(n), *QUARTER(n)),
                    twins=(
                        Twin(
                            "upper side with sigma_r at r = 2",
                            {"upper": lambda c: _energy(c, c.r - 1) * c.angles},
                            fixed(ORTHOGONAL),
                        ),
                        Twin("lower side without the gap", {"lower": lambda c: _energy(c, c.r - 1) * c.angles}),
                        Twin("lower side doubled", {"lower": lambda c: 2 * lower_angle(c)}, QUARTER),
                    ),
                    sides={"upper": upper_angle, "lower": lower_angle},
                    attained="Phi = diag(2, 0), Pi onto the other axis: both sides",
                ),
                Step(
                    claim="dntk_ref's two sides, where the top space is unique",
                    check=by_reference,
                    cases=SEPARATED,
                    twins=(
                        Twin(
                            "sides exchanged",
                            {"exact": lambda c: qq.mat([[upper_angle(c), c.misalignment, lower_angle(c)]])},
                        ),
                        Twin(
                            "angles halved",
                            {"exact": lambda c: qq.mat([[lower_angle(c), c.misalignment, upper_angle(c) / 2]])},
                        ),
                    ),
                    sides={
                        "reference": lambda c: _angles(c),
                        "exact": lambda c: qq.mat([[lower_angle(c), c.misalignment, upper_angle(c)]]),
                        "scale": lambda c: c.r * float(sum(c.energies, fmpq(0))),
                    },
                ),
            ),
            hypotheses=("rank of Pi equal to r",),
        ),
    ),
    table=2,
)


def _angles(case: Gap) -> list[float]:
    found = angle_bound(qq.floats(case.spectral.features), qq.floats(case.projector))
    return [found.lower, found.misalignment, found.upper]


STATEMENTS = (COR_3_5, PROP_3_6, TASK_LINK, ANGLE)
