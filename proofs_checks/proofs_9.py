"""Certificates of section 9: a-posteriori bounds, held-out inputs, streams of rows, restricted solves, leverage."""

from types import SimpleNamespace

import numpy as np

from proofs_checks.algebra.argument import Argument, Certificate, half
from proofs_checks.algebra.proof import SPECTRAL, Kind, Proof
from proofs_checks.algebra.settings import onto, ridge
from proofs_checks.algebra.theory import Pair
from proofs_checks.algebra.words import Matrix, Scalar, sq, tr
from proofs_checks.proofs_3 import ROOTS, Parts, joined, two_blocks
from proofs_checks.proofs_b import over_smallest

__all__ = ["PROOFS"]


def residual(a: Argument) -> SimpleNamespace:
    """State ridge regression with any weights w = w_* + z and their residual H z."""
    r = ridge(a)
    z = a.vector("z", "P", a.rng.standard_normal(3))
    return SimpleNamespace(**vars(r), K=r.K, H=r.H, energy=r.energy, best=r.best, w=r.best + z, z=z, r=r.H * z)


def primal() -> Certificate:
    a = Argument()
    s = residual(a)
    a.identity("the residual is H (w - w_*)", s.F.T * (s.F * s.w - s.y) + s.l * s.w, s.r)
    D = Argument()
    X, x = D.matrix(r"\Phi", "n", "P", D.rng.standard_normal((4, 3))), D.vector("z", "P", D.rng.standard_normal(3))
    t, m = (
        D.positive(r"\lambda_1", float(np.linalg.norm(D.model.matrices[r"\Phi"], 2) ** 2)),
        D.positive(r"\lambda", 0.7),
    )
    G = D.root("G", t - X * X.T)
    s1 = D.slack("s", t * sq(x) - sq(X * x), "lambda_1 is the largest eigenvalue")
    D.at_most(
        "upper bound on the residual, squared",
        sq(X.T * X * x + m * x),
        (t + m) ** 2 * sq(x),
        G.T * X * x,
        (t + 2 * m) * s1,
    )
    D.wrong("l for lambda_1 + l", right=m**2 * sq(x))
    a.at_most("lower bound, squared", s.l**2 * sq(s.z), sq(s.r), s.F.T * s.F * s.z, (2 * s.l, s.F * s.z))
    a.at_most("training error, squared", sq(s.F * s.z), sq(s.r) / (4 * s.l), (1 / (4 * s.l), (s.F.T * s.F - s.l) * s.z))
    a.wrong("1/40", right=sq(s.r) / (400 * s.l))
    return joined(a, D)


def energy() -> Certificate:
    a = Argument()
    s = residual(a)
    w = s.w
    gap = s.energy(s.best + s.z) - s.energy(s.best)
    a.identity("identity, r = H z", gap, s.r.T * (s.S * s.r) / 2)
    a.wrong("without the half", right=s.r.T * s.S * s.r)
    a.at_most(
        "bound", s.r.T * s.S * s.r / 2, sq(s.r) / (2 * s.l), (1 / (2 * s.l), s.F.T * s.F * s.z), (half, s.F * s.z)
    )
    d = s.y - s.F * w
    dual = s.y.T * d - sq(d) / 2 - sq(s.F.T * d) / (2 * s.l)
    a.identity("the bound is the duality gap at y - Phi w", s.energy(w) - dual, sq(s.r) / (2 * s.l))
    return a.certificate()


class Subset:
    """H = H_S + W^T W, W the training rows left out; Y = H_S^-1 = J J^T, S = H^-1."""

    def __init__(self, contraction: bool = False) -> None:
        a = self.a = Argument()
        self.G = a.matrix(r"\Phi_S", "m", "P", a.rng.standard_normal((2, 3)))
        self.W = a.matrix("W", "q", "P", a.rng.standard_normal((3, 3)))
        self.l = a.positive(r"\lambda", 0.7)
        self.HS = self.G.T * self.G + self.l
        self.H = self.HS + self.W.T * self.W
        self.Y, self.S = a.inverse("Y", self.HS), a.inverse("S", self.H)
        self.J = a.root("J", self.Y)
        self.r, self.f = (
            a.vector("r", "P", a.rng.standard_normal(3)),
            a.vector(r"\varphi", "P", a.rng.standard_normal(3)),
        )

    def terms(self, x: Matrix) -> tuple:
        """x^T Y x - x^T S x as squares."""
        return (self.W * self.S * x, self.J.T * self.W.T * (self.W * self.S * x))


def pointwise() -> Certificate:
    s = Subset()
    a = s.a
    a.at_most("H_S below H turns round for inverses", s.r.T * s.S * s.r, s.r.T * s.Y * s.r, *s.terms(s.r))
    a.wrong("a tenth", right=s.r.T * s.Y * s.r / 10)
    Q = a.inverse("Q", s.G * s.G.T + s.l)
    for x in (s.f, s.r):
        a.identity("by kernel evaluations on S", x.T * s.Y * x, (sq(x) - (s.G * x).T * Q * (s.G * x)) / s.l)
    b = Argument()
    S = b.symmetric("S", "P", np.diag([1.0, 0.5, 0.2]) + 0.1)
    k, f, r = (
        b.root("k", S),
        b.vector(r"\varphi", "P", b.rng.standard_normal(3)),
        b.vector("r", "P", b.rng.standard_normal(3)),
    )
    u, v = k.T * f, k.T * r
    b.at_most(
        "Cauchy-Schwarz in S = k k^T, squared",
        (f.T * (k * v)) ** 2,
        (f.T * (k * u)) * (r.T * (k * v)),
        (half, u * v.T - v * u.T),
    )
    b.wrong("no error", right=Scalar(0))
    c = Argument()
    rd = ridge(c)
    z, f = c.vector("z", "P", c.rng.standard_normal(3)), c.vector(r"\varphi", "P", c.rng.standard_normal(3))
    r = rd.H * z
    terms = ((half, f * z.T - z * f.T), (1 / rd.l**2, f, rd.F.T * rd.F * z), (2 / rd.l, f, rd.F * z))
    c.at_most("B0, squared", (f.T * z) ** 2, sq(f) * sq(r) / rd.l**2, *terms)
    return joined(a, b, c)


def subset() -> Certificate:
    a = Argument()
    E1, E2 = two_blocks(a, "n", 3, 2)
    F, l = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((5, 3))), a.positive(r"\lambda", 0.7)
    G = E1.T * F
    a.at_most("rows of S, each once", G.T * G + l, F.T * F + l, E2.T * F)
    a.wrong("a row twice", left=4 * (G.T * G) + l)
    b = Argument()
    F = b.matrix(r"\Phi", "n", "P", b.rng.standard_normal((5, 3)))
    X = b.rng.standard_normal((5, 2))
    U = b.matrix("U", "n", "m", X / np.linalg.norm(X, 2) / 1.1)
    C, l = b.root("C", 1 - U * U.T), b.positive(r"\lambda", 0.7)
    b.at_most("a contraction, 1 - U U^T = C C^T", F.T * U * U.T * F + l, F.T * F + l, C.T * F)
    return joined(a, b)


def dual_residual() -> Certificate:
    a = Argument()
    r = ridge(a)
    x, f = a.vector(r"\rho", "n", a.rng.standard_normal(4)), a.vector(r"\varphi", "P", a.rng.standard_normal(3))
    v = a.vector(r"\hat\alpha", "n", a.rng.standard_normal(4))
    rho = (r.K + r.l) * v - r.y
    a.identity("the error is phi^T F^T R rho", f.T * (r.F.T * v) - f.T * r.best, f.T * (r.F.T * r.R * rho))
    u = r.F.T * r.R * x
    terms = ((half, f * u.T - u * f.T), (1 / (4 * r.l), f, (r.K - r.l) * r.R * x))
    a.at_most("first bound, squared", (f.T * u) ** 2, sq(f) * sq(x) / (4 * r.l), *terms)
    a.wrong("1/40", right=sq(f) * sq(x) / (400 * r.l))
    b = Argument()
    X = b.rng.standard_normal((4, 4))
    K = b.symmetric("K", "n", X @ X.T + 0.1 * np.eye(4))
    m, R, C = over_smallest(b, K)
    k, x = b.vector("k", "n", b.rng.standard_normal(4)), b.vector(r"\rho", "n", b.rng.standard_normal(4))
    terms = ((half, k * (x.T * R) - R * x * k.T), (2 / m, k, C.T * R * x), (1 / m**2, k, C * C.T * R * x))
    b.at_most(
        "second bound, squared, k = F phi, m = lambda + lambda_min", (k.T * R * x) ** 2, sq(k) * sq(x) / m**2, *terms
    )
    b.wrong("a thousandth", right=sq(k) * sq(x) / (1000 * m**2))
    return joined(a, b)


def evaluations() -> Certificate:
    a = Argument()
    F, Z = (
        a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3))),
        a.matrix(r"\Psi", "m", "P", a.rng.standard_normal((2, 3))),
    )
    b, y, l = (
        a.vector(r"\beta", "m", a.rng.standard_normal(2)),
        a.vector("y", "n", a.rng.standard_normal(4)),
        a.positive(r"\lambda", 0.7),
    )
    e = F * Z.T * b - y
    right = e.T * (F * F.T) * e + 2 * l * (e.T * (F * Z.T) * b) + l**2 * (b.T * (Z * Z.T) * b)
    a.identity("for arbitrary rows Psi", sq(F.T * (F * (Z.T * b) - y) + l * Z.T * b), right)
    a.wrong("without the middle term", right=right - 2 * l * (e.T * (F * Z.T) * b))
    return a.certificate()


def held_out() -> Certificate:
    a = Argument()
    A, x = a.matrix("A", "t", "P", a.rng.standard_normal((4, 3))), a.vector("x", "P", a.rng.standard_normal(3))
    tau = a.positive(r"\tau", float(np.linalg.norm(a.model.matrices["A"], 2) ** 2))
    C = a.root("C", tau - A * A.T)
    a.at_most(
        "A = Phi_t J, Y = J J^T, z = J x, tau the largest eigenvalue of A A^T",
        sq(A * x),
        tau * sq(x),
        (1 / tau, tau * x - A.T * A * x),
        (1 / tau, C.T * A * x),
    )
    a.wrong("a tenth", right=tau * sq(x) / 100)
    s = Subset()
    z = s.S * s.r
    s.a.at_most("z^T H_S z at most z^T H z", z.T * s.HS * z, z.T * s.H * z, s.W * z)
    s.a.identity("which is r^T S r", z.T * s.H * z, s.r.T * s.S * s.r)
    s.a.at_most("which is at most r^T Y r", s.r.T * s.S * s.r, s.r.T * s.Y * s.r, *s.terms(s.r))
    return joined(a, s.a)


def ellipsoid() -> Certificate:
    s = Subset()
    a = s.a
    d, z = s.S * s.r, s.Y * s.r
    a.at_most("d = H^-1 r", (d - z / 2).T * s.HS * (d - z / 2), s.r.T * z / 4, s.W * d)
    a.wrong("an eighth", right=s.r.T * z / 80)
    return a.certificate()


def agreement() -> Certificate:
    a = Argument()
    f, g, B, C = (
        a.real(r"\hat f_1", 2.0),
        a.real(r"\hat f_c", 0.5),
        a.nonnegative("B_1", 0.4),
        a.nonnegative("B_c", 0.3),
    )
    s, t, u = a.nonnegative("s", 0.1), a.nonnegative("t", 0.2), a.positive("u", 0.8)
    a.assume(f, g + B + C + u, "a lead of more than both bounds")
    one, other = f - B + s, g + C - t
    a.at_most("|f^ - f_*| <= B: what is left of the lead", u, one - other, s, t)
    a.wrong("all of it", left=f - g + s + t)
    return a.certificate()


def stream() -> Certificate:
    a = Argument()
    E1, E2 = two_blocks(a, "n", 3, 2)
    F1, F2 = (
        a.matrix(r"\Phi_1", "n_1", "P", a.rng.standard_normal((3, 3))),
        a.matrix(r"\Phi_2", "n_2", "P", a.rng.standard_normal((2, 3))),
    )
    y1, y2 = a.vector("y_1", "n_1", a.rng.standard_normal(3)), a.vector("y_2", "n_2", a.rng.standard_normal(2))
    w, l = a.vector("w", "P", a.rng.standard_normal(3)), a.positive(r"\lambda", 0.7)
    F, y = E1 * F1 + E2 * F2, E1 * y1 + E2 * y2
    right = l * w + F1.T * (F1 * w - y1) + F2.T * (F2 * w - y2)
    a.identity("one more block adds its part", l * w + F.T * (F * w - y), right)
    a.wrong("the last block alone", right=l * w + F2.T * (F2 * w - y2))
    A, v = a.matrix("A", "k", "P", a.rng.standard_normal((2, 3))), a.vector(r"\tilde w", "k", a.rng.standard_normal(2))
    a.identity("projected rows know the fitted values", F * (A.T * v), (F * A.T) * v)
    return a.certificate()


def refinement() -> Certificate:
    a = Argument()
    X = a.rng.standard_normal((4, 4))
    H = a.symmetric("H", "P", X @ X.T + np.eye(4))
    w, p, b = (a.vector(name, "P", a.rng.standard_normal(4)) for name in ("w", "p", "b"))
    q = a.positive("q", a.model.scalar(p.T * H * p))
    a.assume(p.T * H * p, q)
    r = H * w - b

    def J(x: Matrix) -> Scalar:
        return x.T * H * x / 2 - b.T * x

    step = -(r.T * p) / q
    a.at_most("an exact line search lowers the energy", J(w + step * p), J(w), (1 / (2 * q), r.T * p))
    a.wrong("a step of the other sign", left=J(w - step * p))
    return joined(a, conjugate())


def conjugate() -> Argument:
    """Preconditioned conjugate gradients, z = M r, directions p = -z + beta p_before: the step of the induction."""
    a = Argument()
    rng = a.rng
    X, Y = rng.standard_normal((5, 5)), rng.standard_normal((5, 5))
    h, m = X @ X.T + np.eye(5), Y @ Y.T + np.eye(5)
    H, M = a.symmetric("H", "P", h), a.symmetric("M", "P", m)
    points = _conjugate_gradients(h, m, rng.standard_normal(5))
    (_, _, p0, _), (r1, b1, p1, _), (r2, b2, p2, a2) = points[:3]
    e, f, g = a.vector("p_{i-1}", "P", p0), a.vector("p_i", "P", p1), a.vector("p", "P", p2)
    r, s = a.vector("r", "P", r2), a.vector("r_i", "P", r1)
    beta, alpha = a.real(r"\beta_i", b1), a.positive(r"\alpha", a2)
    q = a.positive("q", float(p2 @ h @ p2))
    for x in (e, f):
        a.assume(g.T * H * x, Scalar(0), "conjugate to the earlier directions")
    a.assume(g.T * H * g, q)
    a.assume(M * s, beta * e - f, "z_i = beta_i p_{i-1} - p_i")
    a.assume(r.T * f, beta * (r.T * e), "r is orthogonal to z_i")
    new = r + alpha * H * g
    a.identity("the new residual is orthogonal to every earlier z_i", new.T * (M * s), Scalar(0))
    a.wrong("orthogonal without the preconditioner", left=new.T * s)
    last = a.real(r"\beta", b2)
    z = last * f - g
    a.assume(r.T * g, last * (r.T * f) - alpha * q, "alpha = r^T z / q, z = beta p_i - p")
    a.identity("and to the last one", new.T * z, Scalar(0))
    return _both_conjugate(a)


def _both_conjugate(a: Argument) -> Argument:
    b = Argument()
    X = b.rng.standard_normal((5, 5))
    h = X @ X.T + np.eye(5)
    M = b.symmetric("M", "P", np.eye(5) + 0.2 * np.ones((5, 5)))
    H, m = b.symmetric("H", "P", h), b.model.matrices["M"]
    (r0, _, p0, a0), (r1, _, p1, _), (r2, _, _, _) = _conjugate_gradients(h, m, b.rng.standard_normal(5))[:3]
    u, v, w = b.vector("r_i", "P", r0), b.vector("r_{i+1}", "P", r1), b.vector(r"r^+", "P", r2)
    p = b.vector("p_i", "P", p0)
    alpha = b.positive(r"\alpha_i", a0)
    b.assume(H * p, (v - u) / alpha, "H p_i = (r_{i+1} - r_i) / alpha_i")
    b.assume(w.T * M * u, Scalar(0), "residuals orthogonal in M, i + 1 at most j")
    b.assume(w.T * M * v, Scalar(0))
    b.identity("the new direction -z^+ + beta p is conjugate to every earlier one", -(M * w).T * H * p, Scalar(0))
    b.wrong("orthogonal instead of conjugate", left=-(M * w).T * p)
    g, z = b.vector("p", "P", p1), b.vector("z^+", "P", m @ r2)
    q = b.positive("q", float(p1 @ h @ p1))
    b.assume(g.T * H * g, q)
    b.identity("and to the last one, beta = z^{+T} H p / q", (-z + (z.T * H * g) / q * g).T * H * g, Scalar(0))

    return Parts(a, b)


def _conjugate_gradients(h: np.ndarray, m: np.ndarray, r: np.ndarray) -> list[tuple]:
    found, p, beta = [], np.zeros_like(r), 0.0
    for _ in range(3):
        z = m @ r
        p = -z + beta * p
        alpha = float(r @ z / (p @ h @ p))
        found.append((r, beta, p, alpha))
        new = r + alpha * h @ p
        beta = float((new @ m @ new) / (r @ z))
        r = new
    return found


def rounding() -> Certificate:
    a = Argument()
    u, d, g = a.nonnegative("u", 0.01), a.nonnegative("d", 0.9), a.nonnegative("g", 0.1)
    a.assume(d, 1 - g, "g = (m + 1) u, d = 1 - g: gamma_m = m u / (1 - m u), 1 + gamma_m = 1 / (d + u)")
    a.at_most("(1 + gamma_m)(1 + u) <= 1 + gamma_(m+1), times denominators", (1 + u) * d, d + u, u * g)
    a.wrong("(1 + gamma_m)(1 + 20 u)", left=(1 + 20 * u) * d)
    n, P = a.positive("n", 5.0), a.positive("P", 3.0)
    a.identity(
        "roundings of one term: product, P - 1 sums, minus y, product, n - 1 sums, plus lambda w",
        1 + (P - 1) + 1 + 1 + (n - 1) + 1,
        n + P + 2,
    )
    b = Argument()
    A, x = (
        b.matrix(r"|\Phi|", "n", "P", np.abs(b.rng.standard_normal((4, 3)))),
        b.vector("|w|", "P", np.abs(b.rng.standard_normal(3))),
    )
    y = b.vector("|y|", "n", np.abs(b.rng.standard_normal(4)))

    def cross(m: Matrix, v: Matrix) -> Pair:
        return Pair(((Scalar(1), m, v.T, False), (Scalar(-1), m, v.T, True)))

    b.at_most("entries of |Phi|^T |y|, squared", sq(A.T * y), sq(A) * sq(y), (half, cross(A.T, y)))
    b.at_most(
        "|Phi|^T |Phi| |w|, squared",
        sq(A.T * (A * x)),
        sq(A) ** 2 * sq(x),
        (half, cross(A.T, A * x)),
        (half, A, cross(A, x)),
    )
    b.wrong("a twentieth", right=sq(A) ** 2 * sq(x) / 20)
    return joined(a, b)


class Inducing:
    """K = N N^T + M M^T, K_P = N N^T; R and Q the inverses of K + l and K_P + l, R = g g^T, Q = h h^T."""

    def __init__(self) -> None:
        a = self.a = Argument()
        self.N, self.M = (
            a.matrix("N", "n", "P", a.rng.standard_normal((4, 3))),
            a.matrix("M", "n", "P", a.rng.standard_normal((4, 3))),
        )
        self.l = a.positive(r"\lambda", 0.7)
        self.KP, self.E = self.N * self.N.T, self.M * self.M.T
        self.Q, self.R = a.inverse("R_P", self.KP + self.l), a.inverse("R", self.KP + self.E + self.l)


def inducing() -> Certificate:
    a = Argument()
    F, P = (
        a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3))),
        a.projector(r"\Pi", "P", onto(a.rng.standard_normal((3, 2)))),
    )
    l, y = a.positive(r"\lambda", 0.7), a.vector("y", "n", a.rng.standard_normal(4))
    Q = a.inverse("R_P", F * P * F.T + l)
    w = P * F.T * Q * y
    r = F.T * (F * w - y) + l * w
    a.identity("residual", r, -l * (1 - P) * F.T * Q * y)
    energy = (Q * y).T * (F * (1 - P) * F.T) * (Q * y)
    a.identity("its size", sq(r), l**2 * energy)
    a.wrong("l for l^2", right=l * energy)
    S = a.inverse("S", F.T * F + l)
    z = S * r
    a.at_most(
        "energy: J(w_P) - J(w_*) = r^T S r / 2", r.T * z / 2, sq(r) / (2 * l), (1 / (2 * l), F.T * F * z), (half, F * z)
    )
    b = Argument()
    rd = ridge(b)
    B = b.matrix("B", "P", "m", b.rng.standard_normal((3, 2)))
    h, span = b.model.matrix(rd.H), b.model.matrices["B"]
    c, v = (
        b.vector("c", "m", np.linalg.solve(span.T @ h @ span, span.T @ b.model.matrix(rd.F.T * rd.y))),
        b.vector("v", "m", b.rng.standard_normal(2)),
    )
    b.assume(B.T * (rd.H * (B * c)), B.T * (rd.F.T * rd.y), "w_P is stationary in the span")
    best, wp, other = rd.best, B * c, B * v

    def size(x: Matrix) -> Scalar:
        return sq(rd.F * x) + rd.l * sq(x)

    b.identity("J(w) - J(w_*) is half the H norm of the error", rd.energy(wp) - rd.energy(best), size(wp - best) / 2)
    d = other - wp
    b.at_most("Cea", size(wp - best), size(other - best), rd.F * d, (rd.l, d))
    return joined(a, b, fitted(), square())


def fitted() -> Argument:
    s = Inducing()
    a, l = s.a, s.l
    y = a.vector("y", "n", a.rng.standard_normal(4))
    a.identity("difference of the fitted values", (s.KP + s.E) * (s.R * y) - s.KP * (s.Q * y), l * (s.Q - s.R) * y)
    h = a.root("h", s.Q)
    a.at_most("R_P - R is positive", s.R, s.Q, s.M.T * s.R, h.T * s.E * s.R)
    b = Argument()
    N, t, C = (
        b.matrix("N", "n", "P", b.rng.standard_normal((4, 3))),
        b.positive("t", 2.0),
        b.matrix("C", "n", "q", b.rng.standard_normal((4, 2)) / 3),
    )
    T, R = b.inverse("R_2", N * N.T + t), b.inverse("R", N * N.T + t - C * C.T)
    g = b.root("g", R)
    b.at_most(
        "R is above R_2 = (K_P + e + lambda)^-1: e - E = C C^T, t = e + lambda", T, R, C.T * T, g.T * C * (C.T * T)
    )
    b.wrong("twice", left=3 * T)
    c = Argument()
    N, l, e = c.matrix("N", "n", "P", c.rng.standard_normal((4, 3))), c.positive(r"\lambda", 0.7), c.positive("e", 1.3)
    K, t = N * N.T, l + e
    Q, T = c.inverse("R_P", K + l), c.inverse("R_2", K + t)
    V, b1 = Q * T, 2 * l + e
    terms = ((e, K * K * V), (2 * e * b1, N.T * K * V), (e * (b1**2 + l * t), K * V), (e * b1 * l * t, N.T * V))
    one = Matrix.identity("n")
    c.at_most("lambda (R_P - R_2) is at most e / (lambda + e), times lambda + e", t * l * (Q - T), e * one, *terms)
    c.wrong("a tenth of it", right=e / 10 * one)
    return Parts(a, b, c)


def square() -> Argument:
    a = Argument()
    X = a.rng.standard_normal((4, 2))
    x = a.matrix("x", "n", "q", X)
    c = a.positive("c", float(np.linalg.norm(X, 2) ** 2))
    D = a.root("D", c - x * x.T)
    y = a.vector("y", "n", a.rng.standard_normal(4))
    Z = x * x.T
    a.at_most(
        "0 <= Z = x x^T <= c gives |Z y| <= c |y|, squared",
        sq(Z * y),
        c**2 * sq(y),
        (c - Z) * y,
        (2 / c, D.T * Z * y),
        (2 / c, x.T * (c - Z) * y),
    )
    a.wrong("a hundredth", right=c**2 * sq(y) / 100)
    return a


def dimension() -> Certificate:
    s = Inducing()
    a, l, N, M, Q, R = s.a, s.l, s.N, s.M, s.Q, s.R
    h, g = a.root("h", Q), a.root("g", R)
    left, right = tr(s.KP * Q), tr((s.KP + s.E) * R)
    a.at_most("not below that of K_P", left, right, (l, M.T * R), (l, h.T * s.E * R))
    a.wrong("twice", left=3 * left)
    terms = ((l, g.T * s.E * Q), (2, N.T * Q * M), (1 / l, N * N.T * Q * M))
    a.at_most("above by at most tr E / lambda", right, left + sq(M) / l, *terms)
    a.wrong("without tr E", right=left)
    return a.certificate()


def leverage() -> Certificate:
    a = Argument()
    r = ridge(a)
    e = a.vector("e_i", "n", np.eye(4)[0])
    a.identity("leverage in parameters, phi = F^T e_i", e.T * (r.K * r.R) * e, (r.F.T * e).T * r.S * (r.F.T * e))
    s = Subset()
    Q = s.a.inverse("Q", s.G * s.G.T + s.l)
    s.a.at_most("every training subset", s.f.T * s.S * s.f, s.f.T * s.Y * s.f, *s.terms(s.f))
    s.a.wrong("a tenth", right=s.f.T * s.Y * s.f / 10)
    s.a.identity("by kernel evaluations on S", s.f.T * s.Y * s.f, (sq(s.f) - (s.G * s.f).T * Q * (s.G * s.f)) / s.l)
    return joined(a, s.a)


def leave_one_out() -> Certificate:
    a = Argument()
    eye, X = np.eye(4), a.rng.standard_normal((4, 4))
    K = a.symmetric("K", "n", X @ X.T)
    E, e = a.matrix("E", "n", "q", eye[:, 1:]), a.vector("e", "n", eye[:, 0])
    l, eta, v = a.positive(r"\lambda", 0.7), a.real("y_i", 0.8), a.vector("v", "q", a.rng.standard_normal(3))
    a.assume(e.T * e, 1)
    a.assume(E.T * E, 1)
    a.assume(E.T * e, 0 * (E.T * e))
    a.assume(E * E.T, 1 - e * e.T, "E selects the other rows")
    R = a.inverse("R", K + l)
    y = E * (E.T * K * E * v + l * v) + eta * e
    a.identity("y: at the other rows the targets that v fits without row i", E.T * y, (E.T * K * E + l) * v)
    s = e.T * R * e
    a.identity("the residual times the diagonal of the inverse", (eta - e.T * K * E * v) * s, e.T * R * y)
    a.wrong("without the diagonal", right=eta - e.T * K * E * v)
    return a.certificate()


PROOFS: dict[tuple[str, str], Proof] = {
    ("certificate_primal", "weights and training error"): Proof(Kind.ALGEBRA, primal, (SPECTRAL,), ROOTS),
    ("certificate_primal", "energy"): Proof(Kind.ALGEBRA, energy),
    ("certificate_primal", "pointwise B0 and B3"): Proof(Kind.ALGEBRA, pointwise, (SPECTRAL,), ROOTS),
    ("certificate_subset", "training rows or a contraction"): Proof(Kind.ALGEBRA, subset, (SPECTRAL,)),
    ("certificate_dual", "dual residual"): Proof(Kind.ALGEBRA, dual_residual, (SPECTRAL,), ROOTS),
    ("certificate_dual", "kernel evaluations only"): Proof(Kind.ALGEBRA, evaluations),
    ("certificate_held_out", "held-out RMS"): Proof(
        Kind.ALGEBRA, held_out, (SPECTRAL,), "the lines one after the other; " + ROOTS
    ),
    ("certificate_held_out", "ellipsoid"): Proof(Kind.ALGEBRA, ellipsoid),
    ("certificate_held_out", "class agreement"): Proof(Kind.ALGEBRA, agreement),
    ("certificate_streaming", "blocks"): Proof(Kind.ALGEBRA, stream, (), "by induction over blocks"),
    ("certificate_refinement", "energy"): Proof(
        Kind.ALGEBRA,
        refinement,
        (),
        "by induction residuals are orthogonal in M, so at most P of them are not zero: after P steps w = w_*",
    ),
    ("certificate_rounding", "allowance, all roundings counted"): Proof(
        Kind.ALGEBRA,
        rounding,
        (),
        "by induction m factors 1 + delta differ from 1 by at most gamma_m; every term of fl(r) has at most n + P + 2; "
        "norms of the sums of absolute terms",
    ),
    ("nystrom_bounds", "restricted solve"): Proof(
        Kind.ALGEBRA, inducing, (SPECTRAL,), "Z = lambda (R_P - R) with c = e / (lambda + e), by the three lines before"
    ),
    ("effective_dimension", "effective dimension"): Proof(Kind.ALGEBRA, dimension, (SPECTRAL,)),
    ("effective_dimension", "leverage"): Proof(Kind.ALGEBRA, leverage, (SPECTRAL,)),
    ("effective_dimension", "leave-one-out"): Proof(Kind.ALGEBRA, leave_one_out),
}
