"""Hypotheses that several proofs share, each with its numeric model: ridge regression, Ky Fan's sum, a truncation rank."""

from dataclasses import dataclass

import numpy as np

from proofs_checks.algebra.argument import Argument
from proofs_checks.algebra.words import Matrix, Scalar, sq, tr

__all__ = ["Ridge", "Top", "cut", "onto", "ridge", "top", "top_of"]


def onto(columns: np.ndarray) -> np.ndarray:
    """Return the orthogonal projector onto a column space of full rank."""
    return columns @ np.linalg.pinv(columns)


def cut(symmetric: np.ndarray, rank: int) -> np.ndarray:
    """Return the projector onto the top eigenvectors."""
    vectors = np.linalg.eigh(symmetric)[1][:, ::-1][:, :rank]
    return vectors @ vectors.T


@dataclass(frozen=True)
class Ridge:
    """F (n x P), ridge l, R = (F F^T + l)^-1, S = (F^T F + l)^-1, targets y."""

    F: Matrix
    l: Scalar  # noqa: E741  lambda
    R: Matrix
    S: Matrix
    y: Matrix

    @property
    def K(self) -> Matrix:  # noqa: N802
        """F F^T."""
        return self.F * self.F.T  # type: ignore[return-value]

    @property
    def H(self) -> Matrix:  # noqa: N802
        """F^T F + l."""
        return self.F.T * self.F + self.l  # type: ignore[return-value]

    @property
    def best(self) -> Matrix:
        """w_* = F^T R y."""
        return self.F.T * self.R * self.y  # type: ignore[return-value]

    def energy(self, w: Matrix) -> Scalar:
        """J(w) = 1/2 |F w - y|^2 + l/2 |w|^2."""
        return (sq(self.F * w - self.y) + self.l * sq(w)) / 2  # type: ignore[operator]


def ridge(a: Argument, n: int = 4, p: int = 3) -> Ridge:
    """State ridge regression."""
    F = a.matrix(r"\Phi", "n", "P", a.rng.standard_normal((n, p)))
    l = a.positive(r"\lambda", 0.7)  # noqa: E741
    R = a.inverse("R", F * F.T + l)  # type: ignore[operator]
    S = a.inverse("S", F.T * F + l)  # type: ignore[operator]
    return Ridge(F, l, R, S, a.vector("y", "n", a.rng.standard_normal(n)))


@dataclass(frozen=True)
class Top:
    """K = mu + A A^T - B B^T with T A = A, T B = 0: T projects onto the top eigenvectors, tr T K is their sum."""

    K: Matrix
    T: Matrix
    A: Matrix
    B: Matrix
    mu: Scalar

    @property
    def sum(self) -> Scalar:
        """The sum of the top eigenvalues."""
        return tr(self.T * self.K)  # type: ignore[arg-type]

    @property
    def tail(self) -> Scalar:
        """The sum of the others."""
        return tr((1 - self.T) * self.K)  # type: ignore[arg-type]


def top(a: Argument, K: Matrix, rank: int, mark: str = "") -> Top:
    """State the top eigenspace of a symmetric positive semi-definite K, by the spectral theorem; mu >= 0."""
    value = a.model.matrix(K)
    eigenvalues = np.linalg.eigvalsh(value)[::-1]
    level = float(eigenvalues[rank - 1] + eigenvalues[rank]) / 2 if rank < len(value) else float(eigenvalues[-1]) / 2
    space, size, eye = cut(value, rank), K.rows, np.eye(len(value))
    mu = a.nonnegative(rf"\mu{mark}", level)
    T = a.projector(f"T{mark}", size, space)
    A = a.matrix(f"A{mark}", size, f"{size}_{{A{mark}}}", space @ _root(space @ (value - level * eye) @ space))
    B = a.matrix(
        f"B{mark}",
        size,
        f"{size}_{{B{mark}}}",
        (eye - space) @ _root((eye - space) @ (level * eye - value) @ (eye - space)),
    )
    a.assume(T * A, A)
    a.assume(T * B, 0 * B)
    a.assume(A * A.T, K - mu + B * B.T)  # type: ignore[operator]
    return Top(K, T, A, B, mu)


def top_of(a: Argument, value: np.ndarray, size: str, rank: int, mark: str = "") -> Top:
    """State the same for a K of which nothing else is used: K is mu + A A^T - B B^T itself."""
    eigenvalues, space, eye = np.linalg.eigvalsh(value)[::-1], cut(value, rank), np.eye(len(value))
    level = float(eigenvalues[rank - 1] + eigenvalues[rank]) / 2
    mu = a.nonnegative(rf"\mu{mark}", level)
    T = a.projector(f"T{mark}", size, space)
    A = a.matrix(f"A{mark}", size, f"{size}_{{A{mark}}}", space @ _root(space @ (value - level * eye) @ space))
    below = (eye - space) @ (level * eye - value) @ (eye - space)
    B = a.matrix(f"B{mark}", size, f"{size}_{{B{mark}}}", (eye - space) @ _root(below))
    a.assume(T * A, A)
    a.assume(T * B, 0 * B)
    return Top(mu + A * A.T - B * B.T, T, A, B, mu)


def _root(psd: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((psd + psd.T) / 2)
    return vectors * np.sqrt(np.where(values > 1e-12, values, 0))
