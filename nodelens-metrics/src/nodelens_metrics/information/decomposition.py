"""Redundant, unique and synergistic information of pairs of nodes about the output, in nats.

Gaussian nodes and a scalar target, decomposed by minimal mutual information: for a univariate
target every decomposition whose redundancy depends on the two source-target marginals alone is this
one (Barrett 2015, arXiv:1411.2832). Per image where the output is per image, from row means; else
per token. Every node and the target get a little independent noise, `noise` of their variance:
exact duplicates are then redundant, with next to no synergy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.information.target_gram import TargetGram
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import NEAR_ZERO
from nodelens_metrics.mathematics.labelled_rows import OUTPUT_INVARIANCES, Target
from nodelens_metrics.mathematics.second_moments import RANK

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_SOURCE = "Barrett 2015, arXiv:1411.2832, minimal mutual information of two Gaussian sources"


@frozen
class TargetRedundancy:
    """Redundancy of a node and each other node about the output, mean over pairs.

    0 for dead and constant nodes and in groups of one node. With an exact duplicate all of the
    node's information is redundant, for any sign and scale of the duplicate.
    """

    info = MetricInfo(
        formula="mean_j min(I(T; a_i), I(T; a_j)), I = −½ log(1 − r²)",
        unit="nats",
        higher_is_better=False,
        source=_SOURCE,
        dead_nodes="highest",
        invariances=OUTPUT_INVARIANCES,
    )

    target: Target = options.target()
    top: int | None = options.top()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetRedundancy:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "redundancy").clamp(min=0.0)


@frozen
class TargetUnique:
    """Unique information of a node about the output beside each other node, mean over pairs.

    0 for dead and constant nodes and in groups of one node.

    Attributes:
        top: average only the `top` partners with the least unique information of the node; 1 is the
            best substitute, None averages all.
    """

    info = MetricInfo(
        formula="mean_j I(T; a_i) − min(I(T; a_i), I(T; a_j))",
        unit="nats",
        higher_is_better=True,
        source=_SOURCE,
        dead_nodes="lowest",
        invariances=OUTPUT_INVARIANCES,
        no_interval=NEAR_ZERO,
    )

    target: Target = options.target()
    top: int | None = options.top()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetUnique:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "unique", largest=False).clamp(min=0.0)


@frozen
class TargetSynergy:
    """Synergy of a node and each other node about the output, mean over pairs.

    0 for dead and constant nodes and in groups of one node. A difference of near-equal numbers: N
    independent samples of unrelated nodes give about 1/(2N) nats, which the correction subtracts.
    """

    info = MetricInfo(
        formula="mean_j I(T; a_i, a_j) − max(I(T; a_i), I(T; a_j))",
        unit="nats",
        higher_is_better=True,
        source=_SOURCE,
        dead_nodes="lowest",
        invariances=OUTPUT_INVARIANCES,
    )

    target: Target = options.target()
    top: int | None = options.top()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetSynergy:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "synergy").clamp(min=0.0)


@frozen
class CoInformation:
    """Redundancy minus synergy of a node and each other node about the output, mean.

    Minus the interaction information; negative where synergy prevails. 0 for dead and constant
    nodes and in groups of one node.
    """

    info = MetricInfo(
        formula="mean_j I(T; a_i) + I(T; a_j) − I(T; a_i, a_j)",
        unit="nats",
        higher_is_better=False,
        source="McGill 1954, 10.1007/BF02289159, interaction information of Gaussians",
        invariances=OUTPUT_INVARIANCES,
    )

    target: Target = options.target()
    top: int | None = options.top()
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (TargetGram(self.sketch),)

    def sketched(self) -> CoInformation:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "co_information")


@frozen
class TargetExcess:
    """Largest synergies about the output among a node's most redundant partners.

    0 for dead and constant nodes and in groups of one node. Without the correction the mean of the
    largest of many noisy numbers: the correction subtracts their mean bias, not the bias of
    choosing the largest.

    Attributes:
        pool: number of candidate partners, the nodes most correlated with the node.
        top: average the largest synergies of the pool.
    """

    info = MetricInfo(
        formula=(
            "mean of the largest I(T; a_i, a_j) − max(I_i, I_j), j in the pool of largest |ρ_ij|"
        ),
        unit="nats",
        higher_is_better=True,
        source="Safaai et al. 2026, 2605.07086, target excess",
        dead_nodes="lowest",
        invariances=OUTPUT_INVARIANCES,
    )

    target: Target = options.target()
    pool: int = field(default=32, validator=validators.ge(1))
    top: int = field(default=4, validator=validators.ge(1))
    correct_bias: bool = options.correct_bias()
    noise: float = options.noise()
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (TargetGram(self.sketch),)

    def sketched(self) -> TargetExcess:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "synergy", pool=self.pool).clamp(min=0.0)
