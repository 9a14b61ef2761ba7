"""The page of each folder names every file of it, in its room, and no file that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dntk_ref", "dntk_fast", "proofs_checks", "asv_benchmarks")
# One row of the page stands for all files of the form check_<section>_<content>.py or bench_<module>.py.
FAMILY = re.compile(r"(?:check_(?=\d|[ab]_)|bench_)\w+\.py")


def named(page):
    """Room -> the files that its rows of the table name; rows that begin with dots go on with the room above."""
    rooms, room = {}, ""
    for line in page.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            first = line.split("|")[1].strip()
            room = room if first.startswith("...") else (re.match(r"`(\w+)/", first) or ["", ""])[1]
            rooms.setdefault(room, set()).update(re.findall(r"`(?:\w+/)?(\w+\.py)`", line))
    return rooms


def faults(page, files):
    """Files, relative to the folder, that the page does not name where they are, and names that lead nowhere."""
    there = {(path.parent.name, path.name) for path in files}
    found = {(room, name) for room, names in named(page).items() for name in names}
    own = {(room, name) for room, name in there | found if FAMILY.fullmatch(name) or name == "__init__.py"}
    return sorted(there - found - own), sorted(found - there - own)


def files(folder):
    """The Python files of a folder, relative to it; of the benchmarks those beside each other."""
    base = ROOT / folder / "benchmarks" if folder == "asv_benchmarks" else ROOT / folder
    return [path.relative_to(base) for path in base.rglob("*.py")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_of_a_folder_names_its_files(folder):
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    page = page.replace("`benchmarks/", "`")
    assert faults(page, files(folder)) == ([], [])
    assert 20 <= len(page.splitlines()) <= 40


@pytest.mark.parametrize("folder", ["proofs_checks", "asv_benchmarks"])
def test_the_page_names_each_file_of_a_family_by_its_parts(folder):
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for path in files(folder):
        if FAMILY.fullmatch(path.name):
            parts = re.match(r"(?:check_(\d(?:_\d)?|[ab](?:_\d)?)|bench)_(\w+)\.py", path.name)
            assert parts[1] is None or f"`{parts[1]}`" in page
            assert re.search(rf"\b{parts[2].replace('_', '[-_ ]')}\b", page)


def test_the_root_page_leads_to_the_pages_of_the_folders():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [folder for folder in FOLDERS if f"({folder}/README.md)" not in text] == []


def test_a_file_without_a_line_and_a_line_without_a_file_are_seen():
    page = "| top | `a.py`: one |\n| `room/` | `b.py` |\n| ... more | `c.py` |\n"
    there = [Path("a.py"), Path("room/b.py"), Path("room/c.py")]
    assert faults(page, there) == ([], [])
    assert faults(page, [*there, Path("room/d.py")])[0] == [("room", "d.py")]
    assert faults(page, there[:-1])[1] == [("room", "c.py")]
    assert faults(page, [Path("room/a.py"), *there[1:]]) == ([("room", "a.py")], [("", "a.py")])
