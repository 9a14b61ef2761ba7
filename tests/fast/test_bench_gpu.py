"""The command for a GPU, on the CPU: what it prints, and what Ctrl-C leaves; no time is asserted."""

import json

import pytest

from dntk_fast.bench import floor, gpu

OPTIONS = ("--device", "cpu", "--quick")


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_quick_run_states_no_interval_and_writes_what_it_found(tmp_path, capsys):
    gpu.main([*OPTIONS, "--rounds", "1", "--json", str(tmp_path / "gpu.json")])
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["complete"]
    assert [row["k"] for row in record["sketch"]] == [512, 4096]
    rows = [line for line in printed.splitlines() if " - " in line]
    assert len(rows) == sum(len(network["rows"]) for network in record["networks"]) + 2
    assert all("not stated" in row for row in rows)


def test_a_stated_sketch_is_told_from_one_that_is_not():
    row = {"k": 512, "ratio": 1.25, "low": 1.2, "high": 1.3}
    record = {"networks": [], "memory": [], "sketch": [row | {"stated": True}, row | {"stated": False}]}
    (cells,) = gpu.tables(record)
    assert cells.rows == (("k = 512", "1.25", "1.20 - 1.30", ""), ("k = 512", "1.25", "1.20 - 1.30", "not stated"))


@pytest.mark.parametrize("part", ["floor", "sketch", "tasks"])
def test_ctrl_c_ends_with_what_is_whole(part, monkeypatch, tmp_path, capsys):
    """In the second round of a network, in the sketch, and before anything is measured: nothing follows."""
    race = floor.race
    if part == "floor":
        monkeypatch.setattr(floor, "race", lambda tasks, number, clock: (interrupted if number > 1 else race)(
            tasks, number, clock))  # fmt: skip
        monkeypatch.setattr(gpu, "race", None)  # the sketch is not begun
    elif part == "sketch":
        monkeypatch.setattr(gpu, "race", interrupted)
    else:
        monkeypatch.setattr(gpu, "measure", lambda **_: interrupted())
    with pytest.raises(SystemExit) as left:
        gpu.main([*OPTIONS, "--rounds", "2", "--json", str(tmp_path / "gpu.json")])
    assert left.value.code == 130
    printed = capsys.readouterr().out
    assert ("exact kernel" in printed) == (part != "tasks")
    assert printed.splitlines()[-1].startswith("Stopped:")
    assert not list(tmp_path.iterdir())
