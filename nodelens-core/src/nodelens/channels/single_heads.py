"""Single query heads of an attention whose query heads share keys and values in groups.

The query heads of such an attention are a product of two groups: one of keys and values, and the
place of a query head in each. Neither of the two is one head.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from attrs import evolve

from nodelens.channels.groups import (
    SINGLE_QUERY_HEADS,
    ChannelGroup,
    Extent,
    ParameterSlice,
    Site,
)

_Part = TypeVar("_Part", ParameterSlice, Site)


def with_single_heads(groups: Iterable[ChannelGroup]) -> Iterator[ChannelGroup]:
    """Yield the groups, and single query heads behind each group of query heads.

    They are left out where their indices are not in one regular order: where queries, keys and
    values lie interleaved, group by group, in one weight.
    """
    known = list(groups)
    for group in known:
        yield group
        if group.kind == "query_heads":
            owners = (each for each in known if each.kind == "kv_groups")
            found = (_single_heads(group, owner) for owner in owners)
            yield from [each for each in found if each is not None][:1]


def _single_heads(group: ChannelGroup, owner: ChannelGroup) -> ChannelGroup | None:
    """Return the single heads of query heads and of the groups that share keys and values."""
    slices = _products(group.slices, owner.slices)
    computed = _products(group.computed, owner.computed)
    sites = _products(group.sites, owner.sites)
    if slices is None or computed is None or sites is None:
        return None
    return ChannelGroup(
        group.name.replace(f":{group.kind}", f":{SINGLE_QUERY_HEADS}"),
        SINGLE_QUERY_HEADS,
        group.width * owner.width,
        slices,
        sites,
        frozen=f"its weights are those of {owner.name}, whose query heads are removed together",
        computed=computed,
        part_of=owner.name,
    )


def _products(parts: tuple[_Part, ...], theirs: tuple[_Part, ...]) -> tuple[_Part, ...] | None:
    """Return the places of pairs of nodes, None where one of them is irregular."""
    at = {evolve(each, extent=Extent(1)): each.extent for each in theirs}
    found = []
    for part in parts:
        extent = _product(at.get(evolve(part, extent=Extent(1))), part.extent)
        if extent is None:
            return None
        found.append(evolve(part, extent=extent))
    return tuple(found)


def _product(outer: Extent | None, inner: Extent) -> Extent | None:
    """Return the extent of pairs of nodes, None where they are in no regular order.

    The pairs are numbered as they lie along the axis, so that both orders of nesting have one.
    """
    if outer is None:
        return None
    for slow, fast in ((outer, inner), (inner, outer)):
        width = slow.width * fast.width
        found = Extent(width, slow.offset, fast.inner, slow.outer, slow.period)
        if slow.inner == fast.width * fast.inner and slow.offset == fast.offset:
            return found
    return None
