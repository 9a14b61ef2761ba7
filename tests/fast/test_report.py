"""A record is valid by its own schema, and its page stands alone: no script, no outside address."""

import copy
import io
import json
import re

import jsonschema
import pytest
from rich.console import Console

from dntk_fast._device import readable_bytes
from dntk_fast.cli import TABLES
from dntk_fast.cli.output import show
from dntk_fast.report import figures, parts
from dntk_fast.report.mind import mind_table
from dntk_fast.report.page import write_page
from dntk_fast.report.record import read_record, schema, write_record
from dntk_fast.report.table import Cells
from tests.fast.example_record import images, pictures, record

# Six figures, and three images with three for and three against each.
FIGURES = 6 + 3 * 7


def page(tmp_path, content):
    write_page(content, *images(), tmp_path / "report.html", pictures=pictures())
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_example_is_valid_and_a_broken_one_is_not():
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(record(), schema())
    for change in (
        lambda r: r["network"].pop("accuracy"),
        lambda r: r["full_kernel"].update(accuracy=1.5),
        lambda r: r["stages"].clear(),
        lambda r: r.update(more=1),
        lambda r: r["distance"]["steps"][0].pop("bound"),
        lambda r: r["distance"]["end"].update(same=1.1),
        lambda r: r["refined"].update(forward=0),
        lambda r: r["mind"]["images"][0].pop("rarity"),
        lambda r: r["mind"]["images"][0]["removals"].clear(),
        lambda r: r["mind"]["images"][0]["supporting"][0].update(row=-1),
    ):
        broken = copy.deepcopy(record())
        change(broken)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema())


def test_a_record_goes_out_and_comes_back(tmp_path):
    write_record(record(), tmp_path / "report.json")
    assert read_record(tmp_path / "report.json") == record()


def test_a_record_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="Out of range float values"):
        write_record(record() | {"threads": float("nan")}, tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 2}'])
def test_what_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="path: expected a report"):
        read_record(tmp_path / "x.json")


def test_the_page_stands_alone_and_escapes_what_it_shows(tmp_path):
    html = page(tmp_path, record())
    assert "<script" not in html
    assert not re.search(r'(?:src|href)=(?!"data:)', html)
    assert not re.search(r"url\(|@import", html)
    assert "made &lt;up&gt;" in html
    assert "made <up>" not in html


def test_the_page_shows_every_method_stage_and_predictor(tmp_path):
    html, content = page(tmp_path, record()), record()
    for row in content["gradient_distillation"]:
        assert f"<td>{row['method']}</td><td>{row['m']}</td>" in html
    for row in content["stages"]:
        assert f"<td>{row['name']}</td><td>{row['seconds']:.1f}</td>" in html
    assert html.count("<img") == FIGURES


def test_a_column_of_long_texts_is_broken_into_lines():
    html = parts.table(Cells("t", ("of", "is", "setting"), (("a" * 30, "2", "b" * 25), ("c", "3", "")), {}))
    assert '<th>of</th><th>is</th><th class="words">setting</th>' in html
    assert f'<td>{"a" * 30}</td><td>2</td><td class="words">{"b" * 25}</td>' in html


def test_the_legend_of_the_ranks_stands_above_the_bars(monkeypatch):
    """Taken from the drawn figure: no bar reaches the legend."""
    drawn = []
    monkeypatch.setattr(figures, "svg", lambda figure: drawn.append(figure) or "data:")
    content = record()
    figures.spectrum_figure(content)
    axes = drawn[0].axes[1]
    drawn[0].canvas.draw()
    legend = axes.get_legend().get_window_extent()
    assert max(bar.get_window_extent().y1 for bar in axes.patches) < legend.y0


def test_the_page_does_without_real_spectra_and_condition_numbers(tmp_path):
    content = record()
    content["spectra"] |= {"real": None, "real_ranks": None}
    content["distilled_sizes"][0]["condition_number"] = None
    assert page(tmp_path, content).count("<img") == FIGURES


def test_the_same_record_gives_the_same_page(tmp_path):
    assert page(tmp_path, record()) == page(tmp_path, json.loads(json.dumps(record())))


def without_truth(found):
    """The same record as a run has it whose exact kernel does not fit."""
    if isinstance(found, dict):
        return {key: None if key in {"truth", "looseness"} else without_truth(value) for key, value in found.items()}
    return [without_truth(value) for value in found] if isinstance(found, list) else found


def test_the_page_tells_how_far_from_the_full_kernel(tmp_path):
    html = page(tmp_path, record())
    assert "<h2>How far from the full kernel?</h2>" in html
    assert "6,170 times the size of the predictions themselves: of held-out images it says nothing" in html
    assert "<td>full, after 3 passes: held-out RMS</td><td>6,170</td><td>0.15</td><td>41,200</td>" in html
    assert "proven to be the full one's for 14 of 20 and another for 1 of 20; 5 of 20 stay open" in html
    for step, passes in ((0, 4), (5, 14), (7, 18)):
        assert f"<td>{step}</td><td>{passes}</td>" in html
    assert "<td>3</td><td>10</td>" not in html
    assert "<td>9 + 11</td>" in html
    assert "The bound is 32 times too large" in html  # 8 / 0.25


def test_the_page_says_where_bounds_say_something(tmp_path):
    content = record()
    content["distance"]["start"]["held_out_rms"] |= {"bound": 0.5}
    assert "held-out error is proven to be at most 0.25 of the predictions' size" in page(tmp_path, content)
    content["distance"]["steps"][-1] |= {"bound": 30.0, "looseness": 1.5}
    assert "times too large, for" not in page(tmp_path, content)
    assert "still 15 times the predictions' size and says nothing" in page(tmp_path, content)


def test_bounds_stand_without_truth(tmp_path):
    content = record()
    content["distance"] = without_truth(content["distance"]) | {
        "exact": False,
        "network": record()["distance"]["network"],
    }
    jsonschema.validate(content, schema())
    html = page(tmp_path, content)
    assert html.count("<img") == FIGURES
    assert "the exact kernel was too large to form" in html
    assert "the exact solution is known" not in html
    assert "<td>6,170</td><td>–</td><td>–</td>" in html


def test_the_page_shows_what_would_change_its_mind(tmp_path):
    html = page(tmp_path, record())
    assert html.count("<h2>What would change its mind?</h2>") == 1
    assert "Without the 12 images that support it most, training is predicted to say <b>church</b>" in html
    assert "Not the 25 images that support it most" in html
    assert "the kernel machine itself says horn with all images" in html
    assert 'alt="training image 91, church · -0.400, opposes the answer tench"' in html
    assert "6.2% of the training images are as unusual" in html
    assert "<td>nothing</td><td>horn</td><td>+0.375</td></tr>" in html
    assert "<td>12 images</td><td>church</td><td>-0.500</td></tr>" in html
    alts = re.findall(r'<img[^>]*alt="([^"]*)"', html)
    assert len(alts) == FIGURES
    assert all(alts)
    one = mind_table(record())
    assert [row[-2:] for row in one.rows] == [("12 images", "church"), ("none of 25", "–"), ("–", "–")]


def test_the_page_does_without_changed_minds_where_no_exact_kernels_were(tmp_path):
    content = record() | {"mind": None}
    jsonschema.validate(content, schema())
    assert "What would change its mind" not in page(tmp_path, content)
    assert mind_table(content).rows == ()
    assert "did not fit" in mind_table(content).title


def test_tables_print_what_the_record_says():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in TABLES:
        console.print(table(record()))
    text = console.export_text()
    console.file.close()
    assert "full kernel, label targets" in text
    assert "refined to the full kernel" in text
    assert "full, after 21 passes: training RMS" in text
    assert "exact one gradient" in text
    assert "11.7 MiB" in text
    assert "±" in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_cuts_no_number_and_no_column(width):
    console = Console(width=width, record=True, file=io.StringIO())
    for cells in (table(record()) for table in TABLES):
        show(console, [cells])
        words = console.export_text().split()
        assert "…" not in "".join(words)
        shown = [cells.head.index(name) for name in cells.narrow]
        for text in (*cells.narrow.values(), *(row[place] for row in cells.rows for place in shown)):
            assert all(word in words for word in text.split())


def test_what_fits_is_printed_as_it_was():
    console = Console(width=160, record=True, file=io.StringIO())
    for cells in (table(record()) for table in TABLES):
        console.print(cells)
        plain = console.export_text()
        show(console, [cells])
        assert console.export_text() == plain


def test_bytes_are_readable():
    assert [readable_bytes(size) for size in (0, 1023, 1024, 2.5 * 2**30, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "2.5 GiB",
        "3.0 TiB",
    ]


def test_an_image_sheet_has_a_row_for_each_class():
    pictures, labels = images()
    small = figures.image_sheet(pictures, labels, columns=4)
    large = figures.image_sheet(pictures, labels, columns=10)
    assert small.startswith("data:image/png;base64,")
    assert len(large) > len(small)
