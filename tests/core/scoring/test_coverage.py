"""How often the 95 % interval holds the truth: every node is one repetition of the experiment."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attrs import frozen
from torch import nn

from nodelens.capture.engine import run_capture
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.scorer import ScoreRequest, compute_scores
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments

REPETITIONS = 2000
RHO = 0.8
"""Correlation of a token with the one before it."""


@frozen
class Of:
    """One field of the summary of a statistic."""

    info = MetricInfo(formula="a field", unit="1", higher_is_better=True, source="test")

    statistic: object
    name: str

    @property
    def statistics(self):
        return (self.statistic,)

    def score(self, group):
        return getattr(group[self.statistic], self.name)


class Repeats(nn.Module):
    """Hands its input to a layer, so that every input feature is an independent repetition."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(1, REPETITIONS, bias=False)
        self.last = nn.Linear(REPETITIONS, 1, bias=False)

    def forward(self, x, repetitions):
        return self.last(self.first(x) + repetitions)


def coverage(metric, draw, truth, rows=512, loss=None, fraction=1.0):
    """Return the share of nodes whose interval holds the truth."""
    score = score_of(metric, draw, rows, loss, fraction)
    low, high = score.interval()
    return float(np.mean((low <= truth) & (truth <= high)))


def score_of(metric, draw, rows, loss=None, fraction=1.0):
    torch.manual_seed(0)
    model = Repeats()
    nn.init.zeros_(model.first.weight)
    nn.init.ones_(model.last.weight)
    values = draw(rows)
    inputs = torch.zeros(*values.shape[:-1], 1)
    parts = zip(inputs.split(64), values.split(64), strict=True)
    batches = [{"x": x, "repetitions": each} for x, each in parts]
    graph = infer(model, **{key: value[:2] for key, value in batches[0].items()})
    entry = PlanEntry(graph["first:neurons"], metric.statistics)
    plan = CapturePlan((entry,), folds=8, position_fraction=fraction)
    options = {} if loss is None else {"loss": loss}
    capture = run_capture(
        CaptureRequest(model, graph, batches, plan, torch.device("cpu"), **options)
    )
    scores = compute_scores(ScoreRequest(model, graph, {"m": metric}, capture))
    score = scores["m", "first:neurons"]
    assert score.folds == 8
    return score


def normal(rows):
    random = torch.Generator().manual_seed(1)
    return torch.randn(rows, REPETITIONS, generator=random, dtype=torch.float32)


def exponential(rows):
    random = torch.Generator().manual_seed(2)
    return -torch.rand(rows, REPETITIONS, generator=random).log()


def tokens(rows, length=24):
    """Return sequences ``(rows, length, nodes)`` of unit variance, each token like the last."""
    random = torch.Generator().manual_seed(3)
    state = torch.randn(rows, REPETITIONS, generator=random)
    found = [state]
    for _ in range(length - 1):
        noise = torch.randn(rows, REPETITIONS, generator=random)
        state = RHO * state + math.sqrt(1 - RHO**2) * noise
        found.append(state)
    return torch.stack(found, dim=1)


INDEPENDENT = [
    (Of(Moments(), "mean"), normal, 0.0),
    (Of(Moments(), "variance"), normal, 1.0),
    (Of(Moments(), "rms"), normal, 1.0),
    (Of(Magnitudes(), "mean_abs"), normal, math.sqrt(2 / math.pi)),
    (Of(Magnitudes(tolerance=0.5), "zero_fraction"), exponential, 1 - math.exp(-0.5)),
    (Of(Moments(), "mean"), exponential, 1.0),
    (Of(RowMoments(), "mean_square"), exponential, 2.0),
]


def name_of(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("metric", "draw", "truth"), INDEPENDENT, ids=name_of)
def test_independent_samples(metric, draw, truth):
    assert 0.93 <= coverage(metric, draw, truth) <= 0.97


DEPENDENT = [
    (Of(Moments(), "mean"), 0.0),
    (Of(Moments(), "variance"), 1.0),
    (Of(Magnitudes(), "mean_abs"), math.sqrt(2 / math.pi)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "truth"), DEPENDENT, ids=str)
def test_sequences_are_the_unit_where_tokens_depend_on_each_other(metric, truth):
    assert 0.93 <= coverage(metric, tokens, truth, rows=256) <= 0.97


@pytest.mark.slow
def test_tokens_as_the_unit_would_be_wrong():
    """What the folds protect from: the same tokens as independent rows are far too sure."""
    drawn = tokens(64)
    assert coverage(Of(Moments(), "mean"), lambda _: drawn.flatten(0, 1), 0.0) < 0.75


def linear(output, batch):
    """Return a loss that is linear in the output: the gradient at every node is 1 and q = a."""
    return output.flatten(1).sum(1)


@pytest.mark.parametrize(
    ("metric", "truth"),
    [
        (Of(GradientMoments(), "q"), 0.0),
        (Of(GradientMoments(), "q2"), 1.0),
        (Of(GradientMoments(), "abs_q"), math.sqrt(2 / math.pi)),
        (Of(RowGradients(), "q2"), 1.0),
        (Of(RowGradients(), "abs_q"), math.sqrt(2 / math.pi)),
    ],
    ids=str,
)
def test_gradient_statistics(metric, truth):
    assert 0.93 <= coverage(metric, normal, truth, loss=linear) <= 0.97


@frozen
class FewMoments(Moments):
    """Moments from the share of the positions that products of pairs of nodes are taken from.

    As many numbers as nodes, where a covariance of all repetitions would have their square.
    """

    requires = frozenset({"quadratic"})


def test_intervals_from_a_share_of_the_samples_hold_the_truth_as_often():
    for name, truth in (("mean", 0.0), ("variance", 1.0)):
        metric = Of(FewMoments(), name)
        assert 0.93 <= coverage(metric, normal, truth, rows=2048, fraction=0.125) <= 0.97


@pytest.mark.slow
def test_intervals_from_a_share_of_dependent_tokens_hold_the_truth_as_often():
    assert 0.93 <= coverage(Of(FewMoments(), "mean"), tokens, 0.0, rows=256, fraction=0.25) <= 0.97


@pytest.mark.parametrize("share", [0.5, 0.125])
def test_errors_from_a_share_of_independent_samples_are_wider_by_its_root(share):
    whole, part = (
        score_of(Of(FewMoments(), "mean"), normal, 2048, fraction=each).se for each in (1.0, share)
    )
    assert np.median(part) / np.median(whole) == pytest.approx(share**-0.5, rel=0.1)


def test_errors_from_a_share_of_dependent_tokens_are_less_wide_than_that():
    whole, part = (
        score_of(Of(FewMoments(), "mean"), tokens, 128, fraction=each).se for each in (1.0, 0.25)
    )
    assert 1.0 < np.median(part) / np.median(whole) < 1.6 < 0.25**-0.5
