"""Selection of the nodes to keep, given the number to remove."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from nodelens.errors import CaptureError
from nodelens.seeding import generator

Importances = Mapping[str, NDArray[np.float64]]
"""The importance of every node, ``(nodes,)`` by group; high is worth keeping."""


def chance(size: int, seed: int, *purpose: str | int) -> NDArray[np.int64]:
    """Return a random permutation, ``(size,)``, fixed by seed and purpose."""
    order = torch.randperm(size, generator=generator(seed, "pruning", *purpose))
    permutation: NDArray[np.int64] = order.numpy()
    return permutation


def check_finite(importances: Importances) -> None:
    """Raise `CaptureError` for values that are not finite: sorting would rank NaN as the best."""
    for group, values in importances.items():
        bad = np.flatnonzero(~np.isfinite(values)).tolist()
        if bad:
            raise CaptureError(
                f"{group}: the scores of nodes {bad[:5]} are not finite, so nothing can be pruned "
                "by them; choose another metric"
            )


def removal_order(importance: NDArray[np.float64], seed: int, group: str) -> NDArray[np.int64]:
    """Return the nodes of one group, the least important first; ties in a seeded random order."""
    return np.lexsort((chance(len(importance), seed, "ties", group), importance)).astype(np.int64)


def select(
    importances: Importances, remove: Mapping[str, int], seed: int
) -> dict[str, tuple[int, ...]]:
    """Return the sorted indices of the kept nodes, by group.

    Args:
        importances: importance of every node, ``(nodes,)`` by group; high is kept.
        remove: number of nodes to remove by group, the least important ones.
        seed: seed of the order of ties.

    Returns:
        Sorted indices of the kept nodes, by group.

    Raises:
        CaptureError: for importances that are not finite.

    Example:
        ::

            keep = select({"0:neurons": importance}, {"0:neurons": 8}, seed=0)
    """
    check_finite(importances)
    keep = {}
    for group, importance in importances.items():
        order = removal_order(importance, seed, group)
        keep[group] = tuple(sorted(order[remove[group] :].tolist()))
    return keep
