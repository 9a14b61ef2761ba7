"""Certificates of what was added to the audit: attribution, predictive variance, all logits together, bounds by rows."""

import numpy as np
import sympy as sp

from proofs_checks.algebra.argument import Argument, Certificate
from proofs_checks.algebra.calculus import Calculation
from proofs_checks.algebra.proof import CHAIN, CHERNOFF, GAUSSIAN, SPECTRAL, Kind, Proof
from proofs_checks.algebra.settings import onto, ridge, top
from proofs_checks.algebra.words import Matrix, Scalar, sq, tr
from proofs_checks.proofs_3 import chain_rule, joined, swapped
from proofs_checks.proofs_9 import Subset
from proofs_checks.proofs_b import Tail, products
from proofs_checks.proofs_moments import chi_squared, cubic

__all__ = ["PROOFS"]


class Removed:
    """K with its rows split by E (kept) and B (left out); R = (K + lambda)^-1; y has the fit E v without the rows of B."""

    def __init__(self, rows: int) -> None:
        a = self.a = Argument()
        n, eye = 5, np.eye(5)
        X = a.rng.standard_normal((n, n))
        self.K = a.symmetric("K", "n", X @ X.T)
        self.E = a.matrix("E", "n", "q", eye[:, rows:])
        self.B = a.matrix("B", "n", "g", eye[:, :rows])
        self.l = a.positive(r"\lambda", 0.7)
        for left, right in (
            (self.E.T * self.E, 1),
            (self.B.T * self.B, 1),
            (self.E.T * self.B, 0 * (self.E.T * self.B)),
        ):
            a.assume(left, right)
        a.assume(self.E * self.E.T, 1 - self.B * self.B.T, "E keeps the other rows")
        self.R = a.inverse("R", self.K + self.l)
        self.eta, self.k = (
            a.vector(r"\eta", "g", a.rng.standard_normal(rows)),
            a.vector("k", "n", a.rng.standard_normal(n)),
        )
        self.v = a.vector("v", "q", a.rng.standard_normal(n - rows))
        self.y = self.E * (self.E.T * self.K * self.E * self.v + self.l * self.v) + self.B * self.eta

    def fits(self) -> None:
        """State that v solves the problem without the rows."""
        kept = (self.E.T * self.K * self.E + self.l) * self.v
        self.a.identity("v solves the problem without the rows", self.E.T * self.y, kept)
        left = self.B.T * self.R * self.B * (self.eta - self.B.T * self.K * self.E * self.v)
        self.a.identity("their residuals, times the block of the inverse", left, self.B.T * self.R * self.y)

    def downdate(self) -> None:
        """State the prediction without the rows, by S = (B^T R B)^-1."""
        S = self.a.inverse("S", self.B.T * self.R * self.B)
        alpha = self.R * self.y
        right = self.k.T * alpha - self.k.T * (self.R * self.B) * S * (self.B.T * alpha)
        self.a.identity("the prediction without the rows", self.k.T * (self.E * self.v), right)


def downdate() -> Certificate:
    s = Removed(2)
    s.fits()
    s.downdate()
    s.a.wrong("without the correction", right=s.k.T * (s.R * s.y))
    return s.a.certificate()


def images() -> Certificate:
    s = Removed(2)
    s.fits()
    s.a.wrong("without the block", left=s.eta - s.B.T * s.K * s.E * s.v)
    return s.a.certificate()


def single() -> Certificate:
    s = Removed(1)
    s.fits()
    s.downdate()
    s.a.wrong("without the correction", right=s.k.T * (s.R * s.y))
    return s.a.certificate()


def variance_falls() -> Certificate:
    s = Removed(2)
    a = s.a
    x = s.E * (s.E.T * s.K * s.E * s.v + s.l * s.v) + s.B * s.eta
    S = a.inverse("S", s.B.T * s.R * s.B)
    C = a.root("C", S)
    part = x.T * s.R * s.B * S * s.B.T * s.R * x
    a.identity(
        "k = x has the solution v without the rows: difference of variances",
        x.T * s.R * x - x.T * (s.E * s.v),
        part,
    )
    a.wrong("without the block of the inverse", right=x.T * s.R * s.B * s.B.T * s.R * x)
    a.at_most("which is not negative, S = C C^T", Scalar(0), part, C.T * (s.B.T * (s.R * x)))
    return a.certificate()


def predictive() -> Certificate:
    a = Argument()
    r = ridge(a)
    f = a.vector(r"\varphi", "P", a.rng.standard_normal(3))
    k, primal = r.F * f, r.l * (f.T * r.S * f)
    a.identity("primal = dual", primal, sq(f) - k.T * r.R * k)
    a.wrong("without lambda", left=f.T * r.S * f)
    a.at_most("not negative", Scalar(0), primal, (r.l, r.F * r.S * f), (r.l**2, r.S * f))
    a.at_most("at most k(x, x)", primal, sq(f), r.F.T * r.F * r.S * f, (r.l, r.F * r.S * f))
    return a.certificate()


def joint_variance() -> Certificate:
    s = Subset()
    s.a.at_most(
        "rows of all logits against those of one",
        s.l * (s.f.T * s.S * s.f),
        s.l * (s.f.T * s.Y * s.f),
        *((s.l, x) for x in s.terms(s.f)),
    )
    s.a.wrong("a tenth of it", right=s.l * (s.f.T * s.Y * s.f) / 10)
    return s.a.certificate()


def joint_space() -> Certificate:
    a = Argument()
    space = a.rng.standard_normal((5, 3))
    P, Q = a.projector(r"\Pi_S", "P", onto(space)), a.projector(r"\Pi_c", "P", onto(space[:, :1]))
    a.assume(P * Q, Q, "T_S holds the span of one logit")
    F = a.matrix(r"\Phi_c", "n", "P", a.rng.standard_normal((4, 5)))
    a.at_most("one logit", sq(F * Q), sq(F * P), F * (P - Q))
    a.wrong("a hundredth", right=sq(F * P) / 100)
    b = Argument()
    F = b.matrix(r"\Phi", "N", "P", b.rng.standard_normal((6, 5)))
    P = b.projector(r"\Pi_S", "P", onto(b.rng.standard_normal((5, 2))))
    t = top(b, F.T * F, 3)
    q = b.nonnegative("q", 1.0)
    b.assume(tr(t.T), tr(P) + q, "rank at most n_S C")
    b.at_most("all logits, rows stacked: Ky Fan", sq(F * P), t.sum, (1 - P) * t.A, P * t.B, t.mu * q)
    b.wrong("a ninth", right=t.sum / 9)
    return joined(a, b)


def cotangent() -> Certificate:
    a = Argument()
    J, Z = (
        a.matrix("J", "C", "P", a.rng.standard_normal((2, 4))),
        a.matrix("J'", "C", "P", a.rng.standard_normal((2, 4))),
    )
    V = a.matrix("V", "C", "M", np.linalg.qr(a.rng.standard_normal((4, 2)))[0].T)
    a.assume(V * V.T, 1, "columns of V: draws of v times roots of weights, E v v^T = I")
    a.identity("mean kernel", tr(V.T * J * Z.T * V), tr(J * Z.T))
    a.wrong("twice it", right=2 * tr(J * Z.T))
    a.identity("mean second moment", J.T * V * V.T * J, J.T * J)
    return a.certificate()


def cross_entropy() -> Certificate:
    a = Argument()
    p, y, e = a.vector("p", "C", [0.2, 0.5, 0.3]), a.vector("y", "C", [0.1, 2.0, -0.4]), a.vector("e", "C", np.ones(3))
    a.assume(e.T * p, 1, "softmax")
    a.identity("sensitivities add to zero", e.T * ((e.T * y) * p - y), Scalar(0))
    a.wrong("p - y, labels of any sum", left=e.T * (p - y))
    c = Calculation()
    z, rest, total, label = (sp.Symbol(name, positive=True) for name in ("z", "R", "Y", "y_c"))
    loss = total * sp.log(sp.exp(z) + rest) - label * z
    points = [{z: 0.3, rest: 2.0, total: 1.5, label: 0.4}]
    c.equal(
        "derivative in one logit, R the other exponentials",
        sp.diff(loss, z),
        total * sp.exp(z) / (sp.exp(z) + rest) - label,
        points,
    )
    c.not_equal("without the sum of the labels", sp.diff(loss, z), sp.exp(z) / (sp.exp(z) + rest) - label, points)
    one, two, three = chain_rule(), a.certificate(), c.certificate()
    parts = (one, two, three)
    return Certificate(
        tuple(h for x in parts for h in x.hypotheses),
        tuple(line for x in parts for line in x.lines),
        tuple(w for x in parts for w in x.wrong),
    )


def hashed() -> Certificate:
    a = Argument()
    V, D, k, e, n = (
        a.nonnegative("V", 3.0),
        a.nonnegative("D", 1.0),
        a.positive("k", 100.0),
        a.positive(r"\epsilon", 0.5),
        a.positive("n", 4.0),
    )
    a.at_most(
        "u = v: the variance (2 V - 2 D) / k, V = |u|^4, over (epsilon |u|^2)^2: at most 2 / (k epsilon^2)",
        (2 * V - 2 * D) / (k * e**2),
        2 * V / (k * e**2),
        2 * D / (k * e**2),
    )
    a.wrong("a quarter", right=V / (2 * k * e**2))
    d = a.positive(r"\delta", 0.9)
    s = a.nonnegative("s", 100 - 12 / (0.25 * 0.9))
    a.at_most(
        "union over pairs at k = n (n - 1) / (epsilon^2 delta) + s: at most delta k over k",
        n * (n - 1) / e**2,
        d * (n * (n - 1) / (e**2 * d) + s),
        d * s,
    )
    return a.certificate()


def by_rows() -> Certificate:
    a = Argument()
    F, l, m = (
        a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3))),
        a.positive(r"\lambda", 0.7),
        a.positive(r"\mu", 0.4),
    )
    N = a.inverse("N", l + m * (F.T * F + l))
    h, z = a.root("h", N), a.vector("z", "P", a.rng.standard_normal(3))
    H = F.T * F + l
    r = H * z
    bound = (1 + m) ** 2 / 4 * (r.T * N * r)
    a.at_most(
        "with all rows, N = (lambda + mu H)^-1 = h h^T",
        sq(F * z),
        bound,
        (Scalar(1) / 4, h.T * ((1 - m) * H - 2 * l) * z),
    )
    a.wrong("a hundredth", right=bound / 100)
    s = Subset()
    b, m = s.a, s.a.positive(r"\mu", 0.4)
    Y, S = b.inverse("Y_mu", s.l + m * s.HS), b.inverse("S_mu", s.l + m * s.H)
    J = b.root("J_mu", Y)
    b.at_most(
        "rows of S only: a larger right side",
        s.r.T * S * s.r,
        s.r.T * Y * s.r,
        (m, s.W * S * s.r),
        (m**2, J.T * s.W.T * (s.W * S * s.r)),
    )
    b.wrong("a tenth", right=s.r.T * Y * s.r / 10)
    return joined(a, b)


def first_order() -> Certificate:
    a = Argument()
    X = a.rng.standard_normal((4, 4))
    K, b, x = (
        a.symmetric("K", "n", X @ X.T),
        a.vector("b", "n", np.eye(4)[0]),
        a.vector("x", "n", a.rng.standard_normal(4)),
    )
    l, t = a.positive(r"\lambda", 0.7), a.real("t", 0.1)
    R = a.inverse("R", K + l)
    y = K * x + l * x - t * l * b * (b.T * x)
    a.identity(
        "weight 1 / (1 - t) of row b, coefficients x: x = R y + t lambda R b (b^T x), so its derivative",
        R * y + t * l * (R * b) * (b.T * x),
        x,
    )
    a.wrong("without lambda", left=R * y + t * (R * b) * (b.T * x))
    s = Removed(2)
    s.downdate()
    S = s.a.inverse("S'", s.B.T * s.R * s.B)
    linear = s.l * (s.k.T * (s.R * s.B) * (s.B.T * s.R * s.y))
    rest = s.k.T * (s.R * s.B) * (s.l - S) * (s.B.T * s.R * s.y)
    s.a.identity(
        "the remainder: S - lambda between the two vectors", s.k.T * (s.E * s.v) - s.k.T * (s.R * s.y) + linear, rest
    )
    return joined(a, s.a, _small_leverage())


def _small_leverage() -> Argument:
    """L = 1 - lambda A_GG, N = (1 - L)^-1 = A_GG^-1 / lambda, X = L N: its norm is at most c = e / d, d = 1 - e."""
    a = Argument()
    d, values = a.positive("d", 0.4), np.diag([0.35, 0.15])
    e = a.nonnegative(r"\ell", 0.6)
    a.assume(e, 1 - d, "l = tr L below 1, d = 1 - l")
    A = a.matrix("A", "g", "q", np.sqrt(values))
    L = A * A.T
    D = a.root("D", e - L)
    N = a.inverse("N", 1 - L)
    a.at_most("l (L N) is positive", 0 * N, e * (L * N), (e * d, A.T * N), D.T * L * N, A.T * (D * D.T * N))
    a.at_most("d (L N) is at most l", d * (L * N), e * Matrix.identity("g"), (d, D.T * N), D * (D.T * N))
    a.wrong("at most a tenth of l", right=e / 10 * Matrix.identity("g"))
    return a


def completed() -> Certificate:
    a = Argument()
    mu, s, u, q, d = (
        a.nonnegative(name, x) for name, x in ((r"\mu", 1.0), ("s", 0.7), ("u", 0.4), ("q", 2.0), ("d", 3.0))
    )
    S, U = q * mu + s, d * mu - u
    a.at_most(
        "the top q of m = q + d eigenvalues, each at least mu, hold at least the average",
        q * (S + U),
        (q + d) * S,
        d * s,
        q * u,
    )
    a.wrong("the others do", left=(q + d) * S, right=q * (S + U))
    b = Argument()
    x, t, e, m, w = (
        b.positive("x", 3.0),
        b.nonnegative("t", 9.0),
        b.nonnegative(r"\epsilon", 0.1),
        b.positive("m", 5.0),
        b.nonnegative("w", 0.2),
    )
    b.at_most(
        "x = tr K - tr Z^T K Z, (1 - epsilon) tr K - tr Z^T K Z = x - epsilon t: q directions hold the share",
        x - e * t,
        (m * (x - e * t) / x + w) * x / m,
        w * x / m,
    )
    b.wrong("a direction fewer", right=(m * (x - e * t) / x - 1) * x / m)
    one, two = joined(a, b), products()
    return Certificate(one.hypotheses + two.hypotheses, one.lines + two.lines, one.wrong + two.wrong)


def energies() -> Certificate:
    a = Argument()
    X, eye = a.rng.standard_normal((4, 4)), np.eye(4)
    K, C, z = a.symmetric("K", "n", X @ X.T), a.matrix("C", "n", "m", eye[:, 1:]), a.vector("z", "n", eye[:, 0])
    a.assume(z.T * z, 1)
    a.assume(C.T * C, 1)
    a.assume(C.T * z, 0 * (C.T * z))
    a.assume(C * C.T, 1 - z * z.T, "C spans what z leaves")
    M = C.T * K * C
    a.at_most(
        "one direction more: |K|^2 at least e^2 + |C^T K C|^2", (z.T * K * z) ** 2 + sq(M), sq(K), (2, C.T * (K * z))
    )
    a.wrong("with the first twice", left=4 * (z.T * K * z) ** 2 + 4 * sq(M))
    a.identity("what is left of the trace", tr(M), tr(K) - z.T * K * z)
    b = Argument()
    M, n = b.symmetric("M", "m", (lambda x: x @ x.T)(b.rng.standard_normal((3, 3)))), tr(Matrix.identity("m"))
    b.at_most("the rest: |M|^2 at least (tr M)^2 / (n - r)", tr(M) ** 2 / n, sq(M), M - tr(M) / n)
    low, c, s, rho = b.nonnegative("a", 1.0), b.positive("c", 3.0), b.nonnegative("s", 0.2), b.nonnegative("u", 0.1)
    b.at_most(
        "c = r + 1 - j eigenvalues at least a = lambda_(r+1) add up to c a + s at most rho_j",
        low,
        (c * low + s + rho) / c,
        (s + rho) / c,
    )
    b.wrong("half of rho_j", right=(c * low + s + rho) / (2 * c))
    t = Tail()
    t.squares()
    one, two = joined(a, b, t.a), products()
    return Certificate(one.hypotheses + two.hypotheses, one.lines + two.lines, one.wrong + two.wrong)


def signs() -> Certificate:
    a = Argument()
    j, t = a.positive("j", 2.0), a.nonnegative("t", 1.0)
    a.assume(t, j - 1, "j at least 1")
    a.at_most(
        "E x^(2j): 1 for signs, 3^(j-1) with zeros; the Gaussian (2j-1)!! grows by 2j + 1, at least 3",
        Scalar(3),
        2 * j + 1,
        2 * t,
    )
    a.wrong("at least 6", left=Scalar(6))
    V, D, z = a.nonnegative("V", 3.0), a.nonnegative("D", 1.0), a.nonnegative("z", 2.0)
    a.at_most(
        "fourth moment of a signed sum: 3 V + (kurtosis - 3) D, kurtosis = 3 - z", 3 * V + (3 - z - 3) * D, 3 * V, z * D
    )
    c = Calculation()
    chi_squared(c)
    cubic(c)
    x, y = sp.Symbol("epsilon", positive=True), sp.Symbol("y", positive=True)
    h = x / (2 * (1 + x))
    points = [0.1, 0.4, 0.7, 0.95]
    gap = -sp.log(1 - h + 3 * h**2 / 2) - h * (1 - x) - x**2 / 4 + x**3 / 6
    c.at_least_zero(
        "lower tail: E exp(-h Q^2) at most 1 - h + 3 h^2 / 2, h = epsilon / (2 (1 + epsilon))",
        gap,
        x,
        y / (1 + y),
        points,
    )
    n, b = sp.Symbol("n", positive=True), sp.Symbol("beta", positive=True)
    width = (4 + 2 * b) / (x**2 / 2 - x**3 / 3) * sp.log(n)
    at = [{n: 30, b: 1, x: 0.4}]
    c.equal(
        "at that width each tail is at most n^-(2 + beta)", width / 2 * (x**2 / 2 - x**3 / 3), (2 + b) * sp.log(n), at
    )
    one, two = a.certificate(), c.certificate()
    return Certificate(one.hypotheses + two.hypotheses, one.lines + two.lines, one.wrong + two.wrong)


def interval() -> Certificate:
    a = Argument()
    M = a.matrix("M", "n", "q", a.rng.standard_normal((3, 2)))
    D, k, x = a.nonnegative("D", 1.0), a.positive("k", 7.0), a.positive("b", 0.8)
    t = sq(M)
    a.at_most(
        "K = M M^T: the variance 2 |K|^2 / k over b^2 (tr K)^2 is at most 2 / (k b^2)",
        2 * sq(M * M.T) / k,
        2 * t**2 / k,
        (1 / k, swapped(M)),
    )
    a.wrong("a tenth", right=2 * t**2 / (10 * k))
    a.at_most(
        "signs: E (z^T K z)^2 at most 3 (tr K)^2, D the squared diagonal",
        t**2 + 2 * sq(M * M.T) - 2 * D,
        3 * t**2,
        swapped(M),
        2 * D,
    )
    d = a.positive(r"\delta", 0.1)
    a.identity("Chebyshev at b^2 = 2 / (k delta)", 2 / (k * (2 / (k * d))), d)
    s = a.positive("s", 0.5)
    a.at_most(
        "signs, lower tail: exponent -s b + 3 s^2 / (2 k) is least at s = b k / 3, where it is -b^2 k / 6",
        -(x**2) * k / 6,
        -s * x + 3 * s**2 / (2 * k),
        (3 / (2 * k), s - x * k / 3),
    )
    c = Calculation()
    chi_squared(c)
    one, two = a.certificate(), c.certificate()
    return Certificate(one.hypotheses + two.hypotheses, one.lines + two.lines, one.wrong + two.wrong)


PROOFS: dict[tuple[str, str], Proof] = {
    ("attribution_downdate", "sets of rows, by the block of the inverse"): Proof(Kind.ALGEBRA, downdate),
    ("attribution_leave_one_out", "as stated"): Proof(
        Kind.ALGEBRA, single, (), "a block of one row: its inverse is 1 / A_ii"
    ),
    ("leave_one_image_out", "as stated"): Proof(Kind.ALGEBRA, images),
    ("attribution_first_order", "small weights, small leverage"): Proof(
        Kind.ALGEBRA,
        first_order,
        (SPECTRAL,),
        "X with 0 <= X <= c has |X v| <= c |v| (lines of nystrom_bounds); Cauchy-Schwarz; tr L is at least its norm",
    ),
    ("predictive_variance", "primal and dual"): Proof(Kind.ALGEBRA, predictive),
    ("predictive_variance", "never grows with data"): Proof(Kind.ALGEBRA, variance_falls, (SPECTRAL,)),
    ("joint_variance", "as stated"): Proof(Kind.ALGEBRA, joint_variance, (SPECTRAL,)),
    ("joint_space", "as stated"): Proof(Kind.ALGEBRA, joint_space, (SPECTRAL,), "the first line added over logits"),
    ("one_cotangent", "as stated"): Proof(Kind.ALGEBRA, cotangent),
    ("lemma_c_1_cross_entropy", "labels of any sum"): Proof(Kind.ALGEBRA, cross_entropy, (CHAIN,)),
    ("training_rms_by_rows", "every multiplier"): Proof(
        Kind.ALGEBRA, by_rows, (SPECTRAL,), "mu > 0 in the lines; mu = 0 is the bound without rows"
    ),
    ("jl_hashed", "by the variance"): Proof(
        Kind.MOMENTS, hashed, (CHERNOFF,), "the variance of moments_countsketch, then Chebyshev"
    ),
    ("jl_signs", "as for Gaussian maps"): Proof(
        Kind.MOMENTS,
        signs,
        (CHERNOFF, GAUSSIAN),
        "upper tail: only even powers of entries have a mean, so no moment of a signed sum exceeds the Gaussian one and "
        "neither does E exp(t Q^2); lower tail: exp(-x) <= 1 - x + x^2 / 2 for x >= 0; n (n - 1) / 2 pairs, two tails",
    ),
    ("completed_rank", "the average of the rest"): Proof(
        Kind.ALGEBRA, completed, (SPECTRAL,), "Z with the top q eigenvectors of what it leaves are r + q directions"
    ),
    ("redundancy_by_energies", "the best subspace of r dimensions"): Proof(
        Kind.ALGEBRA,
        energies,
        (SPECTRAL,),
        "by induction over directions the whole is above; Ky Fan leaves at most rho_j behind j of them",
    ),
    ("trace_interval", "three kinds of estimate"): Proof(
        Kind.MOMENTS,
        interval,
        (CHERNOFF, GAUSSIAN),
        "a and b make each tail delta / 2. Gaussian: the tails of trace_concentration. Signs, above: E exp(t z^T K z) is "
        "a mean over Gaussian g of products of cosh, cosh x <= exp(x^2 / 2), so at most the Gaussian one; below: "
        "exp(-x) <= 1 - x + x^2 / 2. By the variance: Chebyshev",
    ),
}
