"""Second-order metrics at the nodes, from the Fisher matrix.

g = dL/da of the loss summed over rows and positions; q = a·g at one position; Q_n = Σ_t q over the
positions of row n. Both are gradients at a gate that multiplies the node, so that ½E[q²] and ½E[Q²]
are what the Fisher matrix in place of the Hessian predicts for closing it. All are 0 for a dead
node, and 0 for every node where the gradients vanish, as in a perfect fit. The true change is not 0
there; `obd` with the Gauss–Newton matrix measures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Unit = Literal["row", "position"]
"""What one sample of the gradient is: a row of the data, or a position in it."""

_FUNCTIONAL = frozenset({"functional", "incoming_scale"})
_per = validators.in_(("row", "position"))


@frozen
class SampleFisher:
    """Second-order loss change of zeroing a node, from the empirical Fisher over rows.

    Half of `taylor`: the two rank alike within and across layers.
    """

    info = MetricInfo(
        formula="½ mean_n Q_n²",
        unit="loss",
        higher_is_better=True,
        source=(
            "Theis et al. 2018, Faster gaze prediction with dense networks and Fisher pruning, "
            "1801.05787, the pruning signal of a feature map"
        ),
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
        heavy_tails=True,
    )
    statistics = (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        return 0.5 * group[RowGradients()].q2


@frozen
class LossProxy:
    """Loss change of zeroing a node, from the empirical Fisher over positions.

    Differs from `sample_fisher` by the cross terms between the positions of a row.

    Attributes:
        factored: take activation and gradient as independent, ½ E[a²] E[g²].
    """

    info = MetricInfo(
        formula="½ E[q²]; factored: ½ Σ_c E[a_c²] E[g_c²] over the components c of a node",
        unit="loss",
        higher_is_better=True,
        source="Cherilyn & Safaai 2026, Supernodes and Halos, 2604.23475",
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
        heavy_tails=True,
    )

    factored: bool = False

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (
            (GradientMoments(centred=False), Moments())
            if self.factored
            else (GradientMoments(centred=False),)
        )

    def score(self, group: GroupView) -> Tensor:
        gradients = group[GradientMoments(centred=False)]
        if not self.factored:
            return 0.5 * gradients.q2
        return group.total(0.5 * group[Moments()].mean_square * gradients.g2)


@frozen
class EmpiricalFisher:
    """Empirical Fisher information of a gate that multiplies a node, with the data's labels.

    Twice `sample_fisher`, or `loss_proxy` by position. `true_fisher` differs in the labels alone.

    Attributes:
        per: ``row`` takes the gradient of a row's loss, ``position`` that of each position, as if
            the positions of a row were independent.
    """

    info = MetricInfo(
        formula="E[Q²]; per position: E[q²]",
        unit="loss²",
        higher_is_better=True,
        source="Kunstner et al. 2019, 1905.12558, the empirical Fisher; common",
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
        heavy_tails=True,
    )

    per: Unit = field(default="row", validator=_per)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (RowGradients(),) if self.per == "row" else (GradientMoments(centred=False),)

    def score(self, group: GroupView) -> Tensor:
        return (
            group[RowGradients()] if self.per == "row" else group[GradientMoments(centred=False)]
        ).q2


@frozen
class TrueFisher:
    """Fisher information of a gate that multiplies a node, with labels drawn from the model.

    Labels are drawn from the model, once for each row and position. In expectation it is the
    Gauss–Newton matrix of the cross-entropy; the empirical Fisher is not, once the model has
    learned its labels. Needs a model whose output is logits of classes.

    Attributes:
        per: ``row`` takes the gradient of a row's loss, ``position`` that of each position, as if
            the positions of a row were independent.
    """

    info = MetricInfo(
        formula="E[Q²]; per position: E[q²]; labels y ~ p(y|x) of the model",
        unit="loss²",
        higher_is_better=True,
        source="Kunstner et al. 2019, 1905.12558, the Fisher; common",
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
        heavy_tails=True,
    )

    per: Unit = field(default="row", validator=_per)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        by_row = self.per == "row"
        return (
            RowGradients(labels="model")
            if by_row
            else GradientMoments(labels="model", centred=False),
        )

    def score(self, group: GroupView) -> Tensor:
        if self.per == "row":
            return group[RowGradients(labels="model")].q2
        return group[GradientMoments(labels="model", centred=False)].q2


@frozen
class Curvature:
    """Mean squared gradient of the loss at a node over positions: the curvature R.

    The Fisher information of the node's value, where `empirical_fisher` takes a gate. Measures how
    sharply the loss reacts to a node, not whether the node is active: a dead node can score high.
    """

    info = MetricInfo(
        formula="R = E[g²]; of components c: Σ_c E[g_c²]",
        unit="(loss / activation)²",
        higher_is_better=True,
        source="Cherilyn & Safaai 2026, Supernodes and Halos, 2604.23475",
        invariances=frozenset({"activation_scale", "activation_shift", "incoming_scale"}),
    )
    statistics = (GradientMoments(centred=False),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[GradientMoments(centred=False)].g2)
