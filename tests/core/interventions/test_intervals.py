import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nodelens.interventions.oracle.intervals import Correlation, of_group, pooled


def pairs(random, count, nodes, rho):
    """Return normal samples ``(count, nodes)`` twice, of Spearman's correlation `rho`."""
    pearson = 2 * math.sin(math.pi * rho / 6)
    x, noise = random.normal(size=(2, count, nodes))
    return x, pearson * x + math.sqrt(1 - pearson**2) * noise


def covered(intervals, truth):
    return np.mean([found.low <= truth <= found.high for found in intervals])


@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("nodes", [12, 16, 32])
def test_intervals_cover_the_truth_about_as_often_as_they_say(nodes, rho):
    x, y = pairs(np.random.default_rng(nodes), 400, nodes, rho)
    values = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert 0.90 <= covered([of_group("spearman", v, nodes) for v in values], rho) <= 0.985
    tau = 2 / math.pi * math.asin(2 * math.sin(math.pi * rho / 6))
    values = [kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert 0.90 <= covered([of_group("kendall", v, nodes) for v in values], tau) <= 0.985


@pytest.mark.parametrize("sizes", [(16, 32), (6, 6, 6, 6)])
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_pooled_interval_covers_the_mean_of_groups_of_these_sizes(sizes, rho):
    random = np.random.default_rng(0)
    groups = [(size, *pairs(random, 400, size, rho)) for size in sizes]
    values = np.array(
        [[spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)] for _, x, y in groups]
    )
    found = [
        pooled([of_group("spearman", v, size) for v, size in zip(draw, sizes, strict=True)])
        for draw in values.T
    ]
    expected = float(np.average(values.mean(axis=1), weights=sizes))
    assert 0.90 <= covered(found, expected) <= 0.99


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
@pytest.mark.parametrize("nodes", [3, 4, 5, 8, 12, 200])
@pytest.mark.parametrize("value", [1.0, -1.0])
def test_perfect_correlations_have_an_interval_of_some_width(kind, nodes, value):
    found = of_group(kind, value, nodes)
    assert found.low < found.high
    assert found.low <= value <= found.high


def test_the_interval_is_that_of_bonett_and_wright():
    found = of_group("spearman", 0.6, 28)
    reach = 1.959964 * math.sqrt((1 + 0.18) / 25)
    assert found.low == pytest.approx(math.tanh(math.atanh(0.6) - reach))
    assert found.high == pytest.approx(math.tanh(math.atanh(0.6) + reach))


@pytest.mark.parametrize(("nodes", "known"), [(9, False), (10, True)])
def test_below_ten_nodes_no_interval_is_given(nodes, known):
    found = of_group("spearman", 0.5, nodes)
    assert (found.interval() is not None) == known
    assert ("too few nodes for an interval" in found.text()) == (not known)


def test_pooling_one_group_is_that_group_and_pooling_none_is_none():
    found = of_group("spearman", 0.5, 20)
    same = pooled([found])
    assert (same.value, same.nodes) == (0.5, 20)
    assert (same.low, same.high) == pytest.approx((found.low, found.high))
    assert pooled([]) is None


def test_groups_are_pooled_by_nodes_with_recovered_variances():
    found = pooled([Correlation(0.5, 0.1, 0.7, 30), Correlation(0.1, -0.2, 0.4, 10)])
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(0.4 - math.hypot(0.75 * 0.4, 0.25 * 0.3))
    assert found.high == pytest.approx(0.4 + math.hypot(0.75 * 0.2, 0.25 * 0.3))
