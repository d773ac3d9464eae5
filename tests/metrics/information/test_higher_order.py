import math
from itertools import combinations

import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens_metrics.information.greedy import GreedyOInformation
from nodelens_metrics.information.higher_order import (
    DualTotalCorrelation,
    OInformation,
    TotalCorrelation,
)
from nodelens_metrics.information.layer_information import (
    LayerDualTotalCorrelation,
    LayerOInformation,
    LayerTotalCorrelation,
)
from nodelens_metrics.mathematics import total_correlation as of_sets
from nodelens_metrics.mathematics.estimators import gaussian_entropy_bias, gaussian_information_bias
from nodelens_metrics.mathematics.total_correlation import (
    dual_total_correlation,
    o_information,
    o_information_of_triplets,
    total_correlation,
)

QUIET = 1e-12
SUM = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.25]]
COMMON = [[1.25, 1.0, 1.0], [1.0, 1.25, 1.0], [1.0, 1.0, 1.25]]
TABLE = [
    ([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]], 0.084950, 0.346574),
    ([[1.0, -0.4, -0.4], [-0.4, 1.0, -0.4], [-0.4, -0.4, 1.0]], -0.206717, 0.468247),
    (SUM, -0.510826, math.log(3)),
    (COMMON, 0.400795, 1.131682),
]


def covariance(nodes, seed=0):
    x = torch.randn(nodes, nodes + 3, generator=torch.Generator().manual_seed(seed)).double()
    return x @ x.T


def entropy(matrix, members):
    return 0.5 * math.log(torch.linalg.det(matrix[list(members)][:, list(members)]))


def plain(matrix):
    """Return TC, DTC and Ω from entropies, as they are defined."""
    every = range(len(matrix))
    whole = entropy(matrix, every)
    single = sum(entropy(matrix, [i]) for i in every) - whole
    without = [entropy(matrix, [j for j in every if j != i]) for i in every]
    dual = whole - sum(whole - part for part in without)
    return single, dual, single - dual


@pytest.mark.parametrize(("matrix", "o", "tc"), TABLE)
def test_closed_forms(matrix, o, tc):
    matrix = torch.tensor(matrix).double()
    assert o_information(matrix).item() == pytest.approx(o, abs=1e-6)
    assert total_correlation(matrix).item() == pytest.approx(tc, abs=1e-6)
    assert dual_total_correlation(matrix).item() == pytest.approx(tc - o, abs=1e-6)


@pytest.mark.parametrize("nodes", [2, 3, 4, 6])
def test_they_are_sums_of_entropies(nodes):
    matrix = covariance(nodes)
    found = total_correlation(matrix), dual_total_correlation(matrix), o_information(matrix)
    assert [each.item() for each in found] == pytest.approx(list(plain(matrix)), abs=1e-9)


@pytest.mark.parametrize("nodes", [2, 3, 5, 12])
def test_all_triplets_are_those_of_combinations(nodes, monkeypatch):
    monkeypatch.setattr(of_sets, "AT_ONCE", 40)
    matrix = covariance(nodes)
    sets = torch.tensor(list(combinations(range(nodes), 3)), dtype=torch.int64).view(-1, 3)
    expected = o_information(matrix[sets[:, :, None], sets[:, None, :]])
    torch.testing.assert_close(o_information_of_triplets(matrix), expected)


MEASURES = [TotalCorrelation, DualTotalCorrelation, OInformation]


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("number", range(3))
def test_a_node_gets_the_mean_over_the_sets_that_hold_it(score, gaussian, size, number):
    matrix = covariance(6)
    found = score(MEASURES[number](size=size, noise=QUIET), gaussian(matrix.tolist()))
    for node in range(6):
        sets = [s for s in combinations(range(6), size) if node in s]
        expected = sum(plain(matrix[list(s)][:, list(s)])[number] for s in sets) / len(sets)
        assert found[node].item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("number", range(3))
def test_the_bias_is_that_of_independent_samples(number):
    x = torch.randn(20_000, 30, 4, generator=torch.Generator().manual_seed(3)).double()
    x = x - x.mean(1, keepdim=True)
    function = (total_correlation, dual_total_correlation, o_information)[number]
    shown = function(x.mT @ x).mean().item()
    one, three, four = (gaussian_entropy_bias(d, 30).item() for d in (1, 3, 4))
    total, dual = 4 * one - four, 4 * three - 3 * four
    expected = (total, dual, total - dual)[number]
    assert shown == pytest.approx(expected, rel=0.05, abs=2e-4)


def test_the_metric_subtracts_that_bias(score, gaussian):
    x = gaussian(covariance(5).tolist(), rows=40)
    one, two, three = (gaussian_entropy_bias(d, 40).item() for d in (1, 2, 3))
    bias = 3 * one - three - (3 * two - 2 * three)
    plain_, corrected = (score(OInformation(correct_bias=c), x) for c in (False, True))
    torch.testing.assert_close(plain_ - corrected, torch.full((5,), bias).double())


@pytest.mark.parametrize("metric", MEASURES)
def test_a_constant_node_has_no_bias_of_its_own(score, gaussian, metric):
    """Of sets of three with the constant, two nodes are left, whose bias is that of a pair."""
    x = torch.cat([gaussian(covariance(2).tolist()), torch.zeros(40, 1)], dim=1)
    plain_, corrected = (score(metric(correct_bias=c), x) for c in (False, True))
    pair = 0.0 if metric is OInformation else gaussian_information_bias(1, 1, 40).item()
    torch.testing.assert_close(plain_ - corrected, torch.full((3,), pair).double())


@pytest.mark.parametrize("metric", MEASURES)
def test_a_sketch_counts_in_the_bias(score, metric):
    x = torch.randn(3000, 30, generator=torch.Generator().manual_seed(2))
    corrected = score(metric(sketch=40, correct_bias=True), x)
    assert corrected.abs().mean() < 0.15 * score(metric(sketch=40), x).abs().mean() + 0.002


def test_sampled_sets_estimate_the_mean_over_all(score, gaussian):
    x = gaussian(covariance(20).tolist(), rows=200)
    every = score(TotalCorrelation(sets=1000), x)
    some = score(TotalCorrelation(sets=100), x)
    assert 0 < (every - some).abs().max() < 0.25 * every.mean()


def test_sampled_sets_do_not_depend_on_the_order_of_nodes(score, gaussian):
    x = gaussian(covariance(20).tolist(), rows=200)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    found = score(OInformation(sets=10), x[:, order])
    torch.testing.assert_close(found, score(OInformation(sets=10), x)[order])


@pytest.mark.parametrize("metric", [*MEASURES, GreedyOInformation])
def test_too_few_nodes_are_a_reason(score, metric):
    with pytest.raises(NotApplicableError, match="a set of"):
        score(metric(), torch.randn(9, 2))


def test_too_few_samples_for_a_bias_are_a_reason(score):
    with pytest.raises(NotApplicableError, match="needs more than 3 samples"):
        score(OInformation(correct_bias=True), torch.randn(3, 4))


@pytest.mark.parametrize(
    ("layer", "number"),
    [(LayerTotalCorrelation, 0), (LayerDualTotalCorrelation, 1), (LayerOInformation, 2)],
)
def test_a_layer_has_one_number(score, gaussian, layer, number):
    matrix = covariance(5)
    found = score(layer(noise=QUIET), gaussian(matrix.tolist()))
    assert found.tolist() == pytest.approx([plain(matrix)[number]], abs=1e-8)


@pytest.mark.parametrize(("goal", "extreme"), [("redundancy", max), ("synergy", min)])
def test_greedy_triplets_are_the_best_of_all(score, gaussian, goal, extreme):
    matrix = covariance(6)
    found = score(GreedyOInformation(goal=goal, size=3, noise=QUIET), gaussian(matrix.tolist()))
    for node in range(6):
        values = [
            plain(matrix[list(s)][:, list(s)])[2] for s in combinations(range(6), 3) if node in s
        ]
        assert found[node].item() == pytest.approx(extreme(values), abs=1e-8)


@pytest.mark.parametrize("goal", ["redundancy", "synergy"])
def test_greedy_sets_grow_from_the_best_triplet(score, gaussian, goal):
    matrix, sign = covariance(6), 1 if goal == "redundancy" else -1
    found = score(GreedyOInformation(goal=goal, size=4, noise=QUIET), gaussian(matrix.tolist()))

    def value(members):
        return plain(matrix[list(members)][:, list(members)])[2]

    for node in range(6):
        sets = [s for s in combinations(range(6), 3) if node in s]
        best = max(sets, key=lambda s: sign * value(s))
        grown = [(*best, other) for other in range(6) if other not in best]
        expected = max((value(s) for s in grown), key=lambda v: sign * v)
        assert found[node].item() == pytest.approx(expected, abs=1e-8)


def test_causes_of_a_common_effect_are_found_though_they_are_not_correlated(score, gaussian):
    x = gaussian(torch.block_diag(torch.tensor(SUM), 2 * torch.eye(9)).tolist(), rows=200)
    found = score(GreedyOInformation(goal="synergy", size=3, pool=2, noise=QUIET), x)
    assert found[:3].tolist() == pytest.approx([-0.510826] * 3, abs=1e-6)


def test_dead_nodes_are_in_no_set(score, gaussian):
    x = torch.cat([gaussian(covariance(5).tolist()), torch.zeros(40, 1)], dim=1)
    assert score(GreedyOInformation(), x)[5] == 0.0
