"""Folders of class folders: what is read is what lies there, in the order of the names, and what is unsound is refused."""

import struct

import numpy as np
import pytest
from PIL import Image

from dntk_fast.workflow.data import load
from dntk_fast.workflow.folders import read_class_folders
from dntk_fast.workflow.vision import import_torchvision

CLASSES = ("ant", "bee", "cat")


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folder(root, parts=("train", "val"), each=(6, 2), classes=CLASSES, kind="png"):
    """Pictures of 8 x 8 pixels, those of a class of one colour but for noise; their pixels in the order of reading."""
    found = []
    for part, count in zip(parts, each, strict=True):
        for label, name in enumerate(classes):
            for number in range(count):
                pixels = (noise(8, 8, len(found)) // 4 + 60 * label).astype(np.uint8)
                save(root / part / name / f"{number}.{kind}", pixels)
                found.append(pixels)
    return np.stack(found)


@pytest.mark.parametrize("held", ["val", "test"])
def test_train_and_held_out_folders_are_the_two_parts(tmp_path, held):
    pixels = folder(tmp_path, ("train", held))
    data = load(tmp_path, size=8)
    assert data.classes == CLASSES
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([0] * 6 + [1] * 6 + [2] * 6, [0, 0, 1, 1, 2, 2])
    for part, expected in ((data.x_train, pixels[:18]), (data.x_test, pixels[18:])):
        found = (data.pixels(part).permute(0, 2, 3, 1) * 255).round().numpy()
        np.testing.assert_array_equal(found, expected)
    assert data.name == tmp_path.name


def test_the_files_and_labels_are_those_of_torchvisions_image_folder(tmp_path):
    """Class folders alone, folders inside them, either case of a suffix, what is hidden and what is no picture."""
    folder(tmp_path, ("",), (5,), kind="PNG")
    save(tmp_path / "bee" / "inner" / "deep.jpeg", noise(8, 8, 99))
    (tmp_path / "ant" / "notes.txt").write_text("no picture")
    (tmp_path / "ant" / ".hidden.png").write_text("no picture")
    (tmp_path / ".cache").mkdir()
    found = read_class_folders(tmp_path, 8)
    theirs = import_torchvision().datasets.ImageFolder(
        tmp_path, is_valid_file=lambda path: path.lower().endswith(("png", "jpeg")) and "/." not in path,
        allow_empty=True,
    )  # fmt: skip
    assert found.classes == tuple(name for name in theirs.classes if not name.startswith("."))
    shift = int(".cache" in theirs.classes)
    by_class = [sorted(np.asarray(image).tobytes() for image, label in theirs if label - shift == c) for c in range(3)]
    ours = [sorted(image.tobytes() for image in found.images[found.labels == c]) for c in range(3)]
    assert ours == by_class
    data = load(tmp_path, size=8)
    assert (len(data.y_train), len(data.y_test)) == (12, 4)  # a fifth of each class is held out


def test_pictures_keep_their_proportions_and_their_middle(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the square in the middle
    for name in ("a", "b"):
        for number in range(2):
            save(tmp_path / name / f"{number}.png", wide if name == "a" else wide.transpose(1, 0, 2) // 2)
    found = read_class_folders(tmp_path, 5).images
    assert found.shape == (4, 5, 5, 3)
    assert (found[:2, :, 1:4] >= 195).all()
    assert (abs(found[2:, 1:4].astype(int) - 100) <= 3).all()
    grey = Image.fromarray(noise(9, 9, 0)[..., 0])
    grey.save(tmp_path / "a" / "grey.png")
    assert read_class_folders(tmp_path, 9).images[2].std(-1).max() == 0  # three equal channels


def test_a_class_folder_without_pictures_is_refused(tmp_path):
    folder(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "val" / "dog").mkdir()
    with pytest.raises(
        ValueError, match=r"^data: expected a JPEG or PNG picture in every class folder .*, got none in train/dog$"
    ):
        load(tmp_path)


@pytest.mark.parametrize("part", ["train", "val"])
def test_classes_that_differ_between_the_parts_are_refused(tmp_path, part):
    folder(tmp_path)
    save(tmp_path / part / "dog" / "0.png", noise(8, 8, 0))
    with pytest.raises(
        ValueError, match=r"^data: expected the same class folders in train and val .*, got dog in one of them$"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("train",), r"both train and val \(or test\), or class folders alone in the folder .*, got train$"),
        (("val",), r"both train and val .*, got val$"),
    ],
)
def test_one_part_alone_is_refused(tmp_path, parts, message):
    folder(tmp_path, parts, (2,))
    with pytest.raises(ValueError, match=f"^data: expected {message}"):
        load(tmp_path)


def test_a_folder_without_class_folders_is_refused(tmp_path):
    save(tmp_path / "0.png", noise(8, 8, 0))
    with pytest.raises(ValueError, match=r"^data: expected one image pack .*, or class folders of pictures, got none$"):
        load(tmp_path)
    save(tmp_path / "only" / "0.png", noise(8, 8, 0))
    with pytest.raises(ValueError, match=r"^data: expected at least two class folders in .*, got only$"):
        load(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder(tmp_path)
    bad = tmp_path / "train" / "bee" / "bad.jpg"
    bad.write_bytes(b"GIF89a" + bytes(40))  # of another kind under this name: no other decoder is asked
    with pytest.raises(
        ValueError, match=r"^data: expected readable pictures \(JPEG or PNG\) .*, got train/bee/bad.jpg, which"
    ):
        load(tmp_path)
    bad.rename(bad.with_suffix(".gif"))
    with pytest.raises(
        ValueError, match=r"^data: expected pictures that are JPEG or PNG in .*, got train/bee/bad.gif$"
    ):
        load(tmp_path)
    bad.with_suffix(".gif").unlink()
    monkeypatch.setattr("dntk_fast.workflow.folders.LARGEST", 100)
    with pytest.raises(ValueError, match=r"^data: expected pictures of 100 B at most in .* in train/ant/0.png$"):
        load(tmp_path)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path, monkeypatch):
    folder(tmp_path)
    path = tmp_path / "train" / "ant" / "0.jpg"  # the first
    save(path, noise(8, 8, 0))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\xff\xc0")
    raw[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    path.write_bytes(raw)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    message = r"^data: expected pictures of 33,554,432 pixels at most in .*, got 60000 x 60000 in train/ant/0.jpg$"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_more_than_the_free_memory_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    folder(tmp_path)
    monkeypatch.setattr("dntk_fast.workflow.folders.available_memory", lambda _: 1000)
    monkeypatch.setattr("dntk_fast.workflow.folders.pixels", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        ValueError, match=r"^data: expected pictures that fit into the free memory .*, got 24 of 3.2 MiB$"
    ):
        load(tmp_path)
