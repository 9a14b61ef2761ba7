"""The statements that speak of data, on the tangent features of one trained network: theory and measurement.

Definition 3.1, Properties A and B, Proposition 3.6, PCA dominance and Proposition B.6; random maps and Theorem R are in
check_real_maps.py. Each inequality that a theorem guarantees is a check; the rest is measured and shown.
One file because all measurements read the same gradients, loaded once.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from dntk_ref.gradient_distillation import (
    captured_energy,
    farthest_point_rows,
    kernel_error,
    kmeans_rows,
    leverage_rows,
    local_global_synthesis,
    random_rows,
    selection,
    top_eigenvectors,
)
from dntk_ref.locality import (
    cluster_coverage,
    local_basis,
    property_a_null,
    property_a_r1,
    property_a_r2,
    theorem_lg1,
    true_coverage,
    unweighted_gap,
    weighted_gap,
)
from dntk_ref.redundancy import (
    improved_redundancy_bound_gap,
    improved_redundancy_bound_mean,
    parameter_redundancy,
    redundancy_bound_r1_printed,
    redundancy_bound_r2_printed,
    subset_residual,
    truncation_rank,
    volume_sampling_bound,
    volume_sampling_residual,
)
from dntk_ref.subspace import energy_gap_of, principal_angles, span_basis
from proofs_checks.instances import SEED
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.real import EPSILON, ROUNDINGS, RealClass, real, real_classes, shown
from proofs_checks.statement import Measurement, Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]

REAL, AS_MEASURED = 3, "as measured"


# --- Def 3.1 ----------------------------------------------------------------------------------------------------------


def rank_of(case: RealClass) -> int:
    """r_eps by dntk_ref."""
    return truncation_rank(case.kernel, EPSILON)


def truncates(case: RealClass, *, rank: Callable) -> Margin:
    """The rank holds 1 - eps of the trace, and one less does not; sums of the factor's squared columns."""
    sums, r, wanted = np.cumsum(case.values), rank(case), (1 - EPSILON) * case.total
    return all_of(at_most(wanted, sums[r - 1], scale=case.scale), at_most(sums[r - 2], wanted, scale=case.scale))


def unit_kernel(case: RealClass) -> np.ndarray:
    """K with mean eigenvalue one: elementary symmetric polynomials of it do not overflow."""
    return case.kernel * len(case.kernel) / case.total


def tail(case: RealClass, r: int) -> float:
    """The eigenvalues after the r-th, summed, as a share of the trace."""
    return float(case.values[r:].sum()) / case.total


def sampled_inputs(case: RealClass) -> float:
    """Mean share of the trace that r_eps inputs drawn with probability det K_SS leave, exactly."""
    return volume_sampling_residual(unit_kernel(case), rank_of(case)) / len(case.kernel)


def by_inputs(case: RealClass, *, bound: Callable) -> Margin:
    """What r_eps inputs leave is at most the bound."""
    return at_most(sampled_inputs(case), bound(case), scale=ROUNDINGS)


def volume_bound(case: RealClass) -> float:
    """(r + 1) times the tail, as a share."""
    return volume_sampling_bound(unit_kernel(case), rank_of(case)) / len(case.kernel)


def _def_3_1() -> tuple[Measurement, ...]:
    return (
        shown("truncation rank at 0.05, of n = 200", "between 1 and n", rank_of),
        shown("redundancy n / r", "above 1: redundant", lambda c: len(c.kernel) / rank_of(c)),
        shown("share that r combinations of inputs hold", "at least 0.95", lambda c: 1 - tail(c, rank_of(c))),
        shown(
            "share that r inputs hold, volume sampling, mean",
            "at least 1 - (r + 1) tail (here empty):",
            lambda c: 1 - sampled_inputs(c),
            lambda c: 1 - volume_bound(c),
        ),
        shown(
            "share that the r farthest inputs hold",
            "at most that of r combinations:",
            lambda c: captured_energy(c.kernel, selection(len(c.kernel), farthest_point_rows(c.kernel, rank_of(c)))),
            lambda c: 1 - tail(c, rank_of(c)),
        ),
    )


DEF_3_1 = Statement(
    label="real_def_3_1",
    row="Def 3.1, data redundancy",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"r_\epsilon(K)=\min\{r:\sum_{i\leq r}\lambda_i\geq(1-\epsilon)\sum_i\lambda_i\}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="the rank is where the captured share passes 0.95",
                    check=truncates,
                    cases=real,
                    twins=(
                        Twin("one less", {"rank": lambda c: rank_of(c) - 1}),
                        Twin("one more", {"rank": lambda c: rank_of(c) + 1}),
                        Twin("at 0.04", {"rank": lambda c: truncation_rank(c.kernel, 0.04)}),
                    ),
                    sides={"rank": rank_of},
                ),
                Step(
                    claim="r inputs by volume sampling leave at most (r + 1) tails",
                    check=by_inputs,
                    cases=real,
                    twins=(
                        Twin("one tail, as if inputs were combinations", {"bound": lambda c: tail(c, rank_of(c))}),
                        Twin("epsilon, as the gloss has it", {"bound": lambda c: EPSILON}),
                    ),
                    sides={"bound": volume_bound},
                ),
            ),
            measured=_def_3_1,
            note="inputs hold less than the gloss promises: about 0.91 instead of 0.95",
        ),
    ),
    table=REAL,
)


# --- Properties A and B -----------------------------------------------------------------------------------------------


def seeded(case: RealClass, purpose: int) -> np.random.Generator:
    """A generator of its own for each class and purpose."""
    return np.random.default_rng([SEED, case.index, purpose])


def random_frame(case: RealClass) -> np.ndarray:
    """As many orthonormal vectors as the global frame has, at random."""
    return np.linalg.qr(seeded(case, 0).standard_normal(case.frame.shape))[0]


def automatic(case: RealClass, *, frame: Callable) -> Margin:
    """LG-1: what the restricted frame misses of each cluster's kernel, summed, is at most the tail; that at most eps."""
    vectors, missed = frame(case), 0.0
    for rows in case.clusters:
        basis, sigma, _ = np.linalg.svd(vectors[rows], full_matrices=False)
        held = basis[:, sigma > 1e-12 * sigma[0]]
        block = case.kernel[np.ix_(rows, rows)]
        missed += float(np.trace(block) - np.sum(held * (block @ held)))
    left = tail(case, vectors.shape[1]) * case.total
    return all_of(at_most(missed, left, scale=case.scale), at_most(left, EPSILON * case.total, scale=case.scale))


def ratios(case: RealClass, reading: Callable = property_a_r1) -> np.ndarray:
    """Eq (12), one for each cluster."""
    return reading(case.kernel, case.partition, epsilon_local=EPSILON, epsilon_global=EPSILON)


def nulls(case: RealClass) -> np.ndarray:
    """The null line of property A: min(1, r_g / n_h)."""
    return property_a_null(case.partition, case.frame.shape[1])


def mean_ratio(case: RealClass, shares: np.ndarray) -> float:
    """The mean over clusters, weighted by the energy that each cluster's local vectors hold."""
    blocks = [case.kernel[np.ix_(rows, rows)] for rows in case.clusters]
    spectra = [np.linalg.eigvalsh(block)[::-1] for block in blocks]
    energies = [s[: truncation_rank(b, EPSILON)].sum() for s, b in zip(spectra, blocks, strict=True)]
    return float(np.average(shares, weights=energies))


def on_average(case: RealClass, *, shares: Callable) -> Margin:
    """LG-1: the weighted mean of the ratios is at least 1 - eps / (1 - eps)."""
    return at_most(1 - EPSILON / (1 - EPSILON), mean_ratio(case, shares(case)), scale=ROUNDINGS)


def _property_a() -> tuple[Measurement, ...]:
    return (
        shown(
            "(A) on the energy-weighted average of 5 clusters",
            "at least 0.9474, for any data (LG-1)",
            lambda c: mean_ratio(c, ratios(c)),
        ),
        shown(
            "(A) in its worst cluster",
            "no bound; random vectors give r_g / n_h there:",
            lambda c: ratios(c).min(),
            lambda c: nulls(c)[ratios(c).argmin()],
        ),
        shown(
            "clusters of 5 where the null line is 1, (A) empty",
            "those with n_h at most r_g",
            lambda c: (nulls(c) == 1).sum(),
        ),
        shown(
            "lifted without restriction (R2), weighted average",
            "no bound",
            lambda c: mean_ratio(c, ratios(c, property_a_r2)),
        ),
        shown(
            "variance that (A) leaves, share of tr K",
            "at most the tail:",
            lambda c: (
                theorem_lg1(c.kernel, c.partition, epsilon_local=EPSILON, epsilon_global=EPSILON).uncovered / c.total
            ),
            lambda c: tail(c, c.frame.shape[1]),
        ),
    )


PROPERTY_A = Statement(
    label="real_property_a",
    row="Property (A) with 5 clusters",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\sum_h\mathrm{tr}((I-P_h)K^{(h)})\leq\sum_{j>r_g}\lambda_j\leq\epsilon_g\mathrm{tr}K",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="LG-1: the restricted global vectors miss at most the tail",
                    check=automatic,
                    cases=real,
                    twins=(
                        Twin("random vectors", {"frame": random_frame}),
                        Twin("the last eigenvectors", {"frame": lambda c: c.vectors[:, -c.frame.shape[1] :]}),
                    ),
                    sides={"frame": lambda c: c.frame},
                ),
                Step(
                    claim="LG-1: the weighted mean of (12) is at least 1 - eps / (1 - eps)",
                    check=on_average,
                    cases=real,
                    twins=(
                        Twin("the null line", {"shares": nulls}),
                        Twin("lifted without restriction (R2)", {"shares": lambda c: ratios(c, property_a_r2)}),
                    ),
                    sides={"shares": ratios},
                ),
            ),
            measured=_property_a,
            note="near 1 as LG-1 demands of any data; the null line is 0.6 to 1, so (A) says little",
        ),
    ),
    table=REAL,
)


def separate(case: RealClass, *, space: Callable) -> Margin:
    """LG-2: what the local spaces miss is the sum of the clusters' tails, at most eps tr K."""
    basis = space(case)
    missed = case.total - float(np.sum(basis * (case.kernel @ basis)))
    tails = 0.0
    for rows in case.clusters:
        block = case.kernel[np.ix_(rows, rows)]
        tails += float(np.linalg.eigvalsh(block)[::-1][truncation_rank(block, EPSILON) :].sum())
    return all_of(equal(missed, tails, scale=case.scale), at_most(missed, EPSILON * case.total, scale=case.scale))


def average_local(case: RealClass) -> np.ndarray:
    """The local spaces of the class average."""
    return local_basis(case.average, case.partition, EPSILON).basis


def gap(case: RealClass) -> float:
    """The variance-weighted share of the truncated variance that the local spaces miss."""
    return weighted_gap(case.kernel, case.frame, case.local)


def gap_bounded(case: RealClass, *, share: Callable) -> Margin:
    """LG-3: the share is at most eps / (1 - eps)."""
    return at_most(share(case), EPSILON / (1 - EPSILON), scale=ROUNDINGS)


def each_direction(case: RealClass, *, weight: Callable) -> Margin:
    """LG-3: lambda_j (1 - |Pi_loc u_j|^2) <= eps tr K for every j."""
    missed = 1 - true_coverage(case.frame, case.local)
    return at_most(float(np.max(weight(case) * missed)), EPSILON * case.total, scale=case.scale)


def coverages(case: RealClass, *, left: Callable, right: Callable) -> Margin:
    """LG-4: one measure of coverage is at most another, in every direction."""
    found = cluster_coverage(case.frame, case.local, case.partition)
    return all_of(at_most(a, b, scale=ROUNDINGS) for a, b in zip(left(case, found), right(case, found), strict=True))


def in_all(case: RealClass, found: object) -> np.ndarray:
    """|Pi_loc u_j|^2."""
    return true_coverage(case.frame, case.local)


def directions(case: RealClass, measure: str) -> int:
    """How many global directions have a coverage below 0.9 by a measure."""
    found = cluster_coverage(case.frame, case.local, case.partition)
    return int(((found.best if measure == "best" else in_all(case, found)) < 0.9).sum())


def _property_b() -> tuple[Measurement, ...]:
    return (
        shown("weighted gap", "at most 0.05263 (LG-3)", gap),
        shown("unweighted gap", "none but 1", lambda c: unweighted_gap(c.frame, c.local)),
        shown(
            "share of tr K outside the local spaces",
            "at most 0.05 (LG-2)",
            lambda c: 1 - float(np.sum(c.local * (c.kernel @ c.local))) / c.total,
        ),
        shown("global directions, r_g", "between 1 and n", lambda c: c.frame.shape[1]),
        shown(
            "of them covered below 0.9 by the paper's maximum",
            "at most those by true coverage (LG-4):",
            lambda c: directions(c, "best"),
            lambda c: directions(c, "true"),
        ),
    )


PROPERTY_B = Statement(
    label="real_property_b",
    row="Property (B) with 5 clusters",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\frac{\sum_{j\leq r_g}\lambda_j(1-\|\Pi_{loc}u_j\|^2)}{\sum_{j\leq r_g}\lambda_j}"
            r"\leq\frac{\epsilon_\ell}{1-\epsilon_g}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="LG-2: the variance outside is the sum of the local tails",
                    check=separate,
                    cases=real,
                    twins=(
                        Twin("local spaces of the class average", {"space": average_local}),
                        Twin("global eigenvectors in their place", {"space": lambda c: c.frame}),
                    ),
                    sides={"space": lambda c: c.local},
                ),
                Step(
                    claim="LG-3: the weighted gap",
                    check=gap_bounded,
                    cases=real,
                    twins=(
                        Twin("unweighted", {"share": lambda c: unweighted_gap(c.frame, c.local)}),
                        Twin("the worst direction", {"share": lambda c: 1 - in_all(c, None).min()}),
                    ),
                    sides={"share": gap},
                ),
                Step(
                    claim="LG-3: every direction",
                    check=each_direction,
                    cases=real,
                    twins=(
                        Twin("the top eigenvalue for every direction", {"weight": lambda c: c.values[0]}),
                        Twin("tr K for every direction", {"weight": lambda c: c.total}),
                    ),
                    sides={"weight": lambda c: c.values[: c.frame.shape[1]]},
                ),
                Step(
                    claim="LG-4: true coverage is at most the best cluster's",
                    check=coverages,
                    cases=real,
                    twins=(
                        Twin("sides exchanged", {"left": lambda c, f: f.best, "right": in_all}),
                        Twin("at most the worst cluster's", {"right": lambda c, f: f.share.min(axis=1)}),
                    ),
                    sides={"left": in_all, "right": lambda c, f: f.best},
                ),
            ),
            measured=_property_b,
        ),
    ),
    table=REAL,
)

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


def gap_at(case: RealClass, level: float, kind: Callable) -> float:
    """A gap with local spaces kept at another threshold."""
    basis = local_basis(case.kernel, case.partition, level).basis
    return weighted_gap(case.kernel, case.frame, basis) if kind is weighted_gap else kind(case.frame, basis)


def every_level(case: RealClass, *, kind: Callable) -> Margin:
    """At every local threshold the gap is at most eps_l / (1 - eps_g)."""
    return all_of(at_most(gap_at(case, e, kind), e / (1 - EPSILON), scale=ROUNDINGS) for e in LEVELS)


def largest_missed(frame: np.ndarray, basis: np.ndarray) -> float:
    """The part of the worst direction that the local spaces miss."""
    return float(1 - true_coverage(frame, basis).min())


def reached(case: RealClass, share: float, kind: Callable) -> float:
    """The least threshold of LEVELS at which a gap reaches a share."""
    return next((e for e in LEVELS if gap_at(case, e, kind) >= share), float("nan"))


def _headline() -> tuple[Measurement, ...]:
    rows = [
        shown(
            f"weighted gap, local threshold {e}",
            f"at most {e / (1 - EPSILON):.4g}",
            lambda c, e=e: gap_at(c, e, weighted_gap),
        )
        for e in LEVELS[:4]
    ]
    return (
        *rows,
        shown(
            "local threshold of the grid where the weighted gap is 12 %",
            "at least 0.114",
            lambda c: reached(c, 0.12, weighted_gap),
        ),
        shown("unweighted gap, local threshold 0.05", "none but 1", lambda c: gap_at(c, 0.05, unweighted_gap)),
        shown(
            "weighted gap, local spaces of the class average at 0.05",
            "none for this class's kernel",
            lambda c: weighted_gap(c.kernel, c.frame, average_local(c)),
        ),
    )


HEADLINE = Statement(
    label="real_gap_12_15",
    row='"12–15 % of the global variance outside the local clusters"',
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\frac{\sum_{j\leq r_g}\lambda_j(1-\|\Pi_{loc}u_j\|^2)}{\sum_{j\leq r_g}\lambda_j}"
            r"\leq\frac{\epsilon_\ell}{1-\epsilon_g}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="the weighted gap at every local threshold",
                    check=every_level,
                    cases=real,
                    twins=(
                        Twin("unweighted", {"kind": unweighted_gap}),
                        Twin("the worst direction", {"kind": largest_missed}),
                    ),
                    sides={"kind": weighted_gap},
                ),
            ),
            measured=_headline,
            note="12 % weighted is impossible at 0.05; here it appears near a local threshold of 0.2, and the "
            "unweighted share exceeds it at 0.05",
        ),
    ),
    table=REAL,
)


# --- Prop 3.6 and PCA dominance ---------------------------------------------------------------------------------------

M = 40


def subset(case: RealClass, m: int = M) -> np.ndarray:
    """Draw m inputs at random."""
    return random_rows(len(case.kernel), m, rng=seeded(case, m))


def energy_split(case: RealClass, *, rank: Callable) -> Margin:
    """(11): the kernel's own residual is tail + misalignment, and misalignment >= 0 at the rank of the span."""
    rows = subset(case)
    basis = span_basis(case.factor[rows])
    found = energy_gap_of(case.factor, basis @ basis.T, rank(case))
    return all_of(
        equal(subset_residual(case.kernel, rows), found.tail + found.misalignment, scale=case.scale),
        at_most(0.0, found.misalignment, scale=case.scale),
    )


def misaligned(case: RealClass, m: int = M) -> float:
    """The misalignment of m random inputs."""
    return float(case.values[:m].sum()) - case.total + subset_residual(case.kernel, subset(case, m))


def angles(case: RealClass, *, lower: Callable, upper: Callable) -> Margin:
    """The misalignment lies between two eigenvalues times the squared sines of the angles to the top eigenvectors.

    The factor's columns are the principal axes of its rows: in these coordinates the top right singular vectors are the
    first unit vectors.
    """
    sines = float(np.sum(np.sin(principal_angles(case.factor[subset(case)], np.eye(len(case.kernel))[:M])) ** 2))
    return all_of(
        at_most(lower(case.values) * sines, misaligned(case), scale=case.scale),
        at_most(misaligned(case), upper(case.values) * sines, scale=case.scale),
    )


def _prop_3_6() -> tuple[Measurement, ...]:
    rows = []
    for m in (5, 10, 20, 40):
        rows.append(
            shown(
                f"share that {m} random inputs hold",
                f"at most that of the top {m} eigenvectors:",
                lambda c, m=m: 1 - subset_residual(c.kernel, subset(c, m)) / c.total,
                lambda c, m=m: 1 - tail(c, m),
            )
        )
    return (
        *rows,
        shown(f"misalignment of {M} random inputs, share of tr K", "at least 0", lambda c: misaligned(c) / c.total),
    )


PROP_3_6 = Statement(
    label="real_prop_3_6",
    row="Prop 3.6 (11)",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\|\Phi-\Phi\Pi\|_F^2=\sum_{i>r}\sigma_i^2+(\|\Phi\Pi_r\|_F^2-\|\Phi\Pi\|_F^2)",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="residual = tail + misalignment, misalignment at least 0",
                    check=energy_split,
                    cases=real,
                    twins=(
                        Twin("r a tenth of the rank of the span", {"rank": lambda c: M // 10}),
                        Twin("r = 1", {"rank": lambda c: 1}),
                    ),
                    sides={"rank": lambda c: M},
                ),
                Step(
                    claim="angle bound",
                    check=angles,
                    cases=real,
                    twins=(
                        Twin("upper side with the eigenvalue after the cut", {"upper": lambda v: v[M]}),
                        Twin("lower side with the top eigenvalue", {"lower": lambda v: v[0]}),
                    ),
                    sides={"lower": lambda v: v[M - 1] - v[M], "upper": lambda v: v[0]},
                ),
            ),
            measured=_prop_3_6,
        ),
    ),
    table=REAL,
)

FEW, DRAWS = 5, 20


def algorithm_1(case: RealClass) -> np.ndarray:
    """Algorithm 1 on the five clusters, tau_v = 0.5, tau_g = 0.9: here one vector for each cluster and no gap."""
    made = local_global_synthesis(case.factor[None], case.logits[None], labels=case.partition, tau_v=0.5, tau_g=0.9)
    return made[0].synthesis


@lru_cache(maxsize=1)
def syntheses() -> dict[str, list[list[np.ndarray]]]:
    """Synthesis matrices of FEW columns by every method, for each class; random rows are drawn DRAWS times."""

    def rows(choose: Callable, draws: int = 1) -> list[list[np.ndarray]]:
        return [[selection(len(c.kernel), choose(c, seeded(c, 100 + i))) for i in range(draws)] for c in real_classes()]

    return {
        "random inputs": rows(lambda c, rng: random_rows(len(c.kernel), FEW, rng=rng), DRAWS),
        "leverage sampling": rows(
            lambda c, rng: leverage_rows(c.kernel, FEW, lam=c.total / len(c.kernel), rng=rng), DRAWS
        ),
        "k-means medoids": rows(lambda c, rng: kmeans_rows(c.kernel, FEW, rng=rng)),
        "farthest points": rows(lambda c, rng: farthest_point_rows(c.kernel, FEW)),
        "Algorithm 1": [[algorithm_1(c)] for c in real_classes()],
        "top eigenvectors": [[top_eigenvectors(c.kernel, FEW)] for c in real_classes()],
    }


def best_error(case: RealClass, m: int) -> float:
    """(sum_{j>m} lambda_j^2 / sum_j lambda_j^2)^1/2 by the factor's columns."""
    return float(np.linalg.norm(case.values[m:]) / np.linalg.norm(case.values))


def dominated(case: RealClass, *, columns: Callable) -> Margin:
    """No method holds more energy, or reconstructs better, than as many top eigenvectors."""
    found = []
    for made in syntheses().values():
        for u in made[case.index]:
            m = columns(u)
            found += [
                at_most(captured_energy(case.kernel, u), 1 - tail(case, m), scale=ROUNDINGS),
                at_most(best_error(case, m), kernel_error(case.kernel, u), scale=ROUNDINGS),
            ]
    return all_of(found)


def _dominance() -> tuple[Measurement, ...]:
    def rows(word: str, measure: Callable, best: Callable, side: str) -> list[Measurement]:
        return [
            shown(
                f"{word}, {name}" + (f", mean of {DRAWS} draws" if len(made[0]) > 1 else ""),
                f"{side} that of {FEW} top eigenvectors:",
                lambda c, made=made: np.mean([measure(c.kernel, u) for u in made[c.index]]),
                lambda c: best(c, FEW),
            )
            for name, made in syntheses().items()
        ]

    return (
        *rows("energy held", captured_energy, lambda c, m: 1 - tail(c, m), "at most"),
        *rows("kernel error", kernel_error, best_error, "at least"),
    )


DOMINANCE = Statement(
    label="real_pca_dominance",
    row=f'"Distillation selects a subspace": {FEW} synthetic gradients',
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\mathrm{tr}K_U\leq\sum_{j\leq m}\lambda_j,\quad\|K-K_U\|_F\geq(\sum_{j>m}\lambda_j^2)^{1/2}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="every method against as many top eigenvectors",
                    check=dominated,
                    cases=real,
                    twins=(
                        Twin("one eigenvector fewer", {"columns": lambda u: u.shape[1] - 1}),
                        Twin("one eigenvector", {"columns": lambda u: 1}),
                    ),
                    sides={"columns": lambda u: u.shape[1]},
                    attained="top eigenvectors",
                ),
            ),
            measured=_dominance,
            note="one fixed setting of Algorithm 1",
        ),
    ),
    table=REAL,
)


# --- Prop B.6 ---------------------------------------------------------------------------------------------------------


def redundancy_chain(case: RealClass, *, tail_side: Callable, head_side: Callable) -> Margin:
    """sum_{i>r} lambda_i^2 <= lambda_{r+1} sum_{i>r} lambda_i, and sum_{i<=r} lambda_i^2 >= lambda_r (1 - eps) tr K."""
    r, squares = rank_of(case), case.values**2
    size = case.scale * case.total
    return all_of(
        at_most(float(squares[r:].sum()), tail_side(case.values, r) * tail(case, r) * case.total, scale=size),
        at_most(head_side(case.values, r) * (1 - EPSILON) * case.total, float(squares[:r].sum()), scale=size),
    )


def floor(case: RealClass, *, square: Callable) -> Margin:
    """(25): sum lambda_i^2 is at least n times the squared mean eigenvalue."""
    return at_most(square(case), float(np.sum(case.kernel**2)), scale=case.scale * case.total)


BOUNDS = {
    "printed, R1": redundancy_bound_r1_printed,
    "printed, R2": redundancy_bound_r2_printed,
    "improved by the gap": improved_redundancy_bound_gap,
    "improved by the mean": improved_redundancy_bound_mean,
    "sqrt(epsilon)": lambda kernel, epsilon: np.sqrt(epsilon),
}


def exact_ratio(case: RealClass) -> float:
    """|K - K_V|_F / |K|_F by the factor's first r columns."""
    kept = case.factor[:, : rank_of(case)]
    return float(np.linalg.norm(case.kernel - kept @ kept.T) / np.linalg.norm(case.kernel))


def below_all(case: RealClass, *, ratio: Callable) -> Margin:
    """The ratio is at most each bound."""
    return all_of(
        at_most(ratio(case), float(bound(case.kernel, EPSILON)), scale=ROUNDINGS) for bound in BOUNDS.values()
    )


def _prop_b_6() -> tuple[Measurement, ...]:
    rows = [
        shown(
            f"exact ratio beside the bound {name}",
            "at most",
            lambda c: parameter_redundancy(c.kernel, rank_of(c)),
            lambda c, bound=bound: bound(c.kernel, EPSILON),
        )
        for name, bound in BOUNDS.items()
    ]
    return (
        *rows,
        shown(
            "printed R1 over exact",
            "at least 1",
            lambda c: redundancy_bound_r1_printed(c.kernel, EPSILON) / exact_ratio(c),
        ),
        shown(
            "best improved over exact",
            "at least 1",
            lambda c: (
                min(improved_redundancy_bound_gap(c.kernel, EPSILON), improved_redundancy_bound_mean(c.kernel, EPSILON))
                / exact_ratio(c)
            ),
        ),
    )


PROP_B_6 = Statement(
    label="real_prop_b_6",
    row="Prop B.6, printed and improved",
    readings=(
        Reading(
            key=AS_MEASURED,
            formula=r"\frac{\|K-K_V\|_F}{\|K\|_F}\leq\sqrt{\epsilon\lambda_{r+1}/\bar\lambda},"
            r"\quad\frac{\|K-K_V\|_F^2}{\|K\|_F^2}\leq\frac{\kappa\epsilon}{1-\epsilon+\kappa\epsilon}",
            verdict=Verdict.HOLDS,
            steps=(
                Step(
                    claim="(24) and the floor of the first r",
                    check=redundancy_chain,
                    cases=real,
                    twins=(
                        Twin("the last eigenvalue for the one after the cut", {"tail_side": lambda v, r: v[-1]}),
                        Twin("the top eigenvalue for the one before the cut", {"head_side": lambda v, r: v[0]}),
                    ),
                    sides={"tail_side": lambda v, r: v[r], "head_side": lambda v, r: v[r - 1]},
                ),
                Step(
                    claim="(25), the floor of all",
                    check=floor,
                    cases=real,
                    twins=(
                        Twin("without 1 / n", {"square": lambda c: c.total**2}),
                        Twin("three quarters of tr K squared", {"square": lambda c: 0.75 * c.total**2}),
                    ),
                    sides={"square": lambda c: c.total**2 / len(c.kernel)},
                ),
                Step(
                    claim="all five bounds",
                    check=below_all,
                    cases=real,
                    twins=(
                        Twin(
                            "the rank one: only the top eigenvector kept",
                            {"ratio": lambda c: parameter_redundancy(c.kernel, 1)},
                        ),
                        Twin("none kept", {"ratio": lambda c: 1.0}),
                    ),
                    sides={"ratio": exact_ratio},
                ),
            ),
            measured=_prop_b_6,
        ),
    ),
    table=REAL,
)

STATEMENTS = (DEF_3_1, PROPERTY_A, PROPERTY_B, HEADLINE, PROP_3_6, DOMINANCE, PROP_B_6)
