"""The whole run on real photographs, small settings; skipped, with the reason, where the pack is absent."""

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from dntk_fast.report.page import write_page
from dntk_fast.report.record import schema
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.pipeline import run

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("DNTK_DATA", ROOT.parent / "shared" / "data")) / "imagenette32-mini"
pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="no folder imagenette32-mini in DNTK_DATA or beside the checkout"
)


@pytest.fixture
def some(tmp_path):
    """Three hundred training and a hundred held-out photographs of the pack, beside the test and gone with it."""
    with np.load(FOLDER / "imagenette32-mini.npz") as pack:
        rows = np.concatenate([np.flatnonzero(pack["split"] == part)[::step] for part, step in ((0, 3), (1, 5))])
        (tmp_path / "pack").mkdir()
        np.savez(tmp_path / "pack" / "some.npz", **{name: pack[name][rows] for name in ("images", "labels", "split")})
    return tmp_path / "pack"


@pytest.mark.slow
def test_a_run_on_the_folder_of_a_pack_goes_end_to_end(some, tmp_path):
    small = {"certificate_rows": 40, "refine_k": 128, "refine_steps": 1}
    config = Config(data=str(some), per_class=4, k=128, epochs=4, distil_steps=3, gradients=(4, 8), draws=2, **small)
    result = run(config, tmp_path / "run")
    jsonschema.validate(json.loads(json.dumps(result.record, allow_nan=False)), schema())
    assert (result.record["data"]["n_train"], result.record["data"]["n_test"]) == (334, 100)
    assert result.record["network"]["name"] == "conv32"
    assert result.record["network"]["accuracy"] > 0.15  # chance is 0.1; four epochs on 334 photographs
    # Theorem R: with logit targets and an exact head the full kernel's ridge regression follows the network
    assert result.record["full_kernel"]["fidelity"] > 0.8
    write_page(result.record, result.images, result.labels, tmp_path / "report.html", pictures=result.pictures)
    assert (tmp_path / "report.html").stat().st_size > 10_000
