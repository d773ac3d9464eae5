"""Gaussian mutual information of a node and the other nodes of its layer, in nats.

Both metrics give every node a little independent noise, `noise` of its variance. Without noise the
information of an exact duplicate would be infinite. With noise a pair of duplicates gets −½ log(1 −
1/(1+noise)²) from either metric: 6.56 nats at the default of 1e-6, which is about the rounding
noise of bfloat16. Nodes of several components are vectors: every component gets its own noise, and
the information of duplicates adds up over their components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gram import Gram
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import BIASED
from nodelens_metrics.mathematics.second_moments import INVARIANCES, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView


@frozen
class Redundancy:
    """Mean Gaussian mutual information of a node with each other node of the group.

    Averaged over all other nodes, constant ones included (they share nothing). A plug-in estimate
    unless corrected: independent nodes get about 1/(2N) nats from N independent samples, and the
    largest few of many partners up to log(nodes)/N more, which no option subtracts. 0 for dead and
    constant nodes and in groups of one node.

    The covariance is read in tiles: only sums over partners and the largest are kept. A sketch of
    it costs rank × nodes instead of nodes² / 2 and adds about 1/(2·rank) nats to every pair.

    Attributes:
        positive_only: count negatively correlated partners as sharing nothing, since they can
            replace the node only with a change of sign; vectors of several components have none.
        correct_bias: subtract the estimate of independent Gaussian nodes from as many independent
            samples, and from a sketch; the mean is at least 0. Positions of one row depend on each
            other, so that for positions the correction is too small.
    """

    info = MetricInfo(
        formula=(
            "mean_j −½ log(1 − ρ_ij²/(1+noise)²), j ≠ i; of components: summed over the canonical "
            "correlations ρ"
        ),
        unit="nats",
        higher_is_better=False,
        source="Cover & Thomas 2006, Elements of Information Theory, Gaussian case",
        dead_nodes="highest",
        invariances=INVARIANCES,
        no_interval=BIASED,
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
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.vectors import mean_pair_information
        from nodelens_metrics.mathematics.estimators import gaussian_information_bias
        from nodelens_metrics.mathematics.tiles import correlations_in

        rho = correlations_in(group[second_moments(self.sketch)], group.components)
        width, bias = group.components, 0.0
        if self.correct_bias:
            bias = float(gaussian_information_bias(width, width, rho.count))
        return mean_pair_information(
            rho, noise=self.noise, top=self.top, positive_only=self.positive_only, bias=bias
        )


@frozen
class PeerRedundancy:
    """Mutual information of a node with all other nodes jointly: ½ log of the VIF.

    VIF is the variance inflation factor; 1 − exp(−2·score) is the R² of predicting the node from
    its peers. Needs clearly more samples than nodes; with fewer, every node looks predictable up to
    the noise, so that a sketch cannot be used. 0 for dead and constant nodes and in groups of one
    node.
    """

    info = MetricInfo(
        formula="½ log(C_ii (C⁻¹)_ii), C = corr + noise·I; of components: ½ log(|C_ii| |(C⁻¹)_ii|)",
        unit="nats",
        higher_is_better=False,
        source="variance inflation factor; common",
        dead_nodes="highest",
        invariances=INVARIANCES,
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    noise: float = options.noise()

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.information.sets import with_noise
        from nodelens_metrics.mathematics.arithmetic import diagonal_blocks

        matrix = with_noise(group[Gram()].correlation, self.noise)
        precision = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        if group.components == 1:
            return 0.5 * precision.diagonal().log().clamp(min=0.0)
        blocks = (diagonal_blocks(each, group.components) for each in (matrix, precision))
        logs = sum(torch.linalg.slogdet(each).logabsdet for each in blocks)
        return 0.5 * torch.as_tensor(logs).clamp(min=0.0)
