import pytest
import torch
from attrs import frozen

from nodelens.statistics.moments import Moments
from nodelens.testing import check_metric, failures
from nodelens.testing.composed import composed
from nodelens.testing.metric_checks import scores
from nodelens.testing.world import make_world


@frozen
class Spread:
    """The standard deviation of the activation; 0 for a dead node."""

    better = "high"
    unit = "activation"
    formula = "sd(a)"
    source = "common"
    invariances = frozenset({"activation_shift", "incoming_scale"})
    dead = "worst"

    def needs(self):
        return (Moments(),)

    def score(self, group):
        return group[Moments()].std


@frozen
class Twice:
    """Twice another metric of the run.

    Attributes:
        of: the metric's name.
    """

    of: str = "spread"
    better = "high"
    unit = "activation"
    formula = "2 m"
    source = "common"
    invariances = frozenset({"activation_shift", "incoming_scale"})
    dead = "worst"

    def uses(self):
        return (self.of,)

    def needs(self):
        return ()

    def score(self, group):
        return 2.0 * group.part(self.of)


PARTS = {"spread": Spread(), "double": Twice()}


def test_a_metric_made_of_others_is_checked_with_its_parts():
    checks = check_metric(Twice, variants=[], parts=PARTS)
    numeric = [check for check in checks if "light import" not in str(check)]
    assert failures(numeric) == ["Twice: variants name every option: no variant sets of"]
    assert "Twice: a dead node is worst" in {str(check) for check in numeric}


def test_parts_are_scored_with_the_statistics_that_they_need():
    world = make_world()
    found = scores(composed(Twice(), PARTS), world)
    torch.testing.assert_close(found, 2.0 * scores(Spread(), world))


def test_parts_may_be_made_of_parts():
    world = make_world()
    found = scores(composed(Twice(of="double"), PARTS), world)
    torch.testing.assert_close(found, 4.0 * scores(Spread(), world))


def test_a_missing_part_is_named():
    with pytest.raises(ValueError, match=r"Twice uses lost; give parts=\{...\}"):
        check_metric(Twice(of="lost"), parts=PARTS)
    with pytest.raises(ValueError, match="Twice uses spread"):
        check_metric(Twice(of="double"), parts={"double": Twice()})


def test_a_metric_that_uses_no_other_stays_as_it_is():
    metric = Spread()
    assert composed(metric, PARTS) is metric
