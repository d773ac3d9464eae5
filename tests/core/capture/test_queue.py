"""Tensors that wait for each other before they are read."""

import pytest
import torch
from attrs import evolve
from torch import nn

import nodelens
from nodelens.capture.engine import run_capture
from nodelens.capture.hooks import recorder
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.statistics.gradients import GradientMoments
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments

STATISTICS = (Moments(order=4), Magnitudes(), RowMoments(), Gram(), Moments(reads="preactivation"))


class Stream(nn.Module):
    """A residual stream that is added to in place, read by layers that are not."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.twice = False

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x += torch.relu(layer(x))
        y = self.last(x)
        if self.twice:
            y.mul_(2.0)
        return y.mean((2, 3))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Stream().eval()


@pytest.fixture
def batches():
    torch.manual_seed(1)
    return [torch.randn(4, 3, 10, 10) for _ in range(2)]


def captured(model, batches, statistics=STATISTICS, traced=True):
    graph = evolve(infer(model, batches[0][:2]), traced=traced)
    entries = tuple(PlanEntry(group, statistics) for group in graph if group.at("activation"))
    plan = CapturePlan(entries, folds=2)
    return run_capture(CaptureRequest(model, graph, batches, plan, torch.device("cpu")))


def storage(waiting):
    return waiting[2].untyped_storage().nbytes()


def watch(monkeypatch):
    """Return what waits when tensors are read: how many, and how many bytes."""
    seen, reading_at = [], recorder.reading_at

    def watched(now, point, module, tensor, *others):
        if now.queue and now.queue[0][:3] == (point, module, tensor):
            assert now.queued == sum(map(storage, now.queue))
            seen.append((len(now.queue), now.queued, storage(now.queue[-1])))
        return reading_at(now, point, module, tensor, *others)

    monkeypatch.setattr(recorder, "reading_at", watched)
    return seen


def test_waiting_changes_nothing(monkeypatch, model, batches):
    seen = watch(monkeypatch)
    waited = captured(model, batches)
    assert max(number for number, _, _ in seen) > 1
    monkeypatch.setattr(recorder, "QUEUE", 0)
    seen.clear()
    at_once = captured(model, batches)
    assert {number for number, _, _ in seen} == {1}
    assert waited.counts.fired == at_once.counts.fired
    for place, states in at_once.states.items():
        for statistic, state in states.items():
            other = waited.states[place][statistic]
            assert all(torch.equal(other[name], value) for name, value in state.items())


def test_no_more_waits_than_fits_beside_the_last_tensor(monkeypatch, model, batches):
    monkeypatch.setattr(recorder, "QUEUE", 20_000)
    seen = watch(monkeypatch)
    captured(model, batches)
    assert len(seen) > 2
    assert all(queued - last < 20_000 for _, queued, last in seen)


def test_a_tensor_that_changes_while_it_waits_is_noticed(model, batches, lost):
    graph = infer(model, batches[0][:2])
    entries = tuple(
        PlanEntry(group, (Moments(reads="preactivation"),))
        for group in graph
        if group.at("preactivation")
    )
    model.twice = True
    request = CaptureRequest(
        model, graph, batches, CapturePlan(entries, folds=2), torch.device("cpu")
    )
    reasons = lost(run_capture(request)).values()
    assert any("last" in reason and "overwritten in place later on" in reason for reason in reasons)


def test_nothing_waits_where_gradients_are_read(monkeypatch, model, batches):
    seen = watch(monkeypatch)
    labelled = [(x, torch.arange(4)) for x in batches]
    graph = infer(model, batches[0][:2])
    entries = tuple(
        PlanEntry(group, (Moments(), GradientMoments()))
        for group in graph
        if group.at("activation")
    )
    plan = CapturePlan(entries, folds=2)
    run_capture(CaptureRequest(model, graph, labelled, plan, torch.device("cpu")))
    assert not seen


def test_nothing_waits_in_a_model_that_was_not_traced(monkeypatch, model, batches):
    seen = watch(monkeypatch)
    captured(model, batches, traced=False)
    assert not seen


class Blocks(nn.Module):
    """What a block returns and what the first layer reads is overwritten by what comes after."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.blocks = nn.ModuleList(Residual() for _ in range(2))
        self.last = nn.Linear(5, 3)

    def forward(self, x):
        h = torch.relu(self.first(x))
        x.clamp_(0.0)
        for block in self.blocks:
            h = block(h).relu_()
        return self.last(h)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(5, 9), nn.Linear(9, 5)

    def forward(self, h):
        return h + self.down(torch.relu(self.up(h)))


@pytest.mark.parametrize("metric", ["block_influence", "wanda_channel"])
def test_what_the_trace_says_nothing_of_is_read_at_once(monkeypatch, metric):
    torch.manual_seed(0)
    model, batch = Blocks(), torch.randn(20, 5)
    found = nodelens.score(model, [batch.clone()], [metric], folds=2)
    monkeypatch.setattr(recorder, "QUEUE", 0)
    wanted = nodelens.score(model, [batch.clone()], [metric], folds=2)
    assert [r.values.tolist() for r in found] == [r.values.tolist() for r in wanted]


class Chosen(nn.Module):
    """Every layer reads the last token of a longer sequence."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x[:, -1])).unsqueeze(1).repeat(1, 50, 1)
        return x[:, -1]


def test_what_waits_counts_with_all_of_the_memory_that_it_holds(monkeypatch):
    monkeypatch.setattr(recorder, "QUEUE", 10_000)
    seen = watch(monkeypatch)
    torch.manual_seed(0)
    captured(Chosen(), [torch.randn(6, 50, 8)], (Moments(),))
    assert max(bytes_held for _, bytes_held, _ in seen) >= 6 * 50 * 8 * 4
    assert all(held - last < 10_000 for _, held, last in seen)
