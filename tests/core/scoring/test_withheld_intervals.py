"""Intervals that would not cover are withheld with the reason, or wider."""

import logging

import numpy as np
import pytest
import torch
from scipy.stats import t

import nodelens
from nodelens.errors import ConfigError, UnknownNameError
from nodelens.scoring.scores import Score, Scores
from nodelens.scoring.standard_errors import (
    few_positions,
    few_probes,
    few_rows,
    standard_errors,
)


def model_and_rows(rows, width=4):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)
    )
    return model, [torch.randn(rows, 3)]


@pytest.mark.parametrize("rows", [2, 3, 7])
def test_few_rows_give_no_interval(rows):
    score = nodelens.score(*model_and_rows(rows), ["activation_mean"])[
        "activation_mean", "0:neurons"
    ]
    assert score.se is None
    assert "8 samples, there are" in score.no_interval or "fewer than two" in score.no_interval
    with pytest.raises(UnknownNameError, match=f"has no interval: {score.no_interval}"):
        score.interval()


def test_the_reason_of_a_metric_is_kept_in_files(tmp_path):
    scores = nodelens.score(*model_and_rows(64), ["leverage", "weight_l1"])
    scores.save(tmp_path / "scores.safetensors")
    for found in (scores, Scores.load(tmp_path / "scores.safetensors")):
        assert found["leverage", "0:neurons"].se is None
        assert "bias" in found["leverage", "0:neurons"].no_interval
        assert "sampling error" in found["weight_l1", "0:neurons"].no_interval
        assert found.to_dict()["leverage"]["0:neurons"]["no_interval"]


def folds_of(bias):
    """Return 10 values of 0, and those without each of 8 folds, from which a bias is seen."""
    noise = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64).unsqueeze(1)
    return torch.zeros(10, dtype=torch.float64), noise / 7 + bias / 7, torch.full((8,), 4.0)


def test_a_bias_beyond_the_error_is_told_and_withholds_where_most_nodes_have_it():
    bias = torch.zeros(10, dtype=torch.float64)
    assert standard_errors(*folds_of(bias)).warnings == ()
    bias[:2] = 5.0
    found = standard_errors(*folds_of(bias))
    assert found.se is not None
    assert found.warnings == ("the bias is larger than the standard error at 2 of 10 nodes",)
    bias[:6] = 5.0
    found = standard_errors(*folds_of(bias))
    assert found.se is None
    assert found.no_interval.endswith("larger than the standard error at 6 of 10 nodes")


def test_intervals_of_heavy_tails_are_wider_by_the_effective_rows():
    values, se = np.array([4.0, 4.0, 0.0]), np.array([1.0, 0.0, 0.0])
    plain = Score("m", "g", values, True, "1", se, folds=8)
    heavy = Score("m", "g", values, True, "1", se, folds=8, heavy_tails=True)
    assert heavy.effective_rows().tolist() == [16.0, np.inf, np.inf]
    reach = t.ppf(0.975, 7) * np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(plain.interval()[1] - values, reach)
    np.testing.assert_allclose(heavy.interval()[1] - values, 2.0 * reach)


def test_effective_rows_are_those_of_equal_rows():
    """Of 64 rows, eight that are equal make the whole sum."""
    rows = torch.zeros(64, 1, dtype=torch.float64)
    rows[::8] = 1.0
    random = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(200):
        mixed = rows[torch.randint(64, (64,), generator=random)].view(8, 8, 1).sum(1)
        whole = mixed.mean(0)
        left = (mixed.sum(0) - mixed) / 7
        errors.append(standard_errors(whole, left, torch.full((8,), 8.0)).se.square())
    assert float(1.0 / torch.stack(errors).mean()) == pytest.approx(8.0, rel=0.3)


def test_few_rows_that_make_most_of_a_sum_are_told():
    values = torch.full((10,), 4.0, dtype=torch.float64)
    errors = torch.ones(10, dtype=torch.float64)
    assert few_rows(values, errors) == few_rows(values, 0 * errors) == ""
    errors[:2] = 2.0
    told = few_rows(values, errors)
    assert told.startswith("few rows make most of the value at 2 of 10 nodes")
    assert "4.0 at least, of which the largest makes 25 to 50 %" in told


def test_few_positions_are_told_with_the_number_that_suffices():
    assert few_positions(1000, 100) == ""
    assert "at 100 nodes: 999, where 10 for each" in few_positions(999, 100)


def test_warnings_of_one_kind_are_one_line():
    scores = [
        Score(metric, group, np.zeros(2), True, "1", warnings=(f"rows are few at {group}",))
        for metric, group in (("a", "g"), ("a", "h"), ("b", "g"))
    ]
    found = Scores({(each.metric, each.group): each for each in scores}).told()
    assert found == ["metric a, g: rows are few at g (and 2 more scores, of a, b)"]


def test_probes_are_too_few_where_errors_hide_the_spread():
    values = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    error = torch.full((11,), 0.06, dtype=torch.float64)
    assert few_probes(values, error) == ""
    assert "takes 4 times as many" in few_probes(values, 2 * error)


def test_probes_are_drawn_again_by_another_seed(caplog):
    model, (x,) = model_and_rows(64, width=8)
    batch = [(x, torch.arange(64) % 2)]
    metric = {"name": "hessian_trace", "probes": 1}
    with caplog.at_level(logging.WARNING, logger="nodelens"):
        first, again, other = (
            nodelens.score(model, batch, [metric], seed=seed)["hessian_trace", "0:neurons"].values
            for seed in (0, 0, 1)
        )
    assert (first == again).all()
    assert (first != other).all()
    assert "metric hessian_trace, 0:neurons: standard errors" in caplog.text


def test_sampled_labels_are_drawn_again_by_another_seed():
    model, (x,) = model_and_rows(64)
    batch, key = [(x, torch.arange(64) % 2)], ("true_fisher", "0:neurons")
    one, other = (nodelens.score(model, batch, key[:1], seed=s)[key].values for s in (0, 1))
    assert (one != other).any()


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ConfigError, match="seed: expected a whole number of at least 0"):
        nodelens.score(*model_and_rows(8), ["activation_mean"], seed=seed)
