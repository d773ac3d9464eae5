"""Plans within a memory budget, and captures whose states leave the memory."""

from __future__ import annotations

import gc
from itertools import pairwise

import pytest
import torch
from attrs import evolve, frozen
from torch import nn

import nodelens
from nodelens.capture.checkpoint.spilled_states import StoredStates
from nodelens.capture.engine import run_capture
from nodelens.capture.plan.budget import within
from nodelens.capture.plan.budgeted_plan import plan_metrics
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.config.sizes import size_bytes, size_text
from nodelens.errors import ConfigError, DataError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.scorer import ScoreRequest, compute_scores
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments

CPU = torch.device("cpu")
G = torch.Generator().manual_seed(0)
X = torch.randn(64, 5, dtype=torch.float64, generator=G)
Y = torch.randint(0, 3, (64,), generator=G)
BATCHES = list(zip(X.split(16), Y.split(16), strict=True))


@frozen
class Spread:
    """How a node varies with all others; from a stand-in for a sketch where memory is short."""

    info = MetricInfo(
        formula="sum_j |cov_ij|",
        unit="1",
        higher_is_better=True,
        source="test",
        dead_nodes="lowest",
    )

    rough: bool = False

    @property
    def statistics(self):
        return (Moments(),) if self.rough else (Gram(),)

    def sketched(self):
        return evolve(self, rough=True)

    def score(self, group):
        if self.rough:
            return group[Moments()].variance
        return group[Gram()].covariance.abs().sum(1)


@frozen
class Exact(Spread):
    """The same without a sketch."""

    sketched = property(lambda self: (_ for _ in ()).throw(AttributeError("sketched")))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = [5, 24, 20, 16, 3]
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


@pytest.fixture(scope="module")
def graph(model):
    return infer(model, X[:2])


def scores_of(model, graph, planned, tmp_path):
    store = tmp_path / "store"
    request = CaptureRequest(model, graph, BATCHES, planned.plan, CPU, store=store)
    capture = run_capture(request)
    return capture, compute_scores(ScoreRequest(model, graph, planned.metrics, capture))


def test_a_budget_that_is_large_enough_changes_nothing(model, graph):
    metrics = {"spread": Exact()}
    plan = plan_metrics(graph, metrics, model=model, budget=10**9).plan
    assert plan == evolve(make_plan(graph, [Exact()], model=model), budget=10**9)
    assert (plan.notes, plan.spills) == ((), False)
    assert plan.peak_bytes == plan.bytes


def test_fewer_folds_come_before_more_passes_and_are_told(model, graph):
    full = make_plan(graph, [Exact()], model=model)
    plan = within(full, full.bytes - 8)
    assert (plan.quadratic_folds, plan.passes) == (4, 1)
    (note,) = plan.notes
    assert note == (
        "covariances are kept in 4 of 8 folds to fit the memory: standard errors from 4 folds"
    )


def test_several_passes_need_less_memory_and_give_the_same_scores(model, graph, tmp_path):
    free = plan_metrics(graph, {"spread": Exact()}, model=model)
    _, expected = scores_of(model, graph, free, tmp_path)
    tight = plan_metrics(graph, {"spread": Exact()}, model=model, budget=12_000)
    plan = tight.plan
    assert plan.spills
    assert len(plan.streams) > 1
    assert plan.peak_bytes <= 12_000 < plan.bytes
    assert f"the data is read {len(plan.streams)} times to fit the memory" in plan.notes
    capture, found = scores_of(model, graph, tight, tmp_path)
    assert isinstance(capture.states, StoredStates)
    assert list(found.scores) == list(expected.scores)
    for key, score in expected.scores.items():
        assert torch.allclose(*(torch.tensor(s.values) for s in (found[key], score)), rtol=1e-10)


def test_every_pass_and_the_scores_say_how_far_they_are(model, graph, tmp_path):
    planned = plan_metrics(graph, {"spread": Exact()}, model=model, budget=12_000)
    passes, told = planned.plan.passes, []

    def progress(*given):
        told.append(given)

    total = sum(len(x) for x, _ in BATCHES)
    request = CaptureRequest(
        model, graph, BATCHES, planned.plan, CPU, store=tmp_path, progress=progress, total=total
    )
    capture = run_capture(request)
    ends = [what for what, done, of in told if done == of]
    assert ends == [f"capture, pass {number} of {passes}" for number in range(1, passes + 1)]
    assert len(told) == passes * len(BATCHES)
    told.clear()
    compute_scores(ScoreRequest(model, graph, planned.metrics, capture, progress))
    groups = len(planned.plan.entries)
    assert told == [("scores", number, groups) for number in range(groups + 1)]


def test_only_the_states_of_one_pass_and_then_of_a_few_places_are_in_memory(model, graph, tmp_path):
    plan = plan_metrics(graph, {"spread": Exact()}, model=model, budget=12_000).plan
    sizes, calls = [], []

    def live() -> int:
        gc.collect()
        tensors = (each for each in gc.get_objects() if type(each) is torch.Tensor)
        return sum(t.nbytes for t in tensors if t.dtype == torch.float64 and t.nbytes > 800)

    before = live()

    def watch(what, done, total):
        calls.append(done)
        if len(calls) % len(BATCHES) == 0:  # the end of a pass, when its states are largest
            sizes.append(live() - before)

    request = CaptureRequest(model, graph, BATCHES, plan, CPU, store=tmp_path, progress=watch)
    capture = run_capture(request)
    assert max(sizes) <= plan.peak_bytes + sum(x.nbytes * 2 for x, _ in BATCHES)
    for place in capture.states:
        states = capture.states[place].values()
        assert sum(each.nbytes for state in states for each in state.values()) <= plan.budget
        del states
    assert live() - before <= plan.budget


def test_metrics_give_way_to_their_sketch_before_standard_errors_go(model, graph):
    budget = 6_500
    exact = plan_metrics(graph, {"spread": Exact()}, model=model, budget=budget)
    assert exact.plan.quadratic_folds == 1
    assert "no standard errors" in exact.plan.notes[0]
    planned = plan_metrics(graph, {"spread": Spread()}, model=model, budget=budget)
    assert planned.metrics == {"spread": Spread(rough=True)}
    assert planned.plan.notes[0].startswith(
        "scored from a sketch of the covariances, as estimates: spread; the exact covariances "
    )


def test_a_place_that_is_too_large_is_named_with_its_size(model, graph):
    with pytest.raises(ConfigError) as raised:
        plan_metrics(graph, {"spread": Exact()}, model=model, budget=1024)
    assert "memory_budget: " in str(raised.value)
    assert "0:neurons alone needs 5.1 KiB, the budget is 1.0 KiB; raise it" in str(raised.value)


def test_an_iterator_cannot_be_read_twice(model):
    with pytest.raises(DataError, match="an iterator, which can be read once"):
        nodelens.score(model, iter(BATCHES), [Exact()], memory_budget=12_000)


def test_the_api_reads_a_list_several_times_and_says_so(model, caplog):
    free = nodelens.score(model, BATCHES, [Exact()], memory_budget=None)
    tight = nodelens.score(model, BATCHES, [Exact()], memory_budget="12KiB")
    assert "times to fit the memory" in caplog.text
    for key, score in free.scores.items():
        assert torch.allclose(*(torch.tensor(s.values) for s in (tight[key], score)), rtol=1e-10)


def test_batches_in_another_order_for_every_pass_are_refused(model):
    class Shuffled:
        def __init__(self):
            self.times = 0

        def __iter__(self):
            self.times += 1
            yield from BATCHES[self.times % 4 :] + BATCHES[: self.times % 4]

    nodelens.score(model, Shuffled(), [Exact()], memory_budget=None)
    with pytest.raises(DataError, match="the first batch of pass 2 is not that of the pass"):
        nodelens.score(model, Shuffled(), [Exact()], memory_budget=12_000)


@pytest.mark.parametrize("given", ["2 GB", "-1MiB", "much", 0, -5, 1.5])
def test_a_budget_that_is_no_size_is_refused(model, given):
    with pytest.raises(ConfigError, match="memory_budget: expected a size such as 512MiB or 4GiB"):
        nodelens.score(model, BATCHES, [Exact()], memory_budget=given)


@pytest.mark.parametrize(
    ("text", "count"), [("12B", 12), ("1KiB", 1024), ("1.5MiB", 3 << 19), ("2GiB", 2 << 30)]
)
def test_sizes_are_powers_of_1024(text, count):
    assert size_bytes(text) == count
    assert size_bytes(size_text(count).replace(" ", "")) == count
