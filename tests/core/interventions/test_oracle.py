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
    metrics = {"true": C, "near": C[[0, 1, 2, 3, 4, 5, 8, 7, 6, 9]], "bad": -C}
    finding = Oracle().run(additive(C, metrics).request)
    assert finding.headline[0].endswith("; not separable from near")
    assert finding.data["best"]["not_separable"] == ["near"]
    rows = table(finding, "oracle_prediction")
    gaps = [row["behind the best"] for row in rows]
    assert gaps == [None, pytest.approx(1 - rows[1]["spearman"]), pytest.approx(2.0)]


def test_metrics_of_equal_ranks_count_once(additive, table):
    metrics = {"true": C, "same": 2 * C, "bad": -C}
    finding = Oracle().run(additive(C, metrics).request)
    assert [row["metric"] for row in table(finding, "oracle_prediction")] == ["true", "bad"]
    assert finding.tables[0].note.endswith("counted once in comparisons: true = same.")
    assert finding.data["equal"] == [["true", "same"]]
    assert "same" not in finding.headline[0]


def test_the_figure_has_the_intervals_of_the_table(additive, table):
    noisy = C[[1, 0, *range(2, 10)]]
    finding = Oracle().run(additive(C, {"true": C, "noisy": noisy, "bad": -C}).request)
    rows = {row["metric"]: row for row in table(finding, "oracle_prediction")}
    (bars,) = (plot for plot in finding.plots if plot.name == "oracle_spearman")
    drawn = zip(bars.labels, bars.values, bars.low, bars.high, strict=True)
    for metric, *interval in drawn:
        assert interval == [rows[metric][name] for name in ("spearman", "low", "high")]
    assert max(bars.high) <= 1.0
    assert min(bars.low) >= -1.0


def test_few_nodes_have_no_interval_in_the_figure(additive):
    finding = Oracle().run(additive(C[:5], {"true": C[:5]}).request)
    assert (finding.plots[0].low, finding.plots[0].high) == ((None,), (None,))


def test_metrics_without_a_sign_are_compared_with_the_size_of_the_damage(additive, table):
    damage = C * np.where(np.arange(10) % 2, -1, 1)
    metrics = {"size": np.abs(damage), "signed": damage, "low": (9 - np.abs(damage), False)}
    rows = table(Oracle().run(additive(damage, metrics).request), "oracle_prediction")
    found = [row["spearman |damage|"] for row in rows]
    assert found == [pytest.approx(1.0), None]
    assert rows[0]["spearman"] < 0.9
    assert rows[0]["|damage| low"] < 0.99 < rows[0]["|damage| high"]


def test_no_winner_is_named_that_does_no_better_than_chance(additive, table):
    for seed in range(6):
        noise = np.random.default_rng(seed).normal(size=(3, 10))
        finding = Oracle().run(additive(C, dict(zip("abc", noise, strict=True))).request)
        rows = table(finding, "oracle_prediction")
        beating = [row["metric"] for row in rows if row["p"] <= 0.05 and row["low"] > 0]
        named = finding.headline[0].split()[0]
        assert named in beating if beating else finding.headline[0].startswith("no metric ")
        assert finding.data["best"]["beats_chance"] == bool(beating)


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
