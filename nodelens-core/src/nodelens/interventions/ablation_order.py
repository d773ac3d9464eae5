"""The number and the order of the nodes that are ablated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from nodelens.seeding import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray


def removed_count(width: int, fraction: float) -> int:
    """Return ``fraction * width`` rounded to the nearest node, half up; one node is kept."""
    return min(math.floor(fraction * width + 0.5), width - 1)


def random_order(width: int, seed: int, *purpose: str | int) -> NDArray[np.int64]:
    """Return the nodes in a random order, ``(nodes,)``, which seed and purpose fix."""
    order: NDArray[np.int64] = torch.randperm(width, generator=generator(seed, *purpose)).numpy()
    return order


def removal_order(
    importance: NDArray[np.float64], seed: int, *purpose: str | int
) -> NDArray[np.int64]:
    """Return the nodes from the least to the most important, ``(nodes,)``.

    Nodes of equal importance are in a random order that `seed` and `purpose` fix: by position, a
    metric without any information would always ablate one end of the layer first.
    """
    ties = random_order(len(importance), seed, "ties", *purpose)
    return np.lexsort((ties, importance)).astype(np.int64)
