"""Section 3.2: data redundancy and parameter redundancy (Defs 3.1, 3.2), and the gloss about subsets of inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.redundancy import parameter_redundancy, truncation_rank
from proofs_checks import rational as qq
from proofs_checks.instances import Spectral, drawn, fixed, projectors, spectral
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal, true
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS", "Truncation", "rank_of", "truncations"]


@dataclass(frozen=True)
class Truncation:
    """Features with a rational spectral decomposition, a share epsilon, and a rival projector of size P."""

    spectral: Spectral
    epsilon: fmpq
    rival: fmpq_mat | None = None


def rank_of(eigenvalues: tuple[fmpq, ...], epsilon: fmpq) -> int:
    """Def 3.1, by definition: the smallest r whose leading sum reaches (1 - epsilon) of the whole."""
    total = sum(eigenvalues, fmpq(0))
    return next(r for r in range(len(eigenvalues) + 1) if sum(eigenvalues[:r], fmpq(0)) >= (1 - epsilon) * total)


@st.composite
def truncations(draw: Any, low: int = 1) -> Truncation:
    """Draw features, epsilon in [0, 1) with edges, and a rival projector of rank at most the truncation rank."""
    case = draw(spectral(low))
    epsilon = fmpq(draw(st.integers(0, 9)), 10)
    rank = draw(st.integers(0, min(rank_of(case.eigenvalues, epsilon), case.p)))
    return Truncation(case, epsilon, draw(projectors(case.p, rank)))


def well_defined(case: Truncation, *, rank: Callable) -> Margin:
    """The rank reaches the share, one less does not, scaling changes nothing, and it does not grow with epsilon."""
    values, total = case.spectral.eigenvalues, sum(case.spectral.eigenvalues, fmpq(0))
    r = rank(values, case.epsilon)
    reached = sum(values[:r], fmpq(0)) >= (1 - case.epsilon) * total
    one_less = r == 0 or sum(values[: r - 1], fmpq(0)) < (1 - case.epsilon) * total
    scaled = rank(tuple(3 * value for value in values), case.epsilon) == r
    monotone = rank(values, (case.epsilon + 1) / 2) <= r
    return true(reached and one_less and scaled and monotone, r)


def readings_agree(case: Truncation, *, share: Callable) -> Margin:
    """R1 with gamma > 1 and R2 with 1 / gamma say the same."""
    n, r = case.spectral.n, rank_of(case.spectral.eigenvalues, case.epsilon)
    return all_of(true((r * gamma <= n) == (r <= share(fmpq(gamma)) * n)) for gamma in range(2, 6))


def subset_residuals(kernel: fmpq_mat, size: int) -> list[tuple[fmpq, fmpq]]:
    """For every subset of that size: the determinant of its block and the trace that it leaves."""
    found = []
    for subset in combinations(range(kernel.nrows()), size):
        block, cross = qq.select(kernel, subset, subset), qq.select(kernel, range(kernel.nrows()), subset)
        left = qq.trace(kernel - cross * qq.pseudo_inverse(block) * cross.transpose())
        found.append((block.det() if size else fmpq(1), left))
    return found


def best_input_set(case: tuple[fmpq_mat, fmpq], *, factor: Callable, combinations_allowed: bool = False) -> Margin:
    """The best r_eps inputs (or combinations of inputs) leave at most factor(r) times epsilon of the trace.

    The kernel is 2 x 2 with equal diagonal, so its eigenvalues are the diagonal plus and minus the other entry.
    """
    kernel, epsilon = case
    values = (kernel[0, 0] + abs(kernel[0, 1]), kernel[0, 0] - abs(kernel[0, 1]))
    r = rank_of(values, epsilon)
    left = sum(values[r:], fmpq(0)) if combinations_allowed else min(rest for _, rest in subset_residuals(kernel, r))
    return at_most(left, factor(r) * epsilon * qq.trace(kernel))


def volume_sampling(case: Spectral, *, factor: Callable) -> Margin:
    """Subsets drawn with probability proportional to det K_SS leave (r+1) e_{r+1} / e_r on average, at most (r+1) tail."""
    kernel, coefficients = case.kernel, case.kernel.charpoly()
    n, margins = case.n, []
    for r in range(1, n):
        pairs = subset_residuals(kernel, r)
        symmetric = [abs(coefficients[n - r - i]) for i in (0, 1)]
        weighted = sum((det * rest for det, rest in pairs), fmpq(0))
        margins.append(equal(sum((det for det, _ in pairs), fmpq(0)), symmetric[0]))
        margins.append(equal(weighted, factor(r) * symmetric[1]))
        margins.append(at_most(min(rest for _, rest in pairs), factor(r) * sum(case.eigenvalues[r:], fmpq(0))))
    return all_of(margins)


@st.composite
def pairs(draw: Any) -> tuple[fmpq_mat, fmpq]:
    """Draw a 2 x 2 kernel with unit diagonal and an epsilon."""
    b = fmpq(draw(st.integers(-9, 9)), 10)
    return qq.mat([[1, b], [b, 1]]), fmpq(draw(st.integers(1, 9)), 10)


CEX_8 = (qq.mat([[1, "3/5"], ["3/5", 1]]), fmpq(1, 5))
TRUNCATIONS = drawn(truncations())
ZERO = Truncation(Spectral(qq.identity(2), (fmpq(0), fmpq(0)), qq.identity(2)), fmpq(1, 10), qq.zeros(2, 2))
STEEP = Truncation(Spectral(qq.identity(2), (fmpq(3), fmpq(2)), qq.identity(2)), fmpq(1, 4))


def rank_of_sum(eigenvalues: tuple[fmpq, ...], epsilon: fmpq) -> int:
    """The rank by the sum of eigenvalues, not by its share of the whole."""
    n = len(eigenvalues)
    return next((r for r in range(n) if sum(eigenvalues[:r], fmpq(0)) >= 1 - epsilon), n)


DEF_3_1 = Statement(
    label="def_3_1",
    row="Def 3.1",
    readings=(
        Reading(
            key="definition",
            formula=r"r_\epsilon(K)=\min\{r:\ \sum_{i\leq r}\lambda_i\geq(1-\epsilon)\sum_{i\leq n}\lambda_i\}\leq n/\gamma",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="least, scale-free, monotone; 0 for K = 0",
                    check=well_defined,
                    cases=lambda n: (*TRUNCATIONS(n), ZERO),
                    twins=(
                        Twin("one more than needed", {"rank": lambda values, eps: rank_of(values, eps) + 1}),
                        Twin("sum compared with 1 - epsilon itself", {"rank": rank_of_sum}),
                    ),
                    sides={"rank": rank_of},
                ),
                Step(
                    claim="readings R1 (factor gamma > 1) and R2 (share below 1) have the same content",
                    check=readings_agree,
                    cases=TRUNCATIONS,
                    twins=(
                        Twin("share 1 - 1/gamma", {"share": lambda gamma: 1 - 1 / gamma}),
                        Twin("share 1/gamma^2", {"share": lambda gamma: 1 / gamma**2}),
                    ),
                    sides={"share": lambda gamma: 1 / gamma},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=lambda n: (*TRUNCATIONS(n), ZERO),
                    twins=(
                        Twin(
                            "squared eigenvalues",
                            {"exact": lambda c: rank_of(tuple(v * v for v in c.spectral.eigenvalues), c.epsilon)},
                            fixed(STEEP),
                        ),
                        Twin(
                            "epsilon for 1 - epsilon",
                            {"exact": lambda c: rank_of(c.spectral.eigenvalues, 1 - c.epsilon)},
                        ),
                    ),
                    sides={
                        "reference": lambda c: truncation_rank(qq.floats(c.spectral.kernel), float(c.epsilon)),
                        "exact": lambda c: rank_of(c.spectral.eigenvalues, c.epsilon),
                    },
                ),
            ),
            nature=Nature.DEFINITION,
        ),
        Reading(
            key="gloss",
            formula=r"\min_{|S|=r_\epsilon}\mathrm{tr}(K-K_{XS}K_{SS}^{\dagger}K_{SX})\leq\epsilon\,\mathrm{tr}K",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="volume sampling: the factor r + 1 repairs it, with its exact mean",
                    check=volume_sampling,
                    cases=drawn(spectral(2), 0.5),
                    twins=(
                        Twin("factor r", {"factor": lambda r: r}),
                        Twin("no factor", {"factor": lambda r: 1}),
                    ),
                    sides={"factor": lambda r: r + 1},
                ),
                Step(
                    claim="r_eps inputs leave at most (r + 1) epsilon tr K",
                    check=best_input_set,
                    cases=lambda n: (*drawn(pairs())(n), CEX_8),
                    twins=(
                        Twin("no factor", {"factor": lambda r: 1}),
                        Twin("factor 3/2", {"factor": lambda r: fmpq(3, 2)}, fixed(CEX_8)),
                    ),
                    sides={"factor": lambda r: r + 1},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-8",
                    check=best_input_set,
                    case=CEX_8,
                    controls=(
                        Twin("r combinations of inputs", {"combinations_allowed": True}),
                        Twin("factor r + 1", {"factor": lambda r: r + 1}),
                    ),
                    printed={"factor": lambda r: 1},
                    left="16/25",
                    right="2/5",
                    search=pairs(),
                ),
            ),
            note="a rank needs that many linear combinations of inputs, not that many inputs",
        ),
    ),
)


def optimal(case: Truncation, *, floor: Callable) -> Margin:
    """Eckart-Young: no projector of rank <= r leaves less than the floor; the top right singular space attains it."""
    phi, r = case.spectral.features, rank_of(case.spectral.eigenvalues, case.epsilon)
    kernel, top = case.spectral.kernel, case.spectral.top_right(min(r, case.spectral.p))
    left = qq.frobenius2(kernel - phi * case.rival * phi.transpose())
    attained = qq.frobenius2(kernel - phi * top * phi.transpose())
    return all_of(at_most(floor(case, r), left), equal(attained, floor(case, r)))


def tail_squares(case: Truncation, r: int) -> fmpq:
    """The sum of the squared eigenvalues after the first r."""
    return sum((value * value for value in case.spectral.eigenvalues[r:]), fmpq(0))


def second_reading(case: Truncation, *, dimension: Callable) -> Margin:
    """R2: |Phi - Phi Pi|^2 <= eps |Phi|^2 is possible in this dimension and in none below."""
    phi, total = case.spectral.features, sum(case.spectral.eigenvalues, fmpq(0))
    r = min(dimension(case), case.spectral.p)
    left = [qq.frobenius2(phi - phi * case.spectral.top_right(d)) for d in {r, max(r - 1, 0)}]
    fits = [value <= case.epsilon * total for value in sorted(left)]
    return true(fits[0] and (r == 0 or not fits[-1] or len(left) == 1), r)


def tail_of_eigenvalues(case: Truncation) -> fmpq:
    """The share of the tail without squares."""
    total = sum(case.spectral.eigenvalues, fmpq(0))
    return sum(case.spectral.eigenvalues[1:], fmpq(0)) / max(total, fmpq(1))


DEF_3_2 = Statement(
    label="def_3_2",
    row="Def 3.2",
    readings=(
        Reading(
            key="R1",
            formula=r"\|\Phi\Phi^T-\mathrm{Proj}_V(\Phi)\mathrm{Proj}_V(\Phi)^T\|_F\leq\epsilon\|\Phi\Phi^T\|_F,"
            r"\quad \dim V\leq P/\gamma",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="the best V is the top right singular space",
                    check=optimal,
                    cases=TRUNCATIONS,
                    twins=(
                        Twin("floor one eigenvalue higher", {"floor": lambda c, r: tail_squares(c, max(r - 1, 0))}),
                        Twin(
                            "squared sum instead of sum of squares",
                            {"floor": lambda c, r: sum(c.spectral.eigenvalues[r:], fmpq(0)) ** 2},
                        ),
                    ),
                    sides={"floor": tail_squares},
                    attained="the top right singular space",
                ),
                Step(
                    claim="dntk_ref computes the optimum",
                    check=by_reference,
                    cases=TRUNCATIONS,
                    twins=(
                        Twin("unsquared eigenvalues", {"exact": tail_of_eigenvalues}),
                        Twin("not normalised", {"exact": lambda c: tail_squares(c, 1)}),
                    ),
                    sides={
                        "reference": lambda c: parameter_redundancy(qq.floats(c.spectral.kernel), 1) ** 2,
                        "exact": lambda c: tail_squares(c, 1) / tail_squares(c, 0) if tail_squares(c, 0) else fmpq(0),
                        "scale": lambda c: 1.0,
                    },
                ),
            ),
            nature=Nature.DEFINITION,
        ),
        Reading(
            key="R2",
            formula=r"\|\Phi-\Phi\Pi_V\|_F^2\leq\epsilon\|\Phi\|_F^2",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="its smallest dimension is the truncation rank, so Prop B.6 would be empty",
                    check=second_reading,
                    cases=TRUNCATIONS,
                    twins=(
                        Twin(
                            "one dimension less",
                            {"dimension": lambda c: max(rank_of(c.spectral.eigenvalues, c.epsilon) - 1, 0)},
                        ),
                        Twin(
                            "one dimension more",
                            {"dimension": lambda c: rank_of(c.spectral.eigenvalues, c.epsilon) + 1},
                        ),
                    ),
                    sides={"dimension": lambda c: rank_of(c.spectral.eigenvalues, c.epsilon)},
                ),
            ),
            nature=Nature.DEFINITION,
        ),
    ),
)

STATEMENTS = (DEF_3_1, DEF_3_2)
