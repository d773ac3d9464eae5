"""Arrays and model weights as safetensors files; equal content gives equal bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nodelens.errors import RunError
from nodelens.storage.atomic import write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_Loaded = TypeVar("_Loaded")

_PREFIX = 8
"""A safetensors file starts with the length of its header, a little-endian integer of 8 bytes."""


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write named arrays of any shape and numeric dtype; raises `RunError` if writing fails."""
    from safetensors.numpy import save

    native = {
        name: np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
        for name, array in arrays.items()
    }
    write_bytes(path, _sorted_header(save(native, metadata=dict(metadata) or None)))


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays and the metadata; raises `RunError` for a missing or damaged file."""
    from safetensors.numpy import load

    data = _read(path)
    arrays = _checked(load, data, path)
    header, _ = _split(data)
    return arrays, header.get("__metadata__", {})


def write_state(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict; tensors with common memory are each written in full."""
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_bytes(path, _sorted_header(save(own, metadata=dict(metadata) or None)))


def read_state(path: Path) -> dict[str, Tensor]:
    """Return a state dict on the CPU; raises `RunError` for a missing or damaged file."""
    from safetensors.torch import load

    return _checked(load, _read(path), path)


def state_to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Return a state dict as the bytes of a safetensors file."""
    from safetensors.torch import save

    return save({name: one.detach().cpu().contiguous().clone() for name, one in state.items()})


def state_from_bytes(data: bytes) -> dict[str, Tensor]:
    """Return the state dict from the bytes of a safetensors file, on the CPU."""
    from safetensors.torch import load

    return load(data)


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: not a regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def _checked(load: Callable[[bytes], _Loaded], data: bytes, path: Path) -> _Loaded:
    from safetensors import SafetensorError

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunError(
            f"{path}: not a whole safetensors file ({error}); run again to write a new one"
        ) from error


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    end = _PREFIX + int.from_bytes(data[:_PREFIX], "little")
    return json.loads(data[_PREFIX:end]), data[end:]


def _sorted_header(data: bytes) -> bytes:
    """Sort the metadata, which the library writes in an order that differs between processes."""
    header, numbers = _split(data)
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _PREFIX)
    return len(text).to_bytes(_PREFIX, "little") + text + numbers
