"""What the loss says about a node, to second order: the Fisher matrix at the nodes.

g = dL/da of the loss summed over rows and positions; q = a·g at one position; Q_n = Σ_t q over the
positions of row n. Both are gradients at a gate that multiplies the node, so that ½E[q²] and
½E[Q²] are what the Fisher matrix in place of the Hessian predicts for closing it. All are 0 for a
dead node, and 0 for every node where the gradients vanish, as in a perfect fit: there the true
change is not 0, and `obd` with the Gauss–Newton matrix sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Unit = Literal["row", "position"]
"""What one sample of the gradient is: a row of the data, or a position in it."""

_FUNCTIONAL = frozenset({"functional", "incoming_scale"})
_per = validators.in_(("row", "position"))


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
    invariances: ClassVar[frozenset[str]] = _FUNCTIONAL
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
    invariances: ClassVar[frozenset[str]] = _FUNCTIONAL
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
class EmpiricalFisher:
    """The Fisher information of the data's labels about a gate that multiplies a node.

    Twice `sample_fisher`, or `loss_proxy` by position: kept beside `true_fisher`, which differs in
    the labels alone.

    Attributes:
        per: ``row`` takes the gradient of a row's loss, ``position`` that of each position, as if
            the positions of a row were independent.
    """

    per: Unit = field(default="row", validator=_per)
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss²"
    formula: ClassVar[str] = "E[Q²]; per position: E[q²]"
    source: ClassVar[str] = "Kunstner et al. 2019, 1905.12558, the empirical Fisher; common"
    invariances: ClassVar[frozenset[str]] = _FUNCTIONAL
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients with the data's labels."""
        return (RowGradients(),) if self.per == "row" else (GradientMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean squares."""
        return (group[RowGradients()] if self.per == "row" else group[GradientMoments()]).q2


@frozen
class TrueFisher:
    """The Fisher information of the model's own predictions about a gate that multiplies a node.

    Labels are drawn from the model, once for each row and position. In expectation it is the
    Gauss–Newton matrix of the cross-entropy; the empirical Fisher is not, once the model has
    learned its labels. Needs a model whose output is logits of classes.

    Attributes:
        per: ``row`` takes the gradient of a row's loss, ``position`` that of each position, as if
            the positions of a row were independent.
    """

    per: Unit = field(default="row", validator=_per)
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss²"
    formula: ClassVar[str] = "E[Q²]; per position: E[q²]; labels y ~ p(y|x) of the model"
    source: ClassVar[str] = "Kunstner et al. 2019, 1905.12558, the Fisher; common"
    invariances: ClassVar[frozenset[str]] = _FUNCTIONAL
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients with labels that are drawn from the model."""
        by_row = self.per == "row"
        return (RowGradients(labels="model") if by_row else GradientMoments(labels="model"),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean squares."""
        if self.per == "row":
            return group[RowGradients(labels="model")].q2
        return group[GradientMoments(labels="model")].q2


@frozen
class Curvature:
    """The squared gradient of the loss at a node, mean over positions: its curvature R.

    The Fisher information about the node's value, where `empirical_fisher` asks about a gate: it
    says how sharply the loss reacts to a node, not whether the node is active. A dead node can
    score high.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "(loss / activation)²"
    formula: ClassVar[str] = "R = E[g²]"
    source: ClassVar[str] = "Cherilyn & Safaai 2026, Supernodes and Halos, 2604.23475"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by position."""
        return (GradientMoments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean squares."""
        return group[GradientMoments()].g2
