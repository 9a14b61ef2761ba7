"""Does the tangent kernel predict retraining? Networks retrained for real on half of the images, and without a few.

LDS: the mean over held-out images of Spearman's correlation, over random half subsets, of predicted and retrained margins
(the mean of the retrainings). Differences are paired image by image, with bootstrap intervals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.analysis.attribution import Retraining, linear_datamodelling_score
from dntk_fast.bench.attributors import (
    GRID,
    Block,
    Question,
    cosine_margins,
    margin_features,
    pixel_votes,
    ridge_rules,
    trak_margins,
)
from dntk_fast.bench.race import circumstances, pinned, threads_of
from dntk_fast.bench.retraining import Retrained, settings_of
from dntk_fast.files.stages import StageStore
from dntk_fast.report.cells import Cells
from dntk_fast.workflow.data import load

__all__ = ["default_folder", "measure", "tables"]

SIZES, TRAK_K, SEED, QUICK_HELD_OUT = (256, 1024, 4096), 2048, 0, 40
RESAMPLES, LEVEL = 2000, (2.5, 97.5)
OURS = "tangent kernel"
Progress = Callable[[str, int, int], object]


def default_folder(data: str) -> Path:
    """Return where trainings are kept: runs/attribution-<data>.

    >>> default_folder("digits").name
    'attribution-digits'
    """
    return Path("runs") / f"attribution-{Path(data).name.removesuffix('.npz')}"


def measure(
    data: str = "digits",
    *,
    out: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
    quick: bool = False,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Retrain, predict, compare; trainings that are done are kept, and the same call goes on from there.

    Parameters
    ----------
    data : a data set or pack
    out : folder of the trainings; `default_folder` if None
    seed : of the images, the subsets and every training
    threads : of torch; as many as it has if None
    quick : few small trainings, to see that it runs
    progress : called with (stage, done, total)

    Returns
    -------
    dict
        What JSON can hold.

    Raises
    ------
    ValueError
        Unknown data, or a folder with trainings of other settings.
    """
    threads = threads_of(threads)
    dataset = load(data)
    settings = settings_of(dataset, quick=quick)
    kept = {"data": dataset.name, "seed": _check.seed(seed), "settings": asdict(settings)}
    inputs = {"data": dataset.fingerprint}
    with pinned(threads), StageStore(out or default_folder(data), kept, inputs=inputs) as store:
        retrained = Retrained(dataset, settings, seed, store, progress)
        new, y_new = (
            dataset.x_test[: QUICK_HELD_OUT if quick else None],
            dataset.y_test[: QUICK_HELD_OUT if quick else None],
        )
        networks, outputs = retrained.networks(), retrained.outputs()[:, :, : len(new)]
        truth = _network_margins(outputs, y_new)
        parts = retrained.x, retrained.y, new, y_new, retrained.subsets, len(dataset.classes)
        found = _methods(networks, Question(*parts), truth.mean(1), quick, progress)
        removal = _removal(retrained, networks, progress)
    accuracy = float((outputs.argmax(-1) == y_new).double().mean())
    record = circumstances() | {"threads": threads, "quick": quick, "complete": True} | kept
    return record | {"n_test": len(y_new), "accuracy": accuracy} | _ceiling(truth) | found | {"removal": removal}


def tables(record: Mapping[str, Any]) -> Iterator[Cells]:
    """One table of methods, one of ridge rules, one of removals."""
    s = record["settings"]
    title = (
        f"{record['data']}: LDS over {record['n_test']} held-out images, {s['subsets']} half subsets of {s['images']}, "
        f"{s['retrainings']} retrainings each (a perfect prediction: {record['attainable']:.3f})"
    )
    ceiling = [
        (f"{a} retraining(s) against {a} others", "", f"{v:.3f}", "", "", "") for a, v in record["ceiling"].items()
    ]
    rows = [
        (
            row["method"],
            str(row["networks"]),
            f"{row['lds']:.3f}",
            "[{:.3f}, {:.3f}]".format(*row["interval"]),
            "" if row["ridge"] is None else f"{row['ridge']:.3g}" + (" (best)" if row["best"] else ""),
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["ahead"]),
        )
        for row in record["methods"]
    ]
    head = ("method", "networks", "LDS", "95 % interval", "ridge / mean diagonal", "ours minus it")
    narrow = {
        "method": "method",
        "networks": "nets",
        "LDS": "LDS",
        "ridge / mean diagonal": "ridge",
        "ours minus it": "behind",
    }
    yield Cells(title, head, (*ceiling, *rows), narrow)
    rules = [(r["rule"], f"{r['ridge']:.3g}", f"{r['lds']:.3f}") for r in record["rules"]]
    names = ("rule", "ridge / mean diagonal", "LDS")
    yield Cells("ridge rules, one network", names, tuple(rules), {name: name for name in names})
    r = record["removal"]
    named = (("the top rows of `scores`", r["top"]), ("random rows", r["random"]))
    changes = tuple((name, f"{np.mean(v):+.2f}", f"{np.mean(np.array(v) < 0):.2f}") for name, v in named)
    title = f"removal of {r['rows']} rows, {len(r['top'])} held-out images: change of the retrained margin"
    names = ("removed", "mean change", "share that fell")
    yield Cells(title, names, changes, {name: name for name in names})


# --- the work ---------------------------------------------------------------------------------------------------------


def _network_margins(logits: Tensor, labels: Tensor) -> np.ndarray:
    """The labelled class's logit minus log-sum-exp of the others: (..., t, C) -> (..., t)."""
    own = nn.functional.one_hot(labels, logits.shape[-1]).bool().expand(logits.shape)
    shape = logits.shape[:-1]
    return (logits[own].view(shape) - logits.masked_fill(own, -torch.inf).logsumexp(-1)).double().numpy()


def _ceiling(truth: np.ndarray) -> dict[str, Any]:
    """LDS of r retrainings against r others, for r = 1 and 2 where there are as many, (S, retrainings, t)."""
    times, found = truth.shape[1], {}
    for r in (1, 2):
        pairs = [
            (a, b) for a in combinations(range(times), r) for b in combinations(range(times), r) if not {*a} & {*b}
        ]
        if pairs:
            means = [linear_datamodelling_score(truth[:, a].mean(1), truth[:, b].mean(1)).mean() for a, b in pairs]
            found[str(r)] = float(np.mean(means))
    once = found["1"]
    # Spearman-Brown: what a perfect prediction of the expected margin would reach against the mean of so many retrainings.
    reliability = times * once / (1 + (times - 1) * once)
    return {"ceiling": found, "attainable": float(max(reliability, 0.0) ** 0.5)}


@dataclass
class _Board:
    """The rows of the comparison, as they are made."""

    question: Question
    truth: np.ndarray
    losses: list[float]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def lds(self, margins: np.ndarray) -> np.ndarray:
        """Each held-out image's correlation, (t,)."""
        return linear_datamodelling_score(margins, self.truth)

    def add(self, name: str, count: int, margins: np.ndarray, ridge: float | None = None, best: bool = False) -> None:
        row = {"method": name, "networks": count, "ridge": ridge, "best": best}
        self.rows.append(row | {"each": self.lds(margins)})

    def best(self, name: str, count: int, margins: Callable[[float], np.ndarray]) -> None:
        """The ridge of the grid that is best in hindsight: context for ours, a gift to the others."""
        each = {ridge: margins(ridge) for ridge in GRID}
        chosen = max(GRID, key=lambda ridge: float(self.lds(each[ridge]).mean()))
        self.add(name, count, each[chosen], chosen, best=True)

    def kernel(self, name: str, blocks: list[Block], *, grid: bool) -> None:
        """A kernel of one network and of all of them, at the ridge of the rule."""
        for count in sorted({1, len(blocks)}):
            block = Block.added(blocks[:count])
            ridge = block.auto(self.question, float(np.mean(self.losses[:count])), SEED)
            self.add(name, count, block.margins(self.question, ridge), ridge)
            if grid:
                self.best(name, count, partial(block.margins, self.question))

    def compared(self) -> list[dict[str, Any]]:
        """Means and intervals over images; ours with as many networks minus each method, image by image."""
        rng = np.random.default_rng(0)
        t = self.truth.shape[1]
        draws = rng.integers(0, t, (RESAMPLES, t))
        ours = {
            row["networks"]: row["each"] for row in reversed(self.rows) if row["method"] == OURS and not row["best"]
        }
        found = []
        for row in self.rows:
            each = row["each"]
            paired = ours[row["networks"]] - each
            interval = np.percentile(each[draws].mean(1), LEVEL).tolist()
            ahead = [float(paired.mean()), *np.percentile(paired[draws].mean(1), LEVEL).tolist()]
            words = {name: row[name] for name in ("method", "networks", "ridge", "best")}
            found.append(words | {"lds": float(each.mean()), "interval": interval, "ahead": ahead})
        return found


def _methods(
    networks: list[nn.Module], question: Question, truth: np.ndarray, quick: bool, progress: Progress
) -> dict[str, Any]:
    """Every method's LDS, and that of every ridge rule."""
    sizes = (16,) if quick else SIZES
    steps, total = itertools.count(1), len(networks) * (3 + len(sizes))
    board = _Board(question, truth, [_loss(network, question) for network in networks])

    def of_each(make: Callable[[nn.Module], Any]) -> list[Any]:
        found = []
        for network in networks:
            found.append(make(network))
            progress("predictions", next(steps), total)
        return found

    exact = of_each(lambda network: Block.tangent(network, question))
    board.kernel(OURS, exact, grid=True)
    chosen = ridge_rules(exact[0], question, board.losses[0], SEED)
    scored = {rule: float(board.lds(exact[0].margins(question, ridge)).mean()) for rule, ridge in chosen.items()}
    rules = [{"rule": rule, "ridge": chosen[rule], "lds": scored[rule]} for rule in chosen]
    for k in sizes:
        board.kernel(
            f"projected features, k = {k}", of_each(partial(Block.tangent, question=question, k=k)), grid=False
        )
    board.kernel("last layer", of_each(partial(Block.last_layer, question=question)), grid=True)
    made = of_each(partial(margin_features, question=question, k=sizes[-1] if quick else TRAK_K, seed=SEED))
    for count in sorted({1, len(networks)}):
        parts = {name: [m[i] for m in made[:count]] for i, name in enumerate(("train", "new", "pulls"))}
        board.best("TRAK's form", count, partial(trak_margins, parts, question))
        board.add("gradient cosine", count, cosine_margins(parts, question))
    board.add("votes of near images, in pixels", 1, pixel_votes(question))
    return {"methods": board.compared(), "rules": rules}


@torch.no_grad()
def _loss(network: nn.Module, question: Question) -> float:
    logits = torch.cat([network(part) for part in question.x.split(256)])
    return float(nn.functional.cross_entropy(logits, question.y))


def _removal(retrained: Retrained, networks: list[nn.Module], progress: Progress) -> dict[str, Any]:
    """Retrain without the top rows of some held-out images, and without as many random ones; margins against no removal."""
    data, s = retrained.data, retrained.settings
    n, count = len(retrained.rows), max(1, round(s.removed_share * len(retrained.rows)))
    images = np.linspace(0, len(data.y_test) - 1, s.removals).round().astype(int)
    machine = Retraining(networks, seed=SEED).fit(retrained.x, retrained.y)
    scores = machine.scores(data.x_test[images], data.y_test[images])
    top = [row.argsort(descending=True)[:count].numpy() for row in torch.as_tensor(scores)]
    rng = np.random.default_rng(retrained.seed)
    drawn = [rng.choice(n, count, replace=False) for _ in range(s.random_removals)]
    nothing = np.array([], dtype=int)
    logits = retrained.without("removals", [nothing, *top, *drawn])
    margins = _network_margins(logits, data.y_test)[:, :, images].mean(1)  # (sets, images)
    change = margins[1:] - margins[0]
    said = machine.without(top, data.x_test[images])
    return {
        "rows": count,
        "images": images.tolist(),
        "top": np.diag(change[: len(top)]).tolist(),
        "random": change[len(top) :].mean(0).tolist(),
        "still_right": float(np.mean([int(said[i, i].argmax()) == int(data.y_test[j]) for i, j in enumerate(images)])),
    }
