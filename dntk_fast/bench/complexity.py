"""Measured complexity: the exponents that the paper claims (3.1, 4.2, E.2, Table 1), counted and timed.

Counts are those of the code that runs, at every size, and the same on every machine; seconds are medians of
interleaved rounds. An exponent is the slope of a log-log fit, with its standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._arrays import eigh, gram
from dntk_fast.bench.counting import Cost, count
from dntk_fast.bench.race import Task, circumstances, pinned, race
from dntk_fast.bench.slope import SIZES, Slope, slope
from dntk_fast.bench.subjects import SEED
from dntk_fast.gradient_distillation import (
    farthest_point_rows,
    kmeans_rows,
    leverage_rows,
    local_global_synthesis,
    random_rows,
    spectral_clusters,
)
from dntk_fast.locality import eigenspaces
from dntk_fast.models import build, parameter_count
from dntk_fast.report.table import Cells
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.kernel import kernel_plan, tangent_kernel

__all__ = ["ROWS", "Row", "Work", "measure", "tables"]

ROUNDS = 7
MEASURES = ("flops", "bytes", "seconds")
SIGNS = {"within 2 s.e.": "=", "within 0.1": "≈", "lower": "<", "higher": ">", "undecided": "?"}


@dataclass(frozen=True)
class Work:
    """An instance ready to be computed.

    `fixed` is the part of `run` whose count is left out, because it does not depend on how much is asked for: a plan,
    a refusal. `actual` corrects sizes that could not be had exactly; `counted` is False where most of the work is done
    outside torch.
    """

    run: Callable[[], Any]
    fixed: Callable[[], Any] = lambda: None
    model: nn.Module | None = None
    actual: Mapping[str, int] | None = None
    counted: bool = True


@dataclass(frozen=True)
class Row:
    """One claim: what is computed, where it is claimed, and for each axis the exponent and the sizes.

    `held` are the sizes of the other axes while one of them moves.
    """

    name: str
    source: str
    claim: str
    axes: Mapping[str, tuple[int, Sequence[int]]]
    held: Mapping[str, int]
    prepare: Callable[..., Work]
    note: str = ""


# A quick run takes four of each, and a quarter of n, k and P.
CUBIC = (160, 240, 360, 540, 810)
IMAGES = (32, 64, 128, 256, 512)
CHOSEN = (8, 16, 32, 64, 128)
WIDTHS = (64, 128, 256, 512, 1024)
OUTPUTS = (4, 8, 16, 32, 64)
PARAMETERS = (10_000, 20_000, 40_000, 80_000, 160_000)


def _rows_of(n: int, k: int) -> Tensor:
    """Features (n, k) with decaying columns: the spectrum of their Gram matrix falls like that of tangent features."""
    rng = np.random.default_rng(SEED)
    return torch.as_tensor(rng.standard_normal((n, k)) * (1.0 + np.arange(k)) ** -0.75)


def _kernel(n: int) -> Tensor:
    return gram(_rows_of(n, 2 * n))


def _labels(n: int, H: int) -> Tensor:
    return torch.arange(n) % H


def _gram(n: int, k: int) -> Work:
    Phi = _rows_of(n, k)
    return Work(lambda: gram(Phi))


def _clusters(n: int) -> Work:
    K = _kernel(n)
    return Work(lambda: spectral_clusters(K, 5, seed=SEED), counted=False)


def _global(n: int) -> Work:
    K = _kernel(n)
    return Work(lambda: eigh(K))


def _local(n: int, H: int) -> Work:
    K, labels = _kernel(n), _labels(n, H)
    pair = eigh(K)
    return Work(lambda: eigenspaces(K, labels, pair=pair))


def _synthesis(n: int, m: int, k: int) -> Work:
    Phi, U = _rows_of(n, k), _rows_of(n, m)
    return Work(lambda: U.T @ Phi)


def _random(m: int) -> Work:
    return Work(lambda: random_rows(10_000_000, m, seed=SEED), counted=False)


def _leverage(n: int) -> Work:
    K = _kernel(n)
    return Work(lambda: leverage_rows(K, 20, lam=1.0, seed=SEED))


def _farthest(n: int, m: int) -> Work:
    K = _kernel(n)
    return Work(lambda: farthest_point_rows(K, m), lambda: farthest_point_rows(K, 1))


def _kmeans(n: int, m: int) -> Work:
    K = _kernel(n)
    return Work(lambda: kmeans_rows(K, m, seed=SEED), counted=False)


def _algorithm(n: int) -> Work:
    Phi, y, labels = _rows_of(n, 64)[None], _rows_of(n, 1)[None, :, 0], _labels(n, 5)
    return Work(lambda: local_global_synthesis(Phi, y, labels=labels, tau_v=0.9, tau_g=0.7))


def _perceptron(n: int, C: int, P: int) -> tuple[nn.Module, Tensor, dict[str, int]]:
    """Two hidden layers of equal width, the width that comes nearest to P parameters; and n images."""
    width = round((-(C + 66) + ((C + 66) ** 2 + 4 * (P - C)) ** 0.5) / 2)
    model = build("mlp", seed=SEED, hidden=(width, width), outputs=C)
    return model, _rows_of(n, 64).float(), {"P": parameter_count(model)}


def _features(n: int, C: int, P: int, k: int, projection: str = "auto") -> Work:
    model, x, actual = _perceptron(n, C, P)
    given: dict[str, Any] = {"k": k, "seed": SEED, "projection": projection}
    return Work(lambda: tangent_features(model, x, **given), lambda: feature_plan(model, x, **given), model, actual)


def _exact(n: int, C: int, P: int) -> Work:
    model, x, actual = _perceptron(n, C, P)
    return Work(lambda: tangent_kernel(model, x), lambda: kernel_plan(model, x), model, actual)


SKLEARN = "scikit-learn's: timed, not counted"
PLANNED = "the plan (two samples) is not counted"
ROWS = (
    Row("class kernel from features", "E.2", "n^2 k", {"n": (2, CUBIC), "k": (1, WIDTHS)}, {"n": 400, "k": 256}, _gram),
    Row("spectral clustering", "E.2", "n^3", {"n": (3, CUBIC)}, {}, _clusters, SKLEARN),
    Row("global eigendecomposition", "E.2", "n^3", {"n": (3, CUBIC)}, {}, _global),
    Row(
        "local eigendecompositions", "E.2", "n^3 / H^2", {"n": (3, CUBIC), "H": (-2, (1, 2, 4, 8, 16))},
        {"n": 480, "H": 5}, _local, "with the overlaps of local and global vectors, 2 n^3 / H, which E.2 leaves out",
    ),
    Row(
        "synthesis U^T Phi", "E.2", "m n k", {"m": (1, CHOSEN), "n": (1, CUBIC), "k": (1, WIDTHS)},
        {"n": 400, "m": 64, "k": 256}, _synthesis,
    ),
    Row(
        "random rows", "Table 1", "m", {"m": (1, (12_500, 25_000, 50_000, 100_000, 200_000))}, {}, _random,
        "NumPy's: timed, not counted",
    ),
    Row("leverage rows", "Table 1", "n^3", {"n": (3, CUBIC)}, {}, _leverage),
    Row(
        "farthest-point rows", "Table 1", "n m^2", {"n": (1, CUBIC), "m": (2, CHOSEN)}, {"n": 800, "m": 40}, _farthest,
        "no products: see bytes; the first row, with the refusals, is not counted",
    ),
    Row(
        "k-means rows", "Table 1", "n m k T", {"n": (1, CUBIC), "m": (1, CHOSEN)}, {"n": 400, "m": 40}, _kmeans,
        f"{SKLEARN}; from a kernel, so points have n coordinates; T moves",
    ),
    Row("Algorithm 1, stages 2 to 6", "Table 1", "n^3", {"n": (3, CUBIC)}, {}, _algorithm),
    Row(
        "tangent features", "4.2", "C n P k",
        {"n": (1, IMAGES), "C": (1, OUTPUTS), "P": (1, PARAMETERS), "k": (1, (128, 256, 512, 1024, 2048))},
        {"n": 16, "C": 10, "P": 20_000, "k": 1024}, _features, PLANNED,
    ),
    Row(
        "tangent features, dense Gaussian map", "4.2", "C n P k",
        {"n": (1, IMAGES), "C": (1, OUTPUTS), "P": (1, PARAMETERS), "k": (1, (32, 64, 128, 256, 512))},
        {"n": 16, "C": 4, "P": 10_000, "k": 64}, lambda **sizes: _features(**sizes, projection="gaussian"), PLANNED,
    ),
    Row(
        "exact class kernels", "3.1", "C n^2 P", {"n": (2, IMAGES), "C": (1, OUTPUTS), "P": (1, PARAMETERS)},
        {"n": 64, "C": 10, "P": 40_000}, _exact, PLANNED,
    ),
)  # fmt: skip


def measure(
    *,
    rounds: int | None = None,
    threads: int = 1,
    quick: bool = False,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> dict[str, Any]:
    """Count and time every row of `ROWS` along each of its axes; Ctrl-C ends it with the whole axes done so far.

    Parameters
    ----------
    rounds : interleaved rounds behind every median; 7 if None (1 if quick), 0 to count only
    threads : of torch
    quick : four small sizes for each axis, to see that it runs
    progress : called with ("complexity", axes done, axes)

    Returns
    -------
    dict
        What JSON can hold: circumstances, and one entry for each row and axis with sizes, counts, seconds and slopes.
    """
    rounds = _check.integer("rounds", (1 if quick else ROUNDS) if rounds is None else rounds, 0)
    threads = _check.integer("threads", threads, 1)
    record = circumstances() | {"threads": threads, "rounds": rounds, "quick": quick, "complete": False, "rows": []}
    jobs = [(row, axis) for row in ROWS for axis in row.axes]
    with pinned(threads):
        try:
            for done, (row, axis) in enumerate(jobs):
                progress("complexity", done, len(jobs))
                record["rows"].append(_along(row, axis, rounds, quick))
            progress("complexity", len(jobs), len(jobs))
            record["complete"] = True
        except KeyboardInterrupt:
            pass
    return record


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """Claimed and found exponents, one line for each row and axis."""
    head = ("computation", "claimed", "in", "exponent", "flops", "bytes", "seconds", "backward passes", "sizes", "note")
    shown = ("computation", "in", "exponent", "flops", "bytes", "seconds")
    legend = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    rows = tuple(_cells(found) for found in record["rows"])
    yield Cells(f"exponents beside the claim: {legend}", head, rows, {name: name for name in shown})


def _along(row: Row, axis: str, rounds: int, quick: bool) -> dict[str, Any]:
    """One row along one axis: counts, seconds, and their slopes."""
    claimed, values = row.axes[axis]
    held = {name: value for name, value in row.held.items() if name != axis}
    if quick:
        held = {name: _smaller(name, value) for name, value in held.items()}
        values = [_smaller(axis, value) for value in values[:SIZES]]
    works = [row.prepare(**held, **{axis: value}) for value in values]
    sizes = [(work.actual or {}).get(axis, value) for work, value in zip(works, values, strict=True)]
    costs = [count(work.run, work.model) - count(work.fixed, work.model) for work in works if work.counted]
    seconds = _seconds(works, rounds)
    counted = {name: [asdict(cost)[name] for cost in costs] for name in asdict(Cost(0, 0, 0, 0))} if costs else {}
    found = {name: _slope(sizes, costs_of) for name, costs_of in (counted | {"seconds": seconds}).items()}
    slopes = {name: asdict(fit) for name, fit in found.items() if fit}
    # A claim is about operations: bytes are judged only where nothing multiplies.
    for name in ("flops" if "flops" in slopes else "bytes", "seconds"):
        if fit := found.get(name):
            slopes[name]["verdict"] = fit.verdict(claimed)
    return {
        "name": row.name, "source": row.source, "claim": row.claim, "axis": axis, "claimed": claimed,
        "held": held, "sizes": sizes,
        "counted": counted, "seconds": seconds, "note": row.note,
        "slopes": slopes,
    }  # fmt: skip


def _smaller(name: str, value: int) -> int:
    """A quarter of the rows, the coordinates or the parameters."""
    return value // 4 if name in {"n", "k", "P"} else value


def _seconds(works: Sequence[Work], rounds: int) -> list[float]:
    """Medians over rounds in which every size is computed once, after a warm-up."""
    if not rounds:
        return []
    tasks = [Task(str(at), lambda _, work=work: work.run()) for at, work in enumerate(works)]  # type: ignore[misc]
    race(tasks, 0)
    return np.median([race(tasks, number)[:, 0] for number in range(1, rounds + 1)], axis=0).tolist()


def _slope(sizes: Sequence[int], costs: Sequence[float]) -> Slope | None:
    """The slope, where there is something to fit: counts are zero where nothing of the kind happens."""
    return slope(sizes, costs) if costs and min(costs) > 0 else None


def _cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    def cell(name: str) -> str:
        fit = found["slopes"].get(name)
        if fit is None:
            return ""
        return f"{SIGNS.get(fit.get('verdict'), '')} {fit['exponent']:.2f} ± {fit['standard_error']:.2f}".lstrip()

    passes = found["counted"].get("backward", [0])
    span = f"{found['sizes'][0]:,} - {found['sizes'][-1]:,}"
    shown = (cell(name) for name in MEASURES)
    backward = f"{passes[0]:,} - {passes[-1]:,}" if passes[-1] else ""
    return (
        found["name"],
        found["claim"],
        found["axis"],
        f"{found['claimed']:g}",
        *shown,
        backward,
        span,
        found["note"],
    )
