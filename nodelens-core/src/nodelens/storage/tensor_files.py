"""Files of many tensors, written and read one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from nodelens.errors import RunError
from nodelens.storage.atomic import write_chunks

if TYPE_CHECKING:
    from torch import Tensor

_TYPES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNED = 8
"""The alignment of the data of a safetensors file in bytes."""


@frozen(eq=False)
class TensorSource:
    """One tensor of a file to be written: dtype, shape, and a function that returns the values."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


def source_of(tensor: Tensor) -> TensorSource:
    """Return the source of a tensor in memory."""
    return TensorSource(tensor.dtype, tuple(tensor.shape), lambda: tensor)


def write_tensors(
    path: Path, sources: Mapping[str, TensorSource], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file atomically, one tensor in memory at a time.

    Raises `RunError` when it cannot be written.
    """
    order = sorted(sources, key=lambda name: (-sources[name].dtype.itemsize, name))
    write_chunks(path, _chunks(order, sources, metadata))


def _chunks(
    order: list[str], sources: Mapping[str, TensorSource], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    yield _header(order, sources, metadata)
    for name in order:
        numbers = sources[name].load().detach().cpu().contiguous().reshape(-1)
        yield numbers.view(torch.uint8).numpy().data


def _header(
    order: list[str], sources: Mapping[str, TensorSource], metadata: Mapping[str, str]
) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for name in order:
        source, stop = sources[name], start + sources[name].size
        kind = _TYPES[source.dtype]
        entries[name] = {"dtype": kind, "shape": source.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return len(text).to_bytes(_ALIGNED, "little") + text


def read_tensors(path: Path, names: list[str]) -> list[Tensor]:
    """Return some tensors of a file on the CPU; raises `RunError` for a missing or damaged file."""
    with _opened(path) as file:
        return [file.get_tensor(name).clone() for name in names]


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a whole file; raises `RunError` for a missing or damaged file."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def source_in(path: Path, name: str) -> TensorSource:
    """Return the source of a tensor in a file, to be copied into another file."""
    types = {kind: dtype for dtype, kind in _TYPES.items()}
    with _opened(path) as file:
        part = file.get_slice(name)
        dtype, shape = types[part.get_dtype()], tuple(part.get_shape())
    return TensorSource(dtype, shape, lambda: read_tensors(path, [name])[0])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:  # Any: safetensors has no types
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RunError(f"cannot read {path}: there is no such file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: not a whole safetensors file ({error})") from error
