"""Metrics of a node's contribution to the layers that read it: activation times weights.

All are unchanged when an activation is scaled and the weights that read it are scaled back. Norms
of activations are root mean squares over positions without padding. Published code takes sums over
the tokens of a row, averaged over rows: an equal ranking for rows of equal length, a biased one for
others. The terms of the components c of a node, such as the dimensions of a head, add up; all
positions of a flattened map have one mean square. 0 for dead nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments
from nodelens.weights.row_sums import RowSums

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

_SIZES, _SQUARES = RowSums("abs"), RowSums("square")
_FUNCTION = frozenset({"functional", "incoming_scale"})
_FLAP = "An et al. 2024, FLAP, 2312.11983, and its repository"


@frozen
class WandaSP:
    """Mean |outgoing weight| times the root mean square activation (Wanda for structures).

    For a head the scores of its dimensions are added, as in the published code.
    """

    info = MetricInfo(
        formula="Σ_c mean_o |W_oc| · (E a_c²)^½ over the components c of a node",
        unit="weight · activation",
        higher_is_better=True,
        source=f"{_FLAP}, the Wanda-sp baseline; weight-level rule: Sun, 2306.11695",
        dead_nodes="lowest",
        invariances=_FUNCTION,
        heavy_tails=True,
    )
    statistics = (Moments(),)
    weights = (_SIZES,)

    def score(self, group: GroupView) -> Tensor:
        return group.total(
            group[_SIZES].of_components(group.components).mean * group[Moments()].rms
        )


@frozen
class FlapIFV:
    """Input feature variance (FLAP): variance of the activation about the mean.

    Equal to `activation_variance`, under the name of the method that ranks by it. 0 for dead and
    constant nodes.
    """

    info = MetricInfo(
        formula="Σ_c Var(a_c) over the components c of a node",
        unit="activation²",
        higher_is_better=True,
        source=f"{_FLAP}, metric IFV",
        dead_nodes="lowest",
        invariances=frozenset({"activation_shift", "incoming_scale"}),
        heavy_tails=True,
    )
    statistics = (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[Moments()].variance)


@frozen
class FlapWIFV:
    """Weighted input feature variance (FLAP): next-layer error when a node becomes its mean.

    Exact for one node of one component and a linear consumer that reads it once; components add up
    as if they were uncorrelated. The published code squares the terms of a head's dimensions
    before it averages them; here they are added as they are. Meant for a repair that adds the
    means' contribution to the consumer's bias. 0 for dead and constant nodes.
    """

    info = MetricInfo(
        formula="Σ_c Var(a_c) · Σ_o W_oc² over the components c of a node",
        unit="weight² · activation²",
        higher_is_better=True,
        source=f"{_FLAP}, metric WIFV",
        dead_nodes="lowest",
        invariances=_FUNCTION | {"activation_shift"},
        heavy_tails=True,
    )
    statistics = (Moments(),)
    weights = (_SQUARES,)

    def score(self, group: GroupView) -> Tensor:
        squares = group[_SQUARES].of_components(group.components).total
        return group.total(group[Moments()].variance * squares)


@frozen
class FlapWIFN:
    """Weighted input feature norm (FLAP): mean |outgoing weight| times the activation's RMS.

    Equal to `wanda_sp`, under FLAP's name.
    """

    info = MetricInfo(
        formula="Σ_c mean_o |W_oc| · (E a_c²)^½ over the components c of a node",
        unit="weight · activation",
        higher_is_better=True,
        source=f"{_FLAP}, metric WIFN",
        dead_nodes="lowest",
        invariances=_FUNCTION,
        heavy_tails=True,
    )
    statistics = (Moments(),)
    weights = (_SIZES,)

    def score(self, group: GroupView) -> Tensor:
        return group.total(
            group[_SIZES].of_components(group.components).mean * group[Moments()].rms
        )


@frozen
class IndependentContribution:
    """Norm of the outgoing weights times the mean absolute activation.

    Every position has equal weight; published code adds the means of batches of any size.
    """

    info = MetricInfo(
        formula="Σ_c (Σ_o W_oc²)^½ · E|a_c| over the components c of a node",
        unit="weight · activation",
        higher_is_better=True,
        source="NVIDIA Model-Optimizer, IndependentChannelContributionHook",
        dead_nodes="lowest",
        invariances=_FUNCTION,
    )
    statistics = (Magnitudes(),)
    weights = (_SQUARES,)

    def score(self, group: GroupView) -> Tensor:
        norms = group[_SQUARES].of_components(group.components).total.sqrt()
        return group.total(norms * group[Magnitudes()].mean_abs)
