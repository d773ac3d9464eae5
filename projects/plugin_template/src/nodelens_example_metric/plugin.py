"""The plugin: descriptions only, nothing heavy is imported."""

from nodelens import hookimpl
from nodelens.plugins.specs import MetricSpec

MEAN_PEAK = "nodelens_example_metric.mean_peak:MeanPeak"


@hookimpl
def nodelens_register_metrics():
    return [MetricSpec("mean_peak", MEAN_PEAK, "Largest |activation| of a row.", "activations")]
