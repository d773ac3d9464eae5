"""Which scores have a standard error."""

import pytest
import torch
from attrs import evolve, frozen

from nodelens.capture.engine import run_capture
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.scorer import ScoreRequest, compute_scores
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.weights.row_sums import RowSums


@frozen
class Mean:
    """The mean magnitude."""

    info = MetricInfo(formula="E|a|", unit="activation", higher_is_better=True, dead_nodes="lowest")
    statistics = (Magnitudes(),)

    def score(self, group):
        return group[Magnitudes()].mean_abs


@frozen
class Peak(Mean):
    """The largest magnitude."""

    info = evolve(Mean.info, no_interval="a largest value")

    def score(self, group):
        return group[Magnitudes()].peak


@frozen
class Weights(Mean):
    """The weights alone."""

    statistics = ()
    weights = (RowSums("abs", "producer"),)

    def score(self, group):
        return group[RowSums("abs", "producer")].total


@pytest.mark.parametrize(
    ("metric", "rows", "has_se"),
    [(Mean(), 20, True), (Mean(), 1, False), (Peak(), 20, False), (Weights(), 20, False)],
)
def test_a_standard_error_needs_folds_and_a_metric_that_a_jackknife_fits(metric, rows, has_se):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x = torch.randn(rows, 3)
    graph = infer(model, x)
    (group,) = [group for group in graph if group.width == 4]
    plan = CapturePlan((PlanEntry(group, metric.statistics),), folds=4, classes=0)
    captured = run_capture(CaptureRequest(model, graph, [x], plan, torch.device("cpu")))
    (score,) = compute_scores(ScoreRequest(model, graph, {"m": metric}, captured))
    assert (score.se is not None) == has_se
