"""Networks of the experiments: their size, their seeds, their head, their fingerprint, their training."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.files.tensors import load_weights, read_tensors, save_weights, write_tensors
from dntk_fast.tangent.head import final_linear, penultimate, recorded_inputs
from dntk_fast.workflow.models import MODELS, build, parameter_count
from dntk_fast.workflow.training import train
from tests.tolerances import TOL

IMAGE = {"conv8": (1, 8, 8), "conv28": (1, 28, 28), "mlp": (1, 8, 8)}  # the others see three channels of 32 x 32


def images(name, n=3):
    return torch.randn(n, *IMAGE.get(name, (3, 32, 32)), generator=torch.Generator().manual_seed(0))


def blobs(n=60, seed=0):
    """Two classes of 8 x 8 images, bright above and bright below, in noise."""
    noise = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n) % 2
    for row in range(n):
        noise[row, 0, slice(0, 4) if labels[row] else slice(4, 8)] += 2
    return noise, labels


@pytest.mark.parametrize(("name", "parameters"), [("conv28", 98_442), ("resnet18", 11_181_642)])
def test_stated_parameter_counts(name, parameters):
    assert parameter_count(build(name, seed=0)) == parameters
    assert parameter_count(build(name, seed=0, outputs=11)) > parameters


def test_conv8_is_small():
    assert 15_000 <= parameter_count(build("conv8", seed=0)) <= 40_000


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_every_network_gives_its_outputs_per_image_and_ends_in_a_linear_layer(name):
    model, x = build(name, seed=0, outputs=7), images(name)
    together = model(x)
    assert together.shape == (3, 7)
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(alone, together, rtol=TOL["float32"], atol=TOL["float32"])
    layer, head = final_linear(model, x)
    assert model.get_submodule(layer) is head
    assert head.out_features == 7
    torch.testing.assert_close(head(penultimate(model, x)), together, rtol=0, atol=0)


def test_registry_is_frozen_and_refuses_unknown_names():
    with pytest.raises(TypeError):
        MODELS["conv8"] = None
    with pytest.raises(ValueError, match=r"^model: expected one of conv8, .*, got 'convnet'$"):
        build("convnet", seed=0)


def test_weights_follow_from_the_seed_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = (build("conv8", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert fingerprint(first) == fingerprint(again) != fingerprint(other)


def test_head_is_found_by_what_it_gives_and_not_by_its_place():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 3)
            self.body = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x).relu())

    assert final_linear(Reversed(), torch.ones(1, 4))[0] == "head"


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Flatten())])
def test_network_without_a_final_linear_layer_is_refused(model):
    with pytest.raises(
        ValueError, match=r"^model: expected a network whose output is that of a Linear layer, got Sequ"
    ):
        penultimate(model, torch.ones(1, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: penultimate(None, torch.ones(1, 2)), TypeError, r"model: expected a torch\.nn\.Module, got NoneType"),
        (
            lambda: penultimate(nn.Linear(2, 1), np.ones((1, 2))),
            TypeError,
            "x: expected a tensor, or a tuple or dict of tensors, got ndarray",
        ),
        (
            lambda: penultimate(nn.Linear(2, 1), torch.ones(4, 3)),
            ValueError,
            r"x: expected what the model takes \(.*\), got shape \(4, 3\) of torch\.float32",
        ),
        (lambda: save_weights(None, "w"), TypeError, r"model: expected a torch\.nn\.Module, got NoneType"),
        (lambda: save_weights(nn.Linear(2, 1), 3), TypeError, "path: expected a path, got int"),
        (lambda: load_weights(nn.Linear(2, 1), 3), TypeError, "path: expected a path, got int"),
    ],
)
def test_what_is_no_network_input_or_path_is_refused_in_one_line(call, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        call()


def test_penultimate_features_do_not_depend_on_the_batches_and_let_gradients_through():
    model, x = build("conv8", seed=0), images("conv8", 5).requires_grad_()
    whole, pieces = penultimate(model, x), penultimate(model, x, batch_size=2)
    torch.testing.assert_close(pieces, whole, rtol=TOL["float32"], atol=TOL["float32"])
    (gradient,) = torch.autograd.grad(pieces.square().sum(), x)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_no_hook_is_left_behind():
    model, x = build("conv8", seed=0), images("conv8")
    penultimate(model, x)
    with pytest.raises(ZeroDivisionError), recorded_inputs(dict(model.named_modules())):
        model(1 // 0)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_fingerprint_sees_names_shapes_types_and_every_bit():
    def of(**tensors):
        model = nn.Module()
        for name, tensor in tensors.items():
            model.register_buffer(name, tensor)
        return fingerprint(model)

    ones = torch.ones(2, 2)
    assert of(a=ones, b=-ones) == of(b=-ones, a=ones) == of(a=ones.T, b=-ones)
    changed = [
        of(c=ones, b=-ones),
        of(a=ones.reshape(4), b=-ones),
        of(a=ones.double(), b=-ones),
        of(a=ones.view(torch.int32), b=-ones),
        of(a=-ones, b=ones),
        of(a=ones.nextafter(2 * ones), b=-ones),
        of(a=ones),
    ]
    assert len({of(a=ones, b=-ones), *changed}) == 1 + len(changed)


def test_fingerprint_sees_layers_and_their_settings_wherever_they_live():
    class Told(nn.Module):
        def __init__(self, told):
            super().__init__()
            self.told = told

        def extra_repr(self):
            return self.told

    linear = nn.Linear(2, 2)
    layers = [nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), Told("width=1"), Told("width=2")]
    assert len({fingerprint(nn.Sequential(linear, layer)) for layer in layers}) == len(layers)
    assert fingerprint(Told("f=<function f at 0x7f00>")) == fingerprint(Told("f=<function f at 0x8a10>"))
    assert fingerprint(Told("of size 2 (GPU 0)")) == fingerprint(Told("of size 2"))
    with pytest.raises(TypeError, match=r"^model: expected a torch\.nn\.Module, got NoneType$"):
        fingerprint(None)


def test_weights_come_back_bit_for_bit(tmp_path):
    model, other = build("conv8", seed=0), build("conv8", seed=1)
    save_weights(model, tmp_path / "deep" / "weights.safetensors")
    load_weights(other, tmp_path / "deep" / "weights.safetensors")
    assert fingerprint(model) == fingerprint(other)
    assert read_tensors(tmp_path / "deep" / "weights.safetensors")[1] == {"fingerprint": fingerprint(model)}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["weights.safetensors"]


def test_tied_weights_can_be_written(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "tied")
    load_weights(model, tmp_path / "tied")


def test_unfitting_or_unreadable_weights_are_refused_in_one_line(tmp_path):
    model, path = nn.Linear(2, 2), tmp_path / "weights"
    with pytest.raises(ValueError, match=r"^path: expected a safetensors file, got .*weights \("):
        load_weights(model, path)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle of the number one
    with pytest.raises(ValueError, match=r"^path: expected a safetensors file, got "):
        load_weights(model, path)
    for tensors, told in (
        ({"weight": torch.ones(2, 2)}, "lacks 'bias'"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, r"has 'weight' of shape \(3, 2\) for \(2, 2\)"),
        ({str(i): torch.ones(1) for i in range(5)}, "lacks 'bias', 'weight'; has besides '0', '1', '2' and 2 more"),
    ):
        save_file(tensors, path)
        with pytest.raises(ValueError, match=rf"^path: expected the weights of Linear, .* which {told}$"):
            load_weights(model, path)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_tensors(tmp_path / "t", {"a": torch.ones(1)})

    def broken(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(tmp_path / "t", {"a": torch.zeros(1)})
    assert read_tensors(tmp_path / "t")[0]["a"].item() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("bits", [range(0, 8), range(8 * 8, 8 * 300, 61), range(8 * 300, 8 * 420, 17)], ids=str)
def test_a_flipped_bit_in_weights_is_found_or_means_nothing(tmp_path, bits):
    model, other, path = nn.Linear(3, 2), nn.Linear(3, 2), tmp_path / "weights"
    save_weights(model, path)
    whole, before, found = path.read_bytes(), fingerprint(other), 0
    for bit in bits:
        content = bytearray(whole)
        content[bit // 8 % len(whole)] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            load_weights(other, path)
        except ValueError as error:
            found += 1
            assert str(error).startswith("path: expected")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        assert fingerprint(other) in (before, fingerprint(model))
    assert found > len(bits) // 2


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (
            torch.ones(2, 2, dtype=torch.int64),
            r"the weights of Linear, .* has 'weight' in torch.int64 for torch.float32",
        ),
        (torch.ones(2, 2, dtype=torch.complex64), r"the weights of Linear, .* has 'weight' in torch.complex64"),
        (torch.full((2, 2), torch.nan), r"finite weights, .* 'weight' has entries that are NaN or infinite"),
    ],
    ids=["integers", "complex", "NaN"],
)
def test_weights_of_another_kind_are_refused_and_the_model_stays(tmp_path, weight, told):
    model = nn.Linear(2, 2)
    before = fingerprint(model)
    save_file({"weight": weight, "bias": torch.zeros(2)}, tmp_path / "w")
    with pytest.raises(ValueError, match=f"^path: expected {told}"):
        load_weights(model, tmp_path / "w")
    assert fingerprint(model) == before


def test_write_is_one_rename(tmp_path, monkeypatch):
    write_tensors(tmp_path / "t", {"a": torch.ones(1)})
    monkeypatch.setattr("os.replace", lambda draft, path: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        write_tensors(tmp_path / "t", {"a": torch.zeros(1)})
    assert read_tensors(tmp_path / "t")[0]["a"].item() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_training_takes_the_steps_of_torch_under_its_cosine_schedule(optimiser):
    x, y = blobs()
    x = x.double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2).double())
    start = nn.Sequential(nn.Flatten(), nn.Linear(64, 2).double())
    model.load_state_dict(start.state_dict())
    found = train(
        start, x, y, epochs=5, seed=0, batch_size=60, learning_rate=0.1, weight_decay=0.01, optimiser=optimiser
    )
    descent = {
        "adam": lambda: torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.01),
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    }[optimiser]()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, 5)
    for _ in range(5):
        descent.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        descent.step()
        schedule.step()
    weight, expected = found.model[1].weight, model[1].weight
    torch.testing.assert_close(weight, expected, rtol=TOL["float64"], atol=TOL["float64"])
    assert (expected - start[1].weight).abs().max() > TOL["apart"]


def test_augmentation_moves_and_mirrors_and_brings_in_zeros():
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(9, 2)

        def forward(self, x):
            seen.append(x[0, 0].clone())
            return self.linear(x.flatten(1))

    x, y = torch.arange(1.0, 10.0).view(1, 1, 3, 3), torch.zeros(1, dtype=torch.int64)
    train(Watching(), x, y, epochs=200, seed=0, shift=1, flip=True)
    expected = set()
    for image in (x[0, 0], x[0, 0].flip(-1)):
        padded = nn.functional.pad(image, (1, 1, 1, 1))
        expected |= {tuple(padded[i : i + 3, j : j + 3].flatten().tolist()) for i in range(3) for j in range(3)}
    # 18 equally likely outcomes, 200 draws: one is missed with probability 18 (17 / 18)^200 = 2e-4; the seed is fixed.
    assert {tuple(image.flatten().tolist()) for image in seen} == expected
    seen.clear()
    train(Watching(), x, y, epochs=5, seed=0)
    assert all(torch.equal(image, x[0, 0]) for image in seen)


def test_one_cycle_rises_for_a_quarter_and_then_follows_the_cosine_of_torch():
    x, y = (part.repeat(2, *[1] * (part.ndim - 1))[:80] for part in blobs())
    start = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    start, x = start.double(), x.double()
    options = {"epochs": 8, "seed": 0, "batch_size": 80, "learning_rate": 0.1, "weight_decay": 0.01, "optimiser": "sgd"}
    found = train(start, x, y, schedule="one-cycle", **options)
    model = copy.deepcopy(start)
    descent = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LinearLR(descent, 1e-300, 1.0, 2)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(descent, 6)
    schedule = torch.optim.lr_scheduler.SequentialLR(descent, [warm, fall], [2])
    for _ in range(8):
        descent.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        descent.step()
        schedule.step()
    torch.testing.assert_close(found.model[1].weight, model[1].weight, rtol=TOL["float64"], atol=TOL["float64"])
    other = train(start, x, y, **options).model[1].weight
    assert (other - model[1].weight).abs().max() > TOL["apart"]


def test_images_are_moved_and_mirrored_each_by_itself():
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(18, 2)

        def forward(self, x):
            seen.append(x.clone())
            return self.linear(x.flatten(1))

    x, y = torch.arange(1.0, 37.0).view(2, 2, 3, 3), torch.zeros(2, dtype=torch.int64)
    train(Watching(), x, y, epochs=400, seed=0, shift=1, flip=True, augmentation="image")
    moved = {}
    for image in x:
        for way, turned in enumerate((image, image.flip(-1))):
            padded = nn.functional.pad(turned, (1, 1, 1, 1))
            for i in range(3):
                for j in range(3):
                    part = padded[:, i : i + 3, j : j + 3]
                    moved[tuple(part.flatten().tolist())] = (int(image[0, 0, 0] > 18), way, i, j)
    found = [[moved[tuple(image.flatten().tolist())] for image in batch] for batch in seen]
    # 36 equally likely outcomes in 800 draws: one is missed with probability 36 (35 / 36)^800 = 6e-9; the seed is fixed.
    assert {outcome for pair in found for outcome in pair} == set(moved.values())
    assert any(first[1:] != second[1:] for first, second in found)  # all alike in the other augmentation


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@torch.no_grad()
def test_training_learns_two_classes_and_counts_its_passes(optimiser):
    x, y = blobs()
    start = build("conv8", seed=0, outputs=2)
    before = fingerprint(start)
    calls = []
    with torch.enable_grad():
        result = train(
            start, x, y, epochs=4, seed=0, batch_size=16, learning_rate=1e-2, optimiser=optimiser,
            progress=lambda done, total: calls.append((done, total)),
        )  # fmt: skip
    new_x, new_y = blobs(seed=1)
    assert (result.model(new_x).argmax(1) == new_y).float().mean() > 0.95
    assert (start(new_x).argmax(1) == new_y).float().mean() < 0.95  # chance is one half
    assert result.losses[-1] < result.losses[0]
    assert fingerprint(start) == before != fingerprint(result.model)
    assert (result.forward_passes, result.backward_passes) == (240, 240)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert not result.model.training
    assert all(parameter.grad is None for parameter in result.model.parameters())


def test_training_follows_from_its_seed_whatever_the_global_generator():
    x, y = blobs()
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2))

    def weights(seed, state):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(state)
            before = torch.get_rng_state()
            result = train(model, x, y, epochs=2, seed=seed, batch_size=16, shift=1, flip=True)
            assert torch.equal(torch.get_rng_state(), before)
        return fingerprint(result.model)

    assert weights(0, 0) == weights(0, 1) != weights(1, 0)


def test_training_with_one_image_over_keeps_batchnorm_defined():
    # 17 images in steps of 16 would leave a last step with one value per channel, which BatchNorm cannot normalise.
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    x, y = blobs(17)
    assert train(model, x, y, epochs=1, seed=0, batch_size=16).forward_passes == 17


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"epochs: expected an integer in \[1, inf\], got 0"),
        ({"batch_size": 0}, r"batch_size: expected an integer in \[1, inf\], got 0"),
        ({"seed": -1}, r"seed: expected an integer in .*, got -1"),
        ({"optimiser": "lion"}, "optimiser: expected one of adam, sgd, got 'lion'"),
        ({"x": torch.full((60, 1, 8, 8), torch.nan)}, "x: expected finite entries, got some that are NaN or infinite"),
        ({"y": torch.zeros(3, dtype=torch.int64)}, r"y: expected shape \(60,\), got shape \(3,\)"),
        ({"y": torch.full((60,), 10)}, "y: expected labels below 10, the outputs of the model, got 10"),
        ({"y": torch.arange(60) % 3 - 1}, "y: expected labels from 0 on, got -1"),
        ({"learning_rate": -1}, r"learning_rate: expected a number that is 0 or above, got -1\.0"),
        ({"schedule": "step"}, "schedule: expected one of cosine, one-cycle, got 'step'"),
        ({"augmentation": "mixup"}, "augmentation: expected one of batch, image, got 'mixup'"),
        ({"shift": -1}, r"shift: expected an integer in \[0, inf\], got -1"),
    ],
)
def test_training_refuses(changes, message):
    x, y = blobs()
    arguments = {"x": x, "y": y, "epochs": 1, "seed": 0} | changes
    with pytest.raises(ValueError, match=f"^{message}$"):
        train(build("conv8", seed=0), **arguments)


def interrupted(at):
    """A progress that stops the training after so many epochs, as Ctrl-C does."""

    def stop(done, total):
        if done == at:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, optimiser):
    torch.manual_seed(0)
    x, y = torch.randn(20, 1, 8, 8), torch.arange(20) % 3
    net = nn.Sequential(*build("conv8", seed=0, outputs=3)[:-1], nn.Dropout(0.5), nn.Linear(64, 3))
    options = {"epochs": 4, "seed": 1, "batch_size": 7, "shift": 1, "flip": True, "optimiser": optimiser}
    whole = train(net, x, y, **options)
    for at in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            train(net, x, y, **options, checkpoint=tmp_path / "c", progress=interrupted(at))
    resumed = train(net, x, y, **options, checkpoint=tmp_path / "c")
    assert fingerprint(resumed.model) == fingerprint(whole.model)
    assert resumed.losses == whole.losses
    without_state = train(net, x, y, **options | {"epochs": 3})
    assert fingerprint(without_state.model) != fingerprint(whole.model)
    with pytest.raises(
        ValueError,
        match=r"^checkpoint: expected one of the same training, got .*, which differs in seed$",
    ):
        train(net, x, y, **options | {"seed": 2}, checkpoint=tmp_path / "c")
