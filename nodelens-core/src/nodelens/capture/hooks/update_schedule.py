"""The schedule of updates: statistics of one hook point by the part of a batch they wait for."""

from __future__ import annotations

from functools import cached_property, reduce
from operator import or_
from typing import Any

from attrs import frozen

from nodelens.capture.plan.capture_plan import is_pairwise
from nodelens.interfaces.statistic import Reading, RowSums, Statistic

Statistics = tuple[Statistic[Any], ...]


@frozen(eq=False)
class UpdateSchedule:
    """Statistics of one hook point; `several` says that the group is read at other sites too.

    All properties are computed once: between the layers of a model, whose weights have emptied the
    caches, a line of Python takes several times as long as in a loop.
    """

    statistics: Statistics
    several: bool = False

    def __bool__(self) -> bool:
        return bool(self.statistics)

    @cached_property
    def by_sums(self) -> Statistics:
        """The statistics that need nothing of a reading but sums over whole rows."""
        return tuple(s for s in self.statistics if hasattr(s, "row_sums") and not is_pairwise(s))

    @cached_property
    def sums(self) -> RowSums:
        """The sums that any of the statistics needs."""
        return reduce(or_, (s.row_sums for s in self.by_sums), RowSums())  # type: ignore[attr-defined]

    @cached_property
    def of_all_sites(self) -> Statistics:
        """The statistics that need the readings of all sites at once."""
        return tuple(s for s in self.statistics if self.several and "whole_rows" in s.requires)

    @cached_property
    def until_the_end(self) -> Statistics:
        """The statistics that may wait until the batch has ended, if sums take little memory."""
        chosen = (*self.by_sums, *self.of_all_sites)
        return tuple(s for s in self.statistics if s in chosen)

    @cached_property
    def before_the_end(self) -> Statistics:
        """The statistics that cannot wait until the batch has ended."""
        return tuple(s for s in self.statistics if s not in self.until_the_end)

    @cached_property
    def of_one_site(self) -> Statistics:
        """The statistics that can be updated site by site."""
        return tuple(s for s in self.statistics if s not in self.of_all_sites)

    def sorted(self, reading: Reading) -> tuple[Statistics, Statistics]:
        """Return the statistics to update at once, and those that wait until the batch has ended.

        Sums wait where they take no more than half of the memory of the reading: one after the
        other, updates take less time than between the layers of the model.
        """
        size = reading.values.shape[1] * reading.values.dtype.itemsize
        if self.by_sums and reading.pivot is not None and size >= 16 * self.sums.number:
            return self.before_the_end, self.until_the_end
        return self.of_one_site, self.of_all_sites
