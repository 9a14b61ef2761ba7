"""Eq (2) and Lemma C.1 for softmax cross-entropy: the inner minimiser of distillation, and the gradient through logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flint import arb, arb_series, ctx, fmpq, fmpq_mat
from hypothesis import strategies as st

from proofs_checks import rational as qq
from proofs_checks.instances import Ridge, drawn, matrices, ridges
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


def inner_minimum(case: Ridge, *, weights: Callable) -> Margin:
    """J(w) - J(w_S) = (|Phi d|^2 + lam |d|^2) / 2 for d = w - w_S: w_S is the only minimiser of the inner problem."""
    least, moved = weights(case), weights(case) + case.test
    d = case.test
    excess = case.objective(moved) - case.objective(least)
    return all_of(
        equal(excess, (qq.norm2(case.features * d) + case.lam * qq.norm2(d)) / 2),
        at_most(case.objective(least), case.objective(moved)),
    )


EQ_2 = Statement(
    label="eq_2_inner",
    row="Eq (2), inner problem",
    readings=(
        Reading(
            key="linearised model, squared loss, ridge",
            formula=r"\theta^*(S)=\arg\min_w\frac{1}{2}\|\Phi_Sw-y_S\|^2+\frac{\lambda}{2}\|w\|^2"
            r"=\Phi_S^T(\Phi_S\Phi_S^T+\lambda)^{-1}y_S",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="the minimiser exists, is the ridge solution, and is the only one",
                    check=inner_minimum,
                    cases=drawn(ridges()),
                    twins=(
                        Twin("ridge doubled", {"weights": lambda c: _with_ridge(c, 2 * c.lam)}),
                        Twin("no weights", {"weights": lambda c: c.weights * fmpq(0)}),
                    ),
                    sides={"weights": lambda c: c.weights},
                ),
            ),
            nature=Nature.DEFINITION,
            note="loss, scale of the ridge and model of the inner problem are open in the text; this is what 4.3 solves",
        ),
    ),
    table=2,
)


def _with_ridge(case: Ridge, lam: fmpq) -> fmpq_mat:
    return case.features.transpose() * qq.ridge_solve(case.kernel, case.targets, lam)


@dataclass(frozen=True)
class Logits:
    """Logits of m inputs at theta, their gradients as rows by input and logit, labels, and a direction of the parameters."""

    logits: fmpq_mat
    gradients: tuple[fmpq_mat, ...]
    labels: fmpq_mat
    direction: fmpq_mat

    def derivative(self, i: int, c: int) -> fmpq:
        """The change of one logit along the direction, to first order."""
        return (self.gradients[i] * self.direction)[c, 0]


@st.composite
def logits(draw: Any) -> Logits:
    """Draw two or three logits of one or two inputs; labels need not sum to one."""
    m, C, P = draw(st.integers(1, 2)), draw(st.integers(2, 3)), draw(st.integers(1, 3))
    gradients = tuple(draw(matrices(C, P)) for _ in range(m))
    return Logits(draw(matrices(m, C)), gradients, draw(matrices(m, C)), draw(matrices(P, 1)))


def through_logits(case: Logits, *, sensitivity: Callable, mean: Callable) -> Margin:
    """d/dt L(theta + t d) = <(1/m) J_S^T s, d>, the left side as the coefficient of a power series in balls."""
    m, C = case.logits.nrows(), case.logits.ncols()
    with ctx.workprec(200):
        total, inner, sums = arb_series([0, 0], prec=2), arb(0), arb(0)
        for i in range(m):
            z = [arb_series([arb(case.logits[i, c]), arb(case.derivative(i, c))], prec=2) for c in range(C)]
            partition = sum((x.exp() for x in z), arb_series([0], prec=2)).log()
            for c in range(C):
                total = total - (z[c] - partition) * arb(case.labels[i, c])
            weights = [arb(case.logits[i, c]).exp() for c in range(C)]
            p = [w / sum(weights, arb(0)) for w in weights]
            y = [arb(case.labels[i, c]) for c in range(C)]
            s = sensitivity(p, y)
            inner += sum((s[c] * arb(case.derivative(i, c)) for c in range(C)), arb(0))
            sums += sum(s, arb(0))
        return all_of(equal(total[1] / m, inner * mean(m)), equal(sums, arb(0)))


def cross_entropy(p: list[arb], y: list[arb]) -> list[arb]:
    """s_c = (sum_j y_j) p_c - y_c."""
    return [sum(y, arb(0)) * a - b for a, b in zip(p, y, strict=True)]


LEMMA_C_1 = Statement(
    label="lemma_c_1_cross_entropy",
    row="Lemma C.1 for softmax cross-entropy",
    readings=(
        Reading(
            key="labels of any sum",
            formula=r"\nabla_\theta\mathcal{L}_S=\frac{1}{m}J_S^T\varsigma,\quad"
            r"\varsigma_{ic}=\left(\sum_jy_{ij}\right)p_{ic}-y_{ic},\quad\sum_c\varsigma_{ic}=0",
            verdict=Verdict.HOLDS,
            proof=PROOFS["lemma_c_1_cross_entropy", "labels of any sum"],
            steps=(
                Step(
                    claim="the derivative along every direction, and sensitivities of sum zero",
                    check=through_logits,
                    cases=drawn(logits(), 0.5),
                    twins=(
                        Twin(
                            "p - y whatever the labels' sum",
                            {"sensitivity": lambda p, y: [a - b for a, b in zip(p, y, strict=True)]},
                        ),
                        Twin("the sum for the mean", {"mean": lambda m: fmpq(1, m + 1)}),
                        Twin("squared loss's sensitivity", {"sensitivity": lambda p, y: list(y)}),
                    ),
                    sides={"sensitivity": cross_entropy, "mean": lambda m: fmpq(1, m)},
                    attained="always an equality",
                ),
            ),
            hypotheses=("differentiable net",),
        ),
    ),
    table=2,
)

STATEMENTS = (EQ_2, LEMMA_C_1)
