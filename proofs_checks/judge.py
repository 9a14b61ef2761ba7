"""Judge a statement: run its steps, their broken twins, its counterexamples and the searches for new ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import fmpq
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target

from proofs_checks.instances import SEED
from proofs_checks.margin import Check, Margin, all_of, undefined
from proofs_checks.rational import q
from proofs_checks.statement import (
    Evidence,
    Reading,
    Refutation,
    RefutationEvidence,
    Statement,
    Step,
    StepEvidence,
    Twin,
    TwinEvidence,
)

__all__ = ["FULL", "QUICK", "call", "judge", "judge_refutation", "judge_step", "search"]

FULL, QUICK = 120, 12
SEARCH_EXAMPLES = 2000


def call(check: Check, case: Any, sides: Mapping[str, Any]) -> Margin:
    """Run a check on one case; a side that does not exist there (division by zero, singular matrix) is a failure."""
    try:
        return check(case, **sides)
    except (ZeroDivisionError, np.linalg.LinAlgError) as error:
        return undefined(str(error) or type(error).__name__)


def _twin(step: Step, twin: Twin, count: int) -> TwinEvidence:
    """Run a twin; one that few drawn cases happen to accept gets more of them before it counts as accepted."""
    cases, sides = twin.cases or step.cases, {**step.sides, **twin.sides}
    for size in (count, FULL, 4 * FULL):
        margin = all_of(call(step.check, case, sides) for case in cases(size))
        if not margin.holds:
            break
    return TwinEvidence(twin.name, margin)


def judge_step(step: Step, count: int) -> StepEvidence:
    """Run a step on its cases, and each twin of it through the very same function."""
    margins = [call(step.check, case, step.sides) for case in step.cases(count)]
    ratios = [margin.ratio for margin in margins if margin.ratio is not None]
    twins = tuple(_twin(step, twin, count) for twin in step.twins)
    return StepEvidence(step, all_of(margins), max(ratios, default=None), len(margins), twins)


def _same(value: Any, stated: Any) -> bool:
    """Whether a side is the stated one: rationals exactly, a decimal string to its last printed digit."""
    if stated is None:
        return True
    if isinstance(stated, str) and "." in stated:
        digits = len(stated.split(".")[1])
        return abs(float(value) - float(stated)) <= 0.5 * 10.0**-digits
    if isinstance(value, fmpq | int):
        return q(value) == q(stated)
    return value == stated


class _ViolationError(Exception):
    """A search has found what it looks for."""


def search(refutation: Refutation, examples: int = SEARCH_EXAMPLES) -> tuple[Any, Margin | None, int]:
    """Look for a violation of the printed claim without help; return the smallest one found and the examples it took."""
    found: list[tuple[Any, Margin]] = []
    tried = 0

    @seed(SEED)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.target, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(refutation.search)
    def attempt(case: Any) -> None:
        nonlocal tried
        tried += not found
        margin = call(refutation.check, case, refutation.printed)
        if np.isfinite(margin.excess):
            target(float(np.clip(margin.excess, -1e300, 1e300)))
        if not margin.holds:
            found.append((case, margin))
            raise _ViolationError

    try:
        attempt()
    except _ViolationError:
        return found[-1][0], found[-1][1], tried
    return None, None, tried


def judge_refutation(refutation: Refutation) -> RefutationEvidence:
    """Run a counterexample, its controls and its search."""
    margin = call(refutation.check, refutation.case, refutation.printed)
    reproduced = _same(margin.left, refutation.left) and _same(margin.right, refutation.right)
    controls = tuple(
        TwinEvidence(
            control.name,
            all_of(
                call(refutation.check, case, {**refutation.printed, **control.sides})
                for case in (control.cases(1) if control.cases else (refutation.case,))
            ),
        )
        for control in refutation.controls
    )
    found, found_margin, tried = (None, None, 0) if refutation.search is None else search(refutation)
    return RefutationEvidence(refutation, margin, reproduced, controls, found, found_margin, tried)


def _judge_reading(statement: Statement, reading: Reading, count: int, references: Sequence[StepEvidence]) -> Evidence:
    return Evidence(
        statement,
        reading,
        tuple(judge_step(step, count) for step in reading.steps),
        tuple(judge_refutation(refutation) for refutation in reading.refutations),
        references=tuple(references),
        certificate=reading.proof.certificate() if reading.proof and reading.proof.certificate else None,
    )


def judge(statement: Statement, count: int = FULL) -> tuple[Evidence, ...]:
    """Return the evidence for every reading of a statement; `count` cases are drawn from each family.

    The readings of one statement share what computes their sides, which is judged once.
    """
    known: dict[int, StepEvidence] = {}
    for step in (step for reading in statement.readings for step in reading.references):
        if id(step) not in known:
            known[id(step)] = judge_step(step, count)
    return tuple(
        _judge_reading(statement, reading, count, [known[id(step)] for step in reading.references])
        for reading in statement.readings
    )
