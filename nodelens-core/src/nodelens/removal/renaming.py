"""New names of groups after a removal leaves one node of another, which is then no group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph
    from nodelens.removal.slicing import Change

_NUMBER = re.compile(r":\d+$")


def renaming_notes(graph: ChannelGraph, changes: Sequence[Change]) -> tuple[str, ...]:
    """Return notes on groups with one node left whose names pass to other groups."""
    gone = [each.group.name for each in changes if each.left == 1]
    renamed = [f"{old} is called {new}" for old, new in _renamed(graph, gone)]
    if not gone or not renamed:
        return ()
    note = f"one node is left of {', '.join(gone)}: inferred again, that is no group"
    return ("; ".join([note, *renamed]),)


def _renamed(graph: ChannelGraph, gone: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the old and the new name of every group whose number changes without those `gone`."""
    seen: Counter[str] = Counter()
    for group in graph:
        if group.name not in gone:
            base = _NUMBER.sub("", group.name)
            seen[base] += 1
            new = base if seen[base] == 1 else f"{base}:{seen[base]}"
            if new != group.name:
                yield group.name, new
