"""`dntk explain`: it predicts what the kernel machine says, its truth is training, its page is whole and stands alone."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from dntk_fast import Retraining, Uncertainty, load, save_weights, train
from dntk_fast.cli import main
from dntk_fast.cli.explain import _numbers
from dntk_fast.report.explanation import write_explanation
from dntk_fast.workflow import explanation
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.explanation import Question, default_folder, explain_images, forecast
from dntk_fast.workflow.network import network_of
from tests.processes import interruptible
from tests.tolerances import TOL

ROOT = Path(__file__).resolve().parents[2]
WRONG = (4, 12)  # training images whose labels are exchanged


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A hundred and fifty digits of three classes, two labels of which are exchanged."""
    digits = load_digits(n_class=3)
    rows = np.arange(150)
    labels, split = digits.target[rows].astype(np.uint8), (rows % 5 == 0).astype(np.uint8)
    training = np.flatnonzero(split == 0)
    one, other = (training[i] for i in WRONG)
    assert labels[one] != labels[other]
    labels[[one, other]] = labels[[other, one]]
    path = tmp_path_factory.mktemp("packs") / "three.npz"
    np.savez(path, images=(digits.images[rows] * 15).astype(np.uint8), labels=labels, split=split)
    return path


@pytest.fixture(scope="module")
def question(pack):
    return Question(data=str(pack), model="mlp", images=(3, 17), epochs=12, shown=4, suspicious=5, retrained=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("why") / "o"


@pytest.fixture(scope="module")
def found(question, folder):
    return explain_images(question, folder)


def network(folder, pack):
    data = load(pack)
    model = network_of("mlp", data, seed=Config().seeds["network"]).module
    kept = load_file(folder / "stages" / "network.safetensors")
    model.load_state_dict({name[8:]: value for name, value in kept.items() if name.startswith("weights.")})
    return data, model.eval()


def test_each_image_has_what_the_estimators_say_of_it(found, folder, pack):
    data, model = network(folder, pack)
    machine = Retraining(model, seed=Config().seeds["sketch"]).fit(data.x_train, data.y_train)
    sure = Uncertainty(model).fit(data.x_train)
    assert [one["image"] for one in found.record["images"]] == [3, 17]
    for one in found.record["images"]:
        new = data.x_test[one["image"] : one["image"] + 1]
        assert one["label"] == data.y_test[one["image"]]
        assert one["answer"] == model(new).argmax()
        assert one["variance"] == pytest.approx(float(sure.shift_score(new)), rel=TOL["float32"])
        assert one["averaged"] == pytest.approx(float(sure.probabilities(new)[0, one["answer"]]), rel=TOL["float32"])
        assert one["rarity"] == pytest.approx(float(sure.rarity(new)), abs=2 / len(data.x_train))
        scores = machine.scores(new, [one["answer"]])[0]
        best, worst = scores.sort(descending=True).values[:4], scores.sort().values[:4]
        np.testing.assert_allclose([part["score"] for part in one["supporting"]], best, atol=TOL["float32"])
        np.testing.assert_allclose([part["score"] for part in one["opposing"]], worst, atol=TOL["float32"])
        order = scores.argsort(descending=True, stable=True)
        for part in one["removals"][1:]:
            said = machine.without(order[: part["removed"]].tolist(), new)[0]
            own = float(said[one["answer"]] - np.delete(said.numpy(), one["answer"]).max())
            assert part["margin"] == pytest.approx(own, abs=TOL["float32"])
            assert part["says"] == said.argmax()


def test_truth_is_training_without_the_images_of_the_row(found, folder, pack, question):
    data, _ = network(folder, pack)
    first, second = found.record["images"]
    assert not any("retrained" in part for part in second["removals"])
    gone = load_file(folder / "stages" / "kernel and answers.safetensors")["set 0"]
    last = first["removals"][-1]
    assert len(gone) == last["removed"]
    for part, rows in ((first["removals"][0], []), (last, gone.tolist())):
        for number, (says, p) in enumerate(zip(*part["retrained"].values(), strict=True)):
            start, order = (int(s) for s in np.random.SeedSequence([question.seed, number]).generate_state(2))
            blank = network_of("mlp", data, seed=start).module
            rest = [i for i in range(len(data.x_train)) if i not in rows]
            done = train(blank, data.x_train[rest], data.y_train[rest], epochs=question.epochs, seed=order).model
            expected = done(data.x_test[3:4]).softmax(1)[0].detach()
            assert p == pytest.approx(float(expected[first["answer"]]), rel=TOL["float32"])
            assert says == expected.argmax()


def test_exchanged_labels_are_in_the_gallery(found):
    worst = [one["row"] for one in found.record["suspicious"]]
    assert len(worst) == 5
    assert set(WRONG) == set(worst[:2])
    assert all(one["says"] != one["label"] for one in found.record["suspicious"][:2])


def test_finished_stages_are_reused_and_another_question_is_refused(found, folder, question, monkeypatch):
    monkeypatch.setattr(explanation, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(explanation, "_answers", lambda *_: pytest.fail("asked again"))
    assert explain_images(question, folder).record == found.record
    with pytest.raises(ValueError, match=r"^out: .* holds a run with epochs=12 \(not 3\)"):
        explain_images(Question(**question.settings | {"epochs": 3}), folder)


def test_the_page_stands_alone_and_shows_every_picture_with_words(found, tmp_path):
    write_explanation(found.record, found.pictures, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert not re.search(r'(?:src|href)=(?!"data:)', html)
    alts = re.findall(r'<img[^>]*alt="([^"]*)"', html)
    assert len(alts) == html.count("<img") == 2 * (1 + 4 + 4) + 5
    assert all(alts)
    for one in found.record["images"]:
        assert f"<h3>Held-out image {one['image']}: the network says {one['answer']}" in html
    assert html.count("<th>retrained</th>") == 1
    assert "from the same initial weights" in html
    assert f"#{WRONG[0]} · " in html


def test_weights_of_a_file_are_explained_without_training(pack, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = load(pack)
    model = train(network_of("mlp", data, seed=9).module, data.x_train, data.y_train, epochs=8, seed=0).model
    save_weights(model, "w")
    given = [
        "explain",
        "--data",
        str(pack),
        "--model",
        "mlp",
        "--weights",
        "w",
        "--images",
        "3",
        "17",
        "--images",
        "5,6",
    ]
    monkeypatch.setattr(sys, "argv", ["dntk", *given, "--k", "40", "--out", "o"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (None, 0)
    record = json.loads((tmp_path / "o" / "explain.json").read_text())
    assert {one["image"] for one in record["images"]} == {3, 17, 5, 6}
    assert record["network"]["weights_given"]
    accuracy = float((model(data.x_test).argmax(1) == data.y_test).double().mean())
    assert record["network"]["accuracy"] == accuracy
    assert "projected gradients, k = 40" in record["way"]
    said = capsys.readouterr().out
    assert said.startswith("mlp on three: projected gradients, k = 40")
    assert "0 training(s)\n" in said
    assert "Page: o/explain.html" in said
    assert "weights of a file" in (tmp_path / "o" / "explain.html").read_text()


def test_without_numbers_the_least_sure_images_are_explained(pack, tmp_path):
    asked = Question(data=str(pack), model="mlp", epochs=2, retrained=0)
    found = explain_images(asked, tmp_path / "o")
    data, model = network(tmp_path / "o", pack)
    order = model(data.x_test).softmax(1).amax(1).argsort().tolist()
    assert [one["image"] for one in found.record["images"]] == order[:3]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"images": (30,)}, r"^images: expected numbers of held-out images, 0 to 29, got 30$"),
        ({"images": (3, 3)}, r"^images: expected distinct held-out images, got \(3, 3\)$"),
        ({"images": (-1,)}, r"^images: expected an integer"),
        ({"model": "conv9"}, r"^model: expected one of auto"),
        ({"retrained": -1}, r"^retrained: expected an integer"),
        ({"k": 0}, r"^k: expected an integer"),
        ({"weights": "nowhere"}, r"^weights: expected a safetensors file, got nowhere"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_any_work(pack, tmp_path, change, line):
    with pytest.raises(ValueError, match=line):
        explain_images(Question(**{"data": str(pack), "model": "mlp"} | change), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_numbers_are_read_as_they_are_typed():
    assert _numbers(["3", "17", "42"]) == _numbers(["3,17", "42"]) == _numbers(["3,17,42"]) == (3, 17, 42)
    assert _numbers([]) == ()
    with pytest.raises(ValueError, match=r"^images: expected numbers of held-out images, got '3 x'$"):
        _numbers(["3", "x"])


def test_the_forecast_counts_trainings(pack, question):
    assert "5 training(s) of 12 epochs on 120 images, 4 of them to hold 1 predictions against" in forecast(question)
    assert "1 training(s) of 30 epochs on 120 images" in forecast(Question(data=str(pack), model="mlp", retrained=0))
    assert default_folder(question) != default_folder(Question())


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_training_goes_on(pack, tmp_path):
    chosen = ["explain", "--data", pack, "--model", "mlp", "--epochs", 1_000_000, "--out", tmp_path / "o"]
    arguments = interruptible([sys.executable, "-m", "dntk_fast", *map(str, chosen)])
    given = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, **given) as process:
        kept = tmp_path / "o" / "stages" / "network.checkpoint.safetensors"
        while not kept.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on from there" in " ".join(out.split())
    assert kept.exists()


def test_pictures_are_those_of_the_images(found, pack):
    data = load(pack)
    for one in found.record["images"]:
        picture = found.pictures[f"held-out {one['image']}"]
        expected = data.pixels(data.x_test[one["image"]][None])[0].permute(1, 2, 0)
        torch.testing.assert_close(torch.as_tensor(picture), expected)
    row = found.record["suspicious"][0]["row"]
    expected = data.pixels(data.x_train[row][None])[0].permute(1, 2, 0)
    torch.testing.assert_close(torch.as_tensor(found.pictures[f"training {row}"]), expected)
