"""Features on disk: what was computed comes back, whatever happened while it was written, or the file at fault is named."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dntk_fast.tangent import store as reading
from dntk_fast.tangent import writing
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.store import FeatureStore
from tests.fast.plain import close
from tests.fast.stores import content, network, samples, write
from tests.tolerances import TOL

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
    "rows",
    [
        slice(2, 9, 3),
        [10, 0, 0, 5],
        (1, -2),
        range(3),
        np.arange(3, dtype=np.uint8),
        torch.arange(11) % 3 == 1,
        [True] + 10 * [False],
        torch.tensor([4]),
        None,
    ],
    ids=str,
)
def test_rows_come_in_the_order_asked_for(tmp_path, rows):
    store = write(tmp_path)
    plain = torch.tensor([int(row) for row in rows]) if isinstance(rows, tuple | range | np.ndarray) else rows
    expected = store.values if rows is None else store.values[:, plain]
    assert torch.equal(store.load(rows).values, expected)
    assert store.load(rows, dtype=torch.float32).head.dtype == torch.float32


def test_rows_come_backwards(tmp_path):
    store = write(tmp_path)
    assert torch.equal(store.load(slice(None, None, -1)).values, store.values.flip(1))
    assert torch.equal(store.load(slice(8, 1, -3)).values, store.values[:, [8, 5, 2]])


@pytest.mark.parametrize(
    "rows",
    [
        [11],
        [],
        3,
        [[1], [2]],
        "a",
        {},
        slice(5, 2),
        slice("a"),
        torch.full((11, 11), 12),
        torch.ones(3, dtype=torch.bool),
        [1.5],
        torch.ones(2),
        np.ones(2, complex),
    ],
    ids=str,
)
def test_rows_that_are_not_there_are_refused(tmp_path, rows):
    with pytest.raises(ValueError, match=r"^rows: expected") as caught:
        write(tmp_path).load(rows)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, "float32"])
def test_features_come_in_floating_point_alone(tmp_path, dtype):
    with pytest.raises(TypeError, match=r"^dtype: expected a floating-point torch\.dtype, got "):
        write(tmp_path).load(dtype=dtype)


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


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (samples()[:, :2], r"\(3,\) of torch.float64 on cpu, got \(2,\) of torch.float64 on cpu"),
        (samples().float(), r"\(3,\) of torch.float64 on cpu, got \(3,\) of torch.float32 on cpu"),
        ((samples(),), r"\(3,\) of torch.float64 on cpu, got \(\(3,\) of torch.float64 on cpu\)"),
        ({"x": samples()}, r"\(3,\) of torch.float64 on cpu, got x: \(3,\) of torch.float64 on cpu"),
        (torch.tensor(1.0), r"\(3,\) of torch.float64 on cpu, got a number"),
        ("abc", r"\(3,\) of torch.float64 on cpu, got str"),
    ],
)
def test_batches_that_are_not_alike_are_refused(tmp_path, batch, told):
    with pytest.raises(ValueError, match=f"^x: expected batches alike, {told}$"):
        write(tmp_path, x=[samples(), batch])


def test_options_may_be_iterators_and_numbers_of_numpy(tmp_path):
    settings = {"quality": np.float32(2), "keep_head": np.bool_(False)}
    store = write(tmp_path, **settings, outputs=iter([1]), parameters=iter(["0.weight"]))
    assert (store.load().head, len(store.values)) == (None, 1)
    same = {"quality": 2.0, "keep_head": False, "outputs": [1], "parameters": ["0.weight"]}
    assert torch.equal(write(tmp_path, **same).values, store.values)
    for name, value, told in (
        ("outputs", 3, "a sequence or a function, got int"),
        ("parameters", 3, "a sequence or a function, got int"),
        ("quality", "high", "a real number, got 'high'"),
        ("keep_head", 7, "one of True, False, auto, got 7"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected {told}$"):
            write(tmp_path, **{name: value})


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
    "model [0-9a-f]+": {"model": network(activation=nn.Sigmoid)},
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
    with pytest.raises(ValueError, match=r"^folder: expected a folder, or a place for one, got .*thesis.txt/deeper$"):
        write(tmp_path / "thesis.txt" / "deeper")
    with pytest.raises(ValueError, match=r"^folder: expected a store of features, got .*thesis.txt without manifest"):
        FeatureStore(tmp_path / "thesis.txt")
    assert content(tmp_path) == {"thesis.txt": b"mine"}
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"^folder: expected a folder, or a place for one, got .*link$"):
        write(tmp_path / "link")
    (tmp_path / "link").unlink()
    for folder in (None, 3):
        for call in (write, FeatureStore):
            with pytest.raises(TypeError, match=r"^folder: expected a path, got "):
                call(folder)
    with pytest.raises(ValueError, match=r"folder: expected a store of features, got .* without manifest\.json"):
        FeatureStore(tmp_path)
