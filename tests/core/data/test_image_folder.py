import sys

import numpy as np
import pytest
import torch

from nodelens.data.image_folder import ImageFolder
from nodelens.errors import DataError

Image = pytest.importorskip("PIL.Image")


def save(path, height=2, width=3, value=255, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if mode == "L" else (height, width, 3)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "cat" / "b.png", value=255)
    save(tmp_path / "cat" / "a.PNG", value=0)
    save(tmp_path / "dog" / "1.bmp", value=51, mode="L")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_classes_are_folders_and_files_are_sorted(folder):
    data = ImageFolder(path=str(folder)).load()
    assert data.classes == ("cat", "dog")
    assert data.samples.targets.tolist() == [0, 0, 1]
    assert data.samples.inputs.shape == (3, 3, 2, 3)
    assert data.samples.inputs.dtype == torch.float32
    assert data.samples.inputs.amax((1, 2, 3)).tolist() == pytest.approx([0, 1, 0.2])
    assert data.test is None


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"grayscale": True}, (3, 1, 2, 3)),
        ({"size": 4}, (3, 3, 4, 4)),
        ({"size": (4, 5)}, (3, 3, 4, 5)),
    ],
)
def test_options_change_the_shape(folder, options, shape):
    assert ImageFolder(path=str(folder), **options).load().samples.inputs.shape == shape


def test_train_and_test_folders(tmp_path):
    for name in ("train/x/1.png", "train/y/1.png", "test/y/2.png"):
        save(tmp_path / name)
    data = ImageFolder(path=str(tmp_path)).load()
    assert data.classes == ("x", "y")
    assert data.samples.targets.tolist() == [0, 1]
    assert data.test.targets.tolist() == [1]


def test_unknown_test_class(tmp_path):
    for name in ("train/x/1.png", "test/z/2.png"):
        save(tmp_path / name)
    with pytest.raises(DataError, match="classes that the training folder does not have: z"):
        ImageFolder(path=str(tmp_path)).load()


def test_sizes_that_differ_name_both_files(folder):
    save(folder / "dog" / "2.png", height=7, width=8)
    with pytest.raises(DataError, match=r"2\.png has 8x7 pixels, .*a\.PNG has 3x2; give size"):
        ImageFolder(path=str(folder)).load()


def test_an_unreadable_file_is_named(folder):
    (folder / "cat" / "c.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c\.png: cannot be read as an image"):
        ImageFolder(path=str(folder)).load()


def test_a_cut_file_is_named(folder):
    path = save(folder / "cat" / "c.png", height=90, width=90)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"c\.png: cannot be read as an image"):
        ImageFolder(path=str(folder), size=4).load()


def test_sixteen_bits_are_refused_and_not_clipped(folder):
    Image.fromarray(np.full((2, 3), 60_000, np.uint16)).save(folder / "cat" / "c.png")
    with pytest.raises(DataError, match=r"c\.png: .*more than 8 bits"):
        ImageFolder(path=str(folder)).load()


def test_missing_folders_are_explained(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        ImageFolder(path=str(tmp_path / "nowhere")).load()
    with pytest.raises(DataError, match="expected one folder of images per class"):
        ImageFolder(path=str(tmp_path)).load()
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"cat: no images; read are files that end in \.bmp"):
        ImageFolder(path=str(tmp_path)).load()


def test_without_pillow_the_command_to_install_it_is_given(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r"pip install 'nodelens-core\[images\]'"):
        ImageFolder(path=str(folder)).load()


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="'size' must be at least 1"):
        ImageFolder(path="x", size=0)
