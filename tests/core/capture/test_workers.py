"""Several ranks in one process: shares, pivots, and one merge at the end."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pytest
import torch
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nodelens.capture.distributed.workers import Workers
from nodelens.capture.engine import run_capture
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import CaptureError, DataError
from nodelens.statistics.block_change import BlockSimilarity
from nodelens.statistics.bootstrap import Bootstrap
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.maps import MapRanks, NuclearNorms
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.reservoir import Reservoir
from nodelens.statistics.sketch import GramSketch
from nodelens.statistics.targets import TargetMoments
from nodelens.statistics.weight_gradients import WeightGradients
from nodelens.testing.statistic_checks import tensors_of

STATISTICS = (
    Moments(order=4),
    Moments(reads="preactivation"),
    Moments(reads="input"),
    Magnitudes(),
    RowMoments(),
    GradientMoments(),
    RowGradients(labels="model"),
    Gram(),
    Gram(reads="input"),
    Gram(of="gate"),
    ClassMoments(),
)
EVERY = (
    *STATISTICS,
    Gram(of="gradient", position_fraction=0.5),
    GramSketch(rank=16),
    CrossGram(),
    TargetMoments(),
    TargetMoments(of="gate"),
    LogHistogram(),
    Reservoir(size=9),
    Reservoir(per="row", targets=True),
    WeightGradients(),
    MapRanks(),
    NuclearNorms(),
    BlockSimilarity(),
    Bootstrap(RowGradients(), 3),
)
KEEP = torch.ones(4, dtype=torch.bool)


@frozen
class Asking:
    """A metric that only asks for statistics."""

    statistics: tuple


@frozen(eq=False)
class Threads:
    """A channel between the ranks of one process."""

    rank: int
    queues: dict = field(factory=lambda: defaultdict(Queue))

    def send(self, data, to):
        self.queues[self.rank, to].put(data)

    def receive(self, source):
        return self.queues[source, self.rank].get(timeout=30)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, 3, padding=1)

    def forward(self, x):
        return x + self.second(F.relu(self.first(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.block = nn.Conv2d(1, 4, 3, padding=1), Residual()
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x):
        return self.head(F.relu(self.block(self.conv(x))).flatten(1))


def batches_of(sizes, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x = 50 + torch.randn(sum(sizes), 1, 4, 4, dtype=torch.float64, generator=g).to(dtype)
    y = torch.randint(0, 3, (sum(sizes),), generator=g)
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def request_for(batches, dtype=torch.float64, statistics=STATISTICS, **options):
    model = Net().to(dtype)
    graph = infer(model, batches[0][0][:2])
    plan = make_plan(graph, [Asking(statistics)], folds=4, classes=3, model=model)
    return CaptureRequest(model, graph, batches, plan, torch.device("cpu"), **options)


def captures(world_size, make, everywhere=False):
    """Return what every rank ends with."""
    queues: dict = defaultdict(Queue)
    for a in range(world_size):
        for b in range(world_size):
            queues[a, b] = Queue()
    workers = [
        Workers(r, world_size, everywhere, channel=Threads(r, queues)) for r in range(world_size)
    ]
    requests = [make(each) for each in workers]
    with ThreadPoolExecutor(world_size) as pool:
        futures = [pool.submit(run_capture, request) for request in requests]
        return [future.result() for future in futures]


def check_same(found, expected, statistics=STATISTICS, exact=1e-10):
    assert torch.equal(found.rows, expected.rows)
    assert found.fired == expected.fired
    for place, states in expected.states.items():
        for statistic in states:
            one = tensors_of(statistic.summary(states[statistic], KEEP))
            other = tensors_of(statistic.summary(found.states[place][statistic], KEEP))
            for name, value in one.items():
                scale = max(float(value.abs().max()), 1e-300)
                error = float((other[name] - value).abs().max()) / scale
                assert error <= exact, (place, statistic, name, error)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_statistic_of_two_ranks_is_that_of_one_process(dtype):
    batches = batches_of([6, 6, 6, 5], dtype)
    expected = run_capture(request_for(batches, dtype, EVERY))
    kinds = {type(statistic) for states in expected.states.values() for statistic in states}
    assert kinds == {type(statistic) for statistic in EVERY}
    found, share = captures(2, lambda workers: request_for(batches, dtype, EVERY, workers=workers))
    check_same(found, expected)
    assert share.samples == 11


@settings(max_examples=8, deadline=None)
@given(st.integers(2, 4), st.lists(st.integers(1, 7), min_size=1, max_size=7))
def test_any_number_of_ranks_gives_the_same(world_size, sizes):
    batches = batches_of(sizes)
    expected = run_capture(request_for(batches))
    found = captures(world_size, lambda workers: request_for(batches, workers=workers))[0]
    check_same(found, expected)


def test_every_rank_can_end_with_everything():
    batches = batches_of([5, 5, 5])
    expected = run_capture(request_for(batches))
    for found in captures(
        2, lambda workers: request_for(batches, workers=workers), everywhere=True
    ):
        check_same(found, expected)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_share_of_the_positions_is_the_same_for_any_number_of_ranks(world_size, dtype):
    batches = batches_of([6, 6, 6, 5], dtype)

    def thinned(**options):
        request = request_for(batches, dtype, EVERY, **options)
        return evolve(request, plan=evolve(request.plan, position_fraction=0.25))

    expected = run_capture(thinned())
    found = captures(world_size, lambda workers: thinned(workers=workers))[0]
    check_same(found, expected)
    assert found.counts.positions == expected.counts.positions
    assert found.counts.chosen == expected.counts.chosen


def test_several_passes_are_merged_one_by_one():
    batches = batches_of([5, 5, 5])
    expected = run_capture(request_for(batches))

    def divided(workers):
        request = request_for(batches, workers=workers)
        names = [entry.name for entry in request.plan.everything if entry.statistics]
        plan = evolve(request.plan, parts=((names[0],), tuple(names[1:])))
        return evolve(request, plan=plan)

    found = captures(2, divided)[0]
    check_same(found, expected)


@frozen
class AblationEffect:
    """A statistic with passes of its own, which looks at an earlier pass."""

    reads = "model"
    passes = "one forward"
    requires = frozenset()

    def floats(self, layout):
        return layout.folds * layout.width

    def start(self, layout):
        zeros = torch.zeros(layout.folds, layout.width, dtype=torch.float64)
        return {"total": zeros}

    def visit(self, visit, states):
        loss = visit.loss(visit.batch.call(visit.model), visit.batch).sum().detach()
        for name, state in states.items():
            earlier = visit.earlier[name][Moments()]
            count = earlier["count"].sum()
            state["total"][visit.fold] += loss * count

    def merge(self, state, other):
        state["total"] += other["total"]

    def summary(self, state, keep):
        return state["total"][keep].sum(0)


def test_passes_of_a_statistic_of_its_own_see_what_all_ranks_have_read():
    batches = batches_of([5, 5, 5])
    asked = (Moments(), AblationEffect())
    expected = run_capture(request_for(batches, statistics=asked))
    found, _ = captures(2, lambda workers: request_for(batches, statistics=asked, workers=workers))
    check_same(found, expected, asked)


def test_ranks_with_different_plans_are_refused():
    batches = batches_of([5, 5])

    def differing(workers):
        asked = (Moments(),) if workers.rank else (Magnitudes(),)
        return request_for(batches, statistics=asked, workers=workers)

    with pytest.raises(
        CaptureError, match="rank 1 has another plan than rank 0; start all workers"
    ):
        captures(2, differing)


def test_ranks_with_different_batches_are_refused():
    batches = batches_of([5, 5, 5])

    def differing(workers):
        mine = batches[::-1] if workers.rank else batches
        return evolve(request_for(batches, workers=workers), batches=mine)

    with pytest.raises(CaptureError, match="rank 1 was given other batches than rank 0; give all"):
        captures(2, differing)


def test_no_batch_for_any_rank_is_an_error():
    batches = batches_of([4])

    def nothing(workers):
        return evolve(request_for(batches, workers=workers), batches=[])

    with pytest.raises(DataError, match="no calibration batch came"):
        captures(2, nothing)


def test_a_stopping_rule_is_for_one_process():
    request = request_for(batches_of([4]), enough=lambda capture: True, workers=Workers(0, 2))
    with pytest.raises(DataError, match="is for one process"):
        run_capture(request)


def test_shares_are_every_worldth_batch_and_disjoint():
    shares = [[n for n in range(10) if Workers(rank, 3).has(n)] for rank in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
