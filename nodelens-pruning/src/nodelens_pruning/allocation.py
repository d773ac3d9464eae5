"""Allocation: number of nodes to remove from each group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from nodelens_pruning.selection import Importances, chance, check_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray


def allocate(
    importances: Importances,
    sparsity: float,
    allocation: Literal["uniform", "global", "standardised"],
    min_nodes: int,
    seed: int,
) -> dict[str, int]:
    """Return the number of nodes to remove from each group.

    Args:
        importances: importance of every node, ``(nodes,)`` by group; high is kept.
        sparsity: fraction of all nodes to remove, from 0 to below 1.
        allocation: uniform removes this fraction of every group, global ranks all nodes together,
            standardised does so after a z-score within each group.
        min_nodes: least number of nodes to keep in a group.
        seed: seed of the order of ties.

    Returns:
        Number of removed nodes by group. The sum is ``floor(sparsity * nodes + 1/2)``, less only
        where `min_nodes` forbids more.

    Raises:
        CaptureError: for importances that are not finite.

    Example:
        ::

            remove = allocate({"0:neurons": importance}, 0.5, "uniform", min_nodes=1, seed=0)
    """
    check_finite(importances)
    caps = {name: max(0, len(values) - min_nodes) for name, values in importances.items()}
    if allocation == "uniform":
        return _uniform(importances, sparsity, caps, seed)
    if allocation == "standardised":
        importances = {name: standardise(values) for name, values in importances.items()}
    total = total_removed(importances, sparsity)
    return _lowest(importances, total, caps, seed)


def rounded(
    remove: Mapping[str, int], widths: Mapping[str, int], round_to: Mapping[str, int]
) -> dict[str, int]:
    """Return the numbers of removed nodes that make the kept ones multiples, by group.

    More nodes are kept, up to the next multiple or all of the group.
    """
    found = {}
    for name, removed in remove.items():
        step = round_to.get(name, 1)
        kept = math.ceil((widths[name] - removed) / step) * step
        found[name] = max(0, widths[name] - kept)
    return found


def total_removed(importances: Importances, sparsity: float) -> int:
    """Return the number of removed nodes at a sparsity: rounded to the nearest, half up."""
    return math.floor(sparsity * sum(len(values) for values in importances.values()) + 0.5)


def standardise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return z-scores, ``(nodes,)``; all zero where all values are equal."""
    centred = values - values.mean()
    scale = float(np.sqrt((centred**2).mean()))
    return centred / scale if np.ptp(values) > 0 and scale > 0 else np.zeros_like(values)


def _uniform(
    importances: Importances, sparsity: float, caps: Mapping[str, int], seed: int
) -> dict[str, int]:
    """Return an equal fraction of every group, within one node.

    Every group gives the whole part of its quota. The nodes missing to the total come one each from
    the groups with the largest remainders, ties in a seeded random order.
    """
    quotas = {name: sparsity * len(values) for name, values in importances.items()}
    remove = {name: min(math.floor(quota), caps[name]) for name, quota in quotas.items()}
    missing = total_removed(importances, sparsity) - sum(map(math.floor, quotas.values()))
    ties = dict(zip(quotas, chance(len(quotas), seed, "remainders").tolist(), strict=True))
    order = sorted(
        quotas, key=lambda name: (-round(quotas[name] - math.floor(quotas[name]), 9), ties[name])
    )
    for name in [name for name in order if remove[name] < caps[name]][: max(0, missing)]:
        remove[name] += 1
    return remove


def _lowest(
    importances: Importances, total: int, caps: Mapping[str, int], seed: int
) -> dict[str, int]:
    """Return the numbers of nodes by group among the lowest of all, none above the group's cap."""
    groups = [name for name, values in importances.items() for _ in values]
    values = np.concatenate(list(importances.values()))
    order = np.lexsort((chance(len(values), seed, "global"), values))
    remove = dict.fromkeys(importances, 0)
    left = total
    for node in order.tolist():
        name = groups[node]
        if left and remove[name] < caps[name]:
            remove[name] += 1
            left -= 1
    return remove
