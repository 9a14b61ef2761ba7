"""The protocol on made-up durations, what is timed against other routes, and one tiny run; no time is asserted."""

import json
import sys

import numpy as np
import pytest
import scipy.stats
import torch

from dntk_fast.bench import floor
from dntk_fast.bench.race import ROUNDS, Task, pinned, race, ratio, results
from dntk_fast.cli import main
from tests.tolerances import TOL

METHODS = ["bare limit", "exact kernel", "features, k = 512", "vmap(grad)"]


def lognormal(rng, spread, rounds=ROUNDS):
    return np.exp(spread * rng.standard_normal(rounds))


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_a_ratio_is_taken_within_its_round():
    """A machine whose speed changes from round to round slows both sides; a quotient of medians would not see that."""
    rng = np.random.default_rng(0)
    unit = lognormal(rng, 2.0)
    found = ratio(3 * unit, unit)
    assert (found["ratio"], found["low"], found["high"]) == pytest.approx((3, 3, 3), rel=TOL["hand"])
    assert found["stated"]
    apart = ratio(3 * rng.permutation(unit), unit)  # the broken twin: the two sides of other rounds
    assert apart["high"] > 2 * apart["low"]
    assert not apart["stated"]


def test_the_interval_is_the_bootstrap_s():
    """For odd n the law is known: the bootstrap median is at most the j-th value with P(Bin(n, j/n) > n/2)."""
    values = np.sort(lognormal(np.random.default_rng(1), 0.3))
    n = len(values)
    below = scipy.stats.binom.sf(n // 2, n, np.arange(1, n + 1) / n)
    found = ratio(values, np.ones(n))
    assert found["ratio"] == values[n // 2]
    assert found["low"] == values[np.argmax(below >= 0.025)]
    assert found["high"] == values[np.argmax(below >= 0.975)]


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    rng = np.random.default_rng(2)
    intervals = [ratio(lognormal(rng, 0.2), np.ones(ROUNDS)) for _ in range(200)]
    covered = sum(found["low"] <= 1 <= found["high"] for found in intervals)
    assert scipy.stats.binomtest(covered, 200, 0.95).pvalue > TOL["p-value"]
    halved = sum(abs(found["ratio"] - 1) <= (found["high"] - found["low"]) / 4 for found in intervals)
    assert scipy.stats.binomtest(halved, 200, 0.95).pvalue < TOL["p-value"]  # half as wide an interval does not


@pytest.mark.parametrize(
    ("rounds", "half_width", "stated"), [(21, 0.09, True), (21, 0.11, False), (20, 0.0, False), (1, 0.0, False)]
)
def test_what_is_too_wide_or_too_few_is_not_stated(rounds, half_width, stated):
    """Two values, seven rounds of each above and below the median: the interval's ends are the two."""
    third = rounds // 3
    values = np.repeat([1 - half_width, 1, 1 + half_width], [third, rounds - 2 * third, third])
    found = ratio(values, np.ones(rounds))
    assert (found["low"], found["high"]) == ((1 - half_width, 1 + half_width) if rounds == 21 else (1, 1))
    assert found["stated"] is stated


def made_up(log):
    """A clock that only tasks move, and three tasks: the unit, one twice as long, and a third of one six times as long."""
    now = [0.0]

    def work(name, seconds):
        def run(seed):
            now[0] += seconds
            log.append((name, seed))
            return seed

        return run

    def error(seed):
        now[0] += 100  # judging is not timed
        return {1: 3.0, 2: 4.0}.get(seed, 0.0)

    tasks = [
        Task("unit", work("unit", 1.0)),
        Task("double", work("double", 2.0), error, 0.5),
        Task("part", work("part", 2.0), repeats=3),
    ]
    return tasks, lambda: now[0]


def test_every_round_times_every_task_once_in_an_order_of_its_own():
    log = []
    tasks, clock = made_up(log)
    laps = [race(tasks, number, clock) for number in range(1, 30)]
    orders = [tuple(name for name, _ in log[at : at + 3]) for at in range(0, len(log), 3)]
    assert all(sorted(order) == ["double", "part", "unit"] for order in orders)
    assert len(set(orders)) == 6
    assert [seed for _, seed in log[::3]] == list(range(1, 30))
    np.testing.assert_array_equal(np.array(laps)[:, :, 0], np.tile([1, 2, 6], (29, 1)))
    again = []
    race(made_up(again)[0], 7)
    assert again == log[18:21]  # the same seed, the same order


def test_rows_hold_ratios_to_the_first_task_and_root_mean_squares_of_errors():
    tasks, clock = made_up([])
    double, part = results(tasks, [race(tasks, number, clock) for number in (1, 2)])
    assert double == {
        "method": "double", "ratio": 2, "low": 2, "high": 2, "rounds": 2, "stated": False,
        "error": pytest.approx(12.5**0.5, rel=TOL["hand"]), "expected_error": 0.5, "repeats": 1,
    }  # fmt: skip
    assert (part["ratio"], part["error"], part["repeats"]) == (6, None, 3)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match=f"^{before + 1}$"), pinned(before + 1):
        raise ValueError(torch.get_num_threads())
    assert torch.get_num_threads() == before


# --- what is timed ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subject():
    return floor._subject("conv28", floor.replace(floor.CASES["conv28"], n=3))


def test_the_floor_asks_for_all_weights_and_the_bare_limit_for_none(subject, monkeypatch):
    """Ten backward passes each: to the ten tensors of weights, and to the outputs of the five layers."""
    asked, autograd = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda out, to, **more: asked.append(to) or autograd(out, to, **more))
    weights = list(subject[0].parameters())
    floor._passes(*subject, lambda: weights, 0)
    assert len(asked) == 10
    assert all(to is weights for to in asked)
    asked.clear()
    floor._bare_limit(*subject)(0)
    assert [len(to) for to in asked] == [5] * 10
    assert [tuple(out.shape) for out in asked[0]] == [
        (3, 16, 28, 28),
        (3, 32, 14, 14),
        (3, 64, 7, 7),
        (3, 128),
        (3, 10),
    ]
    assert not any(isinstance(out, torch.nn.Parameter) for to in asked for out in to)
    assert all(p.requires_grad and p.grad is None for p in weights)


def test_errors_are_those_of_the_kernels(subject):
    """Each task's own error is small for its own result and large for the broken twin: a result that is twice as large."""
    case = floor.replace(floor.CASES["conv28"], n=3, sizes=(512,))
    _, _, kernel, features, plain = floor._tasks(*subject, case)
    assert kernel.error(kernel.work(0)) < TOL["float32"] < kernel.error(2 * kernel.work(0))
    gradients = plain.work(0)
    assert plain.error(gradients) < TOL["float32"] < plain.error({name: 2 * g for name, g in gradients.items()})
    assert plain.repeats == 1
    errors = [features.error(features.work(seed)) for seed in range(20)]
    found = pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=TOL["sketch error over seeds"])
    assert features.expected == found
    assert features.expected / 2 != found  # a map of four times the size
    assert features.expected * 2 != found


def test_the_expected_error_is_a_gaussian_map_s():
    """E |Phi A A^T Phi^T - K|^2 = ((tr K)^2 + |K|^2) / k per class, against draws; K = I in two dimensions by hand: 3/k."""
    assert floor._gaussian_error(torch.eye(2).double()[None], 3) == pytest.approx(1.0, rel=TOL["hand"])
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((2, 4, 6)) * np.array([1, 3])[:, None, None]
    K = rows @ rows.transpose(0, 2, 1)
    drawn = rows[:, None] @ rng.standard_normal((4000, 6, 10)) / 10**0.5
    squares = np.sum((drawn @ np.swapaxes(drawn, 2, 3) - K[:, None]) ** 2, axis=(0, 2, 3))
    simulated = (squares.mean() / np.sum(K**2)) ** 0.5
    assert floor._gaussian_error(torch.as_tensor(K), 10) == pytest.approx(simulated, rel=TOL["simulated error"])


# --- the command ------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "floor", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_prints_a_table_and_writes_what_it_found(monkeypatch, capsys, tmp_path):
    before = torch.get_num_threads()
    path = tmp_path / "floor.json"
    options = ("--quick", "--only", "conv28", "--only", "conv28", "--rounds", 2, "--threads", 1, "--json", path)
    assert command(monkeypatch, *options) == 0
    printed = capsys.readouterr().out
    assert all(method in printed for method in METHODS)
    assert printed.count("not stated") == len(METHODS)
    record = json.loads(path.read_text())
    assert set(record) == {"date", "device", "versions", "threads", "rounds", "quick", "complete", "networks"}
    assert (record["threads"], record["rounds"], record["quick"], record["complete"]) == (1, 2, True, True)
    assert set(record["device"]) == {"cpu", "cores"}
    (network,) = record["networks"]
    assert {key: network[key] for key in ("name", "n", "shape", "parameters", "outputs")} == {
        "name": "conv28", "n": 2, "shape": [1, 28, 28], "parameters": 98442, "outputs": 10
    }  # fmt: skip
    assert [row["method"] for row in network["rows"]] == METHODS
    for row in network["rows"]:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert (row["rounds"], row["stated"]) == (2, False)
        assert (row["error"] is None) == (row["method"] == "bare limit")
    assert str(tmp_path) not in path.read_text()
    assert torch.get_num_threads() == before
    assert [file.name for file in tmp_path.iterdir()] == ["floor.json"]


def test_an_interruption_keeps_whole_rounds_and_writes_no_file(monkeypatch, capsys, tmp_path):
    calls = []

    def interrupted(tasks, number, clock):
        calls.append(number)
        if len(calls) == 4:  # the warm-up and two whole rounds have gone before
            raise KeyboardInterrupt
        return np.column_stack([np.arange(1.0, len(tasks) + 1), np.full(len(tasks), 0.5)])

    monkeypatch.setattr(floor, "race", interrupted)
    assert command(monkeypatch, "--quick", "--only", "conv28", "--json", tmp_path / "floor.json") == 130
    printed = capsys.readouterr().out
    assert "Stopped" in printed
    assert all(method in printed for method in METHODS)
    assert not list(tmp_path.iterdir())
    for before, rounds in (([0], [[1] * 4]), ([0, 0], [])):  # in the second round, and in the first
        calls[:] = before
        record = floor.measure(only=["conv28"], quick=True)
        assert not record["complete"]
        assert [[row["rounds"] for row in network["rows"]] for network in record["networks"]] == rounds


def test_a_stated_figure_is_told_from_one_that_is_not():
    row = {"method": "m", "ratio": 1.25, "low": 1.2, "high": 1.3, "stated": True, "error": 1e-7, "expected_error": None}
    network = {"name": "net", "n": 2, "outputs": 10, "parameters": 1000, "floor_seconds": 0.5}
    rows = [row | {"repeats": 1}, row | {"repeats": 10, "stated": False}]
    (cells,) = floor.tables({"networks": [network | {"rows": rows}]})
    assert cells.title == "net: 2 images, 10 logits, 1,000 parameters; floor 0.5 s"
    assert cells.rows[0] == ("m", "1.25", "1.2 - 1.3", "", "1e-07", "")
    assert cells.rows[1] == ("m, 1 of 10 logits", "1.25", "1.2 - 1.3", "not stated", "1e-07", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nothing"), "only: expected one of resnet18, conv28"),
        (("--rounds", 0), "rounds: expected an integer"),
        (("--threads", 0), "threads: expected an integer"),
        (("--json", "nowhere/floor.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_a_wrong_request_is_refused_before_the_work(monkeypatch, capsys, options, message):
    monkeypatch.setattr(floor, "_add", None)
    assert command(monkeypatch, *options) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")
