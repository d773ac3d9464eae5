"""Information between three or more nodes: total correlation, its dual, and O-information.

In nats, for Gaussians: TC = Σ H(a_i) − H(a), DTC = H(a) − Σ H(a_i | the others) and Ω = TC − DTC,
positive where a set is dominated by redundancy and negative where synergy prevails. The plain
functions take covariances and can be used alone. Nodes get a little independent noise, `noise` of
their variance; dead and constant nodes are independent of all others. A node of several components
is a vector: Σ_ii and (Σ⁻¹)_ii are then determinants of its block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import CHOSEN_SETS
from nodelens_metrics.mathematics.second_moments import INVARIANCES, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_ROSAS = "Rosas et al. 2019, 1902.11239, O-information: TC − DTC"


@frozen
class OInformation:
    """Mean O-information of sets that contain the node; redundant above 0, synergistic below.

    A node in redundant sets is less worth keeping than a node in synergistic sets. All sets are
    used where there are at most `sets` of each node; else as many are drawn, with one draw for all
    nodes. The draw depends on the correlations, so that the order of nodes does not matter. Other
    data give other draws, so that there is no standard error.
    """

    info = MetricInfo(
        formula="mean_S ½ [Σ log Σ_ii − Σ log (Σ⁻¹)_ii] − log |Σ|, i in S",
        unit="nats",
        higher_is_better=False,
        source=_ROSAS,
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
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
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)], group.components)
        return mean_over_sets([(1.0, rho)], self, "o")


@frozen
class TotalCorrelation:
    """Mean total correlation of sets that contain the node.

    Dead and constant nodes get the total correlation of the other nodes of their sets. All sets are
    used where there are at most `sets` of each node; else as many are drawn, with one draw for all
    nodes. The draw depends on the correlations, so that the order of nodes does not matter. Other
    data give other draws, so that there is no standard error.
    """

    info = MetricInfo(
        formula="mean_S ½ [Σ log Σ_ii − log |Σ|], i in S",
        unit="nats",
        higher_is_better=False,
        source="Watanabe 1960, 10.1147/rd.41.0066, total correlation",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
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
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)], group.components)
        return mean_over_sets([(1.0, rho)], self, "tc")


@frozen
class DualTotalCorrelation:
    """Mean dual total correlation of sets that contain the node.

    The part of the entropy of a set that is in no member alone. Dead and constant nodes get the
    dual total correlation of the other nodes of their sets. All sets are used where there are at
    most `sets` of each node; else as many are drawn, with one draw for all nodes. The draw depends
    on the correlations, so that the order of nodes does not matter. Other data give other draws, so
    that there is no standard error.
    """

    info = MetricInfo(
        formula="mean_S ½ [log |Σ| + Σ log (Σ⁻¹)_ii], i in S",
        unit="nats",
        higher_is_better=False,
        source="Han 1978, 10.1016/S0019-9958(78)90275-9, dual total correlation",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
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
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)], group.components)
        return mean_over_sets([(1.0, rho)], self, "dtc")
