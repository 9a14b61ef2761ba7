"""Sections 4.3 and 4.4: Algorithm 1's synthetic gradients, when they are exact, and what they cannot beat.

One file because the stages of Algorithm 1 share one synthesis and its solves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.gradient_distillation import exact_gradient, restricted_weights, sketched_weights, synthesised_kernel
from proofs_checks import rational as qq
from proofs_checks.instances import Ridge, Spectral, drawn, fixed, matrices, orthogonal, positive, ridges, spectral
from proofs_checks.margin import Margin, above, all_of, at_most, by_reference, equal, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, meet

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Sketch:
    """A ridge problem and a synthesis matrix U (n, m)."""

    ridge: Ridge
    synthesis: fmpq_mat

    @property
    def rows(self) -> fmpq_mat:
        """The synthetic gradients U^T Phi."""
        return self.synthesis.transpose() * self.ridge.features

    @property
    def gram(self) -> fmpq_mat:
        """U^T U."""
        return self.synthesis.transpose() * self.synthesis


@st.composite
def sketches(draw: Any, orthonormal: bool = False) -> Sketch:
    """Draw a ridge problem and a synthesis matrix of full column rank, orthonormal if wished."""
    case = draw(ridges())
    n = case.features.nrows()
    m = draw(st.integers(1, n))
    u = qq.select(draw(orthogonal(n)), range(n), range(m))
    if not orthonormal:
        mix = draw(matrices(m, m)) + qq.identity(m) * fmpq(9)
        u = u * mix
    return Sketch(case, u)


def plain(case: Sketch) -> fmpq_mat:
    """Algorithm 1's solve: Phi^T (Phi Phi^T + lambda I)^{-1} y with the synthetic rows."""
    return _solve(case, qq.identity(case.gram.nrows()))


def repaired(case: Sketch) -> fmpq_mat:
    """The same with the ridge lambda U^T U."""
    return _solve(case, case.gram)


def _solve(case: Sketch, gram: fmpq_mat) -> fmpq_mat:
    right = case.synthesis.transpose() * case.ridge.targets
    return case.rows.transpose() * (qq.kernel_of(case.rows) + gram * case.ridge.lam).solve(right)


def restricted(case: Sketch) -> fmpq_mat:
    """(4.3 d): Phi^T b with b = (U^T K^2 U + lambda U^T K U)^+ U^T K y."""
    k, u = case.ridge.kernel, case.synthesis
    system = u.transpose() * k * k * u + u.transpose() * k * u * case.ridge.lam
    return case.rows.transpose() * (qq.pseudo_inverse(system) * (u.transpose() * (k * case.ridge.targets)))


def orthonormal_columns(case: Sketch) -> bool:
    """U^T U is the identity."""
    return case.gram == qq.identity(case.gram.nrows())


def sketched_slope(case: Sketch, *, weights: Callable, hypotheses: tuple = (orthonormal_columns,)) -> Margin:
    """The weights are stationary for |P (Phi w - y)|^2 + lambda |w|^2, P the projector onto range(U)."""
    meet(case, hypotheses)
    p, phi, w = qq.projector(case.synthesis.transpose()), case.ridge.features, weights(case)
    slope = phi.transpose() * p * (phi * w - case.ridge.targets) + w * case.ridge.lam
    return equal(slope, qq.zeros(slope.nrows(), 1))


@dataclass(frozen=True)
class Modes:
    """Features with rational singular vectors, targets, the ridge, a set of selected eigenvectors and row scales."""

    spectral: Spectral
    targets: fmpq_mat
    lam: fmpq
    selected: tuple[int, ...]
    scales: tuple[fmpq, ...]

    @property
    def sketch(self) -> Sketch:
        """Algorithm 1 with these eigenvectors."""
        u = qq.select(self.spectral.u, range(self.spectral.n), self.selected)
        return Sketch(Ridge(self.spectral.features, self.targets, self.lam, qq.zeros(self.spectral.p, 1)), u)

    @property
    def truncated(self) -> fmpq_mat:
        """Truncated ridge regression: sum over selected modes of sigma_j (u_j . y) / (lambda_j + lambda) v_j."""
        total = qq.zeros(self.spectral.p, 1)
        for j in self.selected:
            total += self.mode(j)
        return total

    def mode(self, j: int) -> fmpq_mat:
        """One term of the sum."""
        if j >= len(self.spectral.sigma):
            return qq.zeros(self.spectral.p, 1)
        sigma = self.spectral.sigma[j]
        u = qq.select(self.spectral.u, range(self.spectral.n), [j])
        v = qq.select(self.spectral.v, range(self.spectral.p), [j])
        return v * (sigma * qq.dot(u, self.targets) / (sigma * sigma + self.lam))


@st.composite
def modes(draw: Any) -> Modes:
    """Draw a selection of eigenvectors."""
    case = draw(spectral(1, 3))
    chosen = draw(st.sets(st.integers(0, case.n - 1), min_size=1))
    scales = draw(st.lists(positive, min_size=len(chosen), max_size=len(chosen)))
    return Modes(case, draw(matrices(case.n, 1)), draw(positive), tuple(sorted(chosen)), tuple(scales))


def truncation(case: Modes, *, solve: Callable) -> Margin:
    """(b): with eigenvectors of K the sketched solve is truncated ridge regression with the same lambda."""
    return equal(solve(case), case.truncated)


def rescaled(case: Modes, *, gram: Callable) -> fmpq_mat:
    """The solve with rows and targets both multiplied by the scales N, and the dual ridge lambda gram(N)."""
    scale = qq.diagonal(case.scales)
    base = case.sketch
    rows, right = scale * base.rows, scale * base.synthesis.transpose() * case.targets
    return rows.transpose() * (qq.kernel_of(rows) + gram(scale) * case.lam).solve(right)


def missing_modes(case: Modes, *, power: int) -> Margin:
    """|w_* - w_hat|^2 = sum over modes not selected of lambda_j (u_j . y)^2 / (lambda_j + lambda)^2."""
    gap = case.sketch.ridge.weights - plain(case.sketch)
    total = fmpq(0)
    for j in range(min(case.spectral.n, len(case.spectral.sigma))):
        if j not in case.selected:
            value = case.spectral.sigma[j] ** 2
            u = qq.select(case.spectral.u, range(case.spectral.n), [j])
            total += value * qq.dot(u, case.targets) ** 2 / (value + case.lam) ** power
    return equal(qq.norm2(gap), total)


def nystrom(case: Sketch, *, weights: Callable) -> Margin:
    """The weights attain the least objective in the span of the synthetic gradients."""
    return at_most(case.ridge.objective(weights(case)), case.ridge.objective(restricted(case)))


def first_weight(case: Sketch, *, weights: Callable) -> Margin:
    """CEX-14: the only weight is at most the full-data one."""
    return at_most(weights(case).entries()[0], case.ridge.weights.entries()[0])


def same_as_full(case: Sketch, *, weights: Callable) -> Margin:
    """With a synthesis matrix that spans everything the weights are those of the full problem."""
    meet(case, (lambda c: c.synthesis.rank() == c.ridge.features.nrows(),))
    return equal(weights(case), case.ridge.weights)


def order(case: Sketch, *, middle: Callable, upper: Callable) -> Margin:
    """J(w_*) <= J(w_R) <= J(w_hat), and w_R is stationary along every synthetic gradient."""
    j, phi, w = case.ridge.objective, case.ridge.features, middle(case)
    slope = case.rows * (phi.transpose() * (phi * w - case.ridge.targets) + w * case.ridge.lam)
    return all_of(
        at_most(j(case.ridge.weights), j(w)), at_most(j(w), j(upper(case))), equal(slope, qq.zeros(slope.nrows(), 1))
    )


def scale_of(case: Sketch) -> float:
    """Size of the weights times the condition number of the normal equations; the basis of U costs a digit."""
    condition = 1 + float(qq.frobenius2(case.ridge.features)) / float(case.ridge.lam)
    return 10 * condition * (1 + float(qq.norm2(case.ridge.weights)) ** 0.5)


def _reference(function: Callable) -> Callable:
    def run(c: Sketch) -> np.ndarray:
        return function(
            qq.floats(c.ridge.features), qq.floats(c.ridge.targets)[:, 0], qq.floats(c.synthesis), float(c.ridge.lam)
        )

    return run


AXES = qq.identity(2)
CEX_13 = Modes(Spectral(AXES, (fmpq(2), fmpq(1)), AXES), qq.column([1, 1]), fmpq(1), (0, 1), (fmpq(1, 2), fmpq(1)))
CEX_14 = Sketch(Ridge(qq.mat([[1], [10]]), qq.column([1, 0]), fmpq(1, 100), qq.mat([[1]])), qq.column([1, 0]))
CEX_15 = Sketch(Ridge(AXES, qq.column([1, 0]), fmpq(1), qq.zeros(2, 1)), qq.mat([[1, 1], [0, 1]]))
ORTHONORMAL, GENERAL, MODES = drawn(sketches(True)), drawn(sketches()), drawn(modes())
SPANNING = sketches().map(
    lambda c: replace(c, synthesis=qq.identity(c.ridge.features.nrows()) + c.synthesis * c.synthesis.transpose())
)


def size_of_first(case: Modes, *, solve: Callable) -> Margin:
    """CEX-13: the first weight is at least that of truncated regression."""
    return at_most(case.truncated.entries()[0], solve(case).entries()[0])


def normalised(case: Modes) -> fmpq_mat:
    """Rows and targets scaled, ridge left alone."""
    return rescaled(case, gram=lambda scale: qq.identity(scale.nrows()))


def normalised_repaired(case: Modes) -> fmpq_mat:
    """Rows and targets scaled by N, dual ridge lambda N N^T."""
    return rescaled(case, gram=lambda scale: scale * scale)


def shrunk_ridge(case: Modes) -> fmpq_mat:
    """The solve with the ridge times m / (n + 1)."""
    lam = case.lam * fmpq(len(case.selected), case.spectral.n + 1)
    return plain(replace(case.sketch, ridge=replace(case.sketch.ridge, lam=lam)))


STAGES_4_5 = Statement(
    label="alg_1_stages_4_5",
    row="Alg 1 stages 4–5 soft targets",
    readings=(
        Reading(
            key="eigenvectors of K",
            formula=r"\hat w=\sum_{j\in sel}\frac{\sigma_ju_j^Ty}{\lambda_j+\lambda}v_j",
            verdict=Verdict.HOLDS,
            proof=PROOFS["alg_1_stages_4_5", "eigenvectors of K"],
            steps=(
                Step(
                    claim="(a) sketching identity for orthonormal U",
                    check=sketched_slope,
                    cases=ORTHONORMAL,
                    twins=(
                        Twin("U not orthonormal", {"hypotheses": ()}, GENERAL),
                        Twin(
                            "ridge dropped",
                            {"weights": lambda c: plain(replace(c, ridge=replace(c.ridge, lam=c.ridge.lam / 2)))},
                        ),
                    ),
                    sides={"weights": plain},
                ),
                Step(
                    claim="(b) truncated ridge regression with the same lambda",
                    check=truncation,
                    cases=MODES,
                    twins=(
                        Twin("ridge times m / (n + 1)", {"solve": shrunk_ridge}),
                        Twin("rows normalised", {"solve": normalised}),
                    ),
                    sides={"solve": lambda c: plain(c.sketch)},
                ),
                Step(
                    claim="error: the modes left out",
                    check=missing_modes,
                    cases=MODES,
                    twins=(
                        Twin("denominator not squared", {"power": 1}),
                        Twin("denominator cubed", {"power": 3}),
                    ),
                    sides={"power": 2},
                ),
                Step(
                    claim="(c) signs of the eigenvectors do not matter",
                    check=truncation,
                    cases=MODES,
                    twins=(
                        Twin("sign of the row only", {"solve": lambda c: plain(c.sketch) * fmpq(-1)}),
                        Twin(
                            "sign of the rows, scaled",
                            {"solve": lambda c: normalised(replace(c, scales=(fmpq(-2),) * len(c.selected)))},
                        ),
                    ),
                    sides={"solve": lambda c: normalised(replace(c, scales=(fmpq(-1),) * len(c.selected)))},
                ),
            ),
        ),
        Reading(
            key="normalised rows",
            formula=r"\hat\phi_j\to\hat\phi_j/\|\hat\phi_j\|,"
            r"\ \hat y_j\to\hat y_j/\|\hat\phi_j\|:\ \hat w\ \mathrm{unchanged}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="the dual ridge lambda N N^T makes it exact",
                    check=truncation,
                    cases=MODES,
                    twins=(
                        Twin("ridge not scaled", {"solve": normalised}),
                        Twin("ridge lambda N", {"solve": lambda c: rescaled(c, gram=lambda scale: scale)}),
                    ),
                    sides={"solve": normalised_repaired},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-13",
                    check=size_of_first,
                    case=CEX_13,
                    controls=(
                        Twin("ridge scaled with the rows", {"solve": normalised_repaired}),
                        Twin("no scaling", cases=fixed(replace(CEX_13, scales=(fmpq(1), fmpq(1))))),
                    ),
                    printed={"solve": normalised},
                    left="2/5",
                    right="1/4",
                    search=modes(),
                ),
            ),
        ),
        Reading(
            key="local eigenvectors",
            formula=r"J(\hat w)=\min_{w\in\mathrm{range}(\hat\Phi^T)}J(w)",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="the restricted solve attains it",
                    check=nystrom,
                    cases=GENERAL,
                    twins=(
                        Twin("Algorithm 1's solve", {"weights": plain}),
                        Twin("restricted solve halved", {"weights": lambda c: restricted(c) * fmpq(1, 2)}),
                    ),
                    sides={"weights": restricted},
                    attained="always an equality",
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-14",
                    check=first_weight,
                    case=CEX_14,
                    controls=(
                        Twin("restricted solve", {"weights": restricted}),
                        Twin("all rows kept", cases=fixed(replace(CEX_14, synthesis=AXES))),
                    ),
                    printed={"weights": plain},
                    left="100/101",
                    right="100/10101",
                ),
                Refutation(
                    name="CEX-14 (search)",
                    check=nystrom,
                    case=CEX_14,
                    controls=(
                        Twin("restricted solve", {"weights": restricted}),
                        Twin("all rows kept", cases=fixed(replace(CEX_14, synthesis=AXES))),
                    ),
                    printed={"weights": plain},
                    search=sketches(True),
                ),
            ),
            note="for vectors that are not eigenvectors of K the solve is sketched, not restricted to the span",
        ),
    ),
)


def restricted_without_square(case: Sketch) -> fmpq_mat:
    """The restricted solve with U^T K U (1 + lambda) for U^T (K^2 + lambda K) U."""
    u, kernel = case.synthesis.transpose(), case.ridge.kernel
    small = qq.pseudo_inverse(u * kernel * case.synthesis * (1 + case.ridge.lam))
    return case.rows.transpose() * (small * (u * (kernel * case.ridge.targets)))


RESTRICTED = Statement(
    label="restricted_solve",
    row="Restricted solve (4.3 d)",
    readings=(
        Reading(
            key="as stated",
            formula=r"J(w_*)\leq J(w_R)\leq J(\hat w),\quad b=(U^TK^2U+\lambda U^TKU)^{\dagger}U^TKy",
            verdict=Verdict.HOLDS,
            proof=PROOFS["restricted_solve", "as stated"],
            steps=(
                Step(
                    claim="stationary in the span, between the full and the sketched solve",
                    check=order,
                    cases=GENERAL,
                    twins=(
                        Twin("K for K^2", {"middle": restricted_without_square}),
                        Twin("the sketched solve in the middle", {"middle": plain}),
                    ),
                    sides={"middle": restricted, "upper": plain},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=GENERAL,
                    twins=(
                        Twin("sketched solve", {"exact": plain}),
                        Twin("full solve halved", {"exact": lambda c: c.ridge.weights * fmpq(1, 2)}),
                    ),
                    sides={"reference": _reference(restricted_weights), "exact": restricted, "scale": scale_of},
                ),
            ),
        ),
    ),
    table=2,
)
STAGE_6 = Statement(
    label="alg_1_stage_6",
    row="Alg 1 stage 6",
    readings=(
        Reading(
            key="orthonormal U",
            formula=r"\mathrm{range}(U_a)=R^n\Rightarrow\hat w=w_*",
            verdict=Verdict.ADDED,
            proof=PROOFS["alg_1_stage_6", "orthonormal U"],
            steps=(
                Step(
                    claim="with the ridge lambda U^T U, any U that spans everything gives the full solution",
                    check=same_as_full,
                    cases=drawn(SPANNING),
                    twins=(
                        Twin("ridge lambda I", {"weights": plain}),
                        Twin("Gram squared", {"weights": lambda c: _solve(c, c.gram * c.gram)}),
                    ),
                    sides={"weights": repaired},
                ),
                Step(
                    claim="with the ridge lambda U^T U the solve is the sketched one of the span",
                    check=sketched_slope,
                    cases=GENERAL,
                    twins=(
                        Twin("ridge lambda I", {"weights": plain}),
                        Twin("ridge doubled", {"weights": lambda c: _solve(c, c.gram * fmpq(2))}),
                    ),
                    sides={"weights": repaired, "hypotheses": ()},
                ),
                Step(
                    claim="dntk_ref's repaired solve",
                    check=by_reference,
                    cases=GENERAL,
                    twins=(
                        Twin("ridge lambda I", {"exact": plain}),
                        Twin("restricted solve", {"exact": restricted}),
                    ),
                    sides={"reference": _reference(sketched_weights), "exact": repaired, "scale": scale_of},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-15",
                    check=same_as_full,
                    case=CEX_15,
                    controls=(
                        Twin("ridge lambda U^T U", {"weights": repaired}),
                        Twin("orthonormal U", cases=fixed(replace(CEX_15, synthesis=AXES))),
                    ),
                    printed={"weights": plain},
                    search=SPANNING,
                ),
            ),
            added=("the kept vectors are orthonormal (or the ridge is lambda U^T U)",),
        ),
    ),
)


@dataclass(frozen=True)
class Rival:
    """A kernel with rational eigenvectors and a rival synthesis matrix (n, m)."""

    spectral: Spectral
    synthesis: fmpq_mat


@st.composite
def rivals(draw: Any) -> Rival:
    """Draw a kernel and any synthesis matrix."""
    case = draw(spectral(1, 4))
    m = draw(st.integers(1, case.n))
    return Rival(case, draw(matrices(case.n, m)))


def synthesised(case: Rival) -> fmpq_mat:
    """K_U = K U (U^T K U)^+ U^T K."""
    k, u = case.spectral.kernel, case.synthesis
    return k * u * qq.pseudo_inverse(u.transpose() * k * u) * u.transpose() * k


def dominated(case: Rival, *, budget: Callable) -> Margin:
    """Tr K_U is at most the sum of the top m eigenvalues; |K - K_U|^2 at least the sum of the other squares."""
    values, m = case.spectral.eigenvalues, budget(case)
    top, rest = sum(values[:m], fmpq(0)), sum((v * v for v in values[m:]), fmpq(0))
    kernel = synthesised(case)
    return all_of(at_most(qq.trace(kernel), top), at_most(rest, qq.frobenius2(case.spectral.kernel - kernel)))


def ky_fan(case: Rival, *, budget: Callable) -> Margin:
    """tr(P K), P the projector onto range(U), is at most the sum of the top m eigenvalues."""
    p = qq.projector(case.synthesis.transpose())
    return at_most(qq.trace(p * case.spectral.kernel), sum(case.spectral.eigenvalues[: budget(case)], fmpq(0)))


def beats_pca(case: Rival, *, baseline: Callable) -> Margin:
    """The synthesis matrix captures more of the trace than the baseline."""
    return above(qq.trace(synthesised(case)), baseline(case))


def top_m(case: Rival) -> fmpq:
    """What the top m eigenvectors capture."""
    return sum(case.spectral.eigenvalues[: case.synthesis.ncols()], fmpq(0))


def top_input(case: Rival) -> fmpq:
    """What the best subset of m = 1 inputs captures."""
    k = case.spectral.kernel
    return max(qq.norm2(qq.select(k, [i])) / k[i, i] for i in range(k.nrows()) if k[i, i] != 0)


def width(case: Rival) -> int:
    """The number of synthetic gradients."""
    return case.synthesis.ncols()


SMALLER = (
    Twin("one direction less in the baseline", {"budget": lambda c: width(c) - 1}),
    Twin("baseline of no direction", {"budget": lambda c: 0}),
)
TURN = qq.reflection([1, 2])
MIXED = Rival(Spectral(TURN, (fmpq(2), fmpq(1)), AXES), qq.select(TURN, range(2), [0]))
PLAIN_AXES = Rival(Spectral(AXES, (fmpq(2), fmpq(1)), AXES), qq.column([1, 1]))
RIVALS = drawn(rivals())
PCA = Statement(
    label="pca_dominance",
    row="PCA dominance (missing baseline)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\mathrm{tr}K_U\leq\sum_{j\leq m}\lambda_j,\quad \|K-K_U\|_F^2\geq\sum_{j>m}\lambda_j^2,"
            r"\quad \mathrm{tr}(U^TKU)\leq\sum_{j\leq m}\lambda_j",
            verdict=Verdict.HOLDS,
            proof=PROOFS["pca_dominance", "as stated"],
            steps=(
                Step(
                    claim="Nystrom trace and Frobenius error",
                    check=dominated,
                    cases=lambda n: (*RIVALS(n), MIXED),
                    twins=SMALLER,
                    sides={"budget": width},
                    attained="the top eigenvectors",
                ),
                Step(
                    claim="Ky Fan",
                    check=ky_fan,
                    cases=lambda n: (*RIVALS(n), MIXED),
                    twins=SMALLER,
                    sides={"budget": width},
                    attained="the top eigenvectors",
                ),
                Step(
                    claim="dntk_ref's K_U",
                    check=by_reference,
                    cases=drawn(
                        rivals().filter(
                            lambda c: (c.synthesis.transpose() * c.spectral.kernel * c.synthesis).rank() == width(c)
                        )
                    ),
                    twins=(
                        Twin("kernel itself", {"exact": lambda c: c.spectral.kernel * fmpq(2)}),
                        Twin("error", {"exact": lambda c: c.spectral.kernel - synthesised(c) * fmpq(2)}),
                    ),
                    sides={
                        "reference": lambda c: synthesised_kernel(qq.floats(c.spectral.kernel), qq.floats(c.synthesis)),
                        "exact": synthesised,
                        "scale": lambda c: _gram_condition(c),
                    },
                ),
            ),
        ),
    ),
    table=2,
)


def _gram_condition(case: Rival) -> float:
    gram = qq.floats(case.synthesis.transpose() * case.spectral.kernel * case.synthesis)
    return float(np.linalg.cond(gram)) * float(qq.trace(case.spectral.kernel))


BETTER = Statement(
    label="spans_better",
    row='"spans the kernel\'s subspace better"',
    readings=(
        Reading(
            key="against every baseline",
            formula=r"\mathrm{tr}K_{U_a}>\mathrm{tr}K_{U'}\ \ \forall\,U'",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="it can beat subsets of inputs",
                    check=beats_pca,
                    cases=fixed(MIXED),
                    twins=(
                        Twin("the top eigenvectors", {"baseline": top_m}),
                        Twin("another synthesis matrix", cases=fixed(replace(MIXED, synthesis=qq.column([0, 1])))),
                    ),
                    sides={"baseline": top_input},
                ),
            ),
            refutations=(
                Refutation(
                    name="PCA dominance",
                    check=beats_pca,
                    case=PLAIN_AXES,
                    controls=(
                        Twin("no baseline", {"baseline": lambda c: fmpq(0)}),
                        Twin("best single input", {"baseline": top_input}, fixed(MIXED)),
                    ),
                    printed={"baseline": top_m},
                    left="17/5",
                    right=4,
                    search=rivals(),
                ),
            ),
            note="holds only against subsets of inputs; the top eigenvectors that stage 2 computes anyway are optimal",
        ),
    ),
)


def one_gradient(case: tuple[Ridge, fmpq], *, numerator: Callable) -> Margin:
    """Phi = c w_*, y = (c^2 |w_*|^2 + lambda) / c reproduces w_*, and phi is a combination of gradients."""
    ridge, c = case
    w = ridge.weights
    phi = w * c
    solved = phi * (numerator(c * c * qq.norm2(w), ridge.lam) / c / (qq.norm2(phi) + ridge.lam))
    return all_of(equal(solved, w), equal(qq.projector(ridge.features) * phi, phi))


NONZERO = drawn(st.tuples(ridges().filter(lambda r: r.weights != qq.zeros(r.features.ncols(), 1)), positive))
ONE = Statement(
    label="one_gradient",
    row="One-gradient exactness",
    readings=(
        Reading(
            key="as stated",
            formula=r"\hat\phi=c\,w_*,\quad \hat y=(c^2\|w_*\|^2+\lambda)/c\ \Rightarrow\ \hat w=w_*",
            verdict=Verdict.HOLDS,
            proof=PROOFS["one_gradient", "as stated"],
            steps=(
                Step(
                    claim="for every c",
                    check=one_gradient,
                    cases=NONZERO,
                    twins=(
                        Twin("ridge dropped from the target", {"numerator": lambda a, lam: a}),
                        Twin("ridge doubled", {"numerator": lambda a, lam: a + 2 * lam}),
                    ),
                    sides={"numerator": lambda a, lam: a + lam},
                ),
                Step(
                    claim="dntk_ref's synthetic gradient",
                    check=by_reference,
                    cases=NONZERO,
                    twins=(
                        Twin("gradient halved", {"exact": lambda c: c[0].weights * fmpq(1, 2)}),
                        Twin("sign", {"exact": lambda c: c[0].weights * fmpq(-1)}),
                    ),
                    sides={
                        "reference": lambda c: exact_gradient(
                            qq.floats(c[0].features), qq.floats(c[0].targets)[:, 0], float(c[0].lam)
                        ).features[0],
                        "exact": lambda c: c[0].weights,
                        "scale": lambda c: scale_of(Sketch(c[0], qq.identity(1))),
                    },
                ),
            ),
        ),
    ),
    table=2,
)


def affinity(kernel: fmpq_mat, *, entry: Callable) -> Margin:
    """Every entry of the affinity is non-negative and every degree positive, as spectral clustering needs."""
    rows = [
        [entry(value, kernel[i, i] * kernel[j, j]) for j, value in enumerate(row)]
        for i, row in enumerate(kernel.tolist())
    ]
    return all_of([above(sum(row, fmpq(0)), 0) for row in rows] + [at_most(0, min(row)) for row in rows])


def stage_2(case: Spectral, *, epsilon: Callable) -> Margin:
    """The rank at tau_v is the truncation rank at epsilon = 1 - tau_v: the sums agree for tau_v = 9/10."""
    tau, values = fmpq(9, 10), case.eigenvalues
    total = sum(values, fmpq(0))
    by_tau = next(r for r in range(len(values) + 1) if sum(values[:r], fmpq(0)) >= tau * total)
    left = next(r for r in range(len(values) + 1) if sum(values[r:], fmpq(0)) <= epsilon(tau) * total)
    return true(by_tau == left)


def clip(value: fmpq, _: fmpq) -> fmpq:
    """The positive part."""
    return max(value, fmpq(0))


OPPOSITE = qq.mat([[1, -2], [-2, 4]])
KERNELS = spectral(2).map(lambda c: c.kernel + qq.identity(c.n))
STAGES_1_2 = Statement(
    label="alg_1_stages_1_2",
    row="Alg 1 stages 1–2",
    readings=(
        Reading(
            key="as stated",
            formula=r"\bar K=\frac{1}{C}\sum_cK_c,\quad r_g=\min\{r:\sum_{j\leq r}\lambda_j\geq\tau_v\sum_j\lambda_j\}",
            verdict=Verdict.ADDED,
            proof=PROOFS["alg_1_stages_1_2", "as stated"],
            steps=(
                Step(
                    claim="the positive part of the kernel is an affinity",
                    check=affinity,
                    cases=drawn(KERNELS),
                    twins=(
                        Twin("the kernel itself", {"entry": lambda value, _: value}),
                        Twin("minus the kernel", {"entry": lambda value, _: -value}),
                    ),
                    sides={"entry": clip},
                ),
                Step(
                    claim="the rank at tau_v is the truncation rank at 1 - tau_v",
                    check=stage_2,
                    cases=drawn(spectral(1, 4)),
                    twins=(
                        Twin("epsilon = tau_v", {"epsilon": lambda tau: tau}),
                        Twin("epsilon = 1 - tau_v^2", {"epsilon": lambda tau: 1 - tau * tau * tau}),
                    ),
                    sides={"epsilon": lambda tau: 1 - tau},
                ),
            ),
            refutations=(
                Refutation(
                    name="negative affinity",
                    check=affinity,
                    case=OPPOSITE,
                    controls=(
                        Twin("positive part", {"entry": clip}),
                        Twin("non-negative kernel", cases=fixed(qq.mat([[1, 2], [2, 4]]))),
                    ),
                    printed={"entry": lambda value, _: value},
                    search=KERNELS,
                ),
            ),
            added=("a non-negative affinity", "ties at the cut leave the basis undetermined"),
        ),
    ),
)


def count(case: tuple[fmpq_mat, fmpq_mat], *, counted: Callable) -> Margin:
    """After orthogonalisation as many directions are left as the joint rank, at most as many as were put in."""
    local, gap = case
    joint = qq.stack(local, gap)
    return all_of(true(joint.rank() == counted(local, gap)), at_most(joint.rank(), local.nrows() + gap.nrows()))


@st.composite
def directions(draw: Any) -> tuple[fmpq_mat, fmpq_mat]:
    """Draw local directions with disjoint supports and independent gap directions, dependent or not."""
    n = draw(st.integers(2, 4))
    local = qq.select(qq.identity(n), range(draw(st.integers(1, n))))
    return local, draw(matrices(draw(st.integers(1, 2)), n))


DIRECTIONS = drawn(directions())
COUNT = Statement(
    label="synthetic_count",
    row="number of synthetic gradients",
    readings=(
        Reading(
            key="before stage 6",
            formula=r"m=\sum_hr_h+|G|=H\bar r_\ell+|G|",
            verdict=Verdict.HOLDS,
            proof=PROOFS["synthetic_count", "before stage 6"],
            steps=(
                Step(
                    claim="the number put in",
                    check=count,
                    cases=drawn(directions().filter(lambda c: qq.stack(*c).rank() == c[0].nrows() + c[1].nrows())),
                    twins=(
                        Twin("gap directions not counted", {"counted": lambda local, gap: local.nrows()}),
                        Twin("dependent directions present", cases=DIRECTIONS),
                    ),
                    sides={"counted": lambda local, gap: local.nrows() + gap.nrows()},
                ),
            ),
        ),
        Reading(
            key="after stage 6",
            formula=r"m=\sum_hr_h+|G|",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="m = rank[U_loc, U_G], at most the number put in",
                    check=count,
                    cases=DIRECTIONS,
                    twins=(
                        Twin("the number put in", {"counted": lambda local, gap: local.nrows() + gap.nrows()}),
                        Twin("local directions only", {"counted": lambda local, gap: local.nrows()}),
                    ),
                    sides={"counted": lambda local, gap: qq.projector(qq.stack(local, gap)).rank()},
                ),
            ),
            refutations=(
                Refutation(
                    name="dependent gap",
                    check=count,
                    case=(qq.identity(2), qq.mat([[1, 1]])),
                    controls=(
                        Twin("rank", {"counted": lambda local, gap: qq.stack(local, gap).rank()}),
                        Twin("independent gap direction", cases=fixed((qq.mat([[1, 0]]), qq.mat([[1, 1]])))),
                    ),
                    printed={"counted": lambda local, gap: local.nrows() + gap.nrows()},
                    search=directions(),
                ),
            ),
            note="an upper bound",
        ),
    ),
)

STATEMENTS = (STAGES_1_2, STAGES_4_5, STAGE_6, BETTER, COUNT, RESTRICTED, PCA, ONE)
