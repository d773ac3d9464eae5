import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nodelens.interventions.oracle.compute import AblationEffect
from nodelens.interventions.oracle.prediction import predict, top_overlap
from nodelens.scoring.scores import Score, Scores


def damage_of(change, group="g"):
    change = np.asarray(change, dtype=np.float64)
    return AblationEffect(group, np.arange(len(change)), change, np.zeros(len(change)), 0.0)


def scores_of(values, high=True, metric="m"):
    return Scores(
        {
            (metric, group): Score(metric, group, np.asarray(v, dtype=np.float64), high, "1")
            for group, v in values.items()
        }
    )


def test_correlations_are_scipys_over_all_nodes_with_improving_ones():
    random = np.random.default_rng(0)
    values, change = random.normal(size=30), random.normal(size=30)
    (found,) = predict(scores_of({"g": values}), [damage_of(change)], 0.25)
    assert found.spearman.value == pytest.approx(spearmanr(values, change).statistic)
    assert found.kendall.value == pytest.approx(kendalltau(values, change).statistic)


def test_the_direction_of_the_metric_counts():
    (found,) = predict(scores_of({"g": range(6)}, False), [damage_of(range(6))], 0.25)
    assert found.spearman.value == pytest.approx(-1.0)


def test_a_metric_without_direction_is_compared_by_its_values_and_marked():
    (found,) = predict(scores_of({"g": range(6)}, None), [damage_of(range(6))], 0.25)
    assert (found.metric, found.has_direction) == ("m (raw)", False)


@pytest.mark.parametrize(
    ("values", "change", "note"),
    [
        ([1.0] * 5, range(5), "the metric is constant"),
        (range(5), [0.0] * 5, "all damages are equal"),
        ([1.0, 2.0], [1.0, 2.0], "fewer than three nodes"),
    ],
)
def test_undefined_correlations_are_none_with_the_reason(values, change, note):
    (found,) = predict(scores_of({"g": values}), [damage_of(change)], 0.25)
    assert found.spearman is None
    assert found.kendall is None
    assert found.groups[0].note == note


def test_groups_are_averaged_by_their_nodes():
    scores = scores_of({"up": range(6), "down": range(3)})
    damages = [damage_of(range(6), "up"), damage_of([2, 1, 0], "down")]
    (found,) = predict(scores, damages, 0.25)
    assert found.spearman.value == pytest.approx((6 * 1 + 3 * -1) / 9)
    assert found.nodes == 9


def test_undefined_groups_do_not_enter_the_average():
    scores = scores_of({"up": range(6), "flat": [1.0] * 50})
    damages = [damage_of(range(6), "up"), damage_of(range(50), "flat")]
    (found,) = predict(scores, damages, 0.25)
    assert (found.spearman.value, found.nodes) == (pytest.approx(1.0), 6)


def test_sampled_nodes_are_matched_by_their_index():
    damage = AblationEffect(
        "g", np.array([1, 3, 5, 7]), np.array([1.0, 3.0, 5.0, 7.0]), np.zeros(4), 0.0
    )
    values = np.array([9, 1, 0, 3, 9, 5, 0, 7])
    (found,) = predict(scores_of({"g": values}), [damage], 0.25)
    assert found.spearman.value == pytest.approx(1.0)


@pytest.mark.parametrize("nodes", [3, 4, 9])
def test_few_nodes_have_a_correlation_without_an_interval(nodes):
    (found,) = predict(scores_of({"g": range(nodes)}), [damage_of(range(nodes))], 0.25)
    assert found.spearman.value == pytest.approx(1.0)
    assert found.spearman.interval() is None
    assert found.groups[0].note == "too few nodes for an interval"


def test_a_damage_that_is_not_a_number_leaves_the_correlations_undefined():
    change = [np.nan, *range(11)]
    (found,) = predict(scores_of({"g": range(12)}), [damage_of(change)], 0.25)
    assert found.spearman is found.kendall is None
    assert found.groups[0].note == "a damage is not a number"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(8), 1.0),
        (range(8)[::-1], -1 / 3),
        ([1.0] * 8, 0.0),
        ([0, 0, 0, 0, 0, 0, 1, 1], 1.0),
        ([0, 0, 0, 0, 1, 1, 1, 1], (0.5 - 0.25) / 0.75),
    ],
)
def test_the_overlap_of_the_top_is_corrected_for_chance(values, expected):
    values = np.asarray(values, dtype=np.float64)
    assert top_overlap(values, np.arange(8.0), 0.25) == pytest.approx(expected)


def test_a_random_score_overlaps_as_much_as_chance():
    random = np.random.default_rng(2)
    found = [top_overlap(random.normal(size=20), np.arange(20.0), 0.25) for _ in range(2000)]
    assert abs(np.mean(found)) < 0.02


def test_a_top_that_is_everything_has_no_overlap():
    assert top_overlap(np.array([1.0]), np.array([1.0]), 0.25) is None
