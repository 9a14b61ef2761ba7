"""The ImageNette experiment on small made-up images: its stages, its record, its page, and what an interruption leaves."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dntk_fast._arrays import gram
from dntk_fast.cli import app
from dntk_fast.cli import experiment as commands
from dntk_fast.experiment import imagenette as im
from dntk_fast.experiment import imagenette_stages as own
from dntk_fast.experiment.imagenette_page import paper_table, predictor_table, rivals_table, write_page
from dntk_fast.experiment.imagenette_record import _locality, comparison
from dntk_fast.files.fingerprint import digest, fingerprint
from dntk_fast.files.stages import Stage
from dntk_fast.kernels.locality import locality
from dntk_fast.kernels.predictors import fit_features
from dntk_fast.workflow import stages
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset
from dntk_fast.workflow.models import build
from tests.tolerances import TOL

SMALL = im.Setting("made up", "conv8", (1, 2, 4), 2, 1, 3, 32, (2, 5), draws=2)


@pytest.fixture(scope="module")
def data():
    """Three classes of 8 x 8 colour noise, each with its own mean image."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 3, 8, 8, generator=generator)
    labels = torch.arange(54) % 3
    x = means[labels] + torch.randn(54, 3, 8, 8, generator=generator)
    names = ("tench", "church", "horn")
    return Dataset("made up", x[:36], labels[:36], x[36:], labels[36:], names, (0.5,) * 3, (0.2,) * 3)


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenette") / "run"
    return im.run(SMALL, data, folder), folder


def without_costs(record):
    """What two runs must share: no seconds, no choice of numbers by time."""
    rest = {key: value for key, value in record.items() if key not in ("stages", "method_seconds", "date")}
    return json.loads(json.dumps(rest, allow_nan=False))


# --- the whole ---------------------------------------------------------------------------------------------------------


def test_passes_are_counted_beforehand(made, data):
    record, _ = made
    expected = {row.stage: (row.forward, row.backward) for row in im.passes(SMALL, 36, 18, 3)}
    found = {row["name"]: (row["forward_passes"], row["backward_passes"]) for row in record["stages"]}
    assert {name: count for name, count in found.items() if any(count)} == expected
    other = {row.stage: (row.forward, row.backward) for row in im.passes(replace(SMALL, epochs=3), 36, 18, 3)}
    assert other != expected


def test_record_holds_numbers_of_every_size_and_no_place(made):
    record, folder = made
    text = json.dumps(record, allow_nan=False)
    assert [row["per_class"] for row in record["distilled_sizes"]] == [1, 2, 4]
    assert [row["n"] for row in record["distilled_only"]] == [3, 6, 12]
    assert len(record["spectra"]["distilled"]) == len(record["spectra"]["real_ranks"]) == 3
    assert str(folder) not in text
    assert "not available" in record["figure_7"]


def test_two_runs_agree_and_another_seed_does_not(made, data, tmp_path):
    record, _ = made
    assert without_costs(im.run(SMALL, data, tmp_path / "again")) == without_costs(record)
    assert without_costs(im.run(SMALL, data, tmp_path / "other", seed=1)) != without_costs(record)


@pytest.mark.parametrize(
    ("stage", "at"),
    [("network", 1), ("distillation, 2 per class", 2), ("gradient distillation", 3), ("threshold grid", 7)],
)
def test_an_interrupted_experiment_goes_on_to_the_same_numbers(made, data, tmp_path, stage, at):
    record, _ = made

    def stop(name, done, total):
        if name == stage and done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        im.run(SMALL, data, tmp_path / "run", progress=stop)
    assert without_costs(im.run(SMALL, data, tmp_path / "run")) == without_costs(record)
    assert not list((tmp_path / "run" / "stages").glob("*.checkpoint*"))


@pytest.mark.gpu
def test_a_gpu_makes_the_same_experiment(made, data, tmp_path):
    record, _ = made
    arrays = {name: getattr(data, name).cuda() for name in ("x_train", "y_train", "x_test", "y_test")}
    found = im.run(SMALL, replace(data, **arrays), tmp_path / "run")
    assert "gpu" in found["device"]
    assert [row["n"] for row in found["distilled_sizes"]] == [row["n"] for row in record["distilled_sizes"]]
    # training amplifies rounding: scores of eighteen images may differ by a few of them
    assert abs(found["network"]["accuracy"] - record["network"]["accuracy"]) < 0.25


def test_finished_stages_are_not_done_again(made, data, monkeypatch):
    record, folder = made

    def never(*arguments, **options):
        raise AssertionError("a stage was done again")

    for module, name in ((own, "train"), (stages, "distil"), (own, "coordinates"), (own, "tangent_features")):
        monkeypatch.setattr(module, name, never)
    assert im.run(SMALL, data, folder) == record
    with pytest.raises(AssertionError, match="done again"):
        im.run(SMALL, data, folder.with_name("fresh"))


def test_another_setting_is_refused_in_the_folder_of_the_first(made, data):
    _, folder = made
    with pytest.raises(ValueError, match=r"out: .* holds a run with k=32"):
        im.run(replace(SMALL, k=16), data, folder)


# --- stages ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    """Rows, held-out features, a ridge and a network's answers as stages hold them; more coordinates than rows."""
    generator = torch.Generator().manual_seed(1)
    features, test = torch.randn(2, 12, 30, generator=generator), torch.randn(2, 9, 30, generator=generator)
    targets = torch.randn(2, 12, generator=generator)
    base = Stage({"rows": features, "targets": targets}, {"lam": 0.3})
    network = Stage({"logits.test": torch.randn(2, 9, generator=generator)})
    return base, Stage({"values": test}), network


@pytest.fixture(scope="module")
def few(data):
    return replace(data, x_test=data.x_test[:9], y_test=data.y_test[:9] % 2)


def test_coordinates_keep_kernels_and_predictors(rows):
    base, test, _ = rows
    inside, held_out = own.coordinates(base, test)
    assert inside.arrays["rows"].shape == (2, 12, 12)
    wide = [part.double() for part in (base.arrays["rows"], base.arrays["targets"], test.arrays["values"])]
    assert torch.allclose(gram(inside.arrays["rows"]), gram(wide[0]), rtol=TOL["float64"], atol=TOL["float64"])
    fits = [fit_features(a, y, t, lam=0.3).predictions for a, y, t in
            (wide, (inside.arrays["rows"], inside.arrays["targets"], held_out.arrays["values"]))]  # fmt: skip
    assert torch.allclose(*fits, rtol=TOL["float64"], atol=TOL["float64"])
    cut = fit_features(wide[0][..., :12], wide[1], wide[2][..., :12], lam=0.3).predictions
    assert (cut - fits[0]).abs().max() > TOL["apart"]


def test_the_full_rank_is_the_whole_solution(rows, few):
    base, test, network = rows
    found = own.rank_truncation(few, *own.coordinates(base, test), network, (1, 5, 99)).numbers["rows"]
    assert [row["rank"] for row in found] == [1, 5, 12]
    fit = fit_features(base.arrays["rows"], base.arrays["targets"], test.arrays["values"], lam=0.3)
    whole = float((fit.predictions - network.arrays["logits.test"].double()).square().mean())
    assert found[-1]["mse"] == pytest.approx(whole, rel=TOL["float64"])
    assert abs(found[0]["mse"] - whole) > TOL["apart"]


def test_containments_sum_to_what_the_clusters_hold(rows):
    base = own.coordinates(*rows[:2])[0]
    config = Config(clusters=3, epsilon=0.2)
    found = own.local_structure(base, config).numbers
    kernel = gram(base.arrays["rows"])
    labels = own.spectral_clusters(kernel.mean(0), 3, seed=config.seeds["sampler"])
    direct = locality(kernel, labels, epsilon_local=0.2, epsilon_global=0.2, coverage_threshold=0.9)
    assert sum(found["cluster_sizes"]) == 12
    for c, part in enumerate(found["classes"]):
        held = np.array(part["containment"])
        assert held.shape == (3, part["rank"])
        # four digits are kept of each of three shares
        assert np.abs(held.sum(0) - direct.true_coverage[c, : part["rank"]].numpy()).max() <= 3 * 0.5e-4
        assert part["unweighted_gap"] == pytest.approx(1 - held.sum(0).mean(), abs=3 * 0.5e-4)
        assert part["weighted_gap"] <= 0.2 / (1 - 0.2)  # LG-3
        assert held.sum() > 0.1


@pytest.mark.parametrize("width", [30, 7])
def test_one_class_at_a_time_fits_as_all_at_once(rows, width):
    base, test, _ = rows
    features, held_out, targets = (
        base.arrays["rows"][..., :width],
        test.arrays["values"][..., :width],
        base.arrays["targets"],
    )
    found, spectra = own._fit_by_class(features, targets, held_out)
    expected = fit_features(features, targets, held_out)
    assert torch.allclose(found.predictions, expected.predictions, rtol=TOL["float64"], atol=TOL["float64"])
    for name in ("lam", "lam_relative", "effective_dimension"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=TOL["float64"])
    assert (found.n, found.on_edge) == (12, expected.on_edge)
    energy = features.double().square().sum((1, 2))
    assert torch.allclose(spectra.sum(1), energy, rtol=TOL["float64"])
    other = fit_features(features, targets, held_out, lam=found.lam * 10)
    assert (other.predictions - found.predictions).abs().max() > TOL["apart"]


def test_energy_is_held_or_lost_by_rank_or_by_position(rows):
    real = rows[1].arrays["values"]
    some = own._held(real, rows[0].arrays["rows"][:, :4])
    assert some["held"] + some["tail"] + some["misalignment"] == pytest.approx(1, rel=TOL["float64"])
    assert 0 < some["held"] < 1
    assert own._held(real, real)["held"] == pytest.approx(1, rel=TOL["float64"])
    assert some["misalignment"] > TOL["apart"]


def test_the_grid_counts_local_and_gap_gradients(rows, few):
    base, test, network = rows
    inside, held_out = own.coordinates(base, test)
    config = Config(clusters=2)
    found = own.threshold_grid(few, inside, held_out, network, config, lambda done, total: None).numbers["rows"]
    assert len(found) == len(own.TAU_V) * len(own.TAU_G)
    labels = own.spectral_clusters(gram(inside.arrays["rows"]).mean(0), 2, seed=config.seeds["sampler"])
    for row in found:
        assert row["m"] == pytest.approx(row["local"] + row["gap"])
        assert row["gap"] >= 0
        options = {
            "epsilon_local": 1 - row["tau_v"],
            "epsilon_global": 1 - row["tau_v"],
            "coverage_threshold": row["tau_g"],
        }
        direct = locality(gram(inside.arrays["rows"]), labels, **options)
        assert row["local"] == float(direct.local_ranks.sum(1).double().mean())
        assert row["gap"] <= float(direct.gap.sum(1).double().mean())
    assert any(row["gap"] > 0 for row in found)


def test_seconds_are_those_of_every_rival(made):
    record, _ = made
    assert {row["method"] for row in record["method_seconds"]} == {*own.RIVALS, "Algorithm 1"}
    assert all(row["seconds"] > 0 for row in record["method_seconds"])


def test_a_network_comes_back_and_its_blank_stays(data):
    blank = build("conv8", seed=0, outputs=3, channels=3)
    before = fingerprint(blank)
    weights = {
        f"weights.{name}": value for name, value in build("conv8", seed=1, outputs=3, channels=3).state_dict().items()
    }
    assert fingerprint(own.restored(blank, Stage(weights))) == fingerprint(
        build("conv8", seed=1, outputs=3, channels=3)
    )
    assert fingerprint(blank) == before


def test_a_network_on_distilled_images_sees_no_others(data, tmp_path):
    blank = build("conv8", seed=0, outputs=3, channels=3)
    options = {"epochs": 1, "seed": 0, "progress": lambda done, total: None}

    def weights(images, data, number):
        found = own.train_network(blank, images, data.y_train[:6], data, **options, checkpoint=tmp_path / str(number))
        return digest({name: value for name, value in found.arrays.items() if name.startswith("weights.")})

    other = replace(data, x_train=torch.zeros_like(data.x_train))
    first = weights(data.x_train[:6], data, 0)
    assert weights(data.x_train[:6], other, 1) == first
    assert weights(data.x_train[:6] + 1, data, 2) != first


# --- beside the paper ----------------------------------------------------------------------------------------------------


def test_the_papers_numbers_stand_beside_those_of_the_record(made):
    record, _ = made
    rows = {(row["where"], row["claim"]): row for row in record["beside_the_paper"]}
    papers = [row["paper"] for row in rows.values()]
    assert papers.count("12 to 15 %") == 2
    assert {"20 to 100 times", "10 %", "31 to 41", "76 %", "78 %"} <= set(papers)
    changed = json.loads(json.dumps(record))
    for row in changed["gradient_distillation"]:
        row |= {"accuracy": 0.125, "realised_m": float(row["m"])}
    after = {(row["where"], row["claim"]): row["here"] for row in comparison(changed)}
    different = {key for key in rows if rows[key]["here"] != after[key]}
    assert different == {("Figure 3", "Algorithm 1, accuracy at m = 5")}
    assert after["Figure 3", "Algorithm 1, accuracy at m = 5"] == "12.5%"


@pytest.mark.parametrize(
    ("realised", "text"),
    [
        ({2: 2.0, 5: 4.6}, "50.0%"),
        ({2: 2.0, 5: 0.0}, "none; 20.0% at 2"),
        ({2: 0.0, 5: 0.0}, "no setting so small"),
    ],
)
def test_a_budget_that_no_setting_meets_is_not_quoted(made, realised, text):
    changed = json.loads(json.dumps(made[0]))
    for row in changed["gradient_distillation"]:
        row |= {"accuracy": row["m"] / 10, "realised_m": realised[row["m"]]}
    assert text in [row["here"] for row in comparison(changed)]


def test_the_record_keeps_leading_containments_alone(made):
    leading = _locality({"classes": [{"rank": 80, "containment": [list(range(80))]}], "cluster_sizes": [1]})
    assert leading["classes"] == [{"rank": 80, "containment": [list(range(50))]}]
    assert leading["cluster_sizes"] == [1]
    assert made[0]["locality"]["classes"][0]["rank"] == len(made[0]["locality"]["classes"][0]["containment"][0])


def test_the_page_shows_every_figure_and_no_picture_of_the_data(made, tmp_path):
    record, _ = made
    write_page(record, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    headings = " ".join(re.findall("<h2>(.*?)</h2>", page))
    for name in (*(f"Figure {number}" for number in (1, 2, 4, 5, 7, 8, 9)), "Figures 3 and 6", "Table 1"):
        assert name in headings
    assert page.count('src="data:image/svg') == 8
    assert "image/png" not in page
    assert "<script" not in page
    assert all(row["here"] in page for row in record["beside_the_paper"])


KEPT = sorted((Path(__file__).parents[2] / "asv_benchmarks" / "results").glob("*/imagenette_*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_records_are_those_of_their_size_and_agree_with_themselves(path, made):
    record = json.loads(path.read_text())
    setting = im.SIZES[path.stem.removeprefix("imagenette_")]
    assert record.keys() == made[0].keys()
    # a record older than a setting was made with its default
    assert {"recipe": "adam"} | record["setting"] == json.loads(json.dumps(asdict(setting)))
    assert record["beside_the_paper"] == list(comparison(record))
    counts = [
        (row.stage, row.forward, row.backward)
        for row in im.passes(setting, record["data"]["n_train"], record["data"]["n_test"], 10)
    ]
    taken = [(row["name"], row["forward_passes"], row["backward_passes"]) for row in record["stages"]]
    assert [row for row in taken if row[1]] == counts


def test_tables_have_a_cell_for_every_heading(made):
    record, _ = made
    for table in (paper_table(record), predictor_table(record), rivals_table(record)):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.head)}
    assert len(predictor_table(record).rows) == 3 + 3 * len(SMALL.per_class)


# --- what is refused, and the command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": ()}, "per_class: expected ascending numbers of images"),
        ({"per_class": (5, 2)}, "per_class: expected ascending numbers of images"),
        ({"distilled_epochs": 0}, "distilled_epochs: expected an integer"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": (13,)}, "per_class: expected at most 12, the training images of the smallest class"),
        ({"k": 10**6}, "k: "),
        ({"epochs": 0}, "epochs: "),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_any_work(data, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        im.run(replace(SMALL, **changes), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sizes_are_those_that_the_experiment_states():
    assert {size: setting.per_class for size, setting in im.SIZES.items()} == {
        "tiny": (5, 10, 20), "cpu": (10, 20, 50), "full": (1, 5, 10, 50),
    }  # fmt: skip
    assert (im.SIZES["full"].k, im.SIZES["full"].pack, im.SIZES["cpu"].distil_steps) == (4096, "imagenette96", 200)
    assert all(5 in setting.gradients for setting in im.SIZES.values())


def test_classes_without_names_get_those_of_imagenette(data, monkeypatch):
    monkeypatch.setattr(im, "load", lambda path: replace(data, classes=tuple(map(str, range(10)))))
    assert im.open_data(SMALL).classes == im.CLASSES
    monkeypatch.setattr(im, "load", lambda path: data)
    assert im.open_data(SMALL).classes == data.classes


def command(*arguments):
    return CliRunner().invoke(app, ["experiment", "imagenette", *arguments])


@pytest.fixture
def at_hand(data, monkeypatch):
    monkeypatch.setattr(commands.paper, "open_data", lambda setting, path, device: data)
    monkeypatch.setattr(commands.paper, "SIZES", {"tiny": SMALL})


def test_the_command_says_what_it_will_cost_and_stops_if_asked(at_hand, tmp_path):
    result = command("--explain", "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    counted = {row.stage: row.backward for row in im.passes(SMALL, 36, 18, 3)}
    for stage, backward in counted.items():
        assert re.search(rf"^{re.escape(stage)} +[\d,]+ +{backward:,} ", result.output, re.MULTILINE)
    assert "minutes of passes" in result.output
    assert not (tmp_path / "run").exists()


def test_the_command_writes_record_and_page(at_hand, made, data, tmp_path):
    result = command("--out", str(tmp_path / "run"), "--json", str(tmp_path / "kept.json"))
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    assert json.loads((tmp_path / "kept.json").read_text()) == record
    assert without_costs(record) == without_costs(made[0])
    assert (tmp_path / "run" / "report.html").stat().st_size > 50_000
    assert "31 to 41" in result.output


@pytest.mark.parametrize(("named", "place"), [(False, "not set"), (True, "packs")])
def test_without_its_pack_the_command_says_where_it_looks(named, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DNTK_DATA", "packs" if named else "")
    result = command()
    assert re.fullmatch(
        rf"data: expected the image pack {im.SIZES['tiny'].pack}.npz in the folder .* DNTK_DATA names \({place}\), or .*",
        str(result.exception),
    )
    other = command("--data", "nothing")
    assert str(other.exception).startswith("data: expected one of digits")


def test_an_interruption_leaves_one_line(at_hand, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.paper, "run", interrupted)
    result = command("--out", str(tmp_path / "run"))
    assert result.exit_code == 130
    assert "Stopped." in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "huge"), "size: expected one of"),
        (("--device", "abacus"), "device: expected one of"),
        (("--json", "nowhere/x.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_the_command_refuses(data, monkeypatch, arguments, message):
    monkeypatch.setattr(im, "load", lambda path: data)
    result = command(*arguments)
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
