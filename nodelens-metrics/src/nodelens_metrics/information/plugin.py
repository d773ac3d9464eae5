"""The metrics of this family, read from the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens import hookimpl
from nodelens.plugins.metric_index import metrics_in

if TYPE_CHECKING:
    from nodelens.plugins.specs import MetricSpec


@hookimpl
def nodelens_register_metrics() -> list[MetricSpec]:
    """Return the metrics of this family."""
    return metrics_in(__package__)
