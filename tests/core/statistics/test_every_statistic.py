"""The author kit over every statistic of the core."""

import pytest

from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.testing import check_statistic

STATISTICS = [
    Moments(),
    Moments(tap="preactivation"),
    Moments(order=4),
    Magnitudes(),
    Magnitudes(tolerance=0.5),
    RowMoments(),
    GradientMoments(),
    RowGradients(),
    Gram(),
    ClassMoments(),
]
CHECKS = [check for statistic in STATISTICS for check in check_statistic(statistic)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_statistic(check):
    check.run()
