"""The channel groups of a model as JSON values of the run folder, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.channels.groups import ChannelGraph, ChannelGroup
from nodelens.config.stored_values import from_stored, to_stored

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder

CHANNELS = "channels.json"
_FORMAT = 1


@frozen
class GraphRecord:
    """The groups, whether the model was traced, why not, and the operators without a rule."""

    traced: bool
    note: str
    unknown_operators: dict[str, str]
    groups: tuple[ChannelGroup, ...]


def write_graph(run: RunFolder, graph: ChannelGraph) -> None:
    """Write ``channels.json``."""
    record = GraphRecord(graph.traced, graph.note, dict(graph.unknown_operators), graph.groups)
    run.write_json(CHANNELS, to_stored(record, _FORMAT))


def read_groups(run: RunFolder) -> tuple[ChannelGroup, ...]:
    """Return the groups in ``channels.json``; raises `RunError` where it is damaged."""
    values, what = run.read_json(CHANNELS), str(run.file(CHANNELS))
    return from_stored(GraphRecord, values, what, _FORMAT, "list of channel groups").groups
