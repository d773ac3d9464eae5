"""Checks of a metric's metadata."""

from __future__ import annotations

import inspect
from typing import Any

import attrs

from nodelens.config.docstrings import attribute_docs
from nodelens.interfaces.metric import Metric, MetricInfo
from nodelens.plugins.contracts import missing_members
from nodelens.testing.checks import demand


def options_of(metric: Metric) -> dict[str, Any]:
    """Return the options of a metric and their values."""
    kind: Any = type(metric)
    return {field.name: getattr(metric, field.name) for field in attrs.fields(kind)}


def check_metadata(metric: Metric) -> None:
    """Raise `AssertionError` unless the class has a valid `MetricInfo` and all of the contract."""
    kind: Any = type(metric)
    demand(attrs.has(kind), f"{kind.__name__} is not an attrs class; decorate it with attrs.frozen")
    twin = kind(**options_of(metric))
    demand(hash(metric) == hash(twin), "equal metrics hash differently; use attrs.frozen")
    missing = missing_members("metric", kind)
    demand(not missing, f"{kind.__name__} lacks {', '.join(missing)} of the Metric contract")
    info = kind.info
    demand(isinstance(info, MetricInfo), f"{kind.__name__}.info is {info!r}, not a MetricInfo")
    for name in ("formula", "source"):
        value = getattr(info, name)
        demand(isinstance(value, str) and value.strip(), f"{name} is {value!r}; say it in words")
    demand(
        info.higher_is_better is not None or info.dead_nodes == "any",
        f"dead_nodes is {info.dead_nodes!r}, but higher_is_better is None: no node is ranked",
    )
    demand(inspect.getdoc(kind), f"{kind.__name__} has no docstring: say what the number is")


def check_options_documented(metric: Metric) -> None:
    """Raise `AssertionError` unless every option is explained, in the docstring or at the field."""
    docs = attribute_docs(type(metric))
    missing = [name for name in options_of(metric) if not docs.get(name)]
    demand(not missing, f"options without a line under Attributes: {', '.join(missing)}")
