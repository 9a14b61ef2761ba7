"""The mutation score of the ledger: how many wrong lines of `dntk_ref` it notices by itself.

`python -m proofs_checks.mutation_by_ledger` takes the first mutants of `mutation_sample.json`, drawn before the checks were
mended for them (`mutation` writes all mutants into `mutants/`), and holds against each the agreements whose functions
reach the wrong line's own, which mutmut's counters tell. The first that fails ends it. Finished mutants are kept in
that folder: the same command goes on where it stopped. It writes `mutation_by_ledger.json`.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutmut.state import state
from rich.progress import track

import dntk_ref
from proofs_checks.judge import QUICK
from proofs_checks.mutants import noticed
from proofs_checks.mutation import BY_LEDGER, SAMPLE, SINGLE, WORK, change, codes, score
from proofs_checks.references.agreement import Agreement
from proofs_checks.references.table import named

__all__ = ["main", "outcome", "reached"]

KEPT = "ledger.json"
SECONDS = 300  # of processor time: some mutants loop for ever
WHICH = "MUTANT_UNDER_TEST"  # the variable by which mutmut's package knows what it is to be


def reached() -> Mapping[str, list[Agreement]]:
    """Return the agreements that reach each function of the mutated package, by the name that mutmut gives it."""
    found: defaultdict[str, list[Agreement]] = defaultdict(list)
    os.environ[WHICH] = "stats"
    for agreement in {id(one): one for many in named().values() for one in many}.values():
        if noticed(agreement):
            raise ValueError(
                f"{agreement.path}: expected agreement with the exact values before any line is made wrong"
            )
        state()._stats.clear()
        for case in agreement.cases(QUICK):
            agreement.value(case)
            agreement.outside(case)
        for name in state()._stats:
            found[name].append(agreement)
    del os.environ[WHICH]
    return found


def outcome(code: int) -> str:
    """Return what the exit code of one trial says: no end in time is counted apart, what broke down is noticed.

    >>> [outcome(code) for code in (0, 1, -24, -9)]
    ['survived', 'killed', 'timeout', 'timeout']
    """
    return "survived" if code == 0 else "timeout" if code in (-24, -9) else "killed"


def _trial(mutant: str, agreements: Sequence[Agreement]) -> None:
    os.environ[WHICH] = mutant
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    os._exit(int(any(noticed(agreement) for agreement in agreements)))


def _try(mutants: Sequence[str]) -> dict[str, str]:
    """Try each mutant in a process of its own; their exact values are found here, once for all."""
    file = WORK / KEPT
    done = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    fork, reach = multiprocessing.get_context("fork"), reached()
    for mutant in track([name for name in mutants if name not in done], "mutants"):
        agreements = sorted(reach.get(mutant.partition("__mutmut_")[0], ()), key=lambda one: one.path not in mutant)
        for agreement in agreements:
            for case in agreement.cases(QUICK):
                agreement.truth(case)
        process = fork.Process(target=_trial, args=(mutant, agreements))
        process.start()
        process.join()
        done[mutant] = outcome(process.exitcode or 0)
        file.write_text(json.dumps(done, indent=1), encoding="utf-8")
    return {mutant: done[mutant] for mutant in mutants}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the score; return 0, or 2 if there are no mutants yet."""
    parser = argparse.ArgumentParser("python -m proofs_checks.mutation_by_ledger", description="Measure the score.")
    parser.add_argument("--count", type=int, default=200, help="mutants to try, the first of the sample")
    options = parser.parse_args(arguments)
    if not (WORK / "mutants" / "dntk_ref").is_dir():
        print(f"expected mutants in {WORK.name}/, found none: run python -m proofs_checks.mutation", file=sys.stderr)
        return 2
    if WORK not in Path(dntk_ref.__file__).parents:  # again, with the mutated package before the right one
        command = [sys.executable, "-m", "proofs_checks.mutation_by_ledger", *(arguments or sys.argv[1:])]
        path = os.pathsep.join([str(WORK / "mutants"), str(WORK.parent)])
        environment = os.environ | SINGLE | {"PYTHONPATH": path}
        return subprocess.run(command, cwd=WORK / "mutants", env=environment, check=False).returncode
    known, drawn = codes(WORK), json.loads(SAMPLE.read_text(encoding="utf-8"))
    names = [name for name in drawn["names"][: options.count] if name in known]
    found = _try(names)
    number = Counter(found.values())
    share, low, high = score(number["killed"], number["survived"])
    result = {"score": round(share, 4), "interval": [round(low, 4), round(high, 4)], "seed": drawn["seed"]}
    result |= {"tried": len(names), "lost": len(drawn["names"][: options.count]) - len(names)} | {
        word: number[word] for word in ("killed", "survived", "timeout")
    }
    result |= {"survivors": [{"mutant": n, "change": change(WORK, n)} for n in names if found[n] == "survived"]}
    old = json.loads(BY_LEDGER.read_text(encoding="utf-8")) if BY_LEDGER.exists() else {}
    result |= {
        "explained": [e for e in old.get("explained", []) if e["mutant"] in {s["mutant"] for s in result["survivors"]}]
    }
    BY_LEDGER.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for mutant in result["survivors"]:
        print(f"{mutant['mutant']}: {mutant['change']}")
    print(f"the ledger notices {number['killed']} of {number['killed'] + number['survived']}, {100 * share:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
