"""The mutation score: its arithmetic by a second route, one run on a toy package, and the recorded result."""

import json
import shutil

import pytest
from scipy.stats import beta

from proofs_checks import mutation, mutation_by_ledger
from proofs_checks.mutation import BY_LEDGER, RESULT, SAMPLE, footer, main, sample, score, status

NAMES = [f"dntk_ref.kernel.x_gram__mutmut_{i}" for i in range(50)]
TOY = "def after(x):\n    return x + 1\n\n\ndef twice(x):\n    return x * 2\n"
STRONG = "from dntk_ref.toy import after, twice\n\n\ndef test_toy():\n    assert (after(1), twice(3)) == (2, 6)\n"
WEAK = STRONG.replace("twice(3)) == (2, 6)", "twice(0)) == (2, 0)")  # any multiple of nought is nought


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A checkout whose package is two functions, one of them tested weakly."""
    for folder in ("dntk_ref", "tests/ref"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(mutation.ROOT / "pyproject.toml", tmp_path)
    # A folder without it would be passed over for a dntk_ref elsewhere on the path.
    (tmp_path / "dntk_ref" / "__init__.py").write_text('"A toy."\n')
    (tmp_path / "dntk_ref" / "toy.py").write_text(TOY)
    (tmp_path / "tests" / "ref" / "test_toy.py").write_text(WEAK)
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "WORK", tmp_path / "mutants")
    monkeypatch.setattr(mutation, "RESULT", tmp_path / "mutation.json")
    return tmp_path


def test_only_a_failed_test_is_a_kill():
    assert [status(code) for code in (1, 3)] == ["killed"] * 2
    assert [status(code) for code in (-24, 24, 36, 152, 255)] == ["timeout"] * 5
    assert [status(code) for code in (0, 2, 5, 33, 35, -9, -11)] == ["survived"] * 7


def test_the_sample_is_drawn_by_the_seed_alone():
    assert sample(NAMES, 10, 1) == sample(NAMES[::-1], 10, 1)
    assert sample(NAMES, 10, 1) != sample(NAMES, 10, 2)
    assert len(set(sample(NAMES, 10, 1))) == 10
    assert sorted(sample(NAMES, 99, 1)) == sorted(NAMES)


@pytest.mark.parametrize(("killed", "survived"), [(410, 10), (1, 1), (380, 20)])
def test_the_interval_is_clopper_and_pearsons(killed, survived):
    share, low, high = score(killed, survived)
    assert share == killed / (killed + survived)
    # the ends are quantiles of beta laws; scipy finds them by a root search
    assert low == pytest.approx(beta.ppf(0.025, killed, survived + 1), abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, killed + 1, survived), abs=1e-9)


def test_the_interval_without_survivors_by_hand():
    share, low, high = score(10, 0)
    assert (share, high) == (1.0, 1.0)
    assert low == pytest.approx(0.025 ** (1 / 10), abs=1e-9)  # all ten killed with probability 1/40


@pytest.mark.slow
def test_a_weak_test_leaves_a_survivor_and_a_strong_one_kills_it(toy, capsys):
    assert main(["--processes", "1"]) == 0
    first = json.loads(mutation.RESULT.read_text())
    assert [first[name] for name in ("killed", "survived", "timeouts", "tried", "mutants")] == [2, 2, 0, 4, 4]
    assert sorted(mutant["change"] for mutant in first["survivors"]) == [
        "return x * 2 -> return x * 3",
        "return x * 2 -> return x / 2",
    ]
    assert "2 of 4 mutants killed" in " ".join(capsys.readouterr().out.split())

    explained = {**first["survivors"][0], "why": "only nought is tried"}
    mutation.RESULT.write_text(json.dumps(first | {"explained": [explained, {**explained, "change": "other"}]}))
    assert main(["--processes", "1", "--resume"]) == 0  # nothing is tried again; what no longer fits is dropped
    again = json.loads(mutation.RESULT.read_text())
    assert again["explained"] == [explained]
    assert {**again, "explained": []} == first

    (toy / "tests" / "ref" / "test_toy.py").write_text(STRONG)
    assert main(["--processes", "1", "--retest"]) == 0
    since = json.loads(mutation.RESULT.read_text())
    assert since["killed_since"] == [survivor["mutant"] for survivor in first["survivors"]]
    assert since["score"] == first["score"]

    assert main(["--processes", "1", "--seed", "1"]) == 0
    other = json.loads(mutation.RESULT.read_text())
    assert (other["killed"], other["survivors"], len(other["earlier"])) == (4, [], 1)
    assert other["earlier"][0].items() >= {"killed": 2, "survived": 2, "killed_since": 2, "seed": first["seed"]}.items()
    assert f"(DATE, seed {first['seed']}): 2 of 4.".replace("DATE", first["date"]) in footer(mutation.RESULT)

    mutation.RESULT.write_text(json.dumps(since))
    (toy / "dntk_ref" / "toy.py").write_text(TOY.replace("x * 2", "2 * x"))
    assert main(["--processes", "1", "--retest"]) == 2
    assert "expected the mutants that were recorded" in " ".join(capsys.readouterr().out.split())
    assert json.loads(mutation.RESULT.read_text()) == since


def test_too_little_time_writes_nothing(toy, capsys):
    assert main(["--minutes", "0.0001"]) == 2
    assert "--minutes: expected time to write the mutants" in " ".join(capsys.readouterr().out.split())
    assert not mutation.RESULT.exists()


def test_when_time_runs_out_only_finished_batches_count(toy, monkeypatch):
    run, runs = mutation._mutmut, []

    def short_of_time(*arguments):
        runs.append(arguments)
        return len(runs) < 4 and run(*arguments)

    monkeypatch.setattr(mutation, "BATCH", 1)
    monkeypatch.setattr(mutation, "_mutmut", short_of_time)
    assert main(["--processes", "1"]) == 0
    result = json.loads(mutation.RESULT.read_text())
    assert (result["tried"], result["killed"] + result["survived"], result["asked"]) == (2, 2, 400)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count: expected a positive number, got 0"),
        (["--minutes", "-1"], "--minutes: expected a positive number, got -1.0"),
        (["--processes", "0"], "--processes: expected a positive number, got 0"),
        (["--retest"], "--retest: expected a recorded result"),
    ],
)
def test_bad_options_are_refused(arguments, message, toy, capsys):
    assert main(arguments) == 2
    assert message in " ".join(capsys.readouterr().out.split())


def test_an_installed_package_without_tests_is_refused(toy, capsys):
    shutil.rmtree(toy / "tests")
    assert main([]) == 2
    assert "expected a checkout with tests/ref" in capsys.readouterr().out


def test_without_a_result_the_ledger_says_so(tmp_path):
    assert footer(tmp_path / "none.json") == "Mutation score of `dntk_ref`: not measured."


def test_the_recorded_result_adds_up():
    result = json.loads(RESULT.read_text())
    survivors = [survivor["mutant"] for survivor in result["survivors"]]
    assert result["tried"] == result["killed"] + result["survived"] + result["timeouts"] <= result["asked"]
    assert len(survivors) == result["survived"]
    assert len(result["timed_out"]) == result["timeouts"]
    share, low, high = score(result["killed"], result["survived"])
    assert [result["score"], *result["interval"]] == pytest.approx([share, low, high], abs=5e-5)  # four places
    assert result["score"] >= 0.85
    assert not any(survivor["change"].startswith(" ->") for survivor in result["survivors"])


def test_every_recorded_survivor_was_killed_since_or_is_explained():
    result = json.loads(RESULT.read_text())
    explained = [entry["mutant"] for entry in result["explained"]]
    survivors = {survivor["mutant"] for survivor in result["survivors"]}
    assert set(result["killed_since"]) | set(explained) == survivors
    assert not set(result["killed_since"]) & set(explained)
    assert all(entry["why"] for entry in result["explained"])


def test_the_ledger_ends_with_the_recorded_score():
    assert footer() in (RESULT.parent / "LEDGER.md").read_text()


def test_only_what_ends_without_a_fault_survives_the_ledger():
    found = [mutation_by_ledger.outcome(code) for code in (0, 1, 2, -6, -24, -9)]
    assert found == ["survived", "killed", "killed", "killed", "timeout", "timeout"]


def test_the_ledger_is_tried_on_mutants_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mutation_by_ledger, "WORK", tmp_path)
    assert mutation_by_ledger.main([]) == 2
    assert "run python -m proofs_checks.mutation" in capsys.readouterr().err


def test_the_recorded_result_of_the_ledger_adds_up():
    result, drawn = (json.loads(path.read_text(encoding="utf-8")) for path in (BY_LEDGER, SAMPLE))
    assert len(set(drawn["names"])) == 600
    assert result["seed"] == drawn["seed"]
    assert result["killed"] + result["survived"] + result["timeout"] == result["tried"]
    assert result["tried"] + result["lost"] == 200
    assert {entry["mutant"] for entry in result["survivors"]} <= set(drawn["names"][:200])
    assert len(result["survivors"]) == result["survived"]
    share, low, high = score(result["killed"], result["survived"])
    assert (result["score"], *result["interval"]) == (round(share, 4), round(low, 4), round(high, 4))
    assert f"notices {result['killed']} of {result['killed'] + result['survived']} " in footer()
