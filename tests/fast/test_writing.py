"""What a store settles when it is begun holds for every shard, and a disk that takes no more is told from one that fails."""

import errno
from functools import wraps

import pytest
import torch

from dntk_fast.tangent import writing
from dntk_fast.tangent.features import feature_plan, tangent_features
from tests.fast.stores import network, samples, write


@pytest.mark.parametrize("headless", [False, True])
def test_every_shard_is_made_as_the_first_samples_settled_it(headless, tmp_path, monkeypatch):
    model = torch.nn.Sequential(*network(), torch.nn.Tanh()) if headless else network()
    asked = []

    @wraps(tangent_features)  # its defaults are read
    def asking(*parts, **options):
        asked.append(options)
        return tangent_features(*parts, **options)

    monkeypatch.setattr(writing, "tangent_features", asking)
    write(tmp_path, model)
    kinds = feature_plan(model, samples(), k=8, seed=3).sketch.kinds
    assert [(options["projection"], options["keep_head"]) for options in asked] == [(kinds, not headless)] * 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
def test_a_disk_a_quota_and_a_file_that_are_full_are_told_alike(number, tmp_path, monkeypatch):
    honest = writing.write_atomically

    def full(path, content):
        if path.name == "shard-00001.safetensors":
            raise OSError(number, "full", str(path))
        honest(path, content)

    monkeypatch.setattr(writing, "write_atomically", full)
    told = "shard-00001.safetensors needs .*; 1 of 3 shards stand in .*; make room and write again"
    with pytest.raises(OSError, match=told) as caught:
        write(tmp_path)
    assert caught.value.errno == number
