"""The result of a capture: the states of all statistics, and counts of reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from torch import Tensor

from nodelens.capture.counts import Counts
from nodelens.capture.plan.capture_plan import CapturePlan

if TYPE_CHECKING:
    from nodelens.capture.checkpoint.spilled_states import StateMap


@frozen(eq=False)
class Capture:
    """The states of the statistics of every place, by fold.

    `rows`, ``(folds,)`` int64, counts the samples of each fold, `counts` the reads of each site.
    """

    states: StateMap
    rows: Tensor
    plan: CapturePlan
    counts: Counts = field(factory=Counts)

    @property
    def fired(self) -> Mapping[str, int]:
        """The number of reads of each site."""
        return dict(self.counts.fired)

    @property
    def lost(self) -> dict[str, dict[Any, str]]:
        """The reason why a statistic of the plan was not computed, by place and statistic."""
        asked: list[tuple[str, Any]]
        asked = [(each.name, s) for each in self.plan.everything for s in each.statistics]
        asked += [(each.name, s) for each in self.plan.entries for s in self.plan.visits]
        found: dict[str, dict[Any, str]] = {}
        for place, statistic in asked:
            if reason := self.counts.reason(place, statistic):
                found.setdefault(place, {})[statistic] = reason
        return found

    @property
    def samples(self) -> int:
        """The number of samples that were read."""
        return int(self.rows.sum())
