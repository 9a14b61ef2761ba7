"""The numbers that README.md quotes are those of the committed ledger and of the committed measurements."""

import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from dntk_fast.bench import plan
from dntk_fast.experiment.certificates_table import steps_needed
from dntk_fast.workflow.config import Config

ROOT = Path(__file__).resolve().parents[2]


def quoted(text):
    """The row of numbers below the table's head with the verdicts."""
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("| holds |"))
    return [int(cell) for cell in re.findall(r"\d+", lines[place + 2])]


def test_readme_quotes_the_ledger():
    ledger = (ROOT / "proofs_checks" / "LEDGER.md").read_text().splitlines()[2]
    names = ("holds", "holds with an added hypothesis", "fails", "heuristic", "definition", "pending")
    found = [re.search(rf"(\d+) {name}[,;]", ledger) for name in names]
    counts = [int(number[1]) if number else 0 for number in found]  # a verdict that no reading has is not named
    assert quoted((ROOT / "README.md").read_text()) == counts
    kinds = re.search(r"proof: (\d+) algebra, (\d+) moments, (\d+) finite;", ledger)
    told = "all that hold, {} by algebraic certificates, {} by moments of random maps, {} about finitely many cases"
    assert told.format(*kinds.groups()) in " ".join((ROOT / "README.md").read_text().split())
    assert sum(map(int, kinds.groups())) == sum(counts[:2])
    assert json.loads((ROOT / "proofs_checks" / "ledger.json").read_text())
    assert quoted("| holds | x |\n| ---: | ---: |\n| 1 | 2 |") == [1, 2]


RESULTS = ROOT / "asv_benchmarks" / "results" / "xeon-2-cores"
METHODS = ("exact kernel", "features, k = 512", "features, k = 4096", "vmap(grad)")
FLOORS = (
    ("ResNet-18, 32 px, n = 16", "floor", "resnet18"),
    ("the same with a stem for small images", "floor", "resnet18_small"),
    ("ResNet-18, 96 px, n = 64", "floor_96px", "resnet18_96"),
    ("small conv net, 28 px, n = 256", "floor", "conv28"),
    ("vision transformer, 32 px, n = 16", "floor", "vit_tiny"),
)


def kept(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def short(ratio):
    """Three digits at most, two places at most."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.3g}"


def floor_rows():
    """The table of README, from the files."""
    for label, file, network in FLOORS:
        (found,) = [one for one in kept(file)["networks"] if one["name"] == network]
        stated = {row["method"]: short(row["ratio"]) for row in found["rows"] if row["stated"]}
        yield f"| {label} | " + " | ".join(stated.get(method, "-") for method in METHODS) + " |"


PREDICTORS = {
    "full kernel, exact": "full tangent kernel, exact",
    "WMDD + JL": "distilled kernel",
    "last layer": "last layer alone (Theorem R)",
}


def predictor_rows(record):
    """The table of `dntk run`, from the benchmark that goes the same ways with the same settings."""
    data, images = record["data"], record["settings"]["per_class"] * record["data"]["outputs"]
    for way in record["ways"]:
        if way["way"] in PREDICTORS:
            rows = images if way["way"] == "WMDD + JL" else data["n_train"]
            yield f"| {PREDICTORS[way['way']]} | {rows:,} | {way['accuracy']:.3f} | {way['fidelity']:.3f} |"


def claims(record, network="resnet18", side=96):
    (found,) = [one for one in record["scales"] if (one["network"], one["side"]) == (network, side)]
    return {row["accounting"]: row["ratio"] for row in found["claims"]}


def sentences():
    """What README says in words, from the files."""
    auto = [row["ratio"] for row in kept("sketch")["rows"] if row["map"] == "auto"]
    yield f"err {min(auto):.2f}-{max(auto):.2f} times as much as a dense Gaussian map's"
    yield f"{100 * plan.summary(kept('plan'))['right']:.0f} % of the plan's choices are within 1.3x of the better rule"
    found = claims(kept("headline"))
    yield f"{found['images with a Jacobian, all over 500 distilled']:.0f} times fewer Jacobians"
    yield f"{found['numbers stored, all gradients over 500 projected']:,.0f} times fewer stored numbers"
    yield f"{found['backward passes, nC over 500 images of 200 updates']:.1f} times fewer backward passes"
    yield f"{found['seconds, JL only over DNTK, all included']:.1f} times fewer seconds than projection alone"
    yield f"{1 / found['seconds, last layer over DNTK, all included']:.0f} times those of the last layer"
    first, *others = Counter(
        one["network"] for one in kept("certificates")["starts"] if one["ridge"] == "1e-2"
    ).values()
    assert set(others) == {1}
    yield f"no bound was below the truth ({first} sketches of one network, one each of {len(others)} others)"
    for ridge in ("1e-2", "1e-3"):
        refined = [
            one for one in kept("certificates")["refinements"] if (one["ridge"], one["rows"]) == (ridge, "random")
        ]
        steps = [steps_needed(one["error"]) for one in refined if one["precision"] == "float32"]
        yield f"{min(steps)}-{max(steps)} at lam = {ridge}"


def scores():
    """The errors of distilled sets over those of random images solved per class, from the scoreboard's file."""
    record = json.loads((RESULTS.parent / "epyc-2-cores" / "distillation_digits_500.json").read_text())
    errors = {(row["method"], row["per_class"]): row["error"] for row in record["rows"]}

    def ratio(method, each):
        return f"{errors[method, each] / errors['random, per class', each]:.2f}"

    assert (record["setting"]["images"], record["setting"]["seeds"]) == (500, 3)
    yield f"images solved jointly err {ratio('random, joint', 5)} (ten: {ratio('random, joint', 10)})"
    yield f"a pool chosen by forward passes {ratio('pool, joint', 5)} ({ratio('pool, joint', 10)})"
    yield f"one random mixture of logits of each of all 500 images {ratio('one cotangent, joint', 5)}"


def test_readme_quotes_the_scoreboard():
    text = " ".join((ROOT / "README.md").read_text().split())
    assert [sentence for sentence in scores() if sentence not in text] == []
    assert "err 0.01" not in text


def test_readme_quotes_what_was_measured():
    text = " ".join((ROOT / "README.md").read_text().split())
    assert [row for row in floor_rows() if row not in text] == []
    assert [sentence for sentence in sentences() if sentence not in text] == []


def test_readme_quotes_a_run_at_the_settings_of_the_benchmark():
    record, settings = kept("headline"), asdict(Config())
    same = {"per_class": "per_class", "k": "k", "epochs": "epochs", "updates": "distil_steps"}
    assert {name: record["settings"][name] for name in same} == {name: settings[one] for name, one in same.items()}
    rows, lines = list(predictor_rows(record)), (ROOT / "README.md").read_text().splitlines()
    assert len(rows) == len(PREDICTORS)
    assert [row for row in rows if row not in lines] == []
    record["ways"][0]["fidelity"] -= 0.001
    assert next(predictor_rows(record)) not in lines


def test_another_number_is_seen(monkeypatch):
    monkeypatch.setattr(f"{__name__}.short", lambda ratio: f"{ratio + 0.01:.2f}")
    text = " ".join((ROOT / "README.md").read_text().split())
    assert [row for row in floor_rows() if row in text] == []
