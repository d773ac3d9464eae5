"""What the other nodes of a layer already say: Gaussian information between nodes, in nats.

Both metrics give every node a little independent noise, `noise` of its variance. Without it an
exact duplicate would have infinite information; with it, a pair of duplicates gets
−½ log(1 − 1/(1+noise)²) from either metric: 6.56 nats at the default of 1e-6, which is about the
rounding noise of bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gram import Gram
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.second_moments import INVARIANCES, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView


@frozen
class Redundancy:
    """Mean information that a node shares with each other node of its group.

    Averaged over all other nodes, constant ones included (they share nothing). A plug-in estimate
    unless corrected: independent nodes get about 1/(2N) nats from N independent samples, and the
    largest few of many partners up to log(nodes)/N more, which no option takes off. 0 for dead and
    constant nodes and in groups of one node.

    The covariance is read in tiles: only sums over partners and the largest are kept. A sketch of
    it costs rank × nodes instead of nodes² / 2 and adds about 1/(2·rank) nats to every pair.

    Attributes:
        positive_only: count negatively correlated partners as sharing nothing, since they cannot
            stand in for the node without a change of sign.
        correct_bias: subtract what independent Gaussian nodes would get from as many independent
            samples, and from a sketch; the mean is at least 0. Positions of one row depend on each
            other, so that for them the correction is too small.
    """

    info = MetricInfo(
        formula="mean_j −½ log(1 − ρ_ij²/(1+noise)²), j ≠ i",
        unit="nats",
        higher_is_better=False,
        source="Cover & Thomas 2006, Elements of Information Theory, Gaussian case",
        dead_nodes="highest",
        invariances=INVARIANCES,
    )

    top: int | None = options.top()
    positive_only: bool = False
    noise: float = options.noise()
    correct_bias: bool = options.correct_bias()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (second_moments(self.sketch),)

    def sketched(self) -> Redundancy:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.estimators import gaussian_information_bias
        from nodelens_metrics.mathematics.pairwise import mean_information
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)])
        bias = float(gaussian_information_bias(1, 1, rho.count)) if self.correct_bias else 0.0
        return mean_information(
            rho, noise=self.noise, top=self.top, positive_only=self.positive_only, bias=bias
        )


@frozen
class PeerRedundancy:
    """Information that all other nodes together have about a node: ½ log of its VIF.

    1 − exp(−2·score) is the R² of predicting the node from its peers. Needs clearly more samples
    than nodes; with fewer, every node looks predictable up to the noise, for which reason there is
    no version from a sketch. 0 for dead and constant nodes and in groups of one node.
    """

    info = MetricInfo(
        formula="½ log(C_ii (C⁻¹)_ii), C = corr + noise·I",
        unit="nats",
        higher_is_better=False,
        source="variance inflation factor; common",
        dead_nodes="highest",
        invariances=INVARIANCES,
    )
    statistics = (Gram(),)

    noise: float = options.noise()

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.information.sets import with_noise

        matrix = with_noise(group[Gram()].correlation, self.noise)
        precision = torch.cholesky_inverse(torch.linalg.cholesky(matrix)).diagonal()
        return 0.5 * precision.log().clamp(min=0.0)
