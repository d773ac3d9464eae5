"""Reading idx files: a magic number, the sizes of the axes, then unsigned bytes.

The format: http://yann.lecun.com/exdb/mnist, "file formats".
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import frozen

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
    data = _bytes(path)
    header = 4 + 4 * axes
    if len(data) < header or data[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
        raise DataError(
            f"{path}: starts with {data[:4].hex() or 'nothing'}, expected {8 * 256 + axes:08x}, "
            f"the mark of idx files of unsigned bytes with {axes} {'axis' if axes == 1 else 'axes'}"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", count=axes, offset=4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise DataError(
            f"{path}: {len(data)} bytes, expected {expected} for the declared shape {shape}; "
            "the file is damaged, fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP) else data
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file (looked in {Path.cwd()})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}; fetch the file again") from error


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
