"""The watch sees what a process allocates and nothing else; one tiny run of the command."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from dntk_fast.bench import memory
from dntk_fast.cli import main

MB = 2**20


def holding(kept, passing, mapped, folder):
    """Work whose result holds `kept` bytes, that needs `passing` more for a moment, and that fills a file besides."""
    file = torch.from_file(f"{folder}/file", shared=True, size=mapped, dtype=torch.uint8)
    ballast = torch.ones(48 * MB, dtype=torch.uint8)  # a model: in memory before

    def work():
        file.fill_(1)
        result = torch.ones(kept, dtype=torch.uint8)
        moment = torch.ones(passing, dtype=torch.uint8)
        time.sleep(0.01)
        del moment
        return len(result), int(ballast[0])

    return work


def test_the_peak_is_what_was_allocated_beside_model_result_and_files(tmp_path):
    found = memory.watch(holding, 24 * MB, 40 * MB, 64 * MB, str(tmp_path))
    assert found["result"] == 24 * MB
    assert found["planned"] == 1
    assert 40 * MB <= found["peak"] < 48 * MB  # 24, 48 or 64 more with the result, the ballast or the file in it


def test_a_process_that_fails_is_an_error():
    with pytest.raises(ChildProcessError, match="expected a process that works to its end"):
        memory.watch(time.sleep, -1)


def test_the_smallest_budgets_are_those_that_are_taken():
    for task, name in memory.TASKS.items():
        model, images = memory.random_subject(name, 2)
        least = memory._refused(task)
        memory._work(task, model, images, least)
        with pytest.raises(ValueError, match=f"memory: expected at least {least} "):
            memory._work(task, model, images, least - 1)


# --- the command ------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "memory", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_prints_a_table_and_writes_what_it_found(monkeypatch, capsys, tmp_path):
    path = tmp_path / "memory.json"
    assert command(monkeypatch, "--quick", "--threads", 1, "--json", path) == 0
    assert "memory above model and result" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert (record["threads"], record["n"], record["quick"], record["complete"]) == (1, 16, True, True)
    assert [(row["task"], row["network"], row["budget"]) for row in record["rows"]] == [
        ("features", "resnet18", 256 * MB), ("kernel", "conv28", 256 * MB)
    ]  # fmt: skip
    for row in record["rows"]:
        assert 0 < row["minimum"] < row["planned"] <= row["budget"]
        assert 0 < row["peak"] <= 1.1 * row["budget"]
    assert record["rows"][0]["result"] == 4 * 16 * (10 * memory.K + 513)
    assert record["rows"][1]["result"] == 0
    assert str(Path.home()) not in path.read_text()


def test_an_interruption_writes_no_file(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(memory, "watch", interrupted)
    assert command(monkeypatch, "--quick", "--json", tmp_path / "memory.json") == 130
    assert "Stopped" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--images", 1), "images: expected an integer"),
        (("--threads", 0), "threads: expected an integer"),
        (("--json", "nowhere/memory.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_a_wrong_request_is_refused_before_the_work(monkeypatch, capsys, options, message):
    monkeypatch.setattr(memory, "watch", None)
    assert command(monkeypatch, *options) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")
