import re

import numpy as np
import pytest
import torch

from nodelens.data.arrays import Arrays
from nodelens.errors import DataError

IMAGES = np.arange(4 * 3 * 2 * 5, dtype=np.float64).reshape(4, 3, 2, 5)
LABELS = np.array([7, 3, 7, 9])


@pytest.fixture
def save(tmp_path):
    def _save(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return str(path)

    return _save


def test_npz_labels_become_classes_by_value(save):
    data = Arrays(path=save(inputs=IMAGES, targets=LABELS)).load()
    assert data.classes == ("3", "7", "9")
    assert data.samples.targets.tolist() == [1, 0, 1, 2]
    assert data.samples.inputs.dtype == torch.float32
    assert torch.equal(data.samples.inputs.double(), torch.from_numpy(IMAGES))


def test_keys_are_options(save):
    path = save(x_train=IMAGES, y_train=LABELS[:, None])
    data = Arrays(path=path, inputs_key="x_train", targets_key="y_train").load()
    assert len(data.samples) == 4


def test_two_npy_files(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES.astype(">f4"))
    np.save(tmp_path / "y.npy", LABELS.astype(np.uint8))
    data = Arrays(inputs=str(tmp_path / "x.npy"), targets=str(tmp_path / "y.npy")).load()
    assert torch.equal(data.samples.inputs.double(), torch.from_numpy(IMAGES))


@pytest.mark.parametrize(
    ("channels", "inputs", "shape"),
    [
        ("first", IMAGES, (4, 3, 2, 5)),
        ("first", IMAGES.reshape(4, 30), (4, 30)),
        ("last", IMAGES, (4, 5, 3, 2)),
        ("none", IMAGES.reshape(4, 6, 5), (4, 1, 6, 5)),
    ],
)
def test_channels_come_first(save, channels, inputs, shape):
    data = Arrays(path=save(inputs=inputs, targets=LABELS), channels=channels).load()
    assert data.samples.inputs.shape == shape


def test_last_channels_are_moved_not_reshaped(save):
    data = Arrays(path=save(inputs=IMAGES, targets=LABELS), channels="last").load()
    assert torch.equal(data.samples.inputs[0, 2].double(), torch.from_numpy(IMAGES[0, :, :, 2]))


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"inputs": IMAGES}, {}, "no array is called 'targets'; the file has inputs"),
        (
            {"input": IMAGES, "targets": LABELS},
            {},
            "no array is called 'inputs'; the file has input, targets; did you mean 'input'?",
        ),
        (
            {"inputs": IMAGES.astype(str), "targets": LABELS},
            {},
            "dtype <U32, expected real numbers",
        ),
        ({"inputs": IMAGES * 1j, "targets": LABELS}, {}, "dtype complex128, expected real numbers"),
        (
            {"inputs": IMAGES.astype(object), "targets": LABELS},
            {},
            "'inputs': holds Python objects, which are never unpickled",
        ),
        (
            {"inputs": IMAGES[:3], "targets": LABELS},
            {},
            "has 3 samples, .* has 4; expected as many",
        ),
        ({"inputs": IMAGES[:0], "targets": LABELS}, {}, r"\(0, 3, 2, 5\), expected .*, not empty"),
        ({"inputs": LABELS, "targets": LABELS}, {}, r"shape \(4,\), expected \(samples, …\)"),
        (
            {"inputs": IMAGES, "targets": LABELS / 2},
            {},
            r"dtype float64, expected whole numbers; save them with .astype\('int64'\)",
        ),
        ({"inputs": IMAGES, "targets": np.eye(4, dtype=int)}, {}, r"one-hot .* \.argmax\(1\)"),
        (
            {"inputs": np.where(IMAGES == 40, np.nan, IMAGES), "targets": LABELS},
            {},
            "1 of 4 samples hold NaN or infinite values, the first is sample 1",
        ),
        ({"inputs": IMAGES * 1e300, "targets": LABELS}, {}, "too large for float32"),
        (
            {"inputs": IMAGES, "targets": LABELS},
            {"channels": "none"},
            "have 4 axes, channels: none expects 3",
        ),
    ],
)
def test_unusable_arrays_are_explained(save, arrays, options, message):
    path = save(**arrays)
    with pytest.raises(DataError, match=f"{re.escape(path)}.*{message}"):
        Arrays(path=path, **options).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"hello", "neither an npz nor an npy file"),
        (b"", "cannot be read as a NumPy file"),
        (b"PK\x03\x04 broken", "cannot be read as a NumPy file"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, message):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"data.npz: {message}"):
        Arrays(path=str(path)).load()


def test_npy_in_place_of_npz_and_the_other_way_round(tmp_path, save):
    np.save(tmp_path / "x.npy", IMAGES)
    with pytest.raises(DataError, match="not an npz file"):
        Arrays(path=str(tmp_path / "x.npy")).load()
    npz = save(inputs=IMAGES)
    with pytest.raises(DataError, match="an npz file, expected npy; give it as path"):
        Arrays(inputs=npz, targets=npz).load()


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({}, "none of them"),
        ({"inputs": "x.npy"}, "inputs"),
        ({"path": "a.npz", "targets": "y.npy"}, "path, targets"),
    ],
)
def test_one_way_of_naming_the_files(options, given):
    with pytest.raises(DataError, match=f"either path .* or both inputs and targets.*: {given}"):
        Arrays(**options)
