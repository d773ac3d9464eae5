"""The author kit over every statistic of the core."""

import pytest
from projects.docs.metric_tables import statistics

from nodelens.statistics.bootstrap import Bootstrap
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.reservoir import Reservoir
from nodelens.statistics.sketch import GramSketch
from nodelens.statistics.targets import TargetMoments
from nodelens.testing import check_statistic

FURTHER = [
    Moments(reads="preactivation"),
    Moments(order=4),
    Magnitudes(tolerance=0.5),
    Gram(of="gate", position_fraction=0.5),
    GramSketch(rank=16),
    GramSketch(of="gate"),
    TargetMoments(of="gate"),
    LogHistogram(reads="preactivation", bins=5),
    Reservoir(size=16),
    Reservoir(per="row", targets=True),
    Reservoir(of="gate"),
    Bootstrap(Moments(order=4), 3),
    Bootstrap(RowMoments(), 3),
    Bootstrap(GradientMoments(), 3),
    Bootstrap(RowGradients(), 3),
]
"""Statistics with other options than the defaults."""
DEFAULTS = [kind() for kind in statistics() if kind is not Bootstrap]
CHECKS = [check for each in (*DEFAULTS, *FURTHER) for check in check_statistic(each)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_statistic(check):
    check.run()
