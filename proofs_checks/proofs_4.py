"""Certificates of section 3.4, section 4 and Algorithm 1: local and global structure, distilled gradients, solves."""

import numpy as np

from proofs_checks.algebra.argument import Argument, Certificate
from proofs_checks.algebra.proof import SPECTRAL, Kind, Proof
from proofs_checks.algebra.settings import cut, onto, ridge, top, top_of
from proofs_checks.algebra.words import Matrix, Scalar, sq, tr
from proofs_checks.proofs_3 import Parts, joined, two_blocks

__all__ = ["PROOFS"]


def _psd_value(a: Argument, n: int) -> np.ndarray:
    x = a.rng.standard_normal((n, n))
    return x @ x.T


def _psd(a: Argument, name: str, size: str, n: int, rank: int = 0) -> Matrix:
    x = a.rng.standard_normal((n, rank or n))
    return a.symmetric(name, size, x @ x.T)


def blocks() -> Argument:
    """The trace outside a block projector is the sum over blocks: the step of an induction over clusters."""
    a = Argument()
    K = _psd(a, "K", "n", 5)
    E1, E2 = two_blocks(a, "n", 3, 2)
    P1 = a.projector("P_1", "n_1", onto(a.rng.standard_normal((3, 2))))
    P2 = a.projector("P_2", "n_2", onto(a.rng.standard_normal((2, 1))))
    P = E1 * P1 * E1.T + E2 * P2 * E2.T
    a.identity("the block projector is a projector", P * P, P)
    a.identity(
        "one more cluster adds its own trace",
        tr((1 - P) * K),
        tr((1 - P1) * E1.T * K * E1) + tr((1 - P2) * E2.T * K * E2),
    )
    a.wrong("without the first", right=tr((1 - P2) * E2.T * K * E2))
    return a


def uncovered() -> Argument:
    """Tr (1 - P) K <= tail for a block projector P that keeps the restricted global eigenvectors."""
    a = Argument()
    T = a.projector("T", "n", cut(np.diag([3.0, 2, 1, 0.5, 0.2]) + 0.3, 2))
    E1, E2 = two_blocks(a, "n", 3, 2)
    t = a.model.matrices["T"]
    P1 = a.projector("P_1", "n_1", onto(np.linalg.svd(t[:3])[0][:, :2]))
    P2 = a.projector("P_2", "n_2", onto(np.linalg.svd(t[3:])[0][:, :2]))
    a.assume(P1 * E1.T * T, E1.T * T, "P_1 keeps the restricted eigenvectors")
    a.assume(P2 * E2.T * T, E2.T * T, "P_2 too")
    a.identity(
        "a block projector that keeps every restriction keeps them all", (E1 * P1 * E1.T + E2 * P2 * E2.T) * T, T
    )
    a.wrong("the first block alone", left=E1 * P1 * E1.T * T)
    b = Argument()
    space = b.rng.standard_normal((5, 3))
    P = b.projector("P", "n", onto(space))
    T = b.projector("T", "n", onto(space[:, :2]))
    b.assume(P * T, T, "P keeps the global eigenvectors")
    G = b.matrix("G", "n", "r", space[:, :2])
    b.assume(T * G, G)
    e = b.matrix("e", "n", "k", (np.eye(5) - b.model.matrices["T"]) @ b.rng.standard_normal((5, 3)))
    b.assume(T * e, 0 * e, "K = G G^T + e e^T, tail e e^T")
    K = G * G.T + e * e.T
    b.at_most("the trace outside is at most the tail", tr((1 - P) * K), sq(e), P * e)
    b.wrong("half of it", right=sq(e) / 9)
    eps, total = b.nonnegative(r"\epsilon_g", 0.9), b.nonnegative("t", b.model.scalar(tr(K)))
    b.assume(tr(G.T * G), total - sq(e), "t = tr K")
    s = b.slack("s", eps * total - sq(e), "truncation at epsilon_g")
    b.at_most("and at most epsilon_g of the trace", sq(e), eps * tr(K), s)
    return Parts(a, b)


def lg_1() -> Certificate:
    return joined(blocks(), uncovered())


def property_a() -> Certificate:
    a = Argument()
    K = _psd(a, "K_h", "n_h", 4)
    T = a.projector("T_h", "n_h", cut(a.model.matrices["K_h"], 2))
    a.assume(K * T, T * K)
    C = a.root("C", K * (1 - T))
    P = a.projector("P_h", "n_h", onto(a.rng.standard_normal((4, 3))))
    a.at_most("in one cluster: the first r_h modes outside P_h", tr((1 - P) * T * K), tr((1 - P) * K), (1 - P) * C)
    b = Argument()
    tau, eg = b.nonnegative("t", 2.0), b.nonnegative(r"\epsilon_g", 0.1)
    d, s, u = b.positive("d", 0.8), b.nonnegative("s", 0.3), b.nonnegative("u", 0.05)
    den, x = d * tau + s, eg * tau - u
    b.at_most("summed over clusters, d = 1 - epsilon_l", (1 - eg / d) * den, den - x, u, eg * s / d)
    b.wrong("1 - epsilon_g / 8 for the ratio's bound", left=(1 - eg / 8) * den)
    c = Argument()
    P = c.projector("P_h", "n_h", onto(c.rng.standard_normal((4, 3))))
    n, r = Scalar.of(next(iter(tr(Matrix.identity("n_h")).terms))[0][0]), c.positive("r_g", 3.0)
    c.assume(tr(P), r, "r_g directions")
    S = Matrix.identity("n_h") / n
    c.identity("null value: E u u^T = I / n_h gives r_g / n_h", tr(P * S), r / n)
    K = _psd(c, "K_h", "n_h", 4)
    full = Matrix.identity("n_h")
    c.identity("with P_h = I nothing is outside", tr((1 - full) * K), Scalar(0))
    return joined(blocks(), uncovered(), a, b, c)


def lg_2() -> Certificate:
    a = Argument()
    K = _psd(a, "K_h", "n_h", 4)
    T = a.projector("T_h", "n_h", cut(a.model.matrices["K_h"], 2))
    a.assume(K * T, T * K)
    total, eps, s = a.nonnegative("t", 5.0), a.nonnegative(r"\epsilon_\ell", 0.3), a.nonnegative("s", 0.2)
    x, v = a.nonnegative("x", 3.0), a.nonnegative("v", 0.4)
    tail, more = eps * total - s, eps * x - v
    a.identity("tail of one cluster", tr((1 - T) * K), tr(K) - tr(T * K))
    a.at_most("one more cluster: tails t_h <= epsilon tr K_h add up", tail + more, eps * (total + x), s, v)
    a.wrong("half of epsilon", right=eps * (total + x) / 20)
    return joined(blocks(), a)


def lg_3() -> Certificate:
    a = Argument()
    P = a.projector(r"\Pi", "n", onto(a.rng.standard_normal((5, 3))))
    u = a.vector("u_j", "n", np.linalg.qr(a.rng.standard_normal((5, 1)))[0])
    e = a.matrix("e", "n", "m", a.rng.standard_normal((5, 3)))
    a.assume(u.T * u, 1)
    lam, eps = a.nonnegative(r"\lambda_j", 3.0), a.nonnegative(r"\epsilon_\ell", 0.9)
    K = lam * u * u.T + e * e.T
    a.at_most("one mode outside", lam * (1 - u.T * P * u), tr((1 - P) * K), (1 - P) * e)
    s = a.slack("s", eps * tr(K) - tr((1 - P) * K), "LG-2: tr (1 - P) K <= epsilon_l tr K")
    a.at_most("first part", lam * (1 - u.T * P * u), eps * tr(K), s, (1 - P) * e)
    a.wrong("nothing is outside", right=Scalar(0))
    b = Argument()
    P = b.projector(r"\Pi", "n", onto(b.rng.standard_normal((5, 3))))
    G, e = (
        b.matrix("G", "n", "r", b.rng.standard_normal((5, 2))),
        b.matrix("e", "n", "m", b.rng.standard_normal((5, 3))),
    )
    b.at_most("the first r_g modes outside", tr((1 - P) * G * G.T), tr((1 - P) * (G * G.T + e * e.T)), (1 - P) * e)
    t, el, d = b.nonnegative("t", 2.0), b.nonnegative(r"\epsilon_\ell", 0.1), b.positive("d", 0.9)
    s, v = b.nonnegative("s", 0.05), b.nonnegative("v", 0.2)
    b.at_most(
        "second part: their sum x over den = d t + v, d = 1 - epsilon_g",
        el * t - s,
        el / d * (d * t + v),
        s,
        el * v / d,
    )
    c = Argument()
    w, lam, gap, s, v = (
        c.nonnegative(name, value)
        for name, value in (("w", 2.0), (r"\lambda_j", 0.5), ("d", 0.4), ("s", 0.2), ("v", 0.1))
    )
    c.at_most(
        "third part, one more direction of G: d = 1 - tau_g, 1 - coverage = d + v",
        gap * (w + lam),
        (gap * w + s) + lam * (gap + v),
        s,
        lam * v,
    )
    c.wrong("with its gap tripled", left=3 * gap * (w + lam))
    return joined(blocks(), a, b, c)


def lg_4() -> Certificate:
    a = Argument()
    E1, E2 = two_blocks(a, "n", 3, 2)
    Q1 = a.projector("Q_1", "n_1", onto(a.rng.standard_normal((3, 2))))
    Q2 = a.projector("Q_2", "n_2", onto(a.rng.standard_normal((2, 1))))
    u = a.vector("u", "n", a.rng.standard_normal(5))
    whole = sq((E1 * Q1 * E1.T + E2 * Q2 * E2.T) * u)
    a.identity("the coverage adds up over clusters", whole, sq(Q1 * E1.T * u) + sq(Q2 * E2.T * u))
    a.wrong("the last cluster alone", right=sq(Q2 * E2.T * u))
    a.identity("so do the weights", sq(u), sq(E1.T * u) + sq(E2.T * u))
    b = Argument()
    m, W, w, s, v = (b.nonnegative(name, x) for name, x in (("m", 0.8), ("W", 0.7), ("w", 0.3), ("s", 0.1), ("v", 0.2)))
    b.at_most(
        "one more cluster, its coverage m - v at most the largest, m", (m * W - s) + w * (m - v), m * (W + w), s, w * v
    )
    b.wrong("half of the largest", right=m * (W + w) / 2)
    return joined(a, b)


def completion() -> Certificate:
    a = Argument()
    K = _psd(a, "K", "n", 6)
    P = a.projector(r"\Pi", "n", onto(a.rng.standard_normal((6, 2))))
    free = (np.eye(6) - a.model.matrices[r"\Pi"]) @ a.rng.standard_normal((6, 2))
    W = a.matrix("W", "n", "q", np.linalg.qr(free)[0])
    a.assume(W.T * W, 1, "W is orthonormal")
    a.assume(P * W, 0 * W, "and orthogonal to the local vectors")
    a.identity("on the complement the metrics agree", W.T * K * W, W.T * (1 - P) * K * (1 - P) * W)
    t = top_of(a, a.model.matrix((1 - P) * K * (1 - P)), "n", 2)
    B = t.K
    a.assume(tr(t.T), tr(Matrix.identity("q")), "T has rank q")
    V = W * W.T
    a.at_most(
        "Ky Fan on the compressed kernel (1 - P) K (1 - P) = mu + A A^T - B B^T",
        tr(W.T * B * W),
        t.sum,
        (1 - V) * t.A,
        V * t.B,
    )
    a.wrong("half of the top", right=t.sum / 9)
    a.identity("attained: an orthonormal basis of the top space has trace tr T B", tr(t.T * B * t.T), t.sum)
    return a.certificate()


def _coupling() -> tuple[Argument, Matrix, Matrix, Matrix, Matrix, Matrix, Scalar]:
    a = Argument()
    n, m = 3, 2
    plan = np.array([[0.2, 2 / 15], [0.0, 1 / 3], [0.3, 1 / 30]])
    gradient = np.array([[1.0, 2.0], [3.0, 0.5], [0.7, 0.9]])
    B = a.matrix("B", "nm", "n", np.kron(np.eye(n), np.ones((m, 1))))
    pi = a.vector(r"\pi", "nm", plan.reshape(-1))
    e = a.vector("e", "n", np.ones(n))
    N = a.positive("n", 3.0)
    a.assume(B.T * pi, e / N, "first marginal of the coupling")
    low = a.vector("m", "n", gradient.min(axis=1))
    over = a.vector("s", "nm", (gradient - gradient.min(axis=1, keepdims=True)).reshape(-1))
    slack = a.nonnegative(r"\delta", float((plan * (gradient - gradient.min(axis=1, keepdims=True))).sum()))
    a.assume(pi.T * over, slack, "entries of pi and of s are non-negative")
    return a, B, pi, e, low, over, slack


def quantisation() -> Certificate:
    a, B, pi, e, low, over, slack = _coupling()
    N = a.positive("n", 3.0)
    cost = B * low + over
    a.at_most("no coupling costs less than the nearest points", e.T * low / N, pi.T * cost, slack)
    a.wrong("twice that", left=3 * (e.T * low) / N)
    v = a.vector("v", "nm", (np.array([[1, 0], [0, 1], [1, 0]]) / 3).reshape(-1))
    a.assume(B.T * v, e / N, "the Voronoi coupling")
    a.assume(v.T * over, Scalar(0), "is zero unless the point is nearest")
    a.identity("the Voronoi coupling costs just that", v.T * cost, e.T * low / N)
    b = Argument()
    Z, e = b.matrix("Z", "d", "n", b.rng.standard_normal((2, 4))), b.vector("e", "n", np.ones(4))
    n, x = b.positive("n", 4.0), b.vector("b", "d", [0.3, -0.2])
    b.assume(e.T * e, n)
    mean = Z * e / n
    b.at_most("the mean of a cell costs least", sq(Z - mean * e.T), sq(Z - x * e.T), (n, x - mean))
    b.wrong("a quarter of it", right=sq(Z - mean * e.T) / 4)
    return joined(a, b)


def lemma_w() -> Certificate:
    a = Argument()
    P = a.projector(r"\Pi", "P", onto(a.rng.standard_normal((5, 2))))
    f = a.vector(r"\varphi", "P", a.rng.standard_normal(5))
    s = a.vector("s", "P", a.model.matrices[r"\Pi"] @ a.rng.standard_normal(5))
    a.assume(P * s, s, "gradient of a distilled input")
    a.at_most("one row: its residual against any distilled gradient", sq((1 - P) * f), sq(f - s), P * (f - s))
    b, B, pi, e, low, over, slack = _coupling()
    N, L = b.positive("n", 3.0), b.positive("L", 1.5)
    extra = b.vector("u", "nm", np.full(6, 0.3))
    more = b.nonnegative(r"\eta", 0.3)
    b.assume(pi.T * extra, more, "Lipschitz: L^2 |z - b|^2 = |phi - phi|^2 + u, u >= 0")
    cost = (B * low + over + extra) / L**2
    b.at_most("the mean of the least distances, any coupling", e.T * low / N, L**2 * (pi.T * cost), slack, more)
    b.wrong("without the constant L", right=pi.T * cost / 3)
    return joined(a, b)


def eigen_gradient() -> Certificate:
    a = Argument()
    F, k = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3))), a.positive("k", 3.0)
    values, vectors = np.linalg.eigh(a.model.matrix(F * F.T / k))
    lam, mu = a.real(r"\lambda", float(values[-1])), a.real(r"\mu", float(values[-2]))
    u, v = a.vector("u", "n", vectors[:, -1]), a.vector("v", "n", vectors[:, -2])
    a.assume(u.T * u, 1)
    a.assume(v.T * v, 1)
    a.assume(u.T * v, Scalar(0))
    a.assume(F * (F.T * u), k * lam * u, "K u = lambda u")
    a.assume(F * (F.T * v), k * mu * v, "K v = mu v")
    a.identity("norm", sq(F.T * u), k * lam)
    a.wrong("without k", right=lam)
    a.identity("direction", F * (F.T * u), k * lam * u)
    a.identity("orthogonality", (F.T * u).T * (F.T * v), Scalar(0))
    return a.certificate()


def soft_targets() -> Certificate:
    a = Argument()
    F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3)))
    U = a.matrix("U", "n", "m", np.linalg.qr(a.rng.standard_normal((4, 2)))[0])
    l, y = a.positive(r"\lambda", 0.7), a.vector("y", "n", a.rng.standard_normal(4))
    Q = a.inverse("Q", (U.T * F) * (U.T * F).T + l)
    w = a.vector("w", "P", a.rng.standard_normal(3))
    best = (U.T * F).T * Q * U.T * y

    def loss(x: Matrix) -> Scalar:
        return sq(U.T * (F * x - y)) + l * sq(x)

    a.at_most(
        "(a) the synthetic solve minimises the sketched loss", loss(best), loss(w), U.T * F * (w - best), (l, w - best)
    )
    a.wrong("a hundredth", right=loss(w) / 100)
    b = Argument()
    F, l, y = (
        b.matrix(r"\Phi", "n", "P", b.rng.standard_normal((4, 3))),
        b.positive(r"\lambda", 0.7),
        b.vector("y", "n", b.rng.standard_normal(4)),
    )
    values, vectors = np.linalg.eigh(b.model.matrix(F * F.T))
    order = vectors[:, ::-1]
    U, W = b.matrix("U", "n", "m", order[:, :2]), b.matrix("W", "n", "q", order[:, 2:])
    L, M = b.symmetric(r"\Lambda", "m", np.diag(values[::-1][:2])), b.symmetric("M", "q", np.diag(values[::-1][2:]))
    b.assume(U.T * U, 1)
    b.assume(F * (F.T * U), U * L, "K U = U Lambda")
    b.assume(W.T * W, 1)
    b.assume(U.T * W, 0 * (U.T * W))
    b.assume(F * (F.T * W), W * M, "the modes left out")
    N, O = b.inverse("N", L + l), b.inverse("O", M + l)
    synthetic = (U.T * F).T
    b.identity("(b) the synthetic solve, ridge unchanged", (synthetic.T * synthetic + l) * N * U.T * y, U.T * y)
    b.identity("the kernel of the modes", synthetic.T * synthetic, L)
    what = synthetic * N * U.T * y
    full = F.T * (U * N * U.T + W * O * W.T) * y
    b.identity(
        "(K + lambda)^-1 on all modes, 1 = U U^T + W W^T",
        (F * F.T + l) * (U * N * U.T + W * O * W.T),
        U * U.T + W * W.T,
    )
    b.identity("error: the modes left out", sq(full - what), y.T * W * O * M * O * W.T * y)
    b.wrong("with the ridge doubled", right=y.T * W * O * M * W.T * y)
    D = b.symmetric("D", "m", np.diag([1.0, -1.0]))
    b.assume(D * D, 1, "signs")
    b.assume(D * L, L * D)
    b.assume(D * N, N * D)
    flipped = U * D
    b.identity("(c) signs do not matter", F.T * flipped * N * flipped.T * y, what)
    return joined(a, b)


def stage_6() -> Certificate:
    a = Argument()
    r = ridge(a)
    U = a.matrix("U", "n", "m", a.rng.standard_normal((4, 6)))
    V = a.matrix("V", "m", "n", np.linalg.pinv(a.model.matrices["U"]))
    a.assume(U * V, 1, "U spans R^n")
    value = a.model
    system = value.matrix(U.T * (r.K + r.l) * U)
    b = a.vector("b", "m", np.linalg.pinv(system) @ value.matrix(U.T * r.y)[:, 0])
    equation = U.T * r.K * U * b + r.l * (U.T * U * b)
    g = a.vector("g", "n", value.matrix(U * b))
    a.assume(U * b, g, "g = U b")
    a.assume(equation, U.T * r.y, "b solves the synthetic system with the ridge lambda U^T U")
    a.assume(r.K * g + r.l * g, V.T * (U.T * r.y), "multiplied by V^T")
    a.identity("then (K + lambda) g = y", r.K * g + r.l * g, r.y)
    a.wrong("with the ridge doubled", left=r.K * g + 2 * r.l * g)
    a.identity("so g = R y", r.R * (r.K * g + r.l * g), g)
    a.identity("and the synthetic weights are the full ones", r.F.T * g, r.best)
    c = Argument()
    r = ridge(c)
    Q = c.matrix("Q", "n", "m", np.linalg.qr(c.rng.standard_normal((4, 2)))[0])
    C = c.matrix("C", "m", "q", c.rng.standard_normal((2, 3)))
    D = c.matrix("D", "q", "m", np.linalg.pinv(c.model.matrices["C"]))
    c.assume(Q.T * Q, 1, "Q is an orthonormal basis of the range of U = Q C")
    c.assume(C * D, 1)
    left, right = (Q * C).T * (r.K + r.l) * (Q * C), (Q * C).T * r.y
    c.identity("the system of U is that of Q, seen through C", D.T * left, (Q.T * r.K * Q + r.l) * C)
    c.identity("with the same right side", D.T * right, Q.T * r.y)
    return joined(a, c)


def restricted() -> Certificate:
    a = Argument()
    F, U = (
        a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 3))),
        a.matrix("U", "n", "m", a.rng.standard_normal((4, 2))),
    )
    l, y = a.positive(r"\lambda", 0.7), a.vector("y", "n", a.rng.standard_normal(4))
    h = a.root("h", F.T * F + l).T
    k = a.inverse("J", h.T * h)
    rows = U.T * F
    M = h * rows.T
    b = M.T * M
    a.identity("the system is U^T K^2 U + lambda U^T K U", b, U.T * (F * F.T) * (F * F.T) * U + l * U.T * F * F.T * U)
    D = a.pseudo_inverse("D", b)
    a.vanish("the pseudo-inverse reproduces M", M * D * b - M)
    right = M.T * h * k * F.T * y
    a.identity("the right side lies in the range", right, rows * F.T * y)
    a.identity("stationary in the span", rows * (F.T * F + l) * (rows.T * D * right), right)
    a.wrong("with the ridge doubled", left=rows * (F.T * F + 2 * l) * (rows.T * D * right))
    c = Argument()
    rd = ridge(c)
    B = c.matrix("B", "P", "m", c.rng.standard_normal((3, 2)))
    h = c.model.matrix(rd.H)
    span = c.model.matrices["B"]
    x = np.linalg.solve(span.T @ h @ span, span.T @ c.model.matrix(rd.F.T * rd.y))
    b, s = c.vector("b", "m", x), c.vector("c", "m", c.rng.standard_normal(2))
    c.assume(B.T * (rd.H * (B * b)), B.T * (rd.F.T * rd.y), "stationary in the range of B")
    wr, other = B * b, B * s
    d = other - wr
    c.at_most("J(w_R) is least in the span", rd.energy(wr), rd.energy(other), (Scalar(1) / 2, rd.F * d), (rd.l / 2, d))
    c.wrong("a tenth", right=rd.energy(other) / 10)
    d = wr - rd.best
    c.at_most("J(w_*) is least of all", rd.energy(rd.best), rd.energy(wr), (Scalar(1) / 2, rd.F * d), (rd.l / 2, d))
    return joined(a, c)


def pca() -> Certificate:
    a = Argument()
    F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((6, 5)))
    P = a.projector("P", "P", onto(a.rng.standard_normal((5, 2))))
    t = top(a, F.T * F, 3)
    q = a.nonnegative("q", 1.0)
    a.assume(tr(t.T), tr(P) + q, "rank of P at most m")
    certificate = ((1 - P) * t.A, P * t.B, t.mu * q)
    a.at_most("tr K_U with K_U = F P F^T", tr(F * P * F.T), t.sum, *certificate)
    a.wrong("half", right=t.sum / 6)
    b = Argument()
    K = b.matrix("K", "n", "n", _psd_value(b, 5))
    t = top(b, K * K.T, 3)
    X = b.rng.standard_normal((5, 2))
    N = b.symmetric("K_U", "n", X @ X.T)
    Q = b.projector("Q", "n", onto(X))
    b.assume(Q * N, N, "Q projects onto the range of K_U")
    q = b.nonnegative("q", 1.0)
    b.assume(tr(t.T), tr(Q) + q, "of rank at most m")
    b.at_most(
        "Frobenius error of any K_U of rank at most m",
        t.tail,
        sq((K - N).T),
        (1 - Q) * t.A,
        Q * t.B,
        t.mu * q,
        Q * (K - N),
    )
    b.wrong("all of K^2", left=tr(K * K.T) + sq(N))
    c = Argument()
    x = c.rng.standard_normal((5, 5))
    t = top_of(c, x @ x.T, "n", 2)
    K = t.K
    U = c.matrix("U", "n", "m", np.linalg.qr(c.rng.standard_normal((5, 2)))[0])
    c.assume(U.T * U, 1)
    c.assume(tr(t.T), tr(Matrix.identity("m")))
    c.at_most("Ky Fan", tr(U.T * K * U), t.sum, (1 - U * U.T) * t.A, U * U.T * t.B)
    U = Argument()
    F = U.matrix(r"\Phi", "n", "P", U.rng.standard_normal((4, 3)))
    V, X = U.matrix("U", "n", "m", U.rng.standard_normal((4, 2))), F.T
    D = U.pseudo_inverse("D", (X * V).T * (X * V))
    proj = X * V * D * V.T * X.T
    U.identity("K_U = K U (U^T K U)^+ U^T K = F P F^T with P a projector", proj * proj, proj)
    return joined(a, b, c, U)


def one_gradient() -> Certificate:
    a = Argument()
    w, c, l = a.vector("w_*", "P", a.rng.standard_normal(3)), a.positive("c", 1.7), a.positive(r"\lambda", 0.6)
    size = float((a.model.matrices["w_*"] ** 2).sum())
    d = a.positive("d", 1 / (1.7**2 * size + 0.6))
    a.assume(w.T * w, (1 / d - l) / c**2, "d is the inverse of c^2 |w|^2 + lambda")
    target = (c**2 * sq(w) + l) / c
    a.identity("one synthetic gradient c w_* with its target", (c * w) * d * target, w)
    a.wrong("target c |w|^2", left=(c * w) * d * (c * sq(w)))
    return a.certificate()


def spectral_filter() -> Certificate:
    a = Argument()
    values, vectors = np.linalg.eigh((lambda x: x @ x.T)(a.rng.standard_normal((4, 4))))
    U, L = a.matrix("U", "n", "m", vectors), a.symmetric(r"\Lambda", "m", np.diag(values))
    l, y = a.positive(r"\lambda", 0.5), a.vector("y", "n", a.rng.standard_normal(4))
    a.assume(U.T * U, 1)
    a.assume(U * U.T, 1, "all modes: K = U Lambda U^T")
    N, K = a.inverse("N", L + l), U * L * U.T
    a.identity("U N U^T is the inverse of K + lambda", (K + l) * (U * N * U.T), Matrix.identity("n"))
    a.identity("the fitted values, mode by mode", K * (U * N * U.T) * y, U * (L * N) * (U.T * y))
    a.wrong("without the ridge", right=y)
    b = Argument()
    lam, l = b.nonnegative(r"\lambda_j", 0.3), b.positive(r"\lambda", 0.5)
    d = b.positive("d", 0.8)
    b.assume(lam, d - l, "d = lambda_j + lambda")
    b.at_most("the gain is at most lambda_j / lambda", lam / d, lam / l, (1 / (l * d), lam))
    b.wrong("a third of it", right=lam / (3 * l))
    return joined(a, b)


def costs() -> Certificate:
    a = Argument()
    n, H, k, s = a.positive("n", 500.0), a.positive("H", 5.0), a.nonnegative("k", 4000.0), a.nonnegative("s", 500.0)
    a.assume(k, 9 * n - s, "k at most 9 n")
    a.at_most("the kernel costs at most an eigendecomposition of 9 n^3", n**2 * k, 9 * n**3, n**2 * s)
    a.wrong("of n^3", right=n**3)
    a.identity("local eigendecompositions", H * (n / H) ** 3, n**3 / H**2)
    return a.certificate()


BLOCKS = "the block step, by induction over clusters from one of them"
FIGURES = "the statement is about the printed figures: the step evaluates them exactly"
PROOFS: dict[tuple[str, str], Proof] = {
    ("synthetic_count", "before stage 6"): Proof(Kind.FINITE, None, (), "a definition: the number of vectors put in"),
    ("headline_jacobians", "n / m"): Proof(Kind.FINITE, None, (), FIGURES),
    ("headline_orders", "storage"): Proof(Kind.FINITE, None, (), FIGURES),
    ("headline_orders", "kernel entries"): Proof(Kind.FINITE, None, (), FIGURES),
    ("property_a", "R1, energy-weighted mean"): Proof(Kind.ALGEBRA, property_a, (SPECTRAL,), BLOCKS),
    ("property_b", "it can occur"): Proof(
        Kind.FINITE, None, (), "the statement says that an instance exists: the step exhibits one, in exact rationals"
    ),
    ("lg_1", "as stated"): Proof(Kind.ALGEBRA, lg_1, (SPECTRAL,), BLOCKS),
    ("lg_2", "as stated"): Proof(Kind.ALGEBRA, lg_2, (SPECTRAL,), BLOCKS),
    ("lg_3", "as stated"): Proof(
        Kind.ALGEBRA, lg_3, (SPECTRAL,), BLOCKS + "; the third part by induction over the directions of G"
    ),
    ("lg_4", "as stated"): Proof(Kind.ALGEBRA, lg_4, (), BLOCKS + "; the weights of a unit vector add to one"),
    ("optimal_completion", "in the metric tr(W^T K W)"): Proof(Kind.ALGEBRA, completion, (SPECTRAL,)),
    ("quantisation", "one measure"): Proof(Kind.ALGEBRA, quantisation, (), "equal weights are one coupling among all"),
    ("lemma_w", "as stated"): Proof(
        Kind.ALGEBRA, lemma_w, (), "the first line for the nearest distilled gradient of each row, added over rows"
    ),
    ("rem_4_2", "as stated"): Proof(Kind.ALGEBRA, eigen_gradient),
    ("alg_1_stages_1_2", "as stated"): Proof(
        Kind.FINITE, None, (), "a definition: the mean kernel, and the truncation rank at 1 - tau"
    ),
    ("alg_1_stages_4_5", "eigenvectors of K"): Proof(Kind.ALGEBRA, soft_targets, (SPECTRAL,)),
    ("alg_1_stage_6", "orthonormal U"): Proof(Kind.ALGEBRA, stage_6),
    ("restricted_solve", "as stated"): Proof(
        Kind.ALGEBRA, restricted, (SPECTRAL,), "the sketched weights lie in the span of the restricted solve"
    ),
    ("pca_dominance", "as stated"): Proof(Kind.ALGEBRA, pca, (SPECTRAL,)),
    ("one_gradient", "as stated"): Proof(Kind.ALGEBRA, one_gradient),
    ("sec_5_2", "as stated"): Proof(Kind.ALGEBRA, spectral_filter, (SPECTRAL,)),
    ("sec_e_2", "global SVD dominates"): Proof(Kind.ALGEBRA, costs),
}
