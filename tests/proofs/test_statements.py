"""Every statement of the ledger is a test with its label in its name: `pytest -k thm_3_3` finds it."""

import pytest

from proofs_checks.judge import QUICK
from proofs_checks.ledger import differences, examine
from proofs_checks.registry import registry

STATEMENTS = registry()


@pytest.mark.parametrize("statement", STATEMENTS, ids=[statement.label for statement in STATEMENTS])
def test_evidence_supports_the_recorded_verdict_of(statement):
    found = examine(statement, QUICK)
    assert len(found) == len(statement.readings)
    assert not differences(found)
