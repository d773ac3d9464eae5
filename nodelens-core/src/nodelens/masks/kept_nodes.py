"""The nodes to keep of a group, as users write them: indices, a mask, or a slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGroup

Nodes = Sequence[int] | slice | np.ndarray[Any, Any] | Tensor
"""Indices in any integer type, a slice, or a bool for each node, ``(nodes,)``."""
Keep = Mapping[str, Nodes]


def kept_nodes(group: ChannelGroup, kept: Nodes) -> Tensor:
    """Return `kept` as ``(nodes,)`` of bool.

    Args:
        group: the group that the nodes are of.
        kept: different indices from 0 on in any integer type, a slice, or a bool for each node.

    Raises:
        ModelError: for indices out of range, negative or given twice, for numbers that are not
            whole, and for anything else.
    """
    if isinstance(kept, slice):
        return _of_slice(group, kept)
    chosen = _listed(kept)
    if chosen is None:
        raise ModelError(
            f"{group.name}: expected the numbers of the kept nodes, or a bool for each node, got "
            f"{kept}"
        )
    if chosen and isinstance(chosen[0], bool):
        if len(chosen) != group.width:
            raise ModelError(f"{group.name}: a mask of {len(chosen)} for {group.width} nodes")
        return torch.tensor(chosen)
    _check_numbers(group, chosen)
    flags = torch.zeros(group.width, dtype=torch.bool)
    flags[chosen] = True
    return flags


def _check_numbers(group: ChannelGroup, chosen: Sequence[int]) -> None:
    if chosen and (min(chosen) < 0 or max(chosen) >= group.width):
        raise ModelError(f"{group.name}: nodes run from 0 to {group.width - 1}, got {chosen}")
    node, count = max(Counter(chosen).items(), key=lambda item: item[1], default=(0, 0))
    if count > 1:
        raise ModelError(f"{group.name}: node {node} is listed {count} times, list it once")


def _of_slice(group: ChannelGroup, kept: slice) -> Tensor:
    kept = slice(*(each.item() if _is_single(each) else each for each in _parts(kept)))
    bounds = [each for each in (kept.start, kept.stop) if each is not None]
    whole = all(_is_whole(each) for each in (*bounds, 1 if kept.step is None else kept.step))
    if not whole or kept.step == 0 or not all(0 <= each <= group.width for each in bounds):
        raise ModelError(
            f"{group.name}: expected a slice from 0 to {group.width} at most, got {kept}"
        )
    flags = torch.zeros(group.width, dtype=torch.bool)
    flags[list(range(group.width)[kept])] = True
    return flags


def _parts(kept: slice) -> tuple[Any, Any, Any]:
    return kept.start, kept.stop, kept.step


def _listed(kept: Any) -> list[Any] | None:
    """Return whole numbers, or else bools, as a list; None for anything else."""
    if isinstance(kept, Tensor) and (kept.is_meta or kept.layout != torch.strided):
        return None
    if isinstance(kept, Tensor | np.ndarray):
        kept = kept.tolist()
    if not isinstance(kept, Sequence) or isinstance(kept, str | bytes):
        return None
    single = [each.item() if _is_single(each) else each for each in kept]
    if all(isinstance(each, bool) for each in single) or all(_is_whole(each) for each in single):
        return single
    return None


def _is_single(value: object) -> bool:
    return isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
