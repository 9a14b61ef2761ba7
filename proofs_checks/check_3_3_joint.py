"""Section 3.3, fourth part: the joint tangent space T_S of all logits (Eq 3), its ridge, and one random cotangent."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.joint import captured_energy, cotangent_gradients, leave_one_image_out
from proofs_checks import rational as qq
from proofs_checks.instances import Spectral, drawn, matrices, orthogonal, positive
from proofs_checks.margin import Margin, all_of, at_most, by_reference, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


def stacked(logits: tuple[fmpq_mat, ...]) -> fmpq_mat:
    """The rows of all logits, input by input."""
    return qq.stack(*(qq.select(rows, [i]) for i in range(logits[0].nrows()) for rows in logits))


def numbers(logits: tuple[fmpq_mat, ...]) -> np.ndarray:
    """The stack (C, m, P) in float64."""
    return np.stack([qq.floats(rows) for rows in logits])


# --- the space --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spaces:
    """Gradients (m, P) of every logit at the distilled inputs, and held-out ones (t, P) with a known spectrum."""

    distilled: tuple[fmpq_mat, ...]
    spectral: Spectral

    @property
    def held_out(self) -> tuple[fmpq_mat, ...]:
        """Held-out gradients of every logit: the rows of the spectral matrix, in turn."""
        F, C = self.spectral.features, len(self.distilled)
        return tuple(qq.select(F, range(c, F.nrows(), C)) for c in range(C))

    @property
    def total(self) -> fmpq:
        """The held-out energy of all logits."""
        return sum((value * value for value in self.spectral.sigma), fmpq(0))


@st.composite
def spaces(draw: Any) -> Spaces:
    """Draw two or three logits at one or two inputs; rows may be dependent within a logit and across logits."""
    C, m, t, p = (draw(st.integers(*bounds)) for bounds in ((2, 3), (1, 2), (1, 2), (2, 5)))
    rows = [draw(matrices(m, p)) for _ in range(C)]
    if draw(st.booleans()):
        rows[-1] = rows[0]
    size = min(C * t, p)
    sigma = sorted(draw(st.lists(positive, min_size=size, max_size=size)), reverse=True)
    return Spaces(tuple(rows), Spectral(draw(orthogonal(C * t)), tuple(sigma), draw(orthogonal(p))))


def joint(case: Spaces) -> fmpq_mat:
    """The projector onto the span of all gradients."""
    return qq.projector(stacked(case.distilled))


def first_logit(case: Spaces) -> fmpq_mat:
    """The projector onto the span of one logit's gradients."""
    return qq.projector(case.distilled[0])


def sum_of_logits(case: Spaces) -> fmpq_mat:
    """The projector onto the span of the gradients of the sum of the logits."""
    return qq.projector(sum(case.distilled[1:], case.distilled[0]))


def contained(case: Spaces, *, space: Callable) -> Margin:
    """The space fixes the gradients of every logit at every distilled input."""
    return all_of(equal(rows * space(case), rows) for rows in case.distilled)


def inside(case: Spaces, projector: fmpq_mat) -> fmpq:
    """Held-out energy of all logits inside one space."""
    return sum((qq.frobenius2(rows * projector) for rows in case.held_out), fmpq(0))


def joint_energy(case: Spaces) -> fmpq:
    """Held-out energy in T_S."""
    return inside(case, joint(case))


def energy_per_class(case: Spaces) -> fmpq:
    """Held-out energy where each logit has its own span."""
    pairs = zip(case.held_out, case.distilled, strict=True)
    return sum((qq.frobenius2(rows * qq.projector(own)) for rows, own in pairs), fmpq(0))


def largest(case: Spaces, count: int) -> fmpq:
    """The sum of the so many largest eigenvalues of the held-out second moment."""
    return sum((value * value for value in case.spectral.sigma[:count]), fmpq(0))


def rank(case: Spaces) -> int:
    """The number of independent gradients."""
    return stacked(case.distilled).rank()


def ordered(case: Spaces, *, left: Callable, right: Callable) -> Margin:
    """One energy is at most another."""
    return at_most(left(case), right(case))


def condition(case: Spaces) -> float:
    """Condition number of the distilled Gram matrix on its range, squared singular values."""
    values = np.linalg.svd(qq.floats(stacked(case.distilled)), compute_uv=False)
    kept = values[values > 1e-9 * values[0]] if values[0] > 0 else np.ones(1)
    return float((kept[0] / kept[-1]) ** 2)


SPACES = drawn(spaces())
JOINT_SPACE = Statement(
    label="joint_space",
    row="T_S of all logits (Eq 3)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\sum_c\|\Phi_c\Pi_c\|_F^2\leq\sum_c\|\Phi_c\Pi_S\|_F^2\leq\sum_{i\leq n_SC}\mu_i",
            verdict=Verdict.HOLDS,
            proof=PROOFS["joint_space", "as stated"],
            steps=(
                Step(
                    claim="T_S contains the span of every logit",
                    check=contained,
                    cases=SPACES,
                    twins=(
                        Twin("the span of one logit", {"space": first_logit}),
                        Twin("the span of the sum of the logits", {"space": sum_of_logits}),
                    ),
                    sides={"space": joint},
                ),
                Step(
                    claim="it captures at least the energy that each logit captures in its own span",
                    check=ordered,
                    cases=SPACES,
                    twins=(
                        Twin("a logit's span called T_S", {"right": lambda c: inside(c, first_logit(c))}),
                        Twin("sides exchanged", {"left": joint_energy, "right": energy_per_class}),
                    ),
                    sides={"left": energy_per_class, "right": joint_energy},
                    attained="where the spans coincide",
                ),
                Step(
                    claim="it captures at most what PCA of all gradients captures at as many dimensions",
                    check=ordered,
                    cases=SPACES,
                    twins=(
                        Twin("PCA at one dimension less", {"right": lambda c: largest(c, max(rank(c) - 1, 0))}),
                        Twin(
                            "energy of the training gradients",
                            {"left": lambda c: sum((qq.frobenius2(r * joint(c)) for r in c.distilled), fmpq(0))},
                        ),
                    ),
                    sides={"left": joint_energy, "right": lambda c: largest(c, rank(c))},
                    attained="the leading eigenspace, or all of the space",
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=SPACES,
                    twins=(
                        Twin("each logit in its own span", {"exact": lambda c: energy_per_class(c) / c.total}),
                        Twin("all of the energy", {"exact": lambda c: fmpq(1)}),
                    ),
                    sides={
                        "reference": lambda c: captured_energy(numbers(c.held_out), numbers(c.distilled)),
                        "exact": lambda c: joint_energy(c) / c.total,
                        "scale": condition,
                    },
                ),
            ),
            note="the span of all n_S C gradients at the distilled inputs costs no further backward pass",
        ),
    ),
    table=2,
)


# --- leaving out images -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """Gradients (m, P) of every logit at m inputs, targets (m C, 1) in the stacked order, and a ridge."""

    logits: tuple[fmpq_mat, ...]
    targets: fmpq_mat
    lam: fmpq

    @property
    def classes(self) -> int:
        """C."""
        return len(self.logits)

    @property
    def inputs(self) -> int:
        """The number of inputs m."""
        return self.logits[0].nrows()

    @property
    def inverse(self) -> fmpq_mat:
        """The inverse of K + lam I over all rows."""
        K = qq.kernel_of(stacked(self.logits))
        return (K + qq.identity(K.nrows()) * self.lam).inv()

    def rows(self, i: int) -> list[int]:
        """The rows of input i."""
        return list(range(i * self.classes, (i + 1) * self.classes))


@st.composite
def images(draw: Any) -> Images:
    """Draw two or three inputs of two or three logits; two inputs may be the same."""
    C, m, p = (draw(st.integers(*bounds)) for bounds in ((2, 3), (2, 3), (1, 4)))
    logits = [draw(matrices(m, p)) for _ in range(C)]
    if draw(st.booleans()):
        logits = [qq.stack(qq.select(rows, [0]), qq.select(rows, range(m - 1))) for rows in logits]
    return Images(tuple(logits), draw(matrices(m * C, 1)), draw(positive))


def by_blocks(case: Images) -> fmpq_mat:
    """The residuals ([(K + lam I)^-1]_ii)^-1 alpha_i, all inputs below one another."""
    alpha = case.inverse * case.targets
    parts = [case.rows(i) for i in range(case.inputs)]
    return qq.stack(*(qq.select(case.inverse, r, r).solve(qq.select(alpha, r)) for r in parts))


def by_rows(case: Images) -> fmpq_mat:
    """What leaves out one row at a time."""
    alpha, inverse = case.inverse * case.targets, case.inverse
    return qq.column([alpha[r, 0] / inverse[r, r] for r in range(alpha.nrows())])


def by_kernel_blocks(case: Images) -> fmpq_mat:
    """What takes the blocks of K + lam I, not of its inverse."""
    alpha = case.inverse * case.targets
    K = qq.kernel_of(stacked(case.logits)) + qq.identity(alpha.nrows()) * case.lam
    return qq.stack(*(qq.select(K, r, r) * qq.select(alpha, r) for r in map(case.rows, range(case.inputs))))


def refitted(case: Images) -> fmpq_mat:
    """The residuals by their definition: the weights without the input, its own targets minus its own predictions."""
    J, found = stacked(case.logits), []
    for i in range(case.inputs):
        own = case.rows(i)
        rest = [r for r in range(J.nrows()) if r not in own]
        kept, y = qq.select(J, rest), qq.select(case.targets, rest)
        weights = kept.transpose() * qq.ridge_solve(qq.kernel_of(kept), y, case.lam)
        found.append(qq.select(case.targets, own) - qq.select(J, own) * weights)
    return qq.stack(*found)


def left_out(case: Images, *, identity: Callable) -> Margin:
    """The identity gives the residuals of refitting."""
    return equal(identity(case), refitted(case))


def shrinkage(case: Images) -> float:
    """Size of the targets times the condition number of K + lam I, twice: a block of the inverse is inverted."""
    size = float(qq.frobenius2(stacked(case.logits))) + float(case.lam)
    return (1 + size / float(case.lam)) ** 2 * (1 + float(qq.norm2(case.targets)))


IMAGES = drawn(images())
LEAVE_ONE_IMAGE_OUT = Statement(
    label="leave_one_image_out",
    row="leave out images by blocks (9.5, joint)",
    readings=(
        Reading(
            key="as stated",
            formula=r"y_i-f_{-i}(s_i)=\left([(K+\lambda I)^{-1}]_{ii}\right)^{-1}\alpha_i",
            verdict=Verdict.HOLDS,
            proof=PROOFS["leave_one_image_out", "as stated"],
            steps=(
                Step(
                    claim="the C x C blocks of the inverse give the residuals of refitting without an input",
                    check=left_out,
                    cases=IMAGES,
                    twins=(
                        Twin("rows instead of images", {"identity": by_rows}),
                        Twin("blocks of the kernel instead of its inverse", {"identity": by_kernel_blocks}),
                    ),
                    sides={"identity": by_blocks},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=IMAGES,
                    twins=(
                        Twin("rows instead of images", {"exact": by_rows}),
                        Twin("blocks of the kernel", {"exact": by_kernel_blocks}),
                    ),
                    sides={
                        "reference": lambda c: leave_one_image_out(
                            numbers(c.logits),
                            qq.floats(c.targets).reshape(c.inputs, c.classes).T,
                            float(c.lam),
                        ).T.ravel(),
                        "exact": refitted,
                        "scale": shrinkage,
                    },
                ),
            ),
            note="rows of one input are dependent: leaving out one lets the others tell its target",
        ),
    ),
    table=2,
)


# --- one random cotangent ---------------------------------------------------------------------------------------------


def signs(C: int) -> list[fmpq_mat]:
    """All v v^T of random signs, equally likely; E v v^T = I."""
    columns = [qq.column(v) for v in product([1, -1], repeat=C)]
    return [v * v.transpose() for v in columns]


def scaled_logits(C: int) -> list[fmpq_mat]:
    """All v v^T of v = sqrt(C) e_c, equally likely; E v v^T = I."""
    return [qq.diagonal([C if c == d else 0 for d in range(C)]) for c in range(C)]


def single_logits(C: int) -> list[fmpq_mat]:
    """All v v^T of v = e_c: the gradient of one random logit."""
    return [qq.diagonal([int(c == d) for d in range(C)]) for c in range(C)]


def equal_signs(C: int) -> list[fmpq_mat]:
    """The law of one v = (1, ..., 1): the gradient of the sum of the logits."""
    return [qq.ones(C, C)]


def unbiased(case: Spaces, *, law: Callable) -> Margin:
    """E of the cotangent's kernel is the sum of the kernels of all logits, E of its second moment theirs."""
    C, rows = len(case.distilled), case.distilled
    outer = law(C)

    def mean(pair: Callable) -> fmpq_mat:
        terms = [pair(c, d) * (vv[c, d] / len(outer)) for vv in outer for c in range(C) for d in range(C)]
        return sum(terms[1:], terms[0])

    kernel = mean(lambda c, d: rows[c] * rows[d].transpose())
    moment = mean(lambda c, d: rows[c].transpose() * rows[d])
    kernels = [qq.kernel_of(own) for own in rows]
    J = stacked(rows)
    return all_of(equal(kernel, sum(kernels[1:], kernels[0])), equal(moment, J.transpose() * J))


def mean_of_reference(case: Spaces) -> np.ndarray:
    """The mean kernel over all signs, by dntk_ref."""
    J = numbers(case.distilled)
    C, m, _ = J.shape
    draws = [cotangent_gradients(J, np.tile(np.array(v, float)[:, None], m)) for v in product([1, -1], repeat=C)]
    return np.asarray(np.mean([g @ g.T for g in draws], axis=0))


def sum_kernel(case: Spaces) -> fmpq_mat:
    """The sum of the kernels of all logits."""
    kernels = [qq.kernel_of(own) for own in case.distilled]
    return sum(kernels[1:], kernels[0])


ONE_COTANGENT = Statement(
    label="one_cotangent",
    row="one random cotangent",
    readings=(
        Reading(
            key="as stated",
            formula=r"E\,vv^T=I\ \Rightarrow\ E\,v^TJ(x)J(x')^Tv=\sum_cK_c(x,x'),\ E\,J^Tvv^TJ=J^TJ",
            verdict=Verdict.HOLDS,
            proof=PROOFS["one_cotangent", "as stated"],
            steps=(
                Step(
                    claim="random signs: the mean kernel is the sum kernel, the mean second moment that of all logits",
                    check=unbiased,
                    cases=SPACES,
                    twins=(
                        Twin("one random logit, not scaled by sqrt C", {"law": single_logits}),
                        Twin("the sum of the logits", {"law": equal_signs}),
                    ),
                    sides={"law": signs},
                ),
                Step(
                    claim="one random logit scaled by sqrt C: the same",
                    check=unbiased,
                    cases=SPACES,
                    twins=(
                        Twin("not scaled", {"law": single_logits}),
                        Twin("the sum of the logits", {"law": equal_signs}),
                    ),
                    sides={"law": scaled_logits},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=SPACES,
                    twins=(
                        Twin("the mean of the kernels", {"exact": lambda c: sum_kernel(c) / len(c.distilled)}),
                        Twin("one logit's kernel", {"exact": lambda c: qq.kernel_of(c.distilled[0])}),
                    ),
                    sides={
                        "reference": mean_of_reference,
                        "exact": sum_kernel,
                        "scale": lambda c: 1 + float(sum((qq.frobenius2(r) for r in c.distilled), fmpq(0))),
                    },
                ),
            ),
            hypotheses=("E v v^T = I, as of random signs or a standard normal vector",),
        ),
    ),
    table=2,
)

STATEMENTS = (JOINT_SPACE, LEAVE_ONE_IMAGE_OUT, ONE_COTANGENT)
