"""Information between three nodes and more within classes, in nats.

What sets of nodes share beyond answering to the same classes. From the row means of sampled rows,
Gaussian within each class with correlations of its own, each class weighted by its share; classes
with fewer sampled rows than nodes in a set and three are left out. Dead and constant nodes are
independent of all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from attrs import field, frozen, validators

from nodelens_metrics.greedy import Goal
from nodelens_metrics.information import INVARIANCES, NOISE
from nodelens_metrics.targets import SAMPLES, labelled_rows, samples_of

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.class_correlations import Terms

_SIZE = validators.ge(3)
_SETS = validators.ge(1)
_LEAST = validators.ge(1e-12)
_ROWS = validators.ge(8)
_MORE = 3
"""Rows that a class needs beyond the nodes of a set, for the bias to be known well enough."""


@frozen
class ClassOInformation:
    """O-information within classes of sets that hold a node, on average.

    Redundant above 0, synergistic below. Which sets: as of `o_information`; no standard error, for
    the same reason.

    Attributes:
        size: nodes in a set, 3 or more.
        sets: sets of each node that are averaged.
        correct_bias: subtract what Gaussian samples as few as these give too much.
        noise: relative variance of the independent noise given to every node in every class.
        samples: rows that are sampled.
    """

    size: int = field(default=3, validator=_SIZE)
    sets: int = field(default=256, validator=_SETS)
    correct_bias: bool = True
    noise: float = field(default=NOISE, validator=_LEAST)
    samples: int = field(default=SAMPLES, validator=_ROWS)
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_S Σ_c p_c Ω(S | c), i in S"
    source: ClassVar[str] = "Rosas et al. 2019, 1902.11239, O-information, given a variable"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"
    jackknife: ClassVar[bool] = False

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean; raises `NotApplicableError` with under two classes or few nodes."""
        from nodelens_metrics.sets import mean_over_sets

        return mean_over_sets(_terms(group, self.samples, self.size), self, "o")


@frozen
class ClassTotalCorrelation:
    """Total correlation within classes of sets that hold a node, on average.

    Which sets: as of `total_correlation`; no standard error, for the same reason.

    Attributes:
        size: nodes in a set, 3 or more.
        sets: sets of each node that are averaged.
        correct_bias: subtract what Gaussian samples as few as these give too much.
        noise: relative variance of the independent noise given to every node in every class.
        samples: rows that are sampled.
    """

    size: int = field(default=3, validator=_SIZE)
    sets: int = field(default=256, validator=_SETS)
    correct_bias: bool = True
    noise: float = field(default=NOISE, validator=_LEAST)
    samples: int = field(default=SAMPLES, validator=_ROWS)
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_S Σ_c p_c TC(S | c), i in S"
    source: ClassVar[str] = "Watanabe 1960, 10.1147/rd.41.0066, total correlation, given a variable"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"
    jackknife: ClassVar[bool] = False

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean; raises `NotApplicableError` with under two classes or few nodes."""
        from nodelens_metrics.sets import mean_over_sets

        return mean_over_sets(_terms(group, self.samples, self.size), self, "tc")


@frozen
class ClassDualTotalCorrelation:
    """Dual total correlation within classes of sets that hold a node, on average.

    Which sets: as of `dual_total_correlation`; no standard error, for the same reason.

    Attributes:
        size: nodes in a set, 3 or more.
        sets: sets of each node that are averaged.
        correct_bias: subtract what Gaussian samples as few as these give too much.
        noise: relative variance of the independent noise given to every node in every class.
        samples: rows that are sampled.
    """

    size: int = field(default=3, validator=_SIZE)
    sets: int = field(default=256, validator=_SETS)
    correct_bias: bool = True
    noise: float = field(default=NOISE, validator=_LEAST)
    samples: int = field(default=SAMPLES, validator=_ROWS)
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "mean_S Σ_c p_c DTC(S | c), i in S"
    source: ClassVar[str] = "Han 1978, 10.1016/S0019-9958(78)90275-9, given a variable"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"
    jackknife: ClassVar[bool] = False

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the mean; raises `NotApplicableError` with under two classes or few nodes."""
        from nodelens_metrics.sets import mean_over_sets

        return mean_over_sets(_terms(group, self.samples, self.size), self, "dtc")


@frozen
class ClassGreedyOInformation:
    """O-information within classes of the most redundant, or synergistic, set around a node.

    Found as by `greedy_o_information`, with the mean over classes of what is compared. The largest,
    or smallest, of many estimates, of which no option takes the bias off. 0 for dead and constant
    nodes, in no set.

    Attributes:
        goal: redundancy looks for the largest O-information, synergy for the smallest.
        size: nodes in a set, 3 or more.
        pool: partners that are considered.
        noise: relative variance of the independent noise given to every node in every class.
        samples: rows that are sampled.
    """

    goal: Goal = field(default="redundancy", validator=validators.in_(get_args(Goal)))
    size: int = field(default=4, validator=_SIZE)
    pool: int = field(default=16, validator=validators.ge(2))
    noise: float = field(default=NOISE, validator=_LEAST)
    samples: int = field(default=SAMPLES, validator=_ROWS)
    better: ClassVar[Better] = "low"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "max_S or min_S of Σ_c p_c Ω(S | c), i in S, S grown greedily"
    source: ClassVar[str] = "Rosas et al. 2019, 1902.11239, O-information; greedy search"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"
    jackknife: ClassVar[bool] = False

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Sampled rows with labels."""
        return (labelled_rows(self.samples),)

    def score(self, group: GroupView) -> Tensor:
        """Return the value; raises `NotApplicableError` with under two classes or few nodes."""
        import torch

        from nodelens_metrics.greedy import extreme_o_information

        terms = _terms(group, self.samples, self.size)
        live = torch.stack([rho.live for _, rho in terms]).any(0)
        return extreme_o_information(terms, self) * live


def _terms(group: GroupView, samples: int, size: int) -> Terms:
    """Return the correlations within the classes that are large enough for sets of a size."""
    from nodelens_metrics.class_correlations import within_classes

    values, labels, _ = samples_of(group, samples)
    return within_classes(values, labels, size + _MORE)
