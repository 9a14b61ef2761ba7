"""The mutation score of the reference: how many wrong lines of `dntk_ref` its tests notice.

`python -m proofs_checks.mutation` draws mutants over all modules of `dntk_ref`, runs the tests of `tests/ref` against
each (mutmut 3, in the git-ignored folder `mutants/`) and writes `mutation.json`, which the ledger's footer shows.
`dntk-verify --update` copies it there.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scipy.stats import binomtest

from proofs_checks.instances import SEED

__all__ = [
    "BY_LEDGER",
    "RESULT",
    "SAMPLE",
    "SINGLE",
    "WORK",
    "change",
    "codes",
    "footer",
    "main",
    "sample",
    "score",
    "status",
]

Result = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("mutation.json")
SAMPLE, BY_LEDGER = (RESULT.with_name(f"mutation_{name}.json") for name in ("sample", "by_ledger"))
WORK = ROOT / "mutants"
BATCH = 50
# mutmut forks; a forked process waits for ever on the thread pools of its parent, which reads like a timeout.
SINGLE = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
FEW = {"DNTK_EXAMPLES": "5"}
KILLED, TIMEOUT = (1, 3), (36, 24, -24, 152, 255)


def status(code: int) -> str:
    """Return what an exit code of mutmut says; whatever is neither a kill nor a timeout counts as survived."""
    return "killed" if code in KILLED else "timeout" if code in TIMEOUT else "survived"


def sample(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` of the names in the order in which they are tried; the first few are a sample too."""
    return random.Random(seed).sample(sorted(names), min(count, len(names)))


def score(killed: int, survived: int) -> tuple[float, float, float]:
    """Return the killed share, timeouts left out, and the ends of its 95 % interval (Clopper and Pearson)."""
    test = binomtest(killed, killed + survived)
    interval = test.proportion_ci(0.95, method="exact")
    return test.statistic, float(interval.low), float(interval.high)


def _snapshot(work: Path) -> None:
    """Copy what is mutated and what tests it, so that an edit during the run changes nothing."""
    for name in ("dntk_ref", "tests"):
        shutil.rmtree(work / name, ignore_errors=True)
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", work)


def codes(work: Path) -> dict[str, int | None]:
    """Return the exit code of every mutant, None for those not tried."""
    files = sorted((work / "mutants").rglob("*.meta"))
    return {name: code for file in files for name, code in json.loads(file.read_text())["exit_code_by_key"].items()}


def _stop(work: Path, group: int) -> None:
    """Kill mutmut and its workers at a moment when no file of results is half written."""
    while True:
        os.killpg(group, signal.SIGSTOP)
        time.sleep(0.05)
        with suppress(json.JSONDecodeError):
            codes(work)
            break
        os.killpg(group, signal.SIGCONT)
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)


def _mutmut(work: Path, names: Sequence[str], processes: int, until: float, tick: Callable[[], None]) -> bool:
    """Run mutmut on these mutants; return False where the time ran out first."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes), *names]
    with (work / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command, cwd=work, env=os.environ | SINGLE | FEW, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.5)
                tick()
        finally:
            in_time = process.poll() is not None
            if not in_time:
                _stop(work, process.pid)
            process.wait()
    if in_time and process.returncode:
        raise RuntimeError(f"mutmut: expected a finished run, got exit code {process.returncode}; see log.txt")
    return in_time


def _generate(work: Path, processes: int, until: float) -> list[str]:
    """Return the names of all mutants: asked for one that does not exist, mutmut writes them, times the tests, stops."""
    try:
        _mutmut(work, ["no_such_mutant"], processes, until, lambda: None)
    except RuntimeError:
        if "nothing matches" in (work / "log.txt").read_text():
            return list(codes(work))
        raise
    shutil.rmtree(work / "mutants", ignore_errors=True)
    raise TimeoutError("--minutes: expected time to write the mutants, got less")


def _try(work: Path, names: Sequence[str], processes: int, until: float, console: Console) -> list[str]:
    """Try the mutants batch by batch in their drawn order; return those of the batches that were finished in time.

    Inside a batch mutmut takes the fastest first: part of a batch would not be a random sample.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("mutants", total=len(names))

        def tick() -> None:
            with suppress(json.JSONDecodeError):  # mutmut is writing one of the files
                found = codes(work)
                progress.update(task, completed=sum(found[name] is not None for name in names))

        for start in range(0, len(names), BATCH):
            found = codes(work)
            left = [name for name in names[start : start + BATCH] if found[name] is None]
            if left and not _mutmut(work, left, processes, until, tick):
                return list(names[:start])
        tick()
    return list(names)


def change(work: Path, name: str) -> str:
    """Return the lines that a mutant takes out and puts in."""
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=work, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    sides = {
        sign: " ".join(line[1:].strip() for line in shown if line.startswith(sign) and line[1:3] != sign * 2)
        for sign in "-+"
    }
    return f"{sides['-']} -> {sides['+']}"


def _earlier(old: Result, seed: int) -> list[Result]:
    """Return what is kept of the samples before this one: tests written for their survivors make this score."""
    if not old or old["seed"] == seed:
        return list(old.get("earlier", []))
    kept = {name: old[name] for name in ("date", "seed", "killed", "survived", "timeouts")}
    return [*old["earlier"], kept | {name: len(old[name]) for name in ("killed_since", "explained")}]


def _result(work: Path, tried: Sequence[str], asked: int, seed: int, population: int, old: Result) -> Result:
    ended = codes(work)
    found = {name: status(int(ended[name] or 0)) for name in tried}
    number = Counter(found.values())
    changes = {name: change(work, name) for name in tried if found[name] != "killed"}
    share, low, high = score(number["killed"], number["survived"])
    return {
        "score": round(share, 4),
        "interval": [round(low, 4), round(high, 4)],
        "confidence": 0.95,
        "killed": number["killed"],
        "survived": number["survived"],
        "timeouts": number["timeout"],
        "tried": len(tried),
        "asked": asked,
        "mutants": population,
        "seed": seed,
        "date": date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("mutmut", "numpy", "scipy", "hypothesis", "pytest")},
        },
        "survivors": [{"mutant": n, "change": c} for n, c in changes.items() if found[n] == "survived"],
        "timed_out": [{"mutant": n, "change": c} for n, c in changes.items() if found[n] == "timeout"],
        "killed_since": [],
        "explained": [e for e in old.get("explained", []) if changes.get(e["mutant"]) == e["change"]],
        "earlier": _earlier(old, seed),
    }


def _retest(work: Path, old: Result, processes: int, until: float) -> Result:
    """Try the recorded survivors again with the tests of today; the score stays the one that was measured."""
    names = [survivor["mutant"] for survivor in old["survivors"]]
    known = _generate(work, processes, until)
    lost = [
        s["mutant"] for s in old["survivors"] if s["mutant"] not in known or change(work, s["mutant"]) != s["change"]
    ]
    if lost:
        raise ValueError(f"retest: expected the mutants that were recorded, got other sources for {', '.join(lost)}")
    if names and not _mutmut(work, names, processes, until, lambda: None):
        raise TimeoutError("retest: expected an end within --minutes")
    found = codes(work)
    return old | {"killed_since": [name for name in names if status(int(found[name] or 0)) == "killed"]}


def footer(path: Path = RESULT) -> str:
    """Return what the ledger says about the recorded mutation score."""
    if not path.exists():
        return "Mutation score of `dntk_ref`: not measured."
    result = json.loads(path.read_text(encoding="utf-8"))
    low, high = result["interval"]
    since, explained = len(result["killed_since"]), len(result["explained"])
    before = "".join(
        f" A sample before it ({e['date']}, seed {e['seed']}): {e['killed']} of {e['killed'] + e['survived']}."
        for e in result["earlier"]
    )
    return (
        f"Mutation score of `dntk_ref` on {result['date']}: {result['killed']} of "
        f"{result['killed'] + result['survived']} mutants killed, {100 * result['score']:.1f} % "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %), timeouts ({result['timeouts']}) counted apart; "
        f"{result['tried']} tried of {result['mutants']}, seed {result['seed']}, mutmut "
        f"{result['versions']['mutmut']}. Of the {result['survived']} survivors {since} were killed by tests "
        f"written since and {explained} are explained in [mutation.json](mutation.json).{before}{_by_ledger()}"
    )


def _by_ledger() -> str:
    if not BY_LEDGER.exists():
        return ""
    found = json.loads(BY_LEDGER.read_text(encoding="utf-8"))
    low, high = found["interval"]
    return (
        f" The ledger alone notices {found['killed']} of {found['killed'] + found['survived']} "
        f"({100 * found['score']:.1f} %, {100 * low:.1f} to {100 * high:.1f} %), the first of the same sample whose lines "
        f"still stand; {len(found['explained'])} of the others are explained in "
        "[mutation_by_ledger.json](mutation_by_ledger.json)."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m proofs_checks.mutation", description="Measure the mutation score.")
    parser.add_argument("--count", type=int, default=400, help="mutants to try")
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample")
    parser.add_argument("--minutes", type=float, default=60, help="stop after this time, at the end of a batch")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="mutants at a time")
    parser.add_argument("--resume", action="store_true", help="go on with the copy and the results in mutants/")
    parser.add_argument("--retest", action="store_true", help="try the recorded survivors again with today's tests")
    return parser


def _refusal(options: argparse.Namespace) -> str | None:
    if not (ROOT / "tests" / "ref").is_dir():
        return "expected a checkout with tests/ref beside the package"
    for name in ("count", "minutes", "processes"):
        if getattr(options, name) <= 0:
            return f"--{name}: expected a positive number, got {getattr(options, name)}"
    if options.retest and not RESULT.exists():
        return "--retest: expected a recorded result, found none"
    return None


def _measure(options: argparse.Namespace, old: Result, console: Console) -> Result:
    until = time.monotonic() + 60 * options.minutes
    if not (options.resume and (WORK / "mutants").is_dir()):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir()
        _snapshot(WORK)
    if options.retest:
        return _retest(WORK, old, options.processes, until)
    names = _generate(WORK, options.processes, until)
    tried = _try(WORK, sample(names, options.count, options.seed), options.processes, until, console)
    if not tried:
        raise TimeoutError(f"--minutes: expected time for a batch of {BATCH} mutants, got {options.minutes}")
    return _result(WORK, tried, options.count, options.seed, len(names), old)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the score; return 0, or 2 if the command cannot be run."""
    options = _parser().parse_args(arguments)
    console = Console()
    refusal = _refusal(options)
    if refusal is not None:
        console.print(refusal, style="red", markup=False)
        return 2
    old = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    try:
        result = _measure(options, old, console)
    except (RuntimeError, TimeoutError, ValueError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(footer(RESULT), markup=False)
    for kind in ("survivors", "timed_out"):
        for mutant in result[kind]:
            console.print(f"{kind}: {mutant['mutant']}: {mutant['change']}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
