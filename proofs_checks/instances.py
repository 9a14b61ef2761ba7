"""Cases that meet a hypothesis, sit on its edge, or break it: rational ones for exact checks, seeded ones for float64.

A strategy draws small integers first; everything exact is built from them, so hypothesis can shrink a violation to a
small one. Orthogonal matrices are products of rational reflections: with them a spectral decomposition, and so every
statement about eigenvalues, is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from proofs_checks import rational as qq
from proofs_checks.statement import Cases

__all__ = [
    "SEED",
    "Population",
    "Ridge",
    "Span",
    "Spectral",
    "drawn",
    "features",
    "fixed",
    "generators",
    "matrices",
    "orthogonal",
    "populations",
    "positive",
    "projectors",
    "rationals",
    "ridges",
    "shapes",
    "spans",
    "spectral",
]

SEED = 20260211


def fixed(*cases: Any) -> Cases:
    """Return a family that holds these cases, whatever the number asked for."""
    return lambda count: cases


def drawn(strategy: st.SearchStrategy, share: float = 1.0) -> Cases:
    """Return a family drawn from a hypothesis strategy; `share` < 1 for cases that are slow to check."""

    @lru_cache(maxsize=2)
    def draw(count: int) -> Sequence[Any]:
        cases: list[Any] = []

        @seed(SEED)
        @settings(
            max_examples=max(3, round(share * count)),
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def record(case: Any) -> None:
            cases.append(case)

        record()
        return tuple(cases)

    return draw


rationals = st.builds(fmpq, st.integers(-4, 4), st.sampled_from([1, 1, 1, 2, 3]))
positive = st.builds(fmpq, st.integers(1, 8), st.sampled_from([1, 2, 3, 10]))
generators = st.builds(np.random.default_rng, st.integers(0, 2**32 - 1))


def matrices(m: int, n: int) -> st.SearchStrategy[fmpq_mat]:
    """Draw an m x n rational matrix of small entries."""
    return st.lists(rationals, min_size=m * n, max_size=m * n).map(lambda entries: fmpq_mat(m, n, entries))


def shapes(low: int = 1, high: int = 4) -> st.SearchStrategy[tuple[int, int]]:
    """Draw a number of rows and a number of columns."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


def features(low: int = 1, high: int = 4) -> st.SearchStrategy[fmpq_mat]:
    """Draw rational features of any shape: n < P, n = P and n > P occur."""
    return shapes(low, high).flatmap(lambda shape: matrices(*shape))


def orthogonal(n: int) -> st.SearchStrategy[fmpq_mat]:
    """Draw a product of two rational reflections."""
    vectors = st.lists(st.integers(-3, 3), min_size=n, max_size=n)
    return st.tuples(vectors, vectors).map(lambda pair: qq.reflection(pair[0]) * qq.reflection(pair[1]))


@st.composite
def projectors(draw: Any, n: int, rank: int | None = None) -> fmpq_mat:
    """Draw a rational orthogonal projector of size n, of the given rank if one is given."""
    if rank is None:
        return qq.projector(draw(matrices(draw(st.integers(1, n)), n)))
    frame = draw(orthogonal(n))
    return frame * qq.diagonal([1] * rank + [0] * (n - rank)) * frame.transpose()


@dataclass(frozen=True)
class Span:
    """Training features (n, P) and inducing rows (m, P), rational."""

    features: fmpq_mat
    inducing: fmpq_mat


@st.composite
def spans(draw: Any, high: int = 4, repeated: bool = True) -> Span:
    """Draw a Span; inducing rows may repeat, so that their Gram matrix is singular."""
    n, p, m = draw(st.integers(1, high)), draw(st.integers(1, high)), draw(st.integers(1, 3))
    inducing = draw(matrices(m, p))
    if repeated and draw(st.booleans()):
        inducing = qq.stack(inducing, qq.select(inducing, [0]))
    return Span(draw(matrices(n, p)), inducing)


@dataclass(frozen=True)
class Spectral:
    """Features U S V^T with rational orthogonal U (n, n), V (P, P) and singular values in descending order."""

    u: fmpq_mat
    sigma: tuple[fmpq, ...]
    v: fmpq_mat

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.u.nrows()

    @property
    def p(self) -> int:
        """Number of columns."""
        return self.v.nrows()

    @property
    def middle(self) -> fmpq_mat:
        """The n x P matrix that carries the singular values on its diagonal."""
        middle = qq.zeros(self.n, self.p)
        for i, value in enumerate(self.sigma):
            middle[i, i] = value
        return middle

    @property
    def features(self) -> fmpq_mat:
        """U S V^T."""
        return self.u * self.middle * self.v.transpose()

    @property
    def kernel(self) -> fmpq_mat:
        """The Gram matrix of the features, U S S^T U^T."""
        return qq.kernel_of(self.features)

    @property
    def eigenvalues(self) -> tuple[fmpq, ...]:
        """The n eigenvalues of the kernel in descending order."""
        return tuple(value * value for value in self.sigma) + (fmpq(0),) * (self.n - len(self.sigma))

    def top_right(self, r: int) -> fmpq_mat:
        """The projector onto the first r right singular vectors, (P, P)."""
        return self.v * qq.diagonal([1] * r + [0] * (self.p - r)) * self.v.transpose()

    def left(self, r: int) -> fmpq_mat:
        """The first r eigenvectors of the kernel as columns, (n, r)."""
        return qq.select(self.u, range(self.n), range(r))


@st.composite
def spectral(draw: Any, low: int = 1, high: int = 4, square: bool = False, positive_rank: bool = False) -> Spectral:
    """Draw a Spectral; ties, zeros and rank deficiency occur."""
    n = draw(st.integers(low, high))
    p = n if square else draw(st.integers(low, high))
    values = st.builds(fmpq, st.integers(1 if positive_rank else 0, 6), st.sampled_from([1, 1, 2, 3]))
    sigma = sorted(draw(st.lists(values, min_size=min(n, p), max_size=min(n, p))), reverse=True)
    return Spectral(draw(orthogonal(n)), tuple(sigma), draw(orthogonal(p)))


@dataclass(frozen=True)
class Ridge:
    """A ridge problem: features (n, P), targets (n, 1), ridge > 0, and a test feature (P, 1), rational."""

    features: fmpq_mat
    targets: fmpq_mat
    lam: fmpq
    test: fmpq_mat

    @property
    def kernel(self) -> fmpq_mat:
        """The Gram matrix."""
        return qq.kernel_of(self.features)

    @property
    def weights(self) -> fmpq_mat:
        """The minimiser, from the dual solution."""
        return self.features.transpose() * qq.ridge_solve(self.kernel, self.targets, self.lam)

    def objective(self, weights: fmpq_mat) -> fmpq:
        """Half the squared residual plus half the ridge times the squared norm."""
        return (qq.norm2(self.features * weights - self.targets) + self.lam * qq.norm2(weights)) / 2


@st.composite
def ridges(draw: Any, high: int = 4) -> Ridge:
    """Draw a ridge problem; n < P and n > P occur, and the features may be rank-deficient."""
    n, p = draw(shapes(1, high))
    return Ridge(draw(matrices(n, p)), draw(matrices(n, 1)), draw(positive), draw(matrices(p, 1)))


@dataclass(frozen=True)
class Population:
    """A finite law: features (N, P) and values f (N, 1) of the atoms, with rational probabilities."""

    features: fmpq_mat
    values: fmpq_mat
    weights: tuple[fmpq, ...]

    def mean(self, entries: Sequence[fmpq]) -> fmpq:
        """Expectation of a function given by its values at the atoms."""
        return sum((w * e for w, e in zip(self.weights, entries, strict=True)), fmpq(0))

    @property
    def second_moment(self) -> fmpq_mat:
        """E phi phi^T."""
        return self.features.transpose() * qq.diagonal(self.weights) * self.features

    @property
    def cross(self) -> fmpq_mat:
        """E phi f."""
        return self.features.transpose() * qq.diagonal(self.weights) * self.values


@st.composite
def populations(draw: Any, high: int = 3) -> Population:
    """Draw a finite law on two to four atoms."""
    atoms, p = draw(st.integers(2, 4)), draw(st.integers(1, high))
    raw = draw(st.lists(st.integers(1, 5), min_size=atoms, max_size=atoms))
    return Population(draw(matrices(atoms, p)), draw(matrices(atoms, 1)), tuple(fmpq(w, sum(raw)) for w in raw))
