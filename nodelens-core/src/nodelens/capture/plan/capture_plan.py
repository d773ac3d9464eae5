"""The plan of a capture: the entries that passes read, with statistics, folds and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from nodelens.channels.groups import Block, ChannelGroup, SitePoint
from nodelens.interfaces.statistic import Layout, Need, PassStatistic, ReadPoint, Statistic

if TYPE_CHECKING:
    import torch

FLOAT_BYTES = 8
LOSS = "(model) (loss)"
"""The name of the states of the loss."""


@frozen
class PlanEntry:
    """The statistics of one group's nodes, at ``activation`` and ``preactivation``."""

    group: ChannelGroup
    statistics: tuple[Statistic[Any], ...]

    @property
    def name(self) -> str:
        """The name of the entry and of its states."""
        return self.group.name

    @property
    def layout(self) -> Layout:
        """The sizes of a state of the group's activation in one fold."""
        return self.layout_at("activation")

    def layout_at(self, point: SitePoint) -> Layout:
        """Return the sizes of a state of one point in one fold."""
        components = self.group.components(point)
        return Layout(self.group.width * components, 1, components=components)


@frozen
class InputEntry:
    """The statistics of the input that one module's weight is multiplied with.

    At ``weight`` they read the gradient of the module's output beside the input.
    """

    module: str
    place: ReadPoint
    statistics: tuple[Statistic[Any], ...]
    layout: Layout

    @property
    def name(self) -> str:
        """The name of the entry and of its states."""
        return f"{self.module or '(model)'} ({self.place})"


@frozen
class PairEntry:
    """The statistics of a pair of groups that are read on the same positions."""

    group: ChannelGroup
    partner: ChannelGroup
    statistics: tuple[Statistic[Any], ...]

    @property
    def name(self) -> str:
        """The name of the entry and of its states."""
        return f"{self.group.name} (pair)"

    @property
    def layout(self) -> Layout:
        """The sizes of a state of the entry in one fold."""
        here, there = (each.components("activation") for each in (self.group, self.partner))
        return Layout(
            self.group.width * here,
            1,
            others=self.partner.width * there,
            components=here,
            other_components=there,
        )


@frozen
class BlockEntry:
    """The statistics of the input and the output of one block."""

    block: Block
    width: int
    statistics: tuple[Statistic[Any], ...]

    @property
    def name(self) -> str:
        """The name of the entry and of its states."""
        return f"{self.block.module} (block)"

    @property
    def layout(self) -> Layout:
        """The sizes of a state of the entry in one fold."""
        return Layout(self.width, 1, others=self.width)


@frozen
class LossEntry:
    """The statistics of the loss of each row (block B0)."""

    statistics: tuple[Statistic[Any], ...]

    @property
    def name(self) -> str:
        """The name of the entry and of its states."""
        return LOSS

    @property
    def layout(self) -> Layout:
        """The sizes of a state in one fold: a loss, and the number of labels in its sum."""
        return Layout(2, 1)


Entry = PlanEntry | InputEntry | PairEntry | BlockEntry | LossEntry


@frozen
class CapturePlan:
    """The union of the statistics that all metrics need, each once per place.

    `inputs`, `pairs`, `blocks`, `losses` and `visits` are read beside the nodes; `input_of` names
    the state of a module's input, which modules that read one tensor share. `folds` is the number
    of folds of all statistics but the quadratic ones, which have `quadratic_folds`. `parts` names
    the entries of each pass, in order; empty, one pass reads everything. `budget` is the memory for
    states in bytes, None for no limit; `notes` lists in words the changes that fit the plan to it.
    `unread` are groups that cannot be read, and why. `position_fraction` is the fraction of the
    positions that statistics of pairs of nodes read: see `thins`.
    """

    entries: tuple[PlanEntry, ...]
    folds: int = 8
    classes: int = 0
    unread: Mapping[str, str] = field(factory=dict)
    inputs: tuple[InputEntry, ...] = ()
    pairs: tuple[PairEntry, ...] = ()
    visits: tuple[PassStatistic[Any], ...] = ()
    input_of: Mapping[str, str] = field(factory=dict)
    quadratic_folds: int = 0
    parts: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    budget: int | None = None
    blocks: tuple[BlockEntry, ...] = ()
    losses: tuple[LossEntry, ...] = ()
    position_fraction: float = 1.0

    @property
    def everything(self) -> tuple[Entry, ...]:
        """All entries that hooks read."""
        return (*self.entries, *self.inputs, *self.pairs, *self.blocks, *self.losses)

    def entry(self, group: str) -> PlanEntry:
        """Return the entry of a group."""
        return next(entry for entry in self.entries if entry.group.name == group)

    def needs(self, *needs: Need) -> bool:
        """Return whether any statistic has one of some requirements."""
        wanted = frozenset(needs)
        return any(s.requires & wanted for entry in self.everything for s in entry.statistics)

    @property
    def gradient(self) -> bool:
        """Whether a backward pass is needed."""
        return self.needs("gradient", "sampled_gradient") or self._weights

    @property
    def _weights(self) -> bool:
        return any(entry.place == "weight" for entry in self.inputs)

    @property
    def targets(self) -> bool:
        """Whether class labels are needed."""
        return self.needs("targets")

    @property
    def streams(self) -> tuple[tuple[Entry, ...], ...]:
        """The entries of every pass that hooks read."""
        asked = [entry for entry in self.everything if entry.statistics]
        if not self.parts:
            return (tuple(asked),) if asked else ()
        return tuple(tuple(e for e in asked if e.name in names) for names in self.parts)

    @property
    def passes(self) -> int:
        """The number of passes over the data; none when weights are enough."""
        return len(self.streams) + len(self.visits)

    @property
    def bytes(self) -> int:
        """The memory of all states together, in bytes."""
        read = sum(self.bytes_of(entry) for entry in self.everything)
        return read + sum(self.bytes_of_visit(statistic) for statistic in self.visits)

    @property
    def spills(self) -> bool:
        """Whether the states of finished passes must leave the memory."""
        return self.budget is not None and self.bytes > self.budget

    @property
    def peak_bytes(self) -> int:
        """The memory of the states of the largest pass, or of all where they need not leave it."""
        if not self.spills:
            return self.bytes
        read = [sum(map(self.bytes_of, entries)) for entries in self.streams]
        return max([*read, *map(self.bytes_of_visit, self.visits)])

    def bytes_of(self, entry: Entry) -> int:
        """Return the memory of the states of one entry."""
        floats = (s.floats(self.layout(entry, s)) for s in entry.statistics)
        return FLOAT_BYTES * sum(floats)

    def bytes_of_visit(self, statistic: PassStatistic[Any]) -> int:
        """Return the memory of the states of one statistic with passes of its own."""
        layouts = (self.layout(entry) for entry in self.entries)
        return FLOAT_BYTES * sum(statistic.floats(layout) for layout in layouts)

    def folds_of(self, statistic: Any) -> int:
        """Return the number of folds that a statistic is kept in."""
        requires: frozenset[Need] = getattr(statistic, "requires", frozenset())
        return (self.quadratic_folds or self.folds) if "quadratic" in requires else self.folds

    def thins(self, statistic: Any) -> bool:
        """Return whether a statistic reads a fraction of the positions only.

        Products of pairs of nodes take most of the time. Statistics of whole rows read all.
        """
        return self.position_fraction < 1.0 and is_pairwise(statistic)

    @property
    def pairwise(self) -> bool:
        """Whether a fraction of the positions suffices for some statistic."""
        return any(is_pairwise(s) for entry in self.everything for s in entry.statistics)

    @property
    def thinned(self) -> bool:
        """Whether some statistic reads a fraction of the positions only."""
        return self.position_fraction < 1.0 and self.pairwise

    @property
    def widening(self) -> float:
        """The largest factor by which a fraction of the positions widens standard errors.

        √(1 / position_fraction), where all positions are independent; less where those of a row
        are alike.
        """
        return float(self.position_fraction**-0.5)

    def layout(
        self,
        entry: Entry,
        statistic: Statistic[Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> Layout:
        """Return the layout of a state of one entry.

        Without a statistic it is that of a statistic with passes of its own, which has nodes alone.
        """
        if statistic is None:
            width = entry.group.width if isinstance(entry, PlanEntry) else entry.layout.width
            return Layout(width, self.folds, device, self.classes)
        shape = entry.layout
        if isinstance(entry, PlanEntry) and statistic.reads == "preactivation":
            shape = entry.layout_at("preactivation")
        folds = self.folds_of(statistic)
        return evolve(shape, folds=folds, device=device, classes=self.classes)


def is_pairwise(statistic: Any) -> bool:
    """Whether a statistic holds products of pairs of nodes, summed over samples."""
    requires: frozenset[Need] = getattr(statistic, "requires", frozenset())
    return "quadratic" in requires and "whole_rows" not in requires
