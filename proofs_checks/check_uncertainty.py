"""The predictive variance of the tangent kernel: one in primal and dual, and never larger for more data."""

from collections.abc import Callable
from dataclasses import replace

from flint import fmpq, fmpq_mat

from dntk_ref.uncertainty import joint_variance_by_features, predictive_variance, predictive_variance_by_features
from proofs_checks import rational as qq
from proofs_checks.check_attribution import Removal, removals
from proofs_checks.instances import Ridge, drawn, fixed, ridges
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, agreement

__all__ = ["STATEMENTS"]


def primal(case: Ridge) -> fmpq:
    """Return lambda phi^T (Phi^T Phi + lambda)^{-1} phi."""
    phi = case.features
    hessian = phi.transpose() * phi + qq.identity(phi.ncols()) * case.lam
    return case.lam * qq.dot(case.test, hessian.solve(case.test))


def dual(case: Ridge) -> fmpq:
    """Return k(x, x) - k^T (K + lambda)^{-1} k."""
    k = case.features * case.test
    return qq.norm2(case.test) - qq.dot(k, qq.ridge_solve(case.kernel, k, case.lam))


def one_variance(case: Ridge, *, other: Callable[[Ridge], fmpq]) -> Margin:
    """Two forms agree, between zero and k(x, x)."""
    v = other(case)
    return all_of([equal(dual(case), v), at_most(0, v), at_most(v, qq.norm2(case.test))])


def fewer(case: Removal) -> Ridge:
    """The problem without the group."""
    return replace(
        case.ridge,
        features=qq.select(case.ridge.features, case.rest),
        targets=qq.select(case.ridge.targets, case.rest),
    )


def shrinks(case: Removal, *, lam: Callable[[Removal], fmpq]) -> Margin:
    """The variance from all rows, with another ridge perhaps, is not above that from some of them."""
    return at_most(primal(replace(case.ridge, lam=lam(case))), primal(fewer(case)))


def falls_by(case: Removal, *, block: Callable[[fmpq_mat], fmpq_mat]) -> Margin:
    """v_rest - v = p^T (A_GG)^{-1} p with p = A_G: k: a square, so the variance cannot grow."""
    pulled = qq.select(case.inverse * (case.ridge.features * case.ridge.test), case.group)
    own = qq.select(case.inverse, case.group, case.group)
    return equal(primal(fewer(case)) - primal(case.ridge), qq.dot(pulled, block(own) * pulled))


def spread(case: Ridge) -> float:
    """Condition number of the system times the size of the new feature."""
    return (1 + float(qq.frobenius2(case.features) / case.lam)) * (1 + float(qq.norm2(case.test)))


def in_the_dual(case: Ridge) -> float:
    """dntk_ref's variance in the dual."""
    phi, x = qq.floats(case.features), qq.floats(case.test).T
    found = predictive_variance((x @ x.T).reshape(1, 1), (x @ phi.T)[None], (phi @ phi.T)[None], float(case.lam))
    return float(found[0, 0])


def in_the_primal(case: Ridge) -> float:
    """dntk_ref's variance in the primal."""
    x = qq.floats(case.test).T[None]
    return float(predictive_variance_by_features(x, qq.floats(case.features)[None], float(case.lam))[0, 0])


RIDGES = drawn(ridges())
REMOVALS = drawn(removals())
# Two rows along the new feature, one of which goes.
SEEN_TWICE = Removal(Ridge(qq.mat([[1], [1]]), qq.column([0, 0]), fmpq(1), qq.mat([[1]])), (1,))
VARIANCE = Statement(
    label="predictive_variance",
    row="Predictive variance",
    readings=(
        Reading(
            key="primal and dual",
            formula=r"v(x)=\lambda\phi^T(\Phi^T\Phi+\lambda I)^{-1}\phi=k(x,x)-k(x)^T(K+\lambda I)^{-1}k(x)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["predictive_variance", "primal and dual"],
            steps=(
                Step(
                    claim="primal = dual, between 0 and k(x, x)",
                    check=one_variance,
                    cases=RIDGES,
                    twins=(
                        Twin(name="without the factor lambda", sides={"other": lambda c: primal(c) / c.lam}),
                        Twin(name="ridge doubled", sides={"other": lambda c: primal(replace(c, lam=2 * c.lam))}),
                    ),
                    sides={"other": primal},
                ),
                agreement("dntk_ref computes the dual form", RIDGES, in_the_dual, dual, spread),
                agreement("dntk_ref computes the primal form", RIDGES, in_the_primal, primal, spread),
            ),
        ),
        Reading(
            key="never grows with data",
            formula=r"v_{X\setminus G}(x)-v_X(x)=k(x)^TA_{:G}A_{GG}^{-1}A_{G:}k(x)\geq 0",
            verdict=Verdict.HOLDS,
            proof=PROOFS["predictive_variance", "never grows with data"],
            steps=(
                Step(
                    claim="it falls by a square",
                    check=falls_by,
                    cases=REMOVALS,
                    twins=(
                        Twin(name="the block itself", sides={"block": lambda own: own}),
                        Twin(name="twice the inverse", sides={"block": lambda own: own.inv() * fmpq(2)}),
                    ),
                    sides={"block": lambda own: own.inv()},
                ),
                Step(
                    claim="one ridge for both",
                    check=shrinks,
                    cases=lambda n: (*REMOVALS(n), SEEN_TWICE),
                    twins=(
                        Twin(
                            name="ridge times n squared",
                            sides={"lam": lambda c: 4 * c.ridge.lam},
                            cases=fixed(SEEN_TWICE),
                        ),
                        Twin(name="ridge times ten", sides={"lam": lambda c: 10 * c.ridge.lam}),
                    ),
                    sides={"lam": lambda c: c.ridge.lam},
                ),
            ),
        ),
        Reading(
            key="never grows, the ridge growing as n",
            formula=r"v_{X}(x;\,n\lambda)\leq v_{X\setminus G}(x;\,(n-g)\lambda)",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="a row that says nothing",
                    check=shrinks,
                    case=Removal(Ridge(qq.mat([[1], [0]]), qq.column([0, 0]), fmpq(1), qq.mat([[1]])), (1,)),
                    controls=(
                        Twin(name="one ridge", sides={"lam": lambda c: c.ridge.lam}),
                        Twin(name="a row along it", cases=fixed(SEEN_TWICE)),
                    ),
                    printed={"lam": lambda c: c.ridge.lam * fmpq(c.ridge.features.nrows(), len(c.rest))},
                    search=removals(),
                ),
            ),
            note="a ridge per example (B.1) makes the variance grow where new rows say nothing of the input",
        ),
    ),
    table=2,
)


def joint_is_smaller(case: Ridge, *, rows: Callable[[Ridge], fmpq_mat]) -> Margin:
    """With gradients of other logits beside them, rows leave no more variance than alone."""
    beside = replace(case, features=rows(case), targets=qq.zeros(rows(case).nrows(), 1))
    return at_most(primal(beside), primal(case))


def shifted_rows(case: Ridge) -> fmpq_mat:
    """Gradients of a second logit of the same rows: the first's columns in another order."""
    p = case.features.ncols()
    return qq.select(case.features, range(case.features.nrows()), [(j + 1) % p for j in range(p)])


ALONE = Ridge(qq.mat([[1]]), qq.column([0]), fmpq(1), qq.mat([[1]]))
JOINT = Statement(
    label="joint_variance",
    row="Joint variance of all logits",
    readings=(
        Reading(
            key="as stated",
            formula=r"[\lambda J(\sum_iJ_i^TJ_i+\lambda I)^{-1}J^T]_{cc}\leq v_c",
            verdict=Verdict.HOLDS,
            proof=PROOFS["joint_variance", "as stated"],
            steps=(
                Step(
                    claim="the joint variance of a logit is at most its own",
                    check=joint_is_smaller,
                    cases=lambda n: (*RIDGES(n), ALONE),
                    twins=(
                        Twin(name="a row lost", sides={"rows": lambda c: qq.zeros(1, c.features.ncols())}),
                        Twin(
                            name="rows halved",
                            sides={"rows": lambda c: c.features * fmpq(1, 2)},
                            cases=fixed(ALONE),
                        ),
                    ),
                    sides={"rows": lambda c: qq.stack(c.features, shifted_rows(c))},
                ),
                agreement(
                    "dntk_ref computes it for one logit",
                    RIDGES,
                    lambda c: float(
                        joint_variance_by_features(
                            qq.floats(c.test).T[None], qq.floats(c.features)[:, None], float(c.lam)
                        )[0, 0, 0]
                    ),
                    primal,
                    spread,
                ),
            ),
        ),
    ),
    table=2,
)

STATEMENTS = (VARIANCE, JOINT)
