"""However many processes share the work, the features are those of one."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dntk_fast import distributed
from dntk_fast.distributed import distributed_features, process_group, write_distributed
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.store import FeatureStore, write_features
from tests.fast.plain import close
from tests.fast.test_store import StopError, content, network, samples
from tests.tolerances import TOL

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"k": 8, "seed": 3}


# --- one process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"keep_head": False}, {"outputs": [1], "projection": "srht"}], ids=str)
def test_one_process_alone_does_all_the_work(options):
    found = distributed_features(network(), samples(), rows=4, **SETTINGS, **options)
    parts = [tangent_features(network(), part, **SETTINGS, **options).values for part in samples().split(4)]
    assert torch.equal(found.values, torch.cat(parts, dim=1))
    made = tangent_features(network(), samples(), **SETTINGS, **options)
    assert close(found.values, made.values, TOL["features"])
    assert found.plan.sketch == made.plan.sketch
    assert not close(
        distributed_features(network(1), samples(), **SETTINGS, **options).values, made.values, TOL["apart"]
    )


def test_one_process_alone_writes_the_same_store(tmp_path):
    seen = []
    write_features(tmp_path / "one", network(), samples(), shard_rows=4, **SETTINGS)
    write_distributed(
        tmp_path / "other", network(), samples(), shard_rows=4, progress=lambda *at: seen.append(at), **SETTINGS
    )
    assert content(tmp_path / "one") == content(tmp_path / "other")
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_process_that_torchrun_did_not_start_is_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(
        ValueError, match=r"process_group: expected a process that torchrun started, got one without RANK"
    ):
        process_group().__enter__()


def test_a_group_gives_up_after_a_minute_and_always_parts(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    calls = []
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 5)
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: calls.append("parted"))
    with pytest.raises(StopError), process_group() as rank:
        interrupt(calls.append(rank))
    assert calls == [(("gloo",), {"timeout": timedelta(seconds=60)}), 5, "parted"]
    with pytest.raises(ValueError, match="timeout: expected a number above 0"):
        process_group(timeout=0).__enter__()


def test_processes_that_differ_are_told_what_in(monkeypatch):
    """Another process answers with the digests of another model."""
    answers = []
    monkeypatch.setattr(distributed, "_gather", lambda own: answers.append(own) or [own])
    for seed in (0, 1):
        distributed._agree({"x": 5, "model": distributed.fingerprint(network(seed))})
    monkeypatch.setattr(distributed, "_gather", lambda own: [own, answers[1]])
    with pytest.raises(ValueError, match="model: expected the same in every process, got different ones"):
        distributed._agree({"x": 5, "model": distributed.fingerprint(network(0))})
    distributed._agree({"x": 5, "model": distributed.fingerprint(network(1))})


# --- two processes ----------------------------------------------------------------------------------------------------


def work(folder):
    """What each process does: gather, write to disk, and be refused."""
    with process_group() as rank:
        for n in (11, 9, 1):  # the last rounds: two full shards and a part; one part; one sample for two processes
            found = distributed_features(network(), samples(n), rows=2, **SETTINGS)
            save_file({"body": found.body, "head": found.head}, folder / f"gathered-{n}-{rank}.safetensors")
        write_distributed(folder / "store", network(), samples(), shard_rows=2, **SETTINGS)
        for call in (distributed_features, lambda *a, **k: write_distributed(folder / "mixed", *a, **k)):
            try:
                call(network(rank), samples(), **SETTINGS)
            except ValueError as error:
                (folder / f"refused-{rank}-{call.__name__}.txt").write_text(str(error))


def interrupt(*_):
    raise StopError


@pytest.mark.slow
def test_two_processes_under_torchrun_are_as_one(tmp_path):
    with pytest.raises(StopError):  # the store was begun by one process; two go on
        write_features(tmp_path / "store", network(), samples(), shard_rows=2, progress=interrupt, **SETTINGS)
    script = tmp_path / "script.py"
    script.write_text(
        f"from pathlib import Path\nfrom tests.fast.test_distributed import work\nwork(Path({str(tmp_path)!r}))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr

    for n in (11, 9, 1):
        alone = distributed_features(network(), samples(n), rows=2, **SETTINGS)
        for rank in range(2):
            gathered = load_file(tmp_path / f"gathered-{n}-{rank}.safetensors")
            assert torch.equal(gathered["body"], alone.body)
            assert torch.equal(gathered["head"], alone.head)

    write_features(tmp_path / "one", network(), samples(), shard_rows=2, **SETTINGS)
    assert content(tmp_path / "store") == content(tmp_path / "one")
    assert len(FeatureStore(tmp_path / "store")) == 11

    refusals = [path.read_text() for path in tmp_path.glob("refused-*.txt")]
    assert refusals == 4 * ["model: expected the same in every process, got different ones"]
    assert not (tmp_path / "mixed").exists()
