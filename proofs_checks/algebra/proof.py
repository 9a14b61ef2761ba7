"""What a reading carries as its proof: the kind, the certificate, the theorems that it assumes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from proofs_checks.algebra.argument import Certificate

__all__ = ["THEOREMS", "Kind", "Proof", "Theorem"]


class Kind(StrEnum):
    """How a reading is proved for every dimension, if it is."""

    ALGEBRA = "algebra"
    MOMENTS = "moments"
    FINITE = "finite"
    EVIDENCE = "evidence only"


@dataclass(frozen=True)
class Theorem:
    """A theorem of analysis that proofs may assume, with its source."""

    name: str
    says: str
    source: str


CHAIN = Theorem(
    "chain rule",
    "the derivative of a composition is the product of the derivatives",
    "Rudin, Principles of Mathematical Analysis, Thm 9.15",
)
DESCENT = Theorem(
    "descent lemma",
    "a gradient that is L-Lipschitz on a segment gives f(x + d) <= f(x) + <grad f(x), d> + L/2 |d|^2",
    "Nesterov, Lectures on Convex Optimization (2018), Lemma 1.2.3",
)
COCOERCIVE = Theorem(
    "co-coercivity",
    "for convex f with L-Lipschitz gradient: |grad f(x) - grad f(y)|^2 <= L <grad f(x) - grad f(y), x - y>",
    "Nesterov, Lectures on Convex Optimization (2018), Thm 2.1.5",
)
SPECTRAL = Theorem(
    "spectral theorem",
    "a real symmetric matrix has an orthonormal basis of eigenvectors; so a positive semi-definite one is C C^T",
    "Horn and Johnson, Matrix Analysis (2013), Thm 4.1.5",
)
JENSEN = Theorem(
    "Jensen",
    "phi(E X) <= E phi(X) for convex phi; with the logarithm: weighted means, a^s b^t <= s a + t b for s + t = 1",
    "Rudin, Real and Complex Analysis, Thm 3.3",
)
MCDIARMID = Theorem(
    "McDiarmid",
    "bounded differences c_i: Pr(f - E f >= t) <= exp(-2 t^2 / sum c_i^2)",
    "Boucheron, Lugosi and Massart, Concentration Inequalities (2013), Thm 6.2",
)
CHERNOFF = Theorem(
    "Chernoff",
    "Pr(X >= a) <= E X / a for X >= 0, so with squares (Chebyshev) and with exp(t X); a union has at most the sum",
    "Boucheron, Lugosi and Massart, Concentration Inequalities (2013), section 2.2",
)
GAUSSIAN = Theorem(
    "Gaussian vectors",
    "E exp <t, g> = exp(t^T C t / 2) determines the law; so uncorrelated parts are independent, and rotations keep it",
    "Billingsley, Probability and Measure (1995), section 29",
)
THEOREMS = (CHAIN, DESCENT, COCOERCIVE, SPECTRAL, JENSEN, MCDIARMID, CHERNOFF, GAUSSIAN)


@dataclass(frozen=True)
class Proof:
    """How a reading is proved: `conclusion` says how the lines give the formula, `missing` what evidence lacks."""

    kind: Kind
    certificate: Callable[[], Certificate] | None = None
    assumed: tuple[Theorem, ...] = ()
    conclusion: str = ""
    missing: str = ""
