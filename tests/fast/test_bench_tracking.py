"""Imported benchmarks carry numbers and nothing of a machine; the page shows them and asks nobody else for anything."""

import json
import re
import sys
from datetime import UTC, datetime

import pytest

from dntk_fast.bench import complexity
from dntk_fast.bench.history import comparisons, history, lines, moves, read_results, sizes_of
from dntk_fast.bench.importing import device_name, import_results, imported
from dntk_fast.bench.page import sheets, write_page
from dntk_fast.bench.slope import slope
from dntk_fast.cli import main
from tests.fast.example_record import record as example
from tests.tolerances import TOL

HOST, HOME = "margarets-laptop", "/ho" + "me/margaret/venv/bin/python"
COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25",
           "stats_q_75", "stats_number", "stats_repeat", "samples", "profile"]  # fmt: skip
SIZES = [["'n=100 dtype=float64'", "'n=200 dtype=float64'", "'n=400 dtype=float64'"]]
NOON = 1_795_262_400_000  # 2026-11-21, 12:00 UTC, in milliseconds


def asv_file(commit="a" * 40, date=NOON, *, fast=(1e-3, None, 4.04004e-3), speedup=(2.0, 0.5, float("nan"))):
    """What asv writes, with a host, paths and messages in every place that asv has for them."""

    def row(values, *, quartiles=None):
        stats = [] if quartiles is None else [None, None, *quartiles]
        return [values and list(values), SIZES, "hash", date + 86_400_000, 1.5, *stats]

    return {
        "commit_hash": commit,
        "env_name": f"existing-py{HOME.replace('/', '_')}",
        "date": date,
        "params": {"arch": "x86_64", "cpu": "Intel(R) Xeon(R) Processor", "machine": HOST, "num_cpu": "2", "os": "Linux",
                   "ram": "25276514304", "python": HOME},
        "python": HOME,
        "requirements": {},
        "env_vars": {"HOME": HOME},
        "result_columns": COLUMNS,
        "results": {
            "bench_kernel.Gram.time_fast": row(fast, quartiles=[[9e-4, None, 4e-3], [1.1e-3, None, 5e-3]]),
            "bench_kernel.Gram.track_speedup": row(speedup),
            "bench_kernel.Gram.track_error": row([0.0, 1e-7, 1e-7]),
            "bench_kernel.Gram.peakmem_nothing": row([100, 100, 200]),
            "bench_kernel.Gram.peakmem_fast": row([150, 90, 300]),
            "bench_kernel.Gram.time_broken": row(None),
            "bench_kernel.Gram.time_gone": None,
            "bench_environment.Environment.track_threads_of_torch": [[1], [], "hash", date],
        },
        "durations": {"<build>": 0.0},
        "version": 2,
    }  # fmt: skip


UNITS = {
    "bench_kernel.Gram.time_fast": {"unit": "seconds", "code": f"# {HOME}"},
    "bench_kernel.Gram.track_speedup": {"unit": "reference / fast"},
    "version": 2,
}


def written(folder, *files, units=UNITS):
    """A folder of asv's results."""
    (folder / HOST).mkdir(parents=True)
    (folder / "benchmarks.json").write_text(json.dumps(units))
    (folder / HOST / "machine.json").write_text(json.dumps({"machine": HOST}))
    for at, file in enumerate(files):
        (folder / HOST / f"{at}-existing-py.json").write_text(json.dumps(file))
    return folder


# --- import -----------------------------------------------------------------------------------------------------------


def test_an_import_keeps_numbers_and_drops_host_and_paths(tmp_path):
    (path,) = import_results(written(tmp_path / "asv", asv_file()), tmp_path / "kept")
    assert path == tmp_path / "kept" / "xeon-2-cores" / "aaaaaaaaaa.json"
    text = path.read_text()
    assert HOST not in text
    assert "margaret" not in text
    assert HOST in json.dumps(asv_file())  # the twin: the file that was read holds both
    assert json.loads(text) == {
        "commit": "a" * 40,
        "date": "2026-11-21T12:00:00+00:00",
        "measured": "2026-11-22",
        "device": {"name": "xeon-2-cores", "cpu": "Intel(R) Xeon(R) Processor", "cores": 2},
        "threads": 1,
        "benchmarks": {
            "bench_environment.Environment.track_threads_of_torch": {"unit": "", "values": {"": 1}},
            "bench_kernel.Gram.peakmem_fast": {
                "unit": "",
                "values": {"n=100 dtype=float64": 150, "n=200 dtype=float64": 90, "n=400 dtype=float64": 300},
            },
            "bench_kernel.Gram.peakmem_nothing": {
                "unit": "",
                "values": {"n=100 dtype=float64": 100, "n=200 dtype=float64": 100, "n=400 dtype=float64": 200},
            },
            "bench_kernel.Gram.time_broken": {"unit": "", "values": {}},
            "bench_kernel.Gram.time_fast": {
                "unit": "seconds",
                "values": {"n=100 dtype=float64": 0.001, "n=400 dtype=float64": 0.00404},
                "quartiles": {"n=100 dtype=float64": [0.0009, 0.0011], "n=400 dtype=float64": [0.004, 0.005]},
            },
            "bench_kernel.Gram.track_error": {
                "unit": "",
                "values": {"n=100 dtype=float64": 0.0, "n=200 dtype=float64": 1e-7, "n=400 dtype=float64": 1e-7},
            },
            "bench_kernel.Gram.track_speedup": {
                "unit": "reference / fast",
                "values": {"n=100 dtype=float64": 2.0, "n=200 dtype=float64": 0.5},
            },
        },
    }
    assert datetime.fromtimestamp(NOON / 1000, UTC).isoformat() == "2026-11-21T12:00:00+00:00"


def test_a_second_import_of_a_commit_adds_to_the_first_and_another_commit_has_its_own_file(tmp_path):
    partial = asv_file()
    partial["results"] = {"bench_kernel.Gram.track_error": [[1.0], [["'n=1'"]], "hash", NOON]}
    kept = tmp_path / "kept"
    import_results(written(tmp_path / "first", asv_file()), kept, device="named")
    second = import_results(written(tmp_path / "second", partial, asv_file("b" * 40)), kept, device="named")
    assert [path.name for path in second] == ["aaaaaaaaaa.json", "bbbbbbbbbb.json"]
    found = json.loads((kept / "named" / "aaaaaaaaaa.json").read_text())["benchmarks"]
    assert found["bench_kernel.Gram.track_error"]["values"] == {"n=1": 1.0}
    assert found["bench_kernel.Gram.time_fast"]["values"]["n=100 dtype=float64"] == 0.001


def test_a_match_leaves_the_others_behind():
    found = imported(asv_file(), {}, match="track_e|peakmem_fast")
    assert set(found["benchmarks"]) == {"bench_kernel.Gram.track_error", "bench_kernel.Gram.peakmem_fast"}
    assert found["threads"] == 1  # known all the same


def test_machines_are_named_by_their_processors():
    assert device_name("12th Gen Intel(R) Core(TM) i7-1260P", 16) == "12th-gen-core-i7-1260p-16-cores"
    assert device_name("", 4) == "processor-4-cores"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "results: expected version 2 of asv's format, got 1"),
        ({"results": {}}, "results: expected at least one benchmark, got none"),
    ],
)
def test_a_file_that_is_no_result_is_refused(change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        imported(asv_file() | change, {})


# --- what is read from it ---------------------------------------------------------------------------------------------


def gram(record):
    return {one.size: one for one in comparisons(record) if one.benchmark == "kernel.Gram"}


def test_speed_error_and_memory_stand_side_by_side():
    found = gram(imported(asv_file(), {}))
    small, middle = found["n=100 dtype=float64"], found["n=200 dtype=float64"]
    assert (small.speedup, small.error, small.fast_bytes, small.reference_bytes) == (2.0, 0.0, 50, None)
    assert (middle.speedup, middle.error, middle.fast_bytes) == (0.5, 1e-7, 0)  # a peak below the empty run is noise
    assert found["n=400 dtype=float64"].speedup is None  # NaN: skipped


def test_a_line_runs_along_one_size_with_all_others_held_and_has_a_slope_from_four_sizes_on():
    values = {f"n={n} k={k} dtype=float64": 1e-6 * n**2 * k for n in (1, 2, 4, 8) for k in (10, 20)}
    found = list(lines({"benchmarks": {"bench_a.B.time_fast": {"values": values}}}))
    by_n = [line for line in found if line.axis == "n"]
    assert [line.held for line in by_n] == ["k=10 dtype=float64", "k=20 dtype=float64"]
    assert all(line.sizes == (1, 2, 4, 8) for line in by_n)
    assert by_n[0].fit.exponent == pytest.approx(2, abs=TOL["float64"])
    by_k = [line for line in found if line.axis == "k"]
    assert len(by_k) == 4
    assert all(line.fit is None for line in by_k)
    assert list(lines({"benchmarks": {"bench_a.B.time_reference": {"values": values}}})) == []
    assert sizes_of("a=b=c d") == {"a": "b=c"}


def test_a_history_joins_what_two_commits_measured(tmp_path):
    late = asv_file("c" * 40, NOON + 1000, speedup=(4.0, None, 3.0))
    import_results(written(tmp_path / "asv", late, asv_file("d" * 40)), tmp_path / "kept")
    (device,) = read_results(tmp_path / "kept")
    assert [record["commit"][0] for record in device.commits] == ["d", "c"]  # by date, not by name
    assert history(device.commits, "track_speedup") == {
        ("kernel.Gram", "n=100 dtype=float64"): [("ddddddd", 2.0), ("ccccccc", 4.0)]
    }


# --- the page ---------------------------------------------------------------------------------------------------------


def outside(html):
    """What a page would load from elsewhere: addresses in attributes and styles, and scripts."""
    return re.findall(r"""(?:src|href|data|action)\s*=\s*["']?(?!data:)[^"'\s>]+|url\([^)]*\)|@import|<script""", html)


@pytest.fixture
def page(tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    import_results(written(tmp_path / "asv", asv_file(), asv_file("e" * 40, NOON + 1000, fast=(2e-3, 1, 1))), kept)
    row = {"ratio": 1.25, "low": 1.2, "high": 1.3, "stated": True, "error": None, "expected_error": None, "repeats": 1}
    rows = [row | {"method": "exact kernel"}, row | {"method": "bare limit", "stated": False}]
    network = {"name": "net", "n": 2, "outputs": 10, "parameters": 1000, "floor_seconds": 0.5, "shape": [1, 8, 8]}
    (kept / "xeon-2-cores" / "floor.json").write_text(
        json.dumps({"networks": [network | {"rows": rows}], "threads": 2})
    )
    other = {"date": "2026-11-21", "cases": [{"name": "<b>wide</b>", "bytes": 1234567, "parts": [{"x": True}]}]}
    (kept / "xeon-2-cores" / "other.json").write_text(json.dumps(other))
    shown = {"farthest-point rows", "spectral clustering", "tangent features"}
    monkeypatch.setattr(complexity, "ROWS", tuple(row for row in complexity.ROWS if row.name in shown))
    record = complexity.measure(rounds=0, quick=True)
    (kept / "xeon-2-cores" / "complexity.json").write_text(json.dumps(record))
    return kept, tmp_path / "page.html"


def test_the_page_shows_everything_and_loads_nothing(page):
    kept, path = page
    write_page(read_results(kept), {"digits": example()}, path)
    html = path.read_text()
    assert outside(html) == []
    assert "http" not in html
    for twin in ('<img src="ht' + 'tps://x.y/z.png">', "<script>", "url(//x.y)", "<link href='a.css'>"):
        assert outside(html + twin)
    for shown in ("xeon-2-cores", "eeeeeeeeee", "farthest-point rows", "&lt;b&gt;wide&lt;/b&gt;", "1,234,567", "1.25",
                  "Over commits", "Run digits", example()["stages"][0]["name"]):  # fmt: skip
        assert shown in html
    assert "<b>wide" not in html
    assert html.count('src="data:image/svg+xml;base64,') == 7
    assert "Scaling of the fast path" in html


def test_a_device_without_benchmarks_and_a_single_commit_say_so(tmp_path):
    (tmp_path / "kept" / "bare").mkdir(parents=True)
    (tmp_path / "kept" / "bare" / "list.json").write_text("[1, 2]")
    import_results(written(tmp_path / "asv", asv_file()), tmp_path / "kept")
    write_page(read_results(tmp_path / "kept"), {}, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert "No run of the benchmarks has been imported" in html
    assert "One commit so far" in html
    assert "<details>" not in html
    (tmp_path / "kept" / "bare" / "long.json").write_text(json.dumps({"rows": [{"x": at} for at in range(50)]}))
    write_page(read_results(tmp_path / "kept"), {}, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("<details>") == 1


def four_commits(folder, at_the_third):
    """Four commits of noisy times within 3 %, the third and what follows it slower or faster by a factor."""
    for at, (letter, noise) in enumerate(zip("abcd", (1.0, 1.03, 0.98, 1.01), strict=True)):
        cost = 1e-3 * noise * (at_the_third if at > 1 else 1.0)
        file = asv_file(letter * 40, NOON + 1000 * at, fast=(cost, 2e-3 * noise, 4e-3), speedup=(2e-3 / cost, 1.0, 1.0))
        import_results(written(folder / f"asv-{at}", file), folder / "kept")
    return read_results(folder / "kept")


def test_a_planted_slowdown_is_seen_in_the_history(tmp_path):
    devices = four_commits(tmp_path, at_the_third=1.5)
    found = moves(history(devices[0].commits, "time_fast"))
    assert [(one.size, one.before, one.after) for one in found] == [("n=100 dtype=float64", "b" * 7, "c" * 7)]
    assert found[0].ratio == pytest.approx(1.5 * 0.98 / 1.03, rel=TOL["rounded_to_four_digits"])
    write_page(devices, {}, tmp_path / "page.html")
    row = "<td>kernel.Gram</td>.*?n=100 dtype=float64.*?bbbbbbb.*?ccccccc.*?1.43"
    assert re.search(row, tmp_path.joinpath("page.html").read_text(), re.DOTALL)


def test_noise_below_a_tie_is_no_slowdown_and_a_gain_is_seen_as_one(tmp_path):
    devices = four_commits(tmp_path / "still", at_the_third=1.2)
    assert moves(history(devices[0].commits, "time_fast")) == []
    write_page(devices, {}, tmp_path / "page.html")
    assert "Nothing moved by a factor 1.3 or more" in tmp_path.joinpath("page.html").read_text()
    (gain,) = moves(history(four_commits(tmp_path / "faster", at_the_third=0.5)[0].commits, "time_fast"))
    assert (gain.after, gain.ratio < 1) == ("c" * 7, True)


def test_every_plain_value_of_a_record_stands_in_a_table():
    record = {"a": 1.23456, "b": None, "deep": {"c": [1, 2]}, "long": list(range(20)), "rows": [{"x": 1}, {"y": "z"}]}
    record["deeper"] = {"plain": True, "parts": [{"name": "one", "inner": {"v": {"w": 3}}}]}
    found = [(cells.title, cells.head, cells.rows) for cells in sheets(record)]
    assert found == [
        ("", ("", "value"), (("a", "1.235"), ("b", ""), ("deep · c", "1, 2"), ("long", "0, 1, …, 19"))),
        ("rows", ("x", "y"), (("1", ""), ("", "z"))),
        ("deeper", ("", "value"), (("plain", "yes"),)),
        ("deeper · parts", ("name",), (("one",),)),
        ("deeper · parts · one · inner", ("", "value"), (("v · w", "3"),)),
    ]


# --- the commands -----------------------------------------------------------------------------------------------------


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dntk", "bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_commands_import_and_draw(monkeypatch, capsys, tmp_path):
    source, kept, out = written(tmp_path / "asv", asv_file()), tmp_path / "kept", tmp_path / "made" / "page.html"
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "report.json").write_text(json.dumps(example()))
    assert command(monkeypatch, "import", "--results", source, "--out", kept, "--device", "h100") == 0
    assert capsys.readouterr().out.strip() == str(kept / "h100" / "aaaaaaaaaa.json")
    run = tmp_path / "digits" / "report.json"
    assert command(monkeypatch, "report", "--results", kept, "--out", out, "--run", run) == 0
    assert "Run digits" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "--results", "nowhere"), "results: expected a folder with results of asv"),
        (("import", "--device", "a/b"), "device: expected small letters, digits and hyphens, got 'a/b'"),
        (("import", "--match", "("), "match: expected a regular expression, got '('"),
        (("report", "--results", "nowhere"), "results: expected a folder with results of at least one device"),
        (("report", "--run", "nowhere.json"), "run: expected a report.json that exists, got nowhere.json"),
        (("report", "--run", __file__), "run: expected a report.json, got"),
    ],
)
def test_a_wrong_request_is_one_line(monkeypatch, capsys, arguments, message):
    assert command(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err.startswith(f"dntk: {message}")


def test_a_slope_in_the_table_carries_its_verdict():
    fit = slope([1, 2, 4, 8], [1, 4, 16, 64])
    row = {"name": "x", "claim": "n", "axis": "n", "claimed": 1, "sizes": [1, 8], "counted": {}, "note": ""}
    (cells,) = complexity.tables({"rows": [row | {"slopes": {"seconds": {**vars(fit), "verdict": fit.verdict(1)}}}]})
    assert cells.rows[0][cells.head.index("seconds")] == "> 2.00 ± 0.00"
    assert cells.rows[0][cells.head.index("flops or bytes")] == ""
