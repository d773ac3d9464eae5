from itertools import combinations

import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens_metrics.information.class_sets import (
    ClassDualTotalCorrelation,
    ClassGreedyOInformation,
    ClassOInformation,
    ClassTotalCorrelation,
)
from nodelens_metrics.information.peers import ClassInteraction, ClassRedundancy
from nodelens_metrics.mathematics import class_correlations
from nodelens_metrics.mathematics.estimators import gaussian_entropy_bias
from nodelens_metrics.mathematics.total_correlation import (
    dual_total_correlation,
    o_information,
    total_correlation,
)

QUIET = 1e-12
MEASURES = [
    (ClassTotalCorrelation, total_correlation),
    (ClassDualTotalCorrelation, dual_total_correlation),
    (ClassOInformation, o_information),
]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def two_classes(nodes=5):
    y = torch.tensor([0] * 40 + [1] * 20)
    x = normal(60, nodes) @ normal(nodes, nodes, seed=1)
    return x + 3.0 * y[:, None] * normal(1, nodes, seed=2), y


def within(x, y, members, measure):
    """Return the mean over classes of a measure of one set, uncorrected."""
    parts = [x[y == label][:, list(members)] for label in y.unique()]
    return sum(len(part) / len(x) * measure(torch.cov(part.T)).item() for part in parts)


def bias_of(measure, size, count):
    entropies = [gaussian_entropy_bias(d, count).item() for d in (1, size - 1, size)]
    total = size * entropies[0] - entropies[2]
    dual = size * entropies[1] - (size - 1) * entropies[2]
    return {total_correlation: total, dual_total_correlation: dual, o_information: total - dual}[
        measure
    ]


@pytest.mark.parametrize(("metric", "measure"), MEASURES)
@pytest.mark.parametrize("size", [3, 4])
def test_a_node_gets_the_mean_over_its_sets_and_classes(score, metric, measure, size):
    x, y = two_classes()
    found = score(metric(size=size, noise=QUIET, correct_bias=False), x, targets=y)
    corrected = score(metric(size=size, noise=QUIET), x, targets=y)
    bias = (40 * bias_of(measure, size, 40) + 20 * bias_of(measure, size, 20)) / 60
    for node in range(5):
        sets = [s for s in combinations(range(5), size) if node in s]
        expected = sum(within(x, y, s, measure) for s in sets) / len(sets)
        assert found[node].item() == pytest.approx(expected, abs=1e-8)
        assert corrected[node].item() == pytest.approx(expected - bias, abs=1e-8)


@pytest.mark.parametrize(("goal", "extreme"), [("redundancy", max), ("synergy", min)])
def test_greedy_triplets_are_the_best_of_all(score, goal, extreme):
    x, y = two_classes()
    metric = ClassGreedyOInformation(goal=goal, size=3, noise=QUIET)
    found = score(metric, x, targets=y)
    for node in range(5):
        sets = [s for s in combinations(range(5), 3) if node in s]
        expected = extreme(within(x, y, s, o_information) for s in sets)
        assert found[node].item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("metric", [each for each, _ in MEASURES])
def test_nodes_that_are_alike_by_their_classes_alone_share_nothing(score, metric):
    y = torch.arange(3000) % 3
    x = normal(3000, 4) + 5.0 * y[:, None]
    assert score(metric(), x, targets=y).abs().max() < 0.005


@pytest.mark.parametrize("metric", [each for each, _ in MEASURES])
def test_a_node_that_is_silent_in_a_class_has_no_bias_there(score, metric):
    """Independent nodes, one of them 0 in one class: what is corrected is about 0 on average."""
    y = torch.arange(40) % 2
    found = []
    for seed in range(60):
        x = normal(40, 4, seed=seed)
        x[y == 1, 0] = 0.0
        found.append(score(metric(size=4), x, targets=y))
    mean, spread = torch.stack(found).mean(0)[0], torch.stack(found).std(0)[0]
    assert abs(mean.item()) < 4 * spread.item() / 60**0.5


METRICS = [*(metric for metric, _ in MEASURES), ClassGreedyOInformation]


@pytest.mark.parametrize("metric", METRICS)
def test_small_classes_are_left_out(score, metric):
    x, y = two_classes()
    more = torch.cat([x, 100 * x[:5]]), torch.cat([y, y[:5] * 0 + 2])
    found = score(metric(size=3), more[0], targets=more[1])
    torch.testing.assert_close(found, score(metric(size=3), x, targets=y))


@pytest.mark.parametrize("metric", METRICS)
def test_one_class_and_too_few_nodes_are_reasons(score, metric):
    x, y = two_classes()
    with pytest.raises(NotApplicableError, match="fewer than two classes have 6 or more"):
        score(metric(size=3), x, targets=y * 0)
    with pytest.raises(NotApplicableError, match="a set of"):
        score(metric(size=3), x[:, :2], targets=y)


@pytest.mark.parametrize(
    "metric", [*(each() for each in METRICS), ClassRedundancy(), ClassInteraction()]
)
def test_wide_layers_are_worked_out_without_their_matrices(score, metric, monkeypatch):
    x, y = two_classes(9)
    x[:, 4], x[y == 1, 5], x[:, 6] = 0.7, 0.0, x[:, 7]
    expected = score(metric, x, targets=y)
    for room in (0, 170, 250):
        monkeypatch.setattr(class_correlations, "ROOM", room)
        torch.testing.assert_close(score(metric, x, targets=y), expected)


def test_dead_nodes_are_in_no_greedy_set(score):
    x, y = two_classes()
    found = score(ClassGreedyOInformation(), torch.cat([x, x[:, :1] * 0], dim=1), targets=y)
    assert found[5] == 0.0
