"""Every setting that the processes of a group must share is asked after, and each of them does its own turns alone.

The group is a pretence: the other process's answer is that of an earlier call, or nobody waits for it.
"""

import pytest
import torch

from dntk_fast.parallel import distributed, processes
from dntk_fast.parallel.distributed import distributed_features, write_distributed
from dntk_fast.parallel.jacobian import distributed_problem
from dntk_fast.parallel.moments import distributed_moments
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.writing import Job, stands
from tests.fast.stores import network, samples

SETTINGS = {"k": 8, "seed": 3}


def targets(seed=0):
    return torch.randn(2, 11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(**changed):
    given = {"model": network(), "x": samples(), "targets": targets(), "lam": 0.3, "shard_rows": 4} | changed
    return distributed_problem(**given)


def gathered(**changed):
    return distributed_features(**{"model": network(), "x": samples(), "rows": 4, **SETTINGS} | changed)


def moments(**changed):
    return distributed_moments(lambda i: (torch.ones(1, 2, 3), torch.ones(1, 2)), **{"parts": 3} | changed)


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        (problem, "model", network(1)),
        (problem, "x", samples(seed=9)),
        (problem, "targets", targets(1)),
        (problem, "lam", 0.4),
        (problem, "shard_rows", 5),
        (gathered, "model", network(1)),
        (gathered, "x", samples(seed=9)),
        (gathered, "k", 9),
        (gathered, "seed", 4),
        (gathered, "rows", 5),
        (moments, "parts", 4),
    ],
    ids=lambda part: getattr(part, "__name__", part if isinstance(part, str) else ""),
)
def test_processes_that_differ_in_one_setting_are_told_which(monkeypatch, call, name, value):
    answers = []
    monkeypatch.setattr(processes, "gather", lambda own: answers.append(own) or [own])
    call(**{name: value})
    others = iter(answers)
    monkeypatch.setattr(processes, "gather", lambda own: [own, next(others)])
    with pytest.raises(ValueError, match=f"^{name}: expected the same in every process, got different ones$"):
        call()


@pytest.mark.parametrize("changed", [{"projection": "srht"}, {"keep_head": False}, {"outputs": [1]}], ids=str)
def test_processes_with_other_options_are_told_so(monkeypatch, changed):
    answers = []
    monkeypatch.setattr(processes, "gather", lambda own: answers.append(own) or [own])
    gathered(**changed)
    monkeypatch.setattr(processes, "gather", lambda own: [own, answers[0]])
    with pytest.raises(ValueError, match=r"^options: expected the same in every process"):
        gathered()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_writes_the_shards_of_its_own_turns(rank, tmp_path, monkeypatch):
    Job(tmp_path, network(), samples(), dtype=torch.float32, shard_rows=2, **SETTINGS).begin()
    monkeypatch.setattr(distributed, "place", lambda: (rank, 2))
    for name in ("agree", "meet", "FeatureStore"):
        monkeypatch.setattr(distributed, name, lambda *_: None)
    write_distributed(tmp_path, network(), samples(), shard_rows=2, **SETTINGS)
    assert [index for index in range(6) if stands(tmp_path, index)] == [rank, rank + 2, rank + 4]


def test_every_shard_is_made_by_the_map_that_all_samples_gave(monkeypatch):
    """What "auto" would choose for a shard alone is not asked."""
    asked, honest = [], tangent_features
    monkeypatch.setattr(
        distributed, "tangent_features", lambda *parts, **options: asked.append(options) or honest(*parts, **options)
    )
    kinds = feature_plan(network(), samples(), **SETTINGS).sketch.kinds
    gathered()
    assert [(options["projection"], options["keep_head"]) for options in asked] == [(kinds, True)] * 3
