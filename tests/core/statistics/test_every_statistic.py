"""The author kit over every statistic of the core."""

import pytest

from nodelens.statistics.block_change import BlockSimilarity
from nodelens.statistics.bootstrap import Bootstrap
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.maps import MapRanks, NuclearNorms
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.reservoir import Reservoir
from nodelens.statistics.sketch import GramSketch
from nodelens.statistics.targets import TargetMoments
from nodelens.statistics.weight_gradients import WeightGradients
from nodelens.testing import check_statistic

STATISTICS = [
    Moments(),
    Moments(reads="preactivation"),
    Moments(order=4),
    Magnitudes(),
    Magnitudes(tolerance=0.5),
    RowMoments(),
    GradientMoments(),
    RowGradients(),
    Gram(),
    Gram(of="gate", position_fraction=0.5),
    GramSketch(rank=16),
    GramSketch(of="gate"),
    CrossGram(),
    TargetMoments(),
    TargetMoments(of="gate"),
    LogHistogram(),
    LogHistogram(reads="preactivation", bins=5),
    Reservoir(size=16),
    Reservoir(per="row", targets=True),
    Reservoir(of="gate"),
    WeightGradients(),
    MapRanks(),
    NuclearNorms(),
    BlockSimilarity(),
    Bootstrap(Moments(order=4), 3),
    Bootstrap(RowMoments(), 3),
    Bootstrap(GradientMoments(), 3),
    Bootstrap(RowGradients(), 3),
    ClassMoments(),
]
CHECKS = [check for statistic in STATISTICS for check in check_statistic(statistic)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_statistic(check):
    check.run()
