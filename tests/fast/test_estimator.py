"""DistilledNTK on a user's own network: it follows the network, survives a disk, and refuses what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast import (
    DistilledNTK,
    FullProblem,
    SubsetResidual,
    held_out,
    held_out_bounds,
    jacobian_vector,
    refine,
    residual,
    tangent_kernel,
    training_subset,
)
from dntk_fast.files.tensors import read_tensors, write_tensors
from tests.fast.estimators import WAYS, Computed, data, network
from tests.tolerances import TOL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fitted():
    return DistilledNTK(network(), per_class=8, seed=0).fit(*data())


def wide(seed=0, outputs=3):
    """A network with enough body parameters for a joint sketch of 24 images."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 80), nn.Tanh(), nn.Linear(80, outputs)).eval()


@pytest.mark.parametrize("way", list(WAYS))
def test_it_follows_the_network(way):
    x, _ = data(90, seed=2)
    model, least = (
        (wide(), 0.85) if "k" in WAYS[way] else (network(), 0.9)
    )  # 24 images do not determine 81 head weights
    fitted = DistilledNTK(model, **{"per_class": 8, "seed": 0} | WAYS[way]).fit(*data())
    logits = fitted.logits(x)
    assert logits.shape == (90, 3)
    assert float((fitted.predict(x) == model(x).argmax(1)).double().mean()) > least
    assert torch.equal(fitted.predict(x), logits.argmax(1))
    weights = fitted.parameter_weights()
    assert all(w.shape == (3, *p.shape) for p, w in zip(model.parameters(), weights.values(), strict=True))
    assert torch.allclose(jacobian_vector(model, x, weights).T, logits, atol=100 * TOL["float32"])


def test_masses_sum_to_one_in_each_class_and_images_are_as_many_as_asked():
    fitted = DistilledNTK(network(), per_class=8, images="wmdd", steps=0).fit(*data())
    assert fitted.images_.shape == (24, 1, 3, 3)
    assert fitted.rows_ is None
    for c in range(3):
        assert float(fitted.masses_[fitted.labels_ == c].sum()) == pytest.approx(1, abs=TOL["float32"])


def test_rows_are_the_places_of_the_images(fitted):
    x, y = data()
    assert torch.equal(fitted.images_, x[fitted.rows_])
    assert torch.equal(fitted.labels_, y[fitted.rows_])
    assert len(set(fitted.rows_.tolist())) == 24


def jacobian(model, x):
    """(n, C, P), one logit of one image at a time."""
    rows = [[torch.autograd.grad(f, list(model.parameters()), retain_graph=True) for f in each] for each in model(x)]
    return torch.stack([torch.stack([torch.cat([g.flatten() for g in parts]) for parts in row]) for row in rows])


def test_the_joint_solve_is_one_ridge_solve_on_the_gradients_of_all_logits():
    (x, y), (new, _) = data(), data(5, seed=2)
    model, x, new = network().double(), x.double(), new.double()
    fitted = DistilledNTK(model, per_class=2, images="random", lam=0.1).fit(x, y)
    J, targets = jacobian(model, fitted.images_).flatten(0, 1), model(fitted.images_).detach().flatten()
    w = J.T @ torch.linalg.solve(J @ J.T + 0.1 * torch.eye(18, dtype=torch.float64), targets)
    assert torch.allclose(fitted.logits(new), jacobian(model, new) @ w, rtol=TOL["float64"], atol=TOL["float64"])
    alone = DistilledNTK(model, per_class=2, images="random", solve="per class", lam=0.1).fit(x, y)
    assert not torch.allclose(fitted.logits(new), alone.logits(new), atol=TOL["apart"])


def test_its_weights_in_parameter_space_predict_the_same_and_can_be_certified(fitted):
    model, (x, _) = network(), data()
    weights = fitted.parameter_weights()
    assert torch.allclose(jacobian_vector(model, x, weights).T, fitted.logits(x), atol=100 * TOL["float32"])
    problem = FullProblem(model, x, model(x).detach().T, lam=0.1)
    subset = training_subset(problem, torch.arange(0, 60, 6))
    held = held_out(subset, x)
    bounds = held_out_bounds(SubsetResidual(subset, residual(problem, weights)), held)
    K = tangent_kernel(model, x, dtype=torch.float64)
    exact = K @ torch.linalg.solve(K + 0.1 * torch.eye(60), problem.targets.double()[..., None])
    apart = (fitted.logits(x).T - exact[..., 0]).square().mean(1).sqrt()
    assert bool((apart <= bounds.rms).all())
    better = refine(problem, weights, subset, held, rms=1e-3, steps=40)
    assert better.converged
    assert bool((better.held_out.rms < bounds.rms).all())


def test_numpy_in_numpy_out(fitted):
    x, y = data()
    again = DistilledNTK(network(), per_class=8, seed=0).fit(x.numpy(), y.numpy())
    assert isinstance(again.logits(x.numpy()), np.ndarray)
    assert isinstance(again.predict(x.numpy()), np.ndarray)
    np.testing.assert_array_equal(again.logits(x.numpy()), fitted.logits(x).numpy())


def test_arrays_may_lie_backwards(fitted):
    x, _ = data()
    backwards, swapped = x.numpy()[::-1], x.numpy().astype(">f4")
    np.testing.assert_array_equal(fitted.logits(backwards), fitted.logits(x.flip(0)).numpy())
    np.testing.assert_array_equal(fitted.logits(swapped), fitted.logits(x).numpy())


def test_float64_images_meet_a_float32_network(fitted):
    x, _ = data()
    np.testing.assert_array_equal(fitted.logits(x.double().numpy()), fitted.logits(x).numpy())


def test_saved_and_loaded_it_predicts_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "a")
    again = DistilledNTK.load(tmp_path / "a", network())
    x, _ = data()
    assert torch.equal(again.logits(x), fitted.logits(x))
    assert (again.lam_, again.sketch_error_, again.per_class) == (fitted.lam_, fitted.sketch_error_, 8)
    again.save(tmp_path / "b")
    for name in ("distilled.json", "distilled.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_pictures_are_saved_only_where_asked_for(fitted, tmp_path):
    fitted.save(tmp_path / "rows")
    tensors, _ = read_tensors(tmp_path / "rows" / "distilled.safetensors")
    assert "images" not in tensors
    again = DistilledNTK.load(tmp_path / "rows", network())
    assert again.images_ is None
    assert torch.equal(again.rows_, fitted.rows_)
    assert again.cost_ == fitted.cost_
    with pytest.raises(ValueError, match="include_images: expected False"):
        again.save(tmp_path / "again", include_images=True)
    fitted.save(tmp_path / "pictures", include_images=True)
    assert torch.equal(DistilledNTK.load(tmp_path / "pictures", network()).images_, fitted.images_)


@pytest.mark.parametrize("way", ["per class", "wmdd"])
def test_every_solve_survives_the_disk(way, tmp_path):
    fitted = DistilledNTK(network(), **{"per_class": 4} | WAYS[way]).fit(*data())
    fitted.save(tmp_path)
    again, (x, _) = DistilledNTK.load(tmp_path, network()), data()
    assert torch.equal(again.logits(x), fitted.logits(x))
    assert (again.masses_ is None) == (fitted.masses_ is None)


def test_a_network_that_changed_after_the_fit_is_refused():
    model, (x, y) = network(), data()
    kernel = DistilledNTK(model, per_class=2).fit(x, y)
    with torch.no_grad():
        model[3].bias += 1
    for ask in (kernel.predict, kernel.logits):
        with pytest.raises(
            ValueError, match=r"^model: expected the network .*, got one that has changed since; fit again$"
        ):
            ask(x)
    assert kernel.fit(x, y).logits(x).shape == (60, 3)


def test_another_network_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    other = network()
    other[2] = nn.Sigmoid()  # the same weights
    for model in (network(seed=5), other):
        with pytest.raises(ValueError, match="model: expected the network with fingerprint"):
            DistilledNTK.load(tmp_path, model)


def test_another_function_between_the_same_layers_is_refused(tmp_path):
    DistilledNTK(Computed(torch.tanh).eval(), per_class=4).fit(*data()).save(tmp_path)
    DistilledNTK.load(tmp_path, Computed(torch.tanh).eval())
    with pytest.raises(
        ValueError, match=r"^model: expected the network that was distilled, got one with other logits$"
    ):
        DistilledNTK.load(tmp_path, Computed(torch.sigmoid).eval())


def rewritten(folder, change=None, **tensors):
    """A saved kernel with other contents under a valid checksum, as another program or version could write it."""
    kept, words = read_tensors(folder / "distilled.safetensors")
    record = json.dumps(json.loads(words["record"]) | (change or {}))
    write_tensors(folder / "distilled.safetensors", kept | tensors, {"record": record})


def test_a_folder_without_a_kernel_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder: expected a saved distilled kernel"):
        DistilledNTK.load(tmp_path, network())


def test_another_format_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    rewritten(tmp_path, {"format": 99})
    with pytest.raises(ValueError, match=r"folder: expected format 4, got 99 in .*; fit and save again"):
        DistilledNTK.load(tmp_path, network())
    (tmp_path / "distilled.json").write_text('{"format": 2}')  # the first that was published carried no checksum
    with pytest.raises(
        ValueError, match=r"folder: expected a saved .* \(.*: expected a record with its checksum, got one"
    ):
        DistilledNTK.load(tmp_path, network())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"settings": {"bogus": 1}}, "bogus"),
        ({"settings": [1]}, "settings"),
        ({"fingerprint": 3}, "fingerprint"),
        ({"lam": None}, "lam"),
        ({"lam": -1.0}, "lam"),
        ({"sketch_error": float("inf")}, "sketch_error"),
        ({"cost": {"full": 1}}, "choosing_backward"),
        ({"inputs": [[None, [1, -3], "float32"]]}, "inputs"),
        ({"inputs": [[None, [10**6, 10**6], "float32"]]}, "inputs"),
        ({"inputs": [[None, [3], "complex64"]]}, "inputs"),
        ({"inputs": [["x", [3], "float32"], ["x", [3], "float32"]]}, "inputs"),
        ({"inputs": [["x", [3], "float32"], [1, [3], "float32"]]}, "inputs"),
        ({"inputs": [["x", [3], None]]}, "inputs"),
        ({"inputs": [["x"]]}, "inputs"),
    ],
)
def test_a_record_of_another_kind_is_refused(fitted, tmp_path, change, told):
    fitted.save(tmp_path)
    rewritten(tmp_path, change)
    got = f"{tmp_path} with no or another {told}"
    with pytest.raises(ValueError, match=f"^folder: expected a saved distilled kernel, got {got}$"):
        DistilledNTK.load(tmp_path, network())


@pytest.mark.parametrize("change", [{"per_class": "8"}, {"k": 0}, {"solve": "magic"}, {"seed": -1}])
def test_settings_out_of_their_range_are_refused(fitted, tmp_path, change):
    fitted.save(tmp_path)
    rewritten(tmp_path, {"settings": fitted._used.saved | change})
    name = next(iter(change))
    with pytest.raises(ValueError, match=f"^folder: expected a saved distilled kernel, got .* with settings {name}: "):
        DistilledNTK.load(tmp_path, network())


def test_a_record_nested_without_end_is_refused(tmp_path):
    (tmp_path / "distilled.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="folder: expected a saved distilled kernel"):
        DistilledNTK.load(tmp_path, network())


def test_missing_arrays_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    words = read_tensors(tmp_path / "distilled.safetensors")[1]
    write_tensors(tmp_path / "distilled.safetensors", {"images": torch.ones(1)}, words)
    with pytest.raises(ValueError, match=r"^folder: expected a saved distilled kernel, got .* without first$"):
        DistilledNTK.load(tmp_path, network())


@pytest.mark.parametrize(
    "change",
    [
        {"images": torch.full((24, 1, 3, 3), torch.nan)},
        {"images": torch.ones(24, 5)},
        {"labels": torch.full((24,), 3)},
        {"labels": torch.zeros(24)},
        {"rows": torch.full((24,), -1)},
        {"masses": torch.full((24,), -1.0)},
        {"weights.1.weight": torch.ones(1)},
        {"weights.1.weight": torch.full((12, 9), torch.inf)},
        {"weights.9.weight": torch.ones(12, 9)},
        {"first": torch.ones(3)},
        {"other": torch.ones(3)},
    ],
    ids=lambda change: f"{next(iter(change))} {tuple(next(iter(change.values())).shape)}",
)
def test_arrays_that_are_no_kernel_are_refused_though_their_checksum_is_right(fitted, tmp_path, change):
    fitted.save(tmp_path)
    rewritten(tmp_path, **change)
    name = next(iter(change)).removeprefix("weights.")
    with pytest.raises(
        ValueError, match=r"^folder: expected the arrays of one distilled kernel, got .* with other "
    ) as caught:
        DistilledNTK.load(tmp_path, network())
    assert str(caught.value).endswith(name)


@pytest.mark.parametrize("name", ["distilled.json", "distilled.safetensors"])
def test_a_flipped_bit_is_found_or_means_nothing(fitted, tmp_path, name):
    fitted.save(tmp_path)
    path, (x, _) = tmp_path / name, data()
    whole, refused = path.read_bytes(), 0
    for place in np.random.default_rng(0).integers(8 * len(whole), size=20).tolist():
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            assert torch.equal(DistilledNTK.load(tmp_path, network()).logits(x), fitted.logits(x))
        except ValueError as error:
            assert str(error).startswith("folder: expected")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert refused > 12


def test_a_save_that_is_killed_between_its_files_leaves_a_whole_kernel(fitted, tmp_path, monkeypatch):
    DistilledNTK(network(), per_class=2, images="random").fit(*data()).save(tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dntk_fast.files.bundle.write_sealed", killed)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(tmp_path)
    x, _ = data()
    assert torch.equal(DistilledNTK.load(tmp_path, network()).logits(x), fitted.logits(x))


def test_cut_off_arrays_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    file = tmp_path / "distilled.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="expected a safetensors file"):
        DistilledNTK.load(tmp_path, network())


@pytest.mark.parametrize("method", ["top eigenvectors", "local-global", "exact one gradient"])
def test_gradients_can_be_distilled_too(method):
    x, y = data()
    options = {"per_class": 8, "k": 40, "solve": "per class", "gradients": 6, "method": method}
    kernel = DistilledNTK(network(), **options).fit(x, y)
    assert float((kernel.predict(x) == network()(x).argmax(1)).double().mean()) > 0.6


def test_the_network_is_left_as_it_was():
    model = network()
    model[1].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    DistilledNTK(model, per_class=4, images="wmdd", steps=2).fit(*data())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_class": 0}, "per_class: expected an integer"),
        ({"per_class": 2.5}, "per_class: expected an integer"),
        ({"k": 0}, "k: expected an integer"),
        ({"seed": -1}, "seed: expected an integer"),
        ({"lam": -1.0}, "lam: expected a number above 0"),
        ({"gradients": 0}, "gradients: expected an integer"),
        ({"method": "magic"}, "method: expected one of"),
        ({"images": "magic"}, "images: expected one of pool, random"),
        ({"solve": "magic"}, "solve: expected one of joint, per class"),
        ({"cotangents": 2}, "cotangents: expected one of None, 1"),
        ({"steps": 5}, "steps: expected None for images='pool', which are not updated, got 5"),
        ({"cotangents": 1, "solve": "per class"}, "cotangents: expected None, or the joint solve"),
        ({"cotangents": 1, "images": "wmdd"}, "cotangents: expected None, or the joint solve"),
        ({"gradients": 5}, 'gradients: expected None, or solve="per class" with coordinates k'),
    ],
)
def test_wrong_settings_are_kept_and_refused_by_fit(change, message):
    estimator = DistilledNTK(network(), **change)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(*data())


def test_zero_updates_of_images_that_are_not_updated_change_nothing(fitted):
    again = DistilledNTK(network(), per_class=8, seed=0, steps=0).fit(*data())
    assert torch.equal(again.logits(data()[0]), fitted.logits(data()[0]))


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got function"):
        DistilledNTK(lambda x: x).fit(*data())
    with pytest.raises(ValueError, match=r"^model: expected at least one parameter, got none$"):
        DistilledNTK(nn.Flatten()).fit(*data())


def wrong_fits():
    x, y = data()
    nan = x.clone()
    nan[3, 0, 0, 0] = float("nan")
    return {
        "shorter": (x, y[:-1], "y: expected 60 classes"),
        "float": (x, y.float(), "y: expected integer classes"),
        "list": (
            [1, 2],
            y,
            "X: expected a torch tensor or a NumPy array, a tuple .*, or a DataLoader, got list",
        ),
        "nan": (nan, y, "finite"),
        "too few": (x[:15], y[:15], "per_class"),
        "too large": (x, y + 1, "y"),
        "integers": (
            (5 * x).long(),
            y,
            r"^X: expected what the model takes \(.*\), got shape \(.*\) of torch.int64$",
        ),
        "shape": (x[:, :, :2], y, r"^X: expected what the model takes \(.*\), got shape \(60, 1, 2, 3\)"),
        "objects": (x.numpy().astype(object), y, "^X: expected numbers in an array, got object$"),
        "masked": (np.ma.masked_array(x.numpy(), x.numpy() > 0), y, "^X: expected an array without a mask"),
        "no classes": (x, None, "^y: expected numbers in an array, got NoneType$"),
    }


@pytest.mark.parametrize("case", list(wrong_fits()))
def test_wrong_data_is_refused_in_one_line(case):
    x, y, message = wrong_fits()[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        DistilledNTK(network(), per_class=8, images="stratified").fit(x, y)
    assert "\n" not in str(caught.value)


def test_a_joint_sketch_with_too_few_coordinates_is_refused_before_the_work():
    with pytest.raises(
        ValueError, match=r"^k: expected at least 576, 8 for each of 24 x 3 gradients, or None, got 40$"
    ):
        DistilledNTK(network(), per_class=8, k=40).fit(*data())


def test_a_module_that_draws_random_numbers_is_refused():
    x, y = data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.Dropout(), nn.Linear(12, 3)).train()
    with pytest.raises(ValueError, match=r"model: .*Dropout"):
        DistilledNTK(model, per_class=4).fit(x, y)


def test_predicting_before_fitting_is_refused():
    with pytest.raises(ValueError, match="expected a fitted estimator"):
        DistilledNTK(network()).predict(data()[0])


def test_the_ten_lines_of_the_readme_run():
    """In a fresh process, as a reader would paste them; what they print is a fidelity, and a good one."""
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 10
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split("tensor(")[1].split(")")[0]) > 0.9


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_labels_of_any_integers_and_read_only_arrays_are_taken(fitted, dtype):
    x, y = data()
    images, labels = x.numpy().copy(), y.numpy().astype(dtype)
    images.flags.writeable = labels.flags.writeable = False
    again = DistilledNTK(network(), per_class=8, seed=0).fit(images, labels)
    np.testing.assert_array_equal(again.logits(images), fitted.logits(x).numpy())
