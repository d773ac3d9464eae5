"""What pairs of nodes say about the output: redundant, unique and synergistic parts, in nats.

Gaussian nodes and a scalar target, decomposed by minimal mutual information: for a univariate
target every decomposition whose redundancy depends on the two source-target marginals alone is this
one (Barrett 2015, arXiv:1411.2832). Per image where the output is per image, from row means; per
token else. Every node and the target are given a little independent noise, `noise` of their
variance: what exact duplicates say is then redundant, and their synergy next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.information.target_gram import TargetGram
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.labelled_rows import OUTPUT_INVARIANCES, Target
from nodelens_metrics.mathematics.second_moments import RANK

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

_SOURCE = "Barrett 2015, arXiv:1411.2832, minimal mutual information of two Gaussian sources"


@frozen
class TargetRedundancy:
    """What a node and another both say about the output, averaged over the other nodes.

    0 for dead and constant nodes and in groups of one node. With an exact duplicate it is all that
    the node says, whatever the duplicate's sign and scale.
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
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "redundancy").clamp(min=0.0)


@frozen
class TargetUnique:
    """What a node says about the output beyond the redundancy, averaged over the other nodes.

    0 for dead and constant nodes and in groups of one node.

    Attributes:
        top: average the `top` partners only that leave the node least; 1 is the best substitute,
            None averages all.
    """

    info = MetricInfo(
        formula="mean_j I(T; a_i) − min(I(T; a_i), I(T; a_j))",
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

    def sketched(self) -> TargetUnique:
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "unique", largest=False).clamp(min=0.0)


@frozen
class TargetSynergy:
    """What only a node and another together say about the output, averaged over the other nodes.

    0 for dead and constant nodes and in groups of one node. A difference of near-equal numbers: N
    independent samples of unrelated nodes give about 1/(2N) nats, which the correction takes off.
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
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "synergy").clamp(min=0.0)


@frozen
class CoInformation:
    """Redundancy less synergy of a node with each other node about the output, on average.

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
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "co_information")


@frozen
class TargetExcess:
    """Largest synergies of a node within the pool of its most redundant partners.

    0 for dead and constant nodes and in groups of one node. Uncorrected it is the mean of the
    largest of many noisy numbers: the correction takes off their mean bias, not that of choosing.

    Attributes:
        pool: partners that are considered, those most correlated with the node.
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
        """Return the metric from a sketch of rank 1024."""
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.pairs import averaged

        return averaged(group, self, "synergy", pool=self.pool).clamp(min=0.0)
