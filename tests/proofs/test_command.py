"""The command: exit codes, what it writes and where, and that a flipped verdict is caught every time."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import proofs_checks.__main__ as command
from proofs_checks.ledger import examine, records, to_markdown
from proofs_checks.page import formula_svg, to_html, typesets
from proofs_checks.registry import registry, select
from proofs_checks.statement import Verdict
from tests.processes import interruptible

HERE = Path(command.__file__).parent
ROOT = HERE.parent


def committed():
    return {path: path.stat().st_mtime_ns for path in (HERE / "LEDGER.md", HERE / "ledger.json") if path.exists()}


def flipped(label):
    def statement(own):
        if own.label != label:
            return own
        first, *rest = own.readings
        return replace(own, readings=(replace(first, verdict=Verdict.FAILS), *rest))

    statements = registry()
    return lambda: tuple(statement(own) for own in statements)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("flint", "dntk-verify: flint: expected the package to be installed (pip install 'dntk[verify]')"),
        ("hypothesis", "dntk-verify: hypothesis: expected the package to be installed (pip install 'dntk[verify]')"),
        ("scipy", "ModuleNotFoundError"),  # no extra brings it: the traceback stays
    ],
)
def test_without_its_extra_the_command_names_it_in_one_line(missing, message):
    """In a fresh process in which the package cannot be found, as after the main install."""
    code = (
        f"import importlib.abc, sys\nclass Absent(importlib.abc.MetaPathFinder):\n def find_spec(self, name, *rest):\n"
        f"  if name.split('.')[0] == {missing!r}: raise ModuleNotFoundError(name, name={missing!r})\n"
        "sys.meta_path.insert(0, Absent())\nfrom proofs_checks.__main__ import main\nmain(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert message in done.stderr
    assert (done.returncode, len(done.stderr.splitlines()) == 1) == ((1, False) if missing == "scipy" else (2, True))


def test_one_statement_by_its_label(capsys):
    assert command.main(["--only", "prop_3_6", "--quick"]) == 0
    assert "prop_3_6" in capsys.readouterr().out


@pytest.mark.parametrize("width", ["40", "60", "80"])
def test_a_narrow_terminal_cuts_no_label(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", width)
    kept = json.loads((HERE / "ledger.json").read_text(encoding="utf-8"))["readings"]
    monkeypatch.setattr(command, "records", lambda *given, **more: kept)
    assert command.main(["--only", "rem_4_2"]) == 0
    words = capsys.readouterr().out.split()
    assert "…" not in "".join(words)
    assert {record["label"] for record in kept} < set(words)


def test_a_unique_prefix_is_enough():
    assert [s.label for s in select(registry(), "rem_b_4")] == ["rem_b_4"]
    assert [s.label for s in select(registry(), "task")] == ["task_link"]
    # a full label wins over longer ones that it begins
    assert [s.label for s in select(registry(), "thm_3_3")] == ["thm_3_3"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("LG-3", "lg_3"),
        ("Theorem R", "theorem_r"),
        ("theorem_r", "theorem_r"),
        ("Def 3.1", "def_3_1"),
        ("Theorem 3.3", "thm_3_3"),
        ("Prop B.6, (23)–(25), combined", "prop_b_6"),
    ],
)
def test_a_name_as_it_is_printed_is_enough(name, label):
    assert [s.label for s in select(registry(), name)] == [label]


def test_a_label_that_is_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(ValueError, match=r"got 'theorm_r' \(near it: .*theorem_r.*; --list prints all\)$"):
        select(registry(), "theorm_r")


def test_the_list_has_every_label_and_name_and_does_no_work(monkeypatch, capsys):
    monkeypatch.setattr(command, "records", None)
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[s.label, s.row] for s in registry()]


@pytest.mark.parametrize("label", ["thm_3_", "nonsense", "", "?"])
def test_an_ambiguous_or_unknown_label_is_refused(label, capsys):
    assert command.main(["--only", label]) == 2
    assert "expected a label or a unique prefix" in capsys.readouterr().err


def test_a_flipped_verdict_gives_exit_code_one_twice_in_a_row_and_writes_nothing(monkeypatch, capsys):
    before = committed()
    monkeypatch.setattr(command, "registry", flipped("rem_4_2"))
    for _ in range(2):
        assert command.main(["--only", "rem_4_2", "--quick"]) == 1
        assert "verdict differs: rem_4_2 [as stated]: recorded 'fails', found 'holds'" in " ".join(
            capsys.readouterr().out.split()
        )
    assert committed() == before


def test_update_does_not_record_a_verdict_that_differs(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "HERE", tmp_path)
    own = flipped("rem_4_2")()
    monkeypatch.setattr(command, "registry", lambda: select(own, "rem_4_2"))
    assert command.main(["--update", "--jobs", "1"]) == 1
    assert not list(tmp_path.iterdir())


def test_update_rewrites_the_two_files(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "HERE", tmp_path)
    own = registry()
    monkeypatch.setattr(command, "registry", lambda: select(own, "rem_4_2"))
    assert command.main(["--update", "--jobs", "1"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LEDGER.md", "ledger.json"]


@pytest.mark.parametrize(
    "arguments", [["--update", "--quick"], ["--update", "--only", "rem_4_2"], ["--html"], ["--jobs", "0"]]
)
def test_contradictory_options_are_refused(arguments, capsys):
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"dntk-verify: {arguments[0]}: expected")
    assert error.count("\n") == 1


@pytest.mark.parametrize("folder", ["file", "file/below", "locked"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(command.os, "access", lambda path, mode: path != tmp_path / "locked")  # root may write anywhere
    monkeypatch.setattr(command, "records", None)
    assert command.main(["--out", str(tmp_path / folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dntk-verify: --out: expected a folder")
    assert error.count("\n") == 1


def test_what_is_refused_leaves_no_folder(tmp_path, capsys):
    assert command.main(["--only", "nonsense", "--out", str(tmp_path / "new")]) == 2
    assert not list(tmp_path.iterdir())


def test_a_run_writes_to_the_given_folder_only(tmp_path):
    before = committed()
    assert command.main(["--only", "prop_3_6", "--quick", "--out", str(tmp_path), "--html"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LEDGER.md", "ledger.html", "ledger.json"]
    assert committed() == before
    found = json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8"))
    assert [reading["found"] for reading in found["readings"]] == ["holds", "holds with an added hypothesis"]
    assert "seconds" not in (tmp_path / "ledger.json").read_text(encoding="utf-8")


def test_two_processes_find_what_one_finds():
    own = tuple(s for s in registry() if s.label in ("rem_4_2", "prop_3_6", "eq_10"))
    assert records(own, 5, jobs=2) == records(own, 5, jobs=1) == records(own, 5)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_the_work_in_one_line(jobs):
    """In a process group of its own, as a terminal interrupts it: steps that would take a minute are left at once."""
    code = (
        "import sys, time, proofs_checks.__main__ as command, proofs_checks.ledger as ledger\n"
        "def examine(statement, count):\n print('under way', flush=True); time.sleep(60); print('at its end')\n"
        f"ledger.examine = examine\nsys.exit(command.main(['--jobs', '{jobs}']))"
    )
    given = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(interruptible([sys.executable, "-c", code]), **given) as process:
        while "under way" not in process.stdout.readline():
            pass
        os.killpg(process.pid, signal.SIGINT)
        out, error = process.communicate()
    assert "at its end" not in out
    assert (process.returncode, error) == (130, "")
    assert out.strip().splitlines()[-1] == "Stopped: nothing is written."


@pytest.mark.parametrize("statement", registry(), ids=lambda statement: statement.label)
def test_every_formula_can_be_typeset(statement):
    assert all(typesets(reading.formula) for reading in statement.readings if reading.formula)


def test_the_page_needs_nothing_from_outside_and_shows_counterexamples_as_matrices():
    page = to_html(examine(select(registry(), "prop_3_6")[0], 3))
    assert '<table class="matrix">' in page
    assert "<svg" in page
    outside = (
        page.replace("http://www.w3.org/", "")
        .replace("http://purl.org/dc/", "")
        .replace("http://creativecommons.org/ns#", "")
        .replace("https://matplotlib.org/", "")
    )
    assert "http" not in outside
    assert formula_svg(r"\frac{1}{2}") == formula_svg(r"\frac{1}{2}")


def test_the_committed_ledger_has_every_row_with_its_recorded_verdict():
    path = HERE / "ledger.json"
    rows = [(r["label"], r["reading"], r["found"]) for r in json.loads(path.read_text(encoding="utf-8"))["readings"]]
    assert rows == [(s.label, reading.key, str(reading.verdict)) for s in registry() for reading in s.readings]
    text = (HERE / "LEDGER.md").read_text(encoding="utf-8")
    assert all(f'<a id="{s.label}"></a>' in text for s in registry())
    assert "evidence, not proof" in text


def test_the_honesty_lines_stand_in_every_ledger():
    text = to_markdown(examine(select(registry(), "rem_4_2")[0], 3), 3)
    for phrase in ("restored* statements", "Float64 evidence is evidence, not proof", "Pending"):
        assert phrase in text
