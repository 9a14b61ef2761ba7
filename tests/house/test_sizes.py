"""Functions stay below 50 lines and files below 400 (the ledger's below 600), docstrings not counted, or say why."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    p for folder in ("dntk_ref", "dntk_fast", "proofs_checks", "asv_benchmarks") for p in (ROOT / folder).rglob("*.py")
)
FUNCTION, FILE, LEDGER = 50, 400, 600
# A command is as long as its options; the loop of training and two tables of the ledger are one list each.
LISTS = {
    "cli/__init__.py:run",
    "workflow/training.py:train",
    "check_4_2_moments.py:table_row",
    "proofs_4.py:soft_targets",
}


def docstrings(tree):
    """Lines of docstrings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            found |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


def faults(source, limit):
    """Functions that are too long, and the file itself where it is too long and does not say why."""
    tree = ast.parse(source)
    prose = docstrings(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    long = [f.name for f in functions if len(set(range(f.lineno, f.end_lineno + 1)) - prose) > FUNCTION]
    reason = "One file because" in (ast.get_docstring(tree) or "")
    return long + ["the file"] * (len(source.splitlines()) - len(prose) > limit and not reason)


def test_functions_and_files_are_short_or_say_why():
    found = {}
    for path in SOURCES:
        limit = LEDGER if path.relative_to(ROOT).parts[0] == "proofs_checks" else FILE
        names = [
            f"{path.relative_to(ROOT).as_posix()}:{name}" for name in faults(path.read_text(encoding="utf-8"), limit)
        ]
        found |= dict.fromkeys(name for name in names if not any(name.endswith(known) for known in LISTS))
    assert list(found) == []


def test_a_long_function_and_a_long_file_are_seen():
    body = "    x = 1\n" * FUNCTION
    assert faults(f"def f():\n{body}", FILE) == ["f"]
    assert faults(f'def f():\n    """{"Prose." * 9}\n\n    More.\n    """\n{body[:-10]}', FILE) == []
    assert faults("x = 1\n" * (FILE + 1), FILE) == ["the file"]
    assert faults('"""A table.\n\nOne file because it is a table.\n"""\n' + "x = 1\n" * (FILE + 1), FILE) == []
