"""A record is valid by its own schema, and its page stands alone: no script, no outside address."""

import copy
import json
import re

import jsonschema
import pytest
from rich.console import Console

from dntk_fast import report
from dntk_fast.report import figures
from dntk_fast.report.table import readable_bytes
from tests.fast.example_record import images, record


def page(tmp_path, content):
    report.write_page(content, *images(), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_example_is_valid_and_a_broken_one_is_not():
    jsonschema.Draft202012Validator.check_schema(report.schema())
    jsonschema.validate(record(), report.schema())
    for change in (
        lambda r: r["network"].pop("accuracy"),
        lambda r: r["full_kernel"].update(accuracy=1.5),
        lambda r: r["stages"].clear(),
        lambda r: r.update(more=1),
    ):
        broken = copy.deepcopy(record())
        change(broken)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, report.schema())


def test_a_record_goes_out_and_comes_back(tmp_path):
    report.write_record(record(), tmp_path / "report.json")
    assert report.read_record(tmp_path / "report.json") == record()


def test_a_record_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="Out of range float values"):
        report.write_record(record() | {"threads": float("nan")}, tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 2}'])
def test_what_is_no_record_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="path: expected a report"):
        report.read_record(tmp_path / "x.json")


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
    assert html.count("<img") == 5


def test_the_page_does_without_real_spectra_and_condition_numbers(tmp_path):
    content = record()
    content["spectra"] |= {"real": None, "real_ranks": None}
    content["distilled_sizes"][0]["condition_number"] = None
    assert page(tmp_path, content).count("<img") == 5


def test_the_same_record_gives_the_same_page(tmp_path):
    assert page(tmp_path, record()) == page(tmp_path, json.loads(json.dumps(record())))


def test_tables_print_what_the_record_says():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in (report.predictor_table, report.method_table, report.stage_table):
        console.print(table(record()))
    text = console.export_text()
    console.file.close()
    assert "full kernel, label targets" in text
    assert "exact one gradient" in text
    assert "12.3 MB" in text
    assert "±" in text


def test_bytes_are_readable():
    assert [readable_bytes(size) for size in (0, 999, 1000, 2.5e9, 3e12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 GB",
        "3.0 TB",
    ]


def test_an_image_sheet_has_a_row_for_each_class():
    pictures, labels = images()
    small = figures.image_sheet(pictures, labels, columns=4)
    large = figures.image_sheet(pictures, labels, columns=10)
    assert small.startswith("data:image/png;base64,")
    assert len(large) > len(small)
