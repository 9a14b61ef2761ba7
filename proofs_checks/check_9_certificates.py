"""Sections 9.2 and 9.3: a-posteriori certificates of a ridge predictor, each in the exact form of its proof."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

import dntk_ref.certificate as reference
from proofs_checks import rational as qq
from proofs_checks.instances import Ridge, Spectral, drawn, fixed, matrices, positive, spectral
from proofs_checks.margin import Margin, all_of, at_most, at_most_root, equal, psd
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Refutation, Statement, Step, Twin, Verdict, agreement

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Certified:
    """A ridge problem with known largest singular value, a guess of the weights, and a training subset."""

    spectral: Spectral
    ridge: Ridge
    guess: fmpq_mat
    subset: tuple[int, ...]

    @cached_property
    def hessian(self) -> fmpq_mat:
        """H = Phi^T Phi + lambda I."""
        return self.ridge.features.transpose() * self.ridge.features + qq.identity(self.spectral.p) * self.ridge.lam

    @cached_property
    def residual(self) -> fmpq_mat:
        """The residual r = Phi^T (Phi w - y) + lambda w."""
        phi, w = self.ridge.features, self.guess
        return phi.transpose() * (phi * w - self.ridge.targets) + w * self.ridge.lam

    @cached_property
    def gap(self) -> fmpq_mat:
        """The error w - w_*."""
        return self.guess - self.ridge.weights

    @cached_property
    def rows(self) -> fmpq_mat:
        """The features of the subset."""
        return qq.select(self.ridge.features, self.subset)


@st.composite
def certified(draw: Any) -> Certified:
    """Draw a problem, a guess and a subset."""
    case = draw(spectral(1, 3))
    ridge = Ridge(case.features, draw(matrices(case.n, 1)), draw(positive), draw(matrices(case.p, 1)))
    subset = draw(st.sets(st.integers(0, case.n - 1), min_size=1))
    return Certified(case, ridge, draw(matrices(case.p, 1)), tuple(sorted(subset)))


def top(case: Certified) -> fmpq:
    """The largest eigenvalue of the kernel."""
    return case.spectral.sigma[0] ** 2


def residual_side(case: Certified, *, residual: Callable, scale: fmpq) -> Margin:
    """H (w - w_*) = r; |r| / (lambda_1 + lambda) <= |w - w_*| <= |r| / lambda and |Phi (w - w_*)| <= |r| / (2 sqrt(lambda)).

    All squared.
    """
    r, lam = residual(case), case.ridge.lam
    squared = qq.norm2(r) * scale
    training = qq.norm2(case.ridge.features * case.gap)
    return all_of(
        equal(case.hessian * case.gap, r),
        at_most(qq.norm2(r), qq.norm2(case.gap) * (top(case) + lam) ** 2),
        at_most(qq.norm2(case.gap), squared / lam**2),
        at_most(training, squared / (4 * lam)),
    )


def energy(case: Certified, *, scale: fmpq) -> Margin:
    """J(w) - J(w_*) = r^T H^{-1} r / 2 <= |r|^2 / (2 lambda), the duality gap at y - Phi w.

    J(w_*) = lambda y^T (K + lambda)^{-1} y / 2.
    """
    ridge, r, lam = case.ridge, case.residual, case.ridge.lam
    excess = ridge.objective(case.guess) - ridge.objective(ridge.weights)
    alpha = ridge.targets - ridge.features * case.guess
    dual = qq.dot(ridge.targets, alpha) - qq.norm2(alpha) / 2 - qq.norm2(ridge.features.transpose() * alpha) / (2 * lam)
    bound = scale * qq.norm2(r) / (2 * lam)
    value = lam * qq.dot(ridge.targets, qq.ridge_solve(ridge.kernel, ridge.targets, lam)) / 2
    return all_of(
        equal(excess, qq.dot(r, case.hessian.solve(r)) / 2),
        at_most(excess, bound),
        equal(ridge.objective(case.guess) - dual, bound),
        equal(ridge.objective(ridge.weights), value),
    )


def pointwise(case: Certified, *, plain: bool, scale: fmpq) -> Margin:
    """B0: |phi^T (w - w_*)| <= |phi| |r| / lambda; B3: <= s_S(x) sqrt(r^T H_S^{-1} r), squared, by the small systems."""
    r, lam, phi = case.residual, case.ridge.lam, case.ridge.test
    error = qq.dot(phi, case.gap) ** 2
    if plain:
        return at_most(error, scale * qq.norm2(phi) * qq.norm2(r) / lam**2)
    small, row, image = qq.kernel_of(case.rows), case.rows * phi, case.rows * r
    spread = (qq.norm2(phi) - qq.dot(row, qq.ridge_solve(small, row, lam))) / lam
    weighted = (qq.norm2(r) - qq.dot(image, qq.ridge_solve(small, image, lam))) / lam
    return at_most(error, scale * spread * weighted)


def wrong_residual(case: Certified) -> fmpq_mat:
    """A residual that forgets the ridge term."""
    return case.residual - case.guess * case.ridge.lam


# One feature, w_* = 1/2 from y = 1, guess 0: r = -1, and the extreme values of every side are attained.
UNIT = Spectral(qq.identity(1), (fmpq(1),), qq.identity(1))
SINGLE = Certified(UNIT, Ridge(qq.mat([[1]]), qq.mat([[1]]), fmpq(1), qq.mat([[1]])), qq.mat([[0]]), (0,))
FLAT = Certified(
    Spectral(qq.identity(1), (fmpq(0),), qq.identity(1)),
    Ridge(qq.mat([[0]]), qq.mat([[1]]), fmpq(1), qq.mat([[1]])),
    qq.mat([[1]]),
    (0,),
)
CASES = drawn(certified())


def with_edges(count: int) -> tuple[Certified, ...]:
    """Drawn cases and the two that attain a side."""
    return (*CASES(count), SINGLE, FLAT)


def arrays(case: Certified) -> tuple[Any, Any, Any, float]:
    """Features, targets, guess and ridge as dntk_ref takes them."""
    ridge = case.ridge
    return qq.floats(ridge.features), qq.floats(ridge.targets)[:, 0], qq.floats(case.guess)[:, 0], float(ridge.lam)


def reference_bounds(case: Certified) -> list[float]:
    """dntk_ref's bounds on weights (upper, lower), energy, its gap, B0 and B3, all but the energies squared."""
    phi, y, w, lam = arrays(case)
    r, test = reference.residual(phi, y, w, lam), qq.floats(case.ridge.test).T
    return [
        reference.weights_bound(r, lam) ** 2,
        reference.weights_bound_lower(phi, r, lam) ** 2,
        reference.excess(phi, y, w, lam),
        reference.excess_bound(r, lam),
        reference.duality_gap(phi, y, w, lam),
        reference.pointwise_bound(test, r, lam)[0] ** 2,
        reference.pointwise_bound_by_rows(test, phi, list(case.subset), r, lam)[0] ** 2,
    ]


def exact_bounds(case: Certified) -> fmpq_mat:
    """The same seven numbers."""
    ridge, r, lam, phi = case.ridge, case.residual, case.ridge.lam, case.ridge.test
    squared = qq.norm2(r)
    inner = case.rows.transpose() * case.rows + qq.identity(case.spectral.p) * lam
    rows = qq.dot(phi, inner.solve(phi)) * qq.dot(r, inner.solve(r))
    excess = ridge.objective(case.guess) - ridge.objective(ridge.weights)
    return qq.mat(
        [
            [
                squared / lam**2,
                squared / (top(case) + lam) ** 2,
                excess,
                squared / (2 * lam),
                squared / (2 * lam),
                qq.norm2(phi) * squared / lam**2,
                rows,
            ]
        ]
    )


def amplified(case: Certified) -> float:
    """The largest term, |r|^2 (1 + |phi|^2) / lambda^2, and the terms of r, times the condition number of H."""
    lam = float(case.ridge.lam)
    phi2, y2, w2 = (float(qq.norm2(m)) for m in (case.ridge.features, case.ridge.targets, case.guess))
    size = (1 + phi2) ** 2 * (1 + y2 + w2) * (1 + lam) ** 2
    return size * (1 + float(qq.norm2(case.ridge.test))) * (1 + 1 / lam) ** 2 * (1 + phi2 / lam)


MILD = drawn(certified().filter(lambda c: amplified(c) < 1e7))  # one unit stays far below a thousandth
PRIMAL = Statement(
    label="certificate_primal",
    row="9.3 primal certificates",
    readings=(
        Reading(
            key="weights and training error",
            formula=r"\frac{\|r\|}{\lambda_1+\lambda}\leq\|\hat w-w_*\|\leq\frac{\|r\|}{\lambda},"
            r"\quad\|\Phi(\hat w-w_*)\|\leq\frac{\|r\|}{2\sqrt{\lambda}}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_primal", "weights and training error"],
            steps=(
                Step(
                    claim="H (w - w_*) = r and the three bounds, squared",
                    check=residual_side,
                    cases=with_edges,
                    twins=(
                        Twin("ridge term forgotten in r", {"residual": wrong_residual}),
                        Twin("bounds a tenth smaller", {"scale": fmpq(9, 10)}, fixed(FLAT, SINGLE)),
                    ),
                    sides={"residual": lambda c: c.residual, "scale": fmpq(1)},
                ),
            ),
        ),
        Reading(
            key="energy",
            formula=r"J(\hat w)-J(w_*)=\frac{1}{2}r^TH^{-1}r\leq\frac{\|r\|^2}{2\lambda}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_primal", "energy"],
            steps=(
                Step(
                    claim="identity, bound, and the bound as exact duality gap",
                    check=energy,
                    cases=with_edges,
                    twins=(
                        Twin("bound halved", {"scale": fmpq(1, 2)}),
                        Twin("bound doubled: no longer the duality gap", {"scale": fmpq(2)}),
                    ),
                    sides={"scale": fmpq(1)},
                ),
            ),
        ),
        Reading(
            key="pointwise B0 and B3",
            formula=r"|\phi^T(\hat w-w_*)|\leq\|\phi\|\|r\|/\lambda,\quad\leq s_S(x)\sqrt{r^TH_S^{-1}r}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_primal", "pointwise B0 and B3"],
            steps=(
                Step(
                    claim="B0",
                    check=pointwise,
                    cases=with_edges,
                    twins=(
                        Twin("a tenth smaller", {"scale": fmpq(9, 10)}, fixed(FLAT)),
                        Twin("a hundredth", {"scale": fmpq(1, 100)}),
                    ),
                    sides={"plain": True, "scale": fmpq(1)},
                    attained="no signal: Phi = 0",
                ),
                Step(
                    claim="B3 with any training subset",
                    check=pointwise,
                    cases=with_edges,
                    twins=(
                        Twin("a tenth smaller", {"scale": fmpq(9, 10)}, fixed(SINGLE)),
                        Twin("a hundredth", {"scale": fmpq(1, 100)}),
                    ),
                    sides={"plain": False, "scale": fmpq(1)},
                    attained="S all of the training set and one feature",
                ),
                agreement(
                    "dntk_ref's bounds, energies and duality gap", MILD, reference_bounds, exact_bounds, amplified
                ),
            ),
        ),
    ),
    table=2,
)


def below_hessian(case: tuple[Certified, fmpq_mat], *, rows: Callable) -> Margin:
    """H_S <= H for the rows chosen."""
    problem, outside = case
    chosen = rows(problem, outside)
    return psd(problem.hessian - chosen.transpose() * chosen - qq.identity(problem.spectral.p) * problem.ridge.lam)


def contraction(problem: Certified, outside: fmpq_mat) -> fmpq_mat:
    """U^T Phi with U half of an orthogonal projector's columns: |U| <= 1."""
    return qq.projector(qq.ones(1, problem.spectral.n)) * problem.ridge.features


OUTSIDE = certified().flatmap(lambda c: st.tuples(st.just(c), matrices(1, c.spectral.p)))
FAR = (SINGLE, qq.mat([[2]]))


def with_their_sum(problem: Certified, outside: fmpq_mat) -> fmpq_mat:
    """All training rows and their sum."""
    return qq.stack(problem.ridge.features, qq.ones(1, problem.spectral.n) * problem.ridge.features)


SUBSET = Statement(
    label="certificate_subset",
    row="9.3: S must be training rows",
    readings=(
        Reading(
            key="training rows or a contraction",
            formula=r"S\subset X\Rightarrow H_S\preceq H",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_subset", "training rows or a contraction"],
            steps=(
                Step(
                    claim="a subset",
                    check=below_hessian,
                    cases=drawn(OUTSIDE),
                    twins=(
                        Twin("other inputs", {"rows": lambda problem, outside: outside}),
                        Twin("rows repeated", {"rows": lambda problem, outside: qq.stack(problem.rows, problem.rows)}),
                    ),
                    sides={"rows": lambda problem, outside: problem.rows},
                ),
                Step(
                    claim="a contraction of the training rows",
                    check=below_hessian,
                    cases=drawn(OUTSIDE),
                    twins=(
                        Twin("twice the rows", {"rows": lambda problem, outside: problem.ridge.features * fmpq(2)}),
                        Twin("their sum, not normalised", {"rows": with_their_sum}),
                    ),
                    sides={"rows": contraction},
                ),
            ),
            hypotheses=("no repeated rows in S",),
        ),
        Reading(
            key="distilled inputs",
            formula=r"S\not\subset X\Rightarrow H_S\preceq H",
            verdict=Verdict.FAILS,
            refutations=(
                Refutation(
                    name="one input outside",
                    check=below_hessian,
                    case=FAR,
                    controls=(
                        Twin("training row", {"rows": lambda problem, outside: problem.rows}),
                        Twin("an input in the contraction", cases=fixed((SINGLE, qq.mat([["1/2"]])))),
                    ),
                    printed={"rows": lambda problem, outside: outside},
                    search=OUTSIDE,
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Dual:
    """A certified problem and dual coefficients of a guess; arbitrary rows with coefficients for the kernel-only form."""

    problem: Certified
    alpha: fmpq_mat
    rows: fmpq_mat
    beta: fmpq_mat


@st.composite
def duals(draw: Any) -> Dual:
    """Draw dual coefficients."""
    case, m = draw(certified()), draw(st.integers(1, 2))
    return Dual(case, draw(matrices(case.spectral.n, 1)), draw(matrices(m, case.spectral.p)), draw(matrices(m, 1)))


def dual_bounds(case: Dual, *, factor: fmpq, low: Callable) -> Margin:
    """|f - f_*|^2 <= factor K(x, x) |rho|^2 / lambda and <= |k(x)|^2 |rho|^2 / (lambda + low)^2.

    rho = (K + lambda) alpha - y.
    """
    ridge = case.problem.ridge
    rho = ridge.kernel * case.alpha + case.alpha * ridge.lam - ridge.targets
    error = qq.dot(ridge.test, ridge.features.transpose() * case.alpha - ridge.weights) ** 2
    row = ridge.features * ridge.test
    return all_of(
        at_most(error, factor * qq.norm2(ridge.test) * qq.norm2(rho) / ridge.lam),
        at_most(error, qq.norm2(row) * qq.norm2(rho) / (ridge.lam + low(case)) ** 2),
    )


def kernel_only(case: Dual, *, cross: fmpq) -> Margin:
    """|r|^2 = e^T K e + 2 lambda e^T K_XPsi beta + lambda^2 beta^T K_PsiPsi beta, e = K_XPsi beta - y."""
    ridge = case.problem.ridge
    phi, psi, beta, lam = ridge.features, case.rows, case.beta, ridge.lam
    e = phi * psi.transpose() * beta - ridge.targets
    r = replace(case.problem, guess=psi.transpose() * beta).residual
    right = qq.dot(e, ridge.kernel * e) + cross * lam * qq.dot(e, phi * psi.transpose() * beta)
    return equal(qq.norm2(r), right + lam**2 * qq.dot(beta, psi * psi.transpose() * beta))


DUALS = drawn(duals())
ATTAINED = Dual(SINGLE, qq.mat([[0]]), qq.mat([[1]]), qq.mat([[0]]))  # sigma = sqrt(lambda) = 1
DUAL = Statement(
    label="certificate_dual",
    row="9.3 Dual version",
    readings=(
        Reading(
            key="dual residual",
            formula=r"|\hat f-f_*|\leq\min(\frac{\sqrt{K(x,x)}\|\rho\|}{2\sqrt{\lambda}},"
            r"\frac{\|k(x)\|\|\rho\|}{\lambda+\lambda_{min}})",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_dual", "dual residual"],
            steps=(
                Step(
                    claim="both bounds, squared",
                    check=dual_bounds,
                    cases=lambda n: (*DUALS(n), ATTAINED),
                    twins=(
                        Twin("constant 0.45 for 1/2", {"factor": fmpq(81, 400)}, fixed(ATTAINED)),
                        Twin(
                            "smallest eigenvalue doubled",
                            {"low": lambda c: 2 * c.problem.spectral.eigenvalues[-1]},
                            fixed(ATTAINED),
                        ),
                    ),
                    sides={"factor": fmpq(1, 4), "low": lambda c: c.problem.spectral.eigenvalues[-1]},
                    attained="sigma = sqrt(lambda)",
                ),
            ),
        ),
        Reading(
            key="kernel evaluations only",
            formula=r"\|r\|^2=e^TK_{XX}e+2\lambda e^TK_{X\Psi}\beta+\lambda^2\beta^TK_{\Psi\Psi}\beta",
            verdict=Verdict.HOLDS,
            proof=PROOFS["certificate_dual", "kernel evaluations only"],
            steps=(
                Step(
                    claim="for arbitrary rows Psi",
                    check=kernel_only,
                    cases=DUALS,
                    twins=(
                        Twin("cross term once", {"cross": fmpq(1)}),
                        Twin("sign of the cross term", {"cross": fmpq(-2)}),
                    ),
                    sides={"cross": fmpq(2)},
                    attained="always an equality",
                ),
            ),
        ),
    ),
    table=2,
)


@dataclass(frozen=True)
class Headed:
    """What a head-preserving pipeline has: features of the body, and of the head with a last column of ones.

    And a map of the body, head weights, a synthesis matrix, a ridge, body and head features of a test input.
    """

    body: fmpq_mat
    head: fmpq_mat
    map: fmpq_mat
    weights: fmpq_mat
    synthesis: fmpq_mat
    lam: fmpq
    test: tuple[fmpq_mat, fmpq_mat]

    def kept(self, body: fmpq_mat, head: fmpq_mat) -> fmpq_mat:
        """[body times the map, head]."""
        return qq.stack((body * self.map).transpose(), head.transpose()).transpose()

    @property
    def lifted(self) -> fmpq_mat:
        """w_0: zeros for the body, then the head weights."""
        return qq.stack(qq.zeros(self.map.ncols(), 1), self.weights)


@st.composite
def headed(draw: Any) -> Headed:
    """Draw a network's features."""
    n, p, k, d, m = (draw(st.integers(1, 3)) for _ in range(5))

    def head(rows: int) -> fmpq_mat:
        return qq.mat([[*row, 1] for row in draw(matrices(rows, d)).tolist()])

    return Headed(
        draw(matrices(n, p)),
        head(n),
        draw(matrices(p, k)),
        draw(matrices(d + 1, 1)),
        draw(matrices(n, m)),
        draw(positive),
        (draw(matrices(1, p)), head(1)),
    )


def fidelity(case: Headed, *, lifted: Callable, scale: fmpq) -> Margin:
    """Logits are f = phi~ . w~_0 for every map; f - f_hat = lambda phi~^T (S^T S + lambda)^{-1} w~_0; the bound, squared."""
    phi, x = case.kept(case.body, case.head), case.kept(*case.test).transpose()
    w0, lam, y = lifted(case), case.lam, case.head * case.weights
    rows, right = case.synthesis.transpose() * phi, case.synthesis.transpose() * y
    inner = rows.transpose() * rows + qq.identity(rows.ncols()) * lam
    value = qq.dot(case.test[1].transpose(), case.weights)
    error = value - qq.dot(x, inner.solve(rows.transpose() * right))
    kernel, row = qq.kernel_of(rows), rows * x
    a = qq.ridge_solve(kernel, row, lam)
    spread = qq.norm2(x) - 2 * qq.dot(row, a) + qq.dot(a, kernel * a)
    return all_of(
        equal(phi * w0, y),
        equal(error, lam * qq.dot(x, inner.solve(w0))),
        at_most_root(abs(error), scale * qq.norm2(case.weights) * spread),
    )


FIRM = Headed(
    qq.mat([[0]]),
    qq.mat([[0, 1]]),
    qq.mat([[1]]),
    qq.column([0, 1]),
    qq.mat([[1]]),
    fmpq(1),
    (qq.mat([[0]]), qq.mat([[0, 1]])),
)


def lifted_with_body(case: Headed) -> fmpq_mat:
    """The weights w_0 with ones for the body."""
    return case.lifted + qq.stack(qq.ones(case.map.ncols()), qq.zeros(case.weights.nrows(), 1))


HEAD = Statement(
    label="head_preserving",
    row="9.2 Head-preserving projection and network-fidelity certificate",
    readings=(
        Reading(
            key="exact weight and certificate",
            formula=r"f_c-\hat f=\lambda\tilde\phi^T(\hat\Phi^T\hat\Phi+\lambda I)^{-1}\tilde w_0,"
            r"\quad |f_c-\hat f|\leq\|(W_c,b_c)\|\sqrt{\tilde\kappa-2\hat k^Ta+a^T\hat Ka}",
            verdict=Verdict.HOLDS,
            proof=PROOFS["head_preserving", "exact weight and certificate"],
            steps=(
                Step(
                    claim="for every map of the body and every synthesis matrix",
                    check=fidelity,
                    cases=lambda n: (*drawn(headed())(n), FIRM),
                    twins=(
                        Twin("a tenth smaller", {"scale": fmpq(8, 10)}, fixed(FIRM)),
                        Twin("a body component in w_0", {"lifted": lifted_with_body}),
                    ),
                    sides={"lifted": lambda c: c.lifted, "scale": fmpq(1)},
                    attained="one input, test feature along the stored one",
                ),
            ),
            hypotheses=("affine last layer, its gradient kept", "labels are the network's logits"),
        ),
    ),
    table=2,
)

STATEMENTS = (HEAD, PRIMAL, SUBSET, DUAL)
