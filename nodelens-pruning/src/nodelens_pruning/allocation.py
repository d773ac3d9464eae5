"""How many nodes go from each group."""

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
    """Return how many nodes go from each group; at least `min_nodes` of each stay.

    Together ``floor(sparsity * nodes + 1/2)`` nodes go, fewer only where `min_nodes` forbids it.
    Raises `CaptureError` for scores that are not finite.
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
    """Return how many nodes go if those that stay are to be a multiple, by group.

    More nodes stay, up to the next multiple or to all of the group.
    """
    found = {}
    for name, removed in remove.items():
        step = round_to.get(name, 1)
        stay = math.ceil((widths[name] - removed) / step) * step
        found[name] = max(0, widths[name] - stay)
    return found


def total_removed(importances: Importances, sparsity: float) -> int:
    """Return how many nodes a sparsity stands for: rounded to the nearest, half up."""
    return math.floor(sparsity * sum(len(values) for values in importances.values()) + 0.5)


def standardise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return z-scores, ``(nodes,)``; all zero where all values are equal."""
    centred = values - values.mean()
    scale = float(np.sqrt((centred**2).mean()))
    return centred / scale if np.ptp(values) > 0 and scale > 0 else np.zeros_like(values)


def _uniform(
    importances: Importances, sparsity: float, caps: Mapping[str, int], seed: int
) -> dict[str, int]:
    """Return the same share of every group, within one node.

    Every group gives the whole part of its share; the nodes still missing to the total come one
    each from the groups with the largest remainders, equal ones in a seeded random order.
    """
    shares = {name: sparsity * len(values) for name, values in importances.items()}
    remove = {name: min(math.floor(share), caps[name]) for name, share in shares.items()}
    missing = total_removed(importances, sparsity) - sum(map(math.floor, shares.values()))
    ties = dict(zip(shares, chance(len(shares), seed, "remainders").tolist(), strict=True))
    order = sorted(
        shares, key=lambda name: (-round(shares[name] - math.floor(shares[name]), 9), ties[name])
    )
    for name in [name for name in order if remove[name] < caps[name]][: max(0, missing)]:
        remove[name] += 1
    return remove


def _lowest(
    importances: Importances, total: int, caps: Mapping[str, int], seed: int
) -> dict[str, int]:
    """Return how many of the lowest nodes overall are in each group, none above its cap."""
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
