"""The three pictures of the first page, drawn from committed numbers while the site is built."""

import json
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dntk_fast.experiment.scoreboard_figure import error_against_passes
from dntk_fast.report.drawing import COLOURS, STYLE, dress

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "asv_benchmarks" / "results"
MADE = Path(__file__).resolve().parents[1] / "_build" / "made"


def _kept(device, name):
    return json.loads((RESULTS / device / f"{name}.json").read_text(encoding="utf-8"))


def verdicts(path):
    """How many readings of the paper's statements hold, and how they fail."""
    counts = json.loads((ROOT / "proofs_checks" / "ledger.json").read_text(encoding="utf-8"))["counts"]["verdicts"]
    names = sorted(counts, key=lambda name: counts[name])
    colours = {"holds": COLOURS[2], "holds with an added hypothesis": COLOURS[4], "fails": COLOURS[1]}
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.2), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(names, [counts[name] for name in names], color=[colours.get(n, COLOURS[8]) for n in names])
        axes.bar_label(bars, padding=3)
        dress(axes, "", "readings of statements")
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def floors(path):
    """What an exact kernel and projected features cost, in floors, beside per-sample gradients by vmap."""
    networks = [one for one in _kept("xeon-2-cores", "floor")["networks"] if one["name"] in SHOWN]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.8), layout="constrained")
        axes = figure.subplots()
        methods = ("exact kernel", "features, k = 512", "vmap(grad)")
        for at, method in enumerate(methods):
            ratios = [next(row["ratio"] for row in one["rows"] if row["method"] == method) for one in networks]
            places = [i + 0.26 * (1 - at) for i in range(len(networks))]
            bars = axes.barh(places, ratios, 0.24, color=COLOURS[at], label=method)
            axes.bar_label(bars, [f"{ratio:.3g}" for ratio in ratios], padding=3, fontsize=8)
        axes.set_yticks(range(len(networks)), [SHOWN[one["name"]] for one in networks])
        axes.set_xscale("log")
        _plain_ticks(axes)
        axes.axvline(1, color="#222222", lw=1)
        axes.margins(x=0.12)
        dress(axes, "", "floors: one forward and ten backward passes of the same images")
        figure.legend(loc="outside upper left", ncols=3, fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def distillation(path):
    """How far distilled kernels are from the kernel of all images, against what they cost."""
    with rc_context(STYLE):
        figure = error_against_passes(_kept("epyc-2-cores", "distillation_digits_500"))
        for axes in figure.axes:
            _plain_ticks(axes)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _plain_ticks(axes):
    """0.5, 1, 2, 5, 10 on the horizontal axis instead of powers of ten."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


SHOWN = {"resnet18": "ResNet-18", "conv28": "small conv net", "vit_tiny": "vision transformer"}


def draw(app):
    """Draw the pictures of the first page from the committed numbers."""
    MADE.mkdir(parents=True, exist_ok=True)
    verdicts(MADE / "verdicts.svg")
    floors(MADE / "floors.svg")
    distillation(MADE / "distillation.svg")


def setup(app):
    """Draw before pages are read."""
    app.connect("builder-inited", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
