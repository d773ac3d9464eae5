"""The mean loss over the samples of a capture, with its standard error from folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor

from nodelens.capture.plan.capture_plan import LOSS
from nodelens.capture.plan.planning import LOSSES
from nodelens.interfaces.statistic import State, Statistic, covering
from nodelens.scoring.jackknife import jackknife_se

if TYPE_CHECKING:
    from nodelens.capture.result import Capture


@frozen
class MeanLoss:
    """The mean loss of a label in nats, or in the unit of the user's own loss of a row.

    `se` is the delete-one-fold jackknife standard error, None where fewer than two folds have
    labels. `rows` counts the samples with a label.
    """

    mean: float
    se: float | None
    rows: int


def mean_loss(capture: Capture) -> MeanLoss | None:
    """Return the mean loss of a capture, None where no loss was computed."""
    states = capture.states.get(LOSS, {})
    found = covering(LOSSES, states)
    if found is None or not float(states[found]["count"].sum()):
        return None
    state = states[found]
    sizes = state["count"]
    used = sizes.nonzero().flatten().tolist()
    every = torch.ones(len(sizes), dtype=torch.bool)
    mean = _mean(found, state, every)
    se = None
    if len(used) > 1:
        without = torch.stack([_mean(found, state, _but(every, fold)) for fold in used])
        se = float(jackknife_se(mean, without, sizes[used]))
    return MeanLoss(float(mean), se, int(sizes.sum()))


def _mean(statistic: Statistic[Any], state: State, keep: Tensor) -> Tensor:
    """Return the sum of all losses divided by the number of labels, ``(1,)``."""
    means: Tensor = statistic.summary(state, keep).mean
    return means[:1] / means[1:]


def _but(every: Tensor, fold: int) -> Tensor:
    others = every.clone()
    others[fold] = False
    return others
