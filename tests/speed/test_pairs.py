"""The timings themselves: all that has two sides is there, nothing is timed that errs, nothing kept names a machine."""

import importlib
import json
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import conftest
from tests.speed.conftest import pytest_benchmark_compare_machine_info
from tests.speed.pairs import DRAWN, agree_then_time, kept, machine, modules, pairs, sizes
from tests.tolerances import TOL

HERE = Path(__file__).parent
FILES = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")} - {"pairs"}


def test_every_module_that_asv_compares_has_a_file_with_all_its_quantities():
    assert set(modules()) == FILES
    for name in FILES:
        assert pairs(name) == importlib.import_module(f"tests.speed.test_{name}").QUANTITIES


def test_every_quantity_has_a_size_and_no_point_is_drawn_twice():
    points = {(quantity, repr(size)) for name in FILES for quantity in pairs(name) for size in sizes(quantity)}
    assert {quantity for quantity, _ in points} == {quantity for name in FILES for quantity in pairs(name)}
    assert [size for _, size in points if DRAWN & set(size.split())] == []
    every = {repr(size) for quantity in pairs("gradient_distillation") for size in quantity.params[0]}
    assert any("method=kmeans_rows" in size.split() for size in every)  # what is left out is there


class Recorder:
    """What the plug-in hands to a test, without a clock."""

    def __init__(self):
        self.extra_info, self.group, self.calls = {}, None, 0

    def pedantic(self, function, args, rounds, warmup_rounds):
        self.calls += 1
        function(*args)


class Wrong:
    """A fast path that doubles."""

    factor = 2.0

    def setup(self, size):
        self.true = 1.0

    def track_error(self, size):
        return abs(self.factor * self.true - self.true)

    def time_fast(self, size):
        return self.factor * self.true

    time_reference = time_fast


class Right(Wrong):
    factor = 1.0


def test_a_side_that_errs_is_never_timed():
    recorder = Recorder()
    agree_then_time(recorder, Right, Frozen(n=1), "fast")
    assert (recorder.calls, recorder.extra_info) == (1, {"error": 0.0})
    with pytest.raises(AssertionError):
        agree_then_time(recorder, Wrong, Frozen(n=1), "fast")
    with pytest.raises(AssertionError):  # the tolerance of float32 is for float32 alone
        agree_then_time(recorder, Near, Frozen(n=1), "fast")
    agree_then_time(recorder, Near, Frozen(n=1, dtype="float32"), "fast")
    assert recorder.calls == 2


class Near(Wrong):
    factor = 1 + TOL["float32"] / 2


class Frozen(SimpleNamespace):
    """A size that can be a key."""

    def __hash__(self):
        return hash(repr(self))


def config(plugin, **options):
    """As much of pytest's configuration as the switch looks at."""
    option = SimpleNamespace(benchmark_disable=False, **options)
    manager = SimpleNamespace(hasplugin=lambda name: plugin and name == "benchmark")
    return SimpleNamespace(option=option, pluginmanager=manager, getoption=lambda name: getattr(option, name))


@pytest.mark.parametrize(("only", "disabled"), [(False, True), (True, False)])
def test_nothing_is_timed_unless_asked(only, disabled):
    found = config(True, benchmark_only=only)
    conftest.pytest_configure(found)
    assert found.option.benchmark_disable is disabled


def test_without_the_plug_in_the_timings_are_skipped_with_a_reason():
    marks = []
    for plugin in (True, False):
        found = config(plugin)
        if not plugin:
            conftest.pytest_configure(found)
        for names in (["benchmark", "side"], ["side"]):
            item = SimpleNamespace(fixturenames=names, add_marker=marks.append, get_closest_marker=lambda name: None)
            conftest.pytest_collection_modifyitems(found, [item])
    assert [mark.kwargs["reason"] for mark in marks] == ["pytest-benchmark is not there: nothing of tests/speed runs"]


def test_what_is_kept_can_be_compared_and_names_no_machine():
    row = {name: 1 for name in ("group", "name", "fullname", "param", "extra_info", "options")}
    row |= {"params": {"quantity": "<class>"}, "stats": {"median": 1.23456, "data": [1.0]}}
    (found,) = kept({"benchmarks": [row], "machine_info": {}})["benchmarks"]
    assert found["stats"] == {"median": 1.235}
    assert "options" not in found
    assert found["params"] is None
    text = json.dumps(machine())
    assert (platform.node() or "localhost") not in text
    assert set(machine()) >= {"cpu", "cores", "threads", "torch"}


def test_times_of_another_machine_are_compared_and_the_machine_is_told():
    said = []
    session = SimpleNamespace(logger=SimpleNamespace(info=said.append))
    for cpu in ("this", "that"):
        pytest_benchmark_compare_machine_info(session, {"cpu": "this"}, {"machine_info": {"cpu": cpu}})
    assert said == ["Kept times are of {'cpu': 'that'}, these of {'cpu': 'this'}."]
