"""The level of a metric and the class of its cost, without an import of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from nodelens.errors import NodelensError
from nodelens.interfaces.metric import dependencies_of
from nodelens.plugins.checked_metric import info_of
from nodelens.plugins.reasons import reason

if TYPE_CHECKING:
    from nodelens.plugins.registry import Offer, Registry

COSTS: Mapping[str, str] = {
    "weights": "reads weights alone, no data",
    "forward": "one forward pass over the samples",
    "gradient": "a backward pass beside the forward",
    "pairs": "compares all pairs of nodes: time and memory grow with the square of the width",
    "passes": "runs the model itself, in passes of its own",
}
"""The classes of cost, the cheapest first; a metric has the dearest of what it needs."""

UNKNOWN = "?"
"""Shown for a metric whose class cannot be imported."""

DEPENDS = "depends"
"""Shown for a metric whose cost depends on options that have to be given."""


def with_defaults(cls: type) -> Any | None:
    """Return a metric with its default options; None if some have to be given."""
    if any(field.init and field.default is attrs.NOTHING for field in attrs.fields(cls)):
        return None
    return cls()


def level_and_cost(registry: Registry, offer: Offer) -> tuple[str, str]:
    """Return level and cost of a metric for a listing; a broken class hides no other."""
    try:
        cls = registry.checked(offer, registry.load(offer))
        level = info_of(cls).level
    except NodelensError:
        return UNKNOWN, UNKNOWN
    cost = cost_of(registry, cls)
    known = cost in COSTS or cost == DEPENDS
    return level, cost if known else UNKNOWN


def cost_of(registry: Registry, cls: type) -> str:
    """Return the class of cost of a metric with default options and of its dependencies."""
    try:
        metric = with_defaults(cls)
        found = None if metric is None else _costs(registry, metric, frozenset())
    except Exception as error:  # noqa: BLE001 - plugin code
        return f"unknown: {reason(error)}"
    if found is None:
        return DEPENDS
    return max(found, key=list(COSTS).index)


def _costs(registry: Registry, metric: Any, seen: frozenset[str]) -> set[str]:
    found: set[str] = {"weights"}
    for statistic in metric.statistics:
        found |= _costs_of_statistic(statistic)
    for name in set(dependencies_of(metric)) - seen:
        part = with_defaults(registry.component("metric", name))
        if part is not None:
            found |= _costs(registry, part, seen | {name})
    return found


def _costs_of_statistic(statistic: Any) -> set[str]:
    if statistic.reads == "model":
        return {"passes"}
    requires = statistic.requires
    found = {"forward"}
    if statistic.reads == "weight" or requires & {"gradient", "sampled_gradient"}:
        found.add("gradient")
    if "quadratic" in requires:
        found.add("pairs")
    return found
