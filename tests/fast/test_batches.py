"""What people bring: mappings with flags and labels, loaders, packed and ragged sequences, outputs with further parts."""

from collections import OrderedDict, UserDict

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import kernel_diagonal, tangent_kernel
from dntk_fast.tangent.products import jacobian_vector, vector_jacobian
from dntk_fast.tangent.store import write_features
from tests.tolerances import TOL

pytestmark = pytest.mark.filterwarnings("ignore:no rule")


def assert_close(found, expected, tolerance="features"):
    assert float((found - expected).abs().max()) <= TOL[tolerance] * float(expected.abs().max())


class Answer(OrderedDict):
    """An output of several parts by name and by attribute, as transformers' models give it."""

    def __getattr__(self, name):
        return self[name]


class Text(nn.Module):
    """Classifies words by the mean of their vectors; may give a loss, and its output as one tensor or as several parts."""

    def __init__(self):
        super().__init__()
        self.table, self.scale, self.head = nn.Embedding(9, 4), nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask=None, labels=None, return_dict=True, power=1):
        mask = attention_mask[..., None].to(self.scale)
        mean = (self.table(input_ids) * mask).sum(1) / mask.sum(1)
        logits = self.head(torch.tanh(torch.einsum("nd,d->nd", mean, self.scale)) ** power)
        if not return_dict:
            return logits
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return Answer(loss=loss, logits=logits, hidden=mean)


@pytest.fixture
def text():
    torch.manual_seed(0)
    return Text().double().eval()


IDS = torch.arange(30).reshape(6, 5) * 7 % 9
MASK = (torch.arange(5) < torch.tensor([5, 3, 4, 2, 5, 1])[:, None]).long()
LABELS = torch.arange(6) % 3
BATCH = {"input_ids": IDS, "attention_mask": MASK}
KINDS = {
    "a mapping that is no dict": UserDict(BATCH),
    "a flag": {**BATCH, "return_dict": False},
    "a number and a None": {**BATCH, "power": 1, "labels": None},
    "labels": {**BATCH, "labels": LABELS},
}


def gradients(model, batch):
    logits, wanted = model(**batch).logits, list(model.parameters())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(logits[i, c], wanted, retain_graph=True)])
        for c in range(3)
        for i in range(6)
    ]
    return torch.stack(rows).view(3, 6, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_mappings_with_flags_and_labels_are_the_arguments_of_the_model(text, kind):
    batch, J = KINDS[kind], gradients(text, BATCH)
    names = [name for name, _ in text.named_parameters()]
    w = {name: torch.full_like(p, 0.3) for name, p in text.named_parameters()}
    assert_close(tangent_kernel(text, batch), J @ J.mT)
    assert_close(kernel_diagonal(text, batch), J.square().sum(2))
    assert_close(jacobian_vector(text, batch, w), 0.3 * J.sum(2))
    a = torch.linspace(-1, 1, 18, dtype=torch.float64).view(3, 6)
    found = vector_jacobian(text, batch, a)
    assert_close(torch.cat([found[name].flatten(1) for name in names], 1), torch.einsum("cn,cnp->cp", a, J))
    made = tangent_features(text, batch, k=J.shape[2], seed=0, projection="haar", keep_head=False).body
    assert_close(made @ made.mT, J @ J.mT)


def test_a_flag_counts_among_what_a_batch_is(text):
    J = tangent_kernel(text, {**BATCH, "power": 1}), tangent_kernel(text, {**BATCH, "power": 2})
    assert (J[0] - J[1]).abs().max() > 0.1 * J[0].abs().max()


def images():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()


PICTURES = torch.linspace(-1, 1, 24, dtype=torch.float64).sin().reshape(6, 1, 2, 2)


def test_the_labels_of_an_ordinary_loader_are_left_out(text, tmp_path):
    pairs = DataLoader([(picture, int(y)) for picture, y in zip(PICTURES, LABELS, strict=True)], batch_size=4)
    assert_close(tangent_kernel(images(), pairs), tangent_kernel(images(), PICTURES))
    named = [({"input_ids": i, "attention_mask": m}, int(y)) for i, m, y in zip(IDS, MASK, LABELS, strict=True)]
    assert_close(tangent_kernel(text, DataLoader(named, batch_size=4)), tangent_kernel(text, BATCH))
    stored = write_features(tmp_path / "a", images(), pairs, k=4, seed=0, shard_rows=4).load().values
    assert_close(stored, tangent_features(images(), PICTURES, k=4, seed=0).values, "rounded_to_float32")


def test_a_loader_of_mappings_is_read_as_one_mapping(text):
    loader = DataLoader(range(6), batch_size=4, collate_fn=lambda at: UserDict({n: v[at] for n, v in BATCH.items()}))
    assert_close(tangent_kernel(text, loader), tangent_kernel(text, BATCH))


def test_a_function_for_the_outputs_gets_inputs_and_labels():
    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")[:, None]

    loader = DataLoader(TensorDataset(PICTURES, LABELS % 2), batch_size=4)
    expected = tangent_kernel(images(), (PICTURES, LABELS % 2), outputs=loss)
    assert_close(tangent_kernel(images(), loader, outputs=loss), expected)


class Optional(nn.Module):
    """May be given lengths, which a loader's labels look like."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x, lengths=None):
        return self.fc(x.flatten(1))


class Several(nn.Module):
    """Gives what the class method is told to."""

    def __init__(self, give):
        super().__init__()
        self.fc, self.give = nn.Linear(4, 3), give

    def forward(self, x):
        return self.give(self.fc(x))


ROWS = torch.ones(3, 4)
REFUSED = {
    "packed": (
        lambda: pack_sequence([torch.ones(2, 3), torch.ones(1, 3)]),
        "samples beside their lengths .* PackedSeq",
    ),
    "list": (lambda: [torch.ones(2, 3), torch.ones(1, 3)], "got list of tensors .*pad_sequence"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)]), "to_padded_tensor.* nested"),
    "words": (
        lambda: {"x": torch.ones(2, 3), "names": ["a", "b"]},
        "a tensor, or a tuple or dict of tensors, got list",
    ),
    "flags alone": (lambda: {"x": True}, "a tensor, or a tuple or dict of tensors, got dict"),
    "buckets": (lambda: DataLoader([torch.ones(2, 3), torch.ones(2, 4)], batch_size=None), "alike .*then of .*4"),
    "shuffled": (lambda: DataLoader(ROWS, shuffle=True), r"order stays \(shuffle=False\).*RandomSampler"),
    "shares": (
        lambda: DataLoader(ROWS, sampler=DistributedSampler(ROWS, num_replicas=1, rank=0)),
        "order stays .*DistributedSampler",
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_batch_is_refused_by_the_name_of_the_argument_with_what_to_do(name):
    make, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=rf"^x1: expected .*{message}") as raised:
        tangent_kernel(images(), make())
    assert "\n" not in str(raised.value)


def test_integers_beside_the_inputs_of_a_model_that_may_take_them_are_refused():
    with pytest.raises(ValueError, match=r"^x1: expected batches of the inputs alone, or by name.*integers \(6,\)"):
        tangent_kernel(Optional(), DataLoader(TensorDataset(PICTURES.float(), LABELS), batch_size=6))


@pytest.mark.parametrize(
    ("give", "got"),
    [
        (lambda y: (y, y), "tuple"),
        (lambda y: {"out": y}, "dict"),
        (lambda y: y[:, None], r"shape \(2, 1, 3\)"),
        (lambda y: y[:, 0], r"shape \(2,\)"),
    ],
)
def test_outputs_with_further_parts_or_axes_are_refused_by_the_keyword_that_chooses(give, got):
    with pytest.raises((ValueError, TypeError), match=rf"outputs=\(model, batch\) -> \(n, C\), got {got}$"):
        tangent_kernel(Several(give), ROWS)
    with pytest.raises(ValueError, match=r"^outputs: expected a function of \(model, batch\).* \(n, q\), got"):
        tangent_kernel(Several(give), ROWS, outputs=lambda model, batch: model(batch))


@pytest.fixture
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_sharded_parameters_are_refused_with_the_way_to_whole_ones(alone):
    model = fully_shard(nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"^model: expected whole parameters .*full_state_dict.*weight in shards"):
        tangent_kernel(model, ROWS)
