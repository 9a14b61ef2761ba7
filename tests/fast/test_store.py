"""Features on disk: what was computed comes back, whatever happened while it was written, or the file at fault is named."""

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dntk_fast.tangent import features, writing
from dntk_fast.tangent import store as reading
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.store import FeatureStore, write_features
from tests.fast.plain import close
from tests.tolerances import TOL


def network(seed=0, width=3, activation=nn.Tanh, scale=1.0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(width, 6), activation(), nn.Linear(6, 5), activation(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        model[-1].weight *= scale
    return model


def samples(n=11, seed=1):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def write(folder, model=None, x=None, **settings):
    settings = {"k": 8, "seed": 3, "shard_rows": 4, "dtype": torch.float64} | settings
    return write_features(folder, model or network(), samples() if x is None else x, **settings)


def content(folder):
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class StopError(Exception):
    """Stands for whatever ends a run early."""


def interrupt(folder, after):
    """A run that ends after so many shards."""

    def progress(done, _):
        if done == after:
            raise StopError

    with pytest.raises(StopError):
        write(folder, progress=progress)


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", writing.DTYPES.values(), ids=str)
def test_shards_are_the_features_rounded_once(tmp_path, dtype):
    store, x = write(tmp_path, dtype=dtype), samples()
    assert (len(store), store.shards, store.rows) == (11, 3, 4)
    for part, rows in zip(store, x.split(4), strict=True):
        made = tangent_features(network(), rows, k=8, seed=3)
        assert torch.equal(part.body, made.body.to(dtype))
        assert torch.equal(part.head, made.head.to(dtype))
        assert part.plan.sketch == made.plan.sketch
        # The order of the parameters is that of the rows of the map's matrix.
        assert (
            list(part.plan.sketch.shapes)
            == list(made.plan.sketch.shapes)
            == ["0.weight", "0.bias", "2.weight", "2.bias"]
        )
        assert part.plan.head == made.plan.head == "4"


def test_the_store_is_the_features_of_one_call(tmp_path):
    made, store = tangent_features(network(), samples(), k=8, seed=3), write(tmp_path)
    assert close(store.values, made.values, TOL["features"])
    assert close(store.load().kernel(), made.kernel(), TOL["features"])
    assert not close(write(tmp_path / "other", seed=4).values, made.values, TOL["apart"])


@pytest.mark.parametrize(
    "rows", [slice(2, 9, 3), [10, 0, 0, 5], torch.arange(11) % 3 == 1, torch.tensor([4]), None], ids=str
)
def test_rows_come_in_the_order_asked_for(tmp_path, rows):
    store = write(tmp_path)
    expected = store.values if rows is None else store.values[:, rows]
    assert torch.equal(store.load(rows).values, expected)
    assert store.load(rows, dtype=torch.float32).head.dtype == torch.float32


@pytest.mark.parametrize("rows", [[11], [], 3, [[1], [2]], "a"])
def test_rows_that_are_not_there_are_refused(tmp_path, rows):
    with pytest.raises(ValueError, match=r"^rows: expected"):
        write(tmp_path).load(rows)


def test_more_than_memory_holds_is_refused(tmp_path, monkeypatch):
    store = write(tmp_path)
    monkeypatch.setattr(reading, "available_memory", lambda device: 2 * 4 * 8 * 8)
    assert store.load(range(4)).body.shape == (2, 4, 8)
    with pytest.raises(ValueError, match="rows: expected features that fit into 512 B of free memory, got 640 B"):
        store.load(range(5))


def test_a_model_without_a_head_and_chosen_outputs(tmp_path):
    settings = {"keep_head": False, "outputs": [1], "projection": "gaussian", "parameters": ["0.weight", "2.bias"]}
    store = write(tmp_path, **settings)
    assert store.load().head is None
    assert close(store.values, tangent_features(network(), samples(), k=8, seed=3, **settings).values, TOL["features"])


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network(width=3)

    def forward(self, left, right):
        return self.inner(left * right)


def test_every_kind_of_input_gives_the_same_features(tmp_path):
    left, right = samples(), samples(seed=2)
    stores = [
        write(tmp_path / "tuple", Two(), (left, right)),
        write(tmp_path / "dict", Two(), {"right": right, "left": left}),
        write(tmp_path / "loader", Two(), DataLoader(TensorDataset(left, right), batch_size=3)),
        write(tmp_path / "batches", Two(), [(left[:9], right[:9]), (left[9:], right[9:])]),
    ]
    assert all(torch.equal(store.values, stores[0].values) for store in stores)
    # How the samples came in batches leaves no trace.
    assert content(tmp_path / "loader") == content(tmp_path / "batches") == content(tmp_path / "tuple")
    assert close(stores[0].values, tangent_features(Two(), (left, right), k=8, seed=3).values, TOL["features"])


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 9))
def test_shards_do_not_depend_on_the_batches(sizes, rows):
    x = samples(sum(sizes))
    found = list(writing.Job(".", network(), list(x.split(sizes)), k=8, seed=3, dtype=x.dtype, shard_rows=rows).parts())
    assert len(found) == len(x.split(rows))
    assert all(torch.equal(part, expected) for part, expected in zip(found, x.split(rows), strict=True))


def test_batches_that_change_are_refused(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shuffled = DataLoader(TensorDataset(samples()), batch_size=3, shuffle=True, generator=generator)
    with pytest.raises(
        ValueError, match="x: expected the same samples in the same order on every pass, got others in shard 0"
    ):
        write(tmp_path / "a", x=shuffled)
    with pytest.raises(ValueError, match="x: expected batches that can be read twice, got the iterator list_iterator"):
        write(tmp_path / "b", x=iter([samples()]))
    with pytest.raises(ValueError, match="x: expected at least one batch, got none"):
        write(tmp_path / "c", x=[])
    with pytest.raises(TypeError, match="x: expected a tensor"):
        write(tmp_path / "d", x=3)


def test_a_dtype_too_narrow_is_refused(tmp_path):
    x = samples()
    with pytest.raises(ValueError, match=r"dtype: expected one that holds features up to .*e\+05, got float16"):
        write(tmp_path, network(scale=1e6), x, dtype=torch.float16)
    assert torch.isfinite(write(tmp_path / "b", network(scale=1e6), x, dtype=torch.bfloat16).values).all()
    with pytest.raises(ValueError, match="dtype: expected one of bfloat16, float16, float32, float64, got 'int8'"):
        write(tmp_path / "c", dtype=torch.int8)


def test_bad_samples_are_refused_before_the_work(tmp_path):
    x = samples()
    x[-1, 0] = torch.nan
    with pytest.raises(ValueError, match="x: expected finite entries"):
        write(tmp_path / "new", x=x)
    assert not (tmp_path / "new").exists()
    with pytest.raises(TypeError, match="speed: expected a keyword argument of tangent_features"):
        write(tmp_path / "new", speed=3)


def test_checksums_are_those_of_common_tools(tmp_path):
    write(tmp_path)
    lines = [path.read_text() for path in sorted(tmp_path.glob("*.sha256"))]
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert lines == [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in shards]
    assert len(lines) == 3


# --- another run's ----------------------------------------------------------------------------------------------------

OTHERS = {
    "model": {"model": network(seed=5)},
    "data": {"x": samples(seed=5)},
    "samples 11 .not 8.": {"x": samples()[:8]},
    "seed 3 .not 4.": {"seed": 4},
    "k 8 .not 9.": {"k": 9},
    "dtype float64 .not float32.": {"dtype": torch.float32},
    "shard_rows 4 .not 5.": {"shard_rows": 5},
    "projection auto .not srht.": {"projection": "srht"},
    "keep_head auto .not False.": {"keep_head": False},
    "quality 2.0 .not 3.0.": {"quality": 3.0},
    "outputs None .not .0..": {"outputs": [0]},
    "parameters .*": {"parameters": ["0.weight", "4.weight"]},
    "other outputs at the first sample": {"model": network(activation=nn.Sigmoid)},
}


@pytest.mark.parametrize("told", OTHERS)
def test_another_run_is_refused_and_told_apart(tmp_path, told):
    write(tmp_path)
    before = content(tmp_path)
    with pytest.raises(ValueError, match=f"folder: expected features of the same settings, got .* with .*{told}"):
        write(tmp_path, **OTHERS[told])
    assert content(tmp_path) == before


def test_functions_of_the_outputs_are_told_apart_by_what_they_give(tmp_path):
    write(tmp_path, outputs=lambda model, x: model(x).square())
    write(tmp_path, outputs=lambda model, x: model(x) ** 2)
    with pytest.raises(ValueError, match="other outputs at the first sample"):
        write(tmp_path, outputs=lambda model, x: model(x) ** 3)


def test_the_same_run_again_changes_nothing(tmp_path, monkeypatch):
    values, before = write(tmp_path).values, content(tmp_path)
    monkeypatch.setattr(writing.Job, "_cast", lambda *_: pytest.fail("made twice"))
    monkeypatch.setattr(writing.Job, "_new_manifest", lambda _: pytest.fail("planned twice"))
    assert torch.equal(write(tmp_path, memory=2**28).values, values)  # the budget is no part of the map
    assert content(tmp_path) == before


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=r"folder: expected an empty folder or an earlier store, got .* with other files in it"
    ):
        write(tmp_path)
    with pytest.raises(ValueError, match="folder: expected a folder, got the file"):
        write(tmp_path / "thesis.txt")
    assert content(tmp_path) == {"thesis.txt": b"mine"}
    with pytest.raises(ValueError, match=r"folder: expected a store of features, got .* without manifest\.json"):
        FeatureStore(tmp_path)


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


def test_a_manifest_of_another_format_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "manifest.json"
    found = json.loads(path.read_text()) | {"format": "dntk features 9", "sha256": None}
    found["sha256"] = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"manifest\.json: expected dntk features 1, got dntk features 9"):
        FeatureStore(tmp_path)


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
    monkeypatch.setattr(features, "choose_kinds", lambda tangents, shapes, *_: dict.fromkeys(shapes, "gaussian"))
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
def test_a_full_disk_is_told_in_one_line_and_loses_nothing(tmp_path, suffix):
    """The draft of the second shard is a door to /dev/full: the kernel itself refuses the bytes."""
    write(tmp_path / "whole")
    folder = tmp_path / "part"

    def fill(done, _):
        if done == 1:
            (folder / f".shard-00001.{suffix}.{os.getpid()}.part").symlink_to("/dev/full")

    with pytest.raises(
        OSError, match=rf"No space left on device: shard-00001\.{suffix} needs .*; 1 of 3 shards stand"
    ) as caught:
        write(folder, progress=fill)
    assert caught.value.errno == errno.ENOSPC
    assert "\n" not in str(caught.value)
    assert not list(folder.glob(".*"))
    write(folder)
    assert content(folder) == content(tmp_path / "whole")


def test_other_failures_of_the_disk_keep_their_name(tmp_path, monkeypatch):
    def failing(path, write):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(writing, "write_atomically", failing)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write(tmp_path)
    assert "stand in" not in str(caught.value)


SPAWN = multiprocessing.get_context("forkserver")
# Imported once, not by every process: ours, and what torch imports with the first gradient.
SPAWN.set_forkserver_preload(
    ["dntk_fast.tangent.store", "torch.fx.experimental.symbolic_shapes", "tests.fast.test_store"]
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

    def halves(path, data):
        with open(path, "wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            step()
            file.write(data[len(data) // 2 :])

    Path.write_bytes = halves
    if not atomic:
        writing.write_atomically = lambda path, write: write(path)
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
    codes = [run(tmp_path / "killed", delay=float(delay)) for delay in rng.uniform(0.02, 0.3, size=8)]
    assert set(codes) <= {0, -signal.SIGKILL}
    assert resumed(tmp_path / "killed") == content(tmp_path / "whole")
