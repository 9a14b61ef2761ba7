"""Every address in a docstring or comment leads somewhere: ledger labels, bibliography keys, files, counterexamples."""

import ast
import io
import json
import keyword
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dntk_ref", "dntk_fast", "proofs_checks", "asv_benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    *(ROOT / folder / "README.md" for folder in FOLDERS),
    *sorted((ROOT / "docs").glob("*.md")),
]
# What a run, a store or asv writes: named in prose, never in the repository.
WRITTEN = {
    "report.json",
    "report.html",
    "explain.json",
    "explain.html",
    "config.json",
    "manifest.json",
    "benchmarks.json",
}
KEY = re.compile(r"\[([A-Z][A-Za-z]+\d{4})\]")
COUNTEREXAMPLE = re.compile(r"CEX-\d+")
FILE = re.compile(r"(?<![\w/.<>*-])((?:\w+/)*\w+\.(?:py|pyi|md|json|npz|bib|toml|html))\b")
NAME = re.compile(r"`([a-z]\w*)`")
# Numbers of sections that no text in the repository has, and names that have a label.
NOWHERE = re.compile(
    r"(?<![\d.])9\.[1-6]\b(?! ?(?:%|x|s\b))|\b[Ss]ection (?:0|9|12)\b|\bLG-\d|Theorem R\b|Lemma W\b|(?<!docs/)\bmeasures\.md"
)


@cache
def entries():
    return set(
        re.findall(r"^@\w+\{(\w+),", (ROOT / "docs" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    )


@cache
def ledger():
    return (ROOT / "proofs_checks" / "ledger.json").read_text(encoding="utf-8")


@cache
def labels():
    return {reading["label"] for reading in json.loads(ledger())["readings"]}


@cache
def there():
    """Files of the repository, each under its path and under every end of it."""
    folders = [ROOT, *(ROOT / name for name in (*FOLDERS, "tests", "docs"))]
    found = [path for folder in folders[1:] for path in folder.rglob("*.*")] + list(ROOT.glob("*.*"))
    parts = [path.relative_to(ROOT).parts for path in found]
    return {"/".join(part[i:]) for part in parts for i in range(len(part))}


@cache
def words():
    """All names and strings of the code, and what a page or a docstring may put into backticks besides."""
    found = {*keyword.kwlist, "verify", "vector_to_parameters"}  # an extra of pyproject.toml, a function of torch
    found |= {path.stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
                found.add(node.value)
            named = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname"))
            found |= {name for name in named if isinstance(name, str)}
    return found


@cache
def prose(path):
    """Docstrings and comments of a module."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    owners = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return "\n\n".join([*filter(None, map(ast.get_docstring, owners)), *comments])


def dead_ends(text):
    """The addresses of a text that lead nowhere."""
    lost = [key for key in KEY.findall(text) if key not in entries()]
    lost += [name for name in COUNTEREXAMPLE.findall(text) if not re.search(rf"{name}\b", ledger())]
    lost += [name for name in FILE.findall(text) if name not in there() and Path(name).name not in WRITTEN]
    lost += [name for name in NAME.findall(text) if name not in labels() and name not in words()]
    return lost


def test_every_address_in_a_module_leads_somewhere():
    found = {path.relative_to(ROOT).as_posix(): dead_ends(prose(path)) for path in SOURCES}
    assert {name: lost for name, lost in found.items() if lost} == {}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_address_on_a_page_leads_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert [key for key in KEY.findall(text) if key not in entries()] == []
    targets = re.findall(r"\]\(([^)#:]+)(?:#\w+)?\)", text)
    assert [target for target in targets if not (path.parent / target).resolve().exists()] == []
    anchors = re.findall(r"LEDGER\.md#(\w+)\)", text)
    assert [anchor for anchor in anchors if anchor not in labels()] == []


def test_no_docstring_cites_a_section_that_is_not_here():
    # The rows of the ledger carry those numbers as names, each beside its label.
    own = [path for path in SOURCES if "proofs_checks" not in path.parts]
    found = {path.name: [match[0] for match in NOWHERE.finditer(prose(path))] for path in own}
    assert {name: lost for name, lost in found.items() if lost} == {}


def test_the_bibliography_holds_what_is_cited_and_no_more():
    cited = {key for path in SOURCES for key in KEY.findall(prose(path))}
    assert cited == entries()


@pytest.mark.parametrize("text", ["see [Nobody1999]", "fails (CEX-99)", "as tests/nowhere.py says", "by `lg_9`"])
def test_a_dead_end_is_seen(text):
    assert len(dead_ends(text)) == 1


def test_a_section_that_is_not_here_is_seen():
    cited = ["(9.3)", "section 12, item 3", "LG-3", "by Theorem R", "rule of measures.md"]
    assert [text for text in cited if not NOWHERE.search(text)] == []
    assert not NOWHERE.search("docs/measures.md says 19.3 and 9.2 % of it")


def test_all_kinds_of_addresses_are_followed():
    text = "`lg_3` [Hutchinson1989] CEX-8 docs/measures.md `ridge_grid`"
    assert dead_ends(text) == []
    assert (KEY.findall(text), COUNTEREXAMPLE.findall(text), FILE.findall(text), NAME.findall(text)) == (
        ["Hutchinson1989"],
        ["CEX-8"],
        ["docs/measures.md"],
        ["lg_3", "ridge_grid"],
    )
