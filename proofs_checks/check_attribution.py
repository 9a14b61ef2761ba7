"""What the tangent kernel says of retraining: removal without refitting, leave-one-out, influence as its limit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.attribution import removal_effects, without_rows, without_rows_by_features
from proofs_checks import rational as qq
from proofs_checks.instances import Ridge, drawn, fixed, ridges
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, agreement

__all__ = ["STATEMENTS"]


ALL = fmpq(1)


@dataclass(frozen=True)
class Removal:
    """A ridge problem, a set of its rows that leaves others, and a share by which their squared errors count less."""

    ridge: Ridge
    group: tuple[int, ...]
    share: fmpq = ALL

    @cached_property
    def rest(self) -> list[int]:
        """The rows that stay."""
        return [i for i in range(self.ridge.features.nrows()) if i not in self.group]

    @cached_property
    def inverse(self) -> fmpq_mat:
        """A = (K + lambda)^{-1}."""
        return (self.ridge.kernel + qq.identity(self.ridge.features.nrows()) * self.ridge.lam).inv()

    @cached_property
    def hat(self) -> fmpq_mat:
        """The leverage block Phi_G H Phi_G^T = I - lambda A_GG of the group, H = (Phi^T Phi + lambda)^{-1}."""
        return qq.identity(len(self.group)) - qq.select(self.inverse, self.group, self.group) * self.ridge.lam

    @property
    def refitted(self) -> fmpq:
        """The prediction of the machine fitted on the rows that stay."""
        kept = replace(
            self.ridge,
            features=qq.select(self.ridge.features, self.rest),
            targets=qq.select(self.ridge.targets, self.rest),
        )
        return qq.dot(self.ridge.test, kept.weights)

    @property
    def weighed(self) -> fmpq:
        """The prediction where the group's squared errors count 1 - share, from the weighted normal equations."""
        phi, n = self.ridge.features, self.ridge.features.nrows()
        omega = qq.diagonal([1 - self.share if i in self.group else 1 for i in range(n)])
        hessian = phi.transpose() * omega * phi + qq.identity(phi.ncols()) * self.ridge.lam
        return qq.dot(self.ridge.test, hessian.solve(phi.transpose() * omega * self.ridge.targets))

    @property
    def prediction(self) -> fmpq:
        """The prediction from all rows."""
        return qq.dot(self.ridge.test, self.ridge.weights)

    def downdate(self, block: fmpq_mat) -> fmpq:
        """Return f - k^T A_:G block^{-1} alpha_G."""
        k = self.ridge.features * self.ridge.test
        pulled = qq.select((self.inverse * k), self.group)
        alpha = qq.select(self.inverse * self.ridge.targets, self.group)
        return self.prediction - qq.dot(pulled, block.solve(alpha))


@st.composite
def removals(draw: Any, high: int = 4) -> Removal:
    """Draw a ridge problem of two rows or more, some of which go, and a share."""
    ridge = draw(ridges(high).filter(lambda r: r.features.nrows() > 1))
    n = ridge.features.nrows()
    group = draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n - 1))
    return Removal(ridge, tuple(sorted(group)), fmpq(1, draw(st.integers(1, 5))))


def own_block(case: Removal) -> fmpq_mat:
    """A_GG."""
    return qq.select(case.inverse, case.group, case.group)


def its_diagonal(case: Removal) -> fmpq_mat:
    """The diagonal of A_GG alone: the rows go one by one and their effects are added."""
    block = own_block(case)
    return qq.diagonal([block[i, i] for i in range(block.nrows())])


def its_limit(case: Removal) -> fmpq_mat:
    """What A_GG is where rows have no leverage: I / lambda."""
    return qq.identity(len(case.group)) * (1 / case.ridge.lam)


def refit(case: Removal, *, block: Callable[[Removal], fmpq_mat]) -> Margin:
    """The downdate gives what the machine fitted on the other rows says."""
    return equal(case.downdate(block(case)), case.refitted)


def refit_in_the_primal(case: Removal, *, pulled: Callable[[Removal], fmpq_mat]) -> Margin:
    """The refit is f - phi^T H Phi_G^T (I - Phi_G H Phi_G^T)^{-1} (y_G - Phi_G w), no quantity of size n in it."""
    phi = case.ridge.features
    hessian = phi.transpose() * phi + qq.identity(phi.ncols()) * case.ridge.lam
    group = qq.select(phi, case.group)
    left = qq.identity(len(case.group)) - group * hessian.solve(group.transpose())
    change = hessian.solve(group.transpose() * left.solve(pulled(case)))
    return equal(case.prediction - qq.dot(case.ridge.test, change), case.refitted)


def misfit(case: Removal) -> fmpq_mat:
    """y_G - Phi_G w."""
    return qq.select(case.ridge.targets - case.ridge.features * case.ridge.weights, case.group)


def one_by_one(case: Ridge, *, denominator: Callable[[fmpq_mat, Ridge, int], fmpq]) -> Margin:
    """f(x) - f_{-i}(x) = [k^T A]_i alpha_i / A_ii for every row."""
    n, margins = case.features.nrows(), []
    inverse = (case.kernel + qq.identity(n) * case.lam).inv()
    pulled, alpha = inverse * (case.features * case.test), inverse * case.targets
    for i in range(n):
        gone = Removal(case, (i,))
        effect = pulled[i, 0] * alpha[i, 0] / denominator(inverse, case, i)
        margins.append(equal(gone.prediction - (gone.refitted if n > 1 else fmpq(0)), effect))
    return all_of(margins)


def condition(case: Removal) -> float:
    """Condition number of the dual system, twice for the block, times the size of the data."""
    ridge = case.ridge
    size = float(qq.frobenius2(ridge.features)) + 1
    scale = (1 + size / float(ridge.lam)) ** 2 * (size + 1)
    return scale * (1 + float(qq.norm2(ridge.test)) + float(qq.norm2(ridge.targets)))


def of_reference(case: Removal) -> float:
    """dntk_ref's downdate in the dual."""
    phi, x = qq.floats(case.ridge.features)[None], qq.floats(case.ridge.test).T[None]
    y, group = qq.floats(case.ridge.targets).T, list(case.group)
    found = without_rows(x @ phi.swapaxes(1, 2), phi @ phi.swapaxes(1, 2), y, float(case.ridge.lam), group)
    return float(found[0, 0])


def of_reference_by_features(case: Removal) -> float:
    """dntk_ref's downdate in the primal."""
    phi, x = qq.floats(case.ridge.features)[None], qq.floats(case.ridge.test).T[None]
    y, group = qq.floats(case.ridge.targets).T, list(case.group)
    return float(without_rows_by_features(x, phi, y, float(case.ridge.lam), group)[0, 0])


REMOVALS = drawn(removals())
# Two equal rows of unit length: each says what the other does, so that removing them one by one removes too little.
TWICE = Removal(Ridge(qq.mat([[1], [1], [0]]), qq.column([1, 1, 0]), fmpq(1), qq.mat([[1]])), (0, 1))
DOWNDATE = Statement(
    label="attribution_downdate",
    row="Removing rows without refitting",
    readings=(
        Reading(
            key="sets of rows, by the block of the inverse",
            formula=r"f_{-G}(x)=f(x)-k(x)^TA_{:G}A_{GG}^{-1}\alpha_G,\quad A=(K+\lambda I)^{-1}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["attribution_downdate", "sets of rows, by the block of the inverse"],
            steps=(
                Step(
                    claim="dual downdate = refit",
                    check=refit,
                    cases=lambda n: (*REMOVALS(n), TWICE),
                    twins=(
                        Twin(name="row by row: the diagonal of the block", sides={"block": its_diagonal}),
                        Twin(name="first order: I / lambda", sides={"block": its_limit}),
                    ),
                    sides={"block": own_block},
                ),
                Step(
                    claim="primal downdate = refit",
                    check=refit_in_the_primal,
                    cases=lambda n: (*REMOVALS(n), TWICE),
                    twins=(
                        Twin(
                            name="targets for residuals",
                            sides={"pulled": lambda c: qq.select(c.ridge.targets, c.group)},
                        ),
                        Twin(name="residuals halved", sides={"pulled": lambda c: misfit(c) * fmpq(1, 2)}),
                    ),
                    sides={"pulled": misfit},
                ),
                agreement("dntk_ref computes it in the dual", REMOVALS, of_reference, lambda c: c.refitted, condition),
                agreement(
                    "dntk_ref computes it in the primal",
                    REMOVALS,
                    of_reference_by_features,
                    lambda c: c.refitted,
                    condition,
                ),
            ),
        ),
        Reading(
            key="effects of single rows added",
            formula=r"f_{-G}(x)=f(x)-\sum_{i\in G}(f(x)-f_{-i}(x))",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="two equal rows",
                    check=refit,
                    case=TWICE,
                    controls=(
                        Twin(name="the whole block", sides={"block": own_block}),
                        Twin(name="one row", cases=fixed(replace(TWICE, group=(0,)))),
                    ),
                    printed={"block": its_diagonal},
                    search=removals(),
                ),
            ),
            note="scores that are added cannot tell that one of two like rows is enough",
        ),
    ),
    table=2,
)

RIDGES = drawn(ridges())
LEAVE_ONE_OUT = Statement(
    label="attribution_leave_one_out",
    row="The effect of one row on another input",
    readings=(
        Reading(
            key="as stated",
            formula=r"f(x)-f_{-i}(x)=\frac{[k(x)^TA]_i\,\alpha_i}{A_{ii}}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["attribution_leave_one_out", "as stated"],
            steps=(
                Step(
                    claim="effect = difference of two fits",
                    check=one_by_one,
                    cases=RIDGES,
                    twins=(
                        Twin(name="1 / lambda", sides={"denominator": lambda a, c, i: 1 / c.lam}),
                        Twin(name="K_ii + lambda", sides={"denominator": lambda a, c, i: c.kernel[i, i] + c.lam}),
                    ),
                    sides={"denominator": lambda a, c, i: a[i, i]},
                ),
                agreement(
                    "dntk_ref computes it",
                    REMOVALS,
                    lambda c: float(
                        removal_effects(
                            qq.floats(c.ridge.features * c.ridge.test).T[None],
                            qq.floats(c.ridge.kernel)[None],
                            qq.floats(c.ridge.targets).T,
                            float(c.ridge.lam),
                        )[0, 0, c.group[0]]
                    ),
                    lambda c: c.prediction - replace(c, group=c.group[:1]).refitted,
                    condition,
                ),
            ),
        ),
    ),
    table=2,
)


def first_effect(case: Removal) -> fmpq:
    """sum_{i in G} df / d omega_i = lambda k^T A_:G alpha_G."""
    return case.prediction - case.downdate(its_limit(case))


def slope(case: Removal, *, derivative: Callable[[Removal], fmpq], power: int) -> Margin:
    """f_e = f - e first - e^2 p^T L (I - e L)^{-1} r: an identity in the share e, so its limit e -> 0 is the derivative."""
    e, g = case.share, len(case.group)
    pulled = qq.select(case.inverse * (case.ridge.features * case.ridge.test), case.group) * case.ridge.lam
    alpha = qq.select(case.inverse * case.ridge.targets, case.group)
    rest = qq.dot(pulled, case.hat * (qq.identity(g) - case.hat * e).solve(alpha))
    return equal(case.weighed, case.prediction - e * derivative(case) - e**power * rest)


def bounded(case: Removal, *, scale: fmpq) -> Margin:
    """(f_-G - first-order form)^2 <= (l / (1 - l))^2 |p|^2 |alpha|^2 lambda^2, l = tr L < 1: it vanishes with leverage."""
    leverage = qq.trace(case.hat)
    pulled = qq.select(case.inverse * (case.ridge.features * case.ridge.test), case.group)
    alpha = qq.select(case.inverse * case.ridge.targets, case.group)
    gap = (case.refitted - case.downdate(its_limit(case))) ** 2
    room = (leverage / (1 - leverage)) ** 2 * qq.norm2(pulled) * qq.norm2(alpha) * case.ridge.lam**2
    return at_most(gap, scale * room)


SMALL = drawn(removals().filter(lambda c: qq.trace(c.hat) < 1))
ONE = Removal(Ridge(qq.mat([[1], [0]]), qq.column([1, 0]), fmpq(1), qq.mat([[1]])), (0,))
FIRST_ORDER = Statement(
    label="attribution_first_order",
    row="Influence as the limit of removal",
    readings=(
        Reading(
            key="small weights, small leverage",
            formula=r"\frac{\partial f(x)}{\partial\omega_i}=\lambda[k(x)^TA]_i\alpha_i,\quad"
            r" |f_{-G}(x)-f(x)+\sum_{i\in G}\frac{\partial f(x)}{\partial\omega_i}|"
            r"\leq\frac{\ell}{1-\ell}\,\lambda\|A_{G:}k(x)\|\|\alpha_G\|,\ \ell=\mathrm{tr}\,L_{GG}<1",
            verdict=Verdict.HOLDS,
            proof=PROOFS["attribution_first_order", "small weights, small leverage"],
            steps=(
                Step(
                    claim="derivative at full weight",
                    check=slope,
                    cases=REMOVALS,
                    twins=(
                        Twin(
                            name="the effect of removal",
                            sides={"derivative": lambda c: c.prediction - c.refitted},
                        ),
                        Twin(name="a remainder of first order", sides={"power": 1}),
                    ),
                    sides={"derivative": first_effect, "power": 2},
                ),
                Step(
                    claim="the remainder vanishes with leverage",
                    check=bounded,
                    cases=lambda n: (*SMALL(n), ONE),
                    twins=(
                        Twin(name="a tenth smaller", sides={"scale": fmpq(9, 10)}, cases=fixed(ONE)),
                        Twin(name="nothing", sides={"scale": fmpq(0)}, cases=fixed(ONE)),
                    ),
                    sides={"scale": fmpq(1)},
                    attained="one row alone",
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (DOWNDATE, LEAVE_ONE_OUT, FIRST_ORDER)
