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


def nodes_along(size: int, extents: Sequence[Extent]) -> Tensor:
    """Return the node that each index of an axis belongs to, ``(size,)``, -1 for none."""
    return torch.from_numpy(_nodes_along(size, tuple(extents)).copy())


@lru_cache(maxsize=1024)
def _owned(extent: Extent) -> np.ndarray[Any, Any]:
    node = np.arange(extent.width).reshape(-1, 1, 1) * extent.inner
    repetition = np.arange(extent.outer).reshape(1, -1, 1) * extent.step
    inside = np.arange(extent.inner).reshape(1, 1, -1)
    return (extent.offset + node + repetition + inside).reshape(extent.width, -1)


@lru_cache(maxsize=1024)
def _nodes_along(size: int, extents: tuple[Extent, ...]) -> np.ndarray[Any, Any]:
    nodes = np.full(size, -1)
    for extent in extents:
        owned = _owned(extent)
        numbers = np.broadcast_to(np.arange(extent.width).reshape(-1, 1), owned.shape)
        there = owned < size
        nodes[owned[there]] = numbers[there]
    return nodes
