"""`dntk bench processes`: what all ways find is the same; an interruption keeps whole rounds; no time is asserted."""

import json
import sys

import pytest
import torch

from dntk_fast.bench import processes
from dntk_fast.cli import main
from tests.tolerances import TOL


@pytest.mark.slow
def test_two_processes_find_the_same(tmp_path, monkeypatch, capsys):
    """Three processes are started, and stopped again; a second thread would stall where others work."""
    path = tmp_path / "processes.json"
    monkeypatch.setattr(processes, "WAYS", processes.WAYS[:2])
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "processes", "--quick", "--json", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    record = json.loads(path.read_text())
    assert record["complete"]
    assert [found["name"] for found in record["work"]] == ["features, k = 512", "full-kernel residual"]
    for found in record["work"]:
        assert [row["method"] for row in found["rows"]] == ["2 x 1"]
        assert all(row["error"] <= TOL["float32"] for row in found["rows"])
        assert not any(row["stated"] for row in found["rows"])
    shown = capsys.readouterr().out
    assert "full-kernel residual, conv28, 8 images" in shown
    assert shown.count("not stated") == 2


def team(found, asked, stop_at=None):
    def ask(name):
        asked.append(found)
        if len(asked) == stop_at:
            raise KeyboardInterrupt
        return torch.tensor([1.0, found])

    return ask


def test_an_interruption_keeps_the_whole_rounds_and_a_difference_is_seen():
    asked, kept = [], []
    # One call to know what is expected, three of the warm-up, three of the first round; the eighth is in the second.
    ways = {way: team(found, asked, 8) for way, found in zip(processes.WAYS, (2.0, 2.0, 3.0), strict=True)}
    with pytest.raises(KeyboardInterrupt):
        processes._add(kept, "work", ways, 5, lambda *_: None)
    (found,) = kept
    assert [row["rounds"] for row in found["rows"]] == [1, 1]
    assert [row["error"] for row in found["rows"]] == [0.0, 0.5]
    record = {"work": kept, "network": "conv28", "n": 8}
    (table,) = processes.tables(record)
    assert [row[0] for row in table.rows] == ["2 x 1", "1 x 2"]


def test_a_process_that_ends_is_told_in_one_line(monkeypatch):
    class Pipe:
        def send(self, name):
            raise BrokenPipeError

        def close(self):
            pass

    class Context:
        def Pipe(self):  # noqa: N802
            return Pipe(), Pipe()

        def Process(self, **_):  # noqa: N802
            return type("P", (), {"start": lambda self: None, "join": lambda self: None})()

    monkeypatch.setattr(processes, "get_context", lambda kind: Context())
    with (
        processes._team(2, 1, 8) as ask,
        pytest.raises(ConnectionError, match="processes: expected 2 that answer, one has ended"),
    ):
        ask("features, k = 512")


def test_a_folder_that_is_not_there_is_refused_before_the_work(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "processes", "--json", str(tmp_path / "none" / "x.json")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "json: expected a file in a folder that exists" in capsys.readouterr().err
