import json

import numpy as np
import pytest

from nodelens.interventions.ablation.options import Ablation

C = np.array([4.0, 1.0, 2.0, 0.5, 3.0, 1.5, 0.25, 8.0, 0.125, 5.0])


def test_the_headline_names_the_metric_that_removes_most_safely(additive):
    finding = Ablation().run(additive(C, {"noise": C[::-1], "true": C}).request)
    assert finding.headline[0].startswith("true removes most safely (0:neurons): least-important-f")
    assert "random order" in finding.headline[0]


def test_equal_metrics_are_said_not_to_be_separable(additive):
    near = C[[0, 1, 2, 3, 4, 5, 8, 7, 6, 9]]
    request = additive(C, {"true": C, "near": near, "bad": -C}).request
    finding = Ablation(fractions=(0.5,)).run(request)
    assert finding.headline[0].endswith("; not separable from near")


def test_metrics_of_equal_ranks_have_one_curve(additive, table):
    finding = Ablation().run(additive(C, {"true": C, "same": 2 * C}).request)
    assert {row["metric"] for row in table(finding, "ablation_areas")} == {"true", "random"}
    assert table(finding, "ablation_left_out")[0] == {
        "what": "same",
        "why": "ranks the nodes of every group as true does",
    }


@pytest.mark.parametrize("order", ["least", "most"])
def test_no_metric_is_named_that_does_not_beat_random_by_the_table_s_test(additive, table, order):
    for seed in range(6):
        noise = np.random.default_rng(seed).normal(size=(3, 10))
        metrics = {str(at): values for at, values in enumerate(noise)}
        inputs = tuple(np.linspace(1.0, 1.1, 8))
        finding = Ablation(order=order).run(additive(C, metrics, inputs=inputs).request)
        sign = -1 if order == "least" else 1
        beating = {
            row["metric"]
            for row in table(finding, "ablation_areas")
            if row["metric"] != "random"
            and sign * row["against random"] > 2 * row["against random se"]
        }
        named = finding.headline[0].split()[0]
        assert named in beating if beating else finding.headline[0].startswith("no metric ")


def test_a_metric_that_does_worse_than_random_is_warned_about(additive):
    inputs = tuple(np.linspace(1.0, 1.1, 50))
    request = additive(C, {"inverted": (C, False), "true": C}, inputs=inputs).request
    finding = Ablation(random=20).run(request)
    assert len(finding.warnings) == 2
    assert "inverted, least important first, does more damage than random" in finding.warnings[0]
    assert "inverted, most important first, does less damage than random" in finding.warnings[1]


def test_every_point_has_counts_losses_and_paired_errors(additive, table):
    case = additive(C, {"true": C})
    finding = Ablation(fractions=(0.5, 0.2), order="least", random=2).run(case.request)
    rows = table(finding, "ablation_points")
    assert [(row["metric"], row["fraction"], row["removed"]) for row in rows] == [
        ("true", 0.2, 2),
        ("true", 0.5, 5),
        ("random 1", 0.2, 2),
        ("random 1", 0.5, 5),
        ("random 2", 0.2, 2),
        ("random 2", 0.5, 5),
    ]
    damage = np.sort(C)[:2].sum()
    assert rows[0]["loss change"] == pytest.approx(damage * case.inputs.mean())
    assert rows[0]["se"] == pytest.approx(damage * case.inputs.std(ddof=1) / 2)
    assert rows[0]["loss"] == pytest.approx(500 - (C.sum() - damage) * case.inputs.mean())
    assert rows[0]["accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    ("order", "plots"),
    [
        ("least", ["ablation_least_0:neurons"]),
        ("most", ["ablation_most_0:neurons"]),
        ("both", ["ablation_least_0:neurons", "ablation_most_0:neurons"]),
    ],
)
def test_the_order_says_which_curves_there_are(additive, order, plots):
    finding = Ablation(order=order, random=2).run(additive(C, {"true": C}).request)
    assert [plot.name for plot in finding.plots] == plots
    assert [line.label for line in finding.plots[0].lines] == ["true", "random"]


def test_the_random_line_has_its_mean_and_a_band(additive):
    finding = Ablation(fractions=(0.5,), random=3).run(additive(C, {"true": C}).request)
    line = finding.plots[0].lines[-1]
    curves = finding.data["cases"][0]["random"]
    losses = [curve["loss"][0] for curve in curves]
    assert line.x == (0.0, 0.5)
    assert line.y[1] == pytest.approx(np.mean(losses))
    assert line.high[1] - line.y[1] == pytest.approx(2 * np.std(losses, ddof=1))


def test_without_metrics_there_is_the_random_curve(additive):
    finding = Ablation().run(additive(C).request)
    assert finding.headline == (
        "no metric with a direction to order the nodes by: random removal only",
    )


def test_metrics_without_direction_are_listed_as_left_out(additive, table):
    finding = Ablation().run(additive(C, {"true": C, "shape": (C, None)}).request)
    assert {"what": "shape", "why": "describes nodes without saying which to keep"} in table(
        finding, "ablation_left_out"
    )


def test_the_data_is_strict_json(additive):
    finding = Ablation(scope="group").run(additive(C, {"true": C, "flat": np.ones(10)}).request)
    json.dumps(finding.data, allow_nan=False)


def test_samples_without_any_spread_are_no_failure(additive, table):
    finding = Ablation(random=2).run(additive(C, {"true": C}, inputs=(1.0, 1.0)).request)
    assert table(finding, "ablation_areas")[0]["area"] is not None


@pytest.mark.parametrize("fractions", [(), (0.0,), (1.0,), (0.5, -0.1)])
def test_fractions_lie_between_zero_and_one(fractions):
    with pytest.raises(ValueError, match="must be"):
        Ablation(fractions=fractions)
