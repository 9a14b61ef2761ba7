"""Certificates of what is best: eigenvectors for prediction, the ridge for a noise level, and a bracket by Ky Fan."""

import numpy as np

from proofs_checks.algebra.argument import Argument, Certificate
from proofs_checks.algebra.proof import SPECTRAL, Kind, Proof
from proofs_checks.algebra.settings import ridge, top_of
from proofs_checks.algebra.words import sq, tr
from proofs_checks.proofs_3 import joined

__all__ = ["PROOFS"]


def minimax() -> Certificate:
    a = Argument()
    N, l = a.matrix("N", "n", "P", np.outer([1.0, 1, 0, 0], [1.0, 2])), a.positive(r"\lambda", 0.7)
    y = a.vector("y", "n", [1.0, -1, 2, 3])
    a.assume(N.T * y, 0 * (N.T * y), "y in the null space of K_P = N N^T")
    Q = a.inverse("R_P", N * N.T + l)
    a.identity("the restricted fit of such a y is zero", Q * (N * (N.T * y)), 0 * y)
    b = Argument()
    low, l, values = b.nonnegative("a", 1.5), b.positive(r"\lambda", 0.7), np.array([4.0, 2.5, 1.5])
    W = b.matrix("W", "n", "m", np.linalg.qr(b.rng.standard_normal((5, 3)))[0])
    D = b.matrix("D", "m", "q", np.diag(np.sqrt(values - 1.5)))
    z = b.vector("z", "m", b.rng.standard_normal(3))
    b.assume(W.T * W, 1, "W holds the top m + 1 eigenvectors, K W = W L, L = a + D D^T, a their least eigenvalue")
    L = low + D * D.T
    y = W * (L + l) * z
    b.identity("y = W (L + lambda) z has the full fit W L z", (W * L * W.T) * (W * z) + l * (W * z), y)
    terms = ((2 * l * low * (low + l), D.T * z), (l * (2 * low + l), D * (D.T * z)))
    b.at_most(
        "the fit is at least a / (a + lambda) of y, squared", low**2 * sq(y), (low + l) ** 2 * sq(W * L * z), *terms
    )
    b.wrong("all of y", left=(low + l) ** 2 * sq(y))
    c = Argument()
    low, s, mu, l = (
        c.nonnegative("a", 1.5),
        c.nonnegative("s", 0.5),
        c.nonnegative(r"\mu", 1.0),
        c.positive(r"\lambda", 0.7),
    )
    c.assume(mu, low - s, "an eigenvalue that the top m leave out, at most a")
    right = low**2 * (mu + l) ** 2
    c.at_most(
        "one mode left out: mu / (mu + lambda) at most a / (a + lambda), squared",
        (low + l) ** 2 * mu**2,
        right,
        l * s * ((2 * low + l) * mu + low * l),
    )
    c.wrong("half of it", right=right / 4)
    return joined(a, b, c)


def optimal_ridge() -> Certificate:
    a = Argument()
    r = ridge(a)
    w, e = a.vector("w", "P", a.rng.standard_normal(3)), a.vector(r"\epsilon", "n", a.rng.standard_normal(4))
    a.identity("error of the fit", r.F * (r.S * (r.F.T * (r.F * w + e)) - w), r.F * (r.S * (r.F.T * e - r.l * w)))
    b = Argument()
    mu, t, d, g = b.nonnegative(r"\mu", 1.2), b.nonnegative(r"\tau^2", 2.0), b.positive("d", 1.9), b.positive("g", 1.5)
    l, best = d - mu, g - mu
    risk = mu * (l**2 * t + best * t * mu) / d**2
    b.at_most(
        "one mode, d = mu + lambda, g = mu + sigma^2 / tau^2",
        mu * (best**2 * t + best * t * mu) / g**2,
        risk,
        (mu**2 * t / (d**2 * g), l - best),
    )
    b.wrong("half of the risk", right=risk / 2)
    return joined(a, b)


def bracket() -> Certificate:
    a = Argument()
    X, E = a.rng.standard_normal((5, 5)), a.rng.standard_normal((5, 5))
    near = top_of(a, X @ X.T, "n", 2)
    d = a.positive("d", float(np.linalg.norm(E + E.T, 2)))
    C = a.matrix(
        "C",
        "n",
        "c",
        (lambda v, q: q * np.sqrt(np.clip(v, 0, None)))(*np.linalg.eigh(a.model.numbers["d"] * np.eye(5) - E - E.T)),
    )
    difference = d - C * C.T
    T = a.projector(r"T_K", "n", (lambda q: q[:, -2:] @ q[:, -2:].T)(np.linalg.eigh(X @ X.T + E + E.T)[1]))
    a.assume(tr(T), tr(near.T), "T_K projects onto the top r eigenvectors of K = K~ + d - C C^T, d = |K - K~|")
    K = near.K + difference
    a.at_most(
        "sum of the top r of K against that of K~",
        tr(T * K) - near.sum,
        d * tr(T),
        C.T * T,
        (1 - T) * near.A,
        T * near.B,
    )
    a.wrong("a hundredth", right=d * tr(T) / 100 - d)
    return a.certificate()


PROOFS: dict[tuple[str, str], Proof] = {
    ("minimax_prediction", "every rank"): Proof(
        Kind.ALGEBRA,
        minimax,
        (SPECTRAL,),
        "the null space of K_P meets the span of m + 1 eigenvectors, by dimension; for the top m the modes left out are "
        "added with the weights (u_j^T y)^2, and u_(m+1) attains",
    ),
    ("optimal_ridge", "every design"): Proof(
        Kind.ALGEBRA,
        optimal_ridge,
        (SPECTRAL,),
        "E w w^T = tau^2, E e e^T = sigma^2 give the sum over modes; each mode is least",
    ),
    ("rank_bracket", "every r"): Proof(Kind.ALGEBRA, bracket, (SPECTRAL,), "and the same with K and K~ exchanged"),
}
