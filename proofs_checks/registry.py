"""Every statement of the ledger in the order of its rows; a row without evidence stands as pending."""

import re
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from types import ModuleType

from proofs_checks import (
    check_3_1_kernel,
    check_3_2_redundancy,
    check_3_3_energy,
    check_3_3_joint,
    check_3_3_losses,
    check_3_3_regret,
    check_3_3_span,
    check_3_4_coverage,
    check_3_4_locality,
    check_4_1_barycenter,
    check_4_2_hashed_maps,
    check_4_2_moments,
    check_4_2_projection,
    check_4_2_thresholds,
    check_4_3_synthesis,
    check_5_headlines,
    check_9_bounds,
    check_9_certificates,
    check_9_held_out,
    check_9_optimality,
    check_9_restricted,
    check_9_spectrum,
    check_9_streaming,
    check_a_ridge,
    check_attribution,
    check_b_1_error,
    check_b_1_variance,
    check_b_2_projection,
    check_b_6_redundancy,
    check_real_gradients,
    check_real_maps,
    check_uncertainty,
)
from proofs_checks.references.table import of_statement
from proofs_checks.rows import ITEMS, MOMENTS, NAMED, SECTIONS
from proofs_checks.statement import Reading, Statement, Verdict

__all__ = ["MODULES", "Registry", "file_of", "registry", "select"]

MODULES: tuple[ModuleType, ...] = (
    check_3_1_kernel,
    check_3_2_redundancy,
    check_3_3_regret,
    check_3_3_span,
    check_3_3_energy,
    check_3_3_joint,
    check_3_3_losses,
    check_3_4_locality,
    check_3_4_coverage,
    check_4_1_barycenter,
    check_4_2_projection,
    check_4_2_hashed_maps,
    check_4_2_moments,
    check_4_2_thresholds,
    check_4_3_synthesis,
    check_5_headlines,
    check_a_ridge,
    check_b_1_error,
    check_b_1_variance,
    check_b_2_projection,
    check_b_6_redundancy,
    check_9_spectrum,
    check_9_certificates,
    check_9_held_out,
    check_9_optimality,
    check_9_streaming,
    check_9_restricted,
    check_attribution,
    check_uncertainty,
    check_9_bounds,
    check_real_gradients,
    check_real_maps,
)
Registry = tuple[Statement, ...]
SHORT = {
    "theorem": "thm",
    "definition": "def",
    "proposition": "prop",
    "corollary": "cor",
    "remark": "rem",
    "equation": "eq",
    "section": "sec",
    "algorithm": "alg",
}


def _pending(label: str, row: str, table: int) -> Statement:
    return Statement(
        label=label, row=row, readings=(Reading(key="as stated", formula="", verdict=Verdict.PENDING),), table=table
    )


def registry() -> Registry:
    """Return every statement: first the items of the paper, then what the audit adds, then both on real gradients.

    Every reading names the functions of dntk_ref that compute its statement's sides.
    """
    proven = {statement.label: statement for module in MODULES for statement in module.STATEMENTS}
    if len(proven) != sum(len(module.STATEMENTS) for module in MODULES):
        raise ValueError("two statements share a label")
    first = [proven.get(label) or _pending(label, row, 1) for label, row in ITEMS]
    wanted = [*NAMED.values(), *(label for label, _ in MOMENTS), *(label for _, labels in SECTIONS for label in labels)]
    items = {label for label, _ in ITEMS}
    added = [statement for label, statement in proven.items() if label not in items]
    missing = [label for label in dict.fromkeys(wanted) if label not in items and label not in proven]
    return tuple(map(_with_references, (*first, *added, *(_pending(label, label, 2) for label in missing))))


def _with_references(statement: Statement) -> Statement:
    steps = tuple(agreement.step for agreement in of_statement(statement.label))
    return replace(statement, readings=tuple(replace(reading, references=steps) for reading in statement.readings))


def file_of(statement: Statement) -> str | None:
    """Return the name of the file that proves a statement, None for a pending one."""
    for module in MODULES:
        if any(own.label == statement.label for own in module.STATEMENTS):
            return module.__name__.rsplit(".", 1)[-1] + ".py"
    return None


def _plain(name: str) -> str:
    """Return a name as labels are written: small letters, the kind of a statement in short, the rest underscores."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "_".join(SHORT.get(word, word) for word in words)


def select(statements: Registry, wanted: str | None) -> Registry:
    """Return the statement of that label or name, or of the only label or name with that prefix; all of them for None.

    Case and punctuation do not count, nor whether a kind is written out: "Theorem 3.3" is thm_3_3.
    """
    if wanted is None:
        return statements
    name = _plain(wanted)
    tests: tuple[Callable[[Statement], bool], ...] = (
        lambda s: s.label == wanted,
        lambda s: _plain(s.label) == name,
        lambda s: _plain(s.row) == name,
        lambda s: bool(name) and _plain(s.label).startswith(name),
        lambda s: bool(name) and _plain(s.row).startswith(name),
    )
    found = next(filter(None, (tuple(filter(test, statements)) for test in tests)), ())
    if len(found) != 1:
        near = get_close_matches(name, [_plain(s.label) for s in statements], cutoff=0.5)
        close = [s.label for s in statements if _plain(s.label) in near]
        names = f"matches: {', '.join(s.label for s in found)}" if found else f"near it: {', '.join(close) or 'none'}"
        raise ValueError(f"--only: expected a label or a unique prefix, got {wanted!r} ({names}; --list prints all)")
    return found
