"""Every reading that holds has a proof; every proof goes through; the kinds and the assumptions are the allowed ones."""

from collections import Counter

import pytest
from matplotlib.mathtext import MathTextParser

from proofs_checks.algebra.argument import Argument
from proofs_checks.algebra.proof import THEOREMS, Kind, Proof
from proofs_checks.algebra.words import Scalar, sq
from proofs_checks.ledger import differences, examine
from proofs_checks.proofs import PROOFS
from proofs_checks.registry import registry
from proofs_checks.statement import Reading, Statement, Verdict

HOLDING = [
    (statement.label, reading)
    for statement in registry()
    for reading in statement.readings
    if statement.table != 3 and reading.verdict in (Verdict.HOLDS, Verdict.ADDED)
]


def test_every_reading_that_holds_says_how_it_is_proved():
    assert not [(label, reading.key) for label, reading in HOLDING if reading.proof is None]


def test_every_proof_belongs_to_its_reading():
    attached = {(s.label, r.key): r.proof for s in registry() for r in s.readings if r.proof is not None}
    assert attached == PROOFS


def test_at_least_95_are_proved_and_at_most_12_by_the_check_itself():
    kinds = Counter(reading.proof.kind for _, reading in HOLDING)
    assert sum(kinds.values()) - kinds[Kind.EVIDENCE] >= 95
    assert kinds[Kind.FINITE] <= 12


def test_at_most_eight_theorems_are_assumed_each_with_a_source():
    assert len(THEOREMS) <= 8
    assert all(theorem.says and theorem.source for theorem in THEOREMS)
    assert {theorem for proof in PROOFS.values() for theorem in proof.assumed} <= set(THEOREMS)


def test_what_has_no_certificate_says_why():
    for proof in PROOFS.values():
        if proof.certificate is None:
            assert proof.kind in (Kind.FINITE, Kind.EVIDENCE)
            assert proof.conclusion if proof.kind is Kind.FINITE else proof.missing


CERTIFIED = {key: proof for key, proof in PROOFS.items() if proof.certificate is not None}


@pytest.mark.parametrize("key", CERTIFIED, ids=[" ".join(key) for key in CERTIFIED])
def test_certificate_and_its_wrong_variants_of(key):
    found = CERTIFIED[key].certificate()
    assert [line.text for line in found.lines if not (line.proved and line.in_model)] == []
    assert [wrong.text for wrong in found.wrong if not (wrong.rejected and wrong.false_in_model)] == []
    assert found.carries
    assert all(line.formula for line in found.lines)


def test_the_ledger_fails_where_a_proof_does_not_go_through():
    def broken():
        a = Argument()
        v = a.vector("v", "n", [1.0, 2.0])
        a.at_most("twice a square", Scalar(0), 2 * sq(v), v)
        a.wrong("its opposite", right=-sq(v))
        return a.certificate()

    statement = next(s for s in registry() if s.label == "eq_17")
    reading = statement.readings[0]
    for certificate, says in ((broken, "not proved"), (reading.proof.certificate, None)):
        one = Reading(
            key=reading.key,
            formula=reading.formula,
            verdict=reading.verdict,
            proof=Proof(Kind.ALGEBRA, certificate),
            steps=reading.steps[:1],
        )
        lines = differences(examine(Statement(label="x", row="x", readings=(one,)), 2))
        assert bool(lines) == (says is not None)
        assert says is None or says in lines[0]


def test_certificates_are_typeset():
    found = CERTIFIED["eq_10", "R2"].certificate()
    parser = MathTextParser("path")
    for formula in (*found.hypotheses, *(line.formula for line in found.lines), *(x.certificate for x in found.lines)):
        assert parser.parse(f"${formula or 'x'}$")
