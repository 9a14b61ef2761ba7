"""A kill between any two operations on files costs time and nothing else: the same call ends where an unbroken one does."""

import shutil
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from dntk_fast import DistilledNTK, distil_images, refine, train, tune_images, write_features
from dntk_fast.certificates.certificate import held_out
from dntk_fast.files import stages as kept
from dntk_fast.files.atomic import write_atomically
from dntk_fast.files.checkpoint import Checkpoint
from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.kernels.moments import accumulate
from dntk_fast.report.record import write_record
from dntk_fast.workflow import pipeline
from dntk_fast.workflow.config import Config
from tests.fast.kills import left_by_kills, told
from tests.fast.problems import Case, named
from tests.processes import threads

SETTINGS = {"model": "mlp", "per_class": 1, "k": 32, "epochs": 1, "distil_steps": 2, "gradients": (2,), "draws": 1}
SETTINGS |= {"clusters": 2, "certificate_rows": 5, "refine_k": 16, "refine_steps": 2}


@pytest.fixture(autouse=True)
def _one_thread():
    """Files are compared byte for byte."""
    with threads(1):
        yield


def taken_up(work, folder, into, *, begin=None, want=None):
    """Do the work over each state that a kill can leave: the number of operations and of states, all ending alike."""
    if begin is not None:
        begin()
    count, copies = left_by_kills(work, folder, into)
    want = want or told(folder)
    assert told(folder) == want
    for copy in copies:
        shutil.rmtree(folder)
        if copy.exists():
            copy.rename(folder)
        work()
        assert told(folder) == want, copy.name
    return count, len(copies)


# --- a whole run ------------------------------------------------------------------------------------------------------


def whole(folder, config, overwrite=False):
    """What `dntk run` does with files."""
    report = pipeline.run(config, folder, overwrite=overwrite)
    write_record(report.record, folder / "report.json")
    write_atomically(folder / "report.html", f"<p>{report.record['config']}</p>".encode())  # without its pictures


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    digits, path = load_digits(), tmp_path_factory.mktemp("pack") / "three-digits.npz"
    rows = np.flatnonzero(digits.target < 3)[:80]
    split = (np.arange(len(rows)) % 5 == 0).astype(np.uint8)
    labels = digits.target[rows].astype(np.uint8)
    np.savez(path, images=(digits.images[rows] * 15).astype(np.uint8), labels=labels, split=split)
    return Config(data=str(path), **SETTINGS)


@pytest.fixture(scope="module")
def done(config, tmp_path_factory):
    """What every stage of one true run gave back."""
    found, honest = {}, kept.StageStore.run

    def run(store, name, work):
        found[name] = honest(store, name, work)
        return found[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept.StageStore, "run", run)
        pipeline.run(config, tmp_path_factory.mktemp("done") / "run")
    return found


def long(stage, file):
    """A stage that stores its state on the way, in both files that it may keep, and goes on from there."""
    looks = file.with_name(f"{file.name}.looks")
    begun = int(read_tensors(file)[0]["step"]) if file.exists() else 0
    for step in range(begun, 3):
        write_tensors(looks, {"step": torch.tensor(step + 1)})
        write_tensors(file, {"step": torch.tensor(step + 1)})
    return stage


@pytest.fixture
def recorded(done, monkeypatch):
    """The same run, its stages read from memory: operations on files are those of a true run, and its work is nothing."""
    honest, runner = pipeline._Runner.run, pipeline._Runner
    monkeypatch.setattr(kept, "time", SimpleNamespace(perf_counter=lambda: 0.0))

    def stage_of(store, name):
        # Those of another configuration differ, so that a mixture of two runs is seen; a network says what its weights say.
        scale = 1.0 if name == "network" else store.config["k"] / SETTINGS["k"]
        arrays = {
            key: value * scale if value.is_floating_point() else value for key, value in done[name].arrays.items()
        }
        return replace(done[name], arrays=arrays, numbers=dict(done[name].numbers))

    def one(self, name, work):
        return honest(self, name, lambda: stage_of(self.store, name))

    def several(self, name, step, *inputs):
        with self.store.checkpoint(name) as file:
            return honest(self, name, lambda: long(stage_of(self.store, name), file))

    monkeypatch.setattr(runner, "run", one)
    monkeypatch.setattr(runner, "long", several)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("overwrite", [False, True], ids=["afresh", "overwriting"])
def test_a_run_that_is_killed_anywhere_ends_as_one_that_is_not(config, overwrite, tmp_path):
    folder = tmp_path / "run"

    def begin():
        if overwrite:
            whole(folder, replace(config, k=16))
            (folder / "notes.txt").write_text("mine")

    operations, states = taken_up(partial(whole, folder, config, overwrite), folder, tmp_path / "kills", begin=begin)
    assert (operations > 120, states > 90) == (True, True)
    assert "report.html" in {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("recorded")
def test_the_run_that_was_to_be_overwritten_goes_on_too_or_is_refused(config, tmp_path):
    """Killed while `--overwrite` removed it: what still says that it is the old run ends as the old run did."""
    folder, old = tmp_path / "run", replace(config, k=16)
    whole(folder, old)
    want, ends = told(folder), set()
    _, copies = left_by_kills(partial(whole, folder, config, True), folder, tmp_path / "kills")
    for copy in copies:
        shutil.rmtree(folder)
        copy.rename(folder)
        try:
            whole(folder, old)
        except ValueError as error:
            ends.add("refused")
            assert "holds a run with k=32 (not 16)" in str(error)  # noqa: PT017
        else:
            ends.add("ended")
            assert told(folder) == want
    assert ends == {"ended", "refused"}


# --- a store, a saved estimator, checkpoints --------------------------------------------------------------------------


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).eval()


X = torch.linspace(-1, 1, 48).reshape(12, 1, 2, 2).sin()
Y = torch.arange(12) % 2


def test_a_store_that_is_killed_anywhere_is_finished_by_the_same_call(tmp_path):
    folder, model = tmp_path / "store", small()
    operations, states = taken_up(
        lambda: write_features(folder, model, X, k=4, seed=0, shard_rows=3), folder, tmp_path / "kills"
    )
    assert (operations > 20, states > 15) == (True, True)


def test_a_saved_kernel_that_is_killed_over_another_is_one_of_the_two(tmp_path):
    folder, model = tmp_path / "kernel", small()
    first, second = (DistilledNTK(model, per_class=n, seed=0).fit(X, Y) for n in (2, 3))
    first.save(folder)
    wants = [kernel.logits(X) for kernel in (first, second)]
    _, copies = left_by_kills(lambda: second.save(folder), folder, tmp_path / "kills")
    found = [DistilledNTK.load(copy, model).logits(X) for copy in copies]
    ends = [[torch.equal(logits, want) for want in wants] for logits in found]
    assert all(sum(end) == 1 for end in ends)
    assert [False, True] in ends
    assert [True, False] in ends
    taken_up(lambda: second.save(folder), folder, tmp_path / "again", begin=lambda: first.save(folder))


def train_it(file):
    found = train(small(), X, Y, epochs=3, seed=0, batch_size=5, shift=1, flip=True, checkpoint=file)
    return [*found.model.parameters(), torch.tensor(found.losses)]


def distil_it(file):
    found = distil_images(small(), X, Y, per_class=2, seed=0, steps=3, checkpoint=file, every=1)
    return [found.images, found.matching]


def tune_it(file):
    found = tune_images(small(), X, X[:4], seed=0, steps=3, checkpoint=file, every=1)
    return [found.images, found.missed]


def add_up(file):
    parts = [(x.flatten(1)[None], y[None] + 0.5) for x, y in zip(X.split(3), Y.split(3), strict=True)]
    found = accumulate(parts.__getitem__, 3, checkpoint=file)
    return [found.gram, found.right]


def refine_it(file):
    case, begun = Case(0, n=5, t=2, m=2), Checkpoint.numbers(file).get("step", 0)
    given = case.problem, named(case.model, case.w), case.subset, held_out(case.subset, case.test)
    return list(refine(*given, rms=0.0, steps=3 - begun, checkpoint=file).weights.values())


@pytest.mark.parametrize("work", [train_it, distil_it, tune_it, add_up, refine_it], ids=lambda work: work.__name__)
def test_long_work_that_is_killed_anywhere_ends_alike(work, tmp_path):
    folder, results = tmp_path / "kept", []
    folder.mkdir()
    _, states = taken_up(lambda: results.append(work(folder / "state")), folder, tmp_path / "kills")
    assert states > 5
    for found in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found, results[0], strict=True))


def test_a_writer_under_the_final_name_would_be_seen(tmp_path, monkeypatch):
    """The broken twin: a kill then leaves half a checkpoint, which is refused."""
    folder = tmp_path / "kept"
    folder.mkdir()

    def in_place(path, content):
        with path.open("wb", buffering=0) as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                path.stat()
                sys.audit("open", str(path), "r", 0)  # between two writes
                file.write(part)

    monkeypatch.setattr("dntk_fast.files.tensors.write_atomically", in_place)
    with pytest.raises(ValueError, match="expected a safetensors file"):
        taken_up(lambda: train_it(folder / "state"), folder, tmp_path / "kills")
