"""Data sets and packs: what is read is what was written, and what is unsound is refused in one line."""

import io
import os
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dntk_fast.workflow.data import known, load
from dntk_fast.workflow.vision import import_torchvision
from tests.tolerances import TOL


def made(n=30, classes=3, shape=(6, 5, 3), seed=0):
    """Random pictures, labels in turn, the last third held out."""
    images = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return {
        "images": images,
        "labels": (np.arange(n) % classes).astype(np.uint8),
        "split": (np.arange(n) >= 2 * n // 3).astype(np.uint8),
    }


def write(folder, name="pack", **arrays):
    path = folder / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    return path


def jpeg_pack(arrays, shapes=None):
    """The same pictures as JPEG files one after another."""
    files = []
    for number, image in enumerate(arrays["images"]):
        stream = io.BytesIO()
        picture = Image.fromarray(image)
        picture.resize(shapes[number] if shapes else picture.size).save(stream, "JPEG")
        files.append(np.frombuffer(stream.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, files)])
    return {"jpeg": np.concatenate(files), "offsets": offsets} | {k: v for k, v in arrays.items() if k != "images"}


# --- what is read -----------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_split_stratified_with_seed_zero():
    source, digits = load_digits(), load("digits")
    rows = train_test_split(np.arange(1797), test_size=0.2, random_state=0, stratify=source.target)
    for x, y, part in ((digits.x_train, digits.y_train, rows[0]), (digits.x_test, digits.y_test, rows[1])):
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(y, source.target[part])
        np.testing.assert_allclose(digits.pixels(x)[:, 0], source.images[part] / 16, atol=TOL["float32"])
    assert digits.classes == tuple("0123456789")
    assert digits.image_shape == (1, 8, 8)


def test_pack_is_read_as_it_was_written(tmp_path):
    arrays = made()
    data = load(write(tmp_path, **arrays, names=np.array([b"x"] * 30)))
    train = arrays["split"] == 0
    for x, y, part in ((data.x_train, data.y_train, train), (data.x_test, data.y_test, ~train)):
        pixels = data.pixels(x).permute(0, 2, 3, 1) * 255
        np.testing.assert_array_equal(pixels.round().numpy(), arrays["images"][part])
        np.testing.assert_array_equal(y, arrays["labels"][part])
    assert (data.name, data.classes, data.image_shape) == ("pack", ("0", "1", "2"), (3, 6, 5))
    assert (data.x_train.dtype, data.y_train.dtype) == (torch.float32, torch.int64)


def test_normalisation_is_that_of_the_training_images_alone(tmp_path):
    arrays = made()
    arrays["images"][arrays["split"] == 1] //= 4  # held-out pictures are darker
    arrays["images"][..., 0] //= 2
    data = load(write(tmp_path, **arrays))
    kept = arrays["images"][arrays["split"] == 0] / 255
    np.testing.assert_allclose(data.mean, kept.mean((0, 1, 2)), rtol=TOL["float64"])
    np.testing.assert_allclose(data.std, kept.std((0, 1, 2)), rtol=TOL["float64"])
    np.testing.assert_allclose(data.x_train.mean((0, 2, 3)), 0, atol=TOL["float32"])
    np.testing.assert_allclose(data.x_train.std((0, 2, 3), correction=0), 1, rtol=TOL["float32"])
    # Broken twin: statistics of all images would differ in the first digits.
    assert abs(data.mean[0] - arrays["images"][..., 0].mean() / 255) > 0.01


def test_moments_do_not_depend_on_the_chunks(tmp_path, monkeypatch):
    path = write(tmp_path, **made())
    whole = load(path)
    monkeypatch.setattr("dntk_fast.workflow.data.CHUNK", 7)
    pieces = load(path)
    np.testing.assert_allclose(pieces.std, whole.std, rtol=TOL["float64"])
    torch.testing.assert_close(pieces.x_train, whole.x_train, rtol=TOL["float32"], atol=TOL["float32"])


def test_pack_without_a_split_holds_out_a_fifth_of_each_class(tmp_path):
    arrays = made(n=60, shape=(4, 4))
    del arrays["split"]
    data, again = (load(write(tmp_path, **arrays)) for _ in range(2))
    assert data.image_shape == (1, 4, 4)
    assert torch.bincount(data.y_test).tolist() == [4, 4, 4]
    assert torch.bincount(data.y_train).tolist() == [16, 16, 16]
    assert torch.equal(data.x_train, again.x_train)
    together = torch.cat([data.x_train, data.x_test]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 60  # nothing lost, nothing twice


def test_jpeg_pack_gives_what_pillow_decodes(tmp_path):
    arrays = made(shape=(16, 8, 3))
    packed = jpeg_pack(arrays)
    data = load(write(tmp_path, **packed))
    bounds = packed["offsets"]
    with Image.open(io.BytesIO(packed["jpeg"][bounds[3] : bounds[4]].tobytes())) as picture:
        expected = np.asarray(picture)
    np.testing.assert_array_equal((data.pixels(data.x_train[3]) * 255).round().permute(1, 2, 0), expected)
    assert data.image_shape == (3, 16, 8)
    np.testing.assert_array_equal(data.y_test, arrays["labels"][20:])


def test_pack_is_found_by_file_folder_and_name(tmp_path, monkeypatch):
    (tmp_path / "blots").mkdir()
    write(tmp_path / "blots", "blots", **made())
    write(tmp_path / "blots", "other", **made(seed=1))
    write(tmp_path, "loose", **made(seed=2))
    monkeypatch.setenv("DNTK_DATA", str(tmp_path))
    expected = load(tmp_path / "blots" / "blots.npz").x_train
    for place in (tmp_path / "blots", str(tmp_path / "blots"), "blots", "blots/blots.npz"):
        assert torch.equal(load(place).x_train, expected)
    assert torch.equal(load("loose").x_train, load(tmp_path / "loose.npz").x_train)
    assert known()[-3:] == ("blots", "loose", "other")
    monkeypatch.delenv("DNTK_DATA")
    assert known() == ("digits", "imagenette", "cifar10", "fashion-mnist")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_unknown_data_set_lists_the_known_ones(tmp_path, monkeypatch):
    write(tmp_path, "mine", **made())
    monkeypatch.setenv("DNTK_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"^data: expected one of digits, .*, mine, or the path of .*, got 'mnist'$"):
        load("mnist")


@pytest.mark.parametrize("place", ["/nowhere/mine.npz", "mine.npz", "some/where"])
def test_a_path_to_nothing_is_said_to_be_one(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DNTK_DATA", raising=False)
    with pytest.raises(ValueError, match=rf"^data: expected a file or a folder that exists, got {place}$"):
        load(place)
    monkeypatch.setenv("DNTK_DATA", "packs")
    with pytest.raises(ValueError, match=rf"got {place}{'' if place[0] == '/' else f' or packs/{place}'}$"):
        load(place)


def test_folder_without_a_single_pack_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"^data: expected one image pack \(.npz\) in the folder .*, or class folders .*, got none$"
    ):
        load(tmp_path)
    for name in ("a", "b"):
        write(tmp_path, name, **made())
    with pytest.raises(ValueError, match=r", got a.npz, b.npz$"):
        load(tmp_path)


def without(key):
    return lambda arrays: {name: value for name, value in arrays.items() if name != key}


def changed(**changes):
    return lambda arrays: arrays | changes


IMAGES = made()["images"]
LABELS = made()["labels"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("images"), "expected the arrays images and labels, or jpeg, offsets and labels .*, got labels, split"),
        (without("labels"), "expected the arrays images and labels, .* got images, split"),
        (changed(images=IMAGES.astype(np.float32)), "expected images of type uint8 .*, got float32"),
        (changed(images=IMAGES.transpose(0, 3, 1, 2)), r"expected images of type uint8 and shape .*\(30, 3, 6, 5\)"),
        (changed(images=IMAGES[:0]), r"expected images of type uint8 and shape .*\(0, 6, 5, 3\)"),
        (changed(images=np.full_like(IMAGES, 7)), "^images: expected pixels that vary in every channel, got variances"),
        (changed(images=IMAGES.astype(object)), r"^data: expected an image pack \(.npz\), got .*allow_pickle"),
        (changed(labels=LABELS[:-1]), r"expected labels as 30 integers .*, got uint8 \(29,\)"),
        (changed(labels=LABELS / 1.0), "expected labels as 30 integers .*, got float64"),
        (changed(labels=LABELS.astype(int) - 1), "labels 0, 1, .* got 3 classes, labels -1 to 1"),
        (changed(labels=LABELS * 2), "labels 0, 1, ... without a gap, .* got 3 classes, labels 0 to 4"),
        (
            changed(labels=np.where(np.arange(30) < 29, 0, 1)),
            "each of them in training .* got 1 classes, labels 0 to 1",
        ),
        (changed(split=LABELS), r"expected split of 0 \(training\) and 1 \(held out\), both .*, got \[0, 1, 2\]"),
        (changed(split=LABELS * 0), r"expected split of 0 .* both present .*, got \[0\]"),
        (changed(split=LABELS[:, None]), r"expected split as 30 integers .*, got uint8 \(30, 1\)"),
    ],
)
def test_unsound_pack_is_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(write(tmp_path, **change(made())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pack: pack | {"offsets": pack["offsets"][::-1]}, "expected offsets that rise from 0 to"),
        (lambda pack: pack | {"offsets": pack["offsets"] + 1}, "expected offsets that rise from 0 to"),
        (lambda pack: pack | {"offsets": np.r_[1, pack["offsets"][1:]]}, "expected offsets that rise from 0 to"),
        (lambda pack: pack | {"offsets": pack["offsets"][:1]}, "expected offsets that rise from 0 to"),
        (lambda pack: pack | {"offsets": pack["offsets"][:-1]}, "expected offsets that rise from 0 to"),
        (lambda pack: pack | {"offsets": pack["offsets"] / 1}, "expected offsets as 31 integers .*, got float64"),
        (lambda pack: pack | {"jpeg": pack["jpeg"].astype(int)}, "expected jpeg as bytes .*, got int64"),
        (lambda pack: pack | {"jpeg": pack["jpeg"] * 0}, "expected readable pictures .*, got number 0, which cannot"),
        (lambda pack: jpeg_pack(made(), [(5, 6)] * 29 + [(6, 6)]), r"one size \(6, 5\) .*, got \(6, 6\) in number 29"),
    ],
)
def test_unsound_jpeg_pack_is_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, **change(jpeg_pack(made()))))


@given(st.data())
def test_truncated_pack_is_refused_wherever_it_breaks_off(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("cut"), **made(n=15, shape=(2, 2, 3)))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"^data: expected an image pack \(.npz\), got [^\n]*$"):
        load(path)


@given(st.data())
def test_damaged_pack_raises_nothing_but_the_refusal(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("damaged"), **made(n=15, shape=(2, 2, 3)))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        load(path)  # a flipped bit may sit where nobody looks: in a date, say
    except ValueError as error:
        assert str(error).startswith("data: expected")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [b"", b"not a pack at all", b"# A page", b"\x80\x04K\x01.", b"PK\x05\x06"])
def test_file_that_is_no_pack_is_refused(tmp_path, content):
    (tmp_path / "no.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"^data: expected an image pack \(.npz\), got .*no.npz \("):
        load(tmp_path / "no.npz")


def test_single_array_is_no_pack(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(
        ValueError, match=r"^data: expected an image pack \(.npz\), got .*one array, not several by name"
    ):
        load(tmp_path / "one.npy")


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return os._exit, (13,)

    path = write(tmp_path, **made() | {"labels": np.array([Bomb()] * 30, object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load(path)


# --- hostile packs ----------------------------------------------------------------------------------------------------


def pictures(*files):
    """A pack of these files, each twice ten times."""
    blobs = [np.frombuffer(file, np.uint8) for file in files] * 20
    labels = (np.arange(len(blobs)) % 2).astype(np.uint8)
    return {"jpeg": np.concatenate(blobs), "offsets": np.cumsum([0, *map(len, blobs)]), "labels": labels}


def encoded(kind, size=(8, 8), **options):
    stream, pixels = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("kind", ["EPS", "GIF", "BMP", "TIFF", "PPM", "WEBP", "MPO", "text"])
def test_no_decoder_but_those_of_jpeg_and_png_is_asked(tmp_path, kind, monkeypatch):
    """Some start programs: with `Image.open` an EPS from a pack would reach Ghostscript."""
    content = {"EPS": EPS, "text": b"a picture"}.get(kind) or encoded(kind)
    asked = []
    monkeypatch.setattr("subprocess.Popen", lambda *command, **_: asked.append(command))
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: asked.append("any"))
    path = write(tmp_path, **pictures(content))
    if kind == "MPO":  # several JPEG files in one: the first is a JPEG, and that is what is read
        assert load(path).image_shape == (3, 8, 8)
    else:
        with pytest.raises(
            ValueError, match=r"expected readable pictures \(JPEG or PNG\) .* number 0, which cannot be dec"
        ):
            load(path)
    assert asked == []


def test_png_files_are_read_bit_for_bit(tmp_path):
    data = load(write(tmp_path, **pictures(encoded("PNG"))))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = (data.pixels(data.x_train[:1])[0].permute(1, 2, 0) * 255).round().numpy()
    np.testing.assert_array_equal(found, pixels)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path, monkeypatch):
    bomb = bytearray(encoded("JPEG"))
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(
        ValueError, match=r"expected pictures of 33,554,432 pixels at most .*, got 60000 x 60000 in number 0"
    ):
        load(write(tmp_path, **pictures(bytes(bomb))))


def test_more_than_the_free_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("dntk_fast.workflow.data.available_memory", lambda _: 1000)
    with pytest.raises(ValueError, match=r"^data: expected an image pack .*of arrays, more than the free memory\)$"):
        load(write(tmp_path, **made()))
    sizes = iter([10**6, 1000])
    monkeypatch.setattr("dntk_fast.workflow.data.available_memory", lambda _: next(sizes))
    with pytest.raises(ValueError, match=r"expected pictures that fit into the free memory .*, got 3.8 KiB$"):
        load(write(tmp_path, **pictures(encoded("PNG"))))


def rewritten(path, change):
    """The same archive, its members changed before they are written."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in change(members):
            archive.writestr(name, content)
    return path


def test_members_that_no_pack_has_are_not_unpacked(tmp_path, monkeypatch):
    path = rewritten(write(tmp_path, **made()), lambda members: [*members, ("evil.npy", bytes(10**6))])
    read, honest = [], zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda file, *n: read.append(file.name) or honest(file, *n))
    assert load(path).image_shape == (3, 6, 5)
    assert set(read) == {"images.npy", "labels.npy", "split.npy"}


def test_an_array_that_is_there_twice_or_under_a_damaged_name_is_refused(tmp_path):
    twice = rewritten(write(tmp_path, **made()), lambda members: [*members, members[1]])
    with pytest.raises(ValueError, match=r"\(an array that is there twice\)$"):
        load(twice)
    path = write(tmp_path, **made())
    content = path.read_bytes()
    at = content.rindex(b"split.npy")  # in the list at the end: taken for absent, a fifth would be held out instead
    path.write_bytes(content[:at] + b"splat" + content[at + 5 :])
    with pytest.raises(ValueError, match=r"^data: expected an image pack .*differ"):
        load(path)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_labels_that_would_wrap_are_refused(tmp_path, value):
    labels = LABELS.astype(np.uint64)
    labels[-1] = value
    with pytest.raises(ValueError, match=f"expected labels 0, 1, .* labels 0 to {value}"):
        load(write(tmp_path, **made() | {"labels": labels}))


def test_a_user_without_a_home_needs_none(tmp_path, monkeypatch):
    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", classmethod(homeless))
    monkeypatch.delenv("DNTK_DATA", raising=False)
    assert load("digits").image_shape == (1, 8, 8)
    with pytest.raises(
        ValueError, match=r"^data: expected a folder of data sets, in the variable DNTK_DATA, or a home"
    ):
        load("cifar10")


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_that_names_nothing_is_refused(name, tmp_path, monkeypatch):
    write(tmp_path, **made())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^data: expected a path, got "):
        load(name)


def test_too_few_images_to_hold_any_out(tmp_path):
    arrays = made(n=12)
    del arrays["split"]
    with pytest.raises(ValueError, match=r"^data: expected five images per class and two of each, .* got 12"):
        load(write(tmp_path, **arrays))


# --- data sets of torchvision -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"), [("imagenette", "Imagenette"), ("cifar10", "CIFAR10"), ("fashion-mnist", "FashionMNIST")]
)
def test_absent_data_set_is_not_fetched(tmp_path, name, source, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", None)
    with pytest.raises(
        ValueError,
        match=rf"^data: expected {source} under .* \(dntk run --download or .*\), got Dataset not found[^,;]*$",
    ):
        load(name, root=tmp_path)


def test_imagenette_from_a_made_folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 1)):
        for label, wnid in enumerate(("n01440764", "n02102040")):
            folder = tmp_path / "imagenette2-160" / split / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(100 * label, 100 * label + 56, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.JPEG")
    data = load("imagenette", root=tmp_path, size=12)
    assert (data.name, data.image_shape, data.classes) == ("imagenette", (3, 12, 12), ("tench", "English springer"))
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([0, 0, 1, 1], [0, 1])
    assert data.pixels(data.x_test[:1]).mean() < 0.3 < data.pixels(data.x_test[1:]).mean()


def test_fashion_mnist_from_made_files(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    written = {}
    for part, count in (("train", 20), ("t10k", 10)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        written[part] = images
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([2049, count], ">i4").tobytes() + labels.tobytes())
    data = load("fashion-mnist", root=tmp_path)
    assert (data.image_shape, data.classes[0], len(data.classes)) == ((1, 28, 28), "T-shirt/top", 10)
    np.testing.assert_array_equal((data.pixels(data.x_test)[:, 0] * 255).round(), written["t10k"])
    assert data.y_train.tolist() == [*range(10)] * 2


def test_cifar10_as_torchvision_holds_it(tmp_path, monkeypatch):
    def fake(self, root, train, download):
        count = 20 if train else 10
        self.data = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.targets, self.classes = [*range(10)] * (count // 10), list("abcdefghij")

    # The batch files of the real one are checked against fixed sums, so made ones cannot pass.
    monkeypatch.setattr(import_torchvision().datasets.CIFAR10, "__init__", fake)
    data = load("cifar10", root=tmp_path)
    assert (data.image_shape, data.classes, len(data.y_train)) == ((3, 32, 32), tuple("abcdefghij"), 20)
    assert data.y_test.tolist() == [*range(10)]
