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
            others = (each for each in known if each.kind == "kv_groups")
            found = (_single_heads(group, each) for each in others)
            yield from [each for each in found if each is not None and each.sites][:1]


def _single_heads(one: ChannelGroup, owner: ChannelGroup) -> ChannelGroup | None:
    """Return the single heads of two groups of heads that nest, None where they are irregular."""
    try:
        slices, computed, sites = (
            tuple(_products(*parts))
            for parts in (
                (one.slices, owner.slices),
                (one.computed, owner.computed),
                (one.sites, owner.sites),
            )
        )
    except _IrregularError:
        return None
    return ChannelGroup(
        one.name.replace(f":{one.kind}", f":{SINGLE_QUERY_HEADS}"),
        SINGLE_QUERY_HEADS,
        one.width * owner.width,
        slices,
        sites,
        frozen=f"its weights are those of {owner.name}, whose query heads are removed together",
        computed=computed,
        part_of=owner.name,
    )


class _IrregularError(Exception):
    """Two groups share indices of an axis in no regular order."""


def _products(parts: Iterable[_Part], others: Iterable[_Part]) -> Iterator[_Part]:
    """Yield the places of pairs of nodes, wherever both groups have indices of one axis."""
    others = list(others)
    for part in parts:
        same = [each for each in others if _place(each) == _place(part)]
        found = [extent for each in same if (extent := _product(each.extent, part.extent))]
        if found:
            yield evolve(part, extent=found[0])
        elif any(each.extent.owned & part.extent.owned for each in same):
            raise _IrregularError


def _place(part: _Part) -> _Part:
    """Return a slice or a site without the indices of the nodes."""
    return evolve(part, extent=Extent(1))


def _product(one: Extent, other: Extent) -> Extent | None:
    """Return the extent of pairs of nodes, None where they are in no regular order.

    The pairs are numbered as they lie along the axis, so that both orders of nesting have one.
    """
    for slow, fast in ((one, other), (other, one)):
        if slow.inner == fast.width * fast.inner and slow.offset == fast.offset:
            return Extent(slow.width * fast.width, slow.offset, fast.inner, slow.outer, slow.period)
    return None
