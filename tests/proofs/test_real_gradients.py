"""The ledger on real gradients: what the committed file holds, that a wrong one is seen, and how it is shown."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from dntk_ref.redundancy import spectrum, truncation_rank
from proofs_checks import check_real_gradients, check_real_maps
from proofs_checks.judge import QUICK, call
from proofs_checks.ledger import REAL, counts, examine, spread, summary, theory, to_json, to_markdown
from proofs_checks.margin import ALLOWED, Kind
from proofs_checks.page import to_html
from proofs_checks.real import CLUSTERS, EPSILON, FILE, real_classes, shown
from proofs_checks.registry import registry, select
from proofs_checks.statement import Verdict
from tests.tolerances import TOL

LABELS = {
    "real_def_3_1",
    "real_property_a",
    "real_property_b",
    "real_gap_12_15",
    "real_prop_3_6",
    "real_pca_dominance",
    "real_prop_b_6",
    "real_sec_4_2",
    "real_sec_4_2_jl",
    "real_rem_b_5",
    "real_theorem_r",
}
STATEMENTS = [statement for statement in registry() if statement.table == REAL]


@pytest.fixture(scope="module")
def found():
    return examine(select(registry(), "real_property_b")[0], QUICK)


def test_the_third_table_has_every_statement_that_speaks_of_data():
    assert {statement.label for statement in STATEMENTS} == LABELS
    assert {s.label for m in (check_real_gradients, check_real_maps) for s in m.STATEMENTS} == LABELS
    assert all(reading.measured() for s in STATEMENTS for reading in s.readings if s.label == "real_rem_b_5")


class TestFile:
    def test_it_is_small_and_the_one_that_its_page_describes(self):
        assert FILE.stat().st_size <= 5 * 2**20
        page = FILE.with_suffix(".md").read_text(encoding="utf-8")
        assert hashlib.sha256(FILE.read_bytes()).hexdigest() in page
        assert f"{FILE.stat().st_size:,} bytes" in page

    def test_names_shapes_and_types_are_those_of_the_page(self):
        page = FILE.with_suffix(".md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (`.+?) \| (.+?) \| (\w+) \|", page, flags=re.M)
        described = {}
        for names, shapes, kind in rows:
            names, shapes = re.findall(r"`(\w+)`", names), re.findall(r"\([^)]*\)", shapes)
            for i, name in enumerate(names):
                described[name] = (shapes[i if len(shapes) > 1 else 0], kind)
        with np.load(FILE, allow_pickle=False) as file:
            held = {
                n: (
                    "(" + ", ".join(map(str, file[n].shape)) + ("," if file[n].ndim == 1 else "") + ")",
                    str(file[n].dtype),
                )
                for n in file.files
            }
        assert held == described

    def test_twenty_images_of_each_class_and_a_network_that_knows_them(self):
        first = real_classes()[0]
        assert np.bincount(first.labels).tolist() == [20] * 10
        logits = np.stack([case.logits for case in real_classes()])
        assert (logits.argmax(axis=0) == first.labels).mean() > 0.95

    def test_the_factor_is_an_eigen_factor(self):
        for case in real_classes():
            gram = case.factor.T @ case.factor
            assert np.abs(gram - np.diag(case.values)).max() <= TOL["float64"] * case.values[0]
            assert (np.diff(case.values) <= 0).all()
            assert np.allclose(spectrum(case.kernel), case.values, rtol=0, atol=TOL["float64"] * case.values[0])
            assert np.allclose(case.vectors.T @ case.vectors, np.eye(200), rtol=0, atol=TOL["float64"])

    def test_the_clusters_are_shared_and_cover_the_images(self):
        parts = [case.partition for case in real_classes()]
        assert all((part == parts[0]).all() for part in parts)
        assert np.unique(parts[0]).size == CLUSTERS
        assert np.array_equal(np.sort(np.concatenate(real_classes()[0].clusters)), np.arange(200))


@pytest.mark.parametrize("label", ["real_def_3_1", "real_theorem_r", "real_prop_b_6"])
def test_features_of_another_network_break_a_check(label):
    """Columns in another order, on a smaller scale, with logits in another order: not what the recipe makes."""

    def spoiled(case):
        return replace(case, factor=0.01 * case.factor[:, ::-1], logits=case.logits[::-1])

    [statement] = [s for s in STATEMENTS if s.label == label]
    margins = [call(step.check, spoiled(real_classes()[0]), step.sides) for step in statement.readings[0].steps]
    assert any(not margin.holds for margin in margins)


def test_sampled_margins_state_their_false_alarm_rate():
    [statement] = select(registry(), "real_sec_4_2")[:2]
    step = next(step for step in statement.readings[0].steps if step.check is check_real_maps.averages)
    margins = [call(step.check, case, step.sides) for case in step.cases(QUICK)]
    assert len(margins) == 40
    assert {margin.kind for margin in margins} == {Kind.SAMPLE}
    assert all(margin.allowed == ALLOWED[Kind.SAMPLE] for margin in margins)
    assert "6e-7 for each of 40" in statement.readings[0].note


def test_maps_have_seeds_of_their_own():
    first, second = check_real_maps.maps("gaussian", 4, 2)
    assert (first != second).all()
    assert (check_real_maps.maps("gaussian", 4, 1)[0] == first).all()


def test_a_measurement_is_of_every_class():
    rank = shown("rank", "at least", lambda c: truncation_rank(c.kernel, EPSILON), lambda c: 1)
    assert len(rank.values) == len(rank.bounds) == 10
    assert shown("rank", "none", lambda c: 1).bounds == ()


def test_a_spread_is_a_mean_between_the_least_and_the_largest():
    assert spread([0.5]) == "0.5"
    assert spread([1.0, 2.0, 6.0]) == "3 [1, 6]"
    assert theory({"theory": "at most", "bounds": [1.0, 3.0]}) == "at most 2 [1, 3]"
    assert theory({"theory": "none", "bounds": []}) == "none"


def test_theory_and_measurement_stand_side_by_side_in_every_output(found):
    table = to_markdown(found, QUICK).split("## On real gradients")[1].split("## Evidence")[0]
    [line] = [line for line in table.splitlines() if "| weighted gap |" in line]
    assert "at most 0.05263 (LG-3)" in line
    assert '<a id="real_property_b"></a>' in line
    assert "measurements, not proofs" in table
    assert "<th>theory</th><th>measurement</th>" in to_html(found)
    [reading] = json.loads(to_json(found, QUICK))["readings"]
    assert [m["quantity"] for m in reading["measurements"]][:2] == ["weighted gap", "unweighted gap"]
    assert all(len(m["values"]) == 10 for m in reading["measurements"])


@pytest.mark.parametrize("statement", STATEMENTS, ids=[statement.label for statement in STATEMENTS])
def test_every_record_can_be_written_and_read_again(statement):
    made = examine(statement, QUICK)
    assert json.loads(to_json(made, QUICK))["readings"] == made


def test_what_is_seen_on_real_gradients_decides_no_verdict(found):
    number = counts(found)
    assert number["verdicts"] == {}
    assert (number["real_gradients"], number["real_gradients_hold"]) == (1, 1)
    assert "on real gradients 1 of 1 statements hold" in summary(found)
    assert "real gradients" not in summary(examine(select(registry(), "rem_b_4")[0], 3))
    assert "On real gradients" not in to_markdown(examine(select(registry(), "rem_b_4")[0], 3), 3)


def test_the_weighted_gap_is_within_its_bound_and_the_unweighted_beyond(found):
    gaps = {m["quantity"]: m["values"] for m in found[0]["measurements"]}
    assert max(gaps["weighted gap"]) <= EPSILON / (1 - EPSILON) < min(gaps["unweighted gap"])
    assert found[0]["found"] == Verdict.HOLDS
