"""The check that a pass has read every site that its statistics need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodelens.capture.plan.capture_plan import LOSS, CapturePlan
from nodelens.capture.plan.planning import LOSSES
from nodelens.errors import DataError
from nodelens.interfaces.statistic import IGNORED

if TYPE_CHECKING:
    from nodelens.capture.checkpoint.checkpoint import Position
    from nodelens.capture.hooks.hook_points import HookPoint

_FEWEST = 2
"""The smallest number of positions that a covariance is computed from."""


def check_complete(plan: CapturePlan, points: Sequence[HookPoint], done: Position) -> None:
    """Raise `DataError` for no samples, labels or positions; give up what was never read.

    For a merged pass only: a site that one process has not read may have been read by another.
    """
    if not int(done.rows.sum()):
        raise DataError("no calibration batch came; give at least one sample")
    losses = done.states.get(LOSS, {}).get(LOSSES)
    if losses is not None and not float(losses["count"].sum()):
        raise DataError(
            f"no sample has a label (all are {IGNORED} or padding), so that the loss and every "
            "gradient are 0; give labels, or leave out the metrics of gradients"
        )
    for point in points:
        _check_tap(plan, point, done)


def _check_tap(plan: CapturePlan, point: HookPoint, done: Position) -> None:
    if not done.now.fired[point.name]:
        reason = "the model takes another path on these batches than on the first one"
        lost = f"{point.site.name} was never read: {reason}"
        done.now.lose(point.entry.name, point.statistics, lost)
    positions, chosen = done.now.positions[point.name], done.now.chosen[point.name]
    if positions and chosen < _FEWEST:
        raise DataError(
            f"position_fraction: {plan.position_fraction:g} leaves {chosen} of the {positions} "
            "positions at "
            f"{point.site.name} for products of pairs of nodes; raise it, or give more samples"
        )
