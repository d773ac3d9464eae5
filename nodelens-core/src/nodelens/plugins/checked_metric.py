"""Checks of objects and classes that are given as metrics."""

from __future__ import annotations

from typing import cast

from nodelens.errors import PluginError
from nodelens.interfaces.metric import Metric, MetricInfo
from nodelens.plugins.contracts import missing_members


def checked_metric(name: str, metric: object) -> Metric:
    """Return `metric`; raises `PluginError` unless the metric fulfils the contract."""
    if isinstance(metric, type):
        raise PluginError(f"metric {name!r} is a class; give an object: {metric.__name__}()")
    if missing := missing_members("metric", type(metric)):
        raise PluginError(f"metric {name!r} lacks {', '.join(missing)}; see nodelens.testing")
    info_of(type(metric))
    found = cast(Metric, metric)
    try:
        tuple(found.statistics)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"metric {name!r} cannot say what it reads: {reason}") from error
    return found


def info_of(kind: type) -> MetricInfo:
    """Return the `info` of a metric class; raises `PluginError` for anything but a record."""
    info = getattr(kind, "info", None)
    if not isinstance(info, MetricInfo):
        raise PluginError(f"{kind.__name__}.info is {info!r}, not a MetricInfo")
    return info
