"""The axes that a removal shrinks, which integers of the model may follow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from nodelens.removal.slicing import Change, TensorCut


@frozen
class ShrunkAxis:
    """One axis that shrinks: an integer `size` becomes `left`, a multiple shrinks in proportion.

    `kept` are the kept indices of an axis as a whole.
    """

    parameter: str
    axis: int
    nodes: str
    offset: int
    size: int
    left: int
    multiples: int = 1
    kept: tuple[int, ...] = ()

    def followed(self, value: int) -> int | None:
        """Return the new value of an integer that follows the axis, None if it cannot."""
        factor, rest = divmod(value, self.size)
        return None if rest or not factor or self.multiples % factor else factor * self.left

    def parts(self, lengths: Sequence[int]) -> list[int] | None:
        """Return the new lengths of consecutive parts of the axis, None unless they make it up."""
        if not self.kept or sum(lengths) != self.size:
            return None
        ends = list(accumulate(lengths))
        return [
            sum(start <= index < end for index in self.kept)
            for start, end in zip([0, *ends], ends, strict=False)
        ]


def shrunk_axes(changes: Sequence[Change], cuts: Sequence[TensorCut]) -> list[ShrunkAxis]:
    """Return every axis that shrinks: by the nodes of a slice, of all together, as a whole."""
    places: dict[tuple[str, int, int], dict[str, Change]] = defaultdict(dict)
    for change in changes:
        for part in change.group.slices:
            key = (part.parameter, part.axis, part.extent.offset)
            places[key].setdefault(change.group.kind, change)
    by_name = {name: cut for cut in cuts for name in cut.names}
    found: dict[ShrunkAxis, None] = {}
    for (parameter, axis, offset), by_kind in places.items():
        cut = by_name[parameter]
        for name in cut.names:
            whole, left = cut.shape[axis], len(cut.kept[axis])
            kept = tuple(int(index) for index in cut.kept[axis])
            found[ShrunkAxis(name, axis, "", 0, whole, left, kept=kept)] = None
            for kinds in [*([kind] for kind in by_kind), sorted(by_kind)]:
                size = math.prod(by_kind[kind].group.width for kind in kinds)
                stays = math.prod(by_kind[kind].left for kind in kinds)
                nodes = " × ".join(kinds)
                source = ShrunkAxis(name, axis, nodes, offset, size, stays, whole // size or 1)
                found[source] = None
    return list(found)
