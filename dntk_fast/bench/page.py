"""One self-contained page of tracked performance: no script, no outside address, pictures inline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dntk_fast.bench import charts, complexity, floor
from dntk_fast.bench.history import TIE, Device, comparisons, history, lines, moves
from dntk_fast.files.atomic import write_atomically
from dntk_fast.report.parts import cards, document, picture, table
from dntk_fast.report.table import Cells, predictor_table, stage_table

__all__ = ["sheets", "write_page"]

# Longer lists of numbers are shown by their ends.
LONG = 8
# A file with more rows opens on a click.
FOLDED = 40
TITLE = "Distilled neural tangent kernel: performance"


def write_page(devices: Sequence[Device], runs: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Write the page.

    Parameters
    ----------
    devices : as `read_results` gives them
    runs : records of runs (report.json) by name
    path : where the page goes; written whole or not at all
    """
    html = document("performance", _body(devices, runs))
    write_atomically(Path(path), html.encode(errors="backslashreplace"))


def _body(devices: Sequence[Device], runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"<h1>{TITLE}</h1>"
    yield (
        '<p class="soft">Times are of the named machine; ratios are medians of rounds in which both sides ran; an error '
        "stands beside every speed. The reference is float64 NumPy, straight from the definitions.</p>"
    )
    for device in devices:
        yield from _device(device)
    for name, record in runs.items():
        yield f"<h2>Run {escape(name)}</h2>"
        for cells in (predictor_table(record), stage_table(record)):
            yield _sheet(cells)


def _device(device: Device) -> Iterator[str]:
    yield f"<h1>{escape(device.name)}</h1>"
    if device.commits:
        yield from _tracked(device.commits)
    else:
        yield "<p>No run of the benchmarks has been imported for this device (<code>dntk bench import</code>).</p>"
    for name, record in device.files.items():
        yield f"<h2>{escape(name)}.json</h2>"
        yield f'<p class="soft">{escape(device.name)}{_circumstances(record)}</p>'
        yield from _file(record)


# --- benchmarks -------------------------------------------------------------------------------------------------------


def _tracked(commits: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The newest commit in full, then what changed from commit to commit."""
    newest = commits[-1]
    found = comparisons(newest)
    faster = sum(one.speedup is not None and one.speedup > 1 for one in found)
    yield cards(
        (newest["commit"][:10], f"newest commit, {newest['date'][:10]}; measured {newest['measured']}"),
        (newest["device"]["cpu"], f"{newest['device']['cores']} cores, {_threads(newest['threads'])}"),
        (str(len(newest["benchmarks"])), "benchmarks"),
        (f"{faster} of {sum(one.speedup is not None for one in found)}", "comparisons where the fast path is faster"),
    )  # fmt: skip
    if found:
        yield "<h2>Reference and fast path</h2>"
        yield "<p>A mark for each size. Right of the line the fast path wins; small sizes are mostly overhead.</p>"
        yield picture(charts.comparison_chart(found), "Speed over the reference, and error, of every benchmark")
    if any(one.fast_bytes is not None for one in found):
        yield "<h2>Memory</h2>"
        yield picture(charts.memory_chart(found), "Peak memory of reference and fast path above the empty run")
    if along := [line for line in lines(newest) if len(line.sizes) > 1]:
        yield "<h2>Scaling of the fast path</h2>"
        yield "<p>A slope is stated from four sizes on: <code>DNTK_BENCH_FULL=1</code> runs them all.</p>"
        yield picture(charts.line_chart(along), "Seconds of the fast path along each size")
    yield from _floors(newest)
    yield from _changes(commits)


def _floors(record: Mapping[str, Any]) -> Iterator[str]:
    rows = tuple(
        (name.removeprefix("bench_").rpartition(".")[0], size, f"{value:.3g}")
        for name, benchmark in record["benchmarks"].items()
        for size, value in benchmark["values"].items()
        if name.endswith("track_ratio_to_floor")
    )
    if rows:
        yield "<h2>Features and kernels in floors</h2>"
        yield "<p>One floor is one forward and C plain batched backward passes of the same images.</p>"
        yield table(Cells("", ("benchmark", "size", "floors"), rows, {}))


def _changes(commits: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<h2>Over commits</h2>"
    if len(commits) < 2:
        yield "<p>One commit so far: nothing to compare.</p>"
        return
    names = [record["commit"][:7] for record in commits]
    for method, title in (("time_fast", "seconds of the fast path"), ("track_speedup", "speed over the reference")):
        if series := history(commits, method):
            drawn = charts.history_chart(series, names, f"{title}, over the first commit's; the eight that moved most")
            yield picture(drawn, f"{title} over commits")
            yield _moved(series, title)


def _moved(series: Mapping[tuple[str, str], Sequence[tuple[str, float]]], title: str) -> str:
    """What changed by more than a tie from one commit to the next, in words and numbers."""
    rows = tuple((one.benchmark, one.size, one.before, one.after, f"{one.ratio:.3g}") for one in moves(series))
    if not rows:
        return f"<p>Nothing moved by a factor {TIE} or more from one commit to the next ({title}).</p>"
    head = ("benchmark", "size", "from", "to", "times")
    return table(Cells(f"Moved by a factor {TIE} or more: {title}", head, rows, {}))


# --- other files ------------------------------------------------------------------------------------------------------


def _file(record: Any) -> Iterator[str]:
    """Pictures of what is known, and a table of everything."""
    rows = record.get("rows") if isinstance(record, dict) else None
    if rows and all({"axis", "slopes", "claimed"} <= set(row) for row in rows):
        yield (
            "<p>Costs over the cost at the smallest size, both axes logarithmic; dashed: the slope that the paper claims. "
            "Counts are exact and of the code that runs; a standard error says how far the points are from one power.</p>"
        )
        drawn = [row for row in rows if row["slopes"]]
        yield picture(charts.exponent_chart(drawn), "Counted and timed costs beside the claimed exponents")
        yield from map(_sheet, complexity.tables(record))
        return
    networks = record.get("networks") if isinstance(record, dict) else None
    if networks and all(map(_raced, networks)):
        yield picture(charts.floor_chart(networks), "Ratios to the floor with their intervals")
        yield from map(_sheet, floor.tables(record))
        return
    found = list(sheets(record))
    folded = sum(len(cells.rows) for cells in found) > FOLDED
    yield f"<details><summary>{len(found)} tables</summary>" if folded else ""
    yield from map(_sheet, found)
    yield "</details>" if folded else ""


def _raced(network: Any) -> bool:
    """Whether these are ratios to the floor."""
    rows = network.get("rows", []) if isinstance(network, dict) else []
    return bool(rows) and all({"low", "high", "ratio", "stated"} <= set(row) for row in rows)


def _circumstances(record: Any) -> str:
    """Date, threads and versions of a record that states them."""
    if not isinstance(record, dict):
        return ""
    versions = ", ".join(f"{name} {value}" for name, value in record.get("versions", {}).items())
    parts = [record.get("date"), versions, _threads(record["threads"]) if "threads" in record else None]
    return escape("".join(f"; {part}" for part in parts if part))


def _threads(number: int | None) -> str:
    return "threads not recorded" if number is None else f"{number} thread{'s' if number > 1 else ''}"


def _sheet(cells: Cells) -> str:
    """A table with its title, without columns that are empty from top to bottom."""
    title = f'<p class="soft">{escape(cells.title)}</p>' if cells.title else ""
    kept = [at for at, _ in enumerate(cells.head) if any(row[at] for row in cells.rows)]
    rows = tuple(tuple(row[at] for at in kept) for row in cells.rows)
    return title + table(Cells("", tuple(cells.head[at] for at in kept), rows, {}))


def sheets(value: Any, title: str = "") -> Iterator[Cells]:
    """Tables of everything in a JSON value: one for each list of objects, one for the plain values of each object.

    >>> [cells.rows for cells in sheets({"a": 1, "rows": [{"x": 1, "y": 2.5}, {"x": 3}]})]
    [(('a', '1'),), (('1', '2.5'), ('3', ''))]
    """
    if isinstance(value, dict):
        if plain := tuple(_plain(value)):
            yield Cells(title, ("", "value"), plain, {})
        for name, part in value.items():
            if _nested(part) and not _flat(part):
                yield from sheets(part, f"{title} · {name}" if title else str(name))
    elif _nested(value):
        yield from _listed(value, title)


def _plain(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of an object, and of the objects in it that hold plain values only."""
    for name, part in value.items():
        if _flat(part):
            yield from ((f"{name} · {inner}", _cell(one)) for inner, one in part.items())
        elif not _nested(part):
            yield str(name), _cell(part)


def _flat(value: Any) -> bool:
    return isinstance(value, dict) and not any(map(_nested, value.values()))


def _listed(items: Sequence[Mapping[str, Any]], title: str) -> Iterator[Cells]:
    head = tuple(dict.fromkeys(name for item in items for name, part in item.items() if not _nested(part)))
    rows = tuple(tuple(_cell(item.get(name, "")) for name in head) for item in items)
    if head:
        yield Cells(title, head, rows, {})
    for at, item in enumerate(items):
        inner = {name: part for name, part in item.items() if _nested(part)}
        yield from sheets(inner, f"{title} · {item.get('name', at)}")


def _nested(value: Any) -> bool:
    """Whether a value needs a table of its own."""
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        shown: Iterable[Any] = value if len(value) <= LONG else [*value[:2], "…", *value[-1:]]
        return ", ".join(map(_cell, shown))
    return str(value)
