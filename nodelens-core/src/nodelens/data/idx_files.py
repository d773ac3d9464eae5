"""Reading idx files: a magic number, the sizes of the axes, then unsigned bytes.

The format: http://yann.lecun.com/exdb/mnist, "file formats".
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from attrs import frozen

from nodelens.data.file_faults import check_regular, check_size, named
from nodelens.data.labels import LabelSet, find_labels
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNSIGNED_BYTES = 0x08
_GZIP = b"\x1f\x8b"


@frozen
class IdxPart:
    """The two files of the training or of the test samples."""

    images: Path
    labels: Path


def as_loaded(train: IdxPart, test: IdxPart | None) -> LoadedData:
    """Return the samples of both parts; raises `DataError` that names the file and the fault."""
    labels = find_labels(_labels(train.labels))
    return LoadedData(
        samples=_samples(train, labels),
        classes=labels.classes,
        test=None if test is None else _samples(test, labels),
        origin=f"idx files {train.images} and {train.labels}",
    )


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Return the unsigned bytes of one idx file with that many axes.

    Raises `DataError` for a missing file, another format, and too few or too many bytes.
    """
    check_regular(path)
    header = 4 + 4 * axes
    with named(str(path)), _opened(path) as file:
        start = file.read(header)
        if len(start) < header or start[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
            raise DataError(
                f"{path}: starts with {start[:4].hex() or 'nothing'}, expected "
                f"{8 * 256 + axes:08x}, the mark of idx files of unsigned bytes with {axes} "
                f"{'axis' if axes == 1 else 'axes'}"
            )
        shape = tuple(int(size) for size in np.frombuffer(start, ">u4", offset=4))
        size = math.prod(shape)
        check_size(size, str(path))
        data = file.read(size + 2)  # what is too much is not unpacked
    if len(data) != size:
        least = "at least " if len(data) == size + 2 else ""
        raise DataError(
            f"{path}: {least}{header + len(data)} bytes, expected {header + size} for "
            f"the declared shape {shape}; the file is damaged, fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    """Open a file, unpacked if it is packed; what it holds is read as far as it is needed."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    return gzip.open(path) if packed else path.open("rb")


def _labels(path: Path) -> NDArray[np.int64]:
    return read_idx(path, axes=1).astype(np.int64)


def _samples(part: IdxPart, labels: LabelSet) -> Samples:
    images, numbers = read_idx(part.images, axes=3), _labels(part.labels)
    if len(images) != len(numbers):
        raise DataError(
            f"{part.images} has {len(images)} images, {part.labels} has {len(numbers)} labels; "
            "expected as many"
        )
    scaled: NDArray[Any] = images.astype(np.float32) / np.float32(255)
    targets = labels.encode(numbers, str(part.labels))
    return Samples(torch.from_numpy(scaled).unsqueeze(1), torch.from_numpy(targets))
