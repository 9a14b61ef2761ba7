"""Pages made from what the repository holds: notation, ledger, bibliography, changelog, and the guides with their output."""

import ast
import contextlib
import io
import json
import re
import runpy
from functools import cache
from pathlib import Path

from dntk_ref.notation import NOTATION

ROOT = Path(__file__).resolve().parents[2]
# A field of an entry: braces nest twice at most.
FIELD = re.compile(r"(\w+)\s*=\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")


def notation():
    """The table of symbols."""
    rows = (f"| {' | '.join(f'`{cell}`' if i < 2 else cell for i, cell in enumerate(_cells(s)))} |" for s in NOTATION)
    return "\n".join(["| paper | here | shape | scale | where |", "| --- | --- | --- | --- | --- |", *rows])


def _cells(symbol):
    parts = (symbol.symbol, symbol.name, symbol.shape, symbol.scale, symbol.where)
    return [re.sub(r"([|<])", r"\\\1" if i > 1 else r"\1", part.replace("|", "\\|")) for i, part in enumerate(parts)]


def ledger(part):
    """A part of proofs_checks/LEDGER.md: its `table`s, or its `evidence`; anchors as they are, files to the source."""
    text = (ROOT / "proofs_checks" / "LEDGER.md").read_text(encoding="utf-8")
    text = re.sub(r"\[([\w/.]+)\]\([\w/.]+\)", r"`\1`", text)
    head, _, evidence = text.partition("\n## Evidence\n")
    labels = set(re.findall(r"^### `(\w+)`", evidence, re.MULTILINE))
    if part == "table":
        linked = re.sub(r'<a id="\w+"></a>', "", head.partition("\n")[2])
        return re.sub(
            r"^\| `(\w+)` ", lambda m: f"| [`{m[1]}`](#of_{m[1]}) " if m[1] in labels else m[0], linked, flags=re.M
        )
    rows = {
        one["label"]: one["row"] for one in json.loads((ROOT / "proofs_checks" / "ledger.json").read_text())["readings"]
    }
    seen = set()

    def heading(match):
        label, reading = match.groups()
        target = "" if label in seen else f"(of_{label})=\n\n"
        seen.add(label)
        return f"{target}## {rows.get(label, label)}: {reading}\n\n`{label}`\n"

    return re.sub(r"^### `(\w+)` (.*)$", heading, evidence, flags=re.MULTILINE)


def bibliography():
    """docs/references.bib as a list."""
    text = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
    items = []
    for key, body in re.findall(r"^@\w+\{(\w+),\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        field = {
            name: _unbraced(value)
            for name, value in re.findall(r"(\w+)\s*=\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}", body)
        }
        where = ", ".join(field[name] for name in ("journal", "booktitle", "volume", "note", "eprint") if name in field)
        items.append(
            f"{key}\n: {field.get('author', 'The authors of the paper')} ({field['year']}). *{field['title']}*. {where}."
        )
    return "\n\n".join(items)


ACCENTS = {
    '\\"o': "ö",
    '\\"u': "ü",
    '\\"a': "ä",
    "\\'e": "é",
    "\\'c": "ć",
    "\\AA": "Å",
    "\\aa": "å",
    "\\o": "ø",
    "\\v{c}": "č",
}


def _unbraced(value):
    value = value.replace("{\\AA}", "Å")
    for code, letter in ACCENTS.items():
        value = value.replace("{" + code + "}", letter).replace(code, letter)
    return re.sub(r"\s+", " ", value.replace("{", "").replace("}", "").replace("--", "–")).replace(" and ", ", ")


def changelog(title):
    """A section of CHANGELOG.md without its heading."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.search(rf"^### {title}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)[1]


CELL = re.compile(r"^# %% (.*)$", re.MULTILINE)


def guide(name):
    """A script of docs/guides: what each cell is for, the cell as it stands, and at the end what it printed just now."""
    source = (ROOT / "docs" / "guides" / f"{name}.py").read_text(encoding="utf-8")
    head, *parts = CELL.split(source)
    out = [ast.get_docstring(ast.parse(source)), _code(head.split('"""')[2])]
    for said, code in zip(parts[::2], parts[1::2], strict=True):
        out += [said, _code(code)]
    return "\n\n".join([*out, "It prints:", f"```text\n{printed(name)}\n```"])


def _code(text):
    return f"```python\n{text.strip()}\n```"


@cache
def printed(name):
    """What a guide prints; a guide that fails ends the build."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path(str(ROOT / "docs" / "guides" / f"{name}.py"), run_name="__main__")
    return said.getvalue().strip()


PARTS = {
    "notation": notation,
    "ledger table": lambda: ledger("table"),
    "ledger evidence": lambda: ledger("evidence"),
    "bibliography": bibliography,
    "moving": lambda: changelog("Moving from 0.1"),
}


def fill(app, name, source):
    """Put what is made into a page where it says `<!-- made: NAME -->`, and lead links out of docs/ to their pages."""
    source[0] = re.sub(r"<!-- guide: (\w+) -->", lambda match: guide(match[1]), source[0])
    source[0] = re.sub(r"<!-- picture: (\w+): (.*?) -->", r"![\2](_build/made/\1.svg)", source[0])
    source[0] = re.sub(r"<!-- made: ([\w ]+) -->", lambda match: PARTS[match[1]](), source[0])
    source[0] = (
        source[0].replace("(../proofs_checks/LEDGER.md)", "(ledger.md)").replace("(references.bib)", "(literature.md)")
    )


def setup(app):
    """Fill pages as they are read."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
