"""The benchmarks stand on the two packages alone, mirror their modules, and show no time without an error beside it."""

import ast
import json
import platform
import re
from pathlib import Path

import pytest

from dntk_fast.bench.history import read_results
from dntk_fast.bench.page import write_page
from tests.house.sources import imported_modules

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "asv_benchmarks" / "benchmarks").glob("*.py"))
RESULTS = sorted((ROOT / "asv_benchmarks" / "results").rglob("*.json"))
# An absolute path of any system, and keys under which tools write where they ran.
PLACE = re.compile(r"""(?<![\w.])(?:/[\w.-]+){2,}|\b[A-Za-z]:\\|"(?:machine|host|hostname|node|user|env_name)"\s*:""")
FORBIDDEN = {"tests", "proofs_checks"}
# What mirrors no module of the two packages: the process that the numbers come from.
OWN = {"environment"}


def forbidden_imports(source):
    return [name for name, _ in imported_modules(ast.parse(source)) if name.split(".")[0] in FORBIDDEN]


def times_without_error(source):
    """Classes that define a `time_` and no `track_error`; what a class inherits, it inherits from one that has both."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    methods = {node.name: {part.name for part in node.body if isinstance(part, ast.FunctionDef)} for node in classes}
    timed = [name for name, found in methods.items() if any(method.startswith("time_") for method in found)]
    return [name for name in timed if "track_error" not in methods[name]]


def modules():
    """Names of all modules and sub-packages of the two packages."""
    parts = [part for package in ("dntk_ref", "dntk_fast") for part in (ROOT / package).rglob("*")]
    return {part.stem for part in parts if part.suffix in {"", ".py"}}


def test_there_are_benchmarks():
    assert len([path for path in FILES if path.name.startswith("bench_")]) > 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_benchmarks_import_neither_tests_nor_the_ledger(path):
    assert forbidden_imports(path.read_text()) == []


@pytest.mark.parametrize(
    "line", ["import tests.strategies", "from proofs_checks.instances import x", "from tests import y"]
)
def test_a_forbidden_import_is_seen(line):
    assert forbidden_imports(f"def setup():\n    {line}\n") != []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_time_without_an_error_beside_it(path):
    assert times_without_error(path.read_text()) == []


def test_a_time_without_an_error_is_seen():
    assert times_without_error("class A:\n    def time_it(self): pass\n") == ["A"]
    assert times_without_error("class A:\n    def time_it(self): pass\n    def track_error(self): pass\n") == []


def test_every_file_mirrors_a_module():
    names = {path.stem.removeprefix("bench_") for path in FILES if path.stem.startswith("bench_")}
    assert names - OWN <= modules()
    assert "bench_nothing" not in modules()


def places(text, host):
    """Paths, keys and names of a machine in a file of results."""
    return PLACE.findall(text) + re.findall(rf"\b{re.escape(host)}\b", text)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_kept_results_name_no_path_and_no_host(path):
    text = path.read_text()
    assert json.loads(text)
    assert places(text, platform.node() or "localhost") == []


@pytest.mark.parametrize(
    "text",
    [
        '{"python": "/us' + 'r/bin/python"}',
        '{"env": "C:' + '\\\\venv"}',
        '{"machine": "anything"}',
        '{"note": "run on margarets-laptop"}',
    ],
)
def test_a_place_in_a_result_is_seen(text):
    assert places(text, "margarets-laptop") != []
    assert places('{"unit": "reference / fast", "claim": "n^3 / H^2", "x/y/z": 1}', "margarets-laptop") == []


def test_every_kept_result_is_on_the_page(tmp_path):
    write_page(read_results(ROOT / "asv_benchmarks" / "results"), {}, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    others = [path.name for path in RESULTS if "commit" not in json.loads(path.read_text())]
    assert others
    assert [name for name in others if name not in page] == []  # commits are marks in a picture
    assert "no_such_file.json" not in page
