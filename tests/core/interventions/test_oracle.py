import json

import numpy as np
import pytest

from nodelens.interventions.oracle.options import Oracle

C = np.array([4.0, -1.0, 2.0, 0.5, 3.0, 1.5, 0.0, 8.0, 0.125, 5.0])


def test_the_headline_names_the_best_predictor_and_the_extreme_nodes(additive):
    inputs = (1.0, 1.1, 0.9, 1.0)
    case = additive(C, {"noise": C[::-1], "true": C, "shape": (C, None)}, inputs=inputs)
    headline = Oracle().run(case.request).headline
    assert headline[0] == (
        "true predicts single-node damage best "
        "(Spearman 1.00, 95 % interval 0.96 to 1.00; permutation p = 0.002)"
    )
    assert headline[1].startswith("most damaging: node 7 of 0:neurons (+8.0000 ±")
    assert headline[2].startswith("most removable: node 1 of 0:neurons (-1.0000 ±")
    assert headline[3] == "0 of 10 nodes are unresolved (under two standard errors)"
    assert headline[4] == "1 node improves the loss when removed, by at least two standard errors"


def test_nodes_that_improve_the_loss_are_only_spoken_of_where_there_are_some(additive):
    inputs = (1.0, 1.1, 0.9, 1.0)
    none = Oracle().run(additive(np.abs(C), inputs=inputs).request)
    two = Oracle().run(additive([-1.0, -2.0, 3.0], inputs=inputs).request)
    assert not any("improve" in sentence for sentence in none.headline)
    assert two.headline[-1].startswith("2 nodes each improve the loss when removed")


def test_metrics_that_are_as_good_as_the_best_are_named(additive, table):
    metrics = {"true": C, "same": 2 * C, "bad": -C}
    finding = Oracle().run(additive(C, metrics).request)
    assert finding.headline[0].endswith("; not separable from same")
    assert finding.data["best"]["not_separable"] == ["same"]
    rows = table(finding, "oracle_prediction")
    assert [row["behind the best"] for row in rows] == [None, 0.0, pytest.approx(2.0)]


def test_it_is_useful_without_metrics(additive, table):
    finding = Oracle().run(additive(C).request)
    assert finding.headline[0].startswith("most damaging: node 7")
    assert [row["node"] for row in table(finding, "most_damaging")][:3] == [7, 9, 0]
    assert [row["node"] for row in table(finding, "most_removable")][:3] == [1, 6, 8]
    assert len(table(finding, "damage")) == 10
    assert finding.plots == ()


def test_the_table_has_intervals_and_nothing_where_nothing_is_defined(additive, table):
    finding = Oracle().run(additive(C, {"noisy": C[[1, 0, *range(2, 10)]], "flat": C * 0}).request)
    noisy, flat = table(finding, "oracle_prediction")
    assert -1.0 <= noisy["low"] < noisy["spearman"] < noisy["high"] <= 1.0
    assert -1.0 <= noisy["kendall low"] < noisy["kendall"] < noisy["kendall high"] <= 1.0
    assert flat["spearman"] is flat["low"] is flat["kendall"] is None
    assert flat["top overlap"] == pytest.approx(0.0)
    assert table(finding, "oracle_by_group")[1]["note"] == "the metric is constant"
    assert [plot.name for plot in finding.plots] == ["oracle_spearman", "oracle_best"]


def test_unresolved_and_improving_nodes_are_counted_by_group(additive, table):
    case = additive(C, inputs=(1.0, -1.0, 1.5, -1.0))
    (row,) = table(Oracle().run(case.request), "oracle_groups")
    assert (row["measured"], row["unresolved"], row["improving"]) == (10, 9, 0)


def test_a_sample_of_nodes_measures_so_many(additive, table):
    finding = Oracle(nodes=4).run(additive(C, {"true": C}).request)
    assert len(table(finding, "damage")) == 4


def test_the_share_of_top_nodes_changes_the_overlap(additive, table):
    request = additive(C, {"mixed": C[[7, 1, 2, 3, 4, 5, 6, 0, 8, 9]]}).request
    overlaps = {
        top: table(Oracle(top=top).run(request), "oracle_prediction")[0]["top overlap"]
        for top in (0.1, 0.3)
    }
    assert overlaps == {0.1: pytest.approx(-1 / 9), 0.3: pytest.approx(1.0)}


def test_no_predictor_at_all_is_warned_about(additive):
    finding = Oracle().run(additive(C, {"inverted": (C, False)}).request)
    assert finding.warnings == (
        "no metric predicts the damage of single nodes better than chance: with the damages "
        "permuted within groups, the best metric does as well with p = 1",
    )


def test_noise_between_nodes_is_warned_about(additive):
    finding = Oracle().run(additive(C, inputs=(5.0, -5.0, 5.0, -4.0)).request)
    assert "more than half of the spread between nodes is measurement noise" in finding.warnings[0]


def test_the_data_is_strict_json(additive):
    finding = Oracle().run(additive(C, {"true": C, "flat": C * 0}).request)
    json.dumps(finding.data, allow_nan=False)
    assert finding.data["spearman"]["flat"] == [None, None, None]
