"""Whether the plan's choices are judged rightly: made-up durations, and the timed work against the whole kernels."""

import json
import sys

import pytest
import torch

from dntk_fast.bench import plan
from dntk_fast.bench.subjects import random_subject
from dntk_fast.cli import main
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel
from tests.tolerances import TOL


class Made:
    """A clock that only the work moves: each rule takes `base` seconds and `row` more for each row (or its square)."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def work(self, rule, row, power=1, noise=()):
        late = iter(noise)

        def run(rows):
            self.log.append((rule, rows))
            self.now += row * rows**power + next(late, 0.0)

        return run

    def choice(self, rows, chosen, factors, explicit):
        return plan.Choice("layer", rows, {"factors": factors, "explicit": explicit}, chosen)

    def compare(self, *arguments):
        return plan.compare(self.choice(*arguments), lambda: self.now)


def test_the_factor_is_the_chosen_rule_s_time_over_the_better_one_s():
    made = Made()
    rules = [(1.0, made.work("factors", 2.0))], [(1.0, made.work("explicit", 3.0))]
    assert made.compare(100, "factors", *rules)["factor"] == 1
    found = made.compare(100, "explicit", *rules)
    assert found["factor"] == 1.5
    assert found["seconds"] == {"factors": 200, "explicit": 300}
    assert found["at_least"] is None


def test_pieces_count_as_often_as_they_occur():
    made = Made()
    several = [(5.0, made.work("diagonal", 1.0)), (10.0, made.work("beside", 2.0))]
    found = made.compare(8, "factors", several, [(1.0, made.work("explicit", 20.0))])
    assert found["seconds"] == {"factors": 200, "explicit": 160}
    assert found["factor"] == 1.25


def test_a_hopeless_rule_is_run_on_its_first_rows_alone():
    made = Made()
    found = made.compare(256, "factors", [(1.0, made.work("factors", 1.0))], [(1.0, made.work("explicit", 3.0))])
    assert (found["at_least"], found["factor"]) == ("explicit", 1)
    assert max(rows for rule, rows in made.log if rule == "explicit") == plan.LOOK
    assert found["seconds"] == {"factors": 256, "explicit": 3 * 256}
    made.log.clear()  # one that grows faster than the rows only looks cheap at first: it is run
    found = made.compare(256, "explicit", [(1.0, made.work("factors", 1.0))], [(1.0, made.work("explicit", 0.1, 2))])
    assert found["factor"] == pytest.approx(25.6)
    assert ("explicit", 256) in made.log


def test_the_shortest_of_several_runs_counts():
    late = (0, 0, 70, 0, 70)  # two looks, and every other run after them is disturbed
    made = Made()
    steady = [(1.0, made.work("explicit", 1.0))]
    found = made.compare(100, "factors", [(1.0, made.work("factors", 1.0, noise=late))], steady)
    assert found["factor"] == 1
    disturbed = [(1.0, made.work("factors", 1.0, noise=(0, 0, *[70] * 1000)))]  # the broken twin: all of them
    assert made.compare(100, "factors", disturbed, steady)["factor"] == 1.7


def test_the_summary_counts_what_is_within_the_limits():
    rows = [{"factor": plan.RIGHT}, {"factor": plan.RIGHT + 0.01}, {"factor": 1.0}, {"factor": 2.5}]
    assert plan.summary({"rows": rows}) == {"choices": 4, "right": 0.5, "worst": 2.5}
    assert plan.summary({"rows": []}) == {"choices": 0, "right": 0, "worst": 1}


# --- what is timed ----------------------------------------------------------------------------------------------------


def test_both_rules_of_all_layers_add_up_to_the_kernel_and_to_the_features():
    """Every timed piece of work computes a layer's share, by either rule; conv28 has no other parameters."""
    model, images = random_subject("conv28", 5)
    (_, kernel), (_, features) = plan.choices("conv28", 5, (512,))
    exact = tangent_kernel(model, images)
    for rule in ("factors", "explicit"):
        total = sum(work(5) for choice in kernel for _, work in choice.rules[rule]).triu()
        assert torch.allclose(total, exact.triu(), rtol=TOL["float32"], atol=0)
        assert not torch.allclose(
            total - kernel[0].rules[rule][0][1](5).triu(), exact.triu(), rtol=TOL["float32"], atol=0
        )
    kinds = {"factors": "tensorsketch", "explicit": "contiguous"}
    for rule, kind in kinds.items():
        total = sum(choice.rules[rule][0][1](5).result() for choice in features)
        whole = tangent_features(model, images, k=512, seed=0, projection=kind).body
        assert torch.allclose(total, whole, rtol=0, atol=TOL["float32"] * float(whole.abs().max()))


def test_blocks_are_those_of_the_plan(monkeypatch):
    model, images = random_subject("conv28", 9)
    budgets = range(700_000, 10**7, 10**5)
    memory, rows = next((m, r) for m in budgets if 1 < (r := kernel_plan(model, images, memory=m).rows) < 9)
    monkeypatch.setattr(plan, "MEMORY", memory)
    blocks = [slice(at, at + rows) for at in range(0, 9, rows)]
    beside = [(i, j) for i in blocks for j in blocks if i.start < j.start]
    for choice in plan._kernel(model, images):
        assert choice.rows == rows
        for pieces in choice.rules.values():
            assert [times for times, _ in pieces] == [len(blocks), len(beside)]


# --- the command ------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "plan", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_prints_a_table_and_writes_what_it_found(monkeypatch, capsys, tmp_path):
    path = tmp_path / "plan.json"
    assert command(monkeypatch, "--quick", "--threads", 1, "--json", path) == 0
    assert f"within {plan.RIGHT} of the better" in " ".join(capsys.readouterr().out.split())
    record = json.loads(path.read_text())
    assert (record["threads"], record["quick"], record["complete"]) == (1, True, True)
    assert [(row["task"], row["layer"]) for row in record["rows"]] == [
        *(("kernel", f"{layer}.weight") for layer in (0, 3, 6, 10, 12)),
        *(("features, k = 512", f"{layer}.weight") for layer in (0, 3, 6, 10)),
    ]
    for row in record["rows"]:
        assert row["factor"] == row["seconds"][row["chosen"]] / min(row["seconds"].values()) >= 1


def test_an_interruption_writes_no_file(monkeypatch, capsys, tmp_path):
    def interrupted(choice):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "compare", interrupted)
    assert command(monkeypatch, "--quick", "--json", tmp_path / "plan.json") == 130
    assert "Stopped" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nothing"), "only: expected one of conv28, resnet18"),
        (("--threads", 0), "threads: expected an integer"),
        (("--json", "nowhere/plan.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_a_wrong_request_is_refused_before_the_work(monkeypatch, capsys, options, message):
    monkeypatch.setattr(plan, "compare", None)
    assert command(monkeypatch, *options) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")
