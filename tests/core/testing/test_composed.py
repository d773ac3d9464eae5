import pytest
import torch
from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.moments import Moments
from nodelens.testing import check_metric, failures
from nodelens.testing.composed import composed
from nodelens.testing.metric_checks import scores
from nodelens.testing.world import make_world


@frozen
class Spread:
    """The standard deviation of the activation; 0 for a dead node."""

    info = MetricInfo(
        formula="sd(a)",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"activation_shift", "incoming_scale"}),
    )
    statistics = (Moments(),)

    def score(self, group):
        return group[Moments()].std


@frozen
class Twice:
    """Twice another metric of the run.

    Attributes:
        of: the metric's name.
    """

    info = MetricInfo(
        formula="2 m",
        unit="activation",
        higher_is_better=True,
        dead_nodes="lowest",
        invariances=frozenset({"activation_shift", "incoming_scale"}),
    )
    statistics = ()

    of: str = "spread"

    @property
    def depends_on(self):
        return (self.of,)

    def score(self, group):
        return 2.0 * group.metric(self.of)


PARTS = {"spread": Spread(), "double": Twice()}


def test_a_metric_made_of_others_is_checked_with_its_parts():
    checks = check_metric(Twice, variants=[{"of": "double"}], parts=PARTS)
    numeric = [check for check in checks if "light import" not in str(check)]
    assert failures(numeric) == []
    assert "Twice: a dead node has the lowest importance" in {str(check) for check in numeric}


def test_parts_are_scored_with_the_statistics_that_they_need():
    world = make_world()
    found = scores(composed(Twice(), PARTS), world)
    torch.testing.assert_close(found, 2.0 * scores(Spread(), world))


def test_parts_may_be_made_of_parts():
    world = make_world()
    found = scores(composed(Twice(of="double"), PARTS), world)
    torch.testing.assert_close(found, 4.0 * scores(Spread(), world))


def test_a_missing_part_is_named():
    with pytest.raises(ValueError, match=r"Twice depends on lost; give parts=\{...\}"):
        check_metric(Twice(of="lost"), parts=PARTS)
    with pytest.raises(ValueError, match="Twice depends on spread"):
        check_metric(Twice(of="double"), parts={"double": Twice()})


def test_a_metric_that_depends_on_no_other_stays_as_it_is():
    metric = Spread()
    assert composed(metric, PARTS) is metric
