from types import SimpleNamespace

import numpy as np
import pytest

from nodelens.interventions.ablator import maskable, open_ablator
from nodelens.interventions.oracle.compute import AblationEffect, all_nodes, measure, sample_nodes
from nodelens.training.model_evaluation import EvaluationResult


def measured(rows):
    """Return the damage of nodes whose loss changes are ``(nodes, rows)``."""

    def evaluation(losses):
        return EvaluationResult(losses, np.ones(rows.shape[1], dtype=np.int64), None, None)

    ablator = SimpleNamespace(
        request=SimpleNamespace(progress=lambda what, done, total: None),
        dense=evaluation(np.zeros(rows.shape[1])),
        evaluate_without=lambda removed: evaluation(rows[removed["g"][0]]),
    )
    (damage,) = measure(ablator, {"g": np.arange(len(rows))})
    return damage


def test_the_damage_of_every_node_is_its_contribution(additive):
    case = additive([4.0, -1.0, 0.0, 0.5])
    ablator = open_ablator(case.request, "zero", maskable(case.request.graph))
    (damage,) = measure(ablator, {"0:neurons": np.arange(4)})
    np.testing.assert_allclose(damage.change, case.contributions * case.inputs.mean(), atol=1e-12)
    spread = case.inputs.std(ddof=1) / 2
    np.testing.assert_allclose(damage.se, np.abs(case.contributions) * spread, atol=1e-12)


def test_nodes_under_two_standard_errors_are_unresolved():
    damage = AblationEffect(
        "g", np.arange(4), np.array([1.0, -1.0, 0.1, 0.0]), np.array([0.4, 0.4, 0.1, 0.0]), 0.0
    )
    assert damage.resolved.tolist() == [True, True, False, True]


def test_unknown_errors_resolve_nothing():
    assert not AblationEffect("g", np.arange(1), np.ones(1), np.array([np.nan]), 0.0).resolved.any()


def test_reliability_is_the_variance_that_is_not_noise():
    change = np.array([0.0, 1.0, 2.0, 3.0])
    damage = AblationEffect("g", np.arange(4), change, np.full(4, 7.0), noise=0.25)
    assert damage.reliability() == pytest.approx(1 - 0.25 / change.var(ddof=1))
    assert AblationEffect("g", np.arange(4), change, np.full(4, 9.0), 81.0).reliability() == 0.0
    assert AblationEffect("g", np.arange(4), change, np.ones(4), np.nan).reliability() is None
    assert AblationEffect("g", np.arange(2), np.ones(2), np.ones(2), 1.0).reliability() is None


@pytest.mark.parametrize("shared", [0.0, 10.0])
@pytest.mark.parametrize("own", [0.5, 10.0])
def test_reliability_is_the_truth_with_and_without_noise_that_all_nodes_share(shared, own):
    random = np.random.default_rng(0)
    nodes, rows, printed = 40, 100, []
    for _ in range(60):
        true = random.normal(size=(nodes, 1))
        noise = shared * random.normal(size=rows) + own * random.normal(size=(nodes, rows))
        printed.append(measured(true + noise).reliability())
    assert np.mean(printed) == pytest.approx(1 / (1 + own**2 / rows), abs=0.03)


def test_the_noise_is_the_mean_squared_error_less_the_mean_covariance():
    rows = np.random.default_rng(1).normal(size=(5, 30)) + np.linspace(0, 4, 30)
    covariance = np.cov(rows) / 30
    pairs = covariance[~np.eye(5, dtype=bool)]
    damage = measured(rows)
    np.testing.assert_allclose(damage.se**2, np.diag(covariance))
    assert damage.noise == pytest.approx(np.diag(covariance).mean() - pairs.mean())


def test_infinite_losses_leave_the_noise_unknown():
    rows = np.ones((3, 4))
    rows[1, 2] = np.inf
    assert measured(rows).reliability() is None


def test_nodes_are_listed_from_the_most_damaging_on():
    damage = AblationEffect("g", np.array([2, 5, 7]), np.array([0.1, -0.2, 0.3]), np.zeros(3), 0.0)
    assert [(node, change) for _, node, change, _, _ in all_nodes([damage])] == [
        (7, 0.3),
        (2, 0.1),
        (5, -0.2),
    ]


def test_a_sample_takes_one_node_of_each_stratum_of_importance(additive):
    importance = np.random.default_rng(0).permutation(40)
    request = additive(np.ones(40), {"m": importance}).request
    nodes = sample_nodes(maskable(request.graph), request.scores, 10, 0)["0:neurons"]
    assert sorted(importance[nodes] // 4) == list(range(10))
    assert nodes.tolist() == sorted(nodes.tolist())


def test_without_metrics_the_sample_is_random_and_fixed_by_the_seed(additive):
    request = additive(np.ones(40)).request
    drawn = [
        sample_nodes(maskable(request.graph), request.scores, 10, seed)["0:neurons"].tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 10


@pytest.mark.parametrize("count", [None, 6, 100])
def test_all_nodes_are_taken_where_there_are_not_more(additive, count):
    request = additive(np.ones(6)).request
    nodes = sample_nodes(maskable(request.graph), request.scores, count, 0)["0:neurons"]
    assert nodes.tolist() == list(range(6))
