"""Tangent features: the layers' rules and torch.func give one answer, head and chunks do what they promise."""

import math
import re

import pytest
import torch
from torch import nn

from dntk_fast.projection import KINDS
from dntk_fast.tangent import streaming as module
from dntk_fast.tangent.features import feature_plan, norm_errors, tangent_features
from dntk_fast.tangent.generic import projected
from dntk_fast.tangent.head import head_weights
from dntk_fast.tangent.result import error_squares
from tests.fast.plain import features as jacobian
from tests.tolerances import TOL


class Words(nn.Module):
    """Looked-up rows, attention, a norm, and a weight that is used twice."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4, padding_idx=0)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm, self.tied, self.fc = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, index):
        h = self.table(index)
        h = self.norm(h + self.attention(h, h, h, need_weights=False)[0])
        return self.fc(torch.tanh(self.tied(torch.tanh(self.tied(h)))).mean(1))


def images():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 2, stride=2, padding_mode="circular", padding=1),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(36, 5),
        nn.PReLU(5),
        nn.Linear(5, 3),
    )


class Odd(nn.Module):
    """Parameters in an operation that no rule knows."""

    def __init__(self):
        super().__init__()
        self.body, self.exponent, self.fc = nn.Linear(3, 4), nn.Parameter(torch.rand(4) + 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(torch.sigmoid(self.body(x)) ** self.exponent)


def perceptron():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def build(make, dtype=torch.float64):
    torch.manual_seed(0)
    model = make().to(dtype).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model


def batch(make, n=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    if make is Words:
        return torch.randint(0, 7, (n, 5), generator=generator)
    shape = (n, 2, 4, 4) if make is images else (n, 3)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def close(found, expected, tol=TOL["features"]):
    return float((found - expected).abs().max()) <= tol * float(expected.abs().max())


# --- one map in both ways of working ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
@pytest.mark.parametrize("make", [perceptron, images, Words])
def test_rules_and_torch_func_give_the_same_features(make, kind):
    model, x = build(make), batch(make)
    found = tangent_features(model, x, k=8, seed=3, projection=kind, quality=9.0)
    expected = projected(model, x, found.plan.sketch, rows=4)
    assert found.plan.generic == ()
    assert close(found.body, expected)
    assert not close(found.body, projected(model, x, found.plan.sketch, rows=4).flip(1), TOL["apart"])


class Product(nn.Module):
    """A weight that stands to the right of its input: its gradient is the transpose of a Linear's."""

    def __init__(self):
        super().__init__()
        self.w, self.fc = nn.Parameter(torch.randn(3, 8)), nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(torch.tanh(x @ self.w))


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
def test_a_weight_to_the_right_is_projected_in_its_own_order(kind):
    model, x = build(Product), batch(None)
    found = tangent_features(model, x, k=8, seed=3, projection=kind, quality=9.0, keep_head=False)
    assert found.plan.generic == ()
    assert close(found.body, jacobian(model, x) @ found.plan.sketch.matrix())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sjlt"])
def test_any_number_of_coordinates_will_do(kind):
    model, x = build(perceptron), batch(None)
    for k in (1, 7):
        found = tangent_features(model, x, k=k, seed=3, projection=kind, keep_head=False)
        assert close(found.body, jacobian(model, x) @ found.plan.sketch.matrix())


def test_parameters_without_a_rule_take_the_generic_path_with_one_warning_that_names_them():
    model, x = build(Odd), batch(Odd)
    with pytest.warns(UserWarning, match="exponent") as caught:
        found = tangent_features(model, x, k=8, seed=3)
    assert len(caught) == 1
    assert found.plan.generic == ("exponent",)
    assert close(found.body, projected(model, x, found.plan.sketch))
    with torch.no_grad():  # torch.func ran the layer again; the head's inputs are those of the plain pass
        logits = model(x)
    assert close(torch.einsum("cni,ci->nc", found.values[..., 8:], head_weights(model)), logits)


def test_auto_takes_tensorsketch_where_it_is_cheaper_and_within_the_quality():
    layers = nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 2)
    model, x = build(lambda: nn.Sequential(*layers)), batch(None)
    kinds = {
        (k, quality): tangent_features(model, x, k=k, seed=0, quality=quality).plan.sketch.kinds["2.weight"]
        for k, quality in ((96, 1.0), (80, 1.0), (80, 2.0), (32, 2.0), (32, 3.0))
    }
    assert list(kinds.values()) == ["tensorsketch", "contiguous", "tensorsketch", "contiguous", "tensorsketch"]
    found = tangent_features(model, x, k=96, seed=0)
    assert found.plan.sketch.kinds["0.weight"] == found.plan.sketch.kinds["2.bias"] == "contiguous"
    again = tangent_features(model, x[:1], k=96, seed=0, outputs=[1], memory=2**22)
    assert again.plan.sketch.kinds == found.plan.sketch.kinds


# --- chunks, order, budget --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [images, Words])
def test_chunks_and_the_order_of_samples_do_not_matter(make):
    model, x = build(make), batch(make, 9)
    whole = tangent_features(model, x, k=8, seed=1)
    order = torch.tensor([8, 0, 3, 5, 1, 2, 7, 6, 4])
    memory = 2**30
    while (pieces := tangent_features(model, x[order], k=8, seed=1, memory=memory)).plan.rows > 4:
        memory //= 2
    assert whole.plan.rows == 9
    assert close(pieces.body, whole.body[:, order])
    assert close(pieces.head, whole.head[order])


def test_a_budget_too_small_for_one_sample_is_refused_with_the_least_that_serves():
    model, x = build(images), batch(images)
    with pytest.raises(ValueError, match=r"^memory: expected at least \d+ .* for one sample, got 100 B$") as caught:
        tangent_features(model, x, k=8, seed=1, memory=100)
    least = int(str(caught.value).split()[4])
    tight = tangent_features(model, x, k=8, seed=1, memory=least)
    assert (tight.plan.rows, tight.plan.classes) == (1, 1)
    assert close(tight.values, tangent_features(model, x, k=8, seed=1).values)
    with pytest.raises(ValueError, match=f"at least {least} "):
        tangent_features(model, x, k=8, seed=1, memory=least - 1)


def test_the_plan_tells_before_the_work_what_is_done():
    model, x = build(images), batch(images)
    arguments = {"k": 8, "seed": 1, "memory": 2**16}
    plan = feature_plan(model, x, **arguments)
    assert plan == tangent_features(model, x, **arguments).plan
    assert 2**15 < plan.peak_bytes <= 2**16
    lines = str(plan).splitlines()
    assert lines[0] == f"3 outputs, {plan.rows} samples and 3 outputs at a time, k = 8, exact head 9"
    assert [line.split()[0] for line in lines[2:]] == list(plan.sketch.shapes)
    assert lines[2].split()[1:] == ["6x1x3x3", "contiguous"]


def test_the_map_does_not_depend_on_what_is_asked_of_it():
    model, x = build(images), batch(images)
    whole = tangent_features(model, x, k=8, seed=1)
    some = tangent_features(model, x[2:4], k=8, seed=1, outputs=[2, 0])
    assert close(some.body, whole.body[[2, 0], 2:4])
    assert close(some.head, whole.head[2:4])
    assert not close(tangent_features(model, x, k=8, seed=2).body, whole.body, 0.1)


# --- the head ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [perceptron, images, Words])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_network_is_linear_in_the_features_for_every_map(make, seed):
    model, x = build(make), batch(make)
    found = tangent_features(model, x, k=8, seed=seed)
    weights = torch.cat((torch.zeros(3, 8, dtype=torch.float64), head_weights(model, found.plan.head)), dim=1)
    predicted = torch.einsum("cni,ci->nc", found.values, weights)
    assert close(predicted, model(x).detach())
    assert not close(torch.einsum("cni,ci->nc", found.values, weights.roll(1, 0)), model(x).detach(), TOL["apart"])


def test_theorem_r_in_single_precision():
    model, x = build(images, torch.float32), batch(images, dtype=torch.float32)
    found = tangent_features(model, x, k=8, seed=0)
    assert found.body.dtype == torch.float32
    predicted = torch.einsum("cni,ci->nc", found.values[..., 8:], head_weights(model))
    assert close(predicted, model(x).detach(), TOL["theorem R"])


@pytest.mark.parametrize("make", [perceptron, images])
def test_half_precision_models_have_features_in_single_precision(make):
    expected = tangent_features(build(make), batch(make), k=16, seed=0)
    found = tangent_features(build(make).bfloat16(), batch(make).bfloat16(), k=16, seed=0)
    assert found.body.dtype == found.head.dtype == found.kernel().dtype == torch.float32
    error = (found.values.double() - expected.values).norm() / expected.values.norm()
    assert 0 < error < TOL["bfloat16"]


def test_without_a_bias_the_head_is_the_input_of_the_layer_alone():
    model, x = build(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))), batch(None)
    found = tangent_features(model, x, k=4, seed=0)
    assert torch.equal(found.head, model[:2](x).detach())
    assert torch.equal(head_weights(model), model[2].weight)
    frozen = build(perceptron)
    frozen[4].bias.requires_grad_(False)
    assert (
        tangent_features(frozen, x, k=4, seed=0).head.shape == head_weights(frozen)[0:1].expand(6, -1).shape == (6, 6)
    )


def test_keep_head_false_projects_everything():
    model, x = build(perceptron), batch(None)
    found = tangent_features(model, x, k=8, seed=0, keep_head=False)
    assert found.head is None
    assert found.plan.head is None
    assert found.values is found.body
    assert list(found.plan.sketch.shapes) == [name for name, _ in model.named_parameters()]
    kept = [tangent_features(model, x, k=8, seed=0, keep_head=choice).body for choice in (True, "auto")]
    assert torch.equal(*kept)


def test_a_linear_model_has_no_body():
    model, x = nn.Linear(3, 2).double(), batch(None)
    found = tangent_features(model, x, k=2, seed=0)
    assert not found.body.any()
    assert close(found.kernel(), (x @ x.T + 1).expand(2, 6, 6))
    assert found.sketch_error == 0


def test_head_weights_refuses_what_is_no_linear_layer():
    with pytest.raises(ValueError, match=r"^head: expected the name of a Linear layer, got Tanh$"):
        head_weights(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    with pytest.raises(ValueError, match=r"^head: expected the name of a Linear layer, got 1$"):
        head_weights(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "1")


# --- what people ask for ----------------------------------------------------------------------------------------------


def test_outputs_may_be_a_function_of_the_model():
    model, x = build(perceptron), batch(None)

    def margin(network, given):
        logits = network(given)
        return logits[:, :1] - logits[:, 1:]

    found = tangent_features(model, x, k=8, seed=0, outputs=margin, projection="contiguous")
    plain = tangent_features(model, x, k=8, seed=0, keep_head=False, projection="contiguous")
    assert found.head is None
    assert close(found.body, plain.body[:1] - plain.body[1:])


def test_parameters_may_be_chosen_and_frozen_ones_are_left_out():
    model, x = build(perceptron), batch(None)
    found = tangent_features(model, x, k=8, seed=0, parameters=lambda name: name.startswith("2."))
    assert found.head is None
    assert list(found.plan.sketch.shapes) == ["2.weight", "2.bias"]
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("2."))
    assert torch.equal(tangent_features(model, x, k=8, seed=0).body, found.body)


def test_inputs_may_be_a_tuple_or_a_dict():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = perceptron()

        def forward(self, left, right):
            return self.net(left * right)

    model, x = build(Two), batch(None)
    plain = tangent_features(model, (x, x), k=8, seed=0)
    assert torch.equal(tangent_features(model, {"left": x, "right": x}, k=8, seed=0).body, plain.body)
    assert close(tangent_features(model.net, x * x, k=8, seed=0, projection="srht").head, plain.head)


# --- how wrong the kernel is ------------------------------------------------------------------------------------------


def test_the_error_of_a_dense_map_is_estimated_without_bias():
    """Both means over 200 seeds, z-score of their difference below 5; twice the estimate is far out."""
    model, x = build(perceptron), batch(None, 12)
    exact = tangent_features(model, x, k=104, seed=0, projection="haar", keep_head=False).kernel()  # k = P: an isometry
    pairs, sizes = [], []
    for seed in range(200):
        found = tangent_features(model, x, k=15, seed=seed, projection="gaussian", keep_head=False)
        estimate, whole, apart = (float(part.sum()) for part in error_squares(found.body))
        pairs.append((estimate, float((found.kernel() - exact).square().sum())))
        sizes.append((whole - estimate, apart))
        assert found.sketch_error == pytest.approx((estimate / max(sizes[-1])) ** 0.5)
    estimates, truths = torch.tensor(pairs, dtype=torch.float64).T
    scale, root = float(exact.square().sum()), math.sqrt(200)

    def score(sample):
        return abs(float(sample.mean() / (sample.std() / root)))

    assert score(estimates - truths) < 5 < score(2 * estimates - truths)
    for size in torch.tensor(sizes, dtype=torch.float64).T:
        assert score(size - scale) < 5


@pytest.mark.filterwarnings("ignore:no rule")
@pytest.mark.parametrize("heavy", [1.0, 30.0])
def test_one_entry_that_carries_most_of_a_hashed_gradient_does_not_spoil_the_estimate(heavy):
    """A shared shift of every output: no exact head. With it 30 times as large the kernel is right, and said to be."""

    def shifted(network, given):
        return network(given) + heavy * network.shift

    model, x = build(perceptron), batch(None, 12)
    model.shift = nn.Parameter(torch.ones(1, dtype=torch.float64))
    exact = tangent_features(model, x, k=105, seed=0, projection="haar", outputs=shifted).kernel()
    for kind in ("contiguous", "sjlt"):
        pairs = []
        for seed in range(20):
            found = tangent_features(model, x, k=16, seed=seed, projection=kind, outputs=shifted)
            pairs.append((found.sketch_error, float((found.kernel() - exact).norm() / exact.norm())))
        estimate, truth = torch.tensor(pairs).square().mean(0).sqrt()
        assert 0.5 < estimate / truth < 3


def test_the_estimate_is_of_the_size_of_the_error():
    model, x = build(images), batch(images, 12)
    whole = tangent_features(model, x, k=8, seed=0, keep_head=False).plan.sketch.size
    exact = tangent_features(model, x, k=whole, seed=0, projection="haar", keep_head=False).kernel()
    for kind in ("auto", "contiguous", "tensorsketch", "srht"):
        pairs = []
        for seed in range(10):
            found = tangent_features(model, x, k=64, seed=seed, projection=kind, keep_head=False)
            pairs.append((found.sketch_error, float((found.kernel() - exact).norm() / exact.norm())))
        estimate, truth = torch.tensor(pairs).square().mean(0).sqrt()
        assert 0.5 < estimate / truth < 3


def test_norm_errors_have_mean_zero_and_the_variance_of_the_map():
    """300 seeds of a Gaussian map: |phi~|^2 / |phi|^2 has mean 1 and variance 2 / k; z-scores below 5."""
    model, x = build(perceptron), batch(None, 1)
    sample = torch.stack([
        norm_errors(model, x, tangent_features(model, x, k=8, seed=s, projection="gaussian", outputs=[1]), outputs=[1])
        for s in range(300)
    ]).flatten()  # fmt: skip
    for power, expected in ((1, 0.0), (2, 2 / 8)):
        values = sample**power
        assert abs(float((values.mean() - expected) / (values.std() / math.sqrt(300)))) < 5


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, r"^k: expected an integer in \[1, 107\], got 0$"),
        ({"k": 108}, r"^k: expected an integer in \[1, 107\], got 108$"),
        ({"seed": -1}, "^seed: expected"),
        ({"projection": "mask"}, "^projection: expected one of auto, contiguous, .*, got 'mask'$"),
        ({"projection": {"0.weight": "srht"}}, "^kinds: expected a kind for every parameter, got"),
        ({"keep_head": "yes"}, "^keep_head: expected one of True, False, auto, got 'yes'$"),
        ({"keep_head": True, "outputs": lambda m, b: m(b) ** 2}, "^keep_head: expected False or 'auto', got True"),
        ({"outputs": [3]}, r"^outputs: expected an integer in \[0, 2\], got 3$"),
        ({"outputs": []}, "^outputs: expected at least one output, got none$"),
        ({"parameters": ["9.weight"]}, r"^parameters: expected names of trainable parameters, got \['9\.weight'\]$"),
        ({"memory": 0}, "^memory: expected an integer in"),
        ({"quality": 0.0}, "^quality: expected a number above 0"),
        ({"x": torch.full((2, 3), float("nan"), dtype=torch.float64)}, "^x: expected finite entries"),
        ({"x": torch.ones(0, 3, dtype=torch.float64)}, "^x: expected at least one sample"),
    ],
)
def test_refusals(change, message):
    arguments = {"x": batch(None), "k": 4, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        tangent_features(build(perceptron), arguments.pop("x"), **arguments)


def test_a_training_mode_that_matters_and_sequences_of_outputs_are_refused():
    with pytest.raises(ValueError, match="BatchNorm2d 1 that uses batch statistics"):
        tangent_features(build(images).train(), batch(images), k=4, seed=0)
    expected = "model: expected outputs of shape (2, C), or outputs=(model, batch) -> (n, C), got shape (2, 1, 3)"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        tangent_features(build(perceptron), batch(None)[:, None], k=4, seed=0)


def test_a_result_that_does_not_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda device: 1000)
    message = r"^k: expected a result that fits into 1000 B of free memory, got features \(3, 6, 40\) of 5\.6 KiB$"
    with pytest.raises(ValueError, match=message):
        tangent_features(build(perceptron), batch(None), k=40, seed=0)


@pytest.mark.parametrize("x", [torch.ones(3, 4), torch.ones(3, 2, dtype=torch.float64)], ids=["width", "dtype"])
def test_inputs_that_the_model_does_not_take_are_refused_in_one_line(x):
    with pytest.raises(ValueError, match=r"^x: expected what the model takes \(mat1 and mat2 .*\), got shape \(3, "):
        tangent_features(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), x, k=4, seed=0)


def test_the_head_alone_is_given_what_the_output_function_gives_it():
    """Where there is no body, no other forward pass tells what the head was given."""
    model, x = nn.Linear(3, 2).double(), batch(None)[:4, :3].double()
    found = tangent_features(model, x, k=1, seed=0, outputs=lambda net, some: net(2 * some))
    assert found.plan.head == ""
    assert close(found.head[:, :3], 2 * x)
