import json

import numpy as np
import pytest

from nodelens.analyses.agreement.options import Agreement

UP, MIXED = np.arange(6.0), np.array([0.0, 1.0, 3.0, 2.0, 5.0, 4.0])


def cell(finding, row, column):
    (plot,) = finding.plots
    return plot.values[plot.rows.index(row)][plot.columns.index(column)]


def test_the_most_alike_and_the_most_different_pair_are_named(scores_of):
    scores = scores_of({"up": {"g": UP}, "cubed": {"g": UP**3}, "mixed": {"g": MIXED}})
    headline = Agreement().analyse(scores, 0).headline
    assert headline[0] == "most alike: up and cubed (1.00)"
    assert headline[1].startswith("most different: ")
    assert "mixed" in headline[1]


def test_importance_is_compared_and_not_the_raw_value(scores_of):
    scores = scores_of({"up": {"g": UP}, "down": ({"g": -UP}, False)})
    assert cell(Agreement().analyse(scores, 0), "up", "down") == pytest.approx(1.0)


def test_groups_are_averaged_by_their_nodes_and_never_mixed(scores_of):
    scores = scores_of(
        {"a": {"g": UP, "h": 100 + np.arange(3.0)}, "b": {"g": UP, "h": -np.arange(3.0)}}
    )
    assert cell(Agreement().analyse(scores, 0), "a", "b") == pytest.approx((6 - 3) / 9)


def test_a_group_that_one_metric_lacks_counts_for_the_others(scores_of):
    scores = scores_of({"a": {"g": UP, "h": UP}, "b": {"g": UP}, "c": {"g": UP, "h": -UP}})
    finding = Agreement().analyse(scores, 0)
    assert cell(finding, "a", "b") == pytest.approx(1.0)
    assert cell(finding, "a", "c") == pytest.approx(0.0)
    rows = {row[:2]: row[3:] for row in finding.tables[0].rows}
    assert rows["a", "b"] == (6, 1)
    assert rows["a", "c"] == (12, 2)


def test_a_constant_metric_has_no_agreement(scores_of):
    finding = Agreement().analyse(scores_of({"up": {"g": UP}, "flat": {"g": 0 * UP}}), 0)
    assert cell(finding, "up", "flat") is None
    assert cell(finding, "flat", "flat") is None
    assert finding.data["constant"] == ["flat"]
    assert finding.headline == ("no two metrics with a direction can be compared",)
    json.dumps(finding.data, allow_nan=False)


def test_a_metric_without_direction_is_marked_and_out_of_the_headline(scores_of):
    scores = scores_of(
        {"a": {"g": UP}, "b": {"g": MIXED}, "shape": ({"g": UP}, None), "c": {"g": -UP}}
    )
    finding = Agreement().analyse(scores, 0)
    assert cell(finding, "a", "shape (raw)") == pytest.approx(1.0)
    assert not any("shape" in line for line in finding.headline)


def test_no_scores_are_no_failure(scores_of):
    assert Agreement().analyse(scores_of({}), 0).plots == ()
