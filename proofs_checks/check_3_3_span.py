"""Section 3.3, second half: the span of distilled gradients, its projector, and the kernels it induces (Eqs 2-4, 7-10)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.kernel import inducing_point_kernel, kernel_residual_norms, projected_kernel
from dntk_ref.subspace import span_projector
from proofs_checks import rational as qq
from proofs_checks.instances import Span, Spectral, drawn, fixed, matrices, projectors, rationals, spans, spectral
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal, psd, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


def orthogonal_projector(case: Span, *, projector: Callable) -> Margin:
    """The map is symmetric, idempotent, fixes the inducing rows and has their rank."""
    pi, rows = projector(case.inducing), case.inducing
    return all_of(equal(pi, pi.transpose()), equal(pi * pi, pi), equal(rows * pi, rows), true(pi.rank() == rows.rank()))


def oblique(rows: fmpq_mat) -> fmpq_mat:
    """Return a projector onto the same span along another complement."""
    pi = qq.projector(rows)
    tilt = qq.ones(rows.ncols(), rows.ncols())
    return pi + pi * tilt * (qq.identity(rows.ncols()) - pi)


def condition(case: Span) -> float:
    """Condition number of the inducing Gram matrix on its range, in whose units K_SS^+ is accurate."""
    values = np.linalg.svd(qq.floats(case.inducing), compute_uv=False)
    kept = values[values > 1e-9 * values[0]] if values[0] > 0 else np.ones(1)
    return float((kept[0] / kept[-1]) ** 2)


SPANS = drawn(spans())
EQ_2_3 = Statement(
    label="eq_2_3",
    row="Eq (2), (3)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\mathcal{T}_S=\mathrm{range}(J_S^T),\quad \Pi_S=\Pi_S^T=\Pi_S^2",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="the projector is symmetric, idempotent, fixes the rows and has their rank (at most m C)",
                    check=orthogonal_projector,
                    cases=SPANS,
                    twins=(
                        Twin("oblique projector", {"projector": oblique}),
                        Twin("Gram matrix of the rows", {"projector": lambda rows: rows.transpose() * rows}),
                    ),
                    sides={"projector": qq.projector},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=SPANS,
                    twins=(
                        Twin(
                            "transposed complement",
                            {"exact": lambda c: qq.identity(c.inducing.ncols()) - qq.projector(c.inducing)},
                        ),
                        Twin("oblique projector", {"exact": lambda c: oblique(c.inducing)}),
                    ),
                    sides={
                        "reference": lambda c: span_projector(qq.floats(c.inducing)),
                        "exact": lambda c: qq.projector(c.inducing),
                        "scale": condition,
                    },
                ),
            ),
            nature=Nature.DEFINITION,
        ),
    ),
)


@dataclass(frozen=True)
class PolynomialNet:
    """f_c(s) = sum_j a_cj (b_j s + d_j)^2 + e_c with two hidden units: parameters, inputs and targets, rational."""

    parameters: tuple[fmpq, ...]
    inputs: tuple[fmpq, ...]
    targets: fmpq_mat  # (m, C)


CLASSES, HIDDEN = 2, 2
THETA = sympy.symbols("a:4 b:2 d:2 e:2")
INPUT = sympy.Symbol("s")


def _outputs() -> list[sympy.Expr]:
    a, b, d, e = THETA[:4], THETA[4:6], THETA[6:8], THETA[8:]
    return [sum(a[c * HIDDEN + j] * (b[j] * INPUT + d[j]) ** 2 for j in range(HIDDEN)) + e[c] for c in range(CLASSES)]


OUTPUTS = _outputs()
GRADIENTS = sympy.lambdify((THETA, INPUT), [[sympy.diff(f, t) for t in THETA] for f in OUTPUTS], modules=[])
VALUES = sympy.lambdify((THETA, INPUT), OUTPUTS, modules=[])
TARGETS = sympy.symbols("y:2")
LOSS_GRADIENT = sympy.lambdify(
    (THETA, INPUT, TARGETS),
    [sympy.diff(sum((f - y) ** 2 for f, y in zip(OUTPUTS, TARGETS, strict=True)) / 2, t) for t in THETA],
    modules=[],
)


@st.composite
def nets(draw: Any) -> PolynomialNet:
    """Draw a net and one to three inputs."""
    m = draw(st.integers(1, 3))
    return PolynomialNet(
        tuple(draw(st.lists(rationals, min_size=10, max_size=10))),
        tuple(draw(st.lists(rationals, min_size=m, max_size=m))),
        draw(matrices(m, CLASSES)),
    )


def stacked(case: PolynomialNet) -> fmpq_mat:
    """The rows phi_c(s_i), input by input."""
    return qq.mat([row for s in case.inputs for row in GRADIENTS(case.parameters, s)])


def descent(case: PolynomialNet) -> fmpq_mat:
    """The gradient of the mean loss, by differentiating the loss itself."""
    columns = [
        qq.column(LOSS_GRADIENT(case.parameters, s, row))
        for s, row in zip(case.inputs, case.targets.tolist(), strict=True)
    ]
    total = qq.zeros(len(THETA), 1)
    for part in columns:
        total += part
    return total * fmpq(1, len(case.inputs))


def chain_rule(case: PolynomialNet, *, scale: Callable, sensitivity: Callable) -> Margin:
    """Grad L_S = (1/m) J_S^T sigma with sigma the output derivative of the loss."""
    sigma = [
        sensitivity(f, y)
        for s, row in zip(case.inputs, case.targets.tolist(), strict=True)
        for f, y in zip(VALUES(case.parameters, s), row, strict=True)
    ]
    return equal(descent(case), stacked(case).transpose() * qq.column(sigma) * scale(len(case.inputs)))


def stays_in_span(case: PolynomialNet, *, update: Callable) -> Margin:
    """The update lies in the span of the distilled gradients."""
    step = update(case)
    return equal(qq.projector(stacked(case)) * step, step)


def decayed(case: PolynomialNet) -> fmpq_mat:
    """A gradient step with weight decay 1/10."""
    return descent(case) * fmpq(-1) + qq.column(case.parameters) * fmpq(-1, 10)


def preconditioned(case: PolynomialNet) -> fmpq_mat:
    """A step with a diagonal preconditioner."""
    return qq.diagonal(range(1, len(THETA) + 1)) * descent(case)


def with_momentum(case: PolynomialNet) -> fmpq_mat:
    """A step that keeps half the gradient at other parameters."""
    return descent(case) + descent(replace(case, parameters=case.parameters[::-1])) * fmpq(1, 2)


def decay_leaves(case: tuple[fmpq_mat, fmpq_mat, fmpq], *, decay: fmpq | None = None) -> Margin:
    """CEX-4: the part of -decay theta outside the span of the rows vanishes."""
    rows, theta, strength = case
    step = theta * -(strength if decay is None else decay)
    outside = step - qq.projector(rows) * step
    return equal(outside.entries()[-1], fmpq(0))


NETS = drawn(nets(), 0.5)
CEX_4 = (qq.mat([[1, 0]]), qq.column([0, 1]), fmpq(1, 10))
EQ_4 = Statement(
    label="eq_4",
    row="Eq (4), Lemma C.1",
    readings=(
        Reading(
            key="as stated",
            formula=r"\nabla_\theta\mathcal{L}_S=\frac{1}{m}J_S^T\varsigma\in\mathcal{T}_S",
            verdict=Verdict.ADDED,
            proof=PROOFS["eq_4", "as stated"],
            steps=(
                Step(
                    claim="chain rule on a polynomial net, squared loss, symbolic derivatives",
                    check=chain_rule,
                    cases=NETS,
                    twins=(
                        Twin("1/m dropped", {"scale": lambda m: fmpq(m + 1, m)}),
                        Twin("sign of the sensitivity", {"sensitivity": lambda f, y: y - f}),
                    ),
                    sides={"scale": lambda m: fmpq(1, m), "sensitivity": lambda f, y: f - y},
                ),
                Step(
                    claim="the plain gradient step stays in the span",
                    check=stays_in_span,
                    cases=NETS,
                    twins=(
                        Twin("weight decay", {"update": decayed}),
                        Twin("diagonal preconditioner", {"update": preconditioned}),
                        Twin("momentum from other parameters", {"update": with_momentum}),
                    ),
                    sides={"update": descent},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-4",
                    check=decay_leaves,
                    case=CEX_4,
                    controls=(
                        Twin("no decay", {"decay": fmpq(0)}),
                        Twin("parameters inside the span", cases=fixed((CEX_4[0], qq.column([1, 0]), fmpq(1, 10)))),
                    ),
                    printed={},
                    left="-1/10",
                    right=0,
                ),
            ),
            hypotheses=("differentiable net and loss",),
            added=(
                "per-sample network (no batch statistics)",
                "plain gradient step: no decay, momentum or preconditioner",
            ),
        ),
    ),
)


def induced(case: Span, *, inverse: Callable) -> Margin:
    """(7)-(9): Phi Pi_S Phi^T = K_XS inverse(K_SS) K_SX, with Pi_S from a basis of the span."""
    phi, rows = case.features, case.inducing
    cross = phi * rows.transpose()
    right = cross * inverse(rows * rows.transpose()) * cross.transpose()
    return equal(phi * qq.projector(rows) * phi.transpose(), right)


def reproduces(case: Span, *, rows: Callable) -> Margin:
    """The induced kernel is the kernel."""
    phi = case.features
    return equal(qq.kernel_of(phi), phi * qq.projector(rows(case)) * phi.transpose())


def inverse(matrix: fmpq_mat) -> fmpq_mat:
    """The plain inverse; a singular matrix has none."""
    return matrix.inv()


CEX_5 = Span(qq.mat([[1, 1], [0, 1]]), qq.mat([[1, 0], [1, 0]]))
REF_SPAN = {
    "reference": lambda c: inducing_point_kernel(qq.floats(c.features), qq.floats(c.inducing)),
    "exact": lambda c: c.features * qq.projector(c.inducing) * c.features.transpose(),
    "scale": lambda c: condition(c) * float(qq.frobenius2(c.features)),
}


def without_inverse(case: Span) -> fmpq_mat:
    """Phi S^T S Phi^T: no inverse between the rows, so that a repeated one counts twice."""
    image = case.features * case.inducing.transpose()
    return image * image.transpose()


def first_row_zero(case: Span) -> fmpq_mat:
    """The data with zeros for the first row."""
    zero = qq.zeros(1, case.features.ncols())
    return qq.select(qq.stack(zero, case.features), [0, *range(2, case.features.nrows() + 1)])


EQ_7_8_9 = Statement(
    label="eq_7_8_9",
    row="Eq (7), (8), (9)",
    readings=(
        Reading(
            key="pseudo-inverse",
            formula=r"K_{\Pi_S}=\Phi\Pi_S\Phi^T=K_{XS}K_{SS}^{\dagger}K_{SX}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["eq_7_8_9", "pseudo-inverse"],
            steps=(
                Step(
                    claim="for every m and every rank",
                    check=induced,
                    cases=SPANS,
                    twins=(
                        Twin("plain inverse", {"inverse": inverse}),
                        Twin("pseudo-inverse doubled", {"inverse": lambda k: qq.pseudo_inverse(k) * fmpq(2)}),
                    ),
                    sides={"inverse": qq.pseudo_inverse},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=SPANS,
                    twins=(
                        Twin("full kernel", {"exact": lambda c: qq.kernel_of(c.features)}),
                        Twin("repeated row counted twice", {"exact": without_inverse}),
                    ),
                    sides=REF_SPAN,
                ),
                Step(
                    claim="the span induces the data's kernel when it contains the data's row space",
                    check=reproduces,
                    cases=SPANS,
                    twins=(
                        Twin("one row", {"rows": lambda c: qq.select(c.inducing, [0])}),
                        Twin("all data rows but the first", {"rows": first_row_zero}),
                    ),
                    sides={"rows": lambda c: qq.stack(c.inducing, c.features)},
                    attained="always an equality",
                ),
            ),
        ),
        Reading(
            key="plain inverse",
            formula=r"K_{\Pi_S}=K_{XS}K_{SS}^{-1}K_{SX}",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-5",
                    check=induced,
                    case=CEX_5,
                    controls=(
                        Twin("pseudo-inverse", {"inverse": qq.pseudo_inverse}),
                        Twin("two different rows", cases=fixed(replace(CEX_5, inducing=qq.mat([[1, 0], [1, 1]])))),
                    ),
                    printed={"inverse": inverse},
                    search=spans(),
                ),
            ),
            note="two equal distilled inputs make K_SS singular: the right side does not exist",
        ),
    ),
)


@dataclass(frozen=True)
class Projected:
    """Features with a rational spectral decomposition, and a projector of size P."""

    spectral: Spectral
    projector: fmpq_mat


@st.composite
def projected(draw: Any) -> Projected:
    """Draw features and any projector."""
    case = draw(spectral())
    return Projected(case, draw(projectors(case.p)))


def removed(case: Projected) -> fmpq_mat:
    """R = Phi (I - Pi)."""
    return case.spectral.features * (qq.identity(case.spectral.p) - case.projector)


def error(case: Projected) -> fmpq_mat:
    """E = K - K_Pi."""
    phi = case.spectral.features
    return qq.kernel_of(phi) - phi * case.projector * phi.transpose()


def r1(case: Projected) -> fmpq:
    """|R|_F^4, the square of reading R1's right side."""
    return qq.frobenius2(removed(case)) ** 2


def r2(case: Projected) -> fmpq:
    """|Phi|_2^2 |R|_F^2, the square of reading R2's right side."""
    top = case.spectral.sigma[0]
    return top * top * qq.frobenius2(removed(case))


def eq_10(case: Projected, *, right: Callable) -> Margin:
    """(10): the squared kernel error is at most the squared right side."""
    return at_most(qq.frobenius2(error(case)), right(case))


PROJECTED = drawn(projected())
RANK_ONE = Projected(Spectral(qq.identity(1), (fmpq(1),), qq.identity(2)), qq.diagonal([0, 1]))


def _eq_10_reading(key: str, formula: str, right: Callable, attained: str) -> Reading:
    return Reading(
        key=key,
        formula=formula,
        verdict=Verdict.HOLDS,
        proof=PROOFS["eq_10", key],
        steps=(
            Step(
                claim="squared on both sides",
                check=eq_10,
                cases=lambda n: (*PROJECTED(n), RANK_ONE),
                twins=(
                    Twin(
                        "factor 0.9",
                        {"right": lambda case: right(case) * fmpq(81, 100)},
                        fixed(RANK_ONE) if key != "R3" else None,
                    ),
                    Twin("residual to the fourth power", {"right": lambda case: right(case) ** 2 / 100}),
                ),
                sides={"right": right},
                attained=attained,
            ),
        ),
    )


EQ_10 = Statement(
    label="eq_10",
    row="Eq (10)",
    readings=(
        _eq_10_reading("R1", r"\|K-K_\Pi\|_F\leq\|\Phi(I-\Pi)\|_F^2", r1, "rank of Phi(I - Pi) at most one"),
        _eq_10_reading("R2", r"\|K-K_\Pi\|_F\leq\|\Phi\|_2\|\Phi-\Phi\Pi\|_F", r2, "one row, all of it removed"),
        Reading(
            key="R3",
            formula=r"\|K-K_\Pi\|_F\leq 2\|\Phi\|_2\|\Phi-\Phi\Pi\|_F",
            verdict=Verdict.HOLDS,
            proof=PROOFS["eq_10", "R3"],
            steps=(
                Step(
                    claim="squared on both sides",
                    check=eq_10,
                    cases=PROJECTED,
                    twins=(
                        Twin("factor 1/4 instead of 2", {"right": lambda case: r2(case) / 16}),
                        Twin("residual to the fourth power", {"right": lambda case: r2(case) ** 2 / 100}),
                    ),
                    sides={"right": lambda case: 4 * r2(case)},
                ),
            ),
            note="twice R2, never attained",
        ),
    ),
)


def relations(case: Projected, *, left: Callable = removed) -> Margin:
    """Tr E = |R|_F^2; |R|_F^4 / rank R <= |E|_F^2; 0 <= E <= K; E and R^T R have the same non-zero spectrum."""
    r, e = left(case), error(case)
    rank = max(r.rank(), 1)
    k = qq.kernel_of(case.spectral.features)
    return all_of(
        equal(qq.trace(e), qq.frobenius2(r)),
        equal(e, qq.kernel_of(r)),
        psd(e),
        psd(k - e),
        at_most(qq.frobenius2(r) ** 2 / rank, qq.frobenius2(e)),
    )


@dataclass(frozen=True)
class Contraction:
    """One feature, one inducing feature and a ridge: Pi_eps = s^2 / (s^2 + ridge), scalars."""

    feature: fmpq
    inducing: fmpq
    ridge: fmpq


def contraction_bound(case: Contraction, *, power: int) -> Margin:
    """R1 with a ridged projector: |K - K_Pi| <= (feature (1 - Pi)^(power/2))^2."""
    pi = case.inducing**2 / (case.inducing**2 + case.ridge)
    return at_most(case.feature**2 * (1 - pi), case.feature**2 * (1 - pi) ** power)


CONTRACTIONS = st.builds(
    Contraction,
    st.builds(fmpq, st.integers(1, 5)),
    st.builds(fmpq, st.integers(0, 5)),
    st.builds(fmpq, st.integers(1, 5)),
)
EQ_10_EXACT = Statement(
    label="eq_10_relations",
    row="Exact relations of Eq (10) and contractions",
    readings=(
        Reading(
            key="exact relations",
            formula=r"\mathrm{tr}E=\|R\|_F^2,\quad \|R\|_F^2/\sqrt{\mathrm{rank}R}\leq\|E\|_F,\quad 0\preceq E\preceq K",
            verdict=Verdict.HOLDS,
            proof=PROOFS["eq_10_relations", "exact relations"],
            steps=(
                Step(
                    claim="for every projector",
                    check=relations,
                    cases=PROJECTED,
                    twins=(
                        Twin("Phi Pi instead of Phi (I - Pi)", {"left": lambda c: c.spectral.features * c.projector}),
                        Twin("R doubled", {"left": lambda c: removed(c) * fmpq(2)}),
                    ),
                ),
                Step(
                    claim="dntk_ref's trace of the error",
                    check=by_reference,
                    cases=PROJECTED,
                    twins=(
                        Twin(
                            "captured trace",
                            {"exact": lambda c: qq.trace(qq.kernel_of(c.spectral.features) - error(c))},
                        ),
                        Twin("error doubled", {"exact": lambda c: 2 * qq.trace(error(c))}),
                    ),
                    sides={
                        "reference": lambda c: (
                            kernel_residual_norms(qq.floats(c.spectral.features), qq.floats(c.projector)).trace
                        ),
                        "exact": lambda c: qq.trace(error(c)),
                        "scale": lambda c: float(qq.frobenius2(c.spectral.features)),
                    },
                ),
                Step(
                    claim="dntk_ref's projected kernel",
                    check=by_reference,
                    cases=PROJECTED,
                    twins=(
                        Twin("full kernel", {"exact": lambda c: qq.kernel_of(c.spectral.features)}),
                        Twin("complement", {"exact": error}),
                    ),
                    sides={
                        "reference": lambda c: projected_kernel(qq.floats(c.spectral.features), qq.floats(c.projector)),
                        "exact": lambda c: c.spectral.features * c.projector * c.spectral.features.transpose(),
                        "scale": lambda c: float(qq.frobenius2(c.spectral.features)),
                    },
                ),
            ),
        ),
        Reading(
            key="ridged projector, R = Phi (I - Pi)",
            formula=r"\|K-K_{\Pi_\epsilon}\|_F\leq\|\Phi(I-\Pi_\epsilon)\|_F^2",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="with R = Phi (I - Pi)^(1/2) the relation is exact again",
                    check=contraction_bound,
                    cases=drawn(CONTRACTIONS),
                    twins=(
                        Twin("R = Phi (I - Pi)", {"power": 2}),
                        Twin("R = Phi (I - Pi)^(3/2)", {"power": 3}),
                    ),
                    sides={"power": 1},
                    attained="always (scalar case)",
                ),
            ),
            refutations=(
                Refutation(
                    name="contraction",
                    check=contraction_bound,
                    case=Contraction(fmpq(1), fmpq(1), fmpq(1)),
                    controls=(
                        Twin("square root of I - Pi", {"power": 1}),
                        Twin("nothing captured", cases=fixed(Contraction(fmpq(1), fmpq(0), fmpq(1)))),
                    ),
                    printed={"power": 2},
                    left="1/2",
                    right="1/4",
                    search=CONTRACTIONS,
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (EQ_2_3, EQ_4, EQ_7_8_9, EQ_10, EQ_10_EXACT)
