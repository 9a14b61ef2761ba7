"""Every proof of the ledger, by the label of its statement and the key of its reading."""

from proofs_checks import proofs_3, proofs_4, proofs_9, proofs_added, proofs_b, proofs_moments, proofs_optimal
from proofs_checks.algebra.proof import Proof

__all__ = ["PROOFS"]

_TABLES = (
    proofs_3.PROOFS,
    proofs_4.PROOFS,
    proofs_moments.PROOFS,
    proofs_b.PROOFS,
    proofs_9.PROOFS,
    proofs_optimal.PROOFS,
    proofs_added.PROOFS,
)
PROOFS: dict[tuple[str, str], Proof] = {key: proof for table in _TABLES for key, proof in table.items()}
