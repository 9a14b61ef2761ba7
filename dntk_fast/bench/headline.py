"""The headline, audited: every way to a predictor on one network, timed, counted and scored, and when distillation pays.

One use is predictions of 1,000 new images: in the account "kernels" from a new kernel each time, for which the distilled
images serve again (another checkpoint, say; that they serve it as well is not measured), in the account "predictions"
all from one fit. A distillation pays after N = max(1, ceil((a - a') / (b' - b))) uses, a and a' being paid once, b and b'
by every use: from the N-th on it never costs more. Where there is no such N it never pays.

The network and its logits on the training images are given to all. At ImageNette's scale, where nothing is run, costs
are counts (`prices`) times the seconds of one unit of each kind of work, measured here (`unit_costs`); the same formula
stands beside the measured seconds at home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from time import perf_counter
from typing import Any

import numpy as np

from dntk_fast import _check
from dntk_fast._device import readable_bytes
from dntk_fast.bench.claims import SCALES, SMALL, scale_record
from dntk_fast.bench.prices import ACCOUNTS, APPROACHES, RIVALS, Approach, Work, cost_row, pays_after, pieces
from dntk_fast.bench.race import circumstances, pinned, ratio, threads_of
from dntk_fast.bench.unit_costs import algebra_units, network_units
from dntk_fast.bench.ways import QUICK, FittedPredictor, Settings, TrainedNetwork
from dntk_fast.kernels.predictors import scores
from dntk_fast.report.table import Cells
from dntk_fast.tangent.features import tangent_features
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.models import parameter_count
from dntk_fast.workflow.network import usual_network
from dntk_fast.workflow.stages import EXACT_KERNEL_BYTES
from dntk_fast.workflow.training import train

__all__ = ["measure", "scale_tables", "tables"]

UNIT_IMAGES = 256
STAGE = "every way, piece by piece"
PAYS = (
    "distillation pays after N = (a - a') / (b' - b) uses, by seconds / by passes; a is paid once, b by each use, "
    "from a new kernel each time (kernels) or all uses from one fit (predictions)"
)
Progress = Callable[[str, int, int], object]


def measure(
    data: str = "digits",
    *,
    seed: int = 0,
    rounds: int | None = None,
    threads: int | None = None,
    quick: bool = False,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Train a network, go every way on it, and price the same ways at ImageNette's scale.

    Parameters
    ----------
    data : a data set or pack whose exact kernels fit into 2.8 GiB
    seed : every purpose's own seed is spawned from it
    rounds : 1 if None; seconds are medians over rounds, each of which does every piece once
    threads : of torch; as many as it has if None
    quick : few images and steps, a small network in place of ImageNette's, to see that it runs
    progress : called with (stage, done, total)

    Returns
    -------
    dict
        What JSON can hold.

    Raises
    ------
    ValueError
        Before any long work: data whose exact kernels do not fit, rounds or threads below 1.
    """
    rounds = _check.integer("rounds", 1 if rounds is None else rounds, 1)
    threads = threads_of(threads)
    settings, seeds = QUICK if quick else Settings(), Config(data=data, seed=seed).seeds
    dataset = load(data)
    n, C = len(dataset.x_train[: settings.train]), len(dataset.classes)
    if 8 * C * n * n > EXACT_KERNEL_BYTES:
        _check.refuse("data", f"exact kernels of at most {readable_bytes(EXACT_KERNEL_BYTES)}", f"{C} of {n:,} images")
    record = circumstances() | {"threads": threads, "rounds": rounds, "quick": quick, "seed": seed}
    with pinned(threads):
        subject = _subject(dataset, settings, seeds, progress)
        laps = _laps(subject, rounds, progress)
        algebra = algebra_units(rounds)
        batch = subject.x[: min(UNIT_IMAGES, len(subject.x) // 2 * 2)]
        units = algebra | network_units(subject.model, batch, k=settings.k, rounds=rounds)
        record |= {"settings": asdict(settings), "data": _described(dataset, subject), "units": units}
        record |= _compared(subject, dataset, laps, units)
        record["scales"] = []
        for scale in [SMALL] if quick else SCALES:
            stage = f"unit costs: {scale.network}, {scale.side} px"
            size, tick = subject.size(), lambda done, whole, stage=stage: progress(stage, done, whole)
            record["scales"].append(scale_record(scale, size, algebra, rounds=rounds, progress=tick))
    return record | {"complete": True}


def _subject(data: Dataset, settings: Settings, seeds: Mapping[str, int], progress: Progress) -> TrainedNetwork:
    """The network, trained on the data or a part of it."""
    x, y = data.x_train[: settings.train], data.y_train[: settings.train]
    _, blank = usual_network(data, seeds["network"])

    def tick(done: int, whole: int) -> None:
        progress("the network, given to all", done, whole)

    trained = train(blank, x, y, epochs=settings.epochs, seed=seeds["network"], progress=tick)
    return TrainedNetwork(trained.model, x, y, data.x_test, settings, seeds)


def _laps(subject: TrainedNetwork, rounds: int, progress: Progress) -> dict[str, list[float]]:
    """Do every piece once in each round, seconds of each: a piece takes what others made in the same round."""
    jobs = subject.jobs()
    laps: dict[str, list[float]] = {name: [] for name in jobs}
    tangent_features(subject.model, subject.x[:2], k=subject.settings.k, seed=0)  # libraries load on first use
    _ = subject.targets, subject.images  # given to all, before the clock runs
    for number in range(rounds):
        for done, (name, job) in enumerate(jobs.items()):
            progress(STAGE, number * len(jobs) + done, rounds * len(jobs))
            start = perf_counter()
            result = job()
            laps[name].append(perf_counter() - start)
            subject.made[name] = result
    progress(STAGE, rounds * len(jobs), rounds * len(jobs))
    return laps


def _described(data: Dataset, subject: TrainedNetwork) -> dict[str, Any]:
    logits = subject.logits(data.x_test)
    accuracy = float((logits.argmax(0) == data.y_test).double().mean())
    counts = {"n_train": len(subject.x), "n_test": len(data.x_test), "outputs": len(data.classes)}
    return {"name": data.name, "accuracy": accuracy, "parameters": parameter_count(subject.model)} | counts


def _compared(
    subject: TrainedNetwork, data: Dataset, laps: Mapping[str, list[float]], units: Mapping[str, float]
) -> dict[str, Any]:
    """One row for each way, and after how many uses the distillations pay, in seconds and in passes."""
    size, errors, logits = subject.size(), subject.kernel_errors(), subject.logits(data.x_test)
    counted = {name: work for name, (work, _) in pieces(size).items()}
    seconds = {name: float(np.median(found)) for name, found in laps.items()}
    passes = {name: float(sum(work.passes(size.outputs))) for name, work in counted.items()}
    rows = []
    for name, way in APPROACHES.items():
        machine: FittedPredictor = subject.made[way.fit[-1]]
        found = scores(subject.predict(way.predict, machine, data.x_test), logits, data.y_test)
        row = cost_row(name, way, size, seconds) | {"formula_seconds": _whole(way, counted).seconds(units)}
        row |= {"to_JL_only": ratio(_spent(way, laps), _spent(APPROACHES["JL only"], laps))}
        row |= {"lam_relative": machine.lam_relative, "kernel_error": errors[name]} | asdict(found)
        rows.append(row)
    solution, synthetic = subject.made["conjugate gradients"].found, subject.made["Algorithm 1"].found
    return {
        "ways": rows,
        "pays": {"seconds": pays_after(seconds), "passes": pays_after(passes)},
        "conjugate_gradients": {
            "steps": size.steps,
            "sweeps": size.sweeps,
            "certified": max(solution.history[-1].held_out_rms) / float(subject.targets.double().std()),
        },
        "algorithm_1": {"realised_m": synthetic.realised_m, "setting": synthetic.setting},
    }


def _whole(way: Approach, counted: Mapping[str, Work]) -> Work:
    """The work of a fit, with what is done once."""
    return sum((counted[piece] for piece in way.once + way.fit), Work())


def _spent(way: Approach, laps: Mapping[str, list[float]]) -> list[float]:
    """Seconds of a fit, with what is done once, in each round."""
    return np.sum([laps[piece] for piece in way.once + way.fit], axis=0).tolist()


# --- what is printed --------------------------------------------------------------------------------------------------


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """The headline: cost, what it buys, when distillation pays; then the same by formula at each larger scale."""
    about, own = record["data"], record["settings"]
    subject = f"{about['name']}: {about['n_train']:,} images, {about['parameters']:,} parameters"
    made = f"{own['per_class']} images per class of {own['updates']} updates, k = {own['k']}, m = {own['gradients']}"
    title = f"{subject}; {made}; one use: {own['use']:,} predictions"
    yield _cells(title, _cost_head("formula"), [_costs(row, f"{row['formula_seconds']:.3g}") for row in record["ways"]])
    head = ("way", "held", "kept", "accuracy", "fidelity", "kernel error")
    solved = "held-out images; matrix-free: {steps} steps, error at training images certified to {certified:.2g} sd"
    yield _cells(solved.format(**record["conjugate_gradients"]), head, map(_bought, record["ways"]))
    yield _pays(record["pays"])
    for scale in record["scales"]:
        yield from scale_tables(scale)


def scale_tables(scale: Mapping[str, Any]) -> Iterator[Cells]:
    """Costs, break-evens and the claims at one larger scale (`claims.scale_record`)."""
    where = f"{scale['network']}, {scale['side']} px"
    sizes = f"n = {scale['n']:,}, {scale['per_class']} images per class of {scale['updates']} updates, k = {scale['k']}"
    how = f"{scale['steps']} steps of conjugate gradients as at home, one use: {scale['use']:,} predictions"
    rows = [_costs(row, readable_bytes(row["held_bytes"])) for row in scale["ways"]]
    yield _cells(
        f"{where}, {sizes}, {how}: by formula from measured unit costs, nothing was run", _cost_head("held"), rows
    )
    yield _pays(scale["pays"])
    for claim in dict.fromkeys(row["claim"] for row in scale["claims"]):
        found = [(row["accounting"], f"{row['ratio']:,.3g}") for row in scale["claims"] if row["claim"] == claim]
        yield _cells(f"{claim}? {where}, by formula; below 1: against it", ("accounting", "ratio"), found)


def _cells(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Cells:
    return Cells(title, head, tuple(rows), {name: name for name in head})


def _cost_head(third: str) -> tuple[str, ...]:
    return ("way", "fit, s", third, "use, s", "forward", "backward", "J v")


def _costs(row: Mapping[str, Any], third: str) -> tuple[str, ...]:
    """Seconds and passes of a fit, what is done once included."""
    seconds, (once, fit) = row["seconds"], (row["passes"][part] for part in ("once", "fit"))
    counts = (_short(once[kind] + fit[kind]) for kind in ("forward", "backward", "products"))
    return (row["way"], _three_digits(seconds["once"] + seconds["fit"]), third, _three_digits(seconds["use"]), *counts)


def _short(count: int) -> str:
    """Write a count, in millions with three digits from there on."""
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:,.3g} M"


def _three_digits(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{float(f'{number:.3g}'):,.0f}"


def _bought(row: Mapping[str, Any]) -> tuple[str, ...]:
    held, kept = (readable_bytes(row[f"{part}_bytes"]) for part in ("held", "kept"))
    return (row["way"], held, kept, *(f"{row[key]:.3f}" for key in ("accuracy", "fidelity", "kernel_error")))


def _pays(pays: Mapping[str, Any]) -> Cells:
    """After how many uses, by seconds / by passes, for each way that distils and each account."""
    rows = []
    for way in pays["seconds"]:
        for account in ACCOUNTS:
            cells = (" / ".join(_uses(pays[unit][way][account][rival]) for unit in pays) for rival in RIVALS)
            rows.append((way, account, *cells))
    return _cells(PAYS, ("way", "account", "full kernel", "JL only", "last layer"), rows)


def _uses(count: int | None) -> str:
    return "never" if count is None else f"{count:,}"
