"""Certificates of Appendices A and B: ridge regression, error decomposition, projection error, redundancy of parameters.

One file because the proofs of the appendices share the lemmas on resolvents.
"""

import numpy as np

from proofs_checks.algebra.argument import Argument, Certificate, half
from proofs_checks.algebra.proof import CHAIN, JENSEN, SPECTRAL, Kind, Proof
from proofs_checks.algebra.settings import cut, onto, ridge, top_of
from proofs_checks.algebra.words import Matrix, Scalar, sq, tr
from proofs_checks.proofs_3 import ROOTS, joined, swapped

__all__ = ["PROOFS", "Tail", "over_smallest", "products"]


def dual_primal() -> Certificate:
    a = Argument()
    r = ridge(a)
    a.identity("dual form = primal form", r.F.T * r.R * r.y, r.S * r.F.T * r.y)
    a.identity("(16): the coefficients R y solve (K + lambda) alpha = y", (r.K + r.l) * (r.R * r.y), r.y)
    n, k = a.positive("n", 4.0), a.positive("k", 3.0)
    a.identity("mean loss: lambda = n lambda_B", (r.F.T * r.F / n + r.l / n) * (r.S * r.F.T * r.y), r.F.T * r.y / n)
    a.wrong("lambda_B = lambda", left=(r.F.T * r.F / n + r.l) * (r.S * r.F.T * r.y))
    f = a.vector(r"\varphi", "P", a.rng.standard_normal(3))
    dual = k * r.R * r.y
    a.identity("kernel divided by k, lambda = k lambda_k: coefficients", (r.K / k + r.l / k) * dual, r.y)
    a.identity("and the same prediction", f.T * (r.F.T / k) * dual, f.T * r.best)
    return a.certificate()


def woodbury() -> Certificate:
    a = Argument()
    r = ridge(a)
    a.identity("multiplied out", (r.K + r.l) * ((1 - r.F * r.S * r.F.T) / r.l), Matrix.identity("n"))
    a.identity("(17)", r.R, (1 - r.F * r.S * r.F.T) / r.l)
    a.wrong("without 1 / lambda", right=1 - r.F * r.S * r.F.T)
    return a.certificate()


def rank_r() -> Certificate:
    a = Argument()
    values, vectors = np.linalg.eigh((lambda x: x @ x.T)(a.rng.standard_normal((5, 5))))
    U, L = a.matrix("U_r", "n", "r", vectors[:, 3:]), a.symmetric(r"\Lambda_r", "r", np.diag(values[3:]))
    a.assume(U.T * U, 1)
    l = a.positive(r"\lambda", 0.7)
    N = a.inverse("N", L + l)
    k, y = a.vector("k", "n", a.rng.standard_normal(5)), a.vector("y", "n", a.rng.standard_normal(5))
    inverse = U * N * U.T + (1 - U * U.T) / l
    a.identity(
        "the inverse of K_r + lambda, K_r = U_r Lambda_r U_r^T", (U * L * U.T + l) * inverse, Matrix.identity("n")
    )
    a.wrong("without the tail", left=(U * L * U.T + l) * (U * N * U.T))
    tail = k.T * (1 - U * U.T) * y / l
    a.identity("the substitution with its tail of size 1 / lambda", k.T * inverse * y, k.T * U * N * U.T * y + tail)
    a.identity(
        "with the test row truncated too: the first r modes", (U * (U.T * k)).T * inverse * y, k.T * U * N * U.T * y
    )
    return a.certificate()


def telescope() -> Certificate:
    a = Argument()
    f, s, b, v = (a.real(name, x) for name, x in (("f", 1.0), ("f^*", 0.4), (r"f_\lambda", 0.7), (r"\hat f", -0.2)))
    a.identity("the three differences add up", f - v, (f - s) + (s - b) + (b - v))
    a.wrong("the last one reversed", right=(f - s) + (s - b) + (v - b))
    return a.certificate()


def factor_3() -> Certificate:
    a = Argument()
    x, b, v = (
        a.vector(name, "N", a.rng.standard_normal(4)) for name in (r"\varepsilon_a", r"\varepsilon_b", r"\varepsilon_v")
    )
    a.at_most(
        "entries: values on the sample space times roots of weights",
        sq(x + b + v),
        3 * (sq(x) + sq(b) + sq(v)),
        x - b,
        x - v,
        b - v,
    )
    a.wrong("factor 1/10", right=(sq(x) + sq(b) + sq(v)) / 10)
    return a.certificate()


def approximation() -> Certificate:
    a = Argument()
    F, f = a.matrix(r"\Phi", "N", "P", a.rng.standard_normal((5, 3))), a.vector("f", "N", [1.0, -2, 0.5, 2, -1.5])
    D = a.pseudo_inverse("D", F.T * F)
    a.vanish("the pseudo-inverse of Sigma = Phi^T Phi reproduces Phi", F * D * F.T * F - F)
    best = F * (D * (F.T * f))
    a.identity("approximation error", sq(f - best), sq(f) - f.T * F * D * F.T * f)
    a.wrong("without the square root's half", right=sq(f) + f.T * F * D * F.T * f)
    a.identity("E f_*^2 is what is explained", sq(best), f.T * F * D * F.T * f)
    w = a.vector("w", "P", a.rng.standard_normal(3))
    a.at_most("f_* is the best linear fit", sq(f - best), sq(f - F * w), best - F * w)
    b = Argument()
    e, v, mean = b.nonnegative("e", 0.6), b.positive("v", 2.0), b.real("m", 0.0)
    b.assume(mean, Scalar(0), "E f = 0")
    b.identity("Var f (1 - R^2), R^2 = E f_*^2 / E f^2", v - e, (v - mean**2) * (1 - e / v))
    return joined(a, b)


def bias_low(b: Argument) -> None:
    """For s <= 1/2: a = 1/2 + s, b = 1/2 - s, N = lambda^b, Q = lambda^a, c = a^a b^b, mu^a = c v / N."""
    mu, lam, s = 0.8, 0.5, 0.25
    x, y = 0.5 + s, 0.5 - s
    values = ((r"\lambda^b", lam**y), (r"\lambda^a", lam**x), ("c", x**x * y**y))
    N, Q, c = (b.positive(name, value) for name, value in values)
    d = b.positive("d", mu + lam)
    t = b.nonnegative("t", mu + lam - (mu**x * lam**y) / (x**x * y**y))
    v = b.nonnegative("v", (mu**x * lam**y) / (x**x * y**y))
    b.assume(v, d - t, "Jensen: v = (mu/a)^a (lambda/b)^b <= a (mu/a) + b (lambda/b) = d, d = mu + lambda")
    right = Q**2 * c**2
    left = (N * Q) ** 2 * (c * v / N) ** 2 / d**2
    b.identity("one mode: lambda^2 mu^(1+2s) / d^2, lambda = N Q", left, right * v**2 / d**2)
    b.at_most(
        "at most c^2 lambda^(1+2s), s <= 1/2",
        right * v**2 / d**2,
        right,
        right * t**2 / d**2,
        2 * right * t * v / d**2,
    )
    b.wrong("a tenth of the constant", right=right / 10)


def bias_high(b: Argument) -> None:
    """For s >= 1/2: m = mu^(2s-1) <= |Sigma|^(2s-1) = z."""
    lam, d, m, u = b.positive(r"\lambda", 0.5), b.positive("d", 1.3), b.nonnegative("m", 0.8), b.nonnegative("u", 0.3)
    mu = b.nonnegative(r"\mu", 0.8)
    b.assume(mu, d - lam, "d = mu + lambda")
    z = m + u
    b.at_most(
        "one mode, s >= 1/2", lam**2 * mu**2 * m / d**2, lam**2 * z, lam**2 * u, lam**3 * m * (lam + 2 * mu) / d**2
    )
    b.wrong("lambda^4", right=lam**4 * z / 10)


def bias_all() -> Certificate:
    a, b, c = Argument(), Argument(), Argument()
    bias_low(a)
    bias_high(b)
    P, lam = c.symmetric(r"\Sigma", "P", np.diag([2.0, 1.0, 0.1])), c.positive(r"\lambda", 0.5)
    S, w = c.inverse("S", P + lam), c.vector("w^*", "P", c.rng.standard_normal(3))
    c.identity("the bias", w - S * P * w, lam * S * w)
    c.wrong("without lambda", right=S * w)
    return joined(c, a, b)


def bias_to_one() -> Certificate:
    a, b, c = Argument(), Argument(), Argument()
    bias_low(a)
    bias_high(b)
    p, q, w = c.nonnegative("p", 0.2), c.nonnegative("q", 0.4), c.nonnegative("w", 0.7)
    x, lam = c.nonnegative("c^2", 0.8), c.nonnegative(r"\lambda", 0.6)
    c.assume(x, 1 - p, "a^a b^b <= 1")
    c.assume(lam, 1 - q, "lambda at most 1")
    c.at_most("s <= 1/2: c^2 lambda^(1+2s) <= lambda^(2s) = w", x * lam * w, w, p * w, x * q * w)
    c.at_most("s >= 1/2: lambda^2 = lambda^(2s) lambda^(2-2s), the second l <= 1", w * lam, w, w * q)
    c.wrong("half", right=w / 2)
    return joined(a, b, c)


def finite_width() -> Certificate:
    a = Argument()
    B = a.matrix(r"\Phi_S", "m", "P", a.rng.standard_normal((3, 4)))
    D = a.pseudo_inverse("D", B * B.T)
    P = B.T * D * B
    w, f = (
        a.vector("w", "P", a.rng.standard_normal(4)),
        a.vector(r"\varphi", "P", a.model.matrix(P) @ a.rng.standard_normal(4)),
    )
    a.vanish("rows are kept", P * B.T - B.T)
    a.assume(B.T * (D * (B * f)), f, "the gradients of the chosen inputs span every gradient")
    a.identity("an element phi^T w is sum alpha_i K(x_i, .), alpha = D Phi_S w", f.T * (B.T * (D * (B * w))), f.T * w)
    a.wrong("alpha = Phi_S w", left=f.T * (B.T * (B * w)))
    Q = a.projector(r"\Pi", "P", onto(a.rng.standard_normal((4, 3))))
    a.at_most("dimension of the span: tr of a projector at most P", tr(Q), tr(Matrix.identity("P")), 1 - Q)
    return a.certificate()


def over_smallest(a: Argument, K: Matrix, name: str = "") -> tuple[Scalar, Matrix, Matrix]:
    """State R = (K + lambda)^-1, m = lambda + lambda_min(K): returns m, R, and C with K + lambda = m + C C^T."""
    l = a.positive(r"\lambda", 0.5)
    low = max(float(np.linalg.eigvalsh(a.model.matrix(K))[0]), 0.0)
    R = a.inverse(f"R{name}", K + l)
    m = a.positive(f"m{name}", 0.5 + low)
    C = a.root(f"C{name}", K + l - m)
    return m, R, C


def _shrinks(m: Scalar, R: Matrix, C: Matrix, x: Matrix) -> list[tuple]:
    """|x|^2 / m^2 - |R x|^2 as squares."""
    return [(2 / m, C.T * R * x), (1 / m**2, C * C.T * R * x)]


def _kernel(a: Argument, name: str, n: int) -> Matrix:
    x = a.rng.standard_normal((n, n))
    return a.symmetric(name, "n", x @ x.T + 0.1 * np.eye(n))


def first_term() -> Certificate:
    a = Argument()
    K, N = _kernel(a, "K", 4), _kernel(a, r"\tilde K", 4)
    m, R, C = over_smallest(a, K)
    x, y = a.vector("x", "n", a.rng.standard_normal(4)), a.vector("y", "n", a.rng.standard_normal(4))
    terms = [(half, x * (y.T * R) - R * y * x.T), *((f, x, z) for f, z in _shrinks(m, R, C, y))]
    a.at_most("x = k_* - k~_*, squared", (x.T * R * y) ** 2, sq(x) * sq(y) / m**2, *terms)
    a.wrong("m^4 for m^2", right=sq(x) * sq(y) / (m**4 * 1000))
    b = Argument()
    K, N = _kernel(b, "K", 4), _kernel(b, r"\tilde K", 4)
    l = b.positive(r"\lambda", 0.5)
    R, Q = b.inverse("R", K + l), b.inverse(r"\tilde R", N + l)
    k, z, y = (b.vector(name, "n", b.rng.standard_normal(4)) for name in ("k", r"\tilde k", "y"))
    b.identity("the split of this order", k.T * R * y - z.T * Q * y, (k - z).T * R * y + z.T * (R - Q) * y)
    b.wrong("both terms with the same kernel", right=(k - z).T * R * y)
    return joined(a, b)


def both_smallest() -> Certificate:
    a = Argument()
    K, N = _kernel(a, "K", 3), _kernel(a, r"\tilde K", 3)
    m, R, C = over_smallest(a, K)
    o, Q, O = over_smallest(a, N, "~")
    size = a.positive("d", float(np.linalg.norm(a.model.matrix(K - N), 2)))
    G = a.root("G", size**2 - (K - N) * (K - N))
    k, y = a.vector(r"\tilde k", "n", a.rng.standard_normal(3)), a.vector("y", "n", a.rng.standard_normal(3))
    a.identity("difference of the inverses", R - Q, R * (N - K) * Q)
    v = (N - K) * Q * y
    z = R * v
    inner = [
        (2 * size**2 / (m**2 * o), O.T * Q * y),
        (size**2 / (m**2 * o**2), O * O.T * Q * y),
        (1 / m**2, G.T * Q * y),
        *_shrinks(m, R, C, v),
    ]
    bound = size**2 / (m**2 * o**2) * sq(k) * sq(y)
    a.at_most(
        "second term, squared; d = |K - K~|",
        (k.T * z) ** 2,
        bound,
        (half, k * z.T - z * k.T),
        *((f, k, x) for f, x in inner),
    )
    a.wrong("a ten-thousandth", right=bound / 10**6)
    return joined(a, _first())


def _first() -> Argument:
    a = Argument()
    K = _kernel(a, "K", 4)
    m, R, C = over_smallest(a, K)
    x, y = a.vector("x", "n", a.rng.standard_normal(4)), a.vector("y", "n", a.rng.standard_normal(4))
    terms = [(half, x * (y.T * R) - R * y * x.T), *((f, x, z) for f, z in _shrinks(m, R, C, y))]
    a.at_most("first term, squared", (x.T * R * y) ** 2, sq(x) * sq(y) / m**2, *terms)
    return a


def coefficients() -> Certificate:
    a = Argument()
    r = ridge(a)
    K = _kernel(a, "K", 4)
    Q = a.inverse("Q", K + r.l)
    f, k = a.vector(r"\varphi", "P", a.rng.standard_normal(3)), a.vector("k", "n", a.rng.standard_normal(4))
    alpha = Q * r.y
    z = r.F * f
    a.identity(
        "the split: R~ is R, alpha = (K + lambda)^-1 y",
        k.T * alpha - z.T * r.R * r.y,
        (k - z).T * alpha + f.T * (r.F.T * r.R * (r.K - K) * alpha),
    )
    a.wrong("the second term reversed", right=(k - z).T * alpha - f.T * (r.F.T * r.R * (r.K - K) * alpha))
    x = a.vector("x", "n", a.rng.standard_normal(4))
    u = r.F.T * r.R * x
    a.at_most(
        "the second term, squared, x = (K~ - K) alpha",
        (f.T * u) ** 2,
        sq(f) * sq(x) / (4 * r.l),
        (half, f * u.T - u * f.T),
        (1 / (4 * r.l), f, (r.K - r.l) * r.R * x),
    )
    a.wrong("1/40", right=sq(f) * sq(x) / (4000 * r.l))
    return a.certificate()


class Tail:
    """H = F^T F, V the projector onto its top r eigenvectors, the tail below a, the head above b."""

    def __init__(self) -> None:
        a = self.a = Argument()
        self.F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 5)))
        self.K = self.F * self.F.T
        H = self.H = self.F.T * self.F
        values = np.linalg.eigvalsh(a.model.matrix(H))[::-1]
        self.V = a.projector("V", "P", cut(a.model.matrix(H), 2))
        a.assume(self.V * H, H * self.V, "V projects onto eigenvectors")
        self.top, self.low = a.positive("b", float(values[1])), a.nonnegative("a", float(values[2]))
        self.C = a.root("C", (self.low - H) * (1 - self.V))
        self.n = tr(Matrix.identity("n"))
        self.trace, self.tail = sq(self.F), tr((1 - self.V) * H)
        self.epsilon = a.nonnegative(r"\epsilon", a.model.scalar(self.tail) / a.model.scalar(self.trace) + 0.01)
        self.total = a.nonnegative("t", a.model.scalar(self.trace))
        a.assume(tr(self.K), self.total, "t = tr K")
        self.s = a.slack("s", self.epsilon * self.total - self.tail, "V holds the share 1 - epsilon")
        self.E = self.F * (1 - self.V) * self.F.T

    def squares(self) -> None:
        """(23) and (24)."""
        self.a.identity("(23): the error is the tail", sq(self.E), tr((1 - self.V) * self.H * self.H))
        self.a.at_most("(24)", sq(self.E), self.low * self.tail, self.F * self.C)

    @property
    def flat(self) -> Matrix:
        """K minus its mean eigenvalue."""
        return self.K - self.total / self.n


def b_6_r1() -> Certificate:
    s = Tail()
    s.squares()
    a, t = s.a, s.total
    a.at_most("(25), times n", t**2, s.n * sq(s.K), (s.n, s.flat))
    a.at_most(
        "combined, squared and times the denominators",
        t * sq(s.E),
        s.epsilon * s.low * s.n * sq(s.K),
        (t, s.F * s.C),
        t * s.low * s.s,
        (s.epsilon * s.low * s.n, s.flat),
    )
    a.wrong("a hundredth", right=s.epsilon * s.low * s.n * sq(s.K) / 100)
    return a.certificate()


def b_6_r2() -> Certificate:
    s = Tail()
    s.squares()
    a, M = s.a, s.F * (1 - s.V)
    a.identity("the tail is |M|^2, M = F (1 - V)", sq(M), s.tail)
    a.at_most("(24), R2", sq(s.E), sq(M) ** 2, (half, swapped(M)))
    a.at_most("(25), times n", s.total**2, s.n * sq(s.K), (s.n, s.flat))
    terms = ((half, swapped(M)), s.s**2, (2 * s.s, M), (s.epsilon**2 * s.n, s.flat))
    a.at_most("combined, squared", sq(s.E), s.epsilon**2 * s.n * sq(s.K), *terms)
    a.wrong("a hundredth", right=s.epsilon**2 * s.n * sq(s.K) / 100)
    return a.certificate()


def improved_gap() -> Certificate:
    s = Tail()
    s.squares()
    a = s.a
    D = a.root("D", (s.H - s.top) * s.V)
    a.at_most("the head", s.top * tr(s.V * s.H), tr(s.V * s.H * s.H), s.F * D)
    b = Argument()
    kappa, low, T, e, d = (
        b.nonnegative(r"\kappa", 0.5),
        b.positive("b", 2.0),
        b.nonnegative("T", 9.0),
        b.nonnegative(r"\epsilon", 0.2),
        b.positive("d", 0.8),
    )
    x, y, z, g = (b.nonnegative(n, v) for n, v in (("x", 0.3), ("y", 0.2), ("z", 0.1), ("g", 0.5)))
    b.assume(e, 1 - d, "d = 1 - epsilon")
    b.assume(kappa, 1 - g, "kappa = a / b at most 1")
    t = e * T - z
    A, B = kappa * low * t - y, low * (T - t) + x
    b.at_most(
        "A <= a t, B >= b (T - t), t <= epsilon T: the gap form",
        A * (d + kappa * e),
        kappa * e * (A + B),
        kappa * e * x,
        d * y,
        kappa * low * z,
    )
    b.wrong("a third", right=kappa * e * (A + B) / 3)
    b.at_most("at most epsilon", kappa * e, e * (d + kappa * e), e * d * g)
    return joined(a, b)


def improved_mean() -> Certificate:
    s = Tail()
    s.squares()
    a = s.a
    r = a.positive("r", 2.0)
    a.assume(tr(s.V), r)
    head = tr(s.V * s.H)
    a.at_most("Cauchy-Schwarz on the first r", head**2, r * tr(s.V * s.H * s.H), (r, s.V * s.H - head / r * s.V))
    b = Argument()
    low, T, d, r, e = (
        b.nonnegative("a", 1.0),
        b.nonnegative("T", 9.0),
        b.positive("d", 0.8),
        b.positive("r", 3.0),
        b.nonnegative(r"\epsilon", 0.2),
    )
    y, z, x = (b.nonnegative(n, v) for n, v in (("y", 0.2), ("z", 0.1), ("x", 0.3)))
    b.assume(e, 1 - d, "d = 1 - epsilon")
    t = e * T - z
    A, B = b.nonnegative("A", b.model.scalar(low * t - y)), ((T - t) ** 2 + x) / r
    b.assume(A, low * t - y, "A <= a t")
    terms = (T * d**2 * y, T * low * d**2 * z, e * low * x, e * low * r * A, e * low * (z**2 + 2 * z * d * T))
    b.at_most("r B >= (T - t)^2: the mean form, times (1 - epsilon)^2 T", A * d**2 * T, e * low * r * (A + B), *terms)
    b.wrong("without the factor r", right=e * low * B / 9)
    return joined(a, b)


def kept_eigenvalues() -> Certificate:
    a = Argument()
    names = (("x", 0.3), ("y", 0.2), ("z", 0.1), ("u", 0.4), ("v", 0.2))
    x, y, z, u, v = (a.nonnegative(n, w) for n, w in names)
    e, T, d, p = (
        a.nonnegative(r"\epsilon", 0.3),
        a.nonnegative(r"\tilde T", 9.0),
        a.positive("d", 0.8),
        a.positive("p", 1.2),
    )
    tail = e * T - z
    t, total = (tail - x) / d, (T + u) / p
    a.at_most("the tail: d = 1 - e, p = 1 + e, kept sums", d * t, e * p * total, z, e * u, x)
    a.wrong("half of it", right=e * p * total / 2)
    low, n = a.nonnegative(r"\tilde a", 1.0), a.positive("n", 6.0)
    squares = low * tail - y
    A, S = (squares - x) / d**2, ((T**2 + v) / n + u) / p**2
    terms = (T * x, T * y, T * low * z, e * low * v, e * low * n * u)
    a.at_most("the share of squares, times the denominators", T * A * d**2, e * low * n * p**2 * S, *terms)
    b = Argument()
    lam, d, s = b.nonnegative(r"\lambda_i", 0.7), b.positive("d", 0.8), b.nonnegative("s", 0.1)
    b.at_most("squares of kept eigenvalues, one mode", (d * lam) ** 2, (d * lam + s) ** 2, s**2, 2 * d * lam * s)
    b.wrong("half", right=(d * lam + s) ** 2 / 2)
    c = Tail()
    c.squares()
    c.a.at_most("(25), times n", c.total**2, c.n * sq(c.K), (c.n, c.flat))
    return joined(a, b, c.a)


def theorem_r() -> Certificate:
    a = Argument()
    eye = np.eye(6)
    E = a.matrix("E_h", "P", "h", eye[:, 3:5])
    B = a.matrix("E_b", "P", "q", eye[:, :3])
    e = a.vector("e", "P", eye[:, 5])
    a.assume(E.T * E, 1)
    a.assume(E.T * B, 0 * (E.T * B))
    a.assume(e.T * e, 1)
    a.assume(E.T * e, 0 * (E.T * e))
    a.assume(B.T * e, 0 * (B.T * e))
    h, W, g = (
        a.vector("h", "h", a.rng.standard_normal(2)),
        a.vector("W", "h", a.rng.standard_normal(2)),
        a.vector("g", "q", a.rng.standard_normal(3)),
    )
    b = a.real("b", 0.7)
    phi, w = B * g + E * h + e, E * W + b * e
    a.identity("phi = (body gradient, h, 1), w_0 = (0, W, b)", phi.T * w, h.T * W + b)
    a.wrong("without the bias", right=h.T * W)
    c = Argument()
    P, w = c.projector(r"\Pi", "P", onto(c.rng.standard_normal((4, 2)))), c.vector("w_0", "P", c.rng.standard_normal(4))
    c.at_most("the norm in H_K is that of the projection", sq(P * w), sq(w), (1 - P) * w)
    d = Argument()
    x, S = d.positive("x", 2.0), d.positive("S", 1.5)
    d.identity(
        "Euler: weights 1 / (x S) of layers with x = |theta_l|^2, S the sum of 1 / x",
        x * (1 / (x * S)) ** 2,
        1 / x / S**2,
    )
    return joined(a, c, d)


def sharp() -> Certificate:
    a = Argument()
    F, e = a.matrix(r"\Phi", "N", "P", a.rng.standard_normal((5, 3))), a.vector("e", "M", np.sqrt([0.3, 0.5, 0.2]))
    f = a.vector(r"\varepsilon_a", "N", (np.eye(5) - onto(a.model.matrices[r"\Phi"])) @ a.rng.standard_normal(5))
    D = a.matrix("D", "P", "M", a.rng.standard_normal((3, 3)))
    a.assume(e.T * e, 1, "weights of samples add to one")
    a.assume(F.T * f, 0 * (F.T * f), "normal equations of f_*")
    a.identity("no cross term: columns of D are w^* - w^ of a sample", sq(f * e.T + F * D), sq(f) + sq(F * D))
    a.wrong("with twice the first", right=2 * sq(f) + sq(F * D))
    b, v, x = (
        a.vector("b", "K", a.rng.standard_normal(4)),
        a.vector("v", "K", a.rng.standard_normal(4)),
        a.positive("a", 0.5),
    )
    a.at_most("bias and variance, any a > 0", sq(b + v), (1 + x) * sq(b) + (1 + 1 / x) * sq(v), (x, b - v / x))
    return a.certificate()


def variance_identity() -> Certificate:
    a = Argument()
    F, n, l = (
        a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3))),
        a.positive("n", 4.0),
        a.positive(r"\lambda", 0.5),
    )
    X = a.rng.standard_normal((3, 3))
    G = a.symmetric(r"\Sigma", "P", X @ X.T)
    H = F.T * F / n
    A, S = a.inverse(r"\hat S", H + l), a.inverse("S", G + l)
    w, e = a.vector("w^*", "P", a.rng.standard_normal(3)), a.vector(r"\epsilon", "n", a.rng.standard_normal(4))
    soft = S * (G * w)
    left = A * (F.T * (F * w + e) / n) - soft
    a.identity("for every sample", left, A * ((H - G) * (w - soft) + F.T * e / n))
    a.wrong("without the design term", right=A * F.T * e / n)
    return a.certificate()


def conditional() -> Certificate:
    a = Argument()
    X, Y = a.rng.standard_normal((3, 3)), a.rng.standard_normal((3, 3))
    G = a.matrix("G", "P", "q", X)
    l = a.positive(r"\lambda", 0.5)
    Q = a.symmetric(r"\hat\Sigma", "P", 0.6 * X @ X.T + 0.1 * Y @ Y.T)
    A, S = a.inverse(r"\hat S", Q + l), a.inverse("S", G * G.T + l)
    C = a.root("C", Q + l - (G * G.T + l) / 2)
    h = a.root("h", S)
    a.at_most("first step", A * Q * A, A, (l, A))
    a.at_most(
        "second step: on the event Sigma^ + lambda = (Sigma + lambda) / 2 + C C^T",
        A,
        2 * S,
        C.T * A,
        (2, h.T * C * (C.T * A)),
    )
    a.wrong("without the 2", right=S / 20)
    a.at_most(
        "the noise part, Sigma = G G^T, d_eff = tr Sigma S",
        tr(G.T * A * Q * A * G),
        2 * tr(G.T * S * G),
        (l, A * G),
        C.T * A * G,
        (2, h.T * C * (C.T * A * G)),
    )
    a.wrong("half of d_eff", right=tr(G.T * S * G) / 20)
    return a.certificate()


def decay() -> Certificate:
    a = Argument()
    p, Q, S, q = a.positive("p", 0.4), a.nonnegative("Q", 0.36), a.nonnegative("S", 1.6), a.nonnegative("q", 0.6)
    a.assume(q, 1 - p, "q = e^-beta, p = 1 - q")
    a.assume(Q, 1 - p * S, "N terms of the geometric series: p S = 1 - Q, Q = q^N")
    a.identity("one more term", p * (S + Q), 1 - q * Q)
    a.wrong("q for p", left=q * (S + Q))
    b = Argument()
    mu, l, d = b.nonnegative(r"\mu", 0.3), b.positive(r"\lambda", 0.5), b.positive("d", 0.8)
    b.assume(mu, d - l, "d = mu + lambda")
    b.at_most("a term is at most 1", mu / d, Scalar(1), l / d)
    b.at_most("and at most mu / lambda: lambda above 1 is this, added", mu / d, mu / l, (1 / (l * d), mu))
    p, J, x, u, v, w = (
        b.positive("p", 0.4),
        b.nonnegative("J", 3.0),
        b.nonnegative("x", 2.5),
        b.nonnegative("u", 0.1),
        b.nonnegative("v", 0.3),
        b.nonnegative("w", 0.5),
    )
    b.assume(J, x + 1 - w, "J the least number with q^J <= lambda, x = ln(1/lambda) / beta")
    Q, S = l - u, b.nonnegative("S", 2.2)
    b.assume(S, 1 / p - v, "the series is at most 1 / p")
    b.at_most(
        "lambda at most 1: J terms, then a series from q^J = lambda - u", J + Q / l * S, x + 1 + 1 / p, w, v, u / l * S
    )
    b.wrong("without the J terms", right=1 / p)
    return joined(a, b)


def head() -> Certificate:
    a = Argument()
    r = ridge(a)
    f, w = a.vector(r"\varphi", "P", a.rng.standard_normal(3)), a.vector("w_0", "P", a.rng.standard_normal(3))
    hat = r.F.T * r.R * r.F * w
    a.identity(
        "error of the pipeline; Phi is U^T of the kept features, labels Phi w_0",
        f.T * w - f.T * hat,
        r.l * (f.T * r.S * w),
    )
    a.wrong("without lambda", right=f.T * r.S * w)
    k = r.F * f
    x = r.R * k
    power = sq(f) - 2 * k.T * x + x.T * r.K * x
    a.identity("the power function", power, r.l**2 * sq(r.S * f))
    z = r.l * r.S * f
    a.at_most("squared", (f.T * w - f.T * hat) ** 2, sq(w) * power, (half, w * z.T - z * w.T))
    return a.certificate()


def majorisation() -> Certificate:
    a = Argument()
    X = a.rng.standard_normal((5, 4))
    t = top_of(a, X @ X.T, "n", 2)
    P = a.projector("P", "n", onto(a.rng.standard_normal((5, 2))))
    a.assume(tr(t.T), tr(P), "P projects onto the top r eigenvectors of K")
    a.at_most("one draw of K~ = mu + A A^T - B B^T: Ky Fan", tr(P * t.K), t.sum, (1 - P) * t.A, P * t.B)
    a.wrong("a ninth of the top", right=t.sum / 9)
    b = Argument()
    P = b.projector("P", "n", onto(b.rng.standard_normal((4, 2))))
    M, N = (
        b.symmetric(name, "n", x + x.T)
        for name, x in ((r"\tilde K_1", b.rng.standard_normal((4, 4))), (r"\tilde K_2", b.rng.standard_normal((4, 4))))
    )
    p, q = b.positive("p", 0.3), b.positive("q", 0.7)
    b.identity("in the mean over draws, E K~ = K: linear", p * tr(P * M) + q * tr(P * N), tr(P * (p * M + q * N)))
    return joined(a, b)


def products() -> Certificate:
    a = Argument()
    F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((5, 4)))
    Z = a.matrix("Z", "n", "r", np.linalg.qr(a.rng.standard_normal((5, 2)))[0])
    a.assume(Z.T * Z, 1)
    a.identity("one product J^T z for each column", tr(Z.T * (F * F.T) * Z), sq(F.T * Z))
    t = top_of(a, a.model.matrix(F * F.T), "n", 2)
    K = t.K
    a.assume(tr(t.T), tr(Matrix.identity("r")))
    a.at_most("Ky Fan, K = mu + A A^T - B B^T", tr(Z.T * K * Z), t.sum, (1 - Z * Z.T) * t.A, Z * Z.T * t.B)
    a.wrong("a ninth of the top", right=t.sum / 9)
    e = a.nonnegative(r"\epsilon", 0.95)
    s = a.slack("s", tr(Z.T * K * Z) - (1 - e) * tr(K), "the captured share is 1 - epsilon")
    a.at_most("then r bounds the truncation rank", (1 - e) * tr(K), t.sum, s, (1 - Z * Z.T) * t.A, Z * Z.T * t.B)
    return a.certificate()


MODES = (
    "the line holds for every eigenvalue mu_j; it is added over modes with the weights g_j^2, by the spectral theorem"
)
DRAWS = "expectation is linear and monotone"
PROOFS: dict[tuple[str, str], Proof] = {
    ("eq_16_18", "as stated"): Proof(Kind.ALGEBRA, dual_primal),
    ("eq_17", "Woodbury"): Proof(Kind.ALGEBRA, woodbury),
    ("eq_17", "rank-r substitution"): Proof(Kind.ALGEBRA, rank_r, (SPECTRAL,)),
    ("prop_b_3", "pointwise"): Proof(Kind.ALGEBRA, telescope),
    ("prop_b_3", "R1, factor 3"): Proof(
        Kind.ALGEBRA, factor_3, (), "vectors of L2: the same identity of inner products, on any probability space"
    ),
    ("prop_b_3_sharp", "as stated"): Proof(
        Kind.ALGEBRA,
        sharp,
        (),
        "rows of Phi: gradients of test points times roots of weights; independence makes D free of the row",
    ),
    ("b_3_approximation", "R^2"): Proof(
        Kind.ALGEBRA, approximation, (), "rows of Phi and f: values on the sample space times roots of weights"
    ),
    ("b_3_bias", "s at most 1"): Proof(Kind.ALGEBRA, bias_to_one, (SPECTRAL, JENSEN), MODES),
    ("bias_bound", "all s"): Proof(Kind.ALGEBRA, bias_all, (SPECTRAL, JENSEN), MODES),
    ("rem_b_4", "finite width"): Proof(Kind.ALGEBRA, finite_width),
    ("b_2_i", "order (I)"): Proof(Kind.ALGEBRA, first_term, (SPECTRAL,), ROOTS),
    ("b_2_corrected", "both smallest eigenvalues"): Proof(
        Kind.ALGEBRA, both_smallest, (SPECTRAL,), "roots of both terms, added"
    ),
    ("b_2_corrected", "coefficient form"): Proof(
        Kind.ALGEBRA, coefficients, (), "root of the second term, added to the first"
    ),
    ("prop_b_6", "R1"): Proof(Kind.ALGEBRA, b_6_r1, (SPECTRAL,), ROOTS),
    ("prop_b_6", "R2"): Proof(Kind.ALGEBRA, b_6_r2, (SPECTRAL,), ROOTS),
    ("prop_b_6_improved", "by the gap"): Proof(Kind.ALGEBRA, improved_gap, (SPECTRAL,)),
    ("prop_b_6_improved", "by the mean"): Proof(Kind.ALGEBRA, improved_mean, (SPECTRAL,)),
    ("b_6_jl", "from kept eigenvalues"): Proof(
        Kind.ALGEBRA, kept_eigenvalues, (SPECTRAL,), "slacks are sums over modes of what the hypothesis gives"
    ),
    ("theorem_r", "as stated"): Proof(
        Kind.ALGEBRA,
        theorem_r,
        (CHAIN,),
        "the gradient in the head is (h, 1), by the chain rule; so is Euler's identity",
    ),
    ("variance_identity", "as stated"): Proof(Kind.ALGEBRA, variance_identity),
    ("variance_conditional", "noise part"): Proof(Kind.ALGEBRA, conditional, (SPECTRAL,)),
    ("variance_conditional", "exponential decay"): Proof(Kind.ALGEBRA, decay, (), "added over terms"),
    ("head_preserving", "exact weight and certificate"): Proof(Kind.ALGEBRA, head, (), ROOTS),
    ("projected_majorisation", "as stated"): Proof(Kind.ALGEBRA, majorisation, (SPECTRAL,), DRAWS),
    ("rank_by_products", "as stated"): Proof(Kind.ALGEBRA, products, (SPECTRAL,)),
}
