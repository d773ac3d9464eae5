"""The metric. Import torch inside `score` if you need it: configs are checked without it."""

from attrs import frozen

from nodelens.statistics.moments import RowMoments


@frozen
class MeanPeak:
    """The largest |activation| of a row, averaged over rows; 0 for a dead node."""

    better = "high"
    unit = "activation"
    formula = "mean_n max_t |a_nt|"
    source = "example"
    invariances = frozenset({"incoming_scale"})
    dead = "worst"

    def needs(self):
        return (RowMoments(),)

    def score(self, group):
        return group[RowMoments()].mean_peak
