"""Section 3.4, second half: coverage and gap directions (stage 3), property (B), and the optimal completion."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.locality import optimal_completion, restricted_completion
from proofs_checks import rational as qq
from proofs_checks.check_3_4_locality import Clusters, Local, locals_, partitions
from proofs_checks.instances import drawn, fixed, matrices
from proofs_checks.margin import Margin, all_of, at_most, equal, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Direction:
    """A global direction (any length) and the local projector of each cluster."""

    vector: fmpq_mat
    clusters: Clusters
    projectors: tuple[fmpq_mat, ...]

    @property
    def parts(self) -> list[tuple[fmpq, fmpq]]:
        """For every cluster the weight and the covered weight of the direction."""
        total = qq.norm2(self.vector)
        pieces = [qq.select(self.vector, rows) for rows in self.clusters]
        return [
            (qq.norm2(piece) / total, qq.norm2(pi * piece) / total)
            for piece, pi in zip(pieces, self.projectors, strict=True)
        ]


def true_coverage(case: Direction) -> fmpq:
    """|Pi_loc u|^2 / |u|^2."""
    return sum((covered for _, covered in case.parts), fmpq(0))


def assembled(case: Direction) -> fmpq:
    """The same from the local projector itself, put together from its blocks: (u^T Pi_loc u) / |u|^2, Pi_loc^2 = Pi_loc."""
    n = case.vector.nrows()
    whole = qq.zeros(n, n)
    for rows, block in zip(case.clusters, case.projectors, strict=True):
        for i, row in enumerate(rows):
            for j, column in enumerate(rows):
                whole[row, column] = block[i, j]
    return qq.dot(case.vector, whole * whole * case.vector) / qq.norm2(case.vector)


def mixture(case: Direction) -> fmpq:
    """The clusters' shares c_h, weighted by w_h = |u on the cluster|^2 / |u|^2."""
    return sum((weight * (covered / weight) for weight, covered in case.parts if weight), fmpq(0))


def same(case: Direction, *, left: Callable, right: Callable) -> Margin:
    """Two measures of coverage are one."""
    return equal(left(case), right(case))


def max_coverage(case: Direction) -> fmpq:
    """The paper's rule: the best cluster's share, 0 where the direction vanishes on a cluster."""
    return max(covered / weight if weight else fmpq(0) for weight, covered in case.parts)


def min_coverage(case: Direction) -> fmpq:
    """The worst cluster's share."""
    return min(covered / weight if weight else fmpq(0) for weight, covered in case.parts)


def mean_coverage(case: Direction) -> fmpq:
    """The coverages of the clusters, each counted alike."""
    return sum((b / a if a else fmpq(0) for a, b in case.parts), fmpq(0)) / len(case.parts)


def covered(case: Direction, *, left: Callable, right: Callable) -> Margin:
    """One measure of coverage is at most another."""
    return at_most(left(case), right(case))


@st.composite
def directions(draw: Any) -> Direction:
    """Draw a direction and local projectors."""
    n = draw(st.integers(2, 6))
    clusters = draw(partitions(n))
    vector = draw(matrices(n, 1).filter(lambda v: qq.norm2(v) > 0))
    return Direction(vector, clusters, tuple(qq.projector(draw(matrices(1, len(rows)))) for rows in clusters))


FIVE = tuple((2 * h, 2 * h + 1) for h in range(5))
A, B = qq.ones(2, 2) * fmpq(1, 2), qq.mat([["1/2", "-1/2"], ["-1/2", "1/2"]])
Z = qq.column(["1/2", "1/2", 1, -1, 1, -1, 1, -1, 1, -1])  # sqrt(2) z
KERNEL_10 = Z * Z.transpose() * fmpq(1, 2) + qq.block_diagonal(qq.zeros(2, 2), *[A * fmpq(3)] * 4)
CEX_10 = Direction(Z, FIVE, (A,) * 5)


def as_stated(kernel: fmpq_mat, *, value: fmpq, vector: fmpq_mat) -> Margin:
    """CEX-10's data: the vector is an eigenvector with the top eigenvalue, each block's top share is at least 3/4."""
    others = kernel - vector * vector.transpose() * (value / qq.norm2(vector))
    blocks = [qq.select(kernel, rows, rows) for rows in FIVE]
    local = [at_most(fmpq(3, 4) * qq.trace(block), qq.dot(block, A)) for block in blocks]
    rest = [at_most(0, min(qq.ldl_pivots(qq.identity(10) * value - others)))]
    return all_of(equal(kernel * vector, vector * value), *local, rest)


DIRECTIONS = drawn(directions())
LG_4 = Statement(
    label="lg_4",
    row="LG‑4",
    readings=(
        Reading(
            key="as stated",
            formula=r"\|\Pi_{loc}u_j\|^2=\sum_hw_{jh}c_{jh}\leq\max_hc_{jh}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["lg_4", "as stated"],
            steps=(
                Step(
                    claim="the true coverage is the mixture of the clusters' shares",
                    check=same,
                    cases=DIRECTIONS,
                    twins=(
                        Twin("mean of the clusters", {"right": mean_coverage}),
                        Twin("best cluster", {"right": max_coverage}),
                    ),
                    sides={"left": assembled, "right": mixture},
                    attained="always an equality",
                ),
                Step(
                    claim="the true coverage is at most the best cluster's",
                    check=covered,
                    cases=DIRECTIONS,
                    twins=(
                        Twin("the worst cluster's", {"right": min_coverage}),
                        Twin("sides exchanged", {"left": max_coverage, "right": true_coverage}),
                    ),
                    sides={"left": assembled, "right": max_coverage},
                    attained="one cluster",
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Tie:
    """The same direction with two admissible choices of local projectors or of global basis."""

    first: Direction
    second: Direction


def invariant(case: Tie, *, measure: Callable) -> Margin:
    """The measure does not depend on the choice."""
    return equal(measure(case.first), measure(case.second))


PAIRS = ((0, 2), (1, 3))
ONES = qq.ones(4)
CEX_11A = Tie(Direction(ONES, PAIRS, (qq.diagonal([1, 0]),) * 2), Direction(ONES, PAIRS, (A,) * 2))
HALVES = ((0, 1), (2, 3))
# Section 12, item 4: the rotated basis has entries in Q(sqrt 2); scaled to (3, 4)/5 instead of (1, 1)/sqrt 2 it is
# rational
# only for other angles, so the two directions are given by sums of squares: |v on cluster|^2 and |Pi v on cluster|^2.


@dataclass(frozen=True)
class Weights:
    """Weight and covered weight of every cluster, as numbers."""

    parts: tuple[tuple[fmpq, fmpq], ...]


def rotated(cosine2: fmpq) -> Weights:
    """The direction c a_1 + s z / sqrt 2 with c^2 given: weights c^2 + s^2/2 and s^2/2, covered c^2 and 0."""
    sine2 = 1 - cosine2
    return Weights(((cosine2 + sine2 / 2, cosine2), (sine2 / 2, fmpq(0))))


def mean_of_pair(case: Weights) -> fmpq:
    """The mean true coverage of a rotated direction and of the one orthogonal to it in the same plane."""
    other = rotated(1 - case.parts[0][1])
    return (true_coverage(case) + true_coverage(other)) / 2  # type: ignore[arg-type]


# Clusters (0, 2) and (1, 3): both blocks are 2 I, so any line is an admissible local space that holds half of the block.
KERNEL_11A = qq.mat([[2, 1, 0, 1], [1, 2, 1, 0], [0, 1, 2, 1], [1, 0, 1, 2]])


def eleven_a(kernel: fmpq_mat, *, value: fmpq, share: fmpq) -> Margin:
    """CEX-11a's data: the vector of ones is the only top eigenvector, and both choices of local lines hold the share."""
    held = []
    for choice in (CEX_11A.first, CEX_11A.second):
        for rows, line in zip(choice.clusters, choice.projectors, strict=True):
            block = qq.select(kernel, rows, rows)
            held += [equal(block * line, line * block), equal(qq.dot(block, line), share * qq.trace(block))]
            top = qq.dot(
                block, line
            )  # u^T block u for the line's unit vector: no other direction of the block has more
            held.append(at_most(0, min(qq.ldl_pivots(qq.identity(block.nrows()) * top - block))))
    below = qq.identity(4) * value - kernel
    return all_of(
        equal(kernel * ONES, ONES * value), at_most(0, min(qq.ldl_pivots(below))), true(below.rank() == 3), held
    )


KERNEL_11B = qq.mat([[9, 3, 3, -3], [3, 9, -3, 3], [3, -3, 9, 3], [-3, 3, 3, 9]]) * fmpq(1, 4)


def eleven_b(kernel: fmpq_mat, *, triple: fmpq) -> Margin:
    """The kernel is the triple eigenvalue times a projector of rank 3, and both spanning vectors lie in it."""
    spanning = qq.mat([[1, 1, 0, 0], [1, -1, 1, -1]]).transpose()
    return all_of(
        equal(kernel * kernel, kernel * triple), true(kernel.rank() == 3), equal(kernel * spanning, spanning * triple)
    )


CEX_11B = Tie(rotated(fmpq(1)), rotated(fmpq(1, 2)))  # type: ignore[arg-type]


@st.composite
def ties(draw: Any) -> Tie:
    """Draw a direction with two choices of local line in every cluster (a tie at the local cut)."""
    case = draw(directions())
    other = tuple(qq.projector(draw(matrices(1, len(rows)))) for rows in case.clusters)
    return Tie(case, replace(case, projectors=other))


FLIPPED = KERNEL_11B - qq.block_diagonal(qq.mat([[0, "3/2"], ["3/2", 0]]), qq.zeros(2, 2))
STAGE_3 = Statement(
    label="alg_1_stage_3",
    row="Alg 1 stage 3",
    readings=(
        Reading(
            key="max-coverage as a test of (B)",
            formula=r"\max_hc_{jh}\leq\|\Pi_{loc}u_j\|^2",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="the data of CEX-10 are as stated",
                    check=as_stated,
                    cases=fixed(KERNEL_10),
                    twins=(
                        Twin("another eigenvalue", {"value": fmpq(4)}),
                        Twin("another vector", {"vector": Z + qq.column([1] + [0] * 9)}),
                    ),
                    sides={"value": fmpq(17, 4), "vector": Z},
                ),
                Step(
                    claim="the mixture of the clusters is the true coverage",
                    check=same,
                    cases=lambda n: (*DIRECTIONS(n), CEX_10),
                    twins=(
                        Twin("best cluster", {"left": max_coverage}),
                        Twin("mean of the clusters", {"left": mean_coverage}),
                    ),
                    sides={"left": mixture, "right": assembled},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-10",
                    check=covered,
                    case=CEX_10,
                    controls=(
                        Twin("weighted mixture", {"left": true_coverage}),
                        Twin(
                            "one cluster",
                            cases=fixed(Direction(Z, (tuple(range(10)),), (qq.block_diagonal(*[A] * 5),))),
                        ),
                    ),
                    printed={"left": max_coverage, "right": true_coverage},
                    left=1,
                    right="1/17",
                    search=directions(),
                ),
            ),
        ),
        Reading(
            key="determined by the kernel",
            formula=r"\lambda_{r_h}^{(h)}=\lambda_{r_h+1}^{(h)}:\quad c_{jh}\ \mathrm{unique}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="the data of CEX-11a are as stated: a kernel whose blocks tie",
                    check=eleven_a,
                    cases=fixed(KERNEL_11A),
                    twins=(
                        Twin("another eigenvalue", {"value": fmpq(3)}),
                        Twin("blocks without a tie", cases=fixed(KERNEL_11A + qq.diagonal([1, 1, 0, 0]))),
                    ),
                    sides={"value": fmpq(4), "share": fmpq(1, 2)},
                ),
                Step(
                    claim="the replacement for CEX-11b is as stated: eigenvalues 3, 3, 3, 0",
                    check=eleven_b,
                    cases=fixed(KERNEL_11B),
                    twins=(
                        Twin("eigenvalue 2", {"triple": fmpq(2)}),
                        Twin("kernel with one sign flipped", cases=fixed(FLIPPED)),
                    ),
                    sides={"triple": fmpq(3)},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-11",
                    check=invariant,
                    case=CEX_11A,
                    controls=(
                        Twin("same local space", cases=fixed(Tie(CEX_11A.first, CEX_11A.first))),
                        Twin("weights of the clusters", {"measure": lambda c: sum((a for a, _ in c.parts), fmpq(0))}),
                    ),
                    printed={"measure": max_coverage},
                    left="1/2",
                    right=1,
                    search=ties(),
                ),
                Refutation(
                    name="CEX-11b",
                    check=invariant,
                    case=CEX_11B,
                    controls=(
                        Twin("same angle", cases=fixed(Tie(rotated(fmpq(1, 2)), rotated(fmpq(1, 2))))),  # type: ignore[arg-type]
                        Twin("mean true coverage of the basis", {"measure": mean_of_pair}),
                    ),
                    printed={"measure": max_coverage},
                    left=1,
                    right="2/3",
                ),
            ),
            note="CEX-11a needs a local share of at least 1/2; CEX-11b in the realisable form",
        ),
    ),
)

PROPERTY_B = Statement(
    label="property_b",
    row="Property (B)",
    readings=(
        Reading(
            key="it can occur",
            formula=r"\exists j\leq r_g:\ \|\Pi_{loc}u_j\|^2\leq 1-\delta",
            verdict=Verdict.HOLDS,
            proof=PROOFS["property_b", "it can occur"],
            steps=(
                Step(
                    claim="the top eigenvector of CEX-10 is 16/17 uncovered",
                    check=covered,
                    cases=fixed(CEX_10),
                    twins=(
                        Twin("1/18 covered", {"right": lambda c: fmpq(1, 18)}),
                        Twin("best cluster's coverage", {"left": max_coverage}),
                    ),
                    sides={"left": true_coverage, "right": lambda c: fmpq(1, 17)},
                    attained="always an equality",
                ),
            ),
        ),
        Reading(
            key="variance-weighted 12 %",
            formula=r"\epsilon_\ell=\epsilon_g=0.05:\quad 0.12"
            r"\leq\frac{\sum_j\lambda_j(1-\|\Pi_{loc}u_j\|^2)}{\sum_j\lambda_j}",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="LG-3",
                    check=lambda case, *, bound: at_most(case[0], bound(case)),
                    case=(fmpq(12, 100), fmpq(1, 20)),
                    controls=(
                        Twin("unweighted: no bound but 1", {"bound": lambda c: fmpq(1)}),
                        Twin("shares of 12 %", cases=fixed((fmpq(12, 100), fmpq(12, 100)))),
                    ),
                    printed={"bound": lambda c: c[1] / (1 - c[1])},
                    left="3/25",
                    right="1/19",
                ),
            ),
            note="at most 5.26 % of the truncated variance (LG-3); the unweighted share has no such bound",
        ),
    ),
)


@dataclass(frozen=True)
class Completion:
    """Section 12, item 2: a kernel, its local basis, and two candidate completions."""

    kernel: fmpq_mat
    local: fmpq_mat
    first: fmpq_mat
    second: fmpq_mat


def nystrom_trace(kernel: fmpq_mat, basis: fmpq_mat) -> fmpq:
    """Tr K_U."""
    return qq.trace(kernel * basis * qq.pseudo_inverse(basis.transpose() * kernel * basis) * basis.transpose() * kernel)


def energy(kernel: fmpq_mat, basis: fmpq_mat) -> fmpq:
    """tr(P K) with P the projector onto the range of the basis."""
    return qq.dot(qq.projector(basis.transpose()), kernel)


def beside(left: fmpq_mat, right: fmpq_mat) -> fmpq_mat:
    """Put two bases side by side."""
    return qq.stack(left.transpose(), right.transpose()).transpose()


def completed(case: Completion, *, metric: Callable) -> Margin:
    """The first completion is at least as good as the second in the metric."""
    return at_most(
        metric(case.kernel, beside(case.local, case.second)), metric(case.kernel, beside(case.local, case.first))
    )


def unit(n: int, *places: int) -> fmpq_mat:
    """Unit vectors as columns."""
    return qq.select(qq.identity(n), range(n), places)


ITEM_2 = Completion(
    qq.mat([[1, 0, 0, 0], [0, "6/25", "12/25", 0], [0, "12/25", 1, 0], [0, 0, 0, "1/5"]]),
    unit(4, 0, 2),
    unit(4, 1),
    unit(4, 3),
)


def float_completion(case: tuple[Local, int], *, restricted: bool, rival: Callable) -> Margin:
    """dntk_ref's completion is at least as good as a rival and as Ky Fan's sum, in its own metric, float64."""
    local, seed = case
    kernel = qq.floats(local.kernel)
    kept = [i for i, keep in enumerate(local.kept) if keep]
    basis = qq.floats(qq.select(local.frame, range(len(kernel)), kept))
    count = min(1 + seed % 3, len(kernel) - len(kept))
    found = (restricted_completion if restricted else optimal_completion)(kernel, basis, count)
    other = rival(kernel, basis, np.random.default_rng(seed))[:, : None if rival is not random_rival else count]

    def value(w: np.ndarray) -> float:
        u = np.column_stack([basis, w])
        if not restricted:
            q, _ = np.linalg.qr(u)
            return float(np.trace(q.T @ kernel @ q))
        return float(
            np.trace(kernel @ u @ np.linalg.pinv(u.T @ kernel @ u, hermitian=True, rcond=1e-12) @ u.T @ kernel)
        )

    # No count directions off the local ones hold more than the largest eigenvalues of what these leave.
    held = kernel @ basis @ np.linalg.pinv(basis.T @ kernel @ basis, hermitian=True, rcond=1e-12) @ basis.T @ kernel
    off = np.eye(len(kernel)) - basis @ basis.T
    left = kernel - held if restricted else off @ kernel @ off
    most = np.sort(np.linalg.eigvalsh(left))[::-1][:count].sum() + (
        np.trace(held) if restricted else np.trace(basis.T @ kernel @ basis)
    )
    size = 1e4 * float(np.trace(kernel))
    return all_of(at_most(value(other), value(found), scale=size), equal(value(found), most, scale=size))


def random_rival(kernel: np.ndarray, basis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random directions, their parts outside the local basis."""
    w = rng.standard_normal((len(kernel), len(kernel) - basis.shape[1]))
    return w - basis @ (basis.T @ w)


UNFINISHED = drawn(st.tuples(locals_().filter(lambda c: not all(c.kept) and any(c.kept)), st.integers(0, 10**6)))
LAST = Local(
    (qq.identity(2), qq.identity(2)),
    ((fmpq(1), fmpq(6, 25)), (fmpq(1), fmpq(1, 5))),
    qq.mat([[0, 0, 0, 0], [0, 0, "12/25", 0], [0, "12/25", 0, 0], [0, 0, 0, 0]]),
    fmpq(1, 5),
)


def trace_rivals(kernel: np.ndarray, basis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A drawn direction and the best one: two against one."""
    return np.column_stack([random_rival(kernel, basis, rng), optimal_completion(kernel, basis, 1)])


def restricted_rivals(kernel: np.ndarray, basis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same for the restricted solve."""
    return np.column_stack([random_rival(kernel, basis, rng), restricted_completion(kernel, basis, 1)])


COMPLETION = Statement(
    label="optimal_completion",
    row="Optimal completion (section 5 (ii), section 12 item 2)",
    readings=(
        Reading(
            key="in the metric tr(W^T K W)",
            formula=r"W=\mathrm{top}_q((I-\Pi_{loc})K(I-\Pi_{loc}))\ \mathrm{maximises}\ \mathrm{tr}(W^TKW)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["optimal_completion", "in the metric tr(W^T K W)"],
            steps=(
                Step(
                    claim="against random completions",
                    check=float_completion,
                    cases=UNFINISHED,
                    twins=(
                        Twin("rival in the whole space of twice the size", {"rival": lambda k, b, g: np.eye(len(k))}),
                        Twin("rival of two directions", {"rival": trace_rivals}),
                    ),
                    sides={"restricted": False, "rival": random_rival},
                ),
                Step(
                    claim="the instance of section 12: e_2 is at least as good as e_4",
                    check=completed,
                    cases=fixed(ITEM_2),
                    twins=(
                        Twin("in the metric tr K_U", {"metric": nystrom_trace}),
                        Twin("sides exchanged", cases=fixed(replace(ITEM_2, first=ITEM_2.second, second=ITEM_2.first))),
                    ),
                    sides={"metric": energy},
                ),
            ),
        ),
        Reading(
            key="in the metric tr K_U",
            formula=r"W=\mathrm{top}_q((I-\Pi_{loc})K(I-\Pi_{loc}))\ \mathrm{maximises}\ \mathrm{tr}K_{[U_{loc},W]}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="top eigenvectors of K - K_{U_loc} do",
                    check=float_completion,
                    cases=lambda n: (*UNFINISHED(n), (LAST, 0)),
                    twins=(
                        Twin("rival of two directions", {"rival": restricted_rivals}),
                        Twin("all directions as rival", {"rival": lambda k, b, g: np.eye(len(k))}),
                    ),
                    sides={"restricted": True, "rival": random_rival},
                ),
            ),
            refutations=(
                Refutation(
                    name="section 12, item 2",
                    check=completed,
                    case=ITEM_2,
                    controls=(
                        Twin("in the metric tr(W^T K W)", {"metric": energy}),
                        Twin(
                            "e_4 as completion", cases=fixed(replace(ITEM_2, first=ITEM_2.second, second=ITEM_2.first))
                        ),
                    ),
                    printed={"metric": nystrom_trace},
                    left="1519/625",
                    right="56/25",
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (PROPERTY_B, STAGE_3, LG_4, COMPLETION)
