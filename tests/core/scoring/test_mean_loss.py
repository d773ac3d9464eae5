"""The mean loss of a capture and its standard error (block B0)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import frozen
from torch import nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.engine import run_capture
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.plan.capture_plan import LOSS
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import CaptureError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.mean_loss import mean_loss
from nodelens.statistics.gradients import GradientMoments
from nodelens.statistics.moments import Moments

FOLDS = 4
GRADED = (GradientMoments(),)


@frozen
class Asking:
    statistics: tuple


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()


def data(rows=30):
    random = torch.Generator().manual_seed(2)
    x = torch.randn(rows, 4, dtype=torch.float64, generator=random)
    return x, torch.randint(0, 3, (rows,), generator=random)


def captured(model, batches, statistics=GRADED, **options):
    first = batches[0].args[0] if isinstance(batches[0], Batch) else batches[0][0]
    graph = infer(model, first[:2])
    plan = make_plan(graph, [Asking(statistics)], FOLDS, model=model)
    request = CaptureRequest(model, graph, batches, plan, torch.device("cpu"), **options)
    return run_capture(request)


def test_it_is_the_mean_cross_entropy_whatever_the_batches():
    model, (x, y) = net(), data()
    expected = F.cross_entropy(model(x), y).item()
    for sizes in ([30], [7, 1, 22]):
        found = mean_loss(captured(model, list(zip(x.split(sizes), y.split(sizes), strict=True))))
        assert found.mean == pytest.approx(expected, rel=1e-12)
        assert found.rows == 30


def test_its_error_is_the_jackknife_over_folds():
    model, (x, y) = net(), data(2000)
    found = mean_loss(captured(model, [(x, y)]))
    losses = F.cross_entropy(model(x), y, reduction="none").detach()
    assert found.se == pytest.approx(float(losses.std() / 2000**0.5), rel=0.7)
    fold = folds_of(torch.arange(2000), FOLDS)
    h = np.array([2000 / int((fold == k).sum()) for k in range(FOLDS)])
    without = np.array([float(losses[fold != k].mean()) for k in range(FOLDS)])
    mean = float(losses.mean())
    pseudo = h * mean - (h - 1) * without
    centre = FOLDS * mean - ((1 - 1 / h) * without).sum()
    assert found.se == pytest.approx(np.sqrt(((pseudo - centre) ** 2 / (h - 1)).mean()), rel=1e-9)


def test_rows_and_positions_without_a_label_do_not_count():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7)).double()
    ids = torch.randint(0, 7, (12, 5))
    labels, mask = ids.clone(), torch.arange(5) < torch.arange(1, 13).unsqueeze(1) % 5 + 1
    labels[:3, 1:] = -100
    labels[5] = -100
    found = mean_loss(captured(model, [Batch((ids,), targets=labels, mask=mask)]))
    counted = (labels != -100) & mask
    assert found.mean == pytest.approx(F.cross_entropy(model(ids)[counted], ids[counted]).item())
    assert found.rows == 11


def test_a_loss_of_one_s_own_is_a_mean_over_rows():
    model, (x, _) = net(), data()
    got = captured(model, [(x,)], loss=lambda output, batch: output.square().sum(1))
    assert mean_loss(got).mean == pytest.approx(model(x).square().sum(1).mean().item())


def test_there_is_none_where_no_gradient_is_asked_for():
    model, (x, y) = net(), data()
    got = captured(model, [(x, y)], (Moments(),))
    assert LOSS not in got.states
    assert mean_loss(got) is None


def test_it_is_read_in_a_pass_without_gradients_too(tmp_path):
    model, (x, y) = net(), data()
    whole = captured(model, [(x, y)], (GradientMoments(), Moments()))
    graph = infer(model, x[:2])
    asked = [Asking((GradientMoments(), Moments()))]
    plan = make_plan(graph, asked, FOLDS, model=model, budget=whole.plan.bytes - 8)
    assert len(plan.streams) > 1
    assert plan.streams[-1] == plan.losses
    batches = [(x[:9], y[:9]), (x[9:], y[9:])]
    device = torch.device("cpu")
    got = run_capture(CaptureRequest(model, graph, batches, plan, device, store=tmp_path))
    assert mean_loss(got).mean == pytest.approx(mean_loss(whole).mean, rel=1e-12)


def test_a_loss_that_is_not_finite_names_the_samples():
    model, (x, y) = net(), data()

    def broken(output, batch):
        return F.cross_entropy(output, batch.targets, reduction="none") / (batch.numbers != 12)

    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    with pytest.raises(CaptureError, match=r"the loss is not finite: samples 12; look at these"):
        captured(model, batches, loss=broken)


def test_a_metric_may_read_the_loss(tmp_path):
    import nodelens

    @frozen
    class PerLoss:
        """The mean square of a node for each unit of the loss."""

        info = MetricInfo(formula="x", unit="1", higher_is_better=True, source="test")
        statistics = (Moments(), Moments(reads="loss"))

        def score(self, group):
            return group[Moments()].mean_square / group[Moments(reads="loss")].mean[0]

    model, (x, y) = net(), data()
    score = nodelens.score(model, [(x, y)], [PerLoss()])["PerLoss", "0:neurons"]
    a = model[1](model[0](x)).detach()
    expected = a.square().mean(0) / F.cross_entropy(model(x), y).detach()
    np.testing.assert_allclose(score.values, expected.numpy())
