"""The composite metrics, read from the sources, and their analysis."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.metric_index import metrics_in
from nodelens.plugins.specs import AnalysisSpec, MetricSpec


@hookimpl
def nodelens_register_metrics() -> list[MetricSpec]:
    """Return the composite metrics."""
    return metrics_in(__package__)


@hookimpl
def nodelens_register_analyses() -> list[AnalysisSpec]:
    """Return the analysis of composites."""
    return [
        AnalysisSpec(
            "composition",
            "nodelens_metrics.composites.composition:Composition",
            "Fraction of a composite's variance by part.",
        )
    ]
