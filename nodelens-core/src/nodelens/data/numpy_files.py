"""Reading npz and npy files, never unpickling anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from nodelens.data.file_faults import FAULTS, check_regular, check_size
from nodelens.data.integrity import check_finite
from nodelens.data.labels import find_labels, named_classes, real_numbers, whole_numbers
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples

_NPY, _ZIP = b"\x93NUMPY", b"PK"
_LONGEST = 200
_HEADER_2 = np.lib.format.read_array_header_2_0
_AXES = {"first": None, "last": 4, "none": 3}


@frozen(eq=False)
class Pair:
    """Inputs and targets as arrays of files, with the places of both for error messages."""

    inputs: NDArray[Any]
    targets: NDArray[Any]
    inputs_at: str
    targets_at: str
    origin: str


def read_npz_pair(path: Path, inputs_key: str, targets_key: str) -> Pair:
    """Read two arrays of one npz file; raises `DataError` for a missing or unreadable one."""
    check_regular(path)
    with _explained(str(path)), path.open("rb") as file:
        if file.read(len(_NPY)) == _NPY:
            raise DataError(f"{path}: not an npz file; give npy files as inputs and targets")
        file.seek(0)
        archive = np.load(file, allow_pickle=False)
        arrays = [_member(archive, key, path) for key in (inputs_key, targets_key)]
    places = [f"{path}, {key!r}" for key in (inputs_key, targets_key)]
    return Pair(arrays[0], arrays[1], places[0], places[1], origin=str(path))


def read_npy_pair(inputs: Path, targets: Path) -> Pair:
    """Read two npy files; raises `DataError` for a missing or unreadable one."""
    arrays = [_npy(path) for path in (inputs, targets)]
    return Pair(arrays[0], arrays[1], str(inputs), str(targets), origin=f"{inputs} and {targets}")


def as_loaded(
    pair: Pair,
    channels: str,
    numbers: bool = False,
    class_names: Sequence[str] | None = None,
) -> LoadedData:
    """Return the samples, channels first; raises `DataError` for arrays that cannot be used.

    `numbers` says that targets are numbers to predict; `class_names` are the classes of text, which
    are sorted without.
    """
    inputs = _inputs(pair.inputs, pair.inputs_at, channels)
    if len(inputs) != len(pair.targets):
        raise DataError(
            f"{pair.inputs_at} has {len(inputs)} samples, {pair.targets_at} has "
            f"{len(pair.targets)}; expected as many"
        )
    if numbers:
        targets = real_numbers(pair.targets, pair.targets_at)
        return LoadedData(Samples(inputs, torch.from_numpy(targets)), (), origin=pair.origin)
    if pair.targets.dtype.kind == "U":
        classes, places = named_classes(pair.targets, pair.targets_at, class_names)
        samples = Samples(inputs, torch.from_numpy(places))
        ordered = class_names is not None
        return LoadedData(samples, classes, origin=pair.origin, ordered=ordered)
    found = whole_numbers(pair.targets, pair.targets_at)
    labels = find_labels(found)
    places = labels.encode(found, pair.targets_at)
    return LoadedData(Samples(inputs, torch.from_numpy(places)), labels.classes, origin=pair.origin)


def _member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> NDArray[Any]:
    if key not in archive.files:
        close = get_close_matches(key, archive.files, n=1)
        raise DataError(
            f"{path}: no array is called {key!r}; the file has {', '.join(archive.files) or 'none'}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    where = f"{path}, {key!r}"
    packed: Any = archive.zip  # Any: NumPy's type says that it may be closed
    with _explained(where):
        name = key if key in packed.namelist() else f"{key}.npy"
        with packed.open(name) as member:
            return _array(member, packed.getinfo(name).file_size, where)


def _npy(path: Path) -> NDArray[Any]:
    check_regular(path)
    with _explained(str(path)), path.open("rb") as file:
        if file.read(2) == _ZIP:
            raise DataError(f"{path}: an npz file, expected npy; give it as path")
        file.seek(0)
        return _array(file, path.stat().st_size, str(path))


def _array(file: IO[bytes], size: int, where: str) -> NDArray[Any]:
    """Return one array, after a check that the file is as long as its header says."""
    start = file.tell()
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 in the names of fields alone, which no plain array has.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _HEADER_2
    shape, _, dtype = read(file)
    expected = file.tell() - start + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and expected != size:
        raise DataError(
            f"{where}: has {size:,} bytes, expected {expected:,} for the declared shape {shape}; "
            "the file is damaged, fetch it again"
        )
    check_size(size, where)
    file.seek(start)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn errors of opening and parsing files into a `DataError` that says where."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{where}: there is no such file (looked in {Path.cwd()})") from error
    except FAULTS as error:
        raise DataError(f"{where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    if text.startswith("Object arrays"):
        return "holds Python objects, which are never unpickled; save a plain numeric array"
    if "pickle" in text or "magic string" in text:  # said of any file
        return "neither an npz nor an npy file; write one with numpy.savez or numpy.save"
    return f"cannot be read as a NumPy file: {text[:_LONGEST]}"


def _inputs(array: NDArray[Any], where: str, channels: str) -> torch.Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: inputs of dtype {array.dtype}, expected real numbers")
    if array.ndim < 2 or array.size == 0:
        raise DataError(f"{where}: inputs of shape {array.shape}, expected (samples, …), not empty")
    expected = _AXES[channels]
    if expected is not None and array.ndim != expected:
        raise DataError(
            f"{where}: inputs of shape {array.shape} have {array.ndim} axes, "
            f"channels: {channels} expects {expected}"
        )
    inputs = torch.from_numpy(_single_precision(array, where))
    check_finite(inputs, where)
    if channels == "last":
        return inputs.movedim(-1, 1).contiguous()
    return inputs.unsqueeze(1) if channels == "none" else inputs


def _single_precision(array: NDArray[Any], where: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, order="C")
    if array.dtype.kind == "f" and not np.array_equal(np.isinf(single), np.isinf(array)):
        raise DataError(
            f"{where}: values up to {np.abs(array).max():.3g} are too large for float32"
        )
    return single
