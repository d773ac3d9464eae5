"""Which scores have a standard error."""

from typing import ClassVar

import pytest
import torch
from attrs import frozen

from nodelens.capture.engine import run_capture
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.scoring.engine import ScoreRequest, compute_scores
from nodelens.statistics.magnitudes import Magnitudes


@frozen
class Mean:
    """The mean magnitude."""

    better: ClassVar = "high"
    unit: ClassVar = "activation"
    formula: ClassVar = "E|a|"
    source: ClassVar = "common"
    invariances: ClassVar = frozenset()
    dead: ClassVar = "worst"

    def needs(self):
        return (Magnitudes(),)

    def score(self, group):
        return group[Magnitudes()].mean_abs


@frozen
class Peak(Mean):
    """The largest magnitude."""

    jackknife: ClassVar = False

    def score(self, group):
        return group[Magnitudes()].peak


@frozen
class Weights(Mean):
    """The weights alone."""

    def needs(self):
        return ()

    def score(self, group):
        return group.incoming().abs().sum(1)


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
    plan = CapturePlan((PlanEntry(group, metric.needs()),), folds=4, classes=0)
    captured = run_capture(CaptureRequest(model, graph, [x], plan, torch.device("cpu")))
    (score,) = compute_scores(ScoreRequest(model, graph, {"m": metric}, captured))
    assert (score.se is not None) == has_se
