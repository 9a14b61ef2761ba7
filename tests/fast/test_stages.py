"""A stage is written whole or not at all, reused when it is there, and never mixed with another run's."""

import json

import pytest
import torch

from dntk_fast.files.atomic import write_atomically
from dntk_fast.files.stages import Stage, StageStore, config_hash


def made(value):
    return Stage({"x": torch.full((2,), float(value))}, {"value": value}, 3, 4, 5)


def test_a_finished_stage_is_read_back_and_not_done_again(tmp_path):
    store = StageStore(tmp_path / "run", {"a": 1})
    first = store.run("s", lambda: made(7))
    again = StageStore(tmp_path / "run", {"a": 1}).run("s", lambda: pytest.fail("done twice"))
    assert torch.equal(again.arrays["x"], torch.full((2,), 7.0))
    assert (again.numbers, again.forward_passes, again.backward_passes, again.bytes) == ({"value": 7}, 3, 4, 5)
    assert again.seconds == first.seconds


def test_a_stage_that_broke_leaves_nothing_behind(tmp_path):
    store = StageStore(tmp_path, {"a": 1})

    def broken():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.run("s", broken)
    assert not store.finished("s")
    assert store.run("s", lambda: made(1)).numbers == {"value": 1}


def test_arrays_without_a_record_are_an_unfinished_stage(tmp_path):
    """What a kill between the two files leaves: the arrays alone. The stage is done again and replaces them."""
    store = StageStore(tmp_path, {})
    store.run("s", lambda: made(1))
    store.path("s", ".json").unlink()
    assert float(store.run("s", lambda: made(2)).arrays["x"][0]) == 2


def test_another_configuration_is_refused_unless_overwritten(tmp_path):
    StageStore(tmp_path, {"k": 1}).run("s", lambda: made(1))
    with pytest.raises(
        ValueError, match=r"out: .* holds a run with k=1 \(not 2\); choose another folder or pass --overwrite"
    ):
        StageStore(tmp_path, {"k": 2})
    fresh = StageStore(tmp_path, {"k": 2}, overwrite=True)
    assert not fresh.finished("s")
    assert json.loads((tmp_path / "config.json").read_text()) == {"k": 2}


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="out: expected an empty folder or an earlier run"):
            StageStore(tmp_path, {}, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_overwriting_keeps_what_no_run_wrote(tmp_path):
    StageStore(tmp_path, {"k": 1})
    (tmp_path / "notes.txt").write_text("mine")
    StageStore(tmp_path, {"k": 2}, overwrite=True)
    assert (tmp_path / "notes.txt").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="out: expected a folder, got the file"):
        StageStore(tmp_path / "file", {})


def test_a_damaged_record_is_named(tmp_path):
    StageStore(tmp_path, {"k": 1})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"out: expected JSON in .*config\.json"):
        StageStore(tmp_path, {"k": 1})


def test_a_failed_write_keeps_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "f"
    target.write_text("old")

    def full_disk(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, full_disk)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_hash_sees_every_value_and_no_order():
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
