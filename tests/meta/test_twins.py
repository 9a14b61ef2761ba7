"""The tests of the tests: a broken twin runs the code of its check, and the machinery of the ledger can fail."""

import sys

import numpy as np
import pytest
from flint import arb, fmpq
from hypothesis import strategies as st

from proofs_checks import rational as qq
from proofs_checks.instances import drawn, fixed
from proofs_checks.judge import call, judge, judge_refutation, judge_step
from proofs_checks.margin import ALLOWED, Kind, at_most, at_most_root, equal, psd, sampled
from proofs_checks.registry import registry
from proofs_checks.statement import Nature, Reading, Refutation, Statement, Step, Twin, Verdict

STEPS = [
    (f"{s.label}-{i}-{j}", step)
    for s in registry()
    for i, reading in enumerate(s.readings)
    for j, step in enumerate(reading.steps)
]
REFUTATIONS = [(f"{s.label}-{r.name}", r) for s in registry() for reading in s.readings for r in reading.refutations]


def codes_called(function):
    """The code objects of proofs_checks that run during a call."""
    seen = set()

    def watch(frame, event, argument):
        if event == "call":
            seen.add(frame.f_code)

    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("step", [step for _, step in STEPS], ids=[name for name, _ in STEPS])
def test_a_check_has_two_twins_that_change_a_side_or_the_cases_and_nothing_else(step):
    assert len(step.twins) >= 2
    assert len({twin.name for twin in step.twins}) == len(step.twins)
    for twin in step.twins:
        assert twin.sides or twin.cases
        assert not hasattr(twin, "check")
        assert set(twin.sides) <= set(step.check.__kwdefaults__ or {}) | set(step.sides)


def test_twin_and_check_run_the_same_code():
    for _, step in STEPS[:: len(STEPS) // 12]:
        only = Step(claim=step.claim, check=step.check, cases=step.cases, twins=(), sides=step.sides)
        assert step.check.__code__ in codes_called(lambda only=only: judge_step(only, 3))
        for twin in step.twins:
            broken = Twin(twin.name, twin.sides, twin.cases or step.cases)
            alone = Step(claim=step.claim, check=step.check, cases=fixed(), twins=(broken,), sides=step.sides)
            assert step.check.__code__ in codes_called(lambda alone=alone: judge_step(alone, 3))


@pytest.mark.parametrize("refutation", [r for _, r in REFUTATIONS], ids=[name for name, _ in REFUTATIONS])
def test_a_counterexample_has_two_controls(refutation):
    assert len(refutation.controls) >= 2
    assert all(control.sides or control.cases for control in refutation.controls)


def below(case, *, right):
    return at_most(case, right)


GOOD = Step(
    claim="x <= 5",
    check=below,
    cases=fixed(1, 5),
    twins=(Twin("x <= 4", {"right": 4}), Twin("x = 6", {}, fixed(6))),
    sides={"right": 5},
)
CEX = Refutation(
    name="six",
    check=below,
    case=6,
    controls=(Twin("x <= 6", {"right": 6}), Twin("x = 5", cases=fixed(5))),
    printed={"right": 5},
    left=6,
    right=5,
    search=st.integers(0, 100),
)


def verdict(**parts):
    statement = Statement(label="x", row="x", readings=(Reading(key="r", formula="", verdict=Verdict.HOLDS, **parts),))
    return judge(statement, 3)[0].verdict


def test_the_verdict_follows_the_evidence():
    assert verdict() is Verdict.PENDING
    assert verdict(steps=(GOOD,)) is Verdict.HOLDS
    assert verdict(steps=(GOOD,), added=("h",)) is Verdict.ADDED
    assert verdict(refutations=(CEX,)) is Verdict.FAILS
    assert verdict(steps=(GOOD,), refutations=(CEX,), added=("h",)) is Verdict.ADDED
    assert verdict(steps=(GOOD,), nature=Nature.HEURISTIC) is Verdict.HEURISTIC
    assert verdict(steps=(GOOD,), nature=Nature.DEFINITION) is Verdict.DEFINITION


def test_a_failed_step_a_surviving_twin_and_a_control_that_fails_break_the_verdict():
    wrong = Step(claim="x <= 3", check=below, cases=fixed(1, 5), twins=GOOD.twins, sides={"right": 3})
    survivor = Step(
        claim="x <= 5",
        check=below,
        cases=fixed(1, 5),
        twins=(*GOOD.twins, Twin("x <= 6", {"right": 6})),
        sides={"right": 5},
    )
    bad_control = Refutation(
        name="six",
        check=below,
        case=6,
        controls=(Twin("x <= 5 again", {"right": 5}), *CEX.controls),
        printed={"right": 5},
    )
    not_reproduced = Refutation(
        name="six", check=below, case=6, controls=CEX.controls, printed={"right": 5}, left=7, right=5
    )
    not_violated = Refutation(name="five", check=below, case=5, controls=CEX.controls, printed={"right": 5})
    not_found = Refutation(
        name="six", check=below, case=6, controls=CEX.controls, printed={"right": 5}, search=st.integers(0, 5)
    )
    assert verdict(steps=(wrong,)) is Verdict.BROKEN
    assert verdict(steps=(survivor,)) is Verdict.BROKEN
    for refutation in (bad_control, not_reproduced, not_violated, not_found):
        assert verdict(refutations=(refutation,)) is Verdict.BROKEN


def test_a_search_finds_the_smallest_violation_and_finds_it_again():
    first, second = judge_refutation(CEX), judge_refutation(CEX)
    assert first.found == 6
    assert (first.found, first.examples) == (second.found, second.examples)


def test_a_drawn_family_is_the_same_in_every_run():
    assert drawn(st.integers())(20) == drawn(st.integers())(20)


def test_a_side_that_does_not_exist_is_a_failure():
    assert not call(lambda case: equal(fmpq(1) / case, fmpq(1)), fmpq(0), {}).holds


class TestMargins:
    def test_exact_margins_see_the_smallest_excess(self):
        tiny = fmpq(1, 10**400)
        assert equal(fmpq(1), fmpq(1)).holds
        assert not equal(fmpq(1), 1 + tiny).holds
        assert at_most(fmpq(1), fmpq(1)).holds
        assert not at_most(1 + tiny, fmpq(1)).holds

    def test_an_undecided_ball_does_not_hold(self):
        wide = arb(1, 0.5)
        assert not at_most(wide, fmpq(1)).holds
        assert at_most(wide, fmpq(2)).holds
        assert not at_most(wide, fmpq(1, 4)).holds

    def test_float_margins_count_roundings_of_the_stated_scale(self):
        one = equal(1.0 + 2.0**-52, 1.0)
        assert one.excess == pytest.approx(2, rel=1e-9)
        assert one.holds
        assert not equal(1.0 + 1e-9, 1.0).holds
        assert equal(1.0 + 1e-9, 1.0, scale=1e4).holds
        assert not equal(float("nan"), 1.0).holds
        assert not at_most(float("nan"), 1.0).holds

    def test_roots_are_compared_by_squares(self):
        assert at_most_root(fmpq(-3), fmpq(1)).holds
        assert at_most_root(fmpq(1), fmpq(1)).holds
        assert not at_most_root(fmpq(3), fmpq(8)).holds

    def test_semidefiniteness_sees_a_zero_pivot_with_a_non_zero_row(self):
        assert psd(qq.mat([[0, 0], [0, 1]])).holds
        assert not psd(qq.mat([[0, 1], [1, 5]])).holds
        assert not psd(qq.mat([[1, 2], [2, 3]])).holds
        assert not psd(np.array([[1.0, 2.0], [2.0, 3.0]])).holds

    def test_sampled_margins_are_standard_errors(self):
        draws = np.random.default_rng(0).standard_normal(10_000)
        assert sampled(draws, 0.0).holds
        assert not sampled(draws, 0.1).holds
        assert sampled(draws, 0.1, side="at most").holds
        assert not sampled(draws, 0.1, side="at least").holds
        assert ALLOWED[Kind.SAMPLE] == 5


class TestRationals:
    def test_the_pseudo_inverse_satisfies_penrose(self):
        m = qq.mat([[1, 2, 3], [2, 4, 6]])
        p = qq.pseudo_inverse(m)
        assert m * p * m == m
        assert p * m * p == p
        assert (m * p).transpose() == m * p
        assert (p * m).transpose() == p * m
        assert qq.pseudo_inverse(qq.zeros(2, 3)) == qq.zeros(3, 2)

    def test_reflections_are_orthogonal(self):
        r = qq.reflection([1, 2, 3])
        assert r * r.transpose() == qq.identity(3)
        assert qq.reflection([0, 0]) == qq.identity(2)
