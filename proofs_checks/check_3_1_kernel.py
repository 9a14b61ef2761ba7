"""Section 3.1: the tangent kernel (Eqs 1, 14, 15) and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.kernel import gram, ntk_block, resource_counts, riemannian_kernel
from proofs_checks import rational as qq
from proofs_checks.instances import drawn, features, fixed, matrices, orthogonal, positive, shapes
from proofs_checks.margin import Margin, all_of, by_reference, equal, psd, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Statement, Step, Twin, Verdict

__all__ = ["RESNET18_PARAMETERS", "STATEMENTS", "resnet18_parameters"]


def semidefinite(phi: fmpq_mat, *, kernel: Callable) -> Margin:
    """The kernel is symmetric and positive semi-definite, and definite exactly when the features have rank n."""
    k = kernel(phi)
    definite = all(pivot > 0 for pivot in qq.ldl_pivots(k))
    return all_of(equal(k, k.transpose()), psd(k), true(definite == (phi.rank() == phi.nrows())))


def shifted(phi: fmpq_mat) -> fmpq_mat:
    """Return the Gram matrix less a tenth of the identity."""
    return qq.kernel_of(phi) - qq.identity(phi.nrows()) * fmpq(1, 10)


@dataclass(frozen=True)
class Classes:
    """Features of two classes at the same inputs, test features, targets of both classes, and the ridge."""

    first: fmpq_mat
    second: fmpq_mat
    tests: tuple[fmpq_mat, fmpq_mat]
    targets: tuple[fmpq_mat, fmpq_mat]
    lam: fmpq

    @property
    def disjoint(self) -> "Classes":
        """The same with the second class in parameters of its own: all cross blocks vanish."""
        n, p = self.first.nrows(), self.first.ncols()
        pad = qq.zeros(n, p)
        beside = [
            fmpq_mat([a + b for a, b in zip(left.tolist(), right.tolist(), strict=True)])
            for left, right in ((self.first, pad), (pad, self.second))
        ]
        tests = (qq.stack(self.tests[0], qq.zeros(p, 1)), qq.stack(qq.zeros(p, 1), self.tests[1]))
        return replace(self, first=beside[0], second=beside[1], tests=tests)


@st.composite
def two_classes(draw: Any) -> Classes:
    """Draw two classes that share their parameters."""
    n, p = draw(shapes(1, 3))
    return Classes(
        draw(matrices(n, p)),
        draw(matrices(n, p)),
        (draw(matrices(p, 1)), draw(matrices(p, 1))),
        (draw(matrices(n, 1)), draw(matrices(n, 1))),
        draw(positive),
    )


def per_class(case: Classes, *, lam_factor: int = 1) -> Margin:
    """Ridge regression class by class predicts what the full block kernel predicts."""
    both, y = qq.stack(case.first, case.second), qq.stack(*case.targets)
    joint = both.transpose() * qq.ridge_solve(qq.kernel_of(both), y, case.lam)
    alone = [
        phi.transpose() * qq.ridge_solve(qq.kernel_of(phi), target, case.lam * lam_factor)
        for phi, target in zip((case.first, case.second), case.targets, strict=True)
    ]
    return all_of(equal(qq.dot(test, joint), qq.dot(test, own)) for test, own in zip(case.tests, alone, strict=True))


@dataclass(frozen=True)
class Chart:
    """Two differentials (rows), a metric and an invertible change of parameters."""

    left: fmpq_mat
    right: fmpq_mat
    metric: fmpq_mat
    change: fmpq_mat


@st.composite
def charts(draw: Any) -> Chart:
    """Draw differentials, a positive definite metric and a unit upper triangular change times a reflection."""
    p = draw(st.integers(1, 3))
    root = draw(matrices(p, p))
    scale = qq.diagonal(draw(st.lists(st.integers(1, 4), min_size=p, max_size=p)))
    return Chart(
        draw(matrices(1, p)), draw(matrices(1, p)), qq.kernel_of(root) + qq.identity(p), scale * draw(orthogonal(p))
    )


def invariant(case: Chart, *, form: Callable) -> Margin:
    """(15): the kernel value is the same number in the new parameters theta = M eta."""
    m = case.change
    before = form(case.left, case.metric, case.right)
    return equal(before, form(case.left * m, m.transpose() * case.metric * m, case.right * m))


def dual_form(left: fmpq_mat, metric: fmpq_mat, right: fmpq_mat) -> fmpq_mat:
    """Df G^{-1} df'^T."""
    return left * metric.inv() * right.transpose()


FEATURES = drawn(features())
JACOBIANS = drawn(two_classes())
EQ_1 = Statement(
    label="eq_1_14_15",
    row="Eq (1), (14), (15)",
    readings=(
        Reading(
            key="Euclidean",
            formula=r"K_c(x,x')=\langle\phi_c(x),\phi_c(x')\rangle,\quad K_c=\Phi_c\Phi_c^T\succeq 0",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="symmetric, semi-definite, definite exactly when the rank is n",
                    check=semidefinite,
                    cases=FEATURES,
                    twins=(
                        Twin("a tenth of the identity removed", {"kernel": shifted}),
                        Twin(
                            "Gram matrix with rows in reverse order on one side",
                            {"kernel": lambda phi: phi * qq.select(phi, range(phi.nrows() - 1, -1, -1)).transpose()},
                        ),
                    ),
                    sides={"kernel": qq.kernel_of},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=FEATURES,
                    twins=(
                        Twin("kernel doubled", {"exact": lambda phi: qq.kernel_of(phi) * fmpq(2)}),
                        Twin("ridge left in", {"exact": lambda phi: qq.kernel_of(phi) + qq.identity(phi.nrows())}),
                    ),
                    sides={"reference": lambda phi: gram(qq.floats(phi)), "exact": qq.kernel_of},
                ),
                Step(
                    claim="cross-class blocks: dntk_ref's block kernel",
                    check=by_reference,
                    cases=JACOBIANS,
                    twins=(
                        Twin("blocks exchanged", {"exact": lambda c: c.second * c.first.transpose() * fmpq(2)}),
                        Twin("diagonal block", {"exact": lambda c: qq.kernel_of(c.first)}),
                    ),
                    sides={
                        "reference": lambda c: ntk_block(np.stack([qq.floats(c.first), qq.floats(c.second)]))[0, 1],
                        "exact": lambda c: c.first * c.second.transpose(),
                    },
                ),
                Step(
                    claim="class-wise ridge is ridge with the full kernel when the cross-class blocks vanish",
                    check=per_class,
                    cases=drawn(two_classes().map(lambda c: c.disjoint)),
                    twins=(
                        Twin("shared parameters", cases=JACOBIANS),
                        Twin("ridge doubled on one side", {"lam_factor": 2}),
                    ),
                ),
            ),
            nature=Nature.DEFINITION,
        ),
        Reading(
            key="Riemannian",
            formula=r"K_\theta(x,x')=df(x)\,G^{-1}\,df(x')^T",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="with the dual metric the kernel does not depend on the parametrisation",
                    check=invariant,
                    cases=drawn(charts()),
                    twins=(
                        Twin("metric itself instead of its inverse", {"form": lambda a, g, b: a * g * b.transpose()}),
                        Twin("Euclidean form", {"form": lambda a, g, b: a * b.transpose()}),
                    ),
                    sides={"form": dual_form},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=drawn(charts()),
                    twins=(
                        Twin("Euclidean form", {"exact": lambda c: c.left * c.left.transpose()}),
                        Twin("metric not inverted", {"exact": lambda c: c.left * c.metric * c.left.transpose()}),
                    ),
                    sides={
                        "reference": lambda c: riemannian_kernel(qq.floats(c.left), qq.floats(c.metric)),
                        "exact": lambda c: dual_form(c.left, c.metric, c.left),
                        "scale": lambda c: float(qq.frobenius2(c.left) * qq.frobenius2(c.metric)),
                    },
                ),
            ),
            nature=Nature.DEFINITION,
            note="the printed inner product on tangent vectors needs the inverse metric in coordinates",
        ),
    ),
)


def resnet18_parameters(outputs: int) -> int:
    """Count the parameters of ResNet-18 layer by layer: 3 x 3 convolutions without bias, two numbers per norm channel."""
    total, width = 3 * 64 * 49 + 2 * 64, 64
    for channels in (64, 128, 256, 512):
        for block in range(2):
            into = width if block == 0 else channels
            total += 9 * into * channels + 2 * channels + 9 * channels * channels + 2 * channels
            total += into * channels + 2 * channels if into != channels else 0
        width = channels
    return total + 512 * outputs + outputs


RESNET18_PARAMETERS = resnet18_parameters(10)


@dataclass(frozen=True)
class Figure:
    """A printed figure: the exact number, its printed mantissa and exponent."""

    name: str
    exact: Callable[..., fmpq | int]
    printed: str
    exponent: int


def rounds(case: Figure, *, factor: fmpq | int = 1, off: fmpq | int = 0) -> Margin:
    """The exact number rounds to the printed figure: half a unit of the last printed digit at most."""
    digits = len(case.printed.split(".")[1]) if "." in case.printed else 0
    value = qq.q(case.exact()) * factor / fmpq(10) ** case.exponent
    return true(abs(value - qq.q(case.printed) - off) <= fmpq(1, 2) / fmpq(10) ** digits, value, case.printed)


P18, N = RESNET18_PARAMETERS, 9469
COUNTS = resource_counts(inputs=N, tests=0, classes=1, parameters=P18, width=4096)
BIG = resource_counts(inputs=1_300_000, tests=0, classes=1, parameters=25_600_000, width=1)
FIGURES = fixed(
    Figure("ResNet-50 kernel, multiply-adds", lambda: BIG.full_ntk_multiplications, "4.3", 19),
    Figure("ResNet-50 kernel, entries", lambda: BIG.full_ntk_entries, "1.7", 12),
    Figure("one class kernel in GB", lambda: 4 * COUNTS.class_ntk_entries, "0.36", 9),
    Figure("one class of gradients in GB", lambda: 4 * COUNTS.gradient_entries, "424", 9),
    Figure("dense map in GB", lambda: 4 * COUNTS.dense_map_entries, "183", 9),
    Figure("dense map of 500 rows, multiply-adds", lambda: 500 * P18 * 4096, "2.3", 13),
)


@dataclass(frozen=True)
class Sizes:
    """Numbers of inputs, tests, classes and parameters."""

    inputs: int
    tests: int
    classes: int
    parameters: int


def gradients_cost_more(case: Sizes, *, threshold: Callable) -> Margin:
    """Storing gradients takes more room than storing kernels exactly when P > n."""
    count = resource_counts(
        inputs=case.inputs, tests=case.tests, classes=case.classes, parameters=case.parameters, width=1
    )
    return true((count.gradient_entries > count.ridge_entries) == threshold(case))


SMALL = st.integers(1, 12)
SIZES = drawn(st.builds(Sizes, SMALL, SMALL, SMALL, SMALL))
SEC_3_1 = Statement(
    label="sec_3_1",
    row="3.1 memory/compute statements",
    readings=(
        Reading(
            key="counts",
            formula=r"O(n^2C^2P),\ O(n^2C^2);\quad O(Cn^2P),\ O(Cn^2);\quad O(C(n+n_{test})P)",
            verdict=Verdict.ADDED,
            proof=PROOFS["sec_3_1", "counts"],
            steps=(
                Step(
                    claim="the printed figures are the counts, rounded",
                    check=rounds,
                    cases=FIGURES,
                    twins=(
                        Twin("eight bytes for four", {"factor": fmpq(2)}),
                        Twin("one unit in the last digit", {"off": fmpq(1)}),
                    ),
                ),
                Step(
                    claim="gradients cost more than kernels exactly when P > n",
                    check=gradients_cost_more,
                    cases=SIZES,
                    twins=(
                        Twin("P > n + n_test", {"threshold": lambda c: c.parameters > c.inputs + c.tests}),
                        Twin("always less", {"threshold": lambda c: False}),
                    ),
                    sides={"threshold": lambda c: c.parameters > c.inputs},
                ),
                Step(
                    claim="ResNet-18 with ten outputs has 11,181,642 parameters",
                    check=rounds,
                    cases=fixed(Figure("parameters", lambda: resnet18_parameters(10), "11181642", 0)),
                    twins=(
                        Twin("a thousand outputs", {"off": fmpq(resnet18_parameters(1000) - resnet18_parameters(10))}),
                        Twin("one parameter more", {"off": fmpq(1)}),
                    ),
                ),
            ),
            added=("storing gradients is the larger of the two whenever P > n",),
        ),
    ),
)

STATEMENTS = (EQ_1, SEC_3_1)
