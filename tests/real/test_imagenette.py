"""The ImageNette experiment on photographs, smaller than its smallest size; skipped where the pack is absent."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dntk_fast.experiment import imagenette as im
from dntk_fast.experiment.imagenette_page import write_page
from tests.tolerances import TOL

FOLDER = Path(os.environ.get("DNTK_DATA") or Path(__file__).parents[3] / "shared" / "data") / "imagenette32-mini"
pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="no folder imagenette32-mini in DNTK_DATA or beside the checkout"
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A quarter of the photographs, one tenth of the work of `--size tiny`."""
    data = im.open_data(im.SIZES["tiny"], FOLDER)
    data = replace(
        data,
        **{name: getattr(data, name)[::4] for name in ("x_train", "y_train", "x_test", "y_test")},
    )
    setting = replace(
        im.SIZES["tiny"], per_class=(2, 4, 8), epochs=8, distil_steps=10, k=128, gradients=(5, 20), draws=2
    )
    folder = tmp_path_factory.mktemp("imagenette")
    found = im.run(setting, data, folder / "run")
    write_page(found, folder / "page.html")
    return found


@pytest.mark.slow
def test_the_experiment_goes_end_to_end_on_photographs(record):
    assert (record["data"]["n_train"], record["data"]["n_test"]) == (250, 125)
    assert record["data"]["classes"] == list(im.CLASSES)
    assert record["network"]["accuracy"] > 0.2  # chance is 0.1
    json.dumps(record, allow_nan=False)


@pytest.mark.slow
def test_the_kernels_follow_the_network(record):
    # Theorem R: ridge regression on logits with an exact head repeats the network where the rows suffice
    assert record["real"]["fidelity"] > 0.95
    found = {row["per_class"]: row["fidelity"] for row in record["distilled_sizes"]}
    assert found[8] > 0.5  # chance is about 0.1
    energies = [row["held"] for row in record["real"]["energies"]]
    assert energies == sorted(energies)
    assert energies[-1] > energies[0]


@pytest.mark.slow
def test_networks_on_distilled_images_alone_have_kernels_that_follow_them(record):
    for row in record["distilled_only"]:
        assert row["fidelity"] > 0.5
        # where the two agree they are right or wrong together
        assert abs(row["accuracy"] - row["network_accuracy"]) <= 1 - row["fidelity"] + TOL["hand"]
    assert len({row["network_accuracy"] for row in record["distilled_only"]}) > 1
