"""Quantities, sizes and sides of the timings: the first size of each, and all that asv takes where times are asked for."""

import subprocess

import pytest

from tests.speed.pairs import kept, machine, sizes

SIDES = ("reference", "fast")


def pytest_generate_tests(metafunc):
    """Every quantity of the module at its sizes, by both sides."""
    if not {"benchmark", "quantity", "size", "side"} <= set(metafunc.fixturenames):
        return
    option = metafunc.config.option
    timed = getattr(option, "benchmark_only", False) or getattr(option, "benchmark_enable", False)
    cases = [
        pytest.param(quantity, size, side, id="-".join((quantity.__name__, *repr(size).split(), side)))
        for quantity in metafunc.module.QUANTITIES
        for size in (sizes(quantity) if timed else sizes(quantity)[:1])
        for side in SIDES
    ]
    metafunc.parametrize(("quantity", "size", "side"), cases)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_generate_machine_info(config):
    """Processor, cores, threads and versions; no name of a host."""
    return machine()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_generate_commit_info(config):
    """The commit; not the folder that it was checked out to."""
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=config.rootpath, capture_output=True, text=True, check=False
    )
    return {"id": found.stdout.strip()}


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Keep what is compared."""
    output_json.update(kept(output_json))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(benchmarksession, machine_info, compared_benchmark):
    """Say where the kept times were taken; that it was another machine is told, and no warning, which would be an error."""
    if compared_benchmark["machine_info"] != machine_info:
        benchmarksession.logger.info(
            f"Kept times are of {compared_benchmark['machine_info']}, these of {machine_info}."
        )
        compared_benchmark["machine_info"] = machine_info
