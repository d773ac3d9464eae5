"""What a capture returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen
from torch import Tensor

from nodelens.capture.counts import Counts
from nodelens.capture.plan.capture_plan import CapturePlan

if TYPE_CHECKING:
    from nodelens.capture.checkpoint.spilled_states import StateMap


@frozen(eq=False)
class Capture:
    """The statistics of every place, by fold.

    `rows`, ``(folds,)`` int64, counts samples, `counts` what was read, and of which share.
    """

    states: StateMap
    rows: Tensor
    plan: CapturePlan
    counts: Counts = field(factory=Counts)

    @property
    def fired(self) -> Mapping[str, int]:
        """How often each site was read."""
        return dict(self.counts.fired)

    @property
    def samples(self) -> int:
        """The number of samples that went through."""
        return int(self.rows.sum())
