from __future__ import annotations

import json

import numpy as np
import pytest

from nodelens.analyses.layers.options import Layers
from nodelens.scoring.scores import Score, Scores


def layer(metric, group, value, se=None):
    errors = None if se is None else np.array([se])
    return Score(metric, group, np.array([value]), None, "1", errors)


def analysed(*layers):
    found = Scores({}, layers={(each.metric, each.group): each for each in layers})
    return Layers().analyse(found, 0)


def test_groups_that_differ_in_one_number_are_one_curve_in_its_order():
    finding = analysed(
        layer("mass", "layers.10.mlp:neurons", 0.5, 0.1),
        layer("mass", "layers.2.mlp:neurons", 0.1, 0.2),
        layer("mass", "layers.2.attn:heads", 0.3),
        layer("mass", "layers.10.attn:heads", 0.2),
    )
    (plot,) = finding.plots
    assert [line.label for line in plot.lines] == ["layers.*.mlp:neurons", "layers.*.attn:heads"]
    neurons, heads = plot.lines
    assert (neurons.x, neurons.y) == ((2.0, 10.0), (0.1, 0.5))
    assert neurons.low == pytest.approx((-0.1, 0.4))
    assert neurons.high == pytest.approx((0.3, 0.6))
    assert heads.low == ()
    assert finding.headline[0] == (
        "mass of layers.*.mlp:neurons: 0.1 (layer 2) to 0.5 (layer 10), median 0.3"
    )
    assert finding.tables[0].rows[1] == ("mass", "layers.*.attn:heads", 2, 0.2, 0.25, 0.3)
    assert json.dumps(finding.data)
    table = finding.tables[1]
    assert table.title == "mass by layer, of layers.*"
    assert table.columns == ("layer", "mlp:neurons", "mlp:neurons se", "attn:heads")
    assert table.rows == ((2, 0.1, 0.2, 0.3), (10, 0.5, 0.1, 0.2))


def test_a_layer_without_such_a_group_has_an_empty_cell_and_no_error_no_band():
    finding = analysed(
        *(layer("mass", f"h.{number}:neurons", 0.5) for number in (0, 1)),
        *(layer("mass", f"h.{number}:heads", 0.25) for number in (1, 2)),
    )
    assert finding.tables[1].rows == ((0, 0.5, None), (1, 0.5, 0.25), (2, None, 0.25))
    assert finding.plots[0].note == "No bands: these values have no standard errors."


def test_numbers_within_words_are_no_layers():
    finding = analysed(layer("mass", "conv1:channels", 0.5), layer("mass", "conv2:channels", 0.1))
    assert finding.plots == ()
    assert finding.tables == ()
    assert finding.headline == ("no layer metric has values in two or more layers",)


def test_each_metric_has_a_figure_of_its_own():
    finding = analysed(
        *(layer(name, f"h.{number}:neurons", number) for name in "ab" for number in (0, 1))
    )
    assert [plot.name for plot in finding.plots] == ["layers_a", "layers_b"]


@pytest.mark.parametrize(("metrics", "told"), [(8, 8), (11, 9)])
def test_many_metrics_are_told_by_the_table(metrics, told):
    finding = analysed(
        *(
            layer(f"m{metric}", f"h.{number}:n", 0.5)
            for metric in range(metrics)
            for number in (0, 1)
        )
    )
    assert len(finding.headline) == told
    assert len(finding.tables[0].rows) == metrics
    assert (finding.headline[-1] == "3 more ranges are in the table") == (metrics > 8)
