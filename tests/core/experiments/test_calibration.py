"""Calibration batches in the order of the folds, and fingerprints."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.capture.engine import run_capture
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.experiments.calibration import (
    FoldBatches,
    calibration_batches,
    fingerprint,
    fingerprint_of_model,
)
from nodelens.interfaces.dataset import Samples
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments

G = torch.Generator().manual_seed(0)
SAMPLES = Samples(
    torch.randn(100, 4, dtype=torch.float64, generator=G), torch.randint(0, 3, (100,), generator=G)
)


class Asks:
    def __init__(self, *statistics):
        self.statistics = statistics


@pytest.mark.parametrize("shares", [8, 4, 2, 1])
def test_every_sample_comes_once_and_no_batch_lies_across_two_folds(shares):
    numbers = []
    for batch in FoldBatches(SAMPLES, 16, 8, shares):
        assert batch.rows <= 16
        assert torch.equal(batch.args[0], SAMPLES.inputs[batch.index])
        assert torch.equal(batch.targets, SAMPLES.targets[batch.index])
        assert len(set((folds_of(batch.index, 8) % shares).tolist())) == 1
        numbers += batch.index.tolist()
    assert sorted(numbers) == list(range(100))


def test_a_covariance_takes_one_product_per_batch_and_is_the_same(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    graph = infer(model, SAMPLES.inputs[:2])
    plan = make_plan(graph, [Asks(Gram(), Moments())], 8, model=model)
    products = []
    real = Gram.update
    folds = lambda reading: len(set(reading.fold.tolist()))  # noqa: E731
    monkeypatch.setattr(
        Gram, "update", lambda self, s, r: products.append(folds(r)) or real(self, s, r)
    )
    found = {}
    for in_order in (True, False):
        batches = calibration_batches(SAMPLES, 32, plan, in_order)
        capture = run_capture(CaptureRequest(model, graph, batches, plan, torch.device("cpu")))
        keep = torch.arange(8) != 3
        found[in_order] = Gram().summary(capture.states["0:neurons"][Gram()], keep)
        if in_order:
            assert max(products) > 1
            products.clear()
    assert set(products) == {1}
    assert torch.allclose(found[True].covariance, found[False].covariance, rtol=1e-10)


def test_without_covariances_the_order_stays():
    plan = make_plan(infer(nn.Linear(4, 3), SAMPLES.inputs[:2].float()), [], 8)
    first = next(iter(calibration_batches(SAMPLES, 32, plan, in_order=False)))
    assert torch.equal(first.args[0], SAMPLES.inputs[:32])


def test_fingerprints_tell_data_and_models_apart():
    other = Samples(SAMPLES.inputs.clone(), SAMPLES.targets.clone())
    assert fingerprint(SAMPLES) == fingerprint(other)
    other.targets[7] += 1
    assert fingerprint(SAMPLES) != fingerprint(other)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = fingerprint_of_model(model)
    model[1].running_mean += 1
    assert fingerprint_of_model(model) != before
