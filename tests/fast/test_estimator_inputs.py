"""What people bring to DistilledNTK: some of many logits, words, batches of arguments, loaders, half precision, files."""

from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, TensorDataset

from dntk_fast import DistilledNTK
from tests.fast.estimators import data, network
from tests.tolerances import TOL

CHOSEN = [7, 2, 11]
WAYS = {
    "pool": {},
    "random": {"images": "random"},
    "medoids": {"images": "medoids"},
    "one cotangent": {"images": "random", "cotangents": 1, "per_class": 2},
    "wmdd": {"images": "wmdd", "steps": 2},
    "tuned": {"images": "tuned", "steps": 1},
    "sketched": {"k": 8 * 12 * 3},
    "per class": {"solve": "per class"},
    "sketched, per class": {"solve": "per class", "k": 40},
}


def fitted(model, x, y, **options):
    return DistilledNTK(model, **{"per_class": 4, "seed": 0} | options).fit(x, y)


def pair():
    """A network of twelve logits, and one with three of them for its only ones."""
    torch.manual_seed(3)
    body = [nn.Flatten(), nn.Linear(9, 80), nn.Tanh()]
    many, few = nn.Linear(80, 12), nn.Linear(80, 3)
    with torch.no_grad():
        few.weight.copy_(many.weight[CHOSEN])
        few.bias.copy_(many.bias[CHOSEN])
    return nn.Sequential(*body, many).double().eval(), nn.Sequential(*body, few).double().eval()


class Slice(nn.Module):
    """Some of another's logits."""

    def __init__(self, model, columns):
        super().__init__()
        self.model, self.columns = model, columns

    def forward(self, x):
        return self.model(x)[:, self.columns]


# --- some of many logits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", list(WAYS))
def test_some_logits_are_the_network_that_has_no_others(way):
    """By numbers, by a function, and by a wrapper that ends in a slice: what the network of three logits gives."""
    (many, few), (x, y), (new, _) = pair(), data(), data(7, seed=5)
    x, new, use = x.double(), new.double(), {"lam": 0.1} | WAYS[way]
    asked = [
        (many, CHOSEN, few),
        (many, lambda m, batch: m(batch)[:, CHOSEN], few),
        (Slice(many, CHOSEN).eval(), None, Slice(few, [0, 1, 2]).eval()),  # a sketch is drawn by the parameters' names
    ]
    for model, outputs, alone in asked:
        found, truth = fitted(model, x, y, outputs=outputs, **use), fitted(alone, x, y, **use)
        assert torch.allclose(found.images_, truth.images_, atol=TOL["apart"])
        assert torch.allclose(found.logits(new), truth.logits(new), rtol=TOL["float32"], atol=TOL["float32"])
    assert not torch.allclose(
        fitted(many, x, y, outputs=[0, 1, 2], **use).logits(new), fitted(many, x, y, outputs=CHOSEN, **use).logits(new)
    )


def test_more_logits_than_classes_are_asked_about():
    (many, _), (x, y) = pair(), data()
    message = (
        r"^outputs: expected which of the model's 12 .* the 3 classes of y are, .*, got None, and no image of class 3$"
    )
    with pytest.raises(ValueError, match=message):
        fitted(many, x, y)
    with pytest.raises(ValueError, match=r"the 2 classes of y are, .*, got None, and no image of class 0$"):
        fitted(network(), x[y > 0], y[y > 0])  # wherever the empty class stands
    assert fitted(network(), x[y > 0], y[y > 0], outputs=range(3)).logits(x).shape == (60, 3)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([7, 2, 12], r"^outputs: expected an integer in \[0, 11\], got 12$"),
        ([7, 2, 7], r"^outputs: expected distinct outputs, got one twice"),
        (3, r"^outputs: expected indices \(a list of them\), a function of \(model, batch\), or None, got 3$"),
        ([7, 2], r"^y: expected classes 0 \.\.\. 1, the outputs of the model, got classes from 0 to 2$"),
        (lambda m, x: m(x)[:, 0], r"^outputs: expected a function of \(model, batch\) that gives a tensor \(n, q\)"),
    ],
)
def test_wrong_outputs_are_refused_in_one_line(outputs, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        fitted(pair()[0], *data(), outputs=outputs)
    assert "\n" not in str(caught.value)


def test_outputs_with_further_axes_are_asked_about():
    x, y = data()
    model = nn.Sequential(nn.Flatten(2), nn.Linear(9, 3)).eval()
    with pytest.raises(
        ValueError, match=r"^model: expected outputs of shape \(2, C\), or outputs=\(model, batch\) -> \(n, C\)"
    ):
        fitted(model, x, y)
    assert fitted(model, x, y, outputs=lambda m, batch: m(batch)[:, 0]).logits(x).shape == (60, 3)


# --- words ------------------------------------------------------------------------------------------------------------


class Text(nn.Module):
    """A classifier of words as transformers has them: a table, a mask, labels it may be given, an output of parts."""

    def __init__(self):
        super().__init__()
        self.table, self.inner, self.head = nn.Embedding(9, 5), nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None, labels=None, output_hidden_states=False):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mean = (self.table(input_ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"loss": None, "logits": self.head(torch.tanh(self.inner(mean))), "hidden": mean}


Pair = namedtuple("Pair", ["input_ids", "attention_mask"])


def words(n=24):
    torch.manual_seed(0)
    model = Text().double().eval()
    ids = torch.randint(9, (n, 6), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(6) < 1 + torch.arange(n)[:, None] % 6).long()
    return model, ids, mask, torch.arange(n) % 3


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("wmdd", "tuned", "sketched")])
def test_words_come_in_every_form(way):
    model, ids, mask, y = words()
    use = {"per_class": 2} | WAYS[way]
    truth = fitted(model, {"input_ids": ids, "attention_mask": mask}, y, **use)
    expected = truth.logits({"input_ids": ids, "attention_mask": mask})
    forms = [
        (ids, mask),
        Pair(ids, mask),
        UserDict(input_ids=ids, attention_mask=mask, labels=None, output_hidden_states=True),
        {"input_ids": ids, "attention_mask": mask, "labels": y},
        {"input_ids": ids.numpy(), "attention_mask": mask.numpy()},
    ]
    for form in forms:
        found = fitted(model, form, y, **use).logits(form)
        assert isinstance(found, np.ndarray) == (form is forms[-1])
        assert torch.allclose(torch.as_tensor(found), expected, rtol=TOL["float64"], atol=TOL["float64"])
    alone = fitted(model, ids, y, **use)
    whole = {"input_ids": ids, "attention_mask": torch.ones_like(mask)}
    assert torch.allclose(alone.logits(ids), fitted(model, whole, y, **use).logits(whole))


@pytest.mark.parametrize("way", ["wmdd", "tuned"])
def test_words_cannot_be_moved(way):
    model, ids, mask, y = words()
    for form in (ids, (ids, mask)):
        with pytest.raises(
            ValueError, match=f"^images: expected one of pool, .*, got '{way}', which moves pixels, for shape"
        ):
            fitted(model, form, y, images=way)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"attention_mask": np.full((24, 6), np.nan)},
            "^X: expected finite entries, got some that are NaN or infinite$",
        ),
        ({"attention_mask": torch.ones(5, 6)}, "^X: expected the same number of samples in every tensor"),
        ({"surprise": torch.ones(24)}, r"^X: expected what the model takes \(.*surprise.*\), got shape"),
        ({"input_ids": [[1, 2]]}, "^X: expected a tensor, or a tuple or dict of tensors, got list"),
    ],
)
def test_batches_that_do_not_fit_are_refused_in_one_line(change, message):
    model, ids, mask, y = words()
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        fitted(model, {"input_ids": ids, "attention_mask": mask} | change, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["alone", "dict", "tuple"])
def test_words_survive_the_disk(form, tmp_path):
    model, ids, mask, y = words()
    batch = {"alone": ids, "dict": {"input_ids": ids, "attention_mask": mask, "labels": None}, "tuple": (ids, mask)}[
        form
    ]
    names = {"outputs": [2, 0, 1], "classes": ["a", "b", "c"]} if form == "dict" else {}
    before = fitted(model, batch, np.asarray(["a", "b", "c"])[y] if names else y, per_class=2, **names)
    if form == "dict":
        assert before.predict(batch).dtype.kind == "U"
    before.save(tmp_path, include_images=True)
    again = DistilledNTK.load(tmp_path, model)
    assert torch.equal(again.logits(batch), before.logits(batch))
    np.testing.assert_array_equal(again.classes_, before.classes_)
    kept = again.images_["input_ids"] if form == "dict" else again.images_[0] if form == "tuple" else again.images_
    assert torch.equal(kept, ids[before.rows_])


def test_outputs_by_a_function_are_in_no_folder(tmp_path):
    kernel = fitted(network(), *data(), outputs=lambda m, x: m(x))
    with pytest.raises(ValueError, match=r"^outputs: expected indices, or None, for a kernel that is saved"):
        kernel.save(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (list, r"^X: expected .*, got list of tensors \(torch.stack joins them; pad_sequence, and a mask"),
        (
            lambda x: pack_sequence(list(x[:, 0])),
            r"^X: expected padded samples beside .*, got a PackedSequence$",
        ),
        (
            lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged),
            r"^X: expected samples of one length .*, got a nested tensor$",
        ),
        (lambda x: x.to("meta"), r"^X: expected a tensor that holds numbers, got one on the meta device$"),
        (lambda x: TensorDataset(x), r"^X: expected a torch tensor .*, or a DataLoader, got TensorDataset$"),
    ],
)
def test_what_is_no_batch_is_refused_with_a_way_out(make, message):
    x, y = data()
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        fitted(network(), make(x), y)
    assert "\n" not in str(caught.value)


def test_what_a_prediction_is_given_is_called_by_its_name():
    x, y = data()
    kernel = fitted(network(), x, y)
    for wrong in (x[:, :, :2], {"wrong": x}, x * torch.nan, x[:0]):
        with pytest.raises(ValueError, match=r"^X: expected "):
            kernel.predict(wrong)


# --- loaders ----------------------------------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __init__(self, x, y):
        self.pairs = list(zip(x, y.tolist(), strict=True))

    def __iter__(self):
        return iter(self.pairs)


def loaders():
    x, y = data()
    pairs = TensorDataset(x, y)
    return {
        "pairs": DataLoader(pairs, batch_size=16),
        "stream": DataLoader(Stream(x, y), batch_size=16),
        "dicts": DataLoader([{"input": u, "label": int(v)} for u, v in zip(x, y, strict=True)], batch_size=16),
        "(dict, label)": DataLoader([({"input": u}, int(v)) for u, v in zip(x, y, strict=True)], batch_size=16),
    }


@pytest.mark.parametrize("kind", list(loaders()))
def test_a_loader_gives_inputs_and_labels(kind):
    x, y = data()
    truth, loader = fitted(network(), x, y), loaders()[kind]
    found = fitted(network(), loader, None)
    assert torch.equal(found.logits(x) if kind in ("pairs", "stream") else found.logits({"input": x}), truth.logits(x))
    if kind != "dicts":
        assert torch.allclose(found.logits(loader), truth.logits(x), atol=TOL["float32"])
    assert found.score(loader) == truth.score(x, y)
    inputs = DataLoader(TensorDataset(x), batch_size=7)
    assert torch.equal(fitted(network(), inputs, y).weights_["1.weight"], truth.weights_["1.weight"])


def test_loaders_that_tell_no_rows_or_no_labels_are_refused():
    x, y = data()
    pairs = TensorDataset(x, y)
    cases = {
        r"^X: expected a DataLoader whose order stays \(shuffle=False\)": DataLoader(
            pairs, batch_size=16, shuffle=True
        ),
        r"^X: expected a DataLoader that gives every sample \(drop_last=False\), got one that leaves out the last 12$": (
            DataLoader(pairs, batch_size=16, drop_last=True)
        ),
        r"^X: expected a DataLoader that gives every sample .*, got one that leaves out the last 4$": DataLoader(
            pairs, batch_sampler=BatchSampler(SequentialSampler(pairs), 7, drop_last=True)
        ),
        r"^X: expected a DataLoader that gives every sample .*, got one that leaves out samples at its end$": DataLoader(
            Stream(x, y), batch_size=16, drop_last=True
        ),
        r"^X: expected batches of samples along a first axis, got samples one by one": DataLoader(
            pairs, batch_size=None
        ),
        r"^X: expected a DataLoader of \(inputs, labels\), or labels y beside": DataLoader(
            TensorDataset(x), batch_size=9
        ),
        r"^X: expected batches whose samples are alike \(pad all": DataLoader(
            [(torch.ones(1, 3, 3 + i // 30), i % 3) for i in range(60)], batch_size=30
        ),
    }
    for message, loader in cases.items():
        with pytest.raises(ValueError, match=message):
            fitted(network(), loader, None)
    whole = DataLoader(pairs, batch_size=20, drop_last=True)  # it drops nothing
    assert fitted(network(), whole, None).score(x, y) == fitted(network(), x, y).score(x, y)


# --- precision, memory, devices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_network_is_worked_on_in_float32(dtype, tmp_path):
    x, y = data()
    half = network().to(dtype)
    truth = fitted(network().to(dtype).float(), x.to(dtype).float(), y)
    kernel = fitted(half, x.to(dtype), y)
    assert kernel.logits(x.to(dtype)).dtype == torch.float32
    assert torch.equal(kernel.logits(x.to(dtype)), truth.logits(x.to(dtype).float()))
    assert next(half.parameters()).dtype == dtype
    kernel.save(tmp_path)
    assert torch.equal(DistilledNTK.load(tmp_path, half).logits(x), kernel.logits(x))


def test_predictions_stream_within_the_memory(tmp_path):
    """A network that counts the rows it is shown at once: predictions of a file on disk are made a few rows at a time."""
    x, y = data()
    model, seen = network(), []
    kernel = fitted(model, x, y, memory=2**16)
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float64, shape=(3000, 1, 3, 3))
    file[:] = data(3000, seed=4)[0].numpy()
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    found = kernel.logits(np.load(tmp_path / "x.npy", mmap_mode="r"))
    inputs, activations = 9 * 4, (9 + 12 + 12 + 3) * 4
    assert max(seen) * (inputs + activations) <= 2**16
    assert max(seen) < 3000
    whole = fitted(network(), x, y).logits(np.asarray(file))
    np.testing.assert_allclose(found, whole, atol=TOL["float32"] * np.abs(whole).max())


def test_the_callers_modes_and_default_device_change_nothing():
    x, y = data()
    truth = fitted(network(), x, y).logits(x)
    model = network()
    with torch.inference_mode():
        made = x.clone()
        assert torch.equal(fitted(model, made, y).logits(made), truth)
    with torch.no_grad(), torch.device("meta"):
        found = fitted(model, x, y).logits(x)
    assert torch.equal(found, truth)
