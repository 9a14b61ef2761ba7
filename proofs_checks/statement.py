"""The records of the ledger: what a statement says, how it may be read, what was found, and on what evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flint import fmpq, fmpq_mat

from proofs_checks.algebra.argument import Certificate
from proofs_checks.algebra.proof import Proof
from proofs_checks.margin import Margin, by_reference
from proofs_checks.rational import ones

__all__ = [
    "Evidence",
    "Measurement",
    "Nature",
    "Reading",
    "Refutation",
    "RefutationEvidence",
    "Statement",
    "Step",
    "StepEvidence",
    "Twin",
    "TwinEvidence",
    "Verdict",
    "agreement",
    "found_verdict",
    "meet",
]

Check = Callable[..., Margin]
Cases = Callable[[int], Sequence[Any]]


class Verdict(StrEnum):
    """What can be said of a reading. BROKEN is never recorded: it says that the evidence does not carry."""

    HOLDS = "holds"
    ADDED = "holds with an added hypothesis"
    FAILS = "fails"
    HEURISTIC = "heuristic"
    DEFINITION = "definition"
    PENDING = "pending"
    BROKEN = "evidence does not carry"


class Nature(StrEnum):
    """What kind of sentence a reading is: evidence decides a claim, and accompanies the other two."""

    CLAIM = "claim"
    DEFINITION = "definition"
    HEURISTIC = "rule of thumb"


@dataclass(frozen=True)
class Twin:
    """A deliberately broken call of a check: some sides replaced, or cases that break a hypothesis."""

    name: str
    sides: Mapping[str, Any] = field(default_factory=dict)
    cases: Cases | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line of a proof: `check(case, **sides)` must hold for every case, and for no twin on all of its cases."""

    claim: str
    check: Check
    cases: Cases
    twins: tuple[Twin, ...]
    sides: Mapping[str, Any] = field(default_factory=dict)
    attained: str = ""


@dataclass(frozen=True, kw_only=True)
class Refutation:
    """A counterexample: `check(case, **printed)` must be rejected, with the stated two sides, and every control
    accepted.

    A control calls the same check on the repaired side, or on a case that meets the missing hypothesis. `search` is a
    hypothesis strategy from which a violation is to be found without help; `exact` says why float64 is used, if it is.
    """

    name: str
    check: Check
    case: Any
    controls: tuple[Twin, ...]
    printed: Mapping[str, Any] = field(default_factory=dict)
    left: Any = None
    right: Any = None
    search: Any = None
    why_float: str = ""


@dataclass(frozen=True)
class Measurement:
    """A number of one network and one data set beside what theory says of it: one value for each class, or one.

    `theory` is a sentence; `bounds` are its numbers, one for each value or one, where it has any.
    """

    quantity: str
    theory: str
    values: tuple[float, ...]
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to read a statement whose formula was lost, with the recorded verdict, its proof and its evidence.

    `references` are the functions of dntk_ref that compute its sides, each a step beside the exact value.
    """

    key: str
    formula: str
    verdict: Verdict
    proof: Proof | None = None
    steps: tuple[Step, ...] = ()
    refutations: tuple[Refutation, ...] = ()
    nature: Nature = Nature.CLAIM
    hypotheses: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    note: str = ""
    measured: Callable[[], tuple[Measurement, ...]] = tuple
    references: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A row of the ledger. `row` is the item as the list of statements names it; table 3 is "On real gradients"."""

    label: str
    row: str
    readings: tuple[Reading, ...]
    table: int = 1
    disagreement: str = ""


@dataclass(frozen=True)
class TwinEvidence:
    """What became of a broken twin: its worst margin, which must not hold."""

    name: str
    margin: Margin

    @property
    def rejected(self) -> bool:
        """Whether the check saw that the twin is broken."""
        return not self.margin.holds


@dataclass(frozen=True)
class StepEvidence:
    """The worst margin over all cases, the largest ratio of the two sides, and the twins."""

    step: Step
    margin: Margin
    tightest: float | None
    instances: int
    twins: tuple[TwinEvidence, ...]

    @property
    def carries(self) -> bool:
        """Whether the step holds and every twin is rejected."""
        return self.margin.holds and all(twin.rejected for twin in self.twins)


@dataclass(frozen=True)
class RefutationEvidence:
    """The margin of the counterexample, whether its sides are the stated ones, its controls, what the search found."""

    refutation: Refutation
    margin: Margin
    reproduced: bool
    controls: tuple[TwinEvidence, ...]
    found: Any
    found_margin: Margin | None
    examples: int

    @property
    def carries(self) -> bool:
        """Whether the printed claim is rejected, the controls accepted, and the search successful (if there is one)."""
        searched = self.refutation.search is None or self.found_margin is not None
        return (
            not self.margin.holds
            and self.reproduced
            and searched
            and all(control.margin.holds for control in self.controls)
        )


@dataclass(frozen=True)
class Evidence:
    """All that was found about one reading."""

    statement: Statement
    reading: Reading
    steps: tuple[StepEvidence, ...]
    refutations: tuple[RefutationEvidence, ...]
    references: tuple[StepEvidence, ...] = ()
    certificate: Certificate | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict that this evidence supports."""
        return found_verdict(self)


def found_verdict(evidence: Evidence) -> Verdict:
    """Return the verdict that the evidence supports, without looking at the recorded one."""
    parts = evidence.steps + evidence.refutations
    reading = evidence.reading
    proved = evidence.certificate is None or evidence.certificate.carries
    if not proved or not all(part.carries for part in (*parts, *evidence.references)):
        return Verdict.BROKEN
    if not parts:
        return Verdict.PENDING
    if reading.nature is Nature.DEFINITION:
        return Verdict.DEFINITION
    if reading.nature is Nature.HEURISTIC:
        return Verdict.HEURISTIC
    if reading.added and evidence.steps:
        return Verdict.ADDED
    if evidence.refutations:
        return Verdict.FAILS
    return Verdict.HOLDS


def meet(case: Any, hypotheses: Sequence[Callable[[Any], bool]]) -> None:
    """Assert on the instance itself that it meets the hypotheses; a twin drops one by passing fewer."""
    for hypothesis in hypotheses:
        if not hypothesis(case):
            raise AssertionError(f"the instance does not meet the hypothesis {hypothesis.__name__!r}: {case}")


def agreement(claim: str, cases: Cases, reference: Callable, exact: Callable, scale: Callable) -> Step:
    """Return the step that dntk_ref's float64 quantity is the exact one; its twins move the exact value by a thousandth."""

    def moved(case: Any) -> Any:
        value = exact(case)
        return value + (ones(value.nrows(), value.ncols()) if isinstance(value, fmpq_mat) else 1) * fmpq(1, 1000)

    def doubled(case: Any) -> Any:
        return moved(case) * fmpq(2)

    twins = (Twin("a thousandth added", {"exact": moved}), Twin("doubled, a thousandth added", {"exact": doubled}))
    return Step(
        claim=claim,
        check=by_reference,
        cases=cases,
        twins=twins,
        sides={"reference": reference, "exact": exact, "scale": scale},
    )
