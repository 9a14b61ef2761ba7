"""The command `dntk-verify` (also `python -m proofs_checks`): run the ledger, print it, compare the verdicts."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

try:
    from proofs_checks.judge import FULL, QUICK
    from proofs_checks.ledger import Record, differences, proof_cell, records, summary, to_json, to_markdown
    from proofs_checks.page import to_html
    from proofs_checks.registry import registry, select
except ModuleNotFoundError as error:
    if error.name not in {"flint", "hypothesis"}:
        raise
    # The extra `verify` brings both; the main install does without them.
    print(
        f"dntk-verify: {error.name}: expected the package to be installed (pip install 'dntk[verify]')", file=sys.stderr
    )
    raise SystemExit(2) from None
except KeyboardInterrupt:
    print("Stopped: nothing is written.")
    raise SystemExit(130) from None

__all__ = ["main"]

HERE = Path(__file__).parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dntk-verify", description="Check every statement of the paper and print the verdicts."
    )
    parser.add_argument("--only", metavar="LABEL", help="one statement: its label or name, or a unique prefix")
    parser.add_argument("--list", action="store_true", help="print the labels and what they stand for, and do nothing")
    parser.add_argument("--quick", action="store_true", help="fewer instances, the same checks")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write LEDGER.md and ledger.json there")
    parser.add_argument("--html", action="store_true", help="with --out: write ledger.html too")
    parser.add_argument(
        "--update", action="store_true", help="rewrite the committed LEDGER.md and ledger.json (full runs only)"
    )
    jobs = min(2, os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=jobs, help="statements at a time (default: %(default)s)")
    return parser


def _refusal(options: argparse.Namespace) -> str | None:
    if options.update and (options.only or options.quick):
        return "--update: expected a full run, got --only or --quick"
    if options.html and options.out is None:
        return "--html: expected --out DIR with it"
    if options.jobs < 1:
        return f"--jobs: expected a positive number, got {options.jobs}"
    return None if options.out is None else _unwritable(options.out)


def _unwritable(folder: Path) -> str | None:
    """Make the folder before the work; one line if nothing could be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"--out: expected a folder, or the name of one that can be made, got {folder} ({error.strerror})"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"--out: expected a folder to write to, got {folder}"


def _table(found: list[Record]) -> Table:
    table = Table(title="The ledger", show_lines=False)
    widest = max(len(record["label"]) for record in found)
    table.add_column("label", no_wrap=True, min_width=widest)
    for name in ("reading", "verdict", "proof"):
        table.add_column(name, overflow="fold", min_width=12)  # above the longest word of a verdict
    for name in ("instances", "twins"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for record in found:
        twins = [twin["rejected"] for step in record["steps"] for twin in step["twins"]]
        table.add_row(
            record["label"],
            record["reading"],
            record["found"],
            proof_cell(record),
            str(sum(s["instances"] for s in record["steps"])),
            f"{sum(twins)}/{len(twins)}",
        )
    return table


def _write(folder: Path, found: list[Record], count: int, *, html: bool) -> None:
    (folder / "LEDGER.md").write_text(to_markdown(found, count), encoding="utf-8")
    (folder / "ledger.json").write_text(to_json(found, count), encoding="utf-8")
    if html:
        (folder / "ledger.html").write_text(to_html(found), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ledger; return 0, or 1 if a verdict differs from the recorded one, 2 if it cannot be run, 130 if stopped."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("Stopped: nothing is written.")
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        statements, refusal = select(registry(), options.only), _refusal(options)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        print(f"dntk-verify: {refusal}", file=sys.stderr)
        return 2
    if options.list:
        for statement in statements:
            print(f"{statement.label:<24} {statement.row}")
        return 0
    count = QUICK if options.quick else FULL
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("statements", total=len(statements))
        found = records(
            statements, count, jobs=min(options.jobs, len(statements)), done=lambda label: progress.advance(task)
        )
    table = _table(found)
    # No label or number is cut: where the table does not fit, the terminal wraps it.
    least = console.measure(table, options=console.options.update(max_width=10_000)).minimum
    table.width = least if least > console.width else None
    console.print(table, crop=False)
    console.print(summary(found), markup=False)
    lines = differences(found)
    if options.out is not None:
        _write(options.out, found, count, html=options.html)
    if options.update and not lines:
        _write(HERE, found, count, html=False)
    for line in lines:
        console.print(f"verdict differs: {line}", style="red", markup=False)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
