from __future__ import annotations

import pytest
import torch
from attrs import frozen

from nodelens.capture.engine import run_capture
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.testing.statistic_checks import tensors_of


@frozen
class Asking:
    """A metric that only asks for statistics."""

    statistics: tuple


@pytest.fixture
def capture_of():
    """Capture statistics of every group of a model, traced on `example` (or the first batch)."""

    def run(model, batches, statistics, example=None, *, classes=3, device="cpu", **options):
        from nodelens.capture.batches import as_batch

        first = as_batch(batches[0] if example is None else example)
        with torch.inference_mode(False):
            graph = infer(model, *first.args, **first.kwargs)
        asked = [Asking(tuple(statistics))]
        plan = make_plan(graph, asked, folds=4, classes=classes, model=model)
        request = CaptureRequest(model, graph, batches, plan, torch.device(device), **options)
        return run_capture(request)

    return run


@pytest.fixture
def lost():
    """Return the places of a capture with statistics that could not be read, and why."""

    def read(capture):
        return {place: " | ".join(found.values()) for place, found in capture.lost.items()}

    return read


@pytest.fixture
def summary():
    """Return the summary of a statistic at a place of a capture."""

    def read(capture, place, statistic):
        state = capture.states[place][statistic]
        folds = len(next(value for name, value in state.items() if name != "pivot"))
        return statistic.summary(state, torch.ones(folds, dtype=torch.bool))

    return read


@pytest.fixture
def check_same(summary):
    """Check that two captures hold the same statistics up to rounding."""

    def check(found, expected, rtol=1e-9, places=None):
        for place, states in expected.states.items():
            if places is not None and place not in places:
                continue
            for statistic in states:
                one = tensors_of(summary(expected, place, statistic))
                other = tensors_of(summary(found, place, statistic))
                for name, value in one.items():
                    scale = max(float(value.abs().max()), 1e-30)
                    error = float((other[name] - value).abs().max()) / scale
                    assert error <= rtol, (place, str(statistic), name, error)

    return check
