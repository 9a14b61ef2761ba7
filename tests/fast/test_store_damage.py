"""A store that was damaged is refused by the name of the file; one that was interrupted goes on and equals a whole one."""

import errno
import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from dntk_fast.files import atomic as atomically
from dntk_fast.files.sealed import read_sealed, write_sealed
from dntk_fast.tangent import streaming, writing
from dntk_fast.tangent.store import FeatureStore
from tests.fast.stores import StopError, content, interrupt, write
from tests.processes import threads


@pytest.fixture(autouse=True)
def _one_thread():
    """The files of two runs are compared bit for bit: both on one thread, as the processes that are killed."""
    with threads(1):
        yield


# --- damage -----------------------------------------------------------------------------------------------------------


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << at % 8
    path.write_bytes(data)


def read(folder):
    return FeatureStore(folder).load()


@pytest.mark.parametrize("name", ["shard-00001.safetensors", "shard-00001.sha256"])
def test_one_flipped_byte_anywhere_is_refused_by_name(tmp_path, name):
    write(tmp_path)
    whole = (tmp_path / name).read_bytes()
    meaning = 64 if name.endswith("sha256") else len(whole)  # after its 64 digits a checksum repeats the file's name
    places = [0, 7, 8, 20, meaning - 1, *np.random.default_rng(0).integers(meaning, size=20).tolist()]
    for at in places:
        flip(tmp_path / name, at)
        with pytest.raises(
            ValueError, match=r"^shard-00001\.safetensors: expected the SHA-256 that shard-00001\.sha256"
        ):
            read(tmp_path)
        (tmp_path / name).write_bytes(whole)
    assert read(tmp_path).body.shape == (2, 11, 8)


def test_a_flipped_byte_in_the_manifest_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    # Spaces and line ends carry no meaning; one digit of a number inside the text may (1.0 and 1.00): here it never does.
    places = [
        at for at in np.random.default_rng(1).integers(len(whole), size=40).tolist() if whole[at : at + 1].strip()
    ]
    for at in places:
        flip(path, at)
        with pytest.raises(ValueError, match=r"^manifest\.json: expected"):
            FeatureStore(tmp_path)
        with pytest.raises(ValueError, match=r"^manifest\.json: expected"):
            write(tmp_path)
        path.write_bytes(whole)
    assert len(places) > 20
    assert len(FeatureStore(tmp_path)) == 11


def test_a_manifest_nested_without_end_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"^manifest\.json: expected JSON in .*, got a damaged one \("):
        FeatureStore(tmp_path)


def test_a_manifest_of_another_format_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "manifest.json"
    found = json.loads(path.read_text()) | {"format": "dntk features 9", "sha256": None}
    found["sha256"] = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"manifest\.json: expected dntk features 1, got dntk features 9"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("settings/shard_rows", "4", "manifest.json: expected shard_rows as int, got '4'"),
        ("settings/shard_rows", 0, r"manifest.json: shard_rows: expected an integer in \[1, inf\], got 0"),
        ("settings/samples", True, "manifest.json: expected samples as int, got True"),
        ("settings/dtype", "evil", "manifest.json: dtype: expected one of .*, got 'evil'"),
        ("settings/k", 3.5, "manifest.json: expected k as int, got 3.5"),
        ("settings/seed", -1, "manifest.json: expected a map that can be drawn, got seed: "),
        ("settings", [], "manifest.json: expected settings as dict"),
        ("plan/outputs", None, "manifest.json: expected outputs as int, got None"),
        ("plan/generic", [3], "manifest.json: expected names, shapes and kinds of maps"),
        ("map", [["a", "b", "c"]], "manifest.json: expected names, shapes and kinds of maps"),
        ("map", [["a", [2], "evil"]], "manifest.json: expected a map that can be drawn, got projection: "),
        ("map", [], "manifest.json: expected names, shapes and kinds of maps"),
        ("first", [1.0], "manifest.json: expected names, shapes and kinds of maps, and an output of each logit"),
        ("first", None, "manifest.json: expected first as list"),
    ],
)
def test_a_manifest_of_another_kind_is_refused_though_its_checksum_is_right(tmp_path, place, value, told):
    write(tmp_path)
    path, (*outer, name) = tmp_path / "manifest.json", place.split("/")
    found = read_sealed(path)
    (found[outer[0]] if outer else found)[name] = value
    write_sealed(path, found)
    with pytest.raises(ValueError, match=f"^{told}") as caught:
        FeatureStore(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^(manifest\.json|folder): "):
        write(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"body": torch.zeros(1, 1, 1)},
        {"body": torch.zeros(2, 4, 8, dtype=torch.float16)},
        {"body": torch.full((2, 4, 8), torch.nan)},
        {"body": None},
        {"head": None},
        {"head": torch.zeros(3, 4)},
        {"other": torch.zeros(1)},
    ],
    ids=["other shape", "other type", "NaN", "no body", "no head", "other head", "more"],
)
def test_a_shard_of_another_kind_is_refused_though_its_checksum_is_right(tmp_path, change):
    write(tmp_path)
    store, path = FeatureStore(tmp_path), tmp_path / "shard-00000.safetensors"
    tensors = {name: t for name, t in (safetensors.torch.load_file(path) | change).items() if t is not None}
    content = safetensors.torch.save(tensors, writing.identity(store.manifest, 0))
    path.write_bytes(content)
    path.with_suffix(".sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match=r"^shard-00000\.safetensors: expected (tensors of shapes|finite features)"):
        store.load()


def test_drafts_of_a_killed_writer_go_and_files_of_others_stay(tmp_path):
    write(tmp_path)
    for name in (".manifest.json.1.part", ".shard-00001.safetensors.0a.part", ".thesis.1.part"):
        (tmp_path / name).write_text("half")
    write(tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == [".thesis.1.part"]


def test_truncated_and_missing_shards_are_refused_by_name_and_made_again(tmp_path):
    write(tmp_path)
    before = content(tmp_path)
    shard, checksum = tmp_path / "shard-00001.safetensors", tmp_path / "shard-00001.sha256"
    shard.write_bytes(before[shard.name][:-1])
    with pytest.raises(ValueError, match=r"^shard-00001\.safetensors: expected the SHA-256"):
        read(tmp_path)
    for path in (shard, checksum):
        path.unlink()
        with pytest.raises(
            ValueError, match=r"expected all 3 shards .* got none or no checksum for shard-00001\.safetensors"
        ):
            FeatureStore(tmp_path)
        write(tmp_path)
        assert content(tmp_path) == before
    store = FeatureStore(tmp_path)
    shard.unlink()
    with pytest.raises(ValueError, match=r"^shard-00001\.safetensors: expected a file in"):
        store.load()


@pytest.mark.parametrize("source", ["another store", "the same store", "another program"])
def test_foreign_shards_are_refused_by_name(tmp_path, source):
    """Even with the checksum that belongs to them."""
    write(tmp_path / "own")
    write(tmp_path / "other", seed=4)
    shard, checksum = (tmp_path / "own" / f"shard-00001.{suffix}" for suffix in ("safetensors", "sha256"))
    if source == "another program":
        shard.write_bytes(b"not tensors")
        checksum.write_text(hashlib.sha256(b"not tensors").hexdigest())
    else:
        folder, index = ("other", 1) if source == "another store" else ("own", 0)
        for path in (shard, checksum):
            path.write_bytes((tmp_path / folder / f"shard-{index:05d}{path.suffix}").read_bytes())
    with pytest.raises(
        ValueError, match=r"^shard-00001\.safetensors: expected (shard 1 of the store|a safetensors file)"
    ):
        read(tmp_path / "own")
    assert FeatureStore(tmp_path / "own").load(range(4)).body.shape == (2, 4, 8)


# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 2])
def test_an_unfinished_store_is_refused_and_goes_on_where_it_stopped(tmp_path, after, monkeypatch):
    write(tmp_path / "whole")
    interrupt(tmp_path / "part", after)
    with pytest.raises(ValueError, match=rf"expected all 3 shards .* for shard-0000{after}\.safetensors"):
        FeatureStore(tmp_path / "part")
    # What a killed process leaves of a file that it was writing.
    (tmp_path / "part" / ".shard-00002.safetensors.1.part").write_bytes(b"half")
    made = []
    monkeypatch.setattr(
        writing.Job, "_cast", lambda job, body, real=writing.Job._cast: made.append(len(body)) or real(job, body)
    )
    write(tmp_path / "part")
    assert len(made) == 2 * (3 - after)  # body and head of each shard that was missing, and no other
    assert content(tmp_path / "part") == content(tmp_path / "whole")
    assert content(tmp_path / "whole") != content(tmp_path / "part") | {"manifest.json": b""}


def test_a_new_choice_of_auto_does_not_reach_a_store_that_was_begun(tmp_path, monkeypatch):
    write(tmp_path / "whole")
    interrupt(tmp_path / "part", 1)
    monkeypatch.setattr(streaming, "choose_kinds", lambda tangents, shapes, *_: dict.fromkeys(shapes, "gaussian"))
    assert set(write(tmp_path / "new").plan.sketch.kinds.values()) == {"gaussian"}
    write(tmp_path / "part")
    assert content(tmp_path / "part") == content(tmp_path / "whole") != content(tmp_path / "new")


def test_an_old_checksum_never_meets_a_new_shard(tmp_path, monkeypatch):
    """A shard was removed, its damaged checksum was not, and the run that makes it again ends between the two files."""
    write(tmp_path)
    before = content(tmp_path)
    (tmp_path / "shard-00001.safetensors").unlink()
    flip(tmp_path / "shard-00001.sha256", 5)

    def save(job, path, data, real=writing.Job._save):
        if path.suffix == ".sha256":
            raise StopError
        real(job, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(writing.Job, "_save", save)
        with pytest.raises(StopError):
            write(tmp_path)
    write(tmp_path)
    assert content(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("suffix", ["safetensors", "sha256"])
def test_a_full_disk_is_told_in_one_line_and_loses_nothing(tmp_path, suffix, monkeypatch):
    """The draft of the second shard is opened as /dev/full: the kernel itself refuses the bytes."""
    write(tmp_path / "whole")
    folder, honest = tmp_path / "part", os.open

    def to_full(path, flags, mode=0o777):
        full = f".shard-00001.{suffix}." in str(path)
        return honest("/dev/full", os.O_WRONLY) if full else honest(path, flags, mode)

    told = rf"No space left on device: shard-00001\.{suffix} needs .*; 1 of 3 shards stand"
    with monkeypatch.context() as patch:
        patch.setattr("os.open", to_full)
        with pytest.raises(OSError, match=told) as caught:
            write(folder)
    assert caught.value.errno == errno.ENOSPC
    assert "\n" not in str(caught.value)
    assert not list(folder.glob(".*"))
    write(folder)
    assert content(folder) == content(tmp_path / "whole")


def test_other_failures_of_the_disk_keep_their_name(tmp_path, monkeypatch):
    def failing(path, content):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(writing, "write_atomically", failing)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write(tmp_path)
    assert "stand in" not in str(caught.value)


SPAWN = multiprocessing.get_context("forkserver")
# Imported once, not by every process: ours, and what torch imports with the first gradient.
SPAWN.set_forkserver_preload(
    ["dntk_fast.tangent.store", "torch.fx.experimental.symbolic_shapes", "tests.fast.test_store_damage"]
)


def live(folder, moment, delay, atomic):
    """A process that writes, and is killed by signal 9 at the given operation on files, or after the given time.

    Every file counts as written in two halves, so that some of the moments lie within it.
    """
    seen = 0

    def step():
        nonlocal seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, arguments):
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(folder):
            step()

    class Halves(io.FileIO):
        def write(self, data):
            super().write(data[: len(data) // 2])
            step()
            return super().write(data[len(data) // 2 :])

    atomically.open = Halves
    if not atomic:
        writing.write_atomically = lambda path, content: Halves(path, "wb").write(content)
    torch.set_num_threads(1)
    sys.addaudithook(watch)
    if delay is not None:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    write(folder, shard_rows=1)
    Path(f"{folder}.count").write_text(str(seen))
    os._exit(0)


def run(folder, *, moment=None, delay=None, atomic=True):
    """Its exit code."""
    process = SPAWN.Process(target=live, args=(str(folder), moment, delay, atomic))
    process.start()
    process.join()
    return process.exitcode


def resumed(folder):
    """What the folder holds after another run with the same settings; None if that is refused."""
    try:
        write(folder, shard_rows=1)
    except ValueError:
        return None
    return content(folder)


def test_killed_between_any_two_operations_on_files(tmp_path):
    """Twelve moments drawn from all of them; each time a fresh folder, one kill, one resumption."""
    assert run(tmp_path / "whole") == 0
    operations, standing = int((tmp_path / "whole.count").read_text()), set()
    for moment in 1 + np.random.default_rng(2).choice(operations, 12, replace=False):
        folder = tmp_path / f"killed-{moment}"
        assert run(folder, moment=int(moment)) == -signal.SIGKILL
        standing.add(len(list(folder.glob("shard-*.sha256"))))
        assert resumed(folder) == content(tmp_path / "whole")
    assert len(standing) > 4


def test_a_writer_that_is_not_atomic_would_be_seen(tmp_path):
    """The broken twin writes under the final names; a kill within its first file or its first checksum stays."""
    write(tmp_path / "whole", shard_rows=1)
    survived = []
    for moment in range(1, 9):
        assert run(tmp_path / f"killed-{moment}", moment=moment, atomic=False) == -signal.SIGKILL
        survived.append(resumed(tmp_path / f"killed-{moment}") == content(tmp_path / "whole"))
    assert not all(survived)


def test_killed_again_and_again_at_any_time(tmp_path):
    """Up to eight lives of one store, each ended by the clock wherever it happens to be."""
    write(tmp_path / "whole", shard_rows=1)
    rng = np.random.default_rng(3)
    codes = [run(tmp_path / "killed", delay=float(delay)) for delay in rng.uniform(0.0, 0.12, size=8)]
    assert set(codes) <= {0, -signal.SIGKILL}
    assert resumed(tmp_path / "killed") == content(tmp_path / "whole")
