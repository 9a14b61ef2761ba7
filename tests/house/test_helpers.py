"""What several tests share stands in a module of its own: no test module is imported by another."""

import ast
from pathlib import Path

from tests.house.sources import imported_modules

TESTS = sorted(Path(__file__).resolve().parents[1].rglob("*.py"))


def borrowed(source):
    """Test modules that a source imports from."""
    found = {name for name, _ in imported_modules(ast.parse(source))}
    parts = {part for name in found if name.split(".")[0] == "tests" for part in name.split(".")}
    return sorted(part for part in parts if part.startswith("test_"))


def test_no_test_module_imports_another():
    found = {path.name: borrowed(path.read_text(encoding="utf-8")) for path in TESTS}
    assert {name: names for name, names in found.items() if names} == {}


def test_a_borrowed_helper_is_seen():
    assert borrowed("from tests.fast.test_store import network\n") == ["test_store"]
    assert borrowed("def f():\n    import tests.fast.test_store\n") == ["test_store"]
    assert borrowed("from tests.fast.stores import network\n") == []
