"""A whole run, small: the report is valid and true, stages are reused, and nothing long starts on a wrong request."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge

from dntk_fast.cli import main
from dntk_fast.distillation.gradient_distillation import METHODS
from dntk_fast.files.fingerprint import fingerprint
from dntk_fast.files.sealed import read_sealed, write_sealed
from dntk_fast.report.record import read_record, schema
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.workflow import data
from dntk_fast.workflow.config import Config, default_folder
from dntk_fast.workflow.models import build
from dntk_fast.workflow.pipeline import run
from tests.processes import interruptible
from tests.tolerances import TOL

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"per_class": 6, "k": 64, "epochs": 4, "distil_steps": 5, "gradients": (3, 6), "draws": 2, "model": "mlp"}
SMALL |= {"certificate_rows": 40, "refine_k": 256, "refine_steps": 2}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Four hundred handwritten digits as an image pack: real pictures, and a run of seconds."""
    digits = load_digits()
    path = tmp_path_factory.mktemp("packs") / "few-digits.npz"
    images = (digits.images[:400] * 15).astype(np.uint8)
    np.savez(
        path,
        images=images,
        labels=digits.target[:400].astype(np.uint8),
        split=(np.arange(400) % 5 == 0).astype(np.uint8),
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "digits"


@pytest.fixture(scope="module")
def config(pack):
    return Config(data=str(pack), **SMALL)


@pytest.fixture(scope="module")
def small(config, folder):
    return run(config, folder)


def test_the_record_is_valid_json_of_the_schema(small):
    jsonschema.validate(json.loads(json.dumps(small.record, allow_nan=False)), schema())


def test_the_record_is_true(small, folder, pack):
    """Shares again, from the stored weights and images by another route: NumPy on logits, scikit-learn on exact kernels."""
    record, digits = small.record, data.load(pack)
    model = build("mlp", seed=Config().seeds["network"], outputs=10, inputs=64)
    arrays = load_file(folder / "stages" / "network.safetensors")
    model.load_state_dict({name[8:]: value for name, value in arrays.items() if name.startswith("weights.")})
    with torch.no_grad():
        train, test = model(digits.x_train).double().numpy(), model(digits.x_test).double().numpy()
    assert record["network"]["accuracy"] == np.mean(test.argmax(1) == digits.y_test.numpy())
    kernel, cross = tangent_kernel(model, digits.x_train), tangent_kernel(model, digits.x_test, digits.x_train)
    lam, fitted = record["full_kernel"]["lam"], []
    for c in range(10):
        solver = KernelRidge(alpha=lam, kernel="precomputed").fit(kernel[c].double().numpy(), train[:, c])
        fitted.append(solver.predict(cross[c].double().numpy()))
    found = np.stack(fitted, 1)
    assert record["full_kernel"]["fidelity"] == np.mean(found.argmax(1) == test.argmax(1))
    assert record["full_kernel"]["mse"] == pytest.approx(np.mean((found - test) ** 2), rel=TOL["float32"])
    assert record["fingerprints"]["model"] == fingerprint(model)
    assert record["network"]["parameters"] == sum(p.numel() for p in model.parameters())


def test_sizes_are_separately_distilled_and_the_last_is_the_whole(small):
    assert [row["per_class"] for row in small.record["distilled_sizes"]] == list(Config(**SMALL).sizes)
    assert small.record["distilled"] == small.record["distilled_sizes"][-1]
    assert small.record["distilled"]["n"] == 60
    assert small.images.shape == (60, 8, 8, 1)
    assert 0 <= small.images.min() <= small.images.max() <= 1
    np.testing.assert_array_equal(np.bincount(small.labels), np.full(10, 6))


def test_every_method_stands_at_every_budget(small):
    rows = small.record["gradient_distillation"]
    assert {(row["method"], row["m"]) for row in rows} == {(method, m) for method in METHODS for m in (3, 6)}
    assert {row["draws"] for row in rows if row["method"].startswith("random")} == {2}


def test_no_method_captures_more_than_the_top_eigenvectors(small):
    """PCA dominance, on the table itself."""
    best = {row["m"]: row for row in small.record["gradient_distillation"] if row["method"] == "top eigenvectors"}
    for row in small.record["gradient_distillation"]:
        assert row["captured_energy"] <= best[row["m"]]["captured_energy"] + TOL["rounded_to_float32"]
        assert row["kernel_error"] >= best[row["m"]]["kernel_error"] - TOL["rounded_to_float32"]


def test_the_exact_gradient_is_as_good_as_the_whole_ridge_regression(small):
    exact = [row for row in small.record["gradient_distillation"] if "exact" in row["method"]]
    for row in exact:
        for key in ("accuracy", "fidelity"):
            assert row[key] == small.record["distilled"][key]
        assert row["mse"] == pytest.approx(small.record["distilled"]["mse"], rel=TOL["float32"])


def test_the_gap_obeys_its_theorem(small):
    gap = small.record["gap"]
    assert gap["weighted"] <= gap["epsilon_local"] / (1 - gap["epsilon_global"]) + TOL["float64"]  # LG-3


def test_minds_are_those_of_the_label_machine_refitted_without_the_images(small, folder, pack):
    """The least sure images again, by scikit-learn on exact kernels: scores, answers without, variances, rarity."""
    digits = data.load(pack)
    model = build("mlp", seed=Config().seeds["network"], outputs=10, inputs=64)
    arrays = load_file(folder / "stages" / "network.safetensors")
    model.load_state_dict({name[8:]: value for name, value in arrays.items() if name.startswith("weights.")})
    K = tangent_kernel(model, digits.x_train).double().numpy()
    scale = np.mean(np.diagonal(K, axis1=1, axis2=2))
    K, y = K / scale, np.eye(10)[digits.y_train] - 0.1
    probabilities = torch.softmax(arrays["logits.test"].double(), 0).numpy()
    order = np.argsort(probabilities.max(0), kind="stable")
    found = small.record["mind"]
    assert [one["image"] for one in found["images"]] == order[:3].tolist()
    for one in found["images"]:
        new = digits.x_test[one["image"] : one["image"] + 1]
        k = tangent_kernel(model, new, digits.x_train).double().numpy()[:, 0] / scale

        def margin(rows, k=k, answer=one["answer"]):
            solvers = [
                KernelRidge(alpha=0.5, kernel="precomputed").fit(A[np.ix_(rows, rows)], t[rows])
                for A, t in zip(K, y.T, strict=True)
            ]
            said = np.array([s.predict(b[None, rows])[0] for s, b in zip(solvers, k, strict=True)])
            return said[answer] - np.delete(said, answer).max(), said.argmax()

        every = np.arange(len(y))
        whole = margin(every)[0]
        for part in (*one["supporting"][:2], *one["opposing"][:2]):
            assert part["score"] == pytest.approx(whole - margin(np.delete(every, part["row"]))[0], abs=TOL["float32"])
            assert part["label"] == digits.y_train[part["row"]]
        nothing, first = one["removals"][:2]
        assert (nothing["removed"], nothing["says"]) == (0, margin(every)[1])
        assert nothing["margin"] == pytest.approx(whole, abs=TOL["float32"])
        if first["removed"] == len(one["supporting"]):
            gone = [part["row"] for part in one["supporting"]]
            expected, says = margin(np.delete(every, gone))
            assert first["margin"] == pytest.approx(expected, abs=TOL["float32"])
            assert first["says"] == says
    inverses = [np.linalg.inv(A + 0.5 * np.eye(len(A))) for A in K]
    left = np.mean([1 / np.diag(A) - 0.5 for A in inverses], axis=0)
    for one in found["images"]:
        assert one["rarity"] == pytest.approx(np.mean(left >= one["variance"]), abs=2 / len(left))


def test_passes_are_counted(small):
    stages = {row["name"]: row for row in small.record["stages"]}
    n, t = 320, 80
    assert stages["network"]["backward_passes"] == SMALL["epochs"] * n
    assert stages["network"]["forward_passes"] == SMALL["epochs"] * n + n + t
    assert stages["features, held-out"]["forward_passes"] == t
    assert stages["features, held-out"]["backward_passes"] == 10 * t
    assert stages["full kernel"]["backward_passes"] == 10 * (4 * n + t)  # two kernels, two J^T a
    assert stages["full kernel"]["forward_passes"] == 4 * n + t + 10 * (n + t)  # and J v of both splits
    assert all(row["seconds"] > 0 for row in stages.values())


def test_drawn_images_are_training_images_as_many_of_every_class(small, folder, pack):
    rows = load_file(folder / "stages" / "drawn images.safetensors")["rows"]
    assert len(set(rows.tolist())) == len(rows) == 10 * SMALL["per_class"] == small.record["drawn"]["n"]
    assert data.load(pack).y_train[rows].bincount().tolist() == [SMALL["per_class"]] * 10


def test_finished_stages_are_reused(small, config, folder):
    """Repeated, the run returns at once with the same record, the seconds of the first time included."""
    assert run(config, folder).record == small.record


def test_the_same_seed_gives_the_same_numbers(small, config, tmp_path):
    again = run(config, tmp_path / "again").record
    for key in ("network", "last_layer", "drawn", "distilled", "refined", "distance", "gap", "seeds", "fingerprints"):
        assert again[key] == small.record[key]


def test_another_configuration_is_refused_in_that_folder(small, config, folder):
    with pytest.raises(ValueError, match=r"out: .* holds a run with k=64 \(not 65\)"):
        run(replace(config, k=65), folder)


def test_default_folder_tells_configurations_apart():
    assert default_folder(Config()) != default_folder(Config(seed=1))
    assert default_folder(Config(data="some/where/my-pack.npz")).name.startswith("my-pack-")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "digitz"}, "digits"),
        ({"model": "conv9"}, "model: expected one of"),
        ({"per_class": 10_000}, "per_class: expected at most"),
        ({"k": 10**9}, "k: expected an integer in"),
    ],
)
def test_a_wrong_request_is_refused_before_any_stage(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(Config(**SMALL | change), tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"per_class": 0},
        {"k": 0},
        {"epochs": 0},
        {"seed": -1},
        {"gradients": ()},
        {"gradients": (0,)},
        {"epsilon": 1.5},
        {"draws": 0},
        {"certificate_rows": 0},
        {"refine_k": 0},
        {"refine_steps": 0},
        {"refine_flops": 0.0},
        {"refine_rms": -1.0},
    ],
)
def test_a_config_that_means_nothing_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Config(**change)


def test_seeds_of_the_purposes_differ_and_follow_the_seed():
    one, two = Config(seed=1).seeds, Config(seed=2).seeds
    assert len(set(one.values())) == len(one)
    assert one != two
    assert one == Config(**{**asdict(Config(seed=1)), "k": 7}).seeds


# --- the command ------------------------------------------------------------------------------------------------------

QUICK = ["--model", "mlp", "--per-class", "4", "--k", "64", "--distil-steps", "3"]


def command(monkeypatch, *arguments):
    """Run `dntk ...` in this process; give back its exit code."""
    monkeypatch.setattr(sys, "argv", ["dntk", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_command_tells_its_options_and_version(monkeypatch, capsys):
    assert command(monkeypatch, "run", "--help") == 0
    assert "--per-class" in capsys.readouterr().out
    assert command(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("dntk ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "dntk: data: expected"),
        (["--per-class", "0"], "dntk: per_class: expected an integer"),
        (["--model", "x"], "dntk: model: expected one of auto, conv8"),
        (["--data", "/nowhere.npz"], "dntk: data: expected a file or a folder that exists, got /nowhere.npz"),
        (["--data", __file__], f"dntk: data: expected an image pack (.npz), got {__file__} (no .npz archive)"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, "run", *arguments, "--out", tmp_path / "o") == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(message)
    assert len(error.strip().splitlines()) == 1


def test_a_data_set_is_fetched_only_if_asked(tmp_path, monkeypatch, capsys):
    asked = []

    def torchvision_s(root, download, size):
        asked.append(download)
        raise ValueError("data: nothing there")

    monkeypatch.setattr(data, "DATASETS", {"cifar10": torchvision_s})
    for options in ([], ["--download"]):
        assert command(monkeypatch, "run", "--data", "cifar10", *options, "--out", tmp_path / "o") == 2
    assert asked == [False, True]


def test_the_plan_is_explained_before_any_work(pack, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "run", "--data", pack, *QUICK, "--explain") == 0
    text = capsys.readouterr().out
    assert "exact kernel, 320 training images" in text
    assert "features, 80 held-out images, k = 64" in text
    assert "peak" in text
    assert "distance to the full kernel: 320 training images, 8 steps of refinement" in text
    assert not list(tmp_path.glob("runs/*"))


def test_a_full_disk_ends_in_one_line(pack, tmp_path):
    """A real limit on the size of files, below that of the network's weights."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000,) * 2)"
    code = f"{limit}; from dntk_fast.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "--data", pack, *QUICK, "--epochs", "1", "--out", tmp_path / "o"]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    file = tmp_path / "o" / "stages" / "network.checkpoint.safetensors"
    assert done.stderr == f"dntk: [Errno 27] File too large: '{file}'\n"
    assert {path.name for path in (tmp_path / "o").rglob("*")} == {"config.json", "stages"}


def test_other_data_in_a_pack_of_the_same_name_are_told(small, pack, folder, tmp_path):
    """A pack that was replaced under its name: the stages of the old one are not taken for those of the new one."""
    shutil.copytree(folder, tmp_path / "o")
    with np.load(pack) as arrays:
        other = dict(arrays)
    copy = tmp_path / pack.name
    np.savez(copy, **other | {"labels": (other["labels"] + 3) % 10})
    moved = json.loads((tmp_path / "o" / "config.json").read_text())["config"] | {"data": str(copy)}
    path = tmp_path / "o" / "config.json"
    write_sealed(path, read_sealed(path) | {"config": moved})
    before = (tmp_path / "o" / "stages" / "network.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"out: .* holds a run with other data \(fingerprint \w{12}, not \w{12}\); choose"
    ):
        run(Config(data=str(copy), **SMALL), tmp_path / "o")
    assert (tmp_path / "o" / "stages" / "network.json").read_bytes() == before


@pytest.mark.parametrize("out", ["run[old]", "a[/b]", "with space", "é", ":smile:", "[bold]"])
def test_the_folder_is_printed_as_it_is(small, config, folder, out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dntk_fast.cli.run_pipeline", lambda *_, **__: small)
    monkeypatch.setattr("dntk_fast.cli.write_page", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    Path(out).mkdir(parents=True)
    assert command(monkeypatch, "run", "--data", config.data, "--out", out) == 0
    assert f"Report: {out}/report.html (numbers: {out}/report.json)" in capsys.readouterr().out
    assert (tmp_path / out / "report.json").exists()


@pytest.mark.parametrize("option", ["--data", "--out"])
def test_an_empty_option_is_refused(option, pack, tmp_path, monkeypatch, capsys):
    """As an unset variable makes it; the pack in the current folder is not meant."""
    monkeypatch.chdir(pack.parent)
    assert command(monkeypatch, "run", "--data", "digits", option, "") == 2
    assert capsys.readouterr().err == f"dntk: {option[2:]}: expected a path, got ''\n"


def test_an_ascii_terminal_of_forty_columns_is_enough(small, config, tmp_path):
    """The tables of a finished run, in a process whose output takes neither a dash nor a long line."""
    (tmp_path / "é").mkdir()
    (tmp_path / "record.json").write_text(json.dumps(small.record))
    code = (
        "import json; from collections import defaultdict; from types import SimpleNamespace as N\n"
        "import numpy as np; from dntk_fast import cli\n"
        "record = json.load(open('record.json')); cli.run_pipeline = lambda *a, **o: N(record=record,"
        " images=np.zeros((2, 8, 8, 1)), labels=np.array([0, 1]), pictures=defaultdict(lambda: np.zeros((8, 8, 1))));"
        " cli.main()"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "40", "PYTHONPATH": str(ROOT)}
    given = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([sys.executable, "-c", code, "run", "--out", "é"], **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Report: \\xe9/report.html" in done.stdout
    assert (tmp_path / "é" / "report.html").exists()


def test_ctrl_c_during_the_import_is_one_line(tmp_path):
    """The signal is sent by the import itself, half way through it."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Half:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch.nn': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Half())\n"
        "from dntk_fast.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "dntk: stopped\n")


def started(pack, epochs, out):
    """A run in a process of its own."""
    chosen = ("run", "--data", pack, *QUICK, "--epochs", epochs, "--out", out)
    return [sys.executable, "-m", "dntk_fast", *map(str, chosen)]


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(pack, tmp_path):
    """SIGKILL once the network stands; the same command then finishes, writes both files, and trained nothing again."""
    arguments = started(pack, 2, tmp_path / "o")
    record = tmp_path / "o" / "stages" / "network.json"
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not record.exists() and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = record.read_bytes()
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gradient distillation" in done.stdout
    assert record.read_bytes() == before
    content = read_record(tmp_path / "o" / "report.json")
    jsonschema.validate(content, schema())
    assert "<h1>Distilled neural tangent kernel on" in (tmp_path / "o" / "report.html").read_text()
    assert not list((tmp_path / "o").rglob("*.part"))
    assert not list((tmp_path / "o").rglob("*.checkpoint*"))


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(pack, tmp_path):
    arguments = interruptible(started(pack, 1_000_000, tmp_path / "o"))  # it does not end by itself
    given = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, **given) as process:
        while not (tmp_path / "o" / "config.json").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    # Python ends by the signal itself where the interruption hit a library's import; a shell reports 130 for both.
    assert process.returncode in (130, -signal.SIGINT)
    assert "the same command goes on from there" in " ".join(out.split())
