"""Section 3.3, first half: the one-step regret of a common update, what it is exactly, and what is reachable.

One file because the readings of Theorem 3.3 share their instances and their sides.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.regret import (
    exact_regret,
    regret_bound_printed,
    regret_decomposition,
    true_regret_bound_convex,
    true_regret_bound_smooth,
)
from dntk_ref.regret import (
    model_regret as reference_regret,
)
from proofs_checks import rational as qq
from proofs_checks.instances import Population, drawn, fixed, matrices, orthogonal, populations, positive
from proofs_checks.margin import Margin, all_of, at_most, at_most_root, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, agreement, meet

__all__ = ["STATEMENTS"]

Number = Any


@dataclass(frozen=True)
class OneStep:
    """A loss with its gradient and smoothness constant, the rows that span the updates, and one update's coefficients."""

    gradient: fmpq_mat
    smoothness: fmpq
    rows: fmpq_mat
    coefficients: fmpq_mat
    hessian: fmpq_mat | None = None  # a quadratic loss
    odds: fmpq | None = None  # the loss log(1 - p + p exp(g . x / p)), p = odds

    @property
    def projector(self) -> fmpq_mat:
        """The projector onto the span of the rows."""
        return qq.projector(self.rows)

    @property
    def update(self) -> fmpq_mat:
        """The realised update, a combination of the rows."""
        return self.rows.transpose() * self.coefficients

    @property
    def best(self) -> fmpq_mat:
        """Minus the projected gradient over the smoothness constant."""
        return self.projector * self.gradient * (fmpq(-1) / self.smoothness)

    def loss(self, step: fmpq_mat) -> Number:
        """The loss after a step, less the loss before it."""
        slope = qq.dot(self.gradient, step)
        if self.hessian is not None:
            return slope + qq.dot(step, self.hessian * step) / 2
        if slope == 0:
            return fmpq(0)  # exactly, where a ball would leave a tie open
        return (1 - arb(self.odds) + self.odds * arb(slope / self.odds).exp()).log()

    def model(self, step: fmpq_mat) -> fmpq:
        """The quadratic upper model Q, less the loss before the step."""
        return qq.dot(self.gradient, step) + self.smoothness * qq.norm2(step) / 2


def in_span(case: OneStep) -> bool:
    """The update lies in the span."""
    return case.projector * case.update == case.update


def smooth(case: OneStep) -> bool:
    """The gradient is Lipschitz with the stated constant, on both sides."""
    if case.hessian is None:
        # log(1 - p + p exp(a . x)) has curvature at most |a|^2 / 4
        return case.smoothness >= qq.norm2(case.gradient) / (4 * case.odds * case.odds)
    bound = qq.identity(case.hessian.nrows()) * case.smoothness
    return all(min(qq.ldl_pivots(bound + sign * case.hessian)) >= 0 for sign in (fmpq(1), fmpq(-1)))


def convex(case: OneStep) -> bool:
    """The loss is convex."""
    return case.hessian is None or min(qq.ldl_pivots(case.hessian)) >= 0


@st.composite
def quadratics(draw: Any, low: int = -4) -> OneStep:
    """Draw a quadratic loss with curvatures in [low / 4, 1] times the smoothness constant."""
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    smoothness, frame = draw(positive), draw(orthogonal(n))
    curvature = [smoothness * fmpq(draw(st.integers(low, 4)), 4) for _ in range(n)]
    hessian = frame * qq.diagonal(curvature) * frame.transpose()
    return OneStep(draw(matrices(n, 1)), smoothness, draw(matrices(m, n)), draw(matrices(m, 1)), hessian)


@st.composite
def logistic(draw: Any) -> OneStep:
    """Draw a logistic loss."""
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    gradient, odds = draw(matrices(n, 1)), fmpq(draw(st.integers(1, 5)), 6)
    smoothness = qq.norm2(gradient) / (4 * odds * odds) + fmpq(1, 10)
    return OneStep(gradient, smoothness, draw(matrices(m, n)), draw(matrices(m, 1)), None, odds)


def right_printed(case: OneStep) -> fmpq:
    """<g, D - D*> + L/2 (|D|^2 - |D*|^2), the right side of (5)."""
    difference = qq.norm2(case.update) - qq.norm2(case.best)
    return qq.dot(case.gradient, case.update - case.best) + case.smoothness * difference / 2


def distance_right(case: OneStep) -> fmpq:
    """L/2 |D - D*|^2, its exact value."""
    return case.smoothness * qq.norm2(case.update - case.best) / 2


def model_regret(case: OneStep) -> fmpq:
    """Q(D) - Q(D*)."""
    return case.model(case.update) - case.model(case.best)


def guaranteed_regret(case: OneStep) -> Number:
    """True loss at the update less the model's minimum."""
    return case.loss(case.update) - case.model(case.best)


def true_regret(case: OneStep) -> Number:
    """True loss on both sides."""
    return case.loss(case.update) - case.loss(case.best)


def regret(
    case: OneStep,
    *,
    left: Callable,
    right: Callable,
    relation: Callable = at_most,
    hypotheses: tuple = (in_span, smooth),
) -> Margin:
    """(5): compare a notion of regret with a right side."""
    meet(case, hypotheses)
    return relation(left(case), right(case))


def out_of_span(case: OneStep) -> OneStep:
    """Return a case whose update has a component outside the span, along the gradient."""
    return _Outside(case.gradient, case.smoothness, case.rows, case.coefficients, case.hessian, case.odds)


class _Outside(OneStep):
    @property
    def update(self) -> fmpq_mat:
        return self.rows.transpose() * self.coefficients + self.gradient


def half(right: Callable) -> Callable:
    """Return the right side with the factor 1/2."""
    return lambda case: right(case) / 2


CEX_1 = OneStep(qq.mat([["1/2"]]), fmpq(1), qq.mat([[1]]), qq.mat([[0]]), qq.mat([["1/2"]]))
QUADRATICS, LOGISTIC = drawn(quadratics()), drawn(logistic(), 0.5)
OUTSIDE = drawn(quadratics().map(out_of_span))
STIFF = OneStep(
    qq.mat([[1]]), fmpq(1), qq.mat([[1]]), qq.mat([[1]]), qq.mat([[4]])
)  # curvature four times the constant


def reference_sides(case: OneStep) -> list[float]:
    """dntk_ref's regret of the model and both right sides."""
    arguments = (qq.floats(case.gradient)[:, 0], qq.floats(case.update)[:, 0], qq.floats(case.projector))
    return [
        side(*arguments, smoothness=float(case.smoothness))
        for side in (reference_regret, regret_bound_printed, exact_regret)
    ]


def exact_sides(case: OneStep) -> fmpq_mat:
    """The same three numbers."""
    return qq.mat([[model_regret(case), right_printed(case), distance_right(case)]])


def size(case: OneStep) -> float:
    """The largest term of the regret."""
    steps = qq.norm2(case.update) + qq.norm2(case.best)
    return 1 + float(case.smoothness * steps + qq.norm2(case.gradient) * (1 + 1 / case.smoothness))


REGRET_TWINS = (
    Twin("right side halved", {"right": half(right_printed)}),
    Twin("smoothness constant a quarter of the true one", {"hypotheses": (in_span,)}, fixed(STIFF)),
)
THM_3_3 = Statement(
    label="thm_3_3",
    row="Thm 3.3 (5)",
    readings=(
        Reading(
            key="R1",
            formula=r"Q_t(\Delta_S)-Q_t(\Delta_t^*)\leq\langle g_t,\Delta_S-\Delta_t^*\rangle"
            r"+\frac{L}{2}(\|\Delta_S\|^2-\|\Delta_t^*\|^2)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["thm_3_3", "R1"],
            steps=(
                Step(
                    claim="the two sides are equal, by the definition of Q",
                    check=regret,
                    cases=QUADRATICS,
                    twins=(
                        Twin("right side halved", {"right": half(right_printed)}),
                        Twin("true loss instead of its quadratic model", {"left": true_regret}),
                    ),
                    sides={"left": model_regret, "right": right_printed, "relation": equal},
                    attained="always an equality",
                ),
                Step(
                    claim="both equal L/2 |D - D*|^2",
                    check=regret,
                    cases=QUADRATICS,
                    twins=(
                        Twin("right side halved", {"right": half(distance_right)}),
                        Twin("update outside the span", {"hypotheses": ()}, OUTSIDE),
                    ),
                    sides={"left": model_regret, "right": distance_right, "relation": equal},
                    attained="always an equality",
                ),
                agreement("dntk_ref's three sides", QUADRATICS, reference_sides, exact_sides, size),
            ),
            hypotheses=("the update lies in the span of the distilled gradients",),
        ),
        Reading(
            key="R2",
            formula=r"\mathcal{L}_t(\theta+\Delta_S)-Q_t(\Delta_t^*)\leq\langle g_t,\Delta_S-\Delta_t^*\rangle"
            r"+\frac{L}{2}(\|\Delta_S\|^2-\|\Delta_t^*\|^2)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["thm_3_3", "R2"],
            steps=(
                Step(
                    claim="quadratic losses with curvature in [-L, L]",
                    check=regret,
                    cases=QUADRATICS,
                    twins=REGRET_TWINS,
                    sides={"left": guaranteed_regret, "right": right_printed},
                    attained="the loss equal to its model Q",
                ),
                Step(
                    claim="logistic losses",
                    check=regret,
                    cases=LOGISTIC,
                    twins=(
                        Twin("right side halved", {"right": half(right_printed)}),
                        Twin(
                            "model's minimum taken twice",
                            {"left": lambda case: case.loss(case.update) - 2 * case.model(case.best)},
                        ),
                    ),
                    sides={"left": guaranteed_regret, "right": right_printed},
                ),
            ),
            hypotheses=("L-smooth on the segment", "the update lies in the span"),
            note="the most likely reading",
        ),
        Reading(
            key="R3",
            formula=r"\mathcal{L}_t(\theta+\Delta_S)-\mathcal{L}_t(\theta+\Delta_t^*)\leq\langle g_t,"
            r"\Delta_S-\Delta_t^*\rangle+\frac{L}{2}(\|\Delta_S\|^2-\|\Delta_t^*\|^2)",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-1",
                    check=regret,
                    case=CEX_1,
                    controls=(
                        Twin("reading R2 on the same instance", {"left": guaranteed_regret}),
                        Twin(
                            "the loss equal to its quadratic model", cases=fixed(replace(CEX_1, hessian=qq.mat([[1]])))
                        ),
                    ),
                    printed={"left": true_regret, "right": right_printed},
                    left="3/16",
                    right="1/8",
                    search=quadratics(),
                ),
            ),
        ),
    ),
)


def corrected(case: OneStep, *, factor: fmpq, hypotheses: tuple = (in_span, smooth)) -> Margin:
    """3.3.2: true regret <= factor |Pi g| |D - D*| + L/2 |D - D*|^2, squared where roots would appear."""
    meet(case, hypotheses)
    product = qq.norm2(case.projector * case.gradient) * qq.norm2(case.update - case.best)
    linear = true_regret(case) - distance_right(case)
    return at_most_root(linear, factor * factor * product)


def reference_bounds(case: OneStep) -> list[float]:
    """dntk_ref's two right sides of 3.3.2."""
    arguments = (qq.floats(case.gradient)[:, 0], qq.floats(case.update)[:, 0], qq.floats(case.projector))
    return [
        side(*arguments, smoothness=float(case.smoothness))
        for side in (true_regret_bound_smooth, true_regret_bound_convex)
    ]


def exact_bounds(case: OneStep) -> fmpq_mat:
    """The same, with the root taken in ball arithmetic and rounded once."""
    root = arb(qq.norm2(case.projector * case.gradient) * qq.norm2(case.update - case.best)).sqrt()
    rounded = qq.q(float(root.mid()))
    return qq.mat([[2 * rounded + distance_right(case), rounded + distance_right(case)]])


# t - t^2/2 with L = 1, D* = -1: near D* the linear term is attained with the factor 2.
ATTAINED = OneStep(qq.mat([[1]]), fmpq(1), qq.mat([[1]]), qq.mat([["-999/1000"]]), qq.mat([[-1]]))
LINEAR = replace(ATTAINED, hessian=qq.mat([[0]]))
ONE_SIDED = replace(ATTAINED, coefficients=qq.mat([["-9/10"]]), hessian=qq.mat([[-10]]))
SEC_3_3_2 = Statement(
    label="sec_3_3_2",
    row="3.3.2 Corrected true-loss bound",
    readings=(
        Reading(
            key="smooth",
            formula=r"\mathcal{L}(\theta+\Delta)-\mathcal{L}(\theta+\Delta^*)\leq 2\|\Pi_S g\|\|\Delta-\Delta^*\|"
            r"+\frac{L}{2}\|\Delta-\Delta^*\|^2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["sec_3_3_2", "smooth"],
            steps=(
                Step(
                    claim="the factor 2 for smooth losses",
                    check=corrected,
                    cases=lambda n: (*QUADRATICS(n), CEX_1, ATTAINED),
                    twins=(
                        Twin("factor 1 without convexity", {"factor": fmpq(1)}, fixed(ATTAINED)),
                        Twin(
                            "smooth from above only: t - 5 t^2 with L = 1", {"hypotheses": (in_span,)}, fixed(ONE_SIDED)
                        ),
                    ),
                    sides={"factor": fmpq(2)},
                    attained="t - t^2/2 near its model's minimum, to first order",
                ),
                agreement("dntk_ref's right sides for both factors", QUADRATICS, reference_bounds, exact_bounds, size),
            ),
            hypotheses=("gradient Lipschitz with constant L on both segments", "the update lies in the span"),
        ),
        Reading(
            key="convex",
            formula=r"\mathcal{L}(\theta+\Delta)-\mathcal{L}(\theta+\Delta^*)\leq\|\Pi_S g\|\|\Delta-\Delta^*\|"
            r"+\frac{L}{2}\|\Delta-\Delta^*\|^2",
            verdict=Verdict.HOLDS,
            proof=PROOFS["sec_3_3_2", "convex"],
            steps=(
                Step(
                    claim="the factor 1 for convex smooth losses",
                    check=corrected,
                    cases=lambda n: (*drawn(quadratics(0))(n), LINEAR),
                    twins=(
                        Twin("factor 9/10", {"factor": fmpq(9, 10)}, fixed(LINEAR)),
                        Twin("convexity dropped", {"hypotheses": (in_span, smooth)}, fixed(ATTAINED)),
                    ),
                    sides={"factor": fmpq(1), "hypotheses": (in_span, smooth, convex)},
                    attained="t near its model's minimum, to first order",
                ),
                Step(
                    claim="logistic losses",
                    check=corrected,
                    cases=LOGISTIC,
                    twins=(
                        Twin("linear term dropped", {"factor": fmpq(0)}),
                        Twin("linear term a tenth", {"factor": fmpq(1, 10)}),
                    ),
                    sides={"factor": fmpq(1), "hypotheses": (in_span, smooth, convex)},
                ),
            ),
            hypotheses=("convex and L-smooth in an open convex neighbourhood",),
        ),
    ),
    table=2,
)


def minimiser(case: OneStep, *, candidate: Callable) -> Margin:
    """The candidate minimises the model over the span: it lies there and the slope along every row vanishes."""
    slope = case.rows * (case.gradient + candidate(case) * case.smoothness)
    return all_of(
        equal(slope, qq.zeros(slope.nrows(), 1)),
        equal(case.projector * candidate(case), candidate(case)),
        at_most(case.model(candidate(case)), case.model(case.update)),
    )


def progress(case: OneStep, *, right: Callable, step: Callable, hypotheses: tuple = (smooth,)) -> Margin:
    """(6): the decrease of the true loss is at least the guaranteed one."""
    meet(case, hypotheses)
    return at_most(right(case), -case.loss(step(case)))


def pythagoras(case: OneStep) -> fmpq:
    """(|g|^2 - |(I - Pi) g|^2) / (2 L)."""
    rest = case.gradient - case.projector * case.gradient
    return (qq.norm2(case.gradient) - qq.norm2(rest)) / (2 * case.smoothness)


def scaled(eta: fmpq) -> Callable:
    """Return the step -(eta / L) Pi g."""
    return lambda case: case.best * eta


def guaranteed(eta: fmpq) -> Callable:
    """Return eta (1 - eta/2) |Pi g|^2 / L, the guaranteed decrease of the step -(eta / L) Pi g."""
    return lambda case: eta * (1 - eta / 2) * qq.norm2(case.projector * case.gradient) / case.smoothness


WORST = drawn(quadratics().map(lambda case: replace(case, hessian=qq.identity(case.hessian.nrows()) * case.smoothness)))
THM_3_3_MINIMISER = Statement(
    label="thm_3_3_minimiser",
    row="Thm 3.3 minimiser, (6)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\Delta_t^*=-\frac{1}{L}\Pi_S g_t,\quad \mathcal{L}_t(\theta)-\mathcal{L}_t(\theta+\Delta_t^*)"
            r"\geq\frac{1}{2L}(\|g_t\|^2-\|(I-\Pi_S)g_t\|^2)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["thm_3_3_minimiser", "as stated"],
            steps=(
                Step(
                    claim="D* is stationary in the span and beats the realised update",
                    check=minimiser,
                    cases=QUADRATICS,
                    twins=(
                        Twin(
                            "gradient not projected",
                            {"candidate": lambda case: case.gradient * (fmpq(-1) / case.smoothness)},
                        ),
                        Twin("wrong sign", {"candidate": lambda case: case.best * fmpq(-1)}),
                    ),
                    sides={"candidate": lambda case: case.best},
                ),
                Step(
                    claim="(6), quadratic losses",
                    check=progress,
                    cases=QUADRATICS,
                    twins=(
                        Twin("factor 1/L instead of 1/(2 L)", {"right": lambda case: 2 * pythagoras(case)}, WORST),
                        Twin("curvature above L", {"hypotheses": ()}, fixed(STIFF)),
                    ),
                    sides={"right": pythagoras, "step": lambda case: case.best},
                    attained="the loss equal to its model Q",
                ),
                Step(
                    claim="(6), logistic losses",
                    check=progress,
                    cases=LOGISTIC,
                    twins=(
                        Twin("factor 4 too much", {"right": lambda case: 4 * pythagoras(case)}),
                        Twin(
                            "residual not subtracted",
                            {"right": lambda case: qq.norm2(case.gradient) / (2 * case.smoothness) + fmpq(1)},
                        ),
                    ),
                    sides={"right": pythagoras, "step": lambda case: case.best},
                ),
                Step(
                    claim="a step eta/L guarantees eta (1 - eta/2) |Pi g|^2 / L: at eta = 3/2",
                    check=progress,
                    cases=QUADRATICS,
                    twins=(
                        Twin("guarantee of eta = 1 at eta = 3/2", {"right": pythagoras}, WORST),
                        Twin("step beyond 2/L", {"step": scaled(fmpq(5, 2))}, WORST),
                    ),
                    sides={"right": guaranteed(fmpq(3, 2)), "step": scaled(fmpq(3, 2))},
                    attained="the loss equal to its model Q",
                ),
                Step(
                    claim="minimax: for the loss equal to its model the guarantee is attained",
                    check=progress,
                    cases=WORST,
                    twins=(
                        Twin("a thousandth more", {"right": lambda case: pythagoras(case) * fmpq(1001, 1000)}),
                        Twin("half a step", {"step": scaled(fmpq(1, 2))}),
                    ),
                    sides={"right": pythagoras, "step": lambda case: case.best},
                    attained="always an equality",
                ),
            ),
            hypotheses=("L-smooth on the segment",),
        ),
    ),
)


@dataclass(frozen=True)
class Tasks:
    """A finite law of task gradients, the span, the smoothness constant and one common update."""

    law: Population
    rows: fmpq_mat
    smoothness: fmpq
    coefficients: fmpq_mat

    @property
    def projected(self) -> list[fmpq_mat]:
        """The projected gradient of every task, as columns."""
        pi = qq.projector(self.rows)
        return [pi * qq.column(row) for row in self.law.features.tolist()]

    @property
    def mean(self) -> fmpq_mat:
        """The mean projected gradient."""
        total = qq.zeros(self.rows.ncols(), 1)
        for weight, g in zip(self.law.weights, self.projected, strict=True):
            total += g * weight
        return total

    def expected_regret(self, update: fmpq_mat) -> fmpq:
        """The mean over tasks of Q_t(update) - Q_t(its own minimiser)."""
        bests = [g * (fmpq(-1) / self.smoothness) for g in self.projected]
        model = [
            qq.dot(g, update - best) + self.smoothness * (qq.norm2(update) - qq.norm2(best)) / 2
            for g, best in zip(self.projected, bests, strict=True)
        ]
        return self.law.mean(model)


@st.composite
def tasks(draw: Any) -> Tasks:
    """Draw a law of task gradients and a common update."""
    law, m = draw(populations()), draw(st.integers(1, 3))
    return Tasks(law, draw(matrices(m, law.features.ncols())), draw(positive), draw(matrices(m, 1)))


def spread(case: Tasks) -> fmpq:
    """The irreducible term tr(Pi Cov(g) Pi) / (2 L)."""
    total = case.law.mean([qq.norm2(g - case.mean) for g in case.projected])
    return total / (2 * case.smoothness)


def residual_only(case: Tasks) -> fmpq:
    """What the text says is left: E|(I - Pi) g|^2 / (2 L)."""
    rest = [qq.norm2(qq.column(row) - g) for row, g in zip(case.law.features.tolist(), case.projected, strict=True)]
    return case.law.mean(rest) / (2 * case.smoothness)


def best_common(case: Tasks, *, right: Callable) -> Margin:
    """The smallest expected regret of a common update is at most the right side."""
    return at_most(case.expected_regret(case.mean * (fmpq(-1) / case.smoothness)), right(case))


def decomposition(case: Tasks, *, offset: int = 1, irreducible: Callable = spread) -> Margin:
    """E L/2 |D - D_t*|^2 = L/2 |D + Pi g / L|^2 + tr(Pi Cov Pi) / (2 L) for every common update D."""
    update = case.rows.transpose() * case.coefficients
    common = case.smoothness * qq.norm2(update + case.mean * (offset / case.smoothness)) / 2
    return equal(case.expected_regret(update), common + irreducible(case))


def reference_decomposition(case: Tasks) -> list[float]:
    """dntk_ref's total and irreducible regret."""
    step = qq.floats(case.rows.transpose() * case.coefficients)[:, 0]
    found = regret_decomposition(
        qq.floats(case.law.features),
        step,
        qq.floats(qq.projector(case.rows)),
        smoothness=float(case.smoothness),
        probabilities=[float(w) for w in case.law.weights],
    )
    return [found.total, found.irreducible]


def exact_decomposition(case: Tasks) -> fmpq_mat:
    """The same two numbers."""
    return qq.mat([[case.expected_regret(case.rows.transpose() * case.coefficients), spread(case)]])


CEX_2 = Tasks(
    Population(qq.mat([[1], [-1]]), qq.mat([[0], [0]]), (fmpq(1, 2), fmpq(1, 2))), qq.mat([[1]]), fmpq(1), qq.mat([[0]])
)
ONE_TASK = replace(CEX_2, law=replace(CEX_2.law, features=qq.mat([[1], [1]])))
TASKS = drawn(tasks())
THM_3_3_REGRET = Statement(
    label="thm_3_3_regret",
    row='Thm 3.3 "In particular … regret is small"',
    readings=(
        Reading(
            key="random task",
            formula=r"\min_\Delta E\,[Q_t(\Delta)-Q_t(\Delta_t^*)]\leq\frac{1}{2L}E\|(I-\Pi_S)g_t\|^2",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-2",
                    check=best_common,
                    case=CEX_2,
                    controls=(
                        Twin("the irreducible term added", {"right": spread}),
                        Twin("one task: the gradient is not random", cases=fixed(ONE_TASK)),
                    ),
                    printed={"right": residual_only},
                    left="1/2",
                    right=0,
                    search=tasks(),
                ),
            ),
            note="with the loss of every task equal to its model; the conclusion holds for a step chosen per task",
        ),
        Reading(
            key="one task",
            formula=r"g_t=\bar{g}:\quad \min_\Delta E\,[Q_t(\Delta)-Q_t(\Delta_t^*)]=0",
            verdict=Verdict.ADDED,
            proof=PROOFS["thm_3_3_regret", "one task"],
            steps=(
                Step(
                    claim="with the irreducible term the best common update attains the bound",
                    check=best_common,
                    cases=TASKS,
                    twins=(
                        Twin("covariance halved", {"right": lambda case: spread(case) / 2}),
                        Twin("residual instead of covariance", {"right": residual_only}),
                    ),
                    sides={"right": spread},
                    attained="every instance",
                ),
            ),
            added=("the task does not vary (or the step may depend on it)",),
        ),
    ),
)
REGRET_IDENTITY = Statement(
    label="regret_identity",
    row="Regret identity and irreducible regret (after Thm 3.3)",
    readings=(
        Reading(
            key="boxed",
            formula=r"E\,\frac{L}{2}\|\Delta-\Delta_t^*\|^2=\frac{L}{2}\|\Delta+\frac{1}{L}\Pi_S\bar{g}\|^2"
            r"+\frac{1}{2L}\mathrm{tr}(\Pi_S\mathrm{Cov}(g_t)\Pi_S)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["regret_identity", "boxed"],
            steps=(
                Step(
                    claim="for every common update",
                    check=decomposition,
                    cases=TASKS,
                    twins=(
                        Twin("sign of the mean gradient flipped", {"offset": -1}),
                        Twin("covariance replaced by the residual", {"irreducible": residual_only}),
                    ),
                    attained="always an equality",
                ),
                agreement(
                    "dntk_ref's total and irreducible parts",
                    TASKS,
                    reference_decomposition,
                    exact_decomposition,
                    lambda c: (
                        1
                        + float(
                            (qq.frobenius2(c.law.features) + qq.norm2(c.coefficients) * qq.frobenius2(c.rows))
                            * (1 + c.smoothness + 1 / c.smoothness)
                        )
                    ),
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Reach:
    """Class-stacked gradients (m C, P) of m inputs, the wanted update direction, and the number of classes."""

    rows: fmpq_mat
    gradient: fmpq_mat
    classes: int

    @property
    def centred(self) -> fmpq_mat:
        """The rows after the class mean is removed within each input."""
        m = self.rows.nrows() // self.classes
        centre = qq.identity(self.classes) - qq.ones(self.classes, self.classes) * fmpq(1, self.classes)
        return qq.block_diagonal(*[centre] * m) * self.rows


@st.composite
def reaches(draw: Any) -> Reach:
    """Draw stacked gradients of one or two inputs and two or three classes."""
    classes, m, p = draw(st.integers(2, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 4))
    return Reach(draw(matrices(m * classes, p)), draw(matrices(p, 1)), classes)


def realisable(case: Reach, *, reachable: Callable) -> Margin:
    """The best reachable update leaves no regret: the distance of Pi g to the reachable span is 0."""
    wanted = qq.projector(case.rows) * case.gradient
    missed = wanted - qq.projector(reachable(case)) * wanted
    return equal(qq.norm2(missed) / 2, fmpq(0))


def softmax_residual(case: Reach, *, shift: Callable) -> Margin:
    """With labels on the simplex, J^T (p - y) lies in the span of the centred rows, and every direction of it occurs."""
    m = case.rows.nrows() // case.classes
    sigma = []
    for i in range(m):
        p = [fmpq(i + c + 1) for c in range(case.classes)]
        total, label = sum(p, fmpq(0)), [fmpq(1 if c == i % case.classes else 0) for c in range(case.classes)]
        sigma += [a / total - b + shift(c) for c, (a, b) in enumerate(zip(p, label, strict=True))]
    update = case.rows.transpose() * qq.column(sigma)
    return equal(qq.projector(case.centred) * update, update)


CEX_3 = Reach(qq.identity(2), qq.column([1, 1]), 2)
REACHES = drawn(reaches())
REM_3_4 = Statement(
    label="rem_3_4",
    row="Rem 3.4",
    readings=(
        Reading(
            key="squared loss",
            formula=r"\{\frac{L\eta}{m}J_S^T\varsigma\}=\mathcal{T}_S\ni\Pi_S g",
            verdict=Verdict.ADDED,
            proof=PROOFS["rem_3_4", "squared loss"],
            steps=(
                Step(
                    claim="free real targets reach every update in the span",
                    check=realisable,
                    cases=REACHES,
                    twins=(
                        Twin(
                            "one row less",
                            {"reachable": lambda case: qq.select(case.rows, range(case.rows.nrows() - 1))},
                        ),
                        Twin("centred rows", {"reachable": lambda case: case.centred}),
                    ),
                    sides={"reachable": lambda case: case.rows},
                ),
            ),
            added=("squared loss with free real targets",),
        ),
        Reading(
            key="softmax cross-entropy",
            formula=r"\{J_S^T\varsigma:\ \sum_c\varsigma_{ic}=0\}\neq\mathcal{T}_S",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="residuals of simplex labels stay in the centred span",
                    check=softmax_residual,
                    cases=REACHES,
                    twins=(
                        Twin("labels that do not sum to one", {"shift": lambda c: fmpq(1 if c == 0 else 0)}),
                        Twin("all residuals shifted", {"shift": lambda c: fmpq(1, 3)}),
                    ),
                    sides={"shift": lambda c: fmpq(0)},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-3",
                    check=realisable,
                    case=CEX_3,
                    controls=(
                        Twin("squared loss: free coefficients", {"reachable": lambda case: case.rows}),
                        Twin("a gradient that sums to zero", cases=fixed(replace(CEX_3, gradient=qq.column([1, -1])))),
                    ),
                    printed={"reachable": lambda case: case.centred},
                    left=1,
                    right=0,
                    search=reaches(),
                ),
            ),
            note="only m (C - 1) directions are reachable",
        ),
    ),
)

STATEMENTS = (THM_3_3, THM_3_3_MINIMISER, THM_3_3_REGRET, REM_3_4, SEC_3_3_2, REGRET_IDENTITY)
