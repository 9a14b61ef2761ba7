"""Appendix A and section 5.2: the ridge predictor, its forms and truncations, its filter, exact representability.

One file because the forms of one predictor are checked against each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sympy
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from dntk_ref.ridge import (
    dual_prediction,
    filtered_fit,
    rank_r_matched,
    rank_r_unmatched,
    ridge_weights,
    woodbury_inverse,
)
from proofs_checks import rational as qq
from proofs_checks.instances import Ridge, Spectral, drawn, fixed, matrices, positive, rationals, ridges, spectral
from proofs_checks.margin import Margin, above, all_of, at_most, by_reference, equal, true
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


def jacobian_of(classes: int, *, output: Callable, expected: Callable) -> Margin:
    """The derivative of an output by the logits is the expected matrix, symbolically."""
    z = sympy.symbols(f"z:{classes}", real=True)
    p = [sympy.exp(value) / sum(map(sympy.exp, z)) for value in z]
    gaps = [
        sympy.simplify(sympy.diff(output(p, c), z[j]) - expected(p, c, j))
        for c in range(classes)
        for j in range(classes)
    ]
    return true(all(gap == 0 for gap in gaps))


def log_row(p: list, c: int, j: int) -> sympy.Expr:
    """delta_cj - p_j."""
    return sympy.Integer(c == j) - p[j]


EQ_13 = Statement(
    label="eq_13",
    row="(13)",
    readings=(
        Reading(
            key="logits or log-probabilities",
            formula=r"\nabla\log p_c=\phi_c-\sum_jp_j\phi_j,\quad \nabla p_c=p_c(\phi_c-\sum_jp_j\phi_j)",
            verdict=Verdict.DEFINITION,
            steps=(
                Step(
                    claim="log-probabilities",
                    check=jacobian_of,
                    cases=fixed(2, 3),
                    twins=(
                        Twin("logits", {"expected": lambda p, c, j: sympy.Integer(c == j)}),
                        Twin("p_c for p_j", {"expected": lambda p, c, j: sympy.Integer(c == j) - p[c]}),
                    ),
                    sides={"output": lambda p, c: sympy.log(p[c]), "expected": log_row},
                ),
                Step(
                    claim="probabilities",
                    check=jacobian_of,
                    cases=fixed(2, 3),
                    twins=(
                        Twin("factor p_c dropped", {"expected": log_row}),
                        Twin("factor p_j", {"expected": lambda p, c, j: p[j] * log_row(p, c, j)}),
                    ),
                    sides={"output": lambda p, c: p[c], "expected": lambda p, c, j: p[c] * log_row(p, c, j)},
                ),
            ),
            nature=Nature.DEFINITION,
            note="the three kernels differ; only logits fit section 3 and Theorem R",
        ),
    ),
)

RIDGES = drawn(ridges())


def primal(case: Ridge, *, ridge: Callable) -> fmpq:
    """phi^T (Phi^T Phi + ridge I)^{-1} Phi^T y."""
    p = case.features.ncols()
    hessian = case.features.transpose() * case.features + qq.identity(p) * ridge(case)
    return qq.dot(case.test, hessian.solve(case.features.transpose() * case.targets))


def dual(case: Ridge) -> fmpq:
    """sum_i alpha_i K(x, x_i)."""
    return qq.dot(case.features * case.test, qq.ridge_solve(case.kernel, case.targets, case.lam))


def same_prediction(case: Ridge, *, other: Callable, ridge: Callable) -> Margin:
    """Two forms of the predictor agree."""
    return equal(dual(case), other(case, ridge=ridge))


def normalised(case: Ridge, *, ridge: Callable) -> fmpq:
    """The predictor of the mean-loss normalisation (Phi^T Phi / n + ridge I) w = Phi^T y / n."""
    n, p = case.features.nrows(), case.features.ncols()
    hessian = case.features.transpose() * case.features * fmpq(1, n) + qq.identity(p) * ridge(case)
    return qq.dot(case.test, hessian.solve(case.features.transpose() * case.targets * fmpq(1, n)))


def width_scaled(case: Ridge, *, ridge: Callable) -> fmpq:
    """The predictor of the kernel divided by k = P."""
    k = case.features.ncols()
    alpha = qq.ridge_solve(case.kernel * fmpq(1, k), case.targets, ridge(case))
    return qq.dot(case.features * case.test, alpha) / k


def spread(case: Ridge) -> float:
    """Size of a prediction times the condition number of the dual system."""
    size = float(qq.frobenius2(case.features)) + 1
    return (1 + size / float(case.lam)) * (size + 1) * (1 + float(qq.norm2(case.test)) + float(qq.norm2(case.targets)))


EQ_16_18 = Statement(
    label="eq_16_18",
    row="(16), (18)",
    readings=(
        Reading(
            key="as stated",
            formula=r"\hat f_c(x_*)=\phi_c(x_*)^T\Phi_c^T(K_c+\lambda I)^{-1}y_c",
            verdict=Verdict.HOLDS,
            proof=PROOFS["eq_16_18", "as stated"],
            steps=(
                Step(
                    claim="dual form = primal form",
                    check=same_prediction,
                    cases=RIDGES,
                    twins=(
                        Twin("ridge halved in the primal", {"ridge": lambda c: c.lam / 2}),
                        Twin("ridge times n", {"ridge": lambda c: c.lam * (c.features.nrows() + 1)}),
                    ),
                    sides={"other": primal, "ridge": lambda c: c.lam},
                ),
                Step(
                    claim="mean loss: lambda = n lambda_B",
                    check=same_prediction,
                    cases=RIDGES,
                    twins=(
                        Twin("the same lambda", {"ridge": lambda c: c.lam}),
                        Twin("lambda_B = n lambda", {"ridge": lambda c: c.lam * c.features.nrows()}),
                    ),
                    sides={"other": normalised, "ridge": lambda c: c.lam / c.features.nrows()},
                ),
                Step(
                    claim="kernel divided by k: lambda = k lambda_k",
                    check=same_prediction,
                    cases=RIDGES,
                    twins=(
                        Twin("the same lambda", {"ridge": lambda c: c.lam}),
                        Twin("lambda_k = k lambda", {"ridge": lambda c: c.lam * c.features.ncols()}),
                    ),
                    sides={"other": width_scaled, "ridge": lambda c: c.lam / c.features.ncols()},
                ),
                Step(
                    claim="dntk_ref's dual prediction",
                    check=by_reference,
                    cases=RIDGES,
                    twins=(
                        Twin("ridge doubled", {"exact": lambda c: dual(replace(c, lam=2 * c.lam))}),
                        Twin("sign", {"exact": lambda c: -dual(c)}),
                    ),
                    sides={
                        "reference": lambda c: dual_prediction(
                            qq.floats(c.features * c.test).T,
                            qq.floats(c.kernel),
                            qq.floats(c.targets)[:, 0],
                            float(c.lam),
                        )[0],
                        "exact": dual,
                        "scale": spread,
                    },
                ),
                Step(
                    claim="dntk_ref's primal weights",
                    check=by_reference,
                    cases=RIDGES,
                    twins=(
                        Twin("ridge doubled", {"exact": lambda c: replace(c, lam=2 * c.lam).weights}),
                        Twin("sign", {"exact": lambda c: c.weights * fmpq(-1)}),
                    ),
                    sides={
                        "reference": lambda c: ridge_weights(
                            qq.floats(c.features), qq.floats(c.targets)[:, 0], float(c.lam)
                        ),
                        "exact": lambda c: c.weights,
                        "scale": spread,
                    },
                ),
            ),
        ),
    ),
)


def woodbury(case: Ridge, *, front: Callable, inner: Callable) -> Margin:
    """(17): (K + lambda)^{-1} times lambda is I - Phi (Phi^T Phi + lambda)^{-1} Phi^T."""
    n, p, phi = case.features.nrows(), case.features.ncols(), case.features
    left = (case.kernel + qq.identity(n) * case.lam).inv()
    right = qq.identity(n) - phi * (phi.transpose() * phi + qq.identity(p) * inner(case)).inv() * phi.transpose()
    return equal(left, right * front(case))


@dataclass(frozen=True)
class Cut:
    """A kernel with rational eigenvectors, targets, a test row k_* = Phi phi_*, the ridge and the rank r."""

    spectral: Spectral
    targets: fmpq_mat
    coefficients: fmpq_mat
    lam: fmpq
    r: int

    @property
    def cross(self) -> fmpq_mat:
        """k_*, in the range of the kernel."""
        return self.spectral.kernel * self.coefficients

    @property
    def kept(self) -> fmpq_mat:
        """The projector onto the first r eigenvectors."""
        left = self.spectral.left(self.r)
        return left * left.transpose()


@st.composite
def cuts(draw: Any) -> Cut:
    """Draw a Cut."""
    case = draw(spectral(1, 3))
    return Cut(case, draw(matrices(case.n, 1)), draw(matrices(case.n, 1)), draw(positive), draw(st.integers(0, case.n)))


def modes(case: Cut, keep: Callable, gain: Callable) -> fmpq:
    """Sum over the kept modes of gain(lambda_j) <k_*, u_j> <u_j, y>."""
    u = case.spectral.u
    total = fmpq(0)
    for j, value in enumerate(case.spectral.eigenvalues):
        if keep(j):
            vector = qq.select(u, range(case.spectral.n), [j])
            total += gain(value) * qq.dot(vector, case.cross) * qq.dot(vector, case.targets)
    return total


def substituted(case: Cut, *, front: Callable, tail: Callable) -> Margin:
    """front(k_*)^T (K_r + lambda)^{-1} y = the first r modes of the full predictor, plus a tail."""
    kernel = case.spectral.kernel * case.kept
    left = qq.dot(front(case), qq.ridge_solve(kernel, case.targets, case.lam))
    right = modes(case, lambda j: j < case.r, lambda value: 1 / (value + case.lam))
    return equal(left, right + tail(case))


def unmatched_tail(case: Cut) -> fmpq:
    """(1 / lambda) k_*^T (I - U_r U_r^T) y."""
    return modes(case, lambda j: j >= case.r, lambda value: 1 / case.lam)


AXES = qq.identity(2)
CEX_12 = Cut(Spectral(AXES, (fmpq(1), fmpq(1, 10)), AXES), qq.column([0, 1]), qq.column([0, 1]), fmpq(1, 1000), 1)
CUTS = drawn(cuts())


def unmatched_value(case: Cut, *, front: Callable, full: Callable) -> Margin:
    """The size of the substituted prediction is at most that of the full one (10/11 in CEX-12)."""
    kernel = case.spectral.kernel * case.kept
    value = qq.dot(front(case), qq.ridge_solve(kernel, case.targets, case.lam))
    return at_most(abs(value), abs(full(case)))


def full_prediction(case: Cut) -> fmpq:
    """k_*^T (K + lambda)^{-1} y."""
    return qq.dot(case.cross, qq.ridge_solve(case.spectral.kernel, case.targets, case.lam))


def _cut_floats(function: Callable) -> Callable:
    def run(c: Cut) -> Any:
        return function(
            qq.floats(c.cross).T, qq.floats(c.spectral.kernel), qq.floats(c.targets)[:, 0], float(c.lam), c.r
        )[0]

    return run


def cut_scale(case: Cut) -> float:
    """Largest term of the expansion: |k_*| |y| / lambda, times the condition number of K_r + lambda."""
    top = 1 + float(case.spectral.eigenvalues[0]) / float(case.lam)
    return top * float(1 + qq.norm2(case.cross)) * float(1 + qq.norm2(case.targets)) / float(case.lam)


SEPARATED = drawn(
    cuts().filter(
        lambda c: c.r == c.spectral.n or (c.r > 0 and c.spectral.eigenvalues[c.r - 1] > c.spectral.eigenvalues[c.r])
    )
)
EQ_17 = Statement(
    label="eq_17",
    row="(17) Woodbury",
    readings=(
        Reading(
            key="Woodbury",
            formula=r"(\Phi\Phi^T+\lambda I_n)^{-1}=\frac{1}{\lambda}(I_n-\Phi(\Phi^T\Phi+\lambda I_P)^{-1}\Phi^T)",
            verdict=Verdict.HOLDS,
            proof=PROOFS["eq_17", "Woodbury"],
            steps=(
                Step(
                    claim="multiplied out",
                    check=woodbury,
                    cases=RIDGES,
                    twins=(
                        Twin("factor 1/lambda dropped", {"front": lambda c: fmpq(11, 10)}),
                        Twin("ridge dropped inside", {"inner": lambda c: c.lam / 2}),
                    ),
                    sides={"front": lambda c: 1 / c.lam, "inner": lambda c: c.lam},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=RIDGES,
                    twins=(
                        Twin(
                            "ridge doubled",
                            {"exact": lambda c: (c.kernel + qq.identity(c.kernel.nrows()) * (2 * c.lam)).inv()},
                        ),
                        Twin(
                            "inverse of the ridge alone",
                            {"exact": lambda c: qq.identity(c.kernel.nrows()) * (1 / c.lam)},
                        ),
                    ),
                    sides={
                        "reference": lambda c: woodbury_inverse(qq.floats(c.features), float(c.lam)),
                        "exact": lambda c: (c.kernel + qq.identity(c.kernel.nrows()) * c.lam).inv(),
                        "scale": lambda c: (1 + float(qq.frobenius2(c.features) / c.lam)) / float(c.lam),
                    },
                ),
            ),
        ),
        Reading(
            key="rank-r substitution",
            formula=r"k_*^T(K_r+\lambda)^{-1}y=k_*^TU_r(\Lambda_r+\lambda)^{-1}U_r^Ty+\frac{1}{\lambda}k_*^T(I-U_rU_r^T)y",
            verdict=Verdict.ADDED,
            proof=PROOFS["eq_17", "rank-r substitution"],
            steps=(
                Step(
                    claim="with k_* truncated too it is the first r modes",
                    check=substituted,
                    cases=CUTS,
                    twins=(
                        Twin("k_* not truncated", {"front": lambda c: c.cross}),
                        Twin("tail kept", {"tail": unmatched_tail}),
                    ),
                    sides={"front": lambda c: c.kept * c.cross, "tail": lambda c: fmpq(0)},
                ),
                Step(
                    claim="without: a tail of size 1/lambda",
                    check=substituted,
                    cases=CUTS,
                    twins=(
                        Twin("no tail", {"tail": lambda c: fmpq(0)}),
                        Twin("tail without 1/lambda", {"tail": lambda c: unmatched_tail(c) * c.lam / 2}),
                    ),
                    sides={"front": lambda c: c.cross, "tail": unmatched_tail},
                ),
                Step(
                    claim="dntk_ref's matched form, where the cut is no tie",
                    check=by_reference,
                    cases=SEPARATED,
                    twins=(
                        Twin("unmatched", {"reference": _cut_floats(rank_r_unmatched)}),
                        Twin("full prediction", {"exact": full_prediction}),
                    ),
                    sides={
                        "reference": _cut_floats(rank_r_matched),
                        "scale": cut_scale,
                        "exact": lambda c: modes(c, lambda j: j < c.r, lambda value: 1 / (value + c.lam)),
                    },
                ),
                Step(
                    claim="the matched prediction is no larger than the full one in CEX-12",
                    check=unmatched_value,
                    cases=fixed(CEX_12),
                    twins=(
                        Twin("unmatched", {"front": lambda c: c.cross}),
                        Twin("compared with nothing", {"front": lambda c: c.cross, "full": lambda c: fmpq(1, 2)}),
                    ),
                    sides={"front": lambda c: c.kept * c.cross, "full": full_prediction},
                ),
            ),
            refutations=(
                Refutation(
                    name="CEX-12",
                    check=unmatched_value,
                    case=CEX_12,
                    controls=(
                        Twin("front factor truncated", {"front": lambda c: c.kept * c.cross}),
                        Twin("full rank", cases=fixed(replace(CEX_12, r=2))),
                    ),
                    printed={"front": lambda c: c.cross, "full": full_prediction},
                    left=10,
                    right="10/11",
                    search=cuts(),
                ),
            ),
            added=("the test row is truncated with the kernel",),
        ),
    ),
)


@dataclass(frozen=True)
class Network:
    """f(x) = w . relu(v x + d) + b of one input with two hidden units, and the inputs it is seen at."""

    v: tuple[fmpq, ...]
    d: tuple[fmpq, ...]
    w: tuple[fmpq, ...]
    b: fmpq
    inputs: tuple[fmpq, ...]

    def hidden(self, x: fmpq) -> list[fmpq]:
        """The hidden activations."""
        return [max(v * x + d, fmpq(0)) for v, d in zip(self.v, self.d, strict=True)]

    def output(self, x: fmpq) -> fmpq:
        """The logit."""
        return sum((w * h for w, h in zip(self.w, self.hidden(x), strict=True)), self.b)

    def gradient(self, x: fmpq) -> list[fmpq]:
        """The gradient by (v, d, w, b)."""
        on = [fmpq(1) if h > 0 else fmpq(0) for h in self.hidden(x)]
        body = [w * g for w, g in zip(self.w, on, strict=True)]
        return [g * x for g in body] + body + self.hidden(x) + [fmpq(1)]

    @property
    def features(self) -> fmpq_mat:
        """The gradients at the inputs as rows."""
        return qq.mat([self.gradient(x) for x in self.inputs])

    @property
    def head(self) -> fmpq_mat:
        """w_0: zeros for the body, then w and b."""
        return qq.column([0] * 4 + [*self.w, self.b])

    @property
    def outputs(self) -> fmpq_mat:
        """The logits at the inputs."""
        return qq.column([self.output(x) for x in self.inputs])


@st.composite
def networks(draw: Any) -> Network:
    """Draw a network and nine distinct inputs, more than it has parameters."""
    two = st.tuples(rationals, rationals)
    return Network(draw(two), draw(two), draw(two), draw(rationals), tuple(fmpq(i, 2) for i in range(-4, 5)))


def outside_space(net: Network, *, target: Callable, columns: range) -> Margin:
    """The values are no combination of the gradient's components: some residual is left."""
    phi = qq.select(net.features, range(len(net.inputs)), columns)
    values = target(net)
    return above(qq.norm2(values - qq.projector(phi.transpose()) * values), 0)


def represented(net: Network, *, weights: Callable) -> Margin:
    """f(x) = phi(x) . w_0 at every input, and the norm f^T K^+ f is at most |w_0|^2."""
    w0 = weights(net)
    norm = qq.dot(net.outputs, qq.pseudo_inverse(qq.kernel_of(net.features)) * net.outputs)
    return all_of(equal(net.features * w0, net.outputs), at_most(norm, qq.norm2(w0)))


def euler(net: Network, *, degree: fmpq) -> Margin:
    """Bias-free: <v, grad_v f> = f and <w, grad_w f> = f for every input."""
    rows = net.features.tolist()
    first = [sum((a * g for a, g in zip(net.v, row[:2], strict=True)), fmpq(0)) for row in rows]
    last = [sum((a * g for a, g in zip(net.w, row[4:6], strict=True)), fmpq(0)) for row in rows]
    return all_of(equal(qq.column(part), net.outputs * degree) for part in (first, last))


ALL, BODY = range(7), range(4)
NET = Network(
    (fmpq(1), fmpq(-1)), (fmpq(1), fmpq(1, 2)), (fmpq(2), fmpq(1)), fmpq(1), tuple(fmpq(i, 2) for i in range(-4, 5))
)
NETS = drawn(networks())
BIAS_FREE = drawn(networks().map(lambda net: replace(net, d=(fmpq(0), fmpq(0)), b=fmpq(0))))
THEOREM_R = Statement(
    label="theorem_r",
    row="Theorem R (exact representability; new)",
    readings=(
        Reading(
            key="as stated",
            formula=r"f_c(x;\theta)=\phi_c(x)^Tw_0,\quad w_0=(0_{body};W_c,b_c),\quad \|f_c\|_{H_K}\leq\|(W_c,b_c)\|",
            verdict=Verdict.HOLDS,
            proof=PROOFS["theorem_r", "as stated"],
            steps=(
                Step(
                    claim="relu networks, every input",
                    check=represented,
                    cases=lambda n: (*NETS(n), NET),
                    twins=(
                        Twin("bias left out", {"weights": lambda net: net.head - qq.column([0] * 6 + [net.b + 1])}),
                        Twin(
                            "body weights put in",
                            {"weights": lambda net: net.head + qq.column([*net.v, *net.d, 0, 0, 0])},
                        ),
                    ),
                    sides={"weights": lambda net: net.head},
                ),
                Step(
                    claim="Euler: homogeneous layers of bias-free networks",
                    check=euler,
                    cases=BIAS_FREE,
                    twins=(
                        Twin("degree two", {"degree": fmpq(2)}),
                        Twin("biases present", cases=fixed(NET)),
                    ),
                    sides={"degree": fmpq(1)},
                ),
            ),
            hypotheses=("affine last layer whose weights and bias are among the parameters",),
        ),
    ),
    table=2,
)
SEC_A_3 = Statement(
    label="sec_a_3",
    row='A.3 "network does not lie exactly in H_K"',
    readings=(
        Reading(
            key="logits",
            formula=r"f_c\notin\mathcal{H}_{K_c}",
            verdict=Verdict.FAILS,
            steps=(
                Step(
                    claim="values of the square of the output are outside the space (the check can accept)",
                    check=outside_space,
                    cases=fixed(NET),
                    twins=(
                        Twin("the logit itself", {"target": lambda net: net.outputs}),
                        Twin("a constant", {"target": lambda net: qq.ones(len(net.inputs))}),
                    ),
                    sides={"target": lambda net: qq.column([net.output(x) ** 2 for x in net.inputs]), "columns": ALL},
                ),
            ),
            refutations=(
                Refutation(
                    name="Theorem R",
                    check=outside_space,
                    case=NET,
                    controls=(
                        Twin("head not among the parameters", {"columns": BODY}),
                        Twin(
                            "a nonlinear output",
                            {"target": lambda net: qq.column([net.output(x) ** 2 for x in net.inputs])},
                        ),
                    ),
                    printed={"target": lambda net: net.outputs, "columns": ALL},
                    left=0,
                    right=0,
                    search=networks(),
                ),
            ),
            note="the approximation error of a logit is zero at every width; the kernel is semi-definite at every width",
        ),
    ),
)


def filtered(case: Cut, *, gain: Callable) -> Margin:
    """The fit K (K + lambda)^{-1} y is the sum of gain(lambda_j) (u_j . y) u_j; and gain <= lambda_j / lambda."""
    fit = case.spectral.kernel * qq.ridge_solve(case.spectral.kernel, case.targets, case.lam)
    gains = [gain(value, case.lam) for value in case.spectral.eigenvalues]
    expected = case.spectral.u * qq.diagonal(gains) * case.spectral.u.transpose() * case.targets
    bounded = [at_most(g, value / case.lam) for g, value in zip(gains, case.spectral.eigenvalues, strict=True)]
    return all_of(equal(fit, expected), bounded)


def unfiltered(case: Cut) -> fmpq_mat:
    """What the fit leaves of the targets."""
    kernel = case.spectral.kernel
    return case.targets - kernel * qq.ridge_solve(kernel, case.targets, case.lam)


SEC_5_2 = Statement(
    label="sec_5_2",
    row="5.2 spectral filter statement",
    readings=(
        Reading(
            key="as stated",
            formula=r"\hat f(X)=\sum_j\frac{\lambda_j}{\lambda_j+\lambda}(u_j^Ty)u_j",
            verdict=Verdict.HOLDS,
            proof=PROOFS["sec_5_2", "as stated"],
            steps=(
                Step(
                    claim="gain lambda_j / (lambda_j + lambda), at most lambda_j / lambda",
                    check=filtered,
                    cases=CUTS,
                    twins=(
                        Twin("no filter", {"gain": lambda value, lam: fmpq(1)}),
                        Twin("gain of the weights", {"gain": lambda value, lam: 1 / (value + lam)}),
                    ),
                    sides={"gain": lambda value, lam: value / (value + lam)},
                ),
                Step(
                    claim="dntk_ref computes it",
                    check=by_reference,
                    cases=CUTS,
                    twins=(
                        Twin("targets", {"exact": lambda c: c.targets}),
                        Twin("residual", {"exact": unfiltered}),
                    ),
                    sides={
                        "reference": lambda c: filtered_fit(
                            qq.floats(c.spectral.kernel), qq.floats(c.targets)[:, 0], float(c.lam)
                        ),
                        "exact": lambda c: c.spectral.kernel * qq.ridge_solve(c.spectral.kernel, c.targets, c.lam),
                        "scale": cut_scale,
                    },
                ),
            ),
        ),
    ),
)


def synthetic_row(case: Cut, *, power: int) -> Margin:
    """Rem 4.2 for every j, with K = Phi Phi^T / k: |Phi^T u|^2 = k lambda, Phi Phi^T u = k lambda u, rows orthogonal."""
    phi, k = case.spectral.features, case.spectral.p
    kernel_value = [value / k for value in case.spectral.eigenvalues]
    rows = case.spectral.u.transpose() * phi
    grams = qq.diagonal([k**power * value for value in kernel_value])
    return all_of(equal(qq.kernel_of(rows), grams), equal(phi * rows.transpose(), case.spectral.u * grams))


REM_4_2 = Statement(
    label="rem_4_2",
    row="Rem 4.2",
    readings=(
        Reading(
            key="as stated",
            formula=r"\hat\phi=\Phi^Tu:\quad \|\hat\phi\|^2=k\lambda,\quad \Phi\hat\phi=k\lambda u",
            verdict=Verdict.HOLDS,
            proof=PROOFS["rem_4_2", "as stated"],
            steps=(
                Step(
                    claim="norm, direction, and orthogonality of distinct rows",
                    check=synthetic_row,
                    cases=CUTS,
                    twins=(
                        Twin("k dropped", {"power": 0}),
                        Twin("k squared", {"power": 2}),
                    ),
                    sides={"power": 1},
                ),
            ),
            note="with K = Phi Phi^T the factor k is 1",
        ),
    ),
)

STATEMENTS = (REM_4_2, SEC_5_2, EQ_13, EQ_16_18, EQ_17, SEC_A_3, THEOREM_R)
