"""The loss change of replacing a node by its mean, which leaves its average effect in place.

g = dL/da of the loss summed over rows and positions. A constant node gets 0, whatever its value:
its mean is all there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.statistics.gradients import GradientMoments
from nodelens_metrics.centred_gradients import CentredRowGradients

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_CENTRED = frozenset({"activation_shift", "functional", "incoming_scale"})


@frozen
class MeanAblationFirstOrder:
    """The signed loss change per row that the gradient predicts for replacing a node by its mean.

    Negative where that is predicted to help. Attribution patching against the mean, without the
    absolute value.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "−mean_n Σ_t (a − μ) g"
    source: ClassVar[str] = (
        "attribution patching, Syed et al. 2023, 2310.10348, with the mean as the patch"
    )
    invariances: ClassVar[frozenset[str]] = _CENTRED
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients of rows about the mean."""
        return (CentredRowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the predicted changes."""
        return -group[CentredRowGradients()].mean


@frozen
class MeanAblationFisher:
    """The loss change of replacing a node by its mean, from the empirical Fisher.

    Attributes:
        per: ``position`` takes the gradient at each position, as `loss_proxy` does, ``row`` that of
            a row's loss, as `sample_fisher` does.
    """

    per: Literal["row", "position"] = field(
        default="position", validator=validators.in_(("row", "position"))
    )
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "½ E[(a − μ)² g²]; per row: ½ mean_n (Σ_t (a − μ) g)²"
    source: ClassVar[str] = "1801.05787 with the mean in place of zero"
    invariances: ClassVar[frozenset[str]] = _CENTRED
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Gradients by position or by row."""
        return (GradientMoments(),) if self.per == "position" else (CentredRowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the changes, 0 or more."""
        if self.per == "position":
            return 0.5 * group[GradientMoments()].centred_q2
        return 0.5 * group[CentredRowGradients()].mean_square
