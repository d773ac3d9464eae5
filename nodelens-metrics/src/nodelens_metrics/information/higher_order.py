"""Information between three nodes and more: total correlation, its dual, and O-information.

In nats, for Gaussians: TC = Σ H(a_i) − H(a), DTC = H(a) − Σ H(a_i | the others) and Ω = TC − DTC,
positive where a set is dominated by redundancy and negative where synergy prevails. The plain
functions take covariances and can be used alone. Nodes are given a little independent noise,
`noise` of their variance; dead and constant nodes are independent of all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.second_moments import INVARIANCES, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_ROSAS = "Rosas et al. 2019, 1902.11239, O-information: TC − DTC"


@frozen
class OInformation:
    """O-information of sets that hold a node, on average: redundant above 0, synergistic below.

    A node in sets that say the same is less worth keeping than one in sets that say together what
    no part of them says.
    All sets are used where there are at most `sets` of each node, else as many are drawn, the same
    draws for every node. They depend on the correlations, so that the order of nodes does not
    matter; with other data others are drawn, which is why there is no standard error.
    """

    info = MetricInfo(
        formula="mean_S ½ [Σ log Σ_ii − Σ log (Σ⁻¹)_ii] − log |Σ|, i in S",
        unit="nats",
        higher_is_better=False,
        source=_ROSAS,
        invariances=INVARIANCES,
        jackknife=False,
    )

    size: int = options.size()
    sets: int = options.sets()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> OInformation:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)])
        return mean_over_sets([(1.0, rho)], self, "o")


@frozen
class TotalCorrelation:
    """What sets that hold a node have in common, on average, counted once for every repetition.

    Dead and constant nodes get what the others of their sets have in common.
    All sets are used where there are at most `sets` of each node, else as many are drawn, the same
    draws for every node. They depend on the correlations, so that the order of nodes does not
    matter; with other data others are drawn, which is why there is no standard error.
    """

    info = MetricInfo(
        formula="mean_S ½ [Σ log Σ_ii − log |Σ|], i in S",
        unit="nats",
        higher_is_better=False,
        source="Watanabe 1960, 10.1147/rd.41.0066, total correlation",
        invariances=INVARIANCES,
        jackknife=False,
    )

    size: int = options.size()
    sets: int = options.sets()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> TotalCorrelation:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)])
        return mean_over_sets([(1.0, rho)], self, "tc")


@frozen
class DualTotalCorrelation:
    """What the members of sets that hold a node share with the rest of their set, on average.

    The part of the entropy of a set that is in no member alone. Dead and constant nodes get what
    the others of their sets share.
    All sets are used where there are at most `sets` of each node, else as many are drawn, the same
    draws for every node. They depend on the correlations, so that the order of nodes does not
    matter; with other data others are drawn, which is why there is no standard error.
    """

    info = MetricInfo(
        formula="mean_S ½ [log |Σ| + Σ log (Σ⁻¹)_ii], i in S",
        unit="nats",
        higher_is_better=False,
        source="Han 1978, 10.1016/S0019-9958(78)90275-9, dual total correlation",
        invariances=INVARIANCES,
        jackknife=False,
    )

    size: int = options.size()
    sets: int = options.sets()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> DualTotalCorrelation:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)])
        return mean_over_sets([(1.0, rho)], self, "dtc")
