"""A plan within a memory budget, with metrics in sketched versions where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from nodelens.capture.plan.budget import FEWEST, within
from nodelens.capture.plan.capture_plan import CapturePlan
from nodelens.capture.plan.planning import make_plan
from nodelens.config.sizes import size_text
from nodelens.errors import ConfigError
from nodelens.interfaces.metric import Metric

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.groups import ChannelGraph

Metrics = Mapping[str, Metric]


@frozen(eq=False)
class Planned:
    """A plan and the metrics that it is for, some of them in sketched versions.

    `taken` are the metrics that patterns took, `left_out` those that patterns matched and did not
    take, with the reasons.
    """

    plan: CapturePlan
    metrics: Metrics
    taken: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(factory=dict)


def plan_metrics(
    graph: ChannelGraph,
    metrics: Metrics,
    folds: int = 8,
    classes: int = 0,
    *,
    model: nn.Module | None = None,
    budget: int | None = None,
    others: Sequence[Any] = (),
    position_fraction: float = 1.0,
) -> Planned:
    """Return a plan within the budget, and the metrics in the versions that are scored.

    The statistics of `others` are read as well; `position_fraction` is the fraction of the
    positions that statistics of pairs of nodes read. Where one place alone is too large for the
    budget in two folds, metrics are scored from a sketch, which keeps standard errors. Where that
    does not suffice, covariances are kept in one fold. The plan's notes list the changes. Raises
    `ModelError` as `make_plan` does.
    """

    def exact(chosen: Metrics) -> CapturePlan:
        plan = make_plan(graph, (*chosen.values(), *others), folds, classes, model=model)
        return evolve(plan, position_fraction=position_fraction)

    full, sketched = exact(metrics), _sketched(metrics)
    if budget is None:
        return Planned(full, metrics)
    choices = (metrics, sketched) if sketched != metrics else (metrics,)
    for fewest in (FEWEST, 1):
        for chosen in choices:
            plan = _fitting(exact(chosen), budget, fewest)
            if plan is not None:
                return Planned(_noted(plan, full, metrics, chosen), chosen)
    return Planned(within(full, budget), metrics)


def _fitting(plan: CapturePlan, budget: int, fewest: int) -> CapturePlan | None:
    try:
        return within(plan, budget, fewest)
    except ConfigError:
        return None


def _sketched(metrics: Metrics) -> dict[str, Metric]:
    """Return the metrics, in sketched versions where they compare all pairs and have one."""
    return {
        name: metric.sketched() if is_quadratic(metric) and hasattr(metric, "sketched") else metric
        for name, metric in metrics.items()
    }


def is_quadratic(metric: Metric) -> bool:
    """Return whether the memory of a metric's statistics grows with the square of the width."""
    return any("quadratic" in getattr(s, "requires", ()) for s in metric.statistics)


def _noted(plan: CapturePlan, full: CapturePlan, given: Metrics, chosen: Metrics) -> CapturePlan:
    """Return the plan with a note of the metrics that are scored from a sketch."""
    names = [name for name in given if chosen[name] != given[name]]
    if not names:
        return plan
    note = (
        f"scored from a sketch of the covariances, as estimates: {', '.join(names)}; the exact "
        f"covariances would need {size_text(full.bytes)} in {full.folds} folds"
    )
    return evolve(plan, notes=(note, *plan.notes))
