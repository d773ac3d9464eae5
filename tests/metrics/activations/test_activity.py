import pytest
import torch
from scipy.stats import skew

from nodelens_metrics.activations.activity import (
    ActivationMean,
    ActivationMeanAbs,
    ActivationRMS,
    ActivationVariance,
    Kurtosis,
    Minitron,
    OutlierIndex,
    Skewness,
    ZeroFraction,
)

STORED = [
    (ActivationMean(), lambda a: a.mean((0, 1))),
    (ActivationMeanAbs(), lambda a: a.abs().mean((0, 1))),
    (ActivationRMS(), lambda a: a.square().mean((0, 1)).sqrt()),
    (ActivationVariance(), lambda a: a.flatten(0, 1).var(0, correction=0)),
    (ZeroFraction(), lambda a: (a == 0).double().mean((0, 1))),
    (ZeroFraction(tolerance=0.2), lambda a: (a.abs() <= 0.2).double().mean((0, 1))),
    (OutlierIndex(), lambda a: a.abs().amax((0, 1)) / a.square().mean((0, 1)).sqrt()),
    (Minitron(), lambda a: a.abs().mean(1).square().mean(0).sqrt()),
]


@pytest.mark.parametrize(("metric", "formula"), STORED, ids=lambda x: type(x).__name__)
def test_scores_are_those_of_the_stored_array(score, data, metric, formula):
    torch.testing.assert_close(score(metric, data), formula(data))


def test_kurtosis_of_known_distributions(score):
    coin = torch.tensor([1.0, -1.0] * 8)
    rare = torch.tensor([1.0] + [0.0] * 15)
    p = 1 / 16
    found = score(Kurtosis(), torch.stack([coin, rare], dim=1))
    assert found.tolist() == pytest.approx([1.0, 1 / (p * (1 - p)) - 3])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_a_constant_node_has_kurtosis_zero(score, value):
    assert score(Kurtosis(), torch.full((7, 1), value)).tolist() == [0.0]


def test_minitron_does_not_grow_with_the_data(score, data):
    twice = torch.cat([data, data])
    torch.testing.assert_close(score(Minitron(), twice), score(Minitron(), data))


def test_minitron_averages_over_a_row_before_it_squares(score):
    even, spiky = torch.ones(2, 4), torch.tensor([[4.0, 0, 0, 0]] * 2)
    found = score(Minitron(), torch.stack([even, spiky], dim=2))
    assert found.tolist() == [1.0, 1.0]


def test_dead_nodes_get_the_documented_values(score):
    dead = torch.zeros(5, 1)
    expected = {ZeroFraction(): 1.0, OutlierIndex(): 0.0, Minitron(): 0.0, ActivationRMS(): 0.0}
    assert {metric: score(metric, dead).item() for metric in expected} == expected


def test_skewness_is_that_of_scipy(score, data):
    expected = skew(data.flatten(0, 1).numpy()).tolist()
    assert score(Skewness(), data).tolist() == pytest.approx(expected)
    assert score(Skewness(), -data).tolist() == pytest.approx([-value for value in expected])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_a_constant_node_has_skewness_zero(score, value):
    assert score(Skewness(), torch.full((7, 1), value)).tolist() == [0.0]


def test_a_relative_tolerance_is_in_units_of_the_root_mean_square(score):
    a = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1)).double()
    a[:, 1] *= 300.0
    rms = a.square().mean(0).sqrt()
    found = score(ZeroFraction(tolerance=0.1, relative=True), a)
    expected = (a.abs() <= 0.1 * rms).double().mean(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_relative_zeros_of_dead_and_two_valued_nodes(score):
    a = torch.stack([torch.zeros(8), torch.tensor([0.0, 2.0] * 4)], dim=1)
    metric = ZeroFraction(tolerance=0.5, relative=True)
    assert score(metric, a).tolist() == [1.0, 0.5]
    assert score(ZeroFraction(relative=True), a).tolist() == [1.0, 0.5]
