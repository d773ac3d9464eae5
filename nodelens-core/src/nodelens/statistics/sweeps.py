"""Elementwise work on a reading, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Reading

CHUNK = {"cpu": 2**18, "cuda": 2**26}
"""Elements that are processed at once: as many as fit a processor's cache, or fill a device."""


class ReadingSlice(NamedTuple):
    """Some rows and nodes of a reading: an index of ``(rows, positions, nodes)``."""

    rows: slice
    positions: slice
    nodes: slice


def chunk_on(device: torch.device) -> int:
    """Return the number of elements that are processed at once on a device."""
    return CHUNK.get(device.type, CHUNK["cpu"])


def row_slices(reading: Reading) -> list[slice]:
    """Return slices of rows that are processed at once; one empty slice without rows."""
    rows, positions, nodes = reading.values.shape
    return _slices(max(rows, 1), chunk_on(reading.values.device) // max(1, positions * nodes))


def cuts(reading: Reading) -> tuple[tuple[ReadingSlice, ...], ...]:
    """Return the slices that are processed at once, row by row; large rows are split by nodes.

    The components of a node are always in one slice.
    """
    rows, positions, nodes = reading.values.shape
    return _cuts(rows, positions, nodes, reading.components, chunk_on(reading.values.device))


@lru_cache(maxsize=1024)
def _cuts(
    rows: int, positions: int, nodes: int, components: int, chunk: int
) -> tuple[tuple[ReadingSlice, ...], ...]:
    step = chunk // max(1, positions) // components * components
    columns = _slices(nodes, max(components, step))
    lines = _slices(max(rows, 1), chunk // max(1, positions * nodes))
    return tuple(tuple(ReadingSlice(line, slice(None), some) for some in columns) for line in lines)


def swept(
    reading: Reading, terms: Callable[[ReadingSlice], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Return the result of `terms` for all rows and nodes, computed slice by slice.

    `terms` maps a slice to tensors ``(rows, nodes)`` of its rows and nodes, or components.
    Elementwise work on a whole activation is bound by memory: it takes several times as long.
    """
    parts = [_beside([terms(cut) for cut in row], dim=-1) for row in cuts(reading)]
    return _beside(parts, dim=0)


def _beside(parts: list[tuple[Tensor, ...]], dim: int) -> tuple[Tensor, ...]:
    if len(parts) == 1:
        return parts[0]
    return tuple(torch.cat(tensors, dim=dim) for tensors in zip(*parts, strict=True))


def _slices(length: int, step: int) -> list[slice]:
    return [slice(first, first + max(1, step)) for first in range(0, length, max(1, step))]
