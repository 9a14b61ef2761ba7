"""The ledger as one HTML page: statements in typeset mathematics, margins drawn, counterexamples as matrices."""

import re
from html import escape
from io import BytesIO
from math import copysign, log10

from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from proofs_checks.ledger import HONESTY, ON_REAL_GRADIENTS, REAL, Record, spread, summary, theory

__all__ = ["formula_svg", "to_html"]

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
h2{border-bottom:1px solid #ccc;margin-top:2em}.verdict{font-weight:600}.holds,.added{color:#176117}.fails{color:#a11}
.heuristic,.pending,.definition{color:#555}table{border-collapse:collapse}td{padding:.1em .6em;vertical-align:middle}
.matrix{border-left:2px solid;border-right:2px solid;display:inline-table;margin:.2em;
vertical-align:middle}.matrix td{padding:0
.4em;text-align:right}
svg{vertical-align:middle;max-width:100%}small{color:#666}"""


def formula_svg(formula: str) -> str:
    """Return a formula (the subset of LaTeX that mathtext knows) as inline SVG."""
    figure = Figure(figsize=(0.01, 0.01))
    figure.text(0, 0, f"${formula}$", fontsize=13)
    buffer = BytesIO()
    figure.savefig(
        buffer, format="svg", bbox_inches="tight", pad_inches=0.03, transparent=True, metadata={"Date": None}
    )
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]


def typesets(formula: str) -> bool:
    """Whether mathtext accepts the formula."""
    MathTextParser("path").parse(f"${formula}$")
    return True


def _place(excess: float) -> float:
    """Put an excess on a signed logarithmic axis: slack to the left, violation to the right."""
    if excess == 0:
        return 0.0
    size = min(abs(excess), 1e20)
    return copysign(max(log10(size) + 20, 0.5), excess)


def _margins(record: Record) -> str:
    """Return a drawing: a green mark for each step, a red one for each rejected twin, on one signed logarithmic axis."""
    marks = []
    for step in record["steps"]:
        marks.append((step["margin"]["excess"], "#176117", step["claim"]))
        marks += [(twin["margin"]["excess"], "#a11", f"broken: {twin['name']}") for twin in step["twins"]]
    marks += [(r["margin"]["excess"], "#a11", r["name"]) for r in record["refutations"]]
    lines = "".join(
        f'<line x1="{210 + 5 * _place(value):.1f}" x2="{210 + 5 * _place(value):.1f}" y1="2" y2="18" '
        f'stroke="{colour}" '
        f'stroke-width="2"><title>{escape(title)}: {value:.3g}</title></line>'
        for value, colour, title in marks
    )
    return (
        '<svg width="420" height="20" role="img" aria-label="margins"><line x1="0" x2="420" y1="10" y2="10" '
        'stroke="#bbb"/>'
        f'<line x1="210" x2="210" y1="0" y2="20" stroke="#000"/>{lines}</svg>'
    )


LEGEND = (
    "Lines under a verdict: the worst margin of each step in green, of each broken twin and counterexample in red, by "
    "the order of magnitude: slack to the left of the mark at zero, violation to the right."
)
MATRIX = re.compile(r"(?:\[[^\[\]]*\]\s*)+")


def _matrices(case: str) -> str:
    """Return a counterexample's text with bracketed rows set as matrices."""

    def table(match: re.Match[str]) -> str:
        rows = re.findall(r"\[([^\[\]]*)\]", match.group())
        cells = "".join(
            "<tr>" + "".join(f"<td>{escape(v.strip())}</td>" for v in row.split(",")) + "</tr>" for row in rows
        )
        return f'<table class="matrix">{cells}</table>'

    parts, last = [], 0
    for match in MATRIX.finditer(case):
        parts += [escape(case[last : match.start()]), table(match)]
        last = match.end()
    return "".join([*parts, escape(case[last:])])


def _proof(proof: Record | None) -> str:
    """Return a proof: what is given, each line with its certificate, the wrong variants, all typeset."""
    if proof is None:
        return ""
    words = "; ".join(filter(None, (proof["conclusion"], proof["missing"])))
    assumed = f", assuming {', '.join(proof['assumed'])}" if proof["assumed"] else ""
    given = "".join(f"<div>{formula_svg(h)}</div>" for h in proof["hypotheses"])
    lines = "".join(
        f"<li>{escape(x['text'])}<br>{formula_svg(x['formula'])}"
        + (f"<br>by {formula_svg(x['certificate'])}" if x["certificate"] else "")
        + "</li>"
        for x in proof["lines"]
    )
    wrong = "; ".join(escape(x["text"]) for x in proof["wrong"])
    body = f"<p>given</p>{given}<ol>{lines}</ol><p><small>Rejected: {wrong}</small></p>" if lines else ""
    return f"<details><summary>proof: {escape(proof['kind'] + assumed)}</summary><p>{escape(words)}</p>{body}</details>"


def _reading(record: Record, first: bool) -> str:
    anchor = f' id="{record["label"]}"' if first else ""
    words = record["found"].split()
    style = "added" if "added" in words else words[0]
    refutations = "".join(
        f"<div>{escape(r['name'])}: {_matrices(r['case'])} gives {escape(r['margin']['left'])} against "
        f"{escape(r['margin']['right'])}.</div>"
        for r in record["refutations"]
    )
    steps = "".join(
        f"<li>{escape(s['claim'])} <small>({s['margin']['kind']}, {s['instances']} instances)</small></li>"
        for s in record["steps"]
    )
    proof = _proof(record["proof"])
    formula = f"<p>{formula_svg(record['formula'])}</p>" if record["formula"] else ""
    note = f"<p><small>{escape(record['note'])}</small></p>" if record["note"] else ""
    return (
        f"<h3{anchor}>{escape(record['row'])} "
        f"<small>{escape(record['reading'])}</small></h3>{formula}"
        f'<p class="verdict '
        f'{style}">{escape(record["found"])}</p>{_margins(record)}{proof}<ul>{steps}</ul>{refutations}{note}'
    )


def _measurements(record: Record) -> str:
    """Return what was measured beside what theory says, as a table."""
    rows = "".join(
        f"<tr><td>{escape(m['quantity'])}</td><td>{escape(theory(m))}</td><td>{spread(m['values'])}</td></tr>"
        for m in record["measurements"]
    )
    return f"<table><tr><th>quantity</th><th>theory</th><th>measurement</th></tr>{rows}</table>" if rows else ""


def to_html(found: list[Record]) -> str:
    """Return the page; it needs nothing from outside."""
    lines = (re.sub(r"[*]([^*]+)[*]", r"<em>\1</em>", escape(line)) for line in (*HONESTY, LEGEND))
    honesty = "".join(f"<li>{line}</li>" for line in lines)
    body = "".join(
        f"<h2>{title}</h2>"
        + "".join(
            _reading(r, first=place == 0 or found[place - 1]["label"] != r["label"])
            for place, r in enumerate(found)
            if r["table"] == table
        )
        for table, title in ((1, "Items of the paper"), (2, "What the audit adds"))
    )
    real = [r for r in found if r["table"] == REAL]
    if real:
        words = "".join(f"<li>{escape(line)}</li>" for line in ON_REAL_GRADIENTS)
        body += f"<h2>On real gradients</h2><ul>{words}</ul>" + "".join(
            _reading(r, first=True) + _measurements(r) for r in real
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The ledger</title><style>{STYLE}</style>'
        f"<h1>The ledger</h1><p>{escape(summary(found))}.</p><ul>{honesty}</ul>{body}</html>\n"
    )
