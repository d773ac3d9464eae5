"""Checks of metrics that draw random numbers: agreement within standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import evolve
from torch import Tensor

from nodelens.scoring.jackknife import jackknife_se
from nodelens.testing.checks import demand
from nodelens.testing.world import FOLDS, World
from nodelens.testing.world_view import view_of

if TYPE_CHECKING:
    from nodelens.interfaces.metric import Metric

LIMIT = 10.0
"""The largest distance of two estimates in standard errors; few folds give rough errors."""


def draws(metric: Metric) -> bool:
    """Return whether a statistic of the metric draws numbers that belong to parameters."""
    return any(getattr(statistic, "random", False) for statistic in metric.statistics)


def estimates(metric: Metric, world: World) -> tuple[Tensor, Tensor]:
    """Return scores and their standard errors from leaving out one fold at a time."""
    view = view_of(world, metric.statistics)
    values = metric.score(view)
    left_out = [metric.score(evolve(view, keep=torch.arange(FOLDS) != f)) for f in range(FOLDS)]
    rows = torch.bincount(world.fold, minlength=FOLDS)
    return values, jackknife_se(values, torch.stack(left_out), rows.to(values))


def demand_agreement(
    found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], what: str
) -> None:
    """Raise `AssertionError` unless two estimates agree within their standard errors."""
    error = (found[1].square() + expected[1].square()).sqrt()
    distance = (found[0] - expected[0]).abs()
    scale = expected[0].abs().max()
    worst = float((distance / (error + 1e-10 * scale)).max())
    demand(worst <= LIMIT, f"{what} changed the scores by {worst:.1f} standard errors")
