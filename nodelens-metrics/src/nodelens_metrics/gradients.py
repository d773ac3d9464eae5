"""What the loss says about a node: first order, and the empirical Fisher as second order.

g = dL/da of the loss summed over rows and positions, with the labels of the data; q = a·g at one
position; Q_n = Σ_t q over the positions of row n, the gradient of row n's loss at a gate that
multiplies the node. At a minimum of the loss E[q] is near 0, so the signed first order says little.
All but `GradientNorm` give 0 for a dead node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic


@frozen
class Taylor:
    """The squared first-order loss change of closing a node's gate, mean over rows.

    One gradient per row: the "full gradient" (FG) variant of the source. Its batch variant squares
    the gradient of a whole batch and so depends on the batch size.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss²"
    formula: ClassVar[str] = "mean_n Q_n²"
    source: ClassVar[str] = (
        "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, 1906.10771, "
        "Taylor FO at a gate, FG"
    )
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by row."""
        return (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean square."""
        return group[RowGradients()].q2


@frozen
class Taylor2016:
    """The absolute first-order loss change, averaged over a row's positions before |·|.

    Positions count 1/T_n, so long rows weigh no more than short ones.

    Attributes:
        normalise: divide by the L2 norm over the layer, as published, so that layers can be ranked
            together; without it the unit is that of the loss.
    """

    normalise: bool = True
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "mean_n |mean_t q_nt|, divided by its L2 norm over the layer"
    source: ClassVar[str] = (
        "Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient "
        "Inference, 1611.06440, Taylor criterion and layer-wise normalisation"
    )
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by row."""
        return (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the means, of unit L2 norm over the group unless all are 0."""
        from nodelens_metrics.arithmetic import ratio

        change = group[RowGradients()].abs_mean_q
        return ratio(change, change.norm()) if self.normalise else change


@frozen
class TokenTaylor:
    """The mean absolute first-order loss change per position.

    Positions do not cancel each other, as they do in `taylor_2016`.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "E|q|"
    source: ClassVar[str] = "Cherilyn & Safaai 2026, 2604.23475, first-order baseline"
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by position."""
        return (GradientMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return E|q|."""
        return group[GradientMoments()].abs_q


@frozen
class FirstOrder:
    """The signed loss change per row that the gradient predicts for setting a node to zero.

    Negative where zeroing is predicted to help. Attribution patching against zero.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "−mean_n Q_n"
    source: ClassVar[str] = "attribution patching: Syed et al. 2023, 2310.10348"
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by row."""
        return (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the predicted change."""
        return -group[RowGradients()].q


@frozen
class SampleFisher:
    """The second-order loss change of zeroing a node, from the empirical Fisher over rows.

    Half of `taylor`: the two rank alike within and across layers.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "½ mean_n Q_n²"
    source: ClassVar[str] = (
        "Theis et al. 2018, Faster gaze prediction with dense networks and Fisher pruning, "
        "1801.05787, the pruning signal of a feature map"
    )
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by row."""
        return (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        """Return half the mean square."""
        return 0.5 * group[RowGradients()].q2


@frozen
class LossProxy:
    """The loss change of zeroing a node, from the empirical Fisher over positions.

    Differs from `sample_fisher` by the cross terms between the positions of a row.

    Attributes:
        factored: take activation and gradient as independent, ½ E[a²] E[g²].
    """

    factored: bool = False
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "½ E[q²]; factored: ½ E[a²] E[g²]"
    source: ClassVar[str] = "Cherilyn & Safaai 2026, Supernodes and Halos, 2604.23475"
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by position; moments as well if factored."""
        return (GradientMoments(), Moments()) if self.factored else (GradientMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the proxy."""
        gradients = group[GradientMoments()]
        if not self.factored:
            return 0.5 * gradients.q2
        return 0.5 * group[Moments()].mean_square * gradients.g2


@frozen
class MeanAblationFisher:
    """The loss change of replacing a node by its mean, from the empirical Fisher over positions.

    0 for a constant node, whatever its value.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "½ E[(a − μ)² g²]"
    source: ClassVar[str] = "1801.05787 with the mean in place of zero"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by position."""
        return (GradientMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the change, 0 or more."""
        return 0.5 * group[GradientMoments()].centred_q2


@frozen
class GradientNorm:
    """The root mean square gradient of the loss at a node.

    Says how much the loss would feel a change of the node, not whether the node is active: a dead
    node can score high, and scaling the activation scales it inversely.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss / activation"
    formula: ClassVar[str] = "(E g²)^½"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by position."""
        return (GradientMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the root mean square."""
        return group[GradientMoments()].g2.sqrt()
