"""A user's own network from the command line: a function by its address, weights by a safetensors file, the rest refused."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from dntk_fast import load, save_weights
from dntk_fast.cli import main
from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.models import build
from dntk_fast.workflow.network import network_of
from dntk_fast.workflow.pipeline import run

SMALL = {"per_class": 3, "k": 32, "epochs": 2, "distil_steps": 2, "gradients": (2,), "draws": 1}
SMALL |= {"certificate_rows": 20, "refine_k": 64, "refine_steps": 1}
CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs=10):
        super().__init__()
        self.body, self.head = nn.Linear(64, 12), nn.Linear(12, outputs)

    def forward(self, x):
        return self.head(ACTIVATION(self.body(x.flatten(1))))

def plain():
    return Net()

def asked(outputs, channels=None):
    assert channels == 1
    return Net(outputs)

def anything(**given):
    assert given == {"outputs": 10, "channels": 1}
    return Net()

def other(outputs, width):
    return Net()

def word():
    return "a network"

def failing():
    raise RuntimeError("no\\nweights")

def few():
    return Net(3)

def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))

number = 3
"""


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the current folder, as a user has one; another one in each test."""
    monkeypatch.chdir(tmp_path)

    def write(activation="torch.tanh"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "nets.py").write_text(CODE.replace("ACTIVATION", activation))
        for name in ("mine.nets", "mine"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return "mine.nets"

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    for name in ("mine.nets", "mine"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("function", ["plain", "asked", "anything", "Net"])
def test_a_function_is_given_the_arguments_that_it_takes(own, digits, function):
    before = list(sys.path)
    one, two = (network_of(f"{own()}:{function}", digits, seed=3) for _ in range(2))
    assert fingerprint(one.module) == fingerprint(two.module)
    assert not one.trained
    assert one.inputs == {"network": fingerprint(one.module)}
    assert sys.path == before
    assert not one.module.training


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("nowhere:f", r"^model: expected a module nowhere on Python's path or in the current folder, got none$"),
        ("mine.nowhere:f", r"^model: expected a module mine\.nowhere on Python's path"),
        ("mine.nets:missing", r"^model: expected a function missing in mine\.nets, got none$"),
        ("mine.nets:number", r"^model: expected a function number in mine\.nets, got int$"),
        ("mine.nets:other", r"to need no argument but outputs and channels, got width$"),
        ("mine.nets:word", r"^model: expected a torch\.nn\.Module from mine\.nets:word, got str$"),
        ("mine.nets:failing", r"^model: expected a network of mine\.nets:failing, got RuntimeError \(no weights\)$"),
        ("mine.nets:few", r"^model: expected one logit for each of 10 classes, got 3 outputs$"),
        ("mine.nets:wide", r"^model: expected a network that takes images \(1, 8, 8\), got RuntimeError"),
        ("mine.nets:", r"^model: expected package\.module:function, got 'mine\.nets:'$"),
        ("a b:f", r"^model: expected package\.module:function"),
        ("conv9", r"^model: expected one of auto, conv8, .*, or package\.module:function, got 'conv9'$"),
    ],
)
def test_what_is_no_network_for_these_images_is_refused_in_one_line(own, digits, address, line):
    own()
    with pytest.raises((ValueError, TypeError), match=line) as refusal:
        network_of(address, digits, seed=0)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [("import not_there_at_all", "ModuleNotFoundError"), ("def f(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_module_that_cannot_be_imported_is_refused_with_the_reason(own, digits, tmp_path, code, told):
    own()
    (tmp_path / "mine" / "nets.py").write_text(code)
    with pytest.raises(ValueError, match=rf"^model: expected a module mine\.nets that can be imported, got {told} \("):
        network_of("mine.nets:f", digits, seed=0)


def test_weights_of_a_file_are_those_of_the_network_and_stand_for_training(digits, tmp_path):
    trained = build("conv8", seed=7)
    save_weights(trained, tmp_path / "w")
    found = network_of("auto", digits, seed=0, weights=tmp_path / "w")
    assert fingerprint(found.module) == fingerprint(trained) == found.inputs["weights"]
    assert found.trained


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "^weights: expected a safetensors file, got "),
        (b"\x80\x04K\x01.", "^weights: expected a safetensors file, got "),  # a pickle
        (
            {"0.weight": torch.ones(2)},
            r"^weights: expected the weights of Sequential, got .* lacks .*'0\.weight' of shape",
        ),
    ],
    ids=["missing", "pickle", "other"],
)
def test_weights_that_do_not_fit_are_refused_with_their_names(digits, tmp_path, content, line):
    if isinstance(content, bytes):
        (tmp_path / "w").write_bytes(content)
    elif content:
        save_file(content, tmp_path / "w")
    with pytest.raises(ValueError, match=line) as refusal:
        network_of("conv8", digits, seed=0, weights=tmp_path / "w")
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A hundred handwritten digits: a run of seconds."""
    digits = load_digits()
    path, rows = tmp_path_factory.mktemp("packs") / "hundred.npz", np.arange(100)
    images = (digits.images[rows] * 15).astype(np.uint8)
    np.savez(path, images=images, labels=digits.target[rows].astype(np.uint8), split=(rows % 5 == 0).astype(np.uint8))
    return path


def test_a_run_with_weights_trains_nothing_and_notices_other_weights_and_other_code(own, pack, tmp_path):
    module, weights, folder = own(), tmp_path / "w.safetensors", tmp_path / "o"
    network = network_of(f"{module}:plain", load(pack), seed=5).module
    save_weights(network, weights)
    config = Config(data=str(pack), model=f"{module}:plain", weights=str(weights), **SMALL)
    record = run(config, folder).record
    assert record["stages"][0]["backward_passes"] == 0
    assert record["fingerprints"]["model"] == fingerprint(network)
    assert record["network"]["name"] == "mine.nets:plain"
    assert run(config, folder).record == record
    own("torch.relu")  # no module says so
    with pytest.raises(
        ValueError, match=r"^model: expected the network of the finished stages, got one of other outputs"
    ):
        run(config, folder)
    own()
    with torch.no_grad():
        network.head.bias += 1
    save_weights(network, weights)
    with pytest.raises(
        ValueError, match=r"^out: .* holds a run with other network .*, other weights \(fingerprint \w{12}"
    ):
        run(config, folder)


def test_a_network_without_a_file_of_weights_is_trained(own, pack, tmp_path):
    config = Config(data=str(pack), model=f"{own()}:asked", **SMALL)
    record = run(config, tmp_path / "o").record
    assert record["stages"][0]["backward_passes"] == SMALL["epochs"] * 80
    assert "weights" not in record["config"]


@pytest.mark.parametrize("name", ["run", "distill"])
def test_the_commands_take_a_network_of_the_current_folder(own, pack, tmp_path, monkeypatch, capsys, name):
    network = network_of(f"{own()}:plain", load(pack), seed=5).module
    save_weights(network, tmp_path / "w")
    chosen = {
        "run": ["--explain", "--k", "32", "--per-class", "3"],
        "distill": [
            "--compare",
            "--methods",
            "random, per class",
            "--per-class",
            "1",
            "--seeds",
            "1",
            "--out",
            "d.json",
        ],
    }[name]
    arguments = [name, "--data", str(pack), "--model", "mine.nets:plain", *chosen]
    monkeypatch.setattr(sys, "argv", ["dntk", *arguments, "--weights", "w"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (None, 0)
    said = capsys.readouterr().out
    if name == "run":
        assert said.startswith("mine.nets:plain on hundred")
    else:
        accuracy = json.loads((tmp_path / "d.json").read_text())["network"]["accuracy"]
        held_out = load(pack)
        with torch.no_grad():
            assert accuracy == float((network(held_out.x_test).argmax(1) == held_out.y_test).double().mean())
    monkeypatch.setattr(sys, "argv", ["dntk", *arguments, "--weights", "nowhere"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("dntk: weights: expected a safetensors file, got nowhere")


def test_a_network_that_needs_training_mode_is_refused(digits, own, tmp_path):
    own()
    (tmp_path / "mine" / "nets.py").write_text(
        "from torch import nn\ndef f():\n    norm = nn.BatchNorm1d(64, track_running_stats=False)\n"
        "    return nn.Sequential(nn.Flatten(), norm, nn.Linear(64, 10))\n"
    )
    with pytest.raises(ValueError, match=r"^model: expected evaluation mode"):
        network_of("mine.nets:f", digits, seed=0)
