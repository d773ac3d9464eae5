"""A fraction of the positions for products of pairs of nodes: `capture.position_fraction`."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve, frozen
from torch import nn
from torch.nn import functional as F

from nodelens.capture.checkpoint.saved_capture import load_capture, save_capture
from nodelens.capture.engine import run_capture
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import DataError, RunError
from nodelens.interfaces.statistic import Reading
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.rows import add_fields, add_rows, zeros
from nodelens.statistics.sample_draws import some_samples
from nodelens.statistics.sketch import GramSketch
from nodelens.statistics.weight_gradients import WeightGradients
from nodelens.testing.statistic_checks import tensors_of

CPU = torch.device("cpu")
FRACTION = 0.25
KEEP = torch.ones(4, dtype=torch.bool)
PAIRS = (
    Gram(),
    Gram(of="gate"),
    Gram(of="gradient"),
    Gram(reads="input"),
    GramSketch(rank=8),
    CrossGram(),
)
OTHERS = (Moments(), RowMoments(), WeightGradients())


@frozen
class Asking:
    statistics: tuple


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.up, self.mid = nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 7)
        self.down = nn.Linear(7, 11)

    def forward(self, input_ids, attention_mask):
        x = F.gelu(self.up(self.embed(input_ids)))
        return self.down(torch.tanh(self.mid(x)))


def rows(number=24, length=9):
    random = torch.Generator().manual_seed(4)
    ids = torch.randint(0, 11, (number, length), generator=random)
    real = torch.arange(length) < torch.randint(1, length + 1, (number, 1), generator=random)
    return {"input_ids": ids, "attention_mask": real.long(), "labels": ids.clone()}


def cut(batch, sizes):
    parts = {name: value.split(sizes) for name, value in batch.items()}
    return [{name: each[n] for name, each in parts.items()} for n in range(len(sizes))]


def captured(batches, statistics=PAIRS + OTHERS, fraction=FRACTION, **options):
    model = Tokens().double()
    given = {name: value[:3] for name, value in rows().items() if name != "labels"}
    graph = infer(model, **given)
    plan = make_plan(graph, [Asking(statistics)], folds=4, model=model)
    request = CaptureRequest(
        model, graph, batches, evolve(plan, position_fraction=fraction), CPU, **options
    )
    return run_capture(request)


def check_same(found, expected):
    for place, states in expected.states.items():
        for statistic, state in states.items():
            other = tensors_of(statistic.summary(found.states[place][statistic], KEEP))
            for name, value in tensors_of(statistic.summary(state, KEEP)).items():
                torch.testing.assert_close(other[name], value, rtol=1e-9, atol=1e-12)


def reading(number=200, positions=12, nodes=3, **fields):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(number, positions, nodes, generator=random, dtype=torch.float64)
    index = torch.arange(number)
    return Reading(values, index % 4, index=index, **fields)


def test_the_fraction_is_as_large_as_asked_for():
    some = some_samples(reading(number=2000), FRACTION)
    assert some.values.shape[1:] == (1, 3)
    assert len(some.fold) / 24_000 == pytest.approx(FRACTION, abs=0.01)


def test_every_sample_keeps_its_row_s_fold_number_label_and_gradient():
    whole = reading(targets=torch.arange(200) % 7)
    whole = evolve(whole, gradient=2 * whole.values, outputs=torch.arange(600.0).view(200, 1, 3))
    some = some_samples(whole, FRACTION)
    torch.testing.assert_close(some.values[:, 0], whole.values[some.index, some.start])
    assert torch.equal(some.gradient, 2 * some.values)
    assert torch.equal(some.fold, some.index % 4)
    assert torch.equal(some.targets, some.index % 7)
    assert torch.equal(some.outputs[:, 0], whole.outputs[some.index, 0])


def test_positions_are_the_same_at_every_site_and_padding_is_never_among_them():
    valid = torch.arange(12) < torch.arange(200).unsqueeze(1) % 12 + 1
    one = some_samples(reading(), FRACTION)
    other = some_samples(reading(nodes=5, valid=valid, site=3), FRACTION)
    chosen = set(zip(other.index.tolist(), other.start.tolist(), strict=True))
    all_of = set(zip(one.index.tolist(), one.start.tolist(), strict=True))
    assert chosen == {(row, at) for row, at in all_of if valid[row, at]}


def test_a_covariance_is_that_of_the_chosen_positions():
    batch = rows()
    got = captured([batch])
    model = Tokens().double()
    with torch.no_grad():
        a = F.gelu(model.up(model.embed(batch["input_ids"])))
    real = batch["attention_mask"].bool()
    index = torch.arange(len(a))
    some = some_samples(
        Reading(a * real.unsqueeze(-1), index % 4, valid=real, index=index), FRACTION
    )
    found = Gram().summary(got.states["up:neurons"][Gram()], KEEP)
    assert int(found.count) == len(some.fold) < int(real.sum())
    expected = torch.cov(some.values[:, 0].T, correction=0)
    torch.testing.assert_close(found.covariance, expected)


def test_all_other_statistics_see_every_position():
    one, other = (captured([rows()], OTHERS, fraction) for fraction in (1.0, FRACTION))
    check_same(other, one)
    assert not other.plan.thinned


@pytest.mark.parametrize("sizes", [[24], [1] * 24, [5, 1, 10, 8]])
def test_any_batching_takes_the_same_positions(sizes):
    check_same(captured(cut(rows(), sizes)), captured([rows()]))


def test_padding_on_either_side_takes_the_same_positions():
    batch = rows()
    moved = {name: torch.zeros(24, 13, dtype=torch.long) for name in batch}
    for row, real in enumerate(batch["attention_mask"].bool()):
        for name, values in batch.items():
            moved[name][row, 13 - int(real.sum()) :] = values[row, real]
    check_same(captured([moved]), captured([batch]))


@frozen
class Own:
    """A third party's sum over pairs, in the simplest way."""

    reads = "activation"
    requires = frozenset({"quadratic"})

    def floats(self, layout):
        return layout.folds * (layout.width**2 + 1)

    def start(self, layout):
        return {"count": zeros(layout), "pairs": zeros(layout, layout.width, layout.width)}

    def update(self, state, reading):
        assert reading.valid is None
        add_rows(state["count"], torch.ones(len(reading.fold)).double(), reading.fold)
        add_rows(state["pairs"], reading.values.mT @ reading.values, reading.fold)

    def merge(self, state, other):
        add_fields(state, other)

    def summary(self, state, keep):
        return {name: value[keep].sum(0) for name, value in state.items()}


def test_a_statistic_of_one_s_own_shares_the_choice():
    got = captured([rows()], (Own(), Gram())).states["up:neurons"]
    own, gram = Own().summary(got[Own()], KEEP), Gram().summary(got[Gram()], KEEP)
    assert own["count"] == gram.count
    torch.testing.assert_close(own["pairs"] / own["count"], gram.second_moment)


def test_what_was_seen_is_counted_site_by_site():
    got = captured(cut(rows(), [10, 14]))
    real = int(rows()["attention_mask"].sum())
    counts = got.counts
    assert counts.positions["up:neurons @ mid (input)"] == real
    gram = Gram().summary(got.states["up:neurons"][Gram()], KEEP)
    assert counts.chosen["up:neurons @ mid (input)"] == int(gram.count)
    assert counts.fraction == pytest.approx(FRACTION, abs=0.1)
    assert got.plan.widening == 2.0


def test_batches_without_a_chosen_position_are_no_harm():
    one, other = (captured(cut(rows(), sizes), fraction=0.05) for sizes in ([24], [1] * 24))
    check_same(one, other)


def test_a_fraction_that_leaves_nothing_is_an_error():
    with pytest.raises(DataError) as raised:
        captured([rows()], (Gram(),), fraction=1e-6)
    real = int(rows()["attention_mask"].sum())
    assert str(raised.value) == (
        f"position_fraction: 1e-06 leaves 0 of the {real} positions at up (input) for products of "
        "pairs of "
        "nodes; raise it, or give more samples"
    )


def test_a_capture_of_another_fraction_is_not_scored_in_its_place(tmp_path):
    path = tmp_path / "statistics.safetensors"
    got = captured([rows()])
    save_capture(path, got)
    loaded = load_capture(path, got.plan)
    assert loaded.counts.chosen == got.counts.chosen
    with pytest.raises(RunError, match=r"covariances read 0\.25 of the positions, the plan needs"):
        load_capture(path, evolve(got.plan, position_fraction=1.0))
    load_capture(path, make_plan_of(Moments()))


def make_plan_of(*statistics):
    given = {name: value[:3] for name, value in rows().items() if name != "labels"}
    model = Tokens().double()
    return make_plan(infer(model, **given), [Asking(statistics)], folds=4, model=model)


class Twice(Tokens):
    def forward(self, input_ids, attention_mask):
        x = F.gelu(self.up(self.embed(input_ids)))
        return self.down(torch.tanh(self.mid(x)) + torch.tanh(self.mid(x.flip(-1))))


def test_the_positions_of_every_call_of_a_module_are_counted():
    model, given = Twice().double(), {k: v for k, v in rows().items() if k != "labels"}
    graph = infer(model, **{name: value[:3] for name, value in given.items()})
    asked = [Asking((Gram(reads="input"), Gram(reads="preactivation", of="gradient"), Gram()))]
    plan = evolve(make_plan(graph, asked, folds=4, model=model), position_fraction=FRACTION)
    got = run_capture(CaptureRequest(model, graph, [rows()], plan, CPU))
    real = int(rows()["attention_mask"].sum())
    counts = {name: n for name, n in got.counts.positions.items() if name.startswith("mid (input)")}
    assert counts == {"mid (input) @ mid (input)": 2 * real}
    state = got.states["mid (input)"][Gram(reads="input")]
    assert float(state["count"].sum()) == got.counts.chosen["mid (input) @ mid (input)"]
