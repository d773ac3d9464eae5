import numpy as np
import pytest

from nodelens.interventions.oracle.compute import AblationEffect
from nodelens.interventions.oracle.metric_comparison import PERMUTATIONS, compare, shortened
from nodelens.interventions.oracle.prediction import predict
from nodelens.scoring.scores import Score, Scores


def compared(metrics, damages, high=True):
    """Compare ``{metric: {group: values}}`` with ``{group: changes}``."""
    scores = Scores(
        {
            (metric, group): Score(metric, group, np.asarray(values, dtype=float), high, "1")
            for metric, groups in metrics.items()
            for group, values in groups.items()
        }
    )
    found = [
        AblationEffect(
            group, np.arange(len(change)), np.asarray(change), np.zeros(len(change)), 0.0
        )
        for group, change in damages.items()
    ]
    return compare(scores, found, predict(scores, found, 0.25), 0)


def test_metrics_are_separated_from_the_best_by_paired_errors():
    random = np.random.default_rng(0)
    damage = random.normal(size=60)
    found = compared(
        {
            "noise": {"g": random.normal(size=60)},
            "good": {"g": damage + 0.1 * random.normal(size=60)},
            "as good": {"g": damage + 0.1 * random.normal(size=60)},
        },
        {"g": damage},
    )
    assert found.worst.metric == "noise"
    assert {found.best.metric, *found.not_separable} == {"good", "as good"}


def test_the_error_of_the_gap_is_close_to_its_spread_over_repetitions():
    random = np.random.default_rng(1)
    gaps = []
    for _ in range(60):
        damage = random.normal(size=40)
        metrics = {
            name: {"g": damage + noise * random.normal(size=40)}
            for name, noise in (("good", 0.5), ("bad", 2.0))
        }
        found = compared(metrics, {"g": damage})
        assert found.best.metric == "good"
        gaps.append(found.gaps["bad"])
    spread = np.std([gap.value for gap in gaps], ddof=1)
    assert np.mean([gap.se for gap in gaps]) == pytest.approx(spread, rel=0.3)


def test_few_nodes_separate_nothing():
    found = compared({"up": {"g": range(8)}, "down": {"g": range(8)[::-1]}}, {"g": range(8)})
    assert found.not_separable == ("down",)


def test_gaps_are_over_the_groups_that_both_metrics_score():
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, 20))
    metrics = {"all": {"a": a, "b": b}, "one": {"b": -b}, "none": {"a": np.ones(20)}}
    found = compared(metrics, {"a": a, "b": b})
    assert found.gaps["one"].value == pytest.approx(2.0)
    assert list(found.gaps) == ["one"]


def test_chance_is_the_smallest_p_as_often_as_it_should_be():
    random = np.random.default_rng(3)
    values = [
        compared(
            {str(k): {"a": random.normal(size=16), "b": random.normal(size=8)} for k in range(8)},
            {"a": random.normal(size=16), "b": random.normal(size=8)},
        ).p
        for _ in range(100)
    ]
    assert np.mean(np.array(values) <= 0.05) <= 0.12
    assert 0.4 < np.mean(values) < 0.6


def test_a_perfect_metric_has_the_smallest_p_that_permutations_can_give():
    found = compared({"true": {"g": range(30)}}, {"g": range(30)})
    assert found.p == 1 / (PERMUTATIONS + 1)
    assert found.p == compared({"true": {"g": range(30)}}, {"g": range(30)}).p


def test_differences_between_groups_are_no_prediction():
    random = np.random.default_rng(4)
    noise = random.normal(size=(4, 20))
    metrics = {"m": {"a": noise[0], "b": noise[1] + 100}}
    assert compared(metrics, {"a": noise[2], "b": noise[3] + 100}).p > 0.05


def test_without_a_directed_metric_there_is_nothing_to_compare():
    assert compared({"m": {"g": range(12)}}, {"g": range(12)}, None) is None
    assert compared({"m": {"g": np.ones(12)}}, {"g": range(12)}) is None


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("a",), "a"),
        (("a", "b", "c"), "a, b, c"),
        (("a", "b", "c", "d", "e"), "a, b and 3 more"),
    ],
)
def test_long_lists_of_names_are_cut_short(names, text):
    assert shortened(names) == text
