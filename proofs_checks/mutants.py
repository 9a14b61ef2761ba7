"""Named wrong lines of the reference, each of which its tests and the ledger must notice.

`python -m proofs_checks.mutants` puts every line of `mutants.json` in place of the right one, in a copy of `dntk_ref`, and
runs against it the tests of its module in `tests/ref`, and the agreements of the ledger that name the function it stands
in (all of the module where that function is private). It ends with 1 if one survives. `mutation` draws its mutants at
random; these are known to have survived once, or to be easily made.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from proofs_checks.judge import QUICK
from proofs_checks.references.agreement import Agreement, beside
from proofs_checks.references.table import named

__all__ = ["MUTANTS", "Mutant", "agreements_of", "main", "mutants", "noticed", "place"]

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = Path(__file__).with_name("mutants.json")


@dataclass(frozen=True)
class Mutant:
    """One line of one module, as it was and as it became."""

    what: str
    file: str
    was: str
    became: str

    @property
    def module(self) -> str:
        """The name of the module."""
        return self.file.removesuffix(".py")


def mutants() -> tuple[Mutant, ...]:
    """Return the table."""
    return tuple(Mutant(**entry) for entry in json.loads(MUTANTS.read_text(encoding="utf-8")))


def place(mutant: Mutant, folder: Path) -> str | None:
    """Put the wrong line into the first place of the right one; return the public function that it stands in, if any."""
    path = folder / mutant.file
    source = path.read_text(encoding="utf-8")
    if mutant.was not in source:
        raise ValueError(f"{mutant.file}: expected the line {mutant.was!r}, got a source without it")
    line = source[: source.index(mutant.was)].count("\n") + 1
    path.write_text(source.replace(mutant.was, mutant.became, 1), encoding="utf-8")
    around = [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or line)
    ]
    return next((name for name in around if not name.startswith("_")), None)


def agreements_of(module: str, function: str | None) -> tuple[Agreement, ...]:
    """Return the agreements that name a function, or any function of its module."""
    return tuple(
        agreement
        for path, agreements in named().items()
        if path == f"{module}.{function}" or (function is None and path.startswith(f"{module}."))
        for agreement in agreements
    )


def noticed(agreement: Agreement) -> bool:
    """Return whether an agreement fails, or cannot be held, with the reference as it is now."""
    try:
        return not all(beside(case, agreement=agreement, factor=1.0).holds for case in agreement.cases(QUICK))
    except (ArithmeticError, IndexError, TypeError, ValueError):
        return True


def _environment(folder: Path) -> dict[str, str]:
    """The copy before the right package; few examples: what survives them is run again with all."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}


def _survives_tests(mutant: Mutant, folder: Path) -> bool:
    tests = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/ref/test_{mutant.module}.py"]
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    for examples in ({"DNTK_EXAMPLES": "5"}, {}):
        run = subprocess.run(tests, cwd=folder, env=_environment(folder) | examples, capture_output=True, check=False)
        if run.returncode == 1:
            return False
    return True


def _survives_ledger(mutant: Mutant, function: str | None, folder: Path) -> bool:
    command = [sys.executable, "-m", "proofs_checks.mutants", "--ledger", mutant.module, function or ""]
    return (
        subprocess.run(command, cwd=folder, env=_environment(folder), capture_output=True, check=False).returncode == 0
    )


def _try(mutant: Mutant) -> tuple[bool, bool]:
    """Whether the tests of the module, and whether the ledger, let a mutant pass."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "dntk_ref", folder / "dntk_ref", ignore=shutil.ignore_patterns("__pycache__"))
        function = place(mutant, folder / "dntk_ref")
        return _survives_tests(mutant, folder), _survives_ledger(mutant, function, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every mutant; return 0 if none survives, 1 if one does, 2 if they cannot be tried."""
    parser = argparse.ArgumentParser("python -m proofs_checks.mutants", description="Try the named wrong lines.")
    parser.add_argument(
        "--ledger", nargs=2, metavar=("MODULE", "FUNCTION"), help="the agreements alone, as they are now"
    )
    parser.add_argument("--only", metavar="WORD", default="", help="mutants whose name holds this word")
    options = parser.parse_args(arguments)
    if options.ledger:
        module, function = options.ledger
        return int(any(noticed(agreement) for agreement in agreements_of(module, function or None)))
    if not (ROOT / "tests" / "ref").is_dir():
        print("expected a checkout with tests/ref beside the package", file=sys.stderr)
        return 2
    survivors = 0
    for mutant in mutants():
        if options.only in mutant.what:
            passed = _try(mutant)
            survivors += sum(passed)
            words = ["survives" if alive else "killed" for alive in passed]
            print(f"{mutant.what:<55} tests/ref: {words[0]:<9} ledger: {words[1]}", flush=True)
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
