"""However many processes share the work, the features are those of one."""

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dntk_fast.certificates.certificate import (
    FullProblem,
    SubsetResidual,
    certify,
    held_out,
    held_out_bounds,
    residual,
    training_subset,
)
from dntk_fast.certificates.conjugate_gradients import refine
from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.kernels.moments import load_moments, moments_of
from dntk_fast.parallel import distributed, processes
from dntk_fast.parallel.distributed import distributed_features, process_group, write_distributed
from dntk_fast.parallel.jacobian import distributed_problem
from dntk_fast.parallel.moments import distributed_moments
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.store import FeatureStore, write_features
from tests.fast.plain import close
from tests.fast.test_store import StopError, content, network, samples
from tests.processes import threads
from tests.tolerances import TOL

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"k": 8, "seed": 3}
GOES_ON = "; what is on disk stands, and the same command goes on from there"


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


def test_outputs_may_be_an_iterator():
    found = distributed_features(network(), samples(), rows=4, outputs=iter([1]), **SETTINGS)
    assert found.body.shape[:2] == (1, 11)


@pytest.mark.parametrize("shard_rows", [1, 4, 99])
def test_one_process_alone_has_the_passes_of_the_full_problem(shard_rows):
    x, y, lam = samples(), targets(11), torch.tensor([0.3, 3.0])
    full, shared = FullProblem(network(), x, y, lam), distributed_problem(network(), x, y, lam, shard_rows=shard_rows)
    w = {name: torch.randn(2, *p.shape, dtype=p.dtype) for name, p in network().named_parameters()}
    expected, found = residual(full, w), residual(shared, w)
    for name, value in expected.values.items():
        assert close(found.values[name], value)
        assert not close(2 * found.values[name], value, TOL["apart"])
    assert close(shared.forward(w), full.forward(w))
    assert close(shared.predict(w, samples(5, seed=9)), full.predict(w, samples(5, seed=9)))
    assert close(shared.traces, full.traces)


def test_one_process_alone_sums_the_moments_of_all_parts_and_goes_on_with_them(tmp_path):
    features, y = tangent_features(network(), samples(), **SETTINGS).values, targets(11)
    asked = []

    def part(i):
        asked.append(i)
        if len(asked) == 3:
            raise StopError
        return features[:, 4 * i : 4 * i + 4], y[:, 4 * i : 4 * i + 4]

    with pytest.raises(StopError):
        distributed_moments(part, 3, checkpoint=tmp_path / "moments")
    found, expected = distributed_moments(part, 3, checkpoint=tmp_path / "moments"), moments_of(features, y)
    assert asked == [0, 1, 2, 0, 2]  # of what stood, the first alone was asked for again
    assert (found.n, found.parts) == (11, 3)
    assert all(close(getattr(found, name), getattr(expected, name)) for name in ("gram", "right", "squares"))
    with pytest.raises(ValueError, match=r"checkpoint: expected at most 2 parts, got 3 in .*moments-0-of-1"):
        distributed_moments(part, 2, checkpoint=tmp_path / "moments")
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected one of the same sum over a stream, got .*moments-0-of-1"
    ):
        distributed_moments(lambda i: (features[:, :4].flip(2), y[:, :4]), 3, checkpoint=tmp_path / "moments")
    with pytest.raises(ValueError, match="parts: expected an integer"):
        distributed_moments(part, 0)


@pytest.mark.parametrize(
    ("settings", "message"), [({"shard_rows": 0}, "shard_rows: expected"), ({"lam": 0.0}, "lam: ")]
)
def test_a_distributed_problem_refuses_what_makes_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        distributed_problem(network(), samples(), targets(11), **{"lam": 1.0, **settings})


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


def test_a_lost_process_ends_the_others_with_one_line(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(distributed.dist, name, lambda *a, **k: None)
    for name, found in (("is_initialized", True), ("get_rank", 0), ("get_world_size", 2), ("get_backend", "gloo")):
        monkeypatch.setattr(distributed.dist, name, lambda found=found: found)

    def lost(*_, **__):
        raise RuntimeError("[/a/path/pair.cc:553] Connection closed by peer [127.0.0.1]:1. Check the\nlogs.")

    for name, call in (("all_gather", processes.meet), ("all_reduce", lambda: processes.add(torch.ones(1)))):
        monkeypatch.setattr(distributed.dist, name, lost)
        with pytest.raises(SystemExit) as ended, process_group():
            call()
        assert (
            str(ended.value)
            == f"dntk: process 0 of 2 lost another one (Connection closed by peer [127.0.0.1]:1){GOES_ON}"
        )
    monkeypatch.setattr(distributed.dist, "init_process_group", lost)
    with pytest.raises(SystemExit, match=r"dntk: the processes did not meet \(Connection closed by peer \[.*\]:1\)"):
        process_group().__enter__()
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *a, **k: None)
    with pytest.raises(RuntimeError, match="mine"), process_group():  # an error of the work itself is shown as it is
        raise RuntimeError("mine")


def test_processes_that_differ_are_told_what_in(monkeypatch):
    """Another process answers with the digests of another model."""
    answers = []
    monkeypatch.setattr(processes, "gather", lambda own: answers.append(own) or [own])
    for seed in (0, 1):
        processes.agree({"x": 5, "model": fingerprint(network(seed))})
    monkeypatch.setattr(processes, "gather", lambda own: [own, answers[1]])
    with pytest.raises(ValueError, match="model: expected the same in every process, got different ones"):
        processes.agree({"x": 5, "model": fingerprint(network(0))})
    processes.agree({"x": 5, "model": fingerprint(network(1))})


# --- two processes ----------------------------------------------------------------------------------------------------


def sums(n, shard_rows):
    """Residual, certificate, held-out bounds and refined weights of a problem with n rows, by name."""
    problem = distributed_problem(network(), samples(n), targets(n), 0.3, shard_rows=shard_rows)
    subset = training_subset(problem, torch.arange(min(n, 2)))
    held = held_out(subset, samples(3, seed=4))
    start = {name: torch.ones(2, *p.shape, dtype=p.dtype) for name, p in network().named_parameters()}
    found = residual(problem, start)
    seen = SubsetResidual(subset, found)
    bounds, certificate = held_out_bounds(seen, held), certify(seen)
    refined = refine(problem, start, subset, held, rms=0.0, steps=2)
    single = {"norm": found.norm, "allowance": found.allowance, "excess": certificate.excess, "fitted": refined.fitted}
    return {**found.values, **single, "rms": bounds.rms, "pointwise": bounds.pointwise, "traces": problem.traces}


def targets(n):
    return torch.randn(2, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def work(folder):
    """What each process does: gather, write to disk, sum, and be refused."""
    with process_group() as rank:
        for n, shard_rows in ((11, 2), (1, 4)):
            save_file(sums(n, shard_rows), folder / f"sums-{n}-{rank}.safetensors")
        for n in (11, 9, 1):  # the last rounds: two full shards and a part; one part; one sample for two processes
            found = distributed_features(network(), samples(n), rows=2, **SETTINGS)
            save_file({"body": found.body, "head": found.head}, folder / f"gathered-{n}-{rank}.safetensors")
        write_distributed(folder / "store", network(), samples(), shard_rows=2, **SETTINGS)
        features, y = distributed_features(network(), samples(), rows=2, **SETTINGS).values, targets(11)
        cut = [slice(at, at + 3) for at in range(0, 11, 3)]
        for parts in (4, 1):  # the second process has none of one part
            made = distributed_moments(
                lambda i: (features[:, cut[i]], y[:, cut[i]]), parts, checkpoint=folder / f"{parts}"
            )
            made.save(folder / f"moments-{parts}-{rank}.safetensors")
        for call in (distributed_features, lambda *a, **k: write_distributed(folder / "mixed", *a, **k)):
            try:
                call(network(rank), samples(), **SETTINGS)
            except ValueError as error:
                (folder / f"refused-{rank}-{call.__name__}.txt").write_text(str(error))


def interrupt(*_):
    raise StopError


@pytest.fixture
def _one_thread():
    """As many as each of the processes that the results are compared with bit for bit."""
    with threads(1):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_two_processes_under_torchrun_are_as_one(tmp_path):
    with pytest.raises(StopError):  # the store was begun by one process; two go on
        write_features(tmp_path / "store", network(), samples(), shard_rows=2, progress=interrupt, **SETTINGS)
    script = tmp_path / "script.py"
    script.write_text(
        f"from pathlib import Path\nfrom tests.fast.test_distributed import work\nwork(Path({str(tmp_path)!r}))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

    for n, shard_rows in ((11, 2), (1, 4)):
        alone, first, second = (
            sums(n, shard_rows),
            *(load_file(tmp_path / f"sums-{n}-{rank}.safetensors") for rank in (0, 1)),
        )
        assert all(torch.equal(first[name], second[name]) for name in alone)
        assert all(close(first[name], alone[name]) for name in alone)

    features, y = distributed_features(network(), samples(), rows=2, **SETTINGS).values, targets(11)
    for parts, rows in ((4, 11), (1, 3)):
        expected = moments_of(features[:, :rows], y[:, :rows])
        for rank in range(2):
            found = load_moments(tmp_path / f"moments-{parts}-{rank}.safetensors")
            assert (found.n, found.parts) == (rows, parts)
            assert all(close(getattr(found, name), getattr(expected, name)) for name in ("gram", "right", "squares"))

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


END = """
import os, signal, sys
from tests.fast.test_distributed import *
def end(done, total):
    if os.environ["RANK"] == "1" and done >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
with process_group():
    write_distributed(Path(sys.argv[1]), network(), samples(), shard_rows=2, progress=end, **SETTINGS)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_a_killed_process_ends_the_other_with_one_line_and_a_restart_goes_on(tmp_path):
    """Without torchrun's agent, which would stop the other itself: as on two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", END, str(tmp_path / "store")]
    with ExitStack() as stack:
        given = {"cwd": tmp_path, "stderr": subprocess.PIPE, "text": True}
        pair = [stack.enter_context(subprocess.Popen(command, env={**common, "RANK": r}, **given)) for r in "01"]
        for process in pair:
            stack.callback(process.kill)
        told = pair[0].stderr.read()
    assert pair[0].returncode == 1
    assert re.fullmatch(rf"dntk: process 0 of 2 lost another one \([^()]+\){GOES_ON}\n", told)

    standing = {name: stamp for name, stamp in stamps(tmp_path / "store").items() if name.endswith(".safetensors")}
    assert 2 <= len(standing) < 6
    write_features(tmp_path / "store", network(), samples(), shard_rows=2, **SETTINGS)
    write_features(tmp_path / "one", network(), samples(), shard_rows=2, **SETTINGS)
    assert content(tmp_path / "store") == content(tmp_path / "one")
    assert standing.items() <= stamps(tmp_path / "store").items()  # what stood was not written again


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
