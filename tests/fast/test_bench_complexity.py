"""The fit on costs with known exponents, the count against hand counts, and the command; no time is asserted."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dntk_fast.bench import complexity
from dntk_fast.bench.counting import Cost, count
from dntk_fast.bench.slope import Slope, slope
from dntk_fast.cli import main
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel
from tests.tolerances import TOL

# --- the fit ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10**6), min_size=4, max_size=8, unique=True), st.floats(-3, 3), st.floats(1e-6, 1e6))
def test_a_power_law_gives_its_exponent_and_no_error(sizes, p, factor):
    found = slope(sizes, [factor * size**p for size in sizes])
    assert found.exponent == pytest.approx(p, abs=TOL["float64"])
    assert found.standard_error < TOL["float64"]
    assert found.agrees(p)
    assert not found.agrees(p + TOL["apart"])


def test_slope_and_error_by_hand():
    """Logarithms (0, 0), (1, 1), (2, 2), (3, 4): slope 1.3, residuals .2, -.1, -.4, .3, so s.e. = sqrt(.3 / 2 / 5)."""
    found = slope(np.exp([0, 1, 2, 3]), np.exp([0, 1, 2, 4]))
    assert (found.exponent, found.standard_error, found.sizes) == pytest.approx((1.3, 0.03**0.5, 4), rel=TOL["hand"])


def test_slope_and_error_by_another_route():
    rng = np.random.default_rng(0)
    sizes, costs = np.exp(rng.uniform(0, 9, (2, 9)))
    other = scipy.stats.linregress(np.log(sizes), np.log(costs))
    found = slope(sizes, costs)
    assert found.exponent == pytest.approx(other.slope, rel=TOL["float64"])
    assert found.standard_error == pytest.approx(other.stderr, rel=TOL["float64"])


def test_the_true_exponent_agrees_as_often_as_student_s_law_says_and_a_wrong_one_does_not():
    """With normal noise (found - true) / s.e. has Student's law with L - 2 degrees: P(|t_6| <= 2) = 0.908."""
    rng, sizes = np.random.default_rng(1), 2.0 ** np.arange(8)
    found = [slope(sizes, sizes**2 * np.exp(0.2 * rng.standard_normal(8))) for _ in range(300)]
    law = scipy.stats.t(6)
    for claimed, as_expected in ((2, True), (2.5, False)):
        hits = sum(fit.agrees(claimed) for fit in found)
        assert (scipy.stats.binomtest(hits, 300, law.cdf(2) - law.cdf(-2)).pvalue > TOL["p-value"]) == as_expected
    assert sum(fit.agrees(3) for fit in found) == 0


@pytest.mark.parametrize(
    ("fit", "claimed", "verdict"),
    [
        (Slope(2.0, 0.2, 5), 2.3, "within 2 s.e."),
        (Slope(2.0, 0.2, 5), 2.5, "lower"),
        (Slope(2.0, 0.2, 5), 1.5, "higher"),
        (Slope(2.0, 0.01, 5), 2.09, "within 0.1"),
        (Slope(2.0, 0.3, 5), 2.0, "undecided"),
    ],
)
def test_verdicts(fit, claimed, verdict):
    assert fit.verdict(claimed) == verdict


@pytest.mark.parametrize(
    ("sizes", "costs", "message"),
    [
        ([1, 2, 4], [1, 2, 4], "sizes: expected at least 4 for a slope, got 3"),
        ([1, 2, 4, 4, 4], [1, 2, 4, 4, 4], "sizes: expected at least 4 for a slope, got 3"),
        ([1, 2, 4, 8], [1, 2, 4], "costs: expected 4 of them, got 3"),
        ([1, 2, 4, 8], [1, 2, 4, 0], "costs: expected finite numbers above 0"),
        ([-1, 2, 4, 8], [1, 2, 4, 8], "sizes: expected finite numbers above 0"),
    ],
)
def test_no_slope_from_too_little(sizes, costs, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        slope(sizes, costs)


# --- the count --------------------------------------------------------------------------------------------------------

A, B, SQUARE = torch.ones(3, 4), torch.ones(4, 5), torch.eye(6, dtype=torch.float64).expand(2, 6, 6).contiguous()


@pytest.mark.parametrize(
    ("work", "flops", "moved"),
    [
        (lambda: A @ B, 2 * 3 * 4 * 5, 4 * (12 + 20 + 15)),
        (lambda: torch.zeros(3, 5).addmm_(A, B), 2 * 3 * 4 * 5, 4 * (15 + 15 + 12 + 20 + 15)),
        (lambda: torch.linalg.eigh(SQUARE), 9 * 2 * 6**3, 8 * 2 * (36 + 36 + 6)),
        (lambda: torch.fft.rfft(torch.ones(3, 8)), 3 * 5 * 8 * 3 // 2, 4 * (24 + 24) + 8 * 15),
        (lambda: A + A, 0, 4 * 3 * 12),
        (lambda: A.T[1:].reshape(9).view(3, 3), 0, 4 * 2 * 9),  # the reshape of a transpose copies; the rest are views
        (lambda: A.clone().add_(1.0), 0, 4 * 4 * 12),
        (lambda: A.gather(1, torch.tensor([[0], [1], [2]])), 0, 8 * 3 + 4 * 2 * 3),
    ],
    ids=["product", "added product", "eigenvectors", "transform", "sum", "views", "in place", "picked"],
)
def test_flops_and_bytes_by_hand(work, flops, moved):
    """Bytes read and written, the constants that the work itself makes among them."""
    assert count(work) == Cost(flops, moved, 0, 0)


def test_passes_of_features_and_kernels_are_one_forward_and_one_backward_for_each_logit():
    """C n cotangents for n images, whether outputs go back one by one or together; the plan is counted by itself."""
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    given = {"k": 5, "seed": 0}
    for work, plan in (
        (lambda: tangent_features(model, x, **given), lambda: feature_plan(model, x, **given)),
        (lambda: tangent_kernel(model, x), lambda: kernel_plan(model, x)),
    ):
        whole, part = count(work, model), count(plan, model)
        assert (whole - part).forward == 7
        assert (whole - part).backward == 21
        assert part.forward > 0  # without the plan's share the twin is wrong
        assert whole == count(work, model)  # a count is no measurement
    assert count(lambda: model(x)).forward == 0  # no model named, no pass counted
    assert not model._forward_hooks


def test_a_plain_backward_pass_of_one_output_is_one():
    weight = torch.ones(3, requires_grad=True)
    assert count(lambda: torch.autograd.grad((weight * weight).sum(), weight)).backward == 1


# --- the rows ---------------------------------------------------------------------------------------------------------


def rows_named(monkeypatch, *names):
    monkeypatch.setattr(complexity, "ROWS", tuple(row for row in complexity.ROWS if row.name in names))


def test_every_claim_of_e_2_and_table_1_has_a_row_and_the_features_have_all_their_axes():
    claims = {(row.source, row.name): {axis: power for axis, (power, _) in row.axes.items()} for row in complexity.ROWS}
    assert {name for source, name in claims if source == "Table 1"} == {
        "random rows", "leverage rows", "farthest-point rows", "k-means rows", "Algorithm 1, stages 2 to 6",
    }  # fmt: skip
    assert claims["E.2", "class kernel from features"] == {"n": 2, "k": 1}
    assert claims["E.2", "local eigendecompositions"] == {"n": 3, "H": -2}
    assert claims["E.2", "synthesis U^T Phi"] == {"m": 1, "n": 1, "k": 1}
    assert claims["E.2", "spectral clustering"] == claims["E.2", "global eigendecomposition"] == {"n": 3}
    assert set(claims["4.2", "tangent features"]) == {"n", "C", "P", "k"}
    assert all(len(set(sizes)) >= 5 for row in complexity.ROWS for _, sizes in row.axes.values())


def test_counted_exponents_of_products_are_exact(monkeypatch):
    """2 n^2 k flops for a Gram matrix; farthest points move bytes in proportion to m, where Table 1 says m^2."""
    rows_named(monkeypatch, "class kernel from features", "farthest-point rows")
    record = complexity.measure(rounds=0, quick=True)
    found = {(row["name"], row["axis"]): row for row in record["rows"]}
    gram = found["class kernel from features", "n"]
    assert gram["sizes"] == [40, 60, 90, 135]
    assert gram["counted"]["flops"] == [2 * n**2 * 64 for n in gram["sizes"]]
    assert gram["slopes"]["flops"] == pytest.approx(
        {"exponent": 2, "standard_error": 0, "sizes": 4, "verdict": "within 2 s.e."}, abs=TOL["hand"]
    )
    assert gram["seconds"] == []
    assert "seconds" not in gram["slopes"]
    assert "verdict" not in gram["slopes"]["bytes"]
    farthest = found["farthest-point rows", "m"]["slopes"]
    assert set(farthest) == {"bytes"}
    assert farthest["bytes"]["verdict"] == "lower"
    assert farthest["bytes"]["exponent"] == pytest.approx(1, abs=TOL["slope"])
    assert found["farthest-point rows", "n"]["slopes"]["bytes"]["exponent"] == pytest.approx(1, abs=TOL["slope"])


def test_seconds_are_medians_of_rounds_with_one_fit_for_each_axis(monkeypatch):
    """A made-up race: size at place p takes 4^p seconds in most rounds, sizes double, so the exponent is 2 (twin: 1)."""
    rows_named(monkeypatch, "synthesis U^T Phi")
    calls = []

    def made_up(tasks, number):
        calls.append(number)
        wild = 100.0 if number == 2 else 1.0
        return np.array([[wild * 4.0 ** int(task.method), np.nan] for task in tasks])

    monkeypatch.setattr(complexity, "race", made_up)
    record = complexity.measure(rounds=3, quick=True)
    by_k = next(row for row in record["rows"] if row["axis"] == "k")
    assert calls == [0, 1, 2, 3] * 3
    assert by_k["seconds"] == [1, 4, 16, 64]
    assert by_k["slopes"]["seconds"]["exponent"] == pytest.approx(2, rel=TOL["hand"])
    assert by_k["slopes"]["seconds"]["verdict"] == "higher"


@pytest.mark.parametrize(
    ("fit", "claimed", "sign"),
    [
        (Slope(0.54, 0.23, 4), 1, "?"),  # 0.5 is as near as 1
        (Slope(1.0, 0.24, 4), 1, "="),
        (Slope(1.05, 0.24, 4), 1, "?"),
        (Slope(1.9, 0.06, 4), 2, "="),
        (Slope(1.0, 0.01, 4), 2, "<"),
        (Slope(2.0, 0.3, 4), 2, "?"),
    ],
)
def test_a_fit_that_allows_another_exponent_as_well_is_shown_as_open(fit, claimed, sign):
    slopes = {"seconds": {"exponent": fit.exponent, "standard_error": fit.standard_error} | {
        "verdict": fit.verdict(claimed)}}  # fmt: skip
    row = {"name": "work", "claim": "n", "axis": "n", "claimed": claimed, "slopes": slopes, "counted": {}}
    (cells,) = complexity.tables({"rows": [row | {"sizes": [1, 8], "note": ""}]})
    assert cells.rows[0][cells.head.index("seconds")].startswith(f"{sign} {fit.exponent:.2f}")
    assert "? undecided (s.e. too large, or an exponent 0.5 from the claim is within 2 s.e. as well)" in cells.title


KEPT = Path(__file__).resolve().parents[2] / "asv_benchmarks" / "results" / "xeon-2-cores" / "complexity.json"


def test_the_kept_exponents_are_of_these_rows_and_their_counts_are_what_the_code_counts():
    """Every row and axis; counted again where that takes no time."""
    kept = json.loads(KEPT.read_text())
    assert (kept["complete"], kept["quick"]) == (True, False)
    rows = {row.name: row for row in complexity.ROWS}
    assert [(row["name"], row["axis"]) for row in kept["rows"]] == [
        (row.name, axis) for row in complexity.ROWS for axis in row.axes
    ]
    for found in kept["rows"]:
        row, axis = rows[found["name"]], found["axis"]
        assert (found["claimed"], found["claim"], found["source"]) == (row.axes[axis][0], row.claim, row.source)
        if row.name in {"class kernel from features", "synthesis U^T Phi"}:
            again = complexity._along(row, axis, 0, False)
            assert {name: found[name] for name in ("sizes", "held", "counted")} == {
                name: again[name] for name in ("sizes", "held", "counted")
            }


# --- the command ------------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", "complexity", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_quick_run_prints_every_row_and_writes_what_it_found(monkeypatch, capsys, tmp_path):
    path = tmp_path / "complexity.json"
    threads = torch.get_num_threads()
    monkeypatch.setenv("COLUMNS", "200")
    assert command(monkeypatch, "--quick", "--rounds", 0, "--json", path) == 0
    printed = capsys.readouterr().out
    assert all(row.name in printed for row in complexity.ROWS)
    record = json.loads(path.read_text())
    assert (record["complete"], record["rounds"], record["quick"], record["threads"]) == (True, 0, True, 1)
    assert len(record["rows"]) == sum(len(row.axes) for row in complexity.ROWS)
    for row in record["rows"]:
        assert bool(row["counted"]) == ("timed, not counted" not in row["note"])
        assert all(set(row["counted"]) == set(Cost.__dataclass_fields__) for _ in row["counted"])
        assert all(len(costs) == len(row["sizes"]) == 4 for costs in row["counted"].values())
    assert str(tmp_path) not in path.read_text()
    assert torch.get_num_threads() == threads


def test_an_interruption_keeps_whole_axes_and_writes_no_file(monkeypatch, capsys, tmp_path):
    rows_named(monkeypatch, "synthesis U^T Phi")
    along, done = complexity._along, []

    def interrupted(*given):
        if done:
            raise KeyboardInterrupt
        done.append(given)
        return along(*given)

    monkeypatch.setattr(complexity, "_along", interrupted)
    assert command(monkeypatch, "--quick", "--rounds", 0, "--json", tmp_path / "complexity.json") == 130
    printed = capsys.readouterr().out
    assert printed.count("synthesis") == 1
    assert "Stopped" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rounds", -1), "rounds: expected an integer"),
        (("--threads", 0), "threads: expected an integer"),
        (("--json", "nowhere/complexity.json"), "json: expected a file in a folder that exists"),
    ],
)
def test_a_wrong_request_is_refused_before_the_work(monkeypatch, capsys, options, message):
    monkeypatch.setattr(complexity, "_along", None)
    assert command(monkeypatch, *options) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")
