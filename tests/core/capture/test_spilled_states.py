"""States in files: what is read is what was written, place by place."""

from __future__ import annotations

import pytest
import torch
from attrs import frozen
from torch import nn

from nodelens.capture.checkpoint.saved_capture import load_capture, save_capture
from nodelens.capture.checkpoint.specification import spec_of, statistic_of
from nodelens.capture.checkpoint.spilled_states import (
    StoredStates,
    read_slots,
    slots_of,
    write_states,
)
from nodelens.capture.engine import run_capture
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import RunError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.scorer import ScoreRequest, compute_scores
from nodelens.statistics.gradients import GradientMoments
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments, RowMoments

CPU = torch.device("cpu")


@frozen
class Needs:
    """A metric that reads what it is told to."""

    info = MetricInfo(formula="x", unit="1", higher_is_better=True, source="test")

    statistics: tuple

    def score(self, group):
        return group[self.statistics[0]].mean


def states(places=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        f"layer.{n}:channels": {
            Moments(): {"s1": torch.randn(2, 5, generator=g, dtype=torch.float64)},
            Gram("input"): {"s2": torch.randn(2, 25, generator=g), "count": torch.ones(2)},
        }
        for n in range(places)
    }


def same(one, other):
    assert list(one) == list(other)
    for place, several in one.items():
        assert set(several) == set(other[place])
        for statistic, state in several.items():
            for name, tensor in state.items():
                assert torch.equal(tensor, other[place][statistic][name])


def test_states_come_back_bit_for_bit(tmp_path):
    given = states()
    write_states(tmp_path / "s.safetensors", given, {}, {})
    same(given, StoredStates({}, None, read_slots(tmp_path / "s.safetensors")))


def test_states_in_memory_and_in_several_files_are_one_mapping(tmp_path):
    given = states()
    parts = {name: {name: several} for name, several in given.items()}
    first, second, third = parts
    stored = StoredStates(parts[third])
    for name in (first, second):
        path = tmp_path / f"{len(stored)}.safetensors"
        write_states(path, parts[name], {}, {})
        stored.add(slots_of(path, parts[name]))
    same(given, stored)
    assert (len(stored), "nowhere" in stored) == (3, False)
    assert stored.get("nowhere", {}) == {}
    write_states(tmp_path / "all.safetensors", stored, {}, {})
    same(given, StoredStates({}, None, read_slots(tmp_path / "all.safetensors")))


def test_no_more_than_the_limit_is_kept_in_memory(tmp_path, monkeypatch):
    given = states()
    write_states(tmp_path / "s.safetensors", given, {}, {})
    reads = []
    from nodelens.capture.checkpoint import spilled_states as module

    real = module.read_tensors
    monkeypatch.setattr(
        module, "read_tensors", lambda path, names: reads.append(names[0]) or real(path, names)
    )
    size = 2 * 5 * 8 + 2 * 25 * 4 + 2 * 4
    found = StoredStates({}, 2 * size, read_slots(tmp_path / "s.safetensors"))
    first, second, third = found
    for place in (first, first, second, first, second):
        dict(found[place])
    assert len(reads) == 4
    for place in (third, second, first):
        dict(found[place])
    assert len(reads) == 8


def test_only_the_state_that_is_asked_for_is_read(tmp_path, monkeypatch):
    from nodelens.capture.checkpoint import spilled_states as module

    given = {"a": {Moments(): {"s1": torch.zeros(2)}, Gram(): {"s1": torch.ones(2)}}}
    write_states(tmp_path / "s.safetensors", given, {}, {})
    found = StoredStates({"a": {RowMoments(): {"rows": torch.ones(1)}}}, None, {})
    found.add(slots_of(tmp_path / "s.safetensors", given))
    assert list(found["a"]) == [RowMoments(), Moments(), Gram()]
    assert len(found["a"]) == 3
    monkeypatch.setattr(module, "read_tensors", lambda path, names: pytest.fail("it was read"))
    assert found["a"][RowMoments()]["rows"].tolist() == [1.0]
    assert Moments() in found["a"]
    assert Moments(order=4) not in found["a"]
    monkeypatch.undo()
    assert found["a"][Gram()]["s1"].tolist() == [1.0, 1.0]
    with pytest.raises(KeyError):
        found["a"][Moments(order=4)]


def test_equal_texts_of_two_statistics_do_not_meet(tmp_path):
    @frozen
    class Other:
        reads: str = "activation"

        def __str__(self):
            return str(Moments())

    given = {"a": {Moments(): {"s1": torch.zeros(2)}, Other(): {"s1": torch.ones(2)}}}
    write_states(tmp_path / "s.safetensors", given, {}, {})
    same({"a": given["a"]}, StoredStates({}, None, slots_of(tmp_path / "s.safetensors", given)))


@pytest.mark.parametrize("statistic", [Moments(order=4), Gram("input", position_fraction=0.5)])
def test_a_specification_gives_the_statistic_back(statistic):
    assert statistic_of(spec_of(statistic)) == statistic


def test_nothing_is_imported_because_a_file_names_it():
    assert statistic_of({"class": "antigravity:Fly", "options": {}}) is None
    assert statistic_of({"class": "os:system", "options": {"command": "true"}}) is None
    assert statistic_of({"class": "nodelens.statistics.nowhere:X", "options": {}}) is None
    with pytest.raises(RunError, match="does not take the options it was stored with"):
        statistic_of({"class": "nodelens.statistics.moments:Moments", "options": {"depth": 3}})


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x, y = torch.randn(40, 5), torch.randint(0, 3, (40,))
    graph = infer(model, x[:2])
    metrics = {
        "rms": Needs((Moments(order=4),)),
        "grams": Needs((Gram(),)),
        "gradient": Needs((GradientMoments(),)),
    }
    plan = make_plan(graph, list(metrics.values()), 4, 3, model=model)
    capture = run_capture(CaptureRequest(model, graph, [(x, y)], plan, CPU))
    return model, graph, metrics, capture


def test_a_saved_capture_is_scored_to_the_same_numbers(captured, tmp_path):
    model, graph, metrics, capture = captured
    path = tmp_path / "statistics.safetensors"
    save_capture(path, capture)
    loaded = load_capture(path, capture.plan)
    assert (loaded.samples, dict(loaded.fired)) == (40, dict(capture.fired))
    one, other = (
        compute_scores(ScoreRequest(model, graph, metrics, each)) for each in (capture, loaded)
    )
    assert list(one.scores) == list(other.scores)
    for key, score in one.scores.items():
        assert (score.values == other[key].values).all()
        assert (score.se == other[key].se).all()


def test_a_plan_that_asks_for_less_is_answered_and_one_that_asks_for_more_is_not(
    captured, tmp_path
):
    model, graph, _, capture = captured
    path = tmp_path / "statistics.safetensors"
    save_capture(path, capture)
    less = {"rms": Needs((Moments(),))}
    plan = make_plan(graph, list(less.values()), 4, 3, model=model)
    scores = compute_scores(ScoreRequest(model, graph, less, load_capture(path, plan)))
    assert ("rms", "0:neurons") in scores
    more = make_plan(graph, [Needs((Moments("preactivation"),))], 4, 3, model=model)
    with pytest.raises(RunError, match=r"has no Moments\(reads='preactivation'.* run again with"):
        load_capture(path, more)
    with pytest.raises(RunError, match="has 4 folds, the plan needs 8"):
        load_capture(path, make_plan(graph, list(less.values()), 8, 3, model=model))


def test_other_files_are_refused(captured, tmp_path):
    plan = captured[-1].plan
    path = tmp_path / "s.safetensors"
    with pytest.raises(RunError, match="there is no such file"):
        load_capture(path, plan)
    write_states(path, {}, {}, {})
    with pytest.raises(RunError, match="not a capture that this version reads"):
        load_capture(path, plan)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(RunError, match="not a whole safetensors file"):
        load_capture(path, plan)
