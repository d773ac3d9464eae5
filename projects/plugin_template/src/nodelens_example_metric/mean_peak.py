"""The metric. Import torch inside `score` if you need it: configs are checked without it."""

from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.moments import RowMoments


@frozen
class MeanPeak:
    """The largest |activation| of a row, averaged over rows; 0 for a dead node."""

    info = MetricInfo(
        formula="mean_n max_t |a_nt|; the largest over components",
        unit="activation",
        higher_is_better=True,
        source="example",
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
    )
    statistics = (RowMoments(),)

    def score(self, group):
        return group.largest(group[RowMoments()].mean_peak)
