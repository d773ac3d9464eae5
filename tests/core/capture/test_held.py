"""What is kept of a residual stream until all of its sites have been read."""

import copy

import pytest
import torch
from attrs import evolve
from torch import nn

import nodelens
from nodelens.capture.hooks.accumulator import Accumulator
from nodelens.capture.hooks.site_reading import carried, joined, without_values
from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.moments import RowMoments
from nodelens.statistics.sums import take


class Stream(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.in_place = in_place

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            y = torch.relu(layer(x))
            if self.in_place:
                x += y
            else:
                x = x + y
        return self.last(x)


@pytest.mark.parametrize("metric", ["minitron", "activation_rms", "taylor", "class_selectivity"])
def test_a_stream_that_is_added_to_in_place_gives_the_same_scores(metric):
    torch.manual_seed(0)
    model = Stream(in_place=False)
    other = copy.deepcopy(model)
    other.in_place = True
    batch = torch.randn(20, 5), torch.randint(0, 3, (20,))
    one, two = (
        nodelens.score(each, [batch], [metric], folds=4)[metric, "first:residual"].values
        for each in (model, other)
    )
    assert one.tolist() == two.tolist()


def readings(sites):
    random = torch.Generator().manual_seed(0)
    fold, pivot = torch.tensor([0, 1, 0, 1]), torch.full((6,), 0.5, dtype=torch.float64)
    values = [torch.randn(4, 3, 6, generator=random) for _ in range(sites)]
    return [Reading(each, fold, index=torch.arange(4), pivot=pivot) for each in values]


def test_sums_of_rows_do_for_their_moments_and_take_no_memory():
    statistic, whole = RowMoments(), readings(3)
    kept = []
    for reading in readings(3):
        take(reading, statistic.row_sums)
        kept.append(without_values(reading))
    assert all(each.values.untyped_storage().nbytes() == 4 for each in kept)
    both = joined(kept)
    assert both.values.shape == (4, 9, 6)
    assert both.values.untyped_storage().nbytes() == 4
    layout = Layout(6, 2)
    states = [statistic.start(layout) for _ in range(2)]
    for state, reading in zip(states, (joined(whole), both), strict=True):
        statistic.update(state, reading)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=0.0)


def test_values_that_are_gone_are_not_read_by_mistake():
    kept = without_values(readings(1)[0])
    state = RowMoments().start(Layout(6, 2))
    RowMoments().update(state, kept)
    assert state["mean"].isnan().all()


def test_what_is_held_on_another_device_brings_its_sums():
    statistic, (there, here) = RowMoments(), readings(2)
    layout, whole = Layout(6, 2), joined(readings(2))
    here = evolve(here, pivot=here.pivot.clone())  # as it is where it came from another device
    for reading in (there, here):
        take(reading, statistic.row_sums)
    moved = carried(without_values(here), torch.device("cpu"))
    assert moved.values.untyped_storage().nbytes() == 4
    states = [statistic.start(layout) for _ in range(2)]
    for state, reading in zip(states, (whole, joined([without_values(there), moved])), strict=True):
        statistic.update(state, reading)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=0.0)


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 2, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x))).mean(-1)


@pytest.mark.parametrize(("length", "held"), [(7, 0), (8, 1)])
def test_only_sums_of_half_the_memory_of_their_rows_wait_for_the_end(monkeypatch, length, held):
    kept = []

    def seen(accumulator, now):
        kept.extend(now.held)
        return finish(accumulator, now)

    finish = Accumulator.finish
    monkeypatch.setattr(Accumulator, "finish", seen)
    torch.manual_seed(0)
    model, batch = Positions(), torch.randn(6, 3, length)
    nodelens.score(model, [batch], ["activation_variance"], folds=2)
    assert len(kept) == held
    assert all(each.values.untyped_storage().nbytes() == 4 for _, _, each in kept)


class Pooled(nn.Module):
    """A residual stream of which one token is left in the end."""

    def __init__(self):
        super().__init__()
        self.first, self.layer, self.norm = nn.Linear(5, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        x = x + torch.relu(self.layer(x))
        return self.last(self.norm(x[:, 0]))


@pytest.mark.parametrize("metric", ["minitron", "class_selectivity", "activation_mean_abs"])
def test_a_score_does_not_depend_on_what_else_is_asked_for(metric):
    torch.manual_seed(0)
    model, batch = Pooled(), (torch.randn(24, 20, 5), torch.arange(24) % 3)
    others = ["activation_variance", "kurtosis", "zero_fraction"]
    alone, among = (
        nodelens.score(model, [batch], asked, folds=4)[metric, "first:residual"]
        for asked in ([metric], [metric, *others])
    )
    torch.testing.assert_close(
        torch.tensor(among.values), torch.tensor(alone.values), rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(torch.tensor(among.se), torch.tensor(alone.se), rtol=1e-5, atol=1e-8)


def test_what_was_joined_without_values_brings_its_sums_to_another_device():
    kept = []
    for reading in readings(2):
        take(reading, RowMoments.row_sums)
        kept.append(without_values(reading))
    both = joined(kept)
    moved = carried(both, torch.device("meta"))
    assert moved.shared.keys() == both.shared.keys()
    assert all(each.is_meta for found in moved.shared.values() for each in found)
