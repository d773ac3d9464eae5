"""Any partition and order of the rows gives the same summary."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
from nodelens.testing.statistic_checks import tensors_of
from nodelens.testing.world import FOLDS, layout_of, make_world, reading
from nodelens.testing.world_view import accumulate

ROWS = 12
WORLD = make_world(rows=ROWS)
STATISTICS = (
    Moments(),
    Moments(order=4),
    Magnitudes(),
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
    Reservoir(size=16),
    Reservoir(per="row", targets=True),
    WeightGradients(),
    MapRanks(),
    NuclearNorms(),
    BlockSimilarity(),
    Bootstrap(Moments(order=4), 3),
    Bootstrap(GradientMoments(), 2),
    ClassMoments(),
)


@given(
    order=st.permutations(range(ROWS)),
    cuts=st.sets(st.integers(1, ROWS - 1)).map(sorted),
    merges=st.sets(st.integers(1, ROWS - 1)).map(sorted),
)
@settings(max_examples=25, deadline=None)
def test_partition_order_and_merging_change_nothing(order, cuts, merges):
    keep = torch.ones(FOLDS, dtype=torch.bool)
    parts = torch.tensor(order).tensor_split(cuts)
    for statistic in STATISTICS:
        total = statistic.start(layout_of(WORLD, statistic.reads))
        for number, part in enumerate(parts):
            if number in merges:
                statistic.merge(total, accumulate(statistic, WORLD, [part]))
            else:
                statistic.update(total, reading(WORLD, statistic.reads, part))
        expected = tensors_of(statistic.summary(accumulate(statistic, WORLD), keep))
        for name, value in tensors_of(statistic.summary(total, keep)).items():
            scale = float(expected[name].abs().max())
            torch.testing.assert_close(value, expected[name], rtol=0.0, atol=1e-10 * scale)
