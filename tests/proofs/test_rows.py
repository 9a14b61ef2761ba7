"""No row is missing: the lists in the repository against the text, where the text is at hand."""

import re
from collections import Counter
from pathlib import Path

import pytest

from proofs_checks.registry import file_of, registry
from proofs_checks.rows import ITEMS, MOMENTS, NAMED, SECTIONS
from proofs_checks.statement import Verdict

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "statements.md"
# Bold words that name no claim: parts of a proof, a verdict, a counterexample (these are checked by number), emphasis.
NO_CLAIM = re.compile(
    r"Restored|Proof|Verdict|\[|Audit\.|CEX|Gloss:|\)\.|Assumptions|\(5\),"
    r" readings|equality$|R3 \[F\]|Tightness|R1 \(most|not$|Not$|same$|training$|5737$|Inconsistency|uncentred|JL "
    r"step|Per-cluster|Pitfall|Without the Lipschitz|in the metric|\"In particular"
)


@pytest.fixture(scope="module")
def text():
    if not PAPER.exists():
        pytest.skip(f"the restored statements are not at {PAPER}")
    return PAPER.read_text(encoding="utf-8")


def section(text, number):
    return re.split(r"^## \d+\. ", text, flags=re.M)[number + 1]  # sections count from 0, after a preface


def counterexamples():
    names = [r.name for s in registry() for reading in s.readings for r in reading.refutations]
    return {int(number) for name in names for number in re.findall(r"CEX-(\d+)", name)}


def test_the_list_of_items_is_the_table_of_verdicts(text):
    first, *rows = re.findall(r"^\| (.+?) \| ", section(text, 1), flags=re.M)
    assert first == "item"
    assert rows == [row for _, row in ITEMS]


def test_the_rows_of_the_moments_table_are_listed(text):
    table = section(text, 6).split("operatorname{Var}\\langle Au,Av\\rangle$ |")[1].split("\n\n")[0]
    assert re.findall(r"^\| (.+?) \| \$", table, flags=re.M) == [row for _, row in MOMENTS]


def test_every_bold_name_of_the_text_has_a_row(text):
    body = text[text.index("## 2. Section 3.1") : text.index("## 10. Appendix E")]
    names = {name for name in re.findall(r"\*\*([^*]+)\*\*", body) if not NO_CLAIM.match(name)}
    assert names == set(NAMED)


def test_every_section_of_additions_has_rows(text):
    found = re.findall(r"^### (9\.[1-5]) ", text, flags=re.M)
    assert [f"### {number}" for number in found] == [heading for heading, _ in SECTIONS]


def test_every_listed_label_has_a_statement():
    labels = {statement.label for statement in registry()}
    wanted = {label for label, _ in (*ITEMS, *MOMENTS)} | set(NAMED.values()) | {x for _, row in SECTIONS for x in row}
    assert wanted <= labels


def test_labels_are_unique_and_written_alike():
    labels = [statement.label for statement in registry()]
    assert max(Counter(labels).values()) == 1
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", label) for label in labels)


def test_every_counterexample_of_the_text_is_in_the_ledger(text):
    numbers = {int(n) for n in re.findall(r"CEX[‑-](\d+)", text)}
    assert counterexamples() == numbers | {19}


def test_a_row_leads_to_its_file_and_the_file_to_the_row():
    folder = Path(__file__).parents[2] / "proofs_checks"
    for statement in registry():
        name = file_of(statement)
        if any(reading.verdict is not Verdict.PENDING for reading in statement.readings):
            assert f'"{statement.label}"' in (folder / name).read_text(encoding="utf-8")
        else:
            assert name is None


def test_a_pending_row_claims_nothing():
    for statement in registry():
        for reading in statement.readings:
            has_evidence = bool(reading.steps or reading.refutations)
            assert has_evidence == (reading.verdict is not Verdict.PENDING)
            assert isinstance(reading.steps, tuple)
            assert isinstance(reading.refutations, tuple)


def test_float64_counterexamples_say_why():
    for statement in registry():
        for reading in statement.readings:
            for refutation in reading.refutations:
                margin = refutation.check(refutation.case, **refutation.printed) if refutation.name != "CEX-5" else None
                exact = margin is None or margin.kind in ("exact rationals", "ball arithmetic")
                assert exact or refutation.why_float
