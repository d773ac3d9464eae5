"""The explanation of one component: description, options and facts, from its class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import attrs

from nodelens.cli.layout import columns, wrapped
from nodelens.cli.metric_costs import COSTS, cost_of, with_defaults
from nodelens.config.options import option_fields
from nodelens.plugins.checked_metric import info_of
from nodelens.plugins.reasons import reason
from nodelens.plugins.specs import MetricSpec, OperatorSpec

if TYPE_CHECKING:
    from nodelens.interfaces.operator import Operator
    from nodelens.plugins.registry import Offer, Registry

FACTS = ("level", "higher_is_better", "unit", "formula", "source", "invariances", "dead_nodes")
"""Facts that are shown of every metric, see `nodelens.interfaces.metric.MetricInfo`."""

TITLES = {
    "higher_is_better": "keep",
    "dead_nodes": "dead nodes",
    "statistics": "reads",
    "depends_on": "made of",
    "sketched": "sketch",
}
"""What people read in place of a key."""

DIRECTIONS = {True: "high values", False: "low values", None: "neither end: ranks no nodes"}
"""What people read of `higher_is_better`."""


def explain(registry: Registry, offer: Offer) -> dict[str, Any]:
    """Return a component's description, options and facts as JSON values.

    Raises `PluginError` when its class cannot be imported or has options that no config can hold.
    """
    details = (
        _operator(registry.operator(offer))
        if isinstance(offer.spec, OperatorSpec)
        else _component(registry, registry.checked(offer, registry.load(offer)), offer)
    )
    return {
        "name": offer.name,
        "kind": offer.spec.kind,
        "summary": offer.spec.summary,
        **details,
        "distribution": offer.distribution,
        "version": offer.version,
        "target": offer.spec.target,
    }


def _component(registry: Registry, cls: type, offer: Offer) -> dict[str, Any]:
    facts = _facts(registry, cls) if isinstance(offer.spec, MetricSpec) else {}
    options = [attrs.asdict(option) for option in option_fields(cls)]
    return {"description": _description(cls), **facts, "options": options}


def _operator(row: Operator) -> dict[str, Any]:
    return {"description": _description(row.rule), "operator": row.name, "options": []}


def explanation_text(explanation: dict[str, Any]) -> str:
    """Return an explanation as text for people."""
    kind, provider = explanation["kind"], "{distribution} {version}".format(**explanation)
    parts = [f"{explanation['name']}: {kind} of {provider}"]
    parts += [_paragraphs(explanation["description"] or explanation["summary"])]
    facts = [
        (TITLES.get(key, key), _fact(key, explanation[key]))
        for key in (*FACTS, "statistics", "depends_on", "cost", "sketched", "operator")
        if key in explanation
    ]
    if facts:
        parts.append(columns(facts, 2))
    parts.append(_options(explanation["options"]))
    return "\n\n".join(parts)


def _facts(registry: Registry, cls: type) -> dict[str, Any]:
    info = info_of(cls)
    return {
        **{name: getattr(info, name) for name in FACTS},
        "invariances": sorted(info.invariances),
        "statistics": _reported(cls, lambda metric: [str(each) for each in metric.statistics]),
        **_parts(cls),
        "cost": cost_of(registry, cls),
    }


def _parts(cls: type) -> dict[str, Any]:
    """Return the facts of some metrics only: their dependencies, and a sketched version."""
    made = {"depends_on": _reported(cls, lambda metric: list(metric.depends_on))}
    made = made if hasattr(cls, "depends_on") else {}
    if not hasattr(cls, "sketched"):
        return made
    return {
        **made,
        "sketched": "has a version for little memory, which the plan says if it is used",
    }


def _reported(cls: type, ask: Callable[[Any], list[str]]) -> list[str] | None:
    """Return a property of a metric with default options; None if some have to be given."""
    try:
        metric = with_defaults(cls)
        return None if metric is None else ask(metric)
    except Exception as error:  # noqa: BLE001 - plugin code
        return [f"unknown: {reason(error)}"]


def _description(target: object) -> str:
    """Return a docstring without the documentation of its options."""
    text = inspect.cleandoc(target.__doc__ or "")
    return text.partition("Attributes:")[0].strip()


def _paragraphs(text: str) -> str:
    blocks = text.split("\n\n")
    return "\n\n".join(wrapped(" ".join(block.split()), 2) for block in blocks)


def _fact(key: str, value: object) -> str:
    """Return a fact as text for people; a class of cost is explained."""
    if key == "higher_is_better":
        return DIRECTIONS[cast("bool | None", value)]
    if key != "cost" or not isinstance(value, str):
        return _shown(value)
    return f"{value}: {COSTS[value]}" if value in COSTS else value


def _shown(value: object) -> str:
    if value is None:
        return "depend on the options"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)


def _options(options: list[dict[str, Any]]) -> str:
    """Return the options, each with type and default, and the documentation below."""
    if not options:
        return "  no options"
    return "\n".join(["  options", *(line for option in options for line in _option(option))])


def _option(option: dict[str, Any]) -> list[str]:
    known = {None: "has to be given", "": "depends on other options"}
    default = known.get(option["default"], f"default {option['default']}")
    lines = [wrapped(f"{option['name']}: {option['type']}; {default}", 4)]
    return [*lines, wrapped(option["doc"], 8)] if option["doc"] else lines
