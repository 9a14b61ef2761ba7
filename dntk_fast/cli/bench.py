"""The commands `dntk bench ...`: measure on this machine, print tables, write JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dntk_fast import _check
from dntk_fast.bench import (
    attribution,
    certificate,
    complexity,
    floor,
    gpu,
    headline,
    memory,
    plan,
    processes,
    shift,
    sketch,
)
from dntk_fast.bench.history import read_results
from dntk_fast.bench.importing import import_results
from dntk_fast.bench.page import write_page
from dntk_fast.cli.output import measured
from dntk_fast.report.record import read_record

__all__ = ["bench"]

bench = typer.Typer(no_args_is_help=True, help="Measure on this machine: ratios with intervals, errors beside them.")

KEPT = Path("asv_benchmarks/results")
Json = Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")]
Rounds = Annotated[int | None, typer.Option(help="Interleaved rounds; below 21 nothing is stated.")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch; as many as it has if not given.")]
Quick = Annotated[bool, typer.Option("--quick", help="A small part: does it run?")]


@bench.command("floor")
def bench_floor(
    json: Json = None,
    rounds: Rounds = None,
    threads: Threads = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(floor.CASES)}; may be repeated.")] = None,
    quick: Quick = False,
) -> None:
    """Time kernels, features and plain gradients in floors: one forward and C plain backward passes of the same images."""
    measured(floor.measure, floor.tables, json, only=only or (), rounds=rounds, threads=threads, quick=quick)


@bench.command("headline")
def bench_headline(
    data: Annotated[
        str, typer.Option(help="A data set or an image pack whose exact kernels fit into 2.8 GiB.")
    ] = "digits",
    seed: Annotated[int, typer.Option(help="Every purpose's own seed is spawned from it.")] = 0,
    json: Json = None,
    rounds: Annotated[int | None, typer.Option(help="Times everything is done; seconds are medians.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Audit the claims on cost: every way to a predictor timed, counted and scored, and when distillation pays."""
    measured(headline.measure, headline.tables, json, data=data, seed=seed, rounds=rounds, threads=threads, quick=quick)


@bench.command("plan")
def bench_plan(
    json: Json = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(plan.NETWORKS)}; may be repeated.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Time both rules of every layer, and count how often the plan chose the better one."""
    measured(plan.measure, plan.tables, json, only=only or (), threads=threads, quick=quick)


@bench.command("sketch")
def bench_sketch(
    json: Json = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the image packs; this one or that of DNTK_DATA if not given.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps trained weights; none if not given.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(sketch.CASES)}; may be repeated.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of the map; 20 if not given.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Train the networks and measure the error of their projected kernels against a dense Gaussian map's."""
    if cache is not None and not cache.is_dir():
        raise ValueError(f"cache: expected a folder that exists, got {cache}")
    given = {"data": data or "", "cache": cache, "only": only or (), "seeds": seeds, "threads": threads, "quick": quick}
    measured(sketch.measure, sketch.tables, json, **given)


@bench.command("memory")
def bench_memory(
    json: Json = None,
    n: Annotated[int | None, typer.Option("--images", help="Images; 6,400 if not given.")] = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Watch the memory of features and exact kernels, each in a fresh process, with budgets of 256 MiB and 1 GiB."""
    if n is not None:
        _check.integer("images", n, 2)
    measured(memory.measure, memory.tables, json, n=n, threads=threads, quick=quick)


@bench.command("certificate")
def bench_certificate(
    data: Annotated[
        Path | None,
        typer.Option(help="An image pack to train on for a few epochs; random images and weights if not given."),
    ] = None,
    model: Annotated[str, typer.Option(help="The network.")] = "resnet18",
    n: Annotated[int | None, typer.Option(help="Training images; 1,000 if not given.")] = None,
    json: Json = None,
    rounds: Rounds = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Measure memory, passes and time of a full-kernel certificate, in floors and in a fresh process."""
    given = {"data": data, "model": model, "n": n, "rounds": rounds, "threads": threads, "quick": quick}
    measured(certificate.measure, certificate.tables, json, **given)


@bench.command("attribution")
def bench_attribution(
    data: Annotated[str, typer.Option(help="A data set or an image pack.")] = "digits",
    out: Annotated[Path | None, typer.Option(help="Folder of trainings; runs/attribution-<data> if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of the images, the subsets and every training.")] = 0,
    json: Json = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Retrain on random halves, and hold what the kernel and its rivals predict against it.

    Trainings are kept: the same command, repeated after an interruption, goes on where it stopped.
    """
    given = {"data": data, "out": out, "seed": seed, "threads": threads, "quick": quick}
    measured(attribution.measure, attribution.tables, json, **given)


@bench.command("complexity")
def bench_complexity(
    json: Json = None,
    rounds: Annotated[int | None, typer.Option(help="Interleaved rounds behind every median; 0 to count only.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
    quick: Quick = False,
) -> None:
    """Count flops, bytes and passes at several sizes, time them, and fit the exponents that the paper claims."""
    measured(complexity.measure, complexity.tables, json, rounds=rounds, threads=threads, quick=quick)


@bench.command("shift")
def bench_shift(
    data: Annotated[str, typer.Option(help="A data set or an image pack.")] = "digits",
    other: Annotated[str | None, typer.Option(help="Another one, brought to the size; none if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Every purpose's own seed is spawned from it.")] = 0,
    json: Json = None,
    threads: Threads = None,
    quick: Quick = False,
) -> None:
    """Tell shifted images from held-out ones by the kernel's variance and by its rivals; calibration with and without it."""
    measured(shift.measure, shift.tables, json, data=data, other=other, seed=seed, threads=threads, quick=quick)


@bench.command("processes")
def bench_processes(json: Json = None, rounds: Rounds = None, quick: Quick = False) -> None:
    """Time features and a full-kernel residual by two processes, and by two threads, against one of both."""
    measured(processes.measure, processes.tables, json, rounds=rounds, quick=quick)


@bench.command("gpu", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def bench_gpu(arguments: Annotated[list[str] | None, typer.Argument(help="--help tells.")] = None) -> None:
    """Measure kernels, features and the sketch on a GPU; `python3 -m dntk_fast bench gpu` needs torch and numpy alone."""
    gpu.main(arguments or [])


@bench.command("import")
def bench_import(
    results: Annotated[Path, typer.Option(help="Folder of results that asv has written.")] = Path(".asv/results"),
    out: Annotated[Path, typer.Option(help="Folder of the results that are kept.")] = KEPT,
    device: Annotated[str | None, typer.Option(help="Name of the machine; its processor's if not given.")] = None,
    match: Annotated[str, typer.Option(help="Regular expression: only benchmarks with it in their names.")] = "",
) -> None:
    """Keep results of asv (`asv run -E existing --set-commit-hash ...`) by device and commit, without host and paths."""
    for path in import_results(results, out, device=device, match=match):
        typer.echo(str(path))


@bench.command("report")
def bench_report(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("runs/performance.html"),
    results: Annotated[Path, typer.Option(help="Folder of the results that are kept.")] = KEPT,
    run: Annotated[list[Path] | None, typer.Option(help="A report.json of `dntk run`; may be repeated.")] = None,
) -> None:
    """Draw kept results and reports of runs on one self-contained page."""
    devices = read_results(results)
    runs = {path.parent.name or path.name: _record_of(path) for path in run or ()}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_page(devices, runs, out)
    typer.echo(str(out))


def _record_of(path: Path) -> dict[str, Any]:
    if not path.is_file():
        _check.refuse("run", "a report.json that exists", path)
    try:
        return read_record(path)
    except ValueError as error:
        raise ValueError(f"run:{str(error).removeprefix('path:')}") from None
