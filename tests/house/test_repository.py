"""What the repository may hold: the fixed top level, README's commands, nothing of a machine."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = {
    "pyproject.toml",
    "dntk_ref",
    "dntk_fast",
    "proofs_checks",
    "tests",
    "asv_benchmarks",
    "docs",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
}
# Absolute paths of a machine, and hosts of package registries, put together so that this file does not match itself.
PRIVATE = re.compile(
    "|".join(
        [
            "/ho" + "me/",
            "/ro" + "ot/",
            "/wo" + "rk/",
            "/Us" + "ers/",
            "pypi" + r"\.org",
            "files\\.python" + "hosted",
            "registry\\.np" + "mjs",
            "deb\\.deb" + "ian",
        ]
    )
)
# What stands there is gone tomorrow: a script of the CI may keep a log there while it runs, no other file may name it.
SCRATCH = re.compile(r"(?<!\w)/tm" + "p/")
SCRIPTS = {".ci/run"}
CDN = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(?:https?:)?//""", re.IGNORECASE)


def tracked():
    result = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip("not a git checkout: no list of files to hold against the rules")
    return [ROOT / line for line in result.stdout.splitlines() if (ROOT / line).is_file()]


def texts():
    for path in tracked():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def readme_block(name):
    lines = (ROOT / "README.md").read_text().splitlines()
    start = lines.index(f"<!-- command: {name} -->")
    fence = [i for i in range(start, len(lines)) if lines[i].startswith("```")][:2]
    return "\n".join(lines[fence[0] + 1 : fence[1]])


def test_top_level_is_the_fixed_one():
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in found if not name.startswith(".")} <= TOP


def test_nothing_of_a_machine_or_a_registry_stands_in_a_file():
    assert [str(path.relative_to(ROOT)) for path, text in texts() if PRIVATE.search(text)] == []
    assert PRIVATE.search("see /ho" + "me/someone/x")
    scratched = {str(path.relative_to(ROOT)) for path, text in texts() if SCRATCH.search(text)}
    assert scratched <= SCRIPTS
    assert SCRATCH.search("wrote /tm" + "p/x.json")


def test_no_page_asks_another_host():
    assert [
        str(path.relative_to(ROOT)) for path, text in texts() if path.suffix in {".html", ".py"} and CDN.search(text)
    ] == []
    assert CDN.search('<script src="ht' + 'tps://x.y/z.js">')


def test_readme_is_short_and_its_commands_are_the_guarded_ones():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120
    for name, end in (("main", ".venv/bin/dntk run"), ("test", ".venv/bin/python -m pytest")):
        block = readme_block(name)
        assert block.startswith(
            "([ -x .venv/bin/python ] || python3 -m venv .venv) && .venv/bin/python -m pip install -q -e '.[cpu"
        )
        assert end in block


def test_ci_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "readme_command test" in script
    assert "readme_command main" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_no_coverage_pragma():
    word = "pragma: no " + "cover"
    assert [str(path.relative_to(ROOT)) for path, text in texts() if word in text] == []
