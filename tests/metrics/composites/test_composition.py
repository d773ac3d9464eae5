import numpy as np
import pytest

from nodelens.errors import ConfigError, UnknownNameError
from nodelens.scoring.scores import Score, Scores
from nodelens.testing.imports import heavy_imports
from nodelens_metrics.composites.composition import Composition


def composite(group, **contributions):
    parts = {name: np.array(values, dtype=np.float64) for name, values in contributions.items()}
    total = sum(parts.values())
    return Score("composite", group, total, True, "1", contributions=parts)


def scores(*found):
    return Scores({(each.metric, each.group): each for each in found})


@pytest.fixture
def run():
    """Return two groups; in the second one the parts say the opposite of each other."""
    return scores(
        composite(
            "g", keep=[0, 0.0625, 0.125, 0.1875, 0.25], drop=[0, 0.1875, 0.375, 0.5625, 0.75]
        ),
        composite("h", keep=[0, 0.125, 0.25], drop=[0.75, 0.375, 0]),
    )


def test_shares_are_covariances_with_the_composite(run):
    finding = Composition().analyse(run, seed=0)
    rows = {row[0]: row[1:] for row in finding.tables[0].rows}
    keep = (5 * 0.25 + 3 * -0.5) / 8
    assert rows["keep"] == pytest.approx((keep, (5 - 3) / 8))
    assert rows["drop"] == pytest.approx((1.0 - keep, 1.0))
    assert "largest fraction: drop, 103%" in finding.headline[0]


def test_the_contributions_of_every_node_are_kept(run):
    data = Composition().analyse(run, seed=0).data
    assert data["contributions"]["h"] == {"keep": [0, 0.125, 0.25], "drop": [0.75, 0.375, 0]}


def test_shares_are_drawn_by_group(run):
    (plot,) = Composition().analyse(run, seed=0).plots
    assert (plot.rows, plot.columns) == (("keep", "drop"), ("g", "h"))
    assert np.array(plot.values) == pytest.approx(np.array([[0.25, -0.5], [0.75, 1.5]]))


def test_a_constant_composite_has_no_shares():
    finding = Composition().analyse(scores(composite("g", keep=[0.5, 0.5])), seed=0)
    assert finding.tables[0].rows == (("keep", None, None),)
    assert finding.headline == ("the composite is constant in every group",)


def test_a_metric_that_is_made_of_no_others_is_refused():
    found = scores(Score("taylor", "g", np.ones(2), True, "1"))
    with pytest.raises(ConfigError, match="'taylor' is not made of other metrics"):
        Composition(composite="taylor").analyse(found, seed=0)


def test_a_name_without_scores_is_refused(run):
    with pytest.raises(UnknownNameError, match="no scores of a metric 'mine'"):
        Composition(composite="mine").analyse(run, seed=0)


def test_the_option_class_imports_nothing_heavy():
    assert heavy_imports("nodelens_metrics.composites.composition") == ""
