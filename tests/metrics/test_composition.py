import numpy as np
import pytest

from nodelens.errors import ConfigError, UnknownNameError
from nodelens.scoring.scores import Score, Scores
from nodelens.testing.imports import heavy_imports
from nodelens_metrics.composition import Composition
from nodelens_metrics.parts import Part

PARTS = ("keep", Part("drop", 3.0))


def score(metric, values, better="high", group="g"):
    return Score(metric, group, np.array(values, dtype=np.float64), better, "1")


def scores(*found):
    return Scores({(each.metric, each.group): each for each in found})


@pytest.fixture
def run():
    """Return two groups; in the second one the parts say the opposite of each other."""
    return scores(
        score("keep", [1, 2, 3, 4, 5]),
        score("drop", [5, 4, 3, 2, 1], "low"),
        score("composite", [0.0, 0.25, 0.5, 0.75, 1.0]),
        score("keep", [1, 2, 3], group="h"),
        score("drop", [1, 2, 3], "low", group="h"),
        score("composite", [0.75, 0.5, 0.25], group="h"),
    )


def test_shares_are_covariances_with_the_composite(run):
    finding = Composition(PARTS).analyse(run, seed=0)
    rows = {row[0]: row[1:] for row in finding.tables[0].rows}
    keep = (5 * 0.25 + 3 * -0.5) / 8
    assert rows["keep"] == pytest.approx((1.0, keep, (5 - 3) / 8))
    assert rows["drop"] == pytest.approx((3.0, 1.0 - keep, 1.0))
    assert "largest share: drop, 103%" in finding.headline[0]


def test_the_contributions_of_every_node_are_kept(run):
    data = Composition(PARTS).analyse(run, seed=0).data
    assert data["contributions"]["h"] == {"keep": [0, 0.125, 0.25], "drop": [0.75, 0.375, 0]}


def test_shares_are_drawn_by_group(run):
    (plot,) = Composition(PARTS).analyse(run, seed=0).plots
    assert (plot.rows, plot.columns) == (("keep", "drop"), ("g", "h"))
    assert np.array(plot.values) == pytest.approx(np.array([[0.25, -0.5], [0.75, 1.5]]))


def test_a_constant_composite_has_no_shares():
    found = scores(score("keep", [2, 2]), score("composite", [0.5, 0.5]))
    finding = Composition(("keep",)).analyse(found, seed=0)
    assert finding.tables[0].rows == (("keep", 1.0, None, None),)
    assert finding.headline == ("the composite is constant in every group",)


def test_other_parts_than_the_composite_has_are_refused(run):
    with pytest.raises(ConfigError, match="do not add up to the scores of 'composite'"):
        Composition(("keep", "drop")).analyse(run, seed=0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Composition(("keep", "lost")), "'lost' has no scores on g"),
        (Composition(("keep",), composite="mine"), "no scores of a metric 'mine'"),
    ],
)
def test_names_without_scores_are_refused(run, settings, reason):
    with pytest.raises(UnknownNameError, match=reason):
        settings.analyse(run, seed=0)


def test_the_option_class_imports_nothing_heavy():
    assert heavy_imports("nodelens_metrics.composition") == ""
