"""The indices that nodes own along an axis, as tensors.

They are computed once per extent. Every call returns a tensor of its own: in a trace, one tensor
that two groups share would make them one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from nodelens.channels.groups import Extent


def owned_indices(extent: Extent) -> Tensor:
    """Return the indices of every node, ``(nodes, indices)``, as `Extent.indices` lists them."""
    return torch.from_numpy(_owned(extent).copy())


def places_along(size: int, extents: Sequence[Extent]) -> Tensor:
    """Return the place among all numbers of all nodes of each index of an axis, ``(size,)``.

    Number i of node j has the place j · `numbers_of` + i; -1 for indices of no node.
    """
    return torch.from_numpy(_places_along(size, tuple(extents)).copy())


def numbers_of(extents: Sequence[Extent]) -> int:
    """Return the largest number of indices that a node has in one of some extents."""
    return max(extent.count for extent in extents)


@lru_cache(maxsize=1024)
def _owned(extent: Extent) -> np.ndarray[Any, Any]:
    node = np.arange(extent.width).reshape(-1, 1, 1) * extent.inner
    repetition = np.arange(extent.outer).reshape(1, -1, 1) * extent.step
    inside = np.arange(extent.inner).reshape(1, 1, -1)
    return (extent.offset + node + repetition + inside).reshape(extent.width, -1)


@lru_cache(maxsize=1024)
def _places_along(size: int, extents: tuple[Extent, ...]) -> np.ndarray[Any, Any]:
    places, each = np.full(size, -1), numbers_of(extents)
    for extent in extents:
        owned = _owned(extent)
        numbers = np.arange(extent.width).reshape(-1, 1) * each + np.arange(extent.count)
        there = owned < size
        places[owned[there]] = numbers[there]
    return places
