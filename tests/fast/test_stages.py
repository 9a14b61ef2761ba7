"""A stage is written whole or not at all, reused when it is there, and never mixed with another run's."""

import errno
import json
import os
import resource
import shutil
import stat
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from dntk_fast.files.atomic import remove_drafts, write_atomically
from dntk_fast.files.sealed import read_sealed, write_sealed
from dntk_fast.files.stages import Stage, StageStore, config_hash
from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.report.record import write_record


def made(value):
    return Stage({"x": torch.full((2,), float(value))}, {"value": value}, 3, 4, 5)


def test_a_finished_stage_is_read_back_and_not_done_again(tmp_path):
    with StageStore(tmp_path / "run", {"a": 1}) as store:
        first = store.run("s", lambda: made(7))
    with StageStore(tmp_path / "run", {"a": 1}) as store:
        again = store.run("s", lambda: pytest.fail("done twice"))
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
    with StageStore(tmp_path, {"k": 1}) as store:
        store.run("s", lambda: made(1))
    with pytest.raises(
        ValueError, match=r"out: .* holds a run with k=1 \(not 2\); choose another folder or pass --overwrite"
    ):
        StageStore(tmp_path, {"k": 2})
    fresh = StageStore(tmp_path, {"k": 2}, overwrite=True)
    assert not fresh.finished("s")
    assert json.loads((tmp_path / "config.json").read_text())["config"] == {"k": 2}
    assert list((tmp_path / "stages").iterdir()) == []


def test_other_data_under_the_same_name_are_told(tmp_path):
    with StageStore(tmp_path, {"k": 1}, inputs={"data": "a" * 64}) as store:
        store.run("s", lambda: made(1))
    with pytest.raises(ValueError, match=r"with other data \(fingerprint aaaaaaaaaaaa, not bbbbbbbbbbbb\); choose"):
        StageStore(tmp_path, {"k": 1}, inputs={"data": "b" * 64})
    with StageStore(tmp_path, {"k": 1}, inputs={"data": "b" * 64}, overwrite=True) as store:
        assert store.run("s", lambda: made(2)).numbers == {"value": 2}


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    with StageStore(tmp_path, {}), pytest.raises(ValueError, match=r"^out: expected a folder in which no other"):
        StageStore(tmp_path, {})
    StageStore(tmp_path, {}).close()


# --- what is not a run's own is left alone ----------------------------------------------------------------------------


def contents(folder):
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        None,
        '{"architectures": ["Bert"]}',
        '{"k": 1}',
        "[1]",
        "[" * 100_000,
        "",
        '{"format": "dntk run 1", "files": ["a"]}',
    ],
    ids=["none", "of a language model", "settings alone", "a list", "nested", "empty", "half ours"],
)
def test_a_folder_that_no_run_made_is_left_alone(tmp_path, overwrite, config):
    (tmp_path / "stages").mkdir()
    for name in ("stages/thesis.txt", "thesis", "report.html", "stages/network.json"):
        (tmp_path / name).write_text("years of work")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"^(out|config\.json): ") as caught:
        StageStore(tmp_path, {}, overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["../victim", "/victim", "stages/../../victim", "stages/a/b", "config.json", "a\0", 3])
def test_a_list_of_files_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    victim, folder = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    StageStore(folder, {"k": 1}).close()
    record = read_sealed(folder / "config.json")
    write_sealed(folder / "config.json", record | {"files": [name]})
    with pytest.raises(ValueError, match=r"config\.json: expected names of files of a run"):
        StageStore(folder, {"k": 2}, overwrite=True)
    assert victim.read_text() == "mine"


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(tmp_path):
    with StageStore(tmp_path, {"k": 1}) as store:
        store.run("s", lambda: made(1))
        store.announce("report.json")
    (tmp_path / "report.json").write_text("{}")
    for name in ("notes.txt", "report.html", "stages/notes.json"):
        (tmp_path / name).write_text("mine")
    StageStore(tmp_path, {"k": 2}, overwrite=True)
    assert set(contents(tmp_path)) == {"config.json", "notes.txt", "report.html", "stages/notes.json"}


@pytest.mark.parametrize("place", ["stages", "stages/s.json", "config.json"])
def test_links_among_a_run_s_files_are_refused_and_what_they_lead_to_stays(tmp_path, place):
    folder = tmp_path / "run"
    with StageStore(folder, {"k": 1}) as store:
        store.run("s", lambda: made(1))
    (folder / place).rename(tmp_path / "elsewhere")
    (folder / place).symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"^out: expected .*, got a link"):
        StageStore(folder, {"k": 2}, overwrite=True)
    assert contents(tmp_path) == before


def test_a_file_that_cannot_be_removed_stops_the_run(tmp_path, monkeypatch):
    with StageStore(tmp_path, {"k": 1}) as store:
        store.run("s", lambda: made(1))
    before = contents(tmp_path)

    def busy(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", busy)
        with pytest.raises(PermissionError, match=r"s\.json"):
            StageStore(tmp_path, {"k": 2}, overwrite=True)
    assert contents(tmp_path) == before
    assert StageStore(tmp_path, {"k": 1}).load("s").numbers == {"value": 1}


@pytest.mark.parametrize("place", ["file", "file/below", "nowhere"])
def test_a_place_for_no_folder_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"^out: expected a folder, "):
        StageStore(tmp_path / place, {})
    assert (tmp_path / "file").read_text() == "mine"


# --- damaged, foreign and wrongly typed -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_flipped_bit_is_found_and_the_file_named(tmp_path, suffix):
    store = StageStore(tmp_path, {})
    store.run("s", lambda: made(1))
    path = store.path("s", suffix)
    whole, found = path.read_bytes(), 0
    for place in range(0, 8 * len(whole), 37):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            assert store.load("s").numbers == {"value": 1}  # a space for another means nothing
        except ValueError as error:
            found += 1
            assert f"s{suffix}" in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
    assert found > 0.8 * len(range(0, 8 * len(whole), 37))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"numbers": []}, "numbers as dict"),
        ({"forward_passes": "3"}, "forward_passes as int"),
        ({"forward_passes": True}, "forward_passes as int"),
        ({"bytes": -1}, "passes, bytes and seconds of 0 or above"),
        ({"seconds": None}, "seconds as int or float"),
        ({"arrays": 3}, "arrays as str or NoneType"),
        ({"arrays": "0" * 64}, "the arrays that the stage's record names"),
        ({"run": "0"}, "the stage 's' of this run"),
        ({"stage": "t"}, "the stage 's' of this run"),
    ],
    ids=str,
)
def test_a_record_of_another_kind_is_refused_though_its_checksum_is_right(tmp_path, change, told):
    store = StageStore(tmp_path, {})
    store.run("s", lambda: made(1))
    path = store.path("s", ".json")
    write_sealed(path, read_sealed(path) | change)
    with pytest.raises(ValueError, match=rf"s\.(json|safetensors): expected {told}"):
        store.load("s")


def test_a_stage_of_another_run_is_foreign(tmp_path):
    for k in (1, 2):
        with StageStore(tmp_path / str(k), {"k": k}) as store:
            store.run("s", lambda: made(1))
    for suffix in (".json", ".safetensors"):
        shutil.copy(tmp_path / "1" / "stages" / f"s{suffix}", tmp_path / "2" / "stages")
    with pytest.raises(ValueError, match=r"s\.json: expected the stage 's' of this run, got that of another"):
        StageStore(tmp_path / "2", {"k": 2}).load("s")


def test_what_a_stage_lacks_is_refused_by_its_file(tmp_path):
    found = StageStore(tmp_path, {}).run("s", lambda: made(1))
    with pytest.raises(ValueError, match=r"s\.json: expected a stage with 'lam', got none"):
        found.numbers["lam"]
    with pytest.raises(ValueError, match=r"s\.safetensors: expected a stage with 'rows', got none"):
        found.arrays["rows"]


def test_arrays_that_are_gone_are_named(tmp_path):
    store = StageStore(tmp_path, {})
    store.run("s", lambda: made(1))
    store.path("s", ".safetensors").unlink()
    with pytest.raises(ValueError, match=r"s\.safetensors: expected the arrays of a finished stage, got no such file"):
        store.load("s")


# --- drafts -----------------------------------------------------------------------------------------------------------


def test_drafts_have_new_names_and_follow_no_link(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("secret")
    names = set()
    monkeypatch.setattr("os.replace", lambda draft, path: names.add(Path(draft).name) or Path(draft).unlink())
    for _ in range(20):
        write_atomically(tmp_path / "f", b"x")
    assert len(names) == 20
    monkeypatch.undo()
    monkeypatch.setattr("secrets.token_hex", lambda n: "ab" * n)
    draft = tmp_path / f".f.{'ab' * 8}.part"
    for make in (lambda: draft.symlink_to(victim), lambda: os.link(victim, draft), lambda: draft.write_text("planted")):
        make()
        with pytest.raises(FileExistsError):
            write_atomically(tmp_path / "f", b"x")
        draft.unlink()
    assert victim.read_text() == "secret"
    assert not (tmp_path / "f").exists()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("secret")
    (tmp_path / "f").symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "f", b"x")
    assert ((tmp_path / "victim").read_text(), (tmp_path / "f").read_bytes()) == ("secret", b"x")


def test_drafts_of_killed_processes_go_and_those_of_others_stay(tmp_path):
    StageStore(tmp_path, {}).close()
    (tmp_path / "victim").write_text("mine")
    ours = ["stages/.network.safetensors.0123abcd.part", "stages/.network.json.7.part", ".config.json.77.part"]
    others = [".thesis.7.part", "stages/.thesis.txt.7.part", "stages/network.part"]
    for name in (*ours, *others):
        (tmp_path / name).write_text("half")
    (tmp_path / "stages" / ".s.json.8.part").symlink_to(tmp_path / "victim")
    StageStore(tmp_path, {})
    left = set(contents(tmp_path))
    assert left == {"config.json", "victim", "stages/.s.json.8.part", *others}


def test_a_draft_that_is_being_written_stays_and_goes_when_its_process_is_gone(tmp_path, monkeypatch):
    honest, met = os.fsync, []

    def meanwhile(file):
        honest(file)
        remove_drafts(tmp_path, lambda name: name == "f")
        met.extend(path.name for path in tmp_path.iterdir())

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", meanwhile)
        write_atomically(tmp_path / "f", b"x")
    assert met[0].endswith(".part")
    (tmp_path / met[0]).write_text("of a process that is gone")
    remove_drafts(tmp_path, lambda name: name == "f")
    assert contents(tmp_path) == {"f": b"x"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with StageStore(tmp_path / "run", {}) as store:
            store.run("s", lambda: made(1))
        write_tensors(tmp_path / "run" / "tensors", {"a": torch.ones(1)})
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


def test_a_failed_write_keeps_the_old_file_and_no_litter(tmp_path, monkeypatch):
    target = tmp_path / "f"
    target.write_text("old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


# --- kills ------------------------------------------------------------------------------------------------------------


def whole_run(folder, config, *, overwrite=False):
    """Three stages, one of which keeps a checkpoint on the way, and a report."""

    def long(file):
        start = float(read_tensors(file)[0]["x"]) if file.exists() else 0.0
        for value in range(int(start), 2):
            write_tensors(file, {"x": torch.tensor(value + 1.0)})
        return made(3)

    with StageStore(folder, config, inputs={"data": "d"}, overwrite=overwrite) as store:
        store.run("first", lambda: made(config["k"]))
        with store.checkpoint("long") as file:
            store.run("long", lambda: long(file))
        store.run("last", lambda: Stage({}, {"value": 4}))
        store.announce("report.json")
    write_record({"k": config["k"]}, folder / "report.json")


def killed_at(number, work):
    """Do the work in a process that ends, with nothing tidied up, before its file operation of this number; was it met?"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: the child starts none
        child = os.fork()
    if not child:
        left = [number]

        def before(event, _):
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

        sys.addaudithook(before)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def told_alike(folder):
    """What the files of a run say, without the seconds that it took."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            found[path.name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("seconds", "sha256")}
            found[path.name]["files"] = sorted(found[path.name].get("files", []))
        elif path.is_file():
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True], ids=["afresh", "overwriting"])
def test_a_process_that_is_killed_leaves_a_folder_that_the_same_command_takes_up(tmp_path, overwrite):
    """Every ninth operation by a process that truly ends there; `test_kills` goes through all of a whole run."""

    def begun(name):
        folder = tmp_path / name
        if overwrite:
            whole_run(folder, {"k": 1})
            (folder / "notes.txt").write_text("mine")
        return folder

    folder, points = begun("whole"), 0
    whole_run(folder, {"k": 2}, overwrite=overwrite)
    want = told_alike(folder)
    go = partial(whole_run, begun("0"), {"k": 2}, overwrite=overwrite)
    while killed_at(points, go):
        go()
        assert told_alike(tmp_path / str(points)) == want, f"kill point {points}"
        points += 9
        go = partial(whole_run, begun(str(points)), {"k": 2}, overwrite=overwrite)
    assert points > 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_file_size_limit_is_an_error_that_loses_nothing(tmp_path):
    """A real limit of the system, in a process of its own: what was there before stays, and no draft is left."""
    with StageStore(tmp_path, {}) as store:
        store.run("small", lambda: made(1))
    before = contents(tmp_path)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with StageStore(tmp_path, {}) as store:
            try:
                store.run("large", lambda: Stage({"x": torch.zeros(4096)}))
            except OSError as error:
                os._exit(0 if error.errno == errno.EFBIG and "large.safetensors" in str(error) else 2)
        os._exit(3)

    assert not killed_at(10_000, limited)
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name != "config.json")
    assert StageStore(tmp_path, {}).run("large", lambda: made(2)).numbers == {"value": 2}


def test_the_hash_sees_every_value_and_no_order():
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
