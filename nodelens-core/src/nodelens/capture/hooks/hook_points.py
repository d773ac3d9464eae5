"""Hook points: the tensors that the entries of a plan read, with module, end and statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from attrs import evolve, field, frozen

from nodelens.capture.hooks.update_schedule import UpdateSchedule
from nodelens.capture.plan.capture_plan import (
    BlockEntry,
    Entry,
    InputEntry,
    LossEntry,
    PairEntry,
    PlanEntry,
)
from nodelens.channels.groups import ChannelGraph, Extent, Rows, Site
from nodelens.interfaces.statistic import Need, ReadPoint, Statistic

GRADIENTS: Mapping[str, Need] = {"data": "gradient", "model": "sampled_gradient"}
"""The requirement of gradients of the loss, by whose labels the loss has."""


TWO_SIDED = ("pair", "block")
"""Read points where a reading holds two tensors, `values` and `partner`."""


@frozen(eq=False)
class HookPoint:
    """One tensor that a module reads, returns or multiplies, with the statistics that read it.

    `rows` says where its samples are. `several` says that its group is read at more than one
    tensor, `number` which of these it is, `second` that it is the second of two that belong
    together: the partner of a pair, the output beside an input.
    """

    entry: Entry
    site: Site
    place: ReadPoint
    statistics: tuple[Statistic[Any], ...]
    rows: Rows = field(factory=Rows)
    several: bool = False
    second: bool = False
    number: int = 0

    @cached_property
    def name(self) -> str:
        """The entry and the site, in words."""
        return f"{self.entry.name} @ {self.site.name}"

    @cached_property
    def read(self) -> str:
        """The tensor that is read, in words."""
        return f"the activation at {self.site.name}"

    @cached_property
    def graded(self) -> bool:
        """Whether the gradient of the tensor is read."""
        if self.place == "weight":
            return self.second
        return any(self.requiring(need) for need in GRADIENTS.values())

    @cached_property
    def overwritten(self) -> bool:
        """Whether the model changes the tensor in place later, so that a copy is needed."""
        return self.site.overwritten

    @property
    def mapped(self) -> bool:
        """Whether positions keep the shape of a feature map."""
        return self.place == "activation"

    @cached_property
    def components(self) -> int:
        """The number of components of each node."""
        if isinstance(self.entry, PairEntry):
            group = self.entry.partner if self.second else self.entry.group
            return group.components("activation")
        if isinstance(self.entry, PlanEntry):
            return self.entry.group.components(self.site.point)
        return 1

    def requiring(self, need: Need) -> tuple[Statistic[Any], ...]:
        """Return the statistics with a requirement."""
        return tuple(s for s in self.statistics if need in s.requires)

    @cached_property
    def of_gradients(self) -> tuple[Statistic[Any], ...]:
        """Return the statistics that read a gradient here, or beside this tensor."""
        if self.place == "weight":
            return self.statistics
        return tuple(s for s in self.statistics if s.requires & set(GRADIENTS.values()))

    @cached_property
    def at_once(self) -> UpdateSchedule:
        """The statistics that need nothing but the values."""
        later = {"gradient", "sampled_gradient", "outputs"}
        return self._together(s for s in self.statistics if not s.requires & later)

    @cached_property
    def after_forward(self) -> UpdateSchedule:
        """The statistics that wait for the model's output, and for no gradient."""
        graded = frozenset(GRADIENTS.values())
        return self._together(s for s in self.requiring("outputs") if not s.requires & graded)

    @cached_property
    def after_backward(self) -> Mapping[str, UpdateSchedule]:
        """The statistics that wait for gradients of the loss, by whose labels the loss has."""
        return {labels: self._together(self.requiring(need)) for labels, need in GRADIENTS.items()}

    def _together(self, statistics: Iterable[Statistic[Any]]) -> UpdateSchedule:
        return UpdateSchedule(tuple(statistics), self.several)


def hook_points_of(entry: Entry, graph: ChannelGraph) -> list[HookPoint]:
    """Return the tensors that an entry's statistics read.

    Samples run along the first axis where the example was too small to find their axis.
    """
    if isinstance(entry, PlanEntry):
        return _at_nodes(entry)
    if isinstance(entry, PairEntry):
        return _at_pair(entry)
    if isinstance(entry, BlockEntry):
        return _at_block(entry, graph)
    if isinstance(entry, LossEntry):
        return []
    return _at_weight(entry, graph)


def _at_nodes(entry: PlanEntry) -> list[HookPoint]:
    points: list[HookPoint] = []
    places: tuple[Any, ...] = ("activation", "preactivation")
    for place in places:
        statistics = tuple(s for s in entry.statistics if s.reads == place)
        sites = entry.group.at(place) if statistics else ()
        several = len(sites) > 1 or any(site.end == "operand" for site in sites)
        points.extend(
            HookPoint(entry, site, place, statistics, site.rows or Rows(), several, number=number)
            for number, site in enumerate(sites)
        )
    return points


def _at_pair(entry: PairEntry) -> list[HookPoint]:
    sites = [group.at("activation")[0] for group in (entry.group, entry.partner)]
    return [
        HookPoint(entry, site, "pair", entry.statistics, site.rows or Rows(), second=bool(number))
        for number, site in enumerate(sites)
    ]


def _at_block(entry: BlockEntry, graph: ChannelGraph) -> list[HookPoint]:
    """Return the input of a block, copied since the block may work in place, and the output."""
    module, axis, extent = entry.block.module, entry.block.axis, Extent(entry.width)
    read = Site(module, "input", "activation", axis, extent, overwritten=True)
    returned = Site(module, "output", "preactivation", axis, extent)
    point = HookPoint(entry, read, "block", entry.statistics)
    return _at_every_call([point, evolve(point, site=returned, second=True)], graph)


def _at_weight(entry: InputEntry, graph: ChannelGraph) -> list[HookPoint]:
    """Return a module's input and, where statistics read the weight, the output."""
    known = [site for group in graph for site in group.sites if site.module == entry.module]
    rows = next((site.rows for site in known if site.rows and site.end != "operand"), Rows())
    changed = any(site.overwritten for site in known if site.end == "input")
    width = Extent(entry.layout.width)
    read = Site(entry.module, "input", "activation", -1, width, overwritten=changed)
    points = [HookPoint(entry, read, entry.place, entry.statistics, rows)]
    if entry.place == "weight":
        extent = Extent(entry.layout.others)
        written = Site(entry.module, "output", "preactivation", -1, extent)
        points.append(evolve(points[0], site=written, second=True))
    return _at_every_call(points, graph)


def _at_every_call(points: list[HookPoint], graph: ChannelGraph) -> list[HookPoint]:
    """Return hook points of one module for each call on data: a shared module has several."""
    path = points[0].site.module
    sites = (site for group in graph for site in group.sites if site.module == path)
    seen = sorted({site.call for site in sites if site.end != "operand"})
    calls = seen or range(max(1, graph.calls.get(path, 1)))
    return [
        evolve(point, site=evolve(point.site, call=call), several=len(calls) > 1, number=number)
        for number, call in enumerate(calls)
        for point in points
    ]
