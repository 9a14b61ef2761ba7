"""One version everywhere, a changelog that begins with it, and every data file of the packages in the wheel."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DATA = PROJECT["tool"]["setuptools"]["package-data"]


def versions():
    """The version as each file states it."""
    citation, changes = (ROOT / name for name in ("CITATION.cff", "CHANGELOG.md"))
    return {
        "pyproject.toml": PROJECT["project"]["version"],
        "CITATION.cff": re.search(r"^version: (\S+)$", citation.read_text(encoding="utf-8"), re.MULTILINE)[1],
        "CHANGELOG.md": re.search(r"^## (\d\S+) \(", changes.read_text(encoding="utf-8"), re.MULTILINE)[1],
    }


def test_the_version_is_the_same_everywhere():
    assert len(set(versions().values())) == 1


def test_the_citation_carries_the_day_of_the_changelog():
    day = re.search(r"^date-released: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)[1]
    newest = f"## {versions()['CHANGELOG.md']} ({day})"
    assert newest in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()


def left_out(files, patterns):
    """Data files of a package, relative to it, that no pattern takes into the wheel."""
    return [name for name in files if not any(fnmatch(name, pattern) for pattern in patterns)]


@pytest.mark.parametrize("package", sorted(DATA))
def test_every_data_file_of_a_package_is_in_the_wheel(package):
    result = subprocess.run(["git", "ls-files", package], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip("not a git checkout: no list of files")
    names = [line.removeprefix(f"{package}/") for line in result.stdout.splitlines() if not line.endswith(".py")]
    assert names
    assert left_out(names, DATA[package]) == []
    assert [pattern for pattern in DATA[package] if not any(fnmatch(name, pattern) for name in names)] == []


def test_a_file_that_is_left_out_is_seen():
    assert left_out(["py.typed", "ledger.json"], ["*.typed"]) == ["ledger.json"]


def test_the_commands_lead_to_functions_that_are_there():
    for target in PROJECT["project"]["scripts"].values():
        module, function = target.split(":")
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        assert re.search(rf"\bdef {function}\(|import .*\b{function}\b", source)
