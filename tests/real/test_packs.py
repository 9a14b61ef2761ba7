"""The real image packs: what is in them, that labels sit on the right images, and that networks learn and distil them.

Some of the pictures may not be published: nothing here writes one.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dntk_fast.distillation.data_distillation import distil_images
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build
from dntk_fast.workflow.training import train

FOLDER = Path(os.environ.get("DNTK_DATA") or Path(__file__).parents[3] / "shared" / "data")


def pack(name):
    if not (FOLDER / name).exists():
        pytest.skip(f"no pack {name} in {FOLDER}; DNTK_DATA may name another folder")
    return load(FOLDER / name)


@pytest.fixture(scope="module")
def imagenette32():
    return pack("imagenette32-mini")


@pytest.fixture(scope="module")
def imagenette96():
    return pack("imagenette96")


@pytest.fixture(scope="module")
def fashion():
    return pack("fashion-mnist-900")


def ridge_accuracy(train_rows, train_labels, test_rows, test_labels, lam):
    """Share of held-out rows whose class a ridge regression on one-hot labels finds, in float64."""
    rows, held_out = (np.c_[part.flatten(1).double().numpy(), np.ones(len(part))] for part in (train_rows, test_rows))
    gram = rows.T @ rows + lam * np.eye(rows.shape[1])
    weights = np.linalg.solve(gram, rows.T @ np.eye(10)[train_labels])
    return ((held_out @ weights).argmax(1) == test_labels.numpy()).mean()


def shuffled(labels):
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def test_imagenette32_holds_what_its_source_says(imagenette32):
    assert imagenette32.image_shape == (3, 32, 32)
    assert (len(imagenette32.y_train), len(imagenette32.y_test)) == (1000, 500)
    assert torch.bincount(imagenette32.y_train).tolist() == [100] * 10


def test_fashion_holds_what_its_source_says(fashion):
    assert fashion.image_shape == (1, 28, 28)
    assert torch.bincount(fashion.y_train).tolist() == [72] * 10
    assert torch.bincount(fashion.y_test).tolist() == [18] * 10
    together = torch.cat([fashion.x_train, fashion.x_test]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 900  # its source counted 900 distinct tiles


def test_imagenette96_holds_what_its_source_says(imagenette96):
    assert imagenette96.image_shape == (3, 96, 96)
    assert (len(imagenette96.y_train), len(imagenette96.y_test)) == (9469, 3925)


# The sources report 35.4 %, 40.5 % and (a third held out) 78.7 % for ridge regression, at a ridge they do not state:
# half of the way from chance, 10 %, is asked for here, and shuffled labels must stay within five standard deviations of
# chance.
@pytest.mark.parametrize(
    ("name", "cells", "reported"), [("imagenette32", 2, 0.354), ("imagenette96", 6, 0.405), ("fashion", 1, 0.787)]
)
def test_labels_sit_on_the_right_images(request, name, cells, reported):
    data = request.getfixturevalue(name)
    train_rows, test_rows = (functional.avg_pool2d(x, cells) for x in (data.x_train, data.x_test))
    lam = len(train_rows)
    right = ridge_accuracy(train_rows, data.y_train, test_rows, data.y_test, lam)
    wrong = ridge_accuracy(train_rows, shuffled(data.y_train), test_rows, data.y_test, lam)
    assert right > (0.1 + reported) / 2
    assert abs(wrong - 0.1) < 5 * np.sqrt(0.09 / len(test_rows))


@pytest.mark.parametrize(
    ("data", "model", "epochs", "above"), [("imagenette32", "conv32", 4, 0.3), ("fashion", "conv28", 8, 0.6)]
)
def test_network_learns_and_its_images_match(request, data, model, epochs, above):
    data = request.getfixturevalue(data)
    network = train(build(model, seed=0), data.x_train, data.y_train, epochs=epochs, seed=0).model
    with torch.no_grad():
        accuracy = (network(data.x_test).argmax(1) == data.y_test).double().mean()
    assert accuracy > above  # chance is 0.1
    made = distil_images(network, data.x_train, data.y_train, per_class=5, seed=0, steps=20)
    assert made.matching[-1, 0] < made.matching[0, 0] / 2
    assert (made.logits.argmax(1) == made.labels).double().mean() > 0.5  # chance is 0.1
    assert bool(made.notes) == (model == "conv28")
