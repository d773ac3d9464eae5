import re

import numpy as np
import pytest
from attrs import evolve

from nodelens.reports.score_view import extremes, metric_views, skipped
from nodelens.scoring.scores import Score, Scores


def scores(*found, **others):
    return Scores({(score.metric, score.group): score for score in found}, **others)


def score(values, higher_is_better=True, se=None, group="g"):
    return Score("m", group, np.array(values, dtype=float), higher_is_better, "1", se)


@pytest.mark.parametrize(
    ("higher_is_better", "ends"),
    [
        (True, [("keep", 3.0), ("remove", 1.0)]),
        (False, [("keep", 1.0), ("remove", 3.0)]),
        (None, [("highest", 3.0), ("lowest", 1.0)]),
    ],
)
def test_both_ends_follow_the_direction_of_the_metric(higher_is_better, ends):
    table = extremes(scores(score([1, 2, 3], higher_is_better)))
    assert [(row[1], row[4]) for row in table.rows] == ends


def test_no_node_stands_at_both_ends():
    table = extremes(scores(score(range(7)), score(range(3), group="h")))
    nodes = [(row[2], row[3]) for row in table.rows]
    assert len(nodes) == len(set(nodes)) == 10


def test_one_node_stands_at_one_end():
    assert len(extremes(scores(score([1.0]))).rows) == 1


def test_the_small_figure_has_a_band_of_the_interval():
    found = evolve(score([0.0, 1.0], se=np.array([0.5, 0.0])), folds=8)
    low, high = found.interval()
    (metric,) = metric_views(scores(found))
    (panel,) = metric.panels
    points = re.search(r'polygon points="([^"]*)"', panel.drawing)[1].split()
    heights = [float(point.split(",")[1]) for point in points]
    one = 54.0 - 52.0 * (1.0 - low[0]) / (high[0] - low[0])
    assert heights == pytest.approx([2.0, one, one, 54.0], abs=0.06)
    assert (panel.low, panel.high, panel.nodes) == ("0", "1", 2)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], list(range(5000))])
def test_one_node_equal_nodes_and_many_nodes_are_drawn(values):
    (metric,) = metric_views(scores(score(values)))
    assert "nan" not in metric.panels[0].drawing
    assert len(metric.panels[0].drawing) < 6000


def test_zero_is_marked_where_values_have_both_signs():
    both, positive = (
        metric_views(scores(score(values)))[0].panels[0] for values in ([-1, 1], [1, 2])
    )
    assert 'class="zero"' in both.drawing
    assert 'class="zero"' not in positive.drawing


def test_groups_beyond_the_limit_are_counted():
    found = [score([1.0, 2.0], group=f"g{number}") for number in range(30)]
    (metric,) = metric_views(scores(*found))
    assert (len(metric.panels), metric.hidden) == (24, 6)


def test_what_was_not_scored_has_its_reason():
    table = skipped(scores(skipped={("m", "g"): "too narrow"}, failed={"n": "ValueError: x"}))
    assert table.rows == (("n", "all", "ValueError: x"), ("m", "g", "too narrow"))
