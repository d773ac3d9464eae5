"""Whether halves of the samples agree about the top, against sets that are counted by hand."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from attrs import evolve, frozen
from torch import nn

from nodelens.capture.engine import run_capture
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import CaptureError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.scorer import ScoreRequest, compute_scores, context_of
from nodelens.scoring.stability import Overlap, overlap
from nodelens.scoring.stopping import Look, StoppingRule
from nodelens.statistics.moments import Moments

G = torch.Generator().manual_seed(0)
X = torch.randn(48, 5, dtype=torch.float64, generator=G)


@frozen
class Mean:
    info = MetricInfo(formula="E[a]", unit="1", higher_is_better=True)
    statistics = (Moments(),)

    def score(self, group):
        return group[Moments()].mean


@frozen
class Broken(Mean):
    def score(self, group):
        raise ZeroDivisionError("on purpose")


@frozen
class Reversed(Mean):
    info = evolve(Mean.info, higher_is_better=False)


@frozen
class Whole(Mean):
    info = evolve(Mean.info, level="layer")

    def score(self, group):
        return group[Moments()].mean.mean().unsqueeze(0)


def request(metrics, rows=48):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 2))
    model = model.double()
    graph = infer(model, X[:2])
    plan = make_plan(graph, list(metrics.values()), 4, model=model)
    batches = list(X[:rows].split(8))
    capture = run_capture(CaptureRequest(model, graph, batches, plan, torch.device("cpu")))
    return ScoreRequest(model, graph, metrics, capture)


def tops(model, rows, share, sign):
    first = model[1](model[0](X[rows])).mean(0) * sign
    second = model[3](model[2](model[1](model[0](X[rows])))).mean(0) * sign
    return [
        set(values.argsort(descending=True)[: max(1, round(share * len(values)))].tolist())
        for values in (first, second)
    ]


@pytest.mark.parametrize(("metric", "sign"), [(Mean(), 1), (Reversed(), -1)])
def test_the_overlap_is_the_mean_jaccard_index_over_halves_of_the_folds(metric, sign):
    given = request({"mean": metric})
    fold = folds_of(torch.arange(48), 4)
    expected = []
    for half in combinations(range(4), 2):
        if 0 in half:
            inside = torch.isin(fold, torch.tensor(half))
            one, other = (tops(given.model, rows, 0.3, sign) for rows in (inside, ~inside))
            both = sum(len(a & b) for a, b in zip(one, other, strict=True))
            either = sum(len(a | b) for a, b in zip(one, other, strict=True))
            expected.append(both / either)
    found = overlap(context_of(given), "mean", 0.3)
    assert found.mean == pytest.approx(sum(expected) / 3)
    assert (found.low, found.high) == (min(expected), max(expected))


def test_one_fold_with_samples_says_nothing():
    given = request({"mean": Mean()}, rows=1)
    assert overlap(context_of(given), "mean", 0.3) is None
    rule = StoppingRule(lambda capture: given, "mean", 0.3, 0.5)
    rule.look(given.capture)
    assert (rule.looks, rule.reached) == ([], False)


def test_a_metric_that_raises_is_named():
    given = request({"broken": Broken()})
    with pytest.raises(
        CaptureError, match=r"capture\.stop_when: broken of 0:neurons failed: ZeroDiv"
    ):
        overlap(context_of(given), "broken", 0.3)


def test_looks_come_at_growing_numbers_of_samples():
    given, looks = request({"mean": Mean()}), []
    rule = StoppingRule(lambda capture: given, "mean", 0.3, 2.0, keep=lambda all: looks.append(1))
    for samples in range(8, 400, 8):
        capture = type("Capture", (), {"samples": samples, "plan": given.capture.plan})
        assert rule(capture) is False
    assert [look.samples for look in rule.looks] == [32, 48, 64, 96, 128, 184, 256, 368]
    assert len(looks) == 8


def test_scores_are_in_the_order_of_the_metrics_and_then_of_the_groups():
    scores = compute_scores(
        request({"b": Mean(), "whole": Whole(), "broken": Broken(), "a": Reversed()})
    )
    groups = ["0:neurons", "2:neurons"]
    assert list(scores.scores) == [(name, group) for name in "ba" for group in groups]
    assert list(scores.layers) == [("whole", group) for group in groups]
    assert scores.layers["whole", "0:neurons"].se.shape == (1,)
    assert list(scores.failed) == ["broken"]
    skipped = [metric for metric, _ in scores.skipped]
    assert skipped == sorted(skipped, key=["b", "whole", "broken", "a"].index)


@pytest.mark.parametrize(("found", "enough"), [(0.49, False), (0.5, True), (0.51, True)])
def test_an_overlap_of_min_overlap_is_enough(found, enough):
    rule = StoppingRule(
        lambda capture: None, "mean", 0.3, 0.5, [Look(64, Overlap(found, 0.0, 1.0))]
    )
    assert rule.reached is enough
