"""Metrics of equal ranks, found by measurement over all metrics of the registry."""

import pytest
import torch
from torch import nn

import nodelens
from nodelens.analyses.ranks import counted_once, directed, equal_metrics, rank_correlations


@pytest.fixture(scope="module")
def scores():
    """Return the scores of every metric that fits a small CNN and its batches."""
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(32, 12), nn.ReLU(), nn.Linear(12, 3)),
        )
    x = torch.randn(48, 1, 6, 6, generator=random)
    y = torch.arange(48) % 3
    return nodelens.score(model, [(x[:24], y[:24]), (x[24:], y[24:])], ["*"], folds=4)


def sets(scores):
    return {frozenset(names) for names in equal_metrics(scores, scores.metrics)}


def test_every_two_metrics_that_rank_alike_are_in_one_set_and_no_others(scores):
    found = {name: names for names in sets(scores) for name in names}
    groups = {name: frozenset(scores.of(name)) for name in scores.metrics}
    ranking = {name: _has_direction(scores, name) for name in scores.metrics}
    alike = {
        (one, other): groups[one] == groups[other] and ranking[one] == ranking[other]
        for one in scores.metrics
        for other in scores.metrics
    }
    for group in scores.groups:
        there = [name for name in scores.metrics if group in groups[name]]
        correlations = rank_correlations([directed(scores[name, group]) for name in there])
        for row, one in enumerate(there):
            for column, other in enumerate(there):
                alike[one, other] &= bool(correlations[row, column] > 1 - 1e-12)
    for (one, other), equal in alike.items():
        assert one == other or (other in found.get(one, {})) == equal, (one, other)


def _has_direction(scores, metric):
    return all(each.higher_is_better is not None for each in scores.of(metric).values())


def test_formulas_that_differ_by_what_ranks_do_not_see_are_found(scores):
    found = sets(scores)
    for pair in (
        {"flap_wifn", "wanda_sp"},
        {"flap_ifv", "activation_variance"},
        {"sample_fisher", "taylor"},
    ):
        assert any(pair <= names for names in found), pair


def test_each_set_counts_once(scores):
    kept, found = counted_once(scores)
    assert len(kept.metrics) == len(scores.metrics) - sum(len(names) - 1 for names in found)
    assert all(sum(name in kept.metrics for name in names) == 1 for names in found)
    assert sets(kept) == set()
