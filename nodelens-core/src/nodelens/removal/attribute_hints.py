"""Hints of a backend about its models: which integers hold the sizes of which groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from nodelens.removal.adjustments import Adjustment
from nodelens.removal.integers import integers

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.groups import ChannelGraph, ChannelGroup
    from nodelens.removal.slicing import Change


@frozen
class AttributeHint:
    """An integer attribute that holds the number of nodes of groups, read by the forward or not.

    `attribute` is its path from the model, where ``*`` stands for anything:
    ``config.intermediate_size``, ``*.self_attn.num_heads``. `groups` are patterns of group names,
    and the integer is the product of one group of each: ``("*:kv_groups", "*:query_heads")`` for
    the heads of grouped attention. It counts `nodes`, or the `indices` that they have on the axes
    of the weights (nodes × head size).

    An integer of a module stands for the groups inside the module, an integer of the whole model
    for all groups that match. Where these have become unequal, the integer is left as it is, and a
    note of the removal says so.
    """

    attribute: str
    groups: tuple[str, ...]
    unit: Literal["nodes", "indices"] = "nodes"

    def __str__(self) -> str:
        return f"{self.attribute} counts the {self.unit} of {' × '.join(self.groups)}"


@frozen(eq=False)
class Hinted:
    """The adjustments that hints request, and notes on hints that could not be followed."""

    adjustments: tuple[Adjustment, ...]
    notes: tuple[str, ...]


@frozen
class _Size:
    """The size of a group before and after a removal, in nodes or in indices."""

    before: int
    after: int


def hinted(
    model: nn.Module,
    graph: ChannelGraph,
    changes: Sequence[Change],
    hints: Sequence[AttributeHint],
) -> Hinted:
    """Return the integers that follow the changes by hints; the first hint that fits decides."""
    left = {change.group.name: change.left for change in changes}
    effects: dict[AttributeHint, dict[tuple[str, str], int]] = {}
    notes: list[str] = []
    taken: set[tuple[str, str]] = set()
    for hint in hints:
        for path, attribute, value in _places(model, hint.attribute):
            sizes = _sizes(graph, path, hint, left)
            fits = any(each.before == value for each in sizes) and (path, attribute) not in taken
            if not fits:
                continue
            taken.add((path, attribute))
            if all(each.before == each.after for each in sizes):
                continue
            if len(sizes) == 1:
                effects.setdefault(hint, {})[path, attribute] = sizes[0].after
            else:
                place = f"{path}.{attribute}".removeprefix(".")
                several = ", ".join(str(each.after) for each in sizes)
                notes.append(f"{place} stays {value}: its groups now have {several} {hint.unit}")
    return Hinted(
        tuple(Adjustment((hint,), effect) for hint, effect in effects.items()), tuple(notes)
    )


def _places(model: nn.Module, pattern: str) -> Iterator[tuple[str, str, int]]:
    """Yield module path, attribute and value of every integer that a pattern matches.

    A config that modules share is met once, in the outermost of them.
    """
    seen: set[tuple[int, str]] = set()
    for path, module in model.named_modules():
        for attribute, value in integers(module):
            if _fits(pattern, f"{path}.{attribute}".removeprefix(".")):
                shared = attribute.startswith("config.")
                key = (id(module.config) if shared else id(module), attribute)
                if key not in seen:
                    seen.add(key)
                    yield path, attribute, value


def _sizes(
    graph: ChannelGraph, path: str, hint: AttributeHint, left: Mapping[str, int]
) -> list[_Size]:
    """Return the sizes that the groups around a module have; several where these differ."""
    factors = [_near(_matching(graph, pattern), path) for pattern in hint.groups]
    if len({len(factor) for factor in factors}) != 1:
        return []
    return list(dict.fromkeys(_size(layer, hint, left) for layer in zip(*factors, strict=True)))


def _size(layer: Sequence[ChannelGroup], hint: AttributeHint, left: Mapping[str, int]) -> _Size:
    inner = _inner(layer[-1]) if hint.unit == "indices" else 1
    before = math.prod(group.width for group in layer)
    after = math.prod(left.get(group.name, group.width) for group in layer)
    return _Size(inner * before, inner * after)


def _matching(graph: ChannelGraph, pattern: str) -> list[ChannelGroup]:
    return [group for group in graph if _fits(pattern, group.name)]


def _fits(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern in which only ``*`` is special: names have brackets."""
    return bool(re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name))


def _near(groups: Sequence[ChannelGroup], path: str) -> list[ChannelGroup]:
    """Return the groups with parameters inside a module, or inside the nearest around it."""
    while path:
        inside = [
            group
            for group in groups
            if any(part.parameter.startswith(f"{path}.") for part in group.slices)
        ]
        if inside:
            return inside
        path = path.rpartition(".")[0]
    return list(groups)


def _inner(group: ChannelGroup) -> int:
    """Return the number of indices that one node has on the axes that write it."""
    return max((part.extent.inner for part in group.role("producer")), default=1)
