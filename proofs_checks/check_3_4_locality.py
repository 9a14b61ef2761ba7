"""Section 3.4, first half: local and global directions, property (A), and the theorems behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.locality import corollary_lg3, theorem_lg1, theorem_lg2
from proofs_checks import rational as qq
from proofs_checks.check_3_2_redundancy import rank_of
from proofs_checks.instances import Spectral, drawn, fixed, matrices, orthogonal, spectral
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal, sampled
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, meet

__all__ = ["STATEMENTS", "Clusters", "Local", "locals_", "partitions"]

Clusters = tuple[tuple[int, ...], ...]
SHARES = st.integers(0, 9).map(lambda tenth: fmpq(tenth, 10))


@st.composite
def partitions(draw: Any, n: int) -> Clusters:
    """Draw a partition of n rows into consecutive clusters of at most three."""
    cuts, start = [], 0
    while start < n:
        size = draw(st.integers(1, min(3, n - start)))
        cuts.append(tuple(range(start, start + size)))
        start += size
    return tuple(cuts)


@dataclass(frozen=True)
class Global:
    """A kernel with rational eigenvectors, a partition, and the two shares."""

    spectral: Spectral
    clusters: Clusters
    local: fmpq
    share: fmpq

    @property
    def rank(self) -> int:
        """The global truncation rank."""
        return rank_of(self.spectral.eigenvalues, self.share)

    def block(self, rows: Sequence[int]) -> fmpq_mat:
        """The kernel of one cluster."""
        return qq.select(self.spectral.kernel, rows, rows)

    def restricted(self, rows: Sequence[int]) -> fmpq_mat:
        """P_h: the projector onto the span of the global eigenvectors restricted to a cluster."""
        return (
            qq.projector(qq.select(self.spectral.u, rows, range(self.rank)).transpose())
            if self.rank
            else qq.zeros(len(rows), len(rows))
        )


@st.composite
def globals_(draw: Any) -> Global:
    """Draw a clustered kernel with known global spectrum."""
    case = draw(spectral(2, 4).filter(lambda c: c.sigma[0] > 0))
    return Global(case, draw(partitions(case.n)), draw(SHARES), draw(SHARES))


def lg_1(case: Global, *, right: Callable, cut: Callable) -> Margin:
    """LG-1: sum_h tr((I - P_h) K^(h)) <= tail <= eps_g tr K."""
    uncovered = fmpq(0)
    for rows in case.clusters:
        block = case.block(rows)
        uncovered += qq.trace(block - cut(case, rows) * block)
    tail = sum(case.spectral.eigenvalues[case.rank :], fmpq(0))
    return all_of(at_most(uncovered, right(case, tail)), at_most(tail, case.share * qq.trace(case.spectral.kernel)))


def no_other_cluster(case: Global, rows: Sequence[int]) -> fmpq_mat:
    """Return a projector that forgets the first global eigenvector."""
    kept = qq.select(case.spectral.u, rows, range(1, max(case.rank, 1)))
    return qq.projector(kept.transpose()) if kept.ncols() else qq.zeros(len(rows), len(rows))


def full_rank_block(case: Global) -> bool:
    """Every cluster's block of the global basis has full row rank."""
    return all(qq.select(case.spectral.u, rows, range(case.rank)).rank() == len(rows) for rows in case.clusters)


def vacuous(case: Global, *, hypotheses: tuple = (full_rank_block,)) -> Margin:
    """With at least as many global directions as rows, P_h is the identity whatever the data."""
    meet(case, hypotheses)
    return all_of(equal(case.restricted(rows), qq.identity(len(rows))) for rows in case.clusters)


def float_case(case: Global) -> tuple[np.ndarray, np.ndarray]:
    """The kernel and the labels as dntk_ref takes them."""
    labels = np.zeros(case.spectral.n, int)
    for h, rows in enumerate(case.clusters):
        labels[list(rows)] = h
    return qq.floats(case.spectral.kernel), labels


def exact_uncovered(case: Global) -> fmpq_mat:
    """The uncovered trace and the tail."""
    parts = [qq.trace(case.block(rows) - case.restricted(rows) * case.block(rows)) for rows in case.clusters]
    return qq.mat([[sum(parts, fmpq(0)), sum(case.spectral.eigenvalues[case.rank :], fmpq(0))]])


def reference_uncovered(case: Global) -> list[float]:
    """The same by dntk_ref."""
    kernel, labels = float_case(case)
    found = theorem_lg1(kernel, labels, epsilon_local=float(case.local), epsilon_global=float(case.share))
    return [found.uncovered, found.tail]


def no_tie(case: Global) -> bool:
    """The cut is no tie, so that the global space is determined."""
    values = (*case.spectral.eigenvalues, fmpq(-1))
    return case.rank == 0 or values[case.rank - 1] > values[case.rank]


def no_sliver(case: Global) -> bool:
    """Restricted eigenvectors are dependent or well apart: float64 can decide the rank of each block."""
    for rows in case.clusters:
        block = qq.select(case.spectral.u, rows, range(case.rank))
        values = np.linalg.svd(qq.floats(block), compute_uv=False) if case.rank else np.zeros(0)
        if np.any((values > 1e-13) & (values < 1e-3)):
            return False
    return True


GLOBAL = drawn(globals_())
DETERMINED = drawn(globals_().filter(lambda c: no_tie(c) and no_sliver(c)))
LOOSE = Global(Spectral(qq.identity(2), (fmpq(2), fmpq(1)), qq.identity(2)), ((0,), (1,)), fmpq(0), fmpq(1, 5))
LG_1 = Statement(
    label="lg_1",
    row="Theorem LG‑1",
    readings=(
        Reading(
            key="as stated",
            formula=r"\sum_h\mathrm{tr}((I-P_h)K^{(h)})\leq\sum_{j>r_g}\lambda_j\leq\epsilon_g\,\mathrm{tr}K",
            verdict=Verdict.HOLDS,
            proof=PROOFS["lg_1", "as stated"],
            steps=(
                Step(
                    claim="both inequalities, exactly",
                    check=lg_1,
                    cases=lambda n: (*GLOBAL(n), LOOSE),
                    twins=(
                        Twin("half the tail", {"right": lambda c, tail: tail / 2}),
                        Twin("first eigenvector forgotten", {"cut": no_other_cluster}),
                    ),
                    sides={"right": lambda c, tail: tail, "cut": lambda c, rows: c.restricted(rows)},
                    attained="K = diag(4, 1), two clusters",
                ),
                Step(
                    claim="dntk_ref's uncovered trace and tail",
                    check=by_reference,
                    cases=DETERMINED,
                    twins=(
                        Twin("the two exchanged", {"exact": lambda c: exact_uncovered(c) * qq.mat([[0, 1], [1, 0]])}),
                        Twin("doubled", {"exact": lambda c: exact_uncovered(c) * fmpq(2) + qq.mat([[0, 1]])}),
                    ),
                    sides={
                        "reference": reference_uncovered,
                        "exact": exact_uncovered,
                        "scale": lambda c: 1e6 * float(qq.trace(c.spectral.kernel)),
                    },
                ),
            ),
        ),
    ),
    table=2,
)


def ratio(case: Global, rows: Sequence[int], *, lifted: bool) -> tuple[fmpq, fmpq]:
    """The two sums of (12) for a cluster whose kernel is diagonal: kept energy and energy inside the global directions."""
    block = case.block(rows)
    values = sorted(((block[i, i], i) for i in range(len(rows))), reverse=True)
    r = rank_of(tuple(value for value, _ in values), case.local)
    space = qq.select(qq.kernel_of(case.spectral.left(case.rank)), rows, rows) if lifted else case.restricted(rows)
    kept = sum((value for value, _ in values[:r]), fmpq(0))
    return kept, sum((value * space[i, i] for value, i in values[:r]), fmpq(0))


def diagonal_blocks(case: Global) -> bool:
    """Every cluster's kernel is diagonal and not zero, so that its eigenvectors are known."""
    blocks = [case.block(rows) for rows in case.clusters]
    return all(b == qq.diagonal([b[i, i] for i in range(b.nrows())]) and qq.trace(b) > 0 for b in blocks)


def property_a(case: Global, *, clusters: str, lifted: bool = False) -> Margin:
    """(12) with delta = eps_g / (1 - eps_l), in every cluster or on the energy-weighted mean."""
    meet(case, (diagonal_blocks,))
    delta = case.share / (1 - case.local)
    pairs = [ratio(case, rows, lifted=lifted) for rows in case.clusters]
    if clusters == "mean":
        return at_most(1 - delta, sum((i for _, i in pairs), fmpq(0)) / sum((k for k, _ in pairs), fmpq(0)))
    return all_of(at_most(1 - delta, inside / kept) for kept, inside in pairs)


@st.composite
def diagonals(draw: Any, singletons: bool = False) -> Global:
    """Draw a kernel whose clusters have diagonal blocks: a diagonal one, or single points under any kernel."""
    if singletons:
        case = draw(spectral(2, 4).filter(lambda c: all(c.kernel[i, i] > 0 for i in range(c.n))))
        return Global(case, tuple((i,) for i in range(case.n)), draw(SHARES), draw(SHARES))
    n = draw(st.integers(2, 4))
    sigma = sorted(draw(st.lists(st.integers(1, 10), min_size=n, max_size=n)), reverse=True)
    case = Spectral(qq.identity(n), tuple(fmpq(s, 10) for s in sigma), qq.identity(n))
    return Global(case, draw(partitions(n)), draw(SHARES), draw(SHARES))


AXES = qq.identity(2)
CEX_9 = Global(Spectral(AXES, (fmpq(1), fmpq(1, 10)), AXES), ((0,), (1,)), fmpq(0), fmpq(1, 20))
LOW_ENERGY = drawn(diagonals())


@dataclass(frozen=True)
class Lifted:
    """Single points under a kernel, given by the projector U_g U_g^T (rational where its vectors are not)."""

    top: fmpq_mat
    share: fmpq


def lifted_ratio(case: Lifted, *, lifted: bool = True) -> Margin:
    """Reading R2 for single points: the lifted local vector e_i keeps e_i^T (U_g U_g^T) e_i >= 1 - eps_g."""
    kept = [case.top[i, i] if lifted else fmpq(int(case.top[i, i] > 0)) for i in range(case.top.nrows())]
    return all_of(at_most(1 - case.share, value) for value in kept)


def mean_null(case: tuple[int, int, int], *, null: Callable) -> Margin:
    """For random global directions the mean of |P_h u|^2 is min(1, r_g / n_h); 400 draws."""
    n_h, r_g, seed = case
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(400):
        basis, _ = np.linalg.qr(rng.standard_normal((n_h, min(n_h, r_g))))
        u = rng.standard_normal(n_h)
        values.append(np.sum((basis.T @ (u / np.linalg.norm(u))) ** 2))
    return sampled(np.array(values), null(n_h, r_g))


CEX_30 = Lifted(qq.ones(2, 2) * fmpq(1, 2), fmpq(0))
PROPERTY_A = Statement(
    label="property_a",
    row="Property (A) (12)",
    readings=(
        Reading(
            key="R1, energy-weighted mean",
            formula=r"\overline{\sum_{j\leq r_h}\lambda_j^{(h)}\|P_hu_j^{(h)}\|^2}\ /\ \overline{\sum_{j\leq "
            r"r_h}\lambda_j^{(h)}}\geq 1-\frac{\epsilon_g}{1-\epsilon_\ell}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["property_a", "R1, energy-weighted mean"],
            steps=(
                Step(
                    claim="the mean over clusters",
                    check=property_a,
                    cases=lambda n: (*LOW_ENERGY(n), *drawn(diagonals(True))(n), CEX_9),
                    twins=(
                        Twin("every cluster", {"clusters": "each"}),
                        Twin("lifted vectors, global directions not restricted", {"lifted": True}),
                    ),
                    sides={"clusters": "mean"},
                ),
                Step(
                    claim="null value r_g / n_h: with r_g >= n_h directions it says nothing",
                    check=vacuous,
                    cases=drawn(globals_().filter(lambda c: full_rank_block(c))),
                    twins=(
                        Twin("fewer directions than rows", {"hypotheses": ()}, GLOBAL),
                        Twin("rank-deficient block", {"hypotheses": ()}, fixed(replace(CEX_9, clusters=((0, 1),)))),
                    ),
                ),
                Step(
                    claim="null value for random directions",
                    check=mean_null,
                    cases=fixed((50, 36, 1), (20, 5, 2), (10, 12, 3)),
                    twins=(
                        Twin("r_g / (n_h + 5)", {"null": lambda n, r: min(1.0, r / (n + 5))}),
                        Twin("square of it", {"null": lambda n, r: min(1.0, r / n) ** 2}),
                    ),
                    sides={"null": lambda n, r: min(1.0, r / n)},
                ),
            ),
            note="a theorem, not an assumption (LG-1)",
        ),
        Reading(
            key="R1, every cluster",
            formula=r"\frac{\sum_{j\leq r_h}\lambda_j^{(h)}\|P_hu_j^{(h)}\|^2}{\sum_{j\leq r_h}\lambda_j^{(h)}}"
            r"\geq 1-\frac{\epsilon_g}{1-\epsilon_\ell}\ \ \forall h",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-9",
                    check=property_a,
                    case=CEX_9,
                    controls=(
                        Twin("energy-weighted mean", {"clusters": "mean"}),
                        Twin("both directions kept", cases=fixed(replace(CEX_9, share=fmpq(0)))),
                    ),
                    printed={"clusters": "each"},
                    left="19/20",
                    right=0,
                    search=diagonals(),
                ),
            ),
        ),
        Reading(
            key="R2, lifted vectors",
            formula=r"\|U_g^T\tilde u_j^{(h)}\|^2\geq 1-\frac{\epsilon_g}{1-\epsilon_\ell}",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-30",
                    check=lifted_ratio,
                    case=CEX_30,
                    controls=(
                        Twin("restricted and orthonormalised (R1)", {"lifted": False}),
                        Twin("both global directions kept", cases=fixed(Lifted(qq.identity(2), fmpq(0)))),
                    ),
                    printed={},
                    left=1,
                    right="1/2",
                ),
                Refutation(
                    name="CEX-30 (search)",
                    check=property_a,
                    case=CEX_9,
                    controls=(
                        Twin("energy-weighted mean, restricted", {"clusters": "mean", "lifted": False}),
                        Twin("both directions kept", cases=fixed(replace(CEX_9, share=fmpq(0)))),
                    ),
                    printed={"clusters": "each", "lifted": True},
                    search=diagonals(True),
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Local:
    """A kernel whose cluster blocks have rational eigenvectors: frames Q_h, block eigenvalues, and coupling between."""

    frames: tuple[fmpq_mat, ...]
    values: tuple[tuple[fmpq, ...], ...]
    coupling: fmpq_mat
    share: fmpq

    @property
    def frame(self) -> fmpq_mat:
        """The direct sum of the frames."""
        return qq.block_diagonal(*self.frames)

    @property
    def kernel(self) -> fmpq_mat:
        """The kernel."""
        return (
            self.frame
            * (qq.diagonal([v for block in self.values for v in block]) + self.coupling)
            * self.frame.transpose()
        )

    @property
    def kept(self) -> list[int]:
        """For every coordinate of the frame 1 if it is kept locally, else 0."""
        return [int(j < rank_of(block, self.share)) for block in self.values for j in range(len(block))]

    @property
    def projector(self) -> fmpq_mat:
        """Pi_loc."""
        return self.frame * qq.diagonal(self.kept) * self.frame.transpose()


@st.composite
def locals_(draw: Any) -> Local:
    """Draw two clusters of one to three rows; the coupling is small enough for the kernel to stay semi-definite."""
    sizes = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    frames = tuple(draw(orthogonal(size)) for size in sizes)
    values = tuple(
        tuple(sorted((fmpq(v) for v in draw(st.lists(st.integers(1, 9), min_size=size, max_size=size))), reverse=True))
        for size in sizes
    )
    # row sums at most 3 * 4 / 12, the smallest eigenvalue: the diagonal dominates
    between = draw(matrices(*sizes)) * fmpq(1, 12)
    n = sum(sizes)
    coupling = qq.zeros(n, n)
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            coupling[i, sizes[0] + j] = coupling[sizes[0] + j, i] = between[i, j]
    return Local(frames, values, coupling, draw(SHARES))


def semidefinite(case: Local) -> bool:
    """The kernel is positive semi-definite."""
    return min(qq.ldl_pivots(case.kernel)) >= 0


def lg_2(case: Local, *, tails: Callable, bound: Callable) -> Margin:
    """LG-2: tr((I - Pi_loc) K) = the sum of the local tails <= eps_l tr K."""
    meet(case, (semidefinite,))
    uncovered = qq.trace(case.kernel) - qq.dot(case.projector, case.kernel)
    return all_of(equal(uncovered, tails(case)), at_most(uncovered, bound(case)))


def local_tails(case: Local) -> fmpq:
    """The sum of the local eigenvalues that are not kept."""
    flat = [v for block in case.values for v in block]
    return sum((v for v, kept in zip(flat, case.kept, strict=True) if not kept), fmpq(0))


def share_bound(case: Local) -> fmpq:
    """eps_l tr K."""
    return case.share * qq.trace(case.kernel)


def reference_lg_2(case: Local) -> list[float]:
    """dntk_ref's uncovered trace and local tails."""
    labels = [h for h, block in enumerate(case.values) for _ in block]
    found = theorem_lg2(qq.floats(case.kernel), labels, epsilon_local=float(case.share))
    return [found.uncovered, found.local_tails]


LOCAL = drawn(locals_())
ATTAINED = Local((AXES,), ((fmpq(4), fmpq(1)),), qq.zeros(2, 2), fmpq(1, 5))
LG_2 = Statement(
    label="lg_2",
    row="Theorem LG‑2",
    readings=(
        Reading(
            key="as stated",
            formula=r"\mathrm{tr}((I-\Pi_{loc})K)=\sum_h\sum_{j>r_h}\lambda_j^{(h)}\leq\epsilon_\ell\,\mathrm{tr}K",
            verdict=Verdict.HOLDS,
            proof=PROOFS["lg_2", "as stated"],
            steps=(
                Step(
                    claim="equality and bound, exactly",
                    check=lg_2,
                    cases=lambda n: (*LOCAL(n), ATTAINED),
                    twins=(
                        Twin("bound 0.9 times", {"bound": lambda c: share_bound(c) * fmpq(9, 10)}),
                        Twin("tails of squared eigenvalues", {"tails": lambda c: local_tails(c) ** 2}),
                    ),
                    sides={"tails": local_tails, "bound": share_bound},
                    attained="diag(4, 1), one cluster, share 1/5",
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=LOCAL,
                    twins=(
                        Twin("kept trace", {"exact": lambda c: qq.mat([[qq.trace(c.kernel) - local_tails(c)] * 2])}),
                        Twin("doubled", {"exact": lambda c: qq.mat([[2 * local_tails(c) + 1] * 2])}),
                    ),
                    sides={
                        "reference": reference_lg_2,
                        "exact": lambda c: qq.mat([[local_tails(c)] * 2]),
                        "scale": lambda c: float(qq.trace(c.kernel)),
                    },
                ),
            ),
            hypotheses=("clusters with a zero block dropped",),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Seeded:
    """A float64 kernel with decaying spectrum, equal clusters and three shares, made from a seed."""

    seed: int
    decay: float
    clusters: int
    local: float
    share: float
    threshold: float

    @property
    def kernel(self) -> np.ndarray:
        """24 x 24, eigenvalues decay^j."""
        frame, _ = np.linalg.qr(np.random.default_rng(self.seed).standard_normal((24, 24)))
        return (frame * self.decay ** np.arange(24)) @ frame.T

    @property
    def labels(self) -> np.ndarray:
        """Consecutive clusters of equal size."""
        return np.repeat(np.arange(self.clusters), 24 // self.clusters)


SEEDED = st.builds(
    Seeded,
    st.integers(0, 10**6),
    st.sampled_from([0.5, 0.8, 0.95]),
    st.sampled_from([2, 3, 6]),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.sampled_from([0.5, 0.8]),
)


def lg_3(case: Seeded, *, share: Callable) -> Margin:
    """LG-3: one direction, the weighted mean, and the set of gaps, each against its bound."""
    found = corollary_lg3(
        case.kernel, case.labels, epsilon_local=case.local, epsilon_global=case.share, coverage_threshold=case.threshold
    )
    trace, eps = float(np.trace(case.kernel)), share(case)
    return all_of(
        at_most(found.largest, eps * trace, scale=trace),
        at_most(found.weighted, eps / (1 - case.share), scale=1.0),
        at_most(found.gap_energy, eps * trace / (1 - case.threshold), scale=trace),
    )


LG_3 = Statement(
    label="lg_3",
    row="Corollary LG‑3",
    readings=(
        Reading(
            key="as stated",
            formula=r"\lambda_j(1-\|\Pi_{loc}u_j\|^2)\leq\epsilon_\ell\,\mathrm{tr}K,"
            r"\quad \frac{\sum_{j\leq r_g}\lambda_j(1-\|\Pi_{loc}u_j\|^2)}{\sum_{j\leq r_g}\lambda_j}"
            r"\leq\frac{\epsilon_\ell}{1-\epsilon_g}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["lg_3", "as stated"],
            steps=(
                Step(
                    claim="all three parts, float64",
                    check=lg_3,
                    cases=drawn(SEEDED),
                    twins=(
                        Twin("a tenth of eps_l", {"share": lambda c: c.local / 10}),
                        Twin("eps_l squared", {"share": lambda c: c.local**2}),
                    ),
                    sides={"share": lambda c: c.local},
                ),
            ),
            hypotheses=("coverage threshold below 1 (third part)",),
        ),
    ),
    table=2,
)

STATEMENTS = (PROPERTY_A, LG_1, LG_2, LG_3)
