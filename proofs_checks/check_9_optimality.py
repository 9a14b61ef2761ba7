"""What is best: eigenvectors for prediction at every rank, the ridge that fits a noise level, a bracket for sums.

None of these is in the paper. The first says what its baseline, the top m eigenvectors, is optimal for besides captured
energy; the last is a rigorous bracket where Remark 4.1 has a rule of thumb.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from proofs_checks import rational as qq
from proofs_checks.instances import Spectral, drawn, fixed, projectors, spectral
from proofs_checks.margin import Margin, all_of, at_most, equal
from proofs_checks.proofs import PROOFS
from proofs_checks.statement import Reading, Statement, Step, Twin, Verdict

__all__ = ["STATEMENTS"]


@dataclass(frozen=True)
class Rank:
    """Features with rational spectrum, a projector (P, P) of rank m below n, a ridge."""

    spectral: Spectral
    projector: fmpq_mat
    rank: int
    lam: fmpq

    @property
    def next(self) -> fmpq:
        """The eigenvalue lambda_(m+1)."""
        return self.spectral.eigenvalues[self.rank]

    @property
    def fitted(self) -> Callable[[fmpq_mat], fmpq_mat]:
        """The map from targets to fitted values, for a kernel."""
        return lambda k: k * (k + qq.identity(self.spectral.n) * self.lam).inv()


@st.composite
def ranks(draw: Any) -> Rank:
    """Draw features, a rank below the number of rows, and any projector of it."""
    case = draw(spectral(1, 4))
    rank = draw(st.integers(0, min(case.n - 1, case.p)))
    return Rank(
        case, draw(projectors(case.p, rank)), rank, fmpq(draw(st.integers(1, 9)), draw(st.sampled_from([1, 4, 100])))
    )


def worst_targets(case: Rank) -> fmpq_mat:
    """Targets in the span of m + 1 eigenvectors that the restricted kernel does not see."""
    frame = case.spectral.left(case.rank + 1)
    seen, rank = (case.spectral.features * case.projector).transpose().__mul__(frame).rref()
    pivots = [next(j for j in range(frame.ncols()) if seen[i, j] != 0) for i in range(rank)]
    free = next(j for j in range(frame.ncols()) if j not in pivots)
    c = qq.zeros(frame.ncols(), 1)
    c[free, 0] = 1
    for i, j in enumerate(pivots):
        c[j, 0] = -seen[i, free]
    return frame * c


def share(case: Rank) -> fmpq:
    """lambda_(m+1) / (lambda_(m+1) + lambda)."""
    return case.next / (case.next + case.lam)


def missed(case: Rank, *, bound: Callable) -> Margin:
    """Some targets are missed by at least the share; the top m eigenvectors miss none by more."""
    y = worst_targets(case)
    features = case.spectral.features
    full = case.fitted(case.spectral.kernel)
    wrong = full * y - case.fitted(features * case.projector * features.transpose()) * y
    top = features * case.spectral.top_right(case.rank)
    rest = (full - case.fitted(qq.kernel_of(top))) * case.spectral.u
    margins = [
        at_most(qq.norm2(qq.select(rest, range(rest.nrows()), [j])), bound(case) ** 2) for j in range(rest.ncols())
    ]
    return all_of(at_most(bound(case) ** 2 * qq.norm2(y), qq.norm2(wrong)), margins)


RANKS = drawn(ranks())
PLAIN = Rank(Spectral(qq.identity(2), (fmpq(2), fmpq(1)), qq.identity(2)), qq.diagonal([1, 0]), 1, fmpq(1))


@dataclass(frozen=True)
class Noise:
    """Eigenvalues of a design, variances of weights and noise, and a rival ridge."""

    eigenvalues: tuple[fmpq, ...]
    tau2: fmpq
    sigma2: fmpq
    rival: fmpq


@st.composite
def noises(draw: Any) -> Noise:
    """Draw a design and a noise level; no eigenvalue, or all, may be zero."""
    values = draw(st.lists(st.builds(fmpq, st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=5))
    tau2, sigma2, rival = (fmpq(draw(st.integers(1, 9)), draw(st.integers(1, 5))) for _ in range(3))
    return Noise(tuple(values), tau2, sigma2, rival)


def risk(case: Noise, lam: fmpq) -> fmpq:
    """E |Phi (w^ - w)|^2 = sum mu (lambda^2 tau^2 + sigma^2 mu) / (mu + lambda)^2."""
    return sum(
        (m * (lam**2 * case.tau2 + case.sigma2 * m) / (m + lam) ** 2 for m in case.eigenvalues),
        fmpq(0),
    )


def from_design(case: Noise) -> Margin:
    """The sum is tau^2 l^2 |Phi S|^2 + sigma^2 |Phi S Phi^T|^2 on a diagonal design."""
    lam, n = case.rival, len(case.eigenvalues)
    s = (qq.diagonal(case.eigenvalues) + qq.identity(n) * lam).inv()
    gram = qq.diagonal(case.eigenvalues)
    design = case.tau2 * lam**2 * qq.trace(s * gram * s) + case.sigma2 * qq.trace(gram * s * gram * s)
    return equal(risk(case, lam), design)


def optimal(case: Noise, *, best: Callable) -> Margin:
    """No ridge has less risk than the best one, and the risk is that of a design."""
    return all_of(at_most(risk(case, best(case)), risk(case, case.rival)), from_design(case))


NOISES = drawn(noises())
ONE_MODE = Noise((fmpq(1),), fmpq(1), fmpq(2), fmpq(2))


def bracketed(case: tuple[int, int], *, factor: float) -> Margin:
    """|sum_{i <= r} (lambda_i - lambda~_i)| <= r |K - K~|_2 for every r, float64."""
    seed, n = case
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, n)) * np.geomspace(1, 1e-3, n)
    kernel = features @ features.T
    shift = rng.standard_normal((n, n)) if seed % 2 else np.eye(n)
    near = kernel + 0.1 * (shift + shift.T)
    one, two = (np.linalg.eigvalsh(k)[::-1] for k in (kernel, near))
    size = float(np.abs(np.linalg.eigvalsh(kernel - near)).max())
    scale = float(np.abs(one).sum() + np.abs(two).sum())
    apart = np.abs(np.cumsum(one - two))
    return all_of(at_most(float(apart[r]), factor * (r + 1) * size, scale=scale) for r in range(n))


SEEDED = fixed(*((seed, n) for seed in range(4) for n in (3, 12, 40)))
STATEMENTS = (
    Statement(
        label="minimax_prediction",
        row="minimax optimality of the top eigenvectors in prediction",
        readings=(
            Reading(
                key="every rank",
                formula=r"\min_{\mathrm{rank}\,\Pi\leq m}\ \max_{\|y\|=1}\|f_*(X)-f_\Pi(X)\|"
                r"=\frac{\lambda_{m+1}}{\lambda_{m+1}+\lambda}",
                verdict=Verdict.HOLDS,
                proof=PROOFS["minimax_prediction", "every rank"],
                steps=(
                    Step(
                        claim="some targets are missed by that share; the top m eigenvectors miss none by more",
                        check=missed,
                        cases=lambda n: (*RANKS(n), PLAIN),
                        twins=(
                            Twin("with the ridge halved", {"bound": lambda c: c.next / (c.next + c.lam / 2)}),
                            Twin("with the ridge doubled", {"bound": lambda c: c.next / (c.next + 2 * c.lam)}),
                        ),
                        sides={"bound": share},
                        attained="both sides, by the top m eigenvectors",
                    ),
                ),
            ),
        ),
        table=2,
    ),
    Statement(
        label="optimal_ridge",
        row="optimal ridge for a noise level",
        readings=(
            Reading(
                key="every design",
                formula=r"\lambda=\sigma^2/\tau^2\ \mathrm{minimises}\ "
                r"E\|\Phi(\hat w-w)\|^2=\sum_j\frac{\mu_j(\lambda^2\tau^2+\sigma^2\mu_j)}{(\mu_j+\lambda)^2}",
                verdict=Verdict.HOLDS,
                proof=PROOFS["optimal_ridge", "every design"],
                hypotheses=("weights with mean 0 and covariance tau^2 I", "independent noise of variance sigma^2"),
                steps=(
                    Step(
                        claim="no rival has less risk, and the sum is the risk",
                        check=optimal,
                        cases=lambda n: (*NOISES(n), ONE_MODE),
                        twins=(
                            Twin("twice the ratio", {"best": lambda c: 2 * c.sigma2 / c.tau2}),
                            Twin("the ratio inverted", {"best": lambda c: c.tau2 / c.sigma2}),
                        ),
                        sides={"best": lambda c: c.sigma2 / c.tau2},
                    ),
                ),
            ),
        ),
        table=2,
    ),
    Statement(
        label="rank_bracket",
        row="a bracket for captured energies from a projected kernel (Ky Fan)",
        readings=(
            Reading(
                key="every r",
                formula=r"|\sum_{i\leq r}(\lambda_i-\tilde\lambda_i)|\leq r\,\|K-\tilde K\|_2",
                verdict=Verdict.HOLDS,
                proof=PROOFS["rank_bracket", "every r"],
                steps=(
                    Step(
                        claim="for every r, shifts of the identity and others",
                        check=bracketed,
                        cases=SEEDED,
                        twins=(Twin("nine tenths", {"factor": 0.9}), Twin("half", {"factor": 0.5})),
                        sides={"factor": 1.0},
                        attained="K~ = K + c I",
                    ),
                ),
            ),
        ),
        table=2,
    ),
)
