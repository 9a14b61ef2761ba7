"""The site: every public name stands on a page, docstrings become what they say, its numbers are those of the files."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
RESULTS = ROOT / "asv_benchmarks" / "results"


def extension(name):
    """A module of docs/_ext."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docstrings = extension("docstrings")


# --- all of it is there -----------------------------------------------------------------------------------------------


def homes():
    """The modules of dntk_fast that define a public name, and the modules of dntk_ref."""
    contents = ast.parse((ROOT / "dntk_fast" / "__init__.pyi").read_text(encoding="utf-8"))
    fast = {line.module for line in contents.body if isinstance(line, ast.ImportFrom)}
    ref = {f"dntk_ref.{path.stem}" for path in (ROOT / "dntk_ref").glob("*.py") if not path.stem.startswith("_")}
    return fast, ref


def covered(module, rooms):
    return any(module == room or module.startswith(room + ".") for room in rooms)


def test_every_public_name_stands_on_a_page():
    text = "\n".join(PAGES.values())
    rooms, modules = re.findall(r"^\.\. names:: (\S+)", text, re.M), re.findall(r"^\.\. automodule:: (\S+)", text, re.M)
    fast, ref = homes()
    assert [module for module in sorted(fast) if not covered(module, rooms)] == []
    assert set(modules) == ref
    assert len(modules) == len(set(modules))
    assert len(rooms) == len(set(rooms))
    assert not covered("dntk_fast.tangential", ["dntk_fast.tangent"])


def test_every_page_is_reached_from_the_first_and_every_guide_has_one():
    reached = set(re.findall(r"^([\w/]+)$", PAGES["index.md"], re.M))
    assert {f"{name}.md" for name in reached} | {"index.md"} == set(PAGES)
    scripts = {path.stem for path in (DOCS / "guides").glob("*.py")}
    assert scripts == {name[7:-3] for name in PAGES if name.startswith("guides/")}
    assert [name for name in scripts if f"<!-- guide: {name} -->" not in PAGES[f"guides/{name}.md"]] == []


# --- docstrings -------------------------------------------------------------------------------------------------------


def test_prose_is_taken_literally():
    assert docstrings.literal("`lg_3`s: |K~ - K|_F * 2") == r"``lg_3``\ s: \|K~ - K\|\_F \* 2"
    assert docstrings.literal("see `x`") == "see ``x``"


def test_sections_examples_and_formulas_keep_their_form():
    text = """f(x) = a
        and so on.

        Parameters
        ----------
        x, y : arrays that go
            on here
        k : int
            Coordinates kept.

        >>> 1 + 1
        2"""
    lines = [line.removeprefix("        ") for line in text.splitlines()]
    found = "\n".join(docstrings.converted(lines))
    assert "f(x) = a\nand so on." in found
    assert ".. rubric:: Parameters" in found
    assert "``x, y``\n   arrays that go on here" in found
    assert "``k``\n   *int* – Coordinates kept." in found
    assert ".. code-block:: pycon\n\n   >>> 1 + 1\n   2" in found
    assert "\n".join(docstrings.converted(["K = 1", "w = 2"])).strip() == "| K = 1\n| w = 2"


def test_docstrings_are_read_without_complaint():
    core = pytest.importorskip("docutils.core", reason="the extra `docs` is not installed")
    utils = pytest.importorskip("docutils.utils")
    wrong = "\n".join(docstrings.converted(["Title", "-----", "no heading of ours"]))
    quiet = {"halt_level": 2, "report_level": 2, "warning_stream": False}
    with pytest.raises(utils.SystemMessage):
        core.publish_doctree("a\n\n" + wrong + "\n\n----", settings_overrides=quiet)
    for path in (ROOT / "dntk_ref" / "kernel.py", ROOT / "dntk_fast" / "estimator.py"):  # the build reads all
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                lines = docstrings.converted(ast.get_docstring(node).splitlines())
                plain = [line.replace(".. code-block:: pycon", ".. code:: pycon") for line in lines]
                core.publish_doctree("\n".join(plain), settings_overrides=quiet)


# --- formulas, pictures, numbers --------------------------------------------------------------------------------------


def test_every_formula_of_the_ledger_has_mathml():
    mathml = pytest.importorskip("docutils.utils.math.latex2mathml", reason="the extra `docs` is not installed")
    ledger = (ROOT / "proofs_checks" / "LEDGER.md").read_text(encoding="utf-8")
    formulas = {a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", ledger)}
    assert len(formulas) > 500
    assert [formula for formula in formulas if not mathml.tex2mathml(formula).startswith("<math")] == []
    with pytest.raises(Exception, match="nomacro"):
        mathml.tex2mathml(r"\nomacro x")


def test_a_page_that_asks_another_host_is_refused():
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    hosts = extension("hosts")
    assert hosts.OUTSIDE.search('<script src="ht' + 'tps://x.y/z.js">')
    assert hosts.OUTSIDE.search("@import 'a.css'")
    assert not hosts.OUTSIDE.search('<a href="https://arxiv.org">paper</a><link href="_static/site.css">')


def test_the_numbers_of_the_first_page_are_those_of_the_files():
    text = " ".join(PAGES["index.md"].split())
    networks = json.loads((RESULTS / "xeon-2-cores" / "floor.json").read_text())["networks"]
    shown = [one for one in networks if one["name"] in ("resnet18", "conv28", "vit_tiny")]
    ratios = {
        m: [r["ratio"] for one in shown for r in one["rows"] if r["method"] == m]
        for m in ("exact kernel", "vmap(grad)")
    }
    assert "up to nineteen floors; the exact kernel takes at most two" in text
    assert round(max(ratios["vmap(grad)"])) == 19
    assert 1 < max(ratios["exact kernel"]) <= 2
    rows = json.loads((RESULTS / "epyc-2-cores" / "distillation_digits_500.json").read_text())["rows"]
    errors = {(row["method"], row["per_class"]): row for row in rows}
    assert "(*joint*) errs about half as much as one for each (*per class*)" in text
    halves = [errors["random, joint", m]["error"] / errors["random, per class", m]["error"] for m in (1, 2, 5, 10)]
    assert all(0.35 < half < 0.6 for half in halves), halves
    assert "From two images per class on no kernel comes near the last layer" in text
    last = {m: errors["random, joint", m]["last_layer_error"] for m in (2, 5, 10)}
    assert all(row["error"] > 3 * last[row["per_class"]] for row in rows if row["per_class"] > 1)
