"""Positions of a capture in files: what is gone on from, and what is not."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from torch import nn

from nodelens.capture.checkpoint.checkpoint import Checkpoint, Position, plan_key
from nodelens.capture.engine import run_capture
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import RunError
from nodelens.statistics.gradients import RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments

CPU = torch.device("cpu")
G = torch.Generator().manual_seed(0)
X, Y = torch.randn(60, 5, generator=G), torch.randint(0, 3, (60,), generator=G)
BATCHES = list(zip(X.split(10), Y.split(10), strict=True))


class Asks:
    def __init__(self, *statistics):
        self.statistics = statistics


class StopError(Exception):
    """Ends a capture."""


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    graph = infer(model, X[:2])
    plan = make_plan(graph, [Asks(Gram(), Moments(), RowGradients())], 4, model=model)
    return model, graph, plan


def request(subject, checkpoint=None, **options):
    model, graph, plan = subject
    return CaptureRequest(model, graph, BATCHES, plan, CPU, checkpoint=checkpoint, **options)


def interrupted(subject, checkpoint, after):
    def stop(what, done, total):
        if done == after:
            raise StopError

    with pytest.raises(StopError):
        run_capture(request(subject, checkpoint, progress=stop))


def same(one, other):
    assert torch.equal(one.rows, other.rows)
    assert one.counts.as_json() == other.counts.as_json()
    for place, states in one.states.items():
        for statistic, state in states.items():
            for name, tensor in state.items():
                assert torch.equal(tensor, other.states[place][statistic][name]), (place, name)


@pytest.mark.parametrize("after", range(20, 70, 10))
def test_every_bit_is_that_of_a_capture_that_was_not_stopped(subject, tmp_path, after):
    told = []
    checkpoint = Checkpoint(
        tmp_path, seconds=0, resumed=lambda position: told.append(str(position))
    )
    interrupted(subject, checkpoint, after)
    same(run_capture(request(subject, checkpoint)), run_capture(request(subject)))
    batches = after // 10 - 1
    assert told == [f"pass 1, after {batches} batches ({after - 10} samples)"]


def test_states_share_their_pivot_again_after_a_stop(subject, tmp_path):
    checkpoint = Checkpoint(tmp_path, seconds=0)
    interrupted(subject, checkpoint, 30)
    position = checkpoint.load(subject[2])
    states = position.states["0:neurons"]
    pivots = {id(states[s]["pivot"]) for s in (Gram(), Moments())}
    assert pivots == {id(position.pivots["0:neurons", "activation"])}


def test_seconds_say_how_often(subject, tmp_path):
    never = Checkpoint(tmp_path / "never", seconds=None)
    run_capture(request(subject, never))
    assert not (tmp_path / "never").exists()
    seldom = Checkpoint(tmp_path / "seldom", seconds=3600)
    interrupted(subject, seldom, 50)
    assert seldom.load(subject[2]) is None


def test_a_checkpoint_that_takes_long_comes_more_seldom(subject, tmp_path, monkeypatch):
    now = [0.0]

    def nine_seconds(*_):
        now[0] += 9.0

    module = "nodelens.capture.checkpoint.checkpoint"
    monkeypatch.setattr(f"{module}.time.monotonic", lambda: now[0])
    monkeypatch.setattr(f"{module}.write_states", nine_seconds)
    checkpoint, always = (Checkpoint(tmp_path, seconds=seconds) for seconds in (60, 0))
    for each in (always, checkpoint):
        each.save(subject[2], Position(torch.zeros(4)))
    written = now[0]
    for seconds, due in ((59.0, False), (61.0, False), (90.0, True)):
        now[0] = written + seconds
        assert checkpoint.due() is due
    now[0] = written
    assert always.due()


def test_other_data_and_other_plans_are_not_gone_on_from(subject, tmp_path):
    model, graph, plan = subject
    interrupted(subject, Checkpoint(tmp_path, "mine", seconds=0), 30)
    with pytest.raises(RunError, match="taken on other samples or another model"):
        Checkpoint(tmp_path, "yours").load(plan)
    with pytest.raises(RunError, match="the checkpoint is of another plan"):
        Checkpoint(tmp_path, "mine").load(make_plan(graph, [Asks(Moments())], 4, model=model))
    assert plan_key(plan) != plan_key(evolve(plan, quadratic_folds=2))


def test_a_damaged_file_starts_the_capture_again(subject, tmp_path, caplog):
    checkpoint = Checkpoint(tmp_path, seconds=0)
    interrupted(subject, checkpoint, 30)
    path = tmp_path / checkpoint.name
    path.write_bytes(path.read_bytes()[:100])
    assert checkpoint.load(subject[2]) is None
    assert "the capture starts again" in caplog.text


def test_a_capture_ends_after_the_batch_that_is_enough(subject):
    seen = []
    capture = run_capture(
        request(subject, enough=lambda so_far: seen.append(so_far.samples) or so_far.samples >= 30)
    )
    assert seen == [10, 20, 30]
    assert capture.samples == 30


@pytest.mark.parametrize("after", [20, 50])
def test_the_share_of_the_positions_is_the_same_after_a_resumption(subject, tmp_path, after):
    model, graph, plan = subject
    thinned = model, graph, evolve(plan, position_fraction=0.3)
    whole = run_capture(request(thinned))
    assert 0 < whole.counts.chosen.total() < whole.counts.positions.total()
    checkpoint = Checkpoint(tmp_path, seconds=0)
    interrupted(thinned, checkpoint, after)
    with pytest.raises(RunError, match="the checkpoint is of another plan"):
        checkpoint.load(plan)
    same(run_capture(request(thinned, checkpoint)), whole)


class Noisy(nn.Sequential):
    """Adds random numbers of the global generator to what it reads."""

    def forward(self, x):
        return super().forward(x + torch.randn(5))


def test_a_model_that_draws_goes_on_as_if_it_had_not_been_stopped(subject, tmp_path):
    _, _, plan = subject
    torch.manual_seed(0)
    model = Noisy(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    graph = infer(model, X[:2])
    noisy = model, graph, plan
    whole = run_capture(request(noisy))
    checkpoint = Checkpoint(tmp_path, seconds=0)
    interrupted(noisy, checkpoint, 30)
    same(run_capture(request(noisy, checkpoint)), whole)
