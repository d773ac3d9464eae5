"""Checks of what a metric says about itself."""

from __future__ import annotations

import inspect
from typing import Any

import attrs

from nodelens.interfaces.metric import Metric
from nodelens.plugins.contracts import missing_members
from nodelens.testing.checks import demand
from nodelens.testing.rewritings import REWRITINGS


def options_of(metric: Metric) -> dict[str, Any]:
    """Return the options of a metric and their values."""
    kind: Any = type(metric)
    return {field.name: getattr(metric, field.name) for field in attrs.fields(kind)}


def check_metadata(metric: Metric) -> None:
    """Raise `AssertionError` unless every class attribute of the contract is there and valid."""
    kind = type(metric)
    demand(attrs.has(kind), f"{kind.__name__} is not an attrs class; decorate it with attrs.frozen")
    twin = kind(**options_of(metric))
    demand(hash(metric) == hash(twin), "equal metrics hash differently; use attrs.frozen")
    missing = missing_members("metric", kind)
    demand(not missing, f"{kind.__name__} lacks {', '.join(missing)} of the Metric contract")
    for name in ("unit", "formula", "source"):
        value = getattr(metric, name)
        demand(isinstance(value, str) and value.strip(), f"{name} is {value!r}; say it in words")
    _one_of("better", metric.better, ("high", "low", "neither"))
    _one_of("dead", metric.dead, ("worst", "best", "any"))
    demand(
        metric.better != "neither" or metric.dead == "any",
        f"dead is {metric.dead!r}, but better is 'neither': nothing is worst or best",
    )
    jackknife = getattr(metric, "jackknife", True)
    demand(isinstance(jackknife, bool), f"jackknife is {jackknife!r}, not True or False")
    unknown = sorted(metric.invariances - REWRITINGS.keys())
    demand(not unknown, f"unknown invariances {unknown}; known: {', '.join(sorted(REWRITINGS))}")
    demand(inspect.getdoc(kind), f"{kind.__name__} has no docstring: say what the number is")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    demand(value in allowed, f"{name} is {value!r}, not one of {', '.join(allowed)}")


def check_options_documented(metric: Metric) -> None:
    """Raise `AssertionError` unless the class docstring's ``Attributes:`` explains every option."""
    _, _, section = (inspect.getdoc(type(metric)) or "").partition("Attributes:\n")
    lines = [line.strip() for line in section.splitlines()]
    missing = [
        name
        for name in options_of(metric)
        if not any(line.startswith(f"{name}: ") for line in lines)
    ]
    demand(not missing, f"options without a line under Attributes: {', '.join(missing)}")
