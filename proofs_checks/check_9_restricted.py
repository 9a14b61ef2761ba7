"""Sections 9.4 and 9.5: restricted (Nystroem) solutions, effective dimension, leverage, leave-one-out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.ridge import effective_dimension, leave_one_out, leverage
from proofs_checks import rational as qq
from proofs_checks.check_9_certificates import SINGLE, Certified, with_edges
from proofs_checks.instances import Ridge, drawn, fixed, projectors, ridges
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Restricted:
    """A ridge problem and a projector of the parameter space whose complement has rank one (so norms of E are traces)."""

    ridge: Ridge
    projector: fmpq_mat

    @cached_property
    def error(self) -> fmpq_mat:
        """E = K - K_Pi."""
        phi = self.ridge.features
        return self.ridge.kernel - phi * self.projector * phi.transpose()

    @cached_property
    def alpha(self) -> fmpq_mat:
        """(K_Pi + lambda)^{-1} y."""
        return qq.ridge_solve(self.ridge.kernel - self.error, self.ridge.targets, self.ridge.lam)

    @cached_property
    def weights(self) -> fmpq_mat:
        """w_Pi = Pi Phi^T alpha_Pi."""
        return self.projector * self.ridge.features.transpose() * self.alpha


@st.composite
def restrictions(draw: Any) -> Restricted:
    """Draw a ridge problem and a projector of co-rank one."""
    ridge = draw(ridges(3))
    p = ridge.features.ncols()
    return Restricted(ridge, draw(projectors(p, p - 1)))


def nystrom(case: Restricted, *, weights: Callable, scale: fmpq) -> Margin:
    """|r|^2 = lambda^2 a^T E a; 0 <= J gap <= lambda/2 a^T E a <= lambda/2 tr E |a|^2; fitted and pointwise, squared."""
    ridge, lam, w = case.ridge, case.ridge.lam, weights(case)
    r = ridge.features.transpose() * (ridge.features * w - ridge.targets) + w * lam
    form, trace = qq.dot(case.alpha, case.error * case.alpha), qq.trace(case.error)
    gap = ridge.objective(w) - ridge.objective(ridge.weights)
    fitted = qq.norm2(ridge.features * (ridge.weights - w))
    test = qq.dot(ridge.test, ridge.weights - w) ** 2
    return all_of(
        equal(qq.norm2(r), lam**2 * form),
        at_most(0, gap),
        at_most(gap, scale * lam * form / 2),
        at_most(form, scale * trace * qq.norm2(case.alpha)),
        at_most(fitted, scale * (trace / (lam + trace)) ** 2 * qq.norm2(ridge.targets)),
        at_most(test, scale * qq.norm2(ridge.test) * qq.norm2(r) / lam**2),
        at_most(test, scale * qq.norm2(ridge.test) * qq.norm2(ridge.targets) * trace / lam**2),
    )


def cea(case: Restricted, *, weights: Callable) -> Margin:
    """w_Pi - w_* is H-orthogonal to range Pi, hence nearest to w_* there in the H norm."""
    p = case.projector.nrows()
    hessian = case.ridge.features.transpose() * case.ridge.features + qq.identity(p) * case.ridge.lam
    product = case.projector * (hessian * (weights(case) - case.ridge.weights))
    return equal(product, qq.zeros(p, 1))


def sketched_14(case: Restricted, *, weights: Callable) -> Margin:
    """CEX-14 again: with E = 0 the weights are those of the full problem."""
    return equal(weights(case), case.ridge.weights)


def first_row_only(case: Restricted) -> fmpq_mat:
    """Algorithm 1's solve with the first training row as only synthetic gradient."""
    row = qq.select(case.ridge.features, [0])
    return row.transpose() * qq.ridge_solve(qq.kernel_of(row), qq.select(case.ridge.targets, [0]), case.ridge.lam)


RESTRICTIONS = drawn(restrictions())
NOTHING = Restricted(Ridge(qq.mat([[1]]), qq.mat([[1]]), fmpq(1), qq.mat([[1]])), qq.mat([[0]]))
CEX_14 = Restricted(Ridge(qq.mat([[1], [10]]), qq.column([1, 0]), fmpq(1, 100), qq.mat([[1]])), qq.mat([[1]]))
ONE_ROW = replace(CEX_14, ridge=Ridge(qq.mat([[1]]), qq.column([1]), fmpq(1, 100), qq.mat([[1]])))
NYSTROM = Statement(
    label="nystrom_bounds",
    row="9.4 Nystrom / inducing-point predictor bounds",
    readings=(
        Reading(
            key="restricted solve",
            formula=r"0\leq J(w_\Pi)-J(w_*)\leq\frac{\lambda}{2}\alpha_\Pi^TE\alpha_\Pi,"
            r"\quad \|f_*(X)-f_\Pi(X)\|\leq\frac{\|E\|_2}{\lambda+\|E\|_2}\|y\|",
            verdict=Verdict.HOLDS,
            proof=PROOFS["nystrom_bounds", "restricted solve"],
            steps=(
                Step(
                    claim="residual, energy, fitted values, pointwise (complement of rank one)",
                    check=nystrom,
                    cases=lambda n: (*RESTRICTIONS(n), NOTHING),
                    twins=(
                        Twin("a tenth smaller", {"scale": fmpq(9, 10)}, fixed(NOTHING)),
                        Twin("full weights", {"weights": lambda c: c.ridge.weights}),
                    ),
                    sides={"weights": lambda c: c.weights, "scale": fmpq(1)},
                    attained="K_Pi = 0",
                ),
                Step(
                    claim="Cea: nearest in the H norm",
                    check=cea,
                    cases=RESTRICTIONS,
                    twins=(
                        Twin("projected full weights", {"weights": lambda c: c.projector * c.ridge.weights}),
                        Twin("weights doubled", {"weights": lambda c: c.weights * fmpq(2)}),
                    ),
                    sides={"weights": lambda c: c.weights},
                ),
            ),
        ),
        Reading(
            key="sketched solve",
            formula=r"E=0\Rightarrow\hat w=w_*",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="CEX-14",
                    check=sketched_14,
                    case=CEX_14,
                    controls=(
                        Twin("restricted solve", {"weights": lambda c: c.weights}),
                        Twin("one training row", cases=fixed(ONE_ROW)),
                    ),
                    printed={"weights": first_row_only},
                    search=restrictions(),
                ),
            ),
            note="zero misalignment does not bound the prediction error of Algorithm 1",
        ),
    ),
    table=2,
)


def freedom(kernel: fmpq_mat, lam: fmpq) -> fmpq:
    """Tr K (K + lambda)^{-1}."""
    return qq.trace(kernel * (kernel + qq.identity(kernel.nrows()) * lam).inv())


def sandwiched(case: Restricted, *, surplus: Callable) -> Margin:
    """d(K_Pi) <= d(K) <= d(K_Pi) + tr(E) / lambda."""
    low, high = freedom(case.ridge.kernel - case.error, case.ridge.lam), freedom(case.ridge.kernel, case.ridge.lam)
    return all_of(at_most(low, high), at_most(high, low + surplus(case)))


def overestimated(case: Certified, *, scale: fmpq) -> Margin:
    """l_i <= (K_ii - k_Si^T (K_SS + lambda)^{-1} k_Si) / lambda for every training subset S."""
    k, lam, margins = case.ridge.kernel, case.ridge.lam, []
    exact = k * (k + qq.identity(k.nrows()) * lam).inv()
    block = qq.select(k, case.subset, case.subset)
    for i in range(k.nrows()):
        row = qq.select(k, case.subset, [i])
        margins.append(at_most(exact[i, i], scale * (k[i, i] - qq.dot(row, qq.ridge_solve(block, row, lam))) / lam))
    return all_of(margins)


def left_out(case: Ridge, *, denominator: Callable) -> Margin:
    """y_i - f_{-i}(x_i) = alpha_i / [(K + lambda)^{-1}]_ii, against the fit without row i."""
    k, n, margins = case.kernel, case.features.nrows(), []
    inverse = (k + qq.identity(n) * case.lam).inv()
    alpha = inverse * case.targets
    for i in range(n):
        rest = [j for j in range(n) if j != i]
        fitted = (
            qq.dot(
                qq.select(k, [i], rest).transpose(),
                qq.ridge_solve(qq.select(k, rest, rest), qq.select(case.targets, rest), case.lam),
            )
            if rest
            else fmpq(0)
        )
        margins.append(equal(case.targets[i, 0] - fitted, alpha[i, 0] / denominator(inverse, case, i)))
    return all_of(margins)


def loo(case: Ridge) -> fmpq_mat:
    """The leave-one-out residuals by the formula."""
    inverse = (case.kernel + qq.identity(case.kernel.nrows()) * case.lam).inv()
    alpha = inverse * case.targets
    return qq.mat([[alpha[i, 0] / inverse[i, i] for i in range(case.kernel.nrows())]])


def condition(case: Ridge) -> float:
    """Condition number of the dual system times the size of the targets."""
    return (1 + float(qq.frobenius2(case.features) / case.lam)) ** 2 * (1 + float(qq.norm2(case.targets)))


RIDGES = drawn(ridges())


def in_sample(case: Ridge) -> fmpq_mat:
    """Residuals of the fit itself, plus one."""
    fitted = case.kernel * qq.ridge_solve(case.kernel, case.targets, case.lam)
    return (case.targets - fitted).transpose() + qq.ones(1, case.kernel.nrows())


FREEDOM = Statement(
    label="effective_dimension",
    row="9.5 Effective dimension, leverage, leave-one-out",
    readings=(
        Reading(
            key="effective dimension",
            formula=r"d_{eff}(K_\Pi)\leq d_{eff}(K)\leq d_{eff}(K_\Pi)+\mathrm{tr}(K-K_\Pi)/\lambda",
            verdict=Verdict.HOLDS,
            proof=PROOFS["effective_dimension", "effective dimension"],
            steps=(
                Step(
                    claim="both sides",
                    check=sandwiched,
                    cases=lambda n: (*RESTRICTIONS(n), NOTHING),
                    twins=(
                        Twin(
                            "tr E / (4 lambda)",
                            {"surplus": lambda c: qq.trace(c.error) / (4 * c.ridge.lam)},
                            fixed(NOTHING),
                        ),
                        Twin("nothing added", {"surplus": lambda c: fmpq(0)}),
                    ),
                    sides={"surplus": lambda c: qq.trace(c.error) / c.ridge.lam},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=RIDGES,
                    twins=(
                        Twin("rank", {"exact": lambda c: fmpq(c.kernel.rank()) + 1}),
                        Twin("doubled", {"exact": lambda c: 2 * freedom(c.kernel, c.lam) + 1}),
                    ),
                    sides={
                        "reference": lambda c: effective_dimension(qq.floats(c.kernel), float(c.lam)),
                        "exact": lambda c: freedom(c.kernel, c.lam),
                        "scale": condition,
                    },
                ),
            ),
        ),
        Reading(
            key="leverage",
            formula=r"\ell_i\leq\frac{1}{\lambda}(K_{ii}-k_{Si}^T(K_{SS}+\lambda I)^{-1}k_{Si})",
            verdict=Verdict.HOLDS,
            proof=PROOFS["effective_dimension", "leverage"],
            steps=(
                Step(
                    claim="every training subset",
                    check=overestimated,
                    cases=with_edges,
                    twins=(
                        Twin("a tenth smaller", {"scale": fmpq(9, 10)}, fixed(SINGLE)),
                        Twin("half", {"scale": fmpq(1, 2)}),
                    ),
                    sides={"scale": fmpq(1)},
                    attained="S all of the training set",
                ),
                Step(
                    claim="dntk_ref's leverage",
                    check=by_reference,
                    cases=RIDGES,
                    twins=(
                        Twin("one minus it", {"exact": lambda c: _leverage(c, True)}),
                        Twin(
                            "halved, plus one",
                            {"exact": lambda c: _leverage(c, False) * fmpq(1, 2) + qq.ones(1, c.kernel.nrows())},
                        ),
                    ),
                    sides={
                        "reference": lambda c: leverage(qq.floats(c.kernel), float(c.lam)),
                        "exact": lambda c: _leverage(c, False),
                        "scale": condition,
                    },
                ),
            ),
        ),
        Reading(
            key="leave-one-out",
            formula=r"y_i-\hat f_{-i}(x_i)=\alpha_i/[(K+\lambda)^{-1}]_{ii}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["effective_dimension", "leave-one-out"],
            steps=(
                Step(
                    claim="against the fit without the row",
                    check=left_out,
                    cases=RIDGES,
                    twins=(
                        Twin(
                            "one minus the leverage, times one",
                            {"denominator": lambda inverse, c, i: c.lam * inverse[i, i] + fmpq(1, 7)},
                        ),
                        Twin(
                            "ridge times the entry, squared",
                            {"denominator": lambda inverse, c, i: inverse[i, i] ** 2 * fmpq(7, 5)},
                        ),
                    ),
                    sides={"denominator": lambda inverse, c, i: inverse[i, i]},
                    attained="always an equality",
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=RIDGES,
                    twins=(
                        Twin("plain residuals", {"exact": in_sample}),
                        Twin("sign", {"exact": lambda c: loo(c) * fmpq(-1)}),
                    ),
                    sides={
                        "reference": lambda c: leave_one_out(
                            qq.floats(c.kernel), qq.floats(c.targets)[:, 0], float(c.lam)
                        ),
                        "exact": loo,
                        "scale": condition,
                    },
                ),
            ),
        ),
    ),
    table=2,
)


def _leverage(case: Ridge, complement: bool) -> fmpq_mat:
    hat = case.kernel * (case.kernel + qq.identity(case.kernel.nrows()) * case.lam).inv()
    return qq.mat([[1 - hat[i, i] if complement else hat[i, i] for i in range(hat.nrows())]])


STATEMENTS = (NYSTROM, FREEDOM)
