"""Certificates of sections 3.1 to 3.3: one-step regret, spans, projected kernels, captured energy."""

import numpy as np

from proofs_checks.algebra.argument import Argument, Certificate, half
from proofs_checks.algebra.proof import CHAIN, COCOERCIVE, DESCENT, SPECTRAL, Kind, Proof
from proofs_checks.algebra.settings import cut, onto, top
from proofs_checks.algebra.theory import Pair
from proofs_checks.algebra.words import Matrix, Scalar, sq, tr

__all__ = ["PROOFS", "ROOTS", "Parts", "joined", "swapped", "two_blocks"]


def two_blocks(a: Argument, size: str, first: int, second: int) -> tuple[Matrix, Matrix]:
    """State E_1, E_2: R^first and R^second side by side in a size: the step of an induction over blocks."""
    total = first + second
    E1 = a.matrix("E_1", size, f"{size}_1", np.eye(total)[:, :first])
    E2 = a.matrix("E_2", size, f"{size}_2", np.eye(total)[:, first:])
    a.assume(E1.T * E1, 1)
    a.assume(E2.T * E2, 1)
    a.assume(E1.T * E2, 0 * (E1.T * E2))
    a.assume(E2 * E2.T, 1 - E1 * E1.T)
    return E1, E2


def chain_rule() -> Certificate:
    a = Argument()
    E1, E2 = two_blocks(a, "mC", 4, 2)
    J1 = a.matrix("J_1", "mC_1", "P", a.rng.standard_normal((4, 7)))
    J2 = a.matrix("J_2", "mC_2", "P", a.rng.standard_normal((2, 7)))
    s1 = a.vector(r"\varsigma_1", "mC_1", a.rng.standard_normal(4))
    s2 = a.vector(r"\varsigma_2", "mC_2", a.rng.standard_normal(2))
    m = a.positive("m", 3.0)
    J, s = E1 * J1 + E2 * J2, E1 * s1 + E2 * s2
    a.identity("stacking one more sample adds its gradient", J.T * s / m, (J1.T * s1 + J2.T * s2) / m)
    a.wrong("the sum for the mean", right=J1.T * s1 + J2.T * s2)
    b = Argument()
    J = b.matrix("J", "mC", "P", b.rng.standard_normal((4, 6)))
    D = b.pseudo_inverse("D", J * J.T)
    s, m = b.vector(r"\varsigma", "mC", b.rng.standard_normal(4)), b.positive("m", 3.0)
    t = b.vector(r"\theta", "P", b.rng.standard_normal(6))
    b.vanish("the pseudo-inverse reproduces the rows", J.T * D * J * J.T - J.T)
    b.identity("the update lies in the span: its projection is itself", J.T * D * J * (J.T * s / m), J.T * s / m)
    b.wrong("with weight decay", left=J.T * D * J * (J.T * s / m + t), right=J.T * s / m + t)
    return joined(a, b)


def joined(*parts: Argument) -> Certificate:
    """Return one certificate of several arguments."""
    found = [part.certificate() for part in parts]
    return Certificate(
        tuple(dict.fromkeys(h for c in found for h in c.hypotheses)),
        tuple(line for c in found for line in c.lines),
        tuple(wrong for c in found for wrong in c.wrong),
    )


class Parts(Argument):
    """Several arguments one after the other."""

    def __init__(self, *parts: Argument) -> None:
        super().__init__()
        self.parts = parts

    def certificate(self) -> Certificate:
        """Return one certificate of all."""
        return joined(*self.parts)


class Step:
    """One step: P projects onto the span, D = P D is an update, Q the quadratic model, D* = -P g / L."""

    def __init__(self) -> None:
        a = self.a = Argument()
        self.P = a.projector(r"\Pi", "P", onto(a.rng.standard_normal((4, 2))))
        self.g = a.vector("g", "P", a.rng.standard_normal(4))
        self.D = a.vector(r"\Delta", "P", a.model.matrices[r"\Pi"] @ a.rng.standard_normal(4))
        a.assume(self.P * self.D, self.D, "the update lies in the span")
        self.L, self.c = a.positive("L", 2.0), a.real("c", 0.3)
        self.best = -(self.P * self.g) / self.L

    def Q(self, d: Matrix) -> Scalar:
        """C + <g, d> + L/2 |d|^2."""
        return self.c + self.g.T * d + self.L / 2 * sq(d)

    def right(self) -> Scalar:
        """The right side of (5)."""
        d, best = self.D, self.best
        return self.g.T * (d - best) + self.L / 2 * (sq(d) - sq(best))


def regret_r1() -> Certificate:
    s = Step()
    s.a.identity("equality, by the definition of Q", s.Q(s.D) - s.Q(s.best), s.right())
    s.a.identity("completing the square", s.Q(s.D) - s.Q(s.best), s.L / 2 * sq(s.D - s.best))
    s.a.wrong("L/4 for L/2", right=s.L / 4 * sq(s.D - s.best))
    return s.a.certificate()


def regret_r2() -> Certificate:
    s = Step()
    slack = s.a.nonnegative("s", 0.4)
    loss = s.Q(s.D) - slack  # descent lemma: the loss lies below its model
    s.a.at_most("the loss after the step is Q(D) - s with s >= 0", loss - s.Q(s.best), s.right(), slack)
    s.a.wrong("nothing on the right", right=s.right() - s.L * sq(s.D - s.best))
    return s.a.certificate()


def minimiser() -> Certificate:
    s = Step()
    a, L, g, P = s.a, s.L, s.g, s.P
    a.at_most("D* is the minimiser in the span, the only one", s.Q(s.best), s.Q(s.D), (L / 2, s.D - s.best))
    slack, eta = a.nonnegative("s", 0.1), a.real(r"\eta", 1.5)
    gain = (sq(g) - sq(g - P * g)) / (2 * L)
    a.at_most("(6): the loss at D* is Q(D*) - s with s >= 0", gain, s.c - (s.Q(s.best) - slack), slack)
    a.wrong("without the factor 1/2", left=2 * gain + slack)
    a.identity("a step eta / L", s.c - s.Q(eta * s.best), eta * (1 - eta / 2) * sq(P * g) / L)
    a.identity("for the loss Q itself the guarantee is attained", s.c - s.Q(s.best), gain)
    return a.certificate()


class Tasks(Step):
    """Tasks t with weights p_t: the columns of G are sqrt(p_t) g_t, e has the entries sqrt(p_t)."""

    def __init__(self) -> None:
        super().__init__()
        weights = np.sqrt([0.2, 0.5, 0.3])
        self.G = self.a.matrix("G", "P", "N", self.a.rng.standard_normal((4, 3)) * weights)
        self.e = self.a.vector("e", "N", weights)
        self.a.assume(self.e.T * self.e, 1, "weights add to one")

    def total(self, d: Matrix) -> Scalar:
        """E L/2 |d - D_t*|^2."""
        return self.L / 2 * sq(d * self.e.T + self.P * self.G / self.L)


def regret_identity() -> Certificate:
    s = Tasks()
    mean = s.G * s.e
    cov = s.G * s.G.T - mean * mean.T
    right = s.L / 2 * sq(s.D + s.P * mean / s.L) + tr(s.P * cov * s.P) / (2 * s.L)
    s.a.identity("bias and variance over tasks", s.total(s.D), right)
    s.a.wrong("second moment for covariance", right=right + sq(s.P * mean) / (2 * s.L))
    return s.a.certificate()


def one_task() -> Certificate:
    s = Tasks()
    mean = s.a.vector("m", "P", s.a.rng.standard_normal(4))
    best = -(s.P * mean) / s.L
    same = s.L / 2 * sq(best * s.e.T + s.P * mean * s.e.T / s.L)
    s.a.identity("one task, g_t = m: the regret of -P m / L is zero", same, Scalar(0))
    s.a.at_most("and no regret is below zero", Scalar(0), s.total(s.D), (s.L / 2, s.D * s.e.T + s.P * s.G / s.L))
    cov = s.G * s.G.T - s.G * s.e * (s.G * s.e).T
    s.a.identity(
        "several tasks: the best common update attains the irreducible term",
        s.total(-(s.P * s.G * s.e) / s.L),
        tr(s.P * cov) / (2 * s.L),
    )
    s.a.wrong("several tasks, regret zero", right=Scalar(0))
    return s.a.certificate()


def realisable() -> Certificate:
    a = Argument()
    J = a.matrix("J", "mC", "P", a.rng.standard_normal((3, 5)))
    D = a.pseudo_inverse("D", J * J.T)
    g, s = a.vector("g", "P", a.rng.standard_normal(5)), a.vector(r"\varsigma", "mC", a.rng.standard_normal(3))
    L, m, eta = a.positive("L", 2.0), a.positive("m", 3.0), a.positive(r"\eta", 0.1)
    a.vanish("the projector J^T D J keeps J^T", J.T * D * J * J.T - J.T)
    a.identity("every update lies in the span", J.T * D * J * (L * eta / m * J.T * s), L * eta / m * J.T * s)
    right = J.T * D * J * g
    a.identity("residuals (m / (L eta)) D J g give P g", L * eta / m * J.T * (m / (L * eta) * D * J * g), right)
    a.wrong("residuals D J g", left=L * eta / m * J.T * (D * J * g))
    return a.certificate()


def second_moment() -> Certificate:
    a = Argument()
    G = a.matrix("G", "P", "N", a.rng.standard_normal((5, 6)))
    t = top(a, G * G.T, 2)
    q = a.nonnegative("q", 1.0)
    V = a.projector("V", "P", onto(a.rng.standard_normal((5, 1))))
    a.assume(tr(t.T), tr(V) + q, "rank of V at most r")
    residual, K, mu = sq(G - V * G), t.K, t.mu
    a.identity("the residual is a trace", residual, tr(K) - tr(V * K))
    certificate = ((1 - V) * t.A, V * t.B, mu * q)
    a.at_most("Ky Fan: no V of rank at most r leaves less", t.tail, residual, *certificate)
    a.wrong("the whole trace is left", left=tr(K))
    a.identity("the top eigenspace attains it", sq(G - t.T * G), t.tail)
    e = a.nonnegative(r"\epsilon", 0.9)
    s = a.slack("s", tr(t.T * K) - (1 - e) * tr(K), "r holds the share 1 - epsilon")
    a.at_most("R1: at most epsilon of the second moment is left", sq(G - t.T * G), e * sq(G), s)
    return a.certificate()


def projected_kernel() -> Certificate:
    a = Argument()
    F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 6)))
    rows = a.rng.standard_normal((2, 6))
    B = a.matrix(r"\Phi_S", "m", "P", np.vstack([rows, rows[:1]]))
    D = a.pseudo_inverse("D", B * B.T)
    P = B.T * D * B
    a.vanish("the pseudo-inverse reproduces the rows, repeated ones too", P * B.T - B.T)
    a.identity("P is idempotent", P * P, P)
    a.identity("P is symmetric", P, P.T)
    a.identity("(8) = (9)", F * P * F.T, (F * B.T) * D * (B * F.T))
    a.wrong("without the pseudo-inverse", right=(F * B.T) * (B * F.T))
    W = a.matrix("W", "n", "m", a.rng.standard_normal((4, 3)))
    a.identity("data in the span: the whole kernel", W * B * P * (W * B).T, W * B * (W * B).T)
    return a.certificate()


class Split:
    """P projects, M = F (1 - P), E = M M^T = K - K_P."""

    def __init__(self) -> None:
        a = self.a = Argument()
        self.F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((4, 5)))
        self.P = a.projector(r"\Pi", "P", onto(a.rng.standard_normal((5, 2))))
        self.M = self.F * (1 - self.P)
        self.E = self.F * self.F.T - self.F * self.P * self.F.T
        a.identity("the error is M M^T", self.E, self.M * self.M.T)


def swapped(M: Matrix) -> Pair:
    """M (x) M minus its swap."""
    return Pair(((Scalar(1), M, M, False), (Scalar(-1), M, M, True)))


def eq_10_r1() -> Certificate:
    s = Split()
    s.a.at_most("squared", sq(s.E), sq(s.M) ** 2, (half, swapped(s.M)))
    s.a.wrong("a quarter of the square", right=sq(s.M) ** 2 / 4)
    return s.a.certificate()


def eq_10_norms(factor: int) -> Certificate:
    s = Split()
    f = s.a.positive("f", float(np.linalg.norm(s.a.model.matrices[r"\Phi"], 2)))
    C = s.a.root("C", f**2 - s.F * s.F.T)
    square = factor**2
    terms = (C.T * s.M, s.P * s.F.T * s.M, ((square - 1) * f**2, s.M)) if square > 1 else (C.T * s.M, s.P * s.F.T * s.M)
    s.a.at_most("squared; f is the spectral norm, f^2 - K = C C^T", sq(s.E), square * f**2 * sq(s.M), *terms)
    s.a.wrong("a twentieth of it", right=f**2 * sq(s.M) / 20)
    return s.a.certificate()


def prop_3_6() -> Certificate:
    s = Split()
    a, F, P = s.a, s.F, s.P
    T = a.projector(r"\Pi_r", "P", cut(a.model.matrix(F.T * F), 3))
    tail, mis = tr(F * (1 - T) * F.T), sq(F * T) - sq(F * P)
    a.identity("for every projector", sq(F - F * P), tail + mis)
    a.wrong("the misalignment reversed", right=tail - mis)
    return a.certificate()


def misalignment_sign() -> Certificate:
    s = Split()
    a, F, P = s.a, s.F, s.P
    t = top(a, F.T * F, 2, "_q")
    a.assume(tr(P), tr(t.T), "q = rank of P")
    K = t.K
    certificate = ((1 - P) * t.A, P * t.B)
    a.at_most("Ky Fan: P captures at most the top q energies", tr(P * K), tr(t.T * K), *certificate)
    T = a.projector(r"\Pi_r", "P", cut(a.model.matrix(K), 3))
    a.assume(T * t.T, t.T, "q at most r")
    inner = t.T
    a.at_most(
        "rank at most r: at least the energies from q to r",
        tr(T * K) - tr(inner * K),
        tr(T * K) - tr(P * K),
        *certificate,
    )
    a.at_most("which are not negative", Scalar(0), sq(F * T) - sq(F * P), *certificate, F * (T - inner))
    a.wrong("twice the top energies bound it", left=tr(inner * K))
    b = Argument()
    F, P = (
        b.matrix(r"\Phi", "n", "P", b.rng.standard_normal((4, 5))),
        b.projector(r"\Pi", "P", onto(b.rng.standard_normal((5, 4)))),
    )
    t = top(b, F.T * F, 4, "_q")
    b.assume(tr(P), tr(t.T), "q = rank of P")
    T = b.projector(r"\Pi_r", "P", cut(b.model.matrix(F.T * F), 2))
    K = t.K
    b.at_most(
        "any rank: at least minus the energies from r to q",
        tr(T * K) - tr(t.T * K),
        tr(T * K) - tr(P * K),
        (1 - P) * t.A,
        P * t.B,
    )
    c = Argument()
    F, P = (
        c.matrix(r"\Phi", "n", "P", c.rng.standard_normal((2, 5))),
        c.projector(r"\Pi", "P", onto(c.rng.standard_normal((5, 4)))),
    )
    T = c.projector(r"\Pi_r", "P", onto(c.model.matrices[r"\Phi"].T))
    c.assume(F * T, F, "r at least the rank of Phi")
    c.at_most("r at least the rank of Phi", Scalar(0), sq(F * T) - sq(F * P), F * (1 - P))
    return joined(a, b, c)


def exact_relations() -> Certificate:
    s = Split()
    a, M, E = s.a, s.M, s.E
    a.identity("trace of the error", tr(E), sq(M))
    value = a.model.matrix(E)
    Q = a.projector("Q", "n", cut(value, int(np.linalg.matrix_rank(value))))
    q = a.positive("q", float(np.linalg.matrix_rank(value)))
    a.assume(Q * M, M, "Q projects onto the range of M")
    a.assume(tr(Q), q, "q = rank of M")
    a.at_most("the rank bound, squared and times q", sq(M) ** 2 / q, sq(E), E - tr(E) / q * Q)
    a.wrong("q^2 for q", left=sq(M) ** 2 * q**2)
    a.at_most("0 <= E", 0 * E, E, M.T)
    a.at_most("E <= K", E, s.F * s.F.T, s.P * s.F.T)
    return a.certificate()


def task_link() -> Certificate:
    a = Argument()
    J = a.matrix("J", "nC", "P", a.rng.standard_normal((4, 3)))
    Z = a.matrix("Z", "nC", "N", 1.5 * np.linalg.qr(a.rng.standard_normal((5, 4)))[0].T)
    n, s2, mu = a.positive("n", 2.0), a.positive(r"\sigma^2", 2.25), a.real(r"\mu", 0.0)
    values, vectors = np.linalg.eigh(a.model.matrix(J.T * J))
    a.model.numbers[r"\mu"] = float(values[-1])
    v = a.vector("v", "P", vectors[:, -1])
    G = J.T * Z / n
    a.identity("second moment of the task gradients", G * G.T, J.T * (Z * Z.T) * J / n**2)
    a.assume(Z * Z.T, s2 * Matrix.identity("nC"), "isotropic sensitivities")
    a.assume(J.T * (J * v), mu * v, "v is a right singular vector")
    a.identity("its eigenvectors are the right singular vectors", G * (G.T * v), s2 * mu / n**2 * v)
    a.wrong("n for n^2", right=s2 * mu / n * v)
    return a.certificate()


def angles() -> Certificate:
    a = Argument()
    F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((6, 5)))
    H = F.T * F
    value = a.model.matrix(H)
    eigenvalues = np.linalg.eigvalsh(value)[::-1]
    T = a.projector("T", "P", cut(value, 2))
    P = a.projector(r"\Pi", "P", onto(a.rng.standard_normal((5, 2))))
    a.assume(tr(P), tr(T), "rank of P is r")
    a.assume(T * H, H * T, "T projects onto eigenvectors")
    s, t, u = (
        a.nonnegative(name, float(eigenvalues[i]))
        for name, i in ((r"\sigma_r^2", 1), (r"\sigma_{r+1}^2", 2), (r"\sigma_1^2", 0))
    )
    A = a.root("A", (H - s) * T)
    B = a.root("B", (t - H) * (1 - T))
    C = a.root("C", (u - H) * T)
    mis, sine = tr(T * H) - tr(P * H), tr(T * (1 - P))
    a.at_most("lower side", (s - t) * sine, mis, (1 - P) * A, P * B)
    a.wrong("the largest energy below", left=u * sine)
    D = F * (1 - T)
    a.at_most("upper side", mis, u * sine, (1 - P) * C, D * P)
    return a.certificate()


def smooth() -> Certificate:
    s = Step()
    a, L, P, g = s.a, s.L, s.P, s.g
    model = a.model
    pg = model.matrix(P * g)
    p, q = (
        a.positive("p", float(np.linalg.norm(pg))),
        a.positive("q", float(np.linalg.norm(model.matrix(s.D - s.best)))),
    )
    a.assume(g.T * (P * g), p**2, "p = |P g|")
    d = a.vector("d", "P", model.matrix(s.D - s.best))
    a.assume(P * d, d, "d = D - D* lies in the span")
    a.assume(d.T * d, q**2, "q = |D - D*|")
    shift = a.rng.standard_normal((4, 1))
    h = a.vector("h", "P", model.matrices["g"] + 0.9 * model.scalar(p) * shift / np.linalg.norm(shift))
    slack = a.slack("s", p**2 - sq(h - g), "the gradient h at D* is L-Lipschitz and |D*| = p / L")
    a.at_most(
        "the projected gradient at D*",
        sq(P * h),
        4 * p**2,
        P * g - P * (h - g),
        (Scalar(2), (1 - P) * (h - g)),
        2 * slack,
    )
    b = Argument()
    P = b.projector(r"\Pi", "P", onto(b.rng.standard_normal((4, 2))))
    h, d = (
        b.vector("h", "P", b.rng.standard_normal(4)),
        b.vector("d", "P", b.model.matrices[r"\Pi"] @ b.rng.standard_normal(4)),
    )
    b.assume(P * d, d, "d in the span")
    L = b.positive("L", 2.0)
    m = b.model
    p, q = (
        b.positive("p", 0.6 * float(np.linalg.norm(m.matrix(P * h)))),
        b.positive("q", float(np.linalg.norm(m.matrices["d"]))),
    )
    s1, s2 = b.slack("s", 4 * p**2 - sq(P * h), "as just shown"), b.nonnegative("u", 0.7)
    b.assume(d.T * d, q**2, "q = |d|")
    loss, after = h.T * d + L / 2 * sq(d) - s2, 2 * p * q + L / 2 * q**2
    t = 2 * p / q
    b.at_most("descent lemma at D*, Cauchy-Schwarz", loss, after, (1 / (2 * t), P * h - t * d), s1 / (2 * t), s2)
    b.wrong("no linear term", left=loss + s2, right=L / 2 * q**2 - 4 * p * q)
    return joined(a, b)


def convex() -> Certificate:
    a = Argument()
    P = a.projector(r"\Pi", "P", onto(a.rng.standard_normal((4, 2))))
    g = a.vector("g", "P", a.rng.standard_normal(4))
    pg = a.model.matrix(P * g)
    b = a.vector("b", "P", -0.6 * pg[:, 0] + 0.1 * (np.eye(4) - a.model.matrices[r"\Pi"]) @ a.rng.standard_normal(4))
    s = a.slack("s", -(b.T * (P * g)) - sq(b), "co-coercivity with b = h - g and D* = -P g / L")
    a.at_most("the projected gradient does not grow", sq(P * (g + b)), sq(P * g), b, (1 - P) * b, 2 * s)
    a.wrong("to a hundredth of it", right=sq(P * g) / 100)
    c = Argument()
    P = c.projector(r"\Pi", "P", onto(c.rng.standard_normal((4, 2))))
    h, d = (
        c.vector("h", "P", c.rng.standard_normal(4)),
        c.vector("d", "P", c.model.matrices[r"\Pi"] @ c.rng.standard_normal(4)),
    )
    c.assume(P * d, d, "d in the span")
    L, m = c.positive("L", 2.0), c.model
    p, q = (
        c.positive("p", 1.1 * float(np.linalg.norm(m.matrix(P * h)))),
        c.positive("q", float(np.linalg.norm(m.matrices["d"]))),
    )
    s1, s2 = c.slack("s", p**2 - sq(P * h), "as just shown, p = |P g|"), c.nonnegative("u", 0.7)
    c.assume(d.T * d, q**2, "q = |d|")
    t = p / q
    loss = h.T * d + L / 2 * sq(d) - s2
    c.at_most(
        "descent lemma at D*, Cauchy-Schwarz",
        loss,
        p * q + L / 2 * q**2,
        (1 / (2 * t), P * h - t * d),
        s1 / (2 * t),
        s2,
    )
    return joined(a, c)


def storage() -> Certificate:
    a = Argument()
    n, c, s = a.positive("n", 5.0), a.positive("C", 3.0), a.positive("s", 2.0)
    a.at_most(
        "P = n + s with s > 0: gradients of C classes cost more than their kernels",
        c * n**2,
        c * n * (n + s),
        c * n * s,
    )
    a.wrong("twice as much", left=2 * c * n**2)
    a.at_most("P = n - s: not more", c * n * (n - s), c * n**2, c * n * s)
    a.identity("by the difference C n (P - n)", c * n * (n + s) - c * n**2, c * n * s)
    return a.certificate()


ROOTS = "both sides are non-negative, so the root may be taken"
PROOFS: dict[tuple[str, str], Proof] = {
    ("sec_3_1", "counts"): Proof(
        Kind.ALGEBRA,
        storage,
        (),
        "the counts are entries of arrays and multiply-adds, by definition; figures are evaluated",
    ),
    ("eq_4", "as stated"): Proof(
        Kind.ALGEBRA,
        chain_rule,
        (CHAIN,),
        "chain rule for one sample; induction over samples; then the projector onto the span keeps the update",
    ),
    ("thm_3_3", "R1"): Proof(Kind.ALGEBRA, regret_r1, (), "equality, so the inequality"),
    ("thm_3_3", "R2"): Proof(Kind.ALGEBRA, regret_r2, (DESCENT,)),
    ("thm_3_3_minimiser", "as stated"): Proof(Kind.ALGEBRA, minimiser, (DESCENT,)),
    ("thm_3_3_regret", "one task"): Proof(Kind.ALGEBRA, one_task),
    ("regret_identity", "boxed"): Proof(Kind.ALGEBRA, regret_identity),
    ("rem_3_4", "squared loss"): Proof(Kind.ALGEBRA, realisable),
    ("cor_3_5", "second moment"): Proof(
        Kind.ALGEBRA, second_moment, (SPECTRAL,), "E g g^T = G G^T; tail = the sum of the eigenvalues below the top r"
    ),
    ("eq_7_8_9", "pseudo-inverse"): Proof(Kind.ALGEBRA, projected_kernel),
    ("eq_10", "R1"): Proof(Kind.ALGEBRA, eq_10_r1, (), ROOTS),
    ("eq_10", "R2"): Proof(Kind.ALGEBRA, lambda: eq_10_norms(1), (SPECTRAL,), ROOTS),
    ("eq_10", "R3"): Proof(Kind.ALGEBRA, lambda: eq_10_norms(2), (SPECTRAL,), ROOTS),
    ("prop_3_6", "identity"): Proof(Kind.ALGEBRA, prop_3_6, (SPECTRAL,)),
    ("prop_3_6", "sign"): Proof(Kind.ALGEBRA, misalignment_sign, (SPECTRAL,)),
    ("eq_10_relations", "exact relations"): Proof(Kind.ALGEBRA, exact_relations, (SPECTRAL,), ROOTS),
    ("task_link", "isotropic sensitivities"): Proof(Kind.ALGEBRA, task_link),
    ("angle_bound", "as stated"): Proof(Kind.ALGEBRA, angles, (SPECTRAL,), "tr T (1 - P) is |sin Theta|_F^2"),
    ("sec_3_3_2", "smooth"): Proof(
        Kind.ALGEBRA, smooth, (DESCENT,), "p, q > 0; where one is zero both sides are its limits"
    ),
    ("sec_3_3_2", "convex"): Proof(
        Kind.ALGEBRA, convex, (DESCENT, COCOERCIVE), "p, q > 0; where one is zero both sides are its limits"
    ),
}
