"""The stopping rule: enough samples have been read once the top nodes are stable."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from attrs import define, field, frozen

from nodelens.capture.result import Capture
from nodelens.scoring.scorer import ScoreRequest, context_of
from nodelens.scoring.stability import Overlap, overlap

FIRST, GROWTH = 8, 2**0.5
"""Samples per fold before the first look, and the growth of samples from look to look."""


@frozen
class Look:
    """The overlap of the top nodes after a number of samples."""

    samples: int
    overlap: Overlap


@define(eq=False)
class StoppingRule:
    """Decides after growing numbers of samples whether the top nodes are stable.

    Attributes:
        request: makes the request for scores of an unfinished capture.
        metric: the metric that ranks the nodes, by its name in the results.
        top: the fraction of the nodes of each group that are the top nodes.
        min_overlap: the mean overlap of the top nodes of both halves that is enough.
        looks: the overlaps so far, in order.
        keep: called with all looks after each one.
    """

    request: Callable[[Capture], ScoreRequest]
    metric: str
    top: float
    min_overlap: float
    looks: list[Look] = field(factory=list)
    keep: Callable[[list[Look]], None] | None = None

    def __call__(self, capture: Capture) -> bool:
        """Return whether the samples that were read are enough."""
        if capture.samples >= self._next(capture.plan.folds):
            self.look(capture)
        return self.reached

    @property
    def reached(self) -> bool:
        """Whether the top nodes were stable at the last look."""
        return bool(self.looks) and self.looks[-1].overlap.mean >= self.min_overlap

    def look(self, capture: Capture) -> None:
        """Record the overlap of the top nodes, once per number of samples."""
        if self.looks and self.looks[-1].samples == capture.samples:
            return
        found = overlap(context_of(self.request(capture)), self.metric, self.top)
        if found is not None:
            self.looks.append(Look(capture.samples, found))
            if self.keep is not None:
                self.keep(self.looks)

    def _next(self, folds: int) -> int:
        """Return the number of samples at which the next look is due."""
        seen = self.looks[-1].samples if self.looks else 0
        steps = (round(FIRST * folds * GROWTH**step) for step in count())
        return next(step for step in steps if step > seen)
