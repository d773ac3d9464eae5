import pytest
import torch
from attrs import evolve
from scipy.stats import rankdata
from torch import nn

import nodelens
from nodelens.config.check import check_config
from nodelens.config.load import raw_from_mapping
from nodelens.config.options import option_fields, structure_options
from nodelens.errors import ConfigError, NotApplicableError
from nodelens.plugins.manager import load_plugins
from nodelens.scoring.scores import Scores
from nodelens.testing.composed import composed
from nodelens.testing.metric_checks import scores as scores_of
from nodelens.testing.rewritings import select_nodes, silence
from nodelens.testing.world import make_world
from nodelens.testing.world_view import view_of
from nodelens_metrics.activations.activity import ActivationRMS, ZeroFraction
from nodelens_metrics.composites.composite_parts import (
    CompositePart,
    rank_fractions,
    standard_scores,
)
from nodelens_metrics.composites.mean_rank import Composite
from nodelens_metrics.weights.magnitudes import BNScale
from nodelens_metrics.weights.norms import WeightL2

METRICS = {
    "rms": ActivationRMS(),
    "zeros": ZeroFraction(),
    "norm": WeightL2(),
    "scale": BNScale(),
}


def composite(world, *parts, **options):
    return scores_of(composed(Composite(parts, **options), METRICS), world)


def fractions(values):
    return torch.from_numpy((rankdata(values.numpy()) - 1) / (len(values) - 1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], [1.0, 0.0, 0.5]),
        ([1.0, 1.0, 5.0, 9.0], [1 / 6, 1 / 6, 2 / 3, 1.0]),
        ([4.0, 4.0, 4.0], [0.5, 0.5, 0.5]),
        ([7.0], [0.5]),
    ],
)
def test_ranks_are_average_ranks_between_0_and_1(values, expected):
    assert rank_fractions(torch.tensor(values)).tolist() == pytest.approx(expected)


def test_ranks_are_those_of_scipy():
    values = torch.randint(9, (50,), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(rank_fractions(values), fractions(values))


def test_standard_scores_have_mean_0_and_deviation_1():
    assert standard_scores(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert standard_scores(torch.tensor([0.1, 0.1, 0.1]).double()).tolist() == [0.0, 0.0, 0.0]


def test_a_composite_is_the_weighted_mean_of_ranks_of_importance():
    world = make_world()
    rms, zeros = (fractions(scores_of(METRICS[name], world)) for name in ("rms", "zeros"))
    found = composite(world, CompositePart("rms", 3.0), "zeros")
    torch.testing.assert_close(found, (3 * rms + (1 - zeros)) / 4)


def test_standard_scores_keep_distances():
    world = make_world()
    rms, norm = (standard_scores(scores_of(METRICS[name], world)) for name in ("rms", "norm"))
    torch.testing.assert_close(composite(world, "rms", "norm", by="standard"), (rms + norm) / 2)


def test_an_outlier_does_not_press_the_others_together():
    world = make_world()
    far = evolve(world, activation=world.activation.clone())
    loudest = int(scores_of(METRICS["rms"], world).argmax())
    far.activation[..., loudest] *= 1e6
    torch.testing.assert_close(composite(far, "rms", "norm"), composite(world, "rms", "norm"))


def test_a_dead_node_is_last_in_every_part_that_notices():
    assert composite(silence(make_world(), 2), "rms", "zeros")[2] == 0.0


def test_one_node_gets_the_middle():
    assert composite(select_nodes(make_world(), [3]), "rms", "norm").tolist() == [0.5]


def test_contributions_add_up():
    world = make_world()
    made = Composite(("rms", CompositePart("norm", 2.0)))
    view = view_of(world, (*METRICS["rms"].statistics,))
    view = evolve(view, network=evolve(view.network, metrics=METRICS))
    parts = made.contributions(view)
    expected = composite(world, "rms", CompositePart("norm", 2.0))
    torch.testing.assert_close(parts["rms"] + parts["norm"], expected)
    assert [each.max().item() for each in parts.values()] == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("kurtosis", "'kurtosis' has no direction and ranks no nodes; take it out of parts"),
        ("effective_rank", "'effective_rank' describes whole layers and ranks no nodes"),
    ],
)
def test_parts_that_rank_nothing_are_refused_before_any_data_is_read(part, reason):
    chosen = {"name": "composite", "parts": ["activation_rms", part], "label": "mine"}
    with pytest.raises(ConfigError, match=f"metrics: mine: {reason}"):
        nodelens.score(nn.Linear(2, 2), None, [chosen])
    config = {"model": "cnn", "data": "digits", "metrics": [chosen]}
    with pytest.raises(ConfigError, match=f"metrics: mine: {reason}"):
        check_config(raw_from_mapping(config), load_plugins().registry)


def test_where_a_part_is_not_applicable_its_reason_is_told():
    world = evolve(make_world(), scale=None)
    with pytest.raises(NotApplicableError, match="its part scale: no normalisation"):
        composite(world, "rms", "scale")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def run(model, *metrics):
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
    return nodelens.score(model, [x[:40], x[40:]], list(metrics), folds=4)


def test_a_run_keeps_the_parts_and_gives_the_composite_an_error(model):
    parts = ["activation_rms", {"name": "weight_l2", "weight": 2}]
    scores = run(model, "weight_l2", {"name": "composite", "parts": parts}, "activation_rms")
    made = scores["composite", "0:neurons"]
    values = {name: torch.from_numpy(scores[name, "0:neurons"].values) for name in scores.metrics}
    expected = (fractions(values["activation_rms"]) + 2 * fractions(values["weight_l2"])) / 3
    torch.testing.assert_close(values["composite"], expected)
    assert made.se is not None
    assert made.se.max() > 0.0


def test_what_each_part_gives_is_kept_with_the_scores(model, tmp_path):
    parts = ["activation_rms", {"name": "weight_l2", "weight": 2}]
    scores = run(model, {"name": "composite", "parts": parts})
    scores.save(tmp_path / "scores.safetensors")
    for kept in (scores, Scores.load(tmp_path / "scores.safetensors")):
        found = kept["composite", "0:neurons"].contributions
        assert list(found) == ["activation_rms", "weight_l2"]
        values = torch.from_numpy(kept["weight_l2", "0:neurons"].values)
        torch.testing.assert_close(torch.from_numpy(found["weight_l2"]), fractions(values) * 2 / 3)
        total = found["activation_rms"] + found["weight_l2"]
        assert total == pytest.approx(kept["composite", "0:neurons"].values)
        assert kept["weight_l2", "0:neurons"].contributions == {}


def test_a_composite_of_weights_has_no_sampling_error(model):
    scores = run(model, "weight_l2", {"name": "composite", "parts": ["weight_l2"]})
    assert scores["composite", "0:neurons"].se is None


def test_a_composite_may_be_made_of_a_composite(model):
    inner = {"name": "composite", "parts": ["weight_l2"], "label": "inner"}
    outer = Composite(("inner",))
    x = torch.randn(16, 5)
    scores = nodelens.score(model, [x], ["weight_l2", inner, outer], folds=2)
    found = scores["Composite", "0:neurons"].values.tolist()
    assert found == scores["inner", "0:neurons"].values.tolist()


def test_the_options_are_checked_as_a_config():
    given = {"parts": ["taylor", {"name": "weight_l2", "weight": 2}], "by": "standard"}
    made = structure_options(Composite, given)
    assert made == Composite(("taylor", CompositePart("weight_l2", 2.0)), by="standard")
    assert made.depends_on == ("taylor", "weight_l2")
    assert [field.name for field in option_fields(Composite)] == ["parts", "by"]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([], "parts: .*must name at least one metric"),
        (["a", {"name": "a"}], "parts: .*must name each metric once, got a several times"),
        ([{"name": "a", "weight": 0}], "parts.0.*weight: expected a number"),
        ([{"name": "a", "wieght": 2}], "unknown key; did you mean 'weight'"),
        ([3], "parts.0"),
    ],
    ids=str,
)
def test_mistakes_in_parts_are_told_by_their_place(parts, problem):
    with pytest.raises(ConfigError, match=problem):
        structure_options(Composite, {"parts": parts}, "metrics.0")
