"""The whole run on real photographs, small settings; skipped, with the reason, where the pack is absent."""

import json
import os
from pathlib import Path

import jsonschema
import pytest

from dntk_fast import report
from dntk_fast.config import Config
from dntk_fast.pipeline import run

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("DNTK_DATA", ROOT.parent / "shared" / "data")) / "imagenette32-mini"
pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="no folder imagenette32-mini in DNTK_DATA or beside the checkout"
)


@pytest.mark.slow
def test_a_run_on_the_folder_of_a_pack_goes_end_to_end(tmp_path):
    config = Config(data=str(FOLDER), per_class=4, k=128, epochs=2, distil_steps=3, gradients=(4, 8), draws=2)
    result = run(config, tmp_path / "run")
    jsonschema.validate(json.loads(json.dumps(result.record, allow_nan=False)), report.schema())
    assert result.record["data"]["n_train"] == 1000
    assert result.record["data"]["n_test"] == 500
    assert result.record["network"]["name"] == "conv32"
    assert result.record["network"]["accuracy"] > 0.2  # chance is 0.1; two epochs on 1,000 photographs
    # Theorem R: with logit targets and an exact head the full kernel's ridge regression follows the network
    assert result.record["full_kernel"]["fidelity"] > 0.9
    report.write_page(result.record, result.images, result.labels, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000
