"""The metrics of this family, read from the sources, and an analysis of these."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.metric_index import metrics_in
from nodelens.plugins.specs import AnalysisSpec, MetricSpec


@hookimpl
def nodelens_register_metrics() -> list[MetricSpec]:
    """Return the metrics of this family."""
    return metrics_in(__package__)


@hookimpl
def nodelens_register_analyses() -> list[AnalysisSpec]:
    """Return the analysis of composites."""
    return [
        AnalysisSpec(
            "composition",
            "nodelens_metrics.composites.composition:Composition",
            "Share of each part in a composite's ranking.",
        )
    ]
