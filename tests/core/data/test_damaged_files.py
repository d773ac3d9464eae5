"""Every fault of a data file is an error with its name, and no size is believed."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nodelens.data.arrays import Arrays
from nodelens.data.idx import Idx
from nodelens.data.image_folder import ImageFolder
from nodelens.data.integrity import check_loaded
from nodelens.errors import DataError, NodelensError
from nodelens.interfaces.dataset import LoadedData, Samples
from nodelens.storage.tensor_files import read_metadata, read_tensors
from nodelens.storage.tensors import read_arrays, read_state, write_state

PIL = pytest.importorskip("PIL.Image")
INPUTS = np.arange(48, dtype=np.float32).reshape(6, 8)
TARGETS = np.arange(6) % 3
KINDS = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def idx(array) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def image(kind: str) -> bytes:
    file = io.BytesIO()
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    PIL.fromarray(pixels).save(file, kind)
    return file.getvalue()


def load_images(path: Path) -> object:
    return ImageFolder(str(path.parent.parent)).load()


def load_idx(path: Path) -> object:
    labels = path.with_name("labels")
    labels.write_bytes(idx(np.zeros(2, np.uint8)))
    return Idx(train_images=str(path), train_labels=str(labels)).load()


def load_npy(path: Path) -> object:
    targets = path.with_name("targets.npy")
    targets.write_bytes(npy(TARGETS))
    return Arrays(inputs=str(path), targets=str(targets)).load()


PICTURES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def state(path: Path) -> bytes:
    write_state(path, {"a": torch.arange(6.0), "b": torch.zeros(2, 2)}, {"x": "y"})
    return path.read_bytes()


READERS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], object]]] = {
    "x.npz": (lambda _: npz(inputs=INPUTS, targets=TARGETS), lambda p: Arrays(str(p)).load()),
    "x.npy": (lambda _: npy(INPUTS), load_npy),
    "x-idx3": (lambda _: idx(PICTURES), load_idx),
    "x-idx3.gz": (lambda _: gzip.compress(idx(PICTURES)), load_idx),
    **{f"x.{kind}": (lambda _, kind=kind: image(kind), load_images) for kind in KINDS},
    "state.safetensors": (state, read_state),
    "arrays.safetensors": (state, read_arrays),
    "some.safetensors": (state, lambda p: read_tensors(p, ["a"])),
    "about.safetensors": (state, read_metadata),
}


@pytest.mark.parametrize("name", READERS)
def test_truncated_and_flipped_files_are_read_or_refused_by_name(tmp_path, name):
    write, load = READERS[name]
    path = tmp_path / "class" / name
    path.parent.mkdir()
    whole = write(path)
    path.write_bytes(whole)
    load(path)
    draw = random.Random(name)
    refused = 0
    for number in range(80):
        data = bytearray(whole)
        if number % 2:
            data = data[: draw.randrange(len(data))]
        else:
            for _ in range(draw.choice((1, 1, 3))):
                data[draw.randrange(len(data) if number % 4 else min(len(data), 64))] ^= (
                    1 << draw.randrange(8)
                )
        path.write_bytes(data)
        try:
            load(path)
        except NodelensError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 30


def lying_npy(shape: tuple[int, ...]) -> bytes:
    data = npy(np.zeros(3, np.float32))
    said = f"{shape}".encode()
    head, _, tail = data.partition(b"(3,)")
    return head + said + tail.replace(b" ", b"", len(said) - 4) if len(said) > 4 else data


@pytest.mark.parametrize("shape", [(10**13,), (10**9, 10**9), (4,)])
def test_an_array_that_is_not_as_long_as_it_says_is_not_allocated(tmp_path, shape):
    path = tmp_path / "x.npy"
    path.write_bytes(lying_npy(shape) if shape != (4,) else npy(np.zeros(4, np.float32))[:-1])
    with pytest.raises(
        DataError, match=r"x\.npy: has 1[0-9]+ bytes, expected [0-9,]+ for the declared shape"
    ):
        load_npy(path)
    archive = tmp_path / "x.npz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inputs.npy", path.read_bytes())
        file.writestr("targets.npy", npy(TARGETS))
    with pytest.raises(DataError, match=r"x\.npz, 'inputs': has .* for the declared shape"):
        Arrays(str(archive)).load()


def test_a_packed_idx_file_is_unpacked_as_far_as_its_shape_goes(tmp_path, monkeypatch):
    path = tmp_path / "x-idx3.gz"
    path.write_bytes(gzip.compress(idx(PICTURES) + bytes(10**8)))
    read = []
    monkeypatch.setattr(gzip.GzipFile, "read", spied(gzip.GzipFile.read, read))
    with pytest.raises(DataError, match="at least 42 bytes, expected 40 for the declared shape"):
        load_idx(path)
    assert sum(read) < 100


def spied(real, read):
    def method(self, size=-1):
        data = real(self, size)
        read.append(len(data))
        return data

    return method


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_larger_than_memory_is_refused_by_its_header(tmp_path, packed):
    data = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**31, 2**31)
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match="declares 9,903,520,314,283,042,199,192,993,792 bytes"):
        load_idx(path)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "class" / "x.png"
    path.parent.mkdir()
    data = bytearray(image("png"))
    data[16:24] = struct.pack(">2I", 12_000, 12_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"x\.png: .* 12000 x 12000 pixels, and at most 67,108,864 are"
    ):
        load_images(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_pipes_are_refused_or_passed_over_and_never_waited_for(tmp_path):
    pipe = tmp_path / "class" / "pipe.png"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    (tmp_path / "class" / "a.png").write_bytes(image("png"))
    assert len(ImageFolder(str(tmp_path)).load().samples) == 1
    for load in (load_idx, load_npy, lambda path: Arrays(str(path)).load()):
        with pytest.raises(DataError, match=r"pipe\.png: not a regular file"):
            load(pipe)
    for read in (read_state, read_arrays, read_metadata):
        with pytest.raises(NodelensError, match=r"pipe\.png"):
            read(pipe)


def test_a_header_of_brackets_is_not_repeated_in_full(tmp_path):
    path, header = tmp_path / "x.npy", b"[" * 4500 + b"]" * 4500
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(DataError, match=r"x\.npy: cannot be read as a NumPy file") as error:
        load_npy(path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["a\ud800", "a\0b"])
def test_classes_that_no_file_can_name_are_refused(name):
    data = LoadedData(Samples(torch.ones(2, 3), torch.tensor([0, 1])), (name, "b"), origin="x.npz")
    with pytest.raises(DataError, match=r"x\.npz: the class .*, which holds .*; rename the class"):
        check_loaded(data)


def test_samples_without_values_are_refused():
    data = LoadedData(Samples(torch.ones(2, 1, 0, 4), torch.tensor([0, 1])), ("a", "b"))
    with pytest.raises(DataError, match=r"samples of shape \(1, 0, 4\) hold no values"):
        check_loaded(data)
