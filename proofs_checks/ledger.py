"""Run the statements and write what was found: LEDGER.md for people, ledger.json for machines."""

import json
import platform
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import active_children, get_context
from typing import Any

from proofs_checks.algebra.proof import THEOREMS
from proofs_checks.algebra.proof import Kind as ProofKind
from proofs_checks.instances import SEED
from proofs_checks.judge import judge
from proofs_checks.margin import ALLOWED, Kind, Margin
from proofs_checks.mutation import footer
from proofs_checks.references.table import UNNAMED
from proofs_checks.registry import Registry, file_of
from proofs_checks.statement import (
    Evidence,
    Measurement,
    RefutationEvidence,
    Statement,
    StepEvidence,
    TwinEvidence,
    Verdict,
)

__all__ = [
    "HONESTY",
    "ON_REAL_GRADIENTS",
    "REAL",
    "Record",
    "differences",
    "examine",
    "proof_cell",
    "record_of",
    "records",
    "spread",
    "summary",
    "theory",
    "to_json",
    "to_markdown",
]

Record = dict[str, Any]

HONESTY = (
    "Verdicts concern *restored* statements: the formulas of our copy of the paper were lost and were reconstructed "
    "from the text around them. Where several readings are possible each has its own line, and a verdict holds for "
    "that reading only.",
    '"Exact rationals" and "ball arithmetic" decide each *instance* without rounding; a counterexample in them is '
    "a proof. "
    "A universal claim checked on drawn instances is *evidence* for it, also where each instance is decided exactly: "
    "the proof is "
    "the argument that the steps follow. Float64 evidence is evidence, not proof; Monte Carlo has a stated "
    "false-alarm rate.",
    'The column "proof" says what is proved for every dimension: by a certificate that a small checker verifies '
    "(`algebra/README.md`; each has a wrong variant that it rejects and that is false in numbers), by the check itself "
    "where the statement is about finitely many cases or a definition, and which named theorems are assumed.",
    '"Heuristic" means that no precise statement of this form is claimed to be true; what is provable near it is '
    "checked instead. "
    '"Pending" means that nothing was checked.',
)
ON_REAL_GRADIENTS = (
    "One network (conv8, trained on digits), ten class kernels on 200 training images: *measurements, not proofs*. "
    "They say how the statements above look on data, nothing about other networks or data sets.",
    "Where a theorem guarantees an inequality it is checked here too, with broken twins: this tests the numbers and "
    'the theorem\'s reading, not the theorem. A cell "a [b, c]" is the mean over the ten classes, the least and the '
    "largest; rows without a number beside them have no theorem to compare with.",
)


def _margin(margin: Margin | None) -> Record | None:
    if margin is None:
        return None
    return {
        "kind": str(margin.kind),
        "excess": float(f"{margin.excess:.3g}"),
        "allowed": margin.allowed,
        "holds": margin.holds,
        "left": _short(margin.left),
        "right": _short(margin.right),
    }


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _twin(twin: TwinEvidence) -> Record:
    return {"name": twin.name, "margin": _margin(twin.margin), "rejected": twin.rejected}


def _step(step: StepEvidence) -> Record:
    tightest = None if step.tightest is None else float(f"{step.tightest:.6g}")
    return {
        "claim": step.step.claim,
        "margin": _margin(step.margin),
        "tightest": tightest,
        "attained": step.step.attained,
        "instances": step.instances,
        "twins": [_twin(twin) for twin in step.twins],
        "carries": step.carries,
    }


def _reference(step: StepEvidence) -> Record:
    return {
        "function": step.step.sides["agreement"].path,
        "instances": step.instances,
        "excess": float(f"{step.margin.excess:.3g}"),
        "carries": step.carries,
    }


def _refutation(found: RefutationEvidence) -> Record:
    return {
        "name": found.refutation.name,
        "margin": _margin(found.margin),
        "reproduced": found.reproduced,
        "case": " ".join(str(found.refutation.case).split()),
        "why_float": found.refutation.why_float,
        "controls": [{"name": c.name, "holds": c.margin.holds, "margin": _margin(c.margin)} for c in found.controls],
        "searched": found.refutation.search is not None,
        "found": None if found.found is None else " ".join(str(found.found).split()),
        "found_margin": _margin(found.found_margin),
        "examples": found.examples,
        "carries": found.carries,
    }


def _proof(evidence: Evidence) -> Record | None:
    proof, found = evidence.reading.proof, evidence.certificate
    if proof is None:
        return None
    return {
        "kind": str(proof.kind),
        "assumed": [theorem.name for theorem in proof.assumed],
        "conclusion": proof.conclusion,
        "missing": proof.missing,
        "hypotheses": list(found.hypotheses) if found else [],
        "lines": [asdict(line) for line in found.lines] if found else [],
        "wrong": [asdict(wrong) for wrong in found.wrong] if found else [],
    }


def _measurement(found: Measurement) -> Record:
    return {
        "quantity": found.quantity,
        "theory": found.theory,
        "bounds": [_digits(v) for v in found.bounds],
        "values": [_digits(v) for v in found.values],
    }


def _digits(value: float) -> float:
    """Return six digits: more would be those of one machine."""
    return float(f"{value:.6g}")


def record_of(evidence: Evidence) -> Record:
    """Return everything that the ledger keeps of one reading, as plain numbers and strings."""
    statement, reading = evidence.statement, evidence.reading
    return {
        "label": statement.label,
        "row": statement.row,
        "table": statement.table,
        "file": file_of(statement),
        "reading": reading.key,
        "formula": reading.formula,
        "nature": str(reading.nature),
        "recorded": str(reading.verdict),
        "found": str(evidence.verdict),
        "hypotheses": list(reading.hypotheses),
        "added": list(reading.added),
        "note": reading.note,
        "disagreement": statement.disagreement,
        "proof": _proof(evidence),
        "steps": [_step(step) for step in evidence.steps],
        "refutations": [_refutation(refutation) for refutation in evidence.refutations],
        "references": [_reference(step) for step in evidence.references],
        "measurements": [_measurement(found) for found in reading.measured()],
    }


def examine(statement: Statement, count: int) -> list[Record]:
    """Judge one statement and return the records of its readings."""
    return [record_of(evidence) for evidence in judge(statement, count)]


_STATEMENTS: dict[str, Statement] = {}


def _examine_label(label: str, count: int) -> list[Record]:
    return examine(_STATEMENTS[label], count)


def records(
    statements: Registry, count: int, *, jobs: int = 0, done: Callable[[str], None] = lambda label: None
) -> list[Record]:
    """Judge all statements in so many other processes (0: in this one), and return their records in order."""
    return [record for found in _in_order(statements, count, jobs, done) for record in found]


def _in_order(statements: Registry, count: int, jobs: int, done: Callable[[str], None]) -> Iterator[list[Record]]:
    if jobs == 0:
        for statement in statements:
            yield examine(statement, count)
            done(statement.label)
        return
    # A fork hands the statements, which hold functions and so cannot be sent, to the workers as they are.
    _STATEMENTS.update({statement.label: statement for statement in statements})
    others = active_children()
    with ProcessPoolExecutor(jobs, get_context("fork"), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            futures = [(one.label, pool.submit(_examine_label, one.label, count)) for one in statements]
            for label, future in futures:
                yield future.result()
                done(label)
        except KeyboardInterrupt:
            # The pool would wait for the statements under way. Its workers leave an interruption to this process, which
            # only waits: inside a search it may hit a callback of hypothesis, where Python ignores it.
            for worker in active_children():
                if worker not in others:
                    worker.terminate()
            raise


def _unproved(proof: Record | None) -> list[str]:
    if proof is None:
        return []
    lines = [f"not proved: {x['text']}" for x in proof["lines"] if not (x["proved"] and x["in_model"])]
    wrong = [x for x in proof["wrong"] if not (x["rejected"] and x["false_in_model"])]
    return lines + [f"wrong variant accepted: {x['text']}" for x in wrong]


def differences(found: list[Record]) -> list[str]:
    """Return one line for every verdict that differs from the recorded one, naming what broke."""
    lines = []
    for record in found:
        if record["found"] != record["recorded"]:
            broken = [step["claim"] for step in record["steps"] if not step["margin"]["holds"]]
            broken += [
                f"twin accepted: {twin['name']}"
                for step in record["steps"]
                for twin in step["twins"]
                if not twin["rejected"]
            ]
            broken += [r["name"] for r in record["refutations"] if not r["carries"]]
            broken += [f"dntk_ref.{r['function']}" for r in record["references"] if not r["carries"]]
            broken += _unproved(record["proof"])
            why = f" ({'; '.join(broken)})" if broken else ""
            lines.append(
                f"{record['label']} [{record['reading']}]: recorded {record['recorded']!r}, "
                f"found {record['found']!r}{why}"
            )
    return lines


def _kinds(record: Record) -> dict[str, Record]:
    """Return the worst margin of each kind of evidence among the steps."""
    worst: dict[str, Record] = {}
    for step in record["steps"]:
        margin = step["margin"]
        if margin["kind"] not in worst or margin["excess"] > worst[margin["kind"]]["excess"]:
            worst[margin["kind"]] = margin
    return worst


REAL = 3
UNITS = {Kind.EXACT: "", Kind.BALL: "", Kind.FLOAT: " roundings", Kind.SAMPLE: " s.e."}


def _show(margin: Record) -> str:
    return f"{margin['excess']:.3g}{UNITS[Kind(margin['kind'])]}"


def _evidence_cell(record: Record) -> str:
    parts = [f"{kind}: {_show(margin)}" for kind, margin in _kinds(record).items()]
    parts += [f"{r['name']}: {r['margin']['left']} vs {r['margin']['right']}" for r in record["refutations"]]
    return "; ".join(parts) or "none"


HOLDING = (Verdict.HOLDS, Verdict.ADDED)


def _kind_of(record: Record) -> str:
    """Return how a reading that holds is proved."""
    return str(record["proof"]["kind"] if record["proof"] else ProofKind.EVIDENCE)


def counts(found: list[Record]) -> Record:
    """Count the readings by verdict, the broken twins, the counterexamples and the instances.

    What is seen on real gradients decides no verdict: it is counted apart.
    """
    real = [record for record in found if record["table"] == REAL]
    twins = [twin for record in found for step in record["steps"] for twin in step["twins"]]
    refutations = [r for record in found for r in record["refutations"]]
    return {
        "verdicts": dict(Counter(record["found"] for record in found if record["table"] != REAL)),
        "proofs": dict(Counter(_kind_of(r) for r in found if r["table"] != REAL and r["found"] in HOLDING)),
        "assumed": dict(Counter(name for r in found if r["proof"] for name in r["proof"]["assumed"])),
        "real_gradients": len(real),
        "real_gradients_hold": sum(r["found"] == Verdict.HOLDS for r in real),
        "twins": len(twins),
        "twins_rejected": sum(twin["rejected"] for twin in twins),
        "counterexamples": len(refutations),
        "counterexamples_carry": sum(r["carries"] for r in refutations),
        "violations_found_by_search": sum(r["found"] is not None for r in refutations),
        "controls": sum(len(r["controls"]) for r in refutations),
        "instances": sum(step["instances"] for record in found for step in record["steps"]),
        "functions": len({r["function"] for record in found for r in record["references"]}),
    }


def summary(found: list[Record]) -> str:
    """Return one line: how many readings hold, hold with additions, fail, are heuristic, defined or pending."""
    number = counts(found)
    verdicts = ", ".join(f"{number['verdicts'].get(str(v), 0)} {v}" for v in Verdict if number["verdicts"].get(str(v)))
    real = (
        f"; on real gradients {number['real_gradients_hold']} of {number['real_gradients']} statements hold"
        if number["real_gradients"]
        else ""
    )
    proofs = ", ".join(f"{number['proofs'][str(k)]} {k}" for k in ProofKind if str(k) in number["proofs"])
    return (
        f"{verdicts}; of those that hold, proof: {proofs or 'none'}; "
        f"{number['twins_rejected']} of {number['twins']} broken twins rejected; "
        f"{number['counterexamples_carry']} of {number['counterexamples']} counterexamples reproduced, "
        f"{number['violations_found_by_search']} violations found by search{real}"
    )


def versions() -> dict[str, str]:
    """Return the versions of what decides the verdicts."""
    names = ("numpy", "scipy", "hypothesis", "python-flint", "sympy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def to_json(found: list[Record], count: int) -> str:
    """Return the ledger for machines."""
    body = {
        "seed": SEED,
        "instances_per_family": count,
        "allowed": {str(kind): value for kind, value in ALLOWED.items()},
        "versions": versions(),
        "counts": counts(found),
        "readings": found,
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def proof_cell(record: Record) -> str:
    """Return the kind of a proof and what it assumes; nothing for what does not hold."""
    if record["found"] not in HOLDING or record["table"] == REAL:
        return ""
    assumed = record["proof"]["assumed"] if record["proof"] else []
    return _kind_of(record) + (f" ({', '.join(assumed)})" if assumed else "")


def _row(record: Record, first: bool) -> str:
    anchor = f'<a id="{record["label"]}"></a>' if first else ""
    twins = [twin for step in record["steps"] for twin in step["twins"]]
    ratios = [step["tightest"] for step in record["steps"] if step["tightest"] is not None]
    attained = "; ".join(step["attained"] for step in record["steps"] if step["attained"])
    tight = f"{max(ratios):.4g}" if ratios else ""
    file = f"[{record['file']}]({record['file']})" if record["file"] else ""
    cells = [
        f"{anchor}`{record['label']}`",
        record["row"],
        record["reading"],
        f"**{record['found']}**",
        proof_cell(record),
        _evidence_cell(record),
        " ".join(filter(None, (tight, f"({attained})" if attained else ""))),
        str(sum(step["instances"] for step in record["steps"])),
        f"{sum(t['rejected'] for t in twins)}/{len(twins)}",
        file,
    ]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


HEAD = (
    "| label | item | reading | verdict | proof | worst margin | tightest ratio (attained by) | instances | twins "
    "rejected | file |\n| --- | --- | --- | --- | --- | --- | --- | ---: | ---: | --- |"
)


def _rows(found: list[Record]) -> Iterator[str]:
    """Return the lines of a table; the first reading of a statement carries its anchor."""
    for place, record in enumerate(found):
        yield _row(record, first=place == 0 or found[place - 1]["label"] != record["label"])


REAL_HEAD = (
    "| label | statement | quantity | theory | measurement | worst margin | twins rejected | file |\n| --- | --- | "
    "--- | --- | --- | --- | ---: | --- |"
)


def spread(values: list[float]) -> str:
    """Return one number, or the mean of several with the least and the largest."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{sum(values) / len(values):.4g} [{min(values):.4g}, {max(values):.4g}]"


def theory(found: Record) -> str:
    """Return what theory says of a measurement, with its numbers."""
    return " ".join(filter(None, (found["theory"], spread(found["bounds"]) if found["bounds"] else "")))


def _real_rows(found: list[Record]) -> Iterator[str]:
    """Return a line for each measurement; the first one of a statement carries its anchor, margins and file."""
    for record in found:
        twins = [twin for step in record["steps"] for twin in step["twins"]]
        first = [f'<a id="{record["label"]}"></a>`{record["label"]}`', record["row"]]
        last = [
            _evidence_cell(record),
            f"{sum(t['rejected'] for t in twins)}/{len(twins)}",
            f"[{record['file']}]({record['file']})",
        ]
        for measured in record["measurements"]:
            cells = [*first, measured["quantity"], theory(measured), spread(measured["values"]), *last]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
            first, last = ["", ""], ["", "", ""]


def _proof_lines(proof: Record | None) -> Iterator[str]:
    """Return the certificate: hypotheses, lines with what the right side exceeds the left by, the wrong variants."""
    if proof is None:
        return
    words = "; ".join(filter(None, (proof["conclusion"], proof["missing"])))
    yield f"* proof: {proof['kind']}" + (f"; {words}" if words else "")
    if proof["hypotheses"]:
        yield "  * given " + "; ".join(f"${h}$" for h in proof["hypotheses"])
    for line in proof["lines"]:
        yield f"  * {line['text']}: ${line['formula']}$" + (
            f", by ${line['certificate']}$" if line["certificate"] else ""
        )
    for wrong in proof["wrong"]:
        yield f"  * rejected: {wrong['text']}"


def _details(record: Record) -> Iterator[str]:
    yield f"### `{record['label']}` {record['reading']}: {record['found']}"
    yield ""
    if record["formula"]:
        yield f"$${record['formula']}$$"
        yield ""
    for name in ("hypotheses", "added"):
        if record[name]:
            yield f"* {'hypotheses' if name == 'hypotheses' else 'added hypotheses'}: {'; '.join(record[name])}"
    if record["note"]:
        yield f"* note: {record['note']}"
    yield from _proof_lines(record["proof"])
    for step in record["steps"]:
        twins = "; ".join(f"{t['name']} ({_show(t['margin'])})" for t in step["twins"])
        yield (
            f"* {step['claim']}: {step['margin']['kind']}, {step['instances']} instances, "
            f"{_show(step['margin'])}. Rejected: {twins}"
        )
    if record["references"]:
        worst = max(r["excess"] for r in record["references"])
        instances = sum(r["instances"] for r in record["references"])
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(r["function"] for r in record["references"]))
        yield (
            f"* in dntk_ref, beside exact values on {instances} instances, at most {worst:.3g} roundings apart, "
            f"and seen when a millionth off: {names}"
        )
    for r in record["refutations"]:
        search = f"; a search found `{r['found'][:200]}` in {r['examples']} examples" if r["found"] is not None else ""
        controls = "; ".join(c["name"] for c in r["controls"])
        yield (
            f"* {r['name']}: `{r['case'][:200]}` gives {r['margin']['left']} against {r['margin']['right']}. "
            f"Passes: {controls}{search}"
        )
    yield ""


def _reference_lines(found: list[Record]) -> Iterator[str]:
    """Return how many functions of dntk_ref the readings name, and those that none names, by reason."""
    yield (
        f"{counts(found)['functions']} functions of `dntk_ref` are held beside exact rational numbers or balls, each under "
        "the readings whose sides it computes. Not named by any reading:"
    )
    yield ""
    for reason in dict.fromkeys(UNNAMED.values()):
        yield f"* {reason}: {', '.join(f'`{name}`' for name, why in UNNAMED.items() if why == reason)}"


def to_markdown(found: list[Record], count: int) -> str:
    """Return the ledger for people."""
    lines = ["# The ledger: a verdict for every statement", "", summary(found) + ".", ""]
    lines += [f"* {line}" for line in HONESTY]
    lines += [
        "",
        "Margins: float64 in units of rounding (2^-53 of the stated scale, at most "
        f"{ALLOWED[Kind.FLOAT]:.0f} allowed), sampling in standard errors (at most {ALLOWED[Kind.SAMPLE]:.0f}; "
        f"false alarm "
        "6e-7 each), exact and ball comparisons relative to the larger side; negative is slack.",
        "",
    ]
    lines += ["Assumed theorems:", "", *(f"* {x.name}: {x.says} ({x.source})" for x in THEOREMS), ""]
    for table, title in ((1, "Items of the paper"), (2, "What the audit adds")):
        lines += [f"## {title}", "", HEAD, *_rows([r for r in found if r["table"] == table]), ""]
    real = [r for r in found if r["table"] == REAL]
    if real:
        lines += [
            "## On real gradients",
            "",
            *(f"* {line}" for line in ON_REAL_GRADIENTS),
            "",
            REAL_HEAD,
            *_real_rows(real),
            "",
        ]
    lines += ["## Evidence", ""]
    for record in found:
        lines += _details(record)
    lines += ["## The reference", "", *_reference_lines(found), ""]
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines += [
        f"Seed {SEED}; {count} instances per drawn family; {used}. Rewritten by `dntk-verify --update` only.",
        "",
        footer(),
        "",
    ]
    return "\n".join(lines)
