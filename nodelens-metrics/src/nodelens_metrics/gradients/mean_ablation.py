"""Loss changes of replacing a node by its mean, which keeps its average effect.

g = dL/da of the loss summed over rows and positions; a, its mean μ and g are vectors where a node
has several components. A constant node gets 0, whatever its value: it equals its mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gradients import GradientMoments
from nodelens_metrics.gradients.centred_gradients import CentredRowGradients

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_CENTRED = frozenset({"activation_shift", "functional", "incoming_scale"})


@frozen
class MeanAblationFirstOrder:
    """Signed first-order loss change of replacing a node by its mean, mean over rows.

    Negative where the replacement lowers the loss. Attribution patching with the mean as baseline,
    without the absolute value.
    """

    info = MetricInfo(
        formula="−mean_n Σ_t (a − μ)·g",
        unit="loss",
        higher_is_better=True,
        source="attribution patching, Syed et al. 2023, 2310.10348, with the mean as the patch",
        invariances=_CENTRED,
    )
    statistics = (CentredRowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        return -group[CentredRowGradients()].mean


@frozen
class MeanAblationFisher:
    """Loss change of replacing a node by its mean, from the empirical Fisher.

    Attributes:
        per: ``position`` takes the gradient at each position, as `loss_proxy` does, ``row`` the
            gradient of a row's loss, as `sample_fisher` does.
    """

    info = MetricInfo(
        formula="½ E[((a − μ)·g)²]; per row: ½ mean_n (Σ_t (a − μ)·g)²",
        unit="loss",
        higher_is_better=True,
        source="1801.05787 with the mean in place of zero",
        dead_nodes="lowest",
        invariances=_CENTRED,
        heavy_tails=True,
    )

    per: Literal["row", "position"] = field(
        default="position", validator=validators.in_(("row", "position"))
    )

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (GradientMoments(),) if self.per == "position" else (CentredRowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        if self.per == "position":
            centred = group[GradientMoments()].centred_q2
            assert centred is not None
            return 0.5 * centred
        return 0.5 * group[CentredRowGradients()].mean_square
