"""What one pass will read: sites, statistics, gradients, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from nodelens.channels.groups import ChannelGraph, ChannelGroup
from nodelens.errors import ModelError
from nodelens.scoring.contract import Metric
from nodelens.statistics.contract import Layout, Statistic

FLOAT_BYTES = 8


@frozen
class PlanEntry:
    """The statistics that one group needs."""

    group: ChannelGroup
    statistics: tuple[Statistic[Any], ...]

    def bytes(self, layout: Layout) -> int:
        """Return the memory of the group's states."""
        return FLOAT_BYTES * sum(statistic.floats(layout) for statistic in self.statistics)


@frozen
class CapturePlan:
    """The union of what all metrics need, each statistic once per group."""

    entries: tuple[PlanEntry, ...]
    folds: int = 8
    classes: int = 0
    unread: Mapping[str, str] = field(factory=dict)

    def entry(self, group: str) -> PlanEntry:
        """Return the entry of a group."""
        return next(entry for entry in self.entries if entry.group.name == group)

    @property
    def gradient(self) -> bool:
        """Whether a backward pass is needed."""
        return any(s.needs_gradient for entry in self.entries for s in entry.statistics)

    @property
    def targets(self) -> bool:
        """Whether class labels are needed."""
        return any(s.needs_targets for entry in self.entries for s in entry.statistics)

    @property
    def passes(self) -> int:
        """The number of passes over the data: one, or none when weights are enough."""
        return int(any(entry.statistics for entry in self.entries))

    @property
    def bytes(self) -> int:
        """The memory of all states together."""
        return sum(entry.bytes(self.layout(entry.group)) for entry in self.entries)

    def layout(self, group: ChannelGroup, device: Any = "cpu") -> Layout:  # noqa: ANN401
        """Return the layout of the group's states."""
        return Layout(group.width, self.folds, device, self.classes)


def make_plan(
    graph: ChannelGraph, metrics: Sequence[Metric], folds: int = 8, classes: int = 0
) -> CapturePlan:
    """Return the union of what `metrics` need on every group that can be read.

    Groups whose nodes no module's input shows are listed in `unread` with the reason. Raises
    `ModelError` when there are metrics and no group that they could score.
    """
    needed = tuple(dict.fromkeys(statistic for metric in metrics for statistic in metric.needs()))
    readable = [group for group in graph if group.at("activation")]
    entries = tuple(
        PlanEntry(group, tuple(statistic for statistic in needed if group.at(statistic.tap)))
        for group in readable
    )
    unread = {
        group.name: group.frozen or "no module's input shows it"
        for group in graph
        if not group.at("activation")
    }
    if metrics and not entries:
        found = "; ".join(f"{name}: {reason}" for name, reason in unread.items())
        raise ModelError(
            f"the model has no nodes that can be scored: {found or graph.note or 'no weights'}"
        )
    return CapturePlan(entries, folds, classes, unread)
