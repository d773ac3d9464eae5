import numpy as np
import pytest

from nodelens.interventions.bench import maskable, open_bench
from nodelens.interventions.damage import Damage, all_nodes, measure, sample_nodes


def test_the_damage_of_every_node_is_its_contribution(additive):
    case = additive([4.0, -1.0, 0.0, 0.5])
    bench = open_bench(case.request, "zero", maskable(case.request.graph))
    (damage,) = measure(bench, {"0:neurons": np.arange(4)})
    np.testing.assert_allclose(damage.change, case.contributions * case.inputs.mean(), atol=1e-12)
    spread = case.inputs.std(ddof=1) / 2
    np.testing.assert_allclose(damage.se, np.abs(case.contributions) * spread, atol=1e-12)


def test_nodes_under_two_standard_errors_are_unresolved():
    damage = Damage(
        "g", np.arange(4), np.array([1.0, -1.0, 0.1, 0.0]), np.array([0.4, 0.4, 0.1, 0.0])
    )
    assert damage.resolved.tolist() == [True, True, False, True]


def test_unknown_errors_resolve_nothing():
    assert not Damage("g", np.arange(1), np.ones(1), np.array([np.nan])).resolved.any()


def test_reliability_is_the_variance_that_is_not_noise():
    change = np.array([0.0, 1.0, 2.0, 3.0])
    damage = Damage("g", np.arange(4), change, np.full(4, 0.5))
    assert damage.reliability() == pytest.approx(1 - 0.25 / change.var(ddof=1))
    assert Damage("g", np.arange(4), change, np.full(4, 9.0)).reliability() == 0.0
    assert Damage("g", np.arange(2), np.ones(2), np.ones(2)).reliability() is None


def test_nodes_are_listed_from_the_most_damaging_on():
    damage = Damage("g", np.array([2, 5, 7]), np.array([0.1, -0.2, 0.3]), np.zeros(3))
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
