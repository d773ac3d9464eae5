import gzip
import struct

import numpy as np
import pytest
import torch

from nodelens.data.idx import Idx
from nodelens.errors import DataError

IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
LABELS = np.array([1, 2, 1, 4, 2], dtype=np.uint8)


def idx_bytes(array):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write(folder, name, array, compressed=False):
    data = idx_bytes(array)
    path = folder / (f"{name}.gz" if compressed else name)
    path.write_bytes(gzip.compress(data) if compressed else data)
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    write(tmp_path, "train-labels-idx1-ubyte", LABELS)
    return tmp_path


def test_images_are_scaled_and_labels_become_classes(folder):
    data = Idx(folder=str(folder)).load()
    assert data.samples.inputs.shape == (5, 1, 2, 3)
    expected = torch.from_numpy(IMAGES).float()[:, None] / 255
    assert torch.equal(data.samples.inputs, expected)
    assert data.classes == ("1", "2", "4")
    assert data.samples.targets.tolist() == [0, 1, 0, 2, 1]
    assert data.test is None


@pytest.mark.parametrize("compressed", [False, True])
def test_test_files_are_found_by_their_usual_names(folder, compressed):
    write(folder, "t10k-images-idx3-ubyte", IMAGES[:2], compressed)
    write(folder, "t10k-labels-idx1-ubyte", LABELS[:2], compressed)
    assert Idx(folder=str(folder)).load().test.targets.tolist() == [0, 1]


def test_names_with_a_dot_and_paths_of_their_own(tmp_path):
    images = write(tmp_path, "pictures", IMAGES, compressed=True)
    write(tmp_path, "train-labels.idx1-ubyte", LABELS)
    data = Idx(folder=str(tmp_path), train_images=str(images)).load()
    assert len(data.samples) == 5


def test_half_a_test_set_is_an_error(folder):
    write(folder, "t10k-images-idx3-ubyte", IMAGES)
    with pytest.raises(DataError, match=r"no file of test labels in .*expected t10k-labels-idx1"):
        Idx(folder=str(folder)).load()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"train images in .*train-images-idx3-ubyte\.gz"):
        Idx(folder=str(tmp_path)).load()
    with pytest.raises(DataError, match="there is no folder"):
        Idx(folder=str(tmp_path / "nowhere")).load()
    with pytest.raises(DataError, match="needs folder, or both"):
        Idx(train_images="images")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing, expected 00000803"),
        (b"not idx at all", "starts with 6e6f7420, expected 00000803"),
        (idx_bytes(LABELS) + b"0123456789", "starts with 00000801, expected 00000803"),
        (idx_bytes(IMAGES)[:-1], r"45 bytes, expected 46 for the declared shape \(5, 2, 3\)"),
        (idx_bytes(IMAGES) + b"!", "47 bytes, expected 46"),
        (gzip.compress(idx_bytes(IMAGES), mtime=0)[:-9], "cannot be read"),
        (b"\x1f\x8b broken", "cannot be read"),
        (idx_bytes(IMAGES[:3]), "has 3 images, .* has 5 labels"),
    ],
)
def test_damaged_files_are_explained(folder, content, message):
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte:? {message}"):
        Idx(folder=str(folder)).load()


def test_labels_that_training_does_not_know(folder):
    write(folder, "t10k-images-idx3-ubyte", IMAGES)
    write(folder, "t10k-labels-idx1-ubyte", LABELS + 1)
    with pytest.raises(DataError, match="label 3 does not occur among the training labels"):
        Idx(folder=str(folder)).load()
