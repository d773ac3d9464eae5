"""Information between three or more nodes within classes, in nats.

Dependence of sets of nodes beyond a common response to the classes. From the row means of sampled
rows, Gaussian within each class with correlations of its own, each class weighted by its fraction
of the rows. Classes need at least three more sampled rows than a set has nodes, or components of
nodes; others are left out. Nodes of several components are vectors. Dead and constant nodes are
independent of all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from attrs import field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.information.greedy import Goal
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import CHOSEN_SETS
from nodelens_metrics.mathematics.labelled_rows import labelled_rows, samples_of
from nodelens_metrics.mathematics.second_moments import INVARIANCES

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.class_correlations import Terms

_MORE = 3
"""Rows that a class needs beyond the number of nodes in a set, for a good estimate of the bias."""


@frozen
class ClassOInformation:
    """Mean O-information within classes of sets that contain the node.

    Redundant above 0, synergistic below. The sets are those of `o_information`; no standard error,
    for the same reason.
    """

    info = MetricInfo(
        formula="mean_S Σ_c p_c Ω(S | c), i in S",
        unit="nats",
        higher_is_better=False,
        source="Rosas et al. 2019, 1902.11239, O-information, given a variable",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
    )

    size: int = options.size()
    sets: int = options.sets()
    correct_bias: bool = options.correct_bias(True)
    noise: float = options.noise()
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets

        return mean_over_sets(_terms(group, self.samples, self.size), self, "o")


@frozen
class ClassTotalCorrelation:
    """Mean total correlation within classes of sets that contain the node.

    The sets are those of `total_correlation`; no standard error, for the same reason.
    """

    info = MetricInfo(
        formula="mean_S Σ_c p_c TC(S | c), i in S",
        unit="nats",
        higher_is_better=False,
        source="Watanabe 1960, 10.1147/rd.41.0066, total correlation, given a variable",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
    )

    size: int = options.size()
    sets: int = options.sets()
    correct_bias: bool = options.correct_bias(True)
    noise: float = options.noise()
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets

        return mean_over_sets(_terms(group, self.samples, self.size), self, "tc")


@frozen
class ClassDualTotalCorrelation:
    """Mean dual total correlation within classes of sets that contain the node.

    The sets are those of `dual_total_correlation`; no standard error, for the same reason.
    """

    info = MetricInfo(
        formula="mean_S Σ_c p_c DTC(S | c), i in S",
        unit="nats",
        higher_is_better=False,
        source="Han 1978, 10.1016/S0019-9958(78)90275-9, given a variable",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
    )

    size: int = options.size()
    sets: int = options.sets()
    correct_bias: bool = options.correct_bias(True)
    noise: float = options.noise()
    samples: int = options.samples()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.information.sets import mean_over_sets

        return mean_over_sets(_terms(group, self.samples, self.size), self, "dtc")


@frozen
class ClassGreedyOInformation:
    """O-information within classes of the most redundant or synergistic set around a node.

    Searched as in `greedy_o_information`, by means over classes. The largest, or smallest, of many
    estimates; no option subtracts this bias. 0 for dead and constant nodes, which are in no set.

    Attributes:
        goal: redundancy searches the largest O-information, synergy the smallest.
        pool: number of candidate partners.
    """

    info = MetricInfo(
        formula="max_S or min_S of Σ_c p_c Ω(S | c), i in S, S grown greedily",
        unit="nats",
        higher_is_better=False,
        source="Rosas et al. 2019, 1902.11239, O-information; greedy search",
        invariances=INVARIANCES,
        no_interval=CHOSEN_SETS,
    )

    goal: Goal = field(default="redundancy", validator=validators.in_(get_args(Goal)))
    size: int = options.size(4)
    pool: int = field(default=16, validator=validators.ge(2))
    noise: float = options.noise()
    samples: int = options.samples(example=32)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.information.greedy import extreme_o_information

        terms = _terms(group, self.samples, self.size)
        live = torch.stack([rho.live for _, rho in terms]).any(0)
        return extreme_o_information(terms, self) * live


def _terms(group: GroupView, samples: int, size: int) -> Terms:
    """Return the correlations within the classes that are large enough for sets of a size."""
    from nodelens_metrics.mathematics.class_correlations import within_classes

    values, labels, _ = samples_of(group, samples)
    least = size * group.components + _MORE
    return within_classes(values, labels, least, components=group.components)
